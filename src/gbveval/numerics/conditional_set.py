"""Confidence sets for a target of an event study from moment inequalities: conditional tests with a first stage."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gbveval.numerics.dual_rays import target_rays
from gbveval.numerics.inference import normal_quantile, truncated_normal_upper
from gbveval.numerics.trend_restrictions import Piece

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]
# Share of alpha that the first stage spends (Andrews, Roth and Pakes recommend a tenth).
FIRST_STAGE = 0.1
# Points at which each piece is tested before the ends between neighbours that differ are bisected.
GRID = 240
# Each end is then known to less than a millionth of the range.
BISECTIONS = 14
# Draws of the first stage's critical value: its Monte Carlo error is then below 0.05 standard errors, and moves limits
# by far less, as the second stage spends nine tenths of the size.
DRAWS = 8000


@dataclass(frozen=True, eq=False, slots=True)
class EventStudy:
    """Coefficients of an event study and the target, as the tests take them.

    Attributes
    ----------
    beta, sigma : ndarray, shape (n_pre + n_post,), (n_pre + n_post, n_pre + n_post)
        Coefficients before the reference period, then after it, and their covariance.
    n_pre : int
    target : ndarray, shape (n_post,)
    noise : ndarray, shape (2 draws, n_pre + n_post)
        Draws of N(0, sigma) and their mirror images, the same for all tests.
    """

    beta: FloatArray
    sigma: FloatArray
    n_pre: int
    target: FloatArray
    noise: FloatArray


@dataclass(frozen=True, eq=False, slots=True)
class Moments:
    """Inequalities without nuisance parameters: at the true theta, each row of `value - slope theta` is at most zero.

    Attributes
    ----------
    weights : ndarray, shape (moments, n_pre + n_post)
        Weights of the coefficients.
    value, slope : ndarray, shape (moments,)
    """

    weights: FloatArray
    value: FloatArray
    slope: FloatArray


def event_study(
    beta: FloatArray, sigma: FloatArray, n_pre: int, target: FloatArray, *, seed: int, n_draws: int = DRAWS
) -> EventStudy:
    """Return an event study with the draws that its first stages share."""
    roots, axes = np.linalg.eigh(sigma)
    # The symmetric root: eigenvectors have signs of their own on each machine, and other draws would follow. Each draw
    # comes with its mirror image, so that a mirrored study has the same critical values.
    half = (axes * np.sqrt(np.maximum(roots, 0.0))) @ axes.T
    one_side = np.random.default_rng(seed).standard_normal((n_draws, len(beta))) @ half
    noise = np.concatenate([one_side, -one_side])
    return EventStudy(beta, sigma, n_pre, target, noise)


def rays_of(study: EventStudy, piece: Piece) -> FloatArray:
    """Return the combinations of a piece's rows that eliminate the nuisance parameters.

    They depend on the coefficients of the effects alone. Pieces of one restriction, and all its m, share them.
    """
    return target_rays(piece.A[:, study.n_pre :], study.target)


def moments(study: EventStudy, piece: Piece, rays: FloatArray) -> Moments:
    """Return the moments of a piece, each over its combination of the rows' standard deviations.

    Notes
    -----
    The departures satisfy A delta <= d, and beta estimates delta plus effects tau (zero before), so that A beta - d - A
    tau <= 0 in expectation. The test statistic of Andrews, Roth and Pakes is the least eta such that A beta - d - A tau
    <= sd eta for some tau with target' tau = theta, a linear programme. Its dual maximises g'(A beta - d - A tau) over
    combinations g >= 0 that eliminate all but theta, with g' sd = 1. The corners of that set do not depend on theta or
    on the data: listed once, they replace every programme by a maximum.
    """
    sd = np.sqrt(np.maximum(np.einsum("ij,jk,ik->i", piece.A, study.sigma, piece.A), 0.0))
    scale = rays @ sd
    g = rays[scale > 0] / scale[scale > 0][:, None]
    weights = g @ piece.A
    along = weights[:, study.n_pre :] @ study.target / float(study.target @ study.target)
    return Moments(weights, weights @ study.beta - g @ piece.d, along)


class ConditionalTest:
    """Tests of values of the target against one piece of a restriction.

    Parameters
    ----------
    study : EventStudy
    found : Moments
    alpha : float
        Size.

    Notes
    -----
    A value is rejected if the largest moment exceeds the least favourable critical value of size alpha / 10 (the
    quantile of the largest of the centred moments, all binding); or if, given which moment is the largest and all that
    is independent of it, its upper tail is below what is left of alpha, where the first stage caps the interval that
    the moment is known to lie in. Moments that are not positive reject nothing.

    References
    ----------
    Andrews, Roth and Pakes (2023), Review of Economic Studies 90(6), 2763-2791.
    """

    def __init__(self, study: EventStudy, found: Moments, alpha: float) -> None:
        self.moments = found
        self._loaded = found.weights @ study.sigma
        self.sd = np.sqrt(np.maximum(np.einsum("ij,ij->i", self._loaded, found.weights), 0.0))
        self._noise = study.noise
        self._kappa = FIRST_STAGE * alpha
        self._size = (alpha - self._kappa) / (1.0 - self._kappa)
        self._critical: float | None = None

    @property
    def critical(self) -> float:
        """The least favourable critical value of the first stage."""
        if self._critical is None:
            blocks = np.array_split(self._noise, max(1, len(self._noise) * len(self.sd) // 2_000_000))
            largest = np.concatenate([(block @ self.moments.weights.T).max(axis=1) for block in blocks])
            self._critical = max(float(np.quantile(largest, 1.0 - self._kappa)), 0.0)
        return self._critical

    def accepts(self, theta: FloatArray) -> BoolArray:
        """Return which values are not rejected."""
        value = self.moments.value[:, None] - self.moments.slope[:, None] * theta[None, :]
        largest = np.argmax(value, axis=0)
        eta = value[largest, np.arange(theta.size)]
        # Moments that hold with equality whatever the data are zero up to rounding.
        answer = eta <= 1e-10 * float(self.sd.max())
        # The bound spares most of the draws.
        open_ = ~answer & (eta <= self.ceiling)
        if open_.any():
            open_ &= eta <= self.critical
        for j in np.unique(largest[open_]):
            here = np.flatnonzero(open_ & (largest == j))
            answer[here] = self._tail(int(j), value[:, here]) >= self._size
        return np.asarray(answer, dtype=bool)

    def _tail(self, j: int, value: FloatArray) -> FloatArray:
        """Return upper tails of moment j, the largest, given that it is and what is independent of it."""
        share = self.moments.weights @ self._loaded[j] / self.sd[j] ** 2
        free = share < 1.0 - 1e-10
        beyond = share > 1.0 + 1e-10
        # Moment k moves with moment j by its share; where it would overtake, j lies no further.
        rest = value - share[:, None] * value[j]
        low = np.max(rest[free] / (1.0 - share[free])[:, None], axis=0, initial=-np.inf)
        high = np.min(rest[beyond] / (1.0 - share[beyond])[:, None], axis=0, initial=self.critical)
        return truncated_normal_upper(value[j] / self.sd[j], low / self.sd[j], high / self.sd[j])

    @property
    def ceiling(self) -> float:
        """A bound of the critical value from the union bound, which needs no draws."""
        return float(normal_quantile(1.0 - self._kappa / len(self.sd))) * float(self.sd.max())

    def range(self, critical: float) -> tuple[float, float]:
        """Return where no moment exceeds a critical value, an interval; its ends cross if that is nowhere."""
        slope, value = self.moments.slope, self.moments.value
        steep = np.abs(slope) > 1e-12 * np.abs(slope).max()
        if np.any(value[~steep] > critical):
            return np.inf, -np.inf
        ends = (value[steep] - critical) / slope[steep]
        low = np.max(ends[slope[steep] > 0], initial=-np.inf)
        high = np.min(ends[slope[steep] < 0], initial=np.inf)
        return float(low), float(high)

    def intervals(self) -> list[tuple[float, float]]:
        """Return the values that are not rejected, as intervals in order.

        The first stage gives a range. Inside, values on a grid are tested, with those where another moment becomes the
        largest, and each change between neighbours is bisected. What is narrower than a step of the grid, and is no
        such corner, would not be seen.
        """
        low, high = self.range(self.critical)
        if not low <= high:
            return []
        grid = np.unique(np.concatenate([np.linspace(low, high, GRID), self._corners(low, high)]))
        kept = self.accepts(grid)
        change = np.flatnonzero(kept[1:] != kept[:-1])
        left, right = grid[change].copy(), grid[change + 1].copy()
        starts = kept[change]
        for _ in range(BISECTIONS if change.size else 0):
            middle = (left + right) / 2.0
            same = self.accepts(middle) == starts
            left, right = np.where(same, middle, left), np.where(same, right, middle)
        # The accepted side of each change, so that every end was tested.
        ends = list(np.where(starts, left, right))
        if kept[0]:
            ends.insert(0, grid[0])
        if kept[-1]:
            ends.append(grid[-1])
        return [(float(a), float(b)) for a, b in zip(ends[::2], ends[1::2], strict=True)]

    def _corners(self, low: float, high: float) -> FloatArray:
        """Return where the largest moment changes, found by following the upper envelope of lines."""
        slope, value = self.moments.slope, self.moments.value
        corners, theta = [], low
        while theta < high:
            height = value - slope * theta
            ahead = -slope
            top = height.max()
            tied = np.flatnonzero(height >= top - 1e-12 * max(1.0, abs(top)))
            j = tied[np.argmax(ahead[tied])]
            steeper = ahead > ahead[j] + 1e-12 * np.abs(slope).max()
            if not steeper.any():
                break
            theta = theta + float(np.min((height[j] - height[steeper]) / (ahead[steeper] - ahead[j])))
            corners.append(theta)
        return np.array([c for c in corners if c < high], dtype=float)


def confidence_set(
    study: EventStudy, pieces: Sequence[Piece], rays: FloatArray, alpha: float
) -> list[tuple[float, float]]:
    """Return the values of the target that some piece does not reject, as intervals in order.

    A piece whose first stage leaves only values that another piece keeps adds nothing, and is not looked at.
    """
    tests = [ConditionalTest(study, moments(study, piece, rays), alpha) for piece in pieces]
    ranges = [test.range(test.ceiling) for test in tests]
    joined: list[tuple[float, float]] = []
    for number in sorted(range(len(tests)), key=lambda i: ranges[i][0] - ranges[i][1]):
        low, high = ranges[number]
        if low <= high and not any(a <= low and high <= b for a, b in joined):
            joined = united([joined, tests[number].intervals()])
    return joined


def united(sets: Sequence[list[tuple[float, float]]]) -> list[tuple[float, float]]:
    """Return the union of sets of intervals, in order.

    Examples
    --------
    >>> united([[(0.0, 1.0)], [(0.5, 2.0), (3.0, 4.0)]])
    [(0.0, 2.0), (3.0, 4.0)]
    """
    joined: list[tuple[float, float]] = []
    for low, high in sorted(pair for each in sets for pair in each):
        if joined and low <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(joined[-1][1], high))
        else:
            joined.append((low, high))
    return joined


def is_accepted(study: EventStudy, pieces: Sequence[Piece], rays: FloatArray, alpha: float, theta: float) -> bool:
    """Return whether some piece does not reject one value of the target."""
    point = np.array([theta])
    return any(bool(ConditionalTest(study, moments(study, piece, rays), alpha).accepts(point)[0]) for piece in pieces)
