"""Tables that leave together, and those that left before: protected one by one, then against each other."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from gbveval.core.errors import DisclosureError
from gbveval.disclosure._asked import UNNAMED, Asked
from gbveval.disclosure._facts import ELSE, WITH, WITHOUT, Fact, TableFacts
from gbveval.disclosure._finest import in_finest
from gbveval.disclosure._joint import Exposure, compare
from gbveval.disclosure._layout import BoolArray, layout
from gbveval.disclosure._names import split_name
from gbveval.disclosure.ledger import Ledger
from gbveval.disclosure.policy import Policy
from gbveval.disclosure.suppressed import SuppressedTable

# Each round hides more and compares again.
_MOST_ROUNDS = 40


def protect_together(
    asked: Sequence[Asked], policy: Policy, ledger: Ledger | None, rounded: Sequence[TableFacts] = ()
) -> tuple[list[SuppressedTable], list[str]]:
    """Return the suppressed tables, and in words what the comparison did; rounded tables are taken as they are."""
    found = [table.protect(policy) for table in asked]
    earlier = [] if ledger is None else ledger.tables()
    if not policy.enforce or len(asked) + len(rounded) + len(earlier) < 2:
        return found, []
    forced = [np.zeros(table.released.shape, dtype=bool) for table in found]
    before = sum(int(table.hidden.sum()) for table in found)
    safe: set[tuple[object, ...]] = set()
    for _ in range(_MOST_ROUNDS):
        new = [table.facts(kept, policy, number) for number, (table, kept) in enumerate(zip(asked, found, strict=True))]
        new += rounded
        if ledger is not None:
            new = [ledger.confine(table) for table in new]
        known = in_finest([*earlier, *new], policy.nestings)
        new = known[len(earlier) :]
        _refuse_opaque(new, known)
        _refuse_other_categories(new, known)
        comparison = compare(known, new, policy, safe)
        if not comparison.exposures:
            more = sum(int(table.hidden.sum()) for table in found) - before
            return found, _notes(more, comparison.all_at_once, len(earlier))
        changed = _hide_more(comparison.exposures, found, forced)
        if not changed:
            break
        for number in changed:
            found[number] = asked[number].protect(policy, forced[number])
    titles = " and ".join(repr(title) for title in comparison.exposures[0].titles[:3])
    raise DisclosureError(
        f"Together the tables {titles or 'given'} confine {len(comparison.exposures)} protected groups, by subtraction "
        "or overlap, and hiding more of the new tables does not help. Release only one of them, or merge categories so "
        "that no group differs by a few people."
    )


def _notes(more: int, all_at_once: bool, n_earlier: int) -> list[str]:
    notes = []
    if more:
        others = "of this release and of earlier ones" if n_earlier else "of this release"
        notes.append(f"hid {more} further numbers, which other tables {others} would have given away")
    if not all_at_once:
        notes.append("compared tables two at a time and with those like them, as all at once have too many groups")
    return notes


def _hide_more(
    exposures: Sequence[Exposure], found: Sequence[SuppressedTable], forced: Sequence[BoolArray]
) -> set[int]:
    """Mark, for each exposure, the new number whose hiding costs least; return which tables change."""
    changed: set[int] = set()
    for exposure in exposures:
        choice = [fact for fact in exposure.facts if fact.table >= 0]
        if any(forced[fact.table].flat[fact.entry] for fact in choice) or not choice:
            continue
        cheapest = min(choice, key=lambda fact: (_level(found[fact.table], fact), fact.low, fact.table, fact.entry))
        forced[cheapest.table].flat[cheapest.entry] = True
        changed.add(cheapest.table)
    return changed


def _level(table: SuppressedTable, fact: Fact) -> float:
    return float(layout(table.axes).level[fact.entry])


def _refuse_opaque(new: Sequence[TableFacts], tables: Sequence[TableFacts]) -> None:
    """Refuse groups by several variables in one name beside a table by some of these, when either hides a number.

    These are groups that could not be taken apart, so the two cannot be compared.
    """
    for table in new:
        for other in tables:
            if table is other or not (_is_opaque(table) or _is_opaque(other)) or _apart(table, other):
                continue
            mine, theirs = _parts(table), _parts(other)
            # Of the same name are groups that can be told apart by their labels.
            same = {name for name, _ in table.axes} & {name for name, _ in other.axes} - {mine[0]}
            related = mine[1] & theirs[1] and not same
            if related and (_hides(table, mine[0] == theirs[0]) or _hides(other, mine[0] == theirs[0])):
                raise DisclosureError(
                    f"The tables {table.title!r} and {other.title!r} break the same people down, and a number is "
                    "hidden in one of them; the other would give it away. Groups by several variables can be compared "
                    "where every combination has somebody: merge categories, or count them with a direction for each "
                    "variable (`Survey.counts`), or release only one of the two."
                )


def _refuse_other_categories(new: Sequence[TableFacts], tables: Sequence[TableFacts]) -> None:
    """Refuse two tables of the same people by one variable, each with categories that the other does not know.

    Merged categories look like this, and nobody can see which of the other table's are in them.
    """
    for table in new:
        for other in tables:
            if table is other or _apart(table, other):
                continue
            theirs = dict(other.axes)
            for name, labels in table.axes:
                mine, rest = set(labels) - {ELSE}, set(theirs.get(name, labels)) - {ELSE}
                if not name.startswith(UNNAMED) and mine - rest and rest - mine:
                    raise DisclosureError(
                        f"The tables {table.title!r} and {other.title!r} break {name!r} down into different "
                        "categories, so they cannot be compared. Merge categories by `collapse_categories`, which "
                        "keeps in mind what they were, and give a category that nobody has as 0."
                    )


def _apart(table: TableFacts, other: TableFacts) -> bool:
    """Return whether two tables are confined to subgroups that nobody is in both of."""
    theirs = dict(other.within)
    return any(name in theirs and not set(labels) & set(theirs[name]) for name, labels in table.within)


def _is_opaque(table: TableFacts) -> bool:
    """Return whether groups are by several variables in one name; those of a name that says none may be anything."""
    return any(len(split_name(name)) > 1 for name, _ in table.axes if not name.startswith(UNNAMED))


def _hides(table: TableFacts, of_outcome: bool) -> bool:
    """Return whether a table hides a number, of the outcome if it matters, or of whatever outcome."""
    sides = frozenset([WITH]), frozenset([WITHOUT])
    return any(
        not fact.is_shown and (of_outcome or not any(labels in sides for labels in fact.where.values()))
        for fact in table.facts
    )


def _parts(table: TableFacts) -> tuple[str, frozenset[str]]:
    """Return the outcome that a table counts and the variables it counts by."""
    outcome = "".join(name for name, labels in table.axes if set(labels) == {WITH, WITHOUT})
    by = [name for name, labels in table.axes if set(labels) != {WITH, WITHOUT}]
    parts = [part for name in by for part in ([name] if name.startswith(UNNAMED) else split_name(name))]
    return outcome, frozenset(parts)
