"""The engine and the plans on it against generalised least squares on every respondent, and against published forms."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import block_diag
from tests.reference.power_longitudinal import decay_transition

from gbveval.core.errors import DesignError
from gbveval.design.cluster import ClusterDesign
from gbveval.design.cluster_period_correlation import ClusterPeriodCorrelation
from gbveval.design.cluster_schedule import ClusterSchedule
from gbveval.design.icc import ICC
from gbveval.design.longitudinal import LongitudinalClusterDesign
from gbveval.design.outcomes import Binary, Continuous
from gbveval.numerics.cluster_periods import SequenceCells, effects_covariance

WEDGE = ClusterSchedule.stepped_wedge(3)
SCHEDULES = {
    "wedge": WEDGE,
    "transition": ClusterSchedule.stepped_wedge(4, transition_periods=1),
    "incomplete": ClusterSchedule.stepped_wedge(4, observed_around=2),
    "long steps": ClusterSchedule.stepped_wedge(2, periods_before=2, periods_per_step=2),
    "parallel": ClusterSchedule.parallel(3),
    "baseline": ClusterSchedule.parallel_with_baseline(n_before=2, n_after=1),
    "crossover": ClusterSchedule.crossover(),
    "never": ClusterSchedule(((0, 0, 0), (0, 1, 1), (0, None, 1))),
}


def likeness(icc: float, cac: float, person: float = 0.0, decay: float = 1.0) -> ClusterPeriodCorrelation:
    return ClusterPeriodCorrelation(ICC(icc, scale="observed"), cac, person, decay)


def wedge(**changes: Any) -> LongitudinalClusterDesign:
    plan = LongitudinalClusterDesign(WEDGE, 4, 10, likeness(0.05, 0.8), Continuous())
    return replace(plan, **changes)


def one_by_one(plan: LongitudinalClusterDesign, effect: float = 0.0) -> float:
    """Return the variance by generalised least squares on respondents, with every cluster and every person a row."""
    c, m = plan.correlation, plan.cluster_period_size
    icc, tau = float(c.icc.value), float(c.icc.value) * float(c.cac)
    rows, blocks = [], []
    last = plan.schedule.n_periods - 1
    cluster = 0
    for row, count in zip(plan.schedule.rows, plan.sequence_sizes, strict=True):
        for _ in range(count):
            people = [(t, i, x) for t, x in enumerate(row) if x is not None for i in range(m)]
            V = np.zeros((len(people), len(people)))
            mean, slope = np.ones(len(people)), np.ones(len(people))
            for a, (s, i, x) in enumerate(people):
                if isinstance(plan.outcome, Binary):
                    control = np.interp(s, [0, last], [plan.outcome.risk - plan.trend, plan.outcome.risk])
                    if plan.link == "logit":
                        ends = [plan.outcome.risk - plan.trend, plan.outcome.risk, plan.outcome.risk + effect]
                        first, end, treated = (np.log(p / (1 - p)) for p in ends)
                        mean[a] = 1 / (1 + np.exp(-(np.interp(s, [0, last], [first, end]) + x * (treated - end))))
                        slope[a] = mean[a] * (1 - mean[a])
                    else:
                        mean[a] = control + x * effect
                for b, (t, j, z) in enumerate(people):
                    r = float(c.decay) ** abs(s - t)
                    V[a, b] = tau * r + (icc - tau) * (s == t)
                    V[a, b] += (1 - icc) * (i == j) * (s == t or float(c.individual_autocorrelation) * r)
                    V[a, b] *= float(plan.outcome.sd) ** 2 if isinstance(plan.outcome, Continuous) else 1.0
                    V[a, b] += float(plan.effect_sd) ** 2 * x * z * r
            if isinstance(plan.outcome, Binary):
                sd = np.sqrt(mean * (1 - mean))
                V = V * np.outer(sd, sd)
            since = row.index(1) if 1 in row else 0
            for (t, _i, x), d in zip(people, slope, strict=True):
                times = plan.schedule.exposure_times
                own = [x * (t - since + 1 == e) for e in times] if plan.course == "exposure_time" else [x]
                period = np.eye(last + 1)[t] if plan.period_effects else np.ones(1)
                level = np.eye(plan.n_clusters)[cluster] if plan.cluster_effects == "fixed" else np.zeros(0)
                rows.append(d * np.concatenate([own, period, level]))
            blocks.append(V)
            cluster += 1
    X, V = np.array(rows), block_diag(*blocks)
    covariance = np.linalg.pinv(X.T @ np.linalg.solve(V, X), hermitian=True)[: plan.n_effects, : plan.n_effects]
    if plan.exposure_time is not None:
        return float(
            covariance[plan.schedule.exposure_times.index(plan.exposure_time)][
                plan.schedule.exposure_times.index(plan.exposure_time)
            ]
        )
    return float(covariance.mean())


@pytest.mark.parametrize("name", SCHEDULES)
@settings(deadline=None, max_examples=6)
@given(
    icc=st.floats(0.0, 0.5),
    cac=st.floats(0.0, 1.0),
    person=st.sampled_from([0.0, 0.4]),
    decay=st.floats(0.2, 1.0),
    size=st.integers(1, 3),
    effect_sd=st.sampled_from([0.0, 0.5]),
    fixed=st.booleans(),
)
def test_the_variance_is_that_of_least_squares_on_every_respondent(name: str, fixed: bool, **drawn: Any) -> None:
    schedule = SCHEDULES[name]
    fixed = fixed and name != "parallel"
    plan = LongitudinalClusterDesign(
        schedule,
        tuple(range(2, 2 + schedule.n_sequences)),
        drawn["size"],
        likeness(drawn["icc"], drawn["cac"], drawn["person"], drawn["decay"]),
        Continuous(sd=1.7),
        cluster_effects="fixed" if fixed else "random",
        effect_sd=drawn["effect_sd"],
    )
    # Two solutions of the same normal equations, of a condition below 1e5.
    assert plan.planned_test(0.0).std_error ** 2 == pytest.approx(one_by_one(plan), rel=1e-9)


@pytest.mark.parametrize("options", [{}, {"exposure_time": 1}, {"exposure_time": 3}, {"period_effects": False}])
def test_effects_by_exposure_time_are_those_of_least_squares_on_every_respondent(options: dict[str, Any]) -> None:
    for schedule in (WEDGE, SCHEDULES["transition"]):
        plan = wedge(schedule=schedule, cluster_period_size=2, course="exposure_time", **options)
        assert plan.planned_test(0.0).std_error ** 2 == pytest.approx(one_by_one(plan), rel=1e-9)


@pytest.mark.parametrize("link", ["identity", "logit"])
@pytest.mark.parametrize("period_effects", [True, False])
def test_risks_have_the_variance_of_estimating_equations_on_every_respondent(link: str, period_effects: bool) -> None:
    plan = wedge(outcome=Binary(0.3), link=link, trend=-0.04, cluster_period_size=3, period_effects=period_effects)
    assert plan.planned_test(-0.1).std_error ** 2 == pytest.approx(one_by_one(plan, -0.1), rel=1e-9)


def test_the_log_link_has_the_variance_of_a_log_risk_ratio_in_one_period() -> None:
    plan = LongitudinalClusterDesign(
        ClusterSchedule.parallel(), 10, 20, likeness(0.05, 1.0), Binary(0.3), link="log", reference="normal"
    )
    test = plan.planned_test(-0.1)
    factor = (1.0 + 19.0 * 0.05) / 200.0
    assert test.std_error**2 == pytest.approx(factor * (0.7 / 0.3 + 0.8 / 0.2), rel=1e-12)
    assert test.distance == pytest.approx(np.log(0.2 / 0.3))


@settings(deadline=None, max_examples=30)
@given(
    sizes=st.lists(st.integers(1, 5), min_size=2, max_size=5),
    tau2=st.floats(0.0, 0.5),
    m=st.integers(1, 60),
)
def test_the_plain_wedge_is_hussey_and_hughes(sizes: list[int], tau2: float, m: int) -> None:
    plan = LongitudinalClusterDesign(
        ClusterSchedule.stepped_wedge(len(sizes)),
        tuple(sizes),
        m,
        likeness(tau2 / (1.0 + tau2), 1.0),
        Continuous(sd=(1.0 + tau2) ** 0.5),
        reference="normal",
    )
    X = np.repeat(np.array(plan.schedule.rows, dtype=float), sizes, axis=0)
    n, t = X.shape
    s2, u = 1.0 / m, X.sum()
    w, v = (X.sum(axis=0) ** 2).sum(), (X.sum(axis=1) ** 2).sum()
    expected = n * s2 * (s2 + t * tau2) / ((n * u - w) * s2 + (u**2 + n * t * u - t * w - n * v) * tau2)
    assert plan.planned_test(0.0).std_error ** 2 == pytest.approx(expected, rel=1e-9)


def test_one_period_is_the_parallel_cluster_trial() -> None:
    plan = LongitudinalClusterDesign(ClusterSchedule.parallel(), 12, 30, likeness(0.05, 1.0), Continuous(sd=3.0))
    other = ClusterDesign(12, 30, ICC(0.05, scale="observed"), Continuous(sd=3.0))
    ours, theirs = plan.planned_test(1.0), other.planned_test(1.0)
    assert ours.std_error == pytest.approx(theirs.std_error, rel=1e-12)
    assert ours.df == theirs.df


def test_the_crossover_has_the_design_effect_of_giraudeau() -> None:
    plan = LongitudinalClusterDesign(ClusterSchedule.crossover(), 8, 25, likeness(0.08, 0.6), Continuous())
    single = 4.0 / plan.n_measurements
    assert plan.planned_test(0.0).std_error ** 2 / single == pytest.approx(1.0 + 24.0 * 0.08 - 25.0 * 0.048, rel=1e-10)


def test_a_baseline_by_generalised_least_squares_is_analysis_of_covariance() -> None:
    random = LongitudinalClusterDesign(
        ClusterSchedule.parallel_with_baseline(), 10, 20, likeness(0.1, 0.7), Continuous()
    )
    means = random.correlation.of_means(20.0, np.arange(2.0))
    r = means[0, 1] / means[0, 0]
    # The change has 2 (1 - r) and the adjusted difference 1 - r^2 of the variance of a difference after.
    assert random.planned_test(0.0).std_error ** 2 == pytest.approx(means[0, 0] * 0.2 * (1.0 - r**2), rel=1e-10)
    fixed = replace(random, cluster_effects="fixed")
    assert fixed.planned_test(0.0).std_error ** 2 == pytest.approx(means[0, 0] * 0.2 * 2.0 * (1.0 - r), rel=1e-10)


def test_the_engine_says_when_periods_explain_the_effect() -> None:
    alone = [SequenceCells(4.0, np.array([[0.0], [1.0]]), np.eye(2), np.eye(2))]
    assert effects_covariance(alone) is None
    assert effects_covariance([SequenceCells(4.0, np.zeros((2, 1)), np.eye(2), np.eye(2))]) is None
    for schedule, options in (
        (ClusterSchedule(((0, 1),)), {}),
        (ClusterSchedule.parallel(2), {"cluster_effects": "fixed"}),
        (ClusterSchedule(((0, 1, 1),)), {"course": "exposure_time"}),
    ):
        with pytest.raises(DesignError, match="cannot tell the effect from the periods"):
            wedge(schedule=schedule, clusters_per_sequence=8, **options)
    # Without periods in the model one sequence is enough, which is what makes them so much cheaper to leave out.
    assert wedge(schedule=ClusterSchedule(((0, 1),)), clusters_per_sequence=8, period_effects=False)


def test_periods_are_in_the_model_unless_they_are_left_out() -> None:
    without = wedge(period_effects=False).planned_test(0.3)
    assert without.std_error < 0.8 * wedge().planned_test(0.3).std_error
    assert any("does not change by itself" in words for words in without.assumptions)


def test_the_case_of_a_gap_after_crossing_is_translated_to_the_plan_that_it_is() -> None:
    inputs = {
        **{"clusters": [2, 2, 2], "n": 3, "d": 0.5, "icc": 0.1, "AR": 0.7, "total_variance": 2.0},
        **{"transition_periods": 1, "alpha": 0.05, "alternative": "two.sided"},
    }
    names = ("se", "power", "se_without_transition", "power_without_transition")
    found = decay_transition(None, {"inputs": inputs, "results": dict.fromkeys(names)})  # type: ignore[arg-type]
    for gap, name in ((1, "se"), (0, "se_without_transition")):
        plan = LongitudinalClusterDesign(
            ClusterSchedule.stepped_wedge(3, transition_periods=gap),
            2,
            3,
            likeness(0.1, 1.0, decay=0.7),
            Continuous(sd=2.0**0.5),
        )
        assert found[name] == pytest.approx(one_by_one(plan) ** 0.5, rel=1e-9)
    assert found["se"] > found["se_without_transition"]


@settings(deadline=None, max_examples=25)
@given(icc=st.floats(0.01, 0.3), cac=st.floats(0.1, 0.95), decay=st.floats(0.3, 1.0))
def test_more_is_never_worse_and_a_cell_has_a_floor(icc: float, cac: float, decay: float) -> None:
    plan = wedge(correlation=likeness(icc, cac, decay=decay))

    def error(name: str, size: float) -> float:
        return plan.planned_test(0.0, size=(name, size)).std_error

    cells = [error("cluster_period_size", m) for m in (1.0, 5.0, 50.0, 1e6, np.inf)]
    assert cells == sorted(cells, reverse=True)
    # What is left with exact cell means: deviations of clusters in periods.
    assert cells[-1] == pytest.approx(error("cluster_period_size", 1e9), rel=1e-5)
    assert cells[-1] > 0.0
    clusters = [error("clusters_per_sequence", k) for k in (1.0, 2.0, 8.0)]
    # The variance is inversely proportional to the number of clusters.
    assert clusters[0] ** 2 == pytest.approx(8.0 * clusters[2] ** 2, rel=1e-9)
    assert error("clusters_per_sequence", np.inf) == 0.0


def test_exposure_is_counted_as_the_estimator_counts_it() -> None:
    assert WEDGE.exposure == ((0, 1, 2, 3), (0, 0, 1, 2), (0, 0, 0, 1))
    assert ClusterSchedule.stepped_wedge(2, transition_periods=1).exposure == ((0, None, 1), (0, 0, None))
    assert ClusterSchedule.stepped_wedge(3, observed_around=1).rows == (
        (0, 1, None, None),
        (None, 0, 1, None),
        (None, None, 0, 1),
    )
    # The incomplete wedge of SteppedPower's vignette, in which a two means two periods on each side of the step.
    seen = [[entry is not None for entry in row] for row in ClusterSchedule.stepped_wedge(4, observed_around=2).rows]
    assert np.array(seen).astype(int).tolist() == [[1, 1, 1, 0, 0], [1, 1, 1, 1, 0], [0, 1, 1, 1, 1], [0, 0, 1, 1, 1]]
    assert ClusterSchedule.crossover().returns_to_control
    assert not WEDGE.returns_to_control
