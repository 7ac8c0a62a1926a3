"""`NormalHierarchy`: what several sites' estimates say together, exactly and without a sampler."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from gbveval.core.errors import IdentificationError
from gbveval.core.estimand import Estimand
from gbveval.core.estimates import Estimates
from gbveval.core.grid_posterior import DENSITY, GridPosterior
from gbveval.core.method import Check, Method
from gbveval.core.provenance import Provenance, options_of, versions
from gbveval.core.registry import register
from gbveval.core.term import Term
from gbveval.data.sites import SiteEffects
from gbveval.multisite.site_prior import HierarchyPrior
from gbveval.numerics.hierarchy import NormalHierarchyFit, normal_hierarchy

FloatArray = NDArray[np.float64]
AVERAGE, NEW_SITE, SPREAD = "average effect", "effect in a new site", "between-site sd"


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
        Priors of the average effect and of the between-site sd, explicit and printed with the answer.

    Notes
    -----
    **Identifies** the average effect over a population of sites, each site's own effect partially pooled, and the
    effect in a new site: three different numbers, of which the last is the widest.

    **Valid when** the site estimates are independent and close to normal. **Do not use when** outcomes are rare (use
    the counts) or the same people are in several rows. With two to five sites the prior of the between-site sd decides
    much of the answer: look at `prior_sensitivity`.

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
    name: ClassVar[str] = "normal_hierarchy"

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
        fit = fit_sites(data, self.prior)
        sites = data.n
        columns = (*range(sites + 2), DENSITY)
        posterior = GridPosterior(fit.effects, fit.tau_nodes, fit.tau, columns)
        mean, sd = posterior.mean(), posterior.sd()
        labels = (AVERAGE, *(f"effect in {label}" for label in data.labels), NEW_SITE, SPREAD)
        kinds = ("average_effect", *["site_effect"] * sites, "new_site_effect", "between_site_sd")
        everybody = tuple(cell for cells in data.support for cell in cells)
        terms = []
        for i, (label, kind) in enumerate(zip(labels, kinds, strict=True)):
            contrast = "standard_deviation" if kind == "between_site_sd" else data.contrast
            defined = bool(np.isfinite(mean[i]) and np.isfinite(sd[i]))
            site = i - 1 if kind == "site_effect" else None
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
                    extra=_extra(fit, site, kind),
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


def fit_sites(data: SiteEffects, prior: HierarchyPrior) -> NormalHierarchyFit:
    """Return the numeric fit; a posterior that does not exist is an IdentificationError."""
    try:
        return normal_hierarchy(
            data.estimate, data.std_error, mu_prior=prior.average_effect, tau_prior=prior.between_site_sd
        )
    except ValueError as error:
        raise IdentificationError(str(error)) from error


def _extra(fit: NormalHierarchyFit, site: int | None, kind: str) -> tuple[tuple[str, float | str | None], ...]:
    if site is not None:
        shrinkage = float(fit.shrinkage_of_posterior_mean[site])
        return (
            ("pooling_factor", float(fit.pooling_site_mean[site])),
            ("weight", float(fit.weights_mean[site])),
            ("shrinkage", shrinkage if np.isfinite(shrinkage) else None),
        )
    if kind != "average_effect":
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
        small_sample=f"none; priors: {model.prior.describe()}",
        reference="exact posterior by quadrature, equal-tailed intervals",
        inference_for="a population of sites, of which these are exchangeable members",
        assumptions=(
            "site estimates are independent and normal about each site's effect",
            "effects are normal over sites",
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
    if not (fit.mu_prior.is_proper and fit.tau_prior.is_proper):
        found.append(Check("prior", "info", "a flat prior is improper, so there is no marginal likelihood."))
    return tuple(found)
