"""Hides how often progression criteria lead to each decision when pilots are counts: drawn, pooled exactly, decided."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gbveval.core.errors import DesignError
from gbveval.core.progress import Progress
from gbveval.core.replicate import generator
from gbveval.core.table import Table
from gbveval.multisite.decisions import ADAPT, GO, STOP, DecisionRule, ProgressionCriteria
from gbveval.multisite.normal_hierarchy import AVERAGE, NEW_SITE
from gbveval.multisite.operating import decided_table, whole_number
from gbveval.multisite.table_hierarchy import TableHierarchy
from gbveval.numerics.hierarchy_tables import STUDIES_AT_ONCE, ManyTables, many_tables
from gbveval.numerics.priors import Flat
from gbveval.numerics.table_likelihood import Tables, site_likelihoods

FloatArray = NDArray[np.float64]


@dataclass(frozen=True, eq=False, slots=True)
class _Counts:
    """Draws, pools and decides the pilots of one shard."""

    criteria: ProgressionCriteria
    model: TableHierarchy
    n_per_arm: tuple[int, ...]
    control: tuple[float, ...]
    truths: tuple[tuple[float, float], ...]
    seed: int
    n_draws: int

    def __call__(self, shard: tuple[int, int]) -> tuple[str, ...]:
        mean, spread = self.truths[shard[0]]
        first = shard[1] * STUDIES_AT_ONCE
        numbers = range(first, min(first + STUDIES_AT_ONCE, self.n_draws))
        events = np.stack([self._events(generator(self.seed, number), mean, spread) for number in numbers])
        size = np.broadcast_to(np.array(self.n_per_arm, dtype=float)[:, None], events.shape)
        rows = np.concatenate([events, size], axis=2).reshape(-1, 4)
        seen, which = np.unique(rows, axis=0, return_inverse=True)
        reported = self.model.reporting.points()
        prior = self.model.prior
        likelihoods = site_likelihoods(Tables(seen[:, :2], seen[:, 2:], False), prior.site_control, reported)
        many = many_tables(
            likelihoods,
            which.reshape(events.shape[:2]),
            mu_prior=prior.average_effect,
            tau_prior=prior.between_site_sd,
            df=self.model.df,
        )
        stop = np.any([_holds(many, rule) for rule in self.criteria.stop], axis=0)
        go = np.all([_holds(many, rule) for rule in self.criteria.go], axis=0)
        return tuple(np.where(stop, STOP, np.where(go, GO, ADAPT)).tolist())

    def _events(self, rng: np.random.Generator, mean: float, spread: float) -> FloatArray:
        """Return reported events by site and arm of one set of pilots."""
        level = np.log(self.control) - np.log1p(-np.array(self.control))
        effect = mean + spread * rng.normal(size=level.size)
        risk = 1.0 / (1.0 + np.exp(-np.stack([level, level + effect], axis=1)))
        points = self.model.reporting.points()
        # What is believed of reporting is what is drawn from it.
        point = rng.choice(len(points.weight), p=points.weight)
        s, f = points.sensitivity[point], points.specificity[point]
        return rng.binomial(np.array(self.n_per_arm)[:, None], s * risk + (1.0 - f) * (1.0 - risk)).astype(float)


def _holds(many: ManyTables, rule: DecisionRule) -> NDArray[np.bool_]:
    threshold = float(np.log(rule.above if rule.above is not None else rule.below or 1.0))
    below = many.average_cdf(threshold) if rule.term == AVERAGE else many.new_site_cdf(threshold)
    found = below if rule.below is not None else 1.0 - below
    return np.asarray(found >= rule.probability)


def operating_characteristics_of_counts(  # noqa: PLR0913 - each is a different thing that is fixed before the data
    criteria: ProgressionCriteria,
    model: TableHierarchy,
    *,
    n_per_arm: Sequence[int],
    control_risk: float | Sequence[float],
    average_effects: Sequence[float],
    between_site_sd: float,
    seed: int,
    n_draws: int = 500,
    n_jobs: int | None = None,
    progress: bool | Progress | None = None,
) -> Table:
    """Return how often pilots that count events lead to go, adapt and stop, for several things that may be true.

    Parameters
    ----------
    criteria : ProgressionCriteria
        The rules, about the average effect or a new site, with odds ratios as thresholds.
    model : TableHierarchy
        What will pool the sites.
    n_per_arm : sequence of int
        People in each arm of each site.
    control_risk : float or sequence of float
        True risk in control, of all sites or of each.
    average_effects : sequence of float
        True averages of the log odds ratio.
    between_site_sd : float
        True standard deviation of log odds ratios between sites.
    seed : int
        All truths meet the same random numbers.
    n_draws : int
        Sets of pilots for each truth.
    n_jobs : int, optional
        Processes that share the work, as joblib counts them.
    progress : bool or callable, optional
        As `simulate_power` takes it.

    Returns
    -------
    Table
        As `operating_characteristics` gives it; `plot_operating` draws it.

    Raises
    ------
    DesignError
        If a number is impossible, or a rule is about one site.

    Notes
    -----
    Every set is pooled exactly, zero cells and under-reporting included, a hundred at a time: a table that occurs in
    many sets is integrated once. About a tenth of a second a set of six pilots.

    Examples
    --------
    >>> import gbveval as gbv
    >>> rule = gbv.DecisionRule("average effect", 0.8, below=0.9)
    >>> harm = gbv.DecisionRule("average effect", 0.7, above=1.0)
    >>> prior = gbv.TablePrior(gbv.Normal(0, 1), gbv.HalfNormal(0.3), gbv.Normal(-1.5, 1))
    >>> table = operating_characteristics_of_counts(
    ...     gbv.ProgressionCriteria((rule,), (harm,)), gbv.TableHierarchy(prior), n_per_arm=[80] * 3, control_risk=0.2,
    ...     average_effects=[0.0, -0.8], between_site_sd=0.1, seed=1, n_draws=20,
    ... )
    >>> table.column("go")[0] < table.column("go")[1]
    True
    """
    sizes, risks = _checked(criteria, model, n_per_arm, control_risk, between_site_sd)
    effects = tuple(float(x) for x in average_effects)
    if not effects or not np.isfinite(effects).all():
        raise DesignError("average_effects holds finite log odds ratios, one at least.")
    whole_number("n_draws", n_draws, 10)
    whole_number("seed", seed, 0)
    truths = tuple((effect, float(between_site_sd)) for effect in effects)
    task = _Counts(criteria, model, sizes, risks, truths, int(seed), int(n_draws))
    return decided_table(
        task, truths, criteria, per_shard=STUDIES_AT_ONCE, n_sites=len(sizes), n_jobs=n_jobs, progress=progress
    )


def _checked(
    criteria: ProgressionCriteria, model: Any, n_per_arm: Sequence[int], control_risk: Any, between_site_sd: float
) -> tuple[tuple[int, ...], tuple[float, ...]]:
    if not isinstance(model, TableHierarchy) or isinstance(model.prior.site_control, Flat):
        raise DesignError("Counts are pooled by TableHierarchy, with a proper prior of levels or none (conditional).")
    if model.prior.site_control is None and not model.reporting.points().is_full:
        raise DesignError("Under-reporting needs a prior of levels (site_control): a total of reports is not enough.")
    other = [rule.term for rule in (*criteria.go, *criteria.stop) if rule.term not in (AVERAGE, NEW_SITE)]
    if other:
        raise DesignError(f"Rules about counts are about the {AVERAGE} or the {NEW_SITE}; one is about {other[0]!r}.")
    sizes = tuple(n_per_arm)
    if len(sizes) < 2 or not all(isinstance(n, (int, np.integer)) and n > 0 for n in sizes):
        raise DesignError("n_per_arm holds a whole number of people for each of two sites or more.")
    risks = tuple(float(p) for p in np.broadcast_to(np.asarray(control_risk, dtype=float), (len(sizes),)))
    if not all(0.0 < p < 1.0 for p in risks):
        raise DesignError("control_risk lies strictly between 0 and 1, for all sites or for each.")
    if not (np.isfinite(between_site_sd) and between_site_sd >= 0.0):
        raise DesignError(f"between_site_sd is zero or above; it is {between_site_sd}.")
    return tuple(int(n) for n in sizes), risks
