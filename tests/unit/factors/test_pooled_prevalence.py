"""`PooledPrevalence`: pooling, poststratification, groups nobody is in, the design effect, and refusals."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import gbveval as gbv


def _frame(seed: int = 5) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    sizes = [120, 60, 30, 12, 6]
    group = np.repeat(list("abcde"), sizes)
    risk = np.repeat([0.2, 0.3, 0.25, 0.2, 0.3], sizes)
    return {
        "y": (rng.random(group.size) < risk).astype(float),
        "group": group.tolist(),
        "w": rng.uniform(1.0, 2.0, group.size),
        "ward": [f"ward {i % 19:02d}" for i in range(group.size)],
    }


def _survey(frame: dict[str, Any], **roles: Any) -> gbv.Survey:
    return gbv.Survey(frame, **{"outcome": "y", "weight": "w", "psu": "ward", **roles})


def _shares(answer: gbv.Estimates) -> dict[str, float]:
    return {record["term"]: record["estimate"] for record in answer.records()}


def test_small_groups_are_drawn_further_and_large_ones_less() -> None:
    frame = _frame()
    frame["y"][-6:] = 1.0
    answer = gbv.PooledPrevalence("group").estimate(_survey(frame))
    rows = {record["domain_level"]: record for record in answer.records() if record.get("domain")}
    assert rows["e"]["direct_share"] == 1.0
    assert 0.2 < rows["e"]["estimate"] < 0.95
    assert rows["e"]["conf_high"] < 1.0
    assert rows["a"]["pooling_factor"] < rows["e"]["pooling_factor"] < 1.0
    assert abs(rows["a"]["estimate"] - rows["a"]["direct_share"]) < 0.02


def test_the_population_row_weights_groups_by_people() -> None:
    sizes = {"a": 100.0, "b": 200.0, "c": 300.0, "d": 250.0, "e": 150.0}
    answer = gbv.PooledPrevalence("group", sizes).estimate(_survey(_frame()), rng=np.random.default_rng(1))
    draws = 1 / (1 + np.exp(-answer.posterior.draws[0]))
    expected = draws[:, :5] @ np.array(list(sizes.values())) / 1000
    np.testing.assert_allclose(draws[:, 5], expected, rtol=1e-10)
    assert answer[5].term == "poststratified"
    everybody = gbv.PooledPrevalence("group", {**sizes, "a": 1e12}).estimate(
        _survey(_frame()), rng=np.random.default_rng(1)
    )
    assert everybody["poststratified"].value == pytest.approx(answer[0].value, abs=1e-6)


def test_a_group_of_the_population_that_nobody_is_in_is_predicted() -> None:
    sizes = dict.fromkeys("abcde", 100.0) | {"unseen": 100.0}
    answer = gbv.PooledPrevalence("group", sizes).estimate(_survey(_frame()))
    row = answer["group: unseen"]
    assert row.n_units == 0
    assert row.std_error > max(answer[f"group: {label}"].std_error for label in "abcd")
    extra = dict(row.extra)
    assert (extra["direct_share"], extra["n_effective"], extra["pooling_factor"]) == (None, 0.0, 1.0)


def test_clusters_make_respondents_count_less() -> None:
    frame = _frame()
    copied = {name: [value for value in column for _ in range(4)] for name, column in frame.items()}
    copied["ward"] = [f"person {i // 4:03d}" for i in range(len(copied["y"]))]
    once = gbv.PooledPrevalence("group").estimate(gbv.Survey(frame, outcome="y"))
    four = gbv.PooledPrevalence("group").estimate(gbv.Survey(copied, outcome="y", psu="ward"))
    # Four copies of a person are one unit: a design effect near four leaves about as many as there are.
    sizes = [dict(answer[0].extra)["n_effective"] for answer in (once, four)]
    assert sizes[1] == pytest.approx(sizes[0], rel=0.03)
    assert four[0].std_error == pytest.approx(once[0].std_error, rel=0.1)


def test_the_same_question_has_the_same_answer_and_a_seed_that_is_told() -> None:
    survey = _survey(_frame())
    first, second = (gbv.PooledPrevalence("group").estimate(survey) for _ in range(2))
    assert first.values.tolist() == second.values.tolist()
    assert first.provenance.seed == second.provenance.seed is not None
    assert hash(gbv.PooledPrevalence("group", {"a": 1})) == hash(gbv.PooledPrevalence("group", (("a", 1.0),)))


def test_release_hides_a_small_group_whatever_was_borrowed() -> None:
    answer = gbv.PooledPrevalence("group").estimate(_survey(_frame()))
    rows = gbv.release(answer).estimates()[0].rows
    hidden = {row["term"]: row.hidden for row in rows}
    assert hidden["group: e"]
    assert not hidden["group: a"]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"by": ()}, "needs a column"),
        ({"by": "group", "n_draws": 10}, "at least 100"),
        ({"by": "group", "population": {"a": -1.0}}, "zero or more"),
        ({"by": "group", "lonely_psu": "x"}, "lonely_psu"),
    ],
)
def test_impossible_options(options: dict[str, Any], words: str) -> None:
    with pytest.raises(gbv.DesignError, match=words):
        gbv.PooledPrevalence(**options)


def test_impossible_data() -> None:
    frame = _frame()
    with pytest.raises(gbv.DataError, match="no number for 4 groups"):
        gbv.PooledPrevalence("group", {"a": 10}).estimate(_survey(frame))
    with pytest.raises(gbv.IdentificationError, match="takes one value"):
        gbv.PooledPrevalence("group").estimate(_survey({**frame, "y": np.zeros(228)}))
    with pytest.raises(gbv.IdentificationError, match="2 groups"):
        gbv.PooledPrevalence("group").estimate(_survey({**frame, "group": ["a", "b"] * 114}))
    with pytest.raises(gbv.DataError, match="neither 0 nor 1"):
        gbv.PooledPrevalence("group").estimate(_survey({**frame, "y": frame["y"] * 3}))
    with pytest.raises(gbv.DesignError, match="one outcome"):
        gbv.PooledPrevalence("group").estimate(_survey({**frame, "z": frame["y"]}, outcome=["y", "z"]))
