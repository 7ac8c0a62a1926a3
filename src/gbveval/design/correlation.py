"""Hides the arithmetic of a plan in which the correlation of two measures is tested."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from gbveval.design._require import asked_size, real, whole
from gbveval.design.planned_test import Nearness, OneSize, Rows, wrong_tail, zero_only
from gbveval.numerics.inference import t_quantile

NEAR = Nearness(0.01, "ten respondents or more")


@dataclass(frozen=True, slots=True)
class CorrelationTest:
    """The t test of a correlation, whose power is that of Fisher's z with its bias taken off."""

    effect: float
    n: float

    null = 0.0
    near = NEAR
    formula = (
        "z = atanh r + r / (2 (n - 1)) against the z of the critical correlation of the t test, times sqrt(n - 3), "
        "normal"
    )
    source = "Cohen (1988), Statistical Power Analysis for the Behavioral Sciences, chapter 3; Fisher (1921), Metron 1"
    assumptions = ("both measures are normal together", "respondents are independent of each other")

    @property
    def unit(self) -> float:
        """Standard error of Fisher's z."""
        return 1.0 / math.sqrt(max(self.n - 3.0, 1.0))

    def never(self, alternative: str) -> str:
        """Return why no study, however large, finds this correlation; nothing if one can."""
        return wrong_tail(self.effect, self.null, alternative)

    def critical(self, alpha: float, alternative: str) -> float:
        """Return the correlation beyond which the t test rejects."""
        t = -float(t_quantile(alpha / 2.0 if alternative == "two_sided" else alpha, self.n - 2.0))
        return t / math.sqrt(t * t + self.n - 2.0)

    def power(self, alpha: float, alternative: str = "two_sided") -> float:
        """Return the probability that the test rejects; a two-sided one counts both tails."""
        from scipy.special import ndtr

        if math.isinf(self.n):
            return alpha if self.effect == 0.0 else float(not self.never(alternative))
        true = math.atanh(self.effect) + self.effect / (2.0 * (self.n - 1.0))
        reach, scale = math.atanh(self.critical(alpha, alternative)), math.sqrt(self.n - 3.0)
        above, below = float(ndtr((true - reach) * scale)), float(ndtr((-true - reach) * scale))
        return {"two_sided": min(1.0, above + below), "greater": above, "less": below}[alternative]

    def detail(self, alpha: float, alternative: str = "two_sided") -> Rows:
        """Return the critical correlation in words."""
        return (("critical value", f"a correlation of {self.critical(alpha, alternative):.4f}"),)


@dataclass(frozen=True, slots=True)
class Association:
    """What a test of a correlation looks for: a number between -1 and 1."""

    def largest_effect(self, direction: str) -> float:
        """Return the size that correlations stay below."""
        return 1.0


@dataclass(frozen=True, slots=True)
class CorrelationDesign(OneSize):
    """One sample in which the correlation of two measures is tested, such as of exposure and harm.

    Parameters
    ----------
    n : int
        Respondents, at least 4.

    Raises
    ------
    DesignError
        If something is impossible.

    Notes
    -----
    An effect is the true correlation. It is an association and says nothing about what causes what.

    Examples
    --------
    >>> round(CorrelationDesign(n=50).planned_test(0.3).power(0.05), 4)
    0.5716
    """

    n: int
    _size: ClassVar[tuple[str, int]] = ("n", 4)

    def __post_init__(self) -> None:
        whole("n", self.n, least=4)

    @property
    def outcome(self) -> Association:
        """What is looked for."""
        return Association()

    def planned_test(
        self, effect: float, *, size: tuple[str, float] | None = None, null: float = 0.0
    ) -> CorrelationTest:
        """Return the planned test of a true correlation."""
        n = asked_size(size, self.least_sizes, self.n)
        zero_only("A test of a correlation", null)
        return CorrelationTest(real("A correlation", effect, low=-1.0, high=1.0), n)
