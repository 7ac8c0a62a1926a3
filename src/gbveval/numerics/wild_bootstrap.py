"""The wild cluster bootstrap from cluster cross-products: each draw costs clusters, whatever the number of rows.

With Z_g the rows of a cluster on the basis of the fit, A_g = Z_g'Z_g, M = (sum A_g)^-1 and a coefficient beta =
c'gamma, a bootstrap sample enters its t statistic only through scores f_g (k numbers a cluster) and one weight v_g a
cluster:

    beta* - null  = c'M w,                          w = sum_g v_g f_g,
    score of g    = v_g f_g - A_g M w,
    variance      = factor x sum_g (m_g' score_g)^2, m_g = M c (CV1) or (A - A_g)^-1 c (CV3, factor (G - 1)/G).

The scores are those of the fit that imposes beta = r (WCR) or of the unrestricted one (WCU); when transformed (variants
31 and 33) each cluster's residuals are taken from the fit without it:

    f_g = s_g + A_g N (N'(A - A_g) N)^-1 N's_g,     N a basis of the directions that the null leaves free.

Under the null beta = r the restricted scores are s_g + (beta_hat - r) A_g M c/(c'M c), linear in r. So numerator and
variance of every draw are linear and quadratic in r, and the interval by inversion needs no further draws.

References: Cameron, Gelbach and Miller (2008); Roodman, MacKinnon, Nielsen and Webb (2019), Stata Journal 19;
MacKinnon, Nielsen and Webb (2023), Journal of Applied Econometrics 38; Webb (2023), Canadian Journal of Economics
56, for the six-point weights.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gbveval.numerics.cluster_sandwich import ClusterCrossProducts
from gbveval.numerics.least_squares import LeastSquares
from gbveval.numerics.randomisation import Parts, join_parts

FloatArray = NDArray[np.float64]

WEBB = np.sqrt(np.array([0.5, 1.0, 1.5]))
# Numbers (draws x clusters) in one block of draws.
BLOCK = 2_000_000


@dataclass(frozen=True, eq=False, slots=True)
class WildBootstrap:
    """One coefficient, ready to be bootstrapped.

    Attributes
    ----------
    estimate, std_error : float
        Of the coefficient.
    influence : ndarray, shape (clusters,)
        Its sum of squares is the variance.
    base, slope : ndarray, shape (clusters, k)
        The bootstrap's scores are base + delta x slope, with delta the estimate minus the null.
    numerator : ndarray, shape (k,)
        M c.
    own : ndarray, shape (clusters, k)
        The square root of the factor times m_g.
    pull : ndarray, shape (clusters, k)
        The square root of the factor times M A_g m_g.
    singular : int
        Clusters without which the coefficient (or a score) is not identified: a pseudo-inverse was taken.
    """

    estimate: float
    std_error: float
    influence: FloatArray
    base: FloatArray
    slope: FloatArray
    numerator: FloatArray
    own: FloatArray
    pull: FloatArray
    singular: int

    def parts(self, weights: FloatArray) -> Parts:
        """Return numerator and variance of every draw, for weights of shape (draws, clusters).

        `statistic(delta)` of the result gives the bootstrap t statistics with the null at estimate minus delta.
        """
        rows = max(1, BLOCK // weights.shape[1])
        return join_parts([self._some(weights[i : i + rows]) for i in range(0, weights.shape[0], rows)])

    def _some(self, v: FloatArray) -> Parts:
        w0, t0 = self._terms(v, self.base)
        yy = np.einsum("bg,bg->b", t0, t0)
        if not self.slope.any():
            zero = np.zeros(v.shape[0])
            return Parts(w0, zero, yy, zero, zero)
        w1, t1 = self._terms(v, self.slope)
        return Parts(w0, -w1, yy, -np.einsum("bg,bg->b", t0, t1), np.einsum("bg,bg->b", t1, t1))

    def _terms(self, v: FloatArray, scores: FloatArray) -> tuple[FloatArray, FloatArray]:
        total = v @ scores
        return total @ self.numerator, v * np.einsum("gk,gk->g", self.own, scores) - total @ self.pull.T


def wild_bootstrap(
    fit: LeastSquares,
    sums: ClusterCrossProducts,
    coefficient: int,
    *,
    outcome: int = 0,
    restricted: bool = True,
    transformed: bool = False,
    jackknife: bool = False,
    factor: float = 1.0,
) -> WildBootstrap:
    """Prepare the bootstrap of one coefficient.

    Parameters
    ----------
    fit, sums : LeastSquares, ClusterCrossProducts
        The unrestricted fit and its cross-products.
    coefficient, outcome : int
        Position among the fit's coefficients (the intercept first) and outcomes.
    restricted : bool
        Whether the null is imposed on the bootstrap's scores (WCR), or not (WCU).
    transformed : bool
        Whether each cluster's scores come from the fit without it (variants 31, 33).
    jackknife : bool
        Whether the variance is CV3 (variants 13, 33), in place of CV1.
    factor : float
        Multiplies the CV1 variance: 1, G/(G - 1), or that times (n - 1)/(n - k).
    """
    m, gram, score = fit.basis.gram_inverse, sums.gram, sums.score[:, :, outcome]
    c = fit.basis.to_original[coefficient]
    count, k = score.shape
    solved = m @ c
    leverage = float(c @ solved)
    singular = 0
    if jackknife:
        left, lost = _inverse(gram.sum(axis=0)[None] - gram)
        singular += lost
        own = np.sqrt((count - 1.0) / count) * (left @ c)
    else:
        own = np.sqrt(factor) * np.broadcast_to(solved, (count, k))
    pull = np.einsum("ij,gjk,gk->gi", m, gram, own)
    base = score
    slope = gram @ (solved / leverage) if restricted else np.zeros_like(score)
    if transformed:
        free = _null_space(c) if restricted else np.eye(k)
        inner, lost = _inverse(free.T @ (gram.sum(axis=0)[None] - gram) @ free)
        singular += lost
        turn = np.eye(k)[None] + gram @ (free @ inner @ free.T)
        base, slope = (np.einsum("gij,gj->gi", turn, f) for f in (base, slope))
    influence = np.einsum("gk,gk->g", own, score)
    return WildBootstrap(
        estimate=float(fit.beta[coefficient, outcome]),
        std_error=float(np.sqrt(influence @ influence)),
        influence=influence,
        base=base,
        slope=slope,
        numerator=solved,
        own=np.asarray(own),
        pull=pull,
        singular=singular,
    )


def _null_space(c: FloatArray) -> FloatArray:
    """Return an orthonormal basis of the directions orthogonal to c, shape (k, k - 1)."""
    q, _ = np.linalg.qr(np.column_stack([c, np.eye(c.size)]))
    return np.asarray(q[:, 1 : c.size])


def _inverse(matrices: FloatArray) -> tuple[FloatArray, int]:
    """Return inverses of symmetric matrices (pseudo-inverses where singular), and how many were singular."""
    values, vectors = np.linalg.eigh((matrices + np.swapaxes(matrices, 1, 2)) / 2.0)
    if values.shape[1] == 0:
        return matrices, 0
    keep = values > 1e-10 * values[:, -1:]
    inverse = (vectors * np.where(keep, 1.0 / np.where(keep, values, 1.0), 0.0)[:, None, :]) @ np.swapaxes(
        vectors, 1, 2
    )
    return inverse, int(np.sum(~keep.all(axis=1)))


def sign_vectors(n_clusters: int) -> FloatArray:
    """Return all 2^G vectors of signs, one a row.

    Examples
    --------
    >>> sign_vectors(2).tolist()
    [[1.0, 1.0], [-1.0, 1.0], [1.0, -1.0], [-1.0, -1.0]]
    """
    bits = (np.arange(2**n_clusters)[:, None] >> np.arange(n_clusters)[None, :]) & 1
    return np.asarray(1.0 - 2.0 * bits, dtype=np.float64)


def draw_weights(kind: str, n_draws: int, n_clusters: int, rng: np.random.Generator) -> FloatArray:
    """Return random weights of mean zero and variance one: "rademacher" signs or Webb's six points."""
    signs: FloatArray = np.asarray(1.0 - 2.0 * rng.integers(0, 2, (n_draws, n_clusters)), dtype=np.float64)
    if kind == "rademacher":
        return signs
    return np.asarray(signs * WEBB[rng.integers(0, 3, (n_draws, n_clusters))], dtype=np.float64)
