"""Tests of proportions against scipy, closed forms and enumeration."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

import gbveval as gbv
from gbveval.numerics.exact_odds import conditional_interval, exact_p_value, margins
from gbveval.numerics.proportion_tests import ArmOfClusters, donner_test, pooled_correlation, rao_scott_test


def trial(events: tuple[int, int], sizes: tuple[int, int], **more: Any) -> gbv.Trial:
    y = [1] * events[0] + [0] * (sizes[0] - events[0]) + [1] * events[1] + [0] * (sizes[1] - events[1])
    frame = {"y": y, "arm": ["new"] * sizes[0] + ["usual"] * sizes[1], **more}
    return gbv.Trial(frame, outcome="y", arm="arm", control="usual", **{role: role for role in more})


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 25), st.integers(0, 30))
def test_two_by_two_tables_are_those_of_scipy(a: int, b: int) -> None:
    table = [[a, 25 - a], [b, 30 - b]]
    made = trial((a, b), (25, 30))
    if not 0 < a + b < 55:
        assert gbv.ProportionTest().estimate(made)[0].p_value is None
        assert gbv.FisherExact().estimate(made)[0].reason
        return
    for method, corrected in (("pearson", False), ("yates", True)):
        row = gbv.ProportionTest(method).estimate(made)[0]
        expected = stats.chi2_contingency(table, correction=corrected)
        assert row.statistic == pytest.approx(expected.statistic, rel=1e-9, abs=1e-12)
        assert row.p_value == pytest.approx(expected.pvalue, rel=1e-9)
    record = gbv.FisherExact().estimate(made).records()[0]
    assert record["p_value"] == pytest.approx(stats.fisher_exact(table).pvalue, rel=1e-9)
    expected = stats.contingency.odds_ratio(table)
    interval = expected.confidence_interval(0.95)
    for name, value in (
        ("odds_ratio", expected.statistic),
        ("odds_ratio_low", interval.low),
        ("odds_ratio_high", interval.high),
    ):
        if np.isfinite(value) and value > 0:
            assert record[name] == pytest.approx(value, rel=1e-6)


def test_one_sided_fisher_tests_and_other_odds_ratios() -> None:
    table = [[7, 8], [3, 12]]
    for side in ("less", "greater"):
        row = gbv.FisherExact(side).estimate(trial((7, 3), (15, 15)))[0]
        assert row.p_value == pytest.approx(stats.fisher_exact(table, alternative=side).pvalue, rel=1e-9)
    possible = margins((7, 3), (15, 15))
    low, high = conditional_interval(possible, 7)
    # The interval inverts the tails: at its ends they are 2.5 %.
    for end, side in ((low, "greater"), (high, "less")):
        assert exact_p_value(possible, 7, log_odds=end, alternative=side) == pytest.approx(0.025, rel=1e-6)
    central = gbv.FisherExact(two_sided="central", null_odds_ratio=float(np.exp(high)))
    assert central.estimate(trial((7, 3), (15, 15)))[0].p_value == pytest.approx(0.05, rel=1e-6)


def test_clusters_of_one_give_the_plain_test() -> None:
    events = (18, 30)
    made = trial(events, (60, 60), cluster=list(range(120)))
    plain = gbv.ProportionTest("pearson").estimate(trial(events, (60, 60)))[0]
    rao_scott = gbv.ProportionTest("rao_scott").estimate(made)[0]
    # The ratio variance has k - 1 where the binomial has k: a design effect of 60/59.
    assert rao_scott.statistic == pytest.approx(plain.statistic * 59.0 / 60.0, rel=1e-9)
    assert gbv.ProportionTest("donner").estimate(made)[0].p_value is None, "no correlation within clusters of one"


def test_identical_people_in_clusters_count_once() -> None:
    # Everybody in a cluster of five has the same outcome: the correlation is one, and clusters are what is counted.
    people = np.full(8, 5.0)
    arms = (
        ArmOfClusters(np.array([5.0, 5.0, 0.0, 0.0, 5.0, 0.0, 5.0, 0.0]), people),
        ArmOfClusters(np.array([5.0, 0.0, 0.0, 0.0, 0.0, 0.0, 5.0, 0.0]), people),
    )
    assert pooled_correlation(arms) == pytest.approx(1.0)
    plain = stats.chi2_contingency([[4, 4], [2, 6]], correction=False).statistic
    assert donner_test(arms, 1.0).statistic == pytest.approx(plain, rel=1e-9)
    # Rao and Scott divide the counts of each arm by 5 k / (k - 1).
    assert rao_scott_test(arms).statistic == pytest.approx(plain * 7.0 / 8.0, rel=1e-9)


def test_outcomes_that_are_not_yes_or_no_are_counted() -> None:
    frame = {"y": [0.0, 1.0, 2.0, 1.0], "arm": ["a", "a", "b", "b"]}
    made = gbv.Trial(frame, outcome="y", arm="arm", control="a")
    for estimator in (gbv.ProportionTest(), gbv.FisherExact()):
        with pytest.raises(gbv.DataError, match="neither 0 nor 1 in 1 rows"):
            estimator.estimate(made)


def test_roles_that_do_not_fit_are_refused() -> None:
    made = trial((5, 5), (10, 10), stratum=["s"] * 10 + ["t"] * 10)
    with pytest.raises(gbv.DesignError, match="stratum"):
        gbv.FisherExact().estimate(made)
    with pytest.raises(gbv.DesignError, match="does not fit"):
        gbv.ProportionTest("donner").estimate(trial((5, 5), (10, 10)))
