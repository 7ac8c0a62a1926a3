"""Rows of corrected prevalences, their differences and ratios, with the uncertainty of the rates."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gbveval.core.errors import DataError, DesignError
from gbveval.core.estimand import Estimand
from gbveval.core.estimates import Estimates
from gbveval.core.method import Check, Method
from gbveval.data._frame import as_names, plural
from gbveval.data.survey import Survey
from gbveval.factors._domains import Domains, Group, domain_extra, groups, outcome_cell, read_domains
from gbveval.factors._rows import (
    NO_VARIATION,
    NOBODY,
    SurveyRow,
    assemble,
    clusters_in,
    design_of,
    df_of,
    missing_answer_check,
    missing_outcome_check,
    require_binary,
    varies,
)
from gbveval.factors._variance import AtWeights, influence_of, variance_of
from gbveval.numerics.inference import t_quantile
from gbveval.numerics.misclassification import Rate, corrected_share, score_limits
from gbveval.numerics.proportion_intervals import effective_size
from gbveval.numerics.survey import Linearised, SampleDesign, design_effect, mean

FloatArray = NDArray[np.float64]
# Name of an estimated rate, slope of a row in it, and its variance.
Slopes = tuple[tuple[str, float, float], ...]
ANYTHING = (
    "at this level sensitivity + specificity may be one, at which answers say nothing; every prevalence fits. Validate "
    "more people"
)
TOO_FEW = "the group is found in no more primary units than strata, so its variance is unknown"
AT_ENDS = "nobody, or everybody, said yes, so the reported share has no standard error"


@dataclass(frozen=True, slots=True)
class Rates:
    """The two rates of a group, and which of those estimated they are (groups may share one)."""

    sensitivity: Rate
    specificity: Rate
    keys: tuple[str, str] = ("sensitivity", "specificity")


@dataclass(frozen=True, eq=False, slots=True)
class Corrected:
    """A corrected prevalence: its row, its group, and its slopes in rates that were estimated."""

    row: SurveyRow
    group: Group
    slopes: Slopes


def check_reference(estimator: Any) -> None:
    """Raise DesignError for a group to compare with and no groups."""
    if estimator.reference is not None and not as_names(estimator.by):
        raise DesignError(f"reference names the group {estimator.reference!r}, but there are no groups; give `by`.")


def domains_of(data: Survey, by: Any, reference: str | None) -> Domains | None:
    """Return the groups; DataError unless the reference is one of them."""
    domains = read_domains(data, as_names(by))
    if domains is not None and reference is not None and reference not in domains.labels:
        raise DataError(
            f"The reference is no group of {domains.name} among the {data.n:,} respondents; its "
            f"{plural(len(domains.labels), 'group')} are written as in the data, crossed ones with a comma and a space."
        )
    return domains


def estimate_corrected(
    estimator: Any, data: Survey, rates: dict[str | None, Rates], method: Method, checks: Sequence[Check] = ()
) -> Estimates:
    """Return corrected prevalences by group, then differences from and ratios to the reference group.

    Parameters
    ----------
    estimator : Estimator
        With `by`, `reference`, `level` and `lonely_psu`.
    data : Survey
        Outcomes of 0 and 1.
    rates : dict of Rates
        By group; under None those of everyone and of groups that are not named. Without None nobody is summed up.
    method : Method
        In words.
    checks : sequence of Check
        To begin with.
    """
    design = design_of(data, estimator.lonely_psu)
    domains = domains_of(data, estimator.by, estimator.reference)
    rows: list[SurveyRow] = []
    slopes: list[Slopes] = []
    notes = list(checks)
    for outcome, name in enumerate(data.outcome_names):
        require_binary(data, outcome, type(estimator).__name__)
        found = [
            _corrected(estimator.level, data, design, outcome, group, rates[_key(rates, group.level)])
            for group in groups(data, name, domains, outcome_cell(data, outcome))
            if group.level is not None or None in rates
        ]
        shown = [(item.row, item.slopes) for item in found] + _comparisons(data, outcome, found, estimator.reference)
        rows += [row for row, _ in shown]
        slopes += [slope for _, slope in shown]
        notes += [*missing_outcome_check(data, outcome), *_outside(name, found)]
    if domains is not None:
        notes += missing_answer_check(domains.name, int((domains.codes < 0).sum()), data.n)
    covariance = _covariance(data, design, rows, slopes)
    return assemble(
        estimator, data, design, rows, method=method, checks=notes, level=estimator.level, covariance=covariance
    )


def _key(rates: dict[str | None, Rates], level: str | None) -> str | None:
    return level if level in rates else None


def _corrected(level: float, data: Survey, design: SampleDesign, outcome: int, group: Group, rates: Rates) -> Corrected:
    """Return the corrected prevalence of one group."""
    member = group.member & data.observed(outcome)
    weights, y = data.weights(), data.outcomes[:, outcome]
    counted = member & (weights > 0)
    se, sp = rates.sensitivity, rates.specificity
    found = mean(y, weights, member)
    defined = bool(np.isfinite(found.value))
    answer = corrected_share(found.value, se.value, sp.value)

    def reported(w: FloatArray) -> float:
        return mean(y, w, member).value

    def at(w: FloatArray) -> float:
        return corrected_share(reported(w), se.value, sp.value).value

    df = df_of(data, design, counted)
    interval, deff, reason = None, float("nan"), NOBODY
    if defined:
        variance = variance_of(data, design, found.row_values, found.value, reported)
        deff = design_effect(variance, y, weights, member)
        reason = TOO_FEW if df < 1 else _without_error(found, variance)
        if reason in ("", AT_ENDS):
            size = effective_size(found.value, variance, int(counted.sum()))
            interval = score_limits(found.value, size, se, sp, float(t_quantile(0.5 + level / 2.0, df)))
            reason = ANYTHING if interval is None else reason
    row = SurveyRow(
        term=group.term,
        outcome=data.outcome_names[outcome],
        estimand=Estimand("prevalence", "share", "survey_population"),
        value=answer.value if defined else None,
        # Limits that do not exist must not be replaced by symmetric ones, and a share of 0 or 1 must not pass for known
        # in a comparison because it does not vary in the sample.
        row_values=None if reason else answer.by_reported * found.row_values,
        df=df,
        reason=reason,
        n_units=int(member.sum()),
        n_clusters=clusters_in(data, member),
        support=group.support,
        extra=(
            *domain_extra(data, group, member, deff),
            ("reported_share", found.value if defined else None),
            ("sensitivity", se.value),
            ("specificity", sp.value),
        ),
        at=at,
        interval=interval,
    )
    pairs = ((rates.keys[0], answer.by_sensitivity, se), (rates.keys[1], answer.by_specificity, sp))
    return Corrected(row, group, tuple((key, slope, rate.variance) for key, slope, rate in pairs if rate.variance > 0))


def _without_error(share: Linearised, variance: float) -> str:
    """Return why a reported share has no standard error, or nothing."""
    if share.value in (0.0, 1.0):
        return AT_ENDS
    return "" if varies(variance, share.row_values) else NO_VARIATION


def _comparisons(
    data: Survey, outcome: int, found: Sequence[Corrected], reference: str | None
) -> list[tuple[SurveyRow, Slopes]]:
    """Return a difference and a ratio for each group against the reference."""
    base = next((item for item in found if reference is not None and item.group.level == reference), None)
    if base is None:
        return []
    rows = []
    for item in found:
        if item.group.level is None or item is base:
            continue
        either = (item.group.member | base.group.member) & data.observed(outcome)
        clusters = clusters_in(data, either)
        rows += [_compared(item, base, clusters, ratio=ratio) for ratio in (False, True)]
    return rows


def _compared(one: Corrected, base: Corrected, n_clusters: int | None, *, ratio: bool) -> tuple[SurveyRow, Slopes]:
    """Return the difference or ratio of two groups."""
    first, second = one.row, base.row
    values = (first.value, second.value)
    known = values[0] is not None and values[1] is not None
    positive = known and min(float(values[0] or 0.0), float(values[1] or 0.0)) > 0.0
    defined = positive if ratio else known
    scale = [1.0 / float(v or 1.0) if ratio else 1.0 for v in values]
    parts = (first.row_values, second.row_values)
    spread = None
    if defined and parts[0] is not None and parts[1] is not None:
        spread = scale[0] * parts[0] - scale[1] * parts[1]
    value = None
    if defined:
        a, b = float(values[0] or 0.0), float(values[1] or 0.0)
        value = float(np.log(a / b)) if ratio else a - b
    reason = first.reason or second.reason
    if known and not defined:
        reason = "a corrected prevalence is zero or less, so there is no ratio; look at the difference"
    row = SurveyRow(
        term=f"{first.term} vs {base.group.level} ({'ratio' if ratio else 'difference'})",
        outcome=first.outcome,
        estimand=Estimand("association", f"prevalence_{'ratio' if ratio else 'difference'}", "survey_population"),
        value=value,
        row_values=spread,
        df=min(first.df, second.df),
        reason=reason,
        n_units=first.n_units + second.n_units,
        n_clusters=n_clusters,
        support=(*first.support, *second.support),
        extra=(),
        at=_Compared(first.at, second.at, ratio),
    )
    slopes = [(key, scale[0] * slope, variance) for key, slope, variance in one.slopes]
    slopes += [(key, -scale[1] * slope, variance) for key, slope, variance in base.slopes]
    return row, tuple(slopes)


@dataclass(frozen=True, slots=True)
class _Compared:
    """A difference or log ratio under other weights."""

    first: AtWeights | None
    second: AtWeights | None
    ratio: bool

    def __call__(self, weights: FloatArray) -> float:
        assert self.first is not None
        assert self.second is not None
        a, b = self.first(weights), self.second(weights)
        if not self.ratio:
            return a - b
        return float(np.log(a / b)) if a > 0 and b > 0 else float("nan")


def _covariance(
    data: Survey,
    design: SampleDesign,
    rows: Sequence[SurveyRow],
    slopes: Sequence[Slopes],
) -> FloatArray:
    """Return the covariance of the survey plus that of each estimated rate, which several rows may share."""
    nothing = np.full(data.n, np.nan)
    values = np.column_stack([nothing if row.row_values is None else row.row_values for row in rows])
    influence = influence_of(data, design, values, [(row.value, row.at) for row in rows])
    total: FloatArray = influence.T @ influence
    variances = {key: variance for row in slopes for key, _, variance in row}
    for key, variance in variances.items():
        slope = np.array([sum(part for name, part, _ in row if name == key) for row in slopes])
        total = total + variance * np.outer(slope, slope)
    return total


def _outside(name: str, found: Sequence[Corrected]) -> tuple[Check, ...]:
    """Return a warning where a corrected prevalence leaves 0 to 1, and a note where only limits do."""
    values = [item.row.value for item in found if item.row.value is not None]
    below, above = sum(value < 0.0 for value in values), sum(value > 1.0 for value in values)
    if below or above:
        text = (
            f"{name}: corrected prevalences outside 0 to 1 ({below + above} of {len(values)}) are shown as they are. "
            + ("Answers lie beyond what people without the outcome would say. " if below else "")
            + ("Answers lie beyond what people with the outcome would say. " if above else "")
            + "The rates do not hold for these people, or chance is at work: look at the limits, and doubt the rates."
        )
        return (Check("outside 0 to 1", "warn", text),)
    ends = [item.row.interval for item in found if item.row.interval is not None]
    if any(low < 0.0 or high > 1.0 for low, high in ends):
        text = f"{name}: limits outside 0 to 1 are shown as they are; no prevalence out there is possible."
        return (Check("outside 0 to 1", "info", text),)
    return ()
