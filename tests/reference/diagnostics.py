"""Translates cases about balance: the F test that columns do not predict the arm, or are zero in any regression."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

import gbveval as gbv
from tests.reference.compare import Unsupported
from tests.reference.frames import trial_frame
from tests.reference.linear import Regression, add_interaction, add_term, key_of, regression, roles_of, term_of
from tests.reference.randomised import refuse_tests_of_other_nulls

CLUSTERED = ("CR0", "CR1", "CR1S", "CR2", "CR3")
VCOV = ("classical", "HC0", "HC1", "HC2", "HC3", *CLUSTERED)
DF = ("residual", "clusters_minus_1", "normal")


def joint_wald(folder: Path, case: dict[str, Any]) -> dict[str, Any]:
    """Answer `joint_wald`: with two values the outcome is the arm; else the arm is the treatment, or a 0/1 column."""
    roles, options = dict(case["task"]["roles"]), case["task"]["options"]
    refuse_tests_of_other_nulls(options)
    if options.get("test", "F") != "F":
        raise Unsupported(f"the joint test {options['test']}")
    if options["vcov"] not in VCOV or options.get("df", "residual") not in DF:
        raise Unsupported(f"a joint test with {options['vcov']} and df {options.get('df')}")
    frame = trial_frame(folder, case["task"]["data"])
    if roles.get("treatment") is None and frame[roles["outcome"]].nunique() == 2:
        return arm_regressed(frame, roles, options)
    if roles.get("treatment") is None:
        roles = _with_treatment(frame, roles)
    return coefficients_tested(frame, roles, options)


def arm_regressed(frame: pd.DataFrame, roles: dict[str, Any], options: dict[str, Any]) -> dict[str, Any]:
    found = Regression(frame.copy(), [0, 1], roles["outcome"])
    low = found.frame[roles["outcome"]].min()
    found.frame["_arm"] = (found.frame[roles["outcome"]] != low).map({False: "arm 0", True: "arm 1"})
    found.frame["_none"] = 0.0
    for term in roles.get("covariates", []):
        add_term(found, term)
    for columns in roles.get("interactions", []):
        add_interaction(found, columns)
    for number, name in enumerate(roles.get("fixed_effects", [])[1:]):
        codes = pd.factorize(found.frame[name])[0]
        for level in range(1, codes.max() + 1):
            found.add(f"fixed {number}.{level}", codes == level, ("fixed", name, level))
    chosen = roles_of(found.frame, roles)
    if "cluster" in chosen and found.within(chosen["cluster"]):
        chosen["site"] = chosen.pop("cluster")
    trial = found.trial("_none", **chosen)
    tested = tuple(name for term in options["zero_terms"] for name in _columns(found, term))
    table = gbv.balance(
        trial, tested=tested, omnibus="regression", vcov=options["vcov"], df=options.get("df", "residual")
    )
    last = {column: table.column(column)[-1] for column in ("statistic", "df", "df2", "p_value")}
    return _answer(last, options)


def coefficients_tested(frame: pd.DataFrame, roles: dict[str, Any], options: dict[str, Any]) -> dict[str, Any]:
    """Answer for coefficients of a regression of an outcome, the arm's among them or not."""
    found = regression(frame, roles)
    trial, by = found.grouped(roles)
    clustered = options["vcov"] in CLUSTERED
    if clustered and options.get("df") == "residual":
        raise Unsupported("an F test with clusters and rows minus coefficients degrees of freedom")
    model = gbv.Ancova(std_error=options["vcov"], cluster_by=by, interact=tuple(found.interact))
    terms = tuple(term_of(found, term) for term in options["zero_terms"])
    record = gbv.JointTest(terms, model, "chi_squared" if options.get("df") == "normal" else "f").estimate(trial)
    return _answer(record.records()[0], options)


def _answer(record: dict[str, Any], options: dict[str, Any]) -> dict[str, Any]:
    bottom = record.get("df2")
    return {
        "F": record["statistic"],
        "df_num": record["df"],
        "df_denom": None if options.get("df") == "normal" else bottom,
        "p_value": record["p_value"],
    }


def _columns(found: Regression, term: dict[str, Any]) -> list[str]:
    """Return the columns that a term means; without `level` or `as`, the logarithm or all levels of a factor."""
    if "interaction" in term:
        return [term_of(found, term)]
    key = key_of(term)
    if key in found.columns:
        return found.columns[key][:1]
    names = [names[0] for known, names in found.columns.items() if known[0] == term["column"]]
    if not names or "level" in term:
        raise Unsupported(f"the term {term}")
    return names


def _with_treatment(frame: pd.DataFrame, roles: dict[str, Any]) -> dict[str, Any]:
    """Name a covariate of zeros and ones as the arm, which changes no number of a regression."""
    for term in roles.get("covariates", []):
        if term["as"] == "numeric" and set(frame[term["column"]].unique()) == {0, 1}:
            others = [other for other in roles["covariates"] if other is not term]
            arm = {"column": term["column"], "as": "numeric", "control": 0, "treated": 1}
            return {**roles, "treatment": arm, "covariates": others}
    raise Unsupported("a joint test without a treatment, of an outcome with more than two values")


TASKS = {"joint_wald": joint_wald}
