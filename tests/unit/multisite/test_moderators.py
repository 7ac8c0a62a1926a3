"""Meta-regression in the exact hierarchy: what a moderator changes, and what it must not."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

import gbveval as gbv

RNG = np.random.default_rng(5)
Y, SE, X = RNG.normal(size=9), RNG.uniform(0.2, 0.6, 9), RNG.normal(size=9)


def sites(**columns: np.ndarray) -> gbv.SiteEffects:
    return gbv.SiteEffects({"y": Y, "se": SE, **columns}, estimate="y", std_error="se", moderators=list(columns))


def prior(**slopes: gbv.Normal) -> gbv.HierarchyPrior:
    return gbv.HierarchyPrior(gbv.Normal(0.2, 1), gbv.HalfNormal(0.5), slopes)


def test_rows_that_share_a_study_are_refused() -> None:
    frame = {"y": [0.1, 0.2, 0.3], "se": [0.1] * 3, "from": ["a", "a", "b"]}
    sites = gbv.SiteEffects(frame, estimate="y", std_error="se", study="from")
    with pytest.raises(gbv.DesignError, match="3 rows come from 2 studies"):
        gbv.NormalHierarchy(gbv.HierarchyPrior(gbv.Normal(0, 1), gbv.HalfNormal(1))).estimate(sites)


def test_a_slope_that_must_be_zero_changes_nothing() -> None:
    plain = gbv.NormalHierarchy(prior()).estimate(sites())
    # A prior sd of 1e-9 holds the slope at zero: what it can still move is below 1e-8.
    held = gbv.NormalHierarchy(prior(x=gbv.Normal(0, 1e-9))).estimate(sites(x=X))
    for row in plain.terms:
        assert held[row.term].value == pytest.approx(row.value, abs=1e-8)
        assert held[row.term].std_error == pytest.approx(row.std_error, abs=1e-8)
    a = gbv.leave_one_site_out(sites(), prior()).rows
    b = gbv.leave_one_site_out(sites(x=X), prior(x=gbv.Normal(0, 1e-9))).rows
    np.testing.assert_allclose([row[1] for row in a], [row[1] for row in b], atol=1e-8)


def test_units_of_a_moderator_do_not_matter() -> None:
    a = gbv.NormalHierarchy(prior(x=gbv.Normal(0.1, 0.5)), at={"x": 2.0}).estimate(sites(x=X))
    b = gbv.NormalHierarchy(prior(x=gbv.Normal(0.001, 0.005)), at={"x": 230.0}).estimate(sites(x=100 * X + 30))
    for row in a.terms:
        factor = 100.0 if row.term == "slope of x" else 1.0
        # Rounding of moderators a hundred times as large.
        assert factor * b[row.term].value == pytest.approx(row.value, abs=1e-9)
        assert factor * b[row.term].std_error == pytest.approx(row.std_error, abs=1e-9)


def test_a_new_site_is_on_the_line_and_off_it() -> None:
    answer = gbv.NormalHierarchy(prior(x=gbv.Normal(0, 1)), at={"x": 1.5}).estimate(sites(x=X))
    line = answer["average effect"].value + answer["slope of x"].value * (1.5 - X.mean())
    assert answer["average effect at the moderators of the new site"].value == pytest.approx(line, abs=1e-12)
    assert answer["effect in a new site"].value == pytest.approx(line, abs=1e-12)
    spread = answer["between-site sd"]
    square = answer["average effect at the moderators of the new site"].std_error ** 2
    wanted = square + spread.std_error**2 + spread.value**2
    assert answer["effect in a new site"].std_error == pytest.approx(np.sqrt(wanted), rel=1e-9)
    assert not answer["slope of x"].estimand.is_causal


def test_leave_one_out_is_the_density_under_the_others() -> None:
    chosen = prior(x=gbv.Normal(0, 1))
    scores = [row[1] for row in gbv.leave_one_site_out(sites(x=X), chosen).rows]
    # The others with the left-out site's standard error made so large that it says nothing: its own effect given them.
    i, rest = 4, np.arange(9) != 4
    errors = np.where(rest, SE, 1e8)
    answer = gbv.NormalHierarchy(chosen).estimate(
        gbv.SiteEffects({"y": Y, "se": errors, "x": X}, estimate="y", std_error="se", moderators=["x"])
    )
    draws = answer.posterior.sample(400_000, np.random.default_rng(1))[:, answer.index("effect in site 05")]
    density = stats.norm.pdf(Y[i], draws, SE[i])
    error = density.std() / np.sqrt(len(draws)) / density.mean()
    # Mean of 400,000 draws: five Monte Carlo errors.
    assert scores[i] == pytest.approx(np.log(density.mean()), abs=5 * error)


def test_json_there_and_back() -> None:
    answer = gbv.NormalHierarchy(prior(x=gbv.Normal(0, 1)), at={"x": 1.5}).estimate(sites(x=X))
    back = gbv.Estimates.from_json(answer.to_json())
    np.testing.assert_array_equal(back.intervals(0.9), answer.intervals(0.9))
    np.testing.assert_allclose(
        np.cov(answer.posterior.sample(60_000, np.random.default_rng(2)), rowvar=False),
        answer.covariance,
        # Covariances of 60,000 draws: a twentieth of the largest variance.
        atol=0.05 * answer.covariance.max(),
    )


def test_mismatches_are_named() -> None:
    with pytest.raises(gbv.GbvevalError, match="no slope for 'x'"):
        gbv.NormalHierarchy(prior()).estimate(sites(x=X))
    with pytest.raises(gbv.GbvevalError, match="slope for 'z', no moderator"):
        gbv.NormalHierarchy(prior(z=gbv.Normal(0, 1))).estimate(sites())
    with pytest.raises(gbv.GbvevalError, match="is no moderator"):
        gbv.NormalHierarchy(prior(x=gbv.Normal(0, 1)), at={"z": 1.0}).estimate(sites(x=X))
    with pytest.raises(gbv.GbvevalError, match="flat one is not proper"):
        prior(x=gbv.Flat())
    with pytest.raises(gbv.GbvevalError, match="same in all 9 rows"):
        sites(x=np.ones(9))
    with pytest.raises(gbv.GbvevalError, match="moderators out"):
        gbv.heavy_tailed_sites(sites(x=X), prior(x=gbv.Normal(0, 1)))


def test_priors_of_slopes_are_printed() -> None:
    answer = gbv.NormalHierarchy(prior(x=gbv.Normal(0, 0.7))).estimate(sites(x=X))
    assert "slope of x normal(mean 0, sd 0.7)" in answer.summary()
    assert any(check.name == "few sites a moderator" for check in answer.checks)
