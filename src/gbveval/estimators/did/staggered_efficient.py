"""`StaggeredEfficient`: effects of a rollout whose timing was random, as precise as cohort means allow."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from gbveval.core.errors import DesignError, IdentificationError
from gbveval.core.estimates import Estimates
from gbveval.core.method import Check, Method
from gbveval.core.registry import register
from gbveval.data._frame import plural
from gbveval.data.panel import Panel
from gbveval.estimators.did._balanced import UNBALANCED, Paths, balanced_paths, refuse_clusters
from gbveval.estimators.did._cells import CellContext, average_estimates, averages_of, cell_estimates, pretest
from gbveval.numerics.effect_cells import CellAverages, EffectCells
from gbveval.numerics.random_timing import (
    KINDS,
    CohortMoments,
    TimedEffects,
    TimingContrasts,
    all_before,
    cohort_moments,
    effect_variances,
    timed_effects,
    timing_contrasts,
    unit_influence,
)

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]
# Contrasts of rows, and those before treatment, each of shape (rows, cohorts, periods).
Pair = tuple[FloatArray, FloatArray]
COMPARISONS = ("one", "all")
STD_ERRORS = ("neyman", "adjusted")
TOO_SMALL = "the bound taken off exceeds Neyman's variance: cohorts are too small for std_error='adjusted'"
WORDS = {
    "efficient": "adjusted for differences before treatment with the weight of least variance",
    "cs": "differences in differences with all cohorts treated later (Callaway and Sant'Anna)",
    "sa": "differences in differences with the last cohort (Sun and Abraham)",
}


@register("staggered_efficient")
@dataclass(frozen=True, slots=True)
class StaggeredEfficient:
    """Effects by cohort and period when the order of the rollout was random (Roth and Sant'Anna).

    Parameters
    ----------
    estimator : str
        "efficient": differences before treatment are taken off with the weight that makes the variance smallest. "cs",
        "sa": with weight one, which are the estimators of Callaway and Sant'Anna (compared with all cohorts treated
        later) and of Sun and Abraham (with the last cohort only).
    comparisons : str
        What "efficient" adjusts for: "one" (the row's own difference in the last period before treatment) or "all"
        (every difference between cohorts before either is treated; for large cohorts and few periods).
    std_error : str
        "neyman" (an upper bound in large samples) or "adjusted" (less a lower bound of the variance of effects between
        units, where the periods before treatment predict effects; for large cohorts).
    unbalanced : str
        "error", or "drop": leave out, and count, units without an outcome in some period.

    Notes
    -----
    **Identifies** the average effect on each cohort in each period if the first treated periods were assigned to
    units at random (any permutation of them as likely as any other) and nothing was anticipated. No trends need be
    parallel: random timing implies that they are. Cohorts treated in the first period take part, with no difference
    to adjust for, except in "cs" and "sa". From the last cohort's first treated period on nobody is left to compare
    with.

    `aggregate("simple" | "cohort" | "calendar" | "event_time")` averages the contrasts first and adjusts the average:
    each row has its own weight of least variance, so that the average of rows is not the row of the average.
    Covariances between rows with "adjusted" errors have the correlations of Neyman's.

    **Variance** by the design: cohort covariances with divisor n - 1, no further small-sample factor, normal reference.
    Cohorts of one unit have none, and are left out and counted.

    **Do not use when** the timing was not random (`CallawaySantAnna`, `Imputation`): then neither the estimates nor
    the errors mean anything. When timing was assigned to clusters, average them to one row a cluster and period. With
    cohorts of fewer than ten units prefer `RandomisedTiming`, whose test is exact.

    References
    ----------
    Roth and Sant'Anna (2023), Journal of Political Economy Microeconomics 1(4).

    Examples
    --------
    >>> import numpy as np
    >>> from gbveval.testing.processes import PanelFrames
    >>> source = PanelFrames(n_units=120)  # one constant effect of 0.5
    >>> panel = source.check(source.frame(np.random.default_rng(1))[0])
    >>> row = StaggeredEfficient().estimate(panel).aggregate("simple")[0]
    >>> abs(row.value - 0.5) < 3 * row.std_error
    True
    """

    estimator: str = "efficient"
    comparisons: str = "one"
    std_error: str = "neyman"
    unbalanced: str = "error"
    name: ClassVar[str] = "staggered_efficient"

    def __post_init__(self) -> None:
        for option, known in (
            ("estimator", KINDS),
            ("comparisons", COMPARISONS),
            ("std_error", STD_ERRORS),
            ("unbalanced", UNBALANCED),
        ):
            if getattr(self, option) not in known:
                raise DesignError(f"{option} must be one of {', '.join(known)}, not {getattr(self, option)!r}.")
        if self.comparisons == "all" and self.estimator != "efficient":
            raise DesignError("comparisons='all' is for estimator='efficient'; the others take one difference off.")

    def estimate(self, data: Panel, *, rng: np.random.Generator | None = None) -> Estimates:
        """Return one row a cohort and period; `aggregate` averages them.

        Parameters
        ----------
        data : Panel
            Units followed over time, with an outcome in every period.
        rng : numpy.random.Generator, optional
            Ignored: nothing is random.

        Raises
        ------
        DesignError
            For repeated cross-sections, gaps, weights, covariates, clusters, or treatment that ends.
        IdentificationError
            If there are not two cohorts of two units, or no treated period in which a later cohort is untreated.
        """
        refuse_clusters(
            "StaggeredEfficient",
            data,
            "If timing was assigned to clusters, average each to one row a period, or use RandomisedTiming.",
        )
        paths = balanced_paths("StaggeredEfficient", data, self.unbalanced, first_too=self.estimator != "efficient")
        study, checks = _study(self, paths)
        pair = (study.contrasts.effect, study.contrasts.before)
        found = study.effects(pair)
        errors = study.errors(found, pair)
        cells = EffectCells(
            cohort=study.contrasts.cohort,
            time=study.contrasts.time,
            value=found.value,
            weight=study.cell_size(),
            covariance=errors.covariance,
            influence=errors.influence,
        )
        sizes = {float(g): int(n) for g, n in zip(study.moments.cohort, study.moments.size, strict=True)}
        pairs = zip(cells.cohort, cells.time, study.contrasts.compared, strict=True)
        context = CellContext(
            data=data,
            sizes={g: n for g, n in sizes.items() if g < study.moments.cohort[-1]},
            comparison={(float(g), float(t)): int(n) for g, t, n in pairs},
            df=np.inf,
            n_units=int(study.moments.size.sum()),
            n_clusters=None,
            least=1e-13 * float(np.sqrt(np.mean(paths.y**2))) if paths.n else 0.0,
        )
        estimates = cell_estimates(self, cells, context, method=_method(self, paths), checks=(*checks, *paths.checks()))
        return replace(_explained(estimates, self, errors), aggregator=TimedAggregator(study, cells, context))


@dataclass(frozen=True, eq=False, slots=True)
class TimedStudy:
    """Cohort means, their contrasts, and how they are adjusted.

    Attributes
    ----------
    options : StaggeredEfficient
    paths : ndarray, shape (units, periods)
    cohort : ndarray, shape (units,)
    moments : CohortMoments
    contrasts : TimingContrasts
    every : ndarray or None
        Contrasts before treatment to adjust all rows for.
    """

    options: StaggeredEfficient
    paths: FloatArray
    cohort: FloatArray
    moments: CohortMoments
    contrasts: TimingContrasts
    every: FloatArray | None

    def cell_size(self) -> FloatArray:
        """Return the units of each cell's cohort."""
        return self.moments.size[np.searchsorted(self.moments.cohort, self.contrasts.cohort)]

    def averages(self, matrix: FloatArray) -> Pair:
        """Return averages of the contrasts and of those before, by a matrix of shape (rows, cells)."""
        cells = self.contrasts
        return np.tensordot(matrix, cells.effect, axes=1), np.tensordot(matrix, cells.before, axes=1)

    def effects(self, pair: Pair) -> TimedEffects:
        """Return the estimates of contrasts."""
        fixed = self.options.estimator != "efficient"
        return timed_effects(self.moments, *pair, every=self.every, fixed=fixed)

    def errors(self, found: TimedEffects, pair: Pair) -> Errors:
        """Return the covariance of the kind asked for."""
        influence = unit_influence(self.paths, self.cohort, self.moments, found.weight)
        joint = influence.T @ influence
        neyman = np.diag(joint)
        nothing = np.sqrt(neyman) <= 1e-13 * float(np.sqrt(np.mean(self.paths**2)))
        if self.options.std_error == "neyman":
            return Errors(joint, influence, nothing)
        left = np.maximum(neyman - effect_variances(self.moments, pair[0]), 0.0)
        factor = np.sqrt(np.divide(left, neyman, out=np.zeros_like(neyman), where=neyman > 0))
        return Errors(factor[:, None] * joint * factor, None, nothing)


@dataclass(frozen=True, eq=False, slots=True)
class Errors:
    """Covariance of rows.

    Attributes
    ----------
    covariance : ndarray, shape (rows, rows)
    influence : ndarray, shape (units, rows), or None
        Where the covariance is its cross-product.
    nothing : ndarray of bool, shape (rows,)
        Rows without any variance of their own.
    """

    covariance: FloatArray
    influence: FloatArray | None
    nothing: BoolArray


@dataclass(frozen=True, eq=False, slots=True)
class TimedAggregator:
    """Averages contrasts, and adjusts the average."""

    study: TimedStudy
    cells: EffectCells
    context: CellContext

    def aggregate(self, estimates: Estimates, by: str, options: Mapping[str, Any]) -> Estimates:
        """Return averages of the effects, the overall one first, or the test of those before treatment."""
        if by == "pretest":
            return pretest(estimates, [i for i in range(len(estimates)) if not self.cells.post[i]])
        weights = averages_of(self.cells, by, options)
        pair = self.study.averages(weights.weight)
        found = self.study.effects(pair)
        errors = self.study.errors(found, pair)
        averages = CellAverages(
            label=weights.label,
            value=np.where(weights.member.any(axis=1), found.value, np.nan),
            covariance=errors.covariance,
            influence=errors.influence,
            n_cells=weights.n_cells,
            member=weights.member,
            weight=weights.weight,
        )
        rows = average_estimates(estimates, self.cells, self.context, by, averages, options)
        return _explained(rows, self.study.options, errors)


def _study(options: StaggeredEfficient, paths: Paths) -> tuple[TimedStudy, tuple[Check, ...]]:
    """Return cohort means and contrasts without the cohorts of one unit; raise where nothing can be compared."""
    values, code, size = np.unique(paths.cohort, return_inverse=True, return_counts=True)
    kept = size[code] > 1
    y, cohort = paths.y[kept], paths.cohort[kept]
    lost = int((~kept).sum())
    cohorts = values[size > 1]
    if cohorts.size < 2 or not (paths.periods[paths.periods < cohorts[-1]] >= cohorts[0]).any():
        alone = f", and {plural(lost, 'cohort')} of one unit" if lost else ""
        raise IdentificationError(
            f"{plural(int(cohorts.size), 'cohort')} of two or more units{alone}; two are needed (those never treated "
            "are one), and a period in which one is treated and a later one is not. RandomisedTiming tests "
            "single units."
        )
    moments = cohort_moments(y, cohort, paths.periods)
    contrasts = timing_contrasts(cohorts, moments.size, paths.periods, last_only=options.estimator == "sa")
    every = all_before(cohorts, paths.periods) if options.comparisons == "all" else None
    if every is not None and every.shape[0] >= cohort.size - cohorts.size:
        raise DesignError(
            f"There are {every.shape[0]:,} differences before treatment to adjust for, and {cohort.size:,} units. Use "
            "comparisons='one'."
        )
    checks = []
    if lost:
        text = f"{plural(lost, 'cohort')} of one unit left out: one unit shows no variance."
        public = "cohorts of one unit are left out: one unit shows no variance."
        checks.append(Check("cohorts of one unit", "warn", text, public))
    if every is not None and every.shape[0] * 10 > cohort.size:
        text = f"{every.shape[0]:,} differences are adjusted for, many for these units; errors are then too small."
        checks.append(Check("many comparisons", "warn", text))
    return TimedStudy(options, y, cohort, moments, contrasts, every), tuple(checks)


def _explained(estimates: Estimates, options: StaggeredEfficient, errors: Errors) -> Estimates:
    """Return the rows with the reason why some have no standard error."""
    terms = tuple(
        replace(row, reason=_why(options) if nothing else TOO_SMALL)
        if row.value is not None and row.std_error is None
        else row
        for row, nothing in zip(estimates.terms, errors.nothing, strict=True)
    )
    return replace(estimates, terms=terms)


def _why(options: StaggeredEfficient) -> str:
    if options.comparisons == "all":
        return "it is one of the differences that are adjusted for, or the outcome does not vary"
    return "it is the difference that is adjusted for, or the outcome does not vary"


def _method(options: StaggeredEfficient, paths: Paths) -> Method:
    error = "Neyman, from cohort covariances over periods"
    if options.std_error == "adjusted":
        error += ", less a lower bound of the variance of effects between units"
    words = WORDS[options.estimator]
    if options.estimator == "efficient":
        words += " (all of them)" if options.comparisons == "all" else " (one, in the last period before)"
    return Method(
        sample=f"{paths.words()}; {words}",
        std_error=error,
        small_sample="none",
        reference="normal",
        inference_for="these units (randomisation of timing; conservative)",
        assumptions=(
            "the first treated periods were assigned to units at random",
            "treatment does not act before it begins",
            "one unit's treatment does not change another's outcome",
        ),
        source="Roth and Sant'Anna 2023",
        comparison="units that could as well have been treated then, by lot",
    )
