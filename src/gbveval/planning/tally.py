"""Hides how what an estimator said about many studies is added up, so that no study need be kept.

Everything that a diagnosis shows is a function of counts and of sums of powers of the error of an estimate and of its
standard error. Sums of shards add, in the order of the shards, so that the answer does not depend on who computed what.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gbveval.core.estimand import Estimand
from gbveval.core.replicate import Measured

FloatArray = NDArray[np.float64]
UNKNOWN = Measured(float("nan"), float("nan"))
# Fewer draws than this say nothing about a spread.
FEWEST = 4
# A spread this small beside the error it is around is rounding.
ROUNDING = 1e-24


@dataclass(frozen=True, eq=False, slots=True)
class Replicates:
    """What one estimator said about each simulated study, on the link scale of its estimand.

    Attributes
    ----------
    label : str
        Name of the estimator; numbered when several share it.
    estimand : Estimand
        What it estimates.
    truth : float
        Its true value.
    value, std_error, low, high : ndarray, shape (draws,)
        NaN where undefined or failed.
    rejected : ndarray of bool
        Whether the test rejects; False where undefined or failed.
    failures : tuple of (str, int)
        Kind of error and number of draws that ended with it.
    """

    label: str
    estimand: Estimand
    truth: float
    value: FloatArray
    std_error: FloatArray
    low: FloatArray
    high: FloatArray
    rejected: NDArray[np.bool_]
    failures: tuple[tuple[str, int], ...] = ()


@dataclass(frozen=True, slots=True)
class Tally:
    """Counts and sums over the studies that one estimator was shown.

    Attributes
    ----------
    n_draws, n_failed, n_defined, n_covered, n_rejected, n_wrong_sign, n_spread : int
        Studies; those that ended in an error; with value and interval; of these, whose interval holds the truth, whose
        test rejects, whose rejected value has the wrong sign; those with a standard error.
    error : tuple of float
        Sums of the first four powers of value minus truth, over the defined.
    spread : tuple of float
        Sums of the standard error and its square, and of its product with the error and with the squared error.
    claimed : tuple of float
        Sums of the absolute value and its square, over the rejected.
    failures : mapping
        Kind of error and number of studies.
    """

    n_draws: int = 0
    n_failed: int = 0
    n_defined: int = 0
    n_covered: int = 0
    n_rejected: int = 0
    n_wrong_sign: int = 0
    n_spread: int = 0
    error: tuple[float, ...] = (0.0, 0.0, 0.0, 0.0)
    spread: tuple[float, ...] = (0.0, 0.0, 0.0, 0.0)
    claimed: tuple[float, ...] = (0.0, 0.0)
    failures: Mapping[str, int] = field(default_factory=dict)

    def __add__(self, other: Tally) -> Tally:
        whole: dict[str, Any] = {name: getattr(self, name) + getattr(other, name) for name in COUNTS}
        sums: dict[str, Any] = {
            name: tuple(a + b for a, b in zip(getattr(self, name), getattr(other, name), strict=True)) for name in SUMS
        }
        failures = dict(sorted((Counter(self.failures) + Counter(other.failures)).items()))
        return Tally(**whole, **sums, failures=failures)

    def to_plain(self) -> dict[str, Any]:
        """Return the tally as JSON can hold it, to the last bit."""
        return asdict(self)

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> Tally:
        """Return the tally that `to_plain` described."""
        values: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value for name, value in plain.items()
        }
        return cls(**values)


COUNTS = ("n_draws", "n_failed", "n_defined", "n_covered", "n_rejected", "n_wrong_sign", "n_spread")
SUMS = ("error", "spread", "claimed")


def tally(drawn: Replicates) -> Tally:
    """Return the counts and sums of what an estimator said about some studies."""
    defined = np.isfinite(drawn.value) & np.isfinite(drawn.low) & np.isfinite(drawn.high)
    value, spread = drawn.value[defined], drawn.std_error[defined]
    error = value - drawn.truth
    rejected = (drawn.rejected & defined)[defined]
    claimed = value[rejected]
    known = bool(np.all(np.isfinite(spread)))
    spread = spread if known else np.zeros_like(spread)
    return Tally(
        n_draws=int(drawn.value.size),
        n_failed=sum(count for _, count in drawn.failures),
        n_defined=int(defined.sum()),
        n_covered=int((defined & (drawn.low <= drawn.truth) & (drawn.truth <= drawn.high)).sum()),
        n_rejected=int(rejected.sum()),
        n_wrong_sign=int((claimed * drawn.truth < 0.0).sum()),
        n_spread=int(np.isfinite(drawn.std_error[defined]).sum()),
        error=tuple(float((error**power).sum()) for power in (1, 2, 3, 4)),
        spread=(
            float(spread.sum()),
            float((spread**2).sum()),
            float((spread * error).sum()),
            float((spread * error**2).sum()),
        ),
        claimed=(float(np.abs(claimed).sum()), float((claimed**2).sum())),
        failures=dict(drawn.failures),
    )


def share(hits: int, total: int) -> Measured:
    """Return a share with its binomial Monte Carlo standard error."""
    if total == 0:
        return UNKNOWN
    part = hits / total
    return Measured(part, math.sqrt(part * (1.0 - part) / total))


def mean_error(found: Tally) -> Measured:
    """Return the mean of value minus truth."""
    if found.n_defined < FEWEST:
        return UNKNOWN
    return Measured(found.error[0] / found.n_defined, math.sqrt(_variance(found) / found.n_defined))


def root_mean_square(found: Tally) -> Measured:
    """Return the root mean squared error; its Monte Carlo error by the delta method."""
    n = found.n_defined
    if n < FEWEST:
        return UNKNOWN
    square, fourth = found.error[1] / n, found.error[3] / n
    root = math.sqrt(square)
    spread = math.sqrt(max(0.0, (fourth - square**2) / (n - 1)))
    return Measured(root, spread / (2.0 * root) if root > 0.0 else float("nan"))


def calibration(found: Tally) -> Measured:
    """Return the mean standard error over the standard deviation of the estimates.

    With s a standard error and c an estimate minus the mean, the influence of a draw on mean(s)/sd is
    (s - mean s)/sd - mean(s) (c^2 - sd^2)/(2 sd^3): its variance, in terms of the sums, gives the Monte Carlo error.
    """
    n = found.n_defined
    variance = _variance(found)
    mean = found.error[0] / max(n, 1)
    if n < FEWEST or found.n_spread < n or variance <= ROUNDING * (mean**2 + variance):
        return UNKNOWN
    of_spread = found.spread[0] / n
    second, third, fourth = (total / n for total in found.error[1:])
    centred = second - mean**2
    peaked = fourth - 4.0 * mean * third + 6.0 * mean**2 * second - 3.0 * mean**4 - centred**2
    jointly = (found.spread[3] - 2.0 * mean * found.spread[2] + mean**2 * found.spread[0]) / n - of_spread * centred
    sd = math.sqrt(variance)
    spread = (found.spread[1] / n - of_spread**2) / sd**2
    spread += of_spread**2 * peaked / (4.0 * sd**6) - of_spread * jointly / sd**4
    return Measured(of_spread / sd, math.sqrt(max(spread, 0.0) / n))


def exaggeration(found: Tally, truth: float) -> Measured:
    """Return the mean absolute estimate among those that reject, over the absolute truth."""
    n = found.n_rejected
    if n < FEWEST or truth == 0.0:
        return UNKNOWN
    mean = found.claimed[0] / n
    spread = math.sqrt(max(0.0, (found.claimed[1] / n - mean**2) / (n - 1)))
    return Measured(mean / abs(truth), spread / abs(truth))


def _variance(found: Tally) -> float:
    n = found.n_defined
    if n < 2:
        return float("nan")
    return max(0.0, (found.error[1] - found.error[0] ** 2 / n) / (n - 1))
