"""Translates cases about answers that do not tell all: corrected prevalence, item counts, randomised response."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gbveval as gbv
from tests.reference.compare import Unsupported
from tests.reference.surveys import survey_data, term_names, with_columns


def rogan_gladen(_: Path, case: dict[str, Any]) -> dict[str, Any]:
    values, options = case["task"]["values"], case["task"]["options"]
    if options["clip"]:
        raise Unsupported("limits that are cut at 0 and 1")
    table = gbv.corrected_prevalence_intervals(
        values["positives"],
        values["n"],
        sensitivity=values["sensitivity"],
        specificity=values["specificity"],
        intervals=options["interval"],
        level=options["level"],
    )
    row = dict(zip(table.columns, table.rows[0], strict=True))
    names = {"reported": "apparent", "corrected": "true"}
    return {names[key] + end: row[key + end] for key in names for end in ("", "_low", "_high")}


def randomised_response(folder: Path, case: dict[str, Any]) -> dict[str, Any]:
    task = case["task"]
    roles, options = task["roles"], task["options"]
    frame = survey_data(folder, task["data"])
    columns = with_columns(frame, {"covariates": [], **roles})
    forced = {"forced_yes": options["p_forced_yes"]} if options["design"] == "forced" else {}
    # With no covariate the likelihood has its maximum at the moment estimate, and the cross-product of the scores,
    # which R's rr inverts, is the information of n answers.
    model = gbv.RandomisedResponseRegression(list(columns), options["p"], std_error="scores", **forced)
    found = model.estimate(gbv.Survey(frame, outcome=roles["outcome"]))
    prevalence = found["prevalence"]
    if options["method"] == "moment":
        return {"est": prevalence.value, "se": prevalence.std_error, "n": prevalence.n_units}
    if options["method"] != "logistic_regression":
        raise Unsupported(f"randomised response by {options['method']!r}")
    rows = {key: found[name] for key, name in term_names(case["result_terms"], columns).items()}
    return {
        "coefficients": {key: row.value for key, row in rows.items()},
        "se": {key: row.std_error for key, row in rows.items()},
        "prevalence": prevalence.value,
        "se_prevalence": prevalence.std_error,
    }


# R's nls stops at a relative offset of 1e-5, short of the minimum, and where the sum of squares is flat that shows in
# the fourth digit (the unit tests of the numeric function show both, at R's coefficients and at ours).
EARLY = {"sensitive": (5e-4, 0.0), "se_sensitive": (6e-4, 0.0), "control": (2e-4, 0.0), "se_control": (1e-4, 0.0)}
MODELS = {"linear": "linear", "two_step_nls": "two_step", "maximum_likelihood": "likelihood"}


def lists(folder: Path, case: dict[str, Any]) -> tuple[gbv.Trial, dict[str, Any], int]:
    """Return the trial of two lists, what each covariate column stands for, and the items of the short list."""
    task = case["task"]
    roles = task["roles"]
    frame = survey_data(folder, task["data"])
    columns = with_columns(frame, {"covariates": [], **roles})
    frame["_list"] = frame[roles["treatment"]].map({0: "short", 1: "long"})
    trial = gbv.Trial(frame, outcome=roles["outcome"], arm="_list", control="short", covariates=list(columns))
    # A difference in means is asked for without the number of items, of which it needs only the largest possible.
    return trial, columns, task["options"].get("control_items", 9)


def list_experiment(folder: Path, case: dict[str, Any]) -> dict[str, Any]:
    options = case["task"]["options"]
    trial, columns, items = lists(folder, case)
    if options["method"] == "difference_in_means":
        return gbv.ListExperiment(items).estimate(trial).records(options["level"])[0]
    model = MODELS.get(options["method"])
    if model is None or options.get("overdispersed") or not options.get("constrained", True):
        raise Unsupported(f"a list experiment by {options['method']!r} with these options")
    found = gbv.ListRegression(items, model).estimate(trial)
    names = term_names(case["result_terms"], columns)
    answer: dict[str, Any] = {"_off": EARLY} if model == "two_step" else {}
    for part in ("sensitive", "control"):
        rows = {key: found[f"{part}: {name}"] for key, name in names.items()}
        answer[part] = {key: row.value for key, row in rows.items()}
        answer[f"se_{part}"] = {key: row.std_error for key, row in rows.items()}
    answer["loglik"] = dict(found["prevalence"].extra).get("log_likelihood")
    return answer


def list_design_test(folder: Path, case: dict[str, Any]) -> dict[str, Any]:
    options = case["task"]["options"]
    trial, _, items = lists(folder, case)
    if not options["generalised_moment_selection"] or options["correction"] != "bonferroni":
        raise Unsupported("a test of list experiments without moment selection, or with another correction")
    # R's rule of selection, which is not that by standard errors.
    found = gbv.ListDesignTest(items, n_draws=options["draws"], selection="spread").estimate(trial)
    words = {1: "with", 0: "without"}
    rows = {
        key: found[f"count {at['control_count']}, {words[at['sensitive']]} the sensitive item"]
        for key, at in case["result_terms"].items()
    }
    return {
        "p": [found["no design effect"].p_value],
        # The case states this tolerance for its list of one.
        "_off": {"p": (0.0, options["tolerance_absolute"]["p"])},
        "pi_est": {key: row.value for key, row in rows.items()},
        "pi_se": {key: row.std_error for key, row in rows.items()},
    }


TASKS = {
    "list_design_test": list_design_test,
    "list_experiment": list_experiment,
    "rogan_gladen": rogan_gladen,
    "randomised_response": randomised_response,
}
