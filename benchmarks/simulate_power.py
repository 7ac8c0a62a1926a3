"""Times the power of a cluster trial by simulation against two peers and against itself, after comparing the answers.

Run with `python benchmarks/simulate_power.py`. Twenty clusters an arm of fifty respondents, ICC 0.05, effect 0.25
standard deviations, 1,000 draws, one process; CPU seconds, which count the threads of a peer too. The peers are
statsmodels' clustered least squares in a loop and mcpower's mixed model.
"""

from __future__ import annotations

import math
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from peers import version

import gbveval as gbv
from gbveval.core.batch import ClusterBatch
from gbveval.core.replicate import generator

DRAWS, CLUSTERS, SIZE, EFFECT = 1000, 40, 50, 0.25
REPEATS = 5
ALLOWED = 4.0
BLOCK = 50
ICC = gbv.ICC(0.05, scale="observed")
PLAN = gbv.ClusterDesign(clusters_per_arm=20, cluster_size=SIZE, icc=ICC, outcome=gbv.Continuous())
COVARIATES = 2
Answer = tuple[float, float]


def share(rejected: Any) -> Answer:
    """Return a power and its Monte Carlo standard error."""
    power = float(np.mean(rejected))
    return power, math.sqrt(power * (1.0 - power) / len(rejected))


def simulate(path: str, estimator: Any = None) -> Callable[[], Answer]:
    def run() -> Answer:
        found = gbv.simulate_power(
            PLAN, estimator or gbv.DifferenceInMeans(), effect=EFFECT, n_draws=DRAWS, seed=1, path=path, progress=False
        )
        return found[0].power.value, found[0].power.mcse

    return run


def people(rng: np.random.Generator, x: np.ndarray, treated: np.ndarray, cluster: np.ndarray) -> np.ndarray:
    """Return outcomes of a block of trials: clusters, respondents, and covariates that explain a tenth."""
    between = rng.normal(scale=math.sqrt(0.05), size=(BLOCK, CLUSTERS))
    noise = rng.standard_normal((BLOCK, cluster.size)) * math.sqrt(0.85)
    return np.asarray(noise + (between + EFFECT * treated)[:, cluster] + x @ np.full(COVARIATES, math.sqrt(0.05)))


def adjusted(estimator: Any, *, allocate_again: bool) -> Callable[[], Answer]:
    """Return CR2 with covariates by `estimate_batch`: respondents are drawn, their covariates stay."""
    cluster = np.repeat(np.arange(CLUSTERS), SIZE)
    x = generator(9, 0).normal(size=(cluster.size, COVARIATES))

    def run() -> Answer:
        rejected = []
        for number in range(DRAWS // BLOCK):
            rng = generator(2, number)
            arms = np.arange(CLUSTERS) < CLUSTERS // 2
            treated = rng.permuted(np.tile(arms, (BLOCK, 1)), axis=1) if allocate_again else arms[None]
            batch = ClusterBatch.of_rows(people(rng, x, treated, cluster), cluster, treated, x)
            found = estimator.estimate_batch(batch)
            rejected.append(np.abs(found.value) > critical(found.df) * found.std_error)
        return share(np.concatenate(rejected))

    return run


def critical(df: np.ndarray) -> np.ndarray:
    from scipy.stats import t

    return np.asarray(t.isf(0.025, df))


def statsmodels_loop() -> Answer:
    import statsmodels.api as sm

    cluster = np.repeat(np.arange(CLUSTERS), SIZE)
    z = (cluster < CLUSTERS // 2).astype(float)
    design = sm.add_constant(z)
    rejected = []
    for number in range(DRAWS):
        rng = generator(3, number)
        y = rng.normal(scale=math.sqrt(0.05), size=CLUSTERS)[cluster] + rng.normal(scale=math.sqrt(0.95), size=z.size)
        fit = sm.OLS(y + EFFECT * z, design).fit(cov_type="cluster", cov_kwds={"groups": cluster}, use_t=True)
        rejected.append(fit.pvalues[1] < 0.05)
    return share(rejected)


def mcpower_model() -> Answer:
    from mcpower import MCPower

    model = MCPower("y = z + (1|village)", family="lme")
    model.set_variable_type("z=binary")
    model.set_effects(f"z={EFFECT}")
    model.set_cluster("village", ICC=0.05, n_clusters=CLUSTERS, cluster_level_vars=["z"])
    found = model.find_power(
        sample_size=CLUSTERS * SIZE, target_test="z", n_sims=DRAWS, progress_callback=None, verbose=False
    )
    power = float(found["power_uncorrected"][0][0])
    return power, math.sqrt(power * (1.0 - power) / DRAWS)


def cpu(call: Callable[[], Answer], repeats: int) -> float:
    """Return the least CPU seconds of some runs; the first, which imports, does not count."""
    call()
    seconds = []
    for _ in range(repeats):
        start = time.process_time()
        call()
        seconds.append(time.process_time() - start)
    return min(seconds)


def check(name: str, found: Answer, expected: float, slack: float = 0.0) -> None:
    """Print a power beside the one expected, and stop if they are further apart than chance and a known gap."""
    power, error = found
    print(f"  {name:<46} power {power:.3f} (Monte Carlo error {error:.3f})")
    if abs(power - expected) > ALLOWED * error + slack:
        raise SystemExit(f"{name} disagrees with {expected:.3f}: the times would compare different answers.")


def peak_memory(draws: int) -> float:
    """Return the peak resident memory in MB of a process that simulates some draws."""
    code = (
        "import resource, gbveval as gbv\n"
        "icc = gbv.ICC(0.05, scale='observed')\n"
        "plan = gbv.ClusterDesign(clusters_per_arm=20, cluster_size=50, icc=icc, outcome=gbv.Continuous())\n"
        f"gbv.simulate_power(plan, gbv.DifferenceInMeans(), effect=0.25, n_draws={draws}, seed=1, progress=False)\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    return float(done.stdout) / 1024.0


def main() -> None:
    exact = gbv.power(PLAN, effect=EFFECT)
    adjusted_plan = gbv.ClusterDesign(
        20, SIZE, gbv.ICC(0.05 / 0.9, scale="observed"), gbv.Continuous(sd=math.sqrt(0.9))
    )
    print(f"by formula, exact for equal clusters: {exact:.4f}")
    runs: dict[str, tuple[Callable[[], Answer], float, float, int]] = {
        "cluster sums (simulate_power, batch)": (simulate("batch"), exact, 0.0, REPEATS),
        "respondents, one by one through estimate": (simulate("data"), exact, 0.0, 2),
    }
    # Covariates of respondents whose means differ between clusters by chance leave the formula a point off.
    covariates = gbv.power(adjusted_plan, effect=EFFECT)
    for label, estimator in (("Ancova", gbv.Ancova()), ("LinAdjusted", gbv.LinAdjusted())):
        for words, again in (("fixed allocation", False), ("re-randomised", True)):
            runs[f"{label}, CR2 and {COVARIATES} covariates, {words}"] = (
                adjusted(estimator, allocate_again=again),
                covariates,
                0.02,
                REPEATS,
            )
    if version("statsmodels"):
        # CR1 with normal-looking residuals and t(39) is a point more liberal than CR2 with t(38).
        runs["statsmodels, clustered OLS in a loop"] = (statsmodels_loop, exact, 0.015, 2)
    if version("mcpower"):
        # It takes the ICC with a residual variance of one, so that the effect is smaller: 0.816 by the exact formula.
        runs["mcpower, mixed model"] = (mcpower_model, 0.8156, 0.02, REPEATS)
    for name, (call, expected, slack, _) in runs.items():
        check(name, call(), expected, slack)
    seconds = {name: cpu(call, repeats) for name, (call, _, _, repeats) in runs.items()}
    print("CPU seconds of 1,000 draws")
    for name, value in seconds.items():
        print(f"  {name:<46} {value:8.4f}")
    fast = seconds["cluster sums (simulate_power, batch)"]
    for peer, wanted in (("mcpower, mixed model", 10), ("statsmodels, clustered OLS in a loop", 100)):
        if peer in seconds:
            print(f"cluster sums are {seconds[peer] / fast:.0f} times as fast as {peer} (wanted: {wanted})")
    if "mcpower, mixed model" in seconds:
        for name in seconds:
            if "covariates" in name:
                allowed = 5 if "re-randomised" in name else 1
                ratio = seconds[name] / seconds["mcpower, mixed model"]
                print(f"{name}: {ratio:.2f} times mcpower's time (allowed: {allowed})")
    few, many = peak_memory(10_000), peak_memory(1_000_000)
    print(f"peak memory: {few:.0f} MB with 10,000 draws, {many:.0f} MB with 1,000,000")


if __name__ == "__main__":
    main()
