"""Group-time effects with covariates: each cell is a two-period comparison, and options do what they say."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

import gbveval as gbv
from gbveval.core.errors import DesignError, IdentificationError
from gbveval.testing.processes import PanelFrames


def frame(seed: int = 0, **options: Any) -> pd.DataFrame:
    return pd.DataFrame(PanelFrames(**{"n_units": 120, "trend": 0.3, **options}).frame(np.random.default_rng(seed))[0])


def checked(data: pd.DataFrame, **roles: Any) -> gbv.Panel:
    roles = {"unit": "unit", "covariates": ["x"], **roles}
    return gbv.Panel(data, outcome="y", time="time", cohort="cohort", **roles)


@pytest.mark.parametrize("method", ["dr", "dr_improved", "ipw", "reg"])
@pytest.mark.parametrize("followed", [True, False])
def test_a_cell_is_the_two_period_comparison(method: str, followed: bool) -> None:
    data = frame()
    roles: dict[str, Any] = {} if followed else {"unit": None}
    cells = gbv.CallawaySantAnna(control="never_treated", method=method).estimate(checked(data, **roles))
    part = data[data["time"].isin([2, 4]) & (np.isinf(data["cohort"]) | (data["cohort"] == 3))]
    alone = gbv.DoublyRobust(method=method).estimate(checked(part, **roles))[0]
    cell = cells["cohort 3, period 4"]
    # The covariates are centred on other rows, which changes the rounding only.
    assert cell.value == pytest.approx(alone.value, rel=1e-8)
    assert cell.std_error == pytest.approx(alone.std_error, rel=1e-8)


def test_changing_covariates_enter_with_the_earlier_period() -> None:
    data = frame()
    rng = np.random.default_rng(3)
    data["x"] = data["x"] + rng.normal(size=len(data))
    cells = gbv.CallawaySantAnna(control="never_treated").estimate(checked(data))
    part = data[data["time"].isin([3, 5]) & (np.isinf(data["cohort"]) | (data["cohort"] == 4))].copy()
    earlier = part.loc[part["time"] == 3].set_index("unit")["x"]
    part["x"] = part["unit"].map(earlier)
    alone = gbv.DoublyRobust(method="dr").estimate(checked(part))[0]
    assert cells["cohort 4, period 5"].value == pytest.approx(alone.value, rel=1e-8)
    # Before treatment the earlier period is that before.
    part = data[data["time"].isin([1, 2]) & (np.isinf(data["cohort"]) | (data["cohort"] == 4))].copy()
    part["x"] = part["unit"].map(part.loc[part["time"] == 1].set_index("unit")["x"])
    alone = gbv.DoublyRobust(method="dr").estimate(checked(part.assign(cohort=part["cohort"].replace(4.0, 2.0))))[0]
    assert cells["cohort 4, period 2"].value == pytest.approx(alone.value, rel=1e-8)


def test_every_row_may_be_kept_with_errors_by_unit() -> None:
    data = frame(trend=0.0).drop(columns=["x"], errors="ignore")
    whole = checked(data, covariates=())
    kept = gbv.CallawaySantAnna(unbalanced="as_cross_sections")
    assert kept.estimate(whole)[0].value == gbv.CallawaySantAnna().estimate(whole)[0].value
    holes = data.drop(index=[3, 17, 40])
    with pytest.raises(DesignError, match="3 of 120 units have no outcome in some period"):
        gbv.CallawaySantAnna().estimate(checked(holes, covariates=()))
    rows = kept.estimate(checked(holes, covariates=()))
    g, t = holes["cohort"] == 3, holes["time"]
    never = np.isinf(holes["cohort"])

    def mean(group: Any, period: int) -> float:
        return float(holes.loc[group & (t == period), "y"].mean())

    by_hand = (
        mean(g, 3) - mean(g, 2) - mean(never | (holes["cohort"] == 4), 3) + mean(never | (holes["cohort"] == 4), 2)
    )
    cell = rows["cohort 3, period 3"]
    assert cell.value == pytest.approx(by_hand)
    assert cell.n_clusters == 120
    # The same people are compared over time, so the error is far below that of fresh samples.
    fresh = gbv.CallawaySantAnna().estimate(checked(holes, unit=None, covariates=()))["cohort 3, period 3"]
    assert cell.std_error is not None
    assert fresh.std_error is not None
    assert cell.std_error < 0.9 * fresh.std_error


def test_a_collinear_covariate_changes_nothing_and_is_said() -> None:
    data = frame().assign(twice=lambda d: 2 * d["x"] + 1)
    one = gbv.CallawaySantAnna().estimate(checked(data))
    two = gbv.CallawaySantAnna().estimate(checked(data, covariates=["x", "twice"]))
    np.testing.assert_allclose(one.values, two.values, rtol=1e-9)
    assert "left out" in two.check("covariates").message
    alone = data[data["time"].isin([2, 3]) & (np.isinf(data["cohort"]) | (data["cohort"] == 3))]
    lost = gbv.DoublyRobust().estimate(checked(alone, covariates=["x", "twice"]))
    assert "twice" in lost.check("collinear columns").message


def test_separation_is_refused_by_name() -> None:
    data = frame(trend=0.3)
    data["x"] = np.where(np.isinf(data["cohort"]), 0.0, 5.0) + 0.01 * data["x"]
    with pytest.raises(IdentificationError, match="a propensity is 0 or 1"):
        gbv.CallawaySantAnna(control="never_treated").estimate(checked(data))
    regression = gbv.CallawaySantAnna(control="never_treated", method="reg").estimate(checked(data))
    assert np.isfinite(regression.values).all()


def test_units_of_weight_zero_take_no_part() -> None:
    data = frame().assign(w=lambda d: np.where(d["unit"].isin(["u0001", "u0005"]), 0.0, 1.5))
    found = gbv.CallawaySantAnna().estimate(checked(data, weight="w"))
    without = gbv.CallawaySantAnna().estimate(checked(data[data["w"] > 0]))
    np.testing.assert_allclose(found.values, without.values, rtol=1e-10)
    assert "2 of weight zero" in found.method.sample


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"cohorts": (2.0, 3.0, np.inf), "n_periods": 2}, "2 cohorts"),
        ({"cohorts": (3.0, np.inf)}, "5 periods"),
        ({"cohorts": (1.0, np.inf), "n_periods": 2}, "untreated in the first"),
    ],
)
def test_other_designs_are_refused(change: dict[str, Any], words: str) -> None:
    with pytest.raises(DesignError, match=words):
        gbv.DoublyRobust().estimate(checked(frame(**change)))
