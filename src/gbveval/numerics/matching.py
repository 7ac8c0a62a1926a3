"""Hides the search for the cheapest division of units into groups of two or three: optimal non-bipartite matching.

Pairs: the linear programme of degree constraints, with constraints added for odd sets whose units are matched among
themselves more than they can be (Edmonds 1965), solved by scipy's HiGHS. When its solution is whole it is optimal; else
integer programming finishes. Triplets: integer programming over all triplets, which is feasible for fewer units.
"""

from __future__ import annotations

from itertools import combinations
from math import factorial
from typing import Any

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.intp]
MOST_UNITS = {2: 300, 3: 36}
ROUNDS = 60
SECONDS = 300.0


def match_groups(distance: FloatArray, size: int) -> IntArray:
    """Return the division into groups with the least sum of distances inside groups, shape (groups, size).

    Parameters
    ----------
    distance : ndarray, shape (units, units)
        Symmetric; the number of units is a multiple of `size`.
    size : int
        2 or 3.

    Raises
    ------
    RuntimeError
        If no optimum was proved in the time allowed.

    Examples
    --------
    >>> points = np.array([0.0, 10.0, 1.0, 11.0])
    >>> match_groups(np.abs(points[:, None] - points[None, :]), 2).tolist()
    [[0, 2], [1, 3]]
    """
    n = distance.shape[0]
    groups = np.array(list(combinations(range(n), size)), dtype=np.intp)
    cost = sum(distance[groups[:, a], groups[:, b]] for a, b in combinations(range(size), 2))
    chosen = _pairs(groups, np.asarray(cost), n) if size == 2 else _whole(groups, np.asarray(cost), n, [])
    return np.asarray(groups[chosen])


def _incidence(groups: IntArray, n: int) -> Any:
    from scipy.sparse import csr_array

    m, size = groups.shape
    return csr_array((np.ones(m * size), (groups.ravel(), np.repeat(np.arange(m), size))), shape=(n, m))


def _pairs(groups: IntArray, cost: FloatArray, n: int) -> IntArray:
    """Return the positions of the chosen pairs, by cutting planes."""
    from scipy.optimize import linprog
    from scipy.sparse import csr_array, vstack
    from scipy.sparse.csgraph import connected_components

    degree = _incidence(groups, n)
    cuts: list[FloatArray] = []
    for _ in range(ROUNDS):
        limits: dict[str, Any] = {}
        if cuts:
            limits = {"A_ub": vstack([csr_array(cut) for cut in cuts]), "b_ub": -np.ones(len(cuts))}
        found = linprog(cost, A_eq=degree, b_eq=np.ones(n), bounds=(0.0, 1.0), method="highs", **limits)
        if found.status != 0 or found.x is None:
            break
        used = np.flatnonzero(found.x > 1e-7)
        if np.all(found.x[used] > 1.0 - 1e-7):
            return used
        graph = csr_array((np.ones(used.size), (groups[used, 0], groups[used, 1])), shape=(n, n))
        count, part = connected_components(graph, directed=False)
        odd = [np.flatnonzero(part == c) for c in range(count) if np.count_nonzero(part == c) % 2]
        if not odd:
            break
        for members in odd:
            inside = np.isin(groups, members)
            cuts.append(-(inside[:, 0] ^ inside[:, 1]).astype(np.float64)[None, :])
    return _whole(groups, cost, n, cuts)


def _whole(groups: IntArray, cost: FloatArray, n: int, cuts: list[FloatArray]) -> IntArray:
    """Return the positions of the chosen groups, by integer programming."""
    from scipy.optimize import Bounds, LinearConstraint, milp

    limits = [LinearConstraint(_incidence(groups, n), 1.0, 1.0)]
    limits += [LinearConstraint(cut, -np.inf, -1.0) for cut in cuts]
    found = milp(
        cost,
        constraints=limits,
        integrality=np.ones(cost.size, dtype=np.int64),
        bounds=Bounds(0.0, 1.0),
        options={"time_limit": SECONDS, "mip_rel_gap": 0.0},
    )
    if found.status != 0:
        raise RuntimeError
    return np.flatnonzero(found.x > 0.5)


def number_of_divisions(n: int, size: int) -> int:
    """Return in how many ways n units divide into groups of one size.

    Examples
    --------
    >>> number_of_divisions(6, 2), number_of_divisions(6, 3)
    (15, 10)
    """
    groups = n // size
    return int(factorial(n) // (factorial(size) ** groups * factorial(groups)))


def distances(x: FloatArray, kind: str) -> FloatArray:
    """Return distances between rows: "mahalanobis" (covariance with n - 1) or "standardised" (columns by their sd)."""
    centred = x - x.mean(axis=0)
    if kind == "standardised":
        spread = centred.std(axis=0, ddof=1)
        scaled = centred / np.where(spread > 0, spread, 1.0)
    else:
        roots, axes = np.linalg.eigh(np.atleast_2d(np.cov(x, rowvar=False)))
        keep = roots > 1e-12 * max(float(roots[-1]), 1e-300)
        scaled = centred @ (axes[:, keep] / np.sqrt(roots[keep]))
    square = ((scaled[:, None, :] - scaled[None, :, :]) ** 2).sum(axis=2)
    return np.asarray(np.sqrt(square))
