"""REML against dense matrices, Kenward-Roger and Satterthwaite against their definitions, and against statsmodels."""

from __future__ import annotations

import numpy as np
import pytest
import statsmodels.api as sm
from numpy.typing import NDArray

from gbveval.numerics.mixed_inference import kenward_roger, satterthwaite
from gbveval.numerics.mixed_linear import NoMaximumError, fit_mixed_linear, mixed_sums, pieces, reml_criterion
from gbveval.numerics.random_intercepts import crossed, make_batches

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.intp]


def stepped(seed: int, clusters: int = 12, periods: int = 4) -> tuple[FloatArray, FloatArray, IntArray]:
    """Return columns, outcome and codes (cluster, cluster by period) of a stepped wedge with uneven cells."""
    rng = np.random.default_rng(seed)
    cell = np.repeat(np.arange(clusters * periods), rng.integers(1, 7, clusters * periods))
    cluster, period = cell // periods, cell % periods
    treated = (period > cluster % (periods - 1)).astype(float)
    dummies = (period[:, None] == np.arange(1, periods)).astype(float)
    design = np.column_stack([treated, dummies, rng.normal(size=cell.size)])
    y = 100 + treated + 0.8 * rng.normal(size=clusters)[cluster] + 0.6 * rng.normal(size=clusters * periods)[cell]
    return design, y + rng.normal(size=cell.size), np.column_stack([cluster, cell])


def crossing(seed: int) -> tuple[FloatArray, FloatArray, IntArray]:
    """Return a design with two random intercepts that are crossed, not nested."""
    rng = np.random.default_rng(seed)
    first, second = rng.integers(0, 8, 150), rng.integers(0, 6, 150)
    design = np.column_stack([(first % 2).astype(float), rng.normal(size=150)])
    y = design @ [1.0, 0.5] + rng.normal(size=8)[first] + rng.normal(size=6)[second] + rng.normal(size=150)
    return design, y, np.column_stack([first, second])


class Dense:
    """The model with n-by-n matrices, variances in units of the residual variance."""

    def __init__(self, design: FloatArray, y: FloatArray, codes: IntArray, ratios: FloatArray) -> None:
        self.x = np.column_stack([np.ones(len(y)), design])
        same = [np.equal.outer(codes[:, j], codes[:, j]).astype(float) for j in range(codes.shape[1])]
        self.g = [np.eye(len(y)), *same]
        self.v = np.eye(len(y)) + sum(r * z for r, z in zip(ratios, same, strict=True))
        self.inverse = np.linalg.inv(self.v)
        self.phi = np.linalg.inv(self.x.T @ self.inverse @ self.x)
        self.p = self.inverse - self.inverse @ self.x @ self.phi @ self.x.T @ self.inverse
        self.beta = self.phi @ self.x.T @ self.inverse @ y
        self.y = y
        self.variance = float(y @ self.p @ y) / (len(y) - self.x.shape[1])

    def criterion(self) -> float:
        free = len(self.y) - self.x.shape[1]
        dets = np.linalg.slogdet(self.v)[1] - np.linalg.slogdet(self.phi)[1]
        return float(dets + free * (1 + np.log(2 * np.pi * self.variance)))

    def kenward_roger(self) -> tuple[FloatArray, FloatArray]:
        """Return covariance and df from the formulas of the paper, variances on their own scale."""
        s = self.variance
        vi, phi = self.inverse / s, self.phi * s
        p = [-self.x.T @ vi @ g @ vi @ self.x for g in self.g]
        q = [[self.x.T @ vi @ a @ vi @ b @ vi @ self.x for b in self.g] for a in self.g]
        pp = self.p / s
        info = np.array([[0.5 * np.trace(pp @ a @ pp @ b) for b in self.g] for a in self.g])
        w = np.linalg.inv(info)
        u = sum(w[i, j] * (q[i][j] - p[i] @ phi @ p[j]) for i in range(len(p)) for j in range(len(p)))
        df = []
        for k in range(phi.shape[0]):
            theta = np.zeros_like(phi)
            theta[k, k] = 1.0 / phi[k, k]
            a2 = sum(
                w[i, j] * np.trace(theta @ phi @ p[i] @ phi @ theta @ phi @ p[j] @ phi)
                for i in range(len(p))
                for j in range(len(p))
            )
            b = 7.0 * a2 / 2.0
            mean, var = 1.0 / (1.0 - a2), 2.0 * (1.0 - b / 7.0) / ((1.0 - 2.0 * b / 7.0) ** 2 * (1.0 - 4.0 * b / 7.0))
            df.append(4.0 + 3.0 / (var / (2.0 * mean**2) - 1.0))
        return phi + 2.0 * phi @ u @ phi, np.array(df)


CASES = {"nested": stepped(1), "crossed": crossing(2), "single": (*stepped(3)[:2], stepped(3)[2][:, :1])}


@pytest.mark.parametrize("name", CASES)
def test_criterion_is_that_of_dense_matrices(name: str) -> None:
    design, y, codes = CASES[name]
    sums = mixed_sums(design, y, codes)
    for scale in (0.0, 0.2, 3.0):
        ratios = scale * np.arange(1.0, codes.shape[1] + 1)
        found = pieces(sums, ratios)
        dense = Dense(design, y, codes, ratios)
        # Sums of a few hundred terms in double precision.
        assert reml_criterion(sums, found) == pytest.approx(dense.criterion(), rel=1e-11)
        trace = [np.trace(dense.p @ g) for g in dense.g]
        np.testing.assert_allclose(found.trace, trace, rtol=1e-8, atol=1e-8)
        pair = [[np.trace(dense.p @ a @ dense.p @ b) for b in dense.g] for a in dense.g]
        np.testing.assert_allclose(found.trace_pair, pair, rtol=1e-7, atol=1e-7)
        py = dense.p @ y
        np.testing.assert_allclose(found.quad, [py @ g @ py for g in dense.g], rtol=1e-7, atol=1e-7)
        quads = [[py @ a @ dense.p @ b @ py for b in dense.g] for a in dense.g]
        np.testing.assert_allclose(found.quad_pair, quads, rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize("name", CASES)
def test_fit_and_kenward_roger_are_those_of_dense_matrices(name: str) -> None:
    design, y, codes = CASES[name]
    fit = fit_mixed_linear(mixed_sums(design, y, codes))
    dense = Dense(design, y, codes, fit.ratios)
    np.testing.assert_allclose(fit.beta, dense.beta, rtol=1e-8)
    for j in range(codes.shape[1]):
        for factor in (0.9, 1.1):
            moved = fit.ratios.copy()
            moved[j] = moved[j] * factor if moved[j] > 0 else 0.01
            assert Dense(design, y, codes, moved).criterion() > dense.criterion()
    covariance, df = dense.kenward_roger()
    answer = kenward_roger(fit)
    np.testing.assert_allclose(answer.covariance, covariance, rtol=1e-7, atol=1e-10)
    np.testing.assert_allclose(answer.df, df, rtol=1e-6)


@pytest.mark.parametrize("name", CASES)
def test_satterthwaite_is_the_delta_method_on_the_observed_curvature(name: str) -> None:
    design, y, codes = CASES[name]
    fit = fit_mixed_linear(mixed_sums(design, y, codes))
    scale = np.concatenate([[1.0], fit.ratios]) * fit.residual_variance

    def at(share: FloatArray) -> tuple[float, FloatArray]:
        parts = share * scale
        dense = Dense(design, y, codes, parts[1:] / parts[0])
        free = len(y) - dense.x.shape[1]
        value = dense.criterion() - free * (1 + np.log(dense.variance))
        value += free * np.log(parts[0]) + free * dense.variance / parts[0]
        return float(value), np.diag(dense.phi) * parts[0]

    size = scale.size
    one, step = np.ones(size), 1e-3
    hessian = np.empty((size, size))
    slope = np.empty((size, design.shape[1] + 1))
    for i in range(size):
        e_i = step * np.eye(size)[i]
        slope[i] = (at(one + e_i)[1] - at(one - e_i)[1]) / (2 * step)
        for j in range(size):
            e_j = step * np.eye(size)[j]
            hessian[i, j] = (
                at(one + e_i + e_j)[0] - at(one + e_i - e_j)[0] - at(one - e_i + e_j)[0] + at(one - e_i - e_j)[0]
            ) / (4 * step**2)
    spread = 2.0 * np.linalg.inv(hessian)
    variance = at(one)[1]
    df = 2.0 * variance**2 / np.einsum("ik,ij,jk->k", slope, spread, slope)
    # Second differences with a step of 1e-3 are good to about 1e-5.
    np.testing.assert_allclose(satterthwaite(fit).df, df, rtol=1e-4)


def test_balanced_clusters_give_the_t_test_of_cluster_means() -> None:
    rng = np.random.default_rng(5)
    arm = np.repeat([0.0, 1.0], [5, 6])
    y = rng.normal(size=(11, 1)) + rng.normal(size=(11, 8))
    design = np.repeat(arm, 8)[:, None]
    fit = fit_mixed_linear(mixed_sums(design, y.ravel(), np.repeat(np.arange(11), 8)[:, None]))
    means = y.mean(axis=1)
    pooled = (4 * means[arm == 0].var(ddof=1) + 5 * means[arm == 1].var(ddof=1)) / 9
    error = np.sqrt(pooled * (1 / 5 + 1 / 6))
    for answer in (kenward_roger(fit), satterthwaite(fit)):
        # A closed form: with equal sizes the model is a t test of cluster means, exactly.
        assert fit.beta[1] == pytest.approx(means[arm == 1].mean() - means[arm == 0].mean(), rel=1e-10)
        assert np.sqrt(answer.covariance[1, 1]) == pytest.approx(error, rel=1e-8)
        assert answer.df[1] == pytest.approx(9.0, rel=1e-7)
    between = 8 * means
    expected = (8 * pooled - y.var(axis=1, ddof=1).mean()) / 8
    assert between.size == 11
    assert fit.ratios[0] * fit.residual_variance == pytest.approx(expected, rel=1e-8)


def test_agrees_with_statsmodels() -> None:
    design, y, codes = CASES["single"]
    fit = fit_mixed_linear(mixed_sums(design, y, codes))
    other = sm.MixedLM(y, np.column_stack([np.ones(len(y)), design]), codes[:, 0]).fit(reml=True)
    # statsmodels stops its search early; its likelihood is flat to about 1e-4 there.
    np.testing.assert_allclose(fit.beta, other.fe_params, rtol=1e-3)
    assert -2 * other.llf == pytest.approx(fit.criterion, rel=1e-6)


def test_a_variance_at_the_boundary_is_zero_and_the_fit_is_least_squares() -> None:
    rng = np.random.default_rng(8)
    codes = np.repeat(np.arange(20), 6)[:, None]
    design = rng.normal(size=(120, 1))
    noise = rng.normal(size=(20, 6))
    # Cluster means that are all equal: less between-cluster variation than chance gives.
    y = (noise - noise.mean(axis=1, keepdims=True)).ravel() + design[:, 0]
    fit = fit_mixed_linear(mixed_sums(design, y, codes))
    assert fit.ratios[0] == 0.0
    ols = sm.OLS(y, sm.add_constant(design)).fit()
    np.testing.assert_allclose(fit.beta, ols.params, rtol=1e-10)
    np.testing.assert_allclose(np.sqrt(np.diag(satterthwaite(fit).covariance)), ols.bse, rtol=1e-10)
    np.testing.assert_allclose(satterthwaite(fit).df, 118.0, rtol=1e-9)


def test_an_outcome_that_does_not_vary_within_clusters_has_no_maximum() -> None:
    rng = np.random.default_rng(9)
    codes = np.repeat(np.arange(10), 5)[:, None]
    with pytest.raises(NoMaximumError):
        fit_mixed_linear(mixed_sums(rng.normal(size=(50, 0)), rng.normal(size=10)[codes[:, 0]], codes))


def test_row_order_and_a_large_mean_do_not_matter() -> None:
    design, y, codes = CASES["nested"]
    first = kenward_roger(fit_mixed_linear(mixed_sums(design, y, codes)))
    order = np.random.default_rng(4).permutation(len(y))
    again = kenward_roger(fit_mixed_linear(mixed_sums(design[order], y[order] + 1e5, codes[order])))
    np.testing.assert_allclose(again.covariance[1:, 1:], first.covariance[1:, 1:], rtol=1e-8)
    np.testing.assert_allclose(again.df, first.df, rtol=1e-7)


def test_blocks_are_the_linked_levels() -> None:
    nested = make_batches(CASES["nested"][2])
    assert sum(batch.shape[0] for batch in nested) == 12
    crossed_batches = make_batches(CASES["crossed"][2])
    assert [batch.shape for batch in crossed_batches] == [(1, 14)]
    mixed = make_batches(np.array([[0, 0], [0, 1], [1, 2], [2, 3], [2, 4], [2, 5]]))
    assert sum(batch.rows.size for batch in mixed) == 6
    assert sorted(batch.shape for batch in mixed) == [(1, 2), (2, 4)]


def test_crossed_codes_number_the_combinations() -> None:
    assert crossed([np.array([0, 0, 5, 5]), np.array([1, 1, 1, 0])]).tolist() == [0, 0, 2, 1]


def test_a_residual_lost_in_rounding_has_no_maximum_and_warns_of_nothing() -> None:
    design, y, codes = stepped(11)
    rng = np.random.default_rng(12)
    level = rng.normal(size=12)[codes[:, 0]] + rng.normal(size=48)[codes[:, 1]]
    with pytest.raises(NoMaximumError):
        fit_mixed_linear(mixed_sums(design, level + 1e-8 * y, codes))
