"""`Trial`: a randomised trial, checked once, as arrays."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gbveval.core.errors import DataError
from gbveval.core.flow import Flow, FlowRow
from gbveval.core.provenance import digest_arrays
from gbveval.data._frame import Checked, Labels, Reader, as_names, frozen, plural

# More labels than this in the arm's column are names of units and not arms.
MAXIMUM_ARMS = 8
FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]


class Trial(Checked):
    """A randomised trial with its columns given roles, checked as a whole.

    Every problem is told at once in one `DataError`, by column and number of rows, never by value.

    Parameters
    ----------
    frame : pandas, polars or pyarrow frame, or dict of columns
        One row a unit. It is read and not kept.
    outcome : str or sequence of str
        Numeric outcome columns. Missing outcomes are kept, counted and shown in `flow`.
    arm : str
        Column with the assigned arm. Rows without an arm count as assessed and not randomised.
    control : str, int or bool
        Label of the arm that the others are compared with.
    cluster : str, optional
        Unit of assignment, when groups were assigned; the arm may not vary inside it.
    stratum : str, optional
        Stratum within which units (or clusters) were assigned.
    pair : str, optional
        Matched pair: two units (or two clusters), one in each arm.
    site : str, optional
        Pilot site, for hierarchical models.
    covariates : sequence of str
        Measured before assignment. Categories become indicators. They must be complete.
    weight : str, optional
        Analysis weight, zero or more.

    Raises
    ------
    DataError
        Listing every problem.

    Notes
    -----
    A role that is not given is absent, never guessed.

    Examples
    --------
    >>> frame = {"y": [0, 1, 1, None], "arm": ["usual", "usual", "new", "new"]}
    >>> trial = Trial(frame, outcome="y", arm="arm", control="usual")
    >>> trial
    <Trial: 4 units, arms 'usual' (2), 'new' (2); outcome y (1 missing)>
    """

    def __init__(  # noqa: PLR0913  (one keyword a role)
        self,
        frame: Any,
        *,
        outcome: str | Sequence[str],
        arm: str,
        control: str | int | bool,
        cluster: str | None = None,
        stratum: str | None = None,
        pair: str | None = None,
        site: str | None = None,
        covariates: Sequence[str] = (),
        weight: str | None = None,
    ) -> None:
        reader = Reader(frame, "Trial")
        names = as_names(outcome, "outcome")
        if not names:
            raise DataError("A Trial needs at least one outcome column.")
        outcomes = np.column_stack([reader.numbers(name, "outcome", missing=True) for name in names])
        arms = reader.labels(arm, "arm", missing=True)
        arms = _control_first(reader, arms, arm, str(control))
        groups = {
            role: None if column is None else reader.labels(column, role)
            for role, column in (("cluster", cluster), ("stratum", stratum), ("pair", pair), ("site", site))
        }
        if pair is not None and stratum is not None:
            reader.problem("Give stratum or pair, not both: a pair is the stratum of two.")
        matrix, covariate_names = reader.covariates(as_names(covariates, "covariates"))
        weights = None if weight is None else reader.weights(weight)
        reader.raise_problems()
        randomised = arms.codes >= 0
        n_assessed = reader.n
        for number, name in enumerate(names):
            if np.all(np.isnan(outcomes[randomised, number])):
                reader.problem(f"Column {name!r} (outcome) is missing in every randomised row.")
        self._set(
            n_assessed=n_assessed,
            outcome_names=names,
            outcomes=outcomes[randomised],
            arms=arms.levels,
            arm=arms.codes[randomised],
            covariate_names=covariate_names,
            covariates=matrix[randomised],
            weight=None if weights is None else weights[randomised],
            **{role: None if found is None else _recode(found, randomised) for role, found in groups.items()},
        )
        _check_design(reader, self, {"arm": arm, "cluster": cluster, "stratum": stratum, "pair": pair})
        reader.raise_problems()

    # What the constructor sets, for readers and type checkers.
    n_assessed: int
    outcome_names: tuple[str, ...]
    outcomes: FloatArray
    arms: tuple[str, ...]
    arm: NDArray[np.intp]
    cluster: Labels | None
    stratum: Labels | None
    pair: Labels | None
    site: Labels | None
    covariate_names: tuple[str, ...]
    covariates: FloatArray
    weight: FloatArray | None

    @classmethod
    def _trusted(cls, **values: Any) -> Trial:
        """Make a Trial from arrays that a known process drew, without checking them again."""
        trial = cls.__new__(cls)
        defaults: dict[str, Any] = {
            "cluster": None,
            "stratum": None,
            "pair": None,
            "site": None,
            "covariate_names": (),
            "covariates": np.zeros((values["arm"].shape[0], 0)),
            "weight": None,
            "n_assessed": values["arm"].shape[0],
        }
        trial._set(**{**defaults, **values})
        return trial

    @property
    def n(self) -> int:
        """Randomised units."""
        return int(self.arm.shape[0])

    @property
    def n_clusters(self) -> int | None:
        """Clusters with a randomised unit; None when single units were assigned."""
        return None if self.cluster is None else self.cluster.count

    def observed(self, outcome: int) -> BoolArray:
        """Return which randomised units have the outcome (by its position)."""
        return ~np.isnan(self.outcomes[:, outcome])

    def is_binary(self, outcome: int) -> bool:
        """Return whether every observed value of an outcome is 0 or 1."""
        values = self.outcomes[self.observed(outcome), outcome]
        return bool(np.all((values == 0) | (values == 1)))

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the checked data; it identifies them and holds none of them."""
        groups = [
            (role, value.codes if isinstance(value, Labels) else None)
            for role, value in (
                ("cluster", self.cluster),
                ("stratum", self.stratum),
                ("pair", self.pair),
                ("site", self.site),
            )
        ]
        return digest_arrays(
            [
                ("outcomes", self.outcomes),
                ("arm", self.arm),
                ("arms", self.arms),
                *groups,
                ("covariates", self.covariates),
                ("weight", self.weight),
            ]
        )

    def flow(self, outcome: str | None = None) -> Flow:
        """Return how many were assessed, randomised and analysed, by arm and cluster.

        Parameters
        ----------
        outcome : str, optional
            Name of the outcome; the first by default.
        """
        if outcome is not None and outcome not in self.outcome_names:
            raise DataError(f"{outcome!r} is not an outcome of the trial; there are: {', '.join(self.outcome_names)}.")
        number = 0 if outcome is None else self.outcome_names.index(outcome)
        observed = self.observed(number)
        rows = [FlowRow("assessed", "all", self.n_assessed)]
        for stage, mask in (("randomised", None), ("missing outcome", ~observed), ("analysed", observed)):
            for code, label in enumerate(self.arms):
                member = self.arm == code if mask is None else (self.arm == code) & mask
                clusters = None if self.cluster is None else int(np.unique(self.cluster.codes[member]).size)
                rows.append(FlowRow(stage, label, int(member.sum()), clusters))
        return Flow(tuple(rows))

    def __repr__(self) -> str:
        sizes = np.bincount(self.arm, minlength=len(self.arms))
        arms = ", ".join(f"{label!r} ({count:,})" for label, count in zip(self.arms, sizes, strict=True))
        missing = np.isnan(self.outcomes).sum(axis=0)
        names = ", ".join(f"{a} ({m:,} missing)" for a, m in zip(self.outcome_names, missing, strict=True))
        clusters = "" if self.cluster is None else f" in {plural(self.cluster.count, 'cluster')}"
        word = "outcome" if len(self.outcome_names) == 1 else "outcomes"
        return f"<Trial: {plural(self.n, 'unit')}{clusters}, arms {arms}; {word} {names}>"


def _control_first(reader: Reader, arms: Labels, column: str, control: str) -> Labels:
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


def _recode(labels: Labels, keep: BoolArray) -> Labels:
    """Return the labels of some rows with the levels that occur in them."""
    codes = labels.codes[keep]
    used, inverse = np.unique(codes, return_inverse=True)
    return Labels(frozen(inverse.astype(np.intp)), tuple(labels.levels[i] for i in used))


def _check_design(reader: Reader, trial: Trial, columns: dict[str, str | None]) -> None:
    """Note where assignment does not fit the clusters, strata and pairs declared."""
    present = np.unique(trial.arm)
    if present.size < len(trial.arms):
        reader.problem(f"Column {columns['arm']!r} (arm): an arm has no randomised row.")
        return
    cluster = trial.cluster
    if cluster is not None:
        mixed = _varies_within(cluster, trial.arm)
        if mixed:
            rows = int(np.isin(cluster.codes, _varying_groups(cluster, trial.arm)).sum())
            reader.problem(
                f"Column {columns['arm']!r} (arm) varies inside {plural(mixed, 'cluster')} of {columns['cluster']!r} "
                f"({plural(rows, 'row')}); a cluster is the unit of assignment. Declare the cluster that was assigned, "
                "or leave cluster out if single units were."
            )
        for role in ("stratum", "pair"):
            groups: Labels | None = getattr(trial, role)
            if groups is not None and (split := _varies_within(cluster, groups.codes)):
                reader.problem(
                    f"Column {columns[role]!r} ({role}) varies inside {plural(split, 'cluster')}; a cluster lies in "
                    f"one {role}."
                )
    if trial.pair is not None:
        _check_pairs(reader, trial, columns)


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
    lowest = np.full(groups.count, np.inf)
    highest = np.full(groups.count, -np.inf)
    np.minimum.at(lowest, groups.codes, value)
    np.maximum.at(highest, groups.codes, value)
    return np.flatnonzero(lowest < highest)


def _varies_within(groups: Labels, value: NDArray[Any]) -> int:
    """Return the number of groups in which `value` is not constant."""
    return int(_varying_groups(groups, value).size)
