"""Hides the quadrature over two sds and a correlation, for site levels and effects with known errors."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gbveval.numerics.hierarchy import normal_hierarchy
from gbveval.numerics.priors import Normal, ScalePrior

FloatArray = NDArray[np.float64]
SD_NODES, CORRELATION_NODES = 40, 28
# The sd of one margin, alone, has this much of its posterior below and above the nodes, which reach further still,
# since the correlation moves it a little.
TAIL, WIDER = 1e-5, 1.3


@dataclass(frozen=True, slots=True, eq=False)
class BivariateTwin:
    """Posterior means of the hyperparameters.

    Attributes
    ----------
    control_mean, average_effect, between_site_sd_control, between_site_sd, correlation : float
        Posterior means.
    """

    control_mean: float
    average_effect: float
    between_site_sd_control: float
    between_site_sd: float
    correlation: float


def bivariate_twin(
    level: FloatArray,
    variance: FloatArray,
    *,
    means: tuple[Normal, Normal],
    sds: tuple[ScalePrior, ScalePrior],
    eta: float,
) -> BivariateTwin:
    """Return posterior means when the levels of control and treated are normal with known variances in each site.

    Parameters
    ----------
    level, variance : ndarray, shape (sites, 2)
        Estimated level of control and of treated, independent of each other, and their variances.
    means, sds : tuple of two priors
        Priors of the averages and of the between-site sds, of the control level and of the effect.
    eta : float
        Of the LKJ prior of their correlation, with density proportional to (1 - r^2)^(eta - 1).

    Notes
    -----
    The estimates (a, t) = (level_0, level_1 - level_0) of a site share the control arm, so their covariance is
    -variance_0. Given the sds and the correlation everything is normal; the three are integrated by Gauss-Legendre
    and Gauss-Jacobi rules whose ranges come from the margins alone.
    """
    from scipy.special import roots_jacobi

    y = np.column_stack([level[:, 0], level[:, 1] - level[:, 0]])
    errors = np.stack([variance[:, 0], -variance[:, 0], variance.sum(axis=1)], axis=1)
    axes = [
        _nodes(y[:, j], np.sqrt(errors[:, 2 * j]), mean, sd)
        for j, (mean, sd) in enumerate(zip(means, sds, strict=True))
    ]
    r, r_weight = roots_jacobi(CORRELATION_NODES, eta - 1.0, eta - 1.0)
    log_weight, moments = [], []
    for sd_a, weight_a in zip(*axes[0], strict=True):
        sd_t, correlation = (part.ravel() for part in np.meshgrid(axes[1][0], r, indexing="ij"))
        found, centre = _given(y, errors, means, (sd_a, sd_t, correlation))
        prior = sds[0].log_density(sd_a) + sds[1].log_density(sd_t)
        log_weight.append(found + prior + np.log(weight_a) + np.log(np.outer(axes[1][1], r_weight)).ravel())
        moments.append(np.stack([*centre, np.full_like(sd_t, sd_a), sd_t, correlation], axis=1))
    logs = np.concatenate(log_weight)
    weights = np.exp(logs - logs.max())
    return BivariateTwin(*(weights @ np.concatenate(moments) / weights.sum()))


def _nodes(y: FloatArray, se: FloatArray, mean: Normal, sd: ScalePrior) -> tuple[FloatArray, FloatArray]:
    """Return nodes and weights of a Gauss-Legendre rule where the posterior of a between-site sd lies."""
    margin = normal_hierarchy(y, se, mu_prior=mean, tau_prior=sd).tau
    low, high = (float(x) for x in margin.quantile(np.array([TAIL, 1.0 - TAIL])))
    low, high = (0.0 if low < 0.2 * high else low / WIDER), min(high * WIDER, float(sd.support_upper))
    x, weight = np.polynomial.legendre.leggauss(SD_NODES)
    return low + 0.5 * (x + 1.0) * (high - low), 0.5 * weight * (high - low)


def _given(
    y: FloatArray,
    errors: FloatArray,
    means: tuple[Normal, Normal],
    at: tuple[float, FloatArray, FloatArray],
) -> tuple[FloatArray, tuple[FloatArray, FloatArray]]:
    """Return the log likelihood of sds and correlation, averages integrated out, and the averages' means."""
    sd_a, sd_t, r = at
    v11 = errors[:, 0] + sd_a**2
    v12, v22 = errors[:, 1] + (r * sd_a * sd_t)[:, None], errors[:, 2] + (sd_t**2)[:, None]
    determinant = v11 * v22 - v12**2
    w11, w12, w22 = v22 / determinant, -v12 / determinant, v11 / determinant
    y1, y2 = y.T
    prior = [1.0 / mean.sd**2 for mean in means]
    p11, p12, p22 = w11.sum(axis=1) + prior[0], w12.sum(axis=1), w22.sum(axis=1) + prior[1]
    b1 = (w11 * y1 + w12 * y2).sum(axis=1) + prior[0] * means[0].mean
    b2 = (w12 * y1 + w22 * y2).sum(axis=1) + prior[1] * means[1].mean
    inside = p11 * p22 - p12**2
    m1, m2 = (p22 * b1 - p12 * b2) / inside, (p11 * b2 - p12 * b1) / inside
    quadratic = (w11 * y1**2 + 2.0 * w12 * y1 * y2 + w22 * y2**2).sum(axis=1)
    log = -0.5 * (np.log(determinant).sum(axis=1) + quadratic + np.log(inside) - b1 * m1 - b2 * m2)
    return log, (m1, m2)
