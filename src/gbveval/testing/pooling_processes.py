"""Sources of site summaries and site tables whose average effect is fixed and known."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from gbveval.data.sites import SiteEffects
from gbveval.data.tables import SiteTables
from gbveval.testing.case import Frame


@dataclass(frozen=True)
class PooledFrames:
    """Site summaries about a fixed average, several a study where that is asked for.

    Parameters
    ----------
    n_sites : int
        Sites, or studies.
    effect : float
        Average effect.
    between_sd, within_sd : float
        Standard deviation of effects between sites (studies), and within a study.
    per_study : int
        Rows a study at most; one by default, and then there is no study. Studies differ in size.
    slope : float, optional
        Dependence of effects on a moderator that describes a site (study).
    """

    n_sites: int = 12
    effect: float = 0.4
    between_sd: float = 0.3
    within_sd: float = 0.0
    per_study: int = 1
    slope: float | None = None

    @property
    def roles(self) -> Mapping[str, str]:
        """Role to column."""
        role = {"outcome": "effect", "std_error": "se", "site": "site"}
        return role | ({"study": "study"} if self.per_study > 1 else {})

    def frame(self, rng: np.random.Generator) -> tuple[Frame, float]:
        """Return a frame and the average effect behind it."""
        size = np.arange(self.n_sites) % self.per_study + 1
        study = np.repeat(np.arange(self.n_sites), size)
        n = study.size
        se = rng.uniform(0.1, 0.4, n)
        described = rng.normal(size=self.n_sites)
        described -= (described * size).sum() / size.sum()
        mean = self.effect + (0.0 if self.slope is None else self.slope * described)
        centre = mean + self.between_sd * rng.normal(size=self.n_sites)
        effect = centre[study] + self.within_sd * rng.normal(size=n) + se * rng.normal(size=n)
        frame: Frame = {"effect": effect, "se": se, "site": [f"town{i:02d}" for i in range(n)]}
        if self.per_study > 1:
            frame["study"] = [f"paper{i:02d}" for i in study]
        if self.slope is not None:
            frame["described"] = described[study]
        return frame, self.effect

    def check(self, frame: Frame) -> SiteEffects:
        """Return the frame as SiteEffects."""
        more: dict[str, Any] = {"study": "study"} if self.per_study > 1 else {}
        if self.slope is not None:
            more["moderators"] = ["described"]
        return SiteEffects(frame, estimate="effect", std_error="se", site="site", **more)

    def null(self) -> PooledFrames:
        """Return the same source with no average effect."""
        return replace(self, effect=0.0)


@dataclass(frozen=True)
class PooledTableFrames:
    """Events by site and arm about a fixed log odds ratio or log rate ratio.

    Parameters
    ----------
    n_sites, n_per_arm : int
        Sites, and people (or years at risk) in each arm.
    risk : float
        Of the control arm, or events a year.
    effect : float
        Average log odds ratio (log rate ratio with `rates`).
    between_sd : float
        Standard deviation of that between sites.
    rates : bool
        Whether events are counted over time at risk.
    """

    n_sites: int = 20
    n_per_arm: int = 120
    risk: float = 0.15
    effect: float = -0.4
    between_sd: float = 0.0
    rates: bool = False

    @property
    def roles(self) -> Mapping[str, str]:
        """Role to column."""
        return {"outcome": "events", "arm": "arm", "site": "site", "size": "size"}

    def frame(self, rng: np.random.Generator) -> tuple[Frame, float]:
        """Return a frame and the average effect behind it."""
        level = np.log(self.risk / (1.0 - self.risk)) + 0.3 * rng.normal(size=self.n_sites)
        own = self.effect + self.between_sd * rng.normal(size=self.n_sites)
        eta = np.concatenate([level, level + own])
        size = np.full(eta.size, float(self.n_per_arm))
        if self.rates:
            events = rng.poisson(size * np.exp(eta))
        else:
            events = rng.binomial(self.n_per_arm, 1.0 / (1.0 + np.exp(-eta)))
        names = [f"town{i:02d}" for i in range(self.n_sites)] * 2
        arms = ["usual"] * self.n_sites + ["new"] * self.n_sites
        return {"events": events.astype(float), "size": size, "site": names, "arm": arms}, self.effect

    def check(self, frame: Frame) -> SiteTables:
        """Return the frame as SiteTables."""
        size = {"exposure": "size"} if self.rates else {"n": "size"}
        return SiteTables(frame, site="site", arm="arm", control="usual", events="events", **size)

    def null(self) -> PooledTableFrames:
        """Return the same source with no effect."""
        return replace(self, effect=0.0)
