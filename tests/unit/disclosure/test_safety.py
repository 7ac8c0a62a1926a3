"""Harms by arm with zeros shown, and reliability flags apart from secrecy."""

from __future__ import annotations

import numpy as np
import pytest

import gbveval as gbv
from gbveval.core.errors import DataError, DesignError


def trial(hurt: tuple[int, int], n: tuple[int, int] = (60, 70), times: int = 1) -> gbv.Trial:
    y = [float(times * (i < x)) for x, size in zip(hurt, n, strict=True) for i in range(size)]
    arm = ["usual"] * n[0] + ["new"] * n[1]
    return gbv.Trial({"hurt": y, "arm": arm}, outcome="hurt", arm="arm", control="usual")


def shown(hurt: tuple[int, int], n: tuple[int, int] = (60, 70), **options: int) -> list[tuple[object, ...]]:
    (table,) = gbv.release(gbv.safety_table(trial(hurt, n, **options))).tables()
    return [row[2:] for row in table.rows]


def test_zeros_are_shown_and_few_are_a_range() -> None:
    assert shown((0, 4)) == [(60, 0, 0), (70, "1 to 9", "1 or more")]
    assert shown((9, 10)) == [(60, "1 to 9", "1 or more"), (70, 10, 10)]


def test_all_but_few_are_a_range_too_and_small_arms_are_hidden() -> None:
    assert shown((51, 50)) == [(60, "more than 50", None), (70, 50, 50)]
    assert shown((0, 0), n=(9, 70)) == [(None, None, None), (70, 0, 0)]


@pytest.mark.parametrize("few", range(1, 10))
def test_no_number_of_a_few_people_is_told(few: int) -> None:
    # Whatever the number is, the row reads the same.
    assert shown((few, few), times=3) == shown((1, 1))


def test_missing_answers_are_nobody_s_harm() -> None:
    y = [np.nan] * 5 + [0.0] * 55 + [2.0] * 20 + [0.0] * 40
    data = gbv.Trial({"y": y, "arm": ["a"] * 60 + ["b"] * 60}, outcome="y", arm="arm", control="a")
    (table,) = gbv.release(gbv.safety_table(data)).tables()
    assert [row[2:] for row in table.rows] == [(55, 0, 0), (60, 20, 40)]


def test_what_is_no_count_is_refused() -> None:
    data = gbv.Trial({"y": [0.5] * 30 + [1.0] * 30, "arm": ["a", "b"] * 30}, outcome="y", arm="arm", control="a")
    with pytest.raises(DataError, match="no count"):
        gbv.safety_table(data)
    with pytest.raises(DataError, match="1 kinds are no outcomes"):
        gbv.safety_table(data, ["z"])


def test_a_safety_table_has_no_display_of_its_own() -> None:
    table = gbv.safety_table(trial((7, 8)))
    assert repr(table) == "<SafetyTable: 1 kinds of event in 2 arms; release() shows it>"
    with pytest.raises(ValueError, match="one number an arm"):
        gbv.SafetyTable(("a",), ("x", "y"), ((1,),), ((1,),), ((1,),))


# -- reliability ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("p", "n", "flagged"), [(0.5, 400, ""), (0.5, 25, "effective sample size 25"), (0.02, 100, "times the proportion")]
)
def test_a_simple_random_sample_has_its_own_size_as_effective_size(p: float, n: int, flagged: str) -> None:
    # The log odds of a proportion of a simple random sample have the variance 1 / (n p (1 - p)).
    error = 1.0 / np.sqrt(n * p * (1 - p))
    ends = [1 / (1 + np.exp(-(np.log(p / (1 - p)) + z * error))) for z in (-1.96, 1.96)]
    flag = gbv.Reliability().of_proportion(p, log_odds_error=error, low=ends[0], high=ends[1])
    assert flagged in flag
    assert bool(flag) is bool(flagged)


def test_a_wide_interval_and_a_large_relative_error_are_flagged() -> None:
    rule = gbv.Reliability()
    assert "interval 0.31 wide" in rule.of_proportion(0.5, log_odds_error=0.1, low=0.35, high=0.66)
    # Narrow in itself, however wide for its size.
    assert rule.of_proportion(0.01, log_odds_error=0.1, low=0.0, high=0.05) == ""
    assert rule.of_mean(2.0, 0.6) == ""
    assert "relative standard error 35 %" in rule.of_mean(2.0, 0.7)
    with pytest.raises(DesignError, match="above 0"):
        gbv.Reliability(max_width=0.0)


def test_flags_stand_beside_numbers_that_are_shown_and_nowhere_else() -> None:
    rng = np.random.default_rng(5)
    group = np.repeat(["few", "some", "many"], [12, 40, 800])
    y = (rng.random(group.size) < 0.5).astype(float)
    y[:12] = [1.0, 0.0] * 6
    answer = gbv.Prevalence(by="group").estimate(gbv.Survey({"y": y, "group": group}, outcome="y"))
    policy = gbv.Policy(min_n=5)
    plain = gbv.release(answer, policy).estimates()[0].rows
    assert all("u:" not in row.note for row in plain)
    flagged = gbv.release(answer, policy, reliability=gbv.Reliability()).estimates()[0].rows
    notes = {str(row["term"]): (row.hidden, row.note) for row in flagged}
    few = next(value for key, value in notes.items() if "few" in key)
    many = next(value for key, value in notes.items() if "many" in key)
    assert few[0] is False
    assert few[1].startswith("u: low reliability")
    assert many == (False, "")
    hidden = gbv.release(answer, reliability=gbv.Reliability()).estimates()[0].rows
    assert all("u:" not in row.note for row in hidden if row.hidden)
