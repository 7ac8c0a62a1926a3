"""Randomisation tests of trials that declare their allocation: the scheme is run again, and its size is right."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from typing import Any, ClassVar

import numpy as np
import pytest
from scipy import stats

import gbveval as gbv
from gbveval.design.allocation import restricted

TWO = ("usual", "new")
AGES = [19.0, 22.0, 25.0, 31.0, 38.0, 44.0, 47.0, 59.0]


@dataclass(frozen=True)
class Fixed:
    """A scheme whose draw is set, for going through every allocation that it could have given."""

    found: gbv.Allocated
    codes: Any

    def allocated(self) -> gbv.Allocated:
        from dataclasses import replace

        return replace(self.found, label_of_unit=np.asarray(self.codes, dtype=np.int8))


def all_of(found: gbv.Allocated) -> np.ndarray:
    """Return every allocation of a scheme, each once."""
    return np.unique(found.redraw(20_000, seed=1), axis=0)


def difference(**options: Any) -> gbv.RandomisationInference:
    return gbv.RandomisationInference(statistic="difference", alternative="greater", **options)


def p_values(found: gbv.Allocated, y: np.ndarray, **roles: Any) -> np.ndarray:
    """Return the p-value of no effect for every allocation that could have been, with outcomes that it changes not."""
    out = []
    for codes in all_of(found):
        one = Fixed(found, codes).allocated()
        frame = {"y": y, "arm": one.arm_in(), "row": [f"u{n:02d}" for n in range(y.size)]}
        trial = gbv.Trial(frame, outcome="y", arm="arm", control=TWO[0], allocation=one, **roles)
        out.append(difference().estimate(trial)[0].p_value)
    return np.array(out)


def assert_exact(p: np.ndarray) -> None:
    """Check that p-values of equally likely allocations, all of different statistics, are 1/m, 2/m, ..., 1."""
    assert np.sort(p) == pytest.approx((1 + np.arange(p.size)) / p.size, abs=1e-12)


OUTCOME = 0.3 * np.array(AGES) + np.random.default_rng(4).normal(size=8)


@pytest.mark.parametrize("kind", ["rerandomised", "constrained"])
def test_the_test_of_a_restricted_scheme_has_its_size_exactly(kind: str) -> None:
    base = gbv.CompleteAllocation(TWO)
    scheme = (
        gbv.Rerandomisation(base, covariates="age", accept=0.3)
        if kind == "rerandomised"
        else gbv.ConstrainedAllocation(base, covariates="age", accept=0.3)
    )
    found = gbv.allocate({"age": AGES}, scheme, seed=1)
    assert found.exact
    p = p_values(found, OUTCOME)
    assert p.size == found.n_allocations
    assert_exact(p)


def test_permuting_freely_after_rerandomisation_is_wrong() -> None:
    scheme = gbv.Rerandomisation(gbv.CompleteAllocation(TWO), covariates="age", accept=0.3)
    found = gbv.allocate({"age": AGES}, scheme, seed=1)
    naive = []
    for codes in all_of(found):
        one = Fixed(found, codes).allocated()
        frame = {"y": OUTCOME, "arm": one.arm_in()}
        trial = gbv.Trial(frame, outcome="y", arm="arm", control=TWO[0], allocation=one)
        naive.append(difference(assignment="complete").estimate(trial)[0].p_value)
    # The outcome follows the covariate, so balanced allocations are never extreme among all: the test cannot reject.
    assert min(naive) > 0.1
    assert found.n_allocations is not None
    assert found.n_allocations >= 20


def test_rerandomisation_that_is_not_listed_is_drawn_by_its_rule(monkeypatch: pytest.MonkeyPatch) -> None:
    scheme = gbv.Rerandomisation(gbv.CompleteAllocation(TWO), covariates="age", accept=0.3)
    listed = gbv.allocate({"age": AGES}, scheme, seed=1)
    exact = difference().estimate(trial_of(listed, OUTCOME))[0].p_value
    monkeypatch.setattr(restricted, "MOST_LISTED", 0)
    drawn = gbv.allocate({"age": AGES}, scheme, seed=1)
    drawn = Fixed(drawn, listed.label_of_unit).allocated()
    answer = difference().estimate(trial_of(drawn, OUTCOME))
    assert exact is not None
    # 9,999 draws: four standard errors.
    assert answer[0].p_value == pytest.approx(exact, abs=4 * np.sqrt(exact * (1 - exact) / 9_999) + 1e-4)
    said = answer.check("allocations").message
    assert "declared scheme run again" in said
    assert f"9,999 drawn of {drawn.n_allocations}" in said
    with pytest.raises(gbv.DesignError, match="not listed"):
        difference(distribution="exact").estimate(trial_of(drawn, OUTCOME))


def trial_of(found: gbv.Allocated, y: Any, **roles: Any) -> gbv.Trial:
    frame = {"y": y, "arm": found.arm_in()}
    return gbv.Trial(frame, outcome="y", arm="arm", control=TWO[0], allocation=found, **roles)


def test_minimisation_has_its_size_by_its_own_probabilities() -> None:
    table = {"age": list("yyoyoyoo"), "site": list("ssrrsrsr")}
    found = gbv.allocate(table, gbv.Minimisation(TWO, factors=("age", "site")), seed=1)
    codes, weight = found.plan.mechanism.listed(1_000)
    y = np.random.default_rng(8).normal(size=8)
    usable = np.isin(codes.sum(axis=1), range(1, 8))
    codes, weight = codes[usable], weight[usable]
    p = []
    for row in codes:
        one = Fixed(found, row).allocated()
        p.append(difference(distribution="exact").estimate(trial_of(one, y))[0].p_value)
    # Allocations with an empty arm count as extreme, so the test is exact but for them; P(p <= a) <= a at every a.
    order = np.argsort(p)
    reached = np.cumsum(weight[order])
    assert np.all(reached <= np.array(p)[order] + 1e-9)
    empty = 1.0 - weight.sum()
    assert np.all(reached + empty >= np.array(p)[order] - 1e-9)


def test_random_blocks_are_drawn_again() -> None:
    rng = np.random.default_rng(2)
    scheme = gbv.BlockedAllocation(TWO, sizes=(2, 4))
    y = rng.normal(size=8)
    n, level = 400, 0.2
    hits = 0
    for seed in range(n):
        found = gbv.allocate(8, scheme, seed=seed)
        answer = difference(distribution="monte_carlo", n_draws=199).estimate(trial_of(found, y), rng=rng)
        hits += answer[0].p_value <= level
    # Level 0.2 is 40 / 200, so the size is 0.2 but for ties, which only lower it.
    assert stats.binom.sf(hits - 1, n, level) > 1e-4
    assert stats.binom.cdf(hits, n, level - 0.05) > 1e-4


def test_a_stepped_wedge_permutes_its_declared_sequences_exactly() -> None:
    scheme = gbv.SteppedWedgeAllocation(TWO, cluster="clinic", steps=2)
    clinics = [f"c{g}" for g in range(6)]
    found = gbv.allocate({"clinic": clinics}, scheme, seed=1)
    rng = np.random.default_rng(5)
    level = np.round(rng.normal(size=(6, 3)), 3)
    p = []
    for codes in all_of(found):
        one = Fixed(found, codes).allocated()
        rows = [(g, t) for g in range(6) for t in range(3)]
        frame = {
            "y": [level[g, t] for g, t in rows],
            "arm": [TWO[one.arm_of[codes[g], t]] for g, t in rows],
            "clinic": [clinics[g] for g, _ in rows],
            "month": [t for _, t in rows],
        }
        trial = gbv.Trial(frame, outcome="y", arm="arm", control=TWO[0], cluster="clinic", time="month", allocation=one)
        answer = gbv.RandomisationInference(MiddlePeriod(), statistic="difference", alternative="greater").estimate(
            trial
        )
        p.append(answer[0].p_value)
        assert "sequences of clusters" in answer.check("allocations").message
    assert found.n_allocations == 20
    assert_exact(np.array(p))


@dataclass(frozen=True)
class MiddlePeriod:
    """The difference in means in the one period in which both arms have clusters."""

    name: ClassVar[str] = "middle_period"

    def estimate(self, data: gbv.Trial, *, rng: Any = None) -> gbv.Estimates:
        assert data.time is not None
        from gbveval.estimators._trials import subset

        part = subset(data, data.time.codes == 1)
        from gbveval.estimators._trials import changed

        return gbv.DifferenceInMeans().estimate(changed(part, cluster=None, time=None, allocation=None))


def test_clusters_in_strata_give_the_same_as_the_roles() -> None:
    rng = np.random.default_rng(6)
    school = np.repeat([f"s{g}" for g in range(10)], 5)
    town = np.repeat(["a"] * 4 + ["b"] * 6, 5)
    scheme = gbv.ClusterAllocation(TWO, cluster="school", stratum="town")
    found = gbv.allocate({"school": school, "town": town}, scheme, seed=3)
    frame = {"y": rng.normal(size=50), "arm": found.arm_in(), "school": school, "town": town}
    roles: dict[str, Any] = {"outcome": "y", "arm": "arm", "control": TWO[0], "cluster": "school", "stratum": "town"}
    declared = gbv.RandomisationInference().estimate(gbv.Trial(frame, allocation=found, **roles))
    plain = gbv.RandomisationInference().estimate(gbv.Trial(frame, **roles))
    assert declared[0].p_value == pytest.approx(plain[0].p_value, abs=1e-12)
    assert declared[0].interval == pytest.approx(plain[0].interval, rel=1e-9)


def test_arms_in_another_order_and_missing_outcomes() -> None:
    arms = ("usual", "zine", "app")
    found = gbv.allocate({"id": list("hgfedcba")}, gbv.CompleteAllocation(arms, counts=(4, 2, 2)), seed=2, unit="id")
    rng = np.random.default_rng(7)
    y = rng.normal(size=8)
    y[3] = np.nan
    frame = {"id": list("hgfedcba"), "y": y, "arm": found.arm_in()}
    trial = gbv.Trial(frame, outcome="y", arm="arm", control="usual", unit="id", allocation=found)
    assert trial.arms == ("usual", "app", "zine")
    answer = gbv.RandomisationInference(statistic="difference", alternative="greater").estimate(trial)
    row = answer["zine vs usual"]
    arm = np.array(found.arm_in())
    seen = ~np.isnan(y)
    own = y[seen & (arm == "zine")].mean() - y[seen & (arm == "usual")].mean()
    values = []
    for usual in combinations(range(8), 4):
        left = [u for u in range(8) if u not in usual]
        for zine in combinations(left, 2):
            known = [np.array([y[u] for u in units if seen[u]]) for units in (usual, zine)]
            values.append(known[1].mean() - known[0].mean() if known[1].size and known[0].size else np.inf)
    assert row.p_value == pytest.approx(np.mean(np.array(values) >= own - 1e-12), abs=1e-12)


def test_people_who_were_left_unassigned_are_not_in_the_trial() -> None:
    found = gbv.allocate(9, gbv.CompleteAllocation(TWO, misfits="none"), seed=1)
    rng = np.random.default_rng(9)
    trial = gbv.Trial(
        {"y": rng.normal(size=9), "arm": found.arm_in()}, outcome="y", arm="arm", control=TWO[0], allocation=found
    )
    assert trial.n == 8
    answer = difference().estimate(trial)
    # Given who is left out, the others are permuted: 70 allocations.
    assert dict(answer[0].extra)["n_allocations"] == 70


def test_rows_may_be_shuffled_and_lost_where_units_have_names() -> None:
    table = {"id": [f"u{n}" for n in range(8)], "age": AGES}
    scheme = gbv.Rerandomisation(gbv.CompleteAllocation(TWO), covariates="age", accept=0.3)
    found = gbv.allocate(table, scheme, seed=1, unit="id")
    arm = dict(zip(table["id"], found.arm_in(), strict=True))
    whole = {"id": table["id"], "y": OUTCOME, "arm": [arm[u] for u in table["id"]]}
    order = [5, 2, 7, 0, 1, 6, 3, 4]
    shuffled = {name: [values[i] for i in order] for name, values in whole.items()}

    def p(frame: dict[str, Any]) -> Any:
        trial = gbv.Trial(frame, outcome="y", arm="arm", control=TWO[0], unit="id", allocation=found)
        return difference().estimate(trial)[0].p_value

    assert p(whole) == pytest.approx(p(shuffled), abs=1e-12)
    lost = {name: [values[i] for i in order[:7]] for name, values in whole.items()}
    missing = {**whole, "y": [y if u != "u4" else None for u, y in zip(table["id"], OUTCOME, strict=True)]}
    assert p(lost) == pytest.approx(p(missing), abs=1e-12)


def test_westfall_young_and_balance_take_the_scheme_too() -> None:
    scheme = gbv.Rerandomisation(gbv.CompleteAllocation(TWO), covariates="age", accept=0.3)
    found = gbv.allocate({"age": AGES}, scheme, seed=1)
    frame = {"y": OUTCOME, "z": OUTCOME[::-1].copy(), "age": AGES, "arm": found.arm_in()}
    trial = gbv.Trial(frame, outcome=("y", "z"), arm="arm", control=TWO[0], characteristics=["age"], allocation=found)
    assert len(gbv.WestfallYoung().estimate(trial)) >= 2
    # The distance of the allocation made, among those accepted.
    table = gbv.balance(trial)
    codes = found.plan.mechanism.codes
    score = scheme.score(found.units, gbv.CompleteAllocation(TWO).plan(found.units).mechanism)
    own = score(found.label_of_unit[None, :])[0, 0]
    share = float((score(codes)[:, 0] >= own * (1 - 1e-9)).mean())
    assert [p for p in table.column("p_value") if p is not None][-1] == pytest.approx(share, abs=1e-9)


REFUSED: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "another arm": ({"swap": True}, {}, "2 rows are in another arm than was allocated"),
    "fewer rows without names": ({"rows": 7}, {}, "cannot be matched"),
    "other arms": ({"rename": True}, {}, "The arms of the allocation"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_trial_that_is_not_the_allocation_is_refused(name: str) -> None:
    change, roles, text = REFUSED[name]
    found = gbv.allocate(8, gbv.CompleteAllocation(TWO), seed=1)
    arm = list(found.arm_in())
    if change.get("swap"):
        a, b = arm.index("usual"), arm.index("new")
        arm[a], arm[b] = arm[b], arm[a]
    if change.get("rename"):
        arm = [{"usual": "usual", "new": "newer"}[x] for x in arm]
    rows = change.get("rows", 8)
    with pytest.raises(gbv.DataError, match=text):
        gbv.Trial(
            {"y": list(range(rows)), "arm": arm[:rows]},
            outcome="y",
            arm="arm",
            control="usual",
            allocation=found,
            **roles,
        )


def test_names_roles_and_clusters_must_fit() -> None:
    table = {"id": list("abcdefgh"), "school": list("ssttuuvv")}
    people = gbv.allocate(table, gbv.CompleteAllocation(TWO), seed=1, unit="id")
    clusters = gbv.allocate(table, gbv.ClusterAllocation(TWO, cluster="school"), seed=1)
    frame = {**table, "y": list(range(8)), "arm": people.arm_in()}
    roles: dict[str, Any] = {"outcome": "y", "arm": "arm", "control": TWO[0]}
    with pytest.raises(gbv.DataError, match="role unit"):
        gbv.Trial(frame, allocation=people, **roles)
    grouped = {**frame, "arm": clusters.arm_in()}
    with pytest.raises(gbv.DataError, match="role cluster"):
        gbv.Trial(grouped, allocation=clusters, **roles)
    with pytest.raises(gbv.DataError, match="no units of the allocation"):
        gbv.Trial({**frame, "id": list("abcdefgz")}, unit="id", allocation=people, **roles)
    with pytest.raises(gbv.DataError, match="allocate returned"):
        gbv.Trial(frame, allocation="complete", **roles)
    assert gbv.Trial(grouped, cluster="school", allocation=clusters, **roles).allocation is clusters


def test_the_digest_of_a_trial_takes_the_allocation_in_and_is_the_old_one_without() -> None:
    found = gbv.allocate(8, gbv.CompleteAllocation(TWO), seed=1)
    frame = {"y": list(range(8)), "arm": found.arm_in()}
    roles: dict[str, Any] = {"outcome": "y", "arm": "arm", "control": TWO[0]}
    assert gbv.Trial(frame, **roles).digest != gbv.Trial(frame, allocation=found, **roles).digest
