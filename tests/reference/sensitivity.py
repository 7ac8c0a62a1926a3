"""Translates cases about departures from parallel trends: robust sets, and what a test of pre-trends can see."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

import gbveval as gbv
from tests.reference.compare import Unsupported

BOUND = "deviation from parallel trends"
METHODS = {
    "FLCI": ("fixed_length", "smoothness_flci"),
    "C-LF": ("conditional", "smoothness_conditional_least_favorable"),
}
DETECTS = "any pre-period |estimate| > z SE, z = normal quantile 1 - alpha/2"
# R's slope_for_power stops its search at uniroot's default tolerance, 2.2e-16 ** 0.25, in absolute terms: at its slope
# for a power of 0.5 its own power is 0.5012.
SLOPE_OFF = 1.3e-4


def honest_did(folder: Path, case: dict[str, Any]) -> dict[str, Any]:
    values, options = case["task"]["values"], case["task"]["options"]
    if options.get("sign_or_monotonicity") is not None:
        raise Unsupported(f"the shape {options['sign_or_monotonicity']}")
    n_pre, n_post = values["num_pre"], values["num_post"]
    times = [*range(-n_pre - 1, -1), *range(n_post)]
    study = gbv.event_study_from(values["betahat"], values["sigma"], times)
    weights = np.array(options["l_vec"], dtype=float)
    target = tuple((float(e), float(w)) for e, w in enumerate(weights) if w)
    level = 1.0 - options["alpha"]
    answer: dict[str, Any] = {}
    relative, smooth = options.get("relative_magnitudes"), options.get("smoothness")
    if relative is not None:
        if relative["bound"] != BOUND or relative["method"] != "C-LF":
            raise Unsupported(f"relative magnitudes of a {relative['bound']} by {relative['method']}")
        found = gbv.HonestDid(m=relative["Mbar"], target=target).assess(study, level=level)
        answer |= _original(found)
        answer["relative_magnitudes"] = {"Mbar": relative["Mbar"], **_limits(found)}
    for method in [] if smooth is None else smooth["methods"]:
        if method not in METHODS:
            raise Unsupported(f"smoothness by {method}")
        ours, key = METHODS[method]
        plan = gbv.HonestDid(restriction="smoothness", m=smooth["M"], method=ours, target=target)
        found = plan.assess(study, level=level)
        answer |= _original(found)
        answer[key] = {"M": smooth["M"], **_limits(found)}
    # The case allows 0.08 standard errors for sets that were inverted on a grid; its file states it in words.
    sigma = np.array(values["sigma"])[n_pre:, n_pre:]
    step = 0.08 * float(np.sqrt(weights @ sigma @ weights))
    on_a_grid = ("relative_magnitudes", "smoothness_conditional_least_favorable")
    return {**answer, "_off": dict.fromkeys(on_a_grid, (0.0, step))}


def _original(table: gbv.Table) -> dict[str, Any]:
    return {"original_lb": table.column("conf_low")[0], "original_ub": table.column("conf_high")[0]}


def _limits(table: gbv.Table) -> dict[str, Any]:
    rows = [i for i, row in enumerate(table.column("row")) if row == "robust"]
    return {
        "lb": [table.column("conf_low")[i] for i in rows],
        "ub": [table.column("conf_high")[i] for i in rows],
    }


def pretrends_power(folder: Path, case: dict[str, Any]) -> dict[str, Any]:
    values, options = case["task"]["values"], case["task"]["options"]
    if options["detects"] != DETECTS or not options["trend"].startswith("linear"):
        raise Unsupported(f"a test that detects {options['detects']}, or the trend {options['trend']}")
    key = f"slope_for_power_{options['slope'].split()[-1]}"
    if key not in case["results"]:
        raise Unsupported(f"the slope {options['slope']}")
    reference = values["reference"]
    times = [t - reference - 1 for t in values["t"]]
    study = gbv.event_study_from(values["betahat"], values["sigma"], times)
    asked: dict[str, Any] = {"alpha": options["alpha"]}
    slopes = gbv.pretrend_power(study, power=options["target_powers"], **asked).column("slope")[1:]
    names = [f"slope_for_power_{power:g}" for power in options["target_powers"]]
    slope = case["results"][key]
    power = gbv.pretrend_power(study, slope=slope, power=(), **asked)
    bias = gbv.pretrend_bias(study, slope=slope, **asked)
    place = int(np.searchsorted(values["t"], reference))
    trend, mean = list(bias.column("trend")), list(bias.column("mean_if_passed"))
    return {
        **dict(zip(names, slopes, strict=True)),
        "power_table": {
            "Power": power.column("power")[-1],
            "Bayes.Factor": power.column("bayes_factor")[-1],
            "Likelihood.Ratio": power.column("likelihood_ratio")[-1],
        },
        "deltatrue": [*trend[:place], 0.0, *trend[place:]],
        "mean_after_pretesting": [*mean[:place], None, *mean[place:]],
        "t": [*values["t"][:place], reference, *values["t"][place:]],
        "_off": dict.fromkeys(names, (0.0, SLOPE_OFF)),
    }


TASKS = {"honest_did": honest_did, "pretrends_power": pretrends_power}
