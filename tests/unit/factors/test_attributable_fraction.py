"""`AttributableFraction`: closed forms, derivatives by weight, refusals, undefined rows."""

from __future__ import annotations

import numpy as np
import pytest
import statsmodels.api as sm

import gbveval as gbv
from gbveval.core.errors import DesignError


def _frame(n: int = 400, seed: int = 8) -> dict[str, object]:
    rng = np.random.default_rng(seed)
    ward = np.repeat(np.arange(n // 10), 10)
    age = rng.choice(["old", "young"], n)
    level = rng.choice(["a none", "b some", "c much"], n, p=[0.5, 0.3, 0.2])
    eta = -1.6 + 0.6 * (level == "b some") + 1.1 * (level == "c much") + 0.5 * (age == "young")
    return {
        "y": (rng.random(n) < 1 / (1 + np.exp(-eta))).astype(float),
        "w": rng.uniform(0.5, 2.0, n),
        "x": level.tolist(),
        "age": age.tolist(),
        "ward": [f"v{g:02d}" for g in ward],
    }


def _fraction(frame: dict[str, object], weight: np.ndarray, *, case_control: bool) -> float:
    """The estimate by statsmodels and its definition."""
    y, x, age = (np.asarray(frame[name]) for name in ("y", "x", "age"))
    exposures = np.column_stack([x == "b some", x == "c much"]).astype(float)
    design = np.column_stack([np.ones(y.size), age == "young", exposures]).astype(float)
    fit = sm.GLM(y, design, family=sm.families.Binomial(), freq_weights=weight).fit(tol=1e-14)
    if case_control:
        return 1.0 - float(weight * y @ np.exp(-exposures @ fit.params[2:])) / float(weight @ y)
    nobody = design.copy()
    nobody[:, 2:] = 0.0
    return 1.0 - float(weight @ fit.predict(nobody)) / float(weight @ y)


@pytest.mark.parametrize("case_control", [False, True])
def test_the_estimate_and_its_error_are_those_of_derivatives_by_weight(case_control: bool) -> None:
    """The linearised value of a respondent is its weight times the derivative of the estimate in its weight."""
    frame = _frame()
    weight = np.asarray(frame["w"], dtype=float)
    asked = {"study": "case_control", "outcome_is_rare": True} if case_control else {}
    answer = gbv.AttributableFraction("x", ["age"], **asked).estimate(gbv.Survey(frame, outcome="y", weight="w"))
    assert answer[0].value == pytest.approx(_fraction(frame, weight, case_control=case_control), rel=1e-8)
    slope = np.empty(weight.size)
    for i in range(weight.size):
        values = []
        for step in (1e-4, -1e-4):
            changed = weight.copy()
            changed[i] += step
            values.append(_fraction(frame, changed, case_control=case_control))
        slope[i] = (values[0] - values[1]) / 2e-4
    z = weight * slope
    variance = weight.size / (weight.size - 1) * float(((z - z.mean()) ** 2).sum())
    # Central differences: the error is of the order of the squared step over the size of the weights.
    assert answer[0].std_error == pytest.approx(np.sqrt(variance), rel=1e-5)


def test_miettinens_form_is_the_share_of_cases_times_the_excess_of_their_ratio() -> None:
    frame = _frame()
    y, x, age, w = (np.asarray(frame[name]) for name in ("y", "x", "age", "w"))
    exposures = np.column_stack([x == "b some", x == "c much"]).astype(float)
    design = np.column_stack([np.ones(y.size), age == "young", exposures]).astype(float)

    def fraction(weight: np.ndarray) -> float:
        fit = sm.GLM(y, design, family=sm.families.Poisson(), freq_weights=weight).fit(tol=1e-14)
        ratio, cases = np.exp(fit.params[2:]), weight * y
        return sum(float(cases @ exposures[:, j]) / cases.sum() * (1 - 1 / ratio[j]) for j in range(2))

    survey = gbv.Survey(frame, outcome="y", weight="w")
    row = gbv.AttributableFraction("x", ["age"], model="log_poisson").estimate(survey)[0]
    assert row.value == pytest.approx(fraction(w), rel=1e-8)
    slope = np.array([(fraction(w + 1e-4 * e) - fraction(w - 1e-4 * e)) / 2e-4 for e in np.eye(y.size)])
    z = w * slope
    variance = y.size / (y.size - 1) * float(((z - z.mean()) ** 2).sum())
    # Central differences: the error is of the order of the squared step over the size of the weights.
    assert row.std_error == pytest.approx(np.sqrt(variance), rel=1e-5)
    with pytest.raises(DesignError, match="log-link"):
        gbv.AttributableFraction("x", model="log_poisson", study="case_control", outcome_is_rare=True)


def test_without_covariates_it_is_levins_formula() -> None:
    frame = _frame()
    frame["x"] = ["some" if level != "a none" else "none" for level in frame["x"]]
    y, x = np.asarray(frame["y"]), np.asarray(frame["x"]) == "some"
    ratio = y[x].mean() / y[~x].mean()
    row = gbv.AttributableFraction("x").estimate(gbv.Survey(frame, outcome="y"))[0]
    assert row.value == pytest.approx(x.mean() * (ratio - 1) / (1 + x.mean() * (ratio - 1)), rel=1e-9)


def test_a_protective_factor_has_the_prevented_fraction() -> None:
    frame = _frame()
    frame["x"] = ["yes" if level == "a none" else "no" for level in frame["x"]]
    y, x = np.asarray(frame["y"]), np.asarray(frame["x"]) == "yes"
    factor = gbv.Factor("x", reference="no", direction="protective")
    row = gbv.AttributableFraction(factor).estimate(gbv.Survey(frame, outcome="y"))[0]
    # By hand: what would have been without it, less what is, over what would have been.
    assert row.value == pytest.approx(x.mean() * (1 - y[x].mean() / y[~x].mean()), rel=1e-9)
    assert row.estimand.contrast == "prevented_fraction"
    assert "if causal" in row.term


def test_parts_of_a_case_control_fraction_add_up_to_it() -> None:
    answer = gbv.AttributableFraction("x", ["age"], study="case_control", outcome_is_rare=True).estimate(
        gbv.Survey(_frame(), outcome="y")
    )
    whole, *parts = answer.values
    assert len(parts) == 2
    assert whole == pytest.approx(sum(parts), rel=1e-10)
    # So do their linearised values, over primary units.
    np.testing.assert_allclose(answer.influence[:, 0], answer.influence[:, 1:].sum(axis=1), atol=1e-12)


def test_the_odds_ratio_of_a_common_outcome_is_refused() -> None:
    with pytest.raises(DesignError, match="common outcome"):
        gbv.AttributableFraction("x", study="case_control")


@pytest.mark.parametrize("bad", [{"study": "trial"}, {"reference": "z"}, {"lonely_psu": "drop"}, {"adjust_for": ["x"]}])
def test_options_are_checked(bad: dict[str, object]) -> None:
    with pytest.raises(DesignError):
        gbv.AttributableFraction("x", **bad)  # type: ignore[arg-type]


def test_a_category_without_events_or_a_separated_model_is_null_with_a_reason() -> None:
    frame = _frame()
    x = np.asarray(frame["x"])
    frame["y"] = np.where(x == "c much", 0.0, np.asarray(frame["y"]))
    row = gbv.AttributableFraction("x", ["age"]).estimate(gbv.Survey(frame, outcome="y"))[0]
    assert row.value is None
    assert "0 or 100 %" in row.reason
    frame = _frame()
    young = np.asarray(frame["age"]) == "young"
    frame["y"] = np.where(young, 1.0, np.asarray(frame["y"]))
    row = gbv.AttributableFraction("x", ["age"]).estimate(gbv.Survey(frame, outcome="y"))[0]
    assert row.value is None
    assert "separated" in row.reason


def test_normal_reference_has_no_degrees_of_freedom() -> None:
    survey = gbv.Survey(_frame(), outcome="y", psu="ward")
    assert gbv.AttributableFraction("x").estimate(survey)[0].df < 40
    assert gbv.AttributableFraction("x", reference="normal").estimate(survey)[0].df == float("inf")
