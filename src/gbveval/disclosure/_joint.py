"""What a reader learns from several tables on the same respondents: subtraction, overlap, and everything linear."""

from __future__ import annotations

import hashlib
import itertools
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
# Small groups are sought by so many properties at once.
_MOST_PROPERTIES = 3


@dataclass(frozen=True, slots=True, eq=False)
class Exposure:
    """A group that several tables give away.

    Attributes
    ----------
    titles : tuple of str
        The tables from which it follows.
    facts : tuple of Fact
        The shown numbers from which it follows.
    owners : frozenset of int
        The tables with a part in it, hidden numbers included, by their place in the comparison.
    """

    titles: tuple[str, ...]
    facts: tuple[Fact, ...]
    owners: frozenset[int] = frozenset()


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


def compare(
    tables: Sequence[TableFacts], new: Sequence[TableFacts], policy: Policy, safe: set[tuple[object, ...]] | None = None
) -> Comparison:
    """Return the groups that all tables together confine too narrowly.

    Parameters
    ----------
    tables : sequence of TableFacts
        What is known, earlier releases included.
    new : sequence of TableFacts
        Those among them that are about to be released; overlaps of earlier tables alone are not news.
    policy : Policy
        Thresholds.
    safe : set, optional
        What was compared before and gave nothing away; it is not compared again, and what is found safe now is added.

    Notes
    -----
    The unknowns are the cells of the joint table of all variables that the tables name, with one more category each for
    no answer. Every fact bounds a sum of them. Attacked are the hidden numbers of all tables, for each new fact and
    each fact of another table the people in both and those in one but not in the other, and the groups that up to three
    categories describe. A group is exposed if linear
    programmes confine it to an interval narrower than the protection that lies below the threshold. Where the joint
    table has too many cells, each new table is compared with every other one by itself, and with all that know its
    variables and at most one more.
    """
    fresh = {id(table) for table in new}
    tables = linked(tables, new)
    is_new = [id(table) in fresh for table in tables]
    reduced = simplify(tables)
    if Atoms.count(reduced) <= MOST_ATOMS:
        return Comparison(tuple(_exposures(reduced, is_new, policy)))
    found: list[Exposure] = []
    known = set() if safe is None else safe
    for together in _families(tables, is_new):
        key = tuple(_stated(tables[j]) for j in together)
        if key in known:
            continue
        given_away = _exposures(simplify([tables[j] for j in together]), [is_new[j] for j in together], policy)
        found += given_away
        if not given_away:
            known.add(key)
    return Comparison(tuple(found), all_at_once=False)


def _stated(table: TableFacts) -> tuple[object, ...]:
    ends = tuple((fact.low, fact.high, fact.width) for fact in table.facts)
    return table.title, table.axes, table.within, ends


def _families(tables: Sequence[TableFacts], is_new: Sequence[bool]) -> list[list[int]]:
    """Return what is compared: new tables with each other one, and with all that know at most one more variable."""
    found: dict[tuple[int, ...], None] = {}
    every = set().union(*(table.variables() for table in tables))
    for i in np.flatnonzero(is_new).tolist():
        own = tables[i].variables()
        for variable in sorted(every):
            like = tuple(j for j, table in enumerate(tables) if table.variables() <= own | {variable})
            if len(like) > 2 and Atoms.count([tables[j] for j in like]) <= MOST_ATOMS:
                found[like] = None
        found |= dict.fromkeys((i, j) for j in range(len(tables)) if j < i or (j > i and not is_new[j]))
    return [list(together) for together in found]


def _exposures(tables: Sequence[TableFacts], is_new: Sequence[bool], policy: Policy) -> list[Exposure]:
    if len(tables) < 2:
        return []
    joint = Joint(tables)
    found = _given_away(joint, is_new, policy)
    guessed = joint.supposed_complete()
    if guessed is not None:
        # Who is without an answer is told by tables, and not by the guess that nobody is.
        found += _given_away(guessed, is_new, policy, guess=True)
    return found


def _given_away(joint: Joint, is_new: Sequence[bool], policy: Policy, *, guess: bool = False) -> list[Exposure]:
    found = []
    for target in _targets(joint, is_new, policy):
        if (guess and target.may_be_empty and target.is_new) or not joint.gives_away(target):
            continue
        exposure = joint.exposure(target)
        # What earlier tables tell by themselves is no news, and nothing can be done about it.
        if target.is_new or any(is_new[owner] for owner in exposure.owners):
            found.append(exposure)
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
    is_new : bool
        Whether it is a group of a new table; otherwise it is given away only if a new table has a part in that.
    """

    mask: BoolArray
    width: int
    enough: int | None = None
    may_be_empty: bool = False
    is_new: bool = True

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
        self.empty = np.any(empty, axis=0) if empty else np.zeros(self.atoms.size, dtype=bool)
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
        self._vague = np.concatenate([vague, above])
        self._pool: list[FloatArray] = []
        self._look(matrix[np.flatnonzero(np.isfinite(high))])

    def _look(self, bounded: Any) -> None:
        """Fill the pool with joint tables from several corners: most groups turn out wide in these already."""
        self.solve(np.zeros(self.atoms.size))
        rng = np.random.default_rng(0)
        inside = np.asarray(bounded.sum(axis=0)).ravel() > 0
        for _ in range(_FIRST_LOOKS):
            self.solve(np.where(inside, rng.uniform(-1.0, 1.0, self.atoms.size), 1.0))

    def doubtful(self, chosen: Sequence[str], policy: Policy) -> list[tuple[tuple[str, ...], int]]:
        """Return the combinations of categories of some variables that no two tables of the pool show to be safe.

        With each comes the number of people that would be nobody's business.
        """
        names = list(self.atoms.levels)
        order = [names.index(name) for name in chosen]
        rest = tuple(1 + axis for axis in range(len(names)) if axis not in order)
        cells = np.array(self._pool).reshape(-1, *self.atoms.shape).sum(axis=rest)
        most, least = np.floor(cells.max(axis=0) + ROUNDING), np.ceil(cells.min(axis=0) - ROUNDING)
        # The axes that are left are in the order of the variables, and so are the chosen ones.
        labels = [self.atoms.levels[names[axis]] for axis in sorted(order)]
        found = []
        for place in np.argwhere((most < policy.min_n) & (most - least < policy.protection_width)):
            here = tuple(each[k] for each, k in zip(labels, place, strict=True))
            limit = policy.event_threshold if {WITH, WITHOUT} & set(here) else policy.min_n
            if most[tuple(place)] < limit:
                found.append((here, limit))
        return found

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
                "by `within`; other respondents need a ledger, or a call, of their own. Of nested variables, whoever "
                "gave the coarser one must have given the finer one, if only as 'not given'."
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
            if not (self.atoms.mask({variable: frozenset([ELSE])}) & ~known.empty).any():
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
        bounds: set[int] = set()
        for sign in (1.0, -1.0):
            result = self.solve(sign * target.mask.astype(float))
            if self._known.size:
                matters = np.abs(result.eqlin.marginals[: self._known.size]) > ROUNDING
                used |= set(self._known[matters].tolist())
            if self._vague.size:
                bounds |= set(self._vague[np.abs(result.ineqlin.marginals) > ROUNDING].tolist())
        titles = dict.fromkeys(self.tables[self.owner[i]].title for i in sorted(used))
        owners = frozenset(self.owner[i] for i in used | bounds)
        return Exposure(tuple(titles), tuple(self.facts[i] for i in sorted(used)), owners)


def _targets(joint: Joint, is_new: Sequence[bool], policy: Policy) -> Iterator[Target]:
    """Yield what must not be confined: hidden numbers, and overlaps and differences of new facts with others."""
    seen: set[bytes] = set()
    for fact, mask, owner in zip(joint.facts, joint.masks, joint.owner, strict=True):
        if fact.width:
            seen.add(_key(mask))
            yield Target(mask, fact.width, is_new=is_new[owner])
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
    for mask, limit, may_be_empty in _described(joint, policy):
        key = _key(mask)
        if key not in seen:
            seen.add(key)
            empty = may_be_empty or bool(unanswered[mask].all())
            yield Target(mask, policy.protection_width, limit, empty, is_new=False)


def _described(joint: Joint, policy: Policy) -> Iterator[tuple[BoolArray, int, bool]]:
    """Yield the small groups that up to three properties describe and the pool does not show to be safe.

    No answer, or none that a table names, is a property too: all less women less men. That nobody has it is no secret
    where tables name several categories.
    """
    levels = joint.atoms.levels
    for size in range(1, 1 + min(_MOST_PROPERTIES, len(levels))):
        for chosen in itertools.combinations(levels, size):
            for labels, limit in joint.doubtful(chosen, policy):
                mask = joint.atoms.mask({name: frozenset([label]) for name, label in zip(chosen, labels, strict=True)})
                several = (label == ELSE and len(levels[name]) > 2 for name, label in zip(chosen, labels, strict=True))
                if (mask & ~joint.empty).any():
                    yield mask, limit, any(several)


def _pairs(joint: Joint, is_new: Sequence[bool]) -> Iterator[tuple[int, int]]:
    """Yield each fact of a new table with each fact of another one."""
    for i, owner in enumerate(joint.owner):
        if is_new[owner]:
            yield from (
                (i, j) for j, other in enumerate(joint.owner) if other != owner and not (is_new[other] and j < i)
            )


def _key(mask: BoolArray) -> bytes:
    return hashlib.blake2b(np.packbits(mask).tobytes(), digest_size=16).digest()
