"""Writes files atomically and only below the output folder."""

from __future__ import annotations

import os
import re
import tempfile
import unicodedata
from pathlib import Path

from gbveval.core.errors import DesignError

RESERVED = {"con", "prn", "aux", "nul", *(f"com{i}" for i in range(1, 10)), *(f"lpt{i}" for i in range(1, 10))}


def slug(text: str, *, default: str = "figure") -> str:
    """Return a file name made of a label: letters, digits and hyphens only.

    Examples
    --------
    >>> slug("Cluster trial: effects / arms"), slug("../../etc"), slug("$%"), slug("con")
    ('cluster-trial-effects-arms', 'etc', 'figure', 'figure-con')
    """
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()
    name = re.sub(r"[^a-z0-9]+", "-", plain.lower()).strip("-")[:60].strip("-")
    if not name:
        return default
    return f"{default}-{name}" if name in RESERVED else name


def below(folder: Path, name: str) -> Path:
    """Return a path inside `folder`; raise if the name would leave it."""
    if "\0" in name:
        raise DesignError("A file name of the output holds a NUL character; use letters, digits and hyphens.")
    root = folder.resolve()
    path = (root / name).resolve()
    if not path.is_relative_to(root) or path == root:
        raise DesignError("A file name of the output must stay inside the output folder.")
    return path


def write(folder: Path, name: str, content: str | bytes) -> Path:
    """Write a file below `folder` so that a reader sees the old one or the whole new one, never half."""
    path = below(folder, name)
    path.parent.mkdir(parents=True, exist_ok=True)
    data = content.encode("utf-8") if isinstance(content, str) else content
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=".", suffix=".part")
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(data)
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    return path
