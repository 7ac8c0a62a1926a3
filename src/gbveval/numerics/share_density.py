"""Hides how the posterior of a share with a beta prior is read off a few nodes of its likelihood."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from gbveval.numerics.hierarchy_quadrature import adaptive_panels
from gbveval.numerics.mixtures import GridDensity
from gbveval.numerics.priors import Beta

FloatArray = NDArray[np.float64]


def share_density(nodes: FloatArray, likelihood: FloatArray, prior: Beta) -> GridDensity:
    """Return the posterior density of a share.

    Parameters
    ----------
    nodes : ndarray, shape (n,)
        Gauss nodes of the prior, increasing.
    likelihood : ndarray, shape (n,)
        Likelihood there, everything else integrated out, up to a constant.
    prior : Beta
        The prior.

    Notes
    -----
    The log likelihood is a polynomial through the nodes, which lie where the prior does; beyond the outermost, where
    the prior is next to nothing, it goes on as a constant.
    """
    from scipy.interpolate import BarycentricInterpolator

    curve = BarycentricInterpolator(nodes, np.log(np.maximum(likelihood, np.finfo(float).tiny)))

    def log_density(share: FloatArray) -> FloatArray:
        own: FloatArray = curve(np.clip(share, nodes[0], nodes[-1])) + prior.log_density(share)
        return own

    edges = np.unique(np.concatenate([[0.0], nodes[[0, -1]], np.linspace(0.0, 1.0, 9)]))
    return GridDensity.from_panels(adaptive_panels(log_density, edges, tolerance=1e-7), log_axis=False)
