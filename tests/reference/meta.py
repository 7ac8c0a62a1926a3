"""Translates cases about pooling sites without a prior."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

import gbveval as gbv
from tests.reference.compare import Unsupported
from tests.reference.frames import condition, read_csv

MEASURES = {
    "RR": "risk_ratio",
    "OR": "odds_ratio",
    "RD": "risk_difference",
    "IRR": "rate_ratio",
    "PETO": "peto_odds_ratio",
    "AS": "arcsine_difference",
}
CORRECTED = {
    "zero_cell_studies": "zero_cell_sites",
    "all_studies": "all_sites",
    "all_studies_if_any_zero_cell": "all_sites_if_any_zero_cell",
}
INFERENCE = {"z": "normal", "knha": "hartung_knapp", "adhoc": "truncated_hartung_knapp"}
ONE_STAGE = {
    "unconditional_fixed_study_effects": "unconditional",
    "conditional_approximate_likelihood": "conditional",
}
COUNTS = ("events_treated", "events_control", "nonevents_treated", "nonevents_control", "n_treated", "n_control")
# The reference finds limits of Q-profile intervals by a root finder whose tolerance is 2.2e-16 ** 0.25 (see
# test_why_r_differs: at its limits Q misses the chi-squared quantile, at ours it does not).
ROOT = 1.2207e-4
# Where it states that it stops its iterations at 1e-5, tau2 is compared at that, and what follows at 1e-3 relative.
EARLY = (1e-3, 1e-5)
# These do not depend on the variance between sites.
UNMOVED = ("Q", "Q_p", "k", "k0")
# And a root finder of this accuracy gives it Paule and Mandel's tau2.
PAULE_MANDEL = 1e-4


def data(folder: Path, task: dict[str, Any]) -> pd.DataFrame:
    """Return the rows of a case: derive, filter, drop, in this order."""
    told = task["data"]
    frame = read_csv(folder, told["file"])
    for new in told.get("derive", []):
        if new["op"] == "row_number":
            frame[new["name"]] = np.arange(1, len(frame) + 1)
        elif new["op"] == "divide":
            frame[new["name"]] = frame[new["column"]] / new["value"]
        else:
            raise Unsupported(f"the derivation {new['op']!r}")
    for rule in told.get("filter", []):
        frame = frame[condition(frame, rule)]
    return frame.dropna(subset=told.get("drop_missing", [])).reset_index(drop=True)


def tables(frame: pd.DataFrame, roles: dict[str, str]) -> gbv.SiteTables:
    """Return events by site and arm, one row each."""
    long = []
    for arm in ("treated", "control"):
        part = pd.DataFrame({"site": frame[roles["site"]].astype(str), "arm": arm})
        part["events"] = frame[roles[f"events_{arm}"]]
        if f"time_{arm}" in roles:
            part["time"] = frame[roles[f"time_{arm}"]]
        elif f"n_{arm}" in roles:
            part["n"] = frame[roles[f"n_{arm}"]]
        else:
            part["n"] = part["events"] + frame[roles[f"nonevents_{arm}"]]
        long.append(part)
    told = pd.concat(long, ignore_index=True)
    size = {"exposure": "time"} if "time" in told else {"n": "n"}
    return gbv.SiteTables(told, site="site", arm="arm", control="control", events="events", **size)


def means(frame: pd.DataFrame, roles: dict[str, str]) -> gbv.SiteEffects:
    """Return standardised mean differences."""
    long = []
    for arm in ("treated", "control"):
        part = {name: frame[roles[f"{name}_{arm}"]] for name in ("mean", "sd", "n")}
        long.append(pd.DataFrame({"site": frame[roles["site"]].astype(str), "arm": arm, **part}))
    told = pd.concat(long, ignore_index=True)
    return gbv.effects_from_means(told, site="site", arm="arm", control="control", mean="mean", sd="sd", n="n")


def described(frame: pd.DataFrame, roles: dict[str, Any]) -> tuple[pd.DataFrame, dict[str, str]]:
    """Return the moderators as numeric columns, and the key of the results for each."""
    columns, keys = {}, {}
    for entry in roles.get("moderators", []):
        name = entry["column"]
        if entry["as"] == "numeric":
            columns[name], keys[name] = frame[name], name
            continue
        for level in entry["levels"]:
            if level != entry["reference"]:
                label = f"{name} is {level}"
                columns[label] = (frame[name].astype(str) == level).astype(float)
                keys[label] = f"factor({name}){level}"
    return pd.DataFrame(columns), keys


def effects(frame: pd.DataFrame, task: dict[str, Any]) -> tuple[gbv.SiteEffects, dict[str, str]]:
    """Return site effects of a case, with its moderators and studies."""
    roles, options = task["roles"], task.get("options", {})
    moderators, keys = described(frame, roles)
    if "estimate" in roles:
        told = pd.DataFrame({"estimate": frame[roles["estimate"]], "std_error": np.sqrt(frame[roles["variance"]])})
        told = pd.concat([told, moderators], axis=1)
        study = roles.get("cluster") or (roles["nesting"][0] if "nesting" in roles else None)
        if study is not None:
            told["study"] = frame[study].astype(str)
        extra = {} if study is None else {"study": "study"}
        found = gbv.SiteEffects(told, estimate="estimate", std_error="std_error", moderators=list(keys), **extra)
        return found, keys
    if options.get("measure") == "SMD":
        return means(frame, roles), keys
    found = counted(tables(frame, roles), options["measure"], options["continuity"])
    if keys:
        moderators["site"] = frame[roles["site"]].astype(str)
        found = found.with_moderators(moderators, site="site", moderators=list(keys))
    return found, keys


def counted(events: gbv.SiteTables, measure: str, continuity: dict[str, Any]) -> gbv.SiteEffects:
    """Return effects of tables."""
    if measure not in MEASURES:
        raise Unsupported(f"the measure {measure!r}")
    to = CORRECTED[continuity["to"]]
    return gbv.effects_from_tables(events, measure=MEASURES[measure], continuity=continuity["add"], corrected=to)


def row(answer: gbv.Estimates, term: str) -> dict[str, Any]:
    """Return a row on the link scale."""
    i = answer.index(term)
    tests, (low, high) = answer.tests(), answer.intervals()
    return {
        "estimate": float(answer.values[i]),
        "std_error": float(answer.std_errors[i]),
        "statistic": float(tests.statistic[i]),
        "p_value": float(tests.p_value[i]),
        "conf_low": float(low[i]),
        "conf_high": float(high[i]),
        "df": answer.terms[i].df,
    }


def coefficients(model: Any, sites: gbv.SiteEffects, keys: dict[str, str]) -> tuple[gbv.Estimates, dict[str, Any]]:
    """Return the answer and its coefficients: the intercept is the average where every moderator is zero."""
    if not keys:
        answer = model.estimate(sites)
        return answer, {"intrcpt": row(answer, "average effect")}
    answer = replace(model, at=dict.fromkeys(keys, 0.0)).estimate(sites)
    found = {"intrcpt": row(answer, "average effect at the moderators of the new site")}
    return answer, found | {key: row(answer, f"slope of {name}") for name, key in keys.items()}


def model_of(options: dict[str, Any]) -> gbv.RandomEffects:
    """Return the model of a case."""
    return gbv.RandomEffects(options["method"], INFERENCE[options["test"]], level=options.get("level", 0.95))


def pooled(folder: Path, case: dict[str, Any]) -> dict[str, Any]:
    """Answer random_effects, fixed_effect, meta_regression and subgroup."""
    task = case["task"]
    options = task["options"]
    sites, keys = effects(data(folder, task), task)
    model = model_of(options)
    answer, found = coefficients(model, sites, keys)
    spread = {entry[0]: entry for entry in gbv.heterogeneity(sites, model).rows}
    q, i2, h2 = spread["Q"], spread["I squared, per cent"], spread["H squared"]
    found |= {"k": sites.n, "Q": q[1], "Q_p": q[6], "I2": i2[1], "H2": h2[1], "tau2": 0.0}
    found |= {"I2_low": i2[3], "I2_high": i2[4], "H2_low": h2[3], "H2_high": h2[4]}
    found["loglik"] = dict(answer.terms[0].extra)["log_likelihood"]
    if keys:
        joint = answer["all moderators"]
        found |= {"QM": joint.statistic, "QM_p": joint.p_value}
        found["R2"] = spread["R squared, per cent"][1]
    else:
        # With a single coefficient the joint test is that of the coefficient.
        found |= {"QM": found["intrcpt"]["statistic"] ** 2, "QM_p": found["intrcpt"]["p_value"]}
    if options["method"] != "EE":
        tau2 = spread["between-site variance"]
        found |= {"tau2": tau2[1], "se_tau2": tau2[2], "tau2_low": tau2[3], "tau2_high": tau2[4]}
        new = row(answer, "effect in a new site")
        found |= {"pi_low": new["conf_low"], "pi_high": new["conf_high"]}
        found["_off"] = roots(found)
    if options.get("threshold", 0.0) >= 1e-5:
        found["_off"] = early(case)
    elif options["method"] == "PM":
        # A tail magnifies the relative error of its statistic by about the statistic's square.
        tail = (PAULE_MANDEL * max(1.0, found["QM"]), 0.0)
        found["_off"] = found["_off"] | {"intrcpt.p_value": tail, "QM_p": tail}
    return found


def early(case: dict[str, Any]) -> dict[str, tuple[float, float]]:
    """Return how far the results of a case may be off whose iterations stopped early."""
    return {key: EARLY for key in case["results"] if key not in UNMOVED}


def roots(found: dict[str, Any]) -> dict[str, tuple[float, float]]:
    """Return how far Q-profile limits of the reference may be off; those of shares follow from the variance's."""
    off = {"tau2_low": (0.0, ROOT), "tau2_high": (0.0, ROOT)}
    if found["tau2"]:
        per_variance = (found["H2"] - 1.0) / found["tau2"]
        for end in ("low", "high"):
            off[f"H2_{end}"] = (0.0, ROOT * per_variance)
            off[f"I2_{end}"] = (0.0, 100.0 * ROOT * per_variance / found[f"H2_{end}"] ** 2)
    else:
        off |= dict.fromkeys(("H2_high", "I2_high", "H2_low", "I2_low"), (1e-2, 0.0))
    return off


def effect_sizes(folder: Path, case: dict[str, Any]) -> dict[str, Any]:
    task = case["task"]
    options = task["options"]
    if not isinstance(options["measure"], list) or isinstance(options["continuity"], list):
        raise Unsupported("a list of corrections")
    events = tables(data(folder, task), task["roles"])
    answers = {measure: counted(events, measure, options["continuity"]) for measure in options["measure"]}
    return {key: {"yi": sites.estimate.tolist(), "vi": (sites.std_error**2).tolist()} for key, sites in answers.items()}


def multilevel(folder: Path, case: dict[str, Any]) -> dict[str, Any]:
    task = case["task"]
    if len(task["roles"]["nesting"]) != 2:
        raise Unsupported("other nesting than effects in studies")
    sites, keys = effects(data(folder, task), task)
    inference = {"z": "normal", "t": "t"}[task["options"]["test"]]
    answer, found = coefficients(gbv.MultilevelEffects(inference), sites, keys)
    sds = [answer[term].value for term in ("between-study sd", "within-study sd")]
    own = dict(answer.terms[0].extra)
    return found | {
        "sigma2": [float(sd) ** 2 for sd in sds if sd is not None],
        "k": sites.n,
        "Q": own["cochran_q"],
        "loglik": own["log_likelihood"],
    }


def robust(folder: Path, case: dict[str, Any]) -> dict[str, Any]:
    task = case["task"]
    options = task["options"]
    sites, keys = effects(data(folder, task), task)
    model = gbv.RobustEffects(options["working_model"], options["small_sample"])
    answer, found = coefficients(model, sites, keys)
    found["n_clusters"] = answer.terms[0].n_clusters
    if keys:
        joint = answer["all moderators"]
        found |= {"QM": joint.statistic, "QM_p": joint.p_value}
    else:
        found |= {"QM": found["intrcpt"]["statistic"] ** 2, "QM_p": found["intrcpt"]["p_value"]}
    return found


def common(folder: Path, case: dict[str, Any]) -> dict[str, Any]:
    """Answer mantel_haenszel and peto."""
    task = case["task"]
    events = tables(data(folder, task), task["roles"])
    answer = gbv.MantelHaenszel(MEASURES[task["options"]["measure"]]).estimate(events)
    found = row(answer, "common effect") | {"Q": dict(answer.terms[0].extra)["cochran_q"], "k": events.n}
    if "cmh" in case["results"] and len(answer) == 3:
        found["cmh"] = answer["no effect in any site"].statistic
        shared = answer["one odds ratio in all sites"]
        found |= {"tarone": shared.statistic, "breslow_day": dict(shared.extra)["breslow_day"]}
    return found


def glmm(folder: Path, case: dict[str, Any]) -> dict[str, Any]:
    task = case["task"]
    if task["options"]["model"] not in ONE_STAGE:
        raise Unsupported(f"the one-stage model {task['options']['model']!r}")
    answer = gbv.OneStage(ONE_STAGE[task["options"]["model"]]).estimate(tables(data(folder, task), task["roles"]))
    tau = answer["between-site sd"].value
    return row(answer, "average effect") | {"tau2": None if tau is None else tau**2}


def egger(folder: Path, case: dict[str, Any]) -> dict[str, Any]:
    sites, _ = effects(data(folder, case["task"]), case["task"])
    table = gbv.egger_test(sites)
    slope, limit = (dict(zip(table.columns, entry, strict=True)) for entry in table.rows)
    return {key: slope[key] for key in ("statistic", "df", "p_value")} | {"intercept": limit["estimate"]}


def trim_and_fill(folder: Path, case: dict[str, Any]) -> dict[str, Any]:
    task = case["task"]
    sites, _ = effects(data(folder, task), task)
    options = task["options"]
    table = gbv.trim_and_fill(sites, model_of(options), side=options["side"], estimator=options["estimator"])
    filled = dict(zip(table.columns, table.rows[1], strict=True))
    found: dict[str, Any] = {"intrcpt": filled, "k0": filled["filled"], "k": filled["n"]}
    names = {
        "tau2": "between_site_variance",
        "se_tau2": "between_site_variance_std_error",
        "Q": "q",
        "Q_p": "q_p_value",
        "I2": "i_squared",
        "H2": "h_squared",
        "loglik": "log_likelihood",
    }
    found |= {key: filled[name] for key, name in names.items()}
    found |= {"QM": filled["statistic"] ** 2, "QM_p": filled["p_value"]}
    return found | {"_off": early(case)}


def leave_one_out(folder: Path, case: dict[str, Any]) -> dict[str, Any]:
    sites, _ = effects(data(folder, case["task"]), case["task"])
    table = gbv.site_influence(sites, model_of(case["task"]["options"]))
    names = {"estimate": "estimate", "se": "std_error", "tau2": "between_site_variance", "I2": "i_squared"}
    found: dict[str, Any] = {key: list(table.column(name)) for key, name in names.items()}
    return found | {"_off": early(case)}


def blup(folder: Path, case: dict[str, Any]) -> dict[str, Any]:
    sites, _ = effects(data(folder, case["task"]), case["task"])
    answer = model_of(case["task"]["options"]).estimate(sites)
    rows = [row(answer, f"effect in {label}") for label in sites.labels]
    names = {"pred": "estimate", "se": "std_error", "pi_low": "conf_low", "pi_high": "conf_high"}
    found: dict[str, Any] = {key: [entry[name] for entry in rows] for key, name in names.items()}
    return found | {"_off": early(case)}


TASKS: dict[str, Callable[[Path, dict[str, Any]], Any]] = {
    "random_effects": pooled,
    "fixed_effect": pooled,
    "meta_regression": pooled,
    "subgroup": pooled,
    "effect_sizes": effect_sizes,
    "multilevel": multilevel,
    "robust": robust,
    "mantel_haenszel": common,
    "peto": common,
    "glmm": glmm,
    "egger": egger,
    "trim_and_fill": trim_and_fill,
    "leave_one_out": leave_one_out,
    "blup": blup,
}
