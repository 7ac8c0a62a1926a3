"""`RandomisedResponseRegression`: who has what is only told behind chance."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from gbveval.core.errors import ConvergenceError, DesignError, IdentificationError
from gbveval.core.estimand import Estimand
from gbveval.core.estimates import Estimates
from gbveval.core.method import Check, Method
from gbveval.core.registry import register
from gbveval.data._frame import as_names
from gbveval.data.survey import Survey
from gbveval.factors._domains import outcome_cell
from gbveval.factors._population import sample_words
from gbveval.factors._regression_parts import left_out_checks, model_columns, model_support, require_no_design
from gbveval.factors._rows import (
    SurveyRow,
    assemble,
    check_lonely,
    clusters_in,
    design_of,
    missing_outcome_check,
    require_binary,
    survey_method,
)
from gbveval.factors._scrambled import floor_and_span
from gbveval.factors.randomised_response import ASSUMED
from gbveval.numerics.least_squares import make_basis
from gbveval.numerics.misclassified_logistic import DistortedFit, fit_distorted

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]
STD_ERRORS = ("design", "model", "scores")


@register("randomised_response_regression")
@dataclass(frozen=True, slots=True)
class RandomisedResponseRegression:
    """Logistic regression of a sensitive outcome that is told by randomised response.

    Parameters
    ----------
    covariates : str or sequence of str
        Columns; text columns become an indicator of every category but the first in sorted order. Empty for the
        prevalence alone.
    truth_probability : float
        Of the truthful question (forced design), or of "it happened" as the statement to answer (mirrored design).
    forced_yes : float, optional
        Probability of a forced yes. Absent, the design is mirrored.
    std_error : str
        "design": of the weighted scores, by strata, units and finite populations. For respondents without weights and
        design: "model", from the observed information, or "scores", from the cross-product of the scores instead.
    lonely_psu : str
        For strata with a single primary unit: "error", "adjust", "certainty" or "average", as in `Prevalence`.

    Notes
    -----
    **Estimates** by maximum likelihood the log odds ratios of P(yes) = c + d F(x'b), with c and d as in
    `RandomisedResponse`; then, as the last row, the prevalence: the average of F over those in the model. Coefficients
    compare people alike in the other covariates and are associations.

    **Degrees of freedom**: as in `SurveyRegression`.

    **Do not use when** the share of yes is at or beyond what the design makes possible, where there is no finite
    maximum: `RandomisedResponse` shows that share. Or with replicate weights, for which there is no variance here.

    References
    ----------
    Scheers and Dayton (1988), Journal of the American Statistical Association 83. Blair, Imai and Zhou (2015), Journal
    of the American Statistical Association 110. Binder (1983), International Statistical Review 51.

    Examples
    --------
    >>> import gbveval as gbv
    >>> frame = {"said_yes": [1] * 30 + [0] * 20 + [1] * 20 + [0] * 30, "age": ["old"] * 50 + ["young"] * 50}
    >>> model = RandomisedResponseRegression("age", 2 / 3, forced_yes=1 / 6)
    >>> [(row.term, round(row.value, 3)) for row in model.estimate(gbv.Survey(frame, outcome="said_yes")).terms]
    [('age[young]', -1.238), ('intercept', 0.619), ('prevalence', 0.5)]
    """

    name: ClassVar[str] = "randomised_response_regression"

    covariates: str | Sequence[str]
    truth_probability: float
    forced_yes: float | None = None
    std_error: str = "design"
    lonely_psu: str = "error"

    def __post_init__(self) -> None:
        check_lonely(self.lonely_psu)
        columns = as_names(self.covariates, "covariates")
        if len(set(columns)) < len(columns):
            raise DesignError("A covariate of RandomisedResponseRegression is given twice; give each once.")
        object.__setattr__(self, "covariates", columns)
        if self.std_error not in STD_ERRORS:
            raise DesignError(f"std_error is one of {', '.join(STD_ERRORS)}, not {self.std_error!r}.")
        floor_and_span(self.truth_probability, self.forced_yes)

    def estimate(self, data: Survey, *, rng: np.random.Generator | None = None) -> Estimates:
        """Return the coefficients of each outcome's model, its intercept and the prevalence.

        Parameters
        ----------
        data : Survey
            The checked survey; its outcomes are answers of 0 (no) and 1 (yes).
        rng : numpy.random.Generator, optional
            Ignored: nothing is random here.

        Raises
        ------
        DataError
            If a covariate is absent, or an outcome is not 0 or 1.
        DesignError
            If a covariate is an outcome, an identifier or the primary unit, "model" or "scores" is asked of a design,
            or the survey has replicate weights.
        IdentificationError
            If there are more coefficients than degrees of freedom.
        ConvergenceError
            If there is no maximum with finite coefficients.
        """
        if self.std_error != "design":
            require_no_design(data)
        design = design_of(data, self.lonely_psu)
        x, names, complete = model_columns(data, as_names(self.covariates))
        rows: list[SurveyRow] = []
        checks: list[Check] = []
        models: list[_Model] = []
        for outcome in range(len(data.outcome_names)):
            require_binary(data, outcome, "RandomisedResponseRegression")
            member = data.observed(outcome) & complete & (data.weights() > 0)
            free = design.df(member) if self.std_error == "design" else float(member.sum()) - 1.0
            model = _fit(self, data, outcome, x, names, member, free)
            rows += _rows(data, outcome, model)
            models.append(model)
            checks += missing_outcome_check(data, outcome)
            dropped = [names[j] for j in range(len(names)) if j not in model.kept]
            checks += left_out_checks(data, outcome, member, dropped)
        given = None if self.std_error == "design" else _joined(models)
        return assemble(self, data, design, rows, method=self._method(data), checks=checks, covariance=given)

    def _method(self, data: Survey) -> Method:
        sample = f"{sample_words(data, range(len(data.outcome_names)))}, and so are those without a covariate"
        assumptions = ("the log odds of the outcome are linear in the covariates", *ASSUMED)
        source = "Scheers and Dayton 1988; Blair, Imai and Zhou 2015"
        if self.std_error == "design":
            return survey_method(
                data,
                sample=sample,
                std_error="Taylor linearisation of the weighted scores",
                assumptions=assumptions,
                source=source,
            )
        return Method(
            sample=sample,
            std_error="inverse observed information"
            if self.std_error == "model"
            else "inverse cross-product of the scores",
            small_sample="none",
            reference="t with rows minus coefficients",
            inference_for="the population that respondents are a simple random sample of",
            assumptions=assumptions,
            source=source,
        )


@dataclass(frozen=True, eq=False, slots=True)
class _Model:
    """A fitted model, on the columns given: coefficients, intercept and prevalence with their linearised values."""

    names: tuple[str, ...]
    kept: tuple[int, ...]
    values: FloatArray
    row_values: FloatArray
    covariance: FloatArray
    df: float
    member: BoolArray
    x: FloatArray


def _fit(
    estimator: RandomisedResponseRegression,
    data: Survey,
    outcome: int,
    x: FloatArray,
    names: tuple[str, ...],
    member: BoolArray,
    free: float,
) -> _Model:
    """Return the model of one outcome."""
    name = data.outcome_names[outcome]
    if free < x.shape[1] + 1.0:
        raise IdentificationError(
            f"The model of outcome {name!r} has {x.shape[1] + 1} coefficients and {max(free, 0.0):.0f} degrees of "
            "freedom. Use fewer covariates."
        )
    weights = data.weights()[member]
    floor, span = floor_and_span(estimator.truth_probability, estimator.forced_yes)
    basis = make_basis(x[member], weights=weights)
    z = basis.rows(x[member], slice(None))
    fit = fit_distorted(z, data.outcomes[member, outcome], weights, floor=floor, span=span)
    if not fit.converged:
        raise ConvergenceError(
            f"The model of outcome {name!r} has no maximum with finite coefficients: too few (or too many) said yes "
            "for this design, overall or in some group. Look at RandomisedResponse by group, and use fewer covariates."
        )
    crossed = fit.scores.T @ fit.scores if estimator.std_error == "scores" else fit.information
    model: FloatArray = np.asarray(np.linalg.inv(crossed), dtype=np.float64)
    values, rows, covariance = _with_prevalence(fit, z, weights, basis.to_original, model)
    kept = tuple(j for j in range(x.shape[1]) if j not in set(basis.dropped))
    return _Model(names, kept, values, rows, covariance, free + 1.0 - fit.beta.size, member, x)


def _with_prevalence(
    fit: DistortedFit, z: FloatArray, weights: FloatArray, back: FloatArray, model: FloatArray
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return intercept, coefficients and prevalence with linearised values and model-based covariance."""
    inverse = np.linalg.inv(fit.information)
    share = 1.0 / (1.0 + np.exp(-(z @ fit.beta)))
    total = weights.sum()
    prevalence = float(weights @ share / total)
    slope = (weights * share * (1.0 - share)) @ z / total
    moves = fit.scores @ inverse
    averaged = moves @ slope + weights * (share - prevalence) / total
    values = np.append(back @ fit.beta, prevalence)
    rows = np.column_stack([moves @ back.T, averaged])
    turn = np.vstack([back, slope])
    covariance = turn @ model @ turn.T
    # Respondents are drawn: their own shares vary around the prevalence.
    covariance[-1, -1] += float(((weights * (share - prevalence) / total) ** 2).sum())
    return values, rows, covariance


def _rows(data: Survey, outcome: int, model: _Model) -> list[SurveyRow]:
    """Return a row a column, then the intercept and the prevalence."""
    cell = outcome_cell(data, outcome)
    rows = []
    last = model.values.size - 1
    for column in (*range(len(model.names)), "intercept", "prevalence"):
        place: int | None
        if isinstance(column, int):
            place = model.kept.index(column) + 1 if column in model.kept else None
            estimand = Estimand("association", "odds_ratio", "survey_population", "conditional")
            support = model_support(data, outcome, model.member, (model.names[column], model.x[:, column]))
        else:
            place = 0 if column == "intercept" else last
            estimand = Estimand("nuisance", "none", "survey_population", "conditional")
            if column == "prevalence":
                estimand = Estimand("prevalence", "share", "survey_population")
            support = (cell(model.member, "in the model", f"{data.outcome_names[outcome]}, model"),)
        spread = None
        if place is not None:
            spread = np.zeros(data.n)
            spread[model.member] = model.row_values[:, place]
        rows.append(
            SurveyRow(
                term=model.names[column] if isinstance(column, int) else column,
                outcome=data.outcome_names[outcome],
                estimand=estimand,
                value=None if place is None else float(model.values[place]),
                row_values=spread,
                df=model.df,
                reason="" if place is not None else "collinear with the columns before it, so it was left out",
                n_units=int(model.member.sum()),
                n_clusters=clusters_in(data, model.member),
                support=support,
                extra=(),
            )
        )
    return rows


def _joined(models: list[_Model]) -> FloatArray:
    """Return the model-based covariance in the order of the rows; models of several outcomes are kept apart."""
    sizes = [len(model.names) + 2 for model in models]
    result = np.full((sum(sizes), sum(sizes)), np.nan)
    start = 0
    for model, size in zip(models, sizes, strict=True):
        count = len(model.names)
        places = np.array([start + count, *(start + column for column in model.kept), start + count + 1])
        result[np.ix_(places, places)] = model.covariance
        start += size
    return result
