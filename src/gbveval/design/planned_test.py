"""Hides, for every design, how the planned comparison will be tested: its power, its reference and its words."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any, ClassVar, Protocol, Self, runtime_checkable

from gbveval.core.errors import DesignError
from gbveval.design._require import one_of
from gbveval.numerics.inference import ALTERNATIVES, normal_quantile, t_quantile
from gbveval.numerics.noncentral_t import t_power

Rows = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Nearness:
    """How near power by formula is to the power of the planned analysis, where what is assumed holds.

    Parameters
    ----------
    gap : float
        0 where the formula is exact; otherwise the largest distance that simulation found.
    where : str
        Among which plans it was looked for.
    """

    gap: float
    where: str = ""

    def words(self) -> str:
        """Return this in words."""
        if self.gap == 0.0:
            return "exact where what is assumed holds"
        return f"within {self.gap:g} of the simulated power of the planned analysis, among plans of {self.where}"


EXACT = Nearness(0.0)


@runtime_checkable
class PowerTest(Protocol):
    """A planned test of one true effect, as the closed forms see it."""

    @property
    def effect(self) -> float:
        """True effect, treated minus control."""

    @property
    def null(self) -> float:
        """Effect under the null hypothesis: zero, or a margin."""

    @property
    def unit(self) -> float:
        """A size from which a search for an effect may start, such as the standard error."""

    @property
    def formula(self) -> str:
        """How power is computed, in words."""

    @property
    def source(self) -> str:
        """Where that is from."""

    @property
    def assumptions(self) -> tuple[str, ...]:
        """What must hold, and how far the formula is known to be off."""

    @property
    def near(self) -> Nearness | None:
        """How near the formula is to the planned analysis; None where that was not measured."""

    def never(self, alternative: str) -> str:
        """Return why no study, however large, finds this effect; nothing if one can."""

    def power(self, alpha: float, alternative: str) -> float:
        """Return the probability that the test rejects."""

    def detail(self, alpha: float, alternative: str) -> Rows:
        """Return what the test computes with: standard errors, the critical value."""


def wrong_tail(effect: float, null: float, alternative: str) -> str:
    """Return why a test of a null can never find an effect, or nothing if it can."""
    if effect == null:
        what = "An effect of zero" if null == 0.0 else f"An effect of {effect:g}, the margin itself,"
        return f"{what} is found by no study, however large: give the smallest effect that would matter."
    if (alternative == "greater" and effect < null) or (alternative == "less" and effect > null):
        return (
            f"A test against {alternative!r} looks in the other direction: an effect of {effect:g} is "
            f"{'below' if effect < null else 'above'} the null of {null:g}, so power falls below alpha as the study "
            "grows. Check the sign of the effect (treated minus control)."
        )
    return ""


def zero_only(what: str, null: float) -> None:
    """Refuse a margin where a test is against no difference only."""
    if null != 0.0:
        raise DesignError(f"{what} tests against no difference only; it has no margin of {null:g}.")


@dataclass(frozen=True, slots=True)
class Otherwise:
    """Another way to compute a planned test, whose power is told beside it where the two differ.

    Parameters
    ----------
    words : str
        What is computed otherwise.
    df : float
        Degrees of freedom then.
    factor : float
        What the variance is multiplied by then.
    """

    words: str
    df: float
    factor: float = 1.0


@dataclass(frozen=True, slots=True)
class PlannedTest:
    """The test of one planned comparison by an estimate over a standard error.

    Parameters
    ----------
    effect : float
        True effect, treated minus control.
    std_error : float
        Standard error of the estimate when the effect is true; zero in the limit of infinite size.
    df : float
        Degrees of freedom of the t reference; infinite for the normal.
    null_std_error : float or None
        Standard error by which the test divides when it is another one (a variance pooled under the null).
    formula, source : str
        In words.
    assumptions : tuple of str
        What must hold, and how far the formula is known to be off.
    null : float
        Effect under the null hypothesis.
    shift : float or None
        Distance of the effect from the null on the scale of the test (a log rate ratio) where it is another one.
    scale : str
        Name of that scale.
    correction : float
        Continuity correction: what the test takes off the absolute estimate.
    others : tuple of Otherwise
        Ways to compute power that are as good or better, which `detail` gives beside it.
    near : Nearness or None
        How near the formula is to the planned analysis; None where that was not measured.
    """

    effect: float
    std_error: float
    df: float
    null_std_error: float | None = None
    formula: str = ""
    source: str = ""
    assumptions: tuple[str, ...] = ()
    null: float = 0.0
    shift: float | None = None
    scale: str = ""
    correction: float = 0.0
    others: tuple[Otherwise, ...] = ()
    near: Nearness | None = None

    @property
    def distance(self) -> float:
        """Distance of the effect from the null on the scale of the test."""
        return self.effect - self.null if self.shift is None else self.shift

    @property
    def unit(self) -> float:
        """Standard error of the estimate."""
        return self.std_error

    def never(self, alternative: str) -> str:
        """Return why no study, however large, finds this effect; nothing if one can."""
        return wrong_tail(self.effect, self.null, alternative)

    def power(self, alpha: float, alternative: str = "two_sided") -> float:
        """Return the probability that the test rejects; a two-sided one counts both tails."""
        far = self.distance
        if self.std_error == 0.0:
            if far == 0.0:
                return alpha
            return 1.0 if alternative == "two_sided" or (far > 0.0) == (alternative == "greater") else 0.0
        if self.null_std_error is None and self.correction == 0.0:
            return t_power(far / self.std_error, self.df, alpha, alternative)
        from scipy.special import ndtr

        divides = self.std_error if self.null_std_error is None else self.null_std_error
        reach = self._critical(alpha, alternative) * divides + self.correction
        above = float(ndtr((far - reach) / self.std_error))
        below = float(ndtr((-far - reach) / self.std_error))
        return {"two_sided": min(1.0, above + below), "greater": above, "less": below}[alternative]

    def detail(self, alpha: float, alternative: str = "two_sided") -> Rows:
        """Return standard errors and the critical value in words."""
        reference = "normal" if math.isinf(self.df) else f"t with {self.df:g} degrees of freedom"
        rows = [("standard error of the estimate", f"{self.std_error:.4g}")]
        if self.shift is not None:
            rows.insert(0, (f"distance from the null on the scale of the test ({self.scale})", f"{self.shift:.4g}"))
        if self.null_std_error is not None:
            rows.append(("standard error that the test divides by", f"{self.null_std_error:.4g}"))
        if self.correction:
            rows.append(("continuity correction", f"{self.correction:.4g}"))
        rows += [
            (f"power {other.words}", f"{self.otherwise(other).power(alpha, alternative):.4f}") for other in self.others
        ]
        rows.append(("critical value", f"{self._critical(alpha, alternative):.4f}, {reference}"))
        return tuple(rows)

    def otherwise(self, other: Otherwise) -> PlannedTest:
        """Return the test computed in another way."""
        return replace(self, std_error=self.std_error * math.sqrt(other.factor), df=other.df, others=())

    def _critical(self, alpha: float, alternative: str) -> float:
        tail = alpha / 2.0 if alternative == "two_sided" else alpha
        return -float(normal_quantile(tail) if math.isinf(self.df) else t_quantile(tail, self.df))


@runtime_checkable
class PlannedDesign(Protocol):
    """A planned design of one comparison, as the closed forms see it."""

    @property
    def outcome(self) -> Any:
        """What is measured: it knows the largest effect in a direction (`largest_effect`)."""

    @property
    def least_sizes(self) -> Mapping[str, int]:
        """Sizes that can be solved for, with the least that each may be; the first is the usual one."""

    @property
    def alternatives(self) -> tuple[str, ...]:
        """Alternatives that the test can be against; the first is the usual one."""

    @property
    def counted(self) -> bool:
        """Whether power is summed over tables of counts, so that a size is a whole number and power is not monotone."""

    def planned_test(self, effect: float, *, size: tuple[str, float] | None = None) -> PowerTest:
        """Return the planned test, with one of the sizes replaced by any real number or infinity."""

    def resized(self, name: str, value: int) -> PlannedDesign:
        """Return the design with another size."""

    def limit_hint(self, name: str) -> str:
        """Return what holds power down when only this size grows, and what to do."""

    def process(self, effect: float) -> Any:
        """Return the process that draws studies of this design with this true effect."""


class PlainDesign:
    """What most designs have in common: tests on either side, real sizes, no floor under the standard error."""

    __slots__ = ()

    @property
    def alternatives(self) -> tuple[str, ...]:
        """Alternatives that the test can be against; the first is the usual one."""
        return ALTERNATIVES

    @property
    def counted(self) -> bool:
        """Whether power is summed over tables of counts."""
        return False

    def limit_hint(self, name: str) -> str:
        """Return what to do when power stays too low."""
        return "Plan for a larger effect or a lower power."

    def process(self, effect: float) -> Any:
        """Refuse: studies of this design are not drawn yet."""
        raise DesignError(
            f"{type(self).__name__} has power by formula only; its studies are not drawn by simulate_power."
        )


class OneSize(PlainDesign):
    """What designs of one size have in common: its name and the least that it may be."""

    __slots__ = ()
    _size: ClassVar[tuple[str, int]]

    @property
    def least_sizes(self) -> Mapping[str, int]:
        """The size that can be solved for, with the least that it may be."""
        name, least = self._size
        return MappingProxyType({name: least})

    def resized(self, name: str, value: int) -> Self:
        """Return the design with another size."""
        one_of("solve_for", name, tuple(self.least_sizes))
        design: Any = self
        changed: Self = replace(design, **{name: value})
        return changed
