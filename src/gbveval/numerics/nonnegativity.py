"""Are all of several estimates, jointly normal, at least zero? The largest studentised negative part decides.

With estimates m of means mu and covariance S, T = max over k of -m_k / s_k. Under mu >= 0 it is largest, in
distribution, at mu = 0, where it is the maximum of normal variables with the correlation of -m: P(T >= t) is then at
most what it is there, whichever mu >= 0 is true. The p-value from that maximum is valid and, where many means are above
zero, conservative. The same maximum, with one estimate in the place of T, gives p-values that hold for all estimates
at once. Canay and Shaikh (2017), Advances in Economics and Econometrics 2, for least favourable critical values.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]
BLOCK = 1_000_000


@dataclass(frozen=True, eq=False, slots=True)
class NonnegativityTest:
    """The test that all means are at least zero.

    Attributes
    ----------
    statistic, p_value : float
        The maximum, and its least favourable p-value; NaN without an estimate that can be tested.
    each : ndarray, shape (estimates,)
        p-value of every estimate, adjusted for all of them; NaN where not tested.
    tested : ndarray of bool, shape (estimates,)
    """

    statistic: float
    p_value: float
    each: FloatArray
    tested: BoolArray


def nonnegativity_test(
    value: FloatArray,
    covariance: FloatArray,
    use: BoolArray,
    *,
    rng: np.random.Generator,
    n_draws: int = 50_000,
    least: float = 0.0,
) -> NonnegativityTest:
    """Test that all means are at least zero.

    Parameters
    ----------
    value : ndarray, shape (estimates,)
    covariance : ndarray, shape (estimates, estimates)
        May be singular, as that of shares is.
    use : ndarray of bool, shape (estimates,)
        Which estimates to test.
    rng : numpy.random.Generator
    n_draws : int
        Of the maximum; the p-value is at least 1 / (n_draws + 1).
    least : float
        Standard errors up to this size are rounding.

    Examples
    --------
    >>> rng = np.random.default_rng(1)
    >>> found = nonnegativity_test(np.array([0.2, -0.4]), 0.01 * np.eye(2), np.ones(2, dtype=bool), rng=rng)
    >>> round(found.statistic, 6), found.p_value < 0.001
    (4.0, True)
    """
    error = np.sqrt(np.maximum(np.diag(covariance), 0.0))
    tested = use & (error > least)
    each = np.full(value.size, np.nan)
    kept = np.flatnonzero(tested)
    if not kept.size:
        return NonnegativityTest(np.nan, np.nan, each, tested)
    scale = error[kept]
    roots, axes = np.linalg.eigh(covariance[np.ix_(kept, kept)] / np.outer(scale, scale))
    positive = roots > roots[-1] * kept.size * np.finfo(float).eps
    root = axes[:, positive] * np.sqrt(roots[positive])
    root /= np.sqrt(np.sum(root**2, axis=1, keepdims=True))
    largest = np.empty(n_draws)
    step = max(1, BLOCK // kept.size)
    for begin in range(0, n_draws, step):
        size = min(step, n_draws - begin)
        largest[begin : begin + size] = (rng.standard_normal((size, root.shape[1])) @ root.T).max(axis=1)
    studentised = -value[kept] / scale
    largest.sort()
    above = n_draws - np.searchsorted(largest, studentised, side="left")
    each[kept] = (1.0 + above) / (1.0 + n_draws)
    return NonnegativityTest(float(studentised.max()), float(each[kept].min()), each, tested)
