"""Hides the joint behaviour of one planned test at several looks: bounds, power, when a study stops.

A test by t at look k rejects beyond the t quantile of the nominal level of its bound on z (Jennison and Turnbull 2000,
by significance levels). Its probability to be beyond is that of the noncentral t, exactly; the looks are put together
as if normal, with the correlation that information gives. So one look is the plan itself, and with known variances all
is exact.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from gbveval.core.errors import DesignError
from gbveval.design.efficacy import EfficacyBoundary
from gbveval.design.futility import LowerBoundary
from gbveval.design.planned_test import PlannedTest, Rows, wrong_tail
from gbveval.numerics.group_sequential import Crossing, crossing
from gbveval.numerics.inference import normal_quantile, t_quantile
from gbveval.numerics.noncentral_t import t_power
from gbveval.numerics.sequential_bounds import Bounds, NoBounds, sequential_bounds


@dataclass(frozen=True, slots=True)
class LookWords:
    """What a look is, in words and numbers.

    Attributes
    ----------
    name : str
        Which size grows from look to look.
    sizes : tuple of float
        That size at each look.
    """

    name: str
    sizes: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Stopping:
    """When a study stops.

    Attributes
    ----------
    efficacy, lower : tuple of float
        Probabilities to stop at each look because the effect is shown; at the lower bound (for a two-sided test,
        because an effect in the other direction is shown).
    """

    efficacy: tuple[float, ...]
    lower: tuple[float, ...]

    @property
    def stopped(self) -> tuple[float, ...]:
        """Probability that each look is the last one; the rest falls to the last."""
        before = [a + b for a, b in zip(self.efficacy, self.lower, strict=True)][:-1]
        return (*before, 1.0 - sum(before))


@lru_cache(maxsize=512)
def solved_bounds(
    information: tuple[float, ...],
    alpha: float,
    two_sided: bool,
    boundary: EfficacyBoundary,
    futility: LowerBoundary | None,
    binding: bool,
) -> Bounds:
    """Return bounds on z, positive towards benefit, or say why there are none."""
    rule = boundary.rule(information, alpha / 2.0 if two_sided else alpha)
    lower = None if futility is None else futility.rule(information, binding=binding)
    try:
        return sequential_bounds(information, alpha, rule, two_sided=two_sided, futility=lower)
    except NoBounds as reason:
        raise DesignError(
            f"With {boundary.words}" + (f" and {futility.words}" if futility is not None else "") + f" there are no "
            f"bounds of size {alpha:g}: {reason}. Spend less early, or look less often."
        ) from None


@dataclass(frozen=True, slots=True)
class SequentialTest:
    """The test of one planned comparison at several looks."""

    tests: tuple[PlannedTest, ...]
    information: tuple[float, ...]
    looks: LookWords
    boundary: EfficacyBoundary
    futility: LowerBoundary | None
    binding: bool

    null = 0.0
    near = None

    @property
    def effect(self) -> float:
        """True effect, treated minus control."""
        return self.tests[-1].effect

    @property
    def unit(self) -> float:
        """Standard error of the estimate at the last look."""
        return self.tests[-1].unit

    @property
    def std_error(self) -> float:
        """Standard error of the estimate at the last look."""
        return self.tests[-1].std_error

    @property
    def df(self) -> float:
        """Degrees of freedom at the last look."""
        return self.tests[-1].df

    @property
    def formula(self) -> str:
        """How power is computed, in words."""
        return (
            f"probability to cross a bound at any of {len(self.tests)} looks ({self.boundary.words}), by integration "
            f"of the joint distribution of the looks; at each look: {self.tests[-1].formula}"
        )

    @property
    def source(self) -> str:
        """Where that is from."""
        lower = f"{self.futility.source}; " if self.futility is not None else ""
        return (
            f"{self.boundary.source}; {lower}Armitage, McPherson and Rowe (1969), Journal of the Royal Statistical "
            f"Society A 132; Jennison and Turnbull (2000), Group Sequential Methods; {self.tests[-1].source}"
        )

    @property
    def assumptions(self) -> tuple[str, ...]:
        """What must hold, and how far the formula is known to be off."""
        words = [
            *self.tests[-1].assumptions,
            "what is measured at a look is kept to the end, and those recruited later are like those before",
        ]
        if math.isfinite(self.df):
            words.append(
                "bounds on z are tested as t at their nominal levels; looks are put together as if normal: see the "
                "notes of SequentialDesign for how near that is"
            )
        if self.futility is not None:
            kept = "count on it: crossing a lower bound and going on breaks the size"
            free = "do not: the size holds whether or not the study stops there. Power is that of studies which do stop"
            words.append(f"the study stops at its lower bounds; upper bounds {kept if self.binding else free}")
        return tuple(words)

    def never(self, alternative: str) -> str:
        """Return why no study, however large, finds this effect; nothing if one can."""
        return wrong_tail(self.effect, self.null, alternative)

    def bounds(self, alpha: float, alternative: str) -> Bounds:
        """Return bounds on z, positive in the direction of the alternative."""
        two_sided = alternative == "two_sided"
        return solved_bounds(self.information, alpha, two_sided, self.boundary, self.futility, self.binding)

    def critical(self, bound: float, look: int) -> float:
        """Return a bound on z as the test at a look has it: the t quantile of its nominal level."""
        df = self.tests[look].df
        if math.isinf(df) or math.isinf(bound):
            return bound
        size = -float(t_quantile(_upper_tail(abs(bound)), df))
        return math.copysign(size, bound)

    def stopping(self, alpha: float, alternative: str) -> Stopping:
        """Return when studies of this effect stop."""
        bounds = self.bounds(alpha, alternative)
        sign = -1.0 if alternative == "less" else 1.0
        shift = [sign * test.distance / test.std_error for test in self.tests]
        upper = [-_reached(-u, -nc, test.df) for u, nc, test in zip(bounds.upper, shift, self.tests, strict=True)]
        lower = [_reached(low, nc, test.df) for low, nc, test in zip(bounds.lower, shift, self.tests, strict=True)]
        # Information of the true effect: a risk's variance changes with it. Shares alone matter.
        growth = [(self.std_error / test.std_error) ** 2 for test in self.tests]
        return _stops(crossing(lower, upper, growth))

    def power(self, alpha: float, alternative: str = "two_sided") -> float:
        """Return the probability that the test rejects at any look; a two-sided one counts both directions."""
        if any(test.std_error == 0.0 for test in self.tests) or self.information[0] >= 1.0:
            return self.tests[-1].power(alpha, alternative)
        found = self.stopping(alpha, alternative)
        return min(1.0, sum(found.efficacy) + (sum(found.lower) if alternative == "two_sided" else 0.0))

    def expected(self, alpha: float, alternative: str) -> float:
        """Return the size at which studies of this effect stop, on average."""
        stopped = self.stopping(alpha, alternative).stopped
        return sum(share * size for share, size in zip(stopped, self.looks.sizes, strict=True))

    def inflation(self, alpha: float, alternative: str) -> float:
        """Return information at the last look over that of a single look with the same power."""
        from scipy.optimize import brentq

        target, sign = self.power(alpha, alternative), -1.0 if alternative == "less" else 1.0
        shift = sign * self.tests[-1].distance / self.std_error
        if not alpha + 1e-9 < target < 1.0 - 1e-12 or shift == 0.0:
            return math.nan
        one_look = math.copysign(1.0, shift)

        def excess(x: float) -> float:
            return t_power(sign * one_look * x, self.df, alpha, alternative) - target

        found = float(brentq(excess, 0.0, 2.0 * abs(shift) + 1.0, xtol=1e-13, rtol=1e-13))
        return (shift / found) ** 2

    def detail(self, alpha: float, alternative: str = "two_sided") -> Rows:
        """Return bounds, when studies stop and what looking costs, in words."""
        plain = self.tests[-1]
        once = [
            (f"{what}, looked at once" if what.startswith("power ") else what, words)
            for what, words in plain.detail(alpha, alternative)[:-1]
        ]
        rows = [*once, *self._looks(alpha, alternative)]
        size, cost = self.expected(alpha, alternative), self.inflation(alpha, alternative)
        rows += [
            (f"expected {self.looks.name} with this effect", f"{size:.4g} of at most {self.looks.sizes[-1]:g}"),
            (f"expected {self.looks.name} with no effect", f"{self._expected_under_null(alpha, alternative):.4g}"),
            ("power of a single look at the end", f"{plain.power(alpha, alternative):.4f}"),
        ]
        if math.isfinite(cost):
            rows.append(("information against a single look of the same power", f"{cost:.4f} times"))
        if self.futility is not None:
            rows.append(("lower bounds", f"{self.futility.words}; {'binding' if self.binding else 'not binding'}"))
        rows.append(("critical value", f"{self._last(alpha, alternative)} at the last look"))
        return tuple(rows)

    def stopping_under_null(self, alpha: float, alternative: str) -> Stopping:
        """Return when studies without an effect stop."""
        bounds = self.bounds(alpha, alternative)
        return _stops(crossing(bounds.lower, bounds.upper, self.information))

    def _expected_under_null(self, alpha: float, alternative: str) -> float:
        stopped = self.stopping_under_null(alpha, alternative).stopped
        return sum(share * size for share, size in zip(stopped, self.looks.sizes, strict=True))

    def _last(self, alpha: float, alternative: str) -> str:
        bound = self.critical(self.bounds(alpha, alternative).upper[-1], len(self.tests) - 1)
        return f"{bound:.4f}, {'normal' if math.isinf(self.df) else f't with {self.df:g} degrees of freedom'}"

    def _looks(self, alpha: float, alternative: str) -> Iterator[tuple[str, str]]:
        """Yield what happens at each look."""
        bounds, stops = self.bounds(alpha, alternative), self.stopping(alpha, alternative)
        idle = self.stopping_under_null(alpha, alternative)
        for k, (size, share) in enumerate(zip(self.looks.sizes, self.information, strict=True)):
            words = f"{self.looks.name} {size:.4g}, information {share:.4g}: z {bounds.upper[k]:.4g}"
            words += f" (nominal one-sided p {_upper_tail(bounds.upper[k]):.4g}), reached with probability "
            words += f"{stops.efficacy[k]:.4f}, with no effect {idle.efficacy[k]:.4f}"
            if self.futility is not None and math.isfinite(bounds.lower[k]) and k + 1 < len(self.tests):
                words += f"; stops at or below {bounds.lower[k]:.4g}, with probability {stops.lower[k]:.4f}, with no "
                words += f"effect {idle.lower[k]:.4f}"
            yield f"look {k + 1}", words


def _upper_tail(bound: float) -> float:
    from scipy.special import ndtr

    return float(ndtr(-bound))


def _reached(bound: float, shift: float, df: float) -> float:
    """Return the normal bound below which a centred statistic falls as often as this test below the bound."""
    if math.isinf(df) or math.isinf(bound):
        return bound - shift
    level = _upper_tail(-bound)
    chance = t_power(shift, df, level, "less")
    return float(normal_quantile(chance))


def _stops(found: Crossing) -> Stopping:
    return Stopping(tuple(map(float, found.above)), tuple(map(float, np.asarray(found.below))))
