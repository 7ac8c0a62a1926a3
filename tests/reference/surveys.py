"""Translates cases about surveys: means, shares, groups, ratios, quantiles, tables, models, calibration, rates."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

import gbveval as gbv
from tests.reference.compare import Unsupported
from tests.reference.frames import condition, read_csv

INTERVALS = {
    "logit": "logit",
    "xlogit": "logit",
    "likelihood": "likelihood",
    "asin": "arcsine",
    "beta": "korn_graubard",
    "mean": "t",
}


def survey_data(folder: Path, data: dict[str, Any]) -> pd.DataFrame:
    """Return the frame of a case: derived columns, filters, dropped rows."""
    frame = read_csv(folder, data["file"])
    for new in data.get("derive", []):
        column = frame[new["column"]] if "column" in new else None
        if new["op"] == "==":
            frame[new["name"]] = (column == new["value"]).astype(float).where(column.notna())
        elif new["op"] == ">":
            frame[new["name"]] = (column > new["value"]).astype(float).where(column.notna())
        elif new["op"] == "divide":
            frame[new["name"]] = column / new["value"]
        elif new["op"] == "row_number":
            frame[new["name"]] = range(1, len(frame) + 1)
        else:
            raise Unsupported(f"the derivation {new['op']!r} is not known")
    frame = frame[meets(frame, data.get("filter", []))]
    return frame.dropna(subset=data.get("drop_missing", [])).reset_index(drop=True)


def meets(frame: pd.DataFrame, rules: list[dict[str, Any]]) -> pd.Series:
    """Return which rows meet all conditions."""
    kept = pd.Series(True, index=frame.index)
    for rule in rules:
        if "any" in rule:
            kept &= pd.concat([condition(frame, part) for part in rule["any"]], axis=1).any(axis=1)
        else:
            kept &= condition(frame, rule)
    return kept


def make_survey(frame: pd.DataFrame, task: dict[str, Any], outcome: Any) -> gbv.Survey:
    """Return the survey that the roles describe."""
    roles, options = task["roles"], task["options"]
    if options.get("variance", "linearised") not in ("linearised", "JK1"):
        raise Unsupported(f"the variance {options['variance']!r}")
    if roles.get("domain"):
        # Whoever is outside stays in the design, without an outcome.
        outside = ~meets(frame, roles["domain"])
        for column in [outcome] if isinstance(outcome, str) else outcome:
            frame[column] = frame[column].astype(float).mask(outside)
    given: dict[str, Any] = {}
    if roles.get("weights") and not options.get("weights_from_fpc"):
        given["weight"] = roles["weights"]
    if roles.get("stratum"):
        # Here a column that is also a covariate or group keeps its name for that.
        frame["_stratum"] = frame[roles["stratum"]]
        given["stratum"] = "_stratum"
    if roles.get("psu"):
        given["psu"] = roles["psu"]
    if roles.get("fpc"):
        given["fpc"] = roles["fpc"]
    return gbv.Survey(frame, outcome=outcome, **given)


def lonely(options: dict[str, Any]) -> str:
    return str(options.get("lonely_psu", "error"))


def survey_mean(folder: Path, case: dict[str, Any]) -> dict[str, Any]:
    task = case["task"]
    options = task["options"]
    survey = make_survey(survey_data(folder, task["data"]), task, task["roles"]["outcome"])
    level = options.get("level", 0.95)
    row = gbv.SurveyMean(lonely_psu=lonely(options)).estimate(survey).records(level)[0]
    answer = {**row, "deff_replace": row["design_effect"]}
    if options.get("total"):
        total = gbv.SurveyTotal(lonely_psu=lonely(options)).estimate(survey)[0]
        answer.update(total=total.value, se_total=total.std_error)
    return answer


def proportion_of_survey(folder: Path, case: dict[str, Any]) -> dict[str, Any]:
    task = case["task"]
    options = task["options"]
    interval = INTERVALS.get(options["interval"])
    if interval is None:
        raise Unsupported(f"the interval {options['interval']!r}")
    survey, by = domain_survey(folder, task)
    level = options["level"]
    term = "all" if by is None else "_domain: in"
    shown = gbv.Prevalence(by=by, interval=interval, level=level, lonely_psu=lonely(options)).estimate(survey)
    row = shown.records(level)[shown.index(term)]
    plain = gbv.SurveyMean(by=by, lonely_psu=lonely(options)).estimate(survey)[term]
    return {**row, "std_error": plain.std_error}


def domain_survey(folder: Path, task: dict[str, Any]) -> tuple[gbv.Survey, str | None]:
    """Return a survey and the column of its one domain, which leaves nobody out of the design."""
    frame = survey_data(folder, task["data"])
    rules = task["roles"].get("domain", [])
    if rules:
        frame["_domain"] = meets(frame, rules).map({True: "in", False: "out"})
    return make_survey(frame, task, task["roles"]["outcome"]), "_domain" if rules else None


def survey_domain(folder: Path, case: dict[str, Any]) -> dict[str, Any]:
    task = case["task"]
    roles, options = task["roles"], task["options"]
    if roles.get("domain"):
        survey, by = domain_survey(folder, task)
        row = gbv.SurveyMean(by=by, lonely_psu=lonely(options)).estimate(survey)["_domain: in"]
        return {roles["outcome"]: {"estimate": row.value, "std_error": row.std_error}}
    frame = survey_data(folder, task["data"])
    columns = roles["by"]
    found = gbv.SurveyMean(by=columns, lonely_psu=lonely(options)).estimate(make_survey(frame, task, roles["outcome"]))
    first = roles["outcome"] if isinstance(roles["outcome"], str) else None
    rows = {}
    for key, meaning in case["result_terms"].items():
        label = ", ".join(meaning["domain"][column] for column in columns)
        term = f"{' and '.join(columns)}: {label}"
        row = found[(meaning.get("variable", first), term)]
        rows[key] = {"estimate": row.value, "std_error": row.std_error}
    if "contrast" not in options:
        return rows
    asked = options["contrast"]
    names = [f"{asked['column']}: {asked[end]}" for end in ("level", "minus")]
    difference = found.contrast({names[0]: 1.0, names[1]: -1.0}, name="difference")[0]
    return {
        "domain_estimates": {key: row["estimate"] for key, row in rows.items()},
        "domain_se": {key: row["std_error"] for key, row in rows.items()},
        "difference": difference.value,
        "se_difference": difference.std_error,
    }


def survey_ratio(folder: Path, case: dict[str, Any]) -> dict[str, Any]:
    task = case["task"]
    roles = task["roles"]
    survey = make_survey(survey_data(folder, task["data"]), task, [roles["numerator"], roles["denominator"]])
    row = gbv.SurveyRatio(roles["numerator"], roles["denominator"], lonely_psu=lonely(task["options"])).estimate(survey)
    return {"estimate": row[0].value, "std_error": row[0].std_error}


def survey_quantile(folder: Path, case: dict[str, Any]) -> dict[str, Any]:
    task = case["task"]
    options = task["options"]
    if (options["quantile_rule"], options["interval"]) != ("math", "mean"):
        raise Unsupported(f"quantiles by the rule {options['quantile_rule']!r} with {options['interval']!r} limits")
    survey = make_survey(survey_data(folder, task["data"]), task, task["roles"]["outcome"])
    estimator = gbv.SurveyQuantile(options["quantiles"], level=options["level"], lonely_psu=lonely(options))
    rows = {row["term"]: row for row in estimator.estimate(survey).records()}
    answer = {}
    for key, meaning in case["result_terms"].items():
        row = rows[f"all, {meaning['quantile']:g} quantile"]
        answer[key] = row[f"conf_{meaning['bound']}"] if "bound" in meaning else row["estimate"]
    return answer


def calibrated(folder: Path, case: dict[str, Any]) -> dict[str, Any]:
    """Return the mean after raking, which with one margin is poststratification."""
    task = case["task"]
    outcome, options = task["roles"]["outcome"], task["options"]
    survey = make_survey(survey_data(folder, task["data"]), task, outcome)
    margins = {margin["column"]: margin["totals"] for margin in task["values"]["population_margins"]}
    if task["kind"] == "poststratification":
        ((column, totals),) = margins.items()
        survey = survey.poststratified(column, totals)
    else:
        survey = survey.raked(margins, max_iterations=options["max_iterations"], tolerance=options["tolerance"])
    row = gbv.SurveyMean().estimate(survey)[0]
    return {outcome: {"estimate": row.value, "std_error": row.std_error}}


def jackknife(folder: Path, case: dict[str, Any]) -> dict[str, Any]:
    task = case["task"]
    outcome, options = task["roles"]["outcome"], task["options"]
    survey = make_survey(survey_data(folder, task["data"]), task, outcome)
    row = gbv.SurveyMean().estimate(survey.with_jackknife(centre="estimate" if options["mse"] else "mean"))[0]
    return {outcome: {"estimate": row.value, "std_error": row.std_error}}


FAMILIES = {
    ("gaussian", "identity"): "gaussian",
    ("quasibinomial", "logit"): "binomial",
    ("binomial", "logit"): "binomial",
    ("quasipoisson", "log"): "poisson",
    ("poisson", "log"): "poisson",
}


def with_columns(frame: pd.DataFrame, roles: dict[str, Any]) -> dict[str, Any]:
    """Add one numeric column a coefficient; return for each the column and level that it stands for."""
    made: dict[str, Any] = {}
    for term in roles["covariates"]:
        source = term["column"]
        if term["as"] == "numeric":
            made[source] = {"column": source}
            continue
        text = frame[source].map(lambda value: f"{value:.0f}" if isinstance(value, float) else str(value))
        for level in term["levels"]:
            if level != term["reference"]:
                name = f"{source}={level}"
                frame[name] = (text == level).astype(float).where(frame[source].notna())
                made[name] = {"column": source, "level": level}
    for first, second in roles.get("interactions", []):
        parts = [[name for name, m in made.items() if m.get("column") == column] for column in (first, second)]
        for a, b in [(a, b) for b in parts[1] for a in parts[0]]:
            frame[f"{a}*{b}"] = frame[a] * frame[b]
            made[f"{a}*{b}"] = {"interaction": [made[a], made[b]]}
    return made


def regression(options: dict[str, Any], columns: dict[str, Any], **more: Any) -> gbv.SurveyRegression:
    family = FAMILIES.get((options["family"], options["link"]))
    if family is None:
        raise Unsupported(f"a regression of {options['family']} with the link {options['link']}")
    return gbv.SurveyRegression(list(columns), family=family, **more)


def term_names(terms: dict[str, Any], columns: dict[str, Any]) -> dict[str, str]:
    """Return the row of each result key that is a coefficient."""
    meanings = {**columns, "intercept": "intercept"}
    return {key: name for key, meaning in terms.items() for name, stands in meanings.items() if stands == meaning}


def survey_glm(folder: Path, case: dict[str, Any]) -> dict[str, Any]:
    task = case["task"]
    options = task["options"]
    frame = survey_data(folder, task["data"])
    columns = with_columns(frame, task["roles"])
    survey = make_survey(frame, task, task["roles"]["outcome"])
    found = regression(options, columns, lonely_psu=lonely(options)).estimate(survey)
    tests = found.tests()
    answer: dict[str, Any] = {"df_residual": found[0].df}
    for key, name in term_names(case["result_terms"], columns).items():
        i = found.index(name)
        answer[key] = {
            "estimate": found[i].value,
            "std_error": found[i].std_error,
            "statistic": tests.statistic[i],
            "p_value": tests.p_value[i],
        }
    return answer


def survey_chisq(folder: Path, case: dict[str, Any]) -> dict[str, Any]:
    task = case["task"]
    roles, options = task["roles"], task["options"]
    if options["statistic"] != "rao_scott_second_order_F":
        raise Unsupported(f"the statistic {options['statistic']!r}")
    survey = make_survey(survey_data(folder, task["data"]), task, roles["row"])
    row = gbv.RaoScottTest(roles["column"], lonely_psu=lonely(options)).estimate(survey)[0]
    return {"F": row.statistic, "df_num": row.df, "df_denom": row.df2, "p_value": row.p_value}


def proportion_interval(_: Path, case: dict[str, Any]) -> dict[str, Any]:
    values, options = case["task"]["values"], case["task"]["options"]
    asked = options["interval"]
    table = gbv.proportion_intervals(values["events"], values["n"], intervals=asked, level=options["level"])
    rows = [dict(zip(table.columns, row, strict=True)) for row in table.rows]
    return rows[0] if isinstance(asked, str) else {row["interval"]: row for row in rows}


def standardised_rate(folder: Path, case: dict[str, Any]) -> dict[str, Any]:
    task = case["task"]
    roles, options = task["roles"], task["options"]
    if (options["method"], options["interval"]) not in (("direct", "gamma_fay_feuer"), ("indirect", "wald_log")):
        raise Unsupported(f"rates by the method {options['method']!r} with {options['interval']!r} limits")
    frame = survey_data(folder, task["data"])
    given = options["standard"]
    standard = by_age(frame[meets(frame, given.get("filter", []))], roles)
    answer: dict[str, Any] = {}
    for group, rules in options["groups"].items():
        study = by_age(frame[meets(frame, rules)], roles)
        events, exposure = study[roles["events"]], study[roles["person_time"]]
        if options["method"] == "direct":
            table = gbv.direct_rate(events, exposure, standard[given["person_time"]], level=options["level"])
        else:
            parts = (standard[given["events"]], standard[given["person_time"]])
            table = gbv.indirect_rate(events, exposure, *parts, level=options["level"])
        rows = {row[0]: dict(zip(table.columns, row, strict=True)) for row in table.rows}
        rate = rows["standardised rate"]
        shown = {
            "crude.rate": rows["crude rate"]["estimate"],
            "adj.rate": rate["estimate"],
            "lci": rate["conf_low"],
            "uci": rate["conf_high"],
        }
        if options["method"] == "direct":
            answer[group] = shown
            continue
        ratio = rows["standardised ratio"]
        answer["rate"] = shown
        answer["sir"] = {
            "observed": rows["observed"]["estimate"],
            "exp": rows["expected"]["estimate"],
            "sir": ratio["estimate"],
            "lci": ratio["conf_low"],
            "uci": ratio["conf_high"],
        }
    return answer


def by_age(frame: pd.DataFrame, roles: dict[str, Any]) -> pd.DataFrame:
    """Return events and person-time by age, in the order of ages."""
    return frame.groupby(roles["age_group"])[[roles["events"], roles["person_time"]]].sum()


def rubin_pooling(folder: Path, case: dict[str, Any]) -> dict[str, Any]:
    task = case["task"]
    roles, options = task["roles"], task["options"]
    if options["covariance"] != "model" or options["complete_data_df"] != "rows_minus_coefficients":
        raise Unsupported("pooling of another covariance than the model's")
    frame = survey_data(folder, task["data"])
    columns = with_columns(frame, roles)
    estimator = regression(options, columns, std_error="model")
    results = [
        estimator.estimate(gbv.Survey(part.reset_index(drop=True), outcome=roles["outcome"]))
        for _, part in frame.groupby(roles["imputation"])
    ]
    pooled = gbv.pool_imputations(results)
    records, tests = pooled.records(), pooled.tests()
    answer: dict[str, Any] = {}
    for key, name in term_names(case["result_terms"], columns).items():
        i = pooled.index(name)
        row, record = pooled[i], records[i]
        answer[key] = {
            "estimate": row.value,
            "std_error": row.std_error,
            "df_rubin1987": record["df_large_sample"],
            "missinfo_mitools": record["missing_information_large_sample"],
            "df_barnard_rubin": row.df,
            "fmi": record["missing_information"],
            "lambda": record["share_between"],
            "riv": record["relative_increase"],
            "within": record["within_variance"],
            "between": record["between_variance"],
            "p_value_br": tests.p_value[i],
        }
    if "irls" in options:
        # R's covariance takes the weights of the step before the last, which the within-imputation variance shows by
        # 1.4e-6, and so does what is made of it; the folder's README allows up to 1e-3.
        made = ("std_error", "within", "df_rubin1987", "missinfo_mitools", "lambda", "riv")
        answer["_off"] = dict.fromkeys(made, (5e-6, 0.0))
    return answer


def agreement(folder: Path, case: dict[str, Any]) -> dict[str, Any]:
    task = case["task"]
    roles, options = task["roles"], task["options"]
    if (options["statistic"], options["weights"]) != ("cohen_kappa", "unweighted"):
        raise Unsupported(f"agreement by {options['statistic']!r} with weights {options['weights']!r}")
    frame = survey_data(folder, task["data"])
    table = gbv.cohen_kappa(frame[roles["rater_a"]], frame[roles["rater_b"]], level=options["level"])
    row = dict(zip(table.columns, table.rows[0], strict=True))
    return {**row, "kappa": row["estimate"], "var": row["std_error"] ** 2}


TASKS = {
    "survey_glm": survey_glm,
    "survey_chisq": survey_chisq,
    "proportion_interval": proportion_interval,
    "standardised_rate": standardised_rate,
    "rubin_pooling": rubin_pooling,
    "agreement": agreement,
    "raking": calibrated,
    "poststratification": calibrated,
    "jackknife": jackknife,
    "survey_mean": survey_mean,
    "survey_proportion_interval": proportion_of_survey,
    "survey_domain": survey_domain,
    "survey_ratio": survey_ratio,
    "survey_quantile": survey_quantile,
}
