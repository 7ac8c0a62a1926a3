"""Where numbers about associations are loosened or disputed, what the other system computes is computed here."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tests.reference.reader as reader
from gbveval.numerics.inference import normal_quantile, t_quantile
from tests.reference.associations import TASKS

SHARED = Path(__file__).parents[3] / "shared" / "reference" / "risk"
Z = float(normal_quantile(0.975))

needs_shared = pytest.mark.skipif(
    not SHARED.exists(), reason="../shared/reference is absent: the numbers of other systems are not here"
)


def cases(kind: str, key: str) -> list[dict[str, Any]]:
    return [case for case in reader.read_cases(SHARED) if reader.kind_of(case) == kind and key in case["results"]]


def cells(case: dict[str, Any]) -> tuple[float, float, float, float]:
    """Return a table's exposed with and without the outcome, unexposed with and without it."""
    frame = reader.associations.frame_of(SHARED, case["task"]["data"])
    roles = case["task"]["roles"]
    exposed = frame[roles["exposure"]["column"]] == roles["exposure"]["exposed"]
    event = frame[roles["outcome"]["column"]] == roles["outcome"]["event"]
    counts = ((exposed & event), (exposed & ~event), (~exposed & event), (~exposed & ~event))
    a, b, c, d = (float(count.sum()) for count in counts)
    return a, b, c, d


@needs_shared
def test_epir_adds_variances_of_overlapping_groups() -> None:
    found = cases("two_by_two", "PARisk.strata.wald")
    assert found
    for case in found:
        a, b, c, d = cells(case)
        everybody, unexposed = (a + c) / (a + b + c + d), c / (c + d)
        variance = everybody * (1 - everybody) / (a + b + c + d) + unexposed * (1 - unexposed) / (c + d)
        stated = case["results"]["PARisk.strata.wald"]
        assert stated["upper"] - stated["est"] == pytest.approx(100 * Z * np.sqrt(variance), rel=1e-9)


@needs_shared
def test_epir_steps_score_limits_by_tenths_of_a_per_cent() -> None:
    found = cases("two_by_two", "OR.strata.score")
    assert found
    for case in found:
        a, b, c, d = cells(case)

        def chi2(psi: float, a: float = a, b: float = b, c: float = c, d: float = d) -> float:
            lead, middle = 1.0 - psi, (c + d) - (a + c) + psi * (a + b + a + c)
            fitted = 2.0 * psi * (a + b) * (a + c) / (middle + np.sqrt(middle**2 + 4 * lead * psi * (a + b) * (a + c)))
            others = (fitted, a + c - fitted, a + b - fitted, d - a + fitted)
            return float((a - fitted) ** 2 * sum(1.0 / x for x in others))

        for end, step in (("lower", 1 / 1.001), ("upper", 1.001)):
            # Its search begins a tenth away from the estimate.
            psi = a * d / (b * c) * (1.1 if step > 1 else 1 / 1.1)
            while chi2(psi) < Z**2:
                psi *= step
            assert case["results"]["OR.strata.score"][end] == pytest.approx(psi, rel=1e-7)


@needs_shared
def test_sensemakr_takes_limits_at_the_degrees_of_freedom_without_the_confounder() -> None:
    found = cases("robustness_value", "bounds")
    assert found
    for case in found:
        for row in case["results"]["bounds"]:
            half = (row["adjusted_upper_CI"] - row["adjusted_lower_CI"]) / 2.0
            used = half / row["adjusted_se"]
            df = case["results"]["dof"]
            assert used == pytest.approx(float(t_quantile(0.975, df)), rel=1e-7)
            assert abs(used / float(t_quantile(0.975, df - 1.0)) - 1.0) > 1e-6


@needs_shared
def test_estimates_of_disputed_errors_still_agree() -> None:
    found = [c for c in cases("attributable_fraction", "af") if c["task"]["options"]["case_control"]]
    assert found
    for case in found:
        answer = TASKS["attributable_fraction"](SHARED, case)
        assert answer["af"] == pytest.approx(case["results"]["af"], rel=case["tolerance"]["relative"])
