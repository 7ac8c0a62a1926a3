"""Exact hierarchies over many simulated studies at once: the same sites and standard errors, other estimates.

Given the between-site sd t everything is normal: with v_k = s_k^2 + t^2, precision P = sum 1/v_k + 1/s0^2 and mean
m = (sum y_k/v_k + m0/s0^2)/P of the average, the marginal density of the estimates is, up to a constant,
prod v_k^(-1/2) P^(-1/2) exp(-(sum y_k^2/v_k - P m^2)/2). The v_k do not depend on the estimates, so on nodes of t that
all studies share, sums over sites are matrix products: a study costs nodes times sites.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gbveval.numerics.priors import Flat, Normal, ScalePrior

FloatArray = NDArray[np.float64]
# Panels of equal length on the log axis with this many Gauss nodes each; the first panel starts at zero.
PANELS, NODES = 24, 10
# Studies whose own nodes are held at once: 500 x 240 nodes x 8 sites are 8 MB.
STUDIES_AT_ONCE = 500
# The sd below which the data cannot tell it from zero, in units of the least standard error; and the largest that
# matters, in units of the spread of the estimates and of the prior's landmarks.
LEAST, LARGEST = 1e-2, 1e3


@dataclass(frozen=True, eq=False, slots=True)
class ManyHierarchies:
    """Posteriors of many studies, as mixtures of normals over shared nodes of the between-site sd.

    Attributes
    ----------
    estimate : ndarray, shape (studies, sites)
        What was seen.
    std_error : ndarray, shape (sites,)
        Of every study.
    tau : ndarray, shape (nodes,)
        Values of the between-site sd.
    weight : ndarray, shape (studies, nodes)
        Posterior weights; each row sums to one.
    mean : ndarray, shape (studies, nodes)
        Mean of the average effect given the node.
    precision : ndarray, shape (nodes,)
        Its precision given the node.
    log_total : ndarray, shape (studies,)
        Log marginal likelihood, up to a constant that all studies share.
    """

    estimate: FloatArray
    std_error: FloatArray
    tau: FloatArray
    weight: FloatArray
    mean: FloatArray
    precision: FloatArray
    log_total: FloatArray

    def average_cdf(self, x: ArrayLike) -> FloatArray:
        """Return P(average effect <= x) of every study; x is one number or one for each."""
        return self._mixture(x, self.mean, 1.0 / self.precision)

    def new_site_cdf(self, x: ArrayLike) -> FloatArray:
        """Return P(effect in a new site <= x) of every study."""
        return self._mixture(x, self.mean, 1.0 / self.precision + self.tau**2)

    def site_cdf(self, site: int, x: ArrayLike) -> FloatArray:
        """Return P(effect in a site <= x) of every study."""
        v = self.std_error[site] ** 2
        own = self.tau**2 / (self.tau**2 + v)
        mean = own * self.estimate[:, [site]] + (1.0 - own) * self.mean
        return self._mixture(x, mean, own * v + (1.0 - own) ** 2 / self.precision)

    def spread_mean(self) -> FloatArray:
        """Return the posterior mean of the between-site sd of every study."""
        return self.weight @ self.tau

    def average_moments(self) -> tuple[FloatArray, FloatArray]:
        """Return the posterior mean and sd of the average effect of every study."""
        mean = (self.weight * self.mean).sum(axis=1)
        second = (self.weight * (self.mean**2 + 1.0 / self.precision)).sum(axis=1)
        return mean, np.sqrt(np.maximum(second - mean**2, 0.0))

    def _mixture(self, x: ArrayLike, mean: FloatArray, variance: FloatArray) -> FloatArray:
        from scipy.special import ndtr

        point = np.broadcast_to(np.asarray(x, dtype=np.float64), (self.weight.shape[0],))[:, None]
        # At a node of zero a site's own effect is the average's, whose variance is above zero.
        return np.asarray((self.weight * ndtr((point - mean) / np.sqrt(variance))).sum(axis=1))


def many_hierarchies(
    estimate: FloatArray, std_error: FloatArray, *, mu_prior: Normal | Flat, tau_prior: ScalePrior
) -> ManyHierarchies:
    """Return the posteriors of many studies with the same standard errors.

    Parameters
    ----------
    estimate : ndarray, shape (studies, sites)
        Estimates of each study.
    std_error : ndarray, shape (sites,)
        Their standard errors.
    mu_prior : Normal or Flat
        Of the average effect.
    tau_prior : ScalePrior
        Of the between-site sd, proper.

    Notes
    -----
    Nodes are placed for all studies together; `normal_hierarchy` places them for one, and tells its error.

    Examples
    --------
    >>> from gbveval.numerics.priors import HalfNormal
    >>> seen = np.array([[0.1, 0.2, 0.3], [-0.1, 0.0, 0.1]])
    >>> many = many_hierarchies(seen, np.full(3, 0.1), mu_prior=Normal(0, 1), tau_prior=HalfNormal(0.2))
    >>> many.average_cdf(0.0).round(3).tolist()
    [0.024, 0.5]
    """
    y, s = np.asarray(estimate, dtype=np.float64), np.asarray(std_error, dtype=np.float64)
    tau, rule = _nodes(y, s, tau_prior)
    return _given_nodes(y, s, tau, rule + np.asarray(tau_prior.log_density(tau)), mu_prior)


def spread_cdf(many: ManyHierarchies, x: FloatArray, *, mu_prior: Normal | Flat, tau_prior: ScalePrior) -> FloatArray:
    """Return P(between-site sd <= x) of every study, by a rule of its own that ends at x.

    Parameters
    ----------
    many : ManyHierarchies
        The posteriors.
    x : ndarray, shape (studies,)
        One number for each study, above zero.
    mu_prior, tau_prior
        As they were fitted.
    """
    found = np.empty(x.size)
    edge = _edges(many.estimate, many.std_error, tau_prior)
    for start in range(0, x.size, STUDIES_AT_ONCE):
        rows = slice(start, start + STUDIES_AT_ONCE)
        # The same panels as far as they reach, the last cut at x.
        cut = np.minimum(edge[None, :], x[rows, None])
        node, weight = np.polynomial.legendre.leggauss(NODES)
        half = np.diff(cut, axis=1)[:, :, None] / 2.0
        tau = (cut[:, :-1, None] + half * (node + 1.0)).reshape(cut.shape[0], -1)
        rule = (half * weight).reshape(cut.shape[0], -1)
        log_density = _log_marginal_each(many.estimate[rows], many.std_error, tau, mu_prior)
        log_density = log_density + np.asarray(tau_prior.log_density(tau)) - many.log_total[rows, None]
        found[rows] = (rule * np.exp(log_density)).sum(axis=1)
    return found


def _log_marginal_each(y: FloatArray, s: FloatArray, tau: FloatArray, prior: Normal | Flat) -> FloatArray:
    """Return log marginal densities where every study has nodes of its own, shape (studies, nodes)."""
    inverse = 1.0 / (s**2 + tau[:, :, None] ** 2)
    centre, own = _average_prior(prior)
    precision = inverse.sum(axis=2) + own
    mean = ((y[:, None, :] * inverse).sum(axis=2) + centre * own) / precision
    square = (y[:, None, :] ** 2 * inverse).sum(axis=2)
    log_density = 0.5 * np.log(inverse).sum(axis=2) - 0.5 * np.log(precision)
    return np.asarray(log_density - 0.5 * (square - precision * mean**2))


def _average_prior(prior: Normal | Flat) -> tuple[float, float]:
    """Return the mean and the precision of the average's prior; a flat one has none."""
    return (prior.mean, 1.0 / prior.sd**2) if isinstance(prior, Normal) else (0.0, 0.0)


def _edges(y: FloatArray, s: FloatArray, prior: ScalePrior) -> FloatArray:
    """Return the ends of the panels: zero, then points of equal ratio up to what matters or the prior allows."""
    spread = float(np.abs(y - y.mean(axis=1, keepdims=True)).max(initial=0.0)) + float(s.max())
    marks = np.exp(np.asarray(prior.log_landmarks(), dtype=np.float64))
    low = min(float(s.min()) * LEAST, float(marks.min(initial=np.inf)) * LEAST)
    high = min(prior.support_upper, LARGEST * max(spread, float(marks.max(initial=0.0))))
    low = min(low, high * 1e-3)
    return np.concatenate([[0.0], np.geomspace(low, high, PANELS)])


def _nodes(y: FloatArray, s: FloatArray, prior: ScalePrior) -> tuple[FloatArray, FloatArray]:
    """Return nodes of the between-site sd and the logarithms of their rule's weights."""
    node, weight = np.polynomial.legendre.leggauss(NODES)
    edge = _edges(y, s, prior)
    half = np.diff(edge)[:, None] / 2.0
    tau = (edge[:-1, None] + half * (node + 1.0)).ravel()
    return tau, np.log(half * weight).ravel()


def _log_marginal(
    y: FloatArray, s: FloatArray, tau: FloatArray, prior: Normal | Flat
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return log marginal densities, means and precisions of the average effect, on every node."""
    inverse = 1.0 / (s**2 + tau[:, None] ** 2)
    centre, own = _average_prior(prior)
    precision = inverse.sum(axis=1) + own
    mean = (y @ inverse.T + centre * own) / precision
    log_density = 0.5 * np.log(inverse).sum(axis=1) - 0.5 * np.log(precision)
    return log_density - 0.5 * (y**2 @ inverse.T - precision * mean**2), mean, precision


def _given_nodes(
    y: FloatArray, s: FloatArray, tau: FloatArray, log_prior: FloatArray, mu_prior: Normal | Flat
) -> ManyHierarchies:
    log_weight, mean, precision = _log_marginal(y, s, tau, mu_prior)
    log_weight = log_weight + log_prior
    top = log_weight.max(axis=1, keepdims=True)
    weight = np.exp(log_weight - top)
    total = weight.sum(axis=1, keepdims=True)
    return ManyHierarchies(y, s, tau, weight / total, mean, precision, (top + np.log(total))[:, 0])
