"""The standard table of risk and protective factors: one line a factor level, crude and adjusted beside each other."""

from __future__ import annotations

from typing import Any

from gbveval.disclosure.released import ReleasedEstimates, ReleasedRow
from gbveval.reporting.words import ABSENT, NOT_SHOWN, cell_text


def is_factor_table(item: ReleasedEstimates) -> bool:
    """Whether the rows are about factors."""
    return any(row["factor"] is not None for row in item.rows)


def factor_columns() -> list[str]:
    """Return the columns of the table."""
    return [
        "factor",
        "level",
        "compared",
        "have it, %",
        "risk with, %",
        "without, %",
        "crude ratio",
        "adjusted ratio",
        "adjusted for",
        "difference, pp",
        "missing, %",
    ]


def factor_rows(item: ReleasedEstimates) -> list[list[str]]:
    """Return one line for each factor and level."""
    groups: dict[tuple[str, str], dict[str, ReleasedRow]] = {}
    for row in item.rows:
        key = (str(row["factor"]), str(row["factor_level"]))
        adjusted = str(row["model"] or "").startswith("adjusted")
        kind = "difference" if row["contrast"] == "prevalence_difference" else ("adjusted" if adjusted else "crude")
        groups.setdefault(key, {})[kind] = row
    return [_line(factor, level, rows) for (factor, level), rows in groups.items()]


def _line(factor: str, level: str, rows: dict[str, ReleasedRow]) -> list[str]:
    any_row = next(iter(rows.values()))
    adjusted = rows.get("adjusted")
    model = "" if adjusted is None else str(adjusted["model"] or "")
    return [
        factor,
        str(any_row["ecological_level"] or "not declared"),
        f"{level} vs {any_row['reference']}",
        _share(any_row, "factor_prevalence"),
        _share(any_row, "risk_exposed"),
        _share(any_row, "risk_unexposed"),
        _value(rows.get("crude"), 1.0),
        _value(adjusted, 1.0),
        model.removeprefix("adjusted for ") or "nothing",
        _value(rows.get("difference"), 100.0),
        _share(any_row, "missing_share"),
    ]


def _value(row: ReleasedRow | None, factor: float) -> str:
    """Return an estimate with its interval, in the unit of the column's heading."""
    if row is None:
        return ABSENT
    if row["estimate"] is None or row["conf_low"] is None:
        return NOT_SHOWN if row.hidden else ABSENT
    places = 2 if factor == 1.0 else 1
    value, low, high = (f"{factor * row[name]:.{places}f}" for name in ("estimate", "conf_low", "conf_high"))
    return f"{value} ({low} to {high})"


def _share(row: ReleasedRow, name: str) -> str:
    value: Any = row[name]
    if value is None:
        return NOT_SHOWN if row.hidden else ABSENT
    return f"{100 * value:.1f}" if isinstance(value, float) else cell_text(value)
