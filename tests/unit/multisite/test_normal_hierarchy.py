"""The public exact hierarchy: labels, privacy of site names, speed of the arithmetic it rests on, and its tables."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate, stats

import gbveval as gbv

SCHOOLS = {"y": [28, 8, -3, 7, -1, 1, 18, 12], "se": [15, 10, 16, 11, 9, 11, 10, 18]}
PRIOR = gbv.HierarchyPrior(gbv.Normal(0, 5), gbv.HalfCauchy(5))


def schools() -> gbv.SiteEffects:
    return gbv.SiteEffects(
        {**SCHOOLS, "site": [f"Town{i}" for i in range(8)]}, estimate="y", std_error="se", site="site"
    )


def test_rows_and_codes() -> None:
    answer = gbv.NormalHierarchy(PRIOR).estimate(schools())
    assert [row.term for row in answer.terms][:3] == ["average effect", "effect in site 01", "effect in site 02"]
    assert answer.terms[-1].term == "between-site sd"
    assert schools().codes["site 03"] == "Town2"
    for text in (answer.summary(), answer.to_json(), repr(answer), answer._repr_html_()):
        assert "Town2" not in text


def test_names_are_shown_only_by_a_policy_that_says_so() -> None:
    sites = schools()
    answer = gbv.NormalHierarchy(PRIOR).estimate(sites)
    hidden = gbv.release(answer, site_names=sites.codes)
    assert "Town2" not in hidden.to_json()
    policy = gbv.Policy().override(reason="All towns agreed in writing.", identify_sites=True)
    shown = gbv.release(answer, policy, site_names=sites.codes)
    assert "Town2" in shown.to_json()
    assert "All towns agreed in writing" in shown.policy


@settings(max_examples=15, deadline=None)
@given(
    st.lists(st.tuples(st.floats(-2, 2), st.floats(0.2, 2)), min_size=2, max_size=5),
    st.floats(0.3, 2),
    st.floats(0.3, 2),
)
def test_average_effect_against_brute_force(rows: list[tuple[float, float]], prior_sd: float, scale: float) -> None:
    y, se = np.array(rows).T
    sites = gbv.SiteEffects({"y": y, "se": se}, estimate="y", std_error="se")
    answer = gbv.NormalHierarchy(gbv.HierarchyPrior(gbv.Normal(0, prior_sd), gbv.HalfNormal(scale))).estimate(sites)

    def moments(tau: float) -> tuple[float, float]:
        v = se**2 + tau**2
        precision = 1 / prior_sd**2 + (1 / v).sum()
        mean = (y / v).sum() / precision
        cov = np.diag(v) + prior_sd**2
        density = stats.multivariate_normal.pdf(y, np.zeros(len(y)), cov) * stats.halfnorm.pdf(tau, scale=scale)
        return density, mean

    total = integrate.quad(lambda t: moments(t)[0], 0, 12 * scale, limit=200, epsabs=0, epsrel=1e-10)[0]
    first = integrate.quad(
        lambda t: moments(t)[0] * moments(t)[1], 0, 12 * scale, limit=200, epsabs=1e-14, epsrel=1e-10
    )[0]
    # Adaptive quadrature to 1e-10, and twelve scales of a half-normal leave 1e-32 outside.
    assert answer["average effect"].value == pytest.approx(first / total, abs=1e-7)


def test_json_there_and_back_answers_the_same_questions() -> None:
    answer = gbv.NormalHierarchy(PRIOR).estimate(schools())
    back = gbv.Estimates.from_json(answer.to_json())
    assert back.probability("average effect", above=5) == answer.probability("average effect", above=5)
    assert np.allclose(back.intervals(0.9), answer.intervals(0.9), rtol=0, atol=1e-12)
    draws = answer.posterior.sample(40_000, np.random.default_rng(1))
    # Means of 40,000 independent draws: five standard errors.
    assert np.all(np.abs(draws.mean(axis=0) - answer.values) < 5 * answer.std_errors / 200)
    sampled = np.cov(draws, rowvar=False)
    scale = np.outer(answer.std_errors, answer.std_errors)
    # Covariances of heavy-tailed draws: a tenth of the product of the standard deviations.
    assert np.all(np.abs(sampled - answer.covariance) < 0.1 * scale)


def test_one_more_site_may_have_two_critical_estimates() -> None:
    table = gbv.one_more_site(schools(), PRIOR, std_error=8.0, threshold=0.0, probability_needed=0.95)
    critical = [value for name, value in table.rows if name.startswith("critical")]
    assert len(critical) == 2
    assert critical[0] < critical[1]


def test_posterior_that_does_not_exist_is_refused() -> None:
    sites = gbv.SiteEffects({"y": [0.1], "se": [0.1]}, estimate="y", std_error="se")
    with pytest.raises(gbv.GbvevalError, match="exist"):
        gbv.NormalHierarchy(gbv.HierarchyPrior(gbv.Flat(), gbv.Flat())).estimate(sites)
