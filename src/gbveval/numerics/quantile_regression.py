"""Quantile regression, solved exactly as a linear programme, and three covariances (Koenker 2005).

Coefficients minimise sum rho_t(y - x'b), rho_t(u) = u (t - 1{u < 0}). As a linear programme: minimise
t 1'p + (1 - t) 1'm over b, p >= 0, m >= 0 with x b + p - m = y; a simplex solver ends in a vertex, where as many rows
are fitted exactly as there are coefficients. When n t is a whole number in a group the minimisers are a set; the one
that also minimises at a quantile a hair above t is taken, the largest, so that the answer depends on the data alone.

With f_i the density of the outcome at its quantile, J = sum f_i x_i x_i' and H = X'X the covariance is
t (1 - t) J^-1 H J^-1. It differs in how f_i is had:

- "iid": one f for all, its inverse (the sparsity) the slope of the ordered residuals around zero (Koenker and Bassett
  1982), found by median regression.
- "kernel": a normal kernel at the residuals (Powell 1991).
- "nid": f_i = 2h / (x_i'b(t + h) - x_i'b(t - h)) (Hendricks and Koenker 1992).

The bandwidth is that of Hall and Sheather (1988).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from gbveval.numerics.inference import normal_quantile

FloatArray = NDArray[np.float64]
COVARIANCES = ("iid", "kernel", "nid")


def check_loss(residual: FloatArray, quantile: float) -> float:
    """Return the sum of rho_t over residuals."""
    return float(np.sum(residual * (quantile - (residual < 0))))


def quantile_coefficients(x: FloatArray, y: FloatArray, quantile: float) -> FloatArray | None:
    """Return the upper vertex of the minimisers, or None if the solver finds none.

    Parameters
    ----------
    x : ndarray, shape (n, k)
        Columns of full rank, a constant among them.
    y : ndarray, shape (n,)
        Outcome.
    quantile : float
        Between 0 and 1.
    """
    # A thousandth of the step between two order statistics, which the solver's tolerance resolves.
    above = _vertex(x, y, quantile + 1e-3 * min(quantile, 1.0 - quantile) / x.shape[0], quantile)
    if above is None or _minimises(x, y, above, quantile):
        return above
    # Where n t is less than that below a whole number, the quantile above it is the next one, and no minimiser.
    exact = _vertex(x, y, quantile, quantile)
    if exact is None:
        return above
    losses = [check_loss(y - x @ beta, quantile) for beta in (above, exact)]
    return above if losses[0] <= losses[1] * (1.0 + 1e-12) else exact


def _minimises(x: FloatArray, y: FloatArray, beta: FloatArray, quantile: float) -> bool:
    """Return whether a vertex is seen to minimise: weights of the rows it fits that make the gradient vanish exist.

    Where more rows are fitted than there are coefficients this is not looked for, and the answer is no.
    """
    residual = y - x @ beta
    fitted = np.abs(residual) <= 1e-12 * max(float(np.abs(y).max()), 1e-300)
    if int(fitted.sum()) != x.shape[1]:
        return False
    rest = x[~fitted].T @ np.where(residual[~fitted] > 0.0, quantile, quantile - 1.0)
    weight = np.linalg.solve(x[fitted].T, -rest)
    return bool(np.all((weight >= quantile - 1.0 - 1e-9) & (weight <= quantile + 1e-9)))


def _vertex(x: FloatArray, y: FloatArray, level: float, quantile: float) -> FloatArray | None:
    """Return a vertex of the linear programme at a level, polished for a quantile; None if the solver finds none."""
    from scipy.optimize import linprog
    from scipy.sparse import csr_matrix, eye, hstack

    n, k = x.shape
    # On the scale of the data the solver's feasibility tolerance would be a tolerance in units of the outcome.
    centre, scale = float(np.median(y)), float(np.max(np.abs(y - np.median(y)))) or 1.0
    # Costs of a size that the solver's tolerance resolves.
    cost = n * np.concatenate([np.zeros(k), np.full(n, level), np.full(n, 1.0 - level)])
    identity = eye(n, format="csr")
    rows = hstack([csr_matrix(x), identity, -identity], format="csr")
    limits = [(None, None)] * k + [(0, None)] * (2 * n)
    answer = linprog(cost, A_eq=rows, b_eq=(y - centre) / scale, bounds=limits, method="highs-ds")
    if answer.status != 0 or answer.x is None:
        return None
    start = np.asarray(answer.x[:k]) * scale
    return _polished(x, y, start + centre * _constant(x), quantile)


def _constant(x: FloatArray) -> FloatArray:
    """Return the coefficients that make every fitted value one."""
    return np.asarray(np.linalg.lstsq(x, np.ones(x.shape[0]), rcond=None)[0], dtype=np.float64)


def _polished(x: FloatArray, y: FloatArray, start: FloatArray, quantile: float) -> FloatArray:
    """Return the vertex nearest to the solver's answer, solved from the rows that it fits, if that is no worse."""
    k = x.shape[1]
    order = np.argsort(np.abs(y - x @ start), kind="stable")
    chosen: list[int] = []
    for row in order[: 50 * k]:
        if np.linalg.matrix_rank(x[[*chosen, int(row)]]) > len(chosen):
            chosen.append(int(row))
        if len(chosen) == k:
            break
    if len(chosen) < k:
        return start
    exact = np.asarray(np.linalg.solve(x[chosen], y[chosen]), dtype=np.float64)
    loss = check_loss(y - x @ start, quantile)
    return exact if check_loss(y - x @ exact, quantile) <= loss * (1.0 + 1e-9) + 1e-300 else start


def group_quantiles(y: FloatArray, group: NDArray[np.intp], quantile: float) -> FloatArray:
    """Return the upper quantile of each group: the order statistic number floor(n t) + 1, which minimises sum rho_t.

    Examples
    --------
    >>> group_quantiles(np.array([1.0, 2.0, 3.0, 4.0, 7.0]), np.array([0, 0, 0, 0, 1]), 0.5)
    array([3., 7.])
    """
    found = []
    for code in range(int(group.max()) + 1):
        values = np.sort(y[group == code])
        found.append(values[min(int(np.floor(values.size * quantile + 1e-9)), values.size - 1)])
    return np.array(found)


def hall_sheather(quantile: float, n: int) -> float:
    """Return the bandwidth of Hall and Sheather (1988) for 95 % intervals."""
    z = float(normal_quantile(quantile))
    density = float(np.exp(-(z**2) / 2.0) / np.sqrt(2.0 * np.pi))
    level = float(normal_quantile(0.975))
    return float(n ** (-1 / 3) * level ** (2 / 3) * (1.5 * density**2 / (2.0 * z**2 + 1.0)) ** (1 / 3))


def quantile_covariance(
    x: FloatArray, y: FloatArray, beta: FloatArray, quantile: float, *, kind: str, meat: FloatArray | None = None
) -> FloatArray | None:
    """Return the covariance of the coefficients, or None where the density cannot be estimated.

    Parameters
    ----------
    x, y, beta, quantile
        The fit.
    kind : str
        "iid", "kernel" or "nid".
    meat : ndarray, shape (k, k), optional
        Cross-product of scores by cluster in the place of t (1 - t) X'X.
    """
    inner = quantile * (1.0 - quantile) * (x.T @ x) if meat is None else meat
    h = hall_sheather(quantile, y.size)
    # Towards the ends the bandwidth must stay inside (0, 1).
    while quantile - h < 0 or quantile + h > 1:
        h /= 2.0
    if kind == "iid":
        sparsity = _sparsity(y - x @ beta, x.shape[1], h)
        if sparsity is None:
            return None
        inverse = np.linalg.inv(x.T @ x) * sparsity
        return inverse @ inner @ inverse
    density = _kernel_density(y - x @ beta, quantile, h) if kind == "kernel" else _difference_density(x, y, quantile, h)
    if density is None:
        return None
    bread = (x * density[:, None]).T @ x
    if np.linalg.cond(bread) > 1e12:
        return None
    inverse = np.linalg.inv(bread)
    result: FloatArray = inverse @ inner @ inverse
    return result


def _sparsity(residual: FloatArray, k: int, h: float) -> float | None:
    """Return the slope of the ordered residuals near zero, by median regression."""
    n = residual.size
    zero = int(np.sum(np.abs(residual) < 1e-12 * max(float(np.abs(residual).max()), 1e-300)))
    zero = max(zero, k)
    width = max(k + 1, int(np.ceil(n * h)))
    if zero + width >= n:
        return None
    order = np.argsort(np.abs(residual), kind="stable")
    near = np.sort(order[zero : zero + width + 1])
    values = np.sort(residual[near])
    position = np.arange(values.size) / (n - k)
    line = quantile_coefficients(np.column_stack([np.ones(values.size), position]), values, 0.5)
    return None if line is None or line[1] <= 0 else float(line[1])


def _kernel_density(residual: FloatArray, quantile: float, h: float) -> FloatArray | None:
    width = float(normal_quantile(quantile + h) - normal_quantile(quantile - h))
    quartiles = np.quantile(residual, [0.25, 0.75])
    scale = min(float(residual.std(ddof=1)), float(quartiles[1] - quartiles[0]) / 1.34)
    if scale <= 0:
        return None
    width *= scale
    result: FloatArray = np.exp(-((residual / width) ** 2) / 2.0) / (width * np.sqrt(2.0 * np.pi))
    return result


def _difference_density(x: FloatArray, y: FloatArray, quantile: float, h: float) -> FloatArray | None:
    high, low = (quantile_coefficients(x, y, q) for q in (quantile + h, quantile - h))
    if high is None or low is None:
        return None
    rise = x @ (high - low)
    # A quantile that does not rise has no density: nothing can be said where outcomes are tied.
    if np.any(rise <= 1e-10 * max(float(np.abs(y).max()), 1e-300)):
        return None
    result: FloatArray = 2.0 * h / rise
    return result
