"""Trends on several scales: other estimators on transformed outcomes, regressions, derivatives, simulation."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm

import gbveval as gbv
from gbveval.core.errors import DataError, DesignError, IdentificationError
from gbveval.core.replicate import binomial_band
from gbveval.estimators.did._compared_groups import compared_groups
from gbveval.numerics.trend_scales import SCALES, fit_scale

ROLES = {"outcome": "y", "unit": "u", "time": "t", "cohort": "g"}


def frame(seed: int = 1, n: int = 90, periods: int = 6, gap: float = 1.0, effect: float = -0.3) -> pd.DataFrame:
    """Parallel in logs; cohorts treated from 3 or 5 on start `gap` higher."""
    rng = np.random.default_rng(seed)
    g = np.array([3.0, 5.0, np.inf])[np.arange(n) % 3]
    t = np.arange(1, periods + 1)
    log = np.where(np.isfinite(g), gap, 0.0)[:, None] + 0.3 * rng.normal(size=(n, 1)) + 0.1 * t
    log = log + 0.2 * rng.normal(size=(n, periods)) + effect * (t >= g[:, None])
    unit = np.repeat(np.arange(n), periods)
    return pd.DataFrame(
        {
            "y": np.exp(log).ravel(),
            "u": unit,
            "t": np.tile(t, n),
            "g": g[unit],
            "n": rng.uniform(1, 5, n)[unit],
            "w": rng.uniform(0.5, 2, n)[unit],
            "c": unit // 6,
        }
    )


def panel(data: pd.DataFrame, **roles: Any) -> gbv.Panel:
    return gbv.Panel(data, **{**ROLES, **roles})


def records(table: gbv.Table) -> dict[str, dict[str, Any]]:
    return {row[0]: dict(zip(table.columns, row, strict=True)) for row in table.rows}


@pytest.mark.parametrize("control", ["never_treated", "not_yet_treated"])
@pytest.mark.parametrize("anticipation", [0.0, 1.0])
def test_level_log_and_rate_are_callaway_and_santanna_on_the_outcome_so_transformed(
    control: str, anticipation: float
) -> None:
    data = frame()
    roles = {"weight": "w", "cluster": "c"}
    options: dict[str, Any] = {"control": control, "anticipation": anticipation}
    found = records(gbv.trend_scales(panel(data, exposure="n", **roles), **options))
    transformed = {
        "level": data,
        "log": data.assign(y=np.log(data["y"])),
        # Exposure is constant within units here, so that weighing by it is one weight a unit.
        "rate": data.assign(y=data["y"] / data["n"], w=data["w"] * data["n"]),
    }
    for scale, made in transformed.items():
        effects = gbv.CallawaySantAnna(**options).estimate(panel(made, **roles))
        overall, pretest = effects.aggregate("simple")[0], effects.aggregate("pretest")[0]
        row = found[scale]
        assert row["estimate"] == pytest.approx(overall.value, rel=1e-10)
        assert row["std_error"] == pytest.approx(overall.std_error, rel=1e-10)
        # Anticipating periods are no test of trends; the estimator's own test counts them.
        if not anticipation:
            assert row["pretest_statistic"] == pytest.approx(pretest.statistic, rel=1e-8)
            assert row["pretest_df"] == pretest.df
    treated = data["t"] >= data["g"]
    observed = np.average(data["y"][treated], weights=data["w"][treated])
    for scale in SCALES:
        assert found[scale]["counterfactual"] + found[scale]["effect"] == pytest.approx(observed, rel=1e-12)
    exposure = np.average(data["n"][treated], weights=data["w"][treated])
    assert found["rate"]["effect"] == pytest.approx(found["rate"]["estimate"] * exposure, rel=1e-10)


def test_the_ratio_is_poisson_regression_in_two_periods() -> None:
    data = frame(n=60, periods=6)
    data = data[(data["g"] != 5.0) & data["t"].isin([2, 3])].assign(y=lambda d: np.rint(3 * d["y"]))
    own, after = np.isfinite(data["g"]).astype(float), (data["t"] == 3).astype(float)
    design = np.column_stack([np.ones(len(data)), own, after, own * after])
    for scale, offset in (("ratio", None), ("rate_ratio", np.log(data["n"]))):
        fit = sm.GLM(data["y"], design, family=sm.families.Poisson(), offset=offset).fit(
            cov_type="cluster", cov_kwds={"groups": data["u"], "use_correction": False}, tol=1e-12
        )
        row = records(gbv.trend_scales(panel(data, exposure="n"), scales=[scale]))[scale]
        assert np.log(row["estimate"]) == pytest.approx(fit.params.iloc[3], rel=1e-6)
        assert row["std_error"] == pytest.approx(fit.bse.iloc[3], rel=1e-6)


@pytest.mark.parametrize("scale", SCALES)
def test_influence_is_the_derivative_in_the_weights(scale: str) -> None:
    data = frame(n=24)
    data["n"] *= 1.0 + 0.1 * (data["t"] % 3)

    def fitted(weight: np.ndarray) -> Any:
        made = panel(data.assign(w=weight[data["u"]]), weight="w", exposure="n")
        used = compared_groups("x", made, control="not_yet_treated", anticipation=0.0, unbalanced="error")
        values = np.column_stack([used.rows.y, np.log(used.rows.y), used.rows.exposure])
        return fit_scale(scale, used.moments(values), used.compared)

    weight = np.linspace(0.5, 2.0, 24)
    centre = fitted(weight)
    for unit in (0, 4, 8):
        ends = []
        for step in (1e-5, -1e-5):
            moved = weight.copy()
            moved[unit] *= 1.0 + step
            found = fitted(moved)
            ends.append([found.effect, found.counterfactual, found.in_units, *found.before])
        slope = (np.array(ends[0]) - np.array(ends[1])) / 2e-5
        # Central differences of step 1e-5 are right to about 1e-9 of the effect.
        np.testing.assert_allclose(centre.influence[unit], slope, rtol=1e-5, atol=1e-8)


def test_ratio_less_level_is_gap_times_growth() -> None:
    """Own means 4 then 3; comparison 2 then 3; so untreated 5 (level) or 6 (ratio), and 4 x 9/4 by logs."""
    y = {"own": ([3.0, 5.0], [2.0, 4.0]), "other": ([1.0, 3.0], [2.0, 4.0])}
    y["other"] = ([1.0, 3.0], [3.0, 3.0])
    data = pd.DataFrame(
        {
            "y": [*y["own"][0], *y["own"][1], *y["other"][0], *y["other"][1]],
            "t": [1, 1, 2, 2] * 2,
            "u": [0, 1, 0, 1, 2, 3, 2, 3],
            "g": [2.0] * 4 + [np.nan] * 4,
        }
    )
    found = records(gbv.trend_scales(panel(data)))
    assert found["level"]["counterfactual"] == pytest.approx(5.0)
    assert found["ratio"]["counterfactual"] == pytest.approx(6.0)
    assert found["ratio"]["difference"] == pytest.approx(-((4.0 - 2.0) * (3.0 / 2.0 - 1.0)))
    assert found["log"]["counterfactual"] == pytest.approx(4.0 * 3.0 / np.sqrt(3.0))
    assert found["ratio"]["estimate"] == pytest.approx(3.0 / 6.0)
    assert found["log"]["estimate"] == pytest.approx(np.log(np.sqrt(8.0 / 15.0)) - np.log(3.0 / np.sqrt(3.0)))


def test_the_right_scale_passes_its_pretest_and_covers_and_the_wrong_one_does_not() -> None:
    draws, passed, wrong, covered, disagree = 150, 0, 0, 0, 0
    for seed in range(draws):
        data = frame(seed=100 + seed, n=300, periods=5)
        found = records(gbv.trend_scales(panel(data), scales=["level", "log", "ratio"]))
        passed += found["log"]["pretest_p_value"] >= 0.05
        wrong += found["level"]["pretest_p_value"] < 0.05
        treated = data["t"] >= data["g"]
        # exp(gap + 0.1 t + half the variance of the noise), times the effect's share.
        without = np.exp(1.0 + 0.1 * data["t"][treated] + 0.5 * (0.3**2 + 0.2**2)).mean()
        truth = without * (np.exp(-0.3) - 1.0)
        covered += found["log"]["effect_low"] <= truth <= found["log"]["effect_high"]
        disagree += found["level"]["difference_p_value"] is None and found["log"]["difference_p_value"] < 0.01
    low, _ = binomial_band(0.95, draws, false_alarm=1e-4)
    assert passed / draws >= low - 0.02  # Wald tests with four terms and 300 units reject a little too often.
    assert covered / draws >= low - 0.02
    assert wrong / draws > 0.9
    assert disagree / draws > 0.9


def test_groups_alike_agree_on_every_scale() -> None:
    """Without a gap before treatment the scale does not matter; the test that scales agree then rarely rejects."""
    draws, rejected = 100, 0
    for seed in range(draws):
        table = gbv.trend_scales(panel(frame(seed=seed, n=150, periods=5, gap=0.0)), scales=["level", "ratio"])
        rejected += records(table)["all agree"]["difference_p_value"] < 0.05
    assert rejected / draws <= binomial_band(0.05, draws, false_alarm=1e-4)[1]


def test_units_of_measurement_and_row_order_do_not_matter() -> None:
    data = frame(n=30)
    one = gbv.trend_scales(panel(data, exposure="n"))
    shuffled = data.sample(frac=1.0, random_state=3).assign(y=lambda d: 1000.0 * d["y"], n=lambda d: 1e6 * d["n"])
    two = gbv.trend_scales(panel(shuffled, exposure="n"))
    for a, b in zip(records(one).values(), records(two).values(), strict=True):
        for name in ("effect", "effect_std_error", "counterfactual", "effect_low", "difference"):
            assert a[name] is None or b[name] == pytest.approx(1000.0 * a[name], rel=1e-8, abs=1e-8)
        assert a["pretest_p_value"] is None or b["pretest_p_value"] == pytest.approx(a["pretest_p_value"], rel=1e-6)
        if a["scale"] in ("ratio", "rate_ratio"):
            assert b["estimate"] == pytest.approx(a["estimate"], rel=1e-10)


def test_zeros_are_no_logs() -> None:
    data = frame(n=30).assign(y=lambda d: np.where(d.index < 4, 0.0, d["y"]))
    table = gbv.trend_scales(panel(data))
    row = records(table)["log"]
    assert row["estimate"] is None
    assert "zero or less have no logarithm" in row["reason"]
    assert "4" not in row["reason"]
    assert "log(1 + y)" in row["reason"]
    assert "ExtendedTwfe(family='poisson'" in row["reason"]
    assert records(table)["ratio"]["estimate"] is not None
    with pytest.raises(DataError, match="zero or less in 4 rows"):
        gbv.trend_scales(panel(data), scales=["log"])
    below = data.assign(y=data["y"] - 1.0)
    with pytest.raises(DataError, match="below zero"):
        gbv.trend_scales(panel(below), scales=["ratio"])
    with pytest.raises(DataError, match="Use the scale 'level'"):
        gbv.trend_scales(panel(below), scales=["log"])
    assert records(gbv.trend_scales(panel(below)))["level"]["effect"] is not None


def test_a_cohort_without_events_has_a_ratio_of_others_and_a_comparison_without_events_has_none() -> None:
    data = frame(n=30)
    silent = data.assign(y=np.where((data["g"] == 5.0) & (data["t"] >= 5), 0.0, data["y"]))
    found = records(gbv.trend_scales(panel(silent), scales=["level", "ratio"]))
    assert 0.0 < found["ratio"]["estimate"] < 1.0
    mute = data.assign(y=np.where((data["g"] != 3.0) & (data["t"] == 2), 0.0, data["y"]))
    with pytest.raises(IdentificationError, match="mean of zero"):
        gbv.trend_scales(panel(mute), scales=["ratio"])
    quiet = data.assign(y=np.where((data["g"] == 5.0) & (data["t"] == 1), 0.0, data["y"]))
    row = records(gbv.trend_scales(panel(quiet), scales=["ratio"]))["ratio"]
    assert "1 comparison before treatment not defined" in row["reason"]


def test_gaps_are_a_choice_and_counted() -> None:
    data = frame(n=30).drop(index=[0, 10])
    with pytest.raises(DesignError, match="2 of 30 units"):
        gbv.trend_scales(panel(data))
    dropped = gbv.trend_scales(panel(data), unbalanced="drop")
    assert any("2 units without an outcome" in note for note in dropped.notes)
    whole = data[~data["u"].isin([0, 1])]
    for a, b in zip(dropped.rows, gbv.trend_scales(panel(whole)).rows, strict=True):
        np.testing.assert_allclose(np.array(a[2:-2], float), np.array(b[2:-2], float), rtol=1e-8)
    kept = records(gbv.trend_scales(panel(data), unbalanced="as_cross_sections"))["level"]
    other = gbv.CallawaySantAnna(unbalanced="as_cross_sections").estimate(panel(data))
    cells = {(row["cohort"], row["time"]): row["estimate"] for row in map(dict, other.records())}
    treated = data[data["t"] >= data["g"]]
    mean = np.mean([cells[g, t] for g, t in zip(treated["g"], treated["t"], strict=True)])
    assert kept["estimate"] == pytest.approx(mean, rel=1e-10)


@pytest.mark.parametrize(
    ("options", "roles", "words"),
    [
        ({"scales": ["levels"]}, {}, "scales are some of"),
        ({"scales": []}, {}, "scales are some of"),
        ({"scales": ["rate"]}, {}, "needs the panel's exposure"),
        ({"control": "nobody"}, {}, "control must be one of"),
        ({"anticipation": -1}, {}, "length of time"),
        ({"level": 1.5}, {}, "level"),
        ({}, {"covariates": ["n"]}, "takes no covariates"),
        ({}, {"cluster": ["c", "t"]}, "clusters in one way"),
    ],
)
def test_what_is_refused(options: dict[str, Any], roles: dict[str, Any], words: str) -> None:
    with pytest.raises(DesignError, match=words):
        gbv.trend_scales(panel(frame(n=30), **roles), **options)


def test_a_constant_outcome_has_no_standard_error() -> None:
    table = records(gbv.trend_scales(panel(frame(n=30).assign(y=2.5))))
    for scale in ("level", "log", "ratio"):
        assert table[scale]["effect"] == pytest.approx(0.0, abs=1e-12)
        assert table[scale]["effect_std_error"] is None
        assert table[scale]["reason"]


def test_the_last_cohort_is_the_comparison_where_nobody_is_never_treated() -> None:
    data = frame(n=30).assign(g=lambda d: d["g"].replace(np.inf, 6.0))
    table = gbv.trend_scales(panel(data))
    assert any("everybody is treated" in note for note in table.notes)
    overall = gbv.CallawaySantAnna().estimate(panel(data)).aggregate("simple")[0]
    assert records(table)["level"]["estimate"] == pytest.approx(overall.value, rel=1e-10)


def test_the_plot_has_one_line_a_scale() -> None:
    table = gbv.trend_scales(panel(frame(n=30), exposure="n"))
    ax = gbv.plot_trend_scales(table)
    assert len(ax.get_yticklabels()) == len(SCALES)
    assert ax.get_yticklabels()[0].get_text().startswith("level")
    with pytest.raises(DesignError, match="from trend_scales"):
        gbv.plot_trend_scales(gbv.compare(panel(frame(n=30)), [gbv.CallawaySantAnna()]))
    released = gbv.release([table], gbv.Policy())
    assert released.tables()[0].rows[0][0] == "level"
