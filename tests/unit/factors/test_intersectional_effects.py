"""Effects by intersectional stratum: likelihoods by plain sums, matrices and other engines; coverage; refusals."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

import gbveval as gbv
from gbveval.core.errors import DataError, DesignError, IdentificationError
from gbveval.numerics.effects_by_stratum import known_strata, mean_strata, odds_strata, rate_strata
from gbveval.numerics.effects_in_clusters import effects_in_clusters
from gbveval.numerics.mixed_glm_likelihood import cumulant
from gbveval.numerics.one_stage import fit_one_stage
from gbveval.numerics.random_strata import fit_strata, given_sd
from gbveval.numerics.strata_inference import spread_nodes, stratum_levels, variance_draws, with_shared_error

FloatArray = NDArray[np.float64]
CELLS = list(product(range(2), range(3), range(4)))
X = np.array([[1, a, b == 1, b == 2, c == 1, c == 2, c == 3] for a, b, c in CELLS], dtype=float)
J = len(CELLS)
D = np.array([-0.5, 0.3, 0.2, -0.4, 0.2, 0.1, -0.3])
EACH = np.arange(J)


def counts(seed: int, sd: float = 0.3, people: float = 60) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Events and sizes by stratum and arm, and true log odds ratios."""
    rng = np.random.default_rng(seed)
    effect = X @ D + sd * rng.normal(size=J)
    base = -0.8 + 0.7 * rng.normal(size=J)
    size = 1.0 + rng.poisson(people / 2, (J, 2))
    risk = 1 / (1 + np.exp(-np.column_stack([base, base + effect])))
    return rng.binomial(size.astype(int), risk).astype(float), size, effect


def test_tilted_moments_are_those_of_the_noncentral_hypergeometric() -> None:
    events, size = np.array([[3.0, 5.0], [0.0, 2.0]]), np.array([[9.0, 12.0], [4.0, 30.0]])
    found = odds_strata(events, size, np.arange(2), np.ones((2, 1)))
    eta = np.array([0.7, -1.2])
    b, mean, variance, third = cumulant("tilted", eta, found.n)
    for j in range(2):
        law = stats.nchypergeom_fisher(int(size[j].sum()), int(size[j, 1]), int(events[j].sum()), np.exp(eta[j]))
        low = max(0.0, events[j].sum() - size[j, 0])
        assert mean[j] + low == pytest.approx(law.mean(), abs=1e-9)
        assert variance[j] == pytest.approx(law.var(), abs=1e-9)
        assert third[j] == pytest.approx(law.stats(moments="s") * law.var() ** 1.5, abs=1e-7)
        # b is the log of the sum that the probability of what was seen is divided by.
        at_zero = cumulant("tilted", np.zeros(2), found.n)[0]
        seen = found.total[j]
        ratio = law.logpmf(events[j, 1]) - stats.hypergeom(
            int(size[j].sum()), int(size[j, 1]), int(events[j].sum())
        ).logpmf(events[j, 1])
        assert seen * eta[j] - b[j] + at_zero[j] == pytest.approx(ratio, abs=1e-9)


def test_the_likelihood_of_odds_ratios_is_a_plain_integral() -> None:
    events, size, _ = counts(1, people=14)
    found = odds_strata(events, size, EACH, X)
    at = given_sd(found, 0.6, 25)
    z = np.linspace(-9.0, 9.0, 4001)
    total = 0.0
    for j, row in zip(found.place, range(len(found.total)), strict=True):
        eta = float(X[j] @ at.beta) + 0.6 * z
        k = np.arange(found.n.shape[1])
        height = np.log(np.exp(found.n[row] + k * eta[:, None]).sum(axis=1))
        total += np.log(np.trapezoid(np.exp(found.total[row] * eta - height) * stats.norm.pdf(z), z))
    assert at.log_profile == pytest.approx(total, abs=1e-7)
    # Tables of which one only is possible are not in it.
    assert len(found.total) < J or np.all((events.sum(axis=1) > 0) & (events.sum(axis=1) < size.sum(axis=1)))


def test_rate_ratios_are_those_of_the_one_stage_model() -> None:
    """Without main effects it is the conditional model of pooled studies, which has an engine of its own."""
    rng = np.random.default_rng(3)
    time = rng.uniform(5, 50, (J, 2))
    rate = np.exp(rng.normal(-0.5, 0.5, (J, 1)) + np.column_stack([np.zeros(J), 0.4 + 0.5 * rng.normal(size=J)]))
    events = rng.poisson(rate * time).astype(float)
    other = fit_one_stage(events, time, model="conditional")
    found = fit_strata(rate_strata(events, time, EACH, np.ones((J, 1))), 25)
    # The engines stop where the likelihood has gained less than 1e-8.
    assert found.beta[0] == pytest.approx(other.estimate, abs=2e-5)
    assert np.sqrt(found.variance) == pytest.approx(other.tau, abs=2e-5)


def test_rates_are_binomial_given_all_events_however_many() -> None:
    """Millions of events: a plain integral of binomial densities, which no sum over possible tables could reach."""
    rng = np.random.default_rng(3)
    time = rng.uniform(1e6, 5e6, (J, 2))
    events = rng.poisson(time * np.exp(np.column_stack([np.zeros(J), X @ D]))).astype(float)
    sd, near = 0.01, np.linspace(-0.08, 0.08, 8001)
    found = rate_strata(events, time, EACH, X)
    beta = given_sd(found, sd, 25).beta
    total = 0.0
    for j in range(J):
        effect = X[j] @ beta + near
        share = 1.0 / (1.0 + np.exp(-effect) * time[j, 0] / time[j, 1])
        height = stats.binom.logpmf(events[j, 1], events[j].sum(), share)
        total += height.max() + np.log(np.trapezoid(np.exp(height - height.max()) * stats.norm.pdf(near, 0, sd), near))
    # Our likelihood has no C(m, k) and none of the part that exposures alone make up.
    m, k = events.sum(axis=1), events[:, 1]
    ways = stats.binom.logpmf(k, m, 0.5) + m * np.log(2.0) + k * np.log(time[:, 1] / time[:, 0])
    # Log-probabilities of 1e7 events have rounding of about 1e-8 each.
    assert given_sd(found, sd, 25).log_profile == pytest.approx(total - ways.sum(), abs=1e-4)


def test_differences_of_means_are_normal_with_the_variance_within() -> None:
    rng = np.random.default_rng(4)
    size = 2.0 + rng.poisson(10, (J, 2))
    mean = rng.normal(size=(J, 2))
    found = mean_strata(mean, size, 500.0, 430.0, EACH, X)
    sd = 0.3
    at = given_sd(found, sd, 1)
    v = np.diag(sd**2 + at.residual * (1.0 / size).sum(axis=1))
    d = mean[:, 1] - mean[:, 0]
    beta = np.linalg.solve(X.T @ np.linalg.inv(v) @ X, X.T @ np.linalg.inv(v) @ d)
    assert at.beta == pytest.approx(beta, abs=1e-9)
    assert at.deviation == pytest.approx(sd**2 * np.linalg.inv(v) @ (d - X @ beta), abs=1e-9)


def test_effects_with_a_known_covariance_are_as_dense_matrices_say() -> None:
    """Strata without an estimate included: theirs is foreseen, with the spread as its variance."""
    rng = np.random.default_rng(5)
    where = np.delete(EACH, [3, 17])
    root = rng.normal(size=(22, 22)) * 0.1
    covariance = root @ root.T + 0.05 * np.eye(22) + 0.1
    estimate = X[where] @ D + rng.multivariate_normal(np.zeros(22), covariance)
    found = known_strata(estimate, covariance, where, X)
    sd = 0.25
    at = given_sd(found, sd, 1)
    own = X[where]
    inverse = np.linalg.inv(covariance + sd**2 * np.eye(22))
    curve = own.T @ inverse @ own
    beta = np.linalg.solve(curve, own.T @ inverse @ estimate)
    assert at.beta == pytest.approx(beta, abs=1e-9)
    nodes = spread_nodes(found, fit_strata(found, 1), 1)
    one = type(nodes)(np.array([sd]), np.ones(1), (at,), nodes.step)
    answer = stratum_levels(found, one)
    pick = np.zeros((22, J))
    pick[np.arange(22), where] = 1.0
    pull = sd**2 * pick.T @ inverse
    departure = pull @ (estimate - own @ beta)
    given_beta = sd**2 * np.eye(J) - pull @ pick * sd**2
    both = X - pull @ own
    assert answer.departures.mean == pytest.approx(departure, abs=1e-9)
    assert answer.levels.mean == pytest.approx(X @ beta + departure, abs=1e-9)
    expected = given_beta + both @ np.linalg.inv(curve) @ both.T
    assert answer.levels.covariance == pytest.approx(expected, abs=1e-9)
    assert answer.pooling[[3, 17]] == pytest.approx([1.0, 1.0])


def test_with_a_diagonal_covariance_turning_changes_nothing() -> None:
    rng = np.random.default_rng(6)
    variance = rng.uniform(0.01, 0.2, J)
    estimate = X @ D + np.sqrt(variance) * rng.normal(size=J)
    turned = known_strata(estimate, np.diag(variance), EACH, X)
    plain = mean_strata(
        np.column_stack([np.zeros(J), estimate]), np.column_stack([2.0 / variance] * 2), 1e9, 1e9, EACH, X
    )
    # A variance within of one that 1e9 degrees of freedom have fixed.
    one, other = (stratum_levels(s, spread_nodes(s, fit_strata(s, 1), 1)) for s in (turned, plain))
    assert one.levels.mean == pytest.approx(other.levels.mean, abs=1e-5)
    assert one.levels.sd == pytest.approx(other.levels.sd, rel=1e-3)


def test_clusters_in_balance_have_the_classical_answers() -> None:
    """Every school has two of every stratum: effects are means of schools, and the average has t of ten minus two."""
    rng = np.random.default_rng(7)
    schools, strata = 10, 6
    cluster = np.repeat(np.arange(schools), strata * 2)
    stratum = np.tile(np.repeat(np.arange(strata), 2), schools)
    treated = cluster % 2 == 1
    y = 0.5 * rng.normal(size=schools)[cluster] + rng.normal(size=cluster.size) + 0.3 * treated
    found = effects_in_clusters(y, treated, stratum, cluster, np.zeros((y.size, 0)))
    means = np.array([[y[(cluster == c) & (stratum == s)].mean() for s in range(strata)] for c in range(schools)])
    assert found.estimate == pytest.approx(means[1::2].mean(axis=0) - means[::2].mean(axis=0), abs=1e-9)
    whole = means.mean(axis=1)
    between = 0.5 * (np.var(whole[1::2], ddof=1) + np.var(whole[::2], ddof=1))
    assert found.shared_variance == pytest.approx(2.0 * between / 5, rel=1e-6)
    assert found.shared_df == pytest.approx(8.0, rel=1e-6)


def test_the_shared_error_makes_a_t() -> None:
    rng = np.random.default_rng(8)
    covariance = 0.02 * np.eye(J) + 0.09
    found = known_strata(X @ D + 0.1 * rng.normal(size=J), covariance, EACH, np.ones((J, 1)))
    shared = 1.0 / np.linalg.inv(covariance).sum()
    at = given_sd(found, 1e-6, 1)
    nodes = spread_nodes(found, fit_strata(found, 1), 1)
    one = type(nodes)(np.array([1e-6]), np.ones(1), (at,), nodes.step)
    for df in (4.0, 8.0, 30.0):
        wide = stratum_levels(found, with_shared_error(one, shared, df)).levels.weighted_sum(np.full(J, 1.0 / J))
        half = (wide.quantile(0.975) - wide.quantile(0.025))[0] / 2.0
        # Fifteen nodes: within half a per cent.
        assert half == pytest.approx(stats.t.ppf(0.975, df) * np.sqrt(shared), rel=5e-3)


@pytest.mark.once
def test_log_odds_ratios_cover() -> None:
    """150 trials of 24 strata of 40 or 160 people: the average, the spread, strata, and what main effects leave."""
    inside = {"average": 0, "spread": 0, "strata": 0, "rest": 0}
    main = float(np.var(X @ D))
    runs = 150
    for seed in range(runs):
        events, size, effect = counts(seed, people=40 if seed % 2 else 160)
        found = odds_strata(events, size, EACH, X)
        nodes = spread_nodes(found, fit_strata(found, 7), 7)
        levels = stratum_levels(found, nodes).levels
        share = size.sum(axis=1) / size.sum()
        average = levels.weighted_sum(share)
        inside["average"] += int(abs(average.mean[0] - share @ effect) < 1.96 * average.sd[0])
        low, high = levels.quantile(np.array([0.025, 0.975]))
        inside["strata"] += int(((low <= effect) & (effect <= high)).sum())
        draws = variance_draws(found, nodes, 1500, np.random.default_rng(seed))
        for name, values, truth in (("spread", draws.main + draws.rest, main + 0.09), ("rest", draws.rest, 0.09)):
            ends = np.quantile(values, [0.025, 0.975])
            inside[name] += bool(ends[0] <= truth <= ends[1])
    low, high = stats.binom.interval(0.999, runs, 0.95)
    assert all(low <= inside[name] <= high for name in ("average", "spread", "rest")), inside
    # 3,600 effects of which those of a trial are correlated: an error of about .006.
    assert 0.93 <= inside["strata"] / (J * runs) <= 0.985


@pytest.mark.once
@pytest.mark.parametrize("schools", [8, 24])
def test_effects_in_few_clusters_cover(schools: int) -> None:
    inside, strata_in, runs = 0, 0, 150
    for seed in range(runs):
        rng = np.random.default_rng(seed)
        n = 40 * schools
        cluster, stratum = np.repeat(np.arange(schools), 40), np.tile(np.arange(40) % J, schools)
        effect = X @ D + 0.3 * rng.normal(size=J)
        treated = cluster % 2 == 1
        y = 0.5 * rng.normal(size=schools)[cluster] + rng.normal(size=n) + effect[stratum] * treated
        found = effects_in_clusters(y, treated, stratum, cluster, np.zeros((n, 0)))
        sums = known_strata(found.estimate, found.covariance, EACH, X)
        nodes = with_shared_error(spread_nodes(sums, fit_strata(sums, 1), 1), found.shared_variance, found.shared_df)
        levels = stratum_levels(sums, nodes).levels
        share = np.bincount(stratum, minlength=J) / n
        average = levels.weighted_sum(share)
        low, high = (float(average.quantile(p)[0]) for p in (0.025, 0.975))
        inside += low <= share @ effect <= high
        low, high = levels.quantile(np.array([0.025, 0.975]))
        strata_in += int(((low <= effect) & (effect <= high)).sum())
    low, high = stats.binom.interval(0.999, runs, 0.95)
    assert low <= inside <= high
    # Effects of a trial share the schools, so their errors go together: about .015.
    assert 0.91 <= strata_in / (J * runs) <= 0.985


def trial(n: int = 3000, seed: int = 8, clusters: int = 0, **columns: object) -> gbv.Trial:
    rng = np.random.default_rng(seed)
    frame: dict[str, object] = {
        "g": rng.choice(["m", "w", "x"], n),
        "c": rng.choice(["1", "2", "3"], n),
        "b": rng.choice(["here", "there"], n),
    }
    school = rng.integers(0, max(clusters, 1), n)
    arm = np.where(school % 2 == 1, "new", "usual") if clusters else rng.choice(["new", "usual"], n)
    risk = np.where(arm == "new", np.where(frame["g"] == "x", 0.15, 0.3), 0.4)
    frame |= {"arm": arm, "y": (rng.random(n) < risk).astype(float)}
    if clusters:
        frame["school"] = school
    roles = columns.pop("roles", {})
    frame |= columns
    roles = {"cluster": "school"} | roles if clusters else roles  # type: ignore[operator]
    return gbv.Trial(frame, outcome="y", arm="arm", control="usual", subgroup=["g", "c", "b"], **roles)


def test_rows_say_what_they_are() -> None:
    answer = gbv.IntersectionalEffects().estimate(trial())
    assert len(answer) == 4 + 2 * 18
    average = answer["new vs usual, average over strata"]
    assert average.estimand.contrast == "odds_ratio"
    assert average.estimand.scale == "conditional"
    # Odds .4 against .3 and .15: log ratios -.44 and -1.33, a third of people have the second.
    assert average.value == pytest.approx(-0.44 * 2 / 3 - 1.33 / 3, abs=0.25)
    x, m = (answer[f"new vs usual, {g}, 1, here"].value for g in "xm")
    assert x is not None
    assert m is not None
    assert x < m - 0.4
    assert answer["new vs usual, departure of x, 1, here"].estimand.is_causal is False
    assert answer["new vs usual, share of main effects"].value > 0.5  # type: ignore[operator]
    assert all(0 <= row["probability_opposite"] <= 1 for row in answer.records()[4:22])
    assert answer.tidy()["p_value"].isna().all()


@pytest.mark.parametrize("contrast", ["odds_ratio", "difference"])
def test_swapping_arms_turns_the_sign(contrast: str) -> None:
    model = gbv.IntersectionalEffects(contrast=contrast, quadrature=7)
    data = trial()
    one = model.estimate(data)
    arm = np.where(data.arm == 1, "usual", "new")
    other = model.estimate(trial(arm=arm))
    for i in (0, *range(4, len(one))):
        assert other.terms[i].value == pytest.approx(-one.terms[i].value, abs=1e-6)  # type: ignore[operator]


@pytest.mark.parametrize("clusters", [0, 20])
@pytest.mark.parametrize("unit", [1e-12, 1e7])
def test_the_unit_of_a_measured_outcome_does_not_matter(unit: float, clusters: int) -> None:
    y = np.random.default_rng(4).normal(size=600)
    model = gbv.IntersectionalEffects(["g", "c"])
    one, other = (model.estimate(trial(600, clusters=clusters, y=s * y)) for s in (1.0, unit))
    for a, b in zip(one.terms, other.terms, strict=True):
        if not a.term.endswith(("strata", "effects")):
            # The nodes are placed by searches that stop at 1e-9; clusters' ratios of variances at 1e-7.
            assert b.value == pytest.approx(unit * a.value, rel=1e-4)  # type: ignore[operator]
            assert b.std_error == pytest.approx(unit * a.std_error, rel=1e-4)  # type: ignore[operator]


def test_strata_of_assignment_are_compared_within() -> None:
    """An arm that is common where risk is high does no harm by that."""
    rng = np.random.default_rng(9)
    n = 6000
    district = rng.choice(["a", "b"], n)
    arm = np.where(rng.random(n) < np.where(district == "a", 0.8, 0.2), "new", "usual")
    y = (rng.random(n) < np.where(district == "a", 0.6, 0.2)).astype(float)
    columns = {"district": district, "arm": arm, "y": y}
    for contrast in ("odds_ratio", "difference"):
        model = gbv.IntersectionalEffects(contrast=contrast, quadrature=5)
        plain = model.estimate(trial(n, **columns))[0]
        within = model.estimate(trial(n, roles={"stratum": "district"}, **columns))[0]
        assert plain.value > 5 * plain.std_error  # type: ignore[operator]
        assert abs(within.value) < 3 * within.std_error  # type: ignore[operator]


def test_clusters_take_differences() -> None:
    answer = gbv.IntersectionalEffects().estimate(trial(clusters=20))
    assert answer[0].estimand.contrast == "risk_difference"
    assert answer[0].n_clusters == 20
    assert answer[0].value == pytest.approx(-0.1 * 2 / 3 - 0.25 / 3, abs=0.06)
    with pytest.raises(DesignError, match="takes people assigned one by one"):
        gbv.IntersectionalEffects(contrast="odds_ratio").estimate(trial(clusters=20))


def test_a_stratum_without_control_is_foreseen() -> None:
    data = trial()
    lonely = (data.subgroups == 0).all(axis=1)
    arm = np.where(lonely | (data.arm == 1), "new", "usual")
    for clusters in (0, 20):
        if clusters:
            base = trial(clusters=20)
            lonely = (base.subgroups == 0).all(axis=1)
            y = np.where(lonely & (base.arm == 0), np.nan, base.outcomes[:, 0])
            answer = gbv.IntersectionalEffects().estimate(trial(clusters=20, y=y))
        else:
            answer = gbv.IntersectionalEffects(quadrature=5).estimate(trial(arm=arm))
        row = dict(answer["new vs usual, m, 1, here"].extra)
        assert row["pooling_factor"] == pytest.approx(1.0)
        assert any("1 of 18 strata say nothing" in check.message for check in answer.checks)


def test_effects_of_small_strata_are_not_released() -> None:
    rng = np.random.default_rng(11)
    g = rng.choice(["m", "w"], 3000).astype(object)
    g[:40] = "x"
    answer = gbv.IntersectionalEffects(quadrature=3).estimate(trial(g=g))
    released = gbv.release(answer).items[0]
    hidden = {row["term"] for row in released.rows if row.hidden}
    small = {t.term for t in answer.terms[4:] if min(cell.n for cell in t.support) < 10}
    assert small
    assert small <= hidden
    assert "new vs usual, average over strata" in hidden
    assert "new vs usual, sd between strata" not in hidden


def test_counts_by_time_at_risk() -> None:
    rng = np.random.default_rng(12)
    time = rng.uniform(0.5, 2.0, 3000)
    data = trial()
    y = rng.poisson(time * np.where(data.arm == 1, 0.7, 1.4)).astype(float)
    model = gbv.IntersectionalEffects(contrast="rate_ratio", quadrature=5)
    answer = model.estimate(trial(y=y, time=time, roles={"exposure": "time"}))
    assert answer[0].estimand.contrast == "rate_ratio"
    assert answer[0].value == pytest.approx(np.log(0.5), abs=0.1)
    assert not any("overdispersion" in check.name for check in answer.checks)
    many = rng.poisson(y.mean() * rng.gamma(0.5, 2.0, 3000)).astype(float)
    answer = model.estimate(trial(y=many, time=time, roles={"exposure": "time"}))
    assert any(check.name == "overdispersion (y, new)" for check in answer.checks)


def test_several_arms_and_outcomes_have_rows_of_their_own() -> None:
    rng = np.random.default_rng(13)
    arm = rng.choice(["usual", "new", "other"], 3000)
    data = trial(arm=arm)
    answer = gbv.IntersectionalEffects(["g", "c"], quadrature=3).estimate(data)
    assert len(answer) == 2 * (4 + 2 * 9)
    assert {row["term"].split(",")[0] for row in answer.records()} == {"new vs usual", "other vs usual"}


def test_refusals() -> None:
    with pytest.raises(DesignError, match="contrast is one of"):
        gbv.IntersectionalEffects(contrast="risk_ratio")
    with pytest.raises(DesignError, match="1 to 60"):
        gbv.IntersectionalEffects(quadrature=0)
    with pytest.raises(DesignError, match="two columns"):
        gbv.IntersectionalEffects(["g"]).estimate(trial())
    with pytest.raises(DesignError, match="by names 'age'"):
        gbv.IntersectionalEffects(["g", "age"]).estimate(trial())
    with pytest.raises(DesignError, match="takes no weight"):
        gbv.IntersectionalEffects().estimate(trial(w=np.ones(3000), roles={"weight": "w"}))
    with pytest.raises(DataError, match="neither 0 nor 1"):
        gbv.IntersectionalEffects(contrast="odds_ratio").estimate(trial(y=np.arange(3000.0)))
    with pytest.raises(DataError, match="not a count in"):
        gbv.IntersectionalEffects(contrast="rate_ratio").estimate(trial(y=np.linspace(0, 3, 3000)))
    with pytest.raises(IdentificationError, match="say anything"):
        gbv.IntersectionalEffects().estimate(trial(y=np.zeros(3000)))
    with pytest.raises(IdentificationError, match="does not vary"):
        gbv.IntersectionalEffects(contrast="difference").estimate(trial(y=np.ones(3000)))
    with pytest.raises(IdentificationError, match="at least 6"):
        gbv.IntersectionalEffects(["g", "c"]).estimate(trial(g=["m", "w"] * 1500, c=["1"] * 1500 + ["2"] * 1500))
    data = trial()
    never = np.where((data.subgroups[:, 0] == 2) & (data.arm == 1), 0.0, data.outcomes[:, 0])
    with pytest.raises(IdentificationError, match="all events, or none"):
        gbv.IntersectionalEffects(quadrature=3).estimate(trial(y=never))
    for arm in (0, 1):
        nothing = np.where(data.arm == arm, 0.0, data.outcomes[:, 0])
        for contrast in ("odds_ratio", "rate_ratio"):
            with pytest.raises(IdentificationError, match="all events, or none"):
                gbv.IntersectionalEffects(contrast=contrast, quadrature=3).estimate(trial(y=nothing))
