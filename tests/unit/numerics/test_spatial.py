"""Sums over neighbouring places, against sums over all pairs, a time-series kernel, and matrices that are not psd."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from statsmodels.stats.sandwich_covariance import S_hac_simple

from gbveval.numerics import spatial
from gbveval.numerics.spatial import EARTH_KM, KERNELS, Neighbourhood, spatial_covariance

FloatArray = NDArray[np.float64]
# Kilometres of a degree along the equator or a meridian.
DEGREE = 2.0 * np.pi * EARTH_KM / 360.0


def great_circle(latitude: FloatArray, longitude: FloatArray) -> FloatArray:
    """Return all distances by Vincenty's formula on a sphere: no chord, and exact for near and opposite places."""
    p, q = np.radians(latitude)[:, None], np.radians(latitude)[None, :]
    apart = np.radians(longitude)[:, None] - np.radians(longitude)[None, :]
    across = np.hypot(np.cos(q) * np.sin(apart), np.cos(p) * np.sin(q) - np.sin(p) * np.cos(q) * np.cos(apart))
    along = np.sin(p) * np.sin(q) + np.cos(p) * np.cos(q) * np.cos(apart)
    return np.asarray(EARTH_KM * np.arctan2(across, along))


def weights(near: Neighbourhood) -> FloatArray:
    """Return the weight of every pair of places."""
    distance = great_circle(near.latitude, near.longitude)
    if near.kernel == "uniform":
        return (distance <= near.cutoff_km).astype(float)
    return np.asarray(np.maximum(1.0 - distance / near.cutoff_km, 0.0))


def scattered(seed: int, n: int, middle: float, width: float) -> tuple[FloatArray, FloatArray]:
    rng = np.random.default_rng(seed)
    latitude = np.clip(rng.uniform(-width, width, n) + middle, -90.0, 90.0)
    # Across the date line, where degrees jump and distances do not.
    longitude = rng.uniform(-width, width, n) + 180.0
    return latitude, np.where(longitude > 180.0, longitude - 360.0, longitude)


@given(
    seed=st.integers(0, 10_000),
    middle=st.sampled_from([-90.0, 0.0, 47.0, 90.0]),
    width=st.sampled_from([0.01, 1.0, 60.0]),
    cutoff=st.floats(0.1, 30_000.0),
    kernel=st.sampled_from(KERNELS),
)
@settings(max_examples=60, deadline=None)
def test_sums_are_those_over_all_pairs(seed: int, middle: float, width: float, cutoff: float, kernel: str) -> None:
    latitude, longitude = scattered(seed, 40, middle, width)
    near = Neighbourhood(latitude, longitude, cutoff, kernel)
    values = np.random.default_rng(seed + 1).normal(size=(40, 2))
    distance = great_circle(latitude, longitude)
    if kernel == "uniform" and np.abs(distance - cutoff).min() < 1e-6:
        return  # which side of the cutoff a pair lies on is then a matter of rounding
    # Sums of 1,600 products of order one, each exact to rounding of coordinates: 1e-10 is far above both.
    np.testing.assert_allclose(near.cross_products(values), values.T @ weights(near) @ values, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("kernel", KERNELS)
def test_blocks_do_not_change_the_sum(kernel: str, monkeypatch: pytest.MonkeyPatch) -> None:
    latitude, longitude = scattered(3, 80, 10.0, 2.0)
    near = Neighbourhood(latitude, longitude, 150.0, kernel)
    values = np.random.default_rng(3).normal(size=(80, 3))
    whole = near.cross_products(values)
    monkeypatch.setattr(spatial, "PAIRS", 7)  # fewer than one place has neighbours, so that blocks are single places
    np.testing.assert_allclose(near.cross_products(values), whole, rtol=1e-12)


@pytest.mark.parametrize("lags", [1, 4, 9])
def test_on_a_line_bartlett_is_newey_and_west(lags: int) -> None:
    # Places evenly along the equator are a time series, and 1 - lag / (lags + 1) is Bartlett's kernel of distance.
    values = np.random.default_rng(lags).normal(size=(60, 2)).cumsum(axis=0)
    near = Neighbourhood(np.zeros(60), np.linspace(-29.5, 29.5, 60), (lags + 1) * DEGREE, "bartlett")
    np.testing.assert_allclose(near.cross_products(values), S_hac_simple(values, nlags=lags), rtol=1e-9)


@given(seed=st.integers(0, 1000), kernel=st.sampled_from(KERNELS), turn=st.floats(-170.0, 170.0))
@settings(max_examples=20, deadline=None)
def test_turning_the_earth_and_renaming_places_change_nothing(seed: int, kernel: str, turn: float) -> None:
    latitude, longitude = scattered(seed, 30, 20.0, 3.0)
    values = np.random.default_rng(seed).normal(size=(30, 2))
    order = np.random.default_rng(seed + 1).permutation(30)
    turned = (longitude + turn + 180.0) % 360.0 - 180.0
    first = Neighbourhood(latitude, longitude, 200.0, kernel).cross_products(values)
    other = Neighbourhood(latitude[order], turned[order], 200.0, kernel).cross_products(values[order])
    np.testing.assert_allclose(first, other, rtol=1e-8, atol=1e-8)


def test_beyond_the_cutoff_places_are_independent() -> None:
    latitude, longitude = scattered(1, 50, 0.0, 5.0)
    least = np.min(great_circle(latitude, longitude) + 1e9 * np.eye(50))
    values = np.random.default_rng(1).normal(size=(50, 3))
    for kernel in KERNELS:
        found = spatial_covariance(values, Neighbourhood(latitude, longitude, 0.999 * float(least), kernel))
        np.testing.assert_allclose(found.covariance, values.T @ values, rtol=1e-12)
        assert not found.negative.any()
        assert not found.indefinite


def test_the_uniform_kernel_is_not_psd_and_says_so() -> None:
    # Three places a cutoff apart: the weights' eigenvector of 1 - sqrt(2) is (1, -sqrt(2), 1).
    near = Neighbourhood(np.zeros(3), np.array([0.0, 1.0, 2.0]), 1.0001 * DEGREE, "uniform")
    found = spatial_covariance(np.array([[1.0, 1.0], [-np.sqrt(2.0), 0.0], [1.0, 0.0]]), near)
    assert found.covariance[0, 0] == pytest.approx(4.0 * (1.0 - np.sqrt(2.0)), rel=1e-12)
    assert found.negative.tolist() == [True, False]


def test_bartlett_is_psd_on_a_line_and_not_on_a_square() -> None:
    line = Neighbourhood(np.zeros(36), np.arange(36.0) / 100.0, 1.4 * DEGREE / 100.0, "bartlett")
    assert np.linalg.eigvalsh(weights(line))[0] > 0
    row, column = np.divmod(np.arange(36), 6)
    # A hundredth of a degree is 1.1 km: a map this small is flat.
    square = Neighbourhood(row / 100.0, column / 100.0, 1.4 * DEGREE / 100.0, "bartlett")
    roots, axes = np.linalg.eigh(weights(square))
    assert roots[0] < -0.02
    found = spatial_covariance(axes[:, :1], square)
    assert found.covariance[0, 0] == pytest.approx(roots[0], rel=1e-6)
    assert found.negative.all()


def test_joint_directions_below_zero_are_found() -> None:
    near = Neighbourhood(np.zeros(3), np.array([0.0, 1.0, 2.0]), 1.0001 * DEGREE, "uniform")
    # Each variance is above zero, and that of the first less the second is not.
    one, two = np.array([2.0, 0.0, 1.0]), np.array([1.0, np.sqrt(2.0), 0.0])
    found = spatial_covariance(np.column_stack([one, two]), near)
    assert not found.negative.any()
    assert found.covariance[0, 0] + found.covariance[1, 1] - 2 * found.covariance[0, 1] < 0
    assert found.indefinite


def test_a_cutoff_as_wide_as_the_map_leaves_no_variance() -> None:
    latitude, longitude = scattered(2, 30, 0.0, 1.0)
    values = np.random.default_rng(2).normal(size=(30, 1))
    near = Neighbourhood(latitude, longitude, 1000.0, "uniform")
    found = spatial_covariance(values - values.mean(), near)
    assert found.negative.all()


def test_an_estimate_without_influence_is_not_negative() -> None:
    near = Neighbourhood(np.zeros(2), np.array([0.0, 1.0]), 1.0, "uniform")
    found = spatial_covariance(np.zeros((2, 1)), near)
    assert not found.negative.any()
    assert found.covariance[0, 0] == 0


def test_independent_places() -> None:
    # Four pairs of places that share everything, and the pairs far apart: four places, or two of them.
    longitude = np.repeat([0.0, 10.0, 20.0, 30.0], 2)
    near = Neighbourhood(np.tile([0.0, 1e-6], 4), longitude, 100.0, "uniform")
    assert near.independent(np.ones(8, dtype=bool)) == pytest.approx(4.0)
    assert near.independent(np.arange(8) < 4) == pytest.approx(2.0)
    assert near.independent(np.zeros(8, dtype=bool)) == 0.0


def test_units_of_measurement_scale_the_sum() -> None:
    latitude, longitude = scattered(5, 25, 0.0, 1.0)
    values = np.random.default_rng(5).normal(size=(25, 2))
    near = Neighbourhood(latitude, longitude, 80.0, "bartlett")
    unit = np.array([1e6, 1e-6])
    plain, scaled = spatial_covariance(values, near), spatial_covariance(values * unit, near)
    np.testing.assert_allclose(scaled.covariance, plain.covariance * np.outer(unit, unit), rtol=1e-10)
    assert scaled.indefinite == plain.indefinite
