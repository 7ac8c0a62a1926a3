"""Hides how a size or an effect is found at which power reaches a target: a bracketed root, checked afterwards."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from gbveval.core.errors import ConvergenceError, DesignError

# A bounded effect is scanned on a scale that is even in the logarithm of what is left to the bound, down to 1e-9 of it.
LAST_SHARE, SCAN_POINTS = 1e-9, 300
# Power is computed to about 1e-12 at usual sizes and df; a difference of this size cannot be told from rounding.
ROUNDING = 1e-9
GRID_POINTS = 9


class OutOfReach(Exception):  # noqa: N818 - not an error yet: the caller names what was asked
    """The target was not reached; `best` is the power at the upper end, or where it is largest: `at`."""

    def __init__(self, best: float, at: float = math.inf) -> None:
        self.best, self.at = best, at
        super().__init__(f"best power {best:.4f}")


def solve_increasing(
    power_at: Callable[[float], float], target: float, *, low: float, high: float, start: float | None = None
) -> float:
    """Return the x in [low, high] at which an increasing power function equals the target.

    Parameters
    ----------
    power_at : callable
        Power as a function of a size or of the magnitude of an effect.
    target : float
        Power to be reached.
    low, high : float
        The answer is sought between them; `low` itself is returned when it already suffices.
    start : float, optional
        First guess of the upper end, which is doubled until it suffices.

    Raises
    ------
    OutOfReach
        If power at `high` is below the target.
    ConvergenceError
        If power is found not to increase, or not to equal the target at the answer.
    """
    from scipy.optimize import brentq

    if power_at(low) >= target:
        return float(low)
    lower, upper = low, min(high, start if start is not None else max(2.0 * low, low + 1.0))
    while (best := power_at(upper)) < target:
        if upper >= high:
            raise OutOfReach(best)
        lower, upper = upper, min(high, 2.0 * upper)
    grid = [power_at(float(x)) for x in np.linspace(lower, upper, GRID_POINTS)]
    if np.any(np.diff(grid) < -ROUNDING):
        raise ConvergenceError("Power does not increase with what was solved for; look at power_curve instead.")
    answer = float(brentq(lambda x: power_at(x) - target, lower, upper, xtol=1e-14, rtol=1e-14, maxiter=500))
    if not math.isclose(power_at(answer), target, abs_tol=ROUNDING):
        raise ConvergenceError("Power at the answer differs from the target; look at power_curve instead.")
    return answer


def solve_first(power_at: Callable[[float], float], target: float, *, bound: float) -> float:
    """Return the first x below a bound at which a power function that may rise and fall equals the target.

    A rate ratio has such a power: as the treated rate goes to zero the standard error of its logarithm grows faster
    than the logarithm, so power has one peak.

    Parameters
    ----------
    power_at : callable
        Power as a function of the magnitude of an effect; it is below the target at zero.
    target : float
        Power to be reached.
    bound : float
        The magnitude that effects stay below.

    Raises
    ------
    OutOfReach
        If the target is not reached; with the largest power and, if power falls beyond it, where that is.
    """
    from scipy.optimize import brentq, minimize_scalar

    x = -bound * np.expm1(np.linspace(0.0, math.log(LAST_SHARE), SCAN_POINTS))
    found = np.array([power_at(float(value)) for value in x])
    upper = int(np.argmax(found >= target)) if np.any(found >= target) else int(np.argmax(found))
    ends = float(x[max(upper - 1, 0)]), float(x[upper])
    if found[upper] < target:
        beyond = float(x[min(upper + 1, SCAN_POINTS - 1)])
        top = minimize_scalar(lambda value: -power_at(value), bounds=(ends[0], beyond), method="bounded")
        if -top.fun < target:
            raise OutOfReach(max(-float(top.fun), float(found[-1])), float(top.x) if -top.fun > found[-1] else math.inf)
        ends = ends[0], float(top.x)
    return float(brentq(lambda value: power_at(value) - target, *ends, xtol=1e-15, rtol=1e-14, maxiter=500))


def solve_counted(power_at: Callable[[int], float], target: float, *, low: int, high: int, look: int = 0) -> int:
    """Return the least whole size from which power stays at or above the target, as far as is looked.

    Power summed over tables of counts goes up and down by little steps as the size grows, so the first size that
    reaches the target may be followed by one that does not. The answer is followed by none within the next tenth of
    its value plus twenty, or within `look` sizes where that is more.

    Raises
    ------
    OutOfReach
        If power at `high`, or at a size after it that was looked at, is below the target.
    """
    lower, upper = low - 1, low
    while (best := power_at(upper)) < target:
        if upper >= high:
            raise OutOfReach(best)
        lower, upper = upper, min(high, 2 * upper)
    while upper - lower > 1:
        middle = (lower + upper) // 2
        lower, upper = (lower, middle) if power_at(middle) >= target else (middle, upper)
    at = upper
    while at <= upper + max(upper // 10 + 20, look):
        if (found := power_at(at)) < target:
            upper = at + 1
            if upper > high:
                raise OutOfReach(found)
        at += 1
    return upper


def check_share(name: str, value: float) -> float:
    """Return a probability such as alpha or power, or say that it must lie strictly between 0 and 1."""
    if not isinstance(value, (int, float, np.floating)) or isinstance(value, bool) or not 0.0 < value < 1.0:
        raise DesignError(f"{name} must be strictly between 0 and 1; it is {value!r}.")
    return float(value)
