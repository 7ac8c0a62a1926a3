"""Criteria over pilots that count events: many at once are one by one, and shares are of decisions."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import gbveval as gbv
from gbveval.core.errors import DesignError
from gbveval.core.replicate import generator
from gbveval.multisite.operating_counts import _Counts
from gbveval.numerics.hierarchy_tables import many_tables
from gbveval.numerics.table_likelihood import Tables, site_likelihoods

PRIOR = gbv.TablePrior(gbv.Normal(0, 1), gbv.HalfNormal(0.4), gbv.Normal(-1.5, 1))
CRITERIA = gbv.ProgressionCriteria(
    go=(gbv.DecisionRule("average effect", 0.8, below=0.9),),
    stop=(gbv.DecisionRule("effect in a new site", 0.6, above=1.0),),
)
PLAN = {"n_per_arm": [60, 80, 50, 40], "control_risk": 0.15, "between_site_sd": 0.2, "seed": 5}


@pytest.mark.once
@pytest.mark.parametrize("model", [
    gbv.TableHierarchy(PRIOR),
    gbv.TableHierarchy(PRIOR, gbv.Reporting(gbv.Beta(14, 7))),
    gbv.TableHierarchy(PRIOR, df=4.0),
    gbv.TableHierarchy(replace(PRIOR, site_control=None)),
])  # fmt: skip
def test_many_at_once_are_one_by_one(model: gbv.TableHierarchy) -> None:
    rng = np.random.default_rng(3)
    events = rng.binomial([[40, 40], [60, 55], [30, 33]], [[0.1, 0.05]], size=(5, 3, 2)).astype(float)
    events[0] = [[0, 0], [3, 0], [1, 1]]
    size = np.broadcast_to(np.array([[40, 40], [60, 55], [30, 33]], float), events.shape)
    rows, which = np.unique(np.concatenate([events, size], axis=2).reshape(-1, 4), axis=0, return_inverse=True)
    tables = Tables(rows[:, :2], rows[:, 2:], False)
    likelihoods = site_likelihoods(tables, model.prior.site_control, model.reporting.points())
    many = many_tables(
        likelihoods, which.reshape(5, 3), mu_prior=PRIOR.average_effect, tau_prior=PRIOR.between_site_sd, df=model.df
    )
    average, new = many.average_cdf(-0.1), many.new_site_cdf(0.05)
    for study in (0, 4):
        frame = {"site": np.repeat(["a", "b", "c"], 2), "arm": ["no", "yes"] * 3}
        frame |= {"y": events[study].ravel(), "n": size[study].ravel()}
        one = model.estimate(gbv.SiteTables(frame, site="site", arm="arm", control="no", events="y", n="n"))
        # Two quadratures of analytic functions; normals narrower than a 300th of a panel are left at that.
        assert average[study] == pytest.approx(one.probability("average effect", below=np.exp(-0.1)), abs=1e-6)
        assert new[study] == pytest.approx(one.probability("effect in a new site", below=np.exp(0.05)), abs=1e-6)


def test_decisions_are_those_of_the_criteria() -> None:
    model = gbv.TableHierarchy(PRIOR)
    task = _Counts(CRITERIA, model, (60, 80, 50), (0.15,) * 3, ((-0.6, 0.2),), 5, 6)
    decided = task((0, 0))
    for number in range(6):
        events = task._events(generator(5, number), -0.6, 0.2)
        frame = {"site": np.repeat(["a", "b", "c"], 2), "arm": ["no", "yes"] * 3, "y": events.ravel()}
        frame["n"] = np.repeat([60, 80, 50], 2)
        one = model.estimate(gbv.SiteTables(frame, site="site", arm="arm", control="no", events="y", n="n"))
        assert CRITERIA.decide(one) == decided[number]


@pytest.mark.once
def test_better_programmes_go_more_often() -> None:
    table = gbv.operating_characteristics_of_counts(
        CRITERIA, gbv.TableHierarchy(PRIOR), average_effects=[0.5, 0.0, -1.0], n_draws=24, **PLAN
    )
    go, stop = table.column("go"), table.column("stop")
    assert go[0] < go[1] < go[2]
    assert stop[0] > stop[1] > stop[2]
    assert np.allclose(np.array(go) + stop + table.column("adapt"), 1.0)
    gbv.plot_operating(table)


def test_refusals() -> None:
    model = gbv.TableHierarchy(PRIOR)
    plan = {"average_effects": [0.0], **PLAN}
    about_a_site = gbv.ProgressionCriteria(CRITERIA.go, (gbv.DecisionRule("effect in site 01", 0.5, above=1.0),))
    for criteria, chosen, change, words in (
        (about_a_site, model, {}, "about the average effect"),
        (CRITERIA, gbv.TableHierarchy(replace(PRIOR, site_control=gbv.Flat())), {}, "proper prior"),
        (CRITERIA, gbv.TableHierarchy(replace(PRIOR, site_control=None), gbv.Reporting(0.7)), {}, "Under-reporting"),
        (CRITERIA, model, {"n_per_arm": [50]}, "two sites"),
        (CRITERIA, model, {"control_risk": 1.0}, "strictly between"),
        (CRITERIA, model, {"between_site_sd": -0.1}, "zero or above"),
        (CRITERIA, model, {"average_effects": []}, "finite log odds"),
        (CRITERIA, model, {"seed": -1}, "seed must"),
    ):
        with pytest.raises(DesignError, match=words):
            gbv.operating_characteristics_of_counts(criteria, chosen, **{**plan, **change})
