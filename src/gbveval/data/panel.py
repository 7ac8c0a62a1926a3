"""`Panel`: outcomes of units (or of fresh samples) over time while an intervention is rolled out, checked once."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gbveval.core.flow import Flow, FlowRow
from gbveval.core.provenance import digest_arrays
from gbveval.data._frame import Checked, Labels, Reader, plural

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.intp]


class Panel(Checked):
    """Outcomes over time with staggered treatment, its columns given roles and checked as a whole.

    Every problem is told at once in one `DataError`, by column and number of rows, never by value.

    Parameters
    ----------
    frame : pandas, polars or pyarrow frame, or dict of columns
        One row a unit and period (one row a respondent for repeated cross-sections). It is read and not kept.
    outcome : str
        Numeric outcome. Missing outcomes are kept, counted and shown in `flow`.
    time : str
        Period, a number. Periods may be irregular; they are used in their order.
    cohort : str
        First treated period of the unit; missing or infinite for units that are never treated.
    unit : str, optional
        Unit followed over time. Absent, the rows are repeated cross-sections.
    cluster : str, optional
        Clusters of units, for standard errors. Constant within a unit.
    weight : str, optional
        Sampling weight, zero or more; estimators that follow units need one weight a unit.

    Raises
    ------
    DataError
        Listing every problem: duplicated unit-periods, a cohort that changes within a unit, wrong types, ...

    Examples
    --------
    >>> frame = {"y": [1.0, 2.0, 1.0, 1.5], "id": [1, 1, 2, 2], "t": [1, 2, 1, 2], "g": [2, 2, None, None]}
    >>> Panel(frame, outcome="y", unit="id", time="t", cohort="g")
    <Panel: 2 units, 2 periods, 4 rows, balanced; 1 cohort, 1 never treated; outcome y (0 missing)>
    """

    outcome_name: str
    outcome: FloatArray
    periods: FloatArray
    time: IntArray
    cohort: FloatArray
    unit: Labels | None
    cluster: Labels | None
    cluster_name: str
    weight: FloatArray | None

    def __init__(
        self,
        frame: Any,
        *,
        outcome: str,
        time: str,
        cohort: str,
        unit: str | None = None,
        cluster: str | None = None,
        weight: str | None = None,
    ) -> None:
        reader = Reader(frame, "Panel")
        values = reader.numbers(outcome, "outcome", missing=True)
        times = reader.numbers(time, "time")
        cohorts = _cohorts(reader, cohort, times)
        units = None if unit is None else reader.labels(unit, "unit")
        # Without clusters above it a unit is its own cluster, so the same column may play both roles.
        clusters = None if cluster is None or cluster == unit else reader.labels(cluster, "cluster")
        weights = None if weight is None else reader.weights(weight)
        reader.raise_problems()
        periods, codes = np.unique(times, return_inverse=True)
        if periods.size < 2:
            reader.problem(f"Column {time!r} (time) holds one period; at least two were expected.")
        if np.all(np.isnan(values)):
            reader.problem(f"Column {outcome!r} (outcome) is missing in every row.")
        if units is not None:
            _check_units(reader, units, codes.astype(np.intp), cohorts, {"unit": unit, "cohort": cohort})
            if clusters is not None and (count := _changes(units, clusters.codes.astype(float))):
                reader.problem(
                    f"Column {cluster!r} (cluster) changes within {plural(count, 'unit')}; it must be constant."
                )
        reader.raise_problems()
        self._set(
            outcome_name=outcome,
            outcome=values,
            periods=periods,
            time=codes.astype(np.intp),
            cohort=cohorts,
            unit=units,
            cluster=clusters,
            cluster_name=cluster or unit or "row",
            weight=weights,
        )

    @property
    def n_rows(self) -> int:
        """Rows."""
        return int(self.outcome.shape[0])

    @property
    def n_units(self) -> int:
        """Units followed over time; rows for repeated cross-sections."""
        return self.n_rows if self.unit is None else self.unit.count

    @cached_property
    def complete_units(self) -> NDArray[np.bool_]:
        """Which units have an observed outcome in every period, shape (units,)."""
        if self.unit is None:
            return np.ones(self.n_rows, dtype=bool)
        seen = np.bincount(self.unit.codes[~np.isnan(self.outcome)], minlength=self.unit.count)
        complete: NDArray[np.bool_] = seen == self.periods.size
        return complete

    @property
    def is_balanced(self) -> bool:
        """Whether every unit is observed in every period."""
        return self.unit is not None and bool(self.complete_units.all())

    @property
    def has_never_treated(self) -> bool:
        """Whether some unit is never treated."""
        return bool(np.isinf(self.cohort).any())

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the checked data; it identifies them and holds none of them."""
        return digest_arrays(
            [
                ("outcome", self.outcome),
                ("periods", self.periods),
                ("time", self.time),
                ("cohort", self.cohort),
                ("unit", None if self.unit is None else self.unit.codes),
                ("cluster", None if self.cluster is None else self.cluster.codes),
                ("weight", self.weight),
            ]
        )

    def cohort_of_unit(self) -> FloatArray:
        """Return the first treated period of each unit, infinite if never, shape (units,)."""
        if self.unit is None:
            return self.cohort
        result = np.full(self.unit.count, np.inf)
        result[self.unit.codes] = self.cohort
        return result

    def flow(self) -> Flow:
        """Return units in each cohort, with and without a complete record."""
        per_unit = self.cohort_of_unit()
        complete = self.complete_units if self.unit is not None else ~np.isnan(self.outcome)
        rows = []
        for stage, mask in (
            ("in the panel", np.ones_like(complete)),
            ("missing outcome", ~complete),
            ("analysed", complete),
        ):
            for first in np.unique(per_unit):
                label = "never treated" if np.isinf(first) else f"first treated {first:g}"
                rows.append(FlowRow(stage, label, int(((per_unit == first) & mask).sum())))
        return Flow(tuple(rows))

    def __repr__(self) -> str:
        per_unit = self.cohort_of_unit()
        cohorts = np.unique(per_unit[np.isfinite(per_unit)]).size
        never = int(np.isinf(per_unit).sum())
        missing = int(np.isnan(self.outcome).sum())
        what = "repeated cross-sections" if self.unit is None else plural(self.n_units, "unit")
        shape = "" if self.unit is None else (", balanced" if self.is_balanced else ", unbalanced")
        return (
            f"<Panel: {what}, {plural(self.periods.size, 'period')}, {plural(self.n_rows, 'row')}{shape}; "
            f"{plural(cohorts, 'cohort')}, {never:,} never treated; outcome {self.outcome_name} ({missing:,} missing)>"
        )


def _cohorts(reader: Reader, column: str, times: FloatArray) -> FloatArray:
    """Return first treated periods with infinity for never; a lone zero code is refused, as it means two things."""
    if not reader.take(column, "cohort"):
        return np.full(reader.n, np.inf)
    before = len(reader.problems)
    values = reader.numbers(column, "cohort", missing=True)
    # Infinity is the other way to say never: take back the complaint that numbers() makes of it.
    reader.problems[before:] = [text for text in reader.problems[before:] if "is infinite in" not in text]
    values = np.where(np.isnan(values), np.inf, values)
    zero = int((values == 0).sum())
    if zero and not np.isnan(times).all() and np.nanmin(times) > 0:
        reader.problem(
            f"Column {column!r} (cohort) is 0 in {plural(zero, 'row')} and no period is 0; if that means never "
            "treated, set it to missing, and if it means treated before the panel, set it to the period before the "
            "first."
        )
    if minus := int(np.isneginf(values).sum()):
        reader.problem(
            f"Column {column!r} (cohort) is minus infinity in {plural(minus, 'row')}; give the first treated period."
        )
    return values


def _changes(units: Labels, value: FloatArray) -> int:
    """Return the number of units in which `value` is not constant (infinity counts as a value)."""
    finite = np.where(np.isinf(value), np.finfo(float).max, value)
    low, high = np.full(units.count, np.inf), np.full(units.count, -np.inf)
    np.minimum.at(low, units.codes, finite)
    np.maximum.at(high, units.codes, finite)
    return int((low < high).sum())


def _check_units(
    reader: Reader, units: Labels, time: IntArray, cohort: FloatArray, columns: dict[str, str | None]
) -> None:
    cell = units.codes.astype(np.int64) * (int(time.max()) + 1) + time
    _, counts = np.unique(cell, return_counts=True)
    repeated = int(counts[counts > 1].sum())
    if repeated:
        reader.problem(
            f"Column {columns['unit']!r} (unit): {plural(repeated, 'row')} share a unit and period with another row; "
            "one row a unit and period was expected. Aggregate them, or leave unit out for repeated cross-sections."
        )
    changing = _changes(units, cohort)
    if changing:
        reader.problem(
            f"Column {columns['cohort']!r} (cohort) changes within {plural(changing, 'unit')}; the first treated "
            "period is a fact about a unit. Mend it, or, if treatment ended, use the period in which it began."
        )
