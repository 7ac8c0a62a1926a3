"""A conformance case: an estimator, a source of frames whose truth is known, and what its estimand promises."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Protocol

import numpy as np

from gbveval.core.estimates import Estimates

Frame = dict[str, Any]
_studies: dict[int, tuple[Case, Frame, Any, Estimates]] = {}


class Frames(Protocol):
    """A source of frames whose truth is known."""

    @property
    def roles(self) -> Mapping[str, str]:
        """Role ("outcome", "arm", "cluster", "unit", ...) to column."""

    def frame(self, rng: np.random.Generator) -> tuple[Frame, float]:
        """Return a frame as a dictionary of columns, and the true value of the first row on its link scale."""

    def check(self, frame: Frame) -> Any:
        """Return the frame as checked data."""

    def null(self) -> Frames | None:
        """Return the same source with no effect; None when that has no meaning."""


@dataclass(frozen=True)
class Case:
    """What the kit needs to know to put an estimator through its checks.

    Parameters
    ----------
    estimator : Estimator
        With the options to test.
    frames : Frames
        Where its data come from.
    equivariant : frozenset of str
        What the estimand promises when the outcome changes: "shift" (estimate unchanged), "scale" (estimate and
        standard error multiplied), "swap" (sign flips when arms swap names).
    conservative : bool
        Whether coverage may exceed the level, as with Neyman's variance.
    slack : float
        How far coverage and size may be from nominal because the reference distribution is approximate.
    n_draws : int
        Simulated studies for the statistical checks.
    exempt : mapping of str to str
        Check name to the reason why it cannot hold. An exempted check that passes is an error.
    note : str
        Tells cases of one estimator apart.
    term : str, optional
        The row whose truth the frames know; the first by default.

    Examples
    --------
    >>> import gbveval as gbv
    >>> from gbveval.testing.processes import TrialFrames
    >>> Case(gbv.DifferenceInMeans(), TrialFrames(n_per_arm=10)).label
    'difference_in_means'
    """

    estimator: Any
    frames: Frames
    equivariant: frozenset[str] = frozenset({"shift", "scale", "swap"})
    conservative: bool = False
    slack: float = 0.01
    n_draws: int = 600
    exempt: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    note: str = ""
    term: str | None = None

    @property
    def label(self) -> str:
        """Name for test ids."""
        return f"{self.estimator.name}{'-' + self.note if self.note else ''}"

    def study(self) -> tuple[Frame, Any, Estimates]:
        """Return one frame, its checked data and the estimates from them, made once a case."""
        if id(self) not in _studies:
            frame, _ = self.frames.frame(np.random.default_rng(0))
            data = self.frames.check(frame)
            # The case is kept with its study, so that its identity is not given to another one.
            _studies[id(self)] = (self, frame, data, self.run(data))
        return _studies[id(self)][1:]

    def run(self, data: Any) -> Estimates:
        """Return the estimates, with a generator that is the same each time."""
        result: Estimates = self.estimator.estimate(data, rng=np.random.default_rng(7))
        return result
