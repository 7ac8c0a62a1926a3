"""`Factor`: a risk or protective factor as it is declared before the data are seen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from gbveval.core.errors import DesignError

ECOLOGICAL_LEVELS: Final = ("individual", "relationship", "community", "society")
DIRECTIONS: Final = ("risk", "protective")
TIME_ORDERS: Final = ("before", "same_time", "unknown")


@dataclass(frozen=True, slots=True)
class Factor:
    """A factor that may go with experiencing or perpetrating abuse.

    Parameters
    ----------
    column : str
        Its column in the survey: categories (numbers are taken as categories too; cut a measurement into bands).
    level : str or None
        Level of the socio-ecological model: "individual", "relationship", "community" or "society". None is shown as
        "not declared".
    reference : str, optional
        Category that the others are compared with; by default the lowest of `ordered`, or the first in sorted order.
    direction : str, optional
        What was expected beforehand: "risk" or "protective".
    definition : str
        How it was asked or measured, for the reader of the table.
    time_order : str, optional
        Whether the factor was there "before" the outcome could happen (prospective), both were asked of the
        "same_time", or it is "unknown". Only the first rules out that the outcome brought about the factor.
    ordered : sequence of str
        All categories, lowest first, of a factor that has an order: the table then has a row for each step up.

    Raises
    ------
    DesignError
        If the level, the direction or the time order is not one of these words, or an order names a category twice.

    References
    ----------
    Heise (1998), Violence Against Women 4 (the socio-ecological model).

    Examples
    --------
    >>> Factor("moderated_community", level="community", reference="no", direction="protective").level
    'community'
    """

    column: str
    level: str | None = None
    reference: str | None = None
    direction: str | None = None
    definition: str = ""
    time_order: str | None = None
    ordered: Sequence[str] = ()

    def __post_init__(self) -> None:
        if not self.column:
            raise DesignError("A Factor needs the name of a column.")
        if self.level is not None and self.level not in ECOLOGICAL_LEVELS:
            raise DesignError(
                f"level is one of {', '.join(ECOLOGICAL_LEVELS)}, or None if not declared; it is {self.level!r}. "
                "For the category to compare with, use reference."
            )
        if self.direction is not None and self.direction not in DIRECTIONS:
            raise DesignError(f"direction is 'risk', 'protective' or None, not {self.direction!r}.")
        if self.time_order is not None and self.time_order not in TIME_ORDERS:
            raise DesignError(f"time_order is one of {', '.join(TIME_ORDERS)}, or None, not {self.time_order!r}.")
        given = (self.ordered,) if isinstance(self.ordered, str) else self.ordered
        order = tuple(str(level) for level in given)
        if len(set(order)) < len(order) or len(order) in (1, 2):
            raise DesignError(f"ordered of {self.column!r} names three categories or more, each once, lowest first.")
        object.__setattr__(self, "ordered", order)
        if self.reference is not None and not isinstance(self.reference, str):
            # Categories are kept as text; a number given as the reference means the category of that number.
            object.__setattr__(self, "reference", str(self.reference))
