"""Families of cluster plans that the collection names, asked by made-up cases whose answers are written out here."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import nct, norm
from scipy.stats import t as student

from tests.reference.power import TASKS

NOWHERE = Path()
ASKED = {"alpha": 0.05, "alternative": "two.sided", "tails_counted": "both"}
# Two quantiles of the central t are within 0.3 / df of the noncentral one that gbveval solves.
CENTRAL = 0.3


def answer(family: str, **given: Any) -> dict[str, Any]:
    return TASKS[family](NOWHERE, {"family": family, "inputs": {**ASKED, **given}, "results": {}})


def t_power(effect: float, se: float, df: float, alpha: float = 0.05) -> float:
    c = student.isf(alpha / 2.0, df)
    return float(nct.sf(c, df, effect / se) + nct.cdf(-c, df, effect / se))


def same(found: float, expected: float) -> bool:
    # scipy's noncentral t is good to about 1e-9.
    return math.isclose(found, expected, rel_tol=1e-7)


def test_four_levels() -> None:
    given = {"rho2": 0.15, "rho3": 0.1, "rho4": 0.05, "r21": 0.3, "r22": 0.2, "r23": 0.1, "r24": 0.5, "p": 0.4}
    found = answer("cra4r4", n=12, J=4, K=3, L=30, g4=1, power=0.8, es=0.3, **given)
    variance = (0.05 * 0.5 + 0.1 * 0.9 / 3 + 0.15 * 0.8 / 12 + 0.7 * 0.7 / 144) / (0.4 * 0.6 * 30)
    assert found["df"] == 27.0
    assert found["sse"] == pytest.approx(math.sqrt(variance))
    assert same(found["power"], t_power(0.3, math.sqrt(variance), 27.0))
    quantiles = student.isf(0.025, 27.0) + student.ppf(0.8, 27.0)
    assert found["mdes"] == pytest.approx(quantiles * math.sqrt(variance), rel=CENTRAL / 27.0)


def test_a_moderator_whose_slope_does_not_vary() -> None:
    found = answer("mod-cra2", n=20, J=24, p=0.5, q=0.4, rho2=0.1, omegam2=0.0, g1=2, r21=0.25, r2m2=0.0, power=0.8)
    se = math.sqrt(0.9 * 0.75 / (0.25 * 0.24 * 480))
    df = 480 - 24 - 2 - 2
    quantiles = student.isf(0.025, df) + student.ppf(0.8, df)
    assert found["mdesd"] == pytest.approx(quantiles * se, rel=CENTRAL / df)


def test_matched_pairs_that_are_lost() -> None:
    found = answer("matched-pair-crt-loss", pairs=12, m=40, d=0.3, icc=0.06, matching_corr=0.4, pairs_lost=3)
    one = 2.0 * (0.06 + 0.94 / 40.0 - 0.4 * 0.06)
    assert same(found["power_before"], t_power(0.3, math.sqrt(one / 12.0), 11.0))
    assert same(found["power_after"], t_power(0.3, math.sqrt(one / 9.0), 8.0))


def test_clusters_and_people_that_are_lost() -> None:
    found = answer("crt-attrition", k=15, m=30, d=0.35, icc=0.05, lost_clusters_per_arm=2, attrition=0.15)
    before, after = (math.sqrt(2.0 * (0.05 + 0.95 / m) / k) for k, m in ((15, 30.0), (13, 25.5)))
    assert same(found["power_planned"], t_power(0.35, before, 28.0))
    assert same(found["power_after_attrition"], t_power(0.35, after, 24.0))


def test_arms_of_clusters_that_share_control() -> None:
    found = answer("crt-shared-control", arms_treated=2, k_treat=10, k_control=14, m=25, icc=0.04, d=0.4)
    sd = math.sqrt(0.04 + 0.96 / 25.0)
    se, df = sd * math.sqrt(1.0 / 10.0 + 1.0 / 14.0), 34 - 3
    assert found["df"] == df
    assert same(found["power_each"], t_power(0.4, se, df, alpha=0.025))
    rng = np.random.default_rng(71)
    draws = 400_000
    means = sd * rng.normal(size=(3, draws)) / np.sqrt([[14.0], [10.0], [10.0]]) + np.array([[0.0], [0.4], [0.4]])
    error = se * np.sqrt(rng.chisquare(df, size=draws) / df)
    hits = np.abs(means[1:] - means[0]) > student.isf(0.0125, df) * error
    for key, seen in (("power_any", hits.any(0).mean()), ("power_both", hits.all(0).mean())):
        # False alarms once in a million.
        assert found[key] == pytest.approx(seen, abs=4.9 * math.sqrt(0.25 / draws))


def test_clusters_that_show_risks_to_be_no_worse() -> None:
    found = answer("crt-ni-props", p1=0.8, p2=0.78, margin=0.08, m=30, icc=0.02, alpha=0.025, power=0.9, add_clusters=1)
    z = norm.isf(0.025) + norm.ppf(0.9)
    single = z**2 * (0.8 * 0.2 + 0.78 * 0.22) / (0.8 - 0.78 + 0.08) ** 2
    deff = 1.0 + 29.0 * 0.02
    assert found["n_individual_per_arm"] == pytest.approx(single)
    assert found["deff"] == pytest.approx(deff)
    assert found["clusters"] == math.ceil(single * deff / 30.0) + 1


def test_hayes_and_bennetts_pairs() -> None:
    found = answer("hayes-bennett-rate", l0=0.02, l1=0.012, y=300, k=0.3, km=0.2, power=0.9, tails_counted="upper")
    z2 = (norm.isf(0.025) + norm.ppf(0.9)) ** 2
    for key, constant, k in (("clusters", 1.0, 0.3), ("clusters_matched", 2.0, 0.2)):
        variance = (0.02 + 0.012) / 300.0 + k**2 * (0.02**2 + 0.012**2)
        assert found[key] == pytest.approx(constant + z2 * variance / 0.008**2, rel=1e-9)


@pytest.mark.parametrize("omega", [0.1, 0.8])
def test_sites_with_effects_that_differ(omega: float) -> None:
    given = {"rho2": 0.2, "omega2": omega, "r21": 0.4, "r2t2": 0.3, "g2": 2, "p": 0.3, "power": 0.9, "es": 0.25}
    found = answer("bira2r1", n=40, J=18, **given)
    variance = 0.2 * omega * 0.7 / 18 + 0.8 * 0.6 / (0.21 * 40 * 18)
    assert found["df"] == 15.0
    assert same(found["power"], t_power(0.25, math.sqrt(variance), 15.0))


def test_overall_tests_of_arms_that_do_not_differ_have_their_size() -> None:
    assert answer("trap", narms=4, nclusters=8, nsubjects=15, vara=0, varc=0.2, vare=0.8)["correct_power"] == 0.05
