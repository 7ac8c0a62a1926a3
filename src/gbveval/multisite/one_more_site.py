"""Hides what one more pilot is worth before it is run: sites known by estimates, and sites known by counts."""

from __future__ import annotations

from typing import Literal

import numpy as np

from gbveval.core.errors import DesignError
from gbveval.core.provenance import derive_seed, options_of
from gbveval.core.table import Table
from gbveval.data.sites import SiteEffects
from gbveval.data.tables import SiteTables
from gbveval.multisite.normal_hierarchy import fit_sites
from gbveval.multisite.site_checks import all_sites, guarded
from gbveval.multisite.site_prior import HierarchyPrior
from gbveval.multisite.table_hierarchy import TableHierarchy, fit_likelihoods, fit_tables
from gbveval.numerics.hierarchy_checks import one_more_site as _one_more_site
from gbveval.numerics.one_more_table import one_more_table
from gbveval.numerics.priors import Normal

EXTREME = "An extreme site also raises the between-site sd, so more extreme need not mean more certain."


def _success(threshold: float, direction: str, needed: float) -> str:
    return f"Success: the average effect lies {direction} {threshold:g} with probability {needed:g} or more. {EXTREME}"


def one_more_site(
    sites: SiteEffects,
    prior: HierarchyPrior,
    *,
    std_error: float,
    threshold: float = 0.0,
    direction: Literal["above", "below"] = "above",
    probability_needed: float = 0.95,
) -> Table:
    """Return what one more site with a given standard error is worth for a decision on the average effect.

    Parameters
    ----------
    sites : SiteEffects
        Site estimates so far.
    prior : HierarchyPrior
        As for `NormalHierarchy`.
    std_error : float
        Expected standard error of the new site's estimate. Its moderators, if there are any, are at their means.
    threshold : float
        Practical threshold for the average effect, on the scale of the estimates.
    direction : str
        "above" or "below": the side that counts as success.
    probability_needed : float
        Probability of success at which one would go on.

    Returns
    -------
    Table
        Columns quantity and value: predictive mean and sd, probability now, assurance, critical estimates (there may be
        several), and the expected value of the new estimate and of knowing the average.
    """
    fit = fit_sites(sites, prior)
    found = guarded(
        lambda: _one_more_site(
            fit, std_error, threshold=threshold, direction=direction, probability_needed=probability_needed
        )
    )
    rows: list[tuple[str, float]] = [
        ("predictive mean of the new estimate", found.predictive_mean),
        ("predictive sd of the new estimate", found.predictive_sd),
        ("probability now", found.probability_now),
        ("assurance", found.assurance),
        *((f"critical estimate {i}", x) for i, x in enumerate(found.critical_estimates, 1)),
        ("expected value of the new estimate", found.evsi),
        ("expected value of knowing the average", found.evppi),
    ]
    note = _success(threshold, direction, probability_needed)
    return Table("One more site", ("quantity", "value"), tuple(rows), (note,), (all_sites(sites),) * len(rows))


def one_more_site_by_counts(
    sites: SiteTables,
    model: TableHierarchy,
    *,
    n_per_arm: float,
    threshold: float = 1.0,
    direction: Literal["above", "below"] = "below",
    probability_needed: float = 0.95,
    n_draws: int = 400,
    rng: np.random.Generator | None = None,
) -> Table:
    """Return what one more site of a given size is worth for a decision on the average effect, from counts.

    Parameters
    ----------
    sites : SiteTables
        Counts so far.
    model : TableHierarchy
        With a Normal prior of levels, from which the new site's level is drawn.
    n_per_arm : float
        People (or exposure) in each arm of the new site.
    threshold : float
        Practical threshold for the average effect, as a ratio.
    direction : str
        "above" or "below": the side that counts as success.
    probability_needed : float
        Probability of success at which one would go on.
    n_draws : int
        New sites to draw.
    rng : numpy.random.Generator, optional
        Where they come from; by default the same for the same counts and options.

    Returns
    -------
    Table
        Columns quantity, value, monte_carlo_error: probability now, assurance, and the expected value of the new counts
        and of knowing the average, in logs of the ratio.

    Raises
    ------
    DesignError
        If the model has no prior of levels, or a number is impossible.

    Notes
    -----
    Sites are drawn from what is believed now, and the posterior is re-weighted by what each would say, without a refit.

    Examples
    --------
    >>> import gbveval as gbv
    >>> table = {"site": ["a", "a", "b", "b"], "arm": ["new", "usual"] * 2, "y": [2, 6, 5, 9], "n": [60] * 4}
    >>> sites = gbv.SiteTables(table, site="site", arm="arm", control="usual", events="y", n="n")
    >>> prior = gbv.TablePrior(gbv.Normal(0, 1), gbv.HalfNormal(0.5), gbv.Normal(-2, 1))
    >>> worth = one_more_site_by_counts(sites, gbv.TableHierarchy(prior), n_per_arm=100, n_draws=50)
    >>> worth.column("quantity")[:2]
    ('probability now', 'assurance')
    """
    sign = _checked(model, n_per_arm, threshold, direction, probability_needed, n_draws)
    if not sites.has_exposure and n_per_arm != int(n_per_arm):
        raise DesignError(f"n_per_arm counts people: a whole number. It is {n_per_arm}.")
    likelihoods, reported = fit_likelihoods(model, sites)
    fit = fit_tables(model, likelihoods, reported)
    seed = derive_seed(sites.digest, "one_more_site", repr(options_of(model)), str(n_per_arm))
    found = guarded(
        lambda: one_more_table(
            fit,
            reported,
            model.prior.site_control,
            (float(n_per_arm), float(n_per_arm)),
            poisson=sites.has_exposure,
            df=model.df,
            threshold=float(np.log(threshold)),
            sign=sign,
            probability_needed=probability_needed,
            n_draws=n_draws,
            rng=np.random.default_rng(seed) if rng is None else rng,
        )
    )
    rows: list[tuple[str, float, float | None]] = [
        ("probability now", found.probability_now, None),
        ("assurance", found.assurance, found.assurance_error),
        ("expected value of the new counts", found.evsi, found.evsi_error),
        ("expected value of knowing the average", found.evppi, None),
    ]
    note = _success(threshold, direction, probability_needed)
    columns = ("quantity", "value", "monte_carlo_error")
    return Table("One more site", columns, tuple(rows), (note,), (all_sites(sites),) * len(rows))


def _checked(
    model: TableHierarchy, n_per_arm: float, threshold: float, direction: str, needed: float, n_draws: int
) -> float:
    """Return the sign of success, after checking what was given."""
    if not isinstance(model, TableHierarchy) or not isinstance(model.prior.site_control, Normal):
        raise DesignError("One more site by counts needs TableHierarchy with a Normal prior of levels (site_control).")
    if not (np.isfinite(n_per_arm) and n_per_arm > 0):
        raise DesignError(f"n_per_arm must be above zero; it is {n_per_arm}.")
    if not (np.isfinite(threshold) and threshold > 0):
        raise DesignError(f"threshold is a ratio, above zero; it is {threshold}.")
    if direction not in ("above", "below"):
        raise DesignError(f"The direction must be 'above' or 'below'; it is {direction!r}.")
    if not 0.0 < needed < 1.0:
        raise DesignError(f"The probability needed must lie strictly between 0 and 1; it is {needed}.")
    if not isinstance(n_draws, int) or n_draws < 20:
        raise DesignError(f"n_draws must be a whole number, at least 20; it is {n_draws!r}.")
    return 1.0 if direction == "above" else -1.0
