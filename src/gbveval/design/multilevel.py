"""Hides the arithmetic of plans with nested levels: which level is randomised, and what sites stand for."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Final

from gbveval.core.errors import DesignError
from gbveval.design._levels import Level, parts, shares, units
from gbveval.design._require import one_of, real, whole
from gbveval.design.outcomes import Continuous
from gbveval.design.planned_test import EXACT, PlainDesign, PlannedTest

ROUNDING = 1e-9
SOURCE = (
    "Raudenbush (1997), Psychological Methods 2; Bloom (2006), MDRC Working Papers on Research Methodology; Dong and "
    "Maynard (2013), Journal of Research on Educational Effectiveness 6"
)
SITES: Final = {
    "random": "the {top} are a sample of those that the answer is about",
    "fixed": "the answer is about these {top} alone, each with an effect of its own",
    "constant": "the answer is about these {top} alone, and the effect is the same in all of them",
}


@dataclass(frozen=True, slots=True)
class MultilevelDesign(PlainDesign):
    """Two arms in a hierarchy of levels: blocked, multisite and cluster trials of two levels or more.

    Parameters
    ----------
    levels : tuple of Level
        From people up, at least two.
    outcome : Continuous
        What is measured; `sd` is that between people, all levels together.
    randomised : str
        Name of the level whose units are randomised: within each unit of the level above, or among all units where it
        is the top one.
    sites : str
        What the units of the top level are, where arms are compared within them: "random" (a sample of the sites that
        the answer is about; their effects may differ by `effect_sd`), "fixed" (these sites alone, with an effect each)
        or "constant" (these sites alone, one effect).
    treated_share : float
        Share of the randomised units that are treated.
    n_covariates : int
        Covariates of the level whose units give the degrees of freedom; each costs one.

    Raises
    ------
    DesignError
        If something is impossible, or does not matter where it is given.

    Notes
    -----
    The variance of the estimate is the sum over levels up to the randomised one of what varies between their units,
    over P (1 - P) times the units in all, and over levels above it of the variance of effects between their units over
    the units in all. The reference is t. Its degrees of freedom are the top units less one (random sites), less two
    (top units randomised), the randomised units less two a site (fixed) or less one a site and one (constant), and less
    the covariates. Exact for normal outcomes, equal sizes and no covariates. Sizes that differ between sites cost power
    that is not counted, and so does chance imbalance of covariates. A variance of effects is hard to foresee: with few
    sites it rules power, so look at a range of it.

    With two levels and the upper one randomised this is `ClusterDesign` of equal sizes, which takes risks and rates
    too.

    References
    ----------
    Raudenbush (1997), Psychological Methods 2. Dong and Maynard (2013), Journal of Research on Educational
    Effectiveness 6.

    Examples
    --------
    Pupils in schools in districts; schools are randomised within districts, a sample of those in the country.

    >>> from gbveval.design.icc import ICC
    >>> plan = MultilevelDesign(
    ...     levels=(
    ...         Level("pupils", 10),
    ...         Level("schools", 6, icc=ICC(0.1, scale="observed")),
    ...         Level("districts", 24, icc=ICC(0.13, scale="observed"), effect_sd=0.2),
    ...     ),
    ...     outcome=Continuous(),
    ...     randomised="schools",
    ... )
    >>> test = plan.planned_test(0.3)
    >>> round(test.std_error, 4), test.df
    (0.0811, 23.0)
    """

    levels: tuple[Level, ...]
    outcome: Continuous
    randomised: str
    sites: str = "random"
    treated_share: float = 0.5
    n_covariates: int = 0

    def __post_init__(self) -> None:
        if not isinstance(self.levels, tuple) or not all(isinstance(level, Level) for level in self.levels):
            raise DesignError("levels must be a tuple of Level(...), from people up.")
        if len(self.levels) < 2:
            raise DesignError("Give at least two levels; people alone are a ParallelDesign.")
        if not isinstance(self.outcome, Continuous):
            raise DesignError("outcome must be Continuous(...).")
        one_of("sites", self.sites, tuple(SITES))
        real("treated_share", self.treated_share, low=0.0, high=1.0)
        whole("n_covariates", self.n_covariates, least=0)
        self._check_levels()
        self._check_sizes()

    def _check_levels(self) -> None:
        if len(set(self.names)) < len(self.levels):
            raise DesignError("Each level needs a name of its own.")
        one_of("randomised", self.randomised, self.names)
        if self.levels[0].icc is not None:
            raise DesignError(
                f"{self.names[0]} have what is left of the variance: leave out the icc of the lowest level."
            )
        for level in self.levels[1:]:
            if level.icc is None:
                raise DesignError(f"Level {level.name!r} needs an icc, ICC(0, scale='observed') if there is none.")
        if shares(self.levels)[0] <= 0.0:
            raise DesignError("The ICCs add up to 1 or more and leave nothing to people.")
        if self.place == len(self.levels) - 1 and self.sites != "random":
            raise DesignError(f"All {self.randomised} are randomised together: there are no sites; leave sites out.")
        for place, level in enumerate(self.levels):
            if place <= self.place and level.effect_sd > 0.0:
                raise DesignError(
                    f"effect_sd of {level.name!r} cannot matter: arms are not compared within {level.name}. Give it "
                    "for levels above the randomised one."
                )
            if place > self.place and level.r_squared > 0.0:
                raise DesignError(
                    f"r_squared of {level.name!r} cannot matter: arms are compared within {level.name}, which takes "
                    "all that varies between them out."
                )
        top = self.levels[-1]
        if self.sites != "random" and top.effect_sd > 0.0:
            raise DesignError(
                f"With sites={self.sites!r} the answer is about these {top.name} alone, so that how effects differ "
                "between them adds nothing: leave out effect_sd, or plan for sites='random'."
            )

    def _check_sizes(self) -> None:
        if (per := self.levels[self.place].size) < (least := self._both_arms()):
            raise DesignError(f"{per} {self.randomised} cannot be in both arms; give at least {least}.")
        if self._df(self.sizes) < 1.0:
            raise DesignError(
                f"This leaves {self._df(self.sizes):g} degrees of freedom: add units of {self._counted_level()}, or "
                "drop covariates."
            )

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the levels, from people up."""
        return tuple(level.name for level in self.levels)

    @property
    def sizes(self) -> tuple[float, ...]:
        """Sizes of the levels, from people up."""
        return tuple(float(level.size) for level in self.levels)

    @property
    def place(self) -> int:
        """Place of the randomised level, 0 for people."""
        return self.names.index(self.randomised)

    @property
    def least_sizes(self) -> Mapping[str, int]:
        """Sizes that can be solved for, with the least that each may be; the first gives the degrees of freedom."""
        usual = self._counted_level()
        ordered = (usual, *(name for name in reversed(self.names) if name != usual))
        return MappingProxyType({name: self._least(name) for name in ordered})

    def resized(self, name: str, value: int) -> MultilevelDesign:
        """Return the design with another size of one level."""
        one_of("solve_for", name, self.names)
        return replace(
            self,
            levels=tuple(replace(level, size=value) if level.name == name else level for level in self.levels),
        )

    def limit_hint(self, name: str) -> str:
        """Return what holds power down when only this size grows, and what to do."""
        found = parts(self.levels, self._with(name, 1e12), self.place, self._variance(), float(self.treated_share))
        word, rest = max(found, key=lambda part: part[1])
        if rest < 1e-9 * self._variance():
            return "Plan for a larger effect or a lower power."
        return (
            f"What stays is the variance of {word}. Add units of a higher level: solve_for={self._counted_level()!r}."
        )

    def planned_test(self, effect: float, *, size: tuple[str, float] | None = None, null: float = 0.0) -> PlannedTest:
        """Return the planned test of an effect (treated minus control).

        Parameters
        ----------
        effect : float
            Difference in means.
        size : (str, float), optional
            The name of a level and any real number instead of its size.
        null : float
            Effect under the null hypothesis: a margin.
        """
        self.outcome.levels(effect)
        sizes = self.sizes
        if size is not None:
            one_of("solve_for", size[0], self.names)
            sizes = self._with(size[0], float(size[1]))
        found = parts(self.levels, sizes, self.place, self._variance(), float(self.treated_share))
        variance = sum(part for _, part in found)
        told = ", ".join(f"{part / variance:.0%} from {word}" for word, part in reversed(found))
        return PlannedTest(
            effect=effect,
            std_error=math.sqrt(variance),
            df=self._df(sizes),
            null=null,
            formula="effect over its standard error (squared: what varies at each level up to the randomised one over "
            "P (1 - P) times its units, and the variance of effects at each level above over its units; here "
            f"{told}), against the noncentral t with {self._df_words()}",
            source=SOURCE,
            assumptions=self._assumptions(),
            near=None if self._adjusted else EXACT,
        )

    @property
    def _adjusted(self) -> bool:
        """Whether covariates are planned for, at any level."""
        return bool(self.n_covariates or any(level.r_squared or level.effect_r_squared for level in self.levels))

    def _assumptions(self) -> tuple[str, ...]:
        covariates = "covariates explain the planned shares; their imbalance by chance is not counted"
        return (
            "what varies at each level is normal, with the same variance in both arms",
            "units of a level have the same size, and the treated share is the same wherever arms are compared",
            *((SITES[self.sites].format(top=self.names[-1]),) if self.place < len(self.levels) - 1 else ()),
            *((covariates,) if self._adjusted else ()),
        )

    def _variance(self) -> float:
        return self.outcome.variance(0.0)

    def _with(self, name: str, value: float) -> tuple[float, ...]:
        return tuple(value if level == name else own for level, own in zip(self.names, self.sizes, strict=True))

    def _sampled(self) -> int:
        """Return the place of the highest level whose units are a sample, with effects or outcomes of their own."""
        top = len(self.levels) - 1
        return top if self.sites == "random" else top - 1

    def _counted_level(self) -> str:
        """Return the name of the level whose units give the degrees of freedom."""
        return self.names[self._sampled()]

    def _df(self, sizes: tuple[float, ...]) -> float:
        """Return the units that are a sample, less the means that are estimated from them."""
        place, count = self._sampled(), units(sizes)
        # Where these units are the randomised ones there are two means, of each arm; above them there is one effect.
        own = 2.0 if place == self.place else 1.0
        means = {"random": own, "fixed": own * sizes[-1], "constant": (own - 1.0) * sizes[-1] + 1.0}[self.sites]
        return count[place] - means - float(self.n_covariates)

    def _df_words(self) -> str:
        return (
            f"as many degrees of freedom as there are {self._counted_level()}, less the means estimated from them"
            + (" and covariates" if self.n_covariates else "")
        )

    def _both_arms(self) -> int:
        """Return the least size of the randomised level that has units in both arms."""
        rarer = min(float(self.treated_share), 1.0 - float(self.treated_share))
        return math.ceil(1.0 / rarer * (1.0 - ROUNDING))

    def _least(self, name: str) -> int:
        least, own = (self._both_arms() if name == self.randomised else 1), int(self.sizes[self.names.index(name)])
        return next((n for n in range(least, own) if self._df(self._with(name, float(n))) >= 1.0), max(own, least))
