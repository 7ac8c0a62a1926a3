"""Translates cases about this field's plans: disclosure, lists, randomised response, take-up, priors."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gbveval as gbv
from tests.reference.power_requests import side, size

Case = dict[str, Any]


def _told(given: Case) -> tuple[Any, Any, float]:
    """Return the plan, what is told of it, and the true effect."""
    plan = gbv.ParallelDesign(n_per_arm=100, outcome=gbv.Binary(given["p_control"]), analysis="pooled")
    control, treated = (
        gbv.Disclosure(sensitivity=given[f"se_{arm}"], specificity=given[f"sp_{arm}"]) for arm in ("control", "treated")
    )
    return plan, gbv.DisclosureDesign(plan, control, treated), given["p_treated"] - given["p_control"]


def misclassification(_: Path, case: Case) -> dict[str, Any]:
    given = case["inputs"]
    plan, told, effect = _told(given)
    seen = told.observed(effect)
    full, needed = (size(each, effect, given, given["power"]).exact for each in (plan, told))
    return {
        "q_control": seen.control,
        "q_treated": seen.treated,
        "true_rd": seen.true_effect,
        "observed_rd": seen.effect,
        "attenuation": seen.attenuation,
        "n_true_per_arm": full,
        "n_observed_per_arm": needed,
        "inflation": needed / full,
    }


def misclassification_sign(_: Path, case: Case) -> dict[str, Any]:
    given = case["inputs"]
    _, told, effect = _told(given)
    seen = told.observed(effect).effect
    # The second result is the observed difference; the family's line does not say under which name.
    names = {name for name in case["results"] if name != "se_treated_zero"}
    return {"se_treated_zero": told.hiding_sensitivity(effect), **dict.fromkeys(names, seen)}


def noncompliance(_: Path, case: Case) -> dict[str, Any]:
    given = case["inputs"]
    effect, target = given["effect_on_treated"], given["power"]
    plan = gbv.ParallelDesign(n_per_arm=100, outcome=gbv.Continuous(sd=given["sd"]), analysis="normal")
    shares = {"take_up_treated": given["takeup_treated"], "take_up_control": given["takeup_control"]}
    recruited = gbv.AttritionDesign(plan, respondents_lost=given["attrition"]) if given["attrition"] else plan
    full, itt, recruit = (
        size(each, effect, given, target).exact
        for each in (
            plan,
            gbv.NoncomplianceDesign(plan, **shares),
            gbv.NoncomplianceDesign(recruited, **shares),
        )
    )
    return {
        "n_full_compliance": full,
        "n_itt": itt,
        "n_recruit_per_arm": recruit,
        "inflation": recruit / full,
    }


def list_experiment(_: Path, case: Case) -> dict[str, Any]:
    given = case["inputs"]
    items = gbv.ItemCount(tuple(given["control_item_probs"]))
    plan = gbv.ListExperimentDesign(given["n"], items, long_share=given["treated_fraction"])
    pi, asked = given["prevalence"], side(given, 1.0)
    one = gbv.Binary(pi)
    direct = gbv.OneSampleDesign(given["n"], one).planned_test(0.0).unit
    error = plan.planned_test(pi).unit
    return {
        "var_control": items.variance,
        "var_treated": items.variance + one.variance(pi),
        "se": error,
        "power": gbv.power(plan, effect=pi, **asked),
        "mde_prevalence": gbv.mde(plan, power=given["power"], **asked),
        "se_direct": direct,
        "n_list_equals_direct_ratio": (error / direct) ** 2,
    }


def list_in_a_trial(_: Path, case: Case) -> dict[str, Any]:
    given = case["inputs"]
    items = gbv.ItemCount(tuple(given["control_item_probs"]))
    plan = gbv.ListTrialDesign(given["n"] // 2, gbv.Binary(given["p_control"]), items)
    effect = given["p_treated"] - given["p_control"]
    return {"se": plan.planned_test(effect).unit, "power": gbv.power(plan, effect=effect, **side(given, effect))}


def list_in_clusters(_: Path, case: Case) -> dict[str, Any]:
    given = case["inputs"]
    plan = gbv.ListClusterDesign(
        given["k"],
        given["m"],
        gbv.Binary(given["p_control"]),
        gbv.ItemCount(tuple(given["control_item_probs"])),
        between_sd=given["cluster_sd"],
        long_share=given["treated_fraction"],
        reference="normal",
    )
    effect = given["p_treated"] - given["p_control"]
    return {"se": plan.planned_test(effect).unit, "power": gbv.power(plan, effect=effect, **side(given, effect))}


def randomised_response(_: Path, case: Case) -> dict[str, Any]:
    given = case["inputs"]
    plan = gbv.RandomisedResponseDesign(given["n"], truth_probability=given["p"])
    pi = given["prevalence"]
    return {"lam": plan.yes_share(pi), "var": plan.planned_test(pi).unit ** 2}


def assurance_of_means(_: Path, case: Case) -> dict[str, Any]:
    given = case["inputs"]
    plan = gbv.ParallelDesign(given["n_per_arm"], gbv.Continuous(sd=given["sd"]), analysis="normal")
    known = gbv.Normal(given["prior_mean"], given["prior_sd"])
    # The upper tail of the two-sided test is the one-sided test of half its size.
    upper = {"alpha": given["alpha"] / 2.0, "alternative": "greater"}
    found = gbv.assurance(plan, effect=known, **upper)
    return {
        "assurance_upper": found.value,
        "assurance_both": gbv.assurance(plan, effect=known, alpha=given["alpha"]).value,
        "power_at_mean": gbv.power(plan, effect=known.mean, **upper),
        "limit_n_inf": found.ceiling,
    }


def assurance_over_icc(_: Path, case: Case) -> dict[str, Any]:
    given = case["inputs"]
    icc, asked = gbv.Beta(given["a"], given["b"]), side(given, given["d"])

    def plan(value: float) -> Any:
        return gbv.ClusterDesign(given["k_per_arm"], given["m"], gbv.ICC(value, scale="observed"), gbv.Continuous())

    mean = given["a"] / (given["a"] + given["b"])
    return {
        "expected_power": gbv.assurance(plan(mean), effect=given["d"], priors={"icc": icc}, **asked).value,
        "power_at_mean_icc": gbv.power(plan(mean), effect=given["d"], **asked),
        "power_at_q90_icc": gbv.power(plan(float(icc.quantile(0.9))), effect=given["d"], **asked),
    }


def assurance_over_sites(_: Path, case: Case) -> dict[str, Any]:
    given = case["inputs"]
    median = given["log_var_median"]
    sites = gbv.Level("sites", given["J"], icc=gbv.ICC(0.0, scale="observed"), effect_sd=math.sqrt(median))
    plan = gbv.MultilevelDesign(
        (gbv.Level("people", given["n"]), sites), gbv.Continuous(sd=given.get("sd", 1.0)), randomised="people"
    )
    # The standard deviation is the root of a log-normal variance, so it is log-normal with half its spread.
    spread = gbv.LogNormal(math.log(median) / 2.0, given["log_var_sd"] / 2.0)
    effect = gbv.Normal(given["prior_mean"], given["prior_sd"])
    asked = side(given, given["prior_mean"])
    found = gbv.assurance(plan, effect=effect, priors={"sites.effect_sd": spread}, **asked)
    return {"assurance": found.value, "power_at_prior_medians": found.power_at_medians}


TASKS: dict[str, Callable[[Path, Case], dict[str, Any]]] = {
    "misclassification": misclassification,
    "misclassification-sign": misclassification_sign,
    "noncompliance-attrition": noncompliance,
    "list-experiment": list_experiment,
    "list-experiment-rct": list_in_a_trial,
    "crt-list-experiment": list_in_clusters,
    "randomised-response-warner": randomised_response,
    "assurance-normal": assurance_of_means,
    "assurance-icc": assurance_over_icc,
    "assurance-multisite": assurance_over_sites,
}
