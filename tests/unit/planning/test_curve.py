"""Simulated curves: common random numbers, one-sided tests, errors of sign and size."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import norm

import gbveval as gbv
from gbveval.core.errors import DesignError

ICC = gbv.ICC(0.05, scale="observed")
PLAN = gbv.ClusterDesign(clusters_per_arm=6, cluster_size=12, icc=ICC, outcome=gbv.Continuous())
EFFECTS = [round(float(effect), 3) for effect in np.linspace(-1.0, 1.0, 20)]


@pytest.mark.parametrize("path", ["data", "batch"])
@pytest.mark.parametrize("estimator", [gbv.DifferenceInMeans(), gbv.LinAdjusted(), gbv.Ancova(std_error="CR1")])
def test_a_one_sided_curve_of_a_normal_outcome_never_falls(path: str, estimator: object) -> None:
    for alternative, sign in (("greater", 1), ("less", -1)):
        curve = gbv.simulate_curve(
            PLAN, estimator, EFFECTS, seed=7, n_draws=60, alternative=alternative, path=path, progress=False
        )
        power = np.array(curve.column("power"))
        assert np.all(sign * np.diff(power) >= 0.0)
        assert power.min() < 0.1 < 0.9 < power.max()


def test_a_curve_is_the_simulations_of_its_effects() -> None:
    estimators = [gbv.DifferenceInMeans(), gbv.LinAdjusted()]
    curve = gbv.simulate_curve(PLAN, estimators, [0.0, 0.4], seed=2, n_draws=300)
    for place, effect in enumerate((0.0, 0.4)):
        alone = gbv.simulate_power(PLAN, estimators, effect=effect, seed=2, n_draws=300).to_table()
        assert tuple(row[1:] for row in curve.rows[2 * place : 2 * place + 2]) == alone.rows
    assert curve.column("effect") == (0.0, 0.0, 0.4, 0.4)


def test_a_curve_may_grow_from_a_checkpoint(tmp_path: object) -> None:
    file = f"{tmp_path}/curve.jsonl"
    gbv.simulate_curve(PLAN, gbv.DifferenceInMeans(), [0.4], seed=2, n_draws=300, checkpoint=file)
    told: list[tuple[int, int]] = []
    grown = gbv.simulate_curve(
        PLAN,
        gbv.DifferenceInMeans(),
        [0.2, 0.4],
        seed=2,
        n_draws=300,
        checkpoint=file,
        progress=lambda *seen: told.append(seen),
    )
    assert told == [(556, 600), (600, 600)]
    assert grown.rows == gbv.simulate_curve(PLAN, gbv.DifferenceInMeans(), [0.2, 0.4], seed=2, n_draws=300).rows


def test_one_sided_power_agrees_with_the_formula() -> None:
    found = gbv.simulate_power(PLAN, gbv.DifferenceInMeans(), effect=0.4, seed=5, n_draws=20_000, alternative="greater")
    expected = gbv.power(PLAN, effect=0.4, alternative="greater")
    # Exact with equal sizes; five binomial standard errors.
    assert abs(found[0].power.value - expected) < 5.0 * found[0].power.mcse
    assert found.alternative == "greater"


def test_a_one_sided_test_by_resampling_looks_on_its_side_only() -> None:
    plan = gbv.ParallelDesign(n_per_arm=4, outcome=gbv.Continuous())
    exact = gbv.RandomisationInference(statistic="difference")
    run = {
        side: gbv.simulate_power(plan, exact, effect=2.0, n_draws=100, seed=1, alternative=side)[0].power.value
        for side in ("two_sided", "greater", "less")
    }
    assert run["less"] < 0.05 < run["two_sided"] <= run["greater"]


def test_errors_of_sign_and_size_are_those_of_a_truncated_normal() -> None:
    plan = gbv.ClusterDesign(clusters_per_arm=200, cluster_size=2, icc=ICC, outcome=gbv.Continuous())
    test = plan.planned_test(0.1)
    row = gbv.simulate_power(plan, gbv.DifferenceInMeans(), effect=0.1, seed=6, n_draws=40_000)[0]
    z, theta = norm.isf(0.025), 0.1 / test.std_error
    above, below = norm.sf(z - theta), norm.cdf(-z - theta)
    absolute = theta * (above - below) + norm.pdf(z - theta) + norm.pdf(-z - theta)
    # 398 degrees of freedom are nearly normal: the difference is below a tenth of the Monte Carlo error.
    assert abs(row.type_s.value - below / (above + below)) < 5.0 * row.type_s.mcse
    assert abs(row.type_m.value - absolute / (above + below) / theta) < 5.0 * row.type_m.mcse
    nothing = gbv.simulate_power(plan, gbv.DifferenceInMeans(), effect=0.0, seed=6, n_draws=100)[0]
    assert np.isnan(nothing.type_s.value)
    assert np.isnan(nothing.type_m.value)


def test_requests_for_a_curve_that_make_no_sense_are_refused() -> None:
    for effects, plan, words in (
        ("0.1", PLAN, "list of numbers"),
        ([], PLAN, "at least one effect"),
        ([0.1], PLAN.process(0.1), "needs a design with process"),
        ([np.nan], PLAN, "An effect must be a number"),
    ):
        with pytest.raises(DesignError, match=words):
            gbv.simulate_curve(plan, gbv.DifferenceInMeans(), effects, seed=1)
    with pytest.raises(DesignError, match="alternative must be one of"):
        gbv.simulate_power(PLAN, gbv.DifferenceInMeans(), effect=0.1, seed=1, alternative="both")
    with pytest.raises(DesignError, match=r"below 0\.5"):
        gbv.simulate_power(PLAN, gbv.DifferenceInMeans(), effect=0.1, seed=1, alternative="less", alpha=0.6)
