"""`SurveyRatio`: a total over another one, such as incidents per person-year of use."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from gbveval.core.errors import DesignError
from gbveval.core.estimates import Estimates
from gbveval.core.method import Cell
from gbveval.core.registry import register
from gbveval.data.survey import Survey
from gbveval.factors._population import Quantity, estimate_quantities, tidy_by
from gbveval.factors._rows import check_lonely
from gbveval.numerics.survey import ratio

BoolArray = NDArray[np.bool_]


@register("survey_ratio")
@dataclass(frozen=True, slots=True)
class SurveyRatio:
    """Total of one outcome over the total of another in a surveyed population, overall and by group.

    Parameters
    ----------
    numerator, denominator : str
        Two outcomes of the survey: incidents and months asked about, reports and incidents.
    by : str or sequence of str, optional
        A column whose categories are the groups; several are crossed.
    lonely_psu : str
        For strata with a single primary unit: "error", "adjust", "certainty" or "average", as in `Prevalence`.

    Notes
    -----
    **Estimates** the ratio of weighted totals among those who have both outcomes. It is no mean of the respondents'
    own ratios: those with a larger denominator count for more.

    **Do not use when** the denominator is near zero against its standard error: the linearisation is then poor.

    References
    ----------
    Wolter (2007), Introduction to Variance Estimation.

    Examples
    --------
    >>> import gbveval as gbv
    >>> frame = {"incidents": [0, 3, 1, 0], "months": [12, 12, 6, 12]}
    >>> survey = gbv.Survey(frame, outcome=["incidents", "months"])
    >>> round(gbv.SurveyRatio("incidents", "months").estimate(survey)[0].value, 4)
    0.0952
    """

    name: ClassVar[str] = "survey_ratio"

    numerator: str
    denominator: str
    by: str | Sequence[str] | None = None
    lonely_psu: str = "error"

    def __post_init__(self) -> None:
        check_lonely(self.lonely_psu)
        tidy_by(self)
        if self.numerator == self.denominator:
            raise DesignError("The numerator and the denominator are one column; a ratio needs two.")

    def estimate(self, data: Survey, *, rng: np.random.Generator | None = None) -> Estimates:
        """Return the ratio, overall first, then by group.

        Parameters
        ----------
        data : Survey
            The checked survey, with both columns among its outcomes.
        rng : numpy.random.Generator, optional
            Ignored: nothing is random.

        Raises
        ------
        DesignError
            If the numerator or denominator is no outcome of the survey, or a column of `by` is an outcome, an
            identifier or the primary unit.
        DataError
            If a column of `by` is absent.
        IdentificationError
            If strata have a single primary unit and `lonely_psu` is "error".
        """
        wanted = (self.numerator, self.denominator)
        for column in wanted:
            if column not in data.outcome_names:
                known = ", ".join(data.outcome_names)
                raise DesignError(f"{column!r} is not an outcome of the survey; there are: {known}. Declare it as one.")
        top, bottom = (data.outcome_names.index(column) for column in wanted)
        observed = data.observed(top) & data.observed(bottom)
        counted = observed & (data.weights() > 0)

        def cell(group: BoolArray, label: str, table: str) -> Cell:
            return Cell(label, int((group & counted).sum()), None, table)

        quantity = Quantity(
            name=f"{self.numerator} per {self.denominator}",
            contrast="ratio_of_totals",
            observed=observed,
            statistic=lambda weights, member: ratio(data.outcomes[:, top], data.outcomes[:, bottom], weights, member),
            cell=cell,
        )
        return estimate_quantities(
            self,
            data,
            [quantity],
            outcomes=(top, bottom),
            std_error="Taylor linearisation of a ratio of totals",
            source="Wolter 2007",
        )
