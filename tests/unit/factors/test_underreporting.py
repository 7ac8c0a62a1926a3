"""Corrected prevalence and randomised response of surveys: by hand, by other routes, and where they refuse."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy import optimize

import gbveval as gbv
from gbveval.numerics.misclassification import corrected_share

Z = 1.959963984540054


def _frame(n: int = 200, seed: int = 3) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    return {
        "told": (rng.random(n) < 0.3).astype(float),
        "group": np.where(np.arange(n) < n // 2, "a", "b").tolist(),
        "x": rng.normal(size=n),
        "w": rng.uniform(1, 3, n),
        "ward": np.repeat([f"ward {g}" for g in range(n // 5)], 5).tolist(),
    }


def _survey(frame: dict[str, Any] | None = None, **roles: Any) -> gbv.Survey:
    return gbv.Survey(_frame() if frame is None else frame, outcome="told", **roles)


def test_known_rates_divide_the_survey_error() -> None:
    survey = _survey(weight="w", psu="ward")
    plain = gbv.SurveyMean().estimate(survey)[0]
    row = gbv.RoganGladen(0.8, 0.95).estimate(survey)[0]
    assert plain.value is not None
    assert plain.std_error is not None
    assert row.value == pytest.approx((plain.value - 0.05) / 0.75, rel=1e-12)
    assert row.std_error == pytest.approx(plain.std_error / 0.75, rel=1e-10)


def test_validated_rates_add_their_variance_and_are_shared() -> None:
    survey = _survey()
    y = np.asarray(_frame()["told"])
    parts = [corrected_share(float(y[half].mean()), 0.75, 0.9) for half in (slice(100), slice(100, 200))]
    # A group keeps the whole sample as its design, of 200 respondents.
    errors = [y[half].var() / 100 * 200 / 199 for half in (slice(100), slice(100, 200))]
    v_se, v_sp = (s * (1 - s) / 42 for s in (31 / 42, 37 / 42))
    known = gbv.RoganGladen(gbv.Validation(30, 40), gbv.Validation(36, 40), by="group", reference="a")
    answer = known.estimate(survey)
    own = (
        parts[1].by_reported ** 2 * errors[1]
        + parts[1].by_sensitivity ** 2 * v_se
        + parts[1].by_specificity ** 2 * v_sp
    )
    row = answer["group: b"]
    assert row.std_error == pytest.approx(np.sqrt(own), rel=1e-10)
    # One validation for both groups: in their difference it counts once, by the difference of the slopes.
    slope = parts[1].by_sensitivity - parts[0].by_sensitivity, parts[1].by_specificity - parts[0].by_specificity
    apart = parts[0].by_reported ** 2 * (errors[0] + errors[1]) + slope[0] ** 2 * v_se + slope[1] ** 2 * v_sp
    assert answer["group: b vs a (difference)"].std_error == pytest.approx(np.sqrt(apart), rel=1e-10)
    assert answer["group: b vs a (ratio)"].value == pytest.approx(np.log(parts[1].value / parts[0].value), rel=1e-12)


def test_differential_sensitivity_corrects_each_group_by_its_own() -> None:
    survey = _survey()
    told = gbv.SurveyMean(by="group").estimate(survey)
    answer = gbv.RoganGladen({"a": 0.9, "b": 0.6}, by="group", reference="a").estimate(survey)
    assert [row.term for row in answer.terms][:2] == ["group: a", "group: b"]
    for group, rate in (("a", 0.9), ("b", 0.6)):
        share = told[f"group: {group}"].value
        assert share is not None
        assert answer[f"group: {group}"].value == pytest.approx(share / rate, rel=1e-12)


def test_replicate_weights_give_the_same_as_linearisation_of_a_mean() -> None:
    survey = _survey()
    plain = gbv.RoganGladen(0.8, 0.95, by="group", reference="a")
    jackknifed = plain.estimate(survey.with_jackknife())
    # For an unweighted mean of everybody the jackknife is the linearised variance.
    assert jackknifed[0].std_error == pytest.approx(plain.estimate(survey)[0].std_error, rel=1e-9)


def test_what_leaves_the_range_is_told_and_not_cut() -> None:
    answer = gbv.RoganGladen(0.8, 0.6).estimate(_survey())
    told = float(np.mean(_frame()["told"]))
    assert answer[0].value == pytest.approx((told - 0.4) / 0.4, rel=1e-12)
    assert answer[0].value < 0
    assert any(check.name == "outside 0 to 1" and check.status == "warn" for check in answer.checks)
    ratio = gbv.RoganGladen(0.8, 0.6, by="group", reference="a").estimate(_survey())["group: b vs a (ratio)"]
    assert ratio.value is None
    assert "no ratio" in ratio.reason


def test_a_validation_that_says_nothing_leaves_no_interval() -> None:
    row = gbv.RoganGladen(gbv.Validation(11, 20), gbv.Validation(12, 20)).estimate(_survey())[0]
    assert row.std_error is None
    assert "every prevalence fits" in row.reason


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: gbv.RoganGladen(0.5, 0.5), "add up to"),
        (lambda: gbv.RoganGladen(1.2), "share above 0"),
        (lambda: gbv.RoganGladen({"a": 0.5}), "give `by`"),
        (lambda: gbv.RoganGladen({"a": 0.5}, {"b": 0.9}, by="group"), "different groups"),
        (lambda: gbv.RoganGladen(0.5, reference="a"), "give `by`"),
        (lambda: gbv.Validation(5, 4), "Count again"),
        (lambda: gbv.PriorCorrectedPrevalence(gbv.Beta(1, 9), gbv.Beta(1, 9)), "add up to"),
        (lambda: gbv.PriorCorrectedPrevalence(2.0), "Beta prior"),
        (lambda: gbv.RandomisedResponse(0.5), "one half"),
        (lambda: gbv.RandomisedResponse(0.8, forced_yes=0.4), "at most 1"),
        (lambda: gbv.RandomisedResponseRegression("x", 0.8, std_error="hc"), "std_error is one of"),
        (lambda: gbv.corrected_prevalence_intervals(3, 9, sensitivity=0.5, specificity=0.4), "one or less"),
    ],
)
def test_options_that_make_no_sense_are_refused(make: Any, words: str) -> None:
    with pytest.raises(gbv.DesignError, match=words):
        make()


def test_groups_without_a_rate_are_counted() -> None:
    with pytest.raises(gbv.DataError, match=r"1 of 2 groups of group have no sensitivity"):
        gbv.RoganGladen({"a": 0.9}, by="group").estimate(_survey())
    with pytest.raises(gbv.DataError, match="reference is no group"):
        gbv.RoganGladen(0.9, by="group", reference="c").estimate(_survey())


def test_a_sharp_prior_is_a_known_rate() -> None:
    survey = _survey()
    answer = gbv.PriorCorrectedPrevalence(gbv.Beta(80_000, 20_000), gbv.Beta(95_000, 5_000)).estimate(survey)
    share = 1.0 / (1.0 + np.exp(-np.asarray(answer.posterior.sample(4000, np.random.default_rng(1)))[:, 0]))
    row = gbv.RoganGladen(0.8, 0.95).estimate(survey)[0]
    # Monte Carlo error of the mean is 0.0007; the uniform prior moves it by about (1 - 2 q) / (n J), or 0.003.
    assert share.mean() == pytest.approx(row.value, abs=0.008)
    assert share.std() == pytest.approx(row.std_error, rel=0.1)


def test_answers_that_contradict_the_priors_are_refused() -> None:
    everybody = _survey({"told": [1.0] * 2000})
    with pytest.raises(gbv.IdentificationError, match="contradict"):
        gbv.PriorCorrectedPrevalence(gbv.Beta(50, 50), 0.99).estimate(everybody)


def test_randomised_response_is_misreporting_at_known_rates() -> None:
    survey = _survey(weight="w", psu="ward")
    forced = gbv.RandomisedResponse(2 / 3, forced_yes=1 / 6).estimate(survey)[0]
    same = gbv.RoganGladen(5 / 6, 5 / 6).estimate(survey)[0]
    assert (forced.value, forced.std_error) == pytest.approx((same.value, same.std_error), rel=1e-12)
    assert forced.interval == pytest.approx(same.interval, rel=1e-12)
    # A statement turned round is the other answer: p and 1 - p tell the same.
    one, other = (gbv.RandomisedResponse(p).estimate(survey)[0] for p in (0.8, 0.2))
    turned = _survey({**_frame(), "told": 1.0 - np.asarray(_frame()["told"])}, weight="w", psu="ward")
    again = gbv.RandomisedResponse(0.2).estimate(turned)[0]
    assert one.value == pytest.approx(again.value, rel=1e-10)
    assert other.std_error == pytest.approx(one.std_error, rel=1e-10)


def test_regression_is_where_the_likelihood_is_largest() -> None:
    frame = _frame(600, seed=8)
    frame["told"] = (
        np.random.default_rng(9).random(600) < 1 / 6 + 2 / 3 / (1 + np.exp(0.5 - np.array(frame["x"])))
    ) * 1.0
    answer = gbv.RandomisedResponseRegression("x", 2 / 3, forced_yes=1 / 6, std_error="model").estimate(_survey(frame))
    x, y = np.asarray(frame["x"]), np.asarray(frame["told"])

    def loss(b: np.ndarray) -> float:
        q = 1 / 6 + 2 / 3 / (1 + np.exp(-(b[0] + b[1] * x)))
        return -float((y * np.log(q) + (1 - y) * np.log(1 - q)).sum())

    best = optimize.minimize(loss, [0.0, 0.0], method="Nelder-Mead", options={"xatol": 1e-9, "fatol": 1e-12}).x
    found = [answer["intercept"].value, answer["x"].value]
    # A simplex finds the top of a parabola to the root of rounding.
    np.testing.assert_allclose(found, best, atol=1e-5)
    h = 1e-4
    at = np.array(found, dtype=float)
    steps = h * np.eye(2)
    curvature = [
        [(loss(at + a + b) - loss(at + a - b) - loss(at - a + b) + loss(at - a - b)) / (4 * h * h) for b in steps]
        for a in steps
    ]
    errors = np.sqrt(np.diag(np.linalg.inv(np.array(curvature))))
    np.testing.assert_allclose([answer["intercept"].std_error, answer["x"].std_error], errors, rtol=1e-3)


def test_without_covariates_regression_is_the_moment_estimate() -> None:
    survey = _survey()
    row = gbv.RandomisedResponseRegression([], 2 / 3, forced_yes=1 / 6, std_error="model").estimate(survey)[
        "prevalence"
    ]
    q = float(np.mean(_frame()["told"]))
    assert row.value == pytest.approx((q - 1 / 6) * 1.5, abs=1e-10)
    assert row.std_error == pytest.approx(np.sqrt(q * (1 - q) / 200) * 1.5, rel=1e-9)
    design = gbv.RandomisedResponseRegression([], 2 / 3, forced_yes=1 / 6).estimate(survey)["prevalence"]
    by_moments = gbv.RandomisedResponse(2 / 3, forced_yes=1 / 6).estimate(survey)[0]
    assert design.std_error == pytest.approx(by_moments.std_error, rel=1e-9)


def test_shares_beyond_the_design_have_no_maximum() -> None:
    with pytest.raises(gbv.ConvergenceError, match="no maximum"):
        gbv.RandomisedResponseRegression("x", 2 / 3, forced_yes=1 / 6).estimate(
            _survey({**_frame(), "told": [1.0] * 190 + [0.0] * 10})
        )
    with pytest.raises(gbv.DesignError, match="ignores the design"):
        gbv.RandomisedResponseRegression("x", 2 / 3, forced_yes=1 / 6, std_error="scores").estimate(_survey(psu="ward"))
    with pytest.raises(gbv.DesignError, match="replicate"):
        gbv.RandomisedResponseRegression("x", 2 / 3, forced_yes=1 / 6).estimate(_survey().with_jackknife())


def test_collinear_columns_are_named_and_change_nothing() -> None:
    frame = {**_frame(), "twice": 2.0 * np.asarray(_frame()["x"])}
    both = gbv.RandomisedResponseRegression(["x", "twice"], 0.9, forced_yes=0.05).estimate(_survey(frame))
    one = gbv.RandomisedResponseRegression("x", 0.9, forced_yes=0.05).estimate(_survey())
    assert both["x"].value == pytest.approx(one["x"].value, rel=1e-9)
    assert both["twice"].value is None
    assert any("twice" in check.message for check in both.checks)


@pytest.mark.parametrize(
    "estimator",
    [gbv.RoganGladen(0.9, by="g", reference="b"), gbv.RandomisedResponse(1.0, forced_yes=0.0, by="g", reference="b")],
)
def test_a_group_in_which_nobody_said_yes_does_not_pass_for_known_in_a_difference(estimator: Any) -> None:
    """Its variance in the sample is zero, not in the population: a difference has no error, as with no ratio."""
    frame = {"told": [0.0] * 20 + [1.0, 0.0] * 10, "g": ["a"] * 20 + ["b"] * 20}
    answer = estimator.estimate(gbv.Survey(frame, outcome="told"))
    alone, apart = answer["g: a"], answer["g: a vs b (difference)"]
    # Wilson's upper limit of 0 of 20, with a t quantile of 19 degrees of freedom, over the sensitivity.
    t2, rate = 2.093024**2, 0.9 if isinstance(estimator, gbv.RoganGladen) else 1.0
    assert answer.records()[1]["conf_high"] == pytest.approx(t2 / (20 + t2) / rate, rel=1e-5)
    assert apart.value == pytest.approx(-0.5 / rate, rel=1e-12)
    assert apart.std_error is None
    assert "nobody, or everybody" in apart.reason
    assert "nobody, or everybody" in alone.reason


@pytest.mark.parametrize("weights", [[1.0] * 6, [0.1, 0.37, 1.3, 1.7, 0.9, 2.3]])
def test_wards_that_are_all_alike_have_no_limits_and_the_reason_is_theirs(weights: list[float]) -> None:
    """A third in every ward: the variance is zero up to rounding, which must not become an interval of one point."""
    size = [3, 9, 18, 30, 42, 18]
    frame = {"told": [1.0, 0.0, 0.0] * 40, "ward": np.repeat(np.arange(6), size), "w": np.repeat(weights, size)}
    survey = _survey(frame, weight="w", psu="ward")
    corrected = gbv.RoganGladen(0.9, 0.95).estimate(survey)
    shares = [gbv.Prevalence(interval=name).estimate(survey) for name in ("korn_graubard", "wilson", "likelihood")]
    for answer in (corrected, *shares):
        record = answer.records()[0]
        assert (record["std_error"], record["conf_low"], record["conf_high"]) == (None, None, None)
        assert answer[0].reason.startswith("nothing varies between primary units")
