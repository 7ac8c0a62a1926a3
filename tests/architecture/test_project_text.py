"""What strangers read names no machine and no private host."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FOLDERS = ("src", "docs", "examples", "notebooks", "benchmarks", "tests", ".ci")
SUFFIXES = {
    ".py",
    ".md",
    ".rst",
    ".toml",
    ".cfg",
    ".ini",
    ".txt",
    ".html",
    ".ipynb",
    ".yml",
    ".yaml",
    ".sh",
    ".json",
    "",
}
# Absolute paths of a machine; a documented /tmp or /path/to is a reader's own.
PATHS = re.compile(r"(?<![\w./-])/(root|work|home|Users|mnt|opt|var/folders)/[\w.-]+|[A-Z]:\\\\?Users")
HOSTS = re.compile(
    r"https?://[^\s)\"'>]*(artifactory|nexus|devpi|jfrog|internal|localhost|127\.0\.0\.1|10\.\d+\.\d+\.\d+)", re.I
)
REGISTRIES = re.compile(r"\b(pypi\.org/simple|files\.pythonhosted\.org)\b")
SKIPPED = {"_build", "__pycache__", "node_modules", "out"}


def _files() -> list[Path]:
    top = [
        path
        for path in ROOT.iterdir()
        if path.is_file() and path.suffix in SUFFIXES and path.name != "requirements.lock"
    ]
    for folder in FOLDERS:
        if (ROOT / folder).is_dir():
            top += [path for path in (ROOT / folder).rglob("*") if path.is_file() and path.suffix in SUFFIXES]
    return sorted(path for path in top if not SKIPPED & set(path.parts) and path != Path(__file__))


@pytest.mark.parametrize("pattern", [PATHS, HOSTS, REGISTRIES], ids=["machine paths", "private hosts", "registries"])
def test_no_text_of_the_project_names_a_machine(pattern: re.Pattern[str]) -> None:
    found = []
    for path in _files():
        text = path.read_text(encoding="utf-8", errors="replace")
        for match in pattern.finditer(text):
            line = text.count("\n", 0, match.start()) + 1
            found.append(f"{path.relative_to(ROOT)}:{line}: {match.group()}")
    assert not found, "\n".join(found)


def test_there_is_something_to_read() -> None:
    names = {path.name for path in _files()}
    assert {"README.md", "pyproject.toml", "__init__.py"} <= names


def test_no_secret_was_committed() -> None:
    pattern = re.compile(
        r"(?i)(api[_-]?key|secret[_-]?key|passw(or)?d|token)\s*[=:]\s*['\"][A-Za-z0-9/+_-]{16,}"
        r"|-----BEGIN [A-Z ]*PRIVATE KEY"
    )
    found = [path.name for path in _files() if pattern.search(path.read_text(encoding="utf-8", errors="replace"))]
    assert not found


def test_what_git_tracks_is_source_and_not_what_was_made() -> None:
    try:
        done = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, timeout=30, check=True)
    except (OSError, subprocess.SubprocessError):
        pytest.skip("this is no git checkout")
    made = re.compile(r"(^|/)(__pycache__|\.venv|out|_build|\.hypothesis|\.ipynb_checkpoints)/|\.pyc$|\.egg-info/")
    assert not [name for name in done.stdout.splitlines() if made.search(name)]
