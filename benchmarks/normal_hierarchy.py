"""The exact hierarchy on eight schools: its answer against quadrature and against NUTS, then the times of all three.

Run: python benchmarks/normal_hierarchy.py
"""

from __future__ import annotations

import time
import warnings

import numpy as np
from scipy import integrate, stats

import gbveval as gbv
from gbveval.numerics.many_hierarchies import many_hierarchies

Y = np.array([28.0, 8, -3, 7, -1, 1, 18, 12])
SE = np.array([15.0, 10, 16, 11, 9, 11, 10, 18])


def by_quadrature() -> float:
    """Return the posterior mean of the average effect by adaptive quadrature over the between-site sd."""

    def parts(tau: float) -> tuple[float, float]:
        v = SE**2 + tau**2
        precision = 1 / 25 + (1 / v).sum()
        density = stats.multivariate_normal.pdf(Y, np.zeros(8), np.diag(v) + 25) * stats.halfcauchy.pdf(tau, scale=5)
        return float(density), float((Y / v).sum() / precision)

    total = integrate.quad(lambda t: parts(t)[0], 0, np.inf, limit=500, epsabs=0, epsrel=1e-11)[0]
    return integrate.quad(lambda t: parts(t)[0] * parts(t)[1], 0, np.inf, limit=500, epsabs=0, epsrel=1e-11)[0] / total


def by_nuts() -> tuple[float, float, float, float, float]:
    """Return mean of the average, its Monte Carlo error, effective draws, and CPU seconds of compiling and sampling."""
    import nutpie
    import pymc as pm

    started = time.process_time()
    with pm.Model() as model:
        mu = pm.Normal("mu", 0.0, 5.0)
        tau = pm.HalfCauchy("tau", 5.0)
        z = pm.Normal("z", shape=8)
        pm.Normal("y", pm.Deterministic("theta", mu + tau * z), SE, observed=Y)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        compiled = nutpie.compile_pymc_model(model)
        ready = time.process_time()
        drawn = nutpie.sample(compiled, draws=1000, tune=1000, chains=4, cores=2, seed=1, progress_bar=False)
    done = time.process_time()
    values = np.asarray(drawn["posterior"]["mu"].values)
    error = gbv.monte_carlo_error(values)
    return float(values.mean()), error, float((values.std() / error) ** 2), ready - started, done - ready


def main() -> None:
    sites = gbv.SiteEffects({"y": Y, "se": SE}, estimate="y", std_error="se")
    model = gbv.NormalHierarchy(gbv.HierarchyPrior(gbv.Normal(0, 5), gbv.HalfCauchy(5)))
    answer = model.estimate(sites)
    expected = by_quadrature()
    assert abs(answer["average effect"].value - expected) < 1e-8, "the exact engine differs from adaptive quadrature"
    times, spent = [], []
    for _ in range(20):
        started, began = time.perf_counter(), time.process_time()
        model.estimate(sites).intervals()
        gbv.leave_one_site_out(sites, model.prior)
        times.append(time.perf_counter() - started)
        spent.append(time.process_time() - began)
    rng = np.random.default_rng(1)
    seen = np.vstack([Y, 4.0 + np.sqrt(SE**2 + 36.0) * rng.normal(size=(999, 8))])
    prior = model.prior
    together = []
    for _ in range(10):
        started = time.perf_counter()
        many = many_hierarchies(seen, SE, mu_prior=prior.average_effect, tau_prior=prior.between_site_sd)
        above = 1.0 - many.average_cdf(0.0)
        together.append(time.perf_counter() - started)
    assert abs(above[0] - answer.probability("average effect", above=0.0)) < 1e-10, "many at once differ from one"
    value = answer["average effect"].value
    print(f"average effect {value:.8f}, by adaptive quadrature {expected:.8f}")
    print(f"estimate, intervals and leave-one-out: median {1000 * np.median(times):.1f} ms of 20 (under 50 is wanted)")
    drawn, error, ess, compiling, sampling = by_nuts()
    assert abs(drawn - expected) < 4 * error, "NUTS and quadrature differ by more than Monte Carlo error"
    exact = float(np.median(spent))
    both = compiling + sampling
    print(f"PyMC with nutpie: {drawn:.3f}, error {error:.3f}, {ess:.0f} effective draws of the average effect")
    print(f"CPU s: {compiling:.2f} to compile, {sampling:.2f} to sample; exact engine, with leave-one-out, {exact:.4f}")
    print(f"the exact engine is {both / exact:.0f} times faster (50 wanted), {sampling / exact:.0f} without compiling")
    print(f"1,000 simulated eight-site studies: median {np.median(together):.3f} s of 10 (under 1 is wanted)")


if __name__ == "__main__":
    main()
