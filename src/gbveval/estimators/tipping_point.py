"""How different the missing would have to be from the observed for a conclusion to change."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gbveval.core.errors import DesignError
from gbveval.core.method import Cell
from gbveval.core.table import Table
from gbveval.core.term import inverse_link
from gbveval.data.trial import Trial
from gbveval.estimators._imputation_model import chosen_model
from gbveval.estimators.randomised.multiple_imputation import MultipleImputation

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from gbveval.core.estimates import Estimates

FloatArray = NDArray[np.float64]
# Widest shift looked at by default: two standard deviations of the outcome, or odds times or over twenty.
WIDEST_SD, WIDEST_LOG_ODDS = 2.0, 3.0
GRID = 13
COLUMNS = ("delta", "estimate", "conf_low", "conf_high", "p_value", "conclusion", "tipping_point")
ABOVE, BELOW, NOT_SHOWN = "effect above the null", "effect below the null", "no effect shown"


def tipping_point(
    trial: Trial,
    imputation: MultipleImputation,
    *,
    arm: str | Sequence[str] | None = None,
    term: str | None = None,
    deltas: Sequence[float] | None = None,
    level: float = 0.95,
) -> Table:
    """Find how far imputed outcomes must be shifted for the interval to begin, or cease, to hold the null.

    Parameters
    ----------
    trial : Trial
        With missing outcomes.
    imputation : MultipleImputation
        Estimator, model and number of imputations; its own delta must be zero.
    arm : str or sequence of str, optional
        Whose missing outcomes are shifted; all arms but control by default. Give all arms to shift everybody.
    term : str, optional
        The row whose conclusion is looked at; the first by default.
    deltas : sequence of float, optional
        Shifts to show: on the scale of the outcome, or of the log odds for a logistic model. By default thirteen from
        minus to plus two standard deviations of the outcome, or minus to plus 3.
    level : float
        Of the interval: an effect is shown where it does not hold the null.

    Returns
    -------
    Table
        One row a shift, and one at each tipping point within the range, found by bisection and marked. The
        same draws serve every shift, so that rows differ by the shift alone.

    Notes
    -----
    **Use it** to ask whether a shift that changes the conclusion is plausible, a question about people and not about
    numbers: would survivors who left have reported so much more? **Do not use** the table to choose a shift after the
    fact. A tipping point is no estimate of what is missing.

    References
    ----------
    Yan, Lee and Li (2009), Journal of Biopharmaceutical Statistics 19. Little (1993), Journal of the American
    Statistical Association 88.

    Examples
    --------
    >>> rng = np.random.default_rng(1)
    >>> y = rng.normal(size=120) + np.tile([0.0, 0.8], 60)
    >>> y[:24] = np.nan
    >>> trial = Trial({"y": y, "arm": ["usual", "new"] * 60}, outcome="y", arm="arm", control="usual")
    >>> table = tipping_point(trial, MultipleImputation(n_imputations=20), deltas=[-4, -2, 0, 2])
    >>> table.rows[-1][5], any(table.column("tipping_point"))
    ('effect above the null', True)
    """
    shifted = _arms(trial, arm)
    if imputation.delta != 0.0:
        raise DesignError("tipping_point varies delta itself; give a MultipleImputation with delta=0.")

    def at(delta: float) -> Estimates:
        asked = replace(imputation, delta=tuple((label, float(delta)) for label in shifted))
        return asked.estimate(trial).at_level(level)

    first = at(0.0)
    place = 0 if term is None else first.index(term)
    row = first.terms[place]
    if row.value is None or row.std_error is None:
        raise DesignError(f"The row {row.term!r} has no standard error, so no conclusion can change: {row.reason}.")
    outcome = trial.outcome_names.index(row.outcome) if row.outcome in trial.outcome_names else 0
    logistic = chosen_model(trial, outcome, imputation.model) == "logistic"
    grid = _grid(trial, outcome, logistic, deltas)
    found = {delta: _record(at(delta), place, delta) for delta in grid}
    tips = _tips(found, lambda delta: _record(at(delta), place, delta))
    rows = [(*record, False) for record in found.values()] + [(*record, True) for record in tips]
    rows.sort(key=lambda record: record[0])
    scale = "log odds" if logistic else "scale of the outcome"
    notes = (
        f"Missing {row.outcome} in {', '.join(repr(label) for label in shifted)} is shifted by delta ({scale}); "
        f"effect {row.term}, intervals at level {level:g}.",
        *_sentences(tips, found),
    )
    support: tuple[Cell, ...] = row.support
    return Table(f"Tipping point of {row.outcome}", COLUMNS, tuple(rows), notes, tuple(support for _ in rows))


def plot_tipping_point(table: Table, ax: Axes | None = None) -> Axes:
    """Draw the estimates of a tipping-point table with their intervals along the shift, and return the axes.

    Parameters
    ----------
    table : Table
        From `tipping_point`.
    ax : matplotlib.axes.Axes, optional
        Where to draw.
    """
    import matplotlib.pyplot as plt

    if table.columns != COLUMNS:
        raise DesignError("plot_tipping_point draws what tipping_point returned; this is another table.")
    if ax is None:
        _, ax = plt.subplots(figsize=(7.0, 3.6), layout="constrained")
    delta, estimate, low, high = (np.array(table.column(name), dtype=float) for name in COLUMNS[:4])
    ax.fill_between(delta, low, high, alpha=0.25, linewidth=0)
    ax.plot(delta, estimate)
    tips = np.array(table.column("tipping_point"), dtype=bool)
    for x in delta[tips]:
        ax.axvline(x, linestyle=":", color="black", linewidth=1.0)
    # Where the interval of a tipping point ends is the null: one for ratios, zero for differences.
    ends = np.concatenate([low[tips], high[tips]])
    nulls = [null for null in (0.0, 1.0) if ends.size and np.min(np.abs(ends - null)) < 0.01 * np.ptp(ends)]
    for null in nulls[:1]:
        ax.axhline(null, color="black", linewidth=0.8)
    ax.set_xlabel("shift of what is missing (delta)")
    ax.set_ylabel("estimate")
    return ax


def _arms(trial: Trial, arm: str | Sequence[str] | None) -> tuple[str, ...]:
    if arm is None:
        return tuple(trial.arms[1:])
    asked = (arm,) if isinstance(arm, str) else tuple(arm)
    unknown = [label for label in asked if label not in trial.arms]
    if unknown or not asked:
        raise DesignError(f"arm must name arms of the trial; there are: {', '.join(trial.arms)}.")
    return asked


def _grid(trial: Trial, outcome: int, logistic: bool, deltas: Sequence[float] | None) -> list[float]:
    if deltas is not None:
        grid = sorted({float(delta) for delta in deltas} | {0.0})
        if not np.isfinite(grid).all():
            raise DesignError("deltas must be finite numbers.")
        return grid
    spread = float(np.nanstd(trial.outcomes[:, outcome]))
    widest = WIDEST_LOG_ODDS if logistic else WIDEST_SD * spread
    return [float(x) for x in np.linspace(-widest, widest, GRID)] if widest > 0 else [0.0]


def _record(estimates: Estimates, place: int, delta: float) -> tuple[Any, ...]:
    """Return one row of the table, without its last column."""
    record = estimates.records()[place]
    row = estimates.terms[place]
    low, high = (float(limits[place]) for limits in estimates.intervals())
    conclusion = ABOVE if low > 0.0 else BELOW if high < 0.0 else NOT_SHOWN
    link = row.estimand.link
    return (
        delta,
        record["estimate"],
        *(float(inverse_link(link, x)) if np.isfinite(x) else None for x in (low, high)),
        record["p_value"],
        conclusion,
    )


def _tips(found: dict[float, tuple[Any, ...]], at: Any) -> list[tuple[Any, ...]]:
    """Return a row at every change of the conclusion between neighbours of the grid, to a thousandth of its width."""
    grid = sorted(found)
    width = 1e-3 * (grid[-1] - grid[0])
    tips = []
    for low, high in pairwise(grid):
        start, before = low, found[low][5]
        # An effect that turns round within one step passes two tipping points.
        while before != found[high][5]:
            left, right, last = start, high, found[high]
            while right - left > width:
                middle = (left + right) / 2.0
                record = at(middle)
                if record[5] == before:
                    left = middle
                else:
                    right, last = middle, record
            tips.append(last)
            start, before = right, last[5]
    return [tip for tip in tips if tip[0] not in found]


def _sentences(tips: list[tuple[Any, ...]], found: dict[float, tuple[Any, ...]]) -> tuple[str, ...]:
    base = found[min(found, key=abs)][5]
    if not tips:
        return (f"The conclusion ({base}) is the same at every shift shown.",)
    # Where it changes stands in the rows: what hides a row must hide it too.
    return (
        f"Without a shift: {base}.",
        f"The conclusion changes in the rows marked tipping_point ({len(tips)}).",
    )
