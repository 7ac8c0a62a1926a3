"""Plans of matched pairs of clusters, against draws, enumeration of assignments, and what is refused."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import ttest_rel

import gbveval as gbv
from gbveval.core.errors import DesignError
from gbveval.core.estimand import Estimand
from gbveval.design._matched import attained
from gbveval.design.attrition import AttritionDesign
from gbveval.design.cluster import ClusterDesign
from gbveval.design.counts import Count
from gbveval.design.icc import ICC, BetweenCV
from gbveval.design.outcomes import Binary, Continuous
from gbveval.design.paired_clusters import PairedClusterDesign
from gbveval.planning.closed_form import explain_power, mde, power, required_size
from gbveval.planning.simulate import simulate_power

DRAWS = 20_000
# False alarms once in a million a comparison; seeds are fixed and were not tuned.
SDS = 4.9
ICC_ = ICC(0.1, scale="observed")
PAIRS = PairedClusterDesign(8, 20, ICC_, Continuous(sd=2.0), matching_correlation=0.6)


def band(p: float) -> float:
    return SDS * math.sqrt(p * (1.0 - p) / DRAWS)


def cluster_means(plan: PairedClusterDesign, effect: float, seed: int) -> Any:
    """Return means of clusters, shape (2, draws, pairs), control first."""
    rng = np.random.default_rng(seed)
    shape = (DRAWS, plan.n_pairs)
    shared = math.sqrt(0.4 * 0.6) * rng.normal(size=shape)
    own = math.sqrt(0.4 * 0.4 + 3.6 / 20.0) * rng.normal(size=(2, *shape))
    return shared + own + np.array([0.0, effect])[:, None, None]


def test_the_paired_t_rejects_as_often_as_it_says() -> None:
    control, treated = cluster_means(PAIRS, 0.7, 51)
    found = power(PAIRS, effect=0.7)
    assert np.mean(ttest_rel(control, treated, axis=1).pvalue < 0.05) == pytest.approx(found, abs=band(found))


def test_simulated_pairs_reject_as_often_as_the_formula_says() -> None:
    for plan in (PAIRS, replace(PAIRS, matching_correlation=0.0)):
        found = simulate_power(plan, gbv.DifferenceInMeans(), effect=0.7, n_draws=3000, seed=53)[0]
        planned = power(plan, effect=0.7)
        assert found.power.value == pytest.approx(planned, abs=SDS * math.sqrt(planned * (1.0 - planned) / 3000))
        assert found.coverage.value == pytest.approx(0.95, abs=SDS * math.sqrt(0.95 * 0.05 / 3000))
        assert abs(found.bias.value) < SDS * found.bias.mcse


def test_a_drawn_trial_of_pairs_is_the_checked_frame() -> None:
    process = PAIRS.process(0.3)
    drawn, checked = (
        process.draw(np.random.default_rng(2)),
        process.check(process.frame(np.random.default_rng(2))),
    )
    assert np.array_equal(drawn.outcomes, checked.outcomes)
    assert drawn.pair is not None
    assert checked.pair is not None
    assert np.array_equal(drawn.pair.codes, checked.pair.codes)
    assert process.truth(Estimand("ITT", "mean_difference", "participant_average")) == 0.3
    with pytest.raises(DesignError, match="continuous outcome only"):
        replace(PAIRS, outcome=Binary(0.3)).process(0.1)


@pytest.mark.parametrize("pairs", [6, 9])
def test_power_by_permutation_is_near_that_of_all_assignments(pairs: int) -> None:
    plan = replace(PAIRS, n_pairs=pairs, analysis="permutation")
    control, treated = cluster_means(plan, 0.8, 52)
    gaps = (treated - control)[:5000]
    signs = np.array(list(itertools.product((-1.0, 1.0), repeat=pairs)))
    beyond = np.abs(gaps @ signs.T) >= np.abs(gaps.sum(1))[:, None] * (1.0 - 1e-12)
    seen = np.mean(beyond.mean(1) <= 0.05)
    found = power(plan, effect=0.8)
    # The t at the attained size is an approximation, within 0.02 here.
    assert found == pytest.approx(seen, abs=SDS * math.sqrt(0.25 / 5000) + 0.02)
    assert power(plan, effect=0.0) == pytest.approx(attained(0.05, pairs, "two_sided"), abs=1e-9)


def test_four_pairs_cannot_reach_five_percent_by_permutation_and_six_can() -> None:
    four = replace(PAIRS, n_pairs=4, analysis="permutation")
    for ask in (power, explain_power):
        with pytest.raises(DesignError, match=r"4 matched pairs cannot reach a size of 0.05.*0.125.*Plan 6 pairs"):
            ask(four, effect=5.0)
    with pytest.raises(DesignError, match="cannot reach"):
        mde(four)
    with pytest.raises(DesignError, match="Plan 6 pairs"):
        power(replace(four, n_pairs=5), effect=5.0)
    # On one side 1 / 2^5 is enough.
    assert power(replace(four, n_pairs=5), effect=5.0, alternative="greater") > 0.9
    needed = required_size(four, effect=50.0)
    assert needed.rounded == 6
    assert needed.achieved_power > 0.99
    assert "4" not in dict(explain_power(needed.design, effect=5.0).rows)["size that these assignments allow"]


@given(alpha=st.floats(0.001, 0.2), pairs=st.integers(2, 60))
def test_the_size_that_assignments_allow_is_a_whole_number_of_them(alpha: float, pairs: int) -> None:
    size = attained(alpha, pairs, "two_sided")
    assert size <= alpha
    assert attained(alpha, pairs + 1, "two_sided") >= size
    if pairs <= 30:
        # A size just below a whole number of assignments is taken to be it, to rounding.
        assert size * 2.0 ** (pairs - 1) == pytest.approx(round(size * 2.0 ** (pairs - 1)), rel=1e-11)
        assert size + 2.0 * 0.5**pairs > alpha * (1.0 - 1e-9)


def test_matching_pays_from_the_correlation_that_is_told() -> None:
    few = replace(PAIRS, n_pairs=5)
    told = dict(explain_power(few, effect=1.2).rows)
    at = float(told["matching correlation at which matching begins to pay"].split()[0])
    unmatched = power(ClusterDesign(5, 20, ICC_, Continuous(sd=2.0)), effect=1.2)
    assert 0.0 < at < 1.0
    assert float(told["power of the same clusters unmatched"]) == pytest.approx(unmatched, abs=1e-4)
    assert power(replace(few, matching_correlation=at + 0.01), effect=1.2) > unmatched
    assert power(replace(few, matching_correlation=at - 0.01), effect=1.2) < unmatched
    # With two pairs and little between clusters, nothing makes up for the degrees of freedom.
    hopeless = replace(PAIRS, n_pairs=2, icc=ICC(0.001, scale="observed"))
    assert (
        "none" in dict(explain_power(hopeless, effect=2.0).rows)["matching correlation at which matching begins to pay"]
    )


def test_risks_and_rates_vary_by_arm() -> None:
    risks = PairedClusterDesign(10, 30, ICC_, Binary(0.4), matching_correlation=0.5)
    b = [0.1 * p * (1.0 - p) for p in (0.4, 0.25)]
    w = [0.9 * p * (1.0 - p) for p in (0.4, 0.25)]
    expected = (sum(b) - math.sqrt(b[0] * b[1]) + sum(w) / 30.0) / 10.0
    assert risks.planned_test(-0.15).std_error ** 2 == pytest.approx(expected)
    rates = PairedClusterDesign(10, 30, BetweenCV(0.2), Count(0.5, exposure=2.0))
    expected = (0.04 * (0.25 + 0.09) + 0.8 / 60.0) / 10.0
    assert rates.planned_test(-0.2).std_error ** 2 == pytest.approx(expected)


@given(correlation=st.floats(0.0, 0.95))
def test_matching_better_never_costs_power(correlation: float) -> None:
    plan = replace(PAIRS, matching_correlation=correlation)
    better = replace(PAIRS, matching_correlation=correlation + 0.04)
    assert power(better, effect=0.6) >= power(plan, effect=0.6)


def test_without_correlation_only_degrees_of_freedom_are_lost() -> None:
    plain = ClusterDesign(8, 20, ICC_, Continuous(sd=2.0)).planned_test(0.6)
    pairs = replace(PAIRS, matching_correlation=0.0).planned_test(0.6)
    assert pairs.std_error == pytest.approx(plain.std_error)
    assert (pairs.df, plain.df) == (7.0, 14.0)


def test_pairs_that_are_lost_are_two_clusters_each() -> None:
    after = AttritionDesign(PAIRS, clusters_lost=2, respondents_lost=0.25)
    assert after.left == (6, 15.0)
    assert power(after, effect=0.7) == pytest.approx(
        power(replace(PAIRS, n_pairs=6, cluster_size=15), effect=0.7), rel=1e-12
    )
    needed = required_size(after, effect=0.7)
    inside = required_size(replace(PAIRS, cluster_size=15), effect=0.7)
    assert needed.exact == pytest.approx(inside.exact + 2.0, rel=1e-9)
    permuted = AttritionDesign(replace(PAIRS, analysis="permutation"), clusters_lost=3)
    with pytest.raises(DesignError, match="5 matched pairs cannot reach"):
        power(permuted, effect=2.0)
    assert required_size(permuted, effect=30.0).rounded == 9


def test_more_people_cannot_help_beyond_what_lies_between_clusters() -> None:
    with pytest.raises(DesignError, match="Add pairs instead"):
        required_size(PAIRS, effect=0.4, solve_for="cluster_size")


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"n_pairs": 1}, "n_pairs"),
        ({"matching_correlation": 1.2}, "matching_correlation"),
        ({"matching_correlation": -0.1}, "matching_correlation"),
        ({"analysis": "sign"}, "analysis must be"),
        ({"reference": "z"}, "reference must be"),
        ({"analysis": "permutation", "reference": "normal"}, "leave reference out"),
        ({"icc": 0.1}, "unnamed scale"),
        ({"n_pairs": 2, "reference": "hayes_bennett"}, "at least 3"),
    ],
)
def test_what_is_no_plan_of_pairs_is_refused(change: dict[str, Any], match: str) -> None:
    with pytest.raises(DesignError, match=match):
        replace(PAIRS, **change)
