"""What wild cluster bootstraps of trials and of rollouts share: options, weights drawn in blocks, test and interval."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from gbveval.core.errors import DesignError
from gbveval.core.method import Check
from gbveval.numerics.inference import check_level
from gbveval.numerics.null_distribution import invert, tail
from gbveval.numerics.randomisation import Parts
from gbveval.numerics.wild_bootstrap import BLOCK, WildBootstrap, draw_weights, sign_vectors

FloatArray = NDArray[np.float64]
VARIANTS = ("WCR11", "WCR13", "WCR31", "WCR33", "WCU11", "WCU13", "WCU31", "WCU33")
WEIGHTS = ("rademacher", "webb")
ALTERNATIVES = ("two_sided", "central", "greater", "less")
# All sign vectors of more clusters than this are not listed: a million vectors take seconds.
MOST_LISTED = 20


class DrawOptions(Protocol):
    """The options that say which vectors of weights are used."""

    @property
    def weights(self) -> str:
        """Kind of weights."""

    @property
    def n_draws(self) -> int:
        """Vectors asked for."""


class BootstrapOptions(DrawOptions, Protocol):
    """The options of a wild cluster bootstrap."""

    @property
    def variant(self) -> str:
        """Whether the null is imposed, and the digits."""

    @property
    def null(self) -> float:
        """Effect under test."""

    @property
    def alternative(self) -> str:
        """Which effects count as more extreme."""

    @property
    def level(self) -> float:
        """Level of the interval."""


def check_bootstrap(options: BootstrapOptions) -> None:
    """Raise if an option is not known."""
    for option, known in (("variant", VARIANTS), ("weights", WEIGHTS), ("alternative", ALTERNATIVES)):
        if getattr(options, option) not in known:
            raise DesignError(f"{option} must be one of {', '.join(known)}, not {getattr(options, option)!r}.")
    if options.n_draws < 19 or not np.isfinite(options.null):
        raise DesignError("n_draws must be at least 19, so that p can be 0.05, and null a finite number.")
    try:
        check_level(options.level)
    except ValueError as error:
        raise DesignError(str(error)) from error


@dataclass(frozen=True, slots=True)
class BootstrapTest:
    """A test and the effects that it does not reject.

    Attributes
    ----------
    p_value : float
    interval : (float, float)
    reason : str
        Empty, or that no effect can be excluded.
    """

    p_value: float
    interval: tuple[float, float]
    reason: str


def bootstrap_test(
    options: BootstrapOptions, ready: WildBootstrap, parts: Parts, weight: FloatArray | None, *, ties: bool
) -> BootstrapTest:
    """Return the test of a coefficient and its inversion.

    Parameters
    ----------
    options : BootstrapOptions
    ready : WildBootstrap
    parts : Parts
        Numerators and variances of the draws.
    weight : ndarray or None
        Probability of each draw where all are listed.
    ties : bool
        Whether bootstrap statistics equal to the observed one count as extreme.
    """
    imposed = options.variant.startswith("WCR")
    rule = "absolute" if options.alternative == "two_sided" else options.alternative

    def p_value(null: float) -> float:
        delta = ready.estimate - null
        values = parts.statistic(delta if imposed else 0.0, studentised=True)
        return tail(values, delta / ready.std_error, weight, rule=rule, ties=ties)

    alpha = (1.0 - options.level) * (1.0 + 1e-9)
    low, high = invert(lambda null: p_value(null) > alpha, ready.estimate, ready.std_error)
    low = -np.inf if rule == "less" else low
    high = np.inf if rule == "greater" else high
    open_ended = bool(np.isinf(low) and np.isinf(high))
    reason = "no effect can be excluded at this level" if open_ended else ""
    return BootstrapTest(p_value(options.null), (float(low), float(high)), reason)


def singular_checks(ready: WildBootstrap) -> tuple[Check, ...]:
    """Return a warning where a coefficient hangs on single clusters."""
    if not ready.singular:
        return ()
    text = f"without {ready.singular} of the clusters a coefficient is lost; a pseudo-inverse was used."
    public = "without some cluster a coefficient is lost; a pseudo-inverse was used."
    return (Check("singular clusters", "warn", text, public),)


@dataclass(frozen=True, eq=False, slots=True)
class Draws:
    """Weights of clusters, made in blocks so that memory does not grow with draws times clusters.

    Attributes
    ----------
    kind : str
        "signs" (all vectors), "rademacher" or "webb".
    n_draws, n_clusters : int
        Vectors, and their length.
    seed : int
        Of the draws; blocks can be made again.
    """

    kind: str
    n_draws: int
    n_clusters: int
    seed: int

    @property
    def probability(self) -> FloatArray | None:
        """Probability of each vector when all are listed; None for draws."""
        return np.full(self.n_draws, 1.0 / self.n_draws) if self.kind == "signs" else None

    @property
    def words(self) -> str:
        """What they are."""
        if self.kind == "signs":
            return f"all {self.n_draws:,} vectors of signs"
        return f"{self.n_draws:,} draws of {'signs' if self.kind == 'rademacher' else 'six-point weights (Webb)'}"

    def blocks(self) -> Iterator[FloatArray]:
        """Yield the weights, shape (some draws, clusters)."""
        if self.kind == "signs":
            yield sign_vectors(self.n_clusters)
            return
        rng = np.random.default_rng(self.seed)
        rows = max(1, BLOCK // self.n_clusters)
        for start in range(0, self.n_draws, rows):
            yield draw_weights(self.kind, min(rows, self.n_draws - start), self.n_clusters, rng)


def bootstrap_draws(options: DrawOptions, count: int, rng: np.random.Generator) -> Draws:
    """Return all vectors of signs where they are no more than the draws asked for, else draws."""
    seed = int(rng.integers(2**31))
    if options.weights == "rademacher" and count <= MOST_LISTED and 2**count <= options.n_draws + 1:
        return Draws("signs", 2**count, count, seed)
    return Draws(options.weights, options.n_draws, count, seed)
