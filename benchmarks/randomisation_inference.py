"""10,000 re-randomisations of a stratified trial of 10,000 people, beside pyfixest's ritest where it is installed.

Checks first that an exact test of a small trial is that of listing all allocations, and that both packages give one
p-value within the Monte Carlo error of the draws. Run: python benchmarks/randomisation_inference.py
"""

from __future__ import annotations

import itertools
import time

import numpy as np
import pandas as pd
from peers import version

import gbveval as gbv

PEOPLE, DRAWS = 10_000, 10_000


def data(strata: int, size: int, effect: float) -> pd.DataFrame:
    rng = np.random.default_rng(2)
    stratum = np.repeat(np.arange(strata), size)
    treated = np.tile(np.arange(size) % 2, strata).astype(float)
    y = effect * treated + 0.5 * rng.normal(size=strata)[stratum] + rng.normal(size=stratum.size)
    return pd.DataFrame({"y": y, "treated": treated, "stratum": stratum})


def trial(frame: pd.DataFrame) -> gbv.Trial:
    return gbv.Trial(frame, outcome="y", arm="treated", control=0, stratum="stratum")


def brute_force(frame: pd.DataFrame) -> float:
    """Return the share of all stratified allocations whose difference is at least as far from zero."""
    groups = [part.to_numpy() for _, part in frame.groupby("stratum")["y"]]
    size = len(groups[0])
    choices = [list(chosen) for chosen in itertools.combinations(range(size), size // 2)]

    def differences(values: np.ndarray) -> np.ndarray:
        sums = np.array([values[chosen].sum() for chosen in choices])
        return (2.0 * sums - values.sum()) / (size // 2)

    total = np.zeros(1)
    for values in groups:
        total = (total[:, None] + differences(values)[None, :]).ravel()
    treated = frame["treated"].to_numpy() == 1
    means = frame.groupby(["stratum", "treated"])["y"].mean().unstack()
    observed = float((means[1.0] - means[0.0]).sum())
    assert treated.sum() * 2 == len(frame)
    return float(np.mean(np.abs(total) >= abs(observed) - 1e-9))


def main() -> None:
    small = data(3, 6, 0.8)
    ours = gbv.RandomisationInference(statistic="difference").estimate(trial(small)).records()[0]["p_value"]
    theirs = brute_force(small)
    assert abs(ours - theirs) < 1e-12, (ours, theirs)
    print(f"three strata of six, all 8,000 allocations: p {ours:.6f}, and by listing them {theirs:.6f}")
    installed = version("pyfixest")
    for size in (10, 100, 1_000):
        frame = data(PEOPLE // size, size, 0.03)
        made = trial(frame)
        rows = {}
        for statistic in ("studentised", "difference"):
            estimator = gbv.RandomisationInference(statistic=statistic, n_draws=DRAWS)
            times = []
            for _ in range(3):
                started = time.perf_counter()
                record = estimator.estimate(made).records()[0]
                times.append(time.perf_counter() - started)
            rows[statistic] = (record["p_value"], float(np.median(times)))
        print(
            f"{PEOPLE // size:,} strata of {size:,}: studentised p {rows['studentised'][0]:.4f}, "
            f"{rows['studentised'][1]:.2f} s; difference p {rows['difference'][0]:.4f}, {rows['difference'][1]:.2f} s; "
            "both with the interval by inversion and with drawing the assignments"
        )
        if installed is not None:
            beside(frame, rows["difference"], installed)


def beside(frame: pd.DataFrame, ours: tuple[float, float], installed: str) -> None:
    """Time pyfixest on the same data, and compare the p-values."""
    import pyfixest

    fit = pyfixest.feols("y ~ treated | stratum", data=frame)
    started = time.perf_counter()
    answer = fit.ritest("treated", reps=DRAWS, type="randomization-c", rng=np.random.default_rng(1))
    peer = time.perf_counter() - started
    p_value = float(answer["Pr(>|t|)"])
    error = np.sqrt(2.0 * p_value * (1.0 - p_value) / DRAWS)
    # ritest does not keep the numbers treated in a stratum fixed, which changes p by less than a hundredth here.
    assert abs(p_value - ours[0]) < 4.0 * error + 0.01, (p_value, ours[0])
    print(f"  pyfixest {installed}: p {p_value:.4f}, {peer:.1f} s: {peer / ours[1]:.0f} times as long (10 is wanted)")


if __name__ == "__main__":
    main()
