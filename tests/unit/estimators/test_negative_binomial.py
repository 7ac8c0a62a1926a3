"""`NegativeBinomial` against statsmodels, derivatives, a published trial, and on ugly data."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from scipy.stats import nbinom

import gbveval as gbv
from gbveval.numerics.negative_binomial import (
    eta_score_rows,
    log_likelihood_rows,
    theta_information_rows,
    theta_score_rows,
)

SHARED = Path(__file__).parents[3].parent / "shared"
needs_shared = pytest.mark.skipif(not SHARED.exists(), reason="../shared is absent: the trial's data are not here")


def counts(n: int = 300, *, spread: float = 1.5, seed: int = 2) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    arm = np.tile([0, 1], n // 2)
    x, time = rng.normal(size=n), rng.uniform(0.5, 2.0, n)
    rate = np.exp(0.5 + 0.3 * arm + 0.2 * x) * time * rng.gamma(1.0 / spread, spread, n)
    return pd.DataFrame(
        {
            "y": rng.poisson(rate),
            "x": x,
            "t": time,
            "arm": np.where(arm == 1, "new", "usual"),
            "w": rng.uniform(1, 3, n),
        }
    )


def trial(frame: pd.DataFrame, **roles: Any) -> gbv.Trial:
    return gbv.Trial(frame, **{"outcome": "y", "arm": "arm", "control": "usual", **roles})


def test_likelihood_is_scipys_and_scores_are_its_derivatives() -> None:
    y, mu, theta, h = np.arange(8.0), np.linspace(0.3, 5.0, 8), 1.7, 1e-5
    np.testing.assert_allclose(
        log_likelihood_rows(y, mu, theta), nbinom.logpmf(y, theta, theta / (theta + mu)), rtol=1e-12
    )
    by_theta = (log_likelihood_rows(y, mu, theta + h) - log_likelihood_rows(y, mu, theta - h)) / (2 * h)
    by_eta = (log_likelihood_rows(y, mu * np.exp(h), theta) - log_likelihood_rows(y, mu * np.exp(-h), theta)) / (2 * h)
    second = (theta_score_rows(y, mu, theta + h) - theta_score_rows(y, mu, theta - h)) / (2 * h)
    # Central differences err by h^2 and by rounding over h: about 1e-10.
    np.testing.assert_allclose(theta_score_rows(y, mu, theta), by_theta, atol=1e-9)
    np.testing.assert_allclose(eta_score_rows(y, mu, theta), by_eta, atol=1e-9)
    np.testing.assert_allclose(theta_information_rows(y, mu, theta), -second, atol=1e-9)


def test_estimate_theta_and_likelihood_are_those_of_statsmodels() -> None:
    frame = counts()
    result = gbv.NegativeBinomial(std_error="model").estimate(trial(frame, covariates=["x"], exposure="t"))
    columns = np.column_stack([np.ones(300), frame["arm"] == "new", frame["x"]])
    with warnings.catch_warnings():
        # Rounding keeps its search from the gradient asked for, and it says so; 1e-5 is left in the parameters.
        warnings.simplefilter("ignore")
        model = sm.NegativeBinomial(frame["y"], columns, exposure=frame["t"]).fit(disp=0, maxiter=500, gtol=1e-10)
    beta, alpha = np.asarray(model.params)[:3], float(np.asarray(model.params)[3])
    np.testing.assert_allclose(result.values[[1, 0, 2]], beta, rtol=1e-5)
    assert result["theta"].value == pytest.approx(1.0 / alpha, rel=1e-5)
    assert result.records()[0]["log_likelihood"] == pytest.approx(model.llf, rel=1e-10)
    # The expected information with theta held fixed, written out.
    mu, theta = np.exp(columns @ beta) * frame["t"], 1.0 / alpha
    information = (columns * (mu / (1 + mu / theta)).to_numpy()[:, None]).T @ columns
    np.testing.assert_allclose(result.std_errors[[1, 0, 2]], np.sqrt(np.diag(np.linalg.inv(information))), rtol=1e-5)


def test_robust_errors_are_a_sandwich_of_the_scores() -> None:
    frame = counts()
    result = gbv.NegativeBinomial(std_error="HC0").estimate(trial(frame, weight="w"))
    columns = np.column_stack([np.ones(300), frame["arm"] == "new"])
    theta, w, y = result["theta"].value, frame["w"].to_numpy(), frame["y"].to_numpy(float)
    mu = np.exp(columns @ result.values[[1, 0]])
    score = columns * (w * (y - mu) / (1 + mu / theta))[:, None]
    bread = np.linalg.inv((columns * (w * mu / (1 + mu / theta))[:, None]).T @ columns)
    np.testing.assert_allclose(score.sum(axis=0), 0.0, atol=1e-6)
    expected = np.sqrt(np.diag(bread @ score.T @ score @ bread))
    np.testing.assert_allclose(result.std_errors[[1, 0]], expected, rtol=1e-8)


@needs_shared
def test_a_published_trial_of_a_message_to_newcomers_is_reproduced() -> None:
    frame = pd.read_csv(SHARED / "data" / "reddit_feminism_newcomers_rct.csv")
    frame["arm"] = np.where(frame["treatment"] == 1, "message", "usual")
    data = trial(frame, outcome="comments_2wk")
    result = gbv.NegativeBinomial(std_error="model").estimate(data)
    # Published to seven digits (Matias, Reddan and Simko 2020, and the data's README).
    assert np.exp(result[0].value) == pytest.approx(1.207, abs=5e-4)
    assert result[0].value == pytest.approx(0.1878997, abs=5e-8)
    assert result[0].std_error == pytest.approx(0.0574708, abs=5e-8)
    assert result["theta"].value == pytest.approx(1.61264, abs=5e-6)
    assert 2.0 * result.records()[0]["log_likelihood"] == pytest.approx(-5120.943, abs=5e-4)
    removed = gbv.NegativeBinomial(std_error="model").estimate(trial(frame, outcome="removed_10wk"))
    assert removed[0].value == pytest.approx(-0.04207, abs=5e-6)
    assert removed[0].std_error == pytest.approx(0.25618, abs=5e-6)
    assert "randomisation test" in removed.check("zeros").message


@needs_shared
def test_the_reference_system_takes_the_error_of_theta_one_step_before_its_solution() -> None:
    frame = pd.read_csv(SHARED / "reference" / "rct" / "dja_herds.csv").dropna(subset=["y", "treat", "trisk"])
    frame["arm"] = np.where(frame["treat"] == 1, "new", "usual")
    result = gbv.NegativeBinomial(std_error="model").estimate(trial(frame, exposure="trisk"))
    y = frame["y"].to_numpy(float)
    mu = np.exp(result["intercept"].value + result[0].value * frame["treat"].to_numpy()) * frame["trisk"].to_numpy()
    theta = result["theta"].value
    # Where the information gives the reference's standard error of theta, a Newton step leads to our theta.
    before = theta - 4.672e-05
    information = theta_information_rows(y, mu, before).sum()
    assert information**-0.5 == pytest.approx(1.1491312385013, rel=1e-7)
    after = before + theta_score_rows(y, mu, before).sum() / information
    assert after == pytest.approx(theta, rel=1e-8)


def test_counts_without_overdispersion_and_an_empty_arm_are_refused() -> None:
    frame = counts()
    rng = np.random.default_rng(0)
    with pytest.raises(gbv.GbvevalError, match="no more than Poisson"):
        gbv.NegativeBinomial().estimate(trial(frame.assign(y=rng.binomial(5, 0.4, 300))))
    with pytest.raises(gbv.GbvevalError, match=r"separated.*new"):
        gbv.NegativeBinomial().estimate(trial(frame.assign(y=frame["y"] * (frame["arm"] == "usual"))))
    with pytest.raises(gbv.DataError, match="negative in 300 rows"):
        gbv.NegativeBinomial().estimate(trial(frame.assign(y=-1)))
    with pytest.raises(gbv.DesignError, match="std_error"):
        gbv.NegativeBinomial(std_error="CR7")


def test_an_extreme_tail_is_fitted() -> None:
    y = [0] * 85 + [1, 1, 2, 3, 5, 8, 40, 200, 1000, 20000, *([0] * 88), 1, 2, 2, 9, 30, 700, 9000]
    frame = pd.DataFrame({"y": y, "arm": ["usual"] * 95 + ["new"] * 95})
    result = gbv.NegativeBinomial().estimate(trial(frame))
    # Without covariates the ratio is that of two means, whatever theta is.
    means = frame.groupby("arm")["y"].mean()
    assert result[0].value == pytest.approx(np.log(means["new"] / means["usual"]), rel=1e-6)
    assert result["theta"].value < 0.1
