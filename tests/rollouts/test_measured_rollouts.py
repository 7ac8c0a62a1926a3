"""The page on which estimator fails where is current, complete, and says what was measured."""

from __future__ import annotations

import pytest

from gbveval.core.registry import discover
from tests.rollouts import few_clusters
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
    for measured, methods in ((MEASURED, METHODS), (FEW, few_clusters.METHODS)):
        assert list(measured) == [method.label for method in methods]
        for method in methods:
            known = measured[method.label]["description"]
            assert known == current(method), f"run python -m tests.rollouts: {method.label}"


def test_every_estimator_of_rollouts_has_a_row_or_a_reason() -> None:
    names = {name for name, cls in discover().items() if cls.__module__.startswith("gbveval.estimators.did")}
    shown = {method.estimator.name for method in METHODS}
    assert names == shown | set(WITHOUT)
    assert not shown & set(WITHOUT)


def test_the_page_is_what_the_record_says() -> None:
    before = PAGE.read_text(encoding="utf-8")
    write(MEASURED, FEW)
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
