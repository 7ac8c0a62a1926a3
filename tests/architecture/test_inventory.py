"""The inventory of estimators in ARCHITECTURE.md says what is registered, no more and no less."""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from typing import get_type_hints

import gbveval
from gbveval.core.registry import discover

ROOT = Path(__file__).parents[2]
SOURCE = Path(gbveval.__file__).parent
ROW = re.compile(r"^\| `(\w+)` \| `(\w+)` \| `([\w/]+\.py)` \| `(\w+)` \| (.+) \|$", flags=re.MULTILINE)


def _written() -> dict[str, tuple[str, str, str]]:
    text = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
    return {name: (cls, file, data) for name, cls, file, data, _ in ROW.findall(text)}


def _registered() -> dict[str, tuple[str, str, str]]:
    found = {}
    for name, cls in discover().items():
        if not cls.__module__.startswith("gbveval."):
            continue  # a plug-in that happens to be installed
        data = get_type_hints(cls.estimate)["data"].__name__
        found[name] = (cls.__name__, Path(inspect.getfile(cls)).relative_to(SOURCE).as_posix(), data)
    return found


def test_the_inventory_is_what_is_registered() -> None:
    assert _written() == _registered()


def test_every_room_of_the_map_exists_and_no_other() -> None:
    text = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
    drawn = set(re.findall(r"^  (\w+)/ ", text, flags=re.MULTILINE))
    rooms = {path.parent.name for path in SOURCE.glob("*/__init__.py")}
    assert drawn == rooms
