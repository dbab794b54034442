"""Requirements: a run held against them, each with what to do next where it is not met.

Findings are made from the summary of a telemetry file and from the results of the validation suite in tests/benchmarks.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import groupby

from virnucpro.utils.decisions import REQUIREMENTS, Requirement, branch

PASS, FAIL, NOT_MEASURED = "PASS", "FAIL", "NOT MEASURED"
PROJECTIONS = ("sequences", "tokens")  # what the time for a large run is reckoned by
_COMPARISONS = {">=": operator.ge, "<": operator.lt}


@dataclass(frozen=True)
class Finding:
    """A requirement held against what was measured, in its unit; value None: it was not. of: which part of the run."""

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


def find(summary: Mapping, results: Mapping[str, Mapping]) -> list[Finding]:
    """Hold a run against all requirements.

    Args:
        summary: Of its telemetry (`virnucpro.utils.totals.summarise`). The rates of a run that ended within its warm-up
            count as not measured.
        results: What the validation suite measured, by the names of its files: "speedup_comparison" with "ratio",
            "scaling" with "speedup", "checkpoint_overhead" with "overhead_percent". What is missing is not measured.
    """
    rates = [
        *(("projected_hours", summary[f"projected_hours_6m_sequences_by_{of}"], f"by {of}") for of in PROJECTIONS),
        *(("gpu_utilization", entry["mean_gpu_utilization"], of) for of, entry in _ranks(summary)),
        *(("packing_efficiency", _percent(entry["packing_efficiency"]), of) for of, entry in _ranks(summary)),
        ("loader_wait", summary["p95_loader_wait_ms"], ""),
    ]
    # Against a run without checkpoints where there was one, else the share of the time that writing took.
    overhead = results.get("checkpoint_overhead", {}).get("overhead_percent", summary["checkpoint_overhead_percent"])
    found = [
        ("speedup", results.get("speedup_comparison", {}).get("ratio"), ""),
        *((key, value if summary["is_steady"] else None, of) for key, value, of in rates),
        ("scaling", results.get("scaling", {}).get("speedup"), ""),
        ("checkpoint_overhead", overhead, ""),
    ]
    return [Finding(REQUIREMENTS[key], value, of) for key, value, of in found]


def _ranks(summary: Mapping) -> list[tuple[str, Mapping]]:
    """Each worker in words, and its figures; of a run without a batch, one that has none."""
    ranks = [(f"rank {rank} ({entry['device']})", entry) for rank, entry in summary["per_rank"].items()]
    return ranks or [("", {"mean_gpu_utilization": None, "packing_efficiency": None})]


def _percent(share: float | None) -> float | None:
    return None if share is None else 100 * share


def failed(findings: Iterable[Finding]) -> list[tuple[Requirement, list[Finding]]]:
    """The requirements that are not met, each with what does not meet it."""
    among = [finding for finding in findings if finding.verdict == FAIL]
    return [(requirement, list(group)) for requirement, group in groupby(among, lambda finding: finding.requirement)]


def unmet(findings: Iterable[Finding]) -> str:
    """What is not met, each with its branch of the decision tree; empty if all is met."""
    lines: list[str] = []
    for requirement, among in failed(findings):
        lines += [*map(str, among), *branch(requirement)]
    return "\n".join(lines)
