"""`DifferenceInMeans`: what randomisation alone identifies, with the variance of the way units were assigned."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from gbveval.core.batch import BatchEstimates, ClusterBatch
from gbveval.core.errors import DesignError, IdentificationError
from gbveval.core.estimand import Estimand
from gbveval.core.estimates import Estimates
from gbveval.core.method import Check, Method
from gbveval.core.registry import register
from gbveval.data.trial import Trial
from gbveval.estimators._assemble import Row, all_samples, arm_support, assemble, mean_contrast, refuse_crossover
from gbveval.numerics.groups import group_sizes, group_sums
from gbveval.numerics.least_squares import fit_least_squares
from gbveval.numerics.mean_difference import (
    MeanDifference,
    clustered,
    matched_pairs,
    neyman,
    paired_clusters,
    stratified,
)
from gbveval.numerics.sandwich import heteroskedasticity_robust

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]
Fit = Callable[[Trial, int, int, BoolArray], MeanDifference]


@register("difference_in_means")
@dataclass(frozen=True, slots=True)
class DifferenceInMeans:
    """Difference in means between arms, by the design that the trial declares.

    Estimates the average effect of being assigned, over participants. Which variance is used follows from the roles
    of the `Trial` and is said in words with the result:

    ======================  =============================================  ==========================
    roles                   variance                                       degrees of freedom
    ======================  =============================================  ==========================
    none                    Neyman, s1^2/n1 + s0^2/n0                      Welch
    weight                  HC2 of the weighted regression                 rows minus 2
    stratum                 Neyman within strata, weighted by size         units minus 2 x strata
    pair                    of the within-pair differences                 pairs minus 1
    cluster                 CR2 of the regression on the arm               Satterthwaite
    cluster and pair        of the weighted pair differences               pairs minus 1
    ======================  =============================================  ==========================

    With several arms each is compared with control; with several outcomes each is a row. The joint covariance covers
    all rows, so any contrast of arms or outcomes can be had with `Estimates.contrast` (by outcome and term).

    Notes
    -----
    **Identifies** the intention-to-treat effect when assignment was random and one unit's assignment does not change
    another's outcome.

    **Valid when** each arm has at least two independent units (in every stratum). Neyman's variance is conservative
    for the units of the sample and consistent for a superpopulation of them.

    **Do not use when** assignment probabilities differ between strata and `stratum` is not declared, when people in a
    cluster were assigned together and `cluster` is not declared, or when cluster size is informative and the average
    over clusters is wanted: this is the average over participants.

    References
    ----------
    Neyman (1923, translated 1990), Statistical Science 5. Bell and McCaffrey (2002), Survey Methodology 28.
    Imai, King and Nall (2009), Statistical Science 24. Imbens and Kolesar (2016), Review of Economics and Statistics
    98.

    Examples
    --------
    >>> frame = {"y": [1.0, 2.0, 3.0, 4.0, 5.0, 9.0], "arm": ["usual"] * 3 + ["new"] * 3}
    >>> trial = Trial(frame, outcome="y", arm="arm", control="usual")
    >>> row = DifferenceInMeans().estimate(trial)[0]
    >>> row.value, round(row.std_error, 4)
    (4.0, 1.633)
    """

    name: ClassVar[str] = "difference_in_means"

    def estimate(self, data: Trial, *, rng: np.random.Generator | None = None) -> Estimates:
        """Return the difference between each arm and control for each outcome.

        Parameters
        ----------
        data : Trial
            The checked trial.
        rng : numpy.random.Generator, optional
            Ignored: nothing is random.

        Raises
        ------
        DesignError
            If the roles are combined in a way that this estimator does not cover.
        IdentificationError
            If an arm is too small (in a stratum) for a variance.
        """
        refuse_crossover("DifferenceInMeans", data)
        fit, method, lonely = _choose(data)
        rows = []
        checks: list[Check] = []
        for outcome, name in enumerate(data.outcome_names):
            for arm in range(1, len(data.arms)):
                used = data.observed(outcome) & np.isin(data.arm, (0, arm))
                used, note = _positive_weights(data, used, name)
                checks += note
                used, note = _complete_pairs(data, used, arm, name)
                checks += note
                lonely(data, used, arm)
                found = fit(data, outcome, arm, used)
                contrast = Estimand("ITT", mean_contrast(data, outcome), "participant_average")
                clusters = None if data.cluster is None else int(np.unique(data.cluster.codes[used]).size)
                rows.append(
                    Row(
                        term=f"{data.arms[arm]} vs {data.arms[0]}",
                        outcome=name,
                        value=found.value,
                        influence=found.influence,
                        df=found.df,
                        estimand=contrast,
                        n_units=int(used.sum()),
                        n_clusters=clusters,
                        support=arm_support(data, outcome, used, (0, arm)),
                    )
                )
        return assemble(self, data, rows, method=method, checks=checks, blocks=_blocks(data))

    def estimate_batch(self, batch: ClusterBatch) -> BatchEstimates:
        """Return what `estimate` returns, for many simulated cluster trials, from their cluster totals.

        Parameters
        ----------
        batch : ClusterBatch
            Cluster sizes and arms, and the totals of each draw.
        """
        value, influence, df = clustered(batch.totals, batch.sizes, batch.treated)
        std_error = np.sqrt((influence**2).sum(axis=-1))
        contrast = "risk_difference" if batch.binary else "mean_difference"
        return BatchEstimates(value, std_error, np.full(value.shape, df), Estimand("ITT", contrast))


def _choose(data: Trial) -> tuple[Fit, Method, Callable[[Trial, BoolArray, int], None]]:
    """Return the numeric function, the method in words and the size check that fit the trial's roles."""
    roles = tuple(role for role in ("cluster", "pair", "stratum", "weight") if getattr(data, role) is not None)
    if roles not in _DESIGNS:
        raise DesignError(
            f"DifferenceInMeans does not cover a trial with {' and '.join(roles)} together. "
            "LinAdjusted takes strata as covariates within clusters; docs/roadmap.md says what is planned."
        )
    fit, std_error, small, reference, source = _DESIGNS[roles]
    method = Method(
        sample=all_samples(data),
        std_error=std_error,
        small_sample=small,
        reference=reference,
        inference_for=f"the participants of the trial (conservative) or a superpopulation of {_independent(data)}",
        assumptions=(
            "arms were assigned at random as declared",
            "one unit's assignment does not change another's outcome",
            "outcomes are missing for reasons unrelated to the outcome",
        ),
        source=source,
    )
    return fit, method, _SIZE_CHECKS[roles]


def _independent(data: Trial) -> str:
    """Return what was assigned independently."""
    if data.pair is not None:
        return "pairs of clusters" if data.cluster is not None else "pairs"
    return "clusters" if data.cluster is not None else "units"


def _positive_weights(data: Trial, used: BoolArray, name: str) -> tuple[BoolArray, list[Check]]:
    """Leave out units of weight zero, who take no part, and say how many."""
    if data.weight is None:
        return used, []
    keep = used & (data.weight > 0)
    lost = int(used.sum() - keep.sum())
    if lost == 0:
        return keep, []
    return keep, [Check(f"weights {name}", "info", f"{lost} units have weight zero and take no part.")]


def _blocks(data: Trial) -> NDArray[np.intp] | None:
    """Return which variance each independent unit belongs to: its arm (in its stratum); None for pairs and weights."""
    if data.pair is not None or data.weight is not None:
        return None
    if data.cluster is not None:
        arm_of = np.zeros(data.cluster.count, dtype=np.intp)
        arm_of[data.cluster.codes] = data.arm
        return arm_of
    return data.arm if data.stratum is None else data.stratum.codes * len(data.arms) + data.arm


def _complete_pairs(data: Trial, used: BoolArray, arm: int, name: str) -> tuple[BoolArray, list[Check]]:
    """Leave out pairs in which an outcome is missing on one side, and say how many."""
    if data.pair is None:
        return used, []
    sides = [np.bincount(data.pair.codes[used & (data.arm == a)], minlength=data.pair.count) > 0 for a in (0, arm)]
    complete = sides[0] & sides[1]
    lost = int(data.pair.count - complete.sum())
    keep = used & complete[data.pair.codes]
    if lost == 0:
        return keep, []
    left_out = int(used.sum() - keep.sum())
    text = (
        f"{lost} of {data.pair.count} pairs have no outcome on one side; they are left out ({left_out} observed units)."
    )
    return keep, [Check(f"complete pairs {name}", "warn", text)]


def _simple(data: Trial, outcome: int, arm: int, used: BoolArray) -> MeanDifference:
    found = neyman(data.outcomes[used, outcome], data.arm[used] == arm)
    return MeanDifference(found.value, _spread(found.influence, used), found.df)


def _spread(influence: FloatArray, used: BoolArray) -> FloatArray:
    """Return influence values for all units, zero for those not used."""
    whole = np.zeros(used.shape[0])
    whole[used] = influence
    return whole


def _weighted(data: Trial, outcome: int, arm: int, used: BoolArray) -> MeanDifference:
    assert data.weight is not None
    weights = data.weight[used]
    design = (data.arm[used] == arm).astype(float)[:, None]
    y = data.outcomes[used, outcome]
    fit = fit_least_squares(design, y, weights=weights)
    robust = heteroskedasticity_robust(fit, design, y, kind="HC2", weights=weights)
    return MeanDifference(float(fit.beta[1, 0]), _spread(robust.influence[:, 1, 0], used), float(used.sum() - 2))


def _stratified(data: Trial, outcome: int, arm: int, used: BoolArray) -> MeanDifference:
    assert data.stratum is not None
    # Strata count with all their units, in whichever arm, so that every arm is compared over the same people.
    sizes = group_sizes(data.stratum.codes[data.observed(outcome)], data.stratum.count)
    found = stratified(data.outcomes[used, outcome], data.arm[used] == arm, data.stratum.codes[used], sizes=sizes)
    return MeanDifference(found.value, _spread(found.influence, used), found.df)


def _paired(data: Trial, outcome: int, arm: int, used: BoolArray) -> MeanDifference:
    assert data.pair is not None
    present, codes = np.unique(data.pair.codes[used], return_inverse=True)
    found = matched_pairs(data.outcomes[used, outcome], data.arm[used] == arm, codes, present.size)
    whole = np.zeros(data.pair.count)
    whole[present] = found.influence
    return MeanDifference(found.value, whole, found.df)


def _cluster_sums(
    data: Trial, outcome: int, arm: int, used: BoolArray
) -> tuple[NDArray[np.intp], FloatArray, FloatArray, BoolArray]:
    """Return the clusters present, their totals, sizes and whether they are treated."""
    assert data.cluster is not None
    present, codes = np.unique(data.cluster.codes[used], return_inverse=True)
    sizes = group_sizes(codes, present.size)
    totals = group_sums(codes, data.outcomes[used, outcome], present.size)
    treated = group_sizes(codes[data.arm[used] == arm], present.size) > 0
    return present, totals, sizes, treated


def _clustered(data: Trial, outcome: int, arm: int, used: BoolArray) -> MeanDifference:
    assert data.cluster is not None
    present, totals, sizes, treated = _cluster_sums(data, outcome, arm, used)
    # Totals of centred outcomes: the sums of large numbers would lose the digits that the differences need.
    centre = totals.sum() / sizes.sum()
    shifted = data.outcomes[used, outcome] - centre
    _, codes = np.unique(data.cluster.codes[used], return_inverse=True)
    value, influence, df = clustered(group_sums(codes, shifted, present.size), sizes, treated)
    whole = np.zeros(data.cluster.count)
    whole[present] = influence
    return MeanDifference(float(value), whole, df)


def _paired_clusters(data: Trial, outcome: int, arm: int, used: BoolArray) -> MeanDifference:
    assert data.cluster is not None
    assert data.pair is not None
    present, totals, sizes, treated = _cluster_sums(data, outcome, arm, used)
    pair_of = np.zeros(data.cluster.count, dtype=np.intp)
    pair_of[data.cluster.codes] = data.pair.codes
    pairs, codes = np.unique(pair_of[present], return_inverse=True)
    found = paired_clusters(totals, sizes, treated, codes, pairs.size)
    whole = np.zeros(data.pair.count)
    whole[pairs] = found.influence
    return MeanDifference(found.value, whole, found.df)


def _need(count: int, least: int, what: str) -> None:
    if count < least:
        raise IdentificationError(
            f"{count} {what} with an observed outcome; at least {least} are needed for a standard error. "
            "Collapse groups, or describe the data without inference."
        )


def _need_units(data: Trial, used: BoolArray, arm: int) -> None:
    for code in (0, arm):
        _need(int((used & (data.arm == code)).sum()), 2, f"units in arm {data.arms[code]!r}")


def _need_strata(data: Trial, used: BoolArray, arm: int) -> None:
    assert data.stratum is not None
    counts = [np.bincount(data.stratum.codes[used & (data.arm == a)], minlength=data.stratum.count) for a in (0, arm)]
    present = (counts[0] + counts[1]) > 0
    short = int((present & (np.minimum(counts[0], counts[1]) < 2)).sum())
    if short:
        raise IdentificationError(
            f"{short} of {int(present.sum())} strata have fewer than two observed units in an arm, so their variance "
            "cannot be estimated. Merge small strata, or declare `pair` if every stratum is a matched pair."
        )


def _need_pairs(data: Trial, used: BoolArray, arm: int) -> None:
    assert data.pair is not None
    _need(int(np.unique(data.pair.codes[used]).size), 2, "complete pairs")


def _need_clusters(data: Trial, used: BoolArray, arm: int) -> None:
    assert data.cluster is not None
    for code in (0, arm):
        present = np.unique(data.cluster.codes[used & (data.arm == code)]).size
        _need(int(present), 2, f"clusters in arm {data.arms[code]!r}")


_SIZE_CHECKS: dict[tuple[str, ...], Callable[[Trial, BoolArray, int], None]] = {
    (): _need_units,
    ("weight",): _need_units,
    ("stratum",): _need_strata,
    ("pair",): _need_pairs,
    ("cluster",): _need_clusters,
    ("cluster", "pair"): _need_pairs,
}

# Numeric function, standard error, small-sample correction, reference and source for each combination of roles.
_DESIGNS: dict[tuple[str, ...], tuple[Fit, str, str, str, str]] = {
    (): (
        _simple,
        "Neyman, separate variances in each arm",
        "none",
        "t with Welch's degrees of freedom",
        "Neyman 1923",
    ),
    ("weight",): (
        _weighted,
        "HC2 of the weighted regression on the arm",
        "HC2",
        "t with rows minus 2 degrees of freedom",
        "MacKinnon and White 1985",
    ),
    ("stratum",): (
        _stratified,
        "Neyman within strata, strata weighted by size",
        "none",
        "t with units minus twice the strata degrees of freedom",
        "Neyman 1923; Imbens and Rubin 2015",
    ),
    ("pair",): (
        _paired,
        "from the within-pair differences",
        "none",
        "t with pairs minus one degrees of freedom",
        "Imai 2008",
    ),
    ("cluster",): (
        _clustered,
        "CR2, clustered by the unit of assignment",
        "CR2 (bias-reduced linearisation, identity working model)",
        "t with Satterthwaite degrees of freedom",
        "Bell and McCaffrey 2002; Imbens and Kolesar 2016",
    ),
    ("cluster", "pair"): (
        _paired_clusters,
        "from the size-weighted pair differences",
        "pairs over pairs minus one",
        "t with pairs minus one degrees of freedom",
        "Imai, King and Nall 2009",
    ),
}
