"""`NormalHierarchy`: what several sites' estimates say together, exactly and without a sampler."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from gbveval.core.errors import DesignError, GbvevalError, IdentificationError
from gbveval.core.estimand import Estimand
from gbveval.core.estimates import Estimates
from gbveval.core.grid_posterior import DENSITY, GridPosterior
from gbveval.core.method import Check, Method
from gbveval.core.provenance import Provenance, options_of, versions
from gbveval.core.registry import register
from gbveval.core.term import Term
from gbveval.data.sites import SiteEffects
from gbveval.multisite.prior_predictive import in_outcome_units
from gbveval.multisite.site_prior import HierarchyPrior
from gbveval.numerics.hierarchy import NormalHierarchyFit, normal_hierarchy
from gbveval.numerics.hierarchy_mixture import mixture_hierarchy
from gbveval.numerics.normal_mixture import NormalMixture

FloatArray = NDArray[np.float64]
AVERAGE, NEW_SITE, SPREAD = "average effect", "effect in a new site", "between-site sd"
NORMAL_EFFECTS = "effects are normal over sites"
AVERAGE_AT = "average effect at the moderators of the new site"


@register("normal_hierarchy")
@dataclass(frozen=True, slots=True)
class NormalHierarchy:
    """Exact Bayesian hierarchy over site estimates with known standard errors.

    Each site's estimate is normal about the site's effect, and the effects are normal over sites. Given the
    between-site sd everything is normal in closed form; the sd itself is integrated by quadrature. Milliseconds, and
    no Monte Carlo error.

    Parameters
    ----------
    prior : HierarchyPrior
        Priors of the average effect and of the between-site sd, explicit and printed with the answer; and of slopes,
        when the sites have moderators.
    at : mapping of str to float, optional
        Moderators of the new site, in the units of the data; those not named are at their mean over the sites.

    Notes
    -----
    **Identifies** the average effect over a population of sites, each site's own effect partially pooled, and the
    effect in a new site: three different numbers, of which the last is the widest.

    **Valid when** the site estimates are independent and close to normal. **Do not use when** outcomes are rare (use
    the counts) or the same people are in several rows. With two to five sites the prior of the between-site sd decides
    much of the answer: look at `prior_sensitivity`.

    **With moderators** the effects are normal about a line: "average effect" is its height where every moderator is at
    its mean, and a slope compares sites that differ for other reasons too; it is an association, however well each site
    was randomised. With ten sites one moderator is much and three are too many.

    `Estimates.probability` gives the probability that an effect lies beyond a threshold.

    References
    ----------
    Rubin (1981), Journal of Educational Statistics 6. Gelman and others (2013), Bayesian Data Analysis, chapter 5.
    Gelman and Pardoe (2006), Technometrics 48, for pooling factors.

    Examples
    --------
    >>> from gbveval.numerics.priors import HalfCauchy, Normal
    >>> sites = SiteEffects({"y": [28, 8, -3, 7, -1, 1, 18, 12], "se": [15, 10, 16, 11, 9, 11, 10, 18]},
    ...                     estimate="y", std_error="se")
    >>> answer = NormalHierarchy(HierarchyPrior(Normal(0, 5), HalfCauchy(5))).estimate(sites)
    >>> round(answer["average effect"].value, 4), round(answer.probability("average effect", above=0), 4)
    (4.3968, 0.9076)
    """

    prior: HierarchyPrior
    at: Any = ()
    name: ClassVar[str] = "normal_hierarchy"

    def __post_init__(self) -> None:
        items = sorted(self.at.items()) if isinstance(self.at, Mapping) else tuple(self.at)
        if not all(isinstance(name, str) and np.isfinite(float(value)) for name, value in items):
            raise DesignError("at maps the names of moderators to finite numbers.")
        object.__setattr__(self, "at", tuple((name, float(value)) for name, value in items))

    def estimate(self, data: SiteEffects, *, rng: np.random.Generator | None = None) -> Estimates:
        """Return the average effect, each site's, a new site's, and the between-site sd.

        Parameters
        ----------
        data : SiteEffects
            One estimate and standard error a site.
        rng : numpy.random.Generator, optional
            Ignored: nothing is random.

        Raises
        ------
        IdentificationError
            If the posterior does not exist, as with flat priors on both parts and few sites.
        """
        fit = fit_sites(data, self.prior, at=self.at)
        columns = (*range(len(fit.effects)), DENSITY)
        posterior = GridPosterior(fit.effects, fit.tau_nodes[:, None], (fit.tau,), columns)
        mean, sd = posterior.mean(), posterior.sd()
        rows = _rows(data, elsewhere=len(fit.elsewhere) > 0)
        everybody = tuple(cell for cells in data.support for cell in cells)
        terms = []
        for i, (label, kind, site) in enumerate(rows):
            contrast = "standard_deviation" if kind == "between_site_sd" else data.contrast
            defined = bool(np.isfinite(mean[i]) and np.isfinite(sd[i]))
            terms.append(
                Term(
                    term=label,
                    estimand=Estimand(kind, contrast, "sites"),
                    outcome=data.outcome,
                    value=float(mean[i]) if np.isfinite(mean[i]) else None,
                    std_error=float(sd[i]) if defined else None,
                    n_units=None,
                    reason="" if defined else "this posterior has no finite variance; read its quantiles",
                    support=everybody if site is None else data.support[site],
                    extra=_extra(fit, label, site, kind),
                )
            )
        covariance = posterior.covariance()
        covariance[~np.isfinite(covariance)] = np.nan
        return Estimates(
            estimator=self.name,
            terms=tuple(terms),
            covariance=covariance,
            method=_method(self, data),
            checks=_checks(fit, data),
            provenance=Provenance(data.digest, tuple(options_of(self).items()), None, versions()),
            posterior=posterior,
        )


def _rows(data: SiteEffects, *, elsewhere: bool) -> list[tuple[str, str, int | None]]:
    """Return label, kind and site of every row."""
    rows: list[tuple[str, str, int | None]] = [(AVERAGE, "average_effect", None)]
    rows += [(f"slope of {name}", "effect_moderation", None) for name in data.moderator_names]
    rows += [(f"effect in {label}", "site_effect", site) for site, label in enumerate(data.labels)]
    rows += [(AVERAGE_AT, "average_effect", None)] * elsewhere
    return [*rows, (NEW_SITE, "new_site_effect", None), (SPREAD, "between_site_sd", None)]


def fit_sites(
    data: SiteEffects, prior: HierarchyPrior, *, at: tuple[tuple[str, float], ...] = ()
) -> NormalHierarchyFit:
    """Return the numeric fit; a posterior that does not exist is an IdentificationError."""
    if data.study is not None and data.study.count < data.n:
        raise DesignError(
            f"{data.n} rows come from {data.study.count} studies, and effects of one study are not independent of each "
            "other. Pool the rows of a study first, or use MultilevelEffects or RobustEffects."
        )
    unknown = [name for name, _ in at if name not in data.moderator_names]
    if unknown:
        raise DesignError(f"{', '.join(map(repr, unknown))} (at) is no moderator of these sites.")
    given, means = dict(at), data.moderators.mean(axis=0)
    point = [given.get(name, mean) - mean for name, mean in zip(data.moderator_names, means, strict=True)]
    fit = mixture_hierarchy if isinstance(prior.average_effect, NormalMixture) else normal_hierarchy
    try:
        return fit(
            data.estimate,
            data.std_error,
            mu_prior=prior.average_effect,
            tau_prior=prior.between_site_sd,
            at=[point, point] if at else [point],
            **described(data, prior),
        )
    except ValueError as error:
        if isinstance(error, GbvevalError):
            raise
        raise IdentificationError(str(error)) from error


def described(data: SiteEffects, prior: HierarchyPrior) -> dict[str, Any]:
    """Return centred moderators and the priors of their slopes, as the numeric functions take them."""
    return {
        "moderators": data.moderators - data.moderators.mean(axis=0),
        "slope_priors": prior.slopes_of(data.moderator_names),
    }


def _extra(
    fit: NormalHierarchyFit, label: str, site: int | None, kind: str
) -> tuple[tuple[str, float | str | None], ...]:
    if site is not None:
        shrinkage = float(fit.shrinkage_of_posterior_mean[site])
        return (
            ("pooling_factor", float(fit.pooling_site_mean[site])),
            ("weight", float(fit.weights_mean[site])),
            ("shrinkage", shrinkage if np.isfinite(shrinkage) else None),
        )
    if kind != "average_effect" or label != AVERAGE:
        return ()
    return (
        ("i_squared", fit.isq_mean),
        ("pooling_total", fit.pooling_total_mean),
        ("typical_within_variance", fit.typical_within_variance),
        ("log_marginal_likelihood", fit.log_marginal_likelihood),
    )


def _method(model: NormalHierarchy, data: SiteEffects) -> Method:
    return Method(
        sample=f"{data.n} sites, each with an estimate and a standard error taken as known",
        std_error="posterior standard deviation",
        small_sample=f"none; priors: {model.prior.describe()}{in_outcome_units(model, data.contrast)}",
        reference="exact posterior by quadrature, equal-tailed intervals",
        inference_for="a population of sites, of which these are exchangeable members",
        assumptions=(
            "site estimates are independent and normal about each site's effect",
            *(["effects are normal about a line in the moderators"] if data.moderator_names else [NORMAL_EFFECTS]),
        ),
        source="Rubin 1981; Gelman and others 2013",
    )


def _checks(fit: NormalHierarchyFit, data: SiteEffects) -> tuple[Check, ...]:
    found = []
    if data.n < 5:
        text = (
            f"with {data.n} sites the prior of the between-site sd decides much of the answer; show another beside it."
        )
        found.append(Check("few sites", "warn", text))
    if data.moderator_names and data.n < 10 * len(data.moderator_names):
        text = (
            f"{len(data.moderator_names)} moderator(s) of {data.n} sites: fewer than ten sites a moderator say little "
            "of its slope beyond the prior."
        )
        found.append(Check("few sites a moderator", "warn", text))
    if not (fit.mu_prior.is_proper and fit.tau_prior.is_proper):
        found.append(Check("prior", "info", "a flat prior is improper, so there is no marginal likelihood."))
    return tuple(found)
