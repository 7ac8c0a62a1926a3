"""Translates cases about what two-way fixed effects average."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

import gbveval as gbv
from tests.reference.compare import Unsupported
from tests.reference.frames import panel_frame
from tests.reference.rollouts import make_panel, with_cohort

KINDS = {
    "Earlier vs Later Treated": "earlier vs later treated",
    "Later vs Earlier Treated": "later vs earlier treated",
    "Later vs Always Treated": "later vs always treated",
    "Treated vs Untreated": "treated vs never treated",
}


def bacon(folder: Path, case: dict[str, Any]) -> dict[str, Any]:
    task, results = case["task"], case["results"]
    roles, options = task["roles"], task["options"]
    if options["always_treated"] != "own_comparison_group":
        raise Unsupported(f"units that are always treated as {options['always_treated']}")
    frame = with_cohort(panel_frame(folder, task["data"]), roles)
    panel = make_panel(frame, roles, cohort="_cohort")
    table = gbv.goodman_bacon(panel)
    given = options["covariate_decomposition"] is not None
    found = {
        frozenset(row[1:3]) if given else (row[1], row[2]): row for row in table.rows if row[0] != "within cohorts"
    }
    names = {
        options["always_treated_label"]: "always treated",
        options["never_treated_label"]: "never treated",
        float(panel.periods[0]): "always treated",
    }
    within = sum(row[4] for row in table.rows if row[0] == "within cohorts")
    estimates, weights, kinds = [], [], []
    for treated, untreated, kind in zip(results["treated"], results["untreated"], results["type"], strict=True):
        pair = tuple(names.get(code, f"cohort {code:g}") for code in (treated, untreated))
        key = frozenset(pair) if given else pair
        if key not in found:
            raise Unsupported(f"no comparison of {' with '.join(pair)}")
        row = found[key]
        estimates.append(row[3])
        weights.append(row[4] / (1.0 - within))
        # Between cohorts, kinds are said in the names of the two.
        kinds.append(kind if given or KINDS.get(kind) == row[0] else row[0])
    coefficient = float(sum(row[3] * row[4] for row in table.rows))
    answer: dict[str, Any] = {
        "treated": results["treated"],
        "untreated": results["untreated"],
        "type": kinds,
        "estimate": estimates,
        "weight": weights,
        "beta_twfe": coefficient,
        "untreated_code_never": options["never_treated_label"],
        "sum_weights": float(sum(row[4] for row in table.rows)),
    }
    if given:
        answer["omega"] = within
        answer["beta_within"] = next(row[3] for row in table.rows if row[0] == "within cohorts")
        answer["beta_between"] = float(np.dot(estimates, weights))
    if "by_type" in results:
        summed = {row[0]: row for row in gbv.goodman_bacon_by_kind(table).rows}
        rows = [summed[KINDS[kind]] for kind in results["by_type"]["type"]]
        answer["by_type"] = {
            "type": results["by_type"]["type"],
            "weight": [row[2] for row in rows],
            "avg_estimate": [row[3] for row in rows],
        }
    return answer


TASKS = {"bacon": bacon}
