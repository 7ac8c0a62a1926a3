"""What every test and every example in a docstring leaves behind is put away."""

from __future__ import annotations

import sys

import pytest


def pytest_runtest_teardown(item: pytest.Item) -> None:
    """Close figures: matplotlib warns of more than twenty, and which worker gets so many is chance."""
    pyplot = sys.modules.get("matplotlib.pyplot")
    if pyplot is not None:
        pyplot.close("all")
