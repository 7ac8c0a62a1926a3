"""Who can reach whom: an undirected network among the units of a trial, read from pairs of identifiers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gbveval.data._frame import Labels, Reader, plural

IntArray = NDArray[np.intp]
BoolArray = NDArray[np.bool_]


@dataclass(frozen=True, eq=False, slots=True)
class Network:
    """Pairs of units that can reach each other, by the unit's place in the trial and never by its identifier.

    Attributes
    ----------
    edges : ndarray of int, shape (pairs, 2)
        Each pair once, the smaller place first, in order.
    n : int
        Units, those without a neighbour included.
    """

    edges: IntArray
    n: int

    def __post_init__(self) -> None:
        self.edges.flags.writeable = False

    def __reduce__(self) -> tuple[Any, ...]:
        # An array comes out of a pickle writeable; the constructor closes it again.
        return Network, (self.edges, self.n)

    def adjacency(self) -> Any:
        """Return the symmetric 0/1 matrix, shape (n, n), as a scipy CSR array."""
        from scipy.sparse import csr_array

        first, second = self.edges.T
        ends = (np.concatenate([first, second]), np.concatenate([second, first]))
        return csr_array((np.ones(2 * first.size, dtype=np.float32), ends), shape=(self.n, self.n))

    def degree(self) -> IntArray:
        """Return the number of neighbours of each unit."""
        return np.bincount(self.edges.ravel(), minlength=self.n).astype(np.intp)

    def among(self, keep: BoolArray | IntArray) -> Network:
        """Return the pairs of which both units are kept, by the new places."""
        kept = np.flatnonzero(keep) if keep.dtype == bool else keep
        place = np.full(self.n, -1, dtype=np.intp)
        place[kept] = np.arange(kept.size)
        edges = place[self.edges]
        return Network(_ordered(edges[(edges >= 0).all(axis=1)]), int(kept.size))


def _ordered(edges: IntArray) -> IntArray:
    """Return pairs with the smaller place first, sorted."""
    edges = np.sort(edges, axis=1)
    return edges[np.lexsort((edges[:, 1], edges[:, 0]))]


def read_network(
    reader: Reader, given: Any, unit: Labels | None, randomised: BoolArray, column: str | None
) -> Network | None:
    """Return the network, noting every problem with identifiers and pairs by the number of rows.

    Parameters
    ----------
    reader : Reader
        Of the trial; it takes the problems.
    given : frame or None
        Two columns of identifiers.
    unit : Labels or None
        Identifier of every row of the trial's frame.
    randomised : ndarray of bool
        Rows of the frame that are units of the trial.
    column : str or None
        Name of the column of identifiers.
    """
    if unit is not None and (again := unit.codes.size - unit.count):
        reader.problem(
            f"Column {column!r} (unit) repeats an identifier in {plural(again, 'row')}; one row for each unit was "
            "expected. Leave repeats out, or declare the column as cluster."
        )
    if given is None:
        return None
    pairs = Reader(given, "network")
    if unit is None:
        reader.problem("A network needs the role `unit`: the column whose identifiers its pairs name.")
        return None
    if len(pairs.columns) != 2:
        reader.problem(
            f"The network has {plural(len(pairs.columns), 'column')}; two were expected, the identifiers of a pair of "
            "units. Leave other columns out."
        )
        return None
    place = np.full(unit.count, -1, dtype=np.intp)
    place[unit.codes[randomised]] = np.arange(int(randomised.sum()))
    of = dict(zip(unit.levels, place.tolist(), strict=True))
    found = [pairs.labels(name, "network") for name in pairs.columns]
    if pairs.problems:
        reader.problems += pairs.problems
        return None
    edges = np.column_stack(
        [np.array([of.get(level, -1) for level in end.levels], dtype=np.intp)[end.codes] for end in found]
    )
    return Network(_checked_pairs(reader, edges), int(randomised.sum()))


def _checked_pairs(reader: Reader, edges: IntArray) -> IntArray:
    """Return the pairs in order, noting strangers, pairs of a unit with itself, and repeats."""
    strange = (edges < 0).any(axis=1)
    own = (edges[:, 0] == edges[:, 1]) & ~strange
    ordered = _ordered(edges[~strange & ~own])
    again = int((np.diff(ordered, axis=0) == 0).all(axis=1).sum()) if ordered.shape[0] > 1 else 0
    for count, what in (
        (
            int(strange.sum()),
            "an identifier that no randomised unit bears. Leave out people outside the trial, and say so",
        ),
        (int(own.sum()), "a unit with itself. Leave those rows out"),
        (again, "two units that an earlier row names, in this order or the other. List each pair once"),
    ):
        if count:
            verb = "names" if count == 1 else "name"
            reader.problem(f"Network: {plural(count, 'row')} {verb} {what}.")
    return ordered
