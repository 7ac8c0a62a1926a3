"""The README: its code runs, its commands exist, its links lead somewhere, and it names no host."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FRONT = ("README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md")


def _read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def test_the_code_of_the_readme_runs(tmp_path: Path) -> None:
    cells = re.findall(r"```python\n(.*?)```", _read("README.md"), flags=re.DOTALL)
    assert len(cells) == 1
    done = subprocess.run([sys.executable, "-c", cells[0]], check=False, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "risk difference" in done.stdout
    assert (tmp_path / done.stdout.splitlines()[-1]).is_file()


@pytest.mark.parametrize("name", FRONT)
def test_links_lead_to_files(name: str) -> None:
    targets = re.findall(r"\]\(([^)#]+)\)", _read(name))
    assert not [target for target in targets if not (ROOT / target).exists()]


@pytest.mark.parametrize("name", FRONT)
def test_no_host_is_named(name: str) -> None:
    assert "://" not in _read(name)


def test_make_targets_exist() -> None:
    named = set(re.findall(r"\bmake (?:PY=\S+ )?([a-z]+)$|`make ([a-z]+)`", _read("README.md"), flags=re.MULTILINE))
    named |= set(re.findall(r"^make ([a-z]+)()", _read("CONTRIBUTING.md"), flags=re.MULTILINE))
    targets = set(re.findall(r"^([a-z]+):", _read("Makefile"), flags=re.MULTILINE))
    wanted = {name for pair in named for name in pair if name}
    assert {"demo", "test", "check"} <= wanted <= targets


def test_every_public_name_in_the_readme_exists() -> None:
    import gbveval

    table = _read("README.md").split("## What is in it")[1].split("## Install")[0]
    names = set(re.findall(r"`([A-Za-z_]\w+)`", table))
    assert len(names) > 15
    assert names <= set(gbveval.__all__)
