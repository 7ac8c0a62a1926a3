"""Restrictions on trends and the sets they give, against linear programmes, searches and simulation."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.optimize import linprog, minimize
from scipy.stats import foldnorm, norm

from gbveval.numerics import conditional_set as cs
from gbveval.numerics.dual_rays import MOST_RAYS, TooManyRaysError, extreme_rays, target_rays
from gbveval.numerics.fixed_length import fixed_length_interval, frontier
from gbveval.numerics.trend_restrictions import (
    Piece,
    first_differences,
    relative_magnitude,
    second_differences,
    shape_rows,
    smoothness,
)

FloatArray = NDArray[np.float64]


def covariance(k: int, seed: int) -> FloatArray:
    rng = np.random.default_rng(seed)
    root = rng.normal(size=(k, k)) + np.ones((k, k))
    return 0.01 * (root @ root.T / k + 0.3 * np.eye(k))


# -- restrictions -----------------------------------------------------------------------------------------------


@settings(max_examples=150, deadline=None)
@given(st.lists(st.integers(-4, 4), min_size=5, max_size=5), st.sampled_from([0.0, 0.5, 1.0, 2.0]))
def test_the_pieces_of_relative_magnitude_are_its_definition(values: list[int], m: float) -> None:
    delta = np.array(values, dtype=float)
    path = np.array([*delta[:3], 0.0, *delta[3:]])
    change = np.abs(np.diff(path))
    expected = bool(np.all(change[3:] <= m * change[:3].max()))
    inside = any(bool(np.all(piece.A @ delta <= piece.d)) for piece in relative_magnitude(3, 2, m))
    assert inside == expected


@settings(max_examples=150, deadline=None)
@given(st.lists(st.integers(-4, 4), min_size=5, max_size=5), st.integers(0, 5))
def test_smoothness_bounds_each_change_of_slope_that_touches_the_time_after(values: list[int], m: int) -> None:
    delta = np.array(values, dtype=float)
    bends = np.diff([*delta[:3], 0.0, *delta[3:]], n=2)
    inside = all(bool(np.all(piece.A @ delta <= piece.d)) for piece in smoothness(3, 2, m))
    assert inside == bool(np.all(np.abs(bends[2:]) <= m))


@pytest.mark.parametrize(
    ("shape", "good", "bad"),
    [
        ("positive", [0, 0, 1, 0.5], [0, 0, 1, -0.5]),
        ("negative", [0, 0, -1, -0.5], [0, 0, 1, -0.5]),
        ("increasing", [-2, -1, 1, 2], [-2, -1, 1, 0.5]),
        ("decreasing", [2, 1, -1, -2], [2, 1, 0.5, -2.0 + 3.0]),
    ],
)
def test_shapes_hold_where_they_should(shape: str, good: list[float], bad: list[float]) -> None:
    rows = shape_rows(2, 2, shape)
    assert np.all(rows @ np.array(good) <= 0)
    assert not np.all(rows @ np.array(bad) <= 0)


def test_an_unknown_shape_is_an_error() -> None:
    with pytest.raises(ValueError, match="increasing"):
        shape_rows(2, 2, "round")


# -- corners of the dual ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [None, "positive", "decreasing"])
@pytest.mark.parametrize("make", [relative_magnitude, smoothness])
@pytest.mark.parametrize("n_post", [1, 2, 5])
def test_the_corners_answer_every_linear_programme(make: object, shape: str | None, n_post: int) -> None:
    rng = np.random.default_rng(3)
    piece = make(3, n_post, 0.7, shape=shape)[0]  # type: ignore[operator]
    for target in (np.full(n_post, 1.0 / n_post), np.eye(n_post)[0], rng.normal(size=n_post)):
        A = piece.A[:, 3:]
        rays = target_rays(A, target)
        _, _, directions = np.linalg.svd(target[None, :])
        nuisance = A @ directions[1:].T
        for _ in range(5):
            value, sd = rng.normal(size=len(A)), rng.uniform(0.5, 2.0, len(A))
            found = np.max(rays @ value / (rays @ sd))
            equal = np.vstack([nuisance.T, sd])
            answer = linprog(-value, A_eq=equal, b_eq=np.append(np.zeros(n_post - 1), 1.0), method="highs")
            # HiGHS solves to 1e-7.
            assert found == pytest.approx(-answer.fun, abs=1e-6)


def test_the_number_of_corners_grows_by_one_a_period() -> None:
    for n_post in (2, 6, 12):
        for make in (relative_magnitude, smoothness):
            assert len(target_rays(make(2, n_post, 1.0)[0].A[:, 2:], np.full(n_post, 1.0 / n_post))) == n_post + 2


def test_too_many_corners_are_an_error_and_no_endless_wait() -> None:
    piece = relative_magnitude(2, 10, 1.0, shape="positive")[0]
    with pytest.raises(TooManyRaysError, match=f"{MOST_RAYS:,}"):
        target_rays(piece.A[:, 2:], np.full(10, 0.1))


def test_no_equality_leaves_the_axes() -> None:
    np.testing.assert_array_equal(extreme_rays(np.zeros((3, 0))), np.eye(3))


# -- the conditional test ---------------------------------------------------------------------------------------


def programme(piece: Piece, study: cs.EventStudy, moments: FloatArray) -> float:
    """Return the least eta with moments - A tau <= sd eta over effects with target' tau = 0, as a linear programme."""
    sd = np.sqrt(np.einsum("ij,jk,ik->i", piece.A, study.sigma, piece.A))
    A = piece.A[:, study.n_pre :]
    answer = linprog(
        [1.0, *np.zeros(A.shape[1])],
        A_ub=np.column_stack([-sd, -A]),
        b_ub=-moments,
        A_eq=[[0.0, *study.target]],
        b_eq=[0.0],
        bounds=[(None, None)] * (1 + A.shape[1]),
        method="highs",
    )
    return float(answer.fun)


def by_programmes(
    study: cs.EventStudy, piece: Piece, theta: float, alpha: float, critical: float
) -> tuple[bool, float]:
    """Return whether a value is not rejected, by the definition of the test, and how close the call was."""
    A, n_pre = piece.A, study.n_pre
    shift = A[:, n_pre:] @ study.target / (study.target @ study.target) * theta
    y = A @ study.beta - piece.d - shift
    eta = programme(piece, study, y)
    if eta <= 0.0:
        return True, abs(eta)
    if eta > critical:
        return False, eta - critical
    # The optimal combination of the rows is the slope of the optimum in the moments.
    step = 1e-4
    slopes = [
        (programme(piece, study, y + step * e) - programme(piece, study, y - step * e)) / (2 * step)
        for e in np.eye(len(y))
    ]
    g = np.array(slopes)
    sigma = A @ study.sigma @ A.T
    variance = float(g @ sigma @ g)
    loading = sigma @ g / variance
    rest = y - loading * eta

    # g stays optimal while the optimum is the moment itself; the optimum is convex along the line.
    def stays(z: float) -> bool:
        return programme(piece, study, rest + loading * z) <= z + 1e-7

    def edge(far: float) -> float:
        if stays(far):
            return far
        inside, outside = eta, far
        for _ in range(40):
            middle = (inside + outside) / 2.0
            inside, outside = (middle, outside) if stays(middle) else (inside, middle)
        return inside

    sd = np.sqrt(variance)
    low, high = edge(eta - 30.0 * sd) / sd, min(edge(eta + 30.0 * sd), critical) / sd
    p = (norm.sf(eta / sd) - norm.sf(high)) / (norm.sf(low) - norm.sf(high))
    size = (alpha - alpha / 10.0) / (1.0 - alpha / 10.0)
    return p >= size, abs(p - size)


@pytest.mark.parametrize("shape", [None, "increasing"])
@pytest.mark.parametrize("make", [relative_magnitude, smoothness])
def test_verdicts_are_those_of_linear_programmes(make: object, shape: str | None) -> None:
    rng = np.random.default_rng(8)
    sigma = covariance(5, 2)
    beta = rng.multivariate_normal([-0.1, -0.05, 0.2, 0.3, 0.5], sigma)
    target = np.array([0.5, 0.25, 0.25])
    study = cs.event_study(beta, sigma, 2, target, seed=1)
    pieces = make(2, 3, 0.4, shape=shape)  # type: ignore[operator]
    rays = cs.rays_of(study, pieces[0])
    verdicts = []
    for piece in pieces[:2]:
        test = cs.ConditionalTest(study, cs.moments(study, piece, rays), 0.05)
        low, high = test.range(test.critical)
        if not low < high:
            continue
        for theta in rng.uniform(low - 0.1, high + 0.1, 8):
            expected, margin = by_programmes(study, piece, float(theta), 0.05, test.critical)
            if margin > 1e-3:  # Slopes of programmes solved to 1e-7 decide no closer call.
                verdicts.append(expected)
                assert bool(test.accepts(np.array([theta]))[0]) == expected
    assert {True, False} <= set(verdicts)


def test_the_first_stage_is_the_quantile_of_the_largest_programme() -> None:
    sigma, target = covariance(5, 4), np.array([1.0, 0.0, 0.0])
    study = cs.event_study(np.zeros(5), sigma, 2, target, seed=5, n_draws=300)
    piece = relative_magnitude(2, 3, 1.0)[0]
    found = cs.ConditionalTest(study, cs.moments(study, piece, cs.rays_of(study, piece)), 0.5)
    largest = [programme(piece, study, piece.A @ draw) for draw in study.noise]
    assert found.critical == pytest.approx(np.quantile(largest, 0.95), abs=1e-6)
    np.testing.assert_allclose(np.cov(study.noise.T), sigma, atol=6 * sigma.max() / np.sqrt(300))


def test_the_set_holds_what_is_accepted_and_nothing_else() -> None:
    sigma = covariance(6, 9)
    study = cs.event_study(np.array([0.1, -0.1, 0.05, 0.4, 0.5, 0.7]), sigma, 3, np.full(3, 1 / 3), seed=2)
    pieces = relative_magnitude(3, 3, 0.8)
    rays = cs.rays_of(study, pieces[0])
    found = cs.confidence_set(study, pieces, rays, 0.05)
    spread = found[-1][1] - found[0][0]
    edges = np.array([end for pair in found for end in pair])
    for theta in np.linspace(found[0][0] - 0.5 * spread, found[-1][1] + 0.5 * spread, 121):
        if np.min(np.abs(theta - edges)) > 1e-5 * spread:
            inside = any(low <= theta <= high for low, high in found)
            assert cs.is_accepted(study, pieces, rays, 0.05, float(theta)) == inside


def test_a_set_is_the_union_of_the_sets_of_its_pieces() -> None:
    for seed in range(4):
        sigma = covariance(6, seed)
        beta = np.random.default_rng(seed).multivariate_normal([0.1, -0.1, 0.05, 0.4, 0.5, 0.7], 9 * sigma)
        study = cs.event_study(beta, sigma, 3, np.full(3, 1 / 3), seed=2, n_draws=1000)
        pieces = relative_magnitude(3, 3, 1.0)
        rays = cs.rays_of(study, pieces[0])
        single = [cs.confidence_set(study, [piece], rays, 0.05) for piece in pieces]
        assert cs.confidence_set(study, pieces, rays, 0.05) == cs.united(single)


def test_one_period_on_each_side_without_departure_is_a_two_sided_test() -> None:
    # m = 0 leaves beta_1 - theta alone: the moments are plus and minus it over its standard error.
    sigma = np.array([[0.04, 0.01], [0.01, 0.09]])
    study = cs.event_study(np.array([0.3, 1.0]), sigma, 1, np.ones(1), seed=1, n_draws=200_000)
    pieces = relative_magnitude(1, 1, 0.0)
    ((low, high),) = cs.confidence_set(study, pieces, cs.rays_of(study, pieces[0]), 0.05)
    # First stage: |z| <= c with c the 0.995 quantile of |N|. Second: the larger moment lies in (0, c), and is
    # rejected above the point that leaves 0.045 / 0.995 of that.
    c = foldnorm.ppf(0.995, 0.0)
    size = (0.05 - 0.005) / 0.995
    z = norm.isf(norm.sf(c) + size * (norm.sf(0.0) - norm.sf(c)))
    # The simulated quantile c has a Monte Carlo error of 0.01 and moves z by a tenth of it.
    assert (1.0 - low) / 0.3 == pytest.approx(z, abs=0.004)
    assert (high - 1.0) / 0.3 == pytest.approx(z, abs=0.004)
    assert z == pytest.approx(norm.isf(0.025), abs=0.01)  # the price of the first stage


@pytest.mark.parametrize("end", ["low", "high"])
def test_relative_magnitude_covers_at_the_ends_of_its_set(end: str) -> None:
    # The trend jumps by as much after as it did at most before: the effect is at an end of the identified set.
    sigma = covariance(5, 11)
    sign = 1.0 if end == "high" else -1.0
    delta = np.array([0.2, 0.0, sign * 0.2, sign * 0.4, sign * 0.6])
    target = np.full(3, 1.0 / 3.0)
    pieces = relative_magnitude(2, 3, 1.0)
    rng = np.random.default_rng(1)
    base = cs.event_study(np.zeros(5), sigma, 2, target, seed=3)
    rays = cs.rays_of(base, pieces[0])
    n = 1500
    draws = rng.multivariate_normal(delta, sigma, size=n)
    covered = 0
    for beta in draws:
        study = cs.EventStudy(beta, sigma, 2, target, base.noise)
        covered += cs.is_accepted(study, pieces, rays, 0.05, 0.0)
    # At least 95 %, less four Monte Carlo standard errors.
    assert covered / n >= 0.95 - 4 * np.sqrt(0.05 * 0.95 / n)


def test_smoothness_has_its_size_where_one_moment_binds() -> None:
    # One change of slope is at its bound, far from the other one: the test of one binding moment is exact.
    sigma = 1e-4 * np.eye(2)
    pieces = smoothness(1, 1, 0.5)
    base = cs.event_study(np.zeros(2), sigma, 1, np.ones(1), seed=3)
    rays = cs.rays_of(base, pieces[0])
    rng = np.random.default_rng(2)
    n = 4000
    draws = rng.multivariate_normal([0.0, 0.5], sigma, size=n)
    rejected = sum(
        not cs.is_accepted(cs.EventStudy(beta, sigma, 1, np.ones(1), base.noise), pieces, rays, 0.05, 0.0)
        for beta in draws
    )
    assert abs(rejected / n - 0.05) < 4 * np.sqrt(0.05 * 0.95 / n)


def test_a_restriction_that_the_data_reject_gives_an_empty_set() -> None:
    # A line through the time before would have to bend at once and stay bent.
    study = cs.event_study(np.array([0.0, 5.0, 20.0, 0.0]), 0.01 * np.eye(4), 1, np.eye(3)[0], seed=1)
    pieces = smoothness(1, 3, 0.0, shape="increasing")
    assert cs.confidence_set(study, pieces, cs.rays_of(study, pieces[0]), 0.05) != []
    falling = cs.event_study(np.array([5.0, 0.0, 0.0, 0.0]), 0.01 * np.eye(4), 1, np.eye(3)[0], seed=1)
    assert cs.confidence_set(falling, pieces, cs.rays_of(falling, pieces[0]), 0.05) == []


# -- fixed-length intervals -------------------------------------------------------------------------------------


def worst_bias(weights: FloatArray, n_pre: int, n_post: int, m: float) -> float:
    """Return the largest bias under smoothness, by a linear programme over departures."""
    bends = second_differences(n_pre, n_post)
    answer = linprog(
        -weights,
        A_ub=np.vstack([bends, -bends]),
        b_ub=np.full(2 * len(bends), m),
        bounds=[(None, None)] * len(weights),
        method="highs",
    )
    return float(-answer.fun) if answer.status == 0 else np.inf


@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize("m", [0.0, 0.02, 0.1, 1.0])
def test_no_affine_estimator_has_a_shorter_interval(m: float, seed: int) -> None:
    n_pre, n_post = 3, 2
    sigma = covariance(5, seed)
    target = np.array([0.4, 0.6])
    found = fixed_length_interval(frontier(sigma, n_pre, target), np.zeros(5), m, 0.95)
    assert found.bias == pytest.approx(worst_bias(found.weights, n_pre, n_post, m), abs=1e-7)
    assert found.std_error == pytest.approx(np.sqrt(found.weights @ sigma @ found.weights))
    np.testing.assert_allclose(found.weights[n_pre:], target)

    # Finite bias needs sum of weight times time to be zero, which fixes one weight of three.
    slope = float(target @ [1.0, 2.0])

    def half_length(free: FloatArray) -> float:
        weights = np.array([free[0], free[1], slope - 3 * free[0] - 2 * free[1], *target])
        error = np.sqrt(weights @ sigma @ weights)
        # The bias in closed form: weights on changes of slope are partial sums from the far end.
        inside = np.abs(free[0]) + np.abs(2 * free[0] + free[1])
        bias = m * (inside + target @ [1.0, 2.0] + target[1])
        return float(error * foldnorm.ppf(0.95, bias / error))

    assert half_length(found.weights[:2]) == pytest.approx(found.half_length, rel=1e-8)
    best = min(
        minimize(half_length, start, method="Nelder-Mead", options={"xatol": 1e-9, "fatol": 1e-12, "maxiter": 4000}).fun
        for start in ([0.0, 0.0], [0.3, -0.3], [-0.3, 0.3], [0.0, 0.5], found.weights[:2])
    )
    assert found.half_length == pytest.approx(best, rel=1e-6)


def test_with_one_period_on_each_side_the_interval_is_in_closed_form() -> None:
    # The last change carries on: theta = beta_1 + beta_-1, with a bias of one change of slope.
    sigma, m = np.array([[0.04, 0.01], [0.01, 0.09]]), 0.2
    found = fixed_length_interval(frontier(sigma, 1, np.ones(1)), np.array([0.3, 1.0]), m, 0.9)
    error = np.sqrt(0.04 + 0.09 + 2 * 0.01)
    assert found.estimate == pytest.approx(1.3)
    assert found.half_length == pytest.approx(error * foldnorm.ppf(0.9, m / error), rel=1e-9)


def test_a_straight_line_is_extrapolated_by_least_variance() -> None:
    # m = 0 is generalised least squares of a line through the reference period, taken away from the target.
    sigma, n_pre = covariance(6, 5), 4
    beta = np.array([0.5, 0.3, 0.25, 0.1, 0.2, 0.4])
    found = fixed_length_interval(frontier(sigma, n_pre, np.array([0.0, 1.0])), beta, 0.0, 0.95)
    X = np.column_stack([np.array([-4, -3, -2, -1, 1, 2.0]), np.eye(6)[:, 4], np.eye(6)[:, 5]])
    inverse = np.linalg.inv(sigma)
    cov = np.linalg.inv(X.T @ inverse @ X)
    assert found.estimate == pytest.approx(float((cov @ X.T @ inverse @ beta)[2]))
    assert found.std_error == pytest.approx(float(np.sqrt(cov[2, 2])))


def test_fixed_length_intervals_cover_under_the_worst_departure() -> None:
    n_pre, n_post, m = 4, 2, 0.1
    sigma, target = covariance(6, 7), np.array([0.5, 0.5])
    front = frontier(sigma, n_pre, target)
    found = fixed_length_interval(front, np.zeros(6), m, 0.95)
    bends = second_differences(n_pre, n_post)
    sides = np.vstack([bends, -bends])
    worst = linprog(
        -found.weights, A_ub=sides, b_ub=np.full(len(sides), m), bounds=[(None, None)] * 6, method="highs"
    ).x
    rng, n = np.random.default_rng(4), 20_000
    centres = rng.multivariate_normal(worst, sigma, size=n) @ found.weights
    share = float(np.mean(np.abs(centres) <= found.half_length))
    assert abs(share - 0.95) < 4 * np.sqrt(0.05 * 0.95 / n)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 9), st.integers(1, 6), st.integers(0, 10_000))
def test_the_frontier_trades_bias_for_variance(n_pre: int, n_post: int, seed: int) -> None:
    sigma = covariance(n_pre + n_post, seed)
    target = np.random.default_rng(seed).dirichlet(np.ones(n_post))
    front = frontier(sigma, n_pre, target)
    variance = np.einsum("ij,jk,ik->i", front.weights, sigma, front.weights)
    assert np.all(np.diff(front.unit_bias) >= -1e-9)
    assert np.all(np.diff(variance) <= 1e-9 * variance.max())
    # No bias under a straight line, at every corner.
    time = np.concatenate([np.arange(-n_pre, 0), np.arange(1, n_post + 1)])
    np.testing.assert_allclose(front.weights @ time, 0.0, atol=1e-8 * np.abs(front.weights).max() * n_pre)
    # The last corner has the least variance of all: its gradient is a multiple of the constraint.
    steps = first_differences(n_pre, n_post)[:n_pre, :n_pre]
    gradient = (sigma @ front.weights[-1])[:n_pre]
    across = np.vstack([time[:n_pre], steps])[1:]
    assert across.shape == (n_pre, n_pre)
    residual = gradient - time[:n_pre] * (gradient @ time[:n_pre]) / (time[:n_pre] @ time[:n_pre])
    np.testing.assert_allclose(residual, 0.0, atol=1e-7 * np.abs(sigma).max())
