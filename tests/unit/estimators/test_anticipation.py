"""Anticipation: the estimator of a panel in which every cohort starts earlier, read relative to the true start."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest

import gbveval as gbv
from gbveval.core.errors import DesignError, IdentificationError
from gbveval.estimators.did.event_path import event_path

ESTIMATORS = [
    gbv.Imputation(),
    gbv.TwoStage(),
    gbv.ExtendedTwfe(),
    gbv.ExtendedTwfe(control="never_treated"),
    gbv.ExtendedTwfe(family="poisson", contrast="ratio"),
    gbv.ExtendedTwfe(std_error="CR2"),
]


def frame(seed: int = 1, noise: float = 1.0, units: int = 45, never: bool = True) -> pd.DataFrame:
    """The effect is 1, and 0.6 already in the period before treatment."""
    rng = np.random.default_rng(seed)
    g = np.array([4.0, 6.0, np.inf if never else 7.0])[np.arange(units) % 3]
    t = np.arange(1.0, 9.0)
    event = t - g[:, None]
    y = 20.0 + rng.normal(size=(units, 1)) + 0.3 * t + 1.0 * (event >= 0) + 0.6 * (event == -1)
    y = y + noise * rng.normal(size=y.shape)
    return pd.DataFrame(
        {
            "y": y.ravel(),
            "u": np.repeat(np.arange(units), t.size),
            "t": np.tile(t, units),
            "g": np.repeat(g, t.size),
            "x": np.repeat(rng.normal(size=units), t.size),
        }
    )


def panel(data: pd.DataFrame, **roles: Any) -> gbv.Panel:
    return gbv.Panel(data, **{"outcome": "y", "unit": "u", "time": "t", "cohort": "g", **roles})


def cells(result: gbv.Estimates, moved: float = 0.0) -> dict[tuple[float, float], tuple[Any, Any]]:
    return {
        (dict(row.extra)["cohort"] + moved, dict(row.extra)["time"]): (row.value, row.std_error) for row in result.terms
    }


def events(result: gbv.Estimates, moved: float = 0.0) -> dict[float, tuple[Any, Any]]:
    found = {dict(row.extra).get("event_time"): (row.value, row.std_error) for row in result.terms}
    return {time - moved: numbers for time, numbers in found.items() if time is not None}


def same(one: dict[Any, Any], two: dict[Any, Any]) -> None:
    assert one.keys() == two.keys()
    for key, numbers in one.items():
        # An absent standard error is absent on both sides.
        sides = (np.array(pair, dtype=float) for pair in (numbers, two[key]))
        np.testing.assert_allclose(*sides, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("estimator", ESTIMATORS, ids=str)
@pytest.mark.parametrize("ahead", [1, 2])
@pytest.mark.parametrize("covariates", [[], ["x"]], ids=["plain", "covariate"])
def test_it_is_an_earlier_start_read_from_the_true_one(estimator: Any, ahead: int, covariates: list[str]) -> None:
    data = frame().drop(index=[5, 40])
    found = replace(estimator, anticipation=float(ahead)).estimate(panel(data, covariates=covariates))
    early = estimator.estimate(panel(data.assign(g=data["g"] - ahead), covariates=covariates))
    same(cells(found), cells(early, ahead))
    same(events(found.aggregate("event_time")), events(early.aggregate("event_time"), ahead))
    if isinstance(estimator, gbv.ExtendedTwfe) and estimator.control != "never_treated":
        with_leads = found.aggregate("pretest")[0]
        assert with_leads.statistic is None
        assert with_leads.reason
        return
    one, two = found.aggregate("pretest")[0], early.aggregate("pretest")[0]
    numbers = (np.array([row.statistic, row.df, row.df2], dtype=float) for row in (one, two))
    np.testing.assert_allclose(*numbers, rtol=1e-6)


@pytest.mark.parametrize("estimator", ESTIMATORS, ids=str)
def test_averages_are_of_event_times_from_zero_on(estimator: Any) -> None:
    data = frame()
    found = replace(estimator, anticipation=1.0).estimate(panel(data))
    post = [row for row in found.terms if dict(row.extra)["time"] >= dict(row.extra)["cohort"]]
    assert all(dict(row.extra)["treated_by_then"] == "yes" for row in post)
    assert sum(dict(row.extra)["time"] - dict(row.extra)["cohort"] == -1 for row in found.terms) == 2
    if estimator.family != "poisson" if isinstance(estimator, gbv.ExtendedTwfe) else True:
        # Cohorts are of one size, so that the average over treated rows is the plain mean of cells.
        mean = np.mean([row.value for row in post])
        assert found.aggregate("simple")[0].value == pytest.approx(mean, rel=1e-9)
        study = found.aggregate("event_time")
        later = [numbers[0] for time, numbers in events(study).items() if time >= 0]
        assert study["overall"].value == pytest.approx(np.mean(later), rel=1e-9)
    assert {row.term for row in found.aggregate("cohort").terms} == {"overall", "cohort 4", "cohort 6"}
    periods = {dict(row.extra)["time"] for row in post}
    assert len(found.aggregate("calendar").terms) == 1 + len(periods)


@pytest.mark.parametrize("estimator", [gbv.Imputation(), gbv.TwoStage(), gbv.ExtendedTwfe()], ids=str)
@pytest.mark.parametrize("never", [True, False])
def test_without_noise_the_effects_come_out_and_are_off_when_anticipation_is_denied(
    estimator: Any, never: bool
) -> None:
    data = panel(frame(noise=0.0, never=never))
    found = replace(estimator, anticipation=1.0).estimate(data).aggregate("event_time")
    shown = events(found)
    assert shown[-1.0][0] == pytest.approx(0.6, abs=1e-9)
    for time, (value, _) in shown.items():
        if time >= 0:
            assert value == pytest.approx(1.0, abs=1e-9)
    denied = estimator.estimate(data).aggregate("simple")[0].value
    assert denied < 0.95


def test_intervals_cover_with_it_and_do_not_without() -> None:
    draws, hits = 60, np.zeros(2)
    for seed in range(draws):
        data = panel(frame(seed=seed, units=150, noise=0.5))
        for place, estimator in enumerate((gbv.Imputation(anticipation=1.0), gbv.Imputation())):
            row = estimator.estimate(data).aggregate("simple").records()[0]
            hits[place] += row["conf_low"] <= 1.0 <= row["conf_high"]
    assert hits[0] / draws > 0.85  # 95 in 100 leave it with a probability below 1e-3
    assert hits[1] / draws < 0.3


def test_the_result_says_so_and_gives_other_people() -> None:
    for estimator in (
        gbv.Imputation(anticipation=2.0),
        gbv.TwoStage(anticipation=2.0),
        gbv.ExtendedTwfe(anticipation=2.0),
    ):
        found = estimator.estimate(panel(frame()))
        assert any("more than 2 units of time before it begins" in words for words in found.method.assumptions)
        assert "but those of the last 2 units of time" in found.method.comparison
        without = replace(estimator, anticipation=0.0).estimate(panel(frame()))
        tables = [{cell.table for row in result.terms for cell in row.support} for result in (found, without)]
        assert tables[0] & tables[1] == {"cohorts"}


@pytest.mark.parametrize("estimator", [gbv.Imputation, gbv.TwoStage, gbv.ExtendedTwfe])
def test_what_is_refused(estimator: Any) -> None:
    for wrong in (-1.0, np.inf, np.nan):
        with pytest.raises(DesignError, match="anticipation is a length of time"):
            estimator(anticipation=wrong)
    with pytest.raises(IdentificationError):
        estimator(anticipation=20.0).estimate(panel(frame()))


def test_sensitivity_takes_the_period_before_anticipation_as_reference() -> None:
    study = gbv.ExtendedTwfe(control="never_treated", anticipation=1.0).estimate(panel(frame())).aggregate("event_time")
    path = event_path(study)
    assert path.reference == -2.0
    assert (path.n_pre, path.event_time[path.n_pre]) == (3, -1.0)
