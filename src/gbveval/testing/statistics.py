"""Checks of statistics by simulation: bias, coverage, size and the calibration of standard errors.

The seeds are fixed and were not tuned. A suite of about a hundred such checks shall raise a false alarm with
probability 1e-4, so each band has a false-alarm rate of 1e-6.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from gbveval.core.replicate import binomial_band, generators, mean_of, ratio_of
from gbveval.numerics.inference import normal_quantile
from gbveval.testing.case import Case, Frames

FALSE_ALARM = 1e-6
LEVEL = 0.95
# The calibration of a standard error may be off by this share: a small sample's standard error is biased downwards
# although its t interval is exact (by 6 % with four degrees of freedom).
CALIBRATION_SLACK = 0.12
SEED = 20261124


@dataclass(frozen=True, eq=False)
class Simulated:
    """First rows of many simulated studies.

    Attributes
    ----------
    value, std_error, low, high, p_value, truth : ndarray, shape (draws,)
        On the link scale; the first two NaN for bounds and tests, the limits too for tests.
    """

    value: NDArray[np.float64]
    std_error: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]
    p_value: NDArray[np.float64]
    truth: NDArray[np.float64]


# Cases are remembered by identity, since a Case holds a mapping and several checks share one simulation; the case is
# kept with its draws, so that its identity is not given to another one.
_memory: dict[tuple[int, bool], tuple[Case, Simulated]] = {}


def simulate(case: Case, *, null: bool = False) -> Simulated | None:
    """Return the first rows of `case.n_draws` simulated studies, computed once."""
    key = (id(case), null)
    if key not in _memory:
        frames = case.frames.null() if null else case.frames
        if frames is None:
            return None
        _memory[key] = (case, _simulate(case, frames))
    return _memory[key][1]


def _simulate(case: Case, frames: Frames) -> Simulated:
    rows = []
    for rng in generators(SEED, case.n_draws):
        frame, truth = frames.frame(rng)
        result = case.estimator.estimate(frames.check(frame), rng=rng)
        first = 0 if case.term is None else result.index(case.term)
        # A bound keeps its partner, with which it shares an interval.
        result = result.with_terms([first, first + 1] if result.terms[first].kind == "bound" else [first])
        low, high = result.intervals(LEVEL)
        record = result.records(LEVEL)[0]
        p_value = np.nan if record["p_value"] is None else record["p_value"]
        point = result.terms[0].kind == "point"
        value, std_error = (result.values[0], result.std_errors[0]) if point else (np.nan, np.nan)
        rows.append((value, std_error, low[0], high[0], p_value, truth))
    return Simulated(*np.array(rows, dtype=float).T)


@lru_cache(maxsize=1)
def bias_quantile() -> float:
    """Return the normal quantile of the band for a mean."""
    return float(normal_quantile(1.0 - FALSE_ALARM / 2.0))


def check_is_unbiased(case: Case) -> None:
    """The mean of the estimates is the truth, within Monte Carlo error."""
    drawn = simulate(case)
    assert drawn is not None
    if np.isnan(drawn.value).all():
        return
    error = mean_of(drawn.value - drawn.truth)
    # A fiftieth of a standard error of bias harms no decision; estimators of ratios have that much in small samples.
    allowed = bias_quantile() * error.mcse + 0.02 * float(np.mean(drawn.std_error))
    assert abs(error.value) <= allowed, f"bias {error.value:.4g}, allowed {allowed:.4g} ({case.n_draws} draws)"


def check_covers(case: Case) -> None:
    """Intervals hold the truth as often as they say."""
    drawn = simulate(case)
    assert drawn is not None
    if np.isnan(drawn.low).all():
        return
    share = float(np.mean((drawn.low <= drawn.truth) & (drawn.truth <= drawn.high)))
    least = binomial_band(LEVEL - case.slack, case.n_draws, false_alarm=FALSE_ALARM)[0]
    most = 1.0 if case.conservative else binomial_band(LEVEL + case.slack, case.n_draws, false_alarm=FALSE_ALARM)[1]
    assert least <= share <= most, f"coverage {share:.3f}, expected {least:.3f} to {most:.3f}"


def check_size_under_the_null(case: Case) -> None:
    """Without an effect the test rejects as often as it says."""
    drawn = simulate(case, null=True)
    if drawn is None or np.isnan(drawn.p_value).all():
        return
    size = 1.0 - LEVEL
    share = float(np.mean(drawn.p_value < size))
    most = binomial_band(size + case.slack, case.n_draws, false_alarm=FALSE_ALARM)[1]
    least = (
        0.0
        if case.conservative
        else binomial_band(max(size - case.slack, 1e-9), case.n_draws, false_alarm=FALSE_ALARM)[0]
    )
    assert least <= share <= most, f"size {share:.3f}, expected {least:.3f} to {most:.3f}"


def check_standard_error_is_calibrated(case: Case) -> None:
    """The mean standard error is the standard deviation of the estimates."""
    drawn = simulate(case)
    assert drawn is not None
    if np.isnan(drawn.value).all():
        return
    if float(np.ptp(drawn.truth)) > 0:
        # Truths drawn from a prior: the spread to compare with is that of the errors.
        ratio = ratio_of(drawn.std_error, drawn.value - drawn.truth)
    else:
        ratio = ratio_of(drawn.std_error, drawn.value)
    low = 1.0 - CALIBRATION_SLACK - bias_quantile() * ratio.mcse
    high = 1.0 + CALIBRATION_SLACK + bias_quantile() * ratio.mcse
    if case.conservative:
        high = float("inf")
    assert low <= ratio.value <= high, (
        f"standard errors are {ratio.value:.3f} of the spread, expected {low:.2f}-{high:.2f}"
    )


STATISTICS = (
    check_is_unbiased,
    check_covers,
    check_size_under_the_null,
    check_standard_error_is_calibrated,
)
