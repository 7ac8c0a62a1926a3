"""Hides how a number given to a design is checked and what is said when it is wrong."""

from __future__ import annotations

import math
from collections.abc import Mapping
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


def asked_size(size: tuple[str, float] | None, known: Mapping[str, int], own: float) -> float:
    """Return a size that was asked for by name, any real number, or else the design's own."""
    if size is None:
        return float(own)
    one_of("solve_for", size[0], tuple(known))
    return float(size[1])


def asked_arms(
    size: tuple[str, float] | None, known: Mapping[str, int], own: tuple[float, float], ratio: float
) -> tuple[float, float]:
    """Return the sizes of both arms: the treated one, where a size was asked for, by the ratio and not rounded."""
    control = asked_size(size, known, own[0])
    return control, float(own[1]) if size is None else control * ratio


def _after(hint: str) -> str:
    return f" {hint}" if hint else ""
