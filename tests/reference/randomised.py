"""Translates cases about differences in means of a randomised trial."""

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


def rows_of(estimates: gbv.Estimates, options: dict[str, Any], *, one_sided: bool = False) -> list[dict[str, Any]]:
    """Return the numbers of every row, tested against the null and alternative of a case.

    `one_sided` says that the system's interval has one end where its alternative has one side, as R's t.test has.
    """
    level, null = options.get("level", 0.95), float(options.get("null", 0.0))
    alternative = options.get("alternative", "two_sided")
    side = one_sided and alternative != "two_sided"
    records = estimates.records(2.0 * level - 1.0 if side else level)
    if alternative == "two_sided" and null == 0.0:
        return records
    tests = estimates.tests(null=null, alternative=alternative)
    for i, record in enumerate(records):
        record["statistic"], record["p_value"] = float(tests.statistic[i]), float(tests.p_value[i])
        if side:
            record["conf_low" if alternative == "less" else "conf_high"] = None
    return records


def refuse_tests_of_other_nulls(options: dict[str, Any]) -> None:
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
    record = rows_of(gbv.DifferenceInMeans().estimate(trial), options)[0]
    blocks = trial.stratum or trial.pair
    return {
        **row_of(record),
        "n_obs": record["n_units"],
        "n_clusters": record["n_clusters"],
        "n_blocks": None if blocks is None else blocks.count,
    }
