"""Roles for spillover: the saturation of a cluster, the identifiers of units and the network among them."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

import gbveval as gbv
from gbveval.estimators._trials import subset


def two_stage(**more: Any) -> dict[str, Any]:
    return {
        "y": np.arange(8.0),
        "arm": ["a", "b", "a", "a", "b", "b", "a", "b"],
        "c": [1, 1, 2, 2, 3, 3, 4, 4],
        "s": [0.5, 0.5, 0, 0, 1, 1, 0.5, 0.5],
        **more,
    }


def trial(data: Any, **roles: Any) -> gbv.Trial:
    return gbv.Trial(data, outcome="y", arm="arm", control="a", **roles)


def people(n: int = 4) -> dict[str, Any]:
    return {"y": np.arange(float(n)), "arm": (["a", "b"] * n)[:n], "id": [f"u{i}" for i in range(n)]}


def test_with_a_saturation_the_arm_may_vary_inside_a_cluster() -> None:
    made = trial(two_stage(), cluster="c", saturation="s")
    np.testing.assert_array_equal(made.saturation, two_stage()["s"])
    assert not made.crosses_over
    with pytest.raises(gbv.DataError, match="varies inside 2 clusters"):
        trial(two_stage(), cluster="c")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"s": [50, 50, 0, 0, 100, 100, 50, 50]}, r"'s' \(saturation\) lies outside 0 to 1 in 6 rows.*percentages"),
        ({"s": [0.5, 0.4, 0, 0, 1, 1, 0.5, 0.5]}, r"'s' \(saturation\) varies inside 1 cluster \(2 rows\)"),
        ({"s": [0.5, 0.5, 0, 0, 1, 1, 0, 0]}, r"'s' \(saturation\): 1 row is not in control where the saturation is 0"),
        ({"s": [1, 1, 0, 0, 1, 1, 1, 1]}, r"'s' \(saturation\): 2 rows are in control where the saturation is 1"),
        ({"s": [0.5, 0.5, None, 0, 1, 1, 0.5, 0.5]}, r"'s' \(saturation\) is missing in 1 row"),
    ],
)
def test_impossible_saturations_are_refused_by_count(change: dict[str, Any], says: str) -> None:
    with pytest.raises(gbv.DataError, match=says):
        trial(two_stage(**change), cluster="c", saturation="s")


def test_a_saturation_needs_a_cluster_and_goes_with_no_pair_and_no_time() -> None:
    with pytest.raises(gbv.DataError, match="no cluster is declared"):
        trial(two_stage(), saturation="s")
    with pytest.raises(gbv.DataError, match="Declare a pair as a stratum"):
        trial(two_stage(p=[1, 1, 1, 1, 2, 2, 2, 2]), cluster="c", saturation="s", pair="p")
    with pytest.raises(gbv.DataError, match="not with pair or time"):
        trial(two_stage(t=[1] * 8), cluster="c", saturation="s", time="t")


def test_a_network_is_kept_by_place_and_without_direction() -> None:
    made = trial(people(), unit="id", network={"from": ["u2", "u0"], "to": ["u1", "u3"]})
    assert made.network is not None
    np.testing.assert_array_equal(made.network.edges, [[0, 3], [1, 2]])
    expected = np.zeros((4, 4))
    expected[[0, 3, 1, 2], [3, 0, 2, 1]] = 1.0
    np.testing.assert_array_equal(made.network.adjacency().toarray(), expected)
    np.testing.assert_array_equal(made.network.degree(), [1, 1, 1, 1])


@pytest.mark.parametrize("make", [pd.DataFrame, pl.DataFrame, dict])
def test_a_network_is_read_from_any_frame_and_from_numbers(make: Any) -> None:
    data = {**people(), "id": [10, 20, 30, 40]}
    made = trial(data, unit="id", network=make({"a": [30, 10], "b": [20, 20]}))
    assert made.network is not None
    np.testing.assert_array_equal(made.network.edges, [[0, 1], [1, 2]])


def test_every_problem_of_a_network_is_told_by_count_and_by_no_name() -> None:
    pairs = {"a": ["u0", "u1", "u1", "u0", "stranger", "u2"], "b": ["u1", "u0", "u1", "u1", "u1", "elsewhere"]}
    with pytest.raises(gbv.DataError) as found:
        trial(people(), unit="id", network=pairs)
    text = str(found.value)
    assert "2 rows name an identifier that no randomised unit bears" in text
    assert "1 row names a unit with itself" in text
    assert "2 rows name two units that an earlier row names" in text
    assert not any(name in text for name in ("stranger", "elsewhere", "u0", "u1", "u2"))


def test_repeated_identifiers_are_counted() -> None:
    with pytest.raises(gbv.DataError, match=r"'id' \(unit\) repeats an identifier in 2 rows"):
        trial({**people(), "id": ["u0", "u0", "u0", "u1"]}, unit="id")


def test_a_network_needs_identifiers_and_two_complete_columns() -> None:
    pairs = {"a": ["u0"], "b": ["u1"]}
    with pytest.raises(gbv.DataError, match="needs the role `unit`"):
        trial(people(), network=pairs)
    with pytest.raises(gbv.DataError, match="has 3 columns; two were expected"):
        trial(people(), unit="id", network={**pairs, "weight": [1]})
    with pytest.raises(gbv.DataError, match=r"'b' \(network\) is missing in 1 row"):
        trial(people(), unit="id", network={"a": ["u0", "u2"], "b": ["u1", None]})


def test_units_that_were_not_randomised_are_in_no_network() -> None:
    data = {**people(5), "arm": ["a", None, "b", "a", "b"]}
    made = trial(data, unit="id", network={"a": ["u4"], "b": ["u0"]})
    assert made.network is not None
    np.testing.assert_array_equal(made.network.edges, [[0, 3]])
    with pytest.raises(gbv.DataError, match="1 row names an identifier that no randomised unit bears"):
        trial(data, unit="id", network={"a": ["u1"], "b": ["u0"]})


def test_saturation_and_network_are_in_the_digest_and_their_absence_is_not() -> None:
    plain = trial(people())
    numbered = trial(people(), unit="id")
    linked = [trial(people(), unit="id", network={"a": ["u0"], "b": [b]}) for b in ("u1", "u2")]
    assert len({made.digest for made in (plain, numbered, *linked)}) == 4
    other = two_stage(s=[0.4, 0.4, 0, 0, 1, 1, 0.4, 0.4])
    assert trial(two_stage(), cluster="c", saturation="s").digest != trial(other, cluster="c", saturation="s").digest


def test_identifiers_show_nowhere_and_the_network_cannot_be_changed() -> None:
    data = {**people(), "id": ["SecretHaven", "u1", "u2", "u3"]}
    made = trial(data, unit="id", network={"a": ["SecretHaven"], "b": ["u1"]})
    assert "SecretHaven" not in repr(made) + repr(made.network)
    for one in (made, pickle.loads(pickle.dumps(made)), copy.deepcopy(made)):
        assert one.network is not None
        assert one.digest == made.digest
        with pytest.raises(ValueError, match="read-only"):
            one.network.edges[0, 0] = 3


@given(st.data())
def test_some_of_the_units_keep_the_pairs_among_them(data: st.DataObject) -> None:
    n = data.draw(st.integers(3, 12))
    chosen = data.draw(st.lists(st.sampled_from([(i, j) for i in range(n) for j in range(i)]), min_size=1, unique=True))
    order = np.array(data.draw(st.lists(st.integers(0, n - 1), min_size=2, unique=True)))
    pairs = {"a": [f"u{i}" for i, _ in chosen], "b": [f"u{j}" for _, j in chosen]}
    made = trial(people(n), unit="id", network=pairs)
    part = subset(made, order)
    assert made.network is not None
    assert part.network is not None
    whole = made.network.adjacency().toarray()
    np.testing.assert_array_equal(part.network.adjacency().toarray(), whole[np.ix_(order, order)])
    mask = np.isin(np.arange(n), order)
    np.testing.assert_array_equal(made.network.among(mask).adjacency().toarray(), whole[np.ix_(mask, mask)])
