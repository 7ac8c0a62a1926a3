"""Compliers, assignment probabilities and cluster summaries against other packages and closed forms."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from linearmodels.iv import IV2SLS
from scipy import stats

import gbveval as gbv
from gbveval.numerics.inference import anderson_rubin_interval


def take_up(seed: int = 1, n: int = 120, share: float = 0.6) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    treated = np.arange(n) % 2 == 1
    took = treated & (rng.random(n) < share)
    x = rng.normal(size=n)
    return {
        "y": x + took + rng.normal(size=n),
        "arm": np.where(treated, "new", "usual"),
        "took": took.astype(float),
        "x": x,
        "school": np.arange(n) // 2 % 12 * 2 + treated,
    }


def trial(frame: dict[str, Any], **roles: Any) -> gbv.Trial:
    return gbv.Trial(frame, arm="arm", control="usual", outcome="y", **roles)


def peer(frame: dict[str, Any], **how: Any) -> Any:
    exogenous = np.column_stack([np.ones(frame["y"].size), frame["x"]])
    instrument = (frame["arm"] == "new").astype(float)
    return IV2SLS(frame["y"], exogenous, frame["took"], instrument).fit(**how)


def test_two_stage_least_squares_is_that_of_linearmodels() -> None:
    frame = take_up()
    expected = peer(frame, cov_type="robust")
    found = gbv.ComplierAverage(std_error="HC0").estimate(trial(frame, received="took", covariates=["x"]))
    assert found[0].value == pytest.approx(expected.params.iloc[2], rel=1e-10)
    assert found[0].std_error == pytest.approx(expected.std_errors.iloc[2], rel=1e-10)
    assert found["x"].value == pytest.approx(expected.params.iloc[1], rel=1e-10)


def test_clustered_errors_are_those_of_linearmodels() -> None:
    frame = take_up()
    expected = peer(frame, cov_type="clustered", clusters=frame["school"])
    estimator = gbv.ComplierAverage(std_error="CR0")
    found = estimator.estimate(trial(frame, received="took", covariates=["x"], cluster="school"))
    assert found[0].std_error == pytest.approx(expected.std_errors.iloc[2], rel=1e-10)


def test_without_covariates_it_is_the_ratio_of_two_effects_of_assignment() -> None:
    frame = take_up()
    found = gbv.ComplierAverage().estimate(trial(frame, received="took"))
    effect = gbv.Ancova().estimate(trial(frame))[0].value
    uptake = gbv.Ancova().estimate(gbv.Trial(frame, outcome="took", arm="arm", control="usual"))[0]
    assert found[0].value == pytest.approx(effect / uptake.value, rel=1e-10)
    assert found["first stage: new vs usual"].value == pytest.approx(uptake.value, rel=1e-10)
    assert found["first stage: new vs usual"].std_error == pytest.approx(uptake.std_error, rel=1e-10)


def test_perfect_compliance_gives_the_effect_of_assignment() -> None:
    frame = take_up(share=1.1)
    found = gbv.ComplierAverage().estimate(trial(frame, received="took", covariates=["x"]))
    plain = gbv.Ancova().estimate(trial(frame, covariates=["x"]))
    assert found[0].value == pytest.approx(plain[0].value, rel=1e-10)
    assert found[0].std_error == pytest.approx(plain[0].std_error, rel=1e-9)


def test_a_weak_first_stage_gets_the_anderson_rubin_set() -> None:
    frame = take_up(seed=4, n=80, share=0.12)
    found = gbv.ComplierAverage().estimate(trial(frame, received="took"))
    assert found.check("first stage").status == "warn"
    assert found.check("Anderson-Rubin").message
    assert found[0].interval is not None
    with pytest.raises(gbv.IdentificationError, match="no compliers"):
        gbv.ComplierAverage().estimate(
            trial({**frame, "took": (np.arange(80) // 2 % 2).astype(float)}, received="took")
        )
    with pytest.raises(gbv.IdentificationError, match="received the same"):
        gbv.ComplierAverage().estimate(trial({**frame, "took": np.ones(80)}, received="took"))


def test_the_anderson_rubin_set_is_that_of_a_grid_of_tests() -> None:
    frame = take_up(seed=5, n=60, share=0.5)
    found = gbv.ComplierAverage(interval="anderson_rubin").estimate(trial(frame, received="took"))
    low, high = found[0].interval or (np.nan, np.nan)
    grid = np.linspace(low - 1.0, high + 1.0, 401)
    kept = []
    for b in grid:
        row = gbv.Ancova().estimate(trial({**frame, "y": frame["y"] - b * frame["took"]})).records()[0]
        kept.append(row["p_value"] > 0.05)
    inside = grid[np.array(kept)]
    step = grid[1] - grid[0]
    assert inside.min() == pytest.approx(low, abs=step)
    assert inside.max() == pytest.approx(high, abs=step)


@pytest.mark.parametrize(
    ("values", "covariance", "shape"),
    [
        ([1.0, 0.1], [[0.04, 0.0], [0.0, 0.04]], "complement"),
        ([0.1, 0.1], [[0.04, 0.0], [0.0, 0.04]], "line"),
        ([1.0, 1.0], [[0.04, 0.0], [0.0, 0.04]], "interval"),
    ],
)
def test_shapes_of_the_anderson_rubin_set(values: list[float], covariance: list[list[float]], shape: str) -> None:
    low, high, found = anderson_rubin_interval(np.array(values), np.array(covariance))
    assert found == shape
    assert np.isinf(low) == np.isinf(high) == (shape != "interval")


def test_the_anderson_rubin_interval_covers_with_a_weak_first_stage() -> None:
    rng = np.random.default_rng(8)
    covered = 0
    draws = 1500
    for _ in range(draws):
        # Effects of assignment on outcome and take-up, correlated .9, take-up one standard error from zero.
        noise = rng.multivariate_normal([0.0, 0.0], [[1.0, 0.9], [0.9, 1.0]])
        values = np.array([0.5, 1.0]) + noise
        covariance = np.array([[1.0, 0.9], [0.9, 1.0]])
        statistic = (values[0] - 0.5 * values[1]) ** 2 / (1.0 - 0.9 + 0.25)
        accepted = bool(statistic <= stats.chi2.ppf(0.95, 1))
        low, high, shape = anderson_rubin_interval(values, covariance)
        inside = bool(low <= 0.5 <= high)
        # An interval holds what the test accepts and no more; the other shapes are given by their hull, the line.
        assert inside == accepted if shape == "interval" else inside
        covered += inside if shape == "interval" else accepted
    # Four binomial standard errors of .95 over 1,500 draws.
    assert abs(covered / draws - 0.95) < 0.0225


def test_several_arms_are_instruments_together() -> None:
    rng = np.random.default_rng(6)
    arm = np.arange(150) % 3
    took = rng.random(150) < np.array([0.1, 0.4, 0.8])[arm]
    y = took + rng.normal(size=150)
    frame = {"y": y, "arm": np.array(["usual", "letter", "visit"])[arm], "took": took.astype(float)}
    found = gbv.ComplierAverage(std_error="HC0").estimate(trial(frame, received="took"))
    instruments = np.column_stack([arm == 1, arm == 2]).astype(float)
    expected = IV2SLS(y, np.ones(150), took.astype(float), instruments).fit(cov_type="robust")
    assert found[0].value == pytest.approx(expected.params.iloc[1], rel=1e-10)
    assert found[0].std_error == pytest.approx(expected.std_errors.iloc[1], rel=1e-10)


def clusters(seed: int = 2) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    size = rng.integers(2, 12, 14)
    group = np.repeat(np.arange(14), size)
    y = rng.normal(size=14)[group] + rng.normal(size=group.size)
    return {
        "y": y,
        "arm": np.where(group % 2 == 1, "new", "usual"),
        "c": group,
        "p": group // 2,
        "x": rng.normal(size=group.size),
    }


def test_cluster_summaries_are_t_tests_of_means() -> None:
    frame = clusters()
    means = np.array([frame["y"][frame["c"] == g].mean() for g in range(14)])
    a, b = means[1::2], means[::2]
    for test, expected in (
        ("welch_t", stats.ttest_ind(a, b, equal_var=False)),
        ("pooled_t", stats.ttest_ind(a, b)),
    ):
        row = gbv.ClusterSummary(test).estimate(trial(frame, cluster="c")).records()[0]
        assert row["statistic"] == pytest.approx(expected.statistic, rel=1e-10)
        assert row["p_value"] == pytest.approx(expected.pvalue, rel=1e-9)
        assert row["population"] == "cluster_average"
    row = gbv.ClusterSummary().estimate(trial(frame, cluster="c", pair="p")).records()[0]
    assert row["p_value"] == pytest.approx(stats.ttest_rel(a, b).pvalue, rel=1e-9)


@pytest.mark.parametrize("continuity", [True, False])
def test_the_rank_sum_is_that_of_scipy(continuity: bool) -> None:
    frame = clusters()
    frame["y"] = np.round(frame["y"])
    means = np.array([frame["y"][frame["c"] == g].mean() for g in range(14)])
    row = gbv.ClusterSummary("rank_sum", continuity=continuity).estimate(trial(frame, cluster="c")).records()[0]
    expected = stats.mannwhitneyu(means[1::2], means[::2], method="asymptotic", use_continuity=continuity)
    assert row["rank_sum_minus_minimum"] == expected.statistic
    assert row["p_value"] == pytest.approx(expected.pvalue, rel=1e-9)
    assert row["estimate"] is None


def test_summaries_by_size_are_over_participants() -> None:
    frame = clusters()
    found = gbv.ClusterSummary(weights="size").estimate(trial(frame, cluster="c"))
    plain = gbv.DifferenceInMeans().estimate(trial(frame, cluster="c"))
    assert found[0].value == pytest.approx(plain[0].value, rel=1e-10)


def test_summaries_after_a_regression_without_the_arm() -> None:
    frame = clusters()
    slope, level = np.polyfit(frame["x"], frame["y"], 1)
    residual = frame["y"] - level - slope * frame["x"]
    means = np.array([residual[frame["c"] == g].mean() for g in range(14)])
    row = gbv.ClusterSummary().estimate(trial(frame, cluster="c", covariates=["x"])).records()[0]
    expected = stats.ttest_ind(means[1::2], means[::2], equal_var=False)
    assert row["p_value"] == pytest.approx(expected.pvalue, rel=1e-8)


def test_summaries_refuse_what_they_cannot_do() -> None:
    frame = clusters()
    with pytest.raises(gbv.DesignError, match="compares clusters"):
        gbv.ClusterSummary().estimate(trial(frame))
    with pytest.raises(gbv.DesignError, match="go together"):
        gbv.ClusterSummary("welch_t").estimate(trial(frame, cluster="c", pair="p"))
    one = {name: column[(frame["c"] % 2 == 0) | (frame["c"] == 1)] for name, column in frame.items()}
    with pytest.raises(gbv.IdentificationError, match="one treated cluster"):
        gbv.ClusterSummary().estimate(trial(one, cluster="c"))


def test_informative_size_finds_effects_that_go_with_size() -> None:
    rng = np.random.default_rng(4)
    size = np.tile([5, 5, 40, 40], 15)
    group = np.repeat(np.arange(60), size)
    effect = np.where(size == 40, 2.0, 0.0)[group]
    treated = group % 2 == 1
    frame = {
        "y": effect * treated + rng.normal(size=group.size),
        "arm": np.where(treated, "new", "usual"),
        "c": group,
    }
    found = gbv.InformativeSize().estimate(trial(frame, cluster="c"))
    participants, per_cluster, difference = found.values
    assert participants == pytest.approx(2.0 * 40 / 45, abs=0.25)
    assert per_cluster == pytest.approx(1.0, abs=0.25)
    assert difference == pytest.approx(participants - per_cluster, rel=1e-12)
    assert found.records()[2]["p_value"] < 0.01


def test_hajek_with_equal_probabilities_is_the_difference_in_means() -> None:
    frame = take_up()
    found = gbv.Hajek().estimate(trial(frame))
    plain = gbv.DifferenceInMeans().estimate(trial(frame))
    assert found[0].value == pytest.approx(plain[0].value, rel=1e-12)
    # Young's bound of the residuals is Neyman's variance with n - 1 in place of each arm's own n_a - 1.
    assert found[0].std_error == pytest.approx(plain[0].std_error, rel=0.02)


def test_probabilities_that_do_not_fit_the_numbers_are_told() -> None:
    frame = {**take_up(), "p": np.full(120, 0.25)}
    found = gbv.HorvitzThompson("complete").estimate(trial(frame, probability={"new": "p"}))
    assert found.check("numbers assigned").status == "warn"
    with pytest.raises(gbv.DesignError, match="needs the role `probability`"):
        gbv.HorvitzThompson("independent").estimate(trial(frame))


def test_a_stratum_without_controls_is_refused() -> None:
    frame = {**take_up(), "s": np.where((np.arange(120) < 20) & (np.arange(120) % 2 == 1), "a", "b")}
    for estimator in (gbv.HorvitzThompson(), gbv.Hajek()):
        with pytest.raises(gbv.IdentificationError, match="no unit with an outcome"):
            estimator.estimate(trial(frame, stratum="s"))
