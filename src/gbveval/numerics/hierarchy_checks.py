"""What the exact normal hierarchy implies: leave-one-site-out scores, sensitivity to prior and data, one more site."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gbveval.numerics.hierarchy import NormalHierarchyFit, checked_summaries, normal_hierarchy
from gbveval.numerics.hierarchy_mixture import mixture_evidence
from gbveval.numerics.mixtures import NormalMixtures
from gbveval.numerics.normal_mixture import NormalMixture
from gbveval.numerics.powered_prior import PoweredPrior, check_power, powered
from gbveval.numerics.priors import Flat, Normal, ScalePrior

FloatArray = NDArray[np.float64]

_SCAN = 1200
_REFINE = 64
# Predictive probability beyond which a new estimate is not looked for, on either side.
_UNSEEN = 1e-12


@dataclass(frozen=True, slots=True, eq=False)
class LeaveOneOut:
    """Exact leave-one-site-out log predictive densities, the site's own effect integrated out.

    Attributes
    ----------
    pointwise : ndarray, shape (sites,)
        log p(y_i | the other sites).
    """

    pointwise: FloatArray

    @property
    def elpd(self) -> float:
        """Their sum."""
        return float(self.pointwise.sum())

    @property
    def std_error(self) -> float:
        """Standard error of the sum over sites, sqrt(K) times their standard deviation; NaN for one site."""
        sites = len(self.pointwise)
        return float(np.sqrt(sites * np.var(self.pointwise, ddof=1))) if sites > 1 else float("nan")


def leave_one_site_out(
    y: ArrayLike,
    se: ArrayLike,
    *,
    mu_prior: Normal | Flat | NormalMixture,
    tau_prior: ScalePrior,
    moderators: ArrayLike | None = None,
    slope_priors: tuple[Normal, ...] = (),
) -> LeaveOneOut:
    """Score each site by the density that the others predict for its estimate, refitting exactly each time.

    Parameters
    ----------
    y, se : array_like, shape (sites,)
        Site estimates and standard errors.
    mu_prior, tau_prior, moderators, slope_priors
        As for `normal_hierarchy`.

    Returns
    -------
    LeaveOneOut

    Raises
    ------
    ValueError
        As for `normal_hierarchy`; also when the posterior without a site does not exist. One site needs proper priors.

    Notes
    -----
    log p(y_i | y_-i) is a difference of two log marginal likelihoods. The constant of a flat prior cancels.
    """
    data, errors = checked_summaries(y, se)
    lines = None if moderators is None else np.asarray(moderators, dtype=float)

    def evidence(kept: NDArray[np.intp]) -> float:
        own = None if lines is None else lines[kept]
        return mixture_evidence(
            data[kept], errors[kept], mu_prior, tau_prior, moderators=own, slope_priors=slope_priors
        )

    everyone = np.arange(len(data))
    whole = evidence(everyone)
    if len(data) == 1:
        if not (mu_prior.is_proper and tau_prior.is_proper):
            raise ValueError("With one site nothing but the priors predicts it: they must both be proper.")
        return LeaveOneOut(pointwise=np.array([whole]))
    without = [evidence(np.delete(everyone, site)) for site in everyone]
    return LeaveOneOut(pointwise=whole - np.array(without))


def power_scaled_hierarchy(
    y: ArrayLike,
    se: ArrayLike,
    *,
    mu_prior: Normal | Flat,
    tau_prior: ScalePrior,
    moderators: ArrayLike | None = None,
    slope_priors: tuple[Normal, ...] = (),
    prior_power: float = 1.0,
    likelihood_power: float = 1.0,
) -> NormalHierarchyFit:
    """Fit with the prior densities or the likelihood raised to a power, to see what the answer leans on.

    Parameters
    ----------
    y, se : array_like, shape (sites,)
        Site estimates and standard errors.
    mu_prior, tau_prior, moderators, slope_priors
        As for `normal_hierarchy`.
    prior_power : float
        Power of the densities of the average, of the slopes and of the between-site sd (only those: the distribution of
        the site effects belongs to the model). 0.8 and 1.25 are customary.
    likelihood_power : float
        Power of each Normal(y_i | theta_i, se_i): the fit's `se` is the original divided by its square root.

    Returns
    -------
    NormalHierarchyFit
        Its log marginal likelihood is None, because a powered density is not normalised.

    Raises
    ------
    ValueError
        If a power is not above 0, or as for `normal_hierarchy`.

    References
    ----------
    Kallioinen, Paananen, Buerkner and Vehtari (2024), Detecting and diagnosing prior and likelihood sensitivity with
    power-scaling, Statistics and Computing 34.
    """
    for power in (prior_power, likelihood_power):
        check_power(power)
    _, errors = checked_summaries(y, se)
    average = powered(mu_prior, prior_power) if isinstance(mu_prior, Normal) else mu_prior
    return normal_hierarchy(
        y,
        errors / likelihood_power**0.5,
        mu_prior=average,
        tau_prior=PoweredPrior(tau_prior, prior_power),
        moderators=moderators,
        slope_priors=tuple(powered(prior, prior_power) for prior in slope_priors),
    )


@dataclass(frozen=True, slots=True)
class OneMoreSite:
    """What one more site is expected to teach about the average effect.

    Attributes
    ----------
    predictive_mean, predictive_sd : float
        Of the new site's estimate, before it is seen.
    probability_now : float
        P(average beyond the threshold | data). It is also the expectation of the updated probability.
    assurance : float
        Predictive probability that the updated probability reaches the one that is needed.
    critical_estimates : tuple of float
        New estimates at which the updated probability crosses the needed one, increasing. There may be none, one, two
        or more: an extreme estimate raises the between-site sd and can lower the probability again.
    evsi : float
        Expected value of the new estimate: E[max(0, d (E[mu | all] - threshold))] - max(0, d (E[mu | data] -
        threshold)) with d = 1 above and -1 below, in the units of the estimates.
    evppi : float
        The same if the average itself became known; an upper limit for `evsi`.
    """

    predictive_mean: float
    predictive_sd: float
    probability_now: float
    assurance: float
    critical_estimates: tuple[float, ...]
    evsi: float
    evppi: float


def one_more_site(
    fit: NormalHierarchyFit,
    se_new: float,
    *,
    threshold: float = 0.0,
    direction: Literal["above", "below"] = "above",
    probability_needed: float = 0.95,
) -> OneMoreSite:
    """Say what one more site with standard error `se_new` is worth for a decision about the average effect.

    Parameters
    ----------
    fit : NormalHierarchyFit
        The posterior so far.
    se_new : float
        Standard error of the new site's estimate, above 0.
    threshold : float
        Practical threshold for the average effect.
    direction : {"above", "below"}
        The side of the threshold that counts as success.
    probability_needed : float
        Probability of success at which one would decide to go on, strictly between 0 and 1.

    Returns
    -------
    OneMoreSite

    Raises
    ------
    ValueError
        If an argument is out of range, or the average effect has no finite variance (use proper priors).

    Notes
    -----
    Given tau everything is normal, so expectations over the new estimate are exact between the points where a function
    of it changes sign; those are searched where all but 1e-12 of the predictive probability lies on either side.
    """
    sign = _checked_sign(fit, se_new, direction, probability_needed)
    update = _Update(fit, se_new, threshold, sign)
    grid = update.grid()
    goes, critical = _signs_and_roots(lambda x: update.probability(x) - probability_needed, grid)
    gains, breaks = _signs_and_roots(update.gain, grid)
    edges = np.array([-np.inf, *critical, np.inf])
    mass = np.diff(update.predictive.cdf(edges[:, None])[:, 0])
    now = float((fit.mu.sf(threshold) if sign > 0 else fit.mu.cdf(threshold))[0])
    value_now = max(0.0, sign * (float(fit.mu.mean[0]) - threshold))
    return OneMoreSite(
        predictive_mean=float(update.predictive.mean[0]),
        predictive_sd=float(update.predictive.sd[0]),
        probability_now=now,
        assurance=float(mass[goes].sum()),
        critical_estimates=tuple(float(x) for x in critical),
        evsi=_value_of_estimate(update, breaks, gains, value_now),
        evppi=update.perfect_value() - value_now,
    )


def _checked_sign(fit: NormalHierarchyFit, se_new: float, direction: str, probability_needed: float) -> float:
    if direction not in ("above", "below"):
        raise ValueError(f"The direction must be 'above' or 'below'; it is {direction!r}.")
    if not (np.isfinite(se_new) and se_new > 0.0):
        raise ValueError(f"The new site's standard error must be finite and above 0; it is {se_new}.")
    if not 0.0 < probability_needed < 1.0:
        raise ValueError(f"The probability needed must lie strictly between 0 and 1; it is {probability_needed}.")
    if not np.isfinite(fit.mu.sd[0]):
        raise ValueError("The average effect has no finite variance with these priors and so few sites.")
    return 1.0 if direction == "above" else -1.0


class _Update:
    """How the posterior of the average moves with a new site's estimate: everything per node of tau."""

    def __init__(self, fit: NormalHierarchyFit, se_new: float, threshold: float, sign: float) -> None:
        self.weights = fit.effects.weights
        self.threshold, self.sign = threshold, sign
        self.mean = fit.effects.means[:, 0]
        self.sd = fit.effects.sds[:, 0]
        self.noise_sd = np.hypot(fit.tau_nodes, se_new)
        self.total_sd = np.hypot(self.sd, self.noise_sd)
        self.gain_factor = (self.sd / self.total_sd) ** 2
        self.updated_sd = self.sd * self.noise_sd / self.total_sd
        moments = fit.effects.finite_moments
        self.predictive = NormalMixtures(
            weights=self.weights,
            means=self.mean[:, None],
            sds=self.total_sd[:, None],
            finite_moments=None if moments is None else moments[-1:],
        )

    def grid(self) -> FloatArray:
        """Return new estimates from one far tail to the other, dense in the middle."""
        ends = self.predictive.quantile([_UNSEEN, 0.25, 0.5, 0.75, 1.0 - _UNSEEN])[:, 0]
        centre, scale = ends[2], 0.5 * (ends[3] - ends[1])
        u = np.linspace(np.arcsinh((ends[0] - centre) / scale), np.arcsinh((ends[4] - centre) / scale), _SCAN)
        points: FloatArray = centre + scale * np.sinh(u)
        return points

    def _posterior(self, x: FloatArray) -> tuple[FloatArray, FloatArray]:
        z = (x[:, None] - self.mean) / self.total_sd
        log_weight = np.log(self.weights) - np.log(self.total_sd) - 0.5 * z * z
        weight = np.exp(log_weight - log_weight.max(axis=1, keepdims=True))
        weight /= weight.sum(axis=1, keepdims=True)
        return weight, self.mean + self.gain_factor * (x[:, None] - self.mean)

    def probability(self, x: FloatArray) -> FloatArray:
        """Return P(average beyond the threshold | data and x)."""
        from scipy.special import ndtr

        weight, mean = self._posterior(x)
        result: FloatArray = (weight * ndtr(self.sign * (mean - self.threshold) / self.updated_sd)).sum(axis=1)
        return result

    def gain(self, x: FloatArray) -> FloatArray:
        """Return d (E[average | data and x] - threshold)."""
        weight, mean = self._posterior(x)
        result: FloatArray = self.sign * ((weight * mean).sum(axis=1) - self.threshold)
        return result

    def gain_between(self, low: float, high: float) -> float:
        """Return the integral of gain times predictive density from `low` to `high`, in closed form."""
        a, b = (low - self.mean) / self.total_sd, (high - self.mean) / self.total_sd
        inside = _normal_between(a, b)
        # The integral of z phi(z) is phi(a) - phi(b).
        drift = self.gain_factor * self.total_sd * (_phi(a) - _phi(b))
        return float(self.sign * (self.weights @ ((self.mean - self.threshold) * inside + drift)))

    def perfect_value(self) -> float:
        """Return E[max(0, d (average - threshold))]."""
        from scipy.special import ndtr

        distance = self.sign * (self.mean - self.threshold)
        z = distance / self.sd
        return float(self.weights @ (distance * ndtr(z) + self.sd * _phi(z)))


def _value_of_estimate(update: _Update, breaks: FloatArray, gains: NDArray[np.bool_], value_now: float) -> float:
    """Return the EVSI as the smaller side of an identity: no cancellation when it is tiny."""
    edges = [-np.inf, *breaks, np.inf]
    pieces = list(pairwise(edges))
    positive = sum(update.gain_between(a, b) for (a, b), gain in zip(pieces, gains, strict=True) if gain)
    negative = sum(update.gain_between(a, b) for (a, b), gain in zip(pieces, gains, strict=True) if not gain)
    # E[max(0, g)] - max(0, E g) is minus the negative part when E g > 0, and the positive part otherwise.
    return max(float(-negative if value_now > 0.0 else positive), 0.0)


def _phi(z: FloatArray) -> FloatArray:
    result: FloatArray = np.exp(-0.5 * z * z) / np.sqrt(2.0 * np.pi)
    return result


def _normal_between(a: FloatArray, b: FloatArray) -> FloatArray:
    from scipy.special import ndtr

    # On the side where both are small, so that a far interval keeps its precision.
    flip = a > 0.0
    result: FloatArray = ndtr(np.where(flip, -a, b)) - ndtr(np.where(flip, -b, a))
    return result


def _signs_and_roots(
    function: Callable[[FloatArray], FloatArray], grid: FloatArray
) -> tuple[NDArray[np.bool_], FloatArray]:
    """Return whether `function` is >= 0 on each interval between its roots, and the roots."""
    x, value = grid, function(grid)
    # A pair of roots can hide between two neighbours of a local extremum: look closer there.
    inner = value[1:-1]
    peak = ((inner >= value[:-2]) & (inner > value[2:]) & (inner < 0.0)) | (
        (inner <= value[:-2]) & (inner < value[2:]) & (inner >= 0.0)
    )
    for at in np.flatnonzero(peak) + 1:
        fine = np.linspace(grid[at - 1], grid[at + 1], _REFINE + 2)[1:-1]
        x, value = np.concatenate([x, fine]), np.concatenate([value, function(fine)])
    order = np.argsort(x)
    x, positive = x[order], value[order] >= 0.0
    change = np.flatnonzero(positive[1:] != positive[:-1])
    low, high = x[change].copy(), x[change + 1].copy()
    rising = positive[change + 1]
    for _ in range(80):
        if not len(change):
            break
        middle = 0.5 * (low + high)
        beyond = (function(middle) >= 0.0) == rising
        low, high = np.where(beyond, low, middle), np.where(beyond, middle, high)
    signs = np.concatenate([positive[:1], rising])
    return signs, 0.5 * (low + high)
