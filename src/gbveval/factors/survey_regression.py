"""`SurveyRegression`: linear, logistic and log-link models of a surveyed population."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from gbveval.core.errors import DataError, DesignError, IdentificationError
from gbveval.core.estimand import Estimand
from gbveval.core.estimates import Estimates
from gbveval.core.method import Check, Method
from gbveval.core.registry import register
from gbveval.data._frame import as_names, plural
from gbveval.data.survey import Survey
from gbveval.factors._population import sample_words
from gbveval.factors._regression_fit import Fit, Refits, fit_regression
from gbveval.factors._regression_parts import left_out_checks, model_columns, model_support, require_no_design
from gbveval.factors._rows import (
    SurveyRow,
    assemble,
    check_lonely,
    clusters_in,
    design_of,
    is_binary,
    missing_outcome_check,
    survey_method,
)
from gbveval.numerics.glm import Family
from gbveval.numerics.survey import SampleDesign

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]
LINKS = {"gaussian": "identity", "binomial": "logit", "poisson": "log"}
STD_ERRORS = ("design", "model")


@register("survey_regression")
@dataclass(frozen=True, slots=True)
class SurveyRegression:
    """Regression of each outcome on covariates, in the population that a survey was drawn from.

    Parameters
    ----------
    covariates : str or sequence of str
        Columns; text columns become an indicator of every category but the first in sorted order.
    family : str
        "gaussian" (differences of means), "binomial" (log odds ratios) or "poisson" (log ratios of means: of counts, or
        of prevalences where the outcome is 0 and 1). The last two are quasi-likelihoods: no variance is assumed.
    std_error : str
        "design": of the weighted scores, by strata, units and finite populations, or by replicate weights. "model":
        from the information, for respondents without weights and design, such as each of several imputed data sets.
    lonely_psu : str
        For strata with a single primary unit: "error", "adjust", "certainty" or "average", as in `Prevalence`.

    Notes
    -----
    **Estimates** the coefficients that solve the weighted score equations: those that a fit to the whole population
    would have. Coefficients compare people alike in the other covariates and are associations.

    **Degrees of freedom**: primary units minus strata, counting those with a respondent in the model, plus one minus
    the number of coefficients; rows minus coefficients for "model".

    **Missing answers**: respondents with an outcome or covariate missing stay in the design and out of the model.

    **Collinear columns** are left out, named in a check, and their row is null.

    **Do not use when** one factor is of interest and the others confound it: `RiskFactors` fits one model a factor and
    shows no coefficient of a confounder. Or when the design has fewer degrees of freedom than coefficients.

    References
    ----------
    Binder (1983), International Statistical Review 51. Lumley and Scott (2017), Statistical Science 32.

    Examples
    --------
    >>> import gbveval as gbv
    >>> frame = {"reports": [1.0, 2.0, 4.0, 5.0, 7.0], "hours": [0.0, 1.0, 2.0, 3.0, 4.0]}
    >>> answer = gbv.SurveyRegression("hours").estimate(gbv.Survey(frame, outcome="reports"))
    >>> [(row.term, round(row.value, 6)) for row in answer.terms]
    [('hours', 1.5), ('intercept', 0.8)]
    """

    name: ClassVar[str] = "survey_regression"

    covariates: str | Sequence[str]
    family: str = "gaussian"
    std_error: str = "design"
    lonely_psu: str = "error"

    def __post_init__(self) -> None:
        check_lonely(self.lonely_psu)
        columns = as_names(self.covariates, "covariates")
        if not columns or len(set(columns)) < len(columns):
            raise DesignError("SurveyRegression needs at least one covariate, each given once.")
        object.__setattr__(self, "covariates", columns)
        if self.family not in LINKS:
            raise DesignError(f"family is one of {', '.join(LINKS)}, not {self.family!r}.")
        if self.std_error not in STD_ERRORS:
            raise DesignError(f"std_error is one of {', '.join(STD_ERRORS)}, not {self.std_error!r}.")

    def estimate(self, data: Survey, *, rng: np.random.Generator | None = None) -> Estimates:
        """Return the coefficients of each outcome's model, the intercept last.

        Parameters
        ----------
        data : Survey
            The checked survey.
        rng : numpy.random.Generator, optional
            Ignored: nothing is random.

        Raises
        ------
        DataError
            If a covariate is absent, or an outcome is outside the range of the family.
        DesignError
            If a covariate is an outcome, an identifier or the primary unit, or "model" is asked of a design.
        IdentificationError
            If there are more coefficients than degrees of freedom, or an outcome is separated.
        ConvergenceError
            If a model finds no solution.
        """
        if self.std_error == "model":
            require_no_design(data)
        columns = as_names(self.covariates)
        design = design_of(data, self.lonely_psu)
        x, names, complete = model_columns(data, columns)
        rows: list[SurveyRow] = []
        checks: list[Check] = []
        parts = []
        for outcome in range(len(data.outcome_names)):
            _check_range(data, outcome, self.family)
            member = data.observed(outcome) & complete & (data.weights() > 0)
            fit, refits = self._fit(data, design, outcome, (x, member))
            rows += self._rows(data, design, outcome, (x, names, member), fit, refits)
            parts.append((fit, len(names)))
            checks += missing_outcome_check(data, outcome)
            checks += left_out_checks(data, outcome, member, [names[j] for j in range(len(names)) if j not in fit.kept])
        model = _model_covariance(parts) if self.std_error == "model" else None
        return assemble(self, data, design, rows, method=self._method(data), checks=checks, covariance=model)

    def _fit(
        self, data: Survey, design: SampleDesign, outcome: int, model: tuple[FloatArray, BoolArray]
    ) -> tuple[Fit, Refits]:
        x, member = model
        name = data.outcome_names[outcome]
        free = design.df(member) + 1.0 if self.std_error == "design" else float(member.sum())
        if member.sum() < 2 or free < 2:
            raise IdentificationError(
                f"The model of outcome {name!r} rests on {plural(int(member.sum()), 'respondent')} in too few primary "
                "units; nobody else has the outcome and every covariate. Use fewer covariates, or impute."
            )
        family = Family(self.family, LINKS[self.family])
        weights = data.weights()[member]
        fit = fit_regression(family, x[member], data.outcomes[member, outcome], weights, outcome=name)
        if fit.beta.size >= free:
            raise IdentificationError(
                f"The model of outcome {name!r} has {plural(fit.beta.size, 'coefficient')}, but the sample has only "
                f"{free - 1.0:.0f} degrees of freedom. Use fewer covariates or categories."
            )
        kept = np.array(fit.kept, dtype=np.intp)
        return fit, Refits(family, x[member][:, kept], data.outcomes[member, outcome], member)

    def _rows(
        self,
        data: Survey,
        design: SampleDesign,
        outcome: int,
        model: tuple[FloatArray, tuple[str, ...], BoolArray],
        fit: Fit,
        refits: Refits,
    ) -> list[SurveyRow]:
        """Return a row for each covariate column, the intercept last."""
        x, names, member = model
        free = design.df(member) + 1.0 if self.std_error == "design" else float(member.sum())
        rows = []
        for column in (*range(len(names)), None):
            place = 0 if column is None else (fit.kept.index(column) + 1 if column in fit.kept else None)
            values = None
            if place is not None:
                values = np.zeros(data.n)
                values[member] = fit.row_values[:, place]
            rows.append(
                SurveyRow(
                    term="intercept" if column is None else names[column],
                    outcome=data.outcome_names[outcome],
                    estimand=_estimand(self.family, is_binary(data, outcome), intercept=column is None),
                    value=None if place is None else float(fit.beta[place]),
                    row_values=values,
                    df=free - fit.beta.size,
                    reason="" if place is not None else "collinear with the columns before it, so it was left out",
                    n_units=int(member.sum()),
                    n_clusters=clusters_in(data, member),
                    support=model_support(
                        data, outcome, member, None if column is None else (names[column], x[:, column])
                    ),
                    extra=(),
                    at=None if place is None else _Coefficient(refits, place),
                )
            )
        return rows

    def _method(self, data: Survey) -> Method:
        assumptions = (
            "these are associations between people alike in the other covariates",
            f"the {LINKS[self.family]} of the mean is linear in the covariates",
            "answers are missing for reasons unrelated to the outcome, given the covariates",
        )
        sample = f"{sample_words(data, range(len(data.outcome_names)))}, and so are those without a covariate"
        if self.std_error == "design":
            return survey_method(
                data,
                sample=sample,
                std_error="Taylor linearisation of the weighted scores",
                assumptions=assumptions,
                source="Binder 1983; Lumley and Scott 2017",
            )
        return Method(
            sample=sample,
            std_error="inverse information of the model"
            + (", times Pearson's dispersion" if self.family == "gaussian" else ""),
            small_sample="none",
            reference="t with rows minus coefficients",
            inference_for="the population that respondents are a simple random sample of",
            assumptions=(*assumptions, "the variance of the outcome is that of the family"),
            source="McCullagh and Nelder 1989",
        )


def _check_range(data: Survey, outcome: int, family: str) -> None:
    y = data.outcomes[data.observed(outcome), outcome]
    low = {"gaussian": -np.inf, "binomial": 0.0, "poisson": 0.0}[family]
    high = 1.0 if family == "binomial" else np.inf
    wrong = int(((y < low) | (y > high)).sum())
    if wrong:
        wanted = "0 to 1" if family == "binomial" else "zero or more"
        raise DataError(
            f"Column {data.outcome_names[outcome]!r} (outcome) is outside the range of family {family!r} in "
            f"{plural(wrong, 'row')}; {wanted} was expected. Code it so, or choose another family."
        )


def _estimand(family: str, binary: bool, *, intercept: bool) -> Estimand:
    if intercept:
        return Estimand("nuisance", "none", "survey_population", "conditional")
    log_link = "prevalence_ratio" if binary else "mean_ratio"
    contrast = {"gaussian": "mean_difference_per_unit", "binomial": "odds_ratio", "poisson": log_link}[family]
    return Estimand("association", contrast, "survey_population", "conditional")


@dataclass(frozen=True, eq=False, slots=True)
class _Coefficient:
    """One coefficient under other weights."""

    refits: Refits
    place: int

    def __call__(self, weights: FloatArray) -> float:
        return self.refits.coefficient(weights, self.place)


def _model_covariance(parts: list[tuple[Fit, int]]) -> FloatArray:
    """Return the model-based covariance in the order of the rows; models of several outcomes are kept apart."""
    total = sum(count + 1 for _, count in parts)
    result = np.full((total, total), np.nan)
    start = 0
    for fit, count in parts:
        places = np.array([start + count, *(start + column for column in fit.kept)])
        result[np.ix_(places, places)] = fit.covariance
        start += count + 1
    return result
