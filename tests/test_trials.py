"""Trials: what is told of a training's figures, on frames whose truth is known."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from benchmarks.support import trials as tried

SOURCES = 60  # of two records each, of two frames each


@pytest.fixture(scope="module")
def trials():
    """One feature tells the classes apart, more or less; another is each source's own."""
    rng = np.random.default_rng(0)
    source_N = np.repeat(np.arange(SOURCES), 2)
    record_S = np.repeat(np.arange(2 * SOURCES), 2)
    virus_N = source_N % 2 == 0
    telling_S = rng.normal(size=len(record_S)) + 1.5 * virus_N[record_S]
    own_S = rng.normal(size=SOURCES)[source_N[record_S]] + 0.01 * rng.normal(size=len(record_S))
    return tried.Trials(
        {"esm2": np.stack([telling_S, own_S], axis=1).astype(np.float32), "kmer4": own_S[:, None].astype(np.float32)},
        record_S,
        record_S.copy(),
        [f"s{source}" for source in source_N],
        [""] * len(source_N),
        np.array(["train", "train", "validation", "test"])[source_N // 2 % 4],
        virus_N,
    )


def test_a_chunk_has_the_middle_of_its_frames(trials):
    score_S = np.linspace(0, 1, len(trials.rows("test")))
    units = trials.chunks(score_S)
    assert units.score_N.tolist() == pytest.approx(score_S.reshape(-1, 2).mean(axis=1).tolist())
    tested = np.flatnonzero(trials.parts == "test")
    assert units.virus_N.tolist() == trials.virus_N[tested].tolist()
    assert list(units.sources) == [trials.sources[record] for record in tested]


def test_what_tells_the_classes_apart_is_found(trials):
    both = tried.judged(trials, tried.logistic(trials, "esm2"))
    own = tried.judged(trials, tried.logistic(trials, "kmer4"))
    assert both["chunks"]["auroc"]["value"] > max(0.8, own["chunks"]["auroc"]["value"])
    assert both["frame_auroc"] < both["chunks"]["auroc"]["value"]  # two frames know more than one
    assert tried.mlp(trials, "kmer4+esm2").shape == (len(trials.rows("test")),)


def test_the_difference_of_two(trials):
    one_S, other_S = (tried.logistic(trials, names) for names in ("esm2", "kmer4"))
    assert tried.difference(trials, one_S, one_S) == {"value": 0, "low": 0, "high": 0}
    found = tried.difference(trials, one_S, other_S)
    assert found["low"] < found["value"] < found["high"] and found["value"] > 0.1
    back = tried.difference(trials, other_S, one_S)
    assert (back["low"], back["high"]) == pytest.approx((-found["high"], -found["low"]))


def test_permuted_labels_tell_nothing(trials):
    result = tried.permuted(trials, "esm2", count=200)
    assert result["true"] > 0.8
    # The deviation of one is about 0.12 with 15 sources in the test, that of the mean of 200 below 0.01.
    assert result["mean"] == pytest.approx(0.5, abs=0.04)
    assert result["least"] < 0.4 and result["greatest"] > 0.6
    assert tried.permuted(trials, "esm2", count=3) == tried.permuted(trials, "esm2", count=3)


def test_frames_at_random_remember_their_sources(trials):
    """Of a feature that is each source's own nothing can be known of other sources, and all of the same."""
    from dataclasses import replace

    own = replace(trials, features={"esm2": np.eye(SOURCES, dtype=np.float32)[np.repeat(np.arange(SOURCES), 4)]})
    by_sources = roc_auc_score(own.virus_S[own.rows("test")], tried.mlp(own, "esm2"))
    assert by_sources == pytest.approx(0.5, abs=0.2)
    assert tried.by_frames(own, "esm2") > 0.9


def test_spread():
    assert tried.spread([1.0, 3.0, 2.0]) == {"least": 1.0, "mean": 2.0, "greatest": 3.0}
