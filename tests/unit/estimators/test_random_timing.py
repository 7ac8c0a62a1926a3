"""Rollouts by lot: efficient estimates beside other estimators, and the randomisation test beside every permutation."""

from __future__ import annotations

from itertools import permutations
from typing import Any

import numpy as np
import pandas as pd
import pytest

import gbveval as gbv
from gbveval.core.errors import DesignError, IdentificationError
from gbveval.testing.processes import PanelFrames


def frame(seed: int = 0, **options: Any) -> pd.DataFrame:
    return pd.DataFrame(PanelFrames(**options).frame(np.random.default_rng(seed))[0])


def panel(data: pd.DataFrame, **roles: Any) -> gbv.Panel:
    return gbv.Panel(data, outcome="y", unit="unit", time="time", cohort="cohort", **roles)


def test_weight_one_is_callaway_and_santanna() -> None:
    data = panel(frame(1, n_units=31, n_periods=6, cohorts=(3.0, 5.0, np.inf)))
    ours = gbv.StaggeredEfficient(estimator="cs").estimate(data)
    theirs = gbv.CallawaySantAnna(base_period="universal").estimate(data)
    compared = 0
    for row in ours.terms:
        if dict(row.extra)["treated_by_then"] == "yes":
            assert row.value == pytest.approx(theirs[row.term].value)
            compared += 1
    assert compared == 6
    for by in ("simple", "calendar"):
        mine, other = ours.aggregate(by), theirs.aggregate(by)
        assert mine["overall"].value == pytest.approx(other["overall"].value)


def test_weight_one_and_the_last_cohort_is_sun_and_abraham() -> None:
    data = panel(frame(2, n_units=30, n_periods=6, cohorts=(3.0, 5.0, np.inf)))
    ours = gbv.StaggeredEfficient(estimator="sa").estimate(data)
    theirs = gbv.SunAbraham().estimate(data)
    shared = {row.term for row in theirs.terms} & {row.term for row in ours.terms}
    assert len(shared) >= 10
    for term in shared:
        assert ours[term].value == pytest.approx(theirs[term].value, abs=1e-12)


def test_without_never_treated_the_last_cohort_ends_the_comparison() -> None:
    data = panel(frame(3, n_units=30, n_periods=6, cohorts=(3.0, 5.0)))
    result = gbv.StaggeredEfficient().estimate(data)
    assert {dict(row.extra)["time"] for row in result.terms} == {1.0, 2.0, 3.0, 4.0}
    assert {dict(row.extra)["cohort"] for row in result.terms} == {3.0}


def test_rows_and_averages_hang_together() -> None:
    data = panel(frame(4, n_units=60))
    result = gbv.StaggeredEfficient().estimate(data)
    assert result["cohort 3, period 2"].reason.startswith("it is the difference that is adjusted for")
    events = result.aggregate("event_time")
    assert events.influence is not None
    np.testing.assert_allclose(
        np.nan_to_num(events.influence.T @ events.influence), np.nan_to_num(events.covariance), atol=1e-12
    )
    adjusted = gbv.StaggeredEfficient(std_error="adjusted").estimate(data)
    assert adjusted.influence is None
    for mine, wide in zip(adjusted.aggregate("cohort").terms, result.aggregate("cohort").terms, strict=True):
        assert mine.value == wide.value
        assert mine.std_error is not None
        assert wide.std_error is not None
        assert mine.std_error <= wide.std_error
    both = gbv.StaggeredEfficient(comparisons="all").estimate(panel(frame(4, n_units=90))).aggregate("simple")
    assert both["overall"].std_error is not None
    test = result.aggregate("pretest")[0]
    assert test.p_value is not None
    assert 0 < test.p_value < 1


def test_irregular_periods_take_the_last_one_before() -> None:
    data = frame(5, n_units=30, cohorts=(3.0, np.inf))
    when = data["time"].map({1: 1, 2: 4, 3: 10, 4: 11, 5: 20})
    spread = data.assign(time=when, cohort=data["cohort"].replace(3.0, 9.0))
    plain, wide = (gbv.StaggeredEfficient().estimate(panel(each)).aggregate("simple")[0] for each in (data, spread))
    assert plain.value == wide.value
    assert plain.std_error == wide.std_error


def by_permutation(data: pd.DataFrame, estimator: gbv.StaggeredEfficient, tau: float) -> float:
    """Return the share of assignments with a statistic as large, each estimated anew from a panel of its own."""
    units = sorted(data["unit"].unique())
    dates = data.groupby("unit")["cohort"].first().reindex(units).to_numpy()
    bare = data["y"] - tau * (data["time"] >= data["cohort"])

    def statistic(assigned: tuple[float, ...]) -> float:
        again = data.assign(y=bare, cohort=data["unit"].map(dict(zip(units, assigned, strict=True))))
        row = estimator.estimate(panel(again)).aggregate("simple")[0]
        assert row.value is not None
        assert row.std_error is not None
        return abs(row.value / row.std_error)

    own = statistic(tuple(dates))
    every = [statistic(assigned) for assigned in sorted(set(permutations(dates)))]
    return float(np.mean(np.array(every) >= own * (1 - 1e-9)))


@pytest.mark.parametrize("kind", ["efficient", "cs", "sa"])
def test_the_test_is_every_permutation(kind: str) -> None:
    data = frame(6, n_units=6, n_periods=4, effect=2.0)
    row = gbv.RandomisedTiming(estimator=kind).estimate(panel(data))[0]
    estimator = gbv.StaggeredEfficient(estimator=kind)
    assert dict(row.extra) == {"n_draws": 90.0, "draws": "listed"}
    assert row.value == pytest.approx(estimator.estimate(panel(data)).aggregate("simple")[0].value)
    assert row.std_error == pytest.approx(estimator.estimate(panel(data)).aggregate("simple")[0].std_error)
    assert row.p_value == pytest.approx(by_permutation(data, estimator, 0.0))


@pytest.mark.parametrize("kind", ["efficient", "cs"])
def test_the_interval_holds_what_is_not_rejected(kind: str) -> None:
    data = frame(7, n_units=6, n_periods=4, effect=2.0)
    row = gbv.RandomisedTiming(estimator=kind, level=0.8).estimate(panel(data))[0]
    assert row.interval is not None
    assert row.value is not None
    estimator = gbv.StaggeredEfficient(estimator=kind)
    for limit in row.interval:
        step = 1e-4 * (limit - row.value)
        assert by_permutation(data, estimator, limit - step) > 0.2
        assert by_permutation(data, estimator, limit + step) <= 0.2


def test_one_treated_unit_is_ranked() -> None:
    data = frame(8, n_units=25, cohorts=(4.0, *[np.inf] * 24), effect=30.0)
    with pytest.raises(IdentificationError, match="estimator='cs', statistic='difference'"):
        gbv.RandomisedTiming().estimate(panel(data))
    result = gbv.RandomisedTiming(estimator="cs", statistic="difference").estimate(panel(data))
    assert result[0].p_value == pytest.approx(1 / 25)
    assert result[0].std_error is None
    assert result[0].interval is not None
    assert result[0].interval[0] < 30.0 < result[0].interval[1]
    assert "0.04" in result.check("smallest p-value").message
    few = frame(8, n_units=10, cohorts=(4.0, *[np.inf] * 9), effect=30.0)
    hopeless = gbv.RandomisedTiming(estimator="cs", statistic="difference").estimate(panel(few))
    assert hopeless.check("smallest p-value").status == "warn"
    assert hopeless[0].interval == (-np.inf, np.inf)


def test_clusters_are_one_path_each() -> None:
    data = frame(9, n_units=24, cohorts=(3.0, np.inf), cluster_size=3)
    means = data.groupby(["cluster", "time"], as_index=False)[["y", "cohort"]].mean()
    by_cluster = gbv.RandomisedTiming().estimate(panel(data, cluster="cluster"))[0]
    alone = gbv.RandomisedTiming().estimate(panel(means.assign(unit=means["cluster"])))[0]
    assert (by_cluster.n_units, by_cluster.n_clusters) == (24, 8)
    for name in ("value", "std_error", "statistic", "p_value"):
        assert getattr(by_cluster, name) == pytest.approx(getattr(alone, name))


def test_units_are_drawn_within_clusters() -> None:
    data = frame(10, n_units=8, cohorts=(3.0, np.inf)).assign(
        cluster=lambda d: d["unit"].map(lambda u: int(u[1:]) // 4)
    )
    drawn = panel(data, cluster="cluster")
    with pytest.raises(DesignError, match="varies within 2 clusters"):
        gbv.RandomisedTiming().estimate(drawn)
    row = gbv.RandomisedTiming(assignment="within_clusters").estimate(drawn)[0]
    # Two of four in each of two clusters.
    assert dict(row.extra)["n_draws"] == 36
    with pytest.raises(DesignError, match="needs the panel's role cluster"):
        gbv.RandomisedTiming(assignment="clusters").estimate(panel(data))


def test_one_sided_intervals_have_one_end() -> None:
    data = panel(frame(11, n_units=18))
    greater = gbv.RandomisedTiming(alternative="greater", n_draws=499).estimate(data)[0]
    less = gbv.RandomisedTiming(alternative="less", n_draws=499).estimate(data)[0]
    assert greater.interval is not None
    assert less.interval is not None
    assert greater.interval[1] == np.inf
    assert less.interval[0] == -np.inf
    assert greater.p_value is not None
    assert less.p_value is not None
    # The same draws: the tails overlap in the observed statistic only.
    assert greater.p_value + less.p_value == pytest.approx(1.0, abs=0.05)


def test_options_are_checked() -> None:
    with pytest.raises(DesignError, match="estimator must be one of efficient, cs, sa"):
        gbv.StaggeredEfficient(estimator="other")
    with pytest.raises(DesignError, match="for estimator='efficient'"):
        gbv.StaggeredEfficient(estimator="cs", comparisons="all")
    with pytest.raises(DesignError, match="at least 19"):
        gbv.RandomisedTiming(n_draws=3)
    with pytest.raises(DesignError, match="differences before treatment to adjust for"):
        gbv.StaggeredEfficient(comparisons="all").estimate(panel(frame(0, n_units=6, n_periods=7)))
