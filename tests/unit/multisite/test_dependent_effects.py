"""Several effects a study: the likelihood by brute force, the robust variance by special cases, and refusals."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

import gbveval as gbv
from gbveval.numerics.cluster_sandwich import bias_reduced, cross_products
from gbveval.numerics.least_squares import fit_least_squares
from gbveval.numerics.nested_effects import _evaluate, fit_nested_effects, marginal_covariance
from gbveval.numerics.robust_effects import robust_effects

RNG = np.random.default_rng(5)
STUDY = np.array([0, 0, 0, 1, 1, 2, 3, 3, 3, 3, 4, 5, 5])
K = STUDY.size
Y = 0.4 * RNG.normal(size=6)[STUDY] + 0.2 * RNG.normal(size=K)
V = RNG.uniform(0.01, 0.06, K)
X = np.column_stack([np.ones(K), RNG.normal(size=K)])


def sites(**more: object) -> gbv.SiteEffects:
    frame = {"y": Y, "se": np.sqrt(V), "paper": [f"p{i}" for i in STUDY], "z": X[:, 1]}
    roles = {"study": "paper"} | more
    return gbv.SiteEffects(frame, estimate="y", std_error="se", **roles)  # type: ignore[arg-type]


def brute(between: float, within: float) -> float:
    v = marginal_covariance(V, STUDY, between, within)
    inverse = np.linalg.inv(v)
    b = np.linalg.solve(X.T @ inverse @ X, X.T @ inverse @ Y)
    e = Y - X @ b
    volumes = np.linalg.slogdet(v)[1] + np.linalg.slogdet(X.T @ inverse @ X)[1] - np.linalg.slogdet(X.T @ X)[1]
    return float(-0.5 * ((K - 2) * np.log(2 * np.pi) + volumes + e @ inverse @ e))


@settings(max_examples=25, deadline=None)
@given(st.floats(0, 1), st.floats(0, 1))
def test_the_restricted_likelihood_against_dense_matrices(between: float, within: float) -> None:
    found = _evaluate(Y, V, X, STUDY, between, within)
    assert found.log_likelihood == pytest.approx(brute(between, within), abs=1e-9)
    step = 1e-5
    # Central differences of a smooth function of order one are right to about the square of the step.
    slopes = [
        (brute(between + step, within) - brute(between - step, within)) / (2 * step),
        (brute(between, within + step) - brute(between, within - step)) / (2 * step),
    ]
    assert found.score == pytest.approx(slopes, rel=1e-5, abs=1e-5)


def test_the_maximum_is_one() -> None:
    fit = fit_nested_effects(Y, V, X, STUDY)
    best = brute(fit.between, fit.within)
    grid = [0.0, *np.geomspace(1e-4, 2, 25)]
    assert max(brute(a, b) for a in grid for b in grid) <= best + 1e-10


def test_rows_in_another_order_and_units() -> None:
    order = np.random.default_rng(1).permutation(K)
    first, second = fit_nested_effects(Y, V, X, STUDY), fit_nested_effects(Y[order], V[order], X[order], STUDY[order])
    # The search stops where a step gains less than rounding: half the digits of a maximum's place.
    assert second.between == pytest.approx(first.between, rel=1e-5)
    third = fit_nested_effects(10 * Y, 100 * V, X, STUDY)
    assert third.between == pytest.approx(100 * first.between, rel=1e-5)


def test_with_equal_working_variances_it_is_the_cr2_of_least_squares() -> None:
    fit = fit_least_squares(X, Y[:, None])
    known = bias_reduced(fit, cross_products(fit, X, Y[:, None], STUDY, 6))
    value, found = robust_effects(Y, X, np.eye(K) * 0.3, STUDY)
    assert value == pytest.approx(np.linalg.lstsq(X, Y, rcond=None)[0], rel=1e-10)
    np.testing.assert_allclose(found.covariance[:, :, 0], known.covariance[:, :, 0], rtol=1e-8)
    np.testing.assert_allclose(found.df, known.df, rtol=1e-8)


def test_the_robust_variance_is_unbiased_when_the_working_model_is_right() -> None:
    # E(V) under the working covariance is linear in the outer product of the errors, so it needs no simulation.
    working = marginal_covariance(V, STUDY, 0.1, 0.03)
    unscaled = np.linalg.inv(X.T @ np.linalg.solve(working, X))
    root = np.linalg.cholesky(working)
    total = sum(robust_effects(root[:, j], X, working, STUDY)[1].covariance[:, :, 0] for j in range(K))
    np.testing.assert_allclose(total, unscaled, rtol=1e-8)


def test_the_working_model_changes_weights_not_validity() -> None:
    multilevel = gbv.RobustEffects().estimate(sites())
    independent = gbv.RobustEffects("random_effects").estimate(sites())
    assert multilevel.values[0] != independent.values[0]
    assert multilevel.terms[0].n_clusters == 6
    assert multilevel["average effect"].df < 6


def test_studies_of_one_size_are_a_t_test_of_their_means() -> None:
    y = np.array([0.1, 0.5, 0.9, 0.7, -0.2, 0.4, 0.3, 0.3])
    frame = {"y": y, "se": np.full(8, 0.1), "paper": list("aabbccdd")}
    data = gbv.SiteEffects(frame, estimate="y", std_error="se", study="paper")
    means = y.reshape(4, 2).mean(axis=1)
    row = gbv.RobustEffects().estimate(data)[0]
    assert row.df == pytest.approx(3.0, rel=1e-9)
    assert row.std_error == pytest.approx(means.std(ddof=1) / 2.0, rel=1e-9)
    # And so says the three-level model, whose variance of a mean is estimated from the same means.
    model = gbv.MultilevelEffects().estimate(data)[0]
    assert model.std_error == pytest.approx(means.std(ddof=1) / 2.0, rel=1e-5)


def test_single_rows_with_the_independent_model_are_hartung_knapp_like() -> None:
    frame = {"y": Y[:8], "se": np.full(8, 0.2), "paper": list("abcdefgh")}
    data = gbv.SiteEffects(frame, estimate="y", std_error="se", study="paper")
    robust = gbv.RobustEffects("random_effects").estimate(data)[0]
    plain = gbv.RandomEffects().estimate(data)[0]
    # Equal errors: both are the t interval of the effects.
    assert robust.std_error == pytest.approx(plain.std_error, rel=1e-9)
    assert robust.df == pytest.approx(plain.df, rel=1e-9)


def test_a_moderator_and_its_joint_test() -> None:
    answer = gbv.RobustEffects().estimate(sites(moderators=["z"]))
    joint, slope = answer["all moderators"], answer.index("slope of z")
    assert joint.statistic == pytest.approx(answer.tests().statistic[slope] ** 2, rel=1e-9)
    assert joint.df2 == pytest.approx(answer.terms[slope].df, rel=1e-9)
    crude = gbv.RobustEffects(small_sample="CR1").estimate(sites(moderators=["z"]))
    assert crude["slope of z"].df == 4.0
    assert crude["all moderators"].df2 == 4.0
    assert answer.check("few studies a moderator").status == "warn"


def test_few_degrees_of_freedom_are_said() -> None:
    frame = {"y": Y[:6], "se": np.sqrt(V[:6]), "paper": list("aaabbc")}
    data = gbv.SiteEffects(frame, estimate="y", std_error="se", study="paper")
    assert gbv.RobustEffects().estimate(data).check("degrees of freedom").status == "warn"


def test_rows_of_the_three_level_model() -> None:
    answer = gbv.MultilevelEffects("normal").estimate(sites())
    assert [row.term for row in answer.terms] == [
        "average effect",
        "effect in a new study",
        "between-study sd",
        "within-study sd",
    ]
    low, high = answer.intervals()
    between, within = answer["between-study sd"].value, answer["within-study sd"].value
    assert between is not None
    assert within is not None
    error = answer["average effect"].std_error
    assert error is not None
    reach = stats.norm.ppf(0.975) * np.sqrt(between**2 + within**2 + error**2)
    assert high[1] - low[1] == pytest.approx(2 * reach, rel=1e-9)
    assert answer.check("few studies").status == "warn"


def test_refusals() -> None:
    plain = gbv.SiteEffects({"y": Y, "se": np.sqrt(V)}, estimate="y", std_error="se")
    for model in (gbv.MultilevelEffects(), gbv.RobustEffects()):
        with pytest.raises(gbv.DesignError, match="needs the role study"):
            model.estimate(plain)
        one = gbv.SiteEffects({"y": Y[:3], "se": V[:3], "p": ["a"] * 3}, estimate="y", std_error="se", study="p")
        with pytest.raises(gbv.IdentificationError, match="1 studies are too few"):
            model.estimate(one)
    single = gbv.SiteEffects({"y": Y[:3], "se": V[:3], "p": list("abc")}, estimate="y", std_error="se", study="p")
    with pytest.raises(gbv.IdentificationError, match="single row"):
        gbv.MultilevelEffects().estimate(single)
    with pytest.raises(gbv.DesignError, match="working_model"):
        gbv.RobustEffects("CHE")
    with pytest.raises(gbv.DesignError, match="inference"):
        gbv.MultilevelEffects("z")


def test_a_study_named_like_html_is_never_shown() -> None:
    frame = {"y": Y, "se": np.sqrt(V), "paper": [f"<img src=x>{i}" for i in STUDY]}
    data = gbv.SiteEffects(frame, estimate="y", std_error="se", study="paper")
    for model in (gbv.MultilevelEffects(), gbv.RobustEffects()):
        answer = model.estimate(data)
        assert "img" not in answer._repr_html_() + answer.summary() + answer.to_json()
