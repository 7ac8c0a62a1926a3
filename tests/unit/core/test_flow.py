"""Participant flow: counts that must add up."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

import gbveval as gbv
from gbveval.core.errors import DataError
from gbveval.core.flow import Flow, FlowRow


def test_counts_by_stage_and_arm() -> None:
    flow = Flow((FlowRow("assessed", "all", 10), FlowRow("randomised", "a", 4), FlowRow("randomised", "b", 5)))
    assert flow.count("assessed") == 10
    assert flow.count("randomised") == 9
    assert flow.count("randomised", "b") == 5
    assert flow.count("analysed") == 0
    assert flow.arms() == ("a", "b")


def test_imbalance_is_told_by_arm() -> None:
    rows = [("randomised", 5), ("missing outcome", 1), ("analysed", 3)]
    flow = Flow(tuple(FlowRow(stage, "a", n) for stage, n in rows))
    assert flow.imbalances() == ("a: 5 randomised, 3 analysed, 1 missing",)


@given(st.lists(st.tuples(st.sampled_from(["u", "n", "o", None]), st.booleans()), min_size=1, max_size=60))
def test_the_flow_of_a_trial_adds_up(rows: list[tuple[str | None, bool]]) -> None:
    rows = [("u", True), ("n", True), *rows]
    frame = {"arm": [arm for arm, _ in rows], "y": [1.0 if seen else None for _, seen in rows]}
    trial = gbv.Trial(frame, outcome="y", arm="arm", control="u")
    flow = trial.flow()
    assert flow.imbalances() == ()
    assert flow.count("assessed") == len(rows)
    for arm in trial.arms:
        assert flow.count("randomised", arm) == sum(label == arm for label, _ in rows)
        assert flow.count("analysed", arm) == sum(label == arm and seen for label, seen in rows)
    assert flow.count("randomised") == sum(label is not None for label, _ in rows)


def test_an_arm_called_all_is_an_arm_like_others_or_is_refused() -> None:
    frame = {"arm": ["all"] * 3 + ["b"] * 4, "y": np.arange(7.0)}
    try:
        trial = gbv.Trial(frame, outcome="y", arm="arm", control="b")
    except DataError as error:
        told = str(error)
        assert "'all'" in told
        return
    flow = trial.flow()
    assert flow.arms() == ("b", "all")
    assert flow.count("randomised") == 7
