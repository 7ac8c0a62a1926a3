"""The how-to page on planning: its code runs from top to bottom."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import matplotlib
import pytest

import gbveval as gbv

HOW_TO = Path(__file__).parents[3] / "docs" / "how-to"
PAGE = HOW_TO / "planning.md"


def names_after(page: Path) -> dict[str, Any]:
    """Return what a page has defined when all its cells have run."""
    cells = re.findall(r"```\{code-cell\} ipython3\n(.*?)```", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    assert len(cells) > 8
    names: dict[str, Any] = {}
    for cell in cells:
        exec(compile(cell, str(page), "exec"), names)
    return names


def test_the_code_of_the_page_on_clusters_runs() -> None:
    names = names_after(HOW_TO / "plan-clusters.md")
    # What the prose says about the numbers.
    assert gbv.mde(names["girls"]) > gbv.mde(names["trial"])
    assert float(names["told"]["power"]) > float(names["told"]["power of the same clusters unmatched"])
    assert names["left"].left == (18, 25.5)
    assert float(names["size"]["one large school"]) > 2.0 * float(names["size"]["like control"])


def test_the_code_of_the_page_runs() -> None:
    if "simulate_power" not in dir(gbv):
        pytest.skip("the facade does not offer the names of planning")
    matplotlib.use("Agg")
    names = names_after(PAGE)
    # What the prose says about the numbers.
    assert names["needed"].rounded == 27
    assert names["many"].path == "batch"
    assert names["found"].path == "data"
    assert names["latent"].value > 3.0 * names["observed"].value
    after, change, ancova = names["needs"].values()
    assert abs(after - change) <= 1
    # The degrees of freedom move the saving a little off a quarter.
    assert abs(ancova / after - 0.75) < 0.01
