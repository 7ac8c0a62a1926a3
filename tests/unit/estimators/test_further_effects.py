"""Further effects of a regression, against other programs and all indicators; who takes them, and what is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from linearmodels.iv.absorbing import AbsorbingLS
from numpy.typing import NDArray
from scipy.linalg import orth
from tests.unit.estimators.test_ugly_panels import NAMES

import gbveval as gbv
from gbveval.core.errors import DataError, DesignError, GbvevalError, IdentificationError
from gbveval.core.registry import discover
from gbveval.estimators.did import _regression
from gbveval.estimators.did._panels import part_of

FloatArray = NDArray[np.float64]
TAKES = {"two_way_fixed_effects", "event_study"}
ROLES: dict[str, Any] = {"outcome": "y", "unit": "u", "time": "t", "cohort": "g"}


def made(
    seed: int = 1, units: int = 60, periods: int = 6, regions: int = 5, gaps: float = 0.0, effect: float = 0.5
) -> pd.DataFrame:
    """Return a rollout with shocks by region and period, a grade that units change, and a covariate."""
    rng = np.random.default_rng(seed)
    unit, time = np.repeat(np.arange(units), periods), np.tile(np.arange(1, periods + 1), units)
    region = np.arange(units) % regions
    cohort = np.array([3.0, 4.0, np.nan])[rng.permutation(np.arange(units)) % 3]
    shock = 2.0 * rng.normal(size=(regions, periods + 1))[region[unit], time]
    y = rng.normal(size=units)[unit] + shock + effect * (time >= cohort[unit]) + rng.normal(size=unit.size)
    data = pd.DataFrame({"y": y, "u": unit, "t": time, "g": cohort[unit], "region": region[unit]})
    data["grade"] = rng.integers(0, 7, unit.size)
    data["k"] = unit // 4
    data["x"], data["w"] = rng.normal(size=unit.size), rng.uniform(0.5, 2.0, unit.size)
    return data[rng.random(unit.size) >= gaps].reset_index(drop=True)


def indicators(*columns: pd.Series) -> FloatArray:
    return np.column_stack([pd.get_dummies(each).to_numpy(dtype=float) for each in columns])


def spanned(*columns: pd.Series) -> FloatArray:
    """Return an orthonormal basis of the indicators, which are collinear in many ways."""
    return np.asarray(orth(indicators(*columns), rcond=1e-10))


def crossed(data: pd.DataFrame, *names: str) -> pd.Series:
    return data[list(names)].astype(str).agg("-".join, axis=1)


def treated(data: pd.DataFrame) -> pd.Series:
    return (data["t"] >= data["g"]).astype(float)


def by_indicators(data: pd.DataFrame, effects: list[pd.Series], weighted: bool) -> tuple[Any, int]:
    """Return the regression on treatment, covariate and all indicators, and its columns."""
    design = np.column_stack([treated(data), data["x"], spanned(*effects)])
    weights = data["w"] if weighted else np.ones(len(data))
    return sm.WLS(data["y"], design, weights=weights), design.shape[1]


CASES: list[Any] = [
    pytest.param([("region", "t")], 0.0, False, id="region by period"),
    pytest.param([("region", "t")], 0.3, True, id="gaps and weights"),
    pytest.param(["grade"], 0.2, False, id="an effect that units change"),
    pytest.param(["grade", ("region", "t")], 0.2, True, id="two of them"),
    pytest.param(["region"], 0.1, False, id="nested in units"),
    pytest.param(["grade", ("region", "t"), ("k", "t")], 0.0, False, id="three, two of them nested"),
]


@pytest.mark.parametrize(("effects", "gaps", "weighted"), CASES)
def test_numbers_are_those_of_all_indicators(effects: list[Any], gaps: float, weighted: bool) -> None:
    data = made(gaps=gaps)
    names = [(each,) if isinstance(each, str) else each for each in effects]
    more = [crossed(data, *each) for each in names]
    model, rank = by_indicators(data, [data["u"], data["t"], *more], weighted)
    roles = {**ROLES, "covariates": ["x"], **({"weight": "w"} if weighted else {})}
    panel = gbv.Panel(data, **roles, effects=effects)

    def numbers(std_error: str, used: gbv.Panel = panel) -> tuple[FloatArray, FloatArray]:
        found = gbv.TwoWayFixedEffects(std_error=std_error).estimate(used)
        return found.values, found.std_errors

    plain, robust = model.fit(), model.fit(cov_type="HC0")
    # Two ways to the same numbers, with a basis of some eighty columns: about twelve digits agree.
    np.testing.assert_allclose(numbers("classical")[0], plain.params.iloc[:2], rtol=1e-9)
    scale = np.sqrt(plain.df_resid / (len(data) - rank))
    np.testing.assert_allclose(numbers("classical")[1], scale * plain.bse.iloc[:2], rtol=1e-9)
    np.testing.assert_allclose(numbers("HC0")[1], robust.bse.iloc[:2], rtol=1e-9)
    np.testing.assert_allclose(
        numbers("HC1")[1], robust.bse.iloc[:2] * np.sqrt(len(data) / (len(data) - rank)), rtol=1e-9
    )
    grouped = model.fit(cov_type="cluster", cov_kwds={"groups": data["k"].to_numpy(), "use_correction": False})
    clustered = gbv.Panel(data, **roles, effects=effects, cluster="k")
    np.testing.assert_allclose(numbers("CR0", clustered)[1], grouped.bse.iloc[:2], rtol=1e-9)
    # Effects nested in clusters (units, region by place) do not count; the rank of the others does.
    free = [data["t"], *(each for each in more if data["k"].groupby(each).nunique().max() > 1)]
    k = 2 + int(np.linalg.matrix_rank(indicators(*free)))
    count = data["k"].nunique()
    factor = count / (count - 1.0) * (len(data) - 1.0) / (len(data) - k)
    np.testing.assert_allclose(numbers("CR1S", clustered)[1], np.sqrt(factor) * grouped.bse.iloc[:2], rtol=1e-9)


@pytest.mark.parametrize("gaps", [0.0, 0.25])
def test_another_program_that_absorbs(gaps: float) -> None:
    data = made(seed=3, gaps=gaps)
    every = {"u": data["u"], "rt": crossed(data, "region", "t"), "grade": data["grade"]}
    absorbed = pd.DataFrame(every, dtype="category")
    exog = pd.DataFrame({"d": treated(data), "x": data["x"]})
    found = AbsorbingLS(data["y"], exog, absorb=absorbed, weights=data["w"]).fit(
        cov_type="clustered", clusters=data["u"], debiased=False
    )
    panel = gbv.Panel(data, **ROLES, covariates=["x"], weight="w", effects=[("region", "t"), "grade"])
    ours = gbv.TwoWayFixedEffects(std_error="CR0").estimate(panel)
    # Its iterations stop at about nine digits.
    np.testing.assert_allclose(ours.values, found.params[:2], rtol=1e-6)
    np.testing.assert_allclose(ours.std_errors, found.std_errors[:2], rtol=1e-6)


@pytest.mark.parametrize("std_error", ["CR2", "CR3"])
def test_corrected_covariances_take_effects_across_clusters_as_columns(std_error: str) -> None:
    data = made(seed=4, units=40, regions=3)
    names = [f"r{i}" for i in range(1, 18)]
    cells = indicators(crossed(data, "region", "t"))
    listed = data.assign(**{name: cells[:, i] for i, name in enumerate(names)})
    wide = gbv.TwoWayFixedEffects(std_error=std_error).estimate(gbv.Panel(listed, **ROLES, covariates=names))
    found = gbv.TwoWayFixedEffects(std_error=std_error).estimate(gbv.Panel(data, **ROLES, effects=[("region", "t")]))
    assert found.terms[0].value == pytest.approx(wide.terms[0].value, rel=1e-8)
    assert found.terms[0].std_error == pytest.approx(wide.terms[0].std_error, rel=1e-7)
    assert found.terms[0].df == pytest.approx(wide.terms[0].df, rel=1e-6)


def test_event_study_has_them_too() -> None:
    data = made(seed=5)
    event = data["t"] - data["g"]
    times = sorted(event.dropna().unique())
    columns = np.column_stack([event == e for e in times if e != -1]).astype(float)
    design = np.column_stack([columns, spanned(data["u"], crossed(data, "region", "t"))])
    wanted = sm.OLS(data["y"], design).fit().params.iloc[: columns.shape[1]]
    found = gbv.EventStudy().estimate(gbv.Panel(data, **ROLES, effects=[("region", "t")]))
    np.testing.assert_allclose(found.values, wanted, rtol=1e-9)
    assert "region by t" in found.method.sample


def test_a_crossing_is_the_column_that_holds_it_and_order_does_not_matter() -> None:
    data = made(seed=6, gaps=0.1)
    data["rt"] = crossed(data, "region", "t")
    pair = gbv.TwoWayFixedEffects().estimate(gbv.Panel(data, **ROLES, effects=[("t", "region")]))
    one = gbv.TwoWayFixedEffects().estimate(gbv.Panel(data.sample(frac=1.0, random_state=1), **ROLES, effects="rt"))
    assert pair.terms[0].value == pytest.approx(one.terms[0].value, rel=1e-9)
    assert pair.terms[0].std_error == pytest.approx(one.terms[0].std_error, rel=1e-9)


def test_shocks_by_region_are_taken_out() -> None:
    # Regions differ in how many are treated, and late periods are bad in those treated most: without effects of region
    # by period the estimate is biased by that, with them it is not.
    rng = np.random.default_rng(7)
    estimates = []
    for _ in range(60):
        data = made(seed=int(rng.integers(2**31)), effect=0.0)
        chosen = rng.random(60) < np.linspace(0.2, 0.8, 5)[np.arange(60) % 5]
        data["g"] = np.where(chosen[data["u"]], 4.0, np.nan)
        data["y"] += 0.5 * treated(data) + 1.5 * data["region"] * (data["t"] >= 4)
        pair = ((), [("region", "t")])
        panels = [gbv.Panel(data, **ROLES, effects=effects) for effects in pair]
        estimates.append([gbv.TwoWayFixedEffects().estimate(panel).terms[0].value for panel in panels])
    values = np.array(estimates, dtype=float)
    error = values.std(axis=0, ddof=1) / np.sqrt(len(values))
    # A false alarm in 10,000.
    assert abs(values.mean(axis=0)[1] - 0.5) < 3.9 * error[1]
    assert values.mean(axis=0)[0] - 0.5 > 3.9 * error[0]


def test_treatment_that_does_not_vary_within_an_effect_is_refused() -> None:
    data = made(seed=8)
    data["g"] = np.where(data["region"] < 2, 4.0, np.nan)
    panel = gbv.Panel(data, **ROLES, effects=[("region", "t")])
    for estimator in (gbv.TwoWayFixedEffects(), gbv.EventStudy()):
        with pytest.raises(IdentificationError, match=r"region by t.*coarser one"):
            estimator.estimate(panel)
    # By columns, too.
    with pytest.raises(IdentificationError, match="region by t"):
        gbv.TwoWayFixedEffects(std_error="CR2").estimate(panel)


def test_rows_alone_are_told_and_weigh_nothing() -> None:
    data = made(seed=9)
    data["grade"] = np.where(data.index == 17, 99, data["grade"])
    with_row = gbv.TwoWayFixedEffects(std_error="CR0").estimate(gbv.Panel(data, **ROLES, effects=["grade"]))
    without = gbv.TwoWayFixedEffects(std_error="CR0").estimate(
        gbv.Panel(data.drop(index=17), **ROLES, effects=["grade"])
    )
    assert "1 row alone" in with_row.check("alone in an effect").message
    assert with_row.terms[0].value == pytest.approx(without.terms[0].value, rel=1e-9)
    assert with_row.terms[0].std_error == pytest.approx(without.terms[0].std_error, rel=1e-9)
    assert not any(check.name == "alone in an effect" for check in without.checks)


def test_too_many_levels_as_columns_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_regression, "MOST_INDICATORS", 1000)
    panel = gbv.Panel(made(), **ROLES, effects=[("region", "t")])
    with pytest.raises(DesignError, match="too many for 360 rows"):
        gbv.TwoWayFixedEffects(std_error="CR2").estimate(panel)
    assert gbv.TwoWayFixedEffects().estimate(panel).terms[0].std_error


@pytest.mark.parametrize("name", sorted(set(NAMES) - TAKES))
def test_every_other_estimator_refuses(name: str) -> None:
    data = made()
    more: dict[str, Any] = {"effects": [("region", "t")]}
    options: dict[str, Any] = {"before": 1, "after": 1} if name == "stacked_did" else {}
    if name == "triple_difference":
        data["e"], more["eligible"] = (data["u"] % 2).astype(float), "e"
    if name == "dose_response":
        data["d"], more["dose"] = (1.0 + data["u"] % 7).where(data["g"].notna()), "d"
    if name in ("two_by_two", "doubly_robust"):
        data = data[data["g"] != 4.0]
    if name == "doubly_robust":
        data = data[data["t"].isin([2, 3])]
    with pytest.raises(DesignError, match="region by t") as caught:
        discover()[name](**options).estimate(gbv.Panel(data, **ROLES, **more))
    assert discover()[name].__name__ in str(caught.value)


@pytest.mark.parametrize("function", [gbv.goodman_bacon, gbv.twfe_weights, gbv.twfe_robustness])
def test_decompositions_of_another_regression_refuse(function: Any) -> None:
    with pytest.raises(DesignError, match="region by t"):
        function(gbv.Panel(made(), **ROLES, effects=[("region", "t")]))


def test_places_and_effects_go_together() -> None:
    data = made(seed=10)
    where = np.random.default_rng(1).uniform(-1.0, 1.0, size=(60, 2))
    data["lat"], data["lon"] = where[data["u"]].T
    more: dict[str, Any] = {"effects": [("region", "t")]}
    near = gbv.Panel(data, **ROLES, **more, place=gbv.Places("lat", "lon", cutoff_km=0.001))
    found = gbv.TwoWayFixedEffects().estimate(near)
    alone = gbv.TwoWayFixedEffects().estimate(gbv.Panel(data, **ROLES, **more))
    np.testing.assert_allclose(found.std_errors, alone.std_errors, rtol=1e-9)


def test_the_role_is_checked_kept_in_parts_and_in_the_digest() -> None:
    data = made(seed=11)
    plain = gbv.Panel(data, **ROLES)
    panel = gbv.Panel(data, **ROLES, effects=["grade", ("region", "t")])
    assert panel.effect_names == ("grade", "region by t")
    assert panel.digest != plain.digest
    assert gbv.Panel(data, **ROLES, effects=()).digest == plain.digest
    keep = np.asarray(data["u"] % 3 != 0)
    alone = gbv.Panel(data[keep], **ROLES, effects=["grade", ("region", "t")])
    assert part_of(panel, keep).digest == alone.digest
    missing = data.assign(grade=data["grade"].astype(float).mask(data.index < 3))
    with pytest.raises(DataError, match=r"'grade' \(effects\) is missing in 3 rows"):
        gbv.Panel(missing, **ROLES, effects=["grade"])
    for wrong in (7, [("region", 3)], [()], [["region", "t"]]):
        with pytest.raises(DataError, match="An effect"):
            gbv.Panel(data, **ROLES, effects=wrong)  # type: ignore[arg-type]


def test_names_of_levels_are_shown_nowhere() -> None:
    data = made(seed=12)
    data["school"] = np.where(data.index == 4, "Secret School", "school " + data["grade"].astype(str))
    panel = gbv.Panel(data, **ROLES, effects=[("school", "t")])
    result = gbv.TwoWayFixedEffects().estimate(panel)
    text = repr(panel) + repr(result) + result.to_json() + " ".join(panel.effects[0].levels)
    assert "Secret" not in text
    flat = data.assign(g=np.where(data["school"] == "Secret School", 4.0, np.nan))
    with pytest.raises(GbvevalError) as caught:
        gbv.TwoWayFixedEffects().estimate(gbv.Panel(flat.assign(g=4.0), **ROLES, effects=[("school", "t")]))
    assert "Secret" not in str(caught.value)


@pytest.mark.parametrize("level", [1e6, 1e9])
def test_a_large_level_changes_nothing(level: float) -> None:
    data = made()
    data["stamp"] = np.random.default_rng(8).normal(size=len(data))
    raised = data.assign(y=data["y"] + level, stamp=data["stamp"] + level)
    found, expected = (
        gbv.TwoWayFixedEffects().estimate(gbv.Panel(each, **ROLES, covariates=["stamp"], effects=[("region", "t")]))
        for each in (raised, data)
    )
    # A number near 1e9 is known to 1e-7.
    np.testing.assert_allclose(found.values, expected.values, atol=2e-6)
    np.testing.assert_allclose(found.std_errors, expected.std_errors, atol=2e-6)
