"""`functional_form`: can trends be parallel on every scale at once? The shares of each bin that this would imply."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gbveval.core.errors import DesignError
from gbveval.core.method import Cell
from gbveval.core.provenance import derive_seed
from gbveval.core.table import Table
from gbveval.data.panel import Panel
from gbveval.estimators.did._bins import Bins, make_bins
from gbveval.estimators.did._compared_groups import ComparedGroups, compared_groups
from gbveval.estimators.did._rollout import cohort_label
from gbveval.estimators.did._rollout_checks import cohorts_alone, dose_checks
from gbveval.estimators.did.comparison import COLOURS, MARKERS
from gbveval.numerics.inference import check_level, wald
from gbveval.numerics.nonnegativity import NonnegativityTest, nonnegativity_test

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.intp]
COLUMNS = (
    *("cohort", "bin", "before", "comparison_before", "comparison_after", "implied", "std_error"),
    *("conf_low", "conf_high", "statistic", "p_value", "note"),
)
EVERY = "all bins"
# Below this many rows in a bin of every group compared, shares are too far from normal to be tested.
FEWEST = 10
RARE, CERTAIN = "too few rows to be tested", "the share does not vary, so it is not tested"


@dataclass(frozen=True, eq=False, slots=True)
class _Masses:
    """Shares of bins, one row a cohort and one column a bin, with the influence of the implied ones.

    Attributes
    ----------
    cohorts : ndarray
    before, comparison_before, comparison_after, implied : ndarray, shape (cohorts, bins)
    influence : ndarray, shape (clusters, cohorts times bins)
    count : ndarray of int, shape (groups, bins)
        Rows.
    """

    cohorts: FloatArray
    before: FloatArray
    comparison_before: FloatArray
    comparison_after: FloatArray
    implied: FloatArray
    influence: FloatArray
    count: IntArray


def functional_form(
    panel: Panel,
    bins: int | Sequence[float] = 10,
    *,
    anticipation: float = 0.0,
    unbalanced: str = "error",
    n_draws: int = 50_000,
    seed: int | None = None,
    level: float = 0.95,
) -> Table:
    """Test whether trends can be parallel whatever the scale of the outcome.

    Parameters
    ----------
    panel : Panel
        Units followed over time, or repeated cross-sections; some are never treated.
    bins : int or sequence of float
        Edges of bins, in ascending order: below the first, from each to below the next, from the last on. Or about how
        many bins to make; their edges are then round numbers, so that none is a respondent's outcome.
    anticipation : float
        Time before treatment in which it may already act: years, quarters, ... where periods are dates.
    unbalanced : str
        Units without an outcome in every period: "error", "drop" or "as_cross_sections".
    n_draws : int
        Draws of the maximum under the null hypothesis.
    seed : int, optional
        By default derived from the data and the options.
    level : float
        Of the pointwise intervals.

    Returns
    -------
    Table
        One row a cohort and bin: shares of the cohort in its base period, of the comparison then and (averaged) in the
        cohort's treated periods, and the share of the treated that parallel trends on *every* scale imply, with its
        p-value against being zero or more, adjusted for all bins. Then a row "all bins" for the whole: the largest
        studentised negative part.

    Raises
    ------
    DesignError
        If bins are not ascending, the panel has covariates, or an option is not known.
    IdentificationError
        If nobody is never treated, or nothing is compared.

    Notes
    -----
    Trends are parallel after every strictly increasing transformation of the outcome if and only if distributions are
    parallel: untreated, the treated would have had the distribution function F_own,base + F_comparison,after -
    F_comparison,base (Roth and Sant'Anna). That must be a distribution, so that every bin's implied share is zero or
    more: a share below zero **falsifies** that the scale does not matter. The converse does not hold: shares that are
    all zero or more do not show that trends are parallel on any scale.

    **The test** refers the largest studentised negative share to the distribution it has when all implied shares are
    zero, the least favourable case; it is conservative where many are above zero, and has little power with wide bins.
    Clustered influence functions, joint over cohorts and bins, no small-sample factor. Shares are averaged over a
    cohort's treated periods. Bins with fewer than ten rows in every group are shown and not tested.

    A rejection says: the answer depends on the scale, so argue for one (`trend_scales`). **Do not use** it as a test of
    parallel trends on your scale. It depends on the order of outcomes only: relabel bins monotonely, and nothing
    changes.

    References
    ----------
    Roth and Sant'Anna (2023), Econometrica 91(2), 737-747. Canay and Shaikh (2017), Advances in Economics and
    Econometrics 2, for least favourable critical values.

    Examples
    --------
    >>> import numpy as np
    >>> from gbveval.datasets.pilot import PilotRollout
    >>> panel = PilotRollout().draw(np.random.default_rng(2))
    >>> functional_form(panel, [40, 50]).rows[-1][:2]
    ('all cohorts', 'all bins')
    """
    try:
        check_level(level)
    except ValueError as error:
        raise DesignError(str(error)) from error
    if n_draws < 1_000:
        raise DesignError("n_draws is the number of draws of the maximum, 1,000 or more.")
    used = compared_groups(
        "functional_form",
        panel,
        control="never_treated",
        anticipation=float(anticipation),
        unbalanced=unbalanced,
    )
    made = make_bins(used.rows.y[~used.rows.treated], used.rows.y, bins)
    masses = _masses(used, made)
    start = derive_seed(panel.digest, "functional_form", repr(made.labels)) if seed is None else seed
    rng = np.random.default_rng(start)
    rare = _largest_count(used, masses) < FEWEST
    covariance = masses.influence.T @ masses.influence
    found = nonnegativity_test(masses.implied.ravel(), covariance, ~rare.ravel(), rng=rng, n_draws=n_draws, least=1e-13)
    return _table(panel, used, made, masses, rare, found, level)


def _masses(used: ComparedGroups, made: Bins) -> _Masses:
    k = len(made.labels)
    moments = used.moments(np.asarray(made.code[:, None] == np.arange(k), dtype=np.float64))
    groups = used.compared
    cohorts = np.unique(used.cohort[groups.post])
    shape = (cohorts.size, k)
    before, first, after = np.zeros(shape), np.zeros(shape), np.zeros(shape)
    gradient = np.zeros((cohorts.size, k, moments.member.shape[0], k))
    each = np.arange(k)
    for row, g in enumerate(cohorts):
        chosen = np.flatnonzero(groups.post & (used.cohort == g))
        for sign, group, total in (
            (1.0, groups.own_base, before),
            (-1.0, groups.pool_base, first),
            (1.0, groups.pool_now, after),
        ):
            total[row] = moments.mean[group[chosen]].mean(axis=0)
            for q in group[chosen]:
                gradient[row, each, q, each] += sign / chosen.size
    rows_of = np.zeros((moments.member.shape[1], k), dtype=np.intp)
    np.add.at(rows_of, (used.cell, made.code), 1)
    return _Masses(
        cohorts=cohorts,
        before=before,
        comparison_before=first,
        comparison_after=after,
        implied=before + after - first,
        influence=moments.influence(gradient.reshape(-1, *gradient.shape[2:])),
        count=np.asarray(moments.member.astype(np.intp) @ rows_of, dtype=np.intp),
    )


def _chosen(used: ComparedGroups, cohort: float) -> IntArray:
    return np.flatnonzero(used.compared.post & (used.cohort == cohort))


def _largest_count(used: ComparedGroups, masses: _Masses) -> IntArray:
    """Return for each cohort and bin the rows of the group that has most."""
    groups = used.compared
    found = []
    for g in masses.cohorts:
        chosen = _chosen(used, float(g))
        behind = np.concatenate([part[chosen] for part in (groups.own_base, groups.pool_base, groups.pool_now)])
        found.append(masses.count[behind].max(axis=0))
    return np.array(found)


def _table(
    panel: Panel,
    used: ComparedGroups,
    made: Bins,
    masses: _Masses,
    rare: NDArray[np.bool_],
    found: NonnegativityTest,
    level: float,
) -> Table:
    rows: list[tuple[Any, ...]] = []
    support: list[tuple[Cell, ...]] = []
    k = len(made.labels)
    error = np.sqrt(np.sum(masses.influence**2, axis=0))
    limits = wald(masses.implied.ravel(), error, level=level)
    for place in range(masses.implied.size):
        row, column = divmod(place, k)
        tested = bool(found.tested[place])
        note = None if tested else (RARE if rare[row, column] else CERTAIN)
        known = error[place] > 1e-13
        shares = (masses.before, masses.comparison_before, masses.comparison_after, masses.implied)
        rows.append(
            (
                cohort_label(panel, float(masses.cohorts[row])),
                made.labels[column],
                *(float(share[row, column]) for share in shares),
                float(error[place]) if known else None,
                float(limits.conf_low[place]) if known else None,
                float(limits.conf_high[place]) if known else None,
                float(-masses.implied[row, column] / error[place]) if tested else None,
                float(found.each[place]) if tested else None,
                note,
            )
        )
        support.append(_support(panel, used, made, masses, row, column))
    behind = dict.fromkeys(cell for i, cells in enumerate(support) if found.tested[i] for cell in cells)
    whole = (found.statistic, found.p_value, None) if np.isfinite(found.statistic) else (None, None, RARE)
    rows.append(("all cohorts", EVERY, *[None] * 7, *whole))
    support.append(tuple(behind) or tuple(dict.fromkeys(cell for cells in support for cell in cells)))
    title = f"{panel.outcome_name}: shares that trends parallel on every scale would imply"
    return Table(title, COLUMNS, tuple(rows), _notes(panel, used, level), tuple(support))


def _support(
    panel: Panel, used: ComparedGroups, made: Bins, masses: _Masses, row: int, column: int
) -> tuple[Cell, ...]:
    """Return the rows of a bin in every group behind an implied share."""
    groups, g = used.compared, float(masses.cohorts[row])
    cells = []
    for comparison in _chosen(used, g):
        base, now = float(used.base[comparison]), float(used.time[comparison])
        for who, group, period in (
            (cohort_label(panel, g), groups.own_base, base),
            ("never treated", groups.pool_base, base),
            ("never treated", groups.pool_now, now),
        ):
            table = f"{who} in {panel.calendar.name(period)} by {made.words}"
            cells.append(Cell(made.labels[column], int(masses.count[group[comparison], column]), None, table))
    return tuple(dict.fromkeys(cells))


def _notes(panel: Panel, used: ComparedGroups, level: float) -> tuple[str, ...]:
    said = [
        "`implied` is before + comparison_after - comparison_before. A share below zero shows that trends are not "
        "parallel on every scale; shares of zero or more show nothing about any one scale.",
        f"Intervals at level {level:g}, pointwise; p-values adjusted for all bins, least favourable and so cautious; "
        f"influence functions clustered by {panel.cluster_name}, no small-sample factor.",
        *used.words(),
        *(check.public or check.message for check in (*cohorts_alone(panel), *dose_checks(panel))),
    ]
    if panel.exposure is not None:
        said.append("The outcome is taken as it is, and not by exposure: rates are no scale among those tested.")
    clusters = used.rows.clusters[0].present
    if clusters < 40:
        said.append(f"{clusters} independent units or clusters; influence-function standard errors need more.")
    return tuple(said)


def plot_functional_form(table: Table, ax: Axes | None = None) -> Axes:
    """Draw the implied share of every bin, with its interval, and return the axes.

    Parameters
    ----------
    table : Table
        From `functional_form`.
    ax : matplotlib.axes.Axes, optional
        Where to draw.

    Raises
    ------
    DesignError
        If the table is another one.
    """
    import matplotlib.pyplot as plt

    if table.columns != COLUMNS:
        raise DesignError("plot_functional_form draws a table from functional_form.")
    records = [dict(zip(COLUMNS, row, strict=True)) for row in table.rows]
    whole = records[-1]
    drawn = [record for record in records if record["implied"] is not None]
    bins = list(dict.fromkeys(record["bin"] for record in drawn))
    cohorts = list(dict.fromkeys(record["cohort"] for record in drawn))
    if ax is None:
        _, ax = plt.subplots(figsize=(max(5.0, 0.75 * len(bins) + 2.0), 4.0), layout="constrained")
    ax.axhline(0.0, color="#444444", linewidth=0.8)
    shifts = np.linspace(-0.25, 0.25, len(cohorts)) if len(cohorts) > 1 else np.zeros(1)
    for number, cohort in enumerate(cohorts):
        mine = [record for record in drawn if record["cohort"] == cohort]
        place = np.array([bins.index(record["bin"]) for record in mine]) + shifts[number]
        value = np.array([record["implied"] for record in mine])
        low, high = (
            np.array([record["implied"] if record[name] is None else record[name] for record in mine])
            for name in ("conf_low", "conf_high")
        )
        ax.errorbar(
            place,
            value,
            yerr=np.vstack([value - low, high - value]),
            fmt=MARKERS[number % len(MARKERS)],
            color=COLOURS[number % len(COLOURS)],
            capsize=2,
            markersize=4,
            linewidth=1.2,
            label=cohort.replace("$", r"\$"),
        )
    ax.set_xticks(
        range(len(bins)), bins, rotation=30 if len(bins) > 5 else 0, ha="right" if len(bins) > 5 else "center"
    )
    ax.set_ylabel("implied share of the treated")
    if whole["p_value"] is not None:
        shown = "p < 0.001" if whole["p_value"] < 0.001 else f"p = {whole['p_value']:.3f}"
        ax.set_title(f"all shares zero or more: {shown}", fontsize="medium")
    if len(cohorts) > 1:
        ax.legend(frameon=False, fontsize="small")
    return ax
