"""Rows of values in the population: a statistic of a group, linearised, on its own scale."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gbveval.core.estimand import Estimand
from gbveval.core.estimates import Estimates
from gbveval.core.method import Check
from gbveval.data._frame import as_names, plural
from gbveval.data.survey import Survey
from gbveval.factors._domains import CellOf, Group, domain_extra, groups, read_domains
from gbveval.factors._rows import (
    NOBODY,
    SurveyRow,
    assemble,
    clusters_in,
    design_of,
    df_of,
    missing_answer_check,
    missing_outcome_check,
    survey_method,
)
from gbveval.factors._variance import variance_of
from gbveval.numerics.survey import Linearised, SampleDesign, design_effect

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]


@dataclass(frozen=True, eq=False, slots=True)
class Quantity:
    """What is estimated in each group.

    Attributes
    ----------
    name : str
        Outcome of the rows.
    contrast : str
        Of the estimand.
    observed : ndarray of bool, shape (n,)
        Who has what it needs.
    statistic : callable
        Its linearised value under weights, among members.
    cell : callable
        Counts of a group.
    y : ndarray, shape (n,), or None
        The outcome whose mean it is, for the design effect.
    """

    name: str
    contrast: str
    observed: BoolArray
    statistic: Callable[[FloatArray, BoolArray], Linearised]
    cell: CellOf
    y: FloatArray | None = None


def estimate_quantities(
    estimator: Any,
    data: Survey,
    quantities: Sequence[Quantity],
    *,
    outcomes: Sequence[int],
    std_error: str,
    source: str,
) -> Estimates:
    """Return each quantity, overall first and then by the groups of the estimator's `by`."""
    design = design_of(data, estimator.lonely_psu)
    domains = read_domains(data, as_names(estimator.by))
    rows = [
        _row(data, design, quantity, group)
        for quantity in quantities
        for group in groups(data, quantity.name, domains, quantity.cell)
    ]
    checks = [check for outcome in outcomes for check in missing_outcome_check(data, outcome)]
    if domains is not None:
        checks += missing_answer_check(domains.name, int((domains.codes < 0).sum()), data.n)
    method = survey_method(
        data,
        sample=sample_words(data, outcomes),
        std_error=std_error,
        assumptions=(
            "respondents were drawn as the weights, strata and units say",
            "answers are missing for reasons unrelated to the outcome",
        ),
        source=source,
    )
    return assemble(estimator, data, design, rows, method=method, checks=checks)


def sample_words(data: Survey, outcomes: Sequence[int]) -> str:
    """Return how many respondents have each outcome."""
    parts = [
        f"{int(data.observed(k).sum()):,} of {plural(data.n, 'respondent')} have the outcome {data.outcome_names[k]}"
        for k in outcomes
    ]
    return "; ".join(parts) + ", the others are left out and not imputed"


def tidy_by(estimator: Any) -> None:
    """Make the columns of `by` a tuple, so that the estimator can be hashed."""
    if estimator.by is not None and not isinstance(estimator.by, str):
        object.__setattr__(estimator, "by", tuple(estimator.by) or None)


def _row(data: Survey, design: SampleDesign, quantity: Quantity, group: Group) -> SurveyRow:
    member = group.member & quantity.observed
    weights = data.weights()
    counted = member & (weights > 0)

    def at(w: FloatArray) -> float:
        return quantity.statistic(w, member).value

    found = quantity.statistic(weights, member)
    defined = bool(np.isfinite(found.value)) and bool(counted.any())
    deff = float("nan")
    if defined and quantity.y is not None:
        variance = variance_of(data, design, found.row_values, found.value, at)
        deff = design_effect(variance, quantity.y, weights, member)
    return SurveyRow(
        term=group.term,
        outcome=quantity.name,
        estimand=Estimand("population_value", quantity.contrast, "survey_population"),
        value=found.value if defined else None,
        row_values=found.row_values if defined else None,
        df=df_of(data, design, counted),
        reason="" if defined else (NOBODY if not counted.any() else "the denominator of the group is zero"),
        n_units=int(member.sum()),
        n_clusters=clusters_in(data, member),
        support=group.support,
        extra=domain_extra(data, group, member, deff),
        at=at,
    )


def totals_check(data: Survey, outcomes: Sequence[int]) -> tuple[Check, ...]:
    """Return a warning that totals leave out those without an answer."""
    if all(data.observed(k).all() for k in outcomes):
        return ()
    text = (
        "totals add over those who answered only; they are too small by those who did not. Multiply the mean by the "
        "known size of the population instead, or impute."
    )
    return (Check("totals", "warn", text),)
