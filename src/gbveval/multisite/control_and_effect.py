"""`ControlAndEffect`: control means and effects of several sites together, exactly and without a sampler."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from gbveval.core.errors import DataError, IdentificationError
from gbveval.core.estimand import Estimand
from gbveval.core.estimates import Estimates
from gbveval.core.grid_posterior import DENSITY, GridPosterior
from gbveval.core.method import Check, Method
from gbveval.core.provenance import Provenance, options_of, versions
from gbveval.core.registry import register
from gbveval.core.term import Term
from gbveval.data.sites import SiteEffects
from gbveval.multisite.normal_hierarchy import AVERAGE, NEW_SITE, SPREAD
from gbveval.multisite.prior_predictive import in_outcome_units
from gbveval.multisite.site_prior import SitePrior
from gbveval.numerics.control_and_effect import ControlAndEffectFit, ControlAndEffectPriors, control_and_effect

FloatArray = NDArray[np.float64]
CONTROL, SPREAD_CONTROL, CORRELATION = "average control mean", "between-site sd of control mean", "correlation"
# Errors of quadrature, in posterior sds, beyond which an answer is not to be used without a second look.
TOLERATED = 1e-3


@register("control_and_effect")
@dataclass(frozen=True, slots=True)
class ControlAndEffect:
    """Exact Bayesian hierarchy over the control means and the effects of sites, which share the control arm.

    A site whose control mean came out high by chance shows too small an effect: the two errors have covariance minus
    the variance of the control mean. Between sites, control mean and effect may go together as well: worse places may
    have more to gain. The two are told apart here. The averages and the sites are integrated in closed form, the two
    between-site sds and the correlation by quadrature, whose error is told in `checks`.

    Parameters
    ----------
    prior : SitePrior
        Priors of both averages, of both between-site sds and of the correlation (its eta 1 or more), explicit and
        printed with the answer. `residual_sd` has no part in it.

    Notes
    -----
    **Identifies** what `NormalHierarchy` does and, besides, the average control mean and the correlation over sites of
    control mean and effect.

    **Valid when** sites are independent and both estimates are close to normal with known errors. **Do not use when**
    outcomes are rare (use the counts), or when effects are adjusted for covariates and their covariance with the
    control mean is not known.

    References
    ----------
    Meager (2019), American Economic Journal: Applied Economics 11, for the model, with independent errors. van
    Houwelingen, Arends and Stijnen (2002), Statistics in Medicine 21, for the bivariate model.

    Examples
    --------
    >>> from gbveval.numerics.priors import HalfNormal, Normal
    >>> table = {"mean": [2.0, 1.2, 1.9], "se_mean": [0.1, 0.2, 0.1], "y": [-0.4, -0.1, -0.2], "se": [0.15, 0.3, 0.2]}
    >>> sites = SiteEffects(table, estimate="y", std_error="se", control_mean="mean", control_std_error="se_mean")
    >>> prior = SitePrior(Normal(1, 1), Normal(0, 0.5), HalfNormal(0.5), HalfNormal(0.3))
    >>> answer = ControlAndEffect(prior).estimate(sites)
    >>> round(answer["average effect"].value, 3), round(answer["correlation"].value, 2)
    (-0.257, -0.06)
    """

    prior: SitePrior
    name: ClassVar[str] = "control_and_effect"

    def estimate(self, data: SiteEffects, *, rng: np.random.Generator | None = None) -> Estimates:
        """Return averages, site and new-site effects, between-site sds and their correlation.

        Parameters
        ----------
        data : SiteEffects
            With control means and their standard errors.
        rng : numpy.random.Generator, optional
            Ignored: nothing is random.

        Raises
        ------
        DataError
            If the data hold no control means, or moderators.
        IdentificationError
            If a prior does not fit the model.
        """
        fit = fit_control_and_effect(data, self.prior)
        n = data.n
        places = (1, *range(2 + n, 2 + 2 * n), 2 + 2 * n, DENSITY - 1, 0, *range(2, 2 + n), DENSITY, DENSITY - 2)
        posterior = GridPosterior(
            fit.effects, fit.nodes, (fit.sd_control, fit.sd_effect, fit.correlation), tuple(places)
        )
        mean, sd = posterior.mean(), posterior.sd()
        everybody = tuple(cell for cells in data.support for cell in cells)
        terms = [
            Term(
                term=label,
                estimand=Estimand(kind, contrast, "sites"),
                outcome=data.outcome,
                value=float(mean[i]),
                std_error=float(sd[i]),
                n_units=None,
                support=everybody if site is None else data.support[site],
                extra=(("log_marginal_likelihood", fit.log_marginal_likelihood),) if label == AVERAGE else (),
            )
            for i, (label, kind, contrast, site) in enumerate(_rows(data))
        ]
        return Estimates(
            estimator=self.name,
            terms=tuple(terms),
            covariance=posterior.covariance(),
            method=_method(self, data),
            checks=_checks(fit, data),
            provenance=Provenance(data.digest, tuple(options_of(self).items()), None, versions()),
            posterior=posterior,
        )


def fit_control_and_effect(data: SiteEffects, prior: SitePrior) -> ControlAndEffectFit:
    """Return the numeric fit."""
    if data.control_mean is None or data.control_std_error is None or data.covariance is None:
        raise DataError(
            "These sites have no control means. Read them with control_mean= and control_std_error=, or use "
            "NormalHierarchy for the effects alone."
        )
    if data.moderator_names:
        raise DataError("Moderators are not offered beside control means; leave them out, or use NormalHierarchy.")
    S = np.empty((data.n, 2, 2))
    S[:, 0, 0], S[:, 1, 1] = data.control_std_error**2, data.std_error**2
    S[:, 0, 1] = S[:, 1, 0] = data.covariance
    try:
        priors = ControlAndEffectPriors(
            control=prior.control_mean,
            effect=prior.average_effect,
            sd_control=prior.between_site_sd_control,
            sd_effect=prior.between_site_sd,
            eta=prior.correlation,
        )
        return control_and_effect(np.column_stack([data.control_mean, data.estimate]), S, priors)
    except ValueError as error:
        raise IdentificationError(str(error)) from error


def _rows(data: SiteEffects) -> list[tuple[str, str, str, int | None]]:
    """Return label, kind, contrast and site of every row, effects first as in the other models of sites."""
    level = "mean"
    return [
        (AVERAGE, "average_effect", data.contrast, None),
        *((f"effect in {label}", "site_effect", data.contrast, site) for site, label in enumerate(data.labels)),
        (NEW_SITE, "new_site_effect", data.contrast, None),
        (SPREAD, "between_site_sd", "standard_deviation", None),
        (CONTROL, "control_mean", level, None),
        *((f"control mean in {label}", "control_mean", level, site) for site, label in enumerate(data.labels)),
        (SPREAD_CONTROL, "between_site_sd", "standard_deviation", None),
        (CORRELATION, "control_effect_correlation", "correlation", None),
    ]


def _method(model: ControlAndEffect, data: SiteEffects) -> Method:
    return Method(
        sample=f"{data.n} sites, each with a control mean, an effect and their errors' covariance taken as known",
        std_error="posterior standard deviation",
        small_sample=f"none; priors: {replace(model.prior, residual_sd=None).describe()}"
        f"{in_outcome_units(model, None)}",
        reference="exact posterior by quadrature, equal-tailed intervals",
        inference_for="a population of sites, of which these are exchangeable members",
        assumptions=(
            "control means and effects are normal about those of their site, and independent between sites",
            "control means and effects are jointly normal over sites",
        ),
        source="Meager 2019; van Houwelingen and others 2002",
    )


def _checks(fit: ControlAndEffectFit, data: SiteEffects) -> tuple[Check, ...]:
    text = f"means and sds are off by less than {max(fit.error, 1e-12):.0e} posterior sds, by rules of two sizes."
    found = [Check("quadrature", "info" if fit.error < TOLERATED else "fail", text)]
    if data.n < 5:
        words = f"with {data.n} sites the priors of the between-site sds and of the correlation decide much."
        found.append(Check("few sites", "warn", words))
    return tuple(found)
