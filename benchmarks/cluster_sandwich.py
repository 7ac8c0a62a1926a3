"""CR2 with Satterthwaite degrees of freedom on a million rows, beside HC1 on the same data, whatever the cluster sizes.

Prints the answers first (checked against statsmodels and a dense computation on fewer rows), then times as ratios and
the extra peak memory as a multiple of the design matrix. Run: python benchmarks/cluster_sandwich.py
"""

from __future__ import annotations

import time
import tracemalloc

import numpy as np

from gbveval.numerics.linear_inference import linear_inference

ROWS, COVARIATES = 1_000_000, 5


def equal(clusters: int, rows: int = ROWS) -> np.ndarray:
    """Return the cluster of each row, all clusters of one size."""
    return np.repeat(np.arange(clusters), rows // clusters)


def uneven(rows: int = ROWS) -> np.ndarray:
    """Return clusters of 1 to 50,000 rows: many small ones beside a few large ones."""
    sizes = np.concatenate([np.full(8, rows // 20), np.full(2_000, 100), np.full(50_000, 4), np.ones(rows // 5, int)])
    return np.repeat(np.arange(sizes.size), sizes)


def data(cluster: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(1)
    n, count = cluster.size, int(cluster.max()) + 1
    treated = (cluster % 2).astype(float)
    x = rng.normal(size=(n, COVARIATES))
    y = 0.1 * treated + x @ np.full(COVARIATES, 0.2) + 0.2 * rng.normal(size=count)[cluster] + rng.normal(size=n)
    return np.column_stack([treated, x]), y, cluster


def cr2(design: np.ndarray, y: np.ndarray, cluster: np.ndarray) -> tuple[float, float, float]:
    count = int(cluster.max()) + 1
    found = linear_inference(design, y, std_error="CR2", df="satterthwaite", cluster=cluster, n_clusters=count)
    return float(found.beta[1]), float(np.sqrt(found.covariance[1, 1])), float(found.df[1])


def hc1(design: np.ndarray, y: np.ndarray) -> tuple[float, float]:
    found = linear_inference(design, y, std_error="HC1", df="residual")
    return float(found.beta[1]), float(np.sqrt(found.covariance[1, 1]))


def dense_cr2(design: np.ndarray, y: np.ndarray, cluster: np.ndarray) -> float:
    """Return the CR2 standard error with explicit hat blocks."""
    x = np.column_stack([np.ones(len(y)), design])
    bread = np.linalg.inv(x.T @ x)
    residual = y - x @ bread @ x.T @ y
    meat = np.zeros_like(bread)
    for g in np.unique(cluster):
        rows = x[cluster == g]
        values, vectors = np.linalg.eigh(np.eye(len(rows)) - rows @ bread @ rows.T)
        adjust = (vectors / np.sqrt(values)) @ vectors.T
        score = rows.T @ adjust @ residual[cluster == g]
        meat += np.outer(score, score)
    return float(np.sqrt((bread @ meat @ bread)[1, 1]))


def timed(cluster: np.ndarray, words: str) -> None:
    design, y, cluster = data(cluster)
    value, error, df = cr2(design, y, cluster)
    times: dict[str, list[float]] = {"CR2": [], "HC1": []}
    for _ in range(5):
        for name, run in (("CR2", lambda: cr2(design, y, cluster)), ("HC1", lambda: hc1(design, y))):
            started = time.perf_counter()
            run()
            times[name].append(time.perf_counter() - started)
    fast, slow = np.median(times["HC1"]), np.median(times["CR2"])
    print(f"{words}: effect {value:.5f}, CR2 {error:.5f}, df {df:.1f}")
    print(f"  CR2 {slow:.3f} s, HC1 {fast:.3f} s: {slow / fast:.2f} times (at most 5 is wanted)")


def memory() -> None:
    design, y, cluster = data(equal(20))
    error = cr2(design, y, cluster)[1]
    order = np.random.default_rng(2).permutation(len(y))
    for words, rows in (("in order of the clusters", slice(None)), ("in random order", order)):
        parts = design[rows], y[rows], cluster[rows]
        tracemalloc.start()
        shuffled = cr2(*parts)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert abs(shuffled[1] / error - 1) < 1e-9, "row order changes the answer"
        print(f"extra peak memory, rows {words}: {peak / design.nbytes:.2f} times the design matrix (2 is wanted)")


def main() -> None:
    import statsmodels.api as sm

    for cluster in (equal(20, 800), equal(2_500, 5_000), equal(3_000, 3_000)):
        small = data(cluster)
        assert abs(cr2(*small)[1] / dense_cr2(*small) - 1) < 1e-9, "CR2 differs from the dense computation"
    design, y, cluster = data(equal(20))
    started = time.perf_counter()
    peer = sm.OLS(y, sm.add_constant(design)).fit(cov_type="HC1")
    peer_time = time.perf_counter() - started
    assert abs(hc1(design, y)[1] / peer.bse[1] - 1) < 1e-9, "HC1 differs from statsmodels"
    print(f"{ROWS:,} rows, {COVARIATES} covariates; statsmodels' HC1, once: {peer_time:.3f} s")
    for clusters in (20, 1_000, 10_000, 100_000, 300_000, 1_000_000):
        timed(equal(clusters), f"{clusters:,} clusters of {ROWS // clusters:,}")
    timed(uneven(), "clusters of 1 to 50,000")
    memory()


if __name__ == "__main__":
    main()
