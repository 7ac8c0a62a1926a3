"""`ProportionTest`: classical tests of a yes-or-no outcome in two arms, with or without clusters."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from gbveval.core.errors import DataError, DesignError, IdentificationError
from gbveval.core.estimand import Estimand
from gbveval.core.estimates import Estimates
from gbveval.core.method import Method
from gbveval.core.registry import register
from gbveval.core.term import Term
from gbveval.data.trial import Trial
from gbveval.estimators._assemble import all_samples, arm_support, assemble_terms, require_parallel
from gbveval.numerics.inference import check_level
from gbveval.numerics.proportion_tests import (
    ArmOfClusters,
    ChiSquared,
    design_effect_of,
    difference_interval,
    donner_test,
    pooled_correlation,
    rao_scott_test,
    two_proportions,
)

BoolArray = NDArray[np.bool_]
METHODS = ("auto", "pearson", "yates", "donner", "rao_scott")
_WORDS = {
    "pearson": ("Pearson's chi-squared with the pooled proportion", "none", "Pearson 1900"),
    "yates": ("Pearson's chi-squared with the pooled proportion", "half a person (Yates)", "Yates 1934"),
    "donner": (
        "chi-squared over the design effect of a pooled intracluster correlation",
        "none",
        "Donner and Klar 2000",
    ),
    "rao_scott": ("chi-squared of counts over each arm's design effect", "none", "Rao and Scott 1992"),
}


@register("proportion_test")
@dataclass(frozen=True, slots=True)
class ProportionTest:
    """Test that a yes-or-no outcome is as frequent in one arm as in the other.

    Parameters
    ----------
    method : str
        "auto" ("donner" with clusters, else "pearson"), "pearson", "yates" (corrected for continuity), "donner" (one
        intracluster correlation for both arms) or "rao_scott" (a design effect for each arm).
    level : float
        Level of the interval of the risk difference, which "pearson" and "yates" have.

    Notes
    -----
    **Tests** equality of the two risks over participants. `DifferenceInMeans` or `Standardised` estimate how different
    they are, and are to be preferred for reports.

    **Valid when** assignment was random and every arm has some tens of people (five events and five non-events), or, by
    cluster, some tens of clusters: the reference is chi-squared. `FisherExact` holds for any numbers of people.

    **Do not use when** there are fewer than about 20 clusters an arm: "donner" and "rao_scott" then reject too often.
    Use `ClusterSummary` or `RandomisationInference`.

    References
    ----------
    Donner and Klar (2000), Design and Analysis of Cluster Randomization Trials. Rao and Scott (1992), Biometrics 48.

    Examples
    --------
    >>> frame = {"y": [1] * 6 + [0] * 14 + [1] * 12 + [0] * 8, "arm": ["usual"] * 20 + ["new"] * 20}
    >>> trial = Trial(frame, outcome="y", arm="arm", control="usual")
    >>> round(ProportionTest().estimate(trial)[0].statistic, 4)
    3.6364
    """

    method: str = "auto"
    level: float = 0.95
    name: ClassVar[str] = "proportion_test"

    def __post_init__(self) -> None:
        check_level(self.level)
        if self.method not in METHODS:
            raise DesignError(f"method must be one of {', '.join(METHODS)}, not {self.method!r}.")

    def estimate(self, data: Trial, *, rng: np.random.Generator | None = None) -> Estimates:
        """Return a test for each arm and outcome.

        Parameters
        ----------
        data : Trial
            A trial with yes-or-no outcomes.
        rng : numpy.random.Generator, optional
            Ignored: nothing is random.

        Raises
        ------
        DataError
            If an outcome is not 0 or 1.
        DesignError
            If the method does not fit the trial's roles.
        IdentificationError
            If an arm has fewer than two units (clusters).
        """
        require_parallel("ProportionTest", data)
        method = self._method(data)
        rows: list[Term] = []
        for outcome in range(len(data.outcome_names)):
            need_binary("ProportionTest", data, outcome)
            rows += [self._row(data, outcome, arm, method) for arm in range(1, len(data.arms))]
        std_error, correction, source = _WORDS[method]
        words = Method(
            sample=all_samples(data),
            std_error=std_error,
            small_sample=correction,
            reference="chi-squared with one degree of freedom",
            inference_for="the participants of the trial, or a superpopulation",
            assumptions=(
                "arms were assigned at random as declared, with one probability",
                "one unit's assignment does not change another's outcome",
                "outcomes are missing for reasons unrelated to the outcome",
            ),
            source=source,
        )
        return assemble_terms(self, data, rows, method=words)

    def _method(self, data: Trial) -> str:
        for role in ("stratum", "pair", "weight"):
            if getattr(data, role) is not None:
                raise DesignError(f"ProportionTest does not take the role {role!r}. Use DifferenceInMeans or Ancova.")
        clustered = data.cluster is not None
        if self.method == "auto":
            return "donner" if clustered else "pearson"
        if clustered != (self.method in ("donner", "rao_scott")):
            raise DesignError(
                f"method={self.method!r} does not fit a trial {'with' if clustered else 'without'} clusters. "
                "Leave method to 'auto'."
            )
        return self.method

    def _row(self, data: Trial, outcome: int, arm: int, method: str) -> Term:
        observed = data.observed(outcome)
        members = [observed & (data.arm == code) for code in (arm, 0)]
        y = data.outcomes[:, outcome]
        events = float(y[members[0]].sum()), float(y[members[1]].sum())
        sizes = float(members[0].sum()), float(members[1].sum())
        extra: tuple[tuple[str, float | None], ...]
        if method in ("donner", "rao_scott"):
            found, extra = _clustered(data, y, members, method)
        else:
            for count, code in zip(sizes, (arm, 0), strict=True):
                _need(count, "units", data.arms[code])
            found = two_proportions(events, sizes, corrected=method == "yates")
            low, high = difference_interval(events, sizes, level=self.level, corrected=method == "yates")
            extra = (("difference_low", low), ("difference_high", high))
        possible = np.isfinite(found.p_value)
        risks = (("risk_treated", events[0] / sizes[0]), ("risk_control", events[1] / sizes[1]))
        used = members[0] | members[1]
        clusters = None if data.cluster is None else int(np.unique(data.cluster.codes[used]).size)
        return Term(
            term=f"{data.arms[arm]} vs {data.arms[0]}",
            estimand=Estimand("ITT", "risk_difference"),
            outcome=data.outcome_names[outcome],
            value=None,
            std_error=None,
            df=1.0,
            kind="test",
            statistic=found.statistic if possible else None,
            p_value=found.p_value if possible else None,
            n_units=int(used.sum()),
            n_clusters=clusters,
            support=arm_support(data, outcome, used, (0, arm)),
            reason="" if possible else "nobody, or everybody, has the outcome in both arms or in an arm",
            extra=(*risks, *extra),
        )


def need_binary(estimator: str, data: Trial, outcome: int) -> None:
    """Raise if an outcome is not 0 or 1."""
    if not data.is_binary(outcome):
        y = data.outcomes[data.observed(outcome), outcome]
        wrong = int(((y != 0) & (y != 1)).sum())
        raise DataError(
            f"Column {data.outcome_names[outcome]!r} (outcome) is neither 0 nor 1 in {wrong} rows; {estimator} needs a "
            "yes-or-no outcome. Code it as 0 and 1."
        )


def _need(count: float, what: str, label: str) -> None:
    if count < 2:
        raise IdentificationError(
            f"Arm {label!r} has {int(count)} {what} with an outcome; at least two are needed for a test."
        )


def _clustered(
    data: Trial, y: NDArray[np.float64], members: list[BoolArray], method: str
) -> tuple[ChiSquared, tuple[tuple[str, float | None], ...]]:
    assert data.cluster is not None
    arms = []
    for member in members:
        codes = np.unique(data.cluster.codes[member], return_inverse=True)[1]
        label = data.arms[int(data.arm[member][0])] if member.any() else "without outcomes"
        _need(float(np.unique(codes).size), "clusters", label)
        events = np.bincount(codes, weights=y[member]).astype(float)
        arms.append(ArmOfClusters(events, np.bincount(codes).astype(float)))
    pair = arms[0], arms[1]
    if method == "donner":
        correlation = pooled_correlation(pair)
        if not np.isfinite(correlation):
            return ChiSquared(float("nan"), float("nan")), (("icc", None),)
        return donner_test(pair, correlation), (("icc", correlation),)
    effects = [design_effect_of(arm) for arm in pair]
    extra: list[tuple[str, float | None]] = []
    for name, effect in zip(("treated", "control"), effects, strict=True):
        for label, value in (("binomial", effect.binomial), ("ratio", effect.ratio), ("deff", effect.deff)):
            extra.append((f"{label}_{name}", value if np.isfinite(value) else None))
    return rao_scott_test(pair), tuple(extra)
