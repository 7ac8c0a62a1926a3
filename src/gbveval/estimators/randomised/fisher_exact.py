"""`FisherExact`: the odds ratio of a yes-or-no outcome, exactly, for any numbers of people."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from gbveval.core.errors import DesignError, IdentificationError
from gbveval.core.estimand import Estimand
from gbveval.core.estimates import Estimates
from gbveval.core.method import Method
from gbveval.core.registry import register
from gbveval.core.term import Term
from gbveval.data.trial import Trial
from gbveval.estimators._assemble import all_samples, arm_support, assemble_terms, require_parallel
from gbveval.estimators.randomised.proportion_test import need_binary
from gbveval.numerics.exact_odds import (
    RULES,
    conditional_interval,
    conditional_odds_ratio,
    exact_p_value,
    margins,
)
from gbveval.numerics.inference import ALTERNATIVES, check_level


@register("fisher_exact")
@dataclass(frozen=True, slots=True)
class FisherExact:
    """Conditional odds ratio of a yes-or-no outcome with its exact test and interval.

    Parameters
    ----------
    alternative : str
        "two_sided", "less" or "greater".
    two_sided : str
        "no_more_likely": counts no more likely than the one observed. "central": twice the smaller tail, which agrees
        with the interval.
    null_odds_ratio : float
        Odds ratio under the null hypothesis.
    level : float
        Level of the interval; it is given at this level only.

    Notes
    -----
    **Identifies** the odds ratio given both margins. Its estimate is the conditional maximum likelihood one, nearer to
    one than the ratio of odds of the table.

    **Valid when** people were assigned one by one with one probability, for any numbers: the test is exact for the
    sharp hypothesis that nobody's outcome depends on the arm. It is conservative: with few people it rejects less often
    than it may.

    **Do not use when** clusters or strata were assigned, or an odds ratio would be read as a ratio of risks.

    References
    ----------
    Fisher (1935), Journal of the Royal Statistical Society 98. Fay (2010), Biostatistics 11, on tests and intervals
    that agree.

    Examples
    --------
    >>> frame = {"y": [1, 0, 0, 0, 0, 1, 1, 1, 1, 0], "arm": ["usual"] * 5 + ["new"] * 5}
    >>> trial = Trial(frame, outcome="y", arm="arm", control="usual")
    >>> round(FisherExact().estimate(trial).records()[0]["p_value"], 4)
    0.2063
    """

    alternative: str = "two_sided"
    two_sided: str = "no_more_likely"
    null_odds_ratio: float = 1.0
    level: float = 0.95
    name: ClassVar[str] = "fisher_exact"

    def __post_init__(self) -> None:
        check_level(self.level)
        for option, value, known in (
            ("alternative", self.alternative, ALTERNATIVES),
            ("two_sided", self.two_sided, RULES),
        ):
            if value not in known:
                raise DesignError(f"{option} must be one of {', '.join(known)}, not {value!r}.")
        if not (np.isfinite(self.null_odds_ratio) and self.null_odds_ratio > 0):
            raise DesignError("null_odds_ratio must be above zero.")

    def estimate(self, data: Trial, *, rng: np.random.Generator | None = None) -> Estimates:
        """Return a test row, with the estimate and interval beside it, for each arm and outcome.

        Parameters
        ----------
        data : Trial
            A trial with yes-or-no outcomes and no clusters, strata, pairs or weights.
        rng : numpy.random.Generator, optional
            Ignored: nothing is random.

        Raises
        ------
        DataError
            If an outcome is not 0 or 1.
        DesignError
            If the trial assigned otherwise than one by one.
        IdentificationError
            If an arm has fewer than two people.
        """
        require_parallel("FisherExact", data)
        for role in ("cluster", "stratum", "pair", "weight"):
            if getattr(data, role) is not None:
                raise DesignError(
                    f"FisherExact takes people assigned one by one, and no {role}. Use RandomisationInference."
                )
        rows = []
        for outcome in range(len(data.outcome_names)):
            need_binary("FisherExact", data, outcome)
            rows += [self._row(data, outcome, arm) for arm in range(1, len(data.arms))]
        method = Method(
            sample=all_samples(data),
            std_error="none: exact given both margins",
            small_sample="exact",
            reference="noncentral hypergeometric",
            inference_for="the participants of the trial",
            assumptions=(
                "people were assigned at random, one by one, with one probability",
                "one unit's assignment does not change another's outcome",
                "outcomes are missing for reasons unrelated to the outcome",
            ),
            source="Fisher 1935",
        )
        return assemble_terms(self, data, rows, method=method)

    def _row(self, data: Trial, outcome: int, arm: int) -> Term:
        observed = data.observed(outcome)
        members = [observed & (data.arm == code) for code in (arm, 0)]
        sizes = int(members[0].sum()), int(members[1].sum())
        for size, code in zip(sizes, (arm, 0), strict=True):
            if size < 2:
                raise IdentificationError(
                    f"Arm {data.arms[code]!r} has {size} units with an outcome; at least two are needed for a test."
                )
        events = int(data.outcomes[members[0], outcome].sum()), int(data.outcomes[members[1], outcome].sum())
        table = margins(events, sizes)
        informative = table.counts.size > 1
        log_odds = conditional_odds_ratio(table, events[0]) if informative else float("nan")
        low, high = conditional_interval(table, events[0], level=self.level, alternative=self.alternative)
        p_value = exact_p_value(
            table,
            events[0],
            log_odds=float(np.log(self.null_odds_ratio)),
            alternative=self.alternative,
            rule=self.two_sided,
        )
        used = members[0] | members[1]
        shown = {"odds_ratio": np.exp(log_odds), "odds_ratio_low": np.exp(low), "odds_ratio_high": np.exp(high)}
        extra = [(name, float(value) if np.isfinite(value) and informative else None) for name, value in shown.items()]
        return Term(
            term=f"{data.arms[arm]} vs {data.arms[0]}",
            estimand=Estimand("ITT", "odds_ratio", "participant_average", "conditional"),
            outcome=data.outcome_names[outcome],
            value=None,
            std_error=None,
            kind="test",
            statistic=float(events[0]) if informative else None,
            p_value=p_value if informative else None,
            n_units=int(used.sum()),
            support=arm_support(data, outcome, used, (0, arm)),
            reason=""
            if informative
            else "nobody, or everybody, has the outcome, so no table but this one was possible",
            extra=(*extra, ("level", self.level)),
        )
