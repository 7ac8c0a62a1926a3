"""Hides how an ordered outcome shifts between arms: by a common odds ratio."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gbveval.core.errors import DesignError
from gbveval.design._require import real


@dataclass(frozen=True, slots=True)
class Ordinal:
    """An ordered outcome, such as never, once, several times.

    Parameters
    ----------
    shares : tuple of float
        Shares of the categories in control, from the lowest to the highest; they sum to one. An effect is the common
        log odds ratio of a higher category, treated against control.

    Raises
    ------
    DesignError
        If there are fewer than two categories, a share is not above zero, or they do not sum to one.

    Examples
    --------
    >>> [round(share, 3) for share in Ordinal((0.5, 0.3, 0.2)).levels(0.7)[1]]
    [0.332, 0.333, 0.335]
    """

    shares: tuple[float, ...]

    def __post_init__(self) -> None:
        if not isinstance(self.shares, tuple) or len(self.shares) < 2:
            raise DesignError("shares must be a tuple of at least two shares, from the lowest category to the highest.")
        for share in self.shares:
            real("A share of a category", share, low=0.0, high=1.0)
        if not math.isclose(sum(self.shares), 1.0, abs_tol=1e-9):
            raise DesignError(f"shares must sum to 1; they sum to {sum(self.shares):g}.")

    def levels(self, effect: float) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Return the shares of the categories in control and in the treated arm."""
        real("An effect", effect, low=-math.inf, high=math.inf)
        from scipy.special import expit, logit

        above = 1.0 - np.cumsum(self.shares)[:-1]
        reached = np.concatenate([[1.0], expit(logit(above) + effect), [0.0]])
        return self.shares, tuple(float(share) for share in -np.diff(reached))

    def largest_effect(self, direction: str) -> float:
        """Return the size that effects in a direction stay below."""
        return math.inf

    def draw(self, effect: float, arm: NDArray[np.intp], rng: np.random.Generator) -> NDArray[np.float64]:
        """Return independent categories (0, 1, ...) of respondents, whose arm is 0 (control) or 1."""
        steps = np.cumsum(np.asarray(self.levels(effect)), axis=1)[:, :-1]
        return np.asarray((rng.random(arm.size)[:, None] > steps[arm]).sum(axis=1), dtype=np.float64)

    def truths(self, effect: float) -> dict[str, float]:
        """Return the true value of each contrast on its link scale; a win is a higher category."""
        control, treated = (np.asarray(shares) for shares in self.levels(effect))
        higher = float(treated @ (np.cumsum(control) - control))
        lower = float(control @ (np.cumsum(treated) - treated))
        wins = (1.0 + higher - lower) / 2.0
        odds = math.log(wins / (1.0 - wins))
        return {
            "odds_ratio": float(effect),
            "win_probability": odds,
            "win_difference": higher - lower,
            "win_odds": odds,
            "win_ratio": math.log(higher / lower),
        }
