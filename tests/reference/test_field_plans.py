"""Families of this field's plans that the collection names: made-up cases whose answers are written out here."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import nct, norm
from scipy.stats import t as student

from tests.reference.power import TASKS

NOWHERE = Path()
ASKED = {"alpha": 0.05, "alternative": "two.sided", "tails_counted": "both"}


def answer(family: str, results: dict[str, Any] | None = None, **given: Any) -> dict[str, Any]:
    return TASKS[family](NOWHERE, {"family": family, "inputs": {**ASKED, **given}, "results": results or {}})


def test_disclosure_that_hides_an_effect() -> None:
    told = {"se_control": 0.6, "sp_control": 0.97, "se_treated": 0.8, "sp_treated": 0.95}
    found = answer("misclassification-sign", {"se_treated_zero": 0, "seen": 0}, p_control=0.3, p_treated=0.22, **told)
    control = 0.6 * 0.3 + 0.03 * 0.7
    assert found["se_treated_zero"] == pytest.approx((control - 0.05 * 0.78) / 0.22, rel=1e-12)
    assert found["seen"] == pytest.approx(0.8 * 0.22 + 0.05 * 0.78 - control, rel=1e-12)


def test_lists_in_clusters() -> None:
    given = {"p_control": 0.35, "p_treated": 0.2, "control_item_probs": [0.2, 0.5, 0.7], "cluster_sd": 0.06}
    found = answer("crt-list-experiment", k=25, m=40, treated_fraction=0.6, **given)
    items = 0.16 + 0.25 + 0.21
    arms = (0.0036 + (items + p * (1.0 - p) - 0.0036) / 24.0 + items / 16.0 for p in (0.35, 0.2))
    se = math.sqrt(sum(arms) / 25.0)
    z = norm.isf(0.025)
    assert found["se"] == pytest.approx(se, rel=1e-12)
    assert found["power"] == pytest.approx(norm.sf(z - 0.15 / se) + norm.cdf(-z - 0.15 / se), rel=1e-9)


def test_assurance_over_sites() -> None:
    prior = {"prior_mean": 0.25, "prior_sd": 0.08, "log_var_median": 0.02, "log_var_sd": 0.5}
    found = answer("assurance-multisite", J=10, n=40, **prior)
    c = student.isf(0.025, 9.0)

    def power(effect: float, variance: float) -> float:
        far = effect / math.sqrt((variance + 4.0 / 40.0) / 10.0)
        # Far out scipy has no number for the tail in the wrong direction, which is then nothing.
        return float(nct.sf(c, 9.0, far) + np.nan_to_num(nct.cdf(-c, 9.0, far)))

    assert found["power_at_prior_medians"] == pytest.approx(power(0.25, 0.02), rel=1e-7)
    # Gauss-Hermite in the effect and in the log of the variance; power is smooth in both.
    nodes, weights = np.polynomial.hermite_e.hermegauss(30)
    expected = sum(
        float(u * v) * power(0.25 + 0.08 * float(x), 0.02 * math.exp(0.5 * float(y))) / (2.0 * math.pi)
        for x, u in zip(nodes, weights, strict=True)
        for y, v in zip(nodes, weights, strict=True)
    )
    assert found["assurance"] == pytest.approx(expected, abs=1e-8)
