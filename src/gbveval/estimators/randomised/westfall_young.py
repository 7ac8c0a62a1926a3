"""`WestfallYoung`: p-values of several outcomes and arms, adjusted by allocating all of them again together."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from gbveval.core.errors import DesignError
from gbveval.core.estimates import Estimates
from gbveval.core.method import Check, Method
from gbveval.core.provenance import Provenance, derive_seed, options_of, versions
from gbveval.core.registry import register
from gbveval.data.trial import Trial
from gbveval.estimators._assemble import all_samples, require_parallel
from gbveval.estimators.randomised._assignment import ASSIGNMENTS, RecordedAllocations, assignment_of
from gbveval.estimators.randomised._joint import joint_statistics
from gbveval.estimators.randomised._randomisation_test import Settings
from gbveval.estimators.randomised.difference_in_means import DifferenceInMeans
from gbveval.numerics.inference import ALTERNATIVES
from gbveval.numerics.multiplicity import step_down
from gbveval.numerics.null_distribution import tail

STATISTICS = {"studentised": "design", "pooled": "pooled", "rank_sum": "rank_sum"}


@register("westfall_young")
@dataclass(frozen=True, slots=True)
class WestfallYoung:
    """Differences in means of several outcomes and arms, with step-down adjusted p-values.

    All units are allocated again as the trial allocated them, and the statistics of all outcomes and arms are computed
    for each allocation. A row's p-value is its own share of allocations at least as extreme; `p_adjusted` compares it
    with the largest statistic among all rows that are no more extreme. What outcomes have in common is used, so
    outcomes that go together cost less than with Holm.

    Parameters
    ----------
    statistic : str
        "studentised" (the design's standard error, Welch's t in a simple trial), "pooled" (Student's t) or "rank_sum"
        (standardised, without correction for ties).
    alternative : str
        "two_sided", "greater" or "less", for all rows.
    assignment : str or RecordedAllocations
        As in `RandomisationInference`.
    n_draws : int
        Allocations drawn; all are listed instead when there are at most twenty times as many.

    Notes
    -----
    **Controls** the probability of any false rejection, exactly when no arm has any effect on any outcome, and
    otherwise when the outcomes without an effect have the same joint distribution of statistics whatever the effects on
    the others (subset pivotality; Westfall and Young 1993). With several arms of unequal spread this is an
    approximation.

    **Do not use when** the outcomes were chosen after seeing the results. Estimates, standard errors and intervals are
    those of `DifferenceInMeans` and are not adjusted.

    References
    ----------
    Westfall and Young (1993), Resampling-Based Multiple Testing. Young (2019), Quarterly Journal of Economics 134.

    Examples
    --------
    >>> frame = {
    ...     "reports": [1.0, 2.0, 3.0, 2.0, 6.0, 7.0, 9.0, 8.0],
    ...     "fear": [3.0, 2.0, 4.0, 1.0, 3.0, 5.0, 4.0, 2.0],
    ...     "arm": ["usual"] * 4 + ["new"] * 4,
    ... }
    >>> trial = Trial(frame, outcome=["reports", "fear"], arm="arm", control="usual")
    >>> [round(dict(row.extra)["p_adjusted"], 3) for row in WestfallYoung().estimate(trial).terms]
    [0.029, 0.457]
    """

    statistic: str = "studentised"
    alternative: str = "two_sided"
    assignment: str | RecordedAllocations = "auto"
    n_draws: int = 9_999
    name: ClassVar[str] = "westfall_young"

    def __post_init__(self) -> None:
        for option, known in (("statistic", tuple(STATISTICS)), ("alternative", ALTERNATIVES)):
            if getattr(self, option) not in known:
                raise DesignError(f"{option} must be one of {', '.join(known)}, not {getattr(self, option)!r}.")
        if not isinstance(self.assignment, RecordedAllocations) and self.assignment not in ASSIGNMENTS:
            raise DesignError(f"assignment must be one of {', '.join(ASSIGNMENTS)}, or RecordedAllocations.")
        if self.n_draws < 19:
            raise DesignError("n_draws must be at least 19, so that p can be 0.05.")

    def estimate(self, data: Trial, *, rng: np.random.Generator | None = None) -> Estimates:
        """Return one row for each outcome and arm, with raw and adjusted p-values.

        Parameters
        ----------
        data : Trial
            The checked trial.
        rng : numpy.random.Generator, optional
            For drawn allocations; by default seeded from the data and the options.

        Raises
        ------
        DesignError
            If the trial has weights, or clusters that change arm.
        IdentificationError
            If an arm is too small for a standard error.
        """
        require_parallel("WestfallYoung", data)
        if data.weight is not None:
            raise DesignError("WestfallYoung takes no weights. Leave the role out, or adjust by Holm.")
        if self.statistic == "rank_sum" and any(r is not None for r in (data.cluster, data.stratum, data.pair)):
            raise DesignError("The rank sum is for units assigned one by one; use the studentised statistic.")
        seed = derive_seed(data.digest, self.name, repr(options_of(self))) if rng is None else int(rng.integers(2**31))
        base = DifferenceInMeans().estimate(data)
        settings = Settings(
            estimator=None,
            fast=True,
            kind=STATISTICS[self.statistic],
            studentised=self.statistic != "rank_sum",
            null=0.0,
            rule="absolute",
            assignment=self.assignment,
            distribution="auto",
            n_draws=self.n_draws,
            level=0.95,
        )
        found = joint_statistics(data, assignment_of(data, self.assignment), settings, np.random.default_rng(seed))
        turn = {"two_sided": np.abs, "greater": np.positive, "less": np.negative}[self.alternative]
        values, observed = turn(found.values), turn(found.observed)
        raw = [tail(values[:, i], float(x), found.weight, rule="greater") for i, x in enumerate(observed)]
        adjusted = step_down(values, observed, found.weight)
        rows = tuple(
            replace(
                row,
                statistic=float(found.observed[i]),
                p_value=raw[i],
                extra=(*row.extra, ("p_adjusted", float(adjusted[i])), ("adjustment", "Westfall-Young step-down")),
            )
            for i, row in enumerate(base.terms)
        )
        what = "listed" if found.weight is not None else "drawn"
        how = f"{values.shape[0]:,} allocations {what}"
        note = f"p_adjusted is adjusted for {len(rows)} rows together; intervals are not adjusted."
        return replace(
            base,
            estimator=self.name,
            terms=rows,
            method=Method(
                sample=all_samples(data),
                std_error=base.method.std_error,
                small_sample="none is needed: the tests are exact",
                reference=f"randomisation distribution of {self.statistic} statistics together ({how})",
                inference_for="the units of the trial; no effect for anyone",
                assumptions=(
                    "units were allocated as the roles say",
                    "one unit's assignment does not change another's outcome",
                    "effects on some outcomes do not change how the statistics of the others vary together",
                ),
                source="Westfall and Young 1993",
            ),
            checks=(*base.checks, Check("multiplicity", "info", note)),
            provenance=Provenance(
                data.digest, tuple(options_of(self).items()), seed, versions(), seed_derived=rng is None
            ),
        )
