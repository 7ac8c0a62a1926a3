"""Hides how simulated studies are drawn, handed to estimators that are not known here, and read."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from gbveval.core.batch import BatchEstimates, ClusterBatch
from gbveval.core.errors import DesignError, GbvevalError
from gbveval.core.estimand import Estimand
from gbveval.core.estimates import Estimates
from gbveval.core.protocols import BatchEstimator, BatchProcess, Estimator, Process
from gbveval.core.replicate import generators
from gbveval.numerics.inference import wald
from gbveval.planning.diagnosis import Diagnosis, Replicates, diagnose
from gbveval.planning.solver import check_share

FloatArray = NDArray[np.float64]
Progress = Callable[[int, int], None]
PATHS = ("auto", "data", "batch")
FEWEST_DRAWS = 10
# Rounding leaves about 1e-16 of the outcome's size as the standard error of an outcome that does not vary.
NO_SPREAD = 1e-13


@runtime_checkable
class _Design(Protocol):
    def process(self, effect: float) -> Any:
        """Return the process with this true effect."""


def simulate_power(  # noqa: PLR0913 - the vocabulary of DESIGN: each is a different thing a planner decides
    design: Any,
    estimators: Any,
    *,
    seed: int,
    effect: float | None = None,
    n_draws: int = 1000,
    alpha: float = 0.05,
    level: float = 0.95,
    estimand: Estimand | None = None,
    path: str = "auto",
    progress: Progress | None = None,
) -> Diagnosis:
    """Return how estimators do on simulated studies of a design: bias, calibration, coverage and power.

    The estimators are called as they will be called on the real study, so that what is powered is what is run.

    Parameters
    ----------
    design : design or process
        A design with `process(effect)`, or a process with `draw(rng)` and `truth(estimand)`.
    estimators : estimator or sequence of estimators
        Anything with `name` and `estimate(data, rng=...)`.
    seed : int
        Replicate i is the same whatever the number of draws, and every estimator sees the same studies.
    effect : float, optional
        True effect; needed for a design, refused for a process, which has its own.
    n_draws : int
        Simulated studies, at least 10. A power of 0.8 has a Monte Carlo standard error of 0.013 with 1,000.
    alpha, level : float
        Size of the tests; level of the intervals.
    estimand : Estimand, optional
        Which row of the estimates is meant; the first point by default.
    path : str
        "data" draws checked data. "batch" draws cluster totals, for estimators with `estimate_batch`: the same answer
        in distribution, much faster. "auto" takes the second if the process and all estimators can.
    progress : callable, optional
        Called with the number of studies done and their total.

    Returns
    -------
    Diagnosis

    Raises
    ------
    DesignError
        If a path or an effect is impossible, or the process does not know the truth of an estimand.

    Notes
    -----
    A draw in which an estimator raises a `GbvevalError`, or gives no value or interval, is counted as failed or
    undefined. It neither covers nor rejects, as no one could claim anything from it; the shares without such draws
    stand beside. A Bayesian answer rejects when its interval at level 1 - alpha excludes the null, which is 0 on the
    link scale.

    Examples
    --------
    >>> import gbveval as gbv
    >>> from gbveval.design.outcomes import Continuous
    >>> from gbveval.design.parallel import ParallelDesign
    >>> plan = ParallelDesign(n_per_arm=64, outcome=Continuous())
    >>> found = simulate_power(plan, gbv.DifferenceInMeans(), effect=0.5, n_draws=100, seed=1)
    >>> found["difference_in_means"].n_failed, found.path
    (0, 'data')
    """
    check_share("alpha", alpha)
    check_share("level", level)
    process = _process_of(design, effect)
    chosen = _estimators_of(estimators)
    for name, value, least in (("n_draws", n_draws, FEWEST_DRAWS), ("seed", seed, 0)):
        if not isinstance(value, (int, np.integer)) or value < least:
            raise DesignError(f"{name} must be a whole number, at least {least}; it is {value!r}.")
    way = _path_of(process, chosen, path)
    records = [_Record(label, n_draws, estimand) for label in _labels(chosen)]
    if way == "batch":
        _run_batches(process, chosen, records, seed, progress)
    else:
        _run_data(process, chosen, records, _Reading(seed, alpha, level), progress)
    replicates = tuple(record.replicates(process, alpha, level) for record in records)
    return Diagnosis(tuple(diagnose(item) for item in replicates), way, int(seed), alpha, level, replicates)


@dataclass(frozen=True, slots=True)
class _Reading:
    """How a simulation on the data path is seeded and its rows are read."""

    seed: int
    alpha: float
    level: float


@dataclass(eq=False)
class _Record:
    """Collects what one estimator says, draw by draw."""

    label: str
    n_draws: int
    asked: Estimand | None
    found: Estimand | None = None
    failures: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        columns = np.full((6, self.n_draws), np.nan)
        self.value, self.std_error, self.df, self.low, self.high, self.excludes = columns

    def meets(self, estimand: Estimand) -> None:
        """Note what is estimated; it has to stay the same."""
        if self.asked is not None and estimand != self.asked:
            raise DesignError(f"{self.label} estimates {estimand.words()}, not {self.asked.words()}.")
        if self.found is not None and estimand != self.found:
            raise DesignError(
                f"{self.label} estimates {self.found.words()} in one draw and {estimand.words()} in another; name the "
                "one that is meant with estimand=."
            )
        self.found = estimand

    def replicates(self, process: Any, alpha: float, level: float) -> Replicates:
        """Return the record, with Wald intervals and tests where the estimates brought none of their own."""
        aim = self.found or self.asked
        if aim is None:
            kinds = ", ".join(f"{kind} ({count})" for kind, count in self.failures.items())
            why = kinds or "its estimates have no row that is a point"
            raise DesignError(f"{self.label} gave no estimate in any of {self.n_draws} draws: {why}.")
        intervals = wald(self.value, self.std_error, df=self.df, level=level)
        tests = wald(self.value, self.std_error, df=self.df, level=1.0 - alpha)
        own = np.isfinite(self.low)
        rejected = np.where(np.isfinite(self.excludes), self.excludes == 1.0, tests.p_value < alpha)
        return Replicates(
            label=self.label,
            estimand=aim,
            truth=float(process.truth(aim)),
            value=self.value,
            std_error=self.std_error,
            low=np.where(own, self.low, intervals.conf_low),
            high=np.where(own, self.high, intervals.conf_high),
            rejected=np.asarray(rejected, dtype=bool),
            failures=tuple(sorted(self.failures.items())),
        )


def _process_of(design: Any, effect: float | None) -> Any:
    if isinstance(design, _Design):
        if effect is None:
            raise DesignError("Give the true effect to simulate: simulate_power(design, ..., effect=...).")
        return design.process(effect)
    if not isinstance(design, Process):
        raise DesignError(
            f"A {type(design).__name__} is neither a design (with process) nor a process (with draw and truth)."
        )
    if effect is not None:
        raise DesignError("A process has its own true effect; leave effect out, or give the design.")
    return design


def _estimators_of(estimators: Any) -> tuple[Any, ...]:
    chosen = tuple(estimators) if isinstance(estimators, Sequence) else (estimators,)
    strange = [type(item).__name__ for item in chosen if not isinstance(item, Estimator)]
    if strange or not chosen:
        found = f" {', '.join(strange)} has no name and estimate(data, rng=...)." if strange else ""
        raise DesignError(f"Give at least one estimator, such as DifferenceInMeans().{found}")
    return chosen


def _path_of(process: Any, estimators: tuple[Any, ...], path: str) -> str:
    if path not in PATHS:
        raise DesignError(f"path must be one of {', '.join(map(repr, PATHS))}; it is {path!r}.")
    lacking = [item.name for item in estimators if not isinstance(item, BatchEstimator)]
    able = isinstance(process, BatchProcess) and not lacking
    if path == "batch" and not able:
        what = f"estimate_batch is absent from {', '.join(lacking)}" if lacking else "the process has no draw_batch"
        raise DesignError(f"The batch path is not possible: {what}. Use path='data'.")
    return "batch" if able and path != "data" else "data"


def _labels(estimators: tuple[Any, ...]) -> list[str]:
    """Return names, numbered where estimators with other options share one."""
    names = [str(item.name) for item in estimators]
    return [
        name if names.count(name) == 1 else f"{name} ({names[: i + 1].count(name)})" for i, name in enumerate(names)
    ]


def _run_data(
    process: Any, estimators: tuple[Any, ...], records: list[_Record], reading: _Reading, progress: Progress | None
) -> None:
    n_draws = records[0].n_draws
    for number, rng in enumerate(generators(reading.seed, n_draws)):
        # Every estimator gets the same child, so that its place in the list does not matter.
        child = rng.bit_generator.seed_seq.spawn(1)[0]  # type: ignore[attr-defined]
        data = process.draw(rng)
        for estimator, record in zip(estimators, records, strict=True):
            try:
                estimates = estimator.estimate(data, rng=np.random.default_rng(child))
            except GbvevalError as error:
                record.failures[type(error).__name__] += 1
            else:
                _read(record, number, estimates, reading)
        if progress is not None:
            progress(number + 1, n_draws)


def _read(record: _Record, number: int, estimates: Estimates, reading: _Reading) -> None:
    """Take one row of the estimates into the record."""
    position = _row_of(estimates, record)
    if position is None:
        return
    row = estimates.terms[position]
    record.meets(row.estimand)
    if row.value is None:
        return
    record.value[number] = row.value
    record.std_error[number] = np.nan if row.std_error is None else row.std_error
    record.df[number] = row.df
    if row.p_value is not None:
        # A test by resampling is not that of value over standard error.
        record.excludes[number] = float(row.p_value < reading.alpha)
    if estimates.posterior is None and estimates.band is None and row.interval is None:
        return
    low, high = estimates.intervals(reading.level)
    record.low[number], record.high[number] = low[position], high[position]
    if not math.isclose(reading.alpha, 1.0 - reading.level):
        low, high = estimates.intervals(1.0 - reading.alpha)
    if row.p_value is None and np.isfinite(low[position]):
        record.excludes[number] = float(low[position] > 0.0 or high[position] < 0.0)


def _row_of(estimates: Estimates, record: _Record) -> int | None:
    """Return the position of the row that is meant: the first point with the estimand asked for."""
    points = [i for i, row in enumerate(estimates.terms) if row.kind == "point"]
    if record.asked is None:
        return points[0] if points else None
    found = [i for i in points if estimates.terms[i].estimand == record.asked]
    if not found:
        known = "; ".join(dict.fromkeys(estimates.terms[i].estimand.words() for i in points)) or "nothing"
        raise DesignError(f"{record.label} does not estimate {record.asked.words()}; it estimates {known}.")
    return found[0]


def _run_batches(
    process: Any, estimators: tuple[Any, ...], records: list[_Record], seed: int, progress: Progress | None
) -> None:
    n_draws = records[0].n_draws
    for start, batch in _batches(process, seed, n_draws):
        keep = min(batch.totals.shape[0], n_draws - start)
        there = slice(start, start + keep)
        # A standard error of rounding size is none, as for estimates from data.
        scale = np.sqrt(np.mean((batch.totals[:keep] / batch.sizes) ** 2, axis=1))
        for estimator, record in zip(estimators, records, strict=True):
            try:
                found: BatchEstimates = estimator.estimate_batch(batch)
            except GbvevalError as error:
                record.failures[type(error).__name__] += keep
                continue
            record.meets(found.estimand)
            spread = found.std_error[:keep]
            record.value[there] = found.value[:keep]
            record.std_error[there] = np.where(spread > NO_SPREAD * scale, spread, np.nan)
            record.df[there] = found.df[:keep]
        if progress is not None:
            progress(start + keep, n_draws)


def _batches(process: Any, seed: int, n_draws: int) -> Iterator[tuple[int, ClusterBatch]]:
    """Yield batches of a fixed size, each from its own generator, so that draw i never depends on `n_draws`."""
    size = int(getattr(process, "draws_per_batch", 1))
    for number, rng in enumerate(generators(seed, -(-n_draws // size))):
        yield number * size, process.draw_batch(size, rng)
