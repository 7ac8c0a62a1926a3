"""`Minimisation`: units allocated one after the other so that factors stay balanced."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np

from gbveval.core.errors import DesignError
from gbveval.design._require import one_of, real, whole
from gbveval.design.allocation import _declared as declared
from gbveval.design.allocation._units import Roles, Units
from gbveval.design.allocation.plan import AllocationPlan, arms_only
from gbveval.numerics.minimisation import IMBALANCES, Minimised


@dataclass(frozen=True, slots=True)
class MinimisationStep:
    """What minimisation says of one new unit.

    Attributes
    ----------
    imbalance : tuple of float
        Summed imbalance if the unit joined each arm.
    preferred : int or None
        Position of the arm with the least; None where arms tie.
    probabilities : tuple of float
        Probability of each arm.
    """

    imbalance: tuple[float, ...]
    preferred: int | None
    probabilities: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Minimisation:
    """Minimisation of Pocock and Simon with a random element.

    Parameters
    ----------
    arms : sequence of str
        Labels, control first.
    factors : str or sequence of str
        Columns of the factors to balance.
    ratio : mapping of arm to int or sequence, optional
        Ratio of the arms; equal by default.
    weights : sequence of int, optional
        Weight of each factor; equal by default.
    preferred : float
        Probability of the arm that balances best, at most 1; with unequal ratios, that of the smallest arm.
    imbalance : str
        "range" or "variance" of the numbers by arm among those with the unit's level.

    Notes
    -----
    Rows are in the order of enrolment. **The analysis it needs** adjusts for the factors; a randomisation test runs the
    minimisation again in the same order of enrolment, which `Trial(allocation=...)` does. A factor that is a
    combination of others (site beside region) is counted twice, which few want.

    **Do not use when** `preferred` would be 1: the next assignment can then be foretold by whoever keeps the counts,
    and few allocations remain for a test. With everybody known at the start, `Rerandomisation` balances more.

    References
    ----------
    Taves (1974), Clinical Pharmacology and Therapeutics 15. Pocock and Simon (1975), Biometrics 31. Han, Enas and
    McEntegart (2009), Statistics in Medicine 28, for unequal ratios.

    Examples
    --------
    >>> import gbveval as gbv
    >>> scheme = gbv.Minimisation(("usual", "new"), factors=("age", "site"))
    >>> scheme.step([[[2, 1], [3, 3]], [[4, 4], [1, 0]]], [0, 1]).preferred
    1
    """

    arms: tuple[str, ...]
    factors: Any
    ratio: Any = None
    weights: Any = None
    preferred: float = 0.8
    imbalance: str = "range"

    def __post_init__(self) -> None:
        arms = declared.arms_of(self.arms)
        object.__setattr__(self, "arms", arms)
        object.__setattr__(self, "factors", declared.names_of("factors", self.factors, least=1))
        object.__setattr__(self, "ratio", declared.ratio_of(self.ratio, arms))
        given = (1,) * len(self.factors) if self.weights is None else self.weights
        if not isinstance(given, (list, tuple)) or len(given) != len(self.factors):
            raise DesignError(f"weights needs one whole number for each of the {len(self.factors)} factors.")
        object.__setattr__(self, "weights", tuple(whole("a weight", w, least=1) for w in given))
        least = 1.0 / len(arms)
        object.__setattr__(self, "preferred", real("preferred", self.preferred, low=least, high=1.0 + 1e-12))
        one_of("imbalance", self.imbalance, IMBALANCES)

    def roles(self) -> Roles:
        """Return the columns that the scheme reads."""
        return Roles(factors=self.factors, sequential=True)

    def _mechanism(self, levels: Any) -> Minimised:
        chance = min(Fraction(self.preferred).limit_denominator(10_000), Fraction(1))
        return Minimised(levels, self.ratio, self.weights, chance, self.imbalance)

    def plan(self, units: Units) -> AllocationPlan:
        """Return the scheme for known units."""
        words = f"minimisation on {', '.join(self.factors)}, preferred arm with probability {self.preferred:g}"
        return arms_only(self._mechanism(units.factors), self.arms, words)

    def step(self, counts: Sequence[Sequence[Sequence[int]]], levels: Sequence[int]) -> MinimisationStep:
        """Return what minimisation says of one new unit, given who is in the trial.

        Parameters
        ----------
        counts : nested sequence of int
            Numbers by factor, level of the factor, and arm.
        levels : sequence of int
            The new unit's level of each factor, by position.
        """
        if len(counts) != len(self.factors) or len(levels) != len(self.factors):
            raise DesignError(f"counts and levels need one entry for each of the {len(self.factors)} factors.")
        try:
            rows = np.array([counts[f][level] for f, level in enumerate(levels)], dtype=np.int64)
        except (IndexError, ValueError, TypeError):
            rows = np.zeros((0, 0), dtype=np.int64)
        if rows.shape != (len(self.factors), len(self.arms)) or np.any(rows < 0):
            raise DesignError(f"counts are whole numbers by factor, level and arm, {len(self.arms)} for each level.")
        mechanism = self._mechanism(np.zeros((1, len(self.factors)), dtype=np.intp))
        numbers = (rows * mechanism._step)[None]
        scores = mechanism.scores(numbers)[0]
        scale = float(mechanism._step[0] * self.ratio[0])
        divisor = scale if self.imbalance == "range" else scale**2 * len(self.arms) * (len(self.arms) - 1)
        least = np.flatnonzero(scores == scores.min())
        chance = mechanism.step_probabilities(numbers)[0]
        return MinimisationStep(
            tuple((scores / divisor).tolist()), int(least[0]) if least.size == 1 else None, tuple(chance.tolist())
        )
