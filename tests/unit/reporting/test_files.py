"""Files: inside the output folder, whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gbveval.core.errors import DesignError
from gbveval.reporting.files import below, slug, write

EVIL = ["../x", "../../etc/passwd", "/etc/passwd", "a/../../x", "..", ".", "", "a/../..", "x/\0y", "\0"]


@pytest.mark.parametrize("name", EVIL)
def test_names_that_leave_the_folder_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(DesignError):
        write(tmp_path / "out", name, "x")
    assert [p.name for p in tmp_path.iterdir() if p.name != "out"] == []


def test_a_link_inside_the_folder_leads_nowhere(tmp_path: Path) -> None:
    out, elsewhere = tmp_path / "out", tmp_path / "elsewhere"
    out.mkdir()
    elsewhere.mkdir()
    (out / "link").symlink_to(elsewhere)
    with pytest.raises(DesignError):
        write(out, "link/x.txt", "x")
    assert list(elsewhere.iterdir()) == []


@given(st.text(max_size=200))
def test_slugs_are_plain_names(text: str) -> None:
    name = slug(text)
    assert 0 < len(name) <= 70
    assert set(name) <= set("abcdefghijklmnopqrstuvwxyz0123456789-")
    assert below(Path("/anywhere"), name).name == name


@pytest.mark.parametrize("text", ["CON", "nul", "Lpt1", "аdmin", "", "🙂", "....", "-", "a" * 500])
def test_slugs_of_odd_texts(text: str) -> None:
    assert slug(text).lower() not in ("con", "nul", "lpt1", "")
    assert len(slug(text)) <= 70


def test_a_failing_write_leaves_the_old_file_and_no_rest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path, "report.html", "old")

    def broken(*_: object) -> None:
        raise OSError("the disk is full")

    monkeypatch.setattr(os, "replace", broken)
    with pytest.raises(OSError, match="full"):
        write(tmp_path, "report.html", "new")
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["report.html"]


def test_a_write_replaces_makes_folders_and_keeps_bytes(tmp_path: Path) -> None:
    write(tmp_path, "a/b/c.txt", "é\n\u202e")
    path = write(tmp_path, "a/b/c.txt", b"\x00\xff\n")
    assert path.read_bytes() == b"\x00\xff\n"
    assert path.stat().st_mode & 0o777 == 0o644
