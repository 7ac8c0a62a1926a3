"""Hides how the average effect is found without each site in turn."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from gbveval.core.errors import DesignError
from gbveval.data.sites import SiteEffects
from gbveval.data.tables import SiteTables
from gbveval.multisite.normal_hierarchy import described, fit_sites
from gbveval.multisite.site_checks import guarded
from gbveval.multisite.site_prior import HierarchyPrior
from gbveval.multisite.table_hierarchy import TableHierarchy, fit_likelihoods, fit_tables
from gbveval.numerics.hierarchy import normal_hierarchy
from gbveval.numerics.hierarchy_mixture import mixture_hierarchy
from gbveval.numerics.normal_mixture import NormalMixture

FloatArray = NDArray[np.float64]
P = np.array([0.025, 0.5, 0.975])


@dataclass(frozen=True, slots=True, eq=False)
class AveragesWithout:
    """The average effect of all sites, and without each.

    Attributes
    ----------
    labels : tuple of str
        "all sites", then "without" each.
    quantiles : ndarray, shape (1 + sites, 3)
        The 2.5, 50 and 97.5 % points, on the scale of inference.
    contrast : str
        What the effects are.
    """

    labels: tuple[str, ...]
    quantiles: FloatArray
    contrast: str


def averages_without(sites: SiteEffects | SiteTables, prior: HierarchyPrior | TableHierarchy) -> AveragesWithout:
    """Return the average effect of all sites and without each."""
    if sites.n < 2:
        raise DesignError("With one site there is nothing to leave out.")
    labels = ("all sites", *(f"without {label}" for label in sites.labels))
    if isinstance(sites, SiteTables):
        if not isinstance(prior, TableHierarchy):
            raise DesignError("Counts need the model: TableHierarchy(prior).")
        contrast = "rate_ratio" if sites.has_exposure else "odds_ratio"
        return AveragesWithout(labels, _of_counts(sites, prior), contrast)
    if not isinstance(prior, HierarchyPrior):
        raise DesignError("Site estimates need a HierarchyPrior.")
    return AveragesWithout(labels, guarded(lambda: _of_estimates(sites, prior)), sites.contrast)


def _of_estimates(sites: SiteEffects, prior: HierarchyPrior) -> FloatArray:
    fit_one = mixture_hierarchy if isinstance(prior.average_effect, NormalMixture) else normal_hierarchy
    lines = described(sites, prior)
    found = [fit_sites(sites, prior).mu.quantile(P)[:, 0]]
    for site in range(sites.n):
        fit = fit_one(
            np.delete(sites.estimate, site),
            np.delete(sites.std_error, site),
            mu_prior=prior.average_effect,
            tau_prior=prior.between_site_sd,
            moderators=np.delete(lines["moderators"], site, axis=0),
            slope_priors=lines["slope_priors"],
        )
        found.append(fit.mu.quantile(P)[:, 0])
    return np.stack(found)


def _of_counts(sites: SiteTables, model: TableHierarchy) -> FloatArray:
    likelihoods, reported = fit_likelihoods(model, sites)
    found = [fit_tables(model, likelihoods, reported).margins[0].quantile(P)]
    for site in range(sites.n):
        rest = replace(likelihoods, log_values=np.delete(likelihoods.log_values, site, axis=1))
        found.append(fit_tables(model, rest, reported).margins[0].quantile(P))
    return np.stack(found)
