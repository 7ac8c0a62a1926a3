"""Agreement of two raters beyond chance."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Kappa:
    """Cohen's kappa.

    Attributes
    ----------
    value, variance : float
        Kappa and its large-sample variance; NaN where both raters used one category.
    observed, by_chance : float
        Share on which raters agree, and the share on which raters with their margins would by chance.
    """

    value: float
    variance: float
    observed: float
    by_chance: float


def kappa(counts: FloatArray) -> Kappa:
    """Return (p_o - p_e) / (1 - p_e) with its large-sample variance (Fleiss, Cohen and Everitt 1969).

    With cell shares p_ij and margins p_i., p_.j, the variance is

        (sum_i p_ii ((1 - p_e) - (p_i. + p_.i)(1 - p_o))^2 + (1 - p_o)^2 sum_{i != j} p_ij (p_.i + p_j.)^2
         - (p_o p_e - 2 p_e + p_o)^2) / (n (1 - p_e)^4).

    Parameters
    ----------
    counts : ndarray, shape (categories, categories)
        Cases by the two raters' categories.

    Examples
    --------
    >>> round(kappa(np.array([[20.0, 5.0], [10.0, 15.0]])).value, 4)
    0.4
    """
    n = float(counts.sum())
    p = counts / n
    rows, columns = p.sum(axis=1), p.sum(axis=0)
    observed, chance = float(np.trace(p)), float(rows @ columns)
    if chance >= 1.0:
        return Kappa(float("nan"), float("nan"), observed, chance)
    own = np.diag(p) @ ((1.0 - chance) - (rows + columns) * (1.0 - observed)) ** 2
    other = p * (columns[:, None] + rows[None, :]) ** 2
    cross = (1.0 - observed) ** 2 * (other.sum() - np.trace(other))
    last = (observed * chance - 2.0 * chance + observed) ** 2
    variance = float(own + cross - last) / (n * (1.0 - chance) ** 4)
    return Kappa((observed - chance) / (1.0 - chance), variance, observed, chance)
