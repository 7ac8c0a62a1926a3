"""Every estimator of trials on ugly data: an answer, a null with its reason, or a refusal that says what to do.

Never a bare error of a library, a warning of numpy, or a number that is not finite.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest

import gbveval as gbv

Frame = dict[str, Any]


def people(n: int = 80) -> Frame:
    rng = np.random.default_rng(1)
    treated = np.arange(n) % 2 == 1
    return {
        "y": rng.normal(size=n) + 0.3 * treated,
        "arm": np.where(treated, "new", "usual"),
        "x": rng.normal(size=n),
    }


def yes_or_no(n: int = 80) -> Frame:
    frame = people(n)
    return {**frame, "y": (frame["y"] > 0).astype(float)}


def counts(n: int = 80) -> Frame:
    frame = people(n)
    rng = np.random.default_rng(2)
    return {**frame, "y": rng.negative_binomial(1, 0.3, n).astype(float)}


def with_clusters(frame: Frame, clusters: int = 8) -> Frame:
    n = len(frame["y"])
    group = np.arange(n) % clusters
    treated = group % 2 == 1
    return {**frame, "arm": np.where(treated, "new", "usual"), "cluster": group}


def singleton_clusters(frame: Frame) -> Frame:
    made = with_clusters(frame, 10)
    # Two clusters of one person among large ones.
    group = made["cluster"].copy()
    keep = np.ones(group.size, dtype=bool)
    for g in (0, 1):
        keep[np.flatnonzero(group == g)[1:]] = False
    return {name: np.asarray(column)[keep] for name, column in made.items()}


def one_treated_cluster(frame: Frame) -> Frame:
    made = with_clusters(frame)
    return {**made, "arm": np.where(made["cluster"] == 1, "new", "usual")}


def stratum_without_controls(frame: Frame) -> Frame:
    n = len(frame["y"])
    stratum = np.where((np.arange(n) < 20) & (np.asarray(frame["arm"]) == "new"), "a", "b")
    return {**frame, "stratum": stratum}


def all_missing_in_an_arm(frame: Frame) -> Frame:
    return {**frame, "y": np.where(np.asarray(frame["arm"]) == "new", np.nan, frame["y"])}


def zero_variance(frame: Frame) -> Frame:
    return {**frame, "y": np.ones(len(frame["y"]))}


def complete_separation(frame: Frame) -> Frame:
    return {**frame, "y": (np.asarray(frame["arm"]) == "new").astype(float)}


def zero_event_arm(frame: Frame) -> Frame:
    return {**frame, "y": np.where(np.asarray(frame["arm"]) == "new", 0.0, frame["y"])}


def weights_of_zero(frame: Frame) -> Frame:
    weight = np.where(np.arange(len(frame["y"])) % 3 == 0, 0.0, 1.5)
    return {**frame, "weight": weight}


def unused_levels(frame: Frame) -> Frame:
    return {**frame, "arm": pd.Categorical(frame["arm"], categories=["usual", "new", "never used"])}


def nobody_left_in_an_arm_but_one(frame: Frame) -> Frame:
    y = np.asarray(frame["y"], dtype=float).copy()
    treated = np.flatnonzero(np.asarray(frame["arm"]) == "new")
    y[treated[1:]] = np.nan
    return {**frame, "y": y}


def constant_covariate(frame: Frame) -> Frame:
    return {**frame, "x": np.full(len(frame["y"]), 2.0)}


UGLY: tuple[Callable[[Frame], Frame], ...] = (
    singleton_clusters,
    one_treated_cluster,
    stratum_without_controls,
    all_missing_in_an_arm,
    zero_variance,
    complete_separation,
    zero_event_arm,
    weights_of_zero,
    unused_levels,
    nobody_left_in_an_arm_but_one,
    constant_covariate,
)
OUTCOMES = {
    "number": people,
    "yes or no": yes_or_no,
    "count": counts,
    "yes or no in clusters": lambda: with_clusters(yes_or_no()),
    "number in clusters": lambda: with_clusters(people()),
}


def estimators() -> dict[str, Any]:
    """Return one of every registered estimator that takes a trial and needs no sampler."""
    from gbveval.core.registry import discover

    made = {}
    for name, kind in discover().items():
        if not kind.__module__.startswith("gbveval.estimators.randomised"):
            continue
        fields = getattr(kind, "__dataclass_fields__", {})
        needed = {"n_draws": 1000 if "items" in fields else 199, "items": 3}
        options = {key: value for key, value in needed.items() if key in fields}
        made[name] = kind(**options)
    return made


ESTIMATORS = estimators()


def two_stages(frame: Frame, roles: dict[str, str]) -> tuple[Frame, dict[str, str]]:
    """Clusters as they are, or groups of eight of which every other one has no treated."""
    arm = np.asarray(frame["arm"])
    if "cluster" in frame:
        return {**frame, "saturation": (arm == "new").astype(float)}, {**roles, "saturation": "saturation"}
    group = np.arange(arm.size) // 8
    pure = group % 2 == 0
    made = {"arm": np.where(pure, "usual", arm), "cluster": group, "saturation": np.where(pure, 0.0, 0.5)}
    return {**frame, **made}, {**roles, "cluster": "cluster", "saturation": "saturation"}


def trial(frame: Frame, name: str) -> gbv.Trial:
    roles = {role: role for role in ("cluster", "stratum", "weight") if role in frame}
    if name == "placebo_compliers":
        frame = {**frame, "came": (np.arange(len(frame["y"])) // 2 % 2).astype(float)}
        roles["received"] = "came"
    if name == "complier_average":
        frame = {**frame, "took": (np.asarray(frame["arm"]) == "new").astype(float)}
        roles["received"] = "took"
    if name in ("stepped_wedge",):
        frame = {**frame, "period": np.arange(len(frame["y"])) // 8 % 4}
        roles["time"] = "period"
    if name == "subgroup_effects":
        frame = {**frame, "group": np.array(["a", "b", "c"])[np.arange(len(frame["y"])) // 4 % 3]}
        roles["subgroup"] = "group"
    if name == "saturation_effects":
        frame, roles = two_stages(frame, roles)
    if name == "transitions":
        frame = {**frame, "before": np.arange(len(frame["y"])) % 2}
        roles["baseline"] = "before"
    network = None
    if name == "exposure_effects":
        n = len(frame["y"])
        frame = {**frame, "id": np.arange(n)}
        roles["unit"] = "id"
        # A ring, in which a cluster's people are not next to each other.
        network = {"one": np.arange(n), "other": (np.arange(n) + 1) % n}
    return gbv.Trial(frame, outcome="y", arm="arm", control="usual", covariates=["x"], network=network, **roles)


@pytest.mark.parametrize("ugly", UGLY, ids=lambda ugly: ugly.__name__)
@pytest.mark.parametrize("outcome", OUTCOMES)
@pytest.mark.parametrize("name", ESTIMATORS)
def test_an_answer_a_reason_or_a_refusal(name: str, outcome: str, ugly: Callable[[Frame], Frame]) -> None:
    frame = ugly(OUTCOMES[outcome]())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            result = ESTIMATORS[name].estimate(trial(frame, name), rng=np.random.default_rng(1))
        except gbv.GbvevalError as refusal:
            said = str(refusal)
            result = None
    if result is None:
        assert len(said) > 40, f"the refusal says too little: {said}"
        return
    assert len(result) > 0
    for row in result.terms:
        if row.value is None or (row.std_error is None and row.kind == "point"):
            assert row.kind == "test" or row.reason, (name, row.term)
        for number in (row.value, row.std_error, row.statistic, row.p_value):
            assert number is None or np.isfinite(number), (name, row.term)
        # A coefficient of twenty on the scale of odds or rates is a maximum that does not exist.
        if row.estimand.link == "log" and row.value is not None:
            assert abs(row.value) < 15.0, (name, row.term, row.value)


def test_the_list_is_of_every_estimator_of_trials() -> None:
    assert len(ESTIMATORS) >= 25
    assert {"ancova", "difference_in_means", "gee", "mixed_effects", "wild_cluster_bootstrap"} <= set(ESTIMATORS)


def test_an_id_that_occurs_twice_is_a_cluster_of_two() -> None:
    # A unit's rows are its cluster; doubling every row must not halve the variance.
    frame = people(60)
    doubled = {name: np.concatenate([column, column]) for name, column in frame.items()}
    once = gbv.DifferenceInMeans().estimate(gbv.Trial(frame, outcome="y", arm="arm", control="usual"))[0]
    doubled["id"] = np.tile(np.arange(60), 2)
    twice = gbv.DifferenceInMeans().estimate(gbv.Trial(doubled, outcome="y", arm="arm", control="usual", cluster="id"))[
        0
    ]
    assert twice.value == pytest.approx(once.value, rel=1e-12)
    # Clusters of one size: CR2 of a saturated design is Neyman's variance of their means.
    assert twice.std_error == pytest.approx(once.std_error, rel=1e-9)


def test_a_million_clusters_of_one() -> None:
    rng = np.random.default_rng(3)
    n = 1_000_000
    treated = np.arange(n) % 2 == 1
    frame = pd.DataFrame({"y": rng.normal(size=n), "arm": np.where(treated, 1, 0), "id": np.arange(n)})
    made = gbv.Trial(frame, outcome="y", arm="arm", control=0, cluster="id")
    plain = gbv.Trial(frame, outcome="y", arm="arm", control=0)
    for estimator in (gbv.DifferenceInMeans(), gbv.Ancova()):
        clustered, people_ = estimator.estimate(made)[0], estimator.estimate(plain)[0]
        assert clustered.std_error == pytest.approx(people_.std_error, rel=1e-9)
