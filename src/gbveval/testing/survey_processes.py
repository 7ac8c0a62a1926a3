"""Surveys of amounts, for checks: clusters in strata, finite populations in two stages, replicate weights, raking."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from gbveval.data.survey import Survey
from gbveval.testing.case import Frame

# Log-normal amounts with a shift of each primary unit: log y = u + e.
BETWEEN, WITHIN = 0.2, 0.4
MONTHS = (6.0, 12.0)


@dataclass(frozen=True)
class AmountFrames:
    """Stratified samples of primary units, each respondent with an amount and months asked about.

    Parameters
    ----------
    psu_per_stratum, psu_size : int
        Primary units in each of two strata, and respondents in each.
    target : str
        What the truth is: "mean", "total", "median", "ratio" (amount per month) or "slope" (of the amount on `x`).
    variance : str
        "linearised", "jackknife", "bootstrap", or "raked" (weights meet the population of two groups).
    """

    psu_per_stratum: int = 12
    psu_size: int = 10
    target: str = "mean"
    variance: str = "linearised"

    @property
    def roles(self) -> Mapping[str, str]:
        """Role to column."""
        return {"outcome": "y", "weight": "w", "stratum": "stratum", "psu": "psu"}

    def frame(self, rng: np.random.Generator) -> tuple[Frame, float]:
        """Return a frame and the truth."""
        units = 2 * self.psu_per_stratum
        member = np.repeat(np.arange(units), self.psu_size)
        stratum = (member >= self.psu_per_stratum).astype(int)
        x = rng.random(member.size)
        log_y = BETWEEN * rng.normal(size=units)[member] + WITHIN * rng.normal(size=member.size)
        y = np.exp(log_y) + (2.0 * x if self.target == "slope" else 0.0)
        weight = np.where(stratum == 0, 30.0, 10.0)
        frame: Frame = {
            "y": y,
            "months": rng.choice(MONTHS, member.size),
            "x": x,
            "w": weight,
            "group": np.where(rng.random(member.size) < 0.4, "a", "b").tolist(),
            "area": np.where(stratum == 0, "north", "south").tolist(),
            "stratum": [f"s{h}" for h in stratum],
            "psu": [f"v{g:03d}" for g in member],
        }
        mean = float(np.exp((BETWEEN**2 + WITHIN**2) / 2.0))
        truth = {
            "mean": mean,
            "total": mean * float(weight.sum()),
            "median": 1.0,
            "ratio": mean / float(np.mean(MONTHS)),
            "slope": 2.0,
        }
        return frame, truth[self.target]

    def check(self, frame: Frame) -> Survey:
        """Return the frame as a Survey."""
        outcome = ["y", "months"] if self.target == "ratio" else "y"
        survey = Survey(frame, outcome=outcome, weight="w", stratum="stratum", psu="psu")
        if self.variance == "jackknife":
            return survey.with_jackknife()
        if self.variance == "bootstrap":
            return survey.with_bootstrap(120, seed=1)
        if self.variance == "raked":
            return survey.raked({"group": {"a": 1920, "b": 2880}, "area": {"north": 3600, "south": 1200}})
        return survey

    def null(self) -> AmountFrames | None:
        """Return no source: nobody asks whether an amount is zero."""
        return None


@dataclass(frozen=True)
class FiniteFrames:
    """Wards drawn from few, and half the people of each: the population is small, and its mean the truth.

    Parameters
    ----------
    wards, drawn : int
        Wards in each of two strata, and how many of them are drawn.
    people : int
        People in a ward, of whom half are drawn.
    """

    wards: int = 14
    drawn: int = 8
    people: int = 12

    @property
    def roles(self) -> Mapping[str, str]:
        """Role to column."""
        return {"outcome": "y", "stratum": "stratum", "psu": "psu"}

    def frame(self, rng: np.random.Generator) -> tuple[Frame, float]:
        """Return a frame and the mean of the population that it was drawn from."""
        shape = (2, self.wards, self.people)
        y = np.exp(BETWEEN * rng.normal(size=(*shape[:2], 1)) + WITHIN * rng.normal(size=shape))
        half = self.people // 2
        rows = [
            (h, ward, y[h, ward, person])
            for h in range(2)
            for ward in rng.permutation(self.wards)[: self.drawn].tolist()
            for person in rng.permutation(self.people)[:half].tolist()
        ]
        frame: Frame = {
            "y": np.array([row[2] for row in rows]),
            "stratum": [f"s{row[0]}" for row in rows],
            "psu": [f"v{row[1]:03d}" for row in rows],
            "person": [f"p{i:04d}" for i in range(len(rows))],
            "wards": np.full(len(rows), float(self.wards)),
            "people": np.full(len(rows), float(self.people)),
        }
        return frame, float(y.mean())

    def check(self, frame: Frame) -> Survey:
        """Return the frame as a Survey whose weights follow from its populations."""
        return Survey(frame, outcome="y", stratum="stratum", psu=["psu", "person"], fpc=["wards", "people"])

    def null(self) -> FiniteFrames | None:
        """Return no source: nobody asks whether an amount is zero."""
        return None


@dataclass(frozen=True)
class IndependentFrames:
    """Clustered answers of three kinds, and three groups that have nothing to do with them.

    Parameters
    ----------
    psu_per_stratum, psu_size : int
        Primary units in each of two strata, and respondents in each.
    """

    psu_per_stratum: int = 15
    psu_size: int = 16

    @property
    def roles(self) -> Mapping[str, str]:
        """Role to column."""
        return {"outcome": "y", "weight": "w", "stratum": "stratum", "psu": "psu"}

    def frame(self, rng: np.random.Generator) -> tuple[Frame, float]:
        """Return a frame; the truth is that there is no association."""
        units = 2 * self.psu_per_stratum
        member = np.repeat(np.arange(units), self.psu_size)
        # Answers and groups are alike within units, so an uncorrected test rejects far too often.
        answers = rng.dirichlet((2.0, 1.5, 1.0), units)
        kinds = rng.dirichlet((3.0, 2.0, 2.0), units)
        u = rng.random((2, member.size))
        y = (u[0][:, None] > np.cumsum(answers, axis=1)[member][:, :2]).sum(axis=1)
        group = (u[1][:, None] > np.cumsum(kinds, axis=1)[member][:, :2]).sum(axis=1)
        frame: Frame = {
            "y": y.astype(float),
            "group": np.array(["a", "b", "c"])[group].tolist(),
            "w": np.where(member % 3 == 0, 2.0, 1.0),
            "stratum": [f"s{int(m >= self.psu_per_stratum)}" for m in member],
            "psu": [f"v{m:03d}" for m in member],
        }
        return frame, 0.0

    def check(self, frame: Frame) -> Survey:
        """Return the frame as a Survey."""
        return Survey(frame, outcome="y", weight="w", stratum="stratum", psu="psu")

    def null(self) -> IndependentFrames:
        """Return the same source, which has no association."""
        return self


@dataclass(frozen=True)
class AreaFrames:
    """Simple samples of several small groups, whose average and spread are drawn from a prior, each time anew.

    Parameters
    ----------
    n_groups : int
        Groups.
    average_sd, between_scale : float
        Normal prior of the average log odds around 0, and half-normal prior of the sd between groups.
    """

    n_groups: int = 8
    average_sd: float = 1.0
    between_scale: float = 0.7

    @property
    def roles(self) -> Mapping[str, str]:
        """Role to column."""
        return {"outcome": "y"}

    def frame(self, rng: np.random.Generator) -> tuple[Frame, float]:
        """Return a frame and the first group's log odds."""
        average = self.average_sd * rng.normal()
        log_odds = average + abs(self.between_scale * rng.normal()) * rng.normal(size=self.n_groups)
        group = np.repeat(np.arange(self.n_groups), 6 + 5 * np.arange(self.n_groups))
        y = rng.random(group.size) < 1.0 / (1.0 + np.exp(-log_odds[group]))
        # Where nobody or everybody has the outcome there is nothing to pool; such draws are one in some thousands.
        if y.all() or not y.any():
            return self.frame(rng)
        frame: Frame = {"y": y.astype(float), "group": [f"g{g}" for g in group]}
        return frame, float(log_odds[0])

    def check(self, frame: Frame) -> Survey:
        """Return the frame as a Survey."""
        return Survey(frame, outcome="y")

    def null(self) -> AreaFrames | None:
        """Return no source: a posterior has no size."""
        return None
