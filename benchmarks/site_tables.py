"""Counts of twelve sites, and estimates of eight with leave-one-site-out: answers compared first, then times.

Run: python benchmarks/site_tables.py
"""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
from scipy import stats
from scipy.special import expit

import gbveval as gbv

SCHOOLS = {"y": [28.0, 8, -3, 7, -1, 1, 18, 12], "se": [15.0, 10, 16, 11, 9, 11, 10, 18]}


def counts() -> gbv.SiteTables:
    rng = np.random.default_rng(1)
    level, effect = rng.normal(-1.5, 0.7, 12), rng.normal(-0.4, 0.3, 12)
    risk = expit(np.column_stack([level, level + effect]))
    frame = {
        "site": np.repeat(np.arange(12), 2),
        "arm": ["usual", "new"] * 12,
        "y": rng.binomial(150, risk).ravel(),
        "n": [150] * 24,
    }
    return gbv.SiteTables(frame, site="site", arm="arm", control="usual", events="y", n="n")


def by_grid(data: gbv.SiteTables) -> float:
    """Return the posterior mean of the average log odds ratio from plain grids over everything."""
    level, theta = np.linspace(-7.5, 3.5, 441), np.linspace(-5.0, 4.0, 1801)
    mu, tau = np.linspace(-2.0, 1.5, 351), np.linspace(0.0125, 2.5, 199)
    prior = stats.norm.logpdf(level, -1.5, 1.0)
    total = np.zeros((len(mu), len(tau)))
    ell = np.empty((data.n, len(theta)))
    for site, ((x, y), (n, m)) in enumerate(zip(data.events, data.total, strict=True)):
        control = stats.binom.logpmf(x, n, expit(level)) + prior
        ell[site] = np.exp(control + stats.binom.logpmf(y, m, expit(level + theta[:, None]))).sum(axis=1)
    for k, spread in enumerate(tau):
        kernel = stats.norm.pdf(theta, mu[:, None], spread)
        total[:, k] = np.log(ell @ kernel.T).sum(axis=0)
    total += stats.norm.logpdf(mu, 0.0, 1.0)[:, None] + stats.halfnorm.logpdf(tau, scale=0.5)
    share = np.exp(total - total.max())
    return float((share.sum(axis=1) @ mu) / share.sum())


def median(work: Callable[[], object], times: int) -> float:
    spent = []
    for _ in range(times):
        started = time.perf_counter()
        work()
        spent.append(time.perf_counter() - started)
    return 1000.0 * float(np.median(spent))


def main() -> None:
    data = counts()
    model = gbv.TableHierarchy(gbv.TablePrior(gbv.Normal(0, 1), gbv.HalfNormal(0.5), gbv.Normal(-1.5, 1)))
    found, expected = model.estimate(data)["average effect"].value, by_grid(data)
    # The grid starts at a spread of a hundredth, and leaves what lies below.
    assert abs(found - expected) < 1e-3, "the exact engine differs from plain grids"
    print(f"average log odds ratio {found:.6f}, by plain grids {expected:.6f}")
    spent = median(lambda: model.estimate(data).intervals(), 5)
    print(f"counts of 12 sites, intervals and leave-one-out: median {spent:.0f} ms of 5 (under 1000 is wanted)")
    sites = gbv.SiteEffects(SCHOOLS, estimate="y", std_error="se")
    prior = gbv.HierarchyPrior(gbv.Normal(0, 5), gbv.HalfCauchy(5))

    def everything() -> object:
        gbv.NormalHierarchy(prior).estimate(sites).intervals()
        return gbv.leave_one_site_out(sites, prior)

    spent = median(everything, 11)
    print(f"estimates of 8 sites, intervals and leave-one-out: median {spent:.0f} ms of 11 (under 50 is wanted)")


if __name__ == "__main__":
    main()
