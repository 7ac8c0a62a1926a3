"""From bounds to rows: a lower and an upper row for each arm and outcome, with an interval for what lies between."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gbveval.core.errors import IdentificationError
from gbveval.core.estimand import Estimand
from gbveval.core.estimates import Estimates
from gbveval.core.method import Check, Method
from gbveval.core.term import Term
from gbveval.data.trial import Trial
from gbveval.estimators._assemble import (
    all_samples,
    arm_support,
    assemble_terms,
    mean_contrast,
    require_parallel,
)
from gbveval.numerics.attrition_bounds import Bounds

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]
# Rows (of the two arms), which of them are treated, which are observed, the outcome: bounds and notes.
Bounding = Callable[[Trial, int, BoolArray, int], tuple[Bounds, list[Check]]]


def estimate_bounds(
    estimator: Any,
    data: Trial,
    bound: Bounding,
    *,
    population: str,
    method: Method,
) -> Estimates:
    """Return a lower and an upper row for each arm and outcome."""
    require_parallel(type(estimator).__name__, data)
    terms: list[Term] = []
    checks: list[Check] = []
    for outcome in range(len(data.outcome_names)):
        for arm in range(1, len(data.arms)):
            rows = np.isin(data.arm, (0, arm))
            if data.weight is not None:
                rows &= data.weight > 0
            _need_observed(data, outcome, rows, (0, arm))
            found, notes = bound(data, outcome, rows, arm)
            checks += notes
            terms += _pair(data, outcome, arm, rows, found, population)
    return assemble_terms(estimator, data, terms, method=method, checks=checks)


def _need_observed(data: Trial, outcome: int, rows: BoolArray, arms: Sequence[int]) -> None:
    observed = data.observed(outcome)
    for code in arms:
        member = rows & observed & (data.arm == code)
        groups = member.nonzero()[0] if data.cluster is None else np.unique(data.cluster.codes[member])
        if groups.size < 2:
            what = "units" if data.cluster is None else "clusters"
            raise IdentificationError(
                f"{groups.size} {what} with an outcome in arm {data.arms[code]!r}; at least 2 are needed to say how "
                "far bounds reach. Report the missing outcomes and no effect."
            )


def _pair(data: Trial, outcome: int, arm: int, rows: BoolArray, found: Bounds, population: str) -> tuple[Term, Term]:
    observed = rows & data.observed(outcome)
    estimand = Estimand("ITT", mean_contrast(data, outcome), population)
    made = []
    constant = float(np.ptp(data.outcomes[observed, outcome])) == 0.0
    for name, value, influence in (
        ("lower", found.lower, found.lower_influence),
        ("upper", found.upper, found.upper_influence),
    ):
        std_error = float(np.sqrt(_variance(data, rows, influence)))
        defined = std_error > 0 and not constant
        made.append(
            Term(
                term=f"{data.arms[arm]} vs {data.arms[0]}, {name} bound",
                estimand=estimand,
                outcome=data.outcome_names[outcome],
                value=value,
                std_error=std_error if defined else None,
                kind="bound",
                n_units=int(observed.sum()),
                n_clusters=None if data.cluster is None else int(np.unique(data.cluster.codes[observed]).size),
                support=arm_support(data, outcome, observed, (0, arm)),
                reason="" if defined else "observed outcomes do not vary, so there is no standard error",
                extra=(("trimmed_share", found.trimmed), *_shares(data, outcome, rows, arm)),
            )
        )
    return made[0], made[1]


def _shares(data: Trial, outcome: int, rows: BoolArray, arm: int) -> tuple[tuple[str, float], ...]:
    observed = data.observed(outcome)
    weights = data.weight
    shares = []
    for name, code in (("observed_treated", arm), ("observed_control", 0)):
        member = rows & (data.arm == code)
        share = np.average(observed[member], weights=None if weights is None else weights[member])
        shares.append((name, float(share)))
    return tuple(shares)


def _variance(data: Trial, rows: BoolArray, influence: FloatArray) -> float:
    """Return the variance from influence functions: over units, or over clusters with G / (G - 1)."""
    if data.cluster is None:
        return float(influence @ influence)
    sums = np.bincount(data.cluster.codes[rows], weights=influence, minlength=data.cluster.count)
    count = np.unique(data.cluster.codes[rows]).size
    return float(sums @ sums) * count / (count - 1.0)


def bounds_method(data: Trial, *, std_error: str, whom: str, assumptions: Sequence[str], source: str) -> Method:
    """Return the method in words."""
    clustered = "" if data.cluster is None else ", summed by cluster"
    return Method(
        sample=all_samples(data),
        std_error=f"{std_error}{clustered}",
        small_sample="none" if data.cluster is None else "clusters over clusters minus one",
        reference="normal; the interval is for the effect between the bounds (Imbens and Manski 2004)",
        inference_for=whom,
        assumptions=tuple(assumptions),
        source=source,
    )
