"""A weighted generalised linear model of survey respondents, with its linearised coefficients."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from gbveval.core.errors import ConvergenceError, IdentificationError
from gbveval.estimators._glm_fit import fit_glm
from gbveval.numerics.glm import Family, whiten
from gbveval.numerics.least_squares import make_basis

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]


@dataclass(frozen=True, eq=False, slots=True)
class Fit:
    """Coefficients of the intercept and the columns that are not collinear.

    Attributes
    ----------
    beta : ndarray, shape (k,)
        Coefficients.
    row_values : ndarray, shape (n, k)
        Linearised values: weighted scores times the inverse information.
    covariance : ndarray, shape (k, k)
        Model-based covariance: inverse information times the dispersion (Pearson's for the gaussian family, else one).
    kept : tuple of int
        Which columns have a coefficient.
    """

    beta: FloatArray
    row_values: FloatArray
    covariance: FloatArray
    kept: tuple[int, ...]


def fit_regression(family: Family, x: FloatArray, y: FloatArray, weights: FloatArray, *, outcome: str) -> Fit:
    """Return the root of the weighted score, sum of w x d (y - mu) / V = 0 (Binder 1983).

    Parameters
    ----------
    family : Family
        Family and link.
    x : ndarray, shape (n, columns)
        Covariates, without a constant.
    y, weights : ndarray, shape (n,)
        Outcomes and positive weights; the scale of the weights changes nothing but `covariance`.
    outcome : str
        Its name, for messages.

    Raises
    ------
    IdentificationError
        If some combination of the columns tells the outcome, so that there is no finite solution.
    ConvergenceError
        If the steps end elsewhere.
    """
    basis = make_basis(x, weights=weights)
    z = basis.rows(x, slice(None))
    fitted = fit_glm(family, z, y, weight=weights)
    if fitted.direction is not None:
        raise IdentificationError(
            f"Some combination of the covariates tells the outcome {outcome!r} without error, so a coefficient is "
            "infinite. Merge categories, or leave such a column out."
        )
    if not fitted.converged:
        raise ConvergenceError(
            f"The model of outcome {outcome!r} found no solution. Merge small categories, or use fewer covariates."
        )
    white = whiten(family, z, y, fitted.gamma, weight=weights)
    inverse = np.linalg.pinv(white.design.T @ white.design, hermitian=True)
    back = basis.to_original
    dispersion = white.dispersion() if family.has_dispersion else 1.0
    scores = white.design * white.residual[:, None]
    kept = tuple(j for j in range(x.shape[1]) if j not in set(basis.dropped))
    covariance = back @ inverse @ back.T * dispersion
    return Fit(back @ fitted.gamma, scores @ inverse @ back.T, covariance, kept)


@dataclass(frozen=True, eq=False, slots=True)
class Refits:
    """The same model under other weights, each fitted once however many coefficients ask.

    Attributes
    ----------
    family : Family
        Family and link.
    x, y : ndarray
        Columns with a coefficient and outcome, of those in the model.
    member : ndarray of bool, shape (n,)
        Who is in the model.
    """

    family: Family
    x: FloatArray
    y: FloatArray
    member: BoolArray
    memory: dict[bytes, FloatArray] = field(default_factory=dict)

    def coefficient(self, weights: FloatArray, place: int) -> float:
        """Return a coefficient; NaN where the weights leave no solution."""
        key = weights.tobytes()
        if key not in self.memory:
            self.memory[key] = self._fit(weights[self.member])
        return float(self.memory[key][place])

    def _fit(self, weights: FloatArray) -> FloatArray:
        used = weights > 0
        nothing = np.full(self.x.shape[1] + 1, np.nan)
        try:
            found = fit_regression(self.family, self.x[used], self.y[used], weights[used], outcome="")
        except (IdentificationError, ConvergenceError):
            return nothing
        return found.beta if len(found.kept) == self.x.shape[1] else nothing
