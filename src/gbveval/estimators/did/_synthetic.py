"""What `SyntheticControl` and `SyntheticDid` share: blocks out of a panel, replicates, rows, weights and paths."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gbveval.core.errors import DesignError, IdentificationError
from gbveval.core.estimand import Estimand
from gbveval.core.estimates import Estimates
from gbveval.core.method import Cell, Check
from gbveval.core.provenance import derive_seed, options_of
from gbveval.core.table import Table
from gbveval.core.term import Term
from gbveval.data._frame import plural
from gbveval.data.panel import Panel
from gbveval.estimators.did._balanced import Paths, balanced_paths, refuse_clusters
from gbveval.estimators.did._rollout import COHORTS, cohort_label, cohort_support, event_label, masked, point
from gbveval.numerics import synthetic as sy
from gbveval.numerics.allocations import Scheme, count_allocations, draw_allocations, enumerate_allocations, permuted

FloatArray = NDArray[np.float64]
STD_ERRORS = ("placebo", "bootstrap", "jackknife", "none")
EFFECT = Estimand("ATT", "mean_difference", "treated")
AVERAGES = ("simple", "cohort", "event_time")
NOT_ASKED = "no standard error was asked for"
STILL = "the effects of replicates (placebos, samples, units left out) do not vary"
ALL_ON_ONE = "one control has all the weight, so the jackknife cannot leave it out; use std_error='placebo'"
WEIGHT_COLUMNS = ("cohort", "kind", "name", "weight")
PATH_COLUMNS = ("cohort", "period", "treated", "synthetic", "difference", "time_weight")
# From here on a violated condition of the optimum is more than rounding.
UNSOLVED = 1e-6
# A misfit of this share of the standard deviation between units is poor.
POOR = 0.25


def check_options(estimator: Any) -> None:
    """Raise where an option of either estimator is impossible."""
    if estimator.std_error not in STD_ERRORS:
        raise DesignError(f"std_error must be one of {', '.join(STD_ERRORS)}, not {estimator.std_error!r}.")
    if estimator.n_draws < 20:
        raise DesignError("n_draws must be at least 20: fewer say nothing about a spread.")


def check_penalty(name: str, value: float | None) -> None:
    """Raise unless a penalty is zero or more, or left to the default."""
    if value is not None and not value >= 0:
        raise DesignError(f"{name} must be zero or more (infinite for equal weights), or None for the default.")


@dataclass(frozen=True, eq=False, slots=True)
class Study:
    """A rollout with its weights.

    Attributes
    ----------
    data : Panel
    paths : Paths
    rollout : gbveval.numerics.synthetic.Rollout
    settings : SyntheticSettings
    blocks : mapping of float to Block
    """

    data: Panel
    paths: Paths
    rollout: sy.Rollout
    settings: sy.SyntheticSettings
    blocks: Mapping[float, sy.Block]

    @property
    def n_controls(self) -> int:
        """Units that are never treated."""
        return int(np.isinf(self.paths.cohort).sum())

    @property
    def n_treated(self) -> int:
        """Units that are treated."""
        return self.paths.n - self.n_controls


def make_study(estimator: str, data: Panel, unbalanced: str, settings: sy.SyntheticSettings) -> Study:
    """Return the weights of every cohort; raise where the panel is no such rollout."""
    refuse_clusters(estimator, data, "Average each cluster to one row a period.")
    paths = balanced_paths(estimator, data, unbalanced, first_too=True)
    cohorts = np.unique(paths.cohort[np.isfinite(paths.cohort)])
    controls = int(np.isinf(paths.cohort).sum())
    if cohorts.size == 0:
        raise IdentificationError(
            "No unit with an outcome in every period is treated after the first one, so there is no effect to estimate."
        )
    if controls < 2:
        raise IdentificationError(
            f"{plural(controls, 'unit')} never treated; two are needed to make a synthetic one. Leave "
            "out the periods from the last cohort's treatment on: that cohort is then never treated."
        )
    short = [g for g in cohorts if (paths.periods < g).sum() < 2]
    if short:
        raise IdentificationError(
            f"{plural(len(short), 'cohort')} has a single period before treatment; two are needed to choose weights, "
            "and many to trust them. Leave the cohort out, or use CallawaySantAnna."
        )
    rollout = sy.rollout(paths.y, paths.cohort, paths.periods)
    return Study(data, paths, rollout, settings, rollout.blocks(paths.y, paths.cohort, settings))


@dataclass(frozen=True, eq=False, slots=True)
class Replicates:
    """Covariance of the rows, and how it came about.

    Attributes
    ----------
    covariance : ndarray, shape (rows, rows)
    words : str
    seed : int or None
    ratios : ndarray
        Of placebos of one cohort: root mean square of the gap after over before treatment.
    reason : str
        Why there is none.
    """

    covariance: FloatArray
    words: str
    seed: int | None
    ratios: FloatArray
    reason: str


def replicates(estimator: Any, study: Study, rng: np.random.Generator | None) -> Replicates:
    """Return the covariance by the method of the estimator's options."""
    kind, count = estimator.std_error, 1 + study.rollout.cohorts.size + study.rollout.events.size
    if kind == "none":
        nothing = np.full((count, count), np.nan)
        return Replicates(nothing, "none", None, np.empty(0), NOT_ASKED)
    if kind == "jackknife":
        _need_jackknife(study)
        if any(found.unit_weight.max() > 1.0 - 1e-12 for found in study.blocks.values()):
            nothing = np.full((count, count), np.nan)
            return Replicates(nothing, "jackknife over units, weights kept", None, np.empty(0), ALL_ON_ONE)
        rows = sy.jackknife_rows(study.rollout, study.blocks)
        return Replicates(sy.jackknife_covariance(rows), "jackknife over units, weights kept", None, np.empty(0), STILL)
    seed = derive_seed(study.data.digest, estimator.name, repr(options_of(estimator)))
    seed = seed if rng is None else int(rng.integers(2**31))
    draws = np.random.default_rng(seed)
    if kind == "bootstrap":
        _need_several(study, "bootstrap")
        rows = sy.bootstrap_rows(study.rollout, study.settings, estimator.n_draws, draws)
        words = f"bootstrap over units, {estimator.n_draws:,} samples, weights chosen anew"
        return Replicates(sy.replicate_covariance(rows), words, seed, np.empty(0), STILL)
    scheme, listed = _placebos(estimator, study)
    ratios: list[float] = []

    def seen(blocks: Mapping[float, sy.Block]) -> None:
        if len(blocks) == 1:
            ratios.append(fit_ratio(next(iter(blocks.values()))))

    rows = sy.placebo_rows(
        study.rollout, study.settings, _labels(study, scheme, listed, estimator.n_draws, draws), seen
    )
    how = f"all {rows.shape[0]:,} sets of controls" if listed else f"{rows.shape[0]:,} draws"
    words = f"placebo: treatment given to controls, {how}"
    return Replicates(sy.replicate_covariance(rows), words, None if listed else seed, np.array(ratios), STILL)


def fit_ratio(found: sy.Block) -> float:
    """Return the root mean square of the effect's path after treatment over the misfit before it."""
    after = float(np.sqrt(np.mean(found.path[found.n_before :] ** 2)))
    return after / found.fit if found.fit > 0 else (np.inf if after > 0 else 0.0)


def _need_several(study: Study, kind: str) -> None:
    if study.n_treated < 2:
        raise IdentificationError(
            f"One unit is treated: without it nothing is left, so the {kind} has no meaning. Use std_error='placebo'."
        )


def _need_jackknife(study: Study) -> None:
    _need_several(study, "jackknife")
    sizes = sy.cohort_sizes(study.paths.cohort)
    alone = sum(n < 2 for n in sizes.values())
    if alone:
        raise IdentificationError(
            f"{plural(alone, 'cohort')} is one unit: without it the cohort's effect is gone, so the jackknife has no "
            "meaning. Use std_error='placebo' or 'bootstrap'."
        )


def _placebos(estimator: Any, study: Study) -> tuple[Scheme, bool]:
    """Return how first treated periods are given to controls, and whether all ways are listed."""
    if study.n_controls <= study.n_treated + 1:
        raise IdentificationError(
            f"Placebo standard errors give treatment to as many controls as there are treated units "
            f"({study.n_treated:,}), and need two more to compare with; there are {study.n_controls:,}. Use "
            "std_error='bootstrap', or leave periods out so that later cohorts become controls."
        )
    labels = np.full(study.n_controls, study.rollout.cohorts.size)
    codes = np.searchsorted(study.rollout.cohorts, study.paths.cohort[np.isfinite(study.paths.cohort)])
    labels[: codes.size] = codes
    scheme = permuted(labels)
    return scheme, count_allocations(scheme) <= estimator.n_draws


def _labels(study: Study, scheme: Scheme, listed: bool, n_draws: int, rng: np.random.Generator) -> Iterator[FloatArray]:
    values = np.append(study.rollout.cohorts, np.inf)
    chunks = (codes for codes, _ in enumerate_allocations(scheme)) if listed else draw_allocations(scheme, n_draws, rng)
    for chunk in chunks:
        yield from values[chunk]


def synthetic_rows(study: Study, found: Replicates) -> tuple[tuple[Term, ...], FloatArray, FloatArray]:
    """Return every row (the average, cohorts, event times), with covariance and values."""
    values = study.rollout.rows(study.blocks, sy.cohort_sizes(study.paths.cohort))
    errors = np.sqrt(np.maximum(np.diag(found.covariance), 0.0))
    least = 1e-13 * float(np.sqrt(np.mean(study.paths.y**2)))
    errors = np.where(errors > least, errors, np.nan)
    names = ["overall", *(cohort_label(study.data, float(g)) for g in study.rollout.cohorts)]
    extras: list[tuple[tuple[str, float], ...]] = [() for _ in names]
    if len(study.blocks) == 1 and study.settings.time_weights:
        extras[0] = (("unit_penalty", next(iter(study.blocks.values())).unit_penalty),)
    names += [event_label(float(e)) for e in study.rollout.events]
    extras += [(("event_time", float(e)),) for e in study.rollout.events]
    support = cohort_support(study.data, study.paths.sizes(), COHORTS)
    terms = tuple(
        point(
            name,
            EFFECT,
            study.data.outcome_name,
            (float(value), float(error)),
            found.reason,
            n_units=study.paths.n,
            support=support,
            extra=extra,
        )
        for name, value, error, extra in zip(names, values, errors, extras, strict=True)
    )
    return terms, masked(found.covariance, terms), values


@dataclass(frozen=True, eq=False, slots=True)
class SyntheticAggregator:
    """Shows the average with the effects of cohorts, or the path by event time."""

    terms: tuple[Term, ...]
    covariance: FloatArray
    n_cohorts: int

    def chosen(self, by: str) -> list[int]:
        """Return the positions of the rows."""
        if by not in AVERAGES:
            raise DesignError(f"These effects are shown by {', '.join(AVERAGES)}, not {by!r}.")
        cohorts, count = self.n_cohorts, len(self.terms)
        return {"simple": [0], "cohort": list(range(1 + cohorts)), "event_time": [0, *range(1 + cohorts, count)]}[by]

    def aggregate(self, estimates: Estimates, by: str, options: Mapping[str, Any]) -> Estimates:
        """Return the average first, and the rows asked for."""
        rows = self.chosen(by)
        if options:
            raise DesignError("Effects of synthetic controls are shown as they are, without options.")
        return replace(
            estimates,
            terms=tuple(self.terms[i] for i in rows),
            covariance=self.covariance[np.ix_(rows, rows)],
            aggregator=None,
            band=None,
        )


def synthetic_checks(study: Study) -> tuple[Check, ...]:
    """Return fit before treatment, concentration of the weights, and what the solver left."""
    fits = [found.fit for found in study.blocks.values()]
    plain = [_plain_fit(study, g) for g in study.blocks]
    worst = int(np.argmax(fits))
    over = "" if len(fits) == 1 else " in the cohort that fits worst"
    text = f"before treatment the synthetic path misses the treated one by {fits[worst]:.3g} (root mean square){over}; "
    text += f"the plain average of the controls would by {plain[worst]:.3g}."
    # Without an intercept the level must fit too: a treated unit outside of the controls shows here.
    spread = float(np.std(study.paths.y - study.paths.y.mean(axis=0)))
    poor = not study.settings.intercept and fits[worst] > POOR * spread
    checks = [Check("fit before treatment", "warn" if poor else "ok", text)]
    effective = [1.0 / float(np.sum(found.unit_weight**2)) for found in study.blocks.values()]
    largest = max(float(found.unit_weight.max()) for found in study.blocks.values())
    text = f"{min(effective):.3g} effective controls of {study.n_controls:,}; the largest weight is {largest:.2f}."
    public = f"the largest weight of a control is {largest:.2f}."
    checks.append(Check("weights", "warn" if largest > 0.5 else "ok", text, public))
    before = min(found.n_before for found in study.blocks.values())
    if before < 5:
        text = f"weights are chosen on {before} periods before treatment, which fit by chance more easily than many."
        checks.append(Check("few periods before", "warn", text))
    if max(found.optimality for found in study.blocks.values()) > UNSOLVED:
        checks.append(Check("solver", "fail", "the weights are not at their optimum. Scale the outcome, or report it."))
    return (*checks, *study.paths.checks())


def _plain_fit(study: Study, cohort: float) -> float:
    """Return what the plain average of the controls would miss by."""
    y, n_before = study.paths.y, study.blocks[cohort].n_before
    gap = (y[study.paths.cohort == cohort].mean(axis=0) - y[np.isinf(study.paths.cohort)].mean(axis=0))[:n_before]
    return float(np.sqrt(np.mean((gap - gap.mean()) ** 2 if study.settings.intercept else gap**2)))


def weights_table(study: Study, *, names: bool) -> Table:
    """Return the weights of units, the largest first, and of periods; units without names unless they are asked for."""
    assert study.data.unit is not None
    controls = study.paths.unit[np.isinf(study.paths.cohort)]
    known = [study.data.unit.levels[int(i)] for i in controls]
    rows: list[tuple[str, str, str, float]] = []
    support: list[tuple[Cell, ...]] = []
    everyone = cohort_support(study.data, study.paths.sizes(), COHORTS)
    for g, found in study.blocks.items():
        cohort = study.data.calendar.name(g)
        order = sorted(range(len(known)), key=lambda i: (-found.unit_weight[i], known[i]))
        for place, i in enumerate(order, 1):
            label = known[i] if names else f"control {place}"
            rows.append((cohort, "unit", label, float(found.unit_weight[i])))
            support.append((Cell(label, 1, None, f"control units of cohort {cohort}"),))
        if study.settings.time_weights:
            before = study.paths.periods[: found.n_before]
            rows += [
                (cohort, "period", study.data.calendar.name(float(t)), float(w))
                for t, w in zip(before, found.time_weight, strict=True)
            ]
            support += [everyone] * found.n_before
    notes = ("Weights of units sum to one, and so do those of periods. A row of a unit rests on that unit alone.",)
    return Table("Weights of the synthetic path", WEIGHT_COLUMNS, tuple(rows), notes=notes, support=tuple(support))


def paths_table(study: Study, cohort: Any) -> Table:
    """Return the treated and the synthetic path of one cohort, the latter raised to the treated one's level."""
    g = _which(study, cohort)
    found = study.blocks[g]
    mean = study.paths.y[study.paths.cohort == g].mean(axis=0)
    times = np.append(found.time_weight, np.zeros(found.path.size - found.n_before))
    rows = [
        (study.data.calendar.name(g), study.data.calendar.name(float(t)), *(float(x) for x in numbers))
        for t, *numbers in zip(study.paths.periods, mean, mean - found.path, found.path, times, strict=True)
    ]
    level = "raised by the weighted difference before treatment" if study.settings.intercept else "as it is"
    support = cohort_support(study.data, study.paths.sizes(), COHORTS)
    title = f"Treated and synthetic path, {study.data.outcome_name}"
    notes = (f"The synthetic path is shown {level}; the difference is the effect from the first treated period on.",)
    return Table(title, PATH_COLUMNS, tuple(rows), notes=notes, support=(support,) * len(rows))


def _which(study: Study, cohort: Any) -> float:
    """Return the cohort asked for, by its name."""
    names = {study.data.calendar.name(g): g for g in study.blocks}
    if cohort is None and len(names) == 1:
        return next(iter(study.blocks))
    if str(cohort) not in names:
        raise DesignError(f"Say which cohort's path by cohort=...; there are {', '.join(names)}.")
    return names[str(cohort)]
