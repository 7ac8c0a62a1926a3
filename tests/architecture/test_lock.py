"""The lock names packages and hashes, and no host."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]
LOCK = (ROOT / "requirements.lock").read_text(encoding="utf-8")


def _requirements() -> list[str]:
    """Return the lock's logical lines, continuations joined, comments left out."""
    joined = LOCK.replace("\\\n", " ")
    return [line for line in joined.splitlines() if line.strip() and not line.lstrip().startswith("#")]


def test_the_lock_names_no_host() -> None:
    assert "://" not in LOCK
    assert not re.search(r"--(extra-)?index-url|--find-links|--trusted-host|file:|git\+", LOCK)


def test_every_package_is_pinned_and_hashed() -> None:
    lines = _requirements()
    assert len(lines) > 50
    for line in lines:
        assert re.match(r"^[A-Za-z0-9._-]+(\[[a-z0-9,_-]+\])?==[^\s;]+", line), line[:80]
        assert re.search(r"--hash=sha256:[0-9a-f]{64}\b", line), line[:80]


def test_every_dependency_is_locked() -> None:
    locked = {re.split(r"[=\[]", line)[0].lower().replace("_", "-") for line in _requirements()}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    for requirement in project["dependencies"]:
        name = re.split(r"[<>=!~ ;\[]", requirement)[0].lower().replace("_", "-")
        assert name in locked, name


def test_the_project_file_names_no_host() -> None:
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    for line in text.splitlines():
        if "://" in line:
            raise AssertionError(f"a host: {line}")
    assert not re.search(r"index-url|tool\.uv\.index|find-links", text)
