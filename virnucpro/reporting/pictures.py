"""Pictures: drawn by matplotlib, as SVG for the inside of a page.

Text stays text, in the page's own font and colour, so that a dark page has light letters.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING, Any

import matplotlib
from matplotlib.figure import Figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes

INK = "#010203"  # stands for the page's own text colour, which matplotlib cannot name
FAST, SLOW, SAVED, WORSE = "#1a936f", "#8d99ae", "#c9d1dc", "#d1495b"
COLOURS = (SLOW, FAST, "#e09f3e", "#5b8def", "#9d7bd8")  # of bars side by side
LINES = (FAST, "#5b8def", "#e09f3e", "#9d7bd8", "#d1495b", SLOW)  # of ranks
STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    **dict.fromkeys(("font.size", "axes.titlesize"), 11),
    "legend.fontsize": 9,
    **dict.fromkeys(("text.color", "axes.labelcolor", "xtick.color", "ytick.color", "axes.edgecolor"), INK),
    **dict.fromkeys(("axes.spines.top", "axes.spines.right", "axes.spines.left", "legend.frameon"), False),
}
WIDTH = 9.0  # inches
MOST_POINTS, MOST_MARKS = 500, 100  # of a line: more cannot be told apart
MOST_NAMES = 25  # below columns, or they would touch


def picture(title: str, height: float, draw: Callable[[Axes], None]) -> str:
    """`draw` on axes of so many inches, as an SVG element; `title` is what it is called where it cannot be seen."""
    with matplotlib.rc_context():  # neither takes over the user's own settings nor changes the caller's
        matplotlib.rcdefaults()
        matplotlib.rcParams.update({**STYLE, "svg.hashsalt": title})
        figure = Figure(figsize=(WIDTH, height), layout="constrained")
        draw(figure.subplots())
        written = io.StringIO()
        figure.savefig(written, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    svg = written.getvalue()
    svg = svg[svg.index("<svg") :].replace(INK, "currentColor")
    return svg.replace("<svg ", f'<svg role="img" aria-label="{escape(title)}" ', 1)


def bars(rows: Sequence[tuple[str, float]], title: str) -> str:
    """Seconds of each row, side by side."""

    def draw(axes: Axes) -> None:
        for y, (_, seconds) in enumerate(rows):
            axes.barh(y, seconds, height=0.7, color=FAST)
            label(axes, seconds, y, f"{seconds:.1f} s")
        _downwards(axes, [name for name, _ in rows])

    return picture(title, 0.8 + 0.36 * len(rows), draw)


def waterfall(steps: Sequence[tuple[str, float | None]], title: str) -> str:
    """Each step's time, and in a paler colour what it saves against the step before it (in red, what it costs)."""

    def draw(axes: Axes) -> None:
        before = None
        last = max((i for i, (_, seconds) in enumerate(steps) if seconds is not None), default=None)
        for y, (_, seconds) in enumerate(steps):
            if seconds is None:
                label(axes, 0, y, "not measured")
                continue
            end, text = seconds, f"{seconds:.1f} s"
            axes.barh(y, seconds, height=0.7, color=FAST if y == last else SLOW)
            if before is not None:
                low, high = sorted((seconds, before))
                axes.barh(y, high - low, left=low, height=0.7, color=SAVED if seconds <= before else WORSE, alpha=0.7)
                axes.plot([before, before], [y - 1 + 0.35, y + 0.35], color=INK, linewidth=0.8, alpha=0.6)
                end, text = high, f"{text} ({before / seconds:.2f}x as fast)" if seconds else text
            label(axes, end, y, text)
            before = seconds
        _downwards(axes, [name for name, _ in steps])

    return picture(title, 0.8 + 0.36 * len(steps), draw)


def over_time(
    series: Mapping[str, Sequence[tuple[float, float]]], title: str, bound: float | None, warmup: float
) -> str:
    """A line for each name, through points (seconds, value).

    Args:
        bound: What the values are checked against, drawn across. warmup: Seconds that do not count, shaded.
    """

    def draw(axes: Axes) -> None:
        for number, (name, points) in enumerate(series.items()):
            seconds, values = zip(*points[:: -(-len(points) // MOST_POINTS)], strict=True)
            marker = "o" if len(seconds) <= MOST_MARKS else None
            colour = LINES[number % len(LINES)]
            axes.plot(seconds, values, label=name, color=colour, linewidth=1.4, marker=marker, markersize=3)
        if warmup:
            axes.axvspan(0, warmup, color=SAVED, alpha=0.3, linewidth=0, label="warm-up")
        if bound is not None:
            axes.axhline(bound, color=WORSE, linewidth=1, linestyle="--", label=f"required: {bound:g}")
        axes.set(xlim=(0, None), ylim=(0, None), xlabel="seconds since the models were loaded", ylabel=title)
        axes.grid(axis="y", alpha=0.15)
        axes.legend(loc="lower right")

    return picture(title, 2.8, draw)


def packing_map(grid: Mapping[str, Any]) -> str:
    """Tokens a second by token_budget and buffer_size, as colours.

    Args:
        grid: "token_budgets", "buffer_sizes", and "tokens_per_second" by both, with None where there is no number, and
            "none", which stands there then; as tuning.json has it.
    """
    rows, columns, values = grid["token_budgets"], grid["buffer_sizes"], grid["tokens_per_second"]
    title = "tokens a second"

    def draw(axes: Axes) -> None:
        numbers = [[float("nan") if value is None else value for value in line] for line in values]
        image = axes.imshow(numbers, cmap="YlGn", aspect="auto")
        share: Callable[[float], float] = image.norm  # type: ignore[assignment]  # whose types know arrays alone
        for y, line in enumerate(values):
            for x, value in enumerate(line):
                text = grid["none"] if value is None else f"{value:,.0f}"
                # on a colour of this map, not in the page's own ink
                shade = INK if value is None else "#ffffff" if share(value) > 0.6 else "#222222"
                axes.text(x, y, text, ha="center", va="center", color=shade)
        axes.set_xticks(range(len(columns)), list(map(str, columns)))
        axes.set_yticks(range(len(rows)), list(map(str, rows)))
        axes.set(xlabel="buffer_size", ylabel="token_budget", title=title)

    return picture(title, 1.4 + 0.5 * len(rows), draw)


def histogram(
    series: Mapping[str, Sequence[float]], edges: Sequence[float], title: str, bound: float | None = None
) -> str:
    """How many values lie between two edges, on an axis of powers of ten; values beyond an end are put there.

    Args:
        bound: What the values are checked against, drawn across.
    """
    low, high = edges[0], edges[-1]

    def draw(axes: Axes) -> None:
        clipped = [[min(max(value, low), high) for value in values] for values in series.values()]
        axes.hist(clipped, bins=edges, label=list(series), color=COLOURS[1 : 1 + len(series)])
        axes.set_xscale("log")
        if bound is not None:
            axes.axvline(bound, color=WORSE, linewidth=1, linestyle="--", label=f"allowed: {bound:g}")
        axes.set(xlabel=title, ylabel="sequences")
        axes.legend(loc="upper right")

    return picture(title, 2.8, draw)


def columns(heights: Mapping[str, float], names: tuple[str, str]) -> str:
    """A bar for each name, side by side; what is below 0 stands out.

    Args:
        names: Of the x and the y axis.
    """

    def draw(axes: Axes) -> None:
        colours = [FAST if height >= 0 else WORSE for height in heights.values()]
        axes.bar(range(len(heights)), list(heights.values()), color=colours, width=0.7)
        step = 1 + len(heights) // MOST_NAMES
        axes.set_xticks(range(0, len(heights), step), list(heights)[::step])
        axes.set(xlabel=names[0], ylabel=names[1])
        axes.grid(axis="y", alpha=0.15)

    return picture(" by ".join(reversed(names)), 2.8, draw)


def against(x: Sequence[float], y: Sequence[float], odd: Sequence[bool], title: str, names: tuple[str, str]) -> str:
    """A point for each pair of scores from 0 to 1, beside the diagonal; the odd ones stand out.

    Args:
        names: Of the x and the y axis.
    """

    def draw(axes: Axes) -> None:
        axes.plot([0, 1], [0, 1], color=SAVED, linewidth=1, zorder=0)
        for which, colour, size, name in ((False, FAST, 6, "same label"), (True, WORSE, 24, "other label")):
            points = [(a, b) for a, b, strange in zip(x, y, odd, strict=True) if bool(strange) == which]
            if points:
                across, up = zip(*points, strict=True)
                axes.scatter(across, up, s=size, color=colour, label=name, linewidths=0)
        axes.set(xlabel=names[0], ylabel=names[1], aspect="equal", title=title)
        if axes.get_legend_handles_labels()[0]:
            axes.legend(loc="upper left")

    return picture(title, 4.5, draw)


def label(axes: Axes, x: float, y: float, text: str) -> None:
    """Words beside the end of a bar."""
    axes.annotate(text, (x, y), xytext=(5, 0), textcoords="offset points", va="center")


def seconds_axis(axes: Axes) -> None:
    """Bars of seconds, with room for their labels."""
    axes.tick_params(axis="y", length=0)
    axes.set_xlim(0, axes.get_xlim()[1] * 1.4 or 1)
    axes.set_xlabel("seconds, less is better")


def _downwards(axes: Axes, names: Sequence[str]) -> None:
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.set_yticks(range(len(names)), names)
    seconds_axis(axes)
