"""Translates cases about hierarchies over sites."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.reference.compare import Unsupported


def normal_summaries(folder: Path, inputs: dict[str, Any], results: dict[str, Any]) -> dict[str, Any]:
    raise Unsupported("not yet")


def bayes_tolerance(case):
    raise Unsupported("not yet")
