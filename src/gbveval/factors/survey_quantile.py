"""`SurveyQuantile`: medians and other quantiles of a surveyed population, with Woodruff's limits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from gbveval.core.errors import DesignError
from gbveval.core.estimand import Estimand
from gbveval.core.estimates import Estimates
from gbveval.core.method import Cell, Check
from gbveval.core.registry import register
from gbveval.data._frame import as_names
from gbveval.data.survey import Survey
from gbveval.factors._domains import CellOf, Group, domain_extra, groups, read_domains
from gbveval.factors._population import sample_words, tidy_by
from gbveval.factors._rows import (
    NOBODY,
    SurveyRow,
    assemble,
    check_interval_level,
    check_lonely,
    clusters_in,
    design_of,
    df_of,
    missing_answer_check,
    missing_outcome_check,
    survey_method,
    varies,
)
from gbveval.factors._variance import AtWeights, variance_of
from gbveval.numerics.survey import Linearised, SampleDesign
from gbveval.numerics.survey_quantile import Quantile, weighted_quantile, woodruff

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]
OPEN = (
    "the share at or below the quantile does not vary, a limit of it leaves 0 to 1, or both limits are one value, so "
    "there is no standard error"
)


@register("survey_quantile")
@dataclass(frozen=True, slots=True)
class SurveyQuantile:
    """Quantiles of each outcome in the population that a survey was drawn from, overall and by group.

    Parameters
    ----------
    quantiles : sequence of float
        Which ones, between 0 and 1; the median by default.
    by : str or sequence of str, optional
        A column whose categories are the groups; several are crossed.
    level : float
        Level of the intervals, which hold at this level only.
    lonely_psu : str
        For strata with a single primary unit: "error", "adjust", "certainty" or "average", as in `Prevalence`.

    Notes
    -----
    **Estimates** the smallest value whose weighted distribution function reaches the share asked for. **Limits** are
    Woodruff's: t limits of the share at or below the quantile, turned back through the distribution; where many are
    tied at the quantile, they are around the share asked for. The standard error is their width over twice the t
    quantile, and rows share the covariance of those shares, so groups can be contrasted.

    **Disclosure**: a quantile is one respondent's answer, or close to it. The counts behind a row are those on either
    side of it, so `release` hides it where few are beyond.

    **Do not use when** the outcome has few distinct values: the limits then jump from one to the next, and a table of
    shares says more.

    References
    ----------
    Woodruff (1952), Journal of the American Statistical Association 47.

    Examples
    --------
    >>> import gbveval as gbv
    >>> frame = {"reports": [float(x) for x in range(101)]}
    >>> row = gbv.SurveyQuantile().estimate(gbv.Survey(frame, outcome="reports")).records()[0]
    >>> row["estimate"], row["conf_low"], row["conf_high"]
    (50.0, 40.0, 61.0)
    """

    name: ClassVar[str] = "survey_quantile"

    quantiles: Sequence[float] = (0.5,)
    by: str | Sequence[str] | None = None
    level: float = 0.95
    lonely_psu: str = "error"

    def __post_init__(self) -> None:
        check_lonely(self.lonely_psu)
        check_interval_level(self.level)
        tidy_by(self)
        asked = tuple(float(p) for p in self.quantiles)
        if not asked or not all(0.0 < p < 1.0 for p in asked) or len(set(asked)) < len(asked):
            raise DesignError("quantiles are different shares between 0 and 1, such as (0.25, 0.5, 0.75).")
        object.__setattr__(self, "quantiles", asked)

    def estimate(self, data: Survey, *, rng: np.random.Generator | None = None) -> Estimates:
        """Return the quantiles of each outcome, overall first, then by group.

        Parameters
        ----------
        data : Survey
            The checked survey.
        rng : numpy.random.Generator, optional
            Ignored: nothing is random.

        Raises
        ------
        DesignError
            If a column of `by` is an outcome, an identifier or the primary unit.
        DataError
            If a column of `by` is absent.
        IdentificationError
            If strata have a single primary unit and `lonely_psu` is "error".
        """
        design = design_of(data, self.lonely_psu)
        domains = read_domains(data, as_names(self.by))
        rows: list[SurveyRow] = []
        checks: list[Check] = []
        for outcome, name in enumerate(data.outcome_names):
            for p in self.quantiles:
                found = groups(data, f"{name}, {p:g} quantile", domains, _beyond(data, outcome, p))
                rows += [self._row(data, design, outcome, p, group) for group in found]
            checks += missing_outcome_check(data, outcome)
        if domains is not None:
            checks += missing_answer_check(domains.name, int((domains.codes < 0).sum()), data.n)
        method = survey_method(
            data,
            sample=sample_words(data, range(len(data.outcome_names))),
            std_error="width of Woodruff's interval over twice the t quantile",
            assumptions=(
                "respondents were drawn as the weights, strata and units say",
                "answers are missing for reasons unrelated to the outcome",
            ),
            source="Woodruff 1952",
        )
        return assemble(self, data, design, rows, method=method, checks=checks, level=self.level)

    def _row(self, data: Survey, design: SampleDesign, outcome: int, p: float, group: Group) -> SurveyRow:
        member = group.member & data.observed(outcome)
        weights, y = data.weights(), data.outcomes[:, outcome]
        df = df_of(data, design, member & (weights > 0))
        found = None if not (weights[member] > 0).any() else _limits(data, design, (y, member, p), df, self.level)
        defined = found is not None and np.isfinite(found.slope)
        return SurveyRow(
            term=f"{group.term}, {p:g} quantile",
            outcome=data.outcome_names[outcome],
            estimand=Estimand("population_value", "quantile", "survey_population"),
            value=None if found is None else found.value,
            row_values=found.row_values if found is not None and defined else None,
            df=df,
            reason=NOBODY if found is None else ("" if defined else OPEN),
            n_units=int(member.sum()),
            n_clusters=clusters_in(data, member),
            support=group.support,
            extra=domain_extra(data, group, member, float("nan")),
            at=found.at if found is not None and defined else None,
            interval=None if found is None or np.isnan(found.low) else (found.low, found.high),
        )


def _limits(
    data: Survey, design: SampleDesign, asked: tuple[FloatArray, BoolArray, float], df: float, level: float
) -> Quantile:
    """Return a quantile with its limits, under the survey's own variance."""
    y, member, p = asked

    def variance(share: Linearised, at: AtWeights) -> float:
        found = variance_of(data, design, share.row_values, share.value, at)
        # Limits of a share that differ by rounding alone have no width to divide by.
        return found if varies(found, share.row_values) else 0.0

    return woodruff(y, data.weights(), member, p, variance=variance, df=df, level=level)


def _beyond(data: Survey, outcome: int, p: float) -> CellOf:
    """Return a function that counts a group by who is at or below its quantile."""
    y, weights = data.outcomes[:, outcome], data.weights()
    usable = data.observed(outcome) & (weights > 0)

    def cell(group: BoolArray, label: str, table: str) -> Cell:
        member = group & usable
        value = weighted_quantile(y, weights, member, p)
        return Cell(label, int(member.sum()), int((y[member] <= value).sum()), table)

    return cell
