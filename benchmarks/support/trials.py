"""Trials: classifiers on the features of one training, by which it is told what its figures owe to what.

Axes: S frames, C chunks of the test, F features, N records.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from virnucpro.evaluation.bootstrap import ENDS, RESAMPLES, resampled
from virnucpro.evaluation.metrics import metrics
from virnucpro.evaluation.units import Units
from virnucpro.models.classifier import scores
from virnucpro.training.fit import Frames, fit
from virnucpro.training.recipes import RECIPES

COLUMNS = {"kmer4": "kmer4", "esm2": "embeddings", "dnabert_s": "dnabert_s"}  # of embeddings.h5
RIDGE = 100.0  # of features with a deviation of 1
PERMUTATIONS = 200


@dataclass(frozen=True)
class Trials:
    """All frames of a training with --save-embeddings, with the parts that it put them in.

    features: of each model, float32 (S, F). record_S, chunk_S: int64. sources, parts, virus_N, groups: of records.
    """

    features: dict[str, np.ndarray]
    record_S: np.ndarray
    chunk_S: np.ndarray
    sources: Sequence[str]
    groups: Sequence[str]
    parts: np.ndarray
    virus_N: np.ndarray

    @classmethod
    def of(cls, folder: Path) -> Trials:
        """Read the folder that a training left, with embeddings.h5 in it."""
        with open(folder / "split.tsv", encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
        number = {row["Record"]: place for place, row in enumerate(rows)}
        with h5py.File(folder / "embeddings.h5") as file:
            names = [name[:-2] for name in file["ids"].asstr()[:]]
            features = {name: file[column][:] for name, column in COLUMNS.items() if column in file}
        _, chunk_S = np.unique(names, return_inverse=True)
        return cls(
            {name: array for name, array in features.items() if array.size},
            np.array([number[name.rpartition("_chunk_")[0]] for name in names]),
            chunk_S,
            [row["Source"] for row in rows],
            [row["Group"] for row in rows],
            np.array([row["Part"] for row in rows]),
            np.array([row["Class"] == "virus" for row in rows]),
        )

    def joined(self, names: str) -> np.ndarray:
        """The features ``a+b``, side by side: (S, F)."""
        return np.concatenate([self.features[name] for name in names.split("+")], axis=1)

    @cached_property
    def virus_S(self) -> np.ndarray:
        return self.virus_N[self.record_S]

    def rows(self, part: str) -> np.ndarray:
        return np.flatnonzero(self.parts[self.record_S] == part)

    def frames(self, features_SF: np.ndarray, part: str) -> Frames:
        rows_S = self.rows(part)
        return Frames(features_SF, rows_S, self.virus_S[rows_S])

    def chunks(self, score_S: np.ndarray) -> Units:
        """The test's chunks, by the middle of the scores of their frames, which `score_S` has of the test."""
        rows_S = self.rows("test")
        chunks, place_S = np.unique(self.chunk_S[rows_S], return_inverse=True)
        high_C, low_C = np.full(len(chunks), -np.inf), np.full(len(chunks), np.inf)
        np.maximum.at(high_C, place_S, score_S)
        np.minimum.at(low_C, place_S, score_S)
        record_C = np.zeros(len(chunks), np.int64)
        record_C[place_S] = self.record_S[rows_S]
        score_C = np.clip((high_C + low_C) / 2, 0, 1)
        return Units(
            "chunk", chunks.astype(str).tolist(), self.virus_N[record_C], score_C, ["virus"] * len(chunks),
            [self.sources[each] for each in record_C], [self.groups[each] for each in record_C],
            np.zeros(len(chunks), np.int64),
        )  # fmt: skip


def mlp(trials: Trials, names: str, seed: int = 0, recipe: str = "default") -> np.ndarray:
    """Scores of the test's frames by the MLP that `virnucpro train` fits: float64."""
    features_SF = trials.joined(names)
    train, validation = (trials.frames(features_SF, part) for part in ("train", "validation"))
    model = fit(train, validation, RECIPES[recipe], seed).model
    return scores(model, torch.from_numpy(features_SF[trials.rows("test")]))[:, 1].double().numpy()


def logistic(trials: Trials, names: str) -> np.ndarray:
    """The same by logistic regression; validation frames train, too."""
    features_SF = trials.joined(names)
    rows_S = np.concatenate([trials.rows("train"), trials.rows("validation")])
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000))
    model.fit(features_SF[rows_S], trials.virus_S[rows_S])
    return model.predict_proba(features_SF[trials.rows("test")])[:, 1]


def judged(trials: Trials, score_S: np.ndarray) -> dict[str, Any]:
    """Figures of chunks with intervals over sources, and the AUROC of frames."""
    frames = float(roc_auc_score(trials.virus_S[trials.rows("test")], score_S))
    return {"chunks": metrics(trials.chunks(score_S)), "frame_auroc": frames}


def difference(trials: Trials, one_S: np.ndarray, other_S: np.ndarray, seed: int = 0) -> dict[str, float]:
    """By how much the AUROC of chunks is higher for one than for the other, drawn over the same sources."""
    units = [trials.chunks(score_S) for score_S in (one_S, other_S)]
    names, source_N = np.unique(units[0].sources, return_inverse=True)
    generator = np.random.Generator(np.random.PCG64(seed))
    weight_RS = generator.multinomial(len(names), np.full(len(names), 1 / len(names)), RESAMPLES).astype(float)
    aurocs = [resampled(each.virus_N, each.score_N, source_N, weight_RS)["auroc"] for each in units]
    value = [float(roc_auc_score(each.virus_N, each.score_N)) for each in units]
    low, high = np.percentile(aurocs[0] - aurocs[1], ENDS).tolist()
    return {"value": value[0] - value[1], "low": low, "high": high}


def permuted(trials: Trials, names: str, count: int = PERMUTATIONS, seed: int = 0) -> dict[str, float]:
    """AUROC of chunks by ridge regression, with the labels as they are, and where sources have each other's labels.

    A source's records all get one label. Training sources swap among themselves, and so do those of the test.
    """
    features_SF = trials.joined(names).astype(np.float64)
    train_S = np.concatenate([trials.rows("train"), trials.rows("validation")])
    features_SF = (features_SF - features_SF[train_S].mean(0)) / np.maximum(features_SF[train_S].std(0), 1e-6)
    x_SF, test_SF = features_SF[train_S], features_SF[trials.rows("test")]
    solve_FS = np.linalg.solve(x_SF.T @ x_SF + RIDGE * np.eye(x_SF.shape[1]), x_SF.T)
    _, first_N, source_N = np.unique(trials.sources, return_index=True, return_inverse=True)
    virus = trials.virus_N[first_N]
    in_test = trials.parts[first_N] == "test"
    rng = np.random.Generator(np.random.PCG64(seed))

    def auroc(virus_N: np.ndarray) -> float:
        y_S = virus_N[trials.record_S[train_S]].astype(float)
        score_S = test_SF @ (solve_FS @ (y_S - y_S.mean()))
        score_S = 1 / (1 + np.exp(-4 * score_S))  # any rising map into 0 to 1
        units = replace(trials, virus_N=virus_N).chunks(score_S)
        return float(roc_auc_score(units.virus_N, units.score_N))

    drawn = []
    for _ in range(count):
        swapped = virus.copy()
        for part in (in_test, ~in_test):
            swapped[part] = rng.permutation(virus[part])
        drawn.append(auroc(swapped[source_N]))
    return {
        "count": count, "true": auroc(trials.virus_N), "mean": float(np.mean(drawn)), "deviation": float(np.std(drawn)),
        "least": min(drawn), "greatest": max(drawn),
    }  # fmt: skip


def by_frames(trials: Trials, names: str, seed: int = 0) -> float:
    """AUROC of frames where frames, not sources, are put into parts, as the published training does."""
    rng = np.random.Generator(np.random.PCG64(seed))
    counts = [len(trials.rows(part)) for part in ("train", "validation", "test")]
    order = rng.permutation(sum(counts))
    train_S, validation_S, test_S = np.split(order, np.cumsum(counts)[:-1])
    features_SF = trials.joined(names)
    parts = [Frames(features_SF, rows_S, trials.virus_S[rows_S]) for rows_S in (train_S, validation_S)]
    model = fit(*parts, RECIPES["default"], seed).model
    score_S = scores(model, torch.from_numpy(features_SF[test_S]))[:, 1].numpy()
    return float(roc_auc_score(trials.virus_S[test_S], score_S))


def spread(values: Sequence[float]) -> dict[str, float]:
    """Least, mean and greatest of several seeds."""
    return {"least": min(values), "mean": float(np.mean(values)), "greatest": max(values)}
