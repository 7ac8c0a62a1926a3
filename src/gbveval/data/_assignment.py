"""What a randomised trial's columns must satisfy together: arms, clusters, strata, pairs, periods, probabilities."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gbveval.data._frame import Labels, Reader, frozen, plural

if TYPE_CHECKING:
    from gbveval.data.trial import Trial

# More labels than this in the arm's column are names of units and not arms.
MAXIMUM_ARMS = 8
FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]


def control_first(reader: Reader, arms: Labels, column: str, control: str) -> Labels:
    """Reorder arms so that control has code 0; note a problem when it is absent or alone."""
    if column not in reader.columns:
        return arms
    if control not in arms.levels and control in ("True", "False"):
        control = {"True": "1", "False": "0"}[control]
    if arms.count > MAXIMUM_ARMS:
        # That many labels are names, and names are not shown.
        reader.problem(f"Column {column!r} (arm) holds {arms.count:,} different labels; arms were expected.")
        return arms
    if "all" in arms.levels:
        reader.problem(f"An arm of column {column!r} is called 'all', the word for all arms together; rename it.")
    counts = np.bincount(arms.codes[arms.codes >= 0], minlength=arms.count)
    # A label that stands once may be somebody's name.
    shown = (
        ", ".join(repr(level) for level in arms.levels)
        if counts.min() > 1
        else f"{arms.count} labels, some of them once"
    )
    if control not in arms.levels:
        reader.problem(f"The control arm {control!r} is not among the labels of column {column!r}: {shown}.")
        return arms
    if arms.count == 1:
        reader.problem(f"Column {column!r} (arm) holds a single arm, {shown}; at least two were expected.")
        return arms
    order = [control, *(level for level in arms.levels if level != control)]
    position = np.array([order.index(level) for level in arms.levels] + [-1], dtype=np.intp)
    return Labels(position[arms.codes], tuple(order))


def recode(labels: Labels, keep: BoolArray | NDArray[np.intp]) -> Labels:
    """Return the labels of some rows with the levels that occur in them."""
    codes = labels.codes[keep]
    used, inverse = np.unique(codes, return_inverse=True)
    return Labels(frozen(inverse.astype(np.intp)), tuple(labels.levels[i] for i in used))


def check_design(reader: Reader, trial: Trial, columns: dict[str, str | None]) -> None:
    """Note where assignment does not fit the clusters, strata and pairs declared."""
    present = np.unique(trial.arm)
    if present.size < len(trial.arms):
        reader.problem(f"Column {columns['arm']!r} (arm): an arm has no randomised row.")
        return
    cluster = trial.cluster
    if trial.saturation is not None:
        _check_saturation(reader, trial, columns)
    if cluster is not None:
        if trial.saturation is None:
            _check_arm_in_clusters(reader, trial, columns)
        for role in ("stratum", "pair", "sequence"):
            groups: Labels | None = getattr(trial, role)
            if groups is not None and (split := varies_within(cluster, groups.codes)):
                reader.problem(
                    f"Column {columns[role]!r} ({role}) varies inside {plural(split, 'cluster')}; a cluster lies in "
                    f"one {role}."
                )
    if trial.pair is not None and trial.saturation is None:
        _check_pairs(reader, trial, columns)


def _check_saturation(reader: Reader, trial: Trial, columns: dict[str, str | None]) -> None:
    """Note where a saturation varies in a cluster, or where 0 or 1 is not what happened there."""
    assert trial.saturation is not None
    name = f"Column {columns['saturation']!r} (saturation)"
    if trial.cluster is None:
        reader.problem(f"{name} is a share of a cluster, and no cluster is declared. Declare it.")
        return
    if trial.pair is not None or trial.time is not None:
        reader.problem(f"{name} goes with cluster and stratum, not with pair or time. Declare a pair as a stratum.")
    varying = _varying_groups(trial.cluster, trial.saturation)
    if varying.size:
        rows = int(np.isin(trial.cluster.codes, varying).sum())
        reader.problem(
            f"{name} varies inside {plural(varying.size, 'cluster')} ({plural(rows, 'row')}); one share for everybody "
            "in a cluster was expected. Give the share that was assigned, not the one found."
        )
    for share, wrong, what in (
        (0.0, trial.arm != 0, "not in control where the saturation is 0"),
        (1.0, trial.arm == 0, "in control where the saturation is 1"),
    ):
        rows = int((wrong & (trial.saturation == share)).sum())
        if rows:
            verb = "is" if rows == 1 else "are"
            reader.problem(f"{name}: {plural(rows, 'row')} {verb} {what}. Mend the arm, or the saturation.")


def _check_arm_in_clusters(reader: Reader, trial: Trial, columns: dict[str, str | None]) -> None:
    """Note clusters whose arm varies; where there are periods it may, from one to the next."""
    assert trial.cluster is not None
    assigned = trial.cluster
    if trial.time is not None:
        pairs = trial.cluster.codes * trial.time.count + trial.time.codes
        used, codes = np.unique(pairs, return_inverse=True)
        assigned = Labels(codes.astype(np.intp), tuple(str(i) for i in range(used.size)))
    mixed = varies_within(assigned, trial.arm)
    if not mixed:
        return
    rows = int(np.isin(assigned.codes, _varying_groups(assigned, trial.arm)).sum())
    where = plural(mixed, "cluster") if trial.time is None else f"{plural(mixed, 'period')} of a cluster"
    reader.problem(
        f"Column {columns['arm']!r} (arm) varies inside {where} of {columns['cluster']!r} "
        f"({plural(rows, 'row')}); a cluster is the unit of assignment. Declare the cluster that was assigned, "
        "or leave cluster out if single units were."
    )


def probabilities(reader: Reader, arms: Labels, given: str | Mapping[str, str]) -> FloatArray:
    """Return the probability of each arm, shape (n, arms), from one column (two arms) or one for each arm."""
    nothing = np.full((reader.n, arms.count), np.nan)
    if isinstance(given, str):
        if arms.count != 2:
            reader.problem(
                f"One column of probabilities fits two arms; there are {arms.count}. Name a column for each arm: "
                "probability={arm: column}."
            )
            return nothing
        given = {arms.levels[1]: given}
    unknown = [arm for arm in given if arm not in arms.levels]
    absent = [arm for arm in arms.levels if arm not in given]
    if unknown or len(absent) > 1 or (absent and absent[0] != arms.levels[0]):
        reader.problem(
            f"probability must name a column for each of the {arms.count} arms (control may be left out, as the rest); "
            f"names that are no arm: {len(unknown)}; arms without a column: {len(absent)}."
        )
        return nothing
    found = np.column_stack(
        [reader.numbers(given[arm], "probability") if arm in given else np.zeros(reader.n) for arm in arms.levels]
    )
    if absent:
        found[:, 0] = 1.0 - found[:, 1:].sum(axis=1)
    _check_probabilities(reader, arms, found)
    return found


def _check_probabilities(reader: Reader, arms: Labels, found: FloatArray) -> None:
    """Probabilities lie in [0, 1], sum to one, and nobody is in an arm that was impossible."""
    outside = int(((found < -1e-12) | (found > 1.0 + 1e-12)).any(axis=1).sum())
    if outside:
        reader.problem(f"A probability of assignment lies outside 0 to 1 in {plural(outside, 'row')}.")
        return
    off = int((np.abs(found.sum(axis=1) - 1.0) > 1e-8).sum())
    if off:
        reader.problem(f"The probabilities of assignment do not sum to one in {plural(off, 'row')}.")
    member = arms.codes >= 0
    own = found[np.flatnonzero(member), arms.codes[member]]
    impossible = int((own <= 0).sum())
    if impossible:
        reader.problem(
            f"{plural(impossible, 'row')} are in an arm whose probability is zero there. Mend the probabilities, or "
            "leave out units that could not be assigned and say so."
        )


def _check_pairs(reader: Reader, trial: Trial, columns: dict[str, str | None]) -> None:
    assert trial.pair is not None
    units = np.arange(trial.n) if trial.cluster is None else trial.cluster.codes
    what = "units" if trial.cluster is None else "clusters"
    _, first = np.unique(units, return_index=True)
    pair, arm = trial.pair.codes[first], trial.arm[first]
    if len(trial.arms) != 2:
        reader.problem(f"Pairs need two arms; column {columns['arm']!r} holds {len(trial.arms)}.")
        return
    size = np.bincount(pair, minlength=trial.pair.count)
    treated = np.bincount(pair, weights=arm, minlength=trial.pair.count)
    wrong = int(((size != 2) | (treated != 1)).sum())
    if wrong:
        reader.problem(
            f"Column {columns['pair']!r} (pair): {plural(wrong, 'pair')} of {trial.pair.count:,} do not hold two "
            f"{what}, one in each arm. Use stratum for larger groups, or leave incomplete pairs out and say so."
        )


def _varying_groups(groups: Labels, value: NDArray[Any]) -> NDArray[np.intp]:
    """Return the groups in which `value` is not constant."""
    one = np.zeros(groups.count, dtype=value.dtype)
    # Any of its rows stands for a group; the others are compared with it.
    one[groups.codes] = value
    differs = value != one[groups.codes]
    return np.flatnonzero(np.bincount(groups.codes[differs], minlength=groups.count))


def varies_within(groups: Labels, value: NDArray[Any]) -> int:
    """Return the number of groups in which `value` is not constant."""
    return int(_varying_groups(groups, value).size)
