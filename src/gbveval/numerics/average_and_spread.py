"""Hides the quadrature over the average and the spread of site effects, whatever each site's likelihood given both.

One function, sites' log likelihoods with the site's own effect integrated out, is all that is asked of the sites. The
average and the log of the spread are integrated on panels that are split until resolved, for all the data and without
each site, so that leaving one site out costs no refit.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gbveval.numerics.hierarchy_quadrature import Panels, adaptive_panels, log_scale_edges
from gbveval.numerics.priors import Flat, Normal, ScalePrior
from gbveval.numerics.student_sites import log_sum

FloatArray = NDArray[np.float64]

_SEEN = 1e-13


@dataclass(frozen=True, slots=True, eq=False)
class AverageAndSpread:
    """The joint density of average and spread.

    Parameters
    ----------
    log_likelihood : callable
        Maps averages (m,) and spreads (t,) to (points, sites, m, t): log likelihoods at every point of what else is not
        known.
    log_weight : ndarray, shape (points,)
        Log prior weights of those points.
    mu_prior, tau_prior : prior
        Of average and spread.
    leave_out : bool
        Whether the posteriors without each site are wanted.
    tolerance : float
        Of the panels; the error of integrals is about its square.
    """

    log_likelihood: Callable[[FloatArray, FloatArray], FloatArray]
    log_weight: FloatArray
    mu_prior: Normal | Flat
    tau_prior: ScalePrior
    leave_out: bool
    tolerance: float = 1e-7

    @property
    def inside(self) -> float:
        """The largest log spread that the prior allows."""
        end = self.tau_prior.support_upper
        return math.nextafter(math.log(end), -math.inf) if math.isfinite(end) else math.inf

    def log_joint(self, mu: FloatArray, t: FloatArray) -> FloatArray:
        """Return log prior x likelihood x d tau / d t, shape (targets, mu, t): all sites, then without each."""
        each = self.log_likelihood(mu, np.exp(t))
        prior = self.mu_prior.log_density(mu)[:, None] + self.tau_prior.log_density(np.exp(t)) + t
        whole = self._over_points(each.sum(axis=1))[None] + prior
        if not self.leave_out:
            return np.asarray(whole)
        # Sums of the sites before and after, not the whole minus one: a vanishing likelihood would leave inf - inf.
        none = np.zeros_like(each[:, :1])
        before = np.concatenate([none, np.cumsum(each[:, :-1], axis=1)], axis=1)
        after = np.concatenate([np.cumsum(each[:, :0:-1], axis=1)[:, ::-1], none], axis=1)
        return np.concatenate([whole, self._over_points(before + after) + prior])

    def _over_points(self, values: FloatArray) -> FloatArray:
        if len(values) == 1:
            only: FloatArray = values[0]
            return only
        return log_sum(values + self.log_weight.reshape(-1, *[1] * (values.ndim - 1)), axis=0)

    def log_marginal(self, panels: Panels, t: FloatArray) -> FloatArray:
        """Return the integral over mu on the nodes of `panels`, shape (targets, t)."""
        joint = self.log_joint(panels.nodes.ravel(), t)
        marginal: FloatArray = log_sum(joint + np.log(panels.weights.ravel())[:, None], axis=1)
        return marginal

    def resolve(self, mu_edges: FloatArray, tau_marks: FloatArray, moments: int) -> tuple[Panels, Panels]:
        """Return panels of mu, and of t = log tau with the integral over mu, both resolved for every target."""
        coarse = Panels(low=mu_edges[:-1], high=mu_edges[1:], log_values=np.empty((0, 0, 0)))
        inside = self.inside
        tau_edges = log_scale_edges(
            lambda t: self.log_marginal(coarse, np.minimum(t, inside)),
            tau_marks,
            upper=math.log(self.tau_prior.support_upper) if math.isfinite(inside) else math.inf,
            moments=moments,
        )
        scan = np.minimum(tau_edges, inside)
        level = self.log_marginal(coarse, scan)
        # The coarse integral may be wrong by a lot: keep everything that could matter.
        scan = scan[(level > level.max(axis=1, keepdims=True) - 30.0).any(axis=0)]

        def over_mu(mu: FloatArray) -> FloatArray:
            joint: FloatArray = self.log_joint(mu, scan)
            return joint.transpose(0, 2, 1).reshape(-1, len(mu))

        mu_panels = _with_mass(adaptive_panels(over_mu, mu_edges, tolerance=self.tolerance))
        tau_panels = adaptive_panels(
            lambda t: self.log_marginal(mu_panels, np.minimum(t, inside)), tau_edges, tolerance=self.tolerance
        )
        return mu_panels, tau_panels

    def seen(self, panels: Panels, t: FloatArray, log_weight: FloatArray) -> tuple[Panels, FloatArray]:
        """Return the panels of mu with any probability and mu's marginal density, and the joint table there."""
        joint = self.log_joint(panels.nodes.ravel(), t)[0] + log_weight
        marginal = log_sum(joint, axis=1).reshape(panels.nodes.shape)
        share = (np.exp(marginal - marginal.max()) * panels.weights).sum(axis=1)
        kept = share > _SEEN * share.sum()
        found = Panels(low=panels.low[kept], high=panels.high[kept], log_values=marginal[None, kept])
        return found, joint.reshape(*marginal.shape, -1)[kept]


def _with_mass(panels: Panels) -> Panels:
    """Return the panels between the first and the last in which any target has any of its integral."""
    values = panels.log_values - panels.log_values.max(axis=(1, 2), keepdims=True)
    share = (np.exp(values) * panels.weights).sum(axis=2)
    kept = np.flatnonzero((share > 1e-2 * _SEEN * share.sum(axis=1, keepdims=True)).any(axis=0))
    inside = slice(kept[0], kept[-1] + 1)
    return Panels(panels.low[inside], panels.high[inside], panels.log_values[:, inside])


def seen_spreads(tau_panels: Panels) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return nodes of t that hold any probability, their log weights, and the log evidence of every target."""
    values = tau_panels.log_values + np.log(tau_panels.weights)
    evidence = log_sum(values.reshape(len(values), -1), 1)
    share = np.exp(values[0] - evidence[0]).ravel()
    kept = share > _SEEN * share.max()
    return tau_panels.nodes.ravel()[kept], np.log(tau_panels.weights.ravel())[kept], evidence
