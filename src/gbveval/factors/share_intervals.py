"""`proportion_intervals`: exact and approximate intervals of a share in a simple sample."""

from __future__ import annotations

from collections.abc import Sequence

from gbveval.core.errors import DataError, DesignError
from gbveval.core.method import Cell
from gbveval.core.table import Table
from gbveval.factors._rows import check_interval_level
from gbveval.numerics.proportion_intervals import SIMPLE


def proportion_intervals(
    events: int, n: int, *, intervals: str | Sequence[str] = ("wilson", "clopper_pearson"), level: float = 0.95
) -> Table:
    """Return intervals of the share of a simple random sample, one row each.

    Parameters
    ----------
    events, n : int
        Respondents with the outcome, and all.
    intervals : str or sequence of str
        "wilson" (score; the one for most uses), "clopper_pearson" (exact: never covers less than its level),
        "blaker" (exact and within it), "jeffreys", "agresti_coull", or "wald", which covers too little and is there for
        comparison.
    level : float
        Coverage.

    Raises
    ------
    DataError
        If the counts are impossible.
    DesignError
        If an interval or the level is not known.

    Notes
    -----
    **With nobody or everybody** the exact ones, Wilson's and Jeffreys' start at that share; Wald's is one point.
    **Do not use when** respondents were drawn in clusters or with weights: `Prevalence` has intervals for that.

    References
    ----------
    Clopper and Pearson (1934), Biometrika 26. Wilson (1927), Journal of the American Statistical Association 22. Blaker
    (2000), Canadian Journal of Statistics 28. Brown, Cai and DasGupta (2001), Statistical Science 16.

    Examples
    --------
    >>> table = proportion_intervals(0, 20, intervals="clopper_pearson")
    >>> [round(x, 4) for x in table.column("conf_high")]
    [0.1684]
    """
    check_interval_level(level)
    names = (intervals,) if isinstance(intervals, str) else tuple(intervals)
    unknown = [name for name in names if name not in SIMPLE]
    if unknown or not names:
        raise DesignError(f"intervals are of {', '.join(SIMPLE)}; {unknown[:1] or 'none'} was asked for.")
    if not (float(events).is_integer() and float(n).is_integer() and 0 <= events <= n and n >= 1):
        raise DataError("The counts are whole numbers with 0 <= events <= n and n at least 1. Count again.")
    rows = []
    for name in names:
        low, high = SIMPLE[name](int(events), int(n), level)
        rows.append((name, events / n, low, high, level))
    cell = Cell("respondents", int(n), int(events), "proportion")
    return Table(
        title="Share with its interval",
        columns=("interval", "estimate", "conf_low", "conf_high", "level"),
        rows=tuple(rows),
        notes=("for a simple random sample: no weights, no clusters",),
        support=((cell,),) * len(rows),
    )
