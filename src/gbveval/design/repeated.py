"""Hides the arithmetic of a plan in which respondents are measured several times before and after."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Final

from gbveval.core.errors import DesignError
from gbveval.design._arms import imbalance_words, least_control, with_imbalance
from gbveval.design._require import asked_arms, one_of, real, whole
from gbveval.design.outcomes import Continuous
from gbveval.design.planned_test import EXACT, Nearness, PlainDesign, PlannedTest

NEAR_ANCOVA = Nearness(0.04, "six people or more an arm, whose chance imbalance before costs it")
WORDS: Final = {
    "ancova": "(1 + (r - 1) rho)/r - m rho^2/(1 + (m - 1) rho)",
    "change": "(1 + (r - 1) rho)/r + (1 + (m - 1) rho)/m - 2 rho",
    "after": "(1 + (r - 1) rho)/r",
}


@dataclass(frozen=True, slots=True)
class RepeatedMeasuresDesign(PlainDesign):
    """Two arms of single respondents, each measured m times before and r times after.

    Parameters
    ----------
    n_per_arm : int
        Respondents in control.
    outcome : Continuous
        What is measured; `sd` is that of one measurement between respondents.
    correlation : float
        Between any two measurements of a respondent, the same however far apart (compound symmetry).
    n_before, n_after : int
        Measurements before (may be 0 for "after") and after.
    ratio : float
        Treated over control respondents; the treated arm is rounded up.
    analysis : str
        "ancova" (mean after, adjusted for the mean before), "change" (mean after minus mean before: difference in
        differences) or "after" (means after alone).
    reference : str
        "t" with n0 + n1 - 2 degrees of freedom (one fewer for "ancova"), or "normal", as in the papers.

    Raises
    ------
    DesignError
        If something is impossible.

    Notes
    -----
    The variance of the estimate is sd^2 (1/n0 + 1/n1) times a factor; with rho the correlation that is
    (1 + (r - 1) rho)/r after, plus (1 + (m - 1) rho)/m - 2 rho for change, minus m rho^2 / (1 + (m - 1) rho) for
    ANCOVA.
    That of ANCOVA is never larger than either, but ANCOVA spends a degree of freedom, and the means before differ by
    chance, which is not counted (`explain_power` gives power with it): without correlation it is a little worse than
    means after alone. Not for measurements whose correlation fades with the time between them: two
    waves far apart then tell more, and the change less, than this says.

    References
    ----------
    Frison and Pocock (1992), Statistics in Medicine 11. McKenzie (2012), Journal of Development Economics 99.

    Examples
    --------
    >>> plan = RepeatedMeasuresDesign(n_per_arm=100, outcome=Continuous(), correlation=0.5)
    >>> round(plan.planned_test(0.3).std_error ** 2, 6)
    0.015
    """

    n_per_arm: int
    outcome: Continuous
    correlation: float
    n_before: int = 1
    n_after: int = 1
    ratio: float = 1.0
    analysis: str = "ancova"
    reference: str = "t"

    def __post_init__(self) -> None:
        whole("n_per_arm", self.n_per_arm, least=2)
        if not isinstance(self.outcome, Continuous):
            raise DesignError("outcome must be Continuous(...).")
        one_of("analysis", self.analysis, tuple(WORDS))
        one_of("reference", self.reference, ("t", "normal"))
        whole("n_before", self.n_before, least=0 if self.analysis == "after" else 1)
        whole("n_after", self.n_after, least=1)
        real("ratio (treated over control)", self.ratio, low=0.0, high=math.inf)
        real("correlation", self.correlation, low=0.0, high=1.0, closed=True)
        if self.n_treated < 2:
            raise DesignError(f"A ratio of {self.ratio:g} leaves {self.n_treated} treated respondents; at least 2.")

    @property
    def n_treated(self) -> int:
        """Respondents in the treated arm."""
        return math.ceil(self.n_per_arm * self.ratio * (1.0 - 1e-9))

    @property
    def least_sizes(self) -> Mapping[str, int]:
        """Sizes that can be solved for, with the least that each may be."""
        return MappingProxyType({"n_per_arm": least_control(float(self.ratio), int(self.analysis == "ancova"))})

    def resized(self, name: str, value: int) -> RepeatedMeasuresDesign:
        """Return the design with another number of respondents."""
        one_of("solve_for", name, tuple(self.least_sizes))
        return replace(self, n_per_arm=value)

    def planned_test(self, effect: float, *, size: tuple[str, float] | None = None, null: float = 0.0) -> PlannedTest:
        """Return the planned test of an effect (treated minus control) on the mean after."""
        control, treated = asked_arms(size, self.least_sizes, (self.n_per_arm, self.n_treated), self.ratio)
        self.outcome.levels(effect)
        m, r, rho = float(self.n_before), float(self.n_after), float(self.correlation)
        factor = (1.0 + (r - 1.0) * rho) / r
        if self.analysis == "change":
            factor += (1.0 + (m - 1.0) * rho) / m - 2.0 * rho
        elif self.analysis == "ancova":
            factor -= m * rho**2 / (1.0 + (m - 1.0) * rho)
        df = control + treated - (3.0 if self.analysis == "ancova" else 2.0)
        df = math.inf if self.reference == "normal" else df
        adjusted = self.analysis == "ancova"
        return PlannedTest(
            effect=effect,
            std_error=float(self.outcome.sd) * math.sqrt(factor * (1.0 / control + 1.0 / treated)),
            df=df,
            null=null,
            formula=f"effect over sd sqrt((1/n0 + 1/n1) ({WORDS[self.analysis]})), m before and r after, against "
            + ("the normal distribution" if self.reference == "normal" else "the noncentral t"),
            source="Frison and Pocock (1992), Statistics in Medicine 11; McKenzie (2012), Journal of Development "
            "Economics 99",
            assumptions=(
                "any two measurements of a respondent have the same correlation and variance, in both arms",
                "nobody is lost between measurements",
                *((imbalance_words(control + treated, 1),) if adjusted else ()),
            ),
            others=(with_imbalance(control + treated, 1, df),) if adjusted else (),
            near=None if self.reference == "normal" else NEAR_ANCOVA if adjusted else EXACT,
        )
