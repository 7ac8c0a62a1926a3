"""The how-to pages on planning and simulation: their code runs, and says what the prose says."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import matplotlib

import gbveval as gbv

HOW_TO = Path(__file__).parents[3] / "docs" / "how-to"


def run_page(name: str) -> dict[str, Any]:
    """Return what the names of a page hold after its cells have run."""
    page = HOW_TO / name
    cells = re.findall(r"```\{code-cell\} ipython3\n(.*?)```", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    assert len(cells) > 4
    matplotlib.use("Agg")
    names: dict[str, Any] = {}
    for cell in cells:
        exec(compile(cell, str(page), "exec"), names)
    return names


def test_a_simulated_study_says_what_the_page_says() -> None:
    names = run_page("simulate-a-study.md")
    power = {row.label: row.power.value for row in names["found"].rows}
    # A baseline is worth more than 0.1 of power, and the formula leaves imbalance out, which costs a little.
    assert power["ancova"] > power["difference_in_means"] + 0.1
    formula = gbv.power(names["with_baseline"], effect=3.0)
    assert -0.02 < power["ancova"] - formula < 0.01
    assert names["more"][0].n_draws == 300


def test_the_code_of_the_page_on_clusters_runs() -> None:
    names = run_page("plan-clusters.md")
    # What the prose says about the numbers.
    assert gbv.mde(names["girls"]) > gbv.mde(names["trial"])
    assert float(names["told"]["power"]) > float(names["told"]["power of the same clusters unmatched"])
    assert names["left"].left == (18, 25.5)
    assert float(names["size"]["one large school"]) > 2.0 * float(names["size"]["like control"])


def test_the_code_of_the_page_runs() -> None:
    names = run_page("planning.md")
    # What the prose says about the numbers.
    assert names["needed"].rounded == 27
    assert names["many"].path == "batch"
    assert names["found"].path == "batch"
    assert names["latent"].value > 3.0 * names["observed"].value
    after, change, ancova = names["needs"].values()
    assert abs(after - change) <= 1
    # The degrees of freedom move the saving a little off a quarter.
    assert abs(ancova / after - 0.75) < 0.01
