"""`site_influence`: what the pooled answer would be without each site, and how far a site pulls it."""

from __future__ import annotations

import numpy as np

from gbveval.core.table import Table
from gbveval.data.sites import SiteEffects
from gbveval.multisite._pooled_line import design
from gbveval.multisite.random_effects import RandomEffects, fit_line
from gbveval.numerics.site_influence import site_influence as _site_influence


def site_influence(sites: SiteEffects, model: RandomEffects | None = None) -> Table:
    """Return the average without each site, and measures of its influence.

    Parameters
    ----------
    sites : SiteEffects
        One estimate and standard error a site.
    model : RandomEffects, optional
        How effects are pooled; REML with Hartung-Knapp by default.

    Returns
    -------
    Table
        A row a site: estimate, std_error, between_site_variance, i_squared and q without it (the estimate at the mean
        of all sites' moderators); weight in per cent; hat; studentised_residual; cooks_distance; dffits;
        covariance_ratio.

    Notes
    -----
    A residual beyond two or three says that a site differs from what the others foresee, not that it is wrong: ten
    sites have one beyond two in a third of cases by chance. Never leave a site out because of its effect.

    References
    ----------
    Viechtbauer and Cheung (2010), Research Synthesis Methods 1.

    Examples
    --------
    >>> sites = SiteEffects({"y": [0.2, 0.4, 0.9], "se": [0.1, 0.1, 0.2]}, estimate="y", std_error="se")
    >>> table = site_influence(sites)
    >>> [round(value, 4) for value in table.column("estimate")]
    [0.62, 0.5286, 0.3]
    """
    chosen = RandomEffects() if model is None else model
    fit = fit_line(sites, chosen)
    found = _site_influence(
        sites.estimate, sites.std_error**2, design(sites), method=chosen.method, inference=chosen.inference
    )
    share = 100.0 * fit.weights / fit.weights.sum()
    rows = []
    for i, (label, rest) in enumerate(zip(sites.labels, found.without, strict=True)):
        numbers = [np.nan] * 5
        if rest is not None:
            error = float(np.sqrt(rest.covariance[0, 0]))
            numbers = [float(rest.coefficients[0]), error, rest.tau2, rest.i_squared, rest.q]
        measures = (found.hat, found.residual, found.cooks_distance, found.dffits, found.covariance_ratio)
        numbers += [share[i], *(measure[i] for measure in measures)]
        rows.append((label, *(float(x) if np.isfinite(x) else None for x in numbers)))
    columns = (
        *("site", "estimate", "std_error", "between_site_variance", "i_squared", "q", "weight", "hat"),
        *("studentised_residual", "cooks_distance", "dffits", "covariance_ratio"),
    )
    note = "Estimates are without the site, on the log scale for ratios. Empty where the others are too few."
    return Table("Influence of each site", columns, tuple(rows), (note,), sites.support)
