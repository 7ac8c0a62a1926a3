"""Hides how one test of several differences is planned: F of means and of coefficients, chi-square of shares."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import ClassVar

import numpy as np

from gbveval.core.errors import DesignError
from gbveval.design._require import asked_size, real, whole
from gbveval.design.planned_test import EXACT, Nearness, OneSize, Rows, zero_only

ANY = "any"
# Beyond this noncentrality power is one to rounding, and the series of the noncentral F is long.
CERTAIN = 1e7
NEAR_SHARES = Nearness(0.04, "60 respondents or more in up to six categories of which each expects ten")


@dataclass(frozen=True, slots=True)
class OverallTest:
    """A test of several differences at once: F, or chi-square where `df2` is infinite.

    Parameters
    ----------
    effect : float
        Size of the departure; zero where nothing differs.
    noncentrality : float
        Of the statistic, without its division by degrees of freedom.
    df1, df2 : float
        Degrees of freedom.
    formula, source : str
        In words.
    assumptions : tuple of str
        What must hold.
    near : Nearness or None
        How near the formula is to the planned analysis.
    """

    effect: float
    noncentrality: float
    df1: float
    df2: float
    formula: str
    source: str
    assumptions: tuple[str, ...]
    near: Nearness | None = None

    null = 0.0

    @property
    def unit(self) -> float:
        """An effect from which a search may start."""
        return 0.1 if self.noncentrality == 0.0 else abs(self.effect) / math.sqrt(self.noncentrality)

    def never(self, alternative: str) -> str:
        """Return why no study, however large, finds this; nothing if one can."""
        if self.effect != 0.0:
            return ""
        return "Where nothing differs there is nothing to find: give the smallest departure that would matter."

    def power(self, alpha: float, alternative: str = ANY) -> float:
        """Return the probability that the test rejects."""
        from scipy.special import chdtri, chndtr, fdtri, ncfdtr

        if self.noncentrality > CERTAIN:
            return 1.0
        if self.noncentrality == 0.0:
            return alpha
        if math.isinf(self.df2):
            return 1.0 - float(chndtr(chdtri(self.df1, alpha), self.df1, self.noncentrality))
        critical = float(fdtri(self.df1, self.df2, 1.0 - alpha))
        return 1.0 - float(ncfdtr(self.df1, self.df2, self.noncentrality, critical))

    def detail(self, alpha: float, alternative: str = ANY) -> Rows:
        """Return noncentrality and critical value in words."""
        from scipy.special import chdtri, fdtri

        if math.isinf(self.df2):
            words = f"{float(chdtri(self.df1, alpha)):.4f}, chi-square with {self.df1:g} degrees of freedom"
        else:
            value = float(fdtri(self.df1, self.df2, 1.0 - alpha))
            words = f"{value:.4f}, F with {self.df1:g} and {self.df2:g} degrees of freedom"
        return (("noncentrality", f"{self.noncentrality:.4g}"), ("critical value", words))


class _Overall(OneSize):
    """What tests of several differences have in common: they look in no direction."""

    __slots__ = ()

    @property
    def alternatives(self) -> tuple[str, ...]:
        """Any departure."""
        return (ANY,)


@dataclass(frozen=True, slots=True)
class Departure:
    """What an overall test looks for: a size that cannot be below zero."""

    def largest_effect(self, direction: str) -> float:
        """Return the size that departures stay below."""
        return math.inf


def _departure(effect: float) -> float:
    return real("A departure", effect, low=0.0, high=math.inf, closed=True)


@dataclass(frozen=True, slots=True)
class AnovaDesign(_Overall):
    """Several arms of single respondents, compared by one F test that finds whether any arm differs.

    Parameters
    ----------
    n_per_arm : int
        Respondents in each arm.
    sd : float
        Standard deviation of the outcome within arms.
    pattern : tuple of float
        Means of the arms as multiples of the effect, such as (0, 1, 2). Only their differences count.

    Raises
    ------
    DesignError
        If something is impossible, or all multiples are the same.

    Notes
    -----
    An effect is what multiplies the pattern, in units of the outcome. Cohen's f is the effect times the standard
    deviation of the pattern (over arms, not arms minus one) over `sd`. A test that some arm differs does not say which;
    for that plan `MultiArmDesign`.

    References
    ----------
    Cohen (1988), Statistical Power Analysis for the Behavioral Sciences, chapter 8.

    Examples
    --------
    >>> plan = AnovaDesign(n_per_arm=60, sd=1.0, pattern=(0.0, 1.0, 2.0))
    >>> round(plan.planned_test(0.2).power(0.05), 4)
    0.4796
    """

    n_per_arm: int
    sd: float
    pattern: tuple[float, ...]
    _size: ClassVar[tuple[str, int]] = ("n_per_arm", 2)

    def __post_init__(self) -> None:
        whole("n_per_arm", self.n_per_arm, least=2)
        real("sd", self.sd, low=0.0, high=math.inf)
        if not isinstance(self.pattern, tuple) or len(self.pattern) < 2:
            raise DesignError("pattern must be a tuple with a number for each arm, at least two.")
        for multiple in self.pattern:
            real("A multiple in pattern", multiple, low=-math.inf, high=math.inf)
        if len(set(self.pattern)) == 1:
            raise DesignError("All multiples in pattern are the same, so no arm ever differs; give what the means are.")

    @property
    def outcome(self) -> Departure:
        """What is looked for."""
        return Departure()

    def cohen_f(self, effect: float) -> float:
        """Return Cohen's f: standard deviation of the means over that within arms."""
        return _departure(effect) * float(np.std(self.pattern)) / float(self.sd)

    def planned_test(self, effect: float, *, size: tuple[str, float] | None = None, null: float = 0.0) -> OverallTest:
        """Return the planned F test when the means are the effect times the pattern."""
        n = asked_size(size, self.least_sizes, self.n_per_arm)
        zero_only("An F test of several arms", null)
        arms = len(self.pattern)
        return OverallTest(
            effect=_departure(effect),
            noncentrality=arms * n * self.cohen_f(effect) ** 2 if effect else 0.0,
            df1=arms - 1.0,
            df2=arms * (n - 1.0),
            formula="sum over arms of n (mean - grand mean)^2 / sd^2, against the noncentral F",
            source="Cohen (1988), Statistical Power Analysis for the Behavioral Sciences, chapter 8",
            assumptions=("the outcome is normal with the same standard deviation in every arm",),
            near=EXACT,
        )


@dataclass(frozen=True, slots=True)
class RegressionDesign(_Overall):
    """A linear regression in which several coefficients are tested at once, such as a set of risk factors.

    Parameters
    ----------
    n : int
        Respondents.
    n_tested : int
        Coefficients that are tested together.
    n_others : int
        Other coefficients beside the constant.

    Raises
    ------
    DesignError
        If there are no more respondents than coefficients.

    Notes
    -----
    An effect is Cohen's f^2: the part of the outcome's variance that the tested coefficients explain over the part that
    nobody explains. The noncentrality is f^2 times the respondents that other coefficients leave, as Cohen has it: that
    of coefficients whose columns are as they were planned in the sample. An association, not an effect.

    References
    ----------
    Cohen (1988), Statistical Power Analysis for the Behavioral Sciences, chapter 9.

    Examples
    --------
    >>> round(RegressionDesign(n=102, n_tested=1).planned_test(0.08).power(0.05), 4)
    0.8076
    """

    n: int
    n_tested: int
    n_others: int = 0

    def __post_init__(self) -> None:
        whole("n_tested", self.n_tested, least=1)
        whole("n_others", self.n_others, least=0)
        whole("n", self.n, least=self.least_sizes["n"])

    @property
    def outcome(self) -> Departure:
        """What is looked for."""
        return Departure()

    @property
    def least_sizes(self) -> Mapping[str, int]:
        """Sizes that can be solved for, with the least that each may be."""
        return MappingProxyType({"n": int(self.n_tested) + int(self.n_others) + 2})

    def planned_test(self, effect: float, *, size: tuple[str, float] | None = None, null: float = 0.0) -> OverallTest:
        """Return the planned F test of the coefficients at a value of Cohen's f^2."""
        n = asked_size(size, self.least_sizes, self.n)
        zero_only("An F test of coefficients", null)
        return OverallTest(
            effect=_departure(effect),
            noncentrality=_departure(effect) * (n - self.n_others) if effect else 0.0,
            df1=float(self.n_tested),
            df2=n - self.n_tested - self.n_others - 1.0,
            formula="f^2 (n - other coefficients), against the noncentral F",
            source="Cohen (1988), Statistical Power Analysis for the Behavioral Sciences, chapter 9",
            assumptions=(
                "the outcome is normal around the regression with one standard deviation",
                "the tested columns explain in the sample what was planned",
            ),
            near=None if self.n_others else EXACT,
        )


@dataclass(frozen=True, slots=True)
class ChiSquareDesign(_Overall):
    """Shares of several categories in one sample, compared with known ones or between groups by a chi-square test.

    Parameters
    ----------
    n : int
        Respondents in all.
    df : int
        Degrees of freedom: categories minus one against known shares; (rows - 1)(columns - 1) in a table.

    Raises
    ------
    DesignError
        If something is impossible.

    Notes
    -----
    An effect is Cohen's w: the root of the sum over categories (cells) of (true - null)^2 / null share.

    References
    ----------
    Cohen (1988), Statistical Power Analysis for the Behavioral Sciences, chapter 7.

    Examples
    --------
    >>> round(ChiSquareDesign(n=200, df=3).planned_test(0.3).power(0.05), 4)
    0.9591
    """

    n: int
    df: int
    _size: ClassVar[tuple[str, int]] = ("n", 2)

    def __post_init__(self) -> None:
        whole("n", self.n, least=2)
        whole("df", self.df, least=1)

    @property
    def outcome(self) -> Departure:
        """What is looked for."""
        return Departure()

    def planned_test(self, effect: float, *, size: tuple[str, float] | None = None, null: float = 0.0) -> OverallTest:
        """Return the planned chi-square test at a value of Cohen's w."""
        n = asked_size(size, self.least_sizes, self.n)
        zero_only("A chi-square test of shares", null)
        return OverallTest(
            effect=_departure(effect),
            noncentrality=n * _departure(effect) ** 2 if effect else 0.0,
            df1=float(self.df),
            df2=math.inf,
            formula="n w^2, against the noncentral chi-square",
            source="Cohen (1988), Statistical Power Analysis for the Behavioral Sciences, chapter 7",
            assumptions=("every category or cell expects ten respondents or so",),
            near=NEAR_SHARES,
        )
