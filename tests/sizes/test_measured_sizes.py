"""The page of measured sizes is what was measured, and leaves out no estimator of cluster trials."""

from __future__ import annotations

import json
from typing import get_type_hints

import pytest

from gbveval.core.registry import discover
from gbveval.core.replicate import binomial_band
from tests.sizes.page import FALSE_ALARM, PAGE, write
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


# Whose documentation says that the level is held, and from how many clusters on.
CLAIMS = {
    "DifferenceInMeans": 6,
    "LinAdjusted": 6,
    "Ancova, CR2": 6,
    "Ancova, CR3": 6,
    "JointTest of two, hotelling": 6,
    "ClusterSummary, welch_t": 6,
    "ClusterSummary, pooled_t": 6,
    "ComplierAverage, anderson_rubin": 6,
    "Gee, gaussian, KC": 20,
    "Gee, binomial, KC": 20,
    "GeneralisedLinear, logit": 20,
    "ModifiedPoisson": 20,
    "Standardised, logistic": 20,
    "MixedEffects, kenward_roger": 6,
    "SteppedWedge": 6,
    "WildClusterBootstrap, WCR11": 6,
    "WildClusterBootstrap, WCR33": 6,
    "RandomisationInference": 6,
    "WestfallYoung, two outcomes": 6,
    "SubgroupEffects, same effect": 6,
    "SubgroupEffects, smallest of three": 6,
}


@pytest.mark.parametrize("label", CLAIMS)
def test_who_claims_the_level_holds_it(label: str) -> None:
    for cell in load()[label]["cells"]:
        if cell["clusters"] >= CLAIMS[label]:
            highest = binomial_band(0.05, cell["defined"], false_alarm=FALSE_ALARM)[1]
            assert cell["size"] <= highest, (cell["outcome"], cell["sizes"], cell["clusters"], cell["size"])
