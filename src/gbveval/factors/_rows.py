"""From linearised survey numbers to `Estimates`: rows, joint covariance by primary unit, checks and method words."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gbveval.core.errors import DataError, DesignError
from gbveval.core.estimand import Estimand
from gbveval.core.estimates import Estimates
from gbveval.core.method import Cell, Check, Method
from gbveval.core.provenance import Provenance, options_of, versions
from gbveval.core.term import Term
from gbveval.data._frame import Labels, plural
from gbveval.data.survey import Survey
from gbveval.factors._variance import AtWeights, influence_of
from gbveval.numerics.inference import check_level
from gbveval.numerics.survey import LONELY_POLICIES, SampleDesign

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]
NO_VARIATION = "nothing varies between primary units, so there is no standard error"
NOBODY = "nobody in this group has the outcome recorded with a weight above zero"
# More categories than this is a number or an identifier, of which every value would be somebody.
MAXIMUM_LEVELS = 200
LONELY_WORDS = {
    "adjust": "it was centred at the mean over all primary units",
    "certainty": "it was taken as certain to be drawn and adds no variance",
    "average": "it was given the average variance of the other strata",
}
LATER_WORDS = {
    "adjust": "it was centred at the mean over all units of that stage",
    "certainty": "it was taken as certain to be drawn and adds no variance",
    "average": "it was given the average variance of the others of its stage",
}
# Below this many degrees of freedom a design-based standard error is itself poorly known.
FEW_DF = 8.0


@dataclass(frozen=True, eq=False, slots=True)
class SurveyRow:
    """One number before it becomes a `Term`.

    Attributes
    ----------
    term, outcome : str
        Labels.
    estimand : Estimand
        What it estimates.
    value : float or None
        On the link scale.
    row_values : ndarray, shape (n,), or None
        Linearised values by respondent on the link scale; None when there is no standard error.
    df : float
        Degrees of freedom.
    reason : str
        Why something is undefined.
    n_units : int
        Respondents it rests on.
    n_clusters : int or None
        Primary units with one of them.
    support : tuple of Cell
        Counts for disclosure control.
    extra : tuple of (str, value)
        Columns of its own.
    at : callable or None
        The value under other weights, for replicate weights; None where the method has no replicate variance.
    replicated : ndarray, shape (replicates,), or None
        The value under each replicate's weights, in place of `at`, where rows are computed together.
    interval : tuple of (float, float), or None
        Limits on the link scale that are not value +- quantile x standard error.
    """

    term: str
    outcome: str
    estimand: Estimand
    value: float | None
    row_values: FloatArray | None
    df: float
    reason: str
    n_units: int
    n_clusters: int | None
    support: tuple[Cell, ...]
    extra: tuple[tuple[str, float | str | None], ...]
    at: AtWeights | None = None
    replicated: FloatArray | None = None
    interval: tuple[float, float] | None = None


def check_lonely(lonely_psu: str) -> None:
    """Raise DesignError unless the policy for strata with one primary unit is known."""
    if lonely_psu not in LONELY_POLICIES:
        raise DesignError(f"lonely_psu is one of {', '.join(LONELY_POLICIES)}, not {lonely_psu!r}.")


def check_interval_level(level: float) -> None:
    """Raise DesignError unless the level lies between 0 and 1."""
    try:
        check_level(level)
    except (TypeError, ValueError) as error:
        raise DesignError(str(error)) from error


def design_of(survey: Survey, lonely_psu: str) -> SampleDesign:
    """Return the sample design of a survey; IdentificationError when its variance cannot be estimated."""
    # Replicate weights bring their own variance, so a lonely unit does not stop them.
    return survey.sample_design("adjust" if survey.replicates is not None else lonely_psu)


def df_of(survey: Survey, design: SampleDesign, counted: BoolArray) -> float:
    """Return a group's degrees of freedom: primary units minus strata, and no more than replicate weights have.

    Parameters
    ----------
    survey : Survey
        Its replicate weights, where it has some, bound the degrees of freedom.
    design : SampleDesign
        Strata and units.
    counted : ndarray of bool, shape (n,)
        Who is in the group with a weight above zero.
    """
    df = design.df(counted)
    return df if survey.replicates is None else min(df, survey.replicates.df)


def is_binary(survey: Survey, outcome: int) -> bool:
    """Return whether every observed value of an outcome is 0 or 1."""
    y = survey.outcomes[survey.observed(outcome), outcome]
    return bool(np.all((y == 0.0) | (y == 1.0)))


def codes_check(survey: Survey, outcome: int) -> tuple[Check, ...]:
    """Return a warning about an outcome that is mostly 0 and 1, but not always: 9 may stand for no answer."""
    y = survey.outcomes[survey.observed(outcome), outcome]
    other = int(((y != 0.0) & (y != 1.0)).sum())
    if not 0 < other < 0.5 * y.size:
        return ()
    text = (
        f"{survey.outcome_names[outcome]} is neither 0 nor 1 in {plural(other, 'row')}, so its rows are means and no "
        "shares. If a code such as 9 or 99 stands for no answer, make it missing first."
    )
    public = f"{survey.outcome_names[outcome]} is not 0 or 1 everywhere, so its rows are means and no shares."
    return (Check(f"codes of {survey.outcome_names[outcome]}", "warn", text, public),)


def require_binary(survey: Survey, outcome: int, method: str) -> None:
    """Raise DataError, by column and number of rows, when an outcome is not 0 or 1."""
    y = survey.outcomes[survey.observed(outcome), outcome]
    other = int(((y != 0.0) & (y != 1.0)).sum())
    if other:
        raise DataError(
            f"Column {survey.outcome_names[outcome]!r} (outcome) is neither 0 nor 1 in {plural(other, 'row')}; "
            f"{method} compares shares. Code it as 0 and 1."
        )


def category(survey: Survey, column: str) -> Labels:
    """Return a category of respondents; DesignError for outcomes, numbers, identifiers and primary units."""
    if column in survey.outcome_names:
        raise DesignError(f"Column {column!r} is an outcome of the survey; give a column that describes respondents.")
    found = survey.labels(column)
    if found.count > MAXIMUM_LEVELS:
        raise DesignError(
            f"Column {column!r} has {found.count:,} categories in {plural(survey.n, 'row')}; that is a number or an "
            "identifier. Cut it into a few bands first."
        )
    if survey.psu is not None and found.count >= survey.psu.count > 1:
        # Each category lies in one primary unit: it is that unit, or a part of it.
        joint = np.unique(np.column_stack([found.codes, survey.psu.codes])[found.codes >= 0], axis=0)
        if joint.shape[0] == found.count:
            raise DesignError(
                f"Column {column!r} is the primary sampling unit, or a part of it, under another name: its categories "
                "are places, not kinds of people. Use a property of the places instead."
            )
    return found


def refuse_outcomes(survey: Survey, adjust_for: Iterable[str]) -> None:
    """Raise DesignError where a declared confounder is an outcome of the survey."""
    used = sorted(set(adjust_for) & set(survey.outcome_names))
    if used:
        raise DesignError(f"Column {used[0]!r} is an outcome of the survey; do not adjust for it.")


def clusters_in(survey: Survey, member: BoolArray) -> int | None:
    """Return the primary units that hold a member; None when none is declared."""
    return None if survey.psu is None else int(np.unique(survey.psu.codes[member]).size)


def missing_outcome_check(survey: Survey, outcome: int) -> tuple[Check, ...]:
    """Return a check that counts missing outcomes, or nothing when there are none."""
    absent = survey.n - int(survey.observed(outcome).sum())
    if not absent:
        return ()
    status = "warn" if absent > 0.05 * survey.n else "info"
    text = (
        f"{survey.outcome_names[outcome]} is missing for {absent:,} of {plural(survey.n, 'respondent')} "
        f"({absent / survey.n:.1%}); they are left out, not imputed."
    )
    return (Check("missing outcome", status, text),)


def missing_answer_check(column: str, absent: int, n: int) -> tuple[Check, ...]:
    """Return a check that counts respondents without an answer to a factor or domain."""
    if not absent:
        return ()
    says = "they are counted, belong to no group and are not imputed."
    text = f"{column} is missing for {absent:,} of {plural(n, 'respondent')} ({absent / n:.1%}); {says}"
    # Those without an answer are a group of the table behind the rows: their number would fill a gap in it.
    public = f"{column} is missing for some respondents; {says}"
    return (Check(f"missing {column}", "warn" if absent > 0.05 * n else "info", text, public),)


def design_checks(survey: Survey, design: SampleDesign, smallest_df: float) -> tuple[Check, ...]:
    """Return checks on weights, lonely primary units and degrees of freedom."""
    found = []
    if survey.weight is None:
        found.append(Check("weights", "info", "unweighted: every respondent counts the same."))
    if survey.weights_implied:
        text = "weights are those that the finite populations imply: units there are over units drawn."
        found.append(Check("weights", "info", text))
    if design.n_lonely and survey.replicates is None:
        shown = f"{design.n_lonely:,} of {design.n_strata:,} strata"
        text = f"{shown} have one primary unit; {LONELY_WORDS[design.lonely_psu]}."
        found.append(Check("lonely primary units", "warn", text))
    if design.n_lonely_later and survey.replicates is None:
        shown = plural(design.n_lonely_later, "unit")
        text = f"{shown} of a stage have one unit of the next; {LATER_WORDS[design.lonely_psu]}."
        found.append(Check("lonely later units", "warn", text))
    if survey.asked_everybody:
        text = (
            "fpc covers every stage, and units of the last one hold several respondents: variances take it that "
            "everybody in a drawn unit was asked. If people were drawn within it, name them as one more stage of psu."
        )
        found.append(Check("finite populations", "info" if survey.weights_implied else "warn", text))
    if smallest_df < FEW_DF:
        text = f"a row has {smallest_df:.0f} degrees of freedom; its standard error is itself poorly known."
        # They are the units of the smallest group less one, and that group is the first to be hidden.
        public = "a row has few degrees of freedom; its standard error is itself poorly known."
        found.append(Check("degrees of freedom", "warn", text, public))
    return tuple(found)


def survey_method(survey: Survey, *, sample: str, std_error: str, assumptions: tuple[str, ...], source: str) -> Method:
    """Return the method in words, the design included."""
    weights = (
        "unweighted: every respondent counts the same" if survey.weight is None else "weighted by the sampling weights"
    )
    if survey.calibration is not None:
        weights += f", calibrated on {', '.join(survey.calibration.margins)}"
    replicated = survey.replicates is not None
    return Method(
        sample=f"{sample}; {weights}",
        std_error=_std_error_words(survey, std_error),
        small_sample="none" if replicated else "strata of m primary units are inflated by m / (m - 1)",
        reference="t with primary units minus strata as degrees of freedom, counting those that hold a respondent of "
        "the group (of the smaller count, where two groups are compared)"
        + (", and at most the rank of the replicate weights minus one" if replicated else ""),
        inference_for="the population that the survey was drawn from",
        assumptions=assumptions,
        source=source,
    )


def _std_error_words(survey: Survey, linearised: str) -> str:
    """Return how the standard error was made, the design included."""
    if survey.replicates is not None:
        return f"{survey.replicates.count:,} replicates ({survey.replicates.kind})"
    units = "each respondent a primary unit" if survey.psu is None else plural(survey.n_psu, "primary sampling unit")
    strata = "one stratum" if survey.stratum is None else f"{survey.n_strata:,} strata"
    drawn = "drawn with replacement"
    if survey.populations:
        drawn = "drawn from finite populations" + (
            f" at {len(survey.populations)} stages" if len(survey.populations) > 1 else ""
        )
        drawn += ", of the last of which everybody was asked" if survey.asked_everybody else ""
    calibrated = "" if survey.calibration is None else ", of the residuals from the calibration columns"
    return f"{linearised}{calibrated}; {strata}, {units}, {drawn}"


def assemble(
    estimator: Any,
    survey: Survey,
    design: SampleDesign,
    rows: Sequence[SurveyRow],
    *,
    method: Method,
    checks: Sequence[Check],
    level: float = 0.95,
    covariance: FloatArray | None = None,
) -> Estimates:
    """Return the `Estimates` of survey rows with their joint covariance: design-based unless one is given."""
    over = [row.at if row.replicated is None else row.replicated for row in rows]
    lacking = any(row.row_values is not None and at is None for row, at in zip(rows, over, strict=True))
    if survey.replicates is not None and lacking:
        raise DesignError(
            f"{type(estimator).__name__} has no replicate variance; give it the survey without replicates."
        )
    nothing = np.full(survey.n, np.nan)
    values = np.column_stack([nothing if row.row_values is None else row.row_values for row in rows])
    influence = None
    if covariance is None:
        pairs = [(row.value, at) for row, at in zip(rows, over, strict=True)]
        influence = influence_of(survey, design, values, pairs)
        covariance = influence.T @ influence
    terms = []
    for number, row in enumerate(rows):
        # Rows of models and comparisons come with the design's own count.
        df = row.df if survey.replicates is None else min(row.df, survey.replicates.df)
        std_error, reason = _std_error(row, float(covariance[number, number]), df)
        if std_error is None:
            covariance[number, :] = covariance[:, number] = np.nan
        terms.append(
            Term(
                term=row.term,
                estimand=row.estimand,
                outcome=row.outcome,
                value=row.value,
                std_error=std_error,
                df=df,
                n_units=row.n_units,
                n_clusters=row.n_clusters,
                support=row.support,
                reason=reason,
                interval=row.interval,
                interval_level=None if row.interval is None else level,
                extra=row.extra,
            )
        )
    smallest = min((term.df for term in terms if term.std_error is not None), default=np.inf)
    return Estimates(
        estimator=estimator.name,
        terms=tuple(terms),
        covariance=covariance,
        method=method,
        level=level,
        checks=(*checks, *design_checks(survey, design, smallest)),
        provenance=Provenance(survey.digest, tuple(options_of(estimator).items()), None, versions()),
        influence=influence,
    )


def _std_error(row: SurveyRow, variance: float, df: float) -> tuple[float | None, str]:
    """Return the standard error, or None with its reason."""
    if row.value is None or row.row_values is None:
        return None, row.reason
    if df < 1:
        return None, "the group is found in no more primary units than strata, so its variance is unknown"
    if not np.isfinite(variance):
        return None, "the estimate is undefined under the weights of a replicate; merge the group with another"
    if not varies(variance, row.row_values):
        return None, row.reason or NO_VARIATION
    return float(np.sqrt(variance)), ""


def varies(variance: float, row_values: FloatArray) -> bool:
    """Return whether a variance is more than what rounding leaves where nothing varies between primary units."""
    # That is about 1e-16 of the largest linearised total.
    size = float(np.abs(row_values).sum())
    return size > 0.0 and variance > (1e-14 * size) ** 2
