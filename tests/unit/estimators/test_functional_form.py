"""Implied shares by hand, their errors by sums of squares, and the test's size, power and indifference to labels."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.special import ndtr

import gbveval as gbv
from gbveval.core.errors import DesignError, IdentificationError
from gbveval.core.replicate import binomial_band
from gbveval.estimators.did._bins import make_bins
from gbveval.numerics.nonnegativity import nonnegativity_test

ROLES = {"outcome": "y", "unit": "u", "time": "t", "cohort": "g"}


def two_periods(own: Any, before: Any, after: Any) -> pd.DataFrame:
    """Own outcomes before treatment, and the comparison's in both periods."""
    n, m = len(own), len(before)
    first = pd.DataFrame({"y": [*own, *before], "u": range(n + m), "t": 1})
    second = pd.DataFrame({"y": [*own, *after], "u": range(n + m), "t": 2})
    return pd.concat([first, second]).assign(g=lambda d: np.where(d["u"] < n, 2.0, np.inf))


def panel(data: pd.DataFrame, **roles: Any) -> gbv.Panel:
    return gbv.Panel(data, **{**ROLES, **roles})


def drawn(rng: np.random.Generator, n: int, own: Any, before: Any, after: Any) -> pd.DataFrame:
    sides = [rng.choice(len(shares), size=n, p=shares).astype(float) for shares in (own, before, after)]
    return two_periods(*sides)


def implied(table: gbv.Table) -> dict[str, float]:
    return {row[1]: row[5] for row in table.rows[:-1]}


def test_shares_and_errors_by_hand() -> None:
    rng = np.random.default_rng(1)
    own, before, after = rng.integers(0, 3, size=(3, 60)).astype(float)
    table = gbv.functional_form(panel(two_periods(own, before, after)), [1, 2])
    assert [row[1] for row in table.rows] == ["below 1", "1 to below 2", "2 or more", "all bins"]
    for value, row in enumerate(table.rows[:-1]):
        x, change = own == value, (after == value) * 1.0 - (before == value)
        assert row[2:6] == pytest.approx(
            (x.mean(), (before == value).mean(), (after == value).mean(), x.mean() + change.mean()), abs=1e-12
        )
        error = np.sqrt(np.sum((x - x.mean()) ** 2) + np.sum((change - change.mean()) ** 2)) / 60
        assert row[6] == pytest.approx(error, rel=1e-10)
        assert row[9] == pytest.approx(-row[5] / error, rel=1e-10)
    assert sum(implied(table).values()) == pytest.approx(1.0)
    assert table.rows[-1][9] == pytest.approx(max(row[9] for row in table.rows[:-1]))


def test_clusters_count_once() -> None:
    """Every unit copied twice, in one cluster with its copies: shares and errors are those of the originals."""
    rng = np.random.default_rng(2)
    data = two_periods(*rng.integers(0, 4, size=(3, 50)).astype(float)).assign(c=lambda d: d["u"])
    copies = pd.concat([data.assign(u=data["u"] + 1000 * k) for k in range(3)])
    one = gbv.functional_form(panel(data), [1, 2, 3], seed=1)
    three = gbv.functional_form(panel(copies, cluster="c"), [1, 2, 3], seed=1)
    for a, b in zip(one.rows[:-1], three.rows[:-1], strict=True):
        np.testing.assert_allclose(np.array(a[2:9], float), np.array(b[2:9], float), rtol=1e-9, atol=1e-12)


def test_staggered_cohorts_are_averaged_over_their_treated_periods() -> None:
    rng = np.random.default_rng(3)
    n, periods = 120, 5
    g = np.array([3.0, 5.0, np.inf])[np.arange(n) % 3]
    y = rng.integers(0, 4, size=(n, periods)).astype(float)
    data = pd.DataFrame(
        {"y": y.ravel(), "u": np.repeat(np.arange(n), periods), "t": np.tile(np.arange(1, 6), n), "g": np.repeat(g, 5)}
    )
    table = gbv.functional_form(panel(data), [1, 2, 3])
    for row in table.rows[:-1]:
        first = 3 if row[0] == "cohort 3" else 5
        x = y == ["below 1", "1 to below 2", "2 to below 3", "3 or more"].index(row[1])
        never, own = x[np.isinf(g)].mean(axis=0), x[g == first].mean(axis=0)
        assert row[5] == pytest.approx(own[first - 2] + never[first - 1 :].mean() - never[first - 2], abs=1e-12)


def test_monotone_relabelling_changes_nothing() -> None:
    rng = np.random.default_rng(4)
    data = drawn(rng, 200, [0.3, 0.3, 0.4], [0.1, 0.5, 0.4], [0.5, 0.1, 0.4])
    one = gbv.functional_form(panel(data), [1, 2], seed=5)
    two = gbv.functional_form(panel(data.assign(y=np.exp(data["y"]) - 7.0)), [np.e - 7.0, np.e**2 - 7.0], seed=5)
    for a, b in zip(one.rows, two.rows, strict=True):
        assert a[2:] == b[2:]


def test_size_at_the_least_favourable_point_and_power_beyond() -> None:
    """Implied shares of (0, 0, 1): own base less what the comparison loses. Then -0.12 in the first bin."""
    draws, rejected, found = 250, 0, 0
    for seed in range(draws):
        rng = np.random.default_rng(seed)
        null = drawn(rng, 150, [0.2, 0.2, 0.6], [0.3, 0.4, 0.3], [0.1, 0.2, 0.7])
        table = gbv.functional_form(panel(null), [1, 2], n_draws=2000)
        rejected += table.rows[-1][10] < 0.05
        if seed < 60:
            far = drawn(rng, 150, [0.1, 0.3, 0.6], [0.45, 0.4, 0.15], [0.15, 0.2, 0.65])
            found += gbv.functional_form(panel(far), [1, 2], n_draws=2000).rows[-1][10] < 0.05
    # Two of three shares are at zero, so the test is near its size; the band is Monte Carlo's.
    assert rejected / draws <= binomial_band(0.05, draws, false_alarm=1e-4)[1]
    assert rejected > 0
    assert found / 60 > 0.8


def test_a_proper_distribution_is_rarely_rejected() -> None:
    draws, rejected = 60, 0
    for seed in range(draws):
        data = drawn(np.random.default_rng(seed), 200, [0.3, 0.3, 0.4], [0.2, 0.4, 0.4], [0.25, 0.3, 0.45])
        rejected += gbv.functional_form(panel(data), [1, 2], n_draws=2000).rows[-1][10] < 0.05
    assert rejected == 0


def test_p_values_are_those_of_independent_maxima() -> None:
    found = nonnegativity_test(
        np.array([-2.0, 1.0, -0.5]), np.eye(3), np.ones(3, dtype=bool), rng=np.random.default_rng(1), n_draws=200_000
    )
    wanted = 1.0 - ndtr(np.array([2.0, -1.0, 0.5])) ** 3
    # Monte Carlo error of 200,000 draws is at most 0.0011; four of them.
    np.testing.assert_allclose(found.each, wanted, atol=0.0045)
    assert (found.statistic, found.p_value) == (2.0, found.each[0])
    none = nonnegativity_test(np.zeros(2), np.zeros((2, 2)), np.ones(2, dtype=bool), rng=np.random.default_rng(1))
    assert np.isnan(none.p_value)
    assert not none.tested.any()


def test_rare_bins_are_shown_and_not_tested() -> None:
    own = np.repeat([0.0, 1.0, 9.0], [30, 30, 2])
    table = gbv.functional_form(panel(two_periods(own, own[::-1], own[::-1])), [1, 5])
    rare = table.rows[2]
    assert rare[1] == "5 or more"
    assert rare[9] is None
    assert "too few rows" in rare[11]


def test_edges_are_round_numbers_and_no_outcome() -> None:
    rng = np.random.default_rng(5)
    y = 37.123456 + 11.98765 * rng.normal(size=500)
    made = make_bins(y, y, 8)
    inner = [float(label.split(" to below ")[0]) for label in made.labels[1:-1]]
    assert np.unique(np.diff(inner)).size == 1
    assert not np.isin(inner, y).any()
    assert made.labels[0].startswith("below ")
    counts = make_bins(rng.poisson(3.0, size=500).astype(float), rng.poisson(3.0, size=500).astype(float), 12)
    assert "3" in counts.labels
    binary = np.tile([0.0, 1.0], 50)
    assert make_bins(binary, binary, 10).labels == ("0", "1 or more")
    tiny = make_bins(1e-6 * y, 1e-6 * y, 8)
    assert np.array_equal(tiny.code, made.code)


def test_small_bins_are_hidden_at_the_door() -> None:
    rng = np.random.default_rng(6)
    data = drawn(rng, 200, [0.5, 0.47, 0.03], [0.5, 0.47, 0.03], [0.5, 0.47, 0.03])
    table = gbv.functional_form(panel(data), [1, 2])
    shown = gbv.release([table], gbv.Policy()).tables()[0].rows
    assert shown[2][2] is None
    assert sum(row[2] is None for row in shown[:-1]) >= 2


@pytest.mark.parametrize(
    ("bins", "options", "words"),
    [
        ([2, 1], {}, "ascending"),
        ([], {}, "ascending"),
        ([1, np.nan], {}, "ascending"),
        (1, {}, "two or more"),
        ([100], {}, "one bin"),
        (5, {"n_draws": 10}, "1,000 or more"),
        (5, {"unbalanced": "x"}, "unbalanced"),
        (5, {"level": 2.0}, "level"),
    ],
)
def test_what_is_refused(bins: Any, options: dict[str, Any], words: str) -> None:
    data = drawn(np.random.default_rng(7), 50, [0.5, 0.5], [0.5, 0.5], [0.5, 0.5])
    with pytest.raises(DesignError, match=words):
        gbv.functional_form(panel(data), bins, **options)


def test_somebody_must_be_never_treated() -> None:
    data = drawn(np.random.default_rng(7), 50, [0.5, 0.5], [0.5, 0.5], [0.5, 0.5])
    with pytest.raises(IdentificationError, match="never treated"):
        gbv.functional_form(panel(data.assign(g=data["g"].replace(np.inf, 3.0), t=data["t"] + 1)), [1])


def test_the_plot_shows_every_bin() -> None:
    data = drawn(np.random.default_rng(8), 100, [0.3, 0.3, 0.4], [0.3, 0.3, 0.4], [0.3, 0.3, 0.4])
    table = gbv.functional_form(panel(data), [1, 2])
    ax = gbv.plot_functional_form(table)
    assert [label.get_text() for label in ax.get_xticklabels()] == ["below 1", "1 to below 2", "2 or more"]
    assert ax.get_title().startswith("all shares zero or more: p = ")
    with pytest.raises(DesignError, match="from functional_form"):
        gbv.plot_functional_form(gbv.trend_scales(panel(data), scales=["level"]))
