"""Exact hierarchies over counts for many simulated studies at once, each a choice of the tables that occur in any.

A table's likelihood of average and spread does not depend on the study that it is in, so it is found once; a study's
is the product over its sites, and panels are split until they serve every study.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from gbveval.numerics.average_and_spread import AverageAndSpread
from gbveval.numerics.hierarchy import existing_moments
from gbveval.numerics.hierarchy_quadrature import ORDER, Panels
from gbveval.numerics.mixtures import GridDensity
from gbveval.numerics.priors import Normal, ScalePrior
from gbveval.numerics.site_effects_given import SiteEffectsGiven
from gbveval.numerics.student_sites import log_sum
from gbveval.numerics.table_hierarchy import average_edges, spread_marks
from gbveval.numerics.table_likelihood import SiteLikelihoods

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.intp]
# Coarser than for one answer: what is left out of panels is about the square of it.
_TOLERANCE = 1e-4
STUDIES_AT_ONCE = 100
# Spreads down to 3^-12 of the range of averages are told from a step.
_GRADING = 3.0 ** -np.arange(0.0, 12.0)


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class _Studies(AverageAndSpread):
    """The joint density of average and spread, of several studies.

    Parameters
    ----------
    places : ndarray of int, shape (studies, sites)
        Which of the tables each site's is.
    """

    places: IntArray

    def log_joint(self, mu: FloatArray, t: FloatArray) -> FloatArray:
        """Return log prior x likelihood x d tau / d t, shape (studies, mu, t)."""
        each = self.log_likelihood(mu, np.exp(t))
        prior = self.mu_prior.log_density(mu)[:, None] + self.tau_prior.log_density(np.exp(t)) + t
        whole = sum((each[:, self.places[:, k]] for k in range(self.places.shape[1])), start=np.zeros(()))
        return np.asarray(log_sum(whole + self.log_weight[:, None, None, None], axis=0) + prior)


@dataclass(frozen=True, slots=True, eq=False)
class ManyTables:
    """Posteriors of several studies.

    Attributes
    ----------
    averages : tuple of GridDensity
        Of the average effect, one a study.
    panels : Panels
        Of the average.
    share : ndarray, shape (studies, averages, spreads)
        Posterior weights of nodes.
    tau : ndarray
        The nodes of the spread.
    df : float or None
        Degrees of freedom of Student-t effects.
    """

    averages: tuple[GridDensity, ...]
    panels: Panels
    share: FloatArray
    tau: FloatArray
    df: float | None

    def average_cdf(self, x: float) -> FloatArray:
        """Return P(average effect <= x) of every study."""
        return np.array([float(density.cdf(x)) for density in self.averages])

    def new_site_cdf(self, x: float) -> FloatArray:
        """Return P(effect in a new site <= x) of every study."""
        weight = self.panels.weights.ravel()[:, None]
        return np.asarray(np.einsum("smt,mt->s", self.share / weight, self._below(x)), dtype=np.float64)

    def _below(self, x: float) -> FloatArray:
        """Return the integrals of P(new site <= x | average, spread) times each node's polynomial, shape (mu, tau).

        As the spread goes to zero the probability becomes a step at x, between the nodes of the average. So panels are
        cut at distances from x that shrink by three, and the density is read off its polynomials there.
        """
        from scipy.special import ndtr, stdtr

        low, high = self.panels.low, self.panels.high
        reach = max(high[-1] - x, x - low[0], 0.0) * _GRADING
        marks = np.unique(np.concatenate([low, high[-1:], x - reach, [x], x + reach]))
        marks = marks[(marks >= low[0]) & (marks <= high[-1])]
        fine = Panels(low=marks[:-1], high=marks[1:], log_values=np.empty((0, 0, 0)))
        parent = np.searchsorted(high, 0.5 * (fine.low + fine.high))
        xi = (2.0 * fine.nodes - (low + high)[parent][:, None]) / (high - low)[parent][:, None]
        basis = np.polynomial.legendre.legvander(xi, ORDER - 1) @ self.panels.transform
        z = (x - fine.nodes[..., None]) / self.tau
        below = ndtr(z) if self.df is None else stdtr(self.df, z)
        pieces = np.einsum("fq,fqk,fqt->fkt", fine.weights, basis, below)
        found = np.zeros((len(low), ORDER, len(self.tau)))
        np.add.at(found, parent, pieces)
        return found.reshape(-1, len(self.tau))


def many_tables(
    likelihoods: SiteLikelihoods, places: IntArray, *, mu_prior: Normal, tau_prior: ScalePrior, df: float | None
) -> ManyTables:
    """Return the posteriors of studies made of tables.

    Parameters
    ----------
    likelihoods : SiteLikelihoods
        What every table that occurs says of its site's effect.
    places : ndarray of int, shape (studies, sites)
        Which of them each site of each study has.
    mu_prior, tau_prior, df
        As for `table_hierarchy`.
    """
    used, renumbered = np.unique(places, return_inverse=True)
    own = replace(likelihoods, log_values=likelihoods.log_values[:, used])
    sites = SiteEffectsGiven(own, df)
    model = _Studies(
        log_likelihood=sites.log_likelihood,
        log_weight=np.log(likelihoods.weight),
        mu_prior=mu_prior,
        tau_prior=tau_prior,
        leave_out=False,
        tolerance=_TOLERANCE,
        places=renumbered.reshape(places.shape),
    )
    moments = existing_moments(tau_prior.tail_exponent)
    mu_panels, tau_panels = model.resolve(average_edges(own, mu_prior), spread_marks(own, mu_prior, tau_prior), moments)
    mu, t = mu_panels.nodes.ravel(), tau_panels.nodes.ravel()
    log_share = model.log_joint(mu, t) + np.log(tau_panels.weights.ravel())
    over_mu = log_sum(log_share, axis=2).reshape(len(places), *mu_panels.nodes.shape)
    filled = Panels(mu_panels.low, mu_panels.high, over_mu)
    averages = tuple(GridDensity.from_panels(filled, log_axis=False, target=i) for i in range(len(places)))
    log_share += np.log(mu_panels.weights.ravel())[:, None]
    share = np.exp(log_share - log_share.max(axis=(1, 2), keepdims=True))
    share /= share.sum(axis=(1, 2), keepdims=True)
    return ManyTables(averages, filled, share, np.exp(t), df)
