"""The one mechanism for everything repeated: child generators, and Monte Carlo errors of what comes back."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]


def generator(seed: int, number: int) -> np.random.Generator:
    """Return the generator of one replicate: the same whatever the number of replicates, and whoever asks for it."""
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(number,)))


def generators(seed: int, count: int) -> Iterator[np.random.Generator]:
    """Yield one independent generator a replicate; replicate i is the same whatever the number of replicates.

    Examples
    --------
    >>> [int(rng.integers(100)) for rng in generators(1, 2)] == [int(rng.integers(100)) for rng in generators(1, 3)][:2]
    True
    """
    for number in range(count):
        yield generator(seed, number)


@dataclass(frozen=True, slots=True)
class Measured:
    """A quantity found by simulation.

    Parameters
    ----------
    value : float
        The Monte Carlo estimate.
    mcse : float
        Its Monte Carlo standard error.
    """

    value: float
    mcse: float


def mean_of(draws: FloatArray) -> Measured:
    """Return a mean over replicates with its Monte Carlo standard error."""
    n = draws.shape[0]
    spread = float(np.std(draws, ddof=1)) if n > 1 else float("nan")
    return Measured(float(np.mean(draws)), spread / float(np.sqrt(n)))


def share_of(hits: NDArray[np.bool_]) -> Measured:
    """Return a share of replicates with its binomial Monte Carlo standard error."""
    n = hits.shape[0]
    share = float(np.mean(hits))
    return Measured(share, float(np.sqrt(share * (1.0 - share) / n)))


def ratio_of(top: FloatArray, bottom: FloatArray, *, n_batches: int = 20) -> Measured:
    """Return mean(top) / sd(bottom) with a jackknife-by-batches Monte Carlo standard error.

    With top = standard errors and bottom = estimates this is the calibration of a standard error: 1 is right.
    """
    n = top.shape[0]
    whole = float(np.mean(top) / np.std(bottom, ddof=1))
    batches = np.array_split(np.arange(n), min(n_batches, n // 2))
    left_out = []
    for batch in batches:
        keep = np.ones(n, dtype=bool)
        keep[batch] = False
        left_out.append(float(np.mean(top[keep]) / np.std(bottom[keep], ddof=1)))
    count = len(left_out)
    spread = np.sqrt((count - 1) / count * np.sum((np.array(left_out) - np.mean(left_out)) ** 2))
    return Measured(whole, float(spread))


def binomial_band(expected: float, n_draws: int, *, false_alarm: float) -> tuple[float, float]:
    """Return the shares that a binomial with mean `expected` leaves only with probability `false_alarm`.

    Examples
    --------
    >>> low, high = binomial_band(0.95, 1000, false_alarm=1e-4)
    >>> low < 0.95 < high
    True
    """
    from scipy.special import bdtr, bdtrc

    counts = np.arange(n_draws + 1)
    lower = bdtr(counts.astype(float), n_draws, expected)
    upper = bdtrc(counts.astype(float) - 1.0, n_draws, expected)
    inside = np.flatnonzero((lower > false_alarm / 2.0) & (upper > false_alarm / 2.0))
    return float(inside[0] / n_draws), float(inside[-1] / n_draws)
