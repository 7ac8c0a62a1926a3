"""The two-by-two comparisons behind a two-way fixed effects coefficient on a balanced panel (Goodman-Bacon 2021).

Every number is made from mean paths of cohorts: sums over units enter once.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gbveval.numerics.groups import group_sums

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.intp]

VERSUS_NEVER, VERSUS_LATER, VERSUS_EARLIER, VERSUS_ALWAYS, BETWEEN, WITHIN = range(6)
# The share of a sum of squares below which what is left of it is rounding.
EXPLAINED = 1e-18


@dataclass(frozen=True, eq=False, slots=True)
class Comparisons:
    """Two-by-two comparisons with their weights.

    Attributes
    ----------
    kind : ndarray of int, shape (comparisons,)
        `VERSUS_NEVER`: treated against never treated; `VERSUS_LATER`: against those not treated yet; `VERSUS_EARLIER`:
        against those treated earlier; `VERSUS_ALWAYS`: against those treated in every period. With covariates
        `BETWEEN`: two cohorts in all periods, and `WITHIN`: units of one cohort that differ in covariates.
    treated, control : ndarray of int, shape (comparisons,)
        Position of the cohort among the cohorts; -1 for `WITHIN`.
    estimate, weight : ndarray, shape (comparisons,)
        Their product sums to the coefficient, and the weights to one.
    kept : tuple of int
        Covariates that the others and the fixed effects do not explain.
    """

    kind: IntArray
    treated: IntArray
    control: IntArray
    estimate: FloatArray
    weight: FloatArray
    kept: tuple[int, ...] = ()

    @property
    def coefficient(self) -> float:
        """What the comparisons add up to."""
        return float(self.weight @ self.estimate)


def decompose(paths: FloatArray, start: IntArray, size: FloatArray) -> Comparisons:
    """Decompose the coefficient of treatment without covariates.

    Parameters
    ----------
    paths : ndarray, shape (cohorts, periods)
        Mean outcomes.
    start : ndarray of int, shape (cohorts,)
        Position of the first treated period: 0 for treated in every period, the number of periods for never. Each at
        most once.
    size : ndarray, shape (cohorts,)
        Units, or their total weight.

    Returns
    -------
    Comparisons

    Notes
    -----
    A cohort k that is treated in a share D_k of the periods is compared with the never treated over all periods, with
    those treated later over the periods before the later start, and with those treated earlier over the periods from
    the earlier start on, each a difference of differences of means. Weights are in proportion to n_k n_u D_k (1 - D_k),
    n_k n_l (D_k - D_l) (1 - D_k) for the earlier k against the later l, and n_k n_l D_l (D_k - D_l) for the later l
    against the earlier k.

    Examples
    --------
    >>> paths = np.array([[0.0, 2.0, 2.0], [0.0, 0.0, 3.0], [0.0, 1.0, 1.0]])
    >>> found = decompose(paths, np.array([1, 2, 3]), np.ones(3))
    >>> found.estimate.tolist(), found.weight.round(3).tolist()
    ([2.0, 1.0, 3.0, 2.5], [0.167, 0.333, 0.167, 0.333])
    """
    periods = paths.shape[1]
    share = 1.0 - start / periods
    found: list[tuple[int, int, int, float, float]] = []
    for k in range(start.size):
        if not 0 < start[k] < periods:
            continue
        for u in range(start.size):
            if u == k:
                continue
            first, last = 0, periods
            d = share[k]
            if start[u] == periods:
                kind, variance = VERSUS_NEVER, d * (1.0 - d)
            elif start[u] > start[k]:
                kind, last = VERSUS_LATER, int(start[u])
                variance = (d - share[u]) * (1.0 - d)
            else:
                kind, first = (VERSUS_ALWAYS if start[u] == 0 else VERSUS_EARLIER), int(start[u])
                variance = d * (share[u] - d)
            gap = paths[k] - paths[u]
            estimate = gap[start[k] : last].mean() - gap[first : start[k]].mean()
            found.append((kind, k, u, float(estimate), float(size[k] * size[u] * variance)))
    return _comparisons(found)


def decompose_with_covariates(
    outcome: FloatArray, treatment: FloatArray, covariates: FloatArray, cohort: IntArray, size: FloatArray
) -> Comparisons | None:
    """Decompose the coefficient of treatment given covariates.

    Parameters
    ----------
    outcome, treatment : ndarray, shape (units, periods)
        Treatment of a unit is that of its cohort.
    covariates : ndarray, shape (units, periods, k)
    cohort : ndarray of int, shape (units,)
        0 .. cohorts - 1.
    size : ndarray, shape (units,)
        Weight of each unit.

    Returns
    -------
    Comparisons or None
        None where covariates and fixed effects explain treatment.

    Notes
    -----
    What the covariates and fixed effects leave of treatment, d, is the sum of its mean in cohort and period and of the
    rest, which comes from covariates that differ among units treated alike. The coefficient weighs the coefficients on
    the two parts by their variances; that on the first is again an average over pairs of cohorts, with weights in
    proportion to n_k n_l times the variance over time of the difference of their means of d.
    """
    rows = _two_way(np.concatenate([treatment[:, :, None], outcome[:, :, None], covariates], axis=2), size)
    units, periods = outcome.shape
    heavy = np.sqrt(np.repeat(size, periods))
    flat = rows.reshape(units * periods, -1) * heavy[:, None]
    kept = independent_columns(
        flat[:, 2:], np.sqrt(np.mean((covariates.reshape(-1, covariates.shape[2]) * heavy[:, None]) ** 2, axis=0))
    )
    x, d = flat[:, 2:][:, list(kept)], flat[:, 0]
    left = d - x @ np.linalg.lstsq(x, d, rcond=None)[0] if kept else d
    if left @ left <= EXPLAINED * float(np.sum(treatment**2 * size[:, None])):
        return None
    residual = (left / heavy).reshape(units, periods)
    count = int(cohort.max()) + 1
    totals = group_sums(cohort, size, count)
    mean_d, mean_y = (_cohort_means(part, cohort, size, totals) for part in (residual, rows[:, :, 1]))
    rest = residual - mean_d[cohort]
    total = float(np.sum(size[:, None] * residual**2))
    found: list[tuple[int, int, int, float, float]] = []
    for k in range(count):
        for u in range(k + 1, count):
            gap_d, gap_y = (means[k] - means[u] for means in (mean_d, mean_y))
            gap_d = gap_d - gap_d.mean()
            square = float(gap_d @ gap_d)
            if square > EXPLAINED * total / totals.sum():
                weight = totals[k] * totals[u] / totals.sum() * square / total
                found.append((BETWEEN, k, u, float(gap_d @ gap_y) / square, float(weight)))
    square = float(np.sum(size[:, None] * rest**2))
    if square > EXPLAINED * total:
        slope = float(np.sum(size[:, None] * rest * rows[:, :, 1])) / square
        found.append((WITHIN, -1, -1, slope, square / total))
    return _comparisons(found, kept)


def _comparisons(found: list[tuple[int, int, int, float, float]], kept: tuple[int, ...] = ()) -> Comparisons:
    kind, treated, control, estimate, weight = (list(column) for column in zip(*found, strict=True))
    weights = np.array(weight)
    return Comparisons(
        kind=np.array(kind, dtype=np.intp),
        treated=np.array(treated, dtype=np.intp),
        control=np.array(control, dtype=np.intp),
        estimate=np.array(estimate),
        weight=weights / weights.sum(),
        kept=kept,
    )


def _two_way(values: FloatArray, size: FloatArray) -> FloatArray:
    """Return values, shape (units, periods, k), with the means of units and of periods taken out."""
    result = values - values.mean(axis=1, keepdims=True)
    share = size / size.sum()
    return np.asarray(result - np.einsum("i,itk->tk", share, result)[None, :, :])


def _cohort_means(values: FloatArray, cohort: IntArray, size: FloatArray, totals: FloatArray) -> FloatArray:
    result = np.zeros((totals.size, values.shape[1]))
    np.add.at(result, cohort, values * size[:, None])
    return result / totals[:, None]


def independent_columns(columns: FloatArray, scale: FloatArray) -> tuple[int, ...]:
    """Return the columns, first come first kept, that those before them do not explain.

    Parameters
    ----------
    columns : ndarray, shape (n, k)
    scale : ndarray, shape (k,)
        Root mean square of each before anything was taken out.
    """
    kept: list[int] = []
    basis = np.zeros((columns.shape[0], 0))
    for j in range(columns.shape[1]):
        left = columns[:, j] - basis @ (basis.T @ columns[:, j])
        left = left - basis @ (basis.T @ left)
        norm = float(np.linalg.norm(left))
        if norm > np.sqrt(EXPLAINED * columns.shape[0]) * scale[j] and norm > 0:
            kept.append(j)
            basis = np.column_stack([basis, left / norm])
    return tuple(kept)
