"""Rollouts with known truth in which some estimators are right and others are not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gbveval.data.panel import Panel
from gbveval.testing.case import Frame

FloatArray = NDArray[np.float64]
KINDS = ("homogeneous", "dynamic", "cohorts differ", "anticipation", "covariate trends", "few treated")


@dataclass(frozen=True)
class RolloutFrames:
    """Staggered rollouts whose effects, trends or sizes are of one kind.

    Untreated outcomes are a unit's level, a common path and errors that follow each other (AR(1), 0.4). The truth is
    the average effect over all treated units and periods.

    Parameters
    ----------
    kind : str
        "homogeneous": an effect of 1. "dynamic": 0.4 in the first treated period, and 0.4 more in each that follows.
        "cohorts differ": 2, 1 and 0.25 in the cohorts treated first, second and last. "anticipation": as homogeneous,
        and 0.6 in the period before treatment. "covariate trends": as homogeneous; outcomes rise with a covariate that
        is higher in cohorts treated earlier. "few treated": as homogeneous, with three treated units among 60.
    n_units, n_periods : int
    persistence : float
        Correlation of an error with the one before it.
    """

    kind: str = "homogeneous"
    n_units: int = 120
    n_periods: int = 8
    persistence: float = 0.4
    effect: float = 1.0

    @property
    def roles(self) -> Mapping[str, str]:
        """Role to column."""
        more = {"covariates": "x"} if self.kind == "covariate trends" else {}
        return {"outcome": "y", "unit": "unit", "time": "time", "cohort": "cohort", **more}

    def frame(self, rng: np.random.Generator) -> tuple[Frame, float]:
        """Return a frame and the average effect on the treated in it."""
        n = 60 if self.kind == "few treated" else self.n_units
        t = self.n_periods
        x = rng.normal(size=n)
        cohort = self._cohorts(n, x, rng)
        periods = np.arange(1, t + 1)
        event = periods[None, :] - cohort[:, None]
        treated = event >= 0
        effect = self.effect * self._effect(event, cohort)
        y = rng.normal(size=(n, 1)) + 0.3 * np.sin(periods)[None, :] + 0.2 * periods[None, :] + self._errors(rng, n)
        y = y + effect
        if self.kind == "covariate trends":
            y = y + 0.3 * x[:, None] * periods[None, :]
        frame: Frame = {
            "unit": np.repeat(np.arange(n), t),
            "time": np.tile(periods, n),
            "cohort": np.repeat(cohort, t),
            "x": np.repeat(x, t),
            "y": y.ravel(),
        }
        return frame, float(effect[treated].mean())

    def _cohorts(self, n: int, x: FloatArray, rng: np.random.Generator) -> FloatArray:
        if self.kind == "few treated":
            return np.where(np.arange(n) < 3, 5.0, np.inf)
        place = np.arange(n) % 4
        if self.kind == "covariate trends":
            order = np.argsort(-(x + 1.5 * rng.normal(size=n)))
            place = np.empty(n, dtype=int)
            place[order] = np.arange(n) * 4 // n
        return np.asarray(np.array([3.0, 5.0, 7.0, np.inf])[place])

    def _effect(self, event: FloatArray, cohort: FloatArray) -> FloatArray:
        treated = event >= 0
        if self.kind == "dynamic":
            return np.where(treated, 0.4 * (np.where(treated, event, 0.0) + 1.0), 0.0)
        if self.kind == "cohorts differ":
            size = np.select([cohort == 3, cohort == 5], [2.0, 1.0], 0.25)
            return np.where(treated, size[:, None], 0.0)
        if self.kind == "anticipation":
            return np.where(treated, 1.0, np.where(event == -1, 0.6, 0.0))
        return treated.astype(float)

    def _errors(self, rng: np.random.Generator, n: int) -> FloatArray:
        shocks = rng.normal(size=(n, self.n_periods))
        errors = np.empty_like(shocks)
        errors[:, 0] = shocks[:, 0]
        for period in range(1, self.n_periods):
            fresh = np.sqrt(1.0 - self.persistence**2) * shocks[:, period]
            errors[:, period] = self.persistence * errors[:, period - 1] + fresh
        return errors

    def check(self, frame: Frame) -> Panel:
        """Return the frame as a Panel."""
        roles: dict[str, Any] = {"covariates": ["x"]} if self.kind == "covariate trends" else {}
        return Panel(frame, outcome="y", unit="unit", time="time", cohort="cohort", **roles)

    def null(self) -> RolloutFrames:
        """Return the same rollout without an effect."""
        return replace(self, effect=0.0)
