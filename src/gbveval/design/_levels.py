"""Hides the variance of an effect where units are nested: people in schools, schools in districts, and so on.

One formula serves every depth and every level of randomisation r. With N_l the units of level l in all, s_l^2 the
variance between them within their unit of the level above, and P the treated share, the estimate has variance

    sum over l <= r of s_l^2 (1 - R_l^2) / (P (1 - P) N_l)  +  sum over l > r of t_l^2 (1 - R_tl^2) / N_l,

t_l the standard deviation of true effects between units of level l (Raudenbush 1997, Bloom 2006 and Dong and Maynard
2013 give its cases). Levels above r add nothing else: arms are compared within their units.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from gbveval.core.errors import DesignError
from gbveval.design._require import real, whole
from gbveval.design.icc import ICC


@dataclass(frozen=True, slots=True)
class Level:
    """One level of a nested plan, such as the schools of a district.

    Parameters
    ----------
    name : str
        What its units are called, such as "schools": the name to solve for.
    size : int
        Units of this level in each unit of the level above; of the top level, in all.
    icc : ICC, optional
        Share of the outcome's variance that lies between units of this level (within a unit of the level above), on the
        observed scale. The lowest level has what is left, and none of its own.
    r_squared : float
        Share of the variance at this level that covariates explain.
    effect_sd : float
        Standard deviation of true effects between units of this level, in units of the outcome; for levels above the
        randomised one.
    effect_r_squared : float
        Share of the variance of true effects that covariates of this level explain.

    Raises
    ------
    DesignError
        If something is out of range.

    Examples
    --------
    >>> Level("schools", 6, icc=ICC(0.1, scale="observed")).size
    6
    """

    name: str
    size: int
    icc: ICC | None = None
    r_squared: float = 0.0
    effect_sd: float = 0.0
    effect_r_squared: float = 0.0

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not self.name:
            raise DesignError(f"The name of a level is a word such as 'schools'; it is {self.name!r}.")
        whole(f"The size of level {self.name!r}", self.size, least=1)
        if self.icc is not None and not (isinstance(self.icc, ICC) and self.icc.scale == "observed"):
            raise DesignError(f"Level {self.name!r} needs ICC(..., scale='observed'); its icc is {self.icc!r}.")
        real("r_squared", self.r_squared, low=0.0, high=1.0, closed=True)
        real("effect_sd", self.effect_sd, low=0.0, high=math.inf, closed=True)
        real("effect_r_squared", self.effect_r_squared, low=0.0, high=1.0, closed=True)
        if self.effect_r_squared and not self.effect_sd:
            raise DesignError(f"Level {self.name!r} explains a share of the variance of effects: give effect_sd.")


def shares(levels: tuple[Level, ...]) -> tuple[float, ...]:
    """Return the share of the variance at each level, from people up."""
    above = tuple(float(level.icc.value) if level.icc is not None else 0.0 for level in levels[1:])
    return (1.0 - sum(above), *above)


def units(sizes: tuple[float, ...]) -> tuple[float, ...]:
    """Return the units of each level in all.

    Examples
    --------
    >>> units((20.0, 6.0, 10.0))
    (1200.0, 60.0, 10.0)
    """
    return tuple(math.prod(sizes[place:]) for place in range(len(sizes)))


def parts(
    levels: tuple[Level, ...], sizes: tuple[float, ...], randomised: int, variance: float, treated_share: float
) -> tuple[tuple[str, float], ...]:
    """Return what each level adds to the variance of the estimate, with what it is.

    Parameters
    ----------
    levels : tuple of Level
        From people up.
    sizes : tuple of float
        Their sizes, which may be other than those of the levels.
    randomised : int
        Place of the randomised level.
    variance : float
        Of the outcome between people, all levels together.
    treated_share : float
        Share of units treated.
    """
    arms = treated_share * (1.0 - treated_share)
    found = []
    for place, (level, share, count) in enumerate(zip(levels, shares(levels), units(sizes), strict=True)):
        if place <= randomised:
            found.append((level.name, share * variance * (1.0 - float(level.r_squared)) / (arms * count)))
        elif level.effect_sd > 0.0:
            effects = float(level.effect_sd) ** 2 * (1.0 - float(level.effect_r_squared))
            found.append((f"effects that differ between {level.name}", effects / count))
    return tuple(found)
