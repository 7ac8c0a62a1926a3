"""Hides how a trial's people become strata whose random level is the effect of one arm on one outcome."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gbveval.core.errors import DesignError, IdentificationError
from gbveval.data._frame import Labels, plural
from gbveval.data.trial import Trial
from gbveval.estimators.randomised._linear import stratum_columns
from gbveval.factors._domains import Domains, crossed_domains
from gbveval.factors._strata import FEWEST, LEAST_TOLD, main_effects, overdispersed
from gbveval.numerics.effects_by_stratum import known_strata, mean_strata, odds_strata, rate_strata
from gbveval.numerics.effects_in_clusters import ClusterEffects, effects_in_clusters
from gbveval.numerics.groups import group_sizes, group_sums
from gbveval.numerics.mixed_linear import NoMaximumError
from gbveval.numerics.random_strata import GIVEN_MARGINS, Strata, StrataFit, fit_strata
from gbveval.numerics.strata_inference import (
    SpreadNodes,
    StratumLevels,
    VarianceDraws,
    spread_nodes,
    stratum_levels,
    variance_draws,
    with_shared_error,
)

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]
IntArray = NDArray[np.intp]
DRAWS = 4000
# Possible tables over all cells: these take some minutes, and ten times as many an hour.
MOST_TABLES = 4_000_000


@dataclass(frozen=True, slots=True, eq=False)
class TrialStrata:
    """The intersections of a trial's subgroups.

    Attributes
    ----------
    columns : tuple of str
        That define them.
    domains : Domains
        Of every randomised unit.
    levels : ndarray, shape (strata, p)
        Intercept and main effects.
    names : tuple of str
        Of the main effects.
    """

    columns: tuple[str, ...]
    domains: Domains
    levels: FloatArray
    names: tuple[str, ...]


@dataclass(frozen=True, slots=True, eq=False)
class ArmEffects:
    """What was found of one arm and outcome.

    Attributes
    ----------
    arm, outcome : int
        Which.
    used : ndarray of bool, shape (units,)
        Units of the arm and of control with the outcome.
    shares : ndarray, shape (strata,)
        Of the strata among them.
    untold : int
        Strata whose own people say nothing of the effect.
    fit, draws, levels
        Greatest likelihood, variances between effects, effects of strata.
    sparse : bool
        Whether events are few for so many main effects.
    overdispersed : bool
        Whether counts, of which a ratio of rates was asked, vary more than Poisson counts.
    clusters : ClusterEffects, optional
        What was estimated first, where clusters were assigned.
    """

    arm: int
    outcome: int
    used: BoolArray
    shares: FloatArray
    untold: int
    fit: StrataFit
    sparse: bool
    overdispersed: bool
    draws: VarianceDraws
    levels: StratumLevels
    clusters: ClusterEffects | None


def trial_strata(data: Trial, by: tuple[str, ...]) -> TrialStrata:
    """Return the strata of some of a trial's subgroup columns (all by default)."""
    columns = by or data.subgroup_names
    unknown = [name for name in columns if name not in data.subgroup_names]
    if unknown:
        have = ", ".join(data.subgroup_names) or "none are declared"
        raise DesignError(f"by names {', '.join(map(repr, unknown))}; the trial's subgroups are: {have}.")
    if len(columns) < 2:
        raise DesignError(
            "Intersections need two columns of the role `subgroup` at least, known before assignment; this trial "
            f"declares {len(data.subgroup_names)}. Use SubgroupEffects for one."
        )
    places = [data.subgroup_names.index(name) for name in columns]
    labels = [Labels(data.subgroups[:, k].astype(np.intp), data.subgroup_levels[k]) for k in places]
    domains, place = crossed_domains(data.n, labels, columns)
    levels, names = main_effects(labels, columns, place)
    count = len(domains.labels)
    if count < FEWEST:
        raise IdentificationError(
            f"{plural(count, 'stratum')} of {domains.name} hold units; at least {FEWEST} are needed to learn how much "
            "effects differ. Use SubgroupEffects."
        )
    if levels.shape[1] >= count or np.linalg.matrix_rank(levels) < levels.shape[1]:
        raise IdentificationError(
            f"The main effects of {domains.name} cannot be told apart, or leave nothing to depart from them, in "
            f"{count} strata. Merge categories, or leave a column out."
        )
    return TrialStrata(tuple(columns), domains, levels, names)


def arm_effects(
    data: Trial, strata: TrialStrata, contrast: str, points: int, place: tuple[int, int], rng: np.random.Generator
) -> ArmEffects:
    """Return the effects of one arm on one outcome; `place` is (outcome, arm)."""
    outcome, arm = place
    used = data.observed(outcome) & ((data.arm == 0) | (data.arm == arm))
    clusters = None
    if data.cluster is not None:
        clusters, sums = _clustered(data, strata, outcome, used)
    else:
        sums = _cells(data, strata, contrast, outcome, used)
    _check_told(strata, sums)
    try:
        fit = fit_strata(sums, points)
        nodes = spread_nodes(sums, fit, points)
    except NoMaximumError as error:
        raise IdentificationError(
            f"The model of effects has no estimate: {error}. In some category all events, or none, are the treated's; "
            "merge its categories, or ask for contrast='difference'."
        ) from error
    draws = variance_draws(sums, nodes, DRAWS, rng)
    counts = group_sizes(strata.domains.codes[used], len(strata.domains.labels))
    return ArmEffects(
        arm=arm,
        outcome=outcome,
        used=used,
        shares=counts / counts.sum(),
        untold=len(counts) - len(np.unique(sums.place)),
        fit=fit,
        sparse=sums.family in GIVEN_MARGINS and nodes.told < LEAST_TOLD,
        overdispersed=contrast == "rate_ratio" and _overdispersed(data, strata, outcome, used),
        draws=draws,
        levels=stratum_levels(sums, _widened(nodes, clusters)),
        clusters=clusters,
    )


def _overdispersed(data: Trial, strata: TrialStrata, outcome: int, used: BoolArray) -> bool:
    columns = [strata.domains.codes, data.arm, *([] if data.stratum is None else [data.stratum.codes])]
    cell = np.unique(np.column_stack(columns)[used], axis=0, return_inverse=True)[1].reshape(-1)
    return overdispersed(data.outcomes[used, outcome], cell, None if data.exposure is None else data.exposure[used])


def _widened(nodes: SpreadNodes, clusters: ClusterEffects | None) -> SpreadNodes:
    if clusters is None or not np.isfinite(clusters.shared_df):
        return nodes
    return with_shared_error(nodes, clusters.shared_variance, clusters.shared_df)


def _cells(data: Trial, strata: TrialStrata, contrast: str, outcome: int, used: BoolArray) -> Strata:
    """Return what is seen in each stratum, within each stratum of assignment."""
    stratum, y = strata.domains.codes[used], data.outcomes[used, outcome]
    treated = (data.arm[used] > 0).astype(np.intp)
    block = np.zeros(y.size, dtype=np.intp) if data.stratum is None else data.stratum.codes[used]
    pairs, cell = np.unique(np.column_stack([stratum, block]), axis=0, return_inverse=True)
    cell, where = cell.reshape(-1), pairs[:, 0].astype(np.intp)

    def table(values: FloatArray) -> FloatArray:
        return group_sums(2 * cell + treated, values, 2 * len(pairs)).reshape(-1, 2)

    size, total = table(np.ones_like(y)), table(y)
    both = (size > 0).all(axis=1)
    if contrast == "odds_ratio":
        possible = np.minimum(size[:, 1], total.sum(axis=1)).max(initial=0.0)
        _check_size(len(pairs) * possible)
        return odds_strata(total[both], size[both], where[both], strata.levels)
    if contrast == "rate_ratio":
        time = size if data.exposure is None else table(data.exposure[used])
        return rate_strata(total[both], time[both], where[both], strata.levels)
    mean = total / np.maximum(size, 1.0)
    residual = y - mean[cell, treated]
    df = float(np.maximum(size - 1.0, 0.0).sum())
    within = float(residual @ residual)
    if df < 1.0 or within <= 1e-20 * float(y @ y):
        raise IdentificationError(
            f"Column {data.outcome_names[outcome]!r} (outcome) does not vary within arms and strata, so differences "
            "have no standard error."
        )
    return mean_strata(mean[both], size[both], within, df, where[both], strata.levels)


def _check_size(tables: float) -> None:
    if tables > MOST_TABLES:
        raise DesignError(
            f"{int(tables):,} possible tables would have to be summed (at most {MOST_TABLES:,}). With so many events "
            "contrast='difference' needs no such sums."
        )


def _clustered(data: Trial, strata: TrialStrata, outcome: int, used: BoolArray) -> tuple[ClusterEffects, Strata]:
    """Return effects from a linear mixed model, of strata with people in both arms."""
    assert data.cluster is not None
    code, treated = strata.domains.codes, data.arm > 0
    for of_arm, name in ((~treated, "control"), (treated, "an arm")):
        if np.unique(data.cluster.codes[used & of_arm]).size < 2:
            raise IdentificationError(f"Fewer than two clusters of {name} have the outcome; two are needed.")
    of_arms = group_sizes((2 * code + treated)[used], 2 * len(strata.domains.labels)).reshape(-1, 2)
    both: BoolArray = np.all(of_arms > 0, axis=1)
    where, renumbered = np.flatnonzero(both), np.cumsum(both) - 1
    kept = used & both[code]
    try:
        found = effects_in_clusters(
            data.outcomes[kept, outcome],
            treated[kept],
            renumbered[code[kept]],
            data.cluster.codes[kept],
            stratum_columns(data, kept)[0],
        )
    except (NoMaximumError, np.linalg.LinAlgError) as error:
        raise IdentificationError(
            f"The effects of {len(where)} strata cannot be estimated together over clusters: {error}. Merge categories."
        ) from error
    return found, known_strata(found.estimate, found.covariance, where, strata.levels)


def _check_told(strata: TrialStrata, sums: Strata) -> None:
    """Refuse main effects that those strata do not tell apart whose people say anything."""
    p = strata.levels.shape[1]
    told = len(np.unique(sums.place))
    if told < max(FEWEST, p + 1) or np.linalg.matrix_rank(sums.X) < p:
        raise IdentificationError(
            f"{told} of {len(strata.domains.labels)} strata of {strata.domains.name} say anything of the effect "
            f"(people, and events, in both arms), which does not tell {p} coefficients apart. Merge categories."
        )
