"""Pictures of pooling draw the numbers that the engines give."""

from __future__ import annotations

from collections.abc import Iterator

import matplotlib.pyplot as plt
import numpy as np
import pytest

import gbveval as gbv
from gbveval.core.errors import DesignError
from gbveval.multisite.left_out import averages_without

Y, SE = np.log([0.6, 0.8, 0.95, 0.5, 1.3]), np.array([0.1, 0.2, 0.15, 0.3, 0.35])
SITES = gbv.SiteEffects({"y": Y, "se": SE}, estimate="y", std_error="se", contrast="risk_ratio")
PRIOR = gbv.HierarchyPrior(gbv.Normal(0, 0.5), gbv.HalfNormal(0.3))
FRAME = {
    "site": ["a", "a", "b", "b", "c", "c"],
    "arm": ["new", "usual"] * 3,
    "y": [3, 9, 5, 12, 0, 6],
    "n": [60, 61, 70, 66, 40, 44],
}
TABLE_PRIOR = gbv.TablePrior(gbv.Normal(0, 1), gbv.HalfNormal(0.5), gbv.Normal(-2, 1))


def tables(frame: dict[str, list[object]]) -> gbv.SiteTables:
    return gbv.SiteTables(frame, site="site", arm="arm", control="usual", events="y", n="n")


@pytest.fixture(autouse=True)
def closed() -> Iterator[None]:
    yield
    plt.close("all")


def test_shrinkage_draws_estimates_above_and_pooled_below() -> None:
    answer = gbv.NormalHierarchy(PRIOR).estimate(SITES)
    ax = gbv.plot_shrinkage(SITES, answer)
    lines = [line.get_xydata() for line in ax.lines[:5]]
    np.testing.assert_allclose([line[0, 0] for line in lines], np.exp(Y))
    pooled = [np.exp(answer[f"effect in site {i:02d}"].value) for i in range(1, 6)]
    np.testing.assert_allclose([line[1, 0] for line in lines], pooled)
    with pytest.raises(DesignError, match="no row for 5 of 5"):
        gbv.plot_shrinkage(SITES, gbv.RandomEffects("EE").estimate(SITES))


def test_prior_and_posterior_are_densities() -> None:
    model = gbv.NormalHierarchy(PRIOR)
    axes = gbv.plot_prior_to_posterior(model, model.estimate(SITES))
    for ax in axes:
        x, height = ax.lines[0].get_data()
        # Between the 0.5 and 99.5 % points.
        assert np.trapezoid(height, x) == pytest.approx(0.99, abs=0.01)
    x, height = axes[0].lines[1].get_data()
    np.testing.assert_allclose(height, np.exp(-0.5 * (x / 0.5) ** 2) / (0.5 * np.sqrt(2 * np.pi)), rtol=1e-9)
    assert "of logs" in axes[0].get_xlabel()
    flat = gbv.NormalHierarchy(gbv.HierarchyPrior(gbv.Flat(), gbv.HalfNormal(0.3)))
    assert len(gbv.plot_prior_to_posterior(flat, flat.estimate(SITES))[0].lines) == 1
    with pytest.raises(DesignError, match="no posterior"):
        gbv.plot_prior_to_posterior(model, gbv.RandomEffects().estimate(SITES))


def test_left_out_estimates_are_fits_to_the_others() -> None:
    found = averages_without(SITES, PRIOR)
    rest = gbv.SiteEffects({"y": np.delete(Y, 3), "se": np.delete(SE, 3)}, estimate="y", std_error="se")
    alone = gbv.NormalHierarchy(PRIOR).estimate(rest)
    np.testing.assert_allclose(found.quantiles[4, [0, 2]], [x[0] for x in alone.intervals()], rtol=1e-8)
    ax = gbv.plot_left_out(SITES, PRIOR)
    assert [label.get_text() for label in ax.get_yticklabels()][-1] == "all sites"
    np.testing.assert_allclose(ax.lines[8].get_xdata(), np.exp(found.quantiles[4, [0, 2]]), rtol=1e-9)


def test_counts_are_left_out_too() -> None:
    model = gbv.TableHierarchy(TABLE_PRIOR)
    found = averages_without(tables(FRAME), model)
    rest = tables({name: values[2:] for name, values in FRAME.items()})
    low, high = model.estimate(rest).intervals()
    # Quadratures whose panels differ, each good to about 1e-6 sds.
    np.testing.assert_allclose(found.quantiles[1, [0, 2]], [low[0], high[0]], atol=1e-5)
    gbv.plot_left_out(tables(FRAME), model)
    with pytest.raises(DesignError, match="Counts need the model"):
        gbv.plot_left_out(tables(FRAME), PRIOR)
    with pytest.raises(DesignError, match="nothing to leave out"):
        gbv.plot_left_out(gbv.SiteEffects({"y": [0.1], "se": [0.1]}, estimate="y", std_error="se"), PRIOR)
