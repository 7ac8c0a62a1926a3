"""Variables that are coarser versions of others, such as districts of wards: what a reader knows of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from gbveval.core.errors import DataError, DesignError
from gbveval.disclosure._facts import ELSE, Where
from gbveval.disclosure._names import split_name

# Coarser variable to the finest one below it, and what of that is in each category.
Finer = dict[str, tuple[str, dict[str, frozenset[str]]]]


@dataclass(frozen=True, slots=True)
class Nesting:
    """Which categories of a variable lie in which category of a coarser one.

    A reader knows that a ward lies in a district, and can add up a table by wards to numbers that a table by districts
    hides. Give it to the policy of every release: `Policy(nestings=[...])`. Then a table by the coarser variable is
    compared with all others as what it is, a table of the finer one with categories merged.

    Parameters
    ----------
    coarse, fine : str
        Names of the two variables, as tables name them.
    members : mapping of str to sequence of str
        For each category of `coarse` the categories of `fine` in it; each of these once.

    Raises
    ------
    DesignError
        The names are the same, or the members are none, or not each of them is in one category.

    Notes
    -----
    Whoever gave an answer to one of the variables must have given one to the other. Give those of whom only the
    coarser one is known a category of their own in the finer one ("north, ward not given").

    Examples
    --------
    >>> import gbveval as gbv
    >>> districts = gbv.Nesting("district", "ward", {"north": ["a", "b"], "south": ["c"]})
    >>> table = {"columns": (), "variables": ("ward",)}
    >>> wards = gbv.CountTable("wards", ("a", "b", "c"), n=((33,), (19,), (44,)), **table)
    >>> table = {"columns": (), "variables": ("district",), "within": (("hears", "yes"),)}
    >>> hearing = gbv.CountTable("hearing", ("north", "south"), n=((49,), (30,)), **table)
    >>> released = gbv.release([wards, hearing], gbv.Policy(nestings=[districts]))
    >>> released.suppressed[-1].split(", which")[0]
    'hid 2 further numbers'
    """

    coarse: str
    fine: str
    members: Mapping[str, Sequence[str]] = field(hash=False)

    def __post_init__(self) -> None:
        if not all(isinstance(name, str) and name for name in (self.coarse, self.fine)) or self.coarse == self.fine:
            raise DesignError("A nesting needs the names of two variables, the coarser and the finer one.")
        joined = [name for name in (self.coarse, self.fine) if len(split_name(name)) > 1]
        if joined:
            raise DesignError(
                f"{joined[0]!r} reads as several variables in one name. Rename it in the nesting and tables."
            )
        parts = list(self.members.values())
        texts = all(not isinstance(each, str) and all(isinstance(part, str) for part in each) for each in parts)
        if not texts or not all(isinstance(name, str) for name in self.members):
            raise DesignError("`members` maps a category, as text, to a list of categories, as text.")
        named = Counter(part for each in parts for part in each)
        twice = sum(count > 1 for count in named.values())
        if not named or not all(self.members.values()) or twice:
            empty = sum(not parts for parts in self.members.values())
            raise DesignError(
                f"`members` of {self.coarse!r} has {len(self.members)} categories, of which {empty} are empty, and "
                f"{twice} categories of {self.fine!r} are in it more than once. Put each of these into one category."
            )

    @classmethod
    def from_columns(cls, frame: Any, *, coarse: str, fine: str) -> Nesting:
        """Return the nesting that two columns show.

        Parameters
        ----------
        frame : pandas, polars or pyarrow frame, or dict of columns
            One row a respondent, or one row a place.
        coarse, fine : str
            The columns.

        Raises
        ------
        DataError
            A column is absent, a category of the finer one is in several of the coarser one, or one is known where the
            other is not.

        Examples
        --------
        >>> Nesting.from_columns({"w": ["a", "b", "a"], "d": ["x", "y", "x"]}, coarse="d", fine="w").members
        {'x': ('a',), 'y': ('b',)}
        """
        from gbveval.data._frame import Reader

        reader = Reader(frame, "Nesting")
        below = reader.labels(fine, "finer variable", missing=True)
        above = reader.labels(coarse, "coarser variable", missing=True)
        reader.raise_problems()
        half = int(((below.codes < 0) != (above.codes < 0)).sum())
        known = (below.codes >= 0) & (above.codes >= 0)
        pairs = np.unique(np.column_stack([above.codes[known], below.codes[known]]), axis=0)
        several = sum(count > 1 for count in Counter(pairs[:, 1].tolist()).values())
        problems = []
        if half:
            problems.append(
                f"In {half:,} rows only one of {coarse!r} and {fine!r} is known. Leave these rows out, or give them a "
                f"category of their own in {fine!r}, such as the name of the coarser one and 'not given'."
            )
        if several:
            problems.append(
                f"{several} categories of {fine!r} lie in more than one category of {coarse!r}. Give different places "
                "different names, or mend the rows that are wrong."
            )
        if problems:
            raise DataError(problems)
        members = {
            level: tuple(below.levels[b] for a, b in pairs.tolist() if a == code)
            for code, level in enumerate(above.levels)
        }
        return cls(coarse, fine, {level: parts for level, parts in members.items() if parts})


def finest_of(nestings: Sequence[Nesting]) -> Finer:
    """Return, for each coarser variable, the finest one below it, and what of it is in each category.

    Raises
    ------
    DesignError
        A variable is nested twice or in itself, or a nesting names categories that the next one does not place.
    """
    by_name = {nesting.coarse: nesting for nesting in nestings}
    if len(by_name) < len(nestings):
        raise DesignError("`nestings` says of one variable twice what it is made of. Say it once.")
    found: Finer = {}
    for nesting in nestings:
        fine, members = nesting.fine, {name: frozenset(parts) for name, parts in nesting.members.items()}
        seen = {nesting.coarse}
        while fine in by_name:
            if fine in seen:
                raise DesignError(f"`nestings` makes {nesting.coarse!r} a part of itself.")
            seen.add(fine)
            below = by_name[fine].members
            unknown = len(frozenset().union(*members.values()) - set(below))
            if unknown:
                raise DesignError(
                    f"`nestings` puts {unknown} categories of {fine!r} into {nesting.coarse!r} and does not say what "
                    f"they are made of. Name them in the nesting of {fine!r} too."
                )
            members = {
                name: frozenset(part for middle in parts for part in below[middle]) for name, parts in members.items()
            }
            fine = by_name[fine].fine
        found[nesting.coarse] = (fine, members)
    return found


def told(where: Iterable[tuple[str, frozenset[str]]], finer: Finer) -> Where:
    """Return categories of variables told in the finest ones: none are left of a ward in another district."""
    found: dict[str, frozenset[str]] = {}
    for variable, labels in where:
        name, inside = variable, labels
        if variable in finer:
            name, members = finer[variable]
            inside = frozenset().union(
                *(frozenset([label]) if label == ELSE else members.get(label, frozenset()) for label in labels)
            )
        found[name] = found[name] & inside if name in found else inside
    return found
