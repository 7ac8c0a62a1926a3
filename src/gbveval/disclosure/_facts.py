"""Facts: how many respondents are such and such, as far as releases tell, and what several tables of them imply."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from gbveval.core.errors import DisclosureError
from gbveval.disclosure._layout import BoolArray

WITH, WITHOUT = "with", "without"
# Whoever gave no answer, or one that no table names.
ELSE = ""
# Merged categories of a variable that only one table breaks down.
EVERYBODY = "any answer"
MOST_ATOMS = 60_000

Where = Mapping[str, frozenset[str]]


@dataclass(frozen=True, slots=True, eq=False)
class Fact:
    """The number of respondents in all of the given categories.

    Attributes
    ----------
    where : mapping of str to frozenset of str
        Variable to the categories it may have.
    low, high : float
        What a reader knows of the number; equal if it was shown.
    width : int
        Narrowest interval to which a reader may confine it; 0 for a number that was shown.
    table, entry : int
        Which entry of which table about to be released states it; -1 for what was released before.
    """

    where: Where
    low: float
    high: float
    width: int
    table: int = -1
    entry: int = -1

    @property
    def is_shown(self) -> bool:
        """Whether the number was shown."""
        return self.low == self.high


@dataclass(frozen=True, slots=True, eq=False)
class TableFacts:
    """The facts that one table states, in the order of its entries.

    Attributes
    ----------
    title : str
        Of the table; for messages.
    axes : tuple of (str, tuple of str)
        Variables, the outcome included, and their categories in this table.
    within : tuple of (str, tuple of str)
        Subgroup to which the table is confined.
    answered : frozenset of str
        Variables, the outcome included, to which nobody's answer is missing in the subgroup.
    facts : tuple of Fact
        One an entry.
    tells_missing : bool
        Whether the table says that somebody is without an answer to the other variables.
    """

    title: str
    axes: tuple[tuple[str, tuple[str, ...]], ...]
    within: tuple[tuple[str, tuple[str, ...]], ...]
    answered: frozenset[str]
    facts: tuple[Fact, ...]
    tells_missing: bool = True

    def variables(self) -> set[str]:
        """Return every variable that the table knows of."""
        return {variable for variable, _ in (*self.axes, *self.within)}

    def nobody(self) -> list[Where]:
        """Return groups that are known to be empty: nobody of the subgroup is without an answer."""
        within = {variable: frozenset(labels) for variable, labels in self.within}
        return [{**within, variable: frozenset([ELSE])} for variable, _ in self.axes if variable in self.answered]

    def missing(self) -> set[str]:
        """Return the variables to which some are said to have no answer."""
        # Of a table within some categories of a variable that it also breaks down: all in it have an answer.
        within = dict(self.within)
        told = (name for name, _ in self.axes if self.tells_missing and name not in (*self.answered, *within))
        return {name for name, labels in self.axes if ELSE in labels}.union(told)

    def has_everybody(self) -> bool:
        """Return whether every respondent is in a cell."""
        return not self.within and all(variable in self.answered for variable, _ in self.axes)


def linked(tables: Sequence[TableFacts], new: Sequence[TableFacts]) -> list[TableFacts]:
    """Return the new tables and those of the others that say something about the same people.

    Tables with a variable in common do, directly or by way of others, and all do if one of them has everybody.
    """
    if any(table.has_everybody() for table in tables):
        return list(tables)
    chosen = {id(table) for table in new}
    reached = set().union(*(table.variables() for table in new))
    again = True
    while again:
        again = False
        for table in tables:
            if id(table) not in chosen and table.variables() & reached:
                chosen.add(id(table))
                reached |= table.variables()
                again = True
    return [table for table in tables if id(table) in chosen]


def simplify(tables: Sequence[TableFacts]) -> list[TableFacts]:
    """Return the tables without variables that can be left aside without losing anything.

    If only one table breaks a variable down, and shows all its totals over that variable, then what else is known of
    others says nothing about its cells beyond those totals, and its cells say nothing about others. The table was
    audited by itself, so its totals are enough here.
    """
    current = list(tables)
    again = True
    while again:
        again = False
        for number, table in enumerate(current):
            for variable, categories in table.axes:
                others = [other for i, other in enumerate(current) if i != number]
                if any(variable in other.variables() for other in others):
                    continue
                totals = [fact for fact in table.facts if fact.where.get(variable) == frozenset(categories)]
                rest = {_without(fact, variable) for fact in totals}
                if not all(fact.is_shown for fact in totals) or {_without(f, variable) for f in table.facts} != rest:
                    continue
                current[number] = _over(table, variable, totals)
                again = True
                break
    return current


def _without(fact: Fact, variable: str) -> frozenset[tuple[str, frozenset[str]]]:
    """Return what a fact is about, a variable left aside."""
    return frozenset((name, categories) for name, categories in fact.where.items() if name != variable)


def _over(table: TableFacts, variable: str, totals: Sequence[Fact]) -> TableFacts:
    """Return a table summed over a variable; who answered it is kept in mind unless everybody did."""
    # Where nobody's answer is missing in the subgroup, or those without one are a category, all of it is counted.
    everybody = variable in table.answered or ELSE in dict(table.axes)[variable]
    facts = []
    for fact in totals:
        where = {name: categories for name, categories in fact.where.items() if name != variable}
        facts.append(replace(fact, where=where if everybody else {**where, variable: frozenset([EVERYBODY])}))
    axes = tuple(axis for axis in table.axes if axis[0] != variable)
    within = table.within if everybody else (*table.within, (variable, (EVERYBODY,)))
    return replace(table, axes=axes, within=within, facts=tuple(facts))


class Atoms:
    """The cells of the joint table of all variables, every one of which is a number that nobody printed."""

    def __init__(self, tables: Sequence[TableFacts]) -> None:
        levels = _levels(tables)
        self.levels = {variable: (*labels, ELSE) for variable, labels in levels.items()}
        self.shape = tuple(len(labels) for labels in self.levels.values())
        self.size = Atoms.count(tables)
        if self.size > MOST_ATOMS:
            raise DisclosureError(
                f"Two tables break respondents down by {len(self.shape)} variables at once, into {self.size:,} groups; "
                f"up to {MOST_ATOMS:,} can be compared. Merge categories, or leave variables out that are not needed."
            )

    @staticmethod
    def count(tables: Sequence[TableFacts]) -> int:
        """Return how many atoms the tables make."""
        size = 1
        for labels in _levels(tables).values():
            size *= len(labels) + 1
        return size

    def mask(self, where: Where) -> BoolArray:
        """Return which atoms are in all of the given categories."""
        inside = np.ones(self.shape, dtype=bool)
        for number, (variable, labels) in enumerate(self.levels.items()):
            if variable in where:
                member = np.array([label in where[variable] for label in labels])
                inside &= np.expand_dims(member, tuple(i for i in range(len(self.shape)) if i != number))
        return inside.ravel()

    def unanswered(self, tables: Sequence[TableFacts]) -> BoolArray:
        """Return the atoms without an answer to at least one variable.

        Where tables only single out a subgroup by a variable, the others have answered too: they are not in it.
        """
        asked = {variable for table in tables for variable, labels in table.within if labels == (EVERYBODY,)}
        asked |= {variable for table in tables for variable, _ in table.axes}
        full = {name: frozenset(labels) - {ELSE} for name, labels in self.levels.items() if name in asked}
        return ~self.mask(full)


def _levels(tables: Sequence[TableFacts]) -> dict[str, dict[str, None]]:
    """Return the categories of each variable, over all tables."""
    levels: dict[str, dict[str, None]] = {}
    for table in tables:
        for fact in table.facts:
            for variable, categories in fact.where.items():
                levels.setdefault(variable, {}).update(dict.fromkeys(sorted(categories - {ELSE})))
    return levels
