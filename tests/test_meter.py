"""The meter: what a finished window adds to the telemetry and to the bar."""

import numpy as np
import pytest

from virnucpro.engine.events import WindowCost
from virnucpro.engine.results import FinishedWindow
from virnucpro.pipeline.meter import Meter
from virnucpro.pipeline.progress_reporter import InferenceProgressReporter
from virnucpro.utils.telemetry import TelemetryLogger


def window(firsts):
    """Pieces that begin with these chunks of their reads."""
    firsts_R = np.array(firsts, np.int64)
    ones_R = np.ones(len(firsts), np.int64)
    names = [f"r{place}" for place in range(len(firsts))]
    return FinishedWindow(0, names, ones_R, firsts_R, ones_R, ones_R.astype(np.uint8), 0, 0, {})


@pytest.mark.parametrize(
    "packs, capacity, tokens, efficiency", [(2, 200, 150, 0.75), (1, 303, 303, 1.0), (0, 0, 0, None)]
)
def test_packs_and_what_they_could_have_held(tmp_path, packs, capacity, tokens, efficiency):
    telemetry = TelemetryLogger(tmp_path, "x")
    meter = Meter(InferenceProgressReporter(9, show=False), telemetry)
    cost = WindowCost(0, "cpu", tokens, packs, 1, 1.0, 0.002, capacity=capacity)
    meter.count(window([0]), cost, write_seconds=None)
    assert telemetry.get_summary()["packing_efficiency"] == efficiency


def test_what_is_written_after_the_last_window_counts(tmp_path):
    telemetry = TelemetryLogger(tmp_path, "x")
    meter = Meter(InferenceProgressReporter(9, show=False), telemetry)
    meter.count_write(3.0)  # of a run without a window
    meter.count(window([0]), WindowCost(0, "cpu", 1, 1, 1, 1.0, 0.0, capacity=1), write_seconds=0.5)
    meter.count_write(0.25)
    meter.count_write(None)
    assert telemetry.get_summary()["checkpoint_write_seconds"] == 0.75


def test_a_record_counts_once_however_many_windows_it_spans(tmp_path):
    counted = []
    bar = InferenceProgressReporter(9, show=False)
    bar.update = lambda records, *more: counted.append(records)
    meter = Meter(bar, TelemetryLogger(tmp_path, "x"))
    for firsts in ([0, 0], [5], [8, 0]):
        meter.count(window(firsts), WindowCost(0, "cpu", 1, 1, 1, 1.0, 0.0, capacity=1), write_seconds=0.5)
    assert counted == [2, 0, 1]
