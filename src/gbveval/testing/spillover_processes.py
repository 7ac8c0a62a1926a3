"""Frames of trials in which people are reached through others: saturations, networks, placebo arms."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from gbveval.data.trial import Trial
from gbveval.testing.case import Frame


@dataclass(frozen=True)
class SaturationFrames:
    """Clusters assigned to a share, people inside them to an arm; the untreated are reached in proportion to the share.

    Parameters
    ----------
    clusters : int
        Clusters at each saturation.
    saturations : tuple of float
        Shares treated; the first is the reference.
    cluster_size : int
        Mean people a cluster; sizes vary when `uneven`.
    direct : float
        Effect of being treated, at every saturation.
    spillover : float
        Effect of a saturation of one on everybody; the indirect effect is this times the difference in saturation.
    icc : float
        Share of variance between clusters.
    truth : str
        "direct" or "indirect" (at the second saturation): what the truth is of.
    uneven : bool
        Whether cluster sizes vary.
    """

    clusters: int = 5
    saturations: tuple[float, ...] = (0.0, 0.25, 0.75)
    cluster_size: int = 12
    direct: float = 0.5
    spillover: float = 0.8
    icc: float = 0.2
    truth: str = "direct"
    uneven: bool = False

    @property
    def roles(self) -> Mapping[str, str]:
        """Role to column."""
        return {"outcome": "y", "arm": "arm", "cluster": "cluster", "saturation": "saturation"}

    def frame(self, rng: np.random.Generator) -> tuple[Frame, float]:
        """Return a frame and the true direct or indirect effect."""
        share = np.repeat(self.saturations, self.clusters)
        size = np.full(share.size, self.cluster_size)
        if self.uneven:
            size = rng.integers(self.cluster_size // 2, 3 * self.cluster_size // 2 + 1, share.size)
        member = np.repeat(np.arange(share.size), size)
        place = np.concatenate([rng.permutation(n) for n in size])
        # In every cluster the number treated is the one nearest to the share, and at least one where it is above zero.
        number = np.minimum(np.maximum(np.round(share * size), share > 0), size - (share < 1))
        treated = place < number[member]
        level = np.sqrt(self.icc) * rng.normal(size=share.size)
        y = level[member] + np.sqrt(1.0 - self.icc) * rng.normal(size=member.size)
        y = y + self.direct * treated + self.spillover * share[member]
        frame: Frame = {
            "y": y,
            "arm": np.where(treated, "new", "usual").tolist(),
            "cluster": [f"c{g:03d}" for g in member],
            "saturation": share[member],
        }
        indirect = self.spillover * (self.saturations[1] - self.saturations[0])
        return frame, self.direct if self.truth == "direct" else indirect

    def check(self, frame: Frame) -> Trial:
        """Return the frame as a Trial."""
        return Trial(frame, outcome="y", arm="arm", control="usual", cluster="cluster", saturation="saturation")

    def null(self) -> SaturationFrames:
        """Return the same trial without effects."""
        return replace(self, direct=0.0, spillover=0.0)
