"""Moments of an assignment log as numbers that can be compared: dates and times, or numbers as they are."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from gbveval.core.errors import DesignError
from gbveval.data._frame import Reader

FloatArray = NDArray[np.float64]


def times(reader: Reader, column: str, role: str) -> FloatArray:
    """Return a column of moments, NaN where missing: numbers as they are, dates and times as seconds since 1970.

    Times with a zone are turned into UTC.
    """
    import narwhals as nw

    if column not in reader.columns:
        return reader.numbers(column, role, missing=True)
    dtype = reader.dtype(column)
    if dtype.is_numeric() or dtype == nw.Boolean:
        return reader.numbers(column, role, missing=True)
    if isinstance(dtype, nw.Datetime) or dtype in (nw.Date, nw.Datetime):
        reader.take(column, role)
        values = reader.series(column).to_list()
        return np.array([_seconds(value) for value in values], dtype=np.float64)
    reader.problem(
        f"Column {column!r} ({role}) holds {str(dtype).lower()}; dates, times or numbers were expected. Convert it, "
        "for example with pandas.to_datetime."
    )
    return np.full(reader.n, np.nan)


def moment(value: Any, name: str) -> float:
    """Return one moment given as a number, a date, a time or an ISO text."""
    if isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(value, bool):
        return float(value)
    found = _seconds(value)
    if np.isnan(found):
        raise DesignError(
            f"{name} is not a moment; give a date, a time, an ISO text such as '2018-09-01', or a number."
        )
    return found


def _seconds(value: Any) -> float:
    """Return seconds since 1970, or NaN."""
    from datetime import UTC, datetime

    if value is None or type(value).__name__ == "NaTType":
        return float("nan")
    if isinstance(value, datetime) and value.tzinfo is not None:
        value = value.astimezone(UTC).replace(tzinfo=None)
    try:
        stamp = np.datetime64(value, "us")
    except (ValueError, TypeError):
        return float("nan")
    return float("nan") if np.isnat(stamp) else float(stamp.astype(np.int64)) / 1e6
