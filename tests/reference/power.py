"""Translates cases about power and size: which plan a case describes, and which public function it asks."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import gbveval as gbv
from tests.reference.compare import Unsupported

Case = dict[str, Any]
Plan = Any
# The usual minimum detectable effect adds central t quantiles of size and of power. With c the one and z the other, the
# noncentral t that gbveval solves differs to first order by (z c^2 - c - z^3 - z) / (4 df), at most 0.6 / df of their
# sum for the sizes and powers that are planned with.
CENTRAL_QUANTILES = 0.6


def side(given: Case, effect: float) -> dict[str, Any]:
    """Return size and alternative as gbveval has them.

    Rejections counted in the tail of the effect alone are those of the one-sided test of half the size.
    """
    alpha = float(given["alpha"])
    towards = "greater" if effect > 0 else "less"
    alternative = given.get("alternative", "two.sided")
    if alternative == "two.sided" and given.get("tails_counted", "both") == "both":
        return {"alpha": alpha, "alternative": "two_sided"}
    if alternative == "two.sided":
        return {"alpha": alpha / 2.0, "alternative": towards}
    if alternative == "one.sided":
        return {"alpha": alpha, "alternative": towards}
    return {"alpha": alpha, "alternative": "greater" if alternative == "greater" else "less"}


def target(given: Case) -> float:
    return float(given.get("target_power", given.get("power", 0.8)))


def size(plan: Plan, effect: float, given: Case, power: float, **options: Any) -> Any:
    return gbv.required_size(plan, effect=effect, power=power, **{**side(given, effect), **options})


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


def clusters(given: Case, total: int, size_: int, icc: float) -> Plan:
    return gbv.ClusterDesign(
        clusters_per_arm=total // 2,
        cluster_size=size_,
        icc=gbv.ICC(icc, scale="observed"),
        outcome=gbv.Continuous(),
    )


def cluster_means(_: Path, case: Case) -> dict[str, Any]:
    given = case["inputs"]
    if given["p"] != 0.5 or given["g2"] or given["r21"] or given["r22"]:
        raise Unsupported("clusters in unequal arms, and covariates of clusters, are not planned for")
    plan = clusters(given, given["J"], given["n"], given["rho2"])
    needed = size(plan, given["es"], given, given["target_power"])
    return {
        "mdes": gbv.mde(plan, power=given["power"], **side(given, 1.0)),
        "power": gbv.power(plan, effect=given["es"], **side(given, given["es"])),
        "J_80": 2.0 * needed.exact,
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


def trap(_: Path, case: Case) -> dict[str, Any]:
    given = case["inputs"]
    if not isinstance(given.get("nsubjects"), list):
        raise Unsupported("several arms of clusters with one overall test are not planned for")
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
    "ttest2-power": ttest2_power,
    "ttest2-unequal": ttest2_unequal,
    "ttest2-n": ttest2_n,
    "ttest2-mde": ttest2_mde,
    "ttest1-power": ttest1_power,
    "ttest1-n": ttest1_n,
    "ttest-normalapprox": normal_means,
    "means-rpact-t": means_total,
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
    "multiarm-bonferroni": multi_arm_bonferroni,
    "dunnett-critical": dunnett_critical,
    "dunnett-power": dunnett_power,
    "factorial-2x2": factorial,
    "ancova-individual": ancova_individual,
    "ancova-repeated": ancova_repeated,
    "tost-parallel": equivalence_of_means,
    "ni-means": noninferiority_of_means,
    "ni-props": noninferiority_of_risks,
    "equiv-props": equivalence_of_risks,
    "counts-nb": count_size,
    "counts-poisson": count_size,
    "sm-poisson-ratio": rate_ratio,
    "sm-negbin-ratio": rate_ratio,
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
