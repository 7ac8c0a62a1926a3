"""Multiple imputation of trials: closed forms, limits, and refusals."""

from __future__ import annotations

from dataclasses import replace

import matplotlib as mpl
import numpy as np
import pytest

import gbveval as gbv

mpl.use("Agg")


def trial(frame: dict[str, object], **roles: object) -> gbv.Trial:
    return gbv.Trial(frame, outcome="y", arm="arm", control="usual", **roles)


def frame(seed: int = 1, n: int = 200, binary: bool = False) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    arm = np.arange(n) % 2
    x = rng.normal(size=n)
    y = x + 0.6 * arm + rng.normal(size=n)
    if binary:
        y = (y > 0.3).astype(float)
    y[rng.random(n) < 1 / (1 + np.exp(-(x - 1)))] = np.nan
    return {"y": y, "x": x, "arm": np.where(arm == 1, "new", "usual")}


def test_without_missing_outcomes_it_is_the_estimator() -> None:
    data = frame()
    data["y"] = np.nan_to_num(data["y"])
    found = gbv.MultipleImputation().estimate(trial(data))[0]
    plain = gbv.DifferenceInMeans().estimate(trial(data))[0]
    assert (found.value, found.std_error) == pytest.approx((plain.value, plain.std_error), rel=1e-12)
    assert dict(found.extra)["missing_information"] == 0.0


def test_many_imputations_reach_the_regression_estimate() -> None:
    data = frame()
    found = gbv.MultipleImputation(n_imputations=2000).estimate(trial(data, covariates=["x"]))[0]
    means = []
    for arm in ("new", "usual"):
        member = data["arm"] == arm
        seen = member & ~np.isnan(data["y"])
        slope, level = np.polyfit(data["x"][seen], data["y"][seen], 1)
        filled = np.where(np.isnan(data["y"]), level + slope * data["x"], data["y"])
        means.append(filled[member].mean())
    # Monte Carlo error of 2,000 imputations: below a fortieth of the standard error.
    assert found.value == pytest.approx(means[0] - means[1], abs=4 * found.std_error / 40)


def test_the_error_without_covariates_is_that_of_the_observed() -> None:
    data = frame(2, 400)
    found = gbv.MultipleImputation(n_imputations=600).estimate(trial(data))
    seen = gbv.DifferenceInMeans().estimate(trial(data))[0]
    # With the arm alone nothing is added to the observed (Rubin 1987, example 4.1); six hundred imputations.
    assert found[0].std_error == pytest.approx(seen.std_error, rel=0.05)
    assert found[0].value == pytest.approx(seen.value, abs=0.2 * seen.std_error)
    missing = float(np.isnan(data["y"]).mean())
    assert dict(found[0].extra)["missing_information"] == pytest.approx(missing, abs=0.08)
    assert found.check("imputation model").status == "warn"


def test_a_shift_moves_the_estimate_by_the_share_missing() -> None:
    data = frame(3)
    plain = gbv.MultipleImputation(n_imputations=5)
    share = float(np.isnan(data["y"])[data["arm"] == "new"].mean())
    moved = replace(plain, delta={"new": 2.0}).estimate(trial(data, covariates=["x"]))[0]
    base = plain.estimate(trial(data, covariates=["x"]))[0]
    # The same draws, so exactly.
    assert moved.value - base.value == pytest.approx(2.0 * share, rel=1e-9)
    both = replace(plain, delta=2.0).estimate(trial(data, covariates=["x"]))[0]
    other = float(np.isnan(data["y"])[data["arm"] == "usual"].mean())
    assert both.value - base.value == pytest.approx(2.0 * (share - other), rel=1e-9)


def test_draws_repeat_and_follow_a_generator() -> None:
    data = trial(frame(4), covariates=["x"])
    model = gbv.MultipleImputation(n_imputations=3)
    assert model.estimate(data)[0].value == model.estimate(data)[0].value
    other = model.estimate(data, rng=np.random.default_rng(1))
    assert other[0].value != model.estimate(data)[0].value
    assert other.provenance.seed is not None
    assert hash(replace(model, delta={"new": 1.0})) == hash(replace(model, delta=(("new", 1.0),)))


def test_binary_outcomes_stay_binary_and_an_arm_without_events_is_no_obstacle() -> None:
    data = frame(5, binary=True)
    found = gbv.MultipleImputation(gbv.ModifiedPoisson()).estimate(trial(data, covariates=["x"]))
    assert found[0].estimand.contrast == "risk_ratio"
    data["y"] = np.where((data["arm"] == "new") & ~np.isnan(data["y"]), 0.0, data["y"])
    none = gbv.MultipleImputation().estimate(trial(data, covariates=["x"]))
    assert none[0].value < 0
    assert none[0].std_error > 0
    assert none.check("imputation separation").status == "warn"
    # Only people who answered are counted for disclosure.
    seen = [int((~np.isnan(data["y"]))[data["arm"] == arm].sum()) for arm in ("usual", "new")]
    assert [cell.n for cell in none[0].support] == seen


def test_counts_are_matched_and_the_check_says_so() -> None:
    data = frame(6)
    data["y"] = np.round(np.exp(data["y"]))
    found = gbv.MultipleImputation().estimate(trial(data, covariates=["x"]))
    assert "matching" in found.check("imputed values y").message
    matched = gbv.MultipleImputation(model="matching").estimate(trial(data, covariates=["x"]))
    assert matched[0].std_error > 0


def test_strata_baseline_weights_and_clusters() -> None:
    data = frame(7)
    data["b"] = np.where(np.arange(200) % 9 == 0, np.nan, data["x"] + 1)
    data["s"] = np.arange(200) // 50
    data["w"] = 1.0 + np.arange(200) % 3
    data["g"] = np.arange(200) // 10 * 2 + np.arange(200) % 2
    found = gbv.MultipleImputation(gbv.LinAdjusted()).estimate(
        trial(data, baseline="b", stratum="s", weight="w", covariates=["x"])
    )
    assert "x, the strata, the weight, the baseline" in found.check("imputation model").message
    grouped = gbv.MultipleImputation().estimate(trial(data, cluster="g"))
    assert grouped.check("imputation clusters").status == "warn"


def test_pooling_results_made_elsewhere() -> None:
    results = []
    for last in (4.0, 6.0, 8.0):
        y = [1.0, 2.0, 3.0, 2.0, 5.0, last]
        results.append(gbv.DifferenceInMeans().estimate(trial({"y": y, "arm": ["usual"] * 3 + ["new"] * 3})))
    found = gbv.pool_imputations(results)
    values, variances = np.array([r[0].value for r in results]), np.array([r[0].std_error ** 2 for r in results])
    assert found[0].value == pytest.approx(values.mean())
    assert found[0].std_error == pytest.approx(np.sqrt(variances.mean() + 4 / 3 * values.var(ddof=1)))
    assert found.check("imputations").status == "warn"
    with pytest.raises(gbv.DesignError, match="at least two"):
        gbv.pool_imputations(results[:1])
    other = gbv.LinAdjusted().estimate(trial({"y": y, "arm": ["usual"] * 3 + ["new"] * 3}))
    with pytest.raises(gbv.DesignError, match="one estimator"):
        gbv.pool_imputations([results[0], other])
    bounds = gbv.ManskiBounds(0.0, 9.0).estimate(trial({"y": [*y[:5], np.nan], "arm": ["usual"] * 3 + ["new"] * 3}))
    with pytest.raises(gbv.DesignError, match="bounds, tests and posteriors"):
        gbv.pool_imputations([bounds, bounds])
    flat = gbv.DifferenceInMeans().estimate(trial({"y": [1.0] * 6, "arm": ["usual"] * 3 + ["new"] * 3}))
    undefined = gbv.pool_imputations([flat, flat])
    assert undefined[0].std_error is None
    assert undefined[0].reason.startswith("in an imputation")


def test_what_cannot_be_imputed_is_refused() -> None:
    data = frame(8)
    gone = {**data, "y": np.where(data["arm"] == "new", np.nan, 1.0)}
    with pytest.raises(gbv.IdentificationError, match="observed for 0 units of arm 'new'"):
        gbv.MultipleImputation().estimate(trial(gone))
    with pytest.raises(gbv.DataError, match="not 0 or 1"):
        gbv.MultipleImputation(model="logistic").estimate(trial(data))
    with pytest.raises(gbv.DesignError, match="names 1 arms"):
        gbv.MultipleImputation(delta={"newer": 1.0}).estimate(trial(data))
    few = {key: value[:8] for key, value in data.items()}
    few["y"] = np.array([1.0, 2.0, np.nan, 3.0, 2.0, np.nan, np.nan, 1.5])
    many = {**few, **{f"x{i}": np.random.default_rng(i).normal(size=8) for i in range(3)}}
    with pytest.raises(gbv.IdentificationError, match="coefficients of the imputation model"):
        gbv.MultipleImputation().estimate(trial(many, covariates=["x0", "x1", "x2"]))
    for wrong in ({"model": "hot deck"}, {"n_imputations": 1}, {"delta": float("nan")}):
        with pytest.raises(gbv.DesignError):
            gbv.MultipleImputation(**wrong)


def test_the_tipping_point_is_where_the_interval_meets_the_null() -> None:
    data = trial(frame(9), covariates=["x"])
    model = gbv.MultipleImputation(n_imputations=20)
    table = gbv.tipping_point(data, model)
    tips = [row for row in table.rows if row[-1]]
    assert len(tips) == 1
    # An exact zero of a continuous function, to a thousandth of the range of shifts.
    assert min(abs(tips[0][2]), abs(tips[0][3])) < 0.01
    at = replace(model, delta={"new": tips[0][0]}).estimate(data)
    assert tips[0][1] == pytest.approx(at[0].value, rel=1e-12)
    assert "marked tipping_point (1)" in " ".join(table.notes)
    assert len(table.support) == len(table.rows)
    axes = gbv.plot_tipping_point(table)
    assert axes.get_xlabel().startswith("shift")
    with pytest.raises(gbv.DesignError, match="another table"):
        gbv.plot_tipping_point(gbv.Table("t", ("a",), ((1,),)))


def test_tipping_points_of_risks_of_everybody_and_of_nobody() -> None:
    data = trial(frame(10, 400, binary=True), covariates=["x"])
    model = gbv.MultipleImputation(n_imputations=5)
    table = gbv.tipping_point(data, model, arm="new")
    assert "log odds" in table.notes[0]
    estimates = [row[1] for row in table.rows]
    assert estimates == sorted(estimates)
    same = gbv.tipping_point(data, model, arm=["usual", "new"], deltas=[-0.1, 0.1])
    assert "the same at every shift" in same.notes[1]
    with pytest.raises(gbv.DesignError, match="arm must name"):
        gbv.tipping_point(data, model, arm="newer")
    with pytest.raises(gbv.DesignError, match="delta=0"):
        gbv.tipping_point(data, replace(model, delta=1.0))
    with pytest.raises(gbv.DesignError, match="finite"):
        gbv.tipping_point(data, model, deltas=[np.inf])
