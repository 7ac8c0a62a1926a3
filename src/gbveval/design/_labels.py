"""Hides how simulated clusters, units and periods are named."""

from __future__ import annotations

from functools import lru_cache


@lru_cache(maxsize=64)
def numbered(word: str, count: int) -> tuple[str, ...]:
    """Return labels whose sorted order is their number.

    Examples
    --------
    >>> numbered("cluster ", 10)[:2]
    ('cluster 01', 'cluster 02')
    """
    width = len(str(count))
    return tuple(f"{word}{number + 1:0{width}d}" for number in range(count))
