"""Witnesses: two whole tables that agree with all that is shown and differ in a hidden number."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from gbveval.disclosure._layout import Axis, BoolArray, FloatArray, IntArray
from gbveval.disclosure._problem import Problem

# A price that nothing pays. Prices of totals reach 1e7, and a sum of both keeps the cents of hidden numbers.
BLOCKED = 1e11
# What to depart further costs where a table departs already.
_AGAIN = 1e-4
# So many directions along one axis are tried at most.
_MOST_DIRECTIONS = 200


@dataclass(frozen=True, slots=True, eq=False)
class Witness:
    """Two tables by where and how they depart from the true one.

    Attributes
    ----------
    entries : ndarray of int
        Where either departs.
    first, second : ndarray of int
        By how much.
    """

    entries: IntArray
    first: IntArray
    second: IntArray

    def proves(self, problem: Problem) -> IntArray:
        """Return the entries that the two tables leave wide enough."""
        highest = np.maximum(np.maximum(self.first, self.second), 0)
        lowest = np.minimum(np.minimum(self.first, self.second), 0)
        enough = np.abs(self.first - self.second) >= problem.protection[self.entries]
        enough &= (highest >= problem.rise[self.entries]) & (-lowest >= problem.fall[self.entries])
        proved: IntArray = self.entries[enough]
        return proved


class Moves:
    """Searches the cheapest rectangle, or its like in more dimensions, along which a table can be changed unseen.

    A move is a product of one direction along each axis: a category up and another one down, or a category up with all
    its totals. Such a product changes no sum, so the true table plus any multiple of it has the same totals.
    """

    def __init__(self, problem: Problem) -> None:
        self._problem = problem
        self._axes = problem.layout.axes
        self._shape = problem.layout.shape
        self._up, self._down = (room.reshape(self._shape) for room in problem.room())

    def cheapest(self, target: int, price: FloatArray) -> Witness | None:
        """Return a witness for `target` whose entries cost least, or None if no such move is long enough."""
        place = tuple(int(i) for i in np.unravel_index(target, self._shape))
        ways = [directions(axis, at) for axis, at in zip(self._axes, place, strict=True)]
        prices = price.reshape(self._shape)
        best, found = BLOCKED / 2, None
        need = int(self._problem.protection[target])
        least = int(self._problem.rise[target]), int(self._problem.fall[target])
        for rise, fall in _splits(self._up[place], self._down[place], need, least):
            move = self._best(ways, prices, rise, fall)
            if move is not None and move[0] < best:
                best, found = move[0], _product(move[1], rise, fall)
        return found

    def steps(self, target: int, price: FloatArray) -> Witness | None:
        """Return a witness for `target` made of several short moves, or None if they do not lead far enough.

        Where counts are small no single move is long enough; one after the other, each through what room is left, they
        may be. Entries cost once.
        """
        place = tuple(int(i) for i in np.unravel_index(target, self._shape))
        ways = [directions(axis, at) for axis, at in zip(self._axes, place, strict=True)]
        prices = price.reshape(self._shape)
        rise, fall = int(self._problem.rise[target]), int(self._problem.fall[target])
        need = max(int(self._problem.protection[target]), rise + fall)
        up, prices = self._walk(ways, place, prices, need - fall, 1)
        risen = int(up[place])
        down, _ = self._walk(ways, place, prices, max(need - risen, fall), -1)
        if risen < rise or risen - int(down[place]) < need:
            return None
        first, second = up.ravel(), down.ravel()
        entries = np.flatnonzero((first != 0) | (second != 0))
        return Witness(entries, first[entries], second[entries])

    def _walk(
        self, ways: list[IntArray], place: tuple[int, ...], prices: FloatArray, far: int, sign: int
    ) -> tuple[IntArray, FloatArray]:
        """Return a table's departures that take `place` as far up (or down) as moves do, and the prices then."""
        away = np.zeros(self._shape, dtype=np.int64)
        step = far
        while step >= 1:
            up, down = self._up - away, self._down + away
            found = _cheapest_product(ways, prices, (up, down) if sign > 0 else (down, up), step, 0)
            if found is None:
                step = step // 2
                continue
            move = _outer(found[1])
            away += sign * step * move
            # What departs already departs further at no price.
            prices = np.where(move != 0, np.minimum(prices, _AGAIN), prices)
            step = min(step, far - abs(int(away[place])))
        return away, prices

    def _best(
        self, ways: list[IntArray], prices: FloatArray, rise: int, fall: int
    ) -> tuple[float, list[IntArray]] | None:
        """Return the cheapest product of directions along which the table can rise and fall so far, and its cost."""
        return _cheapest_product(ways, prices, (self._up, self._down), rise, fall)


def _cheapest_product(
    ways: list[IntArray], prices: FloatArray, room: tuple[FloatArray, FloatArray], rise: int, fall: int
) -> tuple[float, list[IntArray]] | None:
    up, down = room
    plus = np.where((up >= rise) & (down >= fall), prices, BLOCKED)
    minus = np.where((down >= rise) & (up >= fall), prices, BLOCKED)
    # An entry of sign s costs (plus + minus) / 2 + s (plus - minus) / 2, and signs multiply over the axes.
    cost = _contract([np.abs(way) for way in ways], (plus + minus) / 2) + _contract(ways, (plus - minus) / 2)
    where = int(np.argmin(cost))
    least = float(cost.ravel()[where])
    if least >= BLOCKED / 2:
        return None
    return least, [way[i] for way, i in zip(ways, np.unravel_index(where, cost.shape), strict=True)]


@lru_cache(maxsize=2048)
def directions(axis: Axis, place: int) -> IntArray:
    """Return the changes along an axis that raise `place` by one and keep every sum, shape (ways, axis.size)."""
    members = axis.members()
    inside = np.flatnonzero(members[place])
    outside = np.flatnonzero(members[place] == 0)
    alone = members[:, inside].T
    against = (members[:, inside].T[:, None, :] - members[:, outside].T[None, :, :]).reshape(-1, axis.size)
    ways = np.concatenate([alone, against])
    if len(ways) > _MOST_DIRECTIONS:
        ways = ways[np.linspace(0, len(ways) - 1, _MOST_DIRECTIONS).astype(np.int64)]
    return ways


def _splits(up: float, down: float, need: int, at_least: tuple[int, int]) -> Iterator[tuple[int, int]]:
    """Yield how the two tables can share the distance: as far up as possible, as far down, and in between."""
    rise, fall = at_least
    need = max(need, rise + fall)
    most, least = int(min(up, need - fall)), int(max(need - down, rise))
    if least > most:
        return
    yield from ((part, need - part) for part in dict.fromkeys((most, least, (most + least) // 2)))


def _contract(ways: list[IntArray], prices: FloatArray) -> FloatArray:
    """Return the sum of prices over each product of directions."""
    table = prices
    for way in ways:
        # Always the first axis left: the contracted one goes to the end.
        table = np.tensordot(table, way.astype(float), axes=(0, 1))
    return table


def _outer(ways: list[IntArray]) -> IntArray:
    move = ways[0]
    for way in ways[1:]:
        move = np.multiply.outer(move, way)
    return move


def _product(ways: list[IntArray], rise: int, fall: int) -> Witness:
    flat = _outer(ways).ravel()
    entries = np.flatnonzero(flat)
    return Witness(entries, rise * flat[entries], -fall * flat[entries])


def check(problem: Problem, hidden: BoolArray, proofs: dict[int, Witness]) -> bool:
    """Return whether every number that must not be confined has a witness, by integer arithmetic alone."""
    from scipy.sparse import csr_array

    wanted = np.flatnonzero(problem.required(hidden))
    if any(int(entry) not in proofs for entry in wanted):
        return False
    matrix = problem.layout.matrix().astype(np.int64).T
    for side in ("first", "second"):
        witnesses = [proofs[int(entry)] for entry in wanted]
        sizes = [witness.entries.size for witness in witnesses]
        rows = np.repeat(np.arange(len(wanted)), sizes)
        columns = np.concatenate([np.zeros(0, dtype=np.int64), *(witness.entries for witness in witnesses)])
        change = np.concatenate([np.zeros(0, dtype=np.int64), *(getattr(witness, side) for witness in witnesses)])
        moved = change != 0
        value = problem.values[columns] + change
        inside = (value >= problem.lower[columns]) & (value <= problem.upper[columns]) & hidden[columns]
        sums = csr_array((change, (rows, columns)), shape=(len(wanted), problem.layout.size)) @ matrix
        if not inside[moved].all() or sums.count_nonzero():
            return False
    return all(entry in witness.proves(problem) for entry, witness in zip(wanted, witnesses, strict=True))
