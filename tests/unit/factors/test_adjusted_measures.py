"""Adjusted differences, odds ratios, trends, fractions and E-values of `RiskFactors`, and odd surveys."""

from __future__ import annotations

import numpy as np
import pytest
import statsmodels.api as sm
from hypothesis import given, settings
from hypothesis import strategies as st

import gbveval as gbv
from gbveval.core.errors import DesignError
from gbveval.factors._columns import ModelData
from gbveval.factors._logistic import fit_logistic
from gbveval.factors._modified_poisson import fit_modified_poisson
from gbveval.numerics.patterns import Patterns, find_patterns

EVERYTHING = ("ratio", "difference", "odds_ratio", "standardised_ratio", "attributable_fraction")


def _frame(n: int = 400, seed: int = 3) -> dict[str, object]:
    rng = np.random.default_rng(seed)
    sex = rng.choice(["man", "woman"], n)
    hours = rng.choice(["1 few", "2 some", "3 many"], n)
    age = rng.integers(15, 30, n).astype(float)
    eta = -1.2 + 0.5 * (hours == "2 some") + 0.9 * (hours == "3 many") + 0.4 * (sex == "woman") - 0.03 * (age - 20)
    return {
        "y": (rng.random(n) < 1 / (1 + np.exp(-eta))).astype(float),
        "w": rng.integers(1, 4, n).astype(float),
        "ward": [f"v{g:02d}" for g in np.repeat(np.arange(n // 10), 10)],
        "hours": hours.tolist(),
        "sex": sex.tolist(),
        "age": age,
    }


def _table(frame: dict[str, object], factor: object = "hours", **more: object) -> gbv.Estimates:
    asked = {"adjust_for": {"hours": ["sex", "age"]}, "measures": EVERYTHING, **more}
    survey = gbv.Survey(frame, outcome="y", weight="w", psu="ward")
    return gbv.RiskFactors([factor], behaviour="experience", **asked).estimate(survey)  # type: ignore[arg-type,list-item]


def _design(frame: dict[str, object]) -> np.ndarray:
    hours, sex = np.asarray(frame["hours"]), np.asarray(frame["sex"])
    columns = [np.ones(hours.size), hours == "2 some", hours == "3 many", sex == "woman", frame["age"]]
    return np.column_stack(columns).astype(float)


def test_odds_ratios_are_those_of_statsmodels_with_clustered_errors() -> None:
    frame = _frame()
    times = np.asarray(frame["w"]).astype(int)
    groups = np.repeat(np.arange(40), 10)
    fit = sm.GLM(
        np.repeat(np.asarray(frame["y"]), times),
        np.repeat(_design(frame), times, axis=0),
        family=sm.families.Binomial(),
    ).fit(tol=1e-14, cov_type="cluster", cov_kwds={"groups": np.repeat(groups, times), "use_correction": False})
    answer = _table(frame)
    for place, level in ((1, "2 some"), (2, "3 many")):
        row = answer[f"hours: {level} vs 1 few (adjusted odds ratio)"]
        assert row.value == pytest.approx(fit.params[place], rel=1e-7)
        assert row.std_error == pytest.approx(fit.bse[place] * np.sqrt(40 / 39), rel=1e-7)
        assert row.estimand.scale == "conditional"


def test_differences_and_standardised_ratios_have_the_derivative_of_their_definition() -> None:
    frame = _frame(120)
    design, y, w = _design(frame), np.asarray(frame["y"]), np.asarray(frame["w"])

    def risks(weight: np.ndarray) -> np.ndarray:
        fit = sm.GLM(y, design, family=sm.families.Binomial(), freq_weights=weight).fit(tol=1e-14)
        found = []
        for column in (None, 2):
            changed = design.copy()
            changed[:, 1:3] = 0.0
            if column is not None:
                changed[:, column] = 1.0
            found.append(weight @ fit.predict(changed) / weight.sum())
        return np.array([found[1] - found[0], np.log(found[1] / found[0])])

    slopes = []
    for i in range(120):
        step = np.zeros(120)
        step[i] = 1e-4
        slopes.append((risks(w + step) - risks(w - step)) / 2e-4)
    totals = (w[:, None] * np.array(slopes)).reshape(12, 10, 2).sum(axis=1)
    expected = np.sqrt(12 / 11 * ((totals - totals.mean(axis=0)) ** 2).sum(axis=0))
    answer = _table(frame)
    names = ("hours: 3 many vs 1 few (adjusted difference)", "hours: 3 many vs 1 few (standardised ratio)")
    for name, value, error in zip(names, risks(w), expected, strict=True):
        assert answer[name].value == pytest.approx(value, rel=1e-7)
        # Central differences of a smooth function: the error is of the order of the squared step.
        assert answer[name].std_error == pytest.approx(error, rel=1e-5)
    extra = dict(answer[names[0]].extra)
    difference = extra["standardised_risk_exposed"] - extra["standardised_risk_unexposed"]
    assert difference == pytest.approx(answer[names[0]].value)


def test_the_crude_odds_ratio_is_that_of_the_weighted_table() -> None:
    frame = _frame()
    y, w, hours = (np.asarray(frame[name]) for name in ("y", "w", "hours"))
    p1, p0 = (np.average(y[hours == level], weights=w[hours == level]) for level in ("3 many", "1 few"))
    row = _table(frame)["hours: 3 many vs 1 few (crude odds ratio)"]
    assert row.value == pytest.approx(np.log(p1 / (1 - p1) / (p0 / (1 - p0))))


def test_the_lowest_of_a_declared_order_is_the_reference() -> None:
    """ "3 many" would be, had it sorted first; a reference that was named stays."""
    frame = _frame()
    order = ["3 many", "2 some", "1 few"]
    table = _table(frame, gbv.Factor("hours", ordered=order))
    assert {row.term for row in table.terms if "crude ratio" in row.term} == {
        "hours: 1 few vs 3 many (crude ratio)",
        "hours: 2 some vs 3 many (crude ratio)",
    }
    table = _table(frame, gbv.Factor("hours", ordered=order, reference="2 some"))
    assert all("vs 2 some" in row.term for row in table.terms if "crude ratio" in row.term)


def test_the_trend_is_the_ratio_of_one_step() -> None:
    frame = _frame()
    factor = gbv.Factor("hours", ordered=["1 few", "2 some", "3 many"])
    row = _table(frame, factor)["hours: each step up (adjusted ratio)"]
    steps = np.array([float(level[0]) - 1 for level in frame["hours"]])  # type: ignore[union-attr]
    design = np.column_stack([_design(frame)[:, [0, 3, 4]], steps])
    fit = sm.GLM(frame["y"], design, family=sm.families.Poisson(), freq_weights=frame["w"]).fit(tol=1e-14)
    assert row.value == pytest.approx(fit.params[-1], rel=1e-7)
    with pytest.raises(DesignError, match="not all the same"):
        _table(frame, gbv.Factor("hours", ordered=["1 few", "2 some", "often"]))
    with pytest.raises(DesignError, match="three categories"):
        gbv.Factor("hours", ordered=["1 few", "2 some"])


def test_the_fraction_of_the_table_is_that_of_its_own_estimator() -> None:
    frame = _frame()
    survey = gbv.Survey(frame, outcome="y", weight="w", psu="ward")
    alone = gbv.AttributableFraction("hours", ["sex", "age"]).estimate(survey)[0]
    row = _table(frame)["hours: attributable fraction, if causal"]
    assert (row.value, row.std_error, row.df) == pytest.approx((alone.value, alone.std_error, alone.df))
    assert any("do not add up" in item for item in _table(frame).method.assumptions)


def test_e_values_stand_beside_ratios_only_and_follow_their_interval() -> None:
    answer = _table(_frame())
    low, high = np.exp(answer.intervals(0.95))
    for i, row in enumerate(answer.terms):
        extra = dict(row.extra)
        if row.estimand.contrast == "prevalence_ratio":
            table = gbv.e_value(float(np.exp(row.value)), float(low[i]), float(high[i]))
            assert extra["e_value"] == pytest.approx(table.column("e_value")[0])
            limit = next(x for x in table.column("e_value")[1:] if x is not None)
            assert extra["e_value_limit"] == pytest.approx(limit)
        elif row.estimand.contrast == "odds_ratio":
            table = gbv.e_value(float(np.exp(row.value)), measure="odds_ratio", outcome_is_rare=False)
            assert extra["e_value"] == pytest.approx(table.column("e_value")[0])
        else:
            assert extra["e_value"] is None


def test_robustness_values_are_those_of_the_weighted_regression() -> None:
    """Whole weights: a regression on each respondent as often as it counts has the same partial R^2, by its own t."""
    frame = _frame()
    times = np.asarray(frame["w"]).astype(int)
    fit = sm.OLS(np.repeat(np.asarray(frame["y"]), times), np.repeat(_design(frame), times, axis=0)).fit()
    answer = _table(frame)
    for place, level in ((1, "2 some"), (2, "3 many")):
        row = answer[f"hours: {level} vs 1 few (adjusted difference)"]
        extra = dict(row.extra)
        t = float(fit.tvalues[place])
        assert extra["partial_r2"] == pytest.approx(t**2 / (t**2 + fit.df_resid), rel=1e-9)
        expected = gbv.robustness_value(float(fit.params[place]), float(fit.bse[place]), fit.df_resid).rows[0]
        assert extra["robustness_value"] == pytest.approx(expected[2], rel=1e-9)
        low, high = (x[0] for x in answer.with_terms([answer.index(row.term)]).intervals())
        kept = min(abs(low), abs(high)) / abs(row.value) if low * high > 0 else 0.0  # type: ignore[arg-type]
        limit = gbv.robustness_value(float(fit.params[place]), float(fit.bse[place]), fit.df_resid, q=kept or 1e-9)
        assert extra["robustness_value_limit"] == pytest.approx(limit.rows[0][2], abs=1e-8)
    others = [dict(row.extra)["robustness_value"] for row in answer.terms if "adjusted difference" not in row.term]
    assert others == [None] * len(others)


@settings(max_examples=25, deadline=None)
@given(st.integers(min_value=0, max_value=10_000))
def test_patterns_change_nothing(seed: int) -> None:
    """A fit on people, each a pattern of their own, is that on patterns: coefficients and linearised values."""
    rng = np.random.default_rng(seed)
    x, z = rng.integers(0, 2, 80), rng.integers(0, 3, 80)
    y, w = (rng.random(80) < 0.3 + 0.2 * x).astype(float), rng.uniform(0.5, 2.0, 80)
    if any(len(set(y[(x == a) & (z == b)])) < 2 for a in (0, 1) for b in (0, 1, 2)):
        return
    together, apart = find_patterns([x, z]), Patterns(np.arange(80), np.arange(80))
    assert together.count <= 6
    fits = []
    for found in (together, apart):
        data = ModelData(
            y, w, found, x[found.first][:, None].astype(float), np.eye(3)[z[found.first]][:, 1:], ("b", "c")
        )
        fits.append((fit_modified_poisson(data, "x"), fit_logistic(data, "x")))
    (poisson, logistic), (own_poisson, own_logistic) = fits
    np.testing.assert_allclose(poisson.row_values, own_poisson.row_values, rtol=1e-6, atol=1e-10)
    assert poisson.log_ratio == pytest.approx(own_poisson.log_ratio, rel=1e-7)
    assert logistic is not None
    assert own_logistic is not None
    for one, other in zip(
        (logistic.risk(None), logistic.odds_ratio(0), logistic.attributable_fraction()),
        (own_logistic.risk(None), own_logistic.odds_ratio(0), own_logistic.attributable_fraction()),
        strict=True,
    ):
        assert one.value == pytest.approx(other.value, rel=1e-7)
        np.testing.assert_allclose(one.row_values, other.row_values, rtol=1e-6, atol=1e-10)


def test_patterns_survive_more_combinations_than_whole_numbers() -> None:
    rng = np.random.default_rng(1)
    columns = [rng.permutation(500) for _ in range(9)]
    found = find_patterns(columns)
    assert found.count == 500
    assert (found.first[found.index] == np.arange(500)).all()


def test_a_separated_model_is_a_null_row_with_its_reason() -> None:
    frame = _frame()
    woman = np.asarray(frame["sex"]) == "woman"
    frame["y"] = np.where(woman, 1.0, np.asarray(frame["y"]))
    answer = _table(frame)
    row = answer["hours: 3 many vs 1 few (adjusted odds ratio)"]
    assert row.value is None
    assert "separated" in row.reason
    assert answer["hours: attributable fraction, if causal"].value is None


def test_a_category_without_events_leaves_the_others() -> None:
    frame = _frame()
    frame["y"] = np.where(np.asarray(frame["hours"]) == "2 some", 0.0, np.asarray(frame["y"]))
    answer = _table(frame)
    assert answer["hours: 2 some vs 1 few (adjusted odds ratio)"].value is None
    assert answer["hours: 3 many vs 1 few (adjusted odds ratio)"].value is not None
    assert "0 or 100 %" in answer["hours: attributable fraction, if causal"].reason


def test_six_in_ten_missing_and_weights_of_zero_are_counted() -> None:
    frame = _frame(1000)
    rng = np.random.default_rng(9)
    frame["sex"] = [None if rng.random() < 0.6 else value for value in frame["sex"]]  # type: ignore[attr-defined]
    frame["w"] = np.where(np.arange(1000) % 10 == 0, 0.0, np.asarray(frame["w"]))
    answer = _table(frame)
    row = answer["hours: 3 many vs 1 few (adjusted difference)"]
    assert dict(row.extra)["missing_share"] > 0.55
    assert answer.check("adjusted sample hours").status == "warn"
    assert row.n_units < 400


def test_a_lonely_primary_unit_follows_the_policy() -> None:
    frame = _frame()
    frame["region"] = ["a"] * 10 + ["b"] * 390
    survey = gbv.Survey(frame, outcome="y", weight="w", stratum="region", psu="ward")
    table = gbv.RiskFactors(["hours"], {"hours": ["sex"]}, behaviour="experience", measures=EVERYTHING)
    with pytest.raises(gbv.IdentificationError, match="single primary"):
        table.estimate(survey)
    adjusted = gbv.RiskFactors(["hours"], {"hours": ["sex"]}, behaviour="experience", lonely_psu="adjust")
    assert adjusted.estimate(survey)[0].std_error is not None


def test_words_that_are_not_measures_or_orders_are_refused() -> None:
    with pytest.raises(DesignError, match="measures"):
        gbv.RiskFactors(["hours"], behaviour="experience", measures=["hazard_ratio"])
    with pytest.raises(DesignError, match="time_order"):
        gbv.Factor("hours", time_order="later")
    answer = _table(_frame(), gbv.Factor("hours", time_order="before"))
    assert dict(answer[0].extra)["time_order"] == "before"
    assert not any("either may have come first" in item for item in answer.method.assumptions)
