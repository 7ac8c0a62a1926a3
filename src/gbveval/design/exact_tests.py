"""Hides the planned tests whose power is a sum over tables of counts."""

from __future__ import annotations

import math
from dataclasses import dataclass

from gbveval.design.planned_test import EXACT, Rows, wrong_tail
from gbveval.numerics.exact_power import binomial_power, fisher_power, mcnemar_power

RULE = "a two-sided p-value sums the tables that are no likelier than the observed one"
# No test is searched further than this for a size at which power dips.
FURTHEST = 5000
SIZE = "the exact size is at most alpha, and usually below it"


@dataclass(frozen=True, slots=True)
class FisherTest:
    """Fisher's exact test of two risks; sizes n0, n1 and true risks p0, p1 of control and treated."""

    effect: float
    n0: int
    n1: int
    p0: float
    p1: float

    null = 0.0
    near = EXACT
    formula = "sum of the probabilities of all two-by-two tables that Fisher's exact test rejects"
    source = "Fisher (1935), Journal of the Royal Statistical Society 98"
    assumptions = (RULE, SIZE)

    @property
    def unit(self) -> float:
        """Standard error of the risk difference."""
        return math.sqrt(self.p0 * (1.0 - self.p0) / self.n0 + self.p1 * (1.0 - self.p1) / self.n1)

    def never(self, alternative: str) -> str:
        """Return why no study, however large, finds this effect; nothing if one can."""
        return wrong_tail(self.effect, self.null, alternative)

    def power(self, alpha: float, alternative: str = "two_sided") -> float:
        """Return the probability that the test rejects, summed over all tables."""
        return fisher_power((self.n0, self.n1), (self.p0, self.p1), alpha, alternative)

    def detail(self, alpha: float, alternative: str = "two_sided") -> Rows:
        """Return the size of the test where both risks are that of control."""
        size = fisher_power((self.n0, self.n1), (self.p0, self.p0), alpha, alternative)
        return (("exact size at the risk in control", f"{size:.4f}"),)


@dataclass(frozen=True, slots=True)
class BinomialTest:
    """The exact binomial test of one risk: n respondents, null risk p0, true risk p1."""

    effect: float
    n: int
    p0: float
    p1: float

    null = 0.0
    near = EXACT
    formula = "sum of the binomial probabilities of all counts that the exact test rejects"
    source = "Clopper and Pearson (1934), Biometrika 26"
    assumptions = (RULE, SIZE)

    @property
    def teeth(self) -> int:
        """Sizes over which the critical count moves about three times, within which power dips if it still does."""
        return min(FURTHEST, math.ceil(3.0 / min(self.p0, 1.0 - self.p0)))

    @property
    def unit(self) -> float:
        """Standard error of the proportion."""
        return math.sqrt(self.p1 * (1.0 - self.p1) / self.n)

    def never(self, alternative: str) -> str:
        """Return why no study, however large, finds this effect; nothing if one can."""
        return wrong_tail(self.effect, self.null, alternative)

    def power(self, alpha: float, alternative: str = "two_sided") -> float:
        """Return the probability that the test rejects, summed over all counts."""
        return binomial_power(self.n, self.p0, self.p1, alpha, alternative)

    def detail(self, alpha: float, alternative: str = "two_sided") -> Rows:
        """Return the size of the test."""
        return (("exact size", f"{binomial_power(self.n, self.p0, self.p0, alpha, alternative):.4f}"),)


@dataclass(frozen=True, slots=True)
class ExactMcNemar:
    """The exact McNemar test: n pairs, probabilities that only the treated or only the other one has the outcome."""

    effect: float
    n: int
    only_treated: float
    only_control: float

    null = 0.0
    near = EXACT
    formula = "sum over the number of discordant pairs of the power of the exact binomial test of one half"
    source = "McNemar (1947), Psychometrika 12"
    assumptions = (SIZE, "pairs are independent of each other")

    @property
    def unit(self) -> float:
        """Standard error of the difference."""
        return math.sqrt((self.only_treated + self.only_control - self.effect**2) / self.n)

    def never(self, alternative: str) -> str:
        """Return why no study, however large, finds this effect; nothing if one can."""
        return wrong_tail(self.effect, self.null, alternative)

    def power(self, alpha: float, alternative: str = "two_sided") -> float:
        """Return the probability that the test rejects, summed over discordant pairs."""
        return mcnemar_power(self.n, self.only_treated, self.only_control, alpha, alternative)

    def detail(self, alpha: float, alternative: str = "two_sided") -> Rows:
        """Return the size of the test where the discordant pairs are balanced."""
        half = (self.only_treated + self.only_control) / 2.0
        return (("exact size", f"{mcnemar_power(self.n, half, half, alpha, alternative):.4f}"),)
