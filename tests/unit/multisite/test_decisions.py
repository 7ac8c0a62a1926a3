"""Progression criteria: declared, decided, blocked by failed checks, and how often each decision is taken."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import norm

import gbveval as gbv
from gbveval.core.errors import ConvergenceError, DesignError
from gbveval.core.method import Check

GO = gbv.DecisionRule("average effect", 0.8, below=-0.02)
HARM = gbv.DecisionRule("effect in a new site", 0.3, above=0.02)
CRITERIA = gbv.ProgressionCriteria(go=(GO,), stop=(HARM,))
PRIOR = gbv.HierarchyPrior(gbv.Normal(0, 0.1), gbv.HalfNormal(0.03))
POOL = gbv.NormalHierarchy(PRIOR)


def pooled(*effects: float, se: float = 0.02) -> gbv.Estimates:
    frame = {"y": list(effects), "se": [se] * len(effects)}
    return POOL.estimate(gbv.SiteEffects(frame, estimate="y", std_error="se"))


@pytest.mark.parametrize(
    ("effects", "decision"),
    [((-0.06, -0.05, -0.07), "go"), ((-0.02, -0.03, -0.01), "adapt"), ((0.05, 0.06, 0.04), "stop")],
)
def test_pilots_lead_where_the_rules_say(effects: tuple[float, ...], decision: str) -> None:
    answer = pooled(*effects)
    assert CRITERIA.decide(answer) == decision
    table = CRITERIA.assess(answer)
    assert table.notes[0].startswith(f"Decision: {decision}.")
    assert table.column("found")[0] == answer.probability("average effect", below=-0.02)
    assert table.column("found")[1] == answer.probability("effect in a new site", above=0.02)
    assert table.column("holds") == tuple(a >= b for a, b in zip(table.column("found"), (0.8, 0.3), strict=True))


def test_harm_overrules_going_on() -> None:
    both = gbv.ProgressionCriteria(go=(GO,), stop=(gbv.DecisionRule("effect in a new site", 0.001, above=0.0),))
    answer = pooled(-0.06, -0.05, -0.07)
    assert GO.found(answer) > 0.8
    assert both.decide(answer) == "stop"


def test_an_answer_whose_checks_failed_decides_nothing() -> None:
    answer = pooled(-0.06, -0.05, -0.07)
    broken = replace(answer, checks=(*answer.checks, Check("rhat", "fail", "1.2")))
    for call in (CRITERIA.decide, CRITERIA.assess, lambda found: gbv.as_prior(found, "average effect")):
        with pytest.raises(ConvergenceError, match="rhat"):
            call(broken)


def test_one_site_is_a_conjugate_normal_so_that_decisions_are_known() -> None:
    # With no spread between sites and one site the posterior is normal in closed form, and so is the share of "go".
    sharp = gbv.NormalHierarchy(gbv.HierarchyPrior(gbv.Normal(0, 0.1), gbv.HalfNormal(1e-6)))
    criteria = gbv.ProgressionCriteria(go=(GO,), stop=(gbv.DecisionRule("average effect", 0.8, above=0.0),))
    table = gbv.operating_characteristics(
        criteria,
        sharp,
        std_errors=[0.03],
        average_effects=[0.0, -0.05],
        between_site_sd=0.0,
        seed=5,
        n_draws=500,
        progress=False,
    )
    weight = 0.1**2 / (0.1**2 + 0.03**2)
    sd = np.sqrt(weight) * 0.03
    for row, truth in enumerate((0.0, -0.05)):
        # P(effect < -0.02) >= 0.8 where weight y <= -0.02 - 0.84 sd.
        go = norm.cdf(((-0.02 - norm.ppf(0.8) * sd) / weight - truth) / 0.03)
        stop = norm.sf((norm.ppf(0.8) * sd / weight - truth) / 0.03)
        # Five binomial standard errors.
        assert abs(table.column("go")[row] - go) < 5.0 * np.sqrt(go * (1 - go) / 500)
        assert abs(table.column("stop")[row] - stop) < 5.0 * np.sqrt(stop * (1 - stop) / 500)
        assert table.column("go")[row] + table.column("adapt")[row] + table.column("stop")[row] == pytest.approx(1.0)
    assert table.column("failed") == (0.0, 0.0)


def test_more_effect_is_never_less_often_a_go_and_processes_do_not_matter() -> None:
    settings = {
        "std_errors": [0.03, 0.04, 0.03],
        "average_effects": [0.02, 0.0, -0.03, -0.06],
        "between_site_sd": [0.0, 0.03],
        "seed": 2,
        "n_draws": 20,
        "progress": False,
    }
    table = gbv.operating_characteristics(CRITERIA, POOL, **settings)
    assert len(table.rows) == 8
    for start in (0, 4):
        go = table.column("go")[start : start + 4]
        assert list(go) == sorted(go)
    assert gbv.operating_characteristics(CRITERIA, POOL, n_jobs=2, **settings).rows == table.rows
    with pytest.raises(DesignError, match="one between-site"):
        gbv.plot_operating(table)


def test_the_picture_fills_its_height() -> None:
    table = gbv.operating_characteristics(
        CRITERIA,
        POOL,
        std_errors=[0.03] * 4,
        average_effects=[0.04, 0.0, -0.04, -0.08],
        between_site_sd=0.02,
        seed=3,
        n_draws=30,
        progress=False,
    )
    ax = gbv.plot_operating(table)
    assert ax.get_ylim() == (0.0, 1.0)
    assert {text.get_text().strip() for text in ax.texts} <= {"go", "adapt", "stop"}
    assert len(ax.collections) == 3


def test_a_posterior_as_a_prior_has_its_quantiles() -> None:
    answer = pooled(-0.06, -0.02, -0.05)
    prior = gbv.as_prior(answer, "effect in a new site")
    low, high = answer.at_level(0.9).intervals()
    position = answer.index("effect in a new site")
    np.testing.assert_allclose(prior.quantile([0.05, 0.95]), [low[position], high[position]], rtol=1e-9)
    assert prior.quantile(0.5).shape == ()
    assert prior.describe() == "posterior of the effect in a new site by normal_hierarchy"
    trial = gbv.ParallelDesign(n_per_arm=400, outcome=gbv.Binary(0.3))
    found = gbv.assurance(trial, effect=prior, alternative="less").value
    drawn = prior.quantile(np.random.default_rng(1).random(4000))
    powers = [gbv.power(trial, effect=float(x), alternative="less") for x in drawn[:800]]
    # 800 draws of powers between 0 and 1: five standard errors.
    assert abs(found - np.mean(powers)) < 5.0 * np.std(powers) / np.sqrt(800)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: gbv.DecisionRule("average effect", 0.8), "either `above` or `below`"),
        (lambda: gbv.DecisionRule("average effect", 0.8, above=0.0, below=1.0), "either `above` or `below`"),
        (lambda: gbv.DecisionRule("average effect", 80, above=0.0), "between 0 and 1"),
        (lambda: gbv.ProgressionCriteria(go=(), stop=(HARM,)), "go must be a tuple"),
        (lambda: gbv.ProgressionCriteria(go=(GO,), stop=[HARM]), "stop must be a tuple"),
        (
            lambda: gbv.operating_characteristics(
                CRITERIA, POOL, std_errors=[0.0], average_effects=[0.0], between_site_sd=0.1, seed=1
            ),
            "above zero",
        ),
        (
            lambda: gbv.operating_characteristics(
                CRITERIA, POOL, std_errors="x", average_effects=[0.0], between_site_sd=0.1, seed=1
            ),
            "list of numbers",
        ),
        (
            lambda: gbv.operating_characteristics(
                CRITERIA, POOL, std_errors=[0.1], average_effects=[0.0], between_site_sd=0.1, seed=1, n_draws=2
            ),
            "n_draws",
        ),
    ],
)
def test_what_makes_no_sense_is_refused(make: object, words: str) -> None:
    with pytest.raises(DesignError, match=words):
        make()  # type: ignore[operator]


def test_an_answer_without_a_posterior_decides_nothing() -> None:
    rng = np.random.default_rng(1)
    frame = {"y": rng.normal(size=40), "arm": ["a", "b"] * 20}
    answer = gbv.DifferenceInMeans().estimate(gbv.Trial(frame, outcome="y", arm="arm", control="a"))
    for call in (CRITERIA.decide, lambda found: gbv.as_prior(found, "b vs a")):
        with pytest.raises(DesignError, match="no posterior"):
            call(answer)
