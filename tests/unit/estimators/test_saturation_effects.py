"""Two-stage designs: exact enumeration, a regression with CR2, sample variances, and what is refused."""

from __future__ import annotations

from itertools import combinations, product
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

import gbveval as gbv
from gbveval.core.registry import discover
from gbveval.core.replicate import binomial_band, generators
from gbveval.numerics.linear_inference import linear_inference
from gbveval.numerics.mean_difference import clustered
from gbveval.testing.spillover_processes import SaturationFrames

FloatArray = NDArray[np.float64]
Frame = dict[str, Any]


def trial(frame: Frame, **roles: Any) -> gbv.Trial:
    roles |= {"cluster": "cluster", "saturation": "saturation"}
    return gbv.Trial(frame, outcome="y", arm="arm", control="usual", **roles)


def rows_of(frame: Frame, keep: NDArray[Any]) -> Frame:
    return {name: np.asarray(column)[keep] for name, column in frame.items()}


def drawn(seed: int, **options: Any) -> Frame:
    frame, _ = SaturationFrames(uneven=True, **options).frame(np.random.default_rng(seed))
    return frame


def arrays(frame: Frame) -> tuple[FloatArray, NDArray[np.bool_], NDArray[Any], FloatArray]:
    return frame["y"], np.array(frame["arm"]) == "new", np.array(frame["cluster"]), frame["saturation"]


def table_of_means(frame: Frame) -> dict[tuple[float, bool], FloatArray]:
    """The mean of every cluster in each of its arms, by saturation and arm, in the order of the clusters."""
    y, treated, cluster, share = arrays(frame)
    means: dict[tuple[float, bool], list[float]] = {}
    for name in np.unique(cluster):
        for arm in (False, True):
            here = (cluster == name) & (treated == arm)
            if here.any():
                means.setdefault((float(share[cluster == name][0]), arm), []).append(float(y[here].mean()))
    return {key: np.array(values) for key, values in means.items()}


def test_rows_are_differences_of_the_means_of_cluster_means() -> None:
    frame = drawn(1)
    m = {key: values.mean() for key, values in table_of_means(frame).items()}
    found = gbv.SaturationEffects().estimate(trial(frame))
    for s, label in ((0.25, "0.25"), (0.75, "0.75")):
        expected = {
            f"direct, saturation {label}": m[s, True] - m[s, False],
            f"indirect, saturation {label} vs 0": m[s, False] - m[0.0, False],
            f"total, saturation {label} vs 0": m[s, True] - m[0.0, False],
            f"overall, saturation {label} vs 0": s * m[s, True] + (1 - s) * m[s, False] - m[0.0, False],
        }
        for term, value in expected.items():
            # Sums of a hundred numbers of order one.
            assert found[term].value == pytest.approx(value, abs=1e-12)


def test_the_variance_of_the_cluster_average_is_that_of_cluster_means_over_their_number() -> None:
    frame = drawn(2)
    means = table_of_means(frame)
    found = gbv.SaturationEffects().estimate(trial(frame))
    control = means[0.0, False].var(ddof=1) / 5
    for s, label in ((0.25, "0.25"), (0.75, "0.75")):
        # Treated and untreated of the same five clusters: their variances and their covariance.
        joint = np.cov(means[s, True], means[s, False]) / 5
        variances = {
            f"direct, saturation {label}": joint[0, 0] + joint[1, 1] - 2 * joint[0, 1],
            f"indirect, saturation {label} vs 0": joint[1, 1] + control,
            f"total, saturation {label} vs 0": joint[0, 0] + control,
            f"overall, saturation {label} vs 0": np.array([s, 1 - s]) @ joint @ np.array([s, 1 - s]) + control,
        }
        for term, variance in variances.items():
            assert found[term].std_error == pytest.approx(np.sqrt(variance), rel=1e-10)
        i, j = found.index(f"direct, saturation {label}"), found.index(f"total, saturation {label} vs 0")
        assert found.covariance[i, j] == pytest.approx(joint[0, 0] - joint[0, 1], rel=1e-9)
        # One number a cluster: the direct effect is a mean of five differences.
        assert found.terms[i].df == pytest.approx(4.0, rel=1e-9)


@pytest.mark.parametrize("population", ["cluster_average", "participant_average"])
def test_covariance_and_df_are_those_of_cr2_on_indicators_of_the_cells(population: str) -> None:
    frame = drawn(3)
    y, treated, cluster, share = arrays(frame)
    cell = np.unique(share * 10 + treated, return_inverse=True)[1]
    names, codes = np.unique(cluster, return_inverse=True)
    if population == "cluster_average":
        # One row a cluster and arm.
        pairs, rows = np.unique(codes * 5 + cell, return_inverse=True)
        y = np.bincount(rows, weights=y) / np.bincount(rows)
        codes, cell = pairs // 5, pairs % 5
    design = (cell[:, None] == np.arange(5)).astype(float)
    # Cells in order: control; untreated and treated at a quarter; the same at three quarters.
    contrast = np.array([[0, -1, 1, 0, 0], [-1, 1, 0, 0, 0], [-1, 0, 0, 0.25, 0.75]])
    # With the contrasts among the coefficients, the regression gives their degrees of freedom.
    basis = np.vstack([contrast, [[1, 0, 0, 0, 0], [0, 0, 0, 1, 0]]])
    fit = linear_inference(
        design @ np.linalg.inv(basis), y, std_error="CR2", df="satterthwaite", intercept=False,
        cluster=codes, n_clusters=names.size,
    )  # fmt: skip
    found = gbv.SaturationEffects(population).estimate(trial(frame))
    rows_ = [found.index(t) for t in ("direct, saturation 0.25", "indirect, saturation 0.25 vs 0")]
    rows_.append(found.index("overall, saturation 0.75 vs 0"))
    # Two ways to one number: eigenvalues of hat blocks, and a closed form.
    np.testing.assert_allclose(found.values[rows_], fit.beta[:3], rtol=1e-9)
    np.testing.assert_allclose(found.covariance[np.ix_(rows_, rows_)], fit.covariance[:3, :3], rtol=1e-8, atol=1e-12)
    np.testing.assert_allclose([found.terms[i].df for i in rows_], fit.df[:3], rtol=1e-8)


def test_without_shared_clusters_it_is_the_comparison_of_clusters() -> None:
    frame = drawn(4, saturations=(0.0, 1.0))
    y, treated, cluster, _ = arrays(frame)
    _, codes = np.unique(cluster, return_inverse=True)
    totals, sizes = np.bincount(codes, weights=y), np.bincount(codes).astype(float)
    value, influence, df = clustered(totals, sizes, np.bincount(codes, weights=treated) > 0)
    (row,) = gbv.SaturationEffects("participant_average").estimate(trial(frame)).terms
    assert row.term == "total, saturation 1 vs 0"
    assert row.value == pytest.approx(float(value), rel=1e-10)
    assert row.std_error == pytest.approx(float(np.sqrt(influence @ influence)), rel=1e-10)
    assert row.df == pytest.approx(df, rel=1e-10)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from(["cluster_average", "participant_average"]), st.integers(2, 4))
def test_rows_add_up_whatever_the_data(seed: int, population: str, clusters: int) -> None:
    found = gbv.SaturationEffects(population).estimate(
        trial(drawn(seed, clusters=clusters, saturations=(0.0, 0.4, 0.8), cluster_size=6))
    )
    for s, label in ((0.4, "0.4"), (0.8, "0.8")):
        direct = found.index(f"direct, saturation {label}")
        indirect, total, overall = (
            found.index(f"{name}, saturation {label} vs 0") for name in ("indirect", "total", "overall")
        )
        size = np.abs(found.influence).max()
        assert found.influence is not None
        for part, other in (
            (found.influence[:, total], found.influence[:, direct] + found.influence[:, indirect]),
            (found.influence[:, overall], s * found.influence[:, direct] + found.influence[:, indirect]),
        ):
            np.testing.assert_allclose(part, other, atol=1e-12 * size)
        assert found.values[total] == pytest.approx(found.values[direct] + found.values[indirect], abs=1e-10)
        assert found.values[overall] == pytest.approx(s * found.values[direct] + found.values[indirect], abs=1e-10)


def two_stages() -> tuple[FloatArray, list[tuple[NDArray[np.bool_], NDArray[np.bool_]]]]:
    """Potential outcomes of 16 people in four clusters, shape (people, 3), and every allocation.

    Columns are: cluster in pure control; cluster at a half and untreated; treated. Two clusters are at a half, in which
    two of four people are treated.
    """
    rng = np.random.default_rng(5)
    base = rng.normal(size=16) + np.repeat(rng.normal(size=4), 4)
    outcomes = np.column_stack([base, base + 0.3 + 0.4 * rng.normal(size=16), base + 1 + 0.6 * rng.normal(size=16)])
    allocations = []
    halves = list(combinations(range(4), 2))
    for chosen in combinations(range(4), 2):
        for picked in product(halves, repeat=2):
            treated = np.zeros(16, dtype=bool)
            for group, members in zip(chosen, picked, strict=True):
                treated[[4 * group + member for member in members]] = True
            allocations.append((np.isin(np.repeat(np.arange(4), 4), chosen), treated))
    return outcomes, allocations


@pytest.mark.parametrize("population", ["cluster_average", "participant_average"])
def test_over_all_allocations_it_is_unbiased_and_its_variance_is_not_too_small(population: str) -> None:
    outcomes, allocations = two_stages()
    assert len(allocations) == 216
    values, variances = [], []
    for half, treated in allocations:
        y = np.where(treated, outcomes[:, 2], np.where(half, outcomes[:, 1], outcomes[:, 0]))
        frame = {
            "y": y,
            "arm": np.where(treated, "new", "usual"),
            "cluster": np.repeat(["a", "b", "c", "d"], 4),
            "saturation": np.where(half, 0.5, 0.0),
        }
        found = gbv.SaturationEffects(population).estimate(trial(frame))
        values.append(found.values)
        variances.append(np.diag(found.covariance))
    control, untreated, new = outcomes.mean(axis=0)
    truth = [new - untreated, untreated - control, new - control, 0.5 * (new + untreated) - control]
    # Exact up to rounding: clusters are of one size, so both averages are the same and no ratio is random.
    np.testing.assert_allclose(np.mean(values, axis=0), truth, atol=1e-12)
    true_variance = np.var(values, axis=0)
    assert np.all(np.mean(variances, axis=0) >= true_variance * (1 - 1e-9))
    # It is conservative by how effects vary over clusters, and not by an order of magnitude.
    assert np.all(np.mean(variances, axis=0) < 3 * true_variance)


def test_strata_count_with_their_clusters_or_people() -> None:
    parts = [drawn(seed, clusters=n, cluster_size=size) for seed, n, size in ((6, 3, 6), (7, 5, 14))]
    whole = {
        "y": np.concatenate([part["y"] for part in parts]),
        "arm": [arm for part in parts for arm in part["arm"]],
        "cluster": [f"{k}{name}" for k, part in enumerate(parts) for name in part["cluster"]],
        "saturation": np.concatenate([part["saturation"] for part in parts]),
        "stratum": np.repeat(["north", "south"], [len(part["y"]) for part in parts]),
    }
    for population, mass in (
        ("cluster_average", [9.0, 15.0]),
        ("participant_average", [float(len(part["y"])) for part in parts]),
    ):
        share = np.array(mass) / sum(mass)
        each = [gbv.SaturationEffects(population).estimate(trial(part)) for part in parts]
        found = gbv.SaturationEffects(population).estimate(trial(whole, stratum="stratum"))
        np.testing.assert_allclose(found.values, share @ np.array([part.values for part in each]), rtol=1e-9)
        # Strata are independent.
        expected = sum(w**2 * part.covariance for w, part in zip(share, each, strict=True))
        np.testing.assert_allclose(found.covariance, expected, rtol=1e-9)


def test_without_pure_control_the_lowest_saturation_is_the_reference() -> None:
    frame = drawn(8, saturations=(0.25, 0.75))
    m = {key: values.mean() for key, values in table_of_means(frame).items()}
    found = gbv.SaturationEffects().estimate(trial(frame))
    assert [row.term.split(",")[0] for row in found.terms] == ["direct", "direct", "indirect", "total", "overall"]
    assert found["indirect, saturation 0.75 vs 0.25"].value == pytest.approx(m[0.75, False] - m[0.25, False], abs=1e-12)
    everybody = [s * m[s, True] + (1 - s) * m[s, False] for s in (0.25, 0.75)]
    assert found["overall, saturation 0.75 vs 0.25"].value == pytest.approx(everybody[1] - everybody[0], abs=1e-12)
    assert "no cluster is a pure control" in found.check("reference").message


def test_missing_outcomes_leave_means_of_those_observed_and_are_told() -> None:
    frame = drawn(9)
    y, treated, cluster, _ = arrays(frame)
    # Everybody treated in one cluster, and a few others, have no outcome.
    first = (cluster == "c005") & treated
    gone = first | (np.arange(y.size) % 11 == 0)
    frame["y"] = np.where(gone, np.nan, y)
    found = gbv.SaturationEffects().estimate(trial(frame))
    means = {key: values.mean() for key, values in table_of_means(rows_of(frame, ~gone)).items()}
    assert found["direct, saturation 0.25"].value == pytest.approx(means[0.25, True] - means[0.25, False], abs=1e-12)
    assert "1 times a cluster has nobody" in found.check("clusters without an arm y").message
    assert "is missing for" in found.check("missing outcome").message
    assert found["direct, saturation 0.25"].n_units == int(((frame["saturation"] == 0.25) & ~gone).sum())


def test_shares_far_from_the_saturation_are_told() -> None:
    frame = drawn(10)
    frame["saturation"] = np.where(frame["saturation"] == 0.75, 0.3, frame["saturation"])
    assert "in 5 of 15 clusters the share treated" in gbv.SaturationEffects().estimate(trial(frame)).check(
        "share treated"
    ).message  # fmt: skip


def test_support_counts_the_people_behind_each_row() -> None:
    frame = drawn(11)
    frame["y"] = (frame["y"] > 0).astype(float)
    y, treated, _, share = arrays(frame)
    row = gbv.SaturationEffects().estimate(trial(frame))["indirect, saturation 0.75 vs 0"]
    assert row.estimand.contrast == "risk_difference"
    counts = {cell.label: (cell.n, cell.events) for cell in row.support}
    for s, label in ((0.0, "0"), (0.75, "0.75")):
        here = (share == s) & ~treated
        assert counts[f"usual, saturation {label}"] == (here.sum(), y[here].sum())


def test_what_does_not_fit_is_refused_by_name() -> None:
    frame = drawn(12)
    estimator = gbv.SaturationEffects()
    plain = gbv.Trial({"y": [1.0, 2.0], "arm": ["usual", "new"]}, outcome="y", arm="arm", control="usual")
    with pytest.raises(gbv.DesignError, match="needs the role `saturation`"):
        estimator.estimate(plain)
    one = rows_of(frame, frame["saturation"] == 0.25)
    with pytest.raises(gbv.DesignError, match="the same saturation"):
        estimator.estimate(trial(one))
    arms = np.array(frame["arm"], dtype=object)
    arms[np.flatnonzero(arms == "new")[0]] = "other"
    with pytest.raises(gbv.DesignError, match="two arms; the trial has 3"):
        estimator.estimate(trial({**frame, "arm": arms}))
    with pytest.raises(gbv.DesignError, match="does not take the role weight"):
        estimator.estimate(trial({**frame, "w": np.ones(len(frame["y"]))}, weight="w"))
    with pytest.raises(gbv.DesignError, match="population must be one of"):
        gbv.SaturationEffects("everybody")


def test_a_saturation_with_one_cluster_is_refused_by_its_name() -> None:
    frame = drawn(12)
    alone = rows_of(frame, (frame["saturation"] < 0.5) | (np.array(frame["cluster"]) == "c014"))
    with pytest.raises(gbv.IdentificationError, match=r"at saturation 0\.75; two are needed"):
        gbv.SaturationEffects().estimate(trial(alone))
    doubled = rows_of(frame, np.tile(np.arange(len(frame["y"])), 2))
    doubled["stratum"] = np.array([f"s{int(name[1:]) % 5}" for name in doubled["cluster"]])
    copy = np.arange(doubled["y"].size) >= len(frame["y"])
    doubled["cluster"] = np.char.add(doubled["cluster"], np.where(copy, "x", ""))
    fewer = rows_of(doubled, ~np.isin(doubled["cluster"], ["c000x", "c006x"]))
    assert len(gbv.SaturationEffects().estimate(trial(doubled, stratum="stratum"))) == 8
    with pytest.raises(gbv.IdentificationError, match=r"at saturation 0, 0\.25, in 2 of 5 strata"):
        gbv.SaturationEffects().estimate(trial(fewer, stratum="stratum"))


def test_every_other_estimator_of_trials_refuses_a_two_stage_trial_and_says_what_to_use() -> None:
    frame = drawn(13)
    frame["y"] = (frame["y"] > 0).astype(float)
    n = len(frame["y"])
    frame |= {"took": (np.array(frame["arm"]) == "new").astype(float), "before": np.arange(n) % 2}
    frame |= {"x": np.arange(n) % 7, "w": np.ones(n)}
    made = trial(frame, received="took", covariates=["x"])
    with_baseline = trial(frame, received="took", baseline="before")
    accepts = {"saturation_effects"}
    tried = 0
    for name, kind in discover().items():
        if not kind.__module__.startswith("gbveval.estimators.randomised") or name in accepts:
            continue
        options = {"items": 3} if "items" in getattr(kind, "__dataclass_fields__", {}) else {}
        with pytest.raises(gbv.DesignError, match="SaturationEffects"):
            kind(**options).estimate(with_baseline if name == "transitions" else made)
        tried += 1
    assert tried > 25
    with pytest.raises(gbv.DesignError, match="SaturationEffects"):
        gbv.balance(trial(frame, characteristics=["x"]))
    with pytest.raises(gbv.DesignError, match="SaturationEffects"):
        gbv.differential_attrition(made)


def test_the_joint_test_of_no_spillover_holds_its_level_with_fifteen_clusters() -> None:
    frames = SaturationFrames(direct=0.5, spillover=0.0, cluster_size=8)
    n_draws = 500
    rejected = 0
    for rng in generators(20261126, n_draws):
        found = gbv.SaturationEffects().estimate(frames.check(frames.frame(rng)[0]))
        rows = [i for i, row in enumerate(found.terms) if row.estimand.effect == "indirect_effect"]
        p_value = found.with_terms(rows).joint_test().terms[0].p_value
        assert p_value is not None
        rejected += p_value < 0.05
    low, high = binomial_band(0.05, n_draws, false_alarm=1e-5)
    assert low <= rejected / n_draws <= high
