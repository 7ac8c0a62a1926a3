"""The posterior of a hierarchy with Student-t site effects: quadrature over the average and the between-site scale."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gbveval.numerics.average_and_spread import AverageAndSpread, seen_spreads
from gbveval.numerics.hierarchy import checked_summaries, data_landmarks, existing_moments, posterior_tail_exponent
from gbveval.numerics.hierarchy_quadrature import Panels
from gbveval.numerics.mixtures import GridDensity
from gbveval.numerics.priors import Flat, Normal, ScalePrior
from gbveval.numerics.student_sites import Sites, mixing_nodes

FloatArray = NDArray[np.float64]

_GRADING = 3.0 ** -np.arange(0.0, 10.0)


@dataclass(frozen=True, slots=True, eq=False)
class StudentHierarchyFit:
    """Posterior of y_i ~ N(theta_i, se_i), theta_i ~ Student-t(df, location mu, scale tau).

    Attributes
    ----------
    y, se : ndarray, shape (sites,)
        The data.
    df : float
        Degrees of freedom of the site effects.
    mu, tau : GridDensity
        The average (the t's location) and the between-site scale, which is not the sd: that is tau sqrt(df / (df - 2)).
    theta_mean, theta_sd : ndarray, shape (sites,)
        Site effects.
    new_site_mean, new_site_sd : float
        Effect in a new site; NaN and infinite where they do not exist (always when df is at most 1 or 2).
    log_marginal_likelihood : float or None
        None when a prior is improper.
    loo_pointwise : ndarray, shape (sites,), or None
        log p(y_i | the other sites), the site's effect integrated out; None when the others alone leave no posterior.
    mu_panels : Panels
        Panels of the average.
    tau_nodes : ndarray, shape (nodes,)
        Nodes of the scale.
    density : ndarray, shape (panels, order, nodes)
        Joint density at the nodes, times the weight of the scale's node.
    """

    y: FloatArray
    se: FloatArray
    df: float
    mu: GridDensity
    tau: GridDensity
    theta_mean: FloatArray
    theta_sd: FloatArray
    new_site_mean: float
    new_site_sd: float
    log_marginal_likelihood: float | None
    loo_pointwise: FloatArray | None
    mu_panels: Panels
    tau_nodes: FloatArray
    density: FloatArray

    def theta_cdf(self, threshold: float) -> FloatArray:
        """Return P(theta_i <= threshold), shape (sites,).

        Notes
        -----
        As tau goes to 0 the probability given (mu, tau) becomes a step in mu at the threshold: the panels of mu are
        graded towards it. Takes a fraction of a second.
        """
        mu, weight = self._graded(threshold)
        sites = Sites(self.y, self.se, mixing_nodes(self.df))
        return sites.cdf(threshold, mu, self.tau_nodes, weight)

    def new_site_cdf(self, threshold: float) -> float:
        """Return P(effect in a new site <= threshold)."""
        from scipy.special import stdtr

        mu, weight = self._graded(threshold)
        return float((weight * stdtr(self.df, (threshold - mu[:, None]) / self.tau_nodes)).sum())

    def _graded(self, threshold: float) -> tuple[FloatArray, FloatArray]:
        """Return nodes of mu graded towards the threshold, and joint weights (nodes of mu, nodes of tau)."""
        low, high = self.mu_panels.low, self.mu_panels.high
        reach = max(high[-1] - threshold, threshold - low[0], 0.0)
        marks = np.concatenate([threshold - reach * _GRADING, [threshold], threshold + reach * _GRADING])
        pieces = [
            (panel, edges)
            for panel, (a, b) in enumerate(zip(low, high, strict=True))
            for edges in [np.concatenate([[a], np.sort(marks[(marks > a) & (marks < b)]), [b]])]
        ]
        parent = np.concatenate([np.full(len(edges) - 1, panel) for panel, edges in pieces])
        new_low = np.concatenate([edges[:-1] for _, edges in pieces])
        new_high = np.concatenate([edges[1:] for _, edges in pieces])
        fine = Panels(low=new_low, high=new_high, log_values=np.empty((0, 0, 0)))
        xi = (2.0 * fine.nodes - (low + high)[parent][:, None]) / (high - low)[parent][:, None]
        basis = np.polynomial.legendre.legvander(xi, self.density.shape[1] - 1)
        coefficients = np.einsum("ck,pkt->pct", self.mu_panels.transform, self.density)
        values = np.maximum(basis @ coefficients[parent], 0.0)
        weight = values * fine.weights[..., None]
        return fine.nodes.ravel(), weight.reshape(-1, weight.shape[-1])


def student_hierarchy(
    y: ArrayLike, se: ArrayLike, *, df: float, mu_prior: Normal | Flat, tau_prior: ScalePrior
) -> StudentHierarchyFit:
    """Fit a hierarchy whose site effects follow a Student-t distribution, so that one odd site pulls less.

    Each site's likelihood is integrated over its own effect (the t as a scale mixture of normals); the average and the
    scale are then a two-dimensional quadrature on panels that are split until resolved, also for every leave-one-out
    posterior.

    Parameters
    ----------
    y, se : array_like, shape (sites,)
        Site estimates and their known standard errors.
    df : float
        Degrees of freedom of the site effects, at least 0.5; large values approach `normal_hierarchy`.
    mu_prior, tau_prior : prior
        As for `normal_hierarchy`; `tau_prior` is for the scale of the t.

    Returns
    -------
    StudentHierarchyFit

    Raises
    ------
    ValueError
        If `df` is too small, or as for `normal_hierarchy`.

    Notes
    -----
    Errors are around 1e-7 posterior sds. Takes about a second for ten sites, and longer in proportion to their number.

    Examples
    --------
    >>> from gbveval.numerics.priors import HalfNormal, Normal
    >>> fit = student_hierarchy([0.1, 0.3], [0.1, 0.2], df=4.0, mu_prior=Normal(0, 1), tau_prior=HalfNormal(0.5))
    >>> round(fit.mu.mean, 2)
    0.16
    """
    data, errors = checked_summaries(y, se)
    if not (math.isfinite(df) and df >= 0.5):
        raise ValueError(f"The degrees of freedom must be finite and at least 0.5; they are {df}.")
    exponent = posterior_tail_exponent(len(data), mu_prior, tau_prior)
    sites = Sites(data, errors, mixing_nodes(df))
    leave_out = len(data) > 1
    try:
        posterior_tail_exponent(len(data) - 1, mu_prior, tau_prior)
    except ValueError:
        leave_out = False
    model = AverageAndSpread(
        log_likelihood=lambda mu, tau: sites.log_likelihood(mu, tau)[None],
        log_weight=np.zeros(1),
        mu_prior=mu_prior,
        tau_prior=tau_prior,
        leave_out=leave_out,
    )
    marks = np.concatenate([data_landmarks(data, errors, mu_prior), tau_prior.log_landmarks()])
    edges = _mu_edges(data, errors, df, mu_prior)
    mu_panels, tau_panels = model.resolve(edges, marks, existing_moments(exponent))
    return _summarise(model, sites, df, exponent, mu_panels, tau_panels)


def _mu_edges(y: FloatArray, se: FloatArray, df: float, mu_prior: Normal | Flat) -> FloatArray:
    """Return first panels of mu: through the estimates, then ever wider to where nothing is left."""
    marks = np.quantile(y, np.linspace(0.0, 1.0, 9)) if len(y) > 9 else y
    marks = np.concatenate([marks, [y[np.argmin(se)]]])
    if isinstance(mu_prior, Normal):
        marks = np.concatenate([marks, mu_prior.mean + mu_prior.sd * np.array([-10.0, -3.0, 0.0, 3.0, 10.0])])
        outside = 0.0
    else:
        # The tail of the likelihood in mu is a power: K sites of df + 1 each.
        outside = 10.0 ** min(16.0 / max(len(y) * (df + 1.0) - 1.0, 0.3), 40.0)
    width = max(float(np.ptp(y)), float(se.max()))
    growing = width * 2.0 ** np.arange(-1.0, max(math.log2(max(outside, 1.0)), 0.0) + 3.0)
    marks = np.concatenate([marks, y.min() - growing, y.max() + growing])
    marks = np.unique(marks)
    edges: FloatArray = marks[np.concatenate([[True], np.diff(marks) > 0.05 * float(se.min())])]
    return edges


def _summarise(
    model: AverageAndSpread, sites: Sites, df: float, exponent: float, mu_panels: Panels, tau_panels: Panels
) -> StudentHierarchyFit:
    t, log_weight, evidence = seen_spreads(tau_panels)
    mu_panels, joint = model.seen(mu_panels, t, log_weight)
    density = np.exp(joint - evidence[0])
    weight = (density * mu_panels.weights[..., None]).reshape(-1, len(t))
    theta_mean, theta_sd = sites.moments(mu_panels.nodes.ravel(), np.exp(t), weight / weight.sum())
    moments = existing_moments(exponent)
    mu_moments = 2 if model.mu_prior.is_proper else min(moments, existing_moments(len(sites.y) * (df + 1.0)))
    mu_density = GridDensity.from_panels(mu_panels, log_axis=False, finite_moments=mu_moments)
    tau_density = GridDensity.from_panels(tau_panels, log_axis=True, finite_moments=moments)
    new_moments = min(mu_moments, moments, existing_moments(df + 1.0))
    proper = model.mu_prior.is_proper and model.tau_prior.is_proper
    spread = df / (df - 2.0) * (tau_density.sd**2 + tau_density.mean**2) if new_moments == 2 else math.inf
    return StudentHierarchyFit(
        y=sites.y,
        se=sites.se,
        df=float(df),
        mu=mu_density,
        tau=tau_density,
        theta_mean=theta_mean,
        theta_sd=theta_sd,
        new_site_mean=mu_density.mean if new_moments >= 1 else math.nan,
        new_site_sd=math.sqrt(mu_density.sd**2 + spread),
        log_marginal_likelihood=float(evidence[0]) if proper else None,
        loo_pointwise=_leave_one_out(evidence, len(sites.y), proper),
        mu_panels=mu_panels,
        tau_nodes=np.exp(t),
        density=density,
    )


def _leave_one_out(evidence: FloatArray, sites: int, proper: bool) -> FloatArray | None:
    if len(evidence) > 1:
        scores: FloatArray = evidence[0] - evidence[1:]
        return scores
    return evidence.copy() if sites == 1 and proper else None
