"""`RandomisedResponse`: prevalence where chance decides what each respondent answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from gbveval.core.estimates import Estimates
from gbveval.core.registry import register
from gbveval.data.survey import Survey
from gbveval.factors._corrected import Rates, check_reference, estimate_corrected
from gbveval.factors._population import sample_words, tidy_by
from gbveval.factors._rows import check_interval_level, check_lonely, survey_method
from gbveval.factors._scrambled import floor_and_span
from gbveval.numerics.misclassification import Rate

ASSUMED = (
    "everybody follows the rule of chance and answers truly where it says so",
    "the probabilities of the design are those that were at work",
    "respondents were drawn as the weights, strata and primary units say",
    "answers are missing for reasons unrelated to the outcome",
)


@register("randomised_response")
@dataclass(frozen=True, slots=True)
class RandomisedResponse:
    """Prevalence from forced or mirrored randomised response, overall and by group, by moments.

    Parameters
    ----------
    truth_probability : float
        Of the truthful question (forced design), or of "it happened" as the statement to answer (mirrored design, as
        `RandomisedResponseDesign` plans it).
    forced_yes : float, optional
        Probability of a forced yes. Absent, the design is mirrored.
    by : str or sequence of str, optional
        A column whose categories are the groups; several are crossed.
    reference : str, optional
        A group: each other one gets a difference from it and a ratio to it.
    level : float
        Level of the intervals of prevalences, which hold at this level only.
    lonely_psu : str
        For strata with a single primary unit: "error", "adjust", "certainty" or "average", as in `Prevalence`.

    Notes
    -----
    **Estimates** (share of yes - c) / d: c is the probability of a forced yes and d that of the truthful question, or c
    = 1 - p and d = 2 p - 1 in a mirrored design. Limits are Wilson's of the share of yes, turned the same way. A value
    outside 0 to 1 is shown as it is, with a check: respondents may have said no against the rule.

    **Extra columns**: those of `Prevalence`, reported_share (of yes), and the sensitivity and specificity that the
    design amounts to.

    **Do not use when** respondents were free to say no where the rule said yes: the estimate is then too small, and no
    number here shows it.

    References
    ----------
    Warner (1965), Journal of the American Statistical Association 60. Fox and Tracy (1986), Randomized Response. Blair,
    Imai and Zhou (2015), Journal of the American Statistical Association 110.

    Examples
    --------
    >>> import gbveval as gbv
    >>> survey = gbv.Survey({"said_yes": [1] * 40 + [0] * 60}, outcome="said_yes")
    >>> row = RandomisedResponse(2 / 3, forced_yes=1 / 6).estimate(survey)[0]
    >>> round(row.value, 4), round(row.std_error, 4)
    (0.35, 0.0739)
    """

    name: ClassVar[str] = "randomised_response"

    truth_probability: float
    forced_yes: float | None = None
    by: str | Sequence[str] | None = None
    reference: str | None = None
    level: float = 0.95
    lonely_psu: str = "error"

    def __post_init__(self) -> None:
        check_lonely(self.lonely_psu)
        check_interval_level(self.level)
        tidy_by(self)
        check_reference(self)
        floor_and_span(self.truth_probability, self.forced_yes)

    def estimate(self, data: Survey, *, rng: np.random.Generator | None = None) -> Estimates:
        """Return prevalences: overall, by group, then differences and ratios.

        Parameters
        ----------
        data : Survey
            The checked survey; its outcomes are answers of 0 (no) and 1 (yes).
        rng : numpy.random.Generator, optional
            Ignored: nothing is random here.

        Raises
        ------
        DataError
            If an outcome is not 0 or 1, or a column of `by` is absent.
        DesignError
            If a column of `by` is an outcome, an identifier or the primary sampling unit.
        IdentificationError
            If strata have a single primary unit and `lonely_psu` is "error".
        """
        floor, span = floor_and_span(self.truth_probability, self.forced_yes)
        rates = Rates(Rate(floor + span), Rate(1.0 - floor))
        method = survey_method(
            data,
            sample=sample_words(data, range(len(data.outcome_names))),
            std_error="Taylor linearisation of the share of yes; limits of prevalences by inversion of the score test",
            assumptions=ASSUMED,
            source="Warner 1965; Fox and Tracy 1986",
        )
        return estimate_corrected(self, data, {None: rates}, method)
