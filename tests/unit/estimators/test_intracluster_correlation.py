"""`IntraclusterCorrelation`: scales, arms, options that fit, and data that give none."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

import gbveval as gbv
from gbveval.core.errors import ConvergenceError, DesignError, IdentificationError
from gbveval.numerics.icc import BINARY_METHODS
from gbveval.testing.mixed_processes import ClusterEventFrames, IccFrames, SteppedWedgeFrames


def continuous() -> pd.DataFrame:
    return pd.DataFrame(IccFrames(6).frame(np.random.default_rng(0))[0])


def events(**options: Any) -> pd.DataFrame:
    return pd.DataFrame(ClusterEventFrames(**options).frame(np.random.default_rng(1))[0])


def trial(frame: pd.DataFrame) -> gbv.Trial:
    return IccFrames().check(frame.to_dict("list"))


def test_scale_is_named_and_the_latent_one_is_larger() -> None:
    data = trial(events(base=-1.5, cluster_sd=1.0, clusters_per_arm=150))
    observed = gbv.IntraclusterCorrelation().estimate(data).records()[0]
    latent = gbv.IntraclusterCorrelation("latent_logistic", level=0.99).estimate(data).records()[0]
    assert observed["scale"] == "observed"
    assert latent["scale"] == "latent_logistic"
    assert latent["estimate"] > observed["estimate"]
    # The latent share 1 / (1 + 3.29) lies within its own interval of 99 %.
    assert latent["conf_low"] < 0.233 < latent["conf_high"]
    assert latent["std_error"] is None
    converted = gbv.icc_convert(gbv.ICC(latent["estimate"], scale="latent_logistic"), to="observed", risk=0.25)
    assert observed["estimate"] == pytest.approx(converted.value, abs=0.05)


def test_control_arm_alone_is_the_trial_without_the_others() -> None:
    frame = continuous()
    control = gbv.IntraclusterCorrelation(arms="control").estimate(trial(frame))
    usual = frame[frame["arm"] == "usual"].copy()
    number = usual["cluster"].rank(method="dense").astype(int)
    usual["arm"] = np.where(number % 2 == 1, "usual", "new")
    alone = gbv.IntraclusterCorrelation(arms="ignored").estimate(trial(usual))
    assert control[0].value == pytest.approx(alone[0].value, rel=1e-12)


def test_an_effect_of_the_arm_is_not_a_correlation() -> None:
    frame = continuous()
    moved = frame.assign(y=frame["y"] + 10.0 * (frame["arm"] == "new"))
    within = [gbv.IntraclusterCorrelation().estimate(trial(f))[0].value for f in (frame, moved)]
    assert within[0] == pytest.approx(within[1], rel=1e-9)
    ignored = gbv.IntraclusterCorrelation(arms="ignored").estimate(trial(moved))[0].value
    assert ignored is not None
    assert ignored > 0.9


def test_every_method_gives_a_number_and_says_when_it_has_no_error() -> None:
    data = trial(events())
    for method in BINARY_METHODS:
        row = gbv.IntraclusterCorrelation(method, arms="ignored").estimate(data)[0]
        assert row.value is not None
        assert (row.std_error is None) == (method != "fleiss_cuzick")
        assert bool(row.reason) == (row.std_error is None)


def test_exact_interval_stands_at_its_own_level_only() -> None:
    answer = gbv.IntraclusterCorrelation(interval="thomas_hultquist_donner", level=0.9).estimate(trial(continuous()))
    low, high = answer.intervals()
    assert low[0] < answer.values[0] < high[0]
    assert np.isnan(answer.intervals(0.95)[0][0])


def test_intervals_differ_and_the_estimate_does_not() -> None:
    data = trial(events())
    smith, pairs = (
        gbv.IntraclusterCorrelation(interval=interval, arms="ignored").estimate(data)[0]
        for interval in ("smith", "zou_donner")
    )
    assert smith.value == pairs.value
    assert smith.std_error is not None
    assert pairs.std_error is not None
    assert smith.std_error != pairs.std_error
    with pytest.raises(DesignError, match="0 and 1"):
        gbv.IntraclusterCorrelation(interval="zou_donner", arms="ignored").estimate(trial(continuous()))


def test_design_effect_is_that_of_the_sizes() -> None:
    frame = continuous()
    record = gbv.IntraclusterCorrelation().estimate(trial(frame)).records()[0]
    sizes = frame.groupby("cluster").size().tolist()
    value = gbv.ICC(max(record["estimate"], 0.0), scale="observed")
    assert record["design_effect"] == pytest.approx(gbv.design_effect(value, cluster_sizes=sizes))


def test_below_zero_is_shown_and_said() -> None:
    frame = continuous()
    frame["y"] = frame["y"] - frame.groupby("cluster")["y"].transform("mean")
    answer = gbv.IntraclusterCorrelation().estimate(trial(frame))
    assert answer.values[0] < 0
    assert answer.check("below zero").status == "warn"
    assert answer.check("few clusters").status == "warn"
    assert answer.records()[0]["design_effect"] is None


@pytest.mark.parametrize(
    ("change", "options", "error", "words"),
    [
        (lambda f: f.drop_duplicates("cluster"), {}, IdentificationError, "single row"),
        (lambda f: f[f["cluster"].isin(["c000", "c015"])], {}, IdentificationError, "at least two"),
        (lambda f: f.assign(y=1.0), {}, IdentificationError, "does not vary"),
        (
            lambda f: f[(f["cluster"] != "c000") | ~f.duplicated("cluster")],
            {"method": "mak", "arms": "ignored"},
            IdentificationError,
            "single row",
        ),
        (lambda f: f.assign(y=f["y"] * 2), {"method": "mak", "arms": "ignored"}, DesignError, "0 and 1"),
        (
            lambda f: f.assign(y=f["y"].where(f["arm"] == "usual", 0.0)),
            {"method": "latent_logistic"},
            IdentificationError,
            "infinite",
        ),
        (
            lambda f: f.assign(y=(f["cluster"].str[1:].astype(int) % 2).astype(float)),
            {"method": "latent_logistic"},
            ConvergenceError,
            "all of the events",
        ),
    ],
)
def test_ugly_data_are_refused_by_name(
    change: Any, options: dict[str, Any], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        gbv.IntraclusterCorrelation(**options).estimate(trial(change(events())))


def test_designs_and_options_that_do_not_fit_are_refused() -> None:
    frame, _ = SteppedWedgeFrames().frame(np.random.default_rng(0))
    with pytest.raises(DesignError, match="change arm"):
        gbv.IntraclusterCorrelation().estimate(SteppedWedgeFrames().check(frame))
    with pytest.raises(DesignError, match="role cluster"):
        gbv.IntraclusterCorrelation().estimate(gbv.Trial(continuous(), outcome="y", arm="arm", control="usual"))
    for options in (
        {"method": "aov"},
        {"interval": "wald"},
        {"arms": "treated"},
        {"method": "mak"},
        {"interval": "fleiss_cuzick"},
        {"interval": "zou_donner"},
        {"method": "mak", "arms": "ignored", "interval": "smith"},
        {"level": 1.5},
    ):
        with pytest.raises(DesignError):
            gbv.IntraclusterCorrelation(**options)
