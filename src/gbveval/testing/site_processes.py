"""Site summaries and site tables drawn from hierarchies whose parameters are drawn from a prior, each time anew."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from gbveval.data.sites import SiteEffects
from gbveval.data.tables import SiteTables
from gbveval.testing.case import Frame


@dataclass(frozen=True)
class ControlSiteFrames:
    """Control means and effects of sites whose errors share the control arm.

    Parameters
    ----------
    n_sites : int
        Sites.
    average_sd : float
        Normal prior of both averages.
    between_scale : float
        Half-normal prior of both between-site sds; the correlation is drawn with density (1 - r^2).
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
        n = self.n_sites
        control, average = self.average_sd * rng.normal(size=2)
        a, b = np.abs(self.between_scale * rng.normal(size=2))
        r = 2.0 * rng.beta(2.0, 2.0) - 1.0
        z = rng.normal(size=(2, n))
        own = control + a * z[0]
        effects = average + b * (r * z[0] + np.sqrt(1.0 - r**2) * z[1])
        se_control, se_treated = rng.uniform(0.15, 0.4, (2, n))
        error, other = se_control * rng.normal(size=n), se_treated * rng.normal(size=n)
        frame: Frame = {
            "mean": own + error,
            "se_mean": se_control,
            "effect": effects + other - error,
            "se": np.hypot(se_control, se_treated),
            "site": [f"town{i:02d}" for i in range(n)],
        }
        return frame, float(average)

    def check(self, frame: Frame) -> SiteEffects:
        """Return the frame as SiteEffects."""
        return SiteEffects(
            frame, estimate="effect", std_error="se", site="site", control_mean="mean", control_std_error="se_mean"
        )

    def null(self) -> ControlSiteFrames | None:
        """Return no source: a posterior has no size."""
        return None


@dataclass(frozen=True)
class TableFrames:
    """Events by site and arm, small enough for empty cells.

    Parameters
    ----------
    n_sites, people : int
        Sites, and people in each of their arms.
    average_sd, between_scale : float
        Normal prior of the average log odds ratio, half-normal prior of the between-site sd.
    level, level_sd : float
        Normal prior of each site's log odds in control.
    """

    n_sites: int = 6
    people: int = 40
    average_sd: float = 1.0
    between_scale: float = 0.5
    level: float = -1.5
    level_sd: float = 1.0

    @property
    def roles(self) -> Mapping[str, str]:
        """Role to column."""
        return {"outcome": "events", "arm": "arm", "site": "site"}

    def frame(self, rng: np.random.Generator) -> tuple[Frame, float]:
        """Return a frame and the average log odds ratio behind it."""
        n = self.n_sites
        average = self.average_sd * rng.normal()
        effects = average + abs(self.between_scale * rng.normal()) * rng.normal(size=n)
        control = self.level + self.level_sd * rng.normal(size=n)
        risk = 1.0 / (1.0 + np.exp(-np.concatenate([control, control + effects])))
        frame: Frame = {
            "site": [f"town{i:02d}" for i in range(n)] * 2,
            "arm": ["usual"] * n + ["new"] * n,
            "events": rng.binomial(self.people, risk),
            "n": np.full(2 * n, self.people),
        }
        return frame, float(average)

    def check(self, frame: Frame) -> SiteTables:
        """Return the frame as SiteTables."""
        return SiteTables(frame, site="site", arm="arm", control="usual", events="events", n="n")

    def null(self) -> TableFrames | None:
        """Return no source: a posterior has no size."""
        return None
