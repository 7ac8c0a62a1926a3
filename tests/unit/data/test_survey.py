"""`Survey`: weights, nested sampling units, factors read later."""

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
        "y": [0, 1, 1, None, 0, 1],
        "w": [1.0, 2.0, 0.0, 1.0, 1.5, 1.0],
        "s": ["n", "n", "n", "e", "e", "e"],
        "v": ["1", "1", "2", "1", "2", "2"],
        "f": ["yes", "no", None, "yes", "no", "no"],
        "x": [1.0, None, 3.0, 4.0, 5.0, 6.0],
    }
    frame.update(change)
    return frame


def problems(frame: Any, **roles: Any) -> tuple[str, ...]:
    with pytest.raises(DataError) as caught:
        gbv.Survey(frame, **{"outcome": "y", **roles})
    assert PLACE not in str(caught.value)
    assert "48151" not in str(caught.value)
    return caught.value.problems


def test_sampling_units_are_nested_in_strata() -> None:
    survey = gbv.Survey(make(), outcome="y", weight="w", stratum="s", psu="v")
    assert (survey.n, survey.n_psu, survey.n_strata) == (6, 4, 2)
    assert gbv.Survey(make(), outcome="y", psu="v").n_psu == 2
    assert gbv.Survey(make(), outcome="y").n_psu == 6


def test_all_problems_at_once() -> None:
    frame = make(y=[np.inf, SECRET, 1, 0, 0, 1], w=[-SECRET, 1, 1, 1, 1, 1], v=[PLACE, None, "1", "1", "1", "1"])
    found = problems(frame, weight="w", psu="v", stratum="nope")
    for name in ("'y'", "'w'", "'v'", "'nope'"):
        assert any(name in text for text in found)


def test_weights_must_leave_somebody() -> None:
    assert any("'w'" in text for text in problems(make(w=[0.0] * 6), weight="w"))
    assert "negative in 2 rows" in problems(make(w=[-1, -1, 1, 1, 1, 1]), weight="w")[0]
    assert "missing in 1 row" in problems(make(w=[None, 1, 1, 1, 1, 1]), weight="w")[0]


def test_an_outcome_that_nobody_answered() -> None:
    assert "every row" in problems(make(y=[None] * 6))[0]


def test_factors_are_read_when_named_and_errors_repeat_the_same() -> None:
    survey = gbv.Survey(make(), outcome="y")
    assert survey.labels("f").levels == ("no", "yes")
    assert survey.labels("f").codes.tolist() == [1, 0, -1, 1, 0, 0]
    matrix, names, complete = survey.covariates(["f", "x"])
    assert names == ("f[yes]", "x")
    assert complete.tolist() == [True, False, False, True, True, True]
    assert matrix[:, 0].tolist() == [1, 0, 0, 1, 0, 0]
    for _ in range(2):
        with pytest.raises(DataError, match="'nope'") as caught:
            survey.labels("nope")
        assert len(caught.value.problems) == 1


def test_the_design_may_be_used_as_a_factor() -> None:
    survey = gbv.Survey(make(), outcome="y", stratum="s")
    assert survey.labels("s").count == 2


def test_the_display_shows_no_name_and_no_value() -> None:
    survey = gbv.Survey(make(v=[PLACE] * 6, x=[SECRET] * 6), outcome="y", psu="v")
    for text in (repr(survey), str(survey)):
        assert PLACE not in text
        assert "48151" not in text


def test_checked_surveys_cannot_be_changed() -> None:
    for psu in (None, "v"):
        survey = gbv.Survey(make(), outcome="y", weight="w", stratum="s", psu=psu)
        assert survey.stratum is not None
        arrays: list[Any] = [survey.outcomes, survey.weight, survey.stratum.codes]
        arrays += [] if survey.psu is None else [survey.psu.codes]
        for array in arrays:
            with pytest.raises(ValueError, match="read-only"):
                array[...] = 0
    lone = gbv.Survey(make(), outcome="y", psu="v")
    assert lone.psu is not None
    with pytest.raises(ValueError, match="read-only"):
        lone.psu.codes[...] = 0
    with pytest.raises(AttributeError):
        lone.outcomes = np.zeros((6, 1))  # type: ignore[misc]


@settings(max_examples=120, deadline=None)
@given(
    hostile_frames(("y", "arm", "s", "v", "w", "f")),
    st.fixed_dictionaries(
        {},
        optional={
            "weight": st.sampled_from(["w", "y", "nope"]),
            "stratum": st.sampled_from(["s", "v"]),
            "psu": st.sampled_from(["v", "s"]),
        },
    ),
)
def test_a_survey_is_made_or_an_error_of_ours_is_raised(frame: pd.DataFrame, roles: dict[str, str]) -> None:
    try:
        survey = gbv.Survey(frame, outcome="y", **roles)
        repr(survey)
        survey.labels("f")
        survey.covariates(["f", "arm"])
    except GbvevalError as error:
        told = str(error)
        assert PLACE not in told
        return
    assert survey.n == len(frame)
    assert len(survey.digest) == 64
