"""Hides the cryptography of sealed lists: commitments that open one by one, and chains that show any edit.

A row's nonce is HMAC-SHA-256 of its place under a key derived from the holder's secret and the list's own salt; its
commitment is SHA-256 over nonce, place and label. Whoever has no secret learns nothing from a commitment, and the nonce
of one row, once it is told, opens that row and no other. Every line carries the hash of the line before it.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import secrets
import tempfile
from pathlib import Path
from typing import Any

from gbveval.core.errors import DataError, DesignError

LEAST_SECRET = 32
START = "0" * 64
Line = dict[str, Any]


def new_secret() -> str:
    """Return a new secret for a sealed list: 64 hexadecimal digits from the operating system.

    Whoever holds it can open every row, so it belongs to somebody who enrols nobody. Without it no row can be opened.

    Examples
    --------
    >>> len(new_secret())
    64
    """
    return secrets.token_hex(32)


def key_of(secret: str, salt: str, purpose: str) -> bytes:
    """Return the key for a purpose."""
    if not isinstance(secret, str) or len(secret) < LEAST_SECRET:
        raise DesignError(
            f"A secret is text of at least {LEAST_SECRET} characters, since a short one can be guessed; "
            "gbveval.new_secret() makes one."
        )
    return hmac.new(secret.encode(), f"gbveval {purpose} {salt}".encode(), hashlib.sha256).digest()


def keyed(key: bytes, *parts: str) -> str:
    """Return HMAC-SHA-256 of texts."""
    return hmac.new(key, "\x1f".join(parts).encode(), hashlib.sha256).hexdigest()


def commitment(nonce: str, place: int, unit: str, label: str) -> str:
    """Return the commitment to a row."""
    return hashlib.sha256("\x1f".join((nonce, str(place), unit, label)).encode()).hexdigest()


def chained(before: str, line: Line) -> str:
    """Return the hash of a line and the one before it."""
    body = {name: value for name, value in line.items() if name != "chain"}
    return hashlib.sha256(f"{before}\x1f{json.dumps(body, sort_keys=True)}".encode()).hexdigest()


def first_break(lines: list[Line]) -> int | None:
    """Return the number of the first line (from 1) that does not follow from those before it."""
    before = START
    for number, line in enumerate(lines, start=1):
        if line.get("chain") != chained(before, line):
            return number
        before = line["chain"]
    return None


def link(lines: list[Line]) -> list[Line]:
    """Return lines with their chain."""
    before, out = START, []
    for line in lines:
        before = chained(before, line)
        out.append({**line, "chain": before})
    return out


def read_lines(path: Path) -> list[Line]:
    """Return the lines of a file; one that is no JSON object counts as broken."""
    try:
        texts = path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise DataError(f"The file {path.name!r} cannot be read ({type(error).__name__}).") from None
    found: list[Line] = []
    for text in texts:
        try:
            line = json.loads(text)
        except ValueError:
            line = None
        found.append(line if isinstance(line, dict) else {"broken": True})
    return found


def write_new(path: Path, lines: list[Line]) -> None:
    """Write a whole file at once, or nothing; a file that is there is never replaced."""
    text = "".join(json.dumps(line, sort_keys=True) + "\n" for line in lines)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=".sealing-")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        try:
            # A link fails where the name is taken; a rename would replace what is there.
            os.link(name, path)
        except FileExistsError:
            raise DesignError(f"The file {path.name!r} exists. A list is sealed once; choose another name.") from None
    finally:
        Path(name).unlink()


def append_line(path: Path, line: Line) -> None:
    """Add a line to a file and see it on the disk."""
    with path.open("a", encoding="utf-8") as stream:
        stream.write(json.dumps(line, sort_keys=True) + "\n")
        stream.flush()
        os.fsync(stream.fileno())
