"""Checks of a rollout: one row a unit and period, a first treated period that is a fact about a unit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gbveval.data._frame import Labels, Reader, plural

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.intp]


def changes_within(units: Labels, value: FloatArray) -> int:
    """Return the number of units in which `value` is not constant (infinity counts as a value)."""
    first = np.empty(units.count)
    first[units.codes] = value
    differs = value != first[units.codes]
    return int(np.unique(units.codes[differs]).size) if differs.any() else 0


def first_treated(units: Labels, times: FloatArray, treatment: FloatArray) -> FloatArray:
    """Return for every row the first period in which its unit had any treatment; infinite if it never had."""
    begun = np.full(units.count, np.inf)
    treated = treatment != 0
    np.minimum.at(begun, units.codes[treated], times[treated])
    return np.asarray(begun[units.codes], dtype=np.float64)


def read_cohorts(
    reader: Reader,
    units: Labels | None,
    times: FloatArray,
    cohort: tuple[str | None, FloatArray | None],
    treatment: tuple[str | None, FloatArray | None],
) -> FloatArray:
    """Return the first treated period of every row's unit (column and values where given), or of its treatment.

    Where both are given, notes rows that are treated before the first treated period of their unit.
    """
    (column, first), (treatment_column, amount) = cohort, treatment
    if first is None:
        assert units is not None
        assert amount is not None
        return first_treated(units, times, amount)
    early = 0 if amount is None else int(((amount != 0) & (times < first)).sum())
    if early:
        reader.problem(
            f"Column {treatment_column!r} (treatment) is other than 0 in {plural(early, 'row')} before the first "
            f"treated period in column {column!r} (cohort); the two were expected to agree. Mend one of them, or leave "
            "cohort out: it is then the first period with any treatment."
        )
    return first


def check_units(
    reader: Reader, units: Labels, time: IntArray, cohort: FloatArray, columns: dict[str, str | None]
) -> None:
    """Note unit-periods with several rows, and units whose cohort changes."""
    width = int(time.max()) + 1
    cell = units.codes.astype(np.int64) * width + time
    if units.count * width <= 8 * cell.size:
        counts = np.bincount(cell, minlength=units.count * width)
    else:
        _, counts = np.unique(cell, return_counts=True)
    repeated = int(counts[counts > 1].sum())
    if repeated:
        reader.problem(
            f"Column {columns['unit']!r} (unit): {plural(repeated, 'row')} share a unit and period with another row; "
            "one row a unit and period was expected. Aggregate them, or leave unit out for repeated cross-sections."
        )
    changing = changes_within(units, cohort)
    if changing:
        reader.problem(
            f"Column {columns['cohort']!r} (cohort) changes within {plural(changing, 'unit')}; the first treated "
            "period is a fact about a unit. Mend it, or, if treatment ended, use the period in which it began."
        )


def check_constant(
    reader: Reader, units: Labels, facts: Sequence[tuple[str | None, str, NDArray[Any] | Labels | None]]
) -> None:
    """Note facts about units (column, role, values where given) that change within units."""
    for column, role, given in facts:
        values = given.codes if isinstance(given, Labels) else given
        count = 0 if values is None else changes_within(units, values.astype(float))
        if count and column is None:
            reader.problem(
                f"Latitude or longitude ({role}) changes within {plural(count, 'unit')}; where a unit is must be "
                "constant. Use the place of the first period in all periods."
            )
        elif count:
            more = " For amounts that change over time use treatment." if role == "dose" else ""
            reader.problem(
                f"Column {column!r} ({role}) changes within {plural(count, 'unit')}; it must be constant.{more}"
            )


def read_clusters(reader: Reader, names: tuple[str, ...], *, unit: str | None, time: str) -> dict[str, Labels | None]:
    """Return the columns of clusters by name; None for those that are units or periods, which are known already."""
    if len(names) > 2:
        reader.problem(f"{len(names)} columns (cluster) were given; clustering is in two ways at most.")
    if names == (time,):
        reader.problem(
            f"Column {time!r} (cluster) is the time: units in one period are not the only dependence of a panel. Give "
            "the unit's clusters, or both of them."
        )
    found: dict[str, Labels | None] = {}
    for number, name in enumerate(names[:2]):
        known = name in (unit, time)
        found[name] = None if known else reader.labels(name, f"cluster {number + 1}" if number else "cluster")
    return found


def two_ways(
    clusters: dict[str, Labels | None], *, unit: str | None, time: str, by_time: Labels
) -> tuple[Labels | None, Labels | None]:
    """Return clusters in the first way (None: units) and in the second (None: one way only)."""
    above = [labels for name, labels in clusters.items() if name not in (unit, time)]
    if time in clusters:
        return (above[0] if above else None), by_time
    first = above[0] if above else None
    return first, (above[1] if len(above) == 2 else None)


def read_eligible(reader: Reader, column: str) -> NDArray[np.bool_]:
    """Return who can be reached by treatment, from a column of 0 and 1."""
    values = reader.numbers(column, "eligible")
    wrong = int(((values != 0) & (values != 1) & ~np.isnan(values)).sum())
    if wrong:
        reader.problem(
            f"Column {column!r} (eligible) is neither 0 nor 1 in {plural(wrong, 'row')}; code it as 0 and 1."
        )
    return np.asarray(values == 1)


def checked_dose(reader: Reader, column: str, dose: FloatArray, *, cohort: FloatArray, last: float) -> FloatArray:
    """Return doses with zero where there is none; note those that are missing, not positive, or nobody's.

    Units first treated after the last period may have none yet.
    """
    treated = cohort <= last
    absent = int((treated & ~(dose > 0)).sum())
    if absent:
        reader.problem(
            f"Column {column!r} (dose) is missing, zero or negative in {plural(absent, 'row')} of treated units; above "
            "zero was expected. Give the amount in all their rows; a unit that got none is never treated."
        )
    idle = int((np.isinf(cohort) & ~(np.isnan(dose) | (dose == 0))).sum())
    if idle:
        reader.problem(
            f"Column {column!r} (dose) is not zero in {plural(idle, 'row')} of units that are never treated; zero or "
            "missing was expected. Set it to missing, or give the cohort in which they were treated."
        )
    return np.nan_to_num(dose)
