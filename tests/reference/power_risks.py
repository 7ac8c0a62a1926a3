"""Translates cases about power and size for risks and counts."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import gbveval as gbv
from tests.reference.compare import Unsupported
from tests.reference.power_requests import side, size

Case = dict[str, Any]
Plan = Any


def risks(control: float, n: int = 10, analysis: str = "pooled", ratio: float = 1.0) -> Plan:
    return gbv.ParallelDesign(n_per_arm=n, outcome=gbv.Binary(control), analysis=analysis, ratio=ratio)


def prop2_normal(_: Path, case: Case) -> dict[str, Any]:
    given = case["inputs"]
    effect = given["p2"] - given["p1"]
    plan, upper = risks(given["p1"], given["n"]), {**given, "tails_counted": "upper"}
    return {
        "power": gbv.power(plan, effect=effect, **side(upper, effect)),
        "power_strict": gbv.power(plan, effect=effect, **side(given, effect)),
        "n80": size(plan, effect, upper, 0.8).exact,
        "n90": size(plan, effect, upper, 0.9).exact,
    }


def prop2_arcsine(_: Path, case: Case) -> dict[str, Any]:
    given = case["inputs"]
    effect = given["p1"] - given["p2"]
    plan = risks(given["p2"], given["n"], "arcsine")
    double = risks(given["p2"], given["n"], "arcsine", float(given["n2_multiple"]))
    return {
        "h": plan.planned_test(effect).shift,
        "power": gbv.power(plan, effect=effect, **side(given, effect)),
        "n80": size(plan, effect, given, given["target_power"]).exact,
        "power_n2double": gbv.power(double, effect=effect, **side(given, effect)),
    }


def prop2_corrected(_: Path, case: Case) -> dict[str, Any]:
    given = case["inputs"]
    effect = given["p1"] - given["p2"]
    answers = {"n_uncorrected": "pooled", "n_cc": "corrected"}
    return {
        key: size(risks(given["p2"], analysis=name), effect, given, given["power"]).exact
        for key, name in answers.items()
    }


def prop2_fisher(_: Path, case: Case) -> dict[str, Any]:
    given = case["inputs"]
    plan = risks(given["p1"], given["n1"], "fisher", given["n2"] / given["n1"])
    effect = given["p2"] - given["p1"]
    return {"power": gbv.power(plan, effect=effect, **side(given, effect))}


def prop2_total(_: Path, case: Case) -> dict[str, Any]:
    given = case["inputs"]
    plan = risks(given["p2"], ratio=float(given["ratio"]))
    return {"n_total": 2.0 * size(plan, given["p1"] - given["p2"], given, given["power"]).exact}


def farrington_manning(folder: Path, case: Case) -> dict[str, Any]:
    given = case["inputs"]
    if given["delta0"] == 0:
        return prop2_total(folder, case)
    plan = gbv.NonInferiorityDesign(risks(given["p2"]), margin=given["delta0"], higher_is_worse=False)
    needed = gbv.required_size(plan, effect=given["p1"] - given["p2"], power=given["power"], alpha=given["alpha"])
    return {"n_total": 2.0 * needed.exact}


def sm_prop2(_: Path, case: Case) -> dict[str, Any]:
    given = case["inputs"]
    # The first group has size nobs1 and risk prop2 + diff; gbveval's ratio is treated over control.
    control = round(given["nobs1"] * given["ratio"])
    plan = risks(given["prop2"], control, "pooled", given["nobs1"] / control)
    return {"power": gbv.power(plan, effect=given["diff"], **side(given, given["diff"]))}


def prop1_exact(_: Path, case: Case) -> dict[str, Any]:
    given = case["inputs"]
    plan = gbv.OneSampleDesign(n=given["n"], outcome=gbv.Binary(given["p0"]))
    effect = given["p1"] - given["p0"]
    asked = side(given, effect)
    return {"power": gbv.power(plan, effect=effect, **asked), "size": gbv.power(plan, effect=0.0, **asked)}


def prop1_arcsine(_: Path, case: Case) -> dict[str, Any]:
    given = case["inputs"]
    plan = gbv.OneSampleDesign(n=given["n"], outcome=gbv.Binary(given["p0"]), analysis="arcsine")
    effect = given["p1"] - given["p0"]
    return {"power": gbv.power(plan, effect=effect, **side(given, effect))}


def mcnemar(_: Path, case: Case) -> dict[str, Any]:
    given = case["inputs"]
    effect = given["pid"] * (given["psi"] - 1.0) / (given["psi"] + 1.0)
    plan = gbv.PairedDesign(n_pairs=10, outcome=gbv.Discordant(given["pid"]))
    return {"n": size(plan, effect, given, given["power"]).exact}


def noninferiority_of_risks(_: Path, case: Case) -> dict[str, Any]:
    given = case["inputs"]
    inner = risks(given["p2"], analysis="unpooled", ratio=float(given["ratio"]))
    plan = gbv.NonInferiorityDesign(inner, margin=-given["margin"], higher_is_worse=False)
    needed = gbv.required_size(plan, effect=given["p1"] - given["p2"], power=given["power"], alpha=given["alpha"])
    return {"n_control": needed.exact}


def equivalence_of_risks(_: Path, case: Case) -> dict[str, Any]:
    if case["inputs"]["p1"] != case["inputs"]["p2"]:
        raise Unsupported(
            "with risks that differ the reference takes both margins to be as near as the nearer one, which needs more "
            "respondents than the two tests do; gbveval gives the power of the two tests"
        )
    raise Unsupported("equal risks have not been translated")


def counts(given: Case, control: float, n: int = 10, analysis: str = "wald", dispersion: float = 0.0) -> Plan:
    outcome = gbv.Count(rate=control, dispersion=dispersion, exposure=float(given.get("t", given.get("exposure", 1))))
    return gbv.ParallelDesign(n_per_arm=n, outcome=outcome, analysis=analysis)


def count_size(_: Path, case: Case) -> dict[str, Any]:
    given = case["inputs"]
    plan = counts(given, given["l2"], dispersion=float(given.get("k", 0.0)))
    needed = size(plan, given["l1"] - given["l2"], given, given["power"])
    return {"n_total": 2 * needed.rounded, "n_per_arm_wald_h1": needed.exact}


def rate_ratio(_: Path, case: Case) -> dict[str, Any]:
    given = case["inputs"]
    effect = given["rate0"] * (given["rate_ratio"] - 1.0)
    names = {
        "power_alternative": "wald",
        "power_alt": "wald",
        "power_score": "null_variance",
        "power_ftotal": "null_variance",
    }
    return {
        key: gbv.power(
            counts(given, given["rate0"], given["n_per_arm"], analysis, float(given.get("dispersion", 0.0))),
            effect=effect,
            **side(given, effect),
        )
        for key, analysis in names.items()
    }


TASKS: dict[str, Callable[[Path, Case], dict[str, Any]]] = {
    "prop2-normal": prop2_normal,
    "prop2-arcsine": prop2_arcsine,
    "prop2-fleiss-cc": prop2_corrected,
    "prop2-fisher": prop2_fisher,
    "prop2-rpact": prop2_total,
    "prop2-farrington-manning": farrington_manning,
    "sm-prop2": sm_prop2,
    "prop1-exact": prop1_exact,
    "prop1-arcsine": prop1_arcsine,
    "mcnemar": mcnemar,
    "ni-props": noninferiority_of_risks,
    "equiv-props": equivalence_of_risks,
    "counts-nb": count_size,
    "counts-poisson": count_size,
    "sm-poisson-ratio": rate_ratio,
    "sm-negbin-ratio": rate_ratio,
}
