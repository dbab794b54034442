"""Classifier: the small MLP that turns a frame's features into two scores.

Axes: S frames, F features (those that its card names, in order), 2 classes (0 others, 1 virus).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import safetensors.torch
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from virnucpro.errors import BadRequest, BadWeights
from virnucpro.models.classifier_card import ClassifierCard, metadata_of, read_card
from virnucpro.models.tensor_files import State, Unfilled, check_shapes, fill, read_pickled, read_safetensors
from virnucpro.system.files import whole_file


class MLPClassifier(nn.Module):
    """Linear - BatchNorm - ReLU - Dropout (off) - Linear, as the published one (3328 - 512 - 2)."""

    def __init__(self, features: int, hidden: int) -> None:
        super().__init__()
        self.hidden_layer = nn.Linear(features, hidden)
        self.bn1 = nn.BatchNorm1d(hidden)
        self.dropout = nn.Dropout(0.5)
        self.output_layer = nn.Linear(hidden, 2)

    def forward(self, x_SF: Tensor) -> Tensor:
        """Logits (S, 2)."""
        logits_S2: Tensor = self.output_layer(self.dropout(F.relu(self.bn1(self.hidden_layer(x_SF)))))
        return logits_S2


# A published .pth is a whole pickled module of the class its training script called __main__.MLPClassifier.
_ALLOWED = [(MLPClassifier, "__main__.MLPClassifier"), MLPClassifier, nn.Linear, nn.BatchNorm1d, nn.Dropout]


@dataclass(frozen=True)
class Classifier:
    """A loaded classifier, and what it says of itself."""

    model: MLPClassifier
    card: ClassifierCard

    @property
    def chunk_size(self) -> int | None:
        """bp; None where the file does not say."""
        return self.card.chunk_size

    @property
    def synthetic(self) -> bool:
        return self.card.synthetic

    @property
    def features(self) -> int:
        """Width of the input, all language models together."""
        return self.model.hidden_layer.in_features


def load_classifier(path: Path) -> Classifier:
    """Load a classifier from ``.safetensors``, or from ``.pth`` as published, on the CPU.

    A safetensors file records its chunk size; of a ``.pth`` only the name can (``500_model.pth``).

    Raises:
        BadWeights: Broken, holding other objects, or of another layout.
    """
    card = read_card(path)
    if path.suffix == ".safetensors":
        state, _ = read_safetensors(path)
    else:
        state, synthetic = _read_pth(path)
        card = replace(card, synthetic=synthetic)
    weight = state.get("hidden_layer.weight")
    if weight is None or weight.ndim != 2:
        raise BadWeights(f"{path}: no classifier of VirNucPro (no matrix hidden_layer.weight). Is it the right file?")
    if card.widths and sum(card.widths.values()) != weight.shape[1]:
        named = " and ".join(f"{name} ({width})" for name, width in card.widths.items())
        raise BadWeights(f"{path}: takes {weight.shape[1]} features, and says that they are {named}. Train it again.")
    with Unfilled():
        model = MLPClassifier(weight.shape[1], weight.shape[0])
    state.setdefault("bn1.num_batches_tracked", torch.tensor(0))  # used in training only
    check_shapes({name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}, state, path)
    if not all(tensor.isfinite().all() for tensor in state.values()):
        raise BadWeights(f"{path}: holds weights that are not finite. Fetch it again.")
    fill(model, {name: tensor.float() if tensor.is_floating_point() else tensor for name, tensor in state.items()})
    return Classifier(model, card)


def _read_pth(path: Path) -> tuple[State, bool]:
    """State of a pickled module, or of a pickled state dict; and the synthetic mark."""
    content = read_pickled(path, _ALLOWED, mmap=False)
    try:
        if isinstance(content, MLPClassifier):
            return content.state_dict(), bool(getattr(content, "virnucpro_synthetic", False))
        if isinstance(content, dict) and all(isinstance(value, Tensor) for value in content.values()):
            return dict(content), False
    except (AttributeError, TypeError, KeyError) as error:
        raise BadWeights(f"{path}: a damaged classifier ({error}). Fetch it again.") from error
    raise BadWeights(f"{path}: holds a {type(content).__name__}, not a classifier. Is it the right file?")


def check_fit(classifier: Classifier, path: Path, chunk_size: int | None, widths: dict[str, int]) -> int:
    """Check that a classifier goes with the chunk size and the models; return the chunk size.

    Args:
        chunk_size: bp, as asked for with --model-type; None with "custom", where the file decides.
        widths: Of the features of each language model, by its name.
    Raises:
        BadRequest: It was trained for another chunk size or on features of another width, or nothing
            says for which chunk size.
    """
    if classifier.features != sum(widths.values()):
        models = " and ".join(f"{name} ({width})" for name, width in widths.items())
        raise BadRequest(
            f"{path} takes {classifier.features} features, but {models} give {sum(widths.values())}. "
            "Choose the --esm-model it was trained with"
            f"{' (esm2_t36_3B_UR50D)' if classifier.features == 3328 else ''}, or another --model-path."
        )
    trained_on = classifier.chunk_size
    if chunk_size is None and trained_on is None:
        raise BadRequest(
            f"{path} does not say which chunk size it was trained on. Record it: "
            f"virnucpro convert {path} {path.with_suffix('.safetensors').name} --chunk-size BP"
        )
    if chunk_size is not None and trained_on not in (None, chunk_size):
        raise BadRequest(
            f"{path} was trained on chunks of {trained_on} bp, but --model-type {chunk_size} asks for "
            f"{chunk_size} bp. Use the {chunk_size} bp classifier, or --model-type custom to follow the file."
        )
    return chunk_size or trained_on  # type: ignore[return-value]  # one of them is known


def convert(source: Path, target: Path, chunk_size: int | None) -> int:
    """Write a classifier as safetensors with its chunk size on record; return the chunk size.

    Raises:
        BadWeights: As `load_classifier`.
        BadRequest: No chunk size is known, or the one given is not the recorded one.
    """
    classifier = load_classifier(source)
    if chunk_size is None and classifier.chunk_size is None:
        raise BadRequest(f"{source} does not say which chunk size it was trained on. Give --chunk-size.")
    if chunk_size is not None and classifier.chunk_size not in (None, chunk_size):
        raise BadRequest(
            f"{source} was trained on chunks of {classifier.chunk_size} bp, but --chunk-size says {chunk_size}. "
            "Leave --chunk-size out."
        )
    chunk_size = chunk_size or classifier.chunk_size
    card, metadata = classifier.card, {"format": "pt", "chunk_size": str(chunk_size)}
    if card.document:
        metadata = metadata_of(card, card.document)
    elif card.synthetic:
        metadata["virnucpro_synthetic"] = "true"
    with whole_file(target, "wb") as file:
        file.write(safetensors.torch.save(classifier.model.state_dict(), metadata))
    return chunk_size  # type: ignore[return-value]  # one of them is known


@torch.inference_mode()
def scores(model: MLPClassifier, features_SF: Tensor, batch_frames: int | None = None) -> Tensor:
    """Softmax scores (S, 2), float32: column 0 others, column 1 virus; all frames at once, or so many."""
    batches = features_SF.split(batch_frames or max(1, len(features_SF)))
    return torch.cat([model(batch).softmax(dim=1) for batch in batches])
