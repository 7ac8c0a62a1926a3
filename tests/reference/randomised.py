"""Translates cases about randomised trials: differences in means and Lin's adjustment."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

import gbveval as gbv
from tests.reference.compare import Unsupported
from tests.reference.frames import trial_frame

DESIGNS = {
    "complete": ("neyman", "welch"),
    "blocked": ("neyman_within_block", "observations_minus_2_blocks"),
    "matched_pairs": ("pair_differences", "pairs_minus_1"),
    "clustered": ("CR2", "satterthwaite"),
    "matched_pair_clusters": ("imai_king_nall", "pairs_minus_1"),
}
WEIGHTED = ("HC2", "residual")
BLOCK_WEIGHTS = {"blocked": "block_size", "matched_pairs": "block_size", "matched_pair_clusters": "pair_size"}


def refuse_unknown(options: dict[str, Any]) -> None:
    if options.get("alternative", "two_sided") != "two_sided" or options.get("null", 0) != 0:
        raise Unsupported("only two-sided tests of no effect are given")


def arms(frame: pd.DataFrame, treatment: dict[str, Any]) -> tuple[pd.DataFrame, str]:
    """Return the frame with a text column of arms, and its name."""
    if "levels" in treatment:
        raise Unsupported("more than two arms in one regression")
    control, treated = treatment.get("control", 0), treatment.get("treated", 1)
    column = frame[treatment["column"]]
    kept = frame[column.isin([control, treated])].copy()
    kept["_arm"] = np.where(kept[treatment["column"]] == treated, "treated", "control")
    return kept, "_arm"


def row_of(record: dict[str, Any]) -> dict[str, Any]:
    names = ("estimate", "std_error", "df", "statistic", "p_value", "conf_low", "conf_high")
    return {name: record[name] for name in names}


def difference_in_means(folder: Path, task: dict[str, Any]) -> dict[str, Any]:
    roles, options = task["roles"], task["options"]
    refuse_unknown(options)
    design = options["design"]
    weighted = roles.get("weights") is not None
    wanted = WEIGHTED if weighted else DESIGNS.get(design)
    if wanted is None or (options["vcov"], options["df"]) != wanted or (weighted and design != "complete"):
        raise Unsupported(f"difference in means by {design} with {options['vcov']} and df {options['df']}")
    if options.get("block_weights", BLOCK_WEIGHTS.get(design)) != BLOCK_WEIGHTS.get(design):
        raise Unsupported(f"block weights {options['block_weights']}")
    frame, arm = arms(trial_frame(folder, task["data"]), roles["treatment"])
    chosen = {
        role: roles[theirs]
        for role, theirs in (("cluster", "cluster"), ("stratum", "block"), ("pair", "pair"), ("weight", "weights"))
        if roles.get(theirs) is not None
    }
    trial = gbv.Trial(frame, outcome=roles["outcome"], arm=arm, control="control", **chosen)
    record = gbv.DifferenceInMeans().estimate(trial).records(options["level"])[0]
    blocks = trial.stratum or trial.pair
    return {
        **row_of(record),
        "n_obs": record["n_units"],
        "n_clusters": record["n_clusters"],
        "n_blocks": None if blocks is None else blocks.count,
    }


def covariate_columns(frame: pd.DataFrame, terms: list[dict[str, Any]]) -> dict[str, Any]:
    """Add one numeric column a coefficient, and return column -> what it is."""
    found: dict[str, Any] = {}
    for term in terms:
        if term["as"] == "numeric":
            found[term["column"]] = (term["column"], None)
        elif term["as"] == "log":
            frame[f"log({term['column']})"] = np.log(frame[term["column"]])
            found[f"log({term['column']})"] = (term["column"], None)
        elif term["as"] == "factor":
            for level in term["levels"][1:]:
                name = f"{term['column']}={level}"
                frame[name] = (frame[term["column"]] == level).astype(float)
                found[name] = (term["column"], level)
        else:
            raise Unsupported(f"a covariate as {term['as']!r}")
    return found


def lin_adjusted(folder: Path, task: dict[str, Any], terms: dict[str, Any]) -> dict[str, Any]:
    roles, options = task["roles"], task["options"]
    refuse_unknown(options)
    if roles.get("weights") is not None or options.get("centre", "mean") != "mean":
        raise Unsupported("Lin's adjustment with weights")
    if roles.get("fixed_effects") or roles.get("interactions") or roles.get("block"):
        raise Unsupported("Lin's adjustment with fixed effects or interactions")
    if (options["vcov"], options["df"]) not in (("HC2", "residual"), ("HC3", "residual"), ("CR2", "satterthwaite")):
        raise Unsupported(f"Lin's adjustment with {options['vcov']} and df {options['df']}")
    frame, arm = arms(trial_frame(folder, task["data"]), roles["treatment"])
    columns = covariate_columns(frame, roles["covariates"])
    extra = {"cluster": roles["cluster"]} if roles.get("cluster") else {}
    trial = gbv.Trial(frame, outcome=roles["outcome"], arm=arm, control="control", covariates=list(columns), **extra)
    records = gbv.LinAdjusted(std_error=options["vcov"]).estimate(trial).records(options["level"])
    by_term = {record["term"]: record for record in records}
    treatment = roles["treatment"]["column"]
    answer: dict[str, Any] = {"n_obs": records[0]["n_units"], "n_clusters": records[0]["n_clusters"]}
    for key, meaning in terms.items():
        record = by_term.get(_term(meaning, treatment, columns))
        if record is not None:
            answer[key] = row_of(record)
    return answer


def _term(meaning: Any, treatment: str, columns: dict[str, Any]) -> str:
    """Return gbveval's name of the coefficient that a result key means."""
    if meaning == "intercept":
        return "intercept"
    if "interaction" in meaning:
        parts = [part for part in meaning["interaction"] if part["column"] != treatment]
        return f"treated x {_covariate(parts[0], columns)} (centred)"
    if meaning["column"] == treatment:
        return "treated vs control"
    return f"{_covariate(meaning, columns)} (centred)"


def _covariate(meaning: dict[str, Any], columns: dict[str, Any]) -> str:
    for name, (column, level) in columns.items():
        if column == meaning["column"] and str(level) == str(meaning.get("level")):
            return name
    return meaning["column"]
