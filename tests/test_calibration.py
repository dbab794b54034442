"""Calibration: what scores are worth, told by what is known; probabilities and false discovery rates."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from virnucpro.models.calibration import Calibration, evidence, probability
from virnucpro.output.discovery import false_discovery_rates
from virnucpro.training.calibrate import Runs, calibration, runs_of, temperature

SHARES = st.floats(0, 1)


@pytest.mark.parametrize(
    "score, log_odds", [(0.5, 0.0), (0.75, math.log(3)), (0.0, -math.log(1e6 - 1)), (1.0, math.log(1e6 - 1))]
)
def test_evidence_of_a_chunk(score, log_odds):
    assert evidence(score) == pytest.approx(log_odds, abs=1e-9)


def test_probability_of_contigs():
    calibrated = Calibration(slope=2.0, growth=0.5, intercept=-1.0, longest=4)
    three = math.log(3)  # evidence of a chunk with the score 3/4
    assert calibrated.probability([0.75]) == pytest.approx(1 / (1 + math.exp(-(2 * three - 1))))
    assert calibrated.probability([0.75] * 4) == pytest.approx(1 / (1 + math.exp(-(3 * three - 1))))
    assert calibrated.probability([0.75, 0.25]) == pytest.approx(1 / (1 + math.e))
    # Of longer ones nothing is known.
    assert calibrated.probability([0.75] * 400) == pytest.approx(calibrated.probability([0.75] * 4))


@given(st.floats(-1e6, 1e6))
def test_the_logistic_function_neither_overflows_nor_leaves_its_range(log_odds):
    assert 0 <= probability(log_odds) <= 1
    assert probability(log_odds) + probability(-log_odds) == pytest.approx(1)


@pytest.mark.parametrize("score, prevalence, turned", [(0.5, 0.05, 0.05), (0.95, 0.05, 0.5), (0.2, 0.5, 0.2)])
def test_prevalence(score, prevalence, turned):
    calibrated = Calibration(slope=1.0, growth=0.0, intercept=0.0)
    assert calibrated.probability([score], prevalence) == pytest.approx(turned)


def test_false_discovery_rates_by_hand():
    # Sorted 0.9, 0.8, 0.8, 0.1: shares of others 0.1, 0.2, 0.2, 0.9; those of 0.8 come together.
    rates = false_discovery_rates(np.array([0.8, 0.9, 0.1, 0.8]))
    assert rates == pytest.approx([0.5 / 3, 0.1, 1.4 / 4, 0.5 / 3])
    assert false_discovery_rates(np.array([])).tolist() == []


@given(st.lists(SHARES, min_size=1, max_size=30))
def test_a_rate_is_the_share_among_all_that_are_at_least_as_probable(probabilities):
    probability_N = np.array(probabilities)
    expected = [1 - probability_N[probability_N >= each].mean() for each in probabilities]
    assert false_discovery_rates(probability_N) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("true", [0.5, 1.0, 3.0])
def test_a_temperature_is_found_again(true):
    """Labels drawn from the logits themselves, which were multiplied by `true` afterwards."""
    rng = np.random.default_rng(0)
    margin_S = rng.normal(0, 2, 20_000)
    virus_S = rng.random(20_000) < 1 / (1 + np.exp(-margin_S))
    logits_S2 = np.stack([np.zeros(20_000), true * margin_S], axis=1)
    # The deviation of an estimate from 20,000 draws of this width is 1.3 %.
    assert temperature(logits_S2, virus_S, np.ones(2)) == pytest.approx(true, rel=0.06)


def test_runs_of_records():
    runs = runs_of([np.array([1.0, 3.0, 5.0]), np.array([-1.0]), np.array([])], [True, False, True], list("aba"))
    assert runs.chunks_N.tolist() == [1, 1, 1, 2, 1]
    assert runs.mean_N.tolist() == [1, 3, 5, 2, -1]
    assert runs.virus_N.tolist() == [True] * 4 + [False]
    assert runs.source_N.tolist() == [0, 0, 0, 0, 1]


def log_odds(calibrated, mean_N, chunks):
    return (calibrated.slope + calibrated.growth * math.log2(chunks)) * mean_N + calibrated.intercept


def drawn(calibrated, chunks, count, seed):
    rng = np.random.default_rng(seed)
    mean_N = rng.normal(0, 2, count)
    virus_N = rng.random(count) < 1 / (1 + np.exp(-log_odds(calibrated, mean_N, chunks)))
    return Runs(mean_N, np.full(count, chunks), virus_N, np.arange(count))


def test_a_calibration_is_found_again():
    true = Calibration(0.7, 0.4, 0.0)
    each = [drawn(true, chunks, 8_000, chunks) for chunks in (1, 2, 4)]
    runs = Runs(
        *(
            np.concatenate([getattr(one, name) for one in each])
            for name in ("mean_N", "chunks_N", "virus_N", "source_N")
        )
    )
    estimate = calibration(runs)
    # Deviations of estimates from 24,000 draws are below 0.02.
    assert (estimate.slope, estimate.growth, estimate.intercept) == pytest.approx((0.7, 0.4, 0.0), abs=0.08)
    assert estimate.longest == 4


def test_of_chunks_alone_nothing_is_learned_of_longer_ones():
    estimate = calibration(drawn(Calibration(0.7, 0.4, 0.0), 1, 4_000, 1))
    assert estimate.growth == 0 and estimate.slope == pytest.approx(0.7, abs=0.1)


def test_what_is_told_apart_without_error_is_not_certain():
    mean_N = np.array([-3.0, -2.0, -1.0, 1.0, 2.0, 3.0])
    estimate = calibration(Runs(mean_N, np.ones(6, int), mean_N > 0, np.arange(6)))
    # 4 of 5 by Platt's targets: (3 + 1) / (3 + 2).
    assert 0.7 < probability(log_odds(estimate, mean_N, 1)[3:].mean()) < 0.9


def test_one_long_genome_says_nothing_of_long_contigs():
    """Runs of one source are no witnesses of each other."""
    short = [np.array([value]) for value in np.random.default_rng(0).normal(0, 1, 400)]
    virus = [place < 200 for place in range(400)]
    long = [np.full(64, 3.0), np.full(64, -3.0)]
    runs = runs_of([*short, *long], [*virus, True, False], [*map(str, range(400)), "long virus", "long other"])
    estimate = calibration(runs)
    assert estimate.growth == 0 and estimate.longest == 1
    # Of chunks, too, a source with many counts as one.
    assert estimate.slope == pytest.approx(calibration(runs_of([*short, *(x[:1] for x in long)], [*virus, True, False],
                                           list(map(str, range(402))))).slope, abs=1e-3)  # fmt: skip


def test_frames_that_are_told_apart_without_error_are_not_made_certain():
    logits_S2 = np.stack([np.zeros(24), np.repeat([2.0, -2.0], 12)], axis=1)
    divisor = temperature(logits_S2, np.repeat([True, False], 12), np.ones(2))
    # Platt's target of 12 is 13/14: a margin of 2 / T is log(13).
    assert divisor == pytest.approx(2 / math.log(13), rel=1e-3)


def test_scores_that_say_nothing_give_one_half():
    estimate = calibration(
        Runs(np.array([1.0, -1.0] * 50), np.ones(100, int), np.repeat([True, False], 50), np.arange(100))
    )
    assert estimate.slope == pytest.approx(0, abs=1e-4)
    assert probability(estimate.intercept) == pytest.approx(0.5, abs=1e-4)
