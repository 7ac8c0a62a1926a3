"""Conditional likelihood against enumeration and statsmodels; additive interaction against its definition."""

from __future__ import annotations

import warnings
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from statsmodels.discrete.conditional_models import ConditionalLogit

import gbveval as gbv
from gbveval.core.errors import DesignError, IdentificationError
from gbveval.numerics.additive_interaction import attributable_proportion, excess_risk, log_synergy
from gbveval.numerics.conditional_logit import SetsOfOneSize, likelihood


@settings(max_examples=40, deadline=None)
@given(st.integers(min_value=2, max_value=6), st.data())
def test_the_recursion_is_the_sum_over_subsets(members: int, data: st.DataObject) -> None:
    cases = data.draw(st.integers(min_value=1, max_value=members - 1))
    rng = np.random.default_rng(data.draw(st.integers(min_value=0, max_value=1000)))
    x, beta = rng.normal(size=(3, members, 2)), rng.normal(size=2)
    value, score, information = likelihood(SetsOfOneSize(x, cases), beta)
    spread = np.zeros((2, 2))
    for i in range(3):
        sums = np.array([x[i, list(subset)].sum(axis=0) for subset in combinations(range(members), cases)])
        p = np.exp(sums @ beta)
        p /= p.sum()
        mean = p @ sums
        spread += (sums - mean).T @ ((sums - mean) * p[:, None])
        assert value[i] == pytest.approx(np.log(p[0]), rel=1e-9, abs=1e-12)
        np.testing.assert_allclose(score[i], sums[0] - mean, atol=1e-10)
    np.testing.assert_allclose(information, spread, atol=1e-9)


def _frame(n: int = 600, seed: int = 3) -> dict[str, object]:
    rng = np.random.default_rng(seed)
    sets, level, age = rng.integers(0, 80, n), rng.choice(["a", "b", "c"], n), rng.normal(size=n)
    eta = -0.8 + 0.5 * (level == "b") + 0.9 * (level == "c") + 0.4 * age + 0.5 * np.sin(sets)
    return {
        "case": (rng.random(n) < 1 / (1 + np.exp(-eta))).astype(float),
        "x": level.tolist(),
        "age": age,
        "set": [f"s{i:02d}" for i in sets],
    }


def test_sets_of_any_size_give_the_fit_of_statsmodels() -> None:
    frame = _frame()
    x = np.asarray(frame["x"])
    design = np.column_stack([x == "b", x == "c", frame["age"]]).astype(float)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # It says which sets it drops.
        fit = ConditionalLogit(frame["case"], design, groups=np.asarray(frame["set"])).fit(method="newton", disp=0)
    answer = gbv.ConditionalLogistic("x", "set", ["age"]).estimate(gbv.Survey(frame, outcome="case"))
    np.testing.assert_allclose(answer.values, fit.params[:2], rtol=1e-6)
    # Its Hessian is by differences of the score.
    np.testing.assert_allclose(answer.std_errors, fit.bse[:2], rtol=1e-5)
    assert len(answer) == 2


def test_pairs_have_the_ratio_of_discordant_pairs() -> None:
    case = ["yes"] * 30 + ["no"] * 12 + ["yes"] * 9 + ["no"] * 20
    control = ["no"] * 30 + ["yes"] * 12 + ["yes"] * 9 + ["no"] * 20
    frame = {
        "case": [1.0] * 71 + [0.0] * 71,
        "x": case + control,
        "pair": [*range(71), *range(71)],
    }
    row = gbv.ConditionalLogistic("x", "pair").estimate(gbv.Survey(frame, outcome="case"))[0]
    assert row.value == pytest.approx(np.log(30 / 12), rel=1e-9)
    assert row.std_error == pytest.approx(np.sqrt(1 / 30 + 1 / 12), rel=1e-9)


def test_separation_is_a_null_row_and_constant_columns_are_named() -> None:
    frame = {"case": [1.0, 0.0] * 30, "x": ["yes", "no"] * 30, "pair": [i // 2 for i in range(60)]}
    row = gbv.ConditionalLogistic("x", "pair").estimate(gbv.Survey(frame, outcome="case"))[0]
    assert row.value is None
    assert "no finite value" in row.reason
    frame = {**_frame(), "region": [f"r{name[-1]}" for name in _frame()["set"]]}  # type: ignore[attr-defined]
    answer = gbv.ConditionalLogistic("x", "set", ["region"]).estimate(gbv.Survey(frame, outcome="case"))
    assert "region" in answer.check("rank").message


def test_a_factor_that_never_varies_within_sets_is_refused() -> None:
    frame = _frame()
    frame["x"] = ["yes" if name < "s40" else "no" for name in frame["set"]]  # type: ignore[attr-defined]
    with pytest.raises(IdentificationError, match="does not vary within matched sets"):
        gbv.ConditionalLogistic("x", "set").estimate(gbv.Survey(frame, outcome="case"))
    with pytest.raises(DesignError, match="no weights"):
        gbv.ConditionalLogistic("x", "set").estimate(gbv.Survey(frame, outcome="case", psu="set"))


def test_sets_of_cases_only_are_left_out_and_counted() -> None:
    frame = _frame()
    first = np.asarray(frame["set"]) == "s00"
    frame["case"] = np.where(first, 1.0, np.asarray(frame["case"]))
    answer = gbv.ConditionalLogistic("x", "set").estimate(gbv.Survey(frame, outcome="case"))
    assert "left out" in answer.check("matched sets").message
    assert answer[0].n_units == 600 - int(first.sum()) - _alone(frame, skip="s00")


def _alone(frame: dict[str, object], skip: str) -> int:
    sets, case = np.asarray(frame["set"]), np.asarray(frame["case"])
    groups = [case[sets == name] for name in np.unique(sets) if name != skip]
    return sum(group.size for group in groups if group.min() == group.max())


@given(st.lists(st.floats(min_value=-1.0, max_value=1.5), min_size=3, max_size=3))
def test_gradients_of_interaction_are_numerical_derivatives(logs: list[float]) -> None:
    at = np.array(logs)
    for function in (excess_risk, attributable_proportion, log_synergy):
        found = function(at)
        if not np.isfinite(found.value) or np.abs(found.gradient).max() > 100:
            continue
        slopes = [(function(at + 1e-6 * e).value - function(at - 1e-6 * e).value) / 2e-6 for e in np.eye(3)]
        if np.isfinite(slopes).all():
            # Rounding of differences over 2e-6, and their squared step.
            np.testing.assert_allclose(found.gradient, slopes, rtol=1e-3, atol=1e-6)


def _two_factors(risks: dict[tuple[str, str], int], n: int = 100) -> dict[str, object]:
    rows = [(a, b, float(i < events)) for (a, b), events in risks.items() for i in range(n)]
    return {name: [row[k] for row in rows] for k, name in enumerate(("first", "second", "y"))}


RISKS = {("no", "no"): 10, ("no", "yes"): 15, ("yes", "no"): 20, ("yes", "yes"): 40}


def test_interaction_measures_by_hand() -> None:
    survey = gbv.Survey(_two_factors(RISKS), outcome="y")
    answer = gbv.AdditiveInteraction("first", "second", behaviour="experience").estimate(survey)
    excess, proportion, synergy, *ratios = answer.values
    assert excess == pytest.approx(4.0 - 2.0 - 1.5 + 1.0)
    assert proportion == pytest.approx(1.5 / 4.0)
    assert np.exp(synergy) == pytest.approx(3.0 / 1.5)
    assert np.exp(ratios) == pytest.approx([2.0, 1.5, 4.0])
    # Four independent binomials: variance of p11/p00 - p10/p00 - p01/p00 by the delta method.
    p = {key: events / 100 for key, events in RISKS.items()}
    p00 = p["no", "no"]
    top = p["yes", "yes"] - p["yes", "no"] - p["no", "yes"]
    variance = sum(p[k] * (1 - p[k]) / 100 for k in RISKS if k != ("no", "no")) / p00**2
    variance += (top / p00**2) ** 2 * p00 * (1 - p00) / 100
    assert answer[0].std_error == pytest.approx(np.sqrt(variance * 400 / 399), rel=1e-9)


def test_a_protective_reference_is_warned_of_and_has_no_synergy() -> None:
    survey = gbv.Survey(_two_factors(RISKS), outcome="y")
    factors = [gbv.Factor(name, reference="yes") for name in ("first", "second")]
    answer = gbv.AdditiveInteraction(*factors, behaviour="experience").estimate(survey)
    assert answer.check("reference first and second").status == "warn"
    assert answer[2].value is None
    assert "least risk" in answer[2].reason


def test_interaction_is_of_two_factors_with_two_categories() -> None:
    frame = _two_factors(RISKS)
    frame["first"] = ["maybe" if i % 9 == 0 else value for i, value in enumerate(frame["first"])]  # type: ignore[arg-type]
    with pytest.raises(DesignError, match="two each"):
        gbv.AdditiveInteraction("first", "second", behaviour="experience").estimate(gbv.Survey(frame, outcome="y"))
    with pytest.raises(DesignError, match="twice"):
        gbv.AdditiveInteraction("first", "first", behaviour="experience")
    empty = gbv.Survey(_two_factors({**RISKS, ("yes", "no"): 0}), outcome="y")
    row = gbv.AdditiveInteraction("first", "second", behaviour="experience").estimate(empty)[0]
    assert "no events" in row.reason
