"""Effects of switches: against loops over units, against Callaway and Sant'Anna, and under derivatives in weights."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import gbveval as gbv
from gbveval.core.errors import DesignError, IdentificationError
from gbveval.numerics.switchers import (
    SwitchSums,
    TreatmentPaths,
    doses,
    instantaneous_effect,
    switch_effect,
    total_effect,
)
from gbveval.testing.processes import PanelFrames


def drawn(seed: int, *, units: int = 40, periods: int = 5, levels: int = 2, missing: float = 0.0) -> TreatmentPaths:
    """Return units whose treatment moves in all ways."""
    rng = np.random.default_rng(seed)
    stay = rng.random((units, periods)) < 0.6
    treatment = rng.integers(0, levels, (units, periods)).astype(float)
    for t in range(1, periods):
        treatment[:, t] = np.where(stay[:, t], treatment[:, t - 1], treatment[:, t])
    outcome = rng.normal(size=(units, periods)).cumsum(axis=1)
    outcome[rng.random(outcome.shape) < missing] = np.nan
    return TreatmentPaths(outcome, treatment, rng.uniform(0.5, 2.0, units))


def frame_of(paths: TreatmentPaths) -> pd.DataFrame:
    n, t = paths.outcome.shape
    return pd.DataFrame(
        {
            "id": np.repeat([f"u{i}" for i in range(n)], t),
            "t": np.tile(np.arange(1, t + 1), n),
            "y": paths.outcome.ravel(),
            "d": paths.treatment.ravel(),
            "w": np.repeat(paths.weight, t),
        }
    )


def panel_of(paths: TreatmentPaths, **roles: Any) -> gbv.Panel:
    return gbv.Panel(frame_of(paths), **{"outcome": "y", "unit": "id", "time": "t", "treatment": "d", **roles})


def by_loops(paths: TreatmentPaths, lag: int, *, switchers: str, placebo: bool) -> tuple[float, float, float]:
    """Return the effect, the mean treatment since the switch and in the last period, as the paper writes them."""
    y, d, w = paths.outcome, paths.treatment, paths.weight
    n, periods = y.shape

    def first(g: int) -> int:
        return next((t for t in range(1, periods) if d[g, t] != d[g, 0]), periods)

    total = weight = since = last = 0.0
    for g in range(n):
        f = first(g)
        if f == periods or f - 1 + lag >= periods:
            continue
        sign = 1.0 if d[g, f] > d[g, 0] else -1.0
        if (switchers, sign) in (("in", -1.0), ("out", 1.0)):
            continue
        if any((d[g, t] - d[g, 0]) * sign < 0 for t in range(f, f + lag)):
            continue
        to = f - 1 - lag if placebo else f - 1 + lag
        if to < 0:
            continue
        others = [
            h for h in range(n) if d[h, 0] == d[g, 0] and first(h) > f - 1 + lag and np.isfinite(y[h, to] - y[h, f - 1])
        ]
        if not others or not np.isfinite(y[g, to] - y[g, f - 1]):
            continue
        mean = sum(w[h] * (y[h, to] - y[h, f - 1]) for h in others) / sum(w[h] for h in others)
        total += w[g] * sign * (y[g, to] - y[g, f - 1] - mean)
        weight += w[g]
        since += w[g] * sum(abs(d[g, t] - d[g, 0]) for t in range(f, f + lag))
        last += w[g] * abs(d[g, f - 1 + lag] - d[g, 0])
    return (total / weight if weight else np.nan), since, last


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    levels=st.integers(2, 3),
    switchers=st.sampled_from(["all", "in", "out"]),
    missing=st.sampled_from([0.0, 0.3]),
)
def test_effects_are_the_papers_sums(seed: int, levels: int, switchers: str, missing: float) -> None:
    paths = drawn(seed, levels=levels, missing=missing, units=24)
    total = dose = 0.0
    sums = {}
    for lag in range(1, 5):
        for placebo in (False, True):
            value, since, last = by_loops(paths, lag, switchers=switchers, placebo=placebo)
            found = switch_effect(paths, lag, switchers=switchers, placebo=placebo)
            assert found.value == pytest.approx(value, nan_ok=True)
            assert doses(paths, lag, found, cumulative=True).sum() == pytest.approx(since)
            if not placebo and np.isfinite(value):
                sums[lag] = found
                total, dose = total + float(found.gain.sum()), dose + last
    if sums and dose:
        assert total_effect(paths, sums).value == pytest.approx(total / dose)


def test_instantaneous_effects_are_the_papers_sums() -> None:
    paths = drawn(4, units=30)
    y, d, w = paths.outcome, paths.treatment, paths.weight
    for placebo in (False, True):
        total = weight = 0.0
        for t in range(2 if placebo else 1, 5):
            for level in (0.0, 1.0):
                before = (d[:, t - 1] == level) & ((d[:, t - 2] == level) | (not placebo))
                moved, stayed = before & (d[:, t] != level), before & (d[:, t] == level)
                if not moved.any() or not stayed.any():
                    continue
                change = (y[:, t - 2] if placebo else y[:, t]) - y[:, t - 1]
                gap = np.average(change[moved], weights=w[moved]) - np.average(change[stayed], weights=w[stayed])
                total += w[moved].sum() * gap * (1 if level == 0 else -1)
                weight += w[moved].sum()
        assert instantaneous_effect(paths, placebo=placebo).value == pytest.approx(total / weight)


@pytest.mark.parametrize("kind", ["effect", "placebo", "total", "normalised", "instantaneous"])
def test_influence_is_the_derivative_in_the_weight_of_a_unit(kind: str) -> None:
    paths = drawn(9, levels=3)

    def sums(weight: Any) -> SwitchSums:
        part = TreatmentPaths(paths.outcome, paths.treatment, weight)
        if kind == "instantaneous":
            return instantaneous_effect(part)
        found = switch_effect(part, 2, placebo=kind == "placebo")
        if kind == "normalised":
            return found.with_dose(doses(part, 2, found, cumulative=True))
        if kind == "total":
            return total_effect(part, {1: switch_effect(part, 1), 2: found})
        return found

    influence = sums(paths.weight).influence
    assert influence.sum() == pytest.approx(0.0, abs=1e-12)
    for i in range(paths.weight.size):
        step = np.zeros(paths.weight.size)
        step[i] = 1e-5 * paths.weight[i]
        slope = (sums(paths.weight + step).value - sums(paths.weight - step).value) / 2e-5
        # Central differences at 1e-5 are good to about 1e-10 of values near one.
        assert influence[i] == pytest.approx(slope, abs=1e-8)


@pytest.mark.parametrize("cluster_size", [0, 3])
def test_lasting_treatment_gives_callaway_and_santanna(cluster_size: int) -> None:
    source = PanelFrames(n_units=90, n_periods=6, cohorts=(3.0, 4.0, 6.0, np.inf), cluster_size=cluster_size)
    data = source.check(source.frame(np.random.default_rng(3))[0])
    ours = gbv.ChaisemartinDHaultfoeuille().estimate(data)
    cells = gbv.CallawaySantAnna().estimate(data)
    events = cells.aggregate("event_time", min_event_time=0)
    for row in ours.terms:
        time = dict(row.extra).get("event_time")
        if time is not None and float(time) >= 0:
            assert row.value == pytest.approx(events[row.term].value, abs=1e-12)
            assert row.std_error == pytest.approx(events[row.term].std_error, rel=1e-9)
    simple = cells.aggregate("simple")[0]
    overall = ours.aggregate("simple")[0]
    assert overall.value == pytest.approx(simple.value, abs=1e-12)
    assert overall.std_error == pytest.approx(simple.std_error, rel=1e-9)


def test_a_placebo_is_the_change_before_the_switch_and_is_tested() -> None:
    source = PanelFrames(n_units=60, cohorts=(4.0, np.inf))
    data = source.check(source.frame(np.random.default_rng(1))[0])
    result = gbv.ChaisemartinDHaultfoeuille().estimate(data)
    cells = gbv.CallawaySantAnna(base_period="universal").estimate(data)
    before = [row for row in result.terms if row.term.startswith("event time -")]
    assert [row.term for row in before] == ["event time -3", "event time -2"]
    for row in before:
        period = 4 + int(row.term.split()[-1])
        assert row.value == pytest.approx(cells[f"cohort 4, period {period}"].value)
    place = [result.index(row.term) for row in before]
    b, v = result.values[place], result.covariance[np.ix_(place, place)]
    test = result.aggregate("pretest")[0]
    assert test.statistic == pytest.approx(b @ np.linalg.solve(v, b))
    assert len(result.aggregate("event_time")) == len(result)
    with pytest.raises(DesignError, match="simple, event_time or pretest"):
        result.aggregate("cohort")


def test_rows_of_treatment_that_ends() -> None:
    paths = drawn(2, units=60)
    result = gbv.ChaisemartinDHaultfoeuille().estimate(panel_of(paths, weight="w"))
    for lag in (1, 2, 3):
        expected = by_loops(paths, lag, switchers="all", placebo=False)[0]
        assert result[f"event time {lag - 1:+d}".replace("+0", "0")].value == pytest.approx(expected)
    normalised = gbv.ChaisemartinDHaultfoeuille(normalised=True, max_event_time=1).estimate(panel_of(paths, weight="w"))
    effect, since, _ = by_loops(paths, 2, switchers="all", placebo=False)
    used = switch_effect(paths, 2)
    assert normalised["event time +1"].value == pytest.approx(effect * used.dose.sum() / since)
    assert "event time +2" not in [row.term for row in normalised.terms]
    one = gbv.ChaisemartinDHaultfoeuille(effects="instantaneous").estimate(panel_of(paths, weight="w"))
    assert one["instantaneous effect"].value == pytest.approx(instantaneous_effect(paths).value)
    assert [row.term for row in one.terms] == ["instantaneous effect", "before the switch"]


def test_gaps_missing_outcomes_and_dates() -> None:
    paths = drawn(5, units=80, missing=0.3)
    frame = frame_of(paths)
    frame = frame.assign(t=pd.to_datetime(frame["t"].map(lambda t: f"2024-{t:02d}-01")))
    roles: dict[str, Any] = {"outcome": "y", "unit": "id", "time": "t", "treatment": "d", "weight": "w"}
    with pytest.raises(DesignError, match="units have no outcome in some period"):
        gbv.ChaisemartinDHaultfoeuille().estimate(gbv.Panel(frame, **roles))
    pairs = gbv.ChaisemartinDHaultfoeuille(unbalanced="pairs").estimate(gbv.Panel(frame, **roles))
    assert pairs["event time 0"].value == pytest.approx(switch_effect(paths, 1).value)
    drop = gbv.ChaisemartinDHaultfoeuille(unbalanced="drop").estimate(gbv.Panel(frame, **roles))
    full = np.isfinite(paths.outcome).all(axis=1)
    whole = TreatmentPaths(paths.outcome[full], paths.treatment[full], paths.weight[full])
    assert drop["event time 0"].value == pytest.approx(switch_effect(whole, 1).value)
    assert any(check.name == "balance" for check in drop.checks)
    # A unit whose treatment changed while it was not seen is left out; one that kept it is not.
    d = paths.treatment
    inside = np.flatnonzero(d[:, 1] != d[:, 3])[:1], np.flatnonzero((d[:, 1] == d[:, 2]) & (d[:, 2] == d[:, 3]))[:1]
    gone = frame["id"].isin([f"u{i}" for part in inside for i in part]) & (frame["t"] == "2024-03-01")
    holes = gbv.ChaisemartinDHaultfoeuille(unbalanced="pairs").estimate(gbv.Panel(frame[~gone], **roles))
    outcome = paths.outcome.copy()
    outcome[inside[1], 2] = np.nan
    rest = np.arange(80) != inside[0]
    kept = TreatmentPaths(outcome[rest], d[rest], paths.weight[rest])
    assert holes["event time 0"].value == pytest.approx(switch_effect(kept, 1).value)
    assert "1 unit whose treatment changed in a gap" in holes.method.sample


@pytest.mark.parametrize(
    ("change", "roles", "error", "words"),
    [
        ({"d": lambda f: (f["id"] == "u0") & (f["t"] > 2)}, {}, IdentificationError, "1 unit or cluster switching"),
        ({"d": lambda f: f["t"] > 2}, {}, IdentificationError, "can be compared"),
        ({"d": 1.0}, {}, IdentificationError, "can be compared"),
        ({"x": 1.0}, {"covariates": ["x"]}, DesignError, "takes no covariates"),
        ({"c": lambda f: f["id"].str.len()}, {"cluster": ["c", "t"]}, DesignError, "clusters in one way"),
        ({"w": lambda f: f["w"] + f["t"]}, {"weight": "w"}, DesignError, "weight varies within"),
        ({"g": 2.0}, {"unit": None, "cohort": "g", "treatment": None}, DesignError, "units followed over time"),
    ],
)
def test_refusals(change: dict[str, Any], roles: dict[str, Any], error: type[Exception], words: str) -> None:
    frame = frame_of(drawn(1)).assign(**change)
    if "d" in frame:
        frame["d"] = frame["d"].astype(float)
    data = gbv.Panel(frame, **{"outcome": "y", "unit": "id", "time": "t", "treatment": "d", **roles})
    with pytest.raises(error, match=words):
        gbv.ChaisemartinDHaultfoeuille().estimate(data)


def test_nobody_never_treated_and_cohorts_before_the_window() -> None:
    source = PanelFrames(n_units=90, n_periods=6, cohorts=(-2.0, 1.0, 3.0, 4.0, 6.0))
    data = source.check(source.frame(np.random.default_rng(2))[0])
    ours = gbv.ChaisemartinDHaultfoeuille().estimate(data)
    others = gbv.CallawaySantAnna().estimate(data).aggregate("event_time", min_event_time=0)
    for e in (0, 1, 2):
        name = f"event time {e:+d}" if e else "event time 0"
        assert ours[name].value == pytest.approx(others[name].value)
    assert "event time +3" not in [row.term for row in ours.terms]
    # The last cohort has nobody left to be compared with, and those treated from the first period on do not switch.
    assert ours[0].n_units == 54
    assert any(check.name == "no comparison" for check in ours.checks)


def test_ugly_panels_get_a_reason() -> None:
    paths = drawn(3)
    flat = TreatmentPaths(np.ones_like(paths.outcome), paths.treatment, paths.weight)
    result = gbv.ChaisemartinDHaultfoeuille().estimate(panel_of(flat))
    assert all(row.std_error is None and "does not vary" in row.reason for row in result.terms)
    # All but one unit switch in the last period, so that the others are compared with one unit there.
    treatment = np.zeros((10, 4))
    treatment[:4, 1:] = 1.0
    treatment[4:9, 2:] = 1.0
    rng = np.random.default_rng(0)
    alone = gbv.ChaisemartinDHaultfoeuille().estimate(
        panel_of(TreatmentPaths(rng.normal(size=(10, 4)), treatment, np.ones(10)))
    )
    last = alone["event time +2"]
    assert last.value is not None
    assert last.std_error is None
    assert "one unit or cluster is compared with" in last.reason
    assert alone["event time 0"].std_error is not None


@pytest.mark.parametrize(
    "options",
    [
        {"effects": "lagged"},
        {"switchers": "some"},
        {"unbalanced": "fill"},
        {"effects": "instantaneous", "normalised": True},
        {"max_event_time": -1},
    ],
)
def test_options_are_checked(options: dict[str, Any]) -> None:
    with pytest.raises(DesignError):
        gbv.ChaisemartinDHaultfoeuille(**options)
