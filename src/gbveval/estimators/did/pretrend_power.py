"""What a test of pre-trends could have seen: its power against a trend, and what passing does to the estimate."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from gbveval.core.errors import DesignError
from gbveval.core.estimates import Estimates
from gbveval.core.table import Table
from gbveval.estimators.did.event_path import EventPath, Target, event_path
from gbveval.numerics.pretrend_test import PretrendTest

FloatArray = NDArray[np.float64]
TESTS = ("individual", "joint")
POWER_COLUMNS = (
    *("trend", "slope", "power", "bayes_factor", "likelihood_ratio"),
    *("estimate", "bias", "bias_if_passed"),
)
BIAS_COLUMNS = ("event_time", "estimate", "trend", "mean_if_passed")


def pretrend_power(
    study: Estimates,
    *,
    slope: float | None = None,
    power: Sequence[float] = (0.5, 0.8),
    test: str = "individual",
    target: Target = None,
    alpha: float = 0.05,
) -> Table:
    """Return which linear trends the test of pre-trends would have detected, and what they do to the estimate.

    Parameters
    ----------
    study : Estimates
        An event study whose effects are all relative to one reference period, as in `HonestDid.assess`.
    slope : float, optional
        A departure from parallel trends to look at: so much from one period to the next, in either direction.
    power : sequence of float
        Finds the slopes that the test detects with these probabilities.
    test : str
        "individual": trends are doubted if any coefficient before treatment is significant by itself, as most readers
        do. "joint": if the Wald test of all is.
    target : float, or tuple of (event time, weight), optional
        The effect whose bias is shown; by default the average over event times from 0 on.
    alpha : float
        Size of each single test, or of the joint one.

    Returns
    -------
    Table
        A row for parallel trends, whose power is the size of the test, then one a slope. `bias` is what the trend adds
        to the effect, `bias_if_passed` what it adds on average in studies whose test passed. `bayes_factor`: how much
        less likely passing is under the trend than under parallel trends. `likelihood_ratio`: the density of the
        coefficients before treatment under the trend over that under parallel trends; above one, they fit the trend
        better.

    Raises
    ------
    DesignError
        If it is no event study, or an option is impossible.

    Notes
    -----
    **Valid when** the coefficients are jointly normal with the covariance given. A trend that is detected with a power
    of a half only, and biases the effect as much as the estimate itself, is not excluded by a test that passed. **Do
    not use** it to say that a trend is absent; `pretrend_equivalence` and `HonestDid` ask that.

    Probabilities of boxes are integrated on a lattice and not simulated. R's pretrends simulates them, and stops the
    search for a slope at a tolerance of 1.2e-4 in absolute terms, which small slopes feel.

    References
    ----------
    Roth (2022), American Economic Review: Insights 4(3), 305-322.

    Examples
    --------
    >>> import numpy as np
    >>> from gbveval.estimators.did.event_path import event_study_from
    >>> study = event_study_from([0.1, 0.0, 1.0], 0.01 * np.eye(3), [-3, -2, 0])
    >>> table = pretrend_power(study, power=[0.8], test="joint")
    >>> round(table.column("slope")[1], 3)
    0.139
    """
    path = event_path(study)
    label, weights = path.target(target)
    tested = _test(path, test, alpha)
    asked = [float(x) for x in power]
    if not all(0.0 < x < 1.0 for x in asked) or (slope is not None and not np.isfinite(slope)):
        raise DesignError("Each power must lie between 0 and 1, such as 0.8, and the slope must be a finite number.")
    if not asked and slope is None:
        raise DesignError("Give a slope, or the power that a slope is to be found for.")
    direction = path.steps[: path.n_pre]
    found = [("parallel trends", 0.0)]
    found += [(f"detected with power {x:g}", tested.slope_for(x, direction)) for x in asked]
    found += [] if slope is None else [("named", float(slope))]
    none = tested.passes(np.zeros(path.n_pre))
    estimate = float(weights @ path.beta[path.n_pre :])
    rows = []
    for words, size in found:
        trend = size * path.steps
        passed = tested.passes(trend[: path.n_pre])
        bias = trend + tested.mean_if_passed(trend[: path.n_pre])
        rows.append(
            (
                words,
                size,
                1.0 - passed,
                passed / none,
                _likelihood_ratio(path, trend[: path.n_pre]),
                estimate,
                float(weights @ trend[path.n_pre :]),
                float(weights @ bias[path.n_pre :]),
            )
        )
    notes = (*_notes(path, test, alpha), "Source: Roth 2022.", *path.notes())
    title = f"{path.outcome}, {label}: which trends the test of pre-trends would have detected"
    return Table(title, POWER_COLUMNS, tuple(rows), notes, path.supports(len(rows)))


def pretrend_bias(study: Estimates, *, slope: float, test: str = "individual", alpha: float = 0.05) -> Table:
    """Return, for each event time, what a linear trend adds to the event study, and what it adds where the test passed.

    Parameters
    ----------
    study : Estimates
        As in `pretrend_power`.
    slope : float
        The departure from parallel trends from one period to the next.
    test, alpha : str, float
        As in `pretrend_power`.

    Returns
    -------
    Table
        One row an event time: the estimate, the trend, and the mean of the coefficient in studies that passed.

    Notes
    -----
    A study that passed has coefficients before treatment that look flatter than the trend. Those after treatment move
    with them by their covariance, in most studies further from parallel.

    References
    ----------
    Roth (2022), American Economic Review: Insights 4(3), 305-322.

    Examples
    --------
    >>> import numpy as np
    >>> from gbveval.estimators.did.event_path import event_study_from
    >>> study = event_study_from([0.1, 0.0, 1.0], 0.01 * (np.eye(3) + 1.0), [-3, -2, 0])
    >>> [round(x, 3) for x in pretrend_bias(study, slope=0.1).column("mean_if_passed")]
    [-0.129, -0.053, 0.139]
    """
    path = event_path(study)
    tested = _test(path, test, alpha)
    if not np.isfinite(slope):
        raise DesignError("The slope must be a finite number.")
    trend = float(slope) * path.steps
    mean = trend + tested.mean_if_passed(trend[: path.n_pre])
    rows = tuple(tuple(float(x) for x in row) for row in zip(path.event_time, path.beta, trend, mean, strict=True))
    notes = (*_notes(path, test, alpha), "Source: Roth 2022.", *path.notes())
    title = f"{path.outcome}: what a linear trend adds, on average and where the test of pre-trends passed"
    return Table(title, BIAS_COLUMNS, rows, notes, path.supports(len(rows)))


def _test(path: EventPath, test: str, alpha: float) -> PretrendTest:
    if test not in TESTS:
        raise DesignError(f"test must be one of {', '.join(TESTS)}, not {test!r}.")
    if not 0.0 < alpha < 1.0:
        raise DesignError(f"alpha must lie between 0 and 1, such as 0.05; it is {alpha}.")
    return PretrendTest(path.sigma, path.n_pre, test == "joint", alpha)


def _likelihood_ratio(path: EventPath, trend: FloatArray) -> float:
    """Return the normal density of the coefficients before treatment around a trend, over that around zero."""
    before = path.sigma[: path.n_pre, : path.n_pre]
    pull = np.linalg.solve(before, trend)
    return float(np.exp(pull @ path.beta[: path.n_pre] - 0.5 * pull @ trend))


def _notes(path: EventPath, test: str, alpha: float) -> tuple[str, ...]:
    what = "any single coefficient" if test == "individual" else "the joint Wald test"
    scale = " Numbers are logarithms of ratios." if path.link == "log" else ""
    return (
        f"The test fails if {what} of the {path.n_pre} before treatment is significant at {alpha:g}.{scale}",
        f"A slope of s departs by s a period from event time {path.reference:g}, before and after. With the other "
        "sign, the biases change their sign too.",
    )
