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


@dataclass(frozen=True)
class DoseFrames:
    """Staggered rollouts in which units get different amounts, and may choose them by what they gain.

    Untreated outcomes are a unit's level, a common path and independent errors. A treated unit gains
    effect x (slope x dose + bend x dose^2 + selection x (dose - 3)) x (1 + growth x periods since treatment).

    Parameters
    ----------
    n_units, n_periods : int
    cohorts : tuple of float
        First treated periods, in equal shares; infinity for never.
    levels : tuple of float
        Doses; empty for any between 1 and 5.
    slope, bend, growth : float
    selection : float
        By how much a unit gains more for each unit of dose that it chose above the middle, whatever dose it would get:
        parallel trends then hold and strong parallel trends do not. The levels of those who got a dose have it in them.
    at : float, optional
        Dose whose level, on those who got it, is the truth; by default it is the average over the doses given.
    cluster_size : int
        Units of a cohort that share a cluster with shocks of its own; zero for no clusters.
    effect : float
        By which everything that treatment does is multiplied.
    """

    n_units: int = 150
    n_periods: int = 4
    cohorts: tuple[float, ...] = (3.0, 4.0, np.inf)
    levels: tuple[float, ...] = ()
    slope: float = 0.5
    bend: float = 0.0
    growth: float = 0.0
    selection: float = 0.0
    at: float | None = None
    cluster_size: int = 0
    effect: float = 1.0

    @property
    def roles(self) -> Mapping[str, str]:
        """Role to column."""
        more = {"cluster": "cluster"} if self.cluster_size else {}
        return {"outcome": "y", "unit": "unit", "time": "time", "cohort": "cohort", "dose": "dose", **more}

    def level(self, dose: FloatArray) -> FloatArray:
        """Return the effect of a dose, in the first treated period, on those who got it."""
        return np.asarray(self.effect * (self.slope * dose + self.bend * dose**2 + self.selection * (dose - 3.0)))

    def frame(self, rng: np.random.Generator) -> tuple[Frame, float]:
        """Return a frame, and the effect averaged over each unit's treated periods."""
        n, t = self.n_units, self.n_periods
        cohort = np.array(self.cohorts)[np.arange(n) % len(self.cohorts)]
        place = np.arange(n) // len(self.cohorts)
        dose = np.array(self.levels)[place % len(self.levels)] if self.levels else rng.uniform(1.0, 5.0, n)
        dose = np.where(np.isfinite(cohort), dose, 0.0)
        periods = np.arange(1.0, t + 1.0)
        since = np.where(np.isfinite(cohort)[:, None], periods[None, :] - cohort[:, None], -1.0)
        gain = np.where(since >= 0, self.level(dose)[:, None] * (1.0 + self.growth * since), 0.0)
        y = rng.normal(size=(n, 1)) + 0.3 * periods[None, :] + gain + rng.normal(size=(n, t))
        frame: Frame = {
            "unit": [f"u{i:04d}" for i in np.repeat(np.arange(n), t)],
            "time": np.tile(periods, n),
            "cohort": np.repeat(cohort, t),
            "dose": np.repeat(dose, t),
        }
        if self.cluster_size:
            group = place // self.cluster_size * len(self.cohorts) + np.arange(n) % len(self.cohorts)
            y = y + 0.7 * rng.normal(size=(n, t))[group]
            frame["cluster"] = [f"c{g:03d}" for g in np.repeat(group, t)]
        frame["y"] = y.ravel()
        return frame, self.truth()

    def truth(self) -> float:
        """Return the average over cohorts, alike in size, and each cohort's treated periods."""
        # Simpson's rule is exact for the square of the doses, which are uniform.
        doses = np.array(self.levels or (1.0, 3.0, 3.0, 3.0, 3.0, 5.0))
        level = np.mean(self.level(doses if self.at is None else np.array([self.at])))
        lasting = [self.n_periods - g for g in self.cohorts if np.isfinite(g)]
        return float(level * np.mean([1.0 + self.growth * last / 2.0 for last in lasting]))

    def check(self, frame: Frame) -> Panel:
        """Return the frame as a Panel."""
        roles: dict[str, Any] = dict(self.roles)
        return Panel(frame, **roles)

    def null(self) -> DoseFrames:
        """Return the same rollout without an effect."""
        return replace(self, effect=0.0)
