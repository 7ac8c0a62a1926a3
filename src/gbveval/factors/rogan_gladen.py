"""`RoganGladen`: prevalence behind reports that are incomplete, with known or validated rates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from gbveval.core.errors import DataError, DesignError
from gbveval.core.estimates import Estimates
from gbveval.core.method import Method
from gbveval.core.registry import register
from gbveval.data._frame import as_names
from gbveval.data.survey import Survey
from gbveval.factors._corrected import Rates, check_reference, domains_of, estimate_corrected
from gbveval.factors._population import sample_words, tidy_by
from gbveval.factors._rows import check_interval_level, check_lonely, survey_method
from gbveval.factors.validation import Validation
from gbveval.numerics.misclassification import Rate, validated_rate

Known = float | Validation
ByGroup = Known | Mapping[str, Known] | tuple[tuple[str, Known], ...]


@register("rogan_gladen")
@dataclass(frozen=True, slots=True)
class RoganGladen:
    """Prevalence corrected for answers that are wrong at a known or validated rate, overall and by group.

    Parameters
    ----------
    sensitivity, specificity : float, Validation, or mapping of group to one of them
        Share of those with the outcome who report it, and of those without who report none. By group where groups
        differ in how much they tell; there is then no row for all.
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
    **Estimates** (reported share - (1 - specificity)) / (sensitivity + specificity - 1).

    **Uncertainty**: of the survey, by its design, and of validation samples, by the delta method; rows that share a
    validation covary. Limits invert the score test at the effective sample size: with known rates they are Wilson's of
    the reported share, corrected; with validated ones Fieller's. Where the validation leaves it open whether answers
    say anything, there is no interval, and the row says so.

    **Outside 0 to 1**: a corrected value or limit may get there. It is shown as it is, with a check that says what it
    means; it is not cut.

    **Differential reporting**: with one sensitivity for all, a ratio is corrected for false alarms only. Groups that
    tell less need their own.

    **Extra columns**: those of `Prevalence`, and reported_share, sensitivity, specificity.

    **Do not use when** the rates come from other people than those surveyed, or from guesses: give these a prior, with
    `PriorCorrectedPrevalence`. Or when a measure of sensitivity rests on those who report in another place too.

    References
    ----------
    Rogan and Gladen (1978), American Journal of Epidemiology 107. Wilson (1927), Journal of the American Statistical
    Association 22. Fieller (1954), Journal of the Royal Statistical Society B 16.

    Examples
    --------
    >>> import numpy as np
    >>> from gbveval.datasets.pilot import PilotSurvey
    >>> survey = PilotSurvey().draw(np.random.default_rng(1))
    >>> answer = RoganGladen(0.8, 0.98, by="disability", reference="no").estimate(survey)
    >>> [row.term for row in answer.terms][2:]
    ['disability: yes', 'disability: yes vs no (difference)', 'disability: yes vs no (ratio)']
    """

    name: ClassVar[str] = "rogan_gladen"

    sensitivity: ByGroup
    specificity: ByGroup = 1.0
    by: str | Sequence[str] | None = None
    reference: str | None = None
    level: float = 0.95
    lonely_psu: str = "error"

    def __post_init__(self) -> None:
        check_lonely(self.lonely_psu)
        check_interval_level(self.level)
        tidy_by(self)
        check_reference(self)
        for name in ("sensitivity", "specificity"):
            value = getattr(self, name)
            if isinstance(value, (Mapping, tuple)):
                pairs = value.items() if isinstance(value, Mapping) else value
                object.__setattr__(self, name, tuple(sorted((str(group), _known(name, v)) for group, v in pairs)))
                if not as_names(self.by):
                    raise DesignError(f"{name} is given by group, but there are no groups; give `by`.")
            else:
                _known(name, value)
        for group in self._groups() or (None,):
            total = sum(_share(_of(getattr(self, name), group)) for name in ("sensitivity", "specificity"))
            if total <= 1.0:
                raise DesignError(
                    f"Sensitivity and specificity add up to {total:.4g}; at one or less answers say nothing of the "
                    "outcome, or the opposite. Validate the question anew."
                )

    def _groups(self) -> tuple[str, ...]:
        """Return the groups that have a rate of their own; DesignError when the two rates name different ones."""
        named = [{g for g, _ in v} for v in (self.sensitivity, self.specificity) if isinstance(v, tuple)]
        if len(named) == 2 and named[0] != named[1]:
            raise DesignError("sensitivity and specificity are given for different groups; give both for each.")
        return tuple(sorted(named[0])) if named else ()

    def estimate(self, data: Survey, *, rng: np.random.Generator | None = None) -> Estimates:
        """Return corrected prevalences: overall, by group, then differences and ratios.

        Parameters
        ----------
        data : Survey
            The checked survey; its outcomes are 0 or 1.
        rng : numpy.random.Generator, optional
            Ignored: nothing is random.

        Raises
        ------
        DataError
            If an outcome is not 0 or 1, a column of `by` is absent, or a group has no rate.
        DesignError
            If a column of `by` is an outcome, an identifier or the primary sampling unit.
        IdentificationError
            If strata have a single primary unit and `lonely_psu` is "error".
        """
        named = self._groups()
        domains = domains_of(data, self.by, self.reference)
        if named and domains is not None:
            without = sum(label not in named for label in domains.labels)
            if without:
                raise DataError(
                    f"{without:,} of {len(domains.labels):,} groups of {domains.name} have no sensitivity or "
                    "specificity; give one for each group, as it is written in the data."
                )
        rates = {group: self.rates(group) for group in (named or (None,))}
        return estimate_corrected(self, data, rates, self._method(data))

    def rates(self, group: str | None) -> Rates:
        """Return the rates of a group (None: of all), with the names of those that were estimated."""
        found, keys = [], []
        for name in ("sensitivity", "specificity"):
            given = getattr(self, name)
            value = _of(given, group)
            found.append(
                validated_rate(value.correct, value.n) if isinstance(value, Validation) else Rate(float(value))
            )
            keys.append(f"{name} {group}" if isinstance(given, tuple) else name)
        return Rates(found[0], found[1], (keys[0], keys[1]))

    def _method(self, data: Survey) -> Method:
        words = [
            f"{name} {_words(getattr(self, name))} holds for those surveyed" for name in ("sensitivity", "specificity")
        ]
        return survey_method(
            data,
            sample=sample_words(data, range(len(data.outcome_names))),
            std_error="Taylor linearisation of the reported share, and the binomial variance of validation samples; "
            "limits of prevalences by inversion of the score test",
            assumptions=(
                *words,
                "respondents were drawn as the weights, strata and primary units say",
                "answers are missing for reasons unrelated to the outcome",
                "validation samples are independent of the survey and of each other",
            ),
            source="Rogan and Gladen 1978",
        )


def _known(name: str, value: object) -> Known:
    if isinstance(value, Validation):
        return value
    if isinstance(value, (int, float)) and not isinstance(value, bool) and 0.0 < value <= 1.0:
        return float(value)
    raise DesignError(f"{name} is a share above 0 and at most 1, a Validation, or one of these for each group.")


def _of(given: ByGroup, group: str | None) -> Known:
    return dict(given)[str(group)] if isinstance(given, (tuple, Mapping)) else given


def _share(value: Known) -> float:
    return value.share if isinstance(value, Validation) else float(value)


def _words(given: ByGroup) -> str:
    if isinstance(given, (tuple, Mapping)):
        return "as given for each group"
    return given.describe() if isinstance(given, Validation) else f"{given:.4g}"
