"""Sums of amounts, such as posts by account: hidden where few contribute or one contributor nearly is the sum."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gbveval.core.errors import DataError
from gbveval.disclosure._layout import Axis, FloatArray, IntArray, layout, with_totals
from gbveval.disclosure._problem import Problem
from gbveval.disclosure._protect import protect
from gbveval.disclosure._request import Groupings, Margins, read_axes, undeclared
from gbveval.disclosure.policy import Policy
from gbveval.disclosure.suppress import MOST_AXES
from gbveval.disclosure.suppressed import (
    FEW_RESPONDENTS,
    SHOWN,
    SuppressedTable,
    make_table,
    shown_table,
    withheld_table,
)

DOMINATED = "few contribute most"
TOO_CLOSE = "a contributor could tell"
ALL_ZERO = "nobody has any"


def suppress_magnitudes(
    contributions: ArrayLike,
    by: Sequence[Sequence[Hashable]],
    policy: Policy | None = None,
    *,
    groupings: Groupings | None = None,
    margins: Margins | None = None,
    unit: float = 1.0,
) -> SuppressedTable:
    r"""Hide what would show a contributor in a table of sums, and check that it cannot be worked out.

    Parameters
    ----------
    contributions : array_like, shape (n,)
        One amount of 0 or more for each contributor (account, respondent). Sum the rows of one contributor first.
    by : sequence of one to four sequences, each of length n
        The category of each contributor along each axis; categories come in sorted order.
    policy : Policy, optional
        The rules: `min_n` contributors, `dominance`, `p_percent`.
    groupings, margins : optional
        As for `suppress_table`.
    unit : float
        Cells are rounded to a whole number of units before they are added up.

    Returns
    -------
    SuppressedTable
        Sums in units.

    Raises
    ------
    DataError
        An amount is missing or negative, lengths differ, or groups do not nest.

    Notes
    -----
    Let a sum :math:`T` have contributions :math:`x_1 \ge x_2 \ge \dots`. It is hidden if

    - fewer than `min_n` contribute something, or nobody does;
    - the n largest have more than the share k of it, :math:`x_1 + \dots + x_n > k T` (the (n, k) rule);
    - :math:`T - x_1 - x_2 < (p / 100) x_1`, so that the second could estimate the first to within p percent (the
      p % rule).

    Other sums are hidden until the interval of each of these reaches far enough on both sides of the truth: by
    :math:`(x_1 + \dots + x_n) / k - T` and :math:`(p / 100) x_1 - (T - x_1 - x_2)` (Hundepool and others 2012), and by
    p percent of :math:`x_1` where few contribute. The reader knows that amounts are not negative and nothing else of
    hidden sums. Whoever knows the sizes of the largest contributors roughly knows more.

    References
    ----------
    Hundepool, A. and others (2012). Statistical Disclosure Control. Wiley.

    Examples
    --------
    In the first group one account wrote nearly everything:

    >>> posts = [900] + [2] * 19 + [30] * 20 + [40] * 20
    >>> table = suppress_magnitudes(posts, [["a"] * 20 + ["b"] * 20 + ["c"] * 20])
    >>> table.released.tolist()
    [nan, nan, 800.0, 2338.0]
    >>> table.reasons[0].item()
    'few contribute most'
    """
    rules = Policy() if policy is None else policy
    amounts, codes, shape = _read(contributions, by, unit)
    axes = read_axes(shape, groupings, pairs=False)
    silent = undeclared(axes, margins, pairs=False)
    cell = np.ravel_multi_index(codes, shape)
    size = int(np.prod(shape))
    # Whoever has nothing in a cell protects nobody there.
    n = with_totals(np.bincount(cell[amounts > 0], minlength=size).astype(np.int64).reshape(shape), axes)
    sums = np.rint(np.bincount(cell, weights=amounts, minlength=size)).astype(np.int64)
    values = with_totals(sums.reshape(shape), axes)
    n_top = max(2, rules.dominance[0] if rules.dominance else 2)
    top = _with_totals_top(_top(amounts, cell, size, n_top).reshape(n_top, *shape), axes)
    reasons, needed = _primary(values, n, top, rules)
    if not rules.enforce:
        return shown_table(values, reasons, silent=silent, axes=axes, pairs=False, policy=rules)
    problem = _problem(values, n, reasons, needed, silent.ravel(), axes, rules)
    found = protect(problem)
    if found is None:
        return withheld_table(axes, pairs=False, policy=rules)
    return make_table(problem, reasons, found=found, pairs=False, policy=rules)


def _read(
    contributions: ArrayLike, by: Sequence[Sequence[Hashable]], unit: float
) -> tuple[FloatArray, tuple[IntArray, ...], tuple[int, ...]]:
    """Return amounts in units, the code of each contributor along each axis, and the number of categories."""
    amounts = np.asarray(contributions, dtype=float)
    problems = []
    if amounts.ndim != 1 or amounts.size == 0:
        raise DataError(f"`contributions` has shape {amounts.shape}; it needs one axis and at least one contributor.")
    wrong = int((~np.isfinite(amounts) | (amounts < 0)).sum())
    if wrong:
        problems.append(f"`contributions` has {wrong} rows that are missing, infinite or negative. Drop or mend them.")
    if not 1 <= len(by) <= MOST_AXES:
        problems.append(f"`by` has {len(by)} axes; it must have one to {MOST_AXES}.")
    problems += [
        f"Axis {number} of `by` has {len(labels)} rows and `contributions` {amounts.size}; they must be the same."
        for number, labels in enumerate(by)
        if len(labels) != amounts.size
    ]
    if not unit > 0.0:
        problems.append("`unit` must be above 0.")
    if problems:
        raise DataError(problems)
    coded = [np.unique(np.asarray(labels), return_inverse=True) for labels in by]
    codes = tuple(code.astype(np.int64) for _, code in coded)
    return amounts / unit, codes, tuple(len(levels) for levels, _ in coded)


def _top(amounts: FloatArray, cell: IntArray, size: int, n_top: int) -> FloatArray:
    """Return the largest contributions to each cell, shape (n_top, size), 0 where there are fewer."""
    order = np.lexsort((-amounts, cell))
    start = np.searchsorted(cell[order], np.arange(size))
    rank = np.arange(amounts.size) - start[cell[order]]
    top = np.zeros((n_top, size))
    kept = rank < n_top
    top[rank[kept], cell[order][kept]] = amounts[order][kept]
    return top


def _with_totals_top(top: FloatArray, axes: tuple[Axis, ...]) -> FloatArray:
    """Return the largest contributions to every entry, totals included, shape (n_top, *shape)."""
    table = top
    for number, axis in enumerate(axes, 1):
        along = np.moveaxis(table, number, 0)
        entries = []
        for members in axis.members().astype(bool):
            pool = along[members]
            merged = pool.reshape(-1, *pool.shape[2:]) if pool.shape[0] else along[:1].reshape(-1, *along.shape[2:]) * 0
            entries.append(-np.sort(-merged, axis=0)[: top.shape[0]])
        table = np.moveaxis(np.stack(entries), 0, number)
    return table


def _primary(values: IntArray, n: IntArray, top: FloatArray, policy: Policy) -> tuple[NDArray[np.str_], FloatArray]:
    """Return why each sum is hidden, empty if it is not, and how far its interval must reach on either side."""
    reasons = np.full(values.shape, SHOWN, dtype="<U24")
    share = 0.0 if policy.p_percent is None else policy.p_percent / 100.0
    needed = np.zeros(values.shape)
    if policy.p_percent is not None:
        shortfall = share * top[0] - (values - top[0] - top[1])
        reasons[shortfall > 0] = TOO_CLOSE
        needed = np.maximum(needed, shortfall)
    if policy.dominance is not None:
        largest = top[: policy.dominance[0]].sum(axis=0)
        shortfall = largest / policy.dominance[1] - values
        reasons[shortfall > 0] = DOMINATED
        needed = np.maximum(needed, shortfall)
    few = n < policy.min_n
    reasons[few] = FEW_RESPONDENTS
    reasons[values == 0] = ALL_ZERO
    needed = np.where(few, np.maximum(needed, share * top[0]), needed)
    return reasons, needed


def _problem(
    values: IntArray,
    n: IntArray,
    reasons: NDArray[np.str_],
    needed: FloatArray,
    silent: NDArray[np.bool_],
    axes: tuple[Axis, ...],
    policy: Policy,
) -> Problem:
    flat = values.ravel()
    primary = (reasons != SHOWN).ravel()
    reach = np.where(primary, np.maximum(np.ceil(needed.ravel()), 1.0), 0.0).astype(np.int64)
    return Problem(
        layout=layout(axes),
        values=flat,
        mass=n.ravel(),
        primary=primary,
        fixed=np.zeros(flat.size, dtype=bool),
        forced=np.zeros(flat.size, dtype=bool),
        silent=silent,
        threshold=np.full(flat.size, policy.min_n, dtype=np.int64),
        lower=np.zeros(flat.size),
        upper=np.full(flat.size, np.inf),
        protection=np.ones(flat.size, dtype=np.int64),
        rise=reach,
        # Nobody goes below nothing.
        fall=np.minimum(reach, flat),
    )
