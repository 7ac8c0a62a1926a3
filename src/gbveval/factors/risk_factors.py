"""`RiskFactors`: what goes with experiencing or perpetrating abuse, one model an exposure, never called an effect."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from gbveval.core.errors import DesignError
from gbveval.core.estimates import Estimates
from gbveval.core.method import Check, Method
from gbveval.core.registry import register
from gbveval.data._frame import as_names, plural
from gbveval.data.survey import Survey
from gbveval.factors._association import compare, rows_of
from gbveval.factors._rows import (
    SurveyRow,
    assemble,
    check_lonely,
    design_of,
    missing_answer_check,
    missing_outcome_check,
    require_binary,
    survey_method,
)
from gbveval.factors.factor import Factor

BEHAVIOURS = ("experience", "perpetration")
Adjustment = tuple[tuple[str, tuple[str, ...]], ...]


@register("risk_factors")
@dataclass(frozen=True, slots=True)
class RiskFactors:
    """The standard table of risk and protective factors: prevalence ratios and differences, crude and adjusted.

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
    lonely_psu : str
        "error", or "adjust" for strata with a single primary unit: centred at the mean over all primary units.

    Notes
    -----
    **Estimates associations** in the population that the survey was drawn from, for every category of a factor against
    its reference: the crude prevalence ratio, the ratio adjusted for declared confounders, the crude difference.

    **One model an exposure.** The coefficients of covariates are not shown: each would be adjusted for its own
    consequences (the Table 2 fallacy).

    **Crude rows**: shares of two groups and their linearised ratio and difference. **Adjusted rows**: Poisson
    quasi-likelihood with a log link (modified Poisson) with the sampling weights; the variance is the linearised one of
    the weighted scores, by strata and primary units, and needs no Poisson assumption. The adjusted ratio compares
    people alike in the covariates (scale "conditional"); for ratios of risks this is also the marginal one when it is
    the same for all.

    **Missing answers**: each row rests on the respondents complete for that row: outcome and factor, and for adjusted
    rows the covariates. What is left out is counted in the checks and in `missing_share`. Factor prevalence and risks
    beside an adjusted ratio are those of the crude rows.

    **Undefined**: a group without events has no ratio; the row is null and says so. So are adjusted rows when some
    combination of covariates has no events.

    **Do not use when** the outcome is not 0 or 1, or when factor and outcome were asked of a time order that is not
    known: an association at one time may run either way.

    References
    ----------
    Zou (2004), American Journal of Epidemiology 159. Binder (1983), International Statistical Review 51. Westreich and
    Greenland (2013), American Journal of Epidemiology 177.

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
    """

    name: ClassVar[str] = "risk_factors"

    factors: Sequence[Factor | str]
    adjust_for: Mapping[str, Sequence[str]] | Adjustment | None = None
    behaviour: str = field(kw_only=True)
    lonely_psu: str = field(default="error", kw_only=True)

    def __post_init__(self) -> None:
        given = (self.factors,) if isinstance(self.factors, (Factor, str)) else tuple(self.factors)
        factors = tuple(item if isinstance(item, Factor) else Factor(item) for item in given)
        object.__setattr__(self, "factors", factors)
        object.__setattr__(self, "adjust_for", _normalised(self.adjust_for))
        if self.behaviour not in BEHAVIOURS:
            raise DesignError(f"behaviour is 'experience' or 'perpetration', not {self.behaviour!r}.")
        check_lonely(self.lonely_psu)
        _check_roles(factors, self._adjustment())

    def _adjustment(self) -> dict[str, tuple[str, ...]]:
        return {} if self.adjust_for is None else {key: tuple(entry) for key, entry in _pairs(self.adjust_for)}

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
        factors = [item for item in self.factors if isinstance(item, Factor)]
        roles = self._adjustment()
        used = sorted({column for entry in roles.values() for column in entry} & set(data.outcome_names))
        if used:
            raise DesignError(f"Column {used[0]!r} is an outcome of the survey; do not adjust for it.")
        design = design_of(data, self.lonely_psu)
        rows: list[SurveyRow] = []
        checks: list[Check] = []
        for outcome in range(len(data.outcome_names)):
            require_binary(data, outcome, "RiskFactors")
            checks += missing_outcome_check(data, outcome)
            for factor in factors:
                comparison = compare(
                    data,
                    design,
                    outcome=outcome,
                    factor=factor,
                    adjust_for=roles.get(factor.column),
                    behaviour=self.behaviour,
                )
                found, notes = rows_of(comparison)
                rows += found
                checks += notes
        for factor in factors:
            checks += missing_answer_check(factor.column, int((data.labels(factor.column).codes < 0).sum()), data.n)
        return assemble(self, data, design, rows, method=_method(data, roles, factors), checks=checks)


def _pairs(given: Mapping[str, Sequence[str]] | Adjustment) -> list[tuple[str, Sequence[str]]]:
    return list(given.items()) if isinstance(given, Mapping) else list(given)


def _normalised(given: Mapping[str, Sequence[str]] | Adjustment | None) -> Adjustment | None:
    """Return the adjustment sets as tuples, so that the estimator can be hashed; repeated columns count once."""
    if given is None:
        return None
    return tuple((key, tuple(dict.fromkeys(as_names(entry)))) for key, entry in sorted(_pairs(given)))


def _check_roles(factors: tuple[Factor, ...], roles: Mapping[str, tuple[str, ...]]) -> None:
    """Raise DesignError for factors given twice, and for adjustment sets that fit no factor or hold it."""
    if not factors:
        raise DesignError("RiskFactors needs at least one factor.")
    names = [factor.column for factor in factors]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise DesignError(f"Factor {twice[0]!r} is given {names.count(twice[0])} times; give it once.")
    unknown = [name for name in roles if name not in names]
    if unknown:
        raise DesignError(f"adjust_for names {unknown[0]!r}, which is not among the factors: {', '.join(names)}.")
    for name, columns in roles.items():
        if name in columns:
            raise DesignError(f"Factor {name!r} cannot be adjusted for itself; take it out of its adjust_for.")


def _method(data: Survey, roles: Mapping[str, tuple[str, ...]], factors: Sequence[Factor]) -> Method:
    open_roles = [factor.column for factor in factors if factor.column not in roles]
    assumptions = [
        "these are associations: nothing here says that changing a factor would change the outcome",
        "respondents were drawn as the weights, strata and primary units say",
        "answers are missing for reasons unrelated to the outcome, given what a row is adjusted for",
    ]
    if any(roles.values()):
        assumptions.append("adjustment sets hold confounders and nothing that the factor brings about")
    if open_roles:
        assumptions.append(f"no roles were declared for {', '.join(open_roles)}: its ratio is crude only")
    return survey_method(
        data,
        sample=f"of {plural(data.n, 'respondent')}, each row rests on those with the outcome and the factor (adjusted "
        "rows: and every covariate); the others are left out and not imputed",
        std_error="Taylor linearisation of the ratio of shares (crude) and of the weighted scores of a log-link "
        "Poisson quasi-likelihood (adjusted; modified Poisson)",
        assumptions=tuple(assumptions),
        source="Zou 2004; Binder 1983",
    )
