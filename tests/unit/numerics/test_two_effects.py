"""Two large sets of effects swept out exactly, against least squares on all their indicators."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from gbveval.numerics.fixed_effects import Groups, effects_rank, fixed_effects_fit, split_effects
from gbveval.numerics.two_effects import TwoEffects, alone

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.intp]


def compacted(codes: IntArray) -> IntArray:
    return np.asarray(np.unique(codes, return_inverse=True)[1], dtype=np.intp)


def dummies(*codes: IntArray) -> FloatArray:
    return np.column_stack([each[:, None] == np.unique(each)[None, :] for each in codes]).astype(float)


def residuals(design: FloatArray, columns: FloatArray, weights: FloatArray) -> FloatArray:
    """Return residuals of weighted least squares by the pseudo-inverse."""
    root = np.sqrt(weights)[:, None]
    return np.asarray(columns - design @ np.linalg.lstsq(design * root, columns * root, rcond=1e-11)[0])


@given(
    seed=st.integers(0, 10_000),
    n=st.integers(2, 80),
    levels=st.tuples(st.integers(1, 25), st.integers(1, 25)),
    islands=st.integers(1, 3),
)
@settings(max_examples=80, deadline=None)
def test_residuals_and_rank_are_those_of_all_indicators(
    seed: int, n: int, levels: tuple[int, int], islands: int
) -> None:
    rng = np.random.default_rng(seed)
    first = rng.integers(0, levels[0], n)
    # Groups that never meet: several components, each with a redundant level of its own.
    second = rng.integers(0, levels[1], n) * islands + first % islands
    weights = rng.uniform(0.2, 5.0, n)
    effects = TwoEffects(compacted(first), compacted(second), weights)
    design = dummies(first, second)
    assert effects.rank == np.linalg.matrix_rank(design)
    columns = rng.normal(size=(n, 2))
    # A few dozen levels: both solutions carry some 1e-13 of rounding.
    np.testing.assert_allclose(effects.residuals(columns), residuals(design, columns, weights), atol=1e-9)


def test_what_the_effects_explain_becomes_zero() -> None:
    rng = np.random.default_rng(1)
    first, second = np.repeat(np.arange(50), 6), rng.integers(0, 20, 300)
    effects = TwoEffects(first, compacted(second), np.ones(300))
    explained = rng.normal(size=50)[first] + 1e6 * rng.normal(size=20)[second]
    assert not effects.residuals(explained[:, None]).any()


def test_a_long_chain_is_solved_as_exactly_as_a_short_one() -> None:
    # Level j meets level j + 1 in one unit only: alternating means need some 300^2 rounds for a digit.
    first = np.repeat(np.arange(300), 2)
    second = (np.arange(300)[:, None] + np.arange(2)).ravel()
    effects = TwoEffects(first, second, np.ones(600))
    column = np.random.default_rng(2).normal(size=(600, 1))
    left = effects.residuals(column)
    # Two sets of indicators and a chain: rank 300 + 301 - 1 of 600 rows, so that nothing is left.
    assert effects.rank == 600
    np.testing.assert_allclose(left, 0.0, atol=1e-9)


def test_order_of_the_two_does_not_matter() -> None:
    rng = np.random.default_rng(3)
    first, second = rng.integers(0, 30, 200), rng.integers(0, 12, 200)
    weights, columns = rng.uniform(0.5, 2.0, 200), rng.normal(size=(200, 3))
    one = TwoEffects(compacted(first), compacted(second), weights)
    other = TwoEffects(compacted(second), compacted(first), weights)
    np.testing.assert_allclose(one.residuals(columns), other.residuals(columns), atol=1e-11)
    assert one.rank == other.rank


def test_rows_alone_are_found_and_those_that_become_so() -> None:
    # A chain: setting one row aside leaves the next alone.
    chain = (np.array([0, 0, 1, 1, 2, 2, 2]), np.array([0, 1, 1, 2, 2, 2, 2]))
    assert alone(chain).tolist() == [True, True, True, True, False, False, False]
    assert not alone((np.array([0, 0]), np.array([1, 1]))).any()


@pytest.mark.parametrize("several", [1, 2, 3])
def test_rank_of_several_effects_not_nested_in_clusters(several: int) -> None:
    rng = np.random.default_rng(several)
    codes = [rng.integers(0, 8, 150), rng.integers(0, 5, 150), rng.integers(0, 4, 150)][:several]
    codes = [*codes, codes[0] // 2]  # coarser than the first, so that it adds nothing
    groups = tuple(Groups(each.astype(np.intp), 9) for each in codes)
    cluster = Groups(np.arange(150) % 15, 15)
    assert effects_rank(groups, (cluster,)) == np.linalg.matrix_rank(dummies(*codes))
    # Effects within clusters do not count.
    nested = Groups((np.arange(150) % 15) // 3, 5)
    assert effects_rank((*groups, cluster), (cluster,)) == effects_rank(groups, (cluster,))
    assert effects_rank((cluster,), (nested,)) == 1
    assert effects_rank((), (cluster,)) == 0


def test_the_largest_effect_is_swept_where_the_covariance_allows() -> None:
    unit, cluster = Groups(np.arange(40) // 2, 20), Groups(np.arange(40) // 8, 5)
    inside, across = Groups(np.arange(40) // 4, 10), Groups(np.arange(40) % 6, 6)
    large, small = split_effects(unit, (across, inside), "CR1S", (cluster,))
    assert large is inside
    assert small == (across,)
    assert split_effects(unit, (across,), "CR1S", (cluster,))[0] is across
    assert split_effects(unit, (across,), "CR2", (cluster,)) == (None, (across,))
    assert split_effects(unit, (inside,), "CR2", (cluster,))[0] is inside
    assert split_effects(None, (across,), "HC1", ()) == (None, (across,))


@pytest.mark.parametrize("std_error", ["CR2", "CR3"])
def test_swept_inside_clusters_is_as_columns_for_corrected_covariances(std_error: str) -> None:
    rng = np.random.default_rng(4)
    cluster = np.repeat(np.arange(12), 20)
    unit = np.repeat(np.arange(60), 4)
    inside = cluster * 3 + rng.integers(0, 3, 240)
    time = np.tile(np.arange(4), 60)
    columns, outcome = rng.normal(size=(240, 2)), rng.normal(size=240)
    groups = {"clusters": (Groups(cluster, 12),), "std_error": std_error, "absorb": Groups(unit, 60)}
    effect = Groups(compacted(inside), 36)
    swept = fixed_effects_fit(outcome, columns, effects=(Groups(time, 4),), further=(effect,), **groups)  # type: ignore[arg-type]
    listed = fixed_effects_fit(outcome, columns, effects=(Groups(time, 4), effect), **groups)  # type: ignore[arg-type]
    np.testing.assert_allclose(swept.beta, listed.beta, rtol=1e-9)
    np.testing.assert_allclose(swept.covariance, listed.covariance, rtol=1e-8)
    np.testing.assert_allclose(swept.df, listed.df, rtol=1e-7)
