"""Stacked comparisons and local projections: by hand, and against each other."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
import statsmodels.formula.api as smf

import gbveval as gbv
from gbveval.core.errors import DesignError, IdentificationError
from gbveval.testing.processes import PanelFrames


def frame(seed: int = 0, **options: Any) -> pd.DataFrame:
    given = {"n_units": 60, "n_periods": 8, "cohorts": (4.0, 5.0, 7.0, np.inf), **options}
    return pd.DataFrame(PanelFrames(**given).frame(np.random.default_rng(seed))[0])


def checked(data: pd.DataFrame, **roles: Any) -> gbv.Panel:
    return gbv.Panel(data, **{"outcome": "y", "unit": "unit", "time": "time", "cohort": "cohort", **roles})


def stacked_by_hand(data: pd.DataFrame, before: int, after: int) -> pd.DataFrame:
    """Return the stack with the corrective weights of Wing, Freedman and Hollingsworth."""
    parts = []
    for g in sorted(data.loc[np.isfinite(data["cohort"]), "cohort"].unique()):
        if g - 1 - before < 1 or g + after > data["time"].max():
            continue
        part = data[(data["cohort"] == g) | (data["cohort"] > g + after)]
        part = part[(part["time"] >= g - 1 - before) & (part["time"] <= g + after)]
        parts.append(part.assign(stack=g, d=(part["cohort"] == g).astype(float), e=part["time"] - g))
    stack = pd.concat(parts)
    size = stack[stack["e"] == 0].groupby(["stack", "d"]).size().unstack()
    share_treated, share_control = size[1.0] / size[1.0].sum(), size[0.0] / size[0.0].sum()
    correct = (share_treated / share_control).to_dict()
    stack["q"] = np.where(stack["d"] == 1, 1.0, stack["stack"].map(correct))
    return stack


def test_stacked_effects_are_the_weighted_regression_of_the_stack() -> None:
    data = frame()
    stack = stacked_by_hand(data, 2, 1)
    fit = smf.wls("y ~ d * C(e, Treatment(-1.0))", stack, weights=stack["q"]).fit()
    result = gbv.StackedDid(before=2, after=1).estimate(checked(data))
    for row in result.terms:
        event = dict(row.extra)["event_time"]
        assert row.value == pytest.approx(fit.params[f"d:C(e, Treatment(-1.0))[T.{event}]"], rel=1e-9)


def test_errors_count_a_unit_once_however_many_stacks_it_serves() -> None:
    """Against the same regression clustered by unit, whose scores take cell shares as fixed too."""
    data = frame(n_units=400)
    stack = stacked_by_hand(data, 1, 1)
    codes = np.unique(stack["unit"], return_inverse=True)[1]
    fit = smf.wls("y ~ d * C(e, Treatment(-1.0))", stack, weights=stack["q"]).fit(
        cov_type="cluster", cov_kwds={"groups": codes, "use_correction": False}
    )
    row = gbv.StackedDid(before=1, after=1).estimate(checked(data))["event time 0"]
    # Pooled means of the stack against means of each comparison: the same to first order in the shares.
    assert row.std_error == pytest.approx(fit.bse["d:C(e, Treatment(-1.0))[T.0.0]"], rel=0.03)


def test_cohorts_without_a_whole_window_are_named() -> None:
    result = gbv.StackedDid(before=2, after=2).estimate(checked(frame()))
    assert "left out: 7" in result.check("window").message
    assert "2 cohorts with a whole window" in result.method.sample
    with pytest.raises(IdentificationError, match="No cohort is seen from 8 periods before"):
        gbv.StackedDid(before=7).estimate(checked(frame()))


@pytest.mark.parametrize("horizon", [-3, 0, 2])
@pytest.mark.parametrize("weighting", ["variance", "equal"])
def test_projections_are_regressions_of_long_differences(horizon: int, weighting: str) -> None:
    data = frame()
    wide = data.pivot(index="unit", columns="time", values="y")
    cohort = data.groupby("unit")["cohort"].first()
    parts = []
    for t in range(2, 9):
        if not 1 <= t + horizon <= 8:
            continue
        starts, clean = cohort == t, cohort > max(t, t + horizon)
        part = pd.DataFrame({"change": wide[t + horizon] - wide[t - 1], "d": starts.astype(float), "t": t})
        parts.append(part[starts | clean].assign(unit=lambda part: part.index))
    rows = pd.concat(parts)
    rows = rows[rows.groupby("t")["d"].transform("max") == 1]
    rows["w"] = 1.0 / (1.0 - rows.groupby("t")["d"].transform("mean")) if weighting == "equal" else 1.0
    codes = np.unique(rows["unit"], return_inverse=True)[1]
    fit = smf.wls("change ~ d + C(t)", rows, weights=rows["w"]).fit(
        cov_type="cluster", cov_kwds={"groups": codes, "use_correction": False}
    )
    found = gbv.LocalProjections(before=2, after=2, weighting=weighting).estimate(checked(data))
    row = found[f"event time {horizon:+d}" if horizon else "event time 0"]
    assert row.value == pytest.approx(fit.params["d"], rel=1e-9)
    clusters = found.terms[0].n_clusters
    assert clusters is not None
    present = len(set(codes))
    assert row.std_error == pytest.approx(fit.bse["d"] * np.sqrt(present / (present - 1)), rel=1e-9)


def test_equal_weights_give_the_average_over_treated_units() -> None:
    data = checked(frame())
    found = gbv.LocalProjections(before=0, after=0, weighting="equal").estimate(data)["event time 0"]
    cells = gbv.CallawaySantAnna(control="not_yet_treated").estimate(data)
    study = cells.aggregate("event_time")["event time 0"]
    assert found.value == pytest.approx(study.value, rel=1e-9)


def test_one_cohort_makes_all_windows_one() -> None:
    data = checked(frame(cohorts=(4.0, np.inf)))
    stacked = gbv.StackedDid(before=1, after=2).estimate(data)
    projected = gbv.LocalProjections(before=1, after=2).estimate(data)
    group_time = gbv.CallawaySantAnna(control="never_treated", base_period="universal").estimate(data)
    study = group_time.aggregate("event_time")
    for row in stacked.terms:
        assert row.value == pytest.approx(study[row.term].value, rel=1e-9)
        assert projected[row.term].value == pytest.approx(study[row.term].value, rel=1e-9)
        assert row.std_error == pytest.approx(study[row.term].std_error, rel=1e-9)


@pytest.mark.parametrize("estimator", [gbv.StackedDid, gbv.LocalProjections])
def test_options_that_are_refused(estimator: Any) -> None:
    with pytest.raises(DesignError, match="zero or more"):
        estimator(before=-1)
    with pytest.raises(DesignError, match="repeated cross-sections"):
        estimator().estimate(gbv.Panel(frame(), outcome="y", time="time", cohort="cohort"))
