"""The one result type: columns, levels, contrasts, tests, bands, posteriors, JSON, pickle."""

from __future__ import annotations

import copy
import json
import pickle
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

import gbveval as gbv
from gbveval.core.band import Band
from gbveval.core.errors import DataError, DesignError, GbvevalError
from gbveval.core.estimand import Estimand
from gbveval.core.estimates import Estimates
from gbveval.core.flow import Flow, FlowRow
from gbveval.core.method import Cell, Check, Method
from gbveval.core.posterior import DrawsPosterior
from gbveval.core.provenance import Provenance
from gbveval.core.term import TIDY_COLUMNS, Term

METHOD = Method("all units", "Neyman", "none", "normal", "this sample")
DIFFERENCE = Estimand("ITT", "mean_difference")
RATIO = Estimand("ITT", "risk_ratio")
PROPORTION = Estimand("prevalence", "proportion", "survey_population")


def point(name: str, value: float | None = 1.0, std_error: float | None = 0.5, **more: Any) -> Term:
    more = {"estimand": DIFFERENCE, "outcome": "y", **more}
    return Term(term=name, value=value, std_error=std_error, **more)


def result(terms: list[Term], covariance: Any = None, **more: Any) -> Estimates:
    errors = np.array([np.nan if row.std_error is None else row.std_error for row in terms])
    joint = np.diag(errors**2) if covariance is None else np.array(covariance, dtype=float)
    return Estimates("method", tuple(terms), joint, METHOD, **more)


def correlated() -> Estimates:
    covariance = [[0.25, 0.10, 0.05], [0.10, 0.36, -0.08], [0.05, -0.08, 0.49]]
    terms = [point("a", 1.0, 0.5, df=9.0), point("b", -0.4, 0.6, df=7.5), point("c", 2.0, 0.7, df=20.0)]
    return result(terms, covariance)


def trial_result(**roles: Any) -> Estimates:
    rng = np.random.default_rng(4)
    frame = {
        "y": rng.normal(size=40),
        "z": rng.normal(size=40),
        "arm": ["usual", "new"] * 20,
        "x": rng.normal(size=40),
    }
    trial = gbv.Trial(frame, outcome=["y", "z"], arm="arm", control="usual", **roles)
    return gbv.DifferenceInMeans().estimate(trial)


# -- reading ------------------------------------------------------------------------------------------------------


def test_tidy_columns_are_these_in_this_order() -> None:
    # Pinned: other programs read these columns by name and by position.
    expected = (
        *("estimator", "outcome", "estimand", "contrast", "term", "estimate", "std_error", "statistic", "df"),
        *("p_value", "conf_low", "conf_high", "level", "interval_kind", "n_units", "n_clusters"),
    )
    assert expected == TIDY_COLUMNS
    assert tuple(correlated().tidy().columns[:16]) == expected
    assert tuple(result([]).tidy().columns[:16]) == expected


def test_own_columns_come_after_the_pinned_ones() -> None:
    rows = [point("a", extra=(("cohort", 3.0),)), point("b", extra=(("weight", "w"),))]
    columns = list(result(rows).tidy().columns)
    assert columns[:16] == list(TIDY_COLUMNS)
    assert {"cohort", "weight"} <= set(columns[16:])


def test_tidy_numbers_are_those_of_scipy() -> None:
    tidy = correlated().tidy(0.9)
    for (_, row), df in zip(tidy.iterrows(), (9.0, 7.5, 20.0), strict=True):
        t = row["estimate"] / row["std_error"]
        half = stats.t.ppf(0.95, df) * row["std_error"]
        # The same special functions by another route: only rounding may differ.
        assert row["statistic"] == pytest.approx(t, rel=1e-12)
        assert row["p_value"] == pytest.approx(2 * stats.t.sf(abs(t), df), rel=1e-10)
        assert row["conf_low"] == pytest.approx(row["estimate"] - half, rel=1e-10)
        assert row["conf_high"] == pytest.approx(row["estimate"] + half, rel=1e-10)
        assert row["level"] == 0.9


def test_ratios_and_proportions_are_shown_on_the_scale_people_read() -> None:
    rows = [point("r", np.log(2.0), 0.1, estimand=RATIO), point("p", np.log(0.25 / 0.75), 0.2, estimand=PROPORTION)]
    tidy = result(rows).tidy()
    z = stats.norm.ppf(0.975)
    assert tidy["estimate"].tolist() == pytest.approx([2.0, 0.25], rel=1e-12)
    assert tidy["std_error"].tolist() == [0.1, 0.2]
    assert tidy["conf_high"][0] == pytest.approx(2.0 * np.exp(z * 0.1), rel=1e-12)
    logit = np.log(1 / 3) - z * 0.2
    assert tidy["conf_low"][1] == pytest.approx(np.exp(logit) / (1 + np.exp(logit)), rel=1e-12)
    assert tidy["p_value"][0] == pytest.approx(2 * stats.norm.sf(np.log(2.0) / 0.1), rel=1e-9)
    # That a prevalence is a half is nobody's hypothesis.
    assert tidy["p_value"].isna()[1]


@pytest.mark.parametrize(("contrast", "value"), [("risk_ratio", 0.0), ("proportion", -800.0), ("proportion", 800.0)])
def test_extreme_values_on_a_link_scale_do_not_warn(contrast: str, value: float) -> None:
    effect = "prevalence" if contrast == "proportion" else "ITT"
    shown = result([point("a", value, 500.0, estimand=Estimand(effect, contrast))])
    tidy = shown.tidy()
    estimate = float(tidy["estimate"][0])
    assert 0.0 <= estimate <= 1.0
    assert shown.summary()


def test_undefined_rows_need_a_reason_and_show_nulls() -> None:
    with pytest.raises(ValueError, match="reason"):
        point("a", None, None)
    with pytest.raises(ValueError, match="not finite"):
        point("a", float("nan"), 0.5)
    tidy = result([point("a", None, None, reason="nobody answered")]).tidy()
    assert tidy[["estimate", "std_error", "statistic", "p_value", "conf_low", "conf_high"]].isna().all().all()
    assert tidy["reason"][0] == "nobody answered"


def test_unknown_rows_and_checks_say_what_exists() -> None:
    answer = result([point("a"), point("a"), point("b")], checks=(Check("rank", "ok", "full"),))
    with pytest.raises(DesignError, match="2 rows are called 'a'"):
        answer["a"]
    with pytest.raises(DesignError, match="a, b"):
        answer["zz"]
    with pytest.raises(DesignError, match="rank"):
        answer.check("rhat")


# -- levels -------------------------------------------------------------------------------------------------------


@settings(max_examples=30, deadline=None)
@given(st.floats(0.01, 0.98), st.floats(0.001, 0.019))
def test_intervals_nest(level: float, step: float) -> None:
    answer = correlated()
    low, high = answer.at_level(level).intervals()
    lower, higher = answer.intervals(level + step)
    assert np.all(lower <= low)
    assert np.all(higher >= high)


@pytest.mark.parametrize("level", [0.0, 1.0, -0.5, 95.0, float("nan")])
def test_impossible_levels_are_refused(level: float) -> None:
    with pytest.raises(ValueError, match="between 0 and 1"):
        correlated().at_level(level)


def test_a_stored_interval_holds_at_its_own_level_only() -> None:
    # A bootstrap interval at 95 % says nothing about 50 %: showing the old limits there would be a lie.
    answer = result([point("a", 2.0, 0.5, interval=(1.0, 3.5))])
    assert [limits[0] for limits in answer.intervals()] == [1.0, 3.5]
    for low, high in (answer.intervals(0.5), answer.at_level(0.5).intervals()):
        assert np.isnan(low).all()
        assert np.isnan(high).all()
    back = answer.at_level(0.5).at_level(0.95)
    assert [limits[0] for limits in back.intervals()] == [1.0, 3.5]


# -- contrasts ----------------------------------------------------------------------------------------------------


@settings(max_examples=30, deadline=None)
@given(st.lists(st.floats(-3, 3).filter(lambda x: abs(x) > 1e-3), min_size=3, max_size=3))
def test_contrast_is_the_quadratic_form(weights: list[float]) -> None:
    answer = correlated()
    made = answer.contrast(dict(zip("abc", weights, strict=True)), name="sum")[0]
    w = np.array(weights)
    assert made.value == pytest.approx(float(w @ answer.values), abs=1e-12)
    assert made.std_error == pytest.approx(float(np.sqrt(w @ answer.covariance @ w)), rel=1e-9)
    assert made.df == 7.5


def test_contrast_of_outcomes_equals_the_analysis_of_their_difference() -> None:
    answer = trial_result()
    # Two outcomes on the same people: the rows share a term, so pick them by a renamed copy.
    rows = [Term(**{**{f: getattr(r, f) for f in r.__dataclass_fields__}, "term": r.outcome}) for r in answer.terms]
    named = Estimates(
        answer.estimator, tuple(rows), answer.covariance.copy(), answer.method, influence=answer.influence
    )
    made = named.contrast({"y": 1.0, "z": -1.0}, name="y minus z")
    rng = np.random.default_rng(4)
    y, z = rng.normal(size=40), rng.normal(size=40)
    d = y - z
    new, usual = d[1::2], d[0::2]
    assert made[0].value == pytest.approx(new.mean() - usual.mean(), rel=1e-10)
    assert made[0].std_error == pytest.approx(np.sqrt(new.var(ddof=1) / 20 + usual.var(ddof=1) / 20), rel=1e-10)
    assert made.influence is not None
    assert float(made.influence[:, 0] @ made.influence[:, 0]) == pytest.approx(made[0].std_error ** 2, rel=1e-10)


def test_contrast_does_not_inherit_the_interval_of_its_first_row() -> None:
    answer = result([point("a", 2.0, 0.5, interval=(1.0, 3.5)), point("b", 2.0, 0.5)])
    low, high = answer.contrast({"a": 1.0, "b": -1.0}, name="d").intervals()
    half = stats.norm.ppf(0.975) * np.sqrt(0.5)
    assert low[0] == pytest.approx(-half, rel=1e-9)
    assert high[0] == pytest.approx(half, rel=1e-9)


def test_contrast_of_proportions_is_not_shown_as_a_proportion() -> None:
    # Equal prevalences differ by a log odds ratio of zero. Shown through the inverse logit that would read "50 %".
    rows = [point("a", -1.0, 0.2, estimand=PROPORTION), point("b", -1.0, 0.2, estimand=PROPORTION)]
    try:
        made = result(rows).contrast({"a": 1.0, "b": -1.0}, name="d")
    except DesignError:
        return
    assert made.tidy()["contrast"][0] != "proportion"
    assert made.tidy()["estimate"][0] == pytest.approx(1.0 if made[0].estimand.link == "log" else 0.0)


def test_contrast_refuses_nonsense() -> None:
    mixed = result([point("a"), point("r", 0.1, 0.1, estimand=RATIO)])
    with pytest.raises(DesignError, match="one scale"):
        mixed.contrast({"a": 1.0, "r": 1.0}, name="x")
    with pytest.raises(DesignError, match="posterior"):
        result([point("a")], posterior=DrawsPosterior(np.zeros((1, 3, 1)))).contrast({"a": 1.0}, name="x")
    with pytest.raises(DesignError):
        mixed.contrast({}, name="nothing")
    undefined = result([point("a", None, None, reason="no data"), point("b")]).contrast({"a": 1, "b": 1}, name="x")
    assert undefined[0].value is None
    assert undefined[0].reason


def test_selected_rows_keep_their_covariance_and_influence() -> None:
    answer = trial_result()
    part = answer.with_terms([1])
    assert part.covariance[0, 0] == answer.covariance[1, 1]
    assert part.influence is not None
    assert answer.influence is not None
    np.testing.assert_array_equal(part.influence[:, 0], answer.influence[:, 1])
    assert part.aggregator is None


# -- joint tests --------------------------------------------------------------------------------------------------


def test_joint_test_is_chi_square_without_finite_df() -> None:
    covariance = np.array([[0.25, 0.10], [0.10, 0.36]])
    answer = result([point("a", 1.0, 0.5), point("b", -0.4, 0.6)], covariance)
    row = answer.joint_test()[0]
    values = np.array([1.0, -0.4])
    statistic = float(values @ np.linalg.inv(covariance) @ values)
    assert row.kind == "test"
    assert row.value is None
    assert row.statistic == pytest.approx(statistic, rel=1e-10)
    assert (row.df, row.df2) == (2.0, None)
    assert row.p_value == pytest.approx(stats.chi2.sf(statistic, 2), rel=1e-10)


def test_joint_test_is_hotellings_with_the_smallest_df() -> None:
    answer = correlated()
    row = answer.joint_test()[0]
    # T squared on 7.5 df is F on (3, 7.5 - 3 + 1) after this factor (Hotelling 1931).
    statistic = float(answer.values @ np.linalg.inv(answer.covariance) @ answer.values) * 5.5 / (7.5 * 3)
    assert row.statistic == pytest.approx(statistic, rel=1e-9)
    assert (row.df, row.df2) == (3.0, 5.5)
    assert row.p_value == pytest.approx(stats.f.sf(statistic, 3, 5.5), rel=1e-9)


def test_joint_test_of_a_redundant_row_counts_it_once() -> None:
    covariance = np.array([[1.0, 0.2], [0.2, 2.0]])
    stack = np.array([[1.0, 0.0], [0.0, 1.0], [0.5, 0.5]])
    joint = stack @ covariance @ stack.T
    values = stack @ np.array([1.0, 2.0])
    rows = [point(n, v, float(np.sqrt(joint[i, i]))) for i, (n, v) in enumerate(zip("abc", values, strict=True))]
    row = result(rows, joint).joint_test()[0]
    expected = float(np.array([1.0, 2.0]) @ np.linalg.inv(covariance) @ np.array([1.0, 2.0]))
    assert row.df == 2.0
    assert row.statistic == pytest.approx(expected, rel=1e-8)


def test_joint_test_of_one_row_is_its_squared_t() -> None:
    row = correlated().with_terms([0]).joint_test()[0]
    assert row.statistic == pytest.approx(4.0, rel=1e-12)
    assert row.p_value == pytest.approx(2 * stats.t.sf(2.0, 9.0), rel=1e-10)


def test_joint_test_carries_the_counts_behind_it() -> None:
    # With one row the statistic is the squared t: what disclosure control hides there it must hide here.
    cells = (Cell("new", 30, 4, "y by arm"), Cell("usual", 30, 12, "y by arm"))
    row = result([point("a", support=cells)]).joint_test()[0]
    assert set(cells) <= set(row.support)


def test_joint_test_needs_a_standard_error() -> None:
    with pytest.raises(DesignError, match="standard error"):
        result([point("a", None, None, reason="no data")]).joint_test()


# -- bands --------------------------------------------------------------------------------------------------------


def test_gaussian_band_of_independent_rows_has_the_closed_form() -> None:
    rows = [point(str(i), 0.0, 1.0) for i in range(5)]
    banded = result(rows).with_band(n_draws=100_000, seed=1)
    assert banded.band is not None
    # P(max of five |Z| <= c) = (2 Phi(c) - 1)^5.
    exact = stats.norm.ppf(0.5 + 0.5 * 0.95 ** (1 / 5))
    density = 5 * (2 * stats.norm.cdf(exact) - 1) ** 4 * 2 * stats.norm.pdf(exact)
    mcse = np.sqrt(0.95 * 0.05 / 100_000) / density
    assert abs(banded.band.critical - exact) < 5 * mcse
    assert set(banded.interval_kinds()) == {"confidence, uniform"}


def test_band_holds_between_pointwise_and_bonferroni_and_nests() -> None:
    answer = correlated()
    banded = answer.with_band(seed=3)
    low, high = answer.intervals()
    wide_low, wide_high = banded.intervals(0.99)
    band_low, band_high = banded.intervals()
    z, bonferroni = stats.t.ppf(0.975, 7.5), stats.t.ppf(1 - 0.025 / 3, 7.5)
    assert banded.band is not None
    assert z < banded.band.critical < bonferroni + 0.03  # Monte Carlo error of 20,000 draws is about 0.01.
    assert np.all(wide_low < band_low)
    assert np.all(wide_high > band_high)
    assert np.isfinite(low).all()
    assert np.isfinite(high).all()


def test_rademacher_band_needs_influence_and_is_close_to_the_gaussian_one() -> None:
    answer = trial_result()
    rademacher = answer.with_band(multiplier="rademacher", seed=5)
    gaussian = answer.with_band(seed=5)
    assert rademacher.band is not None
    assert gaussian.band is not None
    # Forty units: the two agree to a tenth.
    assert rademacher.band.critical == pytest.approx(gaussian.band.critical, rel=0.1)
    reread = Estimates.from_json(answer.to_json())
    with pytest.raises(DesignError, match="influence"):
        reread.with_band(multiplier="rademacher")
    with pytest.raises(DesignError, match="mammen"):
        answer.with_band(multiplier="webb")


def test_band_repeats_and_leaves_overall_out() -> None:
    answer = result([point("a"), point("b"), point("overall", 1.0, 0.35)])
    first, second = answer.with_band(), answer.with_band()
    assert first.band == second.band
    assert first.band is not None
    assert first.band.members == (0, 1)
    assert first.interval_kinds()[2] == "confidence, pointwise"


# -- posteriors ---------------------------------------------------------------------------------------------------


def draws(link: Estimand = DIFFERENCE) -> Estimates:
    values = np.random.default_rng(1).normal(0.3, 0.5, size=(2, 400, 1))
    return result([point("a", 0.3, 0.5, estimand=link)], posterior=DrawsPosterior(values))


def test_probability_counts_draws_on_the_scale_shown() -> None:
    answer = draws(RATIO)
    assert answer.posterior is not None
    flat = answer.posterior.draws.ravel()  # type: ignore[attr-defined]
    assert answer.probability("a", above=1.2) == pytest.approx(np.mean(flat > np.log(1.2)))
    assert answer.probability("a", below=1.2) == pytest.approx(np.mean(flat <= np.log(1.2)))
    assert answer.probability("a", above=1.2) + answer.probability("a", below=1.2) == pytest.approx(1.0)


@pytest.mark.parametrize("link", [RATIO, PROPORTION])
def test_probability_beyond_the_possible_is_certain_or_refused(link: Estimand) -> None:
    answer = draws(link)
    for threshold, expected in ((0.0, 1.0), (-1.0, 1.0), (1.0, 0.0 if link is PROPORTION else None)):
        if expected is None:
            continue
        try:
            found = answer.probability("a", above=threshold)
        except GbvevalError:
            continue
        assert found == expected


def test_probability_refuses_unclear_questions() -> None:
    with pytest.raises(DesignError, match="p-value"):
        correlated().probability("a", above=0.0)
    for bounds in ({}, {"above": 0.0, "below": 1.0}):
        with pytest.raises(DesignError, match="either"):
            draws().probability("a", **bounds)
    with pytest.raises(GbvevalError):
        draws().probability("a", above=float("nan"))


def test_bayesian_rows_have_no_p_value() -> None:
    row = draws().tidy().iloc[0]
    assert row["interval_kind"] == "credible, equal-tailed"
    assert draws().records()[0]["p_value"] is None
    assert draws().records()[0]["statistic"] is None
    flat = draws().posterior._flat()[:, 0]  # type: ignore[union-attr]
    assert row["conf_low"] == pytest.approx(np.quantile(flat, 0.025), rel=1e-12)


def test_a_posterior_gives_no_wald_test_in_silence() -> None:
    with pytest.raises(DesignError):
        draws().joint_test()


# -- JSON ---------------------------------------------------------------------------------------------------------


def rich() -> Estimates:
    rows = [
        point("a", 1.0 / 3.0, 0.1, df=7.25, support=(Cell("new", 30, 4, "t"),), extra=(("cohort", 3.0), ("w", "x"))),
        point("b", None, None, reason="no data"),
        point("c", 2.0, 0.5, interval=(1.0, 3.5), n_units=12, n_clusters=3, kind="bound"),
        point("t", None, None, kind="test", statistic=2.5, df=3.0, df2=11.0, p_value=0.03),
    ]
    return result(
        rows,
        checks=(Check("rank", "warn", "collinear"),),
        flow=Flow((FlowRow("assessed", "all", 12), FlowRow("randomised", "new", 6, 3))),
        provenance=Provenance("abc", (("x", [1, 2.5, None]), ("y", {"a": True})), 2**63 + 1, (("numpy", "2"),)),
        band=Band(100, 1, (0,), "gaussian", 0.95, 2.4, (0.1,)),
    )


def same(a: Estimates, b: Estimates) -> None:
    assert a.terms == b.terms
    np.testing.assert_array_equal(a.covariance, b.covariance)
    for name in ("estimator", "method", "level", "checks", "provenance", "flow", "band"):
        assert getattr(a, name) == getattr(b, name), name


def test_json_there_and_back_is_lossless() -> None:
    answer = rich()
    back = Estimates.from_json(answer.to_json())
    same(answer, back)
    assert back.to_json() == answer.to_json()
    json.loads(answer.to_json(), parse_constant=pytest.fail)


@given(
    st.floats(allow_nan=False, allow_infinity=False),
    st.floats(min_value=0, exclude_min=True, allow_nan=False, allow_infinity=False),
    st.floats(min_value=1e-3, allow_nan=False),
    st.text(max_size=20).filter(lambda t: t.isprintable()),
)
def test_json_keeps_every_digit(value: float, std_error: float, df: float, name: str) -> None:
    answer = result([point(name, value, std_error, df=df)], [[1.0]])
    same(answer, Estimates.from_json(answer.to_json()))


def test_json_keeps_infinite_numbers_wherever_they_may_stand() -> None:
    rows = [
        point("a", interval=(-np.inf, 3.0)),
        point("b", extra=(("cohort", np.inf), ("note", "inf"))),
        point("c", n_units=int(np.int64(3))),
    ]
    answer = result(rows, provenance=Provenance("d", (("upper", float("inf")),)))
    same(answer, Estimates.from_json(answer.to_json()))


def test_json_takes_the_integers_of_numpy() -> None:
    answer = result([point("a", n_units=np.int64(3), n_clusters=np.int32(2))])
    assert Estimates.from_json(answer.to_json())[0].n_units == 3


def test_json_keeps_draws_and_grid() -> None:
    answer = draws()
    back = Estimates.from_json(answer.to_json())
    assert back.posterior is not None
    np.testing.assert_array_equal(back.posterior.draws, answer.posterior.draws)  # type: ignore[union-attr,attr-defined]
    sites = gbv.SiteEffects({"e": [28.0, 8, -3, 7], "s": [15.0, 10, 16, 11]}, estimate="e", std_error="s")
    grid = gbv.NormalHierarchy(gbv.HierarchyPrior(gbv.Normal(0, 20), gbv.HalfCauchy(10))).estimate(sites)
    back = Estimates.from_json(grid.to_json())
    assert back.to_json() == grid.to_json()
    for level in (0.5, 0.95):
        for x, y in zip(grid.intervals(level), back.intervals(level), strict=True):
            np.testing.assert_array_equal(x, y)
    assert grid.probability(grid.terms[0].term, above=3.0) == back.probability(back.terms[0].term, above=3.0)
    rng = [np.random.default_rng(2), np.random.default_rng(2)]
    np.testing.assert_array_equal(grid.posterior.sample(5, rng[0]), back.posterior.sample(5, rng[1]))  # type: ignore[union-attr]


def _spoil(path: list[Any], value: Any) -> str:
    content = json.loads(rich().to_json())
    place = content
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    return json.dumps(content)


GARBAGE = {
    "empty": "",
    "not json": "{",
    "a number": "3",
    "a list": "[]",
    "no schema": "{}",
    "other schema": '{"schema": "gbveval.estimates/99"}',
    "nested beyond reading": "[" * 200_000,
    "a huge integer": _spoil(["covariance", 0, 0], 10**400),
    "a huge level": _spoil(["level"], 10**400),
    "level": _spoil(["level"], 2),
    "level text": _spoil(["level"], "0.95"),
    "covariance shape": _spoil(["covariance"], [[1.0]]),
    "terms": _spoil(["terms"], 5),
    "terms text": _spoil(["terms"], "ab"),
    "short interval": _spoil(["terms", 2, "interval"], [1.0]),
    "value text": _spoil(["terms", 0, "value"], "abc"),
    "infinite value": _spoil(["terms", 0, "value"], "inf"),
    "null without reason": _spoil(["terms", 0, "value"], None),
    "unknown estimand": _spoil(["terms", 0, "estimand", "effect"], "magic"),
    "estimand list": _spoil(["terms", 0, "estimand", "effect"], [1]),
    "term key": _spoil(["terms", 0], {}),
    "kind": _spoil(["terms", 0, "kind"], "verdict"),
    "method": _spoil(["method"], "x"),
    "flow": _spoil(["flow"], 5),
    "options": _spoil(["provenance", "options"], [[1]]),
    "posterior": _spoil(["posterior"], "x"),
    "posterior kind": _spoil(["posterior"], {"kind": "pickle"}),
    "posterior draws": _spoil(["posterior"], {"kind": "draws", "draws": [1]}),
    "posterior of another size": _spoil(["posterior"], {"kind": "draws", "draws": [[[1.0]]]}),
    "posterior grid": _spoil(["posterior"], {"kind": "grid"}),
    "band members": _spoil(["band", "members"], [77]),
    "band lengths": _spoil(["band", "scale"], [0.1, 0.2]),
    "check": _spoil(["checks"], [{"name": "a", "status": "great", "message": ""}]),
}


@pytest.mark.parametrize("text", GARBAGE.values(), ids=GARBAGE.keys())
def test_garbage_is_refused_with_a_data_error(text: str) -> None:
    with pytest.raises(DataError):
        Estimates.from_json(text)


@pytest.mark.parametrize("thing", [None, 3, b"\xff", object()])
def test_what_is_not_text_is_refused_with_a_data_error(thing: Any) -> None:
    with pytest.raises(DataError):
        Estimates.from_json(thing)


_json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.floats() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=5,
)


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_json_with_one_part_replaced_is_read_or_refused(data: st.DataObject) -> None:
    content = json.loads(rich().to_json())
    place, key = content, data.draw(st.sampled_from(sorted(content)))
    for _ in range(data.draw(st.integers(0, 3))):
        inner = place[key]
        if isinstance(inner, dict) and inner:
            place, key = inner, data.draw(st.sampled_from(sorted(inner)))
        elif isinstance(inner, list) and inner:
            place, key = inner, data.draw(st.integers(0, len(inner) - 1))
    place[key] = data.draw(_json_values)
    try:
        answer = Estimates.from_json(json.dumps(content))
    except DataError:
        return
    assert isinstance(answer, Estimates)


# -- memory only, and frozen --------------------------------------------------------------------------------------


def test_pickle_holds_neither_influence_nor_aggregator() -> None:
    answer = trial_result()
    assert answer.influence is not None
    opened = pickle.loads(pickle.dumps(answer))
    assert opened.influence is None
    assert opened.aggregator is None
    same(answer, opened)
    shallow = copy.copy(answer)
    assert shallow.influence is None
    # A deep copy stays in memory and nothing in it can change, so it may be the result itself.
    assert copy.deepcopy(answer) is answer


def test_aggregation_after_pickle_says_why_it_cannot() -> None:
    frame = {
        "y": np.random.default_rng(0).normal(size=36),
        "u": np.repeat(np.arange(12), 3),
        "t": np.tile([1, 2, 3], 12),
        "g": np.repeat([2.0, 3.0, np.inf] * 4, 3),
    }
    panel = gbv.Panel(frame, outcome="y", unit="u", time="t", cohort="g")
    answer = gbv.CallawaySantAnna(control="never_treated").estimate(panel)
    assert len(answer.aggregate("event_time")) > 1
    opened = pickle.loads(pickle.dumps(answer))
    with pytest.raises(DesignError, match="cannot be averaged"):
        opened.aggregate("event_time")


@pytest.mark.parametrize("how", ["fresh", "pickled", "json", "selected"])
def test_arrays_cannot_be_changed(how: str) -> None:
    answer = trial_result()
    if how == "pickled":
        answer = pickle.loads(pickle.dumps(answer))
    elif how == "json":
        answer = Estimates.from_json(answer.to_json())
    elif how == "selected":
        answer = answer.with_terms([0])
    for array in (answer.covariance, answer.influence):
        if array is not None:
            with pytest.raises(ValueError, match="read-only"):
                array[0, 0] = 99.0
    with pytest.raises(AttributeError):
        answer.level = 0.5  # type: ignore[misc]


def test_shapes_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="1 by 1"):
        result([point("a")], np.zeros((2, 2)))
    with pytest.raises(ValueError, match="one column"):
        result([point("a")], influence=np.zeros((3, 2)))


def test_plot_of_hostile_labels_and_of_nothing() -> None:
    import matplotlib.pyplot as plt

    for rows in (
        [point("$\\frac{1}{$", 1.0), point("<b>", 2.0)],
        [point("a", None, None, reason="no data")],
        [point("r", 0.1, 0.2, estimand=RATIO)],
    ):
        ax = result(rows).plot()
        ax.figure.canvas.draw()
        plt.close(ax.figure)


def test_html_escapes_every_text() -> None:
    evil = "<script>alert(1)</script>"
    answer = result([point(evil, outcome=evil)], checks=(Check(evil, "warn", evil),))
    assert "<script" not in answer._repr_html_()
    assert "<script" not in gbv.Table(evil, (evil,), ((evil,),), (evil,))._repr_html_()


def test_tests_against_a_value_halve_at_the_null_and_refuse_a_posterior() -> None:
    frame = {"y": [1.0, 2.0, 4.0, 5.0, 3.0, 7.0], "arm": ["a", "a", "b", "b", "a", "b"]}
    answer = gbv.DifferenceInMeans().estimate(gbv.Trial(frame, outcome="y", arm="arm", control="a"))
    at_estimate = answer.tests(null=float(answer.values[0]), alternative="less")
    assert at_estimate.p_value[0] == pytest.approx(0.5)
    assert answer.tests().p_value[0] == pytest.approx(answer.records()[0]["p_value"])
    with pytest.raises(gbv.DesignError, match="greater"):
        answer.tests(alternative="bigger")
    sites = gbv.SiteEffects(
        {"e": [0.1, 0.2, 0.3], "s": [0.1, 0.1, 0.1], "site": ["x", "y", "z"]}, estimate="e", std_error="s", site="site"
    )
    prior = gbv.HierarchyPrior(gbv.Normal(0, 1), gbv.HalfNormal(0.5))
    with pytest.raises(gbv.DesignError, match="posterior"):
        gbv.NormalHierarchy(prior).estimate(sites).tests()
