"""Codings of incidents: against draws of people before and after, limits of the model, refusals."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gbveval.core.errors import DesignError
from gbveval.design.coded import CODINGS, CodedDesign
from gbveval.design.counts import Count
from gbveval.design.incident_model import IncidentModel
from gbveval.design.outcomes import Binary
from gbveval.design.parallel import ParallelDesign
from gbveval.planning.closed_form import explain_power, mde, power, required_size
from gbveval.planning.codings import compare_codings

MODEL = IncidentModel(rate=1.5, dispersion=2.0, stability=0.6)
N, DRAWS, SDS = 400, 4000, 4.4
EFFECT = -0.5


def people(rate: float, rng: np.random.Generator) -> tuple[Any, Any]:
    """Return incidents of people before and after, shape (draws, people)."""
    shape = (DRAWS, N)
    exposure = rng.gamma(0.5, 2.0, size=shape)
    later = np.where(rng.random(shape) < 0.6, exposure, rng.gamma(0.5, 2.0, size=shape))
    return rng.poisson(MODEL.rate * exposure), rng.poisson(rate * later)


@pytest.fixture(scope="module")
def arms() -> Any:
    rng = np.random.default_rng(51)
    return people(1.5, rng), people(1.0, rng)


def shares(before: Any, after: Any, coding: str) -> tuple[Any, Any]:
    """Return the share recorded in each draw, and how many people it is of."""
    group = np.ones(before.shape, dtype=bool)
    if coding != "any":
        group = before == 0 if coding == "prevention" else before > 0
    hit = after >= before if coding == "reduction" else after > 0
    return (group & hit).sum(axis=1) / group.sum(axis=1), group.sum(axis=1)


def band(p: float) -> float:
    return SDS * math.sqrt(p * (1.0 - p) / DRAWS)


@pytest.mark.parametrize("coding", ["any", "prevention", "cessation", "reduction"])
def test_shares_of_people_and_of_groups_by_baseline(arms: Any, coding: str) -> None:
    plan = CodedDesign(N, MODEL, coding)
    (q0, n0), (q1, n1) = (shares(*arm, coding) for arm in arms)
    control, treated, group = plan.recorded(EFFECT)
    for mean, seen, n in ((control, q0, n0), (treated, q1, n1)):
        assert float(seen.mean()) == pytest.approx(mean, abs=SDS * float(seen.std()) / math.sqrt(DRAWS))
        assert float(n.mean()) / N == pytest.approx(group, abs=SDS * 0.5 / math.sqrt(N * DRAWS))
    z = (q1 - q0) / np.sqrt(q0 * (1 - q0) / n0 + q1 * (1 - q1) / n1)
    found = power(plan, effect=EFFECT)
    # Groups of about 180 and the normal curve: within 0.01 of counts.
    assert found == pytest.approx(float(np.mean(np.abs(z) > 1.9599639845400545)), abs=band(found) + 0.01)


def test_counts_by_the_log_of_their_ratio(arms: Any) -> None:
    means = [after.mean(axis=1) for _, after in arms]
    error = np.sqrt(sum(1.0 / mean + 2.0 for mean in means) / N)
    found = power(CodedDesign(N, MODEL), effect=EFFECT)
    seen = float(np.mean(np.abs(np.log(means[1] / means[0])) / error > 1.9599639845400545))
    # The log of a mean of 400 skewed counts is not quite normal.
    assert found == pytest.approx(seen, abs=band(found) + 0.01)


def test_categories_by_win_probability(arms: Any) -> None:
    plan = CodedDesign(N, MODEL, "ordered")
    codes = [np.digitize(after, MODEL.cuts) for _, after in arms]
    held = [np.stack([(code == c).mean(axis=1) for c in range(3)], axis=1) for code in codes]
    placed = [np.cumsum(held[1 - a], axis=1) - held[1 - a] / 2.0 for a in (0, 1)]
    theta = (held[1] * placed[1]).sum(axis=1)
    spread = [(held[a] * placed[a] ** 2).sum(axis=1) - (theta if a else 1.0 - theta) ** 2 for a in (0, 1)]
    z = (theta - 0.5) / np.sqrt(sum(spread) / N)
    assert float(theta.mean()) == pytest.approx(plan.recorded(EFFECT)[1], abs=SDS * float(theta.std()) / DRAWS**0.5)
    found = power(plan, effect=EFFECT)
    assert found == pytest.approx(float(np.mean(np.abs(z) > 1.9599639845400545)), abs=band(found) + 0.006)


@settings(deadline=None, max_examples=20)
@given(rate=st.floats(0.1, 5.0), dispersion=st.floats(0.1, 4.0), stability=st.floats(0.0, 1.0))
def test_what_is_before_and_after_adds_up(rate: float, dispersion: float, stability: float) -> None:
    model = IncidentModel(rate, dispersion, stability)
    both = model.joint(0.7 * rate)
    assert float(both.sum()) == pytest.approx(1.0, abs=1e-8)
    assert 1.0 - float(both[0].sum()) == pytest.approx(model.risk(rate), abs=1e-8)
    assert 1.0 - float(both[:, 0].sum()) == pytest.approx(model.risk(0.7 * rate), abs=1e-8)
    assert sum(model.shares(rate)) == pytest.approx(1.0)
    assert 1.0 - model.shares(rate)[0] == pytest.approx(model.risk(rate), abs=1e-12)


def test_codings_of_everybody_are_the_plans_of_what_is_recorded() -> None:
    counts = ParallelDesign(N, Count(1.5, dispersion=2.0))
    assert power(CodedDesign(N, MODEL), effect=EFFECT) == power(counts, effect=EFFECT)
    risk = [MODEL.risk(rate) for rate in (1.5, 1.0)]
    binary = ParallelDesign(N, Binary(risk[0]))
    assert power(CodedDesign(N, MODEL, "any"), effect=EFFECT) == pytest.approx(power(binary, effect=risk[1] - risk[0]))


def test_without_stability_baseline_says_nothing() -> None:
    for coding in ("prevention", "cessation"):
        plan = CodedDesign(N, replace(MODEL, stability=0.0), coding)
        control, treated, _ = plan.recorded(EFFECT)
        assert (control, treated) == (pytest.approx(MODEL.risk(1.5)), pytest.approx(MODEL.risk(1.0)))
    steady = CodedDesign(N, replace(MODEL, stability=1.0), "prevention").recorded(EFFECT)[0]
    assert steady < MODEL.risk(1.5)


@pytest.mark.parametrize("coding", CODINGS)
def test_the_questions_agree_with_each_other(coding: str) -> None:
    plan = CodedDesign(900, MODEL, coding)
    assert power(plan, effect=0.0) == pytest.approx(0.05, abs=1e-9)
    for direction in ("increase", "decrease"):
        assert power(plan, effect=mde(plan, direction=direction, power=0.6)) == pytest.approx(0.6, abs=1e-8)
    needed = required_size(plan, effect=EFFECT)
    assert power(plan.resized("n_per_arm", needed.rounded), effect=EFFECT) >= 0.8
    assert power(plan.resized("n_per_arm", needed.rounded - 1), effect=EFFECT) < 0.8
    assert power(plan, effect=EFFECT, alternative="less") > power(plan, effect=EFFECT)
    rows = dict(explain_power(plan, effect=EFFECT).rows)
    assert rows["what is recorded"]
    assert "arXiv 2204.12385" in rows["source"]


def test_codings_side_by_side() -> None:
    table = compare_codings(MODEL, n_per_arm=N, effect=EFFECT)
    assert table.column("coding") == CODINGS
    powers = dict(zip(CODINGS, table.column("power"), strict=True))
    # Where everybody's rate falls alike, counts keep the most, and less is kept by fewer categories.
    assert powers["count"] > powers["ordered"] > powers["any"]
    for coding, found, needed in zip(CODINGS, table.column("power"), table.column("n_per_arm"), strict=True):
        plan = CodedDesign(N, MODEL, coding)
        assert found == power(plan, effect=EFFECT)
        assert needed == required_size(plan, effect=EFFECT).rounded


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: IncidentModel(0.0, 1.0), "rate"),
        (lambda: IncidentModel(1.0, 0.0), "dispersion"),
        (lambda: IncidentModel(1.0, 1.0, stability=1.2), "stability"),
        (lambda: IncidentModel(1.0, 1.0, stability=True), "stability"),
        (lambda: IncidentModel(1.0, 1.0, cuts=(3, 1)), "must increase"),
        (lambda: IncidentModel(1.0, 1.0, cuts=(0, 1)), "A cut"),
        (lambda: IncidentModel(1.0, 1.0, cuts=3), "cuts is a tuple"),
        (lambda: IncidentModel(200.0, 5.0), "counts beyond 2000"),
        (lambda: CodedDesign(100, Binary(0.3)), "outcome must be IncidentModel"),
        (lambda: CodedDesign(100, MODEL, "severity"), "coding"),
        (lambda: power(CodedDesign(100, MODEL), effect=-1.5), "not above 0"),
        (lambda: CodedDesign(100, MODEL).process(0.1), "by formula only"),
        (lambda: compare_codings(MODEL, n_per_arm=100, effect=-0.5, codings=()), "codings is a tuple"),
        (lambda: compare_codings(MODEL, n_per_arm=100, effect=0.0), "effect of zero"),
    ],
)
def test_what_cannot_be_is_refused_by_name(make: Any, match: str) -> None:
    with pytest.raises(DesignError, match=match):
        make()
