"""Hides how a request to a plan is read: which side is tested, which direction is sought, and what is impossible."""

from __future__ import annotations

from gbveval.core.errors import DesignError
from gbveval.design.planned_test import PlannedDesign
from gbveval.planning.solver import check_share


def against(design: PlannedDesign, alternative: str | None) -> str:
    """Return the alternative that is meant, or say which the design has, or that it is none."""
    if not isinstance(design, PlannedDesign):
        raise DesignError(
            f"What was given is not a design, it is a {type(design).__name__}: give ParallelDesign(...), "
            "ClusterDesign(...) or another."
        )
    if alternative is None:
        return design.alternatives[0]
    if alternative not in design.alternatives:
        raise DesignError(
            f"The test of this {type(design).__name__} can be against {' or '.join(map(repr, design.alternatives))}, "
            f"not {alternative!r}."
        )
    return alternative


def direction_sign(direction: str | None, alternative: str) -> float:
    """Return 1 for effects above the null and -1 for effects below."""
    if alternative == "equivalence":
        raise DesignError(
            "Equivalence has no minimum detectable effect: its power is largest where arms do not differ. Ask power at "
            "the difference that you expect, or required_size."
        )
    if alternative == "any" and direction is not None:
        raise DesignError("A test of several differences has no direction; leave direction out.")
    own = {"greater": "increase", "less": "decrease"}.get(alternative)
    asked = direction if direction is not None else own or "increase"
    if asked not in ("increase", "decrease"):
        raise DesignError(f"direction must be 'increase' or 'decrease'; it is {direction!r}.")
    if own is not None and asked != own:
        raise DesignError(f"A test against {alternative!r} never finds a {asked}; leave direction out, or say {own!r}.")
    return 1.0 if asked == "increase" else -1.0


def tails(alpha: float, alternative: str) -> str:
    """Return in words which rejections are counted."""
    if alternative == "two_sided":
        return f"Two-sided test of size {alpha:g}; rejections in both directions are counted."
    if alternative == "equivalence":
        return f"Two one-sided tests, each of size {alpha:g}; both must reject."
    if alternative == "any":
        return f"Test of size {alpha:g} against any departure; it looks in no direction."
    return f"One-sided test of size {alpha:g} against {alternative!r}."


def targets(power: float, alpha: float) -> tuple[float, float]:
    """Return power and size as numbers, or say why they cannot be asked for together."""
    target, size = check_share("power", power), check_share("alpha", alpha)
    if target <= size:
        raise DesignError(f"A power of {target:g} is no more than the test's size of {size:g}; ask for 0.8, say.")
    return target, size
