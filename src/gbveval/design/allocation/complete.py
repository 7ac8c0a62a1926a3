"""Schemes with fixed numbers: simple draws, complete, stratified and cluster allocation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gbveval.core.errors import DesignError
from gbveval.data._frame import plural
from gbveval.design._require import whole
from gbveval.design.allocation import _declared as declared
from gbveval.design.allocation._units import Roles, Units
from gbveval.design.allocation.plan import AllocationPlan, arms_only
from gbveval.numerics.block_allocation import Blocks, blocks_by_count, blocks_by_share
from gbveval.numerics.philox import whole_parts
from gbveval.numerics.sequential_allocation import Independent

IntArray = NDArray[np.intp]
Shares = Mapping[str, float] | Sequence[float] | None
Counts = Mapping[str, int] | Sequence[int] | None
ONE_BLOCK = ("stratum", "none")


@dataclass(frozen=True, slots=True)
class SimpleAllocation:
    """Each unit drawn on its own, as by a coin or a die.

    Parameters
    ----------
    arms : sequence of str
        Labels, control first.
    shares : mapping of arm to number or sequence, optional
        Probability of each arm; equal by default. Fractions such as 1/3 are taken exactly.
    cluster : str, optional
        Column of the cluster, where clusters are drawn.

    Notes
    -----
    The numbers in the arms vary. **Do not use when** the trial is small: with 20 units the chance of 6 or fewer in an
    arm is one in nine. `CompleteAllocation` fixes the numbers.

    Examples
    --------
    >>> import gbveval as gbv
    >>> found = gbv.allocate(6, gbv.SimpleAllocation(("usual", "new")), seed=1)
    >>> found.n_allocations
    64
    """

    arms: tuple[str, ...]
    shares: Any = None
    cluster: str | None = None

    def __post_init__(self) -> None:
        arms = declared.arms_of(self.arms)
        object.__setattr__(self, "arms", arms)
        object.__setattr__(self, "shares", declared.shares_of(self.shares, arms))
        declared.names_of("cluster", self.cluster)

    def roles(self) -> Roles:
        """Return the columns that the scheme reads."""
        return Roles(cluster=self.cluster)

    def plan(self, units: Units) -> AllocationPlan:
        """Return the scheme for known units."""
        parts = whole_parts(declared.fractions(self.shares, len(self.arms)))
        return arms_only(Independent(units.n, parts), self.arms, f"{kind_of(units)} drawn one by one")


@dataclass(frozen=True, slots=True)
class CompleteAllocation:
    """Fixed numbers of units in each arm, every choice of them equally likely.

    Parameters
    ----------
    arms : sequence of str
        Labels, control first.
    shares : mapping of arm to number or sequence, optional
        Share of each arm; equal by default. Fractions such as 1/3 are taken exactly.
    counts : mapping of arm to int or sequence, optional
        Units of each arm, in place of shares.
    misfits : str
        What happens where shares of the units are no whole numbers: "stratum", the units left over get different arms
        by lot, so that every unit's probability is the declared share; "none", they are left unassigned.

    Notes
    -----
    With 7 units and two equal arms, 3 or 4 are treated, each half of the time: 70 allocations and not 35.

    Examples
    --------
    >>> import gbveval as gbv
    >>> found = gbv.allocate(10, gbv.CompleteAllocation(("usual", "new")), seed=1)
    >>> found.n_allocations, found.probabilities[0].tolist()
    (252, [0.5, 0.5])
    >>> round(float(found.pairwise(0, 1)[1, 1]), 4)  # both treated: 5/10 * 4/9
    0.2222
    """

    arms: tuple[str, ...]
    shares: Any = None
    counts: Any = None
    misfits: str = "stratum"

    def __post_init__(self) -> None:
        arms = declared.arms_of(self.arms)
        declared.only_one(self.shares, self.counts)
        object.__setattr__(self, "arms", arms)
        object.__setattr__(self, "shares", declared.shares_of(self.shares, arms))
        object.__setattr__(self, "counts", declared.counts_of(self.counts, arms))
        declared.misfits_of(self.misfits, ONE_BLOCK)

    def roles(self) -> Roles:
        """Return the columns that the scheme reads: none."""
        return Roles()

    def plan(self, units: Units) -> AllocationPlan:
        """Return the scheme for known units."""
        counts = None if self.counts is None else (("", self.counts),)
        blocks = divide(units, self.arms, self.shares, counts, self.misfits, 0)
        return arms_only(blocks, self.arms, "units in fixed numbers" + left_over(blocks, self.misfits))


@dataclass(frozen=True, slots=True)
class StratifiedAllocation:
    """Complete allocation inside each stratum.

    Parameters
    ----------
    arms : sequence of str
        Labels, control first.
    stratum : str or sequence of str
        Column of the stratum; several columns make strata together.
    shares : mapping of arm to number or sequence, optional
        Share of each arm; equal by default. Fractions such as 1/3 are taken exactly.
    counts : mapping of stratum to numbers by arm, optional
        Units of each arm in each stratum, in place of shares.
    misfits : str
        What happens where shares of a stratum's units are no whole numbers. "stratum": the units left over get
        different arms by lot inside their stratum. "global": the units left over in all strata are allocated together,
        which keeps the totals of the arms within one unit. "none": they are left unassigned. With the first two every
        unit's probability is exactly the declared share.
    least_per_cell : int
        Units that every arm of every stratum must have for certain; fewer are refused.

    Notes
    -----
    Use few strata: with more strata than a quarter of the units, most are small, and arms come out uneven.

    Examples
    --------
    >>> import gbveval as gbv
    >>> frame = {"district": ["north"] * 4 + ["south"] * 6}
    >>> found = gbv.allocate(frame, gbv.StratifiedAllocation(("usual", "new"), stratum="district"), seed=1)
    >>> found.n_allocations  # 6 in the north times 20 in the south
    120
    """

    arms: tuple[str, ...]
    stratum: Any
    shares: Any = None
    counts: Any = None
    misfits: str = "stratum"
    least_per_cell: int = 0

    def __post_init__(self) -> None:
        arms = declared.arms_of(self.arms)
        declared.only_one(self.shares, self.counts)
        object.__setattr__(self, "arms", arms)
        object.__setattr__(self, "stratum", declared.names_of("stratum", self.stratum, least=1))
        object.__setattr__(self, "shares", declared.shares_of(self.shares, arms))
        object.__setattr__(self, "counts", declared.stratum_counts_of(self.counts, arms))
        declared.misfits_of(self.misfits)
        whole("least_per_cell", self.least_per_cell, least=0)

    def roles(self) -> Roles:
        """Return the columns that the scheme reads."""
        return Roles(stratum=self.stratum)

    def plan(self, units: Units) -> AllocationPlan:
        """Return the scheme for known units."""
        blocks = divide(units, self.arms, self.shares, self.counts, self.misfits, self.least_per_cell)
        return arms_only(blocks, self.arms, "units in fixed numbers within strata" + left_over(blocks, self.misfits))


@dataclass(frozen=True, slots=True)
class ClusterAllocation:
    """Complete allocation of clusters, inside strata where there are some.

    Parameters
    ----------
    arms : sequence of str
        Labels, control first.
    cluster : str
        Column of the cluster: everybody in it gets one arm.
    stratum : str or sequence of str, optional
        Column of the stratum of clusters; several columns make strata together.
    shares : mapping of arm to number or sequence, optional
        Share of each arm among clusters; equal by default.
    counts : optional
        Clusters of each arm, or with strata a mapping of stratum to numbers by arm, in place of shares.
    misfits : str
        As in `StratifiedAllocation`.
    least_per_cell : int
        Clusters that every arm of every stratum must have for certain.

    Examples
    --------
    >>> import gbveval as gbv
    >>> frame = {"school": ["a", "a", "b", "b", "b", "c", "d"]}
    >>> found = gbv.allocate(frame, gbv.ClusterAllocation(("usual", "new"), cluster="school"), seed=1)
    >>> found.n_allocations  # two of four schools
    6
    """

    arms: tuple[str, ...]
    cluster: str
    stratum: Any = None
    shares: Any = None
    counts: Any = None
    misfits: str = "stratum"
    least_per_cell: int = 0

    def __post_init__(self) -> None:
        arms = declared.arms_of(self.arms)
        declared.only_one(self.shares, self.counts)
        object.__setattr__(self, "arms", arms)
        object.__setattr__(self, "stratum", declared.names_of("stratum", self.stratum))
        declared.names_of("cluster", self.cluster, least=1)
        object.__setattr__(self, "shares", declared.shares_of(self.shares, arms))
        read = declared.stratum_counts_of if self.stratum else declared.counts_of
        object.__setattr__(self, "counts", read(self.counts, arms))
        declared.misfits_of(self.misfits)
        whole("least_per_cell", self.least_per_cell, least=0)

    def roles(self) -> Roles:
        """Return the columns that the scheme reads."""
        return Roles(cluster=self.cluster, stratum=self.stratum)

    def plan(self, units: Units) -> AllocationPlan:
        """Return the scheme for known units."""
        counts = self.counts if self.stratum or self.counts is None else (("", self.counts),)
        blocks = divide(units, self.arms, self.shares, counts, self.misfits, self.least_per_cell)
        within = " within strata" if self.stratum else ""
        return arms_only(blocks, self.arms, f"clusters in fixed numbers{within}" + left_over(blocks, self.misfits))


def kind_of(units: Units) -> str:
    """Return the word for the units of assignment."""
    return "clusters" if units.grouped else "units"


def left_over(blocks: Blocks, misfits: str) -> str:
    """Say what happens to the units left over, if there are any."""
    if not any(int(size) > sum(part.fixed) for size, part in zip(blocks.sizes, blocks.splits, strict=True)):
        return ""
    said = {
        "stratum": "units left over by lot inside their stratum",
        "global": "units left over allocated together",
        "none": "units left over unassigned",
    }
    return f", {said[misfits]}"


def divide(units: Units, labels: tuple[str, ...], shares: Any, counts: Any, misfits: str, least: int) -> Blocks:
    """Return the blocks of a scheme, refusing numbers that do not fit the units."""
    if counts is None:
        blocks = blocks_by_share(units.stratum, declared.fractions(shares, len(labels)), misfits)
    else:
        blocks = blocks_by_count(units.stratum, _counts(units, counts))
    sure = np.array([part.fixed for part in blocks.splits]).reshape(-1, len(labels))
    short = int((sure.min(axis=1) < least).sum())
    if short:
        strata = f"{short:,} {'stratum' if short == 1 else 'strata'}"
        smallest = plural(int(blocks.sizes.min()), kind_of(units)[:-1])
        raise DesignError(
            f"In {strata} some arm is not sure to have {least}; the smallest stratum has {smallest}. Merge strata, or "
            "lower least_per_cell."
        )
    if not sure.sum() and misfits != "stratum":
        raise DesignError(
            f"With misfits={misfits!r} and these shares every unit is left over: no stratum has as many units as the "
            "smallest whole numbers in proportion to the shares. Use misfits='stratum', simpler shares or fewer strata."
        )
    return blocks


def _counts(units: Units, counts: tuple[tuple[str, tuple[int, ...]], ...]) -> IntArray:
    table = dict(counts)
    absent = [name for name in units.stratum_names if name not in table]
    if absent or len(table) != units.n_strata:
        raise DesignError(
            f"counts name {len(table):,} strata and the frame has {units.n_strata:,}, of which {len(absent):,} have no "
            "counts. Give one entry for each stratum of the frame."
        )
    found = np.array([table[name] for name in units.stratum_names], dtype=np.intp)
    wrong = int((found.sum(axis=1) != np.bincount(units.stratum, minlength=units.n_strata)).sum())
    if wrong:
        sizes = f"; there are {units.n:,} and the counts sum to {int(found.sum()):,}" if units.n_strata == 1 else ""
        raise DesignError(
            f"counts do not sum to the {kind_of(units)} in {plural(wrong, 'block')}{sizes}. Everybody needs an arm; an "
            "arm for those who get none can be declared."
        )
    return found
