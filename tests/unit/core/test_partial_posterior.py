"""Results of which some rows have a posterior and the others a sampling distribution."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

import gbveval as gbv
from gbveval.core.estimates import Estimates
from gbveval.core.method import Method
from gbveval.core.posterior import DrawsPosterior, PartialPosterior, Posterior
from gbveval.core.term import Term

DRAWS = np.random.default_rng(1).normal((1.0, 3.0), 1.0, (2, 500, 2))
OTHER = np.random.default_rng(2).normal(size=(1, 400, 1)) - 2.0


@pytest.fixture
def answer() -> Estimates:
    """Rows: plain, posterior (part 0, term 1), plain, posterior (part 1), posterior (part 0, term 0)."""
    posterior = PartialPosterior((DrawsPosterior(DRAWS), DrawsPosterior(OTHER)), (None, (0, 1), None, (1, 0), (0, 0)))
    mean, sd = posterior.mean(), posterior.sd()
    values = np.where(np.isnan(mean), [0.5, 0, -0.2, 0, 0], mean)
    errors = np.where(np.isnan(sd), [0.2, 0, 0.4, 0, 0], sd)
    itt = gbv.Estimand("ITT", "mean_difference")
    terms = tuple(
        Term(f"row {i}", itt, "y", float(v), float(e), df=8.0)
        for i, (v, e) in enumerate(zip(values, errors, strict=True))
    )
    covariance = np.full((5, 5), np.nan)
    np.fill_diagonal(covariance, errors**2)
    covariance[0, 2] = covariance[2, 0] = 0.03
    method = Method("all", "mixed", "none", "mixed", "this sample")
    return Estimates("mixed", terms, covariance, method, posterior=posterior)


def test_it_is_a_posterior_of_the_rows_it_covers(answer: Estimates) -> None:
    posterior = answer.posterior
    assert isinstance(posterior, Posterior)
    assert answer.in_posterior.tolist() == [False, True, False, True, True]
    flat = DRAWS.reshape(-1, 2)
    expected = [np.nan, flat[:, 1].mean(), np.nan, OTHER.mean(), flat[:, 0].mean()]
    np.testing.assert_allclose(posterior.mean(), expected)
    assert posterior.quantile(4, 0.3) == pytest.approx(np.quantile(flat[:, 0], 0.3))
    assert posterior.cdf(3, -2.0) == pytest.approx(np.mean(OTHER <= -2.0))
    drawn = posterior.sample(2000, np.random.default_rng(3))
    assert np.isnan(drawn[:, [0, 2]]).all()
    # Draws of one part come from the same draw, so each pair of them is among the pairs.
    pairs = {tuple(pair) for pair in flat[:, [1, 0]]}
    assert all(tuple(pair) in pairs for pair in drawn[:50, [1, 4]])


def test_each_row_has_the_interval_of_its_kind(answer: Estimates) -> None:
    low, high = answer.intervals(0.9)
    half = stats.t.ppf(0.95, 8.0) * 0.2
    assert (low[0], high[0]) == pytest.approx((0.5 - half, 0.5 + half))
    np.testing.assert_allclose([low[3], high[3]], np.quantile(OTHER, [0.05, 0.95]))
    kinds = answer.interval_kinds()
    assert [kind.split(",")[0] for kind in kinds] == [
        "confidence",
        "credible",
        "confidence",
        "credible",
        "credible",
    ]
    records = answer.records()
    assert records[0]["p_value"] == pytest.approx(2 * stats.t.sf(2.5, 8.0))
    assert records[0]["df"] == 8.0
    assert records[1]["p_value"] is None
    assert records[1]["df"] is None


def test_tests_and_bands_are_of_plain_rows(answer: Estimates) -> None:
    tests = answer.tests(alternative="greater")
    assert tests.p_value[0] == pytest.approx(stats.t.sf(2.5, 8.0))
    assert np.isnan(tests.p_value[[1, 3, 4]]).all()
    joint = answer.joint_test()[0]
    assert joint.df == 2.0
    band = answer.with_band(n_draws=2000, seed=1)
    assert band.band is not None
    assert band.band.members == (0, 2)
    low, high = band.intervals()
    assert high[0] - low[0] > answer.intervals()[1][0] - answer.intervals()[0][0]
    assert high[1] == answer.intervals()[1][1]


def test_what_is_asked_of_the_wrong_kind_of_row_is_refused(answer: Estimates) -> None:
    assert answer.probability("row 3", below=-2.0) == pytest.approx(np.mean(OTHER <= -2.0))
    with pytest.raises(gbv.DesignError, match="has no posterior"):
        answer.probability("row 0", above=0.0)
    with pytest.raises(gbv.DesignError, match="no p-values"):
        gbv.equivalence(answer, "row 1", margin_low=-1, margin_high=1)
    table = gbv.equivalence(answer, "row 0", margin_low=-1, margin_high=1)
    assert table.column("p_value")[0] is not None
    with pytest.raises(gbv.DesignError, match=r"posterior\.sample"):
        answer.contrast({"row 0": 1.0, "row 1": -1.0}, name="x")
    difference = answer.contrast({"row 0": 1.0, "row 2": -1.0}, name="x")
    assert difference[0].std_error == pytest.approx(np.sqrt(0.04 + 0.16 - 0.06))
    adjusted = gbv.adjust_for_multiplicity(answer)
    assert [bool(row.extra) for row in adjusted.terms] == [True, False, True, False, False]


def test_selected_rows_keep_their_kind(answer: Estimates) -> None:
    assert answer.with_terms([0, 2]).posterior is None
    some = answer.with_terms([4, 0])
    assert some.in_posterior.tolist() == [True, False]
    np.testing.assert_allclose(some.intervals()[0], answer.intervals()[0][[4, 0]])


def test_json_is_lossless(answer: Estimates) -> None:
    back = Estimates.from_json(answer.to_json())
    assert back.to_json() == answer.to_json()
    np.testing.assert_array_equal(np.array(back.intervals(0.5)), np.array(answer.intervals(0.5)))
