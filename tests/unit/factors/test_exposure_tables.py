"""Two-by-two and stratified tables: against brute force, exact enumeration, duality of tests and limits; coverage."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import gbveval as gbv
from gbveval.numerics import exposure_table as measures
from gbveval.numerics.exact_odds import margins
from gbveval.numerics.exposure_table import ExposureTable

COUNTS = st.integers(min_value=0, max_value=40)


def _counts(events: tuple[int, int], n: tuple[int, int]) -> gbv.CountTable:
    return gbv.CountTable("y by x", ("no", "yes"), (), ((n[1],), (n[0],)), ((events[1],), (events[0],)))


def _row(table: gbv.Table, measure: str, method: str) -> dict[str, float | None]:
    found = [row for row in table.rows if row[:2] == (measure, method)]
    assert len(found) == 1
    return dict(zip(table.columns, found[0], strict=True))


@settings(max_examples=60, deadline=None)
@given(COUNTS, COUNTS, COUNTS, COUNTS)
def test_score_limits_of_the_difference_solve_the_score_equation(a: int, b: int, c: int, d: int) -> None:
    # Witness: the restricted risks maximise the likelihood over a fine grid of the unexposed risk.
    if min(a + b, c + d) == 0:
        return
    table = ExposureTable(a, b, c, d)
    found = measures.score_risk_difference(table)
    assert -1.0 <= found.low <= found.estimate <= found.high <= 1.0
    for delta in (found.low, found.high):
        if abs(delta) > 0.999:
            continue
        grid = np.linspace(max(0.0, -delta), min(1.0, 1.0 - delta), 20_001)
        best = grid[np.argmax(_likelihood(table, grid, delta))]
        variance = (best + delta) * (1 - best - delta) / (a + b) + best * (1 - best) / (c + d)
        # A grid of 5e-5 finds the maximum to half a step; the variance is flat enough for a thousandth there.
        assert (found.estimate - delta) ** 2 / variance == pytest.approx(1.959964**2, rel=5e-3)


def _likelihood(table: ExposureTable, p0: np.ndarray, delta: float) -> np.ndarray:
    from scipy.special import xlog1py, xlogy

    p1 = np.clip(p0 + delta, 0.0, 1.0)
    top = xlogy(table.a, p1) + xlog1py(table.b, -p1) + xlogy(table.c, p0) + xlog1py(table.d, -p0)
    return np.nan_to_num(top, nan=-np.inf)


@settings(max_examples=60, deadline=None)
@given(COUNTS, COUNTS, COUNTS, COUNTS)
def test_score_odds_limits_agree_with_pearsons_test(a: int, b: int, c: int, d: int) -> None:
    if min(a + b, c + d) == 0 or not 0 < a + c < a + b + c + d:
        return
    table = gbv.two_by_two_measures(_counts((a, c), (a + b, c + d)), exposed="yes", unexposed="no")
    p_value = _row(table, "no association", "pearson")["p_value"]
    row = _row(table, "odds_ratio", "score")
    low, high = row["conf_low"] or 0.0, math.inf if row["conf_high"] is None else row["conf_high"]
    if abs(p_value - 0.05) > 1e-6:
        assert (low < 1.0 < high) == (p_value > 0.05)


def test_mid_p_limits_hold_half_of_the_observed_in_each_tail() -> None:
    # Enumerated by hand over the five tables with these margins.
    given_margins = margins((3, 1), (5, 4))
    found = measures.mid_p_odds_ratio(given_margins, 3)
    for odds, target in ((found.low, 0.025), (found.high, 0.975), (found.estimate, 0.5)):
        weights = np.array([math.comb(5, x) * math.comb(4, 4 - x) * odds**x for x in range(5)])
        p = weights / weights.sum()
        assert p[4] + 0.5 * p[3] == pytest.approx(target, rel=1e-9)
    assert measures.mid_p_value(given_margins, 3) == pytest.approx(
        2 * (math.comb(5, 4) + 0.5 * math.comb(5, 3) * 4) / math.comb(9, 4)
    )


def test_population_measures_have_the_delta_method_over_four_cells() -> None:
    # Witness: numerical gradients over the multinomial counts.
    cells = np.array([30.0, 44.0, 29.0, 86.0])

    def values(x: np.ndarray) -> np.ndarray:
        a, _, c, d = x
        everyone, unexposed = (a + c) / x.sum(), c / (c + d)
        return np.array([everyone - unexposed, math.log(unexposed / everyone)])

    step = 1e-5
    gradient = np.array([(values(cells + step * e) - values(cells - step * e)) / (2 * step) for e in np.eye(4)])
    share = cells / cells.sum()
    covariance = gradient.T @ (cells.sum() * (np.diag(share) - np.outer(share, share))) @ gradient
    table = ExposureTable(*cells)
    difference, fraction = measures.population_risk_difference(table), measures.attributable_fraction(table)
    z = 1.959963984540054
    assert (difference.high - difference.low) / (2 * z) == pytest.approx(math.sqrt(covariance[0, 0]), rel=1e-6)
    log_width = math.log((1 - fraction.low) / (1 - fraction.high))
    assert log_width / (2 * z) == pytest.approx(math.sqrt(covariance[1, 1]), rel=1e-6)


def test_attributable_fraction_covers_its_truth() -> None:
    rng, truth, draws = np.random.default_rng(3), 1 - 0.15 / (0.7 * 0.15 + 0.3 * 0.3), 2000
    drawn = rng.multinomial(600, [0.3 * 0.3, 0.3 * 0.7, 0.7 * 0.15, 0.7 * 0.85], size=draws)
    found = [measures.attributable_fraction(ExposureTable(*map(float, row))) for row in drawn]
    covered = sum(item.low <= truth <= item.high for item in found)
    # Binomial, four standard errors: false alarm about 1e-4.
    assert abs(covered / draws - 0.95) < 4 * math.sqrt(0.95 * 0.05 / draws)


def test_an_attributable_fraction_from_the_odds_of_a_common_outcome_is_refused() -> None:
    counts = _counts((30, 29), (74, 115))
    common = gbv.two_by_two_measures(counts, exposed="yes", unexposed="no", study="case_control")
    assert _row(common, "attributable_fraction_population", "odds ratio for risk ratio")["estimate"] is None
    assert "declared rare" in common.notes[0]
    assert not any(row[0] in ("risk_ratio", "prevalence_ratio") for row in common.rows)
    rare = gbv.two_by_two_measures(counts, exposed="yes", unexposed="no", study="case_control", outcome_is_rare=True)
    row = _row(rare, "attributable_fraction_population", "odds ratio for risk ratio")
    # By hand: share of cases exposed times 1 - 1/OR.
    assert row["estimate"] == pytest.approx(30 / 59 * (1 - 44 * 29 / (30 * 86)))


@pytest.mark.parametrize("events", [(0, 3), (5, 0), (0, 0), (8, 9)])
def test_zero_cells_leave_nulls_and_exact_limits(events: tuple[int, int]) -> None:
    table = gbv.two_by_two_measures(_counts(events, (8, 9)), exposed="yes", unexposed="no")
    for row in table.rows:
        assert all(x is None or math.isfinite(x) for x in row[2:])
    if events == (0, 3):
        exact = _row(table, "odds_ratio", "exact")
        assert (exact["estimate"], exact["conf_low"]) == (0.0, 0.0)
        assert exact["conf_high"] is not None
    if events in ((0, 0), (8, 9)):
        assert _row(table, "odds_ratio", "exact")["estimate"] is None


def test_odds_of_a_million_millions_have_limits() -> None:
    table = gbv.two_by_two_measures(_counts((999_999, 1), (1_000_000, 1_000_000)), exposed="yes", unexposed="no")
    for method in ("wald", "score", "exact", "mid_p"):
        row = _row(table, "odds_ratio", method)
        assert row["conf_low"] < 0.999999e12 < row["conf_high"]


def test_a_number_needed_has_no_limits_when_the_difference_may_be_zero() -> None:
    table = gbv.two_by_two_measures(_counts((11, 10), (50, 50)), exposed="yes", unexposed="no", study="cohort")
    row = _row(table, "number_needed", "wald")
    assert row["estimate"] == pytest.approx(50.0)
    assert row["conf_low"] is None


def test_one_stratum_gives_the_plain_measures() -> None:
    two_way = gbv.CountTable("y by x and s", ("no", "yes"), ("all",), ((115,), (74,)), ((29,), (30,)))
    pooled = gbv.stratified_measures(two_way, exposed="yes", unexposed="no")
    plain = gbv.two_by_two_measures(_counts((30, 29), (74, 115)), exposed="yes", unexposed="no")
    for measure in ("odds_ratio", "prevalence_ratio"):
        a, b = _row(pooled, measure, "mantel_haenszel"), _row(plain, measure, "wald")
        assert [a[k] for k in ("estimate", "conf_low", "conf_high")] == pytest.approx(
            [b[k] for k in ("estimate", "conf_low", "conf_high")]
        )
    assert not any(row[1] == "breslow_day" for row in pooled.rows)


def test_exact_inference_over_strata_is_enumeration() -> None:
    # Two strata, all tables with their margins: exposed 4 and 3, unexposed 5 and 4, events 4 and 3; 5 exposed had them.
    two_way = gbv.CountTable("y by x and s", ("no", "yes"), ("a", "b"), ((5, 4), (4, 3)), ((1, 1), (3, 2)))
    table = gbv.stratified_measures(two_way, exposed="yes", unexposed="no")
    row, middle = _row(table, "odds_ratio", "exact"), _row(table, "odds_ratio", "mid_p")

    def chances(odds: float) -> np.ndarray:
        p = np.zeros(8)
        for x in range(5):
            for z in range(4):
                ways = math.comb(4, x) * math.comb(5, 4 - x) * math.comb(3, z) * math.comb(4, 3 - z)
                p[x + z] += ways * odds ** (x + z)
        return p / p.sum()

    assert chances(row["estimate"]) @ np.arange(8) == pytest.approx(5.0, rel=1e-9)
    assert chances(row["conf_low"])[5:].sum() == pytest.approx(0.025, rel=1e-8)
    assert chances(row["conf_high"])[:6].sum() == pytest.approx(0.025, rel=1e-8)
    p = chances(middle["estimate"])
    assert p[:5].sum() + 0.5 * p[5] == pytest.approx(0.5, rel=1e-8)
    null = chances(1.0)
    exact = _row(table, "no association", "exact")
    assert exact["p_value"] == pytest.approx(null[null <= null[5] * (1 + 1e-9)].sum())


def test_strata_without_a_group_are_left_out_and_counted() -> None:
    counts = gbv.CountTable(
        "y by x and s", ("no", "yes"), ("a", "b", "c"), ((90, 40, 0), (60, 80, 7)), ((9, 16, 0), (12, 40, 3))
    )
    table = gbv.stratified_measures(counts, exposed="yes", unexposed="no")
    assert any("1 of 3" in note for note in table.notes)


def test_the_released_table_hides_small_cells() -> None:
    table = gbv.two_by_two_measures(_counts((3, 30), (40, 115)), exposed="yes", unexposed="no")
    released = gbv.release(table)
    shown = [row for item in released.items for row in item.rows]
    assert all(value is None or isinstance(value, str) or value != 0.075 for row in shown for value in row)


def test_refusals_name_what_is_missing() -> None:
    counts = _counts((3, 4), (9, 9))
    with pytest.raises(gbv.DataError, match="no row"):
        gbv.two_by_two_measures(counts, exposed="often", unexposed="no")
    with pytest.raises(gbv.DesignError, match="same row"):
        gbv.two_by_two_measures(counts, exposed="no", unexposed="no")
    with pytest.raises(gbv.DesignError, match="study"):
        gbv.two_by_two_measures(counts, exposed="yes", unexposed="no", study="trial")
    with pytest.raises(gbv.DesignError, match="no strata"):
        gbv.stratified_measures(counts, exposed="yes", unexposed="no")
    with pytest.raises(gbv.DataError, match="nobody"):
        gbv.two_by_two_measures(_counts((0, 4), (0, 9)), exposed="yes", unexposed="no")
    empty = gbv.CountTable("y by x", ("no", "yes"), (), ((9,), (9,)))
    with pytest.raises(gbv.DataError, match="no events"):
        gbv.two_by_two_measures(empty, exposed="yes", unexposed="no")
