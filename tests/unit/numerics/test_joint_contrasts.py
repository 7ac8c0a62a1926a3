"""Contrasts of one regression against closed forms, the cluster formulas, dense matrices and simulation."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from gbveval.core.replicate import binomial_band
from gbveval.numerics import joint_contrasts as module
from gbveval.numerics.joint_contrasts import enlarged, joint_contrasts

EFFECTS = slice(0, 3)
TESTED = np.array([[-1.0, 1.0, 0.0, 0.0], [-1.0, 0.0, 1.0, 0.0]])


def study(seed: int, n: int = 90, slope: bool = True):
    """Return design (two indicators, three arm-by-subgroup columns, a covariate), outcome and contrasts."""
    rng = np.random.default_rng(seed)
    s, a, x = rng.integers(0, 3, n), rng.integers(0, 2, n), rng.normal(size=n)
    columns = [s == 1, s == 2, *[(a == 1) & (s == j) for j in range(3)]]
    design = np.column_stack([*columns, x] if slope else columns).astype(float)
    contrasts = np.zeros((4, design.shape[1]))
    contrasts[:3, 2:5] = np.eye(3)
    contrasts[3, 2:5] = np.bincount(s) / n
    return design, x + 0.5 * a * (s - 1) + rng.normal(size=n) * (1 + s), contrasts, s, a


def test_units_are_clusters_of_one():
    design, y, contrasts, _, _ = study(1)
    here = joint_contrasts(design, y, contrasts, TESTED, families=[EFFECTS])
    there = joint_contrasts(
        design, y, contrasts, TESTED, families=[EFFECTS], cluster=np.arange(y.size), n_clusters=y.size
    )
    for name in ("value", "covariance", "influence", "df"):
        np.testing.assert_allclose(getattr(here, name), getattr(there, name), rtol=1e-9, atol=1e-12)
    for name in ("statistic", "df2", "p_value"):
        assert getattr(here.test, name) == pytest.approx(getattr(there.test, name), rel=1e-9)
    assert here.family_df[0] == pytest.approx(there.family_df[0], rel=1e-9)


def test_degrees_of_freedom_of_a_saturated_model_have_a_closed_form():
    design, y, contrasts, s, a = study(2, slope=False)
    found = joint_contrasts(design, y, contrasts, TESTED, families=[EFFECTS])
    df = []
    for j in range(3):
        sizes = np.array([np.sum((s == j) & (a == arm)) for arm in (0, 1)], dtype=float)
        # Equal variances as the working model: (1/n + 1/m)^2 / (1/(n^2 (n - 1)) + 1/(m^2 (m - 1))).
        df.append(np.sum(1 / sizes) ** 2 / np.sum(1 / (sizes**2 * (sizes - 1))))
        groups = [y[(s == j) & (a == arm)] for arm in (1, 0)]
        welch = stats.ttest_ind(*groups, equal_var=False)
        assert found.value[j] / np.sqrt(found.covariance[j, j]) == pytest.approx(welch.statistic, rel=1e-10)
    np.testing.assert_allclose(found.df[:3], df, rtol=1e-10)
    # Independent estimates: eta = S (S + 1) / sum(2 / df).
    assert found.family_df[0] == pytest.approx(12 / np.sum(2 / np.array(df)), rel=1e-10)
    assert abs(found.covariance[0, 1]) < 1e-12 * found.covariance[0, 0]


def test_wishart_df_follows_its_definition_with_dense_matrices(monkeypatch):
    design, y, contrasts, _, _ = study(3, n=40)
    found = joint_contrasts(design, y, contrasts, TESTED, families=[EFFECTS])
    X = np.column_stack([np.ones(40), design])
    bread = np.linalg.inv(X.T @ X)
    H = X @ bread @ X.T
    c = np.column_stack([np.zeros(4), contrasts])[:3]
    a = (X @ bread @ c.T) / np.sqrt(1 - np.diag(H))[:, None]
    # V = sum_i a_i a_i' e_i^2 with e = (I - H) eps, eps standard normal; Omega its mean.
    omega = a.T @ (a * (1 - np.diag(H))[:, None])
    values, vectors = np.linalg.eigh(omega)
    a = a @ (vectors / np.sqrt(values)) @ vectors.T
    total = 0.0
    M = np.eye(40) - H
    for s in range(3):
        for t in range(3):
            A = M @ np.diag(a[:, s] * a[:, t]) @ M
            # The variance of a quadratic form e'Ae of standard normals.
            total += 2 * np.trace(A @ A)
    assert found.family_df[0] == pytest.approx(3 * 4 / total, rel=1e-9)
    # The other way to the same sum.
    monkeypatch.setattr(module, "_pair_squares", lambda a, z: float(np.sum(((z @ z.T) * (a @ a.T)) ** 2)))
    assert joint_contrasts(design, y, contrasts, TESTED, families=[EFFECTS]).family_df == pytest.approx(found.family_df)


@pytest.mark.parametrize("n", [30, 3000])
def test_both_ways_to_the_squares_of_pairs_agree(n):
    rng = np.random.default_rng(5)
    a, z = rng.normal(size=(n, 3)), rng.normal(size=(n, 4))
    wanted = np.sum(((z @ z.T) * (a @ a.T)) ** 2)
    assert module._pair_squares(a, z) == pytest.approx(float(wanted), rel=1e-10)


def test_many_clusters_agree_with_few(monkeypatch):
    from gbveval.numerics import linear_inference

    design, y, contrasts, _, _ = study(6, n=600)
    cluster = np.arange(600) // 3
    few = joint_contrasts(design, y, contrasts, TESTED, families=[EFFECTS], cluster=cluster, n_clusters=200)
    monkeypatch.setattr(linear_inference, "MANY_CLUSTERS", 100)
    many = joint_contrasts(design, y, contrasts, TESTED, families=[EFFECTS], cluster=cluster, n_clusters=200)
    np.testing.assert_allclose(many.covariance, few.covariance, rtol=1e-9)
    np.testing.assert_allclose(many.df[:3], few.df[:3], rtol=1e-7)
    assert many.family_df == (np.inf,)
    # Hotelling's test with the smallest df is close where there are many clusters.
    assert many.test.p_value == pytest.approx(few.test.p_value, abs=0.01)


def test_weights_of_whole_numbers_give_the_estimates_of_repeated_rows():
    design, y, contrasts, _, _ = study(7)
    w = np.random.default_rng(7).integers(1, 4, y.size)
    found = joint_contrasts(design, y, contrasts, TESTED, weights=w.astype(float))
    rows = np.repeat(np.arange(y.size), w)
    repeated = joint_contrasts(design[rows], y[rows], contrasts, TESTED)
    np.testing.assert_allclose(found.value, repeated.value, rtol=1e-9)


def test_a_dropped_column_changes_nothing():
    design, y, contrasts, _, _ = study(8)
    doubled = np.column_stack([design, 2 * design[:, 5]])
    more = np.column_stack([contrasts, np.zeros(4)])
    np.testing.assert_allclose(
        joint_contrasts(doubled, y, more, TESTED).covariance,
        joint_contrasts(design, y, contrasts, TESTED).covariance,
        rtol=1e-9,
    )


def test_the_test_holds_its_level_with_few_units():
    rejected = []
    for rng in np.random.default_rng(9).spawn(1500):
        s, a = np.repeat([0, 1, 2], [24, 12, 12]), np.tile([0, 1], 24)
        design = np.column_stack([s == 1, s == 2, *[(a == 1) & (s == j) for j in range(3)]]).astype(float)
        contrasts = np.column_stack([np.zeros((3, 2)), np.eye(3)])
        found = joint_contrasts(design, rng.normal(size=48), contrasts, TESTED[:, :3])
        rejected.append(found.test.p_value < 0.05)
    # The approximate Hotelling test errs towards not rejecting.
    assert np.mean(rejected) <= binomial_band(0.055, 1500, false_alarm=1e-5)[1]
    assert np.mean(rejected) >= binomial_band(0.03, 1500, false_alarm=1e-5)[0]


def test_enlarging_makes_the_inverse_right_on_average():
    rng = np.random.default_rng(10)
    size, df = 3, 12
    truth = np.array([[1.0, 0.5, 0.2], [0.5, 2.0, 0.3], [0.2, 0.3, 1.5]])
    root = np.linalg.cholesky(truth)
    inverses = []
    for _ in range(4000):
        z = root @ rng.normal(size=(size, df))
        made = enlarged(z @ z.T / df, np.full(size, float(df)), float(df))
        assert made is not None
        inverses.append(np.linalg.inv(made))
    error = np.std(inverses, axis=0) / np.sqrt(4000)
    assert np.all(np.abs(np.mean(inverses, axis=0) - np.linalg.inv(truth)) < 5 * error)


def test_enlarging_independent_estimates_is_the_variance_of_each_t():
    df = np.array([5.0, 10.0, 60.0])
    made = enlarged(np.diag([1.0, 2.0, 3.0]), df, 12.0 / float(np.sum(2.0 / df)))
    np.testing.assert_allclose(np.diag(made), np.array([1.0, 2.0, 3.0]) * df / (df - 2.0), rtol=1e-12)
    large = enlarged(np.eye(2), np.array([1e9, 1e9]), np.inf)
    np.testing.assert_allclose(large, np.eye(2), rtol=1e-8)


@pytest.mark.parametrize(("df", "joint"), [([2.0, 9.0], 20.0), ([9.0, 9.0], 3.0), ([9.0, 9.0], np.nan)])
def test_too_few_degrees_of_freedom_have_no_answer(df, joint):
    assert enlarged(np.eye(2), np.array(df), joint) is None
