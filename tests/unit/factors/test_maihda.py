"""MAIHDA: likelihoods by brute force, the closed form of the normal, coverage of VPC and PCV, and refusals."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import integrate as quadrature
from scipy import stats

import gbveval as gbv
from gbveval.core.errors import DataError, DesignError, IdentificationError
from gbveval.factors._strata import overdispersed, people_in_strata
from gbveval.numerics.mixed_glm_likelihood import log_likelihood
from gbveval.numerics.random_strata import Strata, fit_strata, given_sd
from gbveval.numerics.strata_inference import spread_nodes, stratum_levels, variance_draws

FloatArray = NDArray[np.float64]
CELLS = list(product(range(2), range(3), range(4)))
X = np.array([[1, a, b == 1, b == 2, c == 1, c == 2, c == 3] for a, b, c in CELLS], dtype=float)
BETA = np.array([-1.0, 0.5, 0.3, -0.4, 0.2, 0.6, -0.3])


def strata(seed: int, sd: float = 0.3, people: float = 60, family: str = "binomial", beta: FloatArray = BETA) -> Strata:
    rng = np.random.default_rng(seed)
    eta = X @ beta + sd * rng.normal(size=len(X))
    n = 2.0 + rng.poisson(people, len(X))
    if family == "binomial":
        return Strata(n, rng.binomial(n.astype(int), 1 / (1 + np.exp(-eta))).astype(float), X, family)
    if family == "poisson":
        return Strata(n, rng.poisson(n * np.exp(eta)).astype(float), X, family)
    y = [e + 1.5 * rng.normal(size=int(k)) for e, k in zip(eta, n, strict=True)]
    within = sum(float(((v - v.mean()) ** 2).sum()) for v in y)
    return Strata(n, np.array([v.sum() for v in y]), X, family, within, n.sum() - len(n))


def likelihood(found: Strata, beta: FloatArray, sd: float, points: int) -> float:
    modes = [np.zeros(batch.shape) for batch in found.cells.batches]
    return log_likelihood(found.cells, beta, np.array([sd]), modes, points)[0]


@pytest.mark.parametrize("family", ["binomial", "poisson"])
def test_quadrature_is_the_integral(family: str) -> None:
    found, sd = strata(1, family=family), 0.7
    for j in (0, 5, 17):
        one = Strata(found.n[j : j + 1], found.total[j : j + 1], X[j : j + 1], family)
        eta, y, n = float((one.X @ BETA)[0]), float(one.total[0]), float(one.n[0])

        def log_density(linear: float, y: float = y, n: float = n) -> float:
            return y * linear - n * (np.logaddexp(0.0, linear) if family == "binomial" else np.exp(linear))

        def density(z: float, eta: float = eta, log_density: Callable[[float], float] = log_density) -> float:
            return float(np.exp(log_density(eta + sd * z) - log_density(eta)) * stats.norm.pdf(z))

        exact = quadrature.quad(density, -8, 8, points=[0.0], epsabs=0, epsrel=1e-11, limit=400)[0]
        assert likelihood(one, BETA, sd, 25) == pytest.approx(log_density(eta) + np.log(exact), abs=1e-8)


@pytest.mark.parametrize("points", [1, 15])
@pytest.mark.parametrize("family", ["binomial", "poisson"])
def test_given_the_spread_no_other_coefficients_are_likelier(family: str, points: int) -> None:
    found = strata(2, family=family)
    at = given_sd(found, 0.5, points)
    assert at.log_profile == pytest.approx(likelihood(found, at.beta, 0.5, points), abs=1e-9)
    for k in range(len(BETA)):
        for step in (-1e-3, 1e-3):
            assert likelihood(found, at.beta + step * np.eye(len(BETA))[k], 0.5, points) < at.log_profile


def test_the_maximum_is_one_in_every_direction() -> None:
    found = strata(3)
    fit = fit_strata(found, 15)
    top = likelihood(found, fit.beta, np.sqrt(fit.variance), 15)
    assert fit.log_likelihood == pytest.approx(top, abs=1e-7)
    rng = np.random.default_rng(1)
    for _ in range(40):
        beta = fit.beta + 0.02 * rng.normal(size=len(BETA))
        sd = np.sqrt(fit.variance) * np.exp(0.1 * rng.normal())
        assert likelihood(found, beta, sd, 15) <= top + 1e-9


def test_standard_errors_are_of_the_joint_curvature() -> None:
    """Second differences of Laplace's likelihood in intercept and sd, which R's own inner tolerance blurs by 0.2 %."""
    found = replace(strata(4), X=X[:, :1])
    fit = fit_strata(found, 1)
    sd, h = float(np.sqrt(fit.variance)), 1e-3

    def value(b: float, s: float) -> float:
        return likelihood(found, fit.beta + b, sd + s, 1)

    bb = (value(h, 0) - 2 * value(0, 0) + value(-h, 0)) / h**2
    ss = (value(0, h) - 2 * value(0, 0) + value(0, -h)) / h**2
    bs = (value(h, h) - value(h, -h) - value(-h, h) + value(-h, -h)) / (4 * h**2)
    expected = np.linalg.inv(-np.array([[bb, bs], [bs, ss]]))[0, 0]
    assert fit.covariance[0, 0] == pytest.approx(expected, rel=1e-4)


def test_the_normal_family_in_balanced_strata_has_the_anova_estimates() -> None:
    rng = np.random.default_rng(6)
    y = 0.8 * rng.normal(size=(24, 1)) + rng.normal(size=(24, 50))
    within = float(((y - y.mean(axis=1, keepdims=True)) ** 2).sum())
    found = Strata(np.full(24, 50.0), y.sum(axis=1), np.ones((24, 1)), "normal", within, 24.0 * 49)
    fit = fit_strata(found, 1)
    inside = within / (24 * 49)
    assert fit.residual == pytest.approx(inside, rel=1e-6)
    assert fit.variance == pytest.approx(np.var(y.mean(axis=1), ddof=1) - inside / 50, rel=1e-6)
    assert fit.beta[0] == pytest.approx(y.mean(), rel=1e-9)


def test_in_balanced_normal_strata_the_share_of_main_effects_has_the_noncentral_f_interval() -> None:
    """With enormous strata their means are known, and PCV is a fixed-design R squared."""
    rng = np.random.default_rng(7)
    mean = X @ BETA + 0.3 * rng.normal(size=24)
    found = Strata(np.full(24, 1e7), 1e7 * mean, X, "normal", 1e7 * 24 - 24.0, 1e7 * 24 - 24.0)
    draws = variance_draws(found, spread_nodes(found, fit_strata(found, 1), 1), 60_000, np.random.default_rng(1))
    fitted = X @ np.linalg.lstsq(X, mean, rcond=None)[0]
    residual = float(((mean - fitted) ** 2).sum())
    p, df = X.shape[1] - 1, 24 - X.shape[1]
    f = float(((fitted - fitted.mean()) ** 2).sum()) / p / (residual / df)
    pcv = draws.main / (draws.main + draws.rest)
    for level in (0.05, 0.5, 0.95):
        # P(R squared <= r) is the upper tail of the noncentral F at r's noncentrality.
        r = float(np.quantile(pcv, level))
        tail = float(stats.ncf.sf(f, p, df, 24 * r / (1 - r)))
        # 60,000 draws: an error of 0.002 in a probability, and Jeffreys' prior counts the variance's df as the F does.
        assert tail == pytest.approx(level, abs=0.02)


@pytest.mark.once
@pytest.mark.parametrize(("sd", "scale"), [(0.3, 1.0), (0.1, 1.0), (0.4, 0.0)])
def test_intervals_of_variance_shares_cover(sd: float, scale: float) -> None:
    """200 simulations: inside the 99 % band of a binomial, for two quantities and three truths."""
    beta = BETA * np.r_[1.0, np.full(6, scale)]
    main = float(np.var(X[:, 1:] @ beta[1:]))
    truth = {"vpc": (main + sd**2) / (main + sd**2 + np.pi**2 / 3), "pcv": main / (main + sd**2)}
    covered = {"vpc": 0, "pcv": 0}
    for seed in range(200):
        found = strata(1000 + seed, sd, beta=beta)
        nodes = spread_nodes(found, fit_strata(found, 5), 5)
        d = variance_draws(found, nodes, 2000, np.random.default_rng(seed))
        whole = d.main + d.rest
        for name, values in (("vpc", whole / (whole + np.pi**2 / 3)), ("pcv", d.main / whole)):
            low, high = np.quantile(values, [0.025, 0.975])
            covered[name] += bool(low <= truth[name] <= high)
    low, high = stats.binom.interval(0.99, 200, 0.95)
    assert low <= covered["vpc"] <= high
    # A share of zero lies on its bound, where an interval that starts there always holds it.
    assert low <= covered["pcv"] <= (200 if scale == 0 else high)


@pytest.mark.once
def test_levels_of_strata_cover_and_lean_on_main_effects() -> None:
    inside, total = 0, 0
    for seed in range(30):
        rng = np.random.default_rng(seed)
        eta = X @ BETA + 0.4 * rng.normal(size=24)
        n = np.tile([3, 300], 12)
        found = Strata(n.astype(float), rng.binomial(n, 1 / (1 + np.exp(-eta))).astype(float), X, "binomial")
        nodes = spread_nodes(found, fit_strata(found, 7), 7)
        levels = stratum_levels(found, nodes)
        inside += int((np.abs(eta - levels.levels.mean) < 1.96 * levels.levels.sd).sum())
        total += 24
    # 720 levels, correlated within a study: two hundredths.
    assert inside / total == pytest.approx(0.95, abs=0.025)
    own = np.abs(levels.departures.mean)
    assert own[::2].mean() < own[1::2].mean()


def survey(n: int = 1200, **columns: object) -> gbv.Survey:
    rng = np.random.default_rng(8)
    frame: dict[str, object] = {"g": rng.choice(["m", "w", "x"], n), "c": rng.choice(["1", "2", "3"], n)}
    frame["y"] = (rng.random(n) < 0.2 + 0.2 * (frame["g"] == "x")).astype(float)
    frame |= columns
    return gbv.Survey(frame, outcome="y")


def test_rows_say_what_they_are() -> None:
    answer = gbv.Maihda(["g", "c"]).estimate(survey())
    assert len(answer) == 3 + 2 * 9
    vpc = dict(answer["VPC"].extra)
    assert 0.5 < vpc["auc"] < 0.7
    level = answer["g and c: x, 1"]
    assert level.estimand.link == "logit"
    assert answer.tidy()["p_value"].isna()[:12].all()
    assert 1 / (1 + np.exp(-level.value)) == pytest.approx(0.4, abs=0.08)


def test_a_level_of_a_small_stratum_is_not_released() -> None:
    """What the model says of four people leans on others, and gives them away all the same."""
    rng = np.random.default_rng(11)
    g = rng.choice(["m", "w"], 1200).astype(object)
    g[:4] = "x"
    answer = gbv.Maihda(["g", "c"], quadrature=5).estimate(survey(g=g))
    released = gbv.release(answer).items[0]
    hidden = {row["term"] for row in released.rows if row.hidden}
    small = [t.term for t in answer.terms if min(cell.n for cell in t.support) < 10]
    assert small
    assert set(small) <= hidden
    assert "VPC" not in hidden
    # Over each category departures add to almost zero: of all but one, the last follows.
    away = [term for term in answer.terms if term.term.startswith("departure")]
    assert {term.term for term in away} <= hidden
    of_x = [term.value for term in away if ": x," in term.term]
    assert abs(sum(of_x)) < 0.1 * sum(map(abs, of_x))


def test_auc_is_the_share_of_pairs_in_order() -> None:
    data = survey(300)
    answer = gbv.Maihda(["g", "c"], quadrature=5).estimate(data)
    people = people_in_strata(data, [data.labels("g"), data.labels("c")], ("g", "c"), "binomial")
    score = (people.sums.levels @ fit_strata(people.sums, 5).beta)[people.domains.codes]
    y = data.outcomes[:, 0] == 1
    gap = score[y][:, None] - score[~y]
    expected = np.mean((gap > 1e-10) + 0.5 * (np.abs(gap) <= 1e-10))
    assert dict(answer["VPC after main effects"].extra)["auc"] == pytest.approx(expected, abs=1e-9)


def test_both_models_can_be_read() -> None:
    table = gbv.Maihda(["g", "c"], quadrature=5).models(survey())
    found = {(row[0], row[1]): row[2] for row in table.rows}
    assert {("null", "variance"), ("main effects", "g[w]"), ("main effects", "log likelihood")} <= set(found)
    assert found["main effects", "log likelihood"] > found["null", "log likelihood"]


def test_missing_answers_are_counted_and_stand_with_the_smallest_stratum() -> None:
    rng = np.random.default_rng(9)
    g = rng.choice(["m", "w", "x"], 1200).astype(object)
    g[:30] = None
    answer = gbv.Maihda(["g", "c"]).estimate(survey(g=g))
    assert any("30 of 1,200" in check.message for check in answer.checks)
    cells = [cell.label for term in answer.terms for cell in term.support]
    # With one level, with all nine departures, which rest on all strata together, and with VPC, VPC after main effects
    # and PCV, whose number of respondents less the strata would tell them.
    assert cells.count("(no answer)") == 1 + 9 + 3
    assert answer["VPC"].n_units == 1170


def test_few_events_for_many_main_effects_are_told() -> None:
    def sparse(n: int) -> bool:
        rng = np.random.default_rng(3)
        frame = {name: rng.choice(list("abcd"), n) for name in ("p", "q", "r")}
        data = gbv.Survey(frame | {"y": (rng.random(n) < 0.2).astype(float)}, outcome="y")
        return any(
            check.name == "sparse strata" for check in gbv.Maihda(["p", "q", "r"], quadrature=3).estimate(data).checks
        )

    # Information n .2 .8 for ten coefficients: 5 and 64 each.
    assert sparse(300)
    assert not sparse(4000)


def test_counts_and_normal_outcomes() -> None:
    rng = np.random.default_rng(10)
    counts = gbv.Maihda(["g", "c"], family="poisson").estimate(survey(y=rng.poisson(1.3, 1200).astype(float)))
    assert counts["g and c: m, 1"].estimand.contrast == "rate"
    assert not any(check.name == "overdispersion" for check in counts.checks)
    many = rng.poisson(1.3 * rng.gamma(0.5, 2.0, 1200)).astype(float)
    counts = gbv.Maihda(["g", "c"], family="poisson", quadrature=3).estimate(survey(y=many))
    assert any(check.name == "overdispersion" for check in counts.checks)
    normal = gbv.Maihda(["g", "c"], family="normal").estimate(survey(y=rng.normal(size=1200)))
    assert 0 <= normal["VPC"].value < 0.1


@pytest.mark.parametrize("time", [0.2, 1.0, 30.0])
def test_counts_that_vary_more_than_poisson_counts_are_told(time: float) -> None:
    """Poisson counts with rates of people that vary: a variance of m + m^2, so that of m = 0.2 nothing is seen."""
    cell = np.arange(4000) % 40
    rate = time * np.exp(0.4 * np.random.default_rng(1).normal(size=40))[cell]
    told = [0, 0]
    for seed in range(100):
        rng = np.random.default_rng(seed)
        told[0] += overdispersed(rng.poisson(rate).astype(float), cell)
        told[1] += overdispersed(rng.poisson(rate * rng.gamma(1.0, 1.0, 4000)).astype(float), cell)
    assert told == [0, 0 if time < 0.5 else 100]
    # Time at risk that explains the counts is no overdispersion.
    at_risk = np.random.default_rng(2).uniform(0.1, 10.0, 4000)
    y = np.random.default_rng(3).poisson(rate * at_risk).astype(float)
    assert not overdispersed(y, cell, at_risk)


def measured(unit: float = 1.0, **columns: object) -> gbv.Survey:
    rng = np.random.default_rng(12)
    g, c = rng.choice(["m", "w", "x"], 600), rng.choice(["1", "2", "3"], 600)
    y = 0.5 * (g == "x") + 0.4 * ((g == "w") & (c == "1")) + rng.normal(size=600)
    return gbv.Survey({"g": g, "c": c, "y": unit * y} | columns, outcome="y")


@pytest.mark.parametrize("unit", [1e-12, 1e7])
def test_the_unit_of_a_measured_outcome_does_not_matter(unit: float) -> None:
    """Naira in place of millions: levels are scaled, and shares are of the same distribution."""
    model = gbv.Maihda(["g", "c"], family="normal")
    one, other = model.estimate(measured()), model.estimate(measured(unit))
    for a, b in zip(one.terms[3:], other.terms[3:], strict=True):
        # The nodes are placed by a search that stops at 1e-9 of the log spread.
        assert b.value == pytest.approx(unit * a.value, rel=1e-6)  # type: ignore[operator]
        assert b.std_error == pytest.approx(unit * a.std_error, rel=1e-6)  # type: ignore[operator]
    for a, b in zip(one.terms[:3], other.terms[:3], strict=True):
        # Two means of 4,000 draws each: six of their errors.
        assert b.value == pytest.approx(a.value, abs=6 * np.sqrt(2 / 4000) * a.std_error)  # type: ignore[operator]


def test_strata_whose_means_are_almost_known_keep_their_digits() -> None:
    """A variance between strata 1e18 times that of their means: the restricted likelihood is that of the means."""
    mean = X @ BETA + 0.3 * np.random.default_rng(7).normal(size=24)
    found = Strata(np.full(24, 1e9), 1e9 * mean, X, "normal", 1e-9 * 24e9, 24e9)
    at = given_sd(found, 0.3, 1)
    basis = np.linalg.inv(X.T @ X)
    assert at.beta == pytest.approx(basis @ X.T @ mean, abs=1e-9)
    assert at.covariance == pytest.approx(0.09 * basis, rel=1e-9)


def test_without_variance_within_strata_there_is_no_share() -> None:
    data = measured()
    place = (3 * data.labels("g").codes + data.labels("c").codes).astype(float)
    with pytest.raises(IdentificationError, match="does not vary between people within strata"):
        gbv.Maihda(["g", "c"], family="normal").estimate(measured(y=place))
    every = list(product("mwx", "123"))
    alone = {"g": [a for a, _ in every], "c": [b for _, b in every], "y": np.sqrt(np.arange(9.0))}
    with pytest.raises(IdentificationError, match="does not vary between people within strata"):
        gbv.Maihda(["g", "c"], family="normal").estimate(gbv.Survey(alone, outcome="y"))


def test_refusals() -> None:
    with pytest.raises(DesignError, match="two columns"):
        gbv.Maihda(["g"])
    with pytest.raises(DesignError, match="family is one of"):
        gbv.Maihda(["g", "c"], family="gamma")
    with pytest.raises(DesignError, match="1 to 60"):
        gbv.Maihda(["g", "c"], quadrature=0)
    with pytest.raises(DesignError, match="say which family"):
        gbv.Maihda(["g", "c"]).estimate(survey(y=np.linspace(0, 3, 1200)))
    with pytest.raises(DataError, match="not a count in 1,198 rows"):
        gbv.Maihda(["g", "c"], family="poisson").estimate(survey(y=np.linspace(0, 3, 1200)))
    with pytest.raises(IdentificationError, match="at least 6"):
        gbv.Maihda(["g", "c"]).estimate(survey(g=["m", "w"] * 600, c=["1"] * 600 + ["2"] * 600))
    with pytest.raises(IdentificationError, match="takes one value"):
        gbv.Maihda(["g", "c"]).estimate(survey(y=np.zeros(1200)))
    twins = {"g": ["m", "m, 1"] * 600, "c": ["1, 2", "2", "1, 2"] * 400}
    with pytest.raises(DesignError, match="would have one name"):
        gbv.Maihda(["g", "c"]).estimate(survey(**twins))
    with pytest.raises(DesignError, match="outcome of the survey"):
        gbv.Maihda(["g", "y"]).estimate(survey())


@pytest.mark.parametrize("family", ["normal", "binomial"])
def test_levels_and_departures_are_joint_normals_given_the_spread(family: str) -> None:
    """At one spread: the posterior of a linear mixed model, by dense matrices; working responses for log odds."""
    found = strata(21, people=8, family=family)
    fit = fit_strata(found, 1)
    nodes = spread_nodes(found, fit, 1)
    k = len(nodes.sd) // 2
    one = replace(nodes, sd=nodes.sd[k : k + 1], weight=np.ones(1), given=nodes.given[k : k + 1])
    at, s2 = nodes.given[k], float(nodes.sd[k] ** 2)
    answer = stratum_levels(found, one)
    v = s2 * np.eye(24) + np.diag(1.0 / at.information)
    inverse = np.linalg.inv(v)
    beta_cov = np.linalg.inv(X.T @ inverse @ X)
    project = s2 * inverse @ X
    own = s2 * np.eye(24) - s2 * inverse * s2
    # u given b: mean s^2 V^-1 (y - Xb), covariance s^2 - s^2 V^-1 s^2; b has covariance (X'V^-1 X)^-1.
    assert answer.departures.covariance == pytest.approx(own + project @ beta_cov @ project.T, abs=1e-9)
    both = X - project
    assert answer.levels.covariance == pytest.approx(own + both @ beta_cov @ both.T, abs=1e-9)
    drawn = answer.levels.sample(40_000, np.random.default_rng(1))
    # 40,000 draws: a covariance has an error of about half a per cent of the variances.
    assert np.cov(drawn, rowvar=False) == pytest.approx(
        answer.levels.covariance, abs=0.03 * answer.levels.covariance.max()
    )
