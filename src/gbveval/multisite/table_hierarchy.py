"""`TableHierarchy`: what several sites' counts say together, exactly, zero cells and under-reporting included."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from gbveval.core.errors import DesignError, IdentificationError
from gbveval.core.estimand import Estimand
from gbveval.core.estimates import Estimates
from gbveval.core.method import Cell, Check, Method
from gbveval.core.provenance import Provenance, options_of, versions
from gbveval.core.registry import register
from gbveval.core.site_posterior import SitePosterior
from gbveval.core.term import Term
from gbveval.data.tables import SiteTables
from gbveval.multisite.normal_hierarchy import AVERAGE, NEW_SITE, SPREAD
from gbveval.multisite.prior_predictive import in_outcome_units
from gbveval.multisite.reporting import Reporting
from gbveval.multisite.site_prior import TablePrior
from gbveval.numerics.mixtures import GridDensity
from gbveval.numerics.priors import Flat
from gbveval.numerics.share_density import share_density
from gbveval.numerics.site_draws import SiteDraws
from gbveval.numerics.table_hierarchy import TableHierarchyFit, table_hierarchy
from gbveval.numerics.table_likelihood import Reported, SiteLikelihoods, Tables, site_likelihoods

FloatArray = NDArray[np.float64]
# Standard error of a site's log ratio below which Student-t effects are refused.
NEEDLE = 0.01


@register("table_hierarchy")
@dataclass(frozen=True, slots=True)
class TableHierarchy:
    """Exact Bayesian hierarchy over counts by site and arm: log odds ratios, or log rate ratios with exposure.

    No normal approximation and nothing added to zero cells: events are binomial, or Poisson with exposure. The level of
    each site's control arm is its own, not pooled, and is integrated out with the prior that is given, or conditioned
    away. The average and the between-site sd are integrated by quadrature.

    Parameters
    ----------
    prior : TablePrior
        Priors of the average effect, of the between-site sd and of each site's level in control, explicit and printed
        with the answer. Without the last the likelihood is conditional on each site's total of events.
    reporting : Reporting
        Which events are seen; by default all, and nothing else.
    df : float, optional
        Degrees of freedom of Student-t site effects, so that one odd site pulls less; normal effects by default.

    Notes
    -----
    **Identifies** the average log odds ratio (log rate ratio) over a population of sites, conditional on the site's
    level; each site's own, partially pooled; and that of a new site.

    **The conditional likelihood** (Fisher's noncentral hypergeometric; binomial for rates) needs no prior of levels,
    and a site without events says nothing in it. With under-reporting it does not exist.

    **Under-reporting** is not learnt from the counts. A fixed sensitivity, the same in both arms, moves odds ratios
    little; a difference between arms moves them much. Show the answer over a grid of differences.

    **Do not use when** people of a site are clustered: counts of schools are not binomial.

    References
    ----------
    Smith, Spiegelhalter and Thomas (1995), Statistics in Medicine 14, for binomial likelihoods in meta-analysis.
    Stijnen, Hamza and Ozdemir (2010), Statistics in Medicine 29, for the conditional one.

    Examples
    --------
    >>> from gbveval.numerics.priors import HalfNormal, Normal
    >>> table = {"site": ["a", "a", "b", "b"], "arm": ["new", "usual"] * 2,
    ...          "events": [0, 4, 5, 9], "n": [40, 38, 60, 61]}
    >>> sites = SiteTables(table, site="site", arm="arm", control="usual", events="events", n="n")
    >>> prior = TablePrior(Normal(0, 1), HalfNormal(0.5), site_control=Normal(-2, 1))
    >>> answer = TableHierarchy(prior).estimate(sites)
    >>> round(answer["average effect"].value, 3), round(answer.probability("average effect", below=1), 3)
    (-0.864, 0.948)
    """

    prior: TablePrior
    reporting: Reporting = field(default_factory=Reporting)
    df: float | None = None
    name: ClassVar[str] = "table_hierarchy"

    def __post_init__(self) -> None:
        if not isinstance(self.prior, TablePrior):
            raise DesignError("prior must be a TablePrior.")
        if not isinstance(self.reporting, Reporting):
            raise DesignError("reporting must be a Reporting, such as Reporting(sensitivity=0.7).")
        if self.df is not None and not (np.isfinite(self.df) and self.df >= 0.5):
            raise DesignError(f"df must be finite and at least 0.5; it is {self.df}.")

    def estimate(self, data: SiteTables, *, rng: np.random.Generator | None = None) -> Estimates:
        """Return the average effect, each site's, a new site's, the between-site sd and unknown sensitivities.

        Parameters
        ----------
        data : SiteTables
            Counts by site and arm.
        rng : numpy.random.Generator, optional
            Ignored: nothing is random.

        Raises
        ------
        DesignError
            If effects are Student-t and a site's counts say its log ratio to within 0.01, as with hundreds of thousands
            of people: the quadrature would take minutes.
        IdentificationError
            If a flat prior of levels meets a site with an empty margin, or under-reporting the conditional likelihood.
        """
        _refuse_needles(self, data)
        likelihoods, reported = fit_likelihoods(self, data)
        fit = fit_tables(self, likelihoods, reported)
        posterior = _posterior(self, likelihoods, reported, fit)
        mean, sd = posterior.mean(), posterior.sd()
        terms = []
        for i, (label, kind, contrast, cells, extra) in enumerate(_rows(self, data, fit)):
            defined = bool(np.isfinite(mean[i]) and np.isfinite(sd[i]))
            terms.append(
                Term(
                    term=label,
                    estimand=Estimand(kind, contrast, "sites", "conditional"),
                    outcome=data.outcome,
                    value=float(mean[i]) if np.isfinite(mean[i]) else None,
                    std_error=float(sd[i]) if defined else None,
                    n_units=None,
                    reason="" if defined else "this posterior has no finite variance; read its quantiles",
                    support=cells,
                    extra=extra,
                )
            )
        return Estimates(
            estimator=self.name,
            terms=tuple(terms),
            covariance=posterior.covariance(),
            method=_method(self, data),
            checks=_checks(self, data),
            provenance=Provenance(data.digest, tuple(options_of(self).items()), None, versions()),
            posterior=posterior,
        )


def _refuse_needles(model: TableHierarchy, data: SiteTables) -> None:
    """Raise for Student-t effects where a likelihood is a needle: each needs quadrature panels of its own."""
    seen = 1.0 / np.maximum(data.events, 0.5)
    if not data.has_exposure:
        seen = seen + 1.0 / np.maximum(data.total - data.events, 0.5)
    errors = np.sqrt(seen.sum(axis=1))
    if model.df is not None and (errors < NEEDLE).any():
        raise DesignError(
            f"{int((errors < NEEDLE).sum())} of {data.n} sites are so large that their log ratios are known to within "
            f"{NEEDLE:g}. There counts say no more than an estimate and its standard error: make them by "
            "effects_from_tables, and pool by heavy_tailed_sites, which takes a second; or leave df out."
        )


def fit_likelihoods(model: TableHierarchy, data: SiteTables) -> tuple[SiteLikelihoods, Reported]:
    """Return what the counts of every site say of its effect."""
    reported = model.reporting.points()
    if data.has_exposure and (reported.specificity < 1.0).any():
        raise DesignError("Counts with exposure have no specificity: nobody counts the events that did not happen.")
    try:
        tables = Tables(data.events, data.total, data.has_exposure)
        return site_likelihoods(tables, model.prior.site_control, reported), reported
    except ValueError as error:
        raise IdentificationError(str(error)) from error


def fit_tables(model: TableHierarchy, likelihoods: SiteLikelihoods, reported: Reported) -> TableHierarchyFit:
    """Return the numeric fit."""
    try:
        return table_hierarchy(
            likelihoods,
            mu_prior=model.prior.average_effect,
            tau_prior=model.prior.between_site_sd,
            df=model.df,
            columns=_columns(model, reported),
        )
    except ValueError as error:
        raise IdentificationError(str(error)) from error


def _columns(model: TableHierarchy, reported: Reported) -> FloatArray:
    """Return the values of what has a prior, shape (points, unknowns)."""
    arms = [1 if name.endswith("intervention") else 0 for name in model.reporting.unknown()]
    return reported.sensitivity[:, arms]


def _posterior(
    model: TableHierarchy, likelihoods: SiteLikelihoods, reported: Reported, fit: TableHierarchyFit
) -> SitePosterior:
    columns = _columns(model, reported)
    shares: list[GridDensity] = []
    for place, prior in enumerate(model.reporting.priors()):
        nodes = np.unique(columns[:, place])
        groups = [columns[:, place] == node for node in nodes]
        gained = [fit.point_weight[at].sum() / reported.weight[at].sum() for at in groups]
        shares.append(share_density(nodes, np.array(gained), prior))
    draws = SiteDraws(
        point=fit.nodes.point,
        mu=fit.nodes.mu,
        tau=fit.nodes.tau,
        weight=fit.nodes.weight,
        low=likelihoods.low,
        high=likelihoods.high,
        log_values=likelihoods.log_values,
        columns=columns,
        df=model.df,
    )
    margins = (*fit.margins, *shares)
    return SitePosterior(margins, fit.covariance, draws, tuple(range(len(margins))))


Row = tuple[str, str, str, tuple[Cell, ...], tuple[tuple[str, float | str | None], ...]]


def _rows(model: TableHierarchy, data: SiteTables, fit: TableHierarchyFit) -> list[Row]:
    """Return label, kind, contrast, counts and what else is told of every row."""
    ratio = "rate_ratio" if data.has_exposure else "odds_ratio"
    each = data.support
    whole = tuple(cell for cells in each for cell in cells)
    flat = isinstance(model.prior.site_control, Flat)
    evidence = None if flat else fit.log_marginal_likelihood
    rows: list[Row] = [(AVERAGE, "average_effect", ratio, whole, (("log_marginal_likelihood", evidence),))]
    for site, label in enumerate(data.labels):
        left_out = None if flat else float(fit.loo_pointwise[site])
        rows.append((f"effect in {label}", "site_effect", ratio, each[site], (("log_density_left_out", left_out),)))
    rows.append((NEW_SITE, "new_site_effect", ratio, whole, ()))
    rows.append((SPREAD, "between_site_sd", "standard_deviation", whole, ()))
    rows += [(name, "sensitivity", "share", whole, ()) for name in model.reporting.unknown()]
    return rows


def _method(model: TableHierarchy, data: SiteTables) -> Method:
    kind = "Poisson with exposure" if data.has_exposure else "binomial"
    level = "integrated with its prior"
    if model.prior.site_control is None:
        level = "conditioned away by each site's total of events"
    shape = "normal" if model.df is None else f"Student-t with {model.df:g} df"
    return Method(
        sample=f"{data.n} sites, each with events by arm",
        std_error=f"posterior standard deviation, {kind} likelihood, level of control {level}",
        small_sample=f"none; priors: {model.prior.describe()}"
        f"{in_outcome_units(model, 'rate' if data.has_exposure else None)}; reporting: {model.reporting.describe()}",
        reference="exact posterior by quadrature, equal-tailed intervals",
        inference_for="a population of sites, of which these are exchangeable members",
        assumptions=(
            "people of a site and arm are independent: not clustered",
            f"log ratios are {shape} over sites, whatever a site's level in control",
        ),
        source="Smith, Spiegelhalter and Thomas 1995; Stijnen, Hamza and Ozdemir 2010",
    )


def _checks(model: TableHierarchy, data: SiteTables) -> tuple[Check, ...]:
    found = []
    if data.n < 5:
        text = (
            f"with {data.n} sites the prior of the between-site sd decides much of the answer; show another beside it."
        )
        found.append(Check("few sites", "warn", text))
    empty = int((data.events.sum(axis=1) == 0).sum())
    if empty:
        says = "say nothing of the effect" if model.prior.site_control is None else "speak through the prior of levels"
        found.append(
            Check("no events", "info", f"{empty} site(s) without any event {says}.", "some sites have no event at all.")
        )
    if model.reporting.unknown():
        text = "sensitivity is known from its prior; the counts hardly speak of it."
        found.append(Check("reporting", "info", text))
    return tuple(found)
