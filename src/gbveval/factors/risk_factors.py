"""`RiskFactors`: what goes with experiencing or perpetrating abuse, one model an exposure, never called an effect."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import ClassVar

import numpy as np

from gbveval.core.errors import DesignError
from gbveval.core.estimates import Estimates
from gbveval.core.method import Check, Method
from gbveval.core.registry import register
from gbveval.data._frame import as_names, plural
from gbveval.data.survey import Survey
from gbveval.factors._adjusted import (
    difference_rows,
    fraction_row,
    logistic_of,
    odds_rows,
    ratio_rows,
    standardised_ratio_rows,
    trend_row,
)
from gbveval.factors._association import Comparison, compare, crude_rows
from gbveval.factors._columns import Columns
from gbveval.factors._models import models_of, sample_check
from gbveval.factors._replicated import Block, rows_of_blocks
from gbveval.factors._roles import Adjusted, adjusted_for, refuse_mediators
from gbveval.factors._rows import (
    SurveyRow,
    assemble,
    check_lonely,
    design_of,
    missing_answer_check,
    missing_outcome_check,
    refuse_outcomes,
    require_binary,
    survey_method,
)
from gbveval.factors._strength import with_e_values, with_robustness
from gbveval.factors.causal_graph import CausalGraph
from gbveval.factors.factor import Factor
from gbveval.numerics.survey import SampleDesign

BEHAVIOURS = ("experience", "perpetration")
MEASURES = ("ratio", "difference", "odds_ratio", "standardised_ratio", "attributable_fraction")
Adjustment = tuple[tuple[str, tuple[str, ...]], ...]


@register("risk_factors")
@dataclass(frozen=True, slots=True)
class RiskFactors:
    """The standard table of risk and protective factors: crude and adjusted associations, one model an exposure.

    Parameters
    ----------
    factors : sequence of Factor or str
        The factors; a name alone is a Factor whose level is not declared.
    adjust_for : mapping of str to sequence of str, optional
        Factor to the confounders that its ratio is adjusted for: common causes of factor and outcome, never what lies
        on the path between them. A factor without an entry gets crude rows that say that roles were not declared; an
        empty sequence declares that there is no confounder. Text columns enter as categories, numbers as numbers.
    behaviour : str
        "experience" or "perpetration": which of the two the outcomes are. They never share a table.
    measures : sequence of str
        What the table has, of "ratio", "difference", "odds_ratio", "standardised_ratio" (of risks averaged over
        everybody; only with confounders) and "attributable_fraction".
    mediators : mapping of str to sequence of str, optional
        Factor to what is known to lie between it and the outcome. Adjusting for one is refused.
    graph : CausalGraph or sequence of (str, str), optional
        Causes and effects, the outcome's column among them. Adjustment sets are checked against its back doors; a
        factor without an entry in `adjust_for` is adjusted for the smallest set of columns that closes them.
    lonely_psu : str
        For strata with a single primary unit: "error", "adjust", "certainty" or "average", as in `Prevalence`.

    Notes
    -----
    **Estimates associations** in the population that the survey was drawn from, for every category of a factor against
    its reference: prevalence ratios, differences and odds ratios, crude and adjusted for declared confounders. For a
    factor with an order, also the ratio of one step up; for each factor, on request, the attributable fraction (of a
    protective one: the prevented fraction).

    **One model an exposure.** The coefficients of covariates are not shown: each would be adjusted for its own
    consequences (the Table 2 fallacy).

    **Crude rows**: shares of two groups and their linearised ratio and difference. **Adjusted rows**: Poisson
    quasi-likelihood with a log link (modified Poisson) with the sampling weights; the variance is the linearised one of
    the weighted scores, by strata and primary units, and needs no Poisson assumption. The adjusted ratio compares
    people alike in the covariates (scale "conditional"); for ratios of risks this is also the marginal one when it is
    the same for all.

    **Adjusted differences** and attributable fractions are standardised over the respondents of the model: a weighted
    logistic regression predicts everybody's risk in the category and in the reference. An attributable fraction is 1
    less the standardised risk of the reference over the prevalence (of protective factors 1 less the prevalence over
    that risk). It rests on risks, never on an odds ratio; it assumes that the association is causal, and fractions of
    several factors are never added up.

    **E-values** (columns `e_value`, `e_value_limit`, for ratios, with 95 % limits; odds ratios by their root): how
    strongly a confounder that is not adjusted for would have to go with both factor and outcome to explain the ratio,
    if the association were causal.

    **Robustness values** (columns `robustness_value`, `robustness_value_limit`, for adjusted differences): how much of
    what covariates leave of factor and outcome a confounder would have to explain, of both, to take the difference
    away, or to where its 95 % interval holds zero; from `partial_r2` of the weighted linear regression. They and
    E-values say nothing of whether there is such a confounder.

    **Missing answers**: each row rests on the respondents complete for that row: outcome and factor, and for adjusted
    rows the covariates. What is left out is counted in the checks and in `missing_share`. Factor prevalence and risks
    beside an adjusted ratio are those of the crude rows.

    **Replicate weights**: where the survey has some, the whole table is computed again under each, and standard errors
    are those of the replicates. So are they in `AttributableFraction` and `AdditiveInteraction`. A row that a replicate
    leaves undefined has no standard error.

    **Undefined**: a group without events has no ratio; the row is null and says so. So are adjusted rows when some
    combination of covariates has no events, or when a logistic model is separated.

    **Do not use when** the outcome is not 0 or 1, or when factor and outcome were asked of a time order that is not
    known: an association at one time may run either way.

    References
    ----------
    Zou (2004), American Journal of Epidemiology 159. Binder (1983), International Statistical Review 51. Westreich and
    Greenland (2013), American Journal of Epidemiology 177. Sjolander and Vansteelandt (2011), Biostatistics 12
    (attributable fractions). VanderWeele and Ding (2017), Annals of Internal Medicine 167. Cinelli
    and Hazlett (2020), Journal of the Royal Statistical Society B 82.

    Examples
    --------
    >>> import numpy as np
    >>> from gbveval.datasets.pilot import PilotSurvey
    >>> survey = PilotSurvey().draw(np.random.default_rng(1))
    >>> table = RiskFactors(
    ...     [Factor("moderated_community", level="community", direction="protective")],
    ...     adjust_for={"moderated_community": ["region"]},
    ...     behaviour="experience",
    ... ).estimate(survey)
    >>> for row in table.terms:
    ...     print(row.term)
    moderated_community: yes vs no (crude ratio)
    moderated_community: yes vs no (adjusted ratio)
    moderated_community: yes vs no (crude difference)
    moderated_community: yes vs no (adjusted difference)
    """

    name: ClassVar[str] = "risk_factors"

    factors: Sequence[Factor | str]
    adjust_for: Mapping[str, Sequence[str]] | Adjustment | None = None
    behaviour: str = field(kw_only=True)
    measures: Sequence[str] = field(default=("ratio", "difference"), kw_only=True)
    mediators: Mapping[str, Sequence[str]] | Adjustment | None = field(default=None, kw_only=True)
    graph: CausalGraph | Sequence[tuple[str, str]] | None = field(default=None, kw_only=True)
    lonely_psu: str = field(default="error", kw_only=True)

    def __post_init__(self) -> None:
        given = (self.factors,) if isinstance(self.factors, (Factor, str)) else tuple(self.factors)
        factors = tuple(item if isinstance(item, Factor) else Factor(item) for item in given)
        object.__setattr__(self, "factors", factors)
        object.__setattr__(self, "adjust_for", _normalised(self.adjust_for))
        object.__setattr__(self, "mediators", _normalised(self.mediators))
        if self.graph is not None and not isinstance(self.graph, CausalGraph):
            object.__setattr__(self, "graph", CausalGraph(self.graph))
        measures = as_names(self.measures, "measures")
        object.__setattr__(self, "measures", measures)
        unknown = [name for name in measures if name not in MEASURES]
        if unknown or not measures:
            raise DesignError(f"measures are some of {', '.join(MEASURES)}, not {', '.join(unknown) or 'none'}.")
        if self.behaviour not in BEHAVIOURS:
            raise DesignError(f"behaviour is 'experience' or 'perpetration', not {self.behaviour!r}.")
        check_lonely(self.lonely_psu)
        _check_roles(factors, _as_dict(self.adjust_for), "adjust_for")
        _check_roles(factors, _as_dict(self.mediators), "mediators")
        refuse_mediators(_as_dict(self.adjust_for), _as_dict(self.mediators))

    def estimate(self, data: Survey, *, rng: np.random.Generator | None = None) -> Estimates:
        """Return the rows of every outcome and factor.

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
            If a factor or covariate is an outcome, or a reference is not a category of its factor.
        IdentificationError
            If a factor has one category, is a combination of its covariates, or the variance cannot be estimated.
        ConvergenceError
            If an adjusted model finds no solution.
        """
        return self.estimate_columns(Columns(data))

    def estimate_columns(self, columns: Columns) -> Estimates:
        """Return the table of a survey, or of a domain of one, whose columns may have been read before."""
        data = columns.survey
        factors = [item for item in self.factors if isinstance(item, Factor)]
        roles = _as_dict(self.adjust_for)
        refuse_outcomes(data, [column for entry in roles.values() for column in entry])
        design = design_of(data, self.lonely_psu)
        checks: list[Check] = []
        blocks: list[Block] = []
        found: dict[str, Adjusted] = {}
        for outcome, outcome_name in enumerate(data.outcome_names):
            require_binary(data, outcome, "RiskFactors")
            checks += missing_outcome_check(data, outcome)
            for factor in factors:
                adjusted = self._adjusted(data, factor.column, outcome_name)
                found[factor.column] = adjusted
                blocks.append(partial(self._block, design=design, outcome=outcome, factor=factor, adjusted=adjusted))
        rows, notes = rows_of_blocks(columns, blocks)
        checks += notes
        for factor in factors:
            absent = int((columns.labels(factor.column).codes < 0).sum())
            checks += missing_answer_check(factor.column, absent, data.n)
        used_roles = {key: entry.columns for key, entry in found.items() if entry.columns is not None}
        method = _method(data, used_roles, factors, self.measures)
        made = assemble(self, data, design, rows, method=method, checks=checks)
        return with_robustness(with_e_values(made))

    def _block(
        self, columns: Columns, *, design: SampleDesign, outcome: int, factor: Factor, adjusted: Adjusted
    ) -> tuple[list[SurveyRow], list[Check]]:
        """Return the rows of one outcome and factor under the weights of the columns' survey."""
        comparison = compare(
            columns,
            design,
            outcome=outcome,
            factor=factor,
            adjust_for=adjusted.columns,
            reason=adjusted.reason,
            behaviour=self.behaviour,
        )
        rows, notes = _rows_of(comparison, self.measures)
        return rows, [*adjusted.checks, *notes]

    def _adjusted(self, data: Survey, factor: str, outcome: str) -> Adjusted:
        graph = self.graph if isinstance(self.graph, CausalGraph) else None
        measured = [name for name in data.columns if name not in data.outcome_names]
        return adjusted_for(factor, outcome, _as_dict(self.adjust_for), _as_dict(self.mediators), graph, measured)


def _rows_of(comparison: Comparison, measures: Sequence[str]) -> tuple[list[SurveyRow], list[Check]]:
    """Return the rows of a comparison: measures by category, then those of the factor as a whole."""
    models = models_of(comparison)
    checks = sample_check(models)
    adjusted: dict[str, dict[int, SurveyRow]] = {}
    declared = bool(comparison.adjust_for)
    if declared and "ratio" in measures:
        adjusted["ratio"], notes = ratio_rows(models)
        checks += notes
    standardised = {"difference", "odds_ratio", "standardised_ratio"} & set(measures) if declared else set()
    logistic = logistic_of(models) if standardised or "attributable_fraction" in measures else None
    if logistic is not None and declared:
        made = {"difference": difference_rows, "standardised_ratio": standardised_ratio_rows, "odds_ratio": odds_rows}
        adjusted |= {measure: make(logistic) for measure, make in made.items() if measure in measures}
    rows: list[SurveyRow] = []
    for code in comparison.others():
        crude = crude_rows(comparison, code)
        for measure in MEASURES[:-1]:
            if measure in measures:
                rows += [crude[measure]] if measure in crude else []
                rows += [adjusted[measure][code]] if measure in adjusted else []
    if comparison.factor.ordered:
        rows.append(trend_row(models))
    if logistic is not None and "attributable_fraction" in measures:
        rows.append(fraction_row(logistic))
    return rows, checks


def _as_dict(given: Mapping[str, Sequence[str]] | Adjustment | None) -> dict[str, tuple[str, ...]]:
    return {} if given is None else {key: tuple(entry) for key, entry in _pairs(given)}


def _pairs(given: Mapping[str, Sequence[str]] | Adjustment) -> list[tuple[str, Sequence[str]]]:
    return list(given.items()) if isinstance(given, Mapping) else list(given)


def _normalised(given: Mapping[str, Sequence[str]] | Adjustment | None) -> Adjustment | None:
    """Return the adjustment sets as tuples, so that the estimator can be hashed; repeated columns count once."""
    if given is None:
        return None
    return tuple((key, tuple(dict.fromkeys(as_names(entry)))) for key, entry in sorted(_pairs(given)))


def _check_roles(factors: tuple[Factor, ...], roles: Mapping[str, tuple[str, ...]], option: str) -> None:
    """Raise DesignError for factors given twice, and for adjustment sets that fit no factor or hold it."""
    if not factors:
        raise DesignError("RiskFactors needs at least one factor.")
    names = [factor.column for factor in factors]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise DesignError(f"Factor {twice[0]!r} is given {names.count(twice[0])} times; give it once.")
    unknown = [name for name in roles if name not in names]
    if unknown:
        raise DesignError(f"{option} names {unknown[0]!r}, which is not among the factors: {', '.join(names)}.")
    for name, columns in roles.items():
        if name in columns:
            raise DesignError(f"Factor {name!r} cannot be adjusted for itself; take it out of its {option}.")


def _method(
    data: Survey, roles: Mapping[str, tuple[str, ...]], factors: Sequence[Factor], measures: Sequence[str]
) -> Method:
    open_roles = [factor.column for factor in factors if factor.column not in roles]
    assumptions = [
        "these are associations: nothing here says that changing a factor would change the outcome",
        "respondents were drawn as the weights, strata and primary units say",
        "answers are missing for reasons unrelated to the outcome, given what a row is adjusted for",
    ]
    if any(roles.values()):
        assumptions.append("adjustment sets hold confounders and nothing that the factor brings about")
    if open_roles:
        assumptions.append(f"nothing was adjusted for with {', '.join(open_roles)}: its ratio is crude only")
    assumptions.append("E-values speak of the ratio if the association were causal")
    if "attributable_fraction" in measures:
        assumptions.append(
            "attributable and prevented fractions hold if the association were causal and the factor could be taken "
            "away (or given) without changing anything else; those of several factors do not add up"
        )
    if any(factor.time_order != "before" for factor in factors):
        assumptions.append("unless the factor was there before the outcome could happen, either may have come first")
    return survey_method(
        data,
        sample=f"of {plural(data.n, 'respondent')}, each row rests on those with the outcome and the factor (adjusted "
        "rows: and every covariate); the others are left out and not imputed",
        std_error="Taylor linearisation of the ratio of shares (crude) and of the weighted scores of a log-link "
        "Poisson quasi-likelihood (adjusted ratios; modified Poisson) and of a logistic regression and the average of "
        "its predictions (adjusted differences, odds ratios, attributable fractions)",
        assumptions=tuple(assumptions),
        source="Zou 2004; Binder 1983",
    )
