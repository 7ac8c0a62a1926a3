"""What a scheme declares against what it draws: probabilities, pairs, numbers of allocations."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations, permutations
from typing import Any

import numpy as np
import pytest
from scipy import stats

import gbveval as gbv
from gbveval.design.allocation import restricted

TWO, THREE = ("usual", "new"), ("usual", "message", "course")
DRAWS, RESTRICTED_DRAWS = 100_000, 5_000
# All comparisons of one scheme together give a false alarm less than once in 10,000 schemes.
ALARM = 1e-4
AGES = [19.0, 22.0, 25.0, 31.0, 38.0, 44.0, 47.0, 59.0, 61.0, 66.0]


@dataclass(frozen=True)
class One:
    scheme: Any
    frame: Any
    draws: int = DRAWS
    exact: bool = True


def people(n: int, **columns: Any) -> dict[str, Any]:
    return {"id": list(range(n)), **columns}


STRATA = {"town": ["a"] * 5 + ["b"] * 4 + ["c"] * 3}
SCHOOLS = {"school": list("aabbbcddeeffg"), "town": list("xxxxxxyyyyyyy")}
LEVELS = {"age": list("yyoyoyoo"), "site": list("ssrrsrsr")}
BASE = gbv.CompleteAllocation(TWO)
SCHEMES: dict[str, One] = {
    "simple": One(gbv.SimpleAllocation(TWO), 6),
    "simple, unequal": One(gbv.SimpleAllocation(THREE, shares=(1 / 2, 1 / 3, 1 / 6)), 5),
    "complete": One(gbv.CompleteAllocation(TWO), 10),
    "complete, by number": One(gbv.CompleteAllocation(THREE, counts=(4, 2, 1)), 7),
    "complete, one left": One(gbv.CompleteAllocation(TWO), 7),
    "complete, unequal, one left": One(gbv.CompleteAllocation(TWO, shares=(0.7, 0.3)), 7),
    "complete, two left": One(gbv.CompleteAllocation(THREE), 8),
    "complete, unequal, two left": One(gbv.CompleteAllocation(THREE, shares=(0.5, 0.3, 0.2)), 7),
    "complete, four arms, two left": One(gbv.CompleteAllocation(("a", "b", "c", "d")), 6),
    "complete, left unassigned": One(gbv.CompleteAllocation(TWO, misfits="none"), 7),
    "strata": One(gbv.StratifiedAllocation(TWO, stratum="town"), people(12, **STRATA)),
    "strata, pooled": One(gbv.StratifiedAllocation(TWO, stratum="town", misfits="global"), people(12, **STRATA)),
    "strata, pooled, three arms": One(
        gbv.StratifiedAllocation(THREE, stratum="town", misfits="global"), people(12, **STRATA)
    ),
    "strata, unassigned": One(gbv.StratifiedAllocation(TWO, stratum="town", misfits="none"), people(12, **STRATA)),
    "strata, unequal": One(gbv.StratifiedAllocation(TWO, stratum="town", shares=(2 / 3, 1 / 3)), people(12, **STRATA)),
    "clusters": One(gbv.ClusterAllocation(TWO, cluster="school", counts=(4, 3)), SCHOOLS),
    "clusters in strata": One(gbv.ClusterAllocation(TWO, cluster="school", stratum="town"), SCHOOLS),
    "blocks": One(gbv.BlockedAllocation(TWO, sizes=(2, 4)), 7),
    "blocks, unequal, strata": One(
        gbv.BlockedAllocation(TWO, sizes=(3, 6), ratio=(1, 2), stratum="town"), people(8, town=list("xyxxyxyx"))
    ),
    "pairs": One(gbv.MatchedAllocation(TWO, covariates="age"), people(8, age=AGES[:8])),
    "pairs, one left": One(gbv.MatchedAllocation(TWO, covariates="age", misfits="stratum"), people(7, age=AGES[:7])),
    "triplets, two left": One(gbv.MatchedAllocation(THREE, covariates="age", misfits="none"), people(8, age=AGES[:8])),
    "minimisation": One(gbv.Minimisation(TWO, factors=("age", "site")), people(8, **LEVELS)),
    "minimisation, unequal": One(
        gbv.Minimisation(TWO, factors=("age", "site"), ratio=(1, 2), weights=(2, 1), imbalance="variance"),
        people(8, **LEVELS),
    ),
    "minimisation, three arms": One(
        gbv.Minimisation(THREE, factors=("age",), preferred=0.7), people(6, age=list("yyoyoo"))
    ),
    "rerandomisation": One(
        gbv.Rerandomisation(BASE, covariates="age", accept=0.2), people(10, age=AGES), RESTRICTED_DRAWS
    ),
    "constrained": One(
        gbv.ConstrainedAllocation(BASE, covariates="age", accept=0.2), people(10, age=AGES), RESTRICTED_DRAWS
    ),
    "stepped wedge": One(gbv.SteppedWedgeAllocation(TWO, cluster="school", steps=3), SCHOOLS),
    "saturation": One(
        gbv.SaturationAllocation(TWO, cluster="school", saturations=(0, 0.5, 1)),
        {"school": list("aaabbbcccddd")},
    ),
}


def z_scores(share: np.ndarray, expected: np.ndarray, draws: int) -> np.ndarray:
    """Return scores of shares against probabilities; certain events must be certain."""
    variance = expected * (1.0 - expected) / draws
    certain = variance < 1e-15
    assert np.abs(share - expected)[certain].max(initial=0.0) < 1e-12
    return (share - expected)[~certain] / np.sqrt(variance[~certain])


def declared(name: str) -> tuple[One, gbv.Allocated]:
    case = SCHEMES[name]
    return case, gbv.allocate(case.frame, case.scheme, seed=11)


@pytest.mark.parametrize("name", SCHEMES)
def test_probabilities_are_those_of_the_draws(name: str) -> None:
    case, found = declared(name)
    assert np.all(found.probabilities_mcse == 0)
    codes = found.redraw(case.draws, seed=5)
    share = np.stack([(codes == a).mean(axis=0) for a in range(len(found.labels))], axis=1)
    z = z_scores(share, found.probabilities, case.draws)
    # "simple" and others with as many comparisons: Bonferroni over units and labels.
    assert np.abs(z).max(initial=0.0) < stats.norm.isf(ALARM / 2 / max(z.size, 1))


@pytest.mark.parametrize("name", SCHEMES)
def test_probabilities_of_pairs_are_those_of_the_draws(name: str) -> None:
    case, found = declared(name)
    assert found.pairwise_is_exact
    codes = found.redraw(case.draws, seed=6)
    scores = []
    for i, j in combinations(range(found.n_units), 2):
        joint = found.pairwise(i, j)
        k = len(found.labels)
        share = np.array([[((codes[:, i] == a) & (codes[:, j] == b)).mean() for b in range(k)] for a in range(k)])
        scores.append(z_scores(share.ravel(), joint.ravel(), case.draws))
        assert np.allclose(found.pairwise(j, i), joint.T, atol=1e-14)
    z = np.concatenate(scores)
    assert np.abs(z).max(initial=0.0) < stats.norm.isf(ALARM / 2 / max(z.size, 1))


@pytest.mark.parametrize("name", SCHEMES)
def test_pairs_add_up_to_single_units(name: str) -> None:
    _, found = declared(name)
    whole = found.scheme.misfits != "none" if hasattr(found.scheme, "misfits") else True
    for i in range(found.n_units):
        assert np.allclose(np.diag(found.pairwise(i, i)), found.probabilities[i], atol=1e-12)
        assert found.probabilities[i].sum() <= 1.0 + 1e-12
        if whole:
            assert found.probabilities[i].sum() == pytest.approx(1.0, abs=1e-12)
            rows = found.pairwise(i, (i + 1) % found.n_units).sum(axis=1)
            assert np.allclose(rows, found.probabilities[i], atol=1e-12)


# Schemes with few enough allocations that 100,000 draws (50,000 of rare ones) show each of them.
SMALL: dict[str, tuple[Any, Any]] = {
    "simple": (gbv.SimpleAllocation(TWO), 6),
    "one left": (gbv.CompleteAllocation(TWO), 7),
    "two of three arms left": (gbv.CompleteAllocation(THREE), 5),
    "four arms, two left": (gbv.CompleteAllocation(("a", "b", "c", "d")), 6),
    "unassigned": (gbv.CompleteAllocation(TWO, misfits="none"), 5),
    "strata": (gbv.StratifiedAllocation(TWO, stratum="s"), {"s": list("aaabbb")}),
    "pooled": (gbv.StratifiedAllocation(TWO, stratum="s", misfits="global"), {"s": list("aaabbb")}),
    "pooled, odd": (gbv.StratifiedAllocation(TWO, stratum="s", misfits="global"), {"s": list("aaabbbc")}),
    "pooled, three arms": (gbv.StratifiedAllocation(THREE, stratum="s", misfits="global"), {"s": list("aaaabb")}),
    "blocks of two sizes": (gbv.BlockedAllocation(TWO, sizes=(2, 4)), 7),
    "blocks of 3 and 6": (gbv.BlockedAllocation(TWO, sizes=(3, 6), ratio=(1, 2)), 7),
    "wedge": (gbv.SteppedWedgeAllocation(TWO, cluster="c", steps=3), {"c": list("abcd")}),
    "wedge by number": (gbv.SteppedWedgeAllocation(TWO, cluster="c", steps=2, counts=(3, 2)), {"c": list("abcde")}),
    "saturation": (
        gbv.SaturationAllocation(TWO, cluster="c", saturations=(0, 0.5)),
        {"c": list("aaabbcccd")},
    ),
    "pairs": (gbv.MatchedAllocation(TWO, covariates="x"), {"x": [1.0, 2.0, 7.0, 9.0]}),
    "minimisation": (gbv.Minimisation(TWO, factors="f"), {"f": list("ababa")}),
    "minimisation without chance": (gbv.Minimisation(TWO, factors="f", preferred=1.0), {"f": list("ababa")}),
}


@pytest.mark.parametrize("name", SMALL)
def test_the_number_of_allocations_is_the_number_of_different_draws(name: str) -> None:
    scheme, frame = SMALL[name]
    found = gbv.allocate(frame, scheme, seed=2)
    assert found.exact
    assert found.n_allocations_mcse == 0
    assert np.unique(found.redraw(DRAWS, seed=3), axis=0).shape[0] == found.n_allocations


EQUALLY_LIKELY = ("simple", "strata", "wedge by number", "pairs", "unassigned")


@pytest.mark.parametrize("name", EQUALLY_LIKELY)
def test_allocations_are_equally_likely_where_they_should_be(name: str) -> None:
    scheme, frame = SMALL[name]
    found = gbv.allocate(frame, scheme, seed=2)
    counts = np.unique(found.redraw(DRAWS, seed=4), axis=0, return_counts=True)[1]
    assert stats.chisquare(counts).pvalue > ALARM


def test_a_scheme_that_is_drawn_again_agrees_with_the_same_scheme_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    case = SCHEMES["rerandomisation"]
    listed = gbv.allocate(case.frame, case.scheme, seed=1)
    monkeypatch.setattr(restricted, "MOST_LISTED", 0)
    drawn = gbv.allocate(case.frame, case.scheme, seed=1)
    assert listed.exact
    assert not drawn.exact
    assert not drawn.pairwise_is_exact
    error = drawn.probabilities_mcse
    z = (drawn.probabilities - listed.probabilities) / error
    assert np.abs(z).max() < stats.norm.isf(ALARM / 2 / z.size)
    joint = [(drawn.pairwise(i, j)[1, 1], listed.pairwise(i, j)[1, 1]) for i, j in combinations(range(10), 2)]
    pairs = np.array([(a - b) / np.sqrt(b * (1 - b) / 10_000) for a, b in joint])
    assert np.abs(pairs).max() < stats.norm.isf(ALARM / 2 / pairs.size)
    assert listed.n_allocations is not None
    assert drawn.n_allocations is not None
    off = drawn.n_allocations - listed.n_allocations
    assert abs(off) < stats.norm.isf(ALARM / 2) * drawn.n_allocations_mcse + 1
    accepted = np.unique(drawn.redraw(20_000, seed=1), axis=0)
    assert {row.tobytes() for row in accepted} == {row.tobytes() for row in listed.plan.mechanism.codes}


def test_a_constrained_set_among_drawn_candidates(monkeypatch: pytest.MonkeyPatch) -> None:
    case = SCHEMES["constrained"]
    listed = gbv.allocate(case.frame, case.scheme, seed=1)
    monkeypatch.setattr(restricted, "MOST_LISTED", 0)
    # 252 allocations are all among 50,000 draws, so the set is the same, and yet not known to be complete.
    drawn = gbv.allocate(case.frame, case.scheme, seed=2)
    assert drawn.n_allocations == listed.n_allocations
    assert not drawn.exact
    again = gbv.allocate(case.frame, case.scheme, seed=3)
    assert np.array_equal(again.plan.mechanism.codes, drawn.plan.mechanism.codes)


def test_minimisation_lists_what_it_draws() -> None:
    _, found = declared("minimisation, unequal")
    codes, weight = found.plan.mechanism.listed(70_000)
    assert weight.sum() == pytest.approx(1.0, abs=1e-12)
    drawn = found.redraw(DRAWS, seed=9)
    place = {row.tobytes(): number for number, row in enumerate(codes)}
    counts = np.bincount([place[row.tobytes()] for row in drawn], minlength=weight.size)
    assert stats.chisquare(counts, weight * DRAWS).pvalue > ALARM


def brute_forced(counts: tuple[int, ...]) -> float:
    """Return the share of forced assignments by writing out every order of a block."""
    block = [label for label, number in enumerate(counts) for _ in range(number)]
    orders = set(permutations(block))
    forced = sum(len(set(order[place:])) == 1 for order in orders for place in range(len(block)))
    return forced / len(orders) / len(block)


def brute_guessed(counts: tuple[int, ...]) -> float:
    """Return the share guessed by naming the label of which most are left, half right where two tie."""
    block = [label for label, number in enumerate(counts) for _ in range(number)]
    orders, right = set(permutations(block)), 0.0
    for order in orders:
        for place in range(len(block)):
            left = np.bincount(order[place:], minlength=len(counts))
            best = np.flatnonzero(left == left.max())
            right += (order[place] in best) / best.size
    return right / len(orders) / len(block)


@pytest.mark.parametrize(("sizes", "ratio"), [((2, 4, 6), (1, 1)), ((3, 6), (1, 2)), ((3, 6), (1, 1, 1))])
def test_predictability_of_blocks_by_writing_them_out(sizes: tuple[int, ...], ratio: tuple[int, ...]) -> None:
    scheme = gbv.BlockedAllocation(THREE[: len(ratio)], sizes=sizes, ratio=ratio)
    for found in scheme.predictability():
        counts = tuple(part * found.size // sum(ratio) for part in ratio)
        assert found.forced == pytest.approx(brute_forced(counts), abs=1e-12)
        assert found.guessed == pytest.approx(brute_guessed(counts), abs=1e-12)


def test_two_equal_arms_have_the_closed_form_of_forced_assignments() -> None:
    # Blocks of 2 m: 2 m / (m + 1) assignments at the end follow from the others.
    for found in gbv.BlockedAllocation(TWO, sizes=(2, 8, 20)).predictability():
        m = found.size // 2
        assert found.forced == pytest.approx(1.0 / (m + 1), abs=1e-12)


@pytest.mark.parametrize("misfits", ["stratum", "global"])
def test_misfits_keep_probabilities_and_balance(misfits: str) -> None:
    frame = {"town": [t for t in "abcdefg" for _ in range(5)]}
    found = gbv.allocate(frame, gbv.StratifiedAllocation(TWO, stratum="town", misfits=misfits), seed=1)
    assert np.all(found.probabilities == 0.5)
    codes = found.redraw(2_000, seed=1)
    inside = np.abs(codes.reshape(-1, 7, 5).sum(axis=2) - 2.5).max()
    total = np.abs(codes.sum(axis=1) - 17.5).max()
    assert inside == 0.5  # two or three of five
    # Pooled misfits balance the whole; lots inside strata may all fall on one arm.
    assert total == (0.5 if misfits == "global" else 3.5)


def test_the_least_number_in_a_cell_is_sure_or_refused() -> None:
    frame = {"town": list("aaaabbbbb")}
    found = gbv.allocate(frame, gbv.StratifiedAllocation(TWO, stratum="town", least_per_cell=2), seed=1)
    codes = found.redraw(2_000, seed=1)
    assert min((codes[:, 4:] == a).sum(axis=1).min() for a in (0, 1)) == 2
    with pytest.raises(gbv.DesignError, match="is not sure to have 3"):
        gbv.allocate(frame, gbv.StratifiedAllocation(TWO, stratum="town", least_per_cell=3), seed=1)
