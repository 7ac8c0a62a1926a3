"""Schemes with more than one stage: sequences of a stepped wedge, and saturations of clusters."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from numbers import Real
from typing import Any

import numpy as np

from gbveval.core.errors import DesignError
from gbveval.design._require import whole
from gbveval.design.allocation import _declared as declared
from gbveval.design.allocation._units import Roles, Units
from gbveval.design.allocation.complete import divide, left_over
from gbveval.design.allocation.plan import AllocationPlan
from gbveval.numerics.two_stage_allocation import TwoStage


@dataclass(frozen=True, slots=True)
class SteppedWedgeAllocation:
    """Clusters allocated to the sequences of a stepped wedge.

    Parameters
    ----------
    arms : sequence of str
        Two labels, control first.
    cluster : str
        Column of the cluster.
    steps : int
        Sequences: the first crosses to the intervention at the first step, the last at the last.
    before : int
        Periods before the first step.
    after : int
        Periods from the last step on.
    stratum : str or sequence of str, optional
        Column of the stratum of clusters.
    counts : sequence of int, optional
        Clusters of each sequence; as equal as can be by default. Not with strata.
    misfits : str
        As in `StratifiedAllocation`, for clusters that do not divide by the number of sequences.

    Notes
    -----
    There are `before` + `steps` - 1 + `after` periods; sequence s (from 1) is treated from period `before` + s on. A
    randomisation test permutes the sequences; `Trial(time=..., allocation=...)` checks every row against them.

    References
    ----------
    Hussey and Hughes (2007), Contemporary Clinical Trials 28.

    Examples
    --------
    >>> import gbveval as gbv
    >>> frame = {"clinic": ["a", "b", "c", "d"]}
    >>> found = gbv.allocate(frame, gbv.SteppedWedgeAllocation(("usual", "new"), cluster="clinic", steps=2), seed=1)
    >>> found.labels, found.arm_of.tolist(), found.n_allocations
    (('sequence 1', 'sequence 2'), [[0, 1, 1], [0, 0, 1]], 6)
    """

    arms: tuple[str, ...]
    cluster: str
    steps: int
    before: int = 1
    after: int = 1
    stratum: Any = None
    counts: Any = None
    misfits: str = "stratum"

    def __post_init__(self) -> None:
        arms = declared.arms_of(self.arms)
        if len(arms) != 2:
            raise DesignError("A stepped wedge has two arms, control first.")
        object.__setattr__(self, "arms", arms)
        declared.names_of("cluster", self.cluster, least=1)
        object.__setattr__(self, "stratum", declared.names_of("stratum", self.stratum))
        whole("steps", self.steps, least=2)
        whole("before", self.before, least=0)
        whole("after", self.after, least=1)
        if self.steps > 100:
            raise DesignError("steps is at most 100.")
        if self.counts is not None and self.stratum:
            raise DesignError("counts go without strata; with strata sequences get equal numbers.")
        object.__setattr__(self, "counts", declared.counts_of(self.counts, self._labels()))
        declared.misfits_of(self.misfits)

    def _labels(self) -> tuple[str, ...]:
        return tuple(f"sequence {s}" for s in range(1, self.steps + 1))

    def roles(self) -> Roles:
        """Return the columns that the scheme reads."""
        return Roles(cluster=self.cluster, stratum=self.stratum)

    def plan(self, units: Units) -> AllocationPlan:
        """Return the scheme for known units."""
        labels = self._labels()
        counts = None if self.counts is None else (("", self.counts),)
        blocks = divide(units, labels, None, counts, self.misfits, 0)
        period = np.arange(self.before + self.steps - 1 + self.after)
        start = self.before + np.arange(self.steps)
        arm_of = (period[None, :] >= start[:, None]).astype(np.intp)
        within = " within strata" if self.stratum else ""
        return AllocationPlan(
            blocks, labels, arm_of, f"sequences of clusters{within}" + left_over(blocks, self.misfits)
        )


@dataclass(frozen=True, slots=True)
class SaturationAllocation:
    """Clusters allocated to shares treated, and people inside them to arms.

    Parameters
    ----------
    arms : sequence of str
        Two labels, control first.
    cluster : str
        Column of the cluster; rows are people.
    saturations : sequence of float
        Shares treated, 0 to 1. Fractions such as 1/3 are taken exactly.
    shares : sequence of float, optional
        Share of clusters at each saturation; equal by default.
    counts : sequence of int, optional
        Clusters at each saturation, in place of shares.
    stratum : str or sequence of str, optional
        Column of the stratum of clusters. Not with counts.

    Notes
    -----
    Where a share of a cluster is no whole number, the number treated is the one below or above it, drawn so that every
    person's probability is exactly the share; left-over clusters get saturations in the same way. `arm_in()` has the
    arms of people and `saturations` their shares, for the role saturation of `Trial`.

    References
    ----------
    Hudgens and Halloran (2008), Journal of the American Statistical Association 103. Baird, Bohren, McIntosh and Özler
    (2018), Review of Economics and Statistics 100.

    Examples
    --------
    >>> import gbveval as gbv
    >>> frame = {"village": ["a"] * 4 + ["b"] * 4}
    >>> scheme = gbv.SaturationAllocation(("usual", "new"), cluster="village", saturations=(0, 0.5))
    >>> found = gbv.allocate(frame, scheme, seed=1)
    >>> found.n_allocations, found.probability_of("new").tolist()[0]
    (12, 0.25)
    """

    arms: tuple[str, ...]
    cluster: str
    saturations: Any
    shares: Any = None
    counts: Any = None
    stratum: Any = None

    def __post_init__(self) -> None:
        arms = declared.arms_of(self.arms)
        if len(arms) != 2:
            raise DesignError("Saturations are shares of one treated arm: give two arms, control first.")
        object.__setattr__(self, "arms", arms)
        declared.names_of("cluster", self.cluster, least=1)
        object.__setattr__(self, "stratum", declared.names_of("stratum", self.stratum))
        given = self.saturations
        if not isinstance(given, (list, tuple)) or not all(
            isinstance(s, Real) and not isinstance(s, bool) and 0 <= float(s) <= 1 for s in given
        ):
            raise DesignError("saturations are shares from 0 to 1, such as (0, 0.5, 1).")
        found = tuple(float(s) for s in given)
        if len(found) < 2 or list(found) != sorted(set(found)) or len(found) > 20:
            raise DesignError("saturations are 2 to 20 different shares in ascending order.")
        for share in found:
            if abs(float(Fraction(share).limit_denominator(10_000)) - share) > 1e-9:
                raise DesignError("saturations are fractions with denominators up to 10,000; write 1/3 and not 0.3333.")
        object.__setattr__(self, "saturations", found)
        declared.only_one(self.shares, self.counts)
        if self.counts is not None and self.stratum:
            raise DesignError("counts go without strata; give shares.")
        names = tuple(f"{s:g}" for s in found)
        object.__setattr__(self, "shares", declared.shares_of(self.shares, names))
        object.__setattr__(self, "counts", declared.counts_of(self.counts, names))

    def roles(self) -> Roles:
        """Return the columns that the scheme reads."""
        return Roles(cluster=self.cluster, stratum=self.stratum, people=True)

    def plan(self, units: Units) -> AllocationPlan:
        """Return the scheme for known units."""
        assert units.cluster is not None
        first = np.unique(units.cluster, return_index=True)[1]
        clusters = _ClustersOf(units.stratum[first], units)
        names = tuple(f"{s:g}" for s in self.saturations)
        counts = None if self.counts is None else (("", self.counts),)
        blocks = divide(clusters, names, self.shares, counts, "stratum", 0)  # type: ignore[arg-type]
        exact = tuple(Fraction(s).limit_denominator(10_000) for s in self.saturations)
        labels = tuple(f"{name}, {arm}" for name in names for arm in self.arms)
        arm_of = np.tile(np.array([0, 1]), len(names))[:, None]
        words = "clusters to saturations in fixed numbers, then people inside them" + left_over(blocks, "stratum")
        return AllocationPlan(TwoStage(units.cluster, blocks, exact), labels, arm_of, words)


class _ClustersOf:
    """Clusters as the units of the first stage."""

    def __init__(self, stratum: Any, units: Units) -> None:
        self.stratum, self.stratum_names, self.n_strata = stratum, units.stratum_names, units.n_strata
        self.n, self.grouped = int(stratum.size), True
