"""How a result came about: digests, seed and versions, never the data."""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, is_dataclass
from functools import cache
from typing import Any

import numpy as np


@cache
def versions() -> tuple[tuple[str, str], ...]:
    """Return the versions of Python, gbveval and the packages it computes with, without importing them."""
    from importlib.metadata import PackageNotFoundError, version

    found = [("python", platform.python_version())]
    for name in ("gbveval", "numpy", "scipy", "pandas", "statsmodels", "pymc", "arviz", "nutpie"):
        try:
            found.append((name, version(name)))
        except PackageNotFoundError:
            found.append((name, "absent"))
    return tuple(found)


def digest_arrays(parts: Iterable[tuple[str, Any]]) -> str:
    """Return a SHA-256 digest of named arrays and texts, in the order given."""
    state = hashlib.sha256()
    for name, value in parts:
        state.update(name.encode())
        if isinstance(value, np.ndarray):
            array = np.ascontiguousarray(value)
            state.update(str((array.dtype.str, array.shape)).encode())
            state.update(repr(array.tolist()).encode() if array.dtype == object else array.tobytes())
        else:
            state.update(repr(value).encode())
    return state.hexdigest()


class DataDigest(str):
    """A digest of checked data, with what whoever reads a result of the data must be told.

    It travels as the text that it is, so that no estimator has to know of it.

    Parameters
    ----------
    digest : str
        SHA-256.
    identifiers : str
        Columns that look like identifiers and were kept, and why; empty if there are none.
    """

    identifiers: str

    def __new__(cls, digest: str, identifiers: str = "") -> DataDigest:
        """Return the digest with the remark."""
        found = super().__new__(cls, digest)
        found.identifiers = identifiers
        return found


def options_of(value: Any) -> dict[str, Any]:
    """Return the options of a frozen dataclass as plain values that JSON can hold."""

    def plain(item: Any) -> Any:
        if is_dataclass(item) and not isinstance(item, type):
            return {"type": type(item).__name__, **{f.name: plain(getattr(item, f.name)) for f in fields(item)}}
        if isinstance(item, Mapping):
            return {str(key): plain(entry) for key, entry in item.items()}
        if isinstance(item, (list, tuple)):
            return [plain(entry) for entry in item]
        if isinstance(item, (np.integer, np.floating)):
            return item.item()
        if item is None or isinstance(item, (str, bool, int, float)):
            return item
        return repr(item)

    options = plain(value)
    assert isinstance(options, dict)
    options.pop("type", None)
    return options


def derive_seed(*parts: str) -> int:
    """Return a seed that depends on nothing but the texts given: the same data and options, the same draws."""
    return int.from_bytes(hashlib.sha256("\x1f".join(parts).encode()).digest()[:8], "big")


@dataclass(frozen=True, slots=True)
class Provenance:
    """Where a result comes from.

    Parameters
    ----------
    data_digest : str
        SHA-256 of the checked data; it identifies the data and holds none of it.
    options : tuple of (str, object)
        The estimator's options.
    seed : int or None
        Seed of the random part, if there is one.
    versions : tuple of (str, str)
        Packages and their versions.
    seed_derived : bool
        Whether the seed was derived from the data. Such a seed, like the digest, lets a reader confirm a guess of the
        whole data, so it does not leave.
    identifiers : str
        Columns that look like identifiers and were kept, and why; taken from the digest. `release` prints it.
    """

    data_digest: str = ""
    options: tuple[tuple[str, Any], ...] = ()
    seed: int | None = None
    versions: tuple[tuple[str, str], ...] = ()
    seed_derived: bool = False
    identifiers: str = ""

    def __post_init__(self) -> None:
        if isinstance(self.data_digest, DataDigest):
            object.__setattr__(self, "identifiers", self.data_digest.identifiers)
            object.__setattr__(self, "data_digest", str(self.data_digest))
