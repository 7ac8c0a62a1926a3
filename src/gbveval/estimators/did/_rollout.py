"""What estimators of rollouts share: rows with an outcome, their groups, and the way from numbers to `Estimates`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gbveval.core.errors import DesignError, IdentificationError
from gbveval.core.estimand import Estimand
from gbveval.core.estimates import Aggregator, Estimates
from gbveval.core.lazy import LazyMatrix
from gbveval.core.method import Cell, Check, Method
from gbveval.core.provenance import Provenance, options_of, versions
from gbveval.core.term import Term
from gbveval.data._frame import plural
from gbveval.data.panel import Panel
from gbveval.estimators.did._anticipation import refuse_idle_anticipation
from gbveval.estimators.did._rollout_checks import cohorts_alone, dose_checks
from gbveval.estimators.did._spatial import with_neighbours
from gbveval.numerics.fixed_effects import Groups
from gbveval.numerics.groups import present
from gbveval.numerics.two_effects import alone

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.intp]
BoolArray = NDArray[np.bool_]

# The groups that all rows of a rollout share, so that a small cohort cannot be had from averages of others.
COHORTS = "cohorts"
# Below this many units in a cohort the normal approximation of its own effects is not to be relied on.
SMALL_COHORT = 10
# The estimators whose regression takes the panel's further effects.
WITH_EFFECTS = ("TwoWayFixedEffects", "EventStudy")
FLAT = "the outcome does not vary, so there is no standard error"
NEGATIVE = "the two-way formula gives no variance above zero"


@dataclass(frozen=True, eq=False, slots=True)
class Rows:
    """The rows of a panel that have an outcome (and a weight above zero).

    Attributes
    ----------
    y : ndarray, shape (n,)
    unit, time : Groups
    clusters : tuple of Groups
        One or two ways; units where the panel names no clusters.
    cohort : ndarray, shape (n,)
        First treated period, infinite if never.
    period : ndarray, shape (n,)
        As a number.
    treated : ndarray of bool, shape (n,)
        At or after the first treated period (or anticipating it, where that was asked for).
    treatment : ndarray, shape (n,), or None
        Treatment in force as the panel declares it.
    covariates : ndarray, shape (n, covariates)
    effects : tuple of Groups
        Further effects of regressions.
    weight, exposure : ndarray, shape (n,) or None
    n_missing, n_weightless : int
        Rows left out, and why.
    """

    y: FloatArray
    unit: Groups
    time: Groups
    clusters: tuple[Groups, ...]
    cohort: FloatArray
    period: FloatArray
    treated: BoolArray
    treatment: FloatArray | None
    covariates: FloatArray
    effects: tuple[Groups, ...]
    weight: FloatArray | None
    exposure: FloatArray | None
    n_missing: int
    n_weightless: int

    @property
    def n(self) -> int:
        """Rows."""
        return int(self.y.size)

    @property
    def n_units(self) -> int:
        """Units with a row."""
        return self.unit.present

    @property
    def event_time(self) -> FloatArray:
        """Periods since the first treated one; minus infinity for those never treated."""
        return self.period - self.cohort

    def take(self, rows: BoolArray) -> Rows:
        """Return some rows."""
        return Rows(
            y=self.y[rows],
            unit=self.unit.take(rows),
            time=self.time.take(rows),
            clusters=tuple(groups.take(rows) for groups in self.clusters),
            cohort=self.cohort[rows],
            period=self.period[rows],
            treated=self.treated[rows],
            treatment=None if self.treatment is None else self.treatment[rows],
            covariates=self.covariates[rows],
            effects=tuple(groups.take(rows) for groups in self.effects),
            weight=None if self.weight is None else self.weight[rows],
            exposure=None if self.exposure is None else self.exposure[rows],
            n_missing=self.n_missing,
            n_weightless=self.n_weightless,
        )

    def with_cohort(self, cohort: FloatArray) -> Rows:
        """Return the rows with other first treated periods."""
        return replace(self, cohort=cohort, treated=np.asarray(self.period >= cohort))

    def anticipating(self, periods: float) -> Rows:
        """Return the rows with those that may anticipate treatment counted as treated."""
        return replace(self, treated=np.asarray(self.period >= self.cohort - periods))

    def _cohort_of_unit(self) -> FloatArray:
        """Return the first treated period of each unit; NaN for units without a row."""
        first = np.full(self.unit.count, np.nan)
        first[self.unit.codes] = self.cohort
        return first

    def cohort_sizes(self) -> dict[float, int]:
        """Return units with a row, by cohort (infinite: never treated)."""
        first = self._cohort_of_unit()
        values, counts = np.unique(first[~np.isnan(first)], return_counts=True)
        return {float(g): int(n) for g, n in zip(values, counts, strict=True)}

    def cohorts(self) -> tuple[FloatArray, Groups]:
        """Return the first treated periods that occur, and the rows' place among them; sorts units and not rows."""
        first = self._cohort_of_unit()
        levels = np.unique(first[~np.isnan(first)])
        codes = np.searchsorted(levels, np.where(np.isnan(first), -np.inf, first))[self.unit.codes]
        return levels, Groups(np.asarray(codes, dtype=np.intp), levels.size)

    def cells(self, inside: BoolArray) -> tuple[FloatArray, FloatArray, IntArray]:
        """Return cohort and period of every cell that has a row inside, and the cell of each row (-1 outside)."""
        levels, groups = self.cohorts()
        times = self.period_of_code()
        key = groups.codes * self.time.count + self.time.codes
        there = np.flatnonzero(np.bincount(key[inside], minlength=levels.size * self.time.count))
        place = np.full(levels.size * self.time.count, -1, dtype=np.intp)
        place[there] = np.arange(there.size)
        cell = np.where(inside, place[key], -1)
        return levels[there // self.time.count], times[there % self.time.count], cell

    def period_of_code(self) -> FloatArray:
        """Return the period of each code of `time`; NaN for codes without a row."""
        times = np.full(self.time.count, np.nan)
        times[self.time.codes] = self.period
        return times


def refuse_cross_sections(estimator: str, data: Panel) -> None:
    """Raise where units are not followed over time."""
    if data.unit is None:
        raise DesignError(
            f"{estimator} needs units followed over time; this panel is repeated cross-sections. Declare unit, or use "
            "CallawaySantAnna, TwoByTwo or ExtendedTwfe."
        )


def refuse_switching(estimator: str, data: Panel) -> None:
    """Raise where treatment ends: these estimators take it to last."""
    if data.switches_off:
        raise DesignError(
            f"Treatment ends in {plural(data.switches_off, 'unit')}; {estimator} takes it to last once begun. Use "
            "ChaisemartinDHaultfoeuille, or leave out the periods after it ended and say so."
        )


def refuse_effects(estimator: str, data: Panel) -> None:
    """Raise where the panel declares further effects that an estimator does not have."""
    if data.effects and estimator not in WITH_EFFECTS:
        raise DesignError(
            f"{estimator} has no effects beside those it is named for, and this panel declares "
            f"{', '.join(data.effect_names)} (effects). Use {' or '.join(WITH_EFFECTS)}, or leave effects out and run "
            "it within each of their larger groups, such as a region."
        )


def unit_weight(estimator: str, data: Panel) -> FloatArray | None:
    """Return one weight a unit, or None where there are none; raise where weights vary within units."""
    if data.weight is None or data.unit is None:
        return data.weight
    weight = np.asarray(data.of_unit(data.weight), dtype=np.float64)
    varying = np.unique(data.unit.codes[weight[data.unit.codes] != data.weight]).size
    if varying:
        raise DesignError(
            f"The weight varies within {plural(int(varying), 'unit')}; {estimator} needs one weight a unit. Use the "
            "weight of the first period in all periods."
        )
    return weight


def observed_rows(data: Panel) -> Rows:
    """Return the rows with an outcome; without units every row is one."""
    seen = ~np.isnan(data.outcome)
    used = seen if data.weight is None else seen & (data.weight > 0)
    unit = Groups(np.arange(used.sum()), int(used.sum()))
    if data.unit is not None:
        unit = Groups(data.unit.codes[used], data.unit.count)
    time = Groups(data.time[used], data.periods.size)
    ways = [unit if data.cluster is None else Groups(data.cluster.codes[used], data.cluster.count)]
    if data.second_cluster is not None:
        ways.append(Groups(data.second_cluster.codes[used], data.second_cluster.count))
    return Rows(
        y=data.outcome[used],
        unit=unit,
        time=time,
        clusters=tuple(ways),
        cohort=data.cohort[used],
        period=data.periods[data.time[used]],
        treated=data.treated[used],
        treatment=None if data.treatment is None else data.treatment[used],
        covariates=data.covariates[used],
        effects=tuple(Groups(each.codes[used], each.count) for each in data.effects),
        weight=None if data.weight is None else data.weight[used],
        exposure=None if data.exposure is None else data.exposure[used],
        n_missing=int((~seen).sum()),
        n_weightless=int((seen & ~used).sum()),
    )


def require_treatment(rows: Rows) -> None:
    """Raise unless there are treated and untreated rows."""
    if rows.n == 0 or rows.treated.all() or not rows.treated.any():
        raise IdentificationError(
            "Treatment does not vary over the rows with an outcome; treated and untreated ones are both needed."
        )


def require_clusters(rows: Rows, fewest: int = 3) -> None:
    """Raise where there are too few clusters for a clustered standard error."""
    count = min(groups.present for groups in rows.clusters)
    if count < fewest:
        raise IdentificationError(
            f"{plural(count, 'cluster')} with an outcome; at least {fewest} are needed for a clustered standard error."
        )


def require_treated_clusters(rows: Rows, fewest: int = 2) -> None:
    """Raise where one unit (cluster) is treated: its own shocks cannot be told from the effect."""
    groups = rows.clusters[0]
    refuse_few_treated(present(groups.codes[rows.treated], groups.count).size, fewest)


def refuse_few_treated(treated: int, fewest: int = 2) -> None:
    """Raise where fewer units or clusters are treated than a standard error can be learnt from."""
    if treated < fewest:
        raise IdentificationError(
            f"{plural(treated, 'unit')} or cluster treated: residual-based standard errors are then far too small. Use "
            "ConleyTaber, SyntheticDid with placebo standard errors, or RandomisedTiming."
        )


def rollout_rows(estimator: str, data: Panel, anticipation: float = 0.0) -> Rows:
    """Return the rows of a rollout over units; raise where treatment ends, or too little is treated or clustered.

    With anticipation, rows of so many periods before treatment are among the treated.
    """
    refuse_cross_sections(estimator, data)
    refuse_switching(estimator, data)
    refuse_idle_anticipation(data, anticipation)
    rows = observed_rows(data)
    require_treatment(rows)
    require_clusters(rows)
    require_treated_clusters(rows)
    rows = rows.anticipating(anticipation)
    require_treatment(rows)
    return rows


def cohort_label(data: Panel, cohort: float) -> str:
    """Return how a cohort is shown."""
    return "never treated" if np.isinf(cohort) else f"cohort {data.calendar.name(cohort)}"


def cohort_support(data: Panel, sizes: dict[float, int], table: str = COHORTS) -> tuple[Cell, ...]:
    """Return units by cohort, for disclosure control."""
    return tuple(Cell(cohort_label(data, g), n, None, table) for g, n in sizes.items())


def event_label(event_time: float) -> str:
    """Return how an event time is shown."""
    return f"event time {event_time:+g}" if event_time else "event time 0"


def average_label(data: Panel, by: str, label: float) -> str:
    """Return how an average by event time, cohort or calendar period is shown."""
    if by == "event_time":
        return event_label(label)
    return cohort_label(data, label) if by == "cohort" else f"period {data.calendar.name(label)}"


def point(
    term: str, estimand: Estimand, outcome: str, numbers: tuple[float, float], why: str = "", **more: Any
) -> Term:
    """Return a row from an estimate and a standard error of which either may be NaN."""
    value, error = numbers
    defined = bool(np.isfinite(value))
    known = bool(defined and np.isfinite(error) and error > 0)
    return Term(
        term=term,
        estimand=estimand,
        outcome=outcome,
        value=float(value) if defined else None,
        std_error=float(error) if known else None,
        reason="" if known else (why or FLAT),
        **more,
    )


def masked(covariance: FloatArray, terms: Sequence[Term]) -> FloatArray:
    """Return the covariance with NaN where a row has no standard error."""
    result = covariance.copy()
    undefined = np.array([row.std_error is None for row in terms], dtype=bool)
    result[undefined, :] = result[:, undefined] = np.nan
    return result


def rounding(rows: Rows) -> float:
    """Return the standard error below which there is only rounding: about 1e-13 of the outcome's size."""
    return 1e-13 * float(np.sqrt(np.mean(rows.y**2)))


def sample_words(data: Panel, rows: Rows) -> str:
    """Say which rows were analysed and which were not, and with which further effects."""
    text = f"{plural(rows.n, 'row')} of {plural(rows.n_units, 'unit')} in {plural(data.periods.size, 'period')}"
    if rows.n_missing:
        text += f"; {plural(rows.n_missing, 'row')} without an outcome are left out"
    if rows.n_weightless:
        text += f"; {plural(rows.n_weightless, 'row')} of weight zero are left out"
    if data.effects:
        text += f"; with effects of {', '.join(['unit', 'period', *data.effect_names])}"
    return text


def row_checks(rows: Rows) -> tuple[Check, ...]:
    """Return what was left out, and whether there are few clusters."""
    found = []
    if rows.n_missing:
        found.append(Check("missing outcome", "warn", f"{rows.n_missing:,} rows have no outcome and are left out."))
    if rows.n_weightless:
        found.append(Check("weights of zero", "info", f"{rows.n_weightless:,} rows of weight zero are left out."))
    single = int(alone((rows.unit.codes, *(each.codes for each in rows.effects))).sum()) if rows.effects else 0
    if single:
        text = (
            f"{plural(single, 'row')} alone in a unit or an effect (or left alone when such rows are set aside): the "
            "effects fit them exactly, so that they weigh nothing. They count among the rows of small-sample factors."
        )
        public = "some rows are alone in a unit or an effect, which fits them exactly."
        found.append(Check("alone in an effect", "info", text, public))
    count = min(groups.present for groups in rows.clusters)
    if count < 40:
        text = f"{count} clusters; clustered standard errors need more, unless their small-sample correction is CR2."
        found.append(Check("few clusters", "warn", text))
    return tuple(found)


def rollout_estimates(
    estimator: Any,
    data: Panel,
    terms: Sequence[Term],
    *,
    covariance: FloatArray,
    method: Method,
    checks: Sequence[Check] = (),
    influence: FloatArray | LazyMatrix | None = None,
    aggregator: Aggregator | None = None,
) -> Estimates:
    """Return the `Estimates` of a rollout; where the panel names places, with errors that allow for neighbours.

    Parameters
    ----------
    estimator : Estimator
        Whose name and options are recorded.
    data : Panel
    terms : sequence of Term
    covariance : ndarray, shape (terms, terms)
    method : Method
    checks : sequence of Check
    influence : ndarray or LazyMatrix, shape (independent units, terms), optional
        Where the panel names places: by place, in the order of the panel's codes.
    aggregator : Aggregator, optional
    """
    refuse_effects(type(estimator).__name__, data)
    by_dose = any(key == "dose" for row in terms for key, _ in row.extra)
    clean = influence
    if isinstance(influence, np.ndarray) and np.isnan(influence.sum()):
        clean = np.nan_to_num(influence)
    result = Estimates(
        estimator=estimator.name,
        terms=tuple(terms),
        covariance=masked(covariance, terms),
        method=method,
        checks=(*checks, *(() if aggregator is None else cohorts_alone(data)), *(() if by_dose else dose_checks(data))),
        provenance=Provenance(data.digest, tuple(options_of(estimator).items()), None, versions()),
        flow=data.flow(),
        influence=clean,
        aggregator=aggregator,
    )
    return result if data.place is None else with_neighbours(estimator, data, result)
