"""Hides how a prevalence is planned for whose question each respondent turns round by chance (Warner 1965)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

from gbveval.core.errors import DesignError
from gbveval.design._diluted import DilutedTest
from gbveval.design._require import asked_size, one_of, real, whole
from gbveval.design.list_experiment import ABOVE_ZERO, Prevalence, beside_direct, prevalence
from gbveval.design.planned_test import PlainDesign, PlannedTest


@dataclass(frozen=True, slots=True)
class RandomisedResponseDesign(PlainDesign):
    """A survey in which chance decides, for each respondent, whether "it happened" or "it did not" is answered.

    The effect is the prevalence, which is shown to be above zero.

    Parameters
    ----------
    n : int
        Respondents, at least 2.
    truth_probability : float
        Probability p that "it happened" is the statement answered; only the respondent knows which one it was. Strictly
        between 0 and 1, and not one half, at which answers say nothing.

    Raises
    ------
    DesignError
        If it is one half or out of range.

    Notes
    -----
    The nearer p is to one half, the safer the answer, and the more people are needed: the variance grows by
    p (1 - p) / (2 p - 1)^2 / n. People must follow the rule and understand it; those who do not bias the estimate. A
    trial asked like this is `DisclosureDesign(plan, Disclosure(p, p))`.

    References
    ----------
    Warner (1965), Journal of the American Statistical Association 60.

    Examples
    --------
    >>> plan = RandomisedResponseDesign(1000, truth_probability=0.7)
    >>> round(plan.yes_share(0.2), 2), round(plan.planned_test(0.2).unit, 4)
    (0.38, 0.0384)
    """

    n: int
    truth_probability: float

    def __post_init__(self) -> None:
        whole("n", self.n, least=2)
        real("truth_probability", self.truth_probability, low=0.0, high=1.0)
        if self.truth_probability == 0.5:
            raise DesignError("With a truth_probability of one half answers say nothing about anybody; take 0.7, say.")

    @property
    def outcome(self) -> Prevalence:
        """A prevalence."""
        return Prevalence()

    @property
    def alternatives(self) -> tuple[str, ...]:
        """A prevalence is zero or above it."""
        return ABOVE_ZERO

    @property
    def least_sizes(self) -> Mapping[str, int]:
        """Respondents."""
        return MappingProxyType({"n": 2})

    def resized(self, name: str, value: int) -> RandomisedResponseDesign:
        """Return the design with another number of respondents."""
        one_of("solve_for", name, tuple(self.least_sizes))
        return replace(self, n=value)

    def yes_share(self, true_prevalence: float) -> float:
        """Return the share of answers that are yes: p x prevalence + (1 - p) x (1 - prevalence)."""
        p, pi = float(self.truth_probability), prevalence(true_prevalence)
        return p * pi + (1.0 - p) * (1.0 - pi)

    def planned_test(self, effect: float, *, size: tuple[str, float] | None = None) -> DilutedTest:
        """Return the planned test that the prevalence is above zero, where it is `effect`.

        Parameters
        ----------
        effect : float
            True prevalence.
        size : (str, float), optional
            ("n", any real number) instead of the design's own.
        """
        n, pi, p = asked_size(size, self.least_sizes, self.n), prevalence(effect), float(self.truth_probability)
        direct = pi * (1.0 - pi) / n
        variance = direct + p * (1.0 - p) / (n * (2.0 * p - 1.0) ** 2)
        test = PlannedTest(
            pi,
            math.sqrt(variance),
            math.inf,
            formula="(share of yes - (1 - p)) / (2 p - 1) over its standard error, squared pi (1 - pi) / n + "
            "p (1 - p) / (n (2 p - 1)^2), against the normal distribution",
            source="Warner (1965), Journal of the American Statistical Association 60",
            assumptions=(
                "everybody follows the rule and answers the statement that chance gave them truly",
                "there are enough respondents for the normal approximation",
            ),
        )
        rows = (("share of answers that are yes", f"{self.yes_share(pi):.4g}"), *beside_direct(variance, direct))
        return DilutedTest(test, pi, 0.0, 1.0, rows, test.formula, test.source, test.assumptions)
