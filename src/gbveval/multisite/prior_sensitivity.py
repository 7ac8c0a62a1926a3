"""Hides how a pooled answer moves when priors, or what the sites say, count for a little more or less."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from gbveval.core.errors import DesignError
from gbveval.core.table import Table
from gbveval.data.sites import SiteEffects
from gbveval.data.tables import SiteTables
from gbveval.multisite.normal_hierarchy import described
from gbveval.multisite.site_checks import all_sites, finite, guarded, refuse_mixture
from gbveval.multisite.site_prior import HierarchyPrior, TablePrior
from gbveval.multisite.table_hierarchy import TableHierarchy, fit_likelihoods
from gbveval.numerics.hierarchy_checks import power_scaled_hierarchy
from gbveval.numerics.powered_prior import PoweredPrior, check_power, powered
from gbveval.numerics.priors import Normal
from gbveval.numerics.table_hierarchy import table_hierarchy

COLUMNS = ("scaled", "power", "average_effect", "average_effect_sd", "between_site_sd", "between_site_sd_sd")
Row = tuple[str, float, float, float, float, float]


def prior_sensitivity(
    sites: SiteEffects | SiteTables, prior: HierarchyPrior | TableHierarchy, *, powers: Sequence[float] = (0.8, 1.25)
) -> Table:
    """Return how the answer moves when the priors, or the likelihood, are raised to powers near one.

    Parameters
    ----------
    sites : SiteEffects or SiteTables
        Site estimates, or counts.
    prior : HierarchyPrior or TableHierarchy
        For estimates the prior, as for `NormalHierarchy`; for counts the model with its prior.
    powers : sequence of float
        Powers, each above zero.

    Returns
    -------
    Table
        Columns scaled, power, average_effect, average_effect_sd, between_site_sd, between_site_sd_sd, on the scale of
        inference. What is scaled is nothing, "prior" (of the average, of slopes and of the between-site sd), for counts
        "levels" (the prior of each site's level in control), or "likelihood" (what each site says of its effect).

    Raises
    ------
    DesignError
        If the prior is a mixture, a power is not above zero, or the model does not fit the data.

    Notes
    -----
    An answer that moves with the prior and hardly with the likelihood is the prior's. One that moves with both, in
    opposite directions, is a compromise between the two.

    References
    ----------
    Kallioinen, Paananen, Buerkner and Vehtari (2024), Statistics and Computing 34.

    Examples
    --------
    >>> import gbveval as gbv
    >>> sites = gbv.SiteEffects({"y": [0.1, 0.3, 0.2], "se": [0.1, 0.2, 0.1]}, estimate="y", std_error="se")
    >>> table = prior_sensitivity(sites, gbv.HierarchyPrior(gbv.Normal(0, 1), gbv.HalfNormal(0.5)))
    >>> [(row[0], row[1]) for row in table.rows]
    [('nothing', 1.0), ('prior', 0.8), ('prior', 1.25), ('likelihood', 0.8), ('likelihood', 1.25)]
    """
    found = _of_counts(sites, prior, powers) if isinstance(sites, SiteTables) else _of_estimates(sites, prior, powers)
    rows = tuple(tuple(finite(x) for x in row) for row in guarded(lambda: list(found)))
    note = "Powers act on the densities of priors, or on what each site's data say of its effect."
    return Table("Sensitivity to the priors", COLUMNS, rows, (note,), (all_sites(sites),) * len(rows))


def _of_estimates(sites: SiteEffects, prior: object, powers: Sequence[float]) -> Iterator[Row]:
    if not isinstance(prior, HierarchyPrior):
        raise DesignError("Site estimates need a HierarchyPrior.")
    refuse_mixture(prior, "A mixture raised to a power is no mixture. Vary its weights, or its vague component.")
    for scaled, power in _cases(("prior", "likelihood"), powers):
        fit = power_scaled_hierarchy(
            sites.estimate,
            sites.std_error,
            mu_prior=prior.average_effect,
            tau_prior=prior.between_site_sd,
            prior_power=power if scaled == "prior" else 1.0,
            likelihood_power=power if scaled == "likelihood" else 1.0,
            **described(sites, prior),
        )
        yield scaled, power, float(fit.mu.mean[0]), float(fit.mu.sd[0]), fit.tau.mean, fit.tau.sd


def _of_counts(sites: SiteTables, model: object, powers: Sequence[float]) -> Iterator[Row]:
    if not isinstance(model, TableHierarchy):
        raise DesignError("Counts need the model: prior_sensitivity(tables, TableHierarchy(prior)).")
    levels = ("levels",) if isinstance(model.prior.site_control, Normal) else ()
    for scaled, power in _cases(("prior", *levels, "likelihood"), powers):
        used, prior_power = model, power if scaled == "prior" else 1.0
        if scaled == "levels":
            used = replace(model, prior=_with_level(model.prior, power))
        likelihoods, _ = fit_likelihoods(used, sites)
        if scaled == "likelihood":
            likelihoods = replace(likelihoods, log_values=power * likelihoods.log_values)
        fit = table_hierarchy(
            likelihoods,
            mu_prior=powered(model.prior.average_effect, prior_power),
            tau_prior=PoweredPrior(model.prior.between_site_sd, prior_power),
            df=model.df,
        )
        average, spread = fit.margins[0], fit.margins[sites.n + 2]
        yield scaled, power, average.mean, average.sd, spread.mean, spread.sd


def _cases(scaled: tuple[str, ...], powers: Sequence[float]) -> list[tuple[str, float]]:
    for power in powers:
        check_power(power)
    return [("nothing", 1.0), *((what, float(power)) for what in scaled for power in powers)]


def _with_level(prior: TablePrior, power: float) -> TablePrior:
    return replace(prior, site_control=powered(prior.site_control, power))
