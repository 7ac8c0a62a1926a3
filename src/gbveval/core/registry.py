"""Finds estimators by name: ours by walking the packages, a contributor's through an entry point."""

from __future__ import annotations

import difflib
import importlib
import pkgutil
from collections.abc import Callable
from typing import Any, TypeVar

from gbveval.core.errors import DesignError

ENTRY_POINT_GROUP = "gbveval.estimators"
PACKAGES = ("gbveval.estimators.randomised", "gbveval.estimators.did", "gbveval.multisite", "gbveval.factors")

T = TypeVar("T", bound=type)
_registered: dict[str, type] = {}


def register(name: str) -> Callable[[T], T]:
    """Return a class decorator that registers an estimator under `name`.

    Examples
    --------
    >>> from dataclasses import dataclass
    >>> @register("_example")
    ... @dataclass(frozen=True)
    ... class Example:
    ...     name = "_example"
    >>> estimator_class("_example") is Example
    True
    """

    def add(cls: T) -> T:
        present = _registered.get(name)
        if present is not None and (present.__module__, present.__qualname__) != (cls.__module__, cls.__qualname__):
            both = " and ".join(f"{kind.__module__}.{kind.__qualname__}" for kind in (present, cls))
            raise DesignError(f"Two estimators are called {name!r}: {both}.")
        _registered[name] = cls
        return cls

    return add


def discover() -> dict[str, type]:
    """Import every estimator module and plug-in, and return name -> class (names with an underscore left out)."""
    from importlib.metadata import entry_points

    for package_name in PACKAGES:
        package = importlib.import_module(package_name)
        for module in pkgutil.iter_modules(package.__path__):
            if not module.name.startswith("_"):
                importlib.import_module(f"{package_name}.{module.name}")
    for point in entry_points(group=ENTRY_POINT_GROUP):
        try:
            point.load()
        except ImportError as error:
            raise DesignError(
                f"The plug-in {point.name!r} ({point.value}) cannot be imported: {error}. Reinstall it, or uninstall "
                "it."
            ) from error
    return {name: cls for name, cls in sorted(_registered.items()) if not name.startswith("_")}


def estimator_class(name: str) -> type[Any]:
    """Return the estimator class registered under `name`; the error lists what exists."""
    if name not in _registered:
        discover()
    if name not in _registered:
        known = sorted(key for key in _registered if not key.startswith("_"))
        near = difflib.get_close_matches(name, known, n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise DesignError(f"No estimator is called {name!r}.{hint} There are: {', '.join(known)}.")
    return _registered[name]
