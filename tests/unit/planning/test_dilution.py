"""Plans in which arms do not keep apart: partial take-up and spillover, against draws of people, limits, refusals."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import ttest_ind

from gbveval.core.errors import DesignError
from gbveval.design.cluster import ClusterDesign
from gbveval.design.counts import Count
from gbveval.design.dilution import NoncomplianceDesign, SpilloverDesign
from gbveval.design.disclosure import Disclosure, DisclosureDesign
from gbveval.design.icc import ICC
from gbveval.design.ordinal import Ordinal
from gbveval.design.outcomes import Binary, Continuous
from gbveval.design.parallel import ParallelDesign
from gbveval.planning.closed_form import explain_power, mde, power, required_size

DRAWS = 20_000
SDS = 4.4
MEANS = ParallelDesign(150, Continuous(sd=2.0))
RISKS = ParallelDesign(300, Binary(0.4))
SCHOOLS = ClusterDesign(12, 30, ICC(0.05, scale="observed"), Continuous())
SHARES = st.floats(0.0, 1.0)


def band(p: float) -> float:
    return SDS * math.sqrt(p * (1.0 - p) / DRAWS)


def test_power_by_assignment_is_that_of_people_who_take_up_or_not() -> None:
    plan = NoncomplianceDesign(MEANS, 0.6, 0.1)
    rng = np.random.default_rng(21)
    effect = 1.0
    arms = []
    for take_up in (0.1, 0.6):
        takes = rng.random((DRAWS, 150)) < take_up
        # The plan's sd is that of an arm: what take-up adds is taken off, on average of both arms.
        mixed = (0.1 * 0.9 + 0.6 * 0.4) / 2.0 * effect**2
        arms.append(math.sqrt(4.0 - mixed) * rng.normal(size=takes.shape) + effect * takes)
    seen = float(np.mean(ttest_ind(*arms, axis=1).pvalue < 0.05))
    found = power(plan, effect=effect)
    # Arms of a mixture are not quite normal; with 150 people that is far below the band.
    assert found == pytest.approx(seen, abs=band(found))


def test_risks_of_arms_that_share_the_effect() -> None:
    plan = SpilloverDesign(RISKS, to_control=0.25, reached=0.8, to_unreached=0.5)
    rng = np.random.default_rng(22)
    effect = -0.2
    control = rng.binomial(300, 0.4 + 0.25 * effect, size=DRAWS) / 300
    reached = rng.random((DRAWS, 300)) < 0.8
    treated = (rng.random((DRAWS, 300)) < np.where(reached, 0.4 + effect, 0.4 + 0.5 * effect)).mean(axis=1)
    error = np.sqrt((control * (1 - control) + treated * (1 - treated)) / 300)
    seen = float(np.mean(np.abs(treated - control) / error > 1.9599639845400545))
    found = power(plan, effect=effect)
    # The normal formula of 300 an arm is within 0.006 of counts.
    assert found == pytest.approx(seen, abs=band(found) + 0.006)
    rows = dict(explain_power(plan, effect=effect).rows)
    assert float(rows["difference between the arms, which is estimated"]) == pytest.approx(0.65 * effect)
    assert float(rows["bias (that minus the total effect)"]) == pytest.approx(-0.35 * effect)


@pytest.mark.parametrize("plan", [MEANS, RISKS, SCHOOLS, ParallelDesign(200, Count(0.8, dispersion=0.3))])
def test_full_take_up_and_no_spillover_are_the_plan_inside(plan: Any) -> None:
    for around in (NoncomplianceDesign(plan, 1.0), SpilloverDesign(plan)):
        assert power(around, effect=-0.15) == power(plan, effect=-0.15)
        assert mde(around, direction="decrease") == pytest.approx(mde(plan, direction="decrease"), rel=1e-9)
        assert power(around, effect=0.0) == pytest.approx(0.05, abs=1e-12)


@given(c=SHARES, s=SHARES)
def test_a_size_grows_with_one_over_the_square_of_what_is_left(c: float, s: float) -> None:
    if c - s < 0.05:
        return
    known = replace(MEANS, analysis="normal")
    inside = required_size(known, effect=0.3).exact
    found = required_size(NoncomplianceDesign(known, c, s), effect=0.3).exact
    assert found == pytest.approx(inside / (c - s) ** 2, rel=1e-6)
    assert mde(NoncomplianceDesign(known, c, s)) == pytest.approx(mde(known) / (c - s), rel=1e-8)


@given(s=st.floats(0.0, 0.9))
def test_more_spillover_is_less_power(s: float) -> None:
    assert power(SpilloverDesign(RISKS, s + 0.05), effect=-0.15) < power(SpilloverDesign(RISKS, s), effect=-0.15)


def test_layers_may_be_put_around_each_other() -> None:
    inner = DisclosureDesign(RISKS, Disclosure(0.7, 0.98))
    both = NoncomplianceDesign(inner, 0.6)
    seen = both.planned_test(-0.2)
    assert seen.inner.effect == pytest.approx(-0.12)
    # Disclosure of a diluted effect is what it is of that effect.
    assert power(both, effect=-0.2) == pytest.approx(power(inner, effect=-0.12), abs=1e-12)
    assert seen.unit == pytest.approx(inner.planned_test(-0.12).unit / 0.6)
    lifted = NoncomplianceDesign(DisclosureDesign(RISKS, Disclosure(0.6), Disclosure(0.9)), 0.6)
    with pytest.raises(DesignError, match="turns its sign"):
        required_size(lifted, effect=-0.1)


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: NoncomplianceDesign(MEANS, 0.3, 0.3), "must be larger than take_up_control"),
        (lambda: NoncomplianceDesign(MEANS, 1.2), "take_up_treated"),
        (lambda: NoncomplianceDesign(MEANS, True), "take_up_treated"),
        (lambda: NoncomplianceDesign(ParallelDesign(50, Ordinal((0.5, 0.5))), 0.5), "share of an effect"),
        (lambda: NoncomplianceDesign(3, 0.5), "plan must be"),
        (lambda: SpilloverDesign(MEANS, 1.0), "nothing is left to compare"),
        (lambda: SpilloverDesign(MEANS, 0.3, reached=0.2), "nothing is left to compare"),
        (lambda: SpilloverDesign(MEANS, 0.3).process(0.1), "simulate the plan inside"),
        (lambda: NoncomplianceDesign(MEANS, 0.5).process(0.1), "simulate the plan inside"),
    ],
)
def test_what_cannot_be_is_refused_by_name(make: Any, match: str) -> None:
    with pytest.raises(DesignError, match=match):
        make()
