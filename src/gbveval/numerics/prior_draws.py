"""Hides how priors are carried through a model: points that fill the unit cube evenly, pushed through quantiles."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]


def even_points(n: int, dimensions: int) -> FloatArray:
    """Return n points of the unit cube, shape (n, dimensions): an additive recurrence, the same ones every time.

    Steps are powers of the root of x^(d + 1) = x + 1, which generalises the golden section. Averages of smooth
    functions converge about as 1 / n, where random points give 1 / sqrt(n).
    """
    root = 2.0
    for _ in range(60):
        root = (1.0 + root) ** (1.0 / (dimensions + 1))
    step = root ** -np.arange(1.0, dimensions + 1.0)
    points: FloatArray = (0.5 + np.arange(1, n + 1)[:, None] * step) % 1.0
    return np.clip(points, 1e-12, 1.0 - 1e-12)


def prior_draws(priors: Mapping[str, Any], n: int) -> dict[str, FloatArray]:
    """Return n even joint draws of independent quantities, each from its prior's quantiles."""
    points = even_points(n, len(priors))
    return {name: np.asarray(prior.quantile(points[:, j])) for j, (name, prior) in enumerate(priors.items())}
