"""What every planned design answers: the same questions, consistently, on either side, and what is refused by name."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gbveval.core.errors import DesignError
from gbveval.design._levels import Level
from gbveval.design.attrition import AttritionDesign
from gbveval.design.cluster import ClusterDesign
from gbveval.design.coded import CodedDesign
from gbveval.design.correlation import CorrelationDesign
from gbveval.design.counts import Count
from gbveval.design.dilution import NoncomplianceDesign, SpilloverDesign
from gbveval.design.disclosure import Disclosure, DisclosureDesign
from gbveval.design.events import EventsDesign
from gbveval.design.factorial import FactorialDesign
from gbveval.design.icc import ICC, BetweenCV
from gbveval.design.incident_model import IncidentModel
from gbveval.design.list_experiment import ItemCount, ListClusterDesign, ListExperimentDesign, ListTrialDesign
from gbveval.design.margins import EquivalenceDesign, NonInferiorityDesign
from gbveval.design.multi_arm import MultiArmDesign
from gbveval.design.multi_arm_clusters import MultiArmClusterDesign
from gbveval.design.multilevel import MultilevelDesign
from gbveval.design.one_sample import OneSampleDesign
from gbveval.design.ordinal import Ordinal
from gbveval.design.outcomes import Binary, Continuous
from gbveval.design.overall import AnovaDesign, ChiSquareDesign, RegressionDesign
from gbveval.design.paired import Discordant, PairedDesign
from gbveval.design.paired_clusters import PairedClusterDesign
from gbveval.design.parallel import ParallelDesign
from gbveval.design.partially_nested import PartiallyNestedDesign
from gbveval.design.planned_test import PlannedDesign
from gbveval.design.randomised_response import RandomisedResponseDesign
from gbveval.design.repeated import RepeatedMeasuresDesign
from gbveval.design.several_outcomes import SeveralOutcomesDesign
from gbveval.estimators.randomised.negative_binomial import NegativeBinomial
from gbveval.estimators.randomised.proportional_odds import ProportionalOdds
from gbveval.estimators.randomised.win_probability import WinProbability
from gbveval.planning.closed_form import explain_power, mde, power, power_curve, required_size
from gbveval.planning.simulate import simulate_power

MEANS = ParallelDesign(n_per_arm=60, outcome=Continuous(sd=2.0))
CLUSTERS = ClusterDesign(12, 30, ICC(0.05, scale="observed"), Binary(0.4))
OBSERVED = ICC(0.05, scale="observed")
LEVELS = MultilevelDesign(
    (Level("pupils", 20), Level("schools", 24, icc=OBSERVED, effect_sd=0.2)), Continuous(), randomised="pupils"
)
WRONG_SIZES: tuple[Any, ...] = (0.0, 1.0, -1.0, None, "x", True, float("nan"))
TOLD = Disclosure(0.75, 0.95)
ITEMS = ItemCount((0.3, 0.5, 0.6))
INCIDENTS = IncidentModel(rate=1.5, dispersion=2.0)
# A design, and an effect that it may have.
SMOOTH: dict[str, tuple[Any, float]] = {
    "means": (MEANS, -0.9),
    "means with covariates": (replace(MEANS, r_squared=0.4, n_covariates=2), 0.7),
    "means, known sd": (replace(MEANS, analysis="normal"), 0.8),
    "pooled": (ParallelDesign(150, Binary(0.4), analysis="pooled"), -0.15),
    "corrected": (ParallelDesign(150, Binary(0.4), analysis="corrected"), -0.15),
    "arcsine": (ParallelDesign(150, Binary(0.4), analysis="arcsine"), 0.15),
    "rates": (ParallelDesign(150, Count(0.6, dispersion=0.5)), -0.2),
    "rates, null variance": (ParallelDesign(150, Count(0.6), analysis="null_variance"), 0.2),
    "odds": (ParallelDesign(80, Ordinal((0.4, 0.4, 0.2)), ratio=2.0), -0.7),
    "wins": (ParallelDesign(80, Ordinal((0.4, 0.4, 0.2)), analysis="win_probability"), 0.7),
    "one mean": (OneSampleDesign(30, Continuous()), 0.5),
    "one risk": (OneSampleDesign(60, Binary(0.3), analysis="arcsine"), 0.15),
    "pairs": (PairedDesign(20, Continuous(), correlation=0.5), -0.6),
    "discordant pairs": (PairedDesign(200, Discordant(0.3)), 0.1),
    "repeated": (RepeatedMeasuresDesign(60, Continuous(), 0.5, 2, 3), 0.4),
    "factorial": (FactorialDesign(40, Continuous(), "interaction"), 0.8),
    "dunnett": (MultiArmDesign(50, 2, Continuous(), reference="normal"), 0.5),
    "any arm": (AnovaDesign(30, 2.0, (0.0, 1.0, 3.0)), 0.5),
    "coefficients": (RegressionDesign(80, n_tested=3, n_others=2), 0.15),
    "shares": (ChiSquareDesign(100, 3), 0.3),
    "correlation": (CorrelationDesign(60), 0.35),
    "events": (EventsDesign(120, treated_share=0.4), -0.5),
    "outcomes, all": (SeveralOutcomesDesign(MEANS, (1.0, 1.3), 0.4, correction="none", power_of="all"), 0.9),
    "not worse": (NonInferiorityDesign(MEANS, margin=1.0), 0.0),
    "rates of clusters": (ClusterDesign(12, 30, BetweenCV(0.2), Count(0.5)), -0.15),
    "clusters, variances known": (replace(CLUSTERS, reference="normal"), -0.15),
    "Hayes and Bennett": (ClusterDesign(12, 30, BetweenCV(0.2), Binary(0.4), reference="hayes_bennett"), -0.15),
    "levels": (LEVELS, 0.3),
    "pairs of clusters": (PairedClusterDesign(12, 30, OBSERVED, Continuous(), 0.4), 0.4),
    "groups in one arm": (PartiallyNestedDesign(20, 8, 160, OBSERVED, Continuous()), 0.5),
    "clusters after losses": (AttritionDesign(CLUSTERS, 2, 0.1), -0.15),
    "told": (DisclosureDesign(ParallelDesign(300, Binary(0.4)), TOLD), -0.2),
    "told by schools": (DisclosureDesign(CLUSTERS, TOLD), -0.25),
    "told more after the programme": (DisclosureDesign(ParallelDesign(300, Binary(0.4)), TOLD, Disclosure(0.85)), -0.3),
    "partial take-up": (NoncomplianceDesign(MEANS, 0.7, 0.1), -1.2),
    "spillover between clusters": (SpilloverDesign(AttritionDesign(CLUSTERS, (1, 2), (0.1, 0.2)), 0.2), -0.25),
    "list": (ListExperimentDesign(900, ITEMS), 0.2),
    "list in a trial": (ListTrialDesign(900, Binary(0.4), ITEMS), -0.25),
    "list in clusters": (ListClusterDesign(30, 40, Binary(0.4), ITEMS, 0.05), -0.25),
    "randomised response": (RandomisedResponseDesign(900, 0.7), 0.12),
    "incidents as counts": (CodedDesign(600, INCIDENTS), -0.6),
    "incidents by category": (CodedDesign(600, INCIDENTS, "ordered"), -0.7),
    "incidents that stop": (CodedDesign(600, INCIDENTS, "cessation"), -0.9),
    "arms of clusters": (MultiArmClusterDesign(12, 2, 30, OBSERVED, Continuous(), adjustment="bonferroni"), 0.5),
    "levels not worse": (NonInferiorityDesign(LEVELS, margin=0.3), 0.0),
    "clusters not worse": (NonInferiorityDesign(CLUSTERS, margin=0.15), -0.02),
    "restricted": (NonInferiorityDesign(ParallelDesign(150, Binary(0.4), analysis="pooled"), margin=0.15), 0.0),
}
COUNTED: dict[str, tuple[Any, float]] = {
    "fisher": (ParallelDesign(30, Binary(0.2), analysis="fisher"), 0.3),
    "binomial": (OneSampleDesign(40, Binary(0.3)), 0.2),
    "exact pairs": (PairedDesign(40, Discordant(0.5), analysis="exact"), 0.3),
}
# Dunnett's critical values for one side are not those of half the size; where the programme changes disclosure, effects
# in one of the directions turn their sign and are refused.
ONE_SIDE = ("dunnett", "told more after the programme", "outcomes, all")
ON_BOTH_SIDES = [name for name, (plan, _) in SMOOTH.items() if len(plan.alternatives) == 3 and name not in ONE_SIDE]
EQUIVALENT = EquivalenceDesign(ParallelDesign(120, Continuous()), margin_low=-0.5, margin_high=0.5)


@pytest.mark.parametrize("name", SMOOTH)
@settings(deadline=None, max_examples=8)
@given(target=st.floats(0.3, 0.95))
def test_size_effect_and_power_are_inverses_of_each_other(name: str, target: float) -> None:
    plan, effect = SMOOTH[name]
    assert isinstance(plan, PlannedDesign)
    direction = "increase" if effect > plan.planned_test(effect).null else "decrease"
    direction = None if plan.alternatives == ("any",) else direction
    found = mde(plan, power=target, direction=direction)
    assert type(found) is float
    assert power(plan, effect=found) == pytest.approx(target, abs=1e-8)
    needed = required_size(plan, effect=effect, power=target)
    assert type(needed.exact) is float
    assert needed.rounded - 1 < needed.exact * (1.0 + 1e-8) or needed.exact == min(plan.least_sizes.values())
    assert needed.achieved_power >= target - 1e-9
    assert power(needed.design, effect=effect) == needed.achieved_power


@pytest.mark.parametrize("name", SMOOTH)
def test_power_grows_with_the_size_and_away_from_the_null_and_is_alpha_there(name: str) -> None:
    plan, effect = SMOOTH[name]
    size, null = next(iter(plan.least_sizes)), plan.planned_test(effect).null
    larger = [power(plan.resized(size, n), effect=effect) for n in (30, 60, 120, 240)]
    assert larger == sorted(larger)
    curve = power_curve(plan, [null + share * (effect - null) for share in (0.1, 0.3, 0.6, 1.0)]).column("power")
    assert list(curve) == sorted(curve)
    # A continuity correction makes the test smaller, one of several comparisons has a share of alpha, and the z of a
    # correlation is nearly normal only.
    if name not in ("corrected", "dunnett", "outcomes, all", "correlation", "arms of clusters"):
        # The restricted risks are computed to 1e-15, standard errors of both kinds agree at the null.
        assert power(plan, effect=null, alpha=0.03) == pytest.approx(0.03, abs=1e-8)


@pytest.mark.parametrize("name", ON_BOTH_SIDES)
def test_two_tails_are_the_two_one_sided_tests_of_half_the_size(name: str) -> None:
    plan, effect = SMOOTH[name]
    tails = [power(plan, effect=effect, alpha=0.025, alternative=side) for side in ("greater", "less")]
    assert sum(tails) == pytest.approx(power(plan, effect=effect), abs=1e-9)
    wrong = "less" if effect > 0 else "greater"
    assert power(plan, effect=effect, alternative=wrong) < 0.05
    with pytest.raises(DesignError, match="looks in the other direction"):
        required_size(plan, effect=effect, alternative=wrong)
    with pytest.raises(DesignError, match="never finds"):
        mde(plan, alternative=wrong, direction="increase" if effect > 0 else "decrease")
    assert mde(plan, alternative=wrong) * effect < 0.0


@settings(deadline=None, max_examples=20)
@given(unit=st.floats(1e-3, 1e3), shift=st.floats(-100.0, 100.0))
def test_units_of_measurement_do_not_matter(unit: float, shift: float) -> None:
    for name, (plan, effect) in SMOOTH.items():
        inner = getattr(plan, "plan", plan)
        if not isinstance(inner.outcome, Continuous):
            continue
        other: Any = replace(inner, outcome=Continuous(sd=inner.outcome.sd * unit, mean=shift))
        if isinstance(inner, MultilevelDesign):
            # How much effects vary is in units of the outcome too.
            levels = tuple(replace(level, effect_sd=level.effect_sd * unit) for level in inner.levels)
            other = replace(other, levels=levels)
        if isinstance(plan, SeveralOutcomesDesign | NoncomplianceDesign):
            other = replace(plan, plan=other)
        elif inner is not plan:
            other = NonInferiorityDesign(other, margin=plan.margin * unit)
        assert power(other, effect=effect * unit) == pytest.approx(power(plan, effect=effect), abs=1e-8), name


@pytest.mark.parametrize("name", COUNTED)
def test_exact_tests_are_solved_for_the_size_from_which_power_stays(name: str) -> None:
    plan, effect = COUNTED[name]
    size = next(iter(plan.least_sizes))
    needed = required_size(plan, effect=effect)
    assert needed.exact == float(needed.rounded)
    assert all(power(plan.resized(size, needed.rounded + more), effect=effect) >= 0.8 for more in range(20))
    assert power(plan.resized(size, needed.rounded - 1), effect=effect) < 0.8
    found = mde(plan, power=0.7)
    assert power(plan, effect=found) == pytest.approx(0.7, abs=1e-8)
    assert 0.0 < power(plan, effect=0.0) <= 0.05
    assert any(what.startswith("exact size") for what, _ in explain_power(plan, effect=effect).rows)


def test_four_pairs_cannot_reach_the_usual_level_and_six_can() -> None:
    few = PairedDesign(4, Discordant(0.9), analysis="exact")
    assert power(few, effect=0.8) == 0.0
    with pytest.raises(DesignError, match=r"no result of this exact test is significant.*six discordant pairs"):
        mde(few)
    assert power(replace(few, n_pairs=6), effect=0.8) > 0.0
    assert power(few, effect=0.8, alpha=0.15) > 0.0


def test_equivalence_is_asked_for_a_size_and_has_no_detectable_effect() -> None:
    needed = required_size(EQUIVALENT, effect=0.1)
    assert power(needed.design, effect=0.1) >= 0.8
    assert power(EQUIVALENT, effect=0.1) == pytest.approx(power(EQUIVALENT, effect=-0.1), abs=1e-12)
    assert power(EQUIVALENT, effect=0.5) <= 0.05
    with pytest.raises(DesignError, match="no minimum detectable effect"):
        mde(EQUIVALENT)
    with pytest.raises(DesignError, match=r"not between the margins of -0\.5 and 0\.5"):
        required_size(EQUIVALENT, effect=0.6)
    with pytest.raises(DesignError, match="can be against 'equivalence'"):
        power(EQUIVALENT, effect=0.0, alternative="two_sided")


def test_a_floor_set_by_the_icc_holds_for_margins_too() -> None:
    with pytest.raises(DesignError, match=r"ICC of 0.05 \(observed\) sets a floor"):
        required_size(NonInferiorityDesign(CLUSTERS, margin=0.05), effect=0.0, solve_for="cluster_size")


@pytest.mark.parametrize("name", [*SMOOTH, *COUNTED])
def test_words_say_formula_source_and_reference(name: str) -> None:
    plan, effect = {**SMOOTH, **COUNTED}[name]
    words = dict(explain_power(plan, effect=effect).rows)
    assert float(words["power"]) == pytest.approx(power(plan, effect=effect), abs=5e-5)
    assert all(words[what] for what in ("formula", "source", "assumes"))
    assert ("null hypothesis" in words) == (plan.planned_test(effect).null != 0.0)


def test_equivalence_says_both_margins() -> None:
    words = dict(explain_power(EQUIVALENT, effect=0.0).rows)
    assert words["margins"] == "-0.5 and 0.5"
    assert "both must reject" in words["tails"]
    assert "Owen" in words["formula"]


def test_equivalence_of_risks_and_counts_does_not_claim_a_joint_distribution() -> None:
    for inner in (SMOOTH["pooled"][0], SMOOTH["rates"][0]):
        plan = EquivalenceDesign(inner, margin_low=-0.2, margin_high=0.2)
        words = dict(explain_power(plan, effect=0.0).rows)
        assert "Owen" not in words["formula"]
        assert "Phillips" not in words["source"]
        assert "against the normal distribution" in words["formula"]
    told = [value for what, value in explain_power(plan, effect=0.0).rows if what == "assumes"]
    # Rates of 0.4 and 0.8 against 0.6.
    assert any("rate ratio 0.6667" in value for value in told)
    assert any("rate ratio 1.333" in value for value in told)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: ParallelDesign(10, Binary(0.3), analysis="t"), "analysis must be one of"),
        (lambda: ParallelDesign(10, Binary(0.3), r_squared=0.2), "continuous outcome only"),
        (lambda: ParallelDesign(3, Continuous(), n_covariates=4), "no degree of freedom"),
        (lambda: Count(0.0), "A rate must be"),
        (lambda: Count(1.0, dispersion=-1.0), "dispersion must be"),
        (lambda: Count(0.5).levels(-0.5), "not above 0"),
        (lambda: Ordinal((0.5, 0.6)), "sum to 1"),
        (lambda: Ordinal((1.0,)), "at least two shares"),
        (lambda: OneSampleDesign(10, Count(1.0)), "Continuous"),
        (lambda: PairedDesign(10, Continuous()), "give correlation"),
        (lambda: PairedDesign(10, Discordant(0.2), correlation=0.2), "leave correlation out"),
        (lambda: PairedDesign(10, Discordant(0.2)).planned_test(0.2), "discordant"),
        (lambda: RepeatedMeasuresDesign(10, Continuous(), 0.5, n_before=0), "n_before"),
        (lambda: RepeatedMeasuresDesign(10, Binary(0.5), 0.5), "Continuous"),
        (lambda: FactorialDesign(10, Continuous(), "both"), "target must be one of"),
        (lambda: MultiArmDesign(10, 1, Continuous()), "n_treated_arms"),
        (lambda: MultiArmDesign(10, 2, Continuous(), pattern=(1.0,)), "a number for each of 2"),
        (lambda: NonInferiorityDesign(MEANS, margin=-1.0), "bad side of no effect"),
        (lambda: NonInferiorityDesign(MEANS, margin=1.0, higher_is_worse=False), "bad side of no effect"),
        (lambda: NonInferiorityDesign(FactorialDesign(9, Continuous(), "main"), margin=1.0), "plan must be"),
        (lambda: NonInferiorityDesign(COUNTED["fisher"][0], margin=0.1), "tests against no difference only"),
        (
            lambda: NonInferiorityDesign(SMOOTH["pooled"][0], margin=1.2),
            "a risk of 1.6 at the margin, which is not between 0 and 1",
        ),
        (lambda: NonInferiorityDesign(ParallelDesign(200, Binary(0.35)), margin=5.0), "3 % given as 0.03"),
        (lambda: NonInferiorityDesign(ParallelDesign(500, Binary(0.98)), margin=0.03), "a risk of 1.01 at the margin"),
        (lambda: NonInferiorityDesign(CLUSTERS, margin=0.6), "a risk of 1 at the margin"),
        (lambda: NonInferiorityDesign(CLUSTERS, margin=-0.5, higher_is_worse=False), "a risk of -0.1 at the margin"),
        (lambda: EquivalenceDesign(CLUSTERS, margin_low=-5.0, margin_high=0.1), "a risk of -4.6 at the margin"),
        (lambda: ParallelDesign(20, Continuous(), analysis=""), "analysis must be one of"),
        (lambda: ParallelDesign(20, Continuous(), analysis=False), "analysis must be one of"),  # type: ignore[arg-type]
        (lambda: OneSampleDesign(20, Binary(0.3), analysis=""), "analysis must be one of"),
        (lambda: PairedDesign(20, Discordant(0.3), analysis=""), "analysis must be one of"),
        *((lambda a=a: MultiArmDesign(20, 3, Continuous()).critical_value(a), "alpha must be") for a in WRONG_SIZES),
        (lambda: power(None, effect=0.5), "not a design"),  # type: ignore[arg-type]
        (lambda: mde(Continuous()), "not a design"),  # type: ignore[arg-type]
        (lambda: required_size(None, effect=0.5), "not a design"),  # type: ignore[arg-type]
        (lambda: explain_power("plan", effect=0.5), "not a design"),  # type: ignore[arg-type]
        (lambda: power_curve(None, [0.5]), "not a design"),  # type: ignore[arg-type]
        (lambda: power_curve(MEANS, 0.5), "a list of numbers"),  # type: ignore[arg-type]
        (lambda: power_curve(MEANS, None), "a list of numbers"),  # type: ignore[arg-type]
        (lambda: power_curve(MEANS, "0.5"), "a list of numbers"),  # type: ignore[arg-type]
        (lambda: power_curve(MEANS, [None]), "An effect must be a number"),  # type: ignore[list-item]
        (lambda: power_curve(MEANS, [True]), "An effect must be a number"),
        (lambda: power_curve(MEANS, ["0.5"]), "An effect must be a number"),  # type: ignore[list-item]
        (lambda: NonInferiorityDesign(SMOOTH["rates, null variance"][0], margin=0.1), "against no difference only"),
        (lambda: EquivalenceDesign(MEANS, margin_low=0.1, margin_high=0.2), "margin_low"),
        (lambda: power(MEANS, effect=0.5, alternative="larger"), "can be against"),
        (lambda: power(NonInferiorityDesign(MEANS, margin=1.0), effect=0.0, alternative="greater"), "against 'less'"),
        (lambda: required_size(NonInferiorityDesign(MEANS, margin=1.0), effect=1.0), "the margin itself"),
        (lambda: mde(MultiArmDesign(9, 2, Continuous(), power_of="all", pattern=(1.0, 0.0))), "effect of zero"),
        (lambda: FactorialDesign(9, Continuous(), "main").process(0.1), "simulate_power"),
        (lambda: NonInferiorityDesign(MEANS, margin=1.0).process(0.0), "not a margin"),
        (lambda: EQUIVALENT.process(0.0), "not a margin"),
    ],
)
def test_what_is_impossible_is_refused_by_name(make: Any, words: str) -> None:
    with pytest.raises(DesignError, match=words):
        make()


@pytest.mark.parametrize("outcome", [Count(0.7, dispersion=0.6, exposure=2.0), Ordinal((0.5, 0.3, 0.2))])
def test_outcomes_are_drawn_as_planned(outcome: Any) -> None:
    plan = ParallelDesign(100_000, outcome)
    trial = plan.process(0.4).frame(np.random.default_rng(4))
    for arm, level in zip(("control", "treated"), outcome.levels(0.4), strict=True):
        y = trial["outcome"][trial["arm"] == arm]
        if isinstance(outcome, Count):
            mean, variance = 2.0 * level, outcome.variance(level)
        else:
            steps = np.arange(3.0)
            mean = float(steps @ np.asarray(level))
            variance = float(steps**2 @ np.asarray(level)) - mean**2
        # Five Monte Carlo standard errors of the mean; the variance to three per cent, five of its own.
        assert y.mean() == pytest.approx(mean, abs=5.0 * np.sqrt(variance / y.size))
        assert y.var() == pytest.approx(variance, rel=0.03)


@pytest.mark.parametrize(
    ("plan", "effect", "name", "estimator"),
    [
        (
            ParallelDesign(60, Ordinal((0.5, 0.3, 0.2)), analysis="win_probability"),
            0.8,
            "win_probability",
            WinProbability(),
        ),
        (ParallelDesign(60, Ordinal((0.5, 0.3, 0.2))), -0.8, "proportional_odds", ProportionalOdds()),
        (ParallelDesign(80, Count(1.5, dispersion=0.5)), -0.5, "negative_binomial", NegativeBinomial()),
    ],
)
def test_the_estimator_that_is_run_finds_about_what_was_planned(
    plan: Any, effect: float, name: str, estimator: Any
) -> None:
    found = simulate_power(plan, estimator, effect=effect, n_draws=150, seed=2)[name]
    expected = power(plan, effect=effect)
    # Five Monte Carlo standard errors, and 0.04 for normal approximations at these sizes.
    assert found.power.value == pytest.approx(expected, abs=5.0 * np.sqrt(expected * (1.0 - expected) / 150) + 0.04)
    # Maximum likelihood has a bias of order 1/n: 0.05 of a log odds ratio at 60 an arm.
    assert abs(found.bias.value) < 5.0 * found.bias.mcse + 0.05
