"""Imputation, two stages, Sun-Abraham and the extended regression: where they agree, by hand, and what they refuse."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm

import gbveval as gbv
from gbveval.core.errors import DataError, DesignError, IdentificationError
from gbveval.testing.processes import PanelFrames


def frame(seed: int = 0, **options: Any) -> pd.DataFrame:
    return pd.DataFrame(PanelFrames(**{"n_units": 45, **options}).frame(np.random.default_rng(seed))[0])


def checked(data: pd.DataFrame, **roles: Any) -> gbv.Panel:
    return gbv.Panel(data, **{"outcome": "y", "unit": "unit", "time": "time", "cohort": "cohort", **roles})


def holes(data: pd.DataFrame, share: float = 0.15, seed: int = 4) -> pd.DataFrame:
    return data[np.random.default_rng(seed).random(len(data)) > share]


def dummies(data: pd.DataFrame) -> np.ndarray[Any, np.dtype[np.float64]]:
    found = pd.get_dummies(data[["unit", "time"]].astype(str), drop_first=True, dtype=float)
    return np.column_stack([np.ones(len(data)), found])


@pytest.mark.parametrize("gaps", [False, True])
@pytest.mark.parametrize("weighted", [False, True])
def test_imputed_effects_by_hand(gaps: bool, weighted: bool) -> None:
    data = holes(frame()) if gaps else frame()
    data["w"] = np.random.default_rng(8).uniform(0.5, 2.0, len(data)) if weighted else 1.0
    treated = (data["time"] >= data["cohort"]).to_numpy()
    x, y, w = dummies(data), data["y"].to_numpy(), data["w"].to_numpy()
    root = np.sqrt(w[~treated])
    beta = np.linalg.lstsq(x[~treated] * root[:, None], y[~treated] * root, rcond=None)[0]
    beyond = y - x @ beta
    for estimator in (gbv.Imputation(), gbv.TwoStage()):
        result = estimator.estimate(checked(data, weight="w"))
        cell = ((data["cohort"] == 3) & (data["time"] == 4)).to_numpy()
        assert result["cohort 3, period 4"].value == pytest.approx(np.average(beyond[cell], weights=w[cell]), rel=1e-9)
        overall = result.aggregate("simple")[0]
        assert overall.value == pytest.approx(np.average(beyond[treated], weights=w[treated]), rel=1e-9)


@pytest.mark.parametrize("gaps", [False, True])
def test_two_stage_errors_by_the_method_of_moments(gaps: bool) -> None:
    """Both stages stacked, with dense matrices."""
    data = holes(frame()) if gaps else frame()
    treated = (data["time"] >= data["cohort"]).to_numpy()
    x, y = dummies(data), data["y"].to_numpy()
    first = np.where(treated[:, None], 0.0, x)
    beta = np.linalg.lstsq(first, np.where(treated, 0.0, y), rcond=None)[0]
    second = treated.astype(float)[:, None]
    effect = np.linalg.lstsq(second, y - x @ beta, rcond=None)[0]
    e1, e2 = np.where(treated, 0.0, y - x @ beta), y - x @ beta - second @ effect
    bread = np.linalg.inv(second.T @ second)
    gamma = np.linalg.pinv(first.T @ first) @ x.T @ second
    scores = second * e2[:, None] - (first @ gamma) * e1[:, None]
    sums = np.array([scores[data["unit"] == unit].sum(axis=0) for unit in data["unit"].unique()])
    by_hand = float(np.sqrt((bread @ sums.T @ sums @ bread)[0, 0]))
    row = gbv.TwoStage().estimate(checked(data)).aggregate("simple")[0]
    assert row.std_error == pytest.approx(by_hand, rel=1e-8)


def test_conservative_errors_of_imputation_by_hand() -> None:
    data = frame()
    treated = (data["time"] >= data["cohort"]).to_numpy()
    x, y = dummies(data), data["y"].to_numpy()
    x0 = x[~treated]
    beta = np.linalg.lstsq(x0, y[~treated], rcond=None)[0]
    beyond = y - x @ beta
    v = np.where(treated, 1.0 / treated.sum(), 0.0)
    v[~treated] = -x0 @ np.linalg.pinv(x0.T @ x0) @ (x[treated].T @ v[treated])
    residual = beyond.copy()
    for rows in data[treated].groupby(["cohort", "time"]).groups.values():
        place = data.index.get_indexer(rows)
        residual[place] -= beyond[place].mean()
    sums = pd.Series(v * residual).groupby(data["unit"].to_numpy()).sum()
    row = gbv.Imputation().estimate(checked(data)).aggregate("simple")[0]
    assert row.std_error == pytest.approx(float(np.sqrt((sums**2).sum())), rel=1e-9)


def test_complete_panels_make_sun_abraham_the_group_time_effects() -> None:
    data = checked(frame(cluster_size=2, n_units=60), cluster="cluster")
    cells = gbv.CallawaySantAnna(control="never_treated", base_period="universal").estimate(data)
    found = gbv.SunAbraham(std_error="CR0").estimate(data)
    for row in found.terms:
        assert row.value == pytest.approx(cells[row.term].value, abs=1e-12)
        assert row.std_error == pytest.approx(cells[row.term].std_error, rel=1e-9)


@pytest.mark.parametrize("std_error", ["CR0", "CR1S"])
def test_means_give_the_regression_of_sun_and_abraham(std_error: str) -> None:
    """The same panel with weights of one takes the regression."""
    data = frame().assign(w=1.0)
    quick = gbv.SunAbraham(std_error=std_error).estimate(checked(data))
    slow = gbv.SunAbraham(std_error=std_error).estimate(checked(data, weight="w"))
    np.testing.assert_allclose(quick.values, slow.values, atol=1e-11)
    np.testing.assert_allclose(quick.covariance, slow.covariance, rtol=1e-8, atol=1e-14)
    np.testing.assert_allclose(quick.influence, slow.influence, rtol=1e-7, atol=1e-12)
    assert [row.df for row in quick.terms] == [row.df for row in slow.terms]


def test_the_extended_regression_is_imputation_in_complete_panels() -> None:
    data = checked(frame(n_units=60))
    extended = gbv.ExtendedTwfe().estimate(data)
    imputed = gbv.Imputation().estimate(data)
    np.testing.assert_allclose(extended.values, imputed.values, rtol=1e-9)


def test_a_cell_of_the_extended_regression_has_its_coefficients_error() -> None:
    """R's etwfe has this error by finite differences, 2e-6 off."""
    data = frame()
    columns = {f"{g:g}, period {t}": (data["cohort"] == g) & (data["time"] == t) for g in (3.0, 4.0) for t in (3, 4, 5)}
    cells = np.column_stack([column for name, column in columns.items() if float(name[0]) <= float(name[-1])])
    groups = pd.get_dummies(data[["cohort", "time"]].astype(str), drop_first=True, dtype=float)
    design = sm.add_constant(np.column_stack([cells.astype(float), groups]))
    codes = np.unique(data["unit"], return_inverse=True)[1]
    fit = sm.OLS(data["y"].to_numpy(), design).fit(cov_type="cluster", cov_kwds={"groups": codes})
    row = gbv.ExtendedTwfe().estimate(checked(data))["cohort 3, period 3"]
    assert row.value == pytest.approx(fit.params[1], rel=1e-9)
    assert row.std_error == pytest.approx(fit.bse[1], rel=1e-9)


@pytest.mark.parametrize(
    ("family", "contrast"), [("poisson", "ratio"), ("poisson", "difference"), ("logit", "difference")]
)
def test_models_of_counts_and_events_by_hand(family: str, contrast: str) -> None:
    rng = np.random.default_rng(2)
    data = frame(n_units=240)
    treated = (data["time"] >= data["cohort"]).to_numpy()
    level = 0.2 * data["time"] + 0.3 * np.isinf(data["cohort"]) + 0.5 * treated
    data["y"] = (
        rng.poisson(np.exp(level)) if family == "poisson" else rng.random(len(data)) < 1 / (1 + np.exp(-level + 1))
    )
    data["y"] = data["y"].astype(float)
    groups = pd.get_dummies(data[["cohort", "time"]].astype(str), drop_first=True, dtype=float)
    keys = sorted(set(zip(data["cohort"][treated], data["time"][treated], strict=True)))
    cells = np.column_stack([(data["cohort"] == g) & (data["time"] == t) for g, t in keys]).astype(float)
    design = sm.add_constant(np.column_stack([cells, groups]))
    kind = sm.families.Poisson() if family == "poisson" else sm.families.Binomial()
    codes = np.unique(data["unit"], return_inverse=True)[1]
    fit = sm.GLM(data["y"].to_numpy(), design, family=kind).fit(
        tol=1e-13, cov_type="cluster", cov_kwds={"groups": codes, "use_correction": False}
    )
    without = design.copy()
    without[:, 1 : 1 + len(keys)] = 0.0

    def answer(beta: Any) -> float:
        link = fit.family.link.inverse
        one, zero = link(design[treated] @ beta).mean(), link(without[treated] @ beta).mean()
        return float(np.log(one / zero) if contrast == "ratio" else one - zero)

    beta = np.asarray(fit.params)
    slope = np.array([(answer(beta + 1e-5 * e) - answer(beta - 1e-5 * e)) / 2e-5 for e in np.eye(beta.size)])
    row = (
        gbv.ExtendedTwfe(family=family, contrast=contrast, std_error="CR0")
        .estimate(checked(data))
        .aggregate("simple")[0]
    )
    assert row.value == pytest.approx(answer(beta), rel=1e-7)
    # Central differences are right to about 1e-8 of the derivative.
    assert row.std_error == pytest.approx(float(np.sqrt(slope @ fit.cov_params() @ slope)), rel=1e-6)


def test_exposure_is_an_offset() -> None:
    rng = np.random.default_rng(5)
    data = frame(n_units=150)
    data["days"] = rng.integers(10, 30, len(data)).astype(float)
    data["y"] = rng.poisson(data["days"] * np.exp(0.1 * data["time"] + 0.4 * (data["time"] >= data["cohort"])) / 10.0)
    ratio = gbv.ExtendedTwfe(family="poisson", contrast="ratio")
    found = ratio.estimate(checked(data.assign(y=data["y"].astype(float)), exposure="days")).aggregate("simple")[0]
    assert found.value is not None
    assert found.std_error is not None
    assert abs(found.value - 0.4) < 4 * found.std_error
    with pytest.raises(DesignError, match="Exposure belongs to counts"):
        gbv.ExtendedTwfe().estimate(checked(data.assign(y=data["y"].astype(float)), exposure="days"))


def test_units_never_seen_untreated_are_counted() -> None:
    data = frame(cohorts=(1.0, 3.0, np.inf))
    for estimator, words in ((gbv.Imputation(), "75 treated rows"), (gbv.TwoStage(), "75 treated rows")):
        assert words in estimator.estimate(checked(data)).check("already treated").message
    for estimator in (gbv.SunAbraham(), gbv.ExtendedTwfe()):
        assert "75 rows" in estimator.estimate(checked(data)).check("already treated").message


def test_where_nobody_is_never_treated() -> None:
    data = checked(frame(cohorts=(2.0, 4.0)))
    with pytest.raises(DesignError, match="last_treated"):
        gbv.SunAbraham().estimate(data)
    last = gbv.SunAbraham(control="last_treated").estimate(data)
    assert {row.term for row in last.terms if row.std_error} == {"cohort 2, period 2", "cohort 2, period 3"}
    extended = gbv.ExtendedTwfe().estimate(data)
    assert "periods in which everybody is treated" in extended.method.sample
    # Unit effects carry no period without an untreated unit.
    imputed = gbv.Imputation().estimate(data)
    assert {row.term for row in imputed.terms} == {"cohort 2, period 2", "cohort 2, period 3"}


def test_one_treated_unit_is_refused() -> None:
    data = frame(cohorts=(np.inf,))
    data.loc[data["unit"] == "u0003", "cohort"] = 3.0
    for estimator in (gbv.Imputation(), gbv.TwoStage(), gbv.SunAbraham(), gbv.ExtendedTwfe()):
        with pytest.raises(IdentificationError, match="1 unit or cluster treated"):
            estimator.estimate(checked(data))


def test_outcomes_outside_the_range_are_counted() -> None:
    with pytest.raises(DataError, match=r"outside the range of 'poisson' in \d+ rows"):
        gbv.ExtendedTwfe(family="poisson").estimate(checked(frame()))


def test_leads_come_from_untreated_rows_alone() -> None:
    data = frame(cohorts=(4.0, 5.0, np.inf))
    study = gbv.Imputation().estimate(checked(data)).aggregate("event_time")
    early = data[data["time"] < data["cohort"]]
    event = early["time"] - early["cohort"]
    leads = np.column_stack([event == e for e in (-4, -3, -2)]).astype(float)
    fit = sm.OLS(early["y"].to_numpy(), np.column_stack([leads, dummies(early)])).fit()
    for place, name in enumerate(("event time -4", "event time -3", "event time -2")):
        assert study[name].value == pytest.approx(fit.params[place], rel=1e-8)
    assert [row.term for row in study.terms][:2] == ["overall", "event time -4"]
    assert study.influence is not None
    np.testing.assert_allclose(study.influence.T @ study.influence, study.covariance, rtol=1e-9)
    test = gbv.Imputation().estimate(checked(data)).aggregate("pretest")[0]
    assert test.df == 3
