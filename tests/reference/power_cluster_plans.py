"""Translates cases about plans of clusters: rates, levels, sites, pairs, groups, losses, several arms."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import gbveval as gbv
from tests.reference.compare import Unsupported
from tests.reference.power_requests import CENTRAL_QUANTILES, side, size

Case = dict[str, Any]
Plan = Any
# Below this many clusters CRTSize leaves the normal for t quantiles.
CRTSIZE_TURNS = 30.0


def observed(value: float) -> gbv.ICC:
    return gbv.ICC(value, scale="observed")


def crtsize(plan: Plan, effect: float, given: Case) -> dict[str, Any]:
    """Return the normal size, which CRTSize has from 30 clusters on, or that of the noncentral t.

    Below 30 it adds central t quantiles with the df of the size before, and stops when the size changes by 1 or less.
    The size is (t_a + t_b)^2 / something, so it differs from ours by twice what the quantiles do, relatively. One
    cluster more before lowers it by about (z_a^3 + z_a + z_b^3 + z_b) / (4 n (z_a + z_b)) clusters, no more than 1 / n
    at the sizes and powers asked; so its last step is off by 1 / (n - 1) clusters at most.
    """
    if given.get("ratio", 1) != 1:
        raise Unsupported("only arms of one size are translated")
    normal = size(replace(plan, reference="normal"), effect, given, given["power"]).exact
    if normal >= CRTSIZE_TURNS:
        return {"clusters_unrounded": normal}
    n = size(plan, effect, given, given["power"]).exact
    stopped = 1.0 / (n - 1.0) / n
    return {
        "clusters_unrounded": n,
        "_off": {"clusters_unrounded": (2.0 * CENTRAL_QUANTILES / (2.0 * n - 2.0) + stopped, 0.0)},
    }


def crtsize_means(_: Path, case: Case) -> dict[str, Any]:
    given = case["inputs"]
    plan = gbv.ClusterDesign(10, given["m"], observed(given["icc"]), gbv.Continuous(sd=given["sigma"]))
    return crtsize(plan, given["delta"], given)


def crtsize_risks(_: Path, case: Case) -> dict[str, Any]:
    given = case["inputs"]
    plan = gbv.ClusterDesign(10, given["m"], observed(given["icc"]), gbv.Binary(given["pc"]))
    return crtsize(plan, given["pe"] - given["pc"], given)


def crtsize_rates(_: Path, case: Case) -> dict[str, Any]:
    given = case["inputs"]
    plan = gbv.ClusterDesign(10, given["m"], gbv.BetweenCV(given["cv"]), gbv.Count(given["lc"], exposure=given["t"]))
    return crtsize(plan, given["le"] - given["lc"], given)


def cluster_rates(_: Path, case: Case) -> dict[str, Any]:
    given = case["inputs"]
    plan = gbv.ClusterDesign(
        given["k"], given["m"], gbv.BetweenCV(given["cvb"]), gbv.Count(given["r1"]), reference="hayes_bennett"
    )
    effect = given["r2"] - given["r1"]
    return {"power": gbv.power(plan, effect=effect, **side(given, effect))}


def hayes_bennett(plan: Plan, effect: float, given: Case) -> float:
    return float(size(plan, effect, given, given["power"]).exact)


def hayes_bennett_rates(_: Path, case: Case) -> dict[str, Any]:
    given = case["inputs"]
    effect = given["l1"] - given["l0"]
    plan = gbv.ClusterDesign(
        10, given["y"], gbv.BetweenCV(given["k"]), gbv.Count(given["l0"]), reference="hayes_bennett"
    )
    pairs = gbv.PairedClusterDesign(
        10, given["y"], gbv.BetweenCV(given["km"]), gbv.Count(given["l0"]), reference="hayes_bennett"
    )
    return {
        "clusters": hayes_bennett(plan, effect, given),
        "clusters_matched": hayes_bennett(pairs, effect, given),
    }


def hayes_bennett_risks(_: Path, case: Case) -> dict[str, Any]:
    given = case["inputs"]
    effect = given["p1"] - given["p0"]
    plan = gbv.ClusterDesign(
        10, given["m"], gbv.BetweenCV(given["k"]), gbv.Binary(given["p0"]), reference="hayes_bennett"
    )
    pairs = gbv.PairedClusterDesign(
        10, given["m"], gbv.BetweenCV(given["km"]), gbv.Binary(given["p0"]), reference="hayes_bennett"
    )
    return {
        "clusters": hayes_bennett(plan, effect, given),
        "clusters_matched": hayes_bennett(pairs, effect, given),
    }


def hayes_bennett_means(_: Path, case: Case) -> dict[str, Any]:
    given = case["inputs"]
    # The paper has variances by arm, and only their sum counts: a continuous outcome has their mean in both.
    within = (given["s0"] ** 2 + given["s1"] ** 2) / 2.0
    between = given["k"] ** 2 * (given["m0"] ** 2 + given["m1"] ** 2) / 2.0
    plan = gbv.ClusterDesign(
        10,
        given["m"],
        observed(between / (between + within)),
        gbv.Continuous(sd=math.sqrt(between + within), mean=given["m0"]),
        reference="hayes_bennett",
    )
    return {"clusters": hayes_bennett(plan, given["m1"] - given["m0"], given)}


def cluster_risks(_: Path, case: Case) -> dict[str, Any]:
    given = case["inputs"]
    effect, asked = given["p2"] - given["p1"], side(given, given["p2"] - given["p1"])

    def plan(outcome: Any, **options: Any) -> Plan:
        return gbv.ClusterDesign(
            given["k"], given["m"], observed(given["icc"]), outcome, size_cv=float(given["cv"]), **options
        )

    own = gbv.Binary(given["p1"])
    # The reference's pooled power has the variance at the mean risk in both arms, as an outcome of that sd has.
    mean = (given["p1"] + given["p2"]) / 2.0
    pooled = gbv.Continuous(sd=math.sqrt(mean * (1.0 - mean)))
    return {
        "power_t": gbv.power(plan(own), effect=effect, **asked),
        "power_z": gbv.power(plan(own, reference="normal"), effect=effect, **asked),
        "power_pooled_t": gbv.power(plan(pooled), effect=effect, **asked),
    }


def site_effects(given: Case, at: int) -> dict[str, Any]:
    """Return what a level of sites is told: their share, and how much effects vary between them."""
    icc = given.get(f"rho{at}", 0.0)
    return {
        "icc": observed(icc),
        "effect_sd": math.sqrt(icc * given.get(f"omega{at}", 0.0)),
        "effect_r_squared": given.get(f"r2t{at}", 0.0),
    }


def nested(given: Case, letters: str, randomised: int, sites: str = "random") -> Plan:
    """Return the plan of a PowerUp family: sizes by level, the randomised level counted from 1."""
    levels = []
    for at, letter in enumerate(letters, start=1):
        options: dict[str, Any] = {}
        if at > randomised:
            options = site_effects(given, at)
        elif at > 1:
            options = {"icc": observed(given[f"rho{at}"])}
        if at <= randomised:
            options["r_squared"] = given.get(f"r2{at}", 0.0)
        levels.append(gbv.Level(f"level {at}", given[letter], **options))
    covariates = [given[f"g{at}"] for at in range(1, 5) if f"g{at}" in given]
    return gbv.MultilevelDesign(
        levels=tuple(levels),
        outcome=gbv.Continuous(),
        randomised=f"level {randomised}",
        sites=sites,
        treated_share=given["p"],
        n_covariates=covariates[0] if covariates else 0,
    )


def power_up(letters: str, randomised: int, sites: str = "random") -> Callable[[Path, Case], dict[str, Any]]:
    def answer(_: Path, case: Case) -> dict[str, Any]:
        given = case["inputs"]
        plan = nested(given, letters, randomised, sites)
        test = plan.planned_test(given.get("es", 0.0))
        found: dict[str, Any] = {
            "mdes": gbv.mde(plan, power=given["power"], **side(given, 1.0)),
            "df": test.df,
            "sse": test.std_error,
            "_off": {"mdes": (CENTRAL_QUANTILES / test.df, 0.0)},
        }
        if "es" in given:
            found["power"] = gbv.power(plan, effect=given["es"], **side(given, given["es"]))
        return found

    return answer


def multisite_webpower(_: Path, case: Case) -> dict[str, Any]:
    given = case["inputs"]
    residual = math.sqrt(given["sg2"])
    # Effects are in residual standard deviations; what varies between sites besides effects does not matter.
    sites = gbv.Level("sites", given["J"], icc=observed(0.0), effect_sd=math.sqrt(given["tau11"]))
    plan = gbv.MultilevelDesign(
        (gbv.Level("people", given["n"]), sites), gbv.Continuous(sd=residual), randomised="people"
    )
    effect = given["f"] * residual
    return {"power": gbv.power(plan, effect=effect, **side(given, effect))}


def moderator(_: Path, case: Case) -> dict[str, Any]:
    given = case["inputs"]
    plan = nested({**given, "g1": 0, "omega2": 0.0}, "nJ", 2)
    asked = gbv.ModeratorDesign(
        plan,
        level="level 1",
        share=given["q"],
        gap_sd=math.sqrt(given["rho2"] * given["omegam2"]),
        gap_r_squared=given["r2m2"],
        n_covariates=given["g1"],
    )
    return {
        "mdesd": gbv.mde(asked, power=given["power"], **side(given, 1.0)),
        "_off": {"mdesd": (CENTRAL_QUANTILES / asked.planned_test(0.0).df, 0.0)},
    }


def pairs_of_clusters(given: Case) -> Plan:
    return gbv.PairedClusterDesign(
        given["pairs"],
        given["m"],
        observed(given["icc"]),
        gbv.Continuous(),
        matching_correlation=given["matching_corr"],
    )


def matched_pairs(_: Path, case: Case) -> dict[str, Any]:
    given = case["inputs"]
    plan = pairs_of_clusters(given)
    test = plan.planned_test(given["d"])
    unmatched = gbv.ClusterDesign(given["pairs"], given["m"], observed(given["icc"]), gbv.Continuous())
    asked = side(given, given["d"])
    return {
        "se": test.std_error,
        "df": test.df,
        "power": gbv.power(plan, effect=given["d"], **asked),
        "power_unmatched": gbv.power(unmatched, effect=given["d"], **asked),
    }


def matched_pairs_lost(_: Path, case: Case) -> dict[str, Any]:
    given = case["inputs"]
    plan, asked = pairs_of_clusters(given), side(given, given["d"])
    after = gbv.AttritionDesign(plan, clusters_lost=given["pairs_lost"])
    return {
        "power_before": gbv.power(plan, effect=given["d"], **asked),
        "power_after": gbv.power(after, effect=given["d"], **asked),
    }


def lost_clusters(_: Path, case: Case) -> dict[str, Any]:
    given = case["inputs"]
    plan = gbv.ClusterDesign(given["k"], given["m"], observed(given["icc"]), gbv.Continuous(sd=given.get("sd", 1.0)))
    after = gbv.AttritionDesign(plan, clusters_lost=given["lost_clusters_per_arm"], respondents_lost=given["attrition"])
    asked = side(given, given["d"])
    return {
        "power_planned": gbv.power(plan, effect=given["d"], **asked),
        "power_after_attrition": gbv.power(after, effect=given["d"], **asked),
    }


def groups_with_known_variances(_: Path, case: Case) -> dict[str, Any]:
    given = case["inputs"]
    if given.get("test", "z") != "z":
        raise Unsupported("only the z test of the reference is translated")
    treated = given["varu"] + given["varei"]
    plan = gbv.PartiallyNestedDesign(
        n_groups=given["k"],
        group_size=given["m"],
        n_control=given["nc"],
        icc=observed(given["varu"] / treated),
        outcome=gbv.Continuous(sd=math.sqrt(given["varr"])),
        treated_sd=math.sqrt(treated),
        reference="normal",
    )
    return {
        "power": gbv.power(plan, effect=given["d"], **side(given, given["d"])),
        "var_d": plan.planned_test(given["d"]).std_error ** 2,
    }


def groups_of_treated(_: Path, case: Case) -> dict[str, Any]:
    given = case["inputs"]
    treated = round(given["n"] * given["p"])
    if given["ratio_tc_var"] != 1 or treated % given["ic"]:
        raise Unsupported("groups are whole, and the reference's ratio of variances is in its df only")
    # The reference's effects are in standard deviations of control, which are those of treated people within groups.
    plan = gbv.PartiallyNestedDesign(
        n_groups=treated // given["ic"],
        group_size=given["ic"],
        n_control=given["n"] - treated,
        icc=observed(given["rho"]),
        outcome=gbv.Continuous(),
        treated_sd=1.0 / math.sqrt(1.0 - given["rho"]),
        r_squared=given["r21"],
    )
    return {
        "mdes": gbv.mde(plan, power=given["power"], **side(given, 1.0)),
        "_off": {"mdes": (CENTRAL_QUANTILES / plan.planned_test(0.0).df, 0.0)},
    }


def shared_control(_: Path, case: Case) -> dict[str, Any]:
    given = case["inputs"]

    def plan(power_of: str) -> Plan:
        return gbv.MultiArmClusterDesign(
            clusters_per_arm=given["k_control"],
            n_treated_arms=given["arms_treated"],
            cluster_size=given["m"],
            icc=observed(given["icc"]),
            outcome=gbv.Continuous(),
            ratio=given["k_treat"] / given["k_control"],
            adjustment="bonferroni",
            power_of=power_of,
        )

    asked = side(given, given["d"])
    found = {word: gbv.power(plan(word), effect=given["d"], **asked) for word in ("each", "any", "all")}
    return {
        "power_each": found["each"],
        "power_any": found["any"],
        "power_both": found["all"],
        "df": plan("each").planned_test(given["d"]).df,
    }


def noninferior_risks(_: Path, case: Case) -> dict[str, Any]:
    """Return sizes that show the new arm (p1) not to be lower by more than the margin, as among single respondents."""
    given = case["inputs"]
    icc, effect = observed(given["icc"]), given["p1"] - given["p2"]
    options: dict[str, Any] = {"margin": -given["margin"], "higher_is_worse": False}
    asked = {"effect": effect, "alpha": given["alpha"], "power": given["power"]}
    single = gbv.NonInferiorityDesign(gbv.ParallelDesign(10, gbv.Binary(given["p2"])), **options)
    clusters = gbv.NonInferiorityDesign(
        gbv.ClusterDesign(10, given["m"], icc, gbv.Binary(given["p2"]), reference="normal"), **options
    )
    return {
        "n_individual_per_arm": gbv.required_size(single, **asked).exact,
        "deff": gbv.design_effect(icc, mean_size=given["m"]),
        "clusters": gbv.required_size(clusters, **asked).rounded + given["add_clusters"],
    }


TASKS: dict[str, Callable[[Path, Case], dict[str, Any]]] = {
    "crt-means-crtsize": crtsize_means,
    "crt-props-crtsize": crtsize_risks,
    "crt-rates-crtsize": crtsize_rates,
    "crt-count-cpa": cluster_rates,
    "crt-binary-cpa": cluster_risks,
    "hayes-bennett-rate": hayes_bennett_rates,
    "hayes-bennett-prop": hayes_bennett_risks,
    "hayes-bennett-mean": hayes_bennett_means,
    "bira2c1": power_up("nJ", 1, "constant"),
    "bira2f1": power_up("nJ", 1, "fixed"),
    "bira2r1": power_up("nJ", 1),
    "bira3r1": power_up("nJK", 1),
    "bcra3f2": power_up("nJK", 2, "fixed"),
    "bcra3r2": power_up("nJK", 2),
    "cra3r3": power_up("nJK", 3),
    "cra4r4": power_up("nJKL", 4),
    "mod-cra2": moderator,
    "mrt-webpower": multisite_webpower,
    "matched-pair-crt": matched_pairs,
    "matched-pair-crt-loss": matched_pairs_lost,
    "crt-attrition": lost_clusters,
    "irgt-cpa": groups_with_known_variances,
    "ira-pn": groups_of_treated,
    "crt-shared-control": shared_control,
    "crt-ni-props": noninferior_risks,
}
