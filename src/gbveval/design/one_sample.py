"""Hides the arithmetic of a plan in which one group is compared with a value that is known."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from gbveval.core.errors import DesignError
from gbveval.design._require import asked_size, named_or_first, whole
from gbveval.design.exact_tests import BinomialTest
from gbveval.design.outcomes import Binary, Continuous, Outcome
from gbveval.design.planned_test import EXACT, Nearness, OneSize, PlannedTest, PowerTest, zero_only

NEAR_ARCSINE = Nearness(0.04, "60 people or more with a risk of a quarter to three quarters")
ANALYSES = {Continuous: ("t", "normal"), Binary: ("exact", "arcsine")}


@dataclass(frozen=True, slots=True)
class OneSampleDesign(OneSize):
    """One group whose mean or risk is compared with a known value.

    Parameters
    ----------
    n : int
        Respondents.
    outcome : Continuous or Binary
        What is measured. Its mean or risk is the known value (the null); an effect is the true value minus it.
    analysis : str, optional
        "t" (the usual one) or "normal" (known variance) for a continuous outcome; "exact" (the binomial test, two-sided
        by likelihood) or "arcsine" for a binary one.

    Raises
    ------
    DesignError
        If something is impossible.

    Notes
    -----
    A comparison with a value from elsewhere is not an experiment: what differs besides the programme is in the effect.

    Examples
    --------
    >>> plan = OneSampleDesign(n=60, outcome=Binary(0.3))
    >>> round(plan.planned_test(0.2).power(0.05, "greater"), 4)
    0.9225
    """

    n: int
    outcome: Outcome
    analysis: str | None = None
    _size: ClassVar[tuple[str, int]] = ("n", 2)

    def __post_init__(self) -> None:
        if type(self.outcome) not in ANALYSES:
            raise DesignError("outcome must be Continuous(...) or Binary(...).")
        analyses = ANALYSES[type(self.outcome)]
        object.__setattr__(self, "analysis", named_or_first("analysis", self.analysis, analyses))
        whole("n", self.n, least=self.least_sizes["n"])

    @property
    def counted(self) -> bool:
        """Whether power is summed over counts."""
        return self.analysis == "exact"

    def planned_test(self, effect: float, *, size: tuple[str, float] | None = None, null: float = 0.0) -> PowerTest:
        """Return the planned test of an effect: the true mean or risk minus the known one."""
        n = asked_size(size, self.least_sizes, self.n)
        known, true = self.outcome.levels(effect)
        if self.analysis in ("t", "normal"):
            return mean_of_one(effect, math.sqrt(self.outcome.variance(known)), n, self.analysis, null)
        zero_only(f"The analysis {self.analysis!r}", null)
        if self.analysis == "exact":
            return BinomialTest(effect, math.ceil(n - 1e-9 * n), known, true)
        return PlannedTest(
            effect=effect,
            std_error=1.0 / math.sqrt(n),
            df=math.inf,
            shift=2.0 * math.asin(math.sqrt(true)) - 2.0 * math.asin(math.sqrt(known)),
            scale="Cohen's h",
            formula="h = 2 asin sqrt(p1) - 2 asin sqrt(p0) times sqrt(n), against the normal distribution",
            source="Cohen (1988), Statistical Power Analysis for the Behavioral Sciences, chapter 6",
            assumptions=("ten events and non-events at least",),
            near=NEAR_ARCSINE,
        )


def mean_of_one(effect: float, sd: float, n: float, analysis: str, null: float = 0.0) -> PlannedTest:
    """Return the one-sample t test (or normal test) of a mean, or of a mean difference within pairs."""
    normal = analysis == "normal"
    return PlannedTest(
        effect=effect,
        std_error=sd / math.sqrt(n),
        df=math.inf if normal else n - 1.0,
        null=null,
        formula="effect over sd / sqrt(n), against "
        + ("the normal distribution" if normal else "the noncentral t with n - 1 df"),
        source="Cohen (1988), Statistical Power Analysis for the Behavioral Sciences",
        assumptions=("values (differences, in pairs) are normal and independent",)
        + (("their standard deviation is known",) if normal else ()),
        near=EXACT,
    )
