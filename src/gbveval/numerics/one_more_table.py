"""Hides what one more site's counts are expected to teach about the average: sites drawn, the posterior re-weighted.

With nodes i of (reporting, average, spread) and weights w_i, a new site's table y turns the weights into
w_i L_y(i) / sum w L_y, with L_y its likelihood given the node, level and effect integrated out. Nothing is refitted.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gbveval.numerics.hierarchy_quadrature import Panels
from gbveval.numerics.mixtures import GridDensity
from gbveval.numerics.priors import Normal
from gbveval.numerics.site_effects_given import SiteEffectsGiven
from gbveval.numerics.table_hierarchy import TableHierarchyFit
from gbveval.numerics.table_likelihood import Reported, Tables, site_likelihoods

FloatArray = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class OneMoreTable:
    """What one more site is expected to teach about the average.

    Attributes
    ----------
    probability_now : float
        P(average beyond the threshold).
    assurance, assurance_error : float
        Predictive probability that it reaches the one that is needed, and its Monte Carlo standard error.
    evsi, evsi_error : float
        Expected value of the new counts, and its Monte Carlo standard error.
    evppi : float
        Expected value of knowing the average.
    """

    probability_now: float
    assurance: float
    assurance_error: float
    evsi: float
    evsi_error: float
    evppi: float


def one_more_table(  # noqa: PLR0913 - the posterior, the new site, and the decision
    fit: TableHierarchyFit,
    reported: Reported,
    control: Normal,
    total: tuple[float, float],
    *,
    poisson: bool,
    df: float | None,
    threshold: float,
    sign: float,
    probability_needed: float,
    n_draws: int,
    rng: np.random.Generator,
) -> OneMoreTable:
    """Return what one more site with so many people an arm is worth for a decision about the average effect.

    Parameters
    ----------
    fit : TableHierarchyFit
        The posterior so far.
    reported : Reported
        Which events are seen.
    control : Normal
        Prior of a site's level in control.
    total : (float, float)
        People, or exposure, of the new site in control and in intervention.
    poisson : bool
        Whether `total` is exposure.
    df : float or None
        Degrees of freedom of Student-t effects.
    threshold, sign, probability_needed : float
        The decision: go on if P(sign (average - threshold) > 0) is at least so large.
    n_draws : int
        New sites to draw.
    rng : numpy.random.Generator
        Where they come from.
    """
    events = _new_events(fit, reported, control, total, poisson, df, n_draws, rng)
    seen, which = np.unique(events, axis=0, return_inverse=True)
    average = fit.margins[0]
    updated = _updated(fit, Tables(seen, np.tile(total, (len(seen), 1)), poisson), control, reported, df)
    success = np.array([_beyond(one, threshold, sign) for one in updated])[which.ravel()] >= probability_needed
    gain = sign * (np.array([one.mean for one in updated])[which.ravel()] - threshold)
    now = sign * (average.mean - threshold)
    # The gain's mean is known: it is today's. What is left of max(0, gain) has less noise.
    value = np.maximum(0.0, -gain) if now > 0.0 else np.maximum(0.0, gain)
    return OneMoreTable(
        probability_now=_beyond(average, threshold, sign),
        assurance=float(success.mean()),
        assurance_error=float(np.sqrt(success.mean() * (1.0 - success.mean()) / n_draws)),
        evsi=float(value.mean()),
        evsi_error=float(value.std(ddof=1) / np.sqrt(n_draws)),
        evppi=_perfect(average, threshold, sign) - max(0.0, now),
    )


def _beyond(density: GridDensity, threshold: float, sign: float) -> float:
    return float(density.sf(threshold) if sign > 0 else density.cdf(threshold))


def _perfect(density: GridDensity, threshold: float, sign: float) -> float:
    """Return E[max(0, sign (average - threshold))], the integral of the tail probability beyond the threshold."""
    end = density.high[-1] if sign > 0 else density.low[0]
    if sign * (end - threshold) <= 0.0:
        return 0.0
    x = np.linspace(threshold, end, 4001)
    tail = density.sf(x) if sign > 0 else density.cdf(x)
    return float(abs(np.trapezoid(tail, x)))


def _new_events(
    fit: TableHierarchyFit,
    reported: Reported,
    control: Normal,
    total: tuple[float, float],
    poisson: bool,
    df: float | None,
    n: int,
    rng: np.random.Generator,
) -> FloatArray:
    """Return reported events of new sites by arm, shape (n, 2)."""
    nodes = fit.nodes
    node = rng.choice(len(nodes.weight), size=n, p=nodes.weight)
    shape = rng.standard_normal(n) if df is None else rng.standard_t(df, n)
    level = rng.normal(control.mean, control.sd, n)
    eta = np.stack([level, level + nodes.mu[node] + nodes.tau[node] * shape], axis=1)
    s, f = reported.sensitivity[nodes.point[node]], reported.specificity[nodes.point[node]]
    if poisson:
        found = rng.poisson(np.minimum(np.asarray(total) * s * np.exp(eta), 1e15))
    else:
        p = 1.0 / (1.0 + np.exp(-eta))
        found = rng.binomial(np.asarray(total, dtype=int), s * p + (1.0 - f) * (1.0 - p))
    return np.asarray(found, dtype=np.float64)


def _updated(
    fit: TableHierarchyFit, tables: Tables, control: Normal, reported: Reported, df: float | None
) -> list[GridDensity]:
    """Return the posterior of the average after each table."""
    nodes, average = fit.nodes, fit.margins[0]
    mu, column = np.unique(nodes.mu, return_inverse=True)
    tau, row = np.unique(nodes.tau, return_inverse=True)
    sites = SiteEffectsGiven(site_likelihoods(tables, control, reported), df)
    each = sites.log_likelihood(mu, tau)[nodes.point, :, column, row]
    ratio = np.exp(each - each.max(axis=0))
    panels = Panels(low=average.low, high=average.high, log_values=np.empty((0, 0, 0)))
    x = panels.nodes.ravel()
    mass = np.bincount(column, nodes.weight, len(mu))
    # E[ratio | average] at the averages that have any mass; elsewhere the posterior has none either.
    given = np.stack([np.bincount(column, nodes.weight * r, len(mu)) for r in ratio.T]) / mass
    place = np.searchsorted(mu, x).clip(0, len(mu) - 1)
    known = np.isclose(mu[place], x, rtol=1e-12, atol=1e-14)
    with np.errstate(divide="ignore"):
        log_values = np.where(known, np.log(average.density(x)) + np.log(given[:, place]), -np.inf)
    filled = Panels(average.low, average.high, log_values.reshape(len(given), *panels.nodes.shape))
    return [GridDensity.from_panels(filled, log_axis=False, target=i) for i in range(len(given))]
