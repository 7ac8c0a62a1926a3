"""`RandomisationInference`: tests and intervals from the allocations that could have been."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import numpy as np

from gbveval.core.errors import DesignError, IdentificationError
from gbveval.core.estimates import Estimates
from gbveval.core.provenance import Provenance, derive_seed, options_of, versions
from gbveval.core.registry import register
from gbveval.data.trial import Trial
from gbveval.estimators._assemble import all_samples, missing_check, require_parallel
from gbveval.estimators.randomised._assignment import ASSIGNMENTS, RecordedAllocations
from gbveval.estimators.randomised._randomisation_rows import (
    Comparison,
    compare,
    joint_comparison,
    method_in_words,
)
from gbveval.estimators.randomised._randomisation_test import Settings
from gbveval.estimators.randomised.difference_in_means import DifferenceInMeans
from gbveval.estimators.randomised.lin_adjusted import LinAdjusted
from gbveval.numerics.inference import ALTERNATIVES, check_level

STATISTICS = ("studentised", "difference", "ipw_difference", "sum", "rank_sum")
TWO_SIDED = ("absolute", "central", "no_more_likely")
DISTRIBUTIONS = ("auto", "exact", "monte_carlo", "asymptotic")


@register("randomisation_inference")
@dataclass(frozen=True, slots=True)
class RandomisationInference:
    """Randomisation test of a trial, with an interval by inverting it.

    The units are allocated again as the trial allocated them: people or clusters, within strata or pairs, by
    complete or independent assignment, as sequences of a stepped wedge, or from allocations recorded beforehand. The
    p-value is the share of allocations whose statistic is at least as extreme as the one observed, which counts as
    one of them. All allocations are listed when there are few, and drawn when there are many.

    Parameters
    ----------
    estimator : Estimator
        What is computed for every allocation. `DifferenceInMeans` (the default), and `LinAdjusted` with HC2 for people
        assigned one by one without strata, are computed by matrix products; any
        other estimator of one effect is fitted again each time.
    statistic : str
        "studentised" (estimate over its standard error, the default), "difference" (the estimate), "ipw_difference"
        (means weighted by the inverse probability of the arm), "sum" or "rank_sum" (treated units' sum of outcomes
        or midranks, standardised by its permutation mean and standard deviation; these give a test and no estimate).
    null : float
        The constant effect under test.
    alternative : str
        "two_sided", "greater" or "less".
    two_sided : str
        "absolute" (as far from the null, in either direction), "central" (twice the smaller tail) or "no_more_likely".
    assignment : str or RecordedAllocations
        "auto" (the declared scheme where the trial has one, `Trial(allocation=...)`, else what the roles say),
        "complete", "simple" (needs the role probability), or recorded allocations.
    distribution : str
        "auto" (exact when at most twenty times `n_draws` allocations exist, `n_draws` for other estimators), "exact",
        "monte_carlo" or "asymptotic" (normal; for sums and rank sums).
    n_draws : int
        Allocations drawn where they are not all listed.
    level : float
        Level of the interval. It holds at this level only.

    Notes
    -----
    **Tests** the sharp null that the effect is `null` for every unit, exactly, whatever the outcome's distribution and
    however few the units. **The interval** holds the constant effects that the two-sided test does not reject; it is
    the hull of that set.

    **Valid when** allocations are drawn as they were in the trial and one unit's assignment does not change another's
    outcome. With the studentised statistic the test of no effect for anyone is also, in large samples, a test of no
    effect on average (Wu and Ding 2021); the plain difference has no such promise when arms differ in size and spread.

    **Do not use when** allocation was restricted in a way that the roles do not say (declare it by
    `Trial(allocation=...)` then, or give `RecordedAllocations`), or when the effect is thought to vary and the sample
    is small: the test is then one of no effect for anyone. An interval of constant effects on a binary outcome is an
    approximation.

    With several arms each is compared with control among the units of the two. With several rows, a last row tests all
    of them together by the largest absolute statistic.

    References
    ----------
    Fisher (1935), The Design of Experiments. Rosenbaum (2002), Observational Studies. Phipson and Smyth (2010),
    Statistical Applications in Genetics and Molecular Biology 9. Wu and Ding (2021), Journal of the American
    Statistical Association 116.

    Examples
    --------
    >>> frame = {"y": [1.0, 2.0, 3.0, 4.0, 6.0, 9.0], "arm": ["usual"] * 3 + ["new"] * 3}
    >>> trial = Trial(frame, outcome="y", arm="arm", control="usual")
    >>> answer = RandomisationInference().estimate(trial)
    >>> round(answer[0].p_value, 3)  # 2 of the 20 allocations are as extreme
    0.1
    """

    estimator: Any = field(default_factory=DifferenceInMeans)
    statistic: str = "studentised"
    null: float = 0.0
    alternative: str = "two_sided"
    two_sided: str = "absolute"
    assignment: str | RecordedAllocations = "auto"
    distribution: str = "auto"
    n_draws: int = 9_999
    level: float = 0.95
    name: ClassVar[str] = "randomisation_inference"

    def __post_init__(self) -> None:
        for option, known in (
            ("statistic", STATISTICS),
            ("alternative", ALTERNATIVES),
            ("two_sided", TWO_SIDED),
            ("distribution", DISTRIBUTIONS),
        ):
            if getattr(self, option) not in known:
                raise DesignError(f"{option} must be one of {', '.join(known)}, not {getattr(self, option)!r}.")
        if not isinstance(self.assignment, RecordedAllocations) and self.assignment not in ASSIGNMENTS:
            raise DesignError(f"assignment must be one of {', '.join(ASSIGNMENTS)}, or RecordedAllocations.")
        if self.n_draws < 19 or not np.isfinite(self.null):
            raise DesignError("n_draws must be at least 19, so that p can be 0.05, and null a finite number.")
        sums = self.statistic in ("sum", "rank_sum")
        if self.distribution == "asymptotic" and not sums:
            raise DesignError(
                "The asymptotic distribution is that of sums and rank sums; for a difference use "
                "statistic='sum', which orders the allocations of a trial without strata in the same way, or "
                "DifferenceInMeans."
            )
        if self.statistic != "studentised" and self.statistic != "difference" and not self._plain:
            raise DesignError(f"The statistic {self.statistic!r} needs no estimator; leave it out.")
        try:
            check_level(self.level)
        except ValueError as error:
            raise DesignError(str(error)) from error

    @property
    def _plain(self) -> bool:
        return isinstance(self.estimator, DifferenceInMeans)

    def estimate(self, data: Trial, *, rng: np.random.Generator | None = None) -> Estimates:
        """Return one row for each outcome and arm, and a joint test where there are several.

        Parameters
        ----------
        data : Trial
            The checked trial.
        rng : numpy.random.Generator, optional
            For drawn allocations; by default seeded from the data and the options.

        Raises
        ------
        DesignError
            If roles and options do not fit, or all allocations are asked for and there are too many.
        IdentificationError
            If an arm has no outcome, or only one allocation was possible.
        """
        require_parallel("RandomisationInference", data, crossover=True)
        seed = derive_seed(data.digest, self.name, repr(options_of(self))) if rng is None else int(rng.integers(2**31))
        draws = np.random.default_rng(seed)
        settings = self._settings(data)
        base = self._base(data, settings)
        found: list[Comparison] = [
            compare(data, outcome, arm, settings, base, draws)
            for outcome in range(len(data.outcome_names))
            for arm in range(1, len(data.arms))
        ]
        if len(found) > 1 and settings.fast and settings.kind == "design":
            found.append(joint_comparison(data, settings, draws))
        checks = [check for one in found for check in one.checks]
        covariance = np.full((len(found), len(found)), np.nan)
        if base is not None:
            places = [(i, one.base) for i, one in enumerate(found) if one.base is not None]
            rows, columns = [i for i, _ in places], [int(j) for _, j in places]
            covariance[np.ix_(rows, rows)] = base.covariance[np.ix_(columns, columns)]
        return Estimates(
            estimator=self.name,
            terms=tuple(one.term for one in found),
            covariance=covariance,
            method=replace(method_in_words(settings, found), sample=all_samples(data)),
            level=self.level,
            checks=(*dict.fromkeys(checks), *missing_check(data)),
            provenance=Provenance(
                data.digest, tuple(options_of(self).items()), seed, versions(), seed_derived=rng is None
            ),
            flow=data.flow(),
        )

    def _settings(self, data: Trial) -> Settings:
        kinds = {"studentised": "design", "difference": "design", "ipw_difference": "ipw"}
        refit = not self._plain or data.weight is not None or data.crosses_over
        if refit and self.statistic not in ("studentised", "difference"):
            raise DesignError(f"The statistic {self.statistic!r} takes no weights, and no clusters that change arm.")
        rule = self.two_sided if self.alternative == "two_sided" else self.alternative
        return Settings(
            estimator=self.estimator,
            fast=not refit,
            kind=kinds.get(self.statistic, self.statistic),
            studentised=self.statistic == "studentised",
            null=float(self.null),
            rule=rule,
            assignment=self.assignment,
            distribution=self.distribution,
            n_draws=self.n_draws,
            level=self.level,
            adjusted=refit and _is_plain_lin(self.estimator, data),
        )

    def _base(self, data: Trial, settings: Settings) -> Estimates | None:
        """Return the estimator's own rows, or None where it gives none but a test is possible."""
        if settings.kind in ("sum", "rank_sum", "ipw"):
            return None
        if not settings.fast:
            base: Estimates = self.estimator.estimate(data)
            return base
        try:
            return DifferenceInMeans().estimate(data)
        except (DesignError, IdentificationError):
            return None


def _is_plain_lin(estimator: Any, data: Trial) -> bool:
    """Whether an estimator is Lin's with HC2, on units assigned one by one without strata, pairs or weights."""
    plain = isinstance(estimator, LinAdjusted) and estimator in (LinAdjusted(), LinAdjusted(std_error="HC2"))
    roles = (data.cluster, data.stratum, data.pair, data.weight, data.baseline)
    return plain and all(role is None for role in roles)
