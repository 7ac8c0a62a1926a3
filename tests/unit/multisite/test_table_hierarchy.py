"""`TableHierarchy`: edge cases, priors printed, draws, and what is refused."""

from __future__ import annotations

from dataclasses import replace

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


def test_powers_of_normal_priors_are_priors_with_other_spreads() -> None:
    data = tables([5, 2, 1, 0, 9, 4])
    rows = {(row[0], row[1]): row[2:] for row in gbv.prior_sensitivity(data, gbv.TableHierarchy(PRIOR)).rows}

    def answer(prior: gbv.TablePrior) -> tuple[float, float, float, float]:
        found = gbv.TableHierarchy(prior).estimate(data)
        average, spread = found["average effect"], found["between-site sd"]
        return average.value, average.std_error, spread.value, spread.std_error

    wide = 1 / np.sqrt(0.8)
    # Means are good to about 1e-6 posterior sds, whichever way they are found.
    assert rows["nothing", 1.0] == pytest.approx(answer(PRIOR), rel=1e-5)
    both = replace(PRIOR, average_effect=gbv.Normal(0, wide), between_site_sd=gbv.HalfNormal(0.5 * wide))
    assert rows["prior", 0.8] == pytest.approx(answer(both), rel=1e-5)
    levels = replace(PRIOR, site_control=gbv.Normal(-2, wide))
    assert rows["levels", 0.8] == pytest.approx(answer(levels), rel=1e-5)
    # What the sites say twice is worth more than what they say once.
    twice = gbv.prior_sensitivity(data, gbv.TableHierarchy(PRIOR), powers=(2.0,)).rows
    assert next(row for row in twice if row[0] == "likelihood")[3] < rows["nothing", 1.0][1]


def test_student_effects_of_enormous_sites_are_refused_with_the_way_that_works() -> None:
    data = tables([150_000, 160_000, 90_000, 85_000], n=1_000_000)
    with pytest.raises(gbv.DesignError, match=r"2 of 2 sites are so large.*effects_from_tables"):
        gbv.TableHierarchy(PRIOR, df=4.0).estimate(data)
    assert gbv.TableHierarchy(PRIOR).estimate(data)["average effect"].value is not None
