"""Performance report: telemetry and results of the validation for people, as a text and as a page."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from virnucpro.errors import BadInput, BadRequest
from virnucpro.reporting.report_rows import Rows, rank_sections, sections
from virnucpro.reporting.requirements import Content, find, unmet
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
    text = _filled(_text, telemetry, results, files=[file, *(paths[name] for name in results)])
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
        results: What the validation suite measured, by the names in `RESULTS`.
    Returns:
        The text.
    Raises:
        BadInput: `telemetry` or `results` are something else. OSError: A file cannot be written.
    """
    text = _filled(_text, telemetry, results or {})
    path.parent.mkdir(parents=True, exist_ok=True)
    _write(text, telemetry, results or {}, path)
    return text


def _write(text: str, telemetry: Content, results: Mapping[str, Content], path: Path) -> None:
    """Write the page, then the text, each whole or not at all."""
    from virnucpro.reporting.performance_page import page  # imports matplotlib

    for file_path, content in ((path.with_suffix(".html"), _filled(page, telemetry, results)), (path, text)):
        with whole_file(file_path) as file:
            file.write(content)


def _filled(form: Callable[..., str], *content: object, files: Iterable[Path] = ()) -> str:
    """Fill the text or the page; what UTF-8 has no room for, as bytes in names of files, becomes a question mark.

    Raises:
        BadInput: The content, which comes from `files`, is something else.
    """
    try:
        return form(*content).encode("utf-8", "replace").decode("utf-8")
    except (KeyError, TypeError, AttributeError, ValueError, ArithmeticError) as error:
        among = " or ".join(map(str, files)) or "This"
        raise BadInput(
            f"{among} is not what it has to be ({type(error).__name__}: {error}), so there is nothing to report. "
            "Give the telemetry_*.json of a run, and results as the validation wrote them."
        ) from error


def _text(telemetry: Content, results: Mapping[str, Content]) -> str:
    metadata, summary = telemetry["run_metadata"], telemetry["summary"]
    findings = find(summary, results, metadata.get("audit"))
    lines = ["virnucpro performance report", "============================"]
    for title, rows in sections(metadata, summary, results):
        lines += _section(title, rows)
    lines += ["", "Requirements", *(f"  {finding}" for finding in findings)]
    if advice := unmet(findings, in_checkout=False):
        lines += ["", "What to do next", *(f"  {line}" for line in advice.splitlines())]
    for title, rows in rank_sections(summary):
        lines += _section(title, rows)
    return "\n".join(lines) + "\n"


def _section(title: str, rows: Rows) -> list[str]:
    width = max([20, *(len(name) for name, _ in rows)])
    return ["", title, *(f"  {name:<{width}} {text}".rstrip() for name, text in rows)]
