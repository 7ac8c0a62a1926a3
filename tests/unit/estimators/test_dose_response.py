"""Effects by dose: against regressions, derivatives, methods without doses, and rollouts whose curve is known."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

import gbveval as gbv
from gbveval.core.replicate import binomial_band, generators, mean_of, ratio_of
from gbveval.numerics.dose_basis import SplineBasis, dose_labels, quantile_knots, round_grid
from gbveval.numerics.dose_response import dose_average
from gbveval.testing.rollout_processes import DoseFrames

# Two exact computations of one number, in another order of sums.
CLOSE: dict[str, Any] = {"rtol": 1e-8, "atol": 1e-10}


def frame(seed: int = 0, **options: Any) -> pd.DataFrame:
    return pd.DataFrame(DoseFrames(**options).frame(np.random.default_rng(seed))[0])


def checked(data: pd.DataFrame, **roles: Any) -> gbv.Panel:
    given = {"outcome": "y", "unit": "unit", "time": "time", "cohort": "cohort", "dose": "dose", **roles}
    return gbv.Panel(data, **given)


def changes(data: pd.DataFrame, after: int, before: int) -> pd.DataFrame:
    wide = data.pivot(index="unit", columns="time", values="y")
    facts = data.groupby("unit")[["cohort", "dose"]].first()
    return facts.assign(change=wide[after] - wide[before])


def test_two_periods_and_a_straight_line_are_a_regression_of_changes() -> None:
    data = frame(cohorts=(2.0, np.inf), n_periods=2)
    found = gbv.DoseResponse(degree=1, doses=(2.0, 3.5)).estimate(checked(data))
    units = changes(data, 2, 1)
    treated, never = units[units["dose"] > 0], units.loc[units["dose"] == 0, "change"]
    fit = sm.OLS(treated["change"], sm.add_constant(treated["dose"])).fit(cov_type="HC3")
    plain = fit.get_robustcov_results("HC0")
    of_never = never.var(ddof=0) / never.size
    for dose in (2.0, 3.5):
        at = np.array([1.0, dose])
        assert found[f"dose {dose:g}"].value == pytest.approx(at @ fit.params - never.mean(), rel=1e-9)
        error = np.sqrt(at @ fit.cov_params() @ at + of_never)
        assert found[f"dose {dose:g}"].std_error == pytest.approx(error, rel=1e-9)
        # The untreated have no part in the slope.
        assert found[f"slope at dose {dose:g}"].value == pytest.approx(fit.params["dose"], rel=1e-9)
        assert found[f"slope at dose {dose:g}"].std_error == pytest.approx(fit.bse["dose"], rel=1e-9)
    assert found["overall slope"].value == pytest.approx(fit.params["dose"], rel=1e-9)
    assert found["overall slope"].std_error == pytest.approx(plain.bse[1], rel=1e-9)
    # Level and slope at one dose vary together through the regression alone.
    i, j = found.index("dose 2"), found.index("slope at dose 2")
    assert found.covariance[i, j] == pytest.approx(np.array([1.0, 2.0]) @ fit.cov_params().to_numpy()[:, 1], rel=1e-9)


OPTIONS = [
    gbv.DoseResponse(),
    gbv.DoseResponse(degree=2, knots=2, doses=(1.5, 3.0, 4.0), control="never_treated"),
    gbv.DoseResponse(curve="saturated"),
]


def data_for(estimator: gbv.DoseResponse, **options: Any) -> pd.DataFrame:
    levels = (1.0, 2.0, 4.5) if estimator.curve == "saturated" else ()
    return frame(**{"levels": levels, "bend": 0.1, "growth": 0.4, **options})


def at_doses(result: gbv.Estimates) -> np.ndarray:
    return np.array([bool(row.extra) and "dose" in dict(row.extra) for row in result.terms])


@pytest.mark.parametrize("estimator", OPTIONS, ids=str)
def test_influence_is_the_derivative_in_the_weight_of_a_unit(estimator: gbv.DoseResponse) -> None:
    data = data_for(estimator, n_units=75)
    weight = 0.5 + np.random.default_rng(1).random(75)
    unit = np.arange(len(data)) // 4

    def results(weights: np.ndarray) -> list[gbv.Estimates]:
        found = estimator.estimate(checked(data.assign(w=weights[unit]), weight="w"))
        return [found, *(found.aggregate(by) for by in ("simple", "event_time", "event_time_slope"))]

    plain = results(weight)
    for i in (0, 1, 2, 40, 41, 74):
        step = 1e-5 * weight[i] * (np.arange(75) == i)
        for result, up, down in zip(plain, results(weight + step), results(weight - step), strict=True):
            assert result.influence is not None
            # Units with a residual at given doses are the next test's: their influence is by leaving them out.
            rows = ~at_doses(result) if i % 3 < 2 else np.ones(len(result), dtype=bool)
            numeric = (up.values - down.values) / 2e-5
            # Central differences: the error of third order is about 1e-10 of the influence, rounding 1e-10 of values.
            np.testing.assert_allclose(result.influence[i, rows], numeric[rows], rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("estimator", OPTIONS, ids=str)
def test_influence_of_the_treated_at_given_doses_is_by_leaving_them_out(estimator: gbv.DoseResponse) -> None:
    """Exact for one cohort; for several, each cohort's own change by its share, and the pull on the shares."""
    data = data_for(estimator, n_units=96)
    weight = 0.5 + np.random.default_rng(1).random(96)
    data = data.assign(w=np.repeat(weight, 4))
    doses = estimator.doses or ((1.0, 2.0, 4.5) if estimator.curve == "saturated" else (2.0, 3.0, 4.0))
    same = {"degree": estimator.degree, "curve": estimator.curve, "doses": doses, "control": "never_treated"}
    # Knots go by the quantiles of all doses, which leaving units out would move.
    estimator = gbv.DoseResponse(**same)
    found = estimator.estimate(checked(data, weight="w"))
    assert found.influence is not None
    rows = [i for i, row in enumerate(found.terms) if row.extra and dict(row.extra)["treated_by_then"] == "yes"]
    cohort = np.array([3.0, 4.0, np.inf])[np.arange(96) % 3]

    def of(which: pd.DataFrame) -> np.ndarray:
        return estimator.estimate(checked(which, weight="w")).aggregate("level").values[1:]

    total = weight[np.isfinite(cohort)].sum()
    # The smallest and largest doses of a cohort stay, as the ends of its splines are theirs.
    for i in (3, 4, 48, 52):
        own = data[(data["cohort"] == cohort[i]) | np.isinf(data["cohort"])]
        share = weight[cohort == cohort[i]].sum() / total
        left_out = own[own["unit"] != f"u{i:04d}"]
        pull = weight[i] / total * (of(own) - of(data))
        expected = share * (of(own) - of(left_out)) + pull
        np.testing.assert_allclose(found.influence[i, rows[: expected.size]], expected, rtol=1e-8, atol=1e-11)


@pytest.mark.parametrize("estimator", OPTIONS, ids=str)
def test_averages_over_doses_are_those_of_callaway_and_santanna(estimator: gbv.DoseResponse) -> None:
    data = data_for(estimator, cluster_size=3)
    for roles in ({}, {"cluster": "cluster"}):
        panel = checked(data, **roles)
        found = estimator.estimate(panel)
        plain = gbv.CallawaySantAnna(control=estimator.control).estimate(panel)
        assert plain.check("dose").status == "info"
        cohorts = plain.aggregate("cohort")[0]
        assert found[0].value == pytest.approx(cohorts.value, rel=1e-9)
        assert found[0].std_error == pytest.approx(cohorts.std_error, rel=1e-9)
        for by in ("simple", "event_time"):
            one, other = found.aggregate(by), plain.aggregate(by)
            assert [row.term for row in one.terms] == [row.term for row in other.terms]
            np.testing.assert_allclose(one.values, other.values, **CLOSE)
            np.testing.assert_allclose(one.covariance, other.covariance, **CLOSE)


def test_saturated_levels_are_those_of_callaway_and_santanna_dose_by_dose() -> None:
    data = frame(cohorts=(3.0, np.inf), levels=(1.0, 2.0, 4.5), growth=0.5)
    found = gbv.DoseResponse(curve="saturated").estimate(checked(data))
    last = None
    for dose, below in ((1.0, 0.0), (2.0, 1.0), (4.5, 2.0)):
        part_frame = data[(data["dose"] == dose) | (data["dose"] == 0)]
        part = checked(part_frame)
        row = gbv.CallawaySantAnna(control="never_treated").estimate(part).aggregate("cohort")[0]
        assert found[f"dose {dose:g}"].value == pytest.approx(row.value, rel=1e-9)
        units = changes(part_frame, 3, 2).assign(late=changes(part_frame, 4, 2)["change"])
        treated = units.loc[units["dose"] > 0, ["change", "late"]].mean(axis=1)
        # Only the treated have a leverage, one over their number.
        more = treated.var(ddof=0) / treated.size * ((1.0 - 1.0 / treated.size) ** -2 - 1.0)
        assert found[f"dose {dose:g}"].std_error ** 2 == pytest.approx(row.std_error**2 + more, rel=1e-9)
        step = {f"dose {dose:g}": 1.0 / (dose - below)} | ({} if last is None else {last: -1.0 / (dose - below)})
        by_contrast = found.contrast(step, name="step")[0]
        assert found[f"slope up to dose {dose:g}"].value == pytest.approx(by_contrast.value, rel=1e-9)
        assert found[f"slope up to dose {dose:g}"].std_error == pytest.approx(by_contrast.std_error, rel=1e-9)
        last = f"dose {dose:g}"
    shares = data.loc[data["dose"] > 0, "dose"].value_counts(normalize=True)
    steps = [found[f"slope up to dose {dose:g}"].value for dose in (1.0, 2.0, 4.5)]
    assert found["overall slope"].value == pytest.approx(shares.sort_index().to_numpy() @ steps, rel=1e-9)


def test_staggered_levels_mix_cohorts_by_their_size_at_every_dose() -> None:
    """Cohorts differ in size, doses and growth; by hand from the effects of each cohort at each dose."""
    data = frame(cohorts=(3.0, 4.0, 4.0, np.inf), n_periods=5, levels=(1.0, 3.0), growth=1.0, n_units=160)
    found = gbv.DoseResponse(curve="saturated", control="never_treated").estimate(checked(data))
    sizes = data[data["dose"] > 0].groupby("cohort")["unit"].nunique()
    for dose in (1.0, 3.0):
        part = checked(data[(data["dose"] == dose) | (data["dose"] == 0)])
        cohorts = gbv.CallawaySantAnna(control="never_treated").estimate(part).aggregate("cohort")
        by_hand = sum(sizes[g] * cohorts[f"cohort {g:g}"].value for g in (3.0, 4.0)) / sizes.sum()
        assert found[f"dose {dose:g}"].value == pytest.approx(by_hand, rel=1e-9)


def test_without_noise_the_curve_of_a_staggered_rollout_is_exact() -> None:
    rng = np.random.default_rng(3)
    cohort = np.array([3.0, 5.0, np.inf])[np.arange(90) % 3]
    dose = np.where(np.isfinite(cohort), rng.uniform(1.0, 6.0, 90), 0.0)
    periods = np.arange(1.0, 8.0)
    since = periods - cohort[:, None]
    curve = 0.5 * dose - 0.2 * dose**2 + 0.02 * dose**3
    gain = np.where(since >= 0, curve[:, None] * (1.0 + np.maximum(since, 0.0)), 0.0)
    y = rng.normal(size=(90, 1)) + np.sin(periods) + gain
    columns = {"unit": np.arange(90), "cohort": cohort, "dose": dose}
    data = pd.DataFrame(
        {k: np.repeat(v, 7) for k, v in columns.items()} | {"time": np.tile(periods, 90), "y": y.ravel()}
    )
    found = gbv.DoseResponse(doses=(2.0, 4.0)).estimate(checked(data))
    # Mean of 1 + since: over 5 periods of the early cohort and 3 of the late one.
    growth = (3.0 + 2.0) / 2.0
    for d in (2.0, 4.0):
        assert found[f"dose {d:g}"].value == pytest.approx(growth * (0.5 * d - 0.2 * d**2 + 0.02 * d**3), abs=1e-9)
        assert found[f"slope at dose {d:g}"].value == pytest.approx(growth * (0.5 - 0.4 * d + 0.06 * d**2), abs=1e-9)
        assert found[f"before treatment, dose {d:g}"].value == pytest.approx(0.0, abs=1e-12)
        # No change before treatment varies, and that is said.
        assert found[f"before treatment, dose {d:g}"].reason
    path = found.aggregate("event_time_slope")
    both = (0.5 - 0.4 * dose + 0.06 * dose**2)[np.isfinite(cohort)]
    assert path["event time 0"].value == pytest.approx(both.mean(), abs=1e-9)
    early = (0.5 - 0.4 * dose + 0.06 * dose**2)[cohort == 3.0]
    assert path["event time +4"].value == pytest.approx(5.0 * early.mean(), abs=1e-9)


@settings(max_examples=20)
@given(factor=st.floats(0.01, 100.0))
def test_another_unit_of_dose_divides_slopes_and_nothing_else(factor: float) -> None:
    data = frame(n_units=60, bend=0.1)
    one = gbv.DoseResponse(degree=2, knots=1, doses=(2.0, 3.0, 4.0)).estimate(checked(data))
    grid = tuple(factor * d for d in (2.0, 3.0, 4.0))
    other = gbv.DoseResponse(degree=2, knots=1, doses=grid).estimate(checked(data.assign(dose=factor * data["dose"])))
    slopes = np.array([row.estimand.effect == "ACRT" for row in one.terms])
    scale = np.where(slopes, 1.0 / factor, 1.0)
    np.testing.assert_allclose(other.values, scale * one.values, **CLOSE)
    np.testing.assert_allclose(other.std_errors, scale * one.std_errors, **CLOSE)
    assert other.aggregate("pretest")[0].p_value == pytest.approx(one.aggregate("pretest")[0].p_value, rel=1e-6)


def test_weights_count_units_and_clusters_of_one_are_units() -> None:
    data = frame(n_units=60)
    number = np.unique(data["unit"], return_inverse=True)[1]
    estimator = gbv.DoseResponse(degree=2, doses=(2.0, 4.0))
    weighted = estimator.estimate(checked(data.assign(w=1.0 + (number % 2)), weight="w"))
    again = data[number % 2 == 1].assign(unit=lambda d: d["unit"] + " again")
    np.testing.assert_allclose(weighted.values, estimator.estimate(checked(pd.concat([data, again]))).values, **CLOSE)
    # A unit and its copy are one cluster: its influence on averages is that of a weight of two.
    together = pd.concat([data.assign(c=data["unit"]), again.assign(c=again["unit"].str.replace(" again", ""))])
    clustered = estimator.estimate(checked(together, cluster="c"))
    np.testing.assert_allclose(weighted.covariance[:2, :2], clustered.covariance[:2, :2], **CLOSE)
    without = estimator.estimate(checked(data[number > 3]))
    zero = estimator.estimate(checked(data.assign(w=(number > 3).astype(float)), weight="w"))
    np.testing.assert_allclose(zero.values, without.values, **CLOSE)
    assert "4 of weight zero are left out" in zero.method.sample


def test_units_with_gaps_are_left_out_and_counted() -> None:
    data = frame()
    gap = (data["unit"] == "u0003") & (data["time"] == 2)
    with pytest.raises(gbv.DesignError, match="1 of 150 units") as refusal:
        gbv.DoseResponse().estimate(checked(data[~gap]))
    assert "as_cross_sections" not in str(refusal.value)
    found = gbv.DoseResponse(unbalanced="drop").estimate(checked(data[~gap]))
    np.testing.assert_allclose(found.values, gbv.DoseResponse().estimate(checked(data[data["unit"] != "u0003"])).values)
    assert "1 units were left out" in found.check("balance").message


def test_without_never_treated_the_last_cohort_is_the_control_until_it_is_treated() -> None:
    data = frame(cohorts=(3.0, 4.0, 5.0), n_periods=6)
    found = gbv.DoseResponse().estimate(checked(data))
    assert "last cohort serves as control" in found.check("never treated").message
    early = data[data["time"] < 5].assign(cohort=lambda d: d["cohort"].where(d["cohort"] < 5))
    other = gbv.DoseResponse().estimate(checked(early.assign(dose=early["dose"].where(early["cohort"] < 5))))
    np.testing.assert_allclose(found.values, other.values, **CLOSE)


def drawn(source: DoseFrames, estimator: gbv.DoseResponse, n_draws: int, by: str | None = None) -> list[gbv.Estimates]:
    found = []
    for rng in generators(20240207, n_draws):
        result = estimator.estimate(source.check(source.frame(rng)[0]))
        found.append(result if by is None else result.aggregate(by))
    return found


def test_selection_into_doses_leaves_levels_right_and_slopes_wrong() -> None:
    """Those who chose more gain more at any dose: levels are theirs; the slope is off by the selection."""
    source = DoseFrames(n_units=210, slope=0.5, selection=0.4)
    results = drawn(source, gbv.DoseResponse(degree=2, doses=(2.0, 4.0)), 160)
    for name, truth in (("dose 2", 0.6), ("dose 4", 2.4), ("overall", 1.5)):
        value = mean_of(np.array([each[name].value for each in results]) - truth)
        assert abs(value.value) < 5.0 * value.mcse
        limits = [each.with_terms([each.index(name)]).intervals() for each in results]
        share = np.mean([low[0] <= truth <= high[0] for low, high in limits])
        least, most = binomial_band(0.95, 160, false_alarm=1e-6)
        assert least <= share <= most
    for name in ("overall slope", "slope at dose 2", "slope at dose 4"):
        slope = mean_of(np.array([each[name].value for each in results]))
        # The dose itself does 0.5; the slope of the levels is 0.9, whatever the number of units.
        assert abs(slope.value - 0.9) < 5.0 * slope.mcse
        errors = np.array([each[name].std_error for each in results])
        ratio = ratio_of(errors, np.array([each[name].value for each in results]))
        # By leverage errors are a few percent large.
        assert abs(ratio.value - 1.0) < 5.0 * ratio.mcse + 0.05


def test_the_band_holds_the_whole_curve_and_the_pretest_its_size() -> None:
    source = DoseFrames(n_units=120, bend=0.1)
    results = drawn(source, gbv.DoseResponse(degree=2, doses=(2.0, 3.0, 4.0)), 200)
    truth = source.level(np.array([2.0, 3.0, 4.0]))
    held = []
    for each in results:
        low, high = each.aggregate("level").with_band(n_draws=2000).intervals()
        held.append(bool(np.all((low[1:] <= truth) & (truth <= high[1:]))))
    least, most = binomial_band(0.95, 200, false_alarm=1e-6)
    assert least <= np.mean(held) <= most
    p = np.array([each.aggregate("pretest")[0].p_value for each in results])
    for size in (0.05, 0.5):
        least, most = binomial_band(size, 200, false_alarm=1e-6)
        assert least <= np.mean(p < size) <= most


def test_a_trend_by_dose_is_seen_before_treatment() -> None:
    """The mean change of the treated is that of the untreated; only the pattern by dose gives it away."""
    data = frame(n_units=300)
    centred = data["dose"] - data[data["dose"] > 0].groupby("cohort")["dose"].transform("mean").reindex(data.index)
    trended = checked(data.assign(y=data["y"] + 0.8 * centred.fillna(0.0) * data["time"]))
    found = gbv.DoseResponse(degree=1).estimate(trended)
    assert found.aggregate("pretest")[0].p_value < 1e-6
    assert found.check("pre-trends").status == "warn"
    # Without doses nothing is seen: cohort means before treatment are what they were.
    with_trend, without = (gbv.CallawaySantAnna().estimate(p).aggregate("event_time") for p in (trended, checked(data)))
    np.testing.assert_allclose(with_trend.values, without.values, **CLOSE)


@pytest.mark.parametrize(
    ("estimator", "change", "message"),
    [
        (gbv.DoseResponse(), {"dose": 2.0}, "same dose.*CallawaySantAnna"),
        (gbv.DoseResponse(), {"cohort": 3.0, "dose": 2.0}, "Nobody is untreated.*under strong parallel trends"),
        (gbv.DoseResponse(control="never_treated"), {"cohort": 3.0}, "Nobody is untreated"),
        (gbv.DoseResponse(doses=(2.0, 9.0)), {}, "1 of 2 doses asked for lie beyond.*Doses from 2 to 4.5"),
        (gbv.DoseResponse(curve="saturated"), {}, "100 different doses.*curve='spline'"),
    ],
)
def test_refusals_name_a_next_step(estimator: gbv.DoseResponse, change: dict[str, float], message: str) -> None:
    data = frame()
    untreated = np.isinf(data["cohort"]) & (change.get("cohort") is None)
    for column, value in change.items():
        data[column] = data[column].where(untreated, value)
    if "cohort" in change and "dose" not in change:
        data["dose"] = data["dose"].where(data["dose"] > 0, 1.7)
    with pytest.raises(gbv.IdentificationError, match=message):
        estimator.estimate(checked(data))


def test_few_doses_are_for_a_saturated_curve() -> None:
    data = frame(levels=(1.0, 2.0, 4.0))
    with pytest.raises(gbv.IdentificationError, match=r"3 different doses.*needs more than 4.*curve='saturated'"):
        gbv.DoseResponse().estimate(checked(data))
    several = frame()
    piled = several.assign(dose=several["dose"].clip(upper=2.0))
    with pytest.raises(gbv.IdentificationError, match="Doses pile up"):
        gbv.DoseResponse(degree=1, knots=3).estimate(checked(piled))
    with pytest.raises(gbv.IdentificationError, match="1 of 2 doses asked for were not given"):
        gbv.DoseResponse(curve="saturated", doses=(1.0, 3.0)).estimate(checked(data))
    rare = data.assign(dose=data["dose"].where(data["unit"] != "u0000", 3.0))
    with pytest.raises(gbv.IdentificationError, match="Fewer than two units at a dose in 2 of 8 pairs"):
        gbv.DoseResponse(curve="saturated").estimate(checked(rare))
    assert len(gbv.DoseResponse(curve="saturated", doses=(1.0,)).estimate(checked(data)).aggregate("level")) == 2


def test_cohorts_must_share_a_range_of_doses() -> None:
    data = frame()
    late = data["dose"].where(data["cohort"] != 4.0, data["dose"] + 10.0)
    with pytest.raises(gbv.IdentificationError, match="share no range of doses"):
        gbv.DoseResponse(degree=1).estimate(checked(data.assign(dose=late)))
    # A cohort with doses at both ends only does not determine the pieces between.
    ends = data["dose"].where(data["cohort"] != 4.0, np.where(data["dose"] < 3.0, 1.0, 4.6) + data["dose"] / 100.0)
    with pytest.raises(gbv.IdentificationError, match="of 2 cohorts do not determine the curve"):
        gbv.DoseResponse(knots=5).estimate(checked(data.assign(dose=ends)))


def test_options_and_roles_that_it_does_not_take() -> None:
    data = frame()
    for wrong in ({"curve": "kernel"}, {"degree": 0}, {"knots": -1}, {"doses": (0.0,)}, {"doses": (1.0, 1.0)}):
        with pytest.raises(gbv.DesignError):
            gbv.DoseResponse(**wrong)
    estimator = gbv.DoseResponse()
    with pytest.raises(gbv.DesignError, match="declare dose"):
        estimator.estimate(checked(data, dose=None))
    with pytest.raises(gbv.DesignError, match="units followed over time"):
        estimator.estimate(checked(data, unit=None))
    with pytest.raises(gbv.DesignError, match="no covariates"):
        estimator.estimate(checked(data.assign(x=np.arange(len(data)) % 7), covariates=["x"]))
    with pytest.raises(gbv.DesignError, match=r"does not divide by exposure.*Make the outcome a rate"):
        estimator.estimate(checked(data.assign(e=1.0), exposure="e"))
    with pytest.raises(gbv.DesignError, match="clusters in one way"):
        estimator.estimate(checked(data.assign(c=data["unit"].str[:4]), cluster=["c", "time"]))
    one = data["unit"] == "u0000"
    alone = checked(data.assign(cohort=data["cohort"].where(one), dose=data["dose"].where(one)))
    with pytest.raises(gbv.IdentificationError, match="1 unit or cluster treated"):
        estimator.estimate(alone)
    found = estimator.estimate(checked(data))
    with pytest.raises(gbv.DesignError, match="not 'calendar'"):
        found.aggregate("calendar")
    with pytest.raises(gbv.DesignError, match="no option"):
        found.aggregate("event_time", balance=1)


def test_treatment_is_zero_or_one_or_the_dose() -> None:
    data = frame()
    under = data["time"] >= data["cohort"]
    plain = gbv.DoseResponse().estimate(checked(data))
    for column in (under.astype(float), data["dose"].where(under, 0.0)):
        found = gbv.DoseResponse().estimate(checked(data.assign(t=column), treatment="t"))
        np.testing.assert_array_equal(found.values, plain.values)
    more = data["dose"].where(under, 0.0) + (under & (data["unit"] == "u0000"))
    # Unit 0 is treated in two of the four periods.
    with pytest.raises(gbv.DesignError, match=r"in 2 treated rows another than dose.*ChaisemartinDHaultfoeuille"):
        gbv.DoseResponse().estimate(checked(data.assign(t=more), treatment="t"))


def by_cluster(rng: np.random.Generator, treated: int, untreated: int, size: int) -> pd.DataFrame:
    """Units in clusters with shocks of their own, each cluster with one dose; the effect is half the dose."""
    clusters = treated + untreated
    own = np.repeat(np.arange(clusters), size)
    spread = 1.0 + 9.0 * (np.arange(treated) + rng.random(treated)) / max(treated, 1)
    dose = np.append(spread, np.zeros(untreated))[own]
    y = rng.normal(size=(own.size, 4)) + 0.7 * rng.normal(size=(clusters, 4))[own]
    y += np.where((dose > 0)[:, None] & (np.arange(4) >= 2), 0.5 * dose[:, None], 0.0)
    columns = {"unit": np.arange(own.size), "cluster": own, "dose": dose, "cohort": np.where(dose > 0, 3.0, np.inf)}
    long = {name: np.repeat(values, 4) for name, values in columns.items()}
    return pd.DataFrame(long | {"time": np.tile(np.arange(1.0, 5.0), own.size), "y": y.ravel()})


@pytest.mark.parametrize("size", [1, 10])
def test_curves_cover_and_the_pretest_keeps_its_size_with_few_clusters_that_share_a_dose(size: int) -> None:
    covered, p = [], []
    for rng in generators(77, 150):
        roles = {"cluster": "cluster"} if size > 1 else {}
        found = gbv.DoseResponse(doses=(2, 5, 8)).estimate(checked(by_cluster(rng, 24, 30, size), **roles))
        low, high = found.with_terms([found.index(f"dose {d}") for d in (2, 5, 8)]).intervals()
        truth = np.array([1.0, 2.5, 4.0])
        covered.append((low <= truth) & (truth <= high))
        p.append(found.aggregate("pretest")[0].p_value)
    least, _ = binomial_band(0.95, 150, false_alarm=1e-4)
    assert (np.mean(covered, axis=0) >= least).all()
    # Cautious, as errors by leaving out are large: no more than its size, and still a test.
    assert np.mean(np.array(p) < 0.05) <= binomial_band(0.05, 150, false_alarm=1e-4)[1]
    assert np.mean(np.array(p) < 0.5) >= 0.2


@pytest.mark.parametrize("estimator", OPTIONS, ids=str)
def test_influence_of_a_treated_cluster_at_given_doses_is_by_leaving_it_out(estimator: gbv.DoseResponse) -> None:
    """One cohort, so that shares do not move; clusters have units at several doses, and unequal weights."""
    options = {"cohorts": (3.0, np.inf), "n_units": 96, "levels": (1.0, 2.0, 4.5)}
    saturated = estimator.curve == "saturated"
    data = frame(**(options if saturated else options | {"levels": ()}))
    number = np.arange(len(data)) // 4
    data = data.assign(
        w=(0.5 + np.random.default_rng(1).random(96))[number], c=np.where(number % 2, 100, 0) + number // 12
    )
    doses = (1.0, 2.0, 4.5) if saturated else (2.0, 3.0, 4.0)
    estimator = gbv.DoseResponse(degree=estimator.degree, curve=estimator.curve, doses=doses)
    found = estimator.estimate(checked(data, weight="w", cluster="c"))
    assert found.influence is not None
    levels = [found.index(f"dose {dose:g}") for dose in doses]
    treated = data[np.isfinite(data["cohort"])].groupby("c")["dose"].agg(["min", "max"])
    ends = (treated["min"] > treated["min"].min()) & (treated["max"] < treated["max"].max())
    # The ends of the splines are the smallest and largest doses, which stay.
    for c in treated.index[ends | saturated]:
        left_out = estimator.estimate(checked(data[data["c"] != c], weight="w", cluster="c"))
        expected = found.values[levels] - left_out.values[[left_out.index(f"dose {dose:g}") for dose in doses]]
        place = int(np.flatnonzero(np.unique(data["c"]) == c)[0])
        np.testing.assert_allclose(found.influence[place, levels], expected, rtol=1e-8, atol=1e-11)


@pytest.mark.parametrize("estimator", OPTIONS, ids=str)
def test_clusters_of_one_unit_have_the_errors_of_units(estimator: gbv.DoseResponse) -> None:
    data = data_for(estimator)
    one, other = (estimator.estimate(checked(data, **roles)) for roles in ({}, {"cluster": "unit"}))
    np.testing.assert_allclose(one.covariance, other.covariance, **CLOSE)
    tests = [each.aggregate("pretest")[0] for each in (one, other)]
    assert tests[0].p_value == pytest.approx(tests[1].p_value, rel=1e-8)
    assert tests[0].df2 == pytest.approx(tests[1].df2, rel=1e-8)


def test_the_pretest_of_a_mean_by_dose_is_hotelling_s_with_degrees_of_freedom_by_hand() -> None:
    """Saturated, one cohort: the covariance is diagonal but for the untreated, each part with its own mean."""
    data = frame(cohorts=(3.0, np.inf), levels=(1.0, 2.0), n_units=60)
    test = gbv.DoseResponse(curve="saturated").estimate(checked(data)).aggregate("pretest")[0]
    units = changes(data, 2, 1)
    groups = [units.loc[units["dose"] == d, "change"] for d in (0.0, 1.0, 2.0)]
    (of_never, *_), n = [g.var(ddof=0) / g.size for g in groups], [g.size for g in groups]
    of_treated = np.diag([g.var(ddof=0) * g.size / (g.size - 1) ** 2 for g in groups[1:]])
    shared = np.full((2, 2), of_never)
    inverse = np.linalg.inv(of_treated + shared)
    # Units at a dose have leverage one over their number: 6 / (2 (1 / n_1 + 1 / n_2)), below the number less two.
    df = (n[0] - 1.0, min(6.0 / (2.0 * (1.0 / n[1] + 1.0 / n[2])), n[1] + n[2] - 2.0))
    squares = [np.trace(s @ inverse) ** 2 + np.trace(s @ inverse @ s @ inverse) for s in (shared, of_treated)]
    nu = 6.0 / sum(square / own for square, own in zip(squares, df, strict=True))
    gap = np.array([g.mean() - groups[0].mean() for g in groups[1:]])
    f = gap @ inverse @ gap * (nu - 1.0) / (2.0 * nu)
    assert test.df == 2.0
    assert test.df2 == pytest.approx(nu - 1.0, rel=1e-9)
    assert test.statistic == pytest.approx(f, rel=1e-9)
    assert test.p_value == pytest.approx(stats.f.sf(f, 2.0, nu - 1.0), rel=1e-9)


def test_clusters_that_nobody_can_confirm_are_refused_and_few_are_said() -> None:
    data = by_cluster(np.random.default_rng(4), 12, 12, 10)
    few = data.assign(dose=np.where(data["dose"] > 0, 1.0 + (data["cluster"] % 3), 0.0))
    saturated = gbv.DoseResponse(curve="saturated")
    found = saturated.estimate(checked(few, cluster="cluster"))
    assert "4 clusters in a part of the doses" in found.check("few at a dose").message
    assert "24 independent units or clusters, 12 of them in the smallest cohort" in found.check("few clusters").message
    assert "without each cluster" in found.method.small_sample
    once = few.assign(dose=few["dose"].where(few["cluster"] != 0, 5.0))
    assert np.isfinite(saturated.estimate(checked(once)).std_errors).all()
    with pytest.raises(gbv.IdentificationError, match="Fewer than two clusters at a dose in 1 of 4 pairs"):
        saturated.estimate(checked(once, cluster="cluster"))
    # Straight line: all clusters at doses about one but the last, whose ten units differ a little.
    far = np.where(data["cluster"] == 11, 9.0, 1.0)
    line = data.assign(dose=np.where(data["dose"] > 0, far + np.where(far > 1.0, data["unit"] % 10, 0) / 10.0, 0.0))
    assert np.isfinite(gbv.DoseResponse(degree=1, doses=(5.0,)).estimate(checked(line)).std_errors).all()
    with pytest.raises(gbv.IdentificationError, match=r"1 of 1 cohorts .* one cluster alone does in part"):
        gbv.DoseResponse(degree=1, doses=(5.0,)).estimate(checked(line, cluster="cluster"))
    several = by_cluster(np.random.default_rng(5), 8, 12, 10)
    assert "cohorts with few clusters" in (
        gbv.DoseResponse(degree=1).estimate(checked(several, cluster="cluster")).check("small cohorts").message
    )


def test_too_few_clusters_for_a_test_of_all_coefficients_is_said() -> None:
    """Three clusters with units at every dose, as many as coefficients: nothing is left for a covariance."""
    data = frame(cohorts=(3.0, np.inf), levels=(1.0, 2.0, 4.5), n_units=96)
    data = data.assign(
        c=np.arange(len(data)) // 4 // 32 + np.where(data["dose"] > 0, 0, 10 + np.arange(len(data)) // 4)
    )
    test = gbv.DoseResponse(curve="saturated").estimate(checked(data, cluster="c")).aggregate("pretest")[0]
    assert test.p_value is None
    assert "too few units or clusters" in test.reason


@pytest.mark.parametrize("estimator", OPTIONS, ids=str)
def test_no_repr_shows_anybody_s_numbers(estimator: gbv.DoseResponse) -> None:
    data = data_for(estimator, cluster_size=5)
    odd = data.assign(dose=1.0117 * data["dose"])
    if estimator.doses:
        estimator = gbv.DoseResponse(degree=2, knots=2)
    found = estimator.estimate(checked(odd, cluster="cluster"))
    fit = found.aggregator.fit
    held = (found.aggregator, fit, fit.units, fit.curve, fit.curve.basis, *fit.cohorts, fit.cohorts[0].left_out)
    average = dose_average(fit.units, fit.after(), fit.curve.basis.level(fit.curve.grid))
    for each in (*held, fit.after(), average, fit.read(fit.after())):
        words = repr(each)
        assert "array" not in words
        assert not any(f"{dose:.3f}" in words for dose in odd.loc[odd["dose"] > 0, "dose"].unique())


@given(st.lists(st.floats(1e-6, 1e9), min_size=1, max_size=12, unique=True))
def test_labels_differ_where_doses_do_and_are_the_doses(doses: list[float]) -> None:
    values = np.sort(np.array(doses))
    labels = dose_labels(values)
    assert len(set(labels)) == values.size
    assert not any("e" in label for label in labels)
    gap = np.diff(values).min() if values.size > 1 else np.inf
    # Half a unit of the sixth digit, or a hundredth of the distance; and the last bit of a double.
    slack = np.minimum(1e-5 * values, 0.01 * gap) + 4e-16 * values
    assert (np.abs(np.array([float(label) for label in labels]) - values) <= slack).all()


def test_doses_of_a_million_and_one_are_told_from_a_million_and_two() -> None:
    data = frame(levels=(1.0, 2.0, 3.0))
    large = data.assign(dose=np.where(data["dose"] > 0, 1e6 + data["dose"], 0.0))
    found = gbv.DoseResponse(curve="saturated").estimate(checked(large))
    assert [row.term for row in found.terms[2:5]] == ["dose 1000001", "dose 1000002", "dose 1000003"]
    assert len({row.term for row in found.terms}) == len(found)
    smooth = frame()
    smooth = smooth.assign(dose=np.where(smooth["dose"] > 0, 1e6 + smooth["dose"], 0.0))
    found = gbv.DoseResponse(degree=1).estimate(checked(smooth))
    assert "dose 1000003.5" in [row.term for row in found.terms]
    assert len({row.term for row in found.terms}) == len(found)
    for result in (found, found.aggregate("level")):
        assert all("e+" not in cell.label for row in result.terms for cell in row.support)


def test_thin_parts_of_the_doses_are_warned_of() -> None:
    data = frame(levels=(1.0, 2.0, 4.0), n_units=60)
    found = gbv.DoseResponse(curve="saturated").estimate(checked(data))
    assert "6 units in a part of the doses" in found.check("few at a dose").message
    assert "6" not in found.check("few at a dose").public


def test_the_doses_shown_are_nobodys_and_a_hidden_row_hides_its_numbers() -> None:
    data = frame(seed=5)
    low = data["unit"].map({"u0000": 1.0005, "u0001": 1.0006})
    found = gbv.DoseResponse(knots=1, doses=(1.001, 3.0)).estimate(checked(data.assign(dose=low.fillna(data["dose"]))))
    assert found["dose 1.001"].support[-1].n < 5
    released = gbv.release(found.aggregate("level")).estimates()[0]
    rows = {row["term"]: row for row in released.rows}
    assert rows["dose 1.001"].hidden
    assert rows["dose 1.001"]["estimate"] is None
    assert rows["dose 1.001"]["dose"] == 1.001
    assert not rows["dose 3"].hidden
    shown = [dict(row.extra)["dose"] for row in gbv.DoseResponse().estimate(checked(data)).terms if row.extra]
    assert not np.isin(shown, data["dose"]).any()


def test_leaving_cohorts_out_keeps_doses_and_placebo_groups_have_none() -> None:
    data = frame()
    table = gbv.leave_one_cohort_out(gbv.DoseResponse(), checked(data))
    without = gbv.DoseResponse().estimate(checked(data[data["cohort"] != 3.0])).aggregate("simple")[0]
    assert table.column("estimate")[table.column("left_out").index("cohort 3")] == pytest.approx(without.value)
    earlier = gbv.placebo_in_time(gbv.DoseResponse(degree=1), checked(frame(cohorts=(4.0, 5.0, np.inf), n_periods=6)))
    assert earlier.column("estimate")[0] is not None
    with pytest.raises(gbv.IdentificationError, match="without a dose"):
        gbv.placebo_in_group(gbv.DoseResponse(), checked(data), n_draws=3)


@given(st.lists(st.floats(0.1, 50.0), min_size=12, max_size=40, unique=True), st.integers(1, 3), st.integers(0, 2))
def test_splines_add_up_to_one_and_slopes_are_derivatives(doses: list[float], degree: int, interior: int) -> None:
    values = np.sort(np.array(doses))
    knots = quantile_knots(values, interior)
    if np.diff(knots).min() < 0.05:
        return
    basis = SplineBasis(knots, degree)
    np.testing.assert_allclose(basis.level(values)[:, :-1].sum(axis=1), 1.0, rtol=1e-12)
    inner = (knots[:-1] + knots[1:]) / 2.0
    step = 1e-4 * np.diff(knots).min()
    numeric = (basis.level(inner + step) - basis.level(inner - step)) / (2.0 * step)
    # Second-order differences of cubics: the error is step squared times a third derivative of about 60 / gap cubed.
    np.testing.assert_allclose(basis.slope(inner), numeric, atol=1e-5 / np.diff(knots).min())


@given(st.floats(1e-3, 1e4), st.floats(1e-2, 1e3))
def test_a_round_grid_is_even_and_inside(low: float, width: float) -> None:
    grid = round_grid(low, low + width)
    slack = 1e-6 * width
    assert low - slack <= grid[0]
    assert grid[-1] <= low + width + slack
    assert 3 <= grid.size <= 10
    np.testing.assert_allclose(np.diff(grid), grid[1] - grid[0], rtol=1e-6)


def test_the_curve_is_drawn_along_the_dose_with_both_bands() -> None:
    import matplotlib.pyplot as plt

    found = gbv.DoseResponse(doses=(1.5, 2.0, 3.0)).estimate(checked(frame()))
    level = found.aggregate("level")
    for result, bands in ((found, 1), (level, 1), (level.with_band(), 2)):
        ax = result.plot()
        assert ax.lines[1].get_xdata().tolist() == [1.5, 2.0, 3.0]
        np.testing.assert_array_equal(ax.lines[1].get_ydata(), level.values[1:])
        assert len(ax.collections) == bands
        assert ax.get_xlabel() == "dose"
        plt.close(ax.figure)
    ax = found.aggregate("slope").plot()
    assert ax.get_ylabel() == "mean difference per unit"
    few = gbv.DoseResponse(curve="saturated").estimate(checked(frame(levels=(1.0, 2.0))))
    # Between the doses of a saturated curve there is no line.
    assert few.aggregate("level").plot().lines[1].get_linestyle() == "None"
    plt.close("all")


def test_a_released_curve_has_a_gap_where_a_row_is_hidden_and_says_what_it_compares() -> None:
    from gbveval.reporting import figures
    from gbveval.reporting.parts import estimates_part

    data = frame(n_units=120)
    found = gbv.DoseResponse(doses=(1.2, 2.0, 3.0, 4.0)).estimate(checked(data)).aggregate("level").with_band()
    released = gbv.release(found).estimates()[0]
    hidden = [row.hidden for row in released.rows]
    assert hidden == [False, True, False, False, False]
    ax = figures.draw(released)
    assert np.isnan(ax.lines[1].get_ydata()).tolist() == [True, False, False, False]
    part = estimates_part(released, None)
    assert "for all doses at once" in part["caption"]
    assert "only if its choice had nothing to do with its effect" in part["caption"]
    assert any("strong parallel trends" in line for line in part["method"])
    slope = gbv.release(gbv.DoseResponse().estimate(checked(data)).aggregate("slope")).estimates()[0]
    assert estimates_part(slope, None)["caption"].startswith("What one more unit of dose does. This is an effect")
