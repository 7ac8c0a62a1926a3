"""Coarser variables: what tables by wards and tables by their districts give away together."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog
from tests.unit.disclosure.test_release import estimates, row

import gbveval as gbv
from gbveval.core.errors import DataError, DesignError, DisclosureError
from gbveval.core.estimates import Estimates
from gbveval.core.method import Cell
from gbveval.disclosure.nesting import finest_of

DISTRICTS = gbv.Nesting("district", "ward", {"north": ["a", "b"], "south": ["c", "d"]})
REGIONS = gbv.Nesting("region", "district", {"all": ["north", "south"]})
KNOWN = gbv.Policy(nestings=[DISTRICTS])


def table(title: str, variable: str, counts: dict[str, int], **more: object) -> gbv.CountTable:
    n = tuple((count,) for count in counts.values())
    return gbv.CountTable(title, tuple(counts), (), n, variables=(variable,), **more)  # type: ignore[arg-type]


def shown(released: gbv.Released, number: int = 0) -> dict[str, int | None]:
    return dict(released.tables()[number].rows)


def test_wards_do_not_open_the_districts_of_a_subgroup() -> None:
    wards = table("wards", "ward", {"a": 33, "b": 19, "c": 30, "d": 30})
    hearing = table("hearing", "district", {"north": 49, "south": 45}, within=(("hears", "yes"),))
    # 33 + 19 - 49 are three people of the north who do not hear. Nobody sees it who does not know what a ward is in.
    assert shown(gbv.release([wards, hearing]), 1)["north"] == 49
    released = gbv.release([wards, hearing], KNOWN)
    (first, second) = shown(released), shown(released, 1)
    assert None in (first["a"], first["b"], second["north"])
    assert "ward lies in which district" in released.policy


def test_districts_open_no_wards_of_an_earlier_release(tmp_path: Path) -> None:
    """Alone, a small ward is hidden with another one, b + c of 24; districts would give both away."""
    wards = table("wards", "ward", {"a": 40, "b": 5, "c": 19, "d": 30})
    for policy, opened in ((gbv.Policy(), True), (KNOWN, False)):
        ledger = gbv.Ledger(tmp_path / f"{opened}.json")
        first = shown(gbv.release(wards, policy, ledger=ledger))
        assert (first["a"], first["b"], first["c"]) == (40, None, None)
        second = shown(gbv.release(table("districts", "district", {"north": 45, "south": 49}), policy, ledger=ledger))
        assert (second["north"] == 45) == opened


def test_a_chain_of_nestings_is_told_in_the_finest() -> None:
    assert finest_of([DISTRICTS, REGIONS])["region"] == ("ward", {"all": frozenset("abcd")})
    regions = gbv.Nesting("region", "district", {"hills": ["north"], "coast": ["south"]})
    wards = table("wards", "ward", {"a": 18, "b": 19, "c": 17, "d": 18})
    hearing = table("hearing", "region", {"hills": 34, "coast": 20}, within=(("hears", "yes"),))
    # 18 + 19 - 34 are three of the hills who do not hear; who does not know what the hills are made of sees nothing.
    for nestings, is_seen in (([regions, DISTRICTS], True), ([DISTRICTS], False)):
        released = gbv.release([wards, hearing], gbv.Policy(nestings=nestings))
        numbers = [number for place in (0, 1) for number in shown(released, place).values()]
        assert (None in numbers) == is_seen


def test_both_variables_in_one_table_and_a_table_within_a_district() -> None:
    both = gbv.CountTable(
        "both", ("a", "b", "c", "d"), ("north", "south"), ((40, 0), (30, 0), (0, 25), (0, 33)),
        variables=("ward", "district"),
    )  # fmt: skip
    inside = table("wards of the north", "ward", {"a": 40, "b": 30}, within=(("district", "north"),))
    # Nobody of ward a can be in the south: every reader knows that zero, and it protects nothing.
    crossed, within = gbv.release([both, inside], KNOWN).tables()
    assert crossed.rows[0] == ("a", 40, 0, 40)
    assert within.rows == (("a", 40), ("b", 30), ("total", 70))


def test_what_nobody_can_be_protects_no_small_ward() -> None:
    counts = ((8, 0), (40, 0), (0, 12), (0, 40))
    both = gbv.CountTable("both", tuple("abcd"), ("north", "south"), counts, variables=("ward", "district"))
    rows = {row[0]: row[1:] for row in gbv.release(both, KNOWN).tables()[0].rows}
    # Eight are hidden with forty or with the total of the north, whose difference they would be.
    assert rows["a"][0] is None
    assert None in (rows["b"][0], rows["total"][0])


@pytest.mark.parametrize("listed", ["", "z"])
def test_wards_that_no_table_lists_are_taken_for_empty(listed: str) -> None:
    policy = gbv.Policy(nestings=[gbv.Nesting("district", "ward", {"north": ["a", "b", *listed], "south": ["c", "d"]})])
    wards = table("wards", "ward", {"a": 33, "b": 19, "c": 30, "d": 30})
    hearing = table("hearing", "district", {"north": 49, "south": 45}, within=(("hears", "yes"),))
    released = gbv.release([wards, hearing], policy)
    assert None in (shown(released)["a"], shown(released)["b"], shown(released, 1)["north"])
    whole = table("districts", "district", {"north": 52, "south": 60})
    assert None not in {*shown(gbv.release([wards, whole], policy)).values()}
    # By hand, one ward is left out of either table: they can be compared all the same.
    part = table("hearing", "district", {"north": 30}, within=(("hears", "yes"),))
    assert gbv.release([table("wards", "ward", {"a": 60, "c": 49}), part], policy).tables()


def test_what_is_out_already_stops_no_later_release(tmp_path: Path) -> None:
    """The policy learns of the nesting when wards and districts are out; tables of something else may follow."""
    ledger = gbv.Ledger(tmp_path / "l.json")
    gbv.release(table("wards", "ward", {"a": 40, "b": 5, "c": 19, "d": 30}), ledger=ledger)
    gbv.release(table("districts", "district", {"north": 45, "south": 49}), ledger=ledger)
    gender = table("gender", "gender", {"w": 44, "m": 50})
    assert shown(gbv.release(gender, KNOWN, ledger=ledger)) == {"w": 44, "m": 50, "total": 94}


def test_groups_behind_estimates_are_told_in_the_finest_too() -> None:
    def of(name: str, *cells: tuple[str, int, int]) -> Estimates:
        return estimates(row(name, *(Cell(label, n, x, f"y by {name}") for label, n, x in cells)))

    wards = of("ward", ("a", 60, 25), ("b", 55, 20), ("c", 60, 22), ("d", 44, 21))
    few = gbv.CountTable(
        "hearing", ("north", "south"), (), ((112,), (90,)), ((44,), (33,)),
        variables=("district",), within=(("hears", "yes"),), outcome="y",
    )  # fmt: skip
    hidden = []
    for policy in (gbv.Policy(), KNOWN):
        released = gbv.release([wards, few], policy)
        estimated = sum(row["estimate"] is None for result in released.estimates() for row in result.rows)
        hidden.append(estimated + sum(number is None for line in released.tables()[0].rows for number in line))
    assert hidden[0] == 0
    assert hidden[1] > 0


def test_opaque_groups_are_seen_to_be_about_the_same_people(tmp_path: Path) -> None:
    pair = [Cell(label, 60, x, "y by gender and district") for label, x in (("w, n", 3), ("m, n", 25), ("w, s", 20))]
    ledger = gbv.Ledger(tmp_path / "l.json")
    gbv.release(estimates(row("a", *pair)), ledger=ledger)
    cells = [Cell(label, 60, 25, "y by ward") for label in "abcd"]
    with pytest.raises(DisclosureError, match="break the same people down"):
        gbv.release(estimates(row("b", *cells)), KNOWN, ledger=ledger)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_no_hidden_number_follows_from_wards_and_districts(data: st.DataObject) -> None:
    """Attack everything printed by linear programmes over ward by answer: the wards' table and the districts'."""
    n_wards = data.draw(st.integers(3, 6))
    place = [0, *sorted(data.draw(st.lists(st.integers(0, 2), min_size=n_wards - 1, max_size=n_wards - 1)))]
    people = np.array(data.draw(st.lists(st.integers(0, 45), min_size=2 * n_wards, max_size=2 * n_wards)))
    people = people.reshape(n_wards, 2)
    wards = [f"w{i}" for i in range(n_wards)]
    names = [f"d{i}" for i in sorted(set(place))]
    nesting = gbv.Nesting(
        "district", "ward", {d: [w for w, p in zip(wards, place, strict=True) if f"d{p}" == d] for d in names}
    )
    members = np.array([[float(f"d{p}" == d) for p in place] for d in names])
    by_ward = table("wards", "ward", dict(zip(wards, map(int, people.sum(axis=1)), strict=True)))
    crossed = (members @ people).astype(int)
    by_district = gbv.CountTable(
        "districts", tuple(names), ("yes", "no"), tuple(map(tuple, crossed.tolist())), variables=("district", "hears")
    )
    policy = gbv.Policy(nestings=[nesting])
    first, second = gbv.release([by_ward, by_district], policy).tables()
    sums, values, hidden = [], [], []
    for label, number in first.rows:
        part = np.ones(n_wards) if label == "total" else np.array([float(w == label) for w in wards])
        _sort(np.repeat(part, 2), number, (sums, values, hidden))
    for label, *numbers in second.rows:
        part = np.ones(n_wards) if label == "total" else members[names.index(str(label))]
        for answer, number in zip(((1, 0), (0, 1), (1, 1)), numbers, strict=True):
            _sort(np.kron(part, answer), number, (sums, values, hidden))
    equal = (np.array(sums), np.array(values)) if sums else (None, None)
    for mask in hidden:
        ends = []
        for sign in (1, -1):
            found = linprog(sign * mask, A_eq=equal[0], b_eq=equal[1], bounds=(0, None), method="highs")
            ends.append(np.inf if found.status == 3 else abs(found.fun))
        # This reader knows less than the policy's, who also knows which numbers are small.
        assert ends[1] - ends[0] >= policy.protection_width - 1e-6


def _sort(mask: np.ndarray, number: object, into: tuple[list[np.ndarray], list[float], list[np.ndarray]]) -> None:
    if number is None:
        into[2].append(mask)
    else:
        into[0].append(mask)
        into[1].append(float(number))  # type: ignore[arg-type]


# -- saying it --------------------------------------------------------------------------------------------------------


def test_columns_show_a_nesting_or_say_what_is_wrong() -> None:
    frame = {"ward": ["a", "b", "c", "a"], "district": ["n", "n", "s", "n"]}
    assert dict(gbv.Nesting.from_columns(frame, coarse="district", fine="ward").members) == {
        "n": ("a", "b"),
        "s": ("c",),
    }
    frame = {"ward": ["a", "b", "a", None], "district": ["n", "n", "s", "n"]}
    with pytest.raises(DataError, match=r"(?s)In 1 rows only one.*1 categories of 'ward' lie in more than one"):
        gbv.Nesting.from_columns(frame, coarse="district", fine="ward")


def test_impossible_nestings_are_refused() -> None:
    with pytest.raises(DesignError, match="1 categories of 'ward' are in it more than once"):
        gbv.Nesting("district", "ward", {"n": ["a"], "s": ["a"]})
    with pytest.raises(DesignError, match="reads as several variables"):
        gbv.Nesting("district", "ward and camp", {"n": ["a, 1"]})
    for members in ({"n": "port"}, {1: [1, 2]}):
        with pytest.raises(DesignError, match="as text"):
            gbv.Nesting("district", "ward", members)  # type: ignore[arg-type]
    assert gbv.Policy(nestings=DISTRICTS) == KNOWN  # type: ignore[arg-type]
    with pytest.raises(DesignError, match="two variables"):
        gbv.Nesting("ward", "ward", {"n": ["a"]})
    with pytest.raises(DesignError, match="twice"):
        gbv.Policy(nestings=[DISTRICTS, DISTRICTS])
    with pytest.raises(DesignError, match="part of itself"):
        gbv.Policy(nestings=[gbv.Nesting("x", "y", {"1": ["2"]}), gbv.Nesting("y", "x", {"2": ["1"]})])
    with pytest.raises(DesignError, match="does not say what they are made of"):
        gbv.Policy(nestings=[DISTRICTS, gbv.Nesting("region", "district", {"all": ["north", "east"]})])
    with pytest.raises(DesignError, match="sequence of `Nesting`"):
        gbv.Policy(nestings=[("district", "ward")])  # type: ignore[list-item]
    with pytest.raises(DisclosureError, match="1 categories of 'ward'"):
        gbv.release([table("w", "ward", {"a": 30, "z": 40}), table("d", "district", {"north": 70})], KNOWN)
