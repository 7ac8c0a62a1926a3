"""The one place that reads frames (pandas, polars, arrow, dictionaries): columns in, arrays and problems out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gbveval.core.errors import DataError
from gbveval.data.identifiers import Kept, identifier_problem, is_text

# A column with more categories than this is a name or an identifier, not a covariate.
MAXIMUM_CATEGORIES = 200

# More categories than this make no subgroups that anybody could compare.
MAXIMUM_SUBGROUPS = 30

# Roles, known before assignment, whose column may be described as a characteristic as well, or divide people into
# subgroups.
DESCRIBED_TOO = ("covariate", "baseline", "stratum", "site")

# Frames with a row a person, at whose door columns that point at a person are stopped.
PERSONAL = ("Trial", "Panel", "Survey")

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.intp]


@dataclass(frozen=True, eq=False, slots=True)
class Labels:
    """A column of labels as codes.

    Attributes
    ----------
    codes : ndarray of int, shape (n,)
        Position in `levels`; -1 where missing.
    levels : tuple of str
        Labels in sorted order.
    """

    codes: IntArray
    levels: tuple[str, ...]

    def __post_init__(self) -> None:
        self.codes.flags.writeable = False

    @property
    def count(self) -> int:
        """Number of levels."""
        return len(self.levels)


def plural(count: int, word: str) -> str:
    """Return a count with its word in the right number.

    Examples
    --------
    >>> plural(1, "row"), plural(1200, "row")
    ('1 row', '1,200 rows')
    """
    return f"{count:,} {word}" if count == 1 else f"{count:,} {word}s"


def as_names(value: str | Sequence[str] | None, role: str = "a role") -> tuple[str, ...]:
    """Return one name or several as a tuple; anything but text is refused."""
    if value is None:
        return ()
    names = (value,) if isinstance(value, str) else value
    if not isinstance(names, (list, tuple, set, frozenset)) or not all(isinstance(name, str) for name in names):
        raise DataError(
            f"The {role} must be the name of a column, as text, or a list of names. Rename other columns first."
        )
    return tuple(names)


class Checked:
    """Checked data: set once, and read-only ever after, also when it comes back from another process."""

    def _set(self, **values: Any) -> None:
        for name, value in values.items():
            object.__setattr__(self, name, frozen(value) if isinstance(value, np.ndarray) else value)

    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError(f"A {type(self).__name__} is checked once and does not change; make a new one.")

    def __setstate__(self, state: dict[str, Any]) -> None:
        self._set(**state)
        for value in state.values():
            if isinstance(value, Labels):
                frozen(value.codes)


def frozen(array: NDArray[Any]) -> NDArray[Any]:
    """Return the array, made read-only."""
    array.flags.writeable = False
    return array


class Reader:
    """Reads the columns of a frame and collects every problem, so that all are told at once.

    Parameters
    ----------
    frame : object
        A pandas, polars or pyarrow frame, a lazy frame of narwhals' backends, or a dictionary of columns.
    kind : str
        What is being read, for messages ("Trial").
    """

    def __init__(self, frame: Any, kind: str) -> None:
        self.kind = kind
        self.problems: list[str] = []
        self._taken: dict[str, str] = {}
        self.first_levels: tuple[tuple[str, str], ...] = ()
        kept: tuple[str, ...] = ()
        self.kept_identifiers = ""
        if isinstance(frame, Kept):
            kept, self.kept_identifiers, frame = frame.columns, frame.remark, frame.frame
        twice = [name for name, count in Counter(_listed_columns(frame)).items() if count > 1]
        if twice:
            shown = ", ".join(repr(name) for name in twice)
            raise DataError(f"{plural(len(twice), 'column name')} occur more than once: {shown}. Rename them first.")
        self._frame = self._open(frame)
        self.columns: tuple[str, ...] = tuple(str(name) for name in self._frame.columns)
        self.n: int = int(self._frame.shape[0])
        if self.n == 0:
            raise DataError(f"The frame has no rows; a {kind} needs at least two.")
        self._kept = kept
        self._is_at_the_door = kind in PERSONAL

    @staticmethod
    def _open(frame: Any) -> Any:
        import narwhals as nw

        kind = type(frame).__name__
        try:
            if isinstance(frame, dict):
                import pandas as pd

                frame = pd.DataFrame(frame)
            native = nw.from_native(frame)
            opened = native.collect() if isinstance(native, nw.LazyFrame) else native
            columns, shape = opened.columns, opened.shape
        except Exception as error:
            # Whatever a library says of a frame that it cannot read may quote the frame; the cause is not shown.
            raise DataError(
                f"A frame of type {kind} cannot be read; give a pandas, polars or pyarrow frame, or a dictionary of "
                "columns of one length, with one level of column names."
            ) from _quiet(error)
        if not all(isinstance(name, (str, int)) for name in columns) or len(shape) != 2:
            raise DataError("The columns need plain names, one level of text. Rename them first.")
        return opened

    def problem(self, text: str) -> None:
        """Note a problem; it is raised with the others at the end."""
        self.problems.append(text)

    def raise_problems(self) -> None:
        """Raise one DataError with all problems, if there are any; columns that point at a person are among them."""
        if self._is_at_the_door:
            self._is_at_the_door = False
            types = {str(name): kind for name, kind in self._frame.schema.items()}
            for column in self.columns:
                if column not in self._kept:
                    # The units of a panel may be places, and places have coordinates.
                    series = self.series(column) if is_text(types[column]) else None
                    self.problems += identifier_problem(column, series, places=self.kind == "Panel")
        if self.problems:
            raise DataError(tuple(dict.fromkeys(self.problems)))

    def take(self, column: str, role: str) -> bool:
        """Note that a column plays a role; return whether it is there."""
        if not isinstance(column, str):
            self.problem(f"The {role} must be the name of a column, as text.")
            return False
        if column not in self.columns:
            import difflib

            near = difflib.get_close_matches(column, self.columns, n=1)
            hint = f" Did you mean {near[0]!r}?" if near else f" The frame has {plural(len(self.columns), 'column')}."
            self.problem(f"Column {column!r} ({role}) is absent.{hint}")
            return False
        other = self._taken.get(column)
        shared = role in ("factor", "effects") or (role == "characteristic" and other in DESCRIBED_TOO)
        shared = shared or (role == "subgroup" and other in (*DESCRIBED_TOO, "characteristic"))
        if other is not None and other != role and not shared:
            self.problem(f"Column {column!r} is given two roles, {other} and {role}; give each role its own column.")
        self._taken.setdefault(column, role)
        return True

    def series(self, column: str) -> Any:
        """Return a column that is there, whatever its name was before it became text."""
        return self._frame[:, self.columns.index(column)]

    def dtype(self, column: str) -> Any:
        """Return the type of a column that is there."""
        return self.series(column).dtype

    def numbers(self, column: str, role: str, *, missing: bool = False) -> FloatArray:
        """Return a numeric (or true/false) column as floats, NaN where missing.

        Parameters
        ----------
        column, role : str
            Column and what it is for.
        missing : bool
            Whether missing values are allowed.
        """
        import narwhals as nw

        nothing = np.full(self.n, np.nan)
        if not self.take(column, role):
            return nothing
        series = self.series(column)
        if series.dtype == nw.Boolean or series.dtype.is_numeric():
            values = self._floats(series.cast(nw.Float64))
        elif series.dtype == nw.Object or series.null_count() == self.n:
            converted = self._objects(series)
            if converted is None:
                self.problem(f"Column {column!r} ({role}) mixes types; convert it to numbers.")
                return nothing
            values = converted
        else:
            self.problem(
                f"Column {column!r} ({role}) holds {str(series.dtype).lower()} in {plural(self.n, 'row')}; numbers "
                "were expected. Convert it, or code the categories as 0 and 1."
            )
            return nothing
        infinite = int(np.isinf(values).sum())
        if infinite:
            self.problem(
                f"Column {column!r} ({role}) is infinite in {plural(infinite, 'row')}; finite numbers were expected. "
                "Set them to missing or mend the coding."
            )
        absent = int(np.isnan(values).sum())
        if absent and not missing:
            self.problem(
                f"Column {column!r} ({role}) is missing in {plural(absent, 'row')}; it must be complete. "
                "Impute it, or leave those rows out and say so."
            )
        return values

    def weights(self, column: str) -> FloatArray:
        """Return weights: complete, zero or more, not all zero."""
        values = self.numbers(column, "weight")
        negative = int((values < 0).sum())
        if negative:
            self.problem(
                f"Column {column!r} (weight) is negative in {plural(negative, 'row')}; weights are zero or more."
            )
        elif np.isfinite(values).all() and values.sum() == 0:
            self.problem(f"Column {column!r} (weight) is zero in every row; at least one positive weight was expected.")
        return values

    def positive(self, column: str, role: str) -> FloatArray:
        """Return a column of numbers above zero."""
        values = self.numbers(column, role)
        wrong = int((values <= 0).sum())
        if wrong:
            self.problem(
                f"Column {column!r} ({role}) is zero or negative in {plural(wrong, 'row')}; numbers above zero were "
                "expected. Leave units without any out, and say so."
            )
        return values

    def shares(self, column: str, role: str) -> FloatArray:
        """Return a column of shares, 0 to 1."""
        values = self.numbers(column, role)
        wrong = int(((values < 0) | (values > 1)).sum())
        if wrong:
            self.problem(
                f"Column {column!r} ({role}) lies outside 0 to 1 in {plural(wrong, 'row')}; a share was expected. "
                "Divide percentages by 100."
            )
        return values

    @staticmethod
    def _floats(series: Any) -> FloatArray:
        filled = series.fill_null(float("nan")) if series.null_count() else series
        return np.array(filled.to_numpy(), dtype=np.float64)

    @staticmethod
    def _objects(series: Any) -> FloatArray | None:
        """Numbers and booleans kept as objects (a pandas column with None in it) are numbers all the same."""
        out = np.empty(len(series))
        for i, value in enumerate(series.to_list()):
            if is_missing(value):
                out[i] = np.nan
            elif isinstance(value, (bool, int, float, np.number, np.bool_)) and not isinstance(
                value, np.complexfloating
            ):
                try:
                    out[i] = float(value)
                except OverflowError:
                    return None
            else:
                return None
        return out

    def labels(self, column: str, role: str, *, missing: bool = False) -> Labels:
        """Return a column of labels as codes in sorted order (numbers in numeric order).

        Parameters
        ----------
        column, role : str
            Column and what it is for.
        missing : bool
            Whether missing values are allowed.
        """
        if not self.take(column, role):
            return Labels(np.zeros(self.n, dtype=np.intp), ("",))
        codes, levels = self._codes(self.series(column))
        absent = int((codes < 0).sum())
        if absent and not missing:
            self.problem(
                f"Column {column!r} ({role}) is missing in {plural(absent, 'row')}; every row needs one. "
                "Fill it in, or leave those rows out and say so."
            )
        if not levels:
            self.problem(f"Column {column!r} ({role}) is missing everywhere; a label was expected.")
            levels = ("",)
        return Labels(codes, levels)

    def _codes(self, series: Any) -> tuple[IntArray, tuple[str, ...]]:
        import narwhals as nw

        if series.dtype in (nw.Float32, nw.Float64):
            values = self._floats(series.cast(nw.Float64))
            present = ~np.isnan(values)
            unique, inverse = np.unique(values[present], return_inverse=True)
            names = tuple(f"{x:.0f}" if float(x).is_integer() and abs(x) < 1e15 else repr(float(x)) for x in unique)
        elif series.dtype.is_integer() and series.null_count() == 0:
            # Whole numbers stay whole: account numbers of nineteen digits would merge as floats.
            unique, inverse = _whole_numbers(series.to_numpy())
            return inverse, tuple(str(x) for x in unique.tolist())
        elif series.dtype == nw.String and series.null_count() == 0:
            texts = series.to_list()
            distinct = set(texts)
            if len(distinct) == self.n:
                # Names of a million units: sorting their places is twice as fast as looking each up.
                order = sorted(range(self.n), key=texts.__getitem__)
                codes = np.empty(self.n, dtype=np.intp)
                codes[order] = np.arange(self.n)
                return codes, tuple(texts[i] for i in order)
            names = tuple(sorted(distinct))
            at = {text: i for i, text in enumerate(names)}
            return np.fromiter((at[text] for text in texts), dtype=np.intp, count=self.n), names
        else:
            whole = series.dtype.is_integer()
            labels = [
                None if is_missing(value) else (int(value) if whole else _as_text(value)) for value in series.to_list()
            ]
            present = np.array([label is not None for label in labels], dtype=bool)
            levels = sorted({label for label in labels if label is not None})
            place = {label: i for i, label in enumerate(levels)}
            inverse = np.array([place[label] for label in labels if label is not None], dtype=np.intp)
            names = tuple(str(label) for label in levels)
        codes = np.full(self.n, -1, dtype=np.intp)
        codes[present] = inverse
        return codes, names

    def covariates(self, columns: Sequence[str]) -> tuple[FloatArray, tuple[str, ...]]:
        """Return covariates as numeric columns; categories become indicators of every level but the first."""
        import narwhals as nw

        parts: list[FloatArray] = []
        names: list[str] = []
        for column in columns:
            if column in self.columns:
                dtype = self.dtype(column)
                if not (dtype.is_numeric() or dtype in (nw.Boolean, nw.Object)):
                    found = self.labels(column, "covariate")
                    if found.count > MAXIMUM_CATEGORIES:
                        rows = plural(self.n, "row")
                        self.problem(
                            f"Column {column!r} (covariate) has {found.count:,} categories in {rows}, which looks like "
                            f"a name or an identifier; at most {MAXIMUM_CATEGORIES} were expected. Group them."
                        )
                        continue
                    parts += [(found.codes == level).astype(float) for level in range(1, found.count)]
                    names += [f"{column}[{level}]" for level in found.levels[1:]]
                    self.first_levels = (*self.first_levels, (column, found.levels[0]))
                    continue
            parts.append(self.numbers(column, "covariate"))
            names.append(column)
        matrix = np.column_stack(parts) if parts else np.zeros((self.n, 0))
        return matrix, tuple(names)

    def characteristics(self, columns: Sequence[str]) -> tuple[FloatArray, tuple[tuple[str, str], ...]]:
        """Return described columns, NaN where missing: numbers, and an indicator of every level of a category."""
        import narwhals as nw

        parts: list[FloatArray] = []
        names: list[tuple[str, str]] = []
        for column in columns:
            if column in self.columns:
                dtype = self.dtype(column)
                if not (dtype.is_numeric() or dtype in (nw.Boolean, nw.Object)):
                    found = self.labels(column, "characteristic", missing=True)
                    if found.count > MAXIMUM_CATEGORIES:
                        self.problem(
                            f"Column {column!r} (characteristic) has {found.count:,} categories, which looks like a "
                            f"name or an identifier; at most {MAXIMUM_CATEGORIES} were expected. Group them."
                        )
                        continue
                    absent = found.codes < 0
                    parts += [np.where(absent, np.nan, found.codes == level) for level in range(found.count)]
                    names += [(column, level) for level in found.levels]
                    continue
            parts.append(self.numbers(column, "characteristic", missing=True))
            names.append((column, ""))
        matrix = np.column_stack(parts) if parts else np.zeros((self.n, 0))
        return matrix, tuple(names)

    def subgroups(self, columns: Sequence[str]) -> tuple[IntArray, tuple[tuple[str, ...], ...]]:
        """Return the category of every row in each column, shape (n, columns), and the categories of each column."""
        parts: list[IntArray] = []
        levels: list[tuple[str, ...]] = []
        for column in columns:
            found = self.labels(column, "subgroup")
            if found.count > MAXIMUM_SUBGROUPS:
                self.problem(
                    f"Column {column!r} (subgroup) has {found.count:,} categories in {plural(self.n, 'row')}; at most "
                    f"{MAXIMUM_SUBGROUPS} were expected. Cut numbers into bands, and merge categories."
                )
            elif found.count < 2 and column in self.columns:
                self.problem(
                    f"Column {column!r} (subgroup) holds a single category; at least two were expected. Leave the role "
                    "out."
                )
            parts.append(found.codes)
            levels.append(found.levels)
        codes = np.column_stack(parts) if parts else np.zeros((self.n, 0), dtype=np.intp)
        return codes, tuple(levels)


def _whole_numbers(values: NDArray[Any]) -> tuple[NDArray[Any], IntArray]:
    """Return the distinct whole numbers in order and the position of each row's, by counting where they lie close."""
    if values.dtype.itemsize < 8:
        # The distance of two small whole numbers need not be a small whole number.
        values = values.astype(np.int64)
    low, high = int(values.min()), int(values.max())
    if high - low > 4 * values.size:
        unique, inverse = np.unique(values, return_inverse=True)
        return unique, inverse.astype(np.intp)
    offset = (values - values.dtype.type(low)).astype(np.intp)
    there = np.flatnonzero(np.bincount(offset, minlength=high - low + 1))
    place = np.zeros(high - low + 1, dtype=np.intp)
    place[there] = np.arange(there.size)
    return there.astype(values.dtype) + values.dtype.type(low), place[offset]


def is_missing(value: Any) -> bool:
    """Whether a cell is missing, in the spelling of any library: None, NaN, NA, NaT."""
    if value is None:
        return True
    if isinstance(value, (float, np.floating)):
        return bool(np.isnan(value))
    return type(value).__name__ in ("NAType", "NaTType")


def _as_text(value: Any) -> str:
    """Return a label as text; whole numbers without a decimal point."""
    if isinstance(value, (float, np.floating)) and float(value).is_integer():
        return f"{value:.0f}"
    return str(value)


def _listed_columns(frame: Any) -> list[str]:
    """Return the names of a frame's columns, repeated ones too, in the frame's own way of listing them."""
    if type(frame).__module__.startswith("pyarrow"):
        return [str(name) for name in getattr(frame, "column_names", [])]
    if type(frame).__module__.startswith("pandas"):
        return [str(name) for name in getattr(frame, "columns", [])]
    return []


def _quiet(error: Exception) -> Exception | None:
    """Return an error only if it cannot quote a value: its type, without its words."""
    return type(error)() if type(error) in (TypeError, ValueError) else None
