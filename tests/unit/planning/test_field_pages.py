"""The how-to pages on disclosure, assurance and outcome coding: their code runs, and their prose is true of it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import matplotlib as mpl

import gbveval as gbv

HOW_TO = Path(__file__).parents[3] / "docs" / "how-to"


def names_after(page: str) -> dict[str, Any]:
    """Return what a page has defined when all its cells have run."""
    mpl.use("Agg")
    text = (HOW_TO / page).read_text(encoding="utf-8")
    cells = re.findall(r"```\{code-cell\} ipython3\n(.*?)```", text, flags=re.DOTALL)
    assert len(cells) > 2
    names: dict[str, Any] = {}
    for cell in cells:
        exec(compile(cell, page, "exec"), names)
    return names


def test_the_page_on_disclosure_is_true() -> None:
    names = names_after("disclosure.md")
    lifted = names["lifted"]
    lowest = min(names["effects"], key=lambda effect: gbv.power(lifted, effect=effect))
    assert -0.06 < lowest < -0.02
    assert gbv.power(lifted, effect=0.0) > 0.15
    assert names["needs"]["list"] > 10 * names["needs"]["direct"]
    # Schools need fewer people than students of whom control has two fifths of the effect, and more than without.
    assert names["by_share"][0.0] < names["people_of_schools"] < names["by_share"][0.4]


def test_the_page_on_assurance_is_true() -> None:
    names = names_after("assurance.md")
    assert names["found"].value < names["sure"]
    assert names["assured"] > names["alone"]
    assert all(value.kind == "effect" for value in gbv.planning_values(kind="effect", topic="IPV"))
    assert "83%" in gbv.planning_value("EF01").note


def test_the_page_on_outcome_coding_is_true() -> None:
    table = names_after("outcome-coding.md")["codings"]
    needs = dict(zip(table.column("coding"), table.column("n_per_arm"), strict=True))
    # Prevention and cessation ask for several times the people that counts do; reduction for little more.
    assert min(needs["prevention"], needs["cessation"]) > 3 * needs["count"]
    assert needs["reduction"] < 1.25 * needs["count"]
    assert needs["any"] > needs["ordered"] > needs["count"]
