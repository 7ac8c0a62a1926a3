"""Intervals of a share, standardised rates and kappa as tables: witnesses, refusals, and what `release` shows."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from statsmodels.stats.inter_rater import cohens_kappa

import gbveval as gbv


def test_kappa_agrees_with_another_library() -> None:
    rng = np.random.default_rng(3)
    a = rng.choice(["abuse", "insult", "none"], 90, p=[0.2, 0.3, 0.5])
    b = np.where(rng.random(90) < 0.7, a, rng.choice(["abuse", "insult", "none"], 90))
    theirs = cohens_kappa(pd.crosstab(a, b).to_numpy())
    row = gbv.cohen_kappa(a, b).rows[0]
    assert row[0] == pytest.approx(theirs.kappa, rel=1e-12)
    assert row[1] ** 2 == pytest.approx(theirs.var_kappa, rel=1e-9)


def test_kappa_of_categories_that_one_rater_never_used() -> None:
    table = gbv.cohen_kappa(["x"] * 12 + ["y"] * 3, ["x"] * 12 + ["z"] * 3)
    assert table.column("observed") == (0.8,)
    assert table.column("estimate")[0] < 0.8


def test_kappa_leaves_out_cases_that_one_rater_did_not_rate_and_says_so() -> None:
    a, b = ["x", "y", None, "x", "y"] * 10, ["x", "y", "x", float("nan"), "x"] * 10
    table = gbv.cohen_kappa(a, b)
    assert table.column("n") == (30,)
    assert "20 cases" in table.notes[1]


def test_kappa_has_no_value_where_both_used_one_category() -> None:
    assert gbv.cohen_kappa(["x"] * 20, ["x"] * 20).rows[0][:4] == (None, None, None, None)


def test_a_share_of_few_is_hidden_at_release() -> None:
    shown = gbv.release([gbv.proportion_intervals(3, 25), gbv.cohen_kappa(["a", "b"] * 3, ["a", "b"] * 3)])
    for item in shown.items:
        assert all(value is None or isinstance(value, str) for row in item.rows for value in row)
    kept = gbv.release(gbv.proportion_intervals(30, 100)).items[0]
    assert kept.rows[0][1] == 0.3


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda: gbv.proportion_intervals(5, 4), gbv.DataError, "events <= n"),
        (lambda: gbv.proportion_intervals(0, 0), gbv.DataError, "at least 1"),
        (lambda: gbv.proportion_intervals(1.5, 4), gbv.DataError, "whole numbers"),
        (lambda: gbv.proportion_intervals(1, 4, intervals="exact"), gbv.DesignError, "intervals are of"),
        (lambda: gbv.proportion_intervals(1, 4, level=95), gbv.DesignError, "level"),
        (lambda: gbv.direct_rate([1], [2.0, 3.0], [1, 1]), gbv.DataError, "events 1, exposure 2"),
        (lambda: gbv.direct_rate([1, -2], [2.0, 0.0], [1, 1]), gbv.DataError, "2 problems"),
        (lambda: gbv.direct_rate([1, 2], [2.0, 3.0], [0, 0]), gbv.DataError, "zero in every group"),
        (lambda: gbv.indirect_rate([1], [2.0], [0], [1.0]), gbv.DataError, "no events"),
        (lambda: gbv.cohen_kappa(["a"], ["a", "b"]), gbv.DataError, "same cases"),
        (lambda: gbv.cohen_kappa(["a", None], [None, "b"]), gbv.DataError, "0 cases"),
    ],
)
def test_impossible_questions(make: Any, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        make()


def test_rates_without_events() -> None:
    direct = gbv.direct_rate([0, 0], [10.0, 10.0], [1, 1])
    assert direct.column("estimate") == (0.0, 0.0)
    assert direct.column("conf_low") == (0.0, 0.0)
    assert all(high > 0 for high in direct.column("conf_high"))
    assert gbv.indirect_rate([0], [10.0], [5], [50.0]).rows[2][1:4] == (0.0, None, None)
