"""`Standardised` against closed forms, stacked estimating equations and other estimators, and on ugly data."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from scipy.special import expit, logit
from tests.unit.estimators.tables import table, trial

import gbveval as gbv

FloatArray = NDArray[np.float64]
REFERENCE = Path(__file__).parents[3].parent / "shared" / "reference" / "rct"


def people(n: int = 240, seed: int = 4) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    arm, x, g = np.tile([0, 1, 1], n // 3), rng.normal(size=n), np.repeat(np.arange(n // 12), 12)
    y = (rng.random(n) < expit(-0.5 + 0.7 * arm + 0.8 * x)).astype(float)
    return pd.DataFrame(
        {
            "y": y,
            "x": x,
            "b": (x > 0.3).astype(float),
            "g": g,
            "w": rng.uniform(0.5, 2.0, n),
            "arm": np.where(arm == 1, "new", "usual"),
        }
    )


def test_without_covariates_contrasts_and_errors_are_the_textbooks() -> None:
    asked = gbv.Standardised(contrasts=("risk_difference", "risk_ratio", "odds_ratio"), std_error="HC0")
    result = asked.estimate(trial(table((30, 70), (20, 80))))
    p0, p1 = 0.3, 0.2
    expected = [p1 - p0, np.log(p1 / p0), np.log(p1 / (1 - p1) * (1 - p0) / p0), p0, p1]
    v0, v1 = p0 * (1 - p0) / 100, p1 * (1 - p1) / 100
    errors = [
        np.sqrt(v0 + v1),
        np.sqrt(v0 / p0**2 + v1 / p1**2),
        np.sqrt(v0 / (p0 * (1 - p0)) ** 2 + v1 / (p1 * (1 - p1)) ** 2),
        np.sqrt(v0),
        np.sqrt(v1),
    ]
    # Exact up to rounding.
    np.testing.assert_allclose(result.values, expected, rtol=1e-10)
    np.testing.assert_allclose(result.std_errors, errors, rtol=1e-10)
    assert [row.estimand.contrast for row in result.terms] == [
        "risk_difference",
        "risk_ratio",
        "odds_ratio",
        "mean",
        "mean",
    ]
    assert {row.estimand.scale for row in result.terms} == {"marginal"}
    # A level has an interval, and no test that it is zero.
    assert result.records()[3]["p_value"] is None
    assert result.records()[3]["conf_low"] < p0 < result.records()[3]["conf_high"]


def test_a_saturated_model_averages_shares_over_the_covariate() -> None:
    frame = people()
    result = gbv.Standardised(interactions=True).estimate(trial(frame, covariates=["b"], weight="w"))
    shares = frame.groupby("b")["w"].sum() / frame["w"].sum()
    risk = (frame["y"] * frame["w"]).groupby([frame["arm"], frame["b"]]).sum() / frame.groupby(["arm", "b"])["w"].sum()
    expected = [float(sum(risk[arm, b] * shares[b] for b in (0.0, 1.0))) for arm in ("usual", "new")]
    np.testing.assert_allclose([row.value for row in result.terms[1:]], expected, rtol=1e-9)
    assert result[0].value == pytest.approx(expected[1] - expected[0], rel=1e-9)


def test_the_linear_model_is_lins_regression() -> None:
    frame = people()
    data = trial(frame, covariates=["x"])
    lin = gbv.LinAdjusted(std_error="HC2").estimate(data)[0]
    ours = gbv.Standardised("linear", interactions=True, covariates="fixed", std_error="HC2").estimate(data)[0]
    # Lin's coefficient of the arm is the same average with covariate means taken as known.
    assert ours.value == pytest.approx(lin.value, rel=1e-9)
    assert ours.std_error == pytest.approx(lin.std_error, rel=1e-9)
    wider = gbv.Standardised("linear", interactions=True, std_error="HC2").estimate(data)[0]
    assert wider.std_error > ours.std_error
    clustered = trial(frame.assign(arm=np.where(frame["g"] % 2 == 0, "usual", "new")), covariates=["x"], cluster="g")
    lin = gbv.LinAdjusted(std_error="CR2").estimate(clustered)[0]
    ours = gbv.Standardised("linear", interactions=True, covariates="fixed", std_error="CR2").estimate(clustered)[0]
    assert (ours.std_error, ours.df) == (pytest.approx(lin.std_error, rel=1e-8), pytest.approx(lin.df, rel=1e-8))


def stacked(frame: pd.DataFrame, point: FloatArray) -> FloatArray:
    """Return each row's estimating functions of (coefficients, two means) for a logistic model with weights."""
    x, w = frame["x"].to_numpy(), frame["w"].to_numpy()
    arm = (frame["arm"] == "new").to_numpy(float)

    def columns(a: FloatArray) -> FloatArray:
        return np.column_stack([np.ones(x.size), a, x, a * x])

    beta, means = point[:4], point[4:]
    score = columns(arm) * (frame["y"].to_numpy() - expit(columns(arm) @ beta))[:, None]
    parts = [expit(columns(np.full(x.size, a)) @ beta) - mean for a, mean in zip((0.0, 1.0), means, strict=True)]
    return np.column_stack([score, *parts]) * w[:, None]


@pytest.mark.parametrize("clustered", [False, True])
def test_errors_are_those_of_stacked_estimating_equations(clustered: bool) -> None:
    frame = people()
    if clustered:
        frame["arm"] = np.where(frame["g"] % 2 == 0, "usual", "new")
    roles = {"cluster": "g"} if clustered else {}
    contrasts = ("risk_difference", "odds_ratio")
    result = gbv.Standardised(
        contrasts=contrasts, interactions=("x",), std_error="CR0" if clustered else "HC0"
    ).estimate(trial(frame, covariates=["x"], weight="w", **roles))
    model = gbv.GeneralisedLinear().estimate(
        trial(frame.assign(ax=frame["x"] * (frame["arm"] == "new")), covariates=["x", "ax"], weight="w")
    )
    beta = model.values[[1, 0, 2, 3]]
    point = np.append(beta, result.values[2:])
    h = 1e-6
    bread = np.column_stack(
        [(stacked(frame, point + h * e) - stacked(frame, point - h * e)).sum(axis=0) / (2 * h) for e in np.eye(6)]
    )
    rows = stacked(frame, point)
    if clustered:
        rows = pd.DataFrame(rows).groupby(frame["g"]).sum().to_numpy()
    inverse = np.linalg.inv(bread)
    covariance = inverse @ rows.T @ rows @ inverse.T
    p0, p1 = point[4:]
    gradients = np.array([[-1.0, 1.0], [-1 / (p0 * (1 - p0)), 1 / (p1 * (1 - p1))], [1.0, 0.0], [0.0, 1.0]])
    expected = np.sqrt(np.diag(gradients @ covariance[4:, 4:] @ gradients.T))
    # The derivatives of the equations are numerical: about 1e-9 each.
    np.testing.assert_allclose(result.std_errors, expected, rtol=1e-6)


def test_a_logistic_model_that_is_wrong_still_averages_to_the_marginal_risks_in_a_large_trial() -> None:
    rng = np.random.default_rng(7)
    n = 200_000
    arm, x = rng.integers(0, 2, n), rng.normal(size=n)
    risk = np.where(np.abs(x) > 1.0, 0.6, 0.1 + 0.2 * arm)
    frame = pd.DataFrame({"y": rng.random(n) < risk, "x": x, "arm": np.where(arm == 1, "new", "usual")})
    row = gbv.Standardised().estimate(trial(frame.astype({"y": float}), covariates=["x"]))[0]
    # The truth is 0.2 times P(|x| <= 1); four standard errors.
    assert abs(row.value - 0.2 * 0.6826894921) < 4 * row.std_error


def test_counts_with_exposure_give_rates_for_one_unit_of_it() -> None:
    rng = np.random.default_rng(3)
    time = rng.uniform(0.5, 4.0, 300)
    arm = np.tile([0, 1], 150)
    frame = pd.DataFrame({"t": time, "arm": np.where(arm == 1, "new", "usual")})
    frame["y"] = rng.poisson(np.exp(0.4 * arm) * time * rng.gamma(2.0, 0.5, 300))
    data = trial(frame, exposure="t")
    rates = frame.groupby("arm")["y"].sum() / frame.groupby("arm")["t"].sum()
    result = gbv.Standardised("poisson").estimate(data)
    assert result[0].estimand.contrast == "rate_ratio"
    assert result[0].value == pytest.approx(np.log(rates["new"] / rates["usual"]), rel=1e-9)
    assert result["mean under new"].value == pytest.approx(rates["new"], rel=1e-9)
    alike = gbv.NegativeBinomial(std_error="HC2").estimate(data)[0]
    ours = gbv.Standardised("negative_binomial", std_error="HC2").estimate(data)[0]
    # Without covariates the ratio of the means is the exponentiated coefficient.
    assert (ours.value, ours.std_error) == (pytest.approx(alike.value), pytest.approx(alike.std_error))


@pytest.mark.skipif(not REFERENCE.exists(), reason="../shared is absent: the numbers of other systems are not here")
def test_the_reference_systems_errors_are_those_of_a_fit_that_stopped_early() -> None:
    """R's glm stops at relative changes of the deviance below 1e-8, and its information is that of the step before."""
    cases = {case["id"]: case for case in json.loads((REFERENCE / "cases.json").read_text())}
    case = cases["gcomp_int_indo_stdreg"]
    frame = pd.read_csv(REFERENCE / "indo_rct.csv").dropna(subset=["pep", "z", "risk"])
    y, z, x = (frame[name].to_numpy(float) for name in ("pep", "z", "risk"))

    def columns(a: FloatArray) -> FloatArray:
        return np.column_stack([np.ones(y.size), a, x, a * x])

    def deviance(mean: FloatArray) -> float:
        return float(-2.0 * np.log(np.where(y == 1, mean, 1.0 - mean)).sum())

    mean = (y + 0.5) / 2.0
    eta, last = logit(mean), deviance(mean)
    while True:
        weight = mean * (1.0 - mean)
        information = (columns(z) * weight[:, None]).T @ columns(z)
        beta = np.linalg.solve(information, columns(z).T @ (weight * eta + y - mean))
        eta = columns(z) @ beta
        mean = expit(eta)
        if abs(deviance(mean) - last) / (abs(deviance(mean)) + 0.1) < 1e-8:
            break
        last = deviance(mean)
    rows = (columns(z) * (y - mean)[:, None]) @ np.linalg.inv(information)
    treated = columns(np.ones(y.size))
    risk = expit(treated @ beta)
    psi = (risk - risk.mean()) / y.size + rows @ (treated * (risk * (1.0 - risk))[:, None]).mean(axis=0)
    early = float(np.sqrt(y.size * psi.var(ddof=1)))
    assert early == pytest.approx(case["results"]["se_risk_1"], rel=1e-10)
    data = trial(frame.assign(arm=np.where(z == 1, "new", "usual")), outcome="pep", covariates=["risk"])
    ours = gbv.Standardised(interactions=True, std_error="HC0").estimate(data)["mean under new"].std_error
    assert ours is not None
    converged = ours * np.sqrt(y.size / (y.size - 1))
    assert 1e-6 < abs(converged / early - 1.0) < 1e-5


def test_several_arms_and_outcomes_have_a_joint_covariance() -> None:
    frame = people().assign(z=lambda f: 1.0 - f["y"] * (f["x"] > 0))
    frame["arm"] = np.tile(["usual", "new", "more", "new"], 60)
    result = gbv.Standardised().estimate(trial(frame, outcome=["y", "z"], covariates=["x"]))
    assert [row.term for row in result.terms[:2]] == ["more vs usual", "new vs usual"]
    assert len(result) == 10
    assert np.isfinite(result.covariance).all()
    assert len(result.main_rows()) == 4


def test_separation_and_undefined_ratios_are_refused_by_name() -> None:
    with pytest.raises(gbv.GbvevalError, match=r"separated.*new.*DifferenceInMeans"):
        gbv.Standardised().estimate(trial(table((30, 70), (0, 80))))
    frame = table((30, 70), (20, 80)).astype({"y": float})
    with pytest.raises(gbv.GbvevalError, match="not defined"):
        gbv.Standardised("linear", contrasts=("mean_ratio",)).estimate(trial(frame.assign(y=frame["y"] - 5.0)))


def test_options_that_do_not_fit_are_refused() -> None:
    data = trial(table((30, 70), (20, 80)))
    for options, word in (
        ({"model": "cloglog"}, "model"),
        ({"contrasts": ("hazard_ratio",)}, "contrast"),
        ({"contrasts": "risk_ratio"}, "tuple"),
        ({"covariates": "guessed"}, "covariates"),
        ({"std_error": "model"}, "fixed"),
        ({"interactions": "x"}, "interactions"),
    ):
        with pytest.raises(gbv.DesignError, match=word):
            gbv.Standardised(**options)
    with pytest.raises(gbv.DesignError, match="none"):
        gbv.Standardised(interactions=("x",)).estimate(data)
    with pytest.raises(gbv.DataError, match="not 0 or 1"):
        gbv.Standardised().estimate(trial(table((30, 70), (20, 80)).assign(y=lambda f: f["y"] * 3)))


def test_every_cluster_the_same_is_the_difference_of_cluster_risks() -> None:
    rng = np.random.default_rng(8)
    size = rng.integers(3, 25, 30)
    group = np.repeat(np.arange(30), size)
    treated = group % 2 == 1
    y = (rng.random(group.size) < 0.3 + 0.01 * size[group] * treated).astype(float)
    frame = {"y": y, "arm": np.where(treated, "new", "usual"), "c": group}
    trial = gbv.Trial(frame, outcome="y", arm="arm", control="usual", cluster="c")
    risks = np.bincount(group, weights=y) / size
    found = gbv.Standardised(population="cluster_average").estimate(trial)
    assert found[0].value == pytest.approx(risks[1::2].mean() - risks[::2].mean(), rel=1e-8)
    assert found[0].estimand.population == "cluster_average"
    ratio = gbv.ModifiedPoisson(population="cluster_average").estimate(trial)
    assert np.exp(ratio[0].value) == pytest.approx(risks[1::2].mean() / risks[::2].mean(), rel=1e-8)
    with pytest.raises(gbv.DesignError, match="needs clusters"):
        gbv.Standardised(population="cluster_average").estimate(
            gbv.Trial(frame, outcome="y", arm="arm", control="usual")
        )
