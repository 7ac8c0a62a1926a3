"""A table of counts of respondents, in one or two directions, before anybody may see it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, repr=False)
class CountTable:
    """Counts of respondents, and of those with an outcome, by one or two categories.

    It holds what small cells would give away, so it has no display of its own: `release` shows it.

    Parameters
    ----------
    title : str
        What is counted.
    rows, columns : tuple of str
        Category labels; `columns` is empty for a one-way table.
    n : tuple of tuple of int
        Respondents, one tuple a row.
    events : tuple of tuple of int, or None
        Respondents with the outcome; None for a plain frequency table.
    left_out : int
        Respondents without an answer, who are in no cell.
    """

    title: str
    rows: tuple[str, ...]
    columns: tuple[str, ...]
    n: tuple[tuple[int, ...], ...]
    events: tuple[tuple[int, ...], ...] | None = None
    left_out: int = 0

    def __post_init__(self) -> None:
        width = max(len(self.columns), 1)
        for table in (self.n, self.events):
            if table is not None and (len(table) != len(self.rows) or any(len(row) != width for row in table)):
                raise ValueError(f"The counts of {self.title!r} must have {len(self.rows)} rows and {width} columns.")

    def __repr__(self) -> str:
        shape = f"{len(self.rows)} x {len(self.columns)}" if self.columns else f"{len(self.rows)} rows"
        return f"<CountTable {self.title}: {shape}; release() shows what may be shown>"
