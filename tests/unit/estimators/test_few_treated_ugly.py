"""Synthetic controls and random timing on ugly panels: an answer, a null with its reason, or a refusal."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest

import gbveval as gbv
from gbveval.core.errors import GbvevalError
from gbveval.testing.processes import PanelFrames

Frame = pd.DataFrame
ESTIMATORS: tuple[Any, ...] = (
    gbv.SyntheticDid(n_draws=40),
    gbv.SyntheticDid(std_error="jackknife"),
    gbv.SyntheticDid(std_error="bootstrap", n_draws=20),
    gbv.SyntheticControl(n_draws=40),
    gbv.SyntheticControl(n_draws=40, demeaned=True),
    gbv.StaggeredEfficient(),
    gbv.StaggeredEfficient(std_error="adjusted"),
    gbv.StaggeredEfficient(comparisons="all"),
    gbv.StaggeredEfficient(estimator="sa"),
    gbv.RandomisedTiming(n_draws=99),
    gbv.RandomisedTiming(estimator="cs", statistic="difference", n_draws=99),
)


def plain() -> Frame:
    source = PanelFrames(n_units=24, n_periods=7, cohorts=(4.0, 6.0, np.inf, np.inf, np.inf, np.inf))
    return pd.DataFrame(source.frame(np.random.default_rng(3))[0])


def as_it_is(data: Frame) -> Frame:
    return data


def one_treated_unit(data: Frame) -> Frame:
    return data.assign(cohort=np.where(data["unit"] == "u0000", 5.0, np.inf))


def no_never_treated(data: Frame) -> Frame:
    return data.assign(cohort=data["cohort"].replace(np.inf, 7.0))


def all_treated_at_once(data: Frame) -> Frame:
    return data.assign(cohort=4.0)


def gaps(data: Frame) -> Frame:
    return data[~((data["unit"] == "u0003") & (data["time"] == 2))]


def cohorts_before_the_window(data: Frame) -> Frame:
    return data.assign(cohort=data["cohort"].where(~data["unit"].isin(["u0002", "u0003"]), -4.0))


def treated_in_the_first_period(data: Frame) -> Frame:
    return data.assign(cohort=data["cohort"].where(~data["unit"].isin(["u0002", "u0003"]), 1.0))


def constant_outcome(data: Frame) -> Frame:
    return data.assign(y=3.0)


def constant_within_units(data: Frame) -> Frame:
    return data.assign(y=data.groupby("unit")["y"].transform("first"))


def identical_controls(data: Frame) -> Frame:
    one = data.loc[data["unit"] == "u0005", "y"].to_numpy()
    return data.assign(y=np.where(np.isinf(data["cohort"]), np.tile(one, 24), data["y"]))


def missing_outcomes(data: Frame) -> Frame:
    lost = np.random.default_rng(1).random(len(data)) < 0.3
    return data.assign(y=data["y"].mask(lost))


def enormous(data: Frame) -> Frame:
    return data.assign(y=1e12 + 1e9 * data["y"])


def dates(data: Frame) -> Frame:
    def month(value: float) -> pd.Timestamp | None:
        return None if np.isinf(value) else pd.Timestamp(2024, int(value), 1)

    return data.assign(time=data["time"].map(month), cohort=data["cohort"].map(month))


UGLY: tuple[Callable[[Frame], Frame], ...] = (
    as_it_is,
    one_treated_unit,
    no_never_treated,
    all_treated_at_once,
    gaps,
    cohorts_before_the_window,
    treated_in_the_first_period,
    constant_outcome,
    constant_within_units,
    identical_controls,
    missing_outcomes,
    enormous,
    dates,
)


def panel(data: Frame, **roles: Any) -> gbv.Panel:
    return gbv.Panel(data, outcome="y", unit="unit", time="time", cohort="cohort", **roles)


def answer(estimator: Any, data: Frame) -> tuple[gbv.Estimates | None, str]:
    """Return the estimates, or what a refusal says."""
    try:
        return estimator.estimate(panel(data)), ""
    except GbvevalError as error:
        return None, str(error)


@pytest.mark.parametrize("make", UGLY, ids=lambda make: make.__name__)
@pytest.mark.parametrize("number", range(len(ESTIMATORS)))
def test_an_answer_a_reason_or_a_refusal(number: int, make: Callable[[Frame], Frame]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        result, message = answer(ESTIMATORS[number], make(plain()))
        if result is None:
            assert len(message) > 60
            assert message.rstrip().endswith(".")
            return
        for row in result.terms:
            undefined = row.p_value is None if row.kind == "test" else row.std_error is None
            assert bool(row.reason) or not undefined
            assert row.value is None or np.isfinite(row.value)
        assert len(result.records()) == len(result.terms)


@pytest.mark.parametrize("number", range(len(ESTIMATORS)))
def test_missing_outcomes_are_refused_or_counted(number: int) -> None:
    data = panel(missing_outcomes(plain()).assign(y=lambda d: d["y"].where(d["unit"] > "u0003", plain()["y"])))
    with pytest.raises(GbvevalError, match="of 24 units have no outcome in some period"):
        ESTIMATORS[number].estimate(data)
    few = panel(plain().assign(y=lambda d: d["y"].mask((d["unit"] == "u0004") & (d["time"] == 3))))
    result = replace(ESTIMATORS[number], unbalanced="drop").estimate(few)
    assert "1 unit without an outcome" in result.check("missing outcome").message
    assert "1 unit without an outcome" in result.method.sample


def test_units_treated_before_the_panel_are_counted() -> None:
    for estimator in ESTIMATORS:
        result = estimator.estimate(panel(cohorts_before_the_window(plain())))
        assert "2 units treated before the panel" in result.check("treated before the panel").message


@pytest.mark.parametrize("number", range(len(ESTIMATORS)))
def test_roles_that_are_not_used_are_refused(number: int) -> None:
    data = plain().assign(x=1.0, w=2.0, d=0)
    with pytest.raises(GbvevalError, match="takes no covariates"):
        ESTIMATORS[number].estimate(panel(data, covariates=["x"]))
    with pytest.raises(GbvevalError, match="takes no weight"):
        ESTIMATORS[number].estimate(panel(data, weight="w"))
    rows = gbv.Panel(data, outcome="y", time="time", cohort="cohort")
    with pytest.raises(GbvevalError, match="needs units followed over time"):
        ESTIMATORS[number].estimate(rows)
    ends = data.assign(d=((data["time"] >= data["cohort"]) & (data["time"] < 7)).astype(float))
    with pytest.raises(GbvevalError, match="Treatment ends in 8 units"):
        ESTIMATORS[number].estimate(panel(ends, treatment="d"))


def test_dates_name_periods() -> None:
    data = panel(dates(plain()))
    table = gbv.SyntheticDid().path(data, cohort="2024-04")
    assert table.column("period")[:2] == ("2024-01", "2024-02")
    cohorts = gbv.SyntheticDid(std_error="none").estimate(data).aggregate("cohort")
    assert cohorts[1].term == "cohort 2024-04"
    assert gbv.StaggeredEfficient().estimate(data)[0].term == "cohort 2024-04, period 2024-01"


def test_units_are_the_same_by_any_name() -> None:
    data = plain()
    numbers = data.assign(unit=data["unit"].map(lambda name: 100 - int(name[1:])))
    for estimator in ESTIMATORS:
        one, other = (estimator.estimate(panel(each), rng=np.random.default_rng(1)) for each in (data, numbers))
        np.testing.assert_allclose(one.values, other.values, rtol=1e-9)
        np.testing.assert_allclose(one.std_errors, other.std_errors, rtol=1e-7)
        # Draws go by the paths, not by the names.
        p_values = [np.array([row["p_value"] for row in each.records()], dtype=float) for each in (one, other)]
        np.testing.assert_allclose(*p_values, rtol=1e-6)
