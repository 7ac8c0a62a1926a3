"""Translates cases about regressions on panels: two by two, two-way fixed effects, event studies, wild bootstrap."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

import gbveval as gbv
from tests.reference.compare import Unsupported
from tests.reference.frames import panel_frame

ONE_SIDED = (
    "fwildclusterboot has a small-sample factor in the observed jackknife t and none in the bootstrap's, so its p is "
    "too large; test_packaged.py takes that step and gets its p exactly"
)
FACTORS = {
    ("CRV1", "G/(G-1) * (N-1)/(N-K)"): "CR1S",
    ("HC1", "N/(N-K)"): "HC1",
    ("two_way_CRV1", "Gmin/(Gmin-1) * (N-1)/(N-K), Gmin = the smaller number of clusters, on all three terms"): "CR1S",
}


def std_error_of(vcov: dict[str, Any]) -> str:
    """Return our name of a covariance."""
    try:
        return FACTORS[vcov["type"], vcov["small_sample"]]
    except KeyError as error:
        raise Unsupported(f"standard errors of type {vcov}") from error


def make_panel(frame: pd.DataFrame, roles: dict[str, Any], **more: Any) -> gbv.Panel:
    """Return the panel of a case; `more` are roles that the case's kind needs, and cohorts made from its columns."""
    names: dict[str, Any] = {}
    if roles.get("weights"):
        names["weight"] = roles["weights"]
    if roles.get("covariates"):
        names["covariates"] = [item["column"] for item in roles["covariates"]]
    if roles.get("cluster"):
        names["cluster"] = roles["cluster"]
    names.update(more)
    return gbv.Panel(frame, outcome=roles["outcome"], unit=roles["unit"], time=roles["time"], **names)


def with_cohort(frame: pd.DataFrame, roles: dict[str, Any]) -> pd.DataFrame:
    """Return the frame with first treated periods, missing for never."""
    cohort = frame[roles["cohort"]].astype(float)
    if roles.get("never_treated_code") is not None:
        cohort = cohort.mask(cohort == roles["never_treated_code"])
    return frame.assign(_cohort=cohort)


def _ever_treated_after(frame: pd.DataFrame, roles: dict[str, Any]) -> pd.DataFrame:
    """Return the frame with the cohort of units that are treated from the first period called `post` on."""
    first = float(frame.loc[frame[roles["post"]] == 1, roles["time"]].min())
    return frame.assign(_cohort=np.where(frame[roles["treatment"]] == 1, first, np.nan))


def columns(result: gbv.Estimates, terms: list[str]) -> dict[str, list[Any]]:
    """Return estimates, errors, statistics and intervals of rows by name."""
    records = {record["term"]: record for record in result.records()}
    missing = [term for term in terms if term not in records]
    if missing:
        raise Unsupported(f"no row for {', '.join(missing)}")
    keys = {"estimate": "estimate", "std_error": "std_error", "t": "statistic", "p": "p_value"}
    keys |= {"conf_low": "conf_low", "conf_high": "conf_high"}
    return {theirs: [records[term][ours] for term in terms] for theirs, ours in keys.items()}


def two_by_two(folder: Path, case: dict[str, Any]) -> dict[str, Any]:
    task = case["task"]
    if "post" not in task.get("roles", {}):
        raise Unsupported("a two-by-two table")
    roles, options = task["roles"], task["options"]
    frame = _ever_treated_after(panel_frame(folder, task["data"]), roles)
    std_error = std_error_of(options["vcov"])
    panel = make_panel(frame, roles, cohort="_cohort")
    if options["fixed_effects"]:
        result = gbv.TwoWayFixedEffects(std_error=std_error).estimate(panel)
        names = {options["effect"]: "treated vs untreated"}
    else:
        result = gbv.TwoByTwo(std_error=std_error).estimate(panel)
        names = {
            "(Intercept)": "before, never treated",
            roles["treatment"]: "ever treated",
            roles["post"]: "after",
            options["effect"]: "treated vs untreated",
        }
    terms = [names.get(term, term) for term in case["results"]["term"]]
    return {**columns(result, terms), "nobs": len(frame)}


def twfe(folder: Path, case: dict[str, Any]) -> dict[str, Any]:
    task = case["task"]
    roles, options = task["roles"], task["options"]
    frame = with_cohort(panel_frame(folder, task["data"]), roles)
    panel = make_panel(frame, roles, cohort="_cohort", treatment=roles["treatment"])
    result = gbv.TwoWayFixedEffects(std_error=std_error_of(options["vcov"])).estimate(panel)
    treated = result.terms[0].term
    terms = [treated if term == roles["treatment"] else term for term in case["results"]["term"]]
    return {**columns(result, terms), "nobs": len(frame)}


def event_study(folder: Path, case: dict[str, Any]) -> dict[str, Any]:
    task = case["task"]
    roles, options = task["roles"], task["options"]
    frame = panel_frame(folder, task["data"])
    if options["interacted_with"]:
        # Periods times the group are times since treatment, where the period after the reference is the first treated.
        reference = float(options["reference"][0])
        treated = frame[options["interacted_with"]] == 1
        frame = frame.assign(_cohort=np.where(treated, reference + 1.0, np.nan))
        shift = reference + 1.0
    else:
        frame, shift = with_cohort(frame, roles), 0.0
    panel = make_panel(frame, roles, cohort="_cohort")
    result = gbv.EventStudy(std_error=std_error_of(options["vcov"])).estimate(panel)
    events = [e - shift for e in options["event_times"]]
    names = [f"event time {e:+g}" if e else "event time 0" for e in events]
    answer: dict[str, Any] = {**columns(result, [*options["covariate_terms"], *names]), "nobs": len(frame)}
    if "pretrend_joint_wald" in case["results"]:
        test = result.aggregate("pretest").records()[0]
        answer["pretrend_joint_wald"] = {
            "stat": test["statistic"],
            "p": test["p_value"],
            "df1": test["df"],
            "df2": test["df2"],
        }
    if "vcov" in case["results"]:
        order = [result.index(name) for name in [*options["covariate_terms"], *names]]
        answer["vcov"] = result.covariance[np.ix_(order, order)].tolist()
    return answer


def wild_bootstrap(folder: Path, case: dict[str, Any]) -> dict[str, Any]:
    task = case["task"]
    roles, options = task["roles"], task["options"]
    panel = make_panel(with_cohort(panel_frame(folder, task["data"]), roles), roles, cohort="_cohort")
    if sorted(options["dummies"]) != sorted([roles["unit"], roles["time"]]) or options["null"] != 0:
        raise Unsupported("a bootstrap of other effects than units and periods")
    answer: dict[str, Any] = {"_off": {}, "_disputed": {}}
    for variant in options["variants"]:
        digits = ("3" if variant["residuals"] == "jackknife" else "1") + variant["vcov"][-1]
        kind = ("WCR" if variant["null_imposed"] else "WCU") + digits
        # Our own simulation error is made small beside the reference's.
        draws = 1024 if variant["full_enumeration"] else 199_999
        estimator = gbv.WildTwoWay(variant=kind, weights=variant["weights"], n_draws=draws)
        row = estimator.estimate(panel).records()[0]
        expected = case["results"][variant["result"]]
        found = {
            "p": row["p_value"],
            "t": row["statistic"],
            "point": row["estimate"],
            "draws": expected["draws"] if row["draws"] == "drawn" else row["n_draws"],
            "conf_low": row["conf_low"],
            "conf_high": row["conf_high"],
        }
        answer[variant["result"]] = found
        if variant["vcov"] == "CRV3":
            # The reference's t has the factor of CRV1 that ours has nowhere.
            found["t"] /= _factor(panel)
            answer["_disputed"][f"{variant['result']}.p"] = ONE_SIDED
        elif not variant["full_enumeration"]:
            noise = 4.0 * np.sqrt(expected["p"] * (1.0 - expected["p"]) / expected["draws"])
            answer["_off"][f"{variant['result']}.p"] = (0.0, float(noise))
    return answer


def averages(result: gbv.Estimates, by: str, labels: list[float] | None) -> dict[str, list[Any]]:
    """Return averages by event time, cohort or period in the order of their labels; the overall one for none."""
    found = result.aggregate(by)
    if labels is None:
        record = found.records()[0]
        return {key: [record[key]] for key in ("estimate", "std_error")}
    name = {"event_time": "event time {:+g}", "cohort": "cohort {:g}", "calendar": "period {:g}"}[by]
    names = [name.format(label).replace("time +0", "time 0") for label in labels]
    return columns(found, names)


def sun_abraham(folder: Path, case: dict[str, Any]) -> dict[str, Any]:
    task = case["task"]
    roles, options = task["roles"], task["options"]
    if options["control_group"] != "never" or options["reference"] != [-1]:
        raise Unsupported("another control group or reference")
    frame = with_cohort(panel_frame(folder, task["data"]), roles)
    panel = make_panel(frame, roles, cohort="_cohort")
    result = gbv.SunAbraham(std_error=std_error_of(options["vcov"])).estimate(panel)
    overall = result.aggregate("simple").records()[0]
    keys = {"estimate": "estimate", "std_error": "std_error", "t": "statistic", "p": "p_value"}
    answer: dict[str, Any] = {
        "event_study": averages(result, "event_time", options["event_times"]),
        "att": {theirs: [overall[ours]] for theirs, ours in keys.items()},
    }
    if "by_cohort" in case["results"]:
        terms = [str(term) for term in case["results"]["by_cohort"]["term"] if "::" in str(term)]
        answer["by_cohort"] = averages(result, "cohort", [float(term.split("::")[-1]) for term in terms])
    if options["covariate_terms"]:
        own = columns(result, options["covariate_terms"])
        for name, part in answer.items():
            if case["results"][name]["term"][0] == options["covariate_terms"][0]:
                answer[name] = {key: [*own[key], *values] for key, values in part.items()}
    for part in answer.values():
        part["nobs"] = rows_used(result)
    cells = [record for record in result.records() if record["estimand"] == "group_time_ATT"]
    # R counts the covariates among these coefficients.
    return {**answer, "n_cohort_by_time_coefs": len(cells) + len(options["covariate_terms"])}


def etwfe(folder: Path, case: dict[str, Any]) -> dict[str, Any]:
    task = case["task"]
    roles, options = task["roles"], task["options"]
    frame = with_cohort(panel_frame(folder, task["data"]), roles)
    estimator = gbv.ExtendedTwfe(
        family=options["family"],
        control={"not_yet": "not_yet_treated", "never": "never_treated"}[options["control_group"]],
        std_error=std_error_of(options["vcov"]),
    )
    result = estimator.estimate(make_panel(frame, roles, cohort="_cohort"))
    overall = result.aggregate("simple").records()[0]
    answer: dict[str, Any] = {"simple": {key: [overall[key]] for key in ("estimate", "std_error")}}
    for theirs, ours in {"group": "cohort", "calendar": "calendar", "event": "event_time"}.items():
        if theirs in case["results"]:
            index = [float(label) for label in case["results"][theirs]["index"]]
            # With leads the last period before treatment compares with itself, and we show no row for it.
            base = theirs == "event" and options["control_group"] == "never"
            shown = [label for label in index if not (base and label == -1)]
            found = averages(result, ours, shown)
            place = index.index(-1.0) if base and -1.0 in index else None
            if place is not None:
                found = {key: [*values[:place], 0.0, *values[place:]] for key, values in found.items()}
            answer[theirs] = {**found, "index": index}
    # R's etwfe has the derivatives of its averages by finite differences: a cell's own error, which is that of its
    # coefficient, is off by 2e-6 of it.
    answer["_off"] = {"calendar": (3e-6, 0.0), "event": (3e-6, 0.0)}
    return answer


def rows_used(result: gbv.Estimates) -> int:
    """Return the rows that a result says it used."""
    return int(result.method.sample.split(" row")[0].replace(",", ""))


def _factor(panel: gbv.Panel) -> float:
    """Return the root of G/(G - 1) (n - 1)/(n - K), K with all units, periods, covariates and treatment."""
    n, units = panel.n_rows, panel.n_units
    k = units + panel.periods.size - 1 + len(panel.covariate_names) + 1
    return float((units / (units - 1.0) * (n - 1.0) / (n - k)) ** 0.5)


TASKS = {
    "two_by_two": two_by_two,
    "twfe": twfe,
    "event_study": event_study,
    "wild_bootstrap": wild_bootstrap,
    "sun_abraham": sun_abraham,
    "etwfe": etwfe,
}
