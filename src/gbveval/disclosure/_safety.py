"""Harms as they may be shown: zeros in full, small numbers as a range, and never a total that undoes a range."""

from __future__ import annotations

import numpy as np

from gbveval.core.safety import SafetyTable
from gbveval.disclosure._asked import ask_sizes
from gbveval.disclosure._facts import TableFacts
from gbveval.disclosure.policy import Policy
from gbveval.disclosure.released import ReleasedTable

COLUMNS = ("event", "arm", "followed up", "respondents with it", "events")


def shown_safety(table: SafetyTable, policy: Policy) -> ReleasedTable:
    """Return the table: that nothing happened is shown, how few it happened to is not.

    A zero here says that an intervention did not harm, which readers must know, and is the one exception to the rule
    that zeros are small numbers. It is no exception where few were followed up.
    """
    rows = []
    for kind, followed, people, events in zip(table.kinds, table.followed, table.people, table.events, strict=True):
        for arm, n, x, total in zip(table.arms, followed, people, events, strict=True):
            rows.append((kind, arm, *_numbers(n, x, total, policy)))
    limit = policy.event_threshold
    notes = [
        "Harms are counted for everybody who was followed up; no test is made.",
        f"A number from 1 to {limit - 1} is shown as that range, so that nobody is recognised. "
        "Zero means that none was reported.",
    ]
    told = tuple(notes if policy.enforce else notes[:1])
    return ReleasedTable("Adverse events and disclosures by arm", COLUMNS, tuple(rows), told)


def followed_up(table: SafetyTable, policy: Policy) -> list[TableFacts]:
    """Return what the table says of the sizes of the arms, so that other tables can be compared with it."""
    found = []
    for kind, followed in zip(table.kinds, table.followed, strict=True):
        n = np.array(followed, dtype=float)
        few = (n < policy.min_n) & policy.enforce
        low, high = np.where(few, 0.0, n), np.where(few, policy.min_n - 1.0, n)
        asked = ask_sizes(f"harms: {kind}", table.arms, followed, kind)
        found.append(asked.vague_facts(np.append(low, low.sum()), np.append(high, high.sum())))
    return found


def _numbers(n: int, x: int, events: int, policy: Policy) -> tuple[int | str | None, ...]:
    """Return respondents followed up, with the event, and events, as far as they may be shown."""
    if not policy.enforce:
        return n, x, events
    limit = policy.event_threshold
    if n < policy.min_n:
        return None, None, None
    if x == 0:
        return n, 0, 0
    if x < limit:
        # With n shown, 1 to 9 of them is all that is told; how often it happened would tell of few people.
        return n, f"1 to {limit - 1}", "1 or more"
    if n - x < limit:
        return n, f"more than {n - limit}", None
    return n, x, events
