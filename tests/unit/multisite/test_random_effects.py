"""Pooling without a prior: closed forms, another implementation, limits, and everything that may go wrong."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import integrate, stats
from statsmodels.stats.meta_analysis import combine_effects

import gbveval as gbv
from gbveval.numerics.random_effects import (
    METHODS,
    between_variance,
    fit_random_effects,
    log_likelihood,
    q_profile,
    typical_variance,
    weighted_fit,
)

FloatArray = NDArray[np.float64]
Y = np.array([0.31, -0.08, 0.55, 0.12, 0.90, 0.27])
SE = np.array([0.11, 0.20, 0.15, 0.09, 0.30, 0.18])
ONES = np.ones((6, 1))
ROWS = st.lists(st.tuples(st.floats(-2, 2), st.floats(0.05, 2)), min_size=3, max_size=8)


def effects(y: FloatArray = Y, se: FloatArray = SE, **more: object) -> gbv.SiteEffects:
    frame = {"y": y, "se": se, **{key: value for key, value in more.items() if key not in ("moderators", "study")}}
    roles = {key: value for key, value in more.items() if key in ("moderators", "study")}
    return gbv.SiteEffects(frame, estimate="y", std_error="se", **roles)  # type: ignore[arg-type]


@settings(max_examples=30, deadline=None)
@given(st.floats(-3, 3), st.floats(0.05, 1), st.floats(0.05, 1))
def test_two_sites_have_a_closed_form(gap: float, first: float, second: float) -> None:
    y, v = np.array([0.0, gap]), np.array([first, second]) ** 2
    expected = max(0.0, (gap**2 - v.sum()) / 2.0)
    for method in ("REML", "DL", "PM", "EB", "HE"):
        assert between_variance(y, v, np.ones((2, 1)), method=method)[0] == pytest.approx(expected, abs=1e-9)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.floats(-2, 2), min_size=3, max_size=9, unique=True), st.floats(0.01, 1.0))
def test_equal_errors_make_it_the_t_interval_of_the_effects(values: list[float], se: float) -> None:
    y = np.array(values)
    k, spread = y.size, float(np.var(y, ddof=1))
    if spread < 1e-6:
        return
    x, v = np.ones((k, 1)), np.full(k, se**2)
    for method in ("REML", "DL", "PM", "EB", "HE"):
        fit = fit_random_effects(y, v, x, method=method)
        assert fit.tau2 == pytest.approx(max(0.0, spread - se**2), abs=1e-9)
        assert fit.covariance[0, 0] == pytest.approx(spread / k, rel=1e-9)
    limits = [max(0.0, (k - 1) * spread / stats.chi2.ppf(p, k - 1) - se**2) for p in (0.975, 0.025)]
    assert q_profile(y, v, x, level=0.95) == pytest.approx(limits, abs=1e-9)


@settings(max_examples=40, deadline=None)
@given(ROWS)
def test_no_variance_is_likelier_than_the_one_chosen(rows: list[tuple[float, float]]) -> None:
    y, se = np.array(rows).T
    x = np.ones((y.size, 1))
    for method in ("ML", "REML"):
        tau2 = between_variance(y, se**2, x, method=method)[0]
        best = log_likelihood(y, se**2, x, tau2, restricted=method == "REML")
        for other in (0.0, *np.geomspace(1e-4, 100.0, 60)):
            assert log_likelihood(y, se**2, x, float(other), restricted=method == "REML") <= best + 1e-9


def test_a_likelihood_with_two_maxima_gives_the_higher() -> None:
    # Two precise sites far apart and several vague ones that agree with neither: two maxima of the ML likelihood.
    y = np.array([-3.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0])
    v = np.array([0.5, 0.01, 0.01, 0.01, 0.01, 0.01, 0.01])
    grid = np.concatenate([[0.0], np.geomspace(1e-6, 50, 4000)])
    heights = [log_likelihood(y, v, np.ones((7, 1)), float(t), restricted=False) for t in grid]
    tau2 = between_variance(y, v, np.ones((7, 1)), method="ML")[0]
    assert log_likelihood(y, v, np.ones((7, 1)), tau2, restricted=False) >= max(heights) - 1e-9


def test_the_restricted_likelihood_is_the_likelihood_with_the_average_integrated_out() -> None:
    v, tau2 = SE**2, 0.07

    def density(mean: float) -> float:
        return float(np.exp(stats.norm.logpdf(Y, mean, np.sqrt(v + tau2)).sum()))

    whole = integrate.quad(density, -2, 3, epsabs=0, epsrel=1e-12, points=[0.3])[0]
    # Constants: the integral carries no log|X'X| / 2.
    expected = np.log(whole) + 0.5 * np.log(6.0)
    assert log_likelihood(Y, v, ONES, tau2, restricted=True) == pytest.approx(expected, abs=1e-9)
    plain = stats.norm.logpdf(Y, weighted_fit(Y, v, ONES, tau2).coefficients[0], np.sqrt(v + tau2)).sum()
    assert log_likelihood(Y, v, ONES, tau2, restricted=False) == pytest.approx(plain, abs=1e-12)


@pytest.mark.parametrize(("ours", "theirs"), [("DL", "dl"), ("PM", "iterated")])
def test_against_statsmodels(ours: str, theirs: str) -> None:
    other = combine_effects(Y, SE**2, method_re=theirs, use_t=True)
    fit = fit_random_effects(Y, SE**2, ONES, method=ours)
    # statsmodels iterates to 1e-5.
    assert fit.tau2 == pytest.approx(other.tau2, rel=1e-4)
    assert fit.coefficients[0] == pytest.approx(other.mean_effect_re, rel=1e-4)
    assert np.sqrt(fit.covariance[0, 0]) == pytest.approx(other.sd_eff_w_re_hksj, rel=1e-4)
    assert fit.q == pytest.approx(other.q, rel=1e-12)


def test_paule_mandel_and_empirical_bayes_are_one_solution() -> None:
    assert between_variance(Y, SE**2, ONES, method="PM") == between_variance(Y, SE**2, ONES, method="EB")


def test_the_q_profile_limits_solve_their_equations() -> None:
    low, high = q_profile(Y, SE**2, ONES, level=0.9)
    for limit, share in ((low, 0.95), (high, 0.05)):
        assert weighted_fit(Y, SE**2, ONES, limit).rss == pytest.approx(stats.chi2.ppf(share, 5), rel=1e-10)


@settings(max_examples=30, deadline=None)
@given(ROWS, st.floats(0.1, 50), st.floats(-5, 5), st.sampled_from(METHODS))
def test_units_and_origin(rows: list[tuple[float, float]], factor: float, shift: float, method: str) -> None:
    y, se = np.array(rows).T
    if np.ptp(y) < 1e-3:
        return
    first = gbv.RandomEffects(method).estimate(effects(y, se))
    second = gbv.RandomEffects(method).estimate(effects(factor * y + shift, factor * se))
    moved = np.array([shift if row.estimand.contrast == "mean_difference" else 0.0 for row in first.terms])
    # A variance between sites near zero is the difference of two numbers of the size of the errors.
    close = 1e-5 * factor * float(se.max() + np.abs(y).max())
    np.testing.assert_allclose(second.values, factor * first.values + moved, rtol=1e-6, atol=close)
    np.testing.assert_allclose(second.std_errors[0], factor * first.std_errors[0], rtol=1e-6)


def test_the_truncated_form_is_never_narrower() -> None:
    rng = np.random.default_rng(3)
    narrower = 0
    for _ in range(60):
        y, se = 0.2 * rng.normal(size=4), rng.uniform(0.1, 0.5, 4)
        plain, truncated, normal = (
            fit_random_effects(y, se**2, np.ones((4, 1)), inference=name).covariance[0, 0]
            for name in ("hartung_knapp", "truncated_hartung_knapp", "normal")
        )
        assert truncated == max(plain, normal)
        narrower += plain < normal
    assert narrower > 10


def test_rows_and_what_they_say() -> None:
    answer = gbv.RandomEffects().estimate(effects())
    terms = [row.term for row in answer.terms]
    assert terms[0] == "average effect"
    assert terms[1:7] == [f"effect in site 0{i}" for i in range(1, 7)]
    assert terms[7:] == ["effect in a new site", "between-site sd"]
    low, high = answer.intervals()
    # Sites differ, so a new site is less certain than the average.
    assert low[7] < low[0] < high[0] < high[7]
    record = answer.records()[7]
    assert (record["p_value"], record["interval_kind"]) == (None, "prediction")
    assert answer["between-site sd"].p_value == pytest.approx(
        stats.chi2.sf(weighted_fit(Y, SE**2, ONES, 0.0).rss, 5), rel=1e-10
    )


def test_the_new_site_covers_as_its_formula_says() -> None:
    answer = gbv.RandomEffects("DL").estimate(effects())
    tau, error = answer["between-site sd"].value, answer["average effect"].std_error
    assert tau is not None
    assert error is not None
    half = stats.t.ppf(0.975, 5) * np.hypot(tau, error)
    low, high = answer.intervals()
    assert high[7] - low[7] == pytest.approx(2 * half, rel=1e-12)


def test_site_effects_lie_between_site_and_average_and_their_joint_covariance_holds() -> None:
    answer = gbv.RandomEffects(inference="normal").estimate(effects())
    average, tau = answer["average effect"].value, answer["between-site sd"].value
    assert average is not None
    assert tau is not None
    share = tau**2 / (tau**2 + SE**2)
    np.testing.assert_allclose(answer.values[1:7], share * Y + (1 - share) * average, rtol=1e-12)
    # Errors of the predictor, from the joint normal of effects and estimates, by brute force.
    v = np.diag(SE**2 + tau**2)
    weights = np.linalg.solve(v, ONES) / np.linalg.inv(v).sum()
    predictor = np.diag(share) + (1 - share)[:, None] * weights.T
    error = predictor @ v @ predictor.T - 2 * predictor * tau**2 + tau**2 * np.eye(6)
    np.testing.assert_allclose(np.diag(answer.covariance)[1:7], np.diag(error), rtol=1e-10)
    np.testing.assert_allclose(
        answer.covariance[1:7, 1:7],
        predictor @ v @ predictor.T - tau**2 * (predictor + predictor.T - np.eye(6)),
        atol=1e-12,
    )


def test_a_moderator_at_any_origin_is_the_same_line() -> None:
    z = np.array([3.0, 1.0, 4.0, 1.5, 9.0, 2.6])
    sites = effects(Y, SE, z=z, moderators=["z"])
    answer = gbv.RandomEffects(at={"z": 0.0}).estimate(sites)
    slope, average = answer["slope of z"].value, answer["average effect"].value
    zero = answer["average effect at the moderators of the new site"].value
    assert slope is not None
    assert average is not None
    assert zero == pytest.approx(average - slope * z.mean(), rel=1e-12)
    assert answer["effect in a new site"].value == pytest.approx(zero, rel=1e-12)
    assert not answer["slope of z"].estimand.is_causal
    joint = answer["all moderators"]
    single = answer.tests().statistic[answer.index("slope of z")]
    assert joint.statistic == pytest.approx(single**2, rel=1e-10)
    assert joint.df2 == 4.0
    table = gbv.heterogeneity(sites)
    assert table.column("quantity")[-1] == "R squared, per cent"


def test_moderators_join_by_name_in_any_order() -> None:
    frame = {"y": Y, "se": SE, "town": list("abcdef")}
    plain = gbv.SiteEffects(frame, estimate="y", std_error="se", site="town")
    told = {"town": list("fedcbaz"), "z": [6.0, 5.0, 4.0, 3.0, 2.0, 1.0, 99.0]}
    joined = plain.with_moderators(told, site="town", moderators=["z"])
    assert joined.moderators[:, 0].tolist() == [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]
    assert joined.digest != plain.digest
    with pytest.raises(gbv.DataError, match="exactly one row for 1 site"):
        plain.with_moderators({"town": list("abcde"), "z": range(5)}, site="town", moderators=["z"])
    with pytest.raises(gbv.DataError, match="same in every site"):
        plain.with_moderators({"town": list("abcdef"), "z": [1.0] * 6}, site="town", moderators=["z"])


def test_all_effects_equal() -> None:
    sites = effects(np.full(5, 0.3), np.array([0.1, 0.2, 0.3, 0.1, 0.2]))
    plain = gbv.RandomEffects().estimate(sites)
    assert plain["average effect"].value == pytest.approx(0.3)
    assert plain["average effect"].std_error is None
    assert "truncated_hartung_knapp" in plain["average effect"].reason
    answer = gbv.RandomEffects(inference="truncated_hartung_knapp").estimate(sites)
    assert answer["average effect"].std_error == pytest.approx(np.sqrt(1 / (1 / sites.std_error**2).sum()))
    spread = answer["between-site sd"]
    assert (spread.value, spread.std_error, spread.p_value) == (0.0, None, pytest.approx(1.0))
    assert spread.interval == (0.0, 0.0)
    assert answer.check("between-site sd").status == "info"
    table = gbv.heterogeneity(sites)
    assert table.column("estimate")[:3] == (pytest.approx(0.0, abs=1e-20), 0.0, 0.0)


def test_wildly_different_standard_errors() -> None:
    y, se = np.array([0.2, 5.0, -3.0]), np.array([1e-6, 1e3, 1e4])
    answer = gbv.RandomEffects(inference="truncated_hartung_knapp").estimate(effects(y, se))
    assert answer["average effect"].value == pytest.approx(0.2, abs=1e-5)
    assert answer.check("weights").status == "warn"
    # The trace of P is, without moderators, (sum of products of pairs of weights) twice over their sum.
    w = se**-2.0
    pairs = w[0] * w[1] + w[0] * w[2] + w[1] * w[2]
    assert typical_variance(se**2, np.ones((3, 1))) == pytest.approx(2.0 / (2.0 * pairs / w.sum()), rel=1e-8)
    for method in METHODS:
        assert np.isfinite(gbv.RandomEffects(method).estimate(effects(y, se)).values[0])


def test_an_interval_narrower_than_the_normal_one_is_said() -> None:
    close = effects(np.array([0.30, 0.31, 0.29, 0.30, 0.32, 0.30]), SE)
    answer, normal = gbv.RandomEffects().estimate(close), gbv.RandomEffects(inference="normal").estimate(close)
    assert np.diff(answer.intervals(), axis=0)[0, 0] < np.diff(normal.intervals(), axis=0)[0, 0]
    assert answer.check("agreement").status == "warn"
    # A wider one is none of its business.
    apart = gbv.RandomEffects().estimate(effects())
    assert "agreement" not in [check.name for check in apart.checks]


def test_two_sites_and_one() -> None:
    answer = gbv.RandomEffects().estimate(effects(Y[:2], SE[:2]))
    assert answer["average effect"].df == 1.0
    assert answer.check("few sites").status == "warn"
    assert "truncated_hartung_knapp" in answer.check("few sites").message
    with pytest.raises(gbv.IdentificationError, match="too few"):
        gbv.RandomEffects().estimate(effects(Y[:1], SE[:1]))


@pytest.mark.parametrize(("se", "words"), [(np.nan, "missing"), (-0.1, "zero or negative"), (0.0, "zero or negative")])
def test_bad_standard_errors_are_refused(se: float, words: str) -> None:
    with pytest.raises(gbv.DataError, match=words):
        effects(Y[:2], np.array([0.1, se]))


def test_a_site_named_like_html_is_never_shown() -> None:
    frame = {"y": Y, "se": SE, "town": ["<script>alert(1)</script>", *"bcdef"]}
    sites = gbv.SiteEffects(frame, estimate="y", std_error="se", site="town")
    answer = gbv.RandomEffects().estimate(sites)
    tables = [gbv.site_influence(sites), gbv.heterogeneity(sites), gbv.egger_test(sites), gbv.trim_and_fill(sites)]
    texts = [answer.summary(), answer._repr_html_(), answer.to_json(), *(table._repr_html_() for table in tables)]
    assert all("script" not in text for text in texts)


def test_a_moderator_named_like_html_is_escaped() -> None:
    name = "<b>z</b>"
    sites = gbv.SiteEffects({"y": Y, "se": SE, name: range(6)}, estimate="y", std_error="se", moderators=[name])
    assert name not in gbv.RandomEffects().estimate(sites)._repr_html_()


def test_equal_effects_says_nothing_of_a_new_site() -> None:
    answer = gbv.RandomEffects("EE", "normal").estimate(effects())
    assert [row.term for row in answer.terms] == ["average effect"]
    assert answer.values[0] == pytest.approx(np.average(Y, weights=SE**-2))


def test_refusals() -> None:
    with pytest.raises(gbv.DesignError, match="method must be one of"):
        gbv.RandomEffects("reml")
    with pytest.raises(gbv.DesignError, match="inference must be one of"):
        gbv.RandomEffects(inference="knha")
    with pytest.raises(gbv.DesignError, match="level"):
        gbv.RandomEffects(level="high")  # type: ignore[arg-type]
    with pytest.raises(gbv.DesignError, match="finite"):
        gbv.RandomEffects(at={"z": np.inf})
    with pytest.raises(gbv.DesignError, match="no moderator"):
        gbv.RandomEffects(at={"z": 1.0}).estimate(effects())
    with pytest.raises(gbv.DesignError, match="RobustEffects"):
        gbv.RandomEffects().estimate(effects(Y, SE, paper=list("aabbcc"), study="paper"))
    z = np.arange(6.0)
    with pytest.raises(gbv.IdentificationError, match="collinear"):
        gbv.RandomEffects().estimate(effects(Y, SE, z=z, w=2 * z, moderators=["z", "w"]))
    with pytest.raises(gbv.DesignError, match="SiteEffects"):
        gbv.RandomEffects().estimate(object())  # type: ignore[arg-type]
