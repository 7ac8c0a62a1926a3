"""Bins of an outcome whose edges are round numbers, or the analyst's, and never a respondent's value."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from gbveval.core.errors import DesignError

FloatArray = NDArray[np.float64]
# The inner bins lie between these quantiles, so that the outer ones hold some rows.
INNER = (0.05, 0.95)


@dataclass(frozen=True, eq=False, slots=True)
class Bins:
    """Bins that have a row.

    Attributes
    ----------
    code : ndarray of int, shape (n,)
    labels : tuple of str
    words : str
        What tells this set of bins apart from another one.
    """

    code: NDArray[np.intp]
    labels: tuple[str, ...]
    words: str


def make_bins(untreated: FloatArray, y: FloatArray, bins: int | Sequence[float]) -> Bins:
    """Return the bins of outcomes.

    Parameters
    ----------
    untreated : ndarray
        Outcomes from which round edges are found.
    y : ndarray, shape (n,)
    bins : int or sequence of float
        About how many, or the edges.
    """
    if isinstance(bins, (int, np.integer)):
        if bins < 2:
            raise DesignError("bins is a number of bins, two or more, or their edges in ascending order.")
        edges, whole = _round_edges(untreated, int(bins)), bool(np.all(y == np.rint(y)))
    else:
        edges, whole = np.asarray(bins, dtype=np.float64), False
        if edges.ndim != 1 or edges.size < 1 or not np.isfinite(edges).all() or not (np.diff(edges) > 0).all():
            raise DesignError("The edges of bins are finite numbers in ascending order, each once, such as [1, 2, 5].")
    code = np.searchsorted(edges, y, side="right")
    there = np.flatnonzero(np.bincount(code, minlength=edges.size + 1))
    if there.size < 2:
        raise DesignError("All outcomes lie in one bin, so nothing can be compared. Give other edges.")
    labels = _labels(edges, whole)
    place = np.zeros(edges.size + 1, dtype=np.intp)
    place[there] = np.arange(there.size)
    words = "bin (" + ", ".join(_plain(edge) for edge in edges) + ")"
    return Bins(place[code], tuple(labels[i] for i in there), words)


def _round_edges(y: FloatArray, bins: int) -> FloatArray:
    """Return edges at multiples of 1, 2 or 5 times a power of ten; at whole numbers where all outcomes are whole."""
    low, high = np.quantile(y, INNER)
    step = _round_step((high - low) / max(bins - 2, 1)) if high > low else 1.0
    if np.all(y == np.rint(y)):
        step = max(step, 1.0)
    first, last = np.ceil(low / step - 1e-9), np.floor(high / step + 1e-9)
    edges = np.arange(first, max(last, first) + 1.0) * step
    return np.asarray(edges + 0.0)


def _round_step(width: float) -> float:
    """Return the smallest of 1, 2, 5 times a power of ten that is not below the width."""
    power = 10.0 ** np.floor(np.log10(width))
    return float(next(m for m in (1.0, 2.0, 5.0, 10.0) if m * power >= width * (1.0 - 1e-9)) * power)


def _plain(edge: float) -> str:
    """Return an edge with all digits that tell it from its neighbours, and none of rounding."""
    return np.format_float_positional(float(f"{edge:.12g}"), trim="-")


def _labels(edges: FloatArray, whole: bool) -> list[str]:
    inner = []
    for a, b in pairwise(edges):
        last = f"to {_plain(b - 1)}" if whole else f"to below {_plain(b)}"
        inner.append(_plain(a) if whole and b - a == 1.0 else f"{_plain(a)} {last}")
    return [f"below {_plain(edges[0])}", *inner, f"{_plain(edges[-1])} or more"]
