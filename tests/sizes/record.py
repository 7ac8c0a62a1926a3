"""Keeps what was measured in one JSON file, so that a run can be resumed and the page be written without measuring."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

from gbveval.core.provenance import versions
from tests.sizes.measure import SEED, cells
from tests.sizes.rows import Measurement

ROOT = Path(__file__).parents[2]
RECORD = Path(__file__).with_name("measured.json")


def load() -> dict[str, Any]:
    """Return what was measured so far, by label of the row."""
    if not RECORD.is_file():
        return {}
    found: dict[str, Any] = json.loads(RECORD.read_text(encoding="utf-8"))
    return found


def save(measured: dict[str, Any]) -> None:
    """Write what was measured so far."""
    RECORD.write_text(json.dumps(measured, indent=1) + "\n", encoding="utf-8")


def described(row: Measurement) -> dict[str, Any]:
    """Return what a measurement depends on besides the code: when it changes, the row is measured again."""
    return {
        "estimator": repr(row.estimator),
        "study": repr(row.study),
        "cells": [[cell.clusters, cell.sizes, cell.outcome] for cell in cells(row)],
        "draws": row.draws,
        "seed": SEED,
    }


def is_current(row: Measurement, measured: dict[str, Any]) -> bool:
    """Return whether a row was measured as it is described."""
    return row.label in measured and measured[row.label]["description"] == described(row)


def entry(row: Measurement, found: list[dict[str, Any]]) -> dict[str, Any]:
    """Return what is kept of a row."""
    return {"description": described(row), "provenance": provenance(), "cells": found}


def provenance() -> dict[str, str]:
    """Return the commit that the code stands on and the versions of the packages that it rests on."""
    asked = ["git", "-C", str(ROOT), "rev-parse", "--short=10", "HEAD"]
    commit = subprocess.run(asked, capture_output=True, text=True, check=False).stdout.strip()
    return {"commit": commit or "unknown", **dict(versions())}
