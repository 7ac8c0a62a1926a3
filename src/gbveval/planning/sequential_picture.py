"""Hides how the bounds of a sequential plan are drawn, with what was seen so far."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from gbveval.core._display import INK, PALE, SERIES
from gbveval.core.errors import DesignError
from gbveval.core.table import Table
from gbveval.design._require import real
from gbveval.planning.interim import BOUNDS

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Room above the highest bound and below the lowest, on the scale of z.
ROOM = 0.8


def plot_boundaries(table: Table, *, seen: Sequence[float] = (), ax: Axes | None = None) -> Axes:
    """Draw the bounds of a sequential plan along its size, with what was seen at its looks so far.

    Parameters
    ----------
    table : Table
        From `boundaries`.
    seen : sequence of float
        The z that was seen at each look so far, positive in the direction of the alternative.
    ax : matplotlib.axes.Axes, optional
        Where to draw.

    Returns
    -------
    matplotlib.axes.Axes
        Above the upper line the study stops because the effect is shown, below the lower one for futility or harm (or,
        for a two-sided test, because an effect in the other direction is shown).

    Raises
    ------
    DesignError
        If the table is another one, or more was seen than there are looks.

    Examples
    --------
    >>> import matplotlib
    >>> matplotlib.use("Agg")
    >>> import gbveval as gbv
    >>> plan = gbv.ParallelDesign(n_per_arm=64, outcome=gbv.Continuous())
    >>> design = gbv.SequentialDesign(plan, looks=(0.5, 1.0), boundary=gbv.OBrienFleming())
    >>> plot_boundaries(gbv.boundaries(design)).get_ylabel()
    'z'
    """
    import matplotlib.pyplot as plt

    if not isinstance(table, Table) or table.title != BOUNDS:
        raise DesignError("plot_boundaries draws a table from boundaries(...).")
    if len(seen) > len(table.rows):
        raise DesignError(f"{len(seen)} values seen for {len(table.rows)} looks; give one for each look so far.")
    path = [real("A value in seen", value, low=-math.inf, high=math.inf) for value in seen]
    size = np.array(table.column(table.columns[1]), dtype=float)
    upper, lower = (np.array(table.column(name), dtype=float) for name in ("z", "lower_z"))
    if ax is None:
        _, ax = plt.subplots(figsize=(7.0, 4.2), layout="constrained")
    both = bool(np.array_equal(lower, -upper, equal_nan=True))
    every = np.concatenate([upper, lower, path])
    top, bottom = np.nanmax(every) + ROOM, min(np.nanmin(every), 0.0) - ROOM
    ax.axhline(0.0, color=PALE, linewidth=0.8)
    words = "effect in the other direction" if both else "futility or harm"
    _side(ax, size, upper, top, SERIES[0], "stop: effect shown")
    _side(ax, size, lower, bottom, SERIES[0] if both else SERIES[1], f"stop: {words}")
    if path:
        ax.plot(size[: len(path)], path, color=INK, marker="D", markersize=5, linewidth=1.2, label="seen", zorder=4)
    ax.set_ylim(bottom, top)
    ax.margins(x=0.06)
    ax.set_xticks(size, [f"{value:.4g}" for value in size])
    ax.set_xlabel(table.columns[1].replace("_", " "))
    ax.set_ylabel("z")
    towards = "treated above control" if both else "benefit"
    ax.set_title(f"When to stop (z above 0: {towards})", loc="left", fontsize="medium")
    ax.spines[["top", "right"]].set_visible(False)
    ax.legend(frameon=False, fontsize="small", loc="upper center", bbox_to_anchor=(0.5, -0.16), ncols=3)
    return ax


def _side(ax: Axes, size: np.ndarray, bound: np.ndarray, end: float, colour: str, label: str) -> None:
    """Draw the bounds of one side, and shade what lies beyond."""
    there = ~np.isnan(bound)
    if not there.any():
        return
    ax.plot(size[there], bound[there], color=colour, marker="o", markersize=5, linewidth=1.6, label=label, zorder=3)
    ax.fill_between(size[there], bound[there], end, color=colour, alpha=0.10, linewidth=0)
    for x, z in zip(size[there], bound[there], strict=True):
        ax.annotate(
            f"{z:.2f}",
            (x, z),
            textcoords="offset points",
            xytext=(0, 6 if end > 0 else -13),
            ha="center",
            fontsize="small",
            color=colour,
        )
