"""Standardised rates: exact Poisson limits of one group, sums by hand, and coverage by simulation."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import chi2

from gbveval.core.replicate import binomial_band
from gbveval.numerics.standardised_rates import direct, indirect


@pytest.mark.parametrize("events", [0, 1, 7, 240])
def test_one_group_has_the_exact_poisson_limits(events: int) -> None:
    found = direct(np.array([float(events)]), np.array([50.0]), np.array([3.0]), level=0.9)
    low = chi2.ppf(0.05, 2 * events) / 2 / 50 if events else 0.0
    assert (found.low, found.high) == (
        pytest.approx(low, rel=1e-9, abs=1e-15),
        pytest.approx(chi2.ppf(0.95, 2 * events + 2) / 2 / 50, rel=1e-9),
    )


def test_rates_by_hand() -> None:
    found = direct(np.array([10.0, 40.0]), np.array([1000.0, 500.0]), np.array([3.0, 1.0]))
    assert found.value == pytest.approx(0.75 * 0.01 + 0.25 * 0.08, rel=1e-12)
    ratio = indirect(12.0, 8.0)
    assert ratio.value == 1.5
    assert np.log([ratio.low, ratio.high]) == pytest.approx(np.log(1.5) + np.array([-1, 1]) * 1.959964 / np.sqrt(12))
    assert np.isnan(indirect(0.0, 8.0).low)


def test_the_standard_of_a_group_itself_changes_nothing() -> None:
    events, exposure = np.array([4.0, 9.0, 30.0]), np.array([100.0, 150.0, 90.0])
    assert direct(events, exposure, exposure).value == pytest.approx(events.sum() / exposure.sum(), rel=1e-12)


def test_gamma_limits_cover_with_few_events() -> None:
    """Fay and Feuer's limits are conservative; with about six events in three unequal groups they must cover."""
    rng = np.random.default_rng(11)
    exposure, standard = np.array([200.0, 100.0, 50.0]), np.array([1.0, 2.0, 3.0])
    rates = np.array([0.005, 0.02, 0.06])
    truth = float(standard @ rates / standard.sum())
    draws, held = 600, 0
    for _ in range(draws):
        found = direct(rng.poisson(rates * exposure).astype(float), exposure, standard)
        held += found.low <= truth <= found.high
    assert held / draws >= binomial_band(0.95, draws, false_alarm=1e-6)[0]
