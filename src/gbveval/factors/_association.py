"""One factor and one outcome: who is compared, and the crude ratio, difference and odds ratio."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from gbveval.core.errors import DesignError, IdentificationError
from gbveval.core.estimand import Estimand
from gbveval.core.method import NO_ANSWER, Cell
from gbveval.data._frame import Labels, plural
from gbveval.data.survey import Survey
from gbveval.factors._columns import Columns
from gbveval.factors._rows import SurveyRow, clusters_in
from gbveval.factors.factor import Factor
from gbveval.numerics.survey import Linearised, SampleDesign, mean

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]
Extra = tuple[tuple[str, float | str | None], ...]
NO_EVENTS = "a group with no events has no ratio; merge it with another category"
NO_DIFFERENCE = "a group in which the outcome is 0 or 100 % shows no variation; merge it with another category"
NO_ODDS = "a group in which the outcome is 0 or 100 % has no odds ratio; merge it with another category"


@dataclass(frozen=True, eq=False, slots=True)
class Comparison:
    """Everything that the rows of one factor and one outcome are computed from.

    Attributes
    ----------
    columns : Columns
        The data, each column read once.
    design : SampleDesign
        Its strata and primary units.
    outcome : int
        Position of the outcome.
    factor : Factor
        As declared.
    labels : Labels
        Its categories.
    reference : int
        Code of the reference.
    adjust_for : tuple of str or None
        Columns to adjust for; None when no roles were declared.
    adjustment_reason : str
        Why these.
    behaviour : str
        "experience" or "perpetration".
    """

    columns: Columns
    design: SampleDesign
    outcome: int
    factor: Factor
    labels: Labels
    reference: int
    adjust_for: tuple[str, ...] | None
    adjustment_reason: str
    behaviour: str
    _shares: dict[int, Linearised] = field(default_factory=dict)

    @property
    def survey(self) -> Survey:
        """The data."""
        return self.columns.survey

    @property
    def analysed(self) -> BoolArray:
        """Who has the outcome and an answer to the factor."""
        answered: BoolArray = self.survey.observed(self.outcome) & (self.labels.codes >= 0)
        return answered

    @property
    def outcome_name(self) -> str:
        """Name of the outcome."""
        return self.survey.outcome_names[self.outcome]

    def others(self) -> list[int]:
        """Return the codes of the categories but the reference."""
        return [code for code in range(self.labels.count) if code != self.reference]

    def group(self, code: int, within: BoolArray) -> BoolArray:
        """Return who of `within` is in a category."""
        member: BoolArray = within & (self.labels.codes == code)
        return member

    def cells(self, code: int, within: BoolArray, table: str) -> tuple[Cell, ...]:
        """Return the counts of a category and of the reference."""
        y = self.survey.outcomes[:, self.outcome]
        counted = self.survey.weights() > 0
        found = []
        for each in (code, self.reference):
            member = self.group(each, within) & counted
            found.append(Cell(self.labels.levels[each], int(member.sum()), int(y[member].sum()), table))
        # Whoever reads the total of the survey and these groups can work out those without an answer.
        silent = self.survey.observed(self.outcome) & (self.labels.codes < 0) & counted
        if silent.any():
            found.append(Cell(NO_ANSWER, int(silent.sum()), int(y[silent].sum()), table))
        return tuple(found)

    def risk(self, code: int) -> Linearised:
        """Return the weighted share of a category with the outcome."""
        if code not in self._shares:
            y = self.survey.outcomes[:, self.outcome]
            self._shares[code] = mean(y, self.survey.weights(), self.group(code, self.analysed))
        return self._shares[code]

    def df(self, code: int, within: BoolArray) -> float:
        """Return the smaller of the degrees of freedom of the two groups."""
        used = within & (self.survey.weights() > 0)
        return min(self.design.df(self.group(each, used)) for each in (code, self.reference))


def compare(
    columns: Columns,
    design: SampleDesign,
    *,
    outcome: int,
    factor: Factor,
    adjust_for: tuple[str, ...] | None,
    reason: str = "",
    behaviour: str,
) -> Comparison:
    """Return a comparison, its factor checked.

    Raises
    ------
    DesignError
        If the reference is not a category of the factor.
    IdentificationError
        If fewer than two categories are observed together with the outcome.
    """
    labels = columns.labels(factor.column)
    if factor.reference is not None and factor.reference not in labels.levels:
        raise DesignError(
            f"Factor {factor.column!r} has no category {factor.reference!r} among its {labels.count:,}; give one "
            "that it has as the reference."
        )
    # The first category in sorted order, or the lowest of a declared order ("<1h" sorts after "5h+").
    chosen = factor.reference if factor.reference is not None else next(iter(factor.ordered), None)
    reference = labels.levels.index(chosen) if chosen in labels.levels else 0
    comparison = Comparison(columns, design, outcome, factor, labels, reference, adjust_for, reason, behaviour)
    seen = np.unique(labels.codes[comparison.analysed])
    if seen.size < 2:
        raise IdentificationError(
            f"Factor {factor.column!r} has {'one category' if seen.size else 'no category'} among the "
            f"{plural(int(comparison.analysed.sum()), 'respondent')} with it and the outcome "
            f"{comparison.outcome_name!r}; two are needed to compare. Leave it out."
        )
    return comparison


def extra_of(comparison: Comparison, code: int | None, model: str, missing_share: float) -> Extra:
    """Return the columns that the standard table of risk factors asks for; without a code, of the whole factor."""
    factor, weights, within = comparison.factor, comparison.survey.weights(), comparison.analysed
    levels, reference = comparison.labels.levels, comparison.reference
    member = within & (comparison.labels.codes != reference) if code is None else comparison.group(code, within)
    everyone = float(weights[within].sum())
    share = float(weights[member].sum()) / everyone if everyone > 0 else float("nan")
    exposed = None if code is None else comparison.risk(code).value
    unexposed = comparison.risk(reference).value
    return (
        ("factor", factor.column),
        ("factor_level", "any but the reference" if code is None else levels[code]),
        ("reference", levels[reference]),
        ("ecological_level", factor.level or "not declared"),
        ("behaviour", comparison.behaviour),
        ("direction", factor.direction or "not declared"),
        ("time_order", factor.time_order or "not declared"),
        ("definition", factor.definition),
        ("model", model),
        ("adjustment_reason", comparison.adjustment_reason),
        ("factor_prevalence", share if np.isfinite(share) else None),
        ("risk_exposed", exposed if exposed is not None and np.isfinite(exposed) else None),
        ("risk_unexposed", unexposed if np.isfinite(unexposed) else None),
        ("standardised_risk_exposed", None),
        ("standardised_risk_unexposed", None),
        ("partial_r2", None),
        ("missing_share", missing_share),
    )


def term_of(comparison: Comparison, code: int, what: str) -> str:
    """Return the name of a row."""
    levels = comparison.labels.levels
    return f"{comparison.factor.column}: {levels[code]} vs {levels[comparison.reference]} ({what})"


def crude_rows(comparison: Comparison, code: int) -> dict[str, SurveyRow]:
    """Return the crude ratio, difference and odds ratio of a category against the reference."""
    survey, within = comparison.survey, comparison.analysed
    exposed, unexposed = comparison.risk(code), comparison.risk(comparison.reference)
    both = comparison.group(code, within) | comparison.group(comparison.reference, within)
    table = f"{comparison.outcome_name} by {comparison.factor.column}"
    extra = extra_of(comparison, code, crude_words(comparison), float(1.0 - within.sum() / survey.n))
    df, clusters, cells = comparison.df(code, within), clusters_in(survey, both), comparison.cells(code, within, table)
    possible = exposed.value > 0 and unexposed.value > 0
    varies = 0 < exposed.value < 1 and 0 < unexposed.value < 1
    known = bool(np.isfinite(exposed.value) and np.isfinite(unexposed.value))

    def row(what: str, contrast: str, value: float | None, values: FloatArray | None, reason: str) -> SurveyRow:
        return SurveyRow(
            term=term_of(comparison, code, f"crude {what}"),
            outcome=comparison.outcome_name,
            estimand=Estimand("association", contrast, "survey_population"),
            value=value,
            row_values=values,
            df=df,
            reason=reason,
            n_units=int(both.sum()),
            n_clusters=clusters,
            support=cells,
            extra=extra,
        )

    log_ratio = float(np.log(exposed.value / unexposed.value)) if possible else None
    log_values = exposed.row_values / exposed.value - unexposed.row_values / unexposed.value if possible else None
    difference = exposed.value - unexposed.value if known else None
    difference_values = exposed.row_values - unexposed.row_values if varies else None
    log_odds = odds_values = None
    if varies:
        log_odds = float(sum(sign * _logit(p.value) for sign, p in ((1.0, exposed), (-1.0, unexposed))))
        parts = [p.row_values / (p.value * (1.0 - p.value)) for p in (exposed, unexposed)]
        odds_values = parts[0] - parts[1]
    return {
        "ratio": row("ratio", "prevalence_ratio", log_ratio, log_values, "" if possible else NO_EVENTS),
        "difference": row(
            "difference", "prevalence_difference", difference, difference_values, "" if varies else NO_DIFFERENCE
        ),
        "odds_ratio": row("odds ratio", "odds_ratio", log_odds, odds_values, "" if varies else NO_ODDS),
    }


def _logit(share: float) -> float:
    return float(np.log(share) - np.log1p(-share))


def crude_words(comparison: Comparison) -> str:
    """Return what a crude row says of its adjustment."""
    if comparison.adjust_for is None:
        return f"crude only; {comparison.adjustment_reason or 'roles not declared'}"
    return "crude" if comparison.adjust_for else "crude; no confounder declared"
