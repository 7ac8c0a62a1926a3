"""Translates cases about tests of several differences at once, correlations, events, several outcomes and pilots."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gbveval as gbv
from tests.reference.power_requests import side, size

Case = dict[str, Any]


def several_means(_: Path, case: Case) -> dict[str, Any]:
    given = case["inputs"]
    # Power depends on the pattern through Cohen's f alone.
    plan = gbv.AnovaDesign(n_per_arm=given["n"], sd=1.0, pattern=tuple(float(arm) for arm in range(given["k"])))
    effect = given["f"] / plan.cohen_f(1.0)
    needed = gbv.required_size(plan, effect=effect, power=given["target_power"], alpha=given["alpha"])
    return {"power": gbv.power(plan, effect=effect, alpha=given["alpha"]), "n80": needed.exact}


def given_means(_: Path, case: Case) -> dict[str, Any]:
    given = case["inputs"]
    plan = gbv.AnovaDesign(n_per_arm=given["n"], sd=given["sd"], pattern=tuple(map(float, given["mu"])))
    return {"power_pct": 100.0 * gbv.power(plan, effect=1.0, alpha=given["alpha"]), "f": plan.cohen_f(1.0)}


def coefficients(_: Path, case: Case) -> dict[str, Any]:
    given = case["inputs"]
    plan = gbv.RegressionDesign(n=given["u"] + given["v"] + 1, n_tested=given["u"])
    return {"power": gbv.power(plan, effect=given["f2"], alpha=given["alpha"])}


def shares(_: Path, case: Case) -> dict[str, Any]:
    given = case["inputs"]
    plan = gbv.ChiSquareDesign(n=given["n"], df=given["n_bins"] - 1)
    return {"power": gbv.power(plan, effect=given["w"], alpha=given["alpha"])}


def correlation(_: Path, case: Case) -> dict[str, Any]:
    given = case["inputs"]
    return {"power": gbv.power(gbv.CorrelationDesign(n=given["n"]), effect=given["r"], **side(given, given["r"]))}


def events(_: Path, case: Case) -> dict[str, Any]:
    given = case["inputs"]
    ratio = float(given.get("ratio", 1.0))
    plan = gbv.EventsDesign(n_events=10, treated_share=ratio / (1.0 + ratio))
    found = size(plan, math.log(given["hr"]), given, given["power"]).exact
    return {"events_schoenfeld": found, "events_gsdesign": found}


def several_outcomes(_: Path, case: Case) -> dict[str, Any]:
    given = case["inputs"]
    single = gbv.ParallelDesign(n_per_arm=100, outcome=gbv.Continuous(), analysis="normal")
    # Means at which the upper tail alone has the powers given.
    effects = [
        gbv.mde(single, power=power, alpha=given["alpha"] / 2.0, alternative="greater")
        for power in given["unadjusted_marginal_powers"]
    ]

    def found(power_of: str, correction: str, first: int = 0) -> float:
        order = [effects[first], *effects[:first], *effects[first + 1 :]]
        plan = gbv.SeveralOutcomesDesign(
            single,
            pattern=tuple(effect / order[0] for effect in order),
            correlation=given["rho"],
            correction=correction,
            power_of=power_of,
        )
        return gbv.power(plan, effect=order[0], alpha=given["alpha"])

    return {
        "disjunctive_unadjusted": found("any", "none"),
        "conjunctive_unadjusted": found("all", "none"),
        "disjunctive_bonferroni": found("any", "bonferroni"),
        "conjunctive_bonferroni": found("all", "bonferroni"),
        "disjunctive_sidak": found("any", "sidak"),
        "marginal_bonferroni": [found("each", "bonferroni", place) for place in range(len(effects))],
    }


def pilot(_: Path, case: Case) -> dict[str, Any]:
    given = case["inputs"]
    return {"variance_inflation": gbv.pilot_inflation(given["df"], confidence=given["confidence"])}


TASKS: dict[str, Callable[[Path, Case], dict[str, Any]]] = {
    "anova1": several_means,
    "anova1-means": given_means,
    "regression-f2": coefficients,
    "chisq-gof": shares,
    "correlation": correlation,
    "survival-events": events,
    "multiplicity-bonferroni": several_outcomes,
    "pilot-inflation": pilot,
}
