"""Two-armed tables of events as trials, for the tests of models of binary outcomes."""

from __future__ import annotations

from typing import Any

import pandas as pd

import gbveval as gbv


def table(control: tuple[int, int], treated: tuple[int, int]) -> pd.DataFrame:
    """Return a frame of events and non-events in two arms."""
    y = [1] * control[0] + [0] * control[1] + [1] * treated[0] + [0] * treated[1]
    arm = ["usual"] * sum(control) + ["new"] * sum(treated)
    return pd.DataFrame({"y": y, "arm": arm})


def trial(frame: pd.DataFrame, **roles: Any) -> gbv.Trial:
    return gbv.Trial(frame, **{"outcome": "y", "arm": "arm", "control": "usual", **roles})
