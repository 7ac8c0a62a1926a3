"""Translates cases about generalised linear models, standardised contrasts, counts and estimating equations."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

import gbveval as gbv
from tests.reference.compare import Unsupported
from tests.reference.frames import trial_frame
from tests.reference.linear import cluster_robust_coefficients as linear_coefficients

Columns = dict[str, tuple[str, Any]]


@dataclass(frozen=True)
class Asked:
    """The trial of a case and what its words mean in it.

    `columns` says for each covariate column which term it stands for, `by` what errors are clustered by, `products`
    which covariates have a product with the arms that the estimator makes itself.
    """

    trial: gbv.Trial
    columns: Columns
    by: str
    products: tuple[str, ...]


def model_trial(folder: Path, task: dict[str, Any], *, cluster: bool, own_products: bool = False) -> Asked:
    """Return the trial of a case; products with the arm are covariates unless the estimator makes its own."""
    roles = task["roles"]
    frame = trial_frame(folder, task["data"])
    frame, levels = with_arms(frame, roles["treatment"])
    frame, columns, products = with_covariates(frame, roles, own_products)
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
        group = with_groups(frame, roles)
        # Where arms vary inside the groups, people were assigned, and errors are clustered by site.
        within = bool((frame.groupby(group)["_arm"].nunique() > 1).any())
        by = "site" if within else by
        extra["site" if within else "cluster"] = group
    if roles.get("order") == "file":
        frame["_order"] = np.arange(len(frame))
        extra["time"] = "_order"
    if not outcome:
        raise Unsupported("several outcomes in one model")
    trial = gbv.Trial(frame, outcome=outcome, arm="_arm", control=levels[0], covariates=list(columns), **extra)
    return Asked(trial, columns, by, products)


def with_groups(frame: pd.DataFrame, roles: dict[str, Any]) -> str:
    """Return the column of clusters; without the role every row is one of its own."""
    if roles.get("cluster"):
        return str(roles["cluster"])
    frame["_unit"] = np.arange(len(frame))
    return "_unit"


def with_arms(frame: pd.DataFrame, treatment: dict[str, Any]) -> tuple[pd.DataFrame, list[str]]:
    """Return the frame with a text column of arms, and the labels, control first."""
    levels = treatment.get("levels") or [treatment.get("control", 0), treatment.get("treated", 1)]
    column = frame[treatment["column"]]
    frame = frame[column.isin(levels)].reset_index(drop=True)
    names = [f"arm {number}" for number in range(len(levels))]
    frame["_arm"] = frame[treatment["column"]].map(dict(zip(levels, names)))
    return frame, names


def with_covariates(
    frame: pd.DataFrame, roles: dict[str, Any], own_products: bool
) -> tuple[pd.DataFrame, Columns, tuple[str, ...]]:
    """Return the frame with one numeric column a coefficient, what each stands for, and the products left out."""
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
    products: list[str] = []
    # Products of covariates come first: a product with the arm may have one of them as its other part.
    treatment = roles["treatment"]["column"]
    for names in sorted(roles.get("interactions", []), key=lambda names: treatment in names):
        rest = combinations(frame, [name for name in names if name != treatment], parts, columns)
        if treatment not in names:
            continue
        if own_products:
            products += rest
            continue
        for arm in sorted(frame["_arm"].unique())[1:]:
            for name in rest:
                frame[f"{arm}*{name}"] = (frame["_arm"] == arm) * frame[name]
                columns[f"{arm}*{name}"] = (":".join(names), f"{arm}*{name}")
    return frame, columns, tuple(products)


def combinations(frame: pd.DataFrame, names: list[str], parts: dict[str, list[str]], columns: Columns) -> list[str]:
    """Add the products of covariates, one a combination of their columns, and return the names."""
    made = [""]
    for column in names:
        made = [f"{a}*{b}" if a else b for a in made for b in parts[column]]
    for name in made:
        if name not in columns:
            frame[name] = frame[name.split("*")].prod(axis=1)
            columns[name] = (":".join(names), name)
    return made


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


def coefficient_rows(
    result: gbv.Estimates, names: dict[str, str], options: dict[str, Any]
) -> dict[str, dict[str, Any]]:
    """Return for each result key the numbers of its row on the scale of the coefficients."""
    level = options.get("level", 0.95)
    low, high = result.intervals(level)
    tests = result.tests(null=options.get("null", 0.0), alternative=options.get("alternative", "two_sided"))
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
            "statistic": tests.statistic[i],
            "wald_chi2": tests.statistic[i] ** 2,
            "p_value": tests.p_value[i],
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
    vcov = options["vcov"]
    asked = model_trial(folder, task, cluster=vcov.startswith("CR"))
    estimator = gbv.GeneralisedLinear(
        family=options["family"],
        link=options["link"],
        std_error=vcov,
        estimation=options.get("estimation", "maximum_likelihood"),
        df=options.get("df", "normal"),
        cluster_by=asked.by,
    )
    result = estimator.estimate(asked.trial)
    names = row_names(case["result_terms"], task["roles"]["treatment"], asked.columns)
    return coefficient_rows(result, names, options)


def cluster_robust_coefficients(folder: Path, case: dict[str, Any]) -> dict[str, Any]:
    linear = case["task"]["options"].get("model") != "glm"
    return linear_coefficients(folder, case) if linear else glm(folder, case)


def negative_binomial(folder: Path, case: dict[str, Any]) -> dict[str, Any]:
    task = case["task"]
    options = task["options"]
    vcov = {"model_theta_fixed": "model"}.get(options["vcov"], options["vcov"])
    if options["variance_function"] != "NB2" or options["link"] != "log":
        raise Unsupported(f"a negative binomial with {options['variance_function']} and link {options['link']}")
    asked = model_trial(folder, task, cluster=vcov.startswith("CR"))
    result = gbv.NegativeBinomial(std_error=vcov, df=options.get("df", "normal"), cluster_by=asked.by).estimate(
        asked.trial
    )
    names = row_names(case["result_terms"], task["roles"]["treatment"], asked.columns)
    answer: dict[str, Any] = dict(coefficient_rows(result, names, options))
    theta = result["theta"]
    log_likelihood = result.records()[0]["log_likelihood"]
    return {**answer, "theta": theta.value, "se_theta": theta.std_error, "two_loglik": 2.0 * log_likelihood}


MODELS = {
    ("binomial", "logit"): "logistic",
    ("binomial", "probit"): "probit",
    ("poisson", "log"): "poisson",
    ("gaussian", "identity"): "linear",
    ("negative_binomial", "log"): "negative_binomial",
}
CONTRASTS = {
    "risk_difference": "risk_difference",
    "log_risk_ratio": "risk_ratio",
    "log_odds_ratio": "odds_ratio",
    "mean_difference": "mean_difference",
    "log_rate_ratio": "rate_ratio",
}


def standardised(folder: Path, case: dict[str, Any]) -> dict[str, Any]:
    task = case["task"]
    options = task["options"]
    model = MODELS.get((options["family"], options["link"]))
    if model is None or options.get("target", "whole_sample") != "whole_sample":
        raise Unsupported(f"standardisation of {options['family']}, {options['link']} over {options.get('target')}")
    sampled = options["vcov"] == "sandwich_with_covariate_sampling"
    vcov: dict[str, str] = options.get("coefficient_vcov", {})
    if isinstance(vcov, str):
        vcov = {"default": vcov}
    if sampled:
        # Without clusters the factor n / (n - 1) is that of clusters of one.
        corrected = options.get("small_sample") == "n_over_n_minus_1"
        vcov = {"default": "CR1" if corrected else "CR0"}
    elif options["vcov"] != "delta_covariates_fixed":
        raise Unsupported(f"standardisation with {options['vcov']}")
    answer: dict[str, Any] = {}
    for kind in dict.fromkeys(vcov.values()):
        asked = model_trial(folder, task, cluster=kind.startswith("CR"), own_products=True)
        estimator = gbv.Standardised(
            model=model,
            contrasts=tuple(CONTRASTS[name] for name in options["contrasts"]),
            interactions=asked.products,
            covariates="sampled" if sampled else "fixed",
            std_error=kind,
            df=options.get("df", "normal"),
            cluster_by=asked.by,
        )
        result = estimator.estimate(asked.trial)
        keys = [key for key in case["results"] if vcov.get(key, vcov["default"]) == kind]
        answer.update(standardised_answer(result, keys, case["results"], options, task["roles"]["treatment"]))
    return answer


def standardised_answer(
    result: gbv.Estimates, keys: list[str], shape: dict[str, Any], options: dict[str, Any], treatment: dict[str, Any]
) -> dict[str, Any]:
    """Return the numbers for some result keys, each a number beside its `se_` or a dictionary."""
    levels = treatment.get("levels") or [treatment.get("control", 0), treatment.get("treated", 1)]
    names = list(options["contrasts"])
    suffixes = [f" ({CONTRASTS[name].replace('_', ' ')})" if len(names) > 1 else "" for name in names]
    terms = {name: f"arm 1 vs arm 0{suffix}" for name, suffix in zip(names, suffixes)}
    terms |= {f"risk_{level}": f"mean under arm {number}" for number, level in enumerate(levels)}
    rows = coefficient_rows(result, terms, options)
    answer: dict[str, Any] = {}
    for key in keys:
        plain = key.removeprefix("se_")
        base = max((name for name in terms if plain.startswith(name)), key=len, default=None)
        if base is not None:
            row = rows[base]
            answer[key] = row if isinstance(shape[key], dict) else row["std_error" if key != plain else "estimate"]
    return answer


def gee(folder: Path, case: dict[str, Any]) -> dict[str, Any]:
    task = case["task"]
    options = task["options"]
    asked = model_trial(folder, task, cluster=True)
    kinds = options["vcov"] if isinstance(options["vcov"], list) else [options["vcov"]]
    names = row_names(case["result_terms"], task["roles"]["treatment"], asked.columns)
    answer: dict[str, Any] = {}
    for kind in kinds:
        estimator = gbv.Gee(
            family=options["family"],
            link=options["link"],
            correlation=options["correlation"],
            moment=options.get("correlation_moment", "no_parameter_correction"),
            std_error=kind,
            df=options.get("df", "normal"),
            fg_bound=options.get("fg_bound", 0.75),
        )
        result = estimator.estimate(asked.trial)
        rows = coefficient_rows(result, names, options)
        answer[f"var_{kind}"] = {key: row["std_error"] ** 2 for key, row in rows.items()}
        answer["estimate"] = {key: row["estimate"] for key, row in rows.items()}
        answer.update(rows)
    first = result.records()[0]
    off = known_differences(asked.trial, options)
    return {**answer, "alpha": first["correlation"], "phi": first["dispersion"], "_off": off}


def known_differences(trial: gbv.Trial, options: dict[str, Any]) -> dict[str, tuple[float, float]]:
    """Return by name how far the reference systems are off, relative and absolute; the unit tests of Gee show it."""
    off: dict[str, tuple[float, float]] = {}
    if options.get("statistic") == "wald_chi2":
        # geepack ends at steps in the coefficients below 1e-4; what it prints is off by as much as those steps change.
        off.update(dict.fromkeys(("estimate", "robust_se", "wald_chi2", "alpha", "phi"), (5e-4, 0.0)))
        # Its p-value is one minus the lower tail, rounded where one is.
        off["p_value"] = (5e-4, 2.3e-16)
    groups = trial.cluster or trial.site
    if groups is not None and 1 in np.bincount(groups.codes):
        # geesmv leaves clusters of one uncorrected in this one of its covariances.
        off["var_KC"] = (0.01, 0.0)
    return off


TASKS = {
    "gee": gee,
    "glm": glm,
    "standardised": standardised,
    "negative_binomial": negative_binomial,
    "cluster_robust_coefficients": cluster_robust_coefficients,
}
