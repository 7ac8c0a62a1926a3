"""What several figures of released results share: labels that pictures can hold, and ticks of ratios."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LONGEST = 60


def printable(text: str) -> str:
    """Return a label without the control characters that no picture format may hold."""
    return "".join(letter if letter.isprintable() else " " for letter in text)


def short(text: str) -> str:
    """Return a label that leaves room for the picture."""
    text = printable(text)
    return text if len(text) <= LONGEST else text[: LONGEST - 3] + "..."


def ratio_axis(ax: Axes) -> None:
    """Make the horizontal axis one of ratios, and write 0.5, 1, 2 and not powers of ten.

    Where all intervals lie close together, the ticks do too; with a single one nobody could read a ratio.
    """
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    ax.set_xscale("log")
    low, high = ax.get_xlim()
    if high < 2.2 * low:
        subs: tuple[float, ...] = (1.0, 1.1, 1.2, 1.3, 1.4, 1.6, 1.8, *range(2, 10))
    elif high < 4.0 * low:
        subs = (1.0, 1.2, 1.4, 1.6, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 8.0)
    else:
        subs = (1.0, 1.5, 2.0, 3.0, 5.0, 7.0) if high < 20.0 * low else (1.0, 2.0, 5.0)
    ax.xaxis.set_major_locator(LogLocator(base=10, subs=subs))
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    ax.xaxis.set_minor_formatter(NullFormatter())
