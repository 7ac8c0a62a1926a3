"""A table in which what must not be shown is absent, with the audit of it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gbveval.core.errors import DisclosureError
from gbveval.disclosure._layout import Axis, BoolArray, FloatArray, IntArray
from gbveval.disclosure._problem import Problem
from gbveval.disclosure._protect import Protection
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

# Up to so many hidden numbers the ends of every interval are computed; beyond, witnesses prove how wide they are.
_MOST_INTERVALS = 150

# Places of the outcome's axis.
WITH, WITHOUT, ALL = 0, 1, 2


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
        The interval to which the assumed reader can confine each number; in a large table what the rule alone tells of
        it, within which the reader's own interval lies (`audit.method` says which).
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
        return self.released[..., ALL] if self.pairs else self.released

    @property
    def events(self) -> FloatArray:
        """Numbers of respondents with the outcome, totals in the last places."""
        return self._outcome(WITH)

    @property
    def non_events(self) -> FloatArray:
        """Numbers of respondents without the outcome, totals in the last places."""
        return self._outcome(WITHOUT)

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


def _intervals(problem: Problem, found: Protection) -> Intervals:
    """Return where each number can lie: the ends themselves, or for many numbers what the rule tells of each.

    The ends of a witness must not leave: they are so far from the truth as the search chose, and often are the truth.
    """
    lower = np.where(found.hidden, problem.lower, problem.values)
    upper = np.where(found.hidden, problem.upper, problem.values)
    if int(problem.required(found.hidden).sum()) > _MOST_INTERVALS:
        return Intervals(lower, upper, WITNESSES, True)
    return feasible_range(
        problem.layout.matrix(),
        np.zeros(len(problem.layout.lines)),
        lower=lower,
        upper=upper,
        unimodular=problem.layout.unimodular,
    )


def _narrowest(problem: Problem, found: Protection, intervals: Intervals) -> tuple[float, float] | None:
    """Return the narrowest interval of a hidden number; of witnesses only the width that each of them proves."""
    entries = np.flatnonzero(problem.required(found.hidden))
    if not entries.size:
        return None
    if intervals.method == WITNESSES:
        return 0.0, float(problem.protection[entries].min())
    worst = entries[np.argmin(intervals.width[entries])]
    return float(intervals.lower[worst]), float(intervals.upper[worst])


def make_table(
    problem: Problem, reasons: NDArray[np.str_], *, found: Protection, pairs: bool, policy: Policy
) -> SuppressedTable:
    """Return the table with what is hidden removed."""
    shape = reasons.shape
    absent = found.hidden.reshape(shape)
    silent = problem.silent.reshape(shape)
    kept = absent & ~silent
    primary = problem.primary.reshape(shape) & ~silent
    intervals = _intervals(problem, found)
    report = AuditReport(
        n_primary=int(primary.sum()),
        n_complementary=int((kept & ~primary).sum()),
        n_totals=int((kept.ravel() & (problem.layout.level > 0)).sum()),
        narrowest=_narrowest(problem, found, intervals),
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


def withheld_table(axes: tuple[Axis, ...], pairs: bool, policy: Policy) -> SuppressedTable:
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


def shown_table(
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
