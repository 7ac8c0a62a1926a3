"""The how-to page on planning: its code runs from top to bottom."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import matplotlib
import pytest

import gbveval as gbv

PAGE = Path(__file__).parents[3] / "docs" / "how-to" / "planning.md"


def test_the_code_of_the_page_runs() -> None:
    if "simulate_power" not in dir(gbv):
        pytest.skip("the facade does not offer the names of planning")
    cells = re.findall(r"```\{code-cell\} ipython3\n(.*?)```", PAGE.read_text(encoding="utf-8"), flags=re.DOTALL)
    assert len(cells) > 8
    matplotlib.use("Agg")
    names: dict[str, Any] = {}
    for cell in cells:
        exec(compile(cell, str(PAGE), "exec"), names)
    # What the prose says about the numbers.
    assert names["needed"].rounded == 27
    assert names["many"].path == "batch"
    assert names["found"].path == "data"
    assert names["latent"].value > 3.0 * names["observed"].value
    after, change, ancova = names["needs"].values()
    assert abs(after - change) <= 1
    # The degrees of freedom move the saving a little off a quarter.
    assert abs(ancova / after - 0.75) < 0.01
