"""Intracluster correlations against closed forms, brute force over pairs, and each other."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats
from scipy.optimize import minimize_scalar

from gbveval.numerics.icc import BINARY_METHODS, anova_icc, binary_icc, fleiss_cuzick_std_error, modified_wald_std_error
from gbveval.numerics.mixed_glm import collapse, profile_sd

FloatArray = NDArray[np.float64]


def clusters(seed: int, sizes: list[int]) -> tuple[FloatArray, NDArray[np.intp]]:
    rng = np.random.default_rng(seed)
    cluster = np.repeat(np.arange(len(sizes)), sizes)
    return rng.normal(size=len(sizes))[cluster] + rng.normal(size=cluster.size), cluster


def test_anova_is_the_f_test_of_scipy() -> None:
    y, cluster = clusters(1, [4, 7, 3, 9, 6, 5])
    found = anova_icc(y, cluster, np.zeros(6, dtype=int))
    ratio = stats.f_oneway(*(y[cluster == g] for g in range(6))).statistic
    assert found.ratio == pytest.approx(ratio, rel=1e-10)
    sizes = np.array([4, 7, 3, 9, 6, 5])
    n0 = (34 - (sizes**2).sum() / 34) / 5
    assert found.size == pytest.approx(n0)
    assert found.icc == pytest.approx((ratio - 1) / (ratio + n0 - 1), rel=1e-10)
    assert found.between + found.within == pytest.approx(found.within / (1 - found.icc), rel=1e-10)


def test_equal_sizes_give_fishers_variance() -> None:
    y, cluster = clusters(2, [5] * 12)
    found = anova_icc(y, cluster, np.zeros(12, dtype=int))
    r, n, k = found.icc, 5, 12
    # With equal sizes Smith's formula reduces to the delta method on independent chi-squares with k - 1 and k(n - 1).
    delta = 2 * (1 - r) ** 2 * (1 + (n - 1) * r) ** 2 / n**2 * (1 / (k - 1) + 1 / (k * (n - 1)))
    assert found.std_error**2 == pytest.approx(delta, rel=1e-10)


def test_exact_interval_covers_exactly_with_equal_sizes() -> None:
    rng = np.random.default_rng(3)
    cluster, hits, draws = np.repeat(np.arange(8), 6), 0, 2000
    for _ in range(draws):
        y = np.sqrt(0.2) * rng.normal(size=8)[cluster] + np.sqrt(0.8) * rng.normal(size=48)
        low, high = anova_icc(y, cluster, np.zeros(8, dtype=int)).exact_interval(0.9)
        hits += low <= 0.2 <= high
    # Four standard errors of a share of 0.9 in 2,000 draws.
    assert abs(hits / draws - 0.9) < 4 * np.sqrt(0.09 / draws)


def test_arms_are_removed() -> None:
    y, cluster = clusters(4, [4, 7, 3, 9, 6, 5])
    arm = np.array([0, 1, 0, 1, 0, 1])
    found = anova_icc(y, cluster, arm)
    moved = anova_icc(y + 100.0 * arm[cluster], cluster, arm)
    assert moved.icc == pytest.approx(found.icc, rel=1e-9)
    assert moved.std_error == pytest.approx(found.std_error, rel=1e-9)
    assert found.df_between == 4


def brute(method: str, y: list[FloatArray]) -> float:
    """Return the estimate from every pair of people, spelled out."""
    k, total = len(y), sum(len(g) for g in y)
    inside = [[(a, b) for a, b in combinations(g, 2)] for g in y]
    across = [(a, b) for g, h in combinations(y, 2) for a in g for b in h]
    p = float(np.concatenate(y).mean())
    if method == "resampling":
        unlike_in = np.mean([a != b for pairs in inside for a, b in pairs])
        return float((np.mean([a != b for a, b in across]) - unlike_in) / (2 * p * (1 - p)))
    if method == "mak":
        unlike_in = np.mean([np.mean([a != b for a, b in pairs]) for pairs in inside])
        unlike_out = np.mean([np.mean([a != b for a in g for b in h]) for g, h in combinations(y, 2)])
        return float(1 - unlike_in / unlike_out)
    if method.startswith("pearson"):
        first, second, weight = [], [], []
        for g, pairs in zip(y, inside, strict=True):
            each = {
                "pearson_equal_pairs": 1.0,
                "pearson_equal_clusters": 1.0 / len(pairs),
                "pearson_people": 1.0 / (len(g) - 1),
            }[method]
            for a, b in pairs:
                first += [a, b]
                second += [b, a]
                weight += [each, each]
        w = np.array(weight) / np.sum(weight)
        a, b = np.array(first), np.array(second)
        mean = w @ a
        return float(w @ ((a - mean) * (b - mean)) / (w @ (a - mean) ** 2))
    if method == "fleiss_cuzick":
        unlike = sum(2 * np.sum([a != b for a, b in pairs]) / (2 * len(g)) for g, pairs in zip(y, inside, strict=True))
        return float(1 - unlike / ((total - k) * p * (1 - p)))
    raise AssertionError(method)


def events() -> list[FloatArray]:
    rng = np.random.default_rng(6)
    return [(rng.random(n) < q).astype(float) for n, q in zip([4, 7, 3, 9, 6, 5], [0.2, 0.8, 0.5, 0.4, 0.9, 0.3])]


@pytest.mark.parametrize(
    "method",
    ["resampling", "mak", "fleiss_cuzick", "pearson_equal_pairs", "pearson_equal_clusters", "pearson_people"],
)
def test_yes_or_no_methods_are_what_they_say_over_pairs(method: str) -> None:
    y = events()
    found = binary_icc(method, np.array([g.sum() for g in y]), np.array([float(g.size) for g in y]))
    assert found == pytest.approx(brute(method, y), rel=1e-10)


def test_modified_anova_divides_by_clusters() -> None:
    y = events()
    flat, cluster = np.concatenate(y), np.repeat(np.arange(6), [g.size for g in y])
    plain = anova_icc(flat, cluster, np.zeros(6, dtype=int))
    ratio = plain.ratio * 5 / 6
    found = binary_icc("modified_anova", np.array([g.sum() for g in y]), np.array([float(g.size) for g in y]))
    assert found == pytest.approx((ratio - 1) / (ratio + plain.size - 1), rel=1e-10)


@pytest.mark.parametrize("method", ["moment_equal_weights", "moment_size_weights"])
def test_moments_are_unbiased_equations(method: str) -> None:
    """At the true expectations of the mean square the estimate is the truth: cluster risks 0 or 1 with chance icc."""
    rng = np.random.default_rng(7)
    n = rng.integers(3, 30, 40_000).astype(float)
    same = rng.random(n.size) < 0.25
    risk = np.where(same, (rng.random(n.size) < 0.3).astype(float), 0.3)
    count = rng.binomial(n.astype(int), risk).astype(float)
    # A share of 40,000 clusters: five standard errors are about 0.015.
    assert binary_icc(method, count, n) == pytest.approx(0.25, abs=0.015)
    assert binary_icc(f"modified_{method}", count, n) == pytest.approx(0.25, abs=0.015)


def test_methods_agree_in_large_samples() -> None:
    rng = np.random.default_rng(8)
    n = np.full(20_000, 12.0)
    count = rng.binomial(12, rng.beta(2.0, 6.0, n.size)).astype(float)
    truth = 1.0 / (2.0 + 6.0 + 1.0)
    for method in BINARY_METHODS:
        # The beta-binomial's correlation; five standard errors of 20,000 clusters are about 0.01.
        assert binary_icc(method, count, n) == pytest.approx(truth, abs=0.01), method


def test_standard_error_of_pairs_is_that_of_kappa() -> None:
    count = np.repeat([0.0, 1.0, 2.0], [30, 12, 18])
    n = np.full(60, 2.0)
    p = count.sum() / 120
    r = binary_icc("fleiss_cuzick", count, n)
    # Bloch and Kraemer (1989), equation for the intraclass kappa of two raters.
    variance = (1 - r) / 60 * ((1 - r) * (1 - 2 * r) + r * (2 - r) / (2 * p * (1 - p)))
    assert fleiss_cuzick_std_error(r, count, n) ** 2 == pytest.approx(variance, rel=1e-10)


def test_standard_error_is_the_spread_when_all_pairs_have_one_correlation() -> None:
    rng = np.random.default_rng(9)
    n = np.tile([5.0, 9.0, 14.0], 60)
    found, errors, plain, wald = [], [], [], []
    code = np.repeat(np.arange(n.size), n.astype(int))
    place = np.arange(code.size) - np.repeat(np.cumsum(n.astype(int)) - n.astype(int), n.astype(int))
    for _ in range(800):
        same = rng.random(n.size) < 0.2
        count = np.where(same, n * (rng.random(n.size) < 0.3), rng.binomial(n.astype(int), 0.3)).astype(float)
        found.append(binary_icc("fleiss_cuzick", count, n))
        errors.append(fleiss_cuzick_std_error(found[-1], count, n))
        people = (place < count[code]).astype(float)
        plain.append(anova_icc(people, code, np.zeros(n.size, dtype=int)).icc)
        wald.append(modified_wald_std_error(count, n))
    # The spread of 800 draws is known to 2.5 %; four of those, and the delta method's own error.
    assert np.mean(errors) == pytest.approx(np.std(found), rel=0.12)
    assert np.mean(wald) == pytest.approx(np.std(plain), rel=0.12)


def test_profile_limits_are_where_the_integrated_likelihood_has_fallen() -> None:
    rng = np.random.default_rng(10)
    size = np.full(25, 20)
    count = rng.binomial(size, 1 / (1 + np.exp(1.0 - 1.2 * rng.normal(size=25))))
    y = np.concatenate([np.repeat([1.0, 0.0], [c, n - c]) for c, n in zip(count, size)])
    cells, _ = collapse("binomial", np.ones((500, 1)), y, np.ones(500), np.repeat(np.arange(25), 20)[:, None])
    sd, low, high = profile_sd(cells, 25, 1.92)
    u = np.arange(-9.0, 9.0, 0.02)

    def best(at: float) -> float:
        def lost(a: float) -> float:
            logs = stats.binom.logpmf(count[:, None], size[:, None], 1 / (1 + np.exp(-(a + at * u))))
            return -float(np.sum(np.log(np.exp(logs) @ (stats.norm.pdf(u) * 0.02))))

        return -float(minimize_scalar(lost, bounds=(-3.0, 1.0), method="bounded").fun)

    assert 0 < low < sd < high
    for limit in (low, high):
        # Two searches and an integral, each good to about 1e-6.
        assert best(limit) == pytest.approx(best(sd) - 1.92, abs=1e-4)


def test_anova_is_a_function_of_kappa_and_its_error_follows() -> None:
    y = events()
    count, n = np.array([g.sum() for g in y]), np.array([float(g.size) for g in y])
    total, k = n.sum(), n.size
    size = (total - (n**2).sum() / total) / (k - 1)
    c = (k - 1) * (size - 1) - (total - k)

    def of(kappa: float) -> float:
        return float((total - (total - 1) * (1 - kappa)) / (total + c * (1 - kappa)))

    kappa = binary_icc("fleiss_cuzick", count, n)
    flat, cluster = np.concatenate(y), np.repeat(np.arange(6), n.astype(int))
    assert of(kappa) == pytest.approx(anova_icc(flat, cluster, np.zeros(6, dtype=int)).icc, rel=1e-10)
    slope = (of(kappa + 1e-5) - of(kappa - 1e-5)) / 2e-5
    expected = slope * fleiss_cuzick_std_error(kappa, count, n)
    assert modified_wald_std_error(count, n) == pytest.approx(expected, rel=1e-7)
