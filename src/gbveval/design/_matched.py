"""Hides how pairs of clusters are tested: what matching is worth, and which sizes their assignments allow."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from gbveval.core.errors import DesignError
from gbveval.design.planned_test import Nearness, PlannedTest, Rows


def attained(alpha: float, n_pairs: float, alternative: str) -> float:
    """Return the largest size, at most alpha, of a test over all 2^n assignments within pairs: 0 if there is none.

    Examples
    --------
    >>> attained(0.05, 4, "two_sided"), attained(0.05, 6, "two_sided"), attained(0.05, 5, "greater")
    (0.0, 0.03125, 0.03125)
    """
    sides = 2.0 if alternative == "two_sided" else 1.0
    step = sides * 0.5**n_pairs
    # From here on the steps are finer than rounding errors of alpha over them.
    return alpha if n_pairs > 30.0 else min(alpha, math.floor(alpha / step * (1.0 + 1e-12)) * step)


@dataclass(frozen=True, slots=True)
class MatchedTest:
    """A paired test, with what the same clusters would tell unmatched.

    Parameters
    ----------
    test : PlannedTest
        The paired test.
    unmatched : PlannedTest
        That of the same clusters without pairs.
    without, saved : float
        Variance of the estimate without matching, and what a matching correlation of one would take off.
    matching_correlation : float
        The planned one.
    pairs : float
        Pairs.
    permuted : bool
        Whether the test is the one over all assignments within pairs.
    asked : bool
        Whether the number of pairs is the design's own, so that an impossible size is an error.
    """

    test: PlannedTest
    unmatched: PlannedTest
    without: float
    saved: float
    matching_correlation: float
    pairs: float
    permuted: bool
    asked: bool

    @property
    def effect(self) -> float:
        """True effect, treated minus control."""
        return self.test.effect

    @property
    def null(self) -> float:
        """Effect under the null hypothesis."""
        return self.test.null

    @property
    def unit(self) -> float:
        """Standard error of the estimate."""
        return self.test.std_error

    @property
    def std_error(self) -> float:
        """Standard error of the estimate."""
        return self.test.std_error

    @property
    def df(self) -> float:
        """Degrees of freedom."""
        return self.test.df

    @property
    def formula(self) -> str:
        """How power is computed, in words."""
        words = self.test.formula
        return f"{words}, at the size that the assignments within pairs allow" if self.permuted else words

    @property
    def near(self) -> Nearness | None:
        """How near the formula is to the planned analysis."""
        return None if self.permuted else self.test.near

    @property
    def source(self) -> str:
        """Where that is from."""
        return self.test.source

    @property
    def assumptions(self) -> tuple[str, ...]:
        """What must hold."""
        return self.test.assumptions

    def never(self, alternative: str) -> str:
        """Return why no study, however large, finds this effect; nothing if one can."""
        return self.test.never(alternative)

    def power(self, alpha: float, alternative: str = "two_sided") -> float:
        """Return the probability that the test rejects."""
        if not self.permuted:
            return self.test.power(alpha, alternative)
        size = attained(alpha, self.pairs, alternative)
        if size > 0.0:
            return self.test.power(size, alternative)
        if self.asked:
            raise DesignError(self._unreachable(alpha, alternative))
        return 0.0

    def detail(self, alpha: float, alternative: str = "two_sided") -> Rows:
        """Return standard error, what matching is worth, what assignments allow, and the critical value."""
        *before, critical = self.test.detail(alpha, alternative)
        least = min(1.0, (2.0 if alternative == "two_sided" else 1.0) * 0.5**self.pairs)
        rows = [
            *before,
            ("power of the same clusters unmatched", f"{self.unmatched.power(alpha, alternative):.4f}"),
            ("matching correlation at which matching begins to pay", self._break_even(alpha, alternative)),
            ("smallest p-value over all assignments within pairs", f"{least:.3g}"),
        ]
        if self.permuted:
            rows.append(("size that these assignments allow", f"{attained(alpha, self.pairs, alternative):.4g}"))
        return (*rows, critical)

    def _break_even(self, alpha: float, alternative: str) -> str:
        """Return the matching correlation at which power is that of the same clusters unmatched."""
        from scipy.optimize import brentq

        target = self.unmatched.power(alpha, alternative)

        def gain(correlation: float) -> float:
            error = math.sqrt(self.without - self.saved * correlation)
            return replace(self.test, std_error=error).power(alpha, alternative) - target

        if self.test.effect == self.test.null:
            return "none: there is no effect to find"
        if gain(0.0) >= 0.0:
            return "0"
        if self.saved == 0.0 or gain(1.0) <= 0.0:
            return "none: the lost degrees of freedom cost more than any matching saves"
        return f"{brentq(gain, 0.0, 1.0, xtol=1e-10):.3f} (planned: {self.matching_correlation:g})"

    def _unreachable(self, alpha: float, alternative: str) -> str:
        sides = 2.0 if alternative == "two_sided" else 1.0
        needed = math.ceil(math.log2(sides / alpha) - 1e-12)
        return (
            f"{self.pairs:g} matched pairs cannot reach a size of {alpha:g} by permutation: of 2^{self.pairs:g} "
            f"assignments the most extreme {'two have' if sides == 2.0 else 'one has'} a p-value of "
            f"{sides * 0.5**self.pairs:.3g}. Plan {needed} pairs or more, or do not match."
        )
