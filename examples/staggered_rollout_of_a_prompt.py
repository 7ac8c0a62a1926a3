"""A staggered rollout of a prompt to reconsider: from the plan, by simulation, to the report.

Run it with ``python examples/staggered_rollout_of_a_prompt.py --out out/prompt``. gbveval has no formula for this
design, so its power is simulated: a process whose truth is known is drawn again and again and handed to the estimator.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

import gbveval as gbv
from gbveval.datasets.pilot import PilotRollout

SEED = 5


def step(text: str) -> None:
    """Say what is being done."""
    print(f"- {text}", flush=True)


@dataclass(frozen=True)
class OverallEffect:
    """The average over all treated community-months, as an estimator of its own."""

    name: str = "callaway_santanna_overall"

    def estimate(self, data: gbv.Panel, *, rng: np.random.Generator | None = None) -> gbv.Estimates:
        """Return the overall average of the group-time effects."""
        return gbv.CallawaySantAnna().estimate(data).aggregate("simple")


def compare_sizes(process: PilotRollout) -> gbv.Table:
    """Simulate the rollout with fewer and more communities, and once with the usual regression."""
    rows = []
    for communities, estimator, draws in (
        (24, OverallEffect(), 400),
        (60, OverallEffect(), 400),
        (60, gbv.TwoWayFixedEffects(), 60),
    ):
        design = replace(process, n_communities=communities)
        row = gbv.simulate_power(design, estimator, n_draws=draws, seed=SEED)[0]
        numbers = (row.bias.value, row.bias.mcse, row.coverage.value, row.power.value, row.power.mcse)
        rows.append((communities, row.label, draws, *(round(number, 3) for number in numbers)))
        power = f"{row.power.value:.2f} (Monte Carlo error {row.power.mcse:.2f})"
        step(f"{communities} communities, {row.label}: bias {row.bias.value:+.2f}, power {power}")
    return gbv.Table(
        "Simulated rollouts",
        ("communities", "estimator", "draws", "bias", "bias_mcse", "coverage", "power", "power_mcse"),
        tuple(rows),
        (
            "Each _mcse is the Monte Carlo standard error of the column before it.",
            "The effect builds up over three months, which biases two-way fixed effects.",
        ),
    )


def main() -> None:
    """Simulate the plan, check, estimate, release and report."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("out/prompt"), help="output folder (default: out/prompt)")
    out = parser.parse_args().out

    process = PilotRollout()
    simulated = compare_sizes(process)

    panel = gbv.Panel(
        process.frame(np.random.default_rng(SEED)),
        outcome="harmful_per_1000",
        unit="community",
        time="month",
        cohort="first_month",
    )
    step(repr(panel))
    effects = gbv.CallawaySantAnna().estimate(panel)
    overall, study = effects.aggregate("simple"), effects.aggregate("event_time").with_band()
    answer = overall.records()[0]
    truth = process.truth(overall.terms[0].estimand)
    interval = f"{answer['conf_low']:+.2f} to {answer['conf_high']:+.2f}"
    step(f"effect {answer['estimate']:+.2f} harmful posts in 1,000 ({interval}); truth {truth:+.2f}")

    regression = gbv.TwoWayFixedEffects().estimate(panel)
    files = gbv.write_report(
        [
            gbv.Section(
                "What was planned", gbv.release(simulated), "Two waves of communities, and a third without the prompt."
            ),
            gbv.Section(
                "Effect of the prompt",
                gbv.release([study, overall, effects.aggregate("pretest"), panel.flow()]),
                "Communities that have the prompt are compared with those that do not have it yet. The band covers all "
                "event times at once. The data are made up.",
            ),
            gbv.Section(
                "The usual regression, for comparison",
                gbv.release(regression),
                "It uses communities treated early as controls for those treated late.",
            ),
        ],
        out=out,
        title="A staggered rollout of a prompt to reconsider",
        progress=step,
    )
    print(files.page)


if __name__ == "__main__":
    main()
