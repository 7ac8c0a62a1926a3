"""`SurveyRegression` and `RaoScottTest`: sandwiches by hand, other libraries, replicates, refusals."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import statsmodels.api as sm

import gbveval as gbv


def _frame(n: int = 240, seed: int = 3) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    x, group = rng.normal(size=n), rng.choice(["a", "b", "c"], n)
    shift = np.repeat(rng.normal(size=n // 8), 8)
    eta = -0.4 + 0.6 * x + 0.5 * (group == "b") + 0.4 * shift
    return {
        "y": (rng.random(n) < 1 / (1 + np.exp(-eta))).astype(float),
        "count": rng.poisson(np.exp(0.2 + 0.3 * x + 0.3 * shift)).astype(float),
        "amount": 2.0 + x + shift + rng.normal(size=n),
        "x": x,
        "twice": 2.0 * x,
        "group": group.tolist(),
        "w": rng.uniform(1, 3, n),
        "ward": np.repeat([f"ward {g:02d}" for g in range(n // 8)], 8).tolist(),
        "region": np.repeat(["north", "south"], n // 2).tolist(),
    }


def _survey(frame: dict[str, Any], outcome: Any, **roles: Any) -> gbv.Survey:
    used = {"weight": "w", "stratum": "region", "psu": "ward", **roles}
    return gbv.Survey(frame, outcome=outcome, **{key: value for key, value in used.items() if value is not None})


FAMILIES = [
    ("gaussian", "amount", sm.families.Gaussian()),
    ("binomial", "y", sm.families.Binomial()),
    ("poisson", "count", sm.families.Poisson()),
]


@pytest.mark.parametrize(("family", "outcome", "theirs"), FAMILIES)
def test_coefficients_and_errors_are_the_sandwich_of_weighted_scores(family: str, outcome: str, theirs: Any) -> None:
    frame = _frame()
    found = gbv.SurveyRegression(["x", "group"], family=family).estimate(_survey(frame, outcome))
    assert [row.term for row in found.terms] == ["x", "group[b]", "group[c]", "intercept"]
    group = np.asarray(frame["group"])
    z = np.column_stack([frame["x"], group == "b", group == "c", np.ones(240)]).astype(float)
    fit = sm.GLM(frame[outcome], z, family=theirs, var_weights=frame["w"]).fit(tol=1e-14)
    np.testing.assert_allclose(found.values, fit.params, rtol=1e-6, atol=1e-9)
    # The canonical links have scores w (y - mu) x; wards are summed, centred in their region and times 15/14.
    score = z * (frame["w"] * (frame[outcome] - fit.mu))[:, None]
    wards = score.reshape(30, 8, 4).sum(axis=1)
    meat = sum(15 / 14 * (part - part.mean(axis=0)).T @ (part - part.mean(axis=0)) for part in (wards[:15], wards[15:]))
    variance = {"gaussian": np.ones(240), "binomial": fit.mu * (1 - fit.mu), "poisson": fit.mu}[family]
    bread = np.linalg.inv(z.T @ (z * (frame["w"] * variance)[:, None]))
    np.testing.assert_allclose(found.covariance, bread @ meat @ bread, rtol=1e-6)
    assert [row.df for row in found.terms] == [28.0 + 1.0 - 4.0] * 4


@pytest.mark.parametrize(("family", "outcome", "theirs"), FAMILIES)
def test_model_errors_are_those_of_another_library(family: str, outcome: str, theirs: Any) -> None:
    frame = _frame()
    plain = _survey(frame, outcome, weight=None, stratum=None, psu=None)
    found = gbv.SurveyRegression("x", family=family, std_error="model").estimate(plain)
    fit = sm.GLM(frame[outcome], np.column_stack([frame["x"], np.ones(240)]), family=theirs).fit(tol=1e-14)
    np.testing.assert_allclose(found.std_errors, fit.bse, rtol=1e-6)
    assert found[0].df == 238.0
    with pytest.raises(gbv.DesignError, match="declares weight, stratum, psu"):
        gbv.SurveyRegression("x", std_error="model").estimate(_survey(frame, "amount"))


def test_replicates_refit_the_model() -> None:
    survey = _survey(_frame(), "y")
    estimator = gbv.SurveyRegression("x", family="binomial")
    linear, resampled = estimator.estimate(survey), estimator.estimate(survey.with_jackknife())
    # Thirty wards: the jackknife is a few per cent above the linearised error.
    np.testing.assert_allclose(resampled.std_errors, linear.std_errors, rtol=0.08)


def test_one_indicator_is_the_difference_of_two_groups() -> None:
    frame = _frame()
    frame["sex"] = ["m" if i % 3 else "w" for i in range(240)]
    survey = _survey(frame, "amount")
    slope = gbv.SurveyRegression("sex").estimate(survey)["sex[w]"]
    means = gbv.SurveyMean(by="sex").estimate(survey)
    difference = means.contrast({"sex: w": 1.0, "sex: m": -1.0}, name="d")[0]
    assert slope.value == pytest.approx(difference.value, rel=1e-10)
    assert slope.std_error == pytest.approx(difference.std_error, rel=1e-10)
    crude = gbv.RiskFactors(["sex"], behaviour="experience").estimate(_survey(frame, "y"))
    ratio = gbv.SurveyRegression("sex", family="poisson").estimate(_survey(frame, "y"))["sex[w]"]
    assert ratio.std_error == pytest.approx(crude[0].std_error, rel=1e-8)


def test_collinear_columns_are_named_and_change_nothing() -> None:
    survey = _survey(_frame(), "amount")
    found = gbv.SurveyRegression(["x", "twice"]).estimate(survey)
    assert "collinear" in found["twice"].reason
    assert "twice" in found.check("rank amount").message
    alone = gbv.SurveyRegression("x").estimate(survey)
    assert found["x"].std_error == pytest.approx(alone["x"].std_error, rel=1e-9)


def test_missing_covariates_are_counted_and_stay_in_the_design() -> None:
    frame = _frame()
    frame["x"][:40] = np.nan
    found = gbv.SurveyRegression("x").estimate(_survey(frame, "amount"))
    assert found[0].n_units == 200
    assert found.check("missing covariates of amount").status == "warn"
    assert found[0].df == 23.0 + 1.0 - 2.0


def test_a_separated_outcome_is_refused() -> None:
    frame = _frame()
    frame["y"] = (frame["x"] > 0).astype(float)
    with pytest.raises(gbv.IdentificationError, match="tells the outcome 'y'"):
        gbv.SurveyRegression("x", family="binomial").estimate(_survey(frame, "y"))


def test_more_coefficients_than_degrees_of_freedom_are_refused() -> None:
    frame = _frame()
    rng = np.random.default_rng(1)
    names = [f"z{j}" for j in range(28)]
    frame |= {name: rng.normal(size=240) for name in names}
    with pytest.raises(gbv.IdentificationError, match="29 coefficients"):
        gbv.SurveyRegression(names).estimate(_survey(frame, "amount"))


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: gbv.SurveyRegression([]), "at least one covariate"),
        (lambda: gbv.SurveyRegression(["x", "x"]), "each given once"),
        (lambda: gbv.SurveyRegression("x", family="gamma"), "family is one of"),
        (lambda: gbv.SurveyRegression("x", std_error="HC1"), "std_error is one of"),
        (lambda: gbv.SurveyRegression("x", lonely_psu="no"), "lonely_psu"),
        (lambda: gbv.SurveyRegression("amount").estimate(_survey(_frame(), "amount")), "cannot explain itself"),
        (lambda: gbv.SurveyRegression("ward").estimate(_survey(_frame(), "amount")), "primary sampling unit"),
    ],
)
def test_impossible_models(make: Any, words: str) -> None:
    with pytest.raises(gbv.DesignError, match=words):
        make()


def test_outcomes_outside_the_range_are_counted() -> None:
    with pytest.raises(gbv.DataError, match="is outside the range of family 'binomial'"):
        gbv.SurveyRegression("x", family="binomial").estimate(_survey(_frame(), "amount"))


def test_pooling_a_model_over_imputations() -> None:
    completed = []
    for seed in range(3):
        frame = _frame()
        frame["amount"][:30] = np.random.default_rng(seed).normal(2.0, 1.5, 30)
        completed.append(_survey(frame, "amount", weight=None, stratum=None, psu=None))
    results = [gbv.SurveyRegression("x", std_error="model").estimate(survey) for survey in completed]
    pooled = gbv.pool_imputations(results)
    record = pooled.records()[0]
    values = np.array([result[0].value for result in results])
    within = np.mean([result[0].std_error ** 2 for result in results])
    assert record["within_variance"] == pytest.approx(within, rel=1e-12)
    assert record["between_variance"] == pytest.approx(values.var(ddof=1), rel=1e-9)
    increase = 4 / 3 * values.var(ddof=1) / within
    assert record["relative_increase"] == pytest.approx(increase, rel=1e-9)
    assert record["share_between"] == pytest.approx(increase / (1 + increase), rel=1e-9)
    assert record["df_large_sample"] == pytest.approx(2 * (1 + 1 / increase) ** 2, rel=1e-9)


def test_the_table_of_a_simple_sample_is_pearsons_test() -> None:
    frame = _frame()
    plain = _survey(frame, "y", weight=None, stratum=None, psu=None)
    row = gbv.RaoScottTest("group").estimate(plain)[0]
    counts = np.array([[np.sum((frame["y"] == v) & (np.asarray(frame["group"]) == g)) for g in "abc"] for v in (0, 1)])
    expected = np.outer(counts.sum(axis=1), counts.sum(axis=0)) / 240
    pearson = float(((counts - expected) ** 2 / expected).sum())
    extra = dict(row.extra)
    assert extra["chi_square"] == pytest.approx(pearson, rel=1e-10)
    # The covariance divides by n - 1 and Pearson's by n.
    assert extra["mean_design_effect"] == pytest.approx(240 / 239, rel=1e-9)
    assert row.statistic == pytest.approx(pearson / 2 * 239 / 240, rel=1e-9)


def test_tables_that_cannot_be_tested_say_why() -> None:
    frame = _frame()
    frame["y"] = np.where(np.asarray(frame["group"]) == "a", 0.0, frame["y"])
    assert "nobody" in gbv.RaoScottTest("group").estimate(_survey(frame, "y"))[0].reason
    frame["one"] = ["x"] * 240
    assert "one value only" in gbv.RaoScottTest("one").estimate(_survey(frame, "y"))[0].reason
    with pytest.raises(gbv.DataError, match="240 values"):
        gbv.RaoScottTest("group").estimate(_survey(frame, "amount"))


def test_replicates_and_linearisation_agree_on_a_table() -> None:
    survey = _survey(_frame(), "y")
    linear, resampled = (gbv.RaoScottTest("group").estimate(s)[0] for s in (survey, survey.with_jackknife()))
    assert resampled.statistic == pytest.approx(linear.statistic, rel=0.1)
