"""Least squares with one large set of fixed effects swept out by group means, the others as columns.

With a group's mean (weighted, if there are weights) taken from every column, coefficients and residuals are those of
the regression with an indicator of every group (Frisch and Waugh 1933; Lovell 1963). Where groups are nested in
clusters the sums by cluster that robust covariances need are the same too, and so are the jackknife and, without
weights, the bias-reduced covariance (Pustejovsky and Tipton 2018, Journal of Business and Economic Statistics 36).

Of further effects the one with most levels is swept out beside the groups (`two_effects`), exactly as well; the others
stay columns. Scores of the columns that are left do not depend on what was swept, so that covariances from sums of
scores hold whether or not an effect is nested in clusters; jackknife and bias-reduced ones need that it is, or columns.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gbveval.numerics.groups import compact, group_sums
from gbveval.numerics.least_squares import LeastSquares, fit_least_squares, make_basis
from gbveval.numerics.linear_inference import LinearInference, linear_inference
from gbveval.numerics.two_effects import TwoEffects
from gbveval.numerics.two_ways import mended

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.intp]

# What is left of a column after its groups' means, as a share of its size: below this it is rounding.
ABSORBED = 1e-11


@dataclass(frozen=True, eq=False, slots=True)
class Groups:
    """A partition of rows.

    Attributes
    ----------
    codes : ndarray of int, shape (rows,)
        Group of each row, 0 .. count - 1.
    count : int
        Groups, also those without a row.
    """

    codes: IntArray
    count: int

    @property
    def present(self) -> int:
        """Groups with a row."""
        return int(np.count_nonzero(np.bincount(self.codes, minlength=self.count)))

    def take(self, rows: NDArray[np.bool_]) -> Groups:
        """Return the partition of some rows."""
        return Groups(self.codes[rows], self.count)

    def crossed(self, other: Groups) -> Groups:
        """Return the partition into pairs of groups that occur."""
        pairs, codes = np.unique(self.codes.astype(np.int64) * other.count + other.codes, return_inverse=True)
        return Groups(codes.astype(np.intp), int(pairs.size))


@dataclass(frozen=True, eq=False, slots=True)
class FixedEffectsFit:
    """A regression with fixed effects.

    Attributes
    ----------
    beta : ndarray, shape (k,)
        Coefficients of the kept columns, those of indicators left out.
    covariance : ndarray, shape (k, k)
    influence : ndarray or None, shape (independent units, k)
        Its cross-product is the covariance; None with two-way clusters and the classical covariance.
    df : ndarray, shape (k,)
    kept, dropped : ndarray of int
        Positions of the columns that were estimated, and of those that the others or the fixed effects explain.
    n, n_clusters : int
        Rows, and independent clusters (the smaller number, in two ways).
    k_counted : int
        Coefficients counted in the small-sample factor.
    fit : LeastSquares
        Of the swept columns, which the wild bootstrap starts from.
    place : ndarray of int, shape (k,)
        Where the kept columns stand among the coefficients of `fit`.
    swept_outcome, swept_columns : ndarray
        What was fitted: the outcome, and indicators and columns, the absorbed means taken out.
    repaired : bool
        Whether negative variances of the two-way formula were set to zero.
    """

    beta: FloatArray
    covariance: FloatArray
    influence: FloatArray | None
    df: FloatArray
    kept: IntArray
    dropped: IntArray
    n: int
    n_clusters: int
    k_counted: int
    fit: LeastSquares
    place: IntArray
    swept_outcome: FloatArray
    swept_columns: FloatArray
    repaired: bool = False


def centre_by_group(
    columns: FloatArray, groups: Groups, weights: FloatArray | None = None, *, passes: int = 2
) -> FloatArray:
    """Return columns with their groups' (weighted) means taken out; what is rounding of a constant becomes zero.

    Examples
    --------
    >>> centre_by_group(np.array([[1.0], [3.0], [7.0]]), Groups(np.array([0, 0, 1]), 2)).ravel().tolist()
    [-1.0, 1.0, 0.0]
    """
    result = np.array(columns, dtype=np.float64, order="F")
    size = np.bincount(groups.codes, weights=weights, minlength=groups.count)
    share = np.divide(1.0, size, out=np.zeros(groups.count), where=size > 0)
    for j in range(result.shape[1]):
        column = result[:, j]
        before = float(np.sqrt(np.mean(column**2)))
        for _ in range(passes):
            # The second pass takes out the rounding of the first mean.
            heavy = column if weights is None else column * weights
            column -= (group_sums(groups.codes, heavy, groups.count) * share)[groups.codes]
        if float(np.sqrt(np.mean(column**2))) <= ABSORBED * before:
            column[:] = 0.0
    return result


def indicators(groups: Groups) -> FloatArray:
    """Return indicators of all groups that occur but the first, shape (rows, groups - 1)."""
    there = np.flatnonzero(np.bincount(groups.codes, minlength=groups.count))
    return np.asarray(groups.codes[:, None] == there[None, 1:], dtype=np.float64)


def fixed_effects_fit(
    outcome: FloatArray,
    columns: FloatArray,
    *,
    absorb: Groups | None,
    effects: tuple[Groups, ...] = (),
    further: tuple[Groups, ...] = (),
    weights: FloatArray | None = None,
    std_error: str = "CR1S",
    clusters: tuple[Groups, ...] = (),
) -> FixedEffectsFit:
    """Regress an outcome on columns with fixed effects.

    Parameters
    ----------
    outcome : ndarray, shape (n,)
    columns : ndarray, shape (n, k)
        Without an intercept where there are fixed effects.
    absorb : Groups or None
        Fixed effects that are swept out (units).
    effects : tuple of Groups
        Fixed effects as indicators (periods).
    further : tuple of Groups
        Further fixed effects, which may vary within the groups swept out: see `split_effects`.
    weights : ndarray, shape (n,), optional
        Positive.
    std_error : str
        "classical", "HC0", "HC1", "CR0", "CR1", "CR1S", "CR2" or "CR3".
    clusters : tuple of Groups
        One or two, for the CR kinds; absorbed groups lie within the first. Two allow CR0, CR1 and CR1S.

    Notes
    -----
    CR1S multiplies by G/(G - 1) (n - 1)/(n - K), where K counts coefficients and the rank of the indicators of all
    fixed effects that are not nested in a cluster (one at least, for the mean); with two ways G is the smaller number
    on all three terms, and negative eigenvalues of the sum are set to zero (Cameron, Gelbach and Miller 2011).
    """
    large, small = split_effects(absorb, further, std_error, clusters)
    # What is constant within levels swept out would be nothing but rounding afterwards.
    extra = [indicators(each) for each in (*effects, *small) if large is None or not _nested(large, each)]
    raw = np.column_stack([*extra, columns]) if extra else columns
    if absorb is None:
        y, design = outcome, raw
    else:
        both = np.column_stack([outcome, raw])
        swept = (
            centre_by_group(both, absorb, weights) if large is None else _pair(absorb, large, weights).residuals(both)
        )
        y, design = swept[:, 0], swept[:, 1:]
    first = raw.shape[1] - columns.shape[1]
    fit, robust = _fitted(design, y, weights, std_error, clusters)
    position = np.flatnonzero(fit.basis.kept >= first)
    kept = fit.basis.kept[position] - first
    place = np.asarray(position, dtype=np.intp)
    k = kept.size + effects_rank((*(() if absorb is None else (absorb,)), *effects, *further), clusters)
    n_clusters = min((groups.present for groups in clusters), default=fit.n)
    covariance, influence, repaired = _covariance(fit, robust, (design, y, weights), clusters, place)
    factor = _factor(std_error, fit.n, k, n_clusters)
    if std_error == "classical":
        # The swept fit does not count what was swept out.
        factor = (fit.n - fit.k) / (fit.n - k)
    return FixedEffectsFit(
        beta=fit.beta[place, 0],
        covariance=factor * covariance,
        influence=None if influence is None else np.sqrt(factor) * influence,
        df=_degrees(std_error, robust, place, n_clusters, fit.n - k),
        kept=np.asarray(kept, dtype=np.intp),
        dropped=np.setdiff1d(np.arange(columns.shape[1]), kept).astype(np.intp),
        n=fit.n,
        n_clusters=n_clusters,
        k_counted=k,
        fit=fit,
        place=place,
        swept_outcome=y,
        swept_columns=design,
        repaired=repaired,
    )


def _fitted(
    design: FloatArray, y: FloatArray, weights: FloatArray | None, std_error: str, clusters: tuple[Groups, ...]
) -> tuple[LeastSquares, LinearInference | None]:
    """Return the fit, with its inference where that is more than sums of scores by cluster."""
    if std_error in ("CR0", "CR1", "CR1S"):
        return fit_least_squares(design, y, weights=weights, intercept=False), None
    found = linear_inference(
        design,
        y,
        std_error="HC0" if std_error == "HC1" else std_error,
        df="satterthwaite" if std_error in ("CR2", "CR3") else "residual",
        intercept=False,
        weights=weights,
        cluster=clusters[0].codes if clusters else None,
        n_clusters=clusters[0].count if clusters else 0,
    )
    return found.fit, found


def split_effects(
    absorb: Groups | None, further: tuple[Groups, ...], std_error: str, clusters: tuple[Groups, ...]
) -> tuple[Groups | None, tuple[Groups, ...]]:
    """Return the further effect to sweep out beside the groups (that with most levels), and those to keep as columns.

    Nothing is swept without groups, or for jackknife and bias-reduced covariances where it is not nested in clusters.
    """
    if absorb is None or not further:
        return None, further
    most = max(range(len(further)), key=lambda i: further[i].present)
    if std_error in ("CR2", "CR3") and not _nested(further[most], clusters[0]):
        return None, further
    return further[most], tuple(each for i, each in enumerate(further) if i != most)


def effects_rank(effects: tuple[Groups, ...], clusters: tuple[Groups, ...]) -> int:
    """Return the rank of the indicators of effects not nested in a cluster; one, for the mean, where all are nested."""
    free = [groups for groups in effects if not any(_nested(groups, each) for each in clusters)]
    free = sorted(free, key=lambda groups: -groups.present)
    if len(free) < 2:
        return free[0].present if free else min(len(effects), 1)
    pair = _pair(free[0], free[1], None)
    rest = [indicators(groups) for groups in free[2:] if not any(_nested(each, groups) for each in free[:2])]
    if not rest:
        return pair.rank
    return pair.rank + int(make_basis(pair.residuals(np.column_stack(rest)), intercept=False).kept.size)


def _pair(first: Groups, second: Groups, weights: FloatArray | None) -> TwoEffects:
    codes = [compact(groups.codes, groups.count)[1] for groups in (first, second)]
    return TwoEffects(codes[0], codes[1], np.ones(codes[0].size) if weights is None else weights)


def _nested(inner: Groups, outer: Groups) -> bool:
    first = np.zeros(inner.count, dtype=np.intp)
    first[inner.codes] = outer.codes
    return bool(np.array_equal(first[inner.codes], outer.codes))


def _covariance(
    fit: LeastSquares,
    robust: LinearInference | None,
    data: tuple[FloatArray, FloatArray, FloatArray | None],
    clusters: tuple[Groups, ...],
    place: IntArray,
) -> tuple[FloatArray, FloatArray | None, bool]:
    """Return covariance and influence of the coefficients without a factor, and whether it was repaired."""
    if robust is not None:
        influence = None if robust.influence is None else robust.influence[:, place]
        return robust.covariance[np.ix_(place, place)], influence, False
    design, y, weights = data
    residual = fit.residuals(design, y) * (1.0 if weights is None else weights)
    lift = (fit.basis.to_original @ fit.basis.gram_inverse)[place]
    ways = clusters if len(clusters) < 2 else (*clusters, clusters[0].crossed(clusters[1]))
    influences = [_cluster_influence(fit, design, residual, groups) @ lift.T for groups in ways]
    if len(ways) == 1:
        return influences[0].T @ influences[0], influences[0], False
    parts = [influence.T @ influence for influence in influences]
    total, repaired = mended(parts[0] + parts[1] - parts[2])
    return total, None, repaired


def _cluster_influence(fit: LeastSquares, design: FloatArray, residual: FloatArray, groups: Groups) -> FloatArray:
    """Return the sums by cluster of the basis times the residuals, shape (clusters, k of the fit)."""
    basis = fit.basis
    if not basis.kept.size:
        return np.zeros((groups.count, 0))
    return np.column_stack(
        [
            group_sums(groups.codes, (design[:, j] - basis.mean[j]) / basis.scale[j] * residual, groups.count)
            for j in basis.kept
        ]
    )


def _factor(std_error: str, n: int, k: int, n_clusters: int) -> float:
    if std_error == "HC1":
        return n / (n - float(k))
    if std_error in ("CR1", "CR1S") and n_clusters > 1:
        stata = (n - 1.0) / (n - k) if std_error == "CR1S" else 1.0
        return n_clusters / (n_clusters - 1.0) * stata
    return 1.0


def _degrees(std_error: str, robust: LinearInference | None, place: IntArray, n_clusters: int, free: int) -> FloatArray:
    if std_error in ("CR2", "CR3"):
        assert robust is not None
        return robust.df[place]
    return np.full(place.size, n_clusters - 1.0 if std_error.startswith("CR") else float(free))
