"""Hides what a declared scheme becomes once its units are known: a mechanism, labels and their arms."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from gbveval.core.provenance import options_of
from gbveval.design.allocation._units import Roles, Units
from gbveval.numerics.mechanism import Mechanism

IntArray = NDArray[np.intp]


@dataclass(frozen=True, eq=False, slots=True)
class AllocationPlan:
    """A scheme for known units.

    Attributes
    ----------
    mechanism : Mechanism
        What draws the labels.
    labels : tuple of str
        What units are allocated to: arms, sequences, or a share with an arm.
    arm_of : ndarray of int, shape (labels, periods)
        Arm of each label in each period.
    words : str
        The scheme, said.
    notes : tuple of (str, object)
        What else is known of it: thresholds, acceptable allocations, matched groups.
    """

    mechanism: Mechanism
    labels: tuple[str, ...]
    arm_of: IntArray
    words: str
    notes: tuple[tuple[str, Any], ...] = ()

    def note(self, name: str) -> Any:
        """Return something that is known of the scheme, or None."""
        return dict(self.notes).get(name)


class AllocationScheme(Protocol):
    """A declared way to allocate: a frozen value that says which columns it reads and how it allocates them."""

    @property
    def arms(self) -> tuple[str, ...]:
        """Arm labels, control first."""

    def roles(self) -> Roles:
        """Return the columns that the scheme reads."""

    def plan(self, units: Units) -> AllocationPlan:
        """Return the scheme for known units, or raise DesignError where they do not fit it."""


def arms_only(mechanism: Mechanism, arms: tuple[str, ...], words: str, *notes: tuple[str, Any]) -> AllocationPlan:
    """Return a plan whose labels are the arms."""
    return AllocationPlan(mechanism, arms, np.arange(len(arms))[:, None], words, tuple(notes))


def declaration_of(scheme: Any) -> str:
    """Return a scheme as canonical JSON text, of which the digest is taken."""
    return json.dumps({"scheme": type(scheme).__name__, "options": options_of(scheme)}, sort_keys=True)
