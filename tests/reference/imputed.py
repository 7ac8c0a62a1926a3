"""Translates cases about effects from untreated rows: imputation, and two stages."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gbveval as gbv
from tests.reference.compare import Unsupported
from tests.reference.frames import panel_frame
from tests.reference.rollouts import make_panel, with_cohort


def _rows(result: gbv.Estimates, events: list[float] | None) -> dict[str, list[Any]]:
    """Return the overall average, or those of some event times."""
    if events is None:
        record = result.aggregate("simple").records()[0]
        return {"estimate": [record["estimate"]], "std_error": [record["std_error"]]}
    found = {record.get("event_time"): record for record in result.aggregate("event_time").records()}
    missing = [e for e in events if e not in found]
    if missing:
        raise Unsupported(f"no row for event times {missing}")
    return {key: [found[e][key] for e in events] for key in ("estimate", "std_error")}


def _panel(folder: Path, task: dict[str, Any]) -> gbv.Panel:
    roles = task["roles"]
    ways = ("additive", "interacted_with_time_dummies")
    if any(item["as"] not in ways for item in roles.get("covariates", [])):
        raise Unsupported("covariates that enter in another way")
    return make_panel(with_cohort(panel_frame(folder, task["data"]), roles), roles, cohort="_cohort")


def imputation(folder: Path, case: dict[str, Any]) -> dict[str, list[Any]]:
    options = case["task"]["options"]
    result = gbv.Imputation().estimate(_panel(folder, case["task"]))
    if options["aggregation"] == "static":
        return _rows(result, None)
    return _rows(result, [float(e) for e in (*options["pretrend_leads"], *options["horizons"])])


def two_stage(folder: Path, case: dict[str, Any]) -> dict[str, list[Any]]:
    options = case["task"]["options"]
    result = gbv.TwoStage().estimate(_panel(folder, case["task"]))
    static = options["aggregation"] == "static"
    return _rows(result, None if static else [float(e) for e in options["horizons"]])


TASKS = {"imputation": imputation, "two_stage": two_stage}
