"""A posterior known exactly on a grid: mixtures of normals that share their nodes, and what was integrated."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gbveval.core.errors import DesignError
from gbveval.numerics.mixtures import GridDensity, NormalMixtures

FloatArray = NDArray[np.float64]
DENSITY = -1
SERIES = ("low", "high", "coefficients", "cumulative")


@dataclass(frozen=True, eq=False)
class GridPosterior:
    """Joint posterior of several quantities from quadrature.

    Parameters
    ----------
    effects : NormalMixtures
        Quantities that are normal given the node.
    nodes : ndarray, shape (nodes, quadrature variables)
        Values of the quadrature variables at each node.
    densities : tuple of GridDensity
        Of the quadrature variables themselves.
    columns : tuple of int
        For each row of the estimates its column in `effects`; -1 for the first quadrature variable, -2 for the second.
    """

    effects: NormalMixtures
    nodes: FloatArray
    densities: tuple[GridDensity, ...]
    columns: tuple[int, ...]

    def _spread(self, effects: FloatArray, own: Sequence[Any]) -> FloatArray:
        """Return values of all rows from those of the effects (last axis) and of the quadrature variables."""
        parts = [
            np.asarray(own[DENSITY - column]) if column <= DENSITY else effects[..., column] for column in self.columns
        ]
        return np.stack(parts, axis=-1).astype(np.float64)

    def mean(self) -> FloatArray:
        """Return posterior means, one a term."""
        return self._spread(self.effects.mean, [density.mean for density in self.densities])

    def sd(self) -> FloatArray:
        """Return posterior standard deviations, one a term."""
        return self._spread(self.effects.sd, [density.sd for density in self.densities])

    def covariance(self) -> FloatArray:
        """Return the joint covariance of the terms."""
        weights, count = self.effects.weights, len(self.effects)
        centred = self.effects.means - weights @ self.effects.means
        own = self.nodes - np.array([density.mean for density in self.densities])
        # Given the node the quadrature variables are fixed, so only the conditional means covary with them.
        across = (weights[:, None] * own).T @ centred
        between = (weights[:, None] * own).T @ own
        np.fill_diagonal(between, [density.sd**2 for density in self.densities])
        joint = np.block([[self.effects.covariance, across.T], [across, between]])
        places = [column if column > DENSITY else count + DENSITY - column for column in self.columns]
        return np.asarray(joint[np.ix_(places, places)], dtype=np.float64)

    def cdf(self, term: int, x: ArrayLike) -> float:
        """Return P(term <= x)."""
        column = self.columns[term]
        point = float(np.asarray(x))
        if column <= DENSITY:
            return float(self.densities[DENSITY - column].cdf(point))
        return float(self.effects.select([column]).cdf(point)[0])

    def quantile(self, term: int, probability: float) -> float:
        """Return a quantile of a term."""
        column = self.columns[term]
        if column <= DENSITY:
            return float(self.densities[DENSITY - column].quantile(probability))
        return float(self.effects.select([column]).quantile(probability)[0])

    def quantiles(self, probabilities: ArrayLike) -> FloatArray:
        """Return quantiles of all terms, shape (probabilities, terms)."""
        p = np.atleast_1d(np.asarray(probabilities, dtype=float))
        used = sorted({column for column in self.columns if column > DENSITY})
        found = np.full((p.size, len(self.effects)), np.nan)
        if used:
            found[:, used] = self.effects.select(used).quantile(p)
        wanted = [DENSITY - i in self.columns for i in range(len(self.densities))]
        own = [d.quantile(p) if asked else np.nan for d, asked in zip(self.densities, wanted, strict=True)]
        return self._spread(found, own)

    def sample(self, n: int, rng: np.random.Generator) -> FloatArray:
        """Return joint draws, shape (n, terms); quadrature variables take the values of their nodes."""
        node = rng.choice(len(self.nodes), size=n, p=self.effects.weights / self.effects.weights.sum())
        if self.effects.loadings is None:
            raise DesignError(
                "This posterior has no joint structure given the node; draw each term from its quantiles."
            )
        return self._spread(self.effects.given(node, rng), list(self.nodes[node].T))

    def select(self, terms: NDArray[np.intp]) -> GridPosterior:
        """Return the posterior of some of the terms."""
        return GridPosterior(self.effects, self.nodes, self.densities, tuple(self.columns[i] for i in terms))

    def to_dict(self) -> dict[str, Any]:
        """Return plain values that JSON can hold."""
        moments = self.effects.finite_moments
        return {
            "kind": "grid",
            "columns": list(self.columns),
            "nodes": self.nodes.tolist(),
            "effects": {
                "weights": self.effects.weights.tolist(),
                "means": self.effects.means.tolist(),
                "sds": self.effects.sds.tolist(),
                "loadings": None if self.effects.loadings is None else self.effects.loadings.tolist(),
                "finite_moments": None if moments is None else moments.tolist(),
            },
            "densities": [density_to_dict(density) for density in self.densities],
        }

    @staticmethod
    def from_dict(content: dict[str, Any]) -> GridPosterior:
        """Return the posterior that `to_dict` described."""
        effects = content["effects"]
        loadings, moments = effects["loadings"], effects["finite_moments"]
        return GridPosterior(
            effects=NormalMixtures(
                weights=np.array(effects["weights"], dtype=float),
                means=np.array(effects["means"], dtype=float),
                sds=np.array(effects["sds"], dtype=float),
                loadings=None if loadings is None else np.array(loadings, dtype=float),
                finite_moments=None if moments is None else np.array(moments, dtype=np.intp),
            ),
            nodes=np.array(content["nodes"], dtype=float),
            densities=tuple(density_from_dict(density) for density in content["densities"]),
            columns=tuple(int(i) for i in content["columns"]),
        )


def density_to_dict(density: GridDensity) -> dict[str, Any]:
    """Return a density as plain values."""
    return {
        **{name: getattr(density, name).tolist() for name in SERIES},
        "mean": _finite(density.mean),
        "sd": _finite(density.sd),
        "log_axis": density.log_axis,
    }


def density_from_dict(content: dict[str, Any]) -> GridDensity:
    """Return the density that `density_to_dict` described."""
    return GridDensity(
        **{name: np.array(content[name], dtype=float) for name in SERIES},
        mean=float("inf") if content["mean"] is None else float(content["mean"]),
        sd=float("inf") if content["sd"] is None else float(content["sd"]),
        log_axis=bool(content["log_axis"]),
    )


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
