"""Cells: the tables and cards of the front page, and how a figure is shown in one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from html import escape

from benchmarks.support.results import FAILED, MEASURED, Value

NONE = '<span class="none">not measured</span>'


def decimal(x: float) -> str:
    return f"{x:,.1f}" if x >= 10 else f"{x:.2f}" if x >= 0.1 else f"{x:.2g}"


def cell(value: Value, form: Callable[[float, int], str], count: int = 0) -> str:
    if value.status == MEASURED:
        return form(value.number, count)
    return "<strong>failed</strong>" if value.status == FAILED else NONE


def table(headers: list[str], rows: Iterator[list[str]], words: int) -> str:
    """Its first `words` columns are words, the others numbers."""
    from tabulate import tabulate

    align = ["left"] * words + ["right"] * (len(headers) - words)
    table = tabulate(rows, headers, tablefmt="unsafehtml", disable_numparse=True, colalign=align)
    return f'<div class="wide">{table}</div>'


def card(content: str, classes: str = "") -> str:
    return f'<div class="{f"card {classes}".strip()}">{content}</div>'


def facts_line(facts: dict) -> str:
    """machine.json in a line: whatever was registered for it."""
    named = {name: str(value) for name, value in facts.items() if name not in ("machine", "version") and value}
    if named.get("ram", "").isdigit():  # bytes, as asv finds out by itself
        named["ram"] = f"{int(named['ram']) / 2**30:.0f} GiB"
    return " &middot; ".join(f"{escape(name.replace('_', ' '))}: {escape(value)}" for name, value in named.items())
