"""Performance page: a run's telemetry and the validation's results as one HTML page: no script, nothing fetched."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping

from virnucpro.reporting import pictures
from virnucpro.reporting.decisions import ELSEWHERE, REQUIREMENTS
from virnucpro.reporting.html import render
from virnucpro.reporting.report_rows import rank_sections, sections, steps_from
from virnucpro.reporting.requirements import FAIL, NOT_MEASURED, PASS, Content, failed, find

# Of every window: title, its key, factor to the unit shown, the requirement it is checked against.
OVER_TIME = (
    ("tokens a second", "tokens_per_second", 1, None),
    ("GPU utilisation, %", "gpu_utilization", 1, "gpu_utilization"),
    ("packing, %", "packing_efficiency", 100, "packing_efficiency"),
    ("wait for the loader, ms", "loader_wait_ms", 1, "loader_wait"),
)


def page(telemetry: Content, results: Mapping[str, Content]) -> str:
    """Make the page of what `generate_performance_report` takes.

    Raises:
        KeyError, TypeError, AttributeError, ValueError: It is something else.
    """
    metadata, summary = telemetry["run_metadata"], telemetry["summary"]
    findings = find(summary, results, metadata.get("audit"))
    counts = Counter(finding.verdict for finding in findings)
    return render(
        "report_page.html",
        run=metadata.get("run_id", ""),
        verdict=FAIL if counts[FAIL] else PASS if counts[PASS] else NOT_MEASURED,
        all_measured=not counts[NOT_MEASURED],
        counts=[(word, counts[word]) for word in (PASS, FAIL, NOT_MEASURED)],
        findings=findings,
        failed=failed(findings),
        elsewhere=ELSEWHERE,
        sections=list(sections(metadata, summary, results)),
        ranks=list(rank_sections(summary)),
        pictures=[*_of_run(telemetry), *_of_results(results)],
    )


def _of_run(telemetry: Content) -> Iterator[tuple[str, str]]:
    """Yield headings and SVG of the run's pictures."""
    batches = telemetry.get("per_batch_metrics", [])
    if stages := telemetry["run_metadata"].get("stage_seconds"):
        yield "What the time went into", pictures.bars(list(stages.items()), "Seconds of each stage")
    excluded = telemetry["summary"]["warmup_excluded"]
    warmup = max((batch["elapsed_seconds"] for batch in batches if excluded and batch["warmup"]), default=0.0)
    for title, key, factor, name in OVER_TIME:
        series = defaultdict(list)
        for batch in batches:
            if batch[key] is not None:
                point = batch["elapsed_seconds"], factor * batch[key]
                series[f"rank {batch['rank']} ({batch['device']})"].append(point)
        if series:
            bound = REQUIREMENTS[name].bound if name else None
            yield f"{title[0].upper()}{title[1:]}, window by window", pictures.over_time(series, title, bound, warmup)


def _of_results(results: Mapping[str, Content]) -> Iterator[tuple[str, str]]:
    """Yield headings and SVG of the validation's pictures."""
    if comparison := results.get("speedup_comparison"):
        if sides := [comparison[side] for side in ("baseline", "candidate") if side in comparison]:
            rows = [(f"{side['version']} ({side['precision']})", side["elapsed_sec"]) for side in sides]
            yield "This version and v1.0", pictures.waterfall(rows, "Seconds of each version")
        if steps := comparison.get("breakdown"):
            rows = [(step, seconds if isinstance(seconds, (int, float)) else None) for step, seconds, _ in steps]
            heading = f"What each optimisation is worth{steps_from(comparison)}"
            yield heading, pictures.waterfall(rows, "Seconds per 10,000 proteins, step by step")
    if scaling := results.get("scaling"):
        many = f"{scaling['world_size']} {scaling['devices']}"
        rows = [("one of them", scaling["seconds_one"]), (many, scaling["seconds_many"])]
        yield f"The same work on {many}", pictures.waterfall(rows, "Seconds of computing")
    if grid := results.get("tuning", {}).get("packing_grid"):
        yield "Sizes of packs and windows", pictures.packing_map(grid)
