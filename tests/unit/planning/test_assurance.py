"""Power averaged over priors: against closed forms and draws, limits, distribution, provenance, refusals."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import matplotlib as mpl
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import beta, norm

from gbveval.core.errors import DesignError
from gbveval.datasets.planning_values import planning_value, planning_values
from gbveval.design._levels import Level
from gbveval.design.cluster import ClusterDesign
from gbveval.design.counts import Count
from gbveval.design.disclosure import Disclosure, DisclosureDesign
from gbveval.design.effect_prior import EffectPrior
from gbveval.design.icc import ICC
from gbveval.design.multilevel import MultilevelDesign
from gbveval.design.outcomes import Binary, Continuous
from gbveval.design.parallel import ParallelDesign
from gbveval.numerics.priors import Beta, Flat, LogNormal, Normal, Uniform
from gbveval.planning.assurance import assurance, assured_size
from gbveval.planning.closed_form import power

KNOWN = ParallelDesign(100, Continuous(), analysis="normal")
MEANS = ParallelDesign(100, Continuous())
SCHOOLS = ClusterDesign(20, 50, ICC(0.05, scale="observed"), Binary(0.3))
UPPER: dict[str, Any] = {"alpha": 0.025, "alternative": "greater"}
Z = float(norm.isf(0.025))


def closed(mean: float, sd: float, n: int) -> float:
    """Return expected power on the upper side: Phi((m - z s) / sqrt(s^2 + sd^2)), s the standard error."""
    error = math.sqrt(2.0 / n)
    return float(norm.cdf((mean - Z * error) / math.hypot(error, sd)))


@settings(deadline=None, max_examples=25)
@given(mean=st.floats(-0.2, 0.8), sd=st.floats(0.01, 0.6), n=st.integers(10, 2000))
def test_a_normal_prior_has_its_closed_form(mean: float, sd: float, n: int) -> None:
    found = assurance(replace(KNOWN, n_per_arm=n), effect=Normal(mean, sd), **UPPER)
    assert found.value == pytest.approx(closed(mean, sd, n), abs=1e-8)
    assert found.ceiling == pytest.approx(float(norm.cdf(mean / sd)), abs=1e-9)
    both = assurance(replace(KNOWN, n_per_arm=n), effect=Normal(mean, sd))
    assert both.value == pytest.approx(closed(mean, sd, n) + closed(-mean, sd, n), abs=1e-8)


def test_how_power_is_distributed() -> None:
    found = assurance(KNOWN, effect=Normal(0.3, 0.15), **UPPER)
    error = math.sqrt(0.02)
    # Power reaches 0.8 from an effect of (z_a + z_b) standard errors on.
    enough = (Z + float(norm.ppf(0.8))) * error
    assert found.share_reaching == pytest.approx(float(norm.sf(enough, 0.3, 0.15)), abs=2e-4)
    for share, at in found.quantiles:
        assert at == pytest.approx(float(norm.sf(Z - norm.ppf(share, 0.3, 0.15) / error)), abs=2e-4)
    assert found.power_at_medians == pytest.approx(power(KNOWN, effect=0.3, **UPPER), abs=1e-12)


@pytest.mark.parametrize(("plan", "name", "value"), [(SCHOOLS, "icc", 0.05), (SCHOOLS, "risk", 0.3)])
def test_a_prior_without_spread_is_power(plan: Any, name: str, value: float) -> None:
    known = power(plan, effect=-0.1)
    assert assurance(plan, effect=-0.1).value == known
    assert assurance(plan, effect=-0.1, priors={name: value}).value == pytest.approx(known, abs=1e-15)
    narrow = assurance(plan, effect=Normal(-0.1, 1e-7), priors={name: Beta.from_mean(value, 1e-6)})
    assert narrow.value == pytest.approx(known, abs=1e-6)
    assert assurance(replace(plan, icc=ICC(0.2, scale="observed")), effect=-0.1, priors={"icc": 0.05}).value == (
        pytest.approx(power(plan, effect=-0.1), abs=1e-15)
    )


def test_an_icc_is_averaged_over_its_prior() -> None:
    u = (np.arange(4000) + 0.5) / 4000
    powers = [power(replace(SCHOOLS, icc=ICC(float(x), scale="observed")), effect=-0.1) for x in beta.ppf(u, 2, 38)]
    found = assurance(SCHOOLS, effect=-0.1, priors={"icc": Beta(2.0, 38.0)})
    # The midpoint rule of 4,000 strata is off by about 1e-6: quantiles are steep at the ends.
    assert found.value == pytest.approx(float(np.mean(powers)), abs=1e-5)
    assert found.share_reaching == pytest.approx(float(np.mean(np.array(powers) >= 0.8)), abs=1e-3)


def test_many_numbers_at_once_against_draws() -> None:
    told = DisclosureDesign(SCHOOLS, Disclosure(0.7, 0.98))
    priors = {"risk": Beta(30.0, 70.0), "icc": Beta(2.0, 38.0), "sensitivity": Beta(14.0, 6.0)}
    found = assurance(told, effect=EffectPrior(LogNormal(-0.5, 0.15), "risk_ratio"), priors=priors)
    rng = np.random.default_rng(41)
    draws = []
    for _ in range(2000):
        risk, ratio = float(rng.beta(30, 70)), float(rng.lognormal(-0.5, 0.15))
        plan = replace(SCHOOLS, outcome=Binary(risk), icc=ICC(float(rng.beta(2, 38)), scale="observed"))
        draw = DisclosureDesign(plan, Disclosure(float(rng.beta(14, 6)), 0.98))
        draws.append(power(draw, effect=risk * (ratio - 1.0)))
    assert found.value == pytest.approx(np.mean(draws), abs=4.4 * float(np.std(draws)) / math.sqrt(2000))
    assert found.error < 1e-3
    assert [name for name, _ in found.priors] == ["effect", "outcome.risk", "icc", "control.sensitivity"]
    again = assurance(told, effect=EffectPrior(LogNormal(-0.5, 0.15), "risk_ratio"), priors=priors)
    assert again == found


def test_effects_of_sites_that_vary_by_an_unknown_amount() -> None:
    sites = Level("sites", 12, icc=ICC(0.0, scale="observed"), effect_sd=0.1)
    plan = MultilevelDesign((Level("people", 30), sites), Continuous(), randomised="people")
    found = assurance(plan, effect=Normal(0.3, 0.1), priors={"sites.effect_sd": LogNormal(-2.0, 0.4)})
    rng, draws = np.random.default_rng(42), []
    for spread, effect in zip(rng.lognormal(-2.0, 0.4, 4000), rng.normal(0.3, 0.1, 4000), strict=True):
        # Differences of twelve sites of 30 people, half of them treated.
        gaps = effect + math.sqrt(spread**2 + 4.0 / 30.0) * rng.normal(size=12)
        draws.append(abs(gaps.mean()) / (gaps.std(ddof=1) / math.sqrt(12)) > 2.200985160082949)
    assert found.value == pytest.approx(np.mean(draws), abs=4.4 * math.sqrt(found.value * (1 - found.value) / 4000))


@pytest.mark.parametrize(
    ("measure", "outcome", "value", "effect"),
    [
        ("difference", Continuous(), 0.3, 0.3),
        ("risk_ratio", Binary(0.4), 0.75, -0.1),
        ("rate_ratio", Count(0.8), 0.75, -0.2),
        ("standardised_mean_difference", Continuous(sd=2.0), 0.3, 0.6),
        ("odds_ratio", Binary(0.5), 0.25, 0.2 - 0.5),
    ],
)
def test_effects_on_other_scales(measure: str, outcome: Any, value: float, effect: float) -> None:
    prior = EffectPrior(Normal(value, 0.1), measure)
    assert prior.difference(value, outcome) == pytest.approx(effect, abs=1e-12)
    assert prior.difference(prior.nothing, outcome) == pytest.approx(0.0, abs=1e-15)


def test_the_size_that_is_assured() -> None:
    prior = Normal(0.3, 0.15)
    n = assured_size(KNOWN, effect=prior, assurance=0.7, **UPPER)
    error = math.sqrt(2.0 / n)
    assert (0.3 - Z * error) / math.hypot(error, 0.15) == pytest.approx(float(norm.ppf(0.7)), abs=1e-7)
    icc = {"icc": Beta(2.0, 38.0)}
    k = assured_size(SCHOOLS, effect=-0.1, priors=icc)
    assert assurance(replace(SCHOOLS, clusters_per_arm=math.ceil(k)), effect=-0.1, priors=icc).value >= 0.8
    assert assurance(replace(SCHOOLS, clusters_per_arm=math.ceil(k) - 1), effect=-0.1, priors=icc).value < 0.8
    with pytest.raises(DesignError, match=r"No size assures 0\.95"):
        assured_size(KNOWN, effect=Normal(0.3, 0.3), assurance=0.95, **UPPER)
    with pytest.raises(DesignError, match=r"cannot assure 0\.95"):
        assured_size(SCHOOLS, effect=-0.1, priors=icc, assurance=0.95, solve_for="cluster_size")


def test_more_people_are_more_assurance_up_to_its_ceiling() -> None:
    values = [
        assurance(replace(KNOWN, n_per_arm=n), effect=Normal(0.2, 0.2), **UPPER).value for n in (50, 200, 1000, 10**6)
    ]
    ceiling = assurance(KNOWN, effect=Normal(0.2, 0.2), **UPPER).ceiling
    assert values == sorted(values)
    assert values[-1] < ceiling < values[-1] + 0.01


def test_impossible_priors_are_left_out_when_few_and_refused_when_many() -> None:
    few = assurance(SCHOOLS, effect=Normal(-0.15, 0.055))
    assert 0.0 < few.outside < 0.01
    assert any("impossible" in what for what, _ in few.to_table().rows)
    with pytest.raises(DesignError, match="of the priors this plan is impossible"):
        assurance(SCHOOLS, effect=Normal(-0.2, 0.2))


def test_published_values_bring_their_interval_and_their_source() -> None:
    latent = replace(SCHOOLS, icc=ICC(0.17, scale="latent_logistic"))
    found = assurance(latent, effect=planning_value("EF14"), priors={"icc": planning_value("IC02")})
    told = dict(found.priors)
    assert "Dunkle" in told["effect"]
    assert "risk ratio" in told["effect"]
    assert "Bangladesh" in told["icc"]
    with pytest.raises(DesignError, match="icc latent logistic"):
        assurance(SCHOOLS, effect=-0.1, priors={"icc": planning_value("IC02")})
    with pytest.raises(DesignError, match="give it as effect"):
        assurance(SCHOOLS, effect=-0.1, priors={"risk": planning_value("EF14")})
    risk = planning_value("BR05").with_sd(0.03)
    assert (
        "a spread of 0.03 is set here"
        in dict(assurance(SCHOOLS, effect=-0.1, priors={"risk": risk}).priors)["outcome.risk"]
    )


def test_intervals_of_the_table_are_those_of_the_priors() -> None:
    seen = 0
    for value in planning_values():
        if value.lower is None or value.upper is None or value.measure not in ("smd", "risk_ratio", "odds_ratio"):
            continue
        prior = value.prior()
        assert isinstance(prior, EffectPrior)
        width = [float(prior.prior.quantile(share)) for share in (0.025, 0.975)]
        ratio = value.measure != "smd"
        # The spread is that of the interval; its centre is the estimate, so limits shift as far as it is off centre.
        found, stated = ((math.log(b / a) if ratio else b - a) for a, b in (width, (value.lower, value.upper)))
        assert found == pytest.approx(stated, rel=1e-9)
        assert float(prior.prior.quantile(0.5)) == pytest.approx(value.estimate, rel=1e-12)
        seen += 1
    assert seen > 8


def test_a_picture_of_assurance() -> None:
    mpl.use("Agg")
    axis = assurance(KNOWN, effect=Normal(0.3, 0.15)).plot()
    assert "what may be true" in axis.get_xlabel()
    assert len(axis.patches) == 40


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: assurance(SCHOOLS, effect=-0.1, priors={"rsk": Beta(2, 3)}), "Did you mean 'risk'"),
        (lambda: assurance(SCHOOLS, effect=-0.1, priors={"icc": Flat()}), "prior with quantiles"),
        (lambda: assurance(SCHOOLS, effect=-0.1, priors=[Beta(2, 3)]), "mapping"),
        (lambda: assurance(SCHOOLS, effect="x"), "prior with quantiles"),
        (lambda: assurance(SCHOOLS, effect=-0.1, priors={"cluster_size": Uniform(3.0)}), "has no number"),
        (lambda: assurance(SCHOOLS, effect=-0.1, priors={"icc": Beta(2, 3), "icc.value": Beta(2, 3)}), "two priors"),
        (lambda: assurance(MEANS, effect=EffectPrior(Normal(1, 1), "risk_ratio")), "effect on a Binary"),
        (lambda: EffectPrior(Normal(1, 1), "hazard_ratio"), "measure"),
        (
            lambda: assurance(
                DisclosureDesign(SCHOOLS, Disclosure(0.7), Disclosure(0.8)),
                effect=-0.1,
                priors={"sensitivity": Beta(2, 3)},
            ),
            "'control.sensitivity' or 'treated.sensitivity'",
        ),
        (lambda: assured_size(ParallelDesign(50, Binary(0.3), analysis="fisher"), effect=0.1), "may be any number"),
        (lambda: planning_value("BR5"), "Did you mean"),
        (lambda: planning_value(None), "no planning value"),
        (lambda: planning_values(kind="iccs"), "Nearest: icc"),
        (lambda: planning_values(kind="icc", topic="cyber"), "all of that"),
        (lambda: planning_value("CO01").prior(), "no number of a plan"),
        (lambda: planning_value("BR05").prior(), "no interval"),
        (lambda: planning_value("BR05").with_sd(0.7).prior(), "No beta prior"),
    ],
)
def test_what_cannot_be_is_refused_by_name(make: Any, match: str) -> None:
    with pytest.raises(DesignError, match=match):
        make()
