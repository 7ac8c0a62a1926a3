"""Hides how the bounds of a sequential test are solved: look by look, or by a common factor, with or without futility.

Bounds are on the scale of z, upwards towards what is to be shown. Under the null hypothesis nothing drifts; under the
alternative Z_k has the mean drift x sqrt(t_k), with t_k the share of the information. Jennison and Turnbull (2000),
Group Sequential Methods with Applications to Clinical Trials, chapters 2 to 4, 7 and 19.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from gbveval.numerics.group_sequential import Going, above, begin, below, go_on, lower_bound, upper_bound
from gbveval.numerics.inference import normal_quantile

# A common factor is sought up to this one: bounds of 12 standard errors at the last look have no size at all.
LARGEST_FACTOR = 12.0
# Futility at every look may inflate information this much, and not more.
LARGEST_DRIFT_RATIO = 4.0


class NoBounds(ValueError):  # noqa: N818 - the design that asked says it in its own words
    """There are no such bounds."""


@dataclass(frozen=True, slots=True)
class Rule:
    """How one side of the bounds is found.

    Attributes
    ----------
    kind : str
        "factor" (a common factor times `values`), "spend" (the error spent up to each look is in `values`) or "fixed"
        (the bounds themselves, but for the last look, which takes what is left of the error).
    values : tuple of float
        One a look; for "fixed" one a look but the last.
    """

    kind: str
    values: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Futility:
    """How the lower bounds are found, at which a study stops without having shown what it was to show.

    Attributes
    ----------
    kind : str
        "beta" (spent under the alternative), "harm" (spent under the null) or "fixed" (bounds, but for the last look).
    values : tuple of float
        One a look; for "fixed" one a look but the last.
    binding : bool
        Whether upper bounds count on stopping at the lower ones.
    """

    kind: str
    values: tuple[float, ...]
    binding: bool


@dataclass(frozen=True, slots=True)
class Bounds:
    """Bounds on the scale of z.

    Attributes
    ----------
    upper, lower : tuple of float
        Minus the upper bound where the test is two-sided; minus infinity where there is no lower one.
    drift : float or None
        Mean of the last statistic at which the error of the second kind is what was to be spent on it.
    """

    upper: tuple[float, ...]
    lower: tuple[float, ...]
    drift: float | None = None


def sequential_bounds(
    information: tuple[float, ...], alpha: float, rule: Rule, *, two_sided: bool, futility: Futility | None = None
) -> Bounds:
    """Return the bounds of a sequential test.

    Parameters
    ----------
    information : tuple of float
        Shares of the information, strictly increasing up to 1.
    alpha : float
        Size of the test, on both sides together where there are two.
    rule : Rule
        How upper bounds are found; errors spent are those of one side.
    two_sided : bool
        Whether the test rejects on either side.
    futility : Futility, optional
        How lower bounds of a one-sided test are found.

    Raises
    ------
    NoBounds
        If there are none.

    Examples
    --------
    >>> found = sequential_bounds((0.5, 1.0), 0.05, Rule("factor", (1.0, 1.0)), two_sided=True)
    >>> [round(bound, 4) for bound in found.upper]
    [2.1783, 2.1783]
    """
    tail = alpha / 2.0 if two_sided else alpha
    walk = _Walk(information, tail, rule, two_sided, futility)
    if futility is None or futility.kind != "beta":
        return _settled(walk, 0.0)
    from scipy.optimize import brentq

    missed = futility.values[-1]
    fixed = -float(normal_quantile(tail)) - float(normal_quantile(missed))
    if fixed <= 0.0:
        raise NoBounds("power is no more than the size")

    def excess(drift: float) -> float:
        upper = walk.factor(drift)
        return walk.sweep(upper, drift).missed - missed

    high = LARGEST_DRIFT_RATIO * fixed
    if excess(high) > 0.0:
        raise NoBounds("so much is spent early that no study has the power")
    # Below the drift of a single look the error cannot be as small: looking more often never adds power.
    drift = float(brentq(excess, 0.5 * fixed, high, xtol=1e-11, rtol=1e-12))
    found = _settled(walk, drift)
    return Bounds(found.upper, found.lower, drift)


def _settled(walk: _Walk, drift: float) -> Bounds:
    done = walk.sweep(walk.factor(drift), drift)
    return Bounds(done.upper, done.lower)


@dataclass(frozen=True, slots=True)
class _Done:
    upper: tuple[float, ...]
    lower: tuple[float, ...]
    rejected: float
    missed: float


@dataclass(frozen=True, slots=True)
class _Walk:
    """One pass over the looks: bounds at each follow from what happened before."""

    information: tuple[float, ...]
    tail: float
    rule: Rule
    two_sided: bool
    futility: Futility | None

    def factor(self, drift: float) -> float:
        """Return the common factor at which the size is what it shall be; one where there is none to find."""
        if self.rule.kind != "factor":
            return 1.0
        from scipy.optimize import brentq

        def excess(c: float) -> float:
            return self.sweep(c, drift).rejected - self.tail

        return float(brentq(excess, 0.0, LARGEST_FACTOR, xtol=1e-12, rtol=1e-13))

    def sweep(self, c: float, drift: float) -> _Done:
        """Return bounds, the size of one side under the null, and the error of the second kind under the drift."""
        null = met = other = begin()
        uppers: list[float] = []
        lowers: list[float] = []
        rejected = missed = spent = wasted = 0.0
        last = len(self.information) - 1
        binding = self.futility is not None and self.futility.binding
        for k, t in enumerate(self.information):
            away = drift * math.sqrt(t)
            up = self._upper(k, null, c, rejected)
            low = self._lower(k, met, other, up, away, spent, wasted)
            rejected += above(null, t, up)
            spent += below(met, t, low)
            wasted += below(other, t, low - away)
            missed += below(other, t, (up if k == last else low) - away)
            uppers.append(up)
            lowers.append(low)
            if k < last:
                after = self.information[k + 1]
                null = go_on(null, t, low if binding or self.two_sided else -math.inf, up, after=after)
                if self.futility is not None:
                    met = go_on(met, t, low, up, after=after)
                    other = go_on(other, t, low - away, up - away, after=after)
        return _Done(tuple(uppers), tuple(lowers), rejected, missed)

    def _upper(self, k: int, null: Going, c: float, rejected: float) -> float:
        """Return the upper bound at a look."""
        if self.rule.kind == "factor":
            return c * self.rule.values[k]
        last = k == len(self.information) - 1
        if self.rule.kind == "fixed" and not last:
            return self.rule.values[k]
        upto = self.tail if last else self.rule.values[k]
        if upto <= rejected and last:
            raise NoBounds("the bounds before the last look spend all of the size")
        return upper_bound(null, self.information[k], upto - rejected)

    def _lower(self, k: int, met: Going, other: Going, upper: float, away: float, spent: float, wasted: float) -> float:
        """Return the lower bound at a look, never above the upper one."""
        if self.two_sided:
            return -upper
        if self.futility is None:
            return -math.inf
        kind, values, t = self.futility.kind, self.futility.values, self.information[k]
        if kind == "harm":
            return min(upper, lower_bound(met, t, values[k] - spent))
        if k == len(self.information) - 1:
            return upper
        if kind == "fixed":
            return min(upper, values[k])
        return min(upper, lower_bound(other, t, values[k] - wasted) + away)
