"""Charts: the pictures of our front page that the package's own reports do not have."""

from __future__ import annotations

from collections.abc import Sequence

from virnucpro.reporting.pictures import COLOURS, label, picture, seconds_axis


def releases(groups: Sequence[tuple[str, Sequence[tuple[str, float | None]]]], title: str) -> str:
    """Bars side by side: a group for each command, a bar for each release, and how much faster than the first it is."""
    count = max(len(bars) for _, bars in groups)
    step = count + 0.6

    def draw(axes) -> None:
        for group, (_, bars) in enumerate(groups):
            first = bars[0][1]
            for place, (release, seconds) in enumerate(bars):
                y = group * step + place
                if seconds is None:
                    label(axes, 0, y, f"{release}: not measured")
                    continue
                ratio = f" ({first / seconds:.1f}x as fast)" if place and first else ""
                axes.barh(y, seconds, height=0.86, color=COLOURS[place % len(COLOURS)])
                label(axes, seconds, y, f"{release}: {seconds:.1f} s{ratio}")
        axes.set_ylim(len(groups) * step - 0.9, -0.7)
        axes.set_yticks([group * step + (count - 1) / 2 for group in range(len(groups))], [name for name, _ in groups])
        seconds_axis(axes)

    return picture(title, 0.8 + 0.36 * len(groups) * step, draw)
