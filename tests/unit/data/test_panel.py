"""`Panel`: duplicated cells, changing cohorts, codes for never, and what the flow counts."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.data.test_trial import PLACE, SECRET, hostile_frames

import gbveval as gbv
from gbveval.core.errors import DataError, GbvevalError


def make(**change: Any) -> dict[str, Any]:
    frame: dict[str, Any] = {
        "y": [1.0, 2.0, 1.0, 1.5, 0.0, 3.0],
        "u": ["a", "a", "b", "b", "c", "c"],
        "t": [1, 2, 1, 2, 1, 2],
        "g": [2.0, 2.0, np.inf, np.inf, None, None],
        "k": ["p", "p", "q", "q", "q", "q"],
        "w": [1.0] * 6,
    }
    frame.update(change)
    return frame


def check(frame: Any, **roles: Any) -> gbv.Panel:
    return gbv.Panel(frame, **{"outcome": "y", "time": "t", "cohort": "g", "unit": "u", **roles})


def problems(frame: Any, **roles: Any) -> tuple[str, ...]:
    with pytest.raises(DataError) as caught:
        check(frame, **roles)
    assert PLACE not in str(caught.value)
    assert "48151" not in str(caught.value)
    return caught.value.problems


def test_missing_and_infinite_both_mean_never() -> None:
    panel = check(make())
    assert panel.cohort_of_unit().tolist() == [2.0, np.inf, np.inf]
    assert panel.is_balanced
    assert panel.n_units == 3
    assert "2 never treated" in repr(panel)


def test_all_problems_at_once() -> None:
    frame = make(y=["told"] * 6, w=[-SECRET, *[1.0] * 5], u=[PLACE, None, "b", "b", "c", "c"])
    found = problems(frame, weight="w", cluster="nope")
    for name in ("'y'", "'w'", "'u'", "'nope'"):
        assert any(name in text for text in found)


def test_duplicated_unit_periods_are_counted() -> None:
    (found,) = problems(make(u=[PLACE] * 4 + ["c", "c"], g=[2.0] * 6))
    assert "4 rows" in found


def test_a_cohort_that_changes_within_a_unit() -> None:
    (found,) = problems(make(u=[PLACE, PLACE, "b", "b", "c", "c"], g=[2.0, None, 2.0, 2.0, 1.0, 2.0]))
    assert "2 units" in found
    assert "'g'" in found


def test_a_cluster_that_changes_within_a_unit() -> None:
    (found,) = problems(make(k=["p", PLACE, "q", "q", "q", "q"]), cluster="k")
    assert "1 unit;" in found


def test_zero_is_no_code_for_never_in_silence() -> None:
    (found,) = problems(make(g=[2.0, 2.0, 0.0, 0.0, 0.0, 0.0]))
    assert "4 rows" in found
    assert check(make(t=[0, 1] * 3, g=[0.0, 0.0, 1.0, 1.0, None, None])).n_units == 3


def test_minus_infinity_is_refused_by_number_of_rows() -> None:
    (found,) = problems(make(g=[-np.inf, -np.inf, 2.0, 2.0, 2.0, 2.0]))
    assert "2 rows" in found


def test_an_absent_time_with_zero_cohorts_is_one_error_of_ours() -> None:
    frame = make(g=[0.0] * 6)
    del frame["t"]
    assert any("'t'" in text for text in problems(frame))
    assert any("'t'" in text for text in problems(make(g=[0.0] * 6, t=[None] * 6)))


@pytest.mark.parametrize("bad", [np.inf, None, "text"])
def test_times_must_be_numbers(bad: Any) -> None:
    assert any("'t'" in text for text in problems(make(t=[bad, 2, 1, 2, 1, 2])))


def test_one_period_is_too_few() -> None:
    assert "one period" in problems(make(u=list("abcdef"), t=[1] * 6, g=[2.0] * 6))[0]


def test_weights_that_are_all_zero_are_refused() -> None:
    assert any("'w'" in text for text in problems(make(w=[0.0] * 6), weight="w"))


def test_periods_may_be_irregular_negative_and_fractional() -> None:
    panel = check(make(t=[-3.5, 1e6] * 3, g=[1e6, 1e6, None, None, None, None]))
    assert panel.periods.tolist() == [-3.5, 1e6]
    assert panel.time.tolist() == [0, 1] * 3


def test_the_flow_counts_units_and_adds_up() -> None:
    panel = check(make(y=[1.0, None, 1.0, 1.5, 0.0, 3.0]))
    flow = panel.flow()
    total = {stage: flow.count(stage) for stage in ("in the panel", "missing outcome", "analysed")}
    assert total == {"in the panel": 3, "missing outcome": 1, "analysed": 2}
    assert flow.count("missing outcome", "first treated 2") == 1


def test_unbalanced_panels_are_said_to_be() -> None:
    frame = {name: values[:5] for name, values in make().items()}
    panel = check(frame)
    assert not panel.is_balanced
    assert "unbalanced" in repr(panel)
    assert panel.flow().count("missing outcome") == 1


def test_repeated_cross_sections() -> None:
    panel = check(make(), unit=None)
    assert panel.unit is None
    assert panel.n_units == 6
    assert "repeated cross-sections" in repr(panel)


def test_unit_numbers_of_nineteen_digits_stay_apart() -> None:
    first = 1_794_213_377_421_811_712
    panel = check(make(u=[first, first, first + 1, first + 1, first + 2, first + 2]))
    assert panel.n_units == 3


def test_checked_panels_cannot_be_changed() -> None:
    panel = check(make(), cluster="k", weight="w")
    assert panel.unit is not None
    assert panel.cluster is not None
    for array in (panel.outcome, panel.time, panel.cohort, panel.periods, panel.weight):
        with pytest.raises(ValueError, match="read-only"):
            array[...] = 0  # type: ignore[index]
    for labels in (panel.unit, panel.cluster):
        with pytest.raises(ValueError, match="read-only"):
            labels.codes[...] = 0
    with pytest.raises(AttributeError):
        panel.outcome = np.zeros(6)  # type: ignore[misc]


@settings(max_examples=120, deadline=None)
@given(
    hostile_frames(("y", "arm", "t", "g", "u", "k", "w")),
    st.fixed_dictionaries(
        {},
        optional={
            "unit": st.sampled_from(["u", "k", "nope"]),
            "cluster": st.sampled_from(["k", "u"]),
            "weight": st.sampled_from(["w", "y"]),
        },
    ),
)
def test_a_panel_is_made_or_an_error_of_ours_is_raised(frame: pd.DataFrame, roles: dict[str, str]) -> None:
    try:
        panel = gbv.Panel(frame, outcome="y", time="t", cohort="g", **roles)
    except GbvevalError as error:
        told = str(error)
        assert PLACE not in told
        return
    repr(panel)
    assert panel.flow().count("in the panel") == panel.n_units
    assert len(panel.digest) == 64
