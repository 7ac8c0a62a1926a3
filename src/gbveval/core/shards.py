"""Hides how repeated work is cut into shards, run in parallel, kept while it goes on and taken up again.

A shard is a number or a pair of them. What it gives depends on that alone, and results are added in the order of the
shards, so the answer is the same to the last bit on one core, on many, and after an interruption.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from gbveval.core.errors import DesignError
from gbveval.core.provenance import digest_arrays

Shard = TypeVar("Shard")
Result = TypeVar("Result")
FORMAT = 1


def run_shards(
    task: Callable[[Shard], Result], shards: Iterable[Shard], *, n_jobs: int | None = None
) -> Iterator[tuple[Shard, Result]]:
    """Yield each shard and its result, in the order of the shards.

    Parameters
    ----------
    task : callable
        Takes a shard. It is sent to workers, so it is a frozen value with `__call__`.
    shards : iterable
        What to run: numbers, or pairs of them.
    n_jobs : int, optional
        Processes, as joblib counts them (-1: all cores). None leaves it to `joblib.parallel_config`, whose backend may
        be a cluster; where there is none, shards run here, one after the other.
    """
    todo = list(shards)
    if n_jobs == 1 or not todo or (n_jobs is None and not _parallel_context()):
        for shard in todo:
            yield shard, task(shard)
        return
    from joblib import Parallel, delayed

    results = Parallel(n_jobs=n_jobs, return_as="generator")(delayed(task)(shard) for shard in todo)
    try:
        yield from zip(todo, results, strict=True)
    finally:
        # An interruption must not leave workers busy with shards that nobody will read.
        results.close()


def _parallel_context() -> bool:
    """Return whether the caller is inside `joblib.parallel_config`; nobody is before joblib is imported."""
    if "joblib" not in sys.modules:
        return False
    from joblib.parallel import get_active_backend

    backend, n_jobs = get_active_backend()
    return (n_jobs or 1) != 1 or getattr(backend, "default_n_jobs", 1) != 1


def identity(value: Any) -> Any:
    """Return what makes a value what it is, as JSON can hold it: names and options, and digests in place of arrays.

    Raises
    ------
    DesignError
        If it holds something whose identity is not in its fields, such as a function.
    """
    if is_dataclass(value) and not isinstance(value, type):
        kind = f"{type(value).__module__}.{type(value).__qualname__}"
        return {"type": kind, **{item.name: identity(getattr(value, item.name)) for item in fields(value)}}
    if isinstance(value, np.ndarray):
        return {"array": digest_arrays([("array", value)])}
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, Mapping):
        return {str(key): identity(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [identity(entry) for entry in value]
    if value is None or isinstance(value, (str, bool, int, float)):
        return value
    raise DesignError(
        f"A {type(value).__name__} cannot be recognised when work is taken up again: make the process and the "
        "estimators frozen dataclasses of numbers, texts and arrays, or leave checkpoint out."
    )


class Checkpoint:
    """A file of finished shards: one line for what is asked, then one for each shard.

    Parameters
    ----------
    path : str or path
        Where. A file that is there must hold the same work.
    request : mapping
        What makes the work what it is; values that JSON can hold.

    Raises
    ------
    DesignError
        If the file holds other work, or is no such file.

    Notes
    -----
    A line is written at once and flushed to the disk. One that an interruption cut short is recognised and left out.
    """

    def __init__(self, path: str | Path, request: Mapping[str, Any]) -> None:
        self.path = Path(path)
        self._request = {"format": FORMAT, **{name: json.dumps(value) for name, value in request.items()}}
        self.done: dict[str, Any] = {}
        if not self.path.parent.is_dir():
            raise DesignError(f"The folder of the checkpoint {self.path.name} does not exist; make it first.")
        if self.path.exists() and self.path.stat().st_size:
            self._read()
        else:
            self._append(self._request, "x" if not self.path.exists() else "a")

    def _read(self) -> None:
        lines = self.path.read_bytes().split(b"\n")
        header = _parsed(lines[0])
        if not isinstance(header, dict) or header.get("format") != FORMAT:
            raise DesignError(f"{self.path.name} is not a checkpoint of gbveval; give a path where there is no file.")
        differ = sorted(name for name in {*header, *self._request} if header.get(name) != self._request.get(name))
        if differ:
            raise DesignError(
                f"{self.path.name} keeps another simulation: it differs in {', '.join(differ)}. Take it up with what "
                "it was begun with, or give a path where there is no file."
            )
        whole = [entry for entry in map(_parsed, lines[1:]) if isinstance(entry, list) and len(entry) == 2]
        self.done = {str(key): result for key, result in whole}
        if lines[-1]:
            # The last line was cut short: what follows must not be written behind it.
            self._append(None, "a")

    def _append(self, entry: Any, mode: str) -> None:
        with self.path.open(mode, encoding="ascii", newline="\n") as file:
            file.write("\n" if entry is None else json.dumps(entry) + "\n")
            file.flush()
            os.fsync(file.fileno())

    def add(self, key: str, result: Any) -> None:
        """Keep the result of a shard under a key."""
        self.done[key] = result
        self._append([key, result], "a")


def _parsed(line: bytes) -> Any:
    with contextlib.suppress(ValueError):
        return json.loads(line)
    return None
