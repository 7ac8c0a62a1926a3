"""Ugly panels: every estimator of rollouts gives numbers, or a null with its reason, or a refusal with a next step."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest

import gbveval as gbv
from gbveval.core.errors import GbvevalError
from gbveval.core.registry import discover

Frame = pd.DataFrame
NAMES = sorted(
    name
    for name, cls in discover().items()
    if cls.__module__.startswith("gbveval.estimators.did") and cls.estimate.__annotations__["data"] == "Panel"
)


def base(seed: int = 1, units: int = 36, periods: int = 6) -> Frame:
    rng = np.random.default_rng(seed)
    cohort = np.array([3.0, 4.0, np.nan])[np.arange(units) % 3]
    unit, time = np.repeat(np.arange(units), periods), np.tile(np.arange(1, periods + 1), units)
    x = rng.normal(size=units)
    y = rng.normal(size=units)[unit] + 0.2 * time + 0.5 * (time >= cohort[unit]) + rng.normal(size=unit.size)
    return Frame({"y": y, "u": unit, "t": time, "g": cohort[unit], "x": x[unit]})


def one_treated_unit(data: Frame) -> Frame:
    return data.assign(g=np.where(data["u"] == 0, 3.0, np.nan))


def no_never_treated(data: Frame) -> Frame:
    return data.assign(g=data["g"].fillna(6.0))


def all_treated_at_once(data: Frame) -> Frame:
    return data.assign(g=4.0)


def nobody_treated(data: Frame) -> Frame:
    return data.assign(g=np.nan)


def gaps(data: Frame) -> Frame:
    return data[data["t"] != 2].drop(index=[0, 8, 20])


def cohorts_before_the_window(data: Frame) -> Frame:
    return data.assign(g=np.where(data["u"] % 3 == 0, -2.0, data["g"]))


def constant_outcome(data: Frame) -> Frame:
    return data.assign(y=1.25)


def perfect_collinearity(data: Frame) -> Frame:
    return data.assign(x=(data["u"] % 3 == 2).astype(float))


def missing_outcomes(data: Frame) -> Frame:
    lost = np.random.default_rng(2).random(len(data)) < 0.3
    return data.assign(y=data["y"].mask(lost))


def names_for_units(data: Frame) -> Frame:
    return data.assign(u="place " + data["u"].astype(str))


def dates_for_time(data: Frame) -> Frame:
    months = pd.to_datetime({"year": 2024, "month": data["t"], "day": 1})
    first = pd.to_datetime("2024-" + data["g"].fillna(1).astype(int).astype(str) + "-1", format="%Y-%m-%d")
    return data.assign(t=months, g=first.where(data["g"].notna()))


def a_cohort_of_one(data: Frame) -> Frame:
    return data.assign(g=np.where(data["u"] == 1, 5.0, data["g"]))


def with_doses(data: Frame) -> Frame:
    return data.assign(d=np.where(data["g"].notna(), 1.0 + np.random.default_rng(4).random(36)[data["u"]], 0.0))


def few_doses(data: Frame) -> Frame:
    return data.assign(d=np.where(data["g"].notna(), 1.0 + data["u"] // 3 % 2, 0.0))


def one_dose_for_all(data: Frame) -> Frame:
    return data.assign(d=np.where(data["g"].notna(), 1.25, 0.0))


def two_periods(data: Frame) -> Frame:
    return data[data["t"].isin([2, 3])].assign(g=lambda d: d["g"].where(d["g"] == 3.0))


UGLY = [
    one_treated_unit,
    no_never_treated,
    all_treated_at_once,
    nobody_treated,
    gaps,
    cohorts_before_the_window,
    constant_outcome,
    perfect_collinearity,
    missing_outcomes,
    names_for_units,
    dates_for_time,
    a_cohort_of_one,
    two_periods,
]


def panel(data: Frame, **roles: Any) -> gbv.Panel:
    return gbv.Panel(data, **{"outcome": "y", "unit": "u", "time": "t", "cohort": "g", **roles})


def finite_or_explained(result: gbv.Estimates) -> None:
    for row in result.terms:
        assert row.value is None or np.isfinite(row.value)
        assert row.std_error is None or row.std_error > 0
        if row.kind != "test" and row.std_error is None and row.interval is None:
            assert row.reason, row.term
    assert not np.isinf(result.covariance).any()


def asked(estimator: Any, data: gbv.Panel) -> gbv.Estimates | GbvevalError:
    try:
        result: gbv.Estimates = estimator.estimate(data)
    except GbvevalError as refusal:
        return refusal
    return result


def answer(name: str, data: gbv.Panel) -> gbv.Estimates | GbvevalError:
    return asked(discover()[name](), data)


def averaged(result: gbv.Estimates, by: str) -> gbv.Estimates | GbvevalError:
    try:
        return result.aggregate(by)
    except GbvevalError as refusal:
        return refusal


@pytest.mark.parametrize("ugly", UGLY, ids=lambda ugly: ugly.__name__)
@pytest.mark.parametrize("doses", [with_doses, few_doses, one_dose_for_all], ids=lambda doses: doses.__name__)
@pytest.mark.parametrize(
    "estimator",
    [gbv.DoseResponse(degree=1), gbv.DoseResponse(knots=2), gbv.DoseResponse(curve="saturated", unbalanced="drop")],
    ids=["line", "knots", "saturated"],
)
def test_a_dose_response_answers_explains_or_refuses(
    estimator: gbv.DoseResponse, doses: Callable[[Frame], Frame], ugly: Callable[[Frame], Frame]
) -> None:
    # Doses go by the number of a unit, which one of the frames replaces with a name.
    data = ugly(doses(base())) if ugly is names_for_units else doses(ugly(base()))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        result = asked(estimator, panel(data, dose="d"))
        if isinstance(result, GbvevalError):
            assert len(str(result)) > 40
            assert "1.25" not in str(result)
            return
        finite_or_explained(result)
        for by in ("level", "slope", "simple", "event_time", "event_time_slope", "pretest"):
            finite_or_explained(result.aggregate(by))


@pytest.mark.parametrize("name", NAMES)
def test_methods_without_doses_say_that_they_do_not_use_them(name: str) -> None:
    data = with_doses(base(units=24))
    plain, given = answer(name, panel(data)), answer(name, panel(data, dose="d"))
    if isinstance(given, GbvevalError) or name == "dose_response":
        return
    assert isinstance(plain, gbv.Estimates)
    assert "DoseResponse" in given.check("dose").message
    if given.provenance.seed is None:
        np.testing.assert_array_equal(given.values, plain.values)


@pytest.mark.parametrize("ugly", UGLY, ids=lambda ugly: ugly.__name__)
@pytest.mark.parametrize("covariates", [(), ("x",)], ids=["plain", "covariate"])
@pytest.mark.parametrize("name", NAMES)
def test_an_answer_a_reason_or_a_refusal(
    name: str, covariates: tuple[str, ...], ugly: Callable[[Frame], Frame]
) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        result = answer(name, panel(ugly(base()), covariates=list(covariates)))
        if isinstance(result, GbvevalError):
            # A refusal says what to do, and shows nobody's value.
            assert len(str(result)) > 40
            assert "1.25" not in str(result)
            return
        finite_or_explained(result)
        for by in ("simple", "event_time") if result.aggregator is not None else ():
            averages = averaged(result, by)
            if isinstance(averages, gbv.Estimates):
                finite_or_explained(averages)


VARIANTS = [
    gbv.CallawaySantAnna(std_error="jackknife"),
    gbv.Imputation(anticipation=1.0),
    gbv.TwoStage(anticipation=1.0),
    gbv.ExtendedTwfe(anticipation=1.0),
    gbv.ExtendedTwfe(control="never_treated", anticipation=1.0),
]


def refused(act: Callable[[], Any]) -> Any:
    """Return what it gives, or its refusal; a warning is a failure."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            return act()
        except GbvevalError as refusal:
            return refusal


@pytest.mark.parametrize("ugly", UGLY, ids=lambda ugly: ugly.__name__)
@pytest.mark.parametrize("estimator", VARIANTS, ids=str)
def test_options_meet_ugly_panels_too(estimator: Any, ugly: Callable[[Frame], Frame]) -> None:
    result = refused(lambda: estimator.estimate(panel(ugly(base()))))
    if isinstance(result, GbvevalError):
        assert len(str(result)) > 40
        return
    finite_or_explained(result)
    for by in ("simple", "event_time", "cohort", "pretest"):
        averages = refused(lambda by=by: result.aggregate(by))  # type: ignore[misc]
        if isinstance(averages, gbv.Estimates):
            finite_or_explained(averages)


@pytest.mark.parametrize("ugly", UGLY, ids=lambda ugly: ugly.__name__)
@pytest.mark.parametrize("look", [gbv.trend_scales, gbv.functional_form], ids=lambda look: look.__name__)
def test_scales_of_ugly_panels(look: Callable[[gbv.Panel], gbv.Table], ugly: Callable[[Frame], Frame]) -> None:
    table = refused(lambda: look(panel(ugly(base()))))
    if isinstance(table, GbvevalError):
        assert len(str(table)) > 40
        assert "1.25" not in str(table)
        return
    assert len(table.support) == len(table.rows)
    assert all(not isinstance(value, float) or np.isfinite(value) for row in table.rows for value in row)


# Estimators that are made for one treated unit.
FOR_ONE = {"conley_taber", "synthetic_control", "synthetic_did", "randomised_timing"}


@pytest.mark.parametrize("name", [name for name in NAMES if name not in FOR_ONE])
def test_one_treated_unit_is_refused(name: str) -> None:
    found = answer(name, panel(one_treated_unit(base())))
    assert isinstance(found, GbvevalError)
    found = answer(name, panel(one_treated_unit(two_periods(base()))))
    assert isinstance(found, GbvevalError)


@pytest.mark.parametrize("name", NAMES)
def test_a_cohort_of_one_is_warned_of(name: str) -> None:
    """Its standard error is that of the comparison alone, as in R; the warning says not to rely on it."""
    found = answer(name, panel(a_cohort_of_one(base())))
    if isinstance(found, GbvevalError) or not any(row.term.startswith("cohort 5") for row in found.terms):
        return
    assert "5 (1)" in found.check("small cohorts").message


@pytest.mark.parametrize("name", NAMES)
def test_constant_outcomes_have_no_standard_error(name: str) -> None:
    result = answer(name, panel(constant_outcome(base())))
    if isinstance(result, GbvevalError):
        return
    assert all(row.std_error is None for row in result.terms if row.estimand.effect in ("ATT", "group_time_ATT"))


@pytest.mark.parametrize("ugly", [names_for_units, dates_for_time], ids=lambda ugly: ugly.__name__)
@pytest.mark.parametrize("name", NAMES)
def test_spellings_of_units_and_periods_change_no_number(name: str, ugly: Callable[[Frame], Frame]) -> None:
    estimator = discover()[name]()
    try:
        one = estimator.estimate(panel(base()), rng=np.random.default_rng(1))
    except GbvevalError:
        with pytest.raises(GbvevalError):
            estimator.estimate(panel(ugly(base())), rng=np.random.default_rng(1))
        return
    two = estimator.estimate(panel(ugly(base())), rng=np.random.default_rng(1))
    np.testing.assert_allclose(one.values, two.values, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", NAMES)
def test_duplicated_unit_periods_never_get_that_far(name: str) -> None:
    data = pd.concat([base(), base().iloc[:3]])
    with pytest.raises(gbv.DataError, match="6 rows share a unit and period"):
        panel(data)


def test_the_text_of_a_dated_rollout_names_dates() -> None:
    result = gbv.CallawaySantAnna().estimate(panel(dates_for_time(base())))
    assert result.terms[0].term == "cohort 2024-03, period 2024-02"
    assert result.aggregate("calendar").terms[1].term == "period 2024-03"
