"""What a plan assumes about an outcome, and what follows."""

from __future__ import annotations

import math

import pytest

from gbveval.core.errors import DesignError
from gbveval.design.outcomes import Binary, Continuous


@pytest.mark.parametrize("sd", [0.0, -1.0, math.nan, math.inf, "1", True])
def test_a_standard_deviation_must_be_positive_and_finite(sd: object) -> None:
    with pytest.raises(DesignError, match="standard deviation"):
        Continuous(sd=sd)  # type: ignore[arg-type]


@pytest.mark.parametrize("risk", [0.0, 1.0, -0.1, 35, math.nan])
def test_a_risk_lies_between_zero_and_one(risk: float) -> None:
    with pytest.raises(DesignError, match=r"share, 35 % as 0\.35"):
        Binary(risk)


@pytest.mark.parametrize("effect", [-0.35, -0.5, 0.65, 0.9])
def test_an_effect_may_not_lead_out_of_the_unit_interval(effect: float) -> None:
    with pytest.raises(DesignError, match="treated risk"):
        Binary(0.35).levels(effect)


def test_an_effect_must_be_a_number() -> None:
    with pytest.raises(DesignError, match="An effect"):
        Continuous().levels(math.nan)


def test_true_contrasts_of_risks_follow_from_the_two_risks() -> None:
    truths = Binary(0.4).truths(-0.2)
    assert truths["risk_difference"] == -0.2
    assert truths["risk_ratio"] == pytest.approx(math.log(0.5), rel=1e-12)
    # Odds 0.25 against 2/3.
    assert truths["odds_ratio"] == pytest.approx(math.log(0.375), rel=1e-12)


def test_true_contrasts_of_means() -> None:
    assert Continuous(sd=10.0).truths(3.0) == {"mean_difference": 3.0, "standardised_mean_difference": 0.3}
