"""Rounding as an alternative to suppression: every number is shown, none exactly."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from gbveval.core.errors import DataError, DesignError, DisclosureError
from gbveval.disclosure._layout import FloatArray, IntArray, Layout, layout, with_totals
from gbveval.disclosure._programmes import Constraints, minimise_whole
from gbveval.disclosure._request import Groupings, read_axes
from gbveval.disclosure.audit import feasible_range

_SMALLEST_BASE = 3
# Numbers may be rounded by so many steps beyond the two neighbouring multiples where totals ask for it.
_FURTHER_STEPS = (0, 1, 2)


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class RoundedTable:
    """A table of multiples of a base, and what rounding cost.

    Attributes
    ----------
    released : ndarray of int
        Rounded numbers; the last place along each axis is the total.
    base : int
        What they are multiples of.
    controlled : bool
        Whether rounded parts add up to rounded totals.
    reach : int
        The largest distance between a rounded number and the true one that the reader must reckon with.
    gap : int
        The largest difference between a rounded total and the sum of its rounded parts, which everybody can see. How
        far the rounded numbers are from the true ones on average is not told: in a small table it would say too much.
    narrowest : tuple of float, or None
        The narrowest interval to which a reader can confine a number that is small; None if none is.
    """

    released: IntArray
    base: int
    controlled: bool
    reach: int
    gap: int
    narrowest: tuple[float, float] | None

    def footer(self) -> str:
        """Return what belongs under the table."""
        words = (
            f"Rounded to multiples of {self.base}; a true number lies less than {self.reach + 1} from the one shown."
        )
        if self.gap:
            words += f" Parts and totals were rounded one by one and differ by up to {self.gap}."
        else:
            words += " Parts add up to totals."
        if self.narrowest is not None:
            low, high = self.narrowest
            words += f" No small number can be confined to an interval narrower than {high - low:.0f}."
        return words

    def __repr__(self) -> str:
        return f"RoundedTable({' x '.join(str(length) for length in self.released.shape)}: {self.footer()})"


def round_table(
    counts: ArrayLike,
    *,
    base: int = 5,
    controlled: bool = True,
    small: int = 10,
    groupings: Groupings | None = None,
) -> RoundedTable:
    """Round a table of counts with all its totals.

    Parameters
    ----------
    counts : array_like of int, one to five axes
        Respondents in each cell.
    base : int
        What the numbers become multiples of; at least 3.
    controlled : bool
        True: parts add up to their totals, and numbers go to one of the two neighbouring multiples, further only where
        the totals ask for it. False: each number goes to the nearest multiple, totals by themselves.
    small : int
        Numbers below are those to protect.
    groupings : optional
        As for `suppress_table`.

    Returns
    -------
    RoundedTable

    Raises
    ------
    DataError
        The counts are not whole numbers of 0 or more.
    DisclosureError
        No rounding with additive totals was found, or the totals give a small number away.

    Notes
    -----
    Controlled rounding minimises the sum of distances to the true numbers under the sums of the table, an integer
    programme (Cox and Ernst 1982). Multiples of the base stay as they are unless sums move them. The reader is taken to
    know the base and the method, and so an interval around each number; the audit confines each small number by linear
    programmes over all intervals and sums, and refuses the table if one follows to less than half the base.

    Not for tables that are published again and again, or beside a table that was suppressed: several roundings of one
    number narrow it down.

    References
    ----------
    Cox, L. H. and Ernst, L. R. (1982). Controlled rounding. INFOR 20.

    Examples
    --------
    >>> table = round_table([3, 14, 31])
    >>> table.released.tolist(), int(table.released[:-1].sum() - table.released[-1])
    ([5, 15, 30, 50], 0)
    """
    cells = _cells(counts)
    if isinstance(base, bool) or not isinstance(base, int) or base < _SMALLEST_BASE:
        raise DesignError(f"`base` must be a whole number of at least {_SMALLEST_BASE}; it is {base!r}.")
    axes = read_axes(cells.shape, groupings, pairs=False)
    structure = layout(axes)
    values = with_totals(cells, axes)
    flat = values.ravel()
    rounded, reach = _controlled(structure, flat, base) if controlled else (_nearest(flat, base), base // 2)
    narrowest = _narrowest(structure, flat, rounded, reach, small)
    if narrowest is not None and narrowest[1] - narrowest[0] < base // 2:
        raise DisclosureError(
            "The rounded totals give a small number away"
            + ("; use `controlled=True`, suppression, or a larger base." if not controlled else "; use suppression.")
        )
    return RoundedTable(
        released=rounded.reshape(values.shape),
        base=base,
        controlled=controlled,
        reach=reach,
        gap=int(np.abs(structure.matrix() @ rounded).max(initial=0)),
        narrowest=narrowest,
    )


def _cells(counts: ArrayLike) -> IntArray:
    array = np.asarray(counts)
    if not 1 <= array.ndim <= 5 or array.size == 0 or array.dtype.kind not in "iuf":
        raise DataError(
            f"`counts` has shape {array.shape} and type {array.dtype}; it needs one to five axes of numbers."
        )
    wrong = int((~np.isfinite(array) | (array < 0) | (array != np.floor(array))).sum())
    if wrong:
        raise DataError(f"`counts` has {wrong} cells that are not whole numbers of 0 or more. Give unweighted counts.")
    return array.astype(np.int64)


def _nearest(values: IntArray, base: int) -> IntArray:
    return base * ((2 * values + base) // (2 * base))


def _controlled(structure: Layout, values: IntArray, base: int) -> tuple[IntArray, int]:
    """Return multiples of the base that add up, as near the true numbers as can be, and how far off they may be."""
    for further in _FURTHER_STEPS:
        rounded = _programme(structure, values, base, further)
        if rounded is not None:
            return rounded, base * (1 + further) - 1
    raise DisclosureError(
        "No rounding was found in which parts add up to their totals. Use `controlled=False`, or suppression."
    )


def _programme(structure: Layout, values: IntArray, base: int, further: int) -> IntArray | None:
    """Solve for steps from the multiple below: each costs the distance that it adds."""
    from scipy.sparse import csr_array, hstack

    size = values.size
    below = values // base
    rest = (values - base * below).astype(float)
    # Upwards the first step costs base - 2 rest (it may be a gain), each further one the base; downwards each the base.
    first = np.ones(size) * (rest > 0)
    up = np.full(size, float(further))
    down = np.minimum(float(further), below.astype(float))
    matrix: Any = structure.matrix()
    equal = hstack([matrix, matrix, -matrix], format="csr")
    start = -np.asarray(matrix @ below.astype(float))
    solution = minimise_whole(
        np.concatenate([base - 2 * rest, np.full(size, float(base)), np.full(size, float(base))]),
        Constraints(
            equal=csr_array(equal),
            equal_to=start,
            bounds=np.column_stack([np.zeros(3 * size), np.concatenate([first, up, down])]),
        ),
        gap=0.0,
    )
    if solution is None:
        return None
    steps = np.rint(solution).astype(np.int64).reshape(3, size)
    rounded: IntArray = base * (below + steps[0] + steps[1] - steps[2])
    return rounded


def _narrowest(
    structure: Layout, values: IntArray, rounded: IntArray, reach: int, small: int
) -> tuple[float, float] | None:
    """Return the narrowest interval to which a reader can confine a small number."""
    of_interest = values < small
    if not of_interest.any():
        return None
    low = np.maximum(rounded - reach, 0).astype(float)
    found = feasible_range(
        structure.matrix(),
        np.zeros(len(structure.lines)),
        lower=low,
        upper=(rounded + reach).astype(float),
        unimodular=structure.unimodular,
        max_integer=0,
    )
    width: FloatArray = np.where(of_interest, found.width, np.inf)
    worst = int(np.argmin(width))
    return float(found.lower[worst]), float(found.upper[worst])
