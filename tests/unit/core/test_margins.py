"""Equivalence and non-inferiority against scipy's one-sided tests and the definition of the interval."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

import gbveval as gbv

RNG = np.random.default_rng(3)
NEW, USUAL = RNG.normal(0.2, 1.0, 30), RNG.normal(0.0, 1.5, 25)


def trial() -> gbv.Trial:
    frame = {"y": np.concatenate([NEW, USUAL]), "arm": ["new"] * 30 + ["usual"] * 25}
    return gbv.Trial(frame, outcome="y", arm="arm", control="usual")


@pytest.mark.parametrize("pooled", [False, True])
def test_equivalence_is_two_one_sided_t_tests(pooled: bool) -> None:
    estimator = gbv.Ancova(std_error="classical") if pooled else gbv.DifferenceInMeans()
    table = gbv.equivalence(estimator.estimate(trial()), "new vs usual", margin_low=-0.5, margin_high=0.8)
    lower = stats.ttest_ind(NEW + 0.5, USUAL, equal_var=pooled, alternative="greater")
    upper = stats.ttest_ind(NEW - 0.8, USUAL, equal_var=pooled, alternative="less")
    found = dict(zip(table.columns, table.rows[0], strict=True))
    assert found["t_lower"] == pytest.approx(lower.statistic, rel=1e-9)
    assert found["p_lower"] == pytest.approx(lower.pvalue, rel=1e-9)
    assert found["t_upper"] == pytest.approx(upper.statistic, rel=1e-9)
    assert found["p_upper"] == pytest.approx(upper.pvalue, rel=1e-9)
    assert found["p_value"] == max(found["p_lower"], found["p_upper"])
    interval = stats.ttest_ind(NEW, USUAL, equal_var=pooled).confidence_interval(0.9)
    assert (found["conf_low"], found["conf_high"]) == (
        pytest.approx(interval.low, rel=1e-8),
        pytest.approx(interval.high, rel=1e-8),
    )


def test_effects_are_ruled_out_exactly_where_a_margin_would_be_significant() -> None:
    result = gbv.DifferenceInMeans().estimate(trial())
    table = gbv.equivalence(result, "new vs usual", margin_low=-5, margin_high=5)
    high = table.column("ruled_out_above")[0]
    at_edge = gbv.equivalence(result, "new vs usual", margin_low=-5, margin_high=high)
    assert at_edge.column("p_upper")[0] == pytest.approx(0.05, abs=1e-9)


def test_non_inferiority_is_a_one_sided_t_test_in_the_bad_direction() -> None:
    result = gbv.DifferenceInMeans().estimate(trial())
    table = gbv.noninferiority(result, "new vs usual", margin=0.9)
    expected = stats.ttest_ind(NEW - 0.9, USUAL, equal_var=False, alternative="less").pvalue
    assert table.column("p_value")[0] == pytest.approx(expected, rel=1e-9)
    other = gbv.noninferiority(result, "new vs usual", margin=-0.4, higher_is_worse=False)
    expected = stats.ttest_ind(NEW + 0.4, USUAL, equal_var=False, alternative="greater").pvalue
    assert other.column("p_value")[0] == pytest.approx(expected, rel=1e-9)


def test_risks_from_counts_by_hand() -> None:
    table = gbv.noninferiority_of_risks(events=(30, 28), n=(200, 180), margin=0.1, alpha=0.025)
    p1, p0 = 30 / 200, 28 / 180
    error = np.sqrt(p1 * (1 - p1) / 200 + p0 * (1 - p0) / 180)
    z = (p1 - p0 - 0.1) / error
    found = dict(zip(table.columns, table.rows[0], strict=True))
    assert found["statistic"] == pytest.approx(z, rel=1e-12)
    assert found["p_value"] == pytest.approx(stats.norm.cdf(z), rel=1e-10)
    assert found["bound"] == pytest.approx(p1 - p0 + stats.norm.ppf(0.975) * error, rel=1e-10)


def test_refusals() -> None:
    result = gbv.DifferenceInMeans().estimate(trial())
    with pytest.raises(gbv.DesignError, match="lower below the upper"):
        gbv.equivalence(result, "new vs usual", margin_low=1, margin_high=-1)
    with pytest.raises(gbv.DesignError, match="bad side"):
        gbv.noninferiority(result, "new vs usual", margin=-1)
    with pytest.raises(gbv.DesignError, match="alpha"):
        gbv.equivalence(result, "new vs usual", margin_low=-1, margin_high=1, alpha=0.6)
    with pytest.raises(gbv.DesignError, match="exact method"):
        gbv.noninferiority_of_risks(events=(0, 0), n=(10, 10), margin=0.1)
    with pytest.raises(gbv.DesignError, match="between zero"):
        gbv.noninferiority_of_risks(events=(11, 0), n=(10, 10), margin=0.1)
    resampled = gbv.RandomisationInference(n_draws=99).estimate(trial())
    with pytest.raises(gbv.DesignError, match="resampling"):
        gbv.equivalence(resampled, "new vs usual", margin_low=-1, margin_high=1)
