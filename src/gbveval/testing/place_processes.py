"""Rollouts over a map: shocks that neighbours share, and treatment that whole districts get together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from gbveval.data.panel import Panel
from gbveval.data.places import Places
from gbveval.testing.case import Frame

FloatArray = NDArray[np.float64]
# Kilometres of a degree of latitude, on a sphere of the earth's mean radius.
DEGREE = 111.195


@dataclass(frozen=True)
class PlacedFrames:
    """Units spread evenly over a square map, followed over time; half of its square districts are treated.

    A unit's errors are its own, and the sum of what happens in each period at points within half of `range_km`, so
    that units farther apart than `range_km` have nothing in common. Treatment is given to districts, by lot.

    Parameters
    ----------
    n_units, n_periods : int
    side_km : float
        Side of the map; its middle is on the equator.
    district_km : float
        Side of a district; the map holds a whole number of them.
    range_km : float
        Distance from which units share no shocks.
    shared : float
        Share of the variance of errors that comes from shocks neighbours share.
    cutoff_km : float
        Of the panel's places; zero leaves places out.
    kernel : str
    effect : float
    """

    n_units: int = 300
    n_periods: int = 4
    side_km: float = 1000.0
    district_km: float = 100.0
    range_km: float = 80.0
    shared: float = 0.5
    cutoff_km: float = 120.0
    kernel: str = "bartlett"
    effect: float = 0.5

    @property
    def roles(self) -> Mapping[str, str]:
        """Role to column."""
        return {"outcome": "y", "unit": "unit", "time": "time", "cohort": "cohort"}

    def frame(self, rng: np.random.Generator) -> tuple[Frame, float]:
        """Return a frame and the true effect."""
        n, t = self.n_units, self.n_periods
        where = rng.uniform(0.0, self.side_km, size=(n, 2))
        cohort = np.where(self._treated(where, rng), t // 2 + 1.0, np.inf)
        periods = np.arange(1, t + 1)
        own = rng.normal(size=(n, t))
        errors = np.sqrt(self.shared) * self._field(where, rng) + np.sqrt(1.0 - self.shared) * own
        y = rng.normal(size=(n, 1)) + 0.3 * periods + errors + self.effect * (periods >= cohort[:, None])
        degrees = (where - self.side_km / 2.0) / DEGREE
        frame: Frame = {
            "unit": [f"u{i:04d}" for i in np.repeat(np.arange(n), t)],
            "time": np.tile(periods, n),
            "cohort": np.repeat(cohort, t),
            "lat": np.repeat(degrees[:, 0], t),
            "lon": np.repeat(degrees[:, 1], t),
            "y": y.ravel(),
        }
        return frame, self.effect

    def _treated(self, where: FloatArray, rng: np.random.Generator) -> NDArray[np.bool_]:
        """Return which units lie in the half of the districts that is treated."""
        across = round(self.side_km / self.district_km)
        row, column = np.minimum(where // self.district_km, across - 1).astype(int).T
        chosen = rng.permutation(across**2) < across**2 // 2
        return np.asarray(chosen[row * across + column])

    def _field(self, where: FloatArray, rng: np.random.Generator) -> FloatArray:
        """Return shocks of variance one, shape (units, periods): sums over the points of a grid that are near."""
        from scipy.sparse import coo_array
        from scipy.spatial import cKDTree

        step = self.range_km / 5.0
        line = np.arange(-self.range_km / 2.0, self.side_km + self.range_km / 2.0 + step, step)
        points = np.stack(np.meshgrid(line, line, indexing="ij"), axis=-1).reshape(-1, 2)
        shocks = rng.normal(size=(len(points), self.n_periods))
        pairs = cKDTree(where).sparse_distance_matrix(cKDTree(points), self.range_km / 2.0, output_type="coo_matrix")
        near = coo_array((np.ones(pairs.nnz), (pairs.row, pairs.col)), shape=(len(where), len(points))).tocsr()
        return np.asarray(near @ shocks / np.sqrt(np.asarray(near.sum(axis=1)).ravel())[:, None])

    def check(self, frame: Frame) -> Panel:
        """Return the frame as a Panel."""
        place = Places("lat", "lon", self.cutoff_km, self.kernel) if self.cutoff_km else None
        return Panel(frame, outcome="y", unit="unit", time="time", cohort="cohort", place=place)

    def null(self) -> PlacedFrames:
        """Return the same map without an effect."""
        return replace(self, effect=0.0)
