"""Hides, for every design, how the planned comparison will be tested: its standard error, reference and words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from gbveval.design.outcomes import Outcome


@dataclass(frozen=True, slots=True)
class PlannedTest:
    """The two-sided test of one planned comparison.

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
    """

    effect: float
    std_error: float
    df: float
    null_std_error: float | None = None
    formula: str = ""
    source: str = ""
    assumptions: tuple[str, ...] = ()


@runtime_checkable
class PlannedDesign(Protocol):
    """A planned design with two arms, as the closed forms see it."""

    @property
    def outcome(self) -> Outcome:
        """What is measured."""

    @property
    def least_sizes(self) -> Mapping[str, int]:
        """Sizes that can be solved for, with the least that each may be; the first is the usual one."""

    def planned_test(self, effect: float, *, size: tuple[str, float] | None = None) -> PlannedTest:
        """Return the planned test, with one of the sizes replaced by any real number or infinity."""

    def resized(self, name: str, value: int) -> PlannedDesign:
        """Return the design with another size."""

    def limit_hint(self, name: str) -> str:
        """Return what holds power down when only this size grows, and what to do."""

    def process(self, effect: float) -> Any:
        """Return the process that draws studies of this design with this true effect."""
