"""Hides the joint distribution of several arms that are compared with one control at several stages.

Z_kj = sqrt(1 - rho) A_kj - sqrt(rho) C_j + shift_kj, where A_k (of an arm) and C (of control) are independent standard
normal chains with the correlation of their information. Given the path of control the arms are independent, so every
probability is the mean, over paths, of products of probabilities of single arms (Magirr, Jaki and Whitehead 2012,
Biometrika 99). Paths are Gauss-Hermite nodes of control's increments; arms are carried from stage to stage on
Gauss-Legendre nodes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
# More stages would need a grid with one more dimension each.
MOST_STAGES = 3
# Given control, what happens to an arm changes smoothly, on the scale of its standard deviation. With equal stages and
# arms, twice these numbers change probabilities by less than 1e-7; with stages as unequal as 0.2, 0.7 and 0.1 by 1e-4.
PATHS, NODES, BEYOND = {1: 48, 2: 24, 3: 14}, 32, 24
FAR = 8.5


@dataclass(frozen=True, slots=True)
class Stages:
    """Bounds and shares of the stages.

    Attributes
    ----------
    information : tuple of float
        Shares of the information, increasing up to 1.
    upper, lower : tuple of float
        Bounds on z; at the last stage the lower one does not matter.
    correlation : float
        Between two arms at one stage, from the shared control.
    """

    information: tuple[float, ...]
    upper: tuple[float, ...]
    lower: tuple[float, ...]
    correlation: float


@lru_cache(maxsize=8)
def _paths(information: tuple[float, ...]) -> tuple[FloatArray, FloatArray]:
    """Return paths of control, shape (paths, stages), and their weights."""
    node, weight = np.polynomial.hermite_e.hermegauss(PATHS[len(information)])
    weight = weight / weight.sum()
    grids = np.meshgrid(*([node] * len(information)), indexing="ij")
    steps = np.stack([grid.ravel() for grid in grids], axis=1)
    weights = np.prod(np.stack([w.ravel() for w in np.meshgrid(*([weight] * len(information)), indexing="ij")]), axis=0)
    increments = np.sqrt(np.diff((0.0, *information)))
    paths = np.cumsum(steps * increments, axis=1) / np.sqrt(information)
    # Corners of the grid weigh nothing.
    kept = weights > 1e-14
    return paths[kept], weights[kept] / weights[kept].sum()


class _Arm:
    """One arm given each path of control, from stage to stage."""

    def __init__(self, stages: Stages, paths: FloatArray, shift: float) -> None:
        self.stages, self.paths, self.shift = stages, paths, shift
        self.z = np.zeros((len(paths), 1))
        self.mass = np.ones((len(paths), 1))
        self.before = 0.0
        self.dropped = np.zeros(len(paths))

    def scaled(self, stage: int, bound: float) -> FloatArray:
        """Return a bound on z as one on the arm's own chain, path by path."""
        rho, t = self.stages.correlation, self.stages.information[stage]
        drift = self.shift * math.sqrt(t)
        moved = bound + math.sqrt(rho) * self.paths[:, stage] - drift
        return np.asarray(moved / math.sqrt(1.0 - rho), dtype=np.float64)

    def step(self, stage: int) -> tuple[FloatArray, float]:
        """Return means and standard deviation of the chain at a stage given where it was."""
        kept = self.before / self.stages.information[stage]
        return math.sqrt(kept) * self.z, math.sqrt(1.0 - kept)

    def under(self, stage: int, bound: FloatArray) -> FloatArray:
        """Return the probability of going on to a stage and being below bounds there, shape (paths, bounds)."""
        from scipy.special import ndtr

        mean, sd = self.step(stage)
        return np.asarray(
            np.einsum("pn,pbn->pb", self.mass, ndtr((bound[:, :, None] - mean[:, None, :]) / sd)), dtype=np.float64
        )

    def density(self, stage: int, z: FloatArray) -> FloatArray:
        """Return the density of those going on to a stage, shape of `z`: (paths, values)."""
        mean, sd = self.step(stage)
        kernel = np.exp(-0.5 * ((z[:, :, None] - mean[:, None, :]) / sd) ** 2) / (sd * math.sqrt(2.0 * math.pi))
        return np.asarray(np.einsum("pn,pzn->pz", self.mass, kernel), dtype=np.float64)

    def go_on(self, stage: int) -> None:
        """Drop the arm below its lower bound, and carry on what lies between the bounds."""
        low, high = (self.scaled(stage, bounds[stage]) for bounds in (self.stages.lower, self.stages.upper))
        self.dropped = self.dropped + self.under(stage, low[:, None])[:, 0]
        node, weight = np.polynomial.legendre.leggauss(NODES)
        low, high = np.clip(low, -FAR, FAR), np.clip(high, -FAR, FAR)
        half = 0.5 * np.maximum(high - low, 0.0)
        z = 0.5 * (low + high)[:, None] + half[:, None] * node
        self.mass = half[:, None] * weight * self.density(stage, z)
        self.z, self.before = z, self.stages.information[stage]


def any_rejection(stages: Stages, arms: int) -> float:
    """Return the probability that any of several arms without an effect crosses an upper bound.

    Examples
    --------
    >>> round(any_rejection(Stages((1.0,), (2.0620830306,), (0.0,), 0.5), 3), 6)
    0.05
    """
    paths, weight = _paths(stages.information)
    arm, last = _Arm(stages, paths, 0.0), len(stages.information) - 1
    for stage in range(last):
        arm.go_on(stage)
    kept = arm.dropped + arm.under(last, arm.scaled(last, stages.upper[last])[:, None])[:, 0]
    return 1.0 - float(weight @ kept**arms)


def best_found(stages: Stages, arms: int, shift: float, other_shift: float) -> tuple[float, ...]:
    """Return the probabilities that the first arm crosses its upper bound at each stage, with the largest z of all.

    No other arm has crossed one before: the study stops as soon as any does.

    Parameters
    ----------
    arms : int
        Arms without control.
    shift, other_shift : float
        Mean of the last z of the first arm, and of the others.
    """
    paths, weight = _paths(stages.information)
    first, other = _Arm(stages, paths, shift), _Arm(stages, paths, other_shift)
    node, share = np.polynomial.legendre.leggauss(BEYOND)
    found = []
    for stage in range(len(stages.information)):
        low = np.clip(first.scaled(stage, stages.upper[stage]), -FAR, FAR)
        half = 0.5 * (FAR - low)
        z = 0.5 * (low + FAR)[:, None] + half[:, None] * node
        # The same z of the other arms on their own chains, which drift otherwise.
        root = math.sqrt(stages.information[stage] / (1.0 - stages.correlation))
        behind = other.dropped[:, None] + other.under(stage, z + (shift - other_shift) * root)
        ahead = half[:, None] * share * first.density(stage, z)
        found.append(float(weight @ (ahead * behind ** (arms - 1)).sum(axis=1)))
        if stage + 1 < len(stages.information):
            first.go_on(stage)
            other.go_on(stage)
    return tuple(found)


def common_factor(
    information: tuple[float, ...],
    shape: Sequence[float],
    lower: tuple[float, ...],
    arms: int,
    alpha: float,
    correlation: float,
) -> float:
    """Return the factor times `shape` at which upper bounds keep the probability of any false rejection at alpha."""
    from scipy.optimize import brentq

    def excess(c: float) -> float:
        upper = tuple(c * value for value in shape)
        kept = tuple(min(low, up) for low, up in zip(lower, upper, strict=True))
        return any_rejection(Stages(information, upper, kept, correlation), arms) - alpha

    return float(brentq(excess, 0.0, 8.0, xtol=1e-10, rtol=1e-12))
