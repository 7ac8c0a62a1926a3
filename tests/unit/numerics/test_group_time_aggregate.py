"""Aggregated group-time effects against R's did (numbers of others), brute force and numerical derivatives."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import chi2

from gbveval.numerics.group_time import group_time_panel, last_cohort_as_control
from gbveval.numerics.group_time_aggregate import aggregate_group_time, pretrend_test
from gbveval.numerics.group_time_cells import GroupTimeFit
from gbveval.numerics.group_time_rcs import group_time_cross_section
from gbveval.numerics.uniform_band import multiplier_critical, sup_t_critical

SHARED = (Path(__file__).parents[3] / ".." / "shared").resolve()
DID = SHARED / "reference" / "did"
KIND = {"simple": "simple", "dynamic": "event_time", "group": "cohort", "calendar": "calendar"}


def reference_cases(*, with_band: bool = False) -> list[Any]:
    if not (DID / "cases.json").exists():
        return [pytest.param(None, marks=pytest.mark.skip(reason="../shared is absent: no reference numbers"))]
    cases = json.loads((DID / "cases.json").read_text())
    chosen = [
        c
        for c in cases
        if c["task"]["kind"] == "callaway_santanna"
        and not c["task"]["roles"]["covariates"]
        and (not with_band or "uniform_band" in c["results"])
        and (c["task"]["options"]["panel"] is False or c["task"]["options"]["unbalanced"] == "drop")
    ]
    return [pytest.param(c, id=str(i)) for i, c in enumerate(chosen)]


def read_frame(task: dict[str, Any]) -> Any:
    import pandas as pd

    spec = task["data"]
    frame = pd.read_csv(DID / spec["file"])
    for condition in spec["filter"]:
        frame = frame.query(condition)
    for column in spec["derive"]:
        frame[column["name"]] = frame.eval(column["expr"]).astype(float)
    return frame.dropna(subset=spec["drop_missing"])


def fit_case(task: dict[str, Any]) -> tuple[GroupTimeFit, Any]:
    roles, options = task["roles"], task["options"]
    frame = read_frame(task)
    cohort = frame[roles["cohort"]].astype(float)
    frame["_cohort"] = cohort.fillna(np.inf)
    if roles["never_treated_code"] is not None:
        frame.loc[cohort == roles["never_treated_code"], "_cohort"] = np.inf
    common = {key: options[key] for key in ("control_group", "base_period", "anticipation")}
    cluster_column = next((c for c in roles["cluster"] if c != roles["unit"]), None)
    weight = roles["weights"]
    if not options["panel"]:
        fit = group_time_cross_section(
            frame[roles["outcome"]],
            frame[roles["time"]],
            frame["_cohort"],
            weights=frame[weight] if weight else None,
            **common,
        )
        return fit, frame[cluster_column].to_numpy() if cluster_column else None
    wide = frame.pivot(index=roles["unit"], columns=roles["time"], values=roles["outcome"]).dropna()
    unit = frame.drop_duplicates(roles["unit"]).set_index(roles["unit"]).loc[wide.index]
    outcome, units, times = wide.to_numpy(), unit["_cohort"].to_numpy(), wide.columns.to_numpy(dtype=float)
    if options["no_never_treated"] == "last_cohort_is_control" and options["control_group"] == "never":
        units, times = last_cohort_as_control(units, times, anticipation=options["anticipation"])
        outcome = outcome[:, : len(times)]
    fit = group_time_panel(outcome, units, periods=times, weights=unit[weight].to_numpy() if weight else None, **common)
    return fit, unit[cluster_column].to_numpy() if cluster_column else None


def as_array(values: list[float | None]) -> np.ndarray:
    return np.array([np.nan if v is None else v for v in values], dtype=float)


def assert_matches(value: np.ndarray, std_error: np.ndarray, want: np.ndarray, want_se: np.ndarray, rel: float) -> None:
    """Relative tolerance for standard errors and for estimates above 0.01 of theirs; smaller ones on that scale."""
    np.testing.assert_array_equal(np.isnan(value), np.isnan(want))
    np.testing.assert_array_equal(np.isnan(std_error), np.isnan(want_se))
    ok = ~np.isnan(want_se)
    np.testing.assert_allclose(std_error[ok], want_se[ok], rtol=rel)
    scale = np.maximum(np.abs(want[ok]), 0.01 * want_se[ok])
    assert np.all(np.abs(value[ok] - want[ok]) <= rel * scale)
    rest = ~ok & ~np.isnan(want)
    np.testing.assert_allclose(value[rest], want[rest], rtol=rel, atol=1e-12)


@pytest.mark.parametrize("case", reference_cases())
def test_reference_numbers(case: dict[str, Any]) -> None:
    task, results, rel = case["task"], case["results"], case["tolerance"]["rel"]
    options = task["options"]
    fit, cluster = fit_case(task)
    assert fit.n_units == results["n_units"]
    assert list(zip(fit.group, fit.time, strict=True)) == list(zip(results["group"], results["time"], strict=True))
    se_key = options.get("accepted_se") or "se"
    assert_matches(fit.att, fit.std_errors(cluster), as_array(results["att"]), as_array(results[se_key]), rel)
    for name in options["aggregations"]:
        check_aggregation(fit, cluster, KIND[name], options, results["agg_" + name], rel)
    if options["pretest"]:
        check_pretest(fit, cluster, results, rel)


def check_aggregation(
    fit: GroupTimeFit, cluster: Any, kind: Any, options: dict[str, Any], want: dict[str, Any], rel: float
) -> None:
    limits = {key: options[key] for key in ("min_e", "max_e") if options[key] is not None}
    got = aggregate_group_time(
        fit,
        kind,
        balance_e=options["balance_e"],
        drop_undefined=options["drop_undefined_cells_in_aggregation"],
        **limits,
    )
    assert options["post_treatment_cells"] == "t >= g"
    std_error = got.std_errors(cluster)
    if kind == "simple":
        value, se, value_overall, se_overall = [], [], want["att"], want["se"]
    else:
        value, se, value_overall, se_overall = want["att"], want["se"], want["overall_att"], want["overall_se"]
        assert got.term.tolist() == want["egt"]
    assert_matches(got.value, std_error[:-1], as_array(value), as_array(se), rel)
    assert_matches(np.array([got.overall]), std_error[-1:], as_array([value_overall]), as_array([se_overall]), rel)


def check_pretest(fit: GroupTimeFit, cluster: Any, results: dict[str, Any], rel: float) -> None:
    test = pretrend_test(fit, cluster=cluster)
    if results["pretest_wald"] is None:
        assert np.isnan(test.statistic)
        assert test.reason
        return
    # The inverse of the covariance loses digits: ten times the tolerance of the covariance itself.
    assert test.statistic == pytest.approx(results["pretest_wald"], rel=10 * rel)
    # The reference rounds its p-value to five decimals.
    assert test.p_value == pytest.approx(results["pretest_pvalue"], abs=5.1e-6)


@pytest.mark.parametrize("case", reference_cases(with_band=True))
def test_reference_uniform_bands(case: dict[str, Any]) -> None:
    band = case["results"]["uniform_band"]
    fit, cluster = fit_case(case["task"])
    events = aggregate_group_time(fit, "event_time").linear.take(np.arange(len(band["dynamic_boot_se"])))
    for linear, key in ((fit.linear, "att_gt_critical_value"), (events, "dynamic_critical_value")):
        # The reference divides by interquartile ranges of Rademacher draws of the units' influence.
        scores = linear.matrix() if cluster is None else linear.cluster_sums(cluster)
        got = multiplier_critical(scores, rng=np.random.default_rng(20), level=0.95, scale="interquartile")
        tolerance = band["monte_carlo_rel_tol"]
        assert got.value == pytest.approx(band[key], rel=tolerance)
        # Its errors come from 25,000 draws: an interquartile range has a relative Monte Carlo error of 0.7 %, on both
        # sides, so 3 % is three of the difference.
        np.testing.assert_allclose(got.scale, band[key.replace("critical_value", "boot_se")], rtol=0.03)
        # The normal limit gives nearly the same band where it counts, at the widest term.
        normal = sup_t_critical(linear.covariance(cluster), rng=np.random.default_rng(21), level=0.95)
        widest = np.argmax(normal.scale)
        assert normal.value * normal.scale[widest] == pytest.approx(got.value * got.scale[widest], rel=0.1)


# ---- an independent, literal transcription ------------------------------------------------------------------------


def slow_cells(
    Y: np.ndarray, cohort: np.ndarray, w: np.ndarray, periods: list[float], never: bool, universal: bool, delta: float
) -> dict[tuple[float, float], float]:
    """Every two-by-two comparison by loops; cohorts must already be free of always-treated units."""
    answer: dict[tuple[float, float], float] = {}
    for g in sorted({c for c in cohort if np.isfinite(c)}):
        for j, t in enumerate(periods):
            if not universal and j == 0:
                continue
            clear = [s for s in periods if s + delta < g]
            base = clear[-1] if universal or t >= g else periods[j - 1]
            if base == t:
                answer[g, t] = 0.0
                continue
            b = periods.index(base)
            top_t = bottom_t = top_c = bottom_c = 0.0
            for i in range(len(cohort)):
                change = Y[i, j] - Y[i, b]
                untreated = np.isinf(cohort[i]) if never else cohort[i] > max(t, base) + delta
                if cohort[i] == g:
                    top_t, bottom_t = top_t + w[i] * change, bottom_t + w[i]
                elif untreated:
                    top_c, bottom_c = top_c + w[i] * change, bottom_c + w[i]
            answer[g, t] = top_t / bottom_t - top_c / bottom_c if bottom_c > 0 else np.nan
    return answer


def slow_aggregates(cells: dict[tuple[float, float], float], cohort: np.ndarray, w: np.ndarray, **limit: float) -> Any:
    """Return {kind: (rows, overall)} by loops."""
    share = {g: w[cohort == g].sum() for g, _ in cells}
    balance, low, high = limit.get("balance_e"), limit.get("min_e", -np.inf), limit.get("max_e", np.inf)
    cells = {key: v for key, v in cells.items() if not np.isnan(v)}
    last = max(t for _, t in cells)

    def mean(keys: list[tuple[float, float]]) -> float:
        return sum(share[k[0]] * cells[k] for k in keys) / sum(share[k[0]] for k in keys)

    post = [(g, t) for g, t in cells if t >= g]
    short = [(g, t) for g, t in post if t - g <= high]
    answer: dict[str, tuple[dict[float, float], float]] = {"simple": ({}, mean(short))}
    rows = {g: float(np.mean([cells[k] for k in short if k[0] == g])) for g in sorted({g for g, _ in short})}
    answer["cohort"] = rows, sum(share[g] * v for g, v in rows.items()) / sum(share[g] for g in rows)
    rows = {t: mean([k for k in post if k[1] == t]) for t in sorted({t for _, t in post})}
    answer["calendar"] = rows, float(np.mean(list(rows.values())))
    kept = [(g, t) for g, t in cells if low <= t - g <= high]
    if balance is not None:
        kept = [(g, t) for g, t in kept if last - g >= balance and t - g <= balance]
    rows = {e: mean([k for k in kept if k[1] - k[0] == e]) for e in sorted({t - g for g, t in kept})}
    answer["event_time"] = rows, float(np.mean([v for e, v in rows.items() if e >= 0]))
    return answer


PERIODS = [2000.0, 2001.0, 2003.0, 2004.0, 2006.0]


def sample(seed: int, *, never: bool = True) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    n = 26
    Y = rng.normal(size=(n, 5)).cumsum(axis=1) + 50.0
    last = np.inf if never else 2006.0
    cohort = rng.permutation(np.resize([2002.0, 2003.0, 2004.0, last, last], n))
    return Y, cohort, rng.uniform(0.5, 3.0, n)


OPTIONS = [
    pytest.param(never, universal, delta, id=f"{'never' if never else 'not_yet'}-{universal}-{delta}")
    for never in (True, False)
    for universal in (True, False)
    for delta in (0.0, 1.0, 3.0)
]
LIMITS: list[dict[str, float]] = [{}, {"balance_e": 2.0}, {"min_e": -2.0, "max_e": 1.0}]


@pytest.mark.parametrize(("never", "universal", "delta"), OPTIONS)
def test_estimates_and_influence_equal_brute_force_and_its_derivative(
    never: bool, universal: bool, delta: float
) -> None:
    """The influence of unit i is w_i times the derivative of the (brute-force) estimate in its weight."""
    Y, cohort, w = sample(4)
    # Three years of anticipation hold two periods, so the varying base differs from the last untouched period.
    cohort = np.where(cohort <= PERIODS[0] + delta, 2006.0, cohort)
    fit = group_time_panel(
        Y,
        cohort,
        periods=PERIODS,
        control_group="never" if never else "not_yet",
        base_period="universal" if universal else "varying",
        anticipation=delta,
        weights=w,
    )

    def estimates(weight: np.ndarray) -> np.ndarray:
        cells = slow_cells(Y, cohort, weight, PERIODS, never, universal, delta)
        numbers = list(cells.values())
        for limit in LIMITS:
            for rows, overall in slow_aggregates(cells, cohort, weight, **limit).values():
                numbers += [*rows.values(), overall]
        return np.array(numbers)

    parts = [fit.att]
    influence = [fit.influence]
    for limit in LIMITS:
        for kind in ("simple", "cohort", "calendar", "event_time"):
            got = aggregate_group_time(fit, kind, **limit)  # type: ignore[arg-type]
            parts.append(np.append(got.value, got.overall))
            influence.append(got.influence)
            np.testing.assert_allclose(got.covariance(), got.influence.T @ got.influence, atol=1e-12)
    np.testing.assert_allclose(np.concatenate(parts), estimates(w), atol=1e-12)

    # Central differences: error h^2 from curvature and eps / h from rounding, so about 1e-9 with h = 1e-4.
    h = 1e-4
    numeric = np.empty((len(w), len(np.concatenate(parts))))
    for i in range(len(w)):
        step = np.zeros(len(w))
        step[i] = h * w[i]
        numeric[i] = (estimates(w + step) - estimates(w - step)) / (2.0 * h)
    np.testing.assert_allclose(np.concatenate(influence, axis=1), numeric, atol=2e-8)


@pytest.mark.parametrize("delta", [0.0, 1.0])
def test_terms_equal_brute_force_labels(delta: float) -> None:
    Y, cohort, w = sample(5)
    fit = group_time_panel(Y, cohort, periods=PERIODS, control_group="not_yet", anticipation=delta, weights=w)
    want = slow_aggregates(slow_cells(Y, cohort, w, PERIODS, False, False, delta), cohort, w)
    for kind in ("cohort", "calendar", "event_time"):
        got = aggregate_group_time(fit, kind)  # type: ignore[arg-type]
        assert got.term.tolist() == list(want[kind][0])
        assert int(got.n_cells.sum()) == int(np.sum(fit.post)) or kind == "event_time"


def test_aggregation_leaves_out_cells_without_controls() -> None:
    """Without never-treated units the last cohort is the control; cells are the same as with it recoded by hand."""
    Y, cohort, w = sample(6, never=False)
    fit = group_time_panel(Y, cohort, periods=PERIODS, control_group="not_yet", weights=w)
    recoded = np.where(cohort == 2006.0, np.inf, cohort)
    want = slow_cells(Y[:, :4], recoded, w, PERIODS[:4], False, False, 0.0)
    np.testing.assert_allclose(fit.att, list(want.values()), atol=1e-12)
    got = aggregate_group_time(fit, "simple")
    assert got.overall == pytest.approx(slow_aggregates(want, recoded, w)["simple"][1], abs=1e-12)
    assert fit.last_cohort == 2006.0


def test_undefined_cells_are_dropped_or_reported() -> None:
    rng = np.random.default_rng(9)
    time = np.repeat([1.0, 2.0, 3.0], 40)
    cohort = np.resize([2.0, 3.0, np.inf, np.inf], 120)
    keep = ~((cohort == 2.0) & (time == 3.0))
    fit = group_time_cross_section(rng.normal(size=120)[keep], time[keep], cohort[keep])
    assert [bool(r) for r in fit.reason] == [False, True, False, False]
    dropped = aggregate_group_time(fit, "event_time")
    assert np.isfinite(dropped.value).all()
    assert np.isfinite(dropped.std_errors()).all()
    kept = aggregate_group_time(fit, "event_time", drop_undefined=False)
    assert kept.term.tolist() == [-1.0, 0.0, 1.0]
    assert np.isnan(kept.value).tolist() == [False, False, True]
    assert np.isnan(kept.std_errors()).tolist() == [False, False, True, True]
    assert np.isnan(kept.overall)
    assert kept.reason[2]
    assert kept.reason[3]
    np.testing.assert_allclose(kept.influence[:, :2], dropped.influence[:, :2])


def test_nothing_to_average_is_undefined_with_a_reason() -> None:
    Y, cohort, _ = sample(3)
    fit = group_time_panel(Y, cohort, periods=PERIODS)
    for kind in ("simple", "event_time", "cohort"):
        got = aggregate_group_time(fit, kind, max_e=-1.0)  # type: ignore[arg-type]
        assert np.isnan(got.overall)
        assert got.reason[-1]
        assert np.isnan(got.std_errors()[-1])
    with pytest.raises(ValueError, match="kind must be"):
        aggregate_group_time(fit, "dynamic")  # type: ignore[arg-type]


def test_pretest_is_the_wald_form_of_the_influence_functions() -> None:
    Y, cohort, w = sample(8)
    cluster = np.resize(np.arange(9), len(w))
    fit = group_time_panel(Y, cohort, periods=PERIODS, anticipation=1.0, base_period="universal", weights=w)
    for include in (True, False):
        before = fit.time < fit.group if include else fit.time + 1.0 < fit.group
        chosen = before & (fit.time != fit.base)
        sums = np.array([fit.influence[cluster == c].sum(axis=0) for c in np.unique(cluster)])[:, chosen]
        want = float(fit.att[chosen] @ np.linalg.solve(sums.T @ sums, fit.att[chosen]))
        got = pretrend_test(fit, cluster=cluster, include_anticipation=include)
        assert got.df == chosen.sum()
        assert got.statistic == pytest.approx(want, rel=1e-8)
        assert got.p_value == pytest.approx(chi2.sf(want, chosen.sum()), rel=1e-7)


def test_pretest_says_why_it_is_undefined() -> None:
    Y, cohort, _ = sample(8)
    fit = group_time_panel(Y, cohort, periods=PERIODS)
    few = pretrend_test(fit, cluster=np.resize([0, 1, 2], len(Y)))
    assert np.isnan(few.statistic)
    assert "singular" in few.reason
    two = group_time_panel(Y[:, 2:4], np.where(cohort < 2004, np.inf, cohort), periods=PERIODS[2:4])
    none = pretrend_test(two)
    assert (none.df, np.isnan(none.p_value)) == (0, True)
    assert none.reason
