"""Statistics of all arms and outcomes under the same allocations: what joint tests and step-down procedures need."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gbveval.core.errors import IdentificationError
from gbveval.data.trial import Trial
from gbveval.estimators.randomised._allocation_statistics import complete_pairs, design_statistic
from gbveval.estimators.randomised._assignment import Assignment
from gbveval.estimators.randomised._randomisation_test import Settings, list_all
from gbveval.numerics.allocations import Codes, can_list, draw_allocations, enumerate_allocations
from gbveval.numerics.ranks import midranks

FloatArray = NDArray[np.float64]


@dataclass(frozen=True, eq=False, slots=True)
class JointStatistics:
    """Statistics of every row under the same allocations.

    Attributes
    ----------
    values : ndarray, shape (allocations, rows)
        Rows are outcomes, and arms inside each; infinite where undefined.
    observed : ndarray, shape (rows,)
        Of the allocation that happened.
    weight : ndarray or None
        Probability of each allocation when all are listed.
    """

    values: FloatArray
    observed: FloatArray
    weight: FloatArray | None


def joint_statistics(
    data: Trial, assignment: Assignment, settings: Settings, rng: np.random.Generator
) -> JointStatistics:
    """Return studentised (or plain) differences of every arm and outcome for allocations of the whole trial."""
    makers = []
    for outcome in range(len(data.outcome_names)):
        used = complete_pairs(data, assignment, data.observed(outcome))
        y = data.outcomes[:, outcome]
        kind = settings.kind
        if kind == "rank_sum":
            ranks = np.zeros(data.n)
            treated = int(np.count_nonzero(data.arm[used]))
            n, other = int(used.sum()), int(used.sum()) - treated
            # On this scale the difference of mean ranks is the standardised rank sum, ties not corrected for.
            ranks[used] = midranks(y[used]) * np.sqrt(12.0 * treated * other / (n + 1.0)) / n
            y, kind = ranks, "design"
        makers += [(design_statistic(data, assignment, y, arm, used, kind), arm) for arm in range(1, len(data.arms))]

    def statistics(codes: Codes) -> FloatArray:
        rows = [maker.parts(codes, arm).statistic(0.0, studentised=settings.studentised) for maker, arm in makers]
        return np.where(np.isnan(rows), np.inf, rows).T

    scheme = assignment.scheme
    observed = statistics(scheme.labels[None, :])[0]
    if not np.all(np.isfinite(observed)):
        raise IdentificationError(
            "The design gives no standard error for some arm and outcome (a single unit of assignment, or an outcome "
            "that does not vary), so rows cannot be compared on one scale. Leave that outcome or arm out."
        )
    if list_all(assignment.count, settings, can_list(scheme)):
        pairs = list(enumerate_allocations(scheme))
        values = np.concatenate([statistics(codes) for codes, _ in pairs])
        return JointStatistics(values, observed, np.concatenate([weight for _, weight in pairs]))
    drawn = [statistics(codes) for codes in draw_allocations(scheme, settings.n_draws, rng)]
    return JointStatistics(np.concatenate(drawn), observed, None)
