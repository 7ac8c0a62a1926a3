"""Exposures in a network: every allocation of small graphs, written out by hand, and what is refused."""

from __future__ import annotations

import json
import pickle
import tracemalloc
from itertools import combinations, product
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

import gbveval as gbv
from gbveval.numerics.allocations import Scheme, enumerate_allocations
from gbveval.numerics.exposure import Exposures, exposure_codes, exposure_contrast
from gbveval.testing.spillover_processes import NetworkFrames

FloatArray = NDArray[np.float64]
Allocation = tuple[bool, ...]
# Eight units: a path of six with a chord, and two that know nobody.
PAIRS = [(0, 1), (1, 2), (2, 3), (3, 4), (4, 5), (1, 4)]
N = 8
BOTH, DIRECT, INDIRECT, NONE = 3, 2, 1, 0
CONTRASTS = {
    "direct and indirect vs none": (BOTH, NONE),
    "direct only vs none": (DIRECT, NONE),
    "indirect only vs none": (INDIRECT, NONE),
    "direct and indirect vs indirect only": (BOTH, INDIRECT),
}


def friends(unit: int, pairs: list[tuple[int, int]]) -> set[int]:
    return {b if a == unit else a for a, b in pairs if unit in (a, b)}


def exposure(allocation: Allocation, unit: int, pairs: list[tuple[int, int]], least: float = 0.0) -> int:
    mine = friends(unit, pairs)
    treated = sum(allocation[other] for other in mine)
    reached = treated >= 1 and treated >= least * len(mine)
    return 2 * allocation[unit] + reached


class World:
    """A set of allocations with probabilities, and everything that Aronow and Samii define, by loops."""

    def __init__(
        self, allocations: dict[Allocation, float], pairs: list[tuple[int, int]], n: int, least: float = 0.0
    ) -> None:
        total = sum(allocations.values())
        self.allocations = {z: p / total for z, p in allocations.items()}
        self.n = n
        self.of = {z: [exposure(z, i, pairs, least) for i in range(n)] for z in allocations}

    def one(self, i: int, k: int) -> float:
        return sum(p for z, p in self.allocations.items() if self.of[z][i] == k)

    def two(self, i: int, k: int, j: int, code: int) -> float:
        return sum(p for z, p in self.allocations.items() if self.of[z][i] == k and self.of[z][j] == code)

    def able(self, pair: tuple[int, int]) -> list[int]:
        return [i for i in range(self.n) if all(self.one(i, k) > 0 for k in pair)]

    def means(self, z: Allocation, y: FloatArray, pair: tuple[int, int], *, hajek: bool) -> list[float]:
        units = self.able(pair)
        found = []
        for k in pair:
            seen = [i for i in units if self.of[z][i] == k]
            mass = sum(1 / self.one(i, k) for i in seen) if hajek else len(units)
            found.append(sum(y[i] / self.one(i, k) for i in seen) / mass if seen else 0.0)
        return found

    def variance(self, z: Allocation, values: dict[int, FloatArray], pair: tuple[int, int]) -> float:
        """The estimator as the paper builds it: variances of both totals, their covariance, and the bounds of each."""
        units = self.able(pair)
        seen = {k: [i for i in units if self.of[z][i] == k] for k in pair}
        whole = 0.0
        for k in pair:
            y = values[k]
            for i in seen[k]:
                whole += (1 - self.one(i, k)) * (y[i] / self.one(i, k)) ** 2
                for j in units:
                    if j == i:
                        continue
                    together = self.two(i, k, j, k)
                    if together == 0:
                        # The pair comes up twice in the double sum, each time with half of each square.
                        whole += y[i] ** 2 / self.one(i, k)
                    elif j in seen[k]:
                        product_ = self.one(i, k) * self.one(j, k)
                        whole += (together - product_) / together * y[i] * y[j] / product_
        k, code = pair
        for i in units:
            for j in units:
                together = self.two(i, k, j, code)
                first, second = i in seen[k], j in seen[code]
                if together > 0 and first and second:
                    product_ = self.one(i, k) * self.one(j, code)
                    whole -= 2 * (together - product_) / together * values[k][i] * values[code][j] / product_
                elif together == 0:
                    whole += first * values[k][i] ** 2 / self.one(i, k)
                    whole += second * values[code][j] ** 2 / self.one(j, code)
        return whole / len(units) ** 2


def complete(n: int, treated: int) -> dict[Allocation, float]:
    return {tuple(i in chosen for i in range(n)): 1.0 for chosen in combinations(range(n), treated)}


def independent(p: FloatArray) -> dict[Allocation, float]:
    # Allocations without a treated or without an untreated unit are left out, as the library conditions on both.
    return {
        z: float(np.prod(np.where(z, p, 1 - p)))
        for z in product([False, True], repeat=p.size)
        if 0 < sum(z) < p.size
    }  # fmt: skip


UNEVEN = np.array([0.2, 0.5, 0.4, 0.3, 0.5, 0.25, 0.4, 0.6])
WORLDS = {
    "fixed numbers": World(complete(N, 3), PAIRS, N),
    "independent": World(independent(UNEVEN), PAIRS, N),
    "half of the neighbours": World(complete(N, 3), PAIRS, N, 0.5),
}


def counted(world: World) -> Exposures:
    weights = np.array(list(world.allocations.values()))
    even = np.ptp(weights) < 1e-15
    return Exposures(np.array(list(world.of.values()), dtype=np.int8), None if even else weights, None)


def trial(z: Allocation, y: FloatArray, pairs: list[tuple[int, int]] = PAIRS, **more: Any) -> gbv.Trial:
    frame = {"y": y, "arm": np.where(z, "new", "usual"), "id": [f"u{i}" for i in range(len(z))]}
    if "probability" in more:
        frame["p"] = more.pop("probability")
        more["probability"] = "p"
    network = {"a": [f"u{i}" for i, _ in pairs], "b": [f"u{j}" for _, j in pairs]}
    frame |= {name: more[name + "_"] for name in ("stratum", "cluster") if name + "_" in more}
    more = {name: value for name, value in more.items() if not name.endswith("_")}
    roles = {name: name for name in ("stratum", "cluster") if name in frame}
    return gbv.Trial(frame, outcome="y", arm="arm", control="usual", unit="id", network=network, **roles, **more)


def outcomes(seed: int, n: int = N) -> FloatArray:
    """What every unit's outcome would be under each exposure, shape (units, 4)."""
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, 1)) + 2.0 + rng.normal(size=(n, 4)) * 0.5 + np.array([0.0, 0.4, 0.8, 1.5])


@pytest.mark.parametrize("name", WORLDS)
@pytest.mark.parametrize("term", CONTRASTS)
def test_over_all_allocations_it_is_unbiased_and_its_variance_is_not_too_small(term: str, name: str) -> None:
    world, pair = WORLDS[name], CONTRASTS[term]
    y, exposures = outcomes(1), counted(WORLDS[name])
    units = np.array(world.able(pair))
    values, variances = [], []
    for z in world.allocations:
        seen = np.array(world.of[z], dtype=np.int8)
        shown = y[np.arange(N), seen]
        found = exposure_contrast(exposures, shown, seen, pair, units, hajek=False)
        values.append(found.value)
        variances.append(found.variance)
    weight = np.array(list(world.allocations.values()))
    truth = float((y[units, pair[0]] - y[units, pair[1]]).mean())
    # Sums over at most 254 allocations in double precision.
    assert weight @ np.array(values) == pytest.approx(truth, abs=1e-12)
    variance = float(weight @ (np.array(values) - truth) ** 2)
    assert weight @ np.array(variances) >= variance * (1 - 1e-12)
    # The bound is at work: some pairs are never seen together.
    assert any(world.two(i, k, j, code) == 0 for i in units for j in units for k in pair for code in pair if i != j)


@pytest.mark.parametrize("name", WORLDS)
@pytest.mark.parametrize("hajek", [False, True])
def test_estimate_and_variance_are_those_of_the_paper_written_as_loops(name: str, hajek: bool) -> None:
    world, exposures, y = WORLDS[name], counted(WORLDS[name]), outcomes(2)
    for z in list(world.allocations)[::17]:
        seen = np.array(world.of[z], dtype=np.int8)
        shown = y[np.arange(N), seen]
        for pair in CONTRASTS.values():
            units = world.able(pair)
            if not all(any(seen[i] == k for i in units) for k in pair):
                continue
            means = world.means(z, shown, pair, hajek=hajek)
            values = {k: shown.copy() for k in pair}
            if hajek:
                for k, mean in zip(pair, means, strict=True):
                    mass = sum(1 / world.one(i, k) for i in units if seen[i] == k)
                    values[k] = (shown - mean) * len(units) / mass
            found = exposure_contrast(exposures, shown, seen, pair, np.array(units), hajek=hajek)
            assert found.value == pytest.approx(means[0] - means[1], abs=1e-12)
            assert found.variance == pytest.approx(world.variance(z, values, pair), rel=1e-9, abs=1e-12)


@settings(max_examples=30, deadline=None)
@given(st.data())
def test_exposures_are_those_of_neighbours_counted_one_by_one(data: st.DataObject) -> None:
    n = data.draw(st.integers(2, 9))
    possible = [(i, j) for i in range(n) for j in range(i)]
    pairs = data.draw(st.lists(st.sampled_from(possible), unique=True, min_size=1))
    least = data.draw(st.sampled_from([0.0, 0.25, 1 / 3, 0.5, 0.6, 1.0]))
    z = tuple(data.draw(st.lists(st.booleans(), min_size=n, max_size=n)))
    if len(set(z)) < 2:
        return
    made = trial(z, np.zeros(n), pairs)
    assert made.network is not None
    found = exposure_codes(np.array([z], dtype=np.int8), made.network.adjacency(), least)[0]
    assert found.tolist() == [exposure(z, i, pairs, least) for i in range(n)]


# A treated unit without neighbours, one with, two that are reached, and others out of reach.
MADE = tuple(i in (0, 1, 6) for i in range(N))
# Twelve units, so that each exposure is seen in two of them: two copies of the small graph without its loners.
TWICE = [(a + 6 * k, b + 6 * k) for k in (0, 1) for a, b in PAIRS]


def twelve(z: set[int]) -> Allocation:
    return tuple(i in z for i in range(12))


def compare(world: World, made: gbv.Trial, z: Allocation, y: FloatArray, estimator: Any) -> int:
    """Compare every row that is defined with the loops; return how many there were."""
    found, rows = estimator.estimate(made), 0
    for term, pair in CONTRASTS.items():
        units, row = world.able(pair), found[term]
        assert row.n_units == len(units)
        counts = [sum(world.of[z][i] == k for i in units) for k in pair]
        assert [cell.n for cell in row.support] == counts
        if min(counts) < 2:
            assert row.value is None
            assert "fewer than two units" in row.reason
            continue
        hajek = estimator.weighting == "hajek"
        first, second = world.means(z, y, pair, hajek=hajek)
        assert row.value == pytest.approx(first - second, abs=1e-12)
        rows += 1
    return rows


def test_the_estimator_counts_probabilities_by_the_assignment_that_was_made() -> None:
    y = outcomes(3, 12)
    z = twelve({0, 1, 6, 9})
    strata = np.repeat(["north", "south"], 6)
    in_strata = {
        a + b: 1.0 for a, b in product(complete(6, 2), complete(6, 2))
    }  # fmt: skip
    pairs = [*TWICE, (0, 11)]
    of = World(in_strata, pairs, 12)
    shown = y[np.arange(12), of.of[z]]
    made = trial(z, shown, pairs, stratum_=strata)
    for weighting in ("hajek", "horvitz_thompson"):
        assert compare(of, made, z, shown, gbv.ExposureEffects(weighting=weighting)) >= 2
    # The same without strata has other probabilities.
    whole = World(complete(12, 4), pairs, 12)
    assert whole.one(0, NONE) != pytest.approx(of.one(0, NONE), abs=1e-3)
    compare(whole, trial(z, shown, pairs), z, shown, gbv.ExposureEffects())


def test_independent_draws_with_unequal_probabilities_and_clusters() -> None:
    p = np.tile([0.3, 0.5, 0.4, 0.6, 0.5, 0.35], 2)
    y = outcomes(4, 12)
    z = twelve({0, 1, 6, 9})
    world = World(independent(p), TWICE, 12)
    shown = y[np.arange(12), world.of[z]]
    made = trial(z, shown, TWICE, probability=p)
    assert compare(world, made, z, shown, gbv.ExposureEffects(weighting="horvitz_thompson")) >= 2
    # Couples that were assigned together.
    couples = {tuple(np.repeat(c, 2).tolist()): 1.0 for c in complete(6, 2)}
    of = World(couples, TWICE, 12)
    z = tuple(np.repeat([True, False, False, False, True, False], 2).tolist())
    shown = y[np.arange(12), of.of[z]]
    made = trial(z, shown, TWICE, cluster_=np.repeat(list("abcdef"), 2))
    assert compare(of, made, z, shown, gbv.ExposureEffects()) >= 2
    assert gbv.ExposureEffects().estimate(made)[0].n_clusters == len({i // 2 for i in of.able((BOTH, NONE))})


def test_people_without_neighbours_are_in_the_direct_row_only_and_that_is_said() -> None:
    z = tuple(i in (0, 1, 6, 9, 12, 13) for i in range(16))
    world = World(complete(16, 6), TWICE, 16)
    shown = outcomes(5, 16)[np.arange(16), world.of[z]]
    estimator = gbv.ExposureEffects(n_draws=8_008)
    made = trial(z, shown, TWICE)
    found = estimator.estimate(made)
    assert found["direct only vs none"].n_units == 16
    assert found["indirect only vs none"].n_units == 12
    check = found.check("population y")
    assert "of 16 units with an outcome some could not be" in check.message
    assert "indirect only vs none: 4" in check.message
    assert "direct only vs none: " not in check.message.replace("indirect only vs none: ", "")
    assert "4" not in check.public
    assert "4 of 16 units have no neighbour" in found.check("no neighbour").message
    assert compare(world, made, z, shown, estimator) >= 3


def test_missing_outcomes_leave_the_population_and_not_the_network() -> None:
    z = twelve({0, 1, 6, 9})
    world = World(complete(12, 4), TWICE, 12)
    y = outcomes(6, 12)[np.arange(12), world.of[z]]
    gone = np.array([i in (1, 8) for i in range(12)])
    found = gbv.ExposureEffects().estimate(trial(z, np.where(gone, np.nan, y), TWICE))
    # Unit 1 has no outcome and reaches its neighbours all the same.
    pair = CONTRASTS["indirect only vs none"]
    seen = [[i for i in range(12) if world.of[z][i] == k and not gone[i]] for k in pair]
    means = []
    for k, members in zip(pair, seen, strict=True):
        weight = np.array([1 / world.one(i, k) for i in members])
        means.append(float(weight @ y[members] / weight.sum()))
    assert found["indirect only vs none"].value == pytest.approx(means[0] - means[1], abs=1e-12)
    assert found["indirect only vs none"].n_units == 10
    assert "is missing for" in found.check("missing outcome").message


def test_order_and_names_do_not_matter_where_allocations_are_listed() -> None:
    z = twelve({0, 1, 6, 9})
    y = outcomes(7, 12)[:, 0]
    plain = gbv.ExposureEffects().estimate(trial(z, y, TWICE))
    order = np.random.default_rng(8).permutation(12)
    names = [f"z{5 * i % 12:02d}" for i in range(12)]
    frame = {"y": y[order], "arm": np.where(z, "new", "usual")[order], "id": [names[i] for i in order]}
    network = {"a": [names[j] for _, j in TWICE[::-1]], "b": [names[i] for i, _ in TWICE[::-1]]}
    made = gbv.Trial(frame, outcome="y", arm="arm", control="usual", unit="id", network=network)
    again = gbv.ExposureEffects().estimate(made)
    np.testing.assert_allclose(again.values, plain.values, rtol=1e-10)
    np.testing.assert_allclose(again.std_errors, plain.std_errors, rtol=1e-10)
    assert plain.provenance.seed is None


def test_drawn_probabilities_give_the_listed_answer_up_to_their_noise() -> None:
    frames = NetworkFrames(n=15, share=0.4)
    frame, _ = frames.frame(np.random.default_rng(9))
    made = frames.check(frame)
    # C(15, 6) is 5,005.
    exact = gbv.ExposureEffects(n_draws=5_005).estimate(made)
    drawn = gbv.ExposureEffects(n_draws=5_004).estimate(made)
    assert exact.provenance.seed is None
    assert drawn.provenance.seed is not None
    assert drawn.provenance.seed_derived
    assert "all 5,005 allocations listed" in exact.method.assumptions[0]
    assert "5,004 drawn of 5,005 allocations, and the one made" in drawn.method.assumptions[0]
    # Each probability is above 0.05, so 5,004 draws leave it uncertain by 6 % at most; a mean of several by less.
    np.testing.assert_allclose(drawn.values, exact.values, atol=0.06 * float(np.abs(frame["y"]).max()))
    defined = np.isfinite(exact.std_errors)
    np.testing.assert_allclose(drawn.std_errors[defined], exact.std_errors[defined], rtol=0.2)


def test_over_draws_the_inverse_of_a_drawn_probability_has_the_mean_that_was_derived() -> None:
    # 18,564 allocations of 18 units; 99 draws a time.
    frames = NetworkFrames(n=18, share=1 / 3)
    frame, _ = frames.frame(np.random.default_rng(10))
    made = frames.check(frame)
    exact = gbv.ExposureEffects(weighting="horvitz_thompson", n_draws=18_564).estimate(made)
    estimator = gbv.ExposureEffects(weighting="horvitz_thompson", n_draws=99)
    table = np.array([estimator.estimate(made, rng=np.random.default_rng(seed)).values for seed in range(300)])
    spread = table.std(axis=0, ddof=1) / np.sqrt(len(table))
    # With pi above 0.1, 1 - (1 - pi)^100 is one to four digits; five Monte Carlo errors for four rows.
    assert np.all(np.abs(table.mean(axis=0) - exact.values) < 5 * spread + 1e-4)


def test_pairs_that_few_draws_do_not_show_are_not_taken_for_impossible() -> None:
    # Treated and reached accounts meet in one of 199 draws on average, so many pairs are never seen; next ones exclude
    # each other. Bounding every pair that was not drawn gives 3.6 times the variance of the first row.
    frames = NetworkFrames(n=150, share=0.2)
    frame, _ = frames.frame(np.random.default_rng(16))
    made = frames.check(frame)
    many = np.diag(gbv.ExposureEffects(n_draws=4_999).estimate(made).covariance)
    few = np.array(
        [
            np.diag(gbv.ExposureEffects(n_draws=199).estimate(made, rng=np.random.default_rng(seed)).covariance)
            for seed in range(10)
        ]
    )
    ratio = np.nanmean(few, axis=0) / many
    assert np.all((ratio > 0.4) & (ratio < 1.6))


@pytest.mark.parametrize("weighting", ["hajek", "horvitz_thompson"])
def test_the_uncertainty_that_draws_leave_in_standard_errors_is_told_about_right(weighting: str) -> None:
    frames = NetworkFrames(n=150, share=0.25)
    frame, _ = frames.frame(np.random.default_rng(17))
    made = frames.check(frame)
    estimator = gbv.ExposureEffects(n_draws=4_999, weighting=weighting)
    results = [estimator.estimate(made, rng=np.random.default_rng(seed)) for seed in range(20)]
    errors = np.array([found.std_errors for found in results])
    found = float((errors.std(axis=0, ddof=1) / errors.mean(axis=0)).max())
    message = results[0].check("draws").message
    told = float(message.split("up to about ")[1].split(" %")[0]) / 100
    # A rule of thumb, whose own check with twenty runs has an error of 16 %.
    assert 0.5 < told / found < 2.5


def test_recorded_allocations_stand_in_for_any_way_of_assigning() -> None:
    z = twelve({0, 1, 6, 9})
    y = outcomes(11, 12)[:, 0]
    everything = np.array(list(complete(12, 4)), dtype=int)
    made = trial(z, y, TWICE)
    listed = gbv.ExposureEffects(weighting="horvitz_thompson").estimate(made)
    recorded = gbv.ExposureEffects(
        weighting="horvitz_thompson", assignment=gbv.RecordedAllocations(everything)
    ).estimate(made)
    assert "recorded" in recorded.method.assumptions[0]
    # The one that was made counts once more: (496 pi + 1) / 496 for 495 allocations.
    np.testing.assert_allclose(recorded.values, listed.values, rtol=0.05)


def test_memory_stays_below_one_matrix_of_all_pairs() -> None:
    frames = NetworkFrames(n=4_000, share=0.3)
    frame, _ = frames.frame(np.random.default_rng(12))
    made = frames.check(frame)
    estimator = gbv.ExposureEffects(n_draws=199)
    tracemalloc.start()
    found = estimator.estimate(made)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    # One matrix of all pairs in double precision has 128 MB.
    assert peak < 8 * 4_000**2
    assert found["indirect only vs none"].std_error == pytest.approx(0.02, abs=0.02)


def test_rare_exposures_are_told() -> None:
    frames = NetworkFrames(n=90, share=0.45, reach=2)
    frame, _ = frames.frame(np.random.default_rng(13))
    found = gbv.ExposureEffects(n_draws=999).estimate(frames.check(frame))
    check = found.check("small probabilities")
    assert check.status == "warn"
    assert "below 0.05" in check.message
    assert "people" not in check.public
    assert found.check("draws").status == "warn"


def test_what_does_not_fit_is_refused_by_name() -> None:
    z, y = twelve({0, 1, 6, 9}), outcomes(14, 12)[:, 0]
    estimator = gbv.ExposureEffects()
    plain = {"y": y, "arm": np.where(z, "new", "usual"), "village": np.arange(12) % 4}
    with pytest.raises(gbv.DesignError, match="guesses it from nothing"):
        estimator.estimate(gbv.Trial(plain, outcome="y", arm="arm", control="usual"))
    arms = np.where(z, "new", "usual").astype(object)
    arms[0] = "other"
    network = {"a": ["0"], "b": ["1"]}
    three = {"y": y, "arm": arms, "id": np.arange(12)}
    with pytest.raises(gbv.DesignError, match="two arms; the trial has 3"):
        estimator.estimate(gbv.Trial(three, outcome="y", arm="arm", control="usual", unit="id", network=network))
    weighted = {**plain, "id": np.arange(12), "w": np.ones(12)}
    with pytest.raises(gbv.DesignError, match="not by the role weight"):
        estimator.estimate(
            gbv.Trial(weighted, outcome="y", arm="arm", control="usual", unit="id", network=network, weight="w")
        )
    alone = trial((True, False, False, False), y[:4], [(0, 1), (2, 3)])
    with pytest.raises(gbv.IdentificationError, match="In no row were two units"):
        estimator.estimate(alone)
    ring = NetworkFrames().check(NetworkFrames().frame(np.random.default_rng(1))[0])
    with pytest.raises(gbv.DesignError, match="do not fit into memory"):
        gbv.ExposureEffects(n_draws=40_000_000).estimate(ring)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"weighting": "none"}, "weighting must be one of"),
        ({"least_share": 50.0}, "least_share is a share"),
        ({"n_draws": 10}, "n_draws must be at least 99"),
        ({"assignment": "by hand"}, "assignment must be one of"),
    ],
)
def test_options_that_do_not_exist_are_refused(options: dict[str, Any], says: str) -> None:
    with pytest.raises(gbv.DesignError, match=says):
        gbv.ExposureEffects(**options)


def test_identifiers_are_in_no_result() -> None:
    z, y = twelve({0, 1, 6, 9}), outcomes(15, 12)[:, 0]
    found = gbv.ExposureEffects().estimate(trial(z, y, TWICE))
    for text in (found.to_json(), pickle.dumps(found).decode("latin-1"), found.summary(), found._repr_html_()):
        assert not any(f"u{i}" in json.dumps(text).replace("\\u", "") for i in (10, 11))


def test_weights_of_listed_independent_draws_are_those_of_the_library() -> None:
    # The loops above and the library leave out the same allocations: those without both arms.
    scheme = Scheme(np.array(MADE, dtype=np.int8), 2, np.zeros(N, dtype=np.intp), np.column_stack([1 - UNEVEN, UNEVEN]))
    listed = {
        tuple(row.astype(bool).tolist()): w
        for codes, weight in enumerate_allocations(scheme)
        for row, w in zip(codes, weight, strict=True)
    }
    assert listed.keys() == independent(UNEVEN).keys()
    for z, w in independent(UNEVEN).items():
        assert listed[z] == pytest.approx(w, rel=1e-12)
