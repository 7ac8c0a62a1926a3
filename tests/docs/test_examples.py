"""Every example script runs, says what it does, and writes a report that holds together."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPTS = sorted((Path(__file__).parents[2] / "examples").glob("*.py"))


def test_there_are_examples() -> None:
    assert len(SCRIPTS) >= 2


@pytest.mark.xdist_group("docs")
@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_the_example_runs(script: Path, tmp_path: Path) -> None:
    out = tmp_path / "report"
    done = subprocess.run(
        [sys.executable, str(script), "--out", str(out)],
        check=False,
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "MPLBACKEND": "Agg"},
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert not done.stderr  # an example that people copy warns of nothing
    lines = done.stdout.splitlines()
    assert sum(line.startswith("- ") for line in lines) >= 5  # progress
    assert Path(lines[-1]) == out / "report.html"
    page = (out / "report.html").read_text(encoding="utf-8")
    assert "<script" not in page
    assert "http://" not in page.split("<body")[1].replace("http://www.w3.org", "")
    numbers = json.loads((out / "report.json").read_text(encoding="utf-8"))
    assert len(numbers["sections"]) >= 2
    assert list((out / "figures").glob("*.svg"))
    # Nothing is written beside the output folder.
    assert [path.name for path in tmp_path.iterdir()] == ["report"]
