"""The role `place`: what it reads, what it refuses, and that where people live is shown nowhere."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest

import gbveval as gbv
from gbveval.core.errors import DataError, DesignError
from gbveval.estimators.did._panels import part_of
from gbveval.testing.place_processes import PlacedFrames

NEAR = gbv.Places("lat", "lon", cutoff_km=20.0)
HOME = 48.1517913  # a latitude that must not be shown


def make(**change: Any) -> dict[str, Any]:
    frame: dict[str, Any] = {
        "y": [1.0, 2.0, 1.0, 1.5, 0.0, 3.0],
        "u": ["a", "a", "b", "b", "c", "c"],
        "t": [1, 2, 1, 2, 1, 2],
        "g": [2.0, 2.0, np.inf, np.inf, None, None],
        "lat": [HOME, HOME, 48.2, 48.2, 48.2, 48.2],
        "lon": [11.5, 11.5, -0.0, -0.0, 0.0, 0.0],
    }
    frame.update(change)
    return frame


def check(frame: dict[str, Any], **roles: Any) -> gbv.Panel:
    return gbv.Panel(frame, **{"outcome": "y", "time": "t", "cohort": "g", "unit": "u", "place": NEAR, **roles})


def problems(frame: dict[str, Any], **roles: Any) -> tuple[str, ...]:
    with pytest.raises(DataError) as caught:
        check(frame, **roles)
    assert "1517" not in str(caught.value)
    return caught.value.problems


def test_units_at_one_place_are_one_cluster() -> None:
    panel = check(make())
    assert panel.cluster is not None
    # Minus zero and zero are one longitude.
    assert panel.cluster.codes.tolist() == [0, 0, 1, 1, 1, 1]
    assert panel.cluster_name == "place"
    assert panel.neighbourhood is not None
    assert sorted(panel.neighbourhood.latitude.tolist()) == [HOME, 48.2]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"lat": [95.0, 95.0, 1.0, 1.0, 2.0, 2.0]}, ("'lat' (latitude)", "-90 to 90", "2 rows")),
        ({"lon": [1.0, 1.0, 200.0, 200.0, 2.0, 2.0]}, ("'lon' (longitude)", "-180 to 180", "2 rows")),
        ({"lat": [1.0, None, 1.0, 1.0, 2.0, 2.0]}, ("'lat' (latitude)", "missing", "1 row")),
        ({"lon": ["e"] * 6}, ("'lon' (longitude)", "numbers were expected")),
        ({"lat": [HOME, 1.0, 1.0, 1.0, 2.0, 2.0]}, ("place", "changes within 1 unit", "first period")),
    ],
)
def test_what_is_refused(change: dict[str, Any], words: tuple[str, ...]) -> None:
    found = " ".join(problems(make(**change)))
    for word in words:
        assert word in found


def test_both_columns_at_once() -> None:
    found = problems(make(lat=[95.0] * 6, lon=[np.inf] * 6))
    assert any("'lat'" in text for text in found)
    assert any("'lon'" in text for text in found)


def test_absent_columns_and_other_ways_to_say_it() -> None:
    assert "absent" in " ".join(problems(make(), place=gbv.Places("latitude", "lon", cutoff_km=1)))
    assert "gbv.Places" in " ".join(problems(make(), place=("lat", "lon")))


def test_place_and_cluster_are_two_answers_to_one_question() -> None:
    assert "not both" in " ".join(problems(make(k=["p"] * 4 + ["q"] * 2), cluster="k"))


@pytest.mark.parametrize("change", [{"kernel": "parzen"}, {"cutoff_km": 0}, {"cutoff_km": np.inf}, {"cutoff_km": "9"}])
def test_options_are_checked(change: dict[str, Any]) -> None:
    with pytest.raises(DesignError):
        gbv.Places(**{"latitude": "lat", "longitude": "lon", "cutoff_km": 5.0, **change})


def test_the_digest_knows_places_and_reach() -> None:
    digests = {
        check(make(), place=place).digest
        for place in (
            None,
            NEAR,
            gbv.Places("lat", "lon", cutoff_km=21.0),
            gbv.Places("lat", "lon", cutoff_km=20.0, kernel="uniform"),
        )
    }
    digests.add(check(make(lat=[HOME, HOME, 48.2, 48.2, 48.3, 48.3])).digest)
    assert len(digests) == 5
    assert check(make(), place=gbv.Places("lat", "lon", cutoff_km=20)).digest == check(make()).digest


def test_parts_of_a_panel_keep_their_places() -> None:
    frame, _ = PlacedFrames(n_units=60).frame(np.random.default_rng(1))
    panel = PlacedFrames().check(frame)
    assert panel.unit is not None
    keep = np.asarray(panel.unit.codes % 3 != 0)
    part = part_of(panel, keep)
    alone = PlacedFrames().check({name: np.asarray(column)[keep] for name, column in frame.items()})
    assert part.place == panel.place
    assert part.digest == alone.digest
    assert part.neighbourhood is not None
    assert alone.neighbourhood is not None
    np.testing.assert_array_equal(part.neighbourhood.latitude, alone.neighbourhood.latitude)
    np.testing.assert_array_equal(part.neighbourhood.longitude, alone.neighbourhood.longitude)


def test_where_people_live_is_shown_nowhere() -> None:
    rng = np.random.default_rng(1)
    frame, _ = PlacedFrames(n_units=60).frame(rng)
    frame["lat"] = np.where(np.asarray(frame["unit"]) == "u0007", HOME, frame["lat"])
    panel = PlacedFrames().check(frame)
    assert panel.cluster is not None
    result = gbv.CallawaySantAnna().estimate(panel)
    shown = [repr(panel), " ".join(panel.cluster.levels), repr(gbv.Places("lat", "lon", cutoff_km=3))]
    for each in (result, result.aggregate("event_time")):
        words = [
            *each.method.sentences(),
            *(check.message for check in each.checks),
            *(row.reason for row in each.terms),
        ]
        shown += [
            repr(each),
            each.to_json(),
            each._repr_html_(),
            " ".join(words),
            repr(pickle.loads(pickle.dumps(each))),
        ]
        saved = pickle.dumps(each)
        assert np.float64(HOME).tobytes() not in saved
    assert not any("48.15" in text for text in shown)
