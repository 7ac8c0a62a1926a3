"""The assignment log: each planted fault is found and counted, a clean log is clean, and nobody is named."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats

import gbveval as gbv
from gbveval.data._frame import Labels
from gbveval.estimators.diagnostics.assignment_log import ALPHA, _chance, _Log

UNIT = "account-77123"


def log(blocks: int = 20, seed: int = 1) -> pd.DataFrame:
    """Return a clean log: blocks of six, two arms, a covariate from before, an answer from after."""
    rng = np.random.default_rng(seed)
    n = 6 * blocks
    reached = rng.binomial(1, 0.3, n)
    return pd.DataFrame(
        {
            "who": [f"account-{i}" for i in range(n)],
            "block": np.repeat(np.arange(blocks), 6),
            "arm": np.concatenate([rng.permutation(["usual", "message"] * 3) for _ in range(blocks)]),
            "when": pd.Timestamp("2018-09-01") + pd.to_timedelta(np.arange(n), unit="h"),
            "posts_before": rng.poisson(3, n),
            "asked": pd.Timestamp("2018-08-01") + pd.to_timedelta(np.arange(n), unit="h"),
            "reached": reached,
            "answer": np.where(reached == 1, rng.choice(["yes", "no"], n), None),
        }
    )


def checks(data: Any, **options: Any) -> dict[str, gbv.Check]:
    found = gbv.check_assignment_log(data, **{"arm": "arm", "control": "usual", "unit": "who", **options})
    return {check.name: check for check in found}


def test_a_clean_log_is_clean() -> None:
    data = log().assign(got=lambda d: (d["arm"] == "message").astype(int))
    found = checks(
        data,
        block="block",
        block_size=6,
        time="when",
        start="2018-09-01",
        end=pd.Timestamp("2018-12-01"),
        received="got",
        covariates=["posts_before"],
        measured={"posts_before": "asked"},
        reached="reached",
    )
    assert {check.status for check in found.values()} == {"ok"}
    assert set(found) == {
        *("repeated units", "missing arms", "assignment window", "ratio", "ratio by block", "blocks", "exposure"),
        "covariate: posts_before",
    }


def test_repeated_units_and_units_in_two_arms() -> None:
    data = log()
    again = data.iloc[[0, 1, 1]].assign(
        arm=lambda d: ["message" if d["arm"].iloc[0] == "usual" else "usual", *d["arm"][1:]]
    )
    found = checks(pd.concat([data, again]))["repeated units"]
    assert found.status == "warn"
    assert "more than once: 2 (5 rows); in more than one arm: 1" in found.message


def test_missing_arms_and_the_window() -> None:
    data = log()
    data.loc[[3, 4], "arm"] = None
    data.loc[5, "when"] = pd.NaT
    found = checks(data, time="when", start="2018-09-01T02:00", end="2018-09-05T22:00")
    assert "missing in 2 rows" in found["missing arms"].message
    # Hours 0 and 1 come before the window; of hours 0 to 119 only 119 comes after hour 118.
    assert "2 assignments before the window, 1 after it, 1 without a time" in found["assignment window"].message
    numbers = checks(data.assign(when=np.arange(len(data))), time="when", end=100)
    assert "0 assignments before the window, 19 after it" in numbers["assignment window"].message


def test_the_ratio_is_tested_exactly() -> None:
    data = pd.DataFrame({"who": range(90), "arm": ["usual"] * 60 + ["message"] * 30})
    p_value = stats.binomtest(30, 90, 0.5).pvalue
    assert f"p = {p_value:.4g}" in checks(data)["ratio"].message
    assert checks(data, ratio={"usual": 2, "message": 1})["ratio"].status == "ok"
    three = pd.DataFrame({"who": range(300), "arm": ["usual"] * 200 + ["a"] * 50 + ["b"] * 50})
    # Three tests, one for each arm against the rest: the smallest, three times.
    p_value = 3 * min(stats.binomtest(k, 300, 1 / 3).pvalue for k in (200, 50))
    assert f"p = {p_value:.4g}" in checks(three)["ratio"].message
    assert checks(three)["ratio"].status == "warn"
    with pytest.raises(gbv.DesignError, match="one number above zero for each arm"):
        checks(data, ratio={"usual": 1, "letter": 1})


def test_impossible_blocks() -> None:
    data = log()
    broken = data.copy()
    broken.loc[broken["block"] == 2, "arm"] = "message"
    broken.loc[broken.index[broken["block"] == 5][:1], "block"] = 6
    found = checks(broken, block="block", block_size=6)
    assert found["blocks"].status == "warn"
    # Block 2 holds six of one arm; block 6 holds seven units, so four of one arm.
    assert "may hold: 2 of 20" in found["blocks"].message
    assert "fewer than 6 units: 1." in found["incomplete blocks"].message
    assert "single arm, which say nothing about the effect: 1." in found["blocks with one arm"].message
    without = checks(broken, block="block")["blocks"]
    assert "from the ratio: 1 of 20" in without.message
    with pytest.raises(gbv.DesignError, match="cannot hold"):
        checks(data, block="block", block_size=5)


def test_one_bad_block_shows_among_many() -> None:
    data = pd.DataFrame({"who": range(400), "block": np.repeat(np.arange(10), 40), "arm": ["usual", "message"] * 200})
    data.loc[data["block"] == 3, "arm"] = ["usual"] * 38 + ["message"] * 2
    found = checks(data, block="block")["ratio by block"]
    assert found.status == "warn"
    assert f"{10 * stats.binomtest(2, 40, 0.5).pvalue:.4g}" in found.message


def test_exposure_against_arm() -> None:
    data = log().assign(got=lambda d: (d["arm"] == "message").astype(float))
    usual, message = (data.index[data["arm"] == arm] for arm in ("usual", "message"))
    data.loc[usual[:2], "got"] = 1.0
    data.loc[message[:3], "got"] = 0.0
    data.loc[message[3], "got"] = np.nan
    found = checks(data, received="got")
    assert "2 of 60 control rows received" in found["control exposed"].message
    assert "3 of 60 assigned rows did not" in found["assigned not exposed"].message
    assert "missing in 1 assigned row" in found["exposure unknown"].message


def test_covariates_that_come_after() -> None:
    data = log(40)
    data["moved"] = data["posts_before"] + 3.0 * (data["arm"] == "message")
    data["asked"] = data["when"] - pd.Timedelta(days=1)
    data.loc[[0, 7, 9], "asked"] = data["when"].iloc[[0, 7, 9]] + pd.Timedelta(minutes=5)
    found = checks(
        data,
        block="block",
        time="when",
        covariates=["posts_before", "moved", "answer"],
        measured={"posts_before": "asked"},
        reached="reached",
    )
    assert "after assignment in 3 rows" in found["post-treatment covariate: posts_before"].message
    assert "more than the lot allows" in found["post-treatment covariate: moved"].message
    answer = found["post-treatment covariate: answer"].message
    seen = int(data["reached"].sum())
    assert f"there for {seen} rows, all of them with 'reached' 1" in answer
    assert f"missing in all {240 - seen} others" in answer
    # Being missing in one arm only is a difference as well.
    gone = data.assign(posts_before=data["posts_before"].where(data["arm"] == "usual"))
    assert "post-treatment covariate: posts_before" in checks(gone, covariates=["posts_before"])


def test_covariates_from_before_are_seldom_accused() -> None:
    """The test is exact at one in a thousand: of 300 clean logs hardly any is accused (binomial bound at 1e-4)."""
    accused = 0
    for seed in range(300):
        rng = np.random.default_rng(seed)
        arm = np.tile([0, 1], 12)
        small = _Log(Labels(arm.astype(np.intp), ("usual", "message")), "arm", None, None)
        p_value = _chance(small, rng.normal(size=(24, 1)), rng.random(24) < 0.8)
        accused += p_value is not None and p_value < ALPHA
    assert accused <= stats.binom.isf(1e-4, 300, ALPHA)


def test_large_logs_use_the_limit() -> None:
    rng = np.random.default_rng(3)
    n = 60_000
    data = {"who": np.arange(n), "arm": np.where(rng.permutation(n) % 2, "message", "usual"), "x": rng.normal(size=n)}
    found = checks(data, covariates=["x"])
    assert found["covariate: x"].status == "ok"


def test_nobody_is_named_and_nothing_is_quoted() -> None:
    data = log()
    data.loc[[0, 1], "who"] = UNIT
    data["answer"] = np.where(data["reached"] == 1, "she said 60456", None)
    found = checks(
        data, block="block", block_size=6, covariates=["answer"], reached="reached", time="when", end="2018-09-02"
    )
    text = " ".join(f"{check.message} {check.public}" for check in found.values())
    assert UNIT not in text
    assert "60456" not in text
    # What leaves in place of a message that counts holds no count.
    assert not any(ch.isdigit() for ch in found["repeated units"].public)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"arm": "arms"}, "'arms'.*absent"),
        ({"control": "nobody"}, "not among the labels"),
        ({"time": "answer"}, "dates, times or numbers"),
        ({"received": "answer"}, "numbers were expected"),
    ],
)
def test_columns_that_cannot_be_read(options: dict[str, str], text: str) -> None:
    with pytest.raises(gbv.DataError, match=text):
        checks(log(), **options)


def test_moments_that_cannot_be_read() -> None:
    with pytest.raises(gbv.DesignError, match="end is not a moment"):
        checks(log(), time="when", end="next Tuesday")
    with pytest.raises(gbv.DesignError, match="give time="):
        checks(log(), end="2018-09-02")
    zoned = log().assign(when=lambda d: d["when"].dt.tz_localize("UTC"))
    assert checks(zoned, time="when", start="2018-09-01")["assignment window"].status == "ok"
