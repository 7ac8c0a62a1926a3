"""Adaptive panels of Gauss-Legendre nodes for integrands given by their logarithm, several at a time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]

ORDER = 16
_TOLERANCE = 1e-10
_MAX_ROUNDS = 40
_MAX_PANELS = 2000
# e^-42 is 6e-19: what is cut off is below the rounding of what is kept.
_CUT = 42.0

_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(ORDER)
_VANDER = np.polynomial.legendre.legvander(_NODES, ORDER - 1)
# Discrete Legendre transform: exact for polynomials of degree below ORDER.
_TO_COEFFICIENTS = (np.arange(ORDER) + 0.5)[:, None] * (_VANDER * _WEIGHTS[:, None]).T


@dataclass(frozen=True, slots=True)
class Panels:
    """Panels of nodes on a line with the log of one or several integrands.

    Attributes
    ----------
    low, high : ndarray, shape (panels,)
        Ends of the panels, in increasing order.
    log_values : ndarray, shape (targets, panels, ORDER)
        Log integrands at the nodes.
    """

    low: FloatArray
    high: FloatArray
    log_values: FloatArray

    @property
    def nodes(self) -> FloatArray:
        """Nodes, shape (panels, ORDER)."""
        return panel_nodes(self.low, self.high)

    @property
    def weights(self) -> FloatArray:
        """Quadrature weights, shape (panels, ORDER)."""
        return 0.5 * (self.high - self.low)[:, None] * _WEIGHTS

    @property
    def transform(self) -> FloatArray:
        """Matrix (ORDER, ORDER) from values at a panel's nodes to Legendre coefficients."""
        return _TO_COEFFICIENTS

    def coefficients(self, target: int = 0) -> tuple[FloatArray, float]:
        """Return Legendre coefficients (panels, ORDER) of exp(log integrand - shift), and the shift."""
        values = self.log_values[target]
        shift = float(values.max())
        return np.exp(values - shift) @ _TO_COEFFICIENTS.T, shift


def panel_nodes(low: FloatArray, high: FloatArray) -> FloatArray:
    """Return Gauss-Legendre nodes of each panel, shape (panels, ORDER)."""
    nodes: FloatArray = 0.5 * (high + low)[:, None] + 0.5 * (high - low)[:, None] * _NODES
    return nodes


def adaptive_panels(
    log_integrand: Callable[[FloatArray], FloatArray],
    edges: FloatArray,
    *,
    tolerance: float = _TOLERANCE,
    unresolved: Callable[[FloatArray, FloatArray], BoolArray] | None = None,
) -> Panels:
    """Split panels until every integrand is a polynomial on each to within `tolerance` of its integral.

    Parameters
    ----------
    log_integrand : callable
        Maps points (n,) to log integrands (targets, n) or (n,); minus infinity is allowed.
    edges : ndarray, shape (panels + 1,)
        Increasing ends of the first panels.
    tolerance : float
        Size allowed for the last Legendre coefficients, relative to the integral. The quadrature's error is about its
        square, because Gauss's rule is exact to twice the degree.
    unresolved : callable, optional
        Maps nodes (panels, ORDER) and the largest share of an integral in each panel (panels,) to panels that must be
        split for a reason of the caller's.

    Returns
    -------
    Panels
        Panels in increasing order.

    Raises
    ------
    ValueError
        If no integrand is finite anywhere on the first nodes.
    """
    low, high = edges[:-1].astype(float), edges[1:].astype(float)
    values = _evaluate(log_integrand, low, high)
    if not np.isfinite(values).any():
        raise ValueError("The integrand is zero or undefined at every node: the data contradict the prior.")
    for _ in range(_MAX_ROUNDS):
        split = _to_split(values, low, high, tolerance)
        if unresolved is not None:
            split |= unresolved(panel_nodes(low, high), _shares(values, low, high))
        # A panel at the resolution of the floating point numbers cannot be split any further.
        split &= (high - low) > 1e-13 * np.maximum(np.abs(low), np.abs(high))
        if not split.any() or len(low) > _MAX_PANELS:
            break
        middle = 0.5 * (low[split] + high[split])
        new_low = np.concatenate([low[split], middle])
        new_high = np.concatenate([middle, high[split]])
        values = np.concatenate([values[:, ~split], _evaluate(log_integrand, new_low, new_high)], axis=1)
        low, high = np.concatenate([low[~split], new_low]), np.concatenate([high[~split], new_high])
    order = np.argsort(low)
    return Panels(low=low[order], high=high[order], log_values=values[:, order])


def _evaluate(log_integrand: Callable[[FloatArray], FloatArray], low: FloatArray, high: FloatArray) -> FloatArray:
    values = np.atleast_2d(log_integrand(panel_nodes(low, high).ravel()))
    return values.reshape(values.shape[0], len(low), ORDER)


def _scaled(values: FloatArray) -> FloatArray:
    shift = values.max(axis=(1, 2), keepdims=True)
    scaled: FloatArray = np.exp(values - np.where(np.isfinite(shift), shift, 0.0))
    return scaled


def _masses(scaled: FloatArray, low: FloatArray, high: FloatArray) -> FloatArray:
    masses: FloatArray = (scaled @ _WEIGHTS) * (0.5 * (high - low))
    return masses


def _shares(values: FloatArray, low: FloatArray, high: FloatArray) -> FloatArray:
    masses = _masses(_scaled(values), low, high)
    total = masses.sum(axis=1, keepdims=True)
    shares: FloatArray = (masses / np.where(total > 0.0, total, 1.0)).max(axis=0)
    return shares


def _to_split(values: FloatArray, low: FloatArray, high: FloatArray, tolerance: float) -> BoolArray:
    scaled = _scaled(values)
    total = _masses(scaled, low, high).sum(axis=1, keepdims=True)
    last = np.abs(scaled @ _TO_COEFFICIENTS[-2:].T).sum(axis=2) * (high - low)
    # A log integrand of a million is rounded at 1e-10: splitting would chase that noise for ever.
    size = np.abs(values.max(axis=(1, 2)))[:, None]
    attainable = np.maximum(tolerance, 64.0 * np.finfo(float).eps * np.where(np.isfinite(size), size, 0.0))
    flags: BoolArray = (last > attainable * total).any(axis=0)
    return flags


def log_scale_edges(
    log_integrand: Callable[[FloatArray], FloatArray],
    landmarks: FloatArray,
    *,
    upper: float,
    moments: int,
) -> FloatArray:
    """Return first panels for an integrand over the log of a scale that decays at both ends.

    Parameters
    ----------
    log_integrand : callable
        Log integrand with respect to the logarithm t, points (n,) to (n,) or (targets, n).
    landmarks : ndarray
        Points of t between which the integrand has its structure.
    upper : float
        A hard upper end of t, or infinity.
    moments : int
        The highest power of the scale whose expectation must converge on the panels (0, 1 or 2).

    Returns
    -------
    ndarray
        Increasing edges. Outside them the integrand, times the scale to that power, is below e^-42 of its maximum.
    """
    marks = landmarks[np.isfinite(landmarks)]
    first, last = float(marks.min()), float(marks.max())
    below = first - 1.25 ** np.arange(31) * 0.5
    above = last + 1.25 ** np.arange(28) * 0.5
    between = np.linspace(first, last, int(np.ceil((last - first) / 0.5)) + 1)
    scan = np.unique(np.concatenate([below, marks, between, above]))
    if np.isfinite(upper):
        scan = np.append(scan[scan < upper], upper)
    log_values = np.atleast_2d(log_integrand(scan))
    log_values = log_values - log_values.max(axis=1, keepdims=True)
    mode = scan[np.argmax(log_values[0])]
    weighted = (log_values + moments * np.maximum(scan - mode, 0.0)).max(axis=0)
    kept = np.flatnonzero(weighted > weighted.max() - _CUT)
    left = scan[max(kept[0] - 1, 0)]
    right = scan[min(kept[-1] + 1, len(scan) - 1)]
    return _edges_between(left, right, first=first, marks=marks)


def _edges_between(left: float, right: float, *, first: float, marks: FloatArray) -> FloatArray:
    # Below the first landmark the integrand is a plain exponential that fades: panels may widen. Above it two is what a
    # scale mixture of normals can bear with ORDER nodes.
    start = min(max(first, left), right)
    wide = start - np.array([30.0, 14.0, 6.0, 2.0])
    count = max(int(np.ceil((right - start) / 2.0)), 1)
    inner = np.concatenate([wide, np.linspace(start, right, count + 1)[:-1], marks])
    inner = np.unique(inner[(inner > left) & (inner < right)])
    # Landmarks that nearly coincide would make slivers.
    keep = np.concatenate([[True], np.diff(inner) > 0.02]) if inner.size else np.empty(0, bool)
    return np.concatenate([[left], inner[keep], [right]])
