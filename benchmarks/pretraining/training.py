"""Training: an encoder that learns, its optimiser, its data, and where it stands."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.pretraining import proteins, recipe
from benchmarks.pretraining.attention import padded, varlen
from benchmarks.pretraining.batches import Batches
from benchmarks.pretraining.encoder import Encoder
from benchmarks.pretraining.masking import Batch, gathered, masked
from benchmarks.pretraining.recipe import Recipe

HELD_OUT_SEED = 1_000_000_007  # of the masks, which are always the same
_NUMBERS = ("step", "tokens", "elapsed")


class Training:
    """What a checkpoint restores, and the steps that change it.

    On a GPU: attention without padding, compiled, in BF16 by autocast. On the CPU: padded, in float32.

    Raises:
        OSError, ValueError: As `proteins.read`.
    """

    def __init__(self, plan: Recipe, data: Path, device: torch.device) -> None:
        self.recipe, self.device, self.on_gpu = plan, device, device.type == "cuda"
        torch.manual_seed(plan.seed)
        torch.set_float32_matmul_precision("high")
        training, held_out = proteins.read(data)
        self.residues = int(training.lengths_N.sum())
        self.data_R = torch.from_numpy(training.tokens_R).to(device)
        self.batches = Batches(training, plan.micro_tokens, plan.crop_share, plan.seed)
        self.model = Encoder(plan.shape).to(device)
        self.optimiser = torch.optim.AdamW(
            parameter_groups(self.model), lr=plan.rate, betas=recipe.BETAS, eps=recipe.EPS, fused=self.on_gpu
        )
        self.attend = varlen if self.on_gpu else padded
        self.loss = torch.compile(self.model.loss, dynamic=False) if self.on_gpu else self.model.loss
        self.step, self.tokens, self.elapsed = 0, 0, 0.0  # elapsed: seconds, of all calls
        whole = Batches(held_out, plan.micro_tokens, shuffle=False).rest_of_epoch()
        self.held_out = [
            masked(gathered(self.data_R, segments), HELD_OUT_SEED + number) for number, segments in enumerate(whole)
        ]

    @property
    def progress(self) -> float:
        return self.recipe.progress(self.step, self.elapsed)

    @property
    def rate(self) -> float:
        """Of the last step."""
        return float(self.optimiser.param_groups[0]["lr"])

    def autocast(self) -> torch.autocast:
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.on_gpu)

    def take_step(self) -> Tensor:
        """Learn from the next batch; return the mean loss of what was to be told, still on the device."""
        batches = [self._next_batch(micro) for micro in range(self.recipe.micro_batches)]
        count = torch.stack([(batch.labels_M >= 0).sum() for batch in batches]).sum().clamp(min=1)
        total = torch.zeros((), device=self.device)
        for batch in batches:
            with self.autocast():
                loss = self.loss(batch, self.attend) / count
            loss.backward()
            total += loss.detach()
        nn.utils.clip_grad_norm_(self.model.parameters(), recipe.LONGEST_GRADIENT)
        for group in self.optimiser.param_groups:
            group["lr"] = self.recipe.rate_at(self.step, self.progress)
        self.optimiser.step()
        self.optimiser.zero_grad(set_to_none=True)
        self.step += 1
        self.tokens += self.recipe.batch_tokens
        return total

    def _next_batch(self, micro: int) -> Batch:
        return masked(gathered(self.data_R, self.batches.next()), self.recipe.mask_seed(self.step, micro))

    @torch.no_grad()
    def evaluate(self) -> float:
        """Mean cross-entropy of the masked residues of the proteins held out; e to its power is their perplexity."""
        with self.autocast():
            losses = [self.model.loss(batch, self.attend) for batch in self.held_out]
        count = sum(int((batch.labels_M >= 0).sum()) for batch in self.held_out)
        return float(torch.stack(losses).sum()) / max(count, 1)

    def check(self) -> str:
        """Compare loss and gradients with those of plain attention, not compiled, on the next batch; compiles.

        Returns:
            How near they are.
        Raises:
            RuntimeError: Too far, for what 16 bits account for; attention is wrong on this GPU, or with this PyTorch.
        """
        epoch, place = self.batches.epoch, self.batches.place
        batch, gradients, losses = self._next_batch(0), list[Tensor](), list[float]()
        self.batches.seek(epoch, place)
        for function, attend in ((self.loss, self.attend), (self.model.loss, padded)):
            with self.autocast():
                loss = function(batch, attend)
            loss.backward()
            losses.append(float(loss.detach()))
            gradients.append(torch.cat([p.grad.flatten() for p in self.model.parameters() if p.grad is not None]))
            self.optimiser.zero_grad(set_to_none=True)
        cosine = float(F.cosine_similarity(gradients[0].double(), gradients[1].double(), dim=0))
        difference = abs(losses[0] / losses[1] - 1)
        words = f"loss differs by {difference:.1e}, cosine of the gradients {cosine:.5f}"
        # The more is learned, the smaller gradients are against the noise of BF16.
        if not (difference < 5e-3 and cosine > 0.95):
            raise RuntimeError(f"Attention is wrong here: {words}; expected under 5e-3, and over 0.95.")
        return words

    def state(self) -> dict[str, Any]:
        """What `restore` takes: tensors, numbers and text alone."""
        numbers = {name: getattr(self, name) for name in _NUMBERS}
        numbers |= {"epoch": self.batches.epoch, "place": self.batches.place}
        states = {"model": self.model.state_dict(), "optimiser": self.optimiser.state_dict()}
        return {**states, "numbers": numbers, "recipe": asdict(self.recipe)}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from there, as though nothing had happened.

        Raises:
            ValueError: It is of another recipe.
        """
        if state["recipe"] != asdict(self.recipe):
            raise ValueError(f"The checkpoint is of another recipe: {state['recipe']}. Go on with that, or begin anew.")
        self.model.load_state_dict(state["model"])
        self.optimiser.load_state_dict(state["optimiser"])
        numbers = state["numbers"]
        self.step, self.tokens, self.elapsed = (numbers[name] for name in _NUMBERS)
        self.batches.seek(numbers["epoch"], numbers["place"])

    def facts(self) -> dict[str, Any]:
        """What is told with the weights."""
        return {
            "steps": self.step, "tokens": self.tokens, "seconds": round(self.elapsed, 1), "epoch": self.batches.epoch,
            "residues": self.residues, "held_out_loss": round(self.evaluate(), 4), "rate": self.recipe.rate,
            "batch_tokens": self.recipe.batch_tokens, "planned_seconds": self.recipe.seconds,
        }  # fmt: skip


def parameter_groups(model: Encoder) -> list[dict[str, Any]]:
    """For the optimiser: matrices, whose weights decay, and all else."""
    matrices = [p for layer in model.layers for p in layer.parameters() if p.dim() == 2] + [model.head.weight]
    known = {id(parameter) for parameter in matrices}
    others = [parameter for parameter in model.parameters() if id(parameter) not in known]
    return [
        {"params": matrices, "weight_decay": recipe.WEIGHT_DECAY},
        {"params": others, "weight_decay": 0.0},
    ]
