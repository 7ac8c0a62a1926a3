"""Reliability: whether a number that may be shown is precise enough to be worth showing. Not a matter of secrecy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from gbveval.core.errors import DesignError


@dataclass(frozen=True, slots=True)
class Reliability:
    """When an estimate is flagged as unreliable.

    Flags are notes beside numbers that are shown; what is hidden for secrecy has no flag. Flagged are

    - proportions of a small effective sample, or with an interval that is wide, or wide for their size;
    - means with a large relative standard error.

    Effects and other contrasts are not flagged: one near zero always has a large relative error, and its interval says
    what there is to say.

    Parameters
    ----------
    min_effective_n : float
        Fewest respondents of a simple random sample with the same precision.
    max_width : float
        Widest interval of a proportion.
    free_width : float
        An interval of a proportion that is no wider is reliable whatever its relative width.
    max_relative_width : float
        Widest interval of a proportion, as a multiple of it.
    max_relative_error : float
        Largest standard error of a mean, as a multiple of it.

    Notes
    -----
    With :math:`s` the standard error of the log odds of :math:`p`, the delta method gives :math:`p` the variance
    :math:`s^2 p^2 (1 - p)^2`, and the effective sample size is :math:`p (1 - p)` over it: :math:`1 / (s^2 p (1 - p))`.

    The rules for proportions follow the presentation standards of the US National Center for Health Statistics (Parker
    and others 2017), which use Korn and Graubard's interval; here the interval is the one of the estimate. A third is a
    usual limit for the relative error of survey means.

    References
    ----------
    Parker, J. D. and others (2017). National Center for Health Statistics data presentation standards for proportions.
    Vital and Health Statistics 2(175).

    Examples
    --------
    >>> rule = Reliability()
    >>> rule.of_proportion(0.5, log_odds_error=0.5, low=0.27, high=0.73)
    'u: low reliability (effective sample size 16, below 30; interval 0.46 wide)'
    >>> rule.of_proportion(0.5, log_odds_error=0.1, low=0.45, high=0.55)
    ''
    """

    min_effective_n: float = 30.0
    max_width: float = 0.30
    free_width: float = 0.05
    max_relative_width: float = 1.30
    max_relative_error: float = 1.0 / 3.0

    def __post_init__(self) -> None:
        for name in ("min_effective_n", "max_width", "free_width", "max_relative_width", "max_relative_error"):
            value = getattr(self, name)
            if not value > 0.0:
                raise DesignError(f"`{name}` must be above 0; it is {value!r}.")

    def of_proportion(self, p: float, *, log_odds_error: float | None, low: float | None, high: float | None) -> str:
        """Return the flag of a proportion, empty if it is reliable."""
        reasons = []
        if log_odds_error is not None and 0.0 < p < 1.0 and log_odds_error > 0.0:
            size = 1.0 / (log_odds_error**2 * p * (1.0 - p))
            if size < self.min_effective_n:
                reasons.append(f"effective sample size {size:.0f}, below {self.min_effective_n:.0f}")
        if low is not None and high is not None:
            width = high - low
            if width >= self.max_width:
                reasons.append(f"interval {width:.2f} wide")
            elif width > self.free_width and p > 0.0 and width > self.max_relative_width * p:
                reasons.append(f"interval {width / p:.1f} times the proportion")
        return _flag(reasons)

    def of_mean(self, mean: float, std_error: float | None) -> str:
        """Return the flag of a mean or rate, empty if it is reliable."""
        if std_error is None or mean == 0.0 or std_error <= self.max_relative_error * abs(mean):
            return ""
        return _flag([f"relative standard error {100 * std_error / abs(mean):.0f} %"])

    def of_row(self, record: dict[str, Any], link: str) -> str:
        """Return the flag of a row of `tidy`; contrasts have none."""
        estimate, error = record.get("estimate"), record.get("std_error")
        if estimate is None or not np.isfinite(estimate):
            return ""
        if record.get("contrast") == "proportion" and link == "logit":
            return self.of_proportion(
                estimate, log_odds_error=error, low=record.get("conf_low"), high=record.get("conf_high")
            )
        return self.of_mean(estimate, error) if record.get("contrast") == "mean" else ""


def _flag(reasons: list[str]) -> str:
    return f"u: low reliability ({'; '.join(reasons)})" if reasons else ""
