"""Surveys and lists in which not everybody tells, for checks: the truth is what happened, not what is said."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from gbveval.data.survey import Survey
from gbveval.data.trial import Trial
from gbveval.testing.case import Frame
from gbveval.testing.processes import SurveyFrames


def _told(
    truth: NDArray[np.bool_], sensitivity: float, specificity: float, rng: np.random.Generator
) -> NDArray[np.float64]:
    u = rng.random(truth.size)
    return np.where(truth, u < sensitivity, u >= specificity).astype(float)


@dataclass(frozen=True)
class ReportedFrames:
    """Stratified cluster samples of answers that are wrong at known rates.

    Parameters
    ----------
    sensitivity, specificity : float
        Forced answers with probabilities p of the truth and f of a yes are sensitivity p + f and specificity 1 - f.
    psu_per_stratum : int
        Primary units in each of two strata.
    """

    sensitivity: float = 0.7
    specificity: float = 0.95
    psu_per_stratum: int = 15

    @property
    def roles(self) -> Mapping[str, str]:
        """Role to column."""
        return {"outcome": "y", "weight": "w", "stratum": "stratum", "psu": "psu"}

    def frame(self, rng: np.random.Generator) -> tuple[Frame, float]:
        """Return a frame and the true prevalence."""
        frame, truth = SurveyFrames(psu_per_stratum=self.psu_per_stratum, target="share").frame(rng)
        frame["y"] = _told(np.asarray(frame["y"]) == 1.0, self.sensitivity, self.specificity, rng)
        return frame, truth

    def check(self, frame: Frame) -> Survey:
        """Return the frame as a Survey."""
        return Survey(frame, outcome="y", weight="w", stratum="stratum", psu="psu")

    def null(self) -> ReportedFrames | None:
        """Return no source: a prevalence has no null."""
        return None


@dataclass(frozen=True)
class BelievedFrames:
    """Simple samples whose prevalence and rates are drawn from their priors, each time anew.

    Parameters
    ----------
    n : int
        Respondents.
    sensitivity, specificity : tuple of (float, float)
        Shapes of beta priors.
    """

    n: int = 200
    sensitivity: tuple[float, float] = (14.0, 7.0)
    specificity: tuple[float, float] = (38.0, 2.0)

    @property
    def roles(self) -> Mapping[str, str]:
        """Role to column."""
        return {"outcome": "y"}

    def frame(self, rng: np.random.Generator) -> tuple[Frame, float]:
        """Return a frame and the log odds of the true prevalence."""
        truth = rng.random()
        happened = rng.random(self.n) < truth
        y = _told(happened, rng.beta(*self.sensitivity), rng.beta(*self.specificity), rng)
        return {"y": y}, float(np.log(truth) - np.log1p(-truth))

    def check(self, frame: Frame) -> Survey:
        """Return the frame as a Survey."""
        return Survey(frame, outcome="y")

    def null(self) -> BelievedFrames | None:
        """Return no source: a posterior has no size."""
        return None


@dataclass(frozen=True)
class ListFrames:
    """Item counts of two lists, one of them with a sensitive item whose odds rise with a covariate.

    Parameters
    ----------
    n_per_list : int
        Respondents.
    items : int
        Items of the short list.
    slope : float
        Log odds ratio of the sensitive item per unit of the covariate.
    level : float
        Log odds at zero.
    """

    n_per_list: int = 300
    items: int = 4
    slope: float = 0.0
    level: float = -0.5

    @property
    def roles(self) -> Mapping[str, str]:
        """Role to column."""
        return {"outcome": "y", "arm": "arm"}

    def frame(self, rng: np.random.Generator) -> tuple[Frame, float]:
        """Return a frame and the prevalence of the sensitive item among these respondents' like."""
        n = 2 * self.n_per_list
        x = rng.integers(0, 2, n).astype(float)
        long = np.repeat([0, 1], self.n_per_list)
        risk = 1.0 / (1.0 + np.exp(-(self.level + self.slope * np.array([0.0, 1.0]))))
        count = rng.binomial(self.items, 1.0 / (1.0 + np.exp(-(-0.2 + 0.4 * x))))
        sensitive = rng.random(n) < risk[x.astype(int)]
        frame: Frame = {
            "y": (count + long * sensitive).astype(float),
            "x": x,
            "arm": np.where(long == 1, "new", "usual").tolist(),
        }
        return frame, float(risk.mean())

    def check(self, frame: Frame) -> Trial:
        """Return the frame as a Trial of two lists."""
        return Trial(frame, outcome="y", arm="arm", control="usual", covariates=["x"])

    def null(self) -> ListFrames | None:
        """Return no source: a prevalence has no null."""
        return None


@dataclass(frozen=True)
class HonestLists(ListFrames):
    """The same lists, for the test that they are honest."""

    def null(self) -> HonestLists:
        """Return the same source: nobody's count is changed."""
        return self


@dataclass(frozen=True)
class ScrambledFrames:
    """Simple samples of a sensitive answer behind chance, whose odds rise with a covariate.

    Parameters
    ----------
    n : int
        Respondents.
    slope : float
        Log odds ratio per unit of a standard normal covariate.
    sensitivity, specificity : float
        As in `ReportedFrames`.
    """

    n: int = 1500
    slope: float = 0.6
    sensitivity: float = 5.0 / 6.0
    specificity: float = 5.0 / 6.0

    @property
    def roles(self) -> Mapping[str, str]:
        """Role to column."""
        return {"outcome": "y"}

    def frame(self, rng: np.random.Generator) -> tuple[Frame, float]:
        """Return a frame and the log odds ratio."""
        x = rng.normal(size=self.n)
        happened = rng.random(self.n) < 1.0 / (1.0 + np.exp(0.6 - self.slope * x))
        return {"y": _told(happened, self.sensitivity, self.specificity, rng), "x": x}, self.slope

    def check(self, frame: Frame) -> Survey:
        """Return the frame as a Survey."""
        return Survey(frame, outcome="y")

    def null(self) -> ScrambledFrames:
        """Return the same source without an association."""
        return replace(self, slope=0.0)


@dataclass(frozen=True)
class ToldTrials:
    """Trials in which the programme changes how many tell, besides (or without) what happens.

    Parameters
    ----------
    n_per_arm : int
        Units, or clusters where `cluster_size` is above zero.
    cluster_size : int
        Units a cluster; zero for none.
    risk, effect : float
        Risk in control, and the difference that the programme makes.
    sensitivity : tuple of (float, float)
        Of control and of the intervention.
    """

    n_per_arm: int = 200
    cluster_size: int = 0
    risk: float = 0.4
    effect: float = -0.1
    sensitivity: tuple[float, float] = (0.6, 0.8)

    @property
    def roles(self) -> Mapping[str, str]:
        """Role to column."""
        return {"outcome": "y", "arm": "arm", **({"cluster": "cluster"} if self.cluster_size else {})}

    def frame(self, rng: np.random.Generator) -> tuple[Frame, float]:
        """Return a frame and the difference of true risks."""
        groups = 2 * self.n_per_arm
        cluster = np.repeat(np.arange(groups), max(self.cluster_size, 1))
        arm = np.repeat([0, 1], self.n_per_arm)[cluster]
        shift = rng.beta(20.0, 20.0, groups)[cluster] * 2.0 if self.cluster_size else 1.0
        happened = rng.random(cluster.size) < (self.risk + self.effect * arm) * shift
        told = happened & (rng.random(cluster.size) < np.array(self.sensitivity)[arm])
        frame: Frame = {"y": told.astype(float), "arm": np.where(arm == 1, "new", "usual").tolist()}
        if self.cluster_size:
            frame["cluster"] = [f"g{g:03d}" for g in cluster]
        return frame, self.effect

    def check(self, frame: Frame) -> Trial:
        """Return the frame as a Trial."""
        return Trial(frame, control="usual", **self.roles)

    def null(self) -> ToldTrials:
        """Return a programme that makes people speak and does nothing else."""
        return replace(self, effect=0.0)
