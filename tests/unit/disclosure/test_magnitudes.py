"""Sums of amounts: the rules by hand, and a contributor who attacks with what they gave themselves."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.disclosure.attacker import Levels, incidence, linear_attack

from gbveval.core.errors import DataError, DesignError
from gbveval.disclosure.magnitudes import ALL_ZERO, DOMINATED, TOO_CLOSE, suppress_magnitudes
from gbveval.disclosure.policy import Policy
from gbveval.disclosure.suppressed import FEW_RESPONDENTS, SHOWN


def groups(*amounts: list[float]) -> tuple[list[float], list[list[str]]]:
    """Contributions, and the group of each."""
    return [x for part in amounts for x in part], [[f"g{i}" for i, part in enumerate(amounts) for _ in part]]


# Comfortable groups around the one that is judged.
PLAIN = [30.0] * 20


@pytest.mark.parametrize(
    ("first", "reason"),
    [
        (PLAIN, SHOWN),
        ([30.0] * 9, FEW_RESPONDENTS),
        # Eleven more who have nothing protect none of the nine.
        ([30.0] * 9 + [0.0] * 11, FEW_RESPONDENTS),
        ([0.0] * 20, ALL_ZERO),
        # Two of 20 have 180 of 199 (90.5 %): more than nine tenths. Of 201 they have less (89.6 %).
        ([90.0, 90.0, *[19 / 18] * 18], DOMINATED),
        ([90.0, 90.0, *[21 / 18] * 18], SHOWN),
        # The rest, 9, is less than a tenth of the largest, 100; a rest of 11 is not. Dominance is off here.
        ([100.0, 100.0, *[0.5] * 18], TOO_CLOSE),
        ([100.0, 100.0, *[11 / 18] * 18], SHOWN),
    ],
)
def test_each_rule_hides_what_it_should(first: list[float], reason: str) -> None:
    policy = Policy(dominance=None, override_reason="a test") if 100.0 in first else Policy()
    table = suppress_magnitudes(*groups(first, PLAIN, PLAIN), policy)
    assert table.reasons[0] == reason
    assert np.isnan(table.released[0]) == (reason != SHOWN)
    if reason == SHOWN:
        np.testing.assert_array_equal(table.released, [round(sum(first)), 600, 600, round(sum(first)) + 1200])


def test_a_total_is_judged_by_the_largest_of_all_its_groups() -> None:
    # Two groups are even; one account of the third has most of the whole table.
    table = suppress_magnitudes(*groups([50.0] * 20, [50.0] * 20, [50_000.0, *[40.0] * 20]))
    assert table.reasons[3] == DOMINATED


@st.composite
def contributions(draw: st.DrawFn) -> tuple[np.ndarray, list[np.ndarray], tuple[int, ...], dict[int, Levels]]:
    shape = draw(st.sampled_from([(4,), (3, 3), (2, 4), (2, 2, 2)]))
    rng = np.random.default_rng(draw(st.integers(0, 10**6)))
    sizes = rng.integers(5, 40, size=shape)
    amounts = np.floor(rng.lognormal(2.0, draw(st.sampled_from([0.3, 1.2, 2.0])), size=sizes.sum()))
    cells = np.repeat(np.arange(sizes.size), sizes.ravel())
    levels: dict[int, Levels] = {0: [["a", "a", "b", "b"]]} if shape == (4,) else {}
    return amounts, list(np.unravel_index(cells, shape)), shape, levels


@given(drawn=contributions())
@settings(max_examples=40, deadline=None)
def test_no_contributor_can_estimate_another(
    drawn: tuple[np.ndarray, list[np.ndarray], tuple[int, ...], dict[int, Levels]],
) -> None:
    amounts, by, shape, levels = drawn
    table = suppress_magnitudes(amounts, by, groupings=levels)
    rows = incidence(shape, levels)
    members = rows[:, np.ravel_multi_index(by, shape)].astype(bool)
    sums = members @ amounts
    ordered = [np.sort(amounts[who])[::-1] for who in members]
    shown = table.released.ravel()
    seen = ~np.isnan(shown)
    np.testing.assert_array_equal(shown[seen], sums[seen])
    if table.withheld:
        return
    dominated = np.array([x[:2].sum() > 0.9 * x.sum() for x in ordered])
    close = np.array([x[2:].sum() < 0.1 * x[0] for x in ordered])
    few = (members & (amounts > 0)).sum(axis=1) < 10
    assert not (seen & (dominated | close | few)).any()
    low, high = np.where(seen, shown, 0.0), np.where(seen, shown, np.inf)
    hidden = np.flatnonzero(~seen)
    least, largest = linear_attack(rows, low, high, rows[hidden])
    for entry, bottom, top in zip(hidden, least, largest, strict=True):
        first, second = ordered[entry][:2]
        assert top > bottom
        if close[entry] or dominated[entry] or few[entry]:
            # The second takes what they gave from the largest sum that is possible: p percent above the truth at least.
            assert top - second >= first * 1.1 - 1e-6 or few[entry]
            assert top >= sums[entry] + (0.1 * first if few[entry] else 0.0) - 1e-6


def test_a_unit_rounds_each_cell_and_the_totals_add_up() -> None:
    table = suppress_magnitudes([149.0] * 20 + [151.0] * 20, [["a"] * 20 + ["b"] * 20], unit=100.0)
    assert table.released.tolist() == [30.0, 30.0, 60.0]


@pytest.mark.parametrize(
    ("amounts", "by", "options", "words"),
    [
        ([1.0, np.nan, -3.0], [["a", "b", "c"]], {}, "2 rows"),
        ([], [[]], {}, "at least one"),
        ([1.0], [["a", "b"]], {}, "2 rows and `contributions` 1"),
        ([1.0], [], {}, "0 axes"),
        ([1.0], [["a"]], {"unit": 0.0}, "`unit`"),
    ],
)
def test_amounts_that_cannot_be_are_refused(
    amounts: list[float], by: list[list[str]], options: dict[str, float], words: str
) -> None:
    with pytest.raises(DataError, match=words):
        suppress_magnitudes(amounts, by, **options)


@pytest.mark.parametrize(
    "options", [{"dominance": (0, 0.9)}, {"dominance": (2, 1.0)}, {"p_percent": 0.0}, {"min_df": 0}]
)
def test_impossible_rules_are_refused(options: dict[str, object]) -> None:
    with pytest.raises(DesignError, match="must be"):
        Policy(**options)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["dominance", "p_percent", "min_df"])
def test_a_rule_is_switched_off_with_a_reason_that_is_printed(name: str) -> None:
    with pytest.raises(DesignError, match="needs a reason"):
        Policy(**{name: None})  # type: ignore[arg-type]
    text = Policy(**{name: None}, override_reason="The board agreed.").describe()  # type: ignore[arg-type]
    assert "were not judged" in text
    assert "The board agreed." in text
