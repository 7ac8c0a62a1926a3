"""`goodman_bacon`: the two-by-two comparisons that a two-way fixed effects coefficient averages."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gbveval.core._display import INK, PALE, SERIES
from gbveval.core.errors import DesignError, IdentificationError
from gbveval.core.method import Cell
from gbveval.core.table import Table
from gbveval.data._frame import plural
from gbveval.data.panel import Panel
from gbveval.estimators.did._rollout import (
    COHORTS,
    cohort_label,
    observed_rows,
    refuse_cross_sections,
    refuse_effects,
    refuse_switching,
)
from gbveval.estimators.did._unit_arrays import unit_arrays
from gbveval.numerics.goodman_bacon import (
    WITHIN,
    Comparisons,
    decompose,
    decompose_with_covariates,
)
from gbveval.numerics.groups import group_sums

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.intp]
KINDS = (
    "treated vs never treated",
    "earlier vs later treated",
    "later vs earlier treated",
    "later vs always treated",
    "between cohorts",
    "within cohorts",
)
COLUMNS = ("kind", "treated", "comparison", "estimate", "weight")
KIND_COLUMNS = ("kind", "comparisons", "weight", "mean_estimate", "contribution")
# Kinds in which units that are treated already serve as the comparison.
FORBIDDEN = KINDS[2:4]


def goodman_bacon(panel: Panel) -> Table:
    """Take a two-way fixed effects coefficient apart into the two-by-two comparisons that it averages.

    Parameters
    ----------
    panel : Panel
        A balanced panel of units whose treatment is 0 or 1 and lasts.

    Returns
    -------
    Table
        One row a comparison, heaviest first. `weight` sums to one, and `weight` times `estimate` to the coefficient of
        `TwoWayFixedEffects`. `goodman_bacon_by_kind` sums it up, and `plot_goodman_bacon` draws it.

    Raises
    ------
    DesignError
        For repeated cross-sections, units without an outcome in some period, treatment that ends or is an amount, or
        weights that vary within a unit.
    IdentificationError
        If no cohort changes its treatment, or fixed effects and covariates explain it.

    Notes
    -----
    **Shows** how much of the coefficient rests on comparing units with others that are treated already ("later vs
    earlier treated", "later vs always treated"): where effects grow over time those comparisons subtract the growth of
    the earlier cohort's effect, and their sign can be wrong. A large weight there is a reason to use
    `CallawaySantAnna`, `SunAbraham` or `Imputation`; a small one does not make the coefficient an average effect.
    Cohorts treated in the middle of the panel weigh most, whatever their size.

    Units treated in every period are a comparison group of their own, not pooled with the never treated. With
    covariates a comparison is of two cohorts in all periods ("between cohorts"), and what covariates explain of
    treatment enters it; one more row holds the part of the coefficient that comes from units of one cohort that differ
    in covariates ("within cohorts"), which is no comparison of treated with untreated at all.

    It is a description of a coefficient and not an estimate, so that there are no standard errors.

    References
    ----------
    Goodman-Bacon (2021), Journal of Econometrics 225(2), 254-277.

    Examples
    --------
    >>> frame = {"y": [0.0, 2.0, 2.0, 0.0, 0.0, 3.0, 0.0, 1.0, 1.0], "id": [1, 1, 1, 2, 2, 2, 3, 3, 3]}
    >>> frame |= {"t": [1, 2, 3] * 3, "g": [2, 2, 2, 3, 3, 3, None, None, None]}
    >>> table = goodman_bacon(Panel(frame, outcome="y", unit="id", time="t", cohort="g"))
    >>> [(row[1], row[2], row[3], round(row[4], 3)) for row in table.rows[:2]]
    [('cohort 2', 'never treated', 1.0, 0.333), ('cohort 3', 'never treated', 2.5, 0.333)]
    """
    refuse_cross_sections("goodman_bacon", panel)
    refuse_switching("goodman_bacon", panel)
    refuse_effects("goodman_bacon", panel)
    _refuse_unbalanced(panel)
    _refuse_amounts(panel)
    units = unit_arrays("goodman_bacon", panel)
    start = np.searchsorted(panel.periods, panel.cohort_of_unit()).astype(np.intp)[units.weight > 0]
    units = units.take(units.weight > 0)
    size = units.weight
    starts, cohort = np.unique(start, return_inverse=True)
    cohort = cohort.astype(np.intp)
    periods = panel.periods.size
    if starts.size < 2:
        raise IdentificationError(
            "All units are treated at the same time (or none is), so there is nothing to compare. Units that start at "
            "another time, or never, are needed."
        )
    if panel.covariate_names:
        treatment = (np.arange(periods)[None, :] >= start[:, None]).astype(float)
        found = decompose_with_covariates(units.outcome, treatment, units.covariates, cohort, size)
        if found is None:
            raise IdentificationError("Unit and period effects and covariates explain treatment completely.")
    else:
        totals = group_sums(cohort, size, starts.size)
        means = np.zeros((starts.size, periods))
        np.add.at(means, cohort, units.outcome * size[:, None])
        found = decompose(means / totals[:, None], starts.astype(np.intp), totals)
    return _table(panel, found, starts.astype(np.intp))


def _refuse_unbalanced(panel: Panel) -> None:
    incomplete = int((~panel.complete_units).sum())
    if incomplete:
        raise DesignError(
            f"{plural(incomplete, 'unit')} have no outcome in some period; goodman_bacon is for balanced panels, as "
            "its weights are exact in those only. Leave these units out, or use twfe_weights, which needs no balance."
        )


def _refuse_amounts(panel: Panel) -> None:
    if panel.treatment is None:
        return
    differ = int(np.count_nonzero(panel.treatment != panel.treated))
    if differ:
        raise DesignError(
            f"In {plural(differ, 'row')} treatment is not 0 before and 1 from the first treated period on; "
            "goodman_bacon is for treatment that is given or not. Use twfe_weights, which takes amounts and treatment "
            "that ends."
        )


def _name(panel: Panel, start: int) -> str:
    if start == panel.periods.size:
        return "never treated"
    return "always treated" if start == 0 else f"cohort {panel.calendar.name(float(panel.periods[start]))}"


def _members(panel: Panel, starts: IntArray) -> list[tuple[Cell, ...]]:
    """Return, for each position of a first treated period, the panel's cohorts behind it with their units."""
    sizes = observed_rows(panel).cohort_sizes()
    place = {g: int(np.searchsorted(panel.periods, g)) for g in sizes}
    return [
        tuple(Cell(cohort_label(panel, g), n, None, COHORTS) for g, n in sizes.items() if place[g] == start)
        for start in starts
    ]


def _table(panel: Panel, found: Comparisons, starts: IntArray) -> Table:
    names = [_name(panel, int(first)) for first in starts]
    members = _members(panel, starts)
    rows, support = [], []
    # Weights that are equal but for rounding keep the order of cohorts.
    for i in np.argsort(-np.round(found.weight, 12), kind="stable"):
        within = found.kind[i] == WITHIN
        pair = range(len(names)) if within else (int(found.treated[i]), int(found.control[i]))
        shown = ("all cohorts", "all cohorts") if within else (names[pair[0]], names[pair[1]])
        rows.append((KINDS[found.kind[i]], *shown, float(found.estimate[i]), float(found.weight[i])))
        support.append(tuple(cell for position in pair for cell in members[position]))
    given = f" given {', '.join(panel.covariate_names[j] for j in found.kept)}" if found.kept else ""
    notes = [
        f"Weights times estimates sum to the two-way fixed effects coefficient{given}.",
        "Source: Goodman-Bacon 2021.",
    ]
    lost = [name for j, name in enumerate(panel.covariate_names) if j not in found.kept]
    if lost:
        notes.append(f"Explained by the other columns or the fixed effects, and left out: {', '.join(lost)}.")
    late = np.unique(panel.cohort[np.isfinite(panel.cohort) & (panel.cohort > panel.periods[-1])]).size
    if late:
        notes.append(f"{plural(int(late), 'cohort')} treated only after the last period: never treated, here.")
    title = f"{panel.outcome_name}: the comparisons behind two-way fixed effects"
    return Table(title, COLUMNS, tuple(rows), tuple(notes), tuple(support))


def goodman_bacon_by_kind(table: Table) -> Table:
    """Sum a decomposition up by the kind of comparison.

    Parameters
    ----------
    table : Table
        From `goodman_bacon`.

    Returns
    -------
    Table
        One row a kind: comparisons, their weight, weighted mean estimate, and contribution to the coefficient (weight
        times mean); the last row is the coefficient.

    Examples
    --------
    >>> frame = {"y": [0.0, 2.0, 2.0, 0.0, 0.0, 3.0], "id": [1, 1, 1, 2, 2, 2]}
    >>> frame |= {"t": [1, 2, 3] * 2, "g": [2] * 3 + [3] * 3}
    >>> found = goodman_bacon_by_kind(goodman_bacon(Panel(frame, outcome="y", unit="id", time="t", cohort="g")))
    >>> found.column("kind")
    ('earlier vs later treated', 'later vs earlier treated', 'all comparisons')
    """
    _check_table("goodman_bacon_by_kind", table)
    kinds = [kind for kind in KINDS if kind in table.column("kind")]
    rows: list[tuple[Any, ...]] = []
    support: list[tuple[Cell, ...]] = []
    for kind in [*kinds, None]:
        chosen = [i for i, row in enumerate(table.rows) if kind in (None, row[0])]
        weight = np.array([table.rows[i][4] for i in chosen])
        estimate = np.array([table.rows[i][3] for i in chosen])
        total, sum_of = float(weight.sum()), float(weight @ estimate)
        rows.append((kind or "all comparisons", len(chosen), total, sum_of / total, sum_of))
        support.append(tuple(dict.fromkeys(cell for i in chosen for cell in table.support[i])))
    return Table(f"{table.title}, by kind", KIND_COLUMNS, tuple(rows), table.notes, tuple(support))


def plot_goodman_bacon(table: Table, ax: Axes | None = None) -> Axes:
    """Draw the estimate of every comparison against its weight; the dotted line is the coefficient.

    Parameters
    ----------
    table : Table
        From `goodman_bacon`.
    ax : matplotlib.axes.Axes, optional
        Where to draw.

    Returns
    -------
    matplotlib.axes.Axes
        Kinds differ in marker and in colour; comparisons with units treated already are filled, the others open.
    """
    import matplotlib.pyplot as plt

    _check_table("plot_goodman_bacon", table)
    if ax is None:
        _, ax = plt.subplots(figsize=(7.0, 3.6), layout="constrained")
    coefficient = sum(row[3] * row[4] for row in table.rows)
    ax.axhline(0.0, color=PALE, linewidth=0.8)
    ax.axhline(coefficient, color=INK, linewidth=1.2, linestyle=":", label=f"two-way fixed effects, {coefficient:.3g}")
    for number, kind in enumerate(KINDS):
        points = np.array([row[3:] for row in table.rows if row[0] == kind], dtype=float)
        if points.size:
            colour = SERIES[number % len(SERIES)]
            face = colour if kind in FORBIDDEN else "white"
            marker = "os^vDP"[number]
            ax.plot(*points.T[::-1], marker, color=colour, markerfacecolor=face, markersize=7, label=kind)
    ax.set_xlabel("weight in the coefficient")
    ax.set_ylabel("estimate of the comparison")
    ax.set_xlim(0.0, 1.08 * max(table.column("weight")))
    ax.legend(frameon=False, fontsize="small", loc="upper left", bbox_to_anchor=(1.0, 1.0))
    return ax


def _check_table(name: str, table: Table) -> None:
    if table.columns != COLUMNS:
        raise DesignError(f"{name} takes what goodman_bacon returned; this is another table.")
