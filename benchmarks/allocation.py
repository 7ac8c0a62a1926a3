"""How long a million units in strata take to be allocated: reading the frame, drawing, labels and probabilities.

Run it with ``python benchmarks/allocation.py``. The aim is 2 seconds on one core.
"""

from __future__ import annotations

import time

import numpy as np
import pandas as pd

import gbveval as gbv

N, STRATA, AIM = 1_000_000, 500, 2.0


def main() -> None:
    """Print the best of three times for strata by number and by name, with and without names of units."""
    town = np.random.default_rng(1).integers(0, STRATA, N)
    names = {"id": [f"account {i:07d}" for i in range(N)], "name": [f"district {t}" for t in town]}
    frame = pd.DataFrame({**names, "number": town})
    for stratum in ("number", "name"):
        for unit in (None, "id"):
            scheme = gbv.StratifiedAllocation(("usual practice", "new"), stratum=stratum)
            times = []
            for seed in range(3):
                start = time.perf_counter()
                found = gbv.allocate(frame, scheme, seed=seed, unit=unit)
                assert len(found.assignments) == N
                assert np.all(found.probabilities == 0.5)
                times.append(time.perf_counter() - start)
            named = "named units" if unit else "units by row"
            print(f"strata by {stratum}, {named}: {min(times):.2f} s (aim {AIM:.0f} s)")


if __name__ == "__main__":
    main()
