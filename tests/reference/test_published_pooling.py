"""Published pooled effects of sexual-violence prevention, from the authors' data (Porat and others 2024)."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import gbveval as gbv

BESIDE = Path(__file__).parents[3] / "shared" / "data"
EFFECTS = Path(os.environ.get("GBVEVAL_DATA", BESIDE)) / "sexual_violence_prevention_meta.csv"
needs_effects = pytest.mark.skipif(not EFFECTS.exists(), reason="neither ../shared/data nor GBVEVAL_DATA has the data")

# Average, its standard error, variance between effects, I squared: printed to four, four, five and two decimals.
ALL = (0.2832, 0.0251, 0.17039, 91.86)
IDEAS = (0.3712, 0.0311, 0.20534, 92.77)
BEHAVIOURS = (0.0711, 0.0221, 0.02564, 65.33)


def effects(kind: str | None) -> gbv.SiteEffects:
    frame = pd.read_csv(EFFECTS)
    if kind is not None:
        frame = frame[frame["scale_type"] == kind]
    frame = frame.assign(se=np.sqrt(frame["var_d"]), study=frame["unique_study_id"].astype(str))
    return gbv.SiteEffects(frame, estimate="d", std_error="se", study="study", contrast="standardised_mean_difference")


@needs_effects
@pytest.mark.parametrize(("kind", "published"), [(None, ALL), ("ideas", IDEAS), ("behavior", BEHAVIOURS)])
def test_published_averages(kind: str | None, published: tuple[float, float, float, float]) -> None:
    sites = effects(kind)
    row = gbv.RobustEffects("random_effects", "CR1").estimate(sites)[0]
    # Half a unit of the last decimal printed.
    assert row.value == pytest.approx(published[0], abs=5e-5)
    assert row.std_error == pytest.approx(published[1], abs=5e-5)
    frame = {"y": sites.estimate, "se": sites.std_error}
    alone = gbv.SiteEffects(frame, estimate="y", std_error="se")
    numbers = {entry[0]: entry[1] for entry in gbv.heterogeneity(alone).rows}
    assert numbers["between-site variance"] == pytest.approx(published[2], abs=5e-6)
    assert numbers["I squared, per cent"] == pytest.approx(published[3], abs=5e-3)


@needs_effects
def test_attitudes_move_more_than_behaviour_whatever_the_weights() -> None:
    for model in (gbv.RobustEffects(), gbv.RobustEffects("random_effects")):
        ideas, behaviour = model.estimate(effects("ideas")), model.estimate(effects("behavior"))
        assert ideas.intervals()[0][0] > behaviour.intervals()[1][0]
