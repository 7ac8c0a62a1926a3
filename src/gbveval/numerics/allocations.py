"""Allocations that could have been: counted exactly, enumerated where that is feasible, else drawn, always in chunks.

A scheme works on units of assignment (people, clusters, sequences' clusters). Three kinds cover the designs of trials:

- *permuted*: the labels found in each block are permuted inside it. One block is complete randomisation; strata are
  blocks; a matched pair is a block of two; a stepped wedge permutes the sequences of its clusters;
- *independent*: each unit is drawn on its own, with its probability of each label. Allocations in which a label has no
  unit are left out, so that the test conditions on every label being there, as it was;
- *recorded*: the rows of a matrix that the trial's own randomisation gave;
- *from a source*: a declared mechanism that is run again, such as minimisation or rerandomisation.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain, combinations
from math import comb, lgamma, log, prod
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.intp]
Codes = NDArray[np.int8]

# Labels in one chunk: four million bytes keep the calls few, and memory independent of the draws.
CHUNK = 4_000_000
# Exact binomial coefficients of more units than this take seconds, and nobody needs their last digits.
EXACT_COUNT = 20_000
# Blocks up to this size are drawn from the table of all their arrangements, if it has at most so many rows.
SMALL_BLOCK, SMALL_TABLE = 20, 4_000
# From this size on coins that are then corrected are faster than sorting keys.
LARGE_BLOCK = 40


class Source(Protocol):
    """A mechanism that is run again."""

    @property
    def listed(self) -> tuple[Codes, FloatArray] | None:
        """Every allocation with its probability, where they can be listed."""

    @property
    def count(self) -> int | None:
        """Allocations there are, if known."""

    def draw(self, n_draws: int, rng: np.random.Generator) -> Codes:
        """Return allocations, shape (n_draws, units)."""

    def probabilities(self) -> FloatArray:
        """Return the probability of each label, shape (units, labels)."""


@dataclass(frozen=True, eq=False, slots=True)
class Scheme:
    """How labels were given to units of assignment.

    Attributes
    ----------
    labels : ndarray of int8, shape (units,)
        The labels found, 0 .. n_labels - 1.
    n_labels : int
        Number of labels, at most 127.
    block : ndarray of int, shape (units,)
        Block inside which labels are permuted; all zero for complete randomisation.
    probability : ndarray or None, shape (units, labels)
        For independent draws.
    recorded : ndarray of int8 or None, shape (allocations, units)
        Allocations to use as they are.
    source : Source or None
        A mechanism to run again.
    """

    labels: Codes
    n_labels: int
    block: IntArray
    probability: FloatArray | None = None
    recorded: Codes | None = None
    source: Source | None = None


# What stands for the number of allocations of a source that does not know it: more than are ever listed.
UNKNOWN = 1 << 64


def can_list(scheme: Scheme) -> bool:
    """Return whether every allocation can be listed, if there are few enough."""
    return scheme.source is None or scheme.source.listed is not None


def permuted(labels: NDArray[np.integer], block: IntArray | None = None) -> Scheme:
    """Return the scheme that permutes the labels inside blocks.

    Examples
    --------
    >>> count_allocations(permuted(np.array([0, 1, 0, 1]), np.array([0, 0, 1, 1])))
    4
    """
    codes = np.asarray(labels).astype(np.int8)
    blocks = np.zeros(codes.size, dtype=np.intp) if block is None else np.unique(block, return_inverse=True)[1]
    return Scheme(codes, int(codes.max()) + 1, blocks.astype(np.intp))


def count_allocations(scheme: Scheme) -> int:
    """Return how many allocations there are, those with an absent label included.

    The number is exact, but for blocks of more than 20,000 units: there it is a power of two of the same size.
    """
    if scheme.recorded is not None:
        return int(scheme.recorded.shape[0])
    if scheme.source is not None:
        return scheme.source.count or UNKNOWN
    if scheme.probability is not None:
        return prod(int(k) for k in (scheme.probability > 0).sum(axis=1))
    return prod(arrangements(counts) for counts in _label_counts(scheme))


def how_many(count: int) -> str:
    """Return a number of allocations in words; the largest have more digits than anybody can print.

    Examples
    --------
    >>> how_many(924), how_many(2**4000)
    ('924', 'about 10^1204')
    """
    if count == UNKNOWN:
        return "a number that was not counted"
    return f"{count:,}" if count < 10**9 else f"about 10^{int((count.bit_length() - 1) * 0.30102999566398120)}"


def _label_counts(scheme: Scheme) -> IntArray:
    """Return the number of units with each label in each block, shape (blocks, labels)."""
    n_blocks = int(scheme.block.max()) + 1
    flat = np.bincount(scheme.block * scheme.n_labels + scheme.labels, minlength=n_blocks * scheme.n_labels)
    return flat.reshape(n_blocks, scheme.n_labels).astype(np.intp)


def arrangements(counts: IntArray) -> int:
    """Return the multinomial coefficient of label counts."""
    total, left = 1, int(counts.sum())
    if left > EXACT_COUNT:
        logarithm = lgamma(left + 1.0) - sum(lgamma(count + 1.0) for count in counts)
        return 1 << int(logarithm / log(2.0))
    for count in counts:
        total *= comb(left, int(count))
        left -= int(count)
    return total


def enumerate_allocations(scheme: Scheme) -> Iterator[tuple[Codes, FloatArray]]:
    """Yield every allocation once, with its probability, in chunks of rows.

    The probabilities of all chunks sum to one, but for independent draws: there they sum to the probability that every
    label has a unit, and the caller divides by it.
    """
    rows = max(1, CHUNK // scheme.labels.size)
    if scheme.recorded is not None:
        share = 1.0 / scheme.recorded.shape[0]
        for start in range(0, scheme.recorded.shape[0], rows):
            part = scheme.recorded[start : start + rows]
            yield part, np.full(part.shape[0], share)
        return
    if scheme.source is not None:
        assert scheme.source.listed is not None
        yield scheme.source.listed
        return
    if scheme.probability is not None:
        yield from _enumerate_independent(scheme, rows)
        return
    tables = []
    for number, counts in enumerate(_label_counts(scheme)):
        tables.append((np.flatnonzero(scheme.block == number), _arrange(counts)))
    total = prod(table.shape[0] for _, table in tables)
    for start in range(0, total, rows):
        rank = np.arange(start, min(start + rows, total))
        out = np.empty((rank.size, scheme.labels.size), dtype=np.int8)
        for where, table in tables:
            rank, digit = np.divmod(rank, table.shape[0])
            out[:, where] = table[digit]
        yield out, np.full(out.shape[0], 1.0 / total)


def _arrange(counts: IntArray) -> Codes:
    """Return every order of a block's labels, one a row."""
    n = int(counts.sum())
    table = np.zeros((1, n), dtype=np.int8)
    free = np.arange(n)[None, :]
    for label in range(counts.size - 1, 0, -1):
        chosen, rest = _subsets(free.shape[1], int(counts[label]))
        grown = np.repeat(table, chosen.shape[0], axis=0)
        places = free[:, chosen].reshape(grown.shape[0], chosen.shape[1])
        np.put_along_axis(grown, places, label, axis=1)
        table, free = grown, free[:, rest].reshape(grown.shape[0], rest.shape[1])
    return table


def _subsets(n: int, k: int) -> tuple[IntArray, IntArray]:
    """Return every subset of k of n positions and its complement, one a row."""
    total = comb(n, k)
    chosen = np.fromiter(chain.from_iterable(combinations(range(n), k)), dtype=np.intp, count=total * k)
    chosen = chosen.reshape(total, k)
    out = np.ones((total, n), dtype=bool)
    np.put_along_axis(out, chosen, False, axis=1)
    return chosen, np.nonzero(out)[1].reshape(total, n - k)


def _enumerate_independent(scheme: Scheme, rows: int) -> Iterator[tuple[Codes, FloatArray]]:
    assert scheme.probability is not None
    options = [np.flatnonzero(row > 0) for row in scheme.probability]
    total = prod(option.size for option in options)
    for start in range(0, total, rows):
        rank = np.arange(start, min(start + rows, total))
        out = np.empty((rank.size, len(options)), dtype=np.int8)
        weight = np.ones(rank.size)
        for unit, option in enumerate(options):
            rank, digit = np.divmod(rank, option.size)
            out[:, unit] = option[digit]
            weight *= scheme.probability[unit, out[:, unit]]
        keep = _every_label_present(scheme, out)
        if keep.any():
            yield out[keep], weight[keep]


def _every_label_present(scheme: Scheme, codes: Codes) -> NDArray[np.bool_]:
    present: list[NDArray[np.bool_]] = [(codes == label).any(axis=1) for label in np.unique(scheme.labels)]
    return np.asarray(np.all(present, axis=0))


def draw_allocations(scheme: Scheme, n_draws: int, rng: np.random.Generator) -> Iterator[Codes]:
    """Yield `n_draws` random allocations in chunks of rows.

    Units that stand in the order of `draw_order` are written without being gathered.
    """
    rows = max(1, CHUNK // scheme.labels.size)
    groups = _groups(scheme) if _permutes(scheme) else []
    for start in range(0, n_draws, rows):
        size = min(rows, n_draws - start)
        if scheme.recorded is not None:
            yield scheme.recorded[rng.integers(0, scheme.recorded.shape[0], size)]
        elif scheme.probability is not None:
            yield _draw_independent(scheme, size, rng)
        elif scheme.source is not None:
            yield scheme.source.draw(size, rng)
        else:
            out = np.empty((size, scheme.labels.size), dtype=np.int8)
            for where, counts in groups:
                drawn = _draw_blocks(where.shape, counts, size, rng)
                place = _as_slice(where.ravel())
                out[:, place] = drawn.reshape(size, -1)
            yield out


def draw_order(scheme: Scheme) -> IntArray:
    """Return an order of units that keeps blocks with the same numbers of labels together."""
    if not _permutes(scheme):
        return np.arange(scheme.labels.size)
    return np.concatenate([where.ravel() for where, _ in _groups(scheme)])


def _permutes(scheme: Scheme) -> bool:
    return scheme.recorded is None and scheme.probability is None and scheme.source is None


def _groups(scheme: Scheme) -> list[tuple[IntArray, IntArray]]:
    """Return for blocks with the same label counts their units, shape (blocks, size), and those counts."""
    counts = _label_counts(scheme)
    kinds, kind_of = np.unique(counts, axis=0, return_inverse=True)
    kind_of = kind_of.ravel()
    by_kind = np.lexsort((scheme.block, kind_of[scheme.block]))
    found, start = [], 0
    for number, kind in enumerate(kinds):
        n_blocks, size = int((kind_of == number).sum()), int(kind.sum())
        stop = start + n_blocks * size
        found.append((by_kind[start:stop].reshape(n_blocks, size), kind))
        start = stop
    return found


def _as_slice(where: IntArray) -> slice | IntArray:
    start = int(where[0])
    return slice(start, start + where.size) if np.array_equal(where, np.arange(start, start + where.size)) else where


def _draw_blocks(shape: tuple[int, ...], counts: IntArray, size: int, rng: np.random.Generator) -> Codes:
    """Return random orders of the labels for blocks with the same counts, shape (size x blocks, block size)."""
    n_blocks, n = shape
    used = np.flatnonzero(counts)
    rows = size * n_blocks
    if used.size == 1:
        return np.full((rows, n), used[0], dtype=np.int8)
    if used.size > 2:
        start = np.repeat(np.arange(counts.size, dtype=np.int8), counts)
        return rng.permuted(np.tile(start, (rows, 1)), axis=1)
    smaller, larger = (used[1], used[0]) if counts[used[1]] <= counts[used[0]] else (used[0], used[1])
    chosen = _draw_subsets(rows, n, int(counts[smaller]), rng)
    if (used[0], used[1]) == (0, 1):
        return (chosen if smaller == 1 else ~chosen).view(np.int8)
    return np.where(chosen, np.int8(smaller), np.int8(larger))


def _draw_subsets(rows: int, n: int, k: int, rng: np.random.Generator) -> NDArray[np.bool_]:
    """Return uniformly drawn subsets of exactly k of n positions, one a row, by the cheapest of three exact ways."""
    if n == 2 and k == 1:
        first = rng.integers(0, 2, rows, dtype=np.int8).astype(bool)
        return np.column_stack([first, ~first])
    if n <= SMALL_BLOCK and comb(n, k) <= SMALL_TABLE:
        table = np.ones((comb(n, k), n), dtype=bool)
        np.put_along_axis(table, _subsets(n, k)[1], False, axis=1)
        return np.take(table, rng.integers(0, table.shape[0], rows), axis=0)
    return _subsets_by_coins(rows, n, k, rng) if n >= LARGE_BLOCK else _subsets_by_keys(rows, n, k, rng)


def _subsets_by_keys(rows: int, n: int, k: int, rng: np.random.Generator) -> NDArray[np.bool_]:
    """Return the positions of the k smallest of n random keys.

    Keys are single precision. Where two keys tie at the k-th place, which happens without regard to who holds them, the
    row is drawn again, so every subset is equally likely.
    """
    keys = rng.random((rows, n), dtype=np.float32)
    chosen = keys <= np.partition(keys, k - 1, axis=1)[:, k - 1 : k]
    wrong = np.flatnonzero(np.count_nonzero(chosen, axis=1) != k)
    if wrong.size:
        chosen[wrong] = _subsets_by_keys(wrong.size, n, k, rng)
    return chosen


def _subsets_by_coins(rows: int, n: int, k: int, rng: np.random.Generator) -> NDArray[np.bool_]:
    """Return subsets from independent coins, with positions at random changed until k are left.

    Given how many came up, coins are a uniform subset of that size; taking away members at random, or adding others at
    random, leaves it uniform.
    """
    bits = 1 if 2 * k == n else 8
    words = rng.integers(0, 2**64, size=(rows * n * bits + 63) // 64, dtype=np.uint64).view(np.uint8)
    if bits == 1:
        coins = np.unpackbits(words)[: rows * n].reshape(rows, n).view(bool)
    else:
        coins = words[: rows * n].reshape(rows, n) < min(max(round(256 * k / n), 1), 255)
    surplus = coins.sum(axis=1, dtype=np.int32) - np.int32(k)
    row = np.flatnonzero(surplus)
    left, wanted = np.abs(surplus[row]), surplus[row] > 0
    flat = coins.reshape(-1)
    while row.size:
        place = row * n + rng.integers(0, n, row.size)
        hit = flat[place] == wanted
        flat[place[hit]] = ~wanted[hit]
        left = left - hit
        open_rows = left > 0
        row, left, wanted = row[open_rows], left[open_rows], wanted[open_rows]
    return coins


def _draw_independent(scheme: Scheme, size: int, rng: np.random.Generator) -> Codes:
    assert scheme.probability is not None
    edges = np.cumsum(scheme.probability, axis=1)[:, :-1]
    parts: list[Codes] = []
    while size > 0:
        point = rng.random((size, scheme.labels.size))
        codes = np.zeros(point.shape, dtype=np.int8)
        for label in range(edges.shape[1]):
            codes += (point >= edges[:, label]).astype(np.int8)
        kept = codes[_every_label_present(scheme, codes)]
        parts.append(kept)
        size -= kept.shape[0]
    return np.concatenate(parts)
