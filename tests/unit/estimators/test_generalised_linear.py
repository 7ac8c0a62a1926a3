"""`GeneralisedLinear` against closed forms and statsmodels, and on ugly data."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from tests.unit.estimators.tables import table, trial

import gbveval as gbv


def test_a_two_by_two_table_has_its_closed_forms() -> None:
    data = trial(table((30, 70), (20, 80)))
    p0, p1 = 0.3, 0.2
    for link, value, error in (
        ("logit", np.log(20 / 80 / (30 / 70)), np.sqrt(1 / 20 + 1 / 80 + 1 / 30 + 1 / 70)),
        ("log", np.log(p1 / p0), np.sqrt(1 / 20 - 1 / 100 + 1 / 30 - 1 / 100)),
        ("identity", p1 - p0, np.sqrt(p0 * (1 - p0) / 100 + p1 * (1 - p1) / 100)),
    ):
        row = gbv.GeneralisedLinear(link=link, std_error="model").estimate(data)[0]
        # Woolf's and Wald's formulas, exact up to rounding.
        assert row.value == pytest.approx(value, rel=1e-10)
        assert row.std_error == pytest.approx(error, rel=1e-10)
        # HC0 of a saturated model for a binary outcome is the model's own.
        robust = gbv.GeneralisedLinear(link=link, std_error="HC0").estimate(data)[0]
        assert robust.std_error == pytest.approx(error, rel=1e-10)


def test_the_contrast_follows_from_family_link_and_covariates() -> None:
    frame = table((30, 70), (20, 80)).assign(x=np.tile([0.0, 1.0, 2.0, 3.0], 50), time=1.5)
    asked = {
        ("binomial", "logit"): "odds_ratio",
        ("binomial", "probit"): "probit_difference",
        ("binomial", "log"): "risk_ratio",
        ("binomial", "identity"): "risk_difference",
        ("poisson", "log"): "risk_ratio",
        ("gaussian", "identity"): "risk_difference",
    }
    for (family, link), contrast in asked.items():
        for covariates, scale in (([], "marginal"), (["x"], "conditional")):
            result = gbv.GeneralisedLinear(family, link).estimate(trial(frame, covariates=covariates))
            assert (result[0].estimand.contrast, result[0].estimand.scale) == (contrast, scale)
    rates = gbv.GeneralisedLinear("poisson").estimate(trial(frame, exposure="time"))
    assert rates[0].estimand.contrast == "rate_ratio"


def simulated(n: int = 400) -> pd.DataFrame:
    rng = np.random.default_rng(5)
    arm = np.repeat(["usual", "new", "more"], [n // 2, n // 4, n // 4])
    x = rng.normal(loc=50.0, scale=3.0, size=n)
    return pd.DataFrame(
        {
            "arm": arm,
            "x": x,
            "s": rng.integers(0, 3, n),
            "w": rng.uniform(0.5, 3.0, n),
            "t": rng.uniform(1.0, 4.0, n),
            "y": rng.poisson(np.exp(0.05 * (x - 50.0) + 0.3 * (arm == "new"))),
        }
    )


def test_several_arms_strata_exposure_and_weights_agree_with_statsmodels() -> None:
    frame = simulated()
    data = trial(frame, covariates=["x"], stratum="s", exposure="t", weight="w")
    columns = pd.DataFrame({"new": frame["arm"] == "new", "more": frame["arm"] == "more", "x": frame["x"]})
    columns = columns.assign(s1=frame["s"] == 1, s2=frame["s"] == 2).astype(float)
    model = sm.GLM(
        frame["y"],
        sm.add_constant(columns),
        family=sm.families.Poisson(),
        offset=np.log(frame["t"]),
        var_weights=frame["w"],
    ).fit(cov_type="HC0", tol=1e-13)
    result = gbv.GeneralisedLinear("poisson", std_error="HC0").estimate(data)
    assert [row.term for row in result.terms] == ["more vs usual", "new vs usual", "x"]
    # Two fits of one model, each converged to about 1e-10.
    np.testing.assert_allclose(result.values, model.params[["more", "new", "x"]], rtol=1e-7)
    np.testing.assert_allclose(result.std_errors, model.bse[["more", "new", "x"]], rtol=1e-7)


def test_quasipoisson_multiplies_the_model_variance_by_pearsons_dispersion() -> None:
    data = trial(simulated(), covariates=["x"])
    plain = gbv.GeneralisedLinear("poisson", std_error="model").estimate(data)
    quasi = gbv.GeneralisedLinear("quasipoisson", std_error="model").estimate(data)
    frame = simulated()
    columns = pd.DataFrame({"more": frame["arm"] == "more", "new": frame["arm"] == "new", "x": frame["x"]})
    model = sm.GLM(frame["y"], sm.add_constant(columns.astype(float)), family=sm.families.Poisson()).fit(scale="X2")
    np.testing.assert_allclose(quasi.std_errors / plain.std_errors, np.sqrt(model.scale), rtol=1e-7)


def test_a_saturated_log_binomial_near_the_boundary_is_the_ratio_of_shares() -> None:
    row = gbv.GeneralisedLinear(link="log", std_error="model").estimate(trial(table((97, 3), (99, 1))))[0]
    assert row.value == pytest.approx(np.log(99 / 97), rel=1e-8)


def test_a_log_binomial_that_scoring_leaves_is_found_inside_or_refused_on_the_boundary() -> None:
    rng = np.random.default_rng(8)
    found, messages = 0, set()
    for _ in range(20):
        x = rng.uniform(0.0, 1.0, 80)
        frame = pd.DataFrame({"x": x, "arm": np.tile(["usual", "new"], 40)})
        frame["y"] = (rng.random(80) < np.minimum(np.exp(-1.5 + 1.5 * x), 1.0)).astype(float)
        try:
            result = gbv.GeneralisedLinear(link="log", std_error="model").estimate(trial(frame, covariates=["x"]))
        except gbv.GbvevalError as error:
            messages.add(str(error).split(":")[0])
            continue
        beta = result.values[[result.index("intercept"), 0, result.index("x")]]
        columns = np.column_stack([np.ones(80), frame["arm"] == "new", x])
        mu = np.exp(columns @ beta)
        assert mu.max() < 1.0
        # The score of the log-binomial likelihood, sum of (y - mu) / (1 - mu) x, is zero at its maximum.
        score = columns.T @ ((frame["y"].to_numpy() - mu) / (1.0 - mu))
        assert np.abs(score).max() < 1e-5
        found += 1
    assert found > 5
    assert messages <= {"The maximum for outcome 'y' lies on the boundary of the model"}


def test_separation_is_refused_by_name_and_firth_is_finite() -> None:
    data = trial(table((10, 30), (0, 40)))
    with pytest.raises(gbv.GbvevalError, match=r"separated.*new.*firth"):
        gbv.GeneralisedLinear().estimate(data)
    with pytest.raises(gbv.GbvevalError, match="separated"):
        gbv.GeneralisedLinear("poisson").estimate(data)
    with pytest.raises(gbv.GbvevalError, match="boundary"):
        gbv.GeneralisedLinear(link="identity").estimate(data)
    row = gbv.GeneralisedLinear(estimation="firth").estimate(data)[0]
    # In a two-by-two table Firth's estimate adds a half to each cell.
    assert row.value == pytest.approx(np.log(0.5 / 40.5 / (10.5 / 30.5)), rel=1e-8)


def test_a_category_without_events_is_named() -> None:
    frame = table((10, 30), (8, 32)).assign(site=np.tile(["a", "b"], 40), x=np.random.default_rng(0).normal(size=80))
    frame.loc[frame["site"] == "b", "y"] = 0
    with pytest.raises(gbv.GbvevalError, match=r"combination of site\[b\] tells"):
        gbv.GeneralisedLinear().estimate(trial(frame, covariates=["x", "site"]))


def test_clusters_and_standard_errors_must_fit() -> None:
    frame = table((30, 70), (20, 80)).assign(g=np.repeat(np.arange(20), 10))
    clustered = trial(frame, cluster="g")
    with pytest.raises(gbv.DesignError, match="independent"):
        gbv.GeneralisedLinear(std_error="model").estimate(clustered)
    with pytest.raises(gbv.DesignError, match="needs clusters"):
        gbv.GeneralisedLinear(std_error="CR2").estimate(trial(frame))
    with pytest.raises(gbv.DesignError, match="need clusters"):
        gbv.GeneralisedLinear(std_error="HC0", df="satterthwaite").estimate(trial(frame))
    result = gbv.GeneralisedLinear().estimate(clustered)
    assert result[0].n_clusters == 20
    assert 4 < result[0].df < 19


def test_one_treated_cluster_an_empty_arm_and_pairs_are_refused() -> None:
    frame = table((30, 70), (4, 6)).assign(g=[*np.repeat(np.arange(10), 10), *([99] * 10)])
    with pytest.raises(gbv.GbvevalError, match="1 cluster with an outcome"):
        gbv.GeneralisedLinear().estimate(trial(frame, cluster="g"))
    gone = frame.assign(y=frame["y"].where(frame["arm"] == "usual"))
    with pytest.raises(gbv.GbvevalError, match="0 units with an outcome"):
        gbv.GeneralisedLinear().estimate(trial(gone))
    pairs = table((1, 4), (2, 3)).assign(p=list(range(5)) * 2)
    with pytest.raises(gbv.DesignError, match="pair"):
        gbv.GeneralisedLinear().estimate(trial(pairs, pair="p"))


def test_a_stratum_without_controls_adds_nothing_and_an_arm_that_is_a_stratum_is_refused() -> None:
    frame = table((30, 70), (20, 80)).assign(s=["a"] * 100 + ["a"] * 90 + ["b"] * 10)
    result = gbv.GeneralisedLinear("gaussian").estimate(trial(frame, stratum="s"))
    rest = gbv.GeneralisedLinear("gaussian").estimate(trial(frame[frame["s"] == "a"].reset_index(drop=True)))
    assert result[0].value == pytest.approx(rest[0].value, abs=1e-12)
    with pytest.raises(gbv.GbvevalError, match="collinear"):
        gbv.GeneralisedLinear().estimate(trial(frame.assign(s=frame["arm"]), stratum="s"))


def test_weights_of_zero_take_no_part_and_unused_categories_do_no_harm() -> None:
    frame = table((30, 70), (20, 80)).assign(w=[0.0] * 10 + [1.0] * 190)
    frame["arm"] = pd.Categorical(frame["arm"], categories=["never used", "usual", "new"])
    result = gbv.GeneralisedLinear().estimate(trial(frame, weight="w"))
    rest = gbv.GeneralisedLinear().estimate(trial(frame.iloc[10:].reset_index(drop=True)))
    np.testing.assert_allclose(result.values, rest.values, rtol=1e-9)
    np.testing.assert_allclose(result.std_errors, rest.std_errors, rtol=1e-9)
    assert "10 units" in result.check("weights").message


def test_singleton_clusters_give_hc2() -> None:
    frame = table((30, 70), (20, 80)).assign(g=np.arange(200))
    clustered = gbv.GeneralisedLinear(std_error="CR2").estimate(trial(frame, cluster="g"))
    robust = gbv.GeneralisedLinear(std_error="HC2").estimate(trial(frame))
    np.testing.assert_allclose(clustered.std_errors, robust.std_errors, rtol=1e-9)


def test_outcomes_outside_the_family_are_refused_without_their_value() -> None:
    frame = table((30, 70), (20, 80)).astype({"y": float})
    frame.loc[0, "y"] = 48151.5
    with pytest.raises(gbv.DataError, match="not 0 or 1 in 1 rows") as refusal:
        gbv.GeneralisedLinear().estimate(trial(frame))
    assert "48151" not in str(refusal.value)
    with pytest.raises(gbv.DataError, match="negative in 200 rows"):
        gbv.GeneralisedLinear("poisson").estimate(trial(frame.assign(y=-1.0 - frame["y"])))


def test_options_that_do_not_exist_are_refused() -> None:
    for options, word in (
        ({"family": "gamma"}, "family"),
        ({"link": "sqrt"}, "link"),
        ({"std_error": "HC9"}, "std_error"),
        ({"estimation": "bayes"}, "estimation"),
        ({"df": "many"}, "df"),
        ({"family": "gaussian", "estimation": "firth"}, "Firth"),
    ):
        with pytest.raises(gbv.DesignError, match=word):
            gbv.GeneralisedLinear(**options)


def test_several_outcomes_share_a_covariance_unless_it_is_the_models() -> None:
    frame = table((30, 70), (20, 80)).assign(z=np.tile([0, 1, 1, 1], 50))
    data = trial(frame, outcome=["y", "z"])
    result = gbv.GeneralisedLinear().estimate(data)
    assert len(result) == 4
    assert np.isfinite(result.covariance).all()
    with pytest.raises(gbv.DesignError, match="one outcome at a time"):
        gbv.GeneralisedLinear(std_error="model").estimate(data)


def test_errors_clustered_by_site_let_arms_vary_inside() -> None:
    frame = simulated(400).assign(g=np.arange(400) % 16)
    columns = pd.DataFrame({"more": frame["arm"] == "more", "new": frame["arm"] == "new", "x": frame["x"]})
    model = sm.GLM(frame["y"], sm.add_constant(columns.astype(float)), family=sm.families.Poisson()).fit(
        cov_type="cluster", cov_kwds={"groups": frame["g"]}, tol=1e-13
    )
    asked = gbv.GeneralisedLinear("poisson", std_error="CR1S", cluster_by="site")
    result = asked.estimate(trial(frame, covariates=["x"], site="g"))
    # Two fits of one model, each converged to about 1e-10.
    np.testing.assert_allclose(result.std_errors[[0, 1]], model.bse[["more", "new"]], rtol=1e-7)
    assert result[0].df == 15
    assert "by site" in result.method.std_error
    with pytest.raises(gbv.DesignError, match="site"):
        asked.estimate(trial(frame, covariates=["x"]))
    with pytest.raises(gbv.GbvevalError, match="Only 2 sites"):
        asked.estimate(trial(frame.assign(g=frame["g"] % 2), site="g"))
