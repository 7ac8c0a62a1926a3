"""Hides how studies of a design are simulated: checked, cut into shards, run, resumed and summed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np

from gbveval.core.errors import DesignError
from gbveval.core.estimand import Estimand
from gbveval.core.progress import Told
from gbveval.core.protocols import BatchEstimator, BatchProcess, Estimator, Process
from gbveval.core.provenance import digest_arrays, versions
from gbveval.core.shards import Checkpoint, identity, run_shards
from gbveval.core.table import Table
from gbveval.design._require import one_of, real
from gbveval.numerics.inference import ALTERNATIVES
from gbveval.planning._draws import DATA_SHARD, Part, Reading, ShardTask
from gbveval.planning.diagnosis import Diagnosis, diagnose
from gbveval.planning.solver import check_share
from gbveval.planning.tally import Replicates

Progress = Callable[[int, int], None]
PATHS = ("auto", "data", "batch")
FEWEST_DRAWS = 10


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
    alternative: str = "two_sided",
    estimand: Estimand | None = None,
    path: str = "auto",
    n_jobs: int | None = None,
    checkpoint: str | Path | None = None,
    keep_replicates: bool = False,
    progress: bool | Progress | None = None,
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
    alternative : str
        What the tests are against: "two_sided", "greater" or "less" than no effect. A test by resampling rejects on one
        side when its two-sided p-value is below twice alpha.
    estimand : Estimand, optional
        Which row of the estimates is meant; the first point by default.
    path : str
        "data" draws checked data. "batch" draws cluster cross-products, for estimators with `estimate_batch`: the same
        answer in distribution, much faster. "auto" takes the second if the process and all estimators can.
    n_jobs : int, optional
        Processes that share the work, as joblib counts them (-1: all cores); the answer is the same to the last bit. By
        default what `joblib.parallel_config` says, so that the same call runs on a Dask cluster.
    checkpoint : str or path, optional
        A file in which finished work is kept, a few studies at a time. After an interruption the same call goes on from
        there and gives what it would have given; a call for more draws adds to it.
    keep_replicates : bool
        Whether `Diagnosis.replicates` has every study's answer. Otherwise memory does not grow with the draws.
    progress : bool or callable, optional
        By default a bar where standard error is a terminal and the work is long; True shows one in a notebook too,
        False none. A function is called with the number of studies done and their total.

    Returns
    -------
    Diagnosis

    Raises
    ------
    DesignError
        If a path or an effect is impossible, the process does not know the truth of an estimand, or the checkpoint
        keeps other work.

    Notes
    -----
    A draw in which an estimator raises a `GbvevalError`, or gives no value or interval, is counted as failed or
    undefined. It neither covers nor rejects, as no one could claim anything from it; the shares without such draws
    stand beside. A Bayesian answer rejects when its interval at level 1 - alpha excludes the null, which is 0 on the
    link scale (one-sided: at level 1 - 2 alpha, on that side).

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
    process = _process_of(design, effect)
    reading = _reading(
        process, estimators, (seed, n_draws, alpha, level, alternative), (estimand, path, keep_replicates)
    )
    return _simulate((process,), reading, n_jobs, checkpoint, progress)[0]


def simulate_curve(  # noqa: PLR0913 - the options of `simulate_power`
    design: Any,
    estimators: Any,
    effects: Sequence[float],
    *,
    seed: int,
    n_draws: int = 1000,
    alpha: float = 0.05,
    level: float = 0.95,
    alternative: str = "two_sided",
    estimand: Estimand | None = None,
    path: str = "auto",
    n_jobs: int | None = None,
    checkpoint: str | Path | None = None,
    progress: bool | Progress | None = None,
) -> Table:
    """Return the power of estimators over several true effects, by simulation with common random numbers.

    Every effect meets the same random numbers, so that the curve does not wiggle: with a normal outcome a one-sided
    curve never falls.

    Parameters
    ----------
    design : design
        A design with `process(effect)`.
    estimators : estimator or sequence of estimators
        Anything with `name` and `estimate(data, rng=...)`.
    effects : sequence of float
        True effects, treated minus control.
    seed, n_draws, alpha, level, alternative, estimand, path, n_jobs, checkpoint, progress
        As `simulate_power` takes them. Effects may be added to a checkpoint.

    Returns
    -------
    Table
        One row an effect and an estimator: effect, estimator, power, and the other measures of a `Diagnosis`, each with
        its Monte Carlo standard error. `plot_power` draws it.

    Raises
    ------
    DesignError
        As in `simulate_power`.

    Examples
    --------
    >>> import gbveval as gbv
    >>> plan = gbv.ParallelDesign(n_per_arm=64, outcome=gbv.Continuous())
    >>> curve = simulate_curve(plan, gbv.DifferenceInMeans(), [0.0, 0.5, 1.0], seed=1, n_draws=200)
    >>> power = curve.column("power")
    >>> power[0] < power[1] < power[2]
    True
    """
    if isinstance(effects, str) or not isinstance(effects, Iterable):
        raise DesignError(f"effects must be a list of numbers; it is a {type(effects).__name__}.")
    asked = tuple(real("An effect", effect, low=-np.inf, high=np.inf) for effect in effects)
    if not asked:
        raise DesignError("Give at least one effect.")
    if not isinstance(design, _Design):
        raise DesignError(
            f"A curve over effects needs a design with process(effect); a {type(design).__name__} has none."
        )
    processes = tuple(design.process(effect) for effect in asked)
    reading = _reading(processes[0], estimators, (seed, n_draws, alpha, level, alternative), (estimand, path, False))
    found = _simulate(processes, reading, n_jobs, checkpoint, progress)
    tables = [diagnosis.to_table() for diagnosis in found]
    rows = [(effect, *row) for effect, table in zip(asked, tables, strict=True) for row in table.rows]
    return Table(
        "Power by effect, simulated",
        ("effect", *tables[0].columns),
        tuple(rows),
        (*tables[0].notes, "All effects meet the same random numbers."),
    )


def _reading(
    process: Any, estimators: Any, numbers: tuple[Any, Any, Any, Any, Any], what: tuple[Estimand | None, str, bool]
) -> Reading:
    """Return what is simulated, checked."""
    seed, n_draws, alpha, level, alternative = numbers
    estimand, path, keep = what
    check_share("alpha", alpha)
    check_share("level", level)
    one_of("alternative", alternative, ALTERNATIVES)
    if alternative != "two_sided" and alpha >= 0.5:
        raise DesignError(f"A one-sided test has a size below 0.5; alpha is {alpha:g}.")
    for name, value, least in (("n_draws", n_draws, FEWEST_DRAWS), ("seed", seed, 0)):
        if not isinstance(value, (int, np.integer)) or isinstance(value, bool) or value < least:
            raise DesignError(f"{name} must be a whole number, at least {least}; it is {value!r}.")
    chosen = _estimators_of(estimators)
    way = _path_of(process, chosen, path)
    per_shard = int(getattr(process, "draws_per_batch", 1)) if way == "batch" else DATA_SHARD
    return Reading(
        estimators=chosen,
        labels=_labels(chosen),
        asked=estimand,
        seed=int(seed),
        alpha=float(alpha),
        level=float(level),
        alternative=alternative,
        path=way,
        per_shard=per_shard,
        n_draws=int(n_draws),
        keep=keep,
    )


def _simulate(
    processes: tuple[Any, ...],
    reading: Reading,
    n_jobs: int | None,
    checkpoint: str | Path | None,
    progress: bool | Progress | None,
) -> list[Diagnosis]:
    """Return the diagnosis of each process, from shards that were kept and shards that are run now."""
    per_process = -(-reading.n_draws // reading.per_shard)
    shards = [(place, number) for place in range(len(processes)) for number in range(per_process)]
    store = None if checkpoint is None else Checkpoint(checkpoint, _request(reading))
    known = {} if store is None else store.done
    keys = {} if store is None else {shard: _key(processes[shard[0]], shard[1], reading) for shard in shards}
    todo = [shard for shard in shards if keys.get(shard) not in known]
    sums: list[list[Part | None]] = [[None] * len(reading.labels) for _ in processes]
    fresh = iter(run_shards(ShardTask(processes, reading), todo, n_jobs=n_jobs))
    waiting = set(todo)
    total = reading.n_draws * len(processes)
    done = total - sum(reading.count(number) for _, number in todo)
    with Told(progress, total, "studies", done) as told:
        for shard in shards:
            if shard in waiting:
                _, parts = next(fresh)
                if store is not None:
                    store.add(keys[shard], [part.to_plain() for part in parts])
                told.more(reading.count(shard[1]))
            else:
                plain = known[keys[shard]]
                parts = tuple(Part.from_plain(*pair) for pair in zip(plain, reading.labels, strict=True))
            _add(sums[shard[0]], parts, reading)
    return [_diagnosis(parts, reading) for parts in sums]


def _request(reading: Reading) -> dict[str, Any]:
    """Return what makes two simulations the same work, whatever the number of draws and the process."""
    return {
        "estimators": identity(reading.estimators),
        "estimand": identity(reading.asked),
        "seed": reading.seed,
        "alpha": reading.alpha,
        "level": reading.level,
        "alternative": reading.alternative,
        "path": reading.path,
        "keep_replicates": reading.keep,
        "versions": [pair for pair in versions() if pair[0] in ("gbveval", "numpy", "scipy")],
    }


def _key(process: Any, number: int, reading: Reading) -> str:
    """Return the name of a shard in a checkpoint: its process, its number and how many studies it has."""
    return f"{digest_arrays([('process', identity(process))])[:16]}/{number}/{reading.count(number)}"


def _add(sums: list[Part | None], parts: tuple[Part, ...], reading: Reading) -> None:
    for place, part in enumerate(parts):
        before = sums[place]
        sums[place] = part if before is None else before.joined(part, reading.labels[place])


def _diagnosis(parts: list[Part | None], reading: Reading) -> Diagnosis:
    rows, replicates = [], []
    for label, part in zip(reading.labels, parts, strict=True):
        assert part is not None
        if part.estimand is None:
            kinds = ", ".join(f"{kind} ({count})" for kind, count in part.tally.failures.items())
            why = kinds or "its estimates have no row that is a point"
            raise DesignError(f"{label} gave no estimate in any of {reading.n_draws} draws: {why}.")
        rows.append(diagnose(label, part.estimand, part.truth, part.tally))
        if part.kept:
            replicates.append(_whole(label, part))
    return Diagnosis(
        tuple(rows),
        reading.path,
        reading.seed,
        reading.alpha,
        reading.level,
        reading.alternative,
        tuple(replicates),
    )


def _whole(label: str, part: Part) -> Replicates:
    """Return the replicates of all shards as one."""
    assert part.estimand is not None
    joined = {
        name: np.concatenate([getattr(item, name) for item in part.kept])
        for name in ("value", "std_error", "low", "high", "rejected")
    }
    return Replicates(
        label=label,
        estimand=part.estimand,
        truth=part.truth,
        failures=tuple(part.tally.failures.items()),
        **joined,
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
    lacking = [item.name for item in estimators if not isinstance(item, BatchEstimator) or not item.in_batches]
    able = isinstance(process, BatchProcess) and not lacking
    if path == "batch" and not able:
        what = (
            f"estimate_batch is absent from {', '.join(lacking)}, or cannot take these options"
            if lacking
            else "the process has no draw_batch"
        )
        raise DesignError(f"The batch path is not possible: {what}. Use path='data'.")
    return "batch" if able and path != "data" else "data"


def _labels(estimators: tuple[Any, ...]) -> tuple[str, ...]:
    """Return names, numbered where estimators with other options share one."""
    names = [str(item.name) for item in estimators]
    return tuple(
        name if names.count(name) == 1 else f"{name} ({names[: i + 1].count(name)})" for i, name in enumerate(names)
    )
