"""The standard table of risk and protective factors: one line a factor level, crude and adjusted beside each other."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from gbveval.core._display import format_p
from gbveval.disclosure.released import ReleasedEstimates, ReleasedRow
from gbveval.reporting.words import ABSENT, NOT_SHOWN, cell_text

Rows = dict[str, ReleasedRow]
LEVELS = ("individual", "relationship", "community", "society", "not declared")
IF_CAUSAL = (
    "E-values, robustness values and attributable or prevented fractions say what would hold if the association were "
    "causal; fractions of several factors overlap and are never added up."
)


def is_factor_table(item: ReleasedEstimates) -> bool:
    """Whether the rows are the standard table of factors."""
    return item.estimator == "risk_factors"


def measure_of(row: ReleasedRow) -> str:
    """Return which column of the table a row fills."""
    kind = "adjusted" if str(row["model"] or "").startswith("adjusted") else "crude"
    contrast = str(row["contrast"])
    if contrast in ("attributable_fraction", "prevented_fraction"):
        return "fraction"
    if contrast == "prevalence_ratio" and str(row["term"]).endswith("(standardised ratio)"):
        return "standardised ratio"
    return f"{kind} {contrast.removeprefix('prevalence_').replace('_', ' ')}"


def lines_of(item: ReleasedEstimates) -> list[Rows]:
    """Return the rows of each outcome, factor and category by measure, factors by level of the ecological model."""
    groups: dict[tuple[str, str, str], Rows] = {}
    for row in item.rows:
        key = (str(row["outcome"]), str(row["factor"]), str(row["factor_level"]))
        groups.setdefault(key, {})[measure_of(row)] = row
    place = {level: i for i, level in enumerate(LEVELS)}
    lines = list(groups.values())
    return sorted(lines, key=lambda rows: place.get(str(_any(rows)["ecological_level"]), len(LEVELS)))


def factor_columns(item: ReleasedEstimates) -> list[str]:
    """Return the columns of the table: those that have something to say."""
    return [name for name, _ in _columns(item)]


def factor_rows(item: ReleasedEstimates) -> list[list[str]]:
    """Return one line for each factor and level."""
    made = [make for _, make in _columns(item)]
    return [[make(rows) for make in made] for rows in lines_of(item)]


def text_columns(item: ReleasedEstimates) -> list[int]:
    """Return the places of the columns of words."""
    words = {"outcome", "level", "factor", "asked", "compared", "time order", "adjusted for", "why these"}
    return [i for i, name in enumerate(factor_columns(item)) if name in words]


def _columns(item: ReleasedEstimates) -> list[tuple[str, Callable[[Rows], str]]]:
    lines = lines_of(item)
    present = {measure for rows in lines for measure in rows}
    several = len({row["outcome"] for row in item.rows}) > 1

    def said(name: str) -> bool:
        return any(row[name] not in (None, "", "not declared") for row in item.rows)

    columns: list[tuple[str, Callable[[Rows], str], bool]] = [
        ("outcome", lambda rows: str(_any(rows)["outcome"]), several),
        ("level", lambda rows: str(_any(rows)["ecological_level"] or "not declared"), True),
        ("factor", lambda rows: str(_any(rows)["factor"]), True),
        ("asked", lambda rows: str(_any(rows)["definition"] or ABSENT), said("definition")),
        ("compared", _compared, True),
        ("time order", lambda rows: str(_any(rows)["time_order"]).replace("_", " "), said("time_order")),
        ("have it, %", lambda rows: _share(_any(rows), "factor_prevalence"), True),
        ("risk with, %", lambda rows: _share(_any(rows), "risk_exposed"), True),
        ("without, %", lambda rows: _share(_any(rows), "risk_unexposed"), True),
    ]
    for measure, heading, factor in (
        ("crude ratio", "crude ratio", 1.0),
        ("adjusted ratio", "adjusted ratio", 1.0),
        ("standardised ratio", "standardised ratio", 1.0),
        ("crude odds ratio", "crude odds ratio", 1.0),
        ("adjusted odds ratio", "adjusted odds ratio", 1.0),
        ("crude difference", "crude difference, pp", 100.0),
        ("adjusted difference", "adjusted difference, pp", 100.0),
        ("fraction", "fraction, %, if causal", 100.0),
    ):
        columns.append((heading, _value_of(measure, factor), measure in present))
    columns += [
        ("p, adjusted", _p_adjusted, said("p_adjusted")),
        ("E-value (limit), if causal", _e_value, said("e_value")),
        ("robustness (limit), %, if causal", _robustness, said("robustness_value")),
        ("adjusted for", _adjusted_for, True),
        ("why these", lambda rows: str(_any(rows)["adjustment_reason"] or ABSENT), said("adjustment_reason")),
        ("missing, %", _missing, True),
    ]
    return [(name, make) for name, make, used in columns if used]


def _any(rows: Rows) -> ReleasedRow:
    return next(iter(rows.values()))


def _compared(rows: Rows) -> str:
    row = _any(rows)
    level = str(row["factor_level"])
    return level if level == "each step up" else f"{level} vs {row['reference']}"


def _value_of(measure: str, factor: float) -> Callable[[Rows], str]:
    return lambda rows: _value(rows.get(measure), factor)


def _value(row: ReleasedRow | None, factor: float) -> str:
    """Return an estimate with its interval, in the unit of the column's heading."""
    if row is None:
        return ABSENT
    if row["estimate"] is None or row["conf_low"] is None:
        return NOT_SHOWN if row.hidden else ABSENT
    places = 2 if factor == 1.0 else 1
    value, low, high = (f"{factor * row[name]:.{places}f}" for name in ("estimate", "conf_low", "conf_high"))
    prevented = "prevented " if row["contrast"] == "prevented_fraction" else ""
    # A line may break before the interval and not within it.
    return f"{prevented}{value} ({low}\u00a0to\u00a0{high})"


def _ratio(rows: Rows) -> ReleasedRow | None:
    """Return the most adjusted ratio of a line."""
    order = ("adjusted ratio", "standardised ratio", "crude ratio", "adjusted odds ratio", "crude odds ratio")
    return next((rows[name] for name in order if name in rows), None)


def _p_adjusted(rows: Rows) -> str:
    """Return the p-value of the most adjusted ratio that was adjusted for multiplicity."""
    row = _ratio(rows)
    if row is None or row["p_adjusted"] is None:
        return NOT_SHOWN if row is not None and row.hidden else ABSENT
    return format_p(row["p_adjusted"])


def _e_value(rows: Rows) -> str:
    """Return the E-value of the most adjusted ratio and of its limit."""
    row = _ratio(rows)
    if row is None:
        return ABSENT
    if row["e_value"] is None:
        return NOT_SHOWN if row.hidden else ABSENT
    limit = row["e_value_limit"]
    return f"{row['e_value']:.2f} ({ABSENT if limit is None else f'{limit:.2f}'})"


def _robustness(rows: Rows) -> str:
    """Return the robustness value of the adjusted difference and of its limit."""
    row = rows.get("adjusted difference")
    if row is None or row["robustness_value"] is None:
        return NOT_SHOWN if row is not None and row.hidden else ABSENT
    limit = row["robustness_value_limit"]
    return f"{100 * row['robustness_value']:.0f} ({ABSENT if limit is None else f'{100 * limit:.0f}'})"


def _adjusted_for(rows: Rows) -> str:
    for row in rows.values():
        model = str(row["model"] or "")
        if model.startswith("adjusted for "):
            return model.removeprefix("adjusted for ")
    model = str(_any(rows)["model"] or "")
    return "roles not declared" if "not declared" in model else "nothing"


def _missing(rows: Rows) -> str:
    """Return the share that is not in the most demanding row of the line."""
    shares = [row["missing_share"] for row in rows.values()]
    known = [share for share in shares if share is not None]
    return f"{100 * max(known):.1f}" if known else (NOT_SHOWN if _any(rows).hidden else ABSENT)


def _share(row: ReleasedRow, name: str) -> str:
    value: Any = row[name]
    if value is None:
        return NOT_SHOWN if row.hidden else ABSENT
    return f"{100 * value:.1f}" if isinstance(value, float) else cell_text(value)
