"""`SurveyMean`: averages in a surveyed population, overall and by group, on their own scale."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from gbveval.core.estimates import Estimates
from gbveval.core.registry import register
from gbveval.data.survey import Survey
from gbveval.factors._domains import outcome_cell
from gbveval.factors._population import Quantity, estimate_quantities, tidy_by
from gbveval.factors._rows import check_lonely
from gbveval.numerics.survey import mean


@register("survey_mean")
@dataclass(frozen=True, slots=True)
class SurveyMean:
    """Mean of each outcome in the population that a survey was drawn from, overall and by group.

    Parameters
    ----------
    by : str or sequence of str, optional
        A column whose categories are the groups; several are crossed.
    lonely_psu : str
        For strata with a single primary unit: "error", "adjust", "certainty" or "average", as in `Prevalence`.

    Notes
    -----
    **Estimates** the sum of weighted outcomes over the sum of weights, with t limits. Standard errors are by Taylor
    linearisation under strata, units of every stage and finite populations, of the calibration residuals where the
    weights are calibrated, or from replicate weights. Groups keep the whole design; rows share one covariance, so
    `contrast({"a": 1, "b": -1}, name=...)` compares groups that share primary units.

    **Extra columns**: as `Prevalence`.

    **Do not use when** the outcome is 0 and 1 and rare: t limits can leave 0 to 1; `Prevalence` has better ones. Or
    when nobody knows how respondents were drawn.

    References
    ----------
    Binder (1983), International Statistical Review 51. Wolter (2007), Introduction to Variance Estimation.

    Examples
    --------
    >>> import gbveval as gbv
    >>> frame = {"reports": [0, 2, 1, 5], "sex": ["w", "w", "m", "m"], "w": [1.0, 3.0, 2.0, 2.0]}
    >>> answer = gbv.SurveyMean(by="sex").estimate(gbv.Survey(frame, outcome="reports", weight="w"))
    >>> [(row.term, row.value) for row in answer.terms]
    [('all', 2.25), ('sex: m', 3.0), ('sex: w', 1.5)]
    """

    name: ClassVar[str] = "survey_mean"

    by: str | Sequence[str] | None = None
    lonely_psu: str = "error"

    def __post_init__(self) -> None:
        check_lonely(self.lonely_psu)
        tidy_by(self)

    def estimate(self, data: Survey, *, rng: np.random.Generator | None = None) -> Estimates:
        """Return the mean of each outcome, overall first, then by group.

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
        outcomes = range(len(data.outcome_names))
        return estimate_quantities(
            self,
            data,
            [_mean_of(data, outcome) for outcome in outcomes],
            outcomes=outcomes,
            std_error="Taylor linearisation of a ratio of totals",
            source="Binder 1983; Wolter 2007",
        )


def _mean_of(data: Survey, outcome: int) -> Quantity:
    y = data.outcomes[:, outcome]
    return Quantity(
        name=data.outcome_names[outcome],
        contrast="mean",
        observed=data.observed(outcome),
        statistic=lambda weights, member: mean(y, weights, member),
        cell=outcome_cell(data, outcome),
        y=y,
    )
