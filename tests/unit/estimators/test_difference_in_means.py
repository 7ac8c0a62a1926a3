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


# -- clusters within strata -------------------------------------------------------------------------------------------


def _schools(seed: int, *, arms: tuple[str, ...] = ("usual", "new"), shares: tuple[int, ...] = (2, 4)) -> dict:
    """Three districts; in each, `shares` schools an arm, of different sizes."""
    rng = np.random.default_rng(seed)
    frame: dict = {"y": [], "arm": [], "school": [], "district": []}
    for district in range(3):
        # District 1 turns the shares round, so that probabilities differ between districts.
        counts = shares if district != 1 else shares[::-1]
        for arm, count in zip(arms, counts, strict=True):
            for number in range(count):
                size = int(rng.integers(3, 25))
                level = 3.0 * district + rng.normal()
                frame["y"] += list(level + rng.normal(size=size) + (arm != arms[0]) * 0.5 * district)
                frame["arm"] += [arm] * size
                frame["school"] += [f"{district} {arm} {number}"] * size
                frame["district"] += [f"d{district}"] * size
    return frame


def _trial(frame: dict, **roles: object) -> gbv.Trial:
    return gbv.Trial(frame, outcome="y", arm="arm", control="usual", cluster="school", stratum="district", **roles)


@pytest.mark.parametrize("arms", [("usual", "new"), ("usual", "call", "visit")])
def test_clusters_in_strata_are_the_interacted_regression(arms: tuple[str, ...]) -> None:
    """Lin's regression with all products of arms and strata is saturated; statsmodels fits its means.

    CR2 and its degrees of freedom come from `LinAdjusted`, which is compared with R's clubSandwich elsewhere.
    """
    import statsmodels.formula.api as smf

    frame = _schools(3, arms=arms, shares=(2, 4, 3)[: len(arms)])
    found = gbv.DifferenceInMeans().estimate(_trial(frame))
    lin = gbv.LinAdjusted().estimate(_trial(frame))
    fit = smf.ols("y ~ C(arm, Treatment('usual')) * C(district)", frame).fit()
    share = {d: np.mean(np.array(frame["district"]) == d) for d in ("d0", "d1", "d2")}
    for number, arm in enumerate(arms[1:]):
        cell = {d: fit.predict({"arm": [arm, "usual"], "district": [d, d]}) for d in share}
        value = sum(share[d] * (cell[d][0] - cell[d][1]) for d in share)
        # A regression solved by pseudo-inverse against sums.
        assert found[number].value == pytest.approx(value, rel=1e-9)
        assert found[number].std_error == pytest.approx(lin[number].std_error, rel=1e-9)
        assert found[number].df == pytest.approx(lin[number].df, rel=1e-8)
    np.testing.assert_allclose(
        found.covariance, lin.covariance[: len(arms) - 1, : len(arms) - 1], rtol=1e-9, atol=1e-12
    )


def test_a_contrast_of_two_arms_in_strata_is_their_own_comparison() -> None:
    """Visit against call, from two comparisons with control or with call as the control: control cancels."""
    frame = _schools(4, arms=("usual", "call", "visit"), shares=(3, 3, 2))
    found = gbv.DifferenceInMeans().estimate(_trial(frame))
    row = found.contrast({"visit vs usual": 1.0, "call vs usual": -1.0}, name="visit vs call")[0]
    other = gbv.Trial(frame, outcome="y", arm="arm", control="call", cluster="school", stratum="district")
    direct = gbv.DifferenceInMeans().estimate(other)["visit vs call"]
    assert row.value == pytest.approx(direct.value, rel=1e-12)
    assert row.std_error == pytest.approx(direct.std_error, rel=1e-12)


def test_shares_that_differ_between_strata_do_not_confound() -> None:
    """Districts differ by 3, effects by 0.5: the mean over draws is the effect over participants, within its error."""
    errors = []
    for seed in range(300):
        frame = _schools(seed)
        district = np.array([int(d[1]) for d in frame["district"]])
        errors.append(gbv.DifferenceInMeans().estimate(_trial(frame))[0].value - 0.5 * district.mean())
    # Schools' sizes do not depend on anything, so the ratio has no bias to speak of; four standard errors.
    assert abs(np.mean(errors)) < 4.0 * np.std(errors) / np.sqrt(300)


def test_a_stratum_with_one_cluster_in_an_arm_is_refused_with_a_way_out() -> None:
    frame = _schools(5, shares=(1, 3))
    with pytest.raises(gbv.IdentificationError, match=r"3 of 3 strata have fewer than two clusters.*Ancova") as caught:
        gbv.DifferenceInMeans().estimate(_trial(frame))
    assert "d0" not in str(caught.value)
    assert gbv.Ancova().estimate(_trial(frame))[0].std_error is not None


def test_a_stratum_seen_in_a_third_arm_only_is_refused() -> None:
    frame = _schools(6, arms=("usual", "call", "visit"), shares=(2, 2, 2))
    arm, district = np.array(frame["arm"]), np.array(frame["district"])
    frame["y"] = np.where((district == "d2") & (arm != "visit"), np.nan, np.array(frame["y"]))
    for roles in ({"cluster": "school"}, {}):
        trial = gbv.Trial(frame, outcome="y", arm="arm", control="usual", stratum="district", **roles)
        with pytest.raises(gbv.IdentificationError, match="1 of 3 strata have fewer than two"):
            gbv.DifferenceInMeans().estimate(trial)


def test_weights_with_clusters_and_strata_are_refused_by_name() -> None:
    frame = _schools(7)
    frame["w"] = np.ones(len(frame["y"]))
    with pytest.raises(gbv.DesignError, match=r"cluster and stratum and weight together.*LinAdjusted and Ancova"):
        gbv.DifferenceInMeans().estimate(_trial(frame, weight="w"))
    assert gbv.LinAdjusted().estimate(_trial(frame, weight="w"))[0].std_error is not None


def test_a_large_constant_costs_no_digits_of_clusters_in_strata() -> None:
    frame = _schools(8)
    plain = gbv.DifferenceInMeans().estimate(_trial(frame))[0]
    frame["y"] = np.array(frame["y"]) + 1e8
    moved = gbv.DifferenceInMeans().estimate(_trial(frame))[0]
    # Outcomes of 1e8 are stored to 1.5e-8.
    assert moved.value == pytest.approx(plain.value, abs=1e-7)
    assert moved.std_error == pytest.approx(plain.std_error, abs=1e-7)
