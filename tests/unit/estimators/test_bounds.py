"""Bounds as results: intervals at any level, clusters, refusals."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import gbveval as gbv
from gbveval.numerics.inference import bounded_interval


def frame(seed: int = 1, n: int = 200) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    treated = np.arange(n) % 2 == 1
    kind = rng.random(n)
    y = rng.normal(size=n)
    y[(kind > 0.8) & ~treated] = np.nan
    y[kind > 0.95] = np.nan
    return {
        "y": y,
        "arm": np.where(treated, "new", "usual"),
        "c": np.arange(n) // 10 * 2 + treated,
        "x": np.arange(n) % 3,
    }


def trial(data: dict[str, Any], **roles: Any) -> gbv.Trial:
    return gbv.Trial(data, outcome="y", arm="arm", control="usual", **roles)


def test_both_rows_show_one_interval_at_any_level_also_after_json() -> None:
    found = gbv.LeeBounds().estimate(trial(frame()))
    back = gbv.Estimates.from_json(found.to_json())
    for result in (found, back):
        for level in (0.8, 0.95, 0.99):
            low, high = result.intervals(level)
            expected = bounded_interval(
                (result.values[0], result.values[1]), (result.std_errors[0], result.std_errors[1]), level=level
            )
            assert (low[0], high[0]) == (low[1], high[1]) == pytest.approx(expected, rel=1e-12)
    record = found.records()[0]
    assert record["p_value"] is None, "a bound has no test of its own"
    assert record["interval_kind"] == "confidence, for the quantity between the bounds"


def test_errors_by_cluster_add_up_scores() -> None:
    data = frame()
    alone = gbv.ManskiBounds(-5.0, 5.0).estimate(trial(data))
    clustered = gbv.ManskiBounds(-5.0, 5.0).estimate(trial(data, cluster="c"))
    assert alone[0].value == clustered[0].value
    assert clustered[0].n_clusters == 40
    data["c"] = np.arange(200)
    singles = gbv.ManskiBounds(-5.0, 5.0).estimate(trial(data, cluster="c"))
    observed_clusters = 200.0
    expected = alone[0].std_error * np.sqrt(observed_clusters / (observed_clusters - 1.0))
    assert singles[0].std_error == pytest.approx(expected, rel=1e-12)


def test_a_declared_direction_that_data_contradict_is_refused() -> None:
    with pytest.raises(gbv.IdentificationError, match="was declared"):
        gbv.LeeBounds(monotonicity="control_observed_more").estimate(trial(frame()))
    assert gbv.LeeBounds(monotonicity="treated_observed_more").estimate(trial(frame()))[0].value is not None


def test_tightening_needs_discrete_covariates() -> None:
    data = frame()
    with pytest.raises(gbv.DesignError, match="needs covariates"):
        gbv.LeeBounds(tighten=True).estimate(trial(data))
    with pytest.raises(gbv.DesignError, match="200 cells"):
        gbv.LeeBounds(tighten=True).estimate(trial({**data, "x": np.arange(200.0)}, covariates=["x"]))
    found = gbv.LeeBounds(tighten=True).estimate(trial(data, covariates=["x"]))
    assert found[1].value - found[0].value >= 0


def test_outcomes_outside_the_limits_are_counted_and_not_shown() -> None:
    with pytest.raises(gbv.DataError, match="lies outside 0 to 1 in") as error:
        gbv.ManskiBounds().estimate(trial(frame()))
    assert "." not in str(error.value).split("in ")[1].split(" rows")[0]


def test_an_arm_without_outcomes_is_refused() -> None:
    data = frame()
    data["y"] = np.where(data["arm"] == "new", np.nan, data["y"])
    for estimator in (gbv.LeeBounds(), gbv.ManskiBounds(-5, 5)):
        with pytest.raises(gbv.IdentificationError, match="0 units with an outcome in arm 'new'"):
            estimator.estimate(trial(data))


def test_bounds_can_be_released_and_drawn() -> None:
    found = gbv.LeeBounds().estimate(trial(frame()))
    released = gbv.release(found, gbv.Policy())
    assert released is not None
    axes = found.plot()
    # Both bounds are on one line, with a bar between them.
    assert [label.get_text() for label in axes.get_yticklabels()] == ["new vs usual, bounds"]
    assert "bound" in found.summary()
