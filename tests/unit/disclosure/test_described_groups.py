"""Random studies of several tables, and a reader who asks for every group that some properties describe."""

from __future__ import annotations

import itertools
import os

import numpy as np
import pytest
from scipy.optimize import linprog

import gbveval as gbv

# The third gender is in no table of its own in many of these studies: what all others leave is what gives it away.
PROPERTIES = {"gender": ("w", "m", "x"), "region": ("n", "s"), "hears": ("yes", "no")}
NAMES, SHAPE = tuple(PROPERTIES), (3, 2, 2)
N_STUDIES = int(os.environ.get("GBVEVAL_STUDIES", "40"))


def _inside(where: dict[str, tuple[str, ...]]) -> np.ndarray:
    """Return which cells of everybody are in some categories."""
    inside = np.ones(SHAPE, dtype=bool)
    for axis, (name, labels) in enumerate(PROPERTIES.items()):
        member = np.array([label in where.get(name, labels) for label in labels])
        inside &= member.reshape([-1 if i == axis else 1 for i in range(3)])
    return inside


def _study(rng: np.random.Generator) -> tuple[np.ndarray, list[gbv.CountTable]]:
    people = rng.choice([0, 1, 2, 3, 4, 8, 12, 20, 35, 50], size=SHAPE)
    people[:2] += 20
    subgroups = [(), *(((name, label),) for name, labels in PROPERTIES.items() for label in labels)]
    all_tables = [(name, within) for within in subgroups for name in NAMES if name not in dict(within)]
    tables = []
    for place in rng.choice(len(all_tables), rng.integers(2, 7), replace=False):
        name, within = all_tables[place]
        groups = ({name: (label,)} | {of: (one,) for of, one in within} for label in PROPERTIES[name])
        n = tuple((int(people[_inside(where)].sum()),) for where in groups)
        title = f"{name} within {within}"
        tables.append(gbv.CountTable(title, PROPERTIES[name], (), n, variables=(name,), within=within))
    return people, tables


def _pinned(people: np.ndarray, tables: list[gbv.CountTable], width: int) -> list[tuple[object, ...]]:
    """Return the groups of one to nine people that linear programmes confine, from what is printed."""
    sums, values = [], []
    for table, shown in zip(tables, gbv.release(tables).tables(), strict=True):
        (name,) = table.variables
        for label, number in shown.rows:
            if number is not None:
                labels = PROPERTIES[name] if label == "total" else (str(label),)
                where = {name: labels} | {of: (one,) for of, one in table.within}
                sums.append(_inside(where).ravel().astype(float))
                values.append(float(number))
    if not sums:
        return []
    found = []
    for labels in itertools.product(*((None, *each) for each in PROPERTIES.values())):
        where = {name: (label,) for name, label in zip(NAMES, labels, strict=True) if label is not None}
        mask = _inside(where).ravel().astype(float)
        if not 0 < people.ravel() @ mask < 10:
            continue
        ends = [linprog(s * mask, A_eq=np.array(sums), b_eq=values, bounds=(0, None)) for s in (1.0, -1.0)]
        largest = np.inf if ends[1].status == 3 else -ends[1].fun
        if largest < 10 and largest - ends[0].fun < width - 1e-6:
            found.append(labels)
    return found


@pytest.mark.parametrize("block", range(4))
def test_no_group_that_properties_describe_follows_from_several_tables(block: int) -> None:
    """Before groups were sought by properties, one such study in sixty gave one away."""
    for number in range(N_STUDIES):
        people, tables = _study(np.random.default_rng([block, number]))
        assert not _pinned(people, tables, gbv.Policy().protection_width), [table.title for table in tables]
