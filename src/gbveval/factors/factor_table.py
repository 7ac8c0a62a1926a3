"""The standard table of factors in a notebook: a line for each factor and category, from the rows of `RiskFactors`."""

from __future__ import annotations

from typing import Any

from gbveval.core.errors import DesignError
from gbveval.core.estimates import Estimates
from gbveval.core.table import Table

ABOUT = (
    "outcome",
    "factor",
    "factor_level",
    "reference",
    "ecological_level",
    "behaviour",
    "direction",
    "time_order",
    "definition",
    "factor_prevalence",
    "risk_exposed",
    "risk_unexposed",
)
MEASURES = (
    "crude_ratio",
    "adjusted_ratio",
    "crude_difference",
    "adjusted_difference",
    "crude_odds_ratio",
    "adjusted_odds_ratio",
    "standardised_ratio",
    "attributable_fraction",
    "prevented_fraction",
)
# Whose E-value and adjusted p-value a line shows: the first of these that was asked for.
RATIOS = ("adjusted_ratio", "standardised_ratio", "crude_ratio", "adjusted_odds_ratio", "crude_odds_ratio")
AFTER = (
    "p_adjusted",
    "e_value",
    "e_value_limit",
    "robustness_value",
    "robustness_value_limit",
    "adjusted_for",
    "adjustment_reason",
    "missing_share",
)
LEVELS = ("individual", "relationship", "community", "society")
NOTES = (
    "These are associations: nothing here says that changing a factor would change the outcome.",
    "E-values (of the adjusted ratio, or else the standardised, the crude, or an odds ratio by its root; 95 % limits) "
    "and attributable or prevented fractions say what would hold if the association were causal. Fractions of several "
    "factors are never added up.",
)


def factor_table(estimates: Estimates) -> Table:
    """Return the standard table of risk and protective factors, one line for each factor and category.

    Parameters
    ----------
    estimates : Estimates
        What `RiskFactors` estimated.

    Returns
    -------
    Table
        Lines by level of the ecological model, each with the factor's definition, level, reference, time order and
        prevalence, the risks, every measure with its limits, E-values, adjustment and its reason, missing answers; the
        p-value of the ratio adjusted for multiplicity, after `adjust_for_multiplicity`.
        Columns without a number are left out. `release` hides a line when a count behind it is small.

    Raises
    ------
    DesignError
        If the result is not that of `RiskFactors`.

    Examples
    --------
    >>> import numpy as np
    >>> from gbveval.datasets.pilot import PilotSurvey
    >>> from gbveval.factors.risk_factors import RiskFactors
    >>> survey = PilotSurvey().draw(np.random.default_rng(1))
    >>> table = factor_table(RiskFactors(["lgbtq", "disability"], behaviour="experience").estimate(survey))
    >>> table.column("factor")
    ('lgbtq', 'disability')
    """
    if estimates.estimator != "risk_factors":
        raise DesignError(f"factor_table shows what RiskFactors estimates, not {estimates.estimator!r}.")
    records = estimates.records()
    lines: dict[tuple[str, str, str], dict[str, Any]] = {}
    support: dict[tuple[str, str, str], dict[Any, None]] = {}
    for row, record in zip(estimates.terms, records, strict=True):
        key = (record["outcome"], record["factor"], record["factor_level"])
        line = lines.setdefault(key, {name: record[name] for name in ABOUT})
        support.setdefault(key, {}).update(dict.fromkeys(row.support))
        _fill(line, record)
    order = {level: i for i, level in enumerate(LEVELS)}
    keys = sorted(lines, key=lambda key: order.get(lines[key]["ecological_level"], len(LEVELS)))
    measured = [f"{name}{end}" for name in MEASURES for end in ("", "_low", "_high")]
    columns = [
        name
        for name in (*ABOUT, *measured, *AFTER)
        if name in ABOUT or any(lines[key].get(name) is not None for key in keys)
    ]
    rows = tuple(tuple(lines[key].get(name) for name in columns) for key in keys)
    behaviours = sorted({str(lines[key]["behaviour"]) for key in keys})
    return Table(
        f"Factors associated with {' and '.join(behaviours)}",
        tuple(columns),
        rows,
        NOTES,
        tuple(tuple(support[key]) for key in keys),
    )


def measure_of(record: dict[str, Any]) -> str:
    """Return which measure of the table a row is."""
    contrast = str(record["contrast"])
    if contrast.endswith("_fraction"):
        return contrast
    if str(record["term"]).endswith("(standardised ratio)"):
        return "standardised_ratio"
    kind = "adjusted" if str(record["model"]).startswith("adjusted") else "crude"
    return f"{kind}_{contrast.removeprefix('prevalence_')}"


def _fill(line: dict[str, Any], record: dict[str, Any]) -> None:
    measure = measure_of(record)
    line[measure], line[f"{measure}_low"], line[f"{measure}_high"] = (
        record[name] for name in ("estimate", "conf_low", "conf_high")
    )
    adjusted = str(record["model"]).startswith("adjusted for ")
    if adjusted or "adjusted_for" not in line:
        line["adjusted_for"] = str(record["model"]).removeprefix("adjusted for ")
        line["adjustment_reason"] = record["adjustment_reason"] or None
        line["missing_share"] = record["missing_share"]
    if measure == "adjusted_difference":
        line["robustness_value"] = record["robustness_value"]
        line["robustness_value_limit"] = record["robustness_value_limit"]
    if measure in RATIOS and RATIOS.index(measure) < line.get("e_value_of", len(RATIOS)):
        line["e_value_of"] = RATIOS.index(measure)
        line["e_value"], line["e_value_limit"] = record["e_value"], record["e_value_limit"]
        line["p_adjusted"] = record.get("p_adjusted")
