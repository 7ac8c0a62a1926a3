"""One two-by-two table of a factor and an outcome, from plain counts."""

from __future__ import annotations

import numpy as np

from gbveval.core.counts import CountTable
from gbveval.core.errors import DesignError
from gbveval.core.table import Table
from gbveval.factors._exposure_rows import (
    SIMPLE,
    Row,
    check_study,
    names_of,
    row_of,
    table_of,
    test_row,
    with_support,
)
from gbveval.numerics import exposure_table as measures
from gbveval.numerics.exact_odds import conditional_interval, conditional_odds_ratio, exact_p_value, margins
from gbveval.numerics.exposure_table import ExposureTable, Limits
from gbveval.numerics.inference import check_level
from gbveval.numerics.proportion_tests import two_proportions

COMMON = "the outcome was not declared rare, so its odds ratio stands for no ratio of risks"
IF_CAUSAL = "Attributable fractions hold if the association were causal, and are never added up over factors."


def two_by_two_measures(
    counts: CountTable,
    *,
    exposed: str,
    unexposed: str,
    study: str = "cross_sectional",
    outcome_is_rare: bool = False,
    level: float = 0.95,
) -> Table:
    """Measures of association of one two-by-two table, with large-sample, score, exact and small-sample intervals.

    Parameters
    ----------
    counts : CountTable
        One-way counts with events, as from `Survey.counts("factor", outcome="outcome")`.
    exposed, unexposed : str
        Which of its rows are compared.
    study : str
        "cohort", "cross_sectional" or "case_control". Cases and controls have odds ratios only: their shares were
        chosen by the investigator.
    outcome_is_rare : bool
        Whether fewer than about 10 % of the population have the outcome. Attributable fractions of a case-control study
        need it: an odds ratio of a common outcome overstates the ratio of risks.
    level : float
        Of the intervals.

    Returns
    -------
    Table
        A row for each measure and method, and for each test. A cell is null where there is no such number: a ratio of
        a group without events, a limit that does not exist.

    Raises
    ------
    DataError
        If the table has no events, or lacks one of the two rows.
    DesignError
        If it has columns, or the study is not one of the three.

    Notes
    -----
    **Methods.** "wald": Katz's limits of a risk ratio, Woolf's of an odds ratio, the delta method for the others;
    "score"; "small_sample": Jewell's estimates; "exact" (conditional maximum likelihood, limits by two one-sided exact
    tests) and "mid_p" (median unbiased) for odds ratios. Use "exact" or "mid_p" when a cell is below five.

    References
    ----------
    Jewell (2004), Statistics for Epidemiology. Mee (1984), Biometrics 40. Walter (1978), Biometrics 34.

    Examples
    --------
    >>> counts = CountTable("low by smoke", ("no", "yes"), (), ((115,), (74,)), ((29,), (30,)))
    >>> table = two_by_two_measures(counts, exposed="yes", unexposed="no", study="cohort")
    >>> row = table.rows[0]
    >>> row[0], row[1], round(row[2], 3), round(row[3], 3), round(row[4], 3)
    ('risk_ratio', 'wald', 1.608, 1.058, 2.443)
    """
    check_level(level)
    check_study(study)
    if counts.columns:
        raise DesignError("The counts have columns; stratified_measures takes strata, or count one factor alone.")
    table = table_of(counts, exposed, unexposed, 0)
    rows = [*_odds_rows(table, level), *_test_rows(table)]
    if study == "case_control":
        exact = next(row for row in rows if row[:2] == ("odds_ratio", "exact"))
        rows += _case_control_rows(table, exact if outcome_is_rare else None, level)
    else:
        rows = [*_risk_rows(table, study, level), *rows]
    notes = [IF_CAUSAL, SIMPLE]
    if study == "case_control" and not outcome_is_rare:
        notes.insert(0, f"Attributable fractions are absent: {COMMON}.")
    return with_support(counts, exposed, unexposed, rows, notes, f"{counts.title}: {exposed} vs {unexposed}")


def _risk_rows(table: ExposureTable, study: str, level: float) -> list[Row]:
    ratio_name, difference_name = names_of(study)
    ratio = measures.risk_ratio(table, level=level)
    difference = measures.risk_difference(table, level=level)
    score = measures.score_risk_difference(table, level=level)
    fraction = measures.attributable_fraction(table, level=level)
    everyone, cases = table.exposed / table.n, table.a / (table.a + table.c) if table.a + table.c else np.nan
    nothing = (np.nan, np.nan)
    return [
        row_of(ratio_name, "wald", ratio),
        row_of(ratio_name, "small_sample", measures.small_sample_risk_ratio(table, level=level)),
        row_of(difference_name, "wald", difference),
        row_of(difference_name, "score", score),
        row_of("number_needed", "wald", _inverse(difference)),
        row_of("number_needed", "score", _inverse(score)),
        row_of("attributable_fraction_exposed", "wald", ratio.turned(_excess)),
        row_of("population_difference", "wald", measures.population_risk_difference(table, level=level)),
        row_of("attributable_fraction_population", "wald", fraction),
        row_of("share_exposed", "all", Limits(everyone, *nothing)),
        row_of("share_exposed", "with the outcome", Limits(float(cases), *nothing)),
        row_of("risk_exposed", "observed", Limits(table.a / table.exposed, *nothing)),
        row_of("risk_unexposed", "observed", Limits(table.c / table.unexposed, *nothing)),
    ]


def _excess(ratio: float) -> float:
    return 1.0 - 1.0 / ratio if ratio > 0 else -np.inf


def _inverse(difference: Limits) -> Limits:
    """Return one over a difference; without limits where these hold zero, since the inverse is then not an interval."""
    if difference.estimate == 0.0:
        return measures.UNDEFINED
    if not difference.low * difference.high > 0.0:
        return Limits(1.0 / difference.estimate, np.nan, np.nan)
    return Limits(1.0 / difference.estimate, 1.0 / difference.high, 1.0 / difference.low)


def _odds_rows(table: ExposureTable, level: float) -> list[Row]:
    given = margins((int(table.a), int(table.c)), (int(table.exposed), int(table.unexposed)))
    observed = int(table.a)
    exact = Limits(
        float(np.exp(conditional_odds_ratio(given, observed))),
        *(float(np.exp(limit)) for limit in conditional_interval(given, observed, level=level)),
    )
    if given.counts.size < 2:
        # The margins leave one table: it says nothing about the odds ratio.
        exact = middle = measures.UNDEFINED
    else:
        middle = measures.mid_p_odds_ratio(given, observed, level=level)
    return [
        row_of("odds_ratio", "wald", measures.odds_ratio(table, level=level)),
        row_of("odds_ratio", "score", measures.score_odds_ratio(table, level=level)),
        row_of("odds_ratio", "small_sample", measures.small_sample_odds_ratio(table, level=level)),
        row_of("odds_ratio", "exact", exact),
        row_of("odds_ratio", "mid_p", middle),
    ]


def _case_control_rows(table: ExposureTable, exact: Row | None, level: float) -> list[Row]:
    """Return attributable fractions from odds ratios; undefined without the exact one, where the outcome is common."""
    exposed = inner = everyone = measures.UNDEFINED
    if exact is not None:
        exposed = measures.odds_ratio(table, level=level).turned(_excess)
        inner = Limits(*(np.nan if x is None else x for x in exact[2:5])).turned(_excess)
        everyone = measures.attributable_fraction_from_odds(table, level=level)
    return [
        row_of("attributable_fraction_exposed", "odds ratio for risk ratio", exposed),
        row_of("attributable_fraction_exposed", "exact odds ratio for risk ratio", inner),
        row_of("attributable_fraction_population", "odds ratio for risk ratio", everyone),
    ]


def _test_rows(table: ExposureTable) -> list[Row]:
    events, sizes = (table.a, table.c), (table.exposed, table.unexposed)
    given = margins((int(table.a), int(table.c)), (int(table.exposed), int(table.unexposed)))
    rows = []
    for method, corrected in (("pearson", False), ("yates", True)):
        found = two_proportions(events, sizes, corrected=corrected)
        rows.append(test_row("no association", method, found.statistic, 1, found.p_value))
    exact, middle = exact_p_value(given, int(table.a)), measures.mid_p_value(given, int(table.a))
    return [
        *rows,
        test_row("no association", "fisher_exact", np.nan, None, exact),
        test_row("no association", "mid_p", np.nan, None, middle),
    ]
