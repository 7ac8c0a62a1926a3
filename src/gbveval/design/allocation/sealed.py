"""`seal_allocation`, `open_sealed`, `verify_sealed`: a list written before enrolment and opened row by row."""

from __future__ import annotations

import hmac
import json
import secrets
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from gbveval.core.errors import DataError, DesignError
from gbveval.core.method import Check
from gbveval.data._frame import plural
from gbveval.design.allocation import _chain as chain
from gbveval.design.allocation.allocated import Allocated
from gbveval.design.allocation.plan import declaration_of

FORMAT = "gbveval sealed list 1"
DRY = "DRY RUN: INVALID FOR ENROLMENT"
# Trying all smaller seeds on a frame that is known takes days.
LEAST_SEED = 2**40
Line = chain.Line


@dataclass(frozen=True, slots=True)
class SealedList:
    """A list that was sealed.

    Attributes
    ----------
    path : str
        File of the list.
    log : str
        File of the audit log, which stands beside it.
    digest : str
        Hash of the whole list. Publish or register it before the first unit is enrolled: it tells nothing, and any
        later change of the list contradicts it.
    n : int
        Rows.
    """

    path: str
    log: str
    digest: str
    n: int


@dataclass(frozen=True, slots=True)
class OpenedRow:
    """One row of a sealed list, opened.

    Attributes
    ----------
    place : int
        Place in the list, from 1.
    label : str
        What the unit is allocated to; "unassigned" where it gets none.
    nonce : str
        What opens this row's commitment, and no other's.
    early : bool
        Whether earlier rows of the same stratum's list had not been opened.
    """

    place: int
    label: str
    nonce: str
    early: bool


def seal_allocation(found: Allocated, path: str | Path, *, secret: str) -> SealedList:
    """Write a sealed list and start its audit log, before anybody is enrolled.

    Parameters
    ----------
    found : Allocated
        What was allocated. From a dry run the list is marked invalid, and can be opened only as a rehearsal.
    path : str or Path
        File of the list; the log is beside it, with ".log" added. Neither may exist.
    secret : str
        At least 32 characters, kept by somebody who enrols nobody: `new_secret` makes one.

    Returns
    -------
    SealedList

    Notes
    -----
    The list holds a commitment for each row and no label, name or seed; names of units are keyed hashes. It is one JSON
    line a row, each with the hash of the line before it, and is written at once or not at all.

    **Who keeps what.** The holder keeps the secret, and the seed, which gives the whole list to anybody who has the
    frame as well; so a seed that can be guessed is refused: draw it by `secrets.randbits(63)`. Those who enrol have the
    list and the log. A third party, or a register, has the digest.

    **What the seal does not do.** It cannot keep the holder from looking ahead, or from telling. It does not show
    whether the holder tried several seeds before sealing. Whoever has the secret can forge the log; whoever can write
    to it can cut off its last lines, which `verify_sealed` notices only if it is told how many there were.

    Examples
    --------
    >>> import gbveval as gbv, secrets, tempfile
    >>> from pathlib import Path
    >>> found = gbv.allocate(4, gbv.CompleteAllocation(("usual", "new")), seed=2**40 + secrets.randbits(63))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     secret = gbv.new_secret()
    ...     sealed = gbv.seal_allocation(found, Path(folder) / "list.jsonl", secret=secret)
    ...     row = gbv.open_sealed(sealed.path, secret=secret)
    ...     checks = gbv.verify_sealed(sealed.path, digest=sealed.digest, secret=secret)
    >>> row.place, row.label in ("usual", "new"), {check.status for check in checks}
    (1, True, {'ok'})
    """
    target = Path(path)
    log = _log_of(target)
    if found.seed < LEAST_SEED and not found.dry_run:
        raise DesignError(
            "The seed can be guessed, and with the frame it gives the whole list away. Allocate with a long secret "
            "seed, such as secrets.randbits(63)."
        )
    if log.exists():
        raise DesignError(f"The file {log.name!r} exists. A list is sealed once; choose another name.")
    salt = secrets.token_hex(16)
    row_key, name_key = chain.key_of(secret, salt, "rows"), chain.key_of(secret, salt, "names")
    head: Line = {
        "format": FORMAT,
        "salt": salt,
        "rows": found.n_units,
        "labels": [*found.labels, "unassigned"],
        "scheme": json.loads(declaration_of(found.scheme)),
        "digest_of_frame_and_scheme": found.digest,
        "versions": dict(found.versions),
        "sealed_at": _now(),
        "holder": chain.keyed(chain.key_of(secret, salt, "holder"), "holder"),
        "valid": DRY if found.dry_run else "for enrolment",
    }
    names = found.unit_names or tuple(str(number) for number in range(1, found.n_units + 1))
    labels = [*found.labels, "unassigned"]
    lines = [head]
    for place, (name, code, stratum) in enumerate(
        zip(names, found.label_of_unit, found.units.stratum, strict=True), start=1
    ):
        unit = chain.keyed(name_key, name)
        sealed = chain.commitment(chain.keyed(row_key, str(place)), place, unit, labels[code])
        row: Line = {"place": place, "list": int(stratum), "unit": unit, "sealed": sealed}
        lines.append({**row, "valid": DRY} if found.dry_run else row)
    lines = chain.link(lines)
    digest = str(lines[-1]["chain"])
    chain.write_new(target, lines)
    chain.write_new(log, _signed([], {"event": "sealed", "at": _now(), "list": digest}, secret, salt))
    return SealedList(str(target), str(log), digest, found.n_units)


def open_sealed(
    path: str | Path, *, secret: str, unit: str | None = None, stratum: int = 0, rehearsal: bool = False
) -> OpenedRow:
    """Open one row of a sealed list and write that to the audit log.

    Parameters
    ----------
    path : str or Path
        File of the list.
    secret : str
        The holder's.
    unit : str, optional
        Name of the unit to open; by default the next row that is not open. Rows without a name are named by their
        number, from 1.
    stratum : int
        Whose list the next row is taken from, where strata have lists of their own; 0 is the first.
    rehearsal : bool
        Whether a dry run's list may be opened.

    Raises
    ------
    DesignError
        If the secret is not this list's, the list is a dry run, or all rows are open.
    DataError
        If list or log were changed, or the unit is not in the list.

    Notes
    -----
    A unit opened out of turn is opened, and the log says so. Opening it a second time gives the same row and is written
    down too. Open rows in one process at a time.
    """
    target, log = Path(path), _log_of(Path(path))
    lines, entries = chain.read_lines(target), chain.read_lines(log)
    head = _head(lines)
    _need_secret(head, secret)
    if head["valid"] == DRY and not rehearsal:
        raise DesignError(
            "This list is a dry run and invalid for enrolment. Seal a list that was allocated in earnest."
        )
    if chain.first_break(lines) is not None or _first_forged(entries, secret, head["salt"]) is not None:
        raise DataError("The list or its log was changed after it was written. Look with gbveval.verify_sealed first.")
    rows = lines[1:]
    opened = {entry["place"] for entry in entries if entry.get("event") == "opened"}
    row = _row(rows, opened, head, secret, unit, stratum)
    earlier = [r["place"] for r in rows if r["list"] == row["list"] and r["place"] < row["place"]]
    early = any(place not in opened for place in earlier)
    nonce = chain.keyed(chain.key_of(secret, head["salt"], "rows"), str(row["place"]))
    label = _label(row, nonce, head["labels"])
    if label is None:
        raise DataError("The row does not open: it is not what was sealed.")
    entry: Line = {"event": "opened", "at": _now(), "place": row["place"], "nonce": nonce, "label": label}
    entry |= {"early": early, "again": row["place"] in opened}
    chain.append_line(log, _signed(entries, entry, secret, head["salt"])[-1])
    return OpenedRow(row["place"], label, nonce, early)


def verify_sealed(
    path: str | Path,
    *,
    digest: str,
    secret: str | None = None,
    log_entries: int | None = None,
    allocated: Allocated | None = None,
) -> tuple[Check, ...]:
    """Return what is wrong with a sealed list and its log: edits, deletions, other orders, early openings.

    Parameters
    ----------
    path : str or Path
        File of the list.
    digest : str
        The digest that was published before enrolment. Without it a list that was sealed anew would pass.
    secret : str, optional
        The holder's; needed to see forged lines of the log and to check rows that are not open yet.
    log_entries : int, optional
        Lines that the log had when it was last looked at; fewer mean that its end was cut off.
    allocated : Allocated, optional
        What was sealed; with the secret every row is compared with it.

    Returns
    -------
    tuple of Check
        "ok", "info" or "warn" for list, published digest, validity, log, openings, and rows where they can be opened.
        They name places and no labels or units.
    """
    target = Path(path)
    lines, entries = chain.read_lines(target), chain.read_lines(_log_of(target))
    checks = [_list_check(lines, digest)]
    if not lines or lines[0].get("format") != FORMAT:
        return (*checks, Check("format", "warn", "the first line is not that of a sealed list."))
    head = lines[0]
    dry = head.get("valid") == DRY
    said = "the list is a dry run and invalid for enrolment." if dry else "the list is for enrolment."
    checks.append(Check("validity", "warn" if dry else "ok", said))
    checks.append(_log_check(entries, str(head.get("salt")), secret, digest, log_entries))
    checks.append(_openings_check(lines, entries))
    if secret is not None:
        checks.append(_rows_check(lines, secret, allocated))
    return tuple(checks)


def _log_of(path: Path) -> Path:
    return path.with_name(path.name + ".log")


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _head(lines: list[Line]) -> Line:
    if not lines or lines[0].get("format") != FORMAT or not {"salt", "labels", "holder", "valid"} <= set(lines[0]):
        raise DataError("The file is no sealed list, or its first line was changed.")
    return lines[0]


def _need_secret(head: Line, secret: str) -> None:
    own = chain.keyed(chain.key_of(secret, head["salt"], "holder"), "holder")
    if not hmac.compare_digest(own, str(head["holder"])):
        raise DesignError("The secret is not that of this list.")


def _signed(entries: list[Line], entry: Line, secret: str, salt: str) -> list[Line]:
    """Return a log with one more entry, linked to the last and signed."""
    before = entries[-1]["chain"] if entries else chain.START
    body = {**entry, "number": len(entries) + 1, "before": before}
    body["signature"] = chain.keyed(chain.key_of(secret, salt, "log"), json.dumps(body, sort_keys=True))
    return [*entries, {**body, "chain": chain.chained(before, body)}]


def _first_forged(entries: list[Line], secret: str, salt: str) -> int | None:
    """Return the number of the first entry of a log that was not written with the secret in this place."""
    key, before = chain.key_of(secret, salt, "log"), chain.START
    for number, entry in enumerate(entries, start=1):
        body = {name: value for name, value in entry.items() if name not in ("signature", "chain")}
        own = chain.keyed(key, json.dumps(body, sort_keys=True))
        fits = body.get("number") == number and body.get("before") == before
        if not fits or not hmac.compare_digest(own, str(entry.get("signature"))):
            return number
        before = str(entry.get("chain"))
    return None if entries else 1


def _row(rows: list[Line], opened: set[Any], head: Line, secret: str, unit: str | None, stratum: int) -> Line:
    if unit is not None:
        name = chain.keyed(chain.key_of(secret, head["salt"], "names"), str(unit))
        found = [row for row in rows if row["unit"] == name]
        if not found:
            raise DataError("The unit is not in the list.")
        return found[0]
    waiting = [row for row in rows if row["list"] == stratum and row["place"] not in opened]
    if not waiting:
        raise DesignError("No row of this list is left to open.")
    return waiting[0]


def _label(row: Line, nonce: str, labels: list[str]) -> str | None:
    """Return the label to which a row is committed, None where it opens to none."""
    for label in labels:
        if chain.commitment(nonce, row["place"], row["unit"], label) == row["sealed"]:
            return label
    return None


def _list_check(lines: list[Line], digest: str) -> Check:
    wrong = chain.first_break(lines)
    if wrong is not None:
        where = "the first line" if wrong == 1 else f"row {wrong - 1:,}"
        return Check(
            "list", "warn", f"the list was changed at or before {where}, or lines are missing or in another order."
        )
    if not lines or lines[-1]["chain"] != digest:
        return Check(
            "list", "warn", "the list is not the one whose digest was published: it was changed, cut or replaced."
        )
    return Check("list", "ok", f"{plural(len(lines) - 1, 'row')} as sealed.")


def _log_check(entries: list[Line], salt: str, secret: str | None, digest: str, least: int | None) -> Check:
    before, wrong = chain.START, None
    for number, entry in enumerate(entries, start=1):
        if entry.get("before") != before or entry.get("chain") != chain.chained(before, entry):
            wrong = number
            break
        before = str(entry["chain"])
    if secret is not None and wrong is None:
        wrong = _first_forged(entries, secret, salt)
    if wrong is not None or not entries:
        return Check("log", "warn", f"the log was changed at or before its line {wrong or 1:,}, or lines are missing.")
    if entries[0].get("event") != "sealed" or entries[0].get("list") != digest:
        return Check("log", "warn", "the log is not that of the list whose digest was published.")
    if least is not None and len(entries) < least:
        return Check(
            "log", "warn", f"the log had {plural(least, 'line')} and has {len(entries):,}: its end is missing."
        )
    how = "" if secret is not None else "; without the secret a forged log cannot be told"
    return Check("log", "ok", f"{plural(len(entries), 'line')} in unbroken order{how}.")


def _openings_check(lines: list[Line], entries: list[Line]) -> Check:
    """Return whether rows were opened in turn, and open to what the log says."""
    rows = {row.get("place"): row for row in lines[1:]}
    opened: set[Any] = set()
    early = wrong = 0
    for entry in entries:
        if entry.get("event") != "opened":
            continue
        row = rows.get(entry.get("place"))
        if row is None or not {"unit", "sealed", "list"} <= set(row):
            wrong += 1
            continue
        label, nonce = str(entry.get("label")), str(entry.get("nonce"))
        wrong += chain.commitment(nonce, row["place"], row["unit"], label) != row["sealed"]
        before = (p for p, r in rows.items() if r.get("list") == row["list"] and p < row["place"])
        early += row["place"] not in opened and any(place not in opened for place in before)
        opened.add(row["place"])
    said = f"{len(opened):,} of {plural(len(rows), 'row')} opened; {early:,} out of turn"
    if wrong:
        said += f"; {wrong:,} do not open to what the log says"
    return Check("openings", "warn" if early or wrong else "ok", said + ".")


def _rows_check(lines: list[Line], secret: str, allocated: Allocated | None) -> Check:
    """Return whether every row opens, and to what was allocated."""
    head = _head(lines)
    _need_secret(head, secret)
    key = chain.key_of(secret, head["salt"], "rows")
    wrong: list[int] = []
    for number, row in enumerate(lines[1:], start=1):
        whole = {"place", "unit", "sealed"} <= set(row)
        label = _label(row, chain.keyed(key, str(row["place"])), head["labels"]) if whole else None
        fits = label is not None and row["place"] == number
        if fits and allocated is not None:
            inside = number <= allocated.n_units
            fits = inside and label == head["labels"][allocated.label_of_unit[number - 1]]
        if not fits:
            wrong.append(number)
    if allocated is not None and len(lines) - 1 != allocated.n_units:
        wrong.append(len(lines))
    if wrong:
        return Check("rows", "warn", f"{plural(len(wrong), 'row')} are not what was sealed, the first at {wrong[0]:,}.")
    compared = " and is what was allocated" if allocated is not None else ""
    return Check("rows", "ok", f"every row opens{compared}.")
