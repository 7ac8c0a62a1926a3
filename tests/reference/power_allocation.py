"""Translates cases about the allocation of units to arms: probabilities, numbers, balance and restricted schemes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import gbveval as gbv

Case = dict[str, Any]
ARMS = ("control", "treated")


def arms(k: int) -> tuple[str, ...]:
    return ARMS if k == 2 else ("control", *(f"arm {a}" for a in range(1, k)))


def complete(_: Path, case: Case) -> dict[str, Any]:
    given = case["inputs"]
    scheme = gbv.CompleteAllocation(arms(len(given["m_each"])), counts=given["m_each"])
    found = gbv.allocate(given["N"], scheme, seed=1)
    return {"prob_row1": found.probabilities[0].tolist(), "n_permutations": found.n_allocations}


def remainder(_: Path, case: Case) -> dict[str, Any]:
    given = case["inputs"]
    scheme = gbv.CompleteAllocation(ARMS, shares=(1.0 - given["prob"], given["prob"]))
    found = gbv.allocate(given["N"], scheme, seed=1)
    treated = np.unique((found.redraw(2_000, seed=1) == 1).sum(axis=1))
    return {
        "prob_row1": found.probabilities[0].tolist(),
        "n_permutations": found.n_allocations,
        "support_m": treated.tolist(),
    }


def block(_: Path, case: Case) -> dict[str, Any]:
    given = case["inputs"]
    sizes = given["sizes"]
    names = [f"block {b:02d}" for b in range(len(sizes))]
    counts = {name: (n - m, m) for name, n, m in zip(names, sizes, given["block_m"], strict=True)}
    scheme = gbv.StratifiedAllocation(ARMS, stratum="block", counts=counts)
    found = gbv.allocate({"block": np.repeat(names, sizes)}, scheme, seed=1)
    last = np.cumsum(sizes) - 1
    return {"prob_by_block": found.probabilities[last, 1].tolist(), "n_permutations": found.n_allocations}


def cluster(_: Path, case: Case) -> dict[str, Any]:
    given = case["inputs"]
    sizes = given["sizes"]
    frame = {"cluster": np.repeat(np.arange(len(sizes)), sizes)}
    scheme = gbv.ClusterAllocation(ARMS, cluster="cluster", counts=(len(sizes) - given["m"], given["m"]))
    found = gbv.allocate(frame, scheme, seed=1)
    # One probability for all, as the case has it.
    (probability,) = np.unique(found.probability_of("treated").round(12))
    return {"prob": float(probability), "n_permutations": found.n_allocations}


def block_cluster(_: Path, case: Case) -> dict[str, Any]:
    given = case["inputs"]
    sizes, blocks = given["sizes"], given["block"]
    labels = sorted(set(blocks))
    counts = {str(b): (blocks.count(b) - m, m) for b, m in zip(labels, given["block_m"], strict=True)}
    frame = {"cluster": np.repeat(np.arange(len(sizes)), sizes), "block": np.repeat(blocks, sizes)}
    scheme = gbv.ClusterAllocation(ARMS, cluster="cluster", stratum="block", counts=counts)
    found = gbv.allocate(frame, scheme, seed=1)
    return {"prob_by_cluster": found.probabilities[:, 1].tolist(), "n_permutations": found.n_allocations}


def pairs_of_units(_: Path, case: Case) -> dict[str, Any]:
    given = case["inputs"]
    scheme = gbv.CompleteAllocation(ARMS, counts=(given["N"] - given["m"], given["m"]))
    joint = gbv.allocate(given["N"], scheme, seed=1).pairwise(0, 1)
    return {"p_both_treated": float(joint[1, 1]), "p_discordant": float(joint[0, 1] + joint[1, 0])}


def rerandomisation(_: Path, case: Case) -> dict[str, Any]:
    given = case["inputs"]
    found = gbv.rerandomisation_gain(given["pa"], given["k"], r_squared=given["R2"])
    assert found.estimate_reduction is not None
    return {
        "threshold": found.threshold[0],
        "v_a": found.variance_left[0],
        "covariate_var_reduction_pct": 100.0 * found.covariate_reduction[0],
        "estimate_var_reduction_pct": 100.0 * found.estimate_reduction,
    }


def tiers(_: Path, case: Case) -> dict[str, Any]:
    given = case["inputs"]
    found = gbv.rerandomisation_gain(list(given["pa"]), list(given["k"]))
    answer: dict[str, Any] = {}
    for number, (limit, left) in enumerate(zip(found.threshold, found.variance_left, strict=True), start=1):
        answer |= {f"a{number}": limit, f"v{number}": left}
    return answer


def covariates(given: Case) -> tuple[dict[str, Any], list[str]]:
    """Return the matrix of a case as a frame, and the names of its columns."""
    flat = np.asarray(given["X"], dtype=float)
    n = int(given.get("ncol", 3))
    matrix = flat.reshape(n, -1) if flat.ndim == 1 else flat.T
    names = [f"x{j}" for j in range(matrix.shape[0])]
    frame: dict[str, Any] = dict(zip(names, matrix, strict=True))
    if "z" in given:
        frame["arm"] = [ARMS[z] for z in given["z"]]
    return frame, names


def mahalanobis(_: Path, case: Case) -> dict[str, Any]:
    given = case["inputs"]
    frame, names = covariates(given)
    base = gbv.CompleteAllocation(ARMS, counts=(given["z"].count(0), given["z"].count(1)))
    scheme = gbv.Rerandomisation(base, covariates=names, accept=given["accept_probability"])
    found = gbv.balance_score(frame, scheme, arm="arm")
    frame["y"] = np.arange(len(given["z"]))
    trial = gbv.Trial(frame, outcome="y", arm="arm", control="control", characteristics=names)
    table = gbv.balance(trial, omnibus="none")
    return {
        "M": found.score,
        "p_exact": found.p_value,
        "M_best": found.least,
        "n_below_q10": gbv.allocate(frame, scheme, seed=1).n_allocations,
        "smd": list(table.column(f"standardised difference: {ARMS[1]}")),
        "variance_ratio": list(table.column(f"variance ratio: {ARMS[1]}")),
    }


def constrained(_: Path, case: Case) -> dict[str, Any]:
    given = case["inputs"]
    frame, names = covariates(given)
    base = gbv.CompleteAllocation(ARMS, counts=(given["z"].count(0), given["z"].count(1)))
    scheme = gbv.ConstrainedAllocation(base, covariates=names, accept=given["quantile"])
    score = gbv.balance_score(frame, scheme, arm="arm")
    found = gbv.allocate(frame, scheme, seed=1)
    return {
        "B_given": score.score,
        "n_allocations": score.n_allocations,
        "B_quantile10": score.quantile(given["quantile"]),
        "B_min": score.least,
        "max_pair_same_arm_fraction_top10pct": found.pair_coincidence().most,
    }


def minimisation(_: Path, case: Case) -> dict[str, Any]:
    given = case["inputs"]
    counts = given["counts_by_factor_level_arm"]
    scheme = gbv.Minimisation(
        arms(len(counts[0][0])),
        factors=[f"factor {f}" for f in range(len(counts))],
        imbalance=given["imbalance"],
        preferred=given["prob_preferred"],
    )
    found = scheme.step(counts, given["new_unit_levels"])
    chance = scheme.preferred if found.preferred is None else found.probabilities[found.preferred]
    return {"G": list(found.imbalance), "preferred_arm": found.preferred, "prob_preferred_p": chance}


def matching(_: Path, case: Case) -> dict[str, Any]:
    frame, names = covariates(case["inputs"])
    found = gbv.allocate(frame, gbv.MatchedAllocation(ARMS, covariates=names), seed=1)
    matched = found.plan.note("matched")
    return {
        "pairs": [list(pair) for pair in matched.groups],
        "total": matched.total,
        "n_matchings": matched.n_divisions,
        "n_allocations": found.n_allocations,
    }


def predictability(_: Path, case: Case) -> dict[str, Any]:
    given = case["inputs"]
    named = given["arms"]
    ratio = [int(r) for r in given.get("ratio") or [1] * (named if isinstance(named, int) else len(named))]
    scheme = gbv.BlockedAllocation(arms(len(ratio)), sizes=list(given["block_sizes"]), ratio=ratio)
    return {f"deterministic_fraction_{found.size}": found.forced for found in scheme.predictability()}


TASKS: dict[str, Callable[[Path, Case], dict[str, Any]]] = {
    "rand-complete": complete,
    "rand-complete-remainder": remainder,
    "rand-block": block,
    "rand-cluster": cluster,
    "rand-block-cluster": block_cluster,
    "rand-permat": pairs_of_units,
    "rerandomisation": rerandomisation,
    "rerandomisation-tiers": tiers,
    "balance-mahalanobis": mahalanobis,
    "constrained-l2": constrained,
    "minimisation-step": minimisation,
    "pair-matching": matching,
    "block-predictability": predictability,
}
