"""Attrition by arm: rates and differences against statsmodels, tests by enumeration, size and power."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pandas as pd
import pytest
import statsmodels.formula.api as smf

import gbveval as gbv


def rows(table: gbv.Table) -> dict[str, dict[str, Any]]:
    return {values[1]: dict(zip(table.columns, values, strict=True)) for values in table.rows}


def lost_trial(n: int, seed: int, *, who: bool = False, rate: bool = False) -> gbv.Trial:
    """Return a trial that loses people by chance, or by arm, or young people in one arm and old ones in the other."""
    rng = np.random.default_rng(seed)
    arm, age = rng.permutation(np.repeat([0, 1], n // 2)), rng.normal(size=n)
    lost = rng.random(n) < 0.3 + (0.25 * arm if rate else 0.0)
    if who:
        lost = rng.random(n) < 1 / (1 + np.exp(1 - 2.0 * age * (2 * arm - 1)))
    data = {"y": np.where(lost, np.nan, 1.0 * age), "arm": np.where(arm == 1, "new", "usual"), "age": age}
    return gbv.Trial(data, outcome="y", arm="arm", control="usual", characteristics=["age"])


def test_rates_and_difference_against_statsmodels() -> None:
    trial = lost_trial(100, 2)
    found = rows(gbv.differential_attrition(trial))
    missing = (~trial.observed(0)).astype(float)
    assert found["usual"]["estimate"] == pytest.approx(missing[trial.arm == 0].mean())
    assert found["new"]["missing"] == missing[trial.arm == 1].sum()
    assert found["new"]["randomised"] == 50
    fit = smf.ols("r ~ t", pd.DataFrame({"r": missing, "t": trial.arm})).fit(cov_type="HC2", use_t=True)
    line = found["new vs usual"]
    assert (line["estimate"], line["std_error"]) == pytest.approx((fit.params["t"], fit.bse["t"]), rel=1e-10)
    assert (line["conf_low"], line["conf_high"]) == pytest.approx(tuple(fit.conf_int().loc["t"]), rel=1e-9)


def test_the_tests_by_enumeration() -> None:
    data = {
        "y": [np.nan, 1, 2, np.nan, 3, np.nan, 4, 5, np.nan, 6],
        "arm": ["usual", "new", "usual", "usual", "new", "new", "usual", "new", "new", "usual"],
        "x": [3.0, 1.0, 2.5, 7.0, 4.0, 0.5, 2.0, 6.0, 1.5, 3.5],
    }
    trial = gbv.Trial(data, outcome="y", arm="arm", control="usual", covariates=["x"])
    found = rows(gbv.differential_attrition(trial))
    r, x = np.isnan(trial.outcomes[:, 0]), trial.covariates[:, 0]
    for name, column in (
        ("missing by arm", r.astype(float)),
        ("who is missing, by arm", np.where(r, x - x[r].mean(), 0.0)),
        ("who is observed, by arm", np.where(r, 0.0, x - x[~r].mean())),
    ):
        away = np.array([abs(column[list(s)].sum() - column.sum() / 2) for s in itertools.combinations(range(10), 5)])
        seen = abs(column[trial.arm == 1].sum() - column.sum() / 2)
        assert found[name]["p_value"] == pytest.approx(np.mean(away >= seen - 1e-9), abs=1e-12)


def test_size_and_power_of_the_tests() -> None:
    draws = 150
    small = dict.fromkeys(("missing by arm", "who is missing, by arm", "who is observed, by arm"), 0)
    by_rate, by_who, rate_of_who = 0, 0, 0
    for seed in range(draws):
        for name, row in rows(gbv.differential_attrition(lost_trial(200, seed), n_draws=199)).items():
            if name in small:
                small[name] += row["p_value"] <= 0.05
        by_rate += (
            rows(gbv.differential_attrition(lost_trial(200, seed, rate=True), n_draws=199))["missing by arm"]["p_value"]
            <= 0.05
        )
        who = rows(gbv.differential_attrition(lost_trial(200, seed, who=True), n_draws=199))
        by_who += who["who is missing, by arm"]["p_value"] <= 0.05
        rate_of_who += who["missing by arm"]["p_value"] <= 0.05
    # Exact tests: four binomial errors about the level.
    band = 4 * np.sqrt(0.05 * 0.95 / draws)
    assert all(abs(count / draws - 0.05) < band for count in small.values())
    assert by_rate > 0.85 * draws
    # Rates agree while different people leave: only the interaction sees it.
    assert by_who > 0.95 * draws
    assert rate_of_who < (0.05 + band) * draws


def test_several_outcomes_nothing_missing_and_release() -> None:
    data = {"y": [0.0, 1, 1, 0] * 10, "z": [np.nan, 1, 1, 0] * 10, "arm": ["usual", "new"] * 20}
    trial = gbv.Trial(data, outcome=["y", "z"], arm="arm", control="usual")
    table = gbv.differential_attrition(trial)
    assert list(dict.fromkeys(table.column("outcome"))) == ["y", "z"]
    whole = dict(zip(table.columns, table.rows[2], strict=True))
    assert (whole["estimate"], whole["std_error"]) == (0.0, None)
    assert any("y: missing by arm: no test" in note for note in table.notes)
    assert gbv.differential_attrition(trial, "z").column("outcome") == ("z",) * 4
    assert gbv.release([table, trial.flow()]).items[0].rows[0][3] == 0


def test_an_arm_of_one_and_refusals() -> None:
    data = {"y": [0.0, np.nan, 1, 1, 0], "arm": ["usual"] * 4 + ["new"]}
    trial = gbv.Trial(data, outcome="y", arm="arm", control="usual")
    table = gbv.differential_attrition(trial)
    assert "new vs usual" not in table.column("row")
    assert any("no difference, because" in note for note in table.notes)
    with pytest.raises(gbv.DataError, match="not an outcome"):
        gbv.differential_attrition(trial, "z")
    for option in ({"level": 0.0}, {"n_draws": 5}):
        with pytest.raises(gbv.DesignError):
            gbv.differential_attrition(trial, **option)
