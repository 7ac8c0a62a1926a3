"""A small table of results that are not estimates of a parameter: named columns, rows, and notes in words."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Any

from gbveval.core.method import Cell

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, slots=True)
class Table:
    """Rows under named columns.

    Parameters
    ----------
    title : str
        What the table shows.
    columns : tuple of str
        Column names.
    rows : tuple of tuple
        Values; numbers, texts or None.
    notes : tuple of str
        What a reader must know.
    support : tuple of tuple of Cell
        For each row the counts behind it, where it rests on respondents; empty for tables that rest on none.

    Examples
    --------
    >>> table = Table("Power", ("effect", "power"), ((0.1, 0.62), (0.2, 0.97)))
    >>> table.column("power")
    (0.62, 0.97)
    """

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]
    notes: tuple[str, ...] = ()
    support: tuple[tuple[Cell, ...], ...] = ()

    def __post_init__(self) -> None:
        if self.support and len(self.support) != len(self.rows):
            raise ValueError(f"{self.title!r} needs support for every row or for none.")
        for row in self.rows:
            if len(row) != len(self.columns):
                raise ValueError(f"Every row of {self.title!r} needs {len(self.columns)} values.")

    def column(self, name: str) -> tuple[Any, ...]:
        """Return the values of a column."""
        if name not in self.columns:
            raise KeyError(f"There is no column {name!r}; there are: {', '.join(self.columns)}.")
        position = self.columns.index(name)
        return tuple(row[position] for row in self.rows)

    def tidy(self) -> pd.DataFrame:
        """Return the table as a pandas frame."""
        from gbveval.core._display import table_frame

        return table_frame(self)

    def _repr_html_(self) -> str:
        head = "".join(f"<th>{escape(name)}</th>" for name in self.columns)
        body = "".join(
            "<tr>" + "".join(f"<td>{escape(_shown(value))}</td>" for value in row) + "</tr>" for row in self.rows
        )
        notes = "".join(f"<li>{escape(note)}</li>" for note in self.notes)
        return f"<div><p><b>{escape(self.title)}</b></p><table><tr>{head}</tr>{body}</table><ul>{notes}</ul></div>"


def _shown(value: Any) -> str:
    if value is None:
        return "–"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
