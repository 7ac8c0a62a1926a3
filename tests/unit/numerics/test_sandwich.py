"""HC1 to HC3 against statsmodels, with weights, leverage one and several outcomes."""

from __future__ import annotations

import numpy as np
import pytest
import statsmodels.api as sm

from gbveval.numerics.least_squares import fit_least_squares
from gbveval.numerics.sandwich import heteroskedasticity_robust


def data(seed: int = 0, n: int = 60) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    design = rng.normal(size=(n, 3)) * [1.0, 10.0, 0.1] + [5.0, -100.0, 0.0]
    y = design @ [1.0, 0.1, -3.0] + rng.normal(size=n) * (1 + np.abs(design[:, 0]))
    return design, y, rng.uniform(0.1, 4.0, n)


@pytest.mark.parametrize("kind", ["HC1", "HC2", "HC3"])
@pytest.mark.parametrize("weighted", [False, True])
def test_covariances_are_those_of_statsmodels(kind: str, weighted: bool) -> None:
    design, y, w = data()
    weights = w if weighted else None
    fit = fit_least_squares(design, y, weights=weights)
    robust = heteroskedasticity_robust(fit, design, y, kind=kind, weights=weights)
    model = sm.WLS(y, sm.add_constant(design), weights=w if weighted else 1.0).fit(cov_type=kind)
    np.testing.assert_allclose(robust.covariance[:, :, 0], model.cov_params(), rtol=1e-7, atol=1e-12)


@pytest.mark.parametrize("kind", ["HC1", "HC2", "HC3"])
def test_influence_has_the_covariance_as_cross_product(kind: str) -> None:
    design, y, _ = data(1)
    outcomes = np.column_stack([y, y**2])
    fit = fit_least_squares(design, outcomes)
    robust = heteroskedasticity_robust(fit, design, outcomes, kind=kind)
    for j in range(2):
        part = robust.influence[:, :, j]
        np.testing.assert_allclose(part.T @ part, robust.covariance[:, :, j], rtol=1e-12)
        alone = heteroskedasticity_robust(fit_least_squares(design, outcomes[:, j]), design, outcomes[:, j], kind=kind)
        np.testing.assert_allclose(alone.covariance[:, :, 0], robust.covariance[:, :, j], rtol=1e-9)


def test_hc2_of_two_groups_is_the_neyman_variance() -> None:
    rng = np.random.default_rng(2)
    treated = np.arange(30) % 3 == 0
    y = rng.normal(size=30)
    design = treated.astype(float)[:, None]
    robust = heteroskedasticity_robust(fit_least_squares(design, y), design, y)
    expected = y[treated].var(ddof=1) / treated.sum() + y[~treated].var(ddof=1) / (~treated).sum()
    assert robust.covariance[1, 1, 0] == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("kind", ["HC2", "HC3"])
def test_rows_fitted_exactly_are_counted_and_harm_nothing(kind: str) -> None:
    design, y, _ = data(3)
    own = np.zeros((60, 1))
    own[7] = 1.0
    full = np.column_stack([design, own])
    robust = heteroskedasticity_robust(fit_least_squares(full, y), full, y, kind=kind)
    assert robust.full_leverage == 1
    assert np.isfinite(robust.covariance).all()
    # Without that row the other coefficients are the same, and so is their covariance.
    keep = np.arange(60) != 7
    rest = heteroskedasticity_robust(fit_least_squares(design[keep], y[keep]), design[keep], y[keep], kind=kind)
    np.testing.assert_allclose(robust.covariance[:4, :4, 0], rest.covariance[:, :, 0], rtol=1e-7, atol=1e-12)


def test_weights_of_any_scale_give_the_same_covariance() -> None:
    design, y, w = data(4)
    found = [
        heteroskedasticity_robust(fit_least_squares(design, y, weights=c * w), design, y, weights=c * w).covariance
        for c in (1.0, 1e-6, 1e6)
    ]
    np.testing.assert_allclose(found[1], found[0], rtol=1e-8)
    np.testing.assert_allclose(found[2], found[0], rtol=1e-8)


def test_unknown_kinds_are_refused() -> None:
    design, y, _ = data()
    for kind in ("HC4", "hc2", "CR2", ""):
        with pytest.raises(ValueError, match="HC0, HC1, HC2, HC3"):
            heteroskedasticity_robust(fit_least_squares(design, y), design, y, kind=kind)
