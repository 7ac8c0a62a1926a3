"""The documentation builds with every cell executed and no warning, and its pages fetch nothing."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# What a browser would fetch on opening a page. Links that a reader may follow (`<a href>`) are not fetched.
FETCHED = re.compile(r"<(?:script|img|iframe|source)[^>]*\ssrc=\"(?:https?:)?//|<link[^>]*\shref=\"(?:https?:)?//")


@pytest.mark.skipif(
    os.environ.get("GBVEVAL_KIT") == "brief", reason="the first interpreter of a run builds the documentation"
)
@pytest.mark.xdist_group("docs")
def test_the_documentation_builds(tmp_path: Path) -> None:
    options = ["-q", "-W", "-b", "html", "-d", str(tmp_path / "trees")]
    done = subprocess.run(
        [sys.executable, "-m", "sphinx", *options, "docs", str(tmp_path / "html")],
        check=False,
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},
        timeout=900,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    pages = list((tmp_path / "html").rglob("*.html"))
    assert len(pages) >= 20
    fetching = [page.name for page in pages if FETCHED.search(page.read_text(encoding="utf-8"))]
    assert not fetching
