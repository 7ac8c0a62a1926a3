"""`Prevalence`: who was harassed, overall and by group, with the uncertainty of the sample design."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from gbveval.core.estimand import Estimand
from gbveval.core.estimates import Estimates
from gbveval.core.method import Cell, Check, Method
from gbveval.core.registry import register
from gbveval.data._frame import as_names, plural
from gbveval.data.survey import Survey
from gbveval.factors._rows import (
    NO_ANSWER,
    SurveyRow,
    assemble,
    category,
    check_lonely,
    clusters_in,
    design_of,
    is_binary,
    missing_answer_check,
    missing_outcome_check,
    survey_method,
)
from gbveval.numerics.survey import SampleDesign, design_effect, mean, unit_influence

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]


@dataclass(frozen=True, eq=False, slots=True)
class _Domains:
    """Groups of respondents that exclude each other: a name, a label a group, and each respondent's group or -1."""

    name: str
    labels: tuple[str, ...]
    codes: NDArray[np.intp]


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
        "error", or "adjust" for strata with a single primary unit: centred at the mean over all primary units.

    Notes
    -----
    **Estimates** the weighted share with the outcome; for an outcome that is not 0 and 1, the weighted mean (contrast
    "mean"). Standard errors are by Taylor linearisation under strata and primary units drawn with replacement. Groups
    keep the whole design: a primary unit without a member counts with a total of zero.

    **Scale**: values and standard errors of a share are on the log-odds scale (delta method), so that intervals stay
    between 0 and 1. A share of 0 or 100 % has no log odds: the row is null and says so.

    **Degrees of freedom**: primary units minus strata, counting those with a member of the group.

    **Extra columns**: domain, domain_level, n_weighted (sum of weights), design_effect (against simple random sampling
    with replacement), missing_share (of the group's respondents, without the outcome).

    **Do not use when** nobody knows how respondents were drawn: an opt-in panel's standard error says nothing of who
    is absent from it.

    References
    ----------
    Binder (1983), International Statistical Review 51. Korn and Graubard (1999), Analysis of Health Surveys.

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

    def __post_init__(self) -> None:
        check_lonely(self.lonely_psu)
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
        domains = _domains(data, as_names(self.by))
        rows: list[SurveyRow] = []
        checks: list[Check] = []
        for outcome in range(len(data.outcome_names)):
            rows += _outcome_rows(data, design, outcome, domains)
            checks += missing_outcome_check(data, outcome)
        if domains is not None:
            checks += missing_answer_check(domains.name, int((domains.codes < 0).sum()), data.n)
        return assemble(self, data, design, rows, method=_method(data), checks=checks)


def _domains(data: Survey, columns: tuple[str, ...]) -> _Domains | None:
    """Return the groups that cross the columns; those that nobody is in are absent."""
    if not columns:
        return None
    found = [category(data, column) for column in columns]
    codes = np.column_stack([labels.codes for labels in found])
    complete = np.all(codes >= 0, axis=1)
    used, inverse = np.unique(codes[complete], axis=0, return_inverse=True)
    groups = np.full(data.n, -1, dtype=np.intp)
    groups[complete] = inverse.reshape(-1)
    names = tuple(
        ", ".join(labels.levels[code] for labels, code in zip(found, row, strict=True)) for row in used.tolist()
    )
    return _Domains(" and ".join(columns), names, groups)


def _outcome_rows(data: Survey, design: SampleDesign, outcome: int, domains: _Domains | None) -> list[SurveyRow]:
    """Return the overall row of an outcome, then one a group."""
    everyone = np.ones(data.n, dtype=bool)
    name = data.outcome_names[outcome]
    whole = (_cell(data, outcome, everyone, "all", name),)
    rows = [_row(data, design, outcome, (everyone, "all", None, None, whole))]
    if domains is None:
        return rows
    table = f"{name} by {domains.name}"
    cells = [_cell(data, outcome, domains.codes == g, label, table) for g, label in enumerate(domains.labels)]
    # Whoever reads the total and the groups can work out those without an answer. They join the smallest group's
    # support: that row is the one to give up when they are too few.
    silent = _cell(data, outcome, domains.codes < 0, NO_ANSWER, table)
    smallest = int(np.argmin([cell.n for cell in cells])) if cells else -1
    for group, label in enumerate(domains.labels):
        support = (cells[group], silent) if group == smallest and silent.n else (cells[group],)
        about = (domains.codes == group, f"{domains.name}: {label}", domains.name, label, support)
        rows.append(_row(data, design, outcome, about))
    return rows


def _cell(data: Survey, outcome: int, group: BoolArray, label: str, table: str) -> Cell:
    """Return the respondents of a group with the outcome observed, and how many have it."""
    member = group & data.observed(outcome) & (data.weights() > 0)
    events = int(data.outcomes[member, outcome].sum()) if is_binary(data, outcome) else None
    return Cell(label, int(member.sum()), events, table)


_About = tuple[BoolArray, str, str | None, str | None, tuple[Cell, ...]]


def _row(data: Survey, design: SampleDesign, outcome: int, about: _About) -> SurveyRow:
    """Return the prevalence (or mean) in one group."""
    group, term, domain, level, support = about
    member = group & data.observed(outcome)
    weights, y = data.weights(), data.outcomes[:, outcome]
    binary = is_binary(data, outcome)
    found = mean(y, weights, member)
    value, row_values, reason = _on_link(found.value, found.row_values, binary)
    deff = float("nan")
    if np.isfinite(found.value):
        variance = float((unit_influence(design, found.row_values) ** 2).sum())
        deff = design_effect(variance, y, weights, member)
    size = int(group.sum())
    extra: tuple[tuple[str, float | str | None], ...] = (
        ("domain", domain),
        ("domain_level", level),
        ("n_weighted", float(weights[member].sum())),
        ("design_effect", deff if np.isfinite(deff) else None),
        ("missing_share", float(1.0 - member.sum() / size) if size else None),
    )
    return SurveyRow(
        term=term,
        outcome=data.outcome_names[outcome],
        estimand=Estimand("prevalence", "proportion" if binary else "mean", "survey_population"),
        value=value,
        row_values=row_values,
        df=design.df(member & (weights > 0)),
        reason=reason,
        n_units=int(member.sum()),
        n_clusters=clusters_in(data, member),
        support=support,
        extra=extra,
    )


def _on_link(value: float, row_values: FloatArray, binary: bool) -> tuple[float | None, FloatArray | None, str]:
    """Return a mean and its linearised values on the link scale, or None with the reason."""
    if not np.isfinite(value):
        return None, None, "nobody in this group has the outcome recorded with a weight above zero"
    if not binary:
        return value, row_values, ""
    if not 0.0 < value < 1.0:
        return None, None, "a share of 0 or 100 % has no log odds; merge the group with another"
    spread = value * (1.0 - value)
    return float(np.log(value / (1.0 - value))), row_values / spread, ""


def _method(data: Survey) -> Method:
    parts = [
        f"{int(data.observed(k).sum()):,} of {plural(data.n, 'respondent')} have the outcome {name}"
        for k, name in enumerate(data.outcome_names)
    ]
    return survey_method(
        data,
        sample="; ".join(parts) + ", the others are left out and not imputed",
        std_error="Taylor linearisation, for shares on the log-odds scale",
        assumptions=(
            "respondents were drawn as the weights, strata and primary units say",
            "answers are missing for reasons unrelated to the outcome",
        ),
        source="Binder 1983; Korn and Graubard 1999",
    )
