"""The facade: every public name works, twice, whatever was imported before; the type checker sees the same names."""

from __future__ import annotations

import ast
import importlib
import json
import pkgutil
import subprocess
import sys
import types
from pathlib import Path

import pytest

import gbveval
from gbveval._places import PLACES

# Where optional things are missing (a sampler), the module itself must still import: it imports them inside functions.
EVERYTHING = """
import importlib, json, pkgutil, types
import gbveval
for found in pkgutil.walk_packages(gbveval.__path__, "gbveval."):
    if not found.name.endswith("__main__"):
        importlib.import_module(found.name)
wrong = []
for name in gbveval.__all__:
    first, second = getattr(gbveval, name), getattr(gbveval, name)
    if first is not second or isinstance(first, types.ModuleType):
        wrong.append(name)
print(json.dumps(wrong))
"""


def test_every_name_works_twice_after_every_submodule_was_imported() -> None:
    done = subprocess.run([sys.executable, "-c", EVERYTHING], capture_output=True, text=True, timeout=300, check=True)
    assert json.loads(done.stdout.splitlines()[-1]) == []


@pytest.mark.parametrize("name", gbveval.__all__)
def test_every_name_is_a_thing_and_not_a_module(name: str) -> None:
    first, second = getattr(gbveval, name), getattr(gbveval, name)
    assert first is second
    assert not isinstance(first, types.ModuleType)
    if isinstance(first, type):
        assert first.__name__ == name


def test_no_name_is_shared_with_a_package() -> None:
    rooms = {found.name for found in pkgutil.iter_modules(gbveval.__path__)}
    assert rooms & set(gbveval.__all__) == set()


def test_the_list_is_sorted_complete_and_without_repeats() -> None:
    names = [name for name in gbveval.__all__ if name != "__version__"]
    assert names == sorted(set(names))
    assert set(names) == set(PLACES)
    assert set(dir(gbveval)) >= set(names)


def test_places_are_modules_that_define_the_name() -> None:
    for name, place in PLACES.items():
        module = importlib.import_module(place)
        assert hasattr(module, name), f"{place} has no {name}"
        home = getattr(getattr(module, name), "__module__", place)
        assert home == place, f"{name} lives in {home}, not in {place}"


def test_the_type_checker_sees_the_same_names_in_the_same_places() -> None:
    tree = ast.parse(Path(gbveval.__file__).read_text(encoding="utf-8"))
    blocks = [
        node
        for node in tree.body
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"
    ]
    assert len(blocks) == 1
    seen = {}
    for statement in blocks[0].body:
        assert isinstance(statement, ast.ImportFrom)
        for alias in statement.names:
            assert alias.asname == alias.name, "a re-export is written `import X as X`"
            seen[alias.name] = statement.module
    assert seen == PLACES


def test_an_unknown_name_lists_what_exists() -> None:
    with pytest.raises(AttributeError, match="DifferenceInMeans"):
        gbveval.DifferenceInMean  # noqa: B018
    assert not hasattr(gbveval, "nothing")


def test_a_name_that_is_not_there_gets_the_nearest_ones() -> None:
    with pytest.raises(AttributeError, match=r"nearest: .*Policy"):
        gbveval.ReleasePolicy  # noqa: B018
    with pytest.raises(AttributeError, match=r"`dir\(gbveval\)` lists"):
        gbveval.qqqqqqqq  # noqa: B018
