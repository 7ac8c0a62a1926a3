"""CR2 with Satterthwaite degrees of freedom on a million rows in twenty clusters, beside HC1 on the same data.

Prints the answers first (checked against statsmodels and a dense computation on fewer rows), then times as ratios and
the extra peak memory as a multiple of the design matrix. Run: python benchmarks/cluster_sandwich.py
"""

from __future__ import annotations

import time
import tracemalloc

import numpy as np

from gbveval.numerics.cluster_sandwich import bias_reduced, cross_products
from gbveval.numerics.least_squares import fit_least_squares
from gbveval.numerics.sandwich import heteroskedasticity_robust

CLUSTERS, SIZE, COVARIATES = 20, 50_000, 5


def data(size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(1)
    n = CLUSTERS * size
    cluster = np.repeat(np.arange(CLUSTERS), size)
    treated = (cluster % 2).astype(float)
    x = rng.normal(size=(n, COVARIATES))
    y = 0.1 * treated + x @ np.full(COVARIATES, 0.2) + 0.2 * rng.normal(size=CLUSTERS)[cluster] + rng.normal(size=n)
    return np.column_stack([treated, x]), y, cluster


def cr2(design: np.ndarray, y: np.ndarray, cluster: np.ndarray) -> tuple[float, float, float]:
    fit = fit_least_squares(design, y)
    robust = bias_reduced(fit, cross_products(fit, design, y, cluster, CLUSTERS))
    return float(fit.beta[1, 0]), float(np.sqrt(robust.covariance[1, 1, 0])), float(robust.df[1])


def hc1(design: np.ndarray, y: np.ndarray) -> tuple[float, float]:
    fit = fit_least_squares(design, y)
    robust = heteroskedasticity_robust(fit, design, y, kind="HC1")
    return float(fit.beta[1, 0]), float(np.sqrt(robust.covariance[1, 1, 0]))


def dense_cr2(design: np.ndarray, y: np.ndarray, cluster: np.ndarray) -> float:
    """Return the CR2 standard error with explicit hat blocks."""
    x = np.column_stack([np.ones(len(y)), design])
    bread = np.linalg.inv(x.T @ x)
    residual = y - x @ bread @ x.T @ y
    meat = np.zeros_like(bread)
    for g in range(CLUSTERS):
        rows = x[cluster == g]
        values, vectors = np.linalg.eigh(np.eye(len(rows)) - rows @ bread @ rows.T)
        adjust = (vectors / np.sqrt(values)) @ vectors.T
        score = rows.T @ adjust @ residual[cluster == g]
        meat += np.outer(score, score)
    return float(np.sqrt((bread @ meat @ bread)[1, 1]))


def main() -> None:
    import statsmodels.api as sm

    small = data(40)
    assert abs(cr2(*small)[1] / dense_cr2(*small) - 1) < 1e-9, "CR2 differs from the dense computation"
    design, y, cluster = data(SIZE)
    started = time.perf_counter()
    peer = sm.OLS(y, sm.add_constant(design)).fit(cov_type="HC1")
    peer_time = time.perf_counter() - started
    assert abs(hc1(design, y)[1] / peer.bse[1] - 1) < 1e-9, "HC1 differs from statsmodels"
    value, error, df = cr2(design, y, cluster)
    shape = f"{len(y):,} rows, {CLUSTERS} clusters, {COVARIATES} covariates"
    print(f"{shape}: effect {value:.5f}, CR2 {error:.5f}, df {df:.2f}")
    times: dict[str, list[float]] = {"CR2": [], "HC1": []}
    for _ in range(5):
        for name, run in (("CR2", lambda: cr2(design, y, cluster)), ("HC1", lambda: hc1(design, y))):
            started = time.perf_counter()
            run()
            times[name].append(time.perf_counter() - started)
    fast, slow = np.median(times["HC1"]), np.median(times["CR2"])
    print(f"CR2 {slow:.3f} s, HC1 {fast:.3f} s: CR2 takes {slow / fast:.2f} times HC1 (at most 5 is wanted)")
    print(f"statsmodels' HC1 on the same data, once: {peer_time:.3f} s")
    tracemalloc.start()
    cr2(design, y, cluster)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    print(f"extra peak memory {peak / design.nbytes:.3f} times the design matrix (under 2 is wanted)")
    order = np.random.default_rng(2).permutation(len(y))
    mixed = (design[order], y[order], cluster[order])
    tracemalloc.start()
    shuffled = cr2(*mixed)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert abs(shuffled[1] / error - 1) < 1e-9, "row order changes the answer"
    print(f"the same with rows in random order: {peak / design.nbytes:.3f} times the design matrix")


if __name__ == "__main__":
    main()
