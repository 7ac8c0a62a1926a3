"""`ListExperiment`: prevalence of what nobody is asked about directly, from the counts of two lists."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from gbveval.core.estimand import Estimand
from gbveval.core.estimates import Estimates
from gbveval.core.provenance import options_of
from gbveval.core.registry import register
from gbveval.data.trial import Trial
from gbveval.estimators.randomised._lists import check_items, list_checks, list_support, outside_check, require_lists
from gbveval.estimators.randomised.difference_in_means import DifferenceInMeans


@register("list_experiment")
@dataclass(frozen=True, slots=True)
class ListExperiment:
    """Prevalence of a sensitive item from a list experiment: the difference in mean counts.

    Parameters
    ----------
    items : int
        Items of the short list, without the sensitive one.

    Notes
    -----
    **Data**: a `Trial` whose arm is the list that a respondent got, the short one as control, and whose outcome is the
    number of items that apply.

    **Estimates** the average over participants of the sensitive item, by `DifferenceInMeans`: variance and degrees of
    freedom follow from the roles of the trial (strata, clusters, weights), as said there. It needs nothing but random
    lists, no change of counts by the sensitive item, and true counts.

    **Diagnostics**: checks tell how many of the short list count none or all (floor and ceiling: those who would give
    themselves away), and which joint shares of counts and answers are negative; `ListDesignTest` tests the latter.
    A prevalence outside 0 to 1 is shown as it is, with a check.

    **Do not use when** an item is so rare, or so common, that many count none or all. A difference by group needs one
    experiment a group; `ListRegression` models it. Groups that lie in opposite directions pass every diagnostic.

    References
    ----------
    Droitcour et al. (1991), in Measurement Errors in Surveys. Imai (2011), Journal of the American Statistical
    Association 106. Blair and Imai (2012), Political Analysis 20. Hatz and Randahl (2024), on diagnostics.

    Examples
    --------
    >>> import gbveval as gbv
    >>> frame = {"count": [1, 2, 1, 2, 2, 3, 1, 2], "list": ["short"] * 4 + ["long"] * 4}
    >>> trial = gbv.Trial(frame, outcome="count", arm="list", control="short")
    >>> ListExperiment(items=3).estimate(trial)[0].value
    0.5
    """

    items: int
    name: ClassVar[str] = "list_experiment"

    def __post_init__(self) -> None:
        check_items(self.items)

    def estimate(self, data: Trial, *, rng: np.random.Generator | None = None) -> Estimates:
        """Return the prevalence for each outcome.

        Parameters
        ----------
        data : Trial
            The lists.
        rng : numpy.random.Generator, optional
            Ignored: nothing is random.

        Raises
        ------
        DataError
            If a count is not one that its list allows.
        DesignError
            If there are not two lists, or roles are combined in a way that `DifferenceInMeans` does not cover.
        IdentificationError
            If a list is too small (in a stratum) for a variance.
        """
        require_lists("ListExperiment", data, self.items)
        found = DifferenceInMeans().estimate(data)
        terms = tuple(
            replace(
                term,
                term="prevalence",
                estimand=Estimand("prevalence", "share", "participant_average"),
                support=list_support(data, outcome, data.observed(outcome)),
            )
            for outcome, term in enumerate(found.terms)
        )
        outside = [check for term in terms for check in outside_check(term.outcome, term.value)]
        method = replace(
            found.method,
            assumptions=(
                "lists were given at random as declared",
                "nobody counts the other items differently because of the sensitive one (no design effect)",
                "the sensitive item is counted when it applies, and only then (no liars)",
                *found.method.assumptions[1:],
            ),
            source=f"Blair and Imai 2012; {found.method.source}",
        )
        return replace(
            found,
            estimator=self.name,
            terms=terms,
            method=method,
            checks=(*outside, *list_checks(data, self.items), *found.checks),
            provenance=replace(found.provenance, options=tuple(options_of(self).items())),
        )
