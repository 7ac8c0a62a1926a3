"""Measures where the truth falls in exact posteriors, over 5,000 pilots: the same ranks, without a sampler."""

from __future__ import annotations

import numpy as np

import gbveval as gbv
from gbveval.numerics.many_hierarchies import many_hierarchies, spread_cdf
from tests.calibration.measure import RANKS

PILOTS, SEED = 5000, 20_261_126
STD_ERRORS = np.array([15.0, 10.0, 16.0, 11.0, 9.0, 11.0, 10.0, 18.0])
AVERAGE, SPREAD = gbv.Normal(0.0, 5.0), gbv.HalfNormal(8.0)
NAMES = ("average effect", "effect in a new site", "between-site sd", *(f"effect in site {k}" for k in range(1, 9)))


def exact_ranks(too_small: float = 1.0) -> dict[str, list[int]]:
    """Return the rank of the truth, from 0 to 100, for every parameter and pilot.

    Parameters
    ----------
    too_small : float
        By how much the standard errors that are told are too small: one is right.
    """
    rng = np.random.default_rng(SEED)
    mu, tau = rng.normal(0.0, 5.0, PILOTS), np.abs(rng.normal(0.0, 8.0, PILOTS))
    theta = mu[:, None] + tau[:, None] * rng.normal(size=(PILOTS, 8))
    seen = theta + STD_ERRORS * rng.normal(size=theta.shape)
    many = many_hierarchies(seen, STD_ERRORS / too_small, mu_prior=AVERAGE, tau_prior=SPREAD)
    places = [
        many.average_cdf(mu),
        many.new_site_cdf(mu + tau * rng.normal(size=PILOTS)),
        spread_cdf(many, tau, mu_prior=AVERAGE, tau_prior=SPREAD),
        *(many.site_cdf(site, theta[:, site]) for site in range(8)),
    ]
    # As if each posterior were a hundred draws: the rank of the truth among them is uniform on 0 to 100.
    return {
        name: np.minimum((place * (RANKS + 1)).astype(int), RANKS).tolist()
        for name, place in zip(NAMES, places, strict=True)
    }
