"""Draws of missing outcomes from a posterior, and the rules that pool the analyses of several completed data sets."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
DONORS = 5


@dataclass(frozen=True, eq=False, slots=True)
class NormalPosterior:
    """A linear regression fitted to the observed outcomes, and the rows whose outcome is missing.

    Attributes
    ----------
    gamma : ndarray, shape (k,)
        Least-squares coefficients on the basis.
    root : ndarray, shape (k, k)
        With root @ root.T = (Z'Z)^-1.
    residual_squares : float
        Residual sum of squares.
    df : int
        Rows minus coefficients.
    z, z_missing : ndarray, shape (observed, k) and (missing, k)
        The basis.
    y : ndarray, shape (observed,)
        Observed outcomes.
    """

    gamma: FloatArray
    root: FloatArray
    residual_squares: float
    df: int
    z: FloatArray
    z_missing: FloatArray
    y: FloatArray


def normal_posterior(z: FloatArray, y: FloatArray, z_missing: FloatArray) -> NormalPosterior:
    """Fit the regression; `z` has full rank and fewer columns than rows."""
    inverse = np.linalg.inv(z.T @ z)
    gamma = inverse @ (z.T @ y)
    residual = y - z @ gamma
    return NormalPosterior(
        gamma=gamma,
        root=np.asarray(np.linalg.cholesky((inverse + inverse.T) / 2.0), dtype=np.float64),
        residual_squares=float(residual @ residual),
        df=z.shape[0] - z.shape[1],
        z=z,
        z_missing=z_missing,
        y=y,
    )


def _draw_coefficients(fit: NormalPosterior, rng: np.random.Generator) -> tuple[FloatArray, float]:
    """Draw sigma^2 = RSS / chi^2(n - k), then the coefficients from N(gamma, sigma^2 (Z'Z)^-1)."""
    sigma = float(np.sqrt(fit.residual_squares / rng.chisquare(fit.df)))
    return fit.gamma + sigma * (fit.root @ rng.normal(size=fit.gamma.size)), sigma


def draw_normal(fit: NormalPosterior, rng: np.random.Generator) -> FloatArray:
    """Return one draw of the missing outcomes under the flat prior on (gamma, log sigma) (Rubin 1987)."""
    gamma, sigma = _draw_coefficients(fit, rng)
    return np.asarray(fit.z_missing @ gamma + sigma * rng.normal(size=fit.z_missing.shape[0]), dtype=np.float64)


def draw_matched(fit: NormalPosterior, rng: np.random.Generator, *, donors: int = DONORS) -> FloatArray:
    """Return one draw by predictive mean matching (Little 1988).

    Each missing outcome is that of a unit drawn from the observed ones whose predicted mean is nearest: the `donors`
    nearest, and all that are as near as the last of them. Means of donors are predicted with the least-squares
    coefficients, those of recipients with a draw of them.
    """
    gamma, _ = _draw_coefficients(fit, rng)
    known, wanted = fit.z @ fit.gamma, fit.z_missing @ gamma
    order = np.argsort(known, kind="stable")
    ranked = known[order]
    count = min(donors, ranked.size)
    place = np.searchsorted(ranked, wanted)
    window = np.clip(place[:, None] + np.arange(-count, count)[None, :], 0, ranked.size - 1)
    distance = np.abs(ranked[window] - wanted[:, None])
    # Clipping repeats the ends of the window; a donor counts once.
    repeated = np.concatenate([np.zeros((window.shape[0], 1), dtype=bool), np.diff(window, axis=1) == 0], axis=1)
    distance[repeated] = np.inf
    reach = np.partition(distance, count - 1, axis=1)[:, count - 1]
    # Predictions of people alike differ by rounding.
    reach = reach + 1e-9 * max(float(np.ptp(ranked)), 1e-300)
    low = np.searchsorted(ranked, wanted - reach, side="left")
    high = np.maximum(np.searchsorted(ranked, wanted + reach, side="right"), low + 1)
    chosen = np.minimum(low + (rng.random(wanted.size) * (high - low)).astype(np.intp), ranked.size - 1)
    return np.asarray(fit.y[order][chosen], dtype=np.float64)


def draw_binary(
    gamma: FloatArray, root: FloatArray, z_missing: FloatArray, rng: np.random.Generator, *, shift: float = 0.0
) -> FloatArray:
    """Return one draw of missing 0/1 outcomes of a logistic model, `shift` added to the log odds.

    Parameters
    ----------
    gamma : ndarray, shape (k,)
        Coefficients.
    root : ndarray, shape (k, k)
        With root @ root.T their covariance; their posterior is taken as normal (Rubin 1987).
    z_missing : ndarray, shape (missing, k)
        Columns of the rows to draw.
    rng : numpy.random.Generator
        One draw of coefficients, then one uniform number a row: the same for every shift.
    shift : float
        Added to the log odds.
    """
    drawn = gamma + root @ rng.normal(size=gamma.size)
    eta = z_missing @ drawn + shift
    u = rng.random(z_missing.shape[0])
    # u < 1 / (1 + exp(-eta)), in a form that does not overflow.
    return np.asarray(np.log(u) - np.log1p(-u) < eta, dtype=np.float64)


@dataclass(frozen=True, eq=False, slots=True)
class Pooled:
    """What several completed analyses say together.

    Attributes
    ----------
    value : ndarray, shape (terms,)
        Mean of the estimates.
    covariance : ndarray, shape (terms, terms)
        Total covariance.
    df : ndarray, shape (terms,)
        Degrees of freedom.
    missing_information : ndarray, shape (terms,)
        Estimated share of the information that is missing.
    within, between : ndarray, shape (terms,)
        Mean variance of the completed analyses, and variance of their estimates.
    relative_increase, share_between : ndarray, shape (terms,)
        r, the increase of the variance over `within`, and lambda, the share of the total that is between imputations.
    df_large, missing_large : ndarray, shape (terms,)
        Degrees of freedom and missing information if the completed analyses had infinitely many (Rubin 1987).
    """

    value: FloatArray
    covariance: FloatArray
    df: FloatArray
    missing_information: FloatArray
    within: FloatArray
    between: FloatArray
    relative_increase: FloatArray
    share_between: FloatArray
    df_large: FloatArray
    missing_large: FloatArray


def pool(values: FloatArray, covariances: FloatArray, complete_df: FloatArray) -> Pooled:
    """Pool m estimates by Rubin's rules.

    With means Q and U of estimates and covariances, and B the covariance of the estimates between imputations,

        T = U + (1 + 1/m) B,   r = (1 + 1/m) B / U,   lambda = (1 + 1/m) B / T,
        nu = 1 / (1 / nu_m + 1 / nu_obs),   nu_m = (m - 1) / lambda^2,
        nu_obs = (nu_com + 1) / (nu_com + 3) nu_com (1 - lambda),
        missing information = (r + 2 / (nu + 3)) / (r + 1)

    (Rubin 1987; degrees of freedom of Barnard and Rubin 1999).

    Parameters
    ----------
    values : ndarray, shape (m, terms)
        Estimates on the scale of inference.
    covariances : ndarray, shape (m, terms, terms)
        Their covariances.
    complete_df : ndarray, shape (terms,)
        Degrees of freedom if nothing were missing; infinite for the normal.

    Examples
    --------
    >>> found = pool(np.array([[1.0], [2.0], [3.0]]), np.full((3, 1, 1), 4.0), np.array([np.inf]))
    >>> float(found.value[0]), round(float(found.covariance[0, 0]), 4)
    (2.0, 5.3333)
    >>> round(float(found.df[0]), 4)  # (m - 1) / lambda^2 with lambda = 1/4
    32.0
    """
    m = values.shape[0]
    within = covariances.mean(axis=0)
    centred = values - values.mean(axis=0)
    between = (1.0 + 1.0 / m) * (centred.T @ centred) / (m - 1.0)
    total = within + between
    u, b, t = np.diag(within), np.diag(between), np.diag(total)
    with np.errstate(divide="ignore", invalid="ignore"):
        share = np.where(t > 0, b / t, 0.0)
        imputed = np.where(share > 0, (m - 1.0) / share**2, np.inf)
        observed = np.where(
            np.isfinite(complete_df), (complete_df + 1.0) / (complete_df + 3.0) * complete_df * (1.0 - share), np.inf
        )
        df = 1.0 / (1.0 / imputed + 1.0 / observed)
        ratio = np.where(u > 0, b / u, np.where(b > 0, np.inf, 0.0))
    return Pooled(
        value=values.mean(axis=0),
        covariance=total,
        df=df,
        missing_information=_missing_information(ratio, df),
        within=u,
        between=b / (1.0 + 1.0 / m),
        relative_increase=ratio,
        share_between=share,
        df_large=imputed,
        missing_large=_missing_information(ratio, imputed),
    )


def _missing_information(ratio: FloatArray, df: FloatArray) -> FloatArray:
    """Return the share of the information that is missing, (r + 2 / (df + 3)) / (r + 1)."""
    with np.errstate(invalid="ignore"):
        missing = np.where(np.isfinite(ratio), (ratio + 2.0 / (df + 3.0)) / (ratio + 1.0), 1.0)
    # Without any spread between imputations nothing is missing; 2 / (df + 3) is a correction for estimating it.
    return np.where(ratio > 0, missing, 0.0)
