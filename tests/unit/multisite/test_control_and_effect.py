"""`ControlAndEffect`: its rows, its joint posterior, and what it refuses."""

from __future__ import annotations

import numpy as np
import pytest

import gbveval as gbv

TABLE = {"mean": [2.0, 1.2, 1.9], "se_mean": [0.1, 0.2, 0.1], "y": [-0.4, -0.1, -0.2], "se": [0.15, 0.3, 0.2]}
ROLES = {"estimate": "y", "std_error": "se", "control_mean": "mean", "control_std_error": "se_mean"}
PRIOR = gbv.SitePrior(gbv.Normal(1, 1), gbv.Normal(0, 0.5), gbv.HalfNormal(0.5), gbv.HalfNormal(0.3))


def sites(**change: object) -> gbv.SiteEffects:
    return gbv.SiteEffects({**TABLE, "site": ["<b>a</b>", "b", "c"], **change}, site="site", **ROLES)


def test_joint_draws_have_the_covariance_told() -> None:
    answer = gbv.ControlAndEffect(PRIOR).estimate(sites())
    draws = answer.posterior.sample(60_000, np.random.default_rng(1))
    scale = np.sqrt(np.outer(np.diag(answer.covariance), np.diag(answer.covariance)))
    # Correlations of 60,000 draws have a Monte Carlo sd below 3 / sqrt(n) for such tails; five of them.
    assert np.abs((np.cov(draws.T) - answer.covariance) / scale).max() < 15 / np.sqrt(60_000)
    assert np.linalg.eigvalsh(answer.covariance).min() > -1e-9
    back = gbv.Estimates.from_json(answer.to_json())
    np.testing.assert_array_equal(back.intervals(0.9), answer.intervals(0.9))


def test_the_covariance_is_derived_or_told() -> None:
    told = gbv.SiteEffects({**TABLE, "cov": [-0.01, -0.04, -0.01]}, covariance="cov", **ROLES)
    np.testing.assert_allclose(told.covariance, sites().covariance, atol=1e-15)
    none = gbv.SiteEffects({**TABLE, "cov": [0.0, 0.0, 0.0]}, covariance="cov", **ROLES)
    a = gbv.ControlAndEffect(PRIOR).estimate(none)["correlation"].value
    b = gbv.ControlAndEffect(PRIOR).estimate(sites())["correlation"].value
    assert a < b
    assert none.digest != sites().digest


def test_an_effect_known_better_than_its_control_mean_needs_its_covariance() -> None:
    with pytest.raises(gbv.GbvevalError, match="known better than the mean of control"):
        sites(se=[0.05, 0.3, 0.2])
    with pytest.raises(gbv.GbvevalError, match="too large in 1 row"):
        gbv.SiteEffects({**TABLE, "cov": [0.5, 0.0, 0.0]}, covariance="cov", **ROLES)
    with pytest.raises(gbv.GbvevalError, match="go together"):
        gbv.SiteEffects(TABLE, estimate="y", std_error="se", control_mean="mean")


def test_what_it_cannot_do_is_named() -> None:
    plain = gbv.SiteEffects(TABLE, estimate="y", std_error="se")
    with pytest.raises(gbv.GbvevalError, match="no control means"):
        gbv.ControlAndEffect(PRIOR).estimate(plain)
    described = gbv.SiteEffects({**TABLE, "x": [1.0, 2.0, 3.0]}, moderators=["x"], **ROLES)
    with pytest.raises(gbv.GbvevalError, match="Moderators are not offered"):
        gbv.ControlAndEffect(PRIOR).estimate(described)


def test_names_stay_inside_and_the_error_is_told() -> None:
    answer = gbv.ControlAndEffect(PRIOR).estimate(sites())
    for text in (answer.summary(), answer.to_json(), repr(answer), answer._repr_html_()):
        assert "<b>a" not in text
    (told,) = [check for check in answer.checks if check.name == "quadrature"]
    assert told.status == "info"
    assert not answer["correlation"].estimand.is_causal
