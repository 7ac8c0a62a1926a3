"""Columns that point at a person stop at the door, and no value is shown."""

from __future__ import annotations

import pickle
import time
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

import gbveval as gbv
from gbveval.core.errors import DataError, DesignError

PLAIN = {"y": [0, 1, 1, 0], "region": ["north", "south", "north", "south"]}


def survey(**columns: Any) -> gbv.Survey:
    return gbv.Survey({**PLAIN, **columns}, outcome="y")


@pytest.mark.parametrize(
    "name",
    [
        "email",
        "E-Mail",
        "contact_email",
        "phone",
        "mobile phone",
        "userName",
        "Username",
        "handle",
        "lat",
        "GPS",
        "dob",
        "ip",
        "first name",
        "home address",
        "name",
        "Respondent name",
        "tel",
        "address",
        "birthday",
        "_geopoint",
    ],
)
def test_a_name_that_says_who_is_refused(name: str) -> None:
    with pytest.raises(DataError, match="looks like"):
        survey(**{name: [1, 2, 3, 4]})


@pytest.mark.parametrize(
    "values",
    [
        ["a", "b", "c", "sec.ret@example.org"],
        ["+44 20 7946 0958", "a", "b", "c"],
        ["020 7946 0958", "a", "b", "c"],
        ["@somebody", "a", "b", "c"],
        ["https://example.org/profile/77", "a", "b", "c"],
        ["192.168.0.77", "a", "b", "c"],
        [f"He wrote to me every night for weeks and then he came to number {i}" for i in range(4)],
    ],
)
def test_contents_that_say_who_are_refused_without_showing_them(values: list[str]) -> None:
    with pytest.raises(DataError, match="'contact' looks like") as caught:
        survey(contact=values)
    for value in values:
        assert len(value) == 1 or value not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("school_name", ["north", "south", "north", "south"]),
        ("participant_id", ["p-0001", "p-0002", "p-0003", "p-0004"]),
        ("school", ["10023456", "10023457", "10023458", "10023459"]),
        ("platform", ["a", "b", "c", "d"]),
        ("translation", ["en", "fr", "en", "fr"]),
        ("age_group", ["16-19", "20-24", "16-19", "20-24"]),
        ("month", ["2024-01", "2024-02", "2024-03", "2024-04"]),
        ("day", ["2024-01-31", "2024-02-01", "2024-02-02", "2024-02-03"]),
        ("handled_by_police", [0, 1, 0, 1]),
    ],
)
def test_codes_and_categories_are_no_identifiers(name: str, values: list[Any]) -> None:
    assert survey(**{name: values}).n == 4


def test_all_problems_are_told_at_once_and_in_other_frames_too() -> None:
    frame = pl.DataFrame({**PLAIN, "email": ["a", "b", "c", "d"], "contact": ["x", "@someone", "y", "z"]})
    with pytest.raises(DataError) as caught:
        gbv.Survey(frame, outcome="y")
    assert "'email'" in str(caught.value)
    assert "'contact'" in str(caught.value)


def test_trials_and_panels_have_the_same_door() -> None:
    with pytest.raises(DataError, match="'handle'"):
        gbv.Trial({**PLAIN, "handle": list("abcd")}, outcome="y", arm="region", control="north")
    panel = {"y": [1.0, 2.0, 3.0, 4.0], "u": [1, 1, 2, 2], "t": [1, 2, 1, 2], "g": [2.0, 2.0, np.inf, np.inf]}
    with pytest.raises(DataError, match="'handle'"):
        gbv.Panel({**panel, "handle": list("abcd")}, outcome="y", unit="u", time="t", cohort="g")


def test_an_override_needs_a_reason_which_is_printed() -> None:
    frame = {**PLAIN, "handle": list("abcd")}
    for reason in ("", "  ", None):
        with pytest.raises(DesignError, match="reason"):
            gbv.keep_identifiers(frame, "handle", reason=reason)  # type: ignore[arg-type]
    with pytest.warns(gbv.GbvevalWarning, match="made-up accounts"):
        kept = gbv.keep_identifiers(frame, "handle", reason="These are made-up accounts.")
    assert gbv.Survey(kept, outcome="y").n == 4
    with pytest.warns(gbv.GbvevalWarning):
        other = gbv.keep_identifiers({**frame, "email": list("abcd")}, "handle", reason="Made up.")
    with pytest.raises(DataError, match="'email'"):
        gbv.Survey(other, outcome="y")


def test_the_reason_goes_with_the_data_into_what_is_released(tmp_path: Path) -> None:
    frame = {"y": [0.0, 1.0] * 30, "arm": ["a", "b", "b", "a"] * 15, "handle": [f"h{i}" for i in range(60)]}
    with pytest.warns(gbv.GbvevalWarning):
        kept = gbv.keep_identifiers(frame, "handle", reason="These are made-up accounts.")
    trial = gbv.DifferenceInMeans().estimate(gbv.Trial(kept, outcome="y", arm="arm", control="a"))
    survey = gbv.Survey(kept, outcome="y")
    prevalence = gbv.Prevalence().estimate(pickle.loads(pickle.dumps(survey)))
    half = gbv.Prevalence().estimate(survey.domain(np.arange(60) < 40))
    for result in (trial, prevalence, half, gbv.Estimates.from_json(trial.to_json())):
        assert type(result.provenance.data_digest) is str
        released = gbv.release(result)
        assert [note for note in released.suppressed if "'handle'" in note] == [
            "columns that look like identifiers are kept ('handle'). Reason: These are made-up accounts."
        ]
        assert "made-up accounts" in released.to_json()
    page = gbv.write_report([gbv.Section("Trial", gbv.release(trial))], out=tmp_path).page
    assert "Reason: These are made-up accounts." in page.read_text(encoding="utf-8")
    plain = gbv.Survey({"y": frame["y"]}, outcome="y")
    assert gbv.Prevalence().estimate(plain).provenance.identifiers == ""


def test_the_check_costs_little() -> None:
    rng = np.random.default_rng(0)
    n = 200_000
    frame = {"y": rng.integers(0, 2, n), "region": rng.choice(["north", "south"], n), "school": rng.integers(0, 99, n)}
    start = time.process_time()
    gbv.Survey(frame, outcome="y")
    assert time.process_time() - start < 2.0
