"""Numbers and findings as readers read them: formats, and one sentence a result that never says more than it knows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gbveval.core._display import format_number, format_p
from gbveval.core.estimand import EFFECTS, LEVELS
from gbveval.disclosure.released import ReleasedEstimates, ReleasedRow

NOT_SHOWN, ABSENT = "not shown", "–"
# Effects that one result estimates side by side, so that no single one of them is its heading.
SPILLOVER = ("direct_effect", "indirect_effect", "total_effect", "overall_effect")
# Effects that vary between sites: the between-site sd is in their unit.
OF_SITES = ("site_effect", "new_site_effect")
# Measures whose term says what they rest on ("if causal"), and which "is associated with" does not fit.
ON_THEIR_OWN = ("attributable_fraction", "prevented_fraction", "relative_excess_risk", "attributable_proportion")
DIFFERENCES = ("risk_difference", "prevalence_difference")
PERCENT = (*DIFFERENCES, "proportion", "share")


def has_numbers(row: ReleasedRow) -> bool:
    """Whether a row has an estimate and an interval to draw."""
    return row["estimate"] is not None and row["conf_low"] is not None


def estimate_text(row: ReleasedRow, value: Any, spread: str = "") -> str:
    """Return a number of a row as people read it: risks in percent or percentage points.

    `spread` is the contrast whose values a standard deviation among the rows is of, from `contrast_of_spread`.
    """
    if value is None:
        return NOT_SHOWN if row.hidden else ABSENT
    contrast = spread if spread and row["contrast"] == "standard_deviation" else row["contrast"]
    if contrast in PERCENT:
        unit = "%" if contrast in ("proportion", "share") else "pp"
        return f"{100 * value:.1f} {unit}"
    return format_number(value)


def interval_text(row: ReleasedRow, spread: str = "") -> str:
    """Return an interval as "low to high"."""
    if row["conf_low"] is None:
        return NOT_SHOWN if row.hidden else ABSENT
    return f"{estimate_text(row, row['conf_low'], spread)} to {estimate_text(row, row['conf_high'], spread)}"


def contrast_of_spread(rows: Sequence[ReleasedRow]) -> str:
    """Return the contrast of the effects of sites where their standard deviation is in its unit; else nothing.

    Proportions and ratios vary between sites on the scale of logits and logarithms, whose sd has no percent.
    """
    kinds = {str(row["contrast"]) for row in rows if row["estimand"] in OF_SITES}
    return kinds.pop() if len(kinds) == 1 and kinds <= set(DIFFERENCES) else ""


def cell_text(value: Any) -> str:
    """Return a table value as text."""
    if value is None:
        return ABSENT
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:,.0f}" if value.is_integer() and abs(value) < 1e15 else format_number(value)
    return str(value)


def p_text(row: ReleasedRow) -> str:
    """Return the p-value as text."""
    return NOT_SHOWN if row.hidden else format_p(row["p_value"])


def heading(estimates: ReleasedEstimates) -> str:
    """Return a short heading: what is estimated, in which contrast, by which method."""
    first = next((row for row in estimates.rows), None)
    if first is None:
        return estimates.estimator.replace("_", " ")
    kinds = list(dict.fromkeys(str(row["estimand"]) for row in estimates.rows))
    what = EFFECTS[kinds[0]]
    if len(kinds) > 1 and set(kinds) <= set(SPILLOVER):
        names = [kind.removesuffix("_effect") for kind in kinds]
        what = f"{', '.join(names[:-1])} and {names[-1]} effects"
    contrast = str(first["contrast"]).replace("_", " ")
    tail = "" if contrast in ("none", "share") else f" ({contrast})"
    method = estimates.estimator.replace("_", " ")
    return f"{what[0].upper()}{what[1:]}{tail}" + ("" if method in what else f": {method}")


def is_test_table(estimates: ReleasedEstimates) -> bool:
    """Whether a result is tests alone, without an estimate, and they may be shown."""
    rows = estimates.rows
    return bool(rows) and all(row["interval_kind"] == "none" and not row.hidden for row in rows)


def test_sentence(row: ReleasedRow) -> str:
    """Return a test in words, without a verdict."""
    if row["p_value"] is None:
        return f"{row['term']}: no test ({row['reason'] or 'it is undefined'})."
    return f"Test that {row['term']}: p = {format_p(row['p_value'])}. A large p does not show that it is so."


def sentence(estimates: ReleasedEstimates) -> str:
    """Return the first result in words: causal words for effects only, and no verdict from a p-value."""
    if is_test_table(estimates):
        return test_sentence(estimates.rows[0])
    tests = [row for row in estimates.rows if row["interval_kind"] == "none" and not row.hidden]
    rows = [row for row in estimates.rows if has_numbers(row)]
    if not rows:
        return "No number of this result may be shown."
    row = rows[0]
    kind = "credible" if str(row["interval_kind"]).startswith("credible") else "confidence"
    interval = f"{100 * estimates.level:g} % {kind} interval {interval_text(row)}"
    value = estimate_text(row, row["estimate"])
    contrast = str(row["contrast"]).replace("_", " ")
    if row["contrast"] == "standard_deviation":
        return f"Estimated {EFFECTS[row['estimand']]} on {row['outcome']}, {row['term']}: {value} ({interval})."
    if row["contrast"] == "share":
        return f"Estimated {EFFECTS[row['estimand']]}, for {row['outcome']} ({row['term']}): {value} ({interval})."
    if row["contrast"] in ON_THEIR_OWN:
        return f"{row['term']}: estimated {contrast} of {row['outcome']} {value} ({interval})."
    if row["estimand"] in LEVELS:
        return f"Estimated {contrast} of {row['outcome']}, {row['term']}: {value} ({interval})."
    if not estimates.causal:
        return (
            f"{row['term']} is associated with {row['outcome']}: {contrast} {value} ({interval}). "
            "This is an association, not an effect."
        )
    null = 1.0 if estimates.link == "log" else 0.0
    inside = row["conf_low"] <= null <= row["conf_high"]
    doubt = (
        "The data are compatible with no effect as well as with every value of the interval."
        if inside
        else ("The interval shows which sizes of the effect the data are compatible with.")
    )
    tested = [test_sentence(test) for test in tests[:1] if test["outcome"] == row["outcome"]]
    effect = f"Estimated effect on {row['outcome']}, {row['term']}: {contrast} {value} ({interval}). {doubt}"
    return " ".join([effect, *tested])
