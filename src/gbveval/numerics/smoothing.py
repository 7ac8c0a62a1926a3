"""Hides how a function on panels is averaged over a normal of any width, from far narrower than a panel to far wider.

On panels up to four sds wide Gauss's nodes resolve the normal themselves. On wider ones it is a spike between nodes:
there the function is read off its series at nodes of its own, within seven and a half sds of the normal's centre.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from gbveval.numerics.hierarchy_quadrature import ORDER, Panels

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.intp]

_REACH = 7.5
_WIDE = 4.0
# For a normal within fifteen sds Gauss's rule needs some degree 60.
_OWN_NODES, _OWN_WEIGHTS = np.polynomial.legendre.leggauss(38)
# A normal this narrow against the narrowest panel is a point; what is lost is the square of it.
_POINT = 1e-5
# On panels this many times as wide as the normal a resolved function is smooth enough for Hermite's rule.
_SMOOTH = 8.0
_HERMITE_NODES, _HERMITE_WEIGHTS = np.polynomial.hermite_e.hermegauss(16)
_BLOCK = 4000


class Smoother:
    """Averages over normals of functions that are polynomials on each panel.

    Parameters
    ----------
    panels : Panels
        Where the functions are known; their values are not used.
    tails : bool
        Whether functions go on as constants beyond the ends; otherwise they are zero there.
    """

    def __init__(self, panels: Panels, *, tails: bool) -> None:
        self.low, self.high, self.tails = panels.low, panels.high, tails
        self.nodes, self.weights, self.transform = panels.nodes, panels.weights, panels.transform

    def moments(self, points: FloatArray, sd: float, log_values: FloatArray, degree: int = 0) -> FloatArray:
        """Return the averages of f, (x - point) f, ... over x ~ N(point, sd), for functions given by their logs.

        Parameters
        ----------
        points : ndarray, shape (n,)
            Centres.
        sd : float
            Of all of them.
        log_values : ndarray, shape (functions, panels, ORDER)
            Logs of the functions at the panels' nodes, at most about zero.
        degree : int
            Highest power.

        Returns
        -------
        ndarray, shape (degree + 1, functions, n)
        """
        functions = len(log_values)
        if sd < _POINT * float((self.high - self.low).min()):
            return self._as_points(points, sd, log_values, degree)
        result = np.zeros((degree + 1, functions, len(points)))
        direct, window, done = self._smooth(points, sd, log_values, self._touched(points, sd), result)
        values = np.exp(log_values)
        if direct[0].size:
            kernel = self._kernel(points, sd, direct)
            shifted = self.nodes[None] - points[:, None, None]
            for power in range(degree + 1):
                if power:
                    kernel *= shifted
                result[power] += values.reshape(functions, -1) @ kernel.reshape(len(points), -1).T
        for start in range(0, len(window[0]), _BLOCK):
            at, panel = (part[start : start + _BLOCK] for part in window)
            x, weight, basis = self._pieces(points[at], sd, panel)
            f = np.exp(self._series(log_values, panel, basis))
            for power in range(degree + 1):
                part = np.einsum("rq,frq->fr", weight * (x - points[at][:, None]) ** power, f)
                for function in range(functions):
                    result[power, function] += np.bincount(at, part[function], len(points))
        if self.tails:
            self._add_tails(result, points, sd, values, done)
        return result

    def matrix(self, points: FloatArray, sd: float) -> FloatArray:
        """Return M, shape (n, panels x ORDER), with M f the averages of a function with values f at the nodes."""
        direct, window = self._touched(points, sd)
        result = self._kernel(points, sd, direct)
        for start in range(0, len(window[0]), _BLOCK):
            at, panel = (part[start : start + _BLOCK] for part in window)
            _, weight, basis = self._pieces(points[at], sd, panel)
            result[at, panel] = np.einsum("rq,rqk->rk", weight, basis) @ self.transform
        flat: FloatArray = result.reshape(len(points), -1)
        return flat

    def _kernel(self, points: FloatArray, sd: float, pairs: tuple[IntArray, IntArray]) -> FloatArray:
        """Return weights times the normal density at panels' nodes for the pairs, zero for others."""
        scaled = self.weights / (sd * np.sqrt(2.0 * np.pi))
        if len(pairs[0]) > 0.7 * len(points) * len(self.low):
            near = np.unique(pairs[1])
            kernel = np.zeros((len(points), *self.nodes.shape))
            kernel[:, near] = np.exp(-0.5 * ((self.nodes[near] - points[:, None, None]) / sd) ** 2) * scaled[near]
            return kernel
        at, panel = pairs
        kernel = np.zeros((len(points), *self.nodes.shape))
        kernel[at, panel] = scaled[panel] * np.exp(-0.5 * ((self.nodes[panel] - points[at][:, None]) / sd) ** 2)
        return kernel

    def _series(self, log_values: FloatArray, panel: IntArray, basis: FloatArray) -> FloatArray:
        """Return functions at nodes given by their basis (pairs, nodes, ORDER) on panels (pairs,)."""
        found = np.empty((len(log_values), *basis.shape[:2]))
        for place in np.unique(panel):
            at = np.flatnonzero(panel == place)
            own = basis[at].reshape(-1, ORDER) @ (self.transform @ log_values[:, place].T)
            found[:, at] = own.T.reshape(len(log_values), len(at), -1)
        return found

    def _as_points(self, points: FloatArray, sd: float, log_values: FloatArray, degree: int) -> FloatArray:
        inside = np.clip(points, self.low[0], self.high[-1])
        panel = np.clip(np.searchsorted(self.high, inside), 0, len(self.low) - 1)
        basis = self._basis(inside[:, None], panel)
        value = np.exp(self._series(log_values, panel, basis)[..., 0])
        return np.stack([value, 0.0 * value, sd**2 * value][: degree + 1])

    def _smooth(
        self,
        points: FloatArray,
        sd: float,
        log_values: FloatArray,
        pairs: tuple[tuple[IntArray, IntArray], tuple[IntArray, IntArray]],
        result: FloatArray,
    ) -> tuple[tuple[IntArray, IntArray], tuple[IntArray, IntArray], IntArray]:
        """Add what lies at points where every panel in reach is far wider than the normal; return the other pairs."""
        narrow = np.flatnonzero(self.high - self.low <= _SMOOTH * sd)
        near = (self.low[narrow] < points[:, None] + _REACH * sd) & (self.high[narrow] > points[:, None] - _REACH * sd)
        alone = np.flatnonzero(~near.any(axis=1))
        if not alone.size:
            return *pairs, alone
        x = np.clip(points[alone][:, None] + sd * _HERMITE_NODES, self.low[0], self.high[-1]).ravel()
        panel = np.clip(np.searchsorted(self.high, x), 0, len(self.low) - 1)
        f = np.exp(self._series(log_values, panel, self._basis(x[:, None], panel))[..., 0])
        f = f.reshape(len(log_values), len(alone), -1)
        weight = _HERMITE_WEIGHTS / np.sqrt(2.0 * np.pi)
        inside = np.ones(len(points), dtype=bool)
        inside[alone] = False
        for power in range(len(result)):
            result[power][:, alone] += f @ (weight * (sd * _HERMITE_NODES) ** power)
        (a, b), (c, d) = pairs
        return (a[inside[a]], b[inside[a]]), (c[inside[c]], d[inside[c]]), alone

    def _basis(self, x: FloatArray, panel: IntArray) -> FloatArray:
        """Return the Legendre basis at points (pairs, nodes) of panels (pairs,), shape (pairs, nodes, ORDER)."""
        width = self.high[panel] - self.low[panel]
        xi = (2.0 * x - (self.low[panel] + self.high[panel])[:, None]) / width[:, None]
        return np.asarray(np.polynomial.legendre.legvander(xi, ORDER - 1), dtype=np.float64)

    def _touched(self, points: FloatArray, sd: float) -> tuple[tuple[IntArray, IntArray], tuple[IntArray, IntArray]]:
        """Return pairs of point and panel that Gauss's nodes resolve, and those that need nodes of their own."""
        near = (self.low < points[:, None] + _REACH * sd) & (self.high > points[:, None] - _REACH * sd)
        small = (self.high - self.low) <= _WIDE * sd
        direct, window = np.nonzero(near & small), np.nonzero(near & ~small)
        return (direct[0], direct[1]), (window[0], window[1])

    def _pieces(self, points: FloatArray, sd: float, panel: IntArray) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Return nodes within a panel and reach, weights times the normal density, and the Legendre basis there."""
        low = np.maximum(self.low[panel], points - _REACH * sd)
        high = np.minimum(self.high[panel], points + _REACH * sd)
        half = 0.5 * (high - low)[:, None]
        x = 0.5 * (high + low)[:, None] + half * _OWN_NODES
        weight = half * _OWN_WEIGHTS
        distance = (x - points[:, None]) / sd
        weight = weight * np.exp(-0.5 * distance**2) / (sd * np.sqrt(2.0 * np.pi))
        return x, weight, self._basis(x, panel)

    def _add_tails(self, result: FloatArray, points: FloatArray, sd: float, values: FloatArray, done: IntArray) -> None:
        from scipy.special import ndtr

        for end, value, sign in ((self.low[0], values[:, 0, 0], -1.0), (self.high[-1], values[:, -1, -1], 1.0)):
            z = np.clip(sign * (end - points) / sd, -1e4, 1e4)
            beyond, density = ndtr(-z), np.exp(-0.5 * z**2) / np.sqrt(2.0 * np.pi)
            # Hermite's nodes beyond the ends were read at the ends already.
            beyond[done], density[done] = 0.0, 0.0
            parts = [beyond, sign * sd * density, sd**2 * (beyond + z * density)]
            for power in range(len(result)):
                result[power] += value[:, None] * parts[power]
