"""The wild cluster bootstrap against bootstrap samples that are made row by row and fitted by statsmodels."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import statsmodels.api as sm

import gbveval as gbv
from gbveval.core.errors import IdentificationError
from gbveval.numerics.wild_bootstrap import draw_weights, sign_vectors

SIZES = (4, 6, 3, 7, 5, 4)


def frame(seed: int = 2, sizes: tuple[int, ...] = SIZES) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    code = np.repeat(np.arange(len(sizes)), sizes)
    arm = np.where(code % 2 == 0, "new", "usual")
    x = rng.normal(size=code.size)
    y = 0.5 * rng.normal(size=len(sizes))[code] + 0.4 * x + rng.normal(size=code.size) + 0.6 * (arm == "new")
    return {"y": y, "x": x, "arm": arm.tolist(), "cluster": [f"c{g}" for g in code]}


def trial(content: dict[str, Any], **roles: Any) -> gbv.Trial:
    return gbv.Trial(content, outcome="y", arm="arm", control="usual", cluster="cluster", **roles)


def arrays(content: dict[str, Any]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    new = (np.asarray(content["arm"]) == "new").astype(float)
    design = np.column_stack([np.ones(new.size), content["x"], new])
    return np.asarray(content["y"]), design, np.unique(content["cluster"], return_inverse=True)[1]


def t_statistic(y: np.ndarray, design: np.ndarray, code: np.ndarray, null: float, jackknife: bool) -> float:
    """By statsmodels; CV3 by leaving out one cluster after the other."""
    fit = sm.OLS(y, design).fit(cov_type="cluster", cov_kwds={"groups": code}, use_t=True)
    if not jackknife:
        return float((fit.params[-1] - null) / fit.bse[-1])
    count = int(code.max()) + 1
    left = [sm.OLS(y[code != g], design[code != g]).fit().params[-1] for g in range(count)]
    variance = (count - 1) / count * np.sum((np.array(left) - fit.params[-1]) ** 2)
    return float((fit.params[-1] - null) / np.sqrt(variance))


def brute_force(variant: str, null: float) -> float:
    """The p-value from every vector of signs, each a regression on rows."""
    y, design, code = arrays(frame())
    imposed, transformed, jackknife = variant[2] == "R", variant[3] == "3", variant[4] == "3"
    columns = design[:, :-1] if imposed else design
    target = y - null * design[:, -1] if imposed else y
    beta = sm.OLS(target, columns).fit().params
    residual = target - columns @ beta
    if transformed:
        for g in range(len(SIZES)):
            without = sm.OLS(target[code != g], columns[code != g]).fit().params
            residual[code == g] = (target - columns @ without)[code == g]
    fitted = y - (target - columns @ beta)
    truth = null if imposed else float(sm.OLS(y, design).fit().params[-1])
    observed = abs(t_statistic(y, design, code, null, jackknife))
    signs = sign_vectors(len(SIZES))
    values = np.array([abs(t_statistic(fitted + v[code] * residual, design, code, truth, jackknife)) for v in signs])
    return float(np.mean(values >= observed * (1 - 1e-9)))


@pytest.mark.parametrize("null", [0.0, 0.8])
@pytest.mark.parametrize("variant", ["WCR11", "WCR13", "WCR31", "WCR33", "WCU11", "WCU13", "WCU31", "WCU33"])
def test_cross_products_equal_regressions_on_rows(variant: str, null: float) -> None:
    found = gbv.WildClusterBootstrap(variant=variant, null=null).estimate(trial(frame(), covariates=["x"]))[0]
    assert found.p_value == pytest.approx(brute_force(variant, null), abs=1e-12)
    y, design, code = arrays(frame())
    assert found.statistic == pytest.approx(t_statistic(y, design, code, null, variant[4] == "3"), rel=1e-8)


@pytest.mark.parametrize("variant", ["WCR11", "WCR33", "WCU11"])
def test_the_interval_is_where_the_test_stops_rejecting(variant: str) -> None:
    row = gbv.WildClusterBootstrap(variant=variant, level=0.8).estimate(trial(frame(), covariates=["x"]))[0]
    assert row.interval is not None
    for limit, inside in ((row.interval[0], 1e-6), (row.interval[1], -1e-6)):
        assert brute_force(variant, limit + inside) > 0.2
        assert brute_force(variant, limit - inside) <= 0.2 + 1e-12


def test_small_sample_factors_are_those_of_statsmodels() -> None:
    y, design, code = arrays(frame())
    plain = sm.OLS(y, design)
    for vcov, corrected in (("CR0", False), ("CR1S", True)):
        kwds = {"groups": code, "use_correction": corrected}
        expected = plain.fit(cov_type="cluster", cov_kwds=kwds).bse[-1]
        row = gbv.WildClusterBootstrap(vcov=vcov).estimate(trial(frame(), covariates=["x"]))[0]
        assert row.std_error == pytest.approx(expected, rel=1e-8)
    middle = gbv.WildClusterBootstrap(vcov="CR1").estimate(trial(frame(), covariates=["x"]))[0]
    bottom = gbv.WildClusterBootstrap(vcov="CR0").estimate(trial(frame(), covariates=["x"]))[0]
    assert middle.std_error == pytest.approx(bottom.std_error * np.sqrt(6 / 5), rel=1e-12)  # type: ignore[operator]


def test_ties_are_the_vector_of_ones_and_its_mirror() -> None:
    data = trial(frame(), covariates=["x"])
    counted = gbv.WildClusterBootstrap().estimate(data)[0].p_value
    left_out = gbv.WildClusterBootstrap(ties=False).estimate(data)[0].p_value
    assert counted is not None
    assert left_out is not None
    assert counted - left_out == pytest.approx(2 / 64, abs=1e-12)


def test_one_sided_tests_share_the_draws_of_the_two_sided() -> None:
    data = trial(frame(), covariates=["x"])
    tails = [gbv.WildClusterBootstrap(alternative=a).estimate(data)[0] for a in ("greater", "less", "central")]
    upper, lower, central = (row.p_value for row in tails)
    assert central == pytest.approx(min(1.0, 2 * min(upper, lower)), abs=1e-12)  # type: ignore[type-var, operator]
    assert tails[0].interval is not None
    assert tails[0].interval[1] == np.inf


def test_draws_agree_with_all_vectors_of_signs() -> None:
    content = frame(sizes=(4, 6, 3, 7, 5, 4, 3, 5, 4, 6))
    data = trial(content, covariates=["x"])
    listed = gbv.WildClusterBootstrap().estimate(data)[0]
    # 1,024 vectors are more than 999 draws, so these are drawn.
    drawn = gbv.WildClusterBootstrap(n_draws=999).estimate(data)[0]
    assert dict(listed.extra)["draws"] == "listed"
    assert dict(drawn.extra)["draws"] == "drawn"
    assert abs(drawn.p_value - listed.p_value) < 5 * 0.5 / np.sqrt(999)  # type: ignore[operator]


def test_webb_weights_have_mean_zero_variance_one_and_six_points() -> None:
    v = draw_weights("webb", 20_000, 5, np.random.default_rng(1))
    np.testing.assert_allclose(np.unique(np.abs(v) ** 2), [0.5, 1.0, 1.5], rtol=1e-12)
    assert np.unique(v).size == 6
    # 100,000 numbers: five standard errors of mean and of mean square.
    assert abs(v.mean()) < 5 / np.sqrt(1e5)
    assert abs((v**2).mean() - 1) < 5 * np.sqrt(1 / 6) / np.sqrt(1e5)
    row = gbv.WildClusterBootstrap(weights="webb", n_draws=999).estimate(trial(frame(), covariates=["x"]))[0]
    assert row.p_value is not None
    assert 0 < row.p_value < 1


def test_strata_enter_as_indicators_and_units_without_outcome_are_left_out() -> None:
    content = frame(sizes=(4, 6, 3, 7, 5, 4, 3, 5))
    code = np.unique(content["cluster"], return_inverse=True)[1]
    content["stratum"] = np.where(code < 4, "a", "b").tolist()
    content["y"] = np.where(np.arange(code.size) == 3, np.nan, content["y"])
    row = gbv.WildClusterBootstrap().estimate(trial(content, stratum="stratum"))[0]
    keep = np.arange(code.size) != 3
    new = (np.asarray(content["arm"]) == "new")[keep].astype(float)
    design = np.column_stack([np.ones(new.size), (code[keep] >= 4).astype(float), new])
    kwds = {"groups": code[keep]}
    fit = sm.OLS(content["y"][keep], design).fit(cov_type="cluster", cov_kwds=kwds)
    assert (row.value, row.std_error) == (
        pytest.approx(fit.params[-1], rel=1e-9),
        pytest.approx(fit.bse[-1], rel=1e-8),
    )


def test_a_cluster_that_alone_identifies_a_coefficient_is_reported() -> None:
    content = frame(sizes=(4, 6, 3, 7))
    content["x"] = [1.0 if name == "c0" else 0.0 for name in content["cluster"]]
    answer = gbv.WildClusterBootstrap(variant="WCR13").estimate(trial(content, covariates=["x"]))
    assert answer.check("singular clusters").status == "warn"
    assert "RandomisationInference" in answer.check("few clusters").message


def test_refusals_name_what_to_do() -> None:
    content = frame()
    with pytest.raises(gbv.DesignError, match="RandomisationInference"):
        gbv.WildClusterBootstrap().estimate(gbv.Trial(content, outcome="y", arm="arm", control="usual"))
    content["w"] = np.ones(len(content["arm"]))
    with pytest.raises(gbv.DesignError, match="weights"):
        gbv.WildClusterBootstrap().estimate(trial(content, weight="w"))
    content["x"] = (np.asarray(content["arm"]) == "new").astype(float)
    with pytest.raises(IdentificationError, match="collinear"):
        gbv.WildClusterBootstrap().estimate(trial(content, covariates=["x"]))
    alone = frame()
    alone["arm"] = ["new" if name == "c0" else "usual" for name in alone["cluster"]]
    with pytest.raises(IdentificationError, match="RandomisationInference"):
        gbv.WildClusterBootstrap().estimate(trial(alone))
    with pytest.raises(IdentificationError, match="vary"):
        gbv.WildClusterBootstrap().estimate(trial({**content, "y": np.ones(len(content["arm"]))}))
    for option in ({"variant": "WCR12"}, {"weights": "normal"}, {"n_draws": 5}, {"null": np.inf}, {"level": 0.0}):
        with pytest.raises(gbv.DesignError):
            gbv.WildClusterBootstrap(**option)
