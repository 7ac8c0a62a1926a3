"""The models of one factor and outcome: adjusted ratio, difference and odds ratio, trend, attributable fraction."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from gbveval.core.errors import DesignError
from gbveval.core.estimand import Estimand
from gbveval.core.method import Check
from gbveval.factors._association import NO_EVENTS, NO_ODDS, Extra, extra_of, term_of
from gbveval.factors._logistic import Estimate, LogisticFit, fit_logistic
from gbveval.factors._models import Models, check_size, fit_checks, support_of
from gbveval.factors._modified_poisson import fit_modified_poisson
from gbveval.factors._rows import SurveyRow, clusters_in

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]
SEPARATED = (
    "some combination of the covariates has no events, so the adjusted ratio has no finite value; merge their small "
    "categories or adjust for fewer columns"
)
NO_MAXIMUM = (
    "the logistic model is separated: some combination of factor and covariates tells the outcome with certainty; "
    "merge small categories or adjust for fewer columns"
)


def ratio_rows(models: Models) -> tuple[dict[int, SurveyRow], list[Check]]:
    """Return the adjusted prevalence ratio of each category, by modified Poisson regression."""
    comparison = models.comparison
    with_events = models.varying(both_sides=False)
    fitted = [code for code in comparison.others() if code in with_events]
    values: dict[int, Estimate] = {}
    checks: list[Check] = []
    reason = NO_EVENTS
    if comparison.reference in with_events and fitted:
        # A category without events would pull its coefficient to minus infinity and leave the others where they are.
        inside = models.only([comparison.reference, *fitted])
        fit = fit_modified_poisson(models.data(inside, None, fitted), comparison.factor.column)
        check_size(comparison, inside, fit.k)
        checks += fit_checks(comparison.factor.column, fit.dropped, fit.set_aside, fit.above_one)
        if fit.separated:
            reason = SEPARATED
        else:
            for position, code in enumerate(fitted):
                spread = models.spread(inside, fit.row_values[:, position])
                values[code] = Estimate(float(fit.log_ratio[position]), spread)
    estimand = Estimand("association", "prevalence_ratio", "survey_population", "conditional")
    rows = {
        code: _row(models, code, "adjusted ratio", estimand, values.get(code), reason) for code in comparison.others()
    }
    return rows, checks


@dataclass(frozen=True, eq=False, slots=True)
class Logistic:
    """The logistic model of a factor; without a fit where it has none, with the reason."""

    models: Models
    inside: BoolArray
    codes: tuple[int, ...]
    fit: LogisticFit | None
    reason: str

    def risks(self, code: int) -> tuple[Estimate, Estimate] | None:
        """Return the standardised risks of a category and of the reference, linearised over all respondents."""
        if self.fit is None or code not in self.codes:
            return None
        found = (self.fit.risk(self.codes.index(code)), self.fit.risk(None))
        exposed, reference = (Estimate(risk.value, self.models.spread(self.inside, risk.row_values)) for risk in found)
        return exposed, reference


def logistic_of(models: Models) -> Logistic:
    """Fit the logistic model of a comparison, categories in which the outcome varies."""
    comparison = models.comparison
    varying = models.varying(both_sides=True)
    codes = tuple(code for code in comparison.others() if code in varying)
    if comparison.reference not in varying or not codes:
        return Logistic(models, models.model, (), None, NO_ODDS)
    inside = models.only([comparison.reference, *codes])
    fit = fit_logistic(models.data(inside, None, codes), comparison.factor.column)
    if fit is None:
        return Logistic(models, inside, codes, None, NO_MAXIMUM)
    check_size(comparison, inside, fit.k)
    return Logistic(models, inside, codes, fit, NO_ODDS)


def difference_rows(logistic: Logistic) -> dict[int, SurveyRow]:
    """Return standardised risk differences: everybody in the category, less everybody in the reference."""
    models = logistic.models
    estimand = Estimand("association", "prevalence_difference", "survey_population")
    strength = () if logistic.fit is None else logistic.fit.data.partial_r2()
    rows = {}
    for code in models.comparison.others():
        pair = logistic.risks(code)
        found = None if pair is None else _difference(*pair)
        row = _row(models, code, "adjusted difference", estimand, found, logistic.reason)
        if pair is not None:
            explained = float(strength[logistic.codes.index(code)])
            extra = _replaced(
                _with_risks(row.extra, *pair), {"partial_r2": explained if np.isfinite(explained) else None}
            )
            row = replace(row, extra=extra)
        rows[code] = row
    return rows


def standardised_ratio_rows(logistic: Logistic) -> dict[int, SurveyRow]:
    """Return ratios of standardised risks, which compare populations rather than people alike in the covariates."""
    estimand = Estimand("association", "prevalence_ratio", "survey_population")
    rows = {}
    for code in logistic.models.comparison.others():
        pair = logistic.risks(code)
        found = None
        if pair is not None:
            exposed, reference = pair
            values = exposed.row_values / exposed.value - reference.row_values / reference.value
            found = Estimate(float(np.log(exposed.value / reference.value)), values)
        made = _row(logistic.models, code, "standardised ratio", estimand, found, logistic.reason)
        rows[code] = made if pair is None else replace(made, extra=_with_risks(made.extra, *pair))
    return rows


def _difference(exposed: Estimate, reference: Estimate) -> Estimate:
    return Estimate(exposed.value - reference.value, exposed.row_values - reference.row_values)


def _with_risks(extra: Extra, exposed: Estimate, reference: Estimate) -> Extra:
    return _replaced(
        extra, {"standardised_risk_exposed": exposed.value, "standardised_risk_unexposed": reference.value}
    )


def _replaced(extra: Extra, found: Mapping[str, float | None]) -> Extra:
    return tuple((key, found.get(key, value)) for key, value in extra)


def odds_rows(logistic: Logistic) -> dict[int, SurveyRow]:
    """Return conditional odds ratios."""
    models, fit = logistic.models, logistic.fit
    values: dict[int, Estimate] = {}
    if fit is not None:
        for position, code in enumerate(logistic.codes):
            found = fit.odds_ratio(position)
            values[code] = Estimate(found.value, models.spread(logistic.inside, found.row_values))
    estimand = Estimand("association", "odds_ratio", "survey_population", "conditional")
    return {
        code: _row(models, code, "adjusted odds ratio", estimand, values.get(code), logistic.reason)
        for code in models.comparison.others()
    }


def fraction_row(logistic: Logistic) -> SurveyRow:
    """Return the population attributable fraction of a factor, or its prevented fraction if it is protective."""
    comparison = logistic.models.comparison
    protective = comparison.factor.direction == "protective"
    what = "prevented fraction" if protective else "attributable fraction"
    found = None
    complete = set(logistic.codes) == set(comparison.others())
    reason = logistic.reason
    if logistic.fit is not None and complete:
        found = logistic.fit.prevented_fraction() if protective else logistic.fit.attributable_fraction()
        found = Estimate(found.value, logistic.models.spread(logistic.inside, found.row_values))
    return _whole_row(
        logistic.models,
        f"{comparison.factor.column}: {what}, if causal",
        Estimand("association", "prevented_fraction" if protective else "attributable_fraction", "survey_population"),
        found,
        reason,
        # With two categories the fraction stands on the line of the one that is not the reference.
        level=comparison.labels.levels[comparison.others()[0]] if len(comparison.others()) == 1 else "",
    )


def trend_row(models: Models) -> SurveyRow:
    """Return the prevalence ratio of one step along the declared order of the categories."""
    comparison = models.comparison
    order = comparison.factor.ordered
    levels = comparison.labels.levels
    if set(order) != set(levels):
        raise DesignError(
            f"Factor {comparison.factor.column!r} is ordered over {len(order)} categories, but its column has "
            f"{len(levels)}, not all the same. List them all, lowest first."
        )
    scores = np.array([float(order.index(level)) for level in levels])[:, None]
    found, reason = None, NO_EVENTS
    if len(models.varying(both_sides=False)) > 0 and models.model.any():
        fit = fit_modified_poisson(models.data(models.model, scores, ()), comparison.factor.column)
        check_size(comparison, models.model, fit.k)
        if fit.separated:
            reason = SEPARATED
        else:
            found = Estimate(float(fit.log_ratio[0]), models.spread(models.model, fit.row_values[:, 0]))
    kind = "adjusted" if models.adjust_for else "crude"
    scale = "conditional" if models.adjust_for else "marginal"
    return _whole_row(
        models,
        f"{comparison.factor.column}: each step up ({kind} ratio)",
        Estimand("association", "prevalence_ratio", "survey_population", scale),
        found,
        reason,
        level="each step up",
    )


def _whole_row(
    models: Models, term: str, estimand: Estimand, found: Estimate | None, reason: str, level: str = ""
) -> SurveyRow:
    """Return a row about all categories of a factor."""
    comparison, survey = models.comparison, models.comparison.survey
    used = models.model & (survey.weights() > 0)
    codes = [code for code in range(comparison.labels.count) if comparison.group(code, used).any()]
    extra = extra_of(comparison, None, models.words, float(1.0 - models.model.sum() / survey.n))
    if level:
        extra = tuple((key, level if key == "factor_level" else value) for key, value in extra)
    return SurveyRow(
        term=term,
        outcome=comparison.outcome_name,
        estimand=estimand,
        value=None if found is None else found.value,
        row_values=None if found is None else found.row_values,
        df=min((comparison.design.df(comparison.group(code, used)) for code in codes), default=0.0),
        reason="" if found is not None else reason,
        n_units=int(models.model.sum()),
        n_clusters=clusters_in(survey, models.model),
        support=support_of(models, comparison.others()),
        extra=extra,
    )


def _row(models: Models, code: int, what: str, estimand: Estimand, found: Estimate | None, reason: str) -> SurveyRow:
    """Return an adjusted row of a category; prevalence and risks stay those of the crude rows."""
    comparison, survey = models.comparison, models.comparison.survey
    return SurveyRow(
        term=term_of(comparison, code, what),
        outcome=comparison.outcome_name,
        estimand=estimand,
        value=None if found is None else found.value,
        row_values=None if found is None else found.row_values,
        df=comparison.df(code, models.model),
        reason="" if found is not None else reason,
        n_units=int(models.model.sum()),
        n_clusters=clusters_in(survey, models.model),
        support=support_of(models, [code]),
        extra=extra_of(comparison, code, models.words, float(1.0 - models.model.sum() / survey.n)),
    )
