"""Clusters in two ways and left out one by one: sums by hand, estimates again without each, and coverage."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import gbveval as gbv
from gbveval.core.errors import DesignError
from gbveval.core.replicate import binomial_band
from gbveval.numerics.group_time_jackknife import jackknife_influence
from gbveval.numerics.two_ways import clustered, mended, two_way_covariance

ROLES = {"outcome": "y", "unit": "u", "time": "t", "cohort": "g"}
AVERAGES = ("simple", "event_time", "cohort", "calendar")


def frame(seed: int = 1, clusters: int = 9, size: int = 8, periods: int = 6, cohorts: Any = None) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    of = np.array([3.0, 5.0, np.inf]) if cohorts is None else np.array(cohorts)
    n = clusters * size
    c = np.arange(n) // size
    g, t = of[np.arange(clusters) % of.size][c], np.arange(1.0, periods + 1.0)
    x = rng.normal(size=n)
    y = rng.normal(size=(n, 1)) + 0.3 * t + rng.normal(size=(clusters, periods))[c] + rng.normal(size=(n, periods))
    y = y + (t >= g[:, None]) + 0.1 * x[:, None] * t
    unit = np.repeat(np.arange(n), periods)
    return pd.DataFrame(
        {
            "y": y.ravel(),
            "u": unit,
            "t": np.tile(t, n),
            "g": g[unit],
            "c": c[unit],
            "provider": (np.arange(n) % 7)[unit],
            "x": x[unit],
            "w": rng.uniform(0.5, 2.0, n)[unit],
            "e": (np.arange(n) // 3 % 2)[unit],
        }
    )


def panel(data: pd.DataFrame, **roles: Any) -> gbv.Panel:
    return gbv.Panel(data, **{**ROLES, **roles})


def two_periods(data: pd.DataFrame) -> pd.DataFrame:
    return data[data["t"].isin([2, 3]) & (data["g"] != 5.0)]


# Two ways.

TWO_WAY = [
    (gbv.CallawaySantAnna(), {}, None),
    (gbv.CallawaySantAnna(), {"covariates": ["x"]}, None),
    (gbv.StackedDid(before=0, after=1), {}, None),
    (gbv.TripleDifference(), {"eligible": "e"}, None),
    (gbv.DoublyRobust(), {"covariates": ["x"]}, two_periods),
]


@pytest.mark.parametrize(("estimator", "roles", "some"), TWO_WAY, ids=lambda part: getattr(part, "name", ""))
def test_two_ways_are_one_and_the_other_less_both(estimator: Any, roles: dict[str, Any], some: Any) -> None:
    data = frame() if some is None else some(frame())
    data["both"] = data["c"] * 100 + data["provider"]
    ways: list[Any] = ["c", "provider", "both", ["c", "provider"]]
    results = [estimator.estimate(panel(data, cluster=way, **roles)) for way in ways]
    whole = [results]
    if results[0].aggregator is not None:
        whole += [[result.aggregate(by) for result in results] for by in ("simple", "event_time")]
    for first, second, both, two in whole:
        known = np.isfinite(np.diag(two.covariance))
        total = (first.covariance + second.covariance - both.covariance)[np.ix_(known, known)]
        wanted = mended(total)[0]
        found = two.covariance[np.ix_(known, known)]
        if two is results[3] or not any(check.name == "two-way variance" for check in two.checks):
            np.testing.assert_allclose(found, wanted, rtol=1e-8, atol=1e-12)
        np.testing.assert_allclose(two.values, first.values, rtol=1e-12)
        assert two.influence is None
        assert np.linalg.eigvalsh(found).min() > -1e-9
    assert results[3].terms[0].n_clusters == min(data["c"].nunique(), data["provider"].nunique())
    assert "c and provider" in results[3].method.std_error


@pytest.mark.parametrize(("estimator", "roles", "some"), TWO_WAY, ids=lambda part: getattr(part, "name", ""))
def test_periods_are_no_second_way(estimator: Any, roles: dict[str, Any], some: Any) -> None:
    data = frame() if some is None else some(frame())
    for way in (["c", "t"], ["u", "t"]):
        with pytest.raises(DesignError, match="cannot cluster by period"):
            estimator.estimate(panel(data, cluster=way, **roles))


def test_one_way_twice_is_one_way() -> None:
    data = frame().assign(again=lambda d: d["c"] + 50)
    one = gbv.CallawaySantAnna().estimate(panel(data, cluster="c")).aggregate("event_time")
    two = gbv.CallawaySantAnna().estimate(panel(data, cluster=["c", "again"])).aggregate("event_time")
    np.testing.assert_allclose(one.covariance, two.covariance, rtol=1e-9, atol=1e-13)
    assert [row.reason for row in one.terms] == [row.reason for row in two.terms]


def test_repeated_cross_sections_in_two_ways() -> None:
    data = frame().drop(columns="u").assign(both=lambda d: d["c"] * 100 + d["provider"])
    roles = {key: column for key, column in ROLES.items() if key != "unit"}
    results = [
        gbv.CallawaySantAnna().estimate(gbv.Panel(data, **roles, cluster=way)).aggregate("simple")
        for way in ("c", "provider", "both", ["c", "provider"])
    ]
    variance = [result.covariance[0, 0] for result in results]
    assert variance[3] == pytest.approx(variance[0] + variance[1] - variance[2], rel=1e-9)


def test_negative_variances_are_zero_and_told() -> None:
    """Influence that cancels within both ways: V_a = V_b = 0, and V_ab is not."""
    influence = np.array([[1.0], [-1.0], [-1.0], [1.0]])
    found = clustered(influence, (np.array([0, 0, 1, 1]), np.array([0, 1, 0, 1])))
    assert (found.covariance.item(), found.repaired, found.influence) == (0.0, True, None)
    data = pd.DataFrame(
        {
            "y": [0.0, 3.0, 0.0, 1.0, 0.0, 1.0, 0.0, 3.0, 0.0, 1.0, 0.0, -1.0, 0.0, -1.0, 0.0, 1.0],
            "u": np.repeat(np.arange(8), 2),
            "t": [1, 2] * 8,
            "g": [2.0] * 8 + [np.nan] * 8,
            "a": np.repeat([0, 0, 1, 1, 2, 2, 3, 3], 2),
            "b": np.repeat([0, 1, 0, 1, 2, 3, 2, 3], 2),
        }
    )
    for estimator in (gbv.CallawaySantAnna(), gbv.StackedDid(before=0, after=0), gbv.DoublyRobust(method="reg")):
        result = estimator.estimate(panel(data, cluster=["a", "b"]))
        assert result.terms[0].std_error is None
        assert "two-way formula" in result.terms[0].reason
        assert "negative variances" in result.check("two-way variance").message


@settings(max_examples=40, deadline=None)
@given(st.integers(2, 30), st.integers(1, 4), st.integers(1, 4), st.integers(0, 2**31))
def test_two_way_covariances_by_double_sums(n: int, first: int, second: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    a, b, influence = rng.integers(0, first, n), rng.integers(0, second, n), rng.normal(size=(n, 2))
    near = (a[:, None] == a) | (b[:, None] == b)
    wanted, repaired = mended(influence.T @ near @ influence)
    found = clustered(influence, (a, b))
    np.testing.assert_allclose(found.covariance, wanted, atol=1e-9)
    assert found.repaired == repaired

    def by(codes: Any) -> Any:
        return influence.T @ (codes[:, None] == codes) @ influence

    np.testing.assert_allclose(two_way_covariance(by, a, b)[0], wanted, atol=1e-9)


# The jackknife.


def left_out(data: pd.DataFrame, estimator: Any, roles: dict[str, Any]) -> list[gbv.Estimates]:
    return [estimator.estimate(panel(data[data["c"] != c], cluster="c", **roles)) for c in data["c"].unique()]


def by_hand(left: list[gbv.Estimates], whole: gbv.Estimates) -> np.ndarray[Any, Any]:
    """Terms are matched by name."""
    values = np.array([[{row.term: row.value for row in one.terms}[row.term] for row in whole.terms] for one in left])
    moved = values.astype(float) - whole.values
    return np.asarray((len(left) - 1) / len(left) * moved.T @ moved)


@pytest.mark.parametrize(
    ("options", "roles"),
    [
        ({}, {}),
        ({"control": "never_treated", "base_period": "universal"}, {"weight": "w"}),
        ({"anticipation": 1.0}, {}),
        ({}, {"covariates": ["x"]}),
        ({"method": "reg"}, {"covariates": ["x"], "weight": "w"}),
        ({"unbalanced": "as_cross_sections"}, {}),
    ],
)
def test_the_jackknife_is_estimating_again(options: dict[str, Any], roles: dict[str, Any]) -> None:
    data = frame().drop(index=[7, 100]) if "unbalanced" in options else frame()
    found = gbv.CallawaySantAnna(**options, std_error="jackknife").estimate(panel(data, cluster="c", **roles))
    plain = gbv.CallawaySantAnna(**options)
    whole, left = plain.estimate(panel(data, cluster="c", **roles)), left_out(data, plain, roles)
    np.testing.assert_allclose(found.values, whole.values, rtol=1e-12)
    known = np.isfinite(np.diag(found.covariance))
    for one, two, others in (
        (found, whole, left),
        *((found.aggregate(by), whole.aggregate(by), [each.aggregate(by) for each in left]) for by in AVERAGES),
    ):
        known = np.isfinite(np.diag(one.covariance))
        wanted = by_hand(others, two)
        # Refits agree to the precision of what is refitted; sums to rounding.
        np.testing.assert_allclose(
            one.covariance[np.ix_(known, known)], wanted[np.ix_(known, known)], rtol=1e-7, atol=1e-10
        )
        assert known.sum() >= 1
        assert all(row.df == 8.0 for row in one.terms)
    assert found.method.reference == "t with clusters minus one degrees of freedom"


def test_options_of_averages_reach_the_jackknife() -> None:
    data = frame()
    found = gbv.CallawaySantAnna(std_error="jackknife").estimate(panel(data, cluster="c"))
    plain = gbv.CallawaySantAnna()
    left = left_out(data, plain, {})
    for options in ({"min_event_time": 0}, {"max_event_time": 1}, {"balance": 1}):
        one = found.aggregate("event_time", **options)
        wanted = by_hand(
            [each.aggregate("event_time", **options) for each in left],
            plain.estimate(panel(data, cluster="c")).aggregate("event_time", **options),
        )
        np.testing.assert_allclose(one.covariance, wanted, rtol=1e-8, atol=1e-12)


def test_units_are_left_out_where_no_clusters_are_named_and_too_many_are_refused() -> None:
    data = frame(size=2)
    found = gbv.CallawaySantAnna(std_error="jackknife").estimate(panel(data))
    assert {row.df for row in found.terms} == {17.0}
    named = gbv.CallawaySantAnna(std_error="jackknife").estimate(panel(data.assign(v=data["u"]), cluster="v"))
    np.testing.assert_allclose(found.covariance, named.covariance, rtol=1e-10)
    many = frame(clusters=3, size=700, periods=3)
    with pytest.raises(DesignError, match="2,100 times"):
        gbv.CallawaySantAnna(std_error="jackknife").estimate(panel(many))
    with pytest.raises(DesignError, match="one way"):
        gbv.CallawaySantAnna(std_error="jackknife").estimate(panel(data, cluster=["c", "provider"]))
    with pytest.raises(DesignError, match="std_error must be one of influence, jackknife"):
        gbv.CallawaySantAnna(std_error="CR2")


def test_a_mean_has_the_usual_standard_error() -> None:
    """The jackknife of a mean is its unbiased variance."""
    x = np.random.default_rng(1).normal(size=12)
    left = np.array([[np.delete(x, i).mean()] for i in range(12)])
    rows = jackknife_influence(left, np.array([x.mean()]))
    assert (rows.T @ rows).item() == pytest.approx(x.var(ddof=1) / 12, rel=1e-12)


def test_cells_that_hang_on_one_cluster_have_no_jackknife_error() -> None:
    data = frame(clusters=7, cohorts=[3.0, 3.0, 5.0, np.inf, np.inf, np.inf, np.inf])
    found = gbv.CallawaySantAnna(std_error="jackknife", control="never_treated").estimate(panel(data, cluster="c"))
    lone = [row for row in found.terms if row.term.startswith("cohort 5")]
    assert all(row.std_error is None and "without one of the clusters" in row.reason for row in lone)
    assert all(row.value is not None for row in lone)
    assert all(row.std_error for row in found.terms if row.term.startswith("cohort 3"))
    assert f"{len(lone)} cells are undefined" in found.check("jackknife").message
    averages = found.aggregate("cohort")
    assert [row.std_error is None for row in averages.terms] == [False, False, True]
    assert "without one of the clusters" in averages["cohort 5"].reason
    # A cohort that is gone has no share, so that the average over all is defined without its cluster.
    plain = gbv.CallawaySantAnna(control="never_treated")
    left = [each.aggregate("cohort") for each in left_out(data, plain, {})]
    whole = plain.estimate(panel(data, cluster="c")).aggregate("cohort")
    moved = np.array([each["overall"].value for each in left]) - whole["overall"].value
    assert averages["overall"].std_error == pytest.approx(np.sqrt(6 / 7 * np.sum(moved**2)), rel=1e-8)
    # The last event time is that of cohort 3 alone, and the first that of cohort 5.
    events = found.aggregate("event_time")
    assert events["event time -3"].std_error is None
    assert events["event time +3"].std_error is not None
    # With covariates, where everything is estimated again, too.
    again = gbv.CallawaySantAnna(std_error="jackknife", control="never_treated", method="reg")
    refitted = again.estimate(panel(data, cluster="c", covariates=["x"]))
    assert [row.std_error is None for row in refitted.terms] == [row.std_error is None for row in found.terms]


def test_the_last_comparison_cluster_is_missed_too() -> None:
    data = frame(clusters=5, cohorts=[3.0, 3.0, 5.0, 5.0, np.inf])
    for roles in ({}, {"covariates": ["x"]}):
        found = gbv.CallawaySantAnna(std_error="jackknife", method="reg").estimate(panel(data, cluster="c", **roles))
        late = [row for row in found.terms if dict(row.extra)["time"] >= 5.0]
        assert all(row.std_error is None for row in late)
        early = [row for row in found.terms if row.term.startswith("cohort 3") and dict(row.extra)["time"] < 5.0]
        assert all(row.std_error for row in early)


def test_the_pretest_is_hotellings() -> None:
    data = frame(clusters=12)
    found = gbv.CallawaySantAnna(std_error="jackknife").estimate(panel(data, cluster="c"))
    before = [i for i, row in enumerate(found.terms) if dict(row.extra)["treated_by_then"] == "no"]
    value, covariance = found.values[before], found.covariance[np.ix_(before, before)]
    q = len(before)
    row = found.aggregate("pretest")[0]
    assert row.statistic == pytest.approx(value @ np.linalg.solve(covariance, value) * (12 - q) / (q * 11), rel=1e-9)
    assert (row.df, row.df2) == (q, 12 - q)
    assert f"F {row.statistic:.2f} on {q} and {12 - q} df" in found.check("pre-trends").message
    crowded = gbv.CallawaySantAnna(std_error="jackknife").estimate(panel(frame(clusters=6, periods=9), cluster="c"))
    assert crowded.aggregate("pretest")[0].p_value is None or crowded.aggregate("pretest")[0].df < 6


def test_bands_and_rows_that_travel() -> None:
    found = gbv.CallawaySantAnna(std_error="jackknife").estimate(panel(frame(), cluster="c")).aggregate("event_time")
    band = found.with_band(n_draws=2000, seed=1)
    assert all(row["conf_high"] > row["conf_low"] for row in band.records() if row["std_error"])
    assert found.influence is not None
    assert found.influence.shape == (9, len(found.terms))
    assert gbv.Estimates.from_json(found.to_json()).terms[0].df == 8.0


def test_the_jackknife_covers_where_influence_does_not() -> None:
    """Six clusters in three cohorts; the page of measured rollouts has more draws and clusters."""
    draws, hits = 120, np.zeros(2)
    for seed in range(draws):
        data = panel(frame(seed=seed, clusters=6, size=4, periods=5), cluster="c")
        for place, kind in enumerate(("influence", "jackknife")):
            row = gbv.CallawaySantAnna(std_error=kind).estimate(data).aggregate("simple").records()[0]
            hits[place] += row["conf_low"] <= 1.0 <= row["conf_high"]
    low, _ = binomial_band(0.95, draws, false_alarm=1e-4)
    assert hits[1] / draws >= low
    assert hits[0] / draws < low


def test_row_order_and_units_of_measurement() -> None:
    data = frame()
    one = gbv.CallawaySantAnna(std_error="jackknife").estimate(panel(data, cluster="c")).aggregate("event_time")
    moved = data.sample(frac=1.0, random_state=2).assign(y=lambda d: 1e6 + 1000.0 * d["y"])
    two = gbv.CallawaySantAnna(std_error="jackknife").estimate(panel(moved, cluster="c")).aggregate("event_time")
    np.testing.assert_allclose(1000.0 * one.values, two.values, rtol=1e-6)
    np.testing.assert_allclose(1e6 * one.covariance, two.covariance, rtol=1e-6, atol=1e-3)


def test_places_take_no_jackknife_and_scales_take_no_places() -> None:
    data = frame().assign(lat=lambda d: d["c"] * 1.0, lon=lambda d: d["c"] % 3 * 1.0)
    placed = panel(data, place=gbv.Places("lat", "lon", cutoff_km=150.0))
    with pytest.raises(DesignError, match="std_error='jackknife' cannot allow for neighbours"):
        gbv.CallawaySantAnna(std_error="jackknife").estimate(placed)
    further = panel(data, effects=["provider"])
    for look in (gbv.trend_scales, gbv.functional_form):
        with pytest.raises(DesignError, match="cannot allow for neighbours"):
            look(placed)
        with pytest.raises(DesignError, match="no effects beside"):
            look(further)
