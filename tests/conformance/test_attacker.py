"""Nobody's outcome is rebuilt from any saved result: not from averages, tables, flows, diagnoses or releases either."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable, Iterator
from functools import cache

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

import gbveval as gbv
from gbveval.datasets.pilot import CONTROL, PilotRollout, PilotTrial
from gbveval.testing.privacy import rebuilds_somebody

FloatArray = NDArray[np.float64]
Study = Callable[[], tuple[dict[str, object], tuple[FloatArray, ...]]]
PRIOR = gbv.HierarchyPrior(gbv.Normal(0, 0.1), gbv.HalfNormal(0.05))
POLICY = gbv.Policy(min_n=10)


def _groups(values: FloatArray, *labels: FloatArray) -> Iterator[FloatArray]:
    """Yield all values, and those of each group: whose they are is what an attacker may know."""
    yield values
    for label in labels:
        for group in np.unique(label):
            yield values[label == group]


@cache
def trial_results() -> tuple[dict[str, object], tuple[FloatArray, ...]]:
    """Return what can be made of a trial, by name, and the outcomes that it must not give away."""
    frame = pd.DataFrame(PilotTrial(n_sites=5, schools_per_arm=4).frame(np.random.default_rng(3)))
    # A score in place of yes or no: every person's outcome is then a number of their own.
    frame["score"] = frame["harassed_12m"].fillna(0) + np.random.default_rng(4).normal(size=len(frame))
    roles = {"outcome": "score", "arm": "arm", "control": CONTROL, "cluster": "school"}
    trial = gbv.Trial(frame, **roles)
    parts = {site: gbv.Trial(part, **roles) for site, part in frame.groupby("site")}
    sites = gbv.SiteEffects.from_estimates({s: gbv.DifferenceInMeans().estimate(part) for s, part in parts.items()})
    plain = gbv.DifferenceInMeans().estimate(trial)
    pooled = gbv.NormalHierarchy(PRIOR).estimate(sites)
    tables = {
        "leave one site out": gbv.leave_one_site_out(sites, PRIOR),
        "prior sensitivity": gbv.prior_sensitivity(sites, PRIOR),
        "heavy tails": gbv.heavy_tailed_sites(sites, PRIOR),
        "one more site": gbv.one_more_site(sites, PRIOR, std_error=0.05),
    }
    plan = gbv.ClusterDesign(
        clusters_per_arm=10, cluster_size=20, icc=gbv.ICC(0.01, "observed"), outcome=gbv.Binary(0.3)
    )
    diagnosis = gbv.simulate_power(plan, gbv.DifferenceInMeans(), effect=-0.1, n_draws=100, seed=1)
    counts = gbv.CountTable(
        "Harassed", ("girls", "boys"), ("north", "south"), ((34, 12), (210, 180)), ((13, 11), (55, 41))
    )
    results: dict[str, object] = {
        "flow": trial.flow(),
        "count table": counts,
        "site effects": sites,
        "pooled from people": pooled,
        "diagnosis": diagnosis,
        "diagnosis as table": diagnosis.to_table(),
        "release of a trial": gbv.release([plain, trial.flow()], POLICY),
        "release of sites": gbv.release([pooled, tables["prior sensitivity"]], POLICY),
        "release of counts": gbv.release(counts, POLICY),
        **tables,
    }
    by = (frame["arm"], frame["school"], frame["site"])
    return results, tuple(_groups(frame["score"].to_numpy(), *(column.to_numpy() for column in by)))


@cache
def rollout_results() -> tuple[dict[str, object], tuple[FloatArray, ...]]:
    """Return what can be made of a rollout, and each community's and each month's outcomes and their changes."""
    rollout = PilotRollout(n_communities=40)
    panel = rollout.draw(np.random.default_rng(5))
    effects = gbv.CallawaySantAnna().estimate(panel)
    event = effects.aggregate("event_time")
    names = [row.term for row in event.terms if row.std_error]
    results: dict[str, object] = {
        "all cells": effects,
        "event times with a band": event.with_band(),
        "one contrast": event.contrast({names[0]: 1.0, names[-1]: -1.0}, name="last less first"),
        "a joint test": event.joint_test(),
        "flow of a panel": panel.flow(),
        **{by: effects.aggregate(by) for by in ("simple", "cohort", "calendar", "pretest")},
        "release of a rollout": gbv.release([event, panel.flow()], POLICY),
    }
    assert panel.unit is not None
    order = np.lexsort((panel.time, panel.unit.codes))
    # A balanced panel, sorted by community and month, is a table.
    table = panel.outcome[order].reshape(panel.n_units, -1)
    changes = np.diff(table, axis=1)
    return results, (*table, *table.T, *changes, *changes.T)


def _saved(result: object) -> Iterator[object]:
    # The pickles opened here are made here.
    yield pickle.loads(pickle.dumps(result))
    if hasattr(result, "to_json"):
        yield json.loads(result.to_json())


@pytest.mark.parametrize("study", [trial_results, rollout_results])
def test_no_saved_result_rebuilds_anybody(study: Study) -> None:
    results, targets = study()
    gives_away = [
        name for name, result in results.items() if any(rebuilds_somebody(s, targets) for s in _saved(result))
    ]
    assert not gives_away


def test_the_attack_finds_outcomes_in_a_table() -> None:
    _, targets = trial_results()
    school = next(target for target in targets if target.size < 60)
    table = gbv.Table("By pupil", ("pupil", "score"), tuple((f"p{i}", 3 - 2 * y) for i, y in enumerate(school)), ())
    assert any(rebuilds_somebody(saved, targets) for saved in _saved(table))
