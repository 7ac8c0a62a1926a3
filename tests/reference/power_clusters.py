"""Translates cases about power of cluster trials, design effects and precision."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gbveval as gbv
from tests.reference.power_requests import CENTRAL_QUANTILES, side, size

Case = dict[str, Any]
Plan = Any


def clusters(given: Case, total: int, size_: int, icc: float) -> Plan:
    return gbv.ClusterDesign(
        clusters_per_arm=total // 2,
        cluster_size=size_,
        icc=gbv.ICC(icc, scale="observed"),
        outcome=gbv.Continuous(),
    )


def cluster_means(_: Path, case: Case) -> dict[str, Any]:
    given = case["inputs"]
    ratio = given["p"] / (1.0 - given["p"])
    plan = gbv.ClusterDesign(
        clusters_per_arm=round(given["J"] * (1.0 - given["p"])),
        cluster_size=given["n"],
        icc=gbv.ICC(given["rho2"], scale="observed"),
        outcome=gbv.Continuous(),
        ratio=ratio,
        r_squared_clusters=given["r22"],
        r_squared_people=given["r21"],
        n_cluster_covariates=given["g2"],
        # The reference pools the variance over arms, however unequal they are.
        analysis="cluster_means",
    )
    needed = size(plan, given["es"], given, given["target_power"])
    return {
        "mdes": gbv.mde(plan, power=given["power"], **side(given, 1.0)),
        "power": gbv.power(plan, effect=given["es"], **side(given, given["es"])),
        "J_80": (1.0 + ratio) * needed.exact,
        "_off": {"mdes": (CENTRAL_QUANTILES / plan.planned_test(0.0).df, 0.0)},
    }


def cluster_webpower(_: Path, case: Case) -> dict[str, Any]:
    given = case["inputs"]
    plan = clusters(given, given["J"], given["n"], given["icc"])
    return {"power": gbv.power(plan, effect=given["f"], **side(given, given["f"]))}


def unequal_clusters(_: Path, case: Case) -> dict[str, Any]:
    given = case["inputs"]
    icc = gbv.ICC(given["icc"], scale="observed")

    def plan(analysis: str) -> Plan:
        return gbv.ClusterDesign(
            clusters_per_arm=given["k"],
            cluster_size=given["m"],
            icc=icc,
            outcome=gbv.Continuous(sd=given["sd"]),
            size_cv=float(given["cv"]),
            analysis=analysis,
        )

    asked = side(given, given["d"])
    # The variance of a difference of two arms, over that of k m single respondents an arm.
    single = 2.0 * given["sd"] ** 2 / (given["k"] * given["m"])
    return {
        "power_taylor": gbv.power(plan("gls"), effect=given["d"], **asked),
        "power_weighted": gbv.power(plan("participants_cr2"), effect=given["d"], **asked),
        "deff_eldridge": gbv.design_effect(icc, mean_size=given["m"], cv=given["cv"]),
        "deff_taylor": plan("gls").planned_test(0.0).std_error ** 2 / single,
    }


def efficiency(_: Path, case: Case) -> dict[str, Any]:
    given = case["inputs"]
    icc = gbv.ICC(given["icc"], scale="observed")
    people, clusters_ = sum(given["sizes"]), len(given["sizes"])
    mean_size = people / clusters_
    exact = gbv.design_effect(icc, cluster_sizes=given["sizes"], analysis="gls")
    equal = gbv.design_effect(icc, mean_size=mean_size)
    eldridge = gbv.design_effect(icc, cluster_sizes=given["sizes"])
    # The design effect is 1 + ((1 + cv^2) m - 1) icc.
    cv = (((eldridge - 1.0) / given["icc"] + 1.0) / mean_size - 1.0) ** 0.5
    return {
        "RE_exact": equal / exact,
        "RE_taylor": equal / gbv.design_effect(icc, mean_size=mean_size, cv=cv, analysis="gls"),
        "cv_population_sd": cv,
        "variance_inflation_exact": exact / equal,
        "deff_eldridge": eldridge,
        "var_arm_mean_gls": exact / people,
    }


def no_difference(given: Case) -> dict[str, Any]:
    """Return the power of the overall test of arms that do not differ: its size."""
    total = given["varc"] + given["vare"]
    plan = gbv.MultiArmClusterDesign(
        clusters_per_arm=given["nclusters"],
        n_treated_arms=given["narms"] - 1,
        cluster_size=given["nsubjects"],
        icc=gbv.ICC(given["varc"] / total, scale="observed"),
        outcome=gbv.Continuous(sd=math.sqrt(total)),
        power_of="overall",
    )
    return {"correct_power": gbv.power(plan, effect=given["vara"], alpha=given["alpha"])}


def trap(_: Path, case: Case) -> dict[str, Any]:
    given = case["inputs"]
    if "narms" in given:
        return no_difference(given)
    icc = gbv.ICC(given["icc"], scale="observed")
    equal = gbv.design_effect(icc, mean_size=sum(given["nsubjects"]) / len(given["nsubjects"]))
    exact = gbv.design_effect(icc, cluster_sizes=given["nsubjects"], analysis="gls")
    return {"deff_equal": equal, "relative_efficiency": equal / exact, "correct_inflation": exact}


def icc_scales(_: Path, case: Case) -> dict[str, Any]:
    given = case["inputs"]
    latent = gbv.ICC(case["results"]["icc_latent"], scale="latent_logistic")
    observed = gbv.icc_convert(latent, to="observed", risk=given["prevalence"])
    return {
        "icc_latent": gbv.icc_convert(observed, to="latent_logistic", risk=given["prevalence"]).value,
        "icc_proportion": observed.value,
        "k_between_cv": gbv.icc_convert(latent, to="between_cv", risk=given["prevalence"]),
    }


def precision_of_risk(_: Path, case: Case) -> dict[str, Any]:
    given = case["inputs"]
    common: dict[str, Any] = {
        "level": given["conf"],
        "design_effect": given["deff"],
        "population": given["N"],
        "response": given["response"],
    }
    width = gbv.required_sample(gbv.Binary(given["P"]), half_width=given["me"], **common)
    relative = gbv.required_sample(gbv.Binary(given["P"]), cv=given["cve"], **common)
    return {
        "n0": width.simple,
        "n_fpc": width.exact,
        "n_ss4p_me": width.rounded,
        "n_ss4p_cve": relative.rounded,
        "n_invited": width.invited,
    }


def precision_of_mean(_: Path, case: Case) -> dict[str, Any]:
    given = case["inputs"]
    needed = gbv.required_sample(
        gbv.Continuous(sd=given["sigma"], mean=given["mu"]),
        half_width=given["me"],
        level=given["conf"],
        design_effect=given["deff"],
        population=given["N"],
    )
    return {"n_ss4m_me": needed.rounded}


def widths(_: Path, case: Case) -> dict[str, Any]:
    given = case["inputs"]

    def width(method: str) -> Any:
        return gbv.interval_width(given["n"], given["p"], method=method, level=1.0 - given["alpha"])

    return {
        "wilson_at_p": width("wilson").at_risk,
        "wilson_expected": width("wilson").expected,
        "cp_expected": width("clopper_pearson").expected,
        "wald_at_p": width("wald").at_risk,
    }


def kish(_: Path, case: Case) -> dict[str, Any]:
    given = case["inputs"]
    of_clusters = gbv.design_effect(gbv.ICC(given["icc"], scale="observed"), mean_size=given["m"])
    of_weights = gbv.weighting_design_effect(given["w"])
    return {"deff_cluster": of_clusters, "deff_weights": of_weights, "deff_total": of_clusters * of_weights}


TASKS: dict[str, Callable[[Path, Case], dict[str, Any]]] = {
    "crt-means": cluster_means,
    "crt-webpower": cluster_webpower,
    "crt-means-cpa": unequal_clusters,
    "icc-scales": icc_scales,
    "relative-efficiency": efficiency,
    "trap": trap,
    "precision-prop": precision_of_risk,
    "precision-mean": precision_of_mean,
    "precision-ci-width": widths,
    "precision-kish": kish,
}
