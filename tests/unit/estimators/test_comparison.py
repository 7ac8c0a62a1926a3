"""`compare`, its plot, and the picture of a rollout's timing."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import gbveval as gbv
from gbveval.core.errors import DesignError
from gbveval.testing.processes import PanelFrames


def panel(**options: Any) -> gbv.Panel:
    frames = PanelFrames(**{"n_units": 60, **options})
    return frames.check(frames.frame(np.random.default_rng(1))[0])


def test_rows_are_those_of_the_estimators() -> None:
    data = panel()
    table = gbv.compare(data, [gbv.CallawaySantAnna(), gbv.TwoWayFixedEffects(), gbv.TwoByTwo()])
    overall = gbv.CallawaySantAnna().estimate(data).aggregate("simple").records()[0]
    first = dict(zip(table.columns, table.rows[0], strict=True))
    assert (first["term"], first["estimate"], first["conf_low"]) == (
        "overall",
        overall["estimate"],
        overall["conf_low"],
    )
    assert "treated later" in first["compared_with"]
    assert "parallel" in first["assumes"]
    refused = dict(zip(table.columns, table.rows[-1], strict=True))
    assert (refused["term"], refused["estimate"]) == ("refused", None)
    assert "one cohort" in refused["reason"]
    assert [row[1] for row in table.rows if row[0] == "two_way_fixed_effects"] == ["overall"]


def test_two_of_a_kind_need_labels() -> None:
    two = {"never": gbv.CallawaySantAnna(control="never_treated"), "not yet": gbv.CallawaySantAnna()}
    assert {row[0] for row in gbv.compare(panel(), two).rows} == {"never", "not yet"}
    with pytest.raises(DesignError, match="callaway_santanna occur more than once"):
        gbv.compare(panel(), list(two.values()))
    with pytest.raises(DesignError, match="there is no estimator"):
        gbv.compare(panel(), [])


def test_a_wider_level_gives_wider_intervals() -> None:
    narrow, wide = (gbv.compare(panel(), [gbv.Imputation()], level=level).rows[0] for level in (0.8, 0.95))
    assert wide[5] < narrow[5] < narrow[6] < wide[6]


def test_the_plot_shows_every_study_once() -> None:
    table = gbv.compare(panel(), [gbv.CallawaySantAnna(), gbv.SunAbraham(), gbv.TwoWayFixedEffects()])
    ax = gbv.plot_comparison(table)
    legend = ax.get_legend()
    assert legend is not None
    assert [text.get_text() for text in legend.get_texts()] == ["callaway_santanna", "sun_abraham"]
    with pytest.raises(DesignError, match="read the table"):
        gbv.plot_comparison(gbv.compare(panel(), [gbv.TwoWayFixedEffects()]))
    with pytest.raises(DesignError, match="from compare"):
        gbv.plot_comparison(gbv.Table("x", ("a",), ((1,),)))


@pytest.mark.parametrize("units", [12, 600])
def test_the_timing_of_few_units_and_of_many(units: int) -> None:
    ax = panel(n_units=units).plot()
    shown = ax.images[0].get_array()
    assert shown is not None
    # A row a unit where they can be seen, a row a cohort where they cannot.
    assert shown.shape == (12 if units == 12 else 3, 5)
    names = [text.get_text() for text in ax.get_yticklabels()]
    assert names == [f"{label} ({units // 3:,})" for label in ("3", "4", "never")]
    # Cohort 3 is treated in periods 3 to 5, cohort 4 in 4 and 5.
    assert int((shown == 2).sum()) == (5 if units == 600 else 5 * units // 3)


def test_the_timing_shows_gaps_and_treatment_that_ended() -> None:
    frame = {"y": [1.0, None, 2.0, 1.0, 2.0, 3.0], "u": [1, 1, 1, 2, 2, 2], "t": [1, 2, 3] * 2, "d": [0, 1, 0, 0, 0, 0]}
    ax = gbv.Panel(frame, outcome="y", unit="u", time="t", treatment="d").plot()
    assert ax.images[0].get_array().tolist() == [[1, 0, 1], [1, 1, 1]]
