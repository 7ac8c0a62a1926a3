"""`Gee` against statsmodels and dense formulas, on ugly data, and why two reference systems differ."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from numpy.typing import NDArray
from scipy.special import expit
from tests.unit.estimators.tables import table, trial

import gbveval as gbv
from gbveval.numerics.gee import layout, moments, solve_gee, whiten_within
from gbveval.numerics.glm import Family, whiten

FloatArray = NDArray[np.float64]
REFERENCE = Path(__file__).parents[3].parent / "shared" / "reference" / "rct"
needs_reference = pytest.mark.skipif(
    not REFERENCE.exists(), reason="../shared is absent: the numbers of other systems are not here"
)


def people(seed: int = 3) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    sizes = rng.integers(1, 9, 24)
    g = np.repeat(np.arange(24), sizes)
    x, arm = rng.normal(size=g.size), g % 2
    y = rng.random(g.size) < expit(-0.3 + 0.6 * arm + 0.5 * x + rng.normal(size=24)[g])
    return pd.DataFrame(
        {
            "y": y.astype(float),
            "x": x,
            "g": g,
            "t": np.concatenate([np.arange(s) for s in sizes]),
            "c": rng.poisson(np.exp(0.3 * arm + 0.3 * rng.normal(size=24)[g])).astype(float),
            "arm": np.where(arm == 1, "new", "usual"),
        }
    )


def asked(frame: pd.DataFrame, **roles: Any) -> gbv.Trial:
    return trial(frame, **{"cluster": "g", "covariates": ["x"], **roles})


@pytest.mark.parametrize(("family", "outcome"), [("binomial", "y"), ("poisson", "c"), ("gaussian", "x")])
@pytest.mark.parametrize("correlation", ["independence", "exchangeable"])
def test_estimates_and_covariances_are_those_of_statsmodels(family: str, outcome: str, correlation: str) -> None:
    frame = people()
    covariates = [] if outcome == "x" else ["x"]
    columns = np.column_stack([np.ones(len(frame)), frame["arm"] == "new", *[frame[c] for c in covariates]])
    theirs = {"binomial": sm.families.Binomial(), "poisson": sm.families.Poisson(), "gaussian": sm.families.Gaussian()}
    structure = {"independence": sm.cov_struct.Independence(), "exchangeable": sm.cov_struct.Exchangeable()}
    model = sm.GEE(frame[outcome], columns, groups=frame["g"], family=theirs[family], cov_struct=structure[correlation])
    data = asked(frame, outcome=outcome, covariates=covariates)
    order = [1, 0, *range(2, columns.shape[1])]
    for kind, cov_type in (("LZ", "robust"), ("MD", "bias_reduced")):
        fit = model.fit(maxiter=500, ctol=1e-12, cov_type=cov_type)
        ours = gbv.Gee(family, None, correlation, "parameters_subtracted", std_error=kind).estimate(data)
        # statsmodels stops at an equation of 1e-12, which leaves about 1e-8 in the coefficients.
        np.testing.assert_allclose(ours.values[order], fit.params, rtol=1e-6, atol=1e-9)
        np.testing.assert_allclose(ours.std_errors[order], np.sqrt(np.diag(fit.cov_params())), rtol=1e-6)
    if correlation == "exchangeable":
        assert ours.records()[0]["correlation"] == pytest.approx(structure[correlation].dep_params, rel=1e-6)


def correlation_matrix(correlation: str, alpha: float, n: int) -> FloatArray:
    lag = np.abs(np.subtract.outer(np.arange(n), np.arange(n)))
    return alpha**lag if correlation == "ar1" else np.where(lag == 0, 1.0, alpha)


@pytest.mark.parametrize("correlation", ["exchangeable", "ar1"])
def test_a_whitened_cluster_has_the_inverse_correlation(correlation: str) -> None:
    cluster = np.array([0, 0, 0, 0, 1, 2, 2])
    rows = layout(cluster)
    root = whiten_within(correlation, 0.4, rows, np.eye(7))
    for g in range(3):
        where = np.flatnonzero(cluster == g)
        block = root[:, where]
        inverse = np.linalg.inv(correlation_matrix(correlation, 0.4, where.size))
        np.testing.assert_allclose(block.T @ block, inverse, atol=1e-12)


@pytest.mark.parametrize("correlation", ["exchangeable", "ar1"])
def test_moments_follow_their_definition_pair_by_pair(correlation: str) -> None:
    rng = np.random.default_rng(1)
    cluster = np.repeat([0, 1, 2, 3], [3, 1, 5, 4])
    r = rng.normal(size=13) + rng.normal(size=4)[cluster]
    rows = layout(cluster)
    for moment, less in (("no_parameter_correction", 0), ("parameters_subtracted", 2)):
        alpha, phi = moments(correlation, moment, r, rows, 2)
        pairs = [(i, j) for j in range(13) for i in range(j) if cluster[i] == cluster[j]]
        assert phi == pytest.approx((r**2).sum() / (13 - less))
        if correlation == "exchangeable":
            assert alpha == pytest.approx(sum(r[i] * r[j] for i, j in pairs) / phi / (len(pairs) - less))
        else:
            grid = np.linspace(-0.99, 0.99, 19_801)
            distance = sum((r[i] * r[j] / phi - grid ** (j - i)) ** 2 for i, j in pairs)
            # Half a step of the grid.
            assert alpha == pytest.approx(grid[np.argmin(distance)], abs=1e-4)


@pytest.mark.parametrize(
    ("correlation", "kind"), [("exchangeable", k) for k in ("LZ", "KC", "MD", "FG")] + [("ar1", "KC")]
)
def test_covariances_follow_their_definition_with_dense_matrices(correlation: str, kind: str) -> None:
    frame = people()
    roles = {"time": "t"} if correlation == "ar1" else {}
    result = gbv.Gee(correlation=correlation, std_error=kind, fg_bound=0.3).estimate(asked(frame, **roles))
    columns = np.column_stack([np.ones(len(frame)), frame["arm"] == "new", frame["x"]])
    beta = result.values[[1, 0, 2]]
    mu, alpha = expit(columns @ beta), result.records()[0]["correlation"]
    parts = []
    for g in range(24):
        rows = (frame["g"] == g).to_numpy()
        root = np.sqrt(mu[rows] * (1 - mu[rows]))
        d = columns[rows] * (root**2)[:, None]
        v = np.outer(root, root) * correlation_matrix(correlation, alpha, int(rows.sum()))
        parts.append((d, np.linalg.inv(v), frame["y"].to_numpy()[rows] - mu[rows]))
    bread = np.linalg.inv(sum(d.T @ w @ d for d, w, _ in parts))
    np.testing.assert_allclose(sum(d.T @ w @ e for d, w, e in parts), 0.0, atol=1e-8)
    meat = np.zeros((3, 3))
    for d, w, e in parts:
        score = d.T @ w
        if kind == "FG":
            share = np.diag(d.T @ w @ d @ bread)
            u = (score @ e) / np.sqrt(1.0 - np.minimum(share, 0.3))
        elif kind == "LZ":
            u = score @ e
        else:
            values, vectors = np.linalg.eig(np.eye(e.size) - d @ bread @ d.T @ w)
            power = -0.5 if kind == "KC" else -1.0
            u = score @ np.real(vectors @ np.diag(values**power) @ np.linalg.inv(vectors)) @ e
        meat += np.outer(u, u)
    expected = np.sqrt(np.diag(bread @ meat @ bread))
    # Two routes in double precision, at a solution to about 1e-10.
    np.testing.assert_allclose(result.std_errors[[1, 0, 2]], expected, rtol=1e-7)


def test_the_order_of_rows_is_that_of_time_and_sites_serve_where_arms_vary() -> None:
    frame = people()
    result = gbv.Gee(correlation="ar1").estimate(asked(frame, time="t"))
    shuffled = frame.sample(frac=1.0, random_state=1).reset_index(drop=True)
    again = gbv.Gee(correlation="ar1").estimate(asked(shuffled, time="t"))
    np.testing.assert_allclose(again.values, result.values, rtol=1e-8)
    with pytest.raises(gbv.DesignError, match="time"):
        gbv.Gee(correlation="ar1").estimate(asked(frame))
    varied = frame.assign(arm=np.where(np.arange(len(frame)) % 2 == 0, "usual", "new"))
    assert gbv.Gee().estimate(trial(varied, site="g"))[0].n_clusters == 24


def test_what_cannot_be_estimated_is_refused() -> None:
    frame = people()
    with pytest.raises(gbv.DesignError, match="neither cluster nor site"):
        gbv.Gee().estimate(trial(frame))
    with pytest.raises(gbv.DesignError, match="weight"):
        gbv.Gee().estimate(asked(frame.assign(w=1.0), weight="w"))
    with pytest.raises(gbv.GbvevalError, match="0 pairs"):
        gbv.Gee().estimate(asked(frame.assign(g=np.arange(len(frame)))))
    with pytest.raises(gbv.GbvevalError, match="separated"):
        gbv.Gee().estimate(trial(table((0, 100), (20, 80)).assign(g=np.arange(200) // 10), cluster="g"))
    for options in ({"correlation": "toeplitz"}, {"std_error": "CR2"}, {"moment": "mean"}, {"fg_bound": 1.0}):
        with pytest.raises(gbv.DesignError):
            gbv.Gee(**options)
    few = gbv.Gee(std_error="LZ").estimate(asked(frame))
    assert "too small" in few.check("few clusters").message


def test_a_correlation_that_no_large_cluster_can_have_is_refused() -> None:
    # Pairs with opposite outcomes, and one large cluster in which a correlation near minus one cannot be.
    g = np.concatenate([np.repeat(np.arange(40), 2), np.full(8, 40), np.full(8, 41)])
    arm = np.where(g % 2 == 0, "usual", "new")
    y = np.concatenate([np.tile([0.0, 1.0], 40), np.tile([0.0, 1.0], 8)])
    y[0], y[2] = 1.0, 1.0
    with pytest.raises(gbv.ConvergenceError, match="independence"):
        gbv.Gee().estimate(trial(pd.DataFrame({"y": y, "g": g, "arm": arm}), cluster="g"))


def reference_case(name: str) -> tuple[dict[str, Any], pd.DataFrame]:
    cases = {case["id"]: case for case in json.loads((REFERENCE / "cases.json").read_text())}
    task = cases[name]["task"]
    frame = pd.read_csv(REFERENCE / task["data"]["file"]).dropna(
        subset=[c for c in task["data"]["drop_missing"] if c != "derived_outcome"]
    )
    return cases[name]["results"], frame


@needs_reference
def test_one_reference_system_stops_at_a_step_below_its_tolerance() -> None:
    """Its steps (correlation, then coefficients) taken again until one is below 1e-4 give its numbers."""
    expected, frame = reference_case("gee_exch_logit_achv")
    frame = frame.sort_values("school_id", kind="stable")
    x = np.column_stack([np.ones(len(frame)), frame["treated"], frame["girl"]]).astype(float)
    y, family = frame["bagrut"].to_numpy(float), Family("binomial", "logit")
    rows = layout(pd.factorize(frame["school_id"])[0])
    gamma = np.asarray(sm.GLM(y, x, family=sm.families.Binomial()).fit(tol=1e-14).params)
    step = np.ones(3)
    while np.abs(step).max() > 1e-4:
        white = whiten(family, x, y, gamma)
        alpha, _ = moments("exchangeable", "no_parameter_correction", white.residual, rows, 3)
        design, residual = (whiten_within("exchangeable", alpha, rows, v) for v in (white.design, white.residual))
        step = np.linalg.lstsq(design, residual, rcond=None)[0]
        gamma = gamma + step
    theirs = [expected[name]["estimate"] for name in ("(Intercept)", "treated", "girl")]
    np.testing.assert_allclose(gamma, theirs, rtol=1e-11)
    solution = solve_gee(family, x, y, gamma, rows, correlation="exchangeable", moment="no_parameter_correction")
    assert 1e-6 < abs(solution.gamma[1] / theirs[1] - 1.0) < 1e-4


@needs_reference
def test_another_reference_system_leaves_clusters_of_one_uncorrected() -> None:
    expected, frame = reference_case("geesmv_logit_dja")
    frame = frame.sort_values("village", kind="stable")
    cluster = pd.factorize(frame["village"])[0]
    rows = layout(cluster)
    x = np.column_stack([np.ones(len(frame)), frame["treat"]]).astype(float)
    y = (frame["y"] > 0).to_numpy(float)
    found = solve_gee(
        Family("binomial", "logit"),
        x,
        y,
        np.zeros(2),
        rows,
        correlation="exchangeable",
        moment="parameters_subtracted",
    )
    bread = np.linalg.inv(found.design.T @ found.design)
    covariance = np.zeros((2, 2))
    for g in range(rows.sizes.size):
        mine = found.design[cluster == g]
        values, vectors = np.linalg.eigh(np.eye(len(mine)) - mine @ bread @ mine.T)
        adjust = np.eye(1) if len(mine) == 1 else (vectors * values**-0.5) @ vectors.T
        u = bread @ mine.T @ adjust @ found.residual[cluster == g]
        covariance += np.outer(u, u)
    theirs = [expected["var_KC"][name] for name in ("(Intercept)", "treat")]
    np.testing.assert_allclose(np.diag(covariance), theirs, rtol=1e-7)
