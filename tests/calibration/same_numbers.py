"""`python -m tests.calibration.same_numbers`: one pilot's answers, kept by the Python and PyMC that gave them.

PyMC 5 (Python 3.11) and PyMC 6 (later) must give one posterior. Run it on each; the test compares whichever runs it
with what every other one gave.
"""

from __future__ import annotations

import json
import platform
from importlib.metadata import version
from pathlib import Path

import numpy as np

import gbveval as gbv
from gbveval.core.posterior import DrawsPosterior

RECORD = Path(__file__).with_name("same_numbers.json")
PRIOR = gbv.SitePrior(gbv.Normal(-0.5, 1), gbv.Normal(0, 1), gbv.HalfNormal(1), gbv.HalfNormal(0.5))
EVENTS = {
    0: (31, 48, 22, 60, 37, 55, 41, 29, 64, 33, 18, 47),
    1: (34, 40, 27, 44, 30, 57, 33, 30, 39, 35, 25, 40),
}
PEOPLE = 200


def answers() -> dict[str, dict[str, float]]:
    """Return mean, its Monte Carlo error, and sd of every row, for twelve sites of 200 people an arm."""
    columns: dict[str, list[float]] = {"site": [], "arm": [], "y": []}
    for arm, events in EVENTS.items():
        for site, count in enumerate(events):
            columns["site"] += [site] * PEOPLE
            columns["arm"] += [arm] * PEOPLE
            columns["y"] += [1.0] * count + [0.0] * (PEOPLE - count)
    trial = gbv.Trial(columns, outcome="y", arm="arm", control=0, site="site")
    answer = gbv.HierarchicalModel(PRIOR, gbv.SamplerSettings(draws=2000)).estimate(trial)
    failed = [check.message for check in answer.checks if check.status == "fail"]
    if failed or not isinstance(answer.posterior, DrawsPosterior):
        raise AssertionError(" ".join(failed))
    draws = np.moveaxis(answer.posterior.draws, 2, 0)
    return {
        term.term: {"mean": float(values.mean()), "error": gbv.monte_carlo_error(values), "sd": float(values.std())}
        for term, values in zip(answer.terms, draws, strict=True)
    }


def key() -> str:
    """Return the Python and the packages that run this."""
    python = ".".join(platform.python_version_tuple()[:2])
    return f"Python {python}, PyMC {version('pymc')}, nutpie {version('nutpie')}"


def load() -> dict[str, dict[str, dict[str, float]]]:
    """Return what was kept."""
    found: dict[str, dict[str, dict[str, float]]] = json.loads(RECORD.read_text(encoding="utf-8"))
    return found


def main() -> int:
    kept = load() if RECORD.exists() else {}
    RECORD.write_text(json.dumps({**kept, key(): answers()}, indent=1) + "\n", encoding="utf-8")
    print(f"written for {key()}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
