"""Measures bias and coverage of estimators of rollouts on processes whose truth is known."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import gbveval as gbv
from gbveval.core.errors import GbvevalError
from gbveval.core.provenance import versions
from gbveval.testing.rollout_processes import KINDS, RolloutFrames

RECORD = Path(__file__).with_name("measured.json")
SEED = 20261126
DRAWS = 400


@dataclass(frozen=True, slots=True)
class Method:
    """An estimator, and how its overall effect is read.

    Parameters
    ----------
    label : str
        In the table.
    estimator : Estimator
    average : str
        Which average is the overall effect; empty where the first row is.
    covariates : bool
        Whether it is given the covariate where the process has one.
    draws : int
        Panels; fewer for methods that draw themselves.
    pretest : bool
        Whether its test of effects before treatment is counted too.
    """

    label: str
    estimator: Any
    average: str = "simple"
    covariates: bool = True
    draws: int = DRAWS
    pretest: bool = False


METHODS = (
    Method("TwoWayFixedEffects", gbv.TwoWayFixedEffects(), average=""),
    Method("EventStudy", gbv.EventStudy()),
    Method("CallawaySantAnna, not yet treated", gbv.CallawaySantAnna()),
    Method("CallawaySantAnna, never treated", gbv.CallawaySantAnna(control="never_treated")),
    Method("CallawaySantAnna, method='dr_improved'", gbv.CallawaySantAnna(method="dr_improved")),
    Method("CallawaySantAnna, method='reg'", gbv.CallawaySantAnna(method="reg")),
    Method("CallawaySantAnna, anticipation=1", gbv.CallawaySantAnna(anticipation=1.0)),
    Method("CallawaySantAnna, covariate not given", gbv.CallawaySantAnna(), covariates=False),
    Method("SunAbraham", gbv.SunAbraham()),
    Method("SunAbraham, reference=-2", gbv.SunAbraham(reference=-2.0)),
    Method("Imputation", gbv.Imputation()),
    Method("Imputation, anticipation=1", gbv.Imputation(anticipation=1.0)),
    Method("TwoStage", gbv.TwoStage()),
    Method("ExtendedTwfe", gbv.ExtendedTwfe()),
    Method("StaggeredEfficient", gbv.StaggeredEfficient()),
    Method("RandomisedTiming", gbv.RandomisedTiming(n_draws=199), average=""),
    Method("SyntheticDid, jackknife", gbv.SyntheticDid(std_error="jackknife")),
    Method("ConleyTaber", gbv.ConleyTaber(), average="", draws=60),
)


def measure(method: Method, kind: str) -> dict[str, Any]:
    """Return bias and coverage over the draws of a process."""
    return count(method, RolloutFrames(kind), np.random.SeedSequence([SEED, KINDS.index(kind)]))


def count(method: Method, frames: Any, seeds: np.random.SeedSequence) -> dict[str, Any]:
    """Return bias and spread of the estimates, coverage of the intervals, and how often the pre-test rejects."""
    found: list[tuple[float, float, float]] = []
    tested: list[bool] = []
    refused = ""
    for child in seeds.spawn(method.draws):
        frame, truth = frames.frame(np.random.default_rng(child))
        data = frames.check(frame)
        if not method.covariates:
            roles = {"outcome": "y", "unit": "unit", "time": "time", "cohort": "cohort"}
            data = gbv.Panel(frame, **roles)
        try:
            result = method.estimator.estimate(data, rng=np.random.default_rng(child.generate_state(1)[0]))
            row = (result.aggregate(method.average) if method.average else result).records()[0]
            before = result.aggregate("pretest")[0] if method.pretest else None
        except GbvevalError as error:
            refused = type(error).__name__
            continue
        if row["conf_low"] is not None:
            found.append((row["estimate"] - truth, row["conf_low"] - truth, row["conf_high"] - truth))
        if before is not None and before.p_value is not None:
            tested.append(before.p_value < 0.05)
    if not found:
        return {"draws": method.draws, "defined": 0, "refused": refused}
    values = np.array(found)
    return {
        "draws": method.draws,
        "defined": len(found),
        "bias": float(values[:, 0].mean()),
        "sd": float(values[:, 0].std(ddof=1)),
        "coverage": float(np.mean((values[:, 1] <= 0) & (values[:, 2] >= 0))),
        **({"tested": len(tested), "pretest": float(np.mean(tested))} if tested else {}),
    }


def load(record: Path = RECORD) -> dict[str, Any]:
    """Return what was measured."""
    found: dict[str, Any] = json.loads(record.read_text(encoding="utf-8")) if record.exists() else {}
    return found


def current(method: Method) -> dict[str, Any]:
    """Return what a row's numbers depend on."""
    return {"estimator": repr(method.estimator), "average": method.average, "draws": method.draws, "seed": SEED}


def run(say: Callable[[str], None], *, only: str = "", again: bool = False) -> dict[str, Any]:
    """Measure the rows that are missing or have changed, and keep each as soon as it is there."""
    return keep(METHODS, lambda method: {kind: measure(method, kind) for kind in KINDS}, RECORD, say, only, again)


def keep(
    methods: Sequence[Method],
    cells: Callable[[Method], dict[str, Any]],
    record: Path,
    say: Callable[[str], None],
    only: str,
    again: bool,
) -> dict[str, Any]:
    """Measure rows of a table that are missing or have changed, and keep each as soon as it is there."""
    for method in methods:
        measured = load(record)
        known = measured.get(method.label, {}).get("description") == current(method)
        if only.lower() not in method.label.lower() or (known and not again):
            continue
        say(method.label)
        measured[method.label] = {"description": current(method), "cells": cells(method), "versions": dict(versions())}
        ordered = {each.label: measured[each.label] for each in methods if each.label in measured}
        record.write_text(json.dumps(ordered, indent=1) + "\n", encoding="utf-8")
    return load(record)
