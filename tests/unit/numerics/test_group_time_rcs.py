"""Group-time effects of repeated cross-sections: brute force, derivatives, the panel as a witness."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from gbveval.numerics.group_time import group_time_panel
from gbveval.numerics.group_time_aggregate import aggregate_group_time
from gbveval.numerics.group_time_rcs import group_time_cross_section

TIMES = [1.0, 2.0, 4.0, 5.0]


def sample(seed: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    n = 80
    when = np.resize(TIMES, n)
    cohort = np.repeat([3.0, 4.0, 5.0, np.inf], 20)
    return {"y": rng.normal(size=n) + 20, "time": when, "cohort": cohort, "w": rng.uniform(0.5, 2.0, n)}


def slow(d: dict[str, np.ndarray], w: np.ndarray, never: bool, universal: bool, delta: float) -> dict[Any, float]:
    y, when, cohort = d["y"], d["time"], d["cohort"]

    def mean(rows: np.ndarray) -> float:
        return float(np.sum(w[rows] * y[rows]) / np.sum(w[rows]))

    answer = {}
    for g in sorted({c for c in cohort if np.isfinite(c) and c > TIMES[0] + delta}):
        for j, t in enumerate(TIMES):
            if j == 0 and not universal:
                continue
            base = [s for s in TIMES if s + delta < g][-1] if universal or t >= g else TIMES[j - 1]
            control = np.isinf(cohort) if never else (cohort > max(t, base) + delta) & (cohort != g)
            own = cohort == g
            answer[g, t] = 0.0
            if t != base:
                answer[g, t] = (mean(own & (when == t)) - mean(own & (when == base))) - (
                    mean(control & (when == t)) - mean(control & (when == base))
                )
    return answer


@pytest.mark.parametrize("never", [True, False])
@pytest.mark.parametrize("universal", [True, False])
@pytest.mark.parametrize("delta", [0.0, 1.0])
def test_estimates_and_influence_equal_brute_force_and_its_derivative(
    never: bool, universal: bool, delta: float
) -> None:
    d = sample()
    fit = group_time_cross_section(
        d["y"],
        d["time"],
        d["cohort"],
        control_group="never" if never else "not_yet",
        base_period="universal" if universal else "varying",
        anticipation=delta,
        weights=d["w"],
    )
    simple = aggregate_group_time(fit, "simple")

    def estimates(w: np.ndarray) -> np.ndarray:
        cells = slow(d, w, never, universal, delta)
        post = [key for key in cells if key[1] >= key[0]]
        share = {g: w[d["cohort"] == g].sum() for g, _ in cells}
        overall = sum(share[g] * cells[g, t] for g, t in post) / sum(share[g] for g, _ in post)
        return np.array([*cells.values(), overall])

    np.testing.assert_allclose(np.append(fit.att, simple.overall), estimates(d["w"]), atol=1e-12)
    # Central differences: about 1e-9 with this step.
    h, numeric = 1e-4, []
    for i, wi in enumerate(d["w"]):
        step = np.zeros(len(d["w"]))
        step[i] = h * wi
        numeric.append((estimates(d["w"] + step) - estimates(d["w"] - step)) / (2 * h))
    np.testing.assert_allclose(np.c_[fit.influence, simple.influence], numeric, atol=2e-8)
    np.testing.assert_allclose(fit.covariance(), fit.influence.T @ fit.influence, atol=1e-14)


def test_a_panel_clustered_by_unit_is_the_panel() -> None:
    """With every unit in every period the estimates coincide, and so does the covariance with units as clusters."""
    rng = np.random.default_rng(2)
    Y = rng.normal(size=(30, 4)).cumsum(axis=1)
    cohort = np.resize([4.0, 5.0, np.inf], 30)
    panel = group_time_panel(Y, cohort, periods=TIMES, control_group="not_yet")
    rows = group_time_cross_section(Y.ravel(), np.tile(TIMES, 30), np.repeat(cohort, 4), control_group="not_yet")
    unit = np.repeat(np.arange(30), 4)
    np.testing.assert_allclose(rows.att, panel.att, atol=1e-12)
    np.testing.assert_allclose(rows.covariance(unit), panel.covariance(), atol=1e-14)
    for kind in ("simple", "event_time", "cohort", "calendar"):
        a, b = aggregate_group_time(panel, kind), aggregate_group_time(rows, kind)  # type: ignore[arg-type]
        np.testing.assert_allclose(b.value, a.value, atol=1e-12)
        np.testing.assert_allclose(b.covariance(unit), a.covariance(), atol=1e-14)


def test_row_order_does_not_matter() -> None:
    d = sample()
    order = np.random.default_rng(5).permutation(80)
    fit = group_time_cross_section(d["y"], d["time"], d["cohort"], weights=d["w"])
    moved = group_time_cross_section(d["y"][order], d["time"][order], d["cohort"][order], weights=d["w"][order])
    np.testing.assert_allclose(moved.att, fit.att, atol=1e-13)
    np.testing.assert_allclose(moved.influence, fit.influence[order], atol=1e-13)


def test_empty_cells_are_undefined_with_a_reason() -> None:
    d = sample()
    keep = ~((d["cohort"] == 4.0) & (d["time"] == 2.0)) & ~(np.isinf(d["cohort"]) & (d["time"] == 5.0))
    fit = group_time_cross_section(d["y"][keep], d["time"][keep], d["cohort"][keep])
    reason = dict(zip(zip(fit.group, fit.time, strict=True), fit.reason, strict=True))
    assert reason[4.0, 2.0] == "no treated rows in the period"
    assert reason[4.0, 4.0] == "no treated rows in the base period"
    assert reason[3.0, 5.0] == "no control rows in the period"
    assert not reason[3.0, 4.0]
    bad = np.array([bool(r) for r in fit.reason])
    assert np.isnan(fit.att[bad]).all()
    assert np.isnan(fit.std_errors()[bad]).all()
    assert np.isfinite(fit.std_errors()[~bad]).all()


def test_counts_of_what_was_dropped() -> None:
    d = sample()
    cohort = np.where(d["cohort"] == 3.0, 1.0, np.where(np.isinf(d["cohort"]), 5.0, d["cohort"]))
    fit = group_time_cross_section(d["y"], d["time"], cohort, control_group="not_yet")
    # 20 rows are treated from the start; of the other 60 a quarter falls in period 5, when the last cohort starts.
    assert (fit.n_already_treated, fit.n_late, fit.n_units, fit.last_cohort) == (20, 15, 45, 5.0)
    assert set(fit.group) == {4.0}
    assert not fit.influence[d["time"] == 5.0].any()
    universal = group_time_cross_section(d["y"], d["time"], d["cohort"], base_period="universal")
    assert universal.n_treated.tolist() == np.where(universal.time == universal.base, 5, 10).tolist()


def test_a_large_level_costs_no_accuracy() -> None:
    d = sample()
    plain = group_time_cross_section(d["y"], d["time"], d["cohort"], weights=d["w"])
    moved = group_time_cross_section(d["y"] + 2.0**20, d["time"], d["cohort"], weights=d["w"])
    # Adding 2^20 rounds each outcome at 1e-10.
    np.testing.assert_allclose(moved.att, plain.att, atol=1e-9)
    np.testing.assert_allclose(moved.std_errors(), plain.std_errors(), rtol=1e-8)


def test_refusals() -> None:
    d = sample()
    with pytest.raises(ValueError, match="expected one"):
        group_time_cross_section(d["y"][:3], d["time"], d["cohort"])
    with pytest.raises(ValueError, match="1 rows"):
        group_time_cross_section(np.r_[np.nan, d["y"][1:]], d["time"], d["cohort"])
    with pytest.raises(ValueError, match="fewer than two"):
        group_time_cross_section(d["y"], np.ones(80), d["cohort"])
    with pytest.raises(ValueError, match="No unit is never treated"):
        group_time_cross_section(d["y"], d["time"], np.full(80, 4.0))
