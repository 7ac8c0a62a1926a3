"""Means, totals, ratios and quantiles of surveys: by hand, by brute force, and where they have no answer."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import gbveval as gbv

T_18 = 2.10092204024096  # qt(0.975, 18)


def _frame(n: int = 120, seed: int = 3) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    return {
        "y": rng.gamma(2.0, 1.0, n),
        "months": rng.choice([6.0, 12.0], n),
        "w": rng.uniform(1, 3, n),
        "ward": np.repeat([f"ward {g}" for g in range(n // 6)], 6).tolist(),
        "region": np.repeat(["north", "south"], n // 2).tolist(),
        "sex": rng.choice(["man", "woman"], n).tolist(),
        "wards": np.repeat([40.0, 25.0], n // 2),
    }


def _survey(frame: dict[str, Any], outcome: Any = "y", **roles: Any) -> gbv.Survey:
    used = {"weight": "w", "stratum": "region", "psu": "ward", **roles}
    return gbv.Survey(frame, outcome=outcome, **{key: value for key, value in used.items() if value is not None})


def _by_hand(z: np.ndarray, fractions: tuple[float, float] = (0.0, 0.0)) -> float:
    wards = z.reshape(20, 6).sum(axis=1)
    parts = (wards[:10], wards[10:])
    return sum((1 - f) * 10 / 9 * ((part - part.mean()) ** 2).sum() for f, part in zip(fractions, parts, strict=True))


def test_mean_total_and_ratio_by_hand_with_finite_populations() -> None:
    frame = _frame()
    y, w, m = frame["y"], frame["w"], frame["months"]
    fractions = (10 / 40, 10 / 25)
    survey = _survey(frame, outcome=["y", "months"], fpc="wards")
    mean = gbv.SurveyMean().estimate(survey)[0]
    value = (w @ y) / w.sum()
    assert mean.value == pytest.approx(value, rel=1e-12)
    assert mean.std_error == pytest.approx(np.sqrt(_by_hand(w * (y - value) / w.sum(), fractions)), rel=1e-12)
    total = gbv.SurveyTotal().estimate(survey)[0]
    assert total.std_error == pytest.approx(np.sqrt(_by_hand(w * y, fractions)), rel=1e-12)
    ratio = gbv.SurveyRatio("y", "months").estimate(survey)[0]
    r = (w @ y) / (w @ m)
    assert ratio.value == pytest.approx(r, rel=1e-12)
    assert ratio.std_error == pytest.approx(np.sqrt(_by_hand(w * (y - r * m) / (w @ m), fractions)), rel=1e-12)
    assert (mean.df, total.df, ratio.df) == (18.0, 18.0, 18.0)


def test_levels_have_no_p_value_and_differences_of_groups_have_one() -> None:
    answer = gbv.SurveyMean(by="sex").estimate(_survey(_frame()))
    assert all(record["p_value"] is None for record in answer.records())
    difference = answer.contrast({"sex: woman": 1.0, "sex: man": -1.0}, name="women minus men")
    record = difference.records()[0]
    assert (record["estimand"], record["contrast"]) == ("association", "mean_difference")
    assert 0.0 < record["p_value"] <= 1.0
    expected = answer["sex: woman"].value - answer["sex: man"].value
    assert record["estimate"] == pytest.approx(expected, rel=1e-12)


def test_groups_of_one_design_covary() -> None:
    """A difference whose variance leaves out that groups share wards is another number."""
    frame = _frame()
    shift = np.repeat(np.random.default_rng(9).normal(size=20), 6)
    frame["y"] = frame["y"] + 3 * shift
    answer = gbv.SurveyMean(by="sex").estimate(_survey(frame))
    joint = answer.contrast({"sex: woman": 1.0, "sex: man": -1.0}, name="d")[0].std_error
    apart = np.sqrt(answer["sex: woman"].std_error ** 2 + answer["sex: man"].std_error ** 2)
    assert joint < 0.8 * apart


def test_domain_means_add_to_the_overall_total() -> None:
    survey = _survey(_frame())
    total = gbv.SurveyTotal(by="sex").estimate(survey)
    assert total[1].value + total[2].value == pytest.approx(total[0].value, rel=1e-12)


def test_weights_of_zero_change_nothing_but_the_count() -> None:
    frame = _frame()
    frame["w"][:3] = 0.0
    frame["y"][:3] = 1e6
    answer = gbv.SurveyMean().estimate(_survey(frame))
    kept = frame["w"] > 0
    value = np.average(frame["y"][kept], weights=frame["w"][kept])
    assert answer[0].value == pytest.approx(value, rel=1e-12)
    assert answer[0].support[0].n == 117


def test_a_group_without_an_answer_has_a_reason() -> None:
    frame = _frame()
    frame["y"][np.asarray(frame["sex"]) == "man"] = np.nan
    for estimator in (gbv.SurveyMean(by="sex"), gbv.SurveyTotal(by="sex"), gbv.SurveyQuantile(by="sex")):
        row = next(row for row in estimator.estimate(_survey(frame)).terms if row.term.startswith("sex: man"))
        assert row.value is None
        assert "nobody in this group" in row.reason


def test_most_outcomes_missing_are_told_and_totals_warn() -> None:
    frame = _frame()
    frame["y"][np.random.default_rng(2).random(120) < 0.6] = np.nan
    survey = _survey(frame)
    assert gbv.SurveyMean().estimate(survey).check("missing outcome").status == "warn"
    assert "too small" in gbv.SurveyTotal().estimate(survey).check("totals").message


def test_totals_need_weights() -> None:
    with pytest.raises(gbv.DesignError, match="add to the population"):
        gbv.SurveyTotal().estimate(_survey(_frame(), weight=None))
    frame = _frame()
    implied = gbv.SurveyTotal().estimate(_survey(frame, weight=None, fpc="wards"))
    expected = 4.0 * frame["y"][:60].sum() + 2.5 * frame["y"][60:].sum()
    assert implied[0].value == pytest.approx(expected, rel=1e-12)
    assert "finite populations imply" in implied.check("weights").message


def test_a_denominator_of_zero_has_no_ratio() -> None:
    frame = _frame()
    frame["months"] = np.where(np.asarray(frame["sex"]) == "man", 0.0, frame["months"])
    survey = _survey(frame, outcome=["y", "months"])
    row = gbv.SurveyRatio("y", "months", by="sex").estimate(survey)["sex: man"]
    assert (row.value, row.reason) == (None, "the denominator of the group is zero")


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: gbv.SurveyRatio("y", "y"), "needs two"),
        (lambda: gbv.SurveyQuantile([0.5, 0.5]), "different shares"),
        (lambda: gbv.SurveyQuantile([1.0]), "between 0 and 1"),
        (lambda: gbv.SurveyQuantile(level=1.5), "level"),
        (lambda: gbv.SurveyMean(lonely_psu="drop"), "lonely_psu"),
        (lambda: gbv.Prevalence(interval="exact"), "interval is one of"),
    ],
)
def test_impossible_options(make: Any, words: str) -> None:
    with pytest.raises(gbv.DesignError, match=words):
        make()


def test_ratio_of_an_undeclared_column_is_refused() -> None:
    with pytest.raises(gbv.DesignError, match="is not an outcome"):
        gbv.SurveyRatio("y", "months").estimate(_survey(_frame()))


def test_replicates_give_the_variance_of_every_estimator() -> None:
    """For smooth statistics the jackknife is near the linearised error; with twenty wards, within a few per cent."""
    survey = _survey(_frame(), outcome=["y", "months"])
    replicated = survey.with_jackknife()
    for estimator in (gbv.SurveyMean(by="sex"), gbv.SurveyTotal(), gbv.SurveyRatio("y", "months")):
        linear, resampled = estimator.estimate(survey), estimator.estimate(replicated)
        np.testing.assert_allclose(resampled.std_errors, linear.std_errors, rtol=0.06)
        np.testing.assert_allclose(resampled.values, linear.values, rtol=1e-12)
        assert "20 replicates" in resampled.method.std_error
    median = [gbv.SurveyQuantile().estimate(data)[0] for data in (survey, replicated)]
    assert median[1].value == median[0].value
    assert median[1].std_error == pytest.approx(median[0].std_error, rel=0.3)
    odds = [gbv.Prevalence().estimate(data)[0] for data in (_binary(), _binary().with_jackknife())]
    assert odds[1].std_error == pytest.approx(odds[0].std_error, rel=0.06)


def _binary(**roles: Any) -> gbv.Survey:
    frame = _frame()
    frame["y"] = (frame["y"] > 2.0).astype(float)
    return _survey(frame, **roles)


def test_given_replicate_weights_are_the_made_ones() -> None:
    frame = _frame()
    made = _survey(frame).with_jackknife().replicates
    for r in range(made.count):
        frame[f"r{r}"] = made.weights[:, r]
    columns = [f"r{r}" for r in range(made.count)]
    given = gbv.Survey(frame, outcome="y", weight="w", replicate_weights=columns, replicate_scale=[0.9] * 20)
    expected = gbv.SurveyMean().estimate(_survey(frame).with_jackknife())[0]
    found = gbv.SurveyMean().estimate(given)[0]
    assert (found.std_error, found.df) == (pytest.approx(expected.std_error, rel=1e-12), 18.0)


def test_an_estimator_without_a_replicate_variance_says_so() -> None:
    with pytest.raises(gbv.DesignError, match="no replicate variance"):
        gbv.RandomisedResponseRegression("sex", 0.8).estimate(_binary().with_jackknife())


def test_a_group_that_a_replicate_empties_has_no_error() -> None:
    frame = _frame()
    frame["sex"] = ["rare" if i < 2 else label for i, label in enumerate(frame["sex"])]
    row = gbv.SurveyMean(by="sex").estimate(_survey(frame, stratum=None).with_jackknife())["sex: rare"]
    assert row.std_error is None


def test_poststratification_takes_out_what_the_margin_explains() -> None:
    frame = _frame()
    frame["y"] = np.where(np.asarray(frame["sex"]) == "man", 1.0, 5.0)
    survey = _survey(frame).poststratified("sex", {"man": 400, "woman": 600})
    row = gbv.SurveyMean().estimate(survey)[0]
    assert row.value == pytest.approx(0.4 * 1.0 + 0.6 * 5.0, rel=1e-12)
    # The margin determines the outcome: nothing is left to vary.
    assert row.std_error is None or row.std_error < 1e-12


def test_calibrated_totals_of_the_margin_are_known() -> None:
    frame = _frame()
    frame["one"] = np.ones(120)
    margins = {"sex": {"man": 400.0, "woman": 600.0}, "region": {"north": 300.0, "south": 700.0}}
    frame["home"] = frame["region"]
    margins["home"] = margins.pop("region")
    survey = _survey(frame, outcome=["one", "y"]).raked(margins)
    total = gbv.SurveyTotal(by="sex").estimate(survey)
    assert total[("one", "sex: man")].value == pytest.approx(400.0, rel=1e-8)
    assert "calibrated on sex, home" in total.method.sample


@pytest.mark.parametrize("interval", ["korn_graubard", "wilson", "likelihood"])
@pytest.mark.parametrize("share", [0.0, 1.0])
def test_shares_at_the_ends_have_limits_and_a_reason(interval: str, share: float) -> None:
    frame = _frame()
    frame["y"] = np.where(np.asarray(frame["sex"]) == "man", share, (frame["y"] > 2.0).astype(float))
    answer = gbv.Prevalence(by="sex", interval=interval).estimate(_survey(frame))
    record = answer.records()[answer.index("sex: man")]
    assert record["estimate"] == share
    assert record["std_error"] is None
    assert "does not vary" in record["reason"]
    assert record["conf_low" if share == 0.0 else "conf_high"] == share
    assert 0.03 < record["conf_high"] - record["conf_low"] < 0.3


@pytest.mark.parametrize("interval", ["t", "arcsine"])
def test_shares_at_the_ends_have_no_limits_where_they_would_mislead(interval: str) -> None:
    frame = _frame()
    frame["y"] = np.where(np.asarray(frame["sex"]) == "man", 0.0, (frame["y"] > 2.0).astype(float))
    record = gbv.Prevalence(by="sex", interval=interval).estimate(_survey(frame)).records()[1]
    assert (record["estimate"], record["conf_low"], record["std_error"]) == (0.0, None, None)
    assert record["reason"]


def test_intervals_at_another_level_are_asked_for_by_option() -> None:
    survey = _binary()
    narrow = gbv.Prevalence(interval="wilson", level=0.8).estimate(survey)
    wide = gbv.Prevalence(interval="wilson").estimate(survey)
    assert wide.records()[0]["conf_low"] < narrow.records()[0]["conf_low"]
    assert wide.records(0.8)[0]["conf_low"] is None


def test_the_plain_interval_is_symmetric() -> None:
    survey = _binary()
    record = gbv.Prevalence(interval="t").estimate(survey).records()[0]
    assert record["contrast"] == "share"
    half = T_18 * record["std_error"]
    assert record["conf_high"] - record["estimate"] == pytest.approx(half, rel=1e-10)
    assert gbv.SurveyMean().estimate(survey)[0].std_error == pytest.approx(record["std_error"], rel=1e-12)


def test_release_hides_quantiles_with_few_beyond_them() -> None:
    frame = _frame(n=240)
    answer = gbv.SurveyQuantile([0.5, 0.99]).estimate(_survey(frame))
    shown = gbv.release(answer).estimates()[0]
    assert [row.hidden for row in shown.rows] == [False, True]


@settings(max_examples=25, deadline=None)
@given(st.floats(0.1, 50.0), st.floats(-20.0, 20.0))
def test_means_and_quantiles_move_with_the_outcome(scale: float, shift: float) -> None:
    frame = _frame()
    moved = {**frame, "y": scale * frame["y"] + shift}
    for estimator in (gbv.SurveyMean(by="sex"), gbv.SurveyQuantile(by="sex")):
        before, after = estimator.estimate(_survey(frame)), estimator.estimate(_survey(moved))
        np.testing.assert_allclose(after.values, scale * before.values + shift, rtol=1e-9, atol=1e-9)
        np.testing.assert_allclose(after.std_errors, scale * before.std_errors, rtol=1e-8)


def test_the_jackknife_of_a_raked_mean_is_near_its_residual_variance() -> None:
    """Uneven weights, and an outcome that the margins explain in part: the residuals must be the right ones."""
    frame = _frame(n=480)
    rng = np.random.default_rng(8)
    frame["age"] = rng.choice(["old", "young"], 480).tolist()
    shift = 0.3 * np.repeat(rng.normal(size=80), 6)
    frame["y"] = 4.0 * (np.asarray(frame["sex"]) == "man") - (np.asarray(frame["age"]) == "old") + shift
    frame["y"] = frame["y"] + rng.normal(size=480)
    margins = {"sex": {"man": 500, "woman": 700}, "age": {"old": 800, "young": 400}}
    survey = _survey(frame)
    linear = gbv.SurveyMean().estimate(survey.raked(margins))[0]
    resampled = gbv.SurveyMean().estimate(survey.with_jackknife().raked(margins))[0]
    # Raked weights taken as given leave out that the margins are met in every sample.
    as_given = _survey({**frame, "w": survey.raked(margins).weights()})
    assert resampled.value == pytest.approx(linear.value, rel=1e-8)
    assert resampled.std_error == pytest.approx(linear.std_error, rel=0.05)
    assert linear.std_error < 0.7 * gbv.SurveyMean().estimate(as_given)[0].std_error


def test_risk_factors_take_finite_populations_and_calibration_into_account() -> None:
    frame = _frame()
    frame["y"] = (frame["y"] > 2.0).astype(float)
    frame["kind"] = ["a" if i % 3 else "b" for i in range(120)]
    survey = _survey(frame, fpc="wards").poststratified("sex", {"man": 400, "woman": 600})
    ratio = gbv.RiskFactors(["kind"], behaviour="experience").estimate(survey)[0]
    slope = gbv.SurveyRegression("kind", family="poisson").estimate(survey)["kind[b]"]
    assert ratio.std_error == pytest.approx(slope.std_error, rel=1e-8)


def test_means_of_completed_surveys_are_pooled() -> None:
    completed = []
    for seed in range(4):
        frame = _frame()
        frame["y"][:20] = np.random.default_rng(seed).gamma(2.0, 1.0, 20)
        completed.append(_survey(frame))
    results = [gbv.SurveyMean(by="sex").estimate(survey) for survey in completed]
    pooled = gbv.pool_imputations(results)
    values = np.array([result.values for result in results])
    np.testing.assert_allclose(pooled.values, values.mean(axis=0), rtol=1e-12)
    within = np.mean([result.std_errors**2 for result in results], axis=0)
    total = within + 1.25 * values.var(axis=0, ddof=1)
    np.testing.assert_allclose(pooled.std_errors**2, total, rtol=1e-10)


@pytest.mark.parametrize("interval", ["korn_graubard", "wilson", "likelihood", "arcsine"])
def test_replicate_weights_bound_the_degrees_of_freedom_of_every_interval(interval: str) -> None:
    """Six groups left out in turn leave five degrees of freedom, whatever the number of respondents."""
    from gbveval.numerics.proportion_intervals import DESIGN

    frame = _frame()
    y = (frame["y"] > 2.0).astype(float)
    group = np.repeat(np.arange(6), 20)
    columns = {f"r{r}": np.where(group == r, 0.0, frame["w"] * 6 / 5) for r in range(6)}
    roles = {"weight": "w", "replicate_weights": list(columns), "replicate_scale": 5 / 6}
    survey = gbv.Survey({"y": y, "w": frame["w"], **columns}, outcome="y", **roles)
    record = gbv.Prevalence(interval=interval).estimate(survey).records()[0]
    share = float(np.average(y, weights=frame["w"]))
    variance = 5 / 6 * sum((np.average(y, weights=weights) - share) ** 2 for weights in columns.values())
    low, high = DESIGN[interval](share, variance, n=120, df=5.0, level=0.95)
    # Rounding of a sum of six squares; with 119 degrees of freedom limits would be a quarter nearer.
    assert (record["conf_low"], record["conf_high"]) == (pytest.approx(low, rel=1e-9), pytest.approx(high, rel=1e-9))
    if interval == "wilson":
        corrected = gbv.RoganGladen(0.9, 0.95).estimate(survey).records()[0]
        for name, limit in (("conf_low", low), ("conf_high", high)):
            assert corrected[name] == pytest.approx((limit - 0.05) / 0.85, rel=1e-9)


def _alike() -> dict[str, Any]:
    """A third in every ward and every group, in wards of different weights: nothing varies but rounding."""
    size = [3, 9, 18, 30, 42, 18]
    return {
        "y": np.tile([1.0, 0.0, 0.0], 40),
        "ward": np.repeat(np.arange(6), size),
        "w": np.repeat([0.1, 0.37, 1.3, 1.7, 0.9, 2.3], size),
        "group": np.tile(list("aaabbbcccccc"), 10).tolist(),
    }


def test_rounding_is_no_variance_of_any_estimator() -> None:
    survey = gbv.Survey(_alike(), outcome="y", psu="ward", weight="w")
    median = gbv.SurveyQuantile().estimate(survey).records()[0]
    assert (median["estimate"], median["std_error"], median["conf_low"]) == (0.0, None, None)
    test = gbv.RaoScottTest("group").estimate(survey)[0]
    assert (test.p_value, "does not vary" in test.reason) == (None, True)
    with pytest.raises(gbv.IdentificationError, match="nothing varies between primary units"):
        gbv.PriorCorrectedPrevalence(gbv.Beta(18, 4), 0.97).estimate(survey)
    # Without a design effect a group of 30 counts as 30: a third, give or take a sixth.
    pooled = gbv.PooledPrevalence("group").estimate(survey).records()[0]
    assert pooled["n_effective"] == 30.0
    assert pooled["conf_high"] - pooled["conf_low"] > 0.1


def _two_stages(rng: np.random.Generator) -> tuple[dict[str, Any], np.ndarray]:
    """Draw 10 of 20 wards and 8 of 80 people in each; return the sample and the population."""
    population = (rng.random((20, 80)) < 1.0 / (1.0 + np.exp(1.0 - rng.normal(0, 0.5, (20, 1))))).astype(float)
    wards = rng.choice(20, 10, replace=False)
    y = np.concatenate([rng.choice(population[ward], 8, replace=False) for ward in wards])
    return {"y": y, "ward": np.repeat(np.arange(10), 8), "person": np.arange(80), "N": np.full(80, 20.0)}, population


def test_a_finite_population_of_units_alone_leaves_out_the_draw_of_people_and_says_so() -> None:
    rng = np.random.default_rng(4)
    one, whole, gap = [], [], []
    for _ in range(400):
        frame, population = _two_stages(rng)
        frame["w"] = np.full(80, 20.0)
        samples = [gbv.Survey(frame, outcome="y", weight="w", fpc="N", psu=psu) for psu in ("ward", ["ward", "person"])]
        found = [gbv.SurveyMean().estimate(sample) for sample in samples]
        one.append(found[0][0].std_error ** 2)
        whole.append(found[1][0].std_error ** 2)
        gap.append(found[0][0].value - population.mean())
    assert found[0].check("finite populations").status == "warn"
    assert "everybody was asked" in found[0].method.std_error
    assert "finite populations" not in [check.name for check in found[1].checks]
    # A jackknife of the units knows of the finite population, replicates that came with the data do not.
    jackknife = samples[0].with_jackknife()
    columns = {f"r{r}": jackknife.replicates.weights[:, r] for r in range(10)}
    given = gbv.Survey(
        frame | columns,
        outcome="y",
        weight="w",
        fpc="N",
        psu="ward",
        replicate_weights=list(columns),
        replicate_scale=jackknife.replicates.scale.tolist(),
    )
    told = [
        "finite populations" in [check.name for check in gbv.SurveyMean().estimate(data).checks]
        for data in (jackknife, given)
    ]
    assert told == [True, False]
    # The spread of 400 gaps has a Monte Carlo error of 3.5 %, its square of 7 %: four of these.
    true = float(np.var(gap))
    assert np.mean(whole) == pytest.approx(true, rel=0.28)
    assert np.mean(one) < 0.72 * true


def test_lonely_units_of_a_later_stage_are_told() -> None:
    frame = _two_stages(np.random.default_rng(5))[0] | {"M": np.full(80, 4.0), "block": np.zeros(80)}
    survey = gbv.Survey(frame, outcome="y", psu=["ward", "block"], fpc=["N", "M"])
    answer = gbv.SurveyMean(lonely_psu="certainty").estimate(survey)
    assert answer.check("lonely later units").message.startswith("10 units of a stage have one unit of the next")


def test_people_of_weight_zero_are_not_told_as_lost_to_the_model() -> None:
    frame = _frame()
    frame["y"] = (frame["y"] > 2.0).astype(float)
    frame["w"] = np.where(np.arange(120) % 3 == 0, 0.0, frame["w"])
    answer = gbv.RiskFactors(["sex"], {"sex": ["months"]}, behaviour="experience").estimate(_survey(frame))
    assert "adjusted sample sex" not in [check.name for check in answer.checks]
