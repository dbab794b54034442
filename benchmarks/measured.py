"""Measured: a benchmark whose one measurement yields several figures."""

from __future__ import annotations

import json
import traceback
from collections.abc import Callable
from pathlib import Path

from benchmarks.support import gpu, inputs
from benchmarks.support.output import whole_file
from benchmarks.support.skip import Skip


class Measured:
    """Base of benchmarks. asv asks for each figure in a process of its own; the measuring is done once for all.

    asv gives benchmarks with the same `setup_cache` one folder per commit: the result lies there, or why there is none.
    """

    figures: dict[str, str] = {}  # name -> unit: asv's track_NAME; a subclass has those of its base besides
    timeout = 3600  # s: one command of v1.0 with the 3B model takes four minutes
    rests = False  # whether the GPU rests before each of its measurements, not only after the commit before
    version = "1"  # of what is measured; asv compares no results of different versions

    def setup_cache(self) -> None:
        """Runs once per commit: give the GPU a rest after the commit before."""
        gpu.cool_down(inputs.cache())

    def __init_subclass__(cls) -> None:
        for name, unit in vars(cls).get("figures", {}).items():
            setattr(cls, f"track_{name}", _track(name, unit))

    def setup(self, *params: str) -> None:
        path = Path("-".join([type(self).__name__, *params]).replace(" ", "_") + ".json")
        if not path.exists():
            result = self._result(*params)
            with whole_file(path) as file:
                json.dump(result, file)
        self.result = json.loads(path.read_text(encoding="utf-8"))
        if "failed" in self.result:
            raise RuntimeError(self.result["failed"])

    def _result(self, *params: str) -> dict[str, object]:
        if self.rests:
            gpu.cool_down(inputs.cache())
        try:
            result = self.measure(*params)
        except Skip:
            raise
        except Exception as error:  # whatever a commit can do wrong: it fails, the others are measured all the same
            result = {"failed": "".join(traceback.format_exception(error))}
        gpu.used(inputs.cache())
        return result

    def measure(self, *params: str) -> dict[str, object]:
        """Measure one set of parameters: all of `figures` by their names, and whatever else there is to tell.

        Raises:
            Skip: It cannot run here, or not on this commit; says why.
        """
        raise AssertionError(f"{type(self).__name__} does not say what it measures.")

    def figure(self, name: str) -> dict | float:
        """One of them, as a sample: asv keeps all samples of a figure, and their median and interval are its result.
        A figure that this machine, or this commit, does not have is a skip."""
        value = self.result[name]
        if value is None:
            print(f"asv: skipped: no {name.replace('_', ' ')} here.")
            return float("nan")
        return {"samples": [value], "number": 1}


def _track(name: str, unit: str) -> Callable[..., dict | float]:
    """The function by which asv knows a figure and its unit."""

    def track(self: Measured, *params: str) -> dict | float:
        return self.figure(name)

    track.unit = unit
    return track
