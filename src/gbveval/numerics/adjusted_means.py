"""Lin's regression-adjusted difference with its HC2 variance, for many allocations at once.

With every covariate interacted with the arm, the effect is the difference between the intercepts of two regressions,
one an arm, on covariates centred over all units (Lin 2013). With Z the members of an arm (0 or 1), G = X'ZX and x_i
the row of a unit, its influence on the intercept is c_i = (G^-1 x_i)_1 and its leverage h_i = x_i'G^-1 x_i, so for
columns u and v with residuals e the HC2 covariance is sum_i Z_i c_i^2 e_ui e_vi/(1 - h_i). G, c and h of all
allocations are matrix products with the rows x_i and their outer products.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gbveval.numerics.allocations import Codes
from gbveval.numerics.least_squares import make_basis
from gbveval.numerics.randomisation import BLOCK, Parts, join_parts

FloatArray = NDArray[np.float64]

# A determinant of the scaled Gram matrix below this is a regression without a solution in that allocation.
SINGULAR = 1e-9


@dataclass(frozen=True, eq=False, slots=True)
class AdjustedMeans:
    """Lin's adjusted difference; made by `adjusted_means`.

    Attributes
    ----------
    design : ndarray, shape (units, k)
        An intercept, and covariates centred and scaled.
    outer : ndarray, shape (units, k * k)
        Outer products of its rows.
    columns : ndarray, shape (units, 2)
        Outcome (centred) and treatment received.
    """

    design: FloatArray
    outer: FloatArray
    columns: FloatArray

    def parts(self, codes: Codes, arm: int) -> Parts:
        """Return the parts of many allocations."""
        rows = max(1, BLOCK // self.design.shape[0])
        return join_parts([self._some(codes[i : i + rows], arm) for i in range(0, codes.shape[0], rows)])

    def _some(self, codes: Codes, arm: int) -> Parts:
        found = np.zeros((5, codes.shape[0]))
        for label, sign in ((arm, 1.0), (0, -1.0)):
            member = (codes == label).astype(np.float64)
            inverse, solvable = self._inverse(member)
            beta = inverse @ self._cross(member)
            found[:2] += sign * beta[:, 0, :].T
            weight = member * (inverse[:, 0, :] @ self.design.T) ** 2
            free = 1.0 - inverse.reshape(codes.shape[0], -1) @ self.outer.T
            # A unit that is fitted exactly leaves no residual to weigh.
            weight = np.where(free > 1e-9, weight / np.where(free > 1e-9, free, 1.0), 0.0)
            e_y, e_s = (self.columns[:, j] - beta[:, :, j] @ self.design.T for j in (0, 1))
            for place, (u, v) in enumerate(((e_y, e_y), (e_y, e_s), (e_s, e_s)), start=2):
                found[place] += np.einsum("bi,bi,bi->b", weight, u, v)
            found[:, ~solvable] = np.nan
        return Parts(*found)

    def _cross(self, member: FloatArray) -> FloatArray:
        """Return X'ZY for every allocation, shape (allocations, k, 2)."""
        return np.stack([member @ (self.design * self.columns[:, j : j + 1]) for j in (0, 1)], axis=2)

    def _inverse(self, member: FloatArray) -> tuple[FloatArray, NDArray[np.bool_]]:
        """Return (X'ZX)^-1 for every allocation, and whether it exists."""
        k = self.design.shape[1]
        gram = (member @ self.outer).reshape(-1, k, k)
        size = np.maximum(member.sum(axis=1), 1.0)
        solvable = np.asarray((size > k) & (np.linalg.det(gram / size[:, None, None]) > SINGULAR), dtype=bool)
        gram[~solvable] = np.eye(k)
        return np.asarray(np.linalg.inv(gram), dtype=np.float64), solvable


def adjusted_means(y: FloatArray, received: FloatArray, covariates: FloatArray) -> AdjustedMeans:
    """Prepare Lin's adjusted differences; collinear covariates are left out.

    Parameters
    ----------
    y, received : ndarray, shape (units,)
        Outcome and treatment received (0 or 1).
    covariates : ndarray, shape (units, columns)
        Complete.
    """
    design = make_basis(covariates).rows(covariates, slice(None))
    outer = (design[:, :, None] * design[:, None, :]).reshape(design.shape[0], -1)
    return AdjustedMeans(design, outer, np.column_stack([y - y.mean(), received]))
