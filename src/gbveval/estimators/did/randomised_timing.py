"""`RandomisedTiming`: a randomisation test of a rollout, with an interval, however few units are treated."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from gbveval.core.errors import DesignError, IdentificationError
from gbveval.core.estimand import Estimand
from gbveval.core.estimates import Estimates
from gbveval.core.method import Check, Method
from gbveval.core.provenance import Provenance, derive_seed, options_of, versions
from gbveval.core.registry import register
from gbveval.core.term import Term
from gbveval.data._frame import plural
from gbveval.data.panel import Panel
from gbveval.estimators.did._balanced import UNBALANCED, Paths, balanced_paths
from gbveval.estimators.did._rollout import FLAT, cohort_support
from gbveval.estimators.did._rollout_checks import dose_checks
from gbveval.estimators.did._spatial import refuse_place
from gbveval.numerics.allocations import (
    Scheme,
    count_allocations,
    draw_allocations,
    enumerate_allocations,
    how_many,
    permuted,
)
from gbveval.numerics.effect_cells import EffectCells, average_cells
from gbveval.numerics.inference import ALTERNATIVES, check_level
from gbveval.numerics.null_distribution import invert, tail
from gbveval.numerics.random_timing import KINDS, timing_contrasts
from gbveval.numerics.timing_test import TimingParts, TimingTest, join, timing_test

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.intp]
STATISTICS = ("studentised", "difference")
AVERAGES = ("simple", "cohort", "calendar", "event_time")
ASSIGNMENTS = ("auto", "units", "clusters", "within_clusters")
# Labels of cohorts are small integers.
MOST_COHORTS = 127
LISTED_FOR_EACH_DRAW = 20


@register("randomised_timing")
@dataclass(frozen=True, slots=True)
class RandomisedTiming:
    """Randomisation test of a rollout: the first treated periods are given to the units again.

    Parameters
    ----------
    estimator : str
        As in `StaggeredEfficient`: "efficient", "cs" or "sa".
    statistic : str
        "studentised" (the estimate over its Neyman standard error) or "difference" (the estimate: the one choice when a
        cohort is a single unit, with "cs" or "sa").
    average : str
        Which average of effects: "simple", "cohort", "calendar" or "event_time".
    assignment : str
        What got its first treated period by lot: "units", "clusters" (averaged to one path each) or "within_clusters"
        (units, inside each cluster as a stratum). "auto" is clusters where the panel names them, units otherwise.
    alternative : str
        "two_sided" (the absolute statistic), "greater" or "less".
    unbalanced : str
        "error", or "drop": leave out, and count, units without an outcome in some period.
    n_draws : int
        Permutations drawn; all are listed instead when there are at most twenty times as many.
    level : float
        Level of the interval, which holds at this level only.

    Notes
    -----
    **Tests** that treatment has no effect in any unit and period, exactly, whatever the outcome's distribution and
    however few units are treated. **The interval** holds the effects, constant over units and periods, that the
    two-sided test does not reject; it is the hull of that set. With a single treated unit among n the smallest
    p-value is 1/n; `checks` says what it is.

    **Valid when** any other assignment of the same first treated periods was as likely as the one that happened
    (inside strata, for clusters), and one unit's treatment does not change another's outcome. The studentised
    statistic tests, in large samples, no effect on average too (Roth and Sant'Anna 2023); the difference does not.

    Units without an outcome in some period are refused, or left out: the test then conditions on who is complete, and
    treatment must not change that. Units treated before the panel begins are left out and counted; "cs" and "sa"
    leave out those treated in its first period too.

    **Do not use when** places chose their time, or were chosen for it: the test then takes that for an effect.
    `SyntheticDid` and its placebo errors ask for less.

    References
    ----------
    Fisher (1935), The Design of Experiments. Roth and Sant'Anna (2023), Journal of Political Economy Microeconomics
    1(4). Phipson and Smyth (2010), Statistical Applications in Genetics and Molecular Biology 9, for drawn
    permutations.

    Examples
    --------
    >>> import numpy as np
    >>> y = np.array([[1.0, 1.2, 4.0], [2.0, 2.1, 2.4], [0.5, 0.4, 0.8], [3.0, 3.2, 3.3], [1.5, 1.4, 1.9]])
    >>> frame = {"y": y.ravel(), "place": np.repeat(range(5), 3), "year": [1, 2, 3] * 5}
    >>> frame["since"] = [3.0] * 3 + [np.nan] * 12
    >>> panel = Panel(frame, outcome="y", unit="place", time="year", cohort="since")
    >>> row = RandomisedTiming(estimator="cs", statistic="difference").estimate(panel)[0]
    >>> round(row.value, 3), round(row.p_value, 3)  # the largest of five changes
    (2.475, 0.2)
    """

    estimator: str = "efficient"
    statistic: str = "studentised"
    average: str = "simple"
    assignment: str = "auto"
    alternative: str = "two_sided"
    unbalanced: str = "error"
    n_draws: int = 9_999
    level: float = 0.95
    name: ClassVar[str] = "randomised_timing"

    def __post_init__(self) -> None:
        for option, known in (
            ("estimator", KINDS),
            ("statistic", STATISTICS),
            ("average", AVERAGES),
            ("assignment", ASSIGNMENTS),
            ("alternative", ALTERNATIVES),
            ("unbalanced", UNBALANCED),
        ):
            if getattr(self, option) not in known:
                raise DesignError(f"{option} must be one of {', '.join(known)}, not {getattr(self, option)!r}.")
        if self.n_draws < 19:
            raise DesignError("n_draws must be at least 19, so that p can be 0.05.")
        try:
            check_level(self.level)
        except ValueError as error:
            raise DesignError(str(error)) from error

    def estimate(self, data: Panel, *, rng: np.random.Generator | None = None) -> Estimates:
        """Return one average of effects with its randomisation test and interval.

        Parameters
        ----------
        data : Panel
            Units followed over time, with an outcome in every period.
        rng : numpy.random.Generator, optional
            For drawn permutations; by default seeded from the data and the options.

        Raises
        ------
        DesignError
            If roles and options do not fit: gaps, weights, covariates, cohorts that vary within clusters.
        IdentificationError
            If nothing can be compared, a studentised statistic has no standard error, or one assignment was possible.
        """
        refuse_place(
            "RandomisedTiming",
            data,
            "Leave place out: this test needs what was assigned by lot (cluster), and not who shares shocks.",
        )
        if data.second_cluster is not None:
            raise DesignError(
                "RandomisedTiming takes clusters of one kind: those that timing was assigned to, or within."
            )
        paths = balanced_paths("RandomisedTiming", data, self.unbalanced, first_too=self.estimator != "efficient")
        lots = _lots(paths, self._unit_of_assignment(data), data)
        test = _test(self, lots, paths.periods)
        count = count_allocations(lots.scheme)
        if count < 2:
            raise IdentificationError(
                "Only one assignment of the first treated periods was possible, so no other can be compared with it. "
                "Say by assignment=... what was assigned by lot."
            )
        seed = derive_seed(data.digest, self.name, repr(options_of(self))) if rng is None else int(rng.integers(2**31))
        found = _distribution(self, test, lots.scheme, count, np.random.default_rng(seed))
        row = _row(self, data, paths, lots, found)
        return Estimates(
            estimator=self.name,
            terms=(row,),
            covariance=np.array([[np.nan if row.std_error is None else row.std_error**2]]),
            method=_method(self, paths, lots, found),
            level=self.level,
            checks=(*_checks(found, self.level), *paths.checks(), *dose_checks(data)),
            provenance=Provenance(
                data.digest, tuple(options_of(self).items()), seed, versions(), seed_derived=rng is None
            ),
            flow=data.flow(),
        )

    def _unit_of_assignment(self, data: Panel) -> str:
        if self.assignment == "auto":
            return "units" if data.cluster is None else "clusters"
        if self.assignment != "units" and data.cluster is None:
            raise DesignError(f"assignment={self.assignment!r} needs the panel's role cluster.")
        return self.assignment


@dataclass(frozen=True, eq=False, slots=True)
class Lots:
    """What got first treated periods by lot.

    Attributes
    ----------
    what : str
        "units", "clusters" or "within_clusters".
    y, treated : ndarray, shape (lots, periods)
        Outcome, and treatment as it was.
    cohorts, size : ndarray, shape (cohorts,)
        First treated periods in order, and their lots.
    scheme : Scheme
    scale : float
        Root mean square of the outcome.
    """

    what: str
    y: FloatArray
    treated: FloatArray
    cohorts: FloatArray
    size: FloatArray
    scheme: Scheme
    scale: float


def _lots(paths: Paths, what: str, data: Panel) -> Lots:
    y, cohort, block = paths.y, paths.cohort, None
    if paths.cluster is not None and what != "units":
        _, first, code = np.unique(paths.cluster, return_index=True, return_inverse=True)
        # Numbered by the first unit in an order that depends on no name.
        code = np.argsort(np.argsort(first))[code]
        if what == "within_clusters":
            block = code.astype(np.intp)
        else:
            chosen = cohort[np.sort(first)]
            mixed = int(np.unique(code[cohort != chosen[code]]).size)
            if mixed:
                raise DesignError(
                    f"The first treated period varies within {plural(mixed, 'cluster')} of column "
                    f"{data.cluster_name!r}, so it was not assigned to clusters. Say "
                    "assignment='within_clusters' or 'units'."
                )
            member = (code == np.arange(first.size)[:, None]).astype(float)
            y, cohort = member @ y / member.sum(axis=1, keepdims=True), chosen
    cohorts, label, size = np.unique(cohort, return_inverse=True, return_counts=True)
    if cohorts.size > MOST_COHORTS:
        raise DesignError(f"There are {cohorts.size} cohorts; at most {MOST_COHORTS} are permuted. Use wider periods.")
    if cohorts.size < 2 or not (paths.periods[paths.periods < cohorts[-1]] >= cohorts[0]).any():
        raise IdentificationError(
            f"{plural(int(cohorts.size), 'cohort')} with an outcome in every period; two are needed (those never "
            "treated are one), and a period in which one is treated and a later one is not."
        )
    treated = (paths.periods >= cohort[:, None]).astype(float)
    scale = float(np.sqrt(np.mean(paths.y**2)))
    return Lots(what, y, treated, cohorts, size.astype(float), permuted(label, block), scale)


def _test(options: RandomisedTiming, lots: Lots, periods: FloatArray) -> TimingTest:
    """Return the test of the average that was asked for, its contrasts those of `StaggeredEfficient`."""
    found = timing_contrasts(lots.cohorts, lots.size, periods, last_only=options.estimator == "sa")
    count = found.cohort.size
    weight = lots.size[np.searchsorted(lots.cohorts, found.cohort)]
    cells = EffectCells(found.cohort, found.time, np.zeros(count), weight, np.zeros((count, count)), np.eye(count))
    averages = average_cells(cells, options.average)
    assert averages.influence is not None
    shares = averages.influence[:, 0]
    effect, before = (np.einsum("c,cgt->gt", shares, part) for part in (found.effect, found.before))
    return timing_test(lots.y, lots.treated, lots.size, effect, before)


@dataclass(frozen=True, eq=False, slots=True)
class Distribution:
    """The statistic's parts over assignments, the observed one last.

    Attributes
    ----------
    options : RandomisedTiming
    parts : TimingParts
    weight : ndarray or None
        Probabilities where all assignments are listed.
    count : int
        Assignments that were possible.
    """

    options: RandomisedTiming
    parts: TimingParts
    weight: FloatArray | None
    count: int

    @property
    def n(self) -> int:
        """Assignments listed or drawn."""
        return int(self.parts.first.shape[0]) - 1

    @property
    def smallest(self) -> float:
        """The smallest p-value there can be."""
        return 1.0 / self.count if self.weight is not None else 1.0 / (self.n + 1.0)

    def observed(self) -> tuple[float, float]:
        """Return the estimate and its variance, NaN where there is none."""
        last = TimingParts(self.parts.first[-1:], self.parts.second[-1:])
        value, variance = last.estimates(0.0, efficient=self.options.estimator == "efficient")
        return float(value[0]), float(variance[0])

    def statistics(self, tau: float) -> FloatArray:
        """Return the statistics under a constant effect, the observed one last."""
        return self.parts.statistic(
            tau,
            efficient=self.options.estimator == "efficient",
            studentised=self.options.statistic == "studentised",
        )

    def p_value(self, tau: float) -> float:
        """Return the p-value of a constant effect."""
        values = self.statistics(tau)
        rule = "absolute" if self.options.alternative == "two_sided" else self.options.alternative
        return tail(values[:-1], float(values[-1]), self.weight, rule=rule)

    def interval(self) -> tuple[float, float]:
        """Return the hull of the constant effects that are not rejected."""
        value, variance = self.observed()
        spread = float(np.std(self.statistics(0.0)[:-1])) if self.options.statistic == "difference" else 0.0
        step = float(np.sqrt(variance)) if variance > 0 else (spread or 1.0)
        # A p-value of exactly alpha rejects; the slack is for sums of probabilities in floating point.
        alpha = (1.0 - self.options.level) * (1.0 + 1e-9)
        low, high = invert(lambda tau: self.p_value(tau) > alpha, value, step)
        low = -np.inf if self.options.alternative == "less" else low
        return float(low), float(np.inf if self.options.alternative == "greater" else high)


def _distribution(
    options: RandomisedTiming, test: TimingTest, scheme: Scheme, count: int, rng: np.random.Generator
) -> Distribution:
    observed = test.parts(scheme.labels[None, :])
    listed = count <= LISTED_FOR_EACH_DRAW * options.n_draws
    parts, weights = [], []
    if listed:
        for codes, weight in enumerate_allocations(scheme):
            parts.append(test.parts(codes))
            weights.append(weight)
    else:
        parts = [test.parts(codes) for codes in draw_allocations(scheme, options.n_draws, rng)]
    return Distribution(options, join([*parts, observed]), np.concatenate(weights) if listed else None, count)


def _row(options: RandomisedTiming, data: Panel, paths: Paths, lots: Lots, found: Distribution) -> Term:
    value, variance = found.observed()
    if not variance > (1e-13 * lots.scale) ** 2:
        variance = 0.0 if variance >= 0 else np.nan
    _need_statistic(options, variance)
    if lots.what == "clusters":
        units, clusters = paths.n, int(lots.size.sum())
    else:
        units, clusters = paths.n, None
    low, high = found.interval()
    reason = "no effect can be excluded at this level" if np.isinf(low) and np.isinf(high) else ""
    if not variance > 0:
        reason = FLAT if variance == 0 else "a cohort of one unit shows no variance"
    return Term(
        term=f"overall, {options.average.replace('_', ' ')} average",
        estimand=Estimand("ATT", "mean_difference", "treated"),
        outcome=data.outcome_name,
        value=value,
        std_error=float(np.sqrt(variance)) if variance > 0 else None,
        interval=(low, high),
        interval_level=options.level,
        statistic=float(found.statistics(0.0)[-1]),
        p_value=found.p_value(0.0),
        n_units=units,
        n_clusters=clusters,
        support=cohort_support(data, paths.sizes()),
        reason=reason,
        extra=(
            ("n_draws", float(found.n)),
            ("draws", "listed" if found.weight is not None else "drawn"),
        ),
    )


def _need_statistic(options: RandomisedTiming, variance: float) -> None:
    if np.isnan(variance) and (options.statistic == "studentised" or options.estimator == "efficient"):
        raise IdentificationError(
            "A cohort has a single unit (or cluster), so there is no standard error and no weight of least variance. "
            "Use RandomisedTiming(estimator='cs', statistic='difference')."
        )
    if variance == 0 and options.statistic == "studentised":
        raise IdentificationError(
            "The outcome does not vary within cohorts, so the statistic cannot be studentised. Use "
            "RandomisedTiming(estimator='cs', statistic='difference')."
        )


def _method(options: RandomisedTiming, paths: Paths, lots: Lots, found: Distribution) -> Method:
    what = {
        "units": "over units",
        "clusters": "over clusters, each averaged to one path",
        "within_clusters": "over units within clusters",
    }[lots.what]
    how = f"all {found.n:,} listed" if found.weight is not None else f"{found.n:,} drawn of {how_many(found.count)}"
    return Method(
        sample=paths.words(),
        std_error="Neyman, from cohort covariances over periods; it scales the statistic, and makes no interval",
        small_sample="exact test by permuting first treated periods" + ("" if found.weight is not None else ", drawn"),
        reference=f"permutations of first treated periods {what} ({how})",
        inference_for="these units (randomisation of timing); the interval is for a constant effect",
        assumptions=(
            "any other assignment of the same first treated periods was as likely",
            "treatment does not act before it begins",
            "one unit's treatment does not change another's outcome",
        ),
        source="Fisher 1935; Roth and Sant'Anna 2023",
        comparison="what other orders of the rollout would have given",
    )


def _checks(found: Distribution, level: float) -> tuple[Check, ...]:
    if found.smallest <= 1.0 - level:
        text = f"the smallest p-value that the permutations can give is {found.smallest:.2g}."
        return (Check("smallest p-value", "info", text, "the permutations can give p-values below the test's size."),)
    text = f"the smallest p-value that the permutations can give is {found.smallest:.2g}: no effect can be shown."
    public = "too few permutations are possible for any effect to be shown at this level."
    return (Check("smallest p-value", "warn", text, public),)
