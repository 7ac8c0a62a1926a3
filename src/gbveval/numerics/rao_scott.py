"""Independence in a table of survey proportions: Pearson's statistic, corrected for how the table varies."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gbveval.numerics.inference import f_upper

FloatArray = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class RaoScott:
    """Second-order corrected test.

    Attributes
    ----------
    chi_square : float
        Pearson's statistic of the estimated table, as if it were of n respondents drawn one by one.
    statistic, df1, df2, p_value : float
        F statistic, its degrees of freedom, and its upper tail.
    mean_design_effect : float
        Mean generalised design effect, of which the variation makes `df1` fall below (rows - 1)(columns - 1).
    """

    chi_square: float
    statistic: float
    df1: float
    df2: float
    p_value: float
    mean_design_effect: float


def rao_scott(table: FloatArray, covariance: FloatArray, *, n: int, df: float) -> RaoScott:
    """Return the second-order Rao-Scott test as an F test (Rao and Scott 1984; Thomas and Rao 1987).

    With p the cell proportions, V their design-based covariance, D = diag(p) and C a basis of the interaction contrasts
    of the table, the generalised design effects are the eigenvalues of

        Delta = (C' D^-1 C / n)^-1 (C' D^-1 V D^-1 C).

    Then X^2 / tr(Delta) is compared with F on d and d df degrees of freedom, d = tr(Delta)^2 / tr(Delta^2).

    Parameters
    ----------
    table : ndarray, shape (rows, columns)
        Estimated proportions, all above zero, adding to one.
    covariance : ndarray, shape (rows * columns, rows * columns)
        Their covariance, cells in row order.
    n : int
        Respondents.
    df : float
        Degrees of freedom of the design.

    Examples
    --------
    For a simple sample this is near Pearson's test: one generalised design effect of n / (n - 1).

    >>> p = np.array([[0.3, 0.2], [0.1, 0.4]])
    >>> v = (np.diag(p.ravel()) - np.outer(p.ravel(), p.ravel())) / 199
    >>> found = rao_scott(p, v, n=200, df=199.0)
    >>> round(found.chi_square, 4), round(found.mean_design_effect, 4), round(found.df1, 4)
    (33.3333, 1.005, 1.0)
    """
    rows, columns = table.shape
    p = table.ravel()
    expected = np.outer(table.sum(axis=1), table.sum(axis=0))
    chi_square = n * float(((table - expected) ** 2 / expected).sum())
    contrasts = np.kron(_contrasts(rows), _contrasts(columns))
    scaled = contrasts / p[:, None]
    delta = np.linalg.solve(contrasts.T @ scaled / n, scaled.T @ covariance @ scaled)
    trace = float(np.trace(delta))
    df1 = trace**2 / float(np.trace(delta @ delta))
    statistic = chi_square / trace
    return RaoScott(chi_square, statistic, df1, df1 * df, f_upper(statistic, df1, df1 * df), trace / delta.shape[0])


def _contrasts(levels: int) -> FloatArray:
    """Return a basis of the contrasts of a factor, shape (levels, levels - 1)."""
    return np.vstack([np.eye(levels - 1), -np.ones((1, levels - 1))])
