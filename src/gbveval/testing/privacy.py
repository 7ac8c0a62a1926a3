"""Checks of privacy: planted secrets show nowhere, and what is saved cannot rebuild anybody's outcome."""

from __future__ import annotations

import json
import logging
import pickle
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gbveval.core.estimates import Estimates
from gbveval.testing.case import Case, Frame
from gbveval.testing.invariance import LABEL_ROLES

FloatArray = NDArray[np.float64]
SECRET_NAME = "SecretHaven"
SECRET_NUMBER = 48151.62342
# Outcomes that correlate with a saved vector beyond this are rebuilt up to shift and scale.
REBUILT = 0.9999
# Shorter vectors correlate by chance.
SHORTEST = 5


def check_planted_secrets_show_nowhere(case: Case) -> None:
    """A planted group name and a planted outcome are in no repr, summary, HTML, JSON, pickle or log."""
    frame, _ = case.frames.frame(np.random.default_rng(0))
    planted = _plant(case, frame)
    stream = _Listener()
    logging.getLogger().addHandler(stream)
    try:
        data = case.frames.check(planted)
        result = case.run(data)
    finally:
        logging.getLogger().removeHandler(stream)
    shown = [repr(data), repr(result), str(result), result.summary(), result._repr_html_(), result.to_json()]
    shown += [result.tidy().to_string(), pickle.dumps(result).decode("latin-1"), " ".join(stream.lines)]
    for text in shown:
        assert SECRET_NAME not in text, "a group's name is shown"
        assert str(SECRET_NUMBER) not in text, "a respondent's outcome is shown"


def _plant(case: Case, frame: Frame) -> Frame:
    planted = dict(frame)
    roles = case.frames.roles
    # The counts of a site must stay counts; they are nobody's outcome.
    if "std_error" not in roles and "size" not in roles and not _is_binary(frame[roles["outcome"]]):
        values = np.asarray(frame[roles["outcome"]], dtype=float).copy()
        values[0] = SECRET_NUMBER
        planted[roles["outcome"]] = values
    for role in LABEL_ROLES:
        column = roles.get(role)
        if column in frame and role != "stratum":
            first = frame[column][0]
            planted[column] = [SECRET_NAME if value == first else value for value in frame[column]]
    return planted


def _is_binary(values: Any) -> bool:
    known = np.asarray(values, dtype=float)
    return set(np.unique(known[~np.isnan(known)]).tolist()) <= {0.0, 1.0}


class _Listener(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


def check_saved_results_rebuild_nobody(case: Case) -> None:
    """An attacker with the JSON and the pickle finds no vector that is the outcomes up to shift and scale."""
    frame, data, result = case.study()
    if "std_error" in case.frames.roles:
        return  # The "units" are published site estimates, which are the question, not somebody's secret.
    targets = list(_targets(case, frame))
    # An attacker opens what was saved: this pickle was made one line above.
    opened = pickle.loads(pickle.dumps(result))
    for saved in (opened, json.loads(result.to_json())):
        assert not rebuilds_somebody(saved, targets), "saved numbers rebuild outcomes up to shift and scale"
    del data


def rebuilds_somebody(saved: object, targets: Sequence[FloatArray]) -> bool:
    """Whether some vector in a saved result is one of the targets up to shift and scale.

    Parameters
    ----------
    saved : object
        A result as an attacker has it: unpickled, or read from its JSON.
    targets : sequence of ndarray, shape (units,)
        Outcomes that nobody may rebuild, in the order of the data; NaN for those of no interest. Fewer than five are
        not looked for: short vectors correlate by chance.

    Returns
    -------
    bool
        True when a target, or a stretch of a longer vector, correlates beyond 0.9999 with it.

    Examples
    --------
    >>> outcomes = np.array([3.0, 1.0, 4.0, 1.0, 5.0])
    >>> rebuilds_somebody({"rows": [{"id": i, "x": 2 * y + 1} for i, y in enumerate(outcomes)]}, [outcomes])
    True
    """
    return any(_rebuilds(vector, target) for vector in _walk(saved) for target in targets)


def _targets(case: Case, frame: Frame) -> Iterator[FloatArray]:
    """Yield the outcomes and, for panels, their changes: of everybody, and of each group that an attacker may know."""
    roles = case.frames.roles
    y = np.asarray(frame[roles["outcome"]], dtype=float)
    yield y
    for role in ("arm", "cohort", "cluster", "unit", "time"):
        if role in roles:
            yield from within_groups(y, np.asarray(frame[roles[role]]).astype(str))
    if "unit" in roles:
        _, first_row, codes = np.unique(
            np.asarray(frame[roles["unit"]]).astype(str), return_index=True, return_inverse=True
        )
        cohort = np.asarray(frame[roles["cohort"]]).astype(str)[first_row]
        times = np.unique(np.asarray(frame[roles["time"]]))
        table = np.full((first_row.size, times.size), np.nan)
        table[codes, np.searchsorted(times, np.asarray(frame[roles["time"]]))] = y
        for later in range(times.size):
            for earlier in range(later):
                change = table[:, later] - table[:, earlier]
                yield change
                yield from within_groups(change, cohort)


def within_groups(values: FloatArray, groups: NDArray[Any]) -> Iterator[FloatArray]:
    """Yield each group's values in their places among all, NaN elsewhere: an attacker may know who is in which."""
    for group in np.unique(groups):
        yield np.where(groups == group, values, np.nan)


def _walk(thing: Any, depth: int = 0) -> Iterator[FloatArray]:
    """Yield every numeric vector found inside a saved result."""
    if depth > 12:
        return
    if isinstance(thing, np.ndarray) and thing.dtype.kind in "fiu":
        yield from _vectors(thing.astype(float))
    elif isinstance(thing, dict):
        for value in thing.values():
            yield from _walk(value, depth + 1)
    elif isinstance(thing, (list, tuple)):
        if thing and all(isinstance(x, (int, float)) and not isinstance(x, bool) for x in thing):
            yield np.array(thing, dtype=float)
        yield from _columns([_fields(x) for x in thing])
        for value in thing:
            yield from _walk(value, depth + 1)
    elif hasattr(thing, "__dict__"):
        yield from _walk(vars(thing), depth + 1)
    elif hasattr(thing, "__slots__"):
        yield from _walk([getattr(thing, name, None) for name in thing.__slots__], depth + 1)


def _fields(thing: Any) -> dict[Any, Any]:
    """Return the named or numbered parts of one entry of a sequence."""
    if isinstance(thing, dict):
        return thing
    if isinstance(thing, (list, tuple)):
        return dict(enumerate(thing))
    if hasattr(thing, "__slots__"):
        return {name: getattr(thing, name, None) for name in thing.__slots__}
    return vars(thing) if hasattr(thing, "__dict__") else {}


def _columns(records: list[dict[Any, Any]]) -> Iterator[FloatArray]:
    """Yield what the rows of a table say under one name: a column of outcomes is a vector too."""
    for name in dict.fromkeys(key for record in records for key in record):
        cells = [record.get(name) for record in records]
        numbers = [x for x in cells if isinstance(x, (int, float, np.number)) and not isinstance(x, bool)]
        if len(numbers) >= SHORTEST:
            yield np.array(numbers, dtype=float)


def _vectors(array: FloatArray) -> Iterator[FloatArray]:
    if array.size == 0:
        return
    if array.ndim == 1:
        yield array
    elif array.ndim > 1:
        for axis in range(array.ndim):
            moved = np.moveaxis(array, axis, 0)
            flat = moved.reshape(moved.shape[0], -1)
            for column in range(min(flat.shape[1], 200)):
                yield flat[:, column]


def _rebuilds(vector: FloatArray, target: FloatArray) -> bool:
    """Whether some stretch of a saved vector is the target up to shift and scale."""
    known = np.isfinite(target)
    wanted = target[known]
    n = wanted.size
    if n < SHORTEST or np.ptp(wanted) == 0:
        return False
    if vector.size == target.size and _same(vector[known], wanted):
        return True
    stretches = (vector[start : start + n] for start in range(min(vector.size - n + 1, 50)))
    if any(_same(stretch, wanted) for stretch in stretches):
        return True
    # Zeros stand where another group was used: the rest may still be one group's outcomes.
    return _same(vector[np.isfinite(vector) & (vector != 0)], wanted)


def _same(vector: FloatArray, target: FloatArray) -> bool:
    """Whether two vectors are each other up to shift and scale."""
    if vector.size != target.size or not np.isfinite(vector).all():
        return False
    one, other = _centred(vector), _centred(target)
    if not (one.any() and other.any()):
        return False
    return abs(float(one @ other) / float(np.linalg.norm(one) * np.linalg.norm(other))) > REBUILT


def _centred(vector: FloatArray) -> FloatArray:
    """Return deviations from the mean, the largest of them 1: squares of denormals would vanish."""
    deviations = vector - vector.mean()
    largest = np.abs(deviations).max(initial=0.0)
    # Equal entries leave the rounding of their mean, which is no pattern.
    if largest <= np.spacing(np.abs(vector).max(initial=0.0)) * vector.size:
        return np.zeros_like(deviations)
    return np.asarray(deviations / largest)


def check_influence_stays_in_memory(case: Case) -> None:
    """Influence functions are in neither JSON nor pickle."""
    _, _, result = case.study()
    opened: Estimates = pickle.loads(pickle.dumps(result))
    assert opened.influence is None
    assert "influence" not in json.loads(result.to_json())


PRIVACY = (
    check_planted_secrets_show_nowhere,
    check_saved_results_rebuild_nobody,
    check_influence_stays_in_memory,
)
