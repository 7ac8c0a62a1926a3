"""Likelihood and slopes of generalised linear mixed models: Laplace's method, or adaptive quadrature."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gbveval.numerics.random_intercepts import Batch

FloatArray = NDArray[np.float64]

# A mode is found when a Newton step, in standard deviations of the prior, is this small; the next would square it.
STEP_TOLERANCE = 1e-9
NEWTON_STEPS = 200
HALVINGS = 40


@dataclass(frozen=True, eq=False, slots=True)
class Cells:
    """Counts by cell: rows with the same columns and the same levels.

    Attributes
    ----------
    family : str
        "binomial" (events out of `size` trials, logit link), "poisson" (events over an exposure `size`, log link),
        "tilted" (one of the counts 0, 1, ..., whose log weights are `size`) or "split" (events of one of two arms, out
        of those of both; `size` is these and the log of the first arm's exposure over the other's).
    x : ndarray, shape (cells, k)
        Columns.
    events, size : ndarray, shape (cells,)
        Events, and trials or exposure; log weights have shape (cells, counts), -inf where a count is impossible; of
        "split" the shape is (cells, 2).
    batches : tuple of Batch
        Blocks of linked levels, over cells.
    """

    family: str
    x: FloatArray
    events: FloatArray
    size: FloatArray
    batches: tuple[Batch, ...]

    @property
    def components(self) -> int:
        """Random intercepts."""
        return int(self.batches[0].place.shape[1])


def cumulant(family: str, eta: FloatArray, size: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
    """Return b(eta) and its first three derivatives, times the trials or the exposure.

    The log-likelihood of a cell is events * eta - b, up to a constant; b = log(1 + e^eta) (logit), e^eta (log), or
    log sum_k exp(v_k + k eta) (tilted). With v_k = log C(n1, k) C(n0, m - k) the last is Fisher's noncentral
    hypergeometric, eta the log odds ratio. Of two arms' Poisson counts given their sum one is binomial (split): with
    eta the log rate ratio, its logit is eta and the log ratio of exposures.
    """
    if family == "tilted":
        return _tilted(eta, size)
    if family == "split":
        return cumulant("binomial", eta + size[:, 1], size[:, 0])
    if family == "binomial":
        risk = 0.5 * (1.0 + np.tanh(0.5 * eta))
        other = 0.5 * (1.0 - np.tanh(0.5 * eta))
        spread = size * risk * other
        return size * np.logaddexp(0.0, eta), size * risk, spread, spread * (other - risk)
    # A search may look at rates far outside any data; there the cell is simply impossible.
    rate: FloatArray = size * np.exp(np.minimum(eta, 300.0))
    return rate, rate, rate, rate


def _tilted(eta: FloatArray, log_weights: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
    """Return the log of the sum of tilted weights, and mean, variance and third central moment of the count."""
    counts = np.arange(log_weights.shape[1], dtype=np.float64)
    height = log_weights + counts * eta[:, None]
    top = height.max(axis=1)
    share = np.exp(height - top[:, None])
    total = share.sum(axis=1)
    share /= total[:, None]
    mean = share @ counts
    away = counts - mean[:, None]
    spread = share * away**2
    third = (spread * away).sum(axis=1)
    return top + np.log(total), mean, spread.sum(axis=1), third


@dataclass(frozen=True, eq=False, slots=True)
class _Mode:
    """The mode of the random intercepts in the blocks of a batch, and the curvature there."""

    u: FloatArray
    inverse: FloatArray
    log_det: float
    height: FloatArray
    score: FloatArray
    w: FloatArray
    w_slope: FloatArray


def _inverse(matrix: FloatArray) -> FloatArray:
    inverse: Any = 1.0 / matrix if matrix.shape[1] == 1 else np.linalg.inv(matrix)
    return np.asarray(inverse, dtype=np.float64)


def _log_det(matrix: FloatArray) -> float:
    if matrix.shape[1] == 1:
        return float(np.sum(np.log(matrix)))
    return float(np.sum(np.linalg.slogdet(matrix)[1]))


def find_mode(cells: Cells, batch: Batch, eta: FloatArray, theta: FloatArray, start: FloatArray) -> _Mode:
    """Return the mode of log-likelihood minus u'u / 2 in every block, by damped Newton steps.

    Parameters
    ----------
    cells : Cells
    batch : Batch
    eta : ndarray, shape (cells of the batch,)
        Fixed part of the linear predictor.
    theta : ndarray, shape (components,)
        Standard deviations; u has unit variance.
    start : ndarray, shape (blocks, q)
    """
    y, size = cells.events[batch.rows], cells.size[batch.rows]
    parts = range(theta.size)
    count, q = batch.shape

    def at(u: FloatArray) -> tuple[FloatArray, tuple[FloatArray, ...]]:
        linear = eta + sum(theta[j] * batch.at_rows(u, j) for j in parts)
        found = cumulant(cells.family, linear, size)
        height = np.bincount(batch.block, weights=y * linear - found[0], minlength=count) - 0.5 * np.sum(u**2, axis=1)
        return height, found

    u = start
    height, found = at(u)
    for _ in range(NEWTON_STEPS):
        score = y - found[1]
        slope = sum(batch.level_sums(theta[j] * score, j) for j in parts) - u
        matrix = np.eye(q) + sum(theta[i] * theta[j] * batch.pair_sums(found[2], i, j) for i in parts for j in parts)
        inverse = _inverse(matrix)
        step = (inverse @ slope[:, :, None])[:, :, 0]
        largest = float(np.max(np.abs(step)))
        share = np.ones(count)
        for _ in range(HALVINGS):
            tried, values = at(u + share[:, None] * step)
            # Rounding of the height is not a descent.
            lower = tried < height - 1e-11 * (1.0 + np.abs(height))
            if not lower.any():
                break
            share[lower] *= 0.5
        u, height, found = u + share[:, None] * step, tried, values
        if largest < STEP_TOLERANCE:
            break
    matrix = np.eye(q) + sum(theta[i] * theta[j] * batch.pair_sums(found[2], i, j) for i in parts for j in parts)
    return _Mode(u, _inverse(matrix), _log_det(matrix), height, y - found[1], found[2], found[3])


def laplace(
    cells: Cells, batch: Batch, beta: FloatArray, theta: FloatArray, start: FloatArray
) -> tuple[float, FloatArray, FloatArray, FloatArray]:
    """Return log-likelihood by Laplace's method, its slopes in beta and theta, and the modes, for one batch.

    log L = l(u) - u'u/2 - log|D| / 2 at the mode u, D = I + A'WA, A = Z diag(theta). The mode moves with the
    parameters: by the implicit function theorem du = D^-1 d(A's), s the scores of the cells (Pinheiro and Bates 1995).
    """
    parts = range(theta.size)
    x = cells.x[batch.rows]
    mode = find_mode(cells, batch, x @ beta, theta, start)
    value = float(np.sum(mode.height)) - 0.5 * mode.log_det
    # a_c' D^-1 a_c and (D^-1 a_c) at the level of each component, a_c the row of A.
    across = [
        sum(theta[i] * mode.inverse[batch.block, batch.place[:, j], batch.place[:, i]] for i in parts) for j in parts
    ]
    leverage = sum(theta[j] * across[j] for j in parts)
    pull = mode.w_slope * leverage
    pulled: FloatArray = np.sum([batch.level_sums(theta[j] * pull, j) for j in parts], axis=0)
    z = (mode.inverse @ pulled[:, :, None])[:, :, 0]
    lift = mode.w * sum(theta[j] * batch.at_rows(z, j) for j in parts)
    d_beta = x.T @ (mode.score - 0.5 * (pull - lift))
    d_theta = np.empty(theta.size)
    for j in parts:
        u_j = batch.at_rows(mode.u, j)
        turned = np.sum((pull - lift) * u_j) + np.sum(batch.at_rows(z, j) * mode.score)
        d_theta[j] = np.sum(mode.score * u_j) - 0.5 * (turned + 2.0 * np.sum(mode.w * across[j]))
    return value, d_beta, d_theta, mode.u


def quadrature(
    cells: Cells,
    batch: Batch,
    beta: FloatArray,
    theta: FloatArray,
    start: FloatArray,
    nodes: tuple[FloatArray, FloatArray],
) -> tuple[float, FloatArray, FloatArray, FloatArray]:
    """Return the same by adaptive Gauss-Hermite quadrature, for a single random intercept.

    With t = D^(-1/2), log L = log t + log sum_k v_k exp(l(u + t z_k) - (u + t z_k)^2 / 2 + z_k^2 / 2), (z, v) the nodes
    and weights for the standard normal (Pinheiro and Bates 1995). The slopes are of this sum itself, nodes that move
    included, so one node gives Laplace's method exactly.
    """
    x, y, size = cells.x[batch.rows], cells.events[batch.rows], cells.size[batch.rows]
    sd = float(theta[0])
    eta = x @ beta
    mode = find_mode(cells, batch, eta, theta, start)
    group, count = batch.block, batch.shape[0]
    u, d = mode.u[:, 0], 1.0 / mode.inverse[:, 0, 0]
    tau = 1.0 / np.sqrt(d)
    z, v = nodes
    height, scores = np.empty((z.size, count)), []
    at = u + tau * z[:, None]
    for k in range(z.size):
        linear = eta + sd * at[k][group]
        b, mean, _, _ = cumulant(cells.family, linear, size)
        height[k] = np.bincount(group, weights=y * linear - b, minlength=count)
        scores.append(y - mean)
    height += np.log(v)[:, None] + 0.5 * z[:, None] ** 2 - 0.5 * at**2
    top = height.max(axis=0)
    weight = np.exp(height - top)
    total = weight.sum(axis=0)
    weight /= total
    value = float(np.sum(np.log(tau) + top + np.log(total)))
    # Slope of each node's height in u, its mean, and its mean times the node.
    sums = np.array([np.bincount(group, weights=score, minlength=count) for score in scores])
    node_slope = sd * sums - at
    shift = np.sum(weight * node_slope, axis=0)
    per_d = -0.5 / d - 0.5 * d**-1.5 * np.sum(weight * z[:, None] * node_slope, axis=0)
    averaged = sum(weight[k][group] * scores[k] for k in range(z.size))
    # d D = sd^2 sum w' d(eta) and d(eta) = x + sd du; du / d beta = -sd sum(w x) / D.
    curve = sd**2 * np.bincount(group, weights=mode.w_slope, minlength=count)
    moved = shift + per_d * sd * curve
    per_row = averaged + (per_d * sd**2)[group] * mode.w_slope - (moved * sd / d)[group] * mode.w
    d_beta = x.T @ per_row
    w_sum = np.bincount(group, weights=mode.w, minlength=count)
    du = (np.bincount(group, weights=mode.score, minlength=count) - sd * w_sum * u) / d
    own = np.sum(weight * sums * at, axis=0)
    d_theta = np.sum(own + moved * du + per_d * (2.0 * sd * w_sum + curve * u))
    return value, d_beta, np.array([d_theta]), mode.u


@lru_cache(maxsize=8)
def hermite(points: int) -> tuple[FloatArray, FloatArray]:
    """Return nodes and weights of Gauss-Hermite quadrature for the standard normal."""
    from numpy.polynomial.hermite_e import hermegauss

    nodes, weights = hermegauss(points)
    return nodes, weights / weights.sum()


def log_likelihood(
    cells: Cells, beta: FloatArray, theta: FloatArray, modes: list[FloatArray], points: int
) -> tuple[float, FloatArray]:
    """Return the log-likelihood without constants and its slopes in (beta, theta); `modes` is warmed up in place."""
    value, slopes = 0.0, np.zeros(beta.size + theta.size)
    for number, batch in enumerate(cells.batches):
        if theta.size == 1:
            part = quadrature(cells, batch, beta, theta, modes[number], hermite(points))
        else:
            part = laplace(cells, batch, beta, theta, modes[number])
        value += part[0]
        slopes[: beta.size] += part[1]
        slopes[beta.size :] += part[2]
        modes[number] = part[3]
    return value, slopes
