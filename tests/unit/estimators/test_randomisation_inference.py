"""Randomisation inference against scipy, brute force over allocations, and refits of the difference in means."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from itertools import combinations, product
from typing import Any, ClassVar

import numpy as np
import pytest
from scipy import stats

import gbveval as gbv
from gbveval.core.errors import IdentificationError

ALL = "exact"


def simple(n: int = 9, seed: int = 1, **columns: Any) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    arm = np.where(np.arange(n) % 2 == 0, "new", "usual")
    return {"y": rng.normal(size=n) + 1.2 * (arm == "new"), "arm": arm.tolist(), **columns}


def trial(frame: dict[str, Any], **roles: Any) -> gbv.Trial:
    return gbv.Trial(frame, outcome=roles.pop("outcome", "y"), arm="arm", control="usual", **roles)


def strata(seed: int = 3) -> dict[str, Any]:
    arm = ["new", "usual", "new", "usual", "new", "new", "usual", "usual", "new"]
    y = np.random.default_rng(seed).normal(size=9) + 0.8 * (np.array(arm) == "new")
    return {"y": y, "arm": arm, "stratum": ["a"] * 5 + ["b"] * 4}


def clusters(seed: int = 5, sizes: tuple[int, ...] = (3, 5, 2, 4, 3, 6)) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    code = np.repeat(np.arange(len(sizes)), sizes)
    arm = np.where(code % 2 == 0, "new", "usual")
    y = rng.normal(size=len(sizes))[code] + rng.normal(size=code.size) + (arm == "new")
    return {"y": y, "arm": arm.tolist(), "cluster": [f"c{g}" for g in code]}


def pairs(seed: int = 7, n: int = 6) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    y = np.repeat(rng.normal(size=n), 2) + 0.7 * rng.normal(size=2 * n) + np.tile([0.0, 1.0], n)
    return {"y": y, "arm": ["usual", "new"] * n, "pair": np.repeat(np.arange(n), 2).tolist()}


def paired_clusters() -> dict[str, Any]:
    frame = clusters(seed=9, sizes=(3, 4, 5, 2, 4, 4, 2, 3))
    code = [int(name[1:]) for name in frame["cluster"]]
    return {**frame, "pair": [g // 2 for g in code]}


def test_the_simple_test_is_scipys_permutation_test() -> None:
    frame = simple()
    y, new = np.asarray(frame["y"]), np.asarray(frame["arm"]) == "new"
    for statistic, function in (
        ("difference", lambda a, b, axis: np.mean(a, axis=axis) - np.mean(b, axis=axis)),
        ("studentised", lambda a, b, axis: stats.ttest_ind(a, b, axis=axis, equal_var=False).statistic),
    ):
        for alternative in ("greater", "less"):
            expected = stats.permutation_test(
                (y[new], y[~new]), function, n_resamples=np.inf, alternative=alternative, vectorized=True
            )
            found = gbv.RandomisationInference(statistic=statistic, alternative=alternative).estimate(trial(frame))
            assert found[0].p_value == pytest.approx(expected.pvalue, rel=1e-10)
            assert found[0].statistic == pytest.approx(expected.statistic, rel=1e-10)


DESIGNS = {
    "simple": (simple(), ()),
    "strata": (strata(), ("stratum",)),
    "pairs": (pairs(), ("pair",)),
    "clusters": (clusters(), ("cluster",)),
    "paired clusters": (paired_clusters(), ("cluster", "pair")),
}


def allocations(frame: dict[str, Any], roles: tuple[str, ...]) -> list[list[str]]:
    """Every allocation of the rows, by hand."""
    arm = np.asarray(frame["arm"])
    unit = np.asarray(frame["cluster"] if "cluster" in roles else [str(i) for i in range(arm.size)])
    names = list(dict.fromkeys(unit.tolist()))
    block = dict.fromkeys(names, 0)
    for role in ("stratum", "pair"):
        if role in roles:
            block = {name: frame[role][unit.tolist().index(name)] for name in names}
    treated = {name: arm[unit == name][0] == "new" for name in names}
    choices = []
    for b in sorted(set(block.values()), key=str):
        inside = [name for name in names if block[name] == b]
        choices.append(list(combinations(inside, sum(treated[name] for name in inside))))
    rows = []
    for choice in product(*choices):
        chosen = {name for part in choice for name in part}
        rows.append(["new" if name in chosen else "usual" for name in unit])
    return rows


def brute_force(frame: dict[str, Any], roles: tuple[str, ...], tau: float, studentised: bool) -> float:
    """The two-sided p-value from one fit of the difference in means an allocation."""
    own = np.asarray(frame["arm"]) == "new"
    base = np.asarray(frame["y"]) - tau * own

    def statistic(arm: list[str]) -> float:
        row = gbv.DifferenceInMeans().estimate(trial({**frame, "y": base, "arm": arm}, **{r: r for r in roles}))[0]
        assert row.value is not None
        return row.value / row.std_error if studentised and row.std_error else row.value

    observed = abs(statistic(frame["arm"]))
    values = np.array([abs(statistic(arm)) for arm in allocations(frame, roles)])
    return float(np.mean(values >= observed * (1 - 1e-9)))


@pytest.mark.parametrize("studentised", [True, False])
@pytest.mark.parametrize("design", DESIGNS)
def test_matrix_products_equal_a_fit_an_allocation(design: str, studentised: bool) -> None:
    frame, roles = DESIGNS[design]
    data = trial(frame, **{role: role for role in roles})
    statistic = "studentised" if studentised else "difference"
    for tau in (0.0, 0.45):
        found = gbv.RandomisationInference(statistic=statistic, null=tau).estimate(data)[0]
        assert found.p_value == pytest.approx(brute_force(frame, roles, tau, studentised), abs=1e-12)
    base = gbv.DifferenceInMeans().estimate(data)[0]
    assert (found.value, found.std_error) == (base.value, base.std_error)


@pytest.mark.parametrize("design", DESIGNS)
def test_the_interval_is_where_the_test_stops_rejecting(design: str) -> None:
    frame, roles = DESIGNS[design]
    data = trial(frame, **{role: role for role in roles})
    # With so few allocations only a low level excludes anything.
    row = gbv.RandomisationInference(level=0.7).estimate(data)[0]
    assert row.interval is not None
    low, high = row.interval
    assert np.isfinite([low, high]).all()
    step = 1e-6
    for limit, inside in ((low, step), (high, -step)):
        assert brute_force(frame, roles, limit + inside, True) > 0.3
        assert brute_force(frame, roles, limit - inside, True) <= 0.3 + 1e-12


@dataclass(frozen=True)
class Wrapped:
    """Another estimator in the eyes of the fast path."""

    inner: Any = field(default_factory=gbv.DifferenceInMeans)
    name: ClassVar[str] = "difference_in_means"

    def estimate(self, data: gbv.Trial, *, rng: Any = None) -> gbv.Estimates:
        result: gbv.Estimates = self.inner.estimate(data)
        return result


@pytest.mark.parametrize("design", DESIGNS)
def test_refits_equal_matrix_products(design: str) -> None:
    frame, roles = DESIGNS[design]
    data = trial(frame, **{role: role for role in roles})
    fast = gbv.RandomisationInference(level=0.7, null=0.2).estimate(data)[0]
    slow = gbv.RandomisationInference(Wrapped(), level=0.7, null=0.2).estimate(data)[0]
    assert slow.p_value == pytest.approx(fast.p_value, abs=1e-12)
    assert slow.interval == pytest.approx(fast.interval, rel=1e-6)


def test_four_pairs_cannot_reject_and_say_so() -> None:
    answer = gbv.RandomisationInference(statistic="difference").estimate(trial(pairs(n=4), pair="pair"))
    check = answer.check("allocations")
    assert check.status == "warn"
    assert "0.125" in check.message
    assert answer[0].interval == (-np.inf, np.inf)
    assert "no effect can be excluded" in answer[0].reason
    again = gbv.Estimates.from_json(answer.to_json())
    assert again[0].interval == (-np.inf, np.inf)


def test_drawn_allocations_agree_with_all_of_them() -> None:
    data = trial(simple(n=12))
    exact = gbv.RandomisationInference(distribution=ALL).estimate(data)[0]
    drawn = gbv.RandomisationInference(distribution="monte_carlo", n_draws=40_000).estimate(data)[0]
    error = np.sqrt(exact.p_value * (1 - exact.p_value) / 40_000)
    assert abs(drawn.p_value - exact.p_value) < 5 * error + 1 / 40_000
    assert drawn.interval == pytest.approx(exact.interval, abs=0.1)


def test_the_rank_sum_is_scipys() -> None:
    frame = simple(n=43, seed=8)
    y, new = np.asarray(frame["y"]), np.asarray(frame["arm"]) == "new"
    row = gbv.RandomisationInference(statistic="rank_sum", distribution=ALL).estimate(trial(frame))[0]
    expected = stats.mannwhitneyu(y[new], y[~new], method="exact").pvalue
    assert row.p_value == pytest.approx(expected, rel=1e-9)
    normal = gbv.RandomisationInference(statistic="rank_sum", distribution="asymptotic").estimate(trial(frame))[0]
    reference = stats.ranksums(y[new], y[~new])
    assert (normal.statistic, normal.p_value) == (
        pytest.approx(reference.statistic, rel=1e-10),
        pytest.approx(reference.pvalue, rel=1e-10),
    )


def test_missing_outcomes_are_conditioned_on() -> None:
    frame = simple(n=9)
    y = np.asarray(frame["y"]).copy()
    y[4] = np.nan
    keep = [i for i in range(9) if i != 4]
    fewer = {"y": y[keep], "arm": [frame["arm"][i] for i in keep]}
    with_missing = gbv.RandomisationInference().estimate(trial({**frame, "y": y}))[0]
    assert with_missing.p_value == gbv.RandomisationInference().estimate(trial(fewer))[0].p_value


def test_arms_are_compared_among_the_units_of_the_two() -> None:
    rng = np.random.default_rng(2)
    frame = {"y": rng.normal(size=12), "arm": ["usual", "new", "other"] * 4}
    answer = gbv.RandomisationInference().estimate(trial(frame))
    rows = [i for i in range(12) if frame["arm"][i] != "other"]
    two = {"y": frame["y"][rows], "arm": [frame["arm"][i] for i in rows]}
    alone = gbv.RandomisationInference().estimate(trial(two))
    assert answer["new vs usual"].p_value == alone[0].p_value
    joint = answer["all arms and outcomes together"]
    assert joint.kind == "test"
    assert joint.p_value is not None
    assert 0 < joint.p_value <= 1


def test_the_joint_test_is_the_largest_statistic_over_all_allocations() -> None:
    frame = simple(n=8)
    frame["z"] = np.random.default_rng(9).normal(size=8)
    answer = gbv.RandomisationInference().estimate(trial(frame, outcome=["y", "z"]))
    values = []
    for arm in allocations(frame, ()):
        rows = gbv.DifferenceInMeans().estimate(trial({**frame, "arm": arm}, outcome=["y", "z"])).terms
        values.append(max(abs(row.value / row.std_error) for row in rows))  # type: ignore[operator]
    observed = max(abs(row.value / row.std_error) for row in answer.terms[:2])  # type: ignore[operator]
    joint = answer["all arms and outcomes together"]
    assert joint.statistic == pytest.approx(observed, rel=1e-10)
    assert joint.p_value == pytest.approx(np.mean(np.array(values) >= observed * (1 - 1e-9)), abs=1e-12)


def test_probabilities_that_vary_are_used_for_draws_and_weights() -> None:
    frame = simple(n=6, seed=4)
    frame["p"] = [0.3, 0.6, 0.5, 0.2, 0.7, 0.4]
    data = trial(frame, probability="p")
    found = gbv.RandomisationInference(statistic="ipw_difference", alternative="greater").estimate(data)[0]
    y, p = np.asarray(frame["y"]), np.asarray(frame["p"])

    def hajek(z: np.ndarray) -> float:
        w1, w0 = z / p, (1 - z) / (1 - p)
        return float(w1 @ y / w1.sum() - w0 @ y / w0.sum())

    observed = hajek(np.asarray([a == "new" for a in frame["arm"]], dtype=float))
    rows = [np.array(z, dtype=float) for z in product([0, 1], repeat=6) if 0 < sum(z) < 6]
    weight = np.array([np.prod(np.where(z == 1, p, 1 - p)) for z in rows])
    inside = np.array([hajek(z) >= observed - 1e-12 for z in rows])
    assert found.value == pytest.approx(observed, rel=1e-12)
    assert found.p_value == pytest.approx(weight[inside].sum() / weight.sum(), rel=1e-10)


def test_recorded_allocations_replace_the_scheme() -> None:
    frame = simple(n=6)
    own = [1 if a == "new" else 0 for a in frame["arm"]]
    recorded = gbv.RecordedAllocations([own, [0, 1, 0, 1, 0, 1], [1, 1, 0, 0, 1, 0], [0, 0, 1, 1, 0, 1]])
    row = gbv.RandomisationInference(statistic="difference", assignment=recorded).estimate(trial(frame))[0]
    y = np.asarray(frame["y"])
    values = [abs(y[np.array(z) == 1].mean() - y[np.array(z) == 0].mean()) for z in recorded.codes]
    assert row.p_value == np.mean(np.array(values) >= values[0] - 1e-12)
    assert hash(recorded) == hash(gbv.RecordedAllocations(recorded.codes))
    with pytest.raises(gbv.DesignError, match="columns"):
        gbv.RandomisationInference(assignment=gbv.RecordedAllocations([[0, 1]])).estimate(trial(frame))


@dataclass(frozen=True)
class WithinPeriods:
    """Mean over periods of the difference between treated and untreated cluster means."""

    name: ClassVar[str] = "within_periods"

    def estimate(self, data: gbv.Trial, *, rng: Any = None) -> gbv.Estimates:
        assert data.time is not None
        y, terms = data.outcomes, []
        base = gbv.DifferenceInMeans().estimate(trial(simple(n=6)))
        for outcome, name in enumerate(data.outcome_names):
            found = []
            for period in range(data.time.count):
                now = data.time.codes == period
                if 0 < data.arm[now].mean() < 1:
                    found.append(y[now & (data.arm == 1), outcome].mean() - y[now & (data.arm == 0), outcome].mean())
            terms.append(replace(base[0], outcome=name, value=float(np.mean(found)), std_error=1.0))
        return replace(base, terms=tuple(terms), covariance=np.eye(len(terms)), influence=None, blocks=None)


def test_a_stepped_wedge_permutes_sequences() -> None:
    rng = np.random.default_rng(3)
    first = [1, 1, 2, 2]
    rows = [(g, t) for g in range(4) for t in range(3)]
    frame = {
        "y": rng.normal(size=12) + np.array([2.0 * (t >= first[g]) for g, t in rows]),
        "arm": ["new" if t >= first[g] else "usual" for g, t in rows],
        "cluster": [f"c{g}" for g, _ in rows],
        "time": [t for _, t in rows],
    }
    data = trial(frame, cluster="cluster", time="time")
    found = gbv.RandomisationInference(WithinPeriods(), statistic="difference", alternative="greater").estimate(data)
    values = []
    for early in combinations(range(4), 2):
        start = [1 if g in early else 2 for g in range(4)]
        treated = np.array([t >= start[g] for g, t in rows])
        y, time = np.asarray(frame["y"]), np.array([t for _, t in rows])
        periods = [1]  # in period 2 all are treated
        values.append(np.mean([y[(time == t) & treated].mean() - y[(time == t) & ~treated].mean() for t in periods]))
    assert found[0].p_value == pytest.approx(np.mean(np.array(values) >= values[0] - 1e-12))
    assert "sequences" in found.check("allocations").message


def test_estimators_that_are_not_linear_give_a_test_without_interval() -> None:
    @dataclass(frozen=True)
    class Odd(Wrapped):
        def estimate(self, data: gbv.Trial, *, rng: Any = None) -> gbv.Estimates:
            base = gbv.DifferenceInMeans().estimate(data)
            terms = tuple(replace(row, value=None if row.value is None else np.sinh(row.value)) for row in base.terms)
            return replace(base, terms=terms)

    answer = gbv.RandomisationInference(Odd(), statistic="difference").estimate(trial(simple()))
    assert answer[0].kind == "test"
    plain = gbv.RandomisationInference(statistic="difference").estimate(trial(simple()))
    assert answer[0].p_value == plain[0].p_value  # sinh keeps the order
    assert "not linear" in answer.check("no interval").message


def test_one_treated_cluster_has_a_test_by_the_plain_difference() -> None:
    frame = clusters()
    frame["arm"] = ["new" if name == "c0" else "usual" for name in frame["cluster"]]
    data = trial(frame, cluster="cluster")
    with pytest.raises(IdentificationError, match="statistic='difference'"):
        gbv.RandomisationInference().estimate(data)
    row = gbv.RandomisationInference(statistic="difference").estimate(data)[0]
    assert row.p_value is not None
    assert row.p_value >= 1 / 6 - 1e-12
    assert row.std_error is None
    assert row.reason


def test_strata_of_clusters_have_a_statistic() -> None:
    frame = clusters(sizes=(3, 5, 2, 4, 3, 6, 4, 2))
    frame["stratum"] = ["a" if int(name[1:]) < 4 else "b" for name in frame["cluster"]]
    data = trial(frame, cluster="cluster", stratum="stratum")
    row = gbv.RandomisationInference(statistic="difference").estimate(data)[0]
    y, new = np.asarray(frame["y"]), np.asarray(frame["arm"]) == "new"
    inside = np.array([s == "a" for s in frame["stratum"]])
    parts = [y[m & new].mean() - y[m & ~new].mean() for m in (inside, ~inside)]
    assert row.value == pytest.approx(parts[0] * inside.mean() + parts[1] * (1 - inside.mean()), rel=1e-10)
    assert dict(row.extra)["n_allocations"] == 36


def test_refusals_name_what_to_do() -> None:
    with pytest.raises(gbv.DesignError, match="monte_carlo"):
        gbv.RandomisationInference(distribution=ALL).estimate(trial(simple(n=60)))
    with pytest.raises(gbv.DesignError, match="no_more_likely"):
        gbv.RandomisationInference(two_sided="no_more_likely").estimate(trial(simple(n=60)))
    with pytest.raises(gbv.DesignError, match="probability"):
        gbv.RandomisationInference(assignment="simple").estimate(trial(simple()))
    alone = trial(simple(n=4, stratum=["a", "b", "a", "b"]), stratum="stratum")
    with pytest.raises(IdentificationError, match="Only one allocation"):
        gbv.RandomisationInference(statistic="difference").estimate(alone)
    frame = simple(n=8)
    frame["y"] = np.where(np.asarray(frame["arm"]) == "new", np.nan, frame["y"])
    with pytest.raises(IdentificationError, match="no unit with an outcome"):
        gbv.RandomisationInference().estimate(trial(frame))
    for option in ({"statistic": "t"}, {"n_draws": 3}, {"alternative": "up"}, {"level": 1.5}, {"assignment": "x"}):
        with pytest.raises(gbv.DesignError):
            gbv.RandomisationInference(**option)


def test_ugly_outcomes_end_in_a_number_or_a_named_refusal() -> None:
    n = 24
    arm = np.where(np.arange(n) % 2 == 0, "new", "usual")
    rng = np.random.default_rng(1)
    difference = gbv.RandomisationInference(statistic="difference", n_draws=99)
    # Complete separation: only the effect of one itself is not excluded.
    apart = difference.estimate(trial({"y": (arm == "new").astype(float), "arm": arm.tolist()}))[0]
    assert apart.interval == (pytest.approx(1.0), pytest.approx(1.0))
    with pytest.raises(IdentificationError, match="does not vary inside the arms"):
        gbv.RandomisationInference(n_draws=99).estimate(trial({"y": (arm == "new").astype(float), "arm": arm.tolist()}))
    # No event in an arm.
    rare = np.where(arm == "new", 0.0, rng.integers(0, 2, n))
    row = gbv.RandomisationInference(n_draws=999).estimate(trial({"y": rare, "arm": arm.tolist()}))[0]
    assert row.p_value is not None
    assert row.p_value < 0.05
    with pytest.raises(IdentificationError, match="does not vary"):
        difference.estimate(trial({"y": np.ones(n), "arm": arm.tolist()}))
    # A stratum without controls.
    lone = ["a" if i < 6 else "b" for i in range(n)]
    content = {"y": rng.normal(size=n), "arm": ["new"] * 6 + arm[6:].tolist(), "stratum": lone}
    with pytest.raises(IdentificationError, match="Merge strata"):
        difference.estimate(trial(content, stratum="stratum"))
    assert gbv.RandomisationInference(statistic="sum").estimate(trial(content, stratum="stratum"))[0].p_value


def test_an_offset_of_a_billion_changes_nothing() -> None:
    frame = simple(n=10)
    moved = {**frame, "y": np.asarray(frame["y"]) + 1e9}
    for estimator in (gbv.DifferenceInMeans(), Wrapped()):
        plain, far = (gbv.RandomisationInference(estimator).estimate(trial(f))[0] for f in (frame, moved))
        assert far.p_value == plain.p_value
        # 1e9 leaves about seven digits behind the point.
        assert far.interval == pytest.approx(plain.interval, abs=1e-5)


def test_weights_of_zero_take_no_part_and_weighted_trials_are_refitted() -> None:
    frame = simple(n=12)
    frame["w"] = np.where(np.arange(12) < 2, 0.0, 1.0)
    row = gbv.RandomisationInference(n_draws=1000).estimate(trial(frame, weight="w"))[0]
    assert row.value == gbv.DifferenceInMeans().estimate(trial(frame, weight="w"))[0].value
    assert dict(row.extra)["n_allocations"] == 924


@dataclass(frozen=True)
class WrappedLin(Wrapped):
    """Lin's adjustment in the eyes of the fast path another estimator."""

    inner: Any = field(default_factory=gbv.LinAdjusted)


@pytest.mark.parametrize("statistic", ["studentised", "difference"])
def test_lin_by_matrix_products_equals_refits(statistic: str) -> None:
    frame = simple(n=10)
    frame["x"] = np.random.default_rng(3).normal(size=10) + 0.5 * np.asarray(frame["y"])
    data = trial(frame, covariates=["x"])
    for null in (0.0, 0.4):
        fast = gbv.RandomisationInference(gbv.LinAdjusted(), statistic, null, level=0.7).estimate(data)[0]
        slow = gbv.RandomisationInference(WrappedLin(), statistic, null, level=0.7).estimate(data)[0]
        assert fast.statistic == pytest.approx(slow.statistic, rel=1e-8)
        assert fast.p_value == pytest.approx(slow.p_value, abs=1e-12)
        assert fast.interval == pytest.approx(slow.interval, rel=1e-6)
    assert fast.value == gbv.LinAdjusted().estimate(data)[0].value


def test_allocations_in_which_lin_has_no_solution_count_as_extreme() -> None:
    frame = simple(n=10)
    frame["x"] = [1.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]
    answer = gbv.RandomisationInference(gbv.LinAdjusted()).estimate(trial(frame, covariates=["x"]))
    assert "count as extreme" in answer.check("undefined statistics").message


def test_a_contrast_of_rows_is_tested_by_its_own_standard_error() -> None:
    rng = np.random.default_rng(2)
    frame = {"y": rng.normal(size=30), "arm": ["usual", "new", "other"] * 10}
    resampled = gbv.RandomisationInference(n_draws=99).estimate(trial(frame))
    plain = gbv.DifferenceInMeans().estimate(trial(frame))
    weights = {"new vs usual": 1.0, "other vs usual": -1.0}
    found, expected = (result.contrast(weights, name="c").records()[0] for result in (resampled, plain))
    assert found["statistic"] == pytest.approx(expected["statistic"])
    assert found["p_value"] != resampled["new vs usual"].p_value
