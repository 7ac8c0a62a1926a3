"""`twfe_weights`: how a two-way fixed effects coefficient weighs the effects of cohorts and periods."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gbveval.core.errors import DesignError, IdentificationError
from gbveval.core.method import Cell
from gbveval.core.table import Table
from gbveval.data._frame import plural
from gbveval.data.panel import Panel
from gbveval.estimators.did._rollout import (
    COHORTS,
    cohort_label,
    cohort_support,
    observed_rows,
    refuse_cross_sections,
    refuse_effects,
)
from gbveval.estimators.did.two_way_fixed_effects import treatment_column
from gbveval.numerics.treatment_weights import smallest_spread, treatment_residual

FloatArray = NDArray[np.float64]
CELL_COLUMNS = ("cohort", "period", "share", "weight")
MEASURES = (
    "coefficient",
    "treated cells",
    "cells of negative weight",
    "share of the treated in cells of negative weight",
    "sum of negative weights",
    "smallest sd for a zero average",
    "smallest sd for the opposite sign",
)


@dataclass(frozen=True, eq=False, slots=True)
class _Cells:
    """Weights of the treated cells of cohort and period.

    Attributes
    ----------
    cohort, period : ndarray, shape (cells,)
    share, weight : ndarray, shape (cells,)
        Among the treated, and in the coefficient.
    coefficient : float
    sizes : mapping of float to int
        Units of every cohort.
    binary : bool
        Whether treatment is 0 or 1.
    """

    cohort: FloatArray
    period: FloatArray
    share: FloatArray
    weight: FloatArray
    coefficient: float
    sizes: dict[float, int]
    binary: bool


def twfe_weights(panel: Panel) -> Table:
    """Return the weight of each treated cohort and period in the two-way fixed effects coefficient.

    Parameters
    ----------
    panel : Panel
        A panel of units, balanced or not; treatment may end, or be an amount of zero or more.

    Returns
    -------
    Table
        One row a treated cell of cohort and period: its share of the treated rows (of the amounts, where treatment is
        one), and its weight in the coefficient. Both sum to one.

    Raises
    ------
    DesignError
        For repeated cross-sections, and amounts below zero.
    IdentificationError
        If fixed effects and covariates explain treatment.

    Notes
    -----
    If untreated outcomes change in parallel, the coefficient's expectation is the sum of weight times the average
    effect in the cell. A weight is in proportion to what unit and period effects (and covariates, whose slopes are then
    taken as the same for all) leave of treatment, summed over the cell's rows. Where it is negative, a larger effect in
    the cell makes the coefficient smaller. `twfe_robustness` sums the weights up.

    **Use it** to see which effects a published coefficient is made of. **Do not use** it to choose among estimators by
    what they find: the weights depend on the timing of treatment alone, and can be had before the outcomes.

    References
    ----------
    de Chaisemartin and D'Haultfoeuille (2020), American Economic Review 110(9), 2964-2996.

    Examples
    --------
    >>> frame = {"y": [0.0, 2.0, 2.0, 0.0, 0.0, 3.0], "id": [1, 1, 1, 2, 2, 2]}
    >>> frame |= {"t": [1, 2, 3] * 2, "g": [2] * 3 + [3] * 3}
    >>> panel = Panel(frame, outcome="y", unit="id", time="t", cohort="g")
    >>> [(row[0], row[1], round(row[3], 3)) for row in twfe_weights(panel).rows]
    [('cohort 2', '2', 1.0), ('cohort 2', '3', -0.5), ('cohort 3', '3', 0.5)]
    """
    found = _cells(panel)
    rows, support = [], []
    for i in range(found.weight.size):
        g = float(found.cohort[i])
        label = cohort_label(panel, g)
        rows.append((label, panel.calendar.name(float(found.period[i])), float(found.share[i]), float(found.weight[i])))
        support.append((Cell(label, found.sizes[g], None, COHORTS),))
    title = f"{panel.outcome_name}: how two-way fixed effects weigh effects"
    return Table(title, CELL_COLUMNS, tuple(rows), _notes(panel, found), tuple(support))


def twfe_robustness(panel: Panel) -> Table:
    """Return how many weights are negative, and how much effects must differ for the coefficient to mislead.

    Parameters
    ----------
    panel : Panel
        As in `twfe_weights`.

    Returns
    -------
    Table
        Measures and their values: the coefficient; treated cells, those of negative weight, their share of the treated
        and the sum of their weights; the smallest standard deviation of effects over cells with which the average
        effect can be zero, and with which every effect can have the sign opposite to the coefficient's (none can where
        no weight is negative).

    Notes
    -----
    A smallest standard deviation that is large beside plausible effects says that the coefficient is robust to effects
    that differ, if its assumptions hold; a small one says that it may be of another sign than every effect.

    References
    ----------
    de Chaisemartin and D'Haultfoeuille (2020), American Economic Review 110(9), 2964-2996.

    Examples
    --------
    >>> frame = {"y": [0.0, 2.0, 2.0, 0.0, 0.0, 3.0], "id": [1, 1, 1, 2, 2, 2]}
    >>> frame |= {"t": [1, 2, 3] * 2, "g": [2] * 3 + [3] * 3}
    >>> table = twfe_robustness(Panel(frame, outcome="y", unit="id", time="t", cohort="g"))
    >>> round(dict(table.rows)["sum of negative weights"], 6)
    -0.5
    """
    found = _cells(panel)
    negative = found.weight < -1e-12
    spread = smallest_spread(found.coefficient, found.weight, found.share)
    values = (
        found.coefficient,
        found.weight.size,
        int(negative.sum()),
        float(found.share[negative].sum()),
        float(found.weight[negative].sum()),
        spread.zero_average if np.isfinite(spread.zero_average) else None,
        spread.opposite_sign if np.isfinite(spread.opposite_sign) else None,
    )
    notes = list(_notes(panel, found))
    if not np.isfinite(spread.zero_average):
        notes.append("Weights are the cells' shares: the coefficient is the average effect, however effects differ.")
    if not negative.any():
        notes.append("No weight is negative, so that not all effects can have the sign opposite to the coefficient's.")
    title = f"{panel.outcome_name}: how far two-way fixed effects can mislead"
    support = (cohort_support(panel, found.sizes),) * len(MEASURES)
    return Table(title, ("measure", "value"), tuple(zip(MEASURES, values, strict=True)), tuple(notes), support)


def _cells(panel: Panel) -> _Cells:
    refuse_cross_sections("twfe_weights", panel)
    refuse_effects("twfe_weights", panel)
    rows = observed_rows(panel)
    treatment, _ = treatment_column(rows)
    below = int(np.count_nonzero(treatment < 0))
    if below:
        raise DesignError(
            f"The treatment is below zero in {plural(below, 'row')}; effects are weighed for amounts of zero or more. "
            "Use an amount that grows from no treatment."
        )
    left = None
    if treatment.size and treatment.min() < treatment.max():
        left = treatment_residual(treatment, rows.covariates, rows.unit, rows.time, rows.weight)
    if left is None:
        raise IdentificationError(
            "Unit and period effects (and covariates) explain treatment completely, so that its coefficient is not "
            "identified. Units that change their treatment at different times, or never, are needed."
        )
    heavy = np.ones(rows.n) if rows.weight is None else rows.weight
    square = float(np.sum(heavy * left * treatment))
    used = treatment > 0
    key = np.column_stack([rows.cohort[used], rows.period[used]])
    cells, code = np.unique(key, axis=0, return_inverse=True)
    amount = np.bincount(code.ravel(), weights=(heavy * treatment)[used])
    weight = np.bincount(code.ravel(), weights=(heavy * treatment * left)[used]) / square
    return _Cells(
        cohort=cells[:, 0],
        period=cells[:, 1],
        share=amount / amount.sum(),
        weight=np.where(np.abs(weight) < 1e-14, 0.0, weight),
        coefficient=float(np.sum(heavy * left * rows.y)) / square,
        sizes=rows.cohort_sizes(),
        binary=bool(np.all((treatment == 0) | (treatment == 1))),
    )


def _notes(panel: Panel, found: _Cells) -> tuple[str, ...]:
    given = f" given {', '.join(panel.covariate_names)}" if panel.covariate_names else ""
    notes = [f"Weights of effects in the two-way fixed effects coefficient{given}."]
    if not found.binary:
        notes.append("Treatment is an amount: effects are per unit of it, and cells count by their amounts.")
    notes.append("Effects are taken as one a cell. Source: de Chaisemartin and D'Haultfoeuille 2020.")
    return tuple(notes)
