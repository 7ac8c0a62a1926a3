"""Events by site and arm: zero cells, other implementations, brute-force likelihoods, and refusals."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import integrate, stats

import gbveval as gbv
from gbveval.numerics.one_stage import fit_one_stage
from gbveval.numerics.table_effects import risk_effects

EVENTS = np.array([[9, 4], [12, 6], [3, 5], [20, 11], [7, 7]], dtype=float)
N = np.array([[50, 48], [80, 75], [30, 33], [90, 100], [41, 40]], dtype=float)


def tables(events: NDArray[Any] = EVENTS, n: NDArray[Any] = N, **more: Any) -> gbv.SiteTables:
    k = len(events)
    names = more.pop("names", [f"town {i}" for i in range(k)])
    frame = pd.DataFrame(
        {"site": np.repeat(names, 2), "arm": ["usual", "new"] * k, "events": events.ravel(), "size": n.ravel()}
    )
    size = {"exposure": "size"} if more.get("rates") else {"n": "size"}
    return gbv.SiteTables(frame, site="site", arm="arm", control="usual", events="events", **size)


def stratified() -> sm.stats.StratifiedTable:
    return sm.stats.StratifiedTable(
        [np.array([[b, n1 - b], [a, n0 - a]]) for (a, b), (n0, n1) in zip(EVENTS, N, strict=True)]
    )


def test_against_statsmodels() -> None:
    other = stratified()
    odds = gbv.MantelHaenszel("odds_ratio").estimate(tables())
    assert odds.values[0] == pytest.approx(other.logodds_pooled, rel=1e-10)
    assert odds.std_errors[0] == pytest.approx(other.logodds_pooled_se, rel=1e-10)
    null = other.test_null_odds(correction=True)
    assert odds["no effect in any site"].statistic == pytest.approx(null.statistic, rel=1e-10)
    assert odds["no effect in any site"].p_value == pytest.approx(null.pvalue, rel=1e-8)
    shared = odds["one odds ratio in all sites"]
    assert shared.statistic == pytest.approx(other.test_equal_odds(adjust=True).statistic, rel=1e-8)
    assert dict(shared.extra)["breslow_day"] == pytest.approx(other.test_equal_odds().statistic, rel=1e-8)
    assert gbv.MantelHaenszel().estimate(tables()).values[0] == pytest.approx(np.log(other.riskratio_pooled), rel=1e-10)


@pytest.mark.parametrize("measure", ["risk_ratio", "odds_ratio", "risk_difference", "peto_odds_ratio"])
def test_one_site_is_its_own_average(measure: str) -> None:
    alone = tables(EVENTS[:1], N[:1])
    pooled = gbv.MantelHaenszel(measure).estimate(alone)
    own = gbv.effects_from_tables(alone, measure=measure)
    assert pooled.values[0] == pytest.approx(own.estimate[0], rel=1e-12)
    if measure != "risk_difference":
        # Sato's variance of a difference is another one, which holds for sparse tables.
        assert pooled.std_errors[0] == pytest.approx(own.std_error[0], rel=1e-12)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 9), st.integers(1, 9)), min_size=2, max_size=6), st.integers(10, 60))
def test_swapped_arms_and_double_zeros(counts: list[tuple[int, int]], size: int) -> None:
    events = np.array(counts, dtype=float)
    n = np.full(events.shape, float(size))
    empty = np.vstack([events, [0.0, 0.0]]), np.vstack([n, [40.0, 35.0]])
    for measure in ("risk_ratio", "odds_ratio", "peto_odds_ratio"):
        model = gbv.MantelHaenszel(measure)
        value = model.estimate(tables(events, n)).values[0]
        assert model.estimate(tables(events[:, ::-1], n[:, ::-1])).values[0] == pytest.approx(-value, abs=1e-12)
        # A site without events says nothing of a ratio.
        more = model.estimate(tables(*empty))
        assert more.values[0] == pytest.approx(value, abs=1e-12)
        assert more.check("sites without events").status == "info"
    plain = gbv.MantelHaenszel("risk_difference").estimate(tables(events, n)).values[0]
    shrunk = gbv.MantelHaenszel("risk_difference").estimate(tables(*empty)).values[0]
    assert abs(shrunk) <= abs(plain) + 1e-15


def test_rates() -> None:
    data = tables(EVENTS, 10 * N, rates=True)
    answer = gbv.MantelHaenszel("rate_ratio").estimate(data)
    single = tables(EVENTS[:1], 10 * N[:1], rates=True)
    own = gbv.MantelHaenszel("rate_ratio").estimate(single)
    assert own.std_errors[0] == pytest.approx(np.sqrt((1 / EVENTS[0]).sum()), rel=1e-12)
    assert gbv.effects_from_tables(single, measure="rate_ratio").estimate[0] == pytest.approx(own.values[0], rel=1e-12)
    assert answer.terms[0].n_units is None
    assert "people" not in repr(data)


def test_zero_cells_are_corrected_where_it_is_said_and_nowhere_else() -> None:
    events, n = np.array([[0.0, 5.0], [4.0, 8.0]]), np.full((2, 2), 20.0)
    half = risk_effects(events, n, measure="odds_ratio")
    assert half.estimate[0] == pytest.approx(np.log(5.5 / 15.5) - np.log(0.5 / 20.5))
    assert half.estimate[1] == pytest.approx(np.log(8 / 12) - np.log(4 / 16))
    every = risk_effects(events, n, measure="odds_ratio", to="all_sites_if_any_zero_cell")
    assert every.estimate[1] == pytest.approx(np.log(8.5 / 12.5) - np.log(4.5 / 16.5))
    with pytest.raises(gbv.DataError, match="1 site of 2 have no odds ratio"):
        gbv.effects_from_tables(tables(events, n), measure="odds_ratio", corrected="none")
    # Peto's needs none, and neither does a pooled one.
    assert np.isfinite(gbv.MantelHaenszel("peto_odds_ratio").estimate(tables(events, n)).values[0])
    assert np.isfinite(gbv.MantelHaenszel().estimate(tables(events, n)).std_errors[0])


def test_an_arm_without_events_anywhere_is_refused() -> None:
    events, n = np.array([[3.0, 0.0], [4.0, 0.0]]), np.full((2, 2), 20.0)
    for model in (gbv.MantelHaenszel(), gbv.OneStage()):
        with pytest.raises(gbv.IdentificationError, match="no estimate"):
            model.estimate(tables(events, n))
        with pytest.raises(gbv.IdentificationError, match="says nothing"):
            model.estimate(tables(0 * events, n))
    assert np.isfinite(gbv.MantelHaenszel("risk_difference").estimate(tables(events, n)).std_errors[0])


def test_the_arcsine_difference_takes_zero_cells() -> None:
    events, n = np.array([[0.0, 5.0]]), np.array([[20.0, 25.0]])
    sites = gbv.effects_from_tables(tables(events, n), measure="arcsine_difference", corrected="none")
    assert sites.estimate[0] == pytest.approx(np.arcsin(np.sqrt(0.2)))
    assert sites.std_error[0] == pytest.approx(np.sqrt(0.25 / 25 + 0.25 / 20))


def test_means_against_the_t_test() -> None:
    frame = {
        "site": ["a", "a"],
        "arm": ["new", "usual"],
        "mean": [3.0, 2.0],
        "sd": [1.5, 1.0],
        "n": [12, 9],
    }
    roles = {"site": "site", "arm": "arm", "control": "usual", "mean": "mean", "sd": "sd", "n": "n"}
    g = gbv.effects_from_means(frame, **roles).estimate[0]
    statistic = stats.ttest_ind_from_stats(3.0, 1.5, 12, 2.0, 1.0, 9).statistic
    d = statistic * np.sqrt(1 / 12 + 1 / 9)
    # Hedges's correction is close to 1 - 3 / (4 df - 1).
    assert g == pytest.approx(d * (1 - 3 / (4 * 19 - 1)), rel=1e-3)
    plain = gbv.effects_from_means(frame, **roles, contrast="mean_difference")
    assert plain.std_error[0] == pytest.approx(np.sqrt(1.5**2 / 12 + 1 / 9))
    with pytest.raises(gbv.DesignError, match="contrast"):
        gbv.effects_from_means(frame, **roles, contrast="d")
    with pytest.raises(gbv.DataError, match="zero or negative"):
        gbv.effects_from_means({**frame, "sd": [0.0, 1.0]}, **roles)


def test_one_stage_without_spread_is_logistic_and_poisson_regression() -> None:
    # Effects that agree better than by chance: the spread is estimated as zero.
    events = np.array([[20.0, 10.0], [20.0, 11.0], [21.0, 10.0], [30.0, 15.0]])
    n = np.array([[100.0, 100.0], [100.0, 105.0], [103.0, 100.0], [150.0, 151.0]])
    frame = pd.DataFrame({"e": events.ravel(), "n": n.ravel(), "new": [0.0, 1.0] * 4, "s": np.repeat(range(4), 2)})
    x = np.column_stack([frame["new"], pd.get_dummies(frame["s"]).to_numpy(float)])
    logistic = sm.GLM(np.column_stack([frame["e"], frame["n"] - frame["e"]]), x, family=sm.families.Binomial()).fit(
        tol=1e-12
    )
    answer = gbv.OneStage().estimate(tables(events, n))
    assert answer["between-site sd"].value == 0.0
    assert answer["between-site sd"].p_value == 1.0
    assert answer.values[0] == pytest.approx(logistic.params[0], abs=1e-8)
    # Second differences of the score with a step of 1e-4.
    assert answer.std_errors[0] == pytest.approx(logistic.bse[0], rel=1e-6)
    poisson = sm.GLM(frame["e"].to_numpy(), x, family=sm.families.Poisson(), exposure=frame["n"].to_numpy()).fit(
        tol=1e-12
    )
    rates = gbv.OneStage("conditional").estimate(tables(events, n, rates=True))
    assert rates.values[0] == pytest.approx(poisson.params[0], abs=1e-8)
    assert rates.std_errors[0] == pytest.approx(poisson.bse[0], rel=1e-6)
    assert rates.terms[0].estimand.contrast == "rate_ratio"


def test_one_stage_likelihood_against_adaptive_quadrature() -> None:
    events = np.array([[9.0, 1.0], [2.0, 8.0], [0.0, 6.0], [7.0, 7.0], [12.0, 2.0]])
    n = np.full((5, 2), 30.0)
    fit = fit_one_stage(events, n, model="conditional")
    assert fit.tau > 0.5

    def total(mean: float, tau: float) -> float:
        answer = 0.0
        for control, treated in events:
            whole = control + treated

            def height(z: float, treated: float = treated, whole: float = whole) -> float:
                p = 1 / (1 + np.exp(-(mean + tau * z)))
                return float(p**treated * (1 - p) ** (whole - treated) * stats.norm.pdf(z))

            answer += np.log(integrate.quad(height, -12, 12, epsabs=0, epsrel=1e-12, limit=400)[0])
        return answer

    best = total(fit.estimate, fit.tau)
    # Quadrature with 25 nodes about the mode is right to about 1e-8 here.
    assert fit.log_likelihood == pytest.approx(best, abs=1e-7)
    for shift, factor in ((0.02, 1.0), (-0.02, 1.0), (0.0, 1.02), (0.0, 0.98)):
        assert total(fit.estimate + shift, fit.tau * factor) < best


def test_one_stage_rows() -> None:
    events = np.array([[9, 1], [2, 8], [0, 6], [7, 7], [12, 2], [0, 0]], dtype=float)
    answer = gbv.OneStage().estimate(tables(events, np.full((6, 2), 40.0)))
    low, high = answer.intervals()
    assert low[1] < low[0] < high[0] < high[1]
    # An sd has no limit below zero.
    assert 0 < low[2] < answer.values[2] < high[2]
    assert answer.check("sites without events").message.startswith("1 of 6 sites")
    assert answer.check("few sites").status == "warn"
    assert answer.records()[1]["interval_kind"] == "prediction"
    common = gbv.OneStage("conditional").estimate(tables())
    assert common.check("common events").status == "warn"


def test_two_sites() -> None:
    answer = gbv.OneStage().estimate(tables(EVENTS[:2], N[:2]))
    assert np.isfinite(answer.values).all()
    with pytest.raises(gbv.IdentificationError, match="at least two"):
        gbv.OneStage().estimate(tables(EVENTS[:1], N[:1]))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"events": [9, 4, 60, 6]}, "above"),
        ({"events": [9, 4, -1, 6]}, "negative"),
        ({"events": [9, 4, 1.5, 6]}, "not whole"),
        ({"events": [9, 4, np.nan, 6]}, "missing"),
        ({"size": [50, 0, 50, 50], "events": [9, 0, 1, 1]}, "zero in 1 row"),
        ({"arm": ["usual", "new", "usual", "other"]}, "3 labels"),
        ({"arm": ["usual", "usual", "usual", "new"]}, "lack an arm"),
        ({"arm": ["a", "b", "a", "b"]}, "not among"),
    ],
)
def test_bad_tables_are_refused(change: dict[str, Any], words: str) -> None:
    frame = {"site": list("aabb"), "arm": ["usual", "new"] * 2, "events": [9, 4, 12, 6], "size": [50] * 4} | change
    with pytest.raises(gbv.DataError, match=words):
        gbv.SiteTables(frame, site="site", arm="arm", control="usual", events="events", n="size")


def test_people_or_time() -> None:
    frame = {"site": list("aa"), "arm": ["usual", "new"], "events": [9, 4], "size": [50, 50]}
    for size in ({}, {"n": "size", "exposure": "events"}):
        with pytest.raises(gbv.DataError, match="Give either"):
            gbv.SiteTables(frame, site="site", arm="arm", control="usual", events="events", **size)
    rates = tables(rates=True)
    for call in (
        lambda: gbv.effects_from_tables(rates, measure="risk_ratio"),
        lambda: gbv.effects_from_tables(tables(), measure="rate_ratio"),
        lambda: gbv.MantelHaenszel().estimate(rates),
        lambda: gbv.OneStage().estimate(rates),
        lambda: gbv.effects_from_tables(tables(), measure="RR"),
        lambda: gbv.effects_from_tables(tables(), continuity=0.0),
        lambda: gbv.effects_from_tables(tables(), corrected="some"),
        lambda: gbv.MantelHaenszel("hazard_ratio"),
        lambda: gbv.OneStage("UM.FS"),
        lambda: gbv.OneStage().estimate(gbv.SiteEffects({"y": [1.0], "s": [1.0]}, estimate="y", std_error="s")),
    ):
        with pytest.raises(gbv.DesignError):
            call()


def test_sites_keep_the_order_of_the_rows_and_their_names_are_not_shown() -> None:
    data = tables(names=["<b>z</b>", "a", "m", "c", "b"])
    assert data.codes["site 01"] == "<b>z</b>"
    np.testing.assert_array_equal(data.events, EVENTS)
    for model in (gbv.MantelHaenszel("odds_ratio"), gbv.OneStage()):
        answer = model.estimate(data)
        assert "<b>z" not in answer._repr_html_() + answer.to_json() + answer.summary()
    sites = gbv.effects_from_tables(data)
    assert sites.names[0] == "<b>z</b>"
    assert sites.support[0][0].events == 9


def test_a_released_ratio_of_small_counts_is_held_back() -> None:
    small = tables(np.array([[2.0, 1.0], [12.0, 6.0]]), np.array([[30.0, 30.0], [80.0, 75.0]]))
    (shown,) = gbv.release(gbv.MantelHaenszel().estimate(small)).items
    assert shown.rows[0]["estimate"] is None
