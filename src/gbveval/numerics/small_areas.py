"""Shares of several small groups that resemble each other: a logit-normal hierarchy over effective counts.

With y_g events of n_g respondents in group g (effective numbers, which need not be whole),

    y_g ~ Binomial(n_g, p_g),  logit p_g ~ N(mu, tau^2),

and priors on mu and tau (Chen, Wakefield and Lumley 2014 use effective counts for design-based data). For each node
(mu, tau) the group's integral is a sum over bins of the log odds, in which the normal's probability is exact; nodes are
placed twice, the second time where the posterior is.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
LogDensity = Callable[[FloatArray], FloatArray]
# Log odds beyond this are shares below 1 in 160,000.
FARTHEST = 12.0
MU_NODES, TAU_NODES = 61, 60


@dataclass(frozen=True, eq=False, slots=True)
class SmallAreas:
    """The posterior of a hierarchy of shares, ready to be drawn from.

    Attributes
    ----------
    mu, tau : ndarray, shape (nodes,)
        Average and spread of the log odds at each node.
    weights : ndarray, shape (nodes,)
        Posterior probability of the node.
    edges : ndarray, shape (bins + 1,)
        Ends of the bins of the log odds.
    likelihood : ndarray, shape (groups, bins)
        Likelihood of each group in each bin, scaled to a largest value of one.
    spacing : tuple of float
        Distance of neighbouring nodes in mu and in tau.
    """

    mu: FloatArray
    tau: FloatArray
    weights: FloatArray
    edges: FloatArray
    likelihood: FloatArray
    spacing: tuple[float, float]

    def draw(self, count: int, rng: np.random.Generator) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Return joint draws of the groups' log odds, shape (count, groups), of mu and of tau, shape (count,).

        Nodes are taken in equal steps of their cumulated probability, then shuffled, so that they add no noise of their
        own.
        """
        steps = (np.arange(count) + 0.5) / count
        node = np.searchsorted(np.cumsum(self.weights) / self.weights.sum(), steps)
        node = rng.permutation(np.minimum(node, self.weights.size - 1))
        u = rng.random((count, self.likelihood.shape[0]))
        result = np.empty_like(u)
        for k in np.unique(node):
            mine = np.flatnonzero(node == k)
            chance = self.likelihood * bin_chances(self.edges, self.mu[k : k + 1], float(self.tau[k]))
            reached = np.concatenate([np.zeros((chance.shape[0], 1)), np.cumsum(chance, axis=1)], axis=1)
            for g in range(chance.shape[0]):
                result[mine, g] = np.interp(u[mine, g] * reached[g, -1], reached[g], self.edges)
        # Spread over the cell of their node, so that mu and tau take other values than those of the grid.
        away = rng.random((2, count)) - 0.5
        return result, self.mu[node] + away[0] * self.spacing[0], self.tau[node] + away[1] * self.spacing[1]


def bin_chances(edges: FloatArray, mu: FloatArray, tau: float) -> FloatArray:
    """Return the probability of each bin under normals of means `mu` and one spread, shape (means, bins)."""
    from scipy.special import ndtr

    return np.asarray(np.diff(ndtr((edges[None, :] - mu[:, None]) / tau), axis=1), dtype=np.float64)


def fit_small_areas(events: FloatArray, n: FloatArray, *, centre: LogDensity, spread: LogDensity) -> SmallAreas:
    """Return the posterior of the shares of groups.

    Parameters
    ----------
    events, n : ndarray, shape (groups,)
        Effective events and respondents; a group of nobody is predicted from the others.
    centre, spread : callable
        Log prior densities of mu and of tau.

    References
    ----------
    Chen, Wakefield and Lumley (2014), Spatial and Spatio-temporal Epidemiology 11. Gelman and Little (1997), Survey
    Methodology 23.

    Examples
    --------
    Groups of one kind are drawn together; the group of two follows the others:

    >>> flat = lambda x: np.zeros_like(x)
    >>> close = lambda x: -0.5 * (x / 0.1) ** 2
    >>> found = fit_small_areas(np.array([30.0, 31.0, 2.0]), np.array([100.0, 100.0, 2.0]), centre=flat, spread=close)
    >>> draws = found.draw(2000, np.random.default_rng(1))[0]
    >>> bool((1 / (1 + np.exp(-draws[:, 2]))).mean() < 0.4)
    True
    """
    share = (events + 0.5) / (n + 1.0)
    sharpest = 1.0 / np.sqrt(max(float(np.max(n * share * (1.0 - share))), 1.0))
    bins = int(np.clip(np.ceil(2.0 * FARTHEST / min(0.02, 0.2 * sharpest)), 1200, 20_000))
    edges = np.linspace(-FARTHEST, FARTHEST, bins + 1)
    likelihood = _likelihood(events, n, 0.5 * (edges[1:] + edges[:-1]))
    mu = np.linspace(-8.0, 8.0, MU_NODES)
    tau = np.linspace(0.0, 4.0, TAU_NODES + 1)
    for _ in range(2):
        middle = 0.5 * (tau[1:] + tau[:-1])
        log_weight = _log_posterior((mu, middle), edges, likelihood, centre, spread)
        weight = np.exp(log_weight - log_weight.max())
        weight /= weight.sum()
        on_mu, on_tau = weight.sum(axis=0), weight.sum(axis=1)
        final = (mu, middle, weight)
        centre_mu = float(on_mu @ mu)
        width = max(float(np.sqrt(on_mu @ (mu - centre_mu) ** 2)), 0.5 * float(mu[1] - mu[0]))
        mu = np.linspace(centre_mu - 6.0 * width, centre_mu + 6.0 * width, MU_NODES)
        last = int(np.searchsorted(np.cumsum(on_tau), 1.0 - 1e-5))
        tau = np.linspace(0.0, float(tau[min(last + 1, TAU_NODES)]), TAU_NODES + 1)
    means, spreads, weight = final
    return SmallAreas(
        mu=np.tile(means, spreads.size),
        tau=np.repeat(spreads, means.size),
        weights=weight.ravel(),
        edges=edges,
        likelihood=likelihood,
        spacing=(float(means[1] - means[0]), float(spreads[1] - spreads[0])),
    )


def _likelihood(events: FloatArray, n: FloatArray, log_odds: FloatArray) -> FloatArray:
    """Return binomial likelihoods on a grid of log odds, each scaled to a largest value of one."""
    kernel = events[:, None] * log_odds[None, :] - n[:, None] * np.logaddexp(0.0, log_odds)[None, :]
    return np.asarray(np.exp(kernel - kernel.max(axis=1, keepdims=True)), dtype=np.float64)


def _log_posterior(
    nodes: tuple[FloatArray, FloatArray],
    edges: FloatArray,
    likelihood: FloatArray,
    centre: LogDensity,
    spread: LogDensity,
) -> FloatArray:
    """Return the log posterior density, up to a constant, shape (tau, mu)."""
    mu, tau = nodes
    result = np.empty((tau.size, mu.size))
    for row, value in enumerate(tau):
        marginal = likelihood @ bin_chances(edges, mu, float(value)).T
        result[row] = np.log(np.maximum(marginal, 1e-300)).sum(axis=0)
    return np.asarray(result + centre(mu)[None, :] + spread(tau)[:, None], dtype=np.float64)
