"""`BlockedAllocation`: permuted blocks of random size, for units that are enrolled one after the other."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from gbveval.core.errors import DesignError
from gbveval.design._require import whole
from gbveval.design.allocation import _declared as declared
from gbveval.design.allocation._units import Roles, Units
from gbveval.design.allocation.plan import AllocationPlan, arms_only
from gbveval.numerics.sequential_allocation import RandomBlocks, forced_share, guessed_share

LARGEST_BLOCK = 60


@dataclass(frozen=True, slots=True)
class BlockPredictability:
    """How well whoever knows a block's size and beginning can foretell assignments.

    Attributes
    ----------
    size : int
        Units in the block.
    forced : float
        Expected share of assignments that follow from the earlier ones in the block.
    guessed : float
        Expected share guessed rightly by naming the arm of which most are left (Blackwell and Hodges 1957).
    """

    size: int
    forced: float
    guessed: float


@dataclass(frozen=True, slots=True)
class BlockedAllocation:
    """Permuted blocks of random size, in the order of enrolment.

    Parameters
    ----------
    arms : sequence of str
        Labels, control first.
    sizes : sequence of int
        Block sizes, each as likely as the others; multiples of the sum of the ratio. One size makes fixed blocks.
    ratio : mapping of arm to int or sequence, optional
        Ratio of the arms; equal by default.
    stratum : str or sequence of str, optional
        Column of the stratum; each has blocks of its own.

    Notes
    -----
    Rows are in the order of enrolment, and the last block of a stratum is cut where its units end. Every unit's
    probability is the declared share all the same. Allocations are not equally likely, so tests run the scheme again.

    **Do not use when** everybody is known at the start: `StratifiedAllocation` balances better and cannot be guessed.
    Small blocks can be: `predictability` says by how much.

    References
    ----------
    Blackwell and Hodges (1957), Annals of Mathematical Statistics 28. Matts and Lachin (1988), Controlled Clinical
    Trials 9.

    Examples
    --------
    >>> import gbveval as gbv
    >>> scheme = gbv.BlockedAllocation(("usual", "new"), sizes=(4, 6))
    >>> round(scheme.predictability()[0].forced, 3)  # a third of assignments in blocks of four are forced
    0.333
    >>> gbv.allocate(10, scheme, seed=1).probabilities[9].tolist()
    [0.5, 0.5]
    """

    arms: tuple[str, ...]
    sizes: Any = (4, 6)
    ratio: Any = None
    stratum: Any = None

    def __post_init__(self) -> None:
        arms = declared.arms_of(self.arms)
        object.__setattr__(self, "arms", arms)
        object.__setattr__(self, "ratio", declared.ratio_of(self.ratio, arms))
        object.__setattr__(self, "stratum", declared.names_of("stratum", self.stratum))
        given = self.sizes if isinstance(self.sizes, (list, tuple)) else (self.sizes,)
        sizes = tuple(whole("a block size", size, least=2) for size in given)
        unit = sum(self.ratio)
        if not sizes or len(set(sizes)) < len(sizes) or any(size % unit or size > LARGEST_BLOCK for size in sizes):
            raise DesignError(
                f"sizes are different multiples of {unit}, the sum of the ratio, up to {LARGEST_BLOCK}; they are "
                f"{self.sizes!r}."
            )
        object.__setattr__(self, "sizes", sizes)

    def roles(self) -> Roles:
        """Return the columns that the scheme reads."""
        return Roles(stratum=self.stratum, sequential=True)

    def plan(self, units: Units) -> AllocationPlan:
        """Return the scheme for known units."""
        unit = sum(self.ratio)
        blocks = RandomBlocks(units.stratum, self.ratio, tuple(size // unit for size in self.sizes))
        within = " within strata" if self.stratum else ""
        sizes = ", ".join(map(str, self.sizes))
        return arms_only(blocks, self.arms, f"units in permuted blocks of {sizes}{within}, in order of enrolment")

    def predictability(self) -> tuple[BlockPredictability, ...]:
        """Return, for each block size, how well assignments can be foretold by whoever sees the earlier ones."""
        unit = sum(self.ratio)
        found = []
        for size in self.sizes:
            counts = tuple(part * size // unit for part in self.ratio)
            found.append(BlockPredictability(size, float(forced_share(counts)), float(guessed_share(counts))))
        return tuple(found)
