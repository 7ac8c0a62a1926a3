"""Translates cases about generalised linear models, standardised contrasts, counts and estimating equations."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

import gbveval as gbv
from tests.reference.compare import Unsupported
from tests.reference.frames import trial_frame
from tests.reference.linear import cluster_robust_coefficients as linear_coefficients
from tests.reference.randomised import refuse_unknown

Columns = dict[str, tuple[str, Any]]


def model_trial(folder: Path, task: dict[str, Any], *, cluster: bool) -> tuple[gbv.Trial, Columns, str]:
    """Return the trial of a case, the term that each covariate column stands for, and what errors are clustered by."""
    roles = task["roles"]
    frame = trial_frame(folder, task["data"])
    frame, levels = with_arms(frame, roles["treatment"])
    frame, columns = with_covariates(frame, roles)
    extra: dict[str, Any] = {}
    outcome = roles.get("outcome")
    if roles.get("successes"):
        outcome = "_share"
        frame[outcome] = frame[roles["successes"]] / frame[roles["trials"]]
        frame["_weight"] = frame[roles["trials"]] * (frame[roles["weights"]] if roles.get("weights") else 1.0)
        extra["weight"] = "_weight"
    elif roles.get("weights"):
        extra["weight"] = roles["weights"]
    if roles.get("offset"):
        extra["exposure"] = with_exposure(frame, roles["offset"])
    if roles.get("block"):
        extra["stratum"] = roles["block"]
    by = "assignment"
    if cluster:
        # Where arms vary inside the groups, people were assigned, and errors are clustered by site.
        within = bool((frame.groupby(roles["cluster"])["_arm"].nunique() > 1).any())
        by = "site" if within else by
        extra["site" if within else "cluster"] = roles["cluster"]
    if roles.get("order") == "file":
        frame["_order"] = np.arange(len(frame))
        extra["time"] = "_order"
    if not outcome:
        raise Unsupported("several outcomes in one model")
    trial = gbv.Trial(frame, outcome=outcome, arm="_arm", control=levels[0], covariates=list(columns), **extra)
    return trial, columns, by


def with_arms(frame: pd.DataFrame, treatment: dict[str, Any]) -> tuple[pd.DataFrame, list[str]]:
    """Return the frame with a text column of arms, and the labels, control first."""
    levels = treatment.get("levels") or [treatment.get("control", 0), treatment.get("treated", 1)]
    column = frame[treatment["column"]]
    frame = frame[column.isin(levels)].reset_index(drop=True)
    names = [f"arm {number}" for number in range(len(levels))]
    frame["_arm"] = frame[treatment["column"]].map(dict(zip(levels, names)))
    return frame, names


def with_covariates(frame: pd.DataFrame, roles: dict[str, Any]) -> tuple[pd.DataFrame, Columns]:
    """Return the frame with one numeric column a coefficient, and what each stands for."""
    columns: Columns = {}
    parts: dict[str, list[str]] = {}
    terms = [*roles.get("covariates", []), *({"column": c, "as": "effects"} for c in roles.get("fixed_effects", []))]
    for term in terms:
        source = term["column"]
        if term["as"] in ("numeric", "log"):
            made = {f"{term['as']}:{source}": (np.log(frame[source]) if term["as"] == "log" else frame[source], None)}
        elif term["as"] in ("factor", "effects"):
            levels = term["levels"] if term["as"] == "factor" else sorted(frame[source].unique())
            made = {f"{source}={level}": ((frame[source] == level).astype(float), level) for level in levels[1:]}
        else:
            raise Unsupported(f"a covariate as {term['as']!r}")
        for name, (values, level) in made.items():
            frame[name] = values
            columns[name] = (source, level)
        parts.setdefault(source, []).extend(made)
    add_products(frame, roles, parts, columns)
    return frame, columns


def add_products(frame: pd.DataFrame, roles: dict[str, Any], parts: dict[str, list[str]], columns: Columns) -> None:
    """Add the columns of interactions; the treatment's is that of the arm."""
    treatment = roles["treatment"]["column"]
    for names in roles.get("interactions", []):
        made: dict[str, Any] = {"": 1.0}
        for column in names:
            if column == treatment:
                arms = sorted(frame["_arm"].unique())[1:]
                pieces = {arm: (frame["_arm"] == arm).astype(float) for arm in arms}
            else:
                pieces = {name: frame[name] for name in parts[column]}
            made = {f"{a}*{b}" if a else b: x * y for a, x in made.items() for b, y in pieces.items()}
        for name, values in made.items():
            frame[name] = values
            columns[name] = (":".join(names), name)


def with_exposure(frame: pd.DataFrame, offset: dict[str, Any]) -> str:
    """Return the column whose logarithm is the offset."""
    if offset["as"] == "log":
        return str(offset["column"])
    if offset["as"] == "numeric":
        frame["_exposure"] = np.exp(frame[offset["column"]])
        return "_exposure"
    raise Unsupported(f"an offset as {offset['as']!r}")


def row_names(terms: dict[str, Any], treatment: dict[str, Any], columns: Columns) -> dict[str, str]:
    """Return gbveval's term for each result key that is a coefficient."""
    names: dict[str, str] = {}
    for key, meaning in terms.items():
        found = term_name(meaning, treatment, columns)
        if found is not None:
            names[key] = found
    return names


def term_name(meaning: Any, treatment: dict[str, Any], columns: Columns) -> str | None:
    if meaning == "intercept":
        return "intercept"
    if not isinstance(meaning, dict):
        return None
    if "interaction" in meaning:
        wanted = [piece_name(piece, treatment, columns) for piece in meaning["interaction"]]
        product = [name for name in columns if "*" in name and sorted(name.split("*")) == sorted(map(str, wanted))]
        return product[0] if product else None
    piece = piece_name(meaning, treatment, columns)
    return f"{piece} vs arm 0" if piece is not None and piece.startswith("arm ") else piece


def piece_name(meaning: dict[str, Any], treatment: dict[str, Any], columns: Columns) -> str | None:
    """Return the arm or covariate column that one part of a term means."""
    if meaning.get("column") == treatment["column"]:
        if "level" in meaning and treatment.get("levels"):
            return f"arm {[str(x) for x in treatment['levels']].index(str(meaning['level']))}"
        return "arm 1"
    for name, (column, level) in columns.items():
        if column == meaning.get("column") and str(level) == str(meaning.get("level")):
            return name
    return None


def coefficient_rows(result: gbv.Estimates, names: dict[str, str], level: float) -> dict[str, dict[str, Any]]:
    """Return for each result key the numbers of its row on the scale of the coefficients."""
    low, high = result.intervals(level)
    values, errors = result.values, result.std_errors
    records = result.records(level)
    answer = {}
    for key, term in names.items():
        i = result.index(term)
        record = records[i]
        df = record["df"]
        answer[key] = {
            "estimate": values[i],
            "std_error": errors[i],
            "robust_se": errors[i],
            "statistic": record["statistic"],
            "wald_chi2": None if record["statistic"] is None else record["statistic"] ** 2,
            "p_value": record["p_value"],
            "df": None if df is None or np.isinf(df) else df,
            "conf_low": low[i],
            "conf_high": high[i],
            "exp_estimate": np.exp(values[i]),
            "exp_conf_low": np.exp(low[i]),
            "exp_conf_high": np.exp(high[i]),
        }
    return answer


def glm(folder: Path, case: dict[str, Any]) -> dict[str, Any]:
    task = case["task"]
    options = task["options"]
    refuse_unknown(options)
    vcov = options["vcov"]
    trial, columns, by = model_trial(folder, task, cluster=vcov.startswith("CR"))
    estimator = gbv.GeneralisedLinear(
        family=options["family"],
        link=options["link"],
        std_error=vcov,
        estimation=options.get("estimation", "maximum_likelihood"),
        df=options.get("df", "normal"),
        cluster_by=by,
    )
    result = estimator.estimate(trial)
    names = row_names(case["result_terms"], task["roles"]["treatment"], columns)
    return coefficient_rows(result, names, options.get("level", 0.95))


def cluster_robust_coefficients(folder: Path, case: dict[str, Any]) -> dict[str, Any]:
    linear = case["task"]["options"].get("model") != "glm"
    return linear_coefficients(folder, case) if linear else glm(folder, case)


def negative_binomial(folder: Path, case: dict[str, Any]) -> dict[str, Any]:
    task = case["task"]
    options = task["options"]
    refuse_unknown(options)
    vcov = {"model_theta_fixed": "model"}.get(options["vcov"], options["vcov"])
    if options["variance_function"] != "NB2" or options["link"] != "log":
        raise Unsupported(f"a negative binomial with {options['variance_function']} and link {options['link']}")
    trial, columns, by = model_trial(folder, task, cluster=vcov.startswith("CR"))
    result = gbv.NegativeBinomial(std_error=vcov, df=options.get("df", "normal"), cluster_by=by).estimate(trial)
    names = row_names(case["result_terms"], task["roles"]["treatment"], columns)
    answer: dict[str, Any] = dict(coefficient_rows(result, names, options.get("level", 0.95)))
    theta = result["theta"]
    log_likelihood = result.records()[0]["log_likelihood"]
    return {**answer, "theta": theta.value, "se_theta": theta.std_error, "two_loglik": 2.0 * log_likelihood}


TASKS = {
    "glm": glm,
    "negative_binomial": negative_binomial,
    "cluster_robust_coefficients": cluster_robust_coefficients,
}
