"""Replicate weights against closed forms and the linearised variance of totals."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from gbveval.numerics.replicate_weights import Replicates, given_replicates, jackknife, rescaled_bootstrap
from gbveval.numerics.survey import sample_design, unit_influence


def _design(fraction: bool = False):
    stratum = np.repeat([0, 0, 0, 1, 1, 1, 1], 3)
    psu = np.repeat(np.arange(7), 3)
    sizes = [np.where(stratum == 0, 9.0, 16.0)] if fraction else []
    return sample_design(21, psu=psu, stratum=stratum, populations=sizes)


def _variance(replicates: Replicates, y: np.ndarray, weights: np.ndarray) -> float:
    replicated = (replicates.weights.T @ y)[:, None]
    return float((replicates.deviations(np.array([weights @ y]), replicated) ** 2).sum())


@pytest.mark.parametrize("fraction", [False, True])
def test_the_jackknife_of_a_total_is_the_linearised_variance(fraction: bool) -> None:
    """A total is linear, so leaving out one unit at a time tells its variance exactly."""
    rng = np.random.default_rng(5)
    y, w, design = rng.normal(size=21), rng.uniform(1, 3, 21), _design(fraction)
    linear = float((unit_influence(design, w * y) ** 2).sum())
    assert _variance(jackknife(design, w), y, w) == pytest.approx(linear, rel=1e-12)


def test_the_jackknife_of_a_mean_is_the_textbook_variance() -> None:
    y = np.array([3.0, 1.0, 4.0, 1.0, 5.0])
    found = jackknife(sample_design(5), np.ones(5))
    means = (found.weights.T @ y / found.weights.sum(axis=0))[:, None]
    variance = float((found.deviations(np.array([y.mean()]), means) ** 2).sum())
    assert variance == pytest.approx(y.var(ddof=1) / 5, rel=1e-12)
    centred = replace(found, centre="mean")
    # Replicates of a mean average to the mean, so the centre does not matter here.
    assert float((centred.deviations(np.array([y.mean()]), means) ** 2).sum()) == pytest.approx(variance, rel=1e-12)


@pytest.mark.parametrize("fraction", [False, True])
def test_the_bootstrap_of_a_total_is_the_linearised_variance_on_average(fraction: bool) -> None:
    rng = np.random.default_rng(6)
    y, w, design = rng.normal(size=21), rng.uniform(1, 3, 21), _design(fraction)
    linear = float((unit_influence(design, w * y) ** 2).sum())
    count = 20_000
    found = rescaled_bootstrap(design, w, count=count, rng=np.random.default_rng(7))
    squares = (found.weights.T @ y - w @ y) ** 2
    # Five Monte Carlo standard errors of the mean of the squared deviations.
    assert abs(_variance(found, y, w) - linear) < 5 * squares.std() / np.sqrt(count)
    assert (found.weights >= 0).all() or fraction


def test_degrees_of_freedom_are_units_minus_strata() -> None:
    made = jackknife(_design(), np.ones(21))
    assert made.df == 5.0
    # Weights of replicates span one direction a unit, less one a stratum, and their own sum.
    assert given_replicates(made.weights, made.scale).df == 5.0
