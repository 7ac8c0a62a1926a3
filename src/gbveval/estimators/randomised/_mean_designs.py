"""How means are compared for each combination of roles: the numeric function, what it needs, and its words."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from gbveval.core.errors import IdentificationError
from gbveval.data.trial import Trial
from gbveval.numerics.groups import group_sizes, group_sums
from gbveval.numerics.least_squares import fit_least_squares
from gbveval.numerics.mean_difference import (
    MeanDifference,
    clustered,
    matched_pairs,
    neyman,
    paired_clusters,
    stratified,
    stratified_clusters,
)
from gbveval.numerics.sandwich import heteroskedasticity_robust

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]
Fit = Callable[[Trial, int, int, BoolArray], MeanDifference]
SizeCheck = Callable[[Trial, int, BoolArray, int], None]


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


def _centred_sums(
    data: Trial, outcome: int, arm: int, used: BoolArray
) -> tuple[NDArray[np.intp], FloatArray, FloatArray, BoolArray]:
    """Return the same with totals of centred outcomes: sums of large numbers would lose the digits of differences."""
    assert data.cluster is not None
    present, totals, sizes, treated = _cluster_sums(data, outcome, arm, used)
    shifted = data.outcomes[used, outcome] - totals.sum() / sizes.sum()
    _, codes = np.unique(data.cluster.codes[used], return_inverse=True)
    return present, group_sums(codes, shifted, present.size), sizes, treated


def _clustered(data: Trial, outcome: int, arm: int, used: BoolArray) -> MeanDifference:
    assert data.cluster is not None
    present, totals, sizes, treated = _centred_sums(data, outcome, arm, used)
    value, influence, df = clustered(totals, sizes, treated)
    whole = np.zeros(data.cluster.count)
    whole[present] = influence
    return MeanDifference(float(value), whole, df)


def _stratified_clusters(data: Trial, outcome: int, arm: int, used: BoolArray) -> MeanDifference:
    assert data.cluster is not None
    assert data.stratum is not None
    present, totals, sizes, treated = _centred_sums(data, outcome, arm, used)
    people = group_sizes(data.stratum.codes[data.observed(outcome)], data.stratum.count)
    found = stratified_clusters(totals, sizes, treated, _stratum_of(data)[present], weights=people)
    whole = np.zeros(data.cluster.count)
    whole[present] = found.influence
    return MeanDifference(found.value, whole, found.df)


def _stratum_of(data: Trial) -> NDArray[np.intp]:
    """Return the stratum of every cluster."""
    assert data.cluster is not None
    assert data.stratum is not None
    stratum = np.zeros(data.cluster.count, dtype=np.intp)
    stratum[data.cluster.codes] = data.stratum.codes
    return stratum


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


def _need_units(data: Trial, outcome: int, used: BoolArray, arm: int) -> None:
    for code in (0, arm):
        _need(int((used & (data.arm == code)).sum()), 2, f"units in arm {data.arms[code]!r}")


def _need_strata(data: Trial, outcome: int, used: BoolArray, arm: int) -> None:
    assert data.stratum is not None
    counts = [np.bincount(data.stratum.codes[used & (data.arm == a)], minlength=data.stratum.count) for a in (0, arm)]
    # A stratum that is seen in a third arm only counts in the weights too, and so needs both of these.
    present = np.bincount(data.stratum.codes[data.observed(outcome)], minlength=data.stratum.count) > 0
    short = int((present & (np.minimum(counts[0], counts[1]) < 2)).sum())
    if short:
        raise IdentificationError(
            f"{short} of {int(present.sum())} strata have fewer than two observed units in an arm, so their variance "
            "cannot be estimated. Merge small strata, or declare `pair` if every stratum is a matched pair."
        )


def _need_pairs(data: Trial, outcome: int, used: BoolArray, arm: int) -> None:
    assert data.pair is not None
    _need(int(np.unique(data.pair.codes[used]).size), 2, "complete pairs")


def _need_clusters(data: Trial, outcome: int, used: BoolArray, arm: int) -> None:
    assert data.cluster is not None
    for code in (0, arm):
        present = np.unique(data.cluster.codes[used & (data.arm == code)]).size
        _need(int(present), 2, f"clusters in arm {data.arms[code]!r}")


def _need_clusters_in_strata(data: Trial, outcome: int, used: BoolArray, arm: int) -> None:
    assert data.cluster is not None
    assert data.stratum is not None
    stratum = _stratum_of(data)
    counts = []
    for code in (0, arm):
        present = np.unique(data.cluster.codes[used & (data.arm == code)])
        counts.append(np.bincount(stratum[present], minlength=data.stratum.count))
    seen = np.bincount(data.stratum.codes[data.observed(outcome)], minlength=data.stratum.count) > 0
    short = int((seen & (np.minimum(counts[0], counts[1]) < 2)).sum())
    if short:
        raise IdentificationError(
            f"{short} of {int(seen.sum())} strata have fewer than two clusters with an outcome in an arm, so how "
            "clusters vary there cannot be estimated. Merge strata, use Ancova or LinAdjusted, which take strata as "
            "covariates, or declare `pair` if every stratum is a matched pair of clusters."
        )


SIZE_CHECKS: dict[tuple[str, ...], SizeCheck] = {
    (): _need_units,
    ("weight",): _need_units,
    ("stratum",): _need_strata,
    ("pair",): _need_pairs,
    ("cluster",): _need_clusters,
    ("cluster", "stratum"): _need_clusters_in_strata,
    ("cluster", "pair"): _need_pairs,
}

# Numeric function, standard error, small-sample correction, reference and source for each combination of roles.
DESIGNS: dict[tuple[str, ...], tuple[Fit, str, str, str, str]] = {
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
    ("cluster", "stratum"): (
        _stratified_clusters,
        "CR2 within strata, clustered by the unit of assignment, strata weighted by size",
        "CR2 (bias-reduced linearisation, identity working model)",
        "t with Satterthwaite degrees of freedom over strata and arms",
        "Neyman 1923; Bell and McCaffrey 2002",
    ),
    ("cluster", "pair"): (
        _paired_clusters,
        "from the size-weighted pair differences",
        "pairs over pairs minus one",
        "t with pairs minus one degrees of freedom",
        "Imai, King and Nall 2009",
    ),
}
