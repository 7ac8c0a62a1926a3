"""Least squares on centred and scaled cross-products, accumulated in blocks of rows, with the rank checked first."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]

# A block of this many rows keeps the working copies in cache and the extra memory independent of the rows.
BLOCK_ROWS = 8_192
# A column whose share of variance not explained by the columns before it is below this is called collinear.
# Cross-products in double precision carry about 1e-14 relative noise, so a share of 1e-10 is four digits above it.
RANK_TOLERANCE = 1e-10


@dataclass(frozen=True, slots=True)
class Basis:
    """A well-conditioned basis of the columns: an intercept, and kept columns centred and scaled.

    Attributes
    ----------
    mean, scale : ndarray, shape (columns,)
        Column means (zero without an intercept) and root mean squares about them.
    kept : ndarray of int
        Columns that are not collinear with the columns before them.
    dropped : ndarray of int
        The others.
    intercept : bool
        Whether there is an intercept (first in the basis).
    gram_inverse : ndarray, shape (k, k)
        Inverse of Z'Z (weighted, if there are weights) for the basis Z.
    to_original : ndarray, shape (k, k)
        Turns coefficients on the basis into coefficients on (intercept and) kept columns.
    """

    mean: FloatArray
    scale: FloatArray
    kept: NDArray[np.intp]
    dropped: NDArray[np.intp]
    intercept: bool
    gram_inverse: FloatArray
    to_original: FloatArray

    def rows(self, design: FloatArray, where: slice | NDArray[np.intp]) -> FloatArray:
        """Return the basis for some rows of the design, shape (rows, k)."""
        block = (design[where][:, self.kept] - self.mean[self.kept]) / self.scale[self.kept]
        if not self.intercept:
            return block
        return np.column_stack([np.ones(block.shape[0]), block])


@dataclass(frozen=True, slots=True)
class LeastSquares:
    """A least-squares fit for one or several outcomes on the same columns.

    Attributes
    ----------
    basis : Basis
        The basis that was solved on.
    gamma : ndarray, shape (k, outcomes)
        Coefficients on the basis.
    beta : ndarray, shape (k, outcomes)
        Coefficients on the intercept (first, if any) and the kept columns.
    n, k : int
        Rows and coefficients.
    """

    basis: Basis
    gamma: FloatArray
    beta: FloatArray
    n: int
    k: int

    def residuals(self, design: FloatArray, outcome: FloatArray) -> FloatArray:
        """Return outcome minus fit, shape of `outcome`."""
        result = np.empty_like(outcome, dtype=np.float64)
        gamma = self.gamma if outcome.ndim == 2 else self.gamma[:, 0]
        for where in blocks(design.shape[0]):
            result[where] = outcome[where] - self.basis.rows(design, where) @ gamma
        return result


def blocks(n: int, size: int = BLOCK_ROWS) -> Iterator[slice]:
    """Yield slices that cover n rows."""
    for start in range(0, n, size):
        yield slice(start, min(start + size, n))


def _moments(design: FloatArray, weights: FloatArray | None, intercept: bool) -> tuple[FloatArray, FloatArray, float]:
    """Return column means, root mean squares, scaled Gram matrix of the centred columns and the total weight."""
    n, k = design.shape
    total = float(n) if weights is None else float(weights.sum())
    mean = np.zeros(k)
    if intercept:
        for where in blocks(n):
            part = design[where]
            mean += part.sum(axis=0) if weights is None else weights[where] @ part
        mean /= total
    gram = np.zeros((k, k))
    shift = np.zeros(k)
    for where in blocks(n):
        part = design[where] - mean
        heavy = part if weights is None else part * weights[where, None]
        gram += part.T @ heavy
        shift += heavy.sum(axis=0)
    if intercept:
        # The first mean carries rounding error of its own; this is the correction of the two-pass algorithm.
        gram -= np.outer(shift, shift) / total
        mean = mean + shift / total
    return mean, gram, total


def independent_columns(gram: FloatArray, usable: NDArray[np.bool_], tolerance: float) -> NDArray[np.intp]:
    """Return, in order, the columns that are not collinear with the kept ones before them (Cholesky by rows)."""
    k = gram.shape[0]
    kept: list[int] = []
    factor = np.zeros((k, k))
    for j in range(k):
        if not usable[j]:
            continue
        count = len(kept)
        row = np.zeros(count)
        for position, column in enumerate(kept):
            row[position] = (gram[j, column] - row[:position] @ factor[position, :position]) / factor[
                position, position
            ]
        left = gram[j, j] - row @ row
        if left > tolerance * gram[j, j]:
            factor[count, :count] = row
            factor[count, count] = np.sqrt(left)
            kept.append(j)
    return np.array(kept, dtype=np.intp)


def make_basis(
    design: FloatArray,
    *,
    intercept: bool = True,
    weights: FloatArray | None = None,
    tolerance: float = RANK_TOLERANCE,
) -> Basis:
    """Return a well-conditioned basis of the columns of `design`, collinear columns left out.

    Parameters
    ----------
    design : ndarray, shape (n, columns)
        Without an intercept column.
    intercept : bool
        Whether the model has an intercept.
    weights : ndarray, shape (n,), optional
        Positive regression weights.
    tolerance : float
        Share of a column's variance below which it counts as explained by the columns before it.
    """
    mean, gram, total = _moments(design, weights, intercept)
    return basis_from_moments(mean, gram, total, intercept=intercept, tolerance=tolerance)


def basis_from_moments(mean: FloatArray, gram: FloatArray, total: float, *, intercept: bool, tolerance: float) -> Basis:
    """Return the basis of columns of which means and cross-products are known.

    Parameters
    ----------
    mean : ndarray, shape (columns,)
        Column means; zero without an intercept.
    gram : ndarray, shape (columns, columns)
        Cross-products about the means.
    total : float
        Rows, or their total weight.
    intercept : bool
        Whether the model has an intercept.
    tolerance : float
        Share of a column's variance below which it counts as explained by the columns before it.
    """
    spread = np.sqrt(np.maximum(np.diag(gram), 0.0) / total)
    size = np.maximum(np.abs(mean), spread)
    scale = np.where(spread <= 1e-12 * np.where(size > 0, size, 1.0), 0.0, spread)
    safe = np.where(scale > 0, scale, 1.0)
    gram = gram / np.outer(safe, safe)
    kept = independent_columns(gram, scale > 0, tolerance)
    dropped = np.setdiff1d(np.arange(mean.size), kept).astype(np.intp)
    inner = gram[np.ix_(kept, kept)]
    inverse = np.linalg.inv(inner) if kept.size else np.zeros((0, 0))
    inverse = (inverse + inverse.T) / 2.0
    k = kept.size + int(intercept)
    gram_inverse = np.zeros((k, k))
    start = int(intercept)
    gram_inverse[start:, start:] = inverse
    to_original = np.zeros((k, k))
    to_original[range(start, k), range(start, k)] = 1.0 / scale[kept] if kept.size else []
    if intercept:
        gram_inverse[0, 0] = 1.0 / total
        to_original[0, 0] = 1.0
        to_original[0, 1:] = -mean[kept] / scale[kept]
    return Basis(mean, np.where(scale > 0, scale, 1.0), kept, dropped, intercept, gram_inverse, to_original)


def fit_least_squares(
    design: FloatArray,
    outcome: FloatArray,
    *,
    basis: Basis | None = None,
    intercept: bool = True,
    weights: FloatArray | None = None,
) -> LeastSquares:
    """Return a least-squares fit.

    Parameters
    ----------
    design : ndarray, shape (n, columns)
        Without an intercept column.
    outcome : ndarray, shape (n,) or (n, outcomes)
        Several outcomes share one factorisation.
    basis : Basis, optional
        From `make_basis` on the same design and weights.
    intercept : bool
        Whether the model has an intercept (ignored when `basis` is given).
    weights : ndarray, shape (n,), optional
        Positive regression weights.

    Notes
    -----
    One step of iterative refinement on the residuals follows the solve; with centred and scaled cross-products the
    Longley data keep eleven digits.
    """
    used = make_basis(design, intercept=intercept, weights=weights) if basis is None else basis
    columns = outcome[:, None] if outcome.ndim == 1 else outcome
    n = design.shape[0]
    k = used.gram_inverse.shape[0]
    gamma = np.zeros((k, columns.shape[1]))
    for _ in range(2):
        cross = np.zeros_like(gamma)
        for where in blocks(n):
            z = used.rows(design, where)
            left = columns[where] - z @ gamma
            cross += z.T @ (left if weights is None else left * weights[where, None])
        gamma = gamma + used.gram_inverse @ cross
    return LeastSquares(used, gamma, used.to_original @ gamma, n, k)


def column_names(names: Sequence[str], basis: Basis) -> tuple[list[str], list[str]]:
    """Return the names of the coefficients that were estimated and of the columns that were dropped."""
    kept = (["intercept"] if basis.intercept else []) + [names[i] for i in basis.kept]
    return kept, [names[i] for i in basis.dropped]
