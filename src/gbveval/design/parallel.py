"""Hides the arithmetic of a plan in which single respondents are randomised to two arms."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

from gbveval.core.errors import DesignError
from gbveval.design._require import one_of, real, whole
from gbveval.design.outcomes import Binary, Continuous, Outcome
from gbveval.design.planned_test import PlainDesign, PlannedTest
from gbveval.design.processes import ParallelProcess

ANALYSES = ("unpooled", "pooled")
# 15 x (200 / 15) is a rounding error above 200 and must not become 201.
ROUNDING = 1e-9


@dataclass(frozen=True, slots=True)
class ParallelDesign(PlainDesign):
    """Two arms to which single respondents are randomised.

    Parameters
    ----------
    n_per_arm : int
        Respondents in the control arm, and in the treated arm too when `ratio` is 1.
    outcome : Continuous or Binary
        What is measured.
    ratio : float
        Treated over control respondents; the treated arm is rounded up.
    analysis : str
        For a binary outcome: "unpooled" (the difference in proportions over its own standard error, as
        `DifferenceInMeans` has it) or "pooled" (the z test with the variance pooled under the null; with unequal arms
        its power can dip below the size for small effects). A continuous outcome has the t test with a common
        variance, whatever this says.

    Raises
    ------
    DesignError
        If a size, a ratio or an analysis is impossible.

    Examples
    --------
    >>> ParallelDesign(n_per_arm=64, outcome=Continuous()).n_treated
    64
    """

    n_per_arm: int
    outcome: Outcome
    ratio: float = 1.0
    analysis: str = "unpooled"

    def __post_init__(self) -> None:
        whole("n_per_arm", self.n_per_arm, least=2)
        real("ratio (treated over control)", self.ratio, low=0.0, high=math.inf)
        one_of("analysis", self.analysis, ANALYSES)
        if not isinstance(self.outcome, Continuous | Binary):
            raise DesignError("outcome must be Continuous(...) or Binary(...).")
        if self.n_treated < 2:
            raise DesignError(
                f"A ratio of {self.ratio:g} leaves {self.n_treated} treated respondents; at least 2 are needed. "
                "Raise n_per_arm or ratio."
            )

    @property
    def n_treated(self) -> int:
        """Respondents in the treated arm."""
        return math.ceil(self.n_per_arm * self.ratio * (1.0 - ROUNDING))

    @property
    def least_sizes(self) -> Mapping[str, int]:
        """Sizes that can be solved for, with the least that each may be."""
        # Two treated respondents need two over ratio in control.
        return MappingProxyType({"n_per_arm": max(2, math.floor(1.0 / self.ratio) + 1)})

    def resized(self, name: str, value: int) -> ParallelDesign:
        """Return the design with another number of respondents."""
        one_of("solve_for", name, tuple(self.least_sizes))
        return replace(self, n_per_arm=value)

    def limit_hint(self, name: str) -> str:
        """Return what to do when power stays too low."""
        return "Plan for a larger effect or a lower power."

    def process(self, effect: float) -> ParallelProcess:
        """Return the process that draws trials of this design with this true effect."""
        return ParallelProcess(self, effect)

    def planned_test(self, effect: float, *, size: tuple[str, float] | None = None) -> PlannedTest:
        """Return the planned test of an effect (treated minus control).

        Parameters
        ----------
        effect : float
            Difference in means, or in risks for a binary outcome.
        size : (str, float), optional
            ("n_per_arm", any real number) instead of the design's own; the treated arm is then not rounded.
        """
        control, treated = float(self.n_per_arm), float(self.n_treated)
        if size is not None:
            one_of("solve_for", size[0], tuple(self.least_sizes))
            control, treated = float(size[1]), float(size[1]) * self.ratio
        levels = self.outcome.levels(effect)
        v0, v1 = (self.outcome.variance(level) for level in levels)
        std_error = math.sqrt(v0 / control + v1 / treated)
        if not self.outcome.binary:
            return PlannedTest(
                effect=effect,
                std_error=std_error,
                df=control + treated - 2.0,
                formula="effect over sd sqrt(1/n0 + 1/n1), against the noncentral t with n0 + n1 - 2 df",
                source="Cohen (1988), Statistical Power Analysis for the Behavioral Sciences",
                assumptions=(
                    "the outcome is normal with the same standard deviation in both arms",
                    "DifferenceInMeans has Welch's df, a little below these when arms are small or unequal",
                ),
            )
        null_std_error = None
        words = "its own (unpooled) standard error sqrt(p0 q0/n0 + p1 q1/n1)"
        if self.analysis == "pooled":
            share = 1.0 / (1.0 + self.ratio) if size is not None else control / (control + treated)
            pooled = share * levels[0] + (1.0 - share) * levels[1]
            null_std_error = math.sqrt(pooled * (1.0 - pooled) * (1.0 / control + 1.0 / treated))
            words = "a standard error pooled under the null, while the estimate varies with the unpooled one"
        return PlannedTest(
            effect=effect,
            std_error=std_error,
            df=math.inf,
            null_std_error=null_std_error,
            formula=f"risk difference over {words}, against the normal distribution",
            source="Fleiss (1981), Statistical Methods for Rates and Proportions",
            assumptions=(
                "arms are large enough for the normal approximation: ten events and non-events in each",
                "no continuity correction",
            ),
        )
