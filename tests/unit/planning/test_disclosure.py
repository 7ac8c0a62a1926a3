"""Plans whose outcome is what people tell: against draws of what happened and what was told, limits, refusals."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chi2

from gbveval.core.errors import DesignError
from gbveval.design.attrition import AttritionDesign
from gbveval.design.cluster import ClusterDesign
from gbveval.design.disclosure import Disclosure, DisclosureDesign
from gbveval.design.icc import ICC, BetweenCV
from gbveval.design.outcomes import Binary, Continuous
from gbveval.design.paired import PairedDesign
from gbveval.design.parallel import ParallelDesign
from gbveval.planning.closed_form import explain_power, mde, power, required_size

DRAWS = 20_000
FALSE_ALARM = 1e-5
SDS = 4.4
PEOPLE = ParallelDesign(400, Binary(0.3))
SCHOOLS = ClusterDesign(15, 40, ICC(0.1, scale="observed"), Binary(0.3))
TOLD = Disclosure(0.7, 0.95)
LIFTED = Disclosure(0.85, 0.95)
RISKS = st.floats(0.02, 0.98)


def tell(happened: Any, each: Disclosure, rng: np.random.Generator) -> Any:
    """Return what people say, person by person."""
    says = np.where(happened, each.sensitivity, 1.0 - each.specificity)
    return rng.random(happened.shape) < says


@pytest.mark.parametrize("treated", [None, LIFTED])
def test_power_is_that_of_the_comparison_of_what_is_told(treated: Disclosure | None) -> None:
    plan = DisclosureDesign(PEOPLE, TOLD, treated)
    rng = np.random.default_rng(11)
    effect = -0.15
    shares = []
    for risk, each in zip((0.3, 0.15), plan.by_arm, strict=True):
        told = np.concatenate(
            [tell(rng.random((2000, 400)) < risk, each, rng).mean(axis=1) for _ in range(DRAWS // 2000)]
        )
        shares.append(told)
    error = np.sqrt(sum(q * (1.0 - q) / 400 for q in shares))
    z = (shares[1] - shares[0]) / error
    seen = plan.observed(effect)
    # The estimate is biased by what the plan says, in a band of its Monte Carlo error.
    spread = float(np.std(shares[1] - shares[0])) / math.sqrt(DRAWS)
    assert float(np.mean(shares[1] - shares[0])) - effect == pytest.approx(seen.bias, abs=SDS * spread)
    found = power(plan, effect=effect)
    rejects = float(np.mean(np.abs(z) > 1.9599639845400545))
    # The normal formula of 400 an arm is within 0.006 of counts, and the rest is Monte Carlo error.
    assert found == pytest.approx(rejects, abs=SDS * math.sqrt(found * (1 - found) / DRAWS) + 0.006)


@pytest.mark.parametrize("treated", [None, LIFTED])
def test_clusters_vary_as_the_plan_says(treated: Disclosure | None) -> None:
    plan = DisclosureDesign(SCHOOLS, TOLD, treated)
    rng = np.random.default_rng(12)
    draws, means = 4000, []
    for risk, each in zip((0.3, 0.18), plan.by_arm, strict=True):
        strength = (1.0 - 0.1) / 0.1
        of_school = rng.beta(risk * strength, (1.0 - risk) * strength, size=(draws, 15, 1))
        happened = rng.random((draws, 15, 40)) < of_school
        means.append(tell(happened, each, rng).mean(axis=2).mean(axis=1))
    seen = plan.planned_test(-0.12).inner
    ratio = np.var(means[1] - means[0], ddof=1) / seen.std_error**2  # type: ignore[attr-defined]
    # 4,000 nearly normal differences: their variance is chi-square over its degrees of freedom.
    low, high = (float(chi2.ppf(tail, draws - 1) / (draws - 1)) for tail in (FALSE_ALARM, 1.0 - FALSE_ALARM))
    assert low < ratio < high


@pytest.mark.parametrize("plan", [PEOPLE, replace(PEOPLE, analysis="pooled"), SCHOOLS])
def test_perfect_disclosure_is_the_plan_inside(plan: Any) -> None:
    perfect = DisclosureDesign(plan, Disclosure())
    for effect in (-0.12, 0.0, 0.1):
        assert power(perfect, effect=effect) == pytest.approx(power(plan, effect=effect), abs=1e-12)
    assert mde(perfect, direction="decrease") == pytest.approx(mde(plan, direction="decrease"), rel=1e-9)
    assert perfect.observed(-0.1).bias == pytest.approx(0.0, abs=1e-15)


@given(risk=RISKS, sensitivity=st.floats(0.6, 1.0), specificity=st.floats(0.6, 1.0))
def test_what_is_seen_leads_back_to_what_is_true(risk: float, sensitivity: float, specificity: float) -> None:
    each = Disclosure(sensitivity, specificity)
    seen = each.observed_risk(risk)
    assert each.true_risk(seen) == pytest.approx(risk, abs=1e-12)
    kept = each.observed_icc(0.04, risk)
    assert 0.0 < kept <= 0.04 + 1e-15
    assert each.true_icc(kept, risk) == pytest.approx(0.04, rel=1e-9)


@given(sensitivity=st.floats(0.4, 0.95), specificity=st.floats(0.8, 0.99), effect=st.floats(-0.2, 0.3))
def test_alike_in_both_arms_shrinks_and_never_finds_nothing(
    sensitivity: float, specificity: float, effect: float
) -> None:
    each = Disclosure(sensitivity, specificity)
    plan = DisclosureDesign(PEOPLE, each)
    seen = plan.observed(effect)
    assert seen.effect == pytest.approx(each.gain * effect, abs=1e-12)
    assert plan.blind_effect == 0.0
    assert power(plan, effect=0.0) == pytest.approx(0.05, abs=1e-12)
    better = DisclosureDesign(PEOPLE, Disclosure(sensitivity + 0.04, specificity))
    if abs(effect) > 0.01:
        # More sensitivity is more difference; the variance it adds to a minority of risks does not make up for it.
        assert power(better, effect=effect) >= power(plan, effect=effect) - 1e-12


def test_a_programme_that_lifts_disclosure_hides_its_effect_and_then_turns_it() -> None:
    plan = DisclosureDesign(PEOPLE, TOLD, LIFTED)
    hidden = plan.hiding_sensitivity(-0.06)
    blind = DisclosureDesign(PEOPLE, TOLD, Disclosure(hidden, 0.95))
    assert blind.observed(-0.06).effect == pytest.approx(0.0, abs=1e-15)
    assert blind.blind_effect == pytest.approx(-0.06, abs=1e-12)
    assert power(blind, effect=-0.06) == pytest.approx(0.05, abs=1e-12)
    turned = DisclosureDesign(PEOPLE, TOLD, Disclosure(min(1.0, hidden + 0.05), 0.95))
    assert turned.observed(-0.06).attenuation < 0.0
    with pytest.raises(DesignError, match="turns its sign"):
        required_size(turned, effect=-0.06)
    checks = [words for what, words in explain_power(turned, effect=-0.06).rows if what.startswith("check")]
    assert "turns its sign" in checks[0]
    # Nothing happened and the test rejects all the same, more often than its size.
    assert power(plan, effect=0.0) > 0.2
    with pytest.raises(DesignError, match="A true effect of zero is seen as"):
        required_size(plan, effect=0.0)
    with pytest.raises(DesignError, match="turns its sign"):
        mde(plan, direction="increase")
    found = mde(plan, direction="decrease")
    assert found < plan.blind_effect < 0.0
    assert power(plan, effect=found) == pytest.approx(0.8, abs=1e-8)


def test_sizes_are_found_and_floors_named() -> None:
    plan = DisclosureDesign(SCHOOLS, TOLD)
    needed = required_size(plan, effect=-0.2)
    assert needed.achieved_power >= 0.8 > power(plan.resized("clusters_per_arm", needed.rounded - 1), effect=-0.2)
    assert needed.exact > required_size(SCHOOLS, effect=-0.2).exact
    with pytest.raises(DesignError, match="sets a floor"):
        required_size(plan, effect=-0.05, solve_for="cluster_size")
    lost = DisclosureDesign(AttritionDesign(SCHOOLS, clusters_lost=1), TOLD)
    assert power(lost, effect=-0.2) < power(plan, effect=-0.2)


def test_a_coefficient_of_variation_is_that_of_true_risks() -> None:
    k = 0.4
    by_cv = DisclosureDesign(replace(SCHOOLS, icc=BetweenCV(k)), TOLD)
    seen = by_cv.observed(-0.1)
    between = sum((TOLD.gain * k * p) ** 2 for p in (0.3, 0.2))
    within = sum(q * (1.0 - q) - (TOLD.gain * k * p) ** 2 for q, p in ((seen.control, 0.3), (seen.treated, 0.2)))
    error = math.sqrt((between + within / 40.0) / 15.0)
    assert by_cv.planned_test(-0.1).inner.std_error == pytest.approx(error, rel=1e-9)  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: Disclosure(0.4, 0.6), "no better than guessing"),
        (lambda: Disclosure(1.2), "sensitivity"),
        (lambda: Disclosure(True, 0.9), "sensitivity"),
        (lambda: Disclosure(0.9, "x"), "specificity"),
        (lambda: TOLD.true_risk(0.9), "whatever"),
        (lambda: TOLD.true_icc(0.9, 0.1), "cannot be seen"),
        (lambda: DisclosureDesign(ParallelDesign(40, Continuous()), TOLD), "yes-or-no"),
        (lambda: DisclosureDesign(PairedDesign(40, Continuous(), correlation=0.2), TOLD), "PairedDesign"),
        (lambda: DisclosureDesign(PEOPLE, 0.7), "control must be Disclosure"),
        (lambda: DisclosureDesign(PEOPLE, TOLD, 0.7), "treated must be Disclosure"),
        (lambda: DisclosureDesign(PEOPLE, TOLD).process(0.1), "simulate the plan inside"),
        (lambda: DisclosureDesign(PEOPLE, TOLD, LIFTED).hiding_sensitivity(-0.1), "No sensitivity"),
    ],
)
def test_what_cannot_be_is_refused_by_name(make: Any, match: str) -> None:
    with pytest.raises(DesignError, match=match):
        make()
