"""Hides the arithmetic of a plan in which single respondents are randomised to two arms."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

from gbveval.core.errors import DesignError
from gbveval.design import _means, _ordered, _rates, _risks
from gbveval.design._arms import least_control, least_control_apart
from gbveval.design._comparison import Comparison, Planner
from gbveval.design._require import asked_arms, named_or_first, one_of, real, whole
from gbveval.design.counts import Count
from gbveval.design.ordinal import Ordinal
from gbveval.design.outcomes import Binary, Continuous
from gbveval.design.planned_test import PlainDesign, PowerTest
from gbveval.design.processes import ParallelProcess

# What can be planned for each kind of outcome: names of the analyses, the first of which is the usual one.
PLANNERS: dict[type, tuple[tuple[str, ...], Planner]] = {
    Continuous: (_means.ANALYSES, _means.plan_means),
    Binary: (_risks.ANALYSES, _risks.plan_risks),
    Count: (_rates.ANALYSES, _rates.plan_rates),
    Ordinal: (_ordered.ANALYSES, _ordered.plan_ordered),
}
# 15 x (200 / 15) is a rounding error above 200 and must not become 201.
ROUNDING = 1e-9


@dataclass(frozen=True, slots=True)
class ParallelDesign(PlainDesign):
    """Two arms to which single respondents are randomised.

    Parameters
    ----------
    n_per_arm : int
        Respondents in the control arm, and in the treated arm too when `ratio` is 1.
    outcome : Continuous, Binary, Count or Ordinal
        What is measured.
    ratio : float
        Treated over control respondents; the treated arm is rounded up.
    analysis : str, optional
        The analysis that is planned; by default the first of these.

        - A continuous outcome: "t" (variance pooled over arms; also if the words for risks are given), "welch" (a
          variance in each arm, as `DifferenceInMeans` has it: the same with equal arms, fewer degrees of freedom
          with unequal ones) or "normal" (known variance, as in published tables).
        - A binary one: "unpooled" (the difference in proportions over its own standard error, as `DifferenceInMeans`
          has it), "pooled" (the variance under the null; with unequal arms its power can dip below the size for small
          effects), "corrected" (the same with Yates' correction), "arcsine" or "fisher" (exact, over all tables).
        - A count: "wald" (the log rate ratio over its standard error) or "null_variance" (at the pooled rate).
        - An ordered one: "proportional_odds" or "win_probability".
    r_squared : float
        Share of a continuous outcome's variance that covariates explain.
    n_covariates : int
        Covariates in that regression; each costs a degree of freedom. Their imbalance by chance is not counted:
        `explain_power` gives power with it.

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
    outcome: Continuous | Binary | Count | Ordinal
    ratio: float = 1.0
    analysis: str | None = None
    r_squared: float = 0.0
    n_covariates: int = 0

    def __post_init__(self) -> None:
        whole("n_per_arm", self.n_per_arm, least=2)
        real("ratio (treated over control)", self.ratio, low=0.0, high=math.inf)
        if type(self.outcome) not in PLANNERS:
            raise DesignError("outcome must be Continuous(...), Binary(...), Count(...) or Ordinal(...).")
        analyses = PLANNERS[type(self.outcome)][0]
        object.__setattr__(self, "analysis", named_or_first("analysis", self.analysis, analyses))
        real("r_squared", self.r_squared, low=0.0, high=1.0, closed=True)
        whole("n_covariates", self.n_covariates, least=0)
        if (self.r_squared or self.n_covariates) and not isinstance(self.outcome, Continuous):
            raise DesignError("Covariates are planned for with a continuous outcome only; leave r_squared out.")
        if self.n_per_arm + self.n_treated - 2 - self.n_covariates < 1:
            raise DesignError(f"{self.n_covariates} covariates leave no degree of freedom; raise n_per_arm.")
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
        least = least_control_apart if self.analysis == "welch" else least_control
        return MappingProxyType({"n_per_arm": least(float(self.ratio), int(self.n_covariates))})

    def resized(self, name: str, value: int) -> ParallelDesign:
        """Return the design with another number of respondents."""
        one_of("solve_for", name, tuple(self.least_sizes))
        return replace(self, n_per_arm=value)

    @property
    def counted(self) -> bool:
        """Whether power is summed over tables of counts."""
        return self.analysis == "fisher"

    def process(self, effect: float) -> ParallelProcess:
        """Return the process that draws trials of this design with this true effect."""
        return ParallelProcess(self, effect)

    def planned_test(self, effect: float, *, size: tuple[str, float] | None = None, null: float = 0.0) -> PowerTest:
        """Return the planned test of an effect (treated minus control).

        Parameters
        ----------
        effect : float
            Difference in means, risks or rates; the common log odds ratio of an ordered outcome.
        size : (str, float), optional
            ("n_per_arm", any real number) instead of the design's own; the treated arm is then not rounded.
        null : float
            Effect under the null hypothesis: a margin.
        """
        arms = asked_arms(size, self.least_sizes, (self.n_per_arm, self.n_treated), self.ratio)
        return self.test_with(effect, arms, null=null)

    def test_with(self, effect: float, arms: tuple[float, float], *, null: float = 0.0) -> PowerTest:
        """Return the planned test with these respondents in control and treated: any numbers.

        Parameters
        ----------
        effect, null : float
            True effect and that under the null hypothesis.
        arms : (float, float)
            Respondents in control and in the treated arm.
        """
        plan = PLANNERS[type(self.outcome)][1]
        analysis = str(self.analysis)
        return plan(
            Comparison(self.outcome, effect, null, *arms, analysis, float(self.r_squared), int(self.n_covariates))
        )
