"""`plot_forest` and `plot_funnel`: site effects as found and as pooled, and against their standard errors."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from gbveval.core.errors import DesignError
from gbveval.core.estimand import CONTRASTS
from gbveval.core.estimates import Estimates
from gbveval.core.term import inverse_link
from gbveval.data.sites import SiteEffects
from gbveval.multisite._pooled_line import require_independent
from gbveval.multisite.normal_hierarchy import AVERAGE, NEW_SITE
from gbveval.numerics.inference import wald

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Of Okabe and Ito's colours, which differ for every kind of colour vision; markers differ too.
INK, POOLED, RAW = "#1b1b1b", "#0072b2", "#8c8c8c"


def plot_forest(sites: SiteEffects, pooled: Estimates, ax: Axes | None = None) -> Axes:
    """Draw each site as found and as pooled, then the average and a new site.

    Parameters
    ----------
    sites : SiteEffects
        What was pooled.
    pooled : Estimates
        Of `RandomEffects`, `NormalHierarchy` or another method with these rows.
    ax : matplotlib axes, optional
        Where to draw; a new figure by default.

    Raises
    ------
    DesignError
        If the answer is not one about these sites.
    """
    import matplotlib.pyplot as plt

    names = rows_about(sites, pooled)
    link = CONTRASTS[sites.contrast]
    low, high = pooled.intervals()
    found = wald(sites.estimate, sites.std_error, level=pooled.level)
    if ax is None:
        _, ax = plt.subplots(figsize=(7.0, 1.6 + 0.36 * sites.n), layout="constrained")
    lines = [*(f"effect in {label}" for label in sites.labels), *(x for x in (AVERAGE, NEW_SITE) if x in names)]
    for place, name in enumerate(reversed(lines)):
        i = names[name]
        own = name not in (AVERAGE, NEW_SITE)
        shift = 0.14 if own else 0.0
        numbers = (pooled.values[i], low[i], high[i])
        _bar(ax, link, numbers, place - shift, POOLED if own else INK, "s" if name != AVERAGE else "D")
        if own:
            j = sites.n - 1 - (place - (len(lines) - sites.n))
            _bar(ax, link, (sites.estimate[j], found.conf_low[j], found.conf_high[j]), place + shift, RAW, "o")
    ax.axvline(1.0 if link == "log" else 0.0, color=RAW, linewidth=0.8, zorder=0)
    ax.set_yticks(range(len(lines)), [name.removeprefix("effect in ") for name in reversed(lines)])
    finish_axis(ax, f"{sites.contrast.replace('_', ' ')}; circles as found, squares pooled", log=link == "log")
    return ax


def rows_about(sites: SiteEffects, pooled: Estimates) -> dict[str, int]:
    """Return the place of every row by its name; DesignError unless the answer is one about these sites."""
    names = {row.term: i for i, row in enumerate(pooled.terms)}
    missing = sum(f"effect in {label}" not in names for label in sites.labels)
    if missing or AVERAGE not in names:
        raise DesignError(f"The answer has no row for {missing} of {sites.n} sites; give the answer about these sites.")
    return names


def finish_axis(ax: Axes, label: str, *, log: bool) -> None:
    """Name the axis of effects, on which ratios are read as 0.6 and 0.8 and not as powers of ten."""
    from matplotlib.ticker import ScalarFormatter

    if log:
        ax.set_xscale("log")
        ax.xaxis.set_major_formatter(ScalarFormatter())
        ax.xaxis.set_minor_formatter(ScalarFormatter())
    ax.set_xlabel(label)
    for side in ("top", "right"):
        ax.spines[side].set_visible(False)


def _bar(ax: Axes, link: str, numbers: tuple[float, float, float], place: float, colour: str, marker: str) -> None:
    middle, left, right = (inverse_link(link, value) for value in numbers)
    ax.plot([left, right], [place, place], color=colour, linewidth=1.4)
    ax.plot([middle], [place], marker=marker, color=colour, markersize=5)


def plot_funnel(sites: SiteEffects, pooled: Estimates | None = None, ax: Axes | None = None) -> Axes:
    """Draw effects against their standard errors, with the region where they would lie without other differences.

    Parameters
    ----------
    sites : SiteEffects
        One estimate and standard error a site.
    pooled : Estimates, optional
        Whose average is the middle; the inverse-variance average by default.
    ax : matplotlib axes, optional
        Where to draw; a new figure by default.

    Notes
    -----
    Ratios are drawn on the log scale. The lines hold 95 per cent of effects if sites differed by chance alone.
    """
    import matplotlib.pyplot as plt

    require_independent(sites, "plot_funnel")
    weights = 1.0 / sites.std_error**2
    middle = float(weights @ sites.estimate / weights.sum())
    if pooled is not None:
        value = pooled[AVERAGE].value
        middle = middle if value is None else value
    if ax is None:
        _, ax = plt.subplots(figsize=(5.6, 4.2), layout="constrained")
    errors = np.linspace(1e-9, 1.05 * float(sites.std_error.max()), 50)
    region = wald(np.full(50, middle), errors)
    ax.plot(region.conf_low, errors, color=RAW, linewidth=0.9)
    ax.plot(region.conf_high, errors, color=RAW, linewidth=0.9)
    ax.axvline(middle, color=INK, linewidth=0.9)
    ax.plot(sites.estimate, sites.std_error, "o", color=POOLED, markersize=5)
    ax.set_ylim(errors[-1], 0.0)
    scale = "log " if CONTRASTS[sites.contrast] == "log" else ""
    finish_axis(ax, f"{scale}{sites.contrast.replace('_', ' ')}", log=False)
    ax.set_ylabel("standard error")
    return ax
