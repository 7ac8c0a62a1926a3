"""The ledger of a study: what was released so far, so that the next release can be compared with it."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from gbveval.core.errors import DisclosureError
from gbveval.disclosure._facts import Fact, TableFacts

_FORMAT = 1
_POPULATION = "population"


@dataclass(frozen=True, slots=True)
class Ledger:
    """A file in which a study keeps what it released about its respondents.

    Give it to `release`: the new tables are compared with all earlier ones, and are recorded once they are out. What a
    reader could work out from all of them together is hidden, or the release is refused.

    Parameters
    ----------
    path : str or Path
        A JSON file; made by the first release. Keep it with the data: it holds no hidden number, but it says which of
        them are small.
    population : str
        Name of the respondents. Give another name once respondents have joined; whoever belonged to an earlier
        population is taken to belong to the later one. Respondents who leave need a new ledger, and a look by eye at
        what their leaving shows.

    Notes
    -----
    Each entry carries a digest of itself and of the one before, so that a line lost or changed by accident is noticed.
    It does not stop somebody who wants to forge the file.

    Examples
    --------
    >>> import tempfile, os
    >>> import gbveval as gbv
    >>> ledger = gbv.Ledger(os.path.join(tempfile.mkdtemp(), "study.json"))
    >>> everybody = gbv.CountTable("staff", ("north", "south"), (), ((40,), (53,)), variables=("region",))
    >>> _ = gbv.release(everybody, ledger=ledger, name="June report")
    >>> ledger.releases()
    ('June report',)

    A table without the three who are deaf gives them away beside the first one:

    >>> hearing = gbv.CountTable(
    ...     "hearing staff", ("north", "south"), (), ((38,), (52,)), variables=("region",), within=(("hearing", "yes"),)
    ... )
    >>> gbv.release(hearing, ledger=ledger, name="July report").tables()[0].rows
    (('north', None), ('south', None), ('total', None))
    """

    path: str | Path
    population: str = "respondents"

    def releases(self) -> tuple[str, ...]:
        """Return the names of the releases so far, in order."""
        return tuple(entry["name"] for entry in self._entries())

    def tables(self) -> list[TableFacts]:
        """Return what was released so far, confined to the population of each release."""
        entries = self._entries()
        populations = self._populations(entries)
        return [
            _confine(_read_table(table, entry["name"]), populations, entry["population"])
            for entry in entries
            for table in entry["tables"]
        ]

    def confine(self, table: TableFacts) -> TableFacts:
        """Return a table about to be released, confined to the population of this ledger."""
        return _confine(table, self._populations(self._entries()), self.population)

    def record(self, name: str, tables: Sequence[TableFacts]) -> None:
        """Write a release to the file, whole or not at all.

        Parameters
        ----------
        name : str
            What the release is called.
        tables : sequence of TableFacts
            What it shows, before `confine`.
        """
        entries = self._entries()
        entry = {"name": name, "population": self.population, "tables": [_write_table(table) for table in tables]}
        entry["digest"] = _digest(entries[-1]["digest"] if entries else "", entry)
        text = json.dumps({"format": _FORMAT, "releases": [*entries, entry]}, allow_nan=False, indent=1)
        target = Path(self.path)
        handle, temporary = tempfile.mkstemp(dir=target.parent, prefix=target.name, suffix=".part")
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, target)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise

    def _populations(self, entries: Sequence[dict[str, Any]]) -> tuple[str, ...]:
        return tuple(dict.fromkeys([*(entry["population"] for entry in entries), self.population]))

    def _entries(self) -> list[dict[str, Any]]:
        path = Path(self.path)
        if not path.exists():
            return []
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            entries: list[dict[str, Any]] = content["releases"]
            known = content["format"] == _FORMAT
            before = ""
            for number, entry in enumerate(entries, 1):
                rest = {key: value for key, value in entry.items() if key != "digest"}
                if entry["digest"] != _digest(before, rest):
                    raise DisclosureError(
                        f"Entry {number} of the ledger {path.name} was changed after it was written. Restore the file "
                        "from a copy; releases cannot be compared with it."
                    )
                before = entry["digest"]
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise DisclosureError(f"{path.name} cannot be read as a ledger. Restore it from a copy.") from error
        if not known:
            raise DisclosureError(f"{path.name} was written by another version of the ledger's format.")
        return entries


def _digest(before: str, entry: dict[str, Any]) -> str:
    text = before + json.dumps(entry, sort_keys=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def _confine(table: TableFacts, populations: Sequence[str], own: str) -> TableFacts:
    """Return a table whose facts are about those who had joined by then."""
    if len(populations) == 1:
        return table
    joined = tuple(populations[: populations.index(own) + 1])
    facts = tuple(replace(fact, where={**fact.where, _POPULATION: frozenset(joined)}) for fact in table.facts)
    return replace(table, facts=facts, within=(*table.within, (_POPULATION, joined)))


def _write_table(table: TableFacts) -> dict[str, Any]:
    """Return a table as plain values; an infinite end is null."""
    facts = [
        {
            "where": {name: sorted(labels) for name, labels in fact.where.items()},
            "low": fact.low,
            "high": fact.high if fact.high < float("inf") else None,
            "width": fact.width,
        }
        for fact in table.facts
    ]
    axes = [[name, list(labels)] for name, labels in table.axes]
    within = [[name, list(labels)] for name, labels in table.within]
    return {
        "title": table.title,
        "axes": axes,
        "within": within,
        "answered": sorted(table.answered),
        "tells_missing": table.tells_missing,
        "facts": facts,
    }


def _read_table(content: dict[str, Any], release: str) -> TableFacts:
    facts = [
        Fact(
            {name: frozenset(labels) for name, labels in fact["where"].items()},
            float(fact["low"]),
            float("inf") if fact["high"] is None else float(fact["high"]),
            int(fact["width"]),
        )
        for fact in content["facts"]
    ]
    return TableFacts(
        title=f"{content['title']} ({release})",
        axes=tuple((name, tuple(labels)) for name, labels in content["axes"]),
        within=tuple((name, tuple(labels)) for name, labels in content["within"]),
        answered=frozenset(content["answered"]),
        facts=tuple(facts),
        tells_missing=bool(content.get("tells_missing", True)),
    )
