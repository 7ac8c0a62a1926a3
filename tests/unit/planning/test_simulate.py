"""Simulation: seeds, pairing, failures, what is read from estimates, and how it is shown."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
import pytest
from scipy.stats import norm

import gbveval as gbv
from gbveval.core.batch import BatchEstimates, ClusterBatch
from gbveval.core.errors import DesignError, IdentificationError
from gbveval.core.estimand import Estimand
from gbveval.core.posterior import DrawsPosterior
from gbveval.design.cluster import ClusterDesign
from gbveval.design.icc import ICC
from gbveval.design.outcomes import Binary, Continuous
from gbveval.design.parallel import ParallelDesign
from gbveval.planning.diagnosis import diagnose
from gbveval.planning.simulate import simulate_power
from gbveval.planning.tally import Replicates, tally

PEOPLE = ParallelDesign(n_per_arm=20, outcome=Continuous(sd=2.0))
CLUSTERS = ClusterDesign(clusters_per_arm=5, cluster_size=10, icc=ICC(0.05, scale="observed"), outcome=Continuous())


@dataclass(frozen=True)
class Wrapped:
    """Difference in means, changed in one way."""

    name: ClassVar[str] = "wrapped<b>"
    change: str = ""

    def estimate(self, data: gbv.Trial, *, rng: np.random.Generator | None = None) -> gbv.Estimates:
        assert rng is not None
        found = gbv.DifferenceInMeans().estimate(data)
        row = found.terms[0]
        if self.change == "fails" and row.value > 0:
            raise IdentificationError("no")
        if self.change == "undefined" and row.value > 0:
            return replace(found, terms=(replace(row, std_error=None, reason="none here"),))
        if self.change == "interval":
            return replace(found, terms=(replace(row, interval=(row.value - 0.1, row.value + 0.1)),))
        if self.change == "posterior":
            draws = row.value + row.std_error * rng.normal(size=(1, 400, 1))
            return replace(found, posterior=DrawsPosterior(draws))
        if self.change == "test":
            return replace(found, terms=(replace(row, kind="test"),))
        if self.change == "fickle" and row.value > 0:
            return replace(found, terms=(replace(row, estimand=Estimand("ATE", "mean_difference")),))
        if self.change == "noise":
            return replace(found, terms=(replace(row, value=float(rng.normal())),))
        return found


def run(estimators: Any, plan: Any = PEOPLE, **options: Any) -> Any:
    return simulate_power(
        plan, estimators, **{"effect": 0.5, "seed": 3, "n_draws": 40, "keep_replicates": True, **options}
    )


@pytest.mark.parametrize("path", ["data", "batch"])
def test_a_replicate_is_the_same_whatever_the_number_of_draws(path: str) -> None:
    short = run(gbv.DifferenceInMeans(), CLUSTERS, path=path).replicates[0]
    long = run(gbv.DifferenceInMeans(), CLUSTERS, path=path, n_draws=300).replicates[0]
    np.testing.assert_array_equal(short.value, long.value[:40])
    np.testing.assert_array_equal(short.low, long.low[:40])


def test_estimators_see_the_same_studies_and_the_same_generator() -> None:
    both = run([gbv.DifferenceInMeans(), Wrapped(), Wrapped("noise"), Wrapped("noise")])
    np.testing.assert_array_equal(both.replicates[0].value, both.replicates[1].value)
    np.testing.assert_array_equal(both.replicates[2].value, both.replicates[3].value)
    np.testing.assert_array_equal(both.replicates[2].value, run(Wrapped("noise")).replicates[0].value)
    assert [row.label for row in both.rows] == [
        "difference_in_means",
        "wrapped<b> (1)",
        "wrapped<b> (2)",
        "wrapped<b> (3)",
    ]


def test_the_numbers_are_those_of_a_loop_by_hand() -> None:
    found = run(gbv.DifferenceInMeans(), alpha=0.1, level=0.8)
    values, covered, rejected = [], [], []
    for number in range(40):
        rng = np.random.default_rng(np.random.SeedSequence(3, spawn_key=(number,)))
        estimates = gbv.DifferenceInMeans().estimate(PEOPLE.process(0.5).draw(rng))
        frame = estimates.tidy(0.8)
        values.append(frame["estimate"].iloc[0])
        covered.append(frame["conf_low"].iloc[0] <= 0.5 <= frame["conf_high"].iloc[0])
        rejected.append(frame["p_value"].iloc[0] < 0.1)
    row = found[0]
    assert row.bias.value == pytest.approx(np.mean(values) - 0.5, rel=1e-12)
    assert row.rmse.value == pytest.approx(np.sqrt(np.mean((np.array(values) - 0.5) ** 2)), rel=1e-12)
    assert row.coverage.value == np.mean(covered)
    assert row.power.value == np.mean(rejected)
    assert row.truth == 0.5


def test_failed_draws_are_counted_and_neither_cover_nor_reject() -> None:
    whole, some = run([gbv.DifferenceInMeans(), Wrapped("fails")]).rows
    values = run(gbv.DifferenceInMeans()).replicates[0].value
    assert some.n_failed == int((values > 0).sum()) > 0
    assert some.failures == (("IdentificationError", some.n_failed),)
    assert some.n_undefined == 0
    assert some.coverage.value < whole.coverage.value
    assert some.coverage.value == pytest.approx(some.coverage_defined.value * (40 - some.n_failed) / 40)
    assert some.power.value == pytest.approx(some.power_defined.value * (40 - some.n_failed) / 40)


def test_undefined_draws_are_counted() -> None:
    row = run(Wrapped("undefined"))[0]
    assert row.n_undefined > 0
    assert row.n_failed == 0
    assert row.power.value < row.power_defined.value + 1.0 / 40


def test_an_estimator_that_always_fails_is_told_with_the_kind_of_error() -> None:
    @dataclass(frozen=True)
    class Never:
        name: ClassVar[str] = "never"

        def estimate(self, data: gbv.Trial, *, rng: np.random.Generator | None = None) -> gbv.Estimates:
            raise IdentificationError("no")

    with pytest.raises(DesignError, match=r"never gave no estimate.*IdentificationError \(40\)"):
        run(Never())
    row = run(Never(), estimand=Estimand("ITT", "mean_difference"))[0]
    assert row.n_failed == 40
    assert row.power.value == 0.0
    assert np.isnan(row.bias.value)


def test_an_interval_of_the_methods_own_is_used() -> None:
    found = run(Wrapped("interval"))
    drawn = found.replicates[0]
    np.testing.assert_allclose(drawn.high - drawn.low, 0.2)
    np.testing.assert_array_equal(drawn.rejected, np.abs(drawn.value) > 0.1)


def test_power_of_a_posterior_is_how_often_its_interval_excludes_the_null() -> None:
    drawn = run(Wrapped("posterior"), alpha=0.2, level=0.95, n_draws=60).replicates[0]
    # Quantiles of 400 draws: the interval at 80 % is 1.28 standard errors wide on each side, give or take 0.25.
    ratio = np.abs(drawn.value) / drawn.std_error
    assert drawn.rejected[ratio > 1.55].all()
    assert not drawn.rejected[ratio < 1.0].any()
    assert np.all(drawn.high - drawn.low > 2.0 * 1.5 * drawn.std_error)


def test_requests_that_make_no_sense_are_refused() -> None:
    aim = Estimand("ITT", "risk_ratio")
    process = PEOPLE.process(0.5)
    for call, words in (
        (lambda: run(Wrapped(), effect=None), "true effect to simulate"),
        (lambda: run(Wrapped(), process), "leave effect out"),
        (lambda: run(Wrapped(), object()), "neither a design"),
        (lambda: run([]), "at least one estimator"),
        (lambda: run([Wrapped(), "lin_adjusted"]), "str has no name"),
        (lambda: run(Wrapped(), seed=-1), "seed must be"),
        (lambda: run(Wrapped(), n_draws=3), "at least 10"),
        (lambda: run(Wrapped(), path="fast"), "path must be one of"),
        (lambda: run(Wrapped(), path="batch"), "estimate_batch is absent from wrapped"),
        (lambda: run(gbv.DifferenceInMeans(), path="batch"), "no draw_batch"),
        (lambda: run(Wrapped(), estimand=aim), "does not estimate"),
        (lambda: run(gbv.DifferenceInMeans(), CLUSTERS, estimand=aim), r"estimates .* not "),
        (lambda: run(Wrapped("fickle")), "in one draw"),
        (lambda: run(Wrapped("test")), "no row that is a point"),
        (lambda: run(Wrapped(), alpha=0.0), "alpha"),
    ):
        with pytest.raises(DesignError, match=words):
            call()
    assert run(Wrapped(), process, effect=None)[0].truth == 0.5


def test_auto_takes_totals_only_if_all_can() -> None:
    assert run(gbv.DifferenceInMeans(), CLUSTERS).path == "batch"
    assert run([gbv.DifferenceInMeans(), Wrapped()], CLUSTERS).path == "data"
    assert run(gbv.DifferenceInMeans(), PEOPLE).path == "data"


def test_an_outcome_that_never_varies_is_undefined_on_both_paths() -> None:
    rare = ClusterDesign(clusters_per_arm=2, cluster_size=3, icc=ICC(0.0, scale="observed"), outcome=Binary(0.02))
    rows = [run(gbv.DifferenceInMeans(), rare, effect=-0.01, n_draws=200, path=path)[0] for path in ("data", "batch")]
    # No event at all: 0.98^6 x 0.99^6 = 0.83 of draws; five binomial standard errors.
    for row in rows:
        assert abs(row.n_undefined / 200 - 0.834) < 5.0 * np.sqrt(0.834 * 0.166 / 200)


def test_progress_is_told() -> None:
    seen: list[tuple[int, int]] = []
    run(gbv.DifferenceInMeans(), progress=lambda done, total: seen.append((done, total)))
    assert seen == [(20, 40), (40, 40)]
    seen.clear()
    run(gbv.DifferenceInMeans(), CLUSTERS, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(40, 40)]


def test_a_diagnosis_shows_itself_and_escapes_names() -> None:
    found = run([gbv.DifferenceInMeans(), Wrapped("fails")])
    frame = found.tidy()
    assert list(frame["estimator"]) == ["difference_in_means", "wrapped<b>"]
    assert {"bias", "bias_mcse", "power", "power_mcse", "coverage_defined", "path", "seed"} <= set(frame.columns)
    assert found.to_table().column("n_failed")[1] > 0
    assert "wrapped<b>" not in found._repr_html_()
    assert "wrapped&lt;b&gt;" in found._repr_html_()
    assert "IdentificationError" in found.summary()
    assert "40 draws" in repr(found)
    assert found["wrapped<b>"] is found[1]
    assert len(found) == 2
    with pytest.raises(KeyError, match="difference_in_means"):
        found["other"]


def test_monte_carlo_errors_are_those_of_the_textbook() -> None:
    rng = np.random.default_rng(8)
    n = 2000
    value = 1.0 + rng.normal(size=n)
    drawn = Replicates(
        label="x",
        estimand=Estimand("ITT", "mean_difference"),
        truth=1.0,
        value=value,
        std_error=np.ones(n),
        low=value - 1.0,
        high=value + 1.0,
        rejected=value > 0.5,
    )
    row = diagnose("x", drawn.estimand, 1.0, tally(drawn))
    assert row.bias.mcse == pytest.approx(value.std(ddof=1) / np.sqrt(n), rel=1e-12)
    share = np.mean(value > 0.5)
    assert row.power.mcse == pytest.approx(np.sqrt(share * (1 - share) / n), rel=1e-12)
    # A sample standard deviation of normal draws has the standard error 1 / sqrt(2 n); 2,000 draws, normal kurtosis.
    assert row.rmse.mcse == pytest.approx(1.0 / np.sqrt(2 * n), rel=0.1)
    assert row.se_ratio.mcse == pytest.approx(1.0 / np.sqrt(2 * n), rel=0.1)
    # Of the rejected (above 0.5) none is below zero; their mean over the truth of one is that of a truncated normal.
    assert row.type_s.value == 0.0
    assert row.type_m.value == pytest.approx(1.0 + norm.pdf(-0.5) / norm.sf(-0.5), abs=5.0 * row.type_m.mcse)
    assert row.type_m.mcse == pytest.approx(value[value > 0.5].std() / np.sqrt((value > 0.5).sum()), rel=0.01)


def test_a_standard_error_of_rounding_size_is_none() -> None:
    @dataclass(frozen=True)
    class Rounded:
        name: ClassVar[str] = "rounded"
        in_batches: ClassVar[bool] = True

        def estimate(self, data: gbv.Trial, *, rng: np.random.Generator | None = None) -> gbv.Estimates:
            return gbv.DifferenceInMeans().estimate(data)

        def estimate_batch(self, batch: ClusterBatch) -> BatchEstimates:
            found = gbv.DifferenceInMeans().estimate_batch(batch)
            return replace(found, std_error=np.where(found.value > 0.5, 1e-16, found.std_error))

    row = run(Rounded(), CLUSTERS)[0]
    values = run(gbv.DifferenceInMeans(), CLUSTERS).replicates[0].value
    assert row.n_undefined == int((values > 0.5).sum()) > 0


def test_a_test_by_resampling_rejects_by_its_own_p_value() -> None:
    plan = gbv.ParallelDesign(n_per_arm=4, outcome=gbv.Continuous())
    exact = gbv.RandomisationInference(statistic="difference")
    found = gbv.simulate_power(plan, [exact, gbv.DifferenceInMeans()], effect=2.0, n_draws=200, seed=1)
    # 70 allocations: a p-value below 0.05 needs one of the three most extreme differences (2/70 = 0.029 each two).
    assert 0.2 < found["randomisation_inference"].power.value < 1.0
    strict = gbv.simulate_power(plan, exact, effect=2.0, n_draws=200, seed=1, alpha=0.02)
    # No p-value of the test is below 2/70, whatever the effect.
    assert strict["randomisation_inference"].power.value == 0.0
