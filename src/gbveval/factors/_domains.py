"""Groups of respondents that exclude each other, and the counts that disclosure control needs of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gbveval.core.errors import DesignError
from gbveval.core.method import NO_ANSWER, Cell
from gbveval.data._frame import Labels
from gbveval.data.survey import Survey
from gbveval.factors._rows import category, is_binary

BoolArray = NDArray[np.bool_]


@dataclass(frozen=True, eq=False, slots=True)
class Domains:
    """Groups that exclude each other: a name, a label a group, and each respondent's group or -1."""

    name: str
    labels: tuple[str, ...]
    codes: NDArray[np.intp]


@dataclass(frozen=True, eq=False, slots=True)
class Group:
    """The whole survey, or one group of it.

    Attributes
    ----------
    member : ndarray of bool, shape (n,)
        Who is in it.
    term : str
        Name of its row.
    domain, level : str or None
        Column (or columns) and category; None for everyone.
    support : tuple of Cell
        Counts behind its row.
    """

    member: BoolArray
    term: str
    domain: str | None
    level: str | None
    support: tuple[Cell, ...]


def read_domains(data: Survey, columns: tuple[str, ...]) -> Domains | None:
    """Return the groups that cross the columns; those that nobody is in are absent."""
    if not columns:
        return None
    return crossed_domains(data.n, [category(data, column) for column in columns], columns)[0]


def crossed_domains(n: int, found: Sequence[Labels], columns: tuple[str, ...]) -> tuple[Domains, NDArray[np.intp]]:
    """Return the groups that cross some labels, and each group's place in every one of them, shape (groups, labels)."""
    complete = np.all([labels.codes >= 0 for labels in found], axis=0)
    # One whole number for each combination: sorting those of a million respondents costs little.
    crossed = np.zeros(int(complete.sum()), dtype=np.int64)
    for labels in found:
        crossed = crossed * labels.count + labels.codes[complete]
    used, inverse = np.unique(crossed, return_inverse=True)
    codes = np.full(n, -1, dtype=np.intp)
    codes[complete] = inverse.reshape(-1)
    place = np.column_stack(np.unravel_index(used, tuple(labels.count for labels in found)))
    names = tuple(
        ", ".join(labels.levels[code] for labels, code in zip(found, row, strict=True)) for row in place.tolist()
    )
    if len(set(names)) < len(names):
        raise DesignError(
            f"Two combinations of {' and '.join(columns)} would have one name, because categories hold commas. Rename "
            "those categories."
        )
    return Domains(" and ".join(columns), names, codes), place


CellOf = Callable[[BoolArray, str, str], Cell]


def groups(data: Survey, name: str, domains: Domains | None, cell: CellOf) -> Iterator[Group]:
    """Yield everyone, then each group, with the counts behind it.

    Parameters
    ----------
    data : Survey
        The survey.
    name : str
        What is estimated, for the names of tables.
    domains : Domains, optional
        The groups.
    cell : callable
        Counts of a group, by its members, its label and its table.
    """
    everyone = np.ones(data.n, dtype=bool)
    yield Group(everyone, "all", None, None, (cell(everyone, "all", name),))
    if domains is None:
        return
    table = f"{name} by {domains.name}"
    cells = [cell(domains.codes == g, label, table) for g, label in enumerate(domains.labels)]
    # Whoever reads the total and the groups can work out those without an answer. They join the smallest group's
    # support: that row is the one to give up when they are too few.
    silent = cell(domains.codes < 0, NO_ANSWER, table)
    smallest = int(np.argmin([found.n for found in cells])) if cells else -1
    for g, label in enumerate(domains.labels):
        support = (cells[g], silent) if g == smallest and silent.n else (cells[g],)
        yield Group(domains.codes == g, f"{domains.name}: {label}", domains.name, label, support)


def outcome_cell(data: Survey, outcome: int) -> CellOf:
    """Return a function that counts the members with the outcome observed, and those who have it."""
    binary = is_binary(data, outcome)
    usable = data.observed(outcome) & (data.weights() > 0)

    def cell(group: BoolArray, label: str, table: str) -> Cell:
        member = group & usable
        events = int(data.outcomes[member, outcome].sum()) if binary else None
        return Cell(label, int(member.sum()), events, table)

    return cell


def domain_extra(
    survey: Survey, group: Group, member: BoolArray, deff: float
) -> tuple[tuple[str, float | str | None], ...]:
    """Return the columns that every estimate of a group has of its own."""
    size = int(group.member.sum())
    return (
        ("domain", group.domain),
        ("domain_level", group.level),
        ("n_weighted", float(survey.weights()[member].sum())),
        ("design_effect", deff if np.isfinite(deff) else None),
        ("missing_share", float(1.0 - member.sum() / size) if size else None),
    )
