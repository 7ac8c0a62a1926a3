"""`SteppedWedge`: against generalised least squares, and the sign that a single effect can get wrong."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

import gbveval as gbv
from gbveval.core.errors import DesignError, IdentificationError
from gbveval.estimators.randomised.stepped_wedge import exposure_times, period_order
from gbveval.testing.mixed_processes import SteppedWedgeFrames


def made(seed: int = 0, **options: Any) -> tuple[gbv.Trial, pd.DataFrame]:
    frames = SteppedWedgeFrames(**options)
    frame, _ = frames.frame(np.random.default_rng(seed))
    return frames.check(frame), pd.DataFrame(frame)


def test_estimates_are_generalised_least_squares_at_the_variances_found() -> None:
    data, frame = made(growth=0.4)
    answer = gbv.SteppedWedge().estimate(data)
    between, within, residual = (
        answer[name].value for name in ("variance of cluster", "variance of cluster:time", "residual variance")
    )
    assert between is not None
    assert within is not None
    assert residual is not None
    cluster = frame["cluster"].to_numpy()
    cell = (frame["cluster"] + frame["time"].astype(str)).to_numpy()
    v = residual * np.eye(len(frame)) + between * np.equal.outer(cluster, cluster) + within * np.equal.outer(cell, cell)
    treated = (frame["arm"] == "new").to_numpy()
    start = frame[treated].groupby("cluster")["time"].min()
    exposure = np.where(treated, frame["time"] - frame["cluster"].map(start).fillna(0) + 1, 0)
    x = np.column_stack(
        [np.ones(len(frame)), *(exposure == s for s in (1, 2, 3)), *(frame["time"] == t for t in (1, 2, 3))]
    ).astype(float)
    vi = np.linalg.inv(v)
    beta = np.linalg.solve(x.T @ vi @ x, x.T @ vi @ frame["y"].to_numpy())
    np.testing.assert_allclose(answer.values[1:4], beta[1:4], rtol=1e-7)
    assert answer.values[0] == pytest.approx(beta[1:4].mean(), rel=1e-7)
    # The average's variance follows from the joint covariance of the three.
    weights = np.array([0.0, 1 / 3, 1 / 3, 1 / 3])
    assert answer.std_errors[0] ** 2 == pytest.approx(weights @ answer.covariance[:4, :4] @ weights, rel=1e-10)


def test_one_effect_can_have_the_wrong_sign_where_the_average_over_exposure_is_right() -> None:
    # An effect that grows from nothing: all effects are positive or zero, their average is 1.
    frames = SteppedWedgeFrames(
        clusters_per_sequence=4, periods=6, cell_size=20, effect=0.0, growth=0.5, cluster_sd=0.3, period_sd=0.0
    )
    average, single = [], []
    for seed in range(30):
        frame, truth = frames.frame(np.random.default_rng(seed))
        data = frames.check(frame)
        assert truth == pytest.approx(1.0)
        average.append(gbv.SteppedWedge(random="cluster").estimate(data).values[0])
        single.append(gbv.SteppedWedge(effect="immediate", random="cluster").estimate(data).values[0])
    error = float(np.std(average) / np.sqrt(len(average)))
    # Four Monte Carlo standard errors.
    assert abs(np.mean(average) - 1.0) < 4 * error
    # Weights of late effects are negative in the single effect (Kenny et al. 2022), so its mean falls below zero.
    assert np.mean(single) < -4 * np.std(single) / np.sqrt(len(single))


def test_immediate_is_the_mixed_model_with_periods() -> None:
    data, _ = made(3)
    one = gbv.SteppedWedge(effect="immediate").estimate(data)
    other = gbv.MixedEffects(random=("cluster", "cluster:time")).estimate(data)
    np.testing.assert_array_equal(one.values, other.values)
    np.testing.assert_array_equal(one.std_errors, other.std_errors)
    assert one.check("constant effect").status == "warn"


def test_periods_sort_as_numbers_where_they_are_numbers() -> None:
    assert period_order(("1", "10", "2")).tolist() == [0, 2, 1]
    assert period_order(("a", "b")).tolist() == [0, 1]
    data, frame = made(1, periods=12, clusters_per_sequence=1, cell_size=3)
    exposure, checks = exposure_times(data)
    assert not checks
    expected = frame.groupby(["cluster", "time"])["arm"].first().eq("new").groupby("cluster").cumsum()
    np.testing.assert_array_equal(exposure, [expected[key] for key in zip(frame["cluster"], frame["time"])])


def test_gaps_and_clusters_that_are_always_treated_are_said() -> None:
    _, frame = made(2)
    frame = frame[~((frame["cluster"] == "c000") & (frame["time"] == 0))]
    frame = frame[~((frame["cluster"] == "c001") & (frame["time"] == 1))]
    answer = gbv.SteppedWedge().estimate(SteppedWedgeFrames().check(frame.to_dict("list")))
    assert answer.check("always treated").status == "warn"
    assert answer.check("crossing over").status == "warn"


def test_what_is_no_stepped_wedge_is_refused() -> None:
    _, frame = made(4)
    check = SteppedWedgeFrames().check
    swapped = frame.assign(arm=frame["arm"].map({"new": "usual", "usual": "new"}))
    with pytest.raises(DesignError, match="no way back"):
        gbv.SteppedWedge().estimate(check(swapped.to_dict("list")))
    parallel = frame.assign(arm=np.where(frame["cluster"] > "c004", "new", "usual"))
    with pytest.raises(IdentificationError, match="No cluster changes"):
        gbv.SteppedWedge().estimate(check(parallel.to_dict("list")))
    together = frame.assign(arm=np.where(frame["time"] > 1, "new", "usual"))
    with pytest.raises(IdentificationError, match="collinear"):
        gbv.SteppedWedge(effect="immediate").estimate(check(together.to_dict("list")))
    with pytest.raises(DesignError, match="cluster and time"):
        gbv.SteppedWedge().estimate(gbv.Trial(frame, outcome="y", arm="arm", control="usual"))
    for options in ({"effect": "delayed"}, {"random": "autoregressive"}, {"family": "normal"}):
        with pytest.raises(DesignError):
            gbv.SteppedWedge(**options)


def test_events_use_laplace_and_say_so() -> None:
    _, frame = made(5, cell_size=20)
    frame["y"] = (frame["y"] > 0.8).astype(float)
    data = SteppedWedgeFrames().check(frame.to_dict("list"))
    answer = gbv.SteppedWedge(family="binomial").estimate(data)
    assert "Laplace" in answer.method.std_error
    assert answer.terms[0].estimand.scale == "conditional"
    assert answer.terms[0].support[0].events is not None
