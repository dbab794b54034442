"""Bars: charts as plain HTML, for a page that needs neither scripts nor a library of pictures."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape

Bar = tuple[str, float | None, str]  # what it is, its length or None for what was not measured, what stands beside it


def chart(title: str, groups: Iterable[tuple[str, list[Bar]]]) -> str:
    """Groups of bars with one scale for all."""
    groups = list(groups)
    longest = max((length for _, bars in groups for _, length, _ in bars if length), default=1.0)
    lines = [f'<figure class="bars" role="img" aria-label="{escape(title)}"><figcaption>{escape(title)}</figcaption>']
    for name, bars in groups:
        lines += [f"<p>{escape(name)}</p>"] if name else []
        for number, (label, length, said) in enumerate(bars):
            share = 100 * length / longest if length else 0
            lines.append(
                f'<div><span>{escape(label)}</span><i class="b{number % 4}" style="width:calc({share:.2f}% * .6)"></i>'
                f"{escape(said)}</div>"
            )
    return "\n".join([*lines, "</figure>"])


def releases(title: str, groups: Iterable[tuple[str, list[tuple[str, float | None]]]]) -> str:
    """A group for each command, a bar for each release, and how much faster than the first it is."""

    def bars(found: list[tuple[str, float | None]]) -> list[Bar]:
        first = found[0][1]
        made = []
        for number, (release, seconds) in enumerate(found):
            more = f" ({first / seconds:.1f}x as fast)" if number and first and seconds else ""
            made.append((release, seconds, f"{seconds:.1f} s{more}" if seconds else "not measured"))
        return made

    return chart(title, [(name, bars(found)) for name, found in groups])
