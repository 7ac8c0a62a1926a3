"""What estimators of rollouts say of thin cohorts and of anticipation that reaches nothing or is there."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

import gbveval as gbv
from gbveval.core.errors import DesignError

ESTIMATORS = [gbv.CallawaySantAnna(), gbv.Imputation(), gbv.TwoStage(), gbv.SunAbraham(), gbv.ExtendedTwfe()]


def rollout(seed: int = 1, units: int = 240, ahead: float = 0.0, gap: int = 1) -> pd.DataFrame:
    """Return three cohorts (periods 4 and 6, never) in six periods; effects begin `ahead` early if that is not zero."""
    rng = np.random.default_rng(seed)
    unit, time = np.repeat(np.arange(units), 6), np.tile(np.arange(1, 7), units)
    first = np.array([4.0, 6.0, np.nan])[np.arange(units) % 3][unit]
    effect = 1.0 * (time >= first) + ahead * (time == first - 1)
    y = rng.normal(size=units)[unit] + 0.1 * time + effect + rng.normal(size=unit.size)
    return pd.DataFrame({"y": y, "u": unit, "t": gap * time, "g": gap * first, "k": unit // 3 % 40})


def panel(data: pd.DataFrame, **more: Any) -> gbv.Panel:
    return gbv.Panel(data, outcome="y", unit="u", time="t", cohort="g", **more)


@pytest.mark.parametrize("estimator", ESTIMATORS, ids=lambda each: each.name)
def test_a_cohort_that_is_one_cluster_is_told(estimator: Any) -> None:
    data = rollout()
    data["k"] = np.where(data["g"] == 4.0, 99, data["k"])
    (found,) = [each for each in estimator.estimate(panel(data, cluster="k")).checks if each.name == "cohorts of one"]
    assert "1 cohort of 2 is one cluster" in found.message
    assert found.status == "warn"
    assert "1" not in found.public
    spread = estimator.estimate(panel(rollout(), cluster="k"))
    assert all(each.name != "cohorts of one" for each in spread.checks)


def test_a_regression_with_one_coefficient_has_no_rows_of_cohorts() -> None:
    data = rollout()
    data["k"] = np.where(data["g"] == 4.0, 99, data["k"])
    found = gbv.TwoWayFixedEffects().estimate(panel(data, cluster="k"))
    assert all(each.name != "cohorts of one" for each in found.checks)


def test_a_cohort_that_is_one_unit_is_told_and_missing_outcomes_are_looked_at() -> None:
    data = rollout()
    keep = (data["g"] != 6.0) | (data["u"] == data.loc[data["g"] == 6.0, "u"].min())
    assert (
        gbv.CallawaySantAnna().estimate(panel(data[keep])).check("cohorts of one").message.startswith("1 cohort of 2")
    )
    gone = data.assign(y=data["y"].where(keep))
    unseen = gbv.CallawaySantAnna(unbalanced="drop").estimate(panel(gone))
    assert "1 cohort of 2" in unseen.check("cohorts of one").message
    sections = gbv.Panel(rollout(), outcome="y", time="t", cohort="g", cluster="k")
    assert all(each.name != "cohorts of one" for each in gbv.CallawaySantAnna().estimate(sections).checks)


@pytest.mark.parametrize(
    "estimator",
    [
        gbv.CallawaySantAnna(anticipation=1.0),
        gbv.CallawaySantAnna(anticipation=1.0, base_period="universal"),
        gbv.CallawaySantAnna(anticipation=1.0, std_error="jackknife"),
        gbv.Imputation(anticipation=1.0),
        gbv.TwoStage(anticipation=1.0),
    ],
    ids=lambda each: f"{each.name}-{getattr(each, 'base_period', '')}-{getattr(each, 'std_error', '')}",
)
def test_anticipation_that_was_declared_is_no_trend_before_treatment(estimator: Any) -> None:
    # Half the effect comes a period early: a test that counted that period would reject without fail, with 160 treated
    # units and a standard error near 0.15. The seed is one of any: under the null p below 0.001 comes once in 1,000.
    tested = estimator.estimate(panel(rollout(seed=5, ahead=1.5), cluster="k")).aggregate("pretest").terms[0]
    assert tested.p_value is not None
    assert tested.p_value > 0.001
    naive = type(estimator)().estimate(panel(rollout(seed=5, ahead=1.5), cluster="k")).aggregate("pretest").terms[0]
    assert naive.p_value is not None
    assert naive.p_value < 1e-6


@pytest.mark.parametrize("estimator", [gbv.CallawaySantAnna, gbv.Imputation, gbv.TwoStage, gbv.ExtendedTwfe])
def test_anticipation_that_reaches_no_period_is_refused(estimator: Any) -> None:
    data = panel(rollout(gap=2))
    with pytest.raises(DesignError, match=r"reaches no period before treatment.*2 or more apart"):
        estimator(anticipation=1.0).estimate(data)
    assert any("2 units of time" in words for words in estimator(anticipation=2.0).estimate(data).method.assumptions)
    with pytest.raises(DesignError, match="reaches no period"):
        gbv.trend_scales(data, anticipation=1.0)


def test_no_coordinate_is_shown_by_what_holds_it() -> None:
    data = rollout()
    rng = np.random.default_rng(2)
    where = rng.uniform(10.0, 20.0, size=(40, 2))
    data["lat"], data["lon"] = where[data["k"]].T
    effects = gbv.CallawaySantAnna().estimate(panel(data, place=gbv.Places("lat", "lon", cutoff_km=50.0)))
    shown = repr(effects.aggregator) + repr(panel(data, place=gbv.Places("lat", "lon", cutoff_km=50.0)).neighbourhood)
    assert "array" not in shown
    assert f"{where[0, 0]:.3f}" not in shown


def test_bins_far_from_zero_have_names_of_their_own() -> None:
    data = rollout()
    data["y"] = np.round(data["y"]) + 1e6
    names = [row[1] for row in gbv.functional_form(panel(data), bins=6).rows][:-1]
    assert len(set(names)) * 2 == len(names) or len(set(names)) == len(names)
    assert all("e+" not in str(name) for name in names)
