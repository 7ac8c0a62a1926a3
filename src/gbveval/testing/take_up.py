"""Frames of trials with unequal probabilities, with incomplete take-up, and with attrition."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from gbveval.data.trial import Trial
from gbveval.testing.case import Frame


@dataclass(frozen=True)
class ProbabilityFrames:
    """People with a high level are assigned more often; each is drawn independently with a known probability.

    Parameters
    ----------
    n : int
        Participants.
    effect : float
        Difference in means.
    """

    n: int = 150
    effect: float = 0.5

    @property
    def roles(self) -> Mapping[str, str]:
        """Role to column."""
        return {"outcome": "y", "arm": "arm", "probability": "p"}

    def frame(self, rng: np.random.Generator) -> tuple[Frame, float]:
        """Return a frame and the true effect."""
        high = np.arange(self.n) % 3 == 0
        p = np.where(high, 0.7, 0.4)
        treated = rng.random(self.n) < p
        y = np.where(high, 1.0, 0.0) + rng.normal(size=self.n) + self.effect * treated
        return {"y": y, "arm": np.where(treated, "new", "usual").tolist(), "p": p}, self.effect

    def check(self, frame: Frame) -> Trial:
        """Return the frame as a Trial; `p` is the probability of the arm called "new"."""
        return Trial(frame, outcome="y", arm="arm", control="usual", probability={"new": "p"})

    def null(self) -> ProbabilityFrames:
        """Return the same trial without an effect."""
        return replace(self, effect=0.0)


@dataclass(frozen=True)
class TakeUpFrames:
    """A share of people takes up if assigned, some do anyway, and those who never do differ from the others.

    Parameters
    ----------
    n_per_arm : int
        Participants an arm, or clusters an arm when `cluster_size` is above zero.
    effect : float
        Effect of take-up.
    compliers, always : float
        Shares.
    cluster_size : int
        People a cluster; zero for none.
    """

    n_per_arm: int = 100
    effect: float = 0.5
    compliers: float = 0.6
    always: float = 0.1
    cluster_size: int = 0

    @property
    def roles(self) -> Mapping[str, str]:
        """Role to column."""
        clustered = {"cluster": "cluster"} if self.cluster_size else {}
        return {"outcome": "y", "arm": "arm", "received": "took", **clustered}

    def frame(self, rng: np.random.Generator) -> tuple[Frame, float]:
        """Return a frame and the true effect on compliers."""
        size = max(self.cluster_size, 1)
        group = np.repeat(np.arange(2 * self.n_per_arm), size)
        treated = group % 2 == 1
        kind = rng.random(group.size)
        always, complier = kind < self.always, kind >= 1.0 - self.compliers
        took = always | (complier & treated)
        level = 0.4 * rng.normal(size=2 * self.n_per_arm)[group] if self.cluster_size else 0.0
        y = 0.8 * always - 0.5 * ~(always | complier) + level + rng.normal(size=group.size) + self.effect * took
        frame: Frame = {"y": y, "arm": np.where(treated, "new", "usual").tolist(), "took": took.astype(float)}
        if self.cluster_size:
            frame["cluster"] = [f"c{g:03d}" for g in group]
        return frame, self.effect

    def check(self, frame: Frame) -> Trial:
        """Return the frame as a Trial."""
        roles = {"cluster": "cluster"} if self.cluster_size else {}
        return Trial(frame, outcome="y", arm="arm", control="usual", received="took", **roles)

    def null(self) -> TakeUpFrames:
        """Return the same trial without an effect."""
        return replace(self, effect=0.0)


@dataclass(frozen=True)
class AttritionFrames:
    """Some outcomes are seen in either arm, some only under treatment (with lower outcomes), some never.

    Parameters
    ----------
    n_per_arm : int
        Participants an arm, or clusters an arm when `cluster_size` is above zero.
    effect : float
        Difference in means (risks, when binary), the same for all.
    always, only_treated : float
        Shares seen in either arm, and under treatment only.
    cluster_size : int
        People a cluster; zero for none.
    binary : bool
        Whether the outcome is 0 or 1, at 0.4 in control.
    """

    n_per_arm: int = 150
    effect: float = 0.5
    always: float = 0.6
    only_treated: float = 0.15
    cluster_size: int = 0
    binary: bool = False

    @property
    def roles(self) -> Mapping[str, str]:
        """Role to column."""
        clustered = {"cluster": "cluster"} if self.cluster_size else {}
        return {"outcome": "y", "arm": "arm", **clustered}

    def frame(self, rng: np.random.Generator) -> tuple[Frame, float]:
        """Return a frame and the true effect."""
        size = max(self.cluster_size, 1)
        group = np.repeat(np.arange(2 * self.n_per_arm), size)
        treated = group % 2 == 1
        kind = rng.random(group.size)
        late = (kind >= self.always) & (kind < self.always + self.only_treated)
        seen = (kind < self.always) | (late & treated)
        if self.binary:
            risk = np.where(late, 0.2, 0.4) + self.effect * treated
            y = (rng.random(group.size) < risk).astype(float)
        else:
            level = 0.4 * rng.normal(size=2 * self.n_per_arm)[group] if self.cluster_size else 0.0
            y = -0.7 * late + level + rng.normal(size=group.size) + self.effect * treated
        frame: Frame = {"y": np.where(seen, y, np.nan), "arm": np.where(treated, "new", "usual").tolist()}
        if self.cluster_size:
            frame["cluster"] = [f"c{g:03d}" for g in group]
        return frame, self.effect

    def check(self, frame: Frame) -> Trial:
        """Return the frame as a Trial."""
        roles = {"cluster": "cluster"} if self.cluster_size else {}
        return Trial(frame, outcome="y", arm="arm", control="usual", **roles)

    def null(self) -> AttritionFrames:
        """Return the same trial without an effect."""
        return replace(self, effect=0.0)


@dataclass(frozen=True)
class MeasuredAttritionFrames:
    """Who is observed depends on arm and a covariate, and so does the size of the effect.

    Parameters
    ----------
    n_per_arm : int
        Participants an arm, or clusters an arm when `cluster_size` is above zero.
    effect : float
        Average effect over the population that participants are drawn from.
    cluster_size : int
        People a cluster; zero for none.
    """

    n_per_arm: int = 150
    effect: float = 0.5
    cluster_size: int = 0

    @property
    def roles(self) -> Mapping[str, str]:
        """Role to column."""
        clustered = {"cluster": "cluster"} if self.cluster_size else {}
        return {"outcome": "y", "arm": "arm", "covariates": "x", **clustered}

    def frame(self, rng: np.random.Generator) -> tuple[Frame, float]:
        """Return a frame and the true effect."""
        size = max(self.cluster_size, 1)
        group = np.repeat(np.arange(2 * self.n_per_arm), size)
        treated = group % 2 == 1
        x = (rng.random(group.size) < 0.5).astype(int)
        seen = rng.random(group.size) < 1.0 / (1.0 + np.exp(-(0.3 + 1.4 * x - 0.6 * treated)))
        level = 0.4 * rng.normal(size=2 * self.n_per_arm)[group] if self.cluster_size else 0.0
        y = x + level + rng.normal(size=group.size) + self.effect * treated * (0.5 + x)
        frame: Frame = {
            "y": np.where(seen, y, np.nan),
            "arm": np.where(treated, "new", "usual").tolist(),
            "x": x.astype(float),
        }
        if self.cluster_size:
            frame["cluster"] = [f"c{g:03d}" for g in group]
        return frame, self.effect

    def check(self, frame: Frame) -> Trial:
        """Return the frame as a Trial."""
        roles = {"cluster": "cluster"} if self.cluster_size else {}
        return Trial(frame, outcome="y", arm="arm", control="usual", covariates=["x"], **roles)

    def null(self) -> MeasuredAttritionFrames:
        """Return the same trial without an effect."""
        return replace(self, effect=0.0)
