"""Maximum likelihood of item counts: a binomial control count and a logistic sensitive item (Imai 2011)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gbveval.numerics.list_experiment import TOO_FAR, ListFit, linear_list, logistic

FloatArray = NDArray[np.float64]
MAXIMUM_STEPS = 500


@dataclass(frozen=True, eq=False, slots=True)
class _Derivatives:
    """Log likelihood, gradient and second derivatives in the coefficients, sensitive ones first."""

    value: float
    gradient: FloatArray
    curvature: FloatArray


def likelihood_list(x: FloatArray, y: FloatArray, long: FloatArray, items: int) -> ListFit:
    """Return the maximum of the constrained likelihood with the inverse observed information.

    Control counts are Binomial(J, F(x'c)) whatever the answer to the sensitive item (constrained), which is 1 with
    probability F(x'b). A long list that counts y mixes y control items without, and y - 1 with, the sensitive one.

    Parameters
    ----------
    x, y, long : ndarray
        As in `linear_list`; counts from 0 to J, J + 1 with the long list.
    items : int
        J.

    References
    ----------
    Imai (2011), Journal of the American Statistical Association 106. Blair and Imai (2012), Political Analysis 20.
    """
    k = x.shape[1]
    beta = _start(x, y, long, items)
    found = _derivatives(x, y, long, items, beta)
    damping, converged = 1e-3, False
    for _ in range(MAXIMUM_STEPS):
        if not np.isfinite(found.value):
            break
        step, trial, reached = _step(x, y, long, items, beta, found, damping)
        while not (np.isfinite(reached.value) and reached.value >= found.value - 1e-12 * abs(found.value)):
            damping *= 10.0
            if damping > 1e15:
                break
            step, trial, reached = _step(x, y, long, items, beta, found, damping)
        if damping > 1e15:
            break
        beta, found = trial, reached
        damping = max(damping / 10.0, 1e-12)
        if float(np.max(np.abs(step))) < 1e-9 * (1.0 + float(np.max(np.abs(beta)))):
            converged = True
            break
    information = -found.curvature
    roots = np.linalg.eigvalsh(information) if np.all(np.isfinite(information)) else np.array([-1.0])
    if roots[0] <= 0.0:
        return ListFit(beta[:k], beta[k:], np.full((2 * k, 2 * k), np.nan), found.value, converged=False)
    inside = max(float(np.max(np.abs(x @ beta[:k]))), float(np.max(np.abs(x @ beta[k:])))) < TOO_FAR
    covariance = np.asarray(np.linalg.inv(information), dtype=np.float64)
    return ListFit(beta[:k], beta[k:], covariance, found.value, converged=converged and inside)


def _start(x: FloatArray, y: FloatArray, long: FloatArray, items: int) -> FloatArray:
    """Return log odds of a constant control share and of the difference in means, kept inside 0 to 1."""
    plain = linear_list(np.ones((y.size, 1)), y, long)
    shares = np.clip([plain.sensitive[0], plain.control[0] / items], 0.05, 0.95)
    ones = np.linalg.lstsq(x, np.ones(y.size), rcond=None)[0]
    return np.concatenate([ones * np.log(share / (1.0 - share)) for share in shares])


def _step(
    x: FloatArray,
    y: FloatArray,
    long: FloatArray,
    items: int,
    beta: FloatArray,
    found: _Derivatives,
    damping: float,
) -> tuple[FloatArray, FloatArray, _Derivatives]:
    """Return a damped Newton step that goes uphill, where it leads, and what is found there."""
    roots, axes = np.linalg.eigh(-found.curvature)
    # Directions of the wrong curvature are walked by its size.
    size = np.abs(roots) + damping * max(float(np.max(np.abs(roots))), 1e-300)
    step = axes @ ((axes.T @ found.gradient) / size)
    trial = beta + step
    return step, trial, _derivatives(x, y, long, items, trial)


def _derivatives(x: FloatArray, y: FloatArray, long: FloatArray, items: int, beta: FloatArray) -> _Derivatives:
    k = x.shape[1]
    f, g = logistic(x @ beta[:k]), logistic(x @ beta[k:])
    treated = long == 1.0
    with_item, without = _count(y - 1.0, g, items), _count(y, g, items)
    f1, f2 = f * (1.0 - f), f * (1.0 - f) * (1.0 - 2.0 * f)
    # With the short list nobody's sensitive item is counted.
    share = np.where(treated, f, 0.0)
    gap = with_item[0] - without[0]
    chance = share * with_item[0] + (1.0 - share) * without[0]
    by_s = np.where(treated, f1 * gap, 0.0)
    by_c = share * with_item[1] + (1.0 - share) * without[1]
    by_ss = np.where(treated, f2 * gap, 0.0)
    by_sc = np.where(treated, f1 * (with_item[1] - without[1]), 0.0)
    by_cc = share * with_item[2] + (1.0 - share) * without[2]
    with np.errstate(divide="ignore", invalid="ignore"):
        value = float(np.log(chance).sum())
        s, c = by_s / chance, by_c / chance
        ss, sc, cc = by_ss / chance - s * s, by_sc / chance - s * c, by_cc / chance - c * c
    gradient = np.concatenate([x.T @ s, x.T @ c])
    curvature = np.block(
        [[(x * ss[:, None]).T @ x, (x * sc[:, None]).T @ x], [(x * sc[:, None]).T @ x, (x * cc[:, None]).T @ x]]
    )
    return _Derivatives(value, gradient, curvature)


def _count(count: FloatArray, g: FloatArray, items: int) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return the binomial probability of a count with its first and second derivative in the log odds."""
    from scipy.special import gammaln, xlog1py, xlogy

    possible = (count >= 0.0) & (count <= items)
    k = np.where(possible, count, 0.0)
    log = gammaln(items + 1.0) - gammaln(k + 1.0) - gammaln(items - k + 1.0) + xlogy(k, g) + xlog1py(items - k, -g)
    chance = np.where(possible, np.exp(log), 0.0)
    off = k - items * g
    return chance, chance * off, chance * (off**2 - items * g * (1.0 - g))
