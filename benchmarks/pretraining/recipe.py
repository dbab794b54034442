"""Recipe: how an encoder is trained. As it stands here, the one that comes with virnucpro was."""

from __future__ import annotations

from dataclasses import dataclass, field

from benchmarks.pretraining.alphabet import LONGEST
from benchmarks.pretraining.encoder import Shape

BETAS, EPS = (0.9, 0.98), 1e-8  # of AdamW
WEIGHT_DECAY = 0.01  # of matrices, embeddings left out
LONGEST_GRADIENT = 1.0
LEAST_RATE = 0.01  # of the highest


@dataclass(frozen=True)
class Recipe:
    """What decides the weights, beside the data and the device.

    seconds: of training, over all calls, by which the rate falls. steps: to train by these, not by the clock; then the
    same weights come out again, on the same device. batch_tokens: of a step. micro_tokens: computed at once. rate: the
    highest. warmup: steps until the rate is there. crop_share: of the proteins, cut anew in every epoch.
    """

    seconds: float = 960
    steps: int | None = None
    batch_tokens: int = 262_144
    micro_tokens: int = 131_072
    rate: float = 1e-3
    warmup: int = 500
    crop_share: float = 0.5
    seed: int = 0
    shape: Shape = field(default_factory=Shape)

    def __post_init__(self) -> None:
        if self.batch_tokens % self.micro_tokens or self.micro_tokens < LONGEST:
            raise ValueError(
                f"Steps of {self.batch_tokens:,} tokens and {self.micro_tokens:,} at once; expected a whole number of "
                f"times as many, and at least {LONGEST} at once. Ask for other numbers."
            )

    @property
    def micro_batches(self) -> int:
        """Of a step."""
        return self.batch_tokens // self.micro_tokens

    def progress(self, step: int, elapsed: float) -> float:
        """How much of the training is done; all of it from 1 on."""
        return elapsed / self.seconds if self.steps is None else step / self.steps

    def rate_at(self, step: int, progress: float) -> float:
        """Up over the first steps, and down linearly to 1 %."""
        return self.rate * min(1.0, (step + 1) / self.warmup) * max(1 - progress, LEAST_RATE)

    def mask_seed(self, step: int, micro: int) -> int:
        """Another one for each batch."""
        return (self.seed * 1_000_003 + step) * 64 + micro
