"""Models compared: sums and differences of leave-one-out scores, and stacking weights that nothing improves."""

from __future__ import annotations

import numpy as np
import pytest

import gbveval as gbv
from gbveval.core.errors import DesignError
from gbveval.core.table import Table

SITES = gbv.SiteEffects(
    {"y": [0.1, 0.3, 0.2, 1.4, -0.1, 0.25], "se": [0.1, 0.15, 0.1, 0.12, 0.2, 0.1]}, estimate="y", std_error="se"
)
PRIOR = gbv.HierarchyPrior(gbv.Normal(0, 1), gbv.HalfNormal(0.3))
WIDE = gbv.HierarchyPrior(gbv.Normal(0, 1), gbv.HalfNormal(1.0))


def three() -> dict[str, Table]:
    return {
        "normal": gbv.leave_one_site_out(SITES, PRIOR),
        "wide": gbv.leave_one_site_out(SITES, WIDE),
        "heavy": gbv.leave_one_site_out(SITES, PRIOR, df=3),
    }


def test_rows_are_sums_of_scores_and_of_their_differences() -> None:
    scores = three()
    table = gbv.compare_models(scores)
    each = {name: np.array([row[1] for row in found.rows[:-1]]) for name, found in scores.items()}
    totals = [row[1] for row in table.rows]
    assert totals == sorted(totals, reverse=True)
    best = each[table.rows[0][0]]
    for name, total, _, difference, error, _ in table.rows:
        assert total == pytest.approx(each[name].sum())
        assert difference == pytest.approx((each[name] - best).sum())
        if name != table.rows[0][0]:
            assert error == pytest.approx(np.sqrt(6 * np.var(each[name] - best, ddof=1)))
    assert table.rows[0][4] is None


def test_no_other_weights_predict_better() -> None:
    scores = three()
    table = gbv.compare_models(scores)
    names = list(scores)
    density = np.exp([[row[1] for row in scores[name].rows[:-1]] for name in names])
    weight = np.array([{row[0]: row[5] for row in table.rows}[name] for name in names])
    assert weight.sum() == pytest.approx(1.0)
    reached = np.log(weight @ density).sum()
    grid = np.random.default_rng(1).dirichlet(np.full(3, 0.5), size=4000)
    assert np.log(grid @ density).sum(axis=1).max() <= reached + 1e-6


def test_the_t_with_many_degrees_is_the_normal() -> None:
    normal = gbv.leave_one_site_out(SITES, PRIOR)
    nearly = gbv.leave_one_site_out(SITES, PRIOR, df=1e6)
    for one, other in zip(normal.rows, nearly.rows, strict=True):
        # The fourth cumulant of a t with 1e6 df is 6e-6.
        assert other[1] == pytest.approx(one[1], abs=1e-4)


def test_counts_compare_too() -> None:
    frame = {
        "site": ["a", "a", "b", "b", "c", "c"],
        "arm": ["new", "usual"] * 3,
        "y": [3, 9, 5, 12, 20, 6],
        "n": [60] * 6,
    }
    tables = gbv.SiteTables(frame, site="site", arm="arm", control="usual", events="y", n="n")
    prior = gbv.TablePrior(gbv.Normal(0, 1), gbv.HalfNormal(0.5), gbv.Normal(-2, 1))
    scores = {
        "normal": gbv.leave_one_site_out(tables, gbv.TableHierarchy(prior)),
        "heavy": gbv.leave_one_site_out(tables, gbv.TableHierarchy(prior, df=3)),
    }
    assert {row[0] for row in gbv.compare_models(scores).rows} == {"normal", "heavy"}


def test_refusals() -> None:
    scores = three()
    with pytest.raises(DesignError, match="two models"):
        gbv.compare_models({"normal": scores["normal"]})
    other = gbv.SiteEffects({"y": [0.1, 0.2], "se": [0.1, 0.1]}, estimate="y", std_error="se")
    with pytest.raises(DesignError, match="other sites"):
        gbv.compare_models({"normal": scores["normal"], "other": gbv.leave_one_site_out(other, PRIOR)})
    with pytest.raises(DesignError, match="leave_one_site_out"):
        gbv.compare_models({"normal": scores["normal"], "wrong": gbv.prior_sensitivity(SITES, PRIOR)})
