"""Translates cases about power and size: which plan a case describes, and which public function it asks."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import gbveval as gbv
from tests.reference import (
    power_allocation,
    power_cluster_plans,
    power_clusters,
    power_field,
    power_longitudinal,
    power_overall,
    power_risks,
    power_sequential,
)
from tests.reference.compare import Unsupported
from tests.reference.power_requests import CENTRAL_QUANTILES, side, size

Case = dict[str, Any]
Plan = Any


def ttest2_power(_: Path, case: Case) -> dict[str, Any]:
    given = case["inputs"]
    plan = gbv.ParallelDesign(n_per_arm=given["n"], outcome=gbv.Continuous())
    found = gbv.power(plan, effect=given["d"], **side(given, given["d"]))
    return {"power": found, "power_both_tails": found}


def ttest2_unequal(_: Path, case: Case) -> dict[str, Any]:
    given = case["inputs"]
    plan = gbv.ParallelDesign(n_per_arm=given["n1"], outcome=gbv.Continuous(), ratio=given["n2"] / given["n1"])
    return {"power": gbv.power(plan, effect=given["d"], **side(given, given["d"]))}


def ttest2_n(_: Path, case: Case) -> dict[str, Any]:
    given = case["inputs"]
    plan = gbv.ParallelDesign(n_per_arm=10, outcome=gbv.Continuous())
    needed = size(plan, given["d"], given, given["power"])
    return {"n": needed.exact, "n_ceiling": needed.rounded}


def ttest2_mde(_: Path, case: Case) -> dict[str, Any]:
    given = case["inputs"]
    plan = gbv.ParallelDesign(n_per_arm=given["n"], outcome=gbv.Continuous())
    return {"mde": gbv.mde(plan, power=given["power"], **side(given, 1.0))}


def within(given: Case, n: int) -> Plan:
    """Return the plan of one group, or of pairs whose differences have standard deviation one."""
    if given["type"] == "paired":
        return gbv.PairedDesign(n_pairs=n, outcome=gbv.Continuous(), correlation=0.5)
    return gbv.OneSampleDesign(n=n, outcome=gbv.Continuous())


def ttest1_power(_: Path, case: Case) -> dict[str, Any]:
    given = case["inputs"]
    return {"power": gbv.power(within(given, given["n"]), effect=given["d"], **side(given, given["d"]))}


def ttest1_n(_: Path, case: Case) -> dict[str, Any]:
    given = case["inputs"]
    return {"n": size(within(given, 10), given["d"], given, given["power"]).exact}


def normal_means(_: Path, case: Case) -> dict[str, Any]:
    given = case["inputs"]
    outcome = gbv.Continuous(sd=given["sd"])
    equal = gbv.ParallelDesign(n_per_arm=10, outcome=outcome, analysis="normal")
    unequal = gbv.ParallelDesign(n_per_arm=10, outcome=outcome, analysis="normal", ratio=given["ratio"])
    control = size(unequal, given["delta"], given, given["power"]).exact
    return {
        "n_per_arm": size(equal, given["delta"], given, given["power"]).exact,
        "n_unequal_control": control,
        "n_unequal_treated": control * given["ratio"],
    }


def means_total(_: Path, case: Case) -> dict[str, Any]:
    given = case["inputs"]
    plan = gbv.ParallelDesign(n_per_arm=10, outcome=gbv.Continuous(sd=given["sd"]), ratio=given["ratio"])
    return {"n_total": size(plan, given["delta"], given, given["power"]).exact * (1.0 + given["ratio"])}


def multi_arm_bonferroni(_: Path, case: Case) -> dict[str, Any]:
    given = case["inputs"]
    control = given["n_control"]
    options: dict[str, Any] = {
        "n_treated_arms": given["k"],
        "outcome": gbv.Continuous(),
        "adjustment": "bonferroni",
    }
    plan = gbv.MultiArmDesign(n_per_arm=control, ratio=given["n_arm"] / control, **options)
    equal = gbv.MultiArmDesign(n_per_arm=control, **options)
    return {
        "power_marginal": gbv.power(plan, effect=given["d"], **side(given, given["d"])),
        "n_equal_arms_80": size(equal, given["d"], given, given["target_power"]).exact,
    }


def dunnett_critical(_: Path, case: Case) -> dict[str, Any]:
    given = case["inputs"]
    arms = given["k"] + 1
    if given["rho"] != 0.5 or given["tails"] != 2 or (given["df"] + arms) % arms:
        raise Unsupported("a critical value is that of a design, with whole arms")
    plan = gbv.MultiArmDesign(
        n_per_arm=(given["df"] + arms) // arms if given["df"] else 10,
        n_treated_arms=given["k"],
        outcome=gbv.Continuous(),
        reference="t" if given["df"] else "normal",
    )
    return {"critical": plan.critical_value(given["alpha"])}


def dunnett_power(_: Path, case: Case) -> dict[str, Any]:
    given = case["inputs"]
    if given["df"] or given["tails"] != 2:
        raise Unsupported("only known variances are translated")
    first = given["d"][0]

    def plan(power_of: str, effects: list[float]) -> Plan:
        return gbv.MultiArmDesign(
            n_per_arm=given["n0"],
            n_treated_arms=given["k"],
            outcome=gbv.Continuous(sd=given["sd"]),
            ratio=given["n"] / given["n0"],
            power_of=power_of,
            pattern=tuple(effect / first for effect in effects),
            reference="normal",
        )

    def found(power_of: str, effects: list[float]) -> float:
        return gbv.power(plan(power_of, effects), effect=first, alpha=given["alpha"])

    return {
        "critical": plan("any", given["d"]).critical_value(given["alpha"]),
        "disjunctive": found("any", given["d"]),
        "conjunctive": found("all", given["d"]),
        "marginal": [found("each", [effect, *given["d"][1:]]) for effect in given["d"]],
    }


def factorial(_: Path, case: Case) -> dict[str, Any]:
    given = case["inputs"]
    answer = {}
    for target_, effect in (("main", given["d_main"]), ("interaction", given["d_int"])):
        plan = gbv.FactorialDesign(given["n_cell"], gbv.Continuous(sd=given["sd"]), target_)
        answer[f"se_{target_}"] = plan.planned_test(effect).std_error
        answer[f"power_{target_}"] = gbv.power(plan, effect=effect, **side(given, effect))
    return answer


def ancova_individual(_: Path, case: Case) -> dict[str, Any]:
    given = case["inputs"]
    control = round(given["n"] * (1.0 - given["p"]))
    plan = gbv.ParallelDesign(
        n_per_arm=control,
        outcome=gbv.Continuous(),
        ratio=given["p"] / (1.0 - given["p"]),
        r_squared=given["r21"],
        n_covariates=given["g1"],
    )
    test = plan.planned_test(given["es"])
    return {
        "mdes": gbv.mde(plan, power=given["power"], **side(given, 1.0)),
        "power": gbv.power(plan, effect=given["es"], **side(given, given["es"])),
        "se": test.std_error,
        "df": test.df,
        "_off": {"mdes": (CENTRAL_QUANTILES / test.df, 0.0)},
    }


def ancova_repeated(_: Path, case: Case) -> dict[str, Any]:
    given = case["inputs"]
    plans = {
        name: gbv.RepeatedMeasuresDesign(
            n_per_arm=given["n"],
            outcome=gbv.Continuous(sd=given["sd"]),
            correlation=given["rho"],
            n_before=given["m"],
            n_after=given["r"],
            analysis=analysis,
            reference="normal",
        )
        for name, analysis in (("post", "after"), ("did", "change"), ("ancova", "ancova"))
    }
    answer = {f"var_{name}": plan.planned_test(0.0).std_error ** 2 for name, plan in plans.items()}
    for name in ("ancova", "did"):
        answer[f"mde_{name}"] = gbv.mde(plans[name], power=given["power"], **side(given, 1.0))
    return answer


def equivalence_of_means(_: Path, case: Case) -> dict[str, Any]:
    given = case["inputs"]
    inner = gbv.ParallelDesign(n_per_arm=given["n_total"] // 2, outcome=gbv.Continuous(sd=given["sd"]))
    plan = gbv.EquivalenceDesign(inner, margin_low=-given["margin"], margin_high=given["margin"])
    found = gbv.power(plan, effect=given["theta0"], alpha=given["alpha"])
    needed = gbv.required_size(plan, effect=given["theta0"], power=given["target_power"], alpha=given["alpha"])
    return {"power": found, "power_nct": found, "n_total_80": 2 * needed.rounded}


def noninferiority_of_means(_: Path, case: Case) -> dict[str, Any]:
    given = case["inputs"]
    inner = gbv.ParallelDesign(n_per_arm=given["n_total"] // 2, outcome=gbv.Continuous(sd=given["sd"]))
    plan = gbv.NonInferiorityDesign(inner, margin=-given["margin"], higher_is_worse=False)
    return {"power": gbv.power(plan, effect=given["theta0"], alpha=given["alpha"])}


TASKS: dict[str, Callable[[Path, Case], dict[str, Any]]] = {
    "ttest2-power": ttest2_power,
    "ttest2-unequal": ttest2_unequal,
    "ttest2-n": ttest2_n,
    "ttest2-mde": ttest2_mde,
    "ttest1-power": ttest1_power,
    "ttest1-n": ttest1_n,
    "ttest-normalapprox": normal_means,
    "means-rpact-t": means_total,
    "multiarm-bonferroni": multi_arm_bonferroni,
    "dunnett-critical": dunnett_critical,
    "dunnett-power": dunnett_power,
    "factorial-2x2": factorial,
    "ancova-individual": ancova_individual,
    "ancova-repeated": ancova_repeated,
    "tost-parallel": equivalence_of_means,
    "ni-means": noninferiority_of_means,
    **power_risks.TASKS,
    **power_clusters.TASKS,
    **power_overall.TASKS,
    **power_cluster_plans.TASKS,
    **power_longitudinal.TASKS,
    **power_allocation.TASKS,
    **power_field.TASKS,
    **power_sequential.TASKS,
}
