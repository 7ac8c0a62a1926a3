"""Power by formula against the planned analysis on raw data, over designs that are drawn.

Where a formula is called exact the differences must be chance: every one within a Bonferroni band, and the sum of their
squares within the band of its chi-square, both at 1e-4. Elsewhere they must be within the gap that is documented.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import pytest
from scipy import stats
from tests.unit.planning import analyses

import gbveval as gbv
from gbveval.core.errors import DesignError

FALSE_ALARM = 1e-4
SIDES = ("two_sided", "greater", "less")


@dataclass(frozen=True)
class Family:
    """Plans of one kind, how they are drawn, and how they are analysed."""

    name: str
    draw: Callable[[np.random.Generator], Any]
    analyse: analyses.Analysis
    designs: int = 6
    studies: int = 20_000
    sides: tuple[str, ...] = SIDES


def between(rng: np.random.Generator, low: int, high: int) -> int:
    return int(rng.integers(low, high + 1))


def parallel(analysis: str, least: int = 4, most: int = 25) -> Callable[[np.random.Generator], Any]:
    return lambda rng: gbv.ParallelDesign(
        between(rng, least, most),
        gbv.Continuous(sd=2.0),
        ratio=float(rng.choice([0.6, 1.0, 1.7])),
        analysis=analysis,
    )


def of_risks(analysis: str) -> Callable[[np.random.Generator], Any]:
    return lambda rng: gbv.ParallelDesign(
        between(rng, 60, 300),
        gbv.Binary(float(rng.uniform(0.25, 0.75))),
        ratio=float(rng.choice([0.6, 1.0, 1.5])),
        analysis=analysis,
    )


def of_rates(analysis: str) -> Callable[[np.random.Generator], Any]:
    return lambda rng: gbv.ParallelDesign(
        between(rng, 60, 200),
        gbv.Count(
            rate=float(rng.uniform(0.5, 2.0)),
            dispersion=float(rng.choice([0.0, 0.7])),
            exposure=float(rng.uniform(1.0, 2.0)),
        ),
        analysis=analysis,
    )


def repeated(analysis: str) -> Callable[[np.random.Generator], Any]:
    return lambda rng: gbv.RepeatedMeasuresDesign(
        between(rng, 6, 25),
        gbv.Continuous(),
        correlation=float(rng.uniform(0.1, 0.8)),
        n_before=between(rng, 1, 3),
        n_after=between(rng, 1, 3),
        analysis=analysis,
    )


def arms(adjustment: str, power_of: str) -> Callable[[np.random.Generator], Any]:
    return lambda rng: gbv.MultiArmDesign(
        between(rng, 5, 20),
        between(rng, 2, 3),
        gbv.Continuous(),
        ratio=float(rng.choice([0.7, 1.0])),
        adjustment=adjustment,
        power_of=power_of,
    )


FAMILIES = [
    Family("t", parallel("t"), analyses.means, 12),
    Family("normal", parallel("normal"), analyses.means),
    Family("welch", parallel("welch"), analyses.means),
    Family(
        "covariates",
        lambda rng: gbv.ParallelDesign(
            between(rng, 12, 40), gbv.Continuous(), r_squared=0.4, n_covariates=between(rng, 1, 3)
        ),
        analyses.adjusted_means,
        studies=5_000,
    ),
    *(Family(f"risks, {how}", of_risks(how), analyses.risks) for how in ("unpooled", "pooled", "corrected", "arcsine")),
    Family(
        "risks, fisher",
        lambda rng: gbv.ParallelDesign(
            between(rng, 10, 30), gbv.Binary(float(rng.uniform(0.1, 0.6))), analysis="fisher"
        ),
        analyses.fisher,
        4,
    ),
    Family("one mean", lambda rng: gbv.OneSampleDesign(between(rng, 3, 20), gbv.Continuous()), analyses.one_mean),
    Family(
        "one risk, exact",
        lambda rng: gbv.OneSampleDesign(between(rng, 15, 60), gbv.Binary(float(rng.uniform(0.1, 0.6)))),
        analyses.one_risk,
    ),
    Family(
        "one risk, arcsine",
        lambda rng: gbv.OneSampleDesign(
            between(rng, 60, 200), gbv.Binary(float(rng.uniform(0.25, 0.75))), analysis="arcsine"
        ),
        analyses.one_risk,
    ),
    Family(
        "pairs",
        lambda rng: gbv.PairedDesign(between(rng, 3, 20), gbv.Continuous(), correlation=float(rng.uniform(-0.3, 0.8))),
        analyses.pairs,
    ),
    *(
        Family(
            f"discordant pairs, {how}",
            lambda rng, how=how: gbv.PairedDesign(
                between(rng, 60, 200), gbv.Discordant(float(rng.uniform(0.25, 0.6))), analysis=how
            ),
            analyses.discordant_pairs,
        )
        for how in ("mcnemar", "exact")
    ),
    *(Family(f"rates, {how}", of_rates(how), analyses.counts) for how in ("wald", "null_variance")),
    *(
        Family(
            f"ordered, {how}",
            lambda rng, how=how: gbv.ParallelDesign(
                between(rng, 60, 200), gbv.Ordinal((0.4, 0.3, 0.2, 0.1)), analysis=how
            ),
            analyses.ordered,
        )
        for how in ("proportional_odds", "win_probability")
    ),
    *(
        Family(f"waves, {how}", repeated(how), analyses.repeated, studies=8_000)
        for how in ("after", "change", "ancova")
    ),
    *(
        Family(f"arms, {adjustment}, {what}", arms(adjustment, what), analyses.several_arms, 3, 10_000)
        for adjustment in ("dunnett", "bonferroni")
        for what in ("each", "any", "all")
    ),
    *(
        Family(
            f"factorial, {target}",
            lambda rng, target=target: gbv.FactorialDesign(between(rng, 3, 12), gbv.Continuous(), target),
            analyses.factorial,
        )
        for target in ("main", "interaction")
    ),
    Family(
        "analysis of variance",
        lambda rng: gbv.AnovaDesign(between(rng, 4, 25), 2.0, tuple(rng.normal(size=between(rng, 3, 5)).tolist())),
        analyses.several_means,
        sides=("any",),
    ),
    Family(
        "coefficients",
        lambda rng: gbv.RegressionDesign(between(rng, 12, 50), n_tested=between(rng, 1, 4)),
        analyses.coefficients,
        studies=8_000,
        sides=("any",),
    ),
    Family(
        "shares",
        lambda rng: gbv.ChiSquareDesign(between(rng, 60, 250), df=between(rng, 2, 5)),
        analyses.shares,
        sides=("any",),
    ),
    Family("correlation", lambda rng: gbv.CorrelationDesign(between(rng, 10, 80)), analyses.correlation),
    Family("events", lambda rng: gbv.EventsDesign(between(rng, 40, 150)), analyses.events, 4, 6_000),
    *(
        Family(
            f"outcomes, {what}",
            lambda rng, what=what: gbv.SeveralOutcomesDesign(
                gbv.ParallelDesign(between(rng, 4, 12), gbv.Continuous(), analysis="normal"),
                pattern=(1.0, float(rng.uniform(0.3, 1.5)), 1.0),
                correlation=float(rng.uniform(0.0, 0.8)),
                correction=str(rng.choice(["bonferroni", "sidak", "none"])),
                power_of=what,
            ),
            analyses.several_outcomes,
        )
        for what in ("any", "all", "each")
    ),
    Family(
        "not worse",
        lambda rng: gbv.NonInferiorityDesign(parallel("t")(rng), margin=1.0),
        analyses.margin,
        sides=("less",),
    ),
    Family(
        "equivalent",
        lambda rng: gbv.EquivalenceDesign(parallel("t", 15, 40)(rng), margin_low=-2.0, margin_high=1.8),
        analyses.margin,
        sides=("equivalence",),
    ),
]


def clusters(
    analysis: str,
    *,
    least: int = 4,
    most: int = 16,
    size_cv: tuple[float, ...] = (0.0,),
    ratio: tuple[float, ...] = (1.0,),
    kind: str = "means",
) -> Callable[[np.random.Generator], Any]:
    def draw(rng: np.random.Generator) -> Any:
        icc: Any = gbv.ICC(float(rng.uniform(0.01, 0.2)), scale="observed")
        outcome: Any = gbv.Continuous(sd=2.0)
        if kind == "risks":
            outcome = gbv.Binary(float(rng.uniform(0.2, 0.6)))
            icc = gbv.ICC(float(rng.uniform(0.02, 0.1)), scale="observed")
        if kind == "rates":
            outcome = gbv.Count(rate=float(rng.uniform(0.3, 1.5)))
            icc = gbv.BetweenCV(float(rng.uniform(0.1, 0.4)))
        return gbv.ClusterDesign(
            between(rng, least, most),
            between(rng, 10, 60),
            icc,
            outcome,
            size_cv=float(rng.choice(size_cv)),
            analysis=analysis,
            ratio=float(rng.choice(ratio)),
        )

    return draw


UNEVEN = (0.3, 0.5, 0.8)
FAMILIES += [
    Family("clusters, CR2", clusters("participants_cr2"), analyses.clusters, 9),
    Family("clusters, means", clusters("cluster_means", ratio=(0.6, 1.0, 1.7)), analyses.clusters, 9),
    Family("clusters, weighted", clusters("gls", ratio=(1.0, 1.7)), analyses.clusters),
    Family("clusters in unequal arms", clusters("participants_cr2", least=6, ratio=(0.7, 1.7)), analyses.clusters),
    *(
        Family(f"uneven clusters, {how}", clusters(how, least=6, most=24, size_cv=UNEVEN), analyses.clusters, 6, 6_000)
        for how in ("participants_cr2", "cluster_means", "gls")
    ),
    Family("risks of clusters", clusters("participants_cr2", least=5, most=20, kind="risks"), analyses.clusters),
    Family("rates of clusters", clusters("cluster_means", least=5, most=20, kind="rates"), analyses.clusters),
    Family(
        "clusters with covariates",
        lambda rng: gbv.ClusterDesign(
            between(rng, 8, 25),
            between(rng, 10, 60),
            gbv.ICC(float(rng.uniform(0.02, 0.2)), scale="observed"),
            gbv.Continuous(),
            r_squared_clusters=0.5,
            n_cluster_covariates=between(rng, 1, 2),
            r_squared_people=float(rng.choice([0.0, 0.3])),
        ),
        analyses.adjusted_clusters,
        studies=6_000,
    ),
]


@dataclass(frozen=True)
class Compared:
    """One drawn plan: power by formula, its documented gap (0: exact), and the share of studies that reject."""

    plan: Any
    formula: float
    gap: float
    simulated: float
    studies: int

    @property
    def z(self) -> float:
        spread = np.sqrt(self.formula * (1.0 - self.formula) / self.studies)
        return float((self.simulated - self.formula) / spread)


@cache
def compared(family: Family) -> tuple[Compared, ...]:
    # The seed is the family's name, so that it was not chosen.
    rng = np.random.default_rng(zlib.crc32(family.name.encode()))
    found: list[Compared] = []
    direction = {"less": "decrease", "any": None}
    for _ in range(20 * family.designs):
        plan, side = family.draw(rng), family.sides[len(found) % len(family.sides)]
        target = float(rng.uniform(0.15, 0.9))
        effect = 0.0
        if side != "equivalence":
            try:
                effect = gbv.mde(plan, power=target, alternative=side, direction=direction.get(side, "increase"))
            except DesignError:
                continue  # No possible effect has that power: another plan is drawn.
        near = plan.planned_test(effect).near
        assert near is not None, f"{family.name}: how near the formula is has to be said"
        rejects = family.analyse(plan, effect, side, family.studies, rng)
        formula = gbv.power(plan, effect=effect, alternative=side)
        found.append(Compared(plan, formula, near.gap, float(np.mean(rejects)), family.studies))
        if len(found) == family.designs:
            break
    assert len(found) == family.designs
    return tuple(found)


@pytest.mark.once
@pytest.mark.xdist_group("formula and simulation")
@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_power_by_formula_is_within_its_documented_gap(family: Family) -> None:
    # A Bonferroni band over all designs of all families.
    reach = stats.norm.isf(FALSE_ALARM / 2.0 / sum(each.designs for each in FAMILIES))
    for case in compared(family):
        spread = np.sqrt(max(case.formula * (1.0 - case.formula), 1e-4) / case.studies)
        assert abs(case.simulated - case.formula) <= case.gap + reach * spread, case


@pytest.mark.once
@pytest.mark.xdist_group("formula and simulation")
def test_where_formulas_are_exact_the_differences_are_chance() -> None:
    cases = [case for family in FAMILIES for case in compared(family) if case.gap == 0.0]
    assert len(cases) >= 80
    z = np.array([case.z for case in cases])
    reach = stats.norm.isf(FALSE_ALARM / 2.0 / z.size)
    assert np.abs(z).max() <= reach
    low, high = stats.chi2.ppf([FALSE_ALARM / 2.0, 1.0 - FALSE_ALARM / 2.0], z.size)
    assert low <= float(z @ z) <= high


@pytest.mark.once
@pytest.mark.xdist_group("formula and simulation")
def test_the_band_of_the_sum_tells_approximate_formulas_from_exact_ones() -> None:
    cases = [case for family in FAMILIES for case in compared(family) if case.gap > 0.0]
    assert sum(case.z**2 for case in cases) > stats.chi2.isf(FALSE_ALARM / 2.0, len(cases))


def test_how_near_is_said() -> None:
    told = dict(gbv.explain_power(gbv.ParallelDesign(30, gbv.Continuous()), effect=0.5).rows)
    assert told["how near"] == "exact where what is assumed holds"
    told = dict(gbv.explain_power(gbv.ParallelDesign(90, gbv.Binary(0.4)), effect=0.2).rows)
    assert told["how near"].startswith("within 0.03 of the simulated power of the planned analysis, among plans of 60")
