"""Translates cases about difference-in-differences."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

import gbveval as gbv
from tests.reference.compare import Unsupported
from tests.reference.frames import panel_frame

CONTROLS = {"never": "never_treated", "not_yet": "not_yet_treated"}
AGGREGATIONS = {"simple": "simple", "dynamic": "event_time", "group": "cohort", "calendar": "calendar"}


def _check_supported(roles: dict[str, Any], options: dict[str, Any]) -> None:
    if any(item["as"] not in ("base_period_value", "own_row_value") for item in roles.get("covariates", [])):
        raise Unsupported("covariates that enter in another way")
    if options.get("fix_weights") not in (None, "none"):
        raise Unsupported(f"weights fixed at {options['fix_weights']}")
    if options["panel"] and options.get("unbalanced", "drop") != "drop":
        raise Unsupported("unbalanced panels kept as they are")
    if options.get("post_treatment_cells", "t >= g") != "t >= g":
        raise Unsupported(f"post-treatment cells {options['post_treatment_cells']}")
    if options["control_group"] not in CONTROLS:
        raise Unsupported(f"control group {options['control_group']}")
    vcov = options.get("vcov", {})
    if vcov.get("type", "influence_function") != "influence_function" or vcov.get("small_sample", "none") != "none":
        raise Unsupported(f"standard errors of type {vcov}")


def _panel(frame: pd.DataFrame, roles: dict[str, Any], options: dict[str, Any]) -> gbv.Panel:
    cohort = frame[roles["cohort"]].astype(float)
    if roles.get("never_treated_code") is not None:
        cohort = cohort.mask(cohort == roles["never_treated_code"])
    frame = frame.assign(_cohort=cohort)
    clusters = [name for name in roles.get("cluster", []) if name != roles.get("unit")]
    if len(clusters) > 1:
        raise Unsupported("clustering in two ways")
    unit = roles["unit"] if options["panel"] else None
    extra: dict[str, Any] = {"weight": roles["weights"]} if roles.get("weights") else {}
    if clusters:
        extra["cluster"] = clusters[0]
    if roles.get("covariates"):
        extra["covariates"] = [item["column"] for item in roles["covariates"]]
    return gbv.Panel(frame, outcome=roles["outcome"], unit=unit, time=roles["time"], cohort="_cohort", **extra)


def _columns(result: gbv.Estimates, names: dict[str, str]) -> dict[str, list[Any]]:
    records = result.records()
    return {theirs: [record.get(ours) for record in records] for theirs, ours in names.items()}


def callaway_santanna(folder: Path, task: dict[str, Any], results: dict[str, Any]) -> dict[str, Any]:
    roles, options = task["roles"], task["options"]
    _check_supported(roles, options)
    panel = _panel(panel_frame(folder, task["data"]), roles, options)
    control = CONTROLS[options["control_group"]]
    last = options.get("no_never_treated") == "last_cohort_is_control"
    if last and control == "never_treated" and not panel.has_never_treated:
        control = "last_treated"
    estimator = gbv.CallawaySantAnna(
        control=control,
        base_period=options["base_period"],
        anticipation=options["anticipation"],
        unbalanced="drop",
        method=options.get("method") or "dr",
    )
    effects = estimator.estimate(panel)
    keep_undefined = options.get("drop_undefined_cells_in_aggregation") is False
    if keep_undefined and any(row.value is None for row in effects.terms):
        raise Unsupported("averages that keep undefined cells")
    answer: dict[str, Any] = dict(
        _columns(effects, {"group": "cohort", "time": "time", "att": "estimate", "se": "std_error"})
    )
    answer = _in_order(answer, results)
    answer["n_units"] = effects.aggregate("simple").records()[0]["n_units"]
    test = effects.aggregate("pretest").records()[0]
    answer["pretest_wald"], answer["pretest_pvalue"] = test["statistic"], test["p_value"]
    for kind in options["aggregations"]:
        answer[f"agg_{kind}"] = _aggregation(effects, kind, options)
    if "uniform_band" in results:
        answer["uniform_band"] = _band(effects, results["uniform_band"])
    return answer


def _in_order(answer: dict[str, Any], results: dict[str, Any]) -> dict[str, Any]:
    """Return our cells in the order of the reference, matched on cohort and period."""
    place = {(g, t): i for i, (g, t) in enumerate(zip(answer["group"], answer["time"], strict=True))}
    cells = zip(results["group"], results["time"], strict=True)
    # A cell that we do not have is compared with the one in its place, so that it counts as a mismatch.
    order = [place.get((float(g), float(t)), i) for i, (g, t) in enumerate(cells)]
    return {name: [column[i] if i < len(column) else 0.0 for i in order] for name, column in answer.items()}


def _aggregation(effects: gbv.Estimates, kind: str, options: dict[str, Any]) -> dict[str, Any]:
    found = effects.aggregate(
        AGGREGATIONS[kind],
        balance=options.get("balance_e") if kind == "dynamic" else None,
        min_event_time=options.get("min_e"),
        max_event_time=options.get("max_e"),
    )
    overall, *rest = found.records()
    if kind == "simple":
        return {"att": overall["estimate"], "se": overall["std_error"]}
    label = [record["term"].split()[-1] for record in rest]
    return {
        "overall_att": overall["estimate"],
        "overall_se": overall["std_error"],
        "egt": [float(text) for text in label],
        "att": [record["estimate"] for record in rest],
        "se": [record["std_error"] for record in rest],
    }


def _band(effects: gbv.Estimates, reference: dict[str, Any]) -> dict[str, Any]:
    """Answer for a simulated band; our own simulation error is made small beside the reference's."""
    options: dict[str, Any] = {"n_draws": 800_000, "seed": 1, "multiplier": "rademacher", "scale": "interquartile"}
    cells = effects.with_band(**options).band
    event = effects.aggregate("event_time").with_band(**options).band
    if cells is None or event is None:
        raise Unsupported("a band without members")
    return {
        "att_gt_critical_value": cells.critical,
        "dynamic_critical_value": event.critical,
        "att_gt_boot_se": list(cells.scale),
        "dynamic_boot_se": list(event.scale),
    }


# R's DRDID 1.2.3 leaves a part of the first steps out of these standard errors of repeated cross-sections. The
# unit tests compare ours with the derivative of the estimate in the weights.
INEXACT = {"drdid_imp_locally_efficient", "drdid_imp_rc1", "drdid_trad_rc1"}


def doubly_robust(folder: Path, case: dict[str, Any]) -> dict[str, Any]:
    task = case["task"]
    roles, options = task["roles"], task["options"]
    frame = panel_frame(folder, task["data"])
    first = float(frame.loc[frame[roles["post"]] == 1, roles["time"]].min())
    frame["_cohort"] = np.where(frame[roles["treatment"]] == 1, first, np.nan)
    names = [item["column"] for item in roles.get("covariates", [])]
    unit = roles["unit"] if options["panel"] else None
    panel = gbv.Panel(
        frame, outcome=roles["outcome"], unit=unit, time=roles["time"], cohort="_cohort", covariates=names
    )
    answer: dict[str, Any] = {"_off": {}}
    for estimator in options["estimators"]:
        name = estimator["result"]
        row = _two_periods(estimator).estimate(panel).records()[0]
        found = {"att": row["estimate"], "se": row["std_error"]}
        found["conf_low"], found["conf_high"] = row["conf_low"], row["conf_high"]
        answer[name] = found
        expected = case["results"][name]
        # R takes 1.96 for the normal quantile 1.959964.
        off, limits = 0.0, 4e-5 * expected["se"]
        accepted = expected.get(estimator.get("accepted_se") or "")
        if accepted is not None:
            # The case accepts the exact error in place of R's, whose limits follow from its own.
            found[estimator["accepted_se"]] = row["std_error"]
            off = abs(accepted - expected["se"]) * 1.001
        elif name in INEXACT:
            off = 0.01 * expected["se"]
        elif estimator["method"] == "twfe":
            # R divides this sum of squares by n - 1, and the others by n; its limits are normal, ours have t.
            found["se"] *= (panel.n_rows / (panel.n_rows - 1.0)) ** 0.5
            limits = 1.5e-3 * expected["se"]
        answer["_off"].update({f"{name}.{limit}": (0.0, limits + 2.0 * off) for limit in ("conf_low", "conf_high")})
        answer["_off"][f"{name}.se"] = (0.0, off)
    return answer


def _two_periods(estimator: dict[str, Any]) -> Any:
    if estimator["method"] == "twfe":
        return gbv.TwoByTwo(std_error="HC0")
    if estimator["method"] == "dr":
        method = "dr_improved" if estimator["propensity"] == "calibrated" else "dr"
    elif estimator["method"] == "ipw":
        method = "ipw" if estimator["normalized"] else "ipw_unnormalised"
    else:
        method = estimator["method"]
    return gbv.DoublyRobust(method=method, efficient=estimator.get("locally_efficient", True))
