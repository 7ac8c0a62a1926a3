"""Translates cases about mixed models."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

import gbveval as gbv
from tests.reference.compare import Unsupported
from tests.reference.frames import trial_frame
from tests.reference.randomised import arms, refuse_tests_of_other_nulls

LINEAR = {("model", "satterthwaite"), ("kenward_roger", "kenward_roger")}
LINKS = {"gaussian": "identity", "binomial": "logit", "poisson": "log"}
# Roles that may stand for a column of random intercepts, besides the period.
GROUP_ROLES = ("cluster", "site", "stratum")
ARM_PREFIX = "level "


def arm_column(frame: pd.DataFrame, roles: dict[str, Any]) -> tuple[pd.DataFrame, str, dict[str, Any] | None]:
    """Return the frame with a text column of arms, the control's label, and the factor that stands for the arm.

    A model without a treatment compares the levels of its first factor, or of its first covariate of 0 and 1; these are
    the arms in gbveval.
    """
    treatment = roles.get("treatment")
    if treatment is None and not any(term["as"] == "factor" for term in roles.get("covariates", [])):
        numeric = [t["column"] for t in roles.get("covariates", []) if t["as"] == "numeric"]
        treatment = next(({"column": c} for c in numeric if set(frame[c].unique()) == {0, 1}), None)
        if treatment is not None:
            roles["treatment"] = treatment
            roles["covariates"] = [t for t in roles["covariates"] if t["column"] != treatment["column"]]
    if treatment is not None and "levels" not in treatment:
        frame, _ = arms(frame, treatment)
        return frame, "control", None
    factor = treatment or next((t for t in roles.get("covariates", []) if t["as"] == "factor"), None)
    if factor is None:
        raise Unsupported("a model without a treatment or a factor to compare")
    frame = frame[frame[factor["column"]].isin(factor["levels"])].copy()
    frame["_arm"] = [f"{ARM_PREFIX}{value}" for value in frame[factor["column"]]]
    return frame, f"{ARM_PREFIX}{factor['levels'][0]}", factor


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


def products(frame: pd.DataFrame, roles: dict[str, Any], columns: dict[str, Any]) -> dict[frozenset[Any], str]:
    """Add the products of columns, and return what each is a product of."""
    treatment = roles.get("treatment") or {}
    found: dict[frozenset[Any], str] = {}
    for group in roles.get("interactions", []):
        parts: list[list[tuple[Any, Any]]] = [[]]
        for column in group:
            if column == treatment.get("column"):
                if "levels" in treatment:
                    options = [((column, str(v)), (frame[column] == v).astype(float)) for v in treatment["levels"][1:]]
                else:
                    options = [((column, "None"), (frame["_arm"] == "treated").astype(float))]
            else:
                options = [((column, str(level)), frame[name]) for name, (of, level) in columns.items() if of == column]
            if not options:
                raise Unsupported("an interaction of a column that is no main effect")
            parts = [[*before, option] for before in parts for option in options]
        for part in parts:
            name = " x ".join(f"{column}={level}" for (column, level), _ in part)
            frame[name] = np.prod([np.asarray(values, dtype=float) for _, values in part], axis=0)
            found[frozenset(key for key, _ in part)] = name
    return found


def group_roles(frame: pd.DataFrame, roles: dict[str, Any]) -> tuple[dict[str, str], tuple[str, ...]]:
    """Return role -> column, and the random intercepts in the names of the roles."""
    random = roles["random_intercepts"]
    time = roles.get("time")
    used = list(dict.fromkeys(column for group in random for column in group))
    chosen: dict[str, str] = {}
    free = list(GROUP_ROLES)
    for column in sorted(used, key=lambda c: c != roles.get("cluster")):
        if column == time:
            chosen["time"] = column
            continue
        arms_inside = int(frame.groupby(column)["_arm"].nunique().max())
        crosses = arms_inside > 1 and (time is None or _changes_in_a_period(frame, column, time))
        if [column] not in random or crosses or "cluster" not in free:
            options = [role for role in free if role != "cluster"]
        else:
            options = ["cluster"]
        if not options:
            raise Unsupported("more random intercepts than gbveval has roles for")
        free.remove(options[0])
        chosen[options[0]] = column
        if options[0] == "cluster" and arms_inside > 1:
            chosen["time"] = str(time)
    names = {column: role for role, column in chosen.items()}
    return chosen, tuple(":".join(names[column] for column in group) for group in random)


def _changes_in_a_period(frame: pd.DataFrame, column: str, time: str) -> bool:
    return int(frame.groupby([column, time])["_arm"].nunique().max()) > 1


def offset_column(frame: pd.DataFrame, roles: dict[str, Any]) -> str | None:
    """Return the column of trials or exposure, added to the frame where the offset is on the log scale."""
    if roles.get("successes") is not None:
        return str(roles["trials"])
    offset = roles.get("offset")
    if offset is None:
        return None
    if offset["as"] == "log":
        return str(offset["column"])
    frame["_exposure"] = np.exp(frame[offset["column"]])
    return "_exposure"


def mixed(folder: Path, case: dict[str, Any], family: str, df: str, points: int | None) -> dict[str, Any]:
    """Return the answer to a case as results of the reference are written."""
    task = case["task"]
    roles, options = dict(task["roles"]), task["options"]
    refuse_tests_of_other_nulls(options)
    if roles.get("weights") is not None or roles.get("fixed_effects"):
        raise Unsupported("a mixed model with weights or absorbed effects")
    frame, control, factor = arm_column(trial_frame(folder, task["data"]), roles)
    exposure = offset_column(frame, roles)
    if exposure is not None:
        frame = frame[frame[exposure] > 0].copy()
    columns = covariate_columns(frame, [term for term in roles.get("covariates", []) if term is not factor])
    crossed = products(frame, roles, columns)
    groups, random = group_roles(frame, roles)
    trial = gbv.Trial(
        frame,
        outcome=roles.get("outcome") or roles["successes"],
        arm="_arm",
        control=control,
        covariates=[*columns, *crossed.values()],
        exposure=exposure,
        **groups,
    )
    model = gbv.MixedEffects(family, random, df, points, period_effects=False, evaluation=_evaluation(case))
    result = model.estimate(trial)
    records = result.records(options.get("level", 0.95))
    low, high = result.intervals(options.get("level", 0.95))
    rows = {}
    for i, record in enumerate(records):
        rows[record["term"]] = {
            "estimate": float(result.values[i]),
            "std_error": record["std_error"],
            "df": record["df"],
            "statistic": record["statistic"],
            "p_value": record["p_value"],
            "conf_low": float(low[i]),
            "conf_high": float(high[i]),
        }
    first = records[0]
    answer: dict[str, Any] = {
        "reml_criterion": first.get("reml_criterion"),
        # With several quadrature points lme4 reports the distance from the saturated model, as minus half the deviance.
        "log_likelihood": first.get("log_likelihood") if points in (None, 1) else -0.5 * first["deviance"],
        "n_obs": first["n_units"],
    }
    by_columns = {part: [groups[role] for role in part.split(":")] for part in random}
    names = Names(roles, columns, crossed, factor, by_columns)
    for key, meaning in case.get("result_terms", {}).items():
        row = rows.get(names.of(meaning) or "")
        if row is not None:
            answer[key] = row["estimate"] if isinstance(meaning, dict) and "variance" in meaning else row
    return answer


def _evaluation(case: dict[str, Any]) -> str:
    """Return which evaluation of the likelihood the software of the case has."""
    software = case.get("software")
    names = software if isinstance(software, dict | list) else [str(software)]
    return "lme4" if any("lme4" in name for name in names) else "converged"


class Names:
    """Says what gbveval calls the coefficient or variance that a result key means."""

    def __init__(
        self,
        roles: dict[str, Any],
        columns: dict[str, Any],
        crossed: dict[frozenset[Any], str],
        factor: dict[str, Any] | None,
        random: dict[str, list[str]],
    ) -> None:
        self.treatment = (roles.get("treatment") or {}).get("column")
        self.columns, self.crossed, self.factor, self.random = columns, crossed, factor, random

    def of(self, meaning: Any) -> str | None:
        if meaning == "intercept":
            return "intercept"
        if "variance" in meaning:
            if meaning["variance"] == "residual":
                return "residual variance"
            wanted = set(meaning["variance"])
            return next((f"variance of {part}" for part, of in self.random.items() if set(of) == wanted), None)
        if "interaction" in meaning:
            key = frozenset((part["column"], str(part.get("level"))) for part in meaning["interaction"])
            return self.crossed.get(key)
        if self.factor is not None and meaning["column"] == self.factor["column"]:
            return f"{ARM_PREFIX}{meaning['level']} vs {ARM_PREFIX}{self.factor['levels'][0]}"
        if meaning["column"] == self.treatment:
            return "treated vs control"
        for name, (column, level) in self.columns.items():
            if column == meaning["column"] and str(level) == str(meaning.get("level")):
                return name
        return None


def mixed_linear(folder: Path, case: dict[str, Any]) -> dict[str, Any]:
    options = case["task"]["options"]
    if options.get("estimation", "REML") != "REML" or (options["vcov"], options["df"]) not in LINEAR:
        raise Unsupported(f"a linear mixed model with vcov {options['vcov']} and df {options['df']}")
    return mixed(folder, case, "gaussian", options["df"], None)


def mixed_glm(folder: Path, case: dict[str, Any]) -> dict[str, Any]:
    options = case["task"]["options"]
    family = options["family"]
    if LINKS.get(family) != options["link"] or family == "gaussian":
        raise Unsupported(f"a mixed model of a {family} outcome with the link {options['link']}")
    if (options.get("vcov", "model"), options.get("df", "normal")) != ("model", "normal"):
        raise Unsupported(f"a generalised linear mixed model with vcov {options['vcov']} and df {options['df']}")
    answer = mixed(folder, case, family, "normal", int(options["quadrature_points"]))
    # lme4 takes second differences with a step of 1e-4: rounding of a deviance in the thousands moves a standard
    # error by up to 3e-4 of itself (the cases allow 5e-4) and a p-value far in the tail by 1 + z^2 times that.
    return {**answer, "_off": {"p_value": (0.02, 0.0)}}


METHODS = {
    "aov": "anova",
    "aovs": "modified_anova",
    "fc": "fleiss_cuzick",
    "mak": "mak",
    "peq": "pearson_equal_pairs",
    "pgp": "pearson_equal_clusters",
    "ppr": "pearson_people",
    "rm": "resampling",
}
# Given by gbveval, but not compared with ICCbin, whose numbers are not those of the literature it names: its moment
# estimators (keq, kpr, keqs, kprs) misplace a bracket of Kleinman's denominator, as p(1-p) multiplies its first term
# only, and its Fleiss-Cuzick interval leaves out "- N" in the last term of Zou and Donner's variance. Its
# modified Wald variance lacks the terms in k^2 / N of that variance, so that with clusters of two and no correlation it
# is not Bloch and Kraemer's.


def cluster_trial(folder: Path, task: dict[str, Any]) -> gbv.Trial:
    """Return the data as a trial; the arms, which a Trial must have and the question ignores, alternate by cluster."""
    frame = trial_frame(folder, task["data"])
    roles = task["roles"]
    order = frame[roles["cluster"]].astype(str).rank(method="dense").astype(int)
    frame["_arm"] = np.where(order % 2 == 1, "odd", "even")
    return gbv.Trial(frame, outcome=roles["outcome"], arm="_arm", control="even", cluster=roles["cluster"])


def icc_anova(folder: Path, case: dict[str, Any]) -> dict[str, Any]:
    task = case["task"]
    level = task["options"].get("level", 0.95)
    model = gbv.IntraclusterCorrelation(interval=task["options"]["interval"], arms="ignored", level=level)
    record = model.estimate(cluster_trial(folder, task)).records(level)[0]
    icc = record["estimate"]
    answer = {"icc": icc, "conf_low": record["conf_low"], "conf_high": record["conf_high"]}
    answer |= {"n_clusters": record["n_clusters"], "n0": record["average_size"], "n_obs": record["n_units"]}
    answer |= {"within_var": record["within_variance"], "between_var": record["between_variance"]}
    if 0 <= icc < 1:
        scaled = gbv.ICC(icc, scale="observed")
        answer["design_effect_n0"] = gbv.design_effect(scaled, mean_size=record["average_size"])
    return answer


def icc_binary(folder: Path, case: dict[str, Any]) -> dict[str, Any]:
    task = case["task"]
    level = task["options"].get("level", 0.95)
    trial = cluster_trial(folder, task)
    estimates: dict[str, Any] = {}
    intervals: dict[str, Any] = {}
    for key, meaning in case.get("result_terms", {}).items():
        if meaning.get("estimator") in METHODS:
            model = gbv.IntraclusterCorrelation(METHODS[meaning["estimator"]], arms="ignored")
            estimates[key] = model.estimate(trial).records(level)[0]["estimate"]
        elif meaning.get("interval") == "smith":
            low, high = gbv.IntraclusterCorrelation(arms="ignored").estimate(trial).intervals(level)
            # ICCbin cuts its limits at zero and one.
            intervals[key] = {"low": max(float(low[0]), 0.0), "high": min(float(high[0]), 1.0)}
    return {"estimates": estimates, "confidence_intervals": intervals}


TASKS = {"mixed_linear": mixed_linear, "mixed_glm": mixed_glm, "icc_anova": icc_anova, "icc_binary": icc_binary}
