"""Sources of binary and count outcomes with known ratios and differences, for the conformance kit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gbveval.data.trial import Trial
from gbveval.testing.case import Frame

FloatArray = NDArray[np.float64]
# Log rate, and linear predictor of risk, in control.
BASE = {"logit": -0.4, "log": -1.2}


@dataclass(frozen=True)
class ModelFrames:
    """Trials whose outcome follows a logistic or a log-linear model, with a covariate of minus or plus one.

    Parameters
    ----------
    n_per_arm : int
        Units an arm, or clusters an arm when `cluster_size` is above zero.
    outcome : str
        "binary" or "count".
    link : str
        "logit" or "log"; counts have "log".
    effect : float
        Coefficient of the arm.
    slope : float
        Coefficient of the covariate; zero for none.
    truth : str
        "coefficient", or the marginal "risk_difference", "risk_ratio" or "odds_ratio" (ratios as logarithms).
    cluster_size : int
        Units a cluster; zero for no clusters. Risks and rates then vary between clusters around the model's.
    exposure : bool
        Whether counts come from unequal times at risk.
    overdispersion : float
        Variance of a gamma multiplier of each unit's rate: the negative binomial's 1/theta.
    """

    n_per_arm: int = 80
    outcome: str = "binary"
    link: str = "logit"
    effect: float = 0.6
    slope: float = 0.0
    truth: str = "coefficient"
    cluster_size: int = 0
    exposure: bool = False
    overdispersion: float = 0.0

    @property
    def roles(self) -> Mapping[str, str]:
        """Role to column."""
        optional = (("cluster", self.cluster_size), ("covariates", self.slope), ("exposure", self.exposure))
        return {"outcome": "y", "arm": "arm", **{role: role for role, present in optional if present}}

    def frame(self, rng: np.random.Generator) -> tuple[Frame, float]:
        """Return a frame and the true contrast."""
        groups = 2 * self.n_per_arm
        member = np.repeat(np.arange(groups), max(self.cluster_size, 1))
        treated = np.repeat([0.0, 1.0], self.n_per_arm)[member]
        n = member.size
        x = rng.choice([-1.0, 1.0], n)
        mean = self._mean(treated, x)
        frame: Frame = {"arm": np.where(treated == 1.0, "new", "usual").tolist()}
        if self.outcome == "binary":
            if self.cluster_size:
                # A shift with mean zero that stays between no and full risk.
                mean = mean + mean * (1.0 - mean) * rng.uniform(-1.0, 1.0, groups)[member]
            frame["y"] = (rng.random(n) < mean).astype(float)
        else:
            time = rng.uniform(0.5, 3.0, n) if self.exposure else np.ones(n)
            rate = mean * time
            if self.cluster_size:
                rate = rate * rng.gamma(10.0, 0.1, groups)[member]
            if self.overdispersion:
                rate = rate * rng.gamma(1.0 / self.overdispersion, self.overdispersion, n)
            frame["y"] = rng.poisson(rate).astype(float)
            if self.exposure:
                frame["exposure"] = time
        if self.cluster_size:
            frame["cluster"] = [f"c{g:03d}" for g in member]
        if self.slope:
            frame["covariates"] = x
        return frame, self._truth()

    def _mean(self, treated: FloatArray, x: FloatArray) -> FloatArray:
        base = BASE[self.link] + (2.0 if self.outcome == "count" else 0.0)
        eta = base + self.effect * treated + self.slope * x
        return np.asarray(np.exp(eta) if self.link == "log" else 1.0 / (1.0 + np.exp(-eta)), dtype=np.float64)

    def _truth(self) -> float:
        if self.truth == "coefficient":
            return self.effect
        both = np.array([-1.0, 1.0])
        control, treated = (float(self._mean(np.full(2, arm), both).mean()) for arm in (0.0, 1.0))
        if self.truth == "risk_difference":
            return treated - control
        if self.truth == "risk_ratio":
            return float(np.log(treated / control))
        return float(np.log(treated / (1.0 - treated)) - np.log(control / (1.0 - control)))

    def check(self, frame: Frame) -> Trial:
        """Return the frame as a Trial."""
        roles: dict[str, Any] = {role: column for role, column in self.roles.items() if role not in ("outcome", "arm")}
        if "covariates" in roles:
            roles["covariates"] = [roles["covariates"]]
        return Trial(frame, outcome="y", arm="arm", control="usual", **roles)

    def null(self) -> ModelFrames:
        """Return the same trial without an effect."""
        return replace(self, effect=0.0)
