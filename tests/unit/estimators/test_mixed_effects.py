"""`MixedEffects`: what it refuses and why, and what its rows say."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

import gbveval as gbv
from gbveval.core.errors import ConvergenceError, DataError, DesignError, IdentificationError
from gbveval.testing.mixed_processes import ClusterEventFrames, SteppedWedgeFrames
from gbveval.testing.processes import TrialFrames


def trial(frame: Any, **roles: Any) -> gbv.Trial:
    chosen = {"cluster": "cluster", **roles}
    return gbv.Trial(frame, outcome="y", arm="arm", control="usual", **chosen)


def made(seed: int = 0, **options: Any) -> dict[str, Any]:
    frames = TrialFrames(**{"n_per_arm": 6, "cluster_size": 8, "uneven": True, **options})
    return frames.frame(np.random.default_rng(seed))[0]


def test_rows_are_effects_then_coefficients_then_variances() -> None:
    frame = made()
    frame["x"] = np.arange(len(frame["y"])) % 5.0
    answer = gbv.MixedEffects().estimate(trial(frame, covariates=["x"]))
    assert [row.term for row in answer.terms] == [
        "new vs usual",
        "intercept",
        "x",
        "variance of cluster",
        "residual variance",
    ]
    assert answer.terms[0].estimand == gbv.Estimand("ITT", "mean_difference")
    assert dict(answer.terms[0].extra)["reml_criterion"] is not None
    assert answer.terms[0].n_clusters == 12
    assert answer.check("cluster size").status == "info"


def test_scale_of_odds_is_conditional_and_the_docstring_says_whom_it_targets() -> None:
    frame, _ = ClusterEventFrames().frame(np.random.default_rng(1))
    answer = gbv.MixedEffects(family="binomial").estimate(trial(frame))
    assert answer.terms[0].estimand.scale == "conditional"
    assert answer.terms[0].estimand.contrast == "odds_ratio"
    assert "neither the average over participants nor that over clusters" in " ".join(
        (gbv.MixedEffects.__doc__ or "").split()
    )


def test_counts_by_opportunity_are_the_people_behind_them() -> None:
    frame, _ = ClusterEventFrames().frame(np.random.default_rng(2))
    people = gbv.MixedEffects(family="binomial").estimate(trial(frame))
    summed = pd.DataFrame(frame).groupby(["cluster", "arm"], as_index=False).agg(y=("y", "sum"), n=("y", "size"))
    counts = gbv.MixedEffects(family="binomial").estimate(trial(summed, exposure="n"))
    np.testing.assert_allclose(counts.values[:2], people.values[:2], rtol=1e-8)
    np.testing.assert_allclose(counts.std_errors[:2], people.std_errors[:2], rtol=1e-6)


def test_three_arms_and_unused_categories() -> None:
    frame = pd.DataFrame(made(n_per_arm=9))
    number = frame["cluster"].rank(method="dense").astype(int)
    labels = pd.Series(np.array(["usual", "app", "course"])[number % 3])
    frame["arm"] = pd.Categorical(labels, categories=["usual", "app", "course", "unused"])
    answer = gbv.MixedEffects().estimate(trial(frame))
    assert [row.term for row in answer.terms[:2]] == ["app vs usual", "course vs usual"]


def test_singleton_clusters_among_others_are_fine() -> None:
    frame = pd.DataFrame(made())
    first = ~frame.duplicated("cluster") | (frame["cluster"] > "c003")
    answer = gbv.MixedEffects().estimate(trial(frame[first]))
    assert answer.terms[0].std_error


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        (lambda f: f[f["cluster"].isin(["c000", "c001", "c006"])], IdentificationError, "1 cluster"),
        (lambda f: f.drop_duplicates("cluster"), IdentificationError, "single row"),
        (lambda f: f.assign(y=3.0), IdentificationError, "does not vary"),
        (lambda f: f.assign(y=f.groupby("cluster")["y"].transform("mean")), ConvergenceError, "within"),
        (lambda f: f.assign(y=f["y"].where(f["arm"] == "usual")), IdentificationError, "0 cluster"),
    ],
    ids=["one treated cluster", "clusters of one", "constant", "constant within", "an arm missing"],
)
def test_ugly_data_are_refused_by_name(change: Any, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words) as caught:
        gbv.MixedEffects().estimate(trial(change(pd.DataFrame(made()))))
    assert "c00" not in str(caught.value)


def test_an_arm_without_events_is_refused_by_name() -> None:
    frame, _ = ClusterEventFrames().frame(np.random.default_rng(3))
    for value in (0.0, 1.0):
        y = np.where(np.array(frame["arm"]) == "new", value, frame["y"])
        with pytest.raises(IdentificationError, match="new vs usual"):
            gbv.MixedEffects(family="binomial").estimate(trial({**frame, "y": y}))
    none = np.where(np.array(frame["arm"]) == "new", 0.0, frame["y"])
    with pytest.raises(IdentificationError, match="new vs usual"):
        gbv.MixedEffects(family="poisson").estimate(trial({**frame, "y": none}))


def test_clusters_with_all_or_nothing_are_refused() -> None:
    frame, _ = ClusterEventFrames().frame(np.random.default_rng(3))
    cluster = pd.Series(frame["cluster"]).str[1:].astype(int)
    with pytest.raises(ConvergenceError, match="all of the events or none"):
        gbv.MixedEffects(family="binomial").estimate(trial({**frame, "y": (cluster % 2).astype(float)}))


def test_outcomes_that_do_not_fit_the_family_are_counted() -> None:
    frame = made()
    with pytest.raises(DataError, match="rows are not whole numbers"):
        gbv.MixedEffects(family="poisson").estimate(trial(frame))
    frame["y"] = np.arange(len(frame["y"])) % 3.0
    with pytest.raises(DataError, match="more events than opportunities"):
        gbv.MixedEffects(family="binomial").estimate(trial(frame))


def test_roles_that_would_be_ignored_are_refused() -> None:
    frame = made()
    n = len(frame["y"])
    frame.update(w=np.ones(n), b=np.zeros(n), s=[f"s{int(c[1:]) % 3}" for c in frame["cluster"]])
    for roles in ({"weight": "w"}, {"baseline": "b"}, {"stratum": "s"}):
        with pytest.raises(DesignError):
            gbv.MixedEffects().estimate(trial(frame, **roles))
    with pytest.raises(DesignError, match="must hold"):
        gbv.MixedEffects(random=("site",)).estimate(trial(frame, site="s"))
    with pytest.raises(DesignError, match="does not declare"):
        gbv.MixedEffects(random=("cluster", "site")).estimate(trial(frame))
    both = gbv.MixedEffects(random=("stratum", "cluster")).estimate(trial(frame, stratum="s"))
    assert [row.term for row in both.terms][-3:] == ["variance of stratum", "variance of cluster", "residual variance"]


@pytest.mark.parametrize(
    "options",
    [
        {"family": "normal"},
        {"random": ()},
        {"random": "cluster"},
        {"random": ("school",)},
        {"random": ("cluster", "cluster")},
        {"df": "between_within"},
        {"family": "binomial", "df": "kenward_roger"},
        {"df": "welch"},
        {"family": "binomial", "quadrature_points": 0},
        {"quadrature_points": 5},
        {"evaluation": "glmmTMB"},
        {"family": "poisson", "random": ("cluster", "cluster:time"), "quadrature_points": 5},
    ],
)
def test_options_that_do_not_fit_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(DesignError):
        gbv.MixedEffects(**options)


def test_periods_enter_by_default_and_a_trend_would_mislead_without_them() -> None:
    frame, _ = SteppedWedgeFrames(effect=0.0, trend=1.0).frame(np.random.default_rng(5))
    data = trial(frame, time="time")
    random = ("cluster", "cluster:time")
    with_periods = gbv.MixedEffects(random=random).estimate(data)
    without = gbv.MixedEffects(random=random, period_effects=False).estimate(data)
    assert [row.term for row in with_periods.terms[2:5]] == ["period 1", "period 2", "period 3"]
    assert abs(with_periods.values[0]) < 3 * with_periods.std_errors[0]
    assert without.values[0] > 3 * without.std_errors[0]
    assert without.check("periods").status == "warn"


def test_a_collinear_arm_is_refused_and_a_collinear_covariate_named() -> None:
    frame = made()
    frame["copy"] = (np.array(frame["arm"]) == "new").astype(float)
    with pytest.raises(IdentificationError, match="collinear"):
        gbv.MixedEffects().estimate(trial(frame, covariates=["copy"]))
    x = np.arange(len(frame["y"])) % 4.0
    frame.update(x=x, twice=2 * x)
    answer = gbv.MixedEffects().estimate(trial(frame, covariates=["x", "twice"]))
    assert "twice" in answer.check("rank").message


def test_many_clusters_cost_no_more_than_their_rows() -> None:
    rng = np.random.default_rng(0)
    cluster = np.repeat(np.arange(20_000), 2)
    y = rng.normal(size=20_000)[cluster] + rng.normal(size=40_000)
    frame = {"y": y, "arm": np.where(cluster % 2 == 1, "new", "usual"), "cluster": cluster}
    answer = gbv.MixedEffects().estimate(trial(frame))
    # Equal sizes: the t test of cluster means.
    assert answer.terms[0].df == pytest.approx(19_998, rel=1e-6)
