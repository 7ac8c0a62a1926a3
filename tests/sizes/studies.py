"""Cluster trials without any effect: few clusters, equal or very unequal in size, three kinds of outcome."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gbveval.data._frame import Labels
from gbveval.data.trial import Trial
from gbveval.numerics.inference import normal_quantile

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.intp]

CLUSTERS = (6, 10, 20)
SIZES = ("equal", "unequal")
ICC = 0.05
MEAN_SIZE = 20
RISK = 0.3
# Mean count, and the variance of each person's gamma multiplier; that of a cluster's gives an ICC of 0.05.
COUNT, PERSON_VARIANCE, CLUSTER_VARIANCE = 1.5, 0.7, 0.0747
COVARIATE_CORRELATION = 0.4
PERIODS = 4
TAKE_UP = 0.8


@dataclass(frozen=True, slots=True)
class Cell:
    """One setting in which size is measured.

    Parameters
    ----------
    clusters : int
        Clusters in both arms together; half of them are treated.
    sizes : str
        "equal", or "unequal": quantiles of a log-normal with a coefficient of variation of about one.
    outcome : str
        "continuous" (normal), "binary" (beta-binomial) or "count" (gamma-Poisson).
    """

    clusters: int
    sizes: str
    outcome: str


@dataclass(frozen=True, slots=True)
class Study:
    """What a trial has besides clusters and an outcome.

    Parameters
    ----------
    covariate : bool
        A covariate of the person that is correlated with the outcome.
    group : bool
        A yes-or-no covariate of the person, for subgroups.
    strata : bool
        Two strata within which clusters are assigned.
    second : bool
        A second outcome, correlated with the first.
    take_up : bool
        Treatment received by four in five of those assigned, and by nobody else.
    attrition : bool
        A fifth of the outcomes missing, depending on the covariate.
    wedge : bool
        A stepped wedge of four periods.
    """

    covariate: bool = False
    group: bool = False
    strata: bool = False
    second: bool = False
    take_up: bool = False
    attrition: bool = False
    wedge: bool = False


@dataclass(frozen=True, slots=True)
class SubgroupStudy(Study):
    """A trial whose people belong to three subgroups, which cut across clusters.

    Parameters
    ----------
    shares : tuple of float
        Share of each.
    """

    shares: tuple[float, ...] = (0.5, 0.3, 0.2)


def cluster_sizes(cell: Cell) -> IntArray:
    """Return people a cluster, the same in every draw."""
    if cell.sizes == "equal":
        return np.full(cell.clusters, MEAN_SIZE, dtype=np.intp)
    spread = np.exp(normal_quantile((np.arange(cell.clusters) + 0.5) / cell.clusters))
    return np.maximum(np.round(MEAN_SIZE * spread / spread.mean()), 2).astype(np.intp)


def draw(cell: Cell, study: Study, rng: np.random.Generator) -> Trial:
    """Return one trial in which the intervention changes nothing."""
    sizes = cluster_sizes(cell)
    cluster = np.repeat(np.arange(cell.clusters), sizes)
    y = _outcome(cell, cluster, rng)
    values = {"cluster": Labels(cluster, tuple(f"c{g:02d}" for g in range(cell.clusters)))}
    outcomes = [y]
    if study.wedge:
        return _wedge(cell, cluster, y, rng)
    treated = _assign(cell, study, rng)[cluster]
    columns = []
    if study.covariate or study.attrition:
        columns.append(("x", _related(cell, y, rng)))
    if study.group:
        columns.append(("g", (rng.random(y.size) < 0.5).astype(float)))
    if study.strata:
        values["stratum"] = Labels(np.asarray(cluster % 2), ("s0", "s1"))
    if study.second:
        outcomes.append(_related(cell, y, rng))
    if study.attrition:
        outcomes[0] = np.where(rng.random(y.size) < 1.0 / (1.0 + np.exp(-1.5 - 0.7 * columns[0][1])), y, np.nan)
    extra: dict[str, Any] = {}
    if study.take_up:
        extra["received"] = (treated * (rng.random(y.size) < TAKE_UP)).astype(float)
    if isinstance(study, SubgroupStudy):
        codes = rng.choice(len(study.shares), y.size, p=study.shares)
        levels = tuple(f"g{number}" for number in range(len(study.shares)))
        extra = {"subgroup_names": ("group",), "subgroup_levels": (levels,), "subgroups": codes[:, None]}
    return Trial._trusted(
        outcome_names=tuple(f"y{number}" for number in range(len(outcomes))),
        outcomes=np.column_stack(outcomes),
        arms=("usual", "new"),
        arm=treated,
        covariate_names=tuple(name for name, _ in columns),
        covariates=np.column_stack([column for _, column in columns]) if columns else np.zeros((y.size, 0)),
        **values,
        **extra,
    )


def _assign(cell: Cell, study: Study, rng: np.random.Generator) -> IntArray:
    """Return the arm of every cluster: half of them treated (in each stratum, as nearly as can be)."""
    arm = np.zeros(cell.clusters, dtype=np.intp)
    if not study.strata:
        arm[rng.permutation(cell.clusters)[: cell.clusters // 2]] = 1
        return arm
    for stratum in (0, 1):
        members = rng.permutation(np.arange(stratum, cell.clusters, 2))
        arm[members[: (members.size + stratum) // 2]] = 1
    return arm


def _outcome(cell: Cell, cluster: IntArray, rng: np.random.Generator) -> FloatArray:
    groups, n = cell.clusters, cluster.size
    if cell.outcome == "continuous":
        return np.sqrt(ICC) * rng.normal(size=groups)[cluster] + np.sqrt(1.0 - ICC) * rng.normal(size=n)
    if cell.outcome == "binary":
        # A beta-binomial with parameters a and b has an intracluster correlation of 1 / (a + b + 1).
        total = 1.0 / ICC - 1.0
        risk = rng.beta(RISK * total, (1.0 - RISK) * total, groups)
        return (rng.random(n) < risk[cluster]).astype(float)
    shared = rng.gamma(1.0 / CLUSTER_VARIANCE, CLUSTER_VARIANCE, groups)[cluster]
    own = rng.gamma(1.0 / PERSON_VARIANCE, PERSON_VARIANCE, n)
    return rng.poisson(COUNT * shared * own).astype(float)


def _related(cell: Cell, y: FloatArray, rng: np.random.Generator) -> FloatArray:
    """Return a variable of the person that is correlated with the outcome, and not affected by the arm."""
    centre, spread = {"continuous": (0.0, 1.0), "binary": (RISK, np.sqrt(RISK * (1.0 - RISK)))}.get(
        cell.outcome, (COUNT, np.sqrt(COUNT + COUNT**2 * (PERSON_VARIANCE + CLUSTER_VARIANCE)))
    )
    shared = COVARIATE_CORRELATION * (y - centre) / spread
    return np.asarray(shared + np.sqrt(1.0 - COVARIATE_CORRELATION**2) * rng.normal(size=y.size))


def _wedge(cell: Cell, cluster: IntArray, y: FloatArray, rng: np.random.Generator) -> Trial:
    """Return a stepped wedge in which a cluster's people are spread over the periods in turn."""
    first = np.r_[True, cluster[1:] != cluster[:-1]]
    within = np.arange(cluster.size) - np.maximum.accumulate(np.where(first, np.arange(cluster.size), 0))
    period = (within % PERIODS).astype(np.intp)
    sequence = rng.permutation(np.arange(cell.clusters) % (PERIODS - 1))
    arm = (period > sequence[cluster]).astype(np.intp)
    trend = 0.2 * period if cell.outcome == "continuous" else 0.0
    return Trial._trusted(
        outcome_names=("y0",),
        outcomes=(y + trend)[:, None],
        arms=("usual", "new"),
        arm=arm,
        cluster=Labels(cluster, tuple(f"c{g:02d}" for g in range(cell.clusters))),
        time=Labels(period, tuple(str(t) for t in range(PERIODS))),
    )
