"""`Survey`: finite populations, stages, implied weights, replicate weights and margins, and their refusals."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import gbveval as gbv


def make(**change: Any) -> dict[str, Any]:
    frame: dict[str, Any] = {
        "y": [0, 1, 1, 0, 1, 0, 0, 1],
        "region": ["n"] * 4 + ["s"] * 4,
        "ward": ["1", "1", "2", "2", "1", "1", "2", "2"],
        "house": ["a", "b", "a", "b", "a", "b", "a", "b"],
        "wards": [6.0] * 4 + [3.0] * 4,
        "houses": [10.0, 10.0, 4.0, 4.0, 8.0, 8.0, 2.0, 2.0],
        "sex": ["w", "m"] * 4,
        "w": [1.0] * 8,
    }
    return {**frame, **change}


STAGES: dict[str, Any] = {"stratum": "region", "psu": ["ward", "house"], "fpc": ["wards", "houses"]}


def problem(frame: Any = None, **roles: Any) -> str:
    with pytest.raises(gbv.DataError) as caught:
        gbv.Survey(make() if frame is None else frame, **{"outcome": "y", **roles})
    return str(caught.value)


def test_weights_follow_from_the_populations_of_every_stage() -> None:
    survey = gbv.Survey(make(), outcome="y", **STAGES)
    np.testing.assert_allclose(survey.weights(), [15, 15, 6, 6, 6, 6, 1.5, 1.5])
    assert "weighted by its finite populations" in repr(survey)
    assert survey.n_psu == 4
    assert [stage.count for stage in survey.later_units] == [8]


def test_a_declared_weight_is_kept() -> None:
    survey = gbv.Survey(make(), outcome="y", weight="w", **STAGES)
    assert survey.weights().tolist() == [1.0] * 8


def test_respondents_are_the_units_when_none_are_declared() -> None:
    frame = make(people=[40.0] * 4 + [8.0] * 4)
    survey = gbv.Survey(frame, outcome="y", stratum="region", fpc="people")
    assert survey.weights().tolist() == [10.0] * 4 + [2.0] * 4


def test_a_population_smaller_than_its_sample_is_refused_by_column() -> None:
    text = problem(make(wards=[1.0] * 4 + [3.0] * 4), stratum="region", psu="ward", fpc="wards")
    assert "'wards' (fpc) is smaller than the sample in 1 stratum" in text
    assert "smaller than the sample" in problem(make(wards=[0.5] * 8), stratum="region", psu="ward", fpc="wards")
    assert "zero or negative" in problem(make(wards=[0.0] * 8), stratum="region", psu="ward", fpc="wards")


def test_a_population_that_varies_within_its_stratum_is_refused() -> None:
    text = problem(make(wards=[6.0, 7.0, 6.0, 6.0] + [3.0] * 4), stratum="region", psu="ward", fpc="wards")
    assert "varies within a stratum" in text
    wrong = [10.0, 11.0, 4.0, 4.0, 8.0, 8.0, 2.0, 2.0]
    assert "varies within a unit of the stage before" in problem(make(houses=wrong), **STAGES)


def test_stages_and_populations_must_fit() -> None:
    assert "implies no weights" in problem(stratum="region", psu=["ward", "house"], fpc="wards")
    assert "fpc names 2 stages, but psu only 1" in problem(stratum="region", psu="ward", fpc=["wards", "houses"])


def test_labels_of_stages_repeat_between_units() -> None:
    survey = gbv.Survey(make(), outcome="y", psu=["ward", "house"], weight="w")
    assert survey.n_psu == 2
    assert [stage.count for stage in survey.later_units] == [4]


def test_strata_of_one_respondent_are_lonely() -> None:
    frame = make(region=["n"] * 7 + ["alone"])
    survey = gbv.Survey(frame, outcome="y", stratum="region")
    with pytest.raises(gbv.IdentificationError, match="1 of 2 strata"):
        gbv.SurveyMean().estimate(survey)
    for policy, words in (("adjust", "centred"), ("certainty", "certain to be drawn"), ("average", "average variance")):
        answer = gbv.SurveyMean(lonely_psu=policy).estimate(survey)
        assert words in answer.check("lonely primary units").message
        assert answer[0].std_error > 0


def test_the_digest_tells_designs_apart() -> None:
    plain = gbv.Survey(make(), outcome="y", weight="w", stratum="region", psu="ward")
    finite = gbv.Survey(make(), outcome="y", weight="w", stratum="region", psu="ward", fpc="wards")
    digests = {plain.digest, finite.digest, plain.with_jackknife().digest, plain.with_bootstrap(9, seed=1).digest}
    digests.add(plain.poststratified("sex", {"w": 50, "m": 50}).digest)
    assert len(digests) == 5


def test_given_replicates_are_checked() -> None:
    assert "at least two columns" in problem(replicate_weights=["w"], replicate_scale=1.0)
    assert "without replicate_weights" in problem(replicate_scale=1.0)
    assert "replicate_scale must be" in problem(make(r=[1.0] * 8, q=[2.0] * 8), replicate_weights=["r", "q"])
    assert "full sample" in problem(make(r=[1.0] * 8, q=[2.0] * 8), replicate_weights=["r", "q"], replicate_scale=0.5)
    frame = make(r=[-1.0] * 8, q=[2.0] * 8)
    assert "negative in 8 rows" in problem(frame, replicate_weights=["r", "q"], replicate_scale=0.5)


def test_replicates_that_would_not_tell_the_variance_are_refused() -> None:
    lonely = gbv.Survey(make(region=["n"] * 7 + ["alone"]), outcome="y", stratum="region")
    with pytest.raises(gbv.IdentificationError, match="single primary unit, which no jackknife") as refused:
        lonely.with_jackknife()
    # Estimators have a policy for such strata; replicates have none.
    assert "lonely_psu" not in str(refused.value)
    two = gbv.Survey(make(), outcome="y", **STAGES)
    with pytest.raises(gbv.DesignError, match="later stages"):
        two.with_bootstrap(10, seed=1)
    survey = gbv.Survey(make(), outcome="y")
    with pytest.raises(gbv.DesignError, match="already"):
        survey.with_jackknife().with_jackknife()
    with pytest.raises(gbv.DesignError, match="then calibrate"):
        survey.poststratified("sex", {"w": 5, "m": 5}).with_jackknife()
    with pytest.raises(gbv.DesignError, match="two replicates"):
        survey.with_bootstrap(1, seed=1)
    large = gbv.Survey({"y": np.zeros(8000)}, outcome="y")
    with pytest.raises(gbv.DesignError, match="Use with_bootstrap"):
        large.with_jackknife()
    with pytest.raises(gbv.DesignError, match="centre"):
        survey.with_jackknife(centre="median")


def test_margins_must_fit_and_show_no_category() -> None:
    survey = gbv.Survey(make(sex=["hidden label", "m"] * 4), outcome="y")
    with pytest.raises(gbv.DataError) as caught:
        survey.poststratified("sex", {"m": 10, "x": -1})
    text = str(caught.value)
    assert "1 categories without" in text
    assert "no respondent is in" in text
    assert "not positive" in text
    assert "hidden label" not in text
    with pytest.raises(gbv.DataError, match="missing in 1 row"):
        gbv.Survey(make(sex=[None, "m"] + ["w"] * 6), outcome="y").poststratified("sex", {"m": 1, "w": 2})
    with pytest.raises(gbv.DataError, match="same population"):
        gbv.Survey(make(), outcome="y").raked({"sex": {"m": 10, "w": 10}, "region": {"n": 5, "s": 5}})
    with pytest.raises(gbv.DesignError, match="at least one"):
        survey.raked({})


def test_raking_that_cannot_end_is_an_error() -> None:
    frame = make(sex=["w"] * 4 + ["m"] * 4)
    survey = gbv.Survey(frame, outcome="y")
    with pytest.raises(gbv.ConvergenceError, match="did not meet its margins"):
        survey.raked({"sex": {"w": 60, "m": 40}, "region": {"n": 30, "s": 70}})


def test_calibration_once() -> None:
    survey = gbv.Survey(make(), outcome="y").poststratified("sex", {"w": 50, "m": 50})
    assert "calibrated on sex" in repr(survey)
    with pytest.raises(gbv.DesignError, match="calibrated already"):
        survey.poststratified("region", {"n": 50, "s": 50})


def test_replicates_are_raked_one_by_one() -> None:
    survey = gbv.Survey(make(), outcome="y").with_jackknife().poststratified("sex", {"w": 60, "m": 40})
    women = np.array([label == "w" for label in make()["sex"]])
    np.testing.assert_allclose(survey.replicates.weights[women].sum(axis=0), 60.0)
    assert "8 replicates" in repr(survey)
