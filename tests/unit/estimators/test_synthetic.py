"""Synthetic controls: what they equal by regression, by hand and by leaving out, and what they refuse."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

import gbveval as gbv
from gbveval.core.errors import DesignError, IdentificationError
from gbveval.core.table import Table
from gbveval.testing.processes import PanelFrames

FloatArray = NDArray[np.float64]
NEVER = np.inf


def frame(seed: int = 0, **options: Any) -> pd.DataFrame:
    settings = {"n_units": 12, "n_periods": 8, "cohorts": (6.0, NEVER, NEVER)} | options
    return pd.DataFrame(PanelFrames(**settings).frame(np.random.default_rng(seed))[0])


def panel(data: pd.DataFrame) -> gbv.Panel:
    return gbv.Panel(data, outcome="y", unit="unit", time="time", cohort="cohort")


def wide(data: pd.DataFrame) -> tuple[FloatArray, FloatArray]:
    """Return paths, and first treated periods, in order of units' names."""
    paths = data.pivot(index="unit", columns="time", values="y").to_numpy()
    return paths, data.groupby("unit")["cohort"].first().to_numpy()


def weights(table: Table, kind: str) -> FloatArray:
    """Return weights in order of names."""
    return np.array([row[3] for row in sorted(table.rows, key=_place) if row[1] == kind])


def _place(row: tuple[Any, ...]) -> tuple[Any, ...]:
    return (row[1], int(row[2].removeprefix("u")))


def by_weighted_regression(data: pd.DataFrame, table: Table) -> float:
    """Return the coefficient of treatment with unit and period effects, weighted by unit times period."""
    y, cohort = wide(data)
    n, t = y.shape
    controls = np.isinf(cohort)
    unit = np.full(n, 1.0 / (~controls).sum())
    unit[controls] = weights(table, "unit")
    before = weights(table, "period")
    time = np.append(before, np.full(t - before.size, 1.0 / (t - before.size)))
    treated = (~controls)[:, None] & (np.arange(t) >= before.size)
    columns = [treated.ravel()]
    columns += [np.repeat(np.eye(n)[i], t) for i in range(n)] + [np.tile(np.eye(t)[j], n) for j in range(1, t)]
    root = np.sqrt(np.outer(unit, time).ravel())
    return float(np.linalg.lstsq(np.column_stack(columns) * root[:, None], y.ravel() * root, rcond=None)[0][0])


@pytest.mark.parametrize("seed", range(4))
def test_synthetic_did_is_the_weighted_regression(seed: int) -> None:
    data = frame(seed)
    estimator = gbv.SyntheticDid(std_error="none")
    row = estimator.estimate(panel(data))[0]
    assert row.value == pytest.approx(
        by_weighted_regression(data, estimator.weights(panel(data), names=True)), rel=1e-9
    )
    assert row.std_error is None
    assert row.reason == "no standard error was asked for"


def test_default_penalties_and_both_sets_of_weights_are_those_of_the_paper() -> None:
    data = frame(9, n_units=14)
    table = gbv.SyntheticDid().weights(panel(data), names=True)
    y, cohort = wide(data)
    controls, treated = y[np.isinf(cohort)], y[np.isfinite(cohort)]
    noise = np.diff(controls[:, :5], axis=1).std(ddof=1)
    zeta = (len(treated) * 3) ** 0.25 * noise
    row = gbv.SyntheticDid().estimate(panel(data))[0]
    assert dict(row.extra)["unit_penalty"] == pytest.approx(zeta)

    def downhill(a: FloatArray, b: FloatArray, penalty: float, w: FloatArray) -> float:
        """Return how far the steepest vertex lies downhill, over the slope's size: zero or more at the optimum."""
        a, b = a - a.mean(axis=0), b - b.mean()
        slope = a.T @ (a @ w - b) + len(a) * penalty**2 * w
        return float((slope.min() - w @ slope) / np.abs(slope).max())

    units, times = weights(table, "unit"), weights(table, "period")
    # Rounding of cross-products, of order 1e-13 here; with half or twice the penalty these weights are no optimum.
    assert downhill(controls[:, :5].T, treated[:, :5].mean(axis=0), zeta, units) >= -1e-10
    assert downhill(controls[:, :5].T, treated[:, :5].mean(axis=0), 2 * zeta, units) < -1e-3
    assert downhill(controls[:, :5], controls[:, 5:].mean(axis=1), 1e-6 * noise, times) >= -1e-10


def test_infinite_penalties_make_it_the_difference_of_differences() -> None:
    data = frame(1)
    row = gbv.SyntheticDid(std_error="none", unit_penalty=np.inf, time_penalty=np.inf).estimate(panel(data))[0]
    assert row.value == pytest.approx(gbv.TwoByTwo().estimate(panel(data))["treated vs untreated"].value)


def test_a_mixture_of_controls_is_found_again() -> None:
    data = frame(2, n_units=11, n_periods=14, cohorts=(10.0, *[NEVER] * 10))
    y, _ = wide(data)
    made = 0.3 * y[2] + 0.7 * y[7]
    made[9:] += 4.0
    mixed = data.assign(y=np.where(data["unit"] == "u0000", np.tile(made, 11), data["y"]))
    estimator = gbv.SyntheticControl()
    table = estimator.weights(panel(mixed), names=True)
    found = dict(zip([f"u{i:04d}" for i in range(1, 11)], weights(table, "unit"), strict=True))
    # The penalty of 1e-6 noise levels moves weights by about its square.
    assert found["u0002"] == pytest.approx(0.3, abs=1e-6)
    assert found["u0007"] == pytest.approx(0.7, abs=1e-6)
    result = estimator.estimate(panel(mixed))
    assert result["overall"].value == pytest.approx(4.0, abs=1e-5)
    # Nobody else fits so well: the treated unit is the first of eleven.
    assert result["there is no effect (rank among placebos)"].p_value == pytest.approx(1 / 11)
    path = estimator.path(panel(mixed))
    np.testing.assert_allclose(path.column("difference"), [0.0] * 9 + [4.0] * 5, atol=1e-5)


def test_placebos_are_all_sets_of_controls() -> None:
    data = frame(3, n_units=9, cohorts=(6.0, NEVER, NEVER, NEVER, NEVER))  # two treated of nine
    _, cohort = wide(data)
    controls = np.flatnonzero(np.isinf(cohort))
    placebos, ratios = [], []
    for chosen in combinations(controls, 2):
        kept = data[data["unit"].isin([f"u{i:04d}" for i in controls])]
        first = np.where(kept["unit"].isin([f"u{i:04d}" for i in chosen]), 6.0, np.inf)
        one = gbv.SyntheticDid(std_error="none").estimate(panel(kept.assign(cohort=first)))[0]
        placebos.append(one.value)
        alone = gbv.SyntheticControl(std_error="none").path(panel(kept.assign(cohort=first)))
        gap = np.array(alone.column("difference"))
        ratios.append(np.sqrt(np.mean(gap[5:] ** 2) / np.mean(gap[:5] ** 2)))
    result = gbv.SyntheticDid().estimate(panel(data))
    assert len(placebos) == 21
    assert result[0].std_error == pytest.approx(np.std(placebos), rel=1e-9)
    assert result.provenance.seed is None
    gap = np.array(gbv.SyntheticControl().path(panel(data)).column("difference"))
    own = np.sqrt(np.mean(gap[5:] ** 2) / np.mean(gap[:5] ** 2))
    test = gbv.SyntheticControl().estimate(panel(data))["there is no effect (rank among placebos)"]
    assert test.statistic == pytest.approx(own)
    assert test.p_value == pytest.approx((1 + np.sum(np.array(ratios) >= own)) / 22)


def test_the_jackknife_keeps_weights() -> None:
    data = frame(4)
    estimator = gbv.SyntheticDid(std_error="jackknife")
    table = estimator.weights(panel(data), names=True)
    unit, before = weights(table, "unit"), weights(table, "period")
    y, cohort = wide(data)
    controls = np.flatnonzero(np.isinf(cohort))
    found = []
    for out in range(12):
        w = np.where(controls == out, 0.0, unit)
        treated = [i for i in range(12) if i != out and i not in controls]
        gap = y[treated].mean(axis=0) - (w / w.sum()) @ y[controls]
        found.append(gap[5:].mean() - before @ gap[:5])
    expected = np.sqrt(11 / 12 * np.sum((np.array(found) - np.mean(found)) ** 2))
    assert estimator.estimate(panel(data))[0].std_error == pytest.approx(expected)


def test_bootstrap_and_jackknife_agree_where_units_are_many() -> None:
    data = panel(frame(5, n_units=80, cohorts=(6.0, NEVER)))
    jackknife = gbv.SyntheticDid(std_error="jackknife").estimate(data)[0].std_error
    bootstrap = gbv.SyntheticDid(std_error="bootstrap", n_draws=150).estimate(data)[0].std_error
    assert jackknife is not None
    assert bootstrap is not None
    # Both are consistent; 150 draws know a spread to 6 %, and the jackknife is a little too large.
    assert 0.75 < bootstrap / jackknife < 1.25


def test_several_cohorts_are_blocks_weighted_by_unit_periods() -> None:
    data = frame(6, n_units=16, cohorts=(5.0, 7.0, NEVER, NEVER))
    result = gbv.SyntheticDid(std_error="none").estimate(panel(data))
    alone = {}
    for g in (5.0, 7.0):
        part = data[(data["cohort"] == g) | np.isinf(data["cohort"])]
        alone[g] = gbv.SyntheticDid(std_error="none").estimate(panel(part))
    # Four units each, treated in four and in two periods.
    assert result[0].value == pytest.approx((4 * alone[5.0][0].value + 2 * alone[7.0][0].value) / 6)
    cohorts = result.aggregate("cohort")
    assert cohorts["cohort 5"].value == pytest.approx(alone[5.0][0].value)
    events, first, second = (each.aggregate("event_time") for each in (result, alone[5.0], alone[7.0]))
    both = (first["event time +1"].value + second["event time +1"].value) / 2
    assert events["event time +1"].value == pytest.approx(both)
    assert events["event time +3"].value == pytest.approx(first["event time +3"].value)
    with pytest.raises(DesignError, match="there are 5, 7"):
        gbv.SyntheticDid().path(panel(data))
    assert len(gbv.SyntheticDid().path(panel(data), cohort=7).rows) == 8


def test_the_path_averages_to_the_effect_and_to_zero_before() -> None:
    estimator = gbv.SyntheticDid()
    data = panel(frame(7))
    result, table = estimator.estimate(data), estimator.path(data)
    difference, weight = np.array(table.column("difference")), np.array(table.column("time_weight"))
    assert difference[5:].mean() == pytest.approx(result[0].value)
    assert weight @ difference == pytest.approx(0.0, abs=1e-12)
    after = result.aggregate("event_time")
    assert after["event time 0"].value == pytest.approx(difference[5])
    assert after.covariance.shape == (9, 9)
    # Rows share their placebos: the average of the three treated periods has the spread of their average.
    place = [after.index(name) for name in ("event time 0", "event time +1", "event time +2")]
    assert after.covariance[np.ix_(place, place)].mean() == pytest.approx(after.covariance[0, 0])


def test_a_demeaned_control_has_a_free_level() -> None:
    data = frame(8, n_units=10, cohorts=(6.0, *[NEVER] * 9))
    high = data.assign(y=data["y"] + 50.0 * (data["unit"] == "u0000"))
    estimator = gbv.SyntheticControl(demeaned=True)
    result = estimator.estimate(panel(data))
    above = estimator.estimate(panel(high))
    assert above.check("fit before treatment").status == "ok"
    assert above[0].value == pytest.approx(result[0].value)
    # The intercept of a regression is the mean of what is left: the path is zero on average before treatment.
    assert np.mean(estimator.path(panel(data)).column("difference")[:5]) == pytest.approx(0.0, abs=1e-12)
    assert gbv.SyntheticControl().estimate(panel(high)).check("fit before treatment").status == "warn"


def test_plot_draws_paths_and_time_weights() -> None:
    import matplotlib as mpl

    mpl.use("Agg")
    data = panel(frame(1))
    ax = gbv.plot_synthetic(gbv.SyntheticDid().path(data))
    table = gbv.SyntheticDid().path(data)
    lines = {line.get_label(): line.get_ydata() for line in ax.get_lines()}
    np.testing.assert_allclose(np.asarray(lines["treated"]), table.column("treated"))
    np.testing.assert_allclose(np.asarray(lines["synthetic"]), table.column("synthetic"))
    heights = [bar.get_height() for bar in ax.patches]
    share = np.array(table.column("time_weight"))
    np.testing.assert_allclose(np.array(heights) / max(heights), share / share.max())
    with pytest.raises(DesignError, match="plot_synthetic draws"):
        gbv.plot_synthetic(gbv.SyntheticDid().weights(data))


@pytest.mark.parametrize("kind", ["bootstrap", "jackknife"])
def test_one_treated_unit_leaves_placebos_only(kind: str) -> None:
    data = panel(frame(0, cohorts=(6.0, *[NEVER] * 11)))
    with pytest.raises(IdentificationError, match="One unit is treated"):
        gbv.SyntheticDid(std_error=kind).estimate(data)
    assert gbv.SyntheticDid().estimate(data)[0].std_error is not None


def test_refusals_say_what_to_do() -> None:
    with pytest.raises(DesignError, match="not for synthetic controls"):
        gbv.SyntheticControl(std_error="jackknife")
    with pytest.raises(DesignError, match="zero or more"):
        gbv.SyntheticDid(unit_penalty=-1.0)
    with pytest.raises(DesignError, match="at least 20"):
        gbv.SyntheticDid(n_draws=5)
    with pytest.raises(IdentificationError, match="as many controls as there are treated"):
        gbv.SyntheticDid().estimate(panel(frame(0, cohorts=(6.0, NEVER))))
    with pytest.raises(IdentificationError, match="single period before"):
        gbv.SyntheticDid().estimate(panel(frame(0, cohorts=(2.0, NEVER, NEVER))))
    with pytest.raises(IdentificationError, match="Leave out the periods from the last"):
        gbv.SyntheticDid().estimate(panel(frame(0, cohorts=(4.0, 6.0))))
    # ... which makes the last cohort the control, since it is not treated within the panel.
    data = frame(0, cohorts=(4.0, 6.0))
    shorter = gbv.SyntheticDid(std_error="jackknife").estimate(panel(data[data["time"] < 6]))
    assert shorter[0].std_error is not None
    clusters = gbv.Panel(
        frame(0, cluster_size=2), outcome="y", unit="unit", time="time", cohort="cohort", cluster="cluster"
    )
    with pytest.raises(DesignError, match="names clusters"):
        gbv.SyntheticDid().estimate(clusters)


def test_weights_name_no_unit_unless_asked_and_release_blanks_them() -> None:
    data = panel(frame(0, n_units=60))
    table = gbv.SyntheticDid().weights(data)
    assert not any("u00" in str(value) for row in table.rows for value in row)
    released = gbv.release(table).tables()[0]
    assert all(row[3] is None for row in released.rows if row[1] == "unit")
    assert all(row[3] is not None for row in released.rows if row[1] == "period")
    named = gbv.SyntheticDid().weights(data, names=True)
    assert sorted(row[3] for row in named.rows) == sorted(row[3] for row in table.rows)
    assert sum("u00" in row[2] for row in named.rows) == 40
