"""Checks of what must not matter: row order, names, and changes of the outcome that the estimand declares."""

from __future__ import annotations

import re
from typing import Any

import numpy as np

from gbveval.core.estimates import Estimates
from gbveval.testing.case import Case, Frame

# Sums in another order differ in the last digits; a value may be a difference of such sums.
RELATIVE, ABSOLUTE = 1e-7, 1e-9
LABEL_ROLES = ("cluster", "stratum", "pair", "unit", "psu", "site", "study")


def _compare(a: Estimates, b: Estimates, what: str, *, factor: float = 1.0) -> None:
    scale = np.nanmax(np.abs(np.concatenate([a.values, a.std_errors, [1e-300]])))
    for name, x, y in (
        ("estimates", a.values, b.values),
        ("standard errors", a.std_errors * abs(factor), b.std_errors),
    ):
        expected = x * factor if name == "estimates" else x
        np.testing.assert_allclose(
            y, expected, rtol=RELATIVE, atol=ABSOLUTE * scale * max(abs(factor), 1.0), err_msg=f"{what} changes {name}"
        )

    # Tests have no estimate; their statistics and p-values do not depend on units. (A point's own p-value may be drawn
    # by resampling, and the draws go by the order of units.)
    for name in ("statistic", "p_value"):
        x, y = (
            np.array([getattr(row, name) for row in side.terms if row.kind == "test"], dtype=float) for side in (a, b)
        )
        np.testing.assert_allclose(y, x, rtol=RELATIVE, atol=ABSOLUTE, err_msg=f"{what} changes a test's {name}")


def _take(frame: Frame, rows: np.ndarray) -> Frame:
    return {name: _pick(column, rows) for name, column in frame.items()}


def _pick(column: Any, rows: np.ndarray) -> Any:
    return [column[i] for i in rows] if isinstance(column, list) else np.asarray(column)[rows]


def check_row_order_does_not_matter(case: Case) -> None:
    """Shuffled rows give the same answer."""
    frame, _, result = case.study()
    n = len(next(iter(frame.values())))
    rows = np.random.default_rng(11).permutation(n)
    shuffled = case.run(case.frames.check(_take(frame, rows)))
    if "site" in case.frames.roles and len(result) > 1:
        # Sites are coded by their row: compare what does not belong to one site.
        keep = [i for i, row in enumerate(result.terms) if not re.search(r"site \d", row.term)]
        result, shuffled = result.with_terms(keep), shuffled.with_terms(keep)
    _compare(result, shuffled, "row order")


def check_names_do_not_matter(case: Case) -> None:
    """Renamed clusters, strata, units or sites give the same answer, whatever order the new names sort in."""
    frame, _, result = case.study()
    rng = np.random.default_rng(13)
    renamed = dict(frame)
    for role in LABEL_ROLES:
        column = case.frames.roles.get(role)
        if column is None or column not in frame:
            continue
        old = sorted(set(frame[column]))
        new = [f"z{k:05d}" for k in rng.permutation(len(old))]
        table = dict(zip(old, new, strict=True))
        renamed[column] = [table[value] for value in frame[column]]
    _compare(result, case.run(case.frames.check(renamed)), "renaming groups")


def check_shift_of_the_outcome(case: Case) -> None:
    """A constant added to the outcome leaves a difference as it is."""
    if "shift" not in case.equivariant:
        return
    frame, _, result = case.study()
    y = case.frames.roles["outcome"]
    moved = {**frame, y: np.asarray(frame[y], dtype=float) + 1000.0}
    main = [i for i, row in enumerate(result.terms) if row.estimand.is_causal]
    _compare(result.with_terms(main), case.run(case.frames.check(moved)).with_terms(main), "a shift of the outcome")


def check_scale_of_the_outcome(case: Case) -> None:
    """The outcome in other units gives the estimate and its standard error in those units."""
    if "scale" not in case.equivariant:
        return
    frame, _, result = case.study()
    y = case.frames.roles["outcome"]
    stretched = {**frame, y: np.asarray(frame[y], dtype=float) * 7.5}
    main = [i for i, row in enumerate(result.terms) if row.estimand.is_causal]
    again = case.run(case.frames.check(stretched)).with_terms(main)
    _compare(result.with_terms(main), again, "a change of units", factor=7.5)


def check_swapped_arms_flip_the_sign(case: Case) -> None:
    """When the arms swap names the estimate changes its sign and nothing else."""
    if "swap" not in case.equivariant or "arm" not in case.frames.roles:
        return
    frame, _, result = case.study()
    arm = case.frames.roles["arm"]
    other = {"usual": "new", "new": "usual"}
    swapped = {**frame, arm: [other[value] for value in frame[arm]]}
    again = case.run(case.frames.check(swapped))
    first = [0]
    _compare(result.with_terms(first), again.with_terms(first), "swapping arms", factor=-1.0)


INVARIANCE = (
    check_row_order_does_not_matter,
    check_names_do_not_matter,
    check_shift_of_the_outcome,
    check_scale_of_the_outcome,
    check_swapped_arms_flip_the_sign,
)
