"""`ModifiedPoisson` against the closed form of two risks, statsmodels, and on ugly data."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from tests.unit.estimators.tables import table, trial

import gbveval as gbv


def test_without_covariates_it_is_the_ratio_of_two_risks_with_its_textbook_error() -> None:
    row = gbv.ModifiedPoisson(std_error="HC0").estimate(trial(table((30, 70), (20, 80))))[0]
    # Exact up to rounding: the sandwich of a saturated model is the delta method.
    assert row.value == pytest.approx(np.log(0.2 / 0.3), rel=1e-10)
    assert row.std_error == pytest.approx(np.sqrt(1 / 20 - 1 / 100 + 1 / 30 - 1 / 100), rel=1e-10)
    assert (row.estimand.contrast, row.estimand.scale) == ("risk_ratio", "marginal")


def test_with_covariates_and_clusters_it_agrees_with_statsmodels() -> None:
    rng = np.random.default_rng(1)
    g = np.repeat(np.arange(20), 15)
    x = rng.normal(size=300)
    y = (rng.random(300) < np.minimum(0.3 * np.exp(0.3 * x), 1.0)).astype(float)
    frame = pd.DataFrame({"y": y, "x": x, "g": g, "arm": np.where(g % 2 == 0, "usual", "new")})
    columns = np.column_stack([np.ones(300), frame["arm"] == "new", x])
    model = sm.GLM(y, columns, family=sm.families.Poisson()).fit(
        cov_type="cluster", cov_kwds={"groups": g}, tol=1e-13, maxiter=100
    )
    result = gbv.ModifiedPoisson(std_error="CR1S").estimate(trial(frame, covariates=["x"], cluster="g"))
    # Two fits of one model, each converged to about 1e-10.
    np.testing.assert_allclose(result.values, model.params[[1, 0, 2]], rtol=1e-7)
    np.testing.assert_allclose(result.std_errors, model.bse[[1, 0, 2]], rtol=1e-7)
    assert [row.df for row in result.terms] == [19.0] * 3


def test_counts_exposure_and_an_arm_without_events_are_refused() -> None:
    frame = table((30, 70), (20, 80)).assign(t=1.0)
    with pytest.raises(gbv.DataError, match="not 0 or 1 in 50 rows"):
        gbv.ModifiedPoisson().estimate(trial(frame.assign(y=2 * frame["y"])))
    with pytest.raises(gbv.DesignError, match="exposure"):
        gbv.ModifiedPoisson().estimate(trial(frame, exposure="t"))
    with pytest.raises(gbv.GbvevalError, match=r"separated.*new"):
        gbv.ModifiedPoisson().estimate(trial(table((30, 70), (0, 80))))
    with pytest.raises(gbv.DesignError, match="std_error"):
        gbv.ModifiedPoisson(std_error="model")


def test_fitted_risks_above_one_are_told() -> None:
    x = np.tile(np.arange(10.0), 20)
    frame = table((90, 10), (80, 20)).assign(x=x)
    frame["y"] = (x > 2).astype(float) * (np.arange(200) % 7 > 0)
    result = gbv.ModifiedPoisson().estimate(trial(frame, covariates=["x"]))
    assert "risk above one" in result.check("risks above one").message
