"""Effects on the treated from two periods, adjusted for covariates: signed sums of weighted means, linearised exactly.

Every estimator here is a sum over parts of sign x (sum of a q) / (sum of b). Weights a and b may hold the odds of being
treated (coefficients g), values q the fitted values of regressions (coefficients b_m). A unit's influence is

    sign [(a q - b mean) / sum(b)]  +  IF_g' d/dg  +  sum over m of IF_m' d/db_m,

with the derivatives of the sum of all parts; d exp(x'g)/dg = exp(x'g) x, and where a regression is weighted by the odds
its coefficients move with g too. The squares of the influence add up to the variance. For the improved estimator of
panels all derivatives are zero by the equations that define the first steps.

Sant'Anna and Zhao (2020), Journal of Econometrics 219(1), 101-122.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from gbveval.numerics.propensity import Propensity, calibrated_odds, logit_odds

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]
METHODS = ("dr", "dr_improved", "ipw", "ipw_unnormalised", "reg")
NO_VARIATION = "covariates do not vary enough among the comparison units to adjust for them"


@dataclass(frozen=True, eq=False, slots=True)
class AdjustedEffect:
    """Effects on the treated for one or several outcomes.

    Attributes
    ----------
    att : ndarray, shape (m,)
        NaN where undefined.
    influence : ndarray, shape (n, m)
        The sum of its squares is the variance.
    n_trimmed : int
        Controls without weight because they are all but sure to be treated.
    reason : str
        Empty, or why there is no effect.
    """

    att: FloatArray
    influence: FloatArray
    n_trimmed: int = 0
    reason: str = ""


@dataclass(frozen=True, eq=False, slots=True)
class Regressed:
    """A weighted regression on some units.

    Attributes
    ----------
    coefficient : ndarray, shape (k, m)
    residual : ndarray, shape (n, m)
        Outcome less fitted value, of all units.
    weight : ndarray, shape (n,)
        Of the units of the regression, zero for the others.
    inverse : ndarray, shape (k, k)
        Inverse of the weighted cross-products of x.
    weighted_by_odds : bool
        Whether the weights are proportional to the odds, so that the coefficients move with those of the odds.
    """

    coefficient: FloatArray
    residual: FloatArray
    weight: FloatArray
    inverse: FloatArray
    weighted_by_odds: bool = False

    def pull(self, x: FloatArray, derivative: FloatArray) -> FloatArray:
        """Return what a unit's residual counts in a statistic with this derivative in the coefficients, shape (n,)."""
        return np.asarray(self.weight * (x @ (self.inverse @ derivative)))


@dataclass(eq=False, slots=True)
class Parts:
    """A running sum of weighted means with its linearisation.

    The influence is kept in factors, since few matrices (changes less fitted values) serve in all its parts: the sum of
    vector x matrix over `products`, and of the outer products in `levels`.

    Attributes
    ----------
    x : ndarray, shape (n, k)
    total : ndarray, shape (m,)
    by_odds : ndarray, shape (k, m)
        Derivative in the coefficients of the odds.
    products : list of (ndarray of shape (n,), ndarray of shape (n, m))
    levels : list of (ndarray of shape (n, j), ndarray of shape (j, m))
    """

    x: FloatArray
    total: FloatArray
    by_odds: FloatArray
    products: list[tuple[FloatArray, FloatArray]] = field(default_factory=list)
    levels: list[tuple[FloatArray, FloatArray]] = field(default_factory=list)

    @classmethod
    def empty(cls, x: FloatArray, outcomes: int) -> Parts:
        """Return the sum of nothing."""
        return cls(x, np.zeros(outcomes), np.zeros((x.shape[1], outcomes)))

    def add(
        self,
        sign: float,
        a: FloatArray,
        q: FloatArray,
        *,
        b: FloatArray | None = None,
        odds: tuple[bool, bool] = (False, False),
        fits: tuple[tuple[Regressed, float], ...] = (),
    ) -> None:
        """Add sign x (sum of a q) / (sum of b).

        Parameters
        ----------
        sign : float
        a : ndarray, shape (n,)
        q : ndarray, shape (n, m)
        b : ndarray, shape (n,), optional
            `a` by default.
        odds : (bool, bool)
            Whether a, and b, are proportional to the odds.
        fits : tuple of (Regressed, float)
            Regressions whose fitted values are in q, with their coefficient there.
        """
        below = a if b is None else b
        share = sign / float(below.sum())
        mean = a @ q / below.sum()
        self.total += sign * mean
        self._multiply(share * a, q)
        self.levels.append((-share * below[:, None], mean[None, :]))
        if odds[0]:
            self.by_odds += share * self._cross(a, q)
        if odds[1]:
            self.by_odds -= share * np.outer(self.x.T @ below, mean)
        for fit, coefficient in fits:
            pull = fit.pull(self.x, share * coefficient * (self.x.T @ a))
            self._multiply(pull, fit.residual)
            if fit.weighted_by_odds:
                self.by_odds += self._cross(pull, fit.residual)

    def _cross(self, vector: FloatArray, matrix: FloatArray) -> FloatArray:
        return np.asarray((self.x * vector[:, None]).T @ matrix)

    def _multiply(self, vector: FloatArray, matrix: FloatArray) -> None:
        """Add vector x matrix to the influence, one product a matrix."""
        for i, (known, there) in enumerate(self.products):
            if there is matrix:
                self.products[i] = (known + vector, there)
                return
        self.products.append((vector, matrix))

    def finish(self, propensity: Propensity | None = None) -> AdjustedEffect:
        """Return the sum with the influence of the first steps."""
        levels = self.levels
        if propensity is not None:
            levels = [*levels, (propensity.influence, self.by_odds)]
        influence = np.hstack([left for left, _ in levels]) @ np.vstack([right for _, right in levels])
        for vector, matrix in self.products:
            influence += vector[:, None] * matrix
        return AdjustedEffect(self.total, influence, 0 if propensity is None else propensity.n_trimmed)


def regressed(y: FloatArray, x: FloatArray, weight: FloatArray, *, by_odds: bool = False) -> Regressed | None:
    """Return the weighted regression of y on x over units of positive weight; None where x has too low a rank there."""
    heavy = x * weight[:, None]
    gram = heavy.T @ x
    roots = np.linalg.eigvalsh(gram)
    if roots.size and roots[0] <= 1e-11 * roots[-1]:
        return None
    inverse = np.asarray(np.linalg.inv(gram), dtype=np.float64)
    coefficient = inverse @ (heavy.T @ y)
    # A second step on the residuals takes out the rounding of the first.
    coefficient += inverse @ (heavy.T @ (y - x @ coefficient))
    return Regressed(coefficient, y - x @ coefficient, weight, inverse, by_odds)


def adjusted_change(
    change: FloatArray, treated: BoolArray, x: FloatArray, weight: FloatArray, *, method: str
) -> AdjustedEffect:
    """Return the effect on the treated from changes of the same units between two periods.

    Parameters
    ----------
    change : ndarray, shape (n, m)
        Outcome later less outcome earlier, for one or several later periods.
    treated : ndarray of bool, shape (n,)
    x : ndarray, shape (n, k)
        Covariates with an intercept first, centred and scaled.
    weight : ndarray, shape (n,)
        Positive.
    method : str
        "dr" (doubly robust, logistic propensity and least squares), "dr_improved" (calibrated propensity, weighted
        least squares), "ipw" (weights normalised), "ipw_unnormalised" (Abadie 2005), "reg" (outcome regression).

    Notes
    -----
    With w1 = w D, w0 = w (1 - D) odds and r the change less its fitted value among controls,
    att = sum(w1 r)/sum(w1) - sum(w0 r)/sum(w0); "reg" leaves out the second mean, "ipw" the fitted values.
    """
    if method not in METHODS:
        raise ValueError(f"method must be one of {', '.join(METHODS)}; it is {method!r}.")
    d = treated.astype(float)
    propensity = _propensity(method, treated, x, weight)
    if propensity is not None and propensity.reason:
        return _undefined(change, propensity.reason)
    w1, w0 = weight * d, weight * (1.0 - d)
    tilted = w0 if propensity is None else w0 * propensity.odds
    fit = None
    if method in ("dr", "dr_improved", "reg"):
        fit = regressed(change, x, tilted if method == "dr_improved" else w0)
        if fit is None:
            return _undefined(change, NO_VARIATION)
    left = change if fit is None else fit.residual
    fits = () if fit is None else ((fit, -1.0),)
    parts = Parts.empty(x, change.shape[1])
    parts.add(1.0, w1, left, fits=fits)
    if method == "ipw_unnormalised":
        parts.add(-1.0, tilted, left, b=w1, odds=(True, False))
    elif method != "reg":
        parts.add(-1.0, tilted, left, odds=(True, True), fits=fits)
    return parts.finish(propensity)


def _propensity(method: str, treated: BoolArray, x: FloatArray, weight: FloatArray) -> Propensity | None:
    if method == "reg":
        return None
    return (calibrated_odds if method == "dr_improved" else logit_odds)(treated, x, weight)


def _undefined(values: FloatArray, reason: str) -> AdjustedEffect:
    return AdjustedEffect(np.full(values.shape[1], np.nan), np.full(values.shape, np.nan), 0, reason)


def adjusted_cross_sections(
    y: FloatArray,
    treated: BoolArray,
    after: BoolArray,
    x: FloatArray,
    weight: FloatArray,
    *,
    method: str,
    efficient: bool = True,
) -> AdjustedEffect:
    """Return the effect on the treated from two cross-sections of different people.

    Parameters
    ----------
    y : ndarray, shape (n,)
    treated, after : ndarray of bool, shape (n,)
        Group, and period.
    x : ndarray, shape (n, k)
        Covariates with an intercept first, centred and scaled.
    weight : ndarray, shape (n,)
        Positive.
    method : str
        As in `adjusted_change`.
    efficient : bool
        For the doubly robust methods: also regress among the treated, which is locally efficient.

    Notes
    -----
    The composition of both groups must not change between the periods. The locally efficient estimator adds, for each
    period, the mean of the difference of the two groups' fitted values over all treated less that over the treated of
    the period.
    """
    if method not in METHODS:
        raise ValueError(f"method must be one of {', '.join(METHODS)}; it is {method!r}.")
    values = y[:, None]
    propensity = _propensity(method, treated, x, weight)
    if propensity is not None and propensity.reason:
        return _undefined(values, propensity.reason)
    if method == "ipw_unnormalised":
        assert propensity is not None
        return _unnormalised_cross_sections(values, treated, after, x, weight, propensity)
    w1, w0 = weight * treated, weight * ~treated
    tilted = w0 if propensity is None else w0 * propensity.odds
    parts = Parts.empty(x, 1)
    for sign, now in ((1.0, after), (-1.0, ~after)):
        if not _add_period(parts, sign, now, values, (w1, w0, tilted), method, efficient):
            return _undefined(values, NO_VARIATION)
    return parts.finish(propensity)


def _add_period(
    parts: Parts,
    sign: float,
    now: BoolArray,
    y: FloatArray,
    weights: tuple[FloatArray, FloatArray, FloatArray],
    method: str,
    efficient: bool,
) -> bool:
    """Add what one period contributes; return whether its regressions had full rank."""
    w1, w0, tilted = weights
    if method == "ipw":
        parts.add(sign, w1 * now, y)
        parts.add(-sign, tilted * now, y, odds=(True, True))
        return True
    improved = method == "dr_improved"
    fit = regressed(y, parts.x, (tilted if improved else w0) * now, by_odds=improved)
    if fit is None:
        return False
    if method == "reg":
        # The treated of both periods stand for the population of the treated.
        parts.add(sign, w1 * now, y)
        parts.add(-sign, w1, parts.x @ fit.coefficient, fits=((fit, 1.0),))
        return True
    left = fit.residual
    parts.add(sign, w1 * now, left, fits=((fit, -1.0),))
    parts.add(-sign, tilted * now, left, odds=(True, True), fits=((fit, -1.0),))
    if efficient:
        own = regressed(y, parts.x, w1 * now)
        if own is None:
            return False
        gap = parts.x @ (own.coefficient - fit.coefficient)
        both = ((own, 1.0), (fit, -1.0))
        parts.add(sign, w1, gap, fits=both)
        parts.add(-sign, w1 * now, gap, fits=both)
    return True


def _unnormalised_cross_sections(
    y: FloatArray, treated: BoolArray, after: BoolArray, x: FloatArray, weight: FloatArray, propensity: Propensity
) -> AdjustedEffect:
    """Abadie's (2005) estimator: weights divided by the share of the period, which is estimated, and by the treated."""
    share = float(weight[after].sum() / weight.sum())
    w1 = weight * treated
    size = float(w1.sum())
    a = w1 - weight * ~treated * propensity.odds
    shares = np.where(after, 1.0 / share, -1.0 / (1.0 - share))
    parts = Parts.empty(x, 1)
    parts.add(1.0, w1 * shares, y, b=w1)
    parts.add(-1.0, weight * ~treated * propensity.odds * shares, y, b=w1, odds=(True, False))
    found = parts.finish(propensity)
    later, earlier = (float((a * now) @ y[:, 0]) for now in (after, ~after))
    by_share = -(later / share**2 + earlier / (1.0 - share) ** 2) / size
    drift = by_share * weight * (after - share) / weight.sum()
    return AdjustedEffect(found.att, found.influence + drift[:, None], found.n_trimmed)
