"""`AttributableFraction`: the share of an outcome that would not be there without a factor, if it were its cause."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import ClassVar

import numpy as np

from gbveval.core.errors import DesignError, IdentificationError
from gbveval.core.estimand import Estimand
from gbveval.core.estimates import Estimates
from gbveval.core.method import Check, Method
from gbveval.core.registry import register
from gbveval.data._frame import as_names
from gbveval.data.survey import Survey
from gbveval.factors._adjusted import SEPARATED, Logistic, logistic_of
from gbveval.factors._association import NO_EVENTS, compare
from gbveval.factors._columns import Columns
from gbveval.factors._logistic import Estimate
from gbveval.factors._models import Models, check_size, models_of, sample_check, support_of
from gbveval.factors._modified_poisson import fit_modified_poisson
from gbveval.factors._replicated import Block, rows_of_blocks
from gbveval.factors._rows import (
    SurveyRow,
    assemble,
    check_lonely,
    clusters_in,
    design_of,
    missing_answer_check,
    missing_outcome_check,
    refuse_outcomes,
    require_binary,
    survey_method,
)
from gbveval.factors.factor import Factor
from gbveval.numerics.survey import SampleDesign

STUDIES = ("cross_sectional", "case_control")
REFERENCES = ("design", "normal")
MODELS = ("logistic", "log_poisson")
COMMON = (
    "a case-control study has odds ratios only, and that of a common outcome overstates the ratio of risks: an "
    "attributable fraction from it would be too large. Declare outcome_is_rare=True if fewer than about 10 % of the "
    "population have the outcome; otherwise use a survey of the population"
)


@register("attributable_fraction")
@dataclass(frozen=True, slots=True)
class AttributableFraction:
    """Population attributable fraction of a factor, or the prevented fraction of a protective one.

    Parameters
    ----------
    factor : Factor or str
        The factor; one declared protective gets the prevented fraction.
    adjust_for : sequence of str
        Confounders: common causes of factor and outcome.
    study : str
        "cross_sectional" (also cohorts), or "case_control": cases and controls were sampled apart.
    outcome_is_rare : bool
        Case-control studies only, and needed there.
    model : str
        "logistic", or "log_poisson" for Miettinen's form with an adjusted prevalence ratio: the mean over those with
        the outcome of 1 - 1 / ratio of their category.
    reference : str
        "design": t with primary units minus strata as degrees of freedom; "normal".
    lonely_psu : str
        As in `RiskFactors`.

    Notes
    -----
    **Estimates** 1 - R0 / R, with R the prevalence of the outcome and R0 the standardised risk if everybody were in the
    reference category (a weighted logistic regression, averaged over everybody); for a protective factor 1 - R / R0.
    In a case-control study with a rare outcome: the mean over cases of 1 - 1 / OR of their category, which over several
    categories is Bruzzi's sum over categories of the share of cases times 1 - 1 / OR. There is one row an outcome,
    and in case-control studies one for each category's part.

    **Errors** are linearised by strata and primary units, the estimation of the model and the sampling of people
    together. Without primary units they are the stacked sandwich times n / (n - 1).

    **Two assumptions** stand beside every number: the association is causal (nothing confounds it beyond `adjust_for`),
    and the factor could be taken away without changing anything else. Fractions of several factors overlap and are
    never added up.

    **Undefined** where the model is separated: the row is null and says so.

    References
    ----------
    Miettinen (1974), American Journal of Epidemiology 99. Bruzzi and others (1985), American Journal of Epidemiology
    122. Sjolander and Vansteelandt (2011), Biostatistics 12.

    Examples
    --------
    >>> rng = np.random.default_rng(2)
    >>> hours = rng.choice(["few", "many"], size=800)
    >>> frame = {"y": (rng.random(800) < np.where(hours == "many", 0.4, 0.2)).astype(float), "hours": hours}
    >>> row = AttributableFraction("hours").estimate(Survey(frame, outcome="y"))[0]
    >>> row.term, row.estimand.contrast
    ('hours: attributable fraction, if causal', 'attributable_fraction')
    """

    name: ClassVar[str] = "attributable_fraction"

    factor: Factor | str
    adjust_for: Sequence[str] = ()
    study: str = field(default="cross_sectional", kw_only=True)
    outcome_is_rare: bool = field(default=False, kw_only=True)
    model: str = field(default="logistic", kw_only=True)
    reference: str = field(default="design", kw_only=True)
    lonely_psu: str = field(default="error", kw_only=True)

    def __post_init__(self) -> None:
        factor = self.factor if isinstance(self.factor, Factor) else Factor(self.factor)
        object.__setattr__(self, "factor", factor)
        object.__setattr__(self, "adjust_for", tuple(dict.fromkeys(as_names(self.adjust_for, "adjust_for"))))
        if self.study not in STUDIES:
            raise DesignError(f"study is one of {', '.join(STUDIES)}, not {self.study!r}.")
        if self.reference not in REFERENCES:
            raise DesignError(f"reference is one of {', '.join(REFERENCES)}, not {self.reference!r}.")
        if self.model not in MODELS:
            raise DesignError(f"model is one of {', '.join(MODELS)}, not {self.model!r}.")
        if self.model == "log_poisson" and (self.study == "case_control" or factor.direction == "protective"):
            raise DesignError(
                "A log-link model of risk is for attributable fractions of surveys and cohorts; take model='logistic'."
            )
        if self.study == "case_control" and not self.outcome_is_rare:
            raise DesignError(f"An attributable fraction is refused: {COMMON}.")
        if self.study == "case_control" and factor.direction == "protective":
            raise DesignError(
                "Prevented fractions of case-control studies are not given; make the unprotected category the exposure "
                "and leave direction out."
            )
        if factor.column in self.adjust_for:
            raise DesignError(f"Factor {factor.column!r} cannot be adjusted for itself; take it out of adjust_for.")
        check_lonely(self.lonely_psu)

    def estimate(self, data: Survey, *, rng: np.random.Generator | None = None) -> Estimates:
        """Return a row for each outcome, and in case-control studies one for each category of the factor.

        Parameters
        ----------
        data : Survey
            The checked survey; its outcomes are 0 or 1.
        rng : numpy.random.Generator, optional
            Ignored: nothing is random.

        Raises
        ------
        DataError
            If an outcome is not 0 or 1, or a column is absent.
        DesignError
            If a factor or covariate is an outcome.
        IdentificationError
            If the factor has one category or is a combination of its covariates, or the variance cannot be estimated.
        """
        assert isinstance(self.factor, Factor)
        refuse_outcomes(data, self.adjust_for)
        design, columns = design_of(data, self.lonely_psu), Columns(data)
        blocks: list[Block] = []
        checks: list[Check] = []
        for outcome in range(len(data.outcome_names)):
            require_binary(data, outcome, "AttributableFraction")
            checks += missing_outcome_check(data, outcome)
            blocks.append(partial(self._block, design=design, outcome=outcome))
        rows, notes = rows_of_blocks(columns, blocks)
        checks += notes
        absent = int((columns.labels(self.factor.column).codes < 0).sum())
        checks += missing_answer_check(self.factor.column, absent, data.n)
        made = assemble(self, data, design, rows, method=self._method(data), checks=checks)
        if self.reference == "normal":
            made = replace(made, terms=tuple(replace(row, df=float("inf")) for row in made.terms))
        return made

    def _block(self, columns: Columns, *, design: SampleDesign, outcome: int) -> tuple[list[SurveyRow], list[Check]]:
        """Return the rows of one outcome under the weights of the columns' survey."""
        assert isinstance(self.factor, Factor)
        comparison = compare(
            columns,
            design,
            outcome=outcome,
            factor=self.factor,
            adjust_for=tuple(self.adjust_for),
            reason="declared confounders" if self.adjust_for else "",
            behaviour="",
        )
        models = models_of(comparison)
        rows = [miettinen_row(models)] if self.model == "log_poisson" else self._rows(logistic_of(models))
        return rows, sample_check(models)

    def _rows(self, logistic: Logistic) -> list[SurveyRow]:
        if self.study == "case_control":
            return _case_control_rows(logistic)
        return [fraction_of(logistic)]

    def _source(self) -> str:
        if self.model == "log_poisson":
            return "Miettinen 1974"
        return "Bruzzi and others 1985" if self.study == "case_control" else "Sjolander and Vansteelandt 2011"

    def _method(self, data: Survey) -> Method:
        made = survey_method(
            data,
            sample="respondents with the outcome, the factor and every covariate; the others are left out, not imputed",
            std_error="Taylor linearisation of the regression and of the average that is made of it",
            assumptions=(
                "the association is causal: nothing confounds it beyond what it is adjusted for",
                "the factor could be taken away (or given) without changing anything else",
                "fractions of several factors overlap and do not add up",
            ),
            source=self._source(),
        )
        return replace(made, reference="standard normal") if self.reference == "normal" else made


def fraction_of(logistic: Logistic) -> SurveyRow:
    """Return the population attributable fraction of a factor, or its prevented fraction if it is protective."""
    factor, fit = logistic.models.comparison.factor, logistic.fit
    protective = factor.direction == "protective"
    kind = "prevented" if protective else "attributable"
    found = None
    extra: list[tuple[str, float | str | None]] = [("prevalence", None), ("prevalence_in_reference", None)]
    # A category in which the outcome does not vary has no place in the model, so the whole factor has no fraction.
    if fit is not None and set(logistic.codes) == set(logistic.models.comparison.others()):
        found = fit.prevented_fraction() if protective else fit.attributable_fraction()
        extra = [("prevalence", fit.prevalence().value), ("prevalence_in_reference", fit.risk(None).value)]
    return _row(logistic, f"{factor.column}: {kind} fraction, if causal", f"{kind}_fraction", found, extra)


def miettinen_row(models: Models) -> SurveyRow:
    """Return Miettinen's fraction with adjusted prevalence ratios from a log-link model of risk."""
    comparison = models.comparison
    logistic = Logistic(models, models.model, (), None, NO_EVENTS)
    found = None
    extra: list[tuple[str, float | str | None]] = [("prevalence", None), ("prevalence_in_reference", None)]
    if len(models.varying(both_sides=False)) == comparison.labels.count:
        data = models.data(models.model, None, comparison.others())
        fit = fit_modified_poisson(data, comparison.factor.column)
        check_size(comparison, models.model, fit.k)
        if fit.separated:
            logistic = Logistic(models, models.model, (), None, SEPARATED)
        else:
            found = Estimate(*data.cases_without(fit.log_ratio, fit.row_values))
            prevalence = float(data.share @ data.total) / float(data.total.sum())
            extra = [("prevalence", prevalence), ("prevalence_in_reference", prevalence * (1.0 - found.value))]
    term = f"{comparison.factor.column}: attributable fraction, if causal"
    return _row(logistic, term, "attributable_fraction", found, extra)


def _case_control_rows(logistic: Logistic) -> list[SurveyRow]:
    """Return the fraction from odds ratios, and each category's part of it."""
    comparison, fit = logistic.models.comparison, logistic.fit
    factor = comparison.factor
    whole = None if fit is None else fit.case_control_fraction()
    if set(logistic.codes) != set(comparison.others()):
        whole = None
    blank: list[tuple[str, float | str | None]] = [("adjusted_odds_ratio", None), ("case_share", None)]
    name = "attributable_fraction"
    rows = [_row(logistic, f"{factor.column}: attributable fraction, if causal", name, whole, blank)]
    if len(comparison.others()) < 2:
        return rows
    for code in comparison.others():
        term = f"{factor.column}: part of {comparison.labels.levels[code]}, if causal"
        if fit is None or whole is None:
            rows.append(_row(logistic, term, name, None, blank))
            continue
        position = logistic.codes.index(code)
        part, share = fit.case_control_part(position)
        odds = float(np.exp(fit.log_odds[position]))
        rows.append(_row(logistic, term, name, part, [("adjusted_odds_ratio", odds), ("case_share", share)]))
    return rows


def _row(
    logistic: Logistic,
    term: str,
    contrast: str,
    found: Estimate | None,
    extra: list[tuple[str, float | str | None]],
) -> SurveyRow:
    models: Models = logistic.models
    comparison, survey = models.comparison, models.comparison.survey
    codes = [code for code in range(comparison.labels.count) if comparison.group(code, models.model).any()]
    if len(codes) < 2:
        raise IdentificationError(
            f"Factor {comparison.factor.column!r} has one category among those with every covariate; two are needed."
        )
    return SurveyRow(
        term=term,
        outcome=comparison.outcome_name,
        estimand=Estimand("association", contrast, "survey_population"),
        value=None if found is None else found.value,
        row_values=None if found is None else models.spread(logistic.inside, found.row_values),
        df=min(comparison.design.df(comparison.group(code, models.model)) for code in codes),
        reason="" if found is not None else logistic.reason,
        n_units=int(models.model.sum()),
        n_clusters=clusters_in(survey, models.model),
        support=support_of(models, comparison.others()),
        extra=(
            ("factor", comparison.factor.column),
            ("reference", comparison.labels.levels[comparison.reference]),
            ("model", models.words),
            *extra,
        ),
    )
