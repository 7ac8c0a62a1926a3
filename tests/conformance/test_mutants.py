"""Planted bugs: each wraps a sound estimator, and each must fail at least one check of the kit."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
import pytest

import gbveval as gbv
from gbveval.core.estimates import Estimates
from gbveval.core.method import Check as Finding
from gbveval.data.trial import Trial
from gbveval.testing.case import Case, Frame
from gbveval.testing.contract import CONTRACT
from gbveval.testing.invariance import INVARIANCE
from gbveval.testing.kit import Check, Verdict, run_check
from gbveval.testing.privacy import PRIVACY
from gbveval.testing.processes import SurveyFrames, TrialFrames
from gbveval.testing.refusal import REFUSAL
from gbveval.testing.statistics import STATISTICS, check_size_under_the_null

QUICK: tuple[Check, ...] = (*CONTRACT, *INVARIANCE, *REFUSAL, *PRIVACY)
# The size comes last, because it needs a second simulation.
ONE_SIMULATION: tuple[Check, ...] = (*QUICK, *(c for c in STATISTICS if c is not check_size_under_the_null))
ALL: tuple[Check, ...] = (*ONE_SIMULATION, check_size_under_the_null)
REAL = gbv.DifferenceInMeans()


def first_failure(case: Case, checks: Sequence[Check] = ALL) -> Verdict | None:
    """Return the first verdict that is not passed, or None if the kit finds nothing wrong."""
    for check in checks:
        verdict = run_check(case, check)
        if not verdict.passed:
            return verdict
    return None


def altered(data: Trial, **change: Any) -> Trial:
    """Return a trial with some arrays exchanged, unchecked."""
    names = ("n_assessed", "outcome_names", "outcomes", "arms", "arm", "cluster", "stratum", "pair", "site")
    known = {name: getattr(data, name) for name in (*names, "covariate_names", "covariates", "weight")}
    return Trial._trusted(**{**known, **change})


def rescaled(result: Estimates, factors: np.ndarray) -> Estimates:
    """Return the result with every unit's influence multiplied, standard errors and covariance following."""
    assert result.influence is not None
    influence = result.influence * factors[:, None]
    covariance = influence.T @ influence
    terms = tuple(
        row if row.std_error is None else replace(row, std_error=float(np.sqrt(covariance[i, i])))
        for i, row in enumerate(result.terms)
    )
    return replace(result, terms=terms, covariance=covariance, influence=influence)


class Mutant:
    """What the planted bugs share: the name of the estimator that they pretend to be."""

    name: ClassVar[str] = "difference_in_means"

    def estimate(self, data: Trial, *, rng: np.random.Generator | None = None) -> Estimates:
        return REAL.estimate(data)


@dataclass(frozen=True)
class IgnoresClustering(Mutant):
    def estimate(self, data: Trial, *, rng: np.random.Generator | None = None) -> Estimates:
        return REAL.estimate(altered(data, cluster=None))


@dataclass(frozen=True)
class NormalForT(Mutant):
    def estimate(self, data: Trial, *, rng: np.random.Generator | None = None) -> Estimates:
        result = REAL.estimate(data)
        return replace(result, terms=tuple(replace(row, df=float("inf")) for row in result.terms))


@dataclass(frozen=True)
class MutatesItsData(Mutant):
    def estimate(self, data: Trial, *, rng: np.random.Generator | None = None) -> Estimates:
        result = REAL.estimate(data)
        data.outcomes.flags.writeable = True
        data.outcomes[np.isnan(data.outcomes)] = 0.0
        data.outcomes[...] -= np.mean(data.outcomes)
        return result


@dataclass(frozen=True)
class UnseededDraws(Mutant):
    def estimate(self, data: Trial, *, rng: np.random.Generator | None = None) -> Estimates:
        result = REAL.estimate(data)
        noise = 1e-3 * np.random.default_rng().normal()
        return replace(result, terms=tuple(replace(row, value=(row.value or 0.0) + noise) for row in result.terms))


@dataclass(frozen=True)
class LogOfTheOutcome(Mutant):
    def estimate(self, data: Trial, *, rng: np.random.Generator | None = None) -> Estimates:
        with np.errstate(invalid="ignore", divide="ignore"):
            logs = np.log(data.outcomes)
        return REAL.estimate(altered(data, outcomes=logs))


@dataclass(frozen=True)
class PopulationVariance(Mutant):
    def estimate(self, data: Trial, *, rng: np.random.Generator | None = None) -> Estimates:
        sizes = np.bincount(data.arm)
        return rescaled(REAL.estimate(data), np.sqrt((sizes - 1.0) / sizes)[data.arm])


@dataclass(frozen=True)
class NoSmallSampleFactor(Mutant):
    """CR0: the factor for few clusters dropped, degrees of freedom clusters minus two."""

    def estimate(self, data: Trial, *, rng: np.random.Generator | None = None) -> Estimates:
        assert data.cluster is not None
        sizes = np.bincount(data.cluster.codes).astype(float)
        arm = np.zeros(sizes.size, dtype=int)
        arm[data.cluster.codes] = data.arm
        share = sizes / np.bincount(arm, weights=sizes)[arm]
        result = rescaled(REAL.estimate(data), np.sqrt(1.0 - share))
        return replace(result, terms=tuple(replace(row, df=sizes.size - 2.0) for row in result.terms))


@dataclass(frozen=True)
class IgnoresWeights(Mutant):
    def estimate(self, data: Trial, *, rng: np.random.Generator | None = None) -> Estimates:
        return REAL.estimate(altered(data, weight=None))


@dataclass(frozen=True)
class DependsOnClusterOrder(Mutant):
    """Drops the cluster whose label sorts last, as a loop over `range(1, n)` would."""

    def estimate(self, data: Trial, *, rng: np.random.Generator | None = None) -> Estimates:
        assert data.cluster is not None
        outcomes = data.outcomes.copy()
        outcomes[data.cluster.codes == data.cluster.count - 1] = np.nan
        return REAL.estimate(altered(data, outcomes=outcomes))


@dataclass(frozen=True)
class DependsOnRowOrder(Mutant):
    def estimate(self, data: Trial, *, rng: np.random.Generator | None = None) -> Estimates:
        outcomes = data.outcomes.copy()
        outcomes[-1] = np.nan
        return REAL.estimate(altered(data, outcomes=outcomes))


@dataclass(frozen=True)
class NamesACluster(Mutant):
    def estimate(self, data: Trial, *, rng: np.random.Generator | None = None) -> Estimates:
        assert data.cluster is not None
        result = REAL.estimate(data)
        told = tuple(Finding("size", "info", f"cluster {name} was analysed.") for name in data.cluster.levels)
        return replace(result, checks=(*result.checks, *told))


@dataclass(frozen=True)
class ZeroForUndefined(Mutant):
    """Reports a tiny standard error where there is none, as dividing by a floored variance does."""

    def estimate(self, data: Trial, *, rng: np.random.Generator | None = None) -> Estimates:
        result = REAL.estimate(data)
        if all(row.std_error is not None for row in result.terms):
            return result
        terms = tuple(replace(row, std_error=1e-12, df=10.0, reason="") for row in result.terms)
        return replace(result, terms=terms, covariance=np.diag(np.full(len(terms), 1e-24)))


@dataclass(frozen=True)
class TestsTheWrongTail(Mutant):
    """Halves every standard error of a correct result but not its covariance."""

    __test__ = False

    def estimate(self, data: Trial, *, rng: np.random.Generator | None = None) -> Estimates:
        result = REAL.estimate(data)
        terms = tuple(replace(row, std_error=(row.std_error or 0.0) / 2 or None) for row in result.terms)
        return replace(result, terms=terms)


@dataclass(frozen=True)
class OddsRatioForRiskRatio:
    """Reports the odds ratio under the name of the prevalence ratio."""

    name: ClassVar[str] = "risk_factors"

    def estimate(self, data: Any, *, rng: np.random.Generator | None = None) -> Estimates:
        result = gbv.RiskFactors(["exposed"], behaviour="experience").estimate(data)
        terms = list(result.terms)
        covariance = result.covariance.copy()
        for i, row in enumerate(terms):
            own = dict(row.extra)
            if row.estimand.contrast != "prevalence_ratio" or row.value is None or row.std_error is None:
                continue
            p, q = float(own["risk_exposed"]), float(own["risk_unexposed"])  # type: ignore[arg-type]
            odds = float(np.log(p / (1 - p)) - np.log(q / (1 - q)))
            stretch = odds / row.value
            terms[i] = replace(row, value=odds, std_error=row.std_error * abs(stretch))
            covariance[i, :] *= abs(stretch)
            covariance[:, i] *= abs(stretch)
        return replace(result, terms=tuple(terms), covariance=covariance, influence=None)


@dataclass(frozen=True)
class PositiveFrames(TrialFrames):
    """Trials whose outcome is above zero, so that its log exists."""

    def frame(self, rng: np.random.Generator) -> tuple[Frame, float]:
        frame, truth = super().frame(rng)
        return {**frame, "y": np.maximum(frame["y"] + 12.0, 0.5)}, truth


PLAIN = TrialFrames(n_per_arm=3)
CLUSTERS = TrialFrames(n_per_arm=6, cluster_size=10, uneven=True)
FEW_CLUSTERS = TrialFrames(n_per_arm=2, cluster_size=6)
WEIGHTS = TrialFrames(n_per_arm=100, weighted=True, effect=1.0)

MUTANTS: dict[str, Case] = {
    "ignores clustering": Case(IgnoresClustering(), CLUSTERS),
    "z for t": Case(NormalForT(), PLAIN),
    "mutates its data": Case(MutatesItsData(), PLAIN),
    "unseeded draws": Case(UnseededDraws(), PLAIN),
    "log of the outcome": Case(LogOfTheOutcome(), PositiveFrames(n_per_arm=30)),
    "ddof": Case(PopulationVariance(), PLAIN, n_draws=2000),
    "dropped G/(G-1)": Case(NoSmallSampleFactor(), FEW_CLUSTERS),
    "ignored weights": Case(IgnoresWeights(), WEIGHTS),
    "cluster order": Case(DependsOnClusterOrder(), CLUSTERS),
    "row order": Case(DependsOnRowOrder(), TrialFrames(n_per_arm=8)),
    "names a cluster": Case(NamesACluster(), CLUSTERS),
    "a standard error out of nothing": Case(ZeroForUndefined(), PLAIN),
    "covariance and standard errors apart": Case(TestsTheWrongTail(), PLAIN),
    "odds ratio for risk ratio": Case(
        OddsRatioForRiskRatio(), SurveyFrames(target="ratio", risk=0.3), equivariant=frozenset(), n_draws=400
    ),
}
# Only simulation can see these: without the statistical checks they would pass for sound.
STATISTICAL = ("z for t", "ddof", "dropped G/(G-1)", "ignored weights", "odds ratio for risk ratio")


@pytest.mark.parametrize("case", MUTANTS.values(), ids=MUTANTS.keys())
def test_the_kit_finds_the_planted_bug(case: Case) -> None:
    failure = first_failure(case)
    assert failure is not None, "no check of the kit saw the bug"
    assert failure.message


@pytest.mark.parametrize("name", STATISTICAL)
def test_some_bugs_are_seen_by_simulation_only(name: str) -> None:
    seen = first_failure(MUTANTS[name], QUICK)
    assert seen is None, f"{seen.check}: {seen.message}" if seen else ""


SOUND = {
    "three an arm": Case(REAL, PLAIN, n_draws=2000),
    "few clusters": Case(REAL, FEW_CLUSTERS),
    "clusters": Case(REAL, CLUSTERS),
    "positive": Case(REAL, PositiveFrames(n_per_arm=30)),
    "weights": Case(REAL, WEIGHTS),
}


@pytest.mark.parametrize("case", SOUND.values(), ids=SOUND.keys())
def test_the_sound_estimator_passes_on_the_same_data(case: Case) -> None:
    # Otherwise a mutant's failure would say nothing about the mutant.
    failure = first_failure(case, ONE_SIMULATION)
    assert failure is None, f"{failure.check}: {failure.message}" if failure else ""


def _failing(case: Case, checks: Sequence[Check] = PRIVACY) -> set[str]:
    return {verdict.check for check in checks if not (verdict := run_check(case, check)).passed}


def _keep_influence(self: Estimates) -> dict[str, Any]:
    return {name: getattr(self, name) for name in self.__dataclass_fields__ if name != "aggregator"} | {
        "aggregator": None
    }


def test_without_the_stripping_of_influence_the_privacy_checks_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Estimates, "__getstate__", _keep_influence)
    case = Case(REAL, TrialFrames(n_per_arm=12))
    assert {"check_saved_results_rebuild_nobody", "check_influence_stays_in_memory"} <= _failing(case)


def test_influence_in_the_json_fails_the_privacy_checks(monkeypatch: pytest.MonkeyPatch) -> None:
    write: Callable[[Estimates], str] = Estimates.to_json

    def with_influence(self: Estimates) -> str:
        content = json.loads(write(self))
        assert self.influence is not None
        return json.dumps({**content, "influence": self.influence.tolist()})

    monkeypatch.setattr(Estimates, "to_json", with_influence)
    case = Case(REAL, TrialFrames(n_per_arm=12))
    assert {"check_saved_results_rebuild_nobody", "check_influence_stays_in_memory"} <= _failing(case)


def test_an_influence_function_under_another_name_is_found_too(monkeypatch: pytest.MonkeyPatch) -> None:
    write: Callable[[Estimates], str] = Estimates.to_json

    def disguised(self: Estimates) -> str:
        assert self.influence is not None
        numbers = (3.0 - 2.0 * self.influence[:, 0]).tolist()
        return json.dumps({**json.loads(write(self)), "diagnostics": {"weights": numbers}})

    monkeypatch.setattr(Estimates, "to_json", disguised)
    assert "check_saved_results_rebuild_nobody" in _failing(Case(REAL, TrialFrames(n_per_arm=12)))
