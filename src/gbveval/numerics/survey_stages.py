"""One stage of a sample: units drawn within the units of the stage before, and how their totals vary."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from gbveval.numerics.groups import group_sizes, group_sums

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.intp]
BoolArray = NDArray[np.bool_]


@dataclass(frozen=True, eq=False, slots=True)
class Stage:
    """Units drawn within parents: primary units in strata, then units in primary units.

    Attributes
    ----------
    unit : ndarray of int, shape (n,)
        Unit of each respondent.
    parent : ndarray of int, shape (units,)
        Parent of each unit.
    sizes : ndarray, shape (parents,)
        Units drawn in each parent.
    fraction : ndarray, shape (parents,)
        Units drawn over units there are; zero for draws with replacement.
    """

    unit: IntArray
    parent: IntArray
    sizes: FloatArray
    fraction: FloatArray

    @property
    def lonely(self) -> BoolArray:
        """Which parents have a single unit drawn, and more to draw from."""
        return np.asarray((self.sizes == 1) & (self.fraction < 1.0))

    def influence(self, columns: FloatArray, lonely_psu: str) -> FloatArray:
        """Return totals by unit, centred within parents and times sqrt((1 - f) m / (m - 1)).

        Parameters
        ----------
        columns : ndarray, shape (n, terms)
            Linearised values by respondent.
        lonely_psu : str
            "adjust" (also where the design has no lonely unit), "certainty" or "average".
        """
        totals = np.column_stack([group_sums(self.unit, column, self.parent.size) for column in columns.T])
        centre = np.column_stack([group_sums(self.parent, column, self.sizes.size) for column in totals.T])
        centre /= self.sizes[:, None]
        several = self.sizes > 1
        safe = np.where(several, self.sizes, 2.0)
        factor = np.where(several, np.sqrt((1.0 - self.fraction) * safe / (safe - 1.0)), 0.0)
        lonely = self.lonely
        if lonely.any() and lonely_psu == "average":
            factor = factor * np.sqrt(lonely.size / (lonely.size - lonely.sum()))
        elif lonely.any() and lonely_psu != "certainty":
            centre[lonely] = totals.mean(axis=0)
            factor[lonely] = np.sqrt(1.0 - self.fraction[lonely])
        result: FloatArray = (totals - centre[self.parent]) * factor[self.parent][:, None]
        return result


def make_stages(
    strata: IntArray, units: Sequence[IntArray], populations: Sequence[FloatArray] = ()
) -> tuple[Stage, ...]:
    """Return the stages of a sample, the first one within strata.

    Parameters
    ----------
    strata : ndarray of int, shape (n,)
        Stratum of each respondent.
    units : sequence of ndarray of int, shape (n,)
        Unit at each stage, numbered over the whole sample.
    populations : sequence of ndarray, shape (n,)
        Units that the respondent's parent holds in the population, for as many stages as are known.

    Raises
    ------
    ValueError
        If a unit lies in two parents, or a population is smaller than its sample.

    Examples
    --------
    >>> stage = make_stages(np.zeros(3, int), [np.array([0, 0, 1])], [np.array([8.0, 8.0, 8.0])])[0]
    >>> stage.sizes.tolist(), stage.fraction.tolist()
    ([2.0], [0.25])
    """
    stages = []
    parents = strata
    for number, unit in enumerate(units):
        home = np.zeros(int(unit.max()) + 1, dtype=np.intp)
        home[unit] = parents
        if np.any(home[unit] != parents):
            raise ValueError(
                "A primary sampling unit lies in more than one stratum."
                if number == 0
                else f"A unit of stage {number + 1} lies in more than one unit of the stage before."
            )
        sizes = group_sizes(home, int(parents.max()) + 1)
        fraction = np.zeros(sizes.size)
        if number < len(populations):
            there = np.zeros(sizes.size)
            there[parents] = populations[number]
            if np.any(there < sizes):
                raise ValueError(f"At stage {number + 1} a population is smaller than the sample drawn from it.")
            fraction = sizes / there
        stages.append(Stage(np.asarray(unit), home, sizes, fraction))
        parents = np.asarray(unit)
    return tuple(stages)


def informative(stages: Sequence[Stage]) -> tuple[Stage, ...]:
    """Return the first stage and the later ones that add to the variance: those below a drawn fraction above zero."""
    kept = [stages[0]]
    for before, stage in pairwise(stages):
        if not np.any(before.fraction > 0.0):
            break
        kept.append(stage)
    return tuple(kept)
