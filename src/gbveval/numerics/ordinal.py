"""The cumulative logit model of an ordered outcome: likelihood, maximum, sandwich covariances, and a score test."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gbveval.numerics.groups import group_sums
from gbveval.numerics.inference import f_upper
from gbveval.numerics.separation import binomial_direction

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.intp]
KINDS = ("model", "HC0", "HC1", "CR0", "CR1", "CR3")
# The score at the maximum, relative to the sum of its absolute parts.
SCORE_TOLERANCE = 1e-8
# Linear predictors this far from a cut are looked at for a direction in which there is no maximum.
FAR = 12.0


@dataclass(frozen=True, eq=False, slots=True)
class Rows:
    """The two cuts around each outcome as linear functions of the parameters (cuts, coefficients).

    With level y of 0 .. J and P(Y <= j) = 1 / (1 + exp(-(c_j - x'b))), the outcome lies between the cuts
    c_(y-1) - x'b and c_y - x'b; the lowest level has no lower cut, the highest no upper one.

    Attributes
    ----------
    upper, lower : ndarray, shape (n, J + columns)
        Rows of the upper and the lower cut; zero where there is none.
    has_upper, has_lower : ndarray of bool, shape (n,)
        Whether there is one.
    """

    upper: FloatArray
    lower: FloatArray
    has_upper: NDArray[np.bool_]
    has_lower: NDArray[np.bool_]


@dataclass(frozen=True, eq=False, slots=True)
class Pieces:
    """Log-likelihood and derivatives of each outcome by its upper and lower linear predictor.

    Attributes
    ----------
    value : ndarray, shape (n,)
        Log-likelihood; minus infinity where the cuts are not in order.
    d_upper, d_lower : ndarray, shape (n,)
        First derivatives.
    d_uu, d_ll, d_ul : ndarray, shape (n,)
        Second derivatives.
    """

    value: FloatArray
    d_upper: FloatArray
    d_lower: FloatArray
    d_uu: FloatArray
    d_ll: FloatArray
    d_ul: FloatArray


@dataclass(frozen=True, eq=False, slots=True)
class OrdinalFit:
    """A cumulative logit model at its maximum.

    Attributes
    ----------
    theta : ndarray, shape (J + columns,)
        Cuts, then coefficients; a higher coefficient goes with higher levels.
    information : ndarray, shape (k, k)
        Minus the second derivatives.
    scores : ndarray, shape (n, k)
        First derivatives of each row.
    rows : Rows
        What was fitted.
    pieces : Pieces
        At the maximum.
    weight : ndarray, shape (n,)
        Weights of the rows, a factor of their scores.
    log_likelihood : float
        At the maximum.
    converged, separated : bool
        Whether the score is zero up to rounding; whether there is a direction in which the likelihood never falls.
    """

    theta: FloatArray
    information: FloatArray
    scores: FloatArray
    rows: Rows
    pieces: Pieces
    weight: FloatArray
    log_likelihood: float
    converged: bool
    separated: bool


def make_rows(x: FloatArray, level: IntArray, n_levels: int) -> Rows:
    """Return the cuts around each outcome; levels are 0 .. n_levels - 1."""
    n, cuts = level.size, n_levels - 1
    has_upper, has_lower = level < cuts, level > 0
    index = np.arange(n)
    sides = []
    for present, place in ((has_upper, level), (has_lower, level - 1)):
        side = np.zeros((n, cuts + x.shape[1]))
        side[index[present], place[present]] = 1.0
        side[present, cuts:] = -x[present]
        sides.append(side)
    return Rows(sides[0], sides[1], has_upper, has_lower)


def evaluate(rows: Rows, theta: FloatArray) -> Pieces:
    """Return log-likelihood and derivatives.

    With a the upper and b the lower predictor, F the logistic distribution and d = a - b,

        log(F(a) - F(b)) = log F(a) + log(1 - F(b)) + log(1 - exp(-d)),

    which loses no digits far from the middle.
    """
    from scipy.special import expit

    a = np.where(rows.has_upper, rows.upper @ theta, np.inf)
    b = np.where(rows.has_lower, rows.lower @ theta, -np.inf)
    both = rows.has_upper & rows.has_lower
    gap = np.where(both, np.where(both, a, 1.0) - np.where(both, b, 0.0), np.inf)
    ordered = gap > 0
    safe = np.where(ordered, gap, 1.0)
    with np.errstate(over="ignore"):
        lean = 1.0 / np.expm1(safe)
    curve = lean * (1.0 + lean)
    value = -np.logaddexp(0.0, -a) - np.logaddexp(0.0, b) + np.log(-np.expm1(-safe))
    above, below = expit(-a), expit(b)
    return Pieces(
        np.where(ordered, value, -np.inf),
        above + lean,
        -below - lean,
        -above * (1.0 - above) - curve,
        -below * (1.0 - below) - curve,
        curve,
    )


def _derivatives(rows: Rows, pieces: Pieces, weight: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return the scores of all rows and the weighted matrix of second derivatives."""
    scores = rows.upper * pieces.d_upper[:, None] + rows.lower * pieces.d_lower[:, None]
    mixed = rows.upper.T @ ((weight * pieces.d_ul)[:, None] * rows.lower)
    hessian = (
        rows.upper.T @ ((weight * pieces.d_uu)[:, None] * rows.upper)
        + rows.lower.T @ ((weight * pieces.d_ll)[:, None] * rows.lower)
        + mixed
        + mixed.T
    )
    return scores * weight[:, None], hessian


def fit_ordinal(x: FloatArray, level: IntArray, n_levels: int, *, weight: FloatArray | None = None) -> OrdinalFit:
    """Return the maximum of the likelihood (McCullagh 1980).

    The log-likelihood is concave where the cuts are in order; scipy's trust-region method finds the maximum, and one
    more Newton step squares what its stopping rule left. Where no finite maximum exists, a linear programme over the
    cuts around each outcome finds the direction, as for a binary outcome.

    Parameters
    ----------
    x : ndarray, shape (n, columns)
        Centred columns of full rank on comparable scales, without a constant.
    level : ndarray of int, shape (n,)
        Levels 0 .. n_levels - 1, all present.
    n_levels : int
        Two or more.
    weight : ndarray, shape (n,), optional
        Positive weights.
    """
    from scipy.optimize import minimize

    w = np.ones(level.size) if weight is None else weight
    rows = make_rows(x, level, n_levels)
    shares = np.cumsum(np.bincount(level, weights=w, minlength=n_levels))[:-1] / w.sum()
    start = np.concatenate([np.log(shares / (1.0 - shares)), np.zeros(x.shape[1])])
    total = w.sum()

    def objective(theta: FloatArray) -> float:
        return -float(w @ evaluate(rows, theta).value) / float(total)

    def slope(theta: FloatArray) -> FloatArray:
        return np.asarray(-_derivatives(rows, evaluate(rows, theta), w)[0].sum(axis=0) / total, dtype=np.float64)

    def curvature(theta: FloatArray) -> FloatArray:
        return np.asarray(-_derivatives(rows, evaluate(rows, theta), w)[1] / total, dtype=np.float64)

    with np.errstate(invalid="ignore", over="ignore"):
        found = minimize(
            objective, start, jac=slope, hess=curvature, method="trust-exact", options={"gtol": 1e-9, "maxiter": 200}
        )
    theta = np.asarray(found.x, dtype=np.float64)
    scores, hessian = _derivatives(rows, evaluate(rows, theta), w)
    if np.linalg.matrix_rank(hessian, hermitian=True) == theta.size:
        moved = theta - np.linalg.solve(hessian, scores.sum(axis=0))
        if objective(moved) <= objective(theta) + 1e-12:
            theta = moved
    pieces = evaluate(rows, theta)
    scores, hessian = _derivatives(rows, pieces, w)
    balanced = bool(np.all(np.abs(scores.sum(axis=0)) <= SCORE_TOLERANCE * np.abs(scores).sum(axis=0) + 1e-300))
    distance = max(np.abs(rows.upper @ theta).max(), np.abs(rows.lower @ theta).max())
    separated = (not balanced or distance > FAR) and _direction(rows)
    return OrdinalFit(theta, -hessian, scores, rows, pieces, w, float(w @ pieces.value), balanced, separated)


def _direction(rows: Rows) -> bool:
    """Whether the parameters can move for ever without making any outcome less likely."""
    upper, lower = rows.upper[rows.has_upper], rows.lower[rows.has_lower]
    signs = np.concatenate([np.ones(upper.shape[0]), np.zeros(lower.shape[0])])
    return binomial_direction(np.vstack([upper, lower]), signs) is not None


def ordinal_influence(fit: OrdinalFit, kind: str, cluster: IntArray | None = None) -> FloatArray | None:
    """Return influence values of all parameters, whose cross-product is their covariance.

    "model" has none. "HC0" and "CR0" are scores times the inverse information, "HC1" and "CR1" have n / (n - k) and
    G / (G - 1). "CR3" leaves each cluster out in one Newton step from the maximum,

        theta_(-g) - theta = -(I - I_g)^-1 s_g,

    times the root of (G - 1) / G: the jackknife without refitting.

    Parameters
    ----------
    fit : OrdinalFit
        At its maximum.
    kind : str
        One of `KINDS`.
    cluster : ndarray of int, shape (n,), optional
        Codes 0 .. G - 1, all present.
    """
    if kind == "model":
        return None
    n, k = fit.scores.shape
    if kind in ("HC0", "HC1"):
        factor = n / (n - k) if kind == "HC1" else 1.0
        return np.asarray(np.sqrt(factor) * np.linalg.solve(fit.information, fit.scores.T).T, dtype=np.float64)
    assert cluster is not None
    count = int(cluster.max()) + 1
    sums = np.column_stack([group_sums(cluster, column, count) for column in fit.scores.T])
    if kind != "CR3":
        factor = count / (count - 1.0) if kind == "CR1" else 1.0
        return np.asarray(np.sqrt(factor) * np.linalg.solve(fit.information, sums.T).T, dtype=np.float64)
    left = fit.information[None, :, :] - _cluster_information(fit, cluster, count)
    moved = np.einsum("gij,gj->gi", np.linalg.pinv(left, hermitian=True), sums)
    return np.asarray(np.sqrt((count - 1.0) / count) * moved, dtype=np.float64)


def _cluster_information(fit: OrdinalFit, cluster: IntArray, count: int) -> FloatArray:
    """Return the information of each cluster, shape (G, k, k)."""
    k = fit.theta.size
    inner = np.zeros((count, k, k))
    rows, pieces = fit.rows, fit.pieces
    weight = fit.weight
    order = np.argsort(cluster, kind="stable")
    bounds = np.searchsorted(cluster[order], np.arange(count + 1))
    for g in range(count):
        own = order[bounds[g] : bounds[g + 1]]
        part = Rows(rows.upper[own], rows.lower[own], rows.has_upper[own], rows.has_lower[own])
        some = Pieces(
            pieces.value[own], pieces.d_upper[own], pieces.d_lower[own], pieces.d_uu[own], pieces.d_ll[own],
            pieces.d_ul[own],
        )  # fmt: skip
        inner[g] = -_derivatives(part, some, weight[own])[1]
    return inner


@dataclass(frozen=True, slots=True)
class ScoreTest:
    """A test that some columns have one coefficient at every cut.

    Attributes
    ----------
    statistic : float
        F.
    df1, df2 : float
        Its degrees of freedom.
    p_value : float
        Upper tail.
    """

    statistic: float
    df1: float
    df2: float
    p_value: float


def proportional_odds_test(
    fit: OrdinalFit, x: FloatArray, level: IntArray, n_levels: int, tested: IntArray, cluster: IntArray | None = None
) -> ScoreTest | None:
    """Return the robust score test of proportional odds for some columns, or None where it cannot be made.

    The alternative lets the coefficient of each tested column differ between cuts. Its scores s2 at the maximum of the
    restricted model are made orthogonal to those of the restricted parameters, s = s2 - I21 I11^-1 s1, and summed by
    cluster (White 1982; Boos 1992). With G independent sums whose second moment is V, T = S' V^-1 S is referred to

        F = (T / q) / ((G - T) / (G - q)) on q and G - q degrees of freedom,

    exact for normal sums with mean zero, and chi-square over q as G grows.

    Parameters
    ----------
    fit : OrdinalFit
        The restricted model on `x` and `level`.
    x, level, n_levels
        As in `fit_ordinal`.
    tested : ndarray of int
        Columns of `x`.
    cluster : ndarray of int, shape (n,), optional
        Codes 0 .. G - 1, all present.
    """
    cuts = n_levels - 1
    q = tested.size * (cuts - 1)
    groups = level.size if cluster is None else int(cluster.max()) + 1
    if q == 0 or groups <= q + 1:
        return None
    upper, lower = (np.zeros((level.size, q)) for _ in range(2))
    for cut in range(1, cuts):
        columns = slice((cut - 1) * tested.size, cut * tested.size)
        # The first cut keeps the common coefficient; the others depart from it.
        upper[:, columns] = -x[:, tested] * (level == cut)[:, None]
        lower[:, columns] = -x[:, tested] * (level - 1 == cut)[:, None]
    w, p = fit.weight, fit.pieces
    s2 = w[:, None] * (upper * p.d_upper[:, None] + lower * p.d_lower[:, None])
    first, second = fit.rows.upper, fit.rows.lower
    mixed = -(
        upper.T @ ((w * p.d_uu)[:, None] * first)
        + lower.T @ ((w * p.d_ll)[:, None] * second)
        + upper.T @ ((w * p.d_ul)[:, None] * second)
        + lower.T @ ((w * p.d_ul)[:, None] * first)
    )
    adjusted = s2 - fit.scores @ np.linalg.solve(fit.information, mixed.T)
    if cluster is not None:
        adjusted = np.column_stack([group_sums(cluster, column, groups) for column in adjusted.T])
    spread = adjusted.T @ adjusted
    if np.linalg.matrix_rank(spread, hermitian=True) < q:
        return None
    total = adjusted.sum(axis=0)
    t = float(total @ np.linalg.solve(spread, total))
    statistic = (t / q) / ((groups - t) / (groups - q))
    return ScoreTest(statistic, float(q), float(groups - q), f_upper(statistic, float(q), float(groups - q)))
