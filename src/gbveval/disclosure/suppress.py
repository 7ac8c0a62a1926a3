"""Suppression: which numbers of a table of counts about survivors are hidden, and why."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gbveval.core.errors import DataError, DisclosureError
from gbveval.disclosure._layout import Axis, BoolArray, FloatArray, IntArray, all_along_lines, layout, with_totals
from gbveval.disclosure._problem import Problem
from gbveval.disclosure._protect import Protection, protect
from gbveval.disclosure._request import Groupings, Margins, read_axes, undeclared
from gbveval.disclosure.audit import (
    NOTHING_HIDDEN,
    NOTHING_SHOWN,
    WITNESSES,
    AuditReport,
    Intervals,
    feasible_range,
)
from gbveval.disclosure.policy import Policy

SHOWN = ""
FEW_RESPONDENTS = "few respondents"
FEW_WITH = "few with the outcome"
FEW_WITHOUT = "few without the outcome"
PROTECTS = "protects another number"
WITHHELD = "table withheld"
NOT_ASKED = "not in a declared margin"

MOST_AXES = 4
# Up to so many hidden numbers the ends of every interval are computed; beyond, their witnesses say how wide they are.
_MOST_INTERVALS = 150

_WITH, _WITHOUT, _ALL = 0, 1, 2


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class SuppressedTable:
    """A table of counts in which what must not be shown is absent.

    It does not hold the hidden counts, so it may be stored and sent on. Along each axis come the categories, the totals
    of groups (finer before coarser) and in the last place the total. A table of (respondents, with outcome) pairs has
    one axis more, of three places: with the outcome, without it, all.

    Attributes
    ----------
    released : ndarray of float
        Counts as they may be shown; NaN where hidden, which is not zero.
    primary, complementary : ndarray of bool
        What was hidden for its own sake, and to protect that. To be shown apart only if the policy assumes a reader
        who knows which is which (`Policy.attacker_knows_rule`); otherwise show only `hidden`.
    reasons : ndarray of str
        Why each number is hidden; empty where it is shown.
    undeclared : ndarray of bool
        What is absent only because its margin was not declared.
    lower, upper : ndarray of float
        The interval to which the assumed reader can confine each number; in a large table an interval that the
        reader's own contains (`audit.method` says which).
    axes : tuple of Axis
        The places along each axis.
    pairs : bool
        Whether the last axis is (with the outcome, without it, all).
    policy : Policy
        The rules that were applied.
    audit : AuditReport
        What the audit found.
    """

    released: FloatArray
    primary: BoolArray
    complementary: BoolArray
    reasons: NDArray[np.str_]
    undeclared: BoolArray
    lower: FloatArray
    upper: FloatArray
    axes: tuple[Axis, ...]
    pairs: bool
    policy: Policy
    audit: AuditReport

    @property
    def hidden(self) -> BoolArray:
        """Whether each number is hidden."""
        return np.isnan(self.released) & ~self.undeclared

    @property
    def withheld(self) -> bool:
        """Whether the whole table is withheld."""
        return self.audit.withheld

    @property
    def respondents(self) -> FloatArray:
        """Numbers of respondents, totals in the last places."""
        return self.released[..., _ALL] if self.pairs else self.released

    @property
    def events(self) -> FloatArray:
        """Numbers of respondents with the outcome, totals in the last places."""
        return self._outcome(_WITH)

    @property
    def non_events(self) -> FloatArray:
        """Numbers of respondents without the outcome, totals in the last places."""
        return self._outcome(_WITHOUT)

    @property
    def cells(self) -> FloatArray:
        """The table without its totals over categories (of a table of pairs, without `respondents`)."""
        return self.released[tuple(slice(None, axis.n_categories) for axis in self.axes)]

    def _outcome(self, place: int) -> FloatArray:
        if not self.pairs:
            raise DisclosureError("This table has no outcome. Give `totals` to `suppress_table` to make one of pairs.")
        return self.released[..., place]

    def footer(self) -> str:
        """Return what belongs under the table: what was hidden, the audit, and the policy in plain words."""
        sentence = self.audit.sentence()
        return f"{sentence[0].upper()}{sentence[1:]}. {self.policy.describe()}"

    def __repr__(self) -> str:
        shape = " x ".join(str(length) for length in self.released.shape)
        return f"SuppressedTable({shape} with totals: {self.audit.sentence()})"


def suppress_table(
    counts: ArrayLike,
    policy: Policy | None = None,
    *,
    totals: ArrayLike | None = None,
    structural_zeros: ArrayLike | None = None,
    groupings: Groupings | None = None,
    margins: Margins | None = None,
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
        return _overridden(values, reasons, silent=silent, axes=axes, pairs=pairs, policy=rules)
    problem = _problem(values, reasons, threshold=threshold, fixed=fixed, silent=silent, axes=axes, policy=rules)
    found = protect(problem)
    if found is None:
        return _withheld(axes, pairs, rules)
    return _table(problem, reasons, found=found, pairs=pairs, policy=rules)


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


def _primary(values: IntArray, policy: Policy, pairs: bool) -> tuple[NDArray[np.str_], IntArray]:
    """Return why each number is small, empty if it is not, and the threshold it was held against."""
    reasons = np.full(values.shape, SHOWN, dtype="<U24")
    threshold = np.full(values.shape, policy.min_n, dtype=np.int64)
    if not pairs:
        reasons[values < policy.min_n] = FEW_RESPONDENTS
        return reasons, threshold
    few = values[..., _ALL] < policy.min_n
    for place, reason in ((_WITH, FEW_WITH), (_WITHOUT, FEW_WITHOUT)):
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
        silent=silent.ravel() & ~known,
        threshold=limit,
        lower=lower,
        upper=upper,
        protection=np.full(flat.size, policy.protection_width, dtype=np.int64),
    )


def intervals_of(problem: Problem, found: Protection) -> Intervals:
    """Return where each number can lie: the ends themselves, or for many numbers an interval inside them."""
    required = problem.required(found.hidden)
    if int(required.sum()) <= _MOST_INTERVALS:
        return feasible_range(
            problem.layout.matrix(),
            np.zeros(len(problem.layout.lines)),
            lower=np.where(found.hidden, problem.lower, problem.values),
            upper=np.where(found.hidden, problem.upper, problem.values),
            unimodular=problem.layout.unimodular,
        )
    lower, upper = problem.values.astype(float), problem.values.astype(float)
    for entry in np.flatnonzero(required).tolist():
        witness = found.proofs[entry]
        at = int(np.flatnonzero(witness.entries == entry)[0])
        ends = sorted((int(witness.first[at]), int(witness.second[at]), 0))
        lower[entry] += ends[0]
        upper[entry] += ends[-1]
    return Intervals(lower, upper, WITNESSES, True)


def _table(
    problem: Problem, reasons: NDArray[np.str_], *, found: Protection, pairs: bool, policy: Policy
) -> SuppressedTable:
    """Return the table with what is hidden removed."""
    shape = reasons.shape
    absent = found.hidden.reshape(shape)
    silent = problem.silent.reshape(shape)
    kept = absent & ~silent
    primary = problem.primary.reshape(shape) & ~silent
    intervals = intervals_of(problem, found)
    required = problem.required(found.hidden)
    narrowest = None
    if required.any():
        entries = np.flatnonzero(required)
        worst = entries[np.argmin(intervals.width[entries])]
        narrowest = (float(intervals.lower[worst]), float(intervals.upper[worst]))
    report = AuditReport(
        n_primary=int(primary.sum()),
        n_complementary=int((kept & ~primary).sum()),
        n_totals=int((kept.ravel() & (problem.layout.level > 0)).sum()),
        narrowest=narrowest,
        protection=policy.protection_width,
        attacker=_attacker(policy),
        method=intervals.method,
        # Whole tables are the proof, whatever programmes could say of the ends.
        exact=True,
    )
    reasons = np.where(kept & ~primary, PROTECTS, np.where(silent, NOT_ASKED, reasons))
    return SuppressedTable(
        released=np.where(absent, np.nan, problem.values.reshape(shape)),
        primary=primary,
        complementary=kept & ~primary,
        reasons=reasons,
        undeclared=silent,
        lower=intervals.lower.reshape(shape),
        upper=intervals.upper.reshape(shape),
        axes=problem.layout.axes,
        pairs=pairs,
        policy=policy,
        audit=report,
    )


def _withheld(axes: tuple[Axis, ...], pairs: bool, policy: Policy) -> SuppressedTable:
    """Return a table that shows nothing, not even which of its numbers are small."""
    shape = tuple(axis.size for axis in axes)
    everything = np.ones(shape, dtype=bool)
    size = int(everything.sum())
    n_totals = size - int(np.prod([axis.n_categories for axis in axes]))
    report = AuditReport(
        n_primary=0,
        n_complementary=size,
        n_totals=n_totals,
        narrowest=(0.0, np.inf),
        protection=policy.protection_width,
        attacker=_attacker(policy),
        method=NOTHING_SHOWN,
        exact=True,
        withheld=True,
    )
    return SuppressedTable(
        released=np.full(shape, np.nan),
        primary=~everything,
        complementary=everything,
        reasons=np.full(shape, WITHHELD),
        undeclared=~everything,
        lower=np.zeros(shape),
        upper=np.full(shape, np.inf),
        axes=axes,
        pairs=pairs,
        policy=policy,
        audit=report,
    )


def _overridden(
    values: IntArray,
    reasons: NDArray[np.str_],
    *,
    silent: BoolArray,
    axes: tuple[Axis, ...],
    pairs: bool,
    policy: Policy,
) -> SuppressedTable:
    """Return the table as it is, with the number of small cells on record."""
    nothing = np.zeros(values.shape, dtype=bool)
    shown = values.astype(float)
    report = AuditReport(
        n_primary=0,
        n_complementary=0,
        n_totals=0,
        narrowest=None,
        protection=policy.protection_width,
        attacker=_attacker(policy),
        method=NOTHING_HIDDEN,
        exact=True,
        n_shown_small=int(((reasons != SHOWN) & ~silent).sum()),
    )
    return SuppressedTable(
        released=np.where(silent, np.nan, shown),
        primary=nothing,
        complementary=nothing.copy(),
        reasons=np.where(silent, NOT_ASKED, np.full(values.shape, SHOWN, dtype="<U24")),
        undeclared=silent,
        lower=shown.copy(),
        upper=shown.copy(),
        axes=axes,
        pairs=pairs,
        policy=policy,
        audit=report,
    )


def _attacker(policy: Policy) -> str:
    """Return what the reader is assumed to know."""
    known = "the numbers shown, and that counts are whole and not negative"
    return f"{known}, and which hidden numbers are small" if policy.attacker_knows_rule else known
