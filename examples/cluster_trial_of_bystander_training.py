"""A cluster trial of bystander training in schools: from the plan to the report.

Run it with ``python examples/cluster_trial_of_bystander_training.py --out out/schools``. The data are made up, with a
known truth. To use the script as a template, replace `made_up_answers` by your own table.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pandas as pd

import gbveval as gbv

CONTROL, TREATED = "usual practice", "bystander training"
RISK, EFFECT = 0.32, -0.08
STUDENTS = 40
SEED = 7


def step(text: str) -> None:
    """Say what is being done."""
    print(f"- {text}", flush=True)


def plan_trial() -> gbv.ClusterDesign:
    """Find the number of schools that detects the smallest effect that would matter, eight points."""
    first = gbv.ClusterDesign(
        clusters_per_arm=10,
        cluster_size=STUDENTS,
        icc=gbv.ICC(0.02, scale="observed"),
        outcome=gbv.Binary(RISK),
        size_cv=0.3,
    )
    needed = gbv.required_size(first, effect=EFFECT, power=0.8)
    step(f"{needed.rounded} schools an arm give power {needed.achieved_power:.2f} for {100 * EFFECT:.0f} points")
    return needed.design


def simulate(plan: gbv.ClusterDesign) -> gbv.Diagnosis:
    """Check the plan with the estimator that will be run."""
    found = gbv.simulate_power(plan, gbv.DifferenceInMeans(), effect=EFFECT, n_draws=2000, seed=SEED)
    row = found["difference_in_means"]
    power = f"{row.power.value:.3f} (Monte Carlo error {row.power.mcse:.3f})"
    step(f"simulated power {power}, coverage {row.coverage.value:.3f}")
    return found


def made_up_answers(schools_per_arm: int, rng: np.random.Generator) -> pd.DataFrame:
    """Return students with their school, arm, whether they were harassed before, and in the year after."""
    schools = 2 * schools_per_arm
    treated = rng.permutation(np.repeat([0, 1], schools_per_arm))
    size = rng.integers(STUDENTS // 2, STUDENTS + STUDENTS // 2 + 1, schools)
    school = np.repeat(np.arange(schools), size)
    # School risks are beta distributed: an intracluster correlation of .02.
    strength = (1 - 0.02) / 0.02
    mean = RISK + EFFECT * treated
    risk = rng.beta(mean * strength, (1 - mean) * strength)[school]
    before = rng.random(school.size) < 0.3
    # Students harassed before have one and a half times the mean risk of their school.
    risk = risk * np.where(before, 1.5, 0.55 / 0.7)
    harassed = (rng.random(school.size) < risk).astype(float)
    harassed[rng.random(school.size) < 0.1] = np.nan
    return pd.DataFrame(
        {
            "school": [f"school {number + 1:03d}" for number in school],
            "arm": np.where(treated[school] == 1, TREATED, CONTROL),
            "harassed_before": before.astype(float),
            "harassed_12m": harassed,
        }
    )


def main() -> None:
    """Plan, simulate, check, estimate, release and report."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("out/schools"), help="output folder (default: out/schools)")
    out = parser.parse_args().out

    plan = plan_trial()
    diagnosis = simulate(plan)

    frame = made_up_answers(plan.clusters_per_arm, np.random.default_rng(SEED))
    trial = gbv.Trial(
        frame, outcome="harassed_12m", arm="arm", control=CONTROL, cluster="school", covariates=["harassed_before"]
    )
    step(f"{trial.n:,} students of {trial.n_clusters} schools")

    primary, check = gbv.LinAdjusted().estimate(trial), gbv.DifferenceInMeans().estimate(trial)
    answer = primary.records()[0]
    low, high = 100 * answer["conf_low"], 100 * answer["conf_high"]
    step(f"effect {100 * answer['estimate']:+.1f} points ({low:+.1f} to {high:+.1f}); truth {100 * EFFECT:+.1f}")

    effects = (-0.02, -0.04, -0.06, EFFECT, -0.10)
    planned = gbv.release(
        [gbv.power_curve(plan, effects), gbv.explain_power(plan, effect=EFFECT), diagnosis.to_table()]
    )
    found = gbv.release([primary, check, trial.flow()])
    files = gbv.write_report(
        [
            gbv.Section("What was planned", planned, "Schools were to be assigned by lot, half of them to training."),
            gbv.Section(
                "Effect of bystander training",
                found,
                "The primary analysis adjusts for having been harassed before; the plain difference stands beside it. "
                "The data are made up.",
            ),
        ],
        out=out,
        title="A cluster trial of bystander training",
        progress=step,
    )
    print(files.page)


if __name__ == "__main__":
    main()
