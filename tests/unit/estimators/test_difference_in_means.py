"""What the difference in means counts, weighs and gives away."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

import gbveval as gbv


def test_a_contrast_has_the_degrees_of_freedom_of_the_arms_it_compares() -> None:
    """A against B through a large noisy control: the control cancels, and with it its degrees of freedom."""
    rng = np.random.default_rng(3)
    a, b, c = rng.normal(size=3), rng.normal(size=4), 30 * rng.normal(size=100)
    frame = {"y": np.concatenate([a, b, c]), "arm": ["a"] * 3 + ["b"] * 4 + ["c"] * 100}
    found = gbv.DifferenceInMeans().estimate(gbv.Trial(frame, outcome="y", arm="arm", control="c"))
    row = found.contrast({"a vs c": 1.0, "b vs c": -1.0}, name="a vs b")[0]
    welch = stats.ttest_ind(a, b, equal_var=False)
    assert row.df == pytest.approx(welch.df, rel=1e-10)
    assert row.value / row.std_error == pytest.approx(welch.statistic, rel=1e-10)


def test_every_arm_is_compared_over_the_same_people() -> None:
    """Two strata of 200 with effects 1 and 5 of arm a: the average over participants is 3, however arms are sized."""
    frame = {"y": [], "arm": [], "s": []}
    for stratum, sizes, effect in (("one", (90, 20, 90), 1.0), ("two", (20, 160, 20), 5.0)):
        for arm, size in zip("cab", sizes, strict=True):
            frame["arm"] += [arm] * size
            frame["s"] += [stratum] * size
            frame["y"] += list((effect if arm == "a" else 0.0) + np.tile([-0.5, 0.5], size // 2))
    found = gbv.DifferenceInMeans().estimate(gbv.Trial(frame, outcome="y", arm="arm", control="c", stratum="s"))
    assert found["a vs c"].value == pytest.approx(3.0, rel=1e-12)


def test_units_of_weight_zero_take_no_part() -> None:
    rng = np.random.default_rng(1)
    frame = {"y": rng.normal(size=20), "arm": ["u", "n"] * 10, "w": np.r_[np.zeros(8), np.ones(12)]}
    found = gbv.DifferenceInMeans().estimate(gbv.Trial(frame, outcome="y", arm="arm", control="u", weight="w"))
    assert found[0].n_units == 12
    alone = {**frame, "w": np.where(np.array(frame["arm"]) == "n", 0.0, 1.0)}
    with pytest.raises(gbv.GbvevalError, match="arm 'n'"):
        gbv.DifferenceInMeans().estimate(gbv.Trial(alone, outcome="y", arm="arm", control="u", weight="w"))


@pytest.mark.parametrize("code", [(0.0, 1.0), (1.0, 2.0), (-3.5, 0.25)])
def test_a_rare_outcome_is_hidden_however_it_is_coded(code: tuple[float, float]) -> None:
    y = [code[1]] * 12 + [code[0]] * 18 + [code[1]] + [code[0]] * 29
    frame = {"y": y, "arm": ["u"] * 30 + ["n"] * 30}
    shown = gbv.release(gbv.DifferenceInMeans().estimate(gbv.Trial(frame, outcome="y", arm="arm", control="u")))
    assert shown.estimates()[0].rows[0].hidden


def test_few_people_with_incidents_are_hidden_in_counts_too() -> None:
    y = [0] * 25 + [1, 2, 1, 5, 1] + [0] * 29 + [7]
    frame = {"y": y, "arm": ["u"] * 30 + ["n"] * 30}
    shown = gbv.release(gbv.DifferenceInMeans().estimate(gbv.Trial(frame, outcome="y", arm="arm", control="u")))
    assert shown.estimates()[0].rows[0].hidden


def test_pairs_count_only_those_that_are_complete() -> None:
    rng = np.random.default_rng(2)
    y = rng.normal(size=40)
    y[:34:2] = np.nan
    frame = {"y": y, "arm": ["u", "n"] * 20, "p": np.repeat(np.arange(20), 2)}
    found = gbv.DifferenceInMeans().estimate(gbv.Trial(frame, outcome="y", arm="arm", control="u", pair="p"))
    assert [cell.n for cell in found[0].support] == [3, 3]
    assert gbv.release(found).estimates()[0].rows[0].hidden


def test_uniform_bands_with_few_degrees_of_freedom_cover() -> None:
    """Three clusters an arm and two outcomes: the band covers both effects together about as often as it says."""
    hits = []
    for seed in range(400):
        rng = np.random.default_rng(seed)
        cluster = np.repeat(np.arange(6), 5)
        shared = rng.normal(size=(6, 2))[cluster]
        y = shared + rng.normal(size=(30, 2))
        frame = {"a": y[:, 0], "b": y[:, 1], "arm": np.where(cluster < 3, "u", "n").tolist(), "k": cluster}
        trial = gbv.Trial(frame, outcome=["a", "b"], arm="arm", control="u", cluster="k")
        low, high = gbv.DifferenceInMeans().estimate(trial).with_band(n_draws=2000, seed=1).intervals()
        hits.append(bool(np.all((low <= 0) & (high >= 0))))
    # 400 draws have a standard error of 0.011; a normal critical value covered 0.81 here.
    assert 0.90 <= np.mean(hits) <= 0.995
