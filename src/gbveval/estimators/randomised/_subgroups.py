"""The joint model of arms and subgroups: cells of people, columns of the regression, and what it needs of the data."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gbveval.core.errors import DesignError, IdentificationError
from gbveval.core.method import Cell, Check
from gbveval.data.trial import Trial
from gbveval.estimators._assemble import events_of
from gbveval.estimators.randomised._linear import check_sizes, stratum_columns, used_rows, with_baseline
from gbveval.numerics.joint_contrasts import JointContrasts, joint_contrasts
from gbveval.numerics.least_squares import make_basis
from gbveval.numerics.linear_inference import MANY_CLUSTERS

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]
IntArray = NDArray[np.intp]
# More subgroups than this are not compared by anybody, and their model would have too many coefficients.
MAXIMUM_CELLS = 30
_SHOWN = 6
# Numbers in the matrices of all clusters, of which several copies are held.
MAXIMUM_NUMBERS = 3e7


@dataclass(frozen=True, eq=False, slots=True)
class Cells:
    """Subgroups that exclude each other: those of one column, or the intersections of several.

    Attributes
    ----------
    columns : tuple of str
        Columns they come from.
    labels : tuple of str
        One a subgroup.
    codes : ndarray of int, shape (n,)
        Everybody's subgroup.
    """

    columns: tuple[str, ...]
    labels: tuple[str, ...]
    codes: IntArray


@dataclass(frozen=True, eq=False, slots=True)
class JointModel:
    """The fit of one outcome.

    Attributes
    ----------
    found : JointContrasts
        Effects, arms after each other and subgroups inside each, then the average of each arm.
    used : ndarray of bool
        Rows of the trial that took part.
    shares : ndarray, shape (subgroups,)
        Share of each subgroup among them, by weight.
    adjusted : bool
        Whether anything but arms and subgroups entered.
    """

    found: JointContrasts
    used: BoolArray
    shares: FloatArray
    adjusted: bool


def make_cells(data: Trial, by: tuple[str, ...]) -> Cells:
    """Return the subgroups of some of a trial's columns (all of them by default)."""
    if not data.subgroup_names:
        raise DesignError(
            "SubgroupEffects needs the role `subgroup`: one or several columns of categories known before assignment. "
            "The trial declares none."
        )
    columns = by or data.subgroup_names
    unknown = [name for name in columns if name not in data.subgroup_names]
    if unknown:
        raise DesignError(
            f"by names {', '.join(map(repr, unknown))}; the trial's subgroups are: {', '.join(data.subgroup_names)}."
        )
    places = [data.subgroup_names.index(name) for name in columns]
    member, codes = np.unique(data.subgroups[:, places], axis=0, return_inverse=True)
    if member.shape[0] > MAXIMUM_CELLS:
        raise DesignError(
            f"{' and '.join(columns)} make {member.shape[0]} subgroups; at most {MAXIMUM_CELLS} can be compared. "
            "Choose fewer columns in `by`, or merge categories."
        )
    if member.shape[0] < 2:
        raise DesignError(
            f"All randomised units are in one category of {' and '.join(columns)}; at least two subgroups are needed."
        )
    words = [_level_words(name, data.subgroup_levels[place]) for name, place in zip(columns, places, strict=True)]
    labels = tuple(", ".join(word[int(level)] for word, level in zip(words, row, strict=True)) for row in member)
    return Cells(tuple(columns), labels, codes.reshape(-1).astype(np.intp))


def _level_words(column: str, levels: tuple[str, ...]) -> tuple[str, ...]:
    """Return categories as a reader understands them: 1, "yes" and "true" say nothing without their column."""
    bare = any(not any(letter.isalpha() for letter in level) for level in levels)
    bare = bare or any(level.lower() in ("yes", "no", "true", "false") for level in levels)
    return tuple(f"{column} {level}" for level in levels) if bare else levels


def groups_of(data: Trial) -> tuple[IntArray | None, int, str]:
    """Return what errors are clustered by, how many there are, and what they are called; None for single units."""
    group = data.pair or data.cluster
    if group is None:
        return None, 0, "unit"
    return group.codes, group.count, "pair" if data.pair is not None else "cluster"


def fit_joint_model(data: Trial, cells: Cells, outcome: int, slopes: str) -> tuple[JointModel, list[Check]]:
    """Return the regression of one outcome on every product of arm and subgroup, and what a reader should know."""
    used, checks = used_rows(data, outcome)
    used, notes = with_baseline(data, used, outcome)
    check_cells(data, cells, used)
    weights = None if data.weight is None else data.weight[used]
    cell, arm = cells.codes[used], data.arm[used]
    size, arms = len(cells.labels), len(data.arms) - 1
    own = _indicators(cell, range(1, size))
    products = np.column_stack([_indicators(cell, range(size)) * (arm == code)[:, None] for code in range(1, arms + 1)])
    adjusting, names = _adjusting(data, used)
    _check_separate(data, cells, np.column_stack([own, adjusting, products]), products.shape[1])
    extra, extra_names = adjusting, names
    if slopes == "by_arm" and names:
        extra, extra_names = _by_arm(adjusting, names, data.arms, (arm, cell), weights)
    design = np.column_stack([own, products, extra])
    basis = make_basis(design, weights=weights)
    check_sizes(data, used, 1 + design.shape[1] - int(basis.dropped.size))
    group, count, word = groups_of(data)
    if group is not None and count <= MANY_CLUSTERS and count * float(design.shape[1]) ** 2 > MAXIMUM_NUMBERS:
        raise DesignError(
            f"{count:,} {word}s with {design.shape[1]:,} columns of subgroups, covariates and strata do not fit into "
            f"memory. Merge strata{', or put similar pairs together into strata' if word == 'pair' else ''}."
        )
    start = own.shape[1]
    dropped = [extra_names[i - start - products.shape[1]] for i in basis.dropped]
    shown = [name for name in dropped if "stratum #" not in name and "pair #" not in name]
    if shown:
        text = f"collinear columns were dropped and change nothing: {', '.join(shown)}."
        notes.append(Check("rank", "warn", text))
    mass = np.bincount(cell, weights=weights, minlength=size)
    shares = mass / mass.sum()
    contrasts = np.zeros((arms * (size + 1), design.shape[1]))
    contrasts[: arms * size, start : start + arms * size] = np.eye(arms * size)
    contrasts[arms * size :, start : start + arms * size] = np.kron(np.eye(arms), shares)
    differences = np.kron(np.eye(arms), np.column_stack([-np.ones(size - 1), np.eye(size - 1)]))
    tested = np.column_stack([differences, np.zeros((differences.shape[0], arms))])
    found = joint_contrasts(
        design,
        data.outcomes[used, outcome],
        contrasts,
        tested,
        families=[slice(a * size, (a + 1) * size) for a in range(arms)],
        cluster=None if group is None else group[used],
        n_clusters=count,
        weights=weights,
    )
    if found.exact_fits:
        text = f"{found.exact_fits} {word}s are fitted exactly and carry no information on the error."
        public = f"some {word}s are fitted exactly and carry no information on the error."
        notes.append(Check("exact fits", "info", text, public))
    return JointModel(found, used, shares, extra.shape[1] > 0), [*checks, *notes]


def _indicators(codes: IntArray, levels: range) -> FloatArray:
    result: FloatArray = (codes[:, None] == np.array(levels)[None, :]).astype(float)
    return result


def _adjusting(data: Trial, used: BoolArray) -> tuple[FloatArray, list[str]]:
    """Return what the comparison is adjusted for: the baseline outcome, covariates, strata or pairs."""
    groups, group_names = stratum_columns(data, used)
    parts, names = [data.covariates[used], groups], [*data.covariate_names, *group_names]
    if data.baseline is not None:
        parts, names = [data.baseline[used][:, None], *parts], ["baseline", *names]
    return np.column_stack(parts), names


def _by_arm(
    columns: FloatArray,
    names: list[str],
    arms: tuple[str, ...],
    codes: tuple[IntArray, IntArray],
    weights: FloatArray | None,
) -> tuple[FloatArray, list[str]]:
    """Return the columns centred within each subgroup, and their products with the arms.

    So centred, a coefficient of an arm and subgroup stays the average effect over that subgroup's own people.
    """
    arm, cell = codes
    w = np.ones(cell.size) if weights is None else weights
    mass = np.bincount(cell, weights=w)
    centred = columns - np.column_stack([np.bincount(cell, weights=w * column) / mass for column in columns.T])[cell]
    parts, labels = [centred], list(names)
    for code, label in enumerate(arms[1:], start=1):
        parts.append(centred * (arm == code)[:, None])
        labels += [f"{label} x {name}" for name in names]
    return np.column_stack(parts), labels


def check_cells(data: Trial, cells: Cells, used: BoolArray) -> None:
    """Raise where a subgroup has fewer than two units, or clusters, with an outcome in an arm."""
    group, _, word = groups_of(data)
    unit = np.arange(data.n) if group is None else group
    short = []
    for code, label in enumerate(data.arms):
        for cell, name in enumerate(cells.labels):
            member = used & (data.arm == code) & (cells.codes == cell)
            if np.unique(unit[member]).size < 2:
                short.append(f"{name!r} in {label!r}")
    if not short:
        return
    total = len(cells.labels) * len(data.arms)
    # A category that stands once may be somebody's name.
    named = int(np.bincount(cells.codes).min()) > 1
    more = f" and {len(short) - _SHOWN} more" if len(short) > _SHOWN else ""
    which = f": {'; '.join(short[:_SHOWN])}{more}" if named else ""
    raise IdentificationError(
        f"{len(short)} of {total} combinations of subgroup ({' and '.join(cells.columns)}) and arm have fewer than two "
        f"{word}s with an outcome{which}. Merge categories, or use fewer columns in `by`."
    )


def _check_separate(data: Trial, cells: Cells, columns: FloatArray, last: int) -> None:
    """Raise if an arm in a subgroup is a linear function of what the model adjusts for."""
    dropped = make_basis(columns).dropped
    lost = [int(i) - (columns.shape[1] - last) for i in dropped if i >= columns.shape[1] - last]
    if lost:
        arm, cell = divmod(lost[0], len(cells.labels))
        raise IdentificationError(
            f"The arm {data.arms[arm + 1]!r} in the subgroup {cells.labels[cell]!r} is collinear with covariates or "
            "strata, so its effect cannot be told from theirs. Leave out what determines the arm, or merge strata."
        )


def cell_support(data: Trial, cells: Cells, outcome: int, used: BoolArray) -> list[Cell]:
    """Return the counts of every arm and subgroup, which are one table."""
    happened = events_of(data.outcomes[:, outcome])
    table = f"{data.outcome_names[outcome]} by arm and {' and '.join(cells.columns)}"
    found = []
    for code, arm in enumerate(data.arms):
        for cell, label in enumerate(cells.labels):
            member = used & (data.arm == code) & (cells.codes == cell)
            events = None if happened is None else int(happened[member].sum())
            found.append(Cell(f"{arm}, {label}", int(member.sum()), events, table))
    return found
