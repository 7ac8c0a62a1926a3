"""Two-by-two tables of a factor and an outcome from plain counts, one or several strata of them."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from gbveval.core.counts import CountTable
from gbveval.core.errors import DataError, DesignError
from gbveval.core.method import Cell
from gbveval.core.table import Table
from gbveval.numerics import exposure_table as measures
from gbveval.numerics.common_odds import cochran_mantel_haenszel, mantel_haenszel, shared_odds
from gbveval.numerics.exact_odds import conditional_interval, conditional_odds_ratio, exact_p_value, margins
from gbveval.numerics.exposure_table import ExposureTable, Limits
from gbveval.numerics.inference import check_level, f_upper, normal_quantile
from gbveval.numerics.proportion_tests import two_proportions
from gbveval.numerics.table_effects import risk_effects

FloatArray = NDArray[np.float64]
STUDIES: Final = ("cohort", "cross_sectional", "case_control")
COLUMNS = ("measure", "method", "estimate", "conf_low", "conf_high", "statistic", "df", "p_value")
COMMON = "the outcome was not declared rare, so its odds ratio stands for no ratio of risks"
IF_CAUSAL = "Attributable fractions hold if the association were causal, and are never added up over factors."
SIMPLE = (
    "Counts are taken as of a simple random sample: weights, strata and primary units of a survey are not used. Use "
    "RiskFactors where they matter."
)
Row = tuple[Any, ...]


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
    if study not in STUDIES:
        raise DesignError(f"study is one of {', '.join(STUDIES)}, not {study!r}.")
    if counts.columns:
        raise DesignError("The counts have columns; stratified_measures takes strata, or count one factor alone.")
    table = _table(counts, exposed, unexposed, 0)
    rows = [*_odds_rows(table, level), *_test_rows(table)]
    if study == "case_control":
        exact = next(row for row in rows if row[:2] == ("odds_ratio", "exact"))
        rows += _case_control_rows(table, exact if outcome_is_rare else None, level)
    else:
        rows = [*_risk_rows(table, study, level), *rows]
    notes = [IF_CAUSAL, SIMPLE]
    if study == "case_control" and not outcome_is_rare:
        notes.insert(0, f"Attributable fractions are absent: {COMMON}.")
    return _with_support(counts, exposed, unexposed, rows, notes, f"{counts.title}: {exposed} vs {unexposed}")


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
        Common measures (variances of Robins, Breslow and Greenland, of Greenland and Robins, and of Sato), the
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
    if study not in STUDIES:
        raise DesignError(f"study is one of {', '.join(STUDIES)}, not {study!r}.")
    if not counts.columns:
        raise DesignError("The counts have no strata; two_by_two_measures takes a single table.")
    tables = [_table(counts, exposed, unexposed, column) for column in range(len(counts.columns))]
    used = [table for table in tables if min(table.exposed, table.unexposed) > 0]
    if not used:
        raise DataError("No stratum has people of both groups; use wider strata.")
    events = np.array([[table.c, table.a] for table in used])
    n = np.array([[table.unexposed, table.exposed] for table in used])
    chosen = ["odds_ratio"] if study == "case_control" else ["odds_ratio", "risk_ratio", "risk_difference"]
    rows = [_common_row(events, n, measure, study, level) for measure in chosen]
    rows += _common_tests(events, n, chosen, study)
    notes = [SIMPLE]
    if len(used) < len(tables):
        notes.append(
            f"Strata without one of the groups say nothing and are left out: {len(tables) - len(used):,} of "
            f"{len(tables):,}."
        )
    title = f"{counts.title}: {exposed} vs {unexposed}, strata: {len(used):,}"
    return _with_support(counts, exposed, unexposed, rows, notes, title)


def _table(counts: CountTable, exposed: str, unexposed: str, column: int) -> ExposureTable:
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


def _row(measure: str, method: str, found: Limits) -> Row:
    numbers = [float(x) if np.isfinite(x) else None for x in (found.estimate, found.low, found.high)]
    return (measure, method, *numbers, None, None, None)


def _risk_rows(table: ExposureTable, study: str, level: float) -> list[Row]:
    ratio_name, difference_name = _names(study)
    ratio = measures.risk_ratio(table, level=level)
    difference = measures.risk_difference(table, level=level)
    score = measures.score_risk_difference(table, level=level)
    fraction = measures.attributable_fraction(table, level=level)
    everyone, cases = table.exposed / table.n, table.a / (table.a + table.c) if table.a + table.c else np.nan
    nothing = (np.nan, np.nan)
    return [
        _row(ratio_name, "wald", ratio),
        _row(ratio_name, "small_sample", measures.small_sample_risk_ratio(table, level=level)),
        _row(difference_name, "wald", difference),
        _row(difference_name, "score", score),
        _row("number_needed", "wald", _inverse(difference)),
        _row("number_needed", "score", _inverse(score)),
        _row("attributable_fraction_exposed", "wald", ratio.turned(_excess)),
        _row("population_difference", "wald", measures.population_risk_difference(table, level=level)),
        _row("attributable_fraction_population", "wald", fraction),
        _row("share_exposed", "all", Limits(everyone, *nothing)),
        _row("share_exposed", "with the outcome", Limits(float(cases), *nothing)),
        _row("risk_exposed", "observed", Limits(table.a / table.exposed, *nothing)),
        _row("risk_unexposed", "observed", Limits(table.c / table.unexposed, *nothing)),
    ]


def _names(study: str) -> tuple[str, str]:
    kind = "prevalence" if study == "cross_sectional" else "risk"
    return f"{kind}_ratio", f"{kind}_difference"


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
        _row("odds_ratio", "wald", measures.odds_ratio(table, level=level)),
        _row("odds_ratio", "score", measures.score_odds_ratio(table, level=level)),
        _row("odds_ratio", "small_sample", measures.small_sample_odds_ratio(table, level=level)),
        _row("odds_ratio", "exact", exact),
        _row("odds_ratio", "mid_p", middle),
    ]


def _case_control_rows(table: ExposureTable, exact: Row | None, level: float) -> list[Row]:
    """Return attributable fractions from odds ratios; undefined without the exact one, where the outcome is common."""
    exposed = inner = everyone = measures.UNDEFINED
    if exact is not None:
        exposed = measures.odds_ratio(table, level=level).turned(_excess)
        inner = Limits(*(np.nan if x is None else x for x in exact[2:5])).turned(_excess)
        everyone = measures.attributable_fraction_from_odds(table, level=level)
    return [
        _row("attributable_fraction_exposed", "odds ratio for risk ratio", exposed),
        _row("attributable_fraction_exposed", "exact odds ratio for risk ratio", inner),
        _row("attributable_fraction_population", "odds ratio for risk ratio", everyone),
    ]


def _test_row(name: str, method: str, statistic: float, df: int | None, p_value: float) -> Row:
    shown = [float(x) if np.isfinite(x) else None for x in (statistic, p_value)]
    return (name, method, None, None, None, shown[0], df, shown[1])


def _test_rows(table: ExposureTable) -> list[Row]:
    events, sizes = (table.a, table.c), (table.exposed, table.unexposed)
    given = margins((int(table.a), int(table.c)), (int(table.exposed), int(table.unexposed)))
    rows = []
    for method, corrected in (("pearson", False), ("yates", True)):
        found = two_proportions(events, sizes, corrected=corrected)
        rows.append(_test_row("no association", method, found.statistic, 1, found.p_value))
    exact, middle = exact_p_value(given, int(table.a)), measures.mid_p_value(given, int(table.a))
    return [
        *rows,
        _test_row("no association", "fisher_exact", np.nan, None, exact),
        _test_row("no association", "mid_p", np.nan, None, middle),
    ]


def _common_row(events: FloatArray, n: FloatArray, measure: str, study: str, level: float) -> Row:
    found = mantel_haenszel(events, n, measure=measure)
    half = float(normal_quantile(0.5 + level / 2.0)) * np.sqrt(found.variance)
    limits = Limits(found.estimate, found.estimate - half, found.estimate + half)
    shown = limits if measure == "risk_difference" else limits.turned(lambda x: float(np.exp(x)))
    return _row(_shown_name(measure, study), "mantel_haenszel", shown)


def _shown_name(measure: str, study: str) -> str:
    ratio, difference = _names(study)
    return {"odds_ratio": "odds_ratio", "risk_ratio": ratio, "risk_difference": difference}[measure]


def _common_tests(events: FloatArray, n: FloatArray, chosen: list[str], study: str) -> list[Row]:
    rows = []
    for method, correction in (("cochran_mantel_haenszel", 0.0), ("cochran_mantel_haenszel_corrected", 0.5)):
        rows.append(
            _test_row("no association", method, *_with_df(cochran_mantel_haenszel(events, n, correction=correction)))
        )
    ratios = [measure for measure in chosen if measure != "risk_difference"]
    rows += [_woolf(events, n, measure, _shown_name(measure, study)) for measure in ratios]
    common = mantel_haenszel(events, n, measure="odds_ratio")
    if np.isfinite(common.estimate):
        found = shared_odds(events, n, common.estimate)
        if found.df > 0:
            plain = f_upper(found.breslow_day / found.df, found.df, np.inf)
            rows.append(_test_row("one odds_ratio in all strata", "breslow_day", found.breslow_day, found.df, plain))
            rows.append(_test_row("one odds_ratio in all strata", "tarone", found.tarone, found.df, found.p_value))
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
        return _test_row(f"one {shown} in all strata", "woolf", np.nan, None, np.nan)
    weight = 1.0 / found.variance
    centre = float(weight @ found.estimate) / float(weight.sum())
    statistic = float(weight @ (found.estimate - centre) ** 2)
    return _test_row(f"one {shown} in all strata", "woolf", statistic, df, f_upper(statistic / df, df, np.inf))


def _with_support(
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
