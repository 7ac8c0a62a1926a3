"""Draws when units are treated, and where their outcomes are missing."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from gbveval.data.panel import Panel

FloatArray = NDArray[np.float64]
# Not observed, untreated, treated: told apart in grey too.
SHADES = ("#FFFFFF", "#BBD5E8", "#0B4F7D")
NAMES = ("no outcome", "untreated", "treated")
# More rows than this are drawn as shares of cohorts: single units could not be seen, and need not be.
MOST_UNITS = 200


def plot_timing(panel: Panel, ax: Axes | None) -> Axes:
    """Draw a row a unit (a row a cohort where there are many), a column a period, and return the axes."""
    import matplotlib.pyplot as plt
    from matplotlib.colors import BoundaryNorm, ListedColormap
    from matplotlib.patches import Patch

    cohort = panel.cohort_of_unit()
    by_cohort = panel.unit is None or panel.n_units > MOST_UNITS
    levels, place = np.unique(cohort, return_inverse=True)
    codes = np.arange(panel.n_rows) if panel.unit is None else panel.unit.codes
    group = place if by_cohort else np.argsort(np.argsort(cohort, kind="stable"), kind="stable")
    height = levels.size if by_cohort else panel.n_units
    state = np.zeros((height, panel.periods.size), dtype=int)
    seen = ~np.isnan(panel.outcome)
    in_force = panel.treated if panel.treatment is None else panel.treatment != 0
    np.maximum.at(state, (group[codes[seen]], panel.time[seen]), 1 + in_force[seen].astype(int))
    if ax is None:
        _, ax = plt.subplots(figsize=(7.0, 4.0), layout="constrained")
    ax.imshow(
        state,
        aspect="auto",
        interpolation="nearest",
        cmap=ListedColormap(list(SHADES)),
        norm=BoundaryNorm([-0.5, 0.5, 1.5, 2.5], 3),
    )
    every = max(1, panel.periods.size // 12)
    ticks = range(0, panel.periods.size, every)
    ax.set_xticks(list(ticks), [panel.calendar.name(float(panel.periods[i])) for i in ticks])
    middle = [float(np.mean(np.flatnonzero(_members(cohort, float(g), group)))) for g in levels]
    names = ["never" if np.isinf(g) else panel.calendar.name(float(g)) for g in levels]
    sizes = [int((cohort == g).sum()) for g in levels]
    ax.set_yticks(middle, [f"{name} ({size:,})" for name, size in zip(names, sizes, strict=True)])
    ax.set_xlabel("period")
    ax.set_ylabel("first treated (units)" if panel.unit is not None else "first treated (rows)")
    handles = [
        Patch(facecolor=shade, edgecolor="#888888", label=name) for shade, name in zip(SHADES, NAMES, strict=True)
    ]
    ax.legend(handles=handles, frameon=False, fontsize="small", ncols=3, loc="lower left", bbox_to_anchor=(0.0, 1.0))
    return ax


def _members(cohort: FloatArray, level: float, group: NDArray[np.intp]) -> NDArray[np.bool_]:
    """Return which rows of the picture belong to a cohort."""
    rows = np.zeros(int(group.max()) + 1, dtype=bool)
    rows[group[cohort == level]] = True
    return rows
