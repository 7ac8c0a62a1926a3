"""Hides when each sequence of clusters is in control, treated or not observed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gbveval.core.errors import DesignError
from gbveval.design._require import whole

FloatArray = NDArray[np.float64]
Row = tuple[int | None, ...]


@dataclass(frozen=True, slots=True)
class ClusterSchedule:
    """Which sequence of clusters is treated in which period.

    Parameters
    ----------
    rows : tuple of tuples
        A row for each sequence, an entry for each period: 0 in control, 1 treated, None not observed.

    Raises
    ------
    DesignError
        If rows differ in length, an entry is none of these, or nothing is treated or nothing in control.

    Notes
    -----
    Use the ways to make the usual ones: `stepped_wedge`, `parallel`, `parallel_with_baseline`, `crossover`. Rows of
    your own describe any other, such as a wedge in which some clusters are never treated.

    Examples
    --------
    >>> ClusterSchedule.stepped_wedge(2).rows
    ((0, 1, 1), (0, 0, 1))
    >>> ClusterSchedule.crossover().rows
    ((0, 1), (1, 0))
    """

    rows: tuple[Row, ...]

    def __post_init__(self) -> None:
        rows = self.rows
        if not isinstance(rows, tuple) or not rows or not all(isinstance(row, tuple) and row for row in rows):
            raise DesignError("The rows of a schedule must be tuples of 0, 1 or None, one tuple for each sequence.")
        if len({len(row) for row in rows}) > 1:
            raise DesignError("Every sequence of a schedule needs an entry for every period; use None where it rests.")
        entries = [entry for row in rows for entry in row]
        if any(entry is not None and (isinstance(entry, bool) or entry not in (0, 1)) for entry in entries):
            raise DesignError("An entry of a schedule is 0 (control), 1 (treated) or None (not observed).")
        if not {0, 1} <= set(entries):
            raise DesignError("A schedule needs observed periods in control and observed periods under treatment.")
        if any(all(entry is None for entry in row) for row in rows):
            raise DesignError("A sequence of the schedule is never observed; leave it out.")

    @classmethod
    def stepped_wedge(
        cls,
        n_sequences: int,
        *,
        periods_before: int = 1,
        periods_per_step: int = 1,
        transition_periods: int = 0,
        observed_around: int | None = None,
    ) -> ClusterSchedule:
        """Return a stepped wedge: all begin in control, one sequence after the other crosses over, all end treated.

        Parameters
        ----------
        n_sequences : int
            Sequences, each crossing over at its own step.
        periods_before, periods_per_step : int
            Periods observed before the first step, and after each.
        transition_periods : int
            Periods after crossing over in which a cluster is not observed, because the intervention is being set up.
        observed_around : int, optional
            An incomplete wedge: periods in which a cluster is observed on each side of its crossing, and no others.
        """
        sequences = whole("n_sequences", n_sequences, least=1)
        before = whole("periods_before", periods_before, least=1)
        step = whole("periods_per_step", periods_per_step, least=1)
        transition = whole("transition_periods", transition_periods, least=0)
        around = None if observed_around is None else whole("observed_around", observed_around, least=1)
        if around is not None and around <= transition:
            raise DesignError("observed_around must exceed transition_periods, or nothing is observed under treatment.")
        rows = []
        for number in range(sequences):
            crosses = before + number * step
            since = [period - crosses for period in range(before + sequences * step)]
            rows.append(tuple(_entry(time, transition, around) for time in since))
        return cls(tuple(rows))

    @classmethod
    def parallel(cls, n_periods: int = 1) -> ClusterSchedule:
        """Return two parallel arms, control first, each observed in several periods."""
        periods = whole("n_periods", n_periods, least=1)
        return cls(((0,) * periods, (1,) * periods))

    @classmethod
    def parallel_with_baseline(cls, *, n_before: int = 1, n_after: int = 1) -> ClusterSchedule:
        """Return two parallel arms, control first, that are observed before and after the intervention starts."""
        before, after = whole("n_before", n_before, least=1), whole("n_after", n_after, least=1)
        return cls(((0,) * (before + after), (0,) * before + (1,) * after))

    @classmethod
    def crossover(cls, *, n_first: int = 1, n_second: int = 1) -> ClusterSchedule:
        """Return two sequences that change places: one in control first, the other treated first."""
        first, second = whole("n_first", n_first, least=1), whole("n_second", n_second, least=1)
        return cls(((0,) * first + (1,) * second, (1,) * first + (0,) * second))

    @property
    def n_sequences(self) -> int:
        """Sequences."""
        return len(self.rows)

    @property
    def n_periods(self) -> int:
        """Periods, those in which nobody is observed included."""
        return len(self.rows[0])

    @property
    def exposure(self) -> tuple[Row, ...]:
        """For each sequence and period how long it has been treated, 1 in the first period observed under treatment.

        0 in control, None where nothing is observed. `SteppedWedge` counts in the same way.
        """
        return tuple(_exposure(row) for row in self.rows)

    @property
    def exposure_times(self) -> tuple[int, ...]:
        """Exposure times that are observed, in order."""
        return tuple(sorted({time for row in self.exposure for time in row if time}))

    @property
    def returns_to_control(self) -> bool:
        """Whether a sequence is in control after it was treated."""
        return any(0 in row[row.index(1) :] for row in self.rows if 1 in row)


def _entry(since: int, transition: int, around: int | None) -> int | None:
    """Return the entry of a period that begins so many periods after a cluster crosses over."""
    if around is not None and not -around <= since < around:
        return None
    if 0 <= since < transition:
        return None
    return int(since >= 0)


def _exposure(row: Row) -> Row:
    """Return how long a sequence has been treated in each of its periods."""
    first = row.index(1) if 1 in row else len(row)
    return tuple(
        None if entry is None else (period - first + 1 if entry == 1 else 0) for period, entry in enumerate(row)
    )
