"""A checked trial with some of its arrays changed: other arms, other outcomes, fewer units."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from gbveval.data._assignment import recode
from gbveval.data._frame import Labels
from gbveval.data._network import Network
from gbveval.data.trial import Trial

# Remembered values that belong to the trial they were computed from.
DERIVED = ("digest", "crosses_over", "_cells")


def changed(trial: Trial, **values: Any) -> Trial:
    """Return a trial with some arrays changed; they are as trusted as the trial's own."""
    own = {name: value for name, value in vars(trial).items() if name not in DERIVED}
    return Trial._trusted(**{**own, **values})


def subset(trial: Trial, keep: NDArray[np.bool_] | NDArray[np.intp]) -> Trial:
    """Return some of the units (or all in another order), with the labels that occur among them."""
    values: dict[str, Any] = {}
    for name, value in vars(trial).items():
        if name in DERIVED:
            continue
        if isinstance(value, Labels):
            values[name] = recode(value, keep)
        elif isinstance(value, Network):
            values[name] = value.among(keep)
        elif isinstance(value, np.ndarray):
            values[name] = value[keep]
    return changed(trial, **values)


def two_arms(trial: Trial, arm: int) -> Trial:
    """Return the units of control and of one other arm, as a trial of two arms."""
    if len(trial.arms) == 2:
        return trial
    part = subset(trial, np.isin(trial.arm, (0, arm)))
    probability = None
    if part.probability is not None:
        pair = part.probability[:, [0, arm]]
        probability = pair / pair.sum(axis=1, keepdims=True)
    return changed(
        part,
        arms=(trial.arms[0], trial.arms[arm]),
        arm=(part.arm == arm).astype(np.intp),
        probability=probability,
    )
