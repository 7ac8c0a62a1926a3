"""Paths of units with an outcome in every period, for estimators of rollouts that need them all."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gbveval.core.errors import DesignError, IdentificationError
from gbveval.core.method import Check
from gbveval.data._frame import plural
from gbveval.data.panel import Panel
from gbveval.estimators.did._rollout import refuse_cross_sections, refuse_effects, refuse_switching
from gbveval.estimators.did._spatial import refuse_place

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.intp]
UNBALANCED = ("error", "drop")


@dataclass(frozen=True, eq=False, slots=True)
class Paths:
    """Complete paths, in an order that does not depend on the names of units or the order of rows.

    Attributes
    ----------
    y : ndarray, shape (units, periods)
    cohort : ndarray, shape (units,)
        First treated period; infinite for never within the panel.
    unit : ndarray of int, shape (units,)
        Position among the panel's units.
    cluster : ndarray of int or None
    periods : ndarray, shape (periods,)
    n_incomplete, n_before : int
        Units left out without an outcome in some period, and treated before the panel begins.
    """

    y: FloatArray
    cohort: FloatArray
    unit: IntArray
    cluster: IntArray | None
    periods: FloatArray
    n_incomplete: int
    n_before: int

    @property
    def n(self) -> int:
        """Units."""
        return int(self.cohort.size)

    def sizes(self) -> dict[float, int]:
        """Return units by cohort."""
        values, counts = np.unique(self.cohort, return_counts=True)
        return {float(g): int(n) for g, n in zip(values, counts, strict=True)}

    def words(self) -> str:
        """Say which units were analysed and which were not."""
        text = f"{plural(self.n, 'unit')} in {plural(self.periods.size, 'period')}"
        if self.n_incomplete:
            text += f"; {plural(self.n_incomplete, 'unit')} without an outcome in some period left out"
        if self.n_before:
            text += f"; {plural(self.n_before, 'unit')} treated before the panel begins left out"
        return text

    def checks(self) -> tuple[Check, ...]:
        """Return what was left out."""
        found = []
        if self.n_incomplete:
            text = f"{plural(self.n_incomplete, 'unit')} without an outcome in some period left out."
            public = "some units have no outcome in some period and are left out."
            found.append(Check("missing outcome", "warn", text, public))
        if self.n_before:
            text = f"{plural(self.n_before, 'unit')} treated before the panel begins left out."
            public = "units treated before the panel begins are left out."
            found.append(Check("treated before the panel", "info", text, public))
        return tuple(found)


def balanced_paths(estimator: str, data: Panel, unbalanced: str, *, first_too: bool = False) -> Paths:
    """Return the paths; raise where the panel has roles or gaps that the estimator does not take.

    Parameters
    ----------
    estimator : str
        Its name, for messages.
    data : Panel
    unbalanced : str
        "error" or "drop".
    first_too : bool
        Leave out cohorts treated in the first period too: they have no period before treatment.
    """
    refuse_cross_sections(estimator, data)
    refuse_switching(estimator, data)
    refuse_effects(estimator, data)
    given = {"weight": data.weight is not None, "covariates": bool(data.covariate_names)}
    unused = [role for role, present in given.items() if present]
    if unused:
        raise DesignError(
            f"{estimator} takes no {' and no '.join(unused)}. Leave the role out, or use CallawaySantAnna."
        )
    assert data.unit is not None
    lost = int((~data.complete_units).sum())
    if lost and unbalanced == "error":
        raise DesignError(
            f"{lost:,} of {data.n_units:,} units have no outcome in some period; {estimator} needs complete paths. Say "
            "unbalanced='drop' to leave these units out (they are counted), or complete the panel."
        )
    if lost == data.n_units:
        raise IdentificationError(
            "No unit has an outcome in every period, so nothing can be compared over time. Leave out periods that are "
            "rarely observed."
        )
    y = data.table(data.outcome)
    cohort = data.cohort_of_unit()
    cohort = np.where(cohort > data.periods[-1], np.inf, cohort)
    early = cohort <= data.periods[0] if first_too else cohort < data.periods[0]
    kept = np.flatnonzero(data.complete_units & ~early)
    order = kept[np.lexsort((*y[kept].T[::-1], cohort[kept]))]
    cluster = data.cluster_of_unit()
    return Paths(
        y=y[order],
        cohort=cohort[order],
        unit=order,
        cluster=None if cluster is None else cluster[order],
        periods=data.periods,
        n_incomplete=lost,
        n_before=int((early & data.complete_units).sum()),
    )


def refuse_clusters(estimator: str, data: Panel, advice: str) -> None:
    """Raise where the panel names clusters coarser than units, or places."""
    refuse_place(estimator, data, "Leave place out and say so, or use CallawaySantAnna.")
    if data.cluster is not None or data.second_cluster is not None:
        raise DesignError(f"{estimator} takes units as independent, and this panel names clusters. {advice}")


def check_unbalanced(value: str) -> None:
    """Raise unless the option is known."""
    if value not in UNBALANCED:
        raise DesignError(f"unbalanced must be one of {', '.join(UNBALANCED)}, not {value!r}.")
