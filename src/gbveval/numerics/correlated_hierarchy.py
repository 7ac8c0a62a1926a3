"""The exact posterior of a normal hierarchy over estimates that covary, such as subgroups that share clusters.

d ~ N(theta, V) with V known and dense, theta_s ~ N(mu, tau^2) independently, mu normal or flat. With the eigenvectors
V = U diag(lambda) U', x = U'1 and e = U'd, the rotated estimates are independent given tau: e_j ~ N(x_j mu, lambda_j +
tau^2). So, with w_j = 1 / (lambda_j + tau^2) and a prior precision p of mu (zero when flat),

    mu | tau, d      ~ N(m, v),   v = 1 / (p + sum w x^2),   m = v (p m_0 + sum w x e),
    theta | mu, tau, d ~ N(U [b x mu + (1 - b) e], U diag(lambda (1 - b)) U'),   b = lambda w,

and the likelihood of tau follows with mu integrated out. tau is integrated by quadrature, as in `hierarchy`, of which
this is the general case: with a diagonal V the two agree.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gbveval.numerics.hierarchy import data_landmarks, existing_moments, posterior_tail_exponent
from gbveval.numerics.hierarchy_quadrature import adaptive_panels, log_scale_edges
from gbveval.numerics.mixtures import GridDensity, NormalMixtures
from gbveval.numerics.priors import Flat, Normal, ScalePrior

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]
# A covariance whose smallest root is below this share of its largest is one of fewer quantities than it has rows.
SINGULAR = 1e-10


@dataclass(frozen=True, slots=True, eq=False)
class CorrelatedHierarchyFit:
    """Posterior of d ~ N(theta, V), theta_s ~ N(mu, tau).

    Attributes
    ----------
    effects : NormalMixtures
        Terms: mu, theta_1 ... theta_S, the effect in a new member; jointly normal given tau.
    tau : GridDensity
        The sd of effects.
    tau_nodes : ndarray, shape (nodes,)
        The values of tau that belong to the nodes of `effects`.
    pooling_mean : ndarray, shape (S,)
        E[(V (V + tau^2 I)^-1)_ss]: how much of an estimate's distance from mu is taken away; v / (v + tau^2) where V is
        diagonal.
    """

    effects: NormalMixtures
    tau: GridDensity
    tau_nodes: FloatArray
    pooling_mean: FloatArray

    @property
    def theta(self) -> NormalMixtures:
        """The effects, in the order of the data."""
        return self.effects.select(slice(1, -1))


def correlated_hierarchy(
    d: ArrayLike, V: ArrayLike, *, mu_prior: Normal | Flat, tau_prior: ScalePrior
) -> CorrelatedHierarchyFit:
    """Fit a normal hierarchy over estimates with a known joint covariance, exactly.

    Parameters
    ----------
    d : array_like, shape (S,)
        Estimates.
    V : array_like, shape (S, S)
        Their covariance, known and of full rank.
    mu_prior : Normal or Flat
        Prior of the mean of the effects.
    tau_prior : ScalePrior
        Prior of their standard deviation, proper unless S is above two.

    Raises
    ------
    ValueError
        If the covariance does not fit the estimates, is not finite or not of full rank; or if the posterior does not
        exist.

    References
    ----------
    Gelman et al. (2013), Bayesian Data Analysis, third edition, chapter 5, for independent estimates. Lindley and Smith
    (1972), Journal of the Royal Statistical Society B 34, for the posterior given the variances.

    Examples
    --------
    >>> from gbveval.numerics.priors import HalfNormal
    >>> V = [[4.0, 1.0], [1.0, 4.0]]
    >>> fit = correlated_hierarchy([0.0, 3.0], V, mu_prior=Flat(), tau_prior=HalfNormal(1.0))
    >>> fit.theta.mean.round(3).tolist()
    [1.214, 1.786]
    """
    turned = _Turned.of(np.array(d, dtype=float), np.array(V, dtype=float))
    exponent = posterior_tail_exponent(turned.size, mu_prior, tau_prior)

    def log_integrand(t: FloatArray) -> FloatArray:
        tau = np.exp(np.minimum(t, ceiling))
        return turned.given(tau, mu_prior)[2] + tau_prior.log_density(tau) + t

    upper = float(np.log(tau_prior.support_upper)) if np.isfinite(tau_prior.support_upper) else np.inf
    # exp(log(upper)) may round past the upper end, where the prior is zero.
    ceiling = np.nextafter(upper, -np.inf)
    errors = np.sqrt(np.concatenate([turned.roots, np.diag(turned.axes * turned.roots @ turned.axes.T)]))
    marks = np.concatenate([data_landmarks(turned.estimates, errors, mu_prior), tau_prior.log_landmarks()])
    moments = existing_moments(exponent)
    edges = log_scale_edges(log_integrand, marks, upper=upper, moments=moments)
    panels = adaptive_panels(log_integrand, edges, unresolved=lambda t, share: _moving(turned, mu_prior, t, share))
    log_values = panels.log_values[0].ravel()
    mass = panels.weights.ravel() * np.exp(log_values - log_values.max())
    tau = np.exp(panels.nodes.ravel())
    # Nodes that cannot be seen in any moment that exists only cost time.
    reach = np.maximum(tau / tau[np.argmax(mass)], 1.0) ** moments
    kept = mass * reach > 1e-19 * (mass * reach).max()
    tau, weights = tau[kept], mass[kept] / mass[kept].sum()
    finite = np.full(turned.size + 2, 2, dtype=np.intp)
    finite[-1] = moments
    finite[0] = 2 if mu_prior.is_proper else moments
    means, factors = turned.effects(tau, mu_prior)
    sds = np.sqrt((factors**2).sum(axis=2))
    pooled = turned.roots / (turned.roots + tau[:, None] ** 2)
    return CorrelatedHierarchyFit(
        effects=NormalMixtures(weights, means, sds, factors, finite),
        tau=GridDensity.from_panels(panels, log_axis=True, finite_moments=moments),
        tau_nodes=tau,
        pooling_mean=(turned.axes**2) @ (weights @ pooled),
    )


@dataclass(frozen=True, slots=True, eq=False)
class _Turned:
    """Estimates turned to the eigenvectors of their covariance, in coordinates shifted by `origin`."""

    estimates: FloatArray
    origin: float
    roots: FloatArray
    axes: FloatArray

    @classmethod
    def of(cls, d: FloatArray, V: FloatArray) -> _Turned:
        if d.ndim != 1 or not d.size or V.shape != (d.size, d.size):
            raise ValueError(f"{d.shape} estimates need a square covariance; its shape is {V.shape}.")
        if not (np.isfinite(d).all() and np.isfinite(V).all()):
            raise ValueError("Estimates and covariance must be finite.")
        roots, axes = np.linalg.eigh((V + V.T) / 2.0)
        if not roots[0] > SINGULAR * roots[-1]:
            raise ValueError(
                "The covariance of the estimates is not of full rank: some combination of them is known exactly."
            )
        # The most precise estimate is the origin, so that squares of a large common level lose no digits.
        return cls(d, float(d[np.argmin(np.diag(V))]), roots, axes)

    @property
    def size(self) -> int:
        return int(self.estimates.size)

    def given(self, tau: FloatArray, mu_prior: Normal | Flat) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Return mean and variance of mu (shifted) given tau, and the log likelihood of tau: vectors over nodes."""
        x, e = self.axes.sum(axis=0), (self.estimates - self.origin) @ self.axes
        w = 1.0 / (self.roots + tau[:, None] ** 2)
        total, first = w @ x**2, w @ (x * e)
        log_likelihood = 0.5 * np.log(w).sum(axis=1) - 0.5 * self.size * np.log(2.0 * np.pi)
        if isinstance(mu_prior, Normal):
            centre, precision = mu_prior.mean - self.origin, mu_prior.sd**-2.0
            total, first = total + precision, first + precision * centre
            mean = first / total
            log_likelihood -= np.log(mu_prior.sd) + 0.5 * precision * (centre - mean) ** 2
        else:
            mean = first / total
            log_likelihood += 0.5 * np.log(2.0 * np.pi)
        residual = e - x * mean[:, None]
        log_likelihood -= 0.5 * (w * residual**2).sum(axis=1) + 0.5 * np.log(total)
        return mean, 1.0 / total, log_likelihood

    def effects(self, tau: FloatArray, mu_prior: Normal | Flat) -> tuple[FloatArray, FloatArray]:
        """Return conditional means (nodes, S + 2) and factors (nodes, S + 2, S + 2) of mu, theta and a new effect.

        The first factor is what mu leaves uncertain, the next S are the eigenvectors, the last is a new effect's own.
        """
        x, e = self.axes.sum(axis=0), (self.estimates - self.origin) @ self.axes
        mu, variance, _ = self.given(tau, mu_prior)
        square = tau[:, None] ** 2
        b, rest = self.roots / (self.roots + square), square / (self.roots + square)
        size = self.size
        means = np.empty((tau.size, size + 2))
        means[:, 0] = means[:, -1] = mu
        means[:, 1:-1] = (b * x * mu[:, None] + rest * e) @ self.axes.T
        factors = np.zeros((tau.size, size + 2, size + 2))
        sd = np.sqrt(variance)
        factors[:, 0, 0] = factors[:, -1, 0] = sd
        factors[:, 1:-1, 0] = ((b * x) @ self.axes.T) * sd[:, None]
        factors[:, 1:-1, 1:-1] = self.axes * np.sqrt(self.roots * rest)[:, None, :]
        factors[:, -1, -1] = tau
        return means + self.origin, factors


def _moving(turned: _Turned, mu_prior: Normal | Flat, t: FloatArray, share: FloatArray) -> BoolArray:
    """Flag panels across which a conditional mean moves by many of its sds: the mixture would be a row of spikes."""
    flags = np.zeros(len(t), dtype=bool)
    heavy = np.flatnonzero(share > 1e-10)
    means, factors = turned.effects(np.exp(t[heavy].ravel()), mu_prior)
    sds = np.sqrt((factors**2).sum(axis=2))
    shape = (heavy.size, t.shape[1], -1)
    move = np.ptp(means.reshape(shape), axis=1) / sds.reshape(shape).min(axis=1)
    flags[heavy] = move.max(axis=1) > 4.0
    return flags
