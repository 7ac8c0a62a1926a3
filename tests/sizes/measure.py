"""Draws trials without an effect, runs an estimator on each, and counts what it says."""

from __future__ import annotations

import warnings
import zlib
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from gbveval.core.errors import GbvevalError
from gbveval.core.estimates import Estimates
from gbveval.core.replicate import generators, mean_of, share_of
from tests.sizes.rows import Measurement
from tests.sizes.studies import Cell, draw

SEED = 20261125
LEVEL = 0.95


@dataclass(frozen=True, slots=True)
class Measured:
    """What was counted in one cell, with Monte Carlo standard errors.

    Attributes
    ----------
    clusters, sizes, outcome : int, str, str
        The cell.
    draws, defined : int
        Trials drawn, and those in which there was a p-value.
    size, size_mcse : float
        Share of p-values below 0.05.
    coverage, coverage_mcse : float or None
        Share of intervals that hold zero; None where there are no intervals.
    bias, bias_mcse : float or None
        Mean of the estimates in units of their standard deviation.
    """

    clusters: int
    sizes: str
    outcome: str
    draws: int
    defined: int
    size: float
    size_mcse: float
    coverage: float | None
    coverage_mcse: float | None
    bias: float | None
    bias_mcse: float | None


def cells(row: Measurement) -> Iterator[Cell]:
    """Yield the settings of a row."""
    for outcome in row.outcomes:
        for sizes in row.sizes:
            for clusters in row.clusters:
                yield Cell(clusters, sizes, outcome)


def measure(row: Measurement, say: Callable[[str], None]) -> list[dict[str, Any]]:
    """Return what was counted in every cell of a row."""
    found = []
    for cell in cells(row):
        found.append(asdict(measure_cell(row, cell)))
        last = found[-1]
        say(f"  {cell.clusters:>3} {cell.sizes:<8}{cell.outcome:<11} size {100 * last['size']:.1f} %")
    return found


def measure_cell(row: Measurement, cell: Cell) -> Measured:
    """Return what was counted in one cell; the trials of a cell are the same for all rows of one kind of study."""
    rows = []
    # One seed a cell and not a row, so that estimators are compared on the same trials.
    seed = SEED + zlib.crc32(f"{cell.clusters} {cell.sizes} {cell.outcome}".encode())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for rng in generators(seed, row.draws):
            trial = draw(cell, row.study, rng)
            try:
                rows.append(_read(row.estimator.estimate(trial, rng=rng), row.term))
            except GbvevalError:
                rows.append((np.nan, np.nan, np.nan, np.nan))
    value, low, high, p_value = np.array(rows).T
    defined = np.isfinite(p_value)
    if not defined.any():
        raise RuntimeError(f"{row.label} has no p-value in {cell}.")
    size = share_of(p_value[defined] < 1.0 - LEVEL)
    limits = ~np.isnan(low) & ~np.isnan(high)
    held = share_of((low[limits] <= 0.0) & (high[limits] >= 0.0)) if limits.any() else None
    known = value[np.isfinite(value)]
    bias = mean_of(known / np.std(known, ddof=1)) if known.size > 1 else None
    return Measured(
        cell.clusters,
        cell.sizes,
        cell.outcome,
        row.draws,
        int(defined.sum()),
        size.value,
        size.mcse,
        None if held is None else held.value,
        None if held is None else held.mcse,
        None if bias is None else bias.value,
        None if bias is None else bias.mcse,
    )


def _read(result: Estimates, term: int | None) -> tuple[float, float, float, float]:
    """Return estimate, limits and p-value of the row that is measured."""
    if term is None:
        return (np.nan, np.nan, np.nan, min(float(dict(row.extra)["p_adjusted"] or np.nan) for row in result.terms))
    record = result.records(LEVEL)[term]
    low, high = result.intervals(LEVEL)
    p_value = record["p_value"]
    return (
        float(result.values[term]),
        float(low[term]),
        float(high[term]),
        np.nan if p_value is None else float(p_value),
    )
