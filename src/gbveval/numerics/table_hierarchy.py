"""Hides the exact posterior of a hierarchy over site tables: quadrature over average, spread and what reporting hides.

Each site's counts say l_i(theta) of its effect (`table_likelihood`), effects are normal or Student-t around mu with
spread tau, and given (mu, tau) and the point of reporting the sites are independent. So

    p(theta_i | data) ~ l_i(theta) int p(mu, tau | data) / L_i(mu, tau) p(theta | mu, tau) d(mu, tau),

with L_i the site's likelihood with theta integrated out.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from gbveval.numerics.average_and_spread import AverageAndSpread, seen_spreads
from gbveval.numerics.hierarchy import existing_moments
from gbveval.numerics.hierarchy_quadrature import Panels, adaptive_panels
from gbveval.numerics.mixtures import GridDensity
from gbveval.numerics.priors import Normal, ScalePrior
from gbveval.numerics.site_effects_given import SiteEffectsGiven
from gbveval.numerics.smoothing import Smoother
from gbveval.numerics.table_likelihood import SiteLikelihoods

FloatArray = NDArray[np.float64]

# Spreads with less than this share of the probability are left out of the densities of effects.
_FAINT = 1e-11
# Nodes with less than this share of the heaviest are left out of joint draws.
_DRAWN = 1e-9
_TOLERANCE = 1e-6


@dataclass(frozen=True, slots=True, eq=False)
class HierarchyNodes:
    """The joint posterior of what the sites share, as weighted nodes.

    Attributes
    ----------
    point : ndarray of int, shape (nodes,)
        Which point of reporting.
    mu, tau, weight : ndarray, shape (nodes,)
        The weights sum to one.
    """

    point: NDArray[np.intp]
    mu: FloatArray
    tau: FloatArray
    weight: FloatArray


@dataclass(frozen=True, slots=True, eq=False)
class TableHierarchyFit:
    """The posterior. Terms are in the order: mu, the sites, a new site, tau.

    Attributes
    ----------
    margins : tuple of GridDensity
        One a term.
    covariance : ndarray, shape (terms + points' columns, ...)
        Of the terms and then of the columns of reporting; NaN where a variance is infinite.
    point_weight : ndarray, shape (points,)
        Posterior weights of the points of reporting.
    nodes : HierarchyNodes
        For joint draws.
    log_marginal_likelihood : float
        With a flat prior of the sites' levels only up to a constant.
    loo_pointwise : ndarray, shape (sites,)
        log p(y_i | the other sites), the site's effect integrated out.
    """

    margins: tuple[GridDensity, ...]
    covariance: FloatArray
    point_weight: FloatArray
    nodes: HierarchyNodes
    log_marginal_likelihood: float
    loo_pointwise: FloatArray


def table_hierarchy(
    likelihoods: SiteLikelihoods,
    *,
    mu_prior: Normal,
    tau_prior: ScalePrior,
    df: float | None = None,
    columns: FloatArray | None = None,
) -> TableHierarchyFit:
    """Fit a hierarchy to what each site's counts say of its effect.

    Parameters
    ----------
    likelihoods : SiteLikelihoods
        From `site_likelihoods`.
    mu_prior : Normal
        Of the average effect.
    tau_prior : ScalePrior
        Of the between-site sd; of the scale when effects are Student-t.
    df : float, optional
        Degrees of freedom of Student-t site effects; normal effects by default.
    columns : ndarray, shape (points, columns), optional
        Values of what is not known of reporting at its points, for the covariance.

    Raises
    ------
    ValueError
        If a prior is of the wrong kind, or `df` is below 0.5.

    Notes
    -----
    Means are good to about 1e-6 posterior sds.
    """
    if not isinstance(mu_prior, Normal):
        raise ValueError("The prior of the average effect must be Normal: counts may leave a flat one without an end.")
    if isinstance(tau_prior, Normal) or not tau_prior.tail_exponent > 1.0:
        raise ValueError("The between-site sd needs a proper prior on zero and above, such as HalfNormal.")
    if df is not None and not (np.isfinite(df) and df >= 0.5):
        raise ValueError(f"The degrees of freedom must be finite and at least 0.5; they are {df}.")
    sites = SiteEffectsGiven(likelihoods, df)
    exponent = tau_prior.tail_exponent + int(likelihoods.fading().sum())
    moments = existing_moments(exponent)
    model = AverageAndSpread(
        log_likelihood=sites.log_likelihood,
        log_weight=np.log(likelihoods.weight),
        mu_prior=mu_prior,
        tau_prior=tau_prior,
        leave_out=True,
        tolerance=_TOLERANCE,
    )
    marks = spread_marks(likelihoods, mu_prior, tau_prior)
    mu_panels, tau_panels = model.resolve(average_edges(likelihoods, mu_prior), marks, moments)
    t, log_weight, evidence = seen_spreads(tau_panels)
    mu_panels, _ = model.seen(mu_panels, t, log_weight)
    posterior = _Posterior(model, sites, mu_panels, np.exp(t), log_weight, float(evidence[0]))
    spread = GridDensity.from_panels(tau_panels, log_axis=True, finite_moments=moments)
    finite = _finite(likelihoods, df, moments)
    effects = posterior.densities(finite)
    average = GridDensity.from_panels(mu_panels, log_axis=False)
    return TableHierarchyFit(
        margins=(average, *effects, spread),
        covariance=posterior.covariance(columns, finite, moments),
        point_weight=posterior.share.sum(axis=(1, 2)),
        nodes=posterior.nodes(),
        log_marginal_likelihood=float(evidence[0]),
        loo_pointwise=evidence[0] - evidence[1:],
    )


def _finite(likelihoods: SiteLikelihoods, df: float | None, moments: int) -> list[int]:
    """Return how many moments the effects of the sites, and of a new one, have."""
    own = 2 if df is None else existing_moments(df + 1.0)
    open_ended = min(moments, own)
    return [2 if fades else open_ended for fades in likelihoods.fading()] + [open_ended]


def spread_marks(likelihoods: SiteLikelihoods, mu_prior: Normal, tau_prior: ScalePrior) -> FloatArray:
    """Return the ends of where the density of log tau has its structure."""
    scales = np.concatenate([_landmarks(likelihoods, mu_prior), tau_prior.log_landmarks()])
    # Only the ends: between them panels of width two do, and each costs time.
    return np.array([scales.min(), scales.max()])


def _landmarks(likelihoods: SiteLikelihoods, mu_prior: Normal) -> FloatArray:
    """Return logs of the scales between which the likelihood of tau varies."""
    best = likelihoods.best()
    widths = likelihoods.high - likelihoods.low
    scales = np.array([widths.min() / 4.0, np.ptp(best), np.abs(best - mu_prior.mean).max(), mu_prior.sd])
    marks: FloatArray = np.log(np.clip(scales[scales > 0.0], 1e-3, 16.0))
    return marks


def average_edges(likelihoods: SiteLikelihoods, mu_prior: Normal) -> FloatArray:
    """Return first panels of mu: through what the sites say, out to ten sds of the prior."""
    prior = mu_prior.mean + mu_prior.sd * np.array([-10.0, -6.0, -3.0, -1.5, 0.0, 1.5, 3.0, 6.0, 10.0])
    best = likelihoods.best()
    best = best[(best > prior[0]) & (best < prior[-1])]
    marks = np.unique(np.concatenate([prior, np.quantile(best, [0.0, 0.25, 0.5, 0.75, 1.0]) if best.size else prior]))
    edges: FloatArray = marks[np.concatenate([[True], np.diff(marks) > 0.02 * mu_prior.sd])]
    return edges


class _Posterior:
    """The joint posterior on nodes of reporting, average and spread, and what follows for the sites."""

    def __init__(
        self,
        model: AverageAndSpread,
        sites: SiteEffectsGiven,
        mu_panels: Panels,
        tau: FloatArray,
        log_weight: FloatArray,
        evidence: float,
    ) -> None:
        self.sites, self.mu_panels, self.tau = sites, mu_panels, tau
        self.mu = mu_panels.nodes.ravel()
        self.given = sites.given(self.mu, tau)
        each = self.given.log_likelihood
        prior = model.mu_prior.log_density(self.mu)[:, None] + model.tau_prior.log_density(tau) + np.log(tau)
        log_density = each.sum(axis=1) + model.log_weight[:, None, None] + prior + log_weight - evidence
        # Density in mu, mass in tau: (points, mu, tau).
        self.density = np.exp(log_density)
        self.share = self.density * mu_panels.weights.ravel()[:, None]
        self.share /= self.share.sum()
        with np.errstate(invalid="ignore"):
            self.without = np.where(
                np.isfinite(each), np.exp(log_density[:, None] - each + sites.top[:, None, None]), 0.0
            )

    def densities(self, finite: list[int]) -> list[GridDensity]:
        """Return the densities of the sites' effects and of a new site's."""
        kept = self.share.sum(axis=(0, 1)) > _FAINT
        tau = self.tau[kept]
        whole = self.density[..., kept].sum(axis=0)[None]
        weights = np.concatenate([self.without[..., kept].reshape(-1, len(self.mu), int(kept.sum())), whole])
        sds, weights = self.sites.spread_over(tau, weights)
        smoother = Smoother(self.mu_panels, tails=False)
        points = self.given.log_likelihood.shape[0]

        def log_density(theta: FloatArray) -> FloatArray:
            total = np.zeros((len(weights), len(theta)))
            for place, sd in enumerate(sds):
                total += weights[..., place] @ smoother.matrix(theta, float(sd)).T
            own = total[:-1] * np.exp(self.sites.log_at(theta))
            both = np.concatenate([own.reshape(points, -1, len(theta)).sum(axis=0), total[-1:]])
            with np.errstate(divide="ignore"):
                return np.asarray(np.log(np.maximum(both, 0.0)), dtype=np.float64)

        found = adaptive_panels(log_density, self._edges(float(tau[-1])), tolerance=_TOLERANCE)
        mean, sd = self._site_moments()
        average = float((self.share.sum(axis=(0, 2)) * self.mu).sum())
        both = zip([*mean, average], [*sd, self._new_sd()], finite, strict=True)
        # Heavy tails reach beyond any panels: the moments come from the nodes, where they are exact.
        return [
            replace(
                GridDensity.from_panels(found, log_axis=False, finite_moments=n, target=i),
                mean=float(m) if n >= 1 else np.nan,
                sd=float(s) if n >= 2 else np.inf,
            )
            for i, (m, s, n) in enumerate(both)
        ]

    def _new_sd(self) -> float:
        """Return the sd of a new site's effect, infinite for a t without one."""
        df, over_mu = self.sites.df, self.share.sum(axis=(0, 2))
        stretch = 1.0 if df is None else (df / (df - 2.0) if df > 2.0 else np.inf)
        spread = stretch * float((self.share * self.tau**2).sum())
        centred = self.mu - float(over_mu @ self.mu)
        return float(np.sqrt(spread + over_mu @ centred**2))

    def _edges(self, widest: float) -> FloatArray:
        """Return first panels of effects: through each site's mean, then ever wider."""
        mean, sd = self._site_moments()
        centre = float((self.share.sum(axis=(0, 2)) * self.mu).sum())
        near = np.quantile(np.concatenate([mean - sd, mean, mean + sd]), np.linspace(0.0, 1.0, 7))
        heavy = 1.0 if self.sites.df is None else float(min(1e7 ** (1.0 / self.sites.df), 1e4))
        reach = 9.0 * widest * heavy + float(np.ptp(self.mu))
        unit = max(float(np.ptp(near)), 1e-3)
        steps = unit * 2.0 ** np.arange(0.0, max(np.log2(reach / unit), 1.0) + 1.0)
        marks = np.unique(np.concatenate([near, centre - steps, centre + steps]))
        edges: FloatArray = marks[np.concatenate([[True], np.diff(marks) > 1e-3 * unit])]
        return edges

    def _site_moments(self) -> tuple[FloatArray, FloatArray]:
        mean = np.einsum("pmt,psmt->s", self.share, self.given.first + self.mu[:, None])
        centre = self.mu[:, None] - mean[:, None, None]
        square = self.given.second + 2.0 * self.given.first * centre + centre**2
        return mean, np.sqrt(np.maximum(np.einsum("pmt,psmt->s", self.share, square), 0.0))

    def covariance(self, columns: FloatArray | None, finite: list[int], moments: int) -> FloatArray:
        """Return the joint covariance of mu, sites, a new site, tau and the columns of reporting."""
        sites = self.given.first.shape[1]
        shape = self.share.shape
        grid = np.broadcast_to(self.mu[:, None], shape)
        means = [grid, *(self.given.first + self.mu[:, None]).swapaxes(0, 1), grid, np.broadcast_to(self.tau, shape)]
        if columns is not None:
            means += [np.broadcast_to(column[:, None, None], shape) for column in columns.T]
        flat = np.stack([part.reshape(-1) for part in means])
        weight = self.share.ravel()
        centred = flat - (flat @ weight)[:, None]
        joint = (centred * weight) @ centred.T
        within = np.maximum(self.given.second - self.given.first**2, 0.0)
        each = np.arange(1, 1 + sites)
        joint[each, each] += np.einsum("pmt,psmt->s", self.share, within)
        joint[1 + sites, 1 + sites] = self._new_sd() ** 2
        endless = np.array([False, *(n < 2 for n in finite), moments < 2, *[False] * (len(flat) - sites - 3)])
        joint[endless], joint[:, endless] = np.nan, np.nan
        return np.asarray(joint, dtype=np.float64)

    def nodes(self) -> HierarchyNodes:
        """Return the nodes that matter for draws."""
        kept = self.share > _DRAWN * self.share.max()
        point, mu, tau = np.nonzero(kept)
        weight = self.share[kept]
        return HierarchyNodes(point, self.mu[mu], self.tau[tau], weight / weight.sum())
