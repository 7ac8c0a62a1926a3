"""Hides the arithmetic of a two-by-two factorial plan: a main effect or the interaction."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from gbveval.core.errors import DesignError
from gbveval.design._require import asked_size, one_of, whole
from gbveval.design.outcomes import Continuous
from gbveval.design.planned_test import EXACT, OneSize, PlannedTest, zero_only


@dataclass(frozen=True, slots=True)
class FactorialDesign(OneSize):
    """Two programmes crossed: neither, one, the other, both; single respondents in four cells of equal size.

    Parameters
    ----------
    n_per_cell : int
        Respondents in each of the four cells.
    outcome : Continuous
        What is measured.
    target : str
        "main": the difference of the marginal means of one programme, averaged over the other (an effect without the
        other programme only if they do not interact). "interaction": the difference of differences, both - one - other
        + neither.

    Raises
    ------
    DesignError
        If something is impossible.

    Notes
    -----
    The interaction has twice the standard error of a main effect, so an interaction of the size of a main effect needs
    four times the respondents. A test of the main effect that leaves the interaction out of the model is wrong when
    there is one.

    References
    ----------
    Byth and Gebski (2004), Clinical Trials 1. Muralidharan, Romero and Wüthrich (2023), Review of Economics and
    Statistics.

    Examples
    --------
    >>> main = FactorialDesign(n_per_cell=50, outcome=Continuous(), target="main")
    >>> both = FactorialDesign(n_per_cell=50, outcome=Continuous(), target="interaction")
    >>> round(both.planned_test(0.3).std_error / main.planned_test(0.3).std_error, 6)
    2.0
    """

    n_per_cell: int
    outcome: Continuous
    target: str
    _size: ClassVar[tuple[str, int]] = ("n_per_cell", 2)

    def __post_init__(self) -> None:
        whole("n_per_cell", self.n_per_cell, least=2)
        if not isinstance(self.outcome, Continuous):
            raise DesignError("outcome must be Continuous(...).")
        one_of("target", self.target, ("main", "interaction"))

    def planned_test(self, effect: float, *, size: tuple[str, float] | None = None, null: float = 0.0) -> PlannedTest:
        """Return the planned test of a main effect, or of a difference of differences."""
        n = asked_size(size, self.least_sizes, self.n_per_cell)
        zero_only("A factorial design", null)
        self.outcome.levels(effect)
        cells = 1.0 if self.target == "main" else 4.0
        what = "difference of marginal means" if self.target == "main" else "difference of differences"
        return PlannedTest(
            effect=effect,
            std_error=float(self.outcome.sd) * math.sqrt(cells / n),
            df=4.0 * (n - 1.0),
            formula=f"{what} over sd sqrt({cells:g}/n), against the noncentral t with 4 (n - 1) df",
            source="Byth and Gebski (2004), Clinical Trials 1",
            assumptions=("the outcome is normal with the same standard deviation in all four cells",),
            near=EXACT,
        )
