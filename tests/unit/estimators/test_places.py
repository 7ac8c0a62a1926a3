"""Errors that allow for neighbours: for every estimator sums over all pairs of places, or a refusal; and coverage."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from tests.unit.estimators.test_ugly_panels import NAMES

import gbveval as gbv
from gbveval.core.errors import DesignError
from gbveval.core.registry import discover
from gbveval.core.replicate import share_of
from gbveval.numerics.spatial import EARTH_KM
from gbveval.testing.place_processes import PlacedFrames

REFUSES = {
    "conley_taber",
    "randomised_timing",
    "staggered_efficient",
    "synthetic_control",
    "synthetic_did",
    "wild_two_way",
}
USES = sorted(set(NAMES) - REFUSES)
CUTOFF = 150.0
NEAR = gbv.Places("lat", "lon", cutoff_km=CUTOFF)
AVERAGES = ("simple", "event_time", "cohort", "calendar")
# Estimators that ask for one cohort, for two periods, or for a third group.
SHAPES: dict[str, tuple[int, tuple[float, ...]]] = {"two_by_two": (4, (3.0,)), "doubly_robust": (2, (2.0,))}


def made(name: str, seed: int = 1, units: int = 120) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Return a rollout of units at forty places, with a covariate that changes, and gaps at all units of one place."""
    rng = np.random.default_rng(seed)
    periods, cohorts = SHAPES.get(name, (5, (3.0, 4.0)))
    place = np.arange(units) % 40
    where = rng.uniform(-2.0, 2.0, size=(40, 2))
    cohort = np.array([*cohorts, np.nan])[rng.permutation(np.arange(units) % (len(cohorts) + 1))]
    unit, time = np.repeat(np.arange(units), periods), np.tile(np.arange(1, periods + 1), units)
    shock = rng.normal(size=(40, periods))[place][:, :periods].ravel()
    data = pd.DataFrame(
        {
            "y": rng.normal(size=units)[unit] + 0.5 * (time >= cohort[unit]) + shock + rng.normal(size=unit.size),
            "u": unit,
            "t": time,
            "g": cohort[unit],
            "x": rng.normal(size=unit.size),
            "e": (unit // 3 % 2).astype(float),
            "lat": where[place[unit], 0],
            "lon": where[place[unit], 1],
        }
    )
    # Places in the order of latitude and longitude, as the panel has them.
    _, data["k"] = np.unique(where, axis=0, return_inverse=True)[0], np.lexsort(where.T[::-1]).argsort()[place[unit]]
    roles = {"outcome": "y", "unit": "u", "time": "t", "cohort": "g"}
    # Doses that follow from the unit: small whole numbers that vary within every cohort.
    data["d"] = np.where(np.isnan(data["g"]), 0.0, 1.0 + unit % 7)
    more = {"triple_difference": {"eligible": "e"}, "dose_response": {"dose": "d"}}
    return data, roles | more.get(name, {})


def brute(influence: np.ndarray, where: np.ndarray, cutoff: float) -> np.ndarray:
    """Return the sum over all pairs with Bartlett's kernel, distances from the cosine of the angle between places."""
    north, east = np.radians(where).T
    cosine = np.sin(north)[:, None] * np.sin(north) + np.cos(north)[:, None] * np.cos(north) * np.cos(
        east[:, None] - east
    )
    distance = EARTH_KM * np.arccos(np.clip(cosine, -1.0, 1.0))
    np.fill_diagonal(distance, 0.0)
    return np.asarray(influence.T @ np.maximum(1.0 - distance / cutoff, 0.0) @ influence)


def same_errors(found: gbv.Estimates, clustered: gbv.Estimates, where: np.ndarray) -> None:
    assert clustered.influence is not None
    wanted = brute(clustered.influence, where, CUTOFF)
    assert [row.term for row in found.terms] == [row.term for row in clustered.terms]
    np.testing.assert_array_equal(found.values, clustered.values)
    compared = 0
    for i, row in enumerate(found.terms):
        if row.std_error is None:
            assert row.reason
            continue
        # Two formulas for the distance, each good to about 1e-6 of it at these distances.
        assert row.std_error == pytest.approx(np.sqrt(wanted[i, i]), rel=1e-6)
        assert row.df == clustered.terms[i].df
        compared += 1
    assert compared
    kept = np.flatnonzero([row.std_error is not None for row in found.terms])
    block = np.ix_(kept, kept)
    scale = float(np.abs(wanted[block]).max())
    np.testing.assert_allclose(found.covariance[block], wanted[block], atol=1e-6 * scale)


@pytest.mark.parametrize("name", USES)
def test_errors_are_sums_over_all_pairs_in_rows_and_averages(name: str) -> None:
    data, roles = made(name)
    where = data.groupby("k")[["lat", "lon"]].first().to_numpy()
    estimator = discover()[name](**({"before": 1, "after": 1} if name == "stacked_did" else {}))
    clustered = estimator.estimate(gbv.Panel(data, **roles, cluster="k"))
    found = estimator.estimate(gbv.Panel(data, **roles, place=NEAR))
    same_errors(found, clustered, where)
    assert "Conley 1999" in found.method.std_error
    assert found.influence is None
    assert any(check.name == "independent places" for check in found.checks)
    for by in AVERAGES if clustered.aggregator is not None else ():
        try:
            wanted = clustered.aggregate(by)
        except DesignError:
            continue
        same_errors(found.aggregate(by), wanted, where)


@pytest.mark.parametrize("name", sorted(REFUSES))
def test_who_cannot_use_places_says_so(name: str) -> None:
    data, roles = made(name)
    cls = discover()[name]
    with pytest.raises(DesignError, match="place") as caught:
        cls().estimate(gbv.Panel(data, **roles, place=NEAR))
    assert cls.__name__ in str(caught.value)


def test_every_estimator_of_rollouts_is_one_or_the_other() -> None:
    assert set(USES) | REFUSES == set(NAMES)
    assert not set(USES) & REFUSES


@pytest.mark.parametrize("std_error", ["CR2", "CR3", "HC1", "classical"])
def test_errors_without_sums_over_clusters_are_refused(std_error: str) -> None:
    data, roles = made("two_way_fixed_effects")
    with pytest.raises(DesignError, match=r"TwoWayFixedEffects with std_error=.*CR1S"):
        gbv.TwoWayFixedEffects(std_error=std_error).estimate(gbv.Panel(data, **roles, place=NEAR))


def test_lotteries_among_places_are_refused() -> None:
    data, roles = made("imputation")
    with pytest.raises(DesignError, match="placebo_in_group"):
        gbv.placebo_in_group(gbv.Imputation(), gbv.Panel(data, **roles, place=NEAR), n_draws=3)


@pytest.mark.parametrize("name", ["callaway_santanna", "chaisemartin_dhaultfoeuille", "sun_abraham", "stacked_did"])
@pytest.mark.parametrize("lost", [0, 20, 39])
def test_places_that_drop_out_leave_the_others_where_they_are(name: str, lost: int) -> None:
    data, roles = made(name)
    data.loc[(data["k"] == lost) & (data["t"] == 2), "y"] = np.nan
    if name == "sun_abraham":
        data = data[data["t"] != 1]
        data.loc[data["k"] == lost, "y"] = np.nan
    options = {} if name == "sun_abraham" else {"unbalanced": "drop"}
    options |= {"before": 0, "after": 1} if name == "stacked_did" else {}
    estimator = discover()[name](**options)
    seen = data[data["k"] != lost]
    whole = estimator.estimate(gbv.Panel(data, **roles, place=NEAR))
    alone = estimator.estimate(gbv.Panel(seen, **roles, place=NEAR))
    np.testing.assert_allclose(whole.std_errors, alone.std_errors, rtol=1e-10)
    if name != "chaisemartin_dhaultfoeuille":
        pair = (whole.aggregate("event_time"), alone.aggregate("event_time"))
        np.testing.assert_allclose(pair[0].std_errors, pair[1].std_errors, rtol=1e-10)


@pytest.mark.parametrize("name", ["two_way_fixed_effects", "callaway_santanna", "imputation"])
def test_beyond_every_distance_it_is_clustering_by_place(name: str) -> None:
    data, roles = made(name)
    estimator = discover()[name]()
    clustered = estimator.estimate(gbv.Panel(data, **roles, cluster="k"))
    found = estimator.estimate(gbv.Panel(data, **roles, place=gbv.Places("lat", "lon", cutoff_km=0.01)))
    np.testing.assert_allclose(found.std_errors, clustered.std_errors, rtol=1e-10)
    np.testing.assert_allclose(found.covariance, clustered.covariance, rtol=1e-9, atol=1e-15)


@pytest.mark.parametrize("name", ["callaway_santanna", "imputation", "two_stage", "sun_abraham", "event_study"])
def test_tests_before_treatment_use_the_same_covariance(name: str) -> None:
    data, roles = made(name)
    estimator = discover()[name]()
    clustered = gbv.Panel(data, **roles, cluster="k")
    near = gbv.Panel(data, **roles, place=gbv.Places("lat", "lon", cutoff_km=0.01))
    wide = gbv.Panel(data, **roles, place=NEAR)
    tests = [estimator.estimate(panel).aggregate("pretest").terms[0] for panel in (clustered, near, wide)]
    assert tests[1].p_value == pytest.approx(tests[0].p_value, rel=1e-8)
    assert tests[2].p_value != pytest.approx(tests[0].p_value, rel=1e-3)


def test_the_pre_trend_check_is_the_test() -> None:
    data, roles = made("callaway_santanna")
    result = gbv.CallawaySantAnna().estimate(gbv.Panel(data, **roles, place=NEAR))
    (check,) = (each for each in result.checks if each.name == "pre-trends")
    assert f"p = {result.aggregate('pretest').terms[0].p_value:.3f}" in check.message


def test_repeated_cross_sections_have_places_too() -> None:
    data, roles = made("callaway_santanna")
    where = data.groupby("k")[["lat", "lon"]].first().to_numpy()
    del roles["unit"]
    for estimator in (gbv.CallawaySantAnna(), gbv.TwoByTwo()):
        used = data if isinstance(estimator, gbv.CallawaySantAnna) else data[data["g"] != 4.0]
        pair = (gbv.Panel(used, **roles, place=NEAR), gbv.Panel(used, **roles, cluster="k"))
        same_errors(estimator.estimate(pair[0]), estimator.estimate(pair[1]), where)


def test_a_variance_that_cancels_has_a_reason() -> None:
    data, roles = made("two_way_fixed_effects")
    everywhere = gbv.Places("lat", "lon", cutoff_km=5000.0, kernel="uniform")
    result = gbv.TwoWayFixedEffects().estimate(gbv.Panel(data, **roles, place=everywhere))
    (row,) = result.terms
    assert row.std_error is None
    assert "cutoff is too wide" in row.reason
    assert any(check.name == "spatial variance" for check in result.checks)
    assert np.isnan(result.covariance).all()


def test_one_treated_place_is_refused_whatever_its_units() -> None:
    data, roles = made("two_way_fixed_effects")
    data["g"] = np.where(data["k"] == 4, 3.0, np.nan)
    with pytest.raises(gbv.GbvevalError, match="1 unit or cluster treated"):
        gbv.TwoWayFixedEffects().estimate(gbv.Panel(data, **roles, place=NEAR))


def test_names_order_and_units_of_measurement_do_not_matter() -> None:
    data, roles = made("two_way_fixed_effects")
    first = gbv.TwoWayFixedEffects().estimate(gbv.Panel(data, **roles, place=NEAR))
    other = data.sample(frac=1.0, random_state=3).assign(
        u=lambda d: "id" + d["u"].astype(str), y=lambda d: d["y"] * 1e3
    )
    again = gbv.TwoWayFixedEffects().estimate(gbv.Panel(other, **roles, place=NEAR))
    np.testing.assert_allclose(again.std_errors, 1e3 * first.std_errors, rtol=1e-9)


def test_few_regions_are_told_and_many_are_not_a_warning() -> None:
    rng = np.random.default_rng(1)
    process = PlacedFrames(n_units=200, side_km=2000.0, cutoff_km=20.0)
    many = gbv.TwoWayFixedEffects().estimate(process.check(process.frame(rng)[0]))
    few = gbv.TwoWayFixedEffects().estimate(replace(process, cutoff_km=900.0).check(process.frame(rng)[0]))
    status = [next(c.status for c in each.checks if c.name == "independent places") for each in (many, few)]
    assert status == ["info", "warn"]


def covers(process: PlacedFrames, n_draws: int, cutoffs: tuple[float, ...]) -> list[np.ndarray]:
    """Return whether intervals cover, by cutoff, on the same draws; a cutoff of zero is clustering by unit."""
    found: list[list[bool]] = [[] for _ in cutoffs]
    for seed in range(n_draws):
        frame, truth = process.frame(np.random.default_rng([11, seed]))
        for hits, cutoff in zip(found, cutoffs, strict=True):
            record = gbv.TwoWayFixedEffects().estimate(replace(process, cutoff_km=cutoff).check(frame)).records(0.95)[0]
            hits.append(record["conf_low"] <= truth <= record["conf_high"])
    return [np.array(hits, dtype=float) for hits in found]


def test_neighbours_with_common_shocks_are_covered_where_clustering_by_unit_fails() -> None:
    # Districts treated together, shocks that reach a tenth of the map: by unit, neighbours are taken as independent.
    process = PlacedFrames(n_units=400, n_periods=2, side_km=1000.0, district_km=100.0, range_km=100.0, shared=0.9)
    unit, near = covers(process, 150, (0.0, 200.0))
    # A false alarm in 10,000, below 0.93: some forty independent regions cover a little less than 0.95.
    assert near.mean() > 0.93 - 3.9 * np.sqrt(0.93 * 0.07 / near.size)
    # On the same draws, so that the difference has a band of its own.
    gain = near - unit
    assert gain.mean() > 3.9 * gain.std(ddof=1) / np.sqrt(gain.size)


def test_few_independent_regions_are_covered_too_seldom() -> None:
    process = PlacedFrames(n_units=120, n_periods=2, side_km=1000.0, district_km=500.0, range_km=400.0, shared=0.8)
    unit, near = (share_of(hits) for hits in covers(process, 120, (0.0, 600.0)))
    assert near.value + 3.9 * near.mcse < 0.95
    assert near.value > unit.value


@pytest.mark.parametrize("place", [None, NEAR])
def test_covariates_beside_cells_are_no_effects_before_treatment(place: gbv.Places | None) -> None:
    data, roles = made("sun_abraham")
    result = gbv.SunAbraham().estimate(gbv.Panel(data, **roles, covariates=["x"], place=place))
    before = [row.term for row in result.terms if dict(row.extra).get("treated_by_then") == "no"]
    assert len(before) < len(result.terms) - 1
    assert result.terms[-1].std_error
    assert result.aggregate("pretest").terms[0].df == len(before)
