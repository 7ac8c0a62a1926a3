"""A sealed list: what it hides, what it opens, and which changes of it or its log are found."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import gbveval as gbv

ARMS = ("usual", "new")
SECRET = "s" * 40
SEED = 2**41 + 7
NAMES = [f"account-{n:03d}" for n in range(12)]
Lines = list[dict[str, Any]]


def made(**options: Any) -> gbv.Allocated:
    frame = {"id": NAMES, "town": ["a", "b"] * 6}
    scheme = gbv.StratifiedAllocation(ARMS, stratum="town")
    return gbv.allocate(frame, scheme, seed=options.pop("seed", SEED), unit="id", **options)


@pytest.fixture
def sealed(tmp_path: Path) -> Any:
    return gbv.seal_allocation(made(), tmp_path / "list.jsonl", secret=SECRET)


def statuses(sealed: Any, **options: Any) -> dict[str, str]:
    return {c.name: c.status for c in gbv.verify_sealed(sealed.path, digest=sealed.digest, **options)}


def read(path: str) -> Lines:
    return [json.loads(text) for text in Path(path).read_text(encoding="utf-8").splitlines()]


def write(path: str, lines: Lines) -> None:
    Path(path).write_text("".join(json.dumps(line, sort_keys=True) + "\n" for line in lines), encoding="utf-8")


def test_rows_open_one_by_one_to_what_was_allocated(sealed: Any) -> None:
    found = made()
    assert set(statuses(sealed, secret=SECRET, allocated=found).values()) == {"ok"}
    expected = found.assigned()
    order = [name for name, town in zip(NAMES, ["a", "b"] * 6, strict=True) if town == "a"]
    for name in order:
        row = gbv.open_sealed(sealed.path, secret=SECRET, stratum=0)
        assert row.label == expected[name]
        assert not row.early
    with pytest.raises(gbv.DesignError, match="No row of this list is left"):
        gbv.open_sealed(sealed.path, secret=SECRET, stratum=0)
    assert set(statuses(sealed, secret=SECRET, allocated=found, log_entries=7).values()) == {"ok"}


def test_the_list_shows_no_label_name_or_seed(sealed: Any) -> None:
    text = Path(sealed.path).read_text(encoding="utf-8")
    rows = "".join(text.splitlines()[1:])
    for hidden in (*ARMS, *NAMES, str(SEED), SECRET):
        assert hidden not in rows
    assert str(SEED) not in text
    # Rows with the same label have nothing in common that rows with different labels have not.
    sealings = [row["sealed"] for row in read(sealed.path)[1:]]
    assert len(set(sealings)) == len(sealings)


def test_an_opened_row_opens_no_other(sealed: Any) -> None:
    from gbveval.design.allocation._chain import commitment

    row = gbv.open_sealed(sealed.path, secret=SECRET)
    opening = [
        line["place"]
        for line in read(sealed.path)[1:]
        for label in ARMS
        if commitment(row.nonce, line["place"], line["unit"], label) == line["sealed"]
    ]
    assert opening == [row.place]


def test_two_lists_of_the_same_allocation_have_nothing_in_common(sealed: Any, tmp_path: Path) -> None:
    other = gbv.seal_allocation(made(), tmp_path / "other.jsonl", secret=SECRET)
    ours, theirs = read(sealed.path)[1:], read(other.path)[1:]
    for key in ("sealed", "unit", "chain"):
        assert not {row[key] for row in ours} & {row[key] for row in theirs}


def edit(lines: Lines) -> Lines:
    lines[5] = {**lines[5], "sealed": lines[6]["sealed"]}
    return lines


def edit_one_digit(lines: Lines) -> Lines:
    digit = "1" if lines[7]["sealed"][0] != "1" else "2"
    lines[7] = {**lines[7], "sealed": digit + lines[7]["sealed"][1:]}
    return lines


def edit_and_mend(lines: Lines) -> Lines:
    from gbveval.design.allocation._chain import link

    return link([{k: v for k, v in line.items() if k != "chain"} for line in edit(lines)])


def swap(lines: Lines) -> Lines:
    lines[3], lines[4] = lines[4], lines[3]
    return lines


CHANGES: dict[str, Callable[[Lines], Lines]] = {
    "a row edited": edit,
    "one digit edited": edit_one_digit,
    "edited and chained anew": edit_and_mend,
    "two rows swapped": swap,
    "a row deleted": lambda lines: [*lines[:4], *lines[5:]],
    "the end cut off": lambda lines: lines[:-1],
    "a row added": lambda lines: [*lines, lines[-1]],
    "the first line edited": lambda lines: [{**lines[0], "rows": 11}, *lines[1:]],
    "a dry run made valid": lambda lines: [{**lines[0], "valid": "for enrolment "}, *lines[1:]],
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("secret", [None, SECRET])
def test_a_changed_list_is_found(sealed: Any, change: str, secret: str | None) -> None:
    write(sealed.path, CHANGES[change](read(sealed.path)))
    assert statuses(sealed, secret=secret)["list"] == "warn"


def test_every_single_row_that_is_edited_is_found(sealed: Any) -> None:
    whole = read(sealed.path)
    for number in range(1, len(whole)):
        lines = [dict(line) for line in whole]
        lines[number]["list"] = 1 - lines[number]["list"]
        write(sealed.path, lines)
        assert statuses(sealed)["list"] == "warn"
    write(sealed.path, whole)
    assert statuses(sealed)["list"] == "ok"


def test_a_list_that_does_not_hold_what_was_allocated_is_found(sealed: Any) -> None:
    other = made(seed=SEED + 1)
    assert other.list_digest != made().list_digest
    assert statuses(sealed, secret=SECRET, allocated=other)["rows"] == "warn"


def opened(sealed: Any, n: int = 4) -> Lines:
    for _ in range(n):
        gbv.open_sealed(sealed.path, secret=SECRET)
    return read(sealed.log)


LOG_CHANGES: dict[str, Callable[[Lines], Lines]] = {
    "a time edited": lambda lines: [*lines[:2], {**lines[2], "at": "2020-01-01T00:00:00+00:00"}, *lines[3:]],
    "an entry deleted": lambda lines: [*lines[:2], *lines[3:]],
    "entries swapped": lambda lines: [lines[0], lines[2], lines[1], *lines[3:]],
    "the beginning cut off": lambda lines: lines[1:],
    "everything deleted": lambda lines: [],
    "an entry added": lambda lines: [*lines, lines[-1]],
}


@pytest.mark.parametrize("change", LOG_CHANGES)
def test_a_changed_log_is_found_without_the_secret_too(sealed: Any, change: str) -> None:
    write(sealed.log, LOG_CHANGES[change](opened(sealed)))
    assert statuses(sealed)["log"] == "warn"
    with pytest.raises(gbv.DataError, match="changed"):
        gbv.open_sealed(sealed.path, secret=SECRET)


def test_a_log_that_was_chained_anew_is_found_with_the_secret(sealed: Any) -> None:
    from gbveval.design.allocation._chain import START, chained

    lines, before = opened(sealed), START
    del lines[2]
    for number, line in enumerate(lines, start=1):
        line |= {"number": number, "before": before}
        line["chain"] = before = chained(before, line)
    write(sealed.log, lines)
    assert statuses(sealed)["log"] == "ok"
    assert statuses(sealed, secret=SECRET)["log"] == "warn"


def test_a_log_without_its_end_is_found_by_its_length_alone(sealed: Any) -> None:
    lines = opened(sealed)
    write(sealed.log, lines[:-1])
    assert statuses(sealed, secret=SECRET)["log"] == "ok"
    assert statuses(sealed, secret=SECRET, log_entries=len(lines))["log"] == "warn"


def test_an_early_opening_is_found(sealed: Any) -> None:
    early = gbv.open_sealed(sealed.path, secret=SECRET, unit=NAMES[8])
    assert early.early
    assert early.label == made().assigned()[NAMES[8]]
    assert statuses(sealed, secret=SECRET)["openings"] == "warn"
    # Whoever strikes the flag out of the log does not hide it: places tell.
    lines = read(sealed.log)
    lines[-1]["early"] = False
    write(sealed.log, lines)
    assert statuses(sealed)["openings"] == "warn"


def test_an_opening_that_lies_about_the_label_is_found(sealed: Any) -> None:
    lines = opened(sealed)
    lines[2]["label"] = ARMS[1 - ARMS.index(lines[2]["label"])]
    write(sealed.log, lines)
    assert statuses(sealed)["openings"] == "warn"


def test_opening_again_gives_the_same_row_and_is_written_down(sealed: Any) -> None:
    first = gbv.open_sealed(sealed.path, secret=SECRET)
    again = gbv.open_sealed(sealed.path, secret=SECRET, unit=NAMES[0])
    assert (first.place, first.label) == (again.place, again.label)
    assert [entry.get("again") for entry in read(sealed.log)] == [None, False, True]
    assert set(statuses(sealed, secret=SECRET).values()) == {"ok"}


def test_a_dry_run_is_marked_everywhere_and_opened_as_a_rehearsal_only(tmp_path: Path) -> None:
    found = made(dry_run=True, seed=1)
    assert "DRY RUN" in repr(found)
    dry = gbv.seal_allocation(found, tmp_path / "dry.jsonl", secret=SECRET)
    assert all("INVALID" in line["valid"] for line in read(dry.path))
    with pytest.raises(gbv.DesignError, match="dry run"):
        gbv.open_sealed(dry.path, secret=SECRET)
    assert gbv.open_sealed(dry.path, secret=SECRET, rehearsal=True).label in ARMS
    assert statuses(dry)["validity"] == "warn"


def test_what_is_refused(sealed: Any, tmp_path: Path) -> None:
    with pytest.raises(gbv.DesignError, match="exists"):
        gbv.seal_allocation(made(), sealed.path, secret=SECRET)
    with pytest.raises(gbv.DesignError, match="can be guessed"):
        gbv.seal_allocation(made(), tmp_path / "a.jsonl", secret="short")
    with pytest.raises(gbv.DesignError, match="seed can be guessed"):
        gbv.seal_allocation(made(seed=20_260_101), tmp_path / "a.jsonl", secret=SECRET)
    with pytest.raises(gbv.DesignError, match="not that of this list"):
        gbv.open_sealed(sealed.path, secret="t" * 40)
    with pytest.raises(gbv.DataError, match="not in the list") as caught:
        gbv.open_sealed(sealed.path, secret=SECRET, unit="somebody's name")
    assert "somebody" not in str(caught.value)
    with pytest.raises(gbv.DataError, match="cannot be read"):
        gbv.verify_sealed(tmp_path / "none.jsonl", digest=sealed.digest)
    # What failed left nothing behind.
    assert {path.name for path in tmp_path.iterdir()} == {"list.jsonl", "list.jsonl.log"}


def test_a_file_that_is_no_list_is_told_and_does_not_raise(sealed: Any) -> None:
    Path(sealed.path).write_text('not json\n["a"]\n', encoding="utf-8")
    assert statuses(sealed)["list"] == "warn"
    assert statuses(sealed)["format"] == "warn"
