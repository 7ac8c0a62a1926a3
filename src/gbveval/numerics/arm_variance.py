"""Hides how often a t test rejects whose clusters have given, unequal sizes: an indefinite quadratic form of normals.

The estimate is a'y and its variance is estimated by y'My, y the cluster means: normal, independent, with variances v.
The test rejects when (a'y)^2 > c^2 y'My, that is when y'(aa' - c^2 M)y is above zero, whose probability is one integral
(Imhof 1961, Biometrika 48). A chi-square with the first two moments of y'My has tr(M V)^2 / tr((M V)^2) degrees of
freedom (Satterthwaite 1946, Biometrics Bulletin 2).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class VarianceForm:
    """An estimate and how its variance is estimated.

    Parameters
    ----------
    weights : ndarray, shape (clusters,)
        a: positive for treated clusters, negative for control.
    form : ndarray, shape (clusters, clusters)
        M.
    v : ndarray, shape (clusters,)
        Variances of the cluster means.
    """

    weights: FloatArray
    form: FloatArray
    v: FloatArray

    @property
    def variance(self) -> float:
        """True variance of the estimate."""
        return float(self.weights**2 @ self.v)

    @property
    def ratio(self) -> float:
        """Mean of the estimated variance over the true one."""
        return float(np.diag(self.form) @ self.v) / self.variance

    @property
    def df(self) -> float:
        """Satterthwaite's degrees of freedom of the estimated variance."""
        return float((np.diag(self.form) @ self.v) ** 2 / np.sum((self.form * self.v) * (self.form * self.v).T))

    def rejects(self, effect: float, critical: float) -> float:
        """Return the probability that the absolute estimate exceeds the critical value times its estimated error.

        Examples
        --------
        >>> equal = participant_average(np.full(6, 20.0), np.full(4, 20.0), np.ones(6), np.ones(4))
        >>> 0.03 < equal.rejects(0.0, 2.31) < 0.09
        True
        """
        root = np.sqrt(self.v)
        whole = np.outer(self.weights, self.weights) - critical**2 * self.form
        values, vectors = np.linalg.eigh(root[:, None] * whole * root[None, :])
        shift = vectors.T @ (np.where(self.weights > 0.0, effect, 0.0) / root)
        return above_zero(values, shift)


def above_zero(values: FloatArray, shift: FloatArray) -> float:
    """Return the probability that sum of l_j (Z_j + d_j)^2 is above zero, Z independent standard normal (Imhof 1961).

    Examples
    --------
    A ratio of a chi-square with 1 and one with 4 degrees of freedom above 1.

    >>> round(above_zero(np.array([1.0, -1.0, -1.0, -1.0, -1.0]), np.zeros(5)), 6)
    0.116117
    """
    from scipy.integrate import quad

    size = values / np.abs(values).max()

    def integrand(u: float) -> float:
        scaled = size * u
        square = 1.0 + scaled**2
        angle = 0.5 * float(np.sum(np.arctan(scaled) + shift**2 * scaled / square))
        height = 0.25 * float(np.sum(np.log(square))) + 0.5 * float(np.sum((shift * scaled) ** 2 / square))
        return math.sin(angle) * math.exp(-height) / u

    found = sum(
        quad(integrand, *ends, limit=400, epsabs=1e-12, epsrel=1e-11)[0] for ends in ((0.0, 1.0), (1.0, math.inf))
    )
    return min(1.0, max(0.0, 0.5 + found / math.pi))


def participant_average(control: FloatArray, treated: FloatArray, v0: FloatArray, v1: FloatArray) -> VarianceForm:
    """Return the difference of averages over participants with CR2 (Bell and McCaffrey 2002, Survey Methodology 28).

    With p the clusters' shares of an arm, CR2 divides each cluster's residual total by the root of 1 - p: its working
    model is one of independent respondents.
    """
    weights, forms = [], []
    for sizes in (control, treated):
        p = sizes / sizes.sum()
        residual = (p / np.sqrt(1.0 - p))[:, None] * (np.eye(p.size) - p[None, :])
        weights.append(p)
        forms.append(residual.T @ residual)
    return _difference(weights, forms, v0, v1)


def cluster_average(v0: FloatArray, v1: FloatArray) -> VarianceForm:
    """Return the difference of averages over clusters, with their variance pooled over arms."""
    counts = (v0.size, v1.size)
    scale = (1.0 / counts[0] + 1.0 / counts[1]) / (sum(counts) - 2.0)
    weights = [np.full(k, 1.0 / k) for k in counts]
    return _difference(weights, [scale * (np.eye(k) - 1.0 / k) for k in counts], v0, v1)


def _difference(weights: list[FloatArray], forms: list[FloatArray], v0: FloatArray, v1: FloatArray) -> VarianceForm:
    size = v0.size + v1.size
    form = np.zeros((size, size))
    form[: v0.size, : v0.size], form[v0.size :, v0.size :] = forms
    return VarianceForm(np.concatenate([-weights[0], weights[1]]), form, np.concatenate([v0, v1]))
