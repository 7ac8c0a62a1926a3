"""Every public name is documented, no page is lost, and what the pages cite exists."""

from __future__ import annotations

import csv
import importlib
import re
from importlib.resources import files
from pathlib import Path

import pytest

import gbveval
from gbveval.core.registry import discover

DOCS = Path(__file__).parents[2] / "docs"
PAGES = sorted(path for path in DOCS.rglob("*.md") if "_build" not in path.parts)
DIRECTIVE = re.compile(r"^\.\. auto(?:class|function|module):: (gbveval[\w.]*)", flags=re.MULTILINE)


def _documented() -> set[str]:
    return {
        name
        for page in (DOCS / "reference").glob("*.md")
        for name in DIRECTIVE.findall(page.read_text(encoding="utf-8"))
    }


def test_every_public_name_is_documented() -> None:
    wanted = {f"gbveval.{name}" for name in gbveval.__all__ if not name.startswith("__")}
    assert not wanted - _documented()


def test_every_documented_name_exists() -> None:
    def resolves(dotted: str) -> bool:
        module, _, name = dotted.rpartition(".")
        try:
            importlib.import_module(dotted)
        except ImportError:
            return hasattr(importlib.import_module(module), name)
        return True

    assert not [name for name in _documented() if not resolves(name)]


def test_every_public_estimator_is_on_the_page_of_estimators() -> None:
    text = (DOCS / "reference" / "estimators.md").read_text(encoding="utf-8")
    ours = [cls.__name__ for cls in discover().values() if cls.__module__.startswith("gbveval.")]
    assert not [name for name in ours if f"gbveval.{name}\n" not in text]


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.relative_to(DOCS).as_posix())
def test_names_used_in_code_exist(page: Path) -> None:
    used = set(re.findall(r"\bgbv\.([A-Za-z_]\w*)", page.read_text(encoding="utf-8")))
    # The example of a contribution has a name of its own choosing.
    assert used - {"NAME", "YourEstimator"} <= set(gbveval.__all__)


def test_no_page_is_outside_the_tables_of_contents() -> None:
    listed = set()
    for page in PAGES:
        for body in re.findall(r"```\{toctree\}\n(.*?)```", page.read_text(encoding="utf-8"), flags=re.DOTALL):
            entries = [line.strip() for line in body.splitlines() if line.strip() and not line.startswith(":")]
            listed |= {(page.parent / f"{entry}.md").resolve() for entry in entries}
    lost = {page.resolve() for page in PAGES} - listed - {(DOCS / "index.md").resolve()}
    assert not lost


def test_planning_parameters_cited_by_the_pilot_are_in_the_table() -> None:
    with files("gbveval.datasets").joinpath("planning_parameters.csv").open(encoding="utf-8") as stream:
        table = {row["id"]: row for row in csv.DictReader(stream)}
    pilot = importlib.import_module("gbveval.datasets.pilot").__doc__ or ""
    cited = set(re.findall(r"\b[A-Z]{2}\d{2}\b", pilot))
    assert {"BR04", "BR05", "BR06", "BR07", "IC01", "RE02", "EF10", "EF18"} <= cited <= set(table)
    page = (DOCS / "planning-parameters.md").read_text(encoding="utf-8")
    assert cited <= set(re.findall(r"\b[A-Z]{2}\d{2}\b", page))
    # The numbers beside the identifiers are those of the table.
    from gbveval.datasets.pilot import PilotRollout, PilotTrial

    trial, rollout = PilotTrial(), PilotRollout()
    assert trial.risk == float(table["BR05"]["estimate"])
    assert trial.effect == float(table["EF18"]["estimate"])
    assert trial.follow_up == float(table["RE02"]["estimate"])
    assert (rollout.level + rollout.effect) / rollout.level == pytest.approx(float(table["EF10"]["estimate"]))
