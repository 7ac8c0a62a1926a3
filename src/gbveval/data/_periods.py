"""Reads periods, written as numbers or as dates, and the names under which they are shown."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gbveval.data._frame import Reader, is_missing, plural

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.intp]
EPOCH = date(1970, 1, 1)
PARTS = ("year", "month", "day")


@dataclass(frozen=True, slots=True)
class Calendar:
    """How the number of a period is shown.

    Attributes
    ----------
    step : str
        "number" as given; "year", "quarter", "month", "week" or "day" where periods were dates: the widest step that
        all dates of a panel keep, so that event times count what people count.
    offset : int
        Days from the first of January 1970 to the dates' day of the week ("week").
    """

    step: str = "number"
    offset: int = 0

    def name(self, period: float) -> str:
        """Return a period as it is shown: 2007, 2024-03, 2024 Q1, 2024-03-18.

        Examples
        --------
        >>> Calendar().name(3.0), Calendar("month").name(2024 * 12 + 2.0)
        ('3', '2024-03')
        """
        if self.step in ("number", "year"):
            return f"{period:g}"
        whole = round(period)
        if self.step == "month":
            return f"{whole // 12}-{whole % 12 + 1:02d}"
        if self.step == "quarter":
            return f"{whole // 4} Q{whole % 4 + 1}"
        days = 7 * whole + self.offset if self.step == "week" else whole
        return (EPOCH + timedelta(days=days)).isoformat()


@dataclass(frozen=True, eq=False, slots=True)
class _Dates:
    """Dates in parts; -1 in every part where missing."""

    year: IntArray
    month: IntArray
    day: IntArray

    @property
    def missing(self) -> NDArray[np.bool_]:
        return self.year < 0

    def days(self) -> IntArray:
        """Return days since the first of January 1970, 0 where missing."""
        shown = np.where(self.missing, 1970, self.year), np.maximum(self.month, 1), np.maximum(self.day, 1)
        months = (shown[0] - 1970).astype("datetime64[Y]").astype("datetime64[M]") + (shown[1] - 1)
        return np.asarray((months.astype("datetime64[D]") + (shown[2] - 1)).astype(np.int64), dtype=np.intp)


def is_dated(reader: Reader, column: str) -> bool:
    """Return whether a column that is there holds dates."""
    import narwhals as nw

    if column not in reader.columns:
        return False
    series = reader.series(column)
    if series.dtype in (nw.Date, nw.Datetime):
        return True
    if series.dtype != nw.Object:
        return False
    present = [value for value in series.to_list() if not is_missing(value)]
    return bool(present) and all(isinstance(value, date) for value in present)


def _dates(reader: Reader, column: str) -> _Dates:
    import narwhals as nw

    series = reader.series(column)
    if series.dtype == nw.Object:
        parts = [
            (-1, -1, -1) if is_missing(value) else (value.year, value.month, value.day) for value in series.to_list()
        ]
        return _Dates(*np.array(parts, dtype=np.intp).T)
    return _Dates(*(_part(series, name) for name in PARTS))


def _part(series: Any, name: str) -> IntArray:
    values = getattr(series.dt, name)().fill_null(-1).to_numpy()
    return np.asarray(np.where(np.isnan(values.astype(float)), -1, values), dtype=np.intp)


def read_periods(reader: Reader, time: str, cohort: str | None) -> tuple[FloatArray, FloatArray | None, Calendar]:
    """Return the period of every row, its first treated period (infinite if never), and how periods are shown.

    Parameters
    ----------
    reader : Reader
        Where problems are noted.
    time : str
        Column of periods: numbers or dates.
    cohort : str or None
        Column of first treated periods, of the same kind; None if there is none.
    """
    dated = is_dated(reader, time)
    if cohort is not None and dated != is_dated(reader, cohort) and not _all_missing(reader, cohort):
        if time in reader.columns:
            reader.problem(
                f"Columns {time!r} (time) and {cohort!r} (cohort) must both be numbers or both be dates. Convert one."
            )
        return np.zeros(reader.n), np.full(reader.n, np.inf), Calendar()
    if dated:
        return _read_dates(reader, time, cohort)
    times = reader.numbers(time, "time")
    return times, None if cohort is None else _cohort_numbers(reader, cohort, times), Calendar()


def _all_missing(reader: Reader, column: str) -> bool:
    return column not in reader.columns or reader.series(column).null_count() == reader.n


def _read_dates(reader: Reader, time: str, cohort: str | None) -> tuple[FloatArray, FloatArray | None, Calendar]:
    """Return dates as numbers of the widest step that all of them keep."""
    reader.take(time, "time")
    times = _dates(reader, time)
    if absent := int(times.missing.sum()):
        reader.problem(
            f"Column {time!r} (time) is missing in {plural(absent, 'row')}; it must be complete. Fill it in, or leave "
            "those rows out and say so."
        )
    if cohort is None:
        calendar = _calendar(times)
        return _numbered(times, calendar), None, calendar
    if not reader.take(cohort, "cohort") or not is_dated(reader, cohort):
        calendar = _calendar(times)
        return _numbered(times, calendar), np.full(reader.n, np.inf), calendar
    first = _dates(reader, cohort)
    calendar = _calendar(_Dates(*(np.concatenate([getattr(d, part) for d in (times, first)]) for part in PARTS)))
    return _numbered(times, calendar), np.where(first.missing, np.inf, _numbered(first, calendar)), calendar


def _calendar(both: _Dates) -> Calendar:
    seen = ~both.missing
    if not seen.any():
        return Calendar("day")
    year_day = np.unique(both.month[seen] * 100 + both.day[seen])
    if year_day.size == 1:
        return Calendar("year")
    if np.unique(both.day[seen]).size == 1:
        return Calendar("quarter" if np.all((both.month[seen] - 1) % 3 == 0) else "month")
    days = both.days()[seen]
    if np.unique(days % 7).size == 1:
        return Calendar("week", int(days[0] % 7))
    return Calendar("day")


def _numbered(dates: _Dates, calendar: Calendar) -> FloatArray:
    if calendar.step == "year":
        return dates.year.astype(float)
    if calendar.step in ("month", "quarter"):
        months = dates.year * 12 + dates.month - 1
        return (months // 3 if calendar.step == "quarter" else months).astype(float)
    days = dates.days()
    return ((days - calendar.offset) // 7 if calendar.step == "week" else days).astype(float)


def _cohort_numbers(reader: Reader, column: str, times: FloatArray) -> FloatArray:
    """Return first treated periods with infinity for never; a lone zero code is refused, as it means two things."""
    if not reader.take(column, "cohort"):
        return np.full(reader.n, np.inf)
    before = len(reader.problems)
    values = reader.numbers(column, "cohort", missing=True)
    # Infinity is the other way to say never: take back the complaint that numbers() makes of it.
    reader.problems[before:] = [text for text in reader.problems[before:] if "is infinite in" not in text]
    values = np.where(np.isnan(values), np.inf, values)
    zero = int((values == 0).sum())
    if zero and not np.isnan(times).all() and np.nanmin(times) > 0:
        reader.problem(
            f"Column {column!r} (cohort) is 0 in {plural(zero, 'row')} and no period is 0; if that means never "
            "treated, set it to missing, and if it means treated before the panel, set it to the period before the "
            "first."
        )
    if minus := int(np.isneginf(values).sum()):
        reader.problem(
            f"Column {column!r} (cohort) is minus infinity in {plural(minus, 'row')}; give the first treated period."
        )
    return values
