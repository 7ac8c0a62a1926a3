"""9,999 wild cluster bootstrap draws, 50 clusters, 1,000,000 rows, beside wildboottest where it is installed.

Checks first that both give one p-value for the same data within the Monte Carlo error of the draws, and that all sign
vectors of ten clusters give the p-value of brute force. Run: python benchmarks/wild_bootstrap.py
"""

from __future__ import annotations

import itertools
import time
import warnings

import numpy as np
import pandas as pd
import statsmodels.api as sm
from peers import version

import gbveval as gbv

CLUSTERS, SIZE, DRAWS = 50, 20_000, 9_999


def data(clusters: int, size: int, effect: float) -> pd.DataFrame:
    rng = np.random.default_rng(1)
    cluster = np.repeat(np.arange(clusters), size)
    treated = (cluster % 2).astype(float)
    x = rng.normal(size=cluster.size)
    y = effect * treated + 0.3 * x + 0.3 * rng.normal(size=clusters)[cluster] + rng.normal(size=cluster.size)
    return pd.DataFrame({"y": y, "treated": treated, "x": x, "cluster": cluster})


def trial(frame: pd.DataFrame) -> gbv.Trial:
    return gbv.Trial(frame, outcome="y", arm="treated", control=0, cluster="cluster", covariates=["x"])


def brute_force(frame: pd.DataFrame) -> float:
    """Return the share of sign vectors whose |t| is at least that observed, refitting every bootstrap sample."""
    x = sm.add_constant(frame[["treated", "x"]].to_numpy())
    cluster, y = frame["cluster"].to_numpy(), frame["y"].to_numpy()

    def t(outcome: np.ndarray) -> float:
        fit = sm.OLS(outcome, x).fit(cov_type="cluster", cov_kwds={"groups": cluster})
        return abs(float(fit.params[1] / fit.bse[1]))

    restricted = sm.OLS(y, x[:, [0, 2]]).fit()
    observed = t(y)
    signs = itertools.product([-1.0, 1.0], repeat=int(cluster.max()) + 1)
    drawn = [t(restricted.fittedvalues + np.array(v)[cluster] * restricted.resid) for v in signs]
    return float(np.mean(np.array(drawn) >= observed * (1.0 - 1e-9)))


def main() -> None:
    small = data(10, 12, 0.4)
    ours = gbv.WildClusterBootstrap().estimate(trial(small)).records()[0]["p_value"]
    theirs = brute_force(small)
    assert abs(ours - theirs) < 1e-12, (ours, theirs)
    print(f"ten clusters, all {2**10:,} sign vectors: p {ours:.5f}, and by refitting every sample {theirs:.5f}")

    frame = data(CLUSTERS, SIZE, 0.2)
    made = trial(frame)
    estimator = gbv.WildClusterBootstrap(n_draws=DRAWS)
    times, record = [], None
    for _ in range(3):
        started = time.perf_counter()
        record = estimator.estimate(made).records()[0]
        times.append(time.perf_counter() - started)
    assert record is not None
    own = float(np.median(times))
    shape = f"{len(frame):,} rows, {CLUSTERS} clusters, {DRAWS:,} draws"
    print(f"{shape}: p {record['p_value']:.4f}, {own:.3f} s with the interval by inversion")
    installed = version("wildboottest")
    if installed is None:
        return
    from wildboottest.wildboottest import wildboottest

    model = sm.OLS(frame["y"], sm.add_constant(frame[["treated", "x"]]))
    warnings.simplefilter("ignore")
    times = []
    for _ in range(3):
        started = time.perf_counter()
        answer = wildboottest(
            model, param="treated", cluster=frame["cluster"], B=DRAWS, bootstrap_type="11", seed=1, show=False
        )
        times.append(time.perf_counter() - started)
    # The first run compiles; it is left out, as ours is warm too.
    peer = float(np.median(times[1:]))
    p_value = float(answer["p-value"].iloc[0])
    error = np.sqrt(2.0 * p_value * (1.0 - p_value) / DRAWS)
    assert abs(p_value - record["p_value"]) < 4.0 * error + 1e-12, (p_value, record["p_value"])
    print(f"wildboottest {installed}: p {p_value:.4f}, {peer:.1f} s, without an interval")
    print(f"{peer / own:.0f} times as long (at least 20 is wanted)")


if __name__ == "__main__":
    main()
