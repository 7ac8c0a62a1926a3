"""The PyMC model of correlated site intercepts and effects, on site-by-arm sufficient statistics."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gbveval.multisite._sampling import build_site_model, compile_once

FloatArray = NDArray[np.float64]


@dataclass(frozen=True, eq=False, slots=True)
class SiteStatistics:
    """What the likelihood needs: never people, only sums by site and arm.

    Attributes
    ----------
    n : ndarray, shape (sites, 2)
        People by site and arm (control, treated).
    mean : ndarray, shape (sites, 2)
        Mean outcome; for a binary outcome the share with it.
    squares : ndarray, shape (sites, 2)
        Sum of squared deviations from the mean.
    binary : bool
        Whether the outcome is 0 or 1.
    """

    n: FloatArray
    mean: FloatArray
    squares: FloatArray
    binary: bool

    @property
    def n_sites(self) -> int:
        """Sites."""
        return int(self.n.shape[0])

    def effect_errors(self) -> FloatArray:
        """Return the approximate standard error of each site's effect on the model's scale, shape (sites,)."""
        if self.binary:
            # Half a person is added to each cell, so that a site without events has an error and not infinity.
            events, others = self.n * self.mean + 0.5, self.n * (1.0 - self.mean) + 0.5
            return np.asarray(np.sqrt((1.0 / events + 1.0 / others).sum(axis=1)), dtype=np.float64)
        pooled = self.squares.sum() / max(float((self.n - 1.0).sum()), 1.0)
        return np.asarray(np.sqrt((pooled / self.n).sum(axis=1)), dtype=np.float64)


def data_of(statistics: SiteStatistics) -> dict[str, Any]:
    """Return the values of the model's data containers."""
    if statistics.binary:
        return {
            "n": statistics.n.astype(np.int64),
            "events": np.rint(statistics.n * statistics.mean).astype(np.int64),
        }
    return {"n": statistics.n, "mean": statistics.mean, "squares": statistics.squares}


def compiled_model(statistics: SiteStatistics, prior: Any, *, centred: bool) -> Any:
    """Return the compiled model for this number of sites, outcome, prior and parametrisation."""
    key = (statistics.n_sites, statistics.binary, prior, centred)
    return compile_once(key, lambda: build_site_model(data_of(statistics), prior, statistics.binary, centred))
