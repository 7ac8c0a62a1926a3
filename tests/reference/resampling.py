"""Translates cases about resampling and several questions: permutation, wild bootstrap, adjusted p-values, margins."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

import gbveval as gbv
from tests.reference.compare import Unsupported
from tests.reference.frames import trial_frame
from tests.reference.linear import regression, roles_of
from tests.reference.randomised import arms

ADJUSTMENTS = {name: name for name in ("bonferroni", "sidak", "holm", "hochberg", "hommel", "BH", "BY")} | {
    "two_stage_bky_bh": "two_stage_bh"
}
PERMUTATION = {
    "difference_in_means": "difference",
    "sum_standardised": "sum",
    "rank_sum_standardised": "rank_sum",
}
TAILS = {"greater": "p_greater", "less": "p_less", "equal": "p_equal"}
MOST_SIGNS = 2**20


def table_row(table: gbv.Table) -> dict[str, Any]:
    return dict(zip(table.columns, table.rows[0], strict=True))


def permuted_trial(
    frame: pd.DataFrame, roles: dict[str, Any], outcome: str | list[str], *, control: str = "control", **extra: Any
) -> gbv.Trial:
    """Return a trial in which a cluster of one row is that row."""
    frame, arm = arms(frame, roles["treatment"])
    chosen = {ours: roles[theirs] for ours, theirs in (("stratum", "block"), ("pair", "pair")) if roles.get(theirs)}
    cluster = roles.get("cluster")
    if cluster and frame[cluster].duplicated().any():
        chosen["cluster"] = cluster
    return gbv.Trial(frame, outcome=outcome, arm=arm, control=control, **chosen, **extra)


def probability(frame: pd.DataFrame, given: Any) -> Any:
    """Return the probability of treatment of every row: a number, or a share over all rows or within groups."""
    if isinstance(given, dict):
        column = frame[given["mean_of"]]
        if given.get("within"):
            return frame.groupby(given["within"])[given["mean_of"]].transform("mean")
        return np.full(len(frame), column.mean())
    if given is None:
        raise Unsupported("simple assignment without a probability")
    return np.full(len(frame), float(given)) if not isinstance(given, str) else frame[given]


def check_numbers(frame: pd.DataFrame, roles: dict[str, Any], assignment: dict[str, Any]) -> None:
    """The assignment keeps the numbers found; a case that says other numbers is another question."""
    found = frame[frame[roles["treatment"]["column"]] == roles["treatment"].get("treated", 1)]
    kind = assignment["type"]
    if kind == "complete":
        wanted, counts = assignment.get("treated_units", "observed"), [len(found)]
    elif kind == "complete_clusters":
        wanted, counts = assignment.get("treated_clusters", "observed"), [found[roles["cluster"]].nunique()]
    elif kind == "blocked":
        unit = roles.get("cluster")
        grouped = found.groupby(roles.get("pair") or roles["block"])
        counts = (grouped[unit].nunique() if unit else grouped.size()).tolist()
        wanted = assignment.get("treated_per_block", "observed")
    else:
        raise Unsupported(f"assignment of type {kind!r}")
    if wanted == "observed":
        return
    if isinstance(wanted, dict):
        wanted = list(wanted.values())
    wanted = list(wanted) if isinstance(wanted, (list, tuple)) else [wanted] * len(counts)
    if sorted(int(x) for x in wanted) != sorted(int(x) for x in counts):
        raise Unsupported("the numbers of the assignment are not those of the data")


def draws(options: dict[str, Any]) -> dict[str, Any]:
    if options.get("enumeration") == "all":
        return {"distribution": "exact"}
    number = options.get("draws", options.get("simulations"))
    if number is None:
        raise Unsupported("neither all allocations nor a number of draws")
    return {"distribution": "monte_carlo", "n_draws": max(int(number), 20_000)}


def randomisation_test(folder: Path, case: dict[str, Any]) -> dict[str, Any]:
    roles, options = case["task"]["roles"], case["task"]["options"]
    if options["statistic"] != "ipw_difference_in_means" or not options.get("count_observed", True):
        raise Unsupported(f"statistic {options['statistic']}, count_observed {options.get('count_observed')}")
    if options.get("null_sd_divisor", "n_minus_1") != "n_minus_1":
        raise Unsupported("a divisor of the null's spread other than n - 1")
    null = float(options.get("null", 0))
    if null != 0 and "ri2_two_tailed" in case["results"]:
        raise Unsupported(
            "ri2 subtracts the null in floating point and then compares absolute values, which loses ties with the "
            "mirror image: a p-value that is not the share of allocations as extreme"
        )
    frame = trial_frame(folder, case["task"]["data"])
    assignment = options["assignment"]
    extra: dict[str, Any] = {}
    if assignment["type"] == "simple":
        frame["_p"] = probability(frame, roles.get("probability"))
        extra["probability"] = "_p"
    else:
        check_numbers(frame, roles, assignment)
    if assignment["type"] not in ("blocked", "simple"):
        roles = {name: value for name, value in roles.items() if name not in ("block", "pair")}
    trial = permuted_trial(frame, roles, roles["outcome"], **extra)
    alternative = options.get("alternative", "two_sided")
    found = gbv.RandomisationInference(
        statistic="ipw_difference",
        null=null,
        alternative=alternative,
        two_sided=options.get("two_sided_rule", "absolute"),
        assignment="simple" if assignment["type"] == "simple" else "complete",
        **draws(options),
    ).estimate(trial)
    record = found.records()[0]
    return {
        "estimate": record["estimate"],
        "p_two_tailed": record[f"p_{options.get('two_sided_rule', 'absolute')}"],
        "ri2_two_tailed": record["p_absolute"],
        "p_upper": record["p_greater"],
        "p_lower": record["p_less"],
        "p_value": record["p_value"],
        "null_sd": record["null_sd"],
        "n_permutations": record["n_allocations"],
    }


def permutation_test(folder: Path, case: dict[str, Any]) -> dict[str, Any]:
    roles, options = case["task"]["roles"], case["task"]["options"]
    if options["statistic"] not in PERMUTATION or not options.get("count_observed", True):
        raise Unsupported(f"statistic {options['statistic']}, count_observed {options.get('count_observed')}")
    statistic, distribution = PERMUTATION[options["statistic"]], options["distribution"]
    control = "treated" if options.get("statistic_group") == "control" else "control"
    trial = permuted_trial(trial_frame(folder, case["task"]["data"]), roles, roles["outcome"], control=control)
    simple = trial.cluster is None and not roles.get("block")
    if statistic == "difference" and (distribution == "asymptotic" or simple):
        # With the numbers fixed a difference in means orders allocations as the sum over the treated does.
        statistic = "sum"
    null = float(options.get("null", 0)) * (-1.0 if control == "treated" else 1.0)
    record = (
        gbv.RandomisationInference(
            statistic=statistic,
            null=null,
            alternative=options.get("alternative", "two_sided"),
            two_sided=options.get("two_sided_rule", "absolute"),
            assignment="complete",
            distribution=distribution,
        )
        .estimate(trial)
        .records()[0]
    )
    answer = {
        "Z": record["statistic"],
        "p_value": record["p_value"],
        "expectation": record.get("expectation"),
        "variance": record.get("variance"),
    }
    terms = case.get("result_terms", {})
    answer["p_values"] = {key: record.get(_tail(meaning)) for key, meaning in terms.items()}
    return answer


def _tail(meaning: dict[str, Any]) -> str:
    return TAILS.get(meaning["alternative"], f"p_{meaning.get('two_sided_rule', 'absolute')}")


def wild_trial(folder: Path, task: dict[str, Any], outcome: str | list[str]) -> gbv.Trial:
    roles = task["roles"]
    found = regression(trial_frame(folder, task["data"]), roles)
    if roles.get("cluster") and found.within(roles["cluster"]):
        raise Unsupported("arms that vary inside clusters")
    return found.trial(outcome, **roles_of(found.frame, roles))


def wild_cluster_bootstrap(folder: Path, case: dict[str, Any]) -> dict[str, Any]:
    task = case["task"]
    roles, options = task["roles"], task["options"]
    if options.get("parameter", "treatment") != "treatment":
        raise Unsupported("the bootstrap of another coefficient than the arm's")
    listed = options.get("enumeration") == "all"
    number = MOST_SIGNS if listed else int(options.get("draws", 9_999))
    rule = {"absolute": "two_sided", "central": "central"}[options.get("two_sided_rule", "absolute")]
    alternative = options.get("alternative", "two_sided")
    row = (
        gbv.WildClusterBootstrap(
            variant="WCR11" if options.get("null_imposed", True) else "WCU11",
            weights=options.get("weights", "rademacher"),
            n_draws=number,
            null=float(options.get("null", 0)),
            alternative=rule if alternative == "two_sided" else alternative,
            vcov=options.get("vcov", "CR1S"),
            ties=options.get("ties", "counted") != "not_counted",
            level=options.get("level", 0.95),
        )
        .estimate(wild_trial(folder, task, roles["outcome"]))
        .records()[0]
    )
    return {
        "estimate": row["estimate"],
        "std_error": row["std_error"],
        "t_stat": row["statistic"],
        "p_value": row["p_value"],
        "conf_low": row["conf_low"],
        "conf_high": row["conf_high"],
        "n_boot": row["n_draws"],
        "n_clusters": row["n_clusters"],
        "n_obs": row["n_units"],
    }


def multiple_testing(folder: Path, case: dict[str, Any]) -> dict[str, Any]:
    task = case["task"]
    roles, options = task["roles"], task["options"]
    raw = options["raw_p"]
    if raw.get("kind", "linear_model") != "linear_model":
        raise Unsupported(f"raw p-values from {raw['kind']}")
    frame = trial_frame(folder, task["data"])
    if options.get("missing", "per_outcome") != "per_outcome":
        frame = frame.dropna(subset=roles["outcomes"])
    found = regression(frame, roles)
    if roles.get("cluster") and found.within(roles["cluster"]):
        raise Unsupported("arms that vary inside clusters")
    trial = found.trial(roles["outcomes"], **roles_of(found.frame, roles))
    result = gbv.Ancova(std_error=raw["vcov"], df=raw.get("df", "auto")).estimate(trial)
    first = {record["outcome"]: record for record in reversed(result.records()) if record["estimand"] == "ITT"}
    p_values = [first[name]["p_value"] for name in roles["outcomes"]]
    answer: dict[str, Any] = {"raw": p_values, "raw_p": p_values}
    for name in options["adjustments"]:
        if name not in ADJUSTMENTS:
            raise Unsupported(f"the adjustment {name!r}")
        answer[name] = gbv.adjust_p_values(p_values, method=ADJUSTMENTS[name])
    return answer


def sharpened_fdr(folder: Path, case: dict[str, Any]) -> dict[str, Any]:
    del folder
    values, options = case["task"]["values"], case["task"]["options"]
    if options.get("procedure", "two_stage_bky") != "two_stage_bky":
        raise Unsupported(f"the procedure {options['procedure']!r}")
    if (options["grid_start"], options["grid_stop"], options["grid_step"]) != (0.001, 1.0, 0.001):
        raise Unsupported("another grid than 0.001 to 1 in steps of 0.001")
    p_values, alpha = values["p_values"], options.get("adjusted_p_alpha", 0.05)
    return {
        "sharpened_q": gbv.adjust_p_values(p_values, method="sharpened_q"),
        "tsbky_adjusted_p": gbv.adjust_p_values(p_values, method="two_stage_bky", alpha=alpha),
        "tsbh_adjusted_p": gbv.adjust_p_values(p_values, method="two_stage_bh", alpha=alpha),
    }


def westfall_young(folder: Path, case: dict[str, Any]) -> dict[str, Any]:
    roles, options = case["task"]["roles"], case["task"]["options"]
    statistics = {"welch_t": "studentised", "pooled_t": "pooled", "wilcoxon": "rank_sum"}
    if options["procedure"] != "step_down_maxT" or options["statistic"] not in statistics:
        raise Unsupported(f"{options['procedure']} with {options['statistic']}")
    frame = trial_frame(folder, case["task"]["data"])
    assignment = options["assignment"]
    check_numbers(frame, roles, assignment)
    if assignment["type"] != "blocked":
        roles = {name: value for name, value in roles.items() if name not in ("block", "pair")}
    number = MOST_SIGNS if options.get("enumeration") == "all" else int(options.get("draws", 9_999))
    answer = gbv.WestfallYoung(
        statistic=statistics[options["statistic"]],
        alternative=options.get("alternative", "two_sided"),
        assignment="complete",
        n_draws=number,
    ).estimate(permuted_trial(frame, roles, roles["outcomes"]))
    records = answer.records()
    return {
        "teststat": [record["statistic"] for record in records],
        "raw_p": [record["p_value"] for record in records],
        "adjusted_p": [record["p_adjusted"] for record in records],
    }


def romano_wolf(folder: Path, case: dict[str, Any]) -> dict[str, Any]:
    task = case["task"]
    roles, options = task["roles"], task["options"]
    if options.get("df", "clusters_minus_1") != "clusters_minus_1":
        raise Unsupported(f"raw p-values with df {options['df']}")
    answer = gbv.RomanoWolf(
        variant="WCR11" if options.get("null_imposed", True) else "WCU11",
        weights=options.get("weights", "rademacher"),
        # The reference is simulated; our own simulation error is made small beside it.
        n_draws=max(int(options.get("draws", 0)), 40_000),
        alternative=options.get("alternative", "two_sided"),
        vcov=options.get("vcov", "CR1S"),
    ).estimate(wild_trial(folder, task, roles["outcomes"]))
    records = answer.records()
    return {
        "estimate": [record["estimate"] for record in records],
        "std_error": [record["std_error"] for record in records],
        "t_stat": [record["statistic"] for record in records],
        "p_raw": [record["p_value"] for record in records],
        "p_romano_wolf": [record["p_adjusted"] for record in records],
    }


def equivalence_test(folder: Path, case: dict[str, Any]) -> dict[str, Any]:
    roles, options = case["task"]["roles"], case["task"]["options"]
    estimators = {"welch_t": gbv.DifferenceInMeans(), "pooled_t": gbv.Ancova(std_error="classical", df="residual")}
    if options["test"] not in estimators:
        raise Unsupported(f"the equivalence test {options['test']!r}")
    frame, arm = arms(trial_frame(folder, case["task"]["data"]), roles["treatment"])
    trial = gbv.Trial(frame, outcome=roles["outcome"], arm=arm, control="control")
    result = estimators[options["test"]].estimate(trial)
    level = float(options.get("level", 0.9))
    row = table_row(
        gbv.equivalence(
            result,
            "treated vs control",
            margin_low=options["margin_low"],
            margin_high=options["margin_high"],
            alpha=(1.0 - level) / 2.0,
        )
    )
    percent = f"{100 * level:g}"
    names = ("t_lower", "p_lower", "t_upper", "p_upper", "df", "estimate", "conf_low", "conf_high")
    return {name: row[name] for name in names} | {
        "p_tost": row["p_value"],
        f"ci{percent}_low": row["conf_low"],
        f"ci{percent}_high": row["conf_high"],
    }


def counts_of(values: dict[str, Any]) -> tuple[tuple[int, int], tuple[int, int]]:
    """Return events and people, treated before control, from the ways in which numbers are written down."""
    for events, people in (("events", "n"), ("successes", "trials"), ("x", "n")):
        first, second = values.get(events), values.get(people)
        if isinstance(first, list) and isinstance(second, list):
            return (int(first[0]), int(first[1])), (int(second[0]), int(second[1]))
        named = [values.get(f"{name}_{arm}") for name in (events, people) for arm in ("treated", "control")]
        if all(isinstance(number, (int, float)) for number in named):
            a, b, c, d = (int(number) for number in named if number is not None)
            return (a, b), (c, d)
        if isinstance(values.get("treated"), dict) and events in values["treated"] and people in values["treated"]:
            both = [values[arm] for arm in ("treated", "control")]
            return (int(both[0][events]), int(both[1][events])), (int(both[0][people]), int(both[1][people]))
    raise Unsupported("counts of events and people in a form that is not known")


def noninferiority_test(folder: Path, case: dict[str, Any]) -> dict[str, Any]:
    task = case["task"]
    options = task["options"]
    if options.get("measure", "risk_difference") != "risk_difference" or options.get("vcov", "unpooled") != "unpooled":
        raise Unsupported(f"non-inferiority of {options.get('measure')} with variance {options.get('vcov')}")
    if task.get("values") is not None:
        events, n = counts_of(task["values"])
    else:
        frame, arm = arms(trial_frame(folder, task["data"]), task["roles"]["treatment"])
        groups = [frame[frame[arm] == label] for label in ("treated", "control")]
        roles = task["roles"]
        if roles.get("successes"):
            events = tuple(int(group[roles["successes"]].sum()) for group in groups)  # type: ignore[assignment]
            n = tuple(int(group[roles["trials"]].sum()) for group in groups)  # type: ignore[assignment]
        else:
            columns = [group[roles["outcome"]].dropna() for group in groups]
            events = tuple(int(column.sum()) for column in columns)  # type: ignore[assignment]
            n = tuple(len(column) for column in columns)  # type: ignore[assignment]
    level = float(options.get("upper_bound_level", options.get("level", 0.95)))
    row = table_row(gbv.noninferiority_of_risks(events=events, n=n, margin=float(options["margin"]), alpha=1.0 - level))
    return {
        "estimate": row["estimate"],
        "risk_difference": row["estimate"],
        "std_error": row["std_error"],
        "se": row["std_error"],
        "z": row["statistic"],
        "statistic": row["statistic"],
        "p_value": row["p_value"],
        "p_noninferiority": row["p_value"],
        "upper_bound": row["bound"],
        "conf_high": row["bound"],
    }


TASKS: dict[str, Callable[[Path, dict[str, Any]], dict[str, Any]]] = {
    "randomisation_test": randomisation_test,
    "permutation_test": permutation_test,
    "wild_cluster_bootstrap": wild_cluster_bootstrap,
    "multiple_testing": multiple_testing,
    "sharpened_fdr": sharpened_fdr,
    "westfall_young": westfall_young,
    "romano_wolf": romano_wolf,
    "equivalence_test": equivalence_test,
    "noninferiority_test": noninferiority_test,
}
