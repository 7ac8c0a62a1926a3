"""Hides how what past studies found becomes a prior for the next pilots, and how many people it is worth."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from gbveval.core.errors import DesignError
from gbveval.core.estimates import Estimates
from gbveval.core.grid_posterior import GridPosterior
from gbveval.core.posterior_prior import as_prior
from gbveval.multisite.normal_hierarchy import NEW_SITE
from gbveval.numerics.mixture_fit import FittedMixture, fit_mixture
from gbveval.numerics.mixtures import NormalMixtures
from gbveval.numerics.normal_mixture import NormalMixture, information_sample_size
from gbveval.numerics.priors import Normal

FloatArray = NDArray[np.float64]
# Divergence in nats: with 0.001 nobody who saw 100 values could tell the mixture from what it stands for.
ENOUGH = 1e-3


def prior_from_evidence(past: Estimates, *, term: str = NEW_SITE, components: int | None = None) -> NormalMixture:
    """Return what past studies say of the next one, as a mixture of normals.

    The predictive distribution of the effect in a new study, given the past ones, is the prior that they justify for
    it (a meta-analytic-predictive prior). It is wider than what they say of the average.

    Parameters
    ----------
    past : Estimates
        Past studies, pooled by `NormalHierarchy`.
    term : str
        Which row; the effect in a new site unless something else is meant.
    components : int, optional
        Normals in the mixture; by default as few as stand within 0.001 nats of the distribution, at most four.

    Returns
    -------
    NormalMixture
        On the scale of inference (log for ratios). Give it a vague component by `robust`: the past studies were
        published, elsewhere, and mostly about other programmes.

    Raises
    ------
    ConvergenceError
        If a check of the past answer failed.
    DesignError
        If it has no such row, or its posterior is not known exactly.

    Notes
    -----
    Tails heavier than normal, which half-Cauchy priors of the between-site sd leave, are cut where the mixture ends.

    References
    ----------
    Neuenschwander, Capkun-Niggli, Branson and Spiegelhalter (2010), Clinical Trials 7. Schmidli and others (2014),
    Biometrics 70.

    Examples
    --------
    >>> import gbveval as gbv
    >>> past = gbv.SiteEffects({"y": [0.1, 0.3, 0.2, 0.05], "se": [0.1] * 4}, estimate="y", std_error="se")
    >>> pooled = gbv.NormalHierarchy(gbv.HierarchyPrior(gbv.Normal(0, 1), gbv.HalfNormal(0.2))).estimate(past)
    >>> prior = prior_from_evidence(pooled).robust(0.2, gbv.Normal(0, 1))
    >>> round(prior.mean, 2), len(prior.weights)
    (0.13, 4)
    """
    known = as_prior(past, term)
    if not isinstance(known.posterior, GridPosterior):
        raise DesignError(
            "Past evidence is taken from an exact posterior over estimates: pool the studies by NormalHierarchy. For "
            "counts, `effects_from_tables` makes estimates of them."
        )
    column = known.posterior.columns[known.term]
    if column < 0:
        raise DesignError(f"{term!r} is a standard deviation and no effect; a mixture of normals cannot stand for it.")
    return _fitted(known.posterior.effects.select([column]), components).mixture


def _fitted(mixture: NormalMixtures, components: int | None) -> FittedMixture:
    def quantile(p: FloatArray) -> FloatArray:
        return mixture.quantile(p)[:, 0]

    def log_density(x: FloatArray) -> FloatArray:
        z = (x[:, None] - mixture.means[:, 0]) / mixture.sds[:, 0]
        part = np.log(mixture.weights) - np.log(mixture.sds[:, 0]) - 0.5 * z * z - 0.5 * np.log(2.0 * np.pi)
        return np.asarray(np.logaddexp.reduce(part, axis=1), dtype=np.float64)

    if components is not None and not (isinstance(components, int) and 1 <= components <= 8):
        raise DesignError(f"components is a whole number from 1 to 8; it is {components!r}.")
    return fit_mixture(quantile, log_density, enough=ENOUGH, components=components)


def prior_effective_sample_size(prior: Normal | NormalMixture, *, unit_sd: float) -> float:
    """Return how many people's data a prior is worth.

    Parameters
    ----------
    prior : Normal or NormalMixture
        Of an effect.
    unit_sd : float
        The sd such that an estimate from n people has a standard error of unit_sd / sqrt(n), on the scale of the
        prior. For a difference in means with equal arms it is twice the outcome's sd; for a log odds ratio about
        2 / sqrt(p (1 - p)).

    Returns
    -------
    float
        The expected local-information-ratio, in people of both arms together. It is consistent: the expected size of
        the posterior after n people is this plus n.

    Raises
    ------
    DesignError
        If the prior or the sd is of the wrong kind.

    Notes
    -----
    A robust prior that is worth more people than the pilot has decides the pilot. Say so, or lower its weight.

    References
    ----------
    Neuenschwander, Weber, Schmidli and O'Hagan (2020), Biometrics 76.

    Examples
    --------
    >>> import gbveval as gbv
    >>> float(prior_effective_sample_size(gbv.Normal(0, 0.2), unit_sd=2.0))
    100.0
    """
    if isinstance(prior, Normal):
        prior = NormalMixture((1.0,), (prior.mean,), (prior.sd,))
    if not isinstance(prior, NormalMixture):
        raise DesignError("The effective sample size is of a Normal or a NormalMixture.")
    if not (np.isfinite(unit_sd) and unit_sd > 0.0):
        raise DesignError(f"unit_sd must be finite and above 0; it is {unit_sd}.")
    return round(information_sample_size(prior, unit_sd), 9)
