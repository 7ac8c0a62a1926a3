"""Hides how a shard of simulated studies is drawn, handed to estimators that are not known here, and read."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gbveval.core.batch import BatchEstimates
from gbveval.core.errors import DesignError, GbvevalError
from gbveval.core.estimand import Estimand
from gbveval.core.estimates import Estimates
from gbveval.core.replicate import generator
from gbveval.numerics.inference import wald_interval, wald_rejects
from gbveval.planning.tally import Replicates, Tally, tally

FloatArray = NDArray[np.float64]
# Rounding leaves about 1e-16 of the outcome's size as the standard error of an outcome that does not vary.
NO_SPREAD = 1e-13
# Studies that are drawn and kept together on the data path; an interruption costs no more than these.
DATA_SHARD = 20


@dataclass(frozen=True, slots=True)
class Reading:
    """What is simulated and how estimates are read.

    Attributes
    ----------
    estimators : tuple
        Estimators.
    labels : tuple of str
        Their names, numbered where several share one.
    asked : Estimand or None
        Which row is meant; the first point by default.
    seed : int
        Seed of the simulation.
    alpha, level : float
        Size of the tests; level of the intervals.
    alternative : str
        "two_sided", "greater" or "less" than the null, which is zero on the link scale.
    path : str
        "data" or "batch".
    per_shard, n_draws : int
        Studies in a shard, and in all.
    keep : bool
        Whether every study's answer is kept.
    """

    estimators: tuple[Any, ...]
    labels: tuple[str, ...]
    asked: Estimand | None
    seed: int
    alpha: float
    level: float
    alternative: str
    path: str
    per_shard: int
    n_draws: int
    keep: bool

    def count(self, number: int) -> int:
        """Return how many studies a shard has."""
        return min(self.per_shard, self.n_draws - number * self.per_shard)


@dataclass(frozen=True, eq=False, slots=True)
class Part:
    """What one estimator said about the studies of some shards.

    Attributes
    ----------
    estimand : Estimand or None
        What it estimates; None where it said nothing.
    truth : float
        Its true value; NaN where it said nothing.
    tally : Tally
        Counts and sums.
    kept : tuple of Replicates
        What it said about each study, shard by shard; empty unless it was to be kept.
    """

    estimand: Estimand | None
    truth: float
    tally: Tally
    kept: tuple[Replicates, ...] = ()

    def joined(self, other: Part, label: str) -> Part:
        """Return this part and the next; both must be about the same thing."""
        if self.estimand is None or other.estimand is None:
            found = self if other.estimand is None else other
            return Part(found.estimand, found.truth, self.tally + other.tally, self.kept + other.kept)
        if self.estimand != other.estimand:
            raise _fickle(label, self.estimand, other.estimand)
        return Part(self.estimand, self.truth, self.tally + other.tally, self.kept + other.kept)

    def to_plain(self) -> dict[str, Any]:
        """Return the part as JSON can hold it, to the last bit."""
        return {
            "estimand": None if self.estimand is None else asdict(self.estimand),
            "truth": self.truth,
            "tally": self.tally.to_plain(),
            "kept": [
                {name: getattr(item, name).tolist() for name in COLUMNS} | {"failures": list(item.failures)}
                for item in self.kept
            ],
        }

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any], label: str) -> Part:
        """Return the part that `to_plain` described."""
        aim = None if plain["estimand"] is None else Estimand(**plain["estimand"])
        truth = float(plain["truth"])
        kept = tuple(
            Replicates(
                label=label,
                estimand=aim or NOTHING,
                truth=truth,
                failures=tuple((str(kind), int(count)) for kind, count in item["failures"]),
                **{name: np.asarray(item[name]) for name in COLUMNS},
            )
            for item in plain["kept"]
        )
        return cls(aim, truth, Tally.from_plain(plain["tally"]), kept)


COLUMNS = ("value", "std_error", "low", "high", "rejected")
# Stands for what an estimator that said nothing would have estimated.
NOTHING = Estimand("ITT", "mean_difference")


@dataclass(frozen=True, slots=True)
class ShardTask:
    """Draws and reads the studies of one shard of one process.

    Attributes
    ----------
    processes : tuple
        Processes, each with its truth.
    reading : Reading
        How they are read.
    """

    processes: tuple[Any, ...]
    reading: Reading

    def __call__(self, shard: tuple[int, int]) -> tuple[Part, ...]:
        """Return what each estimator said about the shard (position of the process, number of the shard)."""
        process, number = self.processes[shard[0]], shard[1]
        count = self.reading.count(number)
        records = [_Record(label, count, self.reading.asked) for label in self.reading.labels]
        run = _run_batch if self.reading.path == "batch" else _run_data
        run(process, number, records, self.reading)
        return tuple(record.part(process, self.reading) for record in records)


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
            raise _fickle(self.label, self.found, estimand)
        self.found = estimand

    def part(self, process: Any, reading: Reading) -> Part:
        """Return the record added up, with Wald intervals and tests where the estimates brought none of their own."""
        aim = self.found or self.asked
        truth = math.nan if aim is None else float(process.truth(aim))
        low, high = wald_interval(self.value, self.std_error, df=self.df, level=reading.level)
        tests = wald_rejects(
            self.value, self.std_error, df=self.df, alpha=reading.alpha, alternative=reading.alternative
        )
        own = np.isfinite(self.low)
        drawn = Replicates(
            label=self.label,
            estimand=aim or NOTHING,
            truth=truth,
            value=self.value,
            std_error=self.std_error,
            low=np.where(own, self.low, low),
            high=np.where(own, self.high, high),
            rejected=np.where(np.isfinite(self.excludes), self.excludes == 1.0, tests),
            failures=tuple(sorted(self.failures.items())),
        )
        return Part(aim, truth, tally(drawn), (drawn,) if reading.keep else ())


def _fickle(label: str, first: Estimand, second: Estimand) -> DesignError:
    return DesignError(
        f"{label} estimates {first.words()} in one draw and {second.words()} in another; name the one that is meant "
        "with estimand=."
    )


def _run_data(process: Any, number: int, records: list[_Record], reading: Reading) -> None:
    for place in range(records[0].n_draws):
        rng = generator(reading.seed, number * reading.per_shard + place)
        # Every estimator gets the same child, so that its place in the list does not matter.
        child = rng.bit_generator.seed_seq.spawn(1)[0]  # type: ignore[attr-defined]
        data = process.draw(rng)
        for estimator, record in zip(reading.estimators, records, strict=True):
            try:
                estimates = estimator.estimate(data, rng=np.random.default_rng(child))
            except GbvevalError as error:
                record.failures[type(error).__name__] += 1
            else:
                _read(record, place, estimates, reading)


def _read(record: _Record, place: int, estimates: Estimates, reading: Reading) -> None:
    """Take one row of the estimates into the record."""
    position = _row_of(estimates, record)
    if position is None:
        return
    row = estimates.terms[position]
    record.meets(row.estimand)
    if row.value is None:
        return
    record.value[place] = row.value
    record.std_error[place] = np.nan if row.std_error is None else row.std_error
    record.df[place] = row.df
    towards = {"two_sided": True, "greater": row.value > 0.0, "less": row.value < 0.0}[reading.alternative]
    # A two-sided test of twice the size that looks on one side only is the one-sided test.
    size = reading.alpha if reading.alternative == "two_sided" else 2.0 * reading.alpha
    if row.p_value is not None:
        # A test by resampling is not that of value over standard error.
        record.excludes[place] = float(towards and row.p_value < size)
    if estimates.posterior is None and estimates.band is None and row.interval is None:
        return
    low, high = estimates.intervals(reading.level)
    record.low[place], record.high[place] = low[position], high[position]
    if row.p_value is None and size < 1.0:
        if not math.isclose(size, 1.0 - reading.level):
            low, high = estimates.intervals(1.0 - size)
        if np.isfinite(low[position]):
            record.excludes[place] = float(towards and (low[position] > 0.0 or high[position] < 0.0))


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


def _run_batch(process: Any, number: int, records: list[_Record], reading: Reading) -> None:
    """Read one batch, drawn whole whatever the number of studies wanted, so that a study never depends on it."""
    batch = process.draw_batch(reading.per_shard, generator(reading.seed, number))
    keep = records[0].n_draws
    # A standard error of rounding size is none, as for estimates from data.
    scale = np.sqrt(np.mean((batch.totals[:keep] / batch.sizes[:keep]) ** 2, axis=1))
    for estimator, record in zip(reading.estimators, records, strict=True):
        try:
            found: BatchEstimates = estimator.estimate_batch(batch)
        except GbvevalError as error:
            record.failures[type(error).__name__] += keep
            continue
        record.meets(found.estimand)
        spread = found.std_error[:keep]
        record.value[:] = found.value[:keep]
        record.std_error[:] = np.where(spread > NO_SPREAD * scale, spread, np.nan)
        record.df[:] = found.df[:keep]
