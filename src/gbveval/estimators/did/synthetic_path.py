"""Draws the treated path beside the synthetic one, with the weights of the periods before treatment."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from gbveval.core.errors import DesignError
from gbveval.core.table import Table
from gbveval.estimators.did._synthetic import PATH_COLUMNS

if TYPE_CHECKING:
    from matplotlib.axes import Axes

INK, ACCENT, PALE = "#1b1b1b", "#0072b2", "#9ecae1"
# Of the height of the picture, for the largest time weight.
TALLEST = 0.18


def plot_synthetic(table: Table, ax: Axes | None = None) -> Axes:
    """Draw what `SyntheticDid.path` or `SyntheticControl.path` returned.

    Parameters
    ----------
    table : Table
        Treated and synthetic path of one cohort.
    ax : matplotlib.axes.Axes, optional
        Where to draw.

    Returns
    -------
    matplotlib.axes.Axes
        Treated path in ink, synthetic path dashed, the first treated period as a line, time weights as bars at the
        foot.

    Raises
    ------
    DesignError
        If the table is another one.
    """
    import matplotlib.pyplot as plt

    if table.columns != PATH_COLUMNS:
        raise DesignError("plot_synthetic draws what SyntheticDid.path or SyntheticControl.path returned.")
    if ax is None:
        _, ax = plt.subplots(figsize=(7.0, 3.8), layout="constrained")
    cohort, names = table.column("cohort")[0], list(table.column("period"))
    treated, synthetic, weight = (np.array(table.column(name)) for name in ("treated", "synthetic", "time_weight"))
    place = np.arange(len(names))
    first = names.index(cohort) if cohort in names else len(names)
    low, high = min(treated.min(), synthetic.min()), max(treated.max(), synthetic.max())
    height = (high - low) or 1.0
    if weight.any():
        foot = low - (TALLEST + 0.06) * height
        bars = TALLEST * height * weight / weight.max()
        ax.bar(place, bars, bottom=foot, width=0.7, color=PALE, label="weight of the period")
        ax.set_ylim(foot, high + 0.06 * height)
    ax.axvline(first - 0.5, color=INK, linewidth=0.8, linestyle=":")
    ax.plot(place, synthetic, color=ACCENT, linestyle="--", linewidth=1.8, label="synthetic")
    ax.plot(place, treated, color=INK, linewidth=1.8, label="treated")
    shown = np.arange(0, len(names), -(-len(names) // 10))
    ax.set_xticks(shown, [names[i] for i in shown])
    # Names come from data: a dollar sign in one must not start matplotlib's mathematics.
    ax.set_ylabel(table.title.removeprefix("Treated and synthetic path, ").replace("$", r"\$"))
    ax.set_xlabel("period; treated from the dotted line on")
    ax.legend(frameon=False, fontsize=9)
    for side in ("top", "right"):
        ax.spines[side].set_visible(False)
    return ax
