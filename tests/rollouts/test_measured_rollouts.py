"""The page on which estimator fails where is current, complete, and says what was measured."""

from __future__ import annotations

import pytest

from gbveval.core.registry import discover
from tests.rollouts import doses, few_clusters, neighbours
from tests.rollouts.__main__ import STUDIES
from tests.rollouts.measure import METHODS, current, load
from tests.rollouts.page import PAGE, is_biased, misses, write

MEASURED = load()
FEW = load(few_clusters.RECORD)
# Estimators that are not on the page, and why.
WITHOUT = {
    "chaisemartin_dhaultfoeuille": "has the estimates of CallawaySantAnna where treatment lasts, as here",
    "synthetic_control": "compares levels, and is for one treated unit or few",
    "two_by_two": "takes one cohort",
    "doubly_robust": "takes one cohort and two periods; CallawaySantAnna puts its parts together",
    "triple_difference": "needs people whom treatment cannot reach",
    "stacked_did": "averages a window of event times, another effect than the page's",
    "local_projections": "averages a window of event times, another effect than the page's",
    "dose_response": "estimates a curve over doses, another effect than the page's",
    "wild_two_way": "has the estimate of TwoWayFixedEffects, and a test that takes seconds a panel",
}
ROBUST = [
    method.label
    for method in METHODS
    if method.label not in ("TwoWayFixedEffects", "EventStudy", "ConleyTaber") and "not given" not in method.label
]


def test_every_row_is_measured_with_the_options_it_names() -> None:
    for study in STUDIES:
        measured = load(study.RECORD)
        assert list(measured) == [method.label for method in study.METHODS]
        for method in study.METHODS:
            known = measured[method.label]["description"]
            assert known == current(method), f"run python -m tests.rollouts: {method.label}"


def test_every_estimator_of_rollouts_has_a_row_or_a_reason() -> None:
    names = {name for name, cls in discover().items() if cls.__module__.startswith("gbveval.estimators.did")}
    shown = {method.estimator.name for method in METHODS}
    assert names == shown | set(WITHOUT)
    assert not shown & set(WITHOUT)


def test_the_page_is_what_the_record_says() -> None:
    before = PAGE.read_text(encoding="utf-8")
    write(*(load(study.RECORD) for study in STUDIES))
    assert PAGE.read_text(encoding="utf-8") == before


@pytest.mark.parametrize("label", ROBUST)
@pytest.mark.parametrize("kind", ["homogeneous", "dynamic", "cohorts differ"])
def test_modern_estimators_are_right_whatever_the_effects(label: str, kind: str) -> None:
    cell = MEASURED[label]["cells"][kind]
    if cell["defined"]:
        # Four Monte Carlo errors: one false alarm in hundreds of such tables.
        assert abs(cell["bias"]) < 4 * cell["sd"] / cell["defined"] ** 0.5
        assert cell["coverage"] > 0.90


def test_the_failures_that_the_page_tells_of() -> None:
    cells = {label: found["cells"] for label, found in MEASURED.items()}
    assert is_biased(cells["TwoWayFixedEffects"]["dynamic"])
    assert not is_biased(cells["TwoWayFixedEffects"]["homogeneous"])
    assert is_biased(cells["CallawaySantAnna, not yet treated"]["anticipation"])
    assert not is_biased(cells["CallawaySantAnna, anticipation=1"]["anticipation"])
    assert is_biased(cells["Imputation"]["anticipation"])
    assert not is_biased(cells["Imputation, anticipation=1"]["anticipation"])
    assert is_biased(cells["CallawaySantAnna, covariate not given"]["covariate trends"])
    assert not is_biased(cells["CallawaySantAnna, not yet treated"]["covariate trends"])
    assert misses(cells["TwoWayFixedEffects"]["few treated"])


def test_the_jackknife_holds_where_influence_does_not() -> None:
    cells = {label.split("'")[1]: found["cells"] for label, found in FEW.items() if label.startswith("Callaway")}
    for clusters in ("6 clusters", "10 clusters"):
        assert misses(cells["influence"][clusters])
    for kind, cell in cells["jackknife"].items():
        assert not misses(cell)
        assert cell["pretest"] < cells["influence"][kind]["pretest"]


def test_what_is_said_of_doses_is_what_was_measured() -> None:
    cells = {label: found["cells"] for label, found in load(doses.RECORD).items()}
    for label, found in cells.items():
        held = [found[f"dose {dose:g}"] for dose in doses.SHOWN]
        if label.startswith("saturated, 2"):
            assert all(misses(cell) for cell in held)
        if label.startswith("cubic"):
            # Four Monte Carlo errors below 95 %.
            assert all(cell["coverage"] > 0.922 for cell in held)
        # A test at 5 % in 1,000 draws: beyond 7.5 % it does not keep its size.
        assert found["pre-test"]["pretest"] <= (0.075 if not label.startswith("saturated, 2") else 0.10)


def test_what_is_said_of_neighbours_is_what_was_measured() -> None:
    cells = [found["cells"] for found in load(neighbours.RECORD).values()]
    for found in cells:
        assert misses(found["by unit"])
        assert found["cutoff as far"]["coverage"] > found["by unit"]["coverage"]
    assert cells[0]["twice as far"]["coverage"] > 0.92
    assert cells[-1]["twice as far"]["coverage"] < 0.8
