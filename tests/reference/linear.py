"""Translates cases about linear regressions of a randomised trial: coefficients, Lin's adjustment, joint tests."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

import gbveval as gbv
from tests.reference.compare import Unsupported
from tests.reference.frames import trial_frame
from tests.reference.randomised import row_of, rows_of

VCOV = ("classical", "HC0", "HC1", "HC2", "HC3", "CR0", "CR1", "CR1S", "CR2", "CR3")
DF = ("residual", "clusters_minus_1", "satterthwaite", "normal")


@dataclass
class Regression:
    """A case's frame with one numeric column a coefficient, and what each column means."""

    frame: pd.DataFrame
    arms: list[Any]
    treatment: str
    columns: dict[Any, list[str]] = field(default_factory=dict)
    covariates: list[str] = field(default_factory=list)
    interact: list[str] = field(default_factory=list)

    def add(self, name: str, values: Any, meaning: Any) -> None:
        self.frame[name] = np.asarray(values, dtype=float)
        self.covariates.append(name)
        self.columns.setdefault(meaning, []).append(name)

    def within(self, group: str) -> bool:
        """Whether arms vary inside the groups: people were then assigned, and errors are clustered by site."""
        return bool((self.frame.groupby(group)["_arm"].nunique() > 1).any())

    def grouped(self, roles: dict[str, Any]) -> tuple[gbv.Trial, str]:
        """Return the trial, and what its errors are clustered by."""
        chosen = roles_of(self.frame, roles)
        by = "assignment"
        if "cluster" in chosen and self.within(chosen["cluster"]):
            chosen["site"], by = chosen.pop("cluster"), "site"
        return self.trial(roles["outcome"], **chosen), by

    def trial(self, outcome: str | list[str], **roles: Any) -> gbv.Trial:
        return gbv.Trial(self.frame, outcome=outcome, arm="_arm", control="arm 0", covariates=self.covariates, **roles)


def fit_of(record: dict[str, Any]) -> dict[str, Any]:
    return {
        "n_obs": record["n_units"],
        "n_clusters": record["n_clusters"],
        "r_squared": record["r_squared"],
        "adj_r_squared": record["adjusted_r_squared"],
        "sigma": record["residual_sd"],
        "df": record["df"],
    }


def regression(frame: pd.DataFrame, roles: dict[str, Any]) -> Regression:
    """Return the columns that the roles of a case describe."""
    treatment = roles["treatment"]
    arms = treatment.get("levels", [treatment.get("control", 0), treatment.get("treated", 1)])
    column = frame[treatment["column"]]
    frame = frame[column.isin(arms)].copy()
    column = frame[treatment["column"]]
    frame["_arm"] = ""
    for code, level in enumerate(arms):
        frame.loc[column == level, "_arm"] = f"arm {code}"
    found = Regression(frame, arms, treatment["column"])
    for term in roles.get("covariates", []):
        add_term(found, term)
    for columns in roles.get("interactions", []):
        add_interaction(found, columns)
    for number, name in enumerate(roles.get("fixed_effects", [])[1:]):
        codes = pd.factorize(frame[name])[0]
        for level in range(1, codes.max() + 1):
            found.add(f"fixed {number}.{level}", codes == level, ("fixed", name, level))
    return found


def add_term(found: Regression, term: dict[str, Any]) -> None:
    name, frame = term["column"], found.frame
    if term["as"] == "numeric":
        found.add(name if name not in found.covariates else f"{name}.", frame[name], (name, None))
    elif term["as"] == "log":
        found.add(f"log({name})", np.log(frame[name]), (name, "log"))
    elif term["as"] == "factor":
        for level in term["levels"][1:]:
            found.add(f"{name}={level}", frame[name] == level, (name, str(level)))
    else:
        raise Unsupported(f"a covariate as {term['as']!r}")


def add_interaction(found: Regression, columns: list[str]) -> None:
    """Add products of the columns; with the treatment among them they go to the estimator's own interactions."""
    rest = [name for name in columns if name != found.treatment]
    parts = [[(key, names[0]) for key, names in found.columns.items() if key[0] == name] for name in rest]
    for combination in itertools.product(*parts):
        names = [name for _, name in combination]
        if len(names) > 1:
            product = np.prod([found.frame[name] for name in names], axis=0)
            name, meaning = " x ".join(names), tuple(sorted(str(key) for key, _ in combination))
            if meaning not in found.columns:
                found.add(name, product, meaning)
        else:
            name = names[0]
        if found.treatment in columns:
            found.interact.append(name)


def term_of(found: Regression, meaning: Any) -> str:
    """Return gbveval's name of the coefficient that a result key means."""
    if meaning == "intercept":
        return "intercept"
    if "interaction" in meaning:
        parts = meaning["interaction"]
        rest = [part for part in parts if part["column"] != found.treatment]
        keys = [key_of(part) for part in rest]
        name = found.columns[keys[0] if len(keys) == 1 else tuple(sorted(str(key) for key in keys))][0]
        own = [part for part in parts if part["column"] == found.treatment]
        return f"arm {arm_code(found, own[0])} x {name}" if own else name
    if meaning["column"] == found.treatment:
        return f"arm {arm_code(found, meaning)} vs arm 0"
    return found.columns[key_of(meaning)][0]


def key_of(meaning: dict[str, Any]) -> tuple[str, str | None]:
    if meaning.get("as") == "log":
        return (meaning["column"], "log")
    return (meaning["column"], str(meaning["level"]) if "level" in meaning else None)


def arm_code(found: Regression, meaning: dict[str, Any]) -> int:
    return [str(level) for level in found.arms].index(str(meaning["level"])) if "level" in meaning else 1


def roles_of(frame: pd.DataFrame, roles: dict[str, Any]) -> dict[str, str]:
    """Return the columns of the trial's roles; a case may give one column several, so each role gets its own copy."""
    chosen = {
        ours: roles[theirs]
        for ours, theirs in (("cluster", "cluster"), ("weight", "weights"), ("received", "received"))
        if roles.get(theirs) is not None
    }
    fixed = roles.get("fixed_effects") or []
    if fixed:
        chosen["stratum"] = fixed[0]
    for role, column in chosen.items():
        frame[f"_{role}"] = frame[column]
    return {role: f"_{role}" for role in chosen}


def check_vcov(options: dict[str, Any]) -> None:
    if options["vcov"] not in VCOV or options.get("df", "normal") not in DF:
        raise Unsupported(f"a regression with {options['vcov']} and df {options.get('df')}")


def linear_model(folder: Path, case: dict[str, Any]) -> dict[str, Any]:
    """Answer `linear_model` and the linear part of `cluster_robust_coefficients`."""
    roles, options = case["task"]["roles"], case["task"]["options"]
    check_vcov(options)
    found = regression(trial_frame(folder, case["task"]["data"]), roles)
    trial, by = found.grouped(roles)
    model = gbv.Ancova(std_error=options["vcov"], df=options["df"], cluster_by=by, interact=tuple(found.interact))
    records = rows_of(model.estimate(trial), options)
    by_term = {record["term"]: record for record in records}
    answer = fit_of(records[0])
    for key, meaning in (case.get("result_terms") or {}).items():
        record = by_term.get(term_of(found, meaning))
        if record is not None:
            answer[key] = row_of(record)
    return answer


def cluster_robust_coefficients(folder: Path, case: dict[str, Any]) -> dict[str, Any]:
    if case["task"]["options"].get("model", "linear") != "linear":
        raise Unsupported("cluster-robust coefficients of a model that is not linear")
    return linear_model(folder, case)


def lin_adjusted(folder: Path, case: dict[str, Any]) -> dict[str, Any]:
    roles, options = case["task"]["roles"], case["task"]["options"]
    check_vcov(options)
    centre = "mean" if roles.get("weights") is None else "weighted_mean"
    if options.get("centre", centre) != centre:
        raise Unsupported(f"centring at the {options['centre']} of a regression whose own centre is the {centre}")
    if roles.get("interactions"):
        raise Unsupported("Lin's adjustment with products of covariates")
    found = regression(trial_frame(folder, case["task"]["data"]), roles)
    trial = found.trial(roles["outcome"], **roles_of(found.frame, roles))
    records = rows_of(gbv.LinAdjusted(std_error=options["vcov"], df=options["df"]).estimate(trial), options)
    by_term = {record["term"]: record for record in records}
    answer = fit_of(records[0])
    for key, meaning in (case.get("result_terms") or {}).items():
        name = term_of(found, meaning)
        record = by_term.get(name, by_term.get(f"{name} (centred)"))
        if record is not None:
            answer[key] = row_of(record)
    return answer


# clubSandwich's names of the tests, and gbveval's.
WALD = {
    "HTZ": "hotelling",
    "HTA": "hotelling_a",
    "HTB": "hotelling_b",
    "EDF": "eigen_f",
    "EDT": "eigen_t",
    "chi-sq": "chi_squared",
    "Naive-F": "f",
}


def cluster_robust_wald(folder: Path, case: dict[str, Any]) -> dict[str, Any]:
    roles, options = case["task"]["roles"], case["task"]["options"]
    if options.get("model", "linear") != "linear":
        raise Unsupported("a joint test in a model that is not linear")
    found = regression(trial_frame(folder, case["task"]["data"]), roles)
    trial, by = found.grouped(roles)
    model = gbv.Ancova(std_error=options["vcov"], cluster_by=by, interact=tuple(found.interact))
    terms = tuple(term_of(found, term) for term in options["zero_terms"])
    answer: dict[str, Any] = {}
    for name in options["tests"]:
        if name not in WALD:
            raise Unsupported(f"the joint test {name}")
        record = gbv.JointTest(terms, model, WALD[name]).estimate(trial).records()[0]
        answer[name] = {
            "F_statistic": record["statistic"],
            "delta": record["scale"],
            "df_num": record["df"],
            "df_denom": record.get("df2"),
            "p_value": record["p_value"],
        }
    return answer


def quantile(folder: Path, case: dict[str, Any]) -> dict[str, Any]:
    roles, options = case["task"]["roles"], case["task"]["options"]
    found = regression(trial_frame(folder, case["task"]["data"]), roles)
    if roles.get("covariates") and options.get("solution") == "simplex":
        raise Unsupported("coefficients of covariates are not among the effects")
    if options.get("bandwidth", "hall_sheather") != "hall_sheather":
        raise Unsupported(f"the bandwidth {options['bandwidth']}")
    trial = found.trial(roles["outcome"])
    quantiles = tuple(float(q) for q in options["quantiles"])
    kinds = options.get("vcov", ["kernel"])
    records = {kind: gbv.QuantileEffect(quantiles, kind).estimate(trial).records() for kind in kinds}
    first = next(iter(records.values()))
    answer: dict[str, Any] = {"objective": {}}
    for key, meaning in (case.get("result_terms") or {}).items():
        if not isinstance(meaning, dict) or "quantile" not in meaning:
            continue
        here = [i for i, record in enumerate(first) if record["quantile"] == meaning["quantile"]]
        answer["objective"][key] = first[here[0]]["objective"]
        if options.get("report") == "treatment":
            answer[key] = {"estimate": first[here[0]]["estimate"]}
            answer[key].update({f"se_{kind}": found_[here[0]]["std_error"] for kind, found_ in records.items()})
            continue
        answer[key] = _quantile_terms(found, case["result_terms"], [first[i] for i in here])
    return answer


def _quantile_terms(found: Regression, terms: dict[str, Any], records: list[dict[str, Any]]) -> dict[str, Any]:
    answer = {}
    for name, meaning in terms.items():
        if meaning == "intercept":
            answer[name] = records[-1]["estimate"]
        elif isinstance(meaning, dict) and meaning.get("column") == found.treatment:
            answer[name] = records[arm_code(found, meaning) - 1]["estimate"]
    return answer


TASKS = {
    "quantile": quantile,
    "cluster_robust_wald": cluster_robust_wald,
    "linear_model": linear_model,
    "lin_adjusted": lin_adjusted,
    "cluster_robust_coefficients": cluster_robust_coefficients,
}
