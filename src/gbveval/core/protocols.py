"""What the parts of gbveval expect of each other: estimators, processes and allocations."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol, TypeVar, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from gbveval.core.batch import BatchEstimates, ClusterBatch
from gbveval.core.estimand import Estimand
from gbveval.core.estimates import Estimates
from gbveval.numerics.allocations import Scheme

D_contra = TypeVar("D_contra", contravariant=True)
D_co = TypeVar("D_co", covariant=True)


@runtime_checkable
class Estimator(Protocol[D_contra]):
    """A frozen value (its options) with one method.

    It never fits in the constructor, never changes its data, never touches a global generator and never prints.
    """

    @property
    def name(self) -> str:
        """Registered name."""

    def estimate(self, data: D_contra, *, rng: np.random.Generator | None = None) -> Estimates:
        """Return estimates from checked data; deterministic methods ignore `rng`."""


@runtime_checkable
class BatchEstimator(Protocol):
    """An estimator that can also work from cluster summaries of many simulated studies at once."""

    @property
    def name(self) -> str:
        """Registered name."""

    @property
    def in_batches(self) -> bool:
        """Whether `estimate_batch` does what `estimate` does with these options."""

    def estimate_batch(self, batch: ClusterBatch) -> BatchEstimates:
        """Return, for each draw, what `estimate` returns on the data behind the batch's row."""


@runtime_checkable
class Process(Protocol[D_co]):
    """A source of checked data whose truth is known."""

    def draw(self, rng: np.random.Generator) -> D_co:
        """Return one simulated study as checked data."""

    def truth(self, estimand: Estimand) -> float:
        """Return the true value of exactly this estimand on its link scale, or raise DesignError."""


@runtime_checkable
class BatchProcess(Protocol):
    """A process that can draw the sufficient statistics of many studies instead of the people."""

    def draw_batch(self, n_draws: int, rng: np.random.Generator) -> ClusterBatch:
        """Return cluster summaries of many simulated studies."""


@runtime_checkable
class Allocation(Protocol):
    """Who was allocated to which arm, by a scheme that can be run again."""

    @property
    def arms(self) -> tuple[str, ...]:
        """Arm labels, control first."""

    @property
    def unit_names(self) -> tuple[str, ...] | None:
        """Names of the units of assignment; None where they are the rows of the frame, in its order."""

    @property
    def assigns_clusters(self) -> bool:
        """Whether the units of assignment are clusters."""

    @property
    def n_rows(self) -> int:
        """Rows of the frame that was allocated."""

    @property
    def label_of_unit(self) -> NDArray[np.integer]:
        """Label of each unit of assignment; -1 where unassigned."""

    @property
    def arm_of(self) -> NDArray[np.intp]:
        """Arm of each label in each period, shape (labels, periods); one period where arms do not change."""

    @property
    def words(self) -> str:
        """The scheme, said."""

    @property
    def digest(self) -> str:
        """SHA-256 of frame and declaration."""

    def assigned(self) -> Mapping[Any, str]:
        """Return the label of each unit of assignment."""

    def scheme_of(self, units: NDArray[np.intp], code_of: NDArray[np.intp]) -> Scheme:
        """Return how some units of assignment, by number, could have been allocated; `code_of` recodes the labels."""
