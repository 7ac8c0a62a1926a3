"""Families of allocation that the packaged cases lack: made-up cases whose answers come from elsewhere."""

from __future__ import annotations

from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats
from scipy.spatial.distance import cdist

from tests.reference.reader import run_case

X = np.array([39.3, 25.31, 44.28, 19.34, 26.43, 34.56, 6.88, 23.05, 3.74, 7.65, 1.96, 4.13, 6.94, 5.06, 4.83, 5.78])
X = np.append(X, [0, 1, 0, 0, 0, 1, 0, 1])


def status(family: str, inputs: dict[str, Any], results: dict[str, Any]) -> tuple[str, str]:
    case = {
        "id": f"{family}-made-up",
        "family": family,
        "inputs": inputs,
        "results": results,
        "tolerance": {"type": "relative", "value": 1e-9},
    }
    found = run_case(Path(), case)
    return found.status, found.reason


def matchings(units: list[int]) -> list[list[list[int]]]:
    if not units:
        return [[]]
    first, *rest = units
    return [[[first, other], *more] for other in rest for more in matchings([unit for unit in rest if unit != other])]


def test_pair_matching_by_all_matchings() -> None:
    x = X.reshape(3, 8).T
    gaps = cdist(x, x, "mahalanobis", VI=np.linalg.inv(np.cov(x, rowvar=False)))
    every = matchings(list(range(8)))
    best = min(every, key=lambda pairs: sum(gaps[a, b] for a, b in pairs))
    results = {
        "pairs": best,
        "total": float(sum(gaps[a, b] for a, b in best)),
        "n_matchings": len(every),
        "n_allocations": 16,
    }
    given = {"X": X.tolist(), "ncol": 3, "layout": "column_major"}
    assert status("pair-matching", given, results)[0] == "matched"
    worse = {**results, "total": results["total"] * 1.001}
    assert status("pair-matching", given, worse)[0] == "mismatched"


def forced(counts: list[int]) -> float:
    block = [label for label, number in enumerate(counts) for _ in range(number)]
    orders = set(permutations(block))
    hits = sum(len(set(order[place:])) == 1 for order in orders for place in range(len(block)))
    return hits / len(orders) / len(block)


@pytest.mark.parametrize(("arms", "ratio"), [(2, [1, 1]), (2, [1, 2]), (3, [1, 1, 1]), (2, None)])
def test_block_predictability_by_all_orders(arms: int, ratio: list[int] | None) -> None:
    parts = ratio or [1] * arms
    sizes = [sum(parts) * multiple for multiple in (1, 2)]
    results = {
        f"deterministic_fraction_{size}": forced([part * size // sum(parts) for part in parts]) for size in sizes
    }
    inputs: dict[str, Any] = {"block_sizes": sizes, "arms": arms}
    if ratio is not None:
        inputs["ratio"] = ratio
    assert status("block-predictability", inputs, results)[0] == "matched"


def test_tiers_by_chi_squared_distributions() -> None:
    shares, numbers = [0.1, 0.2, 0.5], [2, 3, 4]
    results = {}
    for number, (p, k) in enumerate(zip(shares, numbers, strict=True), start=1):
        limit = stats.chi2.ppf(p, k)
        results[f"a{number}"] = float(limit)
        results[f"v{number}"] = float(stats.chi2.cdf(limit, k + 2) / p)
    assert status("rerandomisation-tiers", {"k": numbers, "pa": shares}, results)[0] == "matched"
