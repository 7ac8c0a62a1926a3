"""One factor and one outcome: who is compared, crude ratios and differences, and the adjusted ratio."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gbveval.core.errors import DesignError, IdentificationError
from gbveval.core.estimand import Estimand
from gbveval.core.method import Cell, Check
from gbveval.data._frame import Labels, plural
from gbveval.data.survey import Survey
from gbveval.factors._modified_poisson import fit_modified_poisson
from gbveval.factors._rows import NO_ANSWER, SurveyRow, category, clusters_in
from gbveval.factors.factor import Factor
from gbveval.numerics.survey import Linearised, SampleDesign, mean

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]
Extra = tuple[tuple[str, float | str | None], ...]
NO_EVENTS = "a group with no events has no ratio; merge it with another category"
NO_DIFFERENCE = "a group in which the outcome is 0 or 100 % shows no variation; merge it with another category"
SEPARATED = (
    "some combination of the covariates has no events, so the adjusted ratio has no finite value; merge their small "
    "categories or adjust for fewer columns"
)


@dataclass(frozen=True, eq=False, slots=True)
class Comparison:
    """Everything that the rows of one factor and one outcome are computed from.

    Attributes
    ----------
    survey : Survey
        The data.
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
    behaviour : str
        "experience" or "perpetration".
    """

    survey: Survey
    design: SampleDesign
    outcome: int
    factor: Factor
    labels: Labels
    reference: int
    adjust_for: tuple[str, ...] | None
    behaviour: str

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

    def df(self, code: int, within: BoolArray) -> float:
        """Return the smaller of the degrees of freedom of the two groups."""
        used = within & (self.survey.weights() > 0)
        return min(self.design.df(self.group(each, used)) for each in (code, self.reference))


def compare(
    survey: Survey,
    design: SampleDesign,
    *,
    outcome: int,
    factor: Factor,
    adjust_for: tuple[str, ...] | None,
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
    labels = category(survey, factor.column)
    if factor.reference is not None and factor.reference not in labels.levels:
        raise DesignError(
            f"Factor {factor.column!r} has no category {factor.reference!r} among its {labels.count:,}; give one "
            "that it has as the reference."
        )
    reference = 0 if factor.reference is None else labels.levels.index(factor.reference)
    comparison = Comparison(survey, design, outcome, factor, labels, reference, adjust_for, behaviour)
    seen = np.unique(labels.codes[comparison.analysed])
    if seen.size < 2:
        raise IdentificationError(
            f"Factor {factor.column!r} has {'one category' if seen.size else 'no category'} among the "
            f"{plural(int(comparison.analysed.sum()), 'respondent')} with it and the outcome "
            f"{comparison.outcome_name!r}; two are needed to compare. Leave it out."
        )
    return comparison


def rows_of(comparison: Comparison) -> tuple[list[SurveyRow], list[Check]]:
    """Return the rows of a comparison, category by category: crude ratio, adjusted ratio, crude difference."""
    adjusted, checks = _adjusted_rows(comparison) if comparison.adjust_for else ({}, [])
    rows: list[SurveyRow] = []
    for code in comparison.others():
        ratio_row, difference_row = _crude_rows(comparison, code)
        rows += [ratio_row, *([adjusted[code]] if code in adjusted else []), difference_row]
    return rows, checks


def _risks(comparison: Comparison, code: int) -> tuple[Linearised, Linearised]:
    survey, within = comparison.survey, comparison.analysed
    y, weights = survey.outcomes[:, comparison.outcome], survey.weights()
    exposed, unexposed = (mean(y, weights, comparison.group(each, within)) for each in (code, comparison.reference))
    return exposed, unexposed


def _extra(comparison: Comparison, code: int, model: str, missing_share: float) -> Extra:
    """Return the columns that the standard table of risk factors asks for."""
    factor, weights, within = comparison.factor, comparison.survey.weights(), comparison.analysed
    everyone = float(weights[within].sum())
    share = float(weights[comparison.group(code, within)].sum()) / everyone if everyone > 0 else float("nan")
    exposed, unexposed = (found.value for found in _risks(comparison, code))
    return (
        ("factor", factor.column),
        ("factor_level", comparison.labels.levels[code]),
        ("reference", comparison.labels.levels[comparison.reference]),
        ("ecological_level", factor.level or "not declared"),
        ("behaviour", comparison.behaviour),
        ("direction", factor.direction or "not declared"),
        ("definition", factor.definition),
        ("model", model),
        ("factor_prevalence", share if np.isfinite(share) else None),
        ("risk_exposed", exposed if np.isfinite(exposed) else None),
        ("risk_unexposed", unexposed if np.isfinite(unexposed) else None),
        ("missing_share", missing_share),
    )


def _term(comparison: Comparison, code: int, what: str) -> str:
    levels = comparison.labels.levels
    return f"{comparison.factor.column}: {levels[code]} vs {levels[comparison.reference]} ({what})"


def _crude_rows(comparison: Comparison, code: int) -> tuple[SurveyRow, SurveyRow]:
    """Return the crude ratio and difference of a category against the reference."""
    survey, within = comparison.survey, comparison.analysed
    exposed, unexposed = _risks(comparison, code)
    both = comparison.group(code, within) | comparison.group(comparison.reference, within)
    table = f"{comparison.outcome_name} by {comparison.factor.column}"
    extra = _extra(comparison, code, _crude_words(comparison), float(1.0 - within.sum() / survey.n))
    possible = exposed.value > 0 and unexposed.value > 0
    varies = 0 < exposed.value < 1 and 0 < unexposed.value < 1
    log_values = exposed.row_values / exposed.value - unexposed.row_values / unexposed.value if possible else None
    known = bool(np.isfinite(exposed.value) and np.isfinite(unexposed.value))

    def row(what: str, contrast: str, value: float | None, values: FloatArray | None, reason: str) -> SurveyRow:
        return SurveyRow(
            term=_term(comparison, code, what),
            outcome=comparison.outcome_name,
            estimand=Estimand("association", contrast, "survey_population"),
            value=value,
            row_values=values,
            df=comparison.df(code, within),
            reason=reason,
            n_units=int(both.sum()),
            n_clusters=clusters_in(survey, both),
            support=comparison.cells(code, within, table),
            extra=extra,
        )

    log_ratio = float(np.log(exposed.value / unexposed.value)) if possible else None
    difference = exposed.value - unexposed.value if known else None
    return (
        row("crude ratio", "prevalence_ratio", log_ratio, log_values, "" if possible else NO_EVENTS),
        row(
            "crude difference",
            "prevalence_difference",
            difference,
            exposed.row_values - unexposed.row_values if varies else None,
            "" if varies else NO_DIFFERENCE,
        ),
    )


def _crude_words(comparison: Comparison) -> str:
    if comparison.adjust_for is None:
        return "crude only; roles not declared"
    return "crude" if comparison.adjust_for else "crude; no confounder declared"


def _adjusted_rows(comparison: Comparison) -> tuple[dict[int, SurveyRow], list[Check]]:
    """Return the adjusted ratio of each category, from one model of this factor and its covariates."""
    assert comparison.adjust_for
    survey, column = comparison.survey, comparison.factor.column
    covariates, names, complete = _covariates(survey, comparison.adjust_for)
    weights = survey.weights()
    model = comparison.analysed & complete & (weights > 0)
    y = survey.outcomes[:, comparison.outcome]
    with_events = [code for code in range(comparison.labels.count) if y[comparison.group(code, model)].sum() > 0]
    fitted = [code for code in comparison.others() if code in with_events]
    reason = ""
    values: dict[int, tuple[float, FloatArray]] = {}
    checks = _sample_check(comparison, model)
    if comparison.reference in with_events and fitted:
        # A category without events would pull its coefficient to minus infinity and leave the others where they are.
        inside = model & np.isin(comparison.labels.codes, [comparison.reference, *fitted])
        exposures = np.column_stack([(comparison.labels.codes[inside] == code).astype(float) for code in fitted])
        fit = fit_modified_poisson(
            y[inside], exposures, covariates=covariates[inside], names=names, weights=weights[inside], factor=column
        )
        _check_size(comparison, inside, fit.k)
        checks += _fit_checks(column, fit.dropped, fit.set_aside, fit.above_one)
        reason = SEPARATED if fit.separated else ""
        for position, code in enumerate(fitted):
            spread = np.zeros(survey.n)
            spread[inside] = fit.row_values[:, position]
            values[code] = (float(fit.log_ratio[position]), spread)
    rows = {}
    for code in comparison.others():
        usable = code in values and not reason
        rows[code] = _adjusted_row(comparison, code, model, values[code] if usable else None, reason or NO_EVENTS)
    return rows, checks


def _covariates(survey: Survey, columns: tuple[str, ...]) -> tuple[FloatArray, tuple[str, ...], BoolArray]:
    """Return covariates; DesignError when a text column of them is an identifier or the primary unit."""
    covariates, names, complete = survey.covariates(columns)
    for column in columns:
        if column not in names:
            category(survey, column)
    return covariates, names, complete


def _adjusted_row(
    comparison: Comparison, code: int, model: BoolArray, found: tuple[float, FloatArray] | None, reason: str
) -> SurveyRow:
    """Return the row of an adjusted ratio; prevalence and risks stay those of the crude rows."""
    assert comparison.adjust_for
    survey, within = comparison.survey, comparison.analysed
    shown = ", ".join(comparison.adjust_for)
    table = f"{comparison.outcome_name} by {comparison.factor.column}"
    support = comparison.cells(code, within, table)
    if model.sum() < within.sum():
        # The model has fewer respondents than the crude rows: its own counts must be large enough too.
        support += comparison.cells(code, model, f"{table}, complete on {shown}")
    return SurveyRow(
        term=_term(comparison, code, "adjusted ratio"),
        outcome=comparison.outcome_name,
        estimand=Estimand("association", "prevalence_ratio", "survey_population", "conditional"),
        value=None if found is None else found[0],
        row_values=None if found is None else found[1],
        df=comparison.df(code, model),
        reason="" if found is not None else reason,
        n_units=int(model.sum()),
        n_clusters=clusters_in(survey, model),
        support=support,
        extra=_extra(comparison, code, f"adjusted for {shown}", float(1.0 - model.sum() / survey.n)),
    )


def _check_size(comparison: Comparison, member: BoolArray, k: int) -> None:
    """Raise IdentificationError when the model has more coefficients than the design has degrees of freedom."""
    df = comparison.design.df(member)
    if k > df:
        raise IdentificationError(
            f"The adjusted model of factor {comparison.factor.column!r} has {k:,} coefficients, but the sample has "
            f"only {df:.0f} degrees of freedom (primary units minus strata). Adjust for fewer columns or categories."
        )


def _sample_check(comparison: Comparison, model: BoolArray) -> list[Check]:
    assert comparison.adjust_for
    lost = int(comparison.analysed.sum() - model.sum())
    if not lost:
        return []
    total = int(comparison.analysed.sum())
    text = (
        f"{comparison.factor.column}: {lost:,} of {plural(total, 'respondent')} in the crude rows of "
        f"{comparison.outcome_name} lack an answer to {', '.join(comparison.adjust_for)} (or have weight zero) and are "
        "not in the adjusted model; part of the change from crude to adjusted may come from that."
    )
    return [Check(f"adjusted sample {comparison.factor.column}", "warn" if lost > 0.05 * total else "info", text)]


def _fit_checks(column: str, dropped: tuple[str, ...], aside: tuple[str, ...], above_one: int) -> list[Check]:
    found = []
    if dropped:
        text = f"{column}: collinear columns were dropped and change nothing: {', '.join(dropped)}."
        found.append(Check(f"rank {column}", "warn", text))
    if aside:
        # Which category it is stays unsaid: that nobody in it reports the outcome is for `release` to show or hide.
        columns = ", ".join(dict.fromkeys(name.split("[")[0] for name in aside))
        text = (
            f"{column}: {columns} has a side or category that says nothing about the ratio (the model is separated "
            "there); its respondents were set aside, which is the limit of the fit."
        )
        public = (
            f"{column}: respondents of whom the model can say nothing were set aside, which is the limit of the fit."
        )
        found.append(Check(f"separation {column}", "warn", text, public))
    if above_one:
        text = f"{column}: {above_one:,} respondents have a fitted risk above one, which a log link does not prevent."
        found.append(Check(f"fitted risk {column}", "warn", text))
    return found
