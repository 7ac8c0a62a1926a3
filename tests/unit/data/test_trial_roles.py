"""Roles of a trial beyond arm and outcome: periods, probabilities, take-up, exposure, baseline."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

import gbveval as gbv


def frame(**more: Any) -> dict[str, Any]:
    return {"y": [1.0, 2.0, 3.0, 4.0], "arm": ["a", "a", "b", "b"], **more}


def trial(data: dict[str, Any], **roles: Any) -> gbv.Trial:
    return gbv.Trial(data, outcome="y", arm="arm", control="a", **roles)


def test_one_column_of_probabilities_is_that_of_the_treated_arm() -> None:
    made = trial(frame(p=[0.25, 0.5, 0.25, 0.5]), probability="p")
    np.testing.assert_array_equal(made.probability, [[0.75, 0.25], [0.5, 0.5], [0.75, 0.25], [0.5, 0.5]])


def test_the_control_arm_may_be_left_out_of_the_probabilities() -> None:
    data = {"y": [1.0, 2.0, 3.0], "arm": ["a", "b", "c"], "pb": [0.2, 0.2, 0.2], "pc": [0.3, 0.3, 0.3]}
    made = trial(data, probability={"b": "pb", "c": "pc"})
    np.testing.assert_allclose(made.probability, [[0.5, 0.2, 0.3]] * 3)


@pytest.mark.parametrize(
    ("p", "says"),
    [
        ([0.5, 0.5, 1.5, 0.5], "outside 0 to 1 in 1 row"),
        ([0.5, 0.5, 0.0, 0.5], "1 row are in an arm whose probability is zero"),
        ([0.5, None, 0.5, 0.5], "is missing in 1 row"),
    ],
)
def test_impossible_probabilities_are_refused_by_count(p: list[Any], says: str) -> None:
    with pytest.raises(gbv.DataError, match=says):
        trial(frame(p=p), probability="p")


def test_probabilities_of_three_arms_need_a_column_each() -> None:
    data = {"y": [1.0, 2.0, 3.0], "arm": ["a", "b", "c"], "p": [0.2, 0.2, 0.2]}
    with pytest.raises(gbv.DataError, match="Name a column for each arm"):
        trial(data, probability="p")
    with pytest.raises(gbv.DataError, match="arms without a column: 2"):
        trial(data, probability={"b": "p"})


def test_exposure_must_be_above_zero() -> None:
    with pytest.raises(gbv.DataError, match=r"'t' \(exposure\) is zero or negative in 2 rows"):
        trial(frame(t=[1.0, 0.0, -1.0, 2.0]), exposure="t")


def test_a_baseline_may_be_missing_and_take_up_may_not() -> None:
    made = trial(frame(b=[1.0, None, 0.0, 1.0]), baseline="b")
    assert made.baseline is not None
    assert np.isnan(made.baseline[1])
    with pytest.raises(gbv.DataError, match="received"):
        trial(frame(d=[1.0, None, 0.0, 1.0]), received="d")


def test_with_periods_a_cluster_may_change_its_arm_and_without_it_may_not() -> None:
    data = {
        "y": np.arange(8.0),
        "arm": ["a", "b", "a", "b", "a", "a", "a", "b"],
        "c": [1, 1, 2, 2, 3, 3, 4, 4],
        "t": [0, 1] * 4,
    }
    with pytest.raises(gbv.DataError, match="varies inside 3 clusters"):
        trial(data, cluster="c")
    wedge = trial(data, cluster="c", time="t")
    assert wedge.crosses_over
    for estimator in (gbv.DifferenceInMeans(), gbv.LinAdjusted()):
        with pytest.raises(gbv.DesignError, match="change arm between periods"):
            estimator.estimate(wedge)
    data["arm"] = ["a", "b", "a", "b", "a", "a", "a", "b"][::-1]
    data["t"] = [0, 0, 0, 1, 0, 1, 0, 1]
    with pytest.raises(gbv.DataError, match="varies inside 1 period of a cluster"):
        trial(data, cluster="c", time="t")


@pytest.mark.parametrize("role", ["weight", "baseline", "exposure", "received", "probability"])
def test_every_role_is_in_the_digest(role: str) -> None:
    one = trial(frame(v=[0.5, 0.5, 0.5, 0.5]), **{role: "v"})
    other = trial(frame(v=[0.5, 0.5, 0.5, 0.4]), **{role: "v"})
    assert len({one.digest, other.digest, trial(frame()).digest}) == 3


def test_categoricals_with_unused_levels_have_only_the_arms_that_occur() -> None:
    arm = pd.Categorical(["a", "a", "b", "b"], categories=["a", "b", "never used"])
    made = trial({"y": [1.0, 2.0, 3.0, 5.0], "arm": arm})
    assert made.arms == ("a", "b")


def test_subgroups_are_categories_and_may_share_a_column() -> None:
    made = trial(frame(g=["w", "m", "w", "m"], s=[1, 1, 2, 2]), stratum="s", subgroup=["g", "s"])
    assert made.subgroup_names == ("g", "s")
    assert made.subgroup_levels == (("m", "w"), ("1", "2"))
    np.testing.assert_array_equal(made.subgroups, [[1, 0], [0, 0], [1, 1], [0, 1]])
    assert trial(frame(g=["w", "m", "w", "m"]), subgroup="g").subgroup_names == ("g",)


@pytest.mark.parametrize(
    ("g", "says"),
    [
        (["w", None, "w", "m"], r"'g' \(subgroup\) is missing in 1 row"),
        (["w", "w", "w", "w"], "holds a single category"),
    ],
)
def test_subgroups_must_be_complete_and_divide(g: list[Any], says: str) -> None:
    with pytest.raises(gbv.DataError, match=says):
        trial(frame(g=g), subgroup="g")


def test_a_subgroup_of_names_is_refused_without_showing_one() -> None:
    n = 80
    data = {"y": np.arange(n), "arm": ["a", "b"] * (n // 2), "g": [f"Secret{i}" for i in range(n)]}
    with pytest.raises(gbv.DataError, match="has 80 categories in 80 rows; at most 30") as refusal:
        gbv.Trial(data, outcome="y", arm="arm", control="a", subgroup="g")
    assert "Secret" not in str(refusal.value)


def test_an_outcome_is_no_subgroup() -> None:
    with pytest.raises(gbv.DataError, match="given two roles"):
        trial(frame(), subgroup="y")


def test_the_digest_takes_in_subgroups_and_is_as_before_without() -> None:
    plain = trial(frame(g=["w", "m", "w", "m"]))
    one = trial(frame(g=["w", "m", "w", "m"]), subgroup="g")
    other = trial(frame(g=["m", "w", "w", "m"]), subgroup="g")
    renamed = trial(frame(g=["v", "m", "v", "m"]), subgroup="g")
    assert len({plain.digest, one.digest, other.digest, renamed.digest}) == 4
    assert plain.digest == trial(frame()).digest


def test_other_estimators_ignore_subgroups() -> None:
    with_it = gbv.DifferenceInMeans().estimate(trial(frame(g=["w", "m", "w", "m"]), subgroup="g"))
    without = gbv.DifferenceInMeans().estimate(trial(frame()))
    assert with_it.records() == without.records()
