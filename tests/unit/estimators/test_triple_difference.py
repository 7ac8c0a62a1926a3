"""Triple differences: by hand, by regression, with covariates, and what they need."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
import statsmodels.formula.api as smf

import gbveval as gbv
from gbveval.core.errors import DataError, DesignError, IdentificationError
from gbveval.testing.processes import PanelFrames


def frame(seed: int = 0, **options: Any) -> pd.DataFrame:
    source = PanelFrames(**{"n_units": 90, "eligible": True, **options})
    return pd.DataFrame(source.frame(np.random.default_rng(seed))[0])


def checked(data: pd.DataFrame, **roles: Any) -> gbv.Panel:
    given = {"outcome": "y", "unit": "unit", "time": "time", "cohort": "cohort", "eligible": "eligible", **roles}
    return gbv.Panel(data, **given)


def test_a_cell_is_a_difference_of_four_changes() -> None:
    data = frame()
    wide = data.pivot(index="unit", columns="time", values="y")
    facts = data.groupby("unit")[["cohort", "eligible"]].first()
    change = wide[5] - wide[3]
    groups = [
        change[(facts["cohort"] == place) & (facts["eligible"] == who)] for place in (4.0, np.inf) for who in (1.0, 0.0)
    ]
    by_hand = groups[0].mean() - groups[1].mean() - groups[2].mean() + groups[3].mean()
    row = gbv.TripleDifference().estimate(checked(data))["cohort 4, period 5"]
    assert row.value == pytest.approx(by_hand, rel=1e-9)
    assert row.std_error == pytest.approx(np.sqrt(sum(g.var(ddof=0) / g.size for g in groups)), rel=1e-9)


def test_two_periods_are_the_regression_with_three_ways_crossed() -> None:
    data = frame(cohorts=(2.0, np.inf), n_periods=2)
    data = data.assign(place=np.isfinite(data["cohort"]).astype(int), after=(data["time"] == 2).astype(int))
    codes = np.unique(data["unit"], return_inverse=True)[1]
    fit = smf.ols("y ~ place * after * eligible", data).fit(
        cov_type="cluster", cov_kwds={"groups": codes, "use_correction": False}
    )
    row = gbv.TripleDifference().estimate(checked(data)).aggregate("simple")[0]
    assert row.value == pytest.approx(fit.params["place:after:eligible"], rel=1e-9)
    assert row.std_error == pytest.approx(fit.bse["place:after:eligible"], rel=1e-8)


def test_covariates_of_the_eligible_treated_are_what_all_parts_are_brought_to() -> None:
    """Trends by a covariate that differs in all four groups: the adjusted triple is right, the plain one is not."""
    rng = np.random.default_rng(3)
    plain, given = [], []
    for _ in range(40):
        n = 400
        place, who = rng.random(n) < 0.5, rng.random(n) < 0.5
        x = rng.normal(size=n) + 0.8 * place * who
        change = x + 0.5 * place + 0.5 * who + 1.0 * (place & who) + rng.normal(size=n)
        level = rng.normal(size=n)
        data = pd.DataFrame(
            {
                "unit": np.repeat(np.arange(n), 2),
                "time": np.tile([1, 2], n),
                "cohort": np.repeat(np.where(place, 2.0, np.nan), 2),
                "eligible": np.repeat(who, 2).astype(float),
                "x": np.repeat(x, 2),
                "y": np.column_stack([level, level + change]).ravel(),
            }
        )
        plain.append(gbv.TripleDifference().estimate(checked(data))[0].value)
        given.append(gbv.TripleDifference().estimate(checked(data, covariates=["x"]))[0].value)
    error = np.std(given, ddof=1) / np.sqrt(len(given))
    assert abs(np.mean(given) - 1.0) < 4 * error
    assert np.mean(plain) - 1.0 > 10 * error


def test_what_it_needs() -> None:
    data = frame()
    with pytest.raises(DesignError, match="declare eligible"):
        gbv.TripleDifference().estimate(checked(data, eligible=None))
    with pytest.raises(IdentificationError, match="Eligible and not eligible units are needed"):
        gbv.TripleDifference().estimate(checked(data.assign(eligible=1.0)))
    with pytest.raises(DataError, match=r"'eligible' \(eligible\) is neither 0 nor 1 in 450 rows"):
        checked(data.assign(eligible=3.0))
    moving = data.assign(eligible=(data["time"] > 2).astype(float))
    with pytest.raises(DataError, match=r"\(eligible\) changes within 90 units"):
        checked(moving)
    assert checked(data).digest != checked(data, eligible=None).digest
