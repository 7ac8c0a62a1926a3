"""A logistic model of one exposure: conditional odds ratios, standardised risks and attributable fractions, linearised.

With p_i = w_i / sum w and m_a(x) the fitted risk with exposure a, the standardised risk is mu_a = sum p_i m_a(x_i); to
first order its error is sum p_i (m_a(x_i) - mu_a) + G_a'(beta_hat - beta), G_a = sum p_i dm_a/dbeta (Binder 1983;
Sjolander and Vansteelandt 2011). The coefficients' error is the inverse information times the weighted score.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gbveval.core.errors import ConvergenceError
from gbveval.estimators._glm_fit import fit_glm
from gbveval.factors._columns import ModelData
from gbveval.factors._modified_poisson import confounded
from gbveval.numerics.glm import Family
from gbveval.numerics.least_squares import make_basis

FloatArray = NDArray[np.float64]
LOGIT = Family("binomial", "logit")


@dataclass(frozen=True, eq=False, slots=True)
class Estimate:
    """A number and its linearised values by respondent, weights included."""

    value: float
    row_values: FloatArray


@dataclass(frozen=True, eq=False, slots=True)
class LogisticFit:
    """A fitted logistic model of risk.

    Attributes
    ----------
    data : ModelData
        What it was fitted on.
    log_odds : ndarray, shape (exposures,)
        Coefficients of the exposure columns.
    pull : ndarray, shape (patterns, exposures)
        What a unit of weighted residual does to them.
    fitted : ndarray, shape (patterns,)
        Fitted risks.
    dropped : tuple of str
        Covariates that were collinear with the others.
    k : int
        Coefficients, the intercept included.
    """

    data: ModelData
    log_odds: FloatArray
    pull: FloatArray
    fitted: FloatArray
    dropped: tuple[str, ...]
    k: int
    _columns: FloatArray
    _inverse: FloatArray
    _gamma: FloatArray
    _basis_of_exposures: FloatArray

    def odds_ratio(self, exposure: int) -> Estimate:
        """Return a conditional log odds ratio."""
        pull = self.pull[:, exposure]
        return Estimate(float(self.log_odds[exposure]), self.data.spread(-self.fitted * pull, pull))

    def risk(self, exposure: int | None) -> Estimate:
        """Return the standardised risk if everybody were in a category of the factor (None: the reference)."""
        shift = self._basis_of_exposures
        z = self._columns - self.data.exposures @ shift + (0.0 if exposure is None else shift[exposure])
        eta = z @ self._gamma
        weight = self.data.total / self.data.total.sum()
        risk = LOGIT.mean(eta)
        value = float(weight @ risk)
        gradient = z.T @ (weight * LOGIT.slope(eta))
        pull = self._columns @ (self._inverse @ gradient)
        return Estimate(value, self.data.spread((risk - value) / self.data.total.sum() - self.fitted * pull, pull))

    def prevalence(self) -> Estimate:
        """Return the weighted prevalence of the respondents of the model."""
        total = float(self.data.total.sum())
        value = float(self.data.share @ self.data.total) / total
        ones = np.ones(self.data.patterns.count) / total
        return Estimate(value, self.data.spread(-value * ones, ones))

    def attributable_fraction(self) -> Estimate:
        """Return 1 - (standardised risk of the reference) / prevalence."""
        reference, everybody = self.risk(None), self.prevalence()
        ratio = reference.value / everybody.value
        rows = ratio * (everybody.row_values / everybody.value - reference.row_values / reference.value)
        return Estimate(1.0 - ratio, rows)

    def prevented_fraction(self) -> Estimate:
        """Return 1 - prevalence / (standardised risk of the reference)."""
        reference, everybody = self.risk(None), self.prevalence()
        ratio = everybody.value / reference.value
        rows = ratio * (reference.row_values / reference.value - everybody.row_values / everybody.value)
        return Estimate(1.0 - ratio, rows)

    def case_control_fraction(self) -> Estimate:
        """Return the mean over cases of 1 - 1 / (odds ratio of their exposure): Bruzzi and others 1985."""
        values = np.column_stack([self.odds_ratio(i).row_values for i in range(self.log_odds.size)])
        return Estimate(*self.data.cases_without(self.log_odds, values))

    def case_control_part(self, exposure: int) -> tuple[Estimate, float]:
        """Return a category's part of that mean, (share of cases in it) (1 - 1 / OR), and the share."""
        cases = self.data.share * self.data.total
        n_cases = float(cases.sum())
        member = self.data.exposures[:, exposure]
        share, left = float(cases @ member) / n_cases, float(np.exp(-self.log_odds[exposure]))
        pull = self.pull[:, exposure] * share * left
        own = (1.0 - left) * (member - share) / n_cases
        return Estimate(share * (1.0 - left), self.data.spread(-self.fitted * pull, pull + own)), share


def fit_logistic(data: ModelData, factor: str) -> LogisticFit | None:
    """Return the weighted logistic fit, or None where its maximum does not exist (separation).

    Raises
    ------
    IdentificationError
        If a category of the factor is a combination of the covariates.
    ConvergenceError
        If the search finds no solution.
    """
    m = data.exposures.shape[1]
    total = data.total
    design = np.column_stack([data.covariates, data.exposures])
    basis = make_basis(design, weights=total)
    names = data.names
    if any(i >= len(names) for i in basis.dropped):
        raise confounded(factor)
    z = basis.rows(design, slice(None))
    scale = total / total.mean()
    fit = fit_glm(LOGIT, z, data.share, weight=scale)
    if fit.direction is not None:
        return None
    if not fit.converged:
        raise ConvergenceError(
            f"The logistic model of factor {factor!r} found no solution. Merge small categories, or adjust for fewer "
            "columns."
        )
    eta = z @ fit.gamma
    information = (z * (total * LOGIT.slope(eta))[:, None]).T @ z
    inverse = np.asarray(np.linalg.pinv(information, hermitian=True), dtype=np.float64)
    wanted = basis.to_original[-m:]
    # A step from the reference to a category, in the columns of the basis.
    step = np.zeros((m, z.shape[1]))
    for exposure in range(m):
        unit = np.zeros((1, design.shape[1]))
        unit[0, len(names) + exposure] = 1.0
        step[exposure] = (basis.rows(unit, slice(None)) - basis.rows(np.zeros_like(unit), slice(None)))[0]
    return LogisticFit(
        data=data,
        log_odds=wanted @ fit.gamma,
        pull=z @ inverse @ wanted.T,
        fitted=LOGIT.mean(eta),
        dropped=tuple(names[i] for i in basis.dropped),
        k=int(fit.gamma.size),
        _columns=z,
        _inverse=inverse,
        _gamma=fit.gamma,
        _basis_of_exposures=step,
    )
