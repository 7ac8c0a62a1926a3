"""Small-sample inference for linear mixed models: Satterthwaite's and Kenward and Roger's."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gbveval.numerics.mixed_linear import MixedLinear

FloatArray = NDArray[np.float64]


@dataclass(frozen=True, eq=False, slots=True)
class MixedInference:
    """Covariance of the coefficients on their own columns, and degrees of freedom of each.

    Attributes
    ----------
    covariance : ndarray, shape (k, k)
    df : ndarray, shape (k,)
    spread : ndarray, shape (components + 1, components + 1)
        Approximate covariance of the variance components (the residual's first) over the squared residual variance; NaN
        for those at zero under Satterthwaite.
    """

    covariance: FloatArray
    df: FloatArray
    spread: FloatArray

    def df_of(self, fit: MixedLinear, weights: FloatArray) -> float:
        """Return the degrees of freedom of a weighted sum of coefficients."""
        return float(_df(fit, weights[None, :] @ fit.sums.basis.to_original, self.spread)[0])


def satterthwaite(fit: MixedLinear) -> MixedInference:
    """Return the model covariance with Satterthwaite's degrees of freedom for each coefficient.

    df = 2 v^2 / (g'Wg) with v = l'(X'V^-1 X)^-1 l, g its derivative in the variance components and W the inverse of
    half the observed second derivative of -2 log REML (Giesbrecht and Burns 1985; Fai and Cornelius 1996). A component
    estimated at zero is taken as known.
    """
    found = fit.pieces
    used = np.concatenate([[True], fit.ratios > 0])
    hessian = -found.trace_pair + 2.0 * found.quad_pair / fit.residual_variance
    inner = np.linalg.inv(hessian[np.ix_(used, used)])
    spread = np.full(hessian.shape, np.nan)
    spread[np.ix_(used, used)] = 2.0 * inner
    to = fit.sums.basis.to_original
    covariance = fit.residual_variance * to @ found.phi @ to.T
    return MixedInference(covariance, _df(fit, to, spread), spread)


def kenward_roger(fit: MixedLinear) -> MixedInference:
    """Return Kenward and Roger's adjusted covariance and degrees of freedom for each coefficient.

    With Phi = (X'V^-1 X)^-1, G_i = dV/ds_i, P_i = -X'V^-1 G_i V^-1 X, Q_ij = X'V^-1 G_i V^-1 G_j V^-1 X and W twice the
    inverse of tr(P G_i P G_j), the covariance is Phi + 2 Phi (sum_ij W_ij (Q_ij - P_i Phi P_j)) Phi; variances enter V
    linearly, so second derivatives vanish. For a single coefficient l the F approximation reduces to
    df = 2 (l'Phi l)^2 / sum_ij W_ij (l'Phi P_i Phi l)(l'Phi P_j Phi l), with no rescaling of the statistic
    (Kenward and Roger 1997).
    """
    found = fit.pieces
    phi = found.phi
    spread: Any = 2.0 * np.linalg.pinv(found.trace_pair, rcond=1e-12, hermitian=True)
    inner = found.q - np.einsum("ikl,lm,jmn->ijkn", found.c, phi, found.c)
    middle = np.einsum("ij,ijkl->kl", spread, inner)
    adjusted = phi + 2.0 * phi @ ((middle + middle.T) / 2.0) @ phi
    to = fit.sums.basis.to_original
    covariance = fit.residual_variance * to @ adjusted @ to.T
    return MixedInference(covariance, _df(fit, to, spread), spread)


def _df(fit: MixedLinear, directions: FloatArray, spread: FloatArray) -> FloatArray:
    """Return 2 v^2 / (g'Wg) for each row of `directions`; the units of the residual variance cancel."""
    found = fit.pieces
    across = directions @ found.phi
    variance = np.einsum("dk,dk->d", across, directions)
    slope = np.einsum("dk,ikl,dl->di", across, found.c, across)
    known = ~np.isnan(np.diag(spread))
    weight = spread[np.ix_(known, known)]
    result: FloatArray = 2.0 * variance**2 / np.einsum("di,ij,dj->d", slope[:, known], weight, slope[:, known])
    return result
