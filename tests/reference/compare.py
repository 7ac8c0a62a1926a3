"""Walks the numbers of a reference case and of an answer, and says which agree."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

Path = tuple[str, ...]


class Unsupported(Exception):
    """gbveval does not (yet) answer this kind of case; the message says why."""


@dataclass
class Comparison:
    """How one case compares.

    `numbers` counts the finite numbers in its results, `compared` those that had a counterpart. `disputed` names those
    that are not compared because the reference system is shown to be off, with the reason.
    """

    case: str
    status: str = "matched"
    reason: str = ""
    numbers: int = 0
    compared: int = 0
    mismatches: list[dict[str, Any]] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    disputed: dict[str, str] = field(default_factory=dict)


def leaves(value: Any, path: Path = ()) -> Iterator[tuple[Path, Any]]:
    """Yield every leaf of nested dictionaries and lists with its path."""
    if isinstance(value, Mapping):
        for key, entry in value.items():
            yield from leaves(entry, (*path, str(key)))
    elif isinstance(value, (list, tuple)):
        for number, entry in enumerate(value):
            yield from leaves(entry, (*path, str(number)))
    else:
        yield path, value


def is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def find(answer: Any, path: Path) -> Any:
    """Return what stands at a path of an answer, or None."""
    for key in path:
        if isinstance(answer, Mapping):
            answer = answer.get(key)
        elif isinstance(answer, (list, tuple)):
            position = int(key) if key.isdigit() else -1
            answer = answer[position] if 0 <= position < len(answer) else None
        else:
            return None
    return answer


Tolerance = Callable[[Path, float], float]
Ignored = Callable[[Path], bool]


def why_disputed(path: Path, disputed: Mapping[str, str]) -> str | None:
    """Return why a number, or what it stands in, is disputed; None if it is not."""
    names = (".".join(path[:end]) for end in range(len(path), 0, -1))
    return next((disputed[name] for name in names if name in disputed), None)


def compare(case: str, results: Any, answer: Any, tolerance: Tolerance, ignored: Ignored) -> Comparison:
    """Compare every finite number in `results` with its counterpart in `answer`.

    A case matches only if every number outside the ignored keys was compared, or is disputed by `answer["_disputed"]`
    (a place to the reason), nine in ten of all its numbers were compared, and each lies within its tolerance.
    """
    outcome = Comparison(case)
    disputed = answer.get("_disputed", {}) if isinstance(answer, Mapping) else {}
    for path, expected in leaves(results):
        # What a case records as another package's wrong answer is no number to be matched.
        if not is_number(expected) or path[-1].startswith("wrong_"):
            continue
        outcome.numbers += 1
        if ignored(path):
            continue
        name = ".".join(path)
        reason = why_disputed(path, disputed)
        if reason is not None:
            outcome.disputed[name] = reason
            continue
        found = find(answer, path)
        if found is None or (isinstance(found, float) and math.isnan(found)):
            outcome.missing.append(name)
            continue
        outcome.compared += 1
        allowed = tolerance(path, float(expected))
        if not abs(float(found) - expected) <= allowed:
            outcome.mismatches.append(
                {"number": name, "reference": expected, "gbveval": float(found), "tolerance": allowed}
            )
    if outcome.mismatches:
        outcome.status = "mismatched"
    elif outcome.missing:
        shown = ", ".join(outcome.missing[:5]) + (" ..." if len(outcome.missing) > 5 else "")
        outcome.status, outcome.reason = "unsupported", f"{len(outcome.missing)} numbers have no counterpart: {shown}"
    elif outcome.numbers == 0 or outcome.compared < 0.9 * outcome.numbers:
        outcome.status = "unsupported"
        why = "; ".join(dict.fromkeys(outcome.disputed.values()))
        outcome.reason = f"only {outcome.compared} of {outcome.numbers} numbers were compared" + (
            f": {why}" if why else ""
        )
    return outcome
