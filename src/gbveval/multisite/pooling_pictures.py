"""`plot_shrinkage`, `plot_prior_to_posterior`, `plot_left_out`: what pooling does, what data add, who matters."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gbveval.core.errors import DesignError
from gbveval.core.estimand import CONTRASTS
from gbveval.core.estimates import Estimates
from gbveval.core.posterior import DrawsPosterior
from gbveval.core.term import inverse_link
from gbveval.data.sites import SiteEffects
from gbveval.data.tables import SiteTables
from gbveval.multisite.left_out import averages_without
from gbveval.multisite.normal_hierarchy import AVERAGE, SPREAD
from gbveval.multisite.site_pictures import INK, POOLED, RAW, finish_axis, rows_about
from gbveval.multisite.site_prior import HierarchyPrior
from gbveval.multisite.table_hierarchy import TableHierarchy
from gbveval.numerics.priors import Flat

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FloatArray = NDArray[np.float64]


def plot_shrinkage(sites: SiteEffects, pooled: Estimates, ax: Axes | None = None) -> Axes:
    """Draw how far pooling moves every site towards the others: as found above, as pooled below.

    Parameters
    ----------
    sites : SiteEffects
        What was pooled.
    pooled : Estimates
        Of `NormalHierarchy` or another method with a row for each site.
    ax : matplotlib axes, optional
        Where to draw; a new figure by default.

    Raises
    ------
    DesignError
        If the answer is not one about these sites.

    Notes
    -----
    Larger circles are surer estimates: they move least. Ratios are drawn on a log scale.
    """
    import matplotlib.pyplot as plt

    names = rows_about(sites, pooled)
    link = CONTRASTS[sites.contrast]
    if ax is None:
        _, ax = plt.subplots(figsize=(7.0, 3.0), layout="constrained")
    size = 30.0 + 170.0 * (sites.std_error.min() / sites.std_error) ** 2
    moved = np.array([pooled.values[names[f"effect in {label}"]] for label in sites.labels])
    for found, after, area in zip(sites.estimate, moved, size, strict=True):
        ends = [inverse_link(link, found), inverse_link(link, after)]
        ax.plot(ends, [1.0, 0.0], color=RAW, linewidth=1.0, zorder=1)
        ax.scatter(ends[:1], [1.0], s=area, color=RAW, edgecolor="white", zorder=2)
        ax.scatter(ends[1:], [0.0], s=area, color=POOLED, edgecolor="white", zorder=2)
    average = pooled.values[names[AVERAGE]]
    ax.axvline(inverse_link(link, average), color=INK, linewidth=0.9, linestyle=(0, (4, 3)), zorder=0)
    ax.set_yticks([0.0, 1.0], ["pooled", "as found"])
    ax.set_ylim(-0.4, 1.4)
    finish_axis(ax, f"{sites.contrast.replace('_', ' ')}; dashes: the average effect", log=link == "log")
    return ax


def plot_prior_to_posterior(model: Any, pooled: Estimates) -> NDArray[np.object_]:
    """Draw prior and posterior of the average effect and of the between-site sd: what the data have added.

    Parameters
    ----------
    model : NormalHierarchy, TableHierarchy or HierarchicalModel
        With its priors.
    pooled : Estimates
        Its answer.

    Returns
    -------
    ndarray of matplotlib axes
        Two of them.

    Raises
    ------
    DesignError
        If the answer has no posterior of these.

    Notes
    -----
    On the scale of inference, logs for ratios, which is where the priors were given. A flat prior is not drawn. Where
    the two curves are one the data say nothing, and the answer is the prior.
    """
    import matplotlib.pyplot as plt

    prior = getattr(model, "prior", None)
    places = {row.term: i for i, row in enumerate(pooled.terms)}
    if pooled.posterior is None or not {AVERAGE, SPREAD} <= set(places) or prior is None:
        raise DesignError("The answer has no posterior of the average effect and of the between-site sd.")
    _, axes = plt.subplots(1, 2, figsize=(7.6, 3.0), layout="constrained")
    for ax, term, before in zip(axes, (AVERAGE, SPREAD), (prior.average_effect, prior.between_site_sd), strict=True):
        x, height = _density(pooled, places[term])
        ax.fill_between(x, height, color=POOLED, alpha=0.25, linewidth=0)
        ax.plot(x, height, color=POOLED, linewidth=1.6, label="posterior")
        if not isinstance(before, Flat):
            ends = before.quantile(np.array([0.01, 0.99]))
            if term == SPREAD:
                ends = np.array([0.0, min(float(ends[1]), 4.0 * float(x.max()))])
            wide = np.linspace(float(ends[0]), float(ends[1]), 300)
            ax.plot(
                wide, np.exp(before.log_density(wide)), color=INK, linewidth=1.2, linestyle=(0, (4, 3)), label="prior"
            )
        ax.set_ylim(bottom=0.0)
        ax.set_yticks([])
        logs = " (of logs)" if pooled.terms[places[AVERAGE]].estimand.link == "log" else ""
        finish_axis(ax, f"{term}{logs}", log=False)
    axes[1].legend(frameon=False)
    return np.asarray(axes)


def _density(pooled: Estimates, place: int) -> tuple[FloatArray, FloatArray]:
    """Return points and the posterior density there, between its 0.5 and 99.5 % points."""
    posterior = pooled.posterior
    assert posterior is not None
    low, high = posterior.quantile(place, 0.005), posterior.quantile(place, 0.995)
    # Draws are counted in wider steps, so that the curve does not show their noise.
    x = np.linspace(low, high, 41 if isinstance(posterior, DrawsPosterior) else 241)
    below = np.array([posterior.cdf(place, point) for point in x])
    return 0.5 * (x[1:] + x[:-1]), np.diff(below) / np.diff(x)


def plot_left_out(
    sites: SiteEffects | SiteTables, prior: HierarchyPrior | TableHierarchy, ax: Axes | None = None
) -> Axes:
    """Draw the average effect without each site, beside that of all, so that one site that makes the answer shows.

    Parameters
    ----------
    sites : SiteEffects or SiteTables
        Site estimates, or counts.
    prior : HierarchyPrior or TableHierarchy
        For estimates the prior, as for `NormalHierarchy`; for counts the model with its prior.
    ax : matplotlib axes, optional
        Where to draw; a new figure by default.

    Notes
    -----
    Bars are 95 % intervals of the average. Every site is left out of a fit of its own, exactly.
    """
    import matplotlib.pyplot as plt

    found = averages_without(sites, prior)
    link = CONTRASTS[found.contrast]
    if ax is None:
        _, ax = plt.subplots(figsize=(7.0, 1.4 + 0.34 * len(found.labels)), layout="constrained")
    count = len(found.labels)
    for place, (low, middle, high) in enumerate(inverse_link(link, found.quantiles)):
        whole = place == 0
        y = count - 1 - place
        ax.plot([low, high], [y, y], color=INK if whole else POOLED, linewidth=1.4)
        ax.plot([middle], [y], "D" if whole else "s", color=INK if whole else POOLED, markersize=5)
        if whole:
            ax.axvspan(low, high, color=RAW, alpha=0.15, linewidth=0)
    ax.axvline(1.0 if link == "log" else 0.0, color=RAW, linewidth=0.8, zorder=0)
    ax.set_yticks(range(count), list(reversed(found.labels)))
    finish_axis(ax, f"average effect, {found.contrast.replace('_', ' ')}", log=link == "log")
    return ax
