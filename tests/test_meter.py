"""The meter: what a finished window adds to the telemetry and to the bar."""

import numpy as np
import pytest

from virnucpro.outcomes import Finished
from virnucpro.pipeline.meter import Meter
from virnucpro.pipeline.progress_reporter import InferenceProgressReporter
from virnucpro.utils.telemetry import TelemetryLogger
from virnucpro.work import Cost


def window(firsts):
    """Pieces that begin with these chunks of their reads."""
    firsts_R = np.array(firsts, np.int64)
    ones_R = np.ones(len(firsts), np.int64)
    names = [f"r{place}" for place in range(len(firsts))]
    return Finished(0, names, ones_R, firsts_R, ones_R, ones_R.astype(np.uint8), 0, 0, {})


@pytest.mark.parametrize(
    "packs, tokens, efficiency",
    [
        (2, 150, 0.75),  # of 2 * 100
        (2, 200, 1.0),
        (3, 301, 301 / 303),  # a sequence longer than the budget: rounded up to whole tokens a pack, never over 1
        (0, 0, None),
    ],
)
def test_packs_are_never_more_than_full(tmp_path, packs, tokens, efficiency):
    telemetry = TelemetryLogger(tmp_path, "x")
    meter = Meter(InferenceProgressReporter(9, show=False), telemetry, token_budget=100)
    meter.count(window([0]), Cost(0, "cpu", tokens, packs, 1, 1.0, 0.002), write_seconds=None)
    assert telemetry.get_summary()["packing_efficiency"] == (None if efficiency is None else pytest.approx(efficiency))


def test_a_record_counts_once_however_many_windows_it_spans(tmp_path):
    counted = []
    bar = InferenceProgressReporter(9, show=False)
    bar.update = lambda records, *more: counted.append(records)
    meter = Meter(bar, TelemetryLogger(tmp_path, "x"), token_budget=100)
    for firsts in ([0, 0], [5], [8, 0]):
        meter.count(window(firsts), Cost(0, "cpu", 1, 1, 1, 1.0, 0.0), write_seconds=0.5)
    assert counted == [2, 0, 1]
