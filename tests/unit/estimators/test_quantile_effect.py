"""Quantile effects as results."""

from __future__ import annotations

import numpy as np
import pytest

import gbveval as gbv


def test_a_quantile_among_zeros_has_no_standard_error_and_says_why() -> None:
    rng = np.random.default_rng(1)
    y = np.where(rng.random(200) < 0.86, 0.0, rng.exponential(3.0, 200))
    frame = {"y": y, "arm": np.tile(["usual", "new"], 100)}
    found = gbv.QuantileEffect((0.5, 0.95)).estimate(gbv.Trial(frame, outcome="y", arm="arm", control="usual"))
    assert found[0].value == 0.0
    assert found[0].std_error is None
    assert "no density" in found[0].reason
    assert found.check("ties y").status == "warn"
    assert found["new vs usual, quantile 0.95"].std_error is not None


def test_covariates_make_it_conditional_and_roles_are_refused() -> None:
    rng = np.random.default_rng(2)
    x = rng.normal(size=300)
    frame = {"y": x + rng.normal(size=300), "arm": np.tile(["usual", "new"], 150), "x": x, "s": np.arange(300) % 3}
    trial = gbv.Trial(frame, outcome="y", arm="arm", control="usual", covariates=["x"])
    found = gbv.QuantileEffect((0.5,)).estimate(trial)
    assert found[0].estimand.scale == "conditional"
    plain = gbv.QuantileEffect((0.5,)).estimate(gbv.Trial(frame, outcome="y", arm="arm", control="usual"))
    assert found[0].std_error < plain[0].std_error
    with pytest.raises(gbv.DesignError, match="role 'stratum'"):
        gbv.QuantileEffect().estimate(gbv.Trial(frame, outcome="y", arm="arm", control="usual", stratum="s"))
    with pytest.raises(gbv.DesignError, match="between 0 and 1"):
        gbv.QuantileEffect((0.0,))
