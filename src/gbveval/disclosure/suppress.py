"""Suppression: which numbers of a table of counts about survivors are hidden, and why."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gbveval.core.errors import DataError
from gbveval.disclosure._layout import Axis, BoolArray, IntArray, all_along_lines, layout, with_totals
from gbveval.disclosure._problem import Problem
from gbveval.disclosure._protect import protect
from gbveval.disclosure._request import Groupings, Margins, read_axes, undeclared
from gbveval.disclosure.policy import Policy
from gbveval.disclosure.suppressed import (
    ALL,
    FEW_RESPONDENTS,
    FEW_WITH,
    FEW_WITHOUT,
    SHOWN,
    WITH,
    WITHOUT,
    SuppressedTable,
    make_table,
    shown_table,
    withheld_table,
)

MOST_AXES = 4


def suppress_table(
    counts: ArrayLike,
    policy: Policy | None = None,
    *,
    totals: ArrayLike | None = None,
    structural_zeros: ArrayLike | None = None,
    groupings: Groupings | None = None,
    margins: Margins | None = None,
    also_hidden: ArrayLike | None = None,
) -> SuppressedTable:
    """Hide what would show somebody in a table of counts, and check that it cannot be worked out.

    Parameters
    ----------
    counts : array_like of int, one to four axes
        Without `totals`: respondents in each category, or in each combination of categories. With `totals`:
        respondents with the outcome.
    policy : Policy, optional
        The rules; the default rules if not given.
    totals : array_like of int, same shape, optional
        Respondents in each cell. The table then has the outcome as a further axis, and with, without and all are
        protected together: where n is shown and x is hidden, n - x is hidden too.
    structural_zeros : array_like of bool, same shape, optional
        Cells that are empty by definition, as every reader knows. They are shown, as zeros, and protect nothing.
    groupings : mapping of int to sequence of sequences, optional
        Totals of groups along an axis, by the number of the axis: one sequence of labels (one for each category) a
        level, from fine to coarse, each level made of whole groups of the one before. Wards by district and
        province: ``{0: [districts, provinces]}``.
    margins : collection of tuples of int, optional
        Which breakdowns are printed: ``(0, 1)`` is the table by the first two axes, summed over the others, ``()`` the
        number of all. All if not given. What is not printed is not counted as hidden, and is protected all the same
        where it is small.
    also_hidden : array_like of bool, in the shape of the table with totals, optional
        Numbers to hide because something outside this table would give others away with them. A table of pairs has the
        outcome as its last axis: with, without, all.

    Returns
    -------
    SuppressedTable

    Raises
    ------
    DataError
        The counts are not whole, are negative, have the wrong shape, or exceed their totals; groups do not nest; a
        margin names an axis that is not there.

    Notes
    -----
    *Against whom.* The reader knows every number shown, totals included; that counts are whole and not negative; and,
    unless the policy says otherwise, which of the hidden numbers are small (hence below the threshold) and which are
    not (hence at or above it). Whoever knows the rule but not which numbers are small knows less, and so is held
    off too. Each hidden number, totals included, can then be anywhere in an interval at least as wide as the
    protection. Also, the hidden parts of a line with a visible total never add up to a number below the threshold.

    *Not covered.* A reader who re-runs this algorithm on conjectured tables; respondents who subtract themselves or
    people they know; what other tables reveal (categories that overlap, a total printed elsewhere): for those give
    `release` a `Ledger`, or set up the joint system with `feasible_range`. For outcomes that are not exclusive, such as
    forms of abuse, call this once for each; their counts do not add up to a total.

    *When cells are not enough*, totals are hidden, the grand total last; if that is not enough either, the whole
    table is withheld, and the audit says so.

    *How.* On small tables an integer programme finds the cheapest choice; on large ones it is a good choice and not the
    best, which is a hard problem. Either way each hidden number has a pair of whole tables as its proof.

    References
    ----------
    Hundepool, A. and others (2012). Statistical Disclosure Control. Wiley.

    Fischetti, M. and Salazar, J. J. (2001). Solving the cell suppression problem on tabular data with linear
    constraints. Management Science 47.

    Examples
    --------
    Four of 60 with the outcome are hidden, so the other 56 are too, and one more group to protect both:

    >>> table = suppress_table([4, 30, 45], totals=[60, 80, 90])
    >>> table.respondents.tolist()
    [60.0, 80.0, 90.0, 230.0]
    >>> table.events.tolist()
    [nan, nan, 45.0, 79.0]
    >>> table.audit.sentence()
    'suppressed 1 cell primarily, 3 to protect it; the narrowest hidden interval is 0 to 9'

    With totals by province the second gap must be in the same province:

    >>> suppress_table([4, 30, 45, 50], groupings={0: [("n", "n", "s", "s")]}).released.tolist()
    [nan, nan, 45.0, 50.0, 34.0, 95.0, 129.0]
    """
    rules = Policy() if policy is None else policy
    cells = _cells(counts, totals)
    pairs = totals is not None
    axes = read_axes(cells.shape, groupings, pairs)
    silent = undeclared(axes, margins, pairs)
    empty = _structural(cells, structural_zeros, pairs)
    values = with_totals(cells, axes)
    reasons, threshold = _primary(values, rules, pairs)
    fixed = all_along_lines(empty, axes)
    reasons[fixed] = SHOWN
    if not rules.enforce:
        return shown_table(values, reasons, silent=silent, axes=axes, pairs=pairs, policy=rules)
    forced = _forced(values.shape, also_hidden)
    problem = _problem(
        values, reasons, threshold=threshold, fixed=fixed, forced=forced, silent=silent, axes=axes, policy=rules
    )
    found = protect(problem)
    if found is None:
        return withheld_table(axes, pairs, rules)
    return make_table(problem, reasons, found=found, pairs=pairs, policy=rules)


def _counts(name: str, given: ArrayLike) -> IntArray:
    """Return whole counts, or raise DataError without showing any."""
    array = np.asarray(given)
    if not 1 <= array.ndim <= MOST_AXES or array.size == 0:
        raise DataError(f"`{name}` has shape {array.shape}; it must have one to four axes and at least one cell.")
    if array.dtype.kind not in "iuf":
        raise DataError(f"`{name}` must hold numbers; its type is {array.dtype}.")
    wrong = ~np.isfinite(array) | (array < 0) | (array != np.floor(array))
    if wrong.any():
        raise DataError(
            f"`{name}` has {int(wrong.sum())} cells that are not whole numbers of 0 or more. "
            "Give unweighted counts, with 0 for an empty cell."
        )
    return array.astype(np.int64)


def _cells(counts: ArrayLike, totals: ArrayLike | None) -> IntArray:
    """Return the cells: as given, or with a further axis of (with the outcome, without it)."""
    first = _counts("counts", counts)
    if totals is None:
        return first
    respondents = _counts("totals", totals)
    if respondents.shape != first.shape:
        raise DataError(f"`totals` has shape {respondents.shape} and `counts` {first.shape}; they must be the same.")
    excess = int((first > respondents).sum())
    if excess:
        raise DataError(f"`counts` exceeds `totals` in {excess} cells. Give respondents with the outcome as `counts`.")
    return np.stack([first, respondents - first], axis=-1)


def _structural(cells: IntArray, given: ArrayLike | None, pairs: bool) -> BoolArray:
    """Return which cells are empty by definition, in the shape of `cells`."""
    if given is None:
        return np.zeros(cells.shape, dtype=bool)
    mask = np.asarray(given)
    expected = cells.shape[:-1] if pairs else cells.shape
    if mask.shape != expected or mask.dtype != np.bool_:
        raise DataError(f"`structural_zeros` must be True or False in the shape {expected}.")
    full = np.repeat(mask[..., None], 2, axis=-1) if pairs else mask
    occupied = int((full & (cells > 0)).sum())
    if occupied:
        raise DataError(f"`structural_zeros` marks {occupied} cells that are not empty. Unmark them.")
    return full


def _forced(shape: tuple[int, ...], given: ArrayLike | None) -> BoolArray:
    """Return what is to be hidden besides."""
    if given is None:
        return np.zeros(shape, dtype=bool)
    mask = np.asarray(given)
    if mask.shape != shape or mask.dtype != np.bool_:
        raise DataError(f"`also_hidden` must be True or False in the shape {shape}, totals included.")
    return mask


def _primary(values: IntArray, policy: Policy, pairs: bool) -> tuple[NDArray[np.str_], IntArray]:
    """Return why each number is small, empty if it is not, and the threshold it was held against."""
    reasons = np.full(values.shape, SHOWN, dtype="<U24")
    threshold = np.full(values.shape, policy.min_n, dtype=np.int64)
    if not pairs:
        reasons[values < policy.min_n] = FEW_RESPONDENTS
        return reasons, threshold
    few = values[..., ALL] < policy.min_n
    for place, reason in ((WITH, FEW_WITH), (WITHOUT, FEW_WITHOUT)):
        # Where n itself is small, x and n - x are bounded by the threshold for n and by no other.
        threshold[..., place] = np.where(few, policy.min_n, policy.event_threshold)
        reasons[..., place][values[..., place] < policy.event_threshold] = reason
    reasons[few] = FEW_RESPONDENTS
    return reasons, threshold


def _problem(
    values: IntArray,
    reasons: NDArray[np.str_],
    *,
    threshold: IntArray,
    fixed: BoolArray,
    forced: BoolArray,
    silent: BoolArray,
    axes: tuple[Axis, ...],
    policy: Policy,
) -> Problem:
    """Return the table in flat order with what the reader knows of each number."""
    primary = (reasons != SHOWN).ravel()
    flat, limit, known = values.ravel(), threshold.ravel(), fixed.ravel()
    lower = np.zeros(flat.size)
    upper = np.full(flat.size, np.inf)
    if policy.attacker_knows_rule:
        # Nobody is told which numbers are small among those that are not printed at all.
        marked = ~silent.ravel()
        lower = np.where(marked & ~primary, limit, lower)
        upper = np.where(marked & primary, limit - 1.0, upper)
    lower = np.where(known, flat, lower)
    upper = np.where(known, flat, upper)
    return Problem(
        layout=layout(axes),
        values=flat,
        mass=flat,
        primary=primary,
        fixed=known,
        forced=forced.ravel(),
        silent=silent.ravel() & ~known,
        threshold=limit,
        lower=lower,
        upper=upper,
        protection=np.full(flat.size, policy.protection_width, dtype=np.int64),
        rise=np.zeros(flat.size, dtype=np.int64),
        fall=np.zeros(flat.size, dtype=np.int64),
    )
