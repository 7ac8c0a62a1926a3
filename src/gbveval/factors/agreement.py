"""`cohen_kappa`: how far two raters agree beyond chance, as when coders classify messages."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from gbveval.core.errors import DataError
from gbveval.core.method import Cell
from gbveval.core.table import Table
from gbveval.data._frame import is_missing, plural
from gbveval.factors._rows import check_interval_level
from gbveval.numerics.agreement import kappa
from gbveval.numerics.inference import wald_interval


def cohen_kappa(rater_a: Sequence[Any], rater_b: Sequence[Any], *, level: float = 0.95) -> Table:
    """Return Cohen's kappa of two raters who put the same cases into unordered categories.

    Parameters
    ----------
    rater_a, rater_b : sequence
        Category of each case by each rater, in the same order; missing where a rater gave none.
    level : float
        Coverage of the interval.

    Returns
    -------
    Table
        One row: kappa, standard error, limits, agreement observed and by chance, cases rated by both.

    Raises
    ------
    DataError
        If lengths differ, or fewer than two cases were rated by both.

    Notes
    -----
    **Estimates** agreement beyond that of independent raters with the same margins. Cases that one rater left out are
    not counted, and the notes say how many. Limits are Wald's with the large-sample standard error; they need some tens
    of cases. **Where both used one category** there is no kappa. **Do not use when** categories are ordered: kappa
    counts a near miss like a far one; or to compare pairs of raters with different margins.

    References
    ----------
    Cohen (1960), Educational and Psychological Measurement 20. Fleiss, Cohen and Everitt (1969), Psychological Bulletin
    72.

    Examples
    --------
    >>> a = ["abuse"] * 30 + ["none"] * 20
    >>> b = ["abuse"] * 25 + ["none"] * 25
    >>> cohen_kappa(a, b).column("estimate")
    (0.8,)
    """
    check_interval_level(level)
    first, second = list(rater_a), list(rater_b)
    if len(first) != len(second):
        raise DataError(f"Rater a has {len(first):,} cases and rater b {len(second):,}; the same cases were expected.")
    pairs = [(str(a), str(b)) for a, b in zip(first, second, strict=True) if not (is_missing(a) or is_missing(b))]
    if len(pairs) < 2:
        raise DataError(f"{plural(len(pairs), 'case')} were rated by both; at least two are needed, better fifty.")
    levels = sorted({label for pair in pairs for label in pair})
    place = {label: i for i, label in enumerate(levels)}
    counts = np.zeros((len(levels), len(levels)))
    for a, b in pairs:
        counts[place[a], place[b]] += 1.0
    found = kappa(counts)
    error = float(np.sqrt(max(found.variance, 0.0))) if np.isfinite(found.value) else float("nan")
    low, high = wald_interval(np.array([found.value]), np.array([error]), df=np.array([np.inf]), level=level)
    left_out = len(first) - len(pairs)
    numbers = (found.value, error, low[0], high[0])
    agreed = int(np.trace(counts))
    return Table(
        title="Agreement of two raters",
        columns=("estimate", "std_error", "conf_low", "conf_high", "level", "observed", "by_chance", "n"),
        rows=(
            (
                *(float(x) if np.isfinite(x) else None for x in numbers),
                level,
                found.observed,
                found.by_chance,
                len(pairs),
            ),
        ),
        notes=(
            "Cohen's kappa, unweighted",
            f"{plural(left_out, 'case')} without a category by one rater left out",
        ),
        support=((Cell("cases", len(pairs), agreed, "agreement"),),),
    )
