"""Step-down adjusted p-values against loops over allocations and over vectors of signs."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import numpy as np
import pytest
import statsmodels.api as sm
from scipy import stats

import gbveval as gbv
from gbveval.core.errors import IdentificationError
from gbveval.numerics.wild_bootstrap import sign_vectors

OUTCOMES = ("a", "b", "c")


def frame(n: int = 8) -> dict[str, Any]:
    rng = np.random.default_rng(6)
    new = np.arange(n) % 2 == 0
    common = rng.normal(size=n)
    content: dict[str, Any] = {
        name: common + rng.normal(size=n) + effect * new for name, effect in zip(OUTCOMES, (2.0, 0.5, 0.0), strict=True)
    }
    return {**content, "arm": np.where(new, "new", "usual").tolist()}


def trial(content: dict[str, Any], **roles: Any) -> gbv.Trial:
    return gbv.Trial(content, outcome=list(OUTCOMES), arm="arm", control="usual", **roles)


def step_down_by_hand(values: np.ndarray, observed: np.ndarray) -> list[float]:
    """Textbook: sort, maximum over what is left, share, running maximum."""
    order = sorted(range(observed.size), key=lambda i: -observed[i])
    adjusted, last = [0.0] * observed.size, 0.0
    for place, i in enumerate(order):
        rest = [order[j] for j in range(place, observed.size)]
        share = float(np.mean([max(row[j] for j in rest) >= observed[i] * (1 - 1e-9) for row in values]))
        last = adjusted[i] = max(last, share)
    return adjusted


def p_adjusted(answer: gbv.Estimates) -> list[float]:
    return [float(dict(row.extra)["p_adjusted"]) for row in answer.terms]  # type: ignore[arg-type]


STATISTICS = {
    "studentised": lambda x, y: stats.ttest_ind(x, y, equal_var=False).statistic,
    "pooled": lambda x, y: stats.ttest_ind(x, y).statistic,
    "rank_sum": lambda x, y: stats.ranksums(x, y).statistic,
}


@pytest.mark.parametrize("alternative", ["two_sided", "greater", "less"])
@pytest.mark.parametrize("statistic", STATISTICS)
def test_westfall_young_is_the_loop_over_all_allocations(statistic: str, alternative: str) -> None:
    content = frame()
    new = np.asarray(content["arm"]) == "new"
    function = STATISTICS[statistic]
    turn = {"two_sided": np.abs, "greater": np.positive, "less": np.negative}[alternative]
    rows = []
    for chosen in combinations(range(8), 4):
        z = np.isin(np.arange(8), chosen)
        rows.append([function(content[name][z], content[name][~z]) for name in OUTCOMES])
    observed = np.array([function(content[name][new], content[name][~new]) for name in OUTCOMES])
    answer = gbv.WestfallYoung(statistic=statistic, alternative=alternative).estimate(trial(content))
    np.testing.assert_allclose([row.statistic for row in answer.terms], observed, rtol=1e-10)
    values = turn(np.array(rows))
    # Observed values below zero stop a test by relative slack, so a constant is added to all.
    expected = step_down_by_hand(values + 100.0, turn(observed) + 100.0)
    np.testing.assert_allclose(p_adjusted(answer), expected, atol=1e-12)
    raw = [np.mean(values[:, i] >= turn(observed)[i] - 1e-9) for i in range(3)]
    np.testing.assert_allclose([row.p_value for row in answer.terms], raw, atol=1e-12)


def test_romano_wolf_is_the_loop_over_all_vectors_of_signs() -> None:
    content = frame(n=9)
    new = (np.asarray(content["arm"]) == "new").astype(float)
    design = sm.add_constant(new)

    def t(y: np.ndarray) -> float:
        # Clusters of one with the factor of Stata are HC1.
        fit = sm.OLS(y, design).fit(cov_type="HC1")
        return abs(float(fit.params[1] / fit.bse[1]))

    observed = np.array([t(content[name]) for name in OUTCOMES])
    values = [
        [t(content[name].mean() + v * (content[name] - content[name].mean())) for name in OUTCOMES]
        for v in sign_vectors(9)
    ]
    answer = gbv.RomanoWolf().estimate(trial(content))
    np.testing.assert_allclose(p_adjusted(answer), step_down_by_hand(np.array(values), observed), atol=1e-12)
    np.testing.assert_allclose(answer.values / answer.std_errors, np.sign(answer.values) * observed, rtol=1e-9)
    expected = 2 * stats.t.sf(observed, 8)
    np.testing.assert_allclose([record["p_value"] for record in answer.records()], expected, rtol=1e-9)


def test_adjusted_p_values_lie_between_raw_and_bonferroni() -> None:
    for estimator in (gbv.WestfallYoung(), gbv.RomanoWolf()):
        answer = estimator.estimate(trial(frame(n=12)))
        own = [row.p_value if row.p_value is not None else dict(row.extra)["p_bootstrap"] for row in answer.terms]
        for raw, adjusted in zip(own, p_adjusted(answer), strict=True):
            assert raw - 1e-12 <= adjusted <= 3 * raw + 1e-12  # type: ignore[operator]


def test_clusters_are_resampled_together_and_may_lack_an_outcome() -> None:
    rng = np.random.default_rng(8)
    code = np.repeat(np.arange(10), 4)
    arm = np.where(code % 2 == 0, "new", "usual")
    content: dict[str, Any] = {name: rng.normal(size=10)[code] + rng.normal(size=40) for name in OUTCOMES}
    content["b"][code == 3] = np.nan
    content |= {"arm": arm.tolist(), "cluster": code.tolist()}
    data = trial(content, cluster="cluster")
    for estimator in (gbv.WestfallYoung(), gbv.RomanoWolf()):
        answer = estimator.estimate(data)
        assert [row.n_clusters for row in answer.terms] == [10, 9, 10]
        assert all(0 < p <= 1 for p in p_adjusted(answer))
        assert np.array_equal(answer.values, estimator.estimate(data).values)


def test_family_wise_error_is_held_under_the_complete_null() -> None:
    rng = np.random.default_rng(12)
    wrong = np.zeros(2)
    for _ in range(300):
        common = rng.normal(size=14)
        content: dict[str, Any] = {name: 0.7 * common + rng.normal(size=14) for name in OUTCOMES}
        content["arm"] = ["new", "usual"] * 7
        data = trial(content)
        for i, estimator in enumerate((gbv.WestfallYoung(n_draws=199), gbv.RomanoWolf(n_draws=199))):
            wrong[i] += min(p_adjusted(estimator.estimate(data, rng=rng))) <= 0.05
    # Exact for the first; the bootstrap is approximate with 14 people. Binomial bands with a false alarm of 1e-5.
    assert wrong[0] / 300 < 0.05 + 4.3 * np.sqrt(0.05 * 0.95 / 300)
    assert wrong[1] / 300 < 0.07 + 4.3 * np.sqrt(0.07 * 0.93 / 300)


def test_refusals_name_what_to_do() -> None:
    content = frame()
    content["w"] = np.ones(8)
    content["site"] = ["x"] * 4 + ["y"] * 4
    for estimator in (gbv.WestfallYoung(), gbv.RomanoWolf()):
        with pytest.raises(gbv.DesignError, match="weights"):
            estimator.estimate(trial(content, weight="w"))
    constant = trial({**content, "b": np.ones(8)})
    with pytest.raises(IdentificationError, match="Leave it out"):
        gbv.RomanoWolf().estimate(constant)
    answer = gbv.WestfallYoung().estimate(constant)
    assert (answer[1].std_error, p_adjusted(answer)[1]) == (None, 1.0)
    with pytest.raises(gbv.DesignError, match="one by one"):
        gbv.WestfallYoung(statistic="rank_sum").estimate(trial(content, stratum="site"))
    with pytest.raises(gbv.DesignError, match="statistic"):
        gbv.WestfallYoung(statistic="t")
    with pytest.raises(gbv.DesignError, match="n_draws"):
        gbv.RomanoWolf(n_draws=2)
