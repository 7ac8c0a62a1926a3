"""Attrition weights against statsmodels, brute force and the spread over studies."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import statsmodels.api as sm

import gbveval as gbv
from gbveval.testing.take_up import MeasuredAttritionFrames


def frame(seed: int = 1, n: int = 400) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    treated = np.arange(n) % 2 == 1
    x = rng.normal(size=n)
    seen = rng.random(n) < 1.0 / (1.0 + np.exp(-(0.8 + 0.7 * x - 0.4 * treated)))
    y = np.where(seen, x + 0.5 * treated + rng.normal(size=n), np.nan)
    return {"y": y, "arm": np.where(treated, "new", "usual"), "x": x, "c": np.arange(n) // 20 * 2 + treated}


def trial(data: dict[str, Any], **roles: Any) -> gbv.Trial:
    return gbv.Trial(data, outcome="y", arm="arm", control="usual", covariates=["x"], **roles)


def peer(data: dict[str, Any], link: Any = None) -> tuple[Any, Any]:
    treated = (data["arm"] == "new").astype(float)
    seen = ~np.isnan(data["y"])
    z = np.column_stack([np.ones(treated.size), treated, data["x"]])
    family = sm.families.Binomial() if link is None else sm.families.Binomial(link)
    response = sm.GLM(seen.astype(float), z, family=family).fit(tol=1e-12)
    weights = 1.0 / response.fittedvalues[seen]
    design = np.column_stack([np.ones(int(seen.sum())), treated[seen]])
    return response, sm.WLS(data["y"][seen], design, weights=weights).fit(cov_type="HC1")


@pytest.mark.parametrize("link", ["logit", "probit"])
def test_known_weights_are_those_of_statsmodels(link: str) -> None:
    data = frame()
    response, model = peer(data, None if link == "logit" else sm.families.links.Probit())
    estimator = gbv.AttritionWeighted(link=link, weights_known=True, std_error="HC1")
    found = estimator.estimate(trial(data))
    assert found[0].value == pytest.approx(model.params[1], rel=1e-7)
    assert found[0].std_error == pytest.approx(model.bse[1], rel=1e-7)
    names = ["response: intercept", "response: new", "response: x"]
    np.testing.assert_allclose([found[name].value for name in names], response.params, rtol=1e-6)


@pytest.mark.parametrize("clustered", [False, True])
def test_errors_with_estimated_weights_are_those_of_the_stacked_equations(clustered: bool) -> None:
    # Both models as one system of estimating equations, its derivative taken numerically.
    data = frame()
    treated = (data["arm"] == "new").astype(float)
    seen = ~np.isnan(data["y"])
    y = np.where(seen, data["y"], 0.0)
    z = np.column_stack([np.ones(treated.size), treated, data["x"]])
    x = z[:, :2]
    response, model = peer(data)

    def scores(theta: np.ndarray) -> np.ndarray:
        p = 1.0 / (1.0 + np.exp(-(z @ theta[:3])))
        first = z * (seen - p)[:, None]
        second = x * (seen / p * (y - x @ theta[3:]))[:, None]
        return np.column_stack([first, second])

    theta = np.concatenate([response.params, model.params])
    steps = 1e-6 * np.eye(5)
    derivative = np.column_stack([(scores(theta + h) - scores(theta - h)).sum(axis=0) / 2e-6 for h in steps])
    values = scores(theta)
    if clustered:
        values = np.column_stack([np.bincount(data["c"], weights=column) for column in values.T])
    inverse = np.linalg.inv(derivative)
    expected = np.sqrt((inverse @ (values.T @ values) @ inverse.T)[4, 4])
    kind, roles = ("CR0", {"cluster": "c"}) if clustered else ("HC0", {})
    found = gbv.AttritionWeighted(std_error=kind).estimate(trial(data, **roles))
    # The numerical derivative is good to about 1e-8.
    assert found[0].std_error == pytest.approx(expected, rel=1e-6)


def test_estimated_weights_are_calibrated_and_known_ones_too_wide() -> None:
    process = MeasuredAttritionFrames(n_per_arm=200)
    values = []
    for seed in range(400):
        data, _ = process.frame(np.random.default_rng(seed))
        made = process.check(data)
        right = gbv.AttritionWeighted().estimate(made)[0]
        known = gbv.AttritionWeighted(weights_known=True).estimate(made)[0]
        values.append((right.value, right.std_error, known.std_error))
    value, right_error, known_error = np.array(values, dtype=float).T
    # A standard deviation over 400 draws is known to 3.5 %; three of those.
    assert right_error.mean() == pytest.approx(value.std(), rel=0.105)
    assert known_error.mean() > right_error.mean()


def test_nobody_missing_is_the_plain_regression() -> None:
    data = frame()
    data["y"] = np.where(np.isnan(data["y"]), 0.0, data["y"])
    found = gbv.AttritionWeighted(adjust=("x",)).estimate(trial(data))
    plain = gbv.Ancova().estimate(trial(data))
    assert found[0].value == pytest.approx(plain[0].value, rel=1e-10)
    assert found[0].std_error == pytest.approx(plain[0].std_error, rel=1e-10)
    assert "observed for everybody" in found.check("response y").message


def test_a_group_that_is_never_observed_is_refused() -> None:
    data = frame()
    data["x"] = (np.arange(400) % 10 == 0).astype(float)
    data["y"] = np.where(data["x"] == 1.0, np.nan, np.where(np.arange(400) % 7 == 0, np.nan, 1.0 + np.arange(400) % 3))
    with pytest.raises(gbv.IdentificationError, match="always, or never, observed"):
        gbv.AttritionWeighted().estimate(trial(data))
    with pytest.raises(gbv.DesignError, match="no such covariate"):
        gbv.AttritionWeighted(response=("age",)).estimate(trial(data))
