"""Checks of refusal: impossible data end in a GbvevalError with a next step, or in a null with its reason."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from gbveval.core.errors import GbvevalError
from gbveval.core.term import Term
from gbveval.testing.case import Case, Frame

SECRET_NUMBER = 48151.62342


def _outcome(case: Case, frame: Frame, value: float) -> Frame:
    n = len(next(iter(frame.values())))
    return {**frame, case.frames.roles["outcome"]: np.full(n, value)}


def refuses_or_explains(case: Case, frame: Frame) -> str:
    """Return the error's text, or the reasons of the undefined rows; raise if neither was given."""
    try:
        result = case.run(case.frames.check(frame))
    except GbvevalError as error:
        text = str(error)
        assert len(text) > 30, f"the error says too little: {text}"
        return text
    undefined = [row for row in result.terms if _undefined(row)]
    assert undefined, "an answer was given where none is possible"
    assert all(row.reason for row in undefined), "a null needs its reason"
    return "; ".join(row.reason for row in undefined)


def _undefined(row: Term) -> bool:
    """Return whether a row has no answer: no estimate or error, or, for a test, no p-value."""
    return row.p_value is None if row.kind == "test" else row.value is None or row.std_error is None


def check_refuses_one_arm(case: Case) -> None:
    """One arm alone compares nothing."""
    arm = case.frames.roles.get("arm")
    if arm is None:
        return
    frame, _ = case.frames.frame(np.random.default_rng(0))
    refuses_or_explains(case, {**frame, arm: ["usual"] * len(frame[arm])})


def check_refuses_one_group_an_arm(case: Case) -> None:
    """One cluster (or one unit) an arm leaves no variance to estimate."""
    arm = case.frames.roles.get("arm")
    if arm is None:
        return
    frame, _ = case.frames.frame(np.random.default_rng(0))
    groups = frame.get(case.frames.roles.get("cluster", ""), list(range(len(frame[arm]))))
    keep: list[int] = []
    for label in ("usual", "new"):
        first = next(i for i, value in enumerate(frame[arm]) if value == label)
        keep += [i for i in range(len(groups)) if groups[i] == groups[first]]
    rows = np.array(sorted(set(keep)))
    small = {
        name: [column[i] for i in rows] if isinstance(column, list) else column[rows] for name, column in frame.items()
    }
    refuses_or_explains(case, small)


def check_refuses_everything_missing(case: Case) -> None:
    """Without any outcome there is no answer."""
    frame, _ = case.frames.frame(np.random.default_rng(0))
    refuses_or_explains(case, _outcome(case, frame, float("nan")))


def check_constant_outcome_has_no_standard_error(case: Case) -> None:
    """An outcome that does not vary gives a null with its reason, or an error: never a zero or NaN in silence."""
    if "std_error" in case.frames.roles:
        return
    frame, _ = case.frames.frame(np.random.default_rng(0))
    refuses_or_explains(case, _outcome(case, frame, 1.0))


def check_errors_show_no_value(case: Case) -> None:
    """An error about a column names it and counts rows, and shows no respondent's value."""
    frame, _ = case.frames.frame(np.random.default_rng(0))
    outcome = case.frames.roles["outcome"]
    values = np.asarray(frame[outcome], dtype=float).copy()
    values[0], values[1] = SECRET_NUMBER, np.inf
    spoiled: list[Callable[[], Frame]] = [
        lambda: {**frame, outcome: values},
        lambda: {**frame, outcome: [f"told {SECRET_NUMBER}", *values[1:].tolist()]},
    ]
    for make in spoiled:
        text = refuses_or_explains(case, make())
        assert str(SECRET_NUMBER) not in text, "an error shows a respondent's value"
        assert outcome in text, "an error must name the column"


REFUSAL = (
    check_refuses_one_arm,
    check_refuses_one_group_an_arm,
    check_refuses_everything_missing,
    check_constant_outcome_has_no_standard_error,
    check_errors_show_no_value,
)
