"""Least squares: certified digits, exact rational witnesses, collinear columns, blocks of rows."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
import statsmodels.api as sm
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from gbveval.numerics import least_squares
from gbveval.numerics.least_squares import column_names, fit_least_squares, make_basis

FloatArray = NDArray[np.float64]
# NIST Statistical Reference Datasets, Longley (1967): certified estimates.
LONGLEY = (
    *(-3482258.63459582, 15.0618722713733, -0.358191792925910e-01, -2.02022980381683),
    *(-1.03322686717359, -0.511041056535807e-01, 1829.15146461355),
)


def exact(design: FloatArray, outcome: FloatArray) -> list[Fraction]:
    """Solve the normal equations of the doubles as they are, in rational arithmetic."""
    rows = [[Fraction(1), *(Fraction(float(x)) for x in row)] for row in design]
    y = [Fraction(float(v)) for v in outcome]
    k = len(rows[0])
    table = [
        [sum((r[i] * r[j] for r in rows), Fraction(0)) for j in range(k)]
        + [sum((r[i] * v for r, v in zip(rows, y, strict=True)), Fraction(0))]
        for i in range(k)
    ]
    for i in range(k):
        pivot = next(p for p in range(i, k) if table[p][i] != 0)
        table[i], table[pivot] = table[pivot], table[i]
        for p in range(k):
            if p != i and table[p][i] != 0:
                factor = table[p][i] / table[i][i]
                table[p] = [a - factor * b for a, b in zip(table[p], table[i], strict=True)]
    return [table[i][k] / table[i][i] for i in range(k)]


def digits(found: float, true: Fraction | float) -> float:
    """Return how many significant digits agree."""
    if Fraction(found) == Fraction(true):
        return 16.0
    return float(-np.log10(abs(float((Fraction(found) - Fraction(true)) / Fraction(true)))))


def test_longley_keeps_its_certified_digits() -> None:
    data = sm.datasets.longley.load_pandas()
    design, y = data.exog.to_numpy(float), data.endog.to_numpy(float)
    fit = fit_least_squares(design, y)
    witness = exact(design, y)
    for found, certified, true in zip(fit.beta[:, 0], LONGLEY, witness, strict=True):
        # The certified values are printed with fifteen digits.
        assert digits(float(true), certified) > 14
        assert digits(float(found), certified) >= 10.8
    residual = fit.residuals(design, y)
    assert digits(float(np.sqrt(residual @ residual / 9)), 304.854073561965) > 10


@pytest.mark.parametrize("offset", [0.0, 1e6, 1e9, 1e12])
def test_a_large_constant_costs_only_the_digits_it_stores(offset: float) -> None:
    # As in NIST's SmLs sets: one digit of signal behind many leading ones.
    rng = np.random.default_rng(1)
    group = np.tile(np.arange(3), 63)
    y = offset + 0.1 * (group % 3) + 0.1 * rng.integers(1, 9, group.size)
    design = np.column_stack([(group == g).astype(float) for g in (1, 2)])
    fit = fit_least_squares(design, y)
    true = exact(design, y)
    # Doubles store y to 2^-53 of the offset; the exact answer is for the doubles, and centring may lose about that.
    available = 14.5 - np.log10(max(offset, 1.0))
    for found, expected in zip(fit.beta[1:, 0], true[1:], strict=True):
        error = abs(float(Fraction(float(found)) - expected))
        assert error <= 10 ** -max(available, 1.0) * 10


@pytest.mark.parametrize("offset", [1e4, 1e7])
def test_columns_far_from_zero(offset: float) -> None:
    rng = np.random.default_rng(2)
    design = offset + rng.normal(size=(40, 3))
    y = design @ [1.0, -2.0, 0.5] + rng.normal(size=40)
    fit = fit_least_squares(design, y)
    for found, true in zip(fit.beta[1:, 0], exact(design, y)[1:], strict=True):
        assert digits(float(found), true) > 7


def test_coefficients_and_residuals_are_those_of_statsmodels() -> None:
    rng = np.random.default_rng(3)
    design, outcomes = rng.normal(size=(200, 4)), rng.normal(size=(200, 2))
    weights = rng.uniform(0.2, 3.0, 200)
    for w in (None, weights):
        fit = fit_least_squares(design, outcomes, weights=w)
        for j in range(2):
            model = sm.WLS(outcomes[:, j], sm.add_constant(design), weights=1.0 if w is None else w).fit()
            np.testing.assert_allclose(fit.beta[:, j], model.params, rtol=1e-9, atol=1e-12)
            np.testing.assert_allclose(fit.residuals(design, outcomes)[:, j], model.resid, atol=1e-10)
        gram = np.linalg.inv(sm.add_constant(design).T @ (sm.add_constant(design) * (1.0 if w is None else w[:, None])))
        lift = fit.basis.to_original
        np.testing.assert_allclose(lift @ fit.basis.gram_inverse @ lift.T, gram, rtol=1e-8, atol=1e-14)


def test_without_an_intercept() -> None:
    rng = np.random.default_rng(4)
    design, y = rng.normal(size=(50, 3)) + 2.0, rng.normal(size=50)
    fit = fit_least_squares(design, y, intercept=False)
    np.testing.assert_allclose(fit.beta[:, 0], np.linalg.lstsq(design, y, rcond=None)[0], rtol=1e-9)


def test_blocks_of_rows_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(5)
    design, y = rng.normal(size=(101, 3)), rng.normal(size=101)
    whole = fit_least_squares(design, y)
    monkeypatch.setattr(least_squares, "BLOCK_ROWS", 7)
    monkeypatch.setattr(least_squares.blocks, "__defaults__", (7,))
    parts = fit_least_squares(design, y)
    np.testing.assert_allclose(parts.beta, whole.beta, rtol=1e-12)


# -- rank -----------------------------------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 4), st.integers(1, 3), st.floats(1e-3, 1e3), st.floats(-1e3, 1e3))
def test_later_copies_are_dropped_and_change_nothing(seed: int, k: int, extra: int, scale: float, shift: float) -> None:
    rng = np.random.default_rng(seed)
    design = rng.normal(size=(40, k))
    combinations = shift + scale * design @ rng.normal(size=(k, extra))
    y = rng.normal(size=40)
    fit = fit_least_squares(np.column_stack([design, combinations]), y)
    assert fit.basis.kept.tolist() == list(range(k))
    assert fit.basis.dropped.tolist() == list(range(k, k + extra))
    np.testing.assert_allclose(fit.beta, fit_least_squares(design, y).beta, rtol=1e-7, atol=1e-9)


def test_dropped_columns_are_named_in_order() -> None:
    x = np.arange(10.0)
    design = np.column_stack([x, np.full(10, 3.0), x**2, 2 * x + 1, np.zeros(10)])
    fit = fit_least_squares(design, x)
    kept, dropped = column_names(("x", "constant", "square", "twice", "zero"), fit.basis)
    assert kept == ["intercept", "x", "square"]
    assert dropped == ["constant", "twice", "zero"]


def test_constants_of_any_size_are_constants() -> None:
    for value in (0.1, 1e-300, 1e15, -7.3):
        basis = make_basis(np.column_stack([np.full(1000, value), np.arange(1000.0)]))
        assert basis.dropped.tolist() == [0], value


def test_what_is_nearly_collinear_but_not_is_kept() -> None:
    rng = np.random.default_rng(6)
    x = rng.normal(size=500)
    design = np.column_stack([x, x + 1e-4 * rng.normal(size=500)])
    y = rng.normal(size=500)
    fit = fit_least_squares(design, y)
    assert fit.basis.kept.tolist() == [0, 1]
    for found, true in zip(fit.beta[1:, 0], exact(design, y)[1:], strict=True):
        assert digits(float(found), true) > 6


def test_no_columns_and_one_row() -> None:
    y = np.array([1.0, 2.0, 6.0])
    fit = fit_least_squares(np.zeros((3, 0)), y)
    assert fit.beta[:, 0].tolist() == [3.0]
    lone = fit_least_squares(np.array([[2.0]]), np.array([5.0]))
    assert lone.basis.kept.size == 0
    assert lone.beta[0, 0] == 5.0


def test_more_columns_than_rows() -> None:
    rng = np.random.default_rng(7)
    fit = fit_least_squares(rng.normal(size=(4, 9)), rng.normal(size=4))
    assert fit.k == 4
    assert np.isfinite(fit.beta).all()
