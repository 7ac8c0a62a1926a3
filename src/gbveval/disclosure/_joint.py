"""What a reader learns from several tables on the same respondents: subtraction, overlap, and everything linear."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from gbveval.core.errors import ConvergenceError, DisclosureError
from gbveval.disclosure._facts import ELSE, MOST_ATOMS, WITH, WITHOUT, Atoms, Fact, TableFacts, linked, simplify
from gbveval.disclosure._layout import BoolArray, FloatArray
from gbveval.disclosure._programmes import ROUNDING
from gbveval.disclosure.policy import Policy

# Random directions in which tables are sought first: most groups turn out wide in one of them.
_FIRST_LOOKS = 3
_MOST_IN_POOL = 60
_MOST_TARGETS = 50_000


@dataclass(frozen=True, slots=True, eq=False)
class Exposure:
    """A group that several tables give away.

    Attributes
    ----------
    titles : tuple of str
        The tables from which it follows.
    facts : tuple of Fact
        The shown numbers from which it follows.
    """

    titles: tuple[str, ...]
    facts: tuple[Fact, ...]


@dataclass(frozen=True, slots=True, eq=False)
class _Target:
    mask: BoolArray
    width: int
    # A group of this many is nobody's business; None for a number that was hidden, whatever its size.
    enough: int | None


@dataclass(frozen=True, slots=True, eq=False)
class Comparison:
    """What a comparison of tables found.

    Attributes
    ----------
    exposures : tuple of Exposure
        Groups that are given away.
    all_at_once : bool
        Whether all tables were compared in one system; otherwise every new table with each other one.
    """

    exposures: tuple[Exposure, ...]
    all_at_once: bool = True


def compare(tables: Sequence[TableFacts], new: Sequence[TableFacts], policy: Policy) -> Comparison:
    """Return the groups that all tables together confine too narrowly.

    Parameters
    ----------
    tables : sequence of TableFacts
        What is known, earlier releases included.
    new : sequence of TableFacts
        Those among them that are about to be released; overlaps of earlier tables alone are not news.
    policy : Policy
        Thresholds.

    Notes
    -----
    The unknowns are the cells of the joint table of all variables that the tables name, with one more category each for
    no answer. Every fact bounds a sum of them. Attacked are the hidden numbers of all tables, and for each new fact and
    each fact of another table the people in both and those in one but not in the other. A group is exposed if linear
    programmes confine it to an interval narrower than the protection that lies below the threshold. Where the joint
    table has too many cells, each new table is compared with every other one by itself.
    """
    fresh = {id(table) for table in new}
    tables = linked(tables, new)
    is_new = [id(table) in fresh for table in tables]
    reduced = simplify(tables)
    if Atoms.count(reduced) <= MOST_ATOMS:
        return Comparison(tuple(_exposures(reduced, is_new, policy)))
    found: list[Exposure] = []
    for i, first in enumerate(tables):
        for j, second in enumerate(tables):
            if is_new[i] and (j < i or (j > i and not is_new[j])):
                found += _exposures(simplify([first, second]), [True, is_new[j]], policy)
    return Comparison(tuple(found), all_at_once=False)


def _exposures(tables: Sequence[TableFacts], is_new: Sequence[bool], policy: Policy) -> list[Exposure]:
    if len(tables) < 2:
        return []
    joint = Joint(tables)
    found = [joint.exposure(target) for target in _targets(joint, is_new, policy) if joint.gives_away(target)]
    guessed = joint.supposed_complete()
    if guessed is not None:
        # Who is without an answer is told by tables, and not by the guess that nobody is.
        targets = (target for target in _targets(guessed, is_new, policy) if not target.may_be_empty)
        found += [guessed.exposure(target) for target in targets if guessed.gives_away(target)]
    return found


@dataclass(frozen=True, slots=True, eq=False)
class Target:
    """A group that must not be confined.

    Attributes
    ----------
    mask : ndarray of bool
        Its atoms.
    width : int
        The narrowest interval allowed.
    enough : int or None
        A group that may be so large is no secret; None for a number that was hidden, whatever its size.
    may_be_empty : bool
        Whether it is no secret that nobody is in it: that everybody answered, for instance.
    """

    mask: BoolArray
    width: int
    enough: int | None = None
    may_be_empty: bool = False

    def is_safe(self, values: FloatArray) -> bool:
        """Return whether the values that the group can have leave it wide or large enough."""
        # People are whole: an interval from a half to three and a half is one to three.
        most, least = np.floor(values.max() + ROUNDING), np.ceil(values.min() - ROUNDING)
        if self.enough is not None and most >= self.enough:
            return True
        return bool(most - least >= self.width)


class Joint:
    """The linear system of all facts, and a pool of joint tables that satisfy it."""

    def __init__(self, tables: Sequence[TableFacts], complete: Sequence[str] = ()) -> None:
        from scipy.sparse import csr_array, vstack

        self.tables = tables
        self.atoms = Atoms(tables)
        self.facts = [fact for table in tables for fact in table.facts]
        self.owner = [number for number, table in enumerate(tables) for _ in table.facts]
        self.masks = [self.atoms.mask(fact.where) for fact in self.facts]
        empty = [self.atoms.mask(where) for table in tables for where in table.nobody()]
        empty += [self.atoms.mask({variable: frozenset([ELSE])}) for variable in complete]
        self._empty = np.any(empty, axis=0) if empty else np.zeros(self.atoms.size, dtype=bool)
        matrix: Any = csr_array(np.array(self.masks, dtype=np.int8)).astype(float)
        low, high = np.array([f.low for f in self.facts]), np.array([f.high for f in self.facts])
        self._known = np.flatnonzero(low == high)
        vague, above = np.flatnonzero(low < high), np.flatnonzero((low < high) & np.isfinite(high))
        # After the numbers that were shown come groups that are known to be empty.
        premises = csr_array(np.array(empty, dtype=np.int8).reshape(len(empty), self.atoms.size))
        self._equal = vstack([matrix[self._known], premises], format="csr")
        self._equal_to = np.concatenate([low[self._known], np.zeros(len(empty))])
        self._below = vstack([-matrix[vague], matrix[above]], format="csr") if vague.size else None
        self._limit = np.concatenate([-low[vague], high[above]]) if vague.size else None
        self._pool: list[FloatArray] = []
        self._look(matrix[np.flatnonzero(np.isfinite(high))])

    def _look(self, bounded: Any) -> None:
        """Fill the pool with joint tables from several corners: most groups turn out wide in these already."""
        self.solve(np.zeros(self.atoms.size))
        rng = np.random.default_rng(0)
        inside = np.asarray(bounded.sum(axis=0)).ravel() > 0
        for _ in range(_FIRST_LOOKS):
            self.solve(np.where(inside, rng.uniform(-1.0, 1.0, self.atoms.size), 1.0))

    def solve(self, cost: FloatArray) -> Any:
        """Return the solver's answer for the least cost; an unbounded programme is an answer too."""
        from scipy.optimize import linprog

        solver: Any = linprog
        result = solver(
            cost,
            A_ub=self._below,
            b_ub=self._limit,
            A_eq=self._equal if self._equal_to.size else None,
            b_eq=self._equal_to if self._equal_to.size else None,
            bounds=(0, None),
            method="highs",
        )
        if result.status == 2:
            raise DisclosureError(
                "The tables contradict each other, so they do not count the same respondents. If respondents have "
                "joined since the last release, name them: `Ledger(path, population=...)`. Tables of a subgroup say so "
                "by `within`; other respondents need a ledger, or a call, of their own."
            )
        if result.status not in (0, 3):
            raise ConvergenceError(f"The comparison of the tables stopped with solver status {result.status}.")
        if result.status == 0:
            self._pool = [*self._pool[-_MOST_IN_POOL:], np.asarray(result.x, dtype=float)]
        return result

    def supposed_complete(self) -> Joint | None:
        """Return the system of a reader who supposes that everybody answered, as far as no table speaks against it.

        A table of a subgroup says that nobody of the subgroup is without an answer, and nothing of the others; but who
        reads of women and of men will take them for all. None if that adds nothing to what the tables say.
        """
        missing = set().union(*(table.missing() for table in self.tables))
        groups = Counter(variable for variable, _ in sorted({each for table in self.tables for each in table.within}))
        asked = [variable for table in self.tables for variable, _ in table.axes]
        asked += [variable for variable, number in groups.items() if number > 1]
        complete: list[str] = []
        joint: Joint | None = None
        for variable in dict.fromkeys(variable for variable in asked if variable not in missing):
            known = self if joint is None else joint
            if not (self.atoms.mask({variable: frozenset([ELSE])}) & ~known._empty).any():
                continue
            try:
                joint = Joint(self.tables, [*complete, variable])
            except DisclosureError:
                continue  # Some are without an answer, as everybody can see.
            complete.append(variable)
        return joint

    def gives_away(self, target: Target) -> bool:
        """Return whether the facts confine a group too narrowly."""
        seen = np.array([table[target.mask].sum() for table in self._pool])
        if target.is_safe(seen):
            return False
        ends = []
        for sign in (1.0, -1.0):
            result = self.solve(sign * target.mask.astype(float))
            if result.status == 3:
                return False
            ends.append(sign * float(result.fun))
        if target.may_be_empty and ends[1] <= ROUNDING:
            return False
        return not target.is_safe(np.array(ends))

    def exposure(self, target: Target) -> Exposure:
        """Return from which shown numbers a target follows: those whose multipliers differ from zero."""
        used: set[int] = set()
        for sign in (1.0, -1.0):
            result = self.solve(sign * target.mask.astype(float))
            if self._known.size:
                matters = np.abs(result.eqlin.marginals[: self._known.size]) > ROUNDING
                used |= set(self._known[matters].tolist())
        titles = dict.fromkeys(self.tables[self.owner[i]].title for i in sorted(used))
        return Exposure(tuple(titles), tuple(self.facts[i] for i in sorted(used)))


def _targets(joint: Joint, is_new: Sequence[bool], policy: Policy) -> Iterator[Target]:
    """Yield what must not be confined: hidden numbers, and overlaps and differences of new facts with others."""
    seen: set[bytes] = set()
    for fact, mask in zip(joint.facts, joint.masks, strict=True):
        if fact.width:
            seen.add(_key(mask))
            yield Target(mask, fact.width)
    unanswered = joint.atoms.unanswered(joint.tables)
    of_outcome = [
        any(labels <= {WITH, WITHOUT} and len(labels) == 1 for labels in f.where.values()) for f in joint.facts
    ]
    for i, j in _pairs(joint, is_new):
        limit = policy.event_threshold if of_outcome[i] or of_outcome[j] else policy.min_n
        first, second = joint.masks[i], joint.masks[j]
        for mask in (first & second, first & ~second, second & ~first):
            key = _key(mask)
            if key in seen or not mask.any():
                continue
            seen.add(key)
            if len(seen) > _MOST_TARGETS:
                raise DisclosureError(
                    f"The tables overlap in more than {_MOST_TARGETS:,} groups, too many to compare. Merge "
                    "categories, or release fewer tables."
                )
            yield Target(mask, policy.protection_width, limit, may_be_empty=bool(unanswered[mask].all()))


def _pairs(joint: Joint, is_new: Sequence[bool]) -> Iterator[tuple[int, int]]:
    """Yield each fact of a new table with each fact of another one."""
    for i, owner in enumerate(joint.owner):
        if is_new[owner]:
            yield from (
                (i, j) for j, other in enumerate(joint.owner) if other != owner and not (is_new[other] and j < i)
            )


def _key(mask: BoolArray) -> bytes:
    return hashlib.blake2b(np.packbits(mask).tobytes(), digest_size=16).digest()
