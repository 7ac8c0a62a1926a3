"""How a pooled answer leans on one site and on normal effects."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np

from gbveval.core.errors import DesignError, GbvevalError, IdentificationError
from gbveval.core.method import Cell
from gbveval.core.table import Table
from gbveval.data.sites import SiteEffects
from gbveval.data.tables import SiteTables
from gbveval.multisite.normal_hierarchy import described
from gbveval.multisite.site_prior import HierarchyPrior
from gbveval.multisite.table_hierarchy import TableHierarchy, fit_likelihoods, fit_tables
from gbveval.numerics.hierarchy_checks import LeaveOneOut
from gbveval.numerics.hierarchy_checks import leave_one_site_out as _leave_one_out
from gbveval.numerics.hierarchy_student import StudentHierarchyFit, student_hierarchy
from gbveval.numerics.normal_mixture import NormalMixture
from gbveval.numerics.priors import Flat

T = TypeVar("T")


def leave_one_site_out(
    sites: SiteEffects | SiteTables, prior: HierarchyPrior | TableHierarchy, *, df: float | None = None
) -> Table:
    """Return how well the other sites predict each site: exact log predictive densities and their sum.

    Parameters
    ----------
    sites : SiteEffects or SiteTables
        Site estimates, or counts.
    prior : HierarchyPrior or TableHierarchy
        For estimates the prior, as for `NormalHierarchy`; for counts the model with its prior.
    df : float, optional
        For estimates: degrees of freedom of Student-t site effects; normal ones by default. A model of counts has its
        own.

    Returns
    -------
    Table
        Columns site, log_density, std_error; the last row is the sum with its standard error.

    Notes
    -----
    The density is averaged over the posterior of the other sites with the site's own effect integrated out, and then
    the logarithm is taken. The mean of logarithms over draws, which some software reports, is always too low.

    Examples
    --------
    >>> from gbveval.numerics.priors import HalfNormal, Normal
    >>> sites = SiteEffects({"y": [0.1, 0.3, 0.2], "se": [0.1, 0.2, 0.1]}, estimate="y", std_error="se")
    >>> leave_one_site_out(sites, HierarchyPrior(Normal(0, 1), HalfNormal(0.5))).columns
    ('site', 'log_density', 'std_error')
    """
    if isinstance(sites, SiteTables):
        return _left_out_table(sites, _left_out_counts(sites, prior))
    if not isinstance(prior, HierarchyPrior):
        raise DesignError("Site estimates need a HierarchyPrior.")
    if df is not None:
        scores = _heavy_tailed(sites, prior, df).loo_pointwise
        if scores is None:
            raise IdentificationError("Without one of these sites there is no posterior; give proper priors.")
        return _left_out_table(sites, LeaveOneOut(scores))
    found = guarded(
        lambda: _leave_one_out(
            sites.estimate,
            sites.std_error,
            mu_prior=prior.average_effect,
            tau_prior=prior.between_site_sd,
            **described(sites, prior),
        )
    )
    return _left_out_table(sites, found)


def _left_out_counts(sites: SiteTables, model: HierarchyPrior | TableHierarchy) -> LeaveOneOut:
    """Return the scores of tables, which the fit to all of them has found already."""
    if not isinstance(model, TableHierarchy):
        raise DesignError("Counts need the model: leave_one_site_out(tables, TableHierarchy(prior)).")
    if isinstance(model.prior.site_control, Flat):
        raise DesignError(
            "With a flat prior of levels the density of a site's counts is not defined; give a Normal one."
        )
    likelihoods, reported = fit_likelihoods(model, sites)
    return LeaveOneOut(fit_tables(model, likelihoods, reported).loo_pointwise)


def _left_out_table(sites: SiteEffects | SiteTables, found: LeaveOneOut) -> Table:
    rows: list[tuple[str, float, float | None]] = [
        (label, float(x), None) for label, x in zip(sites.labels, found.pointwise, strict=True)
    ]
    error = found.std_error
    rows.append(("sum", found.elpd, error if np.isfinite(error) else None))
    note = "Log density of each site's data given the other sites, its own effect integrated out."
    support = (*sites.support, all_sites(sites))
    return Table("Leave one site out", ("site", "log_density", "std_error"), tuple(rows), (note,), support)


def heavy_tailed_sites(
    sites: SiteEffects,
    prior: HierarchyPrior,
    *,
    df: float = 4.0,
    threshold: float = 0.0,
    quantiles: Sequence[float] = (0.025, 0.5, 0.975),
) -> Table:
    """Return the answer when site effects follow a Student-t, so that one odd site pulls the average less.

    Parameters
    ----------
    sites : SiteEffects
        Site estimates.
    prior : HierarchyPrior
        As for `NormalHierarchy`; the second part is for the scale of the t.
    df : float
        Degrees of freedom of the site effects.
    threshold : float
        Value below which probabilities are given.
    quantiles : sequence of float
        Of the average effect.

    Returns
    -------
    Table
        Columns quantity, mean, sd, probability_below, one a quantile (of the average), and log_density: leave one
        out for sites and their sum (whose sd is a standard error), the log marginal likelihood for the average.
    """
    fit = _heavy_tailed(sites, prior, df)
    cut = fit.mu.quantile(np.asarray(quantiles, dtype=float))
    blank = (None,) * len(quantiles)
    below = float(fit.mu.cdf(threshold))
    rows: list[tuple[object, ...]] = [
        ("average effect", fit.mu.mean, fit.mu.sd, below, *map(float, cut), fit.log_marginal_likelihood)
    ]
    under = fit.theta_cdf(threshold)
    for i, label in enumerate(sites.labels):
        score = None if fit.loo_pointwise is None else float(fit.loo_pointwise[i])
        rows.append(
            (f"effect in {label}", float(fit.theta_mean[i]), float(fit.theta_sd[i]), float(under[i]), *blank, score)
        )
    if fit.loo_pointwise is not None:
        scores = fit.loo_pointwise
        error = float(np.sqrt(scores.size * np.var(scores, ddof=1))) if scores.size > 1 else float("nan")
        rows.append(("leave-one-out sum", None, error, None, *blank, float(scores.sum())))
    rows.append(("scale of site effects", fit.tau.mean, fit.tau.sd, None, *blank, None))
    shown = tuple(tuple(finite(x) for x in row) for row in rows)
    columns = ("quantity", "mean", "sd", "probability_below", *(f"quantile_{q:g}" for q in quantiles), "log_density")
    note = f"Site effects follow a Student-t with {df:g} df; probabilities are of lying below {threshold:g}."
    whole = all_sites(sites)
    support = (whole, *sites.support, *((whole,) * (len(shown) - 1 - sites.n)))
    return Table("Heavy-tailed site effects", columns, shown, (note,), support)


def _heavy_tailed(sites: SiteEffects, prior: HierarchyPrior, df: float) -> StudentHierarchyFit:
    if sites.moderator_names or prior.slopes:
        raise DesignError(
            "Heavy-tailed effects about a line in moderators are not offered. Leave the moderators out here, or look "
            "at leave_one_site_out for sites that the line does not foresee."
        )
    refuse_mixture(prior, "Heavy-tailed effects need a Normal or a Flat prior of the average.")
    return guarded(
        lambda: student_hierarchy(
            sites.estimate, sites.std_error, df=df, mu_prior=prior.average_effect, tau_prior=prior.between_site_sd
        )
    )


def refuse_mixture(prior: HierarchyPrior, why: str) -> None:
    """Raise DesignError where the prior of the average is a mixture."""
    if isinstance(prior.average_effect, NormalMixture):
        raise DesignError(why)


def all_sites(sites: SiteEffects | SiteTables) -> tuple[Cell, ...]:
    """Return the counts behind all sites: what they give away together."""
    return tuple(cell for cells in sites.support for cell in cells)


def finite(value: object) -> object:
    """Return the value, or None for a number that is not finite."""
    return None if isinstance(value, float) and not np.isfinite(value) else value


def guarded(compute: Callable[[], T]) -> T:
    """Run a numeric function and turn its refusal into an error of this library."""
    try:
        return compute()
    except ValueError as error:
        if isinstance(error, GbvevalError):
            raise
        raise IdentificationError(str(error)) from error
