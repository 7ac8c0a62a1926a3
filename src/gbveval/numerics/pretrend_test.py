"""What a test of pre-trends detects, and what its passing does to the estimates that follow."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gbveval.numerics.gaussian_box import box_mean, box_probability
from gbveval.numerics.inference import chi2_quantile, normal_quantile

FloatArray = NDArray[np.float64]


@dataclass(frozen=True, eq=False, slots=True)
class PretrendTest:
    """A test that all effects before treatment are zero.

    Attributes
    ----------
    sigma : ndarray, shape (n_pre + n_post, n_pre + n_post)
        Covariance of the coefficients, those before the reference period first.
    n_pre : int
    joint : bool
        A Wald test of all; otherwise it fails if any coefficient is significant by itself.
    alpha : float
        Size of the Wald test, or of each single test.
    """

    sigma: FloatArray
    n_pre: int
    joint: bool
    alpha: float

    def passes(self, delta: FloatArray) -> float:
        """Return the probability that the test passes where the coefficients before have these expectations."""
        before = self.sigma[: self.n_pre, : self.n_pre]
        if self.joint:
            from scipy.special import chndtr

            critical = chi2_quantile(1.0 - self.alpha, self.n_pre)
            return float(chndtr(critical, self.n_pre, delta @ np.linalg.solve(before, delta)))
        edge = self._edge()
        return box_probability(delta, before, -edge, edge)

    def mean_if_passed(self, delta: FloatArray) -> FloatArray:
        """Return how far passing moves the expectations of all coefficients, those after treatment too.

        Parameters
        ----------
        delta : ndarray, shape (n_pre,)
            Expectations of the coefficients before treatment.

        Returns
        -------
        ndarray, shape (n_pre + n_post,)
            Expectation given that the test passed, minus expectation.

        Notes
        -----
        The coefficients that are significant one by one leave a box (Tallis). Those of a Wald test leave an ellipsoid,
        in which the mean is delta times a ratio of non-central chi-square probabilities with k + 2 and k degrees of
        freedom. In both, coefficients after treatment move by regression on those before.

        References
        ----------
        Roth (2022), American Economic Review: Insights 4(3), 305-322.
        """
        before = self.sigma[: self.n_pre, : self.n_pre]
        if not delta.any():
            # Box and ellipsoid are symmetric; the lattice is so only up to its error.
            return np.zeros(len(self.sigma))
        if self.joint:
            from scipy.special import chndtr

            critical, k = chi2_quantile(1.0 - self.alpha, self.n_pre), self.n_pre
            distance = delta @ np.linalg.solve(before, delta)
            ratio = float(chndtr(critical, k + 2.0, distance) / chndtr(critical, k, distance))
            g = np.linalg.solve(before, (ratio - 1.0) * delta)
        else:
            edge = self._edge()
            g = box_mean(delta, before, -edge, edge)
        moved: FloatArray = self.sigma[:, : self.n_pre] @ g
        return moved

    def slope_for(self, power: float, direction: FloatArray) -> float:
        """Return the multiple of a direction that the test detects with given power."""
        from scipy.optimize import brentq

        def excess(slope: float) -> float:
            return 1.0 - self.passes(slope * direction) - power

        if excess(0.0) >= 0.0:
            return 0.0
        high = 1.0 / float(np.max(np.abs(direction) / np.sqrt(np.diag(self.sigma)[: self.n_pre])))
        while excess(high) < 0.0:
            high *= 2.0
        return float(brentq(excess, 0.0, high, xtol=1e-10 * high))

    def _edge(self) -> FloatArray:
        edge: FloatArray = float(normal_quantile(1.0 - self.alpha / 2.0)) * np.sqrt(np.diag(self.sigma)[: self.n_pre])
        return edge
