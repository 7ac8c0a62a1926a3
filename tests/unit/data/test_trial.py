"""`Trial`: every problem at once, by column and number of rows; never a value, never a name."""

from __future__ import annotations

import pickle
import warnings
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import gbveval as gbv
from gbveval.core.errors import DataError, GbvevalError

SECRET = 48151.62342
PLACE = "SecretHaven"


def make(n: int = 8, **change: Any) -> dict[str, Any]:
    frame: dict[str, Any] = {
        "y": np.arange(n, dtype=float),
        "arm": ["u", "n"] * (n // 2),
        "w": np.ones(n),
        "x": np.arange(n) % 3,
    }
    frame.update(change)
    return frame


def check(frame: Any, **roles: Any) -> gbv.Trial:
    return gbv.Trial(frame, **{"outcome": "y", "arm": "arm", "control": "u", **roles})


def problems(frame: Any, **roles: Any) -> tuple[str, ...]:
    with pytest.raises(DataError) as caught:
        check(frame, **roles)
    text = str(caught.value)
    assert str(SECRET) not in text
    assert "48151" not in text
    assert PLACE not in text
    for problem in caught.value.problems:
        assert len(problem) > 30, "an error says what is wrong, where, and one thing to do"
    return caught.value.problems


# -- all at once ----------------------------------------------------------------------------------------------------


def test_all_problems_come_in_one_error() -> None:
    frame = make(
        y=[np.inf, SECRET, 1, 2, 3, 4, 5, 6],
        z=["told", "b", "c", "d", "e", "f", "g", "h"],
        w=[-SECRET, -1, 1, 1, np.nan, 1, 1, 1],
        x=[1, None, 2, 3, None, 1, 2, 3],
        town=[PLACE, None, "b", "b", "c", "c", "d", "d"],
    )
    found = problems(
        frame,
        outcome=["y", "z", "absent"],
        control="usual",
        cluster="town",
        stratum="district",
        covariates=["x"],
        weight="w",
    )
    expected = ("'y'", "'z'", "'absent'", "'usual'", "'town'", "'district'", "'x'", "'w'")
    for name in expected:
        assert any(name in problem for problem in found), f"{name} is not told"
    joined = "\n".join(found)
    for count in ("1 row", "8 rows", "2 rows"):
        assert count in joined
    assert len(found) >= len(expected)


def test_absent_columns_offer_the_nearest_name() -> None:
    (found,) = problems(make(harassed=np.ones(8)), outcome="harased")
    assert "Did you mean 'harassed'?" in found


def test_one_column_for_two_roles() -> None:
    (found,) = problems(make(), covariates=["y"])
    assert "two roles" in found
    assert any("two roles" in text for text in problems(make(), cluster="arm"))


# -- arms -----------------------------------------------------------------------------------------------------------


def test_a_single_arm_is_refused() -> None:
    assert "single arm" in problems(make(arm=["u"] * 8))[0]


def test_an_absent_control_label_lists_the_arms() -> None:
    (found,) = problems(make(), control="usual")
    assert "'usual'" in found
    assert "'n'" in found


def test_a_column_of_names_given_as_arm_shows_no_name() -> None:
    # A slip (arm="email") must not print respondents into a log.
    people = [f"{PLACE}{i:03d}" for i in range(40)]
    frame = {"y": np.arange(40.0), "arm": people}
    assert problems(frame)
    outcomes = {"y": np.arange(40.0), "arm": SECRET + np.arange(40) * 1e-9}
    assert problems(outcomes)


def test_all_arms_missing() -> None:
    assert problems(make(arm=[None] * 8))


@pytest.mark.parametrize("column", ["y", "arm", "w"])
def test_everything_missing_in_one_column(column: str) -> None:
    assert any(f"'{column}'" in text for text in problems(make(**{column: [None] * 8}), weight="w"))


def test_outcomes_missing_for_the_randomised_only() -> None:
    frame = make(y=[1.0, 2.0, *[None] * 6], arm=[None, None, *["u", "n"] * 3])
    assert "every randomised row" in problems(frame)[0]


def test_rows_without_an_arm_are_assessed_and_not_randomised() -> None:
    trial = check(make(arm=["u", "n", None, "n", "u", None, "u", "n"], y=[1, None, 3, 4, 5, 6, 7, 8]))
    flow = trial.flow()
    assert (trial.n_assessed, trial.n) == (8, 6)
    assert flow.count("assessed") == 8
    assert flow.count("randomised") == 6
    assert flow.count("missing outcome", "n") == 1
    assert flow.count("analysed") == 5
    assert flow.imbalances() == ()
    assert trial.outcomes.shape == (6, 1)


def test_the_flow_of_an_unknown_outcome_is_refused() -> None:
    with pytest.raises(GbvevalError, match="'zz'"):
        check(make()).flow("zz")


# -- clusters, strata, pairs ----------------------------------------------------------------------------------------


def test_treatment_that_varies_inside_a_cluster() -> None:
    towns = [PLACE, PLACE, "b", "b", "c", "c", "d", "d"]
    (found,) = problems(make(arm=["u", "n", "u", "u", "n", "n", "u", "n"], town=towns), cluster="town")
    assert "2 clusters" in found
    assert "4 rows" in found


def test_clusters_may_not_lie_across_strata() -> None:
    frame = make(
        arm=["u", "u", "n", "n"] * 2,
        town=[PLACE, PLACE, "b", "b", "c", "c", "d", "d"],
        district=["p", "q", "p", "p", "q", "q", "q", "q"],
    )
    (found,) = problems(frame, cluster="town", stratum="district")
    assert "'district'" in found
    assert "1 cluster;" in found


@pytest.mark.parametrize(
    "pairs",
    [["a", "a", "a", "a", "b", "b", "c", "c"], ["a", "b", "a", "b", "c", "c", "d", "d"], list("aabbccde")],
)
def test_pairs_hold_one_of_each_arm(pairs: list[str]) -> None:
    (found,) = problems(make(pair=pairs), pair="pair")
    assert "'pair'" in found
    assert "do not hold two units" in found


def test_pairs_of_clusters_and_pairs_with_three_arms() -> None:
    towns = ["a", "a", "b", "b", "c", "c", "d", "d"]
    frame = make(arm=["u", "u", "n", "n"] * 2, town=towns, pair=["1"] * 4 + ["2"] * 4)
    assert check(frame, cluster="town", pair="pair").n_clusters == 4
    assert "two units" in problems(frame, pair="pair")[0]
    three = make(6, arm=["u", "n", "o"] * 2, pair=["1"] * 3 + ["2"] * 3)
    assert "two arms" in problems(three, pair="pair")[0]


def test_stratum_and_pair_exclude_each_other() -> None:
    frame = make(pair=list("aabbccdd"), s=["p"] * 8)
    assert any("not both" in text for text in problems(frame, pair="pair", stratum="s"))


@pytest.mark.parametrize("role", ["cluster", "stratum", "pair", "site"])
def test_groups_must_be_complete(role: str) -> None:
    (found,) = problems(make(g=[PLACE, None, None, "b", "c", "c", "d", "d"]), **{role: "g"})
    assert "2 rows" in found


# -- numbers --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("bad", "word"), [(np.inf, "infinite"), (-np.inf, "infinite")])
def test_outcomes_that_are_not_finite(bad: float, word: str) -> None:
    (found,) = problems(make(y=[bad, bad, SECRET, 1, 2, 3, 4, 5]))
    assert word in found
    assert "2 rows" in found


def test_weights() -> None:
    assert "negative in 1 row" in problems(make(w=[-SECRET, *[1.0] * 7]), weight="w")[0]
    assert "zero in every row" in problems(make(w=[0.0] * 8), weight="w")[0]
    assert "missing in 1 row" in problems(make(w=[None, *[1.0] * 7]), weight="w")[0]
    assert check(make(w=[0.0, *[1.0] * 7]), weight="w").n == 8


def test_covariates_must_be_complete_and_known() -> None:
    assert "missing in 1 row" in problems(make(x=[None, *range(7)]), covariates=["x"])[0]
    assert "'nope'" in problems(make(), covariates=["nope"])[0]
    assert check(make(), covariates="x").covariate_names == ("x",)


def test_no_outcome_at_all() -> None:
    with pytest.raises(DataError, match="at least one outcome"):
        check(make(), outcome=[])


@pytest.mark.parametrize("outcome", [5, None, b"y", ["y", None], [["y"]]])
def test_a_role_that_is_no_name_is_refused(outcome: Any) -> None:
    with pytest.raises(GbvevalError):
        check(make(), outcome=outcome)


def test_tiny_and_huge_numbers_are_kept() -> None:
    trial = check(make(y=[1e-300, -1e-300, 1e300, -1e300, 0.0, -0.0, 5e-324, 2**63]))
    assert trial.outcomes[0, 0] == 1e-300
    assert trial.outcomes[6, 0] == 5e-324
    assert trial.outcomes[7, 0] == float(2**63)


# -- words that show nothing ----------------------------------------------------------------------------------------


def test_the_display_shows_counts_and_roles_only() -> None:
    towns = [PLACE, PLACE, "b", "b", "c", "c", "d", "d"]
    trial = check(make(arm=["u", "u", "n", "n"] * 2, town=towns, y=[SECRET, *range(7)]), cluster="town")
    for text in (repr(trial), str(trial)):
        assert PLACE not in text
        assert "48151" not in text
        assert "4 clusters" in text


HOSTILE = [
    "<script>",
    "$\\frac{1}$",
    "=HYPERLINK(",
    "\u202eاسم",
    "🙂",
    "a\nb",
    "{{7*7}}",
    "%s",
    "x" * 500,
    "; DROP",
    " ",
]


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names_of_columns_and_arms_work(name: str) -> None:
    frame = {name: np.arange(6.0), "arm": [name, "n"] * 3}
    trial = gbv.Trial(frame, outcome=name, arm="arm", control=name)
    answer = gbv.DifferenceInMeans().estimate(trial)
    assert answer.terms[0].outcome == name
    assert answer.summary()
    with pytest.raises(DataError):
        gbv.Trial(frame, outcome=name, arm="arm", control="absent")


# -- frozen ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("pickled", [False, True])
def test_checked_data_cannot_be_changed(pickled: bool) -> None:
    towns = ["a", "a", "b", "b", "c", "c", "d", "d"]
    trial = check(make(arm=["u", "u", "n", "n"] * 2, town=towns), cluster="town", covariates=["x"], weight="w")
    if pickled:
        trial = pickle.loads(pickle.dumps(trial))
    assert trial.cluster is not None
    assert trial.weight is not None
    for array in (trial.outcomes, trial.arm, trial.covariates, trial.weight, trial.cluster.codes):
        with pytest.raises(ValueError, match="read-only"):
            array[...] = 0
    with pytest.raises(AttributeError):
        trial.outcomes = np.zeros((8, 1))  # type: ignore[misc]


# -- fuzz -----------------------------------------------------------------------------------------------------------

_scalars = st.one_of(
    st.none(),
    st.floats(),
    st.integers(-3, 3),
    st.sampled_from([2**53 + 1, 2**63, 2**70, 10**320, -1e-300, 5e-324, True, False]),
    st.sampled_from(["", "u", "n", PLACE, "🙂", "\u202e", "NaN", "nan", "<NA>", "NaT", "None", "a\x00", "1", " "]),
    st.just(pd.NA),
    st.just(pd.NaT),
    st.sampled_from([pd.Timestamp("2020-01-01"), pd.Timedelta(1), b"u", 1j, np.float64(2.0), np.bool_(True)]),
)
_dtypes = st.sampled_from(
    [None, object, "float64", "Int64", "Float64", "boolean", "string", "string[pyarrow]", "category"]
)


@st.composite
def hostile_frames(draw: st.DrawFn, names: tuple[str, ...]) -> pd.DataFrame:
    n = draw(st.integers(0, 9))
    columns = {}
    for name in names:
        pool = draw(st.sampled_from([_scalars, st.floats(), st.sampled_from(["u", "n"]), st.integers(0, 3)]))
        values = draw(st.lists(pool, min_size=n, max_size=n))
        dtype = draw(_dtypes)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                columns[name] = pd.Series(values, dtype=dtype)
        except (ValueError, TypeError, OverflowError, NotImplementedError):
            columns[name] = pd.Series(values, dtype=object)
    frame = pd.DataFrame(columns)
    extra = draw(st.sampled_from([None, "y", "arm"]))
    return frame if extra is None else pd.concat([frame, frame[[extra]]], axis=1)


_NAMES = ("y", "arm", "g", "x", "w")
_roles = st.fixed_dictionaries(
    {},
    optional={
        "cluster": st.sampled_from(["g", "x", "arm", "nope"]),
        "stratum": st.sampled_from(["g", "x"]),
        "pair": st.sampled_from(["g", "x"]),
        "site": st.sampled_from(["g", "x"]),
        "weight": st.sampled_from(["w", "x", "nope"]),
        "covariates": st.sampled_from([["x"], ["x", "g"], [], ["y"], ["x", "x"]]),
    },
)


@settings(max_examples=120, deadline=None)
@given(hostile_frames(_NAMES), _roles, st.sampled_from(["u", "n", 0, 1, True, "🙂"]))
def test_a_trial_is_made_or_an_error_of_ours_is_raised(
    frame: pd.DataFrame, roles: dict[str, Any], control: Any
) -> None:
    try:
        trial = check(frame, control=control, **roles)
    except GbvevalError as error:
        told = str(error)
        assert PLACE not in told or "arm" in told
        return
    assert trial.flow().imbalances() == ()
    assert np.isfinite(trial.covariates).all()
    assert len(trial.digest) == 64
    repr(trial)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.floats(allow_nan=True, allow_infinity=True), min_size=4, max_size=10),
    st.sampled_from(["inf", "text", "negative weight", "cluster"]),
)
def test_errors_never_show_what_was_planted(values: list[float], how: str) -> None:
    n = len(values)
    frame: dict[str, Any] = {
        "y": [SECRET, *values[1:]],
        "arm": [("u", "n")[i % 2] for i in range(n)],
        "g": [PLACE] * n,
        "w": np.ones(n),
    }
    if how == "inf":
        frame["y"][1] = np.inf
    elif how == "text":
        frame["y"] = [f"told {SECRET}"] * n
    elif how == "negative weight":
        frame["w"] = [-SECRET, *[1.0] * (n - 1)]
    try:
        check(frame, cluster="g", weight="w")
    except GbvevalError as error:
        told = str(error)
        assert PLACE not in told
        assert "48151" not in told
    else:
        pytest.fail("arms vary inside the only cluster")
