"""`compare`: one rollout, several estimators, side by side with whom they compare and what they assume."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from gbveval.core.errors import DesignError, GbvevalError
from gbveval.core.estimates import Estimates
from gbveval.core.method import Cell
from gbveval.core.table import Table
from gbveval.data.panel import Panel

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLUMNS = (
    "estimator",
    "term",
    "event_time",
    "estimate",
    "std_error",
    "conf_low",
    "conf_high",
    "contrast",
    "compared_with",
    "assumes",
    "reason",
)
# Okabe and Ito's colours, told apart by people with any kind of colour vision, and markers for print.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")


def compare(panel: Panel, estimators: Sequence[Any] | Mapping[str, Any], *, level: float = 0.95) -> Table:
    """Run several estimators on one rollout and return their answers side by side.

    Parameters
    ----------
    panel : Panel
        The rollout.
    estimators : sequence of estimators, or mapping of label to estimator
        A label tells two of a kind apart; by default it is the estimator's name.
    level : float
        Of the intervals.

    Returns
    -------
    Table
        For each estimator a row "overall" (the average over all treated units and periods where it has one), then its
        rows by event time; whom it compares with and what it assumes, in words. An estimator that refuses the panel has
        one row that says why.

    Raises
    ------
    DesignError
        If two estimators have one label, or none is given.

    Notes
    -----
    **Use it** to see whether a conclusion hangs on the method. **Do not use** it to choose the method whose answer
    pleases: name the one that counts before looking. Intervals are pointwise.

    Examples
    --------
    >>> import numpy as np
    >>> from gbveval.datasets.pilot import PilotRollout
    >>> from gbveval.estimators.did.callaway_santanna import CallawaySantAnna
    >>> from gbveval.estimators.did.imputation import Imputation
    >>> panel = PilotRollout().draw(np.random.default_rng(2))
    >>> table = compare(panel, [CallawaySantAnna(), Imputation()])
    >>> [row[:2] for row in table.rows if row[1] == "overall"]
    [('callaway_santanna', 'overall'), ('imputation', 'overall')]
    """
    named = _named(estimators)
    rows: list[tuple[Any, ...]] = []
    support: list[tuple[Cell, ...]] = []
    for label, estimator in named:
        for record, cells in _answers(label, estimator, panel, level):
            rows.append(record)
            support.append(cells)
    notes = (
        f"Intervals at level {level:g}, pointwise.",
        "Overall is the average over all treated units and periods; where a method has none it is its only effect, or "
        "the plain mean of its event times.",
        "Methods differ in whom they compare with and what they assume: name the one that counts before looking.",
    )
    return Table(f"Effects on {panel.outcome_name} by method", COLUMNS, tuple(rows), notes, tuple(support))


def _named(estimators: Sequence[Any] | Mapping[str, Any]) -> list[tuple[str, Any]]:
    pairs = (
        list(estimators.items())
        if isinstance(estimators, Mapping)
        else [(str(getattr(each, "name", type(each).__name__)), each) for each in estimators]
    )
    labels = [label for label, _ in pairs]
    twice = sorted({label for label in labels if labels.count(label) > 1})
    if not pairs or twice:
        what = f"{', '.join(twice)} occur more than once" if twice else "there is no estimator"
        raise DesignError(f"{what}. Give a mapping of labels to estimators, such as {{'never treated': ...}}.")
    return pairs


def _answers(label: str, estimator: Any, panel: Panel, level: float) -> list[tuple[tuple[Any, ...], tuple[Cell, ...]]]:
    try:
        result: Estimates = estimator.estimate(panel)
        overall, study = _averages(result)
    except GbvevalError as error:
        empty = (label, "refused", *[None] * 8, str(error))
        return [(empty, ())]
    found = [_record(label, "overall", overall, 0, level)]
    if study is not None:
        timed = [i for i, row in enumerate(study.terms) if dict(row.extra).get("event_time") is not None]
        found += [_record(label, study.terms[i].term, study, i, level) for i in timed]
    return found


def _averages(result: Estimates) -> tuple[Estimates, Estimates | None]:
    """Return the overall effect (as the first row), and the averages by event time where there are some."""
    if result.aggregator is None:
        timed = any(dict(row.extra).get("event_time") is not None for row in result.terms)
        return result, result if timed else None
    return result.aggregate("simple"), result.aggregate("event_time")


def _record(
    label: str, term: str, result: Estimates, place: int, level: float
) -> tuple[tuple[Any, ...], tuple[Cell, ...]]:
    row, record = result.terms[place], result.records(level)[place]
    overall = term == "overall"
    event = None if overall else record.get("event_time")
    values = (
        label,
        term,
        event,
        record["estimate"],
        record["std_error"],
        record["conf_low"],
        record["conf_high"],
        record["contrast"],
        # Said once a method: repeated in every row the words would drown the numbers.
        result.method.comparison if overall else None,
        "; ".join(result.method.assumptions) if overall else None,
        record["reason"],
    )
    return values, row.support


def plot_comparison(table: Table, ax: Axes | None = None) -> Axes:
    """Draw the event studies of a comparison side by side, and return the axes.

    Parameters
    ----------
    table : Table
        From `compare`.
    ax : matplotlib.axes.Axes, optional
        Where to draw.

    Raises
    ------
    DesignError
        If the table is another one, or no method has effects by event time.
    """
    import matplotlib.pyplot as plt
    import numpy as np

    if table.columns != COLUMNS:
        raise DesignError("plot_comparison draws a table from compare.")
    records = [dict(zip(COLUMNS, row, strict=True)) for row in table.rows]
    timed = [record for record in records if record["event_time"] is not None and record["estimate"] is not None]
    labels = list(dict.fromkeys(record["estimator"] for record in timed))
    if not labels:
        raise DesignError("No method of this comparison has effects by event time; read the table instead.")
    if ax is None:
        _, ax = plt.subplots(figsize=(8.0, 4.2), layout="constrained")
    ratio = all(record["contrast"].endswith("_ratio") for record in timed)
    ax.axhline(1.0 if ratio else 0.0, color="#444444", linewidth=0.8)
    ax.axvline(-0.5, color="#444444", linewidth=0.8, linestyle=":")
    shifts = np.linspace(-0.3, 0.3, len(labels)) if len(labels) > 1 else np.zeros(1)
    for number, label in enumerate(labels):
        mine = [record for record in timed if record["estimator"] == label]
        value = np.array([record["estimate"] for record in mine], dtype=float)
        low = np.array([np.nan if r["conf_low"] is None else r["conf_low"] for r in mine], dtype=float)
        high = np.array([np.nan if r["conf_high"] is None else r["conf_high"] for r in mine], dtype=float)
        ax.errorbar(
            np.array([record["event_time"] for record in mine], dtype=float) + shifts[number],
            value,
            yerr=np.nan_to_num(np.abs(np.vstack([value - low, high - value]))),
            fmt=MARKERS[number % len(MARKERS)],
            color=COLOURS[number % len(COLOURS)],
            capsize=2,
            markersize=4,
            linewidth=1.2,
            label=label.replace("$", r"\$"),
        )
    ax.set_xlabel("periods since the intervention began")
    ax.set_ylabel(str(timed[0]["contrast"]).replace("_", " "))
    ax.legend(frameon=False, fontsize="small", ncols=2)
    return ax
