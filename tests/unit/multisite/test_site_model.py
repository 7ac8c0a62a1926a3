"""The model on sums is the model of people: its likelihood, its prior, its parametrisation, and how it is checked."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats

import gbveval as gbv
from gbveval.multisite import _sampling, _site_model
from gbveval.multisite._sampling import Sampled, build_site_model, missing_information, sample
from gbveval.multisite._site_model import ModelSpec, centring, compiled_model, data_of, levels_of
from gbveval.multisite._site_people import read_people
from gbveval.multisite._site_twin import twin_check

pytestmark = pytest.mark.xdist_group("sampling")
SITES = gbv.SitePrior(gbv.Normal(-0.5, 1), gbv.Normal(0, 1), gbv.HalfNormal(1), gbv.HalfNormal(0.5))
COVARIATE, CLUSTERS = {"covariate_effect": gbv.Normal(0, 1)}, {"between_cluster_sd": gbv.HalfNormal(0.5)}
PRIORS = {
    "binomial": SITES,
    "normal": replace(SITES, residual_sd=gbv.HalfNormal(2)),
    "negative_binomial": replace(SITES, dispersion=gbv.Exponential(1)),
    "ordinal": replace(SITES, cutpoint_gap=gbv.HalfNormal(2)),
    "hurdle": replace(SITES, dispersion=gbv.Exponential(1), any_outcome=SITES),
}


def frame(seed: int = 1, sites: int = 4, n: int = 60, arms: int = 2) -> pd.DataFrame:
    """Return people with an outcome for every family, clusters inside sites, a covariate and an exposure."""
    rng = np.random.default_rng(seed)
    site, cluster = np.repeat(np.arange(sites), n), np.tile(np.arange(n) // 10, sites)
    arm = cluster % arms
    x = rng.integers(0, 3, site.size)
    eta = (rng.normal(size=sites) * 0.4)[site] + (0.3 + 0.2 * rng.normal(size=sites))[site] * (arm > 0) + 0.2 * x
    count = rng.poisson(rng.gamma(1.5, np.exp(eta) / 1.5))
    return pd.DataFrame(
        {
            "site": site,
            "arm": arm,
            # A name used in several sites is a cluster in each.
            "cluster": [f"{s}c{c}" for s, c in zip(site, cluster, strict=True)],
            "x": x.astype(str),
            "months": rng.choice([6.0, 12.0], site.size),
            "binomial": (rng.random(site.size) < 1 / (1 + np.exp(-eta))).astype(float),
            "normal": eta + rng.normal(size=site.size),
            "negative_binomial": count.astype(float),
            "ordinal": np.digitize(eta + rng.logistic(size=site.size), [0.0, 1.0, 2.0]).astype(float),
            "hurdle": np.where(rng.random(site.size) < 0.5, 0, count).astype(float),
        }
    )


def trial_of(data: pd.DataFrame, family: str, **roles: Any) -> gbv.Trial:
    return gbv.Trial(data, outcome=family, arm="arm", control=0, site="site", **roles)


def log_density(family: str, y: np.ndarray, eta: np.ndarray, at: dict[str, Any]) -> np.ndarray:
    """Return each person's log density, by scipy."""
    if family == "binomial":
        return stats.bernoulli.logpmf(y, 1 / (1 + np.exp(-eta)))
    if family == "normal":
        return stats.norm.logpdf(y, eta, at["residual_sd"])
    if family == "ordinal":
        cuts = np.concatenate([[-np.inf, 0.0], np.cumsum(at["cutpoint_gap"]), [np.inf]])
        level = y.astype(int)
        return np.log(stats.logistic.cdf(cuts[level + 1] - eta) - stats.logistic.cdf(cuts[level] - eta))
    size = at["dispersion"]
    return stats.nbinom.logpmf(y, size, size / (size + np.exp(eta)))


def predictor(data: pd.DataFrame, at: dict[str, Any], prefix: str, roles: dict[str, Any]) -> np.ndarray:
    site, arm = data["site"].to_numpy(), data["arm"].to_numpy()
    eta = at[f"{prefix}control"][site] + np.where(arm > 0, at[f"{prefix}effect"][site, np.maximum(arm - 1, 0)], 0.0)
    if "covariates" in roles:
        x = np.column_stack([data["x"] == "1", data["x"] == "2"]).astype(float)
        eta = eta + (x - x.mean(axis=0)) @ at[f"{prefix}covariate_effect"]
    if "cluster" in roles:
        eta = eta + at[f"{prefix}cluster_effect"][np.unique(data["cluster"], return_inverse=True)[1]]
    return eta + (np.log(data["months"].to_numpy()) if "exposure" in roles else 0.0)


@pytest.mark.sampling
@pytest.mark.parametrize("family", list(PRIORS))
@pytest.mark.parametrize(("arms", "clusters"), [(2, True), (2, False), (3, True)])
def test_the_likelihood_of_sums_is_that_of_people_up_to_a_constant(family: str, arms: int, clusters: bool) -> None:
    """Two points of the parameter space: the difference of log likelihoods has no constant in it."""
    import pymc as pm

    data = frame(arms=arms)
    roles: dict[str, Any] = {"covariates": ["x"], **({"cluster": "cluster"} if clusters else {})}
    if family == "negative_binomial":
        roles["exposure"] = "months"
    prior = replace(PRIORS[family], **COVARIATE, **CLUSTERS)
    if prior.any_outcome is not None:
        prior = replace(prior, any_outcome=replace(prior.any_outcome, **COVARIATE, **CLUSTERS))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = gbv.HierarchicalModel(prior, family=family).to_pymc(trial_of(data, family, **roles))
        names = [variable.name for variable in (*model.free_RVs, *model.deterministics)]
        drawn = pm.draw([model[name] for name in names], draws=2, random_seed=3, mode="FAST_COMPILE")
    points = [{name: values[i] for name, values in zip(names, drawn, strict=True)} for i in (0, 1)]
    found, y = [], data[family].to_numpy()
    for at in points:
        eta = predictor(data, at, "", roles)
        if family == "hurdle":
            some, none = y > 0, log_density("negative_binomial", np.zeros_like(y), eta, at)
            above = log_density("negative_binomial", y, eta, at) - np.log(-np.expm1(none))
            any_at_all = log_density("binomial", some.astype(float), predictor(data, at, "any_", roles), at)
            found.append(above[some].sum() + any_at_all.sum())
        else:
            found.append(log_density(family, y, eta, at).sum())
    wanted = points[1]["log_likelihood"] - points[0]["log_likelihood"]
    assert found[1] - found[0] == pytest.approx(float(wanted), rel=1e-9, abs=1e-7)


@pytest.mark.sampling
def test_correlations_of_three_have_the_lkj_prior() -> None:
    """Each correlation of an LKJ(eta) matrix of size d is Beta(b, b) on (-1, 1), with b = eta + (d - 2) / 2."""
    import pymc as pm

    spec = ModelSpec("binomial", 4, 2, 0, 0, 0, SITES)
    cells = read_people(trial_of(frame(arms=3), "binomial"), "binomial", SITES)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = build_site_model(data_of(cells, spec), spec)
        drawn = pm.draw(model["correlation"], draws=4000, random_seed=1)
    assert drawn.shape == (4000, 3)
    for column in drawn.T:
        # Three tests with one false alarm in 30,000 together.
        assert stats.kstest((column + 1) / 2, stats.beta(2.5, 2.5).cdf).pvalue > 1e-5


def settings(draws: int = 1000) -> gbv.SamplerSettings:
    return gbv.SamplerSettings(draws=draws, tune=600, target_accept=0.9)


@pytest.mark.sampling
def test_centred_and_not_have_one_posterior_and_one_compiled_model(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sites that tell a middling amount, where neither form gets stuck; other studies of the shape re-use the model."""
    built: list[Any] = []
    original: Callable[..., Any] = _site_model.build_site_model
    monkeypatch.setattr(_site_model, "build_site_model", lambda *a: built.append(1) or original(*a))
    monkeypatch.setattr(_sampling, "_compiled", {})
    rng = np.random.default_rng(8)
    site, arm = np.repeat(np.arange(12), 600), np.tile([0, 1], 3600)
    eta = (0.5 * rng.normal(size=12))[site] + (0.2 + 0.6 * rng.normal(size=12))[site] * arm
    y = (rng.random(site.size) < 1 / (1 + np.exp(-eta))).astype(float)
    trial = gbv.Trial({"y": y, "arm": arm, "site": site}, outcome="y", arm="arm", control=0, site="site")
    cells = read_people(trial, "binomial", SITES)
    spec = ModelSpec.of(cells, "binomial", SITES)
    data = data_of(cells, spec)
    summaries = []
    for weight in (0.0, 1.0, None):
        changed = data if weight is None else {**data, "centring": np.full_like(data["centring"], weight)}
        drawn = sample(compiled_model(changed, spec), changed, spec.parameters, settings=settings(), seed=4)
        # One doubt is nothing: of good fits one in a hundred has one, and this has three.
        assert twin_check(cells, spec, drawn).status != "fail"
        quantities = [drawn.draws[name].reshape(4, 1000, -1)[..., 0] for name in ("average_effect", "between_site_sd")]
        quantities += [drawn.draws["correlation"][..., 0], drawn.draws["effect"][..., 3, 0]]
        summaries.append([(q.mean(), gbv.monte_carlo_error(q)) for q in quantities])
    for one, other in zip(summaries[0], summaries[1], strict=True):
        # Four Monte Carlo errors of a difference, in four quantities.
        assert abs(one[0] - other[0]) < 4 * np.hypot(one[1], other[1])
    # A study with the same number of sites and other people.
    gbv.HierarchicalModel(SITES, settings(600)).estimate(
        gbv.Trial({"y": y[::2], "arm": arm[1::2] * 0 + np.tile([0, 1], 1800), "site": site[::2]},
                  outcome="y", arm="arm", control=0, site="site"),
        rng=np.random.default_rng(1),
    )  # fmt: skip
    assert len(built) == 1
    shifted = {**drawn.draws, "between_site_sd": 1.1 * drawn.draws["between_site_sd"]}
    wrong = twin_check(cells, spec, replace(drawn, draws=shifted))
    assert wrong.status == "fail", wrong.message


@pytest.mark.sampling
def test_clusters_widen_what_people_alone_would_say() -> None:
    """Assigned clusters that differ: an answer that ignored them would be far too sure."""
    rng = np.random.default_rng(9)
    site, cluster = np.repeat(np.arange(8), 400), np.tile(np.arange(400) // 40, 8)
    arm, u = cluster % 2, 0.8 * rng.normal(size=(8, 10))
    y = 0.3 * arm + u[site, cluster] + rng.normal(size=site.size)
    data = {"y": y, "arm": arm, "site": site, "c": [f"{a}-{b}" for a, b in zip(site, cluster, strict=True)]}
    prior = replace(PRIORS["normal"], between_cluster_sd=gbv.HalfNormal(1))
    trial = gbv.Trial(data, outcome="y", arm="arm", control=0, site="site", cluster="c")
    # Few clusters say little of the spread between sites, whose corner near zero wants small steps.
    careful = gbv.SamplerSettings(draws=1000, tune=1000, target_accept=0.995)
    answer = gbv.HierarchicalModel(prior, careful).estimate(trial, rng=np.random.default_rng(2))
    assert all(check.status != "fail" for check in answer.checks)
    # Eighty clusters, half in each arm: about 0.8 sqrt(4 / 80) = 0.18 or more, against 0.035 for 3,200 people alone.
    assert 0.14 < answer["average effect"].std_error < 0.4
    assert "cluster" in answer.method.std_error


def test_information_decides_how_far_a_site_is_centred() -> None:
    sizes = np.array([20.0, 200, 2000, 20_000, 200_000, 2_000_000])
    level = np.column_stack([np.linspace(-0.5, 0.5, 6), [0.1, 0.6, -0.3, 0.3, 0.7, -0.2]])
    weights = centring(level, np.column_stack([4 / sizes, 4 / sizes]), SITES)
    assert np.all(np.diff(weights, axis=0) > 0)
    assert weights[0].max() < 0.5
    assert weights[-1].min() > 0.99
    # Two arms that differ between sites by chance alone: nothing is centred where the spread may be zero.
    alike = centring(np.zeros((6, 2)), np.full((6, 2), 0.05), SITES)
    assert alike.max() < 0.1


def test_missing_information_is_one_half_for_steps_of_a_random_walk_that_forgets() -> None:
    """For energies with autocorrelation a the fraction is 2 (1 - a)."""
    rng = np.random.default_rng(3)
    energy = np.zeros((2, 40_000))
    for i in range(1, energy.shape[1]):
        energy[:, i] = 0.75 * energy[:, i - 1] + rng.normal(size=2)
    # The standard error of an autocorrelation from 40,000 draws is 0.003.
    assert missing_information(energy) == pytest.approx(0.5, abs=0.04)


def fake(**change: Any) -> Sampled:
    return replace(Sampled({}, 0, 1.0, 1000.0, 1.0, None), **change)


@pytest.mark.parametrize(
    ("change", "name"),
    [
        ({"divergences": 1}, "divergences"),
        ({"rhat": 1.02}, "r-hat"),
        ({"ess": 399.0}, "effective sample size"),
        ({"bfmi": 0.2}, "missing information"),
    ],
)
def test_every_diagnostic_blocks(change: dict[str, Any], name: str) -> None:
    from gbveval.multisite.hierarchical_model import _checks

    cells = read_people(trial_of(frame(), "binomial"), "binomial", SITES)
    spec = ModelSpec.of(cells, "binomial", SITES)
    failed = [c.name for c in _checks(fake(**change), cells, spec, data_of(cells, spec)) if c.status == "fail"]
    assert failed == [name]


@pytest.mark.parametrize(
    ("family", "roles", "prior", "words"),
    [
        ("normal", {}, SITES, "residual_sd is needed"),
        ("negative_binomial", {}, SITES, "dispersion is needed"),
        ("ordinal", {}, SITES, "cutpoint_gap is needed"),
        ("hurdle", {}, PRIORS["negative_binomial"], "any_outcome is needed"),
        ("binomial", {}, PRIORS["normal"], "residual_sd belongs to"),
        ("binomial", {"covariates": ["x"]}, SITES, "covariate_effect"),
        ("binomial", {"cluster": "cluster"}, SITES, "not independent"),
        ("binomial", {"covariates": ["normal"]}, replace(SITES, **COVARIATE), "Make categories"),
        ("binomial", {"exposure": "months"}, SITES, "belongs to counts"),
        ("binomial", {"weight": "months"}, SITES, "'weight'"),
        ("poisson", {}, SITES, "must be one of"),
    ],
)
def test_what_has_no_place_is_refused_by_name(
    family: str, roles: dict[str, Any], prior: gbv.SitePrior, words: str
) -> None:
    trial = trial_of(frame(), family if family in PRIORS else "binomial", **roles)
    with pytest.raises(gbv.DesignError, match=words):
        gbv.HierarchicalModel(prior, family=family).estimate(trial)


@pytest.mark.parametrize(
    ("family", "outcome", "words"),
    [
        ("binomial", "normal", "0 or 1"),
        ("negative_binomial", "normal", "whole numbers"),
        ("ordinal", "normal", "too fine"),
    ],
)
def test_outcomes_that_a_family_cannot_count_are_refused(family: str, outcome: str, words: str) -> None:
    with pytest.raises(gbv.DesignError, match=words):
        gbv.HierarchicalModel(PRIORS[family], family=family).estimate(trial_of(frame(), outcome))


def test_a_site_may_lack_an_arm_of_several_but_not_of_two() -> None:
    data = frame(arms=3)
    read = read_people(trial_of(data[(data["site"] != 0) | (data["arm"] != 2)], "binomial"), "binomial", SITES)
    level, variance = levels_of(read, "binomial")
    assert np.isinf(variance[0, 2])
    assert np.all(centring(level, variance, SITES)[0, 2:] == 0)
    data = frame()
    with pytest.raises(gbv.IdentificationError, match="combinations"):
        read_people(trial_of(data[(data["site"] != 0) | (data["arm"] != 1)], "binomial"), "binomial", SITES)
