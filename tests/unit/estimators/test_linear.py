"""Regressions of a trial against statsmodels, brute force and closed forms."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import statsmodels.api as sm

import gbveval as gbv


def people(seed: int = 1, n: int = 90, arms: int = 2) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    arm = np.arange(n) % arms
    x = rng.normal(size=n)
    return {
        "y": 1.0 + 0.5 * arm + x + rng.normal(size=n),
        "z": rng.normal(size=n),
        "arm": [("usual", "letter", "visit")[a] for a in arm],
        "x": x,
        "w": rng.uniform(0.5, 3.0, n),
        "school": [f"s{(i // arms) % 9}.{i % arms}" for i in range(n)],
        "region": np.repeat(["a", "b", "c"], n // 3),
        "site": [f"site {i % 15}" for i in range(n)],
    }


def trial(frame: dict[str, Any], **roles: Any) -> gbv.Trial:
    return gbv.Trial(frame, arm="arm", control="usual", **{"outcome": "y", **roles})


def test_ancova_with_three_arms_strata_and_weights_is_statsmodels() -> None:
    frame = people(arms=3)
    found = gbv.Ancova(std_error="HC3").estimate(trial(frame, covariates=["x"], stratum="region", weight="w"))
    arm, region = np.array(frame["arm"]), np.array(frame["region"])
    columns = [np.ones(90), arm == "letter", arm == "visit", frame["x"], region == "b", region == "c"]
    model = sm.WLS(frame["y"], np.column_stack(columns).astype(float), weights=frame["w"]).fit()
    robust = model.get_robustcov_results("HC3")
    np.testing.assert_allclose(found.values, model.params[1:4], rtol=1e-10)
    np.testing.assert_allclose(found.covariance, robust.cov_params()[1:4, 1:4], rtol=1e-9, atol=1e-14)
    assert [row.term for row in found.terms] == ["letter vs usual", "visit vs usual", "x"]
    extra = dict(found[0].extra)
    assert extra["r_squared"] == pytest.approx(model.rsquared, rel=1e-10)
    assert extra["adjusted_r_squared"] == pytest.approx(model.rsquared_adj, rel=1e-10)
    assert extra["residual_sd"] == pytest.approx(np.sqrt(model.scale), rel=1e-10)


@pytest.mark.parametrize(("kind", "correction"), [("CR0", False), ("CR1S", True)])
def test_cluster_robust_errors_are_those_of_statsmodels(kind: str, correction: bool) -> None:
    frame = people()
    found = gbv.Ancova(std_error=kind).estimate(trial(frame, covariates=["x"], cluster="school"))
    design = np.column_stack([np.ones(90), np.array(frame["arm"]) == "letter", frame["x"]]).astype(float)
    groups = np.unique(frame["school"], return_inverse=True)[1]
    model = sm.OLS(frame["y"], design).fit(
        cov_type="cluster", cov_kwds={"groups": groups, "use_correction": correction}
    )
    assert found[0].std_error == pytest.approx(model.bse[1], rel=1e-10)
    assert found[0].df == 17.0


def test_classical_errors_have_no_influence_and_their_covariance() -> None:
    frame = people()
    found = gbv.Ancova(std_error="classical").estimate(trial(frame, outcome=["y", "z"], covariates=["x"]))
    design = np.column_stack([np.ones(90), np.array(frame["arm"]) == "letter", frame["x"]]).astype(float)
    expected = sm.OLS(frame["y"], design).fit().cov_params()
    assert found.influence is None
    assert found.covariance[0, 0] == pytest.approx(expected[1, 1], rel=1e-10)
    assert np.isnan(found.covariance[0, 3]), "nothing is known between outcomes"


def test_every_cluster_the_same_is_the_difference_of_cluster_means() -> None:
    frame = people()
    school, y, arm = (np.array(frame[name]) for name in ("school", "y", "arm"))
    keep = np.ones(90, dtype=bool)
    keep[[0, 2, 4, 20, 31, 33]] = False
    small = {name: np.asarray(column)[keep] for name, column in frame.items()}
    found = gbv.Ancova(population="cluster_average").estimate(trial(small, cluster="school"))
    means = {s: y[keep & (school == s)].mean() for s in np.unique(school)}
    treated = [means[s] for s in means if arm[school == s][0] == "letter"]
    control = [means[s] for s in means if arm[school == s][0] == "usual"]
    assert found[0].value == pytest.approx(np.mean(treated) - np.mean(control), rel=1e-10)
    assert found[0].estimand.population == "cluster_average"


def test_population_and_clusters_must_fit() -> None:
    with pytest.raises(gbv.DesignError, match="needs clusters"):
        gbv.Ancova(population="cluster_average").estimate(trial(people()))
    with pytest.raises(gbv.DesignError, match="treat people as independent"):
        gbv.Ancova(std_error="HC2").estimate(trial(people(), cluster="school"))
    with pytest.raises(gbv.DesignError, match="population must be one of"):
        gbv.Ancova(population="everyone")


def test_a_missing_baseline_is_left_out_and_counted() -> None:
    frame = people()
    baseline = frame["x"].copy()
    baseline[:4] = np.nan
    found = gbv.Ancova().estimate(trial({**frame, "b": baseline}, baseline="b"))
    assert found[0].n_units == 86
    assert "4 units with an outcome have no baseline" in found.check("baseline y").message
    assert found[1].term == "intercept"
    assert "baseline" in [row.term for row in found.terms]


def test_errors_by_site_where_people_were_assigned_within_sites() -> None:
    frame = people()
    found = gbv.Ancova(cluster_by="site", std_error="CR0").estimate(trial(frame, site="site"))
    design = np.column_stack([np.ones(90), np.array(frame["arm"]) == "letter"]).astype(float)
    groups = np.unique(frame["site"], return_inverse=True)[1]
    model = sm.OLS(frame["y"], design).fit(cov_type="cluster", cov_kwds={"groups": groups, "use_correction": False})
    assert found[0].std_error == pytest.approx(model.bse[1], rel=1e-10)
    assert found[0].n_clusters == 15
    with pytest.raises(gbv.DesignError, match="lie in one site"):
        gbv.Ancova(cluster_by="site").estimate(trial(frame, site="site", cluster="school"))


def test_pairs_are_clustered_by_pair() -> None:
    rng = np.random.default_rng(3)
    pair = np.repeat(np.arange(12), 2)
    frame = {"y": rng.normal(size=24) + pair, "arm": ["usual", "letter"] * 12, "pair": pair}
    found = gbv.Ancova().estimate(trial(frame, pair="pair"))
    plain = gbv.DifferenceInMeans().estimate(trial(frame, pair="pair"))
    # With one unit an arm in every pair the regression with pair effects is the mean difference, and CR2 by pair its
    # textbook standard error.
    assert found[0].value == pytest.approx(plain[0].value, rel=1e-10)
    assert found[0].std_error == pytest.approx(plain[0].std_error, rel=1e-8)
    assert found[0].df == pytest.approx(11.0, rel=1e-8)


def test_lin_with_strata_alone_is_the_stratified_difference() -> None:
    rng = np.random.default_rng(4)
    stratum = np.repeat([0, 1, 2], [20, 30, 50])
    treated = np.concatenate([np.arange(20) < 5, np.arange(30) < 15, np.arange(50) < 40])
    frame = {
        "y": rng.normal(size=100) + stratum * (1.0 + treated),
        "arm": np.where(treated, "letter", "usual"),
        "s": stratum,
    }
    lin = gbv.LinAdjusted().estimate(trial(frame, stratum="s"))
    plain = gbv.DifferenceInMeans().estimate(trial(frame, stratum="s"))
    assert lin[0].value == pytest.approx(plain[0].value, rel=1e-10)
    # HC2 of a saturated regression is Neyman's variance in every stratum.
    assert lin[0].std_error == pytest.approx(plain[0].std_error, rel=1e-9)
    ancova = gbv.Ancova().estimate(trial(frame, stratum="s"))
    assert abs(ancova[0].value - plain[0].value) > 0.01, "one slope weights strata by how evenly they were split"


def test_lin_with_three_arms_is_a_regression_in_each_arm() -> None:
    frame = people(arms=3)
    found = gbv.LinAdjusted().estimate(trial(frame, covariates=["x"]))
    arm, x, y = (np.array(frame[name]) for name in ("arm", "x", "y"))
    fitted = {}
    for label in ("usual", "letter", "visit"):
        member = arm == label
        slope, level = np.polyfit(x[member], y[member], 1)
        fitted[label] = level + slope * x.mean()
    assert found["letter vs usual"].value == pytest.approx(fitted["letter"] - fitted["usual"], rel=1e-9)
    assert found["visit vs usual"].value == pytest.approx(fitted["visit"] - fitted["usual"], rel=1e-9)
    both = found.contrast({"letter vs usual": 1.0, "visit vs usual": -1.0}, name="letter vs visit")
    assert both[0].std_error is not None


def test_lin_centres_at_the_weighted_mean() -> None:
    frame = people()
    found = gbv.LinAdjusted().estimate(trial(frame, covariates=["x"], weight="w"))
    arm, x, y, w = (np.array(frame[name]) for name in ("arm", "x", "y", "w"))
    fitted = []
    for label in ("letter", "usual"):
        member = arm == label
        slope, level = np.polyfit(x[member], y[member], 1, w=np.sqrt(w[member]))
        fitted.append(level + slope * np.average(x, weights=w))
    assert found[0].value == pytest.approx(fitted[0] - fitted[1], rel=1e-9)


def test_lin_refuses_pairs() -> None:
    frame = {"y": [1.0, 2.0, 3.0, 5.0], "arm": ["usual", "letter"] * 2, "p": [0, 0, 1, 1]}
    with pytest.raises(gbv.DesignError, match="does not take the role 'pair'"):
        gbv.LinAdjusted().estimate(trial(frame, pair="p"))


def test_joint_test_without_clusters_is_the_f_test_of_statsmodels() -> None:
    frame = people(arms=3)
    found = gbv.JointTest(model=gbv.Ancova(std_error="classical")).estimate(trial(frame, covariates=["x"]))
    arm = np.array(frame["arm"])
    design = np.column_stack([np.ones(90), arm == "letter", arm == "visit", frame["x"]]).astype(float)
    expected = sm.OLS(frame["y"], design).fit().f_test(np.eye(4)[1:3])
    assert found[0].statistic == pytest.approx(float(expected.fvalue), rel=1e-10)
    assert found[0].p_value == pytest.approx(float(expected.pvalue), rel=1e-9)
    assert found[0].df2 == expected.df_denom


def test_joint_test_names_its_terms() -> None:
    frame = people()
    with pytest.raises(gbv.DesignError, match="no such coefficient"):
        gbv.JointTest(("age",)).estimate(trial(frame, covariates=["x"]))
    with pytest.raises(gbv.DesignError, match="named twice"):
        gbv.JointTest(("x", "x")).estimate(trial(frame, covariates=["x"]))
    with pytest.raises(gbv.DesignError, match="is for clustered errors"):
        gbv.JointTest(test="hotelling").estimate(trial(frame))


def test_one_treated_cluster_is_refused() -> None:
    frame = people()
    keep = np.array(
        [label == "usual" or school == "s0.1" for label, school in zip(frame["arm"], frame["school"], strict=True)]
    )
    small = {name: np.asarray(column)[keep] for name, column in frame.items()}
    for estimator in (gbv.Ancova(), gbv.LinAdjusted(), gbv.DifferenceInMeans(), gbv.JointTest()):
        with pytest.raises(gbv.GbvevalError, match=r"has 1 cluster|1 clusters"):
            estimator.estimate(trial(small, cluster="school"))


def test_weights_of_zero_take_no_part() -> None:
    frame = people()
    weight = frame["w"].copy()
    weight[:10] = 0.0
    found = gbv.Ancova().estimate(trial({**frame, "w": weight}, weight="w"))
    cut = {name: np.asarray(column)[10:] for name, column in frame.items()}
    expected = gbv.Ancova().estimate(trial(cut, weight="w"))
    assert found[0].value == pytest.approx(expected[0].value, rel=1e-12)
    assert found[0].std_error == pytest.approx(expected[0].std_error, rel=1e-12)
    assert "10 units have weight zero" in found.check("weights y").message


def test_many_clusters_of_one_are_hc2() -> None:
    rng = np.random.default_rng(9)
    n = 200_000
    treated = rng.random(n) < 0.5
    frame = {
        "y": rng.normal(size=n),
        "arm": np.where(treated, "letter", "usual"),
        "id": np.arange(n),
        "x": treated + rng.normal(size=n),
    }
    clustered = gbv.Ancova().estimate(trial(frame, cluster="id", covariates=["x"]))
    plain = gbv.Ancova().estimate(trial(frame, covariates=["x"]))
    assert clustered[0].std_error == pytest.approx(plain[0].std_error, rel=1e-9)
