"""`SiteTables`: events by site and arm, checked once."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gbveval.core.method import Cell
from gbveval.core.provenance import digest_arrays
from gbveval.data._frame import Checked, Labels, Reader, plural

FloatArray = NDArray[np.float64]


class SiteTables(Checked):
    """Events in control and intervention of several sites, among so many people or over so much exposure.

    Sites are shown under codes ("site 01", in the order in which they first occur), so that no place is named by
    accident; `codes` tells the analyst which is which.

    Parameters
    ----------
    frame : pandas, polars or pyarrow frame, or dict of columns
        One row a site and arm.
    site, arm : str
        Columns with the names of sites and arms.
    control : str
        Name of the control arm; there is one other.
    events : str
        Column with events: whole numbers, zero or more. Zero is an answer like any other.
    n : str, optional
        Column with people, for events that each has or has not. Either this or `exposure`.
    exposure : str, optional
        Column with exposure (person-months, messages seen), above zero, for events of which there may be several.

    Raises
    ------
    DataError
        Listing every problem by column and number of rows.

    Examples
    --------
    >>> table = {"site": ["a", "a", "b", "b"], "arm": ["new", "usual"] * 2,
    ...          "events": [0, 2, 5, 9], "n": [40, 38, 60, 61]}
    >>> SiteTables(table, site="site", arm="arm", control="usual", events="events", n="n")
    <SiteTables: 2 sites, 16 events among 199 people>
    """

    events: FloatArray
    total: FloatArray
    has_exposure: bool
    names: tuple[str, ...]
    arms: tuple[str, str]
    outcome: str

    def __init__(
        self,
        frame: Any,
        *,
        site: str,
        arm: str,
        control: str,
        events: str,
        n: str | None = None,
        exposure: str | None = None,
    ) -> None:
        reader = Reader(frame, "SiteTables")
        places, arms = reader.labels(site, "site"), reader.labels(arm, "arm")
        counts = _whole(reader, events, "events")
        if (n is None) == (exposure is None):
            reader.problem("Give either n, people by site and arm, or exposure, and not both.")
            total = np.ones(reader.n)
        elif n is not None:
            total = _whole(reader, n, "n")
            _more_than_people(reader, events, n, counts, total)
        else:
            total = reader.positive(str(exposure), "exposure")
        _one_row_each(reader, places, arms, site, arm, control)
        reader.raise_problems()
        code = np.array(arms.codes != arms.levels.index(control), dtype=np.intp)
        first = {place: i for i, place in reversed(list(enumerate(places.codes.tolist())))}
        order = sorted(range(places.count), key=first.__getitem__)
        rank = np.empty(places.count, dtype=np.intp)
        rank[order] = np.arange(places.count)
        table, size = np.empty((places.count, 2)), np.empty((places.count, 2))
        table[rank[places.codes], code], size[rank[places.codes], code] = counts, total
        other = next(level for level in arms.levels if level != control)
        self._set(
            events=table,
            total=size,
            has_exposure=exposure is not None,
            names=tuple(places.levels[i] for i in order),
            arms=(control, other),
            outcome=events,
        )

    @property
    def n(self) -> int:
        """Sites."""
        return int(self.events.shape[0])

    @property
    def codes(self) -> dict[str, str]:
        """Code shown for each site -> its name, for the analyst's eyes."""
        return dict(zip(self.labels, self.names, strict=True))

    @property
    def labels(self) -> tuple[str, ...]:
        """Codes under which the sites are shown."""
        width = max(2, len(str(self.n)))
        return tuple(f"site {i + 1:0{width}d}" for i in range(self.n))

    @property
    def support(self) -> tuple[tuple[Cell, ...], ...]:
        """Counts behind each site."""
        return tuple(
            tuple(self._cell(site, arm, f"{self.outcome} by arm in {label}") for arm in (0, 1))
            for site, label in enumerate(self.labels)
        )

    def _cell(self, site: int, arm: int, table: str) -> Cell:
        events = int(self.events[site, arm])
        if self.has_exposure:
            # How many people stand behind an exposure is not known; no fewer than would each have one event.
            return Cell(self.arms[arm], events, None, table)
        return Cell(self.arms[arm], int(self.total[site, arm]), events, table)

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the counts."""
        return digest_arrays(
            [("events", self.events), ("total", self.total), ("kind", "exposure" if self.has_exposure else "n")]
        )

    def __repr__(self) -> str:
        events = plural(int(self.events.sum()), "event")
        among = "" if self.has_exposure else f" among {int(self.total.sum()):,} people"
        return f"<SiteTables: {plural(self.n, 'site')}, {events}{among}>"


def _whole(reader: Reader, column: str, role: str) -> FloatArray:
    """Return whole numbers, zero or more."""
    values = reader.numbers(column, role)
    wrong = int(((values < 0) | (values != np.rint(values))).sum() - np.isnan(values).sum())
    if wrong > 0:
        reader.problem(
            f"Column {column!r} ({role}) is negative or not whole in {plural(wrong, 'row')}; counts were expected. "
            "Percentages need their counts."
        )
    return values


def _more_than_people(reader: Reader, events: str, n: str, counts: FloatArray, total: FloatArray) -> None:
    none = int((total == 0).sum())
    if none:
        reader.problem(
            f"Column {n!r} (n) is zero in {plural(none, 'row')}; leave sites with an empty arm out, and say so."
        )
    more = int((counts > total).sum())
    if more:
        reader.problem(
            f"Column {events!r} (events) is above {n!r} (n) in {plural(more, 'row')}. Count people with an event, or "
            "give exposure= for events of which a person may have several."
        )


def _one_row_each(reader: Reader, places: Labels, arms: Labels, site: str, arm: str, control: str) -> None:
    if reader.problems:
        return
    if control not in arms.levels:
        reader.problem(f"The control arm is not among the {plural(arms.count, 'label')} of column {arm!r} (arm).")
    if arms.count != 2:
        reader.problem(f"Column {arm!r} (arm) has {plural(arms.count, 'label')}; control and one other were expected.")
    if reader.problems:
        return
    seen = np.zeros((places.count, arms.count), dtype=int)
    np.add.at(seen, (places.codes, arms.codes), 1)
    twice, none = int((seen > 1).any(axis=1).sum()), int((seen == 0).any(axis=1).sum())
    if twice:
        reader.problem(
            f"{plural(twice, 'site')} of column {site!r} (site) have an arm in several rows; add their counts up first."
        )
    if none:
        reader.problem(
            f"{plural(none, 'site')} of column {site!r} (site) lack an arm; both arms of a site were expected. A site "
            "without events in an arm needs its row with zero."
        )
