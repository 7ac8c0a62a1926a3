"""MAIHDA with sites crossed: the likelihood by plain integrals, balanced closed forms, one site, coverage."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

import gbveval as gbv
from gbveval.core.errors import DesignError, IdentificationError
from gbveval.numerics.random_strata import GivenSd, Strata, fit_strata, given_sd
from gbveval.numerics.strata_inference import SpreadNodes, spread_nodes, stratum_levels, variance_draws

FloatArray = NDArray[np.float64]
SITES = 4
COMBINATIONS = list(product(range(2), range(3), range(4)))
LEVEL = np.array([[1, a, b == 1, b == 2, c == 1, c == 2, c == 3, 0, 0, 0] for a, b, c in COMBINATIONS], dtype=float)
CONTRASTS = np.vstack([np.eye(SITES - 1), -np.ones(SITES - 1)])
STRATUM, SITE = np.divmod(np.arange(len(LEVEL) * SITES), SITES)
ROWS = LEVEL[STRATUM] + np.column_stack([np.zeros((len(STRATUM), 7)), CONTRASTS[SITE]])
BETA = np.array([-1.0, 0.5, 0.3, -0.4, 0.2, 0.6, -0.3, 0.5, -0.2, -0.4])


def crossed(seed: int, sd: float = 0.3, people: float = 15, family: str = "binomial") -> tuple[Strata, FloatArray]:
    """Strata crossed with four sites, and the true departures."""
    rng = np.random.default_rng(seed)
    away = sd * rng.normal(size=len(LEVEL))
    eta = ROWS @ BETA + away[STRATUM]
    n = 1.0 + rng.poisson(people, len(eta))
    roles = {"family": family, "stratum": STRATUM, "level": LEVEL, "sites": SITES}
    if family == "normal":
        y = [e + 1.5 * rng.normal(size=int(k)) for e, k in zip(eta, n, strict=True)]
        within = sum(float(((v - v.mean()) ** 2).sum()) for v in y)
        total = np.array([v.sum() for v in y])
        return Strata(n, total, ROWS, within=within, within_df=float(n.sum() - len(n)), **roles), away  # type: ignore[arg-type]
    if family == "poisson":
        return Strata(n, rng.poisson(n * np.exp(eta)).astype(float), ROWS, **roles), away  # type: ignore[arg-type]
    risk = 1 / (1 + np.exp(-eta))
    return Strata(n, rng.binomial(n.astype(int), risk).astype(float), ROWS, **roles), away  # type: ignore[arg-type]


@pytest.mark.parametrize("family", ["binomial", "poisson"])
def test_the_departure_is_shared_by_the_cells_of_a_stratum(family: str) -> None:
    found, _ = crossed(1, family=family)
    at = given_sd(found, 0.7, 25)
    z = np.linspace(-9.0, 9.0, 20_001)
    eta = (found.X @ at.beta)[:, None] + 0.7 * z
    mass = np.logaddexp(0.0, eta) if family == "binomial" else np.exp(eta)
    height = np.zeros((len(LEVEL), z.size))
    np.add.at(height, STRATUM, found.total[:, None] * eta - found.n[:, None] * mass)
    top = height.max(axis=1)
    plain = top + np.log(np.trapezoid(np.exp(height - top[:, None]) * stats.norm.pdf(z), z, axis=1))
    # A trapezoid over 20,001 points of smooth densities that vanish at both ends.
    assert at.log_profile == pytest.approx(plain.sum(), abs=1e-6)


def test_normal_cells_have_the_likelihood_of_their_joint_distribution() -> None:
    """By the density of all cell means, with a covariance matrix, and of the squares within cells."""
    found, _ = crossed(2, family="normal")
    sd = 0.4
    at = given_sd(found, sd, 1)
    shared = (STRATUM[:, None] == STRATUM) * sd**2
    v = shared + np.diag(at.residual / found.n)
    inverse = np.linalg.inv(v)
    curve = found.X.T @ inverse @ found.X
    beta = np.linalg.solve(curve, found.X.T @ inverse @ found.mean)
    assert at.beta == pytest.approx(beta, abs=1e-9)
    assert at.covariance == pytest.approx(np.linalg.inv(curve), abs=1e-10)
    left = found.mean - found.X @ beta
    value = found.within_df * np.log(at.residual) + found.within / at.residual
    value += np.linalg.slogdet(v)[1] + left @ inverse @ left + np.linalg.slogdet(curve)[1]
    # found counts log |V| without the constant sum of log n.
    assert at.log_restricted == pytest.approx(-0.5 * value, abs=1e-7)
    assert at.deviation[STRATUM] == pytest.approx(shared @ inverse @ left, abs=1e-9)


def test_with_one_site_nothing_changes() -> None:
    found, _ = crossed(3)
    merged = Strata(found.by_stratum(found.n), found.by_stratum(found.total), LEVEL[:, :7], "binomial")
    same = replace(merged, stratum=np.arange(len(LEVEL)), level=LEVEL[:, :7])
    one, other = (
        variance_draws(s, spread_nodes(s, fit_strata(s, 5), 5), 50, np.random.default_rng(1)) for s in (merged, same)
    )
    assert one.main == pytest.approx(other.main)
    assert one.rest == pytest.approx(other.rest)
    assert not one.sites.any()


@pytest.mark.parametrize("spread", [0.0, 0.3])
def test_small_sites_do_not_pass_for_different_ones(spread: float) -> None:
    """Twenty sites, half of them of a few people: the variance between sites is not that of their errors."""
    rng = np.random.default_rng(3)
    sites, runs = 20, 300
    people = np.where(np.arange(sites) % 2 == 0, 12.0, 600.0)
    truth = rng.normal(size=sites)
    truth = spread * (truth - truth.mean()) / truth.std()
    contrasts = np.vstack([np.eye(sites - 1), -np.ones(sites - 1)])
    rows = np.column_stack([np.ones(sites), contrasts])
    # One stratum, so that what is left is the sites'; log odds with five events in ten.
    inside, middle = 0, 0.0
    found = Strata(people, people, rows, "normal", stratum=np.zeros(sites, dtype=np.intp), level=rows[:1], sites=sites)
    covariance = np.linalg.inv((rows * (0.25 * people)[:, None]).T @ rows)
    for _ in range(runs):
        beta = covariance @ (rows.T @ (0.25 * people * (truth + rng.normal(size=sites) / np.sqrt(0.25 * people))))
        at = GivenSd(beta, covariance, 0.0, 0.0, np.zeros(1), np.ones(1), rows[:1], 1.0)
        d = variance_draws(found, SpreadNodes(np.ones(1), np.ones(1), (at,), 0.0), 400, rng).sites
        low, high = np.quantile(d, [0.025, 0.975])
        inside += low <= spread**2 <= high
        middle += float(np.median(d)) / runs
    # Errors of unequal sites are only about a chi-square: intervals may hold more than they say, and not less.
    assert inside >= stats.binom.ppf(0.005, runs, 0.95)
    # Errors alone have a variance of .17 over the sites; less than a third of it is left.
    assert middle == pytest.approx(spread**2, abs=0.05)


@pytest.mark.once
@pytest.mark.parametrize(("family", "sd"), [("binomial", 0.3), ("poisson", 0.3)])
def test_shares_and_levels_cover(family: str, sd: float) -> None:
    """100 simulations: variances between strata and sites, and levels in the middle of the sites."""
    main = float(np.var(LEVEL @ BETA))
    sites = float(np.var(CONTRASTS @ BETA[7:]))
    inside = {"pcv": 0, "strata": 0, "sites": 0}
    levels_in = 0
    for seed in range(100):
        found, away = crossed(500 + seed, sd, family=family)
        nodes = spread_nodes(found, fit_strata(found, 5), 5)
        d = variance_draws(found, nodes, 2000, np.random.default_rng(seed))
        for name, values, truth in (
            ("pcv", d.main / (d.main + d.rest), main / (main + sd**2)),
            ("strata", d.main + d.rest, main + sd**2),
            ("sites", d.sites, sites),
        ):
            low, high = np.quantile(values, [0.025, 0.975])
            inside[name] += bool(low <= truth <= high)
        levels = stratum_levels(found, nodes).levels
        levels_in += int((np.abs(LEVEL @ BETA + away - levels.mean) < 1.96 * levels.sd).sum())
    low, high = stats.binom.interval(0.99, 100, 0.95)
    assert all(low <= count <= high for count in inside.values()), inside
    # 2,400 levels, those of a study correlated: an error of a hundredth.
    assert levels_in / 2400 == pytest.approx(0.95, abs=0.02)


def survey(seed: int = 8, n: int = 3000, **columns: object) -> gbv.Survey:
    rng = np.random.default_rng(seed)
    frame: dict[str, object] = {
        "g": rng.choice(["m", "w", "x"], n),
        "c": rng.choice(["1", "2", "3"], n),
        "country": rng.choice(["a", "b", "c", "d"], n),
    }
    risk = 0.15 + 0.15 * (frame["g"] == "x") + 0.2 * (frame["country"] == "a")
    frame["y"] = (rng.random(n) < risk).astype(float)
    frame |= columns
    return gbv.Survey(frame, outcome="y")


def test_sites_have_a_share_and_levels_are_in_their_middle() -> None:
    answer = gbv.Maihda(["g", "c"], site="country").estimate(survey())
    share = answer["VPC of sites"]
    assert share.estimand.effect == "between_sites_share"
    assert 0.02 < share.value < 0.15
    logit = np.log(np.array([0.15, 0.30]) / np.array([0.85, 0.70]))
    # The middle of four sites, of which one has twenty points more, on the log-odds scale.
    expected = np.mean([np.log(0.35 / 0.65), logit[0], logit[0], logit[0]])
    assert answer["g and c: m, 1"].value == pytest.approx(expected, abs=0.3)
    assert "crossed with 4 sites" in answer.method.sample
    assert not any("country" in str(row) for row in gbv.Maihda(["g", "c"], site="country").models(survey()).rows)


def test_order_and_names_of_sites_do_not_matter() -> None:
    model = gbv.Maihda(["g", "c"], quadrature=5, site="country")
    names = {"a": "d", "b": "c", "c": "a", "d": "b"}
    one = model.estimate(survey())
    rng = np.random.default_rng(8)
    rng.choice(["m", "w", "x"], 3000), rng.choice(["1", "2", "3"], 3000)
    country = rng.choice(["a", "b", "c", "d"], 3000)
    other = model.estimate(survey(country=np.array([names[c] for c in country])))
    # Levels are exact; shares are of 4,000 draws.
    assert [t.value for t in one.terms[4:]] == pytest.approx([t.value for t in other.terms[4:]], abs=1e-6)


def test_missing_sites_are_counted() -> None:
    rng = np.random.default_rng(2)
    country = rng.choice(["a", "b", "c", "d"], 3000).astype(object)
    country[:40] = None
    answer = gbv.Maihda(["g", "c"], quadrature=5, site="country").estimate(survey(country=country))
    assert answer["VPC"].n_units == 2960
    assert any("country is missing for 40 of 3,000" in check.message for check in answer.checks)
    assert sum(cell.n for term in answer.terms[4:13] for cell in term.support) == 3000


def test_refusals() -> None:
    with pytest.raises(DesignError, match="one place"):
        gbv.Maihda(["g", "c"], site="g")
    with pytest.raises(IdentificationError, match="one site"):
        gbv.Maihda(["g", "c"], site="country").estimate(survey(country=["a"] * 3000))
    rng = np.random.default_rng(3)
    g = rng.choice(["m", "w", "x"], 3000)
    with pytest.raises(IdentificationError, match="cannot be told from"):
        gbv.Maihda(["g", "c"], site="country").estimate(survey(g=g, country=np.where(g == "x", "b", "a")))
    c = np.where(g == "x", "3", rng.choice(["1", "2"], 3000))
    with pytest.raises(IdentificationError, match="only together with"):
        gbv.Maihda(["g", "c", "country"]).estimate(survey(g=g, c=c))
