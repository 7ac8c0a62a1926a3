"""`Trial`: a randomised trial, checked once, as arrays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gbveval.core.errors import DataError
from gbveval.core.flow import Flow, FlowRow
from gbveval.core.protocols import Allocation
from gbveval.core.provenance import DataDigest, digest_arrays
from gbveval.data._allocation import match_allocation
from gbveval.data._assignment import check_design, control_first, probabilities, recode, varies_within
from gbveval.data._frame import Checked, Labels, Reader, as_names, plural
from gbveval.data._network import Network, read_network

GROUP_ROLES = ("cluster", "stratum", "pair", "site", "time", "sequence", "unit")
# Roles that came later: where they are absent, the digest is what it was without them.
LATER_ROLES = ("unit", "saturation", "network", "allocation")
NUMBER_ROLES = ("weight", "baseline", "exposure", "received", "probability", "saturation")
FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]
IntArray = NDArray[np.intp]


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
        Unit of assignment, when groups were assigned; the arm may not vary inside it, unless `time` or `saturation`
        says how it does.
    stratum : str, optional
        Stratum within which units (or clusters) were assigned.
    pair : str, optional
        Matched pair: two units (or two clusters), one in each arm.
    site : str, optional
        Pilot site, for hierarchical models.
    time : str, optional
        Period of the measurement. With clusters, the arm may then change between periods (a stepped wedge).
    sequence : str, optional
        Sequence of a stepped wedge or crossover to which the cluster was assigned.
    baseline : str, optional
        The outcome before assignment; it may be missing.
    covariates : sequence of str
        Measured before assignment. Categories become indicators. They must be complete.
    characteristics : sequence of str
        Measured before assignment, to be described by `balance` and no more; they may be missing. A column may be a
        covariate, a stratum, a site or the baseline as well.
    weight : str, optional
        Analysis weight, zero or more.
    exposure : str, optional
        Time or opportunities at risk behind a count, above zero.
    probability : str or mapping of arm to str, optional
        Probability of assignment. One column gives the probability of the treated arm of two; otherwise name a column
        for each arm (control may be left out, as the rest).
    received : str, optional
        Treatment taken up: 0 or 1, or a dose.
    subgroup : str or sequence of str
        Categories known before assignment, for effects by subgroup (`SubgroupEffects`); complete. A column may be a
        stratum, a site, a covariate, the baseline or a characteristic as well. Other estimators ignore the role.
    saturation : str, optional
        Share of a cluster's people assigned to the intervention, 0 to 1, in a two-stage design: clusters were assigned
        to a share and then people inside them to the arms, so the arm may vary inside a cluster.
    unit : str, optional
        Identifier of each unit, one row each. It is used to read `network` and shown nowhere.
    allocation : Allocation, optional
        What `gbveval.allocate` returned, so that randomisation tests run the declared scheme again. Units are found by
        `unit`, clusters by `cluster`, and by the order of rows where the allocated frame had no names. Every row must
        be in the arm that was allocated.
    network : frame or dict of two columns, optional
        Pairs of identifiers of units that can reach each other, each pair once, in either order. Data, and not the name
        of a column.

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
        time: str | None = None,
        sequence: str | None = None,
        baseline: str | None = None,
        covariates: Sequence[str] = (),
        characteristics: Sequence[str] = (),
        weight: str | None = None,
        exposure: str | None = None,
        probability: str | Mapping[str, str] | None = None,
        received: str | None = None,
        subgroup: str | Sequence[str] = (),
        saturation: str | None = None,
        unit: str | None = None,
        network: Any = None,
        allocation: Any = None,
    ) -> None:
        reader = Reader(frame, "Trial")
        names = as_names(outcome, "outcome")
        if not names:
            raise DataError("A Trial needs at least one outcome column.")
        outcomes = np.column_stack([reader.numbers(name, "outcome", missing=True) for name in names])
        arms = reader.labels(arm, "arm", missing=True)
        arms = control_first(reader, arms, arm, str(control))
        columns = {
            "cluster": cluster,
            "stratum": stratum,
            "pair": pair,
            "site": site,
            "time": time,
            "sequence": sequence,
            "unit": unit,
        }
        groups = {role: None if column is None else reader.labels(column, role) for role, column in columns.items()}
        if pair is not None and stratum is not None:
            reader.problem("Give stratum or pair, not both: a pair is the stratum of two.")
        matrix, covariate_names = reader.covariates(as_names(covariates, "covariates"))
        described, characteristic_names = reader.characteristics(as_names(characteristics, "characteristics"))
        measured = {
            "weight": None if weight is None else reader.weights(weight),
            "baseline": None if baseline is None else reader.numbers(baseline, "baseline", missing=True),
            "exposure": None if exposure is None else reader.positive(exposure, "exposure"),
            "received": None if received is None else reader.numbers(received, "received"),
            "probability": None if probability is None else probabilities(reader, arms, probability),
            "saturation": None if saturation is None else reader.shares(saturation, "saturation"),
        }
        subgroup_names = tuple(dict.fromkeys(as_names(subgroup, "subgroup")))
        subgroups, subgroup_levels = reader.subgroups(subgroup_names)
        reader.raise_problems()
        randomised = arms.codes >= 0
        n_assessed = reader.n
        for number, name in enumerate(names):
            if np.all(np.isnan(outcomes[randomised, number])):
                reader.problem(f"Column {name!r} (outcome) is missing in every randomised row.")
        self._set(
            kept_identifiers=reader.kept_identifiers,
            n_assessed=n_assessed,
            outcome_names=names,
            outcomes=outcomes[randomised],
            arms=arms.levels,
            arm=arms.codes[randomised],
            covariate_names=covariate_names,
            covariates=matrix[randomised],
            covariate_levels=reader.first_levels,
            characteristic_names=characteristic_names,
            characteristics=described[randomised],
            subgroup_names=subgroup_names,
            subgroup_levels=subgroup_levels,
            subgroups=subgroups[randomised],
            **{role: None if found is None else found[randomised] for role, found in measured.items()},
            **{role: None if found is None else recode(found, randomised) for role, found in groups.items()},
            network=read_network(reader, network, groups["unit"], randomised, unit),
            allocation=allocation,
        )
        check_design(reader, self, {"arm": arm, "saturation": saturation, **columns})
        self._set(allocated_unit=match_allocation(reader, self, allocation, np.flatnonzero(randomised)))
        reader.raise_problems()

    # What the constructor sets, for readers and type checkers.
    kept_identifiers: str = ""
    n_assessed: int
    outcome_names: tuple[str, ...]
    outcomes: FloatArray
    arms: tuple[str, ...]
    arm: NDArray[np.intp]
    cluster: Labels | None
    stratum: Labels | None
    pair: Labels | None
    site: Labels | None
    time: Labels | None
    sequence: Labels | None
    unit: Labels | None
    covariate_names: tuple[str, ...]
    covariates: FloatArray
    # Columns of categories among the covariates, each with the level that has no indicator.
    covariate_levels: tuple[tuple[str, str], ...]
    # Column and level of each described column; the level is empty for numbers.
    characteristic_names: tuple[tuple[str, str], ...]
    characteristics: FloatArray
    # Columns that divide people into subgroups, the categories of each, and everybody's category in each.
    subgroup_names: tuple[str, ...]
    subgroup_levels: tuple[tuple[str, ...], ...]
    subgroups: NDArray[np.intp]
    weight: FloatArray | None
    baseline: FloatArray | None
    exposure: FloatArray | None
    received: FloatArray | None
    probability: FloatArray | None
    saturation: FloatArray | None
    network: Network | None
    # The scheme that allocated, and the unit of assignment of each row by its number there.
    allocation: Allocation | None
    allocated_unit: IntArray | None

    @classmethod
    def _trusted(cls, **values: Any) -> Trial:
        """Make a Trial from arrays that a known process drew, without checking them again."""
        trial = cls.__new__(cls)
        defaults: dict[str, Any] = {
            **dict.fromkeys((*GROUP_ROLES, *NUMBER_ROLES, "network", "allocation", "allocated_unit")),
            "covariate_names": (),
            "covariates": np.zeros((values["arm"].shape[0], 0)),
            "covariate_levels": (),
            "characteristic_names": (),
            "characteristics": np.zeros((values["arm"].shape[0], 0)),
            "subgroup_names": (),
            "subgroup_levels": (),
            "subgroups": np.zeros((values["arm"].shape[0], 0), dtype=np.intp),
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

    @cached_property
    def crosses_over(self) -> bool:
        """Whether a cluster is in different arms in different periods."""
        return self.cluster is not None and self.saturation is None and varies_within(self.cluster, self.arm) > 0

    def observed(self, outcome: int) -> BoolArray:
        """Return which randomised units have the outcome (by its position)."""
        return ~np.isnan(self.outcomes[:, outcome])

    def is_binary(self, outcome: int) -> bool:
        """Return whether every observed value of an outcome is 0 or 1."""
        values = self.outcomes[:, outcome]
        for rows in (slice(0, 64), slice(None)):
            # A measurement is told by its first rows.
            part = values[rows]
            if not np.all((part == 0) | (part == 1) | np.isnan(part)):
                return False
        return True

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the checked data; it identifies them and holds none of them."""
        groups, numbers = (
            [(role, getattr(self, role)) for role in roles if role not in LATER_ROLES]
            for roles in (GROUP_ROLES, NUMBER_ROLES)
        )
        later = [(role, getattr(self, role)) for role in LATER_ROLES if getattr(self, role) is not None]
        digest = digest_arrays(
            [
                ("outcomes", self.outcomes),
                ("arm", self.arm),
                ("arms", self.arms),
                *((role, None if value is None else value.codes) for role, value in groups),
                ("covariates", self.covariates),
                *((("characteristics", self.characteristics),) if self.characteristic_names else ()),
                *self._subgroup_digest(),
                *numbers,
                *((role, _array_of(value)) for role, value in later),
            ]
        )
        return DataDigest(digest, self.kept_identifiers) if self.kept_identifiers else digest

    def _subgroup_digest(self) -> list[tuple[str, Any]]:
        """Return what the digest takes in of subgroups: nothing where there are none."""
        labels = zip(self.subgroup_names, self.subgroup_levels, strict=True)
        named = [(f"subgroup {name}", levels) for name, levels in labels]
        return [*named, ("subgroups", self.subgroups)] if named else []

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
        everybody = np.ones(self.n, dtype=bool)
        for stage, mask in (("randomised", everybody), ("missing outcome", ~observed), ("analysed", observed)):
            units, clusters = self.sizes_by_arm(mask)
            for code, label in enumerate(self.arms):
                rows.append(FlowRow(stage, label, int(units[code]), None if clusters is None else int(clusters[code])))
        return Flow(tuple(rows), self.outcome_names[number])

    def sizes_by_arm(self, member: BoolArray) -> tuple[IntArray, IntArray | None]:
        """Return how many units, and how many clusters, of each arm are among some rows; None without clusters."""
        if member.all():
            table = self._cells
        elif not member.any():
            table = np.zeros((1, len(self.arms)), dtype=np.intp)
        else:
            table = self._cell_sizes(member)
        return table.sum(axis=0), None if self.cluster is None else np.count_nonzero(table, axis=0)

    @cached_property
    def _cells(self) -> IntArray:
        """Units by cluster and arm, shape (clusters, arms); one row where there are no clusters."""
        return self._cell_sizes(slice(None))

    def _cell_sizes(self, rows: BoolArray | slice) -> IntArray:
        width = len(self.arms)
        if self.cluster is None:
            return np.bincount(self.arm[rows], minlength=width)[None, :]
        cell = self.cluster.codes[rows] * width + self.arm[rows]
        return np.bincount(cell, minlength=self.cluster.count * width).reshape(-1, width)

    def __repr__(self) -> str:
        sizes = np.bincount(self.arm, minlength=len(self.arms))
        arms = ", ".join(f"{label!r} ({count:,})" for label, count in zip(self.arms, sizes, strict=True))
        missing = np.isnan(self.outcomes).sum(axis=0)
        names = ", ".join(f"{a} ({m:,} missing)" for a, m in zip(self.outcome_names, missing, strict=True))
        clusters = "" if self.cluster is None else f" in {plural(self.cluster.count, 'cluster')}"
        word = "outcome" if len(self.outcome_names) == 1 else "outcomes"
        return f"<Trial: {plural(self.n, 'unit')}{clusters}, arms {arms}; {word} {names}>"


def _array_of(value: Any) -> Any:
    """Return the numbers behind a role, for the digest."""
    if isinstance(value, Labels):
        return value.codes
    if isinstance(value, Allocation):
        return value.digest
    return value.edges if isinstance(value, Network) else value
