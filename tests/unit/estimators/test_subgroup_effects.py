"""Effects by subgroup: against other estimators, closed forms, the exact hierarchy of sites, and simulation."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats

import gbveval as gbv
from gbveval.core.method import Cell
from gbveval.core.posterior import PartialPosterior
from gbveval.core.replicate import binomial_band

ROLES: dict[str, Any] = {"outcome": "y", "arm": "arm", "control": "usual", "subgroup": "group"}
SAME = "the effect is the same in every subgroup"


def people(seed: int = 1, n: int = 240, effects: tuple[float, ...] = (0.0, 0.5, 1.0)) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    new = np.arange(n) % 2 == 1
    group = rng.permutation(np.arange(n) % len(effects))
    y = 0.3 * group + np.array(effects)[group] * new + rng.normal(size=n) * (1 + 0.5 * group)
    return {
        "y": y,
        "arm": np.where(new, "new", "usual"),
        "group": np.array([f"g{i}" for i in range(len(effects))])[group],
        "x": rng.normal(size=n) + 0.5 * y,
        "stratum": rng.permutation(np.arange(n) % 4),
    }


def in_clusters(seed: int = 2, clusters: int = 16, size: int = 30) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    member = np.repeat(np.arange(clusters), size)
    frame = people(seed, clusters * size)
    new = member % 2 == 1
    y = np.asarray(frame["y"]) + 0.6 * rng.normal(size=clusters)[member]
    return {**frame, "y": y, "arm": np.where(new, "new", "usual"), "school": member}


def plain_rows(answer: gbv.Estimates) -> list[int]:
    return [i for i, row in enumerate(answer.terms) if row.extra and not row.term.endswith("shrunken")]


def part(frame: dict[str, Any], keep: np.ndarray) -> dict[str, Any]:
    return {name: np.asarray(column)[keep] for name, column in frame.items()}


def test_a_saturated_model_is_the_difference_in_each_subgroup() -> None:
    frame = people()
    answer = gbv.SubgroupEffects().estimate(gbv.Trial(frame, **ROLES))
    for i in plain_rows(answer):
        row = answer.terms[i]
        own = part(frame, np.asarray(frame["group"]) == dict(row.extra)["subgroup"])
        alone = gbv.DifferenceInMeans().estimate(gbv.Trial(own, outcome="y", arm="arm", control="usual"))[0]
        assert row.value == pytest.approx(alone.value, rel=1e-10)
        # HC2 of means of two arms is Neyman's variance.
        assert row.std_error == pytest.approx(alone.std_error, rel=1e-10)
        assert row.n_units == alone.n_units


def test_clusters_cluster_and_their_subgroups_covary() -> None:
    frame = in_clusters()
    answer = gbv.SubgroupEffects().estimate(gbv.Trial(frame, cluster="school", **ROLES))
    rows = plain_rows(answer)
    for i in rows:
        row = answer.terms[i]
        own = part(frame, np.asarray(frame["group"]) == dict(row.extra)["subgroup"])
        trial = gbv.Trial(own, outcome="y", arm="arm", control="usual", cluster="school")
        alone = gbv.Ancova().estimate(trial)[0]
        # The means of a subgroup's cluster members; CR2 of the joint fit adjusts whole clusters, so errors are close.
        assert row.value == pytest.approx(alone.value, rel=1e-9)
        assert row.std_error == pytest.approx(alone.std_error, rel=0.05)
        assert row.df <= 14.0 + 1e-9
        assert row.n_clusters == 16
    block = answer.covariance[np.ix_(rows, rows)]
    correlation = block[0, 1] / np.sqrt(block[0, 0] * block[1, 1])
    assert 0.2 < correlation < 0.95


def test_the_average_has_the_samples_shares_and_is_the_combination_of_the_rows() -> None:
    answer = gbv.SubgroupEffects().estimate(gbv.Trial(in_clusters(), cluster="school", **ROLES))
    rows = plain_rows(answer)
    shares = np.array([dict(answer.terms[i].extra)["share"] for i in rows])
    assert shares.sum() == pytest.approx(1.0, abs=1e-12)
    weights = {answer.terms[i].term: float(share) for i, share in zip(rows, shares, strict=True)}
    combined = answer.contrast(weights, name="average")[0]
    assert answer[0].value == pytest.approx(combined.value, rel=1e-10)
    assert answer[0].std_error == pytest.approx(combined.std_error, rel=1e-10)


def test_the_test_is_the_joint_test_of_interactions() -> None:
    frame = in_clusters()
    group = np.asarray(frame["group"])
    frame["g1"], frame["g2"] = (group == "g1").astype(float), (group == "g2").astype(float)
    answer = gbv.SubgroupEffects().estimate(gbv.Trial(frame, cluster="school", **ROLES))
    trial = gbv.Trial(frame, outcome="y", arm="arm", control="usual", cluster="school", covariates=["g1", "g2"])
    terms = ("new x g1", "new x g2")
    other = gbv.JointTest(terms, gbv.Ancova(interact=("g1", "g2"))).estimate(trial)[0]
    row = answer[SAME]
    for name in ("statistic", "df", "df2", "p_value"):
        assert getattr(row, name) == pytest.approx(getattr(other, name), rel=1e-8)


def test_independent_subgroups_are_the_exact_hierarchy_of_sites() -> None:
    prior = gbv.HierarchyPrior(gbv.Normal(0.2, 1.0), gbv.HalfNormal(0.4))
    model = gbv.SubgroupEffects(average_effect=gbv.Normal(0.2, 1.0), between_subgroup_sd=gbv.HalfNormal(0.4))
    answer = model.estimate(gbv.Trial(people(), **ROLES))
    rows = plain_rows(answer)
    # Each variance is enlarged to that of its t, for having been estimated.
    table = {
        "effect": [answer.terms[i].value for i in rows],
        "se": [answer.terms[i].std_error * np.sqrt(answer.terms[i].df / (answer.terms[i].df - 2.0)) for i in rows],  # type: ignore[operator]
    }
    sites = gbv.NormalHierarchy(prior).estimate(gbv.SiteEffects(table, estimate="effect", std_error="se"))
    low, high = answer.intervals()
    wanted_low, wanted_high = sites.intervals()
    for number, i in enumerate(rows):
        shrunken = answer.terms[i + 1]
        assert shrunken.value == pytest.approx(sites[number + 1].value, abs=1e-8)
        assert shrunken.std_error == pytest.approx(sites[number + 1].std_error, abs=1e-8)
        assert (low[i + 1], high[i + 1]) == pytest.approx((wanted_low[number + 1], wanted_high[number + 1]), abs=1e-8)
        assert dict(shrunken.extra)["pooling_factor"] == pytest.approx(
            dict(sites[number + 1].extra)["pooling_factor"], abs=1e-8
        )
    assert answer[len(answer) - 1].value == pytest.approx(sites["between-site sd"].value, abs=1e-8)
    term = f"{answer.terms[rows[0]].term}, shrunken"
    assert answer.probability(term, above=0.0) == pytest.approx(sites.probability(sites[1].term, above=0.0), abs=1e-8)


@pytest.mark.parametrize("slopes", ["common", "by_arm"])
def test_slopes_are_those_of_an_explicit_regression(slopes: str) -> None:
    frame = people()
    trial = gbv.Trial(frame, covariates=["x"], stratum="stratum", **ROLES)
    answer = gbv.SubgroupEffects(slopes=slopes).estimate(trial)
    _, g = np.unique(np.asarray(frame["group"]), return_inverse=True)
    a = (np.asarray(frame["arm"]) == "new").astype(float)
    adjust = np.column_stack([frame["x"], *[np.asarray(frame["stratum"]) == k for k in (1, 2, 3)]]).astype(float)
    if slopes == "by_arm":
        for j in range(3):
            adjust[g == j] -= adjust[g == j].mean(axis=0)
        adjust = np.column_stack([adjust, adjust * a[:, None]])
    X = np.column_stack([*[g == j for j in range(3)], *[(g == j) * a for j in range(3)], adjust]).astype(float)
    y = np.asarray(frame["y"])
    bread = np.linalg.inv(X.T @ X)
    beta = bread @ X.T @ y
    scores = X * ((y - X @ beta) / np.sqrt(1 - np.einsum("ij,jk,ik->i", X, bread, X)))[:, None]
    covariance = bread @ scores.T @ scores @ bread
    rows = plain_rows(answer)
    np.testing.assert_allclose(answer.values[rows], beta[3:6], rtol=1e-9)
    np.testing.assert_allclose(answer.covariance[np.ix_(rows, rows)], covariance[3:6, 3:6], rtol=1e-8, atol=1e-12)


def test_the_stratum_may_be_the_subgroup() -> None:
    frame = people()
    with_it = gbv.SubgroupEffects().estimate(gbv.Trial(frame, stratum="group", **ROLES))
    without = gbv.SubgroupEffects().estimate(gbv.Trial(frame, **ROLES))
    np.testing.assert_allclose(with_it.values, without.values, rtol=1e-9)


def test_weights_weigh_effects_and_shares() -> None:
    frame = people()
    rng = np.random.default_rng(4)
    frame["w"] = rng.integers(1, 4, 240).astype(float)
    answer = gbv.SubgroupEffects().estimate(gbv.Trial(frame, weight="w", **ROLES))
    y, w = np.asarray(frame["y"]), np.asarray(frame["w"])
    new = np.asarray(frame["arm"]) == "new"
    average = 0.0
    for i in plain_rows(answer):
        own = np.asarray(frame["group"]) == dict(answer.terms[i].extra)["subgroup"]
        difference = np.average(y[own & new], weights=w[own & new]) - np.average(y[own & ~new], weights=w[own & ~new])
        assert answer.terms[i].value == pytest.approx(difference, rel=1e-10)
        average += w[own].sum() / w.sum() * difference
    assert answer[0].value == pytest.approx(average, rel=1e-10)


def test_several_arms_and_outcomes_have_rows_of_their_own() -> None:
    frame = people(n=360)
    frame["arm"] = np.resize(["usual", "letter", "visit"], 360)
    frame["z"] = np.random.default_rng(1).integers(0, 2, 360)
    trial = gbv.Trial(frame, **{**ROLES, "outcome": ["y", "z"]})
    answer = gbv.SubgroupEffects().estimate(trial)
    # Two averages, a test, and for each arm three pairs and a standard deviation: for each outcome.
    assert len(answer) == 2 * (2 + 1 + 2 * 7)
    row = answer["y", SAME]
    assert row.df == 4.0
    assert answer["z", "visit vs usual, g1"].estimand.contrast == "risk_difference"
    assert answer["y", "letter vs usual, average over subgroups"].estimand.contrast == "mean_difference"
    single = gbv.SubgroupEffects().estimate(gbv.Trial(part(frame, trial.arm != 2), **ROLES))
    assert answer["y", "letter vs usual, g2"].value == pytest.approx(single["letter vs usual, g2"].value, rel=1e-9)


def test_columns_are_crossed_or_chosen_and_bare_levels_keep_their_column() -> None:
    frame = people()
    frame["disability"] = np.random.default_rng(1).permutation(np.arange(240) % 2)
    trial = gbv.Trial(frame, **{**ROLES, "subgroup": ["group", "disability"]})
    crossed = gbv.SubgroupEffects().estimate(trial)
    assert "new vs usual, g2, disability 1" in {row.term for row in crossed.terms}
    assert len(plain_rows(crossed)) == 6
    chosen = gbv.SubgroupEffects(by=("disability",)).estimate(trial)
    assert [chosen.terms[i].term for i in plain_rows(chosen)] == [f"new vs usual, disability {i}" for i in (0, 1)]


def test_a_difference_of_subgroups_is_a_contrast() -> None:
    answer = gbv.SubgroupEffects().estimate(gbv.Trial(people(), **ROLES))
    found = answer.contrast({"new vs usual, g2": 1.0, "new vs usual, g0": -1.0}, name="g2 less g0")
    a, b = answer["new vs usual, g2"], answer["new vs usual, g0"]
    assert a.value is not None
    assert b.value is not None
    assert a.std_error is not None
    assert b.std_error is not None
    assert found[0].value == pytest.approx(a.value - b.value)
    assert found[0].std_error == pytest.approx(np.hypot(a.std_error, b.std_error), rel=1e-9)
    # Welch's degrees of freedom over four arms of people, between the smaller of the two and their sum.
    assert min(a.df, b.df) * 0.8 < found[0].df < a.df + b.df
    assert found.posterior is None
    with pytest.raises(gbv.DesignError, match=r"posterior\.sample"):
        answer.contrast({"new vs usual, g2, shrunken": 1.0}, name="x")


def test_shrunken_rows_are_closer_to_the_truth_and_the_test_holds_its_level() -> None:
    lost, won, rejected = [], [], []
    truth = np.full(6, 0.3)
    for rng in np.random.default_rng(6).spawn(250):
        school = np.repeat(np.arange(24), 20)
        group = np.tile(np.arange(20) % 5, 24)
        new = school % 2 == 1
        y = 0.3 * new + 0.3 * rng.normal(size=24)[school] + rng.normal(size=480)
        frame = {"y": y, "arm": np.where(new, "new", "usual"), "school": school, "group": group}
        answer = gbv.SubgroupEffects().estimate(gbv.Trial(frame, cluster="school", **ROLES))
        rows = np.array(plain_rows(answer))
        lost.append(np.sum((answer.values[rows] - truth[:5]) ** 2))
        won.append(np.sum((answer.values[rows + 1] - truth[:5]) ** 2))
        rejected.append(answer[SAME].p_value)
    gain = np.array(lost) - np.array(won)
    # No difference between subgroups at all: shrinking must help, beyond five Monte Carlo errors.
    assert gain.mean() > 5 * gain.std() / np.sqrt(gain.size)
    assert np.mean(won) < 0.7 * np.mean(lost)
    share = np.mean(np.array(rejected) < 0.05)
    assert share <= binomial_band(0.055, 250, false_alarm=1e-5)[1]


def test_a_small_subgroup_has_few_degrees_of_freedom_in_a_large_trial() -> None:
    rng = np.random.default_rng(7)
    few, n = 12, 3000
    frame = {
        "y": rng.normal(size=n),
        "arm": np.resize(["usual", "new"], n),
        "group": np.where(np.arange(n) < few, "few", "many"),
    }
    answer = gbv.SubgroupEffects().estimate(gbv.Trial(frame, **ROLES))
    # Six a side: two times five.
    assert answer["new vs usual, few"].df == pytest.approx(10.0, rel=1e-9)
    assert answer["new vs usual, many"].df > 2900
    wanted = stats.ttest_ind(frame["y"][:few][1::2], frame["y"][:few][::2])
    assert answer.records()[plain_rows(answer)[0]]["p_value"] == pytest.approx(wanted.pvalue, rel=1e-8)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"subgroup": ()}, "needs the role `subgroup`"),
        ({"subgroup": "pairs_of_people"}, "at most 30 were expected"),
    ],
)
def test_roles_that_do_not_fit_are_refused(change: dict[str, Any], says: str) -> None:
    frame = {**people(), "pairs_of_people": np.arange(240) // 2}
    with pytest.raises(gbv.GbvevalError, match=says):
        gbv.SubgroupEffects().estimate(gbv.Trial(frame, **{**ROLES, **change}))


def test_a_subgroup_without_two_in_an_arm_is_refused_by_name() -> None:
    frame = people()
    group = np.asarray(frame["group"]).astype(object)
    group[[0, 2, 4, 1]] = "rare"
    with pytest.raises(gbv.IdentificationError, match=r"'rare' in 'new'.*Merge categories"):
        gbv.SubgroupEffects().estimate(gbv.Trial({**frame, "group": group}, **ROLES))
    group[[0, 2, 4]] = "g0"
    # A category that stands once may be somebody's name.
    with pytest.raises(gbv.IdentificationError) as refusal:
        gbv.SubgroupEffects().estimate(gbv.Trial({**frame, "group": group}, **ROLES))
    assert "rare" not in str(refusal.value)
    clusters = in_clusters()
    group = np.where(np.asarray(clusters["school"]) == 1, "one school", "others")
    with pytest.raises(gbv.IdentificationError, match="fewer than two clusters"):
        gbv.SubgroupEffects().estimate(gbv.Trial({**clusters, "group": group}, cluster="school", **ROLES))


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"by": "group"}, "tuple of names"),
        ({"slopes": "own"}, "slopes must be one of"),
        ({"between_subgroup_sd": gbv.Normal(0, 1)}, "proper prior"),
        ({"between_subgroup_sd": gbv.Flat()}, "proper prior"),
        ({"average_effect": gbv.HalfNormal(1)}, "Normal or a Flat"),
    ],
)
def test_options_that_do_not_exist_are_refused(options: dict[str, Any], says: str) -> None:
    with pytest.raises(gbv.DesignError, match=says):
        gbv.SubgroupEffects(**options)


def test_by_must_name_declared_columns_and_make_few_cells() -> None:
    frame = people()
    rng = np.random.default_rng(1)
    frame["a"], frame["b"] = rng.integers(0, 8, 240), rng.integers(0, 8, 240)
    trial = gbv.Trial(frame, **{**ROLES, "subgroup": ["group", "a", "b"]})
    with pytest.raises(gbv.DesignError, match="'x'; the trial's subgroups are: group, a, b"):
        gbv.SubgroupEffects(by=("x",)).estimate(trial)
    with pytest.raises(gbv.DesignError, match="at most 30 can be compared"):
        gbv.SubgroupEffects(by=("a", "b")).estimate(trial)


def test_an_arm_that_a_covariate_determines_is_refused() -> None:
    frame = people()
    frame["told"] = ((np.asarray(frame["arm"]) == "new") & (np.asarray(frame["group"]) == "g1")).astype(float)
    with pytest.raises(gbv.IdentificationError, match="'new' in the subgroup 'g1' is collinear"):
        gbv.SubgroupEffects().estimate(gbv.Trial(frame, covariates=["told"], **ROLES))


def test_pairs_cluster_by_pair_and_have_no_slopes_by_arm() -> None:
    frame = people(n=80)
    frame["pair"] = np.arange(80) // 2
    trial = gbv.Trial(frame, pair="pair", **ROLES)
    answer = gbv.SubgroupEffects().estimate(trial)
    assert "clustered by pair" in answer.method.std_error
    assert all(row.std_error for row in (answer.terms[i] for i in plain_rows(answer)))
    many = people(n=1600)
    many["pair"] = np.arange(1600) // 2
    with pytest.raises(gbv.DesignError, match="do not fit into memory"):
        gbv.SubgroupEffects().estimate(gbv.Trial(many, pair="pair", **ROLES))
    with pytest.raises(gbv.DesignError, match="slopes='common' with pairs"):
        gbv.SubgroupEffects(slopes="by_arm").estimate(trial)


def test_too_few_clusters_leave_shrunken_rows_undefined_with_a_reason() -> None:
    answer = gbv.SubgroupEffects().estimate(gbv.Trial(in_clusters(clusters=4), cluster="school", **ROLES))
    rows = plain_rows(answer)
    assert all(answer.terms[i].std_error for i in rows)
    for row in (answer.terms[rows[0] + 1], answer.terms[-1]):
        assert row.value is None
        assert "too few units or clusters" in row.reason
    assert answer.posterior is None


def test_a_subgroup_whose_outcome_does_not_vary_is_null_with_a_reason() -> None:
    frame = people()
    frame["y"] = np.where(np.asarray(frame["group"]) == "g0", 1.0, frame["y"])
    answer = gbv.SubgroupEffects().estimate(gbv.Trial(frame, **ROLES))
    assert answer["new vs usual, g0"].std_error is None
    assert answer["new vs usual, g1"].std_error is not None
    assert "no standard error" in answer["new vs usual, g1, shrunken"].reason
    assert answer[SAME].p_value is None
    assert answer[SAME].reason


def test_the_result_says_how_to_read_it_and_prints_its_prior() -> None:
    frame = people()
    answer = gbv.SubgroupEffects().estimate(gbv.Trial(frame, **ROLES))
    assert "no difference between the two" in answer.check("one model").message
    assert "adjust_for_multiplicity" in answer.check("multiplicity").message
    y, arm = np.asarray(frame["y"]), np.asarray(frame["arm"])
    pooled = np.sqrt(sum(np.sum((y[arm == a] - y[arm == a].mean()) ** 2) for a in ("new", "usual")) / 238)
    assert f"half-normal(sd {0.25 * pooled:g})" in answer.check("prior y").message
    kinds = dict(zip((row.term for row in answer.terms), answer.interval_kinds(), strict=True))
    assert kinds["new vs usual, g1"] == "confidence, pointwise"
    assert kinds["new vs usual, g1, shrunken"] == "credible, equal-tailed"
    assert kinds[SAME] == "none"


def test_json_keeps_both_kinds_of_rows() -> None:
    answer = gbv.SubgroupEffects().estimate(gbv.Trial(people(), **ROLES))
    back = gbv.Estimates.from_json(answer.to_json())
    assert isinstance(back.posterior, PartialPosterior)
    pd.testing.assert_frame_equal(back.tidy(0.8), answer.tidy(0.8))
    term = "new vs usual, g2, shrunken"
    assert back.probability(term, above=0.5) == answer.probability(term, above=0.5)


def test_a_small_subgroup_hides_the_whole_result() -> None:
    frame = people(n=400)
    group = np.asarray(frame["group"]).astype(object)
    group[:12] = "rare"
    answer = gbv.SubgroupEffects().estimate(gbv.Trial({**frame, "group": group}, **ROLES))
    shown = gbv.release(answer).estimates()[0]
    # Any visible row, with those of the other subgroups, would tell of the six.
    assert all(row.hidden for row in shown.rows)
    large = gbv.release(gbv.SubgroupEffects().estimate(gbv.Trial(frame, **ROLES))).estimates()[0]
    assert not any(row.hidden for row in large.rows)


def test_released_checks_count_nobody() -> None:
    frame = people(n=400)
    y = np.zeros(400)
    y[[1, 2, 3, 4, 6, 7, 8, 9, 13]] = 1.0
    answer = gbv.SubgroupEffects().estimate(gbv.Trial({**frame, "y": y}, **ROLES))
    said = answer.check("prior y")
    # From all digits of the sd the nine events follow; from one digit they do not.
    assert f"{answer.check('prior y').message}" != said.public
    assert "half-normal(sd about 0.04)" in said.public
    public = [check[2] for check in gbv.release(answer).estimates()[0].checks]
    assert said.public in public
    assert said.message not in public


def test_support_counts_every_arm_and_subgroup_once() -> None:
    frame = people()
    answer = gbv.SubgroupEffects().estimate(gbv.Trial(frame, **ROLES))
    support = answer[0].support
    assert all(row.support == support for row in answer.terms)
    assert sum(cell.n for cell in support) == 240
    arm, group = np.asarray(frame["arm"]), np.asarray(frame["group"])
    assert Cell("new, g1", int(np.sum((arm == "new") & (group == "g1"))), None, "y by arm and group") in support


def test_the_forest_draws_plain_and_shrunken_on_one_line() -> None:
    import matplotlib as mpl

    mpl.use("Agg")
    answer = gbv.SubgroupEffects().estimate(gbv.Trial(people(), **ROLES))
    ax = answer.plot()
    labels = [label.get_text() for label in ax.get_yticklabels()]
    assert labels == ["new vs usual, average over subgroups", *(f"new vs usual, g{i}" for i in range(3))]
    legend = ax.get_legend()
    assert legend is not None
    assert [text.get_text() for text in legend.get_texts()] == ["plain", "shrunken"]
    drawn = np.concatenate([line.get_xdata() for line in ax.lines if line.get_marker() == "o"])
    points = [answer.values[i] for i, row in enumerate(answer.terms) if row.kind == "point"][:-1]
    np.testing.assert_allclose(np.sort(drawn), np.sort(points))
    mpl.pyplot.close(ax.figure)


def test_the_report_asks_about_differences_once(tmp_path: Any) -> None:
    answer = gbv.SubgroupEffects().estimate(gbv.Trial(people(), **ROLES))
    files = gbv.write_report([gbv.Section("For whom", gbv.release(answer))], out=tmp_path / "page")
    page = files.page.read_text(encoding="utf-8")
    assert f"Test that {SAME}: p = " in page
    assert "is no difference between the two" in page
    assert "average over subgroups: mean difference" in page


def test_missing_outcomes_and_baselines_are_counted() -> None:
    frame = people()
    y = np.asarray(frame["y"]).copy()
    y[:7] = np.nan
    frame["before"] = np.where(np.arange(240) == 20, np.nan, np.asarray(frame["x"]))
    answer = gbv.SubgroupEffects().estimate(gbv.Trial({**frame, "y": y}, baseline="before", **ROLES))
    assert answer[SAME].n_units == 232
    assert "1 units with an outcome have no baseline" in answer.check("baseline y").message
    assert answer.check("missing outcome").status in ("info", "warn")
