"""Hides how tables by coarser variables become tables by the finest ones, in which they can be compared."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from gbveval.core.errors import DisclosureError
from gbveval.disclosure._asked import UNNAMED, split_name
from gbveval.disclosure._facts import ELSE, TableFacts, Where
from gbveval.disclosure.nesting import Nesting, finest_of

Finer = dict[str, tuple[str, dict[str, frozenset[str]]]]


def in_finest(tables: Sequence[TableFacts], nestings: Sequence[Nesting]) -> list[TableFacts]:
    """Return tables whose facts are about the finest variables only.

    Raises
    ------
    DisclosureError
        A table has categories that the nestings do not place.
    """
    _check_named(tables, nestings)
    finer = finest_of(nestings)
    return [_told(table, finer) for table in tables] if finer else list(tables)


def _check_named(tables: Sequence[TableFacts], nestings: Sequence[Nesting]) -> None:
    for nesting in nestings:
        parts = {part for names in nesting.members.values() for part in names}
        for variable, known in ((nesting.coarse, set(nesting.members)), (nesting.fine, parts)):
            named = {label for table in tables for fact in table.facts for label in fact.where.get(variable, ())}
            unknown = len(named - known - {ELSE})
            if unknown:
                raise DisclosureError(
                    f"The nesting of {nesting.coarse!r} and {nesting.fine!r} does not name {unknown} categories of "
                    f"{variable!r} that tables have, so these cannot be compared. Name all of them in `Nesting`."
                )


def _told(table: TableFacts, finer: Finer) -> TableFacts:
    """Return one table told in finest variables; groups that nobody can be in, of one ward in two districts, go."""
    facts = [replace(fact, where=_where(fact.where.items(), finer)) for fact in table.facts]
    axes = _where(((name, frozenset(labels)) for name, labels in table.axes), finer)
    within = _where(((name, frozenset(labels)) for name, labels in table.within), finer)
    return replace(
        table,
        axes=tuple((name, tuple(sorted(labels))) for name, labels in axes.items()),
        within=tuple((name, tuple(sorted(labels))) for name, labels in within.items()),
        # Of those in a district it says nothing new that all have a ward, and nothing of anybody else.
        answered=frozenset(_name(name, finer) for name in table.answered) - set(within),
        facts=tuple(fact for fact in facts if all(fact.where.values())),
    )


def _where(pairs: Iterable[tuple[str, frozenset[str]]], finer: Finer) -> Where:
    found: dict[str, frozenset[str]] = {}
    for variable, labels in pairs:
        name = _name(variable, finer)
        if variable in finer:
            members = finer[variable][1]
            labels = frozenset().union(*(frozenset([label]) if label == ELSE else members[label] for label in labels))
        found[name] = found[name] & labels if name in found else labels
    return found


def _name(variable: str, finer: Finer) -> str:
    """Return the name of the finest variable; of groups by several variables in one name each is renamed."""
    if variable in finer:
        return finer[variable][0]
    parts = [] if variable.startswith(UNNAMED) else split_name(variable)
    if not any(part in finer for part in parts):
        return variable
    return " and ".join(finer[part][0] if part in finer else part for part in parts)
