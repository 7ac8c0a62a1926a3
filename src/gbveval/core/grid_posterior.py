"""A posterior known exactly on a grid: mixtures of normals that share their nodes, and one quantity with a density."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gbveval.core.errors import DesignError
from gbveval.numerics.mixtures import GridDensity, NormalMixtures

FloatArray = NDArray[np.float64]
DENSITY = -1


@dataclass(frozen=True, eq=False)
class GridPosterior:
    """Joint posterior of several quantities from quadrature.

    Parameters
    ----------
    effects : NormalMixtures
        Quantities that are normal given the node.
    nodes : ndarray, shape (nodes,)
        Value of the quadrature variable at each node.
    density : GridDensity
        Of the quadrature variable itself.
    columns : tuple of int
        For each row of the estimates its column in `effects`; -1 for the quadrature variable.
    """

    effects: NormalMixtures
    nodes: FloatArray
    density: GridDensity
    columns: tuple[int, ...]

    def _spread(self, effects: FloatArray, own: Any) -> FloatArray:
        """Return values of all rows from those of the effects (last axis) and of the quadrature variable."""
        parts = [np.asarray(own) if column == DENSITY else effects[..., column] for column in self.columns]
        return np.stack(parts, axis=-1).astype(np.float64)

    def mean(self) -> FloatArray:
        """Return posterior means, one a term."""
        return self._spread(self.effects.mean, self.density.mean)

    def sd(self) -> FloatArray:
        """Return posterior standard deviations, one a term."""
        return self._spread(self.effects.sd, self.density.sd)

    def covariance(self) -> FloatArray:
        """Return the joint covariance of the terms."""
        within = self.effects.covariance
        centred = self.effects.means - self.effects.weights @ self.effects.means
        # Given the node the quadrature variable is fixed, so only the conditional means covary with it.
        across = (self.effects.weights * (self.nodes - self.density.mean)) @ centred
        size = len(self.columns)
        result = np.empty((size, size))
        for i, a in enumerate(self.columns):
            for j, b in enumerate(self.columns):
                if a == DENSITY and b == DENSITY:
                    result[i, j] = self.density.sd**2
                elif a == DENSITY or b == DENSITY:
                    result[i, j] = across[max(a, b)]
                else:
                    result[i, j] = within[a, b]
        return result

    def cdf(self, term: int, x: ArrayLike) -> float:
        """Return P(term <= x)."""
        column = self.columns[term]
        point = float(np.asarray(x))
        if column == DENSITY:
            return float(self.density.cdf(point))
        return float(self.effects.select([column]).cdf(point)[0])

    def quantile(self, term: int, probability: float) -> float:
        """Return a quantile of a term."""
        column = self.columns[term]
        if column == DENSITY:
            return float(self.density.quantile(probability))
        return float(self.effects.select([column]).quantile(probability)[0])

    def quantiles(self, probabilities: ArrayLike) -> FloatArray:
        """Return quantiles of all terms, shape (probabilities, terms)."""
        p = np.atleast_1d(np.asarray(probabilities, dtype=float))
        used = sorted({column for column in self.columns if column != DENSITY})
        found = np.full((p.size, len(self.effects)), np.nan)
        if used:
            found[:, used] = self.effects.select(used).quantile(p)
        return self._spread(found, self.density.quantile(p) if DENSITY in self.columns else np.nan)

    def sample(self, n: int, rng: np.random.Generator) -> FloatArray:
        """Return joint draws, shape (n, terms); the quadrature variable takes the values of its nodes."""
        node = rng.choice(self.nodes.size, size=n, p=self.effects.weights / self.effects.weights.sum())
        if self.effects.loadings is None:
            raise DesignError(
                "This posterior has no joint structure given the node; draw each term from its quantiles."
            )
        return self._spread(self.effects.given(node, rng), self.nodes[node])

    def select(self, terms: NDArray[np.intp]) -> GridPosterior:
        """Return the posterior of some of the terms."""
        return GridPosterior(self.effects, self.nodes, self.density, tuple(self.columns[i] for i in terms))

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
            "density": {
                **{
                    name: getattr(self.density, name).tolist() for name in ("low", "high", "coefficients", "cumulative")
                },
                "mean": _finite(self.density.mean),
                "sd": _finite(self.density.sd),
                "log_axis": self.density.log_axis,
            },
        }

    @staticmethod
    def from_dict(content: dict[str, Any]) -> GridPosterior:
        """Return the posterior that `to_dict` described."""
        effects, density = content["effects"], content["density"]
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
            density=GridDensity(
                **{
                    name: np.array(density[name], dtype=float) for name in ("low", "high", "coefficients", "cumulative")
                },
                mean=float("inf") if density["mean"] is None else float(density["mean"]),
                sd=float("inf") if density["sd"] is None else float(density["sd"]),
                log_axis=bool(density["log_axis"]),
            ),
            columns=tuple(int(i) for i in content["columns"]),
        )


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
