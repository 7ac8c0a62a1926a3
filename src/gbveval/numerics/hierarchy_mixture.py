"""Hides the normal hierarchy whose average has a mixture of normals as its prior: a mixture of hierarchies.

With prior sum_k w_k N(m_k, s_k) of the average, and Z_k the marginal likelihood of the sites under component k alone,

    p(everything | data) = sum_k W_k p_k(everything | data),   W_k ~ w_k Z_k.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from gbveval.numerics.hierarchy import NormalHierarchyFit, log_evidence, normal_hierarchy
from gbveval.numerics.hierarchy_given_sd import SiteMeans
from gbveval.numerics.hierarchy_quadrature import Panels, panel_nodes
from gbveval.numerics.mixtures import GridDensity, NormalMixtures
from gbveval.numerics.normal_mixture import NormalMixture
from gbveval.numerics.priors import Flat, Normal, ScalePrior

FloatArray = NDArray[np.float64]


def mixture_hierarchy(
    y: FloatArray, se: FloatArray, *, mu_prior: NormalMixture, tau_prior: ScalePrior, **options: Any
) -> NormalHierarchyFit:
    """Fit a normal hierarchy with a mixture prior of the average, exactly.

    Parameters
    ----------
    y, se : ndarray, shape (sites,)
        Site estimates and standard errors.
    mu_prior : NormalMixture
        Prior of the average.
    tau_prior : ScalePrior
        A proper prior of the between-site sd.
    **options
        Moderators and the like, as for `normal_hierarchy`.

    Raises
    ------
    ValueError
        If the prior of the between-site sd is improper (a marginal likelihood has no scale then), or as for
        `normal_hierarchy`.
    """
    if not tau_prior.is_proper:
        raise ValueError(
            "With a mixture prior of the average the between-site sd needs a proper prior: how far the data support "
            "each component is a ratio of marginal likelihoods."
        )
    fits = [normal_hierarchy(y, se, mu_prior=part, tau_prior=tau_prior, **options) for part in mu_prior.components]
    log_each = np.log(mu_prior.weights) + np.array([fit.log_marginal_likelihood for fit in fits], dtype=float)
    whole = float(np.logaddexp.reduce(log_each))
    share = np.exp(log_each - whole)
    kept = share > 1e-14
    fits = [fit for fit, keep in zip(fits, kept, strict=True) if keep]
    share = share[kept] / share[kept].sum()
    return NormalHierarchyFit(
        y=fits[0].y,
        se=fits[0].se,
        mu_prior=mu_prior,
        tau_prior=tau_prior,
        site_means=fits[0].site_means,
        effects=_joined(fits, share),
        tau=_average_density([fit.tau for fit in fits], share),
        tau_nodes=np.concatenate([fit.tau_nodes for fit in fits]),
        log_marginal_likelihood=whole,
        pooling_site_mean=np.tensordot(share, [fit.pooling_site_mean for fit in fits], 1),
        weights_mean=np.tensordot(share, [fit.weights_mean for fit in fits], 1),
        typical_within_variance=fits[0].typical_within_variance,
        isq_mean=None if fits[0].isq_mean is None else float(share @ [fit.isq_mean or 0.0 for fit in fits]),
    )


def mixture_evidence(
    y: FloatArray,
    se: FloatArray,
    mu_prior: Normal | Flat | NormalMixture,
    tau_prior: ScalePrior,
    *,
    moderators: FloatArray | None = None,
    slope_priors: tuple[Normal, ...] = (),
) -> float:
    """Return the log marginal likelihood of the sites, with density 1 for flat priors."""

    def alone(part: Normal | Flat) -> float:
        means = SiteMeans.of(len(y), part, moderators=moderators, slope_priors=slope_priors)
        return log_evidence(y, se, means, part, tau_prior)

    if not isinstance(mu_prior, NormalMixture):
        return alone(mu_prior)
    return float(np.logaddexp.reduce(np.log(mu_prior.weights) + np.array([alone(x) for x in mu_prior.components])))


def _joined(fits: list[NormalHierarchyFit], share: FloatArray) -> NormalMixtures:
    """Return one mixture over the nodes of all."""
    effects = [fit.effects for fit in fits]
    loadings = [part.loadings for part in effects if part.loadings is not None]
    return NormalMixtures(
        weights=np.concatenate([w * part.weights for w, part in zip(share, effects, strict=True)]),
        means=np.concatenate([part.means for part in effects]),
        sds=np.concatenate([part.sds for part in effects]),
        loadings=np.concatenate(loadings) if len(loadings) == len(effects) else None,
        finite_moments=effects[0].finite_moments,
    )


def _average_density(parts: list[GridDensity], share: FloatArray) -> GridDensity:
    """Return the average of densities on one kind of axis, on panels within which each is one polynomial."""
    edges = np.unique(np.concatenate([np.append(part.low, part.high[-1]) for part in parts]))
    edges = edges[np.concatenate([[True], np.diff(edges) > 1e-12 * np.ptp(edges)])]
    nodes = panel_nodes(edges[:-1], edges[1:])
    value = np.exp(nodes)
    # The density of the logarithm, since the axis is one.
    density = sum(w * part.density(value) * value for w, part in zip(share, parts, strict=True))
    with np.errstate(divide="ignore"):
        log_values = np.log(np.asarray(density))[None]
    panels = Panels(low=edges[:-1], high=edges[1:], log_values=log_values)
    moments = 2 if np.isfinite(parts[0].sd) else (1 if np.isfinite(parts[0].mean) else 0)
    return GridDensity.from_panels(panels, log_axis=True, finite_moments=moments)
