"""The door out: rows hidden whole, complements, joint protection, and nothing in the JSON that was hidden."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import gbveval as gbv
from gbveval.core.errors import DisclosureError, GbvevalError
from gbveval.core.estimand import Estimand
from gbveval.core.estimates import Estimates
from gbveval.core.flow import Flow, FlowRow
from gbveval.core.method import Cell, Check, Method
from gbveval.core.term import Term
from gbveval.disclosure.released import Released, ReleasedEstimates

METHOD = Method("all", "Neyman", "none", "normal", "this sample")
RISK = Estimand("ITT", "risk_difference")
NUMBERS = ("estimate", "std_error", "statistic", "df", "p_value", "conf_low", "conf_high")


def row(name: str, *support: Cell, estimand: Estimand = RISK, **more: Any) -> Term:
    more = {"value": -0.123456789, "std_error": 0.0987654321, "df": 33.25, **more}
    return Term(term=name, estimand=estimand, outcome="y", support=support, **more)


def estimates(*rows: Term, **more: Any) -> Estimates:
    errors = np.array([np.nan if r.std_error is None else r.std_error for r in rows])
    return Estimates("method", rows, np.diag(errors**2), METHOD, **more)


def trial(control: tuple[int, int], new: tuple[int, int], name: str = "y") -> gbv.Trial:
    """A trial with (events, n) in two arms."""
    y = [float(i < events) for events, n in (control, new) for i in range(n)]
    arm = ["usual"] * control[1] + ["new"] * new[1]
    return gbv.Trial({name: y, "arm": arm}, outcome=name, arm="arm", control="usual")


def only(released: Released) -> ReleasedEstimates:
    (found,) = released.estimates()
    return found


# -- which rows are hidden ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("control", "new", "hidden"),
    [
        ((30, 60), (25, 60), False),
        ((10, 60), (25, 60), False),
        ((9, 60), (25, 60), True),  # too few with the outcome
        ((25, 60), (51, 60), True),  # too few without it
        ((0, 60), (25, 60), True),  # "none of them" says something about each
        ((60, 60), (25, 60), True),
        ((4, 9), (25, 60), True),  # too few respondents
        ((50, 60), (50, 60), False),
    ],
)
def test_small_cells_and_complements_hide_the_row(control: tuple[int, int], new: tuple[int, int], hidden: bool) -> None:
    released = gbv.release(gbv.DifferenceInMeans().estimate(trial(control, new)))
    (shown,) = only(released).rows
    assert shown.hidden is hidden
    assert (shown["estimate"] is None) is hidden
    if hidden:
        assert all(shown[name] is None for name in NUMBERS)
        assert shown.note


@settings(max_examples=40, deadline=None)
@given(st.integers(12, 60), st.integers(12, 60), st.floats(0, 1), st.floats(0, 1), st.sampled_from([3, 5, 10]))
def test_no_row_with_a_small_cell_is_ever_shown(n0: int, n1: int, p0: float, p1: float, least: int) -> None:
    control, new = (round(p0 * n0), n0), (round(p1 * n1), n1)
    released = gbv.release(gbv.DifferenceInMeans().estimate(trial(control, new)), gbv.Policy(min_n=least))
    small = min(control[0], n0 - control[0], new[0], n1 - new[0]) < least
    (shown,) = only(released).rows
    assert shown.hidden or not small


def test_hidden_numbers_are_nowhere_in_the_json() -> None:
    answer = gbv.DifferenceInMeans().estimate(trial((3, 61), (25, 60)))
    record = answer.records()[0]
    text = gbv.release([answer, answer.contrast({"new vs usual": 2.0}, name="twice")]).to_json()
    for name in NUMBERS:
        # The first eight significant digits, wherever the decimal point stands.
        digits = f"{abs(record[name]):.7e}".replace(".", "")[:8]
        assert digits not in text.replace(".", ""), name


def test_a_joint_test_of_a_hidden_row_is_hidden() -> None:
    # Its statistic is the squared t of the hidden row.
    answer = gbv.DifferenceInMeans().estimate(trial((4, 30), (12, 30)))
    (shown,) = only(gbv.release(answer.joint_test())).rows
    assert shown["statistic"] is None
    assert shown["p_value"] is None


def test_a_contrast_and_a_selection_keep_their_cells() -> None:
    answer = gbv.DifferenceInMeans().estimate(trial((4, 30), (12, 30)))
    for derived in (answer.contrast({"new vs usual": 1.0}, name="x"), answer.with_terms([0]), answer.at_level(0.5)):
        assert only(gbv.release(derived)).rows[0].hidden


def test_a_result_read_from_json_keeps_its_cells() -> None:
    answer = gbv.DifferenceInMeans().estimate(trial((4, 30), (12, 30)))
    assert only(gbv.release(Estimates.from_json(answer.to_json()))).rows[0].hidden


def test_one_cell_without_events_does_not_unprotect_the_others() -> None:
    answer = estimates(row("a", Cell("x", 100, 3, "t"), Cell("z", 100, None, "t")))
    try:
        released = gbv.release(answer)
    except DisclosureError:
        return
    assert only(released).rows[0].hidden


def test_numbers_of_a_method_s_own_are_hidden_too() -> None:
    cells = (Cell("x", 100, 3, "t"), Cell("z", 100, 50, "t"))
    extra = (("risk_exposed", 0.0377), ("exposed_events", 377377), ("factor", "age"), ("event_time", 2.0))
    released = gbv.release(estimates(row("a", *cells, extra=extra)))
    text = released.to_json()
    assert "0.0377" not in text
    assert "377377" not in text
    assert only(released).rows[0]["factor"] == "age"


def test_a_hidden_row_does_not_say_why_it_was_undefined() -> None:
    # "A share of 0 or 100 % has no log odds" tells of each member of the group what they said.
    reason = "a share of 0 or 100 % has no log odds; merge the group with another"
    cells = (Cell("x", 40, 0, "t"), Cell("z", 100, 50, "t"))
    released = gbv.release(estimates(row("a", *cells, value=None, std_error=None, reason=reason)))
    assert only(released).rows[0].hidden
    assert "0 or 100" not in released.to_json()


def test_a_constant_outcome_is_not_given_away_by_its_reason() -> None:
    for events in (0, 30):
        answer = gbv.DifferenceInMeans().estimate(trial((events, 30), (events, 30)))
        assert "does not vary" not in gbv.release(answer).to_json()


def test_nuisance_rows_never_leave() -> None:
    rng = np.random.default_rng(0)
    frame = {"y": rng.normal(size=80), "x": rng.normal(size=80), "arm": ["u", "n"] * 40}
    data = gbv.Trial(frame, outcome="y", arm="arm", control="u", covariates=["x"])
    answer = gbv.LinAdjusted().estimate(data)
    assert len(answer) > 1
    released = gbv.release(answer)
    assert [r["estimand"] for r in only(released).rows] == ["ITT"]
    assert "nuisance" not in released.to_json()
    assert "influence" not in released.to_json()


# -- tables behind several rows -------------------------------------------------------------------------------------


def test_groups_of_one_table_are_protected_jointly_over_rows_and_results() -> None:
    # Four groups of one table whose total is known: hiding the small one alone would leave it to subtraction.
    counts = {"a": 4, "b": 40, "c": 50, "d": 60}
    rows = [row(label, Cell(label, n, None, "people by group")) for label, n in counts.items()]
    together = only(gbv.release(estimates(*rows))).rows
    hidden = [r["term"] for r in together if r.hidden]
    assert "a" in hidden
    apart = gbv.release([estimates(r) for r in rows])
    assert [r["term"] for e in apart.estimates() for r in e.rows if r.hidden] == hidden


def test_tables_of_different_names_are_independent() -> None:
    small, large = Cell("x", 100, 3, "first"), Cell("x", 100, 50, "second")
    shown = only(gbv.release(estimates(row("a", small), row("b", large)))).rows
    assert [r.hidden for r in shown] == [True, False]


def test_the_same_group_counted_differently_is_refused() -> None:
    # The difference of the two counts is a few people.
    first, second = (estimates(row("a", Cell("x", n, 50, "t"))) for n in (100, 98))
    with pytest.raises(DisclosureError, match="differently"):
        gbv.release([first, second])


def test_the_footer_says_what_was_hidden() -> None:
    released = gbv.release(gbv.DifferenceInMeans().estimate(trial((4, 30), (12, 30))))
    assert any("suppressed" in note for note in released.suppressed)
    assert "10 respondents" in released.policy


def test_an_override_shows_everything_and_says_so() -> None:
    policy = gbv.Policy().override(reason="Synthetic data.", enforce=False)
    released = gbv.release(gbv.DifferenceInMeans().estimate(trial((4, 30), (12, 30))), policy)
    assert not only(released).rows[0].hidden
    assert "Synthetic data." in released.policy


# -- flows and counts -----------------------------------------------------------------------------------------------


def _shown(released: Released) -> dict[tuple[str, str], int | None]:
    (table,) = released.tables()
    return {(stage, arm): units for stage, arm, units, _ in table.rows}


def test_a_small_arm_is_hidden_in_every_stage() -> None:
    rows = [
        FlowRow(stage, arm, n) for stage in ("randomised", "analysed") for arm, n in (("a", 5), ("b", 80), ("c", 90))
    ]
    shown = _shown(gbv.release(Flow((FlowRow("assessed", "all", 200), *rows))))
    assert shown["randomised", "a"] is None
    assert shown["analysed", "a"] is None


def test_a_small_arm_does_not_follow_from_the_other_counts() -> None:
    # Everybody assessed was randomised: assessed minus the other arms would be the hidden five.
    rows = [FlowRow("assessed", "all", 175), FlowRow("randomised", "a", 5), FlowRow("randomised", "b", 80)]
    shown = _shown(gbv.release(Flow((*rows, FlowRow("randomised", "c", 90)))))
    known = [shown["assessed", "all"], shown["randomised", "b"], shown["randomised", "c"]]
    assert shown["randomised", "a"] is None
    assert any(value is None for value in known), "the hidden arm is the total minus the others"


def test_the_size_of_a_small_arm_does_not_follow_from_the_row_and_the_flow() -> None:
    data = trial((40, 80), (2, 5))
    released = gbv.release([gbv.DifferenceInMeans().estimate(data), data.flow()])
    flow = {(stage, arm): units for stage, arm, units, _ in released.tables()[0].rows}
    (shown,) = only(released).rows
    if flow["randomised", "usual"] is not None:
        assert shown["n_units"] is None, "85 in the row minus 80 in the flow is the hidden arm"
        assert flow["assessed", "all"] is None


def test_the_size_of_a_small_arm_does_not_follow_from_a_rate_in_a_check() -> None:
    # One of 175 is missing, and 20 % of the small arm: it has five people.
    y = [None, *(float(i % 2) for i in range(174))]
    frame = {"y": y, "arm": ["a"] * 5 + ["b"] * 80 + ["c"] * 90}
    data = gbv.Trial(frame, outcome="y", arm="arm", control="b")
    released = gbv.release([gbv.DifferenceInMeans().estimate(data), data.flow()])
    assert any(r.hidden for r in only(released).rows)
    assert "20.0%" not in released.to_json()


def test_the_digest_of_a_study_is_not_a_key_to_its_answers() -> None:
    # Fourteen answers of yes or no are 16,384 studies: who knows the allocation tries them all in seconds.
    answers = [1.0, 0.0, 0.0, 1.0, 1.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0, 1.0, 0.0, 1.0]
    small = gbv.Trial({"y": answers, "arm": ["u", "n"] * 7}, outcome="y", arm="arm", control="u")
    # Of a large one somebody may know all answers but one, and try two.
    for data in (small, trial((40, 80), (50, 80))):
        answer = gbv.DifferenceInMeans().estimate(data)
        assert data.digest not in gbv.release(answer).to_json()
        keyed = [gbv.release(answer, gbv.Policy(study_key=key)).to_json() for key in ("one secret", "another secret")]
        assert keyed[0] != keyed[1]
        assert keyed[0] == gbv.release(answer, gbv.Policy(study_key="one secret")).to_json()
        for text in keyed:
            assert data.digest not in text
            assert "secret" not in text


def test_the_key_of_a_study_is_in_no_display() -> None:
    policy = gbv.Policy(study_key="xyzzy-4711")
    for text in (repr(policy), str(policy), policy.describe(), repr(gbv.release(Flow(()), policy))):
        assert "xyzzy" not in text


def test_a_row_whose_counts_are_unknown_is_not_shown() -> None:
    shown = only(gbv.release(estimates(row("a"), row("b", Cell("x", 100, 50, "t"))))).rows
    assert [r.hidden for r in shown] == [True, False]
    assert all(shown[0][name] is None for name in NUMBERS)


def test_an_arm_called_all_is_protected_like_others() -> None:
    frame = {"y": np.arange(35.0), "arm": ["all"] * 5 + ["b"] * 30}
    try:
        flow = gbv.Trial(frame, outcome="y", arm="arm", control="b").flow()
    except GbvevalError:
        return  # The label is refused, since a flow uses the word for all arms together.
    shown = [r for r in gbv.release(flow).tables()[0].rows if r[1] == "all" and r[0] != "assessed"]
    assert all(units is None for _, _, units, _ in shown)


def test_a_flow_does_not_tell_the_sizes_that_protect_a_row() -> None:
    # 9 of 18 in each arm: with and without are both below 10, so that 18 would say that they are 9.
    data = trial((9, 18), (9, 18))
    shown = _shown(gbv.release([gbv.DifferenceInMeans().estimate(data), data.flow()]))
    assert set(shown.values()) == {None}
    assert _shown(gbv.release(data.flow()))["analysed", "usual"] == 18


def test_harms_and_rows_that_tell_of_a_few_together_are_refused(tmp_path: Path) -> None:
    data = trial((9, 18), (9, 18))
    ledger = gbv.Ledger(tmp_path / "study.json")
    gbv.release(gbv.safety_table(data), ledger=ledger)
    with pytest.raises(DisclosureError, match="Release only one"):
        gbv.release(gbv.DifferenceInMeans().estimate(data), ledger=ledger)
    large = trial((30, 80), (25, 82))
    other = gbv.Ledger(tmp_path / "other.json")
    for item in (gbv.safety_table(large), large.flow(), gbv.DifferenceInMeans().estimate(large)):
        gbv.release(item, ledger=other)
    assert len(other.releases()) == 3


def test_the_flow_of_a_panel_is_shown_where_cohorts_are_large() -> None:
    frame = {
        "y": np.arange(80.0),
        "u": np.repeat(np.arange(40), 2),
        "t": np.tile([1, 2], 40),
        "g": np.repeat([2.0] * 20 + [np.inf] * 20, 2),
    }
    flow = gbv.Panel(frame, outcome="y", unit="u", time="t", cohort="g").flow()
    shown = _shown(gbv.release(flow))
    assert shown["in the panel", "never treated"] == 20


def test_count_tables_hide_and_protect() -> None:
    table = gbv.CountTable("reports by ward", ("a", "b", "c"), (), ((40,), (50,), (60,)), ((3,), (25,), (30,)))
    (shown,) = gbv.release(table).tables()
    events = [r[shown.columns.index("with outcome")] for r in shown.rows]
    assert events[0] is None
    assert sum(value is None for value in events) >= 2


# -- made by release only -------------------------------------------------------------------------------------------


def test_released_values_cannot_be_made_by_hand() -> None:
    for key in (None, object(), "key", 1, True):
        with pytest.raises(DisclosureError, match="release"):
            Released(key, items=(), policy="", suppressed=())


def test_other_things_are_not_released() -> None:
    for thing in ({"a": 1}, [1], "text", [gbv.release(gbv.Table("t", (), ()))]):
        with pytest.raises(GbvevalError):
            gbv.release(thing)  # type: ignore[arg-type]


def test_sections_take_released_values_only() -> None:
    answer = gbv.DifferenceInMeans().estimate(trial((30, 60), (25, 60)))
    with pytest.raises(DisclosureError, match="release"):
        gbv.Section("title", answer)  # type: ignore[arg-type]


def test_what_was_released_cannot_be_exchanged() -> None:
    released = gbv.release(gbv.Table("t", ("a",), ((1,),)))
    for name in ("items", "policy", "suppressed"):
        with pytest.raises(AttributeError):
            setattr(released, name, ())


# -- JSON -----------------------------------------------------------------------------------------------------------


def test_results_with_the_normal_as_reference_can_be_written() -> None:
    text = gbv.release(estimates(row("a", Cell("x", 100, 50, "t"), df=float("inf")))).to_json()
    content = json.loads(text, parse_constant=pytest.fail)
    assert content["items"][0]["rows"][0]["estimate"] == pytest.approx(-0.123456789)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), np.int64(3), np.float64(0.5), np.bool_(True), None, "x"])
def test_tables_with_odd_values_can_be_written(value: Any) -> None:
    json.loads(gbv.release(gbv.Table("t", ("a",), ((value,),))).to_json(), parse_constant=pytest.fail)


def test_site_names_appear_only_when_the_policy_says_so() -> None:
    sites = gbv.SiteEffects(
        {"e": [0.1, 0.2], "s": [0.1, 0.1], "n": ["SecretHaven", "b"]}, estimate="e", std_error="s", site="n"
    )
    prior = gbv.HierarchyPrior(gbv.Normal(0, 1), gbv.HalfNormal(0.5))
    answer = gbv.NormalHierarchy(prior).estimate(sites)
    assert "SecretHaven" not in gbv.release(answer, site_names=sites.codes).to_json()
    policy = gbv.Policy().override(reason="The ministry agreed.", identify_sites=True)
    assert "SecretHaven" in gbv.release(answer, policy, site_names=sites.codes).to_json()


def test_checks_and_method_leave_in_words() -> None:
    answer = estimates(row("a", Cell("x", 100, 50, "t")), checks=(Check("rank", "ok", "full rank"),))
    found = only(gbv.release(answer))
    assert found.checks == (("rank", "ok", "full rank"),)
    assert any("Neyman" in line for line in found.method)


def test_a_table_of_three_directions_with_groups_is_laid_out_in_rows() -> None:
    n = tuple(tuple((40 + 10 * i + j, 70 + i) for j in range(2)) for i in range(3))
    table = gbv.CountTable(
        "reports",
        ("a", "b", "c"),
        ("x", "y"),
        n,
        layers=(("young", "old"),),
        groups=((("north", "north", "south"),), (), ()),
        variables=("ward", "kind", "age"),
    )
    (shown,) = gbv.release(table).tables()
    assert shown.columns == ("", "age", "n: x", "n: y", "n: total")
    values = {(row[0], row[1]): row[2:] for row in shown.rows}
    # Nothing is small, so every number is the sum it should be.
    assert values["north", "young"] == (40 + 50, 41 + 51, 182)
    assert values["total", "total"][2] == sum(cell for row in n for pair in row for cell in pair)
    assert len(shown.rows) == (3 + 2 + 1) * 3


@pytest.mark.parametrize(("n_units", "hidden"), [(25, True), (26, True), (27, False)])
def test_a_model_with_few_residual_degrees_of_freedom_is_hidden(n_units: int, hidden: bool) -> None:
    # One effect and sixteen coefficients: 27 units leave ten.
    cell = Cell("x", 100, 50, "t")
    slopes = [row(f"b{i}", cell, estimand=Estimand("nuisance", "mean_difference"), n_units=n_units) for i in range(16)]
    answer = estimates(row("a", cell, n_units=n_units), *slopes)
    (shown,) = only(gbv.release(answer)).rows
    assert shown.hidden is hidden
    assert ("coefficients" in shown.note) is hidden
    policy = gbv.Policy(min_df=None, override_reason="The board agreed.")
    assert not only(gbv.release(answer, policy)).rows[0].hidden


# 300 + 80 + 7 people in groups and 13 without an answer: 400. The seven are hidden, and so must be whatever the
# shown numbers turn into seven.
_GROUPS = ["w"] * 300 + ["m"] * 80 + ["t"] * 7 + [None] * 13
_ANSWERS = [1] * 90 + [0] * 210 + [1] * 20 + [0] * 60 + [0] * 3 + [1] * 4 + [1] * 6 + [0] * 7


def _with_a_small_group() -> gbv.Survey:
    return gbv.Survey({"y": _ANSWERS, "g": _GROUPS, "d": ["a", "b"] * 200}, outcome="y")


def test_the_size_of_a_small_group_does_not_follow_from_a_check() -> None:
    answer = gbv.Prevalence(by="g").estimate(_with_a_small_group())
    rows = {row["term"]: row["n_units"] for row in gbv.release(answer).estimates()[0].rows}
    assert rows == {"all": 400, "g: m": 80, "g: t": None, "g: w": 300}
    assert "6 degrees" in answer.check("degrees of freedom").message
    assert "13 of 400" in answer.check("missing g").message
    said = {name: text for name, _, text in gbv.release(answer).estimates()[0].checks}
    for name in ("degrees of freedom", "missing g"):
        assert not any(sign.isdigit() for sign in said[name])


def test_strata_that_some_have_no_answer_to_are_released_and_do_not_tell_how_many() -> None:
    # 387 in strata, less the others, would be the seven: shown is neither that number nor what rests on it.
    answer = gbv.Maihda(strata=["g", "d"]).estimate(_with_a_small_group())
    assert next(iter(answer.terms)).n_units == 387
    released = gbv.release(answer)
    rows = {row["term"]: row["n_units"] for row in released.estimates()[0].rows}
    assert rows["VPC"] is None
    assert rows["g and d: w, a"] == 150
    assert not re.search(r"(?<![\d.])387(?![\d.])", released.to_json())


@pytest.mark.parametrize(("asked", "total", "said"), [(7, None, "Some"), (12, 12, "388")])
def test_a_hidden_total_does_not_follow_from_those_without_an_answer(asked: int, total: int | None, said: str) -> None:
    # A question that few were asked: of 400, whose number every other table shows, all but these are left out.
    frame = {"y": [0, 1] * 200, "kind": ["police"] * asked + [None] * (400 - asked)}
    (table,) = gbv.release(gbv.Survey(frame, outcome="y").counts("kind")).tables()
    assert table.rows[-1] == ("total", total)
    assert table.notes[-1] == f"{said} respondents without an answer are in no cell"
