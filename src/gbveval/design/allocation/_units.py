"""Hides how the columns of a frame become units of assignment: names, strata, clusters, factors and covariates."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gbveval.core.errors import DataError
from gbveval.core.provenance import digest_arrays
from gbveval.data._frame import Labels, Reader, is_missing, plural

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.intp]
# Levels of a minimisation factor above which it is a number or a name.
MOST_LEVELS = 50


@dataclass(frozen=True, slots=True)
class Roles:
    """Columns that a scheme reads.

    Attributes
    ----------
    cluster : str or None
        Cluster; the unit of assignment unless `people` says otherwise.
    stratum, factors, covariates : tuple of str
        Columns that make strata together, minimisation factors, and numbers to balance or match on.
    people : bool
        Whether people inside clusters are assigned as well.
    sequential : bool
        Whether the order of rows is the order of enrolment.
    """

    cluster: str | None = None
    stratum: tuple[str, ...] = ()
    factors: tuple[str, ...] = ()
    covariates: tuple[str, ...] = ()
    people: bool = False
    sequential: bool = False


@dataclass(frozen=True, eq=False)
class Units:
    """Units of assignment.

    Attributes
    ----------
    of_row : ndarray of int, shape (rows,)
        Unit of assignment of each row of the frame.
    names : tuple of str or None
        Names of the units; None for rows without a name.
    grouped : bool
        Whether the units are clusters.
    stratum : ndarray of int, shape (units,)
        Stratum of each unit; zeros where there are none.
    stratum_names : tuple of str
        Label of each stratum; several columns joined by " / ".
    cluster : ndarray of int or None
        Cluster of each unit, where people inside clusters are assigned.
    factors : ndarray of int, shape (units, factors)
    covariates : ndarray, shape (units, columns)
    covariate_columns : tuple of tuple of int
        Places in `covariates` of each covariate named: one for a number, several for a category.
    """

    of_row: IntArray
    names: tuple[str, ...] | None
    grouped: bool
    stratum: IntArray
    stratum_names: tuple[str, ...]
    cluster: IntArray | None
    factors: IntArray
    covariates: FloatArray
    covariate_columns: tuple[tuple[int, ...], ...]

    @property
    def n(self) -> int:
        """Units of assignment."""
        return int(self.stratum.size)

    @property
    def n_strata(self) -> int:
        """Strata there are."""
        return len(self.stratum_names)

    @cached_property
    def digest(self) -> str:
        """SHA-256 of what the scheme reads, the same on every machine."""

        def codes(values: IntArray | None) -> Any:
            return "" if values is None else values.astype("<i8")

        return digest_arrays(
            [
                ("names", self.names or ("rows", self.n)),
                ("stratum", codes(self.stratum)),
                ("strata", self.stratum_names),
                ("cluster", codes(self.cluster)),
                ("factors", codes(self.factors)),
                ("covariates", self.covariates.astype("<f8")),
            ]
        )


def bare_units(n: int) -> Units:
    """Return units that are known by their number alone."""
    nothing = np.zeros(n, dtype=np.intp)
    return Units(np.arange(n), None, False, nothing, ("",), None, np.zeros((n, 0), dtype=np.intp), np.zeros((n, 0)), ())


def read_units(frame: Any, roles: Roles, unit: str | None) -> Units:
    """Return the units of assignment of a frame; every problem is told at once.

    Parameters
    ----------
    frame : pandas, polars or pyarrow frame, or dict of columns
        One row a unit, or a person in a cluster.
    roles : Roles
        Columns that the scheme reads.
    unit : str or None
        Column that names single units.
    """
    reader = Reader(frame, "allocation")
    people = roles.cluster is None or roles.people
    if not people and unit is not None:
        reader.problem("Clusters are the units of assignment here; leave unit out.")
    named = unit if people else roles.cluster
    labels = None if named is None else _labels(reader, named, "unit" if people else "cluster")
    strata = [_labels(reader, name, "stratum") for name in roles.stratum]
    factors = [_labels(reader, name, "factor") for name in roles.factors]
    cluster = _labels(reader, roles.cluster, "cluster") if roles.people and roles.cluster else None
    parts = [reader.covariates((name,)) for name in roles.covariates]
    for name, levels in zip(roles.factors, factors, strict=True):
        if levels.count > MOST_LEVELS:
            reader.problem(
                f"Column {name!r} (factor) has {levels.count:,} levels; at most {MOST_LEVELS} were expected. Cut "
                "numbers into bands."
            )
    reader.raise_problems()
    of_row, first, names = _rows(reader, labels, people, roles.sequential)
    stratum, stratum_names = _cross(strata, reader.n)
    if not people:
        _check_constant(reader, roles.stratum, stratum, of_row, first)
    if cluster is not None and roles.stratum:
        _check_constant(reader, roles.stratum, stratum, cluster.codes, np.unique(cluster.codes, return_index=True)[1])
    reader.raise_problems()
    matrix = np.column_stack([values for values, _ in parts]) if parts else np.zeros((reader.n, 0))
    ends = np.cumsum([len(found) for _, found in parts]).tolist()
    columns = tuple(tuple(range(e - len(found), e)) for e, (_, found) in zip(ends, parts, strict=True))
    codes = np.column_stack([levels.codes for levels in factors]) if factors else np.zeros((reader.n, 0), dtype=np.intp)
    return Units(
        of_row=of_row,
        names=names,
        grouped=not people,
        stratum=stratum[first],
        stratum_names=stratum_names,
        cluster=None if cluster is None else cluster.codes[first],
        factors=codes[first].astype(np.intp),
        covariates=matrix[first] if people else _means(matrix, of_row, first.size),
        covariate_columns=columns,
    )


def _labels(reader: Reader, column: str, role: str) -> Labels:
    """Return a column of labels, refusing one that mixes text and numbers, where 1 and '1' would become one label."""
    import narwhals as nw

    if column in reader.columns and reader.dtype(column) == nw.Object:
        kinds = {_kind(value) for value in reader.series(column).to_list() if not is_missing(value)}
        if len(kinds) > 1:
            reader.problem(f"Column {column!r} ({role}) mixes types; make it all text or all numbers.")
    return reader.labels(column, role)


def _kind(value: Any) -> str:
    if isinstance(value, str):
        return "text"
    return "number" if isinstance(value, (bool, int, float, np.number, np.bool_)) else type(value).__name__


def _rows(
    reader: Reader, labels: Labels | None, people: bool, sequential: bool
) -> tuple[IntArray, IntArray, tuple[str, ...] | None]:
    """Return the unit of each row, a row of each unit, and the units' names.

    Named units stand in the order of their names, so that the order of rows changes nothing; where order is that of
    enrolment they stand as the rows do.
    """
    if labels is None:
        return np.arange(reader.n), np.arange(reader.n), None
    first = np.unique(labels.codes, return_index=True)[1].astype(np.intp)
    if people and first.size < reader.n:
        raise DataError(
            f"The names of the units repeat in {plural(reader.n - first.size, 'row')}; each unit stands once."
        )
    if not (people and sequential):
        return labels.codes, first, labels.levels
    names = tuple(labels.levels[code] for code in labels.codes)
    return np.arange(reader.n), np.arange(reader.n), names


def _cross(strata: Sequence[Labels], n: int) -> tuple[IntArray, tuple[str, ...]]:
    """Return the strata that several columns make together."""
    if not strata:
        return np.zeros(n, dtype=np.intp), ("",)
    if len(strata) == 1:
        return strata[0].codes, strata[0].levels
    table = np.column_stack([labels.codes for labels in strata])
    used, codes = np.unique(table, axis=0, return_inverse=True)
    names = tuple(" / ".join(labels.levels[code] for labels, code in zip(strata, row, strict=True)) for row in used)
    return codes.ravel().astype(np.intp), names


def _check_constant(
    reader: Reader, columns: tuple[str, ...], stratum: IntArray, of_row: IntArray, first: IntArray
) -> None:
    wrong = int(np.unique(of_row[stratum != stratum[first][of_row]]).size)
    if wrong:
        reader.problem(
            f"The stratum ({', '.join(columns)}) varies inside {plural(wrong, 'cluster')}; a cluster lies in one."
        )


def _means(matrix: FloatArray, of_row: IntArray, n: int) -> FloatArray:
    out, size = np.empty((n, matrix.shape[1])), np.bincount(of_row, minlength=n)
    for column in range(matrix.shape[1]):
        out[:, column] = np.bincount(of_row, weights=matrix[:, column], minlength=n) / size
    return out


def read_arms(frame: Any, column: str, arms: tuple[str, ...], units: Units) -> NDArray[np.int8]:
    """Return the arm of each unit of assignment, by position in `arms`; labels are compared as text.

    Parameters
    ----------
    frame : frame
        As in `read_units`.
    column : str
        Column of the arm.
    arms : tuple of str
        Labels.
    units : Units
        Read from the same frame.
    """
    reader = Reader(frame, "allocation")
    found = reader.labels(column, "arm")
    reader.raise_problems()
    unknown = [level for level in found.levels if level not in arms]
    if unknown:
        raise DataError(f"Column {column!r} (arm): {plural(len(unknown), 'label')} unknown to the scheme. Rename them.")
    if len(found.levels) < len(arms):
        raise DataError(f"Column {column!r} (arm): {plural(len(arms) - len(found.levels), 'arm')} without a unit.")
    codes = np.array([arms.index(level) for level in found.levels], dtype=np.int8)[found.codes]
    by_unit = np.zeros(units.n, dtype=np.int8)
    by_unit[units.of_row] = codes
    mixed = int(np.unique(units.of_row[by_unit[units.of_row] != codes]).size)
    if mixed:
        raise DataError(f"Column {column!r} (arm) varies inside {plural(mixed, 'cluster')}; a cluster has one arm.")
    return by_unit
