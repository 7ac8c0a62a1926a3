"""The models of one factor and outcome: adjusted ratio, difference and odds ratio, trend, attributable fraction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from gbveval.core.errors import DesignError, IdentificationError
from gbveval.core.estimand import Estimand
from gbveval.core.method import Cell, Check
from gbveval.data._frame import plural
from gbveval.factors._association import NO_EVENTS, NO_ODDS, Comparison, Extra, crude_words, extra_of, term_of
from gbveval.factors._columns import ModelData
from gbveval.factors._logistic import Estimate, LogisticFit, fit_logistic
from gbveval.factors._modified_poisson import fit_modified_poisson
from gbveval.factors._rows import SurveyRow, clusters_in
from gbveval.numerics.patterns import find_patterns

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


@dataclass(frozen=True, eq=False, slots=True)
class Models:
    """What all models of a comparison share.

    Attributes
    ----------
    comparison : Comparison
        Factor and outcome.
    model : ndarray of bool, shape (n,)
        Respondents with outcome, factor, covariates and a weight above zero.
    """

    comparison: Comparison
    model: BoolArray

    @property
    def adjust_for(self) -> tuple[str, ...]:
        """Columns adjusted for."""
        return self.comparison.adjust_for or ()

    @property
    def words(self) -> str:
        """How the rows of these models are called in the table."""
        shown = ", ".join(self.adjust_for)
        return f"adjusted for {shown}" if shown else crude_words(self.comparison)

    def data(self, inside: BoolArray, exposures: FloatArray | None, codes: Sequence[int]) -> ModelData:
        """Return a model's data; exposures by category of the factor, or indicators of `codes`."""
        comparison, columns = self.comparison, self.comparison.columns
        rows = np.flatnonzero(inside)
        labels = comparison.labels.codes
        found = find_patterns([labels[rows], *(columns.covariate(name).codes[rows] for name in self.adjust_for)])
        first = rows[found.first]
        if exposures is None:
            exposures = np.column_stack([np.arange(comparison.labels.count) == code for code in codes]).astype(float)
        return ModelData(
            y=comparison.survey.outcomes[rows, comparison.outcome],
            weights=comparison.survey.weights()[rows],
            patterns=found,
            exposures=exposures[labels[first]],
            covariates=columns.design(self.adjust_for, first),
            names=columns.names(self.adjust_for),
        )

    def varying(self, *, both_sides: bool) -> list[int]:
        """Return the categories with events in the model, and with respondents without if asked."""
        y, labels = self.comparison.survey.outcomes[:, self.comparison.outcome], self.comparison.labels
        n = np.bincount(labels.codes[self.model], minlength=labels.count)
        events = np.bincount(labels.codes[self.model], weights=y[self.model], minlength=labels.count)
        return [code for code in range(labels.count) if events[code] > 0 and (events[code] < n[code] or not both_sides)]

    def only(self, codes: Sequence[int]) -> BoolArray:
        """Return the respondents of the model in some categories."""
        inside: BoolArray = self.model & np.isin(self.comparison.labels.codes, list(codes))
        return inside

    def spread(self, inside: BoolArray, values: FloatArray) -> FloatArray:
        """Return linearised values of some respondents as those of all."""
        result = np.zeros(self.comparison.survey.n)
        result[inside] = values
        return result


def models_of(comparison: Comparison) -> Models:
    """Return the models of a comparison."""
    complete = comparison.columns.complete(comparison.adjust_for or ())
    return Models(comparison, comparison.analysed & complete & (comparison.survey.weights() > 0))


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
        checks += _fit_checks(comparison.factor.column, fit.dropped, fit.set_aside, fit.above_one)
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
    rows = {}
    for code in models.comparison.others():
        pair = logistic.risks(code)
        found = None if pair is None else _difference(*pair)
        made = _row(models, code, "adjusted difference", estimand, found, logistic.reason)
        rows[code] = made if pair is None else replace(made, extra=_with_risks(made.extra, *pair))
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
    found = {"standardised_risk_exposed": exposed.value, "standardised_risk_unexposed": reference.value}
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


def support_of(models: Models, codes: Sequence[int]) -> tuple[Cell, ...]:
    """Return the counts behind a row: of the crude rows, and of the model where it has fewer respondents."""
    comparison, within = models.comparison, models.comparison.analysed
    table = f"{comparison.outcome_name} by {comparison.factor.column}"
    support: dict[Cell, None] = {}
    for code in codes:
        support |= dict.fromkeys(comparison.cells(code, within, table))
        if models.model.sum() < within.sum():
            # The model has fewer respondents than the crude rows: its own counts must be large enough too.
            shown = ", ".join(models.adjust_for) or "a weight above zero"
            support |= dict.fromkeys(comparison.cells(code, models.model, f"{table}, complete on {shown}"))
    return tuple(support)


def check_size(comparison: Comparison, member: BoolArray, k: int) -> None:
    """Raise IdentificationError when the model has more coefficients than the design has degrees of freedom."""
    df = comparison.design.df(member)
    if k > df:
        raise IdentificationError(
            f"The adjusted model of factor {comparison.factor.column!r} has {k:,} coefficients, but the sample has "
            f"only {df:.0f} degrees of freedom (primary units minus strata). Adjust for fewer columns or categories."
        )


def sample_check(models: Models) -> list[Check]:
    """Return a check that counts who is in the crude rows and not in the models."""
    comparison = models.comparison
    total = int(comparison.analysed.sum())
    lost = total - int(models.model.sum())
    if not lost or not models.adjust_for:
        return []
    text = (
        f"{comparison.factor.column}: {lost:,} of {plural(total, 'respondent')} in the crude rows of "
        f"{comparison.outcome_name} lack an answer to {', '.join(models.adjust_for)} (or have weight zero) and are "
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
