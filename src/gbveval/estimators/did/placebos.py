"""What a rollout's effect leans on: one cohort left out, treatment that did not begin yet, places that never had it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gbveval.core.errors import DesignError, GbvevalError, IdentificationError
from gbveval.core.method import Cell
from gbveval.core.protocols import Estimator
from gbveval.core.provenance import derive_seed
from gbveval.core.replicate import Measured, generators, mean_of, share_of
from gbveval.core.table import Table
from gbveval.data._frame import plural
from gbveval.data.panel import Panel
from gbveval.estimators.did._panels import part_of, single_effect
from gbveval.estimators.did._rollout import COHORTS, cohort_label, cohort_support, observed_rows
from gbveval.estimators.did._spatial import refuse_place
from gbveval.numerics.inference import check_level

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]
NUMBERS = ("estimate", "std_error", "p_value", "conf_low", "conf_high")
COHORT_COLUMNS = ("left_out", *NUMBERS, "change", "n_units", "note")
TIME_COLUMNS = ("periods_earlier", *NUMBERS, "n_units", "note")
GROUP_COLUMNS = ("measure", "value", "mcse")
WINDOWS = ("common", "own")


def leave_one_cohort_out(estimator: Estimator[Panel], panel: Panel, *, level: float = 0.95) -> Table:
    """Estimate a rollout's effect without each cohort in turn.

    Parameters
    ----------
    estimator : Estimator
        With one effect on the treated, or `aggregate("simple")`.
    panel : Panel
        The rollout.
    level : float
        Of the intervals.

    Returns
    -------
    Table
        The effect with all cohorts, then without each cohort, and without the never treated. `change` is the difference
        from the effect with all. Where nothing can be estimated without a cohort, `note` says why.

    Notes
    -----
    **Use it** to see whether one cohort makes the result. Estimates change without a cohort also because effects differ
    between cohorts, and by chance: the rows share most of their data, so that their intervals say nothing of `change`.

    Examples
    --------
    >>> import numpy as np
    >>> from gbveval.datasets.pilot import PilotRollout
    >>> from gbveval.estimators.did.callaway_santanna import CallawaySantAnna
    >>> panel = PilotRollout().draw(np.random.default_rng(2))
    >>> leave_one_cohort_out(CallawaySantAnna(), panel).column("left_out")[0]
    'none'
    """
    _check_level(level)
    every = _effect(estimator, panel, level)
    sizes = observed_rows(panel).cohort_sizes()
    whole = cohort_support(panel, sizes)
    rows: list[tuple[Any, ...]] = [("none", *every[:-2], 0.0, *every[-2:])]
    support: list[tuple[Cell, ...]] = [whole]
    for cohort in sizes:
        found: tuple[Any, ...]
        try:
            found = _effect(estimator, part_of(panel, np.asarray(panel.cohort != cohort)), level)
            change = None if found[0] is None or every[0] is None else found[0] - every[0]
        except GbvevalError as error:
            found, change = (*(None,) * (len(NUMBERS) + 1), str(error)), None
        rows.append((cohort_label(panel, cohort), *found[:-2], change, *found[-2:]))
        support.append(whole)
    note = f"Estimator: {estimator.name}. Intervals at level {level:g}, each from its own cohorts."
    title = f"{panel.outcome_name}: the effect without each cohort"
    return Table(title, COHORT_COLUMNS, tuple(rows), (note,), tuple(support))


def placebo_in_time(
    estimator: Estimator[Panel],
    panel: Panel,
    periods: int | Sequence[int] = 1,
    *,
    window: str = "common",
    level: float = 0.95,
) -> Table:
    """Pretend that treatment began earlier, and estimate its effect on rows that were not treated yet.

    Parameters
    ----------
    estimator : Estimator
        With one effect on the treated, or `aggregate("simple")`.
    panel : Panel
        The rollout.
    periods : int or sequence of int
        How many of the panel's periods earlier; 1 or more.
    window : str
        "common": the periods before anybody is treated, which keeps a balanced panel so; "own": all rows of a unit
        before its own treatment, for estimators that take incomplete panels.
    level : float
        Of the intervals.

    Returns
    -------
    Table
        One row a number of periods. An effect that is shown speaks against parallel trends, or for anticipation; `note`
        says why there is none, where nothing can be estimated.

    Raises
    ------
    DesignError
        If `periods` are not positive whole numbers.

    Notes
    -----
    Units that are treated in the first period, or would be under the pretence, are left out; so are all rows from the
    true beginning of treatment on. **Do not use** it to choose a specification: a test that passed may have had no
    power (`pretrend_power` shows how much).

    Examples
    --------
    >>> import numpy as np
    >>> from gbveval.datasets.pilot import PilotRollout
    >>> from gbveval.estimators.did.imputation import Imputation
    >>> panel = PilotRollout().draw(np.random.default_rng(2))
    >>> placebo_in_time(Imputation(), panel, [1, 2], window="own").column("periods_earlier")
    (1, 2)
    """
    _check_level(level)
    asked = [periods] if isinstance(periods, (int, np.integer)) else list(periods)
    if not asked or not all(isinstance(k, (int, np.integer)) and k > 0 for k in asked):
        raise DesignError("periods is a positive whole number of periods, or several, such as [1, 2].")
    if window not in WINDOWS:
        raise DesignError(f"window must be one of {', '.join(WINDOWS)}, not {window!r}.")
    whole = cohort_support(panel, observed_rows(panel).cohort_sizes())
    rows = []
    for k in asked:
        try:
            found = _effect(estimator, _earlier(panel, int(k), window), level)
        except GbvevalError as error:
            found = (*(None,) * (len(NUMBERS) + 1), str(error))
        rows.append((int(k), *found))
    note = (
        f"Estimator: {estimator.name}, on rows before treatment ("
        + ("before anybody's" if window == "common" else "each unit's own")
        + f"). Intervals at level {level:g}."
    )
    title = f"{panel.outcome_name}: effects of treatment that had not begun"
    return Table(title, TIME_COLUMNS, tuple(rows), (note,), (whole,) * len(rows))


def placebo_in_group(
    estimator: Estimator[Panel], panel: Panel, *, n_draws: int = 200, seed: int | None = None, level: float = 0.95
) -> Table:
    """Give never-treated units cohorts by lot, many times, and see what the estimator finds.

    Parameters
    ----------
    estimator : Estimator
        With one effect on the treated, or `aggregate("simple")`.
    panel : Panel
        The rollout; its never-treated clusters (units, or rows, where it has none) are used.
    n_draws : int
        Lotteries.
    seed : int, optional
        By default derived from the data and the estimator.
    level : float
        1 - level is the size of the tests whose rejections are counted.

    Returns
    -------
    Table
        With Monte Carlo standard errors: the share of lotteries in which the estimator found an effect although there
        was none (it should be 1 - level), the mean of its estimates (zero), their standard deviation and its mean
        standard error (alike), and the share of placebo estimates at least as far from zero as the panel's own.

    Raises
    ------
    IdentificationError
        If fewer than four clusters are never treated, or the estimator fails in every lottery.

    Notes
    -----
    Each cohort gets its share of the clusters, at least one. **Use it** to see whether an estimator's standard errors
    are right for data like these, with their serial correlation and number of clusters. With fewer clusters than the
    panel, estimates vary more than the panel's own; the last row is then cautious, and it is a test of no effect only
    where who was treated was a lottery too.

    References
    ----------
    Bertrand, Duflo and Mullainathan (2004), Quarterly Journal of Economics 119(1), 249-275.

    Examples
    --------
    >>> import numpy as np
    >>> from gbveval.estimators.did.imputation import Imputation
    >>> from gbveval.testing.processes import PanelFrames
    >>> source = PanelFrames(n_units=60)
    >>> panel = source.check(source.frame(np.random.default_rng(1))[0])
    >>> placebo_in_group(Imputation(), panel, n_draws=20).column("measure")[0]
    'share of lotteries with an effect'
    """
    _check_level(level)
    if n_draws < 2:
        raise DesignError("n_draws is the number of lotteries, two or more.")
    refuse_place(
        "placebo_in_group",
        panel,
        "A lottery among places breaks up regions that were treated together. Leave place out, and name as cluster the "
        "regions that were.",
    )
    own = _effect(estimator, panel, level)
    never = np.isinf(panel.cohort)
    labels = panel.cluster or panel.unit
    groups = np.arange(panel.n_rows) if labels is None else labels.codes
    untreated, code = np.unique(groups[never], return_inverse=True)
    if untreated.size < 4:
        raise IdentificationError(
            f"{plural(int(untreated.size), 'cluster')} never treated; at least four are needed for lotteries among "
            "them. Include more places that never had the intervention."
        )
    lots = _lots(panel, groups, int(untreated.size))
    start = derive_seed(panel.digest, estimator.name, repr(estimator)) if seed is None else seed
    found, failed = [], 0
    for rng in generators(start, n_draws):
        cohort = np.full(panel.n_rows, np.inf)
        cohort[never] = rng.permutation(lots)[code.ravel()]
        try:
            found.append(_effect(estimator, part_of(panel, never, cohort), level, rng))
        except GbvevalError as error:
            failed, last = failed + 1, str(error)
            if failed == n_draws:
                raise IdentificationError(f"The estimator failed in every lottery: {last}") from error
    return _group_table(estimator, panel, own, found, failed, level)


def _group_table(
    estimator: Estimator[Panel],
    panel: Panel,
    own: tuple[Any, ...],
    found: list[tuple[Any, ...]],
    failed: int,
    level: float,
) -> Table:
    estimate, error, p_value = (
        np.array([np.nan if row[i] is None else row[i] for row in found], dtype=float) for i in range(3)
    )
    tested = np.isfinite(p_value)
    rows: list[tuple[Any, ...]] = []

    def add(measure: str, measured: Measured | None) -> None:
        numbers = (None, None) if measured is None else (measured.value, measured.mcse)
        rows.append((measure, *(None if x is None or not np.isfinite(x) else float(x) for x in numbers)))

    add("share of lotteries with an effect", share_of(p_value[tested] < 1.0 - level) if tested.any() else None)
    add("mean estimate", mean_of(estimate[np.isfinite(estimate)]))
    spread = float(np.nanstd(estimate, ddof=1)) if np.isfinite(estimate).sum() > 1 else np.nan
    # The standard error of a standard deviation, for estimates that are about normal.
    add("sd of estimates", Measured(spread, spread / float(np.sqrt(2.0 * max(np.isfinite(estimate).sum() - 1, 1)))))
    add("mean standard error", mean_of(error[np.isfinite(error)]) if np.isfinite(error).any() else None)
    farther = None if own[0] is None else share_of(np.abs(estimate[np.isfinite(estimate)]) >= abs(own[0]))
    add("share of lotteries as far from zero as the panel's estimate", farther)
    notes = [
        f"Estimator: {estimator.name}; {len(found):,} lotteries among the never treated; effects counted at level "
        f"{level:g}."
    ]
    if failed:
        notes.append(f"In {failed:,} more the estimator gave no answer.")
    sizes = observed_rows(panel).cohort_sizes()
    cells = (Cell(cohort_label(panel, np.inf), sizes.get(np.inf, 0), None, COHORTS),)
    whole = cohort_support(panel, sizes)
    support = (cells,) * (len(rows) - 1) + (whole,)
    title = f"{panel.outcome_name}: effects of lotteries among the never treated"
    return Table(title, GROUP_COLUMNS, tuple(rows), tuple(notes), support)


def _effect(
    estimator: Estimator[Panel], panel: Panel, level: float, rng: np.random.Generator | None = None
) -> tuple[Any, ...]:
    """Return estimate, standard error, p-value, limits, units and a note."""
    result = single_effect(estimator.estimate(panel, rng=rng))
    record = result.records(level)[0]
    return (*(record[name] for name in NUMBERS), record["n_units"], result.terms[0].reason or None)


def _earlier(panel: Panel, k: int, window: str) -> Panel:
    """Return the untreated rows, with first treated periods k periods earlier."""
    start = np.searchsorted(panel.periods, panel.cohort)
    last = panel.periods.size
    begun = start[np.isfinite(panel.cohort) & (start > 0)]
    if begun.size == 0:
        raise IdentificationError("No cohort has a period before its treatment, so there is nothing to pretend in.")
    keep = ~panel.treated & (start > 0)
    if window == "common":
        keep &= panel.time < begun.min()
    pretended = np.where(np.isinf(panel.cohort), last, start - k)
    keep &= pretended > 0
    treated = keep & (pretended < last) & (panel.time >= pretended)
    if np.unique(panel.time[keep]).size < 2 or not treated.any():
        raise IdentificationError(
            f"With treatment {plural(k, 'period')} earlier no untreated row is treated by pretence and has an earlier "
            "one beside it. Use fewer periods, or window='own'."
        )
    if np.isnan(panel.outcome[keep]).all():
        raise IdentificationError("No untreated row has an outcome.")
    cohort = np.full(panel.n_rows, np.inf)
    finite = (pretended > 0) & (pretended < last)
    cohort[finite] = panel.periods[pretended[finite]]
    return part_of(panel, np.asarray(keep), cohort)


def _lots(panel: Panel, groups: NDArray[np.intp], count: int) -> FloatArray:
    """Return a first treated period for each of `count` clusters, in the shares of the panel's clusters."""
    first = np.full(int(groups.max()) + 1, np.nan)
    first[groups] = panel.cohort
    cohorts, sizes = np.unique(first[np.isfinite(first)], return_counts=True)
    inside = (cohorts > panel.periods[0]) & (cohorts <= panel.periods[-1])
    share = sizes[inside] / np.count_nonzero(~np.isnan(first))
    lots = np.repeat(cohorts[inside], np.maximum(np.rint(share * count).astype(int), 1))
    if not 0 < lots.size < count:
        raise IdentificationError(
            f"{plural(int(inside.sum()), 'cohort')} cannot be given to {count} never-treated clusters with some left "
            "to compare with. More of them are needed."
        )
    return np.concatenate([lots, np.full(count - lots.size, np.inf)])


def _check_level(level: float) -> None:
    try:
        check_level(level)
    except ValueError as error:
        raise DesignError(str(error)) from error
