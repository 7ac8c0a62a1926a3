"""What estimators of list experiments have in common: what counts may be, and what the lists themselves show."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from gbveval.core.errors import DataError, DesignError, IdentificationError
from gbveval.core.method import Cell, Check
from gbveval.data.trial import Trial
from gbveval.estimators._assemble import require_parallel
from gbveval.numerics.list_design_test import JointShares, joint_shares

BoolArray = NDArray[np.bool_]
# The walls of the design test are tried set by set: 2^9 of them at most.
MOST_ITEMS = 9
# Above this share of a list at its end, answers are given away to many.
OFTEN = 0.1


def check_items(items: int) -> None:
    """Raise DesignError unless the number of items is that of a list."""
    if isinstance(items, bool) or not isinstance(items, int) or not 1 <= items <= MOST_ITEMS:
        raise DesignError(f"items is the number of items of the short list, a whole number from 1 to {MOST_ITEMS}.")


def require_lists(estimator: str, data: Trial, items: int) -> None:
    """Raise unless the trial has two lists, and every count is one that its list allows."""
    require_parallel(estimator, data)
    if len(data.arms) != 2:
        raise DesignError(
            f"{estimator} compares two lists, and the trial has {len(data.arms)} arms. Give the short list as control "
            "and one long list at a time."
        )
    for outcome, name in enumerate(data.outcome_names):
        y, seen = data.outcomes[:, outcome], data.observed(outcome)
        most = items + (data.arm == 1)
        wrong = int((seen & ((y < 0) | (y > most) | (y != np.round(y)))).sum())
        if wrong:
            raise DataError(
                f"Column {name!r} (outcome) is no count that its list allows in {wrong:,} rows: whole numbers from 0 "
                f"to {items} were expected with the short list, to {items + 1} with the long one. Count again, or give "
                "the number of items of the short list."
            )
        for arm, label in enumerate(("short", "long")):
            if int((seen & (data.arm == arm)).sum()) < 2:
                raise IdentificationError(
                    f"The {label} list has fewer than two counts of {name!r}; nothing can be compared."
                )


def list_support(data: Trial, outcome: int, used: BoolArray) -> tuple[Cell, ...]:
    """Return respondents by list."""
    name = data.outcome_names[outcome]
    members = [int((used & (data.arm == arm)).sum()) for arm in range(len(data.arms))]
    return tuple(Cell(label, n, None, f"{name} by list") for label, n in zip(data.arms, members, strict=True))


def count_support(data: Trial, outcome: int, items: int) -> tuple[Cell, ...]:
    """Return how many count 0, 1, ... with each list: joint shares together give these numbers away."""
    y, seen = data.outcomes[:, outcome], data.observed(outcome)
    cells = []
    for arm, label in enumerate(data.arms):
        member = seen & (data.arm == arm)
        cells += [
            Cell(f"{label}, {count}", int(member.sum()), int((member & (y == count)).sum()), f"counts, {label}")
            for count in range(items + 1 + arm)
        ]
    return tuple(cells)


def shares_of(data: Trial, outcome: int, items: int) -> JointShares:
    """Return the joint shares of counts and answers of an outcome."""
    seen = data.observed(outcome)
    return joint_shares(data.outcomes[seen, outcome], data.arm[seen] == 1, items)


def list_checks(data: Trial, items: int) -> list[Check]:
    """Return what counts at the ends of the lists show, and shares that should not be negative."""
    found = []
    for outcome, name in enumerate(data.outcome_names):
        y, seen = data.outcomes[:, outcome], data.observed(outcome)
        for word, end, meaning in (
            ("ceiling", items, "with the sensitive item they would count every one, and may hold one back"),
            ("floor", 0, "with the sensitive item a count of one would give them away, and they may hold it back"),
        ):
            short = seen & (data.arm == 0)
            share = float(np.mean(y[short] == end))
            text = f"{name}: {share:.1%} of the short list count {'every item' if end else 'none'}; {meaning}."
            status = "warn" if share > OFTEN else "info"
            found.append(Check(f"{word} {name}", status, text, f"{name}: the {word} of the list was looked at."))
        shares = shares_of(data, outcome, items)
        negative = int((shares.value < 0.0).sum())
        if negative:
            text = (
                f"{name}: {negative} of {shares.value.size} joint shares of counts and answers are negative, which "
                "none can be. Chance, or counts that the sensitive item changes: see ListDesignTest."
            )
            found.append(Check(f"joint shares {name}", "info", text))
    return found


def outside_check(name: str, value: float | None) -> tuple[Check, ...]:
    """Return a warning where a prevalence lies outside 0 to 1."""
    if value is None or 0.0 <= value <= 1.0:
        return ()
    text = (
        f"{name}: the prevalence lies outside 0 to 1 and is shown as it is. Chance, or counts that the sensitive item "
        "changes: see ListDesignTest."
    )
    return (Check(f"outside 0 to 1 {name}", "warn", text),)
