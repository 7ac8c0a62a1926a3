"""Where R's packages differ from ours on real panels, their own steps, taken again, give their numbers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from scipy import stats

import gbveval as gbv

FOLDER = Path(__file__).parents[3] / "shared" / "reference" / "did"
POOLING = FOLDER.parent / "meta"
needs_shared = pytest.mark.skipif(not FOLDER.exists(), reason="../shared/reference is absent")
FloatArray = NDArray[np.float64]


def reference(name: str) -> dict[str, Any]:
    cases = json.loads((FOLDER / "cases.json").read_text(encoding="utf-8"))
    found: dict[str, Any] = next(case["results"] for case in cases if case["id"] == name)
    return found


def california(first: int) -> tuple[pd.DataFrame, FloatArray, FloatArray]:
    frame = pd.read_csv(FOLDER / "data" / "prop99.csv").query("year >= @first")
    wide = frame.pivot(index="state", columns="year", values="packs_per_capita").to_numpy()
    own = frame.groupby("state")["treated"].max().to_numpy() == 1
    return frame, wide[~own], wide[own][0]


def objective(a: FloatArray, b: FloatArray, zeta: float, x: FloatArray) -> float:
    return float(zeta**2 * x @ x + np.mean((a @ x - b) ** 2))


def frank_wolfe(a: FloatArray, b: FloatArray, zeta: float, least: float) -> FloatArray:
    """Steps to the best vertex until one gains less than `least`; after a hundred, small weights are set to zero."""

    def steps(x: FloatArray, count: int) -> FloatArray:
        last = np.inf
        for _ in range(count):
            slope = (a @ x - b) @ a + len(a) * zeta**2 * x
            direction = np.eye(x.size)[np.argmin(slope)] - x
            if np.any(direction != 0):
                curvature = np.sum((a @ direction) ** 2) + len(a) * zeta**2 * direction @ direction
                x = x + np.clip(-slope @ direction / curvature, 0.0, 1.0) * direction
            now = objective(a, b, zeta, x)
            if last - now <= least:
                break
            last = now
        return x

    x = steps(np.full(a.shape[1], 1.0 / a.shape[1]), 100)
    x = np.where(x <= x.max() / 4.0, 0.0, x)
    return steps(x / x.sum(), 10_000)


@needs_shared
@pytest.mark.parametrize("kind", ["synthdid", "sc"])
@pytest.mark.parametrize(("name", "first"), [("synthdid_prop99", 1970), ("synthdid_prop99_from1980", 1980)])
def test_frank_wolfe_as_r_stops_it(name: str, first: int, kind: str) -> None:
    frame, controls, treated = california(first)
    n_before = 1989 - first
    a, b = controls[:, :n_before].T, treated[:n_before]
    sigma = float(np.diff(controls[:, :n_before], axis=1).std(ddof=1))
    zeta = (31 - (1989 - 1970)) ** 0.25 * sigma if kind == "synthdid" else 1e-6 * sigma
    if kind == "synthdid":
        a, b = a - a.mean(axis=0), b - b.mean()
    theirs = frank_wolfe(a, b, zeta, (1e-5 * sigma) ** 2)
    np.testing.assert_allclose(theirs, reference(name)[kind]["omega"], atol=1e-12)
    panel = gbv.Panel(frame, outcome="packs_per_capita", unit="state", time="year", treatment="treated")
    estimator = gbv.SyntheticDid() if kind == "synthdid" else gbv.SyntheticControl()
    ours = np.array([row[3] for row in sorted(estimator.weights(panel, names=True).rows) if row[1] == "unit"])
    assert objective(a, b, zeta, ours) < objective(a, b, zeta, theirs)
    # At the optimum no vertex lies downhill: the steps cannot begin. Rounding leaves 1e-9 of the gradient's size.
    slope = (a @ ours - b) @ a + len(a) * zeta**2 * ours
    assert slope.min() >= ours @ slope - 1e-9 * np.abs(slope).max()


@needs_shared
def test_event_times_before_the_panel_count_a_cohort_that_is_not_seen() -> None:
    frame = pd.read_csv(FOLDER / "data" / "mpdta.csv")
    paths = frame.pivot(index="countyreal", columns="year", values="lemp")
    cohort = frame.groupby("countyreal")["first_treat"].first().to_numpy().astype(float)
    cohort[cohort == 0] = np.inf
    years, y = paths.columns.to_numpy(), paths.to_numpy()
    names = np.unique(cohort)
    size = np.array([np.sum(cohort == g) for g in names])
    effect, before = np.zeros((2, names.size, years.size))
    for g, n in zip(names[:-1], size[:-1], strict=True):
        contrast = n * ((names == g) - np.where(names > g, size, 0) / size[names > g].sum())
        effect[:, years == g - 2] += contrast[:, None]  # no column for the first cohort, which weighs all the same
        before[:, years == g - 1] += contrast[:, None]
    effect, before = effect / size[:-1].sum(), before / size[:-1].sum()
    spread = [np.cov(y[cohort == g].T) / n for g, n in zip(names, size, strict=True)]

    def both(left: FloatArray, right: FloatArray) -> float:
        return float(sum(row @ s @ other for row, s, other in zip(left, spread, right, strict=True)))

    beta = both(before, effect) / both(before, before)
    weight = effect - beta * before
    mean = np.stack([y[cohort == g].mean(axis=0) for g in names])
    theirs = reference("staggered_mpdta")["efficient_eventstudy"]
    assert float(np.sum(weight * mean)) == pytest.approx(theirs["estimate"][0], rel=1e-9)
    assert np.sqrt(both(weight, weight)) == pytest.approx(theirs["se_neyman"][0], rel=1e-9)


@pytest.mark.skipif(not POOLING.exists(), reason="../shared/reference is absent")
def test_limits_of_the_reference_miss_the_quantile_that_they_should_hit() -> None:
    """R's uniroot stops at 2.2e-16 ** 0.25; Q at its limits is off by what that allows, at ours by rounding."""
    frame = pd.read_csv(POOLING / "bcg.csv")
    cases = json.loads((POOLING / "cases.json").read_text(encoding="utf-8"))
    printed = next(case["results"] for case in cases if case["id"] == "bcg_rr_REML_z")
    treated, control = frame["tpos"] + frame["tneg"], frame["cpos"] + frame["cneg"]
    y = np.log(frame["tpos"] / treated) - np.log(frame["cpos"] / control)
    v = 1 / frame["tpos"] - 1 / treated + 1 / frame["cpos"] - 1 / control

    def q(tau2: float) -> float:
        weights = 1 / (v + tau2)
        return float((weights * (y - np.average(y, weights=weights)) ** 2).sum())

    sites = gbv.SiteEffects({"y": y, "se": np.sqrt(v)}, estimate="y", std_error="se")
    ours = next(row for row in gbv.heterogeneity(sites).rows if row[0] == "between-site variance")
    for limit, theirs, share in ((ours[3], printed["tau2_low"], 0.975), (ours[4], printed["tau2_high"], 0.025)):
        quantile = stats.chi2.ppf(share, 12)
        assert q(limit) == pytest.approx(quantile, rel=1e-12)
        assert abs(q(theirs) - quantile) > 1e-6 * quantile
        assert abs(limit - theirs) < 2.2e-16**0.25
