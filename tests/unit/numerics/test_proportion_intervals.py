"""Intervals of a share: exact coverage by enumeration, another library, closed forms, and what happens at the ends."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom, f
from statsmodels.stats.proportion import proportion_confint

from gbveval.numerics.proportion_intervals import (
    DESIGN,
    SIMPLE,
    agresti_coull,
    arcsine_design,
    blaker,
    clopper_pearson,
    jeffreys,
    korn_graubard,
    likelihood_design,
    logit_design,
    wald_share,
    wilson,
    wilson_design,
)


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [(wilson, "wilson"), (clopper_pearson, "beta"), (agresti_coull, "agresti_coull"), (wald_share, "normal")],
)
@pytest.mark.parametrize(("events", "n", "level"), [(0, 11, 0.95), (3, 20, 0.9), (13, 47, 0.95), (30, 30, 0.99)])
def test_another_library_agrees(ours, theirs: str, events: int, n: int, level: float) -> None:
    low, high = proportion_confint(events, n, alpha=1 - level, method=theirs)
    found = ours(events, n, level)
    # statsmodels clips the approximate limits to 0 and 1.
    assert np.clip(found, 0.0, 1.0) == pytest.approx((low, high), rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("events", [1, 7, 19])
def test_jeffreys_inside_agrees_with_another_library(events: int) -> None:
    assert jeffreys(events, 20) == pytest.approx(proportion_confint(events, 20, method="jeffreys"), rel=1e-9)


@pytest.mark.parametrize("interval", [clopper_pearson, blaker])
@pytest.mark.parametrize("n", [1, 5, 14])
def test_exact_intervals_never_cover_too_little(interval, n: int) -> None:
    limits = [interval(x, n) for x in range(n + 1)]
    for p in np.linspace(0.001, 0.999, 333):
        held = [x for x, (low, high) in enumerate(limits) if low <= p <= high]
        assert binom.pmf(held, n, p).sum() >= 0.95 - 1e-12


def _acceptable(x: int, n: int, p: float) -> float:
    """Blaker's acceptability by its definition: outcomes whose smaller tail is at most that of x."""
    counts = np.arange(n + 1)
    tail = np.minimum(binom.cdf(counts, n, p), binom.sf(counts - 1, n, p))
    return float(binom.pmf(counts[tail <= tail[x] * (1 + 1e-12)], n, p).sum())


@pytest.mark.parametrize(("events", "n"), [(0, 6), (1, 6), (3, 20), (10, 20), (13, 47), (46, 47)])
def test_blaker_is_the_hull_of_acceptable_shares(events: int, n: int) -> None:
    grid = np.linspace(0.0, 1.0, 4001)[1:-1]
    accepted = grid[[_acceptable(events, n, p) >= 0.05 for p in grid]]
    low, high = blaker(events, n)
    # The grid finds each limit to one step.
    assert accepted[0] - 1 / 4000 <= low <= accepted[0] + 1e-9
    assert accepted[-1] - 1e-9 <= high <= accepted[-1] + 1 / 4000


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 60), st.integers(0, 60), st.sampled_from([0.8, 0.95, 0.99]))
def test_blaker_lies_within_clopper_pearson_and_mirrors(n: int, events: int, level: float) -> None:
    x = min(events, n)
    low, high = blaker(x, n, level)
    outer = clopper_pearson(x, n, level)
    assert outer[0] - 1e-12 <= low <= x / n <= high <= outer[1] + 1e-12
    assert blaker(n - x, n, level) == pytest.approx((1 - high, 1 - low), abs=1e-12)


@settings(max_examples=60, deadline=None)
@given(st.integers(2, 400), st.floats(0.01, 0.99), st.sampled_from([0.9, 0.95]))
def test_a_simple_sample_has_the_simple_intervals(n: int, share: float, level: float) -> None:
    """With the variance p (1 - p) / n and very many units the design changes nothing."""
    variance = share * (1 - share) / n
    given = {"n": n, "df": np.inf, "level": level}
    assert wilson_design(share, variance, **given) == pytest.approx(wilson(share * n, n, level), rel=1e-9, abs=1e-12)
    same = {**given, "df": n - 1.0}
    expected = clopper_pearson(share * n, n, level)
    assert korn_graubard(share, variance, **same) == pytest.approx(expected, rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("share", [0.02, 0.3, 0.97])
def test_likelihood_limits_solve_their_equation(share: float) -> None:
    n, variance, df = 300, 0.0007 * share * (1 - share) / 0.21, 14.0
    size = share * (1 - share) / variance
    for p in likelihood_design(share, variance, n=n, df=df):
        divergence = share * np.log(share / p) + (1 - share) * np.log((1 - share) / (1 - p))
        assert 2 * size * divergence == pytest.approx(f.ppf(0.95, 1, df) * n / (n - 1), rel=1e-9)


@pytest.mark.parametrize("name", ["korn_graubard", "likelihood", "wilson"])
@pytest.mark.parametrize("share", [0.0, 1.0])
def test_at_the_ends_every_design_interval_starts_there_and_has_width(name: str, share: float) -> None:
    low, high = DESIGN[name](share, 0.0, n=40, df=12.0, level=0.95)
    assert (low if share == 0.0 else high) == share
    # The rule of three: the other limit is near 3 / n or beyond, as no share can be told from it.
    assert 2.0 / 40 < high - low < 8.0 / 40
    assert np.isnan(DESIGN["arcsine"](share, 0.0, n=40, df=12.0, level=0.95)).all()


def test_logit_and_arcsine_by_hand() -> None:
    share, variance, df = 0.2, 0.0016, 9.0
    t = 2.262157162740992  # qt(0.975, 9)
    centre, error = np.log(0.25), 0.04 / 0.16
    expected = [1 / (1 + np.exp(-(centre + s * t * error))) for s in (-1, 1)]
    assert logit_design(share, variance, n=50, df=df) == pytest.approx(expected, rel=1e-9)
    angle = np.arcsin(np.sqrt(0.2))
    expected = [np.sin(angle + s * t * 0.04 / (2 * 0.4)) ** 2 for s in (-1, 1)]
    assert arcsine_design(share, variance, n=50, df=df) == pytest.approx(expected, rel=1e-9)
    assert np.isnan(logit_design(0.0, 0.0, n=50, df=df)).all()


def test_every_simple_interval_holds_the_share() -> None:
    for name, interval in SIMPLE.items():
        for events in (0, 5, 12):
            low, high = interval(events, 12, 0.95)
            assert low <= events / 12 <= high, name


def test_one_degree_of_freedom_leaves_likelihood_limits_at_the_ends() -> None:
    """With an effective size of one and F(1, 1) = 161 no share inside 0 to 1 is rejected, as far as floats tell."""
    low, high = likelihood_design(0.5, 0.2, n=10, df=1.0)
    # The deviance at p near 0 is 2 n_eff (9/10) (-log 2 - log(p)/2): it reaches 161 near p = exp(-160).
    assert low == pytest.approx(np.exp(-161.4476388 / 1.125 - 2 * np.log(2)), rel=1e-6)
    assert high == 1.0
