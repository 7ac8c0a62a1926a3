"""People in thirty sites, 3,000 and 300,000 in each: sums compared with pandas, draws with quadrature, then the cost.

Run: python benchmarks/hierarchical_model.py
"""

from __future__ import annotations

import time

import numpy as np
import pandas as pd

import gbveval as gbv
from gbveval.multisite._sampling import sample
from gbveval.multisite._site_model import ModelSpec, compiled_model, data_of
from gbveval.multisite._site_people import read_people

SITES = 30
PRIOR = gbv.SitePrior(gbv.Normal(0, 2), gbv.Normal(0, 1), gbv.HalfNormal(1), gbv.HalfNormal(0.5))
MODEL = gbv.HierarchicalModel(PRIOR)


def people(per_site: int) -> pd.DataFrame:
    """Return people of the same sites, with a yes-or-no outcome and correlated levels and effects."""
    rng = np.random.default_rng(1)
    z = rng.normal(size=(SITES, 2))
    control, effect = -1.0 + 0.5 * z[:, 0], -0.1 + 0.3 * (-0.4 * z[:, 0] + np.sqrt(0.84) * z[:, 1])
    site, arm = np.repeat(np.arange(SITES), per_site), np.tile([0, 1], SITES * per_site // 2)
    risk = 1.0 / (1.0 + np.exp(-(control[site] + effect[site] * arm)))
    # Names of two digits, which are in one order as numbers and as text.
    return pd.DataFrame({"site": 10 + site, "arm": arm, "y": (rng.random(site.size) < risk).astype(float)})


def compare(frame: pd.DataFrame, trial: gbv.Trial) -> None:
    """Stop unless sums are those of pandas, and every check of the answer is passed, quadrature among them."""
    cells = read_people(trial, "binomial", PRIOR)
    wanted = frame.groupby(["site", "arm"])["y"].agg(["size", "sum"])
    found = pd.DataFrame({"size": cells.n, "sum": cells.total}, index=wanted.index)
    assert np.array_equal(found.to_numpy(), wanted.to_numpy()), "sums differ from pandas"
    answer = MODEL.estimate(trial, rng=np.random.default_rng(1))
    failed = [check.message for check in answer.checks if check.status == "fail"]
    assert not failed, " ".join(failed)
    assert answer.check("twin").status == "ok", answer.check("twin").message
    for name in ("effective sample size", "r-hat", "twin"):
        print(f"  {answer.check(name).message}")


def cost(trial: gbv.Trial) -> tuple[float, float]:
    """Return seconds of the sums, and processor seconds of 4 times 2,000 draws, warm; the median of five."""
    aggregation, sampling = [], []
    for seed in range(5):
        started = time.perf_counter()
        cells = read_people(trial, "binomial", PRIOR)
        aggregation.append(time.perf_counter() - started)
        spec = ModelSpec.of(cells, "binomial", PRIOR)
        data = data_of(cells, spec)
        compiled = compiled_model(data, spec)
        started = time.process_time()
        sample(compiled, data, spec.parameters, settings=MODEL.settings, seed=seed)
        sampling.append(time.process_time() - started)
    return float(np.median(aggregation)), float(np.median(sampling))


def main() -> None:
    found = []
    for per_site in (3_000, 300_000):
        frame = people(per_site)
        trial = gbv.Trial(frame, outcome="y", arm="arm", control=0, site="site")
        print(f"{SITES} sites with {per_site:,} people")
        compare(frame, trial)
        found.append(cost(trial))
        print(f"  sums in {1000 * found[-1][0]:.0f} ms; sampled in {found[-1][1]:.2f} processor seconds")
    print(f"sums of 9,000,000 people: {found[1][0]:.2f} s (under 1 is wanted)")
    print(f"a hundred times the people: {found[1][1] / found[0][1]:.2f} times the cost (at most 1.2 is wanted)")


if __name__ == "__main__":
    main()
