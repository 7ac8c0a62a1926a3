"""`ClusterSummary`: comparison of one number a cluster, by a t or a rank-sum test."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from gbveval.core.errors import DesignError, IdentificationError
from gbveval.core.estimand import Estimand
from gbveval.core.estimates import Estimates
from gbveval.core.method import Check, Method
from gbveval.core.registry import register
from gbveval.core.term import Term
from gbveval.data.trial import Trial
from gbveval.estimators._assemble import (
    Row,
    all_samples,
    arm_support,
    assemble,
    assemble_terms,
    mean_contrast,
    require_parallel,
)
from gbveval.numerics.least_squares import fit_least_squares
from gbveval.numerics.linear_inference import linear_inference
from gbveval.numerics.mean_difference import MeanDifference, matched_pairs, neyman, pooled
from gbveval.numerics.rank_sum import rank_sum

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.intp]
TESTS = ("auto", "welch_t", "pooled_t", "paired_t", "rank_sum")
WEIGHTS = ("equal", "size")
_STD_ERROR = {
    "welch_t": "of cluster means, separate variances in each arm",
    "pooled_t": "of cluster means, one variance for both arms",
    "paired_t": "of the differences of cluster means within pairs",
    "rank_sum": "none: a test of ranks",
}
_REFERENCE = {
    "welch_t": "t with Welch's degrees of freedom",
    "pooled_t": "t with clusters minus two degrees of freedom",
    "paired_t": "t with pairs minus one degrees of freedom",
    "rank_sum": "normal approximation of the rank sum",
}


@dataclass(frozen=True, eq=False, slots=True)
class Summaries:
    """One number a cluster: its mean (or mean residual), participants, arm and pair."""

    present: IntArray
    mean: FloatArray
    size: FloatArray
    treated: NDArray[np.bool_]
    pair: IntArray | None


@register("cluster_summary")
@dataclass(frozen=True, slots=True)
class ClusterSummary:
    """Difference between arms of the clusters' means, every cluster one number.

    The simplest valid analysis of a cluster trial, and with few clusters one of the best: it needs no model of how
    people in a cluster resemble each other. With covariates the mean residual of a regression that leaves the arm out
    takes the place of the mean (two stages).

    Parameters
    ----------
    test : str
        "auto" ("paired_t" with pairs, else "welch_t"), "welch_t", "pooled_t", "paired_t" or "rank_sum" (Wilcoxon: a
        p-value and no estimate).
    weights : str
        "equal": every cluster counts the same, the population is "cluster_average". "size": clusters count with their
        participants ("participant_average"), by weighted least squares of the means on the arm with CR2 errors.
    continuity : bool
        Whether the rank-sum test corrects for continuity.

    Notes
    -----
    **Identifies** the average over clusters (or participants) of the effect of being assigned. The two differ when the
    effect goes with cluster size; `informative_size` looks for that.

    **Valid when** there are at least four clusters an arm (the t test holds its level remarkably well with few and
    unequal clusters, as long as summaries are not wildly skewed), or six pairs.

    **Do not use when** the outcome is rare and clusters are small, so that most means are zero: use `Standardised` with
    clustered errors, or `RandomisationInference`.

    References
    ----------
    Hayes and Moulton (2017), Cluster Randomised Trials, chapters 10 and 11. Donner and Klar (2000), Design and Analysis
    of Cluster Randomization Trials.

    Examples
    --------
    >>> frame = {
    ...     "y": [1.0, 3.0, 2.0, 4.0, 5.0, 7.0, 9.0, 9.0],
    ...     "school": ["a", "a", "b", "b", "c", "c", "d", "d"],
    ...     "arm": ["usual"] * 4 + ["new"] * 4,
    ... }
    >>> trial = Trial(frame, outcome="y", arm="arm", control="usual", cluster="school")
    >>> ClusterSummary().estimate(trial)[0].value
    5.0
    """

    test: str = "auto"
    weights: str = "equal"
    continuity: bool = True
    name: ClassVar[str] = "cluster_summary"

    def __post_init__(self) -> None:
        for option, value, known in (("test", self.test, TESTS), ("weights", self.weights, WEIGHTS)):
            if value not in known:
                raise DesignError(f"{option} must be one of {', '.join(known)}, not {value!r}.")
        if self.weights == "size" and self.test not in ("auto", "welch_t"):
            raise DesignError("weights='size' comes with test='welch_t' (separate variances). Leave test to 'auto'.")

    def estimate(self, data: Trial, *, rng: np.random.Generator | None = None) -> Estimates:
        """Return the difference between each arm and control for each outcome.

        Parameters
        ----------
        data : Trial
            A trial that assigned clusters.
        rng : numpy.random.Generator, optional
            Ignored: nothing is random.

        Raises
        ------
        DesignError
            If there are no clusters, or the test does not fit the roles.
        IdentificationError
            If an arm has fewer than two clusters.
        """
        require_parallel("ClusterSummary", data)
        test = self._test(data)
        rows, terms = [], []
        checks: list[Check] = []
        for outcome in range(len(data.outcome_names)):
            for arm in range(1, len(data.arms)):
                used = data.observed(outcome) & np.isin(data.arm, (0, arm))
                found, notes = _summaries(data, outcome, arm, used, test)
                checks += notes
                _check_counts(data, found, arm, test)
                labels = self._labels(data, outcome, arm, used, found)
                if test == "rank_sum":
                    terms.append(_ranked(found, labels, self.continuity))
                else:
                    rows.append(_difference(data, found, labels, test, self.weights))
        method = _method(data, test, self.weights)
        if terms:
            return assemble_terms(self, data, terms, method=method, checks=checks)
        return assemble(self, data, rows, method=method, checks=checks)

    def _test(self, data: Trial) -> str:
        if data.cluster is None:
            raise DesignError("ClusterSummary compares clusters; the trial declares none. Use DifferenceInMeans.")
        if data.stratum is not None or data.weight is not None:
            raise DesignError(
                "ClusterSummary takes no strata and no analysis weights. Use Ancova(population='cluster_average')."
            )
        test = self.test
        if test == "auto":
            test = "paired_t" if data.pair is not None and self.weights == "equal" else "welch_t"
        if (test == "paired_t") != (data.pair is not None):
            raise DesignError("test='paired_t' and the role `pair` go together: a matched design is analysed as such.")
        return test

    def _labels(self, data: Trial, outcome: int, arm: int, used: NDArray[np.bool_], found: Summaries) -> Term:
        population = "cluster_average" if self.weights == "equal" else "participant_average"
        return Term(
            term=f"{data.arms[arm]} vs {data.arms[0]}",
            estimand=Estimand("ITT", mean_contrast(data, outcome), population),
            outcome=data.outcome_names[outcome],
            value=None,
            std_error=None,
            kind="test",
            n_units=int(used.sum()),
            n_clusters=int(found.present.size),
            support=arm_support(data, outcome, used, (0, arm)),
        )


def _summaries(
    data: Trial, outcome: int, arm: int, used: NDArray[np.bool_], test: str
) -> tuple[Summaries, list[Check]]:
    """Return one number a cluster, and what was left out."""
    assert data.cluster is not None
    y = data.outcomes[used, outcome]
    if data.covariate_names:
        fit = fit_least_squares(data.covariates[used], y)
        y = fit.residuals(data.covariates[used], y)
    present, first, codes = np.unique(data.cluster.codes[used], return_index=True, return_inverse=True)
    size = np.bincount(codes).astype(float)
    treated = data.arm[used][first] == arm
    pair = None if data.pair is None else data.pair.codes[used][first]
    found = Summaries(present, np.bincount(codes, weights=y) / size, size, treated, pair)
    if pair is None or test != "paired_t":
        return found, []
    both = np.bincount(pair[treated], minlength=data.pair.count if data.pair else 0)
    both = np.minimum(both, np.bincount(pair[~treated], minlength=both.size))
    keep = both[pair] > 0
    lost = int((~keep).sum())
    if not lost:
        return found, []
    text = f"{lost} clusters have no partner with an outcome; their pairs are left out."
    kept = Summaries(present[keep], found.mean[keep], size[keep], treated[keep], pair[keep])
    return kept, [Check(f"complete pairs {data.outcome_names[outcome]}", "warn", text)]


def _check_counts(data: Trial, found: Summaries, arm: int, test: str) -> None:
    for member, label in ((found.treated, data.arms[arm]), (~found.treated, data.arms[0])):
        if member.sum() < 2:
            raise IdentificationError(
                f"Arm {label!r} has {int(member.sum())} clusters with an outcome; at least two are needed for a "
                f"{'rank sum' if test == 'rank_sum' else 'standard error'}. With one treated cluster no such analysis "
                "says how sure one can be."
            )


def _difference(data: Trial, found: Summaries, labels: Term, test: str, weights: str) -> Row:
    assert data.cluster is not None
    if weights == "size":
        fit = linear_inference(
            found.treated[:, None].astype(float),
            found.mean,
            std_error="CR2",
            df="satterthwaite",
            weights=found.size,
            cluster=np.arange(found.size.size),
            n_clusters=found.size.size,
        )
        assert fit.influence is not None
        answer = MeanDifference(float(fit.beta[1]), fit.influence[:, 1], float(fit.df[1]))
    elif test == "paired_t":
        assert found.pair is not None
        _, codes = np.unique(found.pair, return_inverse=True)
        answer = matched_pairs(found.mean, found.treated, codes.astype(np.intp), int(codes.max()) + 1)
    else:
        answer = (neyman if test == "welch_t" else pooled)(found.mean, found.treated)
    if test == "paired_t":
        assert data.pair is not None
        whole = np.zeros(data.pair.count)
        assert found.pair is not None
        whole[np.unique(found.pair)] = answer.influence
    else:
        whole = np.zeros(data.cluster.count)
        whole[found.present] = answer.influence
    means = (("mean_treated", _mean(found, True, weights)), ("mean_control", _mean(found, False, weights)))
    return Row(
        term=labels.term,
        outcome=labels.outcome,
        value=answer.value,
        influence=whole,
        df=answer.df,
        estimand=labels.estimand,
        n_units=labels.n_units or 0,
        n_clusters=labels.n_clusters,
        support=labels.support,
        extra=means,
    )


def _mean(found: Summaries, treated: bool, weights: str) -> float:
    member = found.treated == treated
    return float(np.average(found.mean[member], weights=found.size[member] if weights == "size" else None))


def _ranked(found: Summaries, labels: Term, continuity: bool) -> Term:
    answer = rank_sum(found.mean, found.treated, continuity=continuity)
    possible = np.isfinite(answer.p_value)
    return replace(
        labels,
        statistic=answer.z if possible else None,
        p_value=answer.p_value if possible else None,
        reason="" if possible else "all clusters have the same mean, so there are no ranks to compare",
        extra=(("rank_sum_minus_minimum", answer.statistic),),
    )


def _method(data: Trial, test: str, weights: str) -> Method:
    stages = " of a regression without the arm" if data.covariate_names else ""
    return Method(
        sample=all_samples(data),
        std_error=_STD_ERROR[test] if weights == "equal" else "CR2 of the size-weighted regression of cluster means",
        small_sample=f"one number a cluster: the mean{' residual' + stages if stages else ''}",
        reference=_REFERENCE[test] if weights == "equal" else "t with Satterthwaite degrees of freedom",
        inference_for="a superpopulation of clusters, or those of the trial (conservative)",
        assumptions=(
            "clusters were assigned at random as declared",
            "one cluster's assignment does not change another's outcome",
            "outcomes are missing for reasons unrelated to the outcome",
        ),
        source="Hayes and Moulton 2017",
    )
