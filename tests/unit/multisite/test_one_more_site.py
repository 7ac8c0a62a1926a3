"""One more site by counts: against refits to every table that it could bring."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

import gbveval as gbv
from gbveval.core.errors import DesignError
from gbveval.multisite.table_hierarchy import fit_likelihoods, fit_tables
from gbveval.numerics.one_more_table import _updated
from gbveval.numerics.table_likelihood import Tables

PRIOR = gbv.TablePrior(gbv.Normal(0, 1), gbv.HalfNormal(0.5), gbv.Normal(-1, 1))
FRAME = {"site": ["a", "a", "b", "b"], "arm": ["new", "usual"] * 2, "y": [3, 7, 4, 9], "n": [30, 30, 40, 41]}


def tables(events: tuple[int, int] | None = None, n: int = 3) -> gbv.SiteTables:
    frame = {name: list(values) for name, values in FRAME.items()}
    if events is not None:
        for name, more in (("site", ["c", "c"]), ("arm", ["usual", "new"]), ("y", list(events)), ("n", [n, n])):
            frame[name] += more
    return gbv.SiteTables(frame, site="site", arm="arm", control="usual", events="y", n="n")


@pytest.mark.once
@pytest.mark.parametrize("model", [gbv.TableHierarchy(PRIOR), gbv.TableHierarchy(PRIOR, gbv.Reporting(0.7), df=4.0)])
def test_drawn_sites_and_weights_are_those_of_all_refits(model: gbv.TableHierarchy) -> None:
    now = model.estimate(tables())
    every = list(product(range(4), repeat=2))
    after = {events: model.estimate(tables(events)) for events in every}

    def evidence(answer: gbv.Estimates) -> float:
        return dict(answer["average effect"].extra)["log_marginal_likelihood"]

    chance = np.exp([evidence(after[events]) - evidence(now) for events in every])
    # What a new site can bring has probability one; each evidence is good to about 1e-6.
    assert chance.sum() == pytest.approx(1.0, abs=1e-4)
    success = np.array([after[events].probability("average effect", below=0.9) for events in every])
    gain = np.array([np.log(0.9) - after[events]["average effect"].value for events in every])
    needed = 0.9
    found = gbv.one_more_site_by_counts(
        tables(), model, n_per_arm=3, threshold=0.9, probability_needed=needed, n_draws=4000,
        rng=np.random.default_rng(1),
    )  # fmt: skip
    value = {row[0]: row[1:] for row in found.rows}
    assert value["probability now"][0] == pytest.approx(now.probability("average effect", below=0.9), abs=1e-6)
    assurance, error = value["assurance"]
    assert abs(assurance - chance[success >= needed].sum()) < 4 * error + 1e-3
    worth, error = value["expected value of the new counts"]
    today = np.log(0.9) - now["average effect"].value
    assert abs(worth - (chance @ np.maximum(gain, 0) - max(today, 0))) < 4 * error + 1e-4
    assert value["expected value of knowing the average"][0] >= worth
    likelihoods, reported = fit_likelihoods(model, tables())
    fit = fit_tables(model, likelihoods, reported)
    updated = _updated(
        fit, Tables(np.array(every, float), np.full((16, 2), 3.0), False), PRIOR.site_control, reported, model.df
    )
    # Nodes with less than 1e-9 of the heaviest are left out of the weights.
    for events, density in zip(every, updated, strict=True):
        assert density.mean == pytest.approx(after[events]["average effect"].value, abs=1e-5)
        assert float(density.cdf(np.log(0.9))) == pytest.approx(
            after[events].probability("average effect", below=0.9), abs=1e-5
        )


def test_exposure_and_repeatability() -> None:
    frame = {**FRAME, "y": [30, 55, 41, 80]}
    counts = gbv.SiteTables(frame, site="site", arm="arm", control="usual", events="y", exposure="n")
    model = gbv.TableHierarchy(gbv.TablePrior(gbv.Normal(0, 1), gbv.HalfNormal(0.5), gbv.Normal(0.5, 0.5)))
    options = {"n_per_arm": 12.5, "n_draws": 60}
    assert gbv.one_more_site_by_counts(counts, model, **options) == gbv.one_more_site_by_counts(
        counts, model, **options
    )


def test_refusals() -> None:
    model = gbv.TableHierarchy(PRIOR)
    conditional = gbv.TableHierarchy(gbv.TablePrior(gbv.Normal(0, 1), gbv.HalfNormal(0.5)))
    for wrong, options, words in (
        (conditional, {"n_per_arm": 30}, "prior of levels"),
        (model, {"n_per_arm": 0}, "above zero"),
        (model, {"n_per_arm": 30.5}, "counts people"),
        (model, {"n_per_arm": 30, "threshold": -0.1}, "ratio"),
        (model, {"n_per_arm": 30, "direction": "up"}, "above"),
        (model, {"n_per_arm": 30, "probability_needed": 1.0}, "strictly"),
        (model, {"n_per_arm": 30, "n_draws": 5}, "at least 20"),
    ):
        with pytest.raises(DesignError, match=words):
            gbv.one_more_site_by_counts(tables(), wrong, **options)
