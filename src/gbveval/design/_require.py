"""Hides how a number given to a design is checked and what is said when it is wrong."""

from __future__ import annotations

import math
from numbers import Integral, Real

from gbveval.core.errors import DesignError


def real(name: str, value: object, *, low: float, high: float, closed: bool = False, hint: str = "") -> float:
    """Return a finite number between two limits; `closed` lets the lower limit in."""
    number = float(value) if isinstance(value, Real) and not isinstance(value, bool) else math.nan
    if math.isfinite(number) and (low < number < high or (closed and number == low)):
        return number
    bounds = f"{'at least' if closed else 'above'} {low:g}" if math.isfinite(low) else ""
    if math.isfinite(high):
        bounds += f"{' and ' if bounds else ''}below {high:g}"
    raise DesignError(f"{name} must be a number{' ' + bounds if bounds else ''}; it is {value!r}.{_after(hint)}")


def whole(name: str, value: object, *, least: int) -> int:
    """Return a whole number that is at least `least`."""
    if isinstance(value, Integral) and not isinstance(value, bool) and int(value) >= least:
        return int(value)
    raise DesignError(f"{name} must be a whole number, at least {least}; it is {value!r}.")


def one_of(name: str, value: object, known: tuple[str, ...]) -> str:
    """Return a word that is among those known."""
    if isinstance(value, str) and value in known:
        return value
    raise DesignError(f"{name} must be one of {', '.join(map(repr, known))}; it is {value!r}.")


def named_or_first(name: str, value: object, known: tuple[str, ...]) -> str:
    """Return a word that is among those known, the first of them where none is given."""
    return known[0] if value is None else one_of(name, value, known)


def _after(hint: str) -> str:
    return f" {hint}" if hint else ""
