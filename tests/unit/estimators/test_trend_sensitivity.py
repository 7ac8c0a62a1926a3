"""Sensitivity to trends as a user meets it: event studies in, tables out, and refusals that say what to do."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import norm

import gbveval as gbv
from gbveval.datasets.pilot import PilotRollout
from gbveval.estimators.did.event_path import event_path

FloatArray = NDArray[np.float64]
TIMES = [-4, -3, -2, 0, 1, 2]


def numbers(seed: int = 1) -> tuple[FloatArray, FloatArray]:
    sigma = 0.01 * (0.5 * np.eye(6) + 0.5)
    beta = np.random.default_rng(seed).multivariate_normal([0.0, 0.05, -0.02, 0.9, 1.0, 1.1], sigma)
    return beta, sigma


def study(scale: float = 1.0, **options: Any) -> gbv.Estimates:
    beta, sigma = numbers()
    return gbv.event_study_from(scale * beta, scale**2 * sigma, TIMES, **options)


def rollout(base_period: str = "universal") -> gbv.Estimates:
    panel = PilotRollout().draw(np.random.default_rng(5))
    effects = gbv.CallawaySantAnna(base_period=base_period).estimate(panel)
    return effects.aggregate("event_time", min_event_time=-5, max_event_time=4)


# -- what is an event study -------------------------------------------------------------------------------------


def test_numbers_given_come_back_in_order_with_the_reference_between() -> None:
    beta, sigma = numbers()
    order = [5, 0, 3, 1, 4, 2]
    mixed = gbv.event_study_from(beta[order], sigma[np.ix_(order, order)], [TIMES[i] for i in order])
    path = event_path(mixed)
    np.testing.assert_array_equal(path.beta, beta)
    np.testing.assert_array_equal(path.sigma, sigma)
    assert (path.n_pre, path.reference) == (3, -1.0)
    np.testing.assert_array_equal(path.steps, [-3, -2, -1, 1, 2, 3])
    assert gbv.Estimates.from_json(mixed.to_json()).values.tolist() == mixed.values.tolist()


def test_a_rollout_and_its_numbers_give_the_same_table() -> None:
    made = rollout()
    shown = [i for i, row in enumerate(made.terms) if row.std_error and dict(row.extra).get("event_time") is not None]
    times = [float(dict(made.terms[i].extra)["event_time"]) for i in shown]  # type: ignore[arg-type]
    copied = gbv.event_study_from(made.values[shown], made.covariance[np.ix_(shown, shown)], times)
    plan = gbv.HonestDid(restriction="smoothness", m=[0.0, 0.5])
    found, expected = plan.assess(made), plan.assess(copied)
    assert found.column("conclusion") == expected.column("conclusion")
    for name in ("conf_low", "conf_high"):
        # The length of an interval is minimised to 1e-9 of a corner.
        np.testing.assert_allclose(found.column(name)[:-1], expected.column(name)[:-1], rtol=1e-7)
    # Read back from a file it is the same too: only the joint covariance is needed.
    again = plan.assess(gbv.Estimates.from_json(made.to_json()))
    assert again.column("conf_low") == found.column("conf_low")


def test_a_study_without_its_reference_row_is_known_by_the_gap() -> None:
    whole = study()
    cut = whole.with_terms([i for i, row in enumerate(whole.terms) if row.std_error])
    assert event_path(cut).reference == -1.0


def test_effects_against_the_period_before_are_refused() -> None:
    with pytest.raises(gbv.DesignError, match="base_period='universal'"):
        gbv.HonestDid().assess(rollout("varying"))


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"event_times": [-4, -3, -2, 0, 1, 1]}, "repeat"),
        ({"event_times": [-4, -3, -2, -1, 1, 2]}, "reference"),
        ({"event_times": [-4, -3]}, "go together"),
        ({"values": [np.nan] * 6}, "finite"),
        ({"covariance": np.zeros((6, 6))}, "variances"),
        ({"covariance": np.triu(np.ones((6, 6)))}, "symmetric"),
    ],
)
def test_numbers_that_are_no_event_study_are_refused(change: dict[str, Any], match: str) -> None:
    beta, sigma = numbers()
    given: dict[str, Any] = {"values": beta, "covariance": sigma, "event_times": TIMES, **change}
    with pytest.raises(gbv.DataError, match=match):
        gbv.event_study_from(**given)


def test_results_that_are_no_event_study_are_refused() -> None:
    frame = {"y": [1.0, 2.0, 4.0, 5.0], "arm": ["a", "a", "b", "b"]}
    effect = gbv.DifferenceInMeans().estimate(gbv.Trial(frame, outcome="y", arm="arm", control="a"))
    with pytest.raises(gbv.DesignError, match="event time"):
        gbv.HonestDid().assess(effect)
    with pytest.raises(gbv.DesignError, match="event_study_from"):
        gbv.HonestDid().assess(np.zeros(3))  # type: ignore[arg-type]
    beta, sigma = numbers()
    with pytest.raises(gbv.IdentificationError, match="before"):
        gbv.pretrend_power(gbv.event_study_from(beta[3:], sigma[3:, 3:], [0, 1, 2]))
    with pytest.raises(gbv.DesignError, match="equally spaced"):
        gbv.HonestDid().assess(gbv.event_study_from(beta[1:], sigma[1:, 1:], [-5, -2, 0, 1, 2]))
    with pytest.raises(gbv.IdentificationError, match="singular"):
        gbv.HonestDid().assess(gbv.event_study_from(beta, 0.01 * np.ones((6, 6)), TIMES))


def test_few_units_are_refused_and_not_approximated() -> None:
    # Five units cannot carry the joint covariance of seven periods.
    rng = np.random.default_rng(3)
    units, periods = 5, 8
    frame = {
        "unit": np.repeat(np.arange(units), periods),
        "t": np.tile(np.arange(periods), units),
        "g": np.repeat([5.0, 5.0, np.inf, np.inf, np.inf], periods),
        "y": rng.normal(size=units * periods),
    }
    panel = gbv.Panel(frame, outcome="y", unit="unit", time="t", cohort="g")
    few = gbv.CallawaySantAnna(base_period="universal").estimate(panel).aggregate("event_time")
    with pytest.raises(gbv.IdentificationError, match="too few"):
        gbv.HonestDid().assess(few)


# -- robust sets ------------------------------------------------------------------------------------------------


def test_the_rows_are_parallel_trends_then_m_then_the_breakdown() -> None:
    table = gbv.HonestDid(m=[2.0, 0.5], target=0).assess(study())
    beta, sigma = numbers()
    assert table.column("row") == ("parallel trends", "robust", "robust", "breakdown")
    assert table.column("m")[1:3] == (0.5, 2.0)
    half = norm.isf(0.025) * np.sqrt(sigma[3, 3])
    assert table.column("conf_low")[0] == pytest.approx(beta[3] - half)
    assert table.column("estimate") == (pytest.approx(beta[3]), None, None, None)
    largest = np.abs(np.diff([*beta[:3], 0.0])).max()
    assert table.column("allowed")[1] == pytest.approx(0.5 * largest)


@pytest.mark.parametrize("plan", [gbv.HonestDid(), gbv.HonestDid(restriction="smoothness")])
def test_at_the_breakdown_the_interval_meets_no_effect(plan: gbv.HonestDid) -> None:
    table = plan.assess(study())
    value = table.column("m")[-1]
    assert (table.column("conf_low")[-1], table.column("conclusion")[-1]) == (None, None)
    near = type(plan)(restriction=plan.restriction, m=[0.99 * value, 1.01 * value]).assess(study())
    assert near.column("conclusion")[1] == "effect above the null"
    assert near.column("conclusion")[2] == "no effect shown"


def test_sets_grow_with_m_and_with_the_level() -> None:
    for plan in (gbv.HonestDid(m=[0, 0.5, 1, 2]), gbv.HonestDid(restriction="smoothness", m=[0, 0.05, 0.1])):
        low, high = (np.array(plan.assess(study()).column(name)[1:-1]) for name in ("conf_low", "conf_high"))
        assert np.all(np.diff(high - low) > 0)
        wider = plan.assess(study(), level=0.99)
        assert np.all(np.array(wider.column("conf_low")[1:-1]) < low)
        assert np.all(np.array(wider.column("conf_high")[1:-1]) > high)


@pytest.mark.parametrize("shape", ["positive", "increasing"])
def test_a_shape_takes_away_what_it_excludes(shape: str) -> None:
    # An upward departure means that the effect is overstated: only the lower side can be far away.
    free = gbv.HonestDid(m=[1.5]).assess(study())
    shaped = gbv.HonestDid(m=[1.5], shape=shape).assess(study())
    error = np.sqrt(np.full(3, 1 / 3) @ numbers()[1][3:, 3:] @ np.full(3, 1 / 3))
    assert shaped.column("conf_high")[1] < free.column("conf_high")[1]
    assert shaped.column("conf_low")[1] >= free.column("conf_low")[1] - 0.3 * error


def test_units_of_the_outcome_change_nothing_else() -> None:
    for plan, power in ((gbv.HonestDid(m=[1.0]), 0), (gbv.HonestDid(restriction="smoothness"), 1)):
        ours = plan.assess(study())
        for scale in (1e-6, 1e6):
            theirs = plan.assess(study(scale))
            for name in ("conf_low", "conf_high", "allowed"):
                a = np.array(ours.column(name), dtype=float) * scale
                # Other draws of the first stage, and a breakdown found to a thousandth of m.
                np.testing.assert_allclose(np.array(theirs.column(name), dtype=float), a, rtol=2e-3, atol=2e-3 * scale)
            m = np.array(ours.column("m"), dtype=float) * scale**power
            np.testing.assert_allclose(np.array(theirs.column("m"), dtype=float), m, rtol=5e-3)


def test_a_mirrored_study_gives_mirrored_sets() -> None:
    beta, sigma = numbers()
    mirrored = gbv.event_study_from(-beta, sigma, TIMES)
    for options in ({}, {"restriction": "smoothness"}, {"shape": "increasing"}):
        other = {"shape": "decreasing"} if "shape" in options else {}
        ours = gbv.HonestDid(m=[0.7], **options).assess(study())  # type: ignore[arg-type]
        theirs = gbv.HonestDid(m=[0.7], **{**options, **other}).assess(mirrored)  # type: ignore[arg-type]
        # Other draws of the first stage: a few thousandths of a standard error.
        assert theirs.column("conf_low")[1] == pytest.approx(-ours.column("conf_high")[1], abs=0.005)
        assert theirs.column("conf_high")[1] == pytest.approx(-ours.column("conf_low")[1], abs=0.005)


def test_ratios_are_shown_as_ratios() -> None:
    plain = gbv.HonestDid(m=[0.5]).assess(study())
    ratio = gbv.HonestDid(m=[0.5]).assess(study(contrast="rate_ratio"))
    np.testing.assert_allclose(ratio.column("conf_low")[:2], np.exp(plain.column("conf_low")[:2]))
    assert ratio.column("conclusion") == plain.column("conclusion")
    assert ratio.column("contrast")[0] == "rate_ratio"


def test_targets_are_event_times_averages_or_weights() -> None:
    average = gbv.HonestDid(m=[0.5]).assess(study())
    thirds = tuple((time, 1.0 / 3.0) for time in (0, 1, 2))
    spelled = gbv.HonestDid(m=[0.5], target=thirds).assess(study())
    assert spelled.column("conf_low") == pytest.approx(average.column("conf_low"))
    assert "average over event times 0 to 2" in average.title
    single = gbv.HonestDid(m=[0.5], target=1).assess(study())
    assert "event time 1:" in single.title
    with pytest.raises(gbv.DesignError, match="there are: 0, 1, 2"):
        gbv.HonestDid(target=7).assess(study())
    with pytest.raises(gbv.DesignError, match="weights"):
        gbv.HonestDid(target=((0, 0.0),)).assess(study())


def test_an_effect_that_was_never_there_breaks_down_at_once() -> None:
    beta, sigma = numbers()
    nothing = gbv.event_study_from(0.01 * beta, sigma, TIMES)
    last = gbv.HonestDid().assess(nothing).rows[-1]
    assert last[:2] == ("breakdown", 0.0)
    assert "even at m = 0" in last[-1]


def test_a_flat_history_never_breaks_down_and_says_so() -> None:
    # Nothing moved before: multiples of almost nothing explain no effect of fifty standard errors.
    flat = gbv.event_study_from([0.0, 0.0, 5.0], 1e-10 * np.eye(3), [-3, -2, 0])
    table = gbv.HonestDid(m=[1.0]).assess(flat)
    assert table.column("m")[-1] is None
    assert "every m up to 256" in table.rows[-1][-1]


def test_a_restriction_that_the_data_reject_is_said_to_be_rejected() -> None:
    falling = gbv.event_study_from([5.0, 0.0, 0.0], 0.01 * np.eye(3), [-2, 0, 1])
    table = gbv.HonestDid(restriction="smoothness", shape="increasing", m=[0.0]).assess(falling)
    assert table.column("conf_low")[1] is None
    assert "is rejected" in table.rows[1][-1]
    assert gbv.plot_honest_did(table).get_xlabel()


def test_options_are_checked() -> None:
    for wrong in (
        {"restriction": "none"},
        {"shape": "flat"},
        {"method": "grid"},
        {"m": []},
        {"m": [-1.0]},
        {"m": [np.nan]},
        {"method": "fixed_length"},
        {"method": "fixed_length", "restriction": "smoothness", "shape": "positive"},
    ):
        with pytest.raises(gbv.DesignError):
            gbv.HonestDid(**wrong)  # type: ignore[arg-type]
    with pytest.raises(gbv.DesignError, match="level"):
        gbv.HonestDid().assess(study(), level=95)
    beta, sigma = np.zeros(15), np.eye(15)
    long = gbv.event_study_from(beta, sigma, [-4, -3, -2, *range(12)])
    with pytest.raises(gbv.DesignError, match="single event time"):
        gbv.HonestDid(shape="positive").assess(long)
    assert len(gbv.HonestDid(shape="positive", target=0, m=[1.0]).assess(long).rows) == 3
    assert hash(gbv.HonestDid(m=[1, 2])) == hash(gbv.HonestDid(m=(1.0, 2.0)))


def test_the_plot_shows_the_interval_under_parallel_trends_first() -> None:
    table = gbv.HonestDid(m=[0.5, 1.0, 1.5, 40.0]).assess(study())
    ax = gbv.plot_honest_did(table)
    labels = [text.get_text() for text in ax.get_xticklabels()]
    assert labels == ["parallel\ntrends", "0.5", "1", "1.5", "40"]
    drawn = [line.get_ydata() for line in ax.lines if len(np.atleast_1d(line.get_ydata())) == 2]
    first = next(ends for ends in drawn if ends[0] == table.column("conf_low")[0])
    assert first[1] == table.column("conf_high")[0]
    assert any(text.get_text().startswith("breakdown") for text in ax.texts)
    assert gbv.plot_honest_did(table, ax) is ax
    assert gbv.plot_honest_did(gbv.HonestDid(m=[1.0]).assess(study(contrast="rate_ratio"))).get_yscale() == "log"
    with pytest.raises(gbv.DesignError, match="another table"):
        gbv.plot_honest_did(gbv.Table("t", ("a",), ((1,),)))


# -- tests of pre-trends ----------------------------------------------------------------------------------------


def test_power_of_one_coefficient_is_that_of_a_z_test() -> None:
    sigma = np.array([[0.04, 0.03], [0.03, 0.09]])
    two = gbv.event_study_from([0.1, 1.0], sigma, [-2, 0])
    table = gbv.pretrend_power(two, slope=0.3, power=[0.5])
    z = norm.isf(0.025)
    shift = 0.3 / 0.2
    power = norm.sf(z - shift) + norm.cdf(-z - shift)
    assert table.column("trend") == ("parallel trends", "detected with power 0.5", "named")
    assert table.column("power") == pytest.approx((0.05, 0.5, power))
    assert table.column("bayes_factor")[2] == pytest.approx((1 - power) / 0.95)
    # The density of 0.1 around -0.3 over that around zero.
    assert table.column("likelihood_ratio")[2] == pytest.approx(norm.pdf(0.1, -0.3, 0.2) / norm.pdf(0.1, 0.0, 0.2))
    assert table.column("bias")[2] == pytest.approx(0.3)
    # A normal mean of -0.3 cut to (-z, z) standard errors; the later coefficient follows by 0.03 / 0.04.
    a, b = -z + shift, z + shift
    inside = -0.3 + 0.2 * (norm.pdf(a) - norm.pdf(b)) / (norm.cdf(b) - norm.cdf(a))
    assert table.column("bias_if_passed")[2] == pytest.approx(0.3 + 0.75 * (inside + 0.3))
    bias = gbv.pretrend_bias(two, slope=0.3)
    assert bias.column("mean_if_passed") == pytest.approx((inside, 0.3 + 0.75 * (inside + 0.3)))
    assert bias.column("trend") == pytest.approx((-0.3, 0.3))


def test_a_trend_is_as_visible_upwards_as_downwards_and_both_tests_have_their_size() -> None:
    for test in ("individual", "joint"):
        up, down = (gbv.pretrend_power(study(), slope=s, power=(), test=test) for s in (0.1, -0.1))
        assert up.column("power")[1] == pytest.approx(down.column("power")[1], abs=1e-4)
    single = gbv.pretrend_power(study()).rows[0]
    assert single[6:] == (0.0, 0.0)
    none = gbv.pretrend_power(study(), power=[0.8], test="joint").rows[0]
    assert none[:5] == ("parallel trends", 0.0, pytest.approx(0.05), 1.0, 1.0)
    assert none[6:] == (0.0, 0.0)


def test_requests_about_pretests_are_checked() -> None:
    for wrong in ({"power": [1.5]}, {"power": ()}, {"slope": np.inf}, {"test": "both"}, {"alpha": 5}):
        with pytest.raises(gbv.DesignError):
            gbv.pretrend_power(study(), **wrong)
    with pytest.raises(gbv.DesignError):
        gbv.pretrend_bias(study(), slope=np.nan)


def test_the_bound_is_the_smallest_margin_that_is_rejected() -> None:
    bounds = gbv.pretrend_equivalence(study()).column("bound")
    for row, bound in enumerate(bounds):
        assert gbv.pretrend_equivalence(study(), margin=1.001 * bound).column("p_value")[row] < 0.05
        assert gbv.pretrend_equivalence(study(), margin=0.999 * bound).column("p_value")[row] > 0.05
    beta, sigma = numbers()
    largest = max(norm.cdf((abs(b) - 0.3) / 0.1) for b in beta[:3])
    table = gbv.pretrend_equivalence(study(), margin=0.3)
    assert table.column("p_value")[0] == pytest.approx(largest)
    mean = beta[:3].mean()
    error = np.sqrt(sigma[:3, :3].sum()) / 3
    assert table.column("p_value")[2] == pytest.approx(norm.cdf((abs(mean) - 0.3) / error))
    assert table.column("estimate")[1] == pytest.approx(np.abs(np.diff([*beta[:3], 0.0])).max())
    for wrong in ({"margin": 0.0}, {"margin": -1.0}, {"alpha": 0.7}):
        with pytest.raises(gbv.DesignError):
            gbv.pretrend_equivalence(study(), **wrong)


def test_equivalence_has_its_size_at_the_margin() -> None:
    # One departure exactly at the margin, another at zero: rejected in at most 5 % of studies, and not in far fewer.
    sigma = 0.01 * np.eye(3)
    rng, n = np.random.default_rng(1), 4000
    draws = rng.multivariate_normal([0.4, 0.0, 0.0], sigma, size=n)
    made = (gbv.event_study_from(beta, sigma, [-3, -2, 0]) for beta in draws)
    share = float(np.mean([gbv.pretrend_equivalence(one).column("bound")[0] < 0.4 for one in made]))
    assert abs(share - 0.05) < 4 * np.sqrt(0.05 * 0.95 / n)


# -- reporting --------------------------------------------------------------------------------------------------


def reports(log_ratio: float = -0.3, error: float = 0.1) -> gbv.Estimates:
    return gbv.event_study_from([0.0, log_ratio], np.diag([0.01, error**2]), [-2, 0], contrast="rate_ratio")


def test_the_reporting_that_explains_a_ratio_is_the_ratio() -> None:
    table = gbv.reporting_shock(reports(), "event time 0", ratios=[0.8, 1.25])
    z = norm.isf(0.025)
    low, high = np.exp([-0.3 - 0.1 * z, -0.3 + 0.1 * z])
    by = {row: i for i, row in enumerate(table.column("row"))}
    explains, edge = by["would explain the estimate"], by["would leave no effect shown"]
    assert table.column("reporting_ratio")[explains] == pytest.approx(np.exp(-0.3))
    assert table.column("reporting_low")[explains] == pytest.approx(low)
    assert table.column("reporting_high")[explains] == pytest.approx(high)
    assert table.column("reporting_ratio")[edge] == pytest.approx(high)
    assert table.column("conf_high")[edge] == pytest.approx(1.0)
    # Reports fell although each case was a quarter more likely to be reported: abuse fell further.
    assert table.column("ratio")[2] == pytest.approx(np.exp(-0.3) / 1.25)
    assert table.column("conclusion")[:4] == ("less abuse", "no effect shown", "less abuse", "no effect shown")


def test_reporting_is_recovered_where_it_was_multiplied_in() -> None:
    # Abuse falls to 0.7 of itself, and reporting rises to 1.3 of itself: reports fall to 0.91 only.
    table = gbv.reporting_shock(reports(float(np.log(0.7 * 1.3))), "event time 0", ratios=[1.3])
    assert table.column("ratio")[1] == pytest.approx(0.7)


def test_differences_are_read_against_a_baseline_or_as_logarithms() -> None:
    levels = gbv.event_study_from([0.0, -2.0], np.diag([0.01, 0.25]), [-2, 0])
    table = gbv.reporting_shock(levels, "event time 0", baseline=8.0)
    z = norm.isf(0.025)
    assert table.column("reporting_ratio")[1] == pytest.approx(0.75)
    assert table.column("reporting_low")[1] == pytest.approx((8 - 2 - 0.5 * z) / 8)
    logs = gbv.event_study_from([0.0, -0.3], np.diag([0.01, 0.01]), [-2, 0])
    same = gbv.reporting_shock(logs, "event time 0", log_outcome=True)
    assert same.column("reporting_ratio") == gbv.reporting_shock(reports(), "event time 0").column("reporting_ratio")
    # A lower limit below nothing is a ratio of zero.
    wide = gbv.reporting_shock(levels, "event time 0", baseline=2.5)
    assert wide.column("reporting_low")[1] == 0.0


def test_an_effect_that_is_not_shown_needs_no_reporting_to_go_away() -> None:
    table = gbv.reporting_shock(reports(-0.1), "event time 0")
    assert table.column("row") == ("reporting unchanged", "would explain the estimate")
    more = gbv.reporting_shock(reports(0.5), "event time 0")
    assert more.column("conclusion")[0] == "more abuse"
    assert more.column("reporting_ratio")[-1] == pytest.approx(np.exp(0.5 - 0.1 * norm.isf(0.025)))


def test_what_reporting_cannot_explain_is_refused() -> None:
    levels = gbv.event_study_from([0.0, -2.0], np.diag([0.01, 0.25]), [-2, 0])
    odds = gbv.event_study_from([0.0, -2.0], np.diag([0.01, 0.25]), [-2, 0], contrast="odds_ratio")
    for estimates, options, match in (
        (levels, {}, "baseline"),
        (levels, {"baseline": -1.0}, "baseline"),
        (levels, {"baseline": 1.0}, "takes away more"),
        (levels, {"baseline": 8.0, "log_outcome": True}, "leave `baseline` out"),
        (odds, {}, "odds ratio"),
        (reports(), {"baseline": 8.0}, "neither"),
        (reports(), {"ratios": [0.0]}, "above zero"),
    ):
        with pytest.raises(gbv.DesignError, match=match):
            gbv.reporting_shock(estimates, "event time 0", **options)  # type: ignore[arg-type]
    with pytest.raises(gbv.DesignError, match="no interval"):
        gbv.reporting_shock(reports(), "event time -1")


# -- out through the door ---------------------------------------------------------------------------------------


def tables(made: gbv.Estimates) -> list[gbv.Table]:
    return [
        gbv.HonestDid(m=[0.5, 1.0]).assess(made),
        gbv.pretrend_power(made),
        gbv.pretrend_bias(made, slope=0.5),
        gbv.pretrend_equivalence(made, margin=1.0),
        gbv.reporting_shock(made, "overall", baseline=40.0),
    ]


def test_tables_carry_the_counts_behind_the_study_and_can_be_released_with_it() -> None:
    made = rollout()
    found = tables(made)
    for table in found:
        assert len(table.support) == len(table.rows)
        assert all(table.support)
    released = gbv.release([made, *found], gbv.Policy(min_n=5))
    assert len(released.items) == 6
    assert any(value is not None for value in released.items[1].rows[0][1:])  # type: ignore[union-attr]


def test_rows_on_small_cohorts_are_hidden() -> None:
    hidden = gbv.release(tables(rollout()), gbv.Policy(min_n=200))
    for item in hidden.items:
        for row in item.rows:  # type: ignore[union-attr]
            assert not any(isinstance(value, float) for value in row)


def test_a_study_of_unknown_people_says_that_nobody_could_judge_it() -> None:
    table = gbv.HonestDid(m=[1.0]).assess(study())
    assert table.support == ()
    assert "not known" in table.notes[-1]
