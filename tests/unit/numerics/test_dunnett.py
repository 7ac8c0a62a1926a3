"""Comparisons with one control: against draws of their joint distribution, tables, and limits."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import norm

from gbveval.numerics.dunnett import dunnett_critical, joint_power
from gbveval.numerics.noncentral_t import t_power

DRAWS = 200_000


@pytest.mark.parametrize(("df", "rho"), [(math.inf, 0.5), (12.0, 0.3), (60.0, 0.6)])
@pytest.mark.parametrize("alternative", ["two_sided", "greater"])
def test_power_is_how_often_draws_are_rejected(df: float, rho: float, alternative: str) -> None:
    rng = np.random.default_rng(8)
    shift, critical = np.array([2.5, 1.0, 0.0]), 2.2
    z = math.sqrt(1.0 - rho) * rng.normal(size=(DRAWS, 3)) + math.sqrt(rho) * rng.normal(size=(DRAWS, 1)) + shift
    t = z if math.isinf(df) else z / np.sqrt(rng.chisquare(df, size=(DRAWS, 1)) / df)
    rejected = (np.abs(t) if alternative == "two_sided" else t) > critical
    for power_of, seen in (
        ("each", rejected[:, 0]),
        ("any", rejected.any(axis=1)),
        ("all", rejected.all(axis=1)),
    ):
        found = joint_power(shift.tolist(), critical, df, rho, power_of=power_of, alternative=alternative)
        # Five Monte Carlo standard errors.
        assert found == pytest.approx(seen.mean(), abs=5.0 * math.sqrt(found * (1.0 - found) / DRAWS))


def test_critical_values_of_the_published_table() -> None:
    # Dunnett (1964), two-sided 5 %, as printed: three comparisons and 20 df; two comparisons and infinite df.
    assert round(dunnett_critical(3, 20.0, 0.05, 0.5), 2) == 2.54
    assert round(dunnett_critical(2, math.inf, 0.05, 0.5), 2) == 2.21


def test_independent_comparisons_have_the_critical_value_of_sidak() -> None:
    found = dunnett_critical(4, math.inf, 0.05, 0.0)
    assert found == pytest.approx(norm.isf((1.0 - 0.95**0.25) / 2.0), abs=1e-10)


@pytest.mark.parametrize("df", [3.0, 4.0, 19.9, 20.0, 30.0, math.inf])
@pytest.mark.parametrize("shift", [0.5, 1.7, 8.0])
def test_one_comparison_is_a_t_test(df: float, shift: float) -> None:
    critical = dunnett_critical(1, df, 0.05, 0.5)
    # What the numbers of nodes were chosen for.
    found = joint_power([shift], critical, df, 0.5, power_of="each")
    assert found == pytest.approx(t_power(shift, df, 0.05), abs=1e-8)
