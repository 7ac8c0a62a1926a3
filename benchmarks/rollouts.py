"""Rollouts of a million rows: group-time effects, bands, Sun-Abraham, imputation, sensitivity, beside other packages.

Answers are compared first (group-time effects and standard errors to 1e-9 with csdid and moderndid), then times are
printed as ratios, warm, the smallest of three runs of ours and of two of others. Reading the frame into a `Panel` is
timed on its own, against plain pandas checks of duplicates, constancy and finiteness; extra peak memory is a multiple
of the data. Run: python benchmarks/rollouts.py [panel.csv]

A file has columns id, t, g (first treated period, zero for never), x and y; without one a panel is simulated.
"""

from __future__ import annotations

import sys
import time
import tracemalloc
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from peers import version

import gbveval as gbv

UNITS, PERIODS, COHORTS = 100_000, 10, (3, 5, 7, 9, 0)


def rollout(seed: int = 1) -> pd.DataFrame:
    """Return a staggered rollout in which a covariate moves both adoption and trends; zero stands for never."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=UNITS)
    early = 0.4 * x + rng.normal(size=UNITS)
    place = np.argsort(np.argsort(-early)) * len(COHORTS) // UNITS
    first = np.array(COHORTS)[place]
    t = np.arange(1, PERIODS + 1)
    since = np.where(first[:, None] > 0, t - first[:, None] + 1, 0)
    y = rng.normal(size=(UNITS, 1)) + 0.1 * t + 0.05 * t * x[:, None] + 0.2 * np.maximum(since, 0)
    y += rng.normal(size=(UNITS, PERIODS))
    unit = np.repeat(np.arange(1, UNITS + 1), PERIODS)
    return pd.DataFrame(
        {"id": unit, "t": np.tile(t, UNITS), "g": np.repeat(first, PERIODS), "x": np.repeat(x, PERIODS), "y": y.ravel()}
    )


def from_file(file: Path) -> pd.DataFrame:
    """Return a panel from a file, as csv or parquet."""
    frame = pd.read_csv(file) if file.suffix == ".csv" else pd.read_parquet(file)
    return frame[["id", "t", "g", "x", "y"]]


def best(run: Callable[[], Any], times: int) -> tuple[float, Any]:
    """Return the smallest time of several runs after one that is not counted, and the last answer."""
    run()
    found = []
    answer: Any = None
    for _ in range(times):
        start = time.perf_counter()
        answer = run()
        found.append(time.perf_counter() - start)
    return min(found), answer


def panel(frame: pd.DataFrame, covariates: list[str]) -> gbv.Panel:
    return gbv.Panel(frame, outcome="y", unit="id", time="t", cohort="first", covariates=covariates)


def pandas_checks(frame: pd.DataFrame) -> tuple[bool, bool, bool]:
    """Return whether unit-periods are single, cohorts constant, numbers finite."""
    single = not frame.duplicated(["id", "t"]).any()
    constant = bool((frame.groupby("id")["first"].nunique(dropna=False) == 1).all())
    finite = bool(np.isfinite(frame[["y", "x", "t"]].to_numpy()).all())
    return single, constant, finite


def ours(data: gbv.Panel, *, bands: bool) -> pd.DataFrame:
    effects = gbv.CallawaySantAnna(control="never_treated").estimate(data)
    return (effects.with_band(n_draws=1_000) if bands else effects).tidy()


def csdid_run(frame: pd.DataFrame, formula: str | None, *, bands: bool) -> tuple[Any, Any]:
    from csdid.att_gt import ATTgt

    options: dict[str, Any] = {"control_group": "nevertreated", "xformla": formula, "cband": bands, "biters": 1_000}
    found = ATTgt("y", "t", "id", "g", data=frame, **options).fit(est_method="dr", bstrap=bands)
    return np.asarray(found.results["att"], float), np.asarray(found.results["se"], float)


def moderndid_run(frame: pd.DataFrame, formula: str | None, *, bands: bool) -> tuple[Any, Any]:
    import moderndid

    options: dict[str, Any] = {} if formula is None else {"xformla": formula}
    found = moderndid.att_gt(
        frame, yname="y", tname="t", idname="id", gname="g", boot=bands, cband=bands, biters=1_000, **options
    )
    return np.asarray(found.att_gt, float), np.asarray(found.se_gt, float)


def diff_diff_run(frame: pd.DataFrame, covariates: list[str] | None, *, bands: bool) -> None:
    import diff_diff

    model = diff_diff.CallawaySantAnna(estimation_method="dr", **({"n_bootstrap": 1_000} if bands else {}))
    model.fit(frame, outcome="y", unit="id", time="t", first_treat="g", covariates=covariates)


def peers_of_group_time(frame: pd.DataFrame, covariate: bool) -> dict[str, Callable[[bool], Any]]:
    """Return what runs each package that is installed."""
    found: dict[str, Callable[[bool], Any]] = {}
    if version("csdid"):
        formula = "y~x" if covariate else None
        found["csdid"] = lambda bands: csdid_run(frame, formula, bands=bands)
    if version("moderndid"):
        found["moderndid"] = lambda bands: moderndid_run(frame, "~x" if covariate else None, bands=bands)
    if version("diff-diff"):
        found["diff-diff"] = lambda bands: diff_diff_run(frame, ["x"] if covariate else None, bands=bands)
    return found


def group_time(frame: pd.DataFrame, covariate: bool) -> None:
    """Print answers, then times with and without bands."""
    data = panel(frame, ["x"] if covariate else [])
    rows = ours(data, bands=False)
    value, error = rows["estimate"].to_numpy(), rows["std_error"].to_numpy()
    peers = peers_of_group_time(frame, covariate)
    print(f"\ngroup-time effects, {'doubly robust with one covariate' if covariate else 'without covariates'}")
    for name in ("csdid", "moderndid"):
        if name in peers:
            att, se = peers[name](False)
            off = np.abs(att - value).max(), np.abs(se / error - 1).max()
            print(f"  {name}: effects differ by {off[0]:.1e}, standard errors by {off[1]:.1e} (relative)")
    for bands in (False, True):
        own, _ = best(lambda bands=bands: ours(data, bands=bands), 3)
        print(f"  gbveval, {'with' if bands else 'without'} bands: {own:.3f} s")
        for name, run in peers.items():
            theirs, _ = best(lambda run=run, bands=bands: run(bands), 2)
            print(f"    {name}: {theirs:.2f} s, {theirs / own:.1f} times as long")


def others(frame: pd.DataFrame) -> None:
    """Print times of Sun-Abraham, imputation and two stages."""
    data = panel(frame, [])
    runs: dict[str, tuple[Callable[[], Any], str]] = {
        "Sun-Abraham": (lambda: gbv.SunAbraham().estimate(data).aggregate("event_time").tidy(), "SunAbraham"),
        "imputation": (
            lambda: gbv.Imputation().estimate(data).aggregate("event_time", min_event_time=0).tidy(),
            "ImputationDiD",
        ),
        "two stages": (lambda: gbv.TwoStage().estimate(data).aggregate("event_time").tidy(), "TwoStageDiD"),
    }
    installed = version("diff-diff")
    for name, (run, peer) in runs.items():
        own, _ = best(run, 3)
        print(f"\n{name}: {own:.3f} s")
        if installed:
            import diff_diff

            def fit(peer: str = peer) -> Any:
                return getattr(diff_diff, peer)().fit(frame, outcome="y", unit="id", time="t", first_treat="g")

            try:
                theirs, answer = best(fit, 1)
            except MemoryError:
                print("  diff-diff: asks for more memory than there is")
                continue
            overall = getattr(answer, "overall_att", float("nan"))
            print(f"  diff-diff: {theirs:.2f} s, {theirs / own:.1f} times as long; its overall effect {overall:.6f}")
    simple = gbv.Imputation().estimate(data).aggregate("simple").records()[0]["estimate"]
    print(f"  our average over treated rows, by imputation and in two stages: {simple:.6f}")


def sensitivity() -> None:
    """Print the time of ten values of M, relative magnitudes and smoothness."""
    from gbveval.datasets.pilot import PilotRollout

    data = PilotRollout().draw(np.random.default_rng(2))
    study = gbv.CallawaySantAnna(base_period="universal").estimate(data).aggregate("event_time")
    m = tuple(float(x) for x in np.linspace(0.2, 2.0, 10))
    for restriction in ("relative_magnitude", "smoothness"):
        took, _ = best(lambda restriction=restriction: gbv.HonestDid(restriction=restriction, m=m).assess(study), 2)
        print(f"\nten values of M, {restriction.replace('_', ' ')}: {took:.2f} s (under 2 is wanted)")


def main() -> None:
    warnings.simplefilter("ignore")
    frame = rollout() if len(sys.argv) < 2 else from_file(Path(sys.argv[1]))
    print(f"{len(frame):,} rows, {frame['id'].nunique():,} units")
    frame["first"] = frame["g"].astype(float).where(frame["g"] > 0)
    checks, passed = best(lambda: pandas_checks(frame), 3)
    assert all(passed)
    reading, _ = best(lambda: panel(frame, ["x"]), 3)
    size = frame[["id", "t", "first", "x", "y"]].to_numpy().nbytes
    tracemalloc.start()
    data = panel(frame, ["x"])
    read = tracemalloc.get_traced_memory()[1]
    tracemalloc.reset_peak()
    before = tracemalloc.get_traced_memory()[0]
    ours(data, bands=True)
    fitted = tracemalloc.get_traced_memory()[1] - before
    tracemalloc.stop()
    print(f"frame to Panel: {reading:.3f} s, {reading / checks:.2f} times plain pandas checks ({checks:.3f} s)")
    print(f"extra peak memory: {read / size:.1f} (Panel) and {fitted / size:.1f} (effects) times the data")
    group_time(frame, True)
    group_time(frame, False)
    others(frame)
    sensitivity()


if __name__ == "__main__":
    main()
