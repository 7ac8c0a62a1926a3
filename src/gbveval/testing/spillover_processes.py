"""Frames of trials in which people are reached through others: saturations, networks, placebo arms."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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


@dataclass(frozen=True)
class NetworkFrames:
    """Accounts on a ring that see the next ones on both sides; a treated neighbour reaches them.

    Parameters
    ----------
    n : int
        Accounts.
    share : float
        Share treated.
    direct, indirect : float
        Effects of being treated and of being reached; they add up.
    reach : int
        Neighbours on each side.
    independent : bool
        Whether each account is drawn on its own, every third of them with a higher probability.
    alone : int
        Accounts without neighbours, the first ones.
    """

    n: int = 90
    share: float = 1.0 / 3.0
    direct: float = 0.5
    indirect: float = 0.3
    reach: int = 1
    independent: bool = False
    alone: int = 0

    @property
    def roles(self) -> Mapping[str, str]:
        """Role to column; the identifiers stay what they are, as the network names them."""
        probability = {"probability": "p"} if self.independent else {}
        return {"outcome": "y", "arm": "arm", **probability}

    def frame(self, rng: np.random.Generator) -> tuple[Frame, float]:
        """Return a frame and the true effect of being treated and reached, against neither."""
        p = np.where(np.arange(self.n) % 3 == 0, 1.5 * self.share, 0.75 * self.share)
        treated = rng.permutation(self.n) < round(self.share * self.n)
        if self.independent:
            treated = rng.random(self.n) < p
        reached = np.zeros(self.n, dtype=bool)
        for one, other in self._pairs():
            reached[[one, other]] |= treated[[other, one]]
        y = 0.3 * rng.normal(size=self.n) + self.direct * treated + self.indirect * reached
        frame: Frame = {
            "y": y + np.where(np.arange(self.n) % 3 == 0, 0.5, 0.0),
            "arm": np.where(treated, "new", "usual").tolist(),
            "id": [f"a{i:04d}" for i in range(self.n)],
            "p": p,
        }
        return frame, self.direct + self.indirect

    def _pairs(self) -> list[tuple[int, int]]:
        found = [(i, (i + step) % self.n) for step in range(1, self.reach + 1) for i in range(self.n)]
        return [pair for pair in found if min(pair) >= self.alone]

    def network(self, present: Sequence[str]) -> dict[str, list[str]]:
        """Return the pairs among the accounts present, by their identifiers."""
        there = set(present)
        named = [(f"a{one:04d}", f"a{other:04d}") for one, other in self._pairs()]
        kept = [pair for pair in named if there.issuperset(pair)]
        return {"one": [one for one, _ in kept], "other": [other for _, other in kept]}

    def check(self, frame: Frame) -> Trial:
        """Return the frame as a Trial with its network."""
        network = self.network(frame["id"])
        return Trial(
            frame,
            outcome="y",
            arm="arm",
            control="usual",
            unit="id",
            network=network,
            probability={"new": "p"} if self.independent else None,
        )

    def null(self) -> NetworkFrames:
        """Return the same trial without effects."""
        return replace(self, direct=0.0, indirect=0.0)


@dataclass(frozen=True)
class PlaceboFrames:
    """Everybody is offered something, and those who come differ from those who do not.

    Parameters
    ----------
    n_per_arm : int
        Participants an arm, or clusters an arm when `cluster_size` is above zero.
    effect : float
        Effect on those who come.
    compliers : float
        Their share.
    cluster_size : int
        People a cluster; zero for none.
    """

    n_per_arm: int = 40
    effect: float = 0.5
    compliers: float = 0.4
    cluster_size: int = 0

    @property
    def roles(self) -> Mapping[str, str]:
        """Role to column."""
        clustered = {"cluster": "cluster"} if self.cluster_size else {}
        return {"outcome": "y", "arm": "arm", "received": "came", **clustered}

    def frame(self, rng: np.random.Generator) -> tuple[Frame, float]:
        """Return a frame and the true effect on compliers."""
        group = np.repeat(np.arange(2 * self.n_per_arm), max(self.cluster_size, 1))
        treated = group % 2 == 1
        came = rng.random(group.size) < self.compliers
        level = 0.4 * rng.normal(size=2 * self.n_per_arm)[group] if self.cluster_size else 0.0
        y = level + 1.5 * came + rng.normal(size=group.size) + self.effect * (came & treated)
        frame: Frame = {"y": y, "arm": np.where(treated, "new", "usual").tolist(), "came": came.astype(float)}
        if self.cluster_size:
            frame["cluster"] = [f"c{g:03d}" for g in group]
        return frame, self.effect

    def check(self, frame: Frame) -> Trial:
        """Return the frame as a Trial."""
        roles = {"cluster": "cluster"} if self.cluster_size else {}
        return Trial(frame, outcome="y", arm="arm", control="usual", received="came", **roles)

    def null(self) -> PlaceboFrames:
        """Return the same trial without an effect."""
        return replace(self, effect=0.0)
