"""Translates cases about missing outcomes: bounds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

import gbveval as gbv
from tests.reference.compare import Unsupported
from tests.reference.frames import trial_frame
from tests.reference.randomised import arms


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


TASKS = {"lee_bounds": lee_bounds, "extreme_value_bounds": extreme_value_bounds}
