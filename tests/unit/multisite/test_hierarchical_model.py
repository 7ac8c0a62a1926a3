"""The sampled hierarchy against long runs of another system, an exact engine, and its own refusals."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import gbveval as gbv
from gbveval.multisite._sampling import diagnose

SHARED = Path(__file__).parents[3].parent / "shared" / "reference" / "bayes"
pytestmark = pytest.mark.xdist_group("sampling")


def people(cells: pd.DataFrame) -> pd.DataFrame:
    """Return one row a person from counts of events."""
    rows = cells.loc[cells.index.repeat(cells["n"])].reset_index(drop=True)
    place = rows.groupby(["site", "arm"]).cumcount()
    rows["y"] = (place < rows["events"]).astype(float)
    return rows


@pytest.mark.sampling
def test_agrees_with_long_runs_of_another_system() -> None:
    if not SHARED.exists():
        pytest.skip("../shared is absent: the reference runs are not here")
    cases = json.loads((SHARED / "cases.json").read_text())["cases"]
    chosen = [
        c for c in cases if c["inputs"]["kind"] == "individual_correlated" and c["inputs"]["family"] == "binomial"
    ]
    assert chosen, "the folder holds no such case"
    for case in chosen:
        frame = people(pd.read_csv(SHARED / case["inputs"]["file"]))
        trial = gbv.Trial(frame, outcome="y", arm="arm", control=0, site="site")
        prior = gbv.SitePrior(gbv.Normal(0, 2), gbv.Normal(0, 1), gbv.HalfNormal(1), gbv.HalfNormal(0.5), 2.0)
        model = gbv.HierarchicalModel(prior, gbv.SamplerSettings(draws=2500, tune=1000))
        answer = model.estimate(trial, rng=np.random.default_rng(1))
        assert all(check.status != "fail" for check in answer.checks)
        draws = answer.posterior.draws
        targets = {"average effect": case["results"]["mu_t"], "between-site sd": case["results"]["sig_t"]}
        for term, wanted in targets.items():
            position = answer.index(term)
            _, ess = diagnose({term: draws[:, :, position]})
            own = answer[term].std_error / np.sqrt(ess)
            # Two Monte Carlo means: four of their joint standard errors, as the case states.
            assert abs(answer[term].value - wanted["mean"]) < 4 * np.hypot(own, wanted["mcse_mean"])
            # Standard deviations of 10,000 draws agree within a few per cent.
            assert answer[term].std_error == pytest.approx(wanted["sd"], rel=0.08)
        sites = case["results"]["t"]["mean"]
        for i, mean in enumerate(sites):
            row = answer[f"effect in site {i + 1:02d}"]
            assert abs(row.value - mean) < 4 * row.std_error / np.sqrt(1000)


@pytest.mark.sampling
def test_agrees_with_the_exact_engine_where_both_apply() -> None:
    """With control means unpooled, a known residual sd and no correlation the model is a normal hierarchy of "
    "differences."""
    rng = np.random.default_rng(5)
    sites, n = 8, 400
    site = np.repeat(np.arange(sites), n)
    treated = np.tile(np.repeat([0, 1], n // 2), sites)
    effect = 0.3 + 0.3 * rng.normal(size=sites)
    y = rng.normal(size=sites)[site] * 3 + effect[site] * treated + rng.normal(size=site.size)
    trial = gbv.Trial({"y": y, "arm": treated, "site": site}, outcome="y", arm="arm", control=0, site="site")
    prior = gbv.SitePrior(
        gbv.Normal(0, 10), gbv.Normal(0, 1), gbv.HalfNormal(10), gbv.HalfNormal(0.5), 500.0, gbv.HalfNormal(5)
    )
    model = gbv.HierarchicalModel(prior, gbv.SamplerSettings(draws=2000, tune=1500, target_accept=0.99))
    sampled = model.estimate(trial, rng=np.random.default_rng(2))
    residual = pd.Series(y).groupby([site, treated]).transform("mean").to_numpy()
    sd = np.sqrt(np.mean((y - residual) ** 2))
    means = pd.Series(y).groupby([site, treated]).mean().unstack()
    table = {"effect": (means[1] - means[0]).to_numpy(), "se": np.full(sites, sd * np.sqrt(4 / n))}
    exact = gbv.NormalHierarchy(gbv.HierarchyPrior(gbv.Normal(0, 1), gbv.HalfNormal(0.5))).estimate(
        gbv.SiteEffects(table, estimate="effect", std_error="se")
    )
    for term in ("average effect", "effect in site 03", "between-site sd"):
        # 8,000 draws at an efficiency above one in eight; the plugged-in residual sd adds well under a hundredth of
        # an sd.
        assert abs(sampled[term].value - exact[term].value) < 0.15 * exact[term].std_error, term
        assert sampled[term].std_error == pytest.approx(exact[term].std_error, rel=0.1), term


@pytest.mark.sampling
def test_exact_hierarchy_agrees_with_a_long_run_of_pymc() -> None:
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import nutpie
        import pymc as pm

        y, se = np.array([28, 8, -3, 7, -1, 1, 18, 12.0]), np.array([15, 10, 16, 11, 9, 11, 10, 18.0])
        with pm.Model() as model:
            mu = pm.Normal("mu", 0, 5)
            tau = pm.HalfCauchy("tau", 5)
            z = pm.Normal("z", 0, 1, shape=8)
            theta = pm.Deterministic("theta", mu + tau * z)
            pm.Normal("y", theta, se, observed=y)
        native = nutpie.sample(
            nutpie.compile_pymc_model(model),
            draws=10_000,
            tune=2000,
            chains=4,
            seed=3,
            progress_bar=False,
            target_accept=0.95,
        )
    sites = gbv.SiteEffects({"y": y, "se": se}, estimate="y", std_error="se")
    exact = gbv.NormalHierarchy(gbv.HierarchyPrior(gbv.Normal(0, 5), gbv.HalfCauchy(5))).estimate(sites)
    pairs = {"average effect": ("mu", ...), "between-site sd": ("tau", ...), "effect in site 01": ("theta", 0)}
    for term, (name, place) in pairs.items():
        draws = np.asarray(native["posterior"][name].values)
        draws = draws if place is ... else draws[:, :, place]
        _, ess = diagnose({name: draws})
        # The Monte Carlo error of the run's mean; four of it.
        assert abs(draws.mean() - exact[term].value) < 4 * draws.std() / np.sqrt(ess), term


def test_divergences_block_a_release() -> None:
    from dataclasses import replace

    sites = gbv.SiteEffects({"y": [0.1, 0.2, 0.3], "se": [0.1, 0.1, 0.1]}, estimate="y", std_error="se")
    answer = gbv.NormalHierarchy(gbv.HierarchyPrior(gbv.Normal(0, 1), gbv.HalfNormal(0.5))).estimate(sites)
    bad = replace(answer, checks=(gbv.Check("divergences", "fail", "12 divergent transitions; none is wanted."),))
    with pytest.raises(gbv.GbvevalError, match="divergences"):
        gbv.release(bad)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"site": None}, "needs sites"),
        ({"cluster": "school"}, "independent"),
    ],
)
def test_refuses_what_it_does_not_model(change: dict[str, str | None], words: str) -> None:
    frame = {
        "y": [0, 1] * 10,
        "arm": [0, 0, 1, 1] * 5,
        "site": list("aabb") * 5,
        "school": [f"s{i // 2}" for i in range(20)],
    }
    frame["arm"] = [i // 2 % 2 for i in range(20)]
    roles = {"site": "site", **change}
    trial = gbv.Trial(frame, outcome="y", arm="arm", control=0, **{k: v for k, v in roles.items() if v})
    prior = gbv.SitePrior(gbv.Normal(0, 2), gbv.Normal(0, 1), gbv.HalfNormal(1), gbv.HalfNormal(0.5))
    with pytest.raises(gbv.DesignError, match=words):
        gbv.HierarchicalModel(prior).estimate(trial)


def test_an_improper_prior_is_refused() -> None:
    with pytest.raises(gbv.DesignError, match="proper"):
        gbv.SitePrior(gbv.Normal(0, 2), gbv.Normal(0, 1), gbv.Flat(), gbv.HalfNormal(0.5))
