"""Sources of ordinal outcomes, and of outcomes with a baseline, whose truth is known, for the conformance kit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gbveval.data.trial import Trial
from gbveval.testing.case import Frame

FloatArray = NDArray[np.float64]
# Shares of never, once, a few times and many times in control.
CUTS = np.array([-0.2, 0.7, 1.8])


@dataclass(frozen=True)
class OrdinalFrames:
    """Four ordered levels under proportional odds, with a covariate of minus or plus one.

    Parameters
    ----------
    n_per_arm : int
        Units an arm, or clusters an arm when `cluster_size` is above zero.
    effect : float
        Log odds ratio of the arm for a higher level.
    slope : float
        Coefficient of the covariate; zero for none.
    truth : str
        "coefficient", or "win_probability" (the log odds that a treated unit has the higher level; without `slope`).
    cluster_size : int
        Units a cluster; zero for no clusters. The levels of a cluster's members are dependent, and each follows the
        model.
    strata : int
        Strata with other levels; zero for none. The truth is then that of one stratum.
    """

    n_per_arm: int = 100
    effect: float = 0.6
    slope: float = 0.0
    truth: str = "coefficient"
    cluster_size: int = 0
    strata: int = 0

    @property
    def roles(self) -> Mapping[str, str]:
        """Role to column."""
        optional = (("cluster", self.cluster_size), ("covariates", self.slope), ("stratum", self.strata))
        return {"outcome": "y", "arm": "arm", **{role: role for role, present in optional if present}}

    def frame(self, rng: np.random.Generator) -> tuple[Frame, float]:
        """Return a frame and the true contrast."""
        groups = 2 * self.n_per_arm
        member = np.repeat(np.arange(groups), max(self.cluster_size, 1))
        treated = np.repeat([0.0, 1.0], self.n_per_arm)[member]
        n = member.size
        x = rng.choice([-1.0, 1.0], n)
        latent = rng.normal(size=n)
        if self.cluster_size:
            # Standard normal for everybody, correlated in a cluster.
            latent = np.sqrt(0.1) * rng.normal(size=groups)[member] + np.sqrt(0.9) * latent
        stratum = np.arange(n) % self.strata if self.strata else np.zeros(n)
        eta = self.effect * treated + self.slope * x + 0.8 * stratum
        below = 1.0 / (1.0 + np.exp(-(CUTS[None, :] - eta[:, None])))
        frame: Frame = {
            "arm": np.where(treated == 1.0, "new", "usual").tolist(),
            "y": (_normal_cdf(latent)[:, None] > below).sum(axis=1).astype(float),
        }
        if self.cluster_size:
            frame["cluster"] = [f"c{g:03d}" for g in member]
        if self.slope:
            frame["covariates"] = x
        if self.strata:
            frame["stratum"] = [f"s{int(s)}" for s in stratum]
        return frame, self._truth()

    def _truth(self) -> float:
        if self.truth == "coefficient":
            return self.effect
        control, treated = (
            np.diff(np.concatenate([[0.0], 1.0 / (1.0 + np.exp(-(CUTS - shift))), [1.0]]))
            for shift in (0.0, self.effect)
        )
        below = np.concatenate([[0.0], np.cumsum(control)[:-1]])
        p = float(treated @ (below + control / 2.0))
        return float(np.log(p / (1.0 - p)))

    def check(self, frame: Frame) -> Trial:
        """Return the frame as a Trial."""
        return Trial(frame, **_keywords(self.roles))

    def null(self) -> OrdinalFrames:
        """Return the same trial without an effect."""
        return replace(self, effect=0.0)


@dataclass(frozen=True)
class TransitionFrames:
    """How often something happened before and after, 0 to 3; the arm raises the chance that those without stay without.

    Parameters
    ----------
    n_per_arm : int
        Units an arm, or clusters an arm when `cluster_size` is above zero.
    effect : float
        Difference in the risk of none at follow-up, among those with none at baseline.
    cluster_size : int
        Units a cluster; zero for none.
    """

    n_per_arm: int = 120
    effect: float = 0.15
    cluster_size: int = 0

    @property
    def roles(self) -> Mapping[str, str]:
        """Role to column."""
        clustered = {"cluster": "cluster"} if self.cluster_size else {}
        return {"outcome": "y", "arm": "arm", "baseline": "before", **clustered}

    def frame(self, rng: np.random.Generator) -> tuple[Frame, float]:
        """Return a frame and the true difference."""
        groups = 2 * self.n_per_arm
        member = np.repeat(np.arange(groups), max(self.cluster_size, 1))
        treated = np.repeat([0.0, 1.0], self.n_per_arm)[member]
        before = rng.choice(4, member.size, p=[0.45, 0.2, 0.2, 0.15])
        shift = rng.uniform(-0.15, 0.15, groups)[member] if self.cluster_size else 0.0
        none = np.where(before == 0, 0.6 + self.effect * treated, 0.3) + shift
        y = np.where(rng.random(member.size) < none, 0, rng.choice([1, 2, 3], member.size))
        frame: Frame = {
            "y": y.astype(float),
            "before": before.astype(float),
            "arm": np.where(treated == 1.0, "new", "usual").tolist(),
        }
        if self.cluster_size:
            frame["cluster"] = [f"c{g:03d}" for g in member]
        return frame, self.effect

    def check(self, frame: Frame) -> Trial:
        """Return the frame as a Trial."""
        return Trial(frame, **_keywords(self.roles))

    def null(self) -> TransitionFrames:
        """Return the same trial without an effect."""
        return replace(self, effect=0.0)


def _keywords(roles: Mapping[str, str]) -> dict[str, Any]:
    keywords: dict[str, Any] = {**roles, "control": "usual"}
    if "covariates" in keywords:
        keywords["covariates"] = [keywords["covariates"]]
    return keywords


def _normal_cdf(x: FloatArray) -> FloatArray:
    from scipy.special import ndtr

    return np.asarray(ndtr(x), dtype=np.float64)
