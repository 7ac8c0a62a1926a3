"""A ten-site pilot against online harassment, made up with known truth: a cluster trial, a rollout and a survey.

Nobody in these data exists. Their sizes follow published facts; the identifiers in brackets are rows of the planning
table in the documentation: past-year cybervictimisation of women aged 18 to 29, .32 [BR05], of young people who are
LGBTQ2, .49, or have a disability, .39, against .25 of all [BR04, BR06, BR07]; ICCs of violence between schools, .002
with upper limits below .007 [IC01]; follow-up of .89 [RE02]; a rate ratio of .94 for a prompt to reconsider [EF10];
a risk difference of -.056 in a programme of the field [EF18].
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gbveval.core.errors import DesignError
from gbveval.core.estimand import Estimand
from gbveval.data.panel import Panel
from gbveval.data.survey import Survey
from gbveval.data.trial import Trial

Frame = dict[str, Any]
CONTROL, TREATED = "usual practice", "bystander training"


def _refuse(estimand: Estimand, answers: str) -> DesignError:
    return DesignError(f"The process knows {answers}; it does not know {estimand.words()}.")


@dataclass(frozen=True, slots=True)
class PilotTrial:
    """Schools in ten sites, half of them assigned to bystander training; the outcome is harassment in 12 months.

    Parameters
    ----------
    n_sites : int
        Sites.
    schools_per_arm : int
        Schools in each arm of a site.
    students : int
        Mean students a school; sizes vary by half of it either way.
    risk : float
        Mean past-year risk in control.
    effect : float
        Mean risk difference over sites.
    between_site_sd : float
        Standard deviation of the risk difference between sites.
    icc : float
        Intracluster correlation between students of a school, on the scale of the outcome (0 or 1).
    follow_up : float
        Share of students whose outcome is observed.

    Notes
    -----
    A school's risk is beta distributed about its site's; students harassed before (30 %) have 1.5 times the school's
    mean risk, the others so much less that the mean stays.

    Examples
    --------
    >>> trial = PilotTrial().draw(np.random.default_rng(1))
    >>> trial.n_clusters, len(trial.site.levels)
    (120, 10)
    """

    n_sites: int = 10
    schools_per_arm: int = 6
    students: int = 40
    risk: float = 0.32
    effect: float = -0.056
    between_site_sd: float = 0.025
    icc: float = 0.007
    follow_up: float = 0.89

    def frame(self, rng: np.random.Generator) -> Frame:
        """Return one simulated trial as a dictionary of columns."""
        schools = 2 * self.schools_per_arm
        site_risk = np.clip(self.risk + 0.05 * rng.normal(size=self.n_sites), 0.15, 0.5)
        site_effect = self.effect + self.between_site_sd * rng.normal(size=self.n_sites)
        site = np.repeat(np.arange(self.n_sites), schools)
        treated = np.concatenate(
            [rng.permutation(np.repeat([0, 1], self.schools_per_arm)) for _ in range(self.n_sites)]
        )
        mean = np.clip(site_risk[site] + treated * site_effect[site], 0.02, 0.6)
        strength = (1.0 - self.icc) / self.icc
        school_risk = rng.beta(mean * strength, (1.0 - mean) * strength)
        size = rng.integers(self.students // 2, self.students + self.students // 2 + 1, site.size)
        school = np.repeat(np.arange(site.size), size)
        before = rng.random(school.size) < 0.3
        factor = np.where(before, 1.5, (1.0 - 0.3 * 1.5) / 0.7)
        harassed = (rng.random(school.size) < school_risk[school] * factor).astype(float)
        harassed[rng.random(school.size) > self.follow_up] = np.nan
        return {
            "site": [f"S{s + 1:02d}" for s in site[school]],
            "school": [f"school {g + 1:03d}" for g in school],
            "arm": [TREATED if t else CONTROL for t in treated[school]],
            "age": rng.integers(13, 19, school.size).astype(float),
            "harassed_before": before.astype(float),
            "harassed_12m": harassed,
        }

    def check(self, frame: Frame) -> Trial:
        """Return a frame of this process as a Trial."""
        return Trial(
            frame,
            outcome="harassed_12m",
            arm="arm",
            control=CONTROL,
            cluster="school",
            site="site",
            covariates=["harassed_before", "age"],
        )

    def draw(self, rng: np.random.Generator) -> Trial:
        """Return one simulated trial as checked data."""
        return self.check(self.frame(rng))

    def truth(self, estimand: Estimand) -> float:
        """Return the mean risk difference over sites, for the effect of assignment over participants."""
        if (estimand.effect, estimand.contrast) == ("ITT", "risk_difference"):
            return self.effect
        raise _refuse(estimand, "the effect of assignment as a risk difference")


@dataclass(frozen=True, slots=True)
class PilotRollout:
    """Communities of a platform that get a prompt to reconsider in two waves; the outcome is harmful posts in 1,000.

    Parameters
    ----------
    n_communities : int
        Communities; a third in each wave, a third never.
    n_months : int
        Months.
    waves : tuple of int
        First month of each wave.
    level : float
        Mean harmful posts in 1,000 without the prompt.
    effect : float
        Full effect, reached in the third month after a linear build-up.
    persistence : float
        First-order autocorrelation of a community's monthly deviations.

    Examples
    --------
    >>> panel = PilotRollout().draw(np.random.default_rng(1))
    >>> panel.n_units, panel.periods.size
    (150, 12)
    """

    n_communities: int = 150
    n_months: int = 12
    waves: tuple[int, int] = (5, 8)
    level: float = 50.0
    effect: float = -3.0
    persistence: float = 0.4

    def effect_at(self, event_time: int) -> float:
        """Return the effect that many months after the prompt began (0 is its first month)."""
        return self.effect * min(1.0, (event_time + 1) / 3.0) if event_time >= 0 else 0.0

    def frame(self, rng: np.random.Generator) -> Frame:
        """Return one simulated rollout as a dictionary of columns."""
        n, months = self.n_communities, self.n_months
        cohort = rng.permutation(np.resize([float(self.waves[0]), float(self.waves[1]), np.inf], n))
        noise = np.empty((n, months))
        noise[:, 0] = rng.normal(size=n)
        innovation = np.sqrt(1.0 - self.persistence**2)
        for later in range(1, months):
            noise[:, later] = self.persistence * noise[:, later - 1] + innovation * rng.normal(size=n)
        month = np.arange(1, months + 1)
        base = self.level + 6.0 * rng.normal(size=(n, 1)) + 1.5 * np.sin(month / 2.0)[None, :]
        since = month[None, :] - cohort[:, None]
        effect = np.where(since >= 0, self.effect * np.minimum(1.0, (since + 1.0) / 3.0), 0.0)
        harmful = base + 3.0 * noise + effect
        return {
            "community": [f"community {i + 1:03d}" for i in np.repeat(np.arange(n), months)],
            "month": np.tile(month, n),
            "first_month": np.repeat(cohort, months),
            "harmful_per_1000": harmful.ravel(),
        }

    def check(self, frame: Frame) -> Panel:
        """Return a frame of this process as a Panel."""
        return Panel(frame, outcome="harmful_per_1000", unit="community", time="month", cohort="first_month")

    def draw(self, rng: np.random.Generator) -> Panel:
        """Return one simulated rollout as checked data."""
        return self.check(self.frame(rng))

    def truth(self, estimand: Estimand) -> float:
        """Return the average effect over all treated community-months (both waves are equally large)."""
        if (estimand.effect, estimand.contrast) == ("ATT", "mean_difference"):
            times = [t for wave in self.waves for t in range(self.n_months - wave + 1)]
            return float(np.mean([self.effect_at(t) for t in times]))
        raise _refuse(estimand, "the average effect on the treated as a mean difference")


@dataclass(frozen=True, slots=True)
class PilotSurvey:
    """A survey of young people in four regions: who was harassed online in 12 months, and what goes with it.

    Parameters
    ----------
    wards : int
        Wards (primary sampling units) a region.
    respondents : int
        Respondents a ward.
    risk : float
        Risk of men without any of the factors.

    Notes
    -----
    Risks multiply: women 1.4, LGBTQ 1.9, disability 1.5, and 0.75 where a community is moderated. Regions are sampled
    at different rates, which the weights repair. A ward's risks vary with a coefficient of variation of about .2. Two
    respondents in a hundred refuse each question on identity.

    Examples
    --------
    >>> PilotSurvey().draw(np.random.default_rng(1)).n
    2000
    """

    wards: int = 25
    respondents: int = 20
    risk: float = 0.16

    def frame(self, rng: np.random.Generator) -> Frame:
        """Return one simulated survey as a dictionary of columns."""
        regions = np.array(["north", "east", "south", "west"])
        people = np.array([400_000.0, 250_000.0, 250_000.0, 100_000.0])
        region = np.repeat(np.arange(4), self.wards)
        ward_factor = np.clip(1.0 + 0.2 * rng.normal(size=region.size), 0.5, 1.5)
        ward = np.repeat(np.arange(region.size), self.respondents)
        n = ward.size
        gender = rng.choice(["man", "woman", "non-binary"], size=n, p=[0.48, 0.50, 0.02])
        lgbtq = rng.random(n) < 0.10
        disability = rng.random(n) < 0.15
        moderated = rng.random(n) < np.where(region[ward] < 2, 0.55, 0.35)
        factor = np.where(gender == "man", 1.0, 1.4) * np.where(lgbtq, 1.9, 1.0)
        factor = factor * np.where(disability, 1.5, 1.0) * np.where(moderated, 0.75, 1.0)
        risk = np.minimum(self.risk * factor * ward_factor[ward], 0.97)
        harassed = (rng.random(n) < risk).astype(float)
        return {
            "region": regions[region[ward]].tolist(),
            "ward": [f"ward {g + 1:03d}" for g in ward],
            "weight": people[region[ward]] / (self.wards * self.respondents),
            "gender": _refused(gender.tolist(), rng),
            "lgbtq": _refused(np.where(lgbtq, "yes", "no").tolist(), rng),
            "disability": _refused(np.where(disability, "yes", "no").tolist(), rng),
            "moderated_community": np.where(moderated, "yes", "no").tolist(),
            "age": rng.integers(16, 30, n).astype(float),
            "harassed_12m": harassed,
        }

    def check(self, frame: Frame) -> Survey:
        """Return a frame of this process as a Survey."""
        return Survey(frame, outcome="harassed_12m", weight="weight", stratum="region", psu="ward")

    def draw(self, rng: np.random.Generator) -> Survey:
        """Return one simulated survey as checked data."""
        return self.check(self.frame(rng))


def _refused(labels: list[str], rng: np.random.Generator) -> list[str | None]:
    """Return labels with two in a hundred refused."""
    refuse: NDArray[np.bool_] = rng.random(len(labels)) < 0.02
    return [None if no else label for label, no in zip(labels, refuse, strict=True)]
