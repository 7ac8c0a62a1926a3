"""Effects of first switches of a treatment that may start, end or change its amount.

Units are compared with units that had the same treatment in the first period and have not changed it yet (de
Chaisemartin and D'Haultfoeuille 2024, Review of Economics and Statistics), or, where treatment has no carry-over, with
units whose treatment stays what it was in the period before (de Chaisemartin and D'Haultfoeuille 2020, American
Economic Review 110). All estimates are ratios of sums over units, of which the influence functions are those of
sampled units: their cross-products are variances, without a small-sample factor.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.intp]
BoolArray = NDArray[np.bool_]
DIRECTIONS = ("all", "in", "out")


@dataclass(frozen=True, eq=False)
class TreatmentPaths:
    """Units over time.

    Attributes
    ----------
    outcome : ndarray, shape (units, periods)
        NaN where it is missing; a comparison uses units that have both of its outcomes.
    treatment : ndarray, shape (units, periods)
        0 and 1, or amounts.
    weight : ndarray, shape (units,)
    """

    outcome: FloatArray
    treatment: FloatArray
    weight: FloatArray

    @property
    def periods(self) -> int:
        """Number of periods."""
        return int(self.outcome.shape[1])

    @cached_property
    def first_switch(self) -> IntArray:
        """Position of the first period with another treatment than the first; the number of periods if none.

        Examples
        --------
        >>> d = np.array([[0.0, 0.0, 1.0], [1.0, 0.0, 1.0], [2.0, 2.0, 2.0]])
        >>> TreatmentPaths(d, d, np.ones(3)).first_switch.tolist()
        [2, 1, 3]
        """
        changed = self.treatment != self.treatment[:, :1]
        found: IntArray = np.where(changed.any(axis=1), changed.argmax(axis=1), self.periods).astype(np.intp)
        return found

    @cached_property
    def direction(self) -> FloatArray:
        """1 for units whose first switch is to more treatment, -1 to less, 0 for those that do not switch."""
        first = self.first_switch
        at = np.minimum(first, self.periods - 1)
        moved = self.treatment[np.arange(first.size), at] - self.treatment[:, 0]
        return np.asarray(np.where(first < self.periods, np.sign(moved), 0.0), dtype=np.float64)

    @cached_property
    def turned(self) -> IntArray:
        """First position with treatment on the other side of its first amount from where the switch led."""
        other = (self.treatment - self.treatment[:, :1]) * self.direction[:, None] < 0
        found: IntArray = np.where(other.any(axis=1), other.argmax(axis=1), self.periods).astype(np.intp)
        return found


@dataclass(frozen=True, eq=False, slots=True)
class SwitchSums:
    """Sums behind an effect, by unit.

    Attributes
    ----------
    gain : ndarray, shape (units,)
        What a unit adds to the numerator: a switcher its signed change beyond the mean change of its comparison; a
        comparison unit, less its deviation from that mean, as often as switchers rely on it. They sum to the numerator.
    dose : ndarray, shape (units,)
        What it adds to the denominator.
    switcher, comparison : ndarray of bool, shape (units,)
        Who took part as what.
    unmatched : int
        Switchers without a unit to compare with.
    """

    gain: FloatArray
    dose: FloatArray
    switcher: BoolArray
    comparison: BoolArray
    unmatched: int

    @property
    def value(self) -> float:
        """The effect; NaN without a switcher."""
        total = float(self.dose.sum())
        return float(self.gain.sum()) / total if total > 0 else np.nan

    @property
    def influence(self) -> FloatArray:
        """Influence of each unit; its sum of squares is the variance where units are independent."""
        total = float(self.dose.sum())
        if total <= 0:
            return np.zeros(self.gain.size)
        return np.asarray((self.gain - self.value * self.dose) / total)

    def with_dose(self, dose: FloatArray) -> SwitchSums:
        """Return the sums with another denominator."""
        return SwitchSums(self.gain, dose, self.switcher, self.comparison, self.unmatched)


class _Sums:
    """Adds comparisons up."""

    def __init__(self, units: int) -> None:
        self.gain, self.dose = np.zeros(units), np.zeros(units)
        self.switcher, self.comparison = np.zeros(units, dtype=bool), np.zeros(units, dtype=bool)
        self.unmatched = 0

    def add(
        self, paths: TreatmentPaths, periods: tuple[int, int], moved: IntArray, stayed: IntArray, sign: FloatArray
    ) -> IntArray:
        """Compare changes from the second of two periods to the first; return the switchers that were used."""
        there, base = periods
        shift, still = (paths.outcome[units, there] - paths.outcome[units, base] for units in (moved, stayed))
        moved, shift = moved[np.isfinite(shift)], shift[np.isfinite(shift)]
        stayed, still = stayed[np.isfinite(still)], still[np.isfinite(still)]
        if stayed.size == 0 or moved.size == 0:
            self.unmatched += moved.size
            return moved[:0]
        weight = paths.weight[stayed]
        mean = float(weight @ still) / float(weight.sum())
        signed = paths.weight[moved] * sign[moved]
        self.gain[moved] += signed * (shift - mean)
        self.gain[stayed] -= signed.sum() / weight.sum() * weight * (still - mean)
        self.switcher[moved] = True
        self.comparison[stayed] = True
        return moved

    def done(self) -> SwitchSums:
        return SwitchSums(self.gain, self.dose, self.switcher, self.comparison, self.unmatched)


def _chosen(direction: FloatArray, switchers: str) -> BoolArray:
    return np.asarray((direction > 0) & (switchers != "out") | (direction < 0) & (switchers != "in"))


def switch_effect(paths: TreatmentPaths, lag: int, *, switchers: str = "all", placebo: bool = False) -> SwitchSums:
    """Return the average effect `lag` periods after the last period before the first switch (DID_l, l = lag).

    Parameters
    ----------
    paths : TreatmentPaths
    lag : int
        1 for the period of the switch.
    switchers : str
        "all", "in" (first switches to more treatment) or "out".
    placebo : bool
        Compare the period `lag` before that last period with it instead, for the switchers whose effect at `lag` has a
        comparison, with the same comparison units.

    Returns
    -------
    SwitchSums
        Effects count with the sign of the first switch, and each unit with its weight.

    Examples
    --------
    >>> y = np.array([[0.0, 3.0], [1.0, 2.0], [5.0, 5.0]])
    >>> d = np.array([[0.0, 1.0], [0.0, 0.0], [0.0, 0.0]])
    >>> switch_effect(TreatmentPaths(y, d, np.ones(3)), 1).value
    2.5
    """
    first, direction, turned = paths.first_switch, paths.direction, paths.turned
    start = paths.treatment[:, 0]
    wanted = _chosen(direction, switchers)
    sums = _Sums(first.size)
    for level in np.unique(start[wanted]):
        peers = np.flatnonzero(start == level)
        for f in np.unique(first[peers][wanted[peers]]):
            target = int(f) - 1 + lag
            shown = int(f) - 1 - lag if placebo else target
            if target >= paths.periods or shown < 0:
                continue
            moved = peers[(first[peers] == f) & wanted[peers] & (turned[peers] > target)]
            stayed = peers[first[peers] > target]
            used = sums.add(paths, (shown, int(f) - 1), moved, stayed, direction)
            sums.dose[used] += paths.weight[used]
    return sums.done()


def doses(paths: TreatmentPaths, lag: int, sums: SwitchSums, *, cumulative: bool) -> FloatArray:
    """Return by how much treatment of the switchers differs from their first period's, `lag` periods on.

    Parameters
    ----------
    paths : TreatmentPaths
    lag : int
    sums : SwitchSums
        Whose switchers count.
    cumulative : bool
        Summed over the periods since the first switch, instead of the last alone.
    """
    first, result = paths.first_switch, np.zeros(paths.outcome.shape[0])
    used = np.flatnonzero(sums.switcher)
    for step in range(1 if cumulative else lag, lag + 1):
        at = np.minimum(first[used] - 1 + step, paths.periods - 1)
        result[used] += np.abs(paths.treatment[used, at] - paths.treatment[used, 0])
    return result * paths.weight


def total_effect(paths: TreatmentPaths, sums: dict[int, SwitchSums]) -> SwitchSums:
    """Return the effects at all lags summed, per unit of treatment that switchers had more (or less) over those lags.

    Parameters
    ----------
    paths : TreatmentPaths
    sums : dict of int to SwitchSums
        Effects by lag, from `switch_effect`.
    """
    parts = list(sums.items())
    return SwitchSums(
        gain=np.sum([each.gain for _, each in parts], axis=0),
        dose=np.sum([doses(paths, lag, each, cumulative=False) for lag, each in parts], axis=0),
        switcher=np.any([each.switcher for _, each in parts], axis=0),
        comparison=np.any([each.comparison for _, each in parts], axis=0),
        unmatched=sum(each.unmatched for _, each in parts),
    )


def instantaneous_effect(paths: TreatmentPaths, *, switchers: str = "all", placebo: bool = False) -> SwitchSums:
    """Return the average effect in the period of any switch, per unit of treatment switched (DID_M).

    Parameters
    ----------
    paths : TreatmentPaths
    switchers : str
        As in `switch_effect`; of each switch, not only the first.
    placebo : bool
        Compare the period two before the switch with the one before it instead, for units whose treatment was the same
        in both.

    Notes
    -----
    Between each period and the next, units that change their treatment are compared with those that had the same and
    keep it, whatever they had earlier: right only if past treatment does not act on present outcomes.

    Examples
    --------
    >>> y = np.array([[0.0, 3.0, 1.0], [1.0, 2.0, 2.0], [5.0, 5.0, 5.0], [0.0, 2.5, 2.5]])
    >>> d = np.array([[0.0, 1.0, 0.0], [0.0, 0.0, 0.0], [0.0, 0.0, 0.0], [1.0, 1.0, 1.0]])
    >>> instantaneous_effect(TreatmentPaths(y, d, np.ones(4))).value
    2.25
    """
    sums = _Sums(paths.outcome.shape[0])
    for t in range(2 if placebo else 1, paths.periods):
        before, now = paths.treatment[:, t - 1], paths.treatment[:, t]
        direction = np.sign(now - before)
        steady = paths.treatment[:, t - 2] == before if placebo else np.ones(before.size, dtype=bool)
        wanted = _chosen(direction, switchers) & steady
        for level in np.unique(before[wanted]):
            moved = np.flatnonzero(wanted & (before == level))
            stayed = np.flatnonzero(steady & (before == level) & (now == level))
            used = sums.add(paths, (t - 2 if placebo else t, t - 1), moved, stayed, direction)
            sums.dose[used] += paths.weight[used] * np.abs(now - before)[used]
    return sums.done()
