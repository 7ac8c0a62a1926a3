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


DATES = {
    "year": (["2019-01-01", "2020-01-01", "2021-01-01"], "2020-01-01", ["2019", "2020", "2021"]),
    "quarter": (["2019-04-01", "2019-07-01", "2020-01-01"], "2019-10-01", ["2019 Q2", "2019 Q3", "2020 Q1"]),
    "month": (["2019-11-15", "2019-12-15", "2020-01-15"], "2020-01-15", ["2019-11", "2019-12", "2020-01"]),
    "week": (["2019-12-23", "2019-12-30", "2020-01-13"], "2020-01-06", ["2019-12-23", "2019-12-30", "2020-01-13"]),
    "day": (["2020-02-28", "2020-02-29", "2020-03-01"], "2020-02-29", ["2020-02-28", "2020-02-29", "2020-03-01"]),
}


@pytest.mark.parametrize("step", DATES)
@pytest.mark.parametrize("kind", ["datetime", "date"])
def test_dates_are_counted_in_the_widest_step_they_keep(step: str, kind: str) -> None:
    dates, first, names = DATES[step]
    frame = pd.DataFrame(
        {
            "y": [0.0, 1.0, 2.0] * 2,
            "u": ["a"] * 3 + ["b"] * 3,
            "t": pd.to_datetime(dates * 2),
            "g": pd.to_datetime([first] * 3 + [None] * 3),
        }
    )
    if kind == "date":
        frame["t"] = frame["t"].dt.date
        frame["g"] = pd.Series([None if pd.isna(x) else x.date() for x in frame["g"]], dtype=object)
    panel = check(frame)
    assert panel.calendar.step == step
    assert [panel.calendar.name(x) for x in panel.periods] == names
    # Event times count steps: a difference of dates in days, weeks, months, quarters or years.
    begun = pd.Timestamp(first)
    expected = {
        "year": [pd.Timestamp(d).year - begun.year for d in dates],
        "quarter": [pd.Period(d, "Q").ordinal - pd.Period(first, "Q").ordinal for d in dates],
        "month": [pd.Period(d, "M").ordinal - pd.Period(first, "M").ordinal for d in dates],
        "week": [(pd.Timestamp(d) - begun).days // 7 for d in dates],
        "day": [(pd.Timestamp(d) - begun).days for d in dates],
    }[step]
    assert (panel.periods - panel.cohort_of_unit()[0]).tolist() == expected
    assert np.isinf(panel.cohort_of_unit()[1])


def test_dates_beside_numbers_are_refused() -> None:
    (found,) = problems(make(t=pd.to_datetime(["2019-01-01", "2020-01-01"] * 3)))
    assert "both be numbers or both be dates" in found
    (found,) = problems(make(t=pd.to_datetime(["2019-01-01", None] * 3), g=[None] * 6))
    assert "'t' (time) is missing in 3 rows" in found


def test_cohorts_from_treatment_and_treatment_that_ends() -> None:
    frame = {"y": [0.0] * 9, "u": list("aaabbbccc"), "t": [1, 2, 3] * 3, "d": [0, 1, 1, 0, 1, 0, 0, 0, 0]}
    panel = gbv.Panel(frame, outcome="y", unit="u", time="t", treatment="d")
    assert panel.cohort_of_unit().tolist() == [2.0, 2.0, np.inf]
    assert panel.switches_off == 1
    with pytest.raises(DataError, match="Give cohort"):
        gbv.Panel(frame, outcome="y", time="t", treatment="d")


def test_treatment_before_the_first_treated_period_is_a_contradiction() -> None:
    (found,) = problems(make(d=[1, 1, 0, 0, 0, 2]), treatment="d")
    assert "'d' (treatment) is other than 0 in 2 rows" in found
    assert "'g' (cohort)" in found
    # Treatment that ends, or does not reach a unit of a treated cohort, is none.
    assert check(make(d=[0, 0, 0, 0, 0, 0]), treatment="d").n_units == 3


def test_two_ways_of_clustering_and_no_more() -> None:
    panel = check(make(m=["x", "x", "y", "y", "x", "x"]), cluster=["k", "m"])
    assert panel.cluster is not None
    assert panel.second_cluster is not None
    assert panel.cluster_name == "k and m"
    (found,) = problems(make(m=["x"] * 6, n=["x"] * 6), cluster=["k", "m", "n"])
    assert "two ways at most" in found


@pytest.mark.parametrize(
    "role", [{"treatment": "treated"}, {"covariates": ["d"]}, {"exposure": "d"}, {"cluster": ["k", "m"]}]
)
def test_every_role_is_part_of_the_digest(role: dict[str, Any]) -> None:
    frame = make(d=[1.0, 1.0, 1.0, 2.0, 1.0, 1.0], m=["x", "x", "y", "y", "x", "x"], treated=[0, 1, 0, 0, 0, 0])
    assert check(frame, **role).digest != check(frame).digest


def test_doses_are_constant_above_zero_where_treated_and_nowhere_else() -> None:
    panel = check(make(d=[2.5, 2.5, None, None, 0.0, 0.0]), dose="d")
    assert panel.dose is not None
    assert panel.dose.tolist() == [2.5, 2.5, 0.0, 0.0, 0.0, 0.0]
    assert panel.digest == check(make(d=[2.5, 2.5, 0.0, None, None, 0.0]), dose="d").digest
    assert panel.digest != check(make()).digest
    for doses, text in (
        ([0.0, SECRET, *[None] * 4], "changes within 1 unit"),
        ([None, None, *[0.0] * 4], "is missing, zero or negative in 2 rows of treated units"),
        ([-SECRET, -SECRET, *[0.0] * 4], "is missing, zero or negative in 2 rows of treated units"),
        ([1.0, 1.0, SECRET, SECRET, None, None], "is not zero in 2 rows of units that are never treated"),
    ):
        assert any(f"'d' (dose) {text}" in found for found in problems(make(d=doses), dose="d"))
    assert "infinite in 2 rows" in problems(make(d=[np.inf, np.inf, *[0.0] * 4]), dose="d")[0]
    # Units treated after the last period may have no dose yet; rows of cross-sections have one each.
    assert check(make(g=[7.0, 7.0, *[None] * 4], d=[None] * 6), dose="d").dose is not None
    assert check(make(d=[2.5, 3.5, *[None] * 4]), dose="d", unit=None).dose is not None


def test_periods_as_the_second_way_of_clustering() -> None:
    panel = check(make(), cluster=["u", "t"])
    assert panel.cluster is None
    assert panel.second_cluster is not None
    assert panel.second_cluster.codes.tolist() == [0, 1] * 3
    (found,) = problems(make(), cluster="t")
    assert "is the time" in found
