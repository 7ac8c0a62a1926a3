"""Translates cases about associations: tables, E-values, robustness, regressions, attributable fractions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

import gbveval as gbv
from tests.reference import meta, rollouts
from tests.reference.compare import Unsupported
from tests.reference.frames import condition, read_csv
from tests.reference.glm import glm

Case = dict[str, Any]
# epiR steps its score limits of an odds ratio by tenths of a per cent, away from the estimate; it stops its search for
# those of a risk difference at about 1e-7.
STEPPED, STOPPED = 1e-3, 1e-6
PAR_WALD = (
    "its variance adds those of the risk of all and of the unexposed as if these were not the same people; the delta "
    "method over the four cells gives the interval called piri"
)
CASES_ERROR = (
    "its standard error is not the derivative of its estimate by the weight of each row, which ours is to all digits "
    "(tests/unit/factors/test_attributable_fraction.py)"
)
TESTS = {"pearson_chi2": "pearson", "yates_chi2": "yates", "fisher_exact": "fisher_exact", "midp_exact": "mid_p"}
METHODS = {
    "unconditional_mle": "wald",
    "small_sample": "small_sample",
    "median_unbiased": "mid_p",
    "conditional_mle": "exact",
}
INTERVALS = {"wald": "wald", "taylor": "wald", "piri": "wald", "score": "score", "fisher_exact": "exact"}
NAMES = {"RR": "risk_ratio", "OR": "odds_ratio", "RD": "risk_difference", "NNT": "number_needed"}
NAMES |= {"population_risk_difference": "population_difference"}


def frame_of(folder: Path, data: dict[str, Any]) -> pd.DataFrame:
    """Return the frame of a case: derived columns, filter, rows without a column dropped."""
    frame = read_csv(folder, data["file"])
    if data.get("derive"):
        raise Unsupported("derived columns")
    for rule in data.get("filter", []):
        frame = frame[condition(frame, rule)]
    if data.get("drop_missing"):
        frame = frame.dropna(subset=data["drop_missing"])
    return frame.reset_index(drop=True)


def binary(column: pd.Series, one: Any, zero: Any) -> pd.Series:
    """Return 1 and 0 for two values, missing for others."""
    return column.map({one: 1.0, zero: 0.0})


def survey_of(frame: pd.DataFrame, roles: dict[str, Any]) -> gbv.Survey:
    """Return the survey of a case, outcome `_y` and factor `_x` ("yes", "no" or its levels)."""
    outcome, exposure = roles["outcome"], roles.get("exposure")
    frame = frame.copy()
    if isinstance(outcome, dict):
        frame["_y"] = binary(frame[outcome["column"]], outcome["event"], outcome["nonevent"])
    else:
        frame["_y"] = frame[outcome].astype(float)
    if exposure is not None:
        column = frame[exposure["column"]]
        named = exposure.get("as") == "factor"
        frame["_x"] = column if named else column.map({exposure["exposed"]: "yes", exposure["unexposed"]: "no"})
    for covariate in roles.get("covariates", []):
        if covariate["as"] == "factor":
            # The first in sorted order is what the others are compared with.
            order = {level: f"{number:04d}" for number, level in enumerate(reference_first(covariate))}
            frame[f"_{covariate['column']}"] = frame[covariate["column"]].astype(str).map(order)
    return gbv.Survey(frame, outcome="_y")


def reference_first(covariate: dict[str, Any]) -> list[str]:
    return [covariate["reference"], *(level for level in covariate["levels"] if level != covariate["reference"])]


def adjusted_for(roles: dict[str, Any]) -> list[str]:
    """Return the columns of `survey_of` that stand for the covariates."""
    return [f"_{c['column']}" if c["as"] == "factor" else c["column"] for c in roles.get("covariates", [])]


def two_by_two(folder: Path, case: Case) -> dict[str, Any]:
    """Answer tables of a factor and an outcome; tables of a rollout belong to rollouts."""
    task = case["task"]
    roles, options = task.get("roles", {}), task.get("options", {})
    if "post" in roles:
        return rollouts.two_by_two(folder, case)
    if options["continuity"] != "none":
        raise Unsupported("a continuity correction")
    if "exposure" in roles:
        survey = survey_of(frame_of(folder, task["data"]), roles)
        counts = survey.counts("_x", outcome="_y")
    else:
        values = task["values"]
        events = ((values["unexposed_event"],), (values["exposed_event"],))
        rest = ((values["unexposed_nonevent"],), (values["exposed_nonevent"],))
        n = tuple((a[0] + b[0],) for a, b in zip(events, rest, strict=True))
        counts = gbv.CountTable("_y by _x", ("no", "yes"), (), n, events)
    study = options.get("study_type", "cohort").replace("cross_sectional", "cohort")
    table = gbv.two_by_two_measures(
        counts,
        exposed="yes",
        unexposed="no",
        study=study,
        outcome_is_rare=study == "case_control",
        level=options["level"],
    )
    rows = {(row[0], row[1]): dict(zip(table.columns, row, strict=True)) for row in table.rows}
    if "measure" in options:
        method = "score" if options["interval"] == "score" else METHODS[options["estimator"]]
        row = rows[NAMES[options["measure"]], method]
        answer = {key: row[key] for key in ("estimate", "conf_low", "conf_high")}
        tests = {key: TESTS[meaning["test"]] for key, meaning in case["result_terms"].items()}
        return answer | {key: rows["no association", method]["p_value"] for key, method in tests.items()}
    return _all_measures(case, rows, counts)


def _all_measures(case: Case, rows: dict[Any, dict[str, Any]], counts: gbv.CountTable) -> dict[str, Any]:
    answer: dict[str, Any] = {"_off": {}, "_disputed": {}}
    people = sum(entry[0] for entry in counts.n)
    for key, meaning in case["result_terms"].items():
        if "test" in meaning:
            row = rows["no association", TESTS[meaning["test"]]]
            answer[key] = {"test.statistic": row["statistic"], "df": row["df"], "p.value.2s": row["p_value"]}
            answer[key]["p.value.1s"] = row["p_value"] / 2.0
            if row["statistic"] is not None:
                answer[key]["phi.coef"] = (row["statistic"] / people) ** 0.5
            continue
        name = NAMES.get(meaning["measure"], meaning["measure"])
        method = INTERVALS[meaning["interval"]]
        if meaning.get("approximation") == "OR_as_RR":
            # epiR takes the fraction among the exposed from the conditional estimate and its exact limits.
            inner = name == "attributable_fraction_exposed"
            method = f"{'exact ' if inner else ''}odds ratio for risk ratio"
        units = float(meaning.get("units", 1))
        row = rows[name, method]
        answer[key] = {
            ours: None if row[theirs] is None else units * row[theirs]
            for ours, theirs in (("est", "estimate"), ("lower", "conf_low"), ("upper", "conf_high"))
        }
        if (name, meaning["interval"]) == ("population_difference", "wald"):
            answer["_disputed"] |= {f"{key}.lower": PAR_WALD, f"{key}.upper": PAR_WALD}
        if meaning["interval"] in ("score", "fisher_exact") or method.startswith("exact"):
            loose = STOPPED if name in ("risk_difference", "number_needed") else STEPPED
            answer["_off"] |= {f"{key}.{end}": (loose, 0.0) for end in ("est", "lower", "upper")}
    return answer


def mantel_haenszel(folder: Path, case: Case) -> dict[str, Any]:
    """Answer stratified tables of a factor; tables of sites belong to meta."""
    task = case["task"]
    roles, options = task["roles"], task["options"]
    if "site" in roles:
        return meta.common(folder, case)
    frame = frame_of(folder, task["data"])
    if "frequency" in roles:
        frame = frame.loc[frame.index.repeat(frame[roles["frequency"]])].reset_index(drop=True)
    counts = survey_of(frame, roles).counts("_x", roles["stratum"], outcome="_y")
    table = gbv.stratified_measures(
        counts,
        exposed="yes",
        unexposed="no",
        study=options["study_type"].replace("cross_sectional", "cohort"),
        level=options["level"],
    )
    rows = {(row[0], row[1]): dict(zip(table.columns, row, strict=True)) for row in table.rows}
    answer: dict[str, Any] = {"_disputed": {}}
    for key, meaning in case["result_terms"].items():
        answer[key] = _stratified(meaning, rows)
        if meaning.get("variance") == "epiR_as_coded":
            reason = "the case says that the variance has a*d where a*b is meant"
            answer["_disputed"] |= {f"{key}.lower": reason, f"{key}.upper": reason}
    return answer


def _stratified(meaning: dict[str, Any], rows: dict[Any, dict[str, Any]]) -> Any:
    if meaning.get("test") == "cmh":
        method = "cochran_mantel_haenszel" + ("_corrected" if meaning["continuity_correction"] else "")
        return rows["no association", method]["p_value" if meaning.get("value") == "p" else "statistic"]
    if meaning.get("test") == "homogeneity":
        row = rows[f"one {NAMES[meaning['measure']]} in all strata", meaning["method"]]
        return {"test.statistic": row["statistic"], "df": row["df"], "p.value": row["p_value"]}
    exact = "exact" in (meaning.get("estimator"), meaning.get("interval"), meaning.get("test"))
    exact = exact or meaning.get("estimator") == "conditional_mle" or meaning.get("interval") == "fisher_exact"
    if "test" in meaning:
        return rows["no association", "exact"]["p_value"] if exact else None
    row = rows[NAMES[meaning["measure"]], "exact" if exact else "mantel_haenszel"]
    if "bound" in meaning:
        return row["conf_low" if meaning["bound"] == "low" else "conf_high"]
    if "interval" not in meaning and "units" not in meaning and meaning.get("estimator") and len(meaning) == 2:
        # The bare estimate and the estimate with limits share their meaning; a number or an object is asked for.
        return Both(row)
    units = float(meaning.get("units", 1))
    return {"est": units * row["estimate"], "lower": units * row["conf_low"], "upper": units * row["conf_high"]}


class Both(dict[str, Any]):
    """An estimate that can be read as a number and as an estimate with limits."""

    def __init__(self, row: dict[str, Any]) -> None:
        super().__init__(est=row["estimate"], lower=row["conf_low"], upper=row["conf_high"])

    def __float__(self) -> float:
        return float(self["est"])


FRACTION_MODELS = {("binomial", "logit"): "logistic", ("poisson", "log"): "log_poisson"}
E_VALUES = {"RR": "risk_ratio", "OR": "odds_ratio", "HR": "hazard_ratio"}


def e_value(_: Path, case: Case) -> dict[str, Any]:
    values, options = case["task"]["values"], case["task"]["options"]
    measure = options["measure"]
    if measure in E_VALUES:
        asked = {key: values.get(key) for key in ("estimate", "lower", "upper")}
        table = gbv.e_value(
            asked["estimate"],
            asked["lower"],
            asked["upper"],
            measure=E_VALUES[measure],
            outcome_is_rare=options.get("rare"),
            null=options["true"],
        )
    elif measure in ("SMD", "OLS"):
        table = gbv.e_value_of_means(
            values["estimate"],
            values.get("std_error"),
            outcome_sd=values.get("outcome_sd", 1.0),
            contrast=values.get("contrast", 1.0),
            null=options["true"],
        )
    elif measure == "RD" and "exposed_event" in values:
        return _e_value_of_risks(values, options)
    else:
        raise Unsupported(f"an E-value of {measure}")
    keys = {"point": "estimate", "lower": "conf_low", "upper": "conf_high"}
    rows = {row[0]: row for row in table.rows}
    return {
        "RR": {ours: rows[theirs][1] for ours, theirs in keys.items()},
        "E-values": {ours: rows[theirs][2] for ours, theirs in keys.items()},
    }


def _e_value_of_risks(values: dict[str, Any], options: dict[str, Any]) -> dict[str, Any]:
    """Answer an E-value of a risk difference; ours is a root, the reference's the first step of a grid beyond it."""
    pairs = [
        (values[f"{group}_event"], values[f"{group}_event"] + values[f"{group}_nonevent"])
        for group in ("exposed", "unexposed")
    ]
    table = gbv.e_value_of_risks(*pairs, null=options["true"], level=options.get("level", 0.95))
    point, limit = table.column("e_value")
    # An E-value rises by less than four times the step of the bias factor once this is above 1.1.
    off = dict.fromkeys(("est.Evalue", "lower.Evalue", "point", "lower"), (0.0, 4.0 * options.get("grid", 0.0)))
    named = {"est.Evalue": point, "lower.Evalue": limit}
    return {**named, "E-values": {"point": point, "lower": limit, "upper": None}, "_off": off}


# sensemakr takes the quantile of the limits at the degrees of freedom of the model without the confounder, though its
# robustness value and standard error count the confounder.
LIMIT_DF = (3e-4, 5e-6)


def robustness_value(folder: Path, case: Case) -> dict[str, Any]:
    task = case["task"]
    roles, options = task["roles"], task["options"]
    if not options["reduce"]:
        raise Unsupported("confounders that make estimates too small")
    columns = {c["column"]: c for c in roles["covariates"]}
    survey = survey_of(frame_of(folder, task["data"]), {**roles, "exposure": None})
    benchmark = roles["benchmark"]
    table = gbv.omitted_confounding(
        survey,
        roles["treatment"],
        adjust_for=adjusted_for(roles),
        benchmark=f"_{benchmark}" if columns[benchmark]["as"] == "factor" else benchmark,
        kd=options["kd"],
        ky=options["ky"],
        q=options["q"],
        alpha=options["alpha"],
    )
    first, *others = (dict(zip(table.columns, row, strict=True)) for row in table.rows)
    plain = gbv.robustness_value(
        first["estimate"], first["std_error"], first["df"], q=options["q"], alpha=options["alpha"]
    )
    names = {
        "r2dz.x": "r2_exposure",
        "r2yz.dx": "r2_outcome",
        "adjusted_estimate": "estimate",
        "adjusted_se": "std_error",
        "adjusted_t": "statistic",
        "adjusted_lower_CI": "conf_low",
        "adjusted_upper_CI": "conf_high",
    }
    return {
        "estimate": first["estimate"],
        "se": first["std_error"],
        "t_statistic": first["statistic"],
        "dof": first["df"],
        "r2yd.x": first["r2_outcome"],
        "f2yd.x": plain.column("partial_f2")[0],
        "rv_q": first["robustness_value"],
        "rv_qa": plain.column("robustness_value_limit")[0],
        "bounds": [{ours: row[theirs] for ours, theirs in names.items()} for row in others],
        "_off": dict.fromkeys(("adjusted_lower_CI", "adjusted_upper_CI"), LIMIT_DF),
    }


def factor_of(exposure: dict[str, Any]) -> gbv.Factor:
    """Return the factor `_x` of a survey made by `survey_of`."""
    return gbv.Factor("_x", reference=exposure["reference"] if exposure.get("as") == "factor" else "no")


def attributable_fraction(folder: Path, case: Case) -> dict[str, Any]:
    task = case["task"]
    roles, options = task["roles"], task["options"]
    if options["method"] == "levin_miettinen":
        return _crude_fraction(folder, task)
    if roles.get("interactions"):
        raise Unsupported("an attributable fraction of a model with products")
    model = FRACTION_MODELS.get((options["family"], options["link"]))
    if options["method"] not in ("regression", "bruzzi") or model is None:
        raise Unsupported(f"the method {options['method']} with {options.get('family')} and {options.get('link')}")
    if options["method"] == "bruzzi" and not options["case_control"]:
        raise Unsupported("Bruzzi's sum over odds ratios of a sample of the population, which gbveval refuses")
    survey = survey_of(frame_of(folder, task["data"]), roles)
    asked = {"study": "case_control", "outcome_is_rare": True} if options["case_control"] else {}
    estimator = gbv.AttributableFraction(
        factor_of(roles["exposure"]), adjusted_for(roles), model=model, reference="normal", **asked
    )
    records = estimator.estimate(survey).at_level(options.get("level", 0.95)).records()
    whole = records[0]
    answer = {"af": whole["estimate"], "se": whole["std_error"], "attributable_risk": whole["estimate"]}
    answer |= {"conf_low": whole["conf_low"], "conf_high": whole["conf_high"], "paf_bruzzi": whole["estimate"]}
    if not options["case_control"]:
        answer |= {"P": whole["prevalence"], "P0": whole["prevalence_in_reference"]}
    parts = {record["term"]: record for record in records[1:]}
    answer |= {"or": {}, "case_share": {}}
    for key, meaning in case.get("result_terms", {}).items():
        if "level" in meaning:
            part = parts[f"_x: part of {meaning['level']}, if causal"]
            answer["or"][key], answer["case_share"][key] = part["adjusted_odds_ratio"], part["case_share"]
    reason = "the case says that this cannot be compared"
    disputed = dict.fromkeys(options.get("not_comparable", []), reason)
    if options["case_control"]:
        disputed |= dict.fromkeys(("se", "conf_low", "conf_high"), CASES_ERROR)
    return answer | {"_disputed": disputed, "_off": _early(options)}


# R's glm stops at changes of the deviance below 1e-8 and keeps the information of the step before; its readme says that
# standard errors, and what is built on them, are then off by up to 1e-3.
def _early(options: dict[str, Any]) -> dict[str, tuple[float, float]]:
    keys = ("se", "conf_low", "conf_high", "std_error", "statistic", "se_risk_difference", "se_log_risk_ratio")
    if "irls" not in options:
        return {}
    # A tail far out magnifies the last digits of its statistic: at z = 12 a ten-thousandth of it is 1.4 % of p.
    return {**dict.fromkeys(keys, (1e-3, 0.0)), "p_value": (0.02, 0.0)}


def _crude_fraction(folder: Path, task: dict[str, Any]) -> dict[str, Any]:
    roles, options = task["roles"], task["options"]
    if options["relative_risk"] != "crude":
        return _miettinen(folder, task)
    counts = survey_of(frame_of(folder, task["data"]), roles).counts("_x", outcome="_y")
    table = gbv.two_by_two_measures(counts, exposed="yes", unexposed="no", study="cohort", level=options["level"])
    rows = {(row[0], row[1]): dict(zip(table.columns, row, strict=True)) for row in table.rows}
    fraction = rows["attributable_fraction_population", "wald"]
    # Without covariates Levin's, Miettinen's and the standardised fraction are one.
    return {
        "pe": rows["share_exposed", "all"]["estimate"],
        "pc": rows["share_exposed", "with the outcome"]["estimate"],
        "rr": rows["risk_ratio", "wald"]["estimate"],
        "levin": fraction["estimate"],
        "miettinen": fraction["estimate"],
        "epiR": {"est": fraction["estimate"], "lower": fraction["conf_low"], "upper": fraction["conf_high"]},
    }


def _miettinen(folder: Path, task: dict[str, Any]) -> dict[str, Any]:
    """Answer Miettinen's fraction with an adjusted ratio; Levin's with it is biased, and gbveval does not give it."""
    roles = task["roles"]
    survey = survey_of(frame_of(folder, task["data"]), roles)
    factor, covariates = factor_of(roles["exposure"]), adjusted_for(roles)
    ratio = gbv.RiskFactors([factor], {"_x": covariates}, behaviour="experience", measures=["ratio"]).estimate(survey)
    fraction = gbv.AttributableFraction(factor, covariates, model="log_poisson").estimate(survey)
    record = next(row for row in ratio.records() if row["term"].endswith("(adjusted ratio)"))
    reason = "Levin's formula with an adjusted ratio is biased, as the case says; gbveval does not give it"
    return {
        "pe": record["factor_prevalence"],
        "rr": record["estimate"],
        "miettinen": fraction[0].value,
        "_disputed": {"levin": reason},
    }


def regression_standardisation(folder: Path, case: Case) -> dict[str, Any]:
    task = case["task"]
    roles, options = task["roles"], task["options"]
    if (options["family"], options["link"]) != ("binomial", "logit") or roles.get("interactions"):
        raise Unsupported(f"a standardised {options['family']} model, or one with products")
    if (options["exposure_values"], options["reference_value"]) != ([0, 1], 0):
        raise Unsupported("standardised risks at other values of the exposure than none and all")
    survey = survey_of(frame_of(folder, task["data"]), roles)
    factor = factor_of(roles["exposure"])
    covariates = adjusted_for(roles)
    table = gbv.RiskFactors(
        [factor],
        {"_x": covariates},
        behaviour="experience",
        measures=("difference", "standardised_ratio"),
    ).estimate(survey)
    difference, ratio = table["_x: yes vs no (adjusted difference)"], table["_x: yes vs no (standardised ratio)"]
    risks = dict(difference.extra)
    return {
        "risk_1": risks["standardised_risk_exposed"],
        "risk_0": risks["standardised_risk_unexposed"],
        "risk_difference": difference.value,
        "se_risk_difference": difference.std_error,
        "log_risk_ratio": ratio.value,
        "se_log_risk_ratio": ratio.std_error,
        "_off": _early(options),
    }


def regression(folder: Path, case: Case) -> dict[str, Any]:
    """Answer a plain regression: the arm of a trial stands for a covariate of categories, or of zeros and ones."""
    task = case["task"]
    frame = frame_of(folder, task["data"])

    def typed(entry: Any) -> Any:
        """Levels are text in the case; in a column of numbers they are numbers."""
        if isinstance(entry, dict) and "interaction" in entry:
            pieces = [{"column": piece} if isinstance(piece, str) else piece for piece in entry["interaction"]]
            return {"interaction": [typed(piece) for piece in pieces]}
        if (
            not isinstance(entry, dict)
            or "column" not in entry
            or not pd.api.types.is_numeric_dtype(frame[entry["column"]])
        ):
            return entry
        as_numbers = {key: entry[key] for key in ("reference", "level") if key in entry}
        found = {**entry, **{key: float(value) for key, value in as_numbers.items()}}
        return {**found, "levels": [float(x) for x in reference_first(entry)]} if "levels" in entry else found

    covariates = [typed(entry) for entry in task["roles"]["covariates"]]
    first = next((c for c in covariates if "levels" in c or set(frame[c["column"]].unique()) == {0, 1}), None)
    if first is None:
        raise Unsupported("a regression on measurements alone, of which none can stand for an arm")
    others = [entry for entry in covariates if entry is not first]
    levels = reference_first(first) if "levels" in first else [0, 1]
    others = [{**entry, "levels": reference_first(entry)} if "levels" in entry else entry for entry in others]
    roles = {"outcome": task["roles"]["outcome"], "covariates": others}
    roles["treatment"] = {"column": first["column"], "levels": levels}
    roles["interactions"] = task["roles"].get("interactions", [])
    options = {**task["options"], "vcov": task["options"]["covariance"], "df": "normal"}
    terms = {key: typed(meaning) for key, meaning in case["result_terms"].items()}
    arm = {"column": first["column"], "level": levels[1]}
    terms = {key: arm if value == {"column": first["column"]} else value for key, value in terms.items()}
    asked = {"task": {"data": task["data"], "roles": roles, "options": options}, "result_terms": terms}
    return glm(folder, asked) | {"_off": _early(task["options"])}


def conditional_logistic(folder: Path, case: Case) -> dict[str, Any]:
    """Answer a conditional regression: each covariate in turn is the exposure of the same model."""
    task = case["task"]
    roles = task["roles"]
    if task["options"].get("method", "exact") != "exact":
        raise Unsupported(f"the method {task['options']['method']} for ties")
    survey = survey_of(frame_of(folder, task["data"]), roles)
    columns = dict(zip([c["column"] for c in roles["covariates"]], adjusted_for(roles), strict=True))
    order = {c["column"]: reference_first(c) for c in roles["covariates"] if c["as"] == "factor"}
    answer: dict[str, Any] = {}
    for key, meaning in case["result_terms"].items():
        column = meaning["column"]
        others = [name for source, name in columns.items() if source != column]
        found = gbv.ConditionalLogistic(columns[column], roles["stratum"], others).estimate(survey)
        if column not in order and len(found) > 1:
            raise Unsupported("the coefficient of a measurement, which is no exposure of two categories")
        place = order[column].index(str(meaning["level"])) - 1 if column in order else 0
        low, high = found.intervals(task["options"].get("level", 0.95))
        record = found.records()[place]
        answer[key] = {
            "estimate": found.values[place],
            "std_error": found.std_errors[place],
            "statistic": record["statistic"],
            "p_value": record["p_value"],
            "conf_low": low[place],
            "conf_high": high[place],
            "odds_ratio": record["estimate"],
        }
    return answer


TASKS = {
    "conditional_logistic": conditional_logistic,
    "attributable_fraction": attributable_fraction,
    "regression": regression,
    "regression_standardisation": regression_standardisation,
    "two_by_two": two_by_two,
    "mantel_haenszel": mantel_haenszel,
    "e_value": e_value,
    "robustness_value": robustness_value,
}
