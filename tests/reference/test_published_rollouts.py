"""Published estimates of two staggered laws, from the data that the authors' packages ship."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import gbveval as gbv

BESIDE = Path(__file__).parents[3] / "shared" / "data"
FOLDER = Path(os.environ.get("GBVEVAL_DATA", BESIDE))
CASTLE, DIVORCE = FOLDER / "castle_doctrine_homicide_panel.csv", FOLDER / "unilateral_divorce_violence_panel.csv"
needs_castle = pytest.mark.skipif(not CASTLE.exists(), reason="neither ../shared/data nor GBVEVAL_DATA has the panel")
needs_divorce = pytest.mark.skipif(not DIVORCE.exists(), reason="neither ../shared/data nor GBVEVAL_DATA has the panel")


@needs_castle
@pytest.mark.parametrize(("weight", "effect", "std_error"), [(None, 0.08181, 0.03174), ("popwt", 0.05944, 0.01896)])
def test_homicide_after_castle_doctrine_laws(weight: str | None, effect: float, std_error: float) -> None:
    frame = pd.read_csv(CASTLE)
    panel = gbv.Panel(frame, outcome="l_homicide", unit="state", time="year", cohort="effyear", weight=weight)
    published = gbv.TwoWayFixedEffects(std_error="classical").estimate(panel)[0]
    # Published to five decimals, with classical errors.
    assert published.value == pytest.approx(effect, abs=5e-6)
    assert published.std_error == pytest.approx(std_error, abs=5e-6)
    clustered = gbv.TwoWayFixedEffects().estimate(panel)[0].std_error
    assert clustered is not None
    # Errors are correlated over the years of a state.
    assert clustered > 1.4 * std_error


def women(outcome: str) -> gbv.Panel:
    frame = pd.read_csv(DIVORCE).query("sex == 2")
    # In the file 2000 stands for never, and 1950 for laws from long before the window.
    first = frame["divyear"].mask(frame["divyear"] == 2000).where(frame["divyear"] != 1950, 1900)
    return gbv.Panel(frame.assign(first=first), outcome=outcome, unit="st", time="year", cohort="first")


@needs_divorce
def test_suicide_of_women_after_unilateral_divorce() -> None:
    row = gbv.TwoWayFixedEffects(std_error="classical").estimate(women("suiciderate_jag"))[0]
    # Published to five digits.
    assert row.value == pytest.approx(-3.0489e-06, abs=5e-11)
    assert row.std_error == pytest.approx(1.0760e-06, abs=5e-11)


@needs_divorce
def test_event_study_of_unilateral_divorce() -> None:
    bins = ((-np.inf, -1.0), *((e - 1.0, float(e)) for e in range(2, 20, 2)), (19.0, np.inf))
    study = gbv.EventStudy(bins=bins).estimate(women("suiciderate_elast_jag"))
    published = [1.6, -1.5, -1.5, -3.0, -8.0, -10.0, -11.9, -12.8, -13.3, -16.4, -18.7]
    # Percent, with one decimal.
    np.testing.assert_allclose(100.0 * study.values, published, atol=0.05)
