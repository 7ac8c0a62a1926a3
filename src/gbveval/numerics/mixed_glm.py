"""Generalised linear mixed models with random intercepts, by maximum likelihood on counts by cell."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gbveval.numerics.groups import group_sums
from gbveval.numerics.least_squares import Basis, make_basis
from gbveval.numerics.mixed_glm_likelihood import Cells, log_likelihood
from gbveval.numerics.mixed_linear import NoMaximumError
from gbveval.numerics.random_intercepts import make_batches

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.intp]

# A standard deviation below this adds less to the likelihood than rounding does; it is set to zero and said to be.
SMALLEST_SD = 1e-4
# On a log-odds or log scale, levels this far apart have all of the events or none.
LARGEST_SD = 25.0
START_SD = 0.5


@dataclass(frozen=True, eq=False, slots=True)
class MixedGlm:
    """A fit by maximum likelihood.

    Attributes
    ----------
    basis : Basis
        The well-conditioned columns.
    beta : ndarray, shape (k,)
        Coefficients on the intercept and the kept columns.
    covariance : ndarray, shape (k, k)
        Block of the inverse observed information of coefficients and standard deviations together.
    sds : ndarray, shape (components,)
        Standard deviations of the random intercepts.
    sd_errors : ndarray, shape (components,)
        Their standard errors; NaN at zero.
    log_likelihood : float
        Constants included.
    deviance : float
        Twice the distance of the log-likelihood from that of a model with a mean of its own for each row.
    cells : int
        Distinct combinations of columns and levels that the rows were summed to.
    """

    basis: Basis
    beta: FloatArray
    covariance: FloatArray
    sds: FloatArray
    sd_errors: FloatArray
    log_likelihood: float
    deviance: float
    cells: int


def collapse(
    family: str, x: FloatArray, events: FloatArray, size: FloatArray, codes: IntArray
) -> tuple[Cells, IntArray]:
    """Return the counts by cell, and the first row of each."""
    key = np.column_stack([x, codes.astype(float)])
    _, first, inverse = np.unique(key, axis=0, return_index=True, return_inverse=True)
    inverse = inverse.ravel()
    total = first.size
    cells = Cells(
        family,
        x[first],
        group_sums(inverse, events, total),
        group_sums(inverse, size, total),
        make_batches(codes[first]),
    )
    return cells, first


def constants(family: str, events: FloatArray, size: FloatArray) -> tuple[float, float]:
    """Return what the log-likelihood leaves out, and the log-likelihood with a mean of its own for each row."""
    from scipy.special import gammaln, xlogy

    if family == "binomial":
        left = gammaln(size + 1.0) - gammaln(events + 1.0) - gammaln(size - events + 1.0)
        own = xlogy(events, events / size) + xlogy(size - events, 1.0 - events / size)
    else:
        left = xlogy(events, size) - gammaln(events + 1.0)
        own = xlogy(events, events / size) - events
    constant = float(np.sum(left))
    return constant, float(np.sum(own)) + constant


def fit_mixed_glm(
    family: str, design: FloatArray, events: FloatArray, size: FloatArray, codes: IntArray, *, points: int = 1
) -> MixedGlm:
    """Return the fit by maximum likelihood; Laplace's method or adaptive quadrature.

    Parameters
    ----------
    family : str
        "binomial" (logit) or "poisson" (log).
    design : ndarray, shape (n, columns)
        Without an intercept column.
    events, size : ndarray, shape (n,)
        Events, and trials or exposure.
    codes : ndarray of int, shape (n, components)
        Level of each random intercept in each row.
    points : int
        Quadrature points for a single random intercept; one is Laplace's method.

    Raises
    ------
    NoMaximumError
        If the likelihood has no maximum at finite values.
    """
    basis = make_basis(design)
    x = basis.rows(design, slice(None))
    cells, _ = collapse(family, x, events, size, codes)
    search = _Search(cells, points)
    psi = search.maximum()
    hessian = search.hessian(psi)
    k = x.shape[1]
    sds = np.abs(psi[k:])
    used = np.concatenate([np.ones(k, dtype=bool), sds > 0])
    inner = hessian[np.ix_(used, used)]
    if not np.all(np.linalg.eigvalsh(inner) > 0):
        raise NoMaximumError("the likelihood is flat or curved upwards at the best values found")
    inverse = np.linalg.inv(inner)
    errors = np.full(sds.size, np.nan)
    errors[sds > 0] = np.sqrt(np.diag(inverse)[k:])
    to = basis.to_original
    constant, saturated = constants(family, events, size)
    value = search.value(psi) + constant
    return MixedGlm(
        basis=basis,
        beta=to @ psi[:k],
        covariance=to @ inverse[:k, :k] @ to.T,
        sds=sds,
        sd_errors=errors,
        log_likelihood=value,
        deviance=2.0 * (saturated - value),
        cells=int(cells.events.size),
    )


def profile_sd(cells: Cells, points: int, drop: float) -> tuple[float, float, float]:
    """Return the standard deviation of one random intercept, and where its profile likelihood has fallen by `drop`.

    Parameters
    ----------
    cells : Cells
    points : int
        Quadrature points.
    drop : float
        How far the log-likelihood may fall: half a chi-square quantile with one degree of freedom.

    Raises
    ------
    NoMaximumError
        If the likelihood has no maximum, or does not fall that far before the upper bound.
    """
    from scipy.optimize import brentq

    search = _Search(cells, points)
    psi = search.maximum()
    best, start, sd = search.both(psi)[0], psi[: search.k], float(psi[search.k])

    def fallen(at: float) -> float:
        return search.best_at(np.array([at]), start)[0] - best - drop

    low = 0.0 if fallen(0.0) <= 0 else float(brentq(fallen, 0.0, sd, xtol=1e-10))
    top = max(2.0 * sd, 0.5)
    while fallen(top) < 0:
        top *= 1.5
        if top > LARGEST_SD:
            raise NoMaximumError("the likelihood hardly falls with a larger standard deviation")
    return sd, low, float(brentq(fallen, sd, top, xtol=1e-10))


class _Search:
    """Minus the log-likelihood as a function of (coefficients on the basis, standard deviations)."""

    def __init__(self, cells: Cells, points: int) -> None:
        self.cells = cells
        self.points = points
        self.k = cells.x.shape[1]
        self.modes = [np.zeros(batch.shape) for batch in cells.batches]

    def both(self, psi: FloatArray) -> tuple[float, FloatArray]:
        value, slopes = log_likelihood(self.cells, psi[: self.k], psi[self.k :], self.modes, self.points)
        return -value, -slopes

    def value(self, psi: FloatArray) -> float:
        return -self.both(psi)[0]

    def maximum(self) -> FloatArray:
        """Return the maximum: BFGS, then the root of the slopes; a standard deviation at the boundary is zero."""
        from scipy.optimize import minimize, root

        parts = self.cells.components
        zero = np.zeros(parts)
        first = np.zeros(self.k)
        share = (self.cells.events.sum() + 0.5) / (self.cells.size.sum() + 1.0)
        first[0] = np.log(share) if self.cells.family == "poisson" else np.log(share / (1.0 - share))

        def plain(beta: FloatArray) -> tuple[float, FloatArray]:
            value, slopes = self.both(np.concatenate([beta, zero]))
            return value, slopes[: self.k]

        start: Any = minimize(plain, first, jac=True, method="BFGS")
        psi = np.concatenate([start.x, np.full(parts, START_SD)])
        psi = np.asarray(minimize(self.both, psi, jac=True, method="BFGS").x, dtype=float)
        for _ in range(parts + 1):
            psi[self.k :] = np.abs(psi[self.k :])
            if np.any(psi[self.k :] > LARGEST_SD):
                raise NoMaximumError("a standard deviation grows without bound")
            psi[self.k :][psi[self.k :] < SMALLEST_SD] = 0.0
            free = np.concatenate([np.ones(self.k, dtype=bool), psi[self.k :] > 0])

            def slope(part: FloatArray, free: NDArray[np.bool_] = free) -> Any:
                at = np.zeros(free.size)
                at[free] = part
                return self.both(at)[1][free]

            here = self.hessian(psi)[np.ix_(free, free)]

            def curve(_: FloatArray, here: FloatArray = here) -> Any:
                return here

            solved: Any = root(slope, psi[free], jac=curve, method="hybr", options={"xtol": 1e-13})
            moved = psi.copy()
            moved[free] = solved.x
            far = float(np.max(np.abs(moved - psi)))
            if not np.isfinite(far) or far > 1.0:
                raise NoMaximumError("the search does not settle")
            psi = moved
            if np.all(np.abs(psi[self.k :][free[self.k :]]) >= SMALLEST_SD):
                break
        psi[self.k :] = np.abs(psi[self.k :])
        return psi

    def best_at(self, sds: FloatArray, start: FloatArray) -> tuple[float, FloatArray]:
        """Return minus the log-likelihood, and the coefficients, at its best for given standard deviations."""
        from scipy.optimize import minimize

        def part(beta: FloatArray) -> tuple[float, FloatArray]:
            value, slopes = self.both(np.concatenate([beta, sds]))
            return value, slopes[: self.k]

        found: Any = minimize(part, start, jac=True, method="BFGS")
        return float(found.fun), np.asarray(found.x, dtype=float)

    def hessian(self, psi: FloatArray) -> FloatArray:
        """Return the second derivatives: fourth-order central differences of the analytic slopes."""
        size = psi.size
        result = np.empty((size, size))
        for j in range(size):
            step = np.zeros(size)
            step[j] = 2e-3
            near = self.both(psi + step)[1] - self.both(psi - step)[1]
            far = self.both(psi + 2.0 * step)[1] - self.both(psi - 2.0 * step)[1]
            result[:, j] = (8.0 * near - far) / (12.0 * step[j])
        return (result + result.T) / 2.0
