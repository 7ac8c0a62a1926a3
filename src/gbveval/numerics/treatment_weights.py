"""How a two-way fixed effects coefficient weighs the effects it mixes (de Chaisemartin and D'Haultfoeuille 2020)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gbveval.numerics.fixed_effects import Groups, centre_by_group, indicators

FloatArray = NDArray[np.float64]
# The share of the sum of squares of treatment below which fixed effects and covariates explain all of it.
EXPLAINED = 1e-20


def treatment_residual(
    treatment: FloatArray, columns: FloatArray, unit: Groups, time: Groups, weights: FloatArray | None
) -> FloatArray | None:
    """Return what units, periods and columns leave of treatment, or None where they explain it.

    Parameters
    ----------
    treatment : ndarray, shape (n,)
    columns : ndarray, shape (n, k)
        Covariates.
    unit, time : Groups
    weights : ndarray, shape (n,), optional
        Positive.
    """
    swept = centre_by_group(np.column_stack([treatment, indicators(time), columns]), unit, weights)
    root = np.ones(treatment.size) if weights is None else np.sqrt(weights)
    d, others = swept[:, 0], swept[:, 1:]
    # Columns of very different sizes must not decide on the rank.
    size = np.sqrt(np.mean((others * root[:, None]) ** 2, axis=0))
    scaled = others[:, size > 0] / size[size > 0] * root[:, None]
    inverse = np.linalg.pinv(scaled.T @ scaled, rcond=1e-12, hermitian=True)
    heavy = d * root
    for _ in range(2):
        # The second pass takes out the rounding of the first.
        heavy = heavy - scaled @ (inverse @ (scaled.T @ heavy))
    left: FloatArray = heavy / root
    return left if np.sum((root * left) ** 2) > EXPLAINED * np.sum((root * treatment) ** 2) else None


@dataclass(frozen=True, eq=False, slots=True)
class SmallestSpread:
    """Standard deviations of effects that would make a coefficient misleading.

    Attributes
    ----------
    zero_average : float
        The smallest with which the average effect can be zero; infinite where the weights are the shares.
    opposite_sign : float
        The smallest with which every effect can have the sign that the coefficient has not; NaN where no weight is
        negative, as none can then.
    """

    zero_average: float
    opposite_sign: float


def smallest_spread(coefficient: float, weight: FloatArray, share: FloatArray) -> SmallestSpread:
    """Return how much effects have to differ for the coefficient to mislead.

    Parameters
    ----------
    coefficient : float
    weight : ndarray, shape (cells,)
        Of each effect in the coefficient; they sum to one.
    share : ndarray, shape (cells,)
        Of each cell among the treated, positive; they sum to one.

    Notes
    -----
    With effects D and ratios w of weight to share, coefficient = sum(share w D). The variance sum(share (D - mean)^2)
    is least, for a mean of zero, where D is in proportion to w - 1, hence |coefficient| / sd(w). For effects that are
    all at most zero although the coefficient is positive, those of the largest ratios are zero and the others linear in
    w: with P, S, T the sums of share, share w and share w^2 over the cells from the i-th largest ratio on, the least is
    |coefficient| / sqrt(T + S^2 / (1 - P)) at the first i whose ratio lies below -S / (1 - P).

    Examples
    --------
    >>> found = smallest_spread(1.0, np.array([1.5, -0.5]), np.array([0.5, 0.5]))
    >>> found.zero_average, found.opposite_sign
    (0.5, 1.0)
    """
    ratio = weight / share
    spread = float(np.sqrt(np.sum(share * (ratio - 1.0) ** 2)))
    zero = abs(coefficient) / spread if spread > 1e-9 else np.inf
    if not (weight < -1e-12).any():
        return SmallestSpread(zero, np.nan)
    order = np.argsort(-ratio)
    p, w = share[order], ratio[order]
    below = [np.cumsum(part[::-1])[::-1] for part in (p, p * w, p * w**2)]
    above = 1.0 - below[0][1:]
    first = 1 + int(np.argmax(w[1:] < -below[1][1:] / above))
    big_p, big_s, big_t = (float(part[first]) for part in below)
    return SmallestSpread(zero, abs(coefficient) / float(np.sqrt(big_t + big_s**2 / (1.0 - big_p))))
