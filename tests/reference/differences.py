"""Translates cases about difference-in-differences."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.reference.compare import Unsupported


def callaway_santanna(folder: Path, task: dict[str, Any], results: dict[str, Any]) -> dict[str, Any]:
    raise Unsupported("not yet")
