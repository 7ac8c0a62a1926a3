"""Hides how effects of sites are drawn together: a node of what they share, then each effect given it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gbveval.numerics.hierarchy_quadrature import Panels
from gbveval.numerics.site_effects_given import read_off

FloatArray = NDArray[np.float64]

_GRID = np.linspace(-1.0, 1.0, 65)
_BLOCK = 2000


@dataclass(frozen=True, slots=True, eq=False)
class SiteDraws:
    """What joint draws need: weighted nodes of what the sites share, and what each site's data say.

    Attributes
    ----------
    point : ndarray of int, shape (nodes,)
        Which point of reporting.
    mu, tau, weight : ndarray, shape (nodes,)
        Average, spread, probability.
    low, high : ndarray, shape (panels,)
        Panels of effects.
    log_values : ndarray, shape (points, sites, panels, order)
        Log likelihoods at their nodes.
    columns : ndarray, shape (points, columns)
        Values of what is not known of reporting.
    df : float or None
        Degrees of freedom of Student-t effects.
    """

    point: NDArray[np.intp]
    mu: FloatArray
    tau: FloatArray
    weight: FloatArray
    low: FloatArray
    high: FloatArray
    log_values: FloatArray
    columns: FloatArray
    df: float | None

    def sample(self, n: int, rng: np.random.Generator) -> FloatArray:
        """Return draws, shape (n, quantities): mu, the sites, a new site, tau, the columns of reporting."""
        node = rng.choice(len(self.weight), size=n, p=self.weight / self.weight.sum())
        mu, tau, point = self.mu[node], self.tau[node], self.point[node]
        new = mu + tau * (rng.standard_normal(n) if self.df is None else rng.standard_t(self.df, n))
        sites = [self._effects(site, mu, tau, point, rng.random(n)) for site in range(self.log_values.shape[1])]
        return np.column_stack([mu, *sites, new, tau, self.columns[point]])

    def _effects(
        self, site: int, mu: FloatArray, tau: FloatArray, point: NDArray[np.intp], u: FloatArray
    ) -> FloatArray:
        """Return one effect a draw by inversion, on grids that close in on where it lies."""
        result = np.empty(len(mu))
        reach = 9.0 if self.df is None else 60.0
        for start in range(0, len(mu), _BLOCK):
            at = slice(start, start + _BLOCK)
            middle, half = mu[at].copy(), reach * tau[at]
            for _ in range(3):
                grid = middle[:, None] + half[:, None] * _GRID
                log_density = self._log_density(site, grid, mu[at], tau[at], point[at])
                live = log_density > log_density.max(axis=1, keepdims=True) - 30.0
                first = np.maximum(live.argmax(axis=1) - 1, 0)
                last = np.minimum(len(_GRID) - live[:, ::-1].argmax(axis=1), len(_GRID) - 1)
                rows = np.arange(len(grid))
                middle = 0.5 * (grid[rows, first] + grid[rows, last])
                half = 0.5 * (grid[rows, last] - grid[rows, first])
            grid = middle[:, None] + half[:, None] * _GRID
            log_density = self._log_density(site, grid, mu[at], tau[at], point[at])
            result[at] = _inverted(grid, np.exp(log_density - log_density.max(axis=1, keepdims=True)), u[at])
        return result

    def _log_density(
        self, site: int, grid: FloatArray, mu: FloatArray, tau: FloatArray, point: NDArray[np.intp]
    ) -> FloatArray:
        z = (grid - mu[:, None]) / tau[:, None]
        prior = -0.5 * z**2 if self.df is None else -0.5 * (self.df + 1.0) * np.log1p(z**2 / self.df)
        panels = Panels(self.low, self.high, np.empty((0, 0, 0)))
        own = np.empty_like(grid)
        for place in np.unique(point):
            at = point == place
            own[at] = read_off(panels, self.log_values[place, site][None], grid[at].ravel())[0].reshape(-1, len(_GRID))
        return np.asarray(prior + own, dtype=np.float64)


def _inverted(grid: FloatArray, density: FloatArray, u: FloatArray) -> FloatArray:
    """Return where the piecewise linear density has mass u below, row by row."""
    rows = np.arange(len(grid))
    step = np.diff(grid, axis=1)
    mass = 0.5 * step * (density[:, 1:] + density[:, :-1])
    below = np.concatenate([np.zeros((len(grid), 1)), np.cumsum(mass, axis=1)], axis=1)
    wanted = u * below[:, -1]
    cell = np.clip((below < wanted[:, None]).sum(axis=1) - 1, 0, mass.shape[1] - 1)
    a, b, width = density[rows, cell], density[rows, cell + 1], step[rows, cell]
    rest = (wanted - below[rows, cell]) / np.maximum(width, np.finfo(float).tiny)
    # Mass a s + (b - a) s^2 / 2 = rest, in the form that does not divide by b - a.
    share = 2.0 * rest / (a + np.sqrt(np.maximum(a * a + 2.0 * (b - a) * rest, 0.0)) + np.finfo(float).tiny)
    return np.asarray(grid[rows, cell] + np.clip(share, 0.0, 1.0) * width, dtype=np.float64)
