"""The corrected test of a table against Pearson's, closed forms of its design effects, and another basis."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chi2_contingency, f

from gbveval.numerics.rao_scott import rao_scott


def _table(seed: int, rows: int, columns: int) -> np.ndarray:
    table = np.random.default_rng(seed).uniform(0.5, 2.0, (rows, columns))
    return table / table.sum()


def _simple(table: np.ndarray, n: float) -> np.ndarray:
    p = table.ravel()
    return (np.diag(p) - np.outer(p, p)) / n


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.integers(2, 4), st.integers(2, 4), st.floats(0.4, 5.0))
def test_one_design_effect_for_all_cells_divides_pearsons_statistic(
    seed: int, rows: int, columns: int, deff: float
) -> None:
    table = _table(seed, rows, columns)
    found = rao_scott(table, deff * _simple(table, 300), n=300, df=40.0)
    pearson = chi2_contingency(table * 300, correction=False).statistic
    free = (rows - 1) * (columns - 1)
    assert found.chi_square == pytest.approx(pearson, rel=1e-9)
    assert found.mean_design_effect == pytest.approx(deff, rel=1e-8)
    assert (found.df1, found.df2) == (pytest.approx(free, rel=1e-8), pytest.approx(40 * free, rel=1e-8))
    assert found.statistic == pytest.approx(pearson / (deff * free), rel=1e-8)
    assert found.p_value == pytest.approx(f.sf(found.statistic, found.df1, found.df2), rel=1e-9)


def test_uneven_design_effects_lower_the_degrees_of_freedom() -> None:
    """By another route: the eigenvalues of a covariance of log odds ratios against their simple one."""
    table = _table(3, 3, 3)
    root = np.random.default_rng(4).normal(size=(9, 20)) * 0.01
    covariance = root @ root.T
    covariance -= covariance.mean(axis=0)  # Proportions add to one, so their covariance has rows that add to zero.
    covariance = covariance - covariance.mean(axis=1, keepdims=True)
    found = rao_scott(table, covariance, n=200, df=19.0)
    # Log odds ratios against the last cell, with 1/p as the derivative: simple covariance A D^-1 A' / n.
    contrast = np.kron(np.column_stack([np.eye(2), -np.ones(2)]), np.column_stack([np.eye(2), -np.ones(2)]))
    inverse = np.diag(1 / table.ravel())
    simple = contrast @ inverse @ contrast.T / 200
    actual = contrast @ inverse @ covariance @ inverse @ contrast.T
    roots = np.linalg.eigvals(np.linalg.solve(simple, actual)).real
    assert found.mean_design_effect == pytest.approx(roots.mean(), rel=1e-9)
    assert found.df1 == pytest.approx(roots.sum() ** 2 / (roots**2).sum(), rel=1e-9)
    assert found.df1 < 4


def test_rows_and_columns_change_places() -> None:
    table = _table(5, 2, 4)
    covariance = 1.7 * _simple(table, 90)
    order = np.arange(8).reshape(2, 4).T.ravel()
    turned = rao_scott(table.T, covariance[np.ix_(order, order)], n=90, df=12.0)
    assert turned.statistic == pytest.approx(rao_scott(table, covariance, n=90, df=12.0).statistic, rel=1e-10)
