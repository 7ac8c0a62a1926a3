"""The demo: a made-up ten-site pilot from plan to report, and a real panel beside it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

import gbveval as gbv
from gbveval.core.replicate import generators
from gbveval.datasets.pilot import CONTROL, PilotRollout, PilotSurvey, PilotTrial
from gbveval.datasets.real import castle_doctrine
from gbveval.reporting.report import ReportFiles, Section, write_report

# A study keeps its key secret; the demo's data are made up or public, so its key may be read.
STUDY_KEY = "gbveval demo"
Progress = Callable[[str], None]
MADE_UP = "The data of this section are made up, with a known truth; nobody in them exists."


def run_demo(out: Path, *, seed: int, progress: Progress) -> ReportFiles:
    """Run the whole flow and write its report.

    Parameters
    ----------
    out : Path
        Output folder.
    seed : int
        Seed of the made-up data.
    progress : callable
        Called with a line a step.
    """
    streams = generators(seed, 4)
    sections = [
        _planned(progress, seed),
        *_trial(next(streams), progress),
        _rollout(next(streams), progress),
        _survey(next(streams), progress),
        _castle(progress),
    ]
    progress("writing the report")
    return write_report(
        sections,
        out=out,
        title="A ten-site pilot against online harassment: evaluation report",
        lead=(
            "Bystander training in schools, a prompt to reconsider on a platform, a survey of who is harassed: "
            f"planned, estimated, pooled and reported with one library. The pilot is made up (seed {seed}); the last "
            "section is real."
        ),
        progress=progress,
    )


def _planned(progress: Progress, seed: int) -> Section:
    progress("planning: power of the cluster trial, by formula and by simulation")
    plan = gbv.ClusterDesign(
        clusters_per_arm=60, cluster_size=36, icc=gbv.ICC(0.01, scale="observed"), outcome=gbv.Binary(0.32)
    )
    simulated = gbv.simulate_power(plan, [gbv.DifferenceInMeans()], effect=-0.056, n_draws=1000, seed=seed % 1000)
    curve = gbv.power_curve(plan, effects=(-0.02, -0.04, -0.056, -0.08))
    return Section(
        "What was planned",
        gbv.release([curve, _brief(simulated.to_table())], gbv.Policy(study_key=STUDY_KEY)),
        "Sixty schools an arm over ten sites, with about 36 students followed up in each; past-year harassment of "
        "32 % in control; an intracluster correlation of .01 on the observed (0/1) scale. The formula and the "
        "simulation, which runs the same estimator that is used below, check each other.",
    )


def _brief(table: gbv.Table) -> gbv.Table:
    """Return the columns of a diagnosis that decide whether a plan is good enough."""
    wanted = ("estimator", "bias", "bias_mcse", "se_ratio", "coverage", "coverage_mcse", "power", "power_mcse")
    columns = [table.column(name) for name in wanted]
    notes = ("mcse is the Monte Carlo standard error of the column before it; an se ratio of 1 is right.",)
    return gbv.Table("The same by simulation, 1,000 draws at -0.056", wanted, tuple(zip(*columns, strict=True)), notes)


def _trial(rng: np.random.Generator, progress: Progress) -> list[Section]:
    progress("cluster trial: 120 schools in ten sites")
    process = PilotTrial()
    frame = process.frame(rng)
    trial = process.check(frame)
    difference, adjusted = gbv.DifferenceInMeans().estimate(trial), gbv.LinAdjusted().estimate(trial)
    progress("pooling ten sites, exactly")
    sites = gbv.SiteEffects.from_estimates(_by_site(frame, process))
    prior = gbv.HierarchyPrior(gbv.Normal(0, 0.1), gbv.HalfNormal(0.05))
    pooled = gbv.NormalHierarchy(prior).estimate(sites)
    harm = pooled.probability("effect in a new site", above=0.0)
    worth = pooled.probability("average effect", below=-0.02)
    return [
        Section(
            "Effect of bystander training",
            gbv.release([difference, adjusted, trial.flow()], gbv.Policy(study_key=STUDY_KEY)),
            (MADE_UP, "The true effect is a difference of -5.6 percentage points in past-year online harassment."),
        ),
        Section(
            "Ten sites together",
            gbv.release(
                [pooled, gbv.leave_one_site_out(sites, prior), gbv.prior_sensitivity(sites, prior)],
                gbv.Policy(study_key=STUDY_KEY),
            ),
            (
                f"{MADE_UP} Each site is estimated with its own schools, and the estimates are pooled in part. Sites "
                "are shown under codes.",
                f"The probability that the average effect is a reduction of more than 2 percentage points is "
                f"{worth:.2f}; the probability that a new site would see an increase is {harm:.2f}.",
            ),
        ),
    ]


def _by_site(frame: dict[str, object], process: PilotTrial) -> dict[str, gbv.Estimates]:
    """Return the estimate of each site from its own schools."""
    import pandas as pd

    table = pd.DataFrame(frame)
    return {
        str(name): gbv.DifferenceInMeans().estimate(
            gbv.Trial(part, outcome="harassed_12m", arm="arm", control=CONTROL, cluster="school")
        )
        for name, part in table.groupby("site")
    }


def _rollout(rng: np.random.Generator, progress: Progress) -> Section:
    progress("staggered rollout: 150 communities, twelve months")
    panel = PilotRollout().draw(rng)
    effects = gbv.CallawaySantAnna().estimate(panel)
    study = effects.aggregate("event_time").with_band()
    return Section(
        "Rollout of a prompt to reconsider",
        gbv.release([study, effects.aggregate("pretest"), panel.flow()], gbv.Policy(study_key=STUDY_KEY)),
        (
            MADE_UP,
            "Two waves of communities get the prompt, a third never does. The true effect builds up to three "
            "harmful posts fewer in 1,000 in the third month. The band covers all event times at once.",
        ),
    )


def _survey(rng: np.random.Generator, progress: Progress) -> Section:
    progress("survey: who is harassed online, and what goes with it")
    survey = PilotSurvey(wards=40, respondents=30).draw(rng)
    factors = gbv.RiskFactors(
        factors=(
            gbv.Factor("lgbtq", level="individual", reference="no", direction="risk", definition="identifies as LGBTQ"),
            gbv.Factor("disability", level="individual", reference="no", direction="risk", time_order="before"),
            gbv.Factor("moderated_community", level="community", reference="no", direction="protective"),
        ),
        adjust_for={"lgbtq": ("age",), "disability": ("age",), "moderated_community": ("age", "gender")},
        behaviour="experience",
        measures=("ratio", "difference", "attributable_fraction"),
    )
    by_group = gbv.Prevalence(by=("gender", "region")).estimate(survey)
    return Section(
        "Who is at risk, and what protects",
        gbv.release([by_group, factors.estimate(survey)], gbv.Policy(study_key=STUDY_KEY)),
        (
            MADE_UP,
            "Prevalence of online harassment in the past 12 months among people aged 16 to 29, and factors "
            "associated with it. One model a factor, adjusted for what is named; the coefficients of what was "
            "adjusted for are not factors.",
        ),
    )


def _castle(progress: Progress) -> Section:
    progress("real data: castle doctrine laws and homicide, 50 states, 2000 to 2010")
    panel = castle_doctrine()
    effects = gbv.CallawaySantAnna(control="never_treated").estimate(panel)
    study = effects.aggregate("event_time", min_event_time=-5, max_event_time=3)
    policy = gbv.Policy(study_key=STUDY_KEY).override(
        reason="The units are US states and their homicide rates are public record; no respondent is in these data.",
        enforce=False,
    )
    return Section(
        "A real rollout: castle doctrine laws",
        gbv.release([study, gbv.TwoWayFixedEffects().estimate(panel)], policy),
        (
            "Between 2005 and 2009, 21 states widened the right to lethal self-defence. The outcome is log "
            "homicide; an estimate of 0.10 is about ten per cent more. Cheng and Hoekstra (2013) published 0.082 "
            "(unweighted two-way fixed effects), which the second table reproduces; the first does not use earlier "
            "adopters as controls.",
        ),
    )
