"""The table of intersectional strata: shares of variance, then one line a stratum with its departure beside it."""

from __future__ import annotations

from collections.abc import Callable

from gbveval.disclosure.released import ReleasedEstimates, ReleasedRow
from gbveval.reporting.words import ABSENT, NOT_SHOWN, cell_text, estimate_text, has_numbers, interval_text

OF_AUC = {"VPC": "strata", "VPC after main effects": "their main effects alone"}
ESTIMATORS = ("maihda", "intersectional_effects")
CAPTION = (
    "Strata in order, with their intervals. Full markers: strata that their own people speak for. Hollow: mostly what "
    "their properties foresee one by one. That strata differ is an association."
)


def is_of_strata(item: ReleasedEstimates) -> bool:
    """Whether the rows are of intersectional strata."""
    return item.estimator in ESTIMATORS


def is_stratum(row: ReleasedRow) -> bool:
    """Whether a row is the level, or the effect, of one stratum."""
    return row["estimand"] == "stratum_level" or (row["estimand"] == "ITT" and row["subgroup"] is not None)


def stratum_name(row: ReleasedRow) -> str:
    """Return a stratum's categories."""
    return str(row["domain_level"] if row["subgroup"] is None else row["subgroup"])


def family_of(row: ReleasedRow) -> tuple[str, str]:
    """Return the outcome and, of effects, the arms: their terms are "arm vs arm, ..."."""
    arms = "" if row["subgroup"] is None else str(row["term"]).removesuffix(str(row["subgroup"]))
    return str(row["outcome"]), arms.removesuffix("departure of ")


def strata_table(item: ReleasedEstimates) -> tuple[list[str], list[list[str]], list[int]]:
    """Return columns, lines and the places of columns of words."""
    strata = [row for row in item.rows if is_stratum(row)]
    departures = {(family_of(row), stratum_name(row)): row for row in item.rows if row["estimand"] == "interaction"}
    others = [row for row in item.rows if not is_stratum(row) and row["estimand"] != "interaction"]
    several = len({family_of(row) for row in strata}) > 1
    shown = any(has_numbers(row) for row in departures.values())
    opposite = any(row["probability_opposite"] is not None for row in strata)

    def of_departure(row: ReleasedRow) -> str:
        found = departures.get((family_of(row), stratum_name(row)))
        return ABSENT if found is None else f"{estimate_text(found, found['estimate'])} ({interval_text(found)})"

    columns: list[tuple[str, Callable[[ReleasedRow], str], bool]] = [
        ("estimate", lambda row: estimate_text(row, row["estimate"]), True),
        (f"{100 * item.level:g} % interval", interval_text, True),
        ("beyond the sum", lambda row: of_departure(row) if is_stratum(row) else ABSENT, shown),
        ("other way, %", lambda row: _percent(row, "probability_opposite"), opposite),
        ("units", lambda row: cell_text(row["n_units"]), True),
        ("clusters", lambda row: cell_text(row["n_clusters"]), any(row["n_clusters"] is not None for row in strata)),
        ("foreseen, %", lambda row: _percent(row, "pooling_factor"), True),
    ]
    used = [(name, make) for name, make, wanted in columns if wanted]
    lines = [[_plain_name(row, several=several), *(make(row) for _, make in used)] for row in others]
    for row in _in_order(strata):
        name = f"{''.join(family_of(row)[1:])}{stratum_name(row)}" if several else stratum_name(row)
        lines.append([name, *(make(row) for _, make in used)])
    return ["result", *(name for name, _ in used)], lines, [0]


def strata_notes(item: ReleasedEstimates) -> list[str]:
    """Return what stands below the table."""
    strata = [row for row in item.rows if is_stratum(row)]
    hidden = sum(row.hidden for row in strata)
    notes = []
    auc = [row for row in item.rows if row["auc"] is not None]
    if auc:
        which = "; ".join(f"{row['auc']:.2f} ({OF_AUC.get(str(row['term']), row['term'])})" for row in auc)
        notes.append(f"How well strata tell who has the outcome, as the area under the curve: {which}. Half is chance.")
    if hidden:
        notes.append(
            f"{hidden} of {len(strata)} strata are not shown, and with them no departure from the sum of main effects: "
            "over each category these add to almost zero, and the others would tell a hidden one."
        )
    return notes


def _in_order(strata: list[ReleasedRow]) -> list[ReleasedRow]:
    """Return strata of each outcome and arm, the highest first; hidden ones last."""
    families = list(dict.fromkeys(family_of(row) for row in strata))
    return sorted(
        strata,
        key=lambda row: (
            families.index(family_of(row)),
            not has_numbers(row),
            -float(row["estimate"]) if has_numbers(row) else 0.0,
        ),
    )


def _plain_name(row: ReleasedRow, *, several: bool) -> str:
    return f"{row['outcome']}: {row['term']}" if several else str(row["term"])


def _percent(row: ReleasedRow, name: str) -> str:
    value = row[name]
    if value is None:
        return NOT_SHOWN if row.hidden and is_stratum(row) else ABSENT
    return f"{100 * value:.0f}"
