"""Measures coverage where neighbours share shocks and districts are treated together."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

import gbveval as gbv
from gbveval.testing.place_processes import PlacedFrames
from tests.rollouts.measure import SEED, Method, count, keep

RECORD = Path(__file__).with_name("neighbours.json")
DRAWS = 1000
# How far shocks reach, and the side of the districts that are treated together, in km on a map of 1,000.
REACH = {50.0: 50.0, 100.0: 100.0, 200.0: 200.0, 400.0: 500.0}
METHODS = tuple(
    Method(f"{reach:g} km, {side:g} km", gbv.TwoWayFixedEffects(), average="", draws=DRAWS)
    for reach, side in REACH.items()
)


def frames_of(method: Method) -> PlacedFrames:
    """Return the maps of a row, without places."""
    reach, side = next(pair for pair, each in zip(REACH.items(), METHODS, strict=True) if each.label == method.label)
    return PlacedFrames(n_units=400, n_periods=2, district_km=side, range_km=reach, shared=0.9, cutoff_km=0.0)


def measure(method: Method) -> dict[str, Any]:
    """Return what was counted without places, with a cutoff as far as shocks reach, and twice as far."""
    plain = frames_of(method)
    found: dict[str, Any] = {}
    for label, times in (("by unit", 0.0), ("cutoff as far", 1.0), ("twice as far", 2.0)):
        frames = replace(plain, cutoff_km=times * plain.range_km)
        # The same maps in every column.
        found[label] = count(method, frames, np.random.SeedSequence([SEED, int(plain.range_km)]))
        if times:
            found[label]["independent"] = _independent(frames)
    return found


def _independent(frames: PlacedFrames) -> float:
    """Return how many places without neighbours the treated, or the others, are like: the median over maps."""
    fewest = []
    for child in np.random.SeedSequence([SEED, int(frames.range_km)]).spawn(50):
        data = frames.check(frames.frame(np.random.default_rng(child))[0])
        assert data.neighbourhood is not None
        assert data.cluster is not None
        ever = np.zeros(data.neighbourhood.latitude.size, dtype=bool)
        ever[data.cluster.codes[np.isfinite(data.cohort)]] = True
        fewest.append(min(data.neighbourhood.independent(kind) for kind in (ever, ~ever)))
    return float(np.median(fewest))


def run(say: Callable[[str], None], *, only: str = "", again: bool = False) -> dict[str, Any]:
    """Measure the rows that are missing or have changed."""
    return keep(METHODS, measure, RECORD, say, only, again)
