"""Fit: an MLP learns to tell the frames of viruses from others.

Axes: S frames, F features, B frames of a batch, 2 classes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from virnucpro.models.classifier import MLPClassifier
from virnucpro.training.recipes import Recipe

CPU = torch.device("cpu")
BLOCK_BYTES = 2**27  # of features at once where nothing is learned from them
LEAST_DEVIATION = 1e-6  # of a feature; one that is constant is left as it is


@dataclass(frozen=True)
class Frames:
    """Some rows of the features of all frames, and which of them are viral.

    features_SF: float32, of all frames, perhaps on disk. rows_S: int64, those that count. virus_S: bool, of these.
    """

    features_SF: np.ndarray
    rows_S: np.ndarray
    virus_S: np.ndarray

    def __len__(self) -> int:
        return len(self.rows_S)

    def some(self, places: np.ndarray) -> tuple[Tensor, Tensor]:
        """Features float32 (B, F) and classes int64 (B,) of some of the rows."""
        features_BF = torch.from_numpy(np.asarray(self.features_SF[self.rows_S[places]]))
        return features_BF, torch.from_numpy(self.virus_S[places].astype(np.int64))

    def blocks(self) -> Iterator[tuple[Tensor, Tensor]]:
        """All rows, in order."""
        size = block_size(self.features_SF)
        for first in range(0, len(self), size):
            yield self.some(np.arange(first, min(first + size, len(self))))

    def class_weights(self) -> Tensor:
        """What makes both classes weigh the same, 1 on average: float32 (2,)."""
        counts = np.bincount(self.virus_S.astype(int), minlength=2)
        return torch.tensor(len(self) / (2 * np.maximum(counts, 1)), dtype=torch.float32)


@dataclass
class Fitted:
    """A classifier, and how it came to be. losses: of training and validation, by epoch; best: the epoch it is of."""

    model: MLPClassifier
    losses: list[tuple[float, float]] = field(default_factory=list)
    best: int = 0  # from 1


def block_size(features_SF: np.ndarray) -> int:
    """How many frames are taken at once."""
    return max(1, BLOCK_BYTES // (4 * int(features_SF.shape[1])))


def scaling(frames: Frames) -> tuple[Tensor, Tensor]:
    """Mean and deviation of each feature: float64 (F,) each."""
    width = frames.features_SF.shape[1]
    sums_F, squares_F = torch.zeros(width, dtype=torch.float64), torch.zeros(width, dtype=torch.float64)
    for features_BF, _ in frames.blocks():
        sums_F += features_BF.double().sum(0)
    mean_F = sums_F / len(frames)
    for features_BF, _ in frames.blocks():
        squares_F += (features_BF.double() - mean_F).square().sum(0)
    deviation_F = (squares_F / len(frames)).sqrt()
    return mean_F, torch.where(deviation_F < LEAST_DEVIATION, 1.0, deviation_F)


def fit(
    train: Frames, validation: Frames, recipe: Recipe, seed: int, device: torch.device = CPU,
    done: Callable[[int, float, float], None] = lambda epoch, train, validation: None,
) -> Fitted:  # fmt: skip
    """Fit a classifier; the same frames, recipe, seed and machine give the same numbers.

    Args:
        done: Told of each epoch, and its losses.
    Returns:
        The classifier of the epoch with the lowest loss on `validation`, in evaluation, on the CPU; it takes features
        as they are.
    """
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []), one_thread():
        torch.manual_seed(seed)
        shuffled = np.random.Generator(np.random.PCG64(seed))
        model = MLPClassifier(train.features_SF.shape[1], recipe.hidden)
        model.dropout.p = recipe.dropout
        for layer in (model.hidden_layer, model.output_layer):
            nn.init.xavier_uniform_(layer.weight)
        mean_F, deviation_F = scaling(train) if recipe.scaled else (torch.zeros(1), torch.ones(1))
        shift = mean_F.float().to(device), (1 / deviation_F).float().to(device)
        weights_2 = train.class_weights() if recipe.balanced else torch.ones(2)
        model, weights_2 = model.to(device), weights_2.to(device)
        optimizer = _optimizer(model, recipe)
        result, best_loss, state = Fitted(model), math.inf, model.state_dict()
        for epoch in range(1, recipe.epochs + 1):
            for group in optimizer.param_groups:
                group["lr"] = _rate(recipe, epoch)
            model.train()
            loss_sum = 0.0
            for places in _batches(shuffled.permutation(len(train)), recipe.batch):
                logits_B2, classes_B = _logits(model, *train.some(places), shift, device)
                loss = F.cross_entropy(logits_B2, classes_B, weights_2)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                loss_sum += float(loss.detach()) * len(places)
            losses = loss_sum / len(train), _loss(model, validation, shift, weights_2, device)
            result.losses.append(losses)
            done(epoch, *losses)
            if losses[1] < best_loss:
                result.best, best_loss = epoch, losses[1]
                state = {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}
            elif epoch - result.best >= recipe.patience:
                break
        model.load_state_dict(state)
        model.cpu().eval().requires_grad_(False)
        _fold_scaling(model, mean_F, deviation_F)
    return result


def _rate(recipe: Recipe, epoch: int) -> float:
    steps = (epoch - 1) // recipe.decay_every if recipe.decay_every else 0
    return recipe.learning_rate * recipe.decay**steps


def _optimizer(model: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    if recipe.optimizer == "sgd":
        return torch.optim.SGD(model.parameters(), recipe.learning_rate, recipe.momentum)
    return torch.optim.AdamW(model.parameters(), recipe.learning_rate, weight_decay=recipe.weight_decay)


def _batches(order_S: np.ndarray, size: int) -> Iterator[np.ndarray]:
    """Batches of an epoch; a last one of a single frame is left out, for it has no deviation to be normalised by."""
    for first in range(0, len(order_S), size):
        if len(order_S) - first > 1:
            yield order_S[first : first + size]


def _logits(
    model: MLPClassifier, features_BF: Tensor, classes_B: Tensor, shift: tuple[Tensor, Tensor], device: torch.device
) -> tuple[Tensor, Tensor]:
    mean_F, inverse_F = shift
    return model((features_BF.to(device) - mean_F) * inverse_F), classes_B.to(device)


@torch.inference_mode()
def _loss(
    model: MLPClassifier, frames: Frames, shift: tuple[Tensor, Tensor], weights_2: Tensor, device: torch.device
) -> float:
    """The mean over both classes, weighted as in training."""
    model.eval()
    losses, weight = 0.0, 0.0
    for block in frames.blocks():
        logits_B2, classes_B = _logits(model, *block, shift, device)
        losses += float(F.cross_entropy(logits_B2, classes_B, weights_2, reduction="sum"))
        weight += float(weights_2[classes_B].sum())
    return losses / weight


def _fold_scaling(model: MLPClassifier, mean_F: Tensor, deviation_F: Tensor) -> None:
    """Have the first layer take features as they are."""
    layer = model.hidden_layer
    weight_HF = layer.weight.double() / deviation_F
    layer.bias.copy_(layer.bias.double() - weight_HF @ mean_F.double().expand(weight_HF.shape[1]))
    layer.weight.copy_(weight_HF)


@contextmanager
def one_thread() -> Iterator[None]:
    """How many threads share a sum decides its last bits."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
