"""Translates cases about randomly timed rollouts and synthetic controls."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

import gbveval as gbv
from tests.reference.compare import Unsupported
from tests.reference.frames import panel_frame
from tests.reference.rollouts import make_panel, with_cohort

AVERAGES = {"simple": "simple", "cohort": "cohort", "calendar": "calendar", "eventstudy": "event_time"}
EARLY = (
    "R's synthdid stops its Frank-Wolfe steps when one lowers the objective by less than (1e-5 sigma)^2; the same "
    "steps give its weights to 1e-12 and an objective above the optimum (test_why_r_differs.py)"
)
DISPUTED = ("omega", "effect_curve", "estimate")
# Stated by the cases for errors from 200 placebos drawn at random.
PLACEBO = (0.15, 0.0)
UNSEEN = (
    "R counts a cohort among those of an event time although the period lies before its panel, as a difference of zero "
    "(test_why_r_differs.py); ours is the average over cohorts that are seen"
)


def staggered_efficient(folder: Path, case: dict[str, Any]) -> dict[str, Any]:
    task = case["task"]
    roles, options = task["roles"], task["options"]
    panel = make_panel(with_cohort(panel_frame(folder, task["data"]), roles), roles, cohort="_cohort")
    answer: dict[str, Any] = {"_disputed": {}}
    for asked in options["estimators"]:
        by = AVERAGES[asked["estimand"]]
        found = {
            key: gbv.StaggeredEfficient(estimator=asked["estimator"], std_error=kind).estimate(panel).aggregate(by)
            for key, kind in (("se", "adjusted"), ("se_neyman", "neyman"))
        }
        rows = {key: result.records() for key, result in found.items()}
        if by != "event_time":
            answer[asked["result"]] = {"estimate": rows["se"][0]["estimate"]}
            answer[asked["result"]] |= {key: records[0]["std_error"] for key, records in rows.items()}
            continue
        events = options["event_times"]
        by_time = {key: {row.get("event_time"): row for row in records} for key, records in rows.items()}
        if any(e not in by_time["se"] for e in events):
            raise Unsupported("an event time that no cohort has")
        part: dict[str, Any] = {"event_time": events, "estimate": [by_time["se"][e]["estimate"] for e in events]}
        # The period that all are adjusted for has an effect of zero by construction, and no error; R says zero.
        part |= {key: [by_time[key][e]["std_error"] or 0.0 for e in events] for key in rows}
        answer[asked["result"]] = part
        for i in _unseen(panel, events):
            places = (f"{asked['result']}.{key}.{i}" for key in ("estimate", "se", "se_neyman"))
            answer["_disputed"] |= dict.fromkeys(places, UNSEEN)
    return answer


def _unseen(panel: gbv.Panel, events: list[float]) -> list[int]:
    """Return the event times that fall before the panel for some cohort."""
    first = float(np.min(panel.cohort))
    return [i for i, e in enumerate(events) if first + e < panel.periods[0]]


def synthetic_did(folder: Path, case: dict[str, Any]) -> dict[str, Any]:
    task = case["task"]
    roles, options = task["roles"], task["options"]
    panel = make_panel(panel_frame(folder, task["data"]), roles, treatment=roles["treatment"])
    equal = gbv.SyntheticDid(unit_penalty=np.inf, time_penalty=np.inf)
    estimators = {"synthdid": gbv.SyntheticDid(), "sc": gbv.SyntheticControl(), "did": equal}
    names = case["results"]["control_units"]
    answer: dict[str, Any] = {"N0": len(names), "_off": {}, "_disputed": {}}
    for kind in options["estimators"]:
        estimator = estimators[kind]
        result = estimator.estimate(panel)
        table = estimator.weights(panel, names=True)
        weight = {(row[1], row[2]): row[3] for row in table.rows}
        times = [w for (what, _), w in weight.items() if what == "period"]
        events = {row.get("event_time"): row["estimate"] for row in result.aggregate("event_time").records()}
        before = [e for e in events if e is not None and e < 0]
        answer["T0"] = len(before)
        answer[kind] = {
            "estimate": result["overall"].value,
            "omega": [weight["unit", name] for name in names],
            "lambda": times or [0.0] * len(before),
            "effect_curve": [value for e, value in events.items() if e is not None and e >= 0],
        }
        asked = options["standard_errors"].get(kind)
        if asked:
            answer[kind][asked["result"]] = result["overall"].std_error
            answer["_off"][f"{kind}.{asked['result']}"] = PLACEBO
        if kind != "did":
            answer["_disputed"] |= {f"{kind}.{key}": EARLY for key in DISPUTED}
    penalty = dict(gbv.SyntheticDid(std_error="none").estimate(panel)[0].extra)["unit_penalty"]
    # The penalty is the noise level times the fourth root of treated units times periods after.
    cells = (panel.n_units - len(names)) * (panel.periods.size - answer["T0"])
    answer |= {"zeta_omega": penalty, "noise_level_used_for_zeta": float(penalty or 0.0) / cells**0.25}
    return answer


TASKS = {"staggered_efficient": staggered_efficient, "synthetic_did": synthetic_did}
