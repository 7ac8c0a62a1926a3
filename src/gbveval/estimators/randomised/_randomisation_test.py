"""One randomisation test: the allocations to compare with, the statistic of each, and what follows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gbveval.core.errors import DesignError, IdentificationError
from gbveval.data.trial import Trial
from gbveval.estimators._trials import subset, two_arms
from gbveval.estimators.randomised._allocation_statistics import complete_pairs, design_statistic, refit
from gbveval.estimators.randomised._assignment import Assignment, RecordedAllocations, assignment_of, runs_again
from gbveval.numerics.adjusted_means import adjusted_means
from gbveval.numerics.allocations import can_list, draw_allocations, draw_order, enumerate_allocations, how_many
from gbveval.numerics.null_distribution import invert, tail
from gbveval.numerics.randomisation import DesignStatistic, Parts, join_parts

FloatArray = NDArray[np.float64]

# More allocations than this are never listed: a matrix of ten units by five million takes minutes.
MOST_LISTED = 5_000_000
LISTED_FOR_EACH_DRAW = 20


@dataclass(frozen=True, slots=True)
class Settings:
    """The options of a randomisation test, resolved for a trial."""

    estimator: Any
    fast: bool
    kind: str
    studentised: bool
    null: float
    rule: str
    assignment: str | RecordedAllocations
    distribution: str
    n_draws: int
    level: float
    # Whether the estimator is Lin's adjustment of units assigned one by one, which has matrix products of its own.
    adjusted: bool = False


@dataclass(frozen=True, eq=False, slots=True)
class Prepared:
    """A trial of two arms, complete for one outcome, ready to be allocated again.

    Attributes
    ----------
    trial : Trial
        Control and one arm, rows with the outcome. With recorded allocations, the whole trial.
    assignment : Assignment
        Its units of assignment.
    statistic : DesignStatistic
        Of the outcome.
    arm : int
        Code of the arm in `trial`.
    used : ndarray of bool
        Rows of `trial` that count.
    """

    trial: Trial
    assignment: Assignment
    statistic: DesignStatistic
    arm: int
    used: NDArray[np.bool_]


@dataclass(frozen=True, eq=False, slots=True)
class NullDistribution:
    """The parts of all or of drawn allocations, and those of the observed one.

    Attributes
    ----------
    parts, observed : Parts
        Of the allocations, and of the one that happened.
    weight : ndarray or None
        Probability of each allocation when all are listed; None for draws.
    count : int
        Allocations that were possible.
    together : Parts
        `parts` with `observed` at the end, for the many tests that an interval takes.
    """

    parts: Parts
    observed: Parts
    weight: FloatArray | None
    count: int
    together: Parts

    def p_value(self, tau: float, rule: str, *, studentised: bool) -> float:
        """Return the p-value of the null of a constant effect tau."""
        values = self.together.statistic(tau, studentised=studentised)
        return tail(values[:-1], float(values[-1]), self.weight, rule=rule)

    def statistic(self, tau: float, *, studentised: bool) -> float:
        """Return the observed statistic."""
        return float(self.observed.statistic(tau, studentised=studentised)[0])

    def interval(self, settings: Settings) -> tuple[float, float]:
        """Return the hull of the constant effects that are not rejected at one minus the level."""
        alpha = 1.0 - settings.level
        centre = float(self.observed.d_y[0])
        error = float(np.sqrt(self.observed.v_yy[0])) if self.observed.v_yy[0] > 0 else 0.0
        finite = self.parts.d_y[np.isfinite(self.parts.d_y)]
        step = error or float(np.std(finite)) or 1.0

        def accepts(tau: float) -> bool:
            # A p-value of exactly alpha rejects; the slack is for sums of probabilities in floating point.
            return self.p_value(tau, settings.rule, studentised=settings.studentised) > alpha * (1.0 + 1e-9)

        low, high = invert(accepts, centre, step)
        if settings.rule == "greater":
            return low, float("inf")
        return (float("-inf"), high) if settings.rule == "less" else (low, high)


def prepare(data: Trial, outcome: int, arm: int, settings: Settings) -> Prepared:
    """Return the comparison of one arm with control for one outcome.

    Given which units have the outcome and which are in the two arms, their allocation is again random, so the test
    conditions on both. Recorded allocations, and a declared scheme that is run again, cannot be conditioned on and are
    used with all units.
    """
    recorded = isinstance(settings.assignment, RecordedAllocations) or runs_again(data, settings.assignment)
    if recorded or data.crosses_over:
        if len(data.arms) > 2 and not settings.fast:
            raise DesignError(
                "Recorded allocations, declared schemes and stepped wedges are refitted with two arms only."
            )
        trial = data
        assignment = assignment_of(trial, settings.assignment)
        used = complete_pairs(trial, assignment, trial.observed(outcome))
    else:
        trial = two_arms(data, arm)
        assignment = assignment_of(trial, settings.assignment)
        keep = complete_pairs(trial, assignment, trial.observed(outcome))
        trial, arm = subset(trial, keep), 1
        _need_both(data, trial, arm)
        if trial.cluster is None:
            # In this order allocations are drawn and summed without being gathered.
            trial = subset(trial, draw_order(assignment_of(trial, settings.assignment).scheme))
        assignment = assignment_of(trial, settings.assignment)
        used = np.ones(trial.n, dtype=bool)
    statistic: DesignStatistic
    if settings.fast:
        y = trial.outcomes[:, outcome]
        statistic = design_statistic(trial, assignment, y, arm, used, settings.kind)
    elif settings.adjusted and used.all():
        y = trial.outcomes[:, outcome]
        statistic = adjusted_means(y, (trial.arm == arm).astype(float), trial.covariates)
    else:
        statistic = refit(settings.estimator, trial, assignment, outcome)
    return Prepared(trial, assignment, statistic, arm, used)


def _need_both(data: Trial, trial: Trial, arm: int) -> None:
    for code in (0, arm):
        if not np.any(trial.arm == code):
            raise IdentificationError(
                "An arm has no unit with an outcome, so there is nothing to compare. Leave the outcome or the arm out; "
                f"the participant flow of the trial's {data.n:,} units shows where outcomes are missing."
            )


def null_distribution(ready: Prepared, settings: Settings, rng: np.random.Generator) -> NullDistribution:
    """Return the statistic's parts over the allocations that could have been."""
    scheme, count = ready.assignment.scheme, ready.assignment.count
    if count < 2:
        raise IdentificationError(
            "Only one allocation was possible, so no other can be compared with it. Declare the strata, pairs or "
            "clusters as they were when units were assigned."
        )
    observed = ready.statistic.parts(scheme.labels[None, :], ready.arm)
    _need_statistic(observed, settings)
    if list_all(count, settings, can_list(scheme)):
        parts, weights = [], []
        for codes, weight in enumerate_allocations(scheme):
            parts.append(ready.statistic.parts(codes, ready.arm))
            weights.append(weight)
        return _distribution(parts, observed, np.concatenate(weights), count)
    need_list(settings)
    drawn = [ready.statistic.parts(codes, ready.arm) for codes in draw_allocations(scheme, settings.n_draws, rng)]
    return _distribution(drawn, observed, None, count)


def _distribution(parts: list[Parts], observed: Parts, weight: FloatArray | None, count: int) -> NullDistribution:
    return NullDistribution(join_parts(parts), observed, weight, count, join_parts([*parts, observed]))


def _need_statistic(observed: Parts, settings: Settings) -> None:
    """Raise where the statistic is undefined for the trial as it was."""
    if np.isnan(observed.d_y[0]):
        raise IdentificationError(
            "The difference is undefined: an arm has no unit in some stratum, or the estimator refuses the "
            "trial. Merge strata, or use statistic='ipw_difference', 'sum' or 'rank_sum'."
        )
    if not settings.studentised:
        return
    statistic = float(observed.statistic(settings.null, studentised=True)[0])
    if np.isnan(statistic):
        raise IdentificationError(
            "There is no standard error here: an arm, or an arm of a stratum, has a single unit of assignment, or the "
            "estimator gives none. Use RandomisationInference(statistic='difference')."
        )
    if np.isinf(statistic):
        raise IdentificationError(
            "The outcome does not vary inside the arms, so the statistic cannot be studentised. Use "
            "RandomisationInference(statistic='difference')."
        )


def list_all(count: int, settings: Settings, possible: bool = True) -> bool:
    """Return whether all allocations are listed; `possible` says whether the scheme can list them at all."""
    if settings.distribution == "monte_carlo":
        return False
    if settings.distribution == "exact":
        if not possible:
            raise DesignError("The declared scheme is run again and not listed. Use distribution='monte_carlo'.")
        if count > MOST_LISTED:
            raise DesignError(
                f"There are {how_many(count)} allocations, more than the {MOST_LISTED:,} that are listed. Use "
                "distribution='monte_carlo', or statistic='sum' or 'rank_sum', which need no list."
            )
        return True
    return possible and count <= settings.n_draws * (LISTED_FOR_EACH_DRAW if settings.fast or settings.adjusted else 1)


def need_list(settings: Settings) -> None:
    """Raise where the rule needs the probability of each value, which draws do not give."""
    if settings.rule == "no_more_likely":
        raise DesignError(
            "two_sided='no_more_likely' compares the probabilities of values, which drawn allocations do not give. Use "
            "'absolute' or 'central', or distribution='exact'."
        )
