"""Hides how often progression criteria lead to each decision: pilots are drawn, pooled and decided."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gbveval.core.errors import DesignError, GbvevalError
from gbveval.core.progress import Progress, Told
from gbveval.core.replicate import generator, share_of
from gbveval.core.shards import run_shards
from gbveval.core.table import Table
from gbveval.data.sites import SiteEffects
from gbveval.multisite._decide_together import can_decide_together, decide_together
from gbveval.multisite.decisions import ADAPT, GO, STOP, ProgressionCriteria

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FloatArray = NDArray[np.float64]
DECISIONS = (GO, ADAPT, STOP)
FAILED = "failed"
PILOTS_A_SHARD, PILOTS_AT_ONCE = 20, 500
COLUMNS = (
    "average_effect",
    "between_site_sd",
    *(name for each in DECISIONS for name in (each, f"{each}_mcse")),
    FAILED,
)
COLOURS = {GO: "#009e73", ADAPT: "#e69f00", STOP: "#d55e00"}


@dataclass(frozen=True, eq=False, slots=True)
class _Pilots:
    """Draws, pools and decides the pilots of one shard: the same random numbers whatever is true."""

    criteria: ProgressionCriteria
    estimator: Any
    std_errors: tuple[float, ...]
    truths: tuple[tuple[float, float], ...]
    contrast: str
    seed: int
    n_draws: int

    def __call__(self, shard: tuple[int, int]) -> tuple[str, ...]:
        mean, spread = self.truths[shard[0]]
        numbers = range(shard[1] * self.per_shard, min((shard[1] + 1) * self.per_shard, self.n_draws))
        errors = np.asarray(self.std_errors)
        drawn = [generator(self.seed, number) for number in numbers]
        normal = np.stack([rng.normal(size=(2, errors.size)) for rng in drawn])
        seen = mean + spread * normal[:, 0] + errors * normal[:, 1]
        if self.together:
            return decide_together(self.criteria, self.estimator, seen, errors, self.contrast)
        return tuple(self._decision(row, errors, rng) for row, rng in zip(seen, drawn, strict=True))

    @property
    def together(self) -> bool:
        """Whether all pilots of a shard can be pooled at once."""
        return can_decide_together(self.criteria, self.estimator, len(self.std_errors), self.contrast)

    @property
    def per_shard(self) -> int:
        """Sets of pilots in a shard."""
        return PILOTS_AT_ONCE if self.together else PILOTS_A_SHARD

    def _decision(self, seen: FloatArray, errors: FloatArray, rng: np.random.Generator) -> str:
        sites = SiteEffects({"y": seen, "se": errors}, estimate="y", std_error="se", contrast=self.contrast)
        try:
            return self.criteria.decide(self.estimator.estimate(sites, rng=rng))
        except GbvevalError:
            return FAILED


def operating_characteristics(  # noqa: PLR0913 - each is a different thing that is fixed before the data
    criteria: ProgressionCriteria,
    estimator: Any,
    *,
    std_errors: Sequence[float],
    average_effects: Sequence[float],
    between_site_sd: float | Sequence[float],
    seed: int,
    n_draws: int = 1000,
    contrast: str = "mean_difference",
    n_jobs: int | None = None,
    progress: bool | Progress | None = None,
) -> Table:
    """Return how often pilots lead to go, adapt and stop, for several things that may be true.

    Parameters
    ----------
    criteria : ProgressionCriteria
        The rules.
    estimator : estimator of site effects
        What will pool the sites, such as `NormalHierarchy(prior)`: the one that is registered.
    std_errors : sequence of float
        Planned standard error of each site's estimate, on the scale of inference (log for ratios).
    average_effects : sequence of float
        True average effects, on that scale.
    between_site_sd : float or sequence of float
        True standard deviation of effects between sites; several are crossed with the average effects.
    seed : int
        All truths meet the same random numbers.
    n_draws : int
        Sets of pilots for each truth.
    contrast : str
        What the effects are, as `SiteEffects` takes it.
    n_jobs : int, optional
        Processes that share the work, as joblib counts them.
    progress : bool or callable, optional
        As `simulate_power` takes it.

    Notes
    -----
    `NormalHierarchy` without moderators is pooled for all pilots at once, exactly, in thousandths of a second a set;
    other estimators one set at a time.

    Returns
    -------
    Table
        One row a truth: the share of each decision with its Monte Carlo standard error, and the share of fits that
        failed. `plot_operating` draws it.

    Raises
    ------
    DesignError
        If a number is impossible.

    Examples
    --------
    >>> import gbveval as gbv
    >>> rule = gbv.DecisionRule("average effect", 0.8, below=-0.02)
    >>> harm = gbv.DecisionRule("average effect", 0.5, above=0.0)
    >>> pool = gbv.NormalHierarchy(gbv.HierarchyPrior(gbv.Normal(0, 0.1), gbv.HalfNormal(0.05)))
    >>> table = operating_characteristics(
    ...     gbv.ProgressionCriteria((rule,), (harm,)), pool, std_errors=[0.03] * 4, average_effects=[0.0, -0.08],
    ...     between_site_sd=0.02, seed=1, n_draws=20,
    ... )
    >>> table.column("go")[0] < table.column("go")[1]
    True
    """
    errors, effects = _numbers("std_errors", std_errors), _numbers("average_effects", average_effects)
    spreads = _numbers("between_site_sd", [between_site_sd] if np.isscalar(between_site_sd) else between_site_sd)
    if min(errors) <= 0.0 or min(spreads) < 0.0:
        raise DesignError("Standard errors are above zero, and between-site standard deviations not below it.")
    whole_number("n_draws", n_draws, 10)
    whole_number("seed", seed, 0)
    truths = tuple((effect, spread) for spread in spreads for effect in effects)
    task = _Pilots(criteria, estimator, errors, truths, contrast, int(seed), int(n_draws))
    return decided_table(
        task, truths, criteria, per_shard=task.per_shard, n_sites=len(errors), n_jobs=n_jobs, progress=progress
    )


def decided_table(
    task: Any,
    truths: tuple[tuple[float, float], ...],
    criteria: ProgressionCriteria,
    *,
    per_shard: int,
    n_sites: int,
    n_jobs: int | None,
    progress: bool | Progress | None,
) -> Table:
    """Return the table of decisions that a task, called with (truth, part), takes on its sets of pilots."""
    parts = range(-(-task.n_draws // per_shard))
    shards = [(place, number) for place in range(len(truths)) for number in parts]
    decided: list[list[str]] = [[] for _ in truths]
    with Told(progress, task.n_draws * len(truths), "sets of pilots") as told:
        for shard, found in run_shards(task, shards, n_jobs=n_jobs):
            decided[shard[0]] += found
            told.more(len(found))
    rows = tuple((*truth, *_shares(found)) for truth, found in zip(truths, decided, strict=True))
    notes = (
        f"{task.n_draws:,} sets of {n_sites} pilots for each truth, seed {task.seed}; mcse is the Monte Carlo error.",
        *(f"go if {rule.words()}" for rule in criteria.go),
        *(f"stop if {rule.words()}" for rule in criteria.stop),
    )
    return Table("Operating characteristics", COLUMNS, rows, notes)


def _numbers(name: str, values: Any) -> tuple[float, ...]:
    try:
        numbers = tuple(float(value) for value in values)
    except (TypeError, ValueError):
        raise DesignError(f"{name} must be a list of numbers.") from None
    if not numbers or not all(np.isfinite(numbers)):
        raise DesignError(f"{name} must be finite numbers, at least one.")
    return numbers


def whole_number(name: str, value: Any, least: int) -> None:
    """Raise DesignError unless a value is a whole number and large enough."""
    if not isinstance(value, (int, np.integer)) or isinstance(value, bool) or value < least:
        raise DesignError(f"{name} must be a whole number, at least {least}; it is {value!r}.")


def _shares(found: list[str]) -> tuple[float, ...]:
    """Return the share of each decision with its Monte Carlo error, then the share of fits that failed."""
    measured = [share_of(np.array([decision == each for decision in found])) for each in DECISIONS]
    failed = sum(decision == FAILED for decision in found) / len(found)
    return (*(number for item in measured for number in (item.value, item.mcse)), failed)


def plot_operating(table: Table, ax: Axes | None = None) -> Axes:
    """Draw how often each decision is taken along the true average effect.

    Parameters
    ----------
    table : Table
        From `operating_characteristics`, with one between-site standard deviation.
    ax : matplotlib.axes.Axes, optional
        Where to draw.

    Returns
    -------
    matplotlib.axes.Axes
        Areas that fill the height: what is not "go" or "stop" is "adapt".

    Raises
    ------
    DesignError
        If the table is another one, or has several between-site standard deviations.
    """
    import matplotlib.pyplot as plt

    if table.columns != COLUMNS:
        raise DesignError("plot_operating draws what operating_characteristics returned; this is another table.")
    if len(set(table.column("between_site_sd"))) > 1:
        raise DesignError("Draw one between-site standard deviation at a time: ask for a table of each.")
    if ax is None:
        _, ax = plt.subplots(figsize=(7.0, 3.8), layout="constrained")
    order = np.argsort(table.column("average_effect"))
    x = np.asarray(table.column("average_effect"))[order]
    shares = {each: np.asarray(table.column(each))[order] for each in DECISIONS}
    ax.stackplot(x, *shares.values(), colors=[COLOURS[each] for each in DECISIONS], alpha=0.75)
    base = np.zeros_like(x)
    for each, share in shares.items():
        middle = int(np.argmax(share))
        if share[middle] > 0.12:
            edge = "left" if middle == 0 else "right" if middle == x.size - 1 else "center"
            ax.text(x[middle], base[middle] + share[middle] / 2.0, f" {each} ", ha=edge, va="center", fontsize=11)
        base = base + share
    ax.set_xlim(x[0], x[-1])
    ax.set_ylim(0.0, 1.0)
    ax.set_xlabel("true average effect")
    ax.set_ylabel("share of pilots")
    ax.spines[["top", "right"]].set_visible(False)
    return ax
