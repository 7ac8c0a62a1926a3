"""Hides the algebra of a normal hierarchy once the between-site sd is known: everything is then jointly normal.

y_i ~ N(theta_i, se_i), theta_i ~ N(x_i'b, tau), b_j ~ N(m_j, s_j) or flat. With w_i = 1 / (se_i^2 + tau^2),

    b | tau, y          ~ N(P^-1 (S m + X'W y), P^-1),   P = S + X'W X,   S = diag(1 / s_j^2), zero where flat,
    theta_i | b, tau, y ~ N((1 - h_i) y_i + h_i x_i'b, se_i^2 (1 - h_i)),   h_i = se_i^2 w_i,

and the likelihood of tau follows with b integrated out (Lindley and Smith 1972). Without moderators X is a column of
ones and b is the average effect.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gbveval.numerics.priors import Flat, Normal

FloatArray = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class SiteMeans:
    """How the mean of the site effects depends on the sites, and what is believed of its coefficients.

    Attributes
    ----------
    X : ndarray, shape (sites, p)
        Ones, then moderators.
    prior_mean, prior_precision : ndarray, shape (p,)
        Of the coefficients; precision zero is flat.
    at : ndarray, shape (points, p)
        Where else the mean is wanted: the last point is that of a new site.
    """

    X: FloatArray
    prior_mean: FloatArray
    prior_precision: FloatArray
    at: FloatArray

    @classmethod
    def of(
        cls,
        sites: int,
        mu_prior: Normal | Flat,
        *,
        moderators: ArrayLike | None = None,
        slope_priors: tuple[Normal, ...] = (),
        at: ArrayLike | None = None,
    ) -> SiteMeans:
        """Return the design with an intercept, or raise ValueError when its parts do not fit."""
        slopes = np.zeros((sites, 0)) if moderators is None else np.array(moderators, dtype=float)
        if slopes.ndim != 2 or slopes.shape != (sites, len(slope_priors)) or not np.isfinite(slopes).all():
            raise ValueError(
                f"Moderators must be finite, one row a site and one column a prior of a slope: {sites} sites and "
                f"{len(slope_priors)} priors, but the shape is {slopes.shape}."
            )
        if not isinstance(mu_prior, Normal | Flat):
            raise ValueError(
                f"The prior of the average effect must be Normal or Flat; it is {type(mu_prior).__name__}."
            )
        if not all(isinstance(prior, Normal) for prior in slope_priors):
            raise ValueError("The prior of a slope must be Normal.")
        points = np.zeros((1, len(slope_priors))) if at is None else np.atleast_2d(np.array(at, dtype=float))
        priors = (mu_prior, *slope_priors)
        return cls(
            X=np.column_stack([np.ones(sites), slopes]),
            prior_mean=np.array([float(prior.mean) if isinstance(prior, Normal) else 0.0 for prior in priors]),
            prior_precision=np.array(
                [float(prior.sd) ** -2.0 if isinstance(prior, Normal) else 0.0 for prior in priors]
            ),
            at=np.column_stack([np.ones(len(points)), points]),
        )

    @property
    def flat(self) -> int:
        """Coefficients with a flat prior."""
        return int((self.prior_precision == 0.0).sum())


@dataclass(frozen=True, slots=True, eq=False)
class Coefficients:
    """The coefficients given tau, and the likelihood of tau: arrays over nodes, the intercept shifted by `origin`.

    Attributes
    ----------
    mean : ndarray, shape (nodes, p)
    root : ndarray, shape (nodes, p, p)
        R with R R' the covariance.
    """

    origin: float
    mean: FloatArray
    root: FloatArray
    log_likelihood: FloatArray

    @classmethod
    def at(cls, y: FloatArray, se: FloatArray, means: SiteMeans, tau: FloatArray) -> Coefficients:
        """Return them at every tau, shape (nodes,)."""
        # The most precise site is the origin: squared residuals of huge weight then lose nothing to rounding.
        origin = float(y[np.argmin(se)])
        shifted, centre = y - origin, means.prior_mean.copy()
        centre[0] -= origin
        scale = np.hypot(se, tau[:, None])
        w = scale**-2.0
        given = means.prior_precision
        first = (w * shifted) @ means.X + given * np.where(given > 0.0, centre, 0.0)
        root, log_root = _root_of_inverse(w, means)
        mean = np.einsum("nij,nkj,nk->ni", root, root, first)
        residual = (shifted - mean @ means.X.T) / scale
        log_likelihood = log_root - np.log(scale).sum(axis=1) - 0.5 * (residual**2).sum(axis=1)
        log_likelihood -= 0.5 * (len(y) - means.flat) * np.log(2.0 * np.pi)
        log_likelihood -= 0.5 * (given * np.where(given > 0.0, mean - centre, 0.0) ** 2).sum(axis=1)
        log_likelihood += 0.5 * np.log(given[given > 0.0]).sum()
        return cls(origin, mean, root, log_likelihood)


def _root_of_inverse(w: FloatArray, means: SiteMeans) -> tuple[FloatArray, FloatArray]:
    """Return R with R R' = P^-1 and its log determinant, over nodes."""
    X = means.X
    if X.shape[1] == 1:
        total = w @ X[:, 0] ** 2 + means.prior_precision[0]
        return (total**-0.5)[:, None, None], -0.5 * np.log(total)
    P = np.einsum("nk,ki,kj->nij", w, X, X) + np.diag(means.prior_precision)
    lower = np.linalg.cholesky(P)
    log_root = -np.log(np.diagonal(lower, axis1=1, axis2=2)).sum(axis=1)
    return np.linalg.inv(lower).transpose(0, 2, 1), log_root


@dataclass(frozen=True, slots=True, eq=False)
class Conditional:
    """Means, sds and loadings on common factors of (b, theta, means at `at`, new site) given tau.

    Attributes
    ----------
    means, sds : ndarray, shape (nodes, p + sites + points)
        The last is the effect in a new site at the last point, whose mean is not repeated.
    loadings : ndarray, shape (nodes, p + sites + points, p)
        On the factors of the coefficients.
    """

    means: FloatArray
    sds: FloatArray
    loadings: FloatArray

    @classmethod
    def at(cls, y: FloatArray, se: FloatArray, means: SiteMeans, tau: FloatArray) -> Conditional:
        """Return them at every tau, shape (nodes,)."""
        found = Coefficients.at(y, se, means, tau)
        scale = np.hypot(se, tau[:, None])
        to_mean, to_y = (se / scale) ** 2, (tau[:, None] / scale) ** 2
        fitted, elsewhere = found.mean @ means.X.T, found.mean @ means.at.T
        theta = to_y * (y - found.origin) + to_mean * fitted
        centre = found.mean.copy()
        centre[:, 0] += found.origin
        loadings = np.concatenate(
            [found.root, to_mean[..., None] * (means.X @ found.root), means.at @ found.root], axis=1
        )
        rest = np.zeros(loadings.shape[:2])
        size = found.mean.shape[1]
        rest[:, size : size + len(y)] = se * tau[:, None] / scale
        rest[:, -1] = tau
        return cls(
            means=np.concatenate([centre, found.origin + theta, found.origin + elsewhere], axis=1),
            sds=np.sqrt((loadings**2).sum(axis=2) + rest**2),
            loadings=loadings,
        )
