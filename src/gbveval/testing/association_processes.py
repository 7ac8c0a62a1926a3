"""Surveys of two factors and an outcome, and matched sets, whose associations are known."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gbveval.data.survey import Survey
from gbveval.testing.case import Frame

FloatArray = NDArray[np.float64]
TARGETS = ("attributable_fraction", "prevented_fraction", "difference", "odds_ratio", "relative_excess_risk")
# Conditional log odds ratio of the first factor where risks are logistic.
LOG_ODDS = 0.8


@dataclass(frozen=True)
class AssociationFrames:
    """Stratified cluster samples with two factors of two categories.

    Risks are products of the stratum's risk and a ratio for each combination of both factors ("relative_excess_risk"),
    or logistic in the stratum and the first factor (all other targets), which protects for "prevented_fraction". A risk
    that differs between primary units, and keeps its mean, correlates respondents.

    Parameters
    ----------
    target : str
        One of TARGETS: whose truth `frame` returns.
    psu_per_stratum, psu_size : int
        Primary units in each of two strata, and respondents in each.
    """

    target: str = "attributable_fraction"
    psu_per_stratum: int = 15
    psu_size: int = 25

    def __post_init__(self) -> None:
        if self.target not in TARGETS:
            raise ValueError(f"target is one of {', '.join(TARGETS)}, not {self.target!r}.")

    @property
    def roles(self) -> Mapping[str, str]:
        """Role to column."""
        return {"outcome": "y", "weight": "w", "stratum": "stratum", "psu": "psu"}

    def frame(self, rng: np.random.Generator) -> tuple[Frame, float]:
        """Return a frame and the truth."""
        groups = 2 * self.psu_per_stratum
        member = np.repeat(np.arange(groups), self.psu_size)
        stratum = np.repeat([0, 1], self.psu_per_stratum)[member]
        first = rng.random(member.size) < np.array([0.3, 0.6])[stratum]
        second = rng.random(member.size) < 0.4
        shift = (rng.beta(20.0, 20.0, groups) * 2.0)[member]
        risk = _risks(self.target)[stratum, first.astype(int), second.astype(int)]
        y = rng.random(member.size) < np.minimum(risk * shift, 1.0)
        frame: Frame = {
            "y": y.astype(float),
            "first": np.where(first, "yes", "no").tolist(),
            "second": np.where(second, "yes", "no").tolist(),
            "w": np.where(stratum == 0, 9.0, 1.0),
            "stratum": [f"s{h}" for h in stratum],
            "psu": [f"v{g:03d}" for g in member],
        }
        return frame, self._truth()

    def _truth(self) -> float:
        risk = _risks(self.target)
        if self.target == "relative_excess_risk":
            ratio = risk[0] / risk[0, 0, 0]
            return float(ratio[1, 1] - ratio[1, 0] - ratio[0, 1] + 1.0)
        if self.target == "odds_ratio":
            return LOG_ODDS
        people, share = np.array([0.9, 0.1]), np.array([0.3, 0.6])
        everybody = float(people @ ((1 - share) * risk[:, 0, 0] + share * risk[:, 1, 0]))
        without, with_it = (float(people @ risk[:, exposed, 0]) for exposed in (0, 1))
        if self.target == "difference":
            return with_it - without
        return 1.0 - (everybody / without if self.target == "prevented_fraction" else without / everybody)

    def check(self, frame: Frame) -> Survey:
        """Return the frame as a Survey."""
        return Survey(frame, outcome="y", weight="w", stratum="stratum", psu="psu")

    def null(self) -> AssociationFrames | None:
        """Return no source: the truth is a fraction, or a departure from sums, whose null other tests cover."""
        return None


def _risks(target: str) -> FloatArray:
    """Return risks by stratum, first and second factor, shape (2, 2, 2)."""
    if target == "relative_excess_risk":
        ratio = np.array([[1.0, 1.3], [1.5, 2.4]])
        return np.asarray(np.array([0.15, 0.22])[:, None, None] * ratio, dtype=np.float64)
    log_odds = -LOG_ODDS if target == "prevented_fraction" else LOG_ODDS
    eta = np.array([-1.4, -0.9])[:, None, None] + np.array([0.0, log_odds])[:, None] + np.zeros((2, 2, 2))
    return np.asarray(1.0 / (1.0 + np.exp(-eta)), dtype=np.float64)


@dataclass(frozen=True)
class MatchedFrames:
    """Sets of one case and some controls, alike in what the set stands for.

    Parameters
    ----------
    n_sets, n_controls : int
        Sets, and controls in each.
    log_odds : float
        Conditional log odds ratio of the exposure.
    """

    n_sets: int = 120
    n_controls: int = 2
    log_odds: float = 0.8

    @property
    def roles(self) -> Mapping[str, str]:
        """Role to column."""
        return {"outcome": "y"}

    def frame(self, rng: np.random.Generator) -> tuple[Frame, float]:
        """Return a frame and the truth."""
        size = 1 + self.n_controls
        share = rng.uniform(0.2, 0.7, self.n_sets)
        exposed = rng.random((self.n_sets, size)) < share[:, None]
        # Which member is the case follows the conditional likelihood itself.
        weight = np.exp(self.log_odds * exposed)
        chance = np.cumsum(weight / weight.sum(axis=1, keepdims=True), axis=1)
        case = (rng.random((self.n_sets, 1)) > chance).sum(axis=1)
        y = np.zeros((self.n_sets, size))
        y[np.arange(self.n_sets), np.minimum(case, size - 1)] = 1.0
        frame: Frame = {
            "y": y.ravel(),
            "exposed": np.where(exposed.ravel(), "yes", "no").tolist(),
            "set": [f"m{number:04d}" for number in np.repeat(np.arange(self.n_sets), size)],
        }
        return frame, self.log_odds

    def check(self, frame: Frame) -> Survey:
        """Return the frame as a Survey."""
        return Survey(frame, outcome="y")

    def null(self) -> MatchedFrames | None:
        """Return the same sets without an association."""
        return MatchedFrames(self.n_sets, self.n_controls, 0.0)
