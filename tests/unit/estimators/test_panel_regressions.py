"""Regressions on panels: what they equal by hand, and what they refuse."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm

import gbveval as gbv
from gbveval.core.errors import DesignError, IdentificationError
from gbveval.testing.processes import PanelFrames


def panel(seed: int = 0, **options: Any) -> gbv.Panel:
    source = PanelFrames(**options)
    return source.check(source.frame(np.random.default_rng(seed))[0])


def frame(seed: int = 0, **options: Any) -> pd.DataFrame:
    return pd.DataFrame(PanelFrames(**options).frame(np.random.default_rng(seed))[0])


def test_two_by_two_is_the_difference_of_differences() -> None:
    data = frame(n_units=20, cohorts=(3.0, np.inf))
    result = gbv.TwoByTwo().estimate(gbv.Panel(data, outcome="y", unit="unit", time="time", cohort="cohort"))
    ever, after = np.isfinite(data["cohort"]), data["time"] >= 3
    mean = {(a, b): data.loc[(ever == a) & (after == b), "y"].mean() for a in (0, 1) for b in (0, 1)}
    assert result["treated vs untreated"].value == pytest.approx(mean[1, 1] - mean[1, 0] - mean[0, 1] + mean[0, 0])
    assert result["before, never treated"].value == pytest.approx(mean[0, 0])


def test_two_by_two_takes_repeated_cross_sections() -> None:
    data = frame(n_units=20, cohorts=(3.0, np.inf))
    rows = gbv.Panel(data, outcome="y", time="time", cohort="cohort")
    by_row = gbv.TwoByTwo(std_error="HC1").estimate(rows)[0]
    units = gbv.TwoByTwo(std_error="HC1").estimate(
        gbv.Panel(data, outcome="y", unit="unit", time="time", cohort="cohort")
    )[0]
    assert by_row.value == pytest.approx(units.value)
    assert by_row.std_error == pytest.approx(units.std_error)


def test_one_cohort_makes_the_event_study_that_of_callaway_and_santanna() -> None:
    data = panel(n_units=40, cohorts=(3.0, np.inf))
    study = gbv.EventStudy(std_error="CR0").estimate(data)
    cells = (
        gbv.CallawaySantAnna(control="never_treated", base_period="universal").estimate(data).aggregate("event_time")
    )
    for row in study.terms:
        assert row.value == pytest.approx(cells[row.term].value, abs=1e-12)
        assert row.std_error == pytest.approx(cells[row.term].std_error, rel=1e-9)


def test_a_range_of_event_times_is_one_indicator() -> None:
    data = panel(n_units=40, cohorts=(3.0, np.inf))
    binned = gbv.EventStudy(bins=((-np.inf, -1.0), (0.0, np.inf))).estimate(data)
    plain = gbv.TwoWayFixedEffects().estimate(data)
    assert [row.term for row in binned.terms] == ["event time 0 and later"]
    assert binned[0].value == pytest.approx(plain[0].value)
    assert binned[0].std_error == pytest.approx(plain[0].std_error)


def test_averages_and_test_of_an_event_study() -> None:
    study = gbv.EventStudy().estimate(panel(n_units=40))
    after = [row for row in study.terms if row.term in ("event time 0", "event time +1", "event time +2")]
    overall = study.aggregate("simple")[0]
    assert overall.value == pytest.approx(np.mean([row.value for row in after]))
    place = [study.index(row.term) for row in after]
    assert overall.std_error == pytest.approx(np.sqrt(study.covariance[np.ix_(place, place)].sum()) / 3)
    before = [study.index("event time -3"), study.index("event time -2")]
    b, v = study.values[before], study.covariance[np.ix_(before, before)]
    test = study.aggregate("pretest")[0]
    assert test.statistic == pytest.approx(b @ np.linalg.solve(v, b) / 2)
    assert test.df2 == 39


def test_covariates_and_treatment_that_ends() -> None:
    data = frame(n_units=30, covariate=0.7)
    treated = ((data["time"] >= data["cohort"]) & (data["time"] < 5)).astype(float)
    checked = gbv.Panel(data.assign(d=treated), outcome="y", unit="unit", time="time", treatment="d", covariates=["x"])
    result = gbv.TwoWayFixedEffects().estimate(checked)
    dummies = pd.get_dummies(data[["unit", "time"]].astype(str), drop_first=True, dtype=float)
    design = sm.add_constant(np.column_stack([treated, data["x"], dummies]))
    fitted = sm.OLS(data["y"].to_numpy(), design).fit()
    np.testing.assert_allclose(result.values, fitted.params[1:3], rtol=1e-9)
    with pytest.raises(DesignError, match="Treatment ends in 20 units"):
        gbv.EventStudy().estimate(checked)


def test_wild_two_way_against_every_vector_of_signs_by_hand() -> None:
    data = frame(n_units=18, cluster_size=3, n_periods=4)
    checked = gbv.Panel(data, outcome="y", unit="unit", time="time", cohort="cohort", cluster="cluster")
    row = gbv.WildTwoWay().estimate(checked)[0]
    treated = (data["time"] >= data["cohort"]).to_numpy(float)
    others = sm.add_constant(
        pd.get_dummies(data[["unit", "time"]].astype(str), drop_first=True, dtype=float)
    ).to_numpy()
    design = np.column_stack([treated, others])
    y = data["y"].to_numpy()
    codes = np.unique(data["cluster"], return_inverse=True)[1]
    restricted = others @ np.linalg.lstsq(others, y, rcond=None)[0]
    bread = np.linalg.inv(design.T @ design)

    def t(outcome: Any) -> float:
        beta = bread @ design.T @ outcome
        scores = design * (outcome - design @ beta)[:, None]
        sums = np.array([scores[codes == g].sum(axis=0) for g in range(codes.max() + 1)])
        return float(beta[0] / np.sqrt((bread @ sums.T @ sums @ bread)[0, 0]))

    signs = 1 - 2 * ((np.arange(2**6)[:, None] >> np.arange(6)) & 1)
    drawn = np.array([t(restricted + (y - restricted) * vector[codes]) for vector in signs])
    # Ties are counted, and 1e-9 is far below the distance of two different vectors.
    assert row.p_value == pytest.approx(np.mean(np.abs(drawn) >= abs(t(y)) - 1e-9))


@pytest.mark.parametrize(
    ("estimator", "options", "error", "words"),
    [
        (gbv.TwoByTwo(), {}, DesignError, "one cohort with units that are never treated; here are 2 cohorts"),
        (gbv.EventStudy(reference=(-7.0,)), {}, DesignError, "No row has the event time -7"),
        (gbv.TwoWayFixedEffects(), {"cohorts": (1.0,)}, IdentificationError, "does not vary"),
        (gbv.EventStudy(), {"cohorts": (1.0, np.inf)}, DesignError, "No row has the event time -1"),
        (gbv.WildTwoWay(), {"n_units": 2, "cohorts": (3.0, np.inf)}, IdentificationError, "2 clusters"),
    ],
)
def test_refusals(estimator: Any, options: dict[str, Any], error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        estimator.estimate(panel(**options))


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: gbv.TwoWayFixedEffects(std_error="hc9"), "std_error must be one of"),
        (lambda: gbv.EventStudy(reference=()), "reference holds the event times"),
        (lambda: gbv.EventStudy(bins=((0.0, 2.0), (1.0, 3.0))), "do not overlap"),
        (lambda: gbv.WildTwoWay(variant="WCR12"), "variant must be one of"),
        (lambda: gbv.WildTwoWay(n_draws=5), "at least 19"),
    ],
)
def test_options_that_are_refused(make: Any, words: str) -> None:
    with pytest.raises(DesignError, match=words):
        make()


def test_cross_sections_are_refused_where_units_are_needed() -> None:
    data = gbv.Panel(frame(), outcome="y", time="time", cohort="cohort")
    for estimator in (gbv.TwoWayFixedEffects(), gbv.EventStudy(), gbv.WildTwoWay()):
        with pytest.raises(DesignError, match="repeated cross-sections"):
            estimator.estimate(data)
