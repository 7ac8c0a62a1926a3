"""Trials whose effect differs between subgroups, with known truth, for the conformance kit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from gbveval.data.trial import Trial
from gbveval.testing.case import Frame

# Every ten people in turn: five of the first subgroup, three of the second, two of the third.
_PATTERN = np.array([0, 1, 0, 2, 0, 1, 0, 1, 0, 2])
_LABELS = np.array(["old", "middle", "young"])


@dataclass(frozen=True)
class SubgroupFrames:
    """Trials with three subgroups of unequal size, a normal outcome and an effect of its own in each.

    Parameters
    ----------
    n_per_arm : int
        Units an arm, or clusters an arm when `cluster_size` is above zero.
    cluster_size : int
        Units a cluster, zero for none; every cluster has members of all subgroups.
    icc : float
        Share of variance between clusters.
    effects : tuple of float
        Effect in "old", "middle" and "young".
    spread : float
        Where above zero, effects are drawn each time: their mean about the first of `effects` with this standard
        deviation, their own standard deviation from a half-normal of this scale.
    truth : str
        "average" over the sample's subgroups, or one of the three.
    """

    n_per_arm: int = 40
    cluster_size: int = 0
    icc: float = 0.1
    effects: tuple[float, float, float] = (0.2, 0.5, 0.9)
    spread: float = 0.0
    truth: str = "average"

    @property
    def roles(self) -> Mapping[str, str]:
        """Role to column."""
        roles = {"outcome": "y", "arm": "arm", "subgroup": "age"}
        return {**roles, "cluster": "cluster"} if self.cluster_size else roles

    def frame(self, rng: np.random.Generator) -> tuple[Frame, float]:
        """Return a frame and the truth that is asked for."""
        groups = 2 * self.n_per_arm
        size = max(self.cluster_size, 1)
        member = np.repeat(np.arange(groups), size)
        treated = member >= self.n_per_arm
        place = np.arange(member.size) if self.cluster_size == 0 else np.tile(np.arange(size), groups)
        code = _PATTERN[place % _PATTERN.size]
        effects = np.array(self.effects)
        if self.spread > 0:
            mean, sd = self.effects[0] + self.spread * rng.normal(), abs(self.spread * rng.normal())
            effects = mean + sd * rng.normal(size=effects.size)
        level = np.array([0.0, 0.3, -0.2])[code]
        noise = rng.normal(size=member.size)
        if self.cluster_size:
            noise = np.sqrt(1.0 - self.icc) * noise + np.sqrt(self.icc) * rng.normal(size=groups)[member]
        frame: Frame = {
            "y": level + effects[code] * treated + noise,
            "arm": np.where(treated, "new", "usual").tolist(),
            "age": _LABELS[code].tolist(),
        }
        if self.cluster_size:
            frame["cluster"] = [f"c{g:03d}" for g in member]
        if self.truth != "average":
            return frame, float(effects[_LABELS.tolist().index(self.truth)])
        return frame, float(effects[code].mean())

    def check(self, frame: Frame) -> Trial:
        """Return the frame as a Trial."""
        roles: dict[str, Any] = {"cluster": "cluster"} if self.cluster_size else {}
        return Trial(frame, outcome="y", arm="arm", control="usual", subgroup="age", **roles)

    def null(self) -> SubgroupFrames | None:
        """Return the same trial without an effect in any subgroup; none where effects are drawn."""
        return None if self.spread > 0 else replace(self, effects=(0.0, 0.0, 0.0))
