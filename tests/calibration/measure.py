"""Measures where the truth falls among posterior draws, when truths are drawn from the prior and pilots from truths."""

from __future__ import annotations

import json
import platform
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import gbveval as gbv

RECORD = Path(__file__).with_name("sampled_sites.json")
SEED, PILOTS = 20_261, 200
SITES, PEOPLE = 8, 80
# Every 20th of 2,000 draws: nearly independent, so that ranks are uniform on 0 to 99 where all is right.
KEPT, RANKS = 20, 100
PRIOR = gbv.SitePrior(gbv.Normal(-1, 0.7), gbv.Normal(0, 0.5), gbv.HalfNormal(0.5), gbv.HalfNormal(0.4))
SETTINGS = gbv.SamplerSettings(draws=500, tune=600, target_accept=0.95)
PARAMETERS = {
    "control_mean": "mean of control",
    "average_effect": "average effect",
    "between_site_sd_control": "between-site sd of control",
    "between_site_sd": "between-site sd of effects",
    "correlation": "correlation",
    "effect": "effect in the first site",
}


def pilot(rng: np.random.Generator) -> tuple[gbv.Trial, dict[str, float]]:
    """Return a trial of people with a yes-or-no outcome in several sites, and the truth behind it."""
    control_mean, average = rng.normal(-1.0, 0.7), rng.normal(0.0, 0.5)
    sd_control, sd = abs(rng.normal(0.0, 0.5)), abs(rng.normal(0.0, 0.4))
    r = 2.0 * rng.beta(2.0, 2.0) - 1.0
    z = rng.normal(size=(SITES, 2))
    control = control_mean + sd_control * z[:, 0]
    effect = average + sd * (r * z[:, 0] + np.sqrt(1.0 - r**2) * z[:, 1])
    site, arm = np.repeat(np.arange(SITES), PEOPLE), np.tile([0, 1], SITES * PEOPLE // 2)
    risk = 1.0 / (1.0 + np.exp(-(control[site] + effect[site] * arm)))
    y = (rng.random(site.size) < risk).astype(float)
    trial = gbv.Trial({"y": y, "arm": arm, "site": site}, outcome="y", arm="arm", control=0, site="site")
    values = (control_mean, average, sd_control, sd, r, effect[0])
    return trial, dict(zip(PARAMETERS, (float(x) for x in values), strict=True))


def ranks_of(seed: np.random.SeedSequence) -> tuple[dict[str, int], int]:
    """Return how many kept draws lie below the truth, for each parameter, and the divergences."""
    rng = np.random.default_rng(seed)
    trial, truth = pilot(rng)
    native = gbv.HierarchicalModel(PRIOR, SETTINGS).native(trial, rng=rng)
    found = {}
    for name, value in truth.items():
        draws = np.asarray(native["posterior"][name].values)
        draws = draws.reshape(*draws.shape[:2], -1)[:, KEPT - 1 :: KEPT, 0].ravel()
        found[name] = int((draws < value).sum())
    return found, int(np.asarray(native["sample_stats"]["diverging"].values).sum())


def run(say: Callable[[str], None], pilots: int = PILOTS) -> dict[str, Any]:
    """Measure and write the record."""
    ranks: dict[str, list[int]] = {name: [] for name in PARAMETERS}
    diverged = 0
    for number, seed in enumerate(np.random.SeedSequence(SEED).spawn(pilots)):
        found, divergences = ranks_of(seed)
        diverged += divergences > 0
        for name, rank in found.items():
            ranks[name].append(rank)
        if (number + 1) % 20 == 0:
            say(f"{number + 1} of {pilots} pilots")
    record = {
        "command": "python -m tests.calibration",
        "python": platform.python_version(),
        "packages": {name: version(name) for name in ("pymc", "nutpie", "numpy")},
        "sites": SITES,
        "people_per_site": PEOPLE,
        "prior": PRIOR.describe(),
        "pilots": pilots,
        "pilots_with_divergences": int(diverged),
        "ranks": ranks,
    }
    RECORD.write_text(json.dumps(record) + "\n", encoding="utf-8")
    return record


def band(pilots: int, level: float = 0.99, draws: int = 4000) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return limits of the share of ranks below 1, 2, ..., 99 that hold for all of them at once.

    Pointwise binomial limits, at the probability for which uniform ranks stay inside everywhere with the level
    (Saeilynoja, Buerkner and Vehtari 2022), found by simulating uniform ranks.
    """
    from scipy.stats import binom

    rng = np.random.default_rng(SEED)
    simulated = rng.integers(0, RANKS + 1, (draws, pilots))
    points = np.arange(1, RANKS + 1) / (RANKS + 1)
    counts = np.stack([(simulated < k).sum(axis=1) for k in range(1, RANKS + 1)], axis=1)
    tails = 2.0 * np.minimum(binom.cdf(counts, pilots, points), binom.sf(counts - 1, pilots, points))
    each = float(np.quantile(tails.min(axis=1), 1.0 - level))
    return binom.ppf(each / 2, pilots, points) / pilots, binom.isf(each / 2, pilots, points) / pilots


def below(ranks: list[int]) -> NDArray[np.float64]:
    """Return the share of ranks below 1, 2, ..., 100."""
    return np.array([np.mean(np.array(ranks) < k) for k in range(1, RANKS + 1)])


def load() -> dict[str, Any]:
    """Return the record."""
    found: dict[str, Any] = json.loads(RECORD.read_text(encoding="utf-8"))
    return found
