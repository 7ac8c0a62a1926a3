"""Hides how tables by coarser variables become tables by the finest ones, in which they can be compared."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from gbveval.core.errors import DisclosureError
from gbveval.disclosure._asked import UNNAMED
from gbveval.disclosure._facts import ELSE, TableFacts
from gbveval.disclosure._names import split_name
from gbveval.disclosure.nesting import Finer, Nesting, finest_of, told


def in_finest(tables: Sequence[TableFacts], nestings: Sequence[Nesting]) -> list[TableFacts]:
    """Return tables whose facts are about the finest variables only.

    Raises
    ------
    DisclosureError
        A table has categories that the nestings do not place.
    """
    _check_named(tables, nestings)
    finer = _listed(tables, finest_of(nestings))
    return [_told(table, finer) for table in tables] if finer else list(tables)


def _check_named(tables: Sequence[TableFacts], nestings: Sequence[Nesting]) -> None:
    for nesting in nestings:
        parts = {part for names in nesting.members.values() for part in names}
        for variable, known in ((nesting.coarse, set(nesting.members)), (nesting.fine, parts)):
            unknown = len(_named(tables, variable) - known)
            if unknown:
                raise DisclosureError(
                    f"The nesting of {nesting.coarse!r} and {nesting.fine!r} does not name {unknown} categories of "
                    f"{variable!r} that tables have, so these cannot be compared. Name all of them in `Nesting`."
                )


def _named(tables: Sequence[TableFacts], variable: str) -> set[str]:
    found = {label for table in tables for fact in table.facts for label in fact.where.get(variable, ())}
    return found - {ELSE}


def _listed(tables: Sequence[TableFacts], finer: Finer) -> Finer:
    """Return the nestings without the wards that no table lists: a reader takes them for empty.

    Of a district none of whose wards is listed one stays, for all.
    """
    found: Finer = {}
    for coarse, (fine, members) in finer.items():
        listed = _named(tables, fine)
        found[coarse] = (
            fine,
            {name: (parts & listed) or frozenset(sorted(parts)[:1]) for name, parts in members.items()},
        )
    return found


def _told(table: TableFacts, finer: Finer) -> TableFacts:
    """Return one table told in finest variables; groups that nobody can be in, of one ward in two districts, go."""
    facts = [
        replace(fact, where=told(((_name(name, finer), labels) for name, labels in fact.where.items()), finer))
        for fact in table.facts
    ]
    axes, within = (
        told(((_name(name, finer), frozenset(labels)) for name, labels in pairs), finer)
        for pairs in (table.axes, table.within)
    )
    answered = {finer[name][0] if name in finer else _name(name, finer) for name in table.answered}
    return replace(
        table,
        axes=tuple((name, tuple(sorted(labels))) for name, labels in axes.items()),
        within=tuple((name, tuple(sorted(labels))) for name, labels in within.items()),
        # Of those in a district it says nothing new that all have a ward, and nothing of anybody else.
        answered=frozenset(answered) - set(within),
        facts=tuple(fact for fact in facts if all(fact.where.values())),
    )


def _name(variable: str, finer: Finer) -> str:
    """Return a variable's name; of groups by several variables in one name each is renamed to the finest."""
    parts = [] if variable.startswith(UNNAMED) else split_name(variable)
    if len(parts) < 2 or not any(part in finer for part in parts):
        return variable
    return " and ".join(finer[part][0] if part in finer else part for part in parts)
