"""The parts of a page: from released values to headings, columns and rows of text."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from gbveval.core._display import shrunken_pairs
from gbveval.disclosure.released import ReleasedEstimates, ReleasedRow, ReleasedTable
from gbveval.reporting.factor_table import IF_CAUSAL, factor_columns, factor_rows, is_factor_table, text_columns
from gbveval.reporting.figures import alternative_text, is_dose_curve, is_event_study
from gbveval.reporting.strata_table import CAPTION, is_of_strata, strata_notes, strata_table
from gbveval.reporting.words import (
    NOT_SHOWN,
    cell_text,
    contrast_of_spread,
    estimate_text,
    heading,
    interval_text,
    is_test_table,
    p_text,
    sentence,
)

# Columns of a method's own that a page leaves to the JSON: keys of the rows, and details for methodologists.
LEFT_TO_JSON = frozenset(
    (
        *("level", "event_time", "time", "cohort", "population", "reason", "df2", "cells", "treated_by_then"),
        *("dose", "curve"),
        *("shrinkage", "i_squared", "pooling_total", "typical_within_variance", "log_marginal_likelihood"),
        *("domain", "domain_level", "subgroup"),
        *("p_greater", "p_less", "p_absolute", "p_central", "p_no_more_likely", "p_equal", "p_uncentred", "null_sd"),
        *("adjusted_r_squared", "residual_sd", "log_likelihood", "deviance"),
    )
)
ERROR_WORDS = "Standard error: "
# A table of one row and many columns is read down and not across.
WIDE = 8


def estimates_part(item: ReleasedEstimates, svg: str | None) -> dict[str, Any]:
    """Return what the template shows of released estimates."""
    if is_factor_table(item):
        columns, rows, words = factor_columns(item), factor_rows(item), text_columns(item)
    elif is_of_strata(item):
        columns, rows, words = strata_table(item)
    elif is_test_table(item):
        columns, rows, words = _test_table(item)
    else:
        columns, rows, words = _estimate_table(item)
    image = None if svg is None else "data:image/svg+xml;base64," + base64.b64encode(svg.encode()).decode()
    warned = [(status, f"{name}: {message}") for name, status, message in item.checks if status in ("warn", "fail")]
    quiet = [f"Check {name}: {status}: {message}" for name, status, message in item.checks if status in ("ok", "info")]
    noted = [f"{row['term']}: {row.note}." for row in item.rows if row.note]
    return {
        "kind": "estimates",
        "title": heading(item),
        "sentence": sentence(item),
        "image": image,
        "alt": alternative_text(item),
        "caption": _caption(item),
        "columns": columns,
        "text_columns": words,
        "rows": rows,
        "notes": strata_notes(item) if is_of_strata(item) else list(dict.fromkeys(noted))[:12],
        "warnings": warned,
        "method": [f"Estimator: {item.estimator}.", *item.method, *quiet],
    }


def _caption(item: ReleasedEstimates) -> str:
    """Return what a figure shows, with what readers of subgroups get wrong most often."""
    if is_factor_table(item):
        return (
            "Prevalence ratios by level of the ecological model, crude (hollow) and adjusted. They are associations. "
            f"{IF_CAUSAL}"
        )
    if is_of_strata(item):
        return CAPTION
    if is_event_study(item):
        if any(str(row["interval_kind"]).endswith("uniform") for row in item.rows):
            return "Event study. The intervals hold for all event times at once; each p-value is for its row alone."
        return "Event study."
    if is_dose_curve(item):
        slopes = item.rows[0]["estimand"] == "ACRT"
        joint = any(str(row["interval_kind"]).endswith("uniform") for row in item.rows)
        what = "What one more unit of dose does" if slopes else "Effects by dose on those who got it"
        limit = "This is" if slopes else "That one dose did more than another is"
        return (
            f"{what}{'; the intervals hold for all doses at once' if joint else ''}. {limit} an effect of the dose "
            "only if its choice had nothing to do with its effect."
        )
    if shrunken_pairs([f"{row['outcome']}: {row['term']}" for row in item.rows]):
        return (
            "Estimates with their intervals: plain, and drawn towards the others (shrunken). That one interval "
            "excludes zero and another does not is no difference between the two."
        )
    return "Estimates with their intervals."


def side_by_side(items: Sequence[ReleasedEstimates]) -> ReleasedEstimates | None:
    """Return the single rows of several methods as one, for a figure; None unless they estimate the same."""
    single = [item for item in items if len(item.rows) == 1]
    alike = {
        # The heading holds the population and the scale: effects between people alike are not those on the average.
        (item.rows[0]["outcome"], item.heading, item.level)
        for item in single
    }
    if len(single) < 2 or len(alike) != 1:
        return None
    rows = []
    names = [item.estimator.replace("_", " ") for item in single]
    for item, name in zip(single, names, strict=True):
        record = dict(item.rows[0].record)
        # One estimator twice: what differs is mostly its standard error.
        error = next((text for text in item.method if text.startswith(ERROR_WORDS)), ERROR_WORDS)
        short = error.removeprefix(ERROR_WORDS).rstrip(".").split(",")[0]
        record["term"] = f"{name}, {short}" if names.count(name) > 1 and short else name
        rows.append(replace(item.rows[0], record=tuple(record.items())))
    return replace(single[0], rows=tuple(rows))


def figure_part(item: ReleasedEstimates, svg: str) -> dict[str, Any]:
    """Return a figure alone, with its heading."""
    outcome = item.rows[0]["outcome"]
    return {
        "kind": "estimates",
        "title": f"{outcome}: the estimates side by side",
        "sentence": "",
        "image": "data:image/svg+xml;base64," + base64.b64encode(svg.encode()).decode(),
        "alt": alternative_text(item),
        "caption": "The same effect by each method of this section.",
        "columns": [],
        "text_columns": [],
        "rows": [],
        "notes": [],
        "warnings": [],
        "method": [],
    }


def _estimate_table(item: ReleasedEstimates) -> tuple[list[str], list[list[str]], list[int]]:
    rows = item.rows
    own, spread = _own_columns(rows), contrast_of_spread(rows)
    several = len({row["outcome"] for row in rows}) > 1
    tested = any(row["p_value"] is not None for row in rows)
    counted = [name for name in ("n_units", "n_clusters") if any(row[name] is not None for row in rows)]
    columns = ["result", *(["outcome"] if several else []), "estimate", f"{100 * item.level:g} % interval"]
    columns += [*(["p"] if tested else []), *(name.removeprefix("n_") for name in counted)]
    columns += [name.replace("_", " ") for name in own]
    lines = []
    for row in rows:
        cells = [str(row["term"]), *([str(row["outcome"])] if several else [])]
        cells += [estimate_text(row, row["estimate"], spread), interval_text(row, spread)]
        cells += [p_text(row)] if tested else []
        cells += [cell_text(row[name]) for name in counted]
        cells += [NOT_SHOWN if row.hidden and row[name] is None else cell_text(row[name]) for name in own]
        lines.append(cells)
    first_own = len(columns) - len(own)
    texts = [first_own + i for i, name in enumerate(own) if any(isinstance(row[name], str) for row in rows)]
    return columns, lines, [0, *([1] if several else []), *texts]


def _own_columns(rows: Sequence[ReleasedRow]) -> list[str]:
    """Return the method's own columns that have something to say."""
    names = dict.fromkeys(key for row in rows for key, _ in row.record[16:] if key not in LEFT_TO_JSON)
    return [name for name in names if any(row[name] not in (None, "") for row in rows)]


def _test_table(item: ReleasedEstimates) -> tuple[list[str], list[list[str]], list[int]]:
    columns = ["test", "statistic", "df", "p", "units"]
    lines = [
        [str(row["term"]), cell_text(row["statistic"]), cell_text(row["df"]), p_text(row), cell_text(row["n_units"])]
        for row in item.rows
    ]
    return columns, lines, [0]


def table_part(item: ReleasedTable) -> dict[str, Any]:
    """Return what the template shows of a released table; a single wide row is turned on its side."""
    used = [i for i in range(len(item.columns)) if any(row[i] is not None for row in item.rows)]
    columns: Sequence[str] = [item.columns[i] for i in used]
    rows: list[tuple[Any, ...]] = [tuple(row[i] for i in used) for row in item.rows]
    if len(rows) == 1 and len(columns) > WIDE:
        rows = list(zip(columns, rows[0], strict=True))
        columns = ("quantity", "value")
    text_columns = [
        i for i in range(len(columns)) if rows and all(isinstance(row[i], (str, type(None))) for row in rows)
    ]
    return {
        "kind": "table",
        "title": item.title,
        "columns": [str(name).replace("_", " ") for name in columns],
        "text_columns": text_columns,
        "rows": [[_words(value) for value in row] for row in rows],
        "notes": list(item.notes),
        "warnings": [],
        "method": [],
    }


def _words(value: Any) -> str:
    text = cell_text(value)
    return text.replace("_", " ") if isinstance(value, str) else text
