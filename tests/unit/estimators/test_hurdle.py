"""`Hurdle` against sample means, statsmodels and stacked estimating equations, and on ugly data."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from scipy.special import expit
from scipy.stats import poisson
from statsmodels.discrete.truncated_model import TruncatedLFPoisson
from tests.unit.estimators.tables import trial

import gbveval as gbv
from gbveval.numerics.truncated_poisson import positive_part

FloatArray = NDArray[np.float64]


def people(n: int = 400, seed: int = 6) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    arm, x = np.tile([0, 1], n // 2), rng.normal(size=n)
    some = rng.random(n) < expit(0.2 - 0.5 * arm + 0.4 * x)
    y = some * (1 + rng.poisson(np.exp(0.5 + 0.2 * x) * rng.gamma(2.0, 0.5, n)))
    return pd.DataFrame(
        {"y": y.astype(float), "x": x, "arm": np.where(arm == 1, "new", "usual"), "g": np.arange(n) // 2 % 40 * 2 + arm}
    )


def test_moments_are_those_of_a_poisson_above_zero() -> None:
    counts = np.arange(1, 400)
    for rate in (1e-3, 0.3, 2.0, 40.0):
        share = poisson.pmf(counts, rate) / -np.expm1(-rate)
        mean = share @ counts
        found = positive_part(np.array([np.log(rate)]))
        # Sums of four hundred terms; for a small rate the variance is a difference of near equals here.
        assert found.mean[0] == pytest.approx(mean, rel=1e-10)
        assert found.variance[0] == pytest.approx(share @ (counts - mean) ** 2, rel=1e-8)
        assert found.log_partition[0] == pytest.approx(np.log(np.expm1(rate)), rel=1e-10)


def test_without_covariates_ratios_and_errors_are_those_of_sample_means() -> None:
    frame = people()
    result = gbv.Hurdle(std_error="HC0").estimate(trial(frame))
    usual, new = (frame.loc[frame["arm"] == label, "y"].to_numpy() for label in ("usual", "new"))
    expected, errors = [], []
    for part in (lambda y: y, lambda y: (y > 0).astype(float)):
        a, b = part(new), part(usual)
        expected.append(np.log(a.mean() / b.mean()))
        errors.append(np.sqrt(a.var() / a.size / a.mean() ** 2 + b.var() / b.size / b.mean() ** 2))
    positive = np.log(new[new > 0].mean() / usual[usual > 0].mean())
    # Exact up to the search's 1e-10.
    np.testing.assert_allclose(result.values, [*expected, positive], rtol=1e-7)
    np.testing.assert_allclose(result.std_errors[:2], errors, rtol=1e-7)
    assert [row.estimand.effect for row in result.terms] == ["ITT", "ITT", "nuisance"]


def stacked(frame: pd.DataFrame, point: FloatArray) -> FloatArray:
    """Return each row's estimating functions of both parts' coefficients and the two mean counts."""
    x, y = frame["x"].to_numpy(), frame["y"].to_numpy()
    arm = (frame["arm"] == "new").to_numpy(float)

    def columns(a: FloatArray) -> FloatArray:
        return np.column_stack([np.ones(x.size), x, a])

    first, second, means = point[:3], point[3:6], point[6:]
    z, some = columns(arm), y > 0
    parts = [z * (some - expit(z @ first))[:, None], z * (some * (y - positive_part(z @ second).mean))[:, None]]
    for a, mean in zip((0.0, 1.0), means, strict=True):
        here = columns(np.full(x.size, a))
        parts.append((expit(here @ first) * positive_part(here @ second).mean - mean)[:, None])
    return np.column_stack(parts)


@pytest.mark.parametrize("clustered", [False, True])
def test_with_a_covariate_it_solves_stacked_equations_and_has_their_errors(clustered: bool) -> None:
    frame = people()
    some = frame["y"] > 0
    z = np.column_stack([np.ones(len(frame)), frame["x"], frame["arm"] == "new"]).astype(float)
    positive = TruncatedLFPoisson(frame.loc[some, "y"], z[some]).fit(disp=0, method="newton", maxiter=100)
    logit = gbv.GeneralisedLinear().estimate(trial(frame.assign(y=some.astype(float)), covariates=["x"]))
    point = np.concatenate([logit.values[[1, 2, 0]], np.asarray(positive.params), [0.0, 0.0]])
    point[6:] = stacked(frame, point)[:, 6:].mean(axis=0)
    roles = {"cluster": "g"} if clustered else {}
    result = gbv.Hurdle(std_error="CR0" if clustered else "HC0").estimate(trial(frame, covariates=["x"], **roles))
    # statsmodels' Newton steps end at about 1e-8.
    assert result[0].value == pytest.approx(np.log(point[7] / point[6]), rel=1e-6)
    h = 1e-6
    bread = np.column_stack(
        [(stacked(frame, point + h * e) - stacked(frame, point - h * e)).sum(axis=0) / (2 * h) for e in np.eye(8)]
    )
    rows = stacked(frame, point)
    if clustered:
        rows = pd.DataFrame(rows).groupby(frame["g"]).sum().to_numpy()
    inverse = np.linalg.inv(bread)
    covariance = (inverse @ rows.T @ rows @ inverse.T)[6:, 6:]
    gradient = np.array([-1.0 / point[6], 1.0 / point[7]])
    # The derivatives of the equations are numerical: about 1e-8 each.
    assert result[0].std_error == pytest.approx(np.sqrt(gradient @ covariance @ gradient), rel=1e-5)


def test_what_has_no_answer_is_refused() -> None:
    frame = people()
    for spoiled, word in (
        (frame.assign(y=frame["y"] * (frame["arm"] == "usual")), "separated"),
        (frame.assign(y=frame["y"] + 1.0), "separated"),
        (frame.assign(y=np.where(frame["arm"] == "new", frame["y"].clip(upper=1.0), frame["y"])), "more than one"),
        (frame.assign(y=-frame["y"]), "negative"),
        (frame.assign(y=frame["y"] / 10.0), "between zero and one"),
    ):
        with pytest.raises(gbv.GbvevalError, match=word):
            gbv.Hurdle().estimate(trial(spoiled))
    with pytest.raises(gbv.DesignError, match="exposure"):
        gbv.Hurdle().estimate(trial(frame.assign(t=1.0), exposure="t"))
    with pytest.raises(gbv.DesignError, match="std_error"):
        gbv.Hurdle(std_error="model")
