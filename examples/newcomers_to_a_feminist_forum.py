"""A blocked trial against the silencing effect of harassment, from the log of assignments to the report.

Matias, Reddan and Simko (2020), "Reducing the Silencing Role of Harassment in Online Feminism Discussions": newcomers
to r/feminism were assigned 1:1 in blocks of ten; the treated got a message that harassers are a minority there. Their
data are on GitHub, natematias/reddit-feminism-analysis-2018 (MIT), and not part of this package.

Run it with ``python examples/newcomers_to_a_feminist_forum.py --out out/newcomers``. Without data it makes up a trial
of the same shape. With ``--data table.csv``, or the path in the environment variable GBVEVAL_REDDIT, it reads a table
with the columns in `COLUMNS`, one row an assignment that the authors kept.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

import gbveval as gbv

SEED = 11
COLUMNS = (
    *("unit", "block", "treatment", "message_sent", "survey_completed", "identifies_feminist"),
    *("community_closeness", "comments_2wk", "removed_10wk"),
)
CONTROL, TREATED = "no message", "message"
ROLES: dict[str, Any] = {"arm": "arm", "control": CONTROL}


def step(text: str) -> None:
    """Say what is being done."""
    print(f"- {text}", flush=True)


def made_up_log(rng: np.random.Generator, blocks: int = 130) -> pd.DataFrame:
    """Return a trial of the same shape: blocked, counts with a long tail, one-sided take-up, a survey of a quarter."""
    n = 10 * blocks
    treatment = rng.permuted(np.tile(np.repeat([0, 1], 5), (blocks, 1)), axis=1).ravel()
    answered = rng.random(n) < 0.25
    identifies = rng.choice(["Yes", "No", "Undecided"], n, p=[0.76, 0.16, 0.08])
    feminist = identifies == "Yes"
    close = 2.2 + 2.6 * feminist + treatment * (0.9 - 1.1 * feminist) + rng.normal(scale=1.5, size=n)
    comments = rng.negative_binomial(1.6, 1.6 / (1.6 + np.exp(0.70 + 0.19 * treatment)))
    return pd.DataFrame(
        {
            "unit": np.arange(n),
            "block": np.repeat(np.arange(blocks), 10),
            "treatment": treatment,
            "message_sent": treatment * (rng.random(n) < 0.9),
            "survey_completed": answered.astype(int),
            "identifies_feminist": np.where(answered, identifies, None),
            "community_closeness": np.where(answered, np.clip(np.round(close), 1, 7), np.nan),
            "comments_2wk": comments,
            "removed_10wk": rng.negative_binomial(0.05, 0.05 / 1.05, n),
        }
    )


def read_log(path: str | None) -> pd.DataFrame:
    """Return the authors' table, or a made-up one where no path is given."""
    if path is None:
        step("no data given (--data or GBVEVAL_REDDIT): a made-up trial of the same shape")
        frame = made_up_log(np.random.default_rng(SEED))
    else:
        if not Path(path).is_file():
            raise SystemExit(
                "The file given as --data or GBVEVAL_REDDIT is not there. The authors' data are on GitHub, "
                "natematias/reddit-feminism-analysis-2018; leave the option out for made-up data."
            )
        frame = pd.read_csv(path)
        absent = [name for name in COLUMNS if name not in frame.columns]
        if absent:
            raise SystemExit(
                f"The table lacks the columns {', '.join(absent)}; the text of this script says what they are."
            )
        frame = frame[list(COLUMNS)]
    return frame.assign(
        arm=np.where(frame["treatment"] == 1, TREATED, CONTROL),
        feminist=np.where(frame["survey_completed"] == 1, frame["identifies_feminist"] == "Yes", np.nan),
    )


def check_log(frame: pd.DataFrame) -> gbv.Table:
    """Look at the log before anything else: one column that was meant for adjustment was answered after assignment."""
    found = gbv.check_assignment_log(
        frame,
        unit="unit",
        arm="arm",
        control=CONTROL,
        block="block",
        block_size=10,
        received="message_sent",
        covariates=["identifies_feminist"],
        reached="survey_completed",
    )
    for check in found:
        if check.status != "ok":
            step(f"{check.status}: {check.name}: {check.message}")
    return gbv.Table(
        "The log of assignments",
        ("what", "status", "found"),
        tuple((check.name, check.status, check.public or check.message) for check in found),
    )


def effect_on_comments(frame: pd.DataFrame) -> dict[str, gbv.Estimates]:
    """Return the registered rate ratio, the same with a robust error, and what the blocks alone say."""
    trial = gbv.Trial(frame, outcome="comments_2wk", **ROLES)
    blocked = gbv.Trial(frame, outcome="comments_2wk", stratum="block", received="message_sent", **ROLES)
    return {
        "registered": gbv.NegativeBinomial(std_error="model").estimate(trial),
        "robust": gbv.NegativeBinomial().estimate(trial),
        "lot": gbv.RandomisationInference().estimate(blocked),
        "difference": gbv.DifferenceInMeans().estimate(blocked),
        "compliers": gbv.ComplierAverage().estimate(blocked),
    }


def effect_on_closeness(frame: pd.DataFrame) -> dict[str, gbv.Estimates]:
    """Return the registered test among those who answered, the plain difference, and bounds for attrition."""
    trial = gbv.Trial(frame, outcome="community_closeness", **ROLES)
    answered = frame[frame["survey_completed"] == 1]
    split = gbv.Trial(answered, outcome="community_closeness", covariates=["feminist"], **ROLES)
    return {
        "registered": gbv.Ancova(std_error="classical", interact=("feminist",)).estimate(split),
        "plain": gbv.DifferenceInMeans().estimate(trial),
        "bounds": gbv.LeeBounds().estimate(trial),
    }


def effect_on_removals(frame: pd.DataFrame) -> dict[str, gbv.Estimates]:
    """Return whether any comment was removed and how many, and a test that no tail can mislead."""
    trial = gbv.Trial(frame, outcome="removed_10wk", **ROLES)
    blocked = gbv.Trial(frame, outcome="removed_10wk", stratum="block", **ROLES)
    return {
        "hurdle": gbv.Hurdle().estimate(trial),
        "lot": gbv.RandomisationInference().estimate(blocked),
    }


def two_tests(comments: dict[str, gbv.Estimates], closeness: dict[str, gbv.Estimates]) -> gbv.Table:
    """Adjust the two registered tests for their number, as registered, and with tests that rest on less."""
    names = ("comments in two weeks", "closeness to the community")
    rows: list[tuple[str, str, float, float]] = []
    for how, answers in (
        ("as registered", (comments["registered"], closeness["registered"])),
        ("comments by lot, closeness not split", (comments["lot"], closeness["plain"])),
    ):
        raw = [answer.records()[0]["p_value"] for answer in answers]
        adjusted = gbv.adjust_p_values(raw, method="hochberg")
        rows += [(how, name, p, q) for name, p, q in zip(names, raw, adjusted, strict=True)]
    return gbv.Table("Two tests, adjusted for being two (Hochberg)", ("how", "outcome", "p", "adjusted_p"), tuple(rows))


def main() -> None:
    """Check, describe, estimate, release and report."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--out", type=Path, default=Path("out/newcomers"), help="output folder (default: out/newcomers)"
    )
    parser.add_argument("--data", default=os.environ.get("GBVEVAL_REDDIT"), help="the authors' table as CSV")
    options = parser.parse_args()

    frame = read_log(options.data)
    trial = gbv.Trial(
        frame,
        outcome=["comments_2wk", "community_closeness"],
        stratum="block",
        characteristics=["identifies_feminist"],
        **ROLES,
    )
    step(repr(trial))
    log = check_log(frame)
    attrition = gbv.differential_attrition(trial, "community_closeness")
    comments, closeness, removals = effect_on_comments(frame), effect_on_closeness(frame), effect_on_removals(frame)
    tests = two_tests(comments, closeness)

    ratio, lot = comments["registered"].records()[0], comments["lot"].records()[0]
    step(f"rate ratio of comments {ratio['estimate']:.3f}")
    step(f"p-value {ratio['p_value']:.4f} from the registered model, {lot['p_value']:.4f} by lot within blocks")
    report = [
        gbv.Section(
            "Was the trial run as declared?",
            gbv.release([log, trial.flow("community_closeness"), attrition]),
            "Identification as a feminist was to be adjusted for. It was asked in the survey, after the message, and "
            "only of those who answered: it is not a covariate.",
        ),
        gbv.Section(
            "Comments in the first two weeks: the registered ratio",
            gbv.release([comments["registered"], comments["robust"]]),
            "The registered model is a negative binomial regression. Its own standard error trusts the variance of the "
            "model; the second one does not.",
        ),
        gbv.Section(
            "Comments in the first two weeks: the difference",
            gbv.release([comments["lot"], comments["difference"]]),
            "What the lot within blocks says, without any model of counts, beside the usual standard error.",
        ),
        gbv.Section(
            "Those whom the message reached",
            gbv.release(comments["compliers"]),
            "Not every message arrived. This is the difference for those to whom it was delivered.",
        ),
        gbv.Section(
            "Closeness to the community",
            gbv.release([closeness["registered"], closeness["plain"], closeness["bounds"], tests]),
            "The registered test is the coefficient of the message among those who do not call themselves feminists, "
            "from a model that splits by an answer given after the message. If the message changed who answered, or "
            "how, the split is biased. The plain difference does not split; the bounds allow that the message changed "
            "who answered.",
        ),
        gbv.Section(
            "Comments removed by moderators in ten weeks",
            gbv.release([removals["hurdle"], removals["lot"]]),
            "Most newcomers had no comment removed, and a few had very many. The test by lot is exact all the same.",
        ),
    ]
    files = gbv.write_report(report, out=options.out, title="A message to newcomers", progress=step)
    print(files.page)


if __name__ == "__main__":
    main()
