"""Measured: a benchmark whose one measurement yields several figures."""

from __future__ import annotations

import json
import os
import traceback
from pathlib import Path
from typing import Any

from benchmarks import gpu, inputs
from benchmarks.skip import Skip


class Measured:
    """Base of benchmarks. asv asks for every figure in a process of its own; the measuring is done once for all.

    asv gives benchmarks with the same `setup_cache` one working directory per commit: what was measured lies there, as
    JSON, and so does the reason of what failed.
    """

    timeout = 3600  # s: one command of v1.0 with the 3B model takes four minutes
    rests = False  # whether the GPU rests before each of its measurements, not only after the commit before
    version = "1"  # of what is measured; asv compares no results of different versions

    def setup_cache(self) -> None:
        """Runs once per commit: give the GPU a rest after the commit before."""
        gpu.cool_down(inputs.cache())

    def setup(self, *params: str) -> None:
        path = Path("-".join([type(self).__name__, *params]).replace(" ", "_") + ".json")
        if not path.exists():
            found = self._measured(*params)
            unfinished = path.with_suffix(".new")
            unfinished.write_text(json.dumps(found), encoding="utf-8")
            os.replace(unfinished, path)
        found = json.loads(path.read_text(encoding="utf-8"))
        if "failed" in found:
            raise RuntimeError(found["failed"])
        self.figures = found

    def _measured(self, *params: str) -> dict:
        if self.rests:
            gpu.cool_down(inputs.cache())
        try:
            found = self.measure(*params)
        except Skip:
            raise
        except Exception as error:  # whatever a commit can do wrong: it fails, the others are measured all the same
            found = {"failed": "".join(traceback.format_exception(error))}
        gpu.used(inputs.cache())
        return found

    def measure(self, *params: str) -> dict[str, Any]:
        """All figures of one set of parameters; what else it finds may be among them.

        Raises:
            Skip: It cannot run here, or not on this commit; says why.
        """
        raise AssertionError(f"{type(self).__name__} does not say what it measures.")

    def figure(self, name: str) -> dict | float:
        """One of them, as a sample: asv keeps all samples of a figure, and their median and interval are its result.
        A figure that this machine, or this commit, does not have is a skip."""
        value = self.figures[name]
        if value is None:
            print(f"asv: skipped: no {name.replace('_', ' ')} here.")
            return float("nan")
        return {"samples": [value], "number": 1}
