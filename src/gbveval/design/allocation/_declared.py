"""Hides how arms, shares, ratios and numbers of a declared scheme are read, and what is said when they are wrong."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction
from numbers import Integral, Real

from gbveval.core.errors import DesignError
from gbveval.numerics.block_allocation import POLICIES

MOST_ARMS = 8
# Shares such as 1/3 are floats; the fraction meant has a denominator far below this.
LARGEST_DENOMINATOR = 10_000
Names = tuple[str, ...]


def arms_of(arms: object) -> Names:
    """Return the labels of the arms, control first."""
    texts = isinstance(arms, (list, tuple)) and all(isinstance(arm, str) and arm for arm in arms)
    names: Names = tuple(arms) if texts else ()  # type: ignore[arg-type]
    if 2 <= len(names) <= MOST_ARMS and len(set(names)) == len(names) and "all" not in names:
        return names
    raise DesignError(
        f"arms are 2 to {MOST_ARMS} different labels as text, control first, none of them 'all': "
        "arms=('usual practice', 'new')."
    )


def names_of(role: str, value: object, *, least: int = 0) -> Names:
    """Return the names of columns, as a tuple."""
    names = (value,) if isinstance(value, str) else () if value is None else value
    if not isinstance(names, (list, tuple)) or not all(isinstance(name, str) for name in names):
        raise DesignError(f"{role} is the name of a column as text, or a list of names.")
    if len(names) < least or len(set(names)) < len(names):
        raise DesignError(f"{role} takes at least {least} names of columns, each once.")
    return tuple(names)


def _by_arm(what: str, given: object, arms: Names) -> list[object]:
    """Return one value an arm, from a mapping or a sequence in the order of the arms."""
    if isinstance(given, Mapping):
        if set(given) != set(arms):
            raise DesignError(f"{what} needs one number for each of the arms {', '.join(map(repr, arms))}.")
        return [given[arm] for arm in arms]
    if isinstance(given, (list, tuple)) and len(given) == len(arms):
        return list(given)
    raise DesignError(f"{what} needs one number for each of the {len(arms)} arms, in their order or by name.")


def shares_of(given: object, arms: Names) -> tuple[float, ...] | None:
    """Return the shares of the arms as they were given; None for equal shares."""
    if given is None:
        return None
    values = _by_arm("shares", given, arms)
    if not all(isinstance(x, Real) and not isinstance(x, bool) and 0 < float(x) < 1 for x in values):
        raise DesignError("shares are numbers between 0 and 1 that sum to one, such as 0.5 or 1/3.")
    found = tuple(float(x) for x in values)  # type: ignore[arg-type]
    fractions(found, len(arms))
    return found


def fractions(shares: Sequence[float] | None, k: int) -> tuple[Fraction, ...]:
    """Return shares as fractions that sum to one exactly."""
    if shares is None:
        return (Fraction(1, k),) * k
    found = tuple(Fraction(share).limit_denominator(LARGEST_DENOMINATOR) for share in shares)
    off = max(abs(float(f) - share) for f, share in zip(found, shares, strict=True))
    if sum(found) != 1 or off > 1e-9:
        raise DesignError(
            "shares must sum to one as fractions with denominators up to 10,000, so that probabilities are exact; they "
            f"sum to {sum(shares):.12g}. Write 1/3 rather than 0.33."
        )
    return found


def ratio_of(given: object, arms: Names) -> tuple[int, ...]:
    """Return whole numbers in the ratio of the arms."""
    if given is None:
        return (1,) * len(arms)
    values = _by_arm("ratio", given, arms)
    if not all(isinstance(x, Integral) and not isinstance(x, bool) and 1 <= int(x) <= 20 for x in values):
        raise DesignError("ratio takes whole numbers from 1 to 20, such as (1, 2).")
    return tuple(int(x) for x in values)  # type: ignore[call-overload]


def counts_of(given: object, arms: Names) -> tuple[int, ...] | None:
    """Return the number of units of each arm; None where shares decide."""
    if given is None:
        return None
    values = _by_arm("counts", given, arms)
    if not all(isinstance(x, Integral) and not isinstance(x, bool) and int(x) >= 0 for x in values):
        raise DesignError("counts are whole numbers of units, one for each arm.")
    return tuple(int(x) for x in values)  # type: ignore[call-overload]


def stratum_counts_of(given: object, arms: Names) -> tuple[tuple[str, tuple[int, ...]], ...] | None:
    """Return the numbers of each arm by stratum."""
    if given is None:
        return None
    pairs = list(given.items()) if isinstance(given, Mapping) else given
    if not isinstance(pairs, (list, tuple)) or not pairs or not all(isinstance(p, (list, tuple)) for p in pairs):
        raise DesignError("counts of strata are a mapping of the stratum to numbers by arm: {'north': (5, 5), ...}.")
    return tuple((str(stratum), counts_of(numbers, arms) or ()) for stratum, numbers in pairs)


def misfits_of(value: object, known: Names = POLICIES) -> str:
    """Return the policy for units left over by whole numbers."""
    if isinstance(value, str) and value in known:
        return value
    raise DesignError(f"misfits must be one of {', '.join(map(repr, known))}; it is {value!r}.")


def only_one(shares: object, counts: object) -> None:
    """Refuse shares together with counts."""
    if shares is not None and counts is not None:
        raise DesignError("Give shares or counts, not both: counts fix the shares.")
