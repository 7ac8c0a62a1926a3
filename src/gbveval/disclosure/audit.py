"""What a reader can work out about the hidden numbers of a release, by linear and integer programming."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gbveval.core.errors import DataError
from gbveval.disclosure._layout import layout, plain_axes
from gbveval.disclosure._programmes import NO_FIT, ROUNDING, Matrix, System

if TYPE_CHECKING:
    from scipy.sparse import csr_array

FloatArray = NDArray[np.float64]

UNIMODULAR = "linear programmes, whose bounds are whole numbers for tables of one or two dimensions"
INTEGRAL = "linear programmes, whose solutions were whole numbers"
INTEGER = "integer programmes"
RELAXED = "linear programmes; the table is too large for integer programmes, so the true intervals may be narrower"
WITNESSES = "pairs of whole tables that agree with everything shown; the true intervals are at least as wide"
NOTHING_HIDDEN = "no programme: nothing is hidden"
NOTHING_SHOWN = "no programme: nothing is shown"


@dataclass(frozen=True, slots=True, eq=False)
class Intervals:
    """Where the entries of a table or a linear system can lie.

    Attributes
    ----------
    lower, upper : ndarray
        Ends of the interval of each entry; equal for an entry that is shown, infinite where there is no upper end.
    method : str
        Which programmes were solved.
    exact : bool
        Whether both ends are attained by whole numbers; otherwise the true interval may be narrower.
    """

    lower: FloatArray
    upper: FloatArray
    method: str
    exact: bool

    @property
    def width(self) -> FloatArray:
        """Upper end minus lower end."""
        return self.upper - self.lower


@dataclass(frozen=True, slots=True)
class AuditReport:
    """What the audit of a release found.

    Attributes
    ----------
    n_primary, n_complementary : int
        Numbers hidden for their own sake, and to protect those.
    n_totals : int
        How many of all the hidden numbers are totals.
    narrowest : tuple of float, or None
        Lower and upper end of the narrowest interval of a hidden number; where witnesses are the proof, 0 and the width
        that they prove; None if nothing is hidden.
    protection : int
        The narrowest interval that the policy allows.
    attacker : str
        What the reader is assumed to know.
    method : str
        Which programmes were solved.
    exact : bool
        Whether the intervals are those of whole numbers.
    withheld : bool
        Whether the whole table is withheld.
    n_shown_small : int
        Small numbers that are shown because the policy was overridden.
    """

    n_primary: int
    n_complementary: int
    n_totals: int
    narrowest: tuple[float, float] | None
    protection: int
    attacker: str
    method: str
    exact: bool
    withheld: bool = False
    n_shown_small: int = 0

    @property
    def passed(self) -> bool:
        """Whether no small number is shown and no hidden number can be confined too narrowly, for certain."""
        if self.n_shown_small:
            return False
        if self.withheld or self.narrowest is None:
            return True
        return self.exact and self.narrowest[1] - self.narrowest[0] >= self.protection

    def sentence(self) -> str:
        """Return the finding in one sentence.

        Examples
        --------
        >>> AuditReport(3, 4, 0, (0.0, 14.0), 5, "knows the rule", UNIMODULAR, True).sentence()
        'suppressed 3 cells primarily, 4 to protect them; the narrowest hidden interval is 0 to 14'
        """
        if self.n_shown_small:
            cells = _count(self.n_shown_small, "cell")
            return f"suppressed nothing, by an override; {cells} below the threshold {_are(self.n_shown_small)} shown"
        if self.withheld:
            return "withheld the whole table, because hiding some of its cells cannot protect them; merge categories"
        if self.narrowest is None:
            return "suppressed nothing, because no cell is small"
        hidden = self.n_primary + self.n_complementary
        totals = ""
        if self.n_totals:
            noun = "a total" if self.n_totals == 1 else "totals"
            totals = f" ({self.n_totals} of these {hidden} {_are(self.n_totals)} {noun})"
        low, high = self.narrowest
        interval = f"{low:.0f} or more" if np.isinf(high) else f"{low:.0f} to {high:.0f}"
        them = "it" if self.n_primary == 1 else "them"
        doubt = "" if self.exact else " or narrower, as integer programmes were out of reach"
        finding = f"the narrowest hidden interval is {interval}{doubt}"
        if self.method == WITNESSES:
            finding = f"no hidden number can be confined to an interval narrower than {high - low:.0f}"
        return (
            f"suppressed {_count(self.n_primary, 'cell')} primarily, {self.n_complementary} to protect {them}{totals}; "
            f"{finding}"
        )


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _are(number: int) -> str:
    return "is" if number == 1 else "are"


def feasible_intervals(
    released: ArrayLike, *, lower: ArrayLike | None = None, upper: ArrayLike | None = None, max_integer: int = 400
) -> Intervals:
    """Return the interval to which a reader can confine every hidden number of a table with totals.

    Parameters
    ----------
    released : array_like, 1 to 5 dimensions
        The table as shown, NaN where hidden. The last place along each axis holds the total of the others, so
        that r x c categories make a table of shape (r + 1, c + 1).
    lower, upper : array_like, same shape, optional
        What the reader knows of each hidden number besides; from 0 and without an upper end if not given. Entries of
        shown numbers are ignored.
    max_integer : int
        Most hidden numbers for which integer programmes are tried, when three dimensions need them.

    Returns
    -------
    Intervals
        `lower` and `upper` in the shape of `released`.

    Raises
    ------
    DataError
        The table has no place for totals, or no table of counts fits what is shown.

    Notes
    -----
    With one or two dimensions every entry, totals included, is an arc of a network: it leaves the node of its row and
    enters that of its column. The matrix of such a system is totally unimodular, so the linear bounds are attained by
    whole numbers. With three dimensions they need not be.

    Examples
    --------
    Two cells of a row and two of a column are hidden:

    >>> shown = [[np.nan, np.nan, 40], [np.nan, np.nan, 50], [30, 60, 90]]
    >>> intervals = feasible_intervals(shown)
    >>> intervals.lower[:2, :2].tolist(), intervals.upper[:2, :2].tolist()
    ([[0.0, 10.0], [0.0, 20.0]], [[30.0, 40.0], [30.0, 50.0]])
    """
    table = np.array(released, dtype=float)
    if not 1 <= table.ndim <= 5 or min(table.shape, default=0) < 2:
        raise DataError(
            f"The released table has shape {table.shape}; it needs 1 to 5 axes, each with at least one category and "
            "the total in the last place. Append the totals (NaN where hidden)."
        )
    hidden = np.isnan(table)
    low = np.where(hidden, 0.0 if lower is None else np.asarray(lower, dtype=float), table).ravel()
    high = np.where(hidden, np.inf if upper is None else np.asarray(upper, dtype=float), table).ravel()
    structure = layout(plain_axes(table.shape))
    system = structure.matrix()
    found = feasible_range(
        system,
        np.zeros(len(structure.lines)),
        lower=low,
        upper=high,
        unimodular=structure.unimodular,
        max_integer=max_integer,
    )
    return Intervals(found.lower.reshape(table.shape), found.upper.reshape(table.shape), found.method, found.exact)


def feasible_range(
    matrix: ArrayLike | csr_array,
    totals: ArrayLike,
    *,
    lower: ArrayLike,
    upper: ArrayLike,
    unimodular: bool = False,
    max_integer: int = 400,
) -> Intervals:
    """Return the range of every unknown count in a linear system, for tables that share numbers.

    Parameters
    ----------
    matrix : array_like or sparse array, shape (equations, unknowns)
        Coefficients of what is known to hold.
    totals : array_like, shape (equations,)
        Right-hand sides.
    lower, upper : array_like, shape (unknowns,)
        Known bounds; equal for a number that is known, infinite above where there is none.
    unimodular : bool
        True only if the matrix is known to be totally unimodular; spares the integer programmes.
    max_integer : int
        Most unknowns for which integer programmes are tried.

    Returns
    -------
    Intervals
        `exact` is False when integer programmes were needed and out of reach: the ends are then outer bounds.

    Raises
    ------
    DataError
        No counts fit the system.
    ConvergenceError
        The solver gave up.

    Examples
    --------
    A number that is twice another, both below 10:

    >>> found = feasible_range([[1.0, -2.0]], [0.0], lower=[0, 0], upper=[9, 9])
    >>> found.upper.tolist()
    [8.0, 4.0]
    """
    from scipy.sparse import csr_array

    low = np.array(lower, dtype=float)
    high = np.array(upper, dtype=float)
    given: Matrix = matrix
    system = csr_array(given)
    free = np.flatnonzero(low < high)
    fixed = np.flatnonzero(low == high)
    if np.any(low > high):
        raise DataError(NO_FIT)
    rhs = np.asarray(totals, dtype=float) - np.asarray(system[:, fixed] @ low[fixed])
    inner = csr_array(system[:, free])
    used = np.diff(inner.indptr) > 0
    if np.any(np.abs(rhs[~used]) > ROUNDING):
        raise DataError(NO_FIT)
    if free.size == 0:
        return Intervals(low, high, NOTHING_HIDDEN, True)
    problem = System(csr_array(inner[np.flatnonzero(used)]), rhs[used], low[free], high[free])
    ends, whole = problem.bounds()
    method, exact = (UNIMODULAR if unimodular else INTEGRAL), True
    if not unimodular and not whole.all():
        method, exact = (INTEGER, True) if free.size <= max_integer else (RELAXED, False)
        if exact:
            exact = problem.tighten(ends, whole)
    low[free] = np.ceil(ends[0] - ROUNDING) + 0.0  # no negative zero
    high[free] = np.floor(ends[1] + ROUNDING)
    return Intervals(low, high, method, exact)
