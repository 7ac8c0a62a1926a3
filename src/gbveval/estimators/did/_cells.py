"""From effects by cohort and period to `Estimates`: rows of cells, and their averages by event time, cohort, period."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gbveval.core.errors import DesignError
from gbveval.core.estimand import Estimand
from gbveval.core.estimates import Aggregator, Estimates
from gbveval.core.method import Cell, Check, Method
from gbveval.core.term import Term
from gbveval.data.panel import Panel
from gbveval.estimators.did._derived import PRETEST, averaged, pretested
from gbveval.estimators.did._rollout import (
    COHORTS,
    FLAT,
    SMALL_COHORT,
    average_label,
    cohort_label,
    masked,
    point,
    rollout_estimates,
)
from gbveval.numerics.effect_cells import AVERAGES, CellAverages, EffectCells, average_cells
from gbveval.numerics.fixed_effects import FixedEffectsFit
from gbveval.numerics.inference import wald_joint

FloatArray = NDArray[np.float64]
OPTIONS = ("balance", "min_event_time", "max_event_time")
EFFECT = Estimand("ATT", "mean_difference", "treated")
CELL = Estimand("group_time_ATT", "mean_difference", "treated")


@dataclass(frozen=True, eq=False, slots=True)
class CellContext:
    """What rows of cells say beside their numbers.

    Attributes
    ----------
    data : Panel
    sizes : mapping of float to int
        Units (rows, for repeated cross-sections) of every cohort.
    comparison : mapping of (float, float) to int, or int
        Units that a cell is compared with, by cohort and period, or one number for all.
    df : float
    n_units : int
    n_clusters : int or None
    least : float
        Standard error below which there is only rounding.
    contrast : str
        Of the estimand.
    why : str
        Why an effect is undefined.
    flat : str
        Why an effect that is defined has no standard error.
    """

    data: Panel
    sizes: Mapping[float, int]
    comparison: Mapping[tuple[float, float], int] | int
    df: float
    n_units: int
    n_clusters: int | None
    least: float = 0.0
    contrast: str = "mean_difference"
    why: str = "not identified"
    flat: str = FLAT

    def compared(self, cohort: float, time: float) -> int:
        """Return the units that a cell is compared with."""
        return self.comparison if isinstance(self.comparison, int) else self.comparison[cohort, time]


@dataclass(frozen=True, eq=False, slots=True)
class Nuisance:
    """Coefficients that a regression of cells has beside them.

    Attributes
    ----------
    terms : tuple of Term
    fit : FixedEffectsFit
    kept : tuple of int
        Positions of the terms among the coefficients.
    places : mapping of int to int
        Position among the coefficients of every cell that was estimated.
    """

    terms: tuple[Term, ...]
    fit: FixedEffectsFit
    kept: tuple[int, ...]
    places: Mapping[int, int]

    def joined(self, cells: EffectCells) -> tuple[FloatArray, FloatArray | None]:
        """Return covariance and influence of the cells and these."""
        count = cells.value.size
        rows = count + len(self.kept)
        covariance = np.full((rows, rows), np.nan)
        at = np.array([*self.places, *range(count, rows)], dtype=np.intp)
        source = np.array([*self.places.values(), *self.kept], dtype=np.intp)
        covariance[np.ix_(at, at)] = self.fit.covariance[np.ix_(source, source)]
        if cells.influence is None or self.fit.influence is None:
            return covariance, None
        return covariance, np.column_stack([cells.influence, self.fit.influence[:, list(self.kept)]])


def cell_estimates(
    estimator: Any,
    cells: EffectCells,
    context: CellContext,
    *,
    method: Method,
    checks: Sequence[Check] = (),
    aggregator: Aggregator | None = None,
    nuisance: Nuisance | None = None,
) -> Estimates:
    """Return one row a cell, then those of nuisance, with averages to be asked for (of cells, by default)."""
    terms = tuple(_cell_term(cells, context, i, method.comparison) for i in range(cells.value.size))
    covariance, influence = cells.covariance, cells.influence
    if nuisance is not None:
        covariance, influence = nuisance.joined(cells)
    return rollout_estimates(
        estimator,
        context.data,
        terms if nuisance is None else (*terms, *nuisance.terms),
        covariance=covariance,
        influence=influence,
        method=method,
        checks=(*_size_checks(context), *checks),
        aggregator=CellAggregator(cells, context) if aggregator is None else aggregator,
    )


def _cell_term(cells: EffectCells, context: CellContext, i: int, whom: str) -> Term:
    data = context.data
    g, t = float(cells.cohort[i]), float(cells.time[i])
    cohort, period = cohort_label(data, g), data.calendar.name(t)
    compared = context.compared(g, t)
    error = float(np.sqrt(max(cells.covariance[i, i], 0.0)))
    return point(
        f"{cohort}, period {period}",
        replace(CELL, contrast=context.contrast),
        data.outcome_name,
        (float(cells.value[i]), error if error > context.least else np.nan),
        context.flat if np.isfinite(cells.value[i]) else context.why,
        df=context.df,
        n_units=context.sizes[g] + compared,
        n_clusters=context.n_clusters,
        support=(
            Cell(cohort, context.sizes[g], None, COHORTS),
            Cell("comparison", compared, None, f"comparison of {cohort} in {period} ({whom})"),
        ),
        extra=(("cohort", g), ("time", t), ("treated_by_then", "yes" if t >= g else "no")),
    )


def _size_checks(context: CellContext) -> tuple[Check, ...]:
    small = [f"{context.data.calendar.name(g)} ({n})" for g, n in context.sizes.items() if n < SMALL_COHORT]
    if not small:
        return ()
    text = f"cohorts with few units (size): {', '.join(small)}; their own standard errors are not to be relied on."
    public = "some cohorts have few units; their own standard errors are not to be relied on."
    return (Check("small cohorts", "warn", text, public),)


@dataclass(frozen=True, eq=False, slots=True)
class CellAggregator:
    """Averages the rows of cells."""

    cells: EffectCells
    context: CellContext

    def aggregate(self, estimates: Estimates, by: str, options: Mapping[str, Any]) -> Estimates:
        """Return averages of the cells, the overall one first, or the test of those before treatment."""
        if by == "pretest":
            return pretest(estimates, np.flatnonzero(~self.cells.post).tolist())
        found = averages_of(self.cells, by, options)
        return average_estimates(estimates, self.cells, self.context, by, found, options)


def averages_of(cells: EffectCells, by: str, options: Mapping[str, Any]) -> CellAverages:
    """Return averages of cells with the options that `aggregate` takes; raise where they are not known."""
    check_average(by, options)
    low, high = options.get("min_event_time"), options.get("max_event_time")
    return average_cells(
        cells,
        by,
        lowest=-np.inf if low is None else float(low),
        highest=np.inf if high is None else float(high),
        balance=options.get("balance"),
    )


def average_estimates(
    estimates: Estimates,
    cells: EffectCells,
    context: CellContext,
    by: str,
    found: CellAverages,
    options: Mapping[str, Any],
) -> Estimates:
    """Return averages as `Estimates`, the overall one first."""
    whom = estimates.method.comparison
    rows = tuple(_average_term(cells, context, by, found, i, whom) for i in range(found.value.size))
    words = [f"averaged by {by.replace('_', ' ')}", "shares of cohorts taken as fixed"]
    words += [f"{key} {value}" for key, value in options.items() if value is not None]
    return averaged(estimates, rows, found.covariance, found.influence, words)


def _average_term(cells: EffectCells, context: CellContext, by: str, found: CellAverages, i: int, whom: str) -> Term:
    label, overall, members = float(found.label[i]), i == 0, found.member[i]
    name = "overall" if overall else average_label(context.data, by, label)
    cohorts = np.unique(cells.cohort[members])
    pairs = zip(cells.cohort[members], cells.time[members], strict=True)
    compared = [context.compared(float(g), float(t)) for g, t in pairs]
    support = [Cell(cohort_label(context.data, float(g)), context.sizes[float(g)], None, COHORTS) for g in cohorts]
    if compared:
        # Methods compare with other people, whose numbers are told apart by whom they are.
        table = f"comparison, {by.replace('_', ' ')} {name} ({whom})"
        support.append(Cell("comparison", min(compared), None, table))
    extra: tuple[tuple[str, float | str | None], ...] = ()
    if not overall:
        extra = ((("event_time", label),) if by == "event_time" else ()) + (("cells", float(found.n_cells[i])),)
    error = float(np.sqrt(max(found.covariance[i, i], 0.0)))
    return point(
        name,
        replace(EFFECT, contrast=context.contrast),
        context.data.outcome_name,
        (float(found.value[i]), error if error > context.least else np.nan),
        context.flat if members.any() else "no identified cell",
        df=context.df,
        n_units=context.n_units,
        n_clusters=context.n_clusters,
        support=tuple(support),
        extra=extra,
    )


def check_average(by: str, options: Mapping[str, Any]) -> None:
    """Raise if an average, or an option of it, is not known."""
    if by not in AVERAGES:
        raise DesignError(f"Effects by cohort and period are averaged by one of {', '.join(AVERAGES)}, not {by!r}.")
    unknown = sorted(set(options) - set(OPTIONS))
    if unknown:
        raise DesignError(f"Unknown options: {', '.join(unknown)}; there are {', '.join(OPTIONS)}.")


def pretest(estimates: Estimates, before: Sequence[int]) -> Estimates:
    """Return the test that the effects in some rows (those before treatment) are all zero.

    The Wald statistic divided by its rank is referred to F with the rank and the rows' degrees of freedom; to
    chi-square where those are infinite.
    """
    used = [i for i in before if estimates.terms[i].std_error]
    df2 = min((estimates.terms[i].df for i in used), default=np.inf)
    place = np.array(used, dtype=np.intp)
    statistic, rank, p_value = np.nan, 0, np.nan
    if used:
        statistic, rank, p_value = wald_joint(
            estimates.values[place], estimates.covariance[np.ix_(place, place)], df2=float(df2)
        )
    defined = rank == len(used) and rank > 0
    reason = "no row before treatment has a standard error" if not used else "the rows' covariance is singular"
    finite = bool(np.isfinite(df2))
    return pretested(
        estimates,
        PRETEST,
        df=rank,
        df2=float(df2) if finite else None,
        statistic=statistic / rank if finite and rank else statistic,
        p_value=p_value,
        reason="" if defined else reason,
    )


@dataclass(frozen=True, slots=True)
class EventAggregator:
    """Averages rows that are event times already."""

    def aggregate(self, estimates: Estimates, by: str, options: Mapping[str, Any]) -> Estimates:
        """Return the plain mean of the event times from zero on, the rows themselves, or the test of those before."""
        times = [dict(row.extra).get("event_time") for row in estimates.terms]
        if options or by not in ("simple", "event_time", "pretest"):
            raise DesignError(
                f"Event times are averaged by simple, event_time or pretest, without options, not by {by!r}."
            )
        if by == "pretest":
            return pretest(estimates, [i for i, e in enumerate(times) if e is not None and float(e) < 0])
        after = [i for i, e in enumerate(times) if e is not None and float(e) >= 0 and estimates.terms[i].std_error]
        if not after:
            raise DesignError("No event time from zero on has a standard error, so there is nothing to average.")
        rows = [i for i, e in enumerate(times) if e is not None]
        matrix = np.zeros((1 + (len(rows) if by == "event_time" else 0), len(times)))
        matrix[0, after] = 1.0 / len(after)
        if by == "event_time":
            matrix[np.arange(1, 1 + len(rows)), rows] = 1.0
        values = np.nan_to_num(estimates.values)
        covariance = matrix @ np.nan_to_num(estimates.covariance) @ matrix.T
        overall = replace(
            estimates.terms[after[0]],
            term="overall",
            value=float(matrix[0] @ values),
            std_error=float(np.sqrt(covariance[0, 0])),
            df=min(estimates.terms[i].df for i in after),
            extra=(),
        )
        terms = (overall, *(estimates.terms[i] for i in rows)) if by == "event_time" else (overall,)
        return replace(
            estimates,
            terms=terms,
            covariance=masked(covariance, terms),
            influence=None if estimates.influence is None else estimates.influence @ matrix.T,
            aggregator=None,
            band=None,
        )
