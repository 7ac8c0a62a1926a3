"""`corrected_prevalence_intervals`: Rogan and Gladen's prevalence from two counts, with chosen limits."""

from __future__ import annotations

from collections.abc import Sequence

from gbveval.core.errors import DesignError
from gbveval.core.table import Table
from gbveval.factors.share_intervals import proportion_intervals
from gbveval.numerics.misclassification import corrected_share


def corrected_prevalence_intervals(
    events: int,
    n: int,
    *,
    sensitivity: float,
    specificity: float = 1.0,
    intervals: str | Sequence[str] = ("wilson", "clopper_pearson"),
    level: float = 0.95,
) -> Table:
    """Return reported and corrected share of a simple random sample with the limits asked for.

    Parameters
    ----------
    events, n : int
        Respondents who said yes, and all.
    sensitivity, specificity : float
        Known rates.
    intervals : str or sequence of str
        Of the reported share, as in `proportion_intervals`; corrected limits are these, corrected.
    level : float
        Coverage.

    Returns
    -------
    Table
        One row an interval, on shares that are not cut at 0 and 1.

    Raises
    ------
    DataError
        If the counts are impossible.
    DesignError
        If the rates add up to one or less, or an interval is not known.

    Notes
    -----
    **Do not use when** rates were validated on few people (`RoganGladen` carries their uncertainty), or respondents
    were drawn in clusters or with weights.

    References
    ----------
    Rogan and Gladen (1978), American Journal of Epidemiology 107.

    Examples
    --------
    >>> table = corrected_prevalence_intervals(160, 200, sensitivity=0.9, specificity=0.95, intervals="wilson")
    >>> [round(x, 4) for x in table.rows[0][4:7]]
    [0.8824, 0.8108, 0.9406]
    """
    for name, rate in (("sensitivity", sensitivity), ("specificity", specificity)):
        if isinstance(rate, bool) or not 0.0 < rate <= 1.0:
            raise DesignError(f"{name} is a share above 0 and at most 1.")
    if sensitivity + specificity <= 1.0:
        raise DesignError("Sensitivity and specificity add up to one or less; answers then say nothing of the outcome.")
    simple = proportion_intervals(events, n, intervals=intervals, level=level)
    rows = []
    for name, share, low, high, _ in simple.rows:
        reported = [float(x) for x in (share, low, high)]
        rows.append((name, *reported, *(corrected_share(x, sensitivity, specificity).value for x in reported), level))
    outside = any(not 0.0 <= float(x) <= 1.0 for row in rows for x in row[4:7])
    return Table(
        title="Reported and corrected share",
        columns=(
            "interval",
            "reported",
            "reported_low",
            "reported_high",
            "corrected",
            "corrected_low",
            "corrected_high",
            "level",
        ),
        rows=tuple(rows),
        notes=(
            "for a simple random sample: no weights, no clusters",
            f"sensitivity {sensitivity:g} and specificity {specificity:g} are taken as known",
            *(("a corrected number lies outside 0 to 1 and is shown as it is",) if outside else ()),
        ),
        support=simple.support,
    )
