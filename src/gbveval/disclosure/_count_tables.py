"""A table of counts as it may be shown: suppressed, and laid out in rows and columns."""

from __future__ import annotations

import itertools

import numpy as np

from gbveval.core.counts import CountTable
from gbveval.core.errors import DisclosureError
from gbveval.disclosure._suppressed import SuppressedTable
from gbveval.disclosure.policy import Policy
from gbveval.disclosure.released import ReleasedTable
from gbveval.disclosure.suppress import suppress_table

TOTAL = "total"


def protect_counts(table: CountTable, policy: Policy) -> SuppressedTable:
    """Return the table with its totals, and with those of its groups, in which what must not be shown is absent."""
    events = table.event_counts()
    groupings = {number: levels for number, levels in enumerate(table.groups) if levels}
    if events is None:
        found = suppress_table(table.counts(), policy, groupings=groupings)
    else:
        found = suppress_table(events, policy, totals=table.counts(), groupings=groupings)
    require_protection(found, policy)
    return found


def require_protection(table: SuppressedTable, policy: Policy) -> None:
    """Refuse what the audit could not show to be protected."""
    if policy.enforce and not table.audit.passed:
        raise DisclosureError(
            f"The table is too large to prove that nothing hidden can be worked out ({table.audit.sentence()}). "
            "Merge categories, or release it in parts that exclude each other."
        )


def place_labels(table: CountTable) -> tuple[tuple[str, ...], ...]:
    """Return what each place of each direction is called: categories, groups from fine to coarse, and the total."""
    found = []
    for number, labels in enumerate(table.directions):
        levels = table.groups[number] if table.groups else ()
        groups = [label for level in levels for label in dict.fromkeys(level)]
        found.append((*labels, *groups, TOTAL))
    return tuple(found)


def shown_counts(table: CountTable, found: SuppressedTable, policy: Policy) -> ReleasedTable:
    """Return the released numbers in rows and columns, the layers one below the other."""
    shown = {"n": found.respondents} | ({"with outcome": found.events} if found.pairs else {})
    places = place_labels(table)
    one_way = len(places) == 1
    names = table.variables[2:] or tuple(f"layer {number}" for number in range(1, len(places) - 1))
    columns = ["", *names]
    for name in shown:
        columns += [name] if one_way else [f"{name}: {label}" for label in places[1]]
    rows = []
    for layer in itertools.product(*(range(len(labels)) for labels in places[2:])):
        for row, label in enumerate(places[0]):
            values = [value for part in shown.values() for value in np.atleast_1d(part[(row, ..., *layer)])]
            rows.append((label, *_names(places, layer), *(None if np.isnan(x) else int(x) for x in values)))
    notes = [found.audit.sentence()]
    if table.left_out:
        enough = table.left_out >= policy.min_n or not policy.enforce
        many = f"{table.left_out:,}" if enough else f"fewer than {policy.min_n}"
        notes.append(f"{many} respondents without an answer are in no cell")
    return ReleasedTable(table.title, tuple(columns), tuple(rows), tuple(notes))


def _names(places: tuple[tuple[str, ...], ...], layer: tuple[int, ...]) -> list[str]:
    return [labels[place] for labels, place in zip(places[2:], layer, strict=True)]
