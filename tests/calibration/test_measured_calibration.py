"""The record is one of what the code measures, the page is written from it, and the band can be left."""

from __future__ import annotations

import numpy as np
import pytest

from tests.calibration import same_numbers
from tests.calibration.exact import NAMES, exact_ranks
from tests.calibration.measure import PARAMETERS, PILOTS, PRIOR, RANKS, band, below, load
from tests.calibration.page import PAGE, outside, text


def test_every_parameter_is_inside_its_band() -> None:
    record = load()
    assert record["pilots"] == PILOTS
    assert record["prior"] == PRIOR.describe()
    assert set(record["ranks"]) == set(PARAMETERS)
    assert all(len(ranks) == PILOTS for ranks in record["ranks"].values())
    assert outside(record["ranks"]) == []


def test_exact_posteriors_are_calibrated_and_the_page_says_so() -> None:
    ranks = exact_ranks()
    assert set(ranks) == set(NAMES)
    assert outside(ranks) == []
    assert PAGE.read_text(encoding="utf-8") == text(load(), ranks)


def test_standard_errors_that_are_too_small_leave_the_band() -> None:
    assert "average effect" in outside(exact_ranks(too_small=2.0))


def test_the_band_holds_uniform_ranks_and_finds_a_posterior_that_is_too_sure() -> None:
    rng = np.random.default_rng(1)
    low, high = band(PILOTS)
    left = [
        bool(np.any((c < low) | (c > high))) for c in (below(rng.integers(0, RANKS + 1, PILOTS)) for _ in range(400))
    ]
    # At 0.01, twelve or more of 400 happen with probability 1e-3; the level itself was found with other draws.
    assert sum(left) < 12
    # Posterior sds that are a third too small: ranks crowd at the ends.
    z = 1.5 * rng.normal(size=PILOTS)
    ranks = [int((rng.normal(size=RANKS) < x).sum()) for x in z]
    assert outside({"average_effect": ranks}) == ["average_effect"]


@pytest.mark.sampling
@pytest.mark.xdist_group("sampling")
def test_every_python_gives_the_same_numbers() -> None:
    own = same_numbers.answers()
    assert len({where.partition(",")[0] for where in same_numbers.load()}) >= 2, "records of two Pythons"
    for where, kept in same_numbers.load().items():
        assert set(kept) == set(own), where
        for term, there in kept.items():
            here = own[term]
            # Four Monte Carlo errors of a difference; where it is the same Python it is the same seed, and zero.
            assert abs(here["mean"] - there["mean"]) <= 4 * np.hypot(here["error"], there["error"]), (where, term)
            # Standard deviations of some 1,000 effective draws and more agree within a twelfth.
            assert abs(here["sd"] / there["sd"] - 1) < 0.08, (where, term)
