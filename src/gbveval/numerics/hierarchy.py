"""The exact posterior of a normal hierarchy over site summaries: one quadrature over the between-site sd."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gbveval.numerics.hierarchy_given_sd import Coefficients, Conditional, SiteMeans
from gbveval.numerics.hierarchy_quadrature import Panels, adaptive_panels, log_scale_edges
from gbveval.numerics.mixtures import GridDensity, NormalMixtures
from gbveval.numerics.normal_mixture import NormalMixture
from gbveval.numerics.priors import Flat, Normal, ScalePrior

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.intp]
BoolArray = NDArray[np.bool_]


@dataclass(frozen=True, slots=True, eq=False)
class NormalHierarchyFit:
    """Posterior of y_i ~ N(theta_i, se_i), theta_i ~ N(mu + x_i'b, tau).

    Attributes
    ----------
    y, se : ndarray, shape (sites,)
        The data.
    mu_prior, tau_prior : prior
        Priors of the average and of the between-site sd.
    site_means : SiteMeans
        The mean of the site effects: ones and moderators, with the priors of the coefficients.
    effects : NormalMixtures
        Terms: mu, slopes, theta_1 ... theta_K, the mean at every point that was asked for but the last, and the effect
        in a new site at that last point; jointly normal given tau.
    tau : GridDensity
        The between-site sd.
    tau_nodes : ndarray, shape (nodes,)
        The values of tau that belong to the nodes of `effects`.
    log_marginal_likelihood : float or None
        None when a prior is improper.
    pooling_site_mean : ndarray, shape (sites,)
        E[se_i^2 / (se_i^2 + tau^2)].
    weights_mean : ndarray, shape (sites,)
        Mean share of each site, E[w_i / sum w] with w = 1 / (se^2 + tau^2).
    typical_within_variance, isq_mean : float or None
        nu = (K - 1) sum w / ((sum w)^2 - sum w^2) with w = 1 / se^2, and E[tau^2 / (tau^2 + nu)]; None for one site.
    """

    y: FloatArray
    se: FloatArray
    mu_prior: Normal | Flat | NormalMixture
    tau_prior: ScalePrior
    site_means: SiteMeans
    effects: NormalMixtures
    tau: GridDensity
    tau_nodes: FloatArray
    log_marginal_likelihood: float | None
    pooling_site_mean: FloatArray
    weights_mean: FloatArray
    typical_within_variance: float | None
    isq_mean: float | None

    @property
    def mu(self) -> NormalMixtures:
        """The average effect (one term)."""
        return self.effects.select(slice(0, 1))

    @property
    def theta(self) -> NormalMixtures:
        """The site effects, in the order of the data."""
        first = self.site_means.X.shape[1]
        return self.effects.select(slice(first, first + len(self.y)))

    @property
    def slopes(self) -> NormalMixtures:
        """The slopes of the moderators, none without them."""
        return self.effects.select(slice(1, self.site_means.X.shape[1]))

    @property
    def elsewhere(self) -> NormalMixtures:
        """The mean of site effects at every point that was asked for but the last."""
        return self.effects.select(slice(self.site_means.X.shape[1] + len(self.y), -1))

    @property
    def new_site(self) -> NormalMixtures:
        """The effect in a new site of the same population of sites (one term)."""
        return self.effects.select(slice(len(self.effects) - 1, None))

    @property
    def pooling_total_mean(self) -> float | None:
        """One minus `isq_mean`."""
        return None if self.isq_mean is None else 1.0 - self.isq_mean

    @property
    def shrinkage_of_posterior_mean(self) -> FloatArray:
        """(E theta_i - y_i) / (E x_i'b - y_i), shape (sites,); NaN where y_i equals E x_i'b. May be outside 0 to 1."""
        coefficients = self.effects.select(slice(0, self.site_means.X.shape[1])).mean
        gap = self.site_means.X @ coefficients - self.y
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(gap != 0.0, (self.theta.mean - self.y) / gap, np.nan)


def normal_hierarchy(
    y: ArrayLike,
    se: ArrayLike,
    *,
    mu_prior: Normal | Flat,
    tau_prior: ScalePrior,
    moderators: ArrayLike | None = None,
    slope_priors: tuple[Normal, ...] = (),
    at: ArrayLike | None = None,
) -> NormalHierarchyFit:
    """Fit a normal hierarchy over site summaries exactly, without a sampler.

    Given tau, the coefficients and the site effects are jointly normal in closed form; tau is integrated by
    Gauss-Legendre panels over its logarithm that are split until they are resolved.

    Parameters
    ----------
    y : array_like, shape (sites,)
        Site estimates.
    se : array_like, shape (sites,)
        Their standard errors, known, above 0, in the same units.
    mu_prior : Normal or Flat
        Prior of the average effect: the mean where all moderators are zero.
    tau_prior : ScalePrior
        Prior of the between-site sd: HalfNormal, HalfCauchy, HalfStudentT, Uniform, Exponential, LogNormal or Flat.
    moderators : array_like, shape (sites, q), optional
        What the mean of the effects depends on, in general centred.
    slope_priors : tuple of Normal
        One a moderator.
    at : array_like, shape (points, q), optional
        Moderators at which the mean is wanted as well; the last are those of the new site. By default zero.

    Returns
    -------
    NormalHierarchyFit

    Raises
    ------
    ValueError
        If the data are not two vectors of one length, finite, with positive standard errors; if a prior is of the wrong
        kind; or if the posterior does not exist, as with flat priors on both and fewer than three sites.

    Notes
    -----
    Sites must be independent and their estimates close to normal: with rare events use the counts. A moment that does
    not exist (a half-Cauchy prior with one site) is infinite or NaN; quantiles always exist.

    References
    ----------
    Gelman et al. (2013), Bayesian Data Analysis, third edition, chapter 5. Higgins and Thompson (2002) for the typical
    within-site variance.

    Examples
    --------
    >>> from gbveval.numerics.priors import HalfCauchy, Normal
    >>> y, se = [28, 8, -3, 7, -1, 1, 18, 12], [15, 10, 16, 11, 9, 11, 10, 18]
    >>> fit = normal_hierarchy(y, se, mu_prior=Normal(0, 5), tau_prior=HalfCauchy(5))
    >>> round(float(fit.mu.mean[0]), 5), round(fit.tau.mean, 5)
    (4.39682, 3.59771)
    """
    data, errors = checked_summaries(y, se)
    means = SiteMeans.of(len(data), mu_prior, moderators=moderators, slope_priors=slope_priors, at=at)
    panels = tau_panels(data, errors, means, mu_prior, tau_prior)
    exponent = posterior_tail_exponent(len(data), mu_prior, tau_prior)
    log_values = panels.log_values[0].ravel()
    shift = float(log_values.max())
    mass = panels.weights.ravel() * np.exp(log_values - shift)
    tau = np.exp(panels.nodes.ravel())
    # Nodes that cannot be seen in any moment that exists only cost time.
    reach = np.maximum(tau / tau[np.argmax(mass)], 1.0) ** existing_moments(exponent)
    kept = mass * reach > 1e-19 * (mass * reach).max()
    tau, weights = tau[kept], mass[kept] / mass[kept].sum()
    proper = mu_prior.is_proper and tau_prior.is_proper
    nu, isq = _heterogeneity(errors, tau, weights)
    between = tau[:, None] ** 2
    precision = 1.0 / (errors**2 + between)
    return NormalHierarchyFit(
        y=data,
        se=errors,
        mu_prior=mu_prior,
        tau_prior=tau_prior,
        site_means=means,
        effects=_effects(data, errors, means, tau, weights, exponent),
        tau=GridDensity.from_panels(panels, log_axis=True, finite_moments=existing_moments(exponent)),
        tau_nodes=tau,
        log_marginal_likelihood=shift + float(np.log(mass.sum())) if proper else None,
        pooling_site_mean=weights @ (errors**2 * precision),
        weights_mean=weights @ (precision / precision.sum(axis=1, keepdims=True)),
        typical_within_variance=nu,
        isq_mean=isq,
    )


def log_evidence(
    y: FloatArray, se: FloatArray, means: SiteMeans, mu_prior: Normal | Flat, tau_prior: ScalePrior
) -> float:
    """Return the log of the integral of likelihood times prior (with density 1 for flat priors)."""
    panels = tau_panels(y, se, means, mu_prior, tau_prior)
    log_values = panels.log_values[0]
    shift = float(log_values.max())
    return shift + float(np.log((panels.weights * np.exp(log_values - shift)).sum()))


def checked_summaries(y: ArrayLike, se: ArrayLike) -> tuple[FloatArray, FloatArray]:
    """Return estimates and standard errors as float vectors, or raise ValueError."""
    data, errors = np.array(y, dtype=float), np.array(se, dtype=float)
    if data.ndim != 1 or errors.shape != data.shape or not len(data):
        raise ValueError(
            "Estimates and standard errors must be two vectors of one length, at least one site; "
            f"their shapes are {data.shape} and {errors.shape}."
        )
    bad = int(np.sum(~np.isfinite(data)))
    if bad:
        raise ValueError(f"Estimates must be finite; {bad} of {len(data)} are not. Leave those sites out.")
    bad = int(np.sum(~(np.isfinite(errors) & (errors > 0.0))))
    if bad:
        raise ValueError(f"Standard errors must be finite and above 0; {bad} of {len(data)} are not.")
    return data, errors


def posterior_tail_exponent(sites: int, mu_prior: Normal | Flat, tau_prior: ScalePrior) -> float:
    """Return the e in posterior density of tau ~ tau^-e, or raise ValueError when the posterior does not exist."""
    if not isinstance(mu_prior, Normal | Flat):
        raise ValueError(f"The prior of the average effect must be Normal or Flat; it is {type(mu_prior).__name__}.")
    if isinstance(tau_prior, Normal):
        raise ValueError("A Normal prior allows negative values: use HalfNormal for the between-site sd.")
    exponent = tau_prior.tail_exponent + sites - (0 if mu_prior.is_proper else 1)
    if exponent <= 1.0:
        raise ValueError(
            f"The posterior does not exist: {sites} site(s), {mu_prior.describe()} prior for the average and "
            f"{tau_prior.describe()} prior for the between-site sd leave a density that does not integrate. "
            "Give at least one of them a proper prior."
        )
    return exponent


def existing_moments(exponent: float) -> int:
    """Return how many moments (at most 2) a density with tail x^-exponent has."""
    return int(exponent > 2.0) + int(exponent > 3.0)


def tau_panels(
    y: FloatArray, se: FloatArray, means: SiteMeans, mu_prior: Normal | Flat, tau_prior: ScalePrior
) -> Panels:
    """Return resolved panels over t = log tau with the log of prior x marginal likelihood x d tau / d t."""
    exponent = posterior_tail_exponent(len(y), mu_prior, tau_prior)

    def log_integrand(t: FloatArray) -> FloatArray:
        tau = np.exp(t)
        at = Coefficients.at(y, se, means, tau)
        return at.log_likelihood + tau_prior.log_density(tau) + t

    def unresolved(t: FloatArray, share: FloatArray) -> BoolArray:
        return _moving_panels(y, se, means, t, share)

    upper = float(np.log(tau_prior.support_upper)) if np.isfinite(tau_prior.support_upper) else np.inf
    landmarks = np.concatenate([data_landmarks(y, se, mu_prior), tau_prior.log_landmarks()])
    edges = log_scale_edges(log_integrand, landmarks, upper=upper, moments=existing_moments(exponent))
    return adaptive_panels(_inside(log_integrand, upper), edges, unresolved=unresolved)


def _inside(log_integrand: Callable[[FloatArray], FloatArray], upper: float) -> Callable[[FloatArray], FloatArray]:
    # exp(log(upper)) may round past the upper end, where the prior is zero.
    return lambda t: log_integrand(np.minimum(t, np.nextafter(upper, -np.inf)))


def data_landmarks(y: FloatArray, se: FloatArray, mu_prior: Normal | Flat) -> FloatArray:
    """Return logs of the scales of the data and of the average's prior: the likelihood of tau varies between them."""
    scales = [float(se.min()), float(se.max()), float(np.ptp(y))]
    if isinstance(mu_prior, Normal):
        scales += [float(np.abs(y - mu_prior.mean).max()), mu_prior.sd]
    marks: FloatArray = np.log(np.array([scale for scale in scales if scale > 0.0]))
    return marks


def _moving_panels(y: FloatArray, se: FloatArray, means: SiteMeans, t: FloatArray, share: FloatArray) -> BoolArray:
    """Flag panels across which a conditional mean moves by many of its conditional sds.

    There the mixture over nodes would be a row of separate spikes and its cdf wrong, however exact the density of tau.
    """
    flags = np.zeros(len(t), dtype=bool)
    heavy = np.flatnonzero(share > 1e-10)
    at = Conditional.at(y, se, means, np.exp(t[heavy].ravel()))
    shape = (len(heavy), t.shape[1], -1)
    move = np.ptp(at.means.reshape(shape), axis=1) / at.sds.reshape(shape).min(axis=1)
    flags[heavy] = move.max(axis=1) > 4.0
    return flags


def _effects(
    y: FloatArray, se: FloatArray, means: SiteMeans, tau: FloatArray, weights: FloatArray, exponent: float
) -> NormalMixtures:
    at = Conditional.at(y, se, means, tau)
    moments = np.full(at.means.shape[1], 2, dtype=np.intp)
    moments[-1] = existing_moments(exponent)
    if means.flat:
        # With a flat prior the average given tau is as wide as tau itself.
        moments[0] = existing_moments(exponent)
        moments[means.X.shape[1] + len(y) :] = existing_moments(exponent)
    return NormalMixtures(weights=weights, means=at.means, sds=at.sds, loadings=at.loadings, finite_moments=moments)


def _heterogeneity(se: FloatArray, tau: FloatArray, weights: FloatArray) -> tuple[float | None, float | None]:
    sites = len(se)
    if sites == 1:
        return None, None
    w = (se.min() / se) ** 2
    # Sum of the others' weights for each site, from both sides: (sum w)^2 - sum w^2 cancels when one site dominates.
    before = np.concatenate([[0.0], np.cumsum(w)[:-1]])
    after = np.concatenate([np.cumsum(w[::-1])[::-1][1:], [0.0]])
    nu = (sites - 1) * float(w.sum() / (w @ (before + after))) * float(se.min()) ** 2
    isq = float(weights @ (tau / np.hypot(tau, np.sqrt(nu))) ** 2)
    return nu, isq
