"""What may be shown: values that only `release` can make, and that hold nothing hidden."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any

from gbveval.core.errors import DisclosureError

# Only `release` knows this object, so only it can make released values; a promise by type would not keep at run time.
_KEY = object()


def _guard(key: object) -> None:
    if key is not _KEY:
        raise DisclosureError("Released values are made by `release(results, policy)` and by nothing else.")


@dataclass(frozen=True, slots=True)
class ReleasedRow:
    """One row that may be shown; numbers are None where hidden or undefined, and `note` says which.

    Parameters
    ----------
    record : tuple of (str, object)
        The columns of `tidy`.
    hidden : bool
        Whether disclosure control hid its numbers.
    note : str
        Why a number is absent.
    """

    record: tuple[tuple[str, Any], ...]
    hidden: bool = False
    note: str = ""

    def __getitem__(self, column: str) -> Any:
        return dict(self.record).get(column)


@dataclass(frozen=True, slots=True)
class ReleasedEstimates:
    """Estimates that may be shown.

    Parameters
    ----------
    estimator : str
        Name of the method.
    heading : str
        The estimand in words.
    causal : bool
        Whether the rows may be called effects; associations may not.
    link : str
        "log" for ratios, "logit" for proportions, else "identity".
    rows : tuple of ReleasedRow
        The rows.
    method : tuple of str
        How they were made, in sentences.
    checks : tuple of (str, str, str)
        Name, status and message.
    level : float
        Level of the intervals.
    provenance : tuple of (str, object)
        Digest of the data, options, seed, versions.
    """

    estimator: str
    heading: str
    causal: bool
    link: str
    rows: tuple[ReleasedRow, ...]
    method: tuple[str, ...]
    checks: tuple[tuple[str, str, str], ...]
    level: float
    provenance: tuple[tuple[str, Any], ...]


@dataclass(frozen=True, slots=True)
class ReleasedTable:
    """A table that may be shown; None marks what is hidden.

    Parameters
    ----------
    title : str
        What the table shows.
    columns : tuple of str
        Column names.
    rows : tuple of tuple
        Values.
    notes : tuple of str
        What a reader must know.
    """

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]
    notes: tuple[str, ...] = ()


class Released:
    """Results that may leave: the only thing that reports, figures and files are made of.

    Parameters
    ----------
    key : object
        Known to `release` alone.
    items : tuple
        ReleasedEstimates and ReleasedTable values.
    policy : str
        The policy in words.
    suppressed : tuple of str
        What was hidden and why, a sentence a table.
    """

    __slots__ = ("_items", "_policy", "_suppressed")

    def __init__(
        self,
        key: object,
        *,
        items: tuple[ReleasedEstimates | ReleasedTable, ...],
        policy: str,
        suppressed: tuple[str, ...],
    ) -> None:
        _guard(key)
        self._items = items
        self._policy = policy
        self._suppressed = suppressed

    @property
    def items(self) -> tuple[ReleasedEstimates | ReleasedTable, ...]:
        """The released values, in the order in which they were given."""
        return self._items

    @property
    def policy(self) -> str:
        """The policy in words."""
        return self._policy

    @property
    def suppressed(self) -> tuple[str, ...]:
        """What was hidden and why."""
        return self._suppressed

    def estimates(self) -> tuple[ReleasedEstimates, ...]:
        """Return the released estimates."""
        return tuple(item for item in self._items if isinstance(item, ReleasedEstimates))

    def tables(self) -> tuple[ReleasedTable, ...]:
        """Return the released tables."""
        return tuple(item for item in self._items if isinstance(item, ReleasedTable))

    def to_dict(self) -> dict[str, Any]:
        """Return plain values that JSON can hold."""
        items = []
        for item in self._items:
            kind = "estimates" if isinstance(item, ReleasedEstimates) else "table"
            content = asdict(item)
            if isinstance(item, ReleasedEstimates):
                content["rows"] = [{**dict(row.record), "hidden": row.hidden, "note": row.note} for row in item.rows]
                content["provenance"] = dict(item.provenance)
            items.append({"kind": kind, **content})
        return {"policy": self._policy, "suppressed": list(self._suppressed), "items": items}

    def to_json(self) -> str:
        """Return the released values as JSON."""
        return json.dumps(self.to_dict(), allow_nan=False, indent=1)

    def __repr__(self) -> str:
        hidden = len(self._suppressed)
        return f"<Released: {len(self._items)} results, {hidden} notes on what was hidden>"
