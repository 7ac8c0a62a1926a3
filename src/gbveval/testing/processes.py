"""Small sources of frames with known truth, one a kind of checked data, for the conformance kit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gbveval.data.panel import Panel
from gbveval.data.sites import SiteEffects
from gbveval.data.survey import Survey
from gbveval.data.trial import Trial
from gbveval.testing.case import Frame

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class TrialFrames:
    """Trials with a constant effect on a normal (or binary) outcome.

    Parameters
    ----------
    n_per_arm : int
        Units an arm, or clusters an arm when `cluster_size` is above zero.
    effect : float
        Difference in means (risks, when binary).
    cluster_size : int
        Mean units a cluster; zero for no clusters. Sizes vary when `uneven`.
    icc : float
        Share of variance between clusters.
    uneven : bool
        Whether cluster sizes vary (independently of the outcome).
    informative : bool
        Whether half of the clusters are large and have three times the effect of the small ones; `effect` is then the
        mean over clusters, and the mean over participants is larger.
    strata : int
        Strata, with different means.
    pairs : bool
        Whether units (clusters) are matched in pairs.
    covariate : float
        Correlation of a baseline covariate with the outcome.
    weighted : bool
        Whether a subgroup with twice the effect is sampled at a quarter of its share, with weights that repair it.
    binary : bool
        Whether the outcome is 0 or 1, at 0.4 in control.
    """

    n_per_arm: int = 12
    effect: float = 0.5
    cluster_size: int = 0
    icc: float = 0.2
    uneven: bool = False
    informative: bool = False
    strata: int = 0
    pairs: bool = False
    covariate: float = 0.0
    weighted: bool = False
    binary: bool = False

    @property
    def roles(self) -> Mapping[str, str]:
        """Role to column."""
        optional = (
            ("cluster", self.cluster_size),
            ("stratum", self.strata),
            ("pair", self.pairs),
            ("weight", self.weighted),
            ("covariates", self.covariate),
        )
        return {"outcome": "y", "arm": "arm", **{role: role for role, present in optional if present}}

    def frame(self, rng: np.random.Generator) -> tuple[Frame, float]:
        """Return a frame and the true effect."""
        groups = 2 * self.n_per_arm
        arm = np.repeat([0, 1], self.n_per_arm)
        block = np.zeros(groups, dtype=int)
        if self.pairs:
            block = np.tile(np.arange(self.n_per_arm), 2)
        elif self.strata:
            block = np.tile(np.arange(self.n_per_arm) % self.strata, 2)
        level = rng.normal(size=groups) * 0.0
        if self.pairs or self.strata:
            level = level + rng.normal(size=block.max() + 1)[block]
        size = np.ones(groups, dtype=int)
        if self.cluster_size:
            low = max(2, self.cluster_size // 2)
            high = 2 * self.cluster_size - low
            size = rng.integers(low, high + 1, groups) if self.uneven else np.full(groups, self.cluster_size)
            if self.informative:
                size = np.where(rng.random(groups) < 0.5, low, high)
            level = level + np.sqrt(self.icc) * rng.normal(size=groups)
        member = np.repeat(np.arange(groups), size)
        return self._people(rng, member, arm, block, level), self.effect

    def _people(
        self,
        rng: np.random.Generator,
        member: NDArray[np.intp],
        arm: NDArray[np.intp],
        block: NDArray[np.intp],
        level: FloatArray,
    ) -> Frame:
        n = member.shape[0]
        within = np.sqrt(1.0 - self.icc) if self.cluster_size else 1.0
        x = rng.normal(size=n)
        noise = self.covariate * x + np.sqrt(1.0 - self.covariate**2) * rng.normal(size=n)
        treated = arm[member]
        frame: Frame = {"arm": np.where(treated == 1, "new", "usual").tolist()}
        effect = np.full(n, self.effect)
        if self.informative:
            large = np.bincount(member)[member] > self.cluster_size
            effect = self.effect * np.where(large, 1.5, 0.5)
        if self.weighted:
            rare = rng.random(n) < 1.0 / 5.0
            # Half of the population, a fifth of the sample: each member of it stands for four of the others.
            frame["weight"] = np.where(rare, 4.0, 1.0)
            effect = np.where(rare, 1.5 * self.effect, 0.5 * self.effect)
        if self.binary:
            risk = 0.4 + treated * self.effect
            frame["y"] = (rng.random(n) < risk).astype(float)
        else:
            frame["y"] = level[member] + within * noise + treated * effect
        if self.cluster_size:
            frame["cluster"] = [f"c{g:03d}" for g in member]
        if self.strata:
            frame["stratum"] = [f"s{b}" for b in block[member]]
        if self.pairs:
            frame["pair"] = [f"p{b}" for b in block[member]]
        if self.covariate:
            frame["covariates"] = x
        return frame

    def check(self, frame: Frame) -> Trial:
        """Return the frame as a Trial."""
        roles: dict[str, Any] = {role: column for role, column in self.roles.items() if role not in ("outcome", "arm")}
        if "covariates" in roles:
            roles["covariates"] = [roles["covariates"]]
        return Trial(frame, outcome="y", arm="arm", control="usual", **roles)

    def null(self) -> TrialFrames:
        """Return the same trial without an effect."""
        return replace(self, effect=0.0)


@dataclass(frozen=True)
class PanelFrames:
    """Staggered panels with unit and period effects and one constant effect of treatment.

    Parameters
    ----------
    n_units : int
        Units, in equal shares in each cohort.
    n_periods : int
        Periods.
    effect : float
        Effect in every treated period.
    persistence : float
        Share of the noise's variance that is common to a unit's periods beyond its effect (a random walk's steps).
    cohorts : tuple of float
        First treated periods; infinity for never.
    cluster_size : int
        Units of a cohort that share a cluster with shocks of its own; zero for no clusters.
    covariate : float
        Slope of a covariate that changes over time and is higher in treated periods; zero for none.
    trend : float
        By how much a unit's outcome rises a period for each unit of a covariate, which is higher in cohorts treated
        earlier; zero for none. Trends are then parallel only among units alike in it.
    eligible : bool
        Whether treatment reaches only half of the units, and treated places and eligible units have trends of their
        own.
    """

    n_units: int = 90
    n_periods: int = 5
    effect: float = 0.5
    persistence: float = 0.3
    cohorts: tuple[float, ...] = (3.0, 4.0, np.inf)
    cluster_size: int = 0
    covariate: float = 0.0
    trend: float = 0.0
    eligible: bool = False

    @property
    def roles(self) -> Mapping[str, str]:
        """Role to column."""
        more = {"cluster": "cluster"} if self.cluster_size else {}
        more |= {"covariates": "x"} if self.covariate or self.trend else {}
        more |= {"eligible": "eligible"} if self.eligible else {}
        return {"outcome": "y", "unit": "unit", "time": "time", "cohort": "cohort", **more}

    def frame(self, rng: np.random.Generator) -> tuple[Frame, float]:
        """Return a frame and the true effect."""
        n, t = self.n_units, self.n_periods
        cohort = np.array(self.cohorts)[np.arange(n) % len(self.cohorts)]
        periods = np.arange(1, t + 1)
        steps = np.sqrt(self.persistence) * rng.normal(size=(n, t)).cumsum(axis=1)
        noise = np.sqrt(1.0 - self.persistence) * rng.normal(size=(n, t))
        treated = periods[None, :] >= cohort[:, None]
        reached = np.arange(n) // len(self.cohorts) % 2 == 0
        if self.eligible:
            treated = treated & reached[:, None]
        y = rng.normal(size=(n, 1)) + 0.3 * periods[None, :] + steps + noise + self.effect * treated
        frame: Frame = {
            "unit": [f"u{i:04d}" for i in np.repeat(np.arange(n), t)],
            "time": np.tile(periods, n),
            "cohort": np.repeat(cohort, t),
        }
        if self.cluster_size:
            group = np.arange(n) // (self.cluster_size * len(self.cohorts)) * len(self.cohorts)
            group += np.arange(n) % len(self.cohorts)
            y = y + 0.5 * rng.normal(size=(n, t))[group]
            frame["cluster"] = [f"c{g:03d}" for g in np.repeat(group, t)]
        if self.covariate:
            x = rng.normal(size=(n, t)) + 0.5 * treated
            y = y + self.covariate * x
            frame["x"] = x.ravel()
        if self.eligible:
            y = y + 0.4 * (np.isfinite(cohort).astype(float) + reached)[:, None] * periods[None, :]
            frame["eligible"] = np.repeat(reached, t).astype(float)
        if self.trend:
            place = np.arange(n) % len(self.cohorts)
            x = rng.normal(size=n) + 0.5 * (len(self.cohorts) - 1 - place)
            y = y + self.trend * x[:, None] * periods[None, :]
            frame["x"] = np.repeat(x, t)
        frame["y"] = y.ravel()
        return frame, self.effect

    def check(self, frame: Frame) -> Panel:
        """Return the frame as a Panel."""
        roles: dict[str, Any] = {"cluster": "cluster"} if self.cluster_size else {}
        roles |= {"covariates": ["x"]} if self.covariate or self.trend else {}
        roles |= {"eligible": "eligible"} if self.eligible else {}
        return Panel(frame, outcome="y", unit="unit", time="time", cohort="cohort", **roles)

    def null(self) -> PanelFrames:
        """Return the same panel without an effect."""
        return replace(self, effect=0.0)


@dataclass(frozen=True)
class SurveyFrames:
    """Stratified cluster samples of a binary outcome with one binary factor.

    Parameters
    ----------
    psu_per_stratum : int
        Primary sampling units in each of two strata.
    psu_size : int
        Respondents a PSU.
    risk, ratio : float
        Risk without the factor, and the prevalence ratio of the factor.
    target : str
        "prevalence" (truth: log odds of the population prevalence), "share" (the prevalence itself) or "ratio" (truth:
        log prevalence ratio).
    """

    psu_per_stratum: int = 15
    psu_size: int = 20
    risk: float = 0.2
    ratio: float = 1.6
    target: str = "prevalence"

    @property
    def roles(self) -> Mapping[str, str]:
        """Role to column."""
        return {"outcome": "y", "weight": "w", "stratum": "stratum", "psu": "psu"}

    def frame(self, rng: np.random.Generator) -> tuple[Frame, float]:
        """Return a frame and the truth."""
        groups = 2 * self.psu_per_stratum
        stratum = np.repeat([0, 1], self.psu_per_stratum)
        exposed_share = np.array([0.3, 0.6])[stratum]
        # Risks differ by stratum and strata are sampled at different rates, so weights and strata both matter.
        base = np.array([self.risk, 1.5 * self.risk])[stratum]
        shift = rng.beta(20.0, 20.0, groups) * 2.0
        member = np.repeat(np.arange(groups), self.psu_size)
        exposed = rng.random(member.size) < exposed_share[member]
        risk = base[member] * np.where(exposed, self.ratio, 1.0) * shift[member]
        y = rng.random(member.size) < np.minimum(risk, 1.0)
        frame: Frame = {
            "y": y.astype(float),
            "exposed": np.where(exposed, "yes", "no").tolist(),
            "w": np.where(stratum[member] == 0, 9.0, 1.0),
            "stratum": [f"s{h}" for h in stratum[member]],
            "psu": [f"v{g:03d}" for g in member],
        }
        return frame, self._truth()

    def _truth(self) -> float:
        share, base, ratio = np.array([0.3, 0.6]), np.array([self.risk, 1.5 * self.risk]), self.ratio
        weight = np.array([0.9, 0.1])
        if self.target in ("prevalence", "share"):
            prevalence = float(weight @ (base * (1.0 - share + share * ratio)))
            return prevalence if self.target == "share" else float(np.log(prevalence / (1.0 - prevalence)))
        exposed = float(weight @ (share * base * ratio) / (weight @ share))
        unexposed = float(weight @ ((1.0 - share) * base) / (weight @ (1.0 - share)))
        return float(np.log(exposed / unexposed))

    def check(self, frame: Frame) -> Survey:
        """Return the frame as a Survey."""
        return Survey(frame, outcome="y", weight="w", stratum="stratum", psu="psu")

    def null(self) -> SurveyFrames | None:
        """Return no source: a prevalence has no null, and the crude ratio is confounded by stratum."""
        return None


@dataclass(frozen=True)
class SiteFrames:
    """Site summaries from a normal hierarchy whose parameters are drawn from a prior, each time anew.

    Parameters
    ----------
    n_sites : int
        Sites.
    average_sd, between_scale : float
        Normal prior of the average effect, half-normal prior of the between-site sd.
    """

    n_sites: int = 6
    average_sd: float = 1.0
    between_scale: float = 0.5

    @property
    def roles(self) -> Mapping[str, str]:
        """Role to column."""
        return {"outcome": "effect", "std_error": "se", "site": "site"}

    def frame(self, rng: np.random.Generator) -> tuple[Frame, float]:
        """Return a frame and the average effect behind it."""
        average = self.average_sd * rng.normal()
        between = abs(self.between_scale * rng.normal())
        se = rng.uniform(0.2, 0.6, self.n_sites)
        effect = average + between * rng.normal(size=self.n_sites) + se * rng.normal(size=self.n_sites)
        frame: Frame = {"effect": effect, "se": se, "site": [f"town{i:02d}" for i in range(self.n_sites)]}
        return frame, float(average)

    def check(self, frame: Frame) -> SiteEffects:
        """Return the frame as SiteEffects."""
        return SiteEffects(frame, estimate="effect", std_error="se", site="site")

    def null(self) -> SiteFrames | None:
        """Return no source: a posterior has no size."""
        return None


@dataclass(frozen=True)
class SiteTrialFrames:
    """Trials in several sites with a normal outcome, whose parameters are drawn from a prior, each time anew.

    Parameters
    ----------
    n_sites, n_per_site : int
        Sites and people in each.
    average_sd, control_scale, effect_scale, residual_sd : float
        Normal prior of both means; half-normal scales of the sds between sites; sd within a site and arm.
    """

    n_sites: int = 6
    n_per_site: int = 40
    average_sd: float = 1.0
    control_scale: float = 0.5
    effect_scale: float = 0.5
    residual_sd: float = 1.0

    @property
    def roles(self) -> Mapping[str, str]:
        """Role to column."""
        return {"outcome": "y", "arm": "arm", "site": "site"}

    def frame(self, rng: np.random.Generator) -> tuple[Frame, float]:
        """Return a frame and the average effect behind it."""
        average, base = self.average_sd * rng.normal(size=2)
        control = base + abs(self.control_scale * rng.normal()) * rng.normal(size=self.n_sites)
        effect = average + abs(self.effect_scale * rng.normal()) * rng.normal(size=self.n_sites)
        site = np.repeat(np.arange(self.n_sites), self.n_per_site)
        treated = np.tile(np.repeat([0, 1], self.n_per_site // 2), self.n_sites)
        y = control[site] + effect[site] * treated + self.residual_sd * rng.normal(size=site.size)
        frame: Frame = {
            "y": y,
            "arm": np.where(treated == 1, "new", "usual").tolist(),
            "site": [f"town{s:02d}" for s in site],
        }
        return frame, float(average)

    def check(self, frame: Frame) -> Trial:
        """Return the frame as a Trial."""
        return Trial(frame, outcome="y", arm="arm", control="usual", site="site")

    def null(self) -> SiteTrialFrames | None:
        """Return no source: a posterior has no size."""
        return None
