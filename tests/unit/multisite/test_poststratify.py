"""Poststratification: the population's own mix, sites elsewhere, clusters, and what is refused."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit

import gbveval as gbv
from gbveval.core.errors import DataError, DesignError

pytestmark = pytest.mark.xdist_group("sampling")
PRIOR = gbv.SitePrior(gbv.Normal(-1, 1), gbv.Normal(0, 0.5), gbv.HalfNormal(0.5), gbv.HalfNormal(0.3))
QUICK = gbv.SamplerSettings(draws=600, tune=600, target_accept=0.95)


def trial(n: int = 300, sites: int = 6) -> tuple[gbv.Trial, pd.DataFrame]:
    rng = np.random.default_rng(4)
    frame = pd.DataFrame(
        {"site": np.repeat([f"s{i}" for i in range(sites)], n), "arm": ["new", "usual"] * (n * sites // 2)}
    )
    level = np.repeat(-1 + 0.4 * rng.normal(size=sites), n)
    frame["y"] = (rng.random(len(frame)) < 1 / (1 + np.exp(-level + 0.5 * (frame["arm"] == "new")))).astype(int)
    return gbv.Trial(frame, outcome="y", arm="arm", control="usual", site="site"), frame


@pytest.mark.sampling
def test_the_trials_own_mix_gives_the_trials_own_risk_difference() -> None:
    data, frame = trial()
    model = gbv.HierarchicalModel(PRIOR, QUICK)
    mix = frame.groupby("site").size().rename("people").reset_index()
    found = gbv.poststratify(model, data, mix, count="people", site="site", rng=np.random.default_rng(3))
    own = model.estimate(data, rng=np.random.default_rng(3))["average risk difference in these sites"]
    row = found["difference in the population, new"]
    # The same draws: equal but for rounding.
    assert row.value == pytest.approx(own.value, rel=1e-9)
    assert row.std_error == pytest.approx(own.std_error, rel=1e-9)
    shares = found.posterior.draws[..., :2]
    arms = 1 / (1 + np.exp(-shares))
    np.testing.assert_allclose(found.posterior.draws[..., 2], arms[..., 1] - arms[..., 0], rtol=1e-9)
    np.testing.assert_allclose(found.posterior.draws[..., 3], np.log(arms[..., 1] / arms[..., 0]), rtol=1e-9)
    assert expit(found["usual in the population"].value) == pytest.approx(
        frame[frame.arm == "usual"]["y"].mean(), abs=0.02
    )
    # Counts are behind every row, so that disclosure control can judge it.
    assert all(term.support and term.support[0].n == 900 for term in found.terms)


@pytest.mark.sampling
def test_elsewhere_is_one_new_site_and_less_sure() -> None:
    data, frame = trial()
    model = gbv.HierarchicalModel(PRIOR, QUICK)
    mix = frame.groupby("site").size().rename("people").reset_index()
    here = gbv.poststratify(model, data, mix, count="people", site="site", rng=np.random.default_rng(3))
    cells = pd.DataFrame({"people": [10, 30, 60]})
    elsewhere = gbv.poststratify(model, data, cells, count="people", rng=np.random.default_rng(3))
    one = gbv.poststratify(model, data, {"people": [1]}, count="people", rng=np.random.default_rng(3))
    np.testing.assert_allclose(elsewhere.posterior.draws, one.posterior.draws, rtol=1e-12)
    row = "difference in the population, new"
    assert elsewhere[row].std_error > 1.5 * here[row].std_error
    assert "100%" in elsewhere.checks[-1].message
    assert "0%" in here.checks[-1].message


@pytest.mark.sampling
def test_covariates_are_coded_as_the_trial_codes_them() -> None:
    """Continuous outcomes: means are linear, so that the answer is known from what the population is made of."""
    rng = np.random.default_rng(5)
    names, n = list("abcdefgh"), 2400
    place = np.repeat(np.arange(8), n // 8)
    who, age = rng.choice(["girls", "boys", "others"], n), rng.integers(14, 19, n)
    arm = np.tile(["new", "usual"], n // 2)
    gap = pd.Series(who).map({"girls": 1.0, "boys": 0.0, "others": 2.0}).to_numpy()
    effect = 0.3 + 0.1 * (np.abs(place - 3.5) - 2)
    y = 0.2 * (place - 3.5) + gap + 0.1 * (age - 16) + effect * (arm == "new") + 0.5 * rng.normal(size=n)
    frame = {"site": np.array(names)[place], "arm": arm, "who": who, "age": age, "y": y}
    data = gbv.Trial(frame, outcome="y", arm="arm", control="usual", site="site", covariates=["who", "age"])
    prior = gbv.SitePrior(
        control_mean=gbv.Normal(1, 1),
        average_effect=gbv.Normal(0, 1),
        between_site_sd_control=gbv.HalfNormal(0.5),
        between_site_sd=gbv.HalfNormal(0.3),
        residual_sd=gbv.HalfNormal(2),
        covariate_effect=gbv.Normal(0, 2),
    )
    model = gbv.HierarchicalModel(prior, gbv.SamplerSettings(draws=1000, tune=1000, target_accept=0.99), "normal")
    mix = {"site": names * 2, "who": ["girls"] * 8 + ["others"] * 8, "age": [14] * 8 + [18] * 8, "k": [3] * 8 + [1] * 8}
    found = gbv.poststratify(model, data, mix, count="k", site="site", rng=np.random.default_rng(1))
    truth = 0.75 * (1.0 - 0.2) + 0.25 * (2.0 + 0.2)
    control = found["usual in the population"]
    assert abs(control.value - truth) < 4 * control.std_error
    assert control.std_error < 0.06
    assert found["difference in the population, new"].value == pytest.approx(0.3, abs=0.1)
    with pytest.raises(DataError, match=r"'who'.*1 rows with a category that the trial does not have"):
        gbv.poststratify(model, data, {"who": ["women"], "age": [16], "k": [1]}, count="k")
    with pytest.raises(DataError, match=r"'who'.*missing in 1 rows"):
        gbv.poststratify(model, data, {"who": [None], "age": [16], "k": [1]}, count="k")
    with pytest.raises(DataError, match=r"'site'.*site that the trial does not have"):
        gbv.poststratify(model, data, {**mix, "site": ["z"] * 16}, count="k", site="site")
    with pytest.raises(DataError, match="age"):
        gbv.poststratify(model, data, {"who": ["girls"], "k": [1]}, count="k")


@pytest.mark.sampling
def test_clusters_are_averaged_over() -> None:
    rng = np.random.default_rng(9)
    site, cluster = np.repeat(np.arange(6), 300), np.tile(np.arange(300) // 30, 6)
    arm, u = cluster % 2, 0.8 * rng.normal(size=(6, 10))
    y = (rng.random(site.size) < 1 / (1 + np.exp(1.2 - u[site, cluster]))).astype(int)
    data = gbv.Trial(
        {"y": y, "arm": arm, "site": site, "c": [f"{a}-{b}" for a, b in zip(site, cluster, strict=True)]},
        outcome="y", arm="arm", control=0, site="site", cluster="c",
    )  # fmt: skip
    prior = gbv.SitePrior(
        gbv.Normal(-1, 1), gbv.Normal(0, 0.5), gbv.HalfNormal(0.5), gbv.HalfNormal(0.3),
        between_cluster_sd=gbv.HalfNormal(1),
    )  # fmt: skip
    model = gbv.HierarchicalModel(prior, gbv.SamplerSettings(draws=1500, tune=1000, target_accept=0.99))
    found = gbv.poststratify(model, data, {"site": list(range(6)), "k": [1] * 6}, count="k", site="site")
    # The mean over clusters, not the share in a cluster in the middle, which is lower.
    assert expit(found["0 in the population"].value) == pytest.approx(y[arm == 0].mean(), abs=0.06)


def test_refusals() -> None:
    data, _ = trial(n=60, sites=3)
    with pytest.raises(DesignError, match="takes a HierarchicalModel"):
        gbv.poststratify(gbv.DifferenceInMeans(), data, {"k": [1]}, count="k")
    with pytest.raises(DesignError, match="no single mean"):
        gbv.poststratify(gbv.HierarchicalModel(PRIOR, family="ordinal"), data, {"k": [1]}, count="k")
    with pytest.raises(DataError, match="'k'"):
        gbv.poststratify(gbv.HierarchicalModel(PRIOR), data, {"k": [0.0]}, count="k")
