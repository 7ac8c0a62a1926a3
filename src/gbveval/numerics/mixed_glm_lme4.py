"""The likelihood of generalised linear mixed models as lme4 evaluates it, to reproduce what was published with it.

R's lme4 (Bates et al. 2015, and its source as of version 1.1-31) finds the modes of the random intercepts by penalised
iteratively reweighted least squares and stops when the penalised deviance changes by less than 1e-7 of itself. The
matrix whose determinant enters Laplace's method, and whose diagonal spreads the quadrature nodes, is then that of the
step *before* the last one. Coefficients differ from those of the converged likelihood by about a thousandth of a
standard error, standard errors by up to about one percent.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gbveval.numerics.mixed_glm import MixedGlm, constants
from gbveval.numerics.mixed_glm_likelihood import Cells, cumulant, hermite
from gbveval.numerics.mixed_linear import NoMaximumError
from gbveval.numerics.random_intercepts import make_batches

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.intp]

TOLERANCE = 1e-7
ITERATIONS = 100
# The step of lme4's second differences.
STEP = 1e-4


class _State:
    """Where iteratively reweighted least squares stands: modes and the matrices of the step before."""

    def __init__(self, u: list[FloatArray], matrices: list[FloatArray], eta: FloatArray, beta: FloatArray) -> None:
        self.u, self.matrices, self.eta, self.beta = u, matrices, eta, beta

    @property
    def penalty(self) -> float:
        return float(sum(np.sum(part**2) for part in self.u))

    @property
    def log_det(self) -> float:
        return float(sum(np.sum(np.linalg.slogdet(matrix)[1]) for matrix in self.matrices))


class _Lagged:
    """Deviances of a model as lme4 evaluates them."""

    def __init__(self, cells: Cells, saturated: float, points: int) -> None:
        self.cells, self.saturated, self.points = cells, saturated, points
        self.start = self._first_predictor()

    def _first_predictor(self) -> FloatArray:
        """Return the linear predictor at which R's glm starts."""
        y, size = self.cells.events, self.cells.size
        if self.cells.family == "binomial":
            share = (y + 0.5) / (size + 1.0)
            return np.asarray(np.log(share / (1.0 - share)))
        return np.asarray(np.log((y + 0.1) / size))

    def height(self, eta: FloatArray) -> float:
        """Return the log-likelihood without constants."""
        return float(np.sum(self.cells.events * eta - cumulant(self.cells.family, eta, self.cells.size)[0]))

    def settle(self, theta: FloatArray, beta: FloatArray | None) -> _State:
        """Return the modes for given standard deviations; of the coefficients too, where none are given."""
        state = _State([], [], self.start, np.zeros(0))
        before = np.inf
        for _ in range(ITERATIONS):
            state = self._step(theta, beta, state.eta)
            deviance = 2.0 * (self.saturated - self.height(state.eta)) + state.penalty
            if not np.isfinite(deviance):
                raise NoMaximumError("the steps of lme4's algorithm do not settle")
            if abs((before - deviance) / deviance) < TOLERANCE:
                return state
            before = deviance
        raise NoMaximumError("the steps of lme4's algorithm do not settle")

    def _step(self, theta: FloatArray, beta: FloatArray | None, eta: FloatArray) -> _State:
        """Return the next state: one weighted least squares with weights at `eta`."""
        cells, parts = self.cells, range(theta.size)
        x = cells.x
        _, mean, w, _ = cumulant(cells.family, eta, cells.size)
        response = eta + (cells.events - mean) / w
        offset = np.zeros(eta.size) if beta is None else x @ beta
        response = response - offset
        matrices, sums = [], []
        for batch in cells.batches:
            rows, (_, q) = batch.rows, batch.shape
            pairs = [theta[i] * theta[j] * batch.pair_sums(w[rows], i, j) for i in parts for j in parts]
            matrices.append(np.eye(q) + np.sum(pairs, axis=0))
            wide = np.column_stack([response, x])[rows] * w[rows, None]
            columns = [
                np.sum([theta[j] * batch.level_sums(wide[:, c], j) for j in parts], axis=0)
                for c in range(wide.shape[1])
            ]
            sums.append(np.stack(columns, axis=2))
        if beta is None:
            gram, cross = x.T @ (w[:, None] * x), x.T @ (w * response)
            for matrix, found in zip(matrices, sums, strict=True):
                solved = np.linalg.solve(matrix, found)
                both = found.reshape(-1, found.shape[2]).T @ solved.reshape(-1, found.shape[2])
                gram, cross = gram - both[1:, 1:], cross - both[1:, 0]
            used: Any = np.linalg.solve(gram, cross)
            fixed = x @ used
        else:
            used, fixed = beta, offset
        modes, linear = [], fixed.copy()
        for batch, matrix, found in zip(cells.batches, matrices, sums, strict=True):
            right = found[:, :, 0] - (found[:, :, 1:] @ used if beta is None else 0.0)
            u = np.linalg.solve(matrix, right[:, :, None])[:, :, 0]
            linear[batch.rows] += np.sum([theta[j] * batch.at_rows(u, j) for j in parts], axis=0)
            modes.append(u)
        return _State(modes, matrices, linear, used)

    def joint(self, theta: FloatArray) -> float:
        """Return -2 log L of the first stage, in which coefficients are part of the least squares."""
        state = self.settle(np.abs(theta), None)
        return -2.0 * self.height(state.eta) + state.penalty + state.log_det

    def value(self, psi: FloatArray) -> float:
        """Return -2 log L of coefficients and standard deviations, without constants."""
        k = self.cells.x.shape[1]
        beta, theta = psi[:k], psi[k:]
        state = self.settle(theta, beta)
        if self.points == 1:
            return -2.0 * self.height(state.eta) + state.penalty + state.log_det
        total = 0.0
        nodes, weights = hermite(self.points)
        for batch, u, matrix in zip(self.cells.batches, state.u, state.matrices, strict=True):
            rows, count = batch.rows, batch.shape[0]
            fixed = self.cells.x[rows] @ beta
            spread = matrix[:, 0, 0] ** -0.5
            heights = np.empty((nodes.size, count))
            for number, node in enumerate(nodes):
                at = u[:, 0] + spread * node
                eta = fixed + theta[0] * at[batch.block]
                b = cumulant(self.cells.family, eta, self.cells.size[rows])[0]
                inside = np.bincount(batch.block, weights=self.cells.events[rows] * eta - b, minlength=count)
                heights[number] = inside - 0.5 * at**2 + 0.5 * node**2 + np.log(weights[number])
            top = heights.max(axis=0)
            total += float(np.sum(np.log(spread) + top + np.log(np.sum(np.exp(heights - top), axis=0))))
        return -2.0 * total


def as_lme4(
    fit: MixedGlm, family: str, design: FloatArray, events: FloatArray, size: FloatArray, codes: IntArray, points: int
) -> MixedGlm:
    """Return the fit that lme4 gives: the maximum of its likelihood, and its second differences.

    Parameters
    ----------
    fit : MixedGlm
        The converged fit, from which the search starts. A standard deviation that is zero there stays so.
    family, design, events, size, codes, points
        As for `fit_mixed_glm`.
    """
    from scipy.optimize import minimize, root

    x = np.column_stack([np.ones(events.size), design[:, fit.basis.kept]])
    used = fit.sds > 0
    if not used.any():
        return fit
    cells = Cells(family, x, events, size, make_batches(codes[:, used]))
    constant, saturated = constants(family, events, size)
    model = _Lagged(cells, saturated - constant, points)
    options = {"xatol": 1e-8, "fatol": 1e-8}
    search: Any = minimize
    first = search(model.joint, fit.sds[used], method="Nelder-Mead", options=options)
    model.start = model.settle(np.abs(np.asarray(first.x)), None).eta
    psi = np.concatenate([fit.beta, fit.sds[used]])
    curvature = _second(model, psi)

    def slope(at: FloatArray) -> Any:
        steps = STEP * np.eye(at.size)
        return np.array([(model.value(at + step) - model.value(at - step)) / (2.0 * STEP) for step in steps])

    def curve(_: FloatArray) -> Any:
        return curvature

    solved: Any = root(slope, psi, jac=curve, method="hybr", options={"xtol": 1e-10})
    psi = np.asarray(solved.x, dtype=float)
    spread: Any = 2.0 * np.linalg.inv(_second(model, psi))
    k = x.shape[1]
    sds, errors = fit.sds.copy(), fit.sd_errors.copy()
    sds[used], errors[used] = psi[k:], np.sqrt(np.diag(spread)[k:])
    value = constant - 0.5 * model.value(psi)
    return replace(
        fit,
        beta=psi[:k],
        covariance=spread[:k, :k],
        sds=sds,
        sd_errors=errors,
        log_likelihood=value,
        deviance=2.0 * (saturated - value),
    )


def _second(model: _Lagged, psi: FloatArray) -> FloatArray:
    """Return the second derivatives by central differences with lme4's step."""
    steps = STEP * np.eye(psi.size)
    centre = model.value(psi)
    result = np.empty((psi.size, psi.size))
    for i, a in enumerate(steps):
        result[i, i] = (model.value(psi + a) - 2.0 * centre + model.value(psi - a)) / STEP**2
        for j, b in enumerate(steps[:i]):
            corners = model.value(psi + a + b) - model.value(psi + a - b) - model.value(psi - a + b)
            result[i, j] = result[j, i] = (corners + model.value(psi - a - b)) / (4.0 * STEP**2)
    return result
