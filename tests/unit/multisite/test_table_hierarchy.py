"""`TableHierarchy`: edge cases, priors printed, draws, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest

import gbveval as gbv

PRIOR = gbv.TablePrior(gbv.Normal(0, 1), gbv.HalfNormal(0.5), gbv.Normal(-2, 1))
PLACE = "<script>Hidden Valley</script>"


def tables(events: list[int], n: int = 40, **more: object) -> gbv.SiteTables:
    sites = len(events) // 2
    names = [PLACE, *[f"town{i}" for i in range(1, sites)]]
    frame = {"site": np.repeat(names, 2), "arm": ["usual", "new"] * sites, "y": events, "n": [n] * (2 * sites)}
    return gbv.SiteTables(frame, site="site", arm="arm", control="usual", events="y", n="n")


def test_two_sites_one_without_any_event() -> None:
    answer = gbv.TableHierarchy(PRIOR).estimate(tables([5, 2, 0, 0]))
    assert np.isfinite(answer.values).all()
    assert {check.name for check in answer.checks} >= {"few sites", "no events"}
    assert "site control normal(mean -2, sd 1)" in answer.summary()
    for text in (answer.summary(), answer.to_json(), repr(answer), answer._repr_html_()):
        assert "Hidden" not in text


def test_one_site_with_an_informative_prior() -> None:
    answer = gbv.TableHierarchy(PRIOR).estimate(tables([9, 2]))
    assert answer["average effect"].value < 0 < answer["average effect"].std_error < 1


def test_draws_have_the_joint_moments_and_json_keeps_all() -> None:
    seen = gbv.Reporting(gbv.Beta(14, 7))
    answer = gbv.TableHierarchy(PRIOR, seen).estimate(tables([5, 2, 0, 0, 9, 4]))
    draws = answer.posterior.sample(30_000, np.random.default_rng(2))
    scale = np.sqrt(np.outer(np.diag(answer.covariance), np.diag(answer.covariance)))
    # Means and correlations of 30,000 draws: five Monte Carlo errors, of tails a little heavier than normal.
    assert np.all(np.abs(draws.mean(axis=0) - answer.values) < 5 * answer.std_errors / np.sqrt(30_000))
    assert np.abs((np.cov(draws.T) - answer.covariance) / scale).max() < 15 / np.sqrt(30_000)
    back = gbv.Estimates.from_json(answer.to_json())
    np.testing.assert_array_equal(back.intervals(0.9), answer.intervals(0.9))
    assert abs(answer["sensitivity"].value - 14 / 21) < 0.1
    assert not answer["sensitivity"].estimand.is_causal


def test_a_rise_in_reporting_hides_an_effect() -> None:
    data = tables([12, 9, 10, 8, 11, 9])
    same = gbv.TableHierarchy(PRIOR, gbv.Reporting(0.6)).estimate(data)["average effect"].value
    more = gbv.TableHierarchy(PRIOR, gbv.Reporting(0.6, sensitivity_intervention=0.8)).estimate(data)
    assert more["average effect"].value < same < 0


def test_refusals_name_what_to_do() -> None:
    flat = gbv.TablePrior(gbv.Normal(0, 1), gbv.HalfNormal(0.5), gbv.Flat())
    with pytest.raises(gbv.GbvevalError, match="no end"):
        gbv.TableHierarchy(flat).estimate(tables([5, 2, 0, 0]))
    conditional = gbv.TablePrior(gbv.Normal(0, 1), gbv.HalfNormal(0.5))
    with pytest.raises(gbv.GbvevalError, match="every event to be seen"):
        gbv.TableHierarchy(conditional, gbv.Reporting(0.6)).estimate(tables([5, 2, 1, 0]))
    with pytest.raises(gbv.GbvevalError, match="Normal prior"):
        gbv.TablePrior(gbv.Flat(), gbv.HalfNormal(0.5))
    with pytest.raises(gbv.GbvevalError, match="add up to one or less"):
        gbv.Reporting(0.3, 0.6)
    with pytest.raises(gbv.GbvevalError, match="share above 0"):
        gbv.Reporting(1.2)
    with pytest.raises(gbv.GbvevalError, match="Counts need the model"):
        gbv.leave_one_site_out(tables([5, 2, 1, 0]), gbv.HierarchyPrior(gbv.Normal(0, 1), gbv.HalfNormal(1)))
