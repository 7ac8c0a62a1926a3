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
from gbveval.core.estimates import Estimates
from gbveval.datasets.pilot import CONTROL, PilotRollout, PilotTrial
from gbveval.testing.privacy import rebuilds_somebody, within_groups

FloatArray = NDArray[np.float64]
Study = Callable[[], tuple[dict[str, object], tuple[FloatArray, ...]]]
PRIOR = gbv.HierarchyPrior(gbv.Normal(0, 0.1), gbv.HalfNormal(0.05))
POLICY = gbv.Policy(min_n=10)


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
    people = gbv.Trial(frame, outcome="score", arm="arm", control=CONTROL)
    results: dict[str, object] = {
        "people": gbv.DifferenceInMeans().estimate(people),
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
    score = frame["score"].to_numpy()
    groups = [each for by in ("arm", "school", "site") for each in within_groups(score, frame[by].to_numpy())]
    return results, (score, *groups)


@cache
def rollout_results() -> tuple[dict[str, object], tuple[FloatArray, ...]]:
    """Return what can be made of a rollout, and each community's and each month's outcomes and their changes."""
    rollout = PilotRollout(n_communities=40, n_months=6, waves=(3, 5))
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
    changes = [table[:, t] - table[:, s] for t in range(table.shape[1]) for s in range(t)]
    cohort = panel.cohort_of_unit()
    return results, (*table.T, *changes, *(each for change in changes for each in within_groups(change, cohort)))


def _saved(result: object) -> Iterator[object]:
    # The pickles opened here are made here.
    yield pickle.loads(pickle.dumps(result))
    if hasattr(result, "to_json"):
        yield json.loads(result.to_json())


def _give_away(study: Study) -> list[str]:
    results, targets = study()
    return [name for name, result in results.items() if any(rebuilds_somebody(s, targets) for s in _saved(result))]


@pytest.mark.parametrize("study", [trial_results, rollout_results])
def test_no_saved_result_rebuilds_anybody(study: Study) -> None:
    assert not _give_away(study)


def test_without_the_stripping_of_influence_people_are_rebuilt(monkeypatch: pytest.MonkeyPatch) -> None:
    def keep(result: Estimates) -> dict[str, object]:
        state = {name: getattr(result, name) for name in result.__dataclass_fields__ if name != "aggregator"}
        return {**state, "influence": None if result.influence is None else np.asarray(result.influence)}

    monkeypatch.setattr(Estimates, "__getstate__", keep)
    assert _give_away(trial_results) == ["people"]
    assert {"all cells", "event times with a band"} <= set(_give_away(rollout_results))


def test_the_attack_finds_outcomes_in_a_table() -> None:
    _, targets = trial_results()
    school = next(target for target in targets if np.isfinite(target).sum() < 60)
    table = gbv.Table(
        "By pupil",
        ("pupil", "score"),
        tuple((f"p{i}", 3 - 2 * y) for i, y in enumerate(school[np.isfinite(school)])),
        (),
    )
    assert any(rebuilds_somebody(saved, targets) for saved in _saved(table))


@pytest.mark.parametrize("scale", [1e-200, 1.0, 1e200])
def test_the_attack_finds_outcomes_at_any_scale(scale: float) -> None:
    # Squares of such deviations vanish or overflow: a correlation of them as they stand is not a number.
    outcomes = np.random.default_rng(5).normal(size=30)
    assert rebuilds_somebody({"weights": 3.0 * scale - scale * outcomes}, (outcomes,))
    assert not rebuilds_somebody({"weights": scale * np.random.default_rng(6).normal(size=30)}, (outcomes,))
