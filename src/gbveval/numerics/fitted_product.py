"""Hides how a few nodes are placed where a posterior of several parameters lies, and how far they are off.

Along each parameter the posterior's marginal is found on panels; the Gauss rule of that very marginal is exact for
polynomials up to twice its number of nodes. The product of the rules, weighted by the joint density over the product of
the marginals, integrates what is smooth in the parameters. The marginals need the other parameters integrated out, for
which the rules themselves serve: two rounds from a coarse start. The same with more nodes tells the error.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from gbveval.numerics.hierarchy_quadrature import Panels, adaptive_panels, log_scale_edges
from gbveval.numerics.mixtures import GridDensity

FloatArray = NDArray[np.float64]
LogDensity = Callable[[FloatArray], FloatArray]

_TOLERANCE = 1e-8
_BLOCK = 60_000


@dataclass(frozen=True, slots=True, eq=False)
class Axis:
    """One parameter: a scale on its logarithm, or a parameter between two ends.

    Attributes
    ----------
    marks : ndarray
        Where its density has structure: logs of scales, or the edges of first panels.
    is_scale : bool
        Whether the axis is the log of a scale.
    upper : float
        A hard upper end of a scale's log.
    """

    marks: FloatArray
    is_scale: bool
    upper: float = np.inf

    def start(self) -> tuple[FloatArray, FloatArray]:
        """Return coarse nodes and log weights, before anything is known of the posterior."""
        if self.is_scale:
            nodes = np.linspace(self.marks.min() - 3.0, min(self.marks.max() + 1.0, self.upper - 1e-9), 14)
            return nodes, np.zeros(14)
        return self.marks[:-1] + 0.5 * np.diff(self.marks), np.log(np.diff(self.marks))

    def panels(self, log_marginal: LogDensity) -> Panels:
        """Return resolved panels of a marginal."""
        edges = self.marks
        if self.is_scale:
            edges = log_scale_edges(log_marginal, self.marks, upper=self.upper, moments=2)
        return adaptive_panels(log_marginal, edges, tolerance=_TOLERANCE)

    def rule(self, panels: Panels, count: int) -> tuple[FloatArray, FloatArray]:
        """Return the nodes of the marginal's Gauss rule and their log weights less the log density there."""
        mass = (panels.weights * np.exp(panels.log_values[0] - panels.log_values[0].max())).ravel()
        nodes = panels.nodes.ravel()
        middle = float(nodes[np.searchsorted(np.cumsum(mass), 0.5 * mass.sum())]) if self.is_scale else 0.0
        # Far below its middle, and below every scale of the data, a scale hardly differs from zero: there the stretched
        # axis stops moving. Above, what depends on it does so through its logarithm.
        middle = min(middle, float(self.marks.min()))
        stretched = np.arcsinh(np.exp(nodes - middle)) if self.is_scale else nodes
        at, weight = gauss_rule(stretched, mass / mass.sum(), count)
        if self.is_scale:
            at = middle + np.log(np.sinh(np.maximum(at, 1e-12)))
        density = GridDensity.from_panels(panels, log_axis=False, finite_moments=0).density(at)
        kept = (density > 0.0) & (weight > 0.0)
        return at[kept], np.log(weight[kept]) - np.log(density[kept])


def gauss_rule(points: FloatArray, weights: FloatArray, count: int) -> tuple[FloatArray, FloatArray]:
    """Return the Gauss rule of a discrete measure: few nodes with the same moments, up to twice their number.

    Parameters
    ----------
    points, weights : ndarray, shape (n,)
        The measure; the weights sum to one.
    count : int
        Nodes wanted; fewer come back when the measure has fewer points that weigh anything.

    Returns
    -------
    tuple of ndarray
        Nodes, increasing, and their weights.

    References
    ----------
    Golub and Welsch (1969), Mathematics of Computation 23; Gautschi (2004), Orthogonal Polynomials, for Lanczos's
    method on a discrete measure.
    """
    from scipy.linalg import eigh_tridiagonal

    basis = [np.sqrt(weights)]
    diagonal, beside = [], []
    scale = float(np.abs(points).max()) or 1.0
    for _ in range(count):
        now = basis[-1]
        diagonal.append(float(now @ (points * now)))
        rest = points * now
        # Twice: once loses orthogonality, and with it the weights.
        for _ in range(2):
            for known in basis:
                rest = rest - (known @ rest) * known
        size = float(np.linalg.norm(rest))
        if size < 1e-13 * scale:
            break
        beside.append(size)
        basis.append(rest / size)
    values, vectors = eigh_tridiagonal(np.array(diagonal), np.array(beside[: len(diagonal) - 1]))
    return np.asarray(values, dtype=np.float64), np.asarray(vectors[0] ** 2, dtype=np.float64)


@dataclass(frozen=True, slots=True, eq=False)
class FittedProduct:
    """Nodes of a posterior of several parameters.

    Attributes
    ----------
    nodes : ndarray, shape (nodes, parameters)
        On the axes: logs of scales, other parameters as they are.
    weights : ndarray, shape (nodes,)
        Sum to one.
    log_total : float
        Log of the integral over the axes.
    """

    nodes: FloatArray
    weights: FloatArray
    log_total: float


class ProductRule:
    """Rules for a density of several parameters: as fine as is asked, from marginals that are found once.

    Parameters
    ----------
    log_density : callable
        Maps points (n, parameters) on the axes to log densities (n,).
    axes : tuple of Axis
        The parameters.
    counts : tuple of int
        Nodes along each for the marginals to start from.
    """

    def __init__(self, log_density: LogDensity, axes: tuple[Axis, ...], counts: tuple[int, ...]) -> None:
        self.log_density, self.axes = log_density, axes
        self.rules = [axis.start() for axis in axes]
        self.panels: list[Panels] = []
        for _ in range(2):
            self._find_marginals(counts)

    def _find_marginals(self, counts: tuple[int, ...]) -> None:
        self.panels = []
        for place, axis in enumerate(self.axes):
            others = _product([*self.rules[:place], (np.zeros(1), np.zeros(1)), *self.rules[place + 1 :]])
            found = axis.panels(partial(_marginal, self.log_density, place, *others))
            self.panels.append(found)
            self.rules[place] = axis.rule(found, counts[place])

    def marginals(self, counts: tuple[int, ...]) -> tuple[Panels, ...]:
        """Return the marginals once more, the others integrated by rules of so many nodes."""
        self._rules(counts)
        self._find_marginals(counts)
        return tuple(self.panels)

    def _rules(self, counts: tuple[int, ...]) -> None:
        self.rules = [axis.rule(found, n) for axis, found, n in zip(self.axes, self.panels, counts, strict=True)]

    def fit(self, counts: tuple[int, ...]) -> FittedProduct:
        """Return the product of rules with so many nodes."""
        self._rules(counts)
        nodes, log_weights = _product(self.rules)
        log_values = _blocks(self.log_density, nodes) + log_weights
        shift = float(log_values.max())
        mass = np.exp(log_values - shift)
        kept = mass > 1e-13 * mass.sum()
        total = float(mass[kept].sum())
        return FittedProduct(nodes[kept], mass[kept] / total, shift + float(np.log(total)))


def _product(rules: list[tuple[FloatArray, FloatArray]]) -> tuple[FloatArray, FloatArray]:
    nodes = np.stack(np.meshgrid(*[rule[0] for rule in rules], indexing="ij"), axis=-1).reshape(-1, len(rules))
    weights = sum(np.meshgrid(*[rule[1] for rule in rules], indexing="ij"), start=np.zeros(1))
    return nodes, np.asarray(weights, dtype=float).ravel()


def _marginal(
    log_density: LogDensity, place: int, others: FloatArray, weights: FloatArray, x: FloatArray
) -> FloatArray:
    """Return the log of the integral over the other parameters, whose nodes and log weights are given."""
    points = np.repeat(others[None], len(x), axis=0)
    points[:, :, place] = x[:, None]
    values = _blocks(log_density, points.reshape(-1, others.shape[1])).reshape(len(x), -1) + weights
    top = values.max(axis=1)
    safe = np.where(np.isfinite(top), top, 0.0)
    with np.errstate(divide="ignore"):
        result: FloatArray = np.log(np.exp(values - safe[:, None]).sum(axis=1)) + safe
    return result


def _blocks(log_density: LogDensity, points: FloatArray) -> FloatArray:
    return np.concatenate([log_density(points[i : i + _BLOCK]) for i in range(0, len(points), _BLOCK)])
