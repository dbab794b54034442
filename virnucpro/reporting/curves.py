"""Curves: pictures of how well scores tell two classes apart, and of how a classifier learnt to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from matplotlib.ticker import MaxNLocator

from virnucpro.reporting.pictures import FAST, LINES, SAVED, SLOW, WORSE, picture

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Corner = Literal["lower right", "lower left", "upper left"]
Points = Sequence[Sequence[float]]  # (x, y)
SQUARE = 4.5  # inches
LARGEST = 200  # area of a mark


def roc(curves: Mapping[str, Points]) -> str:
    """Draw a line for each name, through points (false positive rate, recall), above the diagonal of a coin."""

    def draw(axes: Axes) -> None:
        axes.plot([0, 1], [0, 1], color=SAVED, linewidth=1, zorder=0)
        _lines(axes, curves)
        _unit_square(axes, "false positive rate", "recall of virus", "lower right")

    return picture("Recall by false positive rate", SQUARE, draw)


def precision_recall(curves: Mapping[str, Points], virus: float | None = None) -> str:
    """Draw a line for each name, through points (recall, precision).

    Args:
        virus: Their share, which is the precision of a coin, drawn across.
    """

    def draw(axes: Axes) -> None:
        if virus is not None:
            axes.axhline(virus, color=SAVED, linewidth=1, zorder=0)
        _lines(axes, curves, drawstyle="steps-pre")  # a precision holds for the recall gained since the point before
        _unit_square(axes, "recall of virus", "precision", "lower left")

    return picture("Precision by recall", SQUARE, draw)


def reliability(rows: Mapping[str, Sequence[Mapping[str, Any]]]) -> str:
    """Draw the share of viruses by the mean score, for each name a line over its bins; the larger a mark, the more.

    Args:
        rows: Of each bin "mean_score", "virus" (both None if it is empty) and "count".
    """

    def draw(axes: Axes) -> None:
        axes.plot([0, 1], [0, 1], color=SAVED, linewidth=1, zorder=0)
        for number, (name, bins) in enumerate(rows.items()):
            full = [row for row in bins if row["count"]]
            x, y = ([row[key] for row in full] for key in ("mean_score", "virus"))
            most, colour = max((row["count"] for row in full), default=1), LINES[number % len(LINES)]
            axes.plot(x, y, color=colour, linewidth=1.4, label=name)
            axes.scatter(x, y, s=[LARGEST * row["count"] / most for row in full], color=colour, alpha=0.5, linewidths=0)
        _unit_square(axes, "mean score of virus", "share of viruses", "upper left")

    return picture("Share of viruses by score", SQUARE, draw)


def losses(train: Sequence[float], validation: Sequence[float], best_epoch: int) -> str:
    """Draw the loss of each epoch on both sets.

    Args:
        best_epoch: Whose weights were kept, counted from 1, drawn across.
    """

    def draw(axes: Axes) -> None:
        for name, values, colour in (("training", train, SLOW), ("validation", validation, FAST)):
            axes.plot(
                range(1, 1 + len(values)), values, color=colour, linewidth=1.4, marker="o", markersize=3, label=name
            )
        axes.axvline(best_epoch, color=WORSE, linewidth=1, linestyle="--", label=f"kept: epoch {best_epoch}")
        axes.set(xlabel="epoch", ylabel="loss", ylim=(0, None))
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(axis="y", alpha=0.15)
        axes.legend(loc="best")

    return picture("Loss by epoch", 2.8, draw)


def _lines(axes: Axes, curves: Mapping[str, Points], **how: Any) -> None:
    for number, (name, points) in enumerate(curves.items()):
        x, y = ([point[place] for point in points] for place in (0, 1))
        axes.plot(x, y, label=name, color=LINES[number % len(LINES)], linewidth=1.4, **how)


def _unit_square(axes: Axes, x: str, y: str, corner: Corner) -> None:
    """Axes of two shares, with a legend in a corner."""
    margin = (-0.02, 1.02)
    axes.set(xlabel=x, ylabel=y, aspect="equal", xlim=margin, ylim=margin)
    axes.grid(alpha=0.15)
    if axes.get_legend_handles_labels()[0]:
        axes.legend(loc=corner)
