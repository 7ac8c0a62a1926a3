"""Translates cases about take-up, assignment probabilities and cluster summaries."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

import gbveval as gbv
from tests.reference.compare import Unsupported
from tests.reference.frames import trial_frame
from tests.reference.linear import Regression, check_vcov, fit_of, key_of, regression
from tests.reference.randomised import arms, refuse_tests_of_other_nulls, row_of, rows_of


def two_stage_least_squares(folder: Path, case: dict[str, Any]) -> dict[str, Any]:
    roles, options = case["task"]["roles"], case["task"]["options"]
    check_vcov(options)
    if len(roles["endogenous"]) != 1:
        raise Unsupported("more than one endogenous regressor")
    frame, treatment = instruments(trial_frame(folder, case["task"]["data"]), roles["instrument"])
    found = regression(frame, {**roles, "treatment": treatment})
    trial, by = found.grouped({**roles, "received": roles["endogenous"][0]})
    model = gbv.ComplierAverage(options["vcov"], options["df"], by, "wald", options["level"])
    records = rows_of(model.estimate(trial), options)
    by_term = {record["term"]: record for record in records}
    answer = fit_of(records[0])
    for key, meaning in (case.get("result_terms") or {}).items():
        record = by_term.get(_term(found, roles["endogenous"][0], meaning))
        if record is not None:
            answer[key] = row_of(record)
    return answer


def instruments(frame: pd.DataFrame, names: list[str]) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Return the frame with the arm that the instruments describe: 0/1 columns that exclude each other."""
    values = frame[names].to_numpy(float)
    if not np.isin(values, (0.0, 1.0)).all() or (values.sum(axis=1) > 1).any():
        raise Unsupported("instruments that are not the arms of a trial")
    frame = frame.copy()
    frame["_z"] = values @ np.arange(1, len(names) + 1)
    return frame, {"column": "_z", "as": "factor", "levels": list(range(len(names) + 1))}


def _term(found: Regression, endogenous: str, meaning: Any) -> str:
    if meaning == "intercept":
        return "intercept"
    return "received" if meaning.get("column") == endogenous else found.columns[key_of(meaning)][0]


def horvitz_thompson(folder: Path, case: dict[str, Any]) -> dict[str, Any]:
    roles, options = case["task"]["roles"], case["task"]["options"]
    if options["vcov"] not in ("young", "constant_effects") or options["df"] != "normal":
        raise Unsupported(f"Horvitz-Thompson with {options['vcov']} and df {options['df']}")
    kind = options["assignment"]["type"]
    frame, arm = arms(trial_frame(folder, case["task"]["data"]), roles["treatment"])
    chosen = {
        ours: roles[theirs] for ours, theirs in (("cluster", "cluster"), ("stratum", "block")) if roles.get(theirs)
    }
    share = probability(frame, roles, options["assignment"])
    if share is not None:
        frame["_p"] = share
        chosen["probability"] = "_p"
    assignment = "independent" if kind == "simple" else "complete"
    trial = gbv.Trial(frame, outcome=roles["outcome"], arm=arm, control="control", **chosen)
    estimates = gbv.HorvitzThompson(assignment, options["vcov"]).estimate(trial)
    record = rows_of(estimates, options)[0]
    return {**row_of(record), "n_obs": record["n_units"]}


def probability(frame: pd.DataFrame, roles: dict[str, Any], assignment: dict[str, Any]) -> Any:
    """Return the column of probabilities that a case describes; None where the observed numbers give it."""
    given = roles.get("probability")
    if isinstance(given, (int, float)):
        return np.full(len(frame), float(given))
    if isinstance(given, dict):
        column = frame[given["mean_of"]]
        return column.groupby(frame[given["within"]]).transform("mean") if "within" in given else column.mean()
    fixed = {"complete": "treated_units", "complete_clusters": "treated_clusters"}.get(assignment["type"])
    if fixed is not None and isinstance(assignment.get(fixed), (int, float)):
        units = frame[roles["cluster"]].nunique() if assignment["type"] == "complete_clusters" else len(frame)
        return np.full(len(frame), assignment[fixed] / units)
    if assignment["type"] == "simple":
        raise Unsupported("independent assignment without a probability")
    return None


def cluster_summary_test(folder: Path, case: dict[str, Any]) -> dict[str, Any]:
    roles, options = case["task"]["roles"], case["task"]["options"]
    frame, arm = arms(trial_frame(folder, case["task"]["data"]), roles["treatment"])
    if options.get("distribution", "normal_approximation") != "normal_approximation":
        raise Unsupported("the exact distribution of a rank sum is a permutation test")
    frame["_cluster"] = np.arange(len(frame))
    chosen = {"pair": roles["pair"]} if roles.get("pair") and options["test"] == "paired_t" else {}
    trial = gbv.Trial(frame, outcome=roles["outcome"], arm=arm, control="control", cluster="_cluster", **chosen)
    continuity = bool(options.get("continuity_correction", True))
    estimates = gbv.ClusterSummary(options["test"], continuity=continuity).estimate(trial)
    if options["test"] == "rank_sum":
        refuse_tests_of_other_nulls(options)
        record = estimates.records()[0]
        return {**row_of(record), "statistic": record["rank_sum_minus_minimum"]}
    record = rows_of(estimates, options, one_sided=True)[0]
    return {**row_of(record), "mean_1": record["mean_treated"], "mean_0": record["mean_control"]}


TASKS = {
    "two_stage_least_squares": two_stage_least_squares,
    "horvitz_thompson": horvitz_thompson,
    "cluster_summary_test": cluster_summary_test,
}
