"""Declared schemes: the same list everywhere, what is refused, and the pieces that have witnesses of their own."""

from __future__ import annotations

import warnings
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

import gbveval as gbv
from gbveval.numerics.matching import distances, match_groups
from gbveval.numerics.philox import Words

TWO, THREE = ("usual", "new"), ("usual", "message", "course")
MASK = 2**64 - 1


def philox(key: tuple[int, int], n: int) -> list[int]:
    """Return words of Philox4x64-10 (Salmon and others 2011), in Python's integers alone."""
    words: list[int] = []
    counter = [0, 0, 0, 0]
    while len(words) < n:
        counter[0] += 1  # the generator counts before it makes four words
        x, k = list(counter), list(key)
        for step in range(10):
            if step:
                k = [(k[0] + 0x9E3779B97F4A7C15) & MASK, (k[1] + 0xBB67AE8584CAA73B) & MASK]
            a, b = x[0] * 0xD2E7470EE14C6C93, x[2] * 0xCA5A826395121157
            x = [(b >> 64) ^ x[1] ^ k[0], b & MASK, (a >> 64) ^ x[3] ^ k[1], a & MASK]
        words += x
    return words[:n]


def key_of(*texts: str) -> tuple[int, int]:
    from hashlib import sha256

    digest = sha256("\x1f".join(("gbveval-allocation-1", *texts)).encode()).digest()
    return int.from_bytes(digest[:8], "little"), int.from_bytes(digest[8:16], "little")


def test_words_are_those_of_philox_by_hand() -> None:
    assert Words("a", "b").raw(50).tolist() == philox(key_of("a", "b"), 50)


def test_numbers_below_a_bound_by_hand() -> None:
    # A bound just above half of all words rejects almost every second one.
    bound = 2**63 - 5
    largest = (2**64 // bound) * bound
    words = Words("c")
    found = words.below(bound, 20).tolist()
    stream = iter(philox(key_of("c"), 200))
    expected: list[int | None] = [next(stream) for _ in range(20)]
    while wrong := [place for place, word in enumerate(expected) if word is not None and word >= largest]:
        for place, word in zip(wrong, [next(stream) for _ in wrong], strict=True):
            expected[place] = word
    assert found == [word % bound for word in expected if word is not None]


def test_complete_allocation_by_hand() -> None:
    found = gbv.allocate(9, gbv.CompleteAllocation(THREE), seed=4)
    from gbveval.design.allocation.plan import declaration_of

    words = philox(key_of("list", "4", found.units.digest, declaration_of(found.scheme)), 9)
    order = sorted(range(9), key=lambda unit: words[unit])
    expected = [0] * 9
    for place, unit in enumerate(order):
        expected[unit] = place // 3
    assert found.label_of_unit.tolist() == expected


FRAME = {
    "id": [f"p{n}" for n in range(24)],
    "town": ["a", "b", "c"] * 8,
    "age": ["y", "o"] * 12,
    "school": [f"s{n // 3}" for n in range(24)],
    "years": [18 + (7 * n) % 40 for n in range(24)],
}
# Digests of lists, frames and declarations, written down once: the same on every Python and NumPy, or seeds kept in
# protocols no longer give the lists that they gave. The test of words above is the witness of the stream.


def golden() -> dict[str, tuple[Any, str | None]]:
    return {
        "simple": (gbv.SimpleAllocation(TWO, shares=(2 / 3, 1 / 3)), "id"),
        "complete": (gbv.CompleteAllocation(THREE, shares=(0.5, 0.3, 0.2)), "id"),
        "strata": (gbv.StratifiedAllocation(THREE, stratum=("town", "age"), shares=(0.5, 0.25, 0.25)), "id"),
        "pooled": (gbv.StratifiedAllocation(THREE, stratum="town", misfits="global"), "id"),
        "clusters": (gbv.ClusterAllocation(TWO, cluster="school"), None),
        "blocks": (gbv.BlockedAllocation(TWO, sizes=(4, 6), stratum="age"), "id"),
        "minimisation": (gbv.Minimisation(THREE, factors=("town", "age"), ratio=(1, 1, 2)), "id"),
        "wedge": (gbv.SteppedWedgeAllocation(TWO, cluster="school", steps=3), None),
        "saturation": (gbv.SaturationAllocation(TWO, cluster="school", saturations=(0, 1 / 3, 1)), "id"),
    }


WRITTEN = {
    "simple": "467f049403a406d8",
    "complete": "bfdb097584777ea3",
    "strata": "e0db498a55a21a1c",
    "pooled": "1944231228c26ab4",
    "clusters": "eee4b832a5512468",
    "blocks": "84c28694625fd770",
    "minimisation": "cf5cec2ef4c995ef",
    "wedge": "8bf7ed543f4671c9",
    "saturation": "7cae7dad80c45bae",
}


def lists() -> dict[str, str]:
    return {
        name: gbv.allocate(FRAME, scheme, seed=20_260_308, unit=unit).list_digest[:16]
        for name, (scheme, unit) in golden().items()
    }


def test_the_same_seed_and_frame_give_the_same_list_for_ever() -> None:
    assert lists() == WRITTEN


@pytest.mark.parametrize("name", ["simple", "complete", "strata", "pooled", "clusters", "wedge", "saturation"])
def test_the_order_of_rows_changes_nothing_where_units_have_names(name: str) -> None:
    scheme, unit = golden()[name]
    order = np.random.default_rng(1).permutation(24)
    shuffled = {column: [values[i] for i in order] for column, values in FRAME.items()}
    first = gbv.allocate(FRAME, scheme, seed=3, unit=unit)
    again = gbv.allocate(shuffled, scheme, seed=3, unit=unit)
    assert first.digest == again.digest
    assert first.assigned() == again.assigned()
    assert again.assignments.tolist() == [first.assignments[i] for i in order]


def test_polars_pandas_and_dictionaries_give_the_same_list() -> None:
    import polars as pl

    scheme, unit = golden()["strata"]
    found = [gbv.allocate(f, scheme, seed=3, unit=unit) for f in (FRAME, pd.DataFrame(FRAME), pl.DataFrame(FRAME))]
    assert len({one.list_digest for one in found}) == 1
    assert len({one.digest for one in found}) == 1


def test_frame_declaration_and_seed_each_make_another_list() -> None:
    scheme = gbv.CompleteAllocation(TWO)
    base = gbv.allocate(200, scheme, seed=1).label_of_unit
    other_seed = gbv.allocate(200, scheme, seed=2).label_of_unit
    other_frame = gbv.allocate({"id": list(range(200))}, scheme, seed=1, unit="id").label_of_unit
    other_declaration = gbv.allocate(200, gbv.CompleteAllocation(TWO, counts=(100, 100)), seed=1).label_of_unit
    for other in (other_seed, other_frame, other_declaration):
        # Agreement of independent lists is hypergeometric: mean 100, sd 7.1; five sd on either side.
        assert abs(int((base == other).sum()) - 100) < 36
    assert np.array_equal(base, gbv.allocate(200, scheme, seed=1).label_of_unit)


def test_columns_that_the_scheme_does_not_read_change_nothing() -> None:
    scheme, unit = golden()["strata"]
    more = {**FRAME, "outcome": list(range(24))}
    assert gbv.allocate(more, scheme, seed=3, unit=unit).digest == gbv.allocate(FRAME, scheme, seed=3, unit=unit).digest


def test_a_million_units_in_strata_are_balanced() -> None:
    n = 1_000_000
    town = np.arange(n) % 997
    found = gbv.allocate({"town": town}, gbv.StratifiedAllocation(TWO, stratum="town"), seed=1)
    table = np.bincount(town * 2 + found.label_of_unit, minlength=2 * 997).reshape(-1, 2)
    assert np.abs(table[:, 0] - table[:, 1]).max() <= 1
    assert np.all(found.probabilities == 0.5)


# -- refusals ---------------------------------------------------------------------------------------------------------


def frame(**columns: Any) -> dict[str, Any]:
    return {"id": [f"person-{n}" for n in range(8)], **columns}


STRATUM = gbv.StratifiedAllocation(TWO, stratum="town")
REFUSED: dict[str, tuple[Any, Any, str]] = {
    "a column that is absent": (frame(), STRATUM, "is absent"),
    "text and numbers": (frame(town=["1", 1, "1", 1, "2", 2, "2", 2]), STRATUM, "mixes types"),
    "a stratum that is missing": (frame(town=["secret", None] * 4), STRATUM, "missing in 4 rows"),
    "columns for a number of units": (8, STRATUM, "give a frame"),
    "a stratum that varies in clusters": (
        frame(town=list("aabbaabb"), school=list("ccccdddd")),
        gbv.ClusterAllocation(TWO, cluster="school", stratum="town"),
        "varies inside 2 clusters",
    ),
    "counts that do not sum": (8, gbv.CompleteAllocation(TWO, counts=(3, 4)), "do not sum"),
    "a stratum without counts": (
        frame(town=list("aaaabbbb")),
        gbv.StratifiedAllocation(TWO, stratum="town", counts={"a": (2, 2)}),
        "no counts",
    ),
    "everybody left over": (
        frame(town=list("abcdefgh")),
        gbv.StratifiedAllocation(TWO, stratum="town", misfits="none"),
        "every unit is left over",
    ),
    "a base whose numbers vary": (
        frame(x=[1.0, 2, 3, 4, 5, 6, 7, 9]),
        gbv.Rerandomisation(gbv.CompleteAllocation(THREE), covariates="x"),
        "leave units over",
    ),
    "a covariate that does not vary": (
        frame(x=[1.0] * 8),
        gbv.Rerandomisation(gbv.CompleteAllocation(TWO), covariates="x"),
        "do not vary",
    ),
    "nothing balanced enough": (
        frame(x=[1.0, 2, 4, 8, 16, 32, 64, 128]),
        gbv.Rerandomisation(gbv.CompleteAllocation(TWO), covariates="x", threshold=1e-9),
        "Accept more",
    ),
    "units left over from pairs": (
        {"x": [1.0, 2.0, 3.0]},
        gbv.MatchedAllocation(TWO, covariates="x"),
        "would be left over",
    ),
    "too many to match": (
        {"x": list(range(400))},
        gbv.MatchedAllocation(TWO, covariates="x"),
        "up to 300",
    ),
    "one unit": ({"school": ["a", "a"]}, gbv.ClusterAllocation(TWO, cluster="school"), "single unit"),
    "a class": (8, gbv.CompleteAllocation, "declared scheme"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_does_not_fit_is_refused_without_values(name: str) -> None:
    data, scheme, text = REFUSED[name]
    with pytest.raises(gbv.GbvevalError, match=text) as caught:
        gbv.allocate(data, scheme, seed=1)
    for value in ("secret", "person-"):
        assert value not in str(caught.value)


def test_units_that_repeat_are_refused_without_their_names() -> None:
    with pytest.raises(gbv.DataError, match="repeat in 1 row") as caught:
        gbv.allocate({"id": ["ann", "bo", "ann"]}, gbv.CompleteAllocation(TWO), seed=1, unit="id")
    assert "ann" not in str(caught.value)


WRONG: list[tuple[Any, str]] = [
    (lambda: gbv.CompleteAllocation(("usual",)), "arms are 2 to 8"),
    (lambda: gbv.CompleteAllocation(("usual", "usual")), "arms are 2 to 8"),
    (lambda: gbv.CompleteAllocation("usual"), "arms are 2 to 8"),
    (lambda: gbv.CompleteAllocation(("all", "new")), "arms are 2 to 8"),
    (lambda: gbv.CompleteAllocation(TWO, shares=(0.5, 0.4)), "sum to one"),
    (lambda: gbv.CompleteAllocation(TWO, shares=(0.33, 0.33)), "sum to one"),
    (lambda: gbv.CompleteAllocation(TWO, shares={"usual": 0.5, "other": 0.5}), "one number for each"),
    (lambda: gbv.CompleteAllocation(TWO, shares=(0.5, 0.5), counts=(1, 1)), "not both"),
    (lambda: gbv.CompleteAllocation(TWO, counts=(1.5, 2)), "whole numbers"),
    (lambda: gbv.CompleteAllocation(TWO, misfits="global"), "misfits must be one of"),
    (lambda: gbv.StratifiedAllocation(TWO, stratum=[]), "at least 1"),
    (lambda: gbv.StratifiedAllocation(TWO, stratum="a", misfits=None), "misfits must be one of"),
    (lambda: gbv.BlockedAllocation(TWO, sizes=(4, 5)), "multiples of 2"),
    (lambda: gbv.BlockedAllocation(TWO, sizes=(4, 4)), "multiples of 2"),
    (lambda: gbv.Minimisation(TWO, factors="a", preferred=0.4), "preferred"),
    (lambda: gbv.Minimisation(TWO, factors="a", imbalance="sd"), "imbalance"),
    (lambda: gbv.Minimisation(TWO, factors=("a", "b"), weights=(1,)), "weights"),
    (lambda: gbv.Minimisation(TWO, factors="a").step([[[1, 2]]], [3]), "by factor, level and arm"),
    (lambda: gbv.MatchedAllocation(("a", "b", "c", "d"), covariates="x"), "pairs or triplets"),
    (lambda: gbv.Rerandomisation(gbv.SimpleAllocation(TWO), covariates="x"), "base must be"),
    (lambda: gbv.Rerandomisation(gbv.CompleteAllocation(TWO), covariates="x", accept=0.1, threshold=1), "not both"),
    (lambda: gbv.Rerandomisation(gbv.CompleteAllocation(TWO), covariates=(("x",), ("y",)), accept=0.1), "2 tiers"),
    (lambda: gbv.ConstrainedAllocation(gbv.CompleteAllocation(TWO), covariates="x", accept=1.2), "accept"),
    (lambda: gbv.SteppedWedgeAllocation(THREE, cluster="c", steps=3), "two arms"),
    (lambda: gbv.SaturationAllocation(TWO, cluster="c", saturations=(0.5,)), "ascending"),
    (lambda: gbv.SaturationAllocation(TWO, cluster="c", saturations=(0, 1.5)), "from 0 to 1"),
    (lambda: gbv.allocate(8, gbv.CompleteAllocation(TWO), seed=-1), "seed"),
    (lambda: gbv.allocate(8, gbv.CompleteAllocation(TWO), seed=1.5), "seed"),  # type: ignore[arg-type]
    (lambda: gbv.rerandomisation_gain(0.1, [1, 2]), "for each tier"),
]


@pytest.mark.parametrize("number", range(len(WRONG)))
def test_what_cannot_be_declared_is_refused(number: int) -> None:
    make, text = WRONG[number]
    with pytest.raises(gbv.DesignError, match=text):
        make()


# -- matching ---------------------------------------------------------------------------------------------------------


def divisions(units: list[int], size: int) -> list[list[tuple[int, ...]]]:
    if not units:
        return [[]]
    first, rest = units[0], units[1:]
    found = []
    for others in combinations(rest, size - 1):
        left = [u for u in rest if u not in others]
        found += [[(first, *others), *more] for more in divisions(left, size)]
    return found


def cost(groups: Any, gaps: np.ndarray) -> float:
    return float(sum(gaps[a, b] for group in groups for a, b in combinations(group, 2)))


@settings(deadline=None, max_examples=15)
@given(st.integers(0, 10**6), st.sampled_from([(6, 2), (8, 2), (10, 2), (6, 3), (9, 3)]))
def test_matching_is_the_best_of_all_divisions(seed: int, shape: tuple[int, int]) -> None:
    n, size = shape
    gaps = distances(np.random.default_rng(seed).normal(size=(n, 2)), "mahalanobis")
    best = min(cost(groups, gaps) for groups in divisions(list(range(n)), size))
    assert cost(match_groups(gaps, size), gaps) == pytest.approx(best, rel=1e-9)


def test_odd_rings_need_and_get_their_constraints() -> None:
    # Two triangles far apart: halves of their sides cost least and are no matching.
    points = np.array([[0, 0], [1, 0], [0.5, 0.9], [9, 0], [10, 0], [9.5, 0.9]])
    gaps = np.sqrt(((points[:, None] - points[None]) ** 2).sum(axis=2))
    best = min(cost(groups, gaps) for groups in divisions(list(range(6)), 2))
    assert cost(match_groups(gaps, 2), gaps) == pytest.approx(best)


def test_mahalanobis_distances_are_scipys() -> None:
    from scipy.spatial.distance import cdist

    x = np.random.default_rng(2).normal(size=(9, 3)) @ np.array([[2.0, 1, 0], [0, 1, 0.5], [0, 0, 3]])
    inverse = np.linalg.inv(np.cov(x, rowvar=False))
    assert np.allclose(distances(x, "mahalanobis"), cdist(x, x, "mahalanobis", VI=inverse), rtol=1e-9)


def test_matching_stays_inside_strata_and_clusters_are_averaged() -> None:
    table = {
        "school": [f"s{n // 2}" for n in range(16)],
        "town": ["a" if n < 8 else "b" for n in range(16)],
        "x": [1.0, 3.0, 9.0, 11.0, 2.0, 2.0, 10.0, 10.0] * 2,
    }
    scheme = gbv.MatchedAllocation(TWO, covariates="x", cluster="school", stratum="town")
    found = gbv.allocate(table, scheme, seed=1)
    matched = found.plan.note("matched")
    # Means are 2, 10, 2, 10 in each town.
    assert matched.groups == ((0, 2), (1, 3), (4, 6), (5, 7))
    assert matched.total == pytest.approx(0.0, abs=1e-12)
    assert found.n_allocations == 16
    assert found.matched_groups.tolist() == [0, 0, 1, 1, 0, 0, 1, 1, 2, 2, 3, 3, 2, 2, 3, 3]


def test_the_unit_left_over_is_the_cheapest_to_leave() -> None:
    scheme = gbv.MatchedAllocation(TWO, covariates="x", misfits="none")
    found = gbv.allocate({"x": [0.0, 50.0, 1.0, 9.0, 10.0]}, scheme, seed=1)
    assert found.plan.note("matched").groups == ((0, 2), (3, 4))
    assert found.label_of_unit[1] == -1
    assert found.assignments[1] is None
    assert sorted(found.label_of_unit.tolist()) == [-1, 0, 0, 1, 1]


# -- minimisation -----------------------------------------------------------------------------------------------------


def test_one_step_by_hand_with_unequal_ratio_and_weights() -> None:
    scheme = gbv.Minimisation(TWO, factors=("a", "b"), ratio=(1, 2), weights=(3, 1), preferred=0.8)
    step = scheme.step([[[2, 4], [0, 0]], [[1, 0], [5, 5]]], [0, 1])
    # Numbers over ratio: (2, 2) and (5, 2.5). Joining usual: 1 and 3.5; joining new: 0.5 and 2.
    assert step.imbalance == pytest.approx((3 * 1 + 3.5, 3 * 0.5 + 2))
    assert step.preferred == 1
    # 1 - (1 - p) (R - r_new) / (R - 1) = 1 - 0.2 * 1 / 2.
    assert step.probabilities == pytest.approx((0.1, 0.9))


def test_arms_preferred_in_the_ratio_are_given_in_the_ratio() -> None:
    scheme = gbv.Minimisation(THREE, factors="a", ratio=(1, 2, 3), preferred=0.7)
    given_ = scheme.plan(gbv.allocate({"a": ["x"] * 3}, scheme, seed=1).units).mechanism._given
    table = given_[0] / given_[1]
    assert np.array([1, 2, 3]) @ table == pytest.approx([1, 2, 3])
    assert table.sum(axis=1) == pytest.approx(1.0)


def test_minimisation_without_chance_keeps_factors_even() -> None:
    rng = np.random.default_rng(5)
    table = {"a": rng.integers(0, 3, 300), "b": rng.integers(0, 4, 300)}
    sure = gbv.allocate(table, gbv.Minimisation(TWO, factors=("a", "b"), preferred=1.0), seed=1)
    simple = gbv.allocate(table, gbv.SimpleAllocation(TWO), seed=1)

    def worst(found: gbv.Allocated) -> float:
        sides = 2 * found.label_of_unit - 1
        return max(abs(np.bincount(table[f], weights=sides)).max() for f in ("a", "b"))

    assert worst(sure) <= 4
    assert worst(simple) > 4


# -- restricted schemes -----------------------------------------------------------------------------------------------


def normals(n: int, k: int, seed: int = 3) -> tuple[dict[str, Any], list[str], np.ndarray]:
    x = np.random.default_rng(seed).normal(size=(n, k)) @ (np.eye(k) + 0.4)
    names = [f"x{j}" for j in range(k)]
    return dict(zip(names, x.T, strict=True)), names, x


def test_the_distance_is_morgan_and_rubins() -> None:
    table, names, x = normals(12, 3)
    table["arm"] = ["new"] * 5 + ["usual"] * 7
    scheme = gbv.Rerandomisation(gbv.CompleteAllocation(TWO, counts=(7, 5)), covariates=names)
    found = gbv.balance_score(table, scheme, arm="arm")
    d = x[:5].mean(axis=0) - x[5:].mean(axis=0)
    expected = 5 * 7 / 12 * d @ np.linalg.inv(np.cov(x, rowvar=False)) @ d
    assert found.score == pytest.approx(expected, rel=1e-10)


def test_with_three_arms_and_strata_the_mean_distance_is_its_degrees_of_freedom() -> None:
    # E[M] = rank of the covariance, exactly, over the allocations of any scheme.
    table, names, _ = normals(9, 2)
    table |= {"town": list("aaabbbbbb"), "arm": list(np.array(THREE)[[0, 1, 2] * 3])}
    scheme = gbv.Rerandomisation(gbv.StratifiedAllocation(THREE, stratum="town"), covariates=names)
    found = gbv.balance_score(table, scheme, arm="arm")
    assert found.exact
    assert found.n_allocations == 6 * 90
    assert found._scores.mean() == pytest.approx(4.0, rel=1e-9)


def test_rerandomisation_accepts_the_share_it_says_and_leaves_the_variance_it_says() -> None:
    table, names, x = normals(100, 3)
    scheme = gbv.Rerandomisation(gbv.CompleteAllocation(TWO), covariates=names, accept=0.1)
    found = gbv.allocate(table, scheme, seed=1)
    balance = found.plan.note("balance")
    assert not balance.exact
    # Normal limit with 100 units: the share within four of its errors, and one point for the limit.
    assert abs(balance.accepted - 0.1) < 4 * balance.accepted_mcse + 0.01
    codes = found.redraw(5_000, seed=1)
    free = gbv.allocate(table, gbv.CompleteAllocation(TWO), seed=1).redraw(5_000, seed=2)
    difference = [(2.0 * c.astype(float) - 1.0) @ x / 50 for c in (codes, free)]
    left = difference[0].var(axis=0) / difference[1].var(axis=0)
    # A ratio of variances of 5,000 draws each: standard error v * sqrt(4 / 5,000) = 3 %; four of them, and the limit.
    assert left == pytest.approx(np.full(3, balance.variance_left[0]), rel=0.15)


def test_tiers_are_orthogonal_and_multiply() -> None:
    table, names, x = normals(60, 3)
    tiers = ((names[0],), tuple(names[1:]))
    scheme = gbv.Rerandomisation(gbv.CompleteAllocation(TWO), covariates=tiers, accept=(0.1, 0.3))
    found = gbv.allocate(table, scheme, seed=1)
    balance = found.plan.note("balance")
    assert balance.threshold == pytest.approx((stats.chi2.ppf(0.1, 1), stats.chi2.ppf(0.3, 2)))
    assert abs(balance.accepted - 0.03) < 4 * balance.accepted_mcse + 0.005
    score = scheme.score(found.units, found.plan.mechanism.base)
    assert np.abs(score.totals[0].T @ score.totals[1]).max() < 1e-9
    # The distances of orthogonal tiers sum to the distance of all covariates together.
    whole = gbv.Rerandomisation(gbv.CompleteAllocation(TWO), covariates=names)
    together = whole.score(found.units, found.plan.mechanism.base)
    codes = found.redraw(200, seed=4)
    assert score(codes).sum(axis=1) == pytest.approx(together(codes)[:, 0], rel=1e-9)
    assert np.all(score(codes) <= np.array(balance.threshold) * (1 + 1e-8))
    assert x.shape == (60, 3)


def test_the_gain_of_tiers_is_that_of_each() -> None:
    both = gbv.rerandomisation_gain((0.1, 0.3), (1, 2), r_squared=(0.3, 0.2))
    one, two = gbv.rerandomisation_gain(0.1, 1), gbv.rerandomisation_gain(0.3, 2)
    assert both.variance_left == (one.variance_left[0], two.variance_left[0])
    assert both.accept == pytest.approx(0.03)
    expected = 0.3 * one.covariate_reduction[0] + 0.2 * two.covariate_reduction[0]
    assert both.estimate_reduction == pytest.approx(expected)


def test_constrained_allocation_is_the_best_share_by_hand() -> None:
    table, names, x = normals(8, 2)
    scheme = gbv.ConstrainedAllocation(gbv.CompleteAllocation(TWO), covariates=names, accept=0.25, weights=(2.0, 1.0))
    found = gbv.allocate(table, scheme, seed=1)
    sd = x.std(axis=0, ddof=1)
    scores = {}
    for treated in combinations(range(8), 4):
        z = np.isin(np.arange(8), treated)
        d = (x[z].mean(axis=0) - x[~z].mean(axis=0)) / sd
        scores[tuple(z.astype(int).tolist())] = 2.0 * d[0] ** 2 + d[1] ** 2
    limit = np.quantile(list(scores.values()), 0.25) * (1 + 1e-9)
    best = {z for z, score in scores.items() if score <= limit}
    assert {tuple(row.tolist()) for row in found.plan.mechanism.codes} == best
    assert tuple(found.label_of_unit.tolist()) in best
    together = [np.mean([z[i] == z[j] for z in best]) for i, j in combinations(range(8), 2)]
    pairs = found.pair_coincidence()
    assert (pairs.least, pairs.most) == pytest.approx((min(together), max(together)))
    assert pairs.n_pairs == 28


def test_a_restriction_that_ties_units_together_is_warned_of() -> None:
    # Two outliers: balance needs one in each arm, always.
    table = {"x": [0.0, 0.1, 0.2, 0.3, 0.1, 0.2, 100.0, 101.0]}
    scheme = gbv.ConstrainedAllocation(gbv.CompleteAllocation(TWO), covariates="x", accept=0.3)
    found = gbv.allocate(table, scheme, seed=1)
    assert found.pair_coincidence().n_never >= 1
    check = next(c for c in found.checks if c.name == "validity of the restriction")
    assert check.status == "warn"
    free = gbv.allocate(8, gbv.CompleteAllocation(TWO), seed=1)
    assert [c.status for c in free.checks] == ["ok"]
    assert free.pair_coincidence().least == pytest.approx(3 / 7, abs=0.03)


def test_too_few_allocations_are_warned_of() -> None:
    found = gbv.allocate({"x": [1.0, 2, 3, 4]}, gbv.MatchedAllocation(TWO, covariates="x"), seed=1)
    assert found.n_allocations == 4
    assert found.checks[0].status == "warn"


# -- other ------------------------------------------------------------------------------------------------------------


def test_rows_of_clusters_and_periods() -> None:
    table = {"clinic": list("bbaacc")}
    scheme = gbv.SteppedWedgeAllocation(TWO, cluster="clinic", steps=3, before=2, after=2)
    found = gbv.allocate(table, scheme, seed=1)
    assert found.arm_of.tolist() == [[0, 0, 1, 1, 1, 1], [0, 0, 0, 1, 1, 1], [0, 0, 0, 0, 1, 1]]
    assert found.arm_in(0).tolist() == ["usual"] * 6
    assert found.arm_in(5).tolist() == ["new"] * 6
    assert found.probability_of("new", 3).tolist() == pytest.approx([2 / 3] * 6)
    with pytest.raises(gbv.DesignError, match="6 periods"):
        found.arm_in(6)


def test_saturations_reach_their_shares() -> None:
    table = {"village": np.repeat(np.arange(6), 10)}
    scheme = gbv.SaturationAllocation(TWO, cluster="village", saturations=(0, 0.5, 1))
    found = gbv.allocate(table, scheme, seed=1)
    treated = (found.arm_in() == "new").reshape(6, 10).mean(axis=1)
    assert treated.tolist() == found.saturations.reshape(6, 10)[:, 0].tolist()
    assert sorted(treated.tolist()) == [0, 0, 0.5, 0.5, 1, 1]
    with pytest.raises(gbv.DesignError, match="SaturationAllocation"):
        _ = gbv.allocate(4, gbv.CompleteAllocation(TWO), seed=1).saturations


def test_large_numbers_of_allocations_have_a_logarithm() -> None:
    found = gbv.allocate(10_000, gbv.CompleteAllocation(TWO), seed=1)
    assert found.exact
    # Stirling: n log10 2 - log10(pi n / 2) / 2, with relative error 1 / (4 n) of the number.
    assert found.log10_allocations == pytest.approx(10_000 * np.log10(2) - np.log10(np.pi * 5_000) / 2, abs=1e-4)


def test_schemes_are_values() -> None:
    one = gbv.StratifiedAllocation(TWO, stratum="town", shares={"usual": 0.5, "new": 0.5})
    assert one == gbv.StratifiedAllocation(list(TWO), stratum=["town"], shares=[0.5, 0.5])  # type: ignore[arg-type]
    assert len({one, gbv.StratifiedAllocation(TWO, stratum="town")}) == 2
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert "'town'" in repr(one)


def test_the_repr_names_arms_and_numbers_and_no_unit() -> None:
    found = gbv.allocate(FRAME, golden()["strata"][0], seed=1, unit="id")
    assert "p7" not in repr(found)
    assert "24 units" in repr(found)


def test_the_number_of_allocations_is_estimated_where_it_cannot_be_listed() -> None:
    from gbveval.numerics.mechanism import simulated_number

    table = {"a": list("xyxxyxyyxyxy"), "b": list("uuvvuvuvvuuv")}
    scheme = gbv.Minimisation(TWO, factors=("a", "b"), preferred=1.0)
    found = gbv.allocate(table, scheme, seed=1)
    assert found.exact  # 12 units are listed
    estimate = simulated_number(found.plan.mechanism, Words("number"), 4_000)
    assert estimate is not None
    assert found.n_allocations is not None
    assert abs(estimate[0] - found.n_allocations) < stats.norm.isf(5e-5) * estimate[1] + 1
    many = gbv.allocate({"a": ["x", "y"] * 30, "b": ["u"] * 60}, scheme, seed=1)
    assert not many.exact
    assert many.n_allocations is not None
    assert many.n_allocations_mcse > 0


def test_what_can_be_foretold_is_told() -> None:
    def status(scheme: Any, table: Any) -> list[str]:
        return [c.status for c in gbv.allocate(table, scheme, seed=1).checks if c.name == "predictability"]

    assert status(gbv.BlockedAllocation(TWO, sizes=4), 40) == ["warn"]
    assert status(gbv.BlockedAllocation(TWO, sizes=(4, 6)), 40) == ["info"]
    factor = {"a": ["x", "y"] * 10}
    assert status(gbv.Minimisation(TWO, factors="a", preferred=1.0), factor) == ["warn"]
    assert status(gbv.Minimisation(TWO, factors="a"), factor) == []


def test_an_allocation_travels_to_another_process() -> None:
    import pickle

    table, names, _ = normals(40, 2)
    scheme = gbv.Rerandomisation(gbv.CompleteAllocation(TWO), covariates=names, accept=0.1)
    found = gbv.allocate(table, scheme, seed=1)
    back = pickle.loads(pickle.dumps(found))
    assert np.array_equal(back.redraw(20, seed=1), found.redraw(20, seed=1))
    assert back.digest == found.digest


def test_scores_need_every_arm_and_no_other() -> None:
    scheme = gbv.Rerandomisation(gbv.CompleteAllocation(TWO), covariates="x")
    table = {"x": [1.0, 2.0, 3.0, 5.0]}
    with pytest.raises(gbv.DataError, match="1 arm without a unit"):
        gbv.balance_score({**table, "arm": ["new"] * 4}, scheme, arm="arm")
    with pytest.raises(gbv.DataError, match="1 label unknown"):
        gbv.balance_score({**table, "arm": ["new", "usual", "newer", "new"]}, scheme, arm="arm")


@settings(deadline=None, max_examples=30)
@given(st.lists(st.text(max_size=4), min_size=2, max_size=12, unique=True))
def test_distinct_names_are_numbered_in_their_order(names: list[str]) -> None:
    from gbveval.data._frame import Reader

    found = Reader(pd.DataFrame({"id": pd.Series(names, dtype="str")}), "test").labels("id", "unit")
    assert list(found.levels) == sorted(names)
    assert [found.levels[code] for code in found.codes] == names


def test_candidates_that_do_not_fit_into_memory_are_refused() -> None:
    table = {"x": np.arange(20_000.0)}
    scheme = gbv.ConstrainedAllocation(gbv.CompleteAllocation(TWO), covariates="x")
    with pytest.raises(gbv.DesignError, match="fit into memory"):
        gbv.allocate(table, scheme, seed=1)
