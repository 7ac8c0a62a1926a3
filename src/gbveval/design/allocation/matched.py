"""`MatchedAllocation`: matched pairs or triplets, one unit of each in every arm."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gbveval.core.errors import DesignError
from gbveval.data._frame import plural
from gbveval.design._require import one_of
from gbveval.design.allocation import _declared as declared
from gbveval.design.allocation._units import Roles, Units
from gbveval.design.allocation.complete import kind_of
from gbveval.design.allocation.plan import AllocationPlan, arms_only
from gbveval.numerics.block_allocation import blocks_by_share
from gbveval.numerics.matching import MOST_UNITS, distances, match_groups, number_of_divisions

IntArray = NDArray[np.intp]
DISTANCES = ("mahalanobis", "standardised")
LEFT_OVER = ("refuse", "stratum", "none")


@dataclass(frozen=True, slots=True)
class MatchedGroups:
    """The groups that were matched.

    Attributes
    ----------
    groups : tuple of tuple of int
        Positions of the units of each group, in order.
    total : float
        Sum of the distances inside groups, the least there is.
    n_divisions : int
        Ways in which the units could have been divided.
    """

    groups: tuple[tuple[int, ...], ...]
    total: float
    n_divisions: int


@dataclass(frozen=True, slots=True)
class MatchedAllocation:
    """Optimal matched pairs (two arms) or triplets (three arms), allocated inside each group.

    Parameters
    ----------
    arms : sequence of str
        Two or three labels, control first; groups have as many units.
    covariates : str or sequence of str
        Columns to match on. Categories become indicators.
    cluster : str, optional
        Column of the cluster, where clusters are matched; covariates are then averaged in clusters.
    stratum : str or sequence of str, optional
        Units are matched inside strata only.
    distance : str
        "mahalanobis" (covariance of all units, n - 1) or "standardised" (differences in standard deviations).
    misfits : str
        What happens to units that are left where a stratum's number is no multiple of the number of arms. "refuse";
        "stratum": those that are cheapest to leave get different arms by lot; "none": they are left unassigned.

    Notes
    -----
    The sum of distances inside groups is the least possible: matching is optimal and not greedy. It takes up to 300
    units in pairs (ten seconds) and 36 in triplets in a stratum. `plan.note("matched")` has the groups, and
    `Allocated.matched_groups` the number of each row's, for the role pair of `Trial`. **The analysis it needs**
    compares inside pairs.

    **Do not use when** clusters may drop out: a pair that loses one loses both. With fewer than six pairs no two-sided
    randomisation test reaches 0.05.

    References
    ----------
    Greevy, Lu, Silber and Rosenbaum (2004), Biostatistics 5. Edmonds (1965), Journal of Research of the National
    Bureau of Standards 69B. Imai, King and Nall (2009), Statistical Science 24.

    Examples
    --------
    >>> import gbveval as gbv
    >>> frame = {"reports": [0, 10, 1, 11]}
    >>> found = gbv.allocate(frame, gbv.MatchedAllocation(("usual", "new"), covariates="reports"), seed=1)
    >>> found.plan.note("matched").groups, found.n_allocations
    (((0, 2), (1, 3)), 4)
    """

    arms: tuple[str, ...]
    covariates: Any
    cluster: str | None = None
    stratum: Any = None
    distance: str = "mahalanobis"
    misfits: str = "refuse"

    def __post_init__(self) -> None:
        arms = declared.arms_of(self.arms)
        if len(arms) > 3:
            raise DesignError("Groups are pairs or triplets: give two or three arms.")
        object.__setattr__(self, "arms", arms)
        object.__setattr__(self, "covariates", declared.names_of("covariates", self.covariates, least=1))
        object.__setattr__(self, "stratum", declared.names_of("stratum", self.stratum))
        declared.names_of("cluster", self.cluster)
        one_of("distance", self.distance, DISTANCES)
        declared.misfits_of(self.misfits, LEFT_OVER)

    def roles(self) -> Roles:
        """Return the columns that the scheme reads."""
        return Roles(cluster=self.cluster, stratum=self.stratum, covariates=self.covariates)

    def plan(self, units: Units) -> AllocationPlan:
        """Return the scheme for known units."""
        k = len(self.arms)
        sizes = np.bincount(units.stratum)
        left = int((sizes % k).sum())
        if left and self.misfits == "refuse":
            raise DesignError(
                f"{plural(left, 'unit')} would be left over, since {k} do not divide the units of every stratum. Say "
                "what happens to them: misfits='stratum' or misfits='none'."
            )
        if int(sizes.max()) > MOST_UNITS[k]:
            raise DesignError(
                f"Optimal groups of {k} are found among up to {MOST_UNITS[k]} units; there are {int(sizes.max()):,} in "
                "a stratum. Match inside strata, or match clusters."
            )
        gaps = distances(units.covariates, self.distance)
        block = np.full(units.n, -1, dtype=np.intp)
        groups: list[tuple[int, ...]] = []
        total, divisions = 0.0, 1
        for stratum in range(units.n_strata):
            where = np.flatnonzero(units.stratum == stratum)
            found = _groups_among(gaps[np.ix_(where, where)], k)
            members = [tuple(int(where[u]) for u in row if u < where.size) for row in found]
            whole = [group for group in members if len(group) == k]
            divisions *= number_of_divisions(-(-where.size // k) * k, k)
            total += sum(gaps[a, b] for group in whole for a in group for b in group if a < b)
            for group in members:
                if group:
                    block[list(group)] = int(block.max()) + 1
            groups += whole
        blocks = blocks_by_share(block, declared.fractions(None, k), "none" if self.misfits == "none" else "stratum")
        name = {2: "pairs", 3: "triplets"}[k]
        words = f"{kind_of(units)} in matched {name}" + ("" if not left else ", the rest by lot or unassigned")
        return arms_only(
            blocks, self.arms, words, ("matched", MatchedGroups(tuple(sorted(groups)), float(total), divisions))
        )


def _groups_among(gaps: NDArray[np.float64], k: int) -> IntArray:
    """Return the cheapest groups; units that do not divide share their group with empty places that cost nothing."""
    n = gaps.shape[0]
    empty = -n % k
    if empty:
        # All empty places in one group: two of them in different groups would leave two incomplete ones.
        far = float(gaps.sum()) + 1.0
        padded = np.zeros((n + empty, n + empty))
        padded[:n, :n] = gaps
        if empty == 2:
            padded[n:, n:] = -far
        gaps = padded
    try:
        return match_groups(gaps, k)
    except RuntimeError:
        raise DesignError(
            "No optimal division was proved in five minutes. Match inside strata, or fewer units."
        ) from None
