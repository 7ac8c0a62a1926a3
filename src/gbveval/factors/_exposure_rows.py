"""What tables of a factor share: reading counts, rows of measures and tests, the counts behind them."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from gbveval.core.counts import CountTable
from gbveval.core.errors import DataError, DesignError
from gbveval.core.method import Cell
from gbveval.core.table import Table
from gbveval.numerics.exposure_table import ExposureTable, Limits

STUDIES: Final = ("cohort", "cross_sectional", "case_control")
COLUMNS = ("measure", "method", "estimate", "conf_low", "conf_high", "statistic", "df", "p_value")
SIMPLE = (
    "Counts are taken as of a simple random sample: weights, strata and primary units of a survey are not used. Use "
    "RiskFactors where they matter."
)
Row = tuple[Any, ...]


def check_study(study: str) -> None:
    """Raise DesignError unless the kind of study is known."""
    if study not in STUDIES:
        raise DesignError(f"study is one of {', '.join(STUDIES)}, not {study!r}.")


def table_of(counts: CountTable, exposed: str, unexposed: str, column: int) -> ExposureTable:
    """Return the table of two rows of counts, in one of the columns."""
    if counts.events is None:
        raise DataError("The counts hold no events; count them with Survey.counts(..., outcome=...).")
    for role, label in (("exposed", exposed), ("unexposed", unexposed)):
        if label not in counts.rows:
            raise DataError(
                f"{role} names no row of the counts, which have {len(counts.rows)}; give one that is there."
            )
    if exposed == unexposed:
        raise DesignError("exposed and unexposed are the same row.")
    cells = []
    for label in (exposed, unexposed):
        row = counts.rows.index(label)
        events, n = counts.events[row][column], counts.n[row][column]
        cells += [float(events), float(n - events)]
    table = ExposureTable(*cells)
    if not counts.columns and min(table.exposed, table.unexposed) == 0:
        raise DataError("A group has nobody in it; two groups with people are needed.")
    return table


def row_of(measure: str, method: str, found: Limits) -> Row:
    """Return the row of a measure; numbers that do not exist, or are infinite, are null."""
    numbers = [float(x) if np.isfinite(x) else None for x in (found.estimate, found.low, found.high)]
    return (measure, method, *numbers, None, None, None)


def names_of(study: str) -> tuple[str, str]:
    """Return how ratios and differences of a kind of study are called."""
    kind = "prevalence" if study == "cross_sectional" else "risk"
    return f"{kind}_ratio", f"{kind}_difference"


def test_row(name: str, method: str, statistic: float, df: int | None, p_value: float) -> Row:
    """Return the row of a test."""
    shown = [float(x) if np.isfinite(x) else None for x in (statistic, p_value)]
    return (name, method, None, None, None, shown[0], df, shown[1])


def with_support(
    counts: CountTable, exposed: str, unexposed: str, rows: list[Row], notes: list[str], title: str
) -> Table:
    """Return the table; every row rests on the same people, stratum by stratum."""
    assert counts.events is not None
    cells = []
    for column, stratum in enumerate(counts.columns or ("",)):
        for row, label in enumerate(counts.rows):
            if counts.n[row][column] > 0:
                name = counts.title + (f", {stratum}" if stratum else "")
                cells.append(Cell(label, counts.n[row][column], counts.events[row][column], name))
    return Table(title, COLUMNS, tuple(rows), tuple(notes), tuple(tuple(cells) for _ in rows))
