"""Parts of a survey beyond columns: nested stages, finite populations, replicate weights, calibration."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gbveval.core.errors import DataError
from gbveval.data._frame import Labels, Reader, frozen, plural
from gbveval.numerics.calibration import margin_columns
from gbveval.numerics.groups import group_sizes, group_sums
from gbveval.numerics.replicate_weights import Replicates, given_replicates

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.intp]


@dataclass(frozen=True, eq=False, slots=True)
class Calibration:
    """How weights were calibrated.

    Attributes
    ----------
    margins : tuple of str
        Columns whose population totals are met.
    columns : ndarray, shape (n, k)
        Their numbers, or indicators of their categories.
    base : ndarray, shape (n,)
        Weights before calibration.
    """

    margins: tuple[str, ...]
    columns: FloatArray
    base: FloatArray


def nested(units: Labels, within: Labels) -> Labels:
    """Return units as combinations with what they lie in, since labels may repeat between strata."""
    joint = within.codes.astype(np.int64) * units.count + units.codes
    used, inverse = np.unique(joint, return_inverse=True)
    names = tuple(f"{within.levels[code // units.count]}/{units.levels[code % units.count]}" for code in used)
    return Labels(frozen(inverse.astype(np.intp)), names)


def nested_stages(stages: Sequence[Labels], strata: Labels | None) -> tuple[Labels, ...]:
    """Return the units of every stage, each nested in the stage before and the first in strata."""
    found: list[Labels] = []
    before = strata
    for stage in stages:
        found.append(stage if before is None else nested(stage, before))
        before = found[-1]
    return tuple(found)


def check_populations(
    reader: Reader,
    columns: Sequence[str],
    populations: Sequence[FloatArray],
    stages: tuple[Labels, ...],
    strata: Labels | None,
) -> None:
    """Note a problem for each population that varies within its parent or is smaller than the sample drawn from it."""
    n = reader.n
    everyone = np.zeros(n, dtype=np.intp)
    parent = everyone if strata is None else strata.codes
    units = tuple(stage.codes for stage in stages) or (np.arange(n),)
    for number, (column, size) in enumerate(zip(columns, populations, strict=True)):
        where = "stratum" if number == 0 else "unit of the stage before"
        if not np.isfinite(size).all():
            return
        count = int(parent.max()) + 1
        mean = group_sums(parent, size, count) / np.maximum(group_sizes(parent, count), 1.0)
        uneven = int((np.abs(size - mean[parent]) > 1e-9 * mean[parent]).sum())
        if uneven:
            reader.problem(
                f"Column {column!r} (fpc) varies within a {where} ({plural(uneven, 'row')}); the number of units in "
                "the population is one number for each."
            )
            return
        home = np.zeros(int(units[number].max()) + 1, dtype=np.intp)
        home[units[number]] = parent
        small = int((mean < group_sizes(home, count) * (1.0 - 1e-12)).sum())
        if small:
            reader.problem(
                f"Column {column!r} (fpc) is smaller than the sample in {plural(small, where)}; it counts the units of "
                "the population (not a share), so it is at least the number drawn."
            )
            return
        parent = units[number]


def implied_weights(populations: Sequence[FloatArray], stages: tuple[Labels, ...], strata: Labels | None) -> FloatArray:
    """Return the inverse of the probability to be drawn: over stages, units there are over units drawn."""
    n = populations[0].size
    parent = np.zeros(n, dtype=np.intp) if strata is None else strata.codes
    units = tuple(stage.codes for stage in stages) or (np.arange(n),)
    weights = np.ones(n)
    for unit, size in zip(units, populations, strict=True):
        home = np.zeros(int(unit.max()) + 1, dtype=np.intp)
        home[unit] = parent
        weights = weights * size / group_sizes(home, int(parent.max()) + 1)[parent]
        parent = unit
    return weights


def read_replicates(
    reader: Reader, columns: tuple[str, ...], scale: float | Sequence[float] | None
) -> Replicates | None:
    """Return replicate weights read from columns, or None when there are none or something is wrong with them."""
    if not columns:
        if scale is not None:
            reader.problem("replicate_scale was given without replicate_weights; give both or neither.")
        return None
    if len(columns) < 2:
        reader.problem("replicate_weights needs at least two columns.")
        return None
    weights = np.column_stack([reader.numbers(column, "replicate weight") for column in columns])
    negative = int((weights < 0).any(axis=1).sum())
    if negative:
        reader.problem(f"replicate_weights are negative in {plural(negative, 'row')}; weights are zero or more.")
    factor = np.asarray(np.nan if scale is None else scale, dtype=np.float64)
    if not np.isfinite(weights).all():
        return None
    if factor.shape not in ((), (len(columns),)) or not np.all(np.isfinite(factor) & (factor >= 0)):
        reader.problem(
            "replicate_scale must be one number, or one a replicate, zero or more: the factor of the squared "
            "deviations in the survey's documentation, such as 1/R for bootstrap or balanced replicates and (R - 1)/R "
            "for a jackknife without strata."
        )
        return None
    return given_replicates(weights, np.broadcast_to(factor, (len(columns),)).copy())


def read_margins(
    found: Mapping[str, Labels], given: Mapping[str, Mapping[str, float]], weights: FloatArray
) -> tuple[list[IntArray], list[FloatArray]]:
    """Return categories and their population totals; a DataError lists, by column, what does not fit."""
    problems: list[str] = []
    totals: list[FloatArray] = []
    for column, labels in found.items():
        named = {str(key): float(value) for key, value in given[column].items()}
        absent = int((labels.codes < 0).sum())
        without = sum(level not in named for level in labels.levels)
        nobody = sum(level not in labels.levels for level in named)
        wrong = sum(not (np.isfinite(value) and value > 0) for value in named.values())
        if absent:
            problems.append(f"Column {column!r} (margin) is missing in {plural(absent, 'row')}; fill it in first.")
        if without:
            problems.append(f"Column {column!r} (margin) has {without:,} categories without a population total.")
        if nobody:
            problems.append(
                f"{nobody:,} population totals of {column!r} are of categories that no respondent is in. Merge them "
                "with others, in the frame and in the totals."
            )
        if wrong:
            problems.append(f"{wrong:,} population totals of {column!r} are not positive numbers.")
        if not (absent or without or nobody or wrong):
            total = np.array([named[level] for level in labels.levels])
            empty = int((group_sums(labels.codes, weights, labels.count) <= 0).sum())
            if empty:
                problems.append(f"Column {column!r} (margin) has {empty:,} categories whose respondents weigh nothing.")
            totals.append(total)
    sums = [float(total.sum()) for total in totals]
    if not problems and max(sums) - min(sums) > 1e-6 * max(sums):
        problems.append("The margins do not add to the same population; give totals of one population.")
    if problems:
        raise DataError(tuple(problems))
    return [labels.codes for labels in found.values()], totals


def calibration_of(found: Mapping[str, Labels], base: FloatArray) -> Calibration:
    """Return what the variance needs to know of a calibration."""
    columns = margin_columns([labels.codes for labels in found.values()], [labels.count for labels in found.values()])
    return Calibration(tuple(found), frozen(columns), base)
