"""Measures coverage of curves along the dose, and the size of their test before treatment, with few clusters."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import gbveval as gbv
from gbveval.testing.case import Frame
from tests.rollouts.measure import SEED, Method, keep

RECORD = Path(__file__).with_name("doses.json")
DRAWS = 1000
SHOWN = (2.0, 5.0, 8.0)
FIRST, PERIODS = 3.0, 4


@dataclass(frozen=True)
class SharedDoses:
    """One cohort of clusters whose units share a dose, spread evenly over 1 to 10, and clusters never treated.

    Parameters
    ----------
    treated, never : int
        Clusters.
    size : int
        Units of each; with one, units are independent and the panel names no clusters.
    at : tuple of float
        Doses given to equal numbers of clusters, in place of those spread over 1 to 10.
    bend : float
        The effect of a dose d is 0.5 d - bend d^2.
    """

    treated: int
    never: int
    size: int = 10
    at: tuple[float, ...] = ()
    bend: float = 0.02

    def effect(self, dose: Any) -> Any:
        """Return the effect of doses."""
        return 0.5 * dose - self.bend * dose**2

    def frame(self, rng: np.random.Generator) -> Frame:
        """Return a frame; half of the noise is the cluster's."""
        clusters = self.treated + self.never
        given = np.resize(self.at, self.treated) if self.at else np.linspace(1.0, 10.0, self.treated)
        dose = np.concatenate([given, np.zeros(self.never)])
        periods = np.arange(1.0, PERIODS + 1.0)
        after = (dose > 0)[:, None] & (periods >= FIRST)
        common = self.effect(dose)[:, None] * after + rng.normal(size=(clusters, PERIODS)) + 0.3 * periods
        unit = np.repeat(np.arange(clusters), self.size)
        y = common[unit] + rng.normal(size=(unit.size, PERIODS)) + rng.normal(size=(unit.size, 1))
        return {
            "y": y.ravel(),
            "unit": np.repeat(np.arange(unit.size), PERIODS),
            "time": np.tile(periods, unit.size),
            "cohort": np.repeat(np.where(dose > 0, FIRST, np.inf)[unit], PERIODS),
            "dose": np.repeat(dose[unit], PERIODS),
            "cluster": np.repeat(unit, PERIODS),
        }

    def check(self, frame: Frame) -> gbv.Panel:
        """Return the checked panel."""
        roles: dict[str, Any] = {"cluster": "cluster"} if self.size > 1 else {}
        return gbv.Panel(frame, outcome="y", unit="unit", time="time", cohort="cohort", dose="dose", **roles)


def _spline(degree: int) -> gbv.DoseResponse:
    return gbv.DoseResponse(degree=degree, doses=SHOWN)


STEPS = gbv.DoseResponse(curve="saturated")
DESIGNS: dict[str, tuple[SharedDoses, gbv.DoseResponse]] = {
    "cubic, 24 and 30 clusters of ten": (SharedDoses(24, 30), _spline(3)),
    "cubic, 24 and 30 units": (SharedDoses(24, 30, size=1), _spline(3)),
    "cubic, 100 and 100 units": (SharedDoses(100, 100, size=1), _spline(3)),
    "quadratic, 12 and 12 clusters of ten": (SharedDoses(12, 12), _spline(2)),
    "straight line, 12 and 30 units": (SharedDoses(12, 30, size=1, bend=0.0), _spline(1)),
    "saturated, 2 clusters at each dose and 30": (SharedDoses(6, 30, at=SHOWN), STEPS),
    "saturated, 5 clusters at each dose and 30": (SharedDoses(15, 30, at=SHOWN), STEPS),
    "saturated, 10 clusters at each dose and 30": (SharedDoses(30, 30, at=SHOWN), STEPS),
}
METHODS = tuple(
    Method(label, estimator, average=repr(frames), draws=DRAWS) for label, (frames, estimator) in DESIGNS.items()
)


def measure(method: Method) -> dict[str, Any]:
    """Return how often intervals at three doses hold the truth, and the test before treatment rejects."""
    frames, estimator = DESIGNS[method.label]
    held: list[list[bool]] = []
    tested: list[bool] = []
    for child in np.random.SeedSequence([SEED, list(DESIGNS).index(method.label)]).spawn(method.draws):
        found = estimator.estimate(frames.check(frames.frame(np.random.default_rng(child))))
        rows = {row["term"]: row for row in found.records()}
        shown = [(rows[f"dose {dose:g}"], frames.effect(dose)) for dose in SHOWN]
        held.append([row["conf_low"] <= truth <= row["conf_high"] for row, truth in shown])
        p_value = found.aggregate("pretest")[0].p_value
        if p_value is not None:
            tested.append(p_value < 0.05)
    shares = np.mean(held, axis=0)
    cells: dict[str, Any] = {
        f"dose {dose:g}": {"defined": len(held), "coverage": float(share)}
        for dose, share in zip(SHOWN, shares, strict=True)
    }
    return {**cells, "pre-test": {"tested": len(tested), "pretest": float(np.mean(tested))}}


def run(say: Callable[[str], None], *, only: str = "", again: bool = False) -> dict[str, Any]:
    """Measure the rows that are missing or have changed."""
    return keep(METHODS, measure, RECORD, say, only, again)
