"""Hides where in a plan a number is, such as its risk or ICC, and how the plan with another one is made."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields, is_dataclass, replace
from difflib import get_close_matches
from numbers import Real
from typing import Any

from gbveval.core.errors import DesignError

Path = tuple[str, ...]


def paths(plan: Any) -> Iterator[Path]:
    """Return where the numbers of a plan are that are not whole by kind: (..., "outcome", "risk")."""
    for field in fields(plan):
        value = getattr(plan, field.name)
        if isinstance(value, Real) and not isinstance(value, bool) and "float" in str(field.type):
            yield (field.name,)
        elif is_dataclass(value):
            yield from ((field.name, *rest) for rest in paths(value))
        elif isinstance(value, tuple) and all(is_dataclass(each) and hasattr(each, "name") for each in value):
            for each in value:
                yield from ((field.name, each.name, *rest) for rest in paths(each))


def find(plan: Any, name: object) -> Path:
    """Return where the number of this name is: the end of a path, such as "icc", "risk" or "control.sensitivity"."""
    known = list(paths(plan))
    if isinstance(name, str):
        asked = tuple(name.split("."))
        found = [path for path in known if path[-len(asked) :] == asked or path[:-1][-len(asked) :] == asked]
        exact = [path for path in found if path[-len(asked) :] == asked or path[-1] == "value"]
        if len(exact) == 1:
            return exact[0]
        if len(exact) > 1:
            raise DesignError(f"{name!r} may be {' or '.join(map(repr, map(words, exact)))}: say which.")
    names = [words(path) for path in known]
    near = get_close_matches(str(name), [*names, *(path[-1] for path in known)], n=3, cutoff=0.5)
    raise DesignError(
        f"This {type(plan).__name__} has no number {name!r}."
        + (f" Did you mean {' or '.join(map(repr, dict.fromkeys(near)))}?" if near else "")
        + f" It has {', '.join(names)}."
    )


def words(path: Path) -> str:
    """Return a path as it may be asked for, without what it always begins or ends with."""
    kept = [part for part in path if part not in ("plan", "levels")]
    return ".".join(kept[:-1] if kept[-1] == "value" and len(kept) > 1 else kept)


def replaced(plan: Any, path: Path, value: float) -> Any:
    """Return the plan with another number there."""
    head, *rest = path
    if not rest:
        return replace(plan, **{head: value})
    inner = getattr(plan, head)
    if isinstance(inner, tuple):
        name, *beyond = rest
        changed = tuple(replaced(each, tuple(beyond), value) if each.name == name else each for each in inner)
        return replace(plan, **{head: changed})
    return replace(plan, **{head: replaced(inner, tuple(rest), value)})


def number_owner(plan: Any, path: Path) -> Any:
    """Return the part of a plan that has this number."""
    part = plan
    for name in path[:-1]:
        part = next(each for each in part if each.name == name) if isinstance(part, tuple) else getattr(part, name)
    return part
