"""Hides the arithmetic of a plan of pairs, one member of which is treated (or the same person before and after)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from gbveval.core.errors import DesignError
from gbveval.design._require import asked_size, named_or_first, real, whole
from gbveval.design.exact_tests import ExactMcNemar
from gbveval.design.one_sample import mean_of_one
from gbveval.design.outcomes import Continuous
from gbveval.design.planned_test import Nearness, OneSize, PlannedTest, PowerTest, zero_only


@dataclass(frozen=True, slots=True)
class Discordant:
    """A binary outcome of pairs, of which only the pairs that disagree tell anything.

    Parameters
    ----------
    share : float
        Share of pairs in which exactly one member has the outcome. An effect is the share in which only the treated
        member has it minus the share in which only the other one has: the difference in risks.

    Raises
    ------
    DesignError
        If the share is not between 0 and 1.

    Examples
    --------
    >>> [round(share, 2) for share in Discordant(0.3).levels(-0.1)]
    [0.2, 0.1]
    """

    share: float

    def __post_init__(self) -> None:
        real("The share of discordant pairs", self.share, low=0.0, high=1.0)

    def levels(self, effect: float) -> tuple[float, float]:
        """Return the shares of pairs in which only the control member, and only the treated one, has the outcome."""
        real("An effect", effect, low=-math.inf, high=math.inf)
        if abs(effect) >= self.share:
            raise DesignError(
                f"With {self.share:g} of pairs discordant the difference in risks is below that in size; it is "
                f"{effect:g}. Give a smaller effect or a larger share."
            )
        return (float(self.share) - effect) / 2.0, (float(self.share) + effect) / 2.0

    def largest_effect(self, direction: str) -> float:
        """Return the size that effects in a direction stay below."""
        return float(self.share)


NEAR_MCNEMAR = Nearness(0.03, "60 pairs or more of which a quarter or more disagree")
ANALYSES = {Continuous: ("t", "normal"), Discordant: ("mcnemar", "exact")}


@dataclass(frozen=True, slots=True)
class PairedDesign(OneSize):
    """Pairs of respondents, or respondents before and after, compared within the pair.

    Parameters
    ----------
    n_pairs : int
        Pairs.
    outcome : Continuous or Discordant
        What is measured.
    correlation : float, optional
        Correlation of a continuous outcome within pairs; the difference has variance 2 sd^2 (1 - correlation).
    analysis : str, optional
        "t" (the usual one) or "normal" for a continuous outcome; "mcnemar" (normal, variance under the null) or "exact"
        for discordant pairs.

    Raises
    ------
    DesignError
        If something is impossible, or a continuous outcome has no correlation.

    Examples
    --------
    >>> plan = PairedDesign(n_pairs=34, outcome=Continuous(sd=1.0), correlation=0.5)
    >>> round(plan.planned_test(0.5).power(0.05), 4)
    0.8078
    """

    n_pairs: int
    outcome: Continuous | Discordant
    correlation: float | None = None
    analysis: str | None = None
    _size: ClassVar[tuple[str, int]] = ("n_pairs", 2)

    def __post_init__(self) -> None:
        whole("n_pairs", self.n_pairs, least=2)
        if type(self.outcome) not in ANALYSES:
            raise DesignError("outcome must be Continuous(...) or Discordant(...).")
        analyses = ANALYSES[type(self.outcome)]
        object.__setattr__(self, "analysis", named_or_first("analysis", self.analysis, analyses))
        if isinstance(self.outcome, Discordant):
            if self.correlation is not None:
                raise DesignError("Discordant pairs already say how alike pairs are: leave correlation out.")
        elif self.correlation is None:
            raise DesignError("How alike pairs are decides their power: give correlation, above -1 and below 1.")
        else:
            real("correlation", self.correlation, low=-1.0, high=1.0)

    @property
    def counted(self) -> bool:
        """Whether power is summed over counts."""
        return self.analysis == "exact"

    def limit_hint(self, name: str) -> str:
        """Return what holds power down, and what to do."""
        if self.counted:
            return "The exact test needs six discordant pairs to reach 0.05 on two sides."
        return "Plan for a larger effect or a lower power."

    def planned_test(self, effect: float, *, size: tuple[str, float] | None = None, null: float = 0.0) -> PowerTest:
        """Return the planned test of an effect within pairs (treated minus control)."""
        n = asked_size(size, self.least_sizes, self.n_pairs)
        if isinstance(self.outcome, Continuous):
            self.outcome.levels(effect)
            sd = float(self.outcome.sd) * math.sqrt(2.0 * (1.0 - float(self.correlation or 0.0)))
            return mean_of_one(effect, sd, n, str(self.analysis), null)
        zero_only(f"The analysis {self.analysis!r}", null)
        only_control, only_treated = self.outcome.levels(effect)
        if self.analysis == "exact":
            return ExactMcNemar(effect, math.ceil(n - 1e-9 * n), only_treated, only_control)
        share = float(self.outcome.share)
        return PlannedTest(
            effect=effect,
            std_error=math.sqrt((share - effect**2) / n),
            df=math.inf,
            null_std_error=math.sqrt(share / n),
            formula="difference of the discordant shares over sqrt(discordant share / n), while it varies with "
            "sqrt((share - effect^2) / n), against the normal distribution",
            source="Connor (1987), Biometrics 43",
            assumptions=("there are enough discordant pairs (ten at least) for the normal approximation",),
            near=NEAR_MCNEMAR,
        )
