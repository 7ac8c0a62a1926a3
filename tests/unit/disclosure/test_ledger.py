"""The ledger: what several releases give away together, against an attacker who has only what was printed."""

from __future__ import annotations

import itertools
import json
import os
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.disclosure.attacker import linear_attack
from tests.unit.disclosure.test_release import estimates, row

import gbveval as gbv
from gbveval.core.errors import DisclosureError
from gbveval.core.estimates import Estimates
from gbveval.core.method import NO_ANSWER, Cell
from gbveval.disclosure._joint import Target
from gbveval.disclosure.released import Released

N_STUDIES = int(os.environ.get("GBVEVAL_STUDIES", "40"))


@pytest.fixture
def ledger(tmp_path: Path) -> gbv.Ledger:
    return gbv.Ledger(tmp_path / "study.json")


def one_way(title: str, counts: dict[str, int], variable: str = "region", **more: object) -> gbv.CountTable:
    n = tuple((count,) for count in counts.values())
    return gbv.CountTable(title, tuple(counts), (), n, variables=(variable,), **more)  # type: ignore[arg-type]


def shown(released: Released) -> dict[str, int | None]:
    return dict(released.tables()[0].rows)


# -- what one table minus another is --------------------------------------------------------------------------------


def test_a_subgroup_that_leaves_a_few_people_out_is_hidden(ledger: gbv.Ledger) -> None:
    gbv.release(one_way("staff", {"north": 40, "south": 60}), ledger=ledger)
    hearing = one_way("hearing staff", {"north": 37, "south": 60}, within=(("hearing", "yes"),))
    released = gbv.release(hearing, ledger=ledger)
    # 40 - 37 are three people, 60 - 60 says that nobody in the south is deaf, 100 - 97 are three again.
    assert shown(released) == {"north": None, "south": None, "total": None}
    assert any("further numbers" in note for note in released.suppressed)


def test_what_several_subgroups_leave_out_is_hidden() -> None:
    """Sixty in the north less 30 women less 27 men are three who are neither, of whom no table speaks."""
    everybody = one_way("staff", {"north": 60, "south": 70})
    women = one_way("women", {"north": 30, "south": 35}, within=(("gender", "w"),))
    men = one_way("men", {"north": 27, "south": 20}, within=(("gender", "m"),))
    released = gbv.release([everybody, women, men])
    north = [dict(table.rows)["north"] for table in released.tables()]
    assert None in north
    # Nobody else, as both say: no secret, like that all have answered.
    men = one_way("men", {"north": 30, "south": 35}, within=(("gender", "m"),))
    assert [dict(table.rows)["north"] for table in gbv.release([everybody, women, men]).tables()] == [60, 30, 30]


def test_a_subgroup_that_leaves_many_out_is_shown(ledger: gbv.Ledger) -> None:
    gbv.release(one_way("staff", {"north": 40, "south": 60}), ledger=ledger)
    released = gbv.release(one_way("women", {"north": 22, "south": 31}, within=(("gender", "w"),)), ledger=ledger)
    assert shown(released) == {"north": 22, "south": 31, "total": 53}


def test_without_a_ledger_nothing_is_remembered() -> None:
    gbv.release(one_way("staff", {"north": 40, "south": 60}))
    assert (
        shown(gbv.release(one_way("hearing", {"north": 37, "south": 60}, within=(("hearing", "yes"),))))["north"] == 37
    )


def test_tables_of_one_call_are_compared_too() -> None:
    both = [
        one_way("staff", {"north": 40, "south": 60}),
        one_way("hearing staff", {"north": 37, "south": 45}, within=(("hearing", "yes"),)),
    ]
    first, second = gbv.release(both).tables()
    north = [dict(table.rows)["north"] for table in (first, second)]
    assert None in north


def test_those_without_an_answer_do_not_follow_from_two_totals(ledger: gbv.Ledger) -> None:
    # All 100 gave a region, 97 an age: three did not.
    gbv.release(one_way("by region", {"north": 40, "south": 60}), ledger=ledger)
    released = gbv.release(one_way("by age", {"young": 50, "old": 47}, variable="age", left_out=3), ledger=ledger)
    assert shown(released)["total"] is None
    assert None in (shown(released)["young"], shown(released)["old"])


def test_that_everybody_answered_is_no_secret(ledger: gbv.Ledger) -> None:
    gbv.release(one_way("by region", {"north": 40, "south": 60}), ledger=ledger)
    released = gbv.release(one_way("by age", {"young": 53, "old": 47}, variable="age"), ledger=ledger)
    assert shown(released) == {"young": 53, "old": 47, "total": 100}


def test_a_total_released_elsewhere_does_not_open_a_table() -> None:
    # Alone, a table with two small groups hides both and their total; the total by region would add the 8 and 9 up.
    small = one_way("by age", {"young": 8, "old": 9}, variable="age")
    assert set(shown(gbv.release(small)).values()) == {None}
    with TemporaryDirectory() as folder:
        ledger = gbv.Ledger(Path(folder) / "l.json")
        gbv.release(small, ledger=ledger)
        # With 17 in all, and both below ten, the reader has 8 to 9: the new total must not be shown.
        region = gbv.release(one_way("by region", {"all of it": 17}), ledger=ledger)
        assert shown(region)["total"] is None


def test_a_coarser_table_does_not_open_a_finer_one(ledger: gbv.Ledger) -> None:
    fine = gbv.CountTable(
        "by region and age",
        ("north", "south"),
        ("young", "old"),
        ((4, 40), (30, 50)),
        variables=("region", "age"),
    )
    gbv.release(fine, ledger=ledger)
    for table in (one_way("by region", {"north": 44, "south": 80}), one_way("age", {"young": 34, "old": 90}, "age")):
        gbv.release(table, ledger=ledger)
    assert len(ledger.releases()) == 3


def test_the_same_table_can_be_released_again(ledger: gbv.Ledger) -> None:
    table = one_way("staff", {"north": 4, "south": 60, "west": 33})
    first, second = (gbv.release(table, ledger=ledger) for _ in range(2))
    assert first.tables() == second.tables()


def test_groups_behind_estimates_are_compared_with_tables(ledger: gbv.Ledger) -> None:
    support = [Cell("north", 40, 20, "harassed by region"), Cell("south", 60, 25, "harassed by region")]
    gbv.release(estimates(row("a", *support)), ledger=ledger)
    rest = gbv.CountTable(
        "hearing staff",
        ("north", "south"),
        (),
        ((37,), (45,)),
        ((18,), (15,)),
        variables=("region",),
        within=(("hearing", "yes"),),
        outcome="harassed",
    )
    released = gbv.release(rest, ledger=ledger)
    (table,) = released.tables()
    north = dict(zip(table.columns, table.rows[0], strict=True))
    assert north["with outcome"] is None


def test_groups_by_two_variables_are_taken_apart_beside_those_without_an_answer() -> None:
    """Eight women of the north are hidden, and so is what would give them away in the table by gender."""
    labels = (("w, n", 8, 4), ("m, n", 55, 25), ("w, s", 70, 20), ("m, s", 60, 22), (NO_ANSWER, 20, 12))
    pair = [Cell(label, n, x, "y by gender and region") for label, n, x in labels]
    simple = [
        Cell("w", 84, 26, "y by gender"),
        Cell("m", 118, 49, "y by gender"),
        Cell(NO_ANSWER, 11, 8, "y by gender"),
    ]
    released = gbv.release([estimates(row("a", *pair)), estimates(row("b", *simple))])
    assert released.estimates()[0].rows[0]["estimate"] is None


def test_groups_by_two_variables_that_cannot_be_taken_apart_are_refused(ledger: gbv.Ledger) -> None:
    # Men in the south are not in the list: nobody can say whether there are none.
    pair = [Cell(label, 60, x, "y by gender and region") for label, x in (("w, n", 3), ("m, n", 25), ("w, s", 20))]
    gbv.release(estimates(row("a", *pair)), ledger=ledger)
    with pytest.raises(DisclosureError, match="break the same people down"):
        gbv.release(
            estimates(row("b", Cell("w", 120, 40, "y by gender"), Cell("m", 190, 60, "y by gender"))), ledger=ledger
        )
    assert len(ledger.releases()) == 1


PAIRS = (("w, north", 60, 3), ("w, south", 60, 20), ("m, north", 60, 40), ("m, south", 60, 45))


@pytest.mark.parametrize(
    ("left_out", "outcome", "other", "refused"),
    [
        # The table with its margins hides other numbers besides the 3 than the list of groups does.
        (1, "y", "gender x region", True),
        # The women of both ages are those of both regions.
        (1, "y", "y by gender and age", True),
        # Numbers of another outcome say nothing of those with this one, whose n are shown.
        (1, "z", "z by gender and age", False),
        # With all four groups in the list, it is a table of both.
        (0, "y", "gender x region", False),
        (0, "y", "y by gender and age", False),
    ],
)
def test_groups_by_two_variables_beside_other_tables_by_one_of_them(
    ledger: gbv.Ledger, left_out: int, outcome: str, other: str, refused: bool
) -> None:
    cells = [Cell(label, n, x, "y by gender and region") for label, n, x in PAIRS[: 4 - left_out]]
    gbv.release(estimates(*(row(cell.label, cell) for cell in cells)), ledger=ledger)
    if other == "gender x region":
        item: object = gbv.CountTable(
            "both",
            ("w", "m"),
            ("north", "south"),
            ((60, 60), (60, 60)),
            ((3, 20), (40, 45)),
            variables=("gender", "region"),
            outcome="y",
        )
    else:
        more = [Cell(label, 60, x, other) for label, x in (("w, a", 11), ("w, b", 12), ("m, a", 43), ("m, b", 42))]
        item = estimates(*(replace(row(cell.label, cell), outcome=outcome) for cell in more))
    if refused:
        with pytest.raises(DisclosureError, match="break the same people down"):
            gbv.release(item, ledger=ledger)
    else:
        gbv.release(item, ledger=ledger)


def as_estimates(cube: np.ndarray, by: tuple[str, ...]) -> tuple[Estimates, dict[str, tuple[int, ...]]]:
    """Rows of "y by ..." from counts by gender, region, age and y, with the place of each label along `by`."""
    axes = [AXES.index(name) for name in by]
    table = np.moveaxis(cube, axes, range(len(by))).sum(axis=tuple(range(len(by), 3)))
    places = list(itertools.product(*(range(len(AXIS_LEVELS[name])) for name in by)))
    named = {", ".join(AXIS_LEVELS[name][at] for name, at in zip(by, place, strict=True)): place for place in places}
    cells = [
        Cell(label, int(table[place].sum()), int(table[place][1]), f"y by {' and '.join(by)}")
        for label, place in named.items()
    ]
    return estimates(*(row(cell.label, cell, n_units=cell.n) for cell in cells)), named


AXES = ("gender", "region", "age")
AXIS_LEVELS = {"gender": ("w", "m"), "region": ("north", "south"), "age": ("young", "old")}


@given(seed=st.integers(0, 10**6), asked=st.permutations([(0, 1), (0, 2), (1, 2), (0,), (1,), (0, 1, 2)]))
@settings(max_examples=max(N_STUDIES // 4, 10), deadline=None)
def test_no_small_number_follows_from_groups_by_several_variables(seed: int, asked: list[tuple[int, ...]]) -> None:
    rng = np.random.default_rng(seed)
    cube = rng.multinomial(rng.integers(80, 400), rng.dirichlet(np.full(16, 1.0))).reshape(2, 2, 2, 2)
    here = np.indices(cube.shape)
    rows, low, high, small = [], [], [], []
    with TemporaryDirectory() as folder:
        ledger = gbv.Ledger(Path(folder) / "study.json")
        for axes in asked[:3]:
            result, places = as_estimates(cube, tuple(AXES[at] for at in axes))
            try:
                (released,) = gbv.release(result, ledger=ledger).estimates()
            except DisclosureError:
                continue
            for record in released.rows:
                inside = np.all(
                    [here[axis] == at for axis, at in zip(axes, places[record["term"]], strict=True)], axis=0
                )
                for member in (inside, inside & (here[3] == 1), inside & (here[3] == 0)):
                    true = float(cube[member].sum())
                    rows.append(member.ravel().astype(float))
                    assert record.hidden or true >= 10
                    # Who sees a hidden row is taken to know which of its numbers are small.
                    low.append((0.0 if true < 10 else 10.0) if record.hidden else true)
                    high.append((9.0 if true < 10 else np.inf) if record.hidden else true)
                    small.append(record.hidden and true < 10)
    if not any(small):
        return
    incidence = np.array(rows)
    least, largest = linear_attack(incidence, np.array(low), np.array(high), incidence[np.array(small)])
    assert (largest - least).min() >= 5 - 1e-6


def test_tables_that_do_not_say_what_they_break_down_are_left_alone() -> None:
    # Staff and pupils: neither total says anything of the other.
    tables = [gbv.CountTable(title, ("a", "b"), (), ((n,), (n + 3,))) for title, n in (("staff", 40), ("pupils", 43))]
    assert [dict(table.rows)["total"] for table in gbv.release(tables).tables()] == [83, 89]


def test_tables_of_many_variables_are_compared_two_at_a_time() -> None:
    # The total of each table is hidden, so each variable stays in the joint table, which has 3 ** 12 cells.
    tables = [one_way(f"by v{i}", {"x": 5, "z": 4}, variable=f"v{i}") for i in range(12)]
    released = gbv.release(tables)
    assert any("two at a time" in note for note in released.suppressed)
    assert all(set(dict(table.rows).values()) == {None} for table in released.tables())


def test_among_many_variables_what_several_subgroups_leave_out_is_hidden() -> None:
    """Tables that know the same variables and one more are compared together, however many others there are."""
    many = [one_way(f"by v{i}", {"x": 5, "z": 4}, variable=f"v{i}", within=(("unit", f"u{i}"),)) for i in range(12)]
    three = [
        one_way("staff", {"north": 60, "south": 70}),
        one_way("women", {"north": 30, "south": 35}, within=(("gender", "w"),)),
        one_way("men", {"north": 27, "south": 20}, within=(("gender", "m"),)),
    ]
    released = gbv.release([*three, *many])
    assert any("two at a time" in note for note in released.suppressed)
    assert None in [dict(table.rows)["north"] for table in released.tables()[:3]]


def by_age_and_region() -> gbv.CountTable:
    return gbv.CountTable(
        "by age and region",
        ("teens", "twenties", "thirties", "older"),
        ("north", "south"),
        ((3, 30), (200, 210), (25, 36), (100, 110)),
        variables=("age", "region"),
    )


MERGED = {"teens": "young", "twenties": "young", "thirties": "old", "older": "old"}


def test_a_collapsed_table_does_not_open_the_one_it_was_made_of(ledger: gbv.Ledger) -> None:
    fine = gbv.release(by_age_and_region(), ledger=ledger).tables()[0]
    assert (fine.rows[0][1], fine.rows[1][1]) == (None, 200)
    merged = gbv.collapse_categories(by_age_and_region(), "age", MERGED)
    # 203 young people in the north, less the 200 in their twenties, are the three teenagers.
    assert gbv.release(merged).tables()[0].rows[0][1] == 203
    assert gbv.release(merged, ledger=ledger).tables()[0].rows[0][1] is None


def test_the_parts_of_a_table_collapsed_twice_are_known(ledger: gbv.Ledger) -> None:
    once = gbv.collapse_categories(by_age_and_region(), "age", MERGED)
    twice = gbv.collapse_categories(once, "age", {"young": "all ages", "old": "all ages"})
    assert twice.finest == ((("teens", "twenties", "thirties", "older"),), (("north",), ("south",)))
    gbv.release(by_age_and_region(), ledger=ledger)
    assert gbv.release(twice, ledger=ledger).tables()[0].rows[0] == ("all ages", 328, 386, 714)
    with pytest.raises(ValueError, match="each of them once"):
        replace(once, merged=((("teens",), ("teens",)), (("north",), ("south",))))


def test_categories_merged_by_hand_are_refused(ledger: gbv.Ledger) -> None:
    gbv.release(one_way("by age", {"teens": 60, "twenties": 65, "older": 70}, "age"), ledger=ledger)
    young = one_way("hearing", {"young": 123, "older": 70}, "age", within=(("hearing", "yes"),))
    with pytest.raises(DisclosureError, match="collapse_categories"):
        gbv.release(young, ledger=ledger)
    # Wards of two districts are different ones, and nobody is in both.
    for district, wards in (("a", {"a1": 20, "a2": 30}), ("b", {"b1": 20, "b2": 30})):
        gbv.release(one_way(district, wards, "ward", within=(("district", district),)), ledger=ledger)


@pytest.mark.parametrize("outcome", ["harmed", "harmed by an ex"])
@pytest.mark.parametrize("counted", [True, False], ids=["yes or no", "a mean"])
def test_groups_behind_any_estimate_less_a_subgroup_are_hidden(ledger: gbv.Ledger, outcome: str, counted: bool) -> None:
    cells = [Cell(label, n, n // 2 if counted else None, f"{outcome} by region") for label, n in (("n", 40), ("s", 60))]
    gbv.release(estimates(*(replace(row(cell.label, cell), outcome=outcome) for cell in cells)), ledger=ledger)
    hearing = gbv.CountTable(
        "hearing",
        ("n", "s"),
        (),
        ((37,), (45,)),
        ((19,), (20,)),
        variables=("region",),
        within=(("hearing", "yes"),),
        outcome=outcome,
    )
    assert gbv.release(hearing).tables()[0].rows[0] == ("n", 37, 19)
    assert gbv.release(hearing, ledger=ledger).tables()[0].rows[0][1] is None


def test_everybody_less_a_subgroup_is_hidden(ledger: gbv.Ledger) -> None:
    gbv.release(estimates(replace(row("all", Cell("all", 100, 45, "harmed")), outcome="harmed")), ledger=ledger)
    hearing = gbv.CountTable(
        "hearing",
        ("n", "s"),
        (),
        ((52,), (45,)),
        ((20,), (22,)),
        variables=("region",),
        within=(("hearing", "yes"),),
        outcome="harmed",
        answered=("region", "harmed"),
    )
    total = gbv.release(hearing, ledger=ledger).tables()[0].rows[-1]
    # 100 - 97 and 45 - 42 would be three people, each of whom was harmed.
    assert total == ("total", None, None)


def test_those_without_a_group_are_those_whom_no_table_counts(ledger: gbv.Ledger) -> None:
    cells = [Cell(*each, "y by region") for each in (("n", 40, 20), ("s", 60, 30), (NO_ANSWER, 12, 10))]
    gbv.release(estimates(*(row(cell.label, cell) for cell in cells)), ledger=ledger)
    # The same respondents: no contradiction, and the twelve are enough.
    released = gbv.release(one_way("by region", {"n": 45, "s": 66}, left_out=20, answered=()), ledger=ledger)
    assert shown(released) == {"n": None, "s": None, "total": 111}


def test_women_and_men_are_taken_for_all(ledger: gbv.Ledger) -> None:
    gbv.release(one_way("staff", {"north": 16, "south": 60}), ledger=ledger)
    for gender in ("women", "men"):
        table = one_way(gender, {"north": 8, "south": 30}, within=(("gender", gender),))
        if gender == "women":
            assert shown(gbv.release(table, ledger=ledger))["north"] is None
        else:
            # 16 in the north, and neither 10 women nor 10 men: there are 7 to 9 of each.
            with pytest.raises(DisclosureError, match="Release only one"):
                gbv.release(table, ledger=ledger)


@pytest.mark.parametrize(("least", "most", "safe"), [(0.5, 5.5, False), (0.0, 5.0, True), (0.4, 6.0, True)])
def test_people_are_whole(least: float, most: float, safe: bool) -> None:
    # Of the first, 1 to 5 are possible, which is four wide.
    assert Target(np.ones(1, dtype=bool), width=5).is_safe(np.array([most, least])) is safe


# -- respondents who join -------------------------------------------------------------------------------------------


def test_few_who_joined_are_not_found_by_subtraction(tmp_path: Path) -> None:
    before = gbv.Ledger(tmp_path / "study.json", population="first wave")
    after = gbv.Ledger(tmp_path / "study.json", population="second wave")
    gbv.release(one_way("staff", {"north": 40, "south": 60}), ledger=before)
    few = gbv.release(one_way("staff", {"north": 43, "south": 90}), ledger=after)
    assert shown(few)["north"] is None
    many = gbv.release(
        one_way("staff", {"north": 80, "south": 190}), ledger=gbv.Ledger(tmp_path / "study.json", "third wave")
    )
    assert shown(many) == {"north": 80, "south": 190, "total": 270}


def test_counts_that_contradict_each_other_are_refused(ledger: gbv.Ledger) -> None:
    gbv.release(one_way("staff", {"north": 40, "south": 60}), ledger=ledger)
    with pytest.raises(DisclosureError, match="population"):
        gbv.release(one_way("staff", {"north": 43, "south": 60}), ledger=ledger)
    assert ledger.releases() == ("release",)


def test_what_is_out_cannot_be_hidden_any_more(ledger: gbv.Ledger) -> None:
    gbv.release(one_way("staff", {"north": 12, "south": 60}), ledger=ledger)
    with pytest.raises(DisclosureError, match="Release only one"):
        gbv.release(one_way("staff", {"north": 12, "south": 60}), gbv.Policy(min_n=20), ledger=ledger)


# -- the file -------------------------------------------------------------------------------------------------------


def test_the_file_holds_no_hidden_number(ledger: gbv.Ledger) -> None:
    gbv.release(one_way("staff", {"north": 7, "south": 4561, "west": 4673, "east": 8911}), ledger=ledger)
    text = Path(ledger.path).read_text(encoding="utf-8")
    assert "8911" in text
    assert "4561" not in text
    (entry,) = json.loads(text)["releases"]
    north = next(fact for fact in entry["tables"][0]["facts"] if fact["where"] == {"region": ["north"]})
    assert (north["low"], north["high"]) == (0, 9)


def test_a_changed_file_is_refused(ledger: gbv.Ledger) -> None:
    for name in ("June", "July"):
        gbv.release(one_way("staff", {"north": 40, "south": 60}), ledger=ledger, name=name)
    path = Path(ledger.path)
    content = json.loads(path.read_text(encoding="utf-8"))
    shorter = {**content, "releases": content["releases"][1:]}
    edited = json.loads(json.dumps(content))
    edited["releases"][0]["tables"][0]["facts"][0]["low"] = 39
    for wrong in (shorter, edited, {"format": 1}, [], {**content, "format": 2}):
        path.write_text(json.dumps(wrong), encoding="utf-8")
        with pytest.raises(DisclosureError, match=r"Restore|another version"):
            ledger.releases()
    path.write_text("{", encoding="utf-8")
    with pytest.raises(DisclosureError, match="cannot be read"):
        ledger.releases()


def test_a_write_that_fails_leaves_the_file_as_it_was(ledger: gbv.Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    gbv.release(one_way("staff", {"north": 40, "south": 60}), ledger=ledger, name="June")

    def broken(*_: object) -> None:
        raise OSError("disk full")

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", broken)
        with pytest.raises(OSError, match="disk full"):
            gbv.release(one_way("staff", {"north": 40, "south": 60}), ledger=ledger, name="July")
    assert ledger.releases() == ("June",)
    assert [path.name for path in Path(ledger.path).parent.iterdir()] == ["study.json"]


# -- any tables -----------------------------------------------------------------------------------------------------

LEVELS = {"gender": ("w", "m"), "region": ("north", "south", "west"), "age": ("young", "old")}
OUTCOME = ("with", "without")


@st.composite
def studies(draw: st.DrawFn) -> tuple[dict[str, np.ndarray], list[tuple[tuple[str, ...], bool, str | None]]]:
    """Respondents with some answers missing, and three tables asked for one after the other."""
    rng = np.random.default_rng(draw(st.integers(0, 10**6)))
    n = draw(st.sampled_from([60, 150, 400]))
    people: dict[str, np.ndarray] = {}
    for name, labels in LEVELS.items():
        missing = draw(st.sampled_from([0.0, 0.0, 0.02]))
        shares = np.append(rng.dirichlet(np.full(len(labels), 2.0)) * (1 - missing), missing)
        people[name] = rng.choice(len(labels) + 1, size=n, p=shares / shares.sum())
    people["y"] = (rng.random(n) < draw(st.sampled_from([0.2, 0.5]))).astype(np.int64)
    tables = []
    for _ in range(3):
        by = tuple(draw(st.lists(st.sampled_from(sorted(LEVELS)), min_size=1, max_size=2, unique=True)))
        rest = [name for name in LEVELS if name not in by]
        within = draw(st.sampled_from([None, None, *rest]))
        tables.append((by, draw(st.booleans()), within))
    return people, tables


def ask(people: dict[str, np.ndarray], by: tuple[str, ...], outcome: bool, within: str | None) -> gbv.CountTable:
    inside = np.ones(people["y"].size, dtype=bool) if within is None else people[within] == 0
    answered = inside & np.all([people[name] < len(LEVELS[name]) for name in by], axis=0)

    def count(keep: np.ndarray) -> tuple[tuple[int, ...], ...]:
        table = np.zeros([len(LEVELS[name]) for name in by], dtype=int)
        np.add.at(table, tuple(people[name][keep] for name in by), 1)
        return tuple(tuple(int(x) for x in line) for line in table.reshape(len(LEVELS[by[0]]), -1))

    return gbv.CountTable(
        " and ".join(by),
        LEVELS[by[0]],
        LEVELS[by[1]] if len(by) == 2 else (),
        count(answered),
        count(answered & (people["y"] == 1)) if outcome else None,
        left_out=int((inside & ~answered).sum()),
        variables=by,
        within=() if within is None else ((within, LEVELS[within][0]),),
        outcome="y" if outcome else "",
        answered=("y", *(name for name in by if (people[name][inside] < len(LEVELS[name])).all())),
    )


@given(study=studies())
@settings(max_examples=N_STUDIES, deadline=None)
def test_no_small_number_of_any_table_follows_from_all_releases(
    study: tuple[dict[str, np.ndarray], list[tuple[tuple[str, ...], bool, str | None]]],
) -> None:
    people, asked = study
    names = [*LEVELS, "y"]
    lengths = [len(LEVELS[name]) + 1 for name in LEVELS] + [2]
    atoms = list(itertools.product(*(range(length) for length in lengths)))
    truth = np.zeros(lengths)
    np.add.at(truth, tuple(people[name] for name in names), 1)
    rows: list[np.ndarray] = []
    values: list[float] = []
    printed: list[int | None] = []
    source: list[int] = []

    here = dict(zip(names, np.array(atoms).T, strict=True))

    def member(by: tuple[str, ...], spot: tuple[int, ...], within: str | None, side: int | None) -> np.ndarray:
        inside = np.ones(len(atoms), dtype=bool) if within is None else here[within] == 0
        for name, at in zip(by, spot, strict=True):
            # The last place is the total: everybody who answered.
            inside &= here[name] < len(LEVELS[name]) if at == len(LEVELS[name]) else here[name] == at
        return (inside if side is None else inside & (here["y"] == side)).astype(float)

    with TemporaryDirectory() as folder:
        ledger = gbv.Ledger(Path(folder) / "study.json")
        for number, (by, outcome, within) in enumerate(asked):
            try:
                (table,) = gbv.release(ask(people, by, outcome, within), ledger=ledger).tables()
            except DisclosureError:
                continue  # Nothing left, so there is nothing to attack.
            places = [range(len(LEVELS[name]) + 1) for name in by]
            for spot in itertools.product(*places):
                line = table.rows[spot[0]]
                width = len(places[1]) if len(by) == 2 else 1
                column = spot[1] if len(by) == 2 else 0
                sides = [(None, line[1 + column])] + ([(1, line[1 + width + column])] if outcome else [])
                for side, value in sides:
                    rows.append(member(by, spot, within, side))
                    values.append(float(rows[-1] @ truth.ravel()))
                    printed.append(value)
                    source.append(number)
    if not rows:
        return
    incidence, true = np.array(rows), np.array(values)
    seen = np.array([value is not None for value in printed])
    np.testing.assert_array_equal(np.array([v for v in printed if v is not None], dtype=float), true[seen])
    assert (true[seen] >= 10).all()
    # The reader also knows which of the hidden numbers are small.
    low = np.where(seen, true, np.where(true < 10, 0.0, 10.0))
    high = np.where(seen, true, np.where(true < 10, 9.0, np.inf))
    small = np.flatnonzero(true < 10)
    least, largest = linear_attack(incidence, low, high, incidence[small])
    assert (largest - least).min(initial=np.inf) >= 5 - 1e-6
    # Nor is a number of one table less a number of another one a few people.
    for i, j in itertools.permutations(np.flatnonzero(seen), 2):
        if source[i] != source[j] and (incidence[i] >= incidence[j]).all() and true[i] > true[j]:
            assert true[i] - true[j] >= 10


# -- from a survey --------------------------------------------------------------------------------------------------


def people() -> gbv.Survey:
    rng = np.random.default_rng(3)
    frame = {
        "y": rng.integers(0, 2, 400).astype(float),
        "region": rng.choice(["north", "south"], 400).astype(object),
        "age": rng.choice(["young", "middle", "old"], 400).astype(object),
        "hearing": np.where(np.arange(400) < 6, "no", "yes").astype(object),
    }
    frame["region"][:3] = None
    return gbv.Survey(frame, outcome="y")


def test_a_survey_counts_by_three_columns_and_within_a_group() -> None:
    survey = people()
    table = survey.counts("region", "age", layers=["hearing"], outcome="y")
    assert table.directions == (("north", "south"), ("middle", "old", "young"), ("no", "yes"))
    assert table.counts().sum() == 397
    assert table.left_out == 3
    assert table.answered == ("age", "hearing", "y")
    inside = survey.counts("region", within=("hearing", "no"))
    assert inside.counts().sum() == 3
    assert inside.left_out == 3
    with pytest.raises(gbv.DataError, match="no such category"):
        survey.counts("region", within=("hearing", "perhaps"))


def test_tables_of_a_survey_know_what_they_break_down(ledger: gbv.Ledger) -> None:
    survey = people()
    gbv.release(survey.counts("age"), ledger=ledger)
    # Six do not hear: all of them less those who hear, in each group of age and in all.
    released = gbv.release(survey.counts("age", within=("hearing", "yes")), ledger=ledger)
    assert None in shown(released).values()
    assert shown(released)["total"] is None
