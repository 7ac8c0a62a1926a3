"""From fitted numbers to `Estimates`: rows, joint covariance, flow, checks and provenance in one way for all trials."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gbveval.core.errors import DesignError
from gbveval.core.estimand import Estimand
from gbveval.core.estimates import Estimates
from gbveval.core.method import Cell, Check, Method
from gbveval.core.provenance import Provenance, options_of, versions
from gbveval.core.term import Term
from gbveval.data.trial import Trial

_NO_VARIATION = "nothing is left to vary around the fit, so there is no standard error"
# What a comparison of those with an outcome says of the others.
OBSERVED_ONLY = (
    "the comparison is of those observed, and holds for everybody only if what is missing is unrelated to the outcome."
)
FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]


@dataclass(frozen=True, eq=False, slots=True)
class Row:
    """One fitted number before it becomes a `Term`.

    Attributes
    ----------
    term, outcome : str
        Labels.
    value : float
        Estimate; NaN or infinite where there is none, with a `reason`.
    influence : ndarray or None, shape (independent units,)
        Its sum of squares is the variance; None where the covariance is given as a whole.
    df : float
        Degrees of freedom.
    estimand : Estimand
        What it estimates.
    n_units, n_clusters : int or None
        What it rests on.
    support : tuple of Cell
        Counts for disclosure control.
    extra : tuple of (str, value)
        Columns of the method's own.
    reason : str
        Why there is no standard error, where its absence has another cause than an outcome that does not vary.
    """

    term: str
    outcome: str
    value: float
    influence: FloatArray | None
    df: float
    estimand: Estimand
    n_units: int
    n_clusters: int | None = None
    support: tuple[Cell, ...] = ()
    extra: tuple[tuple[str, float | str | None], ...] = ()
    reason: str = ""


def require_parallel(estimator: str, trial: Trial, *, crossover: bool = False) -> None:
    """Raise where a cluster does not stay, as a whole, in one arm: what is compared is then more than two arms.

    The one place that refuses such designs by name. `crossover` is for estimators that take clusters which change arm
    between periods.
    """
    if trial.saturation is not None:
        raise DesignError(
            f"{estimator} takes everybody in a cluster as assigned alike; this trial declares a saturation, so a "
            "cluster holds both arms, and people not treated may be reached all the same. Use SaturationEffects."
        )
    if trial.crosses_over and not crossover:
        raise DesignError(
            f"{estimator} compares arms that stay the same; here clusters change arm between periods, and a "
            "comparison that leaves the period out would take trends for effects. Use an estimator for stepped wedges, "
            "or one period at a time."
        )


def mean_contrast(trial: Trial, outcome: int) -> str:
    """Return the name of a difference in means of this outcome."""
    return "risk_difference" if trial.is_binary(outcome) else "mean_difference"


def arm_support(trial: Trial, outcome: int, used: BoolArray, arms: Sequence[int]) -> tuple[Cell, ...]:
    """Return the counts behind a comparison of arms, over the units that were used."""
    happened = events_of(trial.outcomes[:, outcome])
    cells = []
    for code in arms:
        member = used & (trial.arm == code)
        events = None if happened is None else int(happened[member].sum())
        cells.append(Cell(trial.arms[code], int(member.sum()), events, f"{trial.outcome_names[outcome]} by arm"))
    return tuple(cells)


def events_of(values: FloatArray) -> BoolArray | None:
    """Return who has the outcome, where a mean of it counts people: however it is coded.

    Two values, whatever they are, are an event and its absence. Whole numbers that are mostly zero are counts of which
    the few that are not zero are the people at risk. Anything else has no events.
    """
    # A few values that are no whole numbers settle it for a measurement, without sorting a million of them.
    head = values[:64]
    head = np.unique(head[~np.isnan(head)])
    if head.size > 2 and not np.all(head == np.round(head)):
        return None
    observed = values[~np.isnan(values)]
    distinct = np.unique(observed)
    if distinct.size == 2:
        return np.asarray(values == distinct[1], dtype=bool)
    whole = observed.size > 0 and bool(np.all(observed == np.round(observed)) and observed.min() == 0)
    if whole and float(np.mean(observed != 0)) < 0.5:
        return np.asarray(values > 0, dtype=bool)
    if distinct.size == 1 and distinct[0] in (0.0, 1.0):
        return np.asarray(values == 1, dtype=bool)
    return None


def sample_words(trial: Trial, outcome: int) -> str:
    """Say which units were analysed and which were not."""
    observed = int(trial.observed(outcome).sum())
    missing = trial.n - observed
    tail = "" if missing == 0 else f"; {missing:,} have no outcome and are left out, not imputed"
    return f"{observed:,} of {trial.n:,} randomised units have the outcome {trial.outcome_names[outcome]}{tail}"


def all_samples(trial: Trial) -> str:
    """Say for every outcome which units were analysed."""
    return "; ".join(sample_words(trial, number) for number in range(len(trial.outcome_names)))


def missing_check(trial: Trial) -> tuple[Check, ...]:
    """Return a check on outcomes that are missing at a different rate by arm."""
    found = []
    for number, name in enumerate(trial.outcome_names):
        observed = trial.observed(number)
        if observed.all():
            continue
        seen, everybody = trial.sizes_by_arm(observed)[0], trial.sizes_by_arm(np.ones_like(observed))[0]
        rates = [float(rate) for rate in 1.0 - seen / everybody]
        shown = ", ".join(f"{rate:.1%} in {label!r}" for rate, label in zip(rates, trial.arms, strict=True))
        status = "warn" if max(rates) > 0.05 or max(rates) - min(rates) > 0.03 else "info"
        found.append(
            Check(
                "missing outcome",
                status,
                f"{name} is missing for {shown}; {OBSERVED_ONLY}",
                f"{name} is missing for some units (the participant flow counts them); {OBSERVED_ONLY}",
            )
        )
    return tuple(found)


def assemble(
    estimator: Any,
    trial: Trial,
    rows: Sequence[Row],
    *,
    method: Method,
    checks: Sequence[Check] = (),
    blocks: NDArray[np.intp] | None = None,
    covariance: FloatArray | None = None,
) -> Estimates:
    """Return the `Estimates` of a randomised comparison.

    Parameters
    ----------
    estimator : Estimator
        Whose name and options are recorded.
    trial : Trial
        The data.
    rows : sequence of Row
        In the order shown.
    method : Method
        In words.
    checks : sequence of Check
        What was looked at.
    blocks : ndarray of int, optional
        Which variance each independent unit belongs to.
    covariance : ndarray, shape (rows, rows), optional
        For methods without influence functions; NaN between rows whose covariance is not known.
    """
    influence = _stacked(rows)
    if covariance is None:
        if influence is None:
            raise ValueError("Rows without influence functions need their covariance.")
        covariance = influence.T @ influence
    covariance = covariance.copy()
    sizes = {name: _size(trial.outcomes[:, number]) for number, name in enumerate(trial.outcome_names)}
    terms = []
    for number, row in enumerate(rows):
        variance = covariance[number, number]
        # Rounding leaves about 1e-16 of the outcome's size where there is no variation at all.
        estimated = bool(np.isfinite(row.value))
        defined = estimated and variance > (1e-13 * sizes[row.outcome]) ** 2 and row.df > 0
        terms.append(
            Term(
                term=row.term,
                estimand=row.estimand,
                outcome=row.outcome,
                value=float(row.value) if estimated else None,
                std_error=float(np.sqrt(variance)) if defined else None,
                df=float(row.df) if np.isfinite(row.df) or row.df > 0 else float("nan"),
                n_units=row.n_units,
                n_clusters=row.n_clusters,
                support=row.support,
                extra=row.extra,
                reason="" if defined else row.reason or _NO_VARIATION,
            )
        )
        if not defined:
            covariance[number, :] = covariance[:, number] = np.nan
    return Estimates(
        estimator=estimator.name,
        terms=tuple(terms),
        covariance=covariance,
        method=method,
        checks=(*checks, *missing_check(trial)),
        provenance=Provenance(trial.digest, tuple(options_of(estimator).items()), None, versions()),
        flow=trial.flow(),
        influence=influence,
        blocks=blocks,
    )


def assemble_terms(
    estimator: Any,
    trial: Trial,
    terms: Sequence[Term],
    *,
    method: Method,
    checks: Sequence[Check] = (),
    seed: int | None = None,
) -> Estimates:
    """Return the `Estimates` of rows that are finished: tests, bounds, or points whose joint covariance is not known.

    Parameters
    ----------
    estimator : Estimator
        Whose name and options are recorded.
    trial : Trial
        The data.
    terms : sequence of Term
        In the order shown.
    method : Method
        In words.
    checks : sequence of Check
        What was looked at.
    seed : int, optional
        Of what was drawn.
    """
    errors = [np.nan if term.std_error is None else term.std_error for term in terms]
    covariance = np.full((len(terms), len(terms)), np.nan)
    np.fill_diagonal(covariance, np.square(errors))
    return Estimates(
        estimator=estimator.name,
        terms=tuple(terms),
        covariance=covariance,
        method=method,
        checks=(*checks, *missing_check(trial)),
        provenance=Provenance(trial.digest, tuple(options_of(estimator).items()), seed, versions()),
        flow=trial.flow(),
    )


def _stacked(rows: Sequence[Row]) -> FloatArray | None:
    """Return the influence functions side by side, or None where a row has none."""
    columns = [row.influence for row in rows if row.influence is not None]
    return np.column_stack(columns) if len(columns) == len(rows) else None


def _size(values: FloatArray) -> float:
    """Return the root mean square of the observed values."""
    observed = values[~np.isnan(values)]
    return float(np.sqrt(np.mean(observed**2))) if observed.size else 0.0
