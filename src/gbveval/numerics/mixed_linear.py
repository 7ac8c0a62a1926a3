"""Linear mixed models with random intercepts by REML, from sums by block of linked levels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gbveval.numerics.least_squares import Basis, blocks, fit_least_squares
from gbveval.numerics.random_intercepts import make_batches

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.intp]

# A ratio of variances below this moves no number that is reported; it is set to zero and said to be.
SMALLEST_RATIO = 1e-8
# Beyond this ratio of variances the outcome does not vary within levels, as far as rounding can tell.
LARGEST_RATIO = 1e8
STARTS = (0.5, 0.1)


class NoMaximumError(Exception):
    """The restricted likelihood has no maximum at finite variances."""


@dataclass(frozen=True, eq=False, slots=True)
class BlockSums:
    """Sums of one batch of blocks: Z'Z, Z'X and Z'e, and which component each level belongs to (one-hot)."""

    zz: FloatArray
    zx: FloatArray
    ze: FloatArray
    member: FloatArray


@dataclass(frozen=True, eq=False, slots=True)
class MixedSums:
    """Everything the restricted likelihood needs from the rows.

    Attributes
    ----------
    basis : Basis
        Well-conditioned columns that replace the design.
    start : ndarray, shape (k,)
        Least-squares coefficients on the basis; e is the outcome minus that fit.
    gram, cross, square : ndarray (k, k), ndarray (k,), float
        X'X, X'e and e'e.
    n : int
        Rows.
    batches : tuple of BlockSums
        Sums by block.
    components : int
        Random intercepts.
    """

    basis: Basis
    start: FloatArray
    gram: FloatArray
    cross: FloatArray
    square: float
    n: int
    batches: tuple[BlockSums, ...]
    components: int


@dataclass(frozen=True, eq=False, slots=True)
class Pieces:
    """Quantities of the model at given variance ratios, in units of the residual variance.

    With V = I + sum_j r_j Z_j Z_j' and P = V^-1 - V^-1 X (X'V^-1 X)^-1 X'V^-1, index 0 standing for the residual:

    Attributes
    ----------
    phi : ndarray, shape (k, k)
        (X'V^-1 X)^-1.
    delta : ndarray, shape (k,)
        Generalised least squares on the residuals of the start.
    log_v, log_x : float
        log |V| and log |X'V^-1 X| (on the basis).
    square : float
        e'Pe.
    c : ndarray, shape (components + 1, k, k)
        X'V^-1 G_j V^-1 X.
    q : ndarray, shape (components + 1, components + 1, k, k)
        X'V^-1 G_i V^-1 G_j V^-1 X.
    trace : ndarray, shape (components + 1,)
        tr(P G_j).
    trace_pair : ndarray, shape (components + 1, components + 1)
        tr(P G_i P G_j).
    quad : ndarray, shape (components + 1,)
        e'P G_j P e.
    quad_pair : ndarray, shape (components + 1, components + 1)
        e'P G_i P G_j P e.
    """

    phi: FloatArray
    delta: FloatArray
    log_v: float
    log_x: float
    square: float
    c: FloatArray
    q: FloatArray
    trace: FloatArray
    trace_pair: FloatArray
    quad: FloatArray
    quad_pair: FloatArray


@dataclass(frozen=True, eq=False, slots=True)
class MixedLinear:
    """A fit by REML.

    Attributes
    ----------
    sums : MixedSums
        What it was fitted to.
    gamma : ndarray, shape (k,)
        Coefficients on the basis.
    beta : ndarray, shape (k,)
        Coefficients on the intercept and the kept columns.
    ratios : ndarray, shape (components,)
        Variance components over the residual variance.
    residual_variance : float
        The residual variance.
    criterion : float
        -2 times the restricted log-likelihood, constants included.
    pieces : Pieces
        At the estimates.
    """

    sums: MixedSums
    gamma: FloatArray
    beta: FloatArray
    ratios: FloatArray
    residual_variance: float
    criterion: float
    pieces: Pieces


def mixed_sums(design: FloatArray, outcome: FloatArray, codes: IntArray) -> MixedSums:
    """Return the sums that a linear mixed model needs, in one pass over the rows after least squares.

    Parameters
    ----------
    design : ndarray, shape (n, columns)
        Without an intercept column.
    outcome : ndarray, shape (n,)
    codes : ndarray of int, shape (n, components)
        Level of each random intercept in each row.
    """
    fit = fit_least_squares(design, outcome)
    residual = fit.residuals(design, outcome)
    n, k = design.shape[0], fit.k
    x = np.empty((n, k))
    for where in blocks(n):
        x[where] = fit.basis.rows(design, where)
    found = []
    for batch in make_batches(codes):
        count, q = batch.shape
        zz = np.zeros((count, q, q))
        zx = np.zeros((count, q, k))
        ze = np.zeros((count, q))
        ones = np.ones(batch.rows.size)
        for j in range(codes.shape[1]):
            ze += batch.level_sums(residual[batch.rows], j)
            for column in range(k):
                zx[:, :, column] += batch.level_sums(x[batch.rows, column], j)
            for other in range(codes.shape[1]):
                zz += batch.pair_sums(ones, j, other)
        member = (batch.component[:, :, None] == np.arange(codes.shape[1])).astype(float)
        found.append(BlockSums(zz, zx, ze, member))
    return MixedSums(
        basis=fit.basis,
        start=fit.gamma[:, 0],
        gram=x.T @ x,
        cross=x.T @ residual,
        square=float(residual @ residual),
        n=n,
        batches=tuple(found),
        components=codes.shape[1],
    )


def _solved(block: BlockSums, ratios: FloatArray) -> tuple[FloatArray, FloatArray, float]:
    """Return K = (I + Z'Z R)^-1, the ratio of each level and log |V|, for the blocks of a batch."""
    level = block.member @ ratios
    if block.zz.shape[1] == 1:
        grown = 1.0 + block.zz[:, :, 0] * level
        return (1.0 / grown)[:, :, None], level, float(np.sum(np.log(grown)))
    matrix = np.eye(block.zz.shape[1]) + block.zz * level[:, None, :]
    inverse: Any = np.linalg.inv(matrix)
    return inverse, level, float(np.sum(np.linalg.slogdet(matrix)[1]))


def _cross(a: FloatArray, b: FloatArray) -> FloatArray:
    """Return the sum over blocks and levels of the outer products of rows."""
    result: FloatArray = a.reshape(-1, a.shape[2]).T @ b.reshape(-1, b.shape[2])
    return result


def _across(a: FloatArray, b: FloatArray) -> FloatArray:
    """Return the sum over blocks and levels of rows times numbers."""
    result: FloatArray = b.ravel() @ a.reshape(-1, a.shape[2])
    return result


def pieces(sums: MixedSums, ratios: FloatArray) -> Pieces:
    """Return the quantities of the restricted likelihood and its derivatives at given variance ratios.

    Notes
    -----
    By Woodbury V^-1 = I - Z R K Z' with K = (I + Z'Z R)^-1, so Z'V^-1 X = K Z'X and Z'V^-1 Z = K Z'Z: only sums by
    block are needed. The residual's own terms follow from I = V - sum_j r_j G_j.
    """
    xvx, xve, eve, log_v = sums.gram.copy(), sums.cross.copy(), sums.square, 0.0
    solved = []
    for block in sums.batches:
        inverse, level, log_det = _solved(block, ratios)
        zvx = inverse @ block.zx
        zve = (inverse @ block.ze[:, :, None])[:, :, 0]
        weighted = level[:, :, None] * zvx
        xvx -= _cross(block.zx, weighted)
        xve -= _across(block.zx, level * zve)
        eve -= float(np.sum(block.ze * level * zve))
        log_v += log_det
        solved.append((block.member, inverse @ block.zz, zvx, zve))
    xvx = (xvx + xvx.T) / 2.0
    phi: Any = np.linalg.inv(xvx)
    delta = phi @ xve
    square = eve - float(xve @ delta)
    c, q, trace, pair, quad, quad_pair, mixed = _random_terms(sums, solved, delta)
    # So far of V^-1; the residual's row and column, then from V^-1 to P.
    r = np.concatenate([[0.0], ratios])
    quad_pair -= mixed @ phi @ mixed.T
    c[0] = xvx - np.tensordot(r, c, 1)
    q[0] = c - np.tensordot(r, q, 1)
    q[:, 0] = np.swapaxes(q[0], 1, 2)
    q[0, 0] = c[0] - np.tensordot(r, q[:, 0], 1)
    trace[0] = sums.n - float(r @ trace)
    pair[0] = trace - r @ pair
    pair[:, 0] = pair[0]
    pair[0, 0] = trace[0] - float(r @ pair[:, 0])
    quad[0] = square - float(r @ quad)
    quad_pair[0] = quad - r @ quad_pair
    quad_pair[:, 0] = quad_pair[0]
    quad_pair[0, 0] = quad[0] - float(r @ quad_pair[:, 0])
    phi_c = phi @ c
    trace = trace - np.einsum("ikk->i", phi_c)
    pair = pair - 2.0 * np.einsum("kl,ijlk->ij", phi, q) + np.einsum("ikl,jlk->ij", phi_c, phi_c)
    log_x = float(np.linalg.slogdet(xvx)[1])
    return Pieces(phi, delta, log_v, log_x, square, c, q, trace, pair, quad, quad_pair)


def _random_terms(
    sums: MixedSums, solved: list[tuple[FloatArray, FloatArray, FloatArray, FloatArray]], delta: FloatArray
) -> tuple[FloatArray, ...]:
    """Return the terms of `Pieces` in V^-1 for the random intercepts; the residual's places are left empty.

    `solved` holds for each batch the one-hot components, Z'V^-1 Z, Z'V^-1 X and Z'V^-1 e. The last of the results is
    X'V^-1 G_j P e.
    """
    parts, k = sums.components, sums.start.size
    both = (parts + 1, parts + 1)
    c, q = np.zeros((parts + 1, k, k)), np.zeros((*both, k, k))
    trace, quad, mixed = np.zeros(parts + 1), np.zeros(parts + 1), np.zeros((parts + 1, k))
    pair, quad_pair = np.zeros(both), np.zeros(both)
    for member, zvz, zvx, zve in solved:
        a = zve - zvx @ delta
        for i in range(parts):
            own = member[:, :, i]
            x_i, a_i = zvx * own[:, :, None], a * own
            c[i + 1] += _cross(x_i, x_i)
            mixed[i + 1] += _across(x_i, a_i)
            trace[i + 1] += float(np.sum(np.einsum("bqq->bq", zvz) * own))
            quad[i + 1] += float(np.sum(a_i**2))
            for j in range(parts):
                other = member[:, :, j]
                step = zvz @ (zvx * other[:, :, None])
                q[i + 1, j + 1] += _cross(x_i, step)
                pair[i + 1, j + 1] += float(np.sum((zvz**2 @ other[:, :, None])[:, :, 0] * own))
                quad_pair[i + 1, j + 1] += float(np.sum(a_i * (zvz @ (a * other)[:, :, None])[:, :, 0]))
    return c, q, trace, pair, quad, quad_pair, mixed


def _variance(sums: MixedSums, found: Pieces) -> float:
    """Return the best residual variance for these ratios, or raise where it is lost in rounding."""
    if not found.square > 1e-13 * sums.square:
        raise NoMaximumError("the residual variance goes to zero")
    return found.square / (sums.n - sums.start.size)


def reml_criterion(sums: MixedSums, found: Pieces) -> float:
    """Return -2 times the restricted log-likelihood at the best residual variance for these ratios.

    log |V| + log |X'V^-1 X| + (n - k)(1 + log(2 pi e'Pe / (n - k))), X being the columns in their own units
    (Harville 1977).
    """
    free = sums.n - sums.start.size
    units = 2.0 * float(np.linalg.slogdet(sums.basis.to_original)[1])
    return found.log_v + found.log_x - units + free * (1.0 + float(np.log(2.0 * np.pi * _variance(sums, found))))


def _gradient(sums: MixedSums, found: Pieces) -> FloatArray:
    """Return the derivative of the criterion in each ratio, the residual variance profiled out."""
    variance = _variance(sums, found)
    result: FloatArray = (found.trace - found.quad / variance)[1:]
    return result


def _hessian(sums: MixedSums, found: Pieces) -> FloatArray:
    """Return the second derivatives of the criterion in the ratios, the residual variance profiled out."""
    free = sums.n - sums.start.size
    variance = _variance(sums, found)
    quad = found.quad[1:]
    curve = -found.trace_pair[1:, 1:] + 2.0 * found.quad_pair[1:, 1:] / variance
    result: FloatArray = curve - np.outer(quad, quad) / (free * variance**2)
    return result


def fit_mixed_linear(sums: MixedSums) -> MixedLinear:
    """Return the fit by restricted maximum likelihood.

    The search is over the square roots of the ratios, from several starts (L-BFGS-B), and ends with the roots of the
    derivative (Powell's hybrid method with analytic second derivatives). A ratio at zero stays there only if the
    criterion grows with it.

    Raises
    ------
    NoMaximumError
        If the residual variance goes to zero, or the search does not end at a maximum.
    """
    from scipy.optimize import minimize

    def objective(root: FloatArray) -> tuple[float, FloatArray]:
        found = pieces(sums, root**2)
        return reml_criterion(sums, found), 2.0 * root * _gradient(sums, found)

    bounds = [(0.0, np.sqrt(LARGEST_RATIO))] * sums.components
    best: Any = None
    for start in STARTS:
        tried = minimize(objective, np.full(sums.components, start), jac=True, method="L-BFGS-B", bounds=bounds)
        if best is None or tried.fun < best.fun - 1e-9 * (1.0 + abs(best.fun)):
            best = tried
    if np.any(np.asarray(best.x) ** 2 > 0.01 * LARGEST_RATIO):
        raise NoMaximumError("the residual variance goes to zero")
    ratios = _polished(sums, np.asarray(best.x, dtype=float) ** 2)
    found = pieces(sums, ratios)
    gamma = sums.start + found.delta
    return MixedLinear(
        sums=sums,
        gamma=gamma,
        beta=sums.basis.to_original @ gamma,
        ratios=ratios,
        residual_variance=found.square / (sums.n - gamma.size),
        criterion=reml_criterion(sums, found),
        pieces=found,
    )


def _polished(sums: MixedSums, ratios: FloatArray) -> FloatArray:
    """Return the ratios at which the derivative is zero to rounding, those at the boundary exactly zero."""
    from scipy.optimize import root

    current = ratios.copy()
    # The criterion is smooth a little below zero, so that a best value just above it is found like any other.
    floor = -0.5 / max(float(block.zz.max()) for block in sums.batches)
    for _ in range(2 * sums.components + 1):
        current[current < SMALLEST_RATIO] = 0.0
        free = np.flatnonzero(current > 0)
        if free.size:
            unit = current[free].copy()

            def slope(x: FloatArray, free: IntArray = free, unit: FloatArray = unit) -> Any:
                at = np.zeros(sums.components)
                at[free] = np.clip(x * unit, floor, LARGEST_RATIO)
                found = pieces(sums, at)
                return (
                    _gradient(sums, found)[free] * unit,
                    _hessian(sums, found)[np.ix_(free, free)] * np.outer(unit, unit),
                )

            solved = root(slope, np.ones(free.size), jac=True, method="hybr", options={"xtol": 1e-13})
            moved = np.asarray(solved.x, dtype=float) * unit
            if np.any(moved > 0.01 * LARGEST_RATIO):
                raise NoMaximumError("the residual variance goes to zero")
            current[free] = np.maximum(moved, 0.0)
            if np.any(moved < SMALLEST_RATIO):
                continue
        slopes = _gradient(sums, pieces(sums, current))
        rising = (current == 0.0) & (slopes < -1e-7 * sums.n)
        if not rising.any():
            return current
        current[rising] = 1e-3
    raise NoMaximumError("the variance components do not settle")
