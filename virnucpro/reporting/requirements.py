"""Requirements: a run checked against them, each with what to do next where it is not met.

Findings are made from the summary of a telemetry file and from the results of the validation suite in tests/benchmarks.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from virnucpro.reporting.decisions import REQUIREMENTS, Requirement, branch

PASS, FAIL, NOT_MEASURED = "PASS", "FAIL", "NOT MEASURED"
PROJECTIONS = ("sequences", "tokens")  # what the time for a large run is estimated by
_COMPARISONS = {">=": operator.ge, "<": operator.lt}

Content = Mapping[str, Any]  # of a JSON object


@dataclass(frozen=True)
class Finding:
    """A requirement checked against a value in its unit; None: it was not measured. of: which part of the run."""

    requirement: Requirement
    value: float | None
    of: str = ""

    @property
    def verdict(self) -> str:
        if self.value is None:
            return NOT_MEASURED
        # NaN compares false, and so fails.
        return PASS if _COMPARISONS[self.requirement.sign](self.value, self.requirement.bound) else FAIL

    @property
    def measured(self) -> str:
        """The value in words; what fails by little does not read as what is asked for."""
        if self.value is None:
            return ""
        text, bound = decimals(self.value), self.requirement.bound
        if text == decimals(bound) and self.value != bound:
            text = f"{self.value:.10g}"
        return f"{text}{self.requirement.unit}"

    def __str__(self) -> str:
        of = f", {self.of}" if self.of else ""
        return f"{self.requirement}{of}: {self.verdict} {self.measured}".rstrip()


def decimals(value: float) -> str:
    """At most two: 99.40 is 99.4; and where these would be zeros, enough to tell it from nothing."""
    if 0 < abs(value) < 0.005:
        return f"{value:.1g}"
    text = f"{value:,.2f}"
    return text.rstrip("0").rstrip(".") if math.isfinite(value) else text


def find(summary: Content, results: Mapping[str, Content], audit: Content | None = None) -> list[Finding]:
    """Check a run against all requirements.

    Args:
        summary: Of its telemetry (`virnucpro.utils.totals.summarise`). Of a run in which a worker ended within its
            warm-up nothing counts as measured: its rates are those of the start, or of some of the workers. Of a run on
            the CPU the hours do not: they are asked of a GPU.
        results: What the validation suite measured, by the names of its files: "speedup_comparison" (if it was judged),
            "scaling" (if it is of two GPUs), "checkpoint_overhead". What is missing is not measured.
        audit: Of a run in 8 bits; nothing is asked of others.
    """
    workers = summary["per_rank"]
    steady = all(entry["sums"]["after_warmup"]["batches"] for entry in workers.values())
    hours = {of: summary[f"projected_hours_6m_sequences_by_{of}"] if _on_gpu(summary) else None for of in PROJECTIONS}
    ranks = [
        (f"rank {rank} ({entry['device']})", entry["mean_gpu_utilization"], entry["packing_efficiency"])
        for rank, entry in workers.items()
    ] or [("", None, None)]
    rates = [
        *(("projected_hours", hours[of], f"by {of}") for of in PROJECTIONS),
        *(("gpu_utilization", percent, of) for of, percent, _ in ranks),
        *(("packing_efficiency", None if share is None else 100 * share, of) for of, _, share in ranks),
        ("loader_wait", summary["p95_loader_wait_ms"], ""),
    ]
    comparison, scaling = results.get("speedup_comparison", {}), results.get("scaling", {})
    is_judged = comparison.get("verdict") in (PASS, FAIL)
    is_of_two_gpus = (scaling.get("devices"), scaling.get("world_size")) == ("GPUs", 2)
    # Against a run without checkpoints where there was one, else the share of the time that writing took.
    share = summary["checkpoint_overhead_percent"] if steady and summary["checkpoint_write_seconds"] else None
    measured = [
        ("speedup", comparison["ratio"] if is_judged else None, ""),
        *((key, value if steady else None, of) for key, value, of in rates),
        ("scaling", scaling["speedup"] if is_of_two_gpus else None, ""),
        ("checkpoint_overhead", results.get("checkpoint_overhead", {}).get("overhead_percent", share), ""),
    ]
    if audit:
        missed = len(audit["missed"]) if audit["sequences"] else None
        measured.append(("audit", missed, f"results in {audit['results']}"))
    return [Finding(REQUIREMENTS[key], value, of) for key, value, of in measured]


def _on_gpu(summary: Content) -> bool:
    return any(entry["device"] != "cpu" for entry in summary["per_rank"].values())


def failed(findings: Iterable[Finding]) -> list[tuple[Requirement, list[Finding]]]:
    """The requirements that are not met, each with what does not meet it."""
    among = [finding for finding in findings if finding.verdict == FAIL]
    return [(requirement, list(group)) for requirement, group in groupby(among, lambda finding: finding.requirement)]


def unmet(findings: Iterable[Finding], in_checkout: bool = True) -> str:
    """What is not met, each with its branch of the decision tree (see `branch`); empty if all is met."""
    lines: list[str] = []
    for requirement, among in failed(findings):
        lines += [*map(str, among), *branch(requirement, in_checkout)]
    return "\n".join(lines)
