"""A declared graph of causes: what may be adjusted for, open back doors, and the smallest sets that close them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

from gbveval.core.errors import DesignError

# Subsets of this many measured columns are tried at most: 2^16.
MOST_CANDIDATES = 16


@dataclass(frozen=True, slots=True)
class CausalGraph:
    """A directed graph without cycles, declared before the data are seen.

    Parameters
    ----------
    edges : sequence of (str, str)
        Cause and effect; names are columns of the survey, or of what was not measured.

    Raises
    ------
    DesignError
        If the edges go round in a circle, or one is not a pair of two names.

    Notes
    -----
    The back-door criterion: a set closes the back doors of a factor if it holds nothing that the factor brings about,
    and blocks every path into the factor (Pearl 2009). Whether it does is found by separation in the moral graph of the
    ancestors (Lauritzen and others 1990).

    **Do not use** to learn a graph: nothing here looks at data.

    References
    ----------
    Pearl (2009), Causality, 2nd edition.

    Examples
    --------
    >>> graph = CausalGraph([("age", "online_hours"), ("age", "harassed"), ("online_hours", "harassed")])
    >>> graph.smallest_sets("online_hours", "harassed", ["age"])
    (('age',),)
    """

    edges: tuple[tuple[str, str], ...]

    def __init__(self, edges: Sequence[tuple[str, str]]) -> None:
        pairs = tuple(tuple(edge) for edge in edges)
        for pair in pairs:
            if len(pair) != 2 or not all(isinstance(name, str) and name for name in pair) or pair[0] == pair[1]:
                raise DesignError("An edge of the graph is a pair of two different names: cause, then effect.")
        object.__setattr__(self, "edges", pairs)
        self._check_order()

    def _check_order(self) -> None:
        left = dict.fromkeys(name for edge in self.edges for name in edge)
        while left:
            free = [name for name in left if not any(effect == name and cause in left for cause, effect in self.edges)]
            if not free:
                raise DesignError(
                    f"The graph goes round in a circle among {', '.join(sorted(left))}. Leave out one of the edges, or "
                    "split a thing measured twice into two names."
                )
            for name in free:
                del left[name]

    @property
    def names(self) -> frozenset[str]:
        """Everything that the graph names."""
        return frozenset(name for edge in self.edges for name in edge)

    def descendants(self, name: str) -> frozenset[str]:
        """Return what a thing brings about, directly or not."""
        return self._reach(name, self.edges)

    def ancestors(self, names: Sequence[str]) -> frozenset[str]:
        """Return some things and all their causes."""
        turned = tuple((effect, cause) for cause, effect in self.edges)
        return frozenset(names).union(*(self._reach(name, turned) for name in names))

    @staticmethod
    def _reach(start: str, edges: Sequence[tuple[str, str]]) -> frozenset[str]:
        found: set[str] = set()
        todo = [start]
        while todo:
            here = todo.pop()
            new = {effect for cause, effect in edges if cause == here} - found
            found |= new
            todo += sorted(new)
        return frozenset(found)

    def mediators(self, factor: str, outcome: str) -> frozenset[str]:
        """Return what lies on a path from the factor to the outcome."""
        return (self.descendants(factor) & self.ancestors([outcome])) - {factor, outcome}

    def open_back_door(self, factor: str, outcome: str, given: Sequence[str]) -> tuple[str, ...]:
        """Return a path through a back door that a set leaves open, or nothing when it closes all.

        The path is one in the moral graph of the ancestors, so it may pass from cause to cause of a thing that is
        adjusted for.
        """
        kept = [edge for edge in self.edges if edge[0] != factor]
        without = CausalGraph(kept)
        relevant = without.ancestors([factor, outcome, *given])
        neighbours: dict[str, set[str]] = {name: set() for name in relevant}
        for effect in relevant:
            causes = sorted({cause for cause, to in kept if to == effect and cause in relevant})
            for one, other in [*((cause, effect) for cause in causes), *combinations(causes, 2)]:
                neighbours[one].add(other)
                neighbours[other].add(one)
        return _path(neighbours, factor, outcome, frozenset(given))

    def smallest_sets(self, factor: str, outcome: str, measured: Sequence[str]) -> tuple[tuple[str, ...], ...]:
        """Return all sets of least size, of measured columns, that close the back doors; none when no set does."""
        after = self.descendants(factor)
        usable = sorted((self.ancestors([factor, outcome]) & set(measured)) - after - {factor, outcome})
        if len(usable) > MOST_CANDIDATES:
            raise DesignError(
                f"The graph has {len(usable)} measured causes of {factor!r} or {outcome!r}; sets are searched among at "
                f"most {MOST_CANDIDATES}. Declare adjust_for instead; it is checked against the graph."
            )
        for size in range(len(usable) + 1):
            found = [s for s in combinations(usable, size) if not self.open_back_door(factor, outcome, s)]
            if found:
                return tuple(found)
        return ()


def _path(neighbours: dict[str, set[str]], start: str, end: str, blocked: frozenset[str]) -> tuple[str, ...]:
    """Return a shortest path that avoids the blocked names, or nothing."""
    came: dict[str, str] = {start: start}
    todo = [start]
    while todo:
        here = todo.pop(0)
        if here == end:
            path = [end]
            while path[-1] != start:
                path.append(came[path[-1]])
            return tuple(reversed(path))
        for name in sorted(neighbours.get(here, ())):
            if name not in came and name not in blocked:
                came[name] = here
                todo.append(name)
    return ()
