"""Hides how a size or an effect is found at which power reaches a target: a bracketed root, checked afterwards."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from gbveval.core.errors import ConvergenceError, DesignError

# Power is computed to about 1e-12; a difference of this size cannot be told from rounding.
ROUNDING = 1e-9
GRID_POINTS = 9


class OutOfReach(Exception):  # noqa: N818 - not an error yet: the caller names what was asked
    """The target was not reached within the bracket; `best` is the power at its upper end."""

    def __init__(self, best: float) -> None:
        self.best = best
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


def solve_counted(power_at: Callable[[int], float], target: float, *, low: int, high: int) -> int:
    """Return the least whole size from which power stays at or above the target.

    Power summed over tables of counts goes up and down by little steps as the size grows, so the first size that
    reaches the target may be followed by one that does not. The answer is followed by none within the next tenth of
    its value plus twenty.

    Raises
    ------
    OutOfReach
        If power at `high` is below the target.
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
    while at <= upper + upper // 10 + 20:
        if power_at(at) < target:
            upper = at + 1
        at += 1
    if upper > high:
        raise OutOfReach(best)
    return upper


def check_share(name: str, value: float) -> float:
    """Return a probability such as alpha or power, or say that it must lie strictly between 0 and 1."""
    if not isinstance(value, (int, float, np.floating)) or isinstance(value, bool) or not 0.0 < value < 1.0:
        raise DesignError(f"{name} must be strictly between 0 and 1; it is {value!r}.")
    return float(value)
