"""Tables of factors over replicate weights: each number computed again under every replicate, from outside."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import gbveval as gbv
from gbveval.core.estimates import Estimates

MEASURES = ("ratio", "difference", "odds_ratio", "standardised_ratio", "attributable_fraction")
ESTIMATORS = {
    "crude": gbv.RiskFactors([gbv.Factor("dose", ordered=("none", "some", "much"))], behaviour="experience"),
    "adjusted": gbv.RiskFactors(["f", "dose"], {"f": ["x", "z"]}, behaviour="experience", measures=MEASURES),
    "fraction": gbv.AttributableFraction("f", ["x"]),
    "miettinen": gbv.AttributableFraction("f", ["x"], model="log_poisson"),
    "cases": gbv.AttributableFraction("dose", ["x"], study="case_control", outcome_is_rare=True),
    "interaction": gbv.AdditiveInteraction("f", "g", ["x"], behaviour="experience"),
}


def _frame(seed: int = 5, wards: int = 24, per: int = 25) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    n = wards * per
    x = rng.integers(0, 3, n)
    f, g = rng.random(n) < 0.3 + 0.1 * x, rng.random(n) < 0.5
    ward = np.repeat(np.arange(wards), per)
    risk = 0.12 + 0.1 * f + 0.08 * g + 0.05 * x + 0.05 * rng.normal(size=wards)[ward].clip(-1, 1)
    return {
        "y": (rng.random(n) < risk).astype(float).tolist(),
        "f": np.where(f, "yes", "no").tolist(),
        "g": np.where(g, "yes", "no").tolist(),
        "dose": rng.choice(["none", "some", "much"], n).tolist(),
        "x": np.array(["a", "b", "c"])[x].tolist(),
        "z": rng.integers(0, 4, n).astype(float).tolist(),
        "w": rng.uniform(0.5, 2.0, n).tolist(),
        "ward": [f"w{i}" for i in ward],
        "region": np.where(ward < wards // 2, "north", "south").tolist(),
    }


def _survey(frame: dict[str, Any], **roles: Any) -> gbv.Survey:
    return gbv.Survey(frame, **{"outcome": "y", "weight": "w", "stratum": "region", "psu": "ward", **roles})


@pytest.mark.parametrize("name", ESTIMATORS)
def test_the_variance_is_that_of_the_estimates_under_each_replicate(name: str) -> None:
    """Every replicate as a survey of its own, with the replicate's weights as its weights."""
    frame, estimator = _frame(), ESTIMATORS[name]
    survey = _survey(frame).with_jackknife()
    answer: Estimates = estimator.estimate(survey)
    replicates = survey.replicates
    assert replicates is not None
    values = []
    for number in range(replicates.count):
        again = estimator.estimate(_survey({**frame, "w": replicates.weights[:, number].tolist()}))
        assert [row.term for row in again.terms] == [row.term for row in answer.terms]
        values.append([row.value for row in again.terms])
    middle = np.array([row.value for row in answer.terms])
    covariance = np.einsum("r,ri,rj->ij", replicates.scale, np.array(values) - middle, np.array(values) - middle)
    # The same sums in another order.
    np.testing.assert_allclose(answer.covariance, covariance, rtol=1e-8, atol=1e-14)
    plain = estimator.estimate(_survey(frame))
    for row, linearised in zip(answer.terms, plain.terms, strict=True):
        assert row.value == pytest.approx(linearised.value, rel=1e-12)
        assert row.df == linearised.df
        # Of 24 wards the jackknife of a smooth function is a few per cent above its linearisation.
        assert row.std_error == pytest.approx(linearised.std_error, rel=0.12)


def test_the_adjusted_ratio_has_the_error_of_the_regression() -> None:
    survey = _survey(_frame()).with_bootstrap(60, seed=3)
    table = gbv.RiskFactors(["f"], {"f": ["x", "z"]}, behaviour="experience").estimate(survey)
    model = gbv.SurveyRegression(["f", "x", "z"], "poisson").estimate(survey)
    adjusted = next(row for row in table.terms if "adjusted ratio" in row.term)
    assert adjusted.value == pytest.approx(model["f[yes]"].value, rel=1e-9)
    assert adjusted.std_error == pytest.approx(model["f[yes]"].std_error, rel=1e-7)
    assert "60 replicates" in table.method.std_error


def test_a_category_that_a_replicate_empties_has_no_error_and_the_others_do() -> None:
    frame = _frame()
    # All of a category are in one ward, which one replicate leaves out.
    inside = np.array(frame["ward"]) == "w3"
    frame["dose"] = np.where(inside, "rare", frame["dose"]).tolist()
    frame["y"] = np.where(inside, np.arange(inside.size) % 2, frame["y"]).tolist()
    table = gbv.RiskFactors(["dose", "f"], {"f": ["x"]}, behaviour="experience")
    answer = table.estimate(_survey(frame).with_jackknife())
    rare = [row for row in answer.terms if row.term.startswith("dose: rare")]
    assert rare
    assert all(row.std_error is None and row.reason for row in rare)
    assert all(row.std_error for row in answer.terms if row.term.startswith("f:"))


def test_sites_are_pooled_over_replicates_too() -> None:
    """Within a site a replicate that leaves a ward of another one out changes nothing."""
    frame = _frame(wards=36)
    frame["region"] = np.repeat(["east", "north", "west"], 300).tolist()
    table = gbv.RiskFactors(["f"], behaviour="experience", measures=("difference",))
    linearised, replicated = (
        gbv.factors_across_sites(table, survey, site="region")
        for survey in (_survey(frame), _survey(frame).with_jackknife())
    )
    (before,), (after,) = linearised.rows, replicated.rows
    for name in ("conf_low", "conf_high"):
        place = linearised.columns.index(name)
        # Twelve wards a site: the jackknife is a few per cent above the linearisation.
        assert after[place] == pytest.approx(before[place], rel=0.1)
        assert after[place] != before[place]


def test_there_is_no_replicate_beyond_the_last() -> None:
    survey = _survey(_frame())
    with pytest.raises(gbv.DesignError, match="0 replicates"):
        survey.replica(0)
    made = survey.with_jackknife()
    with pytest.raises(gbv.DesignError, match="24 replicates"):
        made.replica(24)
    assert made.replica(3).replicates is None
    np.testing.assert_array_equal(made.replica(3).weights(), made.replicates.weights[:, 3])  # type: ignore[union-attr]
