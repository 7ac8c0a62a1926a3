"""Placebo designs: the comparison of compliers by hand, equality of take-up, and what is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import gbveval as gbv
from gbveval.core.replicate import binomial_band, generators
from gbveval.testing.spillover_processes import PlaceboFrames

Frame = dict[str, Any]


def drawn(seed: int, **options: Any) -> Frame:
    return PlaceboFrames(**options).frame(np.random.default_rng(seed))[0]


def trial(frame: Frame, **roles: Any) -> gbv.Trial:
    roles |= {"cluster": "cluster"} if "cluster" in frame else {}
    return gbv.Trial(frame, outcome=roles.pop("outcome", "y"), arm="arm", control="usual", received="came", **roles)


def kept(frame: Frame, keep: Any) -> Frame:
    return {name: np.asarray(column)[keep] for name, column in frame.items()}


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from([0, 8]))
def test_it_is_the_difference_in_means_of_those_who_came(seed: int, cluster_size: int) -> None:
    frame = drawn(seed, n_per_arm=8 if cluster_size else 30, cluster_size=cluster_size)
    came = kept(frame, frame["came"] == 1)
    found = gbv.PlaceboCompliers().estimate(trial(frame))
    roles = {"cluster": "cluster"} if cluster_size else {}
    plain = gbv.DifferenceInMeans().estimate(gbv.Trial(came, outcome="y", arm="arm", control="usual", **roles))[0]
    row = found["new vs usual"]
    y, new = np.asarray(came["y"]), np.asarray(came["arm"]) == "new"
    assert row.value == pytest.approx(y[new].mean() - y[~new].mean(), rel=1e-9, abs=1e-12)
    assert row.std_error == pytest.approx(plain.std_error, rel=1e-10)
    assert row.df == pytest.approx(plain.df, rel=1e-10)
    assert (row.n_units, row.n_clusters) == (plain.n_units, plain.n_clusters)
    assert (row.estimand.effect, row.estimand.population) == ("LATE", "compliers")


@pytest.mark.parametrize("role", ["stratum", "pair", "weight"])
def test_the_roles_of_the_trial_decide_as_in_the_difference_in_means(role: str) -> None:
    frame = drawn(1, n_per_arm=40)
    frame[role] = {"stratum": np.arange(80) // 20, "pair": np.arange(80) // 2, "weight": 1.0 + np.arange(80) % 3}[role]
    if role == "pair":
        # Both of a pair come or neither does; other pairs are left out.
        frame["came"] = np.repeat(frame["came"][::2], 2)
    came = kept(frame, frame["came"] == 1)
    plain = gbv.DifferenceInMeans().estimate(gbv.Trial(came, outcome="y", arm="arm", control="usual", **{role: role}))[
        0
    ]
    row = gbv.PlaceboCompliers().estimate(trial(frame, **{role: role}))[0]
    assert row.value == pytest.approx(plain.value, rel=1e-10)
    assert row.std_error == pytest.approx(plain.std_error, rel=1e-10)
    assert row.df == pytest.approx(plain.df)


def test_pairs_with_a_complier_on_one_side_are_left_out_and_told() -> None:
    frame = drawn(2, n_per_arm=40)
    frame["pair"] = np.arange(80) // 2
    both = np.bincount(frame["pair"], weights=frame["came"]) == 2
    found = gbv.PlaceboCompliers().estimate(trial(frame, pair="pair"))
    assert found[0].n_units == 2 * both.sum()
    assert "both sides have a complier" in found.check("complete pairs y").message


def test_take_up_is_compared_between_arms_and_covaries_with_the_effect() -> None:
    frame = drawn(3, n_per_arm=9, cluster_size=10)
    found = gbv.PlaceboCompliers().estimate(trial(frame))
    roles = {"arm": "arm", "control": "usual", "cluster": "cluster"}
    plain = gbv.DifferenceInMeans().estimate(gbv.Trial(frame, outcome="came", **roles))[0]
    row = found["take-up: new vs usual"]
    assert row.value == pytest.approx(plain.value, rel=1e-10)
    assert row.std_error == pytest.approx(plain.std_error, rel=1e-10)
    assert not row.estimand.is_causal
    # By hand, from cluster totals: residuals of both means, with the factor of CR2 for each.
    codes = np.unique(frame["cluster"], return_inverse=True)[1]
    new = np.array(frame["arm"]) == "new"
    parts = np.zeros((2, 18))
    for column, (values, member) in enumerate(
        ((frame["y"], frame["came"] == 1), (frame["came"], np.ones(codes.size, dtype=bool)))
    ):
        for arm, sign in ((new, 1.0), (~new, -1.0)):
            here = member & arm
            size = np.bincount(codes[here], minlength=18)
            mean = values[here].mean()
            total = np.bincount(codes[here], weights=values[here] - mean, minlength=18)
            parts[column] += sign * total / here.sum() / np.sqrt(1 - size / here.sum())
    np.testing.assert_allclose(found.covariance, parts @ parts.T, rtol=1e-8)


def test_a_check_says_whether_take_up_is_equal() -> None:
    frame = drawn(4, n_per_arm=200)
    check = gbv.PlaceboCompliers().estimate(trial(frame)).check("take-up")
    rates = [frame["came"][np.array(frame["arm"]) == arm].mean() for arm in ("usual", "new")]
    assert check.status == "ok"
    assert f"{rates[0]:.1%} in 'usual', {rates[1]:.1%} in 'new'" in check.message
    assert "%" not in check.public
    frame["came"] = np.where(np.array(frame["arm"]) == "new", np.arange(400) % 4 < 3, frame["came"]).astype(float)
    assert gbv.PlaceboCompliers().estimate(trial(frame)).check("take-up").status == "warn"


def test_the_check_of_take_up_is_a_test_at_five_in_a_hundred() -> None:
    n_draws = 600
    warned = 0
    for rng in generators(20261126, n_draws):
        frame, _ = PlaceboFrames(n_per_arm=10, cluster_size=6).frame(rng)
        warned += gbv.PlaceboCompliers().estimate(trial(frame)).check("take-up").status == "warn"
    low, high = binomial_band(0.05, n_draws, false_alarm=1e-5)
    assert low <= warned / n_draws <= high


def test_everybody_coming_is_the_plain_comparison() -> None:
    frame = drawn(5)
    frame["came"] = np.ones(80)
    found = gbv.PlaceboCompliers().estimate(trial(frame))
    plain = gbv.DifferenceInMeans().estimate(gbv.Trial(frame, outcome="y", arm="arm", control="usual"))
    assert len(found) == 1
    assert found[0].value == plain[0].value
    assert "everybody took up" in found.check("take-up").message


def test_several_arms_and_outcomes_are_compared_with_the_placebo_jointly() -> None:
    frame = drawn(6, n_per_arm=60)
    arm = np.array(frame["arm"], dtype=object)
    arm[np.flatnonzero(arm == "new")[::2]] = "other"
    frame |= {"arm": arm, "z": frame["y"] ** 2}
    found = gbv.PlaceboCompliers().estimate(trial(frame, outcome=["y", "z"]))
    assert len(found) == 6
    came = kept(frame, frame["came"] == 1)
    plain = gbv.DifferenceInMeans().estimate(gbv.Trial(came, outcome=["y", "z"], arm="arm", control="usual"))
    np.testing.assert_allclose(found.values[:4], plain.values, rtol=1e-10)
    np.testing.assert_allclose(found.covariance[:4, :4], plain.covariance, rtol=1e-9)
    # Take-up rows are diagnostics: a joint test of effects leaves them out.
    assert found.joint_test()[0].df == 4


def test_missing_outcomes_of_compliers_are_told_and_of_others_do_not_matter() -> None:
    frame = drawn(7)
    others = np.where((frame["came"] == 0) & (np.arange(80) % 3 == 0), np.nan, frame["y"])
    plain = gbv.PlaceboCompliers().estimate(trial(frame))
    found = gbv.PlaceboCompliers().estimate(trial({**frame, "y": others}))
    np.testing.assert_array_equal(found.values, plain.values)
    assert "missing outcome" not in {check.name for check in found.checks}
    gone = np.where(np.arange(80) % 7 == 0, np.nan, frame["y"])
    assert "of compliers y is missing" in gbv.PlaceboCompliers().estimate(trial({**frame, "y": gone})).check(
        "missing outcome"
    ).message  # fmt: skip


def test_clusters_in_which_nobody_came_are_told() -> None:
    frame = drawn(8, n_per_arm=6, cluster_size=8)
    frame["came"] = np.where(np.array(frame["cluster"]) == "c003", 0.0, frame["came"])
    found = gbv.PlaceboCompliers().estimate(trial(frame))
    assert found[0].n_clusters == 11
    assert "in 1 of 12 clusters" in found.check("clusters without compliers").message


def test_it_is_more_precise_than_dividing_by_the_share_who_comply() -> None:
    frame = drawn(9, n_per_arm=400, compliers=0.2)
    placebo = gbv.PlaceboCompliers().estimate(trial(frame))[0].std_error
    # The same people, had control been offered nothing.
    nothing = {**frame, "came": frame["came"] * (np.array(frame["arm"]) == "new")}
    divided = gbv.ComplierAverage(interval="wald").estimate(trial(nothing))[0].std_error
    assert placebo is not None
    assert divided is not None
    # With a fifth complying, the variance of one is s^2 / (0.2 n) and of the other s^2 / (0.04 n): a root of five.
    assert divided / placebo > 2.0


def test_what_is_no_placebo_design_is_refused_by_name() -> None:
    frame = drawn(10)
    new = np.array(frame["arm"]) == "new"
    estimator = gbv.PlaceboCompliers()
    with pytest.raises(gbv.DesignError, match="needs the role `received`"):
        estimator.estimate(gbv.Trial(frame, outcome="y", arm="arm", control="usual"))
    with pytest.raises(gbv.DesignError, match="Use ComplierAverage"):
        estimator.estimate(trial({**frame, "came": frame["came"] * new}))
    with pytest.raises(gbv.IdentificationError, match="Nobody in arm 'new' took up"):
        estimator.estimate(trial({**frame, "came": frame["came"] * ~new}))
    with pytest.raises(gbv.DesignError, match="neither 0 nor 1 in 2 rows"):
        estimator.estimate(trial({**frame, "came": np.where(np.arange(80) < 2, 3.0, frame["came"])}))
    with pytest.raises(gbv.IdentificationError, match="Arm 'new' has 1 complier with the outcome y"):
        estimator.estimate(trial({**frame, "came": np.where(new, np.arange(80) == 1, frame["came"])}))
    clustered = drawn(11, n_per_arm=6, cluster_size=8)
    clustered["w"] = np.ones(96)
    with pytest.raises(gbv.DesignError, match="cluster and weight together"):
        estimator.estimate(trial(clustered, weight="w"))


def test_peers_of_compliers_are_rows_of_their_own() -> None:
    # Two peers of each of 60 people, half of whom came; what came of it reaches the peers of those who came.
    rng = np.random.default_rng(12)
    person = np.repeat(np.arange(60), 2)
    new, came = person % 2 == 1, person % 4 < 2
    level = rng.normal(size=60)[person]
    frame = {
        "y": level + 0.3 * rng.normal(size=120) + 1.0 * (new & came),
        "arm": np.where(new, "new", "usual"),
        "came": came.astype(float),
        "cluster": [f"p{i}" for i in person],
    }
    row = gbv.PlaceboCompliers().estimate(trial(frame))[0]
    assert row.n_clusters == 30
    # Peers of one person are one draw: with clusters of two, CR2 is the variance of the means of pairs of peers.
    means = (frame["y"].reshape(60, 2).mean(axis=1)[came[::2]], new[::2][came[::2]])
    expected = sum(means[0][means[1] == arm].var(ddof=1) / 15 for arm in (True, False))
    assert row.std_error == pytest.approx(np.sqrt(expected), rel=1e-9)
