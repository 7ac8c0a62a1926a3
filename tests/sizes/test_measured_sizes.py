"""The page of measured sizes is what was measured, and leaves out no estimator of cluster trials."""

from __future__ import annotations

import json
from typing import get_type_hints

from gbveval.core.registry import discover
from tests.sizes.page import PAGE, write
from tests.sizes.record import is_current, load
from tests.sizes.rows import MEASUREMENTS, WITHOUT_SIZE


def test_every_row_was_measured_as_it_is_described() -> None:
    measured = load()
    assert set(measured) == {row.label for row in MEASUREMENTS}
    assert all(is_current(row, json.loads(json.dumps(measured))) for row in MEASUREMENTS)


def test_the_page_is_what_was_measured() -> None:
    before = PAGE.read_text(encoding="utf-8")
    try:
        write(load())
        assert PAGE.read_text(encoding="utf-8") == before
    finally:
        PAGE.write_text(before, encoding="utf-8")


def test_every_estimator_of_trials_is_measured_or_says_why_not() -> None:
    takes_trials = {
        name
        for name, cls in discover().items()
        if cls.__module__.startswith("gbveval.") and get_type_hints(cls.estimate)["data"].__name__ == "Trial"
    }
    measured = {row.estimator.name for row in MEASUREMENTS}
    assert takes_trials == measured | set(WITHOUT_SIZE)
    assert not measured & set(WITHOUT_SIZE)
