"""Settings of one run, checked when they are made."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from virnucpro.config.runtime import RuntimeConfig
from virnucpro.errors import BadRequest
from virnucpro.models.catalog import ATTENTIONS, AUTO, ESM2_SIZES, MODEL_TYPES, PRECISIONS
from virnucpro.models.locate import DEMO, DEMO_CLASSIFIER
from virnucpro.reading.input_kind import InputKind

INPUT_TYPES = (AUTO, *map(str, InputKind))
REPORT, FALLBACK = "report", "fallback"  # what to do where an audit fails
AUDITS = (REPORT, FALLBACK)
_CHOICES = {
    "model_type": MODEL_TYPES,
    "input_type": INPUT_TYPES,
    "esm_model": (None, *ESM2_SIZES),
    "precision": (AUTO, *PRECISIONS),
    "attention": (AUTO, *ATTENTIONS),
    "audit": (None, *AUDITS),
}


@dataclass(frozen=True)
class Settings:
    """What `virnucpro predict` was asked to do; see its --help for the meaning of each.

    Raises:
        BadRequest: Settings that do not go together.
    """

    inputs: tuple[str, ...]
    output_dir: Path
    weights_dir: Path | None = None
    model: Path | None = None  # a classifier, or "demo", that decides chunk size, features and ESM-2
    model_type: str = "500"
    model_path: Path | None = None
    features: tuple[str, ...] | None = None  # of DNA, wanted themselves: then there is no classifier
    chunks: int | None = None  # bp, where there is none
    esm_model: str | None = None  # None: the classifier's, or the published ones'
    input_type: str = "auto"
    gpus: tuple[int, ...] | None = None
    parallel: bool = False
    workers_per_gpu: int | None = None
    batch_tokens: int | None = None
    num_workers: int | None = None
    precision: str = AUTO
    attention: str = AUTO
    audit: str | None = None  # None: report, where the precision is one of 8 bits
    deterministic: bool = False
    save_embeddings: bool = False
    keep_intermediate: bool = False
    resume: bool = False
    force: bool = False
    rename_duplicates: bool = False
    write_viral: Path | None = None
    prevalence: float | None = None  # expected share of viruses among the records; None: probabilities at equal classes
    max_fdr: float | None = None
    show_progress: bool = True
    runtime: RuntimeConfig = field(default_factory=RuntimeConfig)

    def __post_init__(self) -> None:
        for name, choices in _CHOICES.items():
            if getattr(self, name) not in choices:
                known = ", ".join(filter(None, choices))
                raise BadRequest(f"{_flag(name)} {getattr(self, name)} is unknown. Choose one of {known}.")
        for name, least in (("workers_per_gpu", 1), ("batch_tokens", 1), ("num_workers", 0)):
            value = getattr(self, name)
            if value is not None and value < least:
                raise BadRequest(f"{_flag(name)} must be {least} or more, not {value}.")
        if self.runtime.force_restart:
            object.__setattr__(self, "force", True)
            object.__setattr__(self, "resume", False)
        if self.model is not None:
            if self.model_path is not None or self.model_type not in ("500", "custom"):
                raise BadRequest("--model says all of the classifier. Leave --model-type and --model-path out.")
            object.__setattr__(self, "model_type", "custom")
            object.__setattr__(self, "model_path", DEMO_CLASSIFIER if str(self.model) == DEMO else self.model)
        if self.model_type == "custom" and self.model_path is None:
            raise BadRequest("--model-type custom needs the classifier's file. Add --model-path FILE.")
        if self.audit is not None and (self.precision == AUTO or not PRECISIONS[self.precision].quantised):
            raise BadRequest("--audit has a meaning with 8 bits only. Add --precision int8, or leave it out.")
        if self.workers_per_gpu is not None and not self.parallel:
            raise BadRequest("--workers-per-gpu has a meaning with --parallel only. Add --parallel.")
        for name in ("prevalence", "max_fdr"):
            share = getattr(self, name)
            if share is not None and not 0 < share < 1:
                raise BadRequest(f"{_flag(name)} must be above 0 and below 1, not {share}.")
        if self.max_fdr is not None and self.prevalence is None:
            raise BadRequest("--max-fdr depends on how many viruses are expected. Add --prevalence.")
        if self.resume and self.force:
            raise BadRequest("--resume goes on with a run and --force starts it over. Give one of them.")
        if self.deterministic and self.batch_tokens:
            raise BadRequest("--deterministic runs every sequence by itself. Leave --batch-tokens out.")
        if self.gpus is not None and (not self.gpus or min(self.gpus) < 0 or len(set(self.gpus)) < len(self.gpus)):
            raise BadRequest(f"--gpus {','.join(map(str, self.gpus))}: give indices of 0 or more, each once.")
        if not self.inputs or len(set(self.inputs)) < len(self.inputs):
            raise BadRequest("Give at least one input file, and each once.")

    @property
    def chunk_size(self) -> int | None:
        """bp; None if the custom classifier decides."""
        if self.chunks is not None:
            return self.chunks
        return None if self.model_type == "custom" else int(self.model_type)


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"
