"""`Prevalence`: who was harassed, overall and by group, with the uncertainty of the sample design."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from gbveval.core.errors import DesignError
from gbveval.core.estimand import Estimand
from gbveval.core.estimates import Estimates
from gbveval.core.method import Check, Method
from gbveval.core.registry import register
from gbveval.data._frame import as_names, plural
from gbveval.data.survey import Survey
from gbveval.factors._domains import Group, domain_extra, groups, outcome_cell, read_domains
from gbveval.factors._rows import (
    NOBODY,
    SurveyRow,
    assemble,
    check_interval_level,
    check_lonely,
    clusters_in,
    codes_check,
    design_of,
    df_of,
    is_binary,
    missing_answer_check,
    missing_outcome_check,
    survey_method,
    varies,
)
from gbveval.factors._variance import variance_of
from gbveval.numerics.proportion_intervals import DESIGN
from gbveval.numerics.survey import SampleDesign, design_effect, mean

FloatArray = NDArray[np.float64]


INTERVALS = ("logit", "t", *DESIGN)
NOT_AT_ENDS = (
    "a share of 0 or 100 % does not vary, so it has no standard error; its interval takes the respondents as a simple "
    "random sample"
)


@register("prevalence")
@dataclass(frozen=True, slots=True)
class Prevalence:
    """Prevalence of an outcome of 0 and 1 in the population that a survey was drawn from, overall and by group.

    Parameters
    ----------
    by : str or sequence of str, optional
        A column whose categories are the groups; several are crossed. Respondents without an answer are counted in the
        checks, are part of the overall row and of no group.
    lonely_psu : str
        For strata with a single primary unit: "error"; "adjust" (centred at the mean over all primary units, which is
        conservative); "certainty" (they add no variance); "average" (they get the average of the other strata).
    interval : str
        Of a share. "logit": t limits on the log-odds scale. "korn_graubard": exact binomial limits at the effective
        size. "wilson": score limits at the effective size. "likelihood": scaled deviance. "arcsine": t limits of
        arcsin(p^(1/2)). "t": share +- t standard errors, which can leave 0 to 1.
    level : float
        Level of the intervals; those of `interval` other than "logit" and "t" hold at this level only.

    Notes
    -----
    **Estimates** the weighted share with the outcome; for an outcome that is not 0 and 1, the weighted mean (contrast
    "mean"). Standard errors are by Taylor linearisation under strata, units and finite populations, or from the
    survey's replicate weights. Groups keep the whole design: a primary unit without a member counts with a total of
    zero.

    **Scale**: with "logit", values and standard errors of a share are on the log-odds scale (delta method). With any
    other interval they are those of the share itself (contrast "share").

    **A share of 0 or 100 %** has no log odds: with "logit" the row is null and says so, with "t" and "arcsine" it has
    no standard error and no interval. The others give limits for a simple random sample of as many respondents, and
    say so.

    **Which interval**: "logit" for most shares; "korn_graubard" (what the United States' health statistics use) where a
    share may be 0 or 1. Of a rare outcome in few primary units the others cover less than they say, "t" least.

    **Degrees of freedom**: primary units minus strata, counting those with a member of the group.

    **Extra columns**: domain, domain_level, n_weighted (sum of weights), design_effect (against simple random sampling
    with replacement), missing_share (of the group's respondents, without the outcome).

    **Do not use when** nobody knows how respondents were drawn: an opt-in panel's standard error says nothing of who
    is absent from it.

    References
    ----------
    Binder (1983), International Statistical Review 51. Korn and Graubard (1998), Survey Methodology 24;
    (1999), Analysis of Health Surveys. Dean and Pagano (2015), Journal of Survey Statistics and Methodology 3.

    Examples
    --------
    >>> import numpy as np
    >>> from gbveval.datasets.pilot import PilotSurvey
    >>> survey = PilotSurvey().draw(np.random.default_rng(1))
    >>> answer = Prevalence(by="disability").estimate(survey)
    >>> [row.term for row in answer.terms]
    ['all', 'disability: no', 'disability: yes']
    """

    name: ClassVar[str] = "prevalence"

    by: str | Sequence[str] | None = None
    lonely_psu: str = "error"
    interval: str = "logit"
    level: float = 0.95

    def __post_init__(self) -> None:
        check_lonely(self.lonely_psu)
        check_interval_level(self.level)
        if self.interval not in INTERVALS:
            raise DesignError(f"interval is one of {', '.join(INTERVALS)}, not {self.interval!r}.")
        if self.by is not None and not isinstance(self.by, str):
            object.__setattr__(self, "by", tuple(self.by) or None)

    def estimate(self, data: Survey, *, rng: np.random.Generator | None = None) -> Estimates:
        """Return the prevalence of each outcome, overall first, then by group.

        Parameters
        ----------
        data : Survey
            The checked survey.
        rng : numpy.random.Generator, optional
            Ignored: nothing is random.

        Raises
        ------
        DataError
            If a column of `by` is absent.
        DesignError
            If a column of `by` is an outcome, an identifier or the primary sampling unit.
        IdentificationError
            If strata have a single primary unit and `lonely_psu` is "error".
        """
        design = design_of(data, self.lonely_psu)
        domains = read_domains(data, as_names(self.by))
        rows: list[SurveyRow] = []
        checks: list[Check] = []
        for outcome in range(len(data.outcome_names)):
            cell = outcome_cell(data, outcome)
            found = groups(data, data.outcome_names[outcome], domains, cell)
            rows += [_row(self, data, design, outcome, group) for group in found]
            checks += [*codes_check(data, outcome), *missing_outcome_check(data, outcome)]
        if domains is not None:
            checks += missing_answer_check(domains.name, int((domains.codes < 0).sum()), data.n)
        method = _method(data, self.interval)
        return assemble(self, data, design, rows, method=method, checks=checks, level=self.level)


def _row(estimator: Prevalence, data: Survey, design: SampleDesign, outcome: int, group: Group) -> SurveyRow:
    """Return the prevalence (or mean) in one group."""
    member = group.member & data.observed(outcome)
    weights, y = data.weights(), data.outcomes[:, outcome]
    binary = is_binary(data, outcome)
    odds = binary and estimator.interval == "logit"

    def natural(w: FloatArray) -> float:
        return mean(y, w, member).value

    found = mean(y, weights, member)
    df = df_of(data, design, member & (weights > 0))
    variance, deff = float("nan"), float("nan")
    if np.isfinite(found.value):
        variance = variance_of(data, design, found.row_values, found.value, natural)
        deff = design_effect(variance, y, weights, member)
    value, row_values, reason = _on_link(found.value, found.row_values, odds)
    at_end = binary and not odds and found.value in (0.0, 1.0)
    interval = None
    usable = bool(np.isfinite(found.value)) and df >= 1 and (at_end or varies(variance, found.row_values))
    if binary and usable and estimator.interval in DESIGN:
        n = int((member & (weights > 0)).sum())
        limits = DESIGN[estimator.interval](found.value, variance, n=n, df=df, level=estimator.level)
        interval = None if np.isnan(limits[0]) else limits
    contrast = "mean" if not binary else ("proportion" if odds else "share")
    return SurveyRow(
        term=group.term,
        outcome=data.outcome_names[outcome],
        estimand=Estimand("prevalence", contrast, "survey_population"),
        value=value,
        row_values=row_values,
        df=df,
        reason=NOT_AT_ENDS if at_end and interval is not None else reason,
        n_units=int(member.sum()),
        n_clusters=clusters_in(data, member),
        support=group.support,
        extra=domain_extra(data, group, member, deff),
        at=(lambda w: _logit(natural(w))) if odds else natural,
        interval=interval,
    )


def _logit(share: float) -> float:
    return float(np.log(share) - np.log1p(-share)) if 0.0 < share < 1.0 else float("nan")


def _on_link(value: float, row_values: FloatArray, odds: bool) -> tuple[float | None, FloatArray | None, str]:
    """Return a mean and its linearised values on the scale of the row, or None with the reason."""
    if not np.isfinite(value):
        return None, None, NOBODY
    if not odds:
        return value, row_values, ""
    if not 0.0 < value < 1.0:
        reason = "a share of 0 or 100 % has no log odds; merge the group with another, or take another interval"
        return None, None, reason
    return _logit(value), row_values / (value * (1.0 - value)), ""


def _method(data: Survey, interval: str) -> Method:
    parts = [
        f"{int(data.observed(k).sum()):,} of {plural(data.n, 'respondent')} have the outcome {name}"
        for k, name in enumerate(data.outcome_names)
    ]
    return survey_method(
        data,
        sample="; ".join(parts) + ", the others are left out and not imputed",
        std_error="Taylor linearisation, for shares on the "
        + ("log-odds scale" if interval == "logit" else f"scale of the share (interval: {interval.replace('_', '-')})"),
        assumptions=(
            "respondents were drawn as the weights, strata and primary units say",
            "answers are missing for reasons unrelated to the outcome",
        ),
        source="Binder 1983; Korn and Graubard 1999",
    )
