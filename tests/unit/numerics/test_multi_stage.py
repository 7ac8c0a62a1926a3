"""Several arms at several stages: what they reduce to, and draws."""

from __future__ import annotations

import math

import numpy as np
import pytest

from gbveval.numerics.dunnett import dunnett_critical
from gbveval.numerics.group_sequential import crossing
from gbveval.numerics.multi_stage import Stages, any_rejection, best_found, common_factor
from gbveval.numerics.sequential_bounds import Futility, Rule, sequential_bounds

NONE = -math.inf


@pytest.mark.parametrize("arms", [2, 3, 6])
def test_one_stage_is_dunnett(arms: int) -> None:
    found = common_factor((1.0,), (1.0,), (NONE,), arms, 0.05, 0.5)
    assert found == pytest.approx(dunnett_critical(arms, math.inf, 0.05, 0.5, "greater"), abs=1e-8)


@pytest.mark.parametrize("stages", [2, 3])
def test_one_arm_is_the_sequential_test(stages: int) -> None:
    information = tuple((k + 1) / stages for k in range(stages))
    shape, lower = tuple(t**-0.5 for t in information), (0.2,) * (stages - 1)
    single = sequential_bounds(
        information, 0.025, Rule("factor", shape), two_sided=False, futility=Futility("fixed", lower, True)
    )
    factor = common_factor(information, shape, (*lower, NONE), 1, 0.025, 0.5)
    # Nodes are few with three stages, where the error is below 1e-7 of a probability.
    assert factor == pytest.approx(single.upper[-1], abs=1e-5)
    drift = 2.8
    away = drift * np.sqrt(information)
    expected = crossing(list(single.lower - away), list(single.upper - away), information).above
    found = best_found(Stages(information, single.upper, (*lower, NONE), 0.5), 1, drift, 0.0)
    np.testing.assert_allclose(found, expected, atol=1e-6)


@pytest.mark.parametrize("stages", [2, 3])
def test_draws_of_arms_that_share_control(stages: int) -> None:
    draws, arms = 400_000, 3
    rng = np.random.default_rng(20)
    information = np.arange(1, stages + 1) / stages
    upper, lower = 2.2 / np.sqrt(information), np.full(stages, 0.1)
    steps = rng.normal(size=(draws, arms + 1, stages)) * np.sqrt(1.0 / stages)
    chain = steps.cumsum(axis=2) / np.sqrt(information)
    noise = (chain[:, 1:] - chain[:, :1]) / math.sqrt(2.0)
    plan = Stages(tuple(information), tuple(upper), (*lower[:-1], NONE), 0.5)

    def found(drifts: np.ndarray) -> tuple[float, float]:
        z = noise + drifts[None, :, None] * np.sqrt(information)
        going, alive = np.ones(draws, bool), np.ones((draws, arms), bool)
        best, anything = np.zeros(draws, bool), np.zeros(draws, bool)
        for stage in range(stages):
            here = np.where(alive, z[:, :, stage], -np.inf)
            crossed = here > upper[stage]
            now = going & crossed.any(axis=1)
            best |= now & (here.argmax(axis=1) == 0)
            anything |= now
            going &= ~now
            alive &= here > lower[stage]
        return float(best.mean()), float(anything.mean())

    # Four draws, each within 4.1 standard errors: 1e-4 overall.
    for drifts in (np.zeros(arms), np.array([3.0, 0.4, 0.4])):
        best, anything = found(drifts)
        expected = sum(best_found(plan, arms, float(drifts[0]), float(drifts[1])))
        assert best == pytest.approx(expected, abs=4.1 * math.sqrt(expected * (1.0 - expected) / draws))
        if not drifts.any():
            size = any_rejection(plan, arms)
            assert anything == pytest.approx(size, abs=4.1 * math.sqrt(size * (1.0 - size) / draws))
            # Arms alike are found alike.
            assert 3.0 * expected == pytest.approx(size, abs=1e-6)
