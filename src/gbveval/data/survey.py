"""`Survey`: a sample survey with its design, checked once; factors are read when a model names them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gbveval.core.counts import CountTable
from gbveval.core.errors import DataError
from gbveval.core.provenance import digest_arrays
from gbveval.data._counts import count_respondents
from gbveval.data._frame import Checked, Labels, Reader, as_names, frozen, plural

FloatArray = NDArray[np.float64]


class Survey(Checked):
    """A survey with its columns given roles, checked as a whole.

    Parameters
    ----------
    frame : pandas, polars or pyarrow frame, or dict of columns
        One row a respondent. Factors and covariates named later by an estimator are read from it.
    outcome : str or sequence of str
        Outcomes, 0 or 1 for a prevalence. Missing outcomes are kept and counted.
    weight : str, optional
        Sampling weight, zero or more. Absent, every respondent counts the same, and results say so.
    stratum : str, optional
        Sampling stratum.
    psu : str, optional
        Primary sampling unit; labels may repeat between strata. Absent, each respondent is one.

    Raises
    ------
    DataError
        Listing every problem by column and number of rows, never by value.

    Examples
    --------
    >>> frame = {"harassed": [0, 1, 1, None], "ward": ["a", "a", "b", "b"]}
    >>> Survey(frame, outcome="harassed", psu="ward")
    <Survey: 4 respondents, 2 primary sampling units, unweighted; outcome harassed (1 missing)>
    """

    outcome_names: tuple[str, ...]
    outcomes: FloatArray
    weight: FloatArray | None
    stratum: Labels | None
    psu: Labels | None
    _reader: Reader

    def __init__(
        self,
        frame: Any,
        *,
        outcome: str | Sequence[str],
        weight: str | None = None,
        stratum: str | None = None,
        psu: str | None = None,
    ) -> None:
        reader = Reader(frame, "Survey")
        names = as_names(outcome, "outcome")
        if not names:
            raise DataError("A Survey needs at least one outcome column.")
        outcomes = np.column_stack([reader.numbers(name, "outcome", missing=True) for name in names])
        strata = None if stratum is None else reader.labels(stratum, "stratum")
        units = None if psu is None else reader.labels(psu, "psu")
        weights = None if weight is None else reader.weights(weight)
        for number, name in enumerate(names):
            if np.all(np.isnan(outcomes[:, number])) and name in reader.columns:
                reader.problem(f"Column {name!r} (outcome) is missing in every row.")
        reader.raise_problems()
        if units is not None and strata is not None:
            units = _nested(units, strata)
        self._set(
            outcome_names=names,
            outcomes=outcomes,
            weight=weights,
            stratum=strata,
            psu=units,
            _reader=reader,
        )

    @property
    def n(self) -> int:
        """Respondents."""
        return int(self.outcomes.shape[0])

    @property
    def n_psu(self) -> int:
        """Primary sampling units (respondents, when no psu is declared)."""
        return self.n if self.psu is None else self.psu.count

    @property
    def n_strata(self) -> int:
        """Sampling strata (one, when none is declared)."""
        return 1 if self.stratum is None else self.stratum.count

    def weights(self) -> FloatArray:
        """Return the sampling weights, ones when none is declared."""
        return np.ones(self.n) if self.weight is None else self.weight

    def observed(self, outcome: int) -> NDArray[np.bool_]:
        """Return which respondents have the outcome (by its position)."""
        return ~np.isnan(self.outcomes[:, outcome])

    def labels(self, column: str) -> Labels:
        """Return a factor or domain as codes, -1 where missing; a DataError names an absent column."""
        reader = self._reader
        found = reader.labels(column, "factor", missing=True)
        self._raise(reader)
        return found

    def covariates(self, columns: Sequence[str]) -> tuple[FloatArray, tuple[str, ...], NDArray[np.bool_]]:
        """Return covariates as numeric columns, their names, and which respondents have all of them.

        Categories become indicators of every level but the first (in sorted order); numbers stay numbers.
        """
        import narwhals as nw

        reader = self._reader
        parts: list[FloatArray] = []
        names: list[str] = []
        complete = np.ones(self.n, dtype=bool)
        for column in columns:
            known = column in reader.columns
            if known and not (reader.dtype(column).is_numeric() or reader.dtype(column) == nw.Boolean):
                found = reader.labels(column, "factor", missing=True)
                parts += [(found.codes == level).astype(float) for level in range(1, found.count)]
                names += [f"{column}[{level}]" for level in found.levels[1:]]
                complete &= found.codes >= 0
            else:
                values = reader.numbers(column, "factor", missing=True)
                complete &= ~np.isnan(values)
                parts.append(values)
                names.append(column)
        self._raise(reader)
        return (np.column_stack(parts) if parts else np.zeros((self.n, 0))), tuple(names), complete

    def counts(
        self,
        rows: str,
        columns: str | None = None,
        *,
        layers: Sequence[str] = (),
        outcome: str | None = None,
        within: tuple[str, str] | None = None,
    ) -> CountTable:
        """Return respondents, and those with an outcome, by one to four categories: unweighted counts for `release`.

        Parameters
        ----------
        rows, columns : str
            Category columns; leave `columns` out for a one-way table.
        layers : sequence of str
            A third and fourth category column.
        outcome : str, optional
            A 0/1 outcome of the survey to count as well; absent, respondents are counted alone.
        within : tuple of (str, str), optional
            A column and the category of it to which the table is confined.

        Notes
        -----
        Respondents without one of the categories (or without the outcome, if one is counted) are left out and counted.

        Examples
        --------
        >>> frame = {"harassed": [0, 1, 1, 0], "gender": ["w", "w", "m", None]}
        >>> Survey(frame, outcome="harassed").counts("gender", outcome="harassed")
        <CountTable harassed by gender: 2 rows; release() shows what may be shown>
        """
        return count_respondents(
            self, (rows, *(() if columns is None else (columns,)), *layers), outcome=outcome, within=within
        )

    @staticmethod
    def _raise(reader: Reader) -> None:
        problems, reader.problems = reader.problems, []
        if problems:
            raise DataError(tuple(problems))

    @cached_property
    def digest(self) -> str:
        """SHA-256 of outcomes and design; it identifies them and holds none of them."""
        return digest_arrays(
            [
                ("outcomes", self.outcomes),
                ("weight", self.weight),
                ("stratum", None if self.stratum is None else self.stratum.codes),
                ("psu", None if self.psu is None else self.psu.codes),
            ]
        )

    def __repr__(self) -> str:
        missing = np.isnan(self.outcomes).sum(axis=0)
        names = ", ".join(f"{a} ({m:,} missing)" for a, m in zip(self.outcome_names, missing, strict=True))
        units = "" if self.psu is None else f", {plural(self.psu.count, 'primary sampling unit')}"
        strata = "" if self.stratum is None else f", {self.stratum.count:,} strata"
        weighted = "unweighted" if self.weight is None else "weighted"
        word = "outcome" if len(self.outcome_names) == 1 else "outcomes"
        return f"<Survey: {plural(self.n, 'respondent')}{units}{strata}, {weighted}; {word} {names}>"


def _nested(units: Labels, strata: Labels) -> Labels:
    """Return PSUs as combinations of stratum and label, since labels may repeat between strata."""
    joint = strata.codes.astype(np.int64) * units.count + units.codes
    used, inverse = np.unique(joint, return_inverse=True)
    names = tuple(f"{strata.levels[code // units.count]}/{units.levels[code % units.count]}" for code in used)
    return Labels(frozen(inverse.astype(np.intp)), names)
