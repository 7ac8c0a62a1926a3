"""Mantel-Haenszel and exact measures of a factor over strata, from plain counts."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from gbveval.core.counts import CountTable
from gbveval.core.errors import DataError, DesignError
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
from gbveval.numerics.common_odds import cochran_mantel_haenszel, mantel_haenszel, shared_odds
from gbveval.numerics.exact_odds import (
    conditional_interval,
    conditional_odds_ratio,
    exact_p_value,
    joined,
    margins,
)
from gbveval.numerics.exposure_table import UNDEFINED, ExposureTable, Limits, mid_p_odds_ratio, mid_p_value
from gbveval.numerics.inference import check_level, f_upper, normal_quantile
from gbveval.numerics.table_effects import risk_effects

FloatArray = NDArray[np.float64]


def stratified_measures(
    counts: CountTable, *, exposed: str, unexposed: str, study: str = "cross_sectional", level: float = 0.95
) -> Table:
    """Mantel-Haenszel measures of a factor over strata, tests of no association and of one measure in all strata.

    Parameters
    ----------
    counts : CountTable
        Two-way counts with events: the factor in rows, strata in columns, as from
        `Survey.counts("factor", "stratum", outcome="outcome")`.
    exposed, unexposed : str
        Which of its rows are compared.
    study : str
        "cohort", "cross_sectional" or "case_control", which has odds ratios only.
    level : float
        Of the intervals.

    Returns
    -------
    Table
        Common measures (variances of Robins, Breslow and Greenland, of Greenland and Robins, and of Sato), the exact
        common odds ratio given all margins ("exact", and "mid_p", which is median unbiased) with its tests, the
        Cochran-Mantel-Haenszel test with and without correction, and tests of homogeneity: Woolf, Breslow and Day,
        Tarone. Woolf's adds a half to every cell for odds ratios, and needs events in every group for ratios of risks.

    Notes
    -----
    **Use it** when a few strata hold all confounding: it needs no model. **Do not use** one number where the tests of
    homogeneity, or the eye, say that strata differ.

    References
    ----------
    Mantel and Haenszel (1959). Robins, Breslow and Greenland (1986), Biometrics 42. Greenland and Robins (1985),
    Biometrics 41. Sato (1989), Biometrics 45.

    Examples
    --------
    >>> counts = CountTable("y by x and s", ("no", "yes"), ("a", "b"), ((90, 40), (60, 80)), ((9, 16), (12, 40)))
    >>> table = stratified_measures(counts, exposed="yes", unexposed="no")
    >>> [(row[0], round(row[2], 3)) for row in table.rows if row[1] == "mantel_haenszel"]
    [('odds_ratio', 1.763), ('prevalence_ratio', 1.439), ('prevalence_difference', 0.1)]
    """
    check_level(level)
    check_study(study)
    if not counts.columns:
        raise DesignError("The counts have no strata; two_by_two_measures takes a single table.")
    tables = [table_of(counts, exposed, unexposed, column) for column in range(len(counts.columns))]
    used = [table for table in tables if min(table.exposed, table.unexposed) > 0]
    if not used:
        raise DataError("No stratum has people of both groups; use wider strata.")
    events = np.array([[table.c, table.a] for table in used])
    n = np.array([[table.unexposed, table.exposed] for table in used])
    chosen = ["odds_ratio"] if study == "case_control" else ["odds_ratio", "risk_ratio", "risk_difference"]
    rows = [_common_row(events, n, measure, study, level) for measure in chosen]
    exact, tests = _exact_rows(used, level)
    rows += [*exact, *_common_tests(events, n, chosen, study), *tests]
    notes = [SIMPLE]
    if len(used) < len(tables):
        notes.append(
            f"Strata without one of the groups say nothing and are left out: {len(tables) - len(used):,} of "
            f"{len(tables):,}."
        )
    title = f"{counts.title}: {exposed} vs {unexposed}, strata: {len(used):,}"
    return with_support(counts, exposed, unexposed, rows, notes, title)


def _common_row(events: FloatArray, n: FloatArray, measure: str, study: str, level: float) -> Row:
    found = mantel_haenszel(events, n, measure=measure)
    half = float(normal_quantile(0.5 + level / 2.0)) * np.sqrt(found.variance)
    limits = Limits(found.estimate, found.estimate - half, found.estimate + half)
    shown = limits if measure == "risk_difference" else limits.turned(lambda x: float(np.exp(x)))
    return row_of(_shown_name(measure, study), "mantel_haenszel", shown)


def _shown_name(measure: str, study: str) -> str:
    ratio, difference = names_of(study)
    return {"odds_ratio": "odds_ratio", "risk_ratio": ratio, "risk_difference": difference}[measure]


def _common_tests(events: FloatArray, n: FloatArray, chosen: list[str], study: str) -> list[Row]:
    rows = []
    for method, correction in (("cochran_mantel_haenszel", 0.0), ("cochran_mantel_haenszel_corrected", 0.5)):
        rows.append(
            test_row("no association", method, *_with_df(cochran_mantel_haenszel(events, n, correction=correction)))
        )
    ratios = [measure for measure in chosen if measure != "risk_difference"]
    rows += [_woolf(events, n, measure, _shown_name(measure, study)) for measure in ratios]
    common = mantel_haenszel(events, n, measure="odds_ratio")
    if np.isfinite(common.estimate):
        found = shared_odds(events, n, common.estimate)
        if found.df > 0:
            plain = f_upper(found.breslow_day / found.df, found.df, np.inf)
            rows.append(test_row("one odds_ratio in all strata", "breslow_day", found.breslow_day, found.df, plain))
            rows.append(test_row("one odds_ratio in all strata", "tarone", found.tarone, found.df, found.p_value))
    return rows


def _with_df(found: tuple[float, float]) -> tuple[float, int, float]:
    return found[0], 1, found[1]


def _woolf(events: FloatArray, n: FloatArray, measure: str, shown: str) -> Row:
    """Return the test that one ratio serves all strata: squared distances from the precision-weighted mean.

    For odds ratios a half is added to every cell (Jewell 2004), so that empty cells do not end it.
    """
    found = risk_effects(events, n, measure=measure, to="all_sites" if measure == "odds_ratio" else "none")
    good = np.isfinite(found.estimate)
    df = int(good.sum()) - 1
    if df < 1 or not good.all():
        return test_row(f"one {shown} in all strata", "woolf", np.nan, None, np.nan)
    weight = 1.0 / found.variance
    centre = float(weight @ found.estimate) / float(weight.sum())
    statistic = float(weight @ (found.estimate - centre) ** 2)
    return test_row(f"one {shown} in all strata", "woolf", statistic, df, f_upper(statistic / df, df, np.inf))


def _exact_rows(tables: list[ExposureTable], level: float) -> tuple[list[Row], list[Row]]:
    """Return the exact common odds ratio given all margins, and exact tests that it is one."""
    parts = [margins((int(t.a), int(t.c)), (int(t.exposed), int(t.unexposed))) for t in tables]
    both, observed = joined(parts), int(sum(t.a for t in tables))
    exact = middle = UNDEFINED
    if both.counts.size > 1:
        limits = conditional_interval(both, observed, level=level)
        exact = Limits(float(np.exp(conditional_odds_ratio(both, observed))), *(float(np.exp(x)) for x in limits))
        middle = mid_p_odds_ratio(both, observed, level=level)
    tests = (("exact", exact_p_value(both, observed)), ("mid_p", mid_p_value(both, observed)))
    return (
        [row_of("odds_ratio", "exact", exact), row_of("odds_ratio", "mid_p", middle)],
        [test_row("no association", method, np.nan, None, p_value) for method, p_value in tests],
    )
