"""Panels in which treatment starts, ends and starts again, for the conformance kit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from gbveval.data.panel import Panel
from gbveval.testing.case import Frame


@dataclass(frozen=True)
class SwitchFrames:
    """Panels whose units start and end treatment, which acts in its own period only and by the same amount.

    Parameters
    ----------
    n_units : int
        Units. A third are treated in the first period.
    n_periods : int
        Periods.
    effect : float
        Effect of being treated, in that period.
    switching : float
        Probability that a unit changes its treatment from one period to the next.
    cluster_size : int
        Units that share a cluster with shocks, and treatment, of its own; zero for no clusters.
    """

    n_units: int = 150
    n_periods: int = 4
    effect: float = 0.5
    switching: float = 0.25
    cluster_size: int = 0

    @property
    def roles(self) -> Mapping[str, str]:
        """Role to column."""
        more = {"cluster": "cluster"} if self.cluster_size else {}
        return {"outcome": "y", "unit": "unit", "time": "time", "cohort": "cohort", "treatment": "d", **more}

    def frame(self, rng: np.random.Generator) -> tuple[Frame, float]:
        """Return a frame and the true effect."""
        n, t = self.n_units, self.n_periods
        group = np.arange(n) // max(self.cluster_size, 1)
        count = int(group.max()) + 1
        start = (np.arange(count) % 3 == 0)[:, None]
        changes = rng.random((count, t)) < self.switching
        changes[:, 0] = False
        treated = ((changes.cumsum(axis=1) + start) % 2)[group].astype(float)
        # Those treated at first are on another level and another trend, so that both kinds need their own comparison.
        first = np.broadcast_to(start, (count, t))[group]
        y = (
            rng.normal(size=(n, 1))
            + first * (1.0 + 0.5 * np.arange(t))
            + rng.normal(size=(n, t))
            + self.effect * treated
        )
        frame: Frame = {
            "unit": [f"u{i:04d}" for i in np.repeat(np.arange(n), t)],
            "time": np.tile(np.arange(1, t + 1), n),
            "cohort": np.repeat(np.where(treated.any(axis=1), treated.argmax(axis=1) + 1.0, np.inf), t),
            "d": treated.ravel(),
        }
        if self.cluster_size:
            y = y + 0.5 * rng.normal(size=(count, t))[group]
            frame["cluster"] = [f"c{g:03d}" for g in np.repeat(group, t)]
        frame["y"] = y.ravel()
        return frame, self.effect

    def check(self, frame: Frame) -> Panel:
        """Return the frame as a Panel."""
        more: dict[str, Any] = {"cluster": "cluster"} if self.cluster_size else {}
        return Panel(frame, outcome="y", unit="unit", time="time", cohort="cohort", treatment="d", **more)

    def null(self) -> SwitchFrames:
        """Return the same panel without an effect."""
        return replace(self, effect=0.0)
