"""Each site's likelihood and effect when site effects are Student-t: the t as a scale mixture of normals."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]

# Cells of the largest temporary table (2 MB): bigger ones fall out of the cache.
_BLOCK = 250_000
# Rows and columns that hold less than this share of the probability are left out of the cdf of site effects.
_FAINT = 1e-9


@dataclass(frozen=True, slots=True, eq=False)
class Mixing:
    """Nodes and weights of the precision that mixes normals into a Student-t, Gamma(df / 2, rate df / 2).

    Attributes
    ----------
    precision, weight : ndarray, shape (nodes,)
        The weights sum to one.
    """

    precision: FloatArray
    weight: FloatArray


def mixing_nodes(df: float) -> Mixing:
    """Return the trapezoidal rule over the log precision, accurate to about 1e-8 also for outlying sites.

    Notes
    -----
    With the log precision shifted by i a the integrand stays bounded for a below pi / 2, by cos(a)^(-df / 2), because
    the normal density's exponent keeps its sign; so a step h has error exp(-2 pi a / h) cos(a)^(-df / 2).
    """
    angle = np.linspace(0.01, 1.55, 300)
    step = float((2.0 * np.pi * angle / (18.0 - 0.5 * df * np.log(np.cos(angle)))).max())
    # Far left: an outlying site lives on small precisions, long after the Gamma density itself has vanished.
    # The Gamma density falls as exp(-df / 2 (e^-a - 1 + a)) at log precision -a: by e^-60 at least, in both branches.
    depth = 120.0 / df
    low = -math.sqrt(3.0 * depth) if 3.0 * depth < 1.0 else -min(depth + 1.0, 60.0)
    excess = 78.0 / df
    high = math.log(1.0 + excess + math.sqrt(2.0 * excess))
    u = np.arange(low, high + step, step)
    log_weight = 0.5 * df * (u - np.expm1(u))
    weight = np.exp(log_weight - log_weight.max())
    return Mixing(precision=np.exp(u), weight=weight / weight.sum())


def log_sum(values: FloatArray, axis: int) -> FloatArray:
    """Return the log of the sum of exponentials along an axis; minus infinity where all are."""
    top = values.max(axis=axis, keepdims=True)
    safe = np.where(np.isfinite(top), top, 0.0)
    with np.errstate(divide="ignore"):
        result: FloatArray = np.log(np.exp(values - safe).sum(axis=axis)) + np.squeeze(safe, axis)
    return result


class Sites:
    """Estimates with known standard errors whose effects are Student-t around mu with scale tau."""

    def __init__(self, y: FloatArray, se: FloatArray, mixing: Mixing) -> None:
        self.y, self.se, self.mixing = y, se, mixing

    def log_likelihood(self, mu: FloatArray, tau: FloatArray) -> FloatArray:
        """Return log p(y_i | mu, tau), the site's effect integrated out, shape (sites, mu, tau)."""
        result = np.empty((len(self.y), len(mu), len(tau)))
        for site in range(len(self.y)):
            for at in self._blocks(len(mu), len(tau)):
                kernel, variance = self._kernel(site, mu, tau[at])
                total = kernel @ (self.mixing.weight / np.sqrt(variance))[..., None]
                with np.errstate(divide="ignore"):
                    result[site][:, at] = np.log(total[..., 0]).T
        return result - 0.5 * math.log(2.0 * math.pi)

    def moments(self, mu: FloatArray, tau: FloatArray, weight: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return posterior means and sds of the site effects; `weight` is (mu, tau) and sums to one."""
        first, second = np.zeros(len(self.y)), np.zeros(len(self.y))
        for site in range(len(self.y)):
            distance = mu - self.y[site]
            for at in self._blocks(len(mu), len(tau)):
                kernel, variance = self._kernel(site, mu, tau[at])
                share = self.se[site] ** 2 / variance
                density = self.mixing.weight / np.sqrt(variance)
                sums = kernel @ np.stack([density, density * share, density * share**2], axis=-1)
                shrink, squared = (sums[..., k].T / _nonzero(sums[..., 0].T) for k in (1, 2))
                w = weight[:, at]
                first[site] += (w * distance[:, None] * shrink).sum()
                within = self.se[site] ** 2 * (1.0 - shrink)
                second[site] += (w * (within + distance[:, None] ** 2 * squared)).sum()
        sd: FloatArray = np.sqrt(np.maximum(second - first**2, 0.0))
        return self.y + first, sd

    def cdf(self, threshold: float, mu: FloatArray, tau: FloatArray, weight: FloatArray) -> FloatArray:
        """Return P(theta_i <= threshold) over joint weights (mu, tau), shape (sites,)."""
        from scipy.special import ndtr

        rows, columns = weight.sum(axis=1) > _FAINT * weight.sum(), weight.sum(axis=0) > _FAINT * weight.sum()
        mu, tau, weight = mu[rows], tau[columns], weight[np.ix_(rows, columns)]
        result = np.zeros(len(self.y))
        for site in range(len(self.y)):
            y, se = self.y[site], self.se[site]
            for at in self._blocks(len(mu), len(tau)):
                kernel, variance = self._kernel(site, mu, tau[at])
                kernel *= (self.mixing.weight / np.sqrt(variance))[:, None, :]
                # Most precisions are there for outlying sites only.
                alive = kernel.max(axis=(0, 1)) > _FAINT * kernel.max()
                kernel, variance = kernel[..., alive], variance[:, alive]
                share = (se**2 / variance)[:, None, :]
                slope, inverse = share * (mu - y)[None, :, None], np.sqrt(self.mixing.precision[alive] * variance)
                score = ((threshold - y) - slope) * (inverse / (se * tau[at][:, None]))[:, None, :]
                below = (kernel * ndtr(score)).sum(axis=-1).T
                result[site] += (weight[:, at] * below / _nonzero(kernel.sum(axis=-1).T)).sum()
        share_below: FloatArray = result / weight.sum()
        return share_below

    def _kernel(self, site: int, mu: FloatArray, tau: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return exp(-(y - mu)^2 / 2 v), shape (tau, mu, mixing), and v, shape (tau, mixing)."""
        variance = self.se[site] ** 2 + tau[:, None] ** 2 / self.mixing.precision
        half_square = -0.5 * (mu - self.y[site]) ** 2
        kernel = half_square[None, :, None] * (1.0 / variance)[:, None, :]
        return np.exp(kernel, out=kernel), variance

    def _blocks(self, mu: int, tau: int) -> list[slice]:
        size = max(_BLOCK // (mu * len(self.mixing.weight)), 1)
        return [slice(start, min(start + size, tau)) for start in range(0, tau, size)]


def _nonzero(values: FloatArray) -> FloatArray:
    return np.where(values > 0.0, values, 1.0)
