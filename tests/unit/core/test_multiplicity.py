"""Adjusted p-values against statsmodels and against the definitions."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from statsmodels.stats.multitest import multipletests

import gbveval as gbv

THEIRS = {
    "bonferroni": "bonferroni",
    "sidak": "sidak",
    "holm": "holm",
    "hochberg": "simes-hochberg",
    "hommel": "hommel",
    "BH": "fdr_bh",
    "BY": "fdr_by",
    "two_stage_bky": "fdr_tsbky",
    "two_stage_bh": "fdr_tsbh",
}


@pytest.mark.parametrize("method", THEIRS)
def test_methods_are_those_of_statsmodels(method: str) -> None:
    rng = np.random.default_rng(1)
    for _ in range(60):
        p = rng.uniform(size=int(rng.integers(1, 9))) ** rng.choice([1, 3])
        expected = np.minimum(multipletests(p, 0.05, method=THEIRS[method])[1], 1.0)
        np.testing.assert_allclose(gbv.adjust_p_values(p, method=method), expected, rtol=1e-10)


def test_hommel_is_the_closed_simes_test() -> None:
    p = np.array([0.012, 0.03, 0.028, 0.2, 0.04])

    def simes(subset: tuple[int, ...]) -> float:
        ordered = np.sort(p[list(subset)])
        return float(np.min(len(subset) * ordered / np.arange(1, len(subset) + 1)))

    subsets = [s for k in range(1, 6) for s in combinations(range(5), k)]
    expected = [max(simes(s) for s in subsets if i in s) for i in range(5)]
    np.testing.assert_allclose(gbv.adjust_p_values(p, method="hommel"), expected, rtol=1e-12)


def test_sharpened_q_is_the_smallest_rate_at_which_statsmodels_rejects() -> None:
    p = np.array([0.0078, 0.385, 0.266, 0.15, 0.647, 0.002])
    grid = np.arange(1, 1000) / 1000
    rejected = np.array([multipletests(p, rate, method="fdr_tsbky")[0] for rate in grid])
    expected = [grid[np.flatnonzero(rejected[:, i])[0]] if rejected[:, i].any() else 1.0 for i in range(6)]
    np.testing.assert_allclose(gbv.adjust_p_values(p, method="sharpened_q"), expected, atol=1e-9)


def test_a_single_p_value_stays_as_it_is() -> None:
    for method in ("bonferroni", "holm", "hochberg", "hommel", "BH", "BY"):
        assert gbv.adjust_p_values([0.03], method=method) == (pytest.approx(0.03),)
    assert gbv.adjust_p_values([], method="holm") == ()


def result() -> gbv.Estimates:
    rng = np.random.default_rng(2)
    frame = {"a": rng.normal(size=20), "b": rng.normal(size=20), "x": rng.normal(size=20), "arm": ["new", "usual"] * 10}
    trial = gbv.Trial(frame, outcome=["a", "b"], arm="arm", control="usual", covariates=["x"])
    return gbv.LinAdjusted().estimate(trial)


def test_rows_keep_their_raw_p_value_and_coefficients_are_no_hypotheses() -> None:
    before = result()
    after = gbv.adjust_for_multiplicity(before, method="bonferroni")
    raw = [record["p_value"] for record in before.records()]
    assert [record["p_value"] for record in after.records()] == raw
    main = [i for i, row in enumerate(before.terms) if row.estimand.effect == "ITT"]
    assert len(main) == 2
    for i, row in enumerate(after.terms):
        extra = dict(row.extra)
        if i in main:
            assert extra["p_adjusted"] == pytest.approx(min(1.0, 2 * raw[i]))
        else:
            assert "p_adjusted" not in extra
    assert "2 rows" in after.check("multiplicity").message
    one = gbv.adjust_for_multiplicity(before, terms=[("a", "new vs usual")])
    assert dict(one.terms[main[0]].extra)["p_adjusted"] == pytest.approx(raw[main[0]])
    assert gbv.Estimates.from_json(after.to_json()).to_json() == after.to_json()


def test_refusals() -> None:
    with pytest.raises(gbv.DesignError, match="outside 0 to 1"):
        gbv.adjust_p_values([0.1, float("nan")])
    with pytest.raises(gbv.DesignError, match="method"):
        gbv.adjust_p_values([0.1], method="lucky")
    with pytest.raises(gbv.DesignError, match="alpha"):
        gbv.adjust_p_values([0.1], alpha=2)
    sites = gbv.SiteEffects(
        {"e": [0.1, 0.2], "s": [0.1, 0.1], "site": ["u", "v"]}, estimate="e", std_error="s", site="site"
    )
    posterior = gbv.NormalHierarchy(gbv.HierarchyPrior(gbv.Normal(0, 1), gbv.HalfNormal(0.5))).estimate(sites)
    with pytest.raises(gbv.DesignError, match="no p-value"):
        gbv.adjust_for_multiplicity(posterior)
