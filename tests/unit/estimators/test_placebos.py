"""Placebos and cohorts left out: what the estimator says of the same rows, put together by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

import gbveval as gbv
from gbveval.core.errors import DesignError, IdentificationError
from gbveval.core.replicate import binomial_band
from gbveval.estimators.did._panels import part_of
from gbveval.testing.processes import PanelFrames

COHORTS = (4.0, 5.0, np.inf)


def frame(seed: int = 0, **options: Any) -> pd.DataFrame:
    source = PanelFrames(**{"n_units": 60, "n_periods": 6, "cohorts": COHORTS, **options})
    made = pd.DataFrame(source.frame(np.random.default_rng(seed))[0])
    rng = np.random.default_rng(seed + 1)
    return made.assign(w=made["unit"].map({u: rng.uniform(0.5, 2) for u in made["unit"].unique()}))


def panel(data: pd.DataFrame, **roles: Any) -> gbv.Panel:
    return gbv.Panel(data, **{"outcome": "y", "unit": "unit", "time": "time", "cohort": "cohort", **roles})


def test_a_part_is_the_panel_of_the_filtered_frame() -> None:
    data = frame(cluster_size=2, covariate=0.3).assign(n=2.0, d=lambda f: (f["time"] >= f["cohort"]).astype(float))
    roles: dict[str, Any] = {"cluster": ["cluster", "time"], "weight": "w", "covariates": ["x"], "exposure": "n"}
    whole = panel(data, treatment="d", **roles)
    keep = (data["cohort"] != 4.0) & (data["time"] > 1)
    part = part_of(whole, keep.to_numpy())
    made = panel(data[keep], treatment="d", **roles)
    assert part.digest == made.digest
    assert repr(part) == repr(made)
    assert part.is_balanced
    moved = np.where(np.isinf(whole.cohort), 3.0, np.inf)
    again = part_of(whole, keep.to_numpy(), moved)
    assert again.digest == panel(data.assign(cohort=moved)[keep], **roles).digest


@pytest.mark.parametrize(
    "estimator",
    [
        gbv.CallawaySantAnna(),
        gbv.Imputation(),
        gbv.TwoWayFixedEffects(),
        gbv.EventStudy(),
        gbv.ChaisemartinDHaultfoeuille(),
    ],
)
def test_each_cohort_left_out(estimator: Any) -> None:
    data = frame()
    table = gbv.leave_one_cohort_out(estimator, panel(data))
    assert table.column("left_out") == ("none", "cohort 4", "cohort 5", "never treated")
    for row, cohort in zip(table.rows, (None, *COHORTS), strict=True):
        result = estimator.estimate(panel(data[data["cohort"] != cohort]))
        one = result[0] if isinstance(estimator, gbv.TwoWayFixedEffects) else result.aggregate("simple")[0]
        assert row[1] == pytest.approx(one.value)
        assert row[2] == pytest.approx(one.std_error)
        assert row[6] == pytest.approx(one.value - table.rows[0][1], abs=1e-12)


def test_a_cohort_that_cannot_be_left_out_says_why() -> None:
    table = gbv.leave_one_cohort_out(gbv.Imputation(), panel(frame(cohorts=(4.0, np.inf))))
    assert table.rows[0][1] is not None
    for row in table.rows[1:]:
        assert row[1:8] == (None,) * 7
        assert "treated and untreated ones are both needed" in row[-1] or "untreated outcome" in row[-1]


def test_treatment_that_began_earlier_by_pretence() -> None:
    data = frame(3)
    common = data[data["time"] < 4].assign(cohort=lambda f: f["cohort"] - 2)
    for estimator in (gbv.CallawaySantAnna(), gbv.Imputation()):
        table = gbv.placebo_in_time(estimator, panel(data), [2, 1, 5])
        expected = estimator.estimate(panel(common)).aggregate("simple")[0]
        assert table.rows[0][1] == pytest.approx(expected.value)
        assert table.rows[0][2] == pytest.approx(expected.std_error)
        assert table.rows[2][1] is None
        assert "Use fewer periods" in table.rows[2][-1]
    own = data[data["time"] < data["cohort"]].assign(cohort=lambda f: f["cohort"] - 1)
    table = gbv.placebo_in_time(gbv.Imputation(), panel(data), 1, window="own")
    expected = gbv.Imputation().estimate(panel(own)).aggregate("simple")[0]
    assert table.rows[0][1] == pytest.approx(expected.value)
    # Units that would be treated from the first period on take no part.
    early = frame(3, cohorts=(2.0, 4.0, np.inf), n_periods=5)
    table = gbv.placebo_in_time(gbv.Imputation(), panel(early), 1, window="own")
    kept = early[(early["cohort"] != 2.0) & (early["time"] < early["cohort"])].assign(cohort=lambda f: f["cohort"] - 1)
    assert table.rows[0][1] == pytest.approx(gbv.Imputation().estimate(panel(kept)).aggregate("simple")[0].value)


def test_an_early_effect_is_seen_and_none_is_not() -> None:
    data = frame(5, n_units=300)
    leaks = data.assign(y=data["y"] + 2.0 * (data["time"] == data["cohort"] - 1))
    quiet = gbv.placebo_in_time(gbv.Imputation(), panel(data), 1, window="own").rows[0]
    loud = gbv.placebo_in_time(gbv.Imputation(), panel(leaks), 1, window="own").rows[0]
    assert loud[1] - quiet[1] == pytest.approx(2.0, abs=0.3)
    assert loud[3] < 0.001


def test_lotteries_show_which_standard_error_is_right() -> None:
    data = panel(frame(1, n_units=180, n_periods=8, persistence=0.95))
    draws = 200
    right = dict(row[:2] for row in gbv.placebo_in_group(gbv.TwoWayFixedEffects(), data, n_draws=draws).rows)
    wrong = dict(
        row[:2] for row in gbv.placebo_in_group(gbv.TwoWayFixedEffects(std_error="HC1"), data, n_draws=draws).rows
    )
    size = "share of lotteries with an effect"
    # Clustered tests with 60 clusters are close to their size; those that ignore dependence over time are far off.
    assert right[size] <= binomial_band(0.08, draws, false_alarm=1e-4)[1]
    assert wrong[size] > 0.2
    assert right["mean standard error"] == pytest.approx(right["sd of estimates"], rel=0.25)
    assert abs(right["mean estimate"]) < 4 * right["sd of estimates"] / np.sqrt(draws)
    again = gbv.placebo_in_group(gbv.TwoWayFixedEffects(), data, n_draws=draws)
    assert dict(row[:2] for row in again.rows) == right


def test_lotteries_keep_clusters_together_and_the_shares_of_cohorts() -> None:
    seen: list[gbv.Panel] = []

    class Spy:
        name = "two_way_fixed_effects"

        def estimate(self, data: gbv.Panel, *, rng: Any = None) -> gbv.Estimates:
            seen.append(data)
            return gbv.TwoWayFixedEffects().estimate(data, rng=rng)

    data = panel(frame(2, n_units=120, cluster_size=2), cluster="cluster")
    gbv.placebo_in_group(Spy(), data, n_draws=3, seed=4)
    for drawn in seen[1:]:
        assert drawn.n_units == 40
        assert drawn.cluster is not None
        table = pd.DataFrame({"c": drawn.cluster.codes, "g": drawn.cohort}).drop_duplicates()
        # Twenty clusters, of which a third goes to each cohort, as in the panel: seven, seven and six.
        assert table["g"].value_counts().to_dict() == {4.0: 7, 5.0: 7, np.inf: 6}
    assert len({drawn.digest for drawn in seen}) == 4


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda p: gbv.placebo_in_time(gbv.Imputation(), p, 0), DesignError, "positive whole number"),
        (lambda p: gbv.placebo_in_time(gbv.Imputation(), p, window="all"), DesignError, "window must be"),
        (lambda p: gbv.placebo_in_group(gbv.Imputation(), p, n_draws=1), DesignError, "two or more"),
        (lambda p: gbv.leave_one_cohort_out(gbv.Imputation(), p, level=2.0), DesignError, "level"),
        (
            lambda p: gbv.placebo_in_group(gbv.Imputation(), part_of(p, np.isfinite(p.cohort))),
            IdentificationError,
            "0 clusters never treated",
        ),
    ],
)
def test_refusals(call: Any, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        call(panel(frame()))


def test_an_estimator_with_several_effects_is_refused() -> None:
    class Cells:
        name = "cells"

        def estimate(self, data: gbv.Panel, *, rng: Any = None) -> gbv.Estimates:
            return gbv.CallawaySantAnna().estimate(data).with_terms([0, 1])

    with pytest.raises(DesignError, match="0 effects and no average"):
        gbv.leave_one_cohort_out(Cells(), panel(frame()))


def test_what_leaves_is_hidden_where_a_cohort_is_small() -> None:
    data = panel(frame(n_units=9))
    released = gbv.release(gbv.leave_one_cohort_out(gbv.TwoWayFixedEffects(), data), gbv.Policy())
    assert all(value is None for row in released.items[0].rows for value in row[1:7])
