"""Surveys calibrated to totals of numbers: published numbers, variance by other routes, and refusals."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import gbveval as gbv
from gbveval.core.replicate import binomial_band

CLUSTERS = Path(__file__).parents[4] / "shared" / "reference" / "risk" / "apiclus1.csv"
needs_shared = pytest.mark.skipif(not CLUSTERS.exists(), reason="../shared/reference is absent")
TYPES = {"E": 4421.0, "H": 755.0, "M": 1018.0}


@needs_shared
def test_the_r_package_survey_gives_the_same() -> None:
    """calibrate(dclus1, ~stype + api99): the vignette on domains, and the test suite of a port of survey 4.5."""
    frame = pd.read_csv(CLUSTERS)
    schools = gbv.Survey(frame, outcome="api00", weight="pw", psu="dnum", fpc="fpc")
    row = gbv.SurveyMean().estimate(schools.calibrated({"api99": 3914069.0}, population=6194))[0]
    assert (row.value, row.std_error) == (
        pytest.approx(666.717736250273, rel=1e-12),
        pytest.approx(3.29588091215716, rel=1e-12),
    )
    both = gbv.SurveyMean(by="comp.imp").estimate(schools.calibrated({"stype": TYPES, "api99": 3914069.0}))
    # As printed there, to the digits printed.
    assert both["comp.imp: Yes"].value == pytest.approx(672.049, abs=5e-4)
    assert both["comp.imp: Yes"].std_error == pytest.approx(6.518153, abs=5e-7)
    assert both["comp.imp: No"].value == pytest.approx(649.706, abs=5e-4)
    assert both["comp.imp: No"].std_error == pytest.approx(12.563, abs=5e-4)


def _frame(seed: int = 1, n: int = 160) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    hours = rng.gamma(2.0, 2.0, n)
    return {
        "y": 1.0 + 0.5 * hours + rng.normal(size=n),
        "hours": hours,
        "sex": rng.choice(["m", "w"], n).tolist(),
        "w": rng.uniform(5.0, 15.0, n),
        "ward": np.repeat(np.arange(n // 8), 8),
    }


def _survey(frame: dict[str, Any], **roles: Any) -> gbv.Survey:
    return gbv.Survey(frame, outcome="y", **{"weight": "w", "psu": "ward", **roles})


TOTALS = {"hours": 7000.0, "sex": {"m": 800.0, "w": 850.0}}


def test_the_error_is_how_the_estimate_moves_with_each_ward() -> None:
    """The derivative of the calibrated mean by the weight of a ward, by differences, is its linearised value."""
    frame = _frame()
    row = gbv.SurveyMean().estimate(_survey(frame).calibrated(TOTALS))[0]
    step, moves = 1e-4, []
    for ward in range(20):
        ends = []
        for sign in (1.0, -1.0):
            changed = np.where(frame["ward"] == ward, 1.0 + sign * step, 1.0) * frame["w"]
            ends.append(gbv.SurveyMean().estimate(_survey(frame | {"w": changed}).calibrated(TOTALS))[0].value)
        moves.append((ends[0] - ends[1]) / (2.0 * step))
    centred = np.array(moves) - np.mean(moves)
    # Central differences leave step^2.
    assert row.std_error == pytest.approx(np.sqrt(20 / 19 * (centred**2).sum()), rel=1e-6)


@pytest.mark.parametrize(("distance", "bounds"), [("linear", None), ("raking", None), ("linear", (0.5, 2.0))])
def test_replicates_are_calibrated_one_by_one(distance: str, bounds: tuple[float, float] | None) -> None:
    survey = _survey(_frame(n=480))
    totals = {"hours": 20_000.0, "sex": {"m": 2300.0, "w": 2500.0}}
    linear = survey.calibrated(totals, distance=distance, bounds=bounds)
    resampled = survey.with_jackknife().calibrated(totals, distance=distance, bounds=bounds)
    np.testing.assert_allclose(resampled.replicates.weights.T @ _frame(n=480)["hours"], 20_000.0, rtol=1e-8)
    pair = [gbv.SurveyMean().estimate(data)[0] for data in (linear, resampled)]
    # Sixty wards: the jackknife is within a few per cent of the linearised error.
    assert pair[1].std_error == pytest.approx(pair[0].std_error, rel=0.05)
    assert pair[0].std_error < 0.75 * gbv.SurveyMean().estimate(survey)[0].std_error


def test_calibrated_means_hold_the_truth_as_often_as_they_say() -> None:
    rng = np.random.default_rng(3)
    hours = rng.uniform(0.0, 8.0, 3000)
    y = 1.0 + 0.5 * hours + rng.normal(size=3000)
    held, draws = 0, 400
    values, variances = [], []
    for _ in range(draws):
        at = rng.choice(3000, 80, replace=False)
        frame = {"y": y[at], "hours": hours[at], "N": np.full(80, 3000.0)}
        survey = gbv.Survey(frame, outcome="y", fpc="N").calibrated({"hours": hours.sum()}, population=3000)
        record = gbv.SurveyMean().estimate(survey).records()[0]
        held += record["conf_low"] <= y.mean() <= record["conf_high"]
        values.append(record["estimate"])
        variances.append(record["std_error"] ** 2)
    low, high = binomial_band(0.95, draws, false_alarm=1e-4)
    assert low <= held / draws <= high
    # The variance of 400 means has a Monte Carlo error of 7 %: four of these.
    assert np.mean(variances) == pytest.approx(float(np.var(values)), rel=0.28)


def test_units_and_origin_of_a_number_change_nothing() -> None:
    frame = _frame()
    plain = _survey(frame).calibrated({"hours": 7000.0}, population=1650)
    changed = _survey(frame | {"hours": 3600.0 * frame["hours"] + 1e6}).calibrated(
        {"hours": 3600.0 * 7000.0 + 1e6 * 1650.0}, population=1650
    )
    np.testing.assert_allclose(changed.weights(), plain.weights(), rtol=1e-8)
    errors = [gbv.SurveyMean().estimate(data)[0].std_error for data in (plain, changed)]
    assert errors[1] == pytest.approx(errors[0], rel=1e-8)


def test_categories_alone_are_poststratified() -> None:
    frame, totals = _frame(), {"m": 800.0, "w": 850.0}
    given = _survey(frame).calibrated({"sex": totals})
    np.testing.assert_allclose(given.weights(), _survey(frame).poststratified("sex", totals).weights(), rtol=1e-10)
    assert "calibrated on sex" in repr(given)


@pytest.mark.parametrize(
    ("totals", "options", "error", "words"),
    [
        ({}, {}, gbv.DesignError, "at least one"),
        ({"sex": 3.0}, {}, gbv.DataError, "is no number"),
        ({"hours": float("inf")}, {}, gbv.DataError, "not a finite number"),
        ({"hours": "many"}, {}, gbv.DataError, "not a finite number"),
        ({"late": 3.0}, {}, gbv.DataError, "missing in 1 row"),
        ({"sex": {"m": 1.0}}, {}, gbv.DataError, "without a population total"),
        ({"sex": {"m": 800.0, "w": 850.0}}, {"population": 900}, gbv.DataError, "do not add to the population"),
        ({"hours": 7000.0}, {"population": -1}, gbv.DataError, "above zero"),
        ({"hours": 7000.0}, {"distance": "logit"}, gbv.DesignError, "distance is one of"),
        ({"hours": 7000.0}, {"bounds": (1.2, 3.0)}, gbv.DesignError, "bounds are factors"),
        ({"hours": 7000.0}, {"bounds": (0.2, 3.0), "distance": "raking"}, gbv.DesignError, "raking has none"),
        ({"hours": 20_000.0}, {"population": 1650}, gbv.IdentificationError, "would be zero or below"),
        (
            {"hours": 20_000.0},
            {"population": 1650, "bounds": (0.5, 2.0)},
            gbv.ConvergenceError,
            "No weights were found",
        ),
    ],
)
def test_what_does_not_fit_is_told(totals: Any, options: Any, error: type[Exception], words: str) -> None:
    frame = _frame() | {"late": [None, *range(159)]}
    with pytest.raises(error, match=words):
        _survey(frame).calibrated(totals, **options)


def test_calibration_is_once_and_changes_the_digest() -> None:
    survey = _survey(_frame())
    found = survey.calibrated(TOTALS)
    assert found.digest != survey.digest
    for again in (lambda: found.calibrated(TOTALS), lambda: found.raked({"sex": TOTALS["sex"]})):
        with pytest.raises(gbv.DesignError, match="calibrated already"):
            again()


def test_a_replicate_that_cannot_meet_the_totals_says_that_it_is_one() -> None:
    frame = _frame()
    frame["sex"] = ["rare" if ward == 0 else "other" for ward in frame["ward"]]
    survey, totals = _survey(frame).with_jackknife(), {"rare": 80.0, "other": 1500.0}
    for calibrate in (lambda: survey.poststratified("sex", totals), lambda: survey.calibrated({"sex": totals})):
        with pytest.raises(gbv.ConvergenceError, match="a replicate does not") as refused:
            calibrate()
        assert "nan" not in str(refused.value)
