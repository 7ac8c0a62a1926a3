"""Translates cases about missing outcomes: bounds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

import gbveval as gbv
from tests.reference.compare import Unsupported
from tests.reference.frames import trial_frame
from tests.reference.linear import Regression, check_vcov, fit_of, regression, term_of
from tests.reference.randomised import arms, row_of, rows_of


def observed_frame(folder: Path, task: dict[str, Any]) -> tuple[pd.DataFrame, str]:
    """Return the frame with the outcome missing where it was not observed, and the column of arms."""
    roles = task["roles"]
    frame, arm = arms(trial_frame(folder, task["data"]), roles["treatment"])
    frame["_y"] = np.where(frame[roles["observed"]] == 1, frame[roles["outcome"]].astype(float), np.nan)
    return frame, arm


def lee_bounds(folder: Path, case: dict[str, Any]) -> dict[str, Any]:
    task, options = case["task"], case["task"]["options"]
    trimming = {"weighted_empirical_cdf": "empirical_cdf", "quantile_type_7": "quantile"}.get(options["trimming"])
    if trimming is None or options.get("vcov", "analytic") != "analytic":
        raise Unsupported(f"trimming {options['trimming']} with {options.get('vcov')}")
    frame, arm = observed_frame(folder, task)
    weight = {"weight": task["roles"]["weights"]} if task["roles"].get("weights") else {}
    trial = gbv.Trial(frame, outcome="_y", arm=arm, control="control", **weight)
    direction = options.get("monotonicity", "auto")
    records = gbv.LeeBounds(trimming, direction).estimate(trial).records(options.get("level", 0.95))
    lower, upper = records
    sizes = trial.flow().rows
    answer = {
        "lower_bound": lower["estimate"],
        "upper_bound": upper["estimate"],
        "lower_se": lower["std_error"],
        "upper_se": upper["std_error"],
        "ci_lower": lower["conf_low"],
        "ci_upper": upper["conf_high"],
        "Q": lower["trimmed_share"],
        "pi_r_1": lower["observed_treated"],
        "pi_r_0": lower["observed_control"],
        "f1": 1.0 - lower["observed_treated"],
        "f0": 1.0 - lower["observed_control"],
    }
    seen = {row.arm: row.n_units for row in sizes if row.stage == "analysed"}
    return {**answer, "control_group_N": seen["control"], "treat_group_N": seen["treated"]}


def extreme_value_bounds(folder: Path, case: dict[str, Any]) -> dict[str, Any]:
    task, options = case["task"], case["task"]["options"]
    if options.get("interval", "imbens_manski") != "imbens_manski":
        raise Unsupported(f"an interval by {options['interval']}")
    frame, arm = observed_frame(folder, task)
    weight = {"weight": task["roles"]["weights"]} if task["roles"].get("weights") else {}
    trial = gbv.Trial(frame, outcome="_y", arm=arm, control="control", **weight)
    bounds = gbv.ManskiBounds(float(options["minimum"]), float(options["maximum"])).estimate(trial)
    lower, upper = bounds.records(options.get("level", 0.95))
    variances = np.diag(bounds.covariance)
    return {
        "low_est": lower["estimate"],
        "upp_est": upper["estimate"],
        "low_var": float(variances[0]),
        "upp_var": float(variances[1]),
        "ci_lower": lower["conf_low"],
        "ci_upper": upper["conf_high"],
    }


def attrition_weighted(folder: Path, case: dict[str, Any]) -> dict[str, Any]:
    task, options, roles = case["task"], case["task"]["options"], case["task"]["roles"]
    check_vcov(options)
    if options.get("weight", "inverse_fitted_probability") != "inverse_fitted_probability":
        raise Unsupported(f"weights {options['weight']}")
    if options.get("response_family", "binomial") != "binomial":
        raise Unsupported(f"a response model of the family {options['response_family']}")
    frame = trial_frame(folder, task["data"])
    seen = frame[roles["observed"]] == 1
    frame["_y"] = np.where(seen, frame[roles["outcome"]].astype(float), np.nan)
    treatment = roles["treatment"]["column"]
    terms = [term for term in roles["response_covariates"] if term["column"] != treatment]
    if len(terms) == len(roles["response_covariates"]):
        raise Unsupported("a response model without the treatment")
    both = [*terms, *(term for term in roles.get("covariates", []) if term not in terms)]
    found = regression(frame, {**roles, "covariates": both})
    model = gbv.AttritionWeighted(
        response=names_of(found, terms),
        adjust=names_of(found, roles.get("covariates", [])),
        link=options.get("response_link", "logit"),
        weights_known=bool(options.get("weights_known", False)),
        std_error=options["vcov"],
        df=options["df"],
    )
    chosen = {"cluster": roles["cluster"]} if roles.get("cluster") else {}
    records = rows_of(model.estimate(found.trial("_y", **chosen)), options)
    by_term = {record["term"]: record for record in records}
    answer = {**fit_of(records[0]), "mean_weight": records[0]["mean_weight"], "response_coefficients": {}}
    for key, meaning in (case.get("result_terms") or {}).items():
        term = term_of(found, meaning)
        plain = "arm 1" if term == "arm 1 vs arm 0" else term
        if f"response: {plain}" in by_term:
            answer["response_coefficients"][key] = by_term[f"response: {plain}"]["estimate"]
        if term in by_term:
            answer[key] = row_of(by_term[term])
    return answer


def names_of(found: Regression, terms: list[dict[str, Any]]) -> tuple[str, ...]:
    """Return the columns of some terms."""
    wanted = {term["column"] for term in terms}
    return tuple(name for key, names in found.columns.items() if key[0] in wanted for name in names)


TASKS = {
    "attrition_weighted": attrition_weighted,
    "lee_bounds": lee_bounds,
    "extreme_value_bounds": extreme_value_bounds,
}
