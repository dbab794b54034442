"""Performance report: telemetry and results of the validation for people, as a text and as a page."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from virnucpro.errors import BadInput, BadRequest
from virnucpro.reporting.report_rows import Rows, rank_rows, sections
from virnucpro.reporting.requirements import FAIL, Content, find, unmet
from virnucpro.system.files import whole_file

log = logging.getLogger(__name__)
# What the validation suite writes beside the telemetry; each may be missing.
RESULTS = ("speedup_comparison", "scaling", "checkpoint_overhead", "tuning")
TELEMETRY, REPORT = "telemetry_", "performance_report"


def report_on(run: Path) -> tuple[str, Path | None]:
    """Report on a directory with a run's telemetry, and results of the validation if there are any.

    Args:
        run: The output directory of a run, or one telemetry file in it.
    Returns:
        The text, and the path of the page; both are in files beside the telemetry, performance_report_{run_id}. None if
        they cannot be written, which the log says.
    Raises:
        BadInput: There is no telemetry, or a file is broken. BadRequest: There is telemetry of several runs.
    """
    files = [run] if run.is_file() else sorted(run.glob(f"{TELEMETRY}*.json"))
    if not files:
        raise BadInput(
            f"{run} has no {TELEMETRY}*.json, which a run leaves in its output directory when it ends (since version "
            "2.1). Give such a directory; an unfinished run is finished with --resume."
        )
    if len(files) > 1:
        names = ", ".join(file.name for file in files)
        raise BadRequest(f"{run} has {len(files)} files of telemetry ({names}). Give one of them.")
    (file,) = files
    telemetry = _read(file)
    paths = {name: file.with_name(f"{name}.json") for name in RESULTS}
    results = {name: _read(path) for name, path in paths.items() if path.exists()}
    path = file.with_name(f"{REPORT}_{file.stem.removeprefix(TELEMETRY)}.txt")
    text = _text(telemetry, results, [file, *(paths[name] for name in results)])
    try:
        _write(text, telemetry, results, path)
    except OSError as error:
        log.warning("No files are written: %s.", error)
        return text, None
    return text, path.with_suffix(".html")


def _read(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(content, dict):
            raise ValueError("not an object")
    except (ValueError, RecursionError) as error:
        raise BadInput(f"{path} is broken ({error}), but must be a JSON object. Run what made it again.") from error
    return content


def generate_performance_report(telemetry: Content, path: Path, results: Mapping[str, Content] | None = None) -> str:
    """Write what a telemetry file holds as plain text, and beside it as one HTML page with pictures.

    Args:
        telemetry: As in a telemetry file, or merged from several. Hardware is taken from its metadata's "hardware",
            which `capture_hardware_info` gives.
        path: Of the text; the page has the suffix .html instead. Each is written whole or not at all; the folder is
            made if need be.
        results: What the validation suite found, by the names in `RESULTS`.
    Returns:
        The text.
    Raises:
        BadInput: `telemetry` or `results` are something else. OSError: A file cannot be written.
    """
    text = _text(telemetry, results or {})
    path.parent.mkdir(parents=True, exist_ok=True)
    _write(text, telemetry, results or {}, path)
    return text


def _text(telemetry: Content, results: Mapping[str, Content], files: Iterable[Path] = ()) -> str:
    return _made(lambda: "\n".join(_lines(telemetry, results)) + "\n", files)


def _write(text: str, telemetry: Content, results: Mapping[str, Content], path: Path) -> None:
    """The page, then the text, each whole or not at all."""

    def page() -> str:
        from virnucpro.reporting.performance_page import page  # imports matplotlib

        return page(telemetry, results)

    for file_path, content in ((path.with_suffix(".html"), _made(page)), (path, text)):
        with whole_file(file_path) as file:
            file.write(content)


def _made(make: Callable[[], str], files: Iterable[Path] = ()) -> str:
    """What `make` gives, as text that UTF-8 has room for: names of files may hold bytes that are none.

    Raises:
        BadInput: What it is made of is something else.
    """
    try:
        return make().encode("utf-8", "replace").decode("utf-8")
    except (KeyError, TypeError, AttributeError, ValueError, ArithmeticError) as error:
        among = " or ".join(map(str, files)) or "This"
        raise BadInput(
            f"{among} is not what it has to be ({type(error).__name__}: {error}), so there is nothing to report. "
            "Give the telemetry_*.json of a run, and results as the validation wrote them."
        ) from error


def _lines(telemetry: Content, results: Mapping[str, Content]) -> Iterator[str]:
    metadata, summary = telemetry["run_metadata"], telemetry["summary"]
    findings = find(summary, results)
    yield from ("virnucpro performance report", "============================")
    for title, rows in sections(metadata, summary, results):
        yield from _section(title, rows)
    yield from ("", "Requirements", *(f"  {finding}" for finding in findings))
    if any(finding.verdict == FAIL for finding in findings):
        yield from ("", "What to do next", *(f"  {line}" for line in unmet(findings, in_checkout=False).splitlines()))
    for rank, entry in summary["per_rank"].items():
        yield from _section(f"Rank {rank} ({entry['device']})", rank_rows(entry))


def _section(title: str, rows: Rows) -> Iterator[str]:
    width = max([20, *(len(name) for name, _ in rows)])
    yield from ("", title, *(f"  {name:<{width}} {text}".rstrip() for name, text in rows))
