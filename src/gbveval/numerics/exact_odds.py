"""The odds ratio of a two-by-two table conditional on its margins: estimate, test and interval, exactly.

Given both margins the number x of treated with the outcome has the noncentral hypergeometric distribution,
P(x) proportional to C(n1, x) C(n0, m - x) psi^x (Fisher 1935). The estimate solves E(x) = observed; the interval
inverts the two one-sided tests (Clopper and Pearson's way, conditional). Over several tables with one odds ratio the
total of x has the convolution of their distributions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
RULES = ("no_more_likely", "central")


@dataclass(frozen=True, eq=False, slots=True)
class Margins:
    """The possible counts given the margins, and the logarithms of their weights at an odds ratio of one."""

    counts: FloatArray
    log_weights: FloatArray

    def probabilities(self, log_odds: float) -> FloatArray:
        """Return the distribution of the count at a log odds ratio."""
        if np.isinf(log_odds):
            at = -1 if log_odds > 0 else 0
            result = np.zeros(self.counts.size)
            result[at] = 1.0
            return result
        tilted = self.log_weights + self.counts * log_odds
        weights = np.exp(tilted - tilted.max())
        return np.asarray(weights / weights.sum(), dtype=np.float64)


def margins(events: tuple[int, int], sizes: tuple[int, int]) -> Margins:
    """Return the possible numbers of treated with the outcome, (treated, control) events and sizes given."""
    from scipy.special import gammaln

    total = sum(events)
    low, high = max(0, total - sizes[1]), min(sizes[0], total)
    x = np.arange(low, high + 1, dtype=float)

    def log_choose(n: int, k: FloatArray) -> FloatArray:
        return np.asarray(gammaln(n + 1.0) - gammaln(k + 1.0) - gammaln(n - k + 1.0), dtype=np.float64)

    return Margins(x, log_choose(sizes[0], x) + log_choose(sizes[1], total - x))


def joined(tables: Sequence[Margins]) -> Margins:
    """Return the possible totals over several tables that share an odds ratio (Gart 1970): a convolution.

    Examples
    --------
    >>> one = margins((1, 1), (2, 2))
    >>> both = joined([one, one])
    >>> both.counts.tolist(), both.probabilities(0.0).round(4).tolist()
    ([0.0, 1.0, 2.0, 3.0, 4.0], [0.0278, 0.2222, 0.5, 0.2222, 0.0278])
    """
    weights = np.ones(1)
    low = 0.0
    for table in tables:
        own = np.exp(table.log_weights - table.log_weights.max())
        weights = np.convolve(weights, own)
        weights /= weights.max()
        low += float(table.counts[0])
    # Totals some forty standard deviations away round to nothing, and their logarithm to minus infinity.
    with np.errstate(divide="ignore"):
        return Margins(low + np.arange(weights.size, dtype=float), np.log(weights))


def conditional_odds_ratio(table: Margins, observed: int) -> float:
    """Return the log of the odds ratio at which the expected count is the observed one; infinite at the ends."""
    from scipy.optimize import brentq

    if observed == table.counts[0]:
        return -np.inf
    if observed == table.counts[-1]:
        return np.inf
    return float(brentq(lambda b: float(table.probabilities(b) @ table.counts) - observed, -60.0, 60.0, xtol=1e-13))


def exact_p_value(
    table: Margins,
    observed: int,
    *,
    log_odds: float = 0.0,
    alternative: str = "two_sided",
    rule: str = "no_more_likely",
) -> float:
    """Return the p-value of an odds ratio.

    Parameters
    ----------
    table : Margins
        The possible counts.
    observed : int
        Count of treated with the outcome.
    log_odds : float
        Under the null hypothesis.
    alternative : str
        "two_sided", "less" or "greater".
    rule : str
        Two-sided: "no_more_likely" adds up the counts that are no more likely than the observed one, "central" doubles
        the smaller tail.
    """
    p = table.probabilities(log_odds)
    below, above = float(p[table.counts <= observed].sum()), float(p[table.counts >= observed].sum())
    if alternative != "two_sided":
        return min(1.0, below if alternative == "less" else above)
    if rule == "central":
        return min(1.0, 2.0 * min(below, above))
    # Probabilities of equal counts on both sides differ by rounding only.
    own = float(p[table.counts == observed][0])
    return min(1.0, float(p[p <= own * (1.0 + 1e-7)].sum()))


def conditional_interval(
    table: Margins, observed: int, *, level: float = 0.95, alternative: str = "two_sided"
) -> tuple[float, float]:
    """Return limits of the log odds ratio, infinite where there is none."""
    from scipy.optimize import brentq

    tail = (1.0 - level) / 2.0 if alternative == "two_sided" else 1.0 - level
    low, high = -np.inf, np.inf
    if observed > table.counts[0] and alternative != "less":
        member = table.counts >= observed
        low = float(brentq(lambda b: table.probabilities(b)[member].sum() - tail, -60.0, 60.0, xtol=1e-12))
    if observed < table.counts[-1] and alternative != "greater":
        member = table.counts <= observed
        high = float(brentq(lambda b: table.probabilities(b)[member].sum() - tail, -60.0, 60.0, xtol=1e-12))
    return low, high
