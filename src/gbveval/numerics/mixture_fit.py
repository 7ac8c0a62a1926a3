"""Hides how a distribution that is known by its quantiles becomes a mixture of a few normals."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gbveval.numerics.normal_mixture import NormalMixture

FloatArray = NDArray[np.float64]

# Normal scores between which a distribution is described; beyond them lies 2e-9 of it.
_REACH, _POINTS = 6.0, 801
_STEPS = 5000
MOST = 4


@dataclass(frozen=True, slots=True)
class FittedMixture:
    """A mixture of normals that stands for a distribution.

    Attributes
    ----------
    mixture : NormalMixture
        The mixture.
    divergence : float
        Kullback-Leibler divergence of the distribution from the mixture, in nats.
    """

    mixture: NormalMixture
    divergence: float


def fit_mixture(
    quantile: Callable[[FloatArray], FloatArray],
    log_density: Callable[[FloatArray], FloatArray],
    *,
    enough: float,
    components: int | None = None,
) -> FittedMixture:
    """Return the mixture of the fewest normals whose divergence is small enough, or of a given number.

    Maximises E[log mixture(X)] over weights, means and sds by expectation and maximisation (Dempster, Laird and Rubin
    1977), where X is the distribution itself, as weighted points: no draws, so that the answer is always the same.

    Parameters
    ----------
    quantile, log_density : callable
        Of the distribution.
    enough : float
        Divergence, in nats, below which no further component is added.
    components : int, optional
        How many normals; by default as few as are enough, at most four.
    """
    from scipy.special import ndtr

    score = np.linspace(-_REACH, _REACH, _POINTS)
    weight = np.exp(-0.5 * score**2)
    weight /= weight.sum()
    x = quantile(ndtr(score))
    own = float(weight @ log_density(x))
    found = None
    for number in (components,) if components else range(1, MOST + 1):
        mixture = _maximise(x, weight, number)
        found = FittedMixture(mixture, max(own - float(weight @ mixture.log_density(x)), 0.0))
        if found.divergence <= enough:
            break
    assert found is not None
    return found


def _maximise(x: FloatArray, weight: FloatArray, number: int) -> NormalMixture:
    mean, sd = float(weight @ x), float(np.sqrt(weight @ (x - weight @ x) ** 2))
    # One narrow and ever wider components at the centre: such is what is uncertain about its own spread.
    share = np.full(number, 1.0 / number)
    means = np.full(number, mean) + 1e-3 * sd * np.arange(number)
    sds = sd * np.geomspace(0.6, 2.0, number) if number > 1 else np.array([sd])
    last = -np.inf
    for _ in range(_STEPS):
        z = (x[:, None] - means) / sds
        log_part = np.log(share) - np.log(sds) - 0.5 * z * z
        log_total = np.logaddexp.reduce(log_part, axis=1)
        held = weight[:, None] * np.exp(log_part - log_total[:, None])
        share = np.maximum(held.sum(axis=0), 1e-12)
        means = (held * x[:, None]).sum(axis=0) / share
        sds = np.sqrt(np.maximum((held * (x[:, None] - means) ** 2).sum(axis=0) / share, (1e-6 * sd) ** 2))
        share /= share.sum()
        now = float(weight @ log_total)
        if now - last < 1e-11:
            break
        last = now
    return NormalMixture(tuple(share), tuple(means), tuple(sds))
