"""Hides how a function on panels is averaged over a normal of any width, from far narrower than a panel to far wider.

On panels up to four sds wide Gauss's nodes resolve the normal themselves. On wider ones it is a spike between nodes:
there the function is read off its series at nodes of its own, within eight and a half sds of the normal's centre.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from gbveval.numerics.hierarchy_quadrature import ORDER, Panels

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.intp]

_REACH = 8.5
_WIDE = 4.0
# A window of seventeen sds in pieces of less than three and a half.
_PIECES = 5
_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(ORDER)
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
        result = np.zeros((degree + 1, functions, len(points)))
        direct, window = self._touched(points, sd)
        values = np.exp(log_values)
        if direct[0].size:
            kernel = np.zeros((len(points), *self.nodes.shape))
            at, panel = direct
            distance = (self.nodes[panel] - points[at][:, None]) / sd
            kernel[at, panel] = self.weights[panel] * np.exp(-0.5 * distance**2) / (sd * np.sqrt(2.0 * np.pi))
            shifted = self.nodes[None] - points[:, None, None]
            for power in range(degree + 1):
                if power:
                    kernel *= shifted
                result[power] += values.reshape(functions, -1) @ kernel.reshape(len(points), -1).T
        for start in range(0, len(window[0]), _BLOCK):
            at, panel = (part[start : start + _BLOCK] for part in window)
            x, weight, basis = self._pieces(points[at], sd, panel)
            series = np.einsum("kc,fpc->pkf", self.transform, log_values[:, np.unique(panel)])
            place = np.searchsorted(np.unique(panel), panel)
            f = np.exp(basis @ series[place])
            for power in range(degree + 1):
                part = np.einsum("rq,rqf->fr", weight * (x - points[at][:, None]) ** power, f)
                for function in range(functions):
                    result[power, function] += np.bincount(at, part[function], len(points))
        if self.tails:
            self._add_tails(result, points, sd, values)
        return result

    def matrix(self, points: FloatArray, sd: float) -> FloatArray:
        """Return M, shape (n, panels x ORDER), with M f the averages of a function with values f at the nodes."""
        result = np.zeros((len(points), *self.nodes.shape))
        (at, panel), window = self._touched(points, sd)
        distance = (self.nodes[panel] - points[at][:, None]) / sd
        result[at, panel] = self.weights[panel] * np.exp(-0.5 * distance**2) / (sd * np.sqrt(2.0 * np.pi))
        for start in range(0, len(window[0]), _BLOCK):
            at, panel = (part[start : start + _BLOCK] for part in window)
            _, weight, basis = self._pieces(points[at], sd, panel)
            result[at, panel] = np.einsum("rq,rqk->rk", weight, basis) @ self.transform
        flat: FloatArray = result.reshape(len(points), -1)
        return flat

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
        step = (high - low) / _PIECES
        middle = low[:, None] + step[:, None] * (np.arange(_PIECES) + 0.5)
        x = (middle[..., None] + 0.5 * step[:, None, None] * _NODES).reshape(len(points), -1)
        weight = np.tile(_WEIGHTS, _PIECES) * (0.5 * step)[:, None]
        distance = (x - points[:, None]) / sd
        weight = weight * np.exp(-0.5 * distance**2) / (sd * np.sqrt(2.0 * np.pi))
        width = self.high[panel] - self.low[panel]
        xi = (2.0 * x - (self.low[panel] + self.high[panel])[:, None]) / width[:, None]
        return x, weight, np.polynomial.legendre.legvander(xi, ORDER - 1)

    def _add_tails(self, result: FloatArray, points: FloatArray, sd: float, values: FloatArray) -> None:
        from scipy.special import ndtr

        for end, value, sign in ((self.low[0], values[:, 0, 0], -1.0), (self.high[-1], values[:, -1, -1], 1.0)):
            z = sign * (end - points) / sd
            beyond, density = ndtr(-z), np.exp(-0.5 * z**2) / np.sqrt(2.0 * np.pi)
            parts = [beyond, sign * sd * density, sd**2 * (beyond + z * density)]
            for power in range(len(result)):
                result[power] += value[:, None] * parts[power]
