"""Translates cases about yes-or-no outcomes: chi-squared tests, Fisher's, and those adjusted for clusters."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

import gbveval as gbv
from tests.reference.compare import Unsupported
from tests.reference.frames import trial_frame
from tests.reference.randomised import arms


def people(frame: pd.DataFrame, roles: dict[str, Any]) -> tuple[pd.DataFrame, str]:
    """Return one row a person where a case gives successes and trials, and the column of the outcome."""
    if "successes" not in roles:
        return frame, roles["outcome"]
    parts = []
    for value, count in ((1.0, frame[roles["successes"]]), (0.0, frame[roles["trials"]] - frame[roles["successes"]])):
        part = frame.loc[frame.index.repeat(count.astype(int))].copy()
        part["_y"] = value
        parts.append(part)
    return pd.concat(parts, ignore_index=True), "_y"


def proportion_test(folder: Path, case: dict[str, Any]) -> dict[str, Any]:
    task, options = case["task"], case["task"]["options"]
    if options.get("alternative", "two_sided") != "two_sided" or options.get("null", 0) != 0:
        raise Unsupported("only two-sided tests of no difference are given")
    frame, arm = arms(trial_frame(folder, task["data"]), task["roles"]["treatment"])
    frame, outcome = people(frame, task["roles"])
    trial = gbv.Trial(frame, outcome=outcome, arm=arm, control="control")
    answer: dict[str, Any] = {}
    asked = options["continuity_correction"]
    for corrected in asked if isinstance(asked, list) else [asked]:
        estimator = gbv.ProportionTest("yates" if corrected else "pearson", options["level"])
        record = estimator.estimate(trial).records()[0]
        tail = "_yates" if corrected else ""
        answer |= {"p1": record["risk_treated"], "p0": record["risk_control"]}
        answer[f"chi2{tail}"] = record["statistic"]
        answer[f"p_value{tail}"] = record["p_value"]
        answer[f"conf_low{tail}"] = record["difference_low"]
        answer[f"conf_high{tail}"] = record["difference_high"]
    return answer


def fisher_exact(folder: Path, case: dict[str, Any]) -> dict[str, Any]:
    task, options = case["task"], case["task"]["options"]
    rule = options.get("two_sided_rule", "no_more_likely")
    if rule not in ("no_more_likely", "central"):
        raise Unsupported(f"the two-sided rule {rule}")
    frame, arm = arms(trial_frame(folder, task["data"]), task["roles"]["treatment"])
    frame, outcome = people(frame, task["roles"])
    trial = gbv.Trial(frame, outcome=outcome, arm=arm, control="control")
    alternative = options.get("alternative", "two_sided")
    estimator = gbv.FisherExact(alternative, rule, float(options.get("null", 1)), options.get("level", 0.95))
    record = estimator.estimate(trial).records()[0]
    return {
        "odds_ratio": record["odds_ratio"],
        "p_value": record["p_value"],
        "conf_low": record["odds_ratio_low"],
        "conf_high": record["odds_ratio_high"],
    }


def clustered_proportion_test(folder: Path, case: dict[str, Any]) -> dict[str, Any]:
    task, options = case["task"], case["task"]["options"]
    frame, arm = arms(trial_frame(folder, task["data"]), task["roles"]["treatment"])
    frame, outcome = people(frame.reset_index(drop=True), task["roles"])
    # A label can occur in both arms, where it is not the same cluster.
    frame["_cluster"] = frame[task["roles"]["cluster"]].astype(str) + "/" + frame[arm]
    trial = gbv.Trial(frame, outcome=outcome, arm=arm, control="control", cluster="_cluster")
    record = gbv.ProportionTest(options["method"]).estimate(trial).records()[0]
    answer = {"chi2_adjusted": record["statistic"], "p_value": record["p_value"], "n_groups": len(trial.arms)}
    if options["method"] == "donner":
        return {**answer, "rho": record["icc"]}
    order = options.get("group_order", ["control", "treated"])
    groups = [frame[frame[arm] == name] for name in order]
    counts = {
        "N": [int(group["_cluster"].nunique()) for group in groups],
        "n": [len(group) for group in groups],
        "y": [int(np.sum(group[outcome])) for group in groups],
        "p": [record[f"risk_{name}"] for name in order],
        "vbin": [record[f"binomial_{name}"] for name in order],
        "vratio": [record[f"ratio_{name}"] for name in order],
        "deff": [record[f"deff_{name}"] for name in order],
    }
    return {**answer, "per_group": counts}


TASKS = {
    "proportion_test": proportion_test,
    "fisher_exact": fisher_exact,
    "clustered_proportion_test": clustered_proportion_test,
}
