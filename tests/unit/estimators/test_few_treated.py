"""Few treated groups: placements against regressions on exchanged groups, and size by simulation."""

from __future__ import annotations

from itertools import permutations
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import gbveval as gbv
from gbveval.core.errors import DesignError, IdentificationError
from gbveval.core.replicate import binomial_band
from gbveval.numerics.few_treated import Placements, all_placements, drawn_placements, placements, variance_by_size
from gbveval.numerics.null_distribution import tail


def grid(seed: int, groups: int = 24, periods: int = 5, starts: tuple[int, ...] = (2,)) -> tuple[Any, Any]:
    """Return outcomes and treatment of groups; the first ones begin at `starts`."""
    rng = np.random.default_rng(seed)
    treatment = np.zeros((groups, periods))
    for g, start in enumerate(starts):
        treatment[g, start:] = 1.0
    outcome = rng.normal(size=(groups, 1)) + rng.normal(size=(groups, periods)).cumsum(axis=1)
    return outcome, treatment


def frame_of(outcome: Any, treatment: Any, members: Any = None) -> pd.DataFrame:
    groups, periods = outcome.shape
    frame = pd.DataFrame(
        {
            "id": np.repeat([f"g{i:02d}" for i in range(groups)], periods),
            "t": np.tile(np.arange(1, periods + 1), groups),
            "y": outcome.ravel(),
            "d": treatment.ravel(),
        }
    )
    if members is None:
        return frame
    rows = frame.loc[np.repeat(frame.index, np.repeat(members, periods))].reset_index(drop=True)
    return rows.assign(y=rows["y"] + np.random.default_rng(0).normal(size=len(rows)))


def coefficient(frame: pd.DataFrame) -> float:
    """Return the coefficient of `d` beside indicators of groups and periods."""
    design = pd.get_dummies(frame[["id", "t"]].astype(str), dtype=float).assign(d=frame["d"]).to_numpy()
    return float(np.linalg.lstsq(design, frame["y"].to_numpy(), rcond=None)[0][-1])


ROLES: dict[str, Any] = {"outcome": "y", "unit": "id", "time": "t", "treatment": "d"}


@pytest.mark.parametrize("starts", [(2,), (1, 3)])
def test_placements_are_regressions_on_exchanged_outcomes(starts: tuple[int, ...]) -> None:
    outcome, treatment = grid(3, groups=8, starts=starts)
    null = 0.7
    found = placements(outcome, treatment, np.zeros((*outcome.shape, 0)))
    assert found is not None
    ways = all_placements(8, len(starts), 10_000)
    assert ways is not None
    assert len(ways) == len(list(permutations(range(8), len(starts))))
    statistics = found.statistics(null, ways)
    untreated = outcome - null * treatment
    for way, statistic in zip(ways, statistics, strict=True):
        order = [*way, *(g for g in range(8) if g not in way)]
        assert statistic == pytest.approx(coefficient(frame_of(untreated[order], treatment)), abs=1e-10)
    assert found.estimate == pytest.approx(coefficient(frame_of(outcome, treatment)))
    place = list(map(tuple, ways)).index(tuple(range(len(starts))))
    assert statistics[place] == pytest.approx(found.observed(null))


def test_covariates_are_taken_out_as_the_regression_does() -> None:
    outcome, treatment = grid(4, starts=(1, 3))
    x = np.random.default_rng(1).normal(size=(*outcome.shape, 1)) + treatment[:, :, None]
    frame = frame_of(outcome, treatment).assign(x=x.ravel(), flat=1.0)
    result = gbv.ConleyTaber().estimate(gbv.Panel(frame, **ROLES, covariates=["x", "flat"]))
    regression = gbv.TwoWayFixedEffects().estimate(gbv.Panel(frame, **ROLES, covariates=["x"]))
    assert result[0].value == pytest.approx(regression[0].value)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10**6), spread=st.sampled_from(["equal", "by_size"]), two=st.booleans())
def test_the_interval_holds_what_is_not_rejected(seed: int, spread: str, *, two: bool) -> None:
    outcome, treatment = grid(seed, starts=(1, 2) if two else (2,))
    size = np.random.default_rng(seed).uniform(5, 200, len(outcome))
    frame = frame_of(outcome, treatment).assign(n=np.repeat(size, outcome.shape[1]))
    data = gbv.Panel(frame, **ROLES, exposure="n")
    row = gbv.ConleyTaber(spread=spread, level=0.9).estimate(data)[0]
    assert row.interval is not None
    assert row.value is not None
    low, high = row.interval
    assert low < row.value < high
    for limit, inside in ((low, 1e-4), (high, -1e-4)):
        if np.isfinite(limit):
            step = inside * (high - low if np.isfinite(high - low) else 1.0)
            kept = gbv.ConleyTaber(spread=spread, null=limit + step, level=0.9).estimate(data)[0].p_value
            lost = gbv.ConleyTaber(spread=spread, null=limit - step, level=0.9).estimate(data)[0].p_value
            assert kept is not None
            assert lost is not None
            assert lost <= 0.1 + 1e-9 < kept


def test_the_p_value_is_the_share_of_groups_as_far_out() -> None:
    outcome, treatment = grid(8)
    row = gbv.ConleyTaber(null=0.3).estimate(gbv.Panel(frame_of(outcome, treatment), **ROLES))[0]
    untreated = outcome - 0.3 * treatment
    change = untreated[:, 2:].mean(axis=1) - untreated[:, :2].mean(axis=1)
    far = np.abs(change - change.mean())
    assert row.p_value == pytest.approx(np.mean(far >= far[0] - 1e-12))
    greater = gbv.ConleyTaber(null=0.3, alternative="greater").estimate(
        gbv.Panel(frame_of(outcome, treatment), **ROLES)
    )
    assert greater[0].p_value == pytest.approx(np.mean(change >= change[0] - 1e-12))
    assert greater[0].interval is not None
    assert greater[0].interval[1] == np.inf


def rejections(found: Placements, ways: Any) -> bool:
    weight = np.full(len(ways), 1.0 / len(ways))
    return tail(found.statistics(0.0, ways), found.observed(0.0), weight) <= 0.05 * (1 + 1e-9)


@pytest.mark.parametrize("treated", [1, 2])
def test_size_with_few_treated_groups(treated: int) -> None:
    """Correlated, skewed shocks of one distribution: the test is exact, so that size is at most .05."""
    groups, draws = 40, 2_000
    ways = all_placements(groups, treated, 10**5)
    assert ways is not None
    rng = np.random.default_rng(7)
    treatment = grid(0, groups, starts=(2, 3)[:treated])[1]
    rejected = 0
    for _ in range(draws):
        outcome = rng.exponential(size=(groups, 5)).cumsum(axis=1)
        found = placements(outcome, treatment, np.zeros((groups, 5, 0)))
        assert found is not None
        rejected += rejections(found, ways)
    least, most = binomial_band(0.05, draws, false_alarm=1e-4)
    assert least <= rejected / draws <= most


@pytest.mark.parametrize("treated", [1, 2])
@pytest.mark.parametrize("first", [20.0, 500.0])
def test_size_when_groups_differ_in_size(treated: int, first: float) -> None:
    """Variances of a + b / size: without the correction small treated groups are rejected far too often."""
    groups, draws = 100, 1_000
    rng = np.random.default_rng(11)
    ways = drawn_placements(groups, treated, 999, rng) if treated > 1 else all_placements(groups, 1, 1000)
    treatment = grid(0, groups, starts=(2, 3)[:treated])[1]
    size = np.exp(rng.uniform(np.log(20), np.log(500), groups))
    size[:treated] = first
    spread = np.sqrt(0.01 + 10.0 / size)
    count = {"equal": 0, "by_size": 0}
    for _ in range(draws):
        outcome = spread[:, None] * rng.normal(size=(groups, 5))
        for kind in count:
            found = placements(outcome, treatment, np.zeros((groups, 5, 0)), size if kind == "by_size" else None)
            assert found is not None
            count[kind] += rejections(found, ways)
    # The correction is asymptotic in the groups: with a hundred, sizes of .035 to .07 are what it gives.
    least, most = binomial_band(0.035, draws, false_alarm=1e-4)[0], binomial_band(0.07, draws, false_alarm=1e-4)[1]
    assert least <= count["by_size"] / draws <= most
    if first < 100:
        assert count["equal"] / draws > 0.12
    else:
        assert count["equal"] / draws < 0.03


def test_variance_by_size_is_the_constrained_least_squares() -> None:
    from scipy.optimize import nnls

    rng = np.random.default_rng(0)
    size = rng.uniform(1, 50, 30)
    design = np.column_stack([np.ones(30), 1 / size])
    squares = np.column_stack([rng.exponential(a + b / size) for a, b in ((1, 0), (0, 1), (1, 5), (0.01, 10))] * 5)
    for j, column in enumerate(squares.T):
        assert variance_by_size(squares, size)[:, j] == pytest.approx(design @ nnls(design, column)[0])


def test_people_in_clusters_and_cross_sections() -> None:
    outcome, treatment = grid(5, groups=30)
    members = np.random.default_rng(2).integers(8, 30, 30)
    rows = frame_of(outcome, treatment, members)
    rows["person"] = [f"p{i}" for i in rows.groupby(["id", "t"]).cumcount()]
    rows["person"] += rows["id"]
    panel = gbv.Panel(rows, outcome="y", unit="person", time="t", treatment="d", cluster="id")
    start = rows["id"].map({"g00": 3.0})
    crossed = gbv.Panel(rows.assign(g=start), outcome="y", time="t", cohort="g", cluster="id")
    means = rows.groupby(["id", "t"], as_index=False)[["y", "d"]].mean()
    expected = coefficient(means)
    for data in (panel, crossed):
        row = gbv.ConleyTaber(spread="by_size").estimate(data)[0]
        assert row.value == pytest.approx(expected)
        assert row.n_clusters == 30
    assert gbv.ConleyTaber().estimate(panel)[0].n_units == members.sum()
    # A third of the outcomes missing: means of the others, counted.
    gone = rows.assign(y=rows["y"].mask(np.random.default_rng(3).random(len(rows)) < 0.3))
    holes = gbv.ConleyTaber().estimate(
        gbv.Panel(gone, outcome="y", unit="person", time="t", treatment="d", cluster="id")
    )
    means = gone.groupby(["id", "t"], as_index=False)[["y", "d"]].mean()
    assert holes[0].value == pytest.approx(coefficient(means))
    assert any(check.name == "missing outcome" for check in holes.checks)
    assert any(check.name == "group sizes" for check in holes.checks)


def test_groups_treated_before_the_window_compare_like_the_others_and_dates_are_periods() -> None:
    outcome, treatment = grid(6)
    treatment[5] = 1.0
    frame = frame_of(outcome, treatment)
    frame = frame.assign(t=pd.to_datetime(frame["t"].map(lambda t: f"2024-{t:02d}-15")))
    row = gbv.ConleyTaber().estimate(gbv.Panel(frame, **ROLES))[0]
    change = outcome[:, 2:].mean(axis=1) - outcome[:, :2].mean(axis=1)
    assert row.value == pytest.approx(change[0] - change[1:].mean())
    assert dict(row.extra)["treated_groups"] == 1


def test_a_treated_group_of_many_people_may_be_shown() -> None:
    rows = frame_of(*grid(2), np.full(24, 15))
    rows["person"] = [f"p{i}" for i in rows.groupby(["id", "t"]).cumcount()]
    rows["person"] += rows["id"]
    data = gbv.Panel(rows, outcome="y", unit="person", time="t", treatment="d", cluster="id")
    released = gbv.release(gbv.ConleyTaber().estimate(data), gbv.Policy())
    assert released.items[0].rows[0]["estimate"] is not None
    hidden = gbv.release(gbv.ConleyTaber().estimate(gbv.Panel(frame_of(*grid(2)), **ROLES)), gbv.Policy())
    assert hidden.items[0].rows[0]["estimate"] is None


@pytest.mark.parametrize(
    ("change", "roles", "options", "error", "words"),
    [
        ({}, {"weight": "n"}, {}, DesignError, "takes no weights"),
        ({}, {"unit": None, "cohort": "g", "treatment": None}, {}, DesignError, "compares groups"),
        ({"y": lambda f: f["y"].mask(f.index == 3)}, {}, {}, DesignError, "1 group have no outcome"),
        ({}, {}, {"spread": "by_size"}, DesignError, "same size"),
        ({"d": 0.0}, {}, {}, IdentificationError, "explain treatment"),
        ({"d": lambda f: (f["t"] > 2).astype(float)}, {}, {}, IdentificationError, "explain treatment"),
        ({"d": lambda f: 1.0 * ((f["t"] > 2) & (f["id"] > "g02"))}, {}, {}, IdentificationError, "3 groups whose"),
        ({"y": 1.0}, {}, {}, IdentificationError, "do not vary"),
        ({}, {}, {"level": 0.99}, IdentificationError, "no p-value is below 0.0417"),
        ({"k": "a"}, {"cluster": "k"}, {}, DesignError, "Treatment differs among the rows of 3"),
    ],
)
def test_refusals(
    change: dict[str, Any], roles: dict[str, Any], options: dict[str, Any], error: type[Exception], words: str
) -> None:
    frame = frame_of(*grid(1)).assign(n=1.0, g=2.0).assign(**change)
    data = gbv.Panel(frame, **{**ROLES, **roles})
    with pytest.raises(error, match=words):
        gbv.ConleyTaber(**options).estimate(data)


@pytest.mark.parametrize(
    "options",
    [{"spread": "unequal"}, {"alternative": "both"}, {"n_draws": 5}, {"null": np.nan}, {"level": 1.5}],
)
def test_options_are_checked(options: dict[str, Any]) -> None:
    with pytest.raises(DesignError):
        gbv.ConleyTaber(**options)
