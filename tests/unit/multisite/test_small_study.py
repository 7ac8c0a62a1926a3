"""Small-study tests and corrections, influence and pictures: special cases, other implementations, simulation."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import statsmodels.api as sm
from scipy import integrate, stats

import gbveval as gbv
from gbveval.numerics.selection_model import fit_selection, interval_of, log_likelihood
from gbveval.numerics.small_study import missing_side, trim_and_fill

Y = np.array([0.31, -0.08, 0.55, 0.12, 0.90, 0.27, 0.41, 0.18, 0.75, 0.05])
SE = np.array([0.11, 0.20, 0.15, 0.09, 0.30, 0.18, 0.22, 0.08, 0.35, 0.12])


def effects(y: Any = Y, se: Any = SE, **roles: Any) -> gbv.SiteEffects:
    more = roles.pop("columns", {})
    return gbv.SiteEffects({"y": y, "se": se, **more}, estimate="y", std_error="se", **roles)


def rows(table: gbv.Table) -> dict[str, dict[str, Any]]:
    return {entry[0]: dict(zip(table.columns, entry, strict=True)) for entry in table.rows}


def test_egger_and_pet_peese_against_weighted_least_squares() -> None:
    egger, both = rows(gbv.egger_test(effects())), rows(gbv.pet_peese(effects()))
    pet = sm.WLS(Y, sm.add_constant(SE), weights=SE**-2).fit()
    peese = sm.WLS(Y, sm.add_constant(SE**2), weights=SE**-2).fit()
    slope = egger["slope on the standard error"]
    assert (slope["estimate"], slope["std_error"]) == pytest.approx((pet.params[1], pet.bse[1]), rel=1e-9)
    assert (slope["p_value"], slope["df"]) == pytest.approx((pet.pvalues[1], 8.0), rel=1e-9)
    limit = egger["limit at standard error zero"]
    assert [limit["conf_low"], limit["conf_high"]] == pytest.approx(pet.conf_int()[0], rel=1e-9)
    assert both["PET"]["estimate"] == pytest.approx(pet.params[0], rel=1e-9)
    assert both["PEESE"]["estimate"] == pytest.approx(peese.params[0], rel=1e-9)
    chosen = "PEESE" if pet.pvalues[0] < 0.1 else "PET"
    assert both[f"chosen: {chosen}"]["estimate"] == both[chosen]["estimate"]
    # The choice turns with its level.
    assert f"chosen: {'PET' if chosen == 'PEESE' else 'PEESE'}" in rows(
        gbv.pet_peese(effects(), alpha=1e-6 if chosen == "PEESE" else 1 - 1e-6)
    )


def test_lines_need_three_sites_and_errors_that_differ() -> None:
    for call in (gbv.egger_test, gbv.pet_peese):
        with pytest.raises(gbv.IdentificationError, match="at least three"):
            call(effects(Y[:2], SE[:2]))
        with pytest.raises(gbv.IdentificationError, match="equal"):
            call(effects(Y, np.full(10, 0.2)))
    with pytest.raises(gbv.DesignError, match="alpha"):
        gbv.pet_peese(effects(), alpha=5)
    assert any("Fewer than ten" in note for note in gbv.egger_test(effects(Y[:5], SE[:5])).notes)


def test_a_symmetric_funnel_is_not_filled() -> None:
    quantiles = stats.norm.ppf((np.arange(20) + 0.5) / 20)
    for centre in (-1.0, 0.0, 0.3):
        y = centre + 0.3 * quantiles
        filled = trim_and_fill(y, np.full(20, 0.04), method="DL", side="left", estimator="R0")
        assert filled.filled == 0
        np.testing.assert_array_equal(filled.estimate, y)
        # Pairs that share a rank are ranked in file order, so that the signed ranks miss balance by half an effect.
        assert trim_and_fill(y, np.full(20, 0.04), method="DL", side="left").filled <= 1


def test_missing_sites_are_reflected_where_they_are_missing() -> None:
    rng = np.random.default_rng(8)
    se = np.linspace(0.02, 0.4, 30)
    y = 0.1 + se * rng.normal(size=30)
    # The six lowest of the vague half were never reported.
    vague = np.flatnonzero(se > 0.2)
    gone = vague[np.argsort(y[vague])[:6]]
    keep = np.setdiff1d(np.arange(30), gone)
    sites = effects(y[keep], se[keep])
    assert missing_side(y[keep], se[keep] ** 2, method="DL") == "left"
    table = rows(gbv.trim_and_fill(sites, gbv.RandomEffects("DL")))
    assert table["filled"]["filled"] >= 2
    assert table["filled"]["estimate"] < table["as reported"]["estimate"]
    turned = rows(gbv.trim_and_fill(effects(-y[keep], se[keep]), gbv.RandomEffects("DL")))
    assert turned["filled"]["filled"] == table["filled"]["filled"]
    assert turned["filled"]["estimate"] == pytest.approx(-table["filled"]["estimate"], rel=1e-12)
    filled = trim_and_fill(y[keep], se[keep] ** 2, method="DL", side="left")
    assert filled.estimate.size == keep.size + filled.filled
    # The number is a fixed point: without as many on the right, the signed ranks about the average ask for as many.
    k0, kept = filled.filled, np.sort(y[keep])[: keep.size - filled.filled]
    order = np.argsort(y[keep])[: keep.size - k0]
    average = gbv.RandomEffects("DL").estimate(effects(kept, se[keep][order])).values[0]
    assert average is not None
    centred = y[keep] - average
    signed = stats.rankdata(np.abs(centred))[centred > 0].sum()
    assert round((4 * signed - keep.size * (keep.size + 1)) / (2 * keep.size - 1)) == k0
    np.testing.assert_allclose(np.sort(filled.estimate[keep.size :]), np.sort(2 * average - np.sort(y[keep])[-k0:]))


def test_trim_and_fill_refuses() -> None:
    with pytest.raises(gbv.DesignError, match="side"):
        gbv.trim_and_fill(effects(), side="below")
    with pytest.raises(gbv.DesignError, match="estimator"):
        gbv.trim_and_fill(effects(), estimator="Q0")
    with pytest.raises(gbv.DesignError, match="moderators"):
        gbv.trim_and_fill(effects(columns={"z": range(10)}, moderators=["z"]))


def reported(seed: int, k: int, share: float, mean: float = 0.2, tau: float = 0.1) -> tuple[Any, Any]:
    """Effects of which those with a one-sided p above 0.025 are reported with a probability only."""
    rng = np.random.default_rng(seed)
    y, se = [], []
    while len(y) < k:
        error = rng.uniform(0.05, 0.4)
        value = mean + np.hypot(tau, error) * rng.normal()
        if value / error > 1.959964 or rng.uniform() < share:
            y.append(value)
            se.append(error)
    return np.array(y), np.array(se)


def test_without_selection_the_likelihood_is_the_plain_one() -> None:
    v, x = SE**2, np.ones((10, 1))
    arguments = {"coefficients": np.array([0.2]), "tau2": 0.03, "direction": "greater"}
    flat = log_likelihood(Y, v, x, (0.025, 0.5), log_relative=np.zeros(3), **arguments)
    spread = np.sqrt(v + 0.03)
    plain = (-0.5 * ((Y - 0.2) / spread) ** 2 - np.log(spread) - 0.5 * np.log(2 * np.pi)).sum()
    assert flat == pytest.approx(plain, abs=1e-12)


@pytest.mark.parametrize("direction", ["greater", "less"])
def test_the_density_of_a_reported_effect_has_area_one(direction: str) -> None:
    relative = np.log([1.0, 0.4, 0.1])

    def density(y: float) -> float:
        return float(
            np.exp(
                log_likelihood(
                    np.array([y]),
                    np.array([0.04]),
                    np.ones((1, 1)),
                    (0.025, 0.5),
                    coefficients=np.array([0.1]),
                    tau2=0.02,
                    log_relative=relative,
                    direction=direction,
                )
            )
        )

    cuts = [-0.2 * 1.959964, 0.0, 0.2 * 1.959964]
    area = integrate.quad(density, -3, 3, points=cuts, limit=200)[0]
    # quad stops at 1.5e-8.
    assert area == pytest.approx(1.0, abs=1e-7)


def test_intervals_of_p_values() -> None:
    y, v = np.array([0.4, 0.1, -0.1, -0.5]), np.full(4, 0.04)
    assert interval_of(y, v, (0.025, 0.5), direction="greater").tolist() == [0, 1, 2, 2]
    assert interval_of(-y, v, (0.025, 0.5), direction="less").tolist() == [0, 1, 2, 2]


def test_the_selection_model_undoes_the_selection_it_describes() -> None:
    y, se = reported(4, 1500, 0.2)
    table = rows(gbv.selection_model(effects(y, se), direction="greater"))
    average, plain = table["average effect"], gbv.RandomEffects("ML", "normal").estimate(effects(y, se))
    # Four standard errors: with a fixed seed a false alarm has a chance of 6e-5.
    assert abs(average["estimate"] - 0.2) < 4 * average["std_error"]
    assert plain.values[0] - 0.2 > 4 * plain.std_errors[0]
    share = table["reported, p from 0.025 to 1 against p below 0.025"]
    assert share["conf_low"] < 0.2 < share["conf_high"]
    assert table["no selection"]["p_value"] < 1e-6
    assert abs(table["between-site sd"]["estimate"] - 0.1) < 0.05
    mirrored = rows(gbv.selection_model(effects(-y, se), direction="less"))
    assert mirrored["average effect"]["estimate"] == pytest.approx(-average["estimate"], abs=1e-5)


def test_selection_standard_errors_are_calibrated() -> None:
    found = []
    for seed in range(40):
        y, se = reported(100 + seed, 200, 0.4)
        fit = fit_selection(y, se**2, np.ones((200, 1)), (0.025,), direction="greater")
        found.append((fit.coefficients[0] - 0.2) / fit.errors[0])
    # The mean square of 40 standard normals exceeds 2.1 or falls below 0.3 with probability below 1e-4.
    assert 0.3 < np.mean(np.square(found)) < 2.1


def test_selection_refuses() -> None:
    for steps in ((), (0.5, 0.1), (1.2,), ("a",)):
        with pytest.raises(gbv.DesignError, match="steps"):
            gbv.selection_model(effects(), direction="greater", steps=steps)  # type: ignore[arg-type]
    with pytest.raises(gbv.DesignError, match="direction"):
        gbv.selection_model(effects(), direction="up")
    with pytest.raises(gbv.IdentificationError, match="hold 10, 0 effects"):
        gbv.selection_model(effects(np.full(10, 5.0), np.full(10, 0.1)), direction="greater")


def test_influence_is_a_fit_without_the_site() -> None:
    table = gbv.site_influence(effects())
    model = gbv.RandomEffects()
    whole = model.estimate(effects())
    for i in range(10):
        keep = np.arange(10) != i
        rest = model.estimate(effects(Y[keep], SE[keep]))
        entry = dict(zip(table.columns, table.rows[i], strict=True))
        assert entry["estimate"] == pytest.approx(rest.values[0], rel=1e-12)
        assert entry["std_error"] == pytest.approx(rest.std_errors[0], rel=1e-12)
        tau2 = rest["between-site sd"].value ** 2
        weights = 1 / (SE[keep] ** 2 + tau2)
        expected = (Y[i] - rest.values[0]) / np.sqrt(SE[i] ** 2 + tau2 + 1 / weights.sum())
        assert entry["studentised_residual"] == pytest.approx(expected, rel=1e-10)
        tau2_all = whole["between-site sd"].value ** 2
        weight_all = (1 / (SE**2 + tau2_all)).sum()
        assert entry["cooks_distance"] == pytest.approx((whole.values[0] - rest.values[0]) ** 2 * weight_all, rel=1e-9)
        assert entry["covariance_ratio"] == pytest.approx(weight_all / weights.sum(), rel=1e-9)
    assert sum(table.column("weight")) == pytest.approx(100.0)
    assert sum(table.column("hat")) == pytest.approx(1.0)


def test_influence_of_two_sites_and_of_one_that_carries_a_moderator() -> None:
    assert gbv.site_influence(effects(Y[:2], SE[:2])).column("estimate") == (None, None)
    only = effects(columns={"z": [1.0, *[0.0] * 9]}, moderators=["z"])
    found = gbv.site_influence(only).column("estimate")
    assert found[0] is None
    assert None not in found[1:]


def test_pictures() -> None:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    sites = effects(contrast="odds_ratio")
    for pooled in (
        gbv.RandomEffects().estimate(sites),
        gbv.NormalHierarchy(gbv.HierarchyPrior(gbv.Normal(0, 1), gbv.HalfNormal(0.5))).estimate(sites),
    ):
        ax = gbv.plot_forest(sites, pooled)
        labels = [text.get_text() for text in ax.get_yticklabels()]
        assert labels[::-1] == [*sites.labels, "average effect", "a new site"]
        assert ax.get_xscale() == "log"
        # The first site is on top, and its circle is where it was found.
        circles = [line for line in ax.lines if line.get_marker() == "o"]
        top = max(circles, key=lambda line: line.get_ydata()[0])
        assert top.get_xdata()[0] == pytest.approx(np.exp(Y[0]))
        funnel = gbv.plot_funnel(sites, pooled)
        assert funnel.get_ylim()[0] > funnel.get_ylim()[1] == 0.0
        plt.close("all")
    with pytest.raises(gbv.DesignError, match="no row for 10 of 10"):
        gbv.plot_forest(sites, gbv.RandomEffects("EE").estimate(sites))
