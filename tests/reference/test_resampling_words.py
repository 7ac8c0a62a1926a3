"""Every word of the cases' vocabulary about resampling is understood, also where no case of the folder uses it."""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations, product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from tests.reference import resampling

TREATMENT = {"column": "z", "as": "numeric", "control": 0, "treated": 1}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    rng = np.random.default_rng(5)
    n = 12
    frame = pd.DataFrame(
        {
            "y": np.round(rng.normal(size=n), 1),
            "w": np.round(rng.normal(size=n), 2),
            "b": [0, 1] * 6,
            "z": [1, 0, 0, 1, 1, 0, 0, 1, 1, 0, 0, 1],
            "block": [0] * 4 + [1] * 8,
            "pair": np.repeat(np.arange(6), 2),
            "g": np.repeat(np.arange(6), 2),
            "zg": np.repeat([1, 0, 0, 1, 1, 0], 2),
            "p": np.linspace(0.2, 0.7, n),
        }
    )
    frame.to_csv(tmp_path / "d.csv", index=False)
    return tmp_path


def frame_of(folder: Path) -> pd.DataFrame:
    return pd.read_csv(folder / "d.csv")


def case(
    options: dict[str, Any], roles: dict[str, Any] | None = None, results: Any = None, treatment: str = "z", **more: Any
) -> dict[str, Any]:
    own = {"outcome": "y", "treatment": {**TREATMENT, "column": treatment}, **(roles or {})}
    task = {"data": {"file": "d.csv"}, "roles": own, "options": options, **more}
    return {"task": task, "results": results or {}, "result_terms": {}}


def difference(y: np.ndarray, z: np.ndarray) -> float:
    return float(y[z == 1].mean() - y[z == 0].mean())


def share(values: list[float], observed: float) -> float:
    return float(np.mean(np.array(values) >= observed - 1e-9))


def test_complete_assignment(folder: Path) -> None:
    options = {
        "assignment": {"type": "complete", "treated_units": 6},
        "enumeration": "all",
        "statistic": "ipw_difference_in_means",
        "null": 0.5,
        "two_sided_rule": "central",
        "count_observed": True,
    }
    found = resampling.randomisation_test(folder, case(options))
    frame = frame_of(folder)
    y, z = frame["y"].to_numpy() - 0.5 * frame["z"].to_numpy(), frame["z"].to_numpy()
    values = [difference(y, np.isin(np.arange(12), chosen).astype(int)) for chosen in combinations(range(12), 6)]
    upper, lower = share(values, difference(y, z)), share([-v for v in values], -difference(y, z))
    assert (found["p_upper"], found["p_lower"]) == (pytest.approx(upper), pytest.approx(lower))
    assert found["p_two_tailed"] == pytest.approx(min(1, 2 * min(upper, lower)))
    assert found["null_sd"] == pytest.approx(np.std(values, ddof=1))
    assert found["n_permutations"] == 924


def test_clusters_blocks_and_independent_assignment(folder: Path) -> None:
    base = {"enumeration": "all", "statistic": "ipw_difference_in_means", "null": 0}
    frame = frame_of(folder)
    y = frame["y"].to_numpy()
    clustered = resampling.randomisation_test(
        folder,
        case(
            {**base, "assignment": {"type": "complete_clusters", "treated_clusters": 3}},
            {"cluster": "g"},
            treatment="zg",
        ),
    )
    values = [difference(y, np.isin(frame["g"], chosen).astype(int)) for chosen in combinations(range(6), 3)]
    assert clustered["p_upper"] == pytest.approx(share(values, difference(y, frame["zg"].to_numpy())))
    blocked = resampling.randomisation_test(
        folder, case({**base, "assignment": {"type": "blocked", "treated_per_block": [2, 4]}}, {"block": "block"})
    )
    assert blocked["n_permutations"] == 6 * 70
    for given in (0.5, {"mean_of": "z"}, {"mean_of": "z", "within": "block"}):
        simple = resampling.randomisation_test(
            folder, case({**base, "assignment": {"type": "simple"}}, {"probability": given})
        )
        assert simple["n_permutations"] == 2**12 - 2
        rows = [np.array(z) for z in product([0, 1], repeat=12) if 0 < sum(z) < 12]
        expected = share([difference(y, z) for z in rows], difference(y, frame["z"].to_numpy()))
        assert simple["p_upper"] == pytest.approx(expected)


@pytest.mark.parametrize("alternative", ["two_sided", "greater", "less"])
@pytest.mark.parametrize("rule", ["absolute", "central", "no_more_likely"])
@pytest.mark.parametrize("statistic", ["difference_in_means", "sum_standardised", "rank_sum_standardised"])
def test_permutation_words(folder: Path, statistic: str, rule: str, alternative: str) -> None:
    options = {"statistic": statistic, "distribution": "exact", "alternative": alternative, "two_sided_rule": rule}
    frame = frame_of(folder)
    y, z = frame["y"].to_numpy(), frame["z"].to_numpy()
    scores = stats.rankdata(y) if statistic.startswith("rank") else y
    for group, sign in (("treated", 1), ("control", -1)):
        found = resampling.permutation_test(folder, case({**options, "statistic_group": group, "null": 0}))
        values = [sign * difference(scores, np.isin(np.arange(12), c).astype(int)) for c in combinations(range(12), 6)]
        observed = sign * difference(scores, z)
        tails = {"greater": share(values, observed), "less": share([-v for v in values], -observed)}
        two_sided = {
            "absolute": share([abs(v) for v in values], abs(observed)),
            "central": min(1.0, 2 * min(tails.values())),
        }
        if rule == "no_more_likely":
            distinct, code, count = np.unique(np.round(values, 6), return_inverse=True, return_counts=True)
            own = count[np.argmin(np.abs(distinct - observed))]
            two_sided[rule] = float(np.mean(count[code] <= own))
        expected = tails.get(alternative, two_sided[rule])
        assert found["p_value"] == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("roles", [{}, {"block": "block"}, {"pair": "pair"}])
@pytest.mark.parametrize("distribution", ["exact", "asymptotic"])
@pytest.mark.parametrize("statistic", ["difference_in_means", "sum_standardised", "rank_sum_standardised"])
def test_permutation_designs(folder: Path, statistic: str, distribution: str, roles: dict[str, str]) -> None:
    options = {"statistic": statistic, "distribution": distribution, "alternative": "two_sided", "null": 0.1}
    found = resampling.permutation_test(folder, case(options, roles))
    assert 0 < found["p_value"] <= 1


@pytest.mark.parametrize(
    "words",
    [
        {"weights": "webb", "draws": 999, "enumeration": "none"},
        {"vcov": "CR0", "ties": "counted"},
        {"vcov": "CR1", "two_sided_rule": "central"},
        {"alternative": "greater", "null": 0.2},
        {"alternative": "less", "null_imposed": False, "level": 0.9},
    ],
    ids=str,
)
def test_wild_bootstrap_words(folder: Path, words: dict[str, Any]) -> None:
    roles = {"cluster": "g", "covariates": [{"column": "w", "as": "numeric"}]}
    found = resampling.wild_cluster_bootstrap(folder, case({"enumeration": "all", **words}, roles, treatment="zg"))
    assert 0 <= found["p_value"] <= 1
    assert found["n_clusters"] == 6
    assert found["n_boot"] == words.get("draws", 64)


@pytest.mark.parametrize("alternative", ["two_sided", "greater", "less"])
@pytest.mark.parametrize("statistic", ["welch_t", "pooled_t", "wilcoxon"])
def test_step_down_words(folder: Path, statistic: str, alternative: str) -> None:
    options = {
        "procedure": "step_down_maxT",
        "statistic": statistic,
        "enumeration": "all",
        "assignment": {"type": "complete", "treated_units": "observed"},
        "alternative": alternative,
    }
    found = resampling.westfall_young(folder, case(options, {"outcomes": ["y", "w"]}))
    assert all(raw - 1e-12 <= adj for raw, adj in zip(found["raw_p"], found["adjusted_p"], strict=True))
    wild = {"weights": "rademacher", "draws": 99, "alternative": alternative, "df": "clusters_minus_1"}
    roles = {"outcomes": ["y", "w"], "cluster": "g", "covariates": [{"column": "b", "as": "numeric"}]}
    second = resampling.romano_wolf(folder, case(wild, roles, treatment="zg"))
    assert len(second["p_romano_wolf"]) == 2


def test_blocked_step_down(folder: Path) -> None:
    options = {
        "procedure": "step_down_maxT",
        "statistic": "welch_t",
        "enumeration": "all",
        "assignment": {"type": "blocked", "treated_per_block": "observed"},
        "alternative": "two_sided",
    }
    found = resampling.westfall_young(folder, case(options, {"outcomes": ["y", "w"], "block": "block"}))
    assert len(found["adjusted_p"]) == 2


def counts() -> list[dict[str, Any]]:
    return [
        {"events": [30, 28], "n": [200, 180]},
        {"successes": [30, 28], "trials": [200, 180]},
        {"events_treated": 30, "n_treated": 200, "events_control": 28, "n_control": 180},
        {"treated": {"events": 30, "n": 200}, "control": {"events": 28, "n": 180}},
    ]


@pytest.mark.parametrize("values", counts(), ids=str)
def test_noninferiority_from_counts(values: dict[str, Any], tmp_path: Path) -> None:
    options = {"measure": "risk_difference", "vcov": "unpooled", "margin": 0.1, "upper_bound_level": 0.975}
    found = resampling.noninferiority_test(tmp_path, {"task": {"values": values, "options": options}, "results": {}})
    error = np.sqrt(0.15 * 0.85 / 200 + 28 / 180 * (1 - 28 / 180) / 180)
    assert found["upper_bound"] == pytest.approx(30 / 200 - 28 / 180 + stats.norm.ppf(0.975) * error)
    assert found["p_value"] == pytest.approx(stats.norm.cdf((30 / 200 - 28 / 180 - 0.1) / error))


def test_noninferiority_from_data(folder: Path) -> None:
    options = {"measure": "risk_difference", "vcov": "unpooled", "margin": 0.6, "upper_bound_level": 0.95}
    answer: Callable[..., dict[str, Any]] = resampling.noninferiority_test
    found = answer(folder, case(options, {"outcome": "b"}))
    frame = frame_of(folder)
    p1, p0 = (frame.loc[frame["z"] == arm, "b"].mean() for arm in (1, 0))
    assert found["estimate"] == pytest.approx(p1 - p0)
