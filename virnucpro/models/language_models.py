"""Language models: each gives a sequence features, and is a row here. No torch until one is loaded.

docs/architecture.md lists what a new one touches. Which of them a run of DNA needs is said by its classifier.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, cast

from virnucpro.errors import BadRequest
from virnucpro.models.catalog import CANONICAL_4MERS, DNABERT_S, ESM2_SIZES, Precision
from virnucpro.reading.input_kind import InputKind

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from virnucpro.models.pack import Pack

    Sample = tuple[nn.Module, dict[str, Tensor], int]


@dataclass(frozen=True)
class Shape:
    """The size of a model."""

    layers: int
    width: int
    heads: int  # 0 where nothing attends
    synthetic: bool = field(default=False, kw_only=True)  # random weights

    @property
    def head_widths(self) -> list[int]:
        """The width of its heads; none where nothing attends."""
        return [self.width // self.heads] if self.heads else []


class Code(Protocol):
    """What the module of a language model has; it imports torch."""

    def size(self, path: Path, esm_model: str) -> Shape:
        """Tell the size without reading large files."""

    def check(self, path: Path, esm_model: str) -> Shape:
        """Refuse files that are not whole, or are another model's, without loading the large ones. Raises BadWeights"""

    def load(self, path: Path, device: torch.device, precision: Precision) -> nn.Module:
        """Load a module that takes Pack, Attend and Ops and gives (T, width); it has a `shape`. Raises BadWeights."""

    def prepare(self, model: nn.Module, precision: Precision) -> None:
        """Make a model filled with published weights into what runs in this precision."""

    def means(self, x_TD: Tensor, pack: Pack) -> Tensor:
        """Pool (T, width) to one row a sequence: float32 (S, width)."""

    def sample(self, esm_model: str, layers: int) -> Sample:
        """Make one of so many layers, without weights; its buffers, and the size of its vocabulary."""


@dataclass(frozen=True)
class LanguageModel:
    """A row of `LANGUAGE_MODELS`."""

    title: str  # for people
    module: str  # of virnucpro.models, with `Code`
    array: str  # of features, in checkpoints of finished windows
    column: str  # in embeddings.h5
    reads: str  # proteins or dna, of `window_sequences.Sequences`
    kinds: tuple[InputKind, ...]  # of input that it is for
    rotary: bool  # positions by rotation, or by ALiBi
    published: Callable[[str], Shape]  # its size; takes --esm-model
    parameters: Callable[[str], int]  # numbers that it consists of, as far as a run needs them; takes --esm-model
    name: str | None = None  # of its files in a weights directory; None for --esm-model's
    required: tuple[str, ...] = ()  # files in its folder beside configuration and weights
    described: str = ""  # what is looked for at {place}, for people
    source: str = ""  # where people find it
    weightless: bool = False  # computed from the sequence alone: there are no files
    eight_bit: str = ""  # module of virnucpro.models that makes its 8-bit likeness; without, it stays as it is

    def weights_name(self, esm_model: str) -> str:
        return self.name or esm_model

    @property
    def code(self) -> Code:
        return cast(Code, import_module(f"virnucpro.models.{self.module}"))

    def quantised(self, model: nn.Module) -> nn.Module:
        """Make the 8-bit likeness of a loaded model, beside it; the model itself where it has none."""
        if not self.eight_bit:
            return model
        likeness: nn.Module = import_module(f"virnucpro.models.{self.eight_bit}").quantised(model)
        return likeness


def _esm2_parameters(esm_model: str) -> int:
    layers, width, _ = ESM2_SIZES[esm_model]
    return layers * (12 * width**2 + 13 * width) + 35 * width


LANGUAGE_MODELS = {
    "kmer4": LanguageModel(
        "4-mers", "kmers", "kmer4_SK", "kmer4", "dna", (InputKind.NUCLEOTIDE,), False,
        lambda _: Shape(0, CANONICAL_4MERS, 0), lambda _: CANONICAL_4MERS**2, "4-mers", weightless=True,
    ),
    "esm2": LanguageModel(
        "ESM-2", "esm2", "esm2_SD", "embeddings", "proteins", tuple(InputKind), True,
        lambda esm_model: Shape(*ESM2_SIZES[esm_model]), _esm2_parameters,
        described="{place}.pt, or a Hugging Face folder {place}/",
        source="https://dl.fbaipublicfiles.com/fair-esm/models/{name}.pt\n              or the folder of "
        "https://huggingface.co/facebook/{name}",
        eight_bit="quantised_esm2",
    ),
    "dnabert_s": LanguageModel(
        "DNABERT-S", "dnabert_s", "dnabert_SE", "dnabert_s", "dna", (InputKind.NUCLEOTIDE,), False,
        lambda _: Shape(12, 768, 12), lambda _: 117_000_000, DNABERT_S, ("tokenizer.json",),
        "{place}/ with config.json, tokenizer.json and model weights",
        "the folder of https://huggingface.co/zhihan1996/DNABERT-S (no code in it is run)",
    ),
}  # fmt: skip
PUBLISHED_FEATURES = ("dnabert_s", "esm2")  # of the published classifiers
# Of the columns that a classifier is trained on: published ones have it so.
FEATURE_ORDER = ("kmer4", *PUBLISHED_FEATURES)
# On the device. DNABERT-S comes first, for its kernels are so short that the device nearly keeps up with the host: at
# the end of a window it would run dry while the next one is fetched. ESM-2's keep it busy meanwhile.
QUEUE_ORDER = ("kmer4", "dnabert_s", "esm2")
assert set(FEATURE_ORDER) == set(QUEUE_ORDER) == set(LANGUAGE_MODELS), "an order lacks a model"


def queued(names: Container[str]) -> list[str]:
    """Models in the order in which they are queued on the device."""
    return [name for name in QUEUE_ORDER if name in names]


def models_for(kind: InputKind, features: Container[str] = PUBLISHED_FEATURES) -> list[str]:
    """The models of an input, as `queued`.

    Args:
        features: Of the classifier; proteins have none, and get what there is for them.
    """
    if kind == InputKind.NUCLEOTIDE:
        return queued(features)
    return [name for name in queued(LANGUAGE_MODELS) if kind in LANGUAGE_MODELS[name].kinds]


def parse_features(text: str) -> tuple[str, ...]:
    """Read features as people write them, ``kmer4+esm2``; in `FEATURE_ORDER`.

    Raises:
        BadRequest: One is unknown, or there twice.
    """
    names = text.split("+")
    unknown = [name for name in names if name not in FEATURE_ORDER]
    if unknown or len(set(names)) < len(names):
        what = f"{unknown[0]!r} is unknown" if unknown else "one is there twice"
        raise BadRequest(f"features {text}: {what}. Join some of {', '.join(FEATURE_ORDER)} by '+', each once.")
    return tuple(name for name in FEATURE_ORDER if name in names)


def spelled(features: Iterable[str]) -> str:
    """Write features as `parse_features` reads them."""
    return "+".join(features)


def row_of(weights_name: str) -> LanguageModel | None:
    """The model whose files in a weights directory have that name; None for a classifier."""
    rows = {row.name: row for row in LANGUAGE_MODELS.values() if row.name}
    return LANGUAGE_MODELS["esm2"] if weights_name in ESM2_SIZES else rows.get(weights_name)
