"""Generalised linear models as functions of arrays: links, variances, whitened scores, Firth's adjustment.

With mu = g^-1(eta), eta = X beta + offset, d = dmu/deta, variance function V and prior weights w, the score is
sum of w d (y - mu) / V x and the expected information sum of w d^2 / V x x' (McCullagh and Nelder 1989). Both follow
from the whitened rows

    X* = (w / V)^(1/2) d x,      e* = (w / V)^(1/2) (y - mu),

since the score is X*'e* and the information X*'X*. Every covariance of the coefficients is then one of least squares on
the whitened rows.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gbveval.numerics.inference import normal_quantile

FloatArray = NDArray[np.float64]
# Beyond this linear predictor exp leaves double precision.
LARGEST_LOG = 700.0


@dataclass(frozen=True, slots=True)
class Family:
    """A family of outcomes and a link.

    Attributes
    ----------
    family : str
        "gaussian", "binomial", "poisson", "quasipoisson" or "negative_binomial".
    link : str
        "identity", "logit", "probit" or "log".
    theta : float
        Of the negative binomial, whose variance is mu + mu^2 / theta.
    """

    family: str
    link: str
    theta: float = float("inf")

    @property
    def has_dispersion(self) -> bool:
        """Whether the variance has a factor that is estimated."""
        return self.family in ("gaussian", "quasipoisson")

    def mean(self, eta: FloatArray) -> FloatArray:
        """Return the mean at a linear predictor."""
        from scipy.special import expit, ndtr

        if self.link == "logit":
            return np.asarray(expit(eta), dtype=np.float64)
        if self.link == "probit":
            return np.asarray(ndtr(eta), dtype=np.float64)
        if self.link == "log":
            return np.asarray(np.exp(np.minimum(eta, LARGEST_LOG)), dtype=np.float64)
        return eta

    def slope(self, eta: FloatArray) -> FloatArray:
        """Return d = dmu/deta."""
        mu = self.mean(eta)
        if self.link == "logit":
            return mu * self.mean(-eta)
        if self.link == "probit":
            return np.asarray(np.exp(-0.5 * eta**2) / np.sqrt(2.0 * np.pi), dtype=np.float64)
        return mu if self.link == "log" else np.ones_like(eta)

    def curvature(self, eta: FloatArray) -> FloatArray:
        """Return (d2mu/deta2) / (dmu/deta)."""
        if self.link == "logit":
            return 1.0 - 2.0 * self.mean(eta)
        if self.link == "probit":
            return -eta
        return np.ones_like(eta) if self.link == "log" else np.zeros_like(eta)

    def variance(self, mu: FloatArray, eta: FloatArray) -> FloatArray:
        """Return the variance function at a mean, accurate near the ends of its range."""
        if self.family == "gaussian":
            return np.ones_like(mu)
        if self.family == "binomial":
            return mu * (self.mean(-eta) if self.link in ("logit", "probit") else 1.0 - mu)
        return mu + mu**2 / self.theta

    def link_value(self, mu: float) -> float:
        """Return the linear predictor of a mean inside the range."""
        if self.link == "logit":
            return float(np.log(mu) - np.log1p(-mu))
        if self.link == "probit":
            return float(normal_quantile(mu))
        return float(np.log(mu)) if self.link == "log" else float(mu)

    def inside(self, eta: FloatArray) -> bool:
        """Whether all means have a positive variance."""
        if not np.isfinite(eta).all():
            return False
        if self.family == "binomial" and self.link in ("log", "identity"):
            mu = self.mean(eta)
            return bool(mu.min() > 0.0 and mu.max() < 1.0)
        if self.family in ("poisson", "quasipoisson"):
            return bool(self.mean(eta).min() > 0.0)
        return True


@dataclass(frozen=True, eq=False, slots=True)
class Whitened:
    """The rows of a fitted model on the scale of their standard deviation.

    Attributes
    ----------
    design : ndarray, shape (n, k)
        X*.
    residual : ndarray, shape (n,)
        e*.
    eta, mu : ndarray, shape (n,)
        Linear predictor and fitted mean.
    """

    design: FloatArray
    residual: FloatArray
    eta: FloatArray
    mu: FloatArray

    def dispersion(self) -> float:
        """Return Pearson's chi-square over rows minus coefficients."""
        n, k = self.design.shape
        return float(self.residual @ self.residual / (n - k)) if n > k else float("nan")


def whiten(
    family: Family,
    x: FloatArray,
    y: FloatArray,
    beta: FloatArray,
    *,
    offset: FloatArray | None = None,
    weight: FloatArray | None = None,
) -> Whitened:
    """Return the whitened rows at given coefficients.

    Parameters
    ----------
    family : Family
        Family and link.
    x : ndarray, shape (n, k)
        All columns, the constant included.
    y : ndarray, shape (n,)
        Outcomes.
    beta : ndarray, shape (k,)
        Coefficients.
    offset : ndarray, shape (n,), optional
        Added to the linear predictor.
    weight : ndarray, shape (n,), optional
        Prior weights.
    """
    eta = x @ beta if offset is None else x @ beta + offset
    mu = family.mean(eta)
    variance = family.variance(mu, eta)
    # A variance that has vanished belongs to a row without information: its mean is at the end of the range.
    usable = variance > 0.0
    root = np.where(usable, 1.0 / np.sqrt(np.where(usable, variance, 1.0)), 0.0)
    if weight is not None:
        root = root * np.sqrt(weight)
    return Whitened(x * (root * family.slope(eta))[:, None], (y - mu) * root, eta, mu)


def log_likelihood(
    family: Family, y: FloatArray, eta: FloatArray, weight: FloatArray | None = None
) -> tuple[float, FloatArray]:
    """Return the kernel of the log (quasi-)likelihood, unit dispersion, and its derivative by eta for each row.

    Parameters
    ----------
    family : Family
        Family and link.
    y, eta : ndarray, shape (n,)
        Outcomes and linear predictors, inside the range of the link.
    weight : ndarray, shape (n,), optional
        Prior weights.
    """
    from scipy.special import xlog1py, xlogy

    mu = family.mean(eta)
    if family.family == "gaussian":
        rows = np.asarray(-0.5 * (y - mu) ** 2, dtype=np.float64)
    elif family.family == "binomial":
        rows = np.asarray(xlogy(y, mu) + xlog1py(1.0 - y, -mu), dtype=np.float64)
    else:
        rows = np.asarray(xlogy(y, mu) - mu, dtype=np.float64)
    slope = (y - mu) * family.slope(eta) / family.variance(mu, eta)
    if weight is not None:
        rows, slope = rows * weight, slope * weight
    return float(rows.sum()), slope


def adjusted_score(
    family: Family,
    x: FloatArray,
    y: FloatArray,
    beta: FloatArray,
    *,
    offset: FloatArray | None = None,
    weight: FloatArray | None = None,
) -> FloatArray:
    """Return the score with Firth's adjustment, whose root has a mean bias of smaller order.

    Notes
    -----
    U(beta) + sum of h d' / (2 d) x, with h the leverage of the whitened row and d' the second derivative of the mean
    by the linear predictor (Kosmidis and Firth 2009; for the logit link h (1/2 - mu), Firth 1993). Unit dispersion.
    """
    white = whiten(family, x, y, beta, offset=offset, weight=weight)
    q, _ = np.linalg.qr(white.design)
    leverage = np.einsum("ij,ij->i", q, q)
    adjustment = 0.5 * leverage * family.curvature(white.eta)
    return np.asarray(white.design.T @ white.residual + x.T @ adjustment, dtype=np.float64)
