"""Proportional odds of trials: statsmodels as witness, and refusals by name."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pytest

import gbveval as gbv


def frame(seed: int = 1, n: int = 400) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    arm = np.arange(n) % 2
    x = 50 + 10 * rng.normal(size=n)
    y = np.digitize(0.7 * arm + 0.05 * (x - 50) + rng.logistic(size=n), [-0.3, 0.8, 2.0])
    return {
        "y": y.astype(float), "x": x, "arm": np.where(arm == 1, "new", "usual"),
        "s": np.arange(n) // 100, "g": np.arange(n) // 20 * 2 + arm,
    }  # fmt: skip


def trial(data: object, **roles: object) -> gbv.Trial:
    return gbv.Trial(data, outcome="y", arm="arm", control="usual", **roles)


def test_coefficients_and_cuts_are_those_of_statsmodels() -> None:
    from statsmodels.miscmodels.ordinal_model import OrderedModel

    data = frame()
    found = gbv.ProportionalOdds(std_error="model").estimate(trial(data, covariates=["x"]))
    x = np.column_stack([(data["arm"] == "new").astype(float), (data["x"] - 50) / 10])
    model = OrderedModel(data["y"].astype(int), x, distr="logit")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fit = model.fit(method="bfgs", disp=0, gtol=1e-8, maxiter=500)
    assert found["new vs usual"].value == pytest.approx(fit.params[0], abs=1e-6)
    assert found["new vs usual"].std_error == pytest.approx(fit.bse[0], rel=1e-4)
    assert found["x"].value == pytest.approx(fit.params[1] / 10, abs=1e-6)
    cuts = model.transform_threshold_params(fit.params)[1:-1] + fit.params[1] * 5
    assert [found[f"cut {j} of 3"].value for j in (1, 2, 3)] == pytest.approx(cuts, abs=1e-4)
    assert found[0].estimand.scale == "conditional"
    assert found.check("proportional odds y").status == "ok"


def test_two_levels_are_generalised_linear_with_weights_too() -> None:
    data = frame(2)
    data["y"] = (data["y"] > 1).astype(float)
    data["w"] = 1.0 + np.arange(400) % 3
    for roles in ({}, {"stratum": "s", "covariates": ["x"]}, {"weight": "w"}):
        ours = gbv.ProportionalOdds(std_error="HC0").estimate(trial(data, **roles))
        glm = gbv.GeneralisedLinear(std_error="HC0").estimate(trial(data, **roles))
        assert ours[0].value == pytest.approx(glm[0].value, rel=1e-7)
        assert ours[0].std_error == pytest.approx(glm[0].std_error, rel=1e-7)
    assert "one cut" in ours.check("proportional odds y").message


def test_clusters_strata_and_several_arms() -> None:
    data = frame(3)
    found = gbv.ProportionalOdds().estimate(trial(data, cluster="g"))
    assert (found[0].df, found[0].n_clusters) == (39.0, 40)
    cr1 = gbv.ProportionalOdds(std_error="CR1").estimate(trial(data, cluster="g"))
    # The jackknife and CR1 agree to a few per cent with forty clusters.
    assert found[0].std_error == pytest.approx(cr1[0].std_error, rel=0.05)
    stratified = gbv.ProportionalOdds().estimate(trial(data, stratum="s"))
    assert [row.term for row in stratified.terms] == ["new vs usual"]
    data["arm"] = np.tile(["usual", "new", "newer", "usual"], 100)
    several = gbv.ProportionalOdds().estimate(trial(data))
    assert [row.term for row in several.terms[:2]] == ["new vs usual", "newer vs usual"]
    assert several.covariance[0, 1] > 0


def test_several_outcomes_have_a_joint_covariance() -> None:
    data = frame(4)
    data["z"] = np.minimum(data["y"], 2)
    found = gbv.ProportionalOdds().estimate(gbv.Trial(data, outcome=["y", "z"], arm="arm", control="usual"))
    places = [found.index(("y", "new vs usual")), found.index(("z", "new vs usual"))]
    correlation = found.covariance[places[0], places[1]] / np.prod(found.std_errors[places])
    assert 0.9 < correlation < 1.0


def test_odds_that_cross_are_told() -> None:
    rng = np.random.default_rng(5)
    arm = np.arange(600) % 2
    y = np.where(arm == 1, rng.choice(3, 600, p=[0.45, 0.1, 0.45]), rng.choice(3, 600, p=[0.3, 0.4, 0.3]))
    data = {"y": y, "arm": np.where(arm == 1, "new", "usual")}
    found = gbv.ProportionalOdds().estimate(trial(data))
    assert found.check("proportional odds y").status == "warn"
    assert "WinProbability" in found.check("proportional odds y").message


def test_ugly_data_are_refused_by_name() -> None:
    data = frame(6)
    with pytest.raises(gbv.IdentificationError, match="level 5 of 5"):
        gbv.ProportionalOdds(levels=(0, 1, 2, 3, 4)).estimate(trial(data))
    with pytest.raises(gbv.DataError, match="none of the levels"):
        gbv.ProportionalOdds(levels=(0, 1, 2)).estimate(trial(data))
    apart = {**data, "y": np.where(data["arm"] == "new", 3.0, np.minimum(data["y"], 2))}
    with pytest.raises(gbv.IdentificationError, match="separated"):
        gbv.ProportionalOdds().estimate(trial(apart))
    with pytest.raises(gbv.IdentificationError, match="one value only"):
        gbv.ProportionalOdds().estimate(trial({**data, "y": np.ones(400)}))
    with pytest.raises(gbv.DesignError, match="400 distinct values"):
        gbv.ProportionalOdds().estimate(trial({**data, "y": data["x"]}))
    gone = {**data, "y": np.where(data["arm"] == "new", np.nan, data["y"])}
    with pytest.raises(gbv.IdentificationError, match="at least two are needed"):
        gbv.ProportionalOdds().estimate(trial(gone))
    with pytest.raises(gbv.IdentificationError, match="collinear"):
        gbv.ProportionalOdds().estimate(trial({**data, "x": data["arm"] == "new"}, covariates=["x"]))
    for roles, wrong in (({"cluster": "g"}, "HC1"), ({}, "CR1")):
        with pytest.raises(gbv.DesignError):
            gbv.ProportionalOdds(std_error=wrong).estimate(trial(data, **roles))
    with pytest.raises(gbv.DesignError, match="one outcome without weights"):
        gbv.ProportionalOdds(std_error="model").estimate(trial({**data, "w": data["x"]}, weight="w"))
    for options in ({"std_error": "HC2"}, {"levels": (1,)}, {"levels": (2, 1)}):
        with pytest.raises(gbv.DesignError):
            gbv.ProportionalOdds(**options)


def test_unused_categories_and_missing_outcomes() -> None:
    data = frame(7)
    data["y"][:10] = np.nan
    table = pd.DataFrame(data).assign(arm=pd.Categorical(data["arm"], categories=["usual", "new", "none"]))
    found = gbv.ProportionalOdds().estimate(trial(table))
    assert found[0].n_units == 390
