"""The rollout estimator's own choices: control groups, unbalanced panels, counts, and what averages give away."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import gbveval as gbv


def rollout(sizes: dict[float, int], seed: int = 1, periods: int = 6) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    cohort = np.repeat(list(sizes), list(sizes.values()))
    n = cohort.size
    t = np.arange(1, periods + 1)
    y = rng.normal(size=(n, 1)) + rng.normal(size=(n, periods)) + 0.5 * (t >= cohort[:, None])
    return pd.DataFrame(
        {"unit": np.repeat(np.arange(n), periods), "t": np.tile(t, n), "g": np.repeat(cohort, periods), "y": y.ravel()}
    )


def panel(frame: pd.DataFrame, **roles: str) -> gbv.Panel:
    return gbv.Panel(frame, outcome="y", unit="unit", time="t", cohort="g", **roles)


def test_the_last_cohort_as_control_is_a_panel_cut_and_recoded() -> None:
    frame = rollout({3.0: 20, 4.0: 15, 6.0: 25})
    found = gbv.CallawaySantAnna(control="last_treated").estimate(panel(frame))
    cut = frame[frame["t"] < 6].assign(g=frame["g"].where(frame["g"] < 6))
    expected = gbv.CallawaySantAnna(control="never_treated").estimate(panel(cut))
    np.testing.assert_array_equal(found.values, expected.values)
    np.testing.assert_array_equal(found.std_errors, expected.std_errors)
    with pytest.raises(gbv.DesignError, match="never"):
        gbv.CallawaySantAnna(control="last_treated").estimate(panel(rollout({3.0: 20, np.inf: 20})))


def test_units_with_gaps_are_an_error_unless_dropped_and_counted() -> None:
    frame = rollout({3.0: 20, np.inf: 30})
    frame.loc[4, "y"] = np.nan
    with pytest.raises(gbv.DesignError, match="1 of 50 units"):
        gbv.CallawaySantAnna().estimate(panel(frame))
    dropped = gbv.CallawaySantAnna(unbalanced="drop").estimate(panel(frame))
    whole = gbv.CallawaySantAnna().estimate(panel(frame[frame["unit"] != 0]))
    np.testing.assert_allclose(dropped.values, whole.values, rtol=1e-12)
    assert "1 units" in dropped.check("balance").message


def test_a_weight_that_varies_within_a_unit_is_refused() -> None:
    frame = rollout({3.0: 20, np.inf: 30})
    frame["w"] = np.where(frame["t"] == 1, 1.0, 2.0)
    with pytest.raises(gbv.DesignError, match="50 units"):
        gbv.CallawaySantAnna().estimate(panel(frame, weight="w"))


def test_clusters_that_take_no_part_are_not_counted() -> None:
    frame = rollout({1.0: 36, 4.0: 20, np.inf: 20})
    frame["k"] = np.where(frame["g"] == 1, frame["unit"], 100 + frame["unit"] % 9)
    found = gbv.CallawaySantAnna().estimate(panel(frame, cluster="k"))
    assert found[0].n_clusters == 9
    assert found.check("few clusters").status == "warn"


def test_a_small_cohort_does_not_follow_from_averages_of_others() -> None:
    effects = gbv.CallawaySantAnna().estimate(panel(rollout({3.0: 50, 5.0: 3, np.inf: 60})))
    shown = gbv.release([effects.aggregate("cohort"), effects.aggregate("pretest")])
    rows = {row["term"]: row for item in shown.estimates() for row in item.rows}
    assert rows["cohort 5"].hidden
    # The overall effect less the large cohort's would be the small one's.
    assert rows["overall"].hidden or rows["cohort 3"].hidden
    assert "5 (3)" not in shown.to_json()


def test_a_small_comparison_group_hides_what_rests_on_it() -> None:
    effects = gbv.CallawaySantAnna(control="never_treated").estimate(panel(rollout({3.0: 50, np.inf: 2})))
    for by in ("event_time", "simple"):
        assert all(row.hidden for row in gbv.release(effects.aggregate(by)).estimates()[0].rows)
