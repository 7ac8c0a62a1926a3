"""`SiteTables`: events of two arms in several sites, checked once."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gbveval.core.method import Cell
from gbveval.core.provenance import digest_arrays
from gbveval.data._assignment import control_first
from gbveval.data._frame import Checked, Labels, Reader, plural

FloatArray = NDArray[np.float64]


class SiteTables(Checked):
    """Events among the people of two arms, or over their time at risk, in several sites.

    Sites are shown under codes ("site 01", in the order in which they first occur); `codes` tells the analyst which is
    which. Zero events need no care here: methods for counts take them as they are.

    Parameters
    ----------
    frame : pandas, polars or pyarrow frame, or dict of columns
        One row a site and arm.
    site : str
        Column with the site.
    arm : str
        Column with the arm; two arms.
    control : str, int or bool
        Which arm is the control.
    events : str
        Column with the number of people with the outcome, or of events.
    n : str, optional
        Column with the number of people; give this or `exposure`.
    exposure : str, optional
        Column with the time at risk, when events are counted over time.

    Attributes
    ----------
    events : ndarray, shape (sites, 2)
        Control first.
    n, exposure : ndarray, shape (sites, 2), or None

    Raises
    ------
    DataError
        Listing every problem by column and number of rows.

    Examples
    --------
    >>> frame = {"site": ["a", "a", "b", "b"], "arm": ["usual", "new"] * 2, "events": [9, 4, 2, 0], "n": [50] * 4}
    >>> SiteTables(frame, site="site", arm="arm", control="usual", events="events", n="n")
    <SiteTables: 2 sites, 200 people, 15 events>
    """

    events: FloatArray
    n: FloatArray | None
    exposure: FloatArray | None
    names: tuple[str, ...]
    arms: tuple[str, str]
    outcome: str

    def __init__(
        self,
        frame: Any,
        *,
        site: str,
        arm: str,
        control: str | int | bool,
        events: str,
        n: str | None = None,
        exposure: str | None = None,
    ) -> None:
        reader = Reader(frame, "SiteTables")
        sites, arms = reader.labels(site, "site"), reader.labels(arm, "arm")
        counts = _counts(reader, events, "events")
        if (n is None) == (exposure is None):
            reader.problem("Give n (people) or exposure (time at risk), one of the two.")
        people = None if n is None else _counts(reader, n, "n")
        time = None if exposure is None else reader.positive(exposure, "exposure")
        if people is not None:
            wrong = int((counts > people).sum())
            if wrong:
                reader.problem(
                    f"Column {events!r} (events) is above {n!r} (n) in {plural(wrong, 'row')}; people with the outcome "
                    "are some of the people. For repeated events give the time at risk (exposure)."
                )
            empty = int((people == 0).sum())
            if empty:
                reader.problem(f"Column {n!r} (n) is zero in {plural(empty, 'row')}; leave those sites out and say so.")
        reader.raise_problems()
        arms = control_first(reader, arms, arm, str(control))
        rows = arm_places(reader, sites, arms, site, arm)
        self._set(
            events=counts[rows],
            n=None if people is None else people[rows],
            exposure=None if time is None else time[rows],
            names=tuple(sites.levels[sites.codes[row]] for row in rows[:, 0]),
            arms=(arms.levels[0], arms.levels[1]),
            outcome=events,
        )

    @property
    def n_sites(self) -> int:
        """Sites."""
        return int(self.events.shape[0])

    @property
    def labels(self) -> tuple[str, ...]:
        """Codes under which the sites are shown."""
        width = max(2, len(str(self.n_sites)))
        return tuple(f"site {i + 1:0{width}d}" for i in range(self.n_sites))

    @property
    def codes(self) -> dict[str, str]:
        """Code shown for each site -> its name, for the analyst's eyes."""
        return dict(zip(self.labels, self.names, strict=True))

    @property
    def support(self) -> tuple[tuple[Cell, ...], ...]:
        """For each site the counts behind it, for disclosure control."""
        # Where time at risk is given nobody knows how many people there were: the events stand for them.
        people = self.events if self.n is None else self.n
        return tuple(
            tuple(
                Cell(self.arms[arm], int(people[i, arm]), int(self.events[i, arm]), f"{self.outcome} in {label}")
                for arm in (0, 1)
            )
            for i, label in enumerate(self.labels)
        )

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the tables."""
        size = self.exposure if self.n is None else self.n
        return digest_arrays([("events", self.events), ("size", size), ("counts", self.n is not None)])

    def __repr__(self) -> str:
        happened = plural(int(self.events.sum()), "event")
        if self.n is None:
            return f"<SiteTables: {plural(self.n_sites, 'site')}, {happened} over time at risk>"
        return f"<SiteTables: {plural(self.n_sites, 'site')}, {int(self.n.sum()):,} people, {happened}>"


def _counts(reader: Reader, column: str, role: str) -> FloatArray:
    values = reader.numbers(column, role)
    wrong = int(((values < 0) | (values != np.round(values))).sum() - np.isnan(values).sum())
    if wrong:
        reader.problem(
            f"Column {column!r} ({role}) is negative or no whole number in {plural(wrong, 'row')}; counts were "
            "expected."
        )
    return values


def arm_places(reader: Reader, sites: Labels, arms: Labels, column: str, arm: str) -> NDArray[np.intp]:
    """Return the row of each site's control and of its other arm, sites in the order in which they first occur.

    Parameters
    ----------
    reader : Reader
        Takes problems: both arms must be there in every site, once.
    sites, arms : Labels
        The control has code 0.
    column, arm : str
        Columns of both, for messages.
    """
    if arms.count > 2 and not reader.problems:
        reader.problem(f"Column {arm!r} (arm) holds {plural(arms.count, 'arm')}; two were expected.")
    reader.raise_problems()
    found = np.zeros((sites.count, 2), dtype=np.intp)
    times = np.zeros((sites.count, 2), dtype=np.intp)
    np.add.at(times, (sites.codes, arms.codes), 1)
    found[sites.codes, arms.codes] = np.arange(sites.codes.size)
    lacking, repeated = int((times == 0).any(axis=1).sum()), int((times > 1).any(axis=1).sum())
    if lacking:
        reader.problem(
            f"Column {column!r} (site): {plural(lacking, 'site')} lack one of the arms; a table compares two in each."
        )
    if repeated:
        reader.problem(
            f"Column {column!r} (site): {plural(repeated, 'site')} have an arm in several rows; add those rows up "
            "first."
        )
    reader.raise_problems()
    result: NDArray[np.intp] = found[np.argsort(found.min(axis=1), kind="stable")]
    return result
