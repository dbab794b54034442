"""Charts: the pictures of our front page, drawn by matplotlib, as SVG for the inside of a page.

Text stays text, in the page's own font and colour, so that a dark page has light letters.
"""

from __future__ import annotations

import io
from collections.abc import Sequence

import matplotlib

matplotlib.use("svg")  # no display, no window
import matplotlib.pyplot as plt

INK = "#010203"  # stands for the page's own text colour, which matplotlib cannot name
FAST, SLOW, SAVED, WORSE = "#1a936f", "#8d99ae", "#c9d1dc", "#d1495b"
COLOURS = (SLOW, FAST, "#e09f3e", "#5b8def", "#9d7bd8")  # release after release
STYLE = {
    "svg.fonttype": "none",
    "font.size": 11,
    "text.color": INK,
    "axes.labelcolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.edgecolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
}
WIDTH = 9.0  # inches


def releases(groups: Sequence[tuple[str, Sequence[tuple[str, float | None]]]], title: str) -> str:
    """Bars side by side: a group for each command, a bar for each release, and how much faster than the first it is."""
    count = max(len(bars) for _, bars in groups)
    with plt.rc_context({**STYLE, "svg.hashsalt": title}):
        figure, axes = _canvas(len(groups) * (count + 0.6))
        for group, (_, bars) in enumerate(groups):
            first = bars[0][1]
            for place, (release, seconds) in enumerate(bars):
                y = group * (count + 0.6) + place
                if seconds is None:
                    _label(axes, 0, y, f"{release}: not measured")
                    continue
                ratio = f" ({first / seconds:.1f}x as fast)" if place and first else ""
                axes.barh(y, seconds, height=0.86, color=COLOURS[place % len(COLOURS)])
                _label(axes, seconds, y, f"{release}: {seconds:.1f} s{ratio}")
        middles = [group * (count + 0.6) + (count - 1) / 2 for group in range(len(groups))]
        axes.set_ylim(len(groups) * (count + 0.6) - 0.9, -0.7)
        axes.set_yticks(middles, [name for name, _ in groups])
        return _finished(figure, axes, title)


def waterfall(steps: Sequence[tuple[str, float | None]], title: str) -> str:
    """Each step's time, and in a paler colour what it saves against the step before it (in red, what it costs)."""
    with plt.rc_context({**STYLE, "svg.hashsalt": title}):
        figure, axes = _canvas(len(steps))
        before = None
        last = max((i for i, (_, seconds) in enumerate(steps) if seconds is not None), default=None)
        for y, (_, seconds) in enumerate(steps):
            if seconds is None:
                _label(axes, 0, y, "not measured")
                continue
            end, text = seconds, f"{seconds:.1f} s"
            axes.barh(y, seconds, height=0.7, color=FAST if y == last else SLOW)
            if before is not None:
                low, high = sorted((seconds, before))
                axes.barh(y, high - low, left=low, height=0.7, color=SAVED if seconds <= before else WORSE, alpha=0.7)
                axes.plot([before, before], [y - 1 + 0.35, y + 0.35], color=INK, linewidth=0.8, alpha=0.6)
                end, text = high, f"{text} ({before / seconds:.2f}x as fast)"
            _label(axes, end, y, text)
            before = seconds
        axes.set_ylim(len(steps) - 0.4, -0.6)  # downwards
        axes.set_yticks(range(len(steps)), [name for name, _ in steps])
        return _finished(figure, axes, title)


def _canvas(rows: float):
    figure, axes = plt.subplots(figsize=(WIDTH, 0.8 + 0.36 * rows), layout="constrained")
    axes.tick_params(axis="y", length=0)
    return figure, axes


def _label(axes, x: float, y: float, text: str) -> None:
    axes.annotate(text, (x, y), xytext=(5, 0), textcoords="offset points", va="center")


def _finished(figure, axes, title: str) -> str:
    axes.set_xlim(0, axes.get_xlim()[1] * 1.4 or 1)  # room for the labels
    axes.set_xlabel("seconds, less is better")
    written = io.StringIO()
    figure.savefig(written, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    plt.close(figure)
    svg = written.getvalue()
    svg = svg[svg.index("<svg") :].replace(INK, "currentColor")
    return svg.replace("<svg ", f'<svg role="img" aria-label="{title}" ', 1)
