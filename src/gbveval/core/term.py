"""One row of a result, the scales it is kept and shown on, and the columns that every method shares."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from gbveval.core.estimand import Estimand
from gbveval.core.method import Cell

TIDY_COLUMNS = (
    "estimator",
    "outcome",
    "estimand",
    "contrast",
    "term",
    "estimate",
    "std_error",
    "statistic",
    "df",
    "p_value",
    "conf_low",
    "conf_high",
    "level",
    "interval_kind",
    "n_units",
    "n_clusters",
)

# A row of this name with this ending is the same quantity, drawn towards its likes; pictures draw the two together.
SHRUNKEN = ", shrunken"


def inverse_link(link: str, value: Any) -> Any:
    """Return `value` on the scale that people read: exp for log, the proportion for logit."""
    # An interval of a ratio may reach beyond what a float holds; it is then infinite, or zero.
    with np.errstate(over="ignore", under="ignore"):
        if link == "log":
            return np.exp(value)
        if link == "logit":
            return 1.0 / (1.0 + np.exp(-np.asarray(value)))
    return value


def link_value(link: str, value: float) -> float:
    """Return a number that people read on the link scale."""
    with np.errstate(divide="ignore"):
        if link == "log":
            return float(np.log(max(value, 0.0)))
        if link == "logit":
            share = min(max(value, 0.0), 1.0)
            return float(np.log(share) - np.log1p(-share))
    return value


@dataclass(frozen=True, slots=True)
class Term:
    """One row: a point, a bound or a test.

    Parameters
    ----------
    term : str
        What the row is: an arm against control, a cohort and period, a site.
    estimand : Estimand
        What it estimates.
    outcome : str
        Name of the outcome.
    value, std_error : float or None
        On the estimand's link scale (log for ratios). None when undefined: `reason` then says why.
    df : float
        Degrees of freedom of the t reference; infinite for the normal.
    kind : str
        "point", "bound" or "test".
    interval : tuple of (float, float) or None
        Limits on the link scale where they are not value +- quantile x std_error.
    interval_level : float or None
        The level at which `interval` holds; 0.95 when it is not said. At another level there is no interval.
    statistic, df2, p_value : float or None
        For tests, which have no estimate, and for points whose test is not that of value over standard error
        (resampling): with a p-value of its own a point shows it and its statistic in place of the t-test.
    n_units, n_clusters : int or None
        What the row rests on.
    support : tuple of Cell
        Counts by arm or level, for disclosure control.
    reason : str
        Why something is undefined; empty otherwise.
    extra : tuple of (str, float or str or None)
        Columns of the method's own, printed after the common ones.
    """

    term: str
    estimand: Estimand
    outcome: str
    value: float | None
    std_error: float | None
    df: float = float("inf")
    kind: str = "point"
    interval: tuple[float, float] | None = None
    interval_level: float | None = None
    statistic: float | None = None
    df2: float | None = None
    p_value: float | None = None
    n_units: int | None = None
    n_clusters: int | None = None
    support: tuple[Cell, ...] = ()
    reason: str = ""
    extra: tuple[tuple[str, float | str | None], ...] = ()

    def __post_init__(self) -> None:
        if self.kind not in ("point", "bound", "test"):
            raise ValueError(f"A row is a point, a bound or a test, not {self.kind!r}.")
        if self.kind == "point" and (self.value is None or self.std_error is None) and not self.reason:
            raise ValueError("An undefined value needs a reason.")
        if self.value is not None and not np.isfinite(self.value):
            raise ValueError("A value that is not finite must be given as None, with a reason.")
