"""Hides how panels of a planned rollout are drawn, and what is true in them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from gbveval.core.errors import DesignError
from gbveval.core.estimand import Estimand
from gbveval.data.panel import Panel
from gbveval.design._labels import numbered
from gbveval.design.processes import Frame

if TYPE_CHECKING:
    from gbveval.design.rollout import RolloutDesign

FloatArray = NDArray[np.float64]
# Eigenvalues below this share of the largest are rounding.
ROUNDING = 1e-9


@dataclass(frozen=True, slots=True)
class RolloutProcess:
    """Draws panels of a `RolloutDesign` with normal errors, parallel trends and one effect.

    Parameters
    ----------
    design : RolloutDesign
        The plan.
    effect : float
        True effect in every treated period.

    Raises
    ------
    DesignError
        If the covariances of the errors fit no distribution.

    Examples
    --------
    >>> from gbveval.design.panel_errors import Autoregressive
    >>> from gbveval.design.rollout import RolloutDesign
    >>> plan = RolloutDesign(6, (None, 3, 5), 10, Autoregressive(0.4))
    >>> plan.process(0.5).draw(np.random.default_rng(1)).n_units
    30
    """

    design: RolloutDesign
    effect: float

    def __post_init__(self) -> None:
        self.design.outcome.levels(self.effect)
        values = np.linalg.eigvalsh(self._covariance())
        if values[0] < -ROUNDING * values[-1]:
            raise DesignError(
                "No errors have these average covariances over so many periods: their matrix has a negative eigenvalue."
            )

    def _covariance(self) -> FloatArray:
        return self.design._covariance(self.design.people_per_period)

    def frame(self, rng: np.random.Generator) -> Frame:
        """Return one simulated panel as columns "outcome", "unit", "time" and "cohort" (missing: never treated)."""
        design = self.design
        n, periods = design.n_units, design.n_periods
        values, vectors = np.linalg.eigh(self._covariance())
        root = vectors * np.sqrt(np.maximum(values, 0.0))
        outcome = rng.normal(size=(n, periods)) @ root.T
        cohort = np.repeat(np.arange(len(design.first_treated)), design.cohort_sizes)
        outcome = outcome + self.effect * design._treatment()[cohort]
        start = np.array([np.nan if first is None else float(first) for first in design.first_treated])
        return {
            "outcome": outcome.ravel(),
            "unit": np.repeat(np.asarray(numbered("unit ", n), dtype=object), periods),
            "time": np.tile(np.arange(1, periods + 1), n),
            "cohort": np.repeat(start[cohort], periods),
        }

    def check(self, frame: Frame) -> Panel:
        """Return a frame of this process as a checked panel."""
        return Panel(frame, outcome="outcome", unit="unit", time="time", cohort="cohort")

    def draw(self, rng: np.random.Generator) -> Panel:
        """Return one simulated panel as checked data."""
        return self.check(self.frame(rng))

    def truth(self, estimand: Estimand) -> float:
        """Return the true value of exactly this estimand, or raise DesignError."""
        asked_well = estimand.population == "treated" and estimand.scale == "marginal"
        if estimand.effect == "ATT" and estimand.contrast == "mean_difference" and asked_well:
            return float(self.effect)
        raise DesignError(
            f"The process does not know the true {estimand.words()}. It knows the average effect on the treated (ATT) "
            "as mean_difference; an effect by cohort and period may be one before treatment, which is zero."
        )
