"""Win probabilities against scipy's Brunner-Munzel test, all pairs by brute force, and closed forms."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats

import gbveval as gbv
from gbveval.numerics.win_probability import placements, wins

ALL = ("win_probability", "win_difference", "win_odds", "win_ratio")


def trial(frame: dict[str, object], **roles: object) -> gbv.Trial:
    return gbv.Trial(frame, outcome="y", arm="arm", control="usual", **roles)


def counts(rng: np.random.Generator, n: int) -> dict[str, object]:
    arm = np.arange(n) % 2
    return {"y": rng.poisson(1.0 + 0.6 * arm).astype(float), "arm": np.where(arm == 1, "new", "usual")}


def by_hand(frame: dict[str, object]) -> tuple[float, float]:
    y, arm = np.asarray(frame["y"]), np.asarray(frame["arm"])
    difference = y[arm == "new"][:, None] - y[arm == "usual"][None, :]
    return float((difference > 0).mean()), float((difference < 0).mean())


def test_error_and_degrees_of_freedom_are_brunner_and_munzels() -> None:
    frame = counts(np.random.default_rng(1), 61)
    found = gbv.WinProbability(contrasts=("win_difference",)).estimate(trial(frame))
    y, arm = np.asarray(frame["y"]), np.asarray(frame["arm"])
    expected = stats.brunnermunzel(y[arm == "usual"], y[arm == "new"])
    # The same sums in another order.
    assert found[0].value / found[0].std_error == pytest.approx(expected.statistic, rel=1e-10)
    assert found.records()[0]["p_value"] == pytest.approx(expected.pvalue, rel=1e-8)


def test_every_contrast_follows_from_all_pairs() -> None:
    frame = counts(np.random.default_rng(2), 80)
    win, loss = by_hand(frame)
    p = win + (1 - win - loss) / 2
    found = gbv.WinProbability(contrasts=ALL).estimate(trial(frame))
    shown = found.tidy()["estimate"].to_numpy()
    assert shown == pytest.approx([p, win - loss, p / (1 - p), win / loss], rel=1e-12)
    # The delta method: d logit p = d(win - loss) / (2 p (1 - p)).
    assert found[0].std_error == pytest.approx(found[1].std_error / (2 * p * (1 - p)), rel=1e-12)
    # p and the odds are one quantity.
    assert found.covariance[0, 2] == pytest.approx(found.covariance[0, 0], rel=1e-12)
    assert dict(found[0].extra)["ties"] == pytest.approx(1 - win - loss, abs=1e-12)


def test_lower_is_the_mirror_of_higher() -> None:
    data = trial(counts(np.random.default_rng(3), 50))
    high, low = (gbv.WinProbability(better=way).estimate(data)[0] for way in ("higher", "lower"))
    assert low.value == pytest.approx(-high.value, rel=1e-12)
    assert low.std_error == pytest.approx(high.std_error, rel=1e-12)


def test_the_win_ratio_has_the_variance_of_a_bootstrap() -> None:
    rng = np.random.default_rng(4)
    frame = counts(rng, 200)
    found = gbv.WinProbability(contrasts=("win_ratio",)).estimate(trial(frame))[0]
    y, arm = np.asarray(frame["y"]), np.asarray(frame["arm"])
    draws = []
    for _ in range(600):
        again = [rng.choice(y[arm == label], 100) for label in ("usual", "new")]
        win, loss = by_hand({"y": np.concatenate(again), "arm": np.repeat(["usual", "new"], 100)})
        draws.append(np.log(win / loss))
    # 600 draws give a standard deviation to 3 per cent; four of those.
    assert found.std_error == pytest.approx(np.std(draws), rel=0.12)


def test_clusters_of_one_are_people() -> None:
    frame = counts(np.random.default_rng(5), 40)
    plain = gbv.WinProbability().estimate(trial(frame))[0]
    single = gbv.WinProbability().estimate(trial({**frame, "g": np.arange(40)}, cluster="g"))[0]
    assert (single.value, single.std_error) == pytest.approx((plain.value, plain.std_error), rel=1e-10)


def test_equal_clusters_have_the_variance_of_their_mean_placements() -> None:
    rng = np.random.default_rng(6)
    frame = {"y": rng.normal(size=60), "arm": np.repeat(["usual", "new"], 30), "g": np.arange(60) // 6}
    found = gbv.WinProbability(contrasts=("win_difference",)).estimate(trial(frame, cluster="g"))[0]
    y = frame["y"].reshape(2, 30)
    own = np.array([[(y[0] < v).mean() for v in y[1]], [(y[1] < v).mean() for v in y[0]]]).reshape(2, 5, 6).mean(axis=2)
    # Two samples of five cluster means; the difference 2 p - 1 varies twice as much as p.
    expected = 2 * np.sqrt(own.var(axis=1, ddof=1).sum() / 5)
    assert found.std_error == pytest.approx(expected, rel=1e-10)
    assert found.df == pytest.approx(8.0)
    assert found.n_clusters == 10


def test_strata_are_compared_within_and_averaged_by_size() -> None:
    rng = np.random.default_rng(7)
    parts = [counts(rng, 30), counts(rng, 60)]
    frame = {key: np.concatenate([np.asarray(part[key]) for part in parts]) for key in ("y", "arm")}
    frame["s"] = np.repeat(["a", "b"], [30, 60])
    found = gbv.WinProbability(contrasts=("win_difference",)).estimate(trial(frame, stratum="s"))[0]
    own = [gbv.WinProbability(contrasts=("win_difference",)).estimate(trial(part))[0] for part in parts]
    by_pairs = [win - loss for win, loss in map(by_hand, parts)]
    assert found.value == pytest.approx(by_pairs[0] / 3 + 2 * by_pairs[1] / 3, rel=1e-12)
    assert found.std_error == pytest.approx(np.hypot(own[0].std_error / 3, 2 * own[1].std_error / 3), rel=1e-10)


def test_weights_count_people_several_times_and_zero_leaves_them_out() -> None:
    rng = np.random.default_rng(8)
    frame = counts(rng, 50)
    times = rng.integers(0, 4, 50)
    weighted = gbv.WinProbability().estimate(trial({**frame, "w": times.astype(float)}, weight="w"))
    repeated = {key: np.repeat(np.asarray(value), times) for key, value in frame.items()}
    win, loss = by_hand(repeated)
    assert weighted.tidy()["estimate"].iloc[0] == pytest.approx((1 + win - loss) / 2, rel=1e-12)
    assert weighted.check("weights y").status == "info"
    equal = gbv.WinProbability().estimate(trial({**frame, "w": np.full(50, 3.0)}, weight="w"))[0]
    plain = gbv.WinProbability().estimate(trial(frame))[0]
    # HC2 of the regression on an arm is Neyman's variance.
    assert equal.std_error == pytest.approx(plain.std_error, rel=1e-10)
    sizes = {**frame, "w": np.full(50, 2.0), "g": np.arange(50) // 2 * 2 + np.arange(50) % 2}
    assert gbv.WinProbability().estimate(trial(sizes, weight="w", cluster="g"))[0].std_error > 0


def test_several_arms_share_the_control() -> None:
    rng = np.random.default_rng(9)
    frame = {"y": rng.normal(size=90), "arm": np.tile(["usual", "new", "newer"], 30)}
    found = gbv.WinProbability().estimate(trial(frame))
    assert [row.term for row in found.terms] == ["new vs usual", "newer vs usual"]
    assert found.covariance[0, 1] > 0
    assert found.joint_test()[0].p_value is not None


def test_a_tested_half_is_shown_with_its_p_value() -> None:
    row = gbv.WinProbability().estimate(trial(counts(np.random.default_rng(10), 80))).records()[0]
    assert row["p_value"] is not None
    assert 0 < row["conf_low"] < row["estimate"] < row["conf_high"] < 1


def test_odds_that_are_not_finite_are_null_with_a_reason() -> None:
    apart = trial({"y": [1.0, 2.0, 3.0, 7.0, 8.0, 9.0], "arm": ["usual"] * 3 + ["new"] * 3})
    found = gbv.WinProbability(contrasts=ALL).estimate(apart)
    assert [row.value for row in found.terms] == [None, 1.0, None, None]
    assert all(row.std_error is None and row.reason for row in found.terms)
    tied = gbv.WinProbability().estimate(trial({"y": [2.0] * 6, "arm": ["usual"] * 3 + ["new"] * 3}))
    assert (tied[0].value, tied[0].std_error) == (0.0, None)
    assert "tied" in tied[0].reason
    assert tied.check("ties y").status == "info"


def test_designs_it_does_not_fit_are_refused() -> None:
    frame = {"y": np.arange(8.0), "arm": ["usual", "new"] * 4, "g": list("abcdefgh"), "p": list("aabbccdd")}
    with pytest.raises(gbv.DesignError, match="pair"):
        gbv.WinProbability().estimate(trial(frame, pair="p"))
    lacking = {**frame, "arm": ["usual"] * 4 + ["usual", "new", "usual", "new"], "s": ["a"] * 4 + ["b"] * 4}
    with pytest.raises(gbv.IdentificationError, match="1 strata have an arm with fewer than two units"):
        gbv.WinProbability().estimate(trial(lacking, stratum="s"))
    one = {**frame, "arm": ["usual"] * 6 + ["new"] * 2, "g": [*list("aabbcc"), "d", "d"]}
    with pytest.raises(gbv.IdentificationError, match="fewer than two clusters"):
        gbv.WinProbability().estimate(trial(one, cluster="g"))
    gone = {**frame, "y": np.where(np.asarray(frame["arm"]) == "new", np.nan, 1.0)}
    with pytest.raises(gbv.IdentificationError, match="fewer than two units"):
        gbv.WinProbability().estimate(trial(gone))
    with pytest.raises(gbv.DesignError, match="better must be"):
        gbv.WinProbability(better="smaller")
    with pytest.raises(gbv.DesignError, match="contrasts"):
        gbv.WinProbability(contrasts=("odds",))


def test_categories_without_units_and_missing_outcomes_are_no_obstacle() -> None:
    frame = counts(np.random.default_rng(11), 40)
    y = np.asarray(frame["y"]).copy()
    y[:3] = np.nan
    arms = pd.Categorical(frame["arm"], categories=["usual", "new", "never used"])
    found = gbv.WinProbability().estimate(trial(pd.DataFrame({"y": y, "arm": arms})))
    assert found[0].n_units == 37
    assert found.check("missing outcome")


def test_a_million_pairs_cost_a_sort() -> None:
    rng = np.random.default_rng(12)
    y = rng.integers(0, 5, 400_000).astype(float)
    treated = np.arange(400_000) % 2 == 1
    found = wins(y, treated)
    shares = [np.bincount(y[treated == arm].astype(int), minlength=5) / 200_000 for arm in (False, True)]
    below = np.concatenate([[0], np.cumsum(shares[0])[:-1]])
    assert found.win == pytest.approx(float(shares[1] @ below), rel=1e-9)


def test_placements_with_weights() -> None:
    below, above = placements(np.array([2.0]), np.array([1.0, 2.0, 3.0]), np.array([1.0, 1.0, 2.0]))
    assert (below[0], above[0]) == (0.25, 0.5)
