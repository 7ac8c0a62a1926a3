"""Numbers of other systems on data that packages ship, for clones that have no reference folder beside them."""

from __future__ import annotations

from pathlib import Path

import causaldata
import numpy as np
import pandas as pd
import pytest
import statsmodels.formula.api as smf
from linearmodels.panel import PanelOLS
from scipy import stats

import gbveval as gbv
from gbveval.datasets.real import castle_doctrine, castle_doctrine_frame, village_trial
from gbveval.estimators.did._regression import regress
from gbveval.estimators.did._rollout import observed_rows
from gbveval.numerics.wild_bootstrap import sign_vectors

REDDIT = Path(__file__).parents[2].parent / "shared" / "data" / "reddit_feminism_newcomers_rct.csv"


def test_village_trial_against_scipy() -> None:
    trial = village_trial()
    seen = trial.observed(0)
    y, arm = trial.outcomes[seen, 0], trial.arm[seen]
    found = gbv.DifferenceInMeans().estimate(trial).records()[0]
    test = stats.ttest_ind(y[arm == 1], y[arm == 0], equal_var=False)
    interval = test.confidence_interval(0.95)
    # Two implementations of one closed form.
    assert found["statistic"] == pytest.approx(test.statistic, rel=1e-10)
    assert found["df"] == pytest.approx(test.df, rel=1e-10)
    assert found["p_value"] == pytest.approx(test.pvalue, rel=1e-6)
    assert (found["conf_low"], found["conf_high"]) == pytest.approx((interval.low, interval.high), rel=1e-9)


def test_lin_adjustment_against_statsmodels() -> None:
    from causaldata import thornton_hiv

    frame = (
        thornton_hiv.load_pandas().data[["got", "any", "age", "distvct"]].dropna().reset_index(drop=True).astype(float)
    )
    trial = gbv.Trial(frame, outcome="got", arm="any", control=0, covariates=["age", "distvct"])
    found = gbv.LinAdjusted().estimate(trial).records()[0]
    centred = frame.assign(
        a=frame["age"] - frame["age"].mean(), m=frame["distvct"] - frame["distvct"].mean(), t=frame["any"]
    )
    fit = smf.ols("got ~ t * (a + m)", centred).fit(cov_type="HC2", use_t=True)
    assert found["estimate"] == pytest.approx(fit.params["t"], rel=1e-10)
    assert found["std_error"] == pytest.approx(fit.bse["t"], rel=1e-10)
    assert found["p_value"] == pytest.approx(fit.pvalues["t"], rel=1e-6)


def test_castle_panel_against_the_published_coefficient() -> None:
    """Cheng and Hoekstra (2013): log homicide on the law with state and year effects, .08181 (classical SE .03174)."""
    found = gbv.TwoWayFixedEffects(std_error="CR1").estimate(castle_doctrine()).records()[0]
    assert found["estimate"] == pytest.approx(0.08181, abs=5e-6)
    classical = gbv.TwoWayFixedEffects(std_error="classical").estimate(castle_doctrine()).records()[0]
    assert classical["std_error"] == pytest.approx(0.03174, abs=5e-6)
    frame = castle_doctrine_frame()
    frame["law"] = (frame["year"] >= frame["first_year"]).astype(float)
    clustered = smf.ols("log_homicide ~ law + C(state) + C(year)", frame).fit(
        cov_type="cluster", cov_kwds={"groups": frame["state"], "use_correction": False}
    )
    assert found["std_error"] == pytest.approx(clustered.bse["law"] * np.sqrt(50 / 49), rel=1e-8)
    # linearmodels sweeps in its own way.
    index = frame.set_index(["state", "year"])
    swept = PanelOLS(index["log_homicide"], index[["law"]], entity_effects=True, time_effects=True)
    assert found["estimate"] == pytest.approx(float(swept.fit().params["law"]), rel=1e-9)


@pytest.mark.parametrize(("variant", "theirs"), [("WCR13", 0.513671875), ("WCR33", 0.5078125)])
def test_a_factor_on_the_observed_t_alone_makes_the_p_values_of_fwildclusterboot(variant: str, theirs: float) -> None:
    """R's fwildclusterboot 0.14.3 on ten states: the jackknife variance of the observed t has CRV1's factor, the
    bootstrap's have none. The same step gives its p exactly; without the factor on either side p is smaller."""
    frame = castle_doctrine_frame()
    frame["unemployment"] = causaldata.castle.load_pandas().data["unemployrt"].astype(float)
    frame = frame[frame["state"].isin([1, 2, 3, 4, 5, 6, 7, 8, 10, 11])]
    roles = {"outcome": "log_homicide", "unit": "state", "time": "year", "cohort": "first_year"}
    panel = gbv.Panel(frame, **roles, covariates=["unemployment"])
    estimator = gbv.WildTwoWay(variant=variant)
    rows = observed_rows(panel)
    found = regress(
        rows,
        np.column_stack([rows.treated.astype(float), rows.covariates]),
        ("treated", "unemployment"),
        std_error="CR0",
    )
    ready = estimator.prepared(rows, found)
    draws = np.abs(ready.parts(sign_vectors(10)).statistic(ready.estimate, studentised=True))
    t = abs(ready.estimate / ready.std_error)
    factor = np.sqrt(10 / 9 * 109 / (110 - 22))
    assert np.mean(draws >= t / factor) == theirs
    assert estimator.estimate(panel)[0].p_value == np.mean(draws >= t - 1e-9) < theirs - 0.04


def test_group_time_effects_on_the_castle_panel_by_hand() -> None:
    """ATT(2006, 2007) is a difference of two mean changes: sixteen numbers that anybody can add up."""
    frame = castle_doctrine_frame()
    wide = frame.pivot(index="state", columns="year", values="log_homicide")
    first = frame.groupby("state")["first_year"].first()
    change = wide[2007] - wide[2005]
    treated, never = change[first == 2006], change[first.isna()]
    found = gbv.CallawaySantAnna(control="never_treated").estimate(castle_doctrine())
    row = next(r for r in found.records() if (r["cohort"], r["time"]) == (2006, 2007))
    assert row["estimate"] == pytest.approx(treated.mean() - never.mean(), rel=1e-12)
    # The influence function treats group means as means of independent units: variances over n, not n - 1.
    error = np.sqrt(treated.var(ddof=0) / treated.size + never.var(ddof=0) / never.size)
    assert row["std_error"] == pytest.approx(error, rel=1e-10)


@pytest.mark.skipif(not REDDIT.exists(), reason="../shared/data is absent: the r/feminism trial is not here")
def test_newcomers_to_r_feminism() -> None:
    """Matias, Reddan and Simko (2020): difference in comments after two weeks, and the share that got the message."""
    frame = pd.read_csv(REDDIT)
    trial = gbv.Trial(frame, outcome=["comments_2wk", "message_sent"], arm="treatment", control=0)
    comments, message = gbv.DifferenceInMeans().estimate(trial).records()
    assert comments["estimate"] == pytest.approx(0.4169231, abs=5e-8)
    assert message["estimate"] == pytest.approx(0.9030769, abs=5e-8)
    assert trial.flow().count("randomised") == 1300
    assert not trial.flow().imbalances()
    blocked = gbv.Trial(frame, outcome="comments_2wk", arm="treatment", control=0, stratum="block")
    effects = smf.ols("comments_2wk ~ treatment + C(block)", frame).fit()
    found = gbv.DifferenceInMeans().estimate(blocked).records()[0]
    # Blocks of ten, five and five: the regression with block effects is the same contrast, and its error is close.
    assert found["estimate"] == pytest.approx(effects.params["treatment"], rel=1e-10)
    assert found["std_error"] == pytest.approx(effects.bse["treatment"], rel=0.02)
