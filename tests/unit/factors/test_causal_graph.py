"""The back-door criterion against all paths by hand, and what `RiskFactors` does with a graph."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import gbveval as gbv
from gbveval.core.errors import DesignError

NAMES = "abcdef"


@st.composite
def graphs(draw: st.DrawFn) -> list[tuple[str, str]]:
    order = draw(st.permutations(NAMES))
    pairs = list(combinations(order, 2))
    return draw(st.lists(st.sampled_from(pairs), unique=True, min_size=2, max_size=9))


def _paths(edges: list[tuple[str, str]], start: str, end: str) -> list[list[str]]:
    around: dict[str, set[str]] = {name: set() for name in NAMES}
    for cause, effect in edges:
        around[cause].add(effect)
        around[effect].add(cause)
    found, todo = [], [[start]]
    while todo:
        path = todo.pop()
        for name in around[path[-1]] - set(path):
            (found if name == end else todo).append([*path, name])
    return found


def _reached(edges: list[tuple[str, str]], name: str) -> set[str]:
    return set(gbv.CausalGraph(edges).descendants(name))


def _open(edges: list[tuple[str, str]], path: list[str], given_set: set[str]) -> bool:
    """Whether a path is open by the definition: chains and forks not given, colliders given or with a given effect."""
    for before, here, after in zip(path, path[1:], path[2:], strict=False):
        if (before, here) in edges and (after, here) in edges:
            if here not in given_set and not (_reached(edges, here) & given_set):
                return False
        elif here in given_set:
            return False
    return True


@settings(max_examples=200, deadline=None)
@given(graphs(), st.sets(st.sampled_from(NAMES[2:])))
def test_open_back_doors_are_those_of_the_definition(edges: list[tuple[str, str]], chosen: set[str]) -> None:
    graph = gbv.CausalGraph(edges)
    if chosen & graph.descendants("a"):
        return
    back = [path for path in _paths(edges, "a", "b") if (path[1], "a") in edges]
    expected = any(_open(edges, path, chosen) for path in back)
    assert bool(graph.open_back_door("a", "b", sorted(chosen))) == expected


@settings(max_examples=60, deadline=None)
@given(graphs())
def test_smallest_sets_close_and_none_smaller_does(edges: list[tuple[str, str]]) -> None:
    graph = gbv.CausalGraph(edges)
    sets = graph.smallest_sets("a", "b", NAMES)
    usable = sorted(set(NAMES) - {"a", "b"} - graph.descendants("a"))
    closing = [s for k in range(5) for s in combinations(usable, k) if not graph.open_back_door("a", "b", s)]
    if sets:
        assert len(sets[0]) == min(map(len, closing))
        assert all(not graph.open_back_door("a", "b", s) for s in sets)
    else:
        assert not closing or graph.open_back_door("a", "b", ())


def test_circles_and_odd_edges_are_refused() -> None:
    with pytest.raises(DesignError, match="circle"):
        gbv.CausalGraph([("a", "b"), ("b", "c"), ("c", "a")])
    with pytest.raises(DesignError, match="pair"):
        gbv.CausalGraph([("a", "a")])
    many = [(f"c{i:02d}", "x") for i in range(17)] + [(f"c{i:02d}", "y") for i in range(17)]
    with pytest.raises(DesignError, match="at most 16"):
        gbv.CausalGraph(many).smallest_sets("x", "y", [f"c{i:02d}" for i in range(17)])


GRAPH = [
    ("age", "hours"),
    ("age", "y"),
    ("hours", "exposed"),
    ("exposed", "y"),
    ("hours", "y"),
    ("luck", "sex"),
    ("luck", "y"),
]


def _survey() -> gbv.Survey:
    rng = np.random.default_rng(1)
    n = 300
    frame = {name: rng.choice(["no", "yes"], n).tolist() for name in ("age", "hours", "exposed", "sex")}
    return gbv.Survey({**frame, "y": rng.integers(0, 2, n).astype(float)}, outcome="y")


def _table(factor: str, adjust_for: list[str] | None = None, **more: object) -> gbv.Estimates:
    given_sets = None if adjust_for is None else {factor: adjust_for}
    return gbv.RiskFactors([factor], given_sets, behaviour="experience", **more).estimate(_survey())  # type: ignore[arg-type]


def test_without_declared_roles_the_smallest_set_of_the_graph_is_used() -> None:
    answer = _table("hours", graph=GRAPH)
    row = dict(answer["hours: yes vs no (adjusted ratio)"].extra)
    assert (row["model"], row["adjustment_reason"]) == ("adjusted for age", "smallest set of the declared graph")


def test_what_the_factor_brings_about_is_refused() -> None:
    with pytest.raises(DesignError, match="lies between"):
        _table("hours", ["age", "exposed"], graph=GRAPH)
    with pytest.raises(DesignError, match="declared a mediator"):
        _table("hours", ["exposed"], mediators={"hours": ["exposed"]})
    with pytest.raises(DesignError, match="no path"):
        _table("hours", ["age"], mediators={"hours": ["sex"]}, graph=GRAPH)


def test_an_open_back_door_is_said_with_sets_that_close_it() -> None:
    answer = _table("hours", [], graph=GRAPH)
    message = answer.check("back door hours").message
    assert "hours - age - y" in message
    assert "age" in message.rpartition(":")[2]


def test_no_measured_set_leaves_crude_rows_that_say_so() -> None:
    answer = _table("sex", graph=GRAPH)
    assert not any("adjusted" in row.term for row in answer.terms)
    assert "luck" in answer.check("back door sex").message


def test_the_path_that_is_named_is_one_that_stays_open_whatever_is_measured() -> None:
    """Age could be adjusted for; norms, or a misspelt column, cannot."""
    edges = [("age", "hours"), ("age", "y"), ("norms", "hours"), ("norms", "y"), ("hours", "y")]
    answer = _table("hours", graph=edges)
    message = answer.check("back door hours").message
    assert "hours - norms - y stays open (no columns, so taken as unmeasured: norms)" in message
    row = dict(answer["hours: yes vs no (crude ratio)"].extra)
    assert row["model"] == "crude only; no measured set closes the back doors"
    # Nevertheless, as the message says.
    declared = _table("hours", ["age"], graph=edges)
    assert dict(declared["hours: yes vs no (adjusted ratio)"].extra)["adjustment_reason"] == "leaves a back door open"


def test_a_graph_without_the_outcome_checks_nothing_and_says_so() -> None:
    answer = _table("hours", graph=[("age", "hours")])
    assert "does not name the outcome y" in answer.check("back door hours").message
    assert dict(answer[0].extra)["model"] == "crude only; roles not declared"


def test_a_factor_outside_the_graph_is_not_checked() -> None:
    answer = gbv.RiskFactors(["sex"], {"sex": ["age"]}, behaviour="experience", graph=GRAPH[:3]).estimate(_survey())
    assert "does not name it" in answer.check("back door sex").message
