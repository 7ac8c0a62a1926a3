"""Hides the arithmetic of a plan that asks whether an effect differs between two groups of a nested design."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

from gbveval.core.errors import DesignError
from gbveval.design._levels import shares, units
from gbveval.design._require import one_of, real, whole
from gbveval.design.multilevel import MultilevelDesign
from gbveval.design.outcomes import Continuous
from gbveval.design.planned_test import PlainDesign, PlannedTest


@dataclass(frozen=True, slots=True)
class ModeratorDesign(PlainDesign):
    """The difference of an effect between two groups, such as girls and boys, where top units are randomised.

    Parameters
    ----------
    plan : MultilevelDesign
        The design; its top level is the randomised one.
    level : str
        The level that the groups are made of: "pupils" for girls and boys, "schools" for town and country.
    share : float
        Share of that level's units in one of the groups; below the top level the same in every unit above.
    gap_sd : float
        Standard deviation between top units of the difference between the groups, in units of the outcome: how much the
        gap between girls and boys varies between schools of one arm. For levels below the top one.
    gap_r_squared : float
        Share of that variance that covariates explain.
    n_covariates : int
        Covariates of the level that gives the degrees of freedom; each costs one.

    Raises
    ------
    DesignError
        If something is impossible, or the plan randomises within units.

    Notes
    -----
    An effect here is a difference of effects: that in the group less that in the others. Its variance is the sum over
    levels up to that of the groups of what varies there, over P (1 - P) Q (1 - Q) times the units, and gap_sd^2 over
    P (1 - P) times the top units: with equal groups and arms and no gap_sd, four times the variance of the effect
    within people, and none of what varies between schools. Degrees of freedom are the top units less 2 where gaps vary
    between them, less 4 where the groups are of top units, and otherwise the units of the groups less the units above
    and 2. Not for a moderator that is measured on a scale.

    References
    ----------
    Dong, Kelcey and Spybrook (2018), Journal of Experimental Education 86.

    Examples
    --------
    >>> from gbveval.design._levels import Level
    >>> from gbveval.design.icc import ICC
    >>> levels = (Level("pupils", 50), Level("schools", 40, icc=ICC(0.05, scale="observed")))
    >>> plan = MultilevelDesign(levels, Continuous(), randomised="schools")
    >>> girls = ModeratorDesign(plan, level="pupils", share=0.5, gap_sd=0.1)
    >>> test = girls.planned_test(0.2)
    >>> round(test.std_error, 4), test.df
    (0.0927, 38.0)
    """

    plan: MultilevelDesign
    level: str
    share: float = 0.5
    gap_sd: float = 0.0
    gap_r_squared: float = 0.0
    n_covariates: int = 0

    def __post_init__(self) -> None:
        if not isinstance(self.plan, MultilevelDesign):
            raise DesignError(f"plan must be a MultilevelDesign; it is a {type(self.plan).__name__}.")
        if self.plan.place != len(self.plan.levels) - 1:
            raise DesignError(
                "Differences of effects are planned for where the top level is randomised. Where arms are compared "
                "within units, plan for the groups as a design of their own with treated_share."
            )
        one_of("level", self.level, self.plan.names)
        real("share", self.share, low=0.0, high=1.0)
        real("gap_sd", self.gap_sd, low=0.0, high=math.inf, closed=True)
        real("gap_r_squared", self.gap_r_squared, low=0.0, high=1.0, closed=True)
        whole("n_covariates", self.n_covariates, least=0)
        if self.gap_sd > 0.0 and self._of_top():
            raise DesignError(f"Groups of {self.level} have no gap within them: leave gap_sd out.")
        if self.gap_r_squared and not self.gap_sd:
            raise DesignError("A share of the variance of gaps is explained: give gap_sd.")
        if self._df(self.plan.sizes) < 1.0:
            raise DesignError(
                f"This leaves {self._df(self.plan.sizes):g} degrees of freedom: add {self.plan.randomised}."
            )

    @property
    def outcome(self) -> Continuous:
        """What is measured."""
        return self.plan.outcome

    @property
    def least_sizes(self) -> Mapping[str, int]:
        """Sizes that can be solved for, with the least that each may be."""
        return MappingProxyType({name: self._least(name, least) for name, least in self.plan.least_sizes.items()})

    def resized(self, name: str, value: int) -> ModeratorDesign:
        """Return the design with another size of one level."""
        return replace(self, plan=self.plan.resized(name, value))

    def limit_hint(self, name: str) -> str:
        """Return what to do when power stays too low."""
        return f"Add units of the top level: solve_for={self.plan.randomised!r}."

    def planned_test(self, effect: float, *, size: tuple[str, float] | None = None, null: float = 0.0) -> PlannedTest:
        """Return the planned test of a difference of effects (the group's less that of the others).

        Parameters
        ----------
        effect : float
            Difference of differences in means.
        size : (str, float), optional
            The name of a level and any real number instead of its size.
        null : float
            Difference under the null hypothesis: a margin.
        """
        self.outcome.levels(effect)
        sizes = list(self.plan.sizes)
        if size is not None:
            one_of("solve_for", size[0], self.plan.names)
            sizes[self.plan.names.index(size[0])] = float(size[1])
        return PlannedTest(
            effect=effect,
            std_error=math.sqrt(self._variance(tuple(sizes))),
            df=self._df(tuple(sizes)),
            null=null,
            formula="difference of effects over its standard error (squared: what varies at each level up to that of "
            "the groups over P (1 - P) Q (1 - Q) times its units, and the variance of gaps over P (1 - P) times the "
            "top units), against the noncentral t",
            source="Dong, Kelcey and Spybrook (2018), Journal of Experimental Education 86",
            assumptions=(
                "what varies at each level is normal, with the same variance in both groups and both arms",
                f"the groups have the same shares in every unit above {self.level}",
                "gaps between the groups do not vary between units below the top level",
            ),
        )

    def _variance(self, sizes: tuple[float, ...]) -> float:
        arms = float(self.plan.treated_share) * (1.0 - float(self.plan.treated_share))
        groups = float(self.share) * (1.0 - float(self.share))
        total, count = self.outcome.variance(0.0), units(sizes)
        found = float(self.gap_sd) ** 2 * (1.0 - float(self.gap_r_squared)) / (arms * count[-1])
        for place in range(self._place() + 1):
            level = self.plan.levels[place]
            within = shares(self.plan.levels)[place] * total * (1.0 - float(level.r_squared))
            found += within / (arms * groups * count[place])
        return found

    def _df(self, sizes: tuple[float, ...]) -> float:
        count = units(sizes)
        if self._of_top():
            left = count[-1] - 4.0
        elif self.gap_sd > 0.0:
            left = count[-1] - 2.0
        else:
            left = count[self._place()] - count[self._place() + 1] - 2.0
        return left - float(self.n_covariates)

    def _least(self, name: str, least: int) -> int:
        place = self.plan.names.index(name)
        own = int(self.plan.sizes[place])

        def df(n: int) -> float:
            return self._df((*self.plan.sizes[:place], float(n), *self.plan.sizes[place + 1 :]))

        return next((n for n in range(least, own) if df(n) >= 1.0), max(own, least))

    def _place(self) -> int:
        return self.plan.names.index(self.level)

    def _of_top(self) -> bool:
        return self._place() == len(self.plan.levels) - 1
