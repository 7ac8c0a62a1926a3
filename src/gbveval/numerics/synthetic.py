"""Synthetic controls and synthetic difference-in-differences: one block of treated units, several cohorts, replicates.

With controls i, periods before treatment 1..T0 and treated mean path y_t, unit weights w minimise

    sum_t (w_0 + w' Y_t - y_t)^2 / T0 + zeta^2 |w|^2  over the simplex,

and, for synthetic difference-in-differences, time weights l minimise sum_i (l_0 + l' Y_i,before - mean of Y_i
after)^2 / N0 + (1e-6 sigma)^2 |l|^2, the penalty only making them unique. The effect in period t is y_t - w' Y_t less
the l-weighted mean of that gap before treatment. zeta = (N1 T1)^(1/4) sigma with sigma the standard deviation (n - 1)
of the first differences of the controls before treatment. A synthetic control has no w_0, no time weights, and zeta =
1e-6 sigma.

With several cohorts each is a block with the controls that are never treated; the average effect weighs them by their
treated units times periods (Clarke, Pailanir, Athey and Imbens 2023).

References: Abadie, Diamond and Hainmueller (2010), JASA 105; Arkhangelsky, Athey, Hirshberg, Imbens and Wager (2021),
American Economic Review 111(12), algorithms 1 to 4.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from gbveval.numerics.simplex_weights import simplex_weights

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.intp]
# Of sigma: penalties that only make weights unique.
SLIGHT = 1e-6


@dataclass(frozen=True, slots=True)
class SyntheticSettings:
    """How weights are chosen.

    Attributes
    ----------
    intercept : bool
        Whether the synthetic path may differ from the treated one by a constant.
    time_weights : bool
        Whether periods before treatment are weighted and the gap in them is taken off.
    unit_penalty, time_penalty : float or None
        zeta in units of the outcome; None for the defaults; infinite for equal weights.
    """

    intercept: bool
    time_weights: bool
    unit_penalty: float | None = None
    time_penalty: float | None = None


@dataclass(frozen=True, eq=False, slots=True)
class Block:
    """One cohort against its controls.

    Attributes
    ----------
    unit_weight : ndarray, shape (controls,)
    time_weight : ndarray, shape (periods before,)
        Zeros for a synthetic control, equal for a demeaned one.
    gap : ndarray, shape (periods,)
        Treated mean less synthetic path.
    path : ndarray, shape (periods,)
        The gap less its weighted mean before treatment: the effect, from the first treated period on.
    n_before : int
    unit_penalty : float
    optimality : float
        The larger of the two gaps of `SimplexWeights`.
    centred : bool
        Whether the gap may have a mean of its own.
    """

    unit_weight: FloatArray
    time_weight: FloatArray
    gap: FloatArray
    path: FloatArray
    n_before: int
    unit_penalty: float
    optimality: float
    centred: bool

    @property
    def fit(self) -> float:
        """Root mean square of the gap before treatment, around its mean where it may have one."""
        before = self.gap[: self.n_before]
        return float(np.sqrt(np.mean((before - before.mean()) ** 2 if self.centred else before**2)))


def noise_level(controls: FloatArray, n_before: int) -> float:
    """Return the standard deviation of first differences of the controls before treatment."""
    steps = np.diff(controls[:, :n_before], axis=1)
    return float(np.std(steps, ddof=1)) if steps.size > 1 else 0.0


def block(
    controls: FloatArray, treated: FloatArray, n_treated: float, n_before: int, settings: SyntheticSettings
) -> Block:
    """Return the weights and the path of one cohort.

    Parameters
    ----------
    controls : ndarray, shape (controls, periods)
    treated : ndarray, shape (periods,)
        Mean path of the cohort.
    n_treated : float
        Units of the cohort.
    n_before : int
        Periods before treatment.
    settings : SyntheticSettings
    """
    before, after = controls[:, :n_before], controls[:, n_before:]
    sigma = noise_level(controls, n_before)
    usual = (n_treated * after.shape[1]) ** 0.25 if settings.time_weights else SLIGHT
    zeta = usual * sigma if settings.unit_penalty is None else settings.unit_penalty
    units = simplex_weights(before.T, treated[:n_before], penalty=zeta, intercept=settings.intercept)
    # Without time weights an intercept is the plain mean of the gap before treatment.
    times, gap_there = np.full(n_before, 1.0 / n_before if settings.intercept else 0.0), 0.0
    if settings.time_weights:
        slight = SLIGHT * sigma if settings.time_penalty is None else settings.time_penalty
        found = simplex_weights(before, after.mean(axis=1), penalty=slight, intercept=True)
        times, gap_there = found.weight, found.gap
    gap = treated - units.weight @ controls
    level = times @ gap[:n_before]
    worst = max(units.gap, gap_there)
    return Block(units.weight, times, gap, gap - level, n_before, zeta, worst, settings.intercept)


@dataclass(frozen=True, eq=False, slots=True)
class Rollout:
    """Complete paths, with the rows that are estimated from them.

    Attributes
    ----------
    y : ndarray, shape (units, periods)
    cohort : ndarray, shape (units,)
        Infinite for controls.
    periods : ndarray, shape (periods,)
    cohorts : ndarray
        First treated periods.
    events : ndarray
        Event times.
    """

    y: FloatArray
    cohort: FloatArray
    periods: FloatArray
    cohorts: FloatArray
    events: FloatArray

    def blocks(self, y: FloatArray, cohort: FloatArray, settings: SyntheticSettings) -> dict[float, Block]:
        """Return the blocks of the cohorts that are there."""
        controls = y[np.isinf(cohort)]
        found = {}
        for g in self.cohorts:
            mine = cohort == g
            if mine.any():
                n_before = int((self.periods < g).sum())
                found[float(g)] = block(controls, y[mine].mean(axis=0), float(mine.sum()), n_before, settings)
        return found

    def rows(self, blocks: Mapping[float, Block], size: Mapping[float, float]) -> FloatArray:
        """Return the average effect, those of cohorts, and paths by event time; NaN where a cohort is not there."""
        own = np.full(self.cohorts.size, np.nan)
        total, weight = 0.0, 0.0
        along, units = np.zeros(self.events.size), np.zeros(self.events.size)
        for k, g in enumerate(self.cohorts):
            if float(g) not in blocks:
                continue
            found, n = blocks[float(g)], size[float(g)]
            effect = found.path[found.n_before :]
            own[k] = effect.mean()
            total, weight = total + n * effect.sum(), weight + n * effect.size
            place = np.searchsorted(self.events, self.periods - g)
            along[place] += n * found.path
            units[place] += n
        events = np.divide(along, units, out=np.full(units.size, np.nan), where=units > 0)
        return np.concatenate([[total / weight], own, events])


def rollout(y: FloatArray, cohort: FloatArray, periods: FloatArray) -> Rollout:
    """Return paths with the labels of their rows."""
    cohorts = np.unique(cohort[np.isfinite(cohort)])
    return Rollout(y, cohort, periods, cohorts, np.unique((periods - cohorts[:, None]).ravel()))


def cohort_sizes(cohort: FloatArray) -> dict[float, float]:
    """Return units by cohort, controls left out."""
    values, counts = np.unique(cohort[np.isfinite(cohort)], return_counts=True)
    return {float(g): float(n) for g, n in zip(values, counts, strict=True)}


Observer = Callable[[Mapping[float, Block]], None]


def placebo_rows(
    study: Rollout, settings: SyntheticSettings, labels: Sequence[FloatArray] | Iterator[FloatArray], seen: Observer
) -> FloatArray:
    """Return the rows when first treated periods are given to controls (algorithm 4), shape (draws, rows).

    Parameters
    ----------
    study : Rollout
    settings : SyntheticSettings
    labels : iterable of ndarray, shape (controls,)
        First treated periods, infinite for those that stay controls.
    seen : callable
        Is shown the blocks of each draw.
    """
    y = study.y[np.isinf(study.cohort)]
    found = []
    for cohort in labels:
        blocks = study.blocks(y, cohort, settings)
        seen(blocks)
        found.append(study.rows(blocks, cohort_sizes(cohort)))
    return np.array(found)


def bootstrap_rows(study: Rollout, settings: SyntheticSettings, n_draws: int, rng: np.random.Generator) -> FloatArray:
    """Return the rows of samples of units drawn with replacement (algorithm 2), shape (draws, rows).

    Samples without a treated unit or with fewer than two controls are drawn again.
    """
    n = study.cohort.size
    found: list[FloatArray] = []
    while len(found) < n_draws:
        chosen = np.sort(rng.integers(0, n, n))
        cohort = study.cohort[chosen]
        if np.isinf(cohort).all() or np.isinf(cohort).sum() < 2:
            continue
        blocks = study.blocks(study.y[chosen], cohort, settings)
        found.append(study.rows(blocks, cohort_sizes(cohort)))
    return np.array(found)


def jackknife_rows(study: Rollout, blocks: Mapping[float, Block]) -> FloatArray:
    """Return the rows without each unit in turn, weights kept (algorithm 3), shape (units, rows)."""
    controls = np.flatnonzero(np.isinf(study.cohort))
    found = []
    for out in range(study.cohort.size):
        keep = np.arange(study.cohort.size) != out
        kept = {}
        for g, own in blocks.items():
            weight = own.unit_weight * keep[controls]
            gap = study.y[(study.cohort == g) & keep].mean(axis=0) - weight / weight.sum() @ study.y[controls]
            level = own.time_weight @ gap[: own.n_before]
            kept[g] = replace(own, unit_weight=weight / weight.sum(), gap=gap, path=gap - level)
        found.append(study.rows(kept, cohort_sizes(study.cohort[keep])))
    return np.array(found)


def replicate_covariance(rows: FloatArray) -> FloatArray:
    """Return the covariance of draws around their mean, divided by the draws in which both rows are defined."""
    known = np.isfinite(rows)
    count = known.astype(float).T @ known
    mean = np.where(known, rows, 0.0).sum(axis=0) / np.maximum(known.sum(axis=0), 1)
    away = np.where(known, rows - mean, 0.0)
    return np.asarray(away.T @ away / np.where(count > 0, count, np.nan))


def jackknife_covariance(rows: FloatArray) -> FloatArray:
    """Return (n - 1)/n times the sum of squares of the rows without each unit around their mean."""
    n = rows.shape[0]
    away = rows - rows.mean(axis=0)
    return np.asarray((n - 1.0) / n * away.T @ away)
