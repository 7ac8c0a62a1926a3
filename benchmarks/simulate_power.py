"""Times the power of a cluster trial by simulation: cluster totals against respondents, after comparing the answers.

Run with `python benchmarks/simulate_power.py`. Twenty clusters an arm of fifty respondents, 1,000 draws, one process.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable

import gbveval as gbv
from gbveval.design.cluster import ClusterDesign
from gbveval.design.icc import ICC
from gbveval.design.outcomes import Binary, Continuous
from gbveval.planning.closed_form import power
from gbveval.planning.diagnosis import Diagnosis
from gbveval.planning.simulate import simulate_power

DRAWS = 1000
REPEATS = 3
ALLOWED = 4.0


def simulate(plan: ClusterDesign, effect: float, path: str) -> Callable[[], Diagnosis]:
    return lambda: simulate_power(plan, gbv.DifferenceInMeans(), effect=effect, n_draws=DRAWS, seed=1, path=path)


def best_time(call: Callable[[], Diagnosis]) -> tuple[float, float]:
    """Return the least wall and CPU seconds of some runs; the first, which imports scipy, does not count."""
    call()
    walls, cpus = [], []
    for _ in range(REPEATS):
        wall, cpu = time.perf_counter(), time.process_time()
        call()
        walls.append(time.perf_counter() - wall)
        cpus.append(time.process_time() - cpu)
    return min(walls), min(cpus)


def main() -> None:
    icc = ICC(0.05, scale="observed")
    for name, outcome, effect in (("continuous", Continuous(), 0.25), ("binary", Binary(0.35), -0.1)):
        plan = ClusterDesign(clusters_per_arm=20, cluster_size=50, icc=icc, outcome=outcome)
        people, totals = (simulate(plan, effect, path)()[0] for path in ("data", "batch"))
        print(f"{name}: by formula {power(plan, effect=effect):.4f}")
        for measure in ("bias", "rmse", "se_ratio", "coverage", "power"):
            a, b = getattr(people, measure), getattr(totals, measure)
            apart = abs(a.value - b.value) / math.hypot(a.mcse, b.mcse)
            print(f"  {measure:<9} people {a.value:8.4f}  totals {b.value:8.4f}  {apart:4.1f} Monte Carlo errors apart")
            if apart > ALLOWED:
                raise SystemExit(f"The paths disagree about {measure}: the times would compare different answers.")
        slow, fast = (best_time(simulate(plan, effect, path)) for path in ("data", "batch"))
        print(f"  people {slow[0]:.4f} s (CPU {slow[1]:.4f}), totals {fast[0]:.4f} s (CPU {fast[1]:.4f})")
        print(f"  ratio of CPU seconds: {slow[1] / fast[1]:.0f}")


if __name__ == "__main__":
    main()
