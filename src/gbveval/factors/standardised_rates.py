"""`direct_rate` and `indirect_rate`: event rates that can be compared although ages differ."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from gbveval.core.errors import DataError
from gbveval.core.method import Cell
from gbveval.core.table import Table
from gbveval.factors._rows import check_interval_level
from gbveval.numerics.standardised_rates import Rate, direct, indirect

FloatArray = NDArray[np.float64]
COLUMNS = ("measure", "estimate", "conf_low", "conf_high", "level")


def direct_rate(
    events: Sequence[float], exposure: Sequence[float], standard: Sequence[float], *, level: float = 0.95
) -> Table:
    """Return the crude rate and the rate that a standard population's structure would have.

    Parameters
    ----------
    events, exposure : sequence of float
        Events and person-time in each age group (or other group).
    standard : sequence of float
        The standard population in the same groups, in any unit.
    level : float
        Coverage.

    Returns
    -------
    Table
        Rows "crude rate" (exact Poisson limits) and "standardised rate" (gamma limits).

    Raises
    ------
    DataError
        If lengths differ, or numbers are negative, or a group has no person-time.

    Notes
    -----
    **Estimates** what the rate would be if the group's age-specific rates held in the standard population. Events are
    taken as Poisson and person-time as known. **Do not use when** an age group has few events and a large share of the
    standard: one group then decides.

    References
    ----------
    Fay and Feuer (1997), Statistics in Medicine 16.

    Examples
    --------
    >>> table = direct_rate([10, 40], [1000.0, 1000.0], [3.0, 1.0])
    >>> [round(x, 4) for x in table.column("estimate")]
    [0.025, 0.0175]
    """
    check_interval_level(level)
    d, t, s = _numbers(("events", events), ("exposure", exposure), ("standard", standard))
    if s.sum() <= 0:
        raise DataError("The standard population is zero in every group; positive numbers were expected.")
    crude = direct(np.array([d.sum()]), np.array([t.sum()]), np.ones(1), level=level)
    rows = [("crude rate", crude), ("standardised rate", direct(d, t, s, level=level))]
    return _table("Rates, directly standardised", rows, d, level, "events are Poisson; person-time is known")


def indirect_rate(
    events: Sequence[float],
    exposure: Sequence[float],
    standard_events: Sequence[float],
    standard_exposure: Sequence[float],
    *,
    level: float = 0.95,
) -> Table:
    """Return events over those that a standard's rates would give, and the rate that follows.

    Parameters
    ----------
    events, exposure : sequence of float
        Events and person-time in each age group (or other group); of the events only the sum counts.
    standard_events, standard_exposure : sequence of float
        Events and person-time of the standard, in the same groups.
    level : float
        Coverage.

    Returns
    -------
    Table
        Rows "observed", "expected", "standardised ratio", "crude rate", "standardised rate" (the ratio times the
        standard's crude rate), limits for the ratio and the rate made of it.

    Raises
    ------
    DataError
        If lengths differ, or numbers are negative, or a group has no person-time.

    Notes
    -----
    **Use it** where groups are too small for rates of their own. Limits are Wald's on the log scale, with the standard
    error 1 / observed^(1/2): the standard's rates are taken as known. **Do not use when** several groups are compared
    with each other: their ratios have different weights; `direct_rate` has one.

    References
    ----------
    Breslow and Day (1987), Statistical Methods in Cancer Research, volume II.

    Examples
    --------
    >>> table = indirect_rate([3, 9], [100.0, 100.0], [20, 40], [1000.0, 1000.0])
    >>> dict(zip(table.column("measure"), table.column("estimate")))["standardised ratio"]
    2.0
    """
    check_interval_level(level)
    d, t, sd, st = _numbers(
        ("events", events),
        ("exposure", exposure),
        ("standard_events", standard_events),
        ("standard_exposure", standard_exposure),
    )
    expected = float(t @ (sd / st))
    if expected <= 0:
        raise DataError("The standard has no events, so nothing can be expected. Choose another standard.")
    ratio = indirect(float(d.sum()), expected, level=level)
    base = float(sd.sum() / st.sum())
    crude = direct(np.array([d.sum()]), np.array([t.sum()]), np.ones(1), level=level)
    nothing = float("nan")
    rows = [
        ("observed", Rate(float(d.sum()), nothing, nothing)),
        ("expected", Rate(expected, nothing, nothing)),
        ("standardised ratio", ratio),
        ("crude rate", crude),
        ("standardised rate", Rate(ratio.value * base, ratio.low * base, ratio.high * base)),
    ]
    return _table("Rates, indirectly standardised", rows, d, level, "the standard's rates are taken as known")


def _numbers(*columns: tuple[str, Sequence[float]]) -> list[FloatArray]:
    """Return the columns as arrays; a DataError names what does not fit."""
    arrays = [np.asarray(list(values), dtype=np.float64) for _, values in columns]
    problems = []
    sizes = {array.size for array in arrays}
    if len(sizes) != 1 or 0 in sizes:
        shown = ", ".join(f"{name} {array.size}" for (name, _), array in zip(columns, arrays, strict=True))
        raise DataError(f"The columns need one number a group, the same groups in each; they have: {shown}.")
    for (name, _), array in zip(columns, arrays, strict=True):
        low = array <= 0 if "exposure" in name else array < 0
        wrong = int((~np.isfinite(array) | low).sum())
        if wrong:
            wanted = "numbers above zero were" if "exposure" in name else "zero or more was"
            problems.append(f"{name} is missing or too small in {wrong:,} groups; {wanted} expected. Merge groups.")
    if problems:
        raise DataError(tuple(problems))
    return arrays


def _table(title: str, rows: list[tuple[str, Rate]], events: FloatArray, level: float, note: str) -> Table:
    cell = Cell("events", int(events.sum()), None, title)

    def shown(value: float) -> float | None:
        return value if np.isfinite(value) else None

    return Table(
        title=title,
        columns=COLUMNS,
        rows=tuple((name, rate.value, shown(rate.low), shown(rate.high), level) for name, rate in rows),
        notes=(note,),
        support=((cell,),) * len(rows),
    )
