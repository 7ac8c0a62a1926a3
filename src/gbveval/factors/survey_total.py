"""`SurveyTotal`: how many, or how much, in a surveyed population."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from gbveval.core.errors import DesignError
from gbveval.core.estimates import Estimates
from gbveval.core.registry import register
from gbveval.data.survey import Survey
from gbveval.factors._domains import outcome_cell
from gbveval.factors._population import Quantity, estimate_quantities, tidy_by, totals_check
from gbveval.factors._rows import check_lonely
from gbveval.numerics.survey import total


@register("survey_total")
@dataclass(frozen=True, slots=True)
class SurveyTotal:
    """Total of each outcome in the population that a survey was drawn from, overall and by group.

    Parameters
    ----------
    by : str or sequence of str, optional
        A column whose categories are the groups; several are crossed.
    lonely_psu : str
        For strata with a single primary unit: "error", "adjust", "certainty" or "average", as in `Prevalence`.

    Notes
    -----
    **Estimates** the sum of weighted outcomes: of an outcome of 0 and 1, how many people have it. Weights must add to
    the population; a survey without weights is refused.

    **Missing outcomes** are not in the sum, so it is too small by them; a check says so.

    **Do not use when** weights were scaled to the sample size or to a mean of one: multiply the mean of `SurveyMean`
    by the known size of the population.

    References
    ----------
    Wolter (2007), Introduction to Variance Estimation.

    Examples
    --------
    >>> import gbveval as gbv
    >>> frame = {"harassed": [0, 1, 1, 0], "w": [100.0, 300.0, 200.0, 200.0]}
    >>> gbv.SurveyTotal().estimate(gbv.Survey(frame, outcome="harassed", weight="w"))[0].value
    500.0
    """

    name: ClassVar[str] = "survey_total"

    by: str | Sequence[str] | None = None
    lonely_psu: str = "error"

    def __post_init__(self) -> None:
        check_lonely(self.lonely_psu)
        tidy_by(self)

    def estimate(self, data: Survey, *, rng: np.random.Generator | None = None) -> Estimates:
        """Return the total of each outcome, overall first, then by group.

        Parameters
        ----------
        data : Survey
            The checked survey, with weights that add to the population.
        rng : numpy.random.Generator, optional
            Ignored: nothing is random.

        Raises
        ------
        DesignError
            If the survey has no weights, or a column of `by` is an outcome, an identifier or the primary unit.
        DataError
            If a column of `by` is absent.
        IdentificationError
            If strata have a single primary unit and `lonely_psu` is "error".
        """
        if data.weight is None:
            raise DesignError(
                "A total needs weights that add to the population, and the survey has none. Give `weight` (or `fpc` at "
                "every stage), or poststratify to a known population."
            )
        outcomes = range(len(data.outcome_names))
        found = estimate_quantities(
            self,
            data,
            [_total_of(data, outcome) for outcome in outcomes],
            outcomes=outcomes,
            std_error="that of a weighted total",
            source="Wolter 2007",
        )
        return replace(found, checks=(*totals_check(data, outcomes), *found.checks))


def _total_of(data: Survey, outcome: int) -> Quantity:
    y = data.outcomes[:, outcome]
    return Quantity(
        name=data.outcome_names[outcome],
        contrast="total",
        observed=data.observed(outcome),
        statistic=lambda weights, member: total(y, weights, member),
        cell=outcome_cell(data, outcome),
    )
