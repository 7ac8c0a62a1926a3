"""`Panel`: outcomes of units (or of fresh samples) over time while an intervention is rolled out, checked once."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gbveval.core.flow import Flow, FlowRow
from gbveval.core.provenance import DataDigest, digest_arrays
from gbveval.data._effects import read_effects
from gbveval.data._frame import Checked, Labels, Reader, as_names, plural
from gbveval.data._periods import Calendar, read_periods
from gbveval.data._rollout import (
    check_constant,
    check_units,
    checked_dose,
    read_clusters,
    read_cohorts,
    read_eligible,
    two_ways,
)
from gbveval.data.places import Places, neighbourhood, read_places

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from gbveval.numerics.spatial import Neighbourhood

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
        Period, a number or a date. Periods may be irregular; they are used in their order. Dates are counted in the
        widest of years, quarters, months, weeks and days that all of them keep.
    cohort : str, optional
        First treated period of the unit, of the same kind; missing or infinite for units that are never treated. It may
        be left out where `treatment` is given and units are followed: it is then the first period with any.
    unit : str, optional
        Unit followed over time. Absent, the rows are repeated cross-sections.
    treatment : str, optional
        Treatment in force in the row: 0 or 1, or an amount. Treatment may end; estimators for which it may not say so.
    cluster : str or sequence of str, optional
        Clusters of units, for standard errors, in one way or two. Constant within a unit.
    weight : str, optional
        Sampling weight, zero or more; estimators that follow units need one weight a unit.
    covariates : sequence of str
        Complete, constant or varying over time. Categories become indicators.
    exposure : str, optional
        Time or opportunities at risk behind a count, above zero.
    eligible : str, optional
        Whether the unit is one that treatment can reach where it is given, 0 or 1, constant within a unit: for triple
        differences.
    effects : sequence of str or tuple of str
        Effects of a regression beside those of unit and period: columns, read as labels, or tuples of columns whose
        values are crossed, such as ("region", "month"). They may vary within units.
    place : Places, optional
        Where units are, constant within a unit, and up to what distance they share shocks: standard errors then allow
        for neighbours. It takes the place of `cluster`: units at one place are one cluster.
    dose : str, optional
        How much treatment the unit gets from its first treated period on: above zero and constant within a treated
        unit, in its rows before treatment too; zero or missing for units that are never treated. For `DoseResponse`.

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

    kept_identifiers: str = ""
    outcome_name: str
    outcome: FloatArray
    periods: FloatArray
    time: IntArray
    cohort: FloatArray
    calendar: Calendar
    unit: Labels | None
    treatment: FloatArray | None
    cluster: Labels | None
    second_cluster: Labels | None
    cluster_name: str
    weight: FloatArray | None
    covariate_names: tuple[str, ...]
    covariates: FloatArray
    exposure: FloatArray | None
    eligible: NDArray[np.bool_] | None
    effect_names: tuple[str, ...]
    effects: tuple[Labels, ...]
    place: Places | None
    coordinates: FloatArray | None
    dose: FloatArray | None

    def __init__(  # noqa: PLR0913  (one keyword a role)
        self,
        frame: Any,
        *,
        outcome: str,
        time: str,
        cohort: str | None = None,
        unit: str | None = None,
        treatment: str | None = None,
        cluster: str | Sequence[str] | None = None,
        weight: str | None = None,
        covariates: Sequence[str] = (),
        exposure: str | None = None,
        eligible: str | None = None,
        effects: Sequence[str | tuple[str, ...]] = (),
        place: Places | None = None,
        dose: str | None = None,
    ) -> None:
        reader = Reader(frame, "Panel")
        values = reader.numbers(outcome, "outcome", missing=True)
        times, cohorts, calendar = read_periods(reader, time, cohort)
        treatments = None if treatment is None else reader.numbers(treatment, "treatment")
        units = None if unit is None else reader.labels(unit, "unit")
        named = as_names(cluster, "cluster")
        clusters = read_clusters(reader, named, unit=unit, time=time)
        weights = None if weight is None else reader.weights(weight)
        matrix, covariate_names = reader.covariates(as_names(covariates, "covariates"))
        exposures = None if exposure is None else reader.positive(exposure, "exposure")
        eligibles = None if eligible is None else read_eligible(reader, eligible)
        further = read_effects(reader, effects)
        coordinates, places = (None, None) if place is None else read_places(reader, place, named)
        doses = None if dose is None else reader.numbers(dose, "dose", missing=True)
        if cohorts is None and (treatments is None or units is None):
            reader.problem(
                "Give cohort, the first treated period of each row's unit. It may be left out only where treatment is "
                "given and units are followed over time (unit)."
            )
        reader.raise_problems()
        periods, codes = np.unique(times, return_inverse=True)
        if periods.size < 2:
            reader.problem(f"Column {time!r} (time) holds one period; at least two were expected.")
        if np.all(np.isnan(values)):
            reader.problem(f"Column {outcome!r} (outcome) is missing in every row.")
        cohorts = read_cohorts(reader, units, times, (cohort, cohorts), (treatment, treatments))
        if units is not None:
            check_units(reader, units, codes, cohorts, {"unit": unit, "cohort": cohort})
            facts = [(eligible, "eligible", eligibles), *((name, "cluster", each) for name, each in clusters.items())]
            held = None if doses is None else np.nan_to_num(doses)
            check_constant(reader, units, [*facts, (dose, "dose", held), (None, "place", places)])
        if dose is not None and doses is not None:
            doses = checked_dose(reader, dose, doses, cohort=cohorts, last=float(periods[-1]))
        reader.raise_problems()
        periods_as_clusters = Labels(codes, tuple(calendar.name(float(x)) for x in periods))
        ways = two_ways(clusters, unit=unit, time=time, by_time=periods_as_clusters)
        self._set(
            kept_identifiers=reader.kept_identifiers,
            outcome_name=outcome,
            outcome=values,
            periods=periods,
            time=codes,
            cohort=cohorts,
            calendar=calendar,
            unit=units,
            treatment=treatments,
            cluster=ways[0] if places is None else places,
            second_cluster=ways[1],
            cluster_name="place" if place is not None else " and ".join(named) or unit or "row",
            weight=weights,
            covariate_names=covariate_names,
            covariates=matrix,
            exposure=exposures,
            eligible=eligibles,
            effect_names=tuple(further),
            effects=tuple(further.values()),
            place=place,
            coordinates=coordinates,
            dose=doses,
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
    def treated(self) -> NDArray[np.bool_]:
        """Which rows are at or after their unit's first treated period."""
        return np.asarray(self.periods[self.time] >= self.cohort)

    @cached_property
    def switches_off(self) -> int:
        """Units whose treatment ends: untreated again in a period after the first treated one."""
        if self.treatment is None or self.unit is None:
            return 0
        ended = self.treated & (self.treatment == 0)
        return int(np.unique(self.unit.codes[ended]).size)

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the checked data; it identifies them and holds none of them."""
        digest = digest_arrays(
            [
                ("outcome", self.outcome),
                ("periods", self.periods),
                ("time", self.time),
                ("cohort", self.cohort),
                ("unit", None if self.unit is None else self.unit.codes),
                ("cluster", None if self.cluster is None else self.cluster.codes),
                ("weight", self.weight),
                *((("second_cluster", self.second_cluster.codes),) if self.second_cluster is not None else ()),
                *((("treatment", self.treatment),) if self.treatment is not None else ()),
                *((("covariates", self.covariates),) if self.covariate_names else ()),
                *((("exposure", self.exposure),) if self.exposure is not None else ()),
                *((("eligible", self.eligible),) if self.eligible is not None else ()),
                *(("effects", each.codes) for each in self.effects),
                *(
                    ()
                    if self.place is None
                    else (("place", self.coordinates), ("reach", (float(self.place.cutoff_km), self.place.kernel)))
                ),
                *((("dose", self.dose),) if self.dose is not None else ()),
            ]
        )
        return DataDigest(digest, self.kept_identifiers) if self.kept_identifiers else digest

    @cached_property
    def neighbourhood(self) -> Neighbourhood | None:
        """Places in the order of the codes of `cluster`, with what makes two of them neighbours; None without any."""
        if self.place is None or self.coordinates is None or self.cluster is None:
            return None
        return neighbourhood(self.place, self.coordinates, self.cluster)

    def cohort_of_unit(self) -> FloatArray:
        """Return the first treated period of each unit, infinite if never, shape (units,)."""
        return self.cohort if self.unit is None else np.asarray(self.of_unit(self.cohort), dtype=np.float64)

    @cached_property
    def _in_order(self) -> bool:
        """Whether there is a row for every unit and period, sorted by unit and then period: a table as it stands."""
        if self.unit is None or self.n_rows != self.unit.count * self.periods.size:
            return False
        return bool(np.array_equal(self.unit.codes * self.periods.size + self.time, np.arange(self.n_rows)))

    def of_unit(self, values: NDArray[Any]) -> NDArray[Any]:
        """Return one value a unit of what is constant within units, shape (units,); the last row's where it is not."""
        assert self.unit is not None
        if self._in_order:
            return self.table(values)[:, -1].copy()
        result = np.zeros((self.unit.count, *values.shape[1:]), dtype=values.dtype)
        result[self.unit.codes] = values
        return result

    def cluster_of_unit(self) -> IntArray | None:
        """Return the cluster of each unit; None where the panel names no clusters above units."""
        return None if self.cluster is None else self.of_unit(self.cluster.codes)

    def table(self, values: NDArray[Any]) -> NDArray[Any]:
        """Return rows as units by periods (by columns), NaN where there is no row; not for writing in."""
        assert self.unit is not None
        if self._in_order:
            return values.reshape(self.unit.count, self.periods.size, *values.shape[1:])
        result = np.full((self.unit.count, self.periods.size, *values.shape[1:]), np.nan)
        result[self.unit.codes, self.time] = values
        return result

    def flow(self) -> Flow:
        """Return units in each cohort, with and without a complete record."""
        per_unit = self.cohort_of_unit()
        complete = self.complete_units if self.unit is not None else ~np.isnan(self.outcome)
        levels = np.unique(per_unit)
        place = np.searchsorted(levels, per_unit)
        everybody = np.bincount(place, minlength=levels.size)
        analysed = np.bincount(place[complete], minlength=levels.size)
        labels = ["never treated" if np.isinf(g) else f"first treated {self.calendar.name(float(g))}" for g in levels]
        rows = [
            FlowRow(stage, label, int(count))
            for stage, counts in (
                ("in the panel", everybody),
                ("missing outcome", everybody - analysed),
                ("analysed", analysed),
            )
            for label, count in zip(labels, counts, strict=True)
        ]
        return Flow(tuple(rows))

    def plot(self, ax: Axes | None = None) -> Axes:
        """Draw which units are treated when, and where outcomes are missing; cohorts in place of many units.

        It shows single units where they are few: for the analyst's eyes, and not for a report on people.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, optional
            Where to draw.
        """
        from gbveval.data._timing_plot import plot_timing

        return plot_timing(self, ax)

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
