"""Effects along the dose of treatment: regressions of changes on doses, cohort by cohort, and their averages.

Estimand and estimator. Cohort g is first treated in period g; unit i in it gets dose d_i from then on. For period t let
D_i be the change of its outcome since the base period of (g, t), and m_gt the mean change of the units that are not
treated by then. With a basis b(d) of K functions that add up to one at every dose,

    beta_gt   = (sum_g w_i b_i b_i')^-1 sum_g w_i b_i D_i,          b_i = b(d_i),
    ATT_gt(d) = b(d)' beta_gt - m_gt,                                ACRT_gt(d) = b'(d)' beta_gt,
    ATT_gt    = sum_g w_i ATT_gt(d_i) / W_g,                         ACRT_gt    = sum_g w_i ACRT_gt(d_i) / W_g.

All of them are rows r'theta_gt of theta_gt = (beta_gt, m_gt), the last two with a mean row over the cohort's doses. An
average over the periods of a cohort has fixed weights a_gt; one over cohorts has the shares W_g k_g / sum_h W_h k_h of
the cohorts that are averaged, k_g fixed.

Influence of unit i, so that the variance is the sum of squares (e_it is the residual of the regression):

    beta_gt   : w_i (sum_g w b b')^-1 b_i e_it                      for i in g,
    m_gt      : w_i (D_i - m_gt) / W_control                        for i in the control group of (g, t),
    mean rows : w_i (r_i' theta_gt - mean) / W_g besides            for i in g: doses are drawn too,
    shares    : w_i k_g (value of g - average) / sum_h W_h k_h      for i in g.

Because the basis adds up to one, ATT_gt is the difference of mean changes, as without doses.

At given doses the influence on beta_gt is the change without each independent unit (`dose_left_out`). In the two means
over doses residuals and doses vary together, and the plain influence is kept.

Callaway, Goodman-Bacon and Sant'Anna (2024) give identification, the two-period estimator and the aggregation; the
influence functions are derived here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from gbveval.numerics.dose_basis import DoseBasis
from gbveval.numerics.dose_left_out import LeftOut, left_out_of
from gbveval.numerics.group_time_cells import Cells, Cohorts

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.intp]
# Eigenvalues of a cohort's cross-products below this share of the largest: its doses do not determine the curve.
SINGULAR = 1e-10


@dataclass(frozen=True, eq=False, slots=True)
class Comparison:
    """One cohort in one period: since when outcomes changed, and whose changes they are compared with.

    Attributes
    ----------
    time : float
        The period.
    at, base : int
        Positions of the period and of its base among the paths.
    controls : ndarray of bool, shape (cohorts,)
        Which cohorts are compared with.
    last_before : bool
        Whether the period is the last one before treatment.
    """

    time: float
    at: int
    base: int
    controls: NDArray[np.bool_] = field(repr=False)
    last_before: bool


@dataclass(frozen=True, eq=False, slots=True)
class DoseCohort:
    """One cohort: its doses, the rows of its curve, and its comparisons.

    Attributes
    ----------
    group : float
        First treated period.
    unit : ndarray of int, shape (n,)
        Its units.
    dose, weight : ndarray, shape (n,)
    level, slope : ndarray, shape (n, K + 1)
        Rows of level and slope at the units' own doses.
    inverse : ndarray, shape (K, K)
        Of the weighted cross-products of the basis.
    left_out : LeftOut
        Changes of the coefficients without each independent unit.
    comparisons : tuple of Comparison
        By period.
    """

    group: float
    unit: IntArray = field(repr=False)
    dose: FloatArray = field(repr=False)
    weight: FloatArray = field(repr=False)
    level: FloatArray = field(repr=False)
    slope: FloatArray = field(repr=False)
    inverse: FloatArray = field(repr=False)
    left_out: LeftOut = field(repr=False)
    comparisons: tuple[Comparison, ...]

    @property
    def after(self) -> tuple[Comparison, ...]:
        """Those from treatment on."""
        return tuple(each for each in self.comparisons if each.time >= self.group)


@dataclass(frozen=True, eq=False, slots=True)
class DoseUnits:
    """All units that take part.

    Attributes
    ----------
    paths : ndarray, shape (units, periods)
    dose, weight : ndarray, shape (units,)
        Doses of units that are never treated are not looked at.
    code : ndarray of int, shape (units,)
        Position of each unit's cohort.
    cluster : ndarray of int, shape (units,), or None
        Code of each unit's cluster; None where units are independent.
    """

    paths: FloatArray = field(repr=False)
    dose: FloatArray = field(repr=False)
    weight: FloatArray = field(repr=False)
    code: IntArray = field(repr=False)
    cluster: IntArray | None = field(default=None, repr=False)

    def change(self, of: Comparison) -> FloatArray:
        """Return the change of every unit since the base period."""
        return np.asarray(self.paths[:, of.at] - self.paths[:, of.base])

    def compared(self, of: Comparison) -> NDArray[np.bool_]:
        """Return which units are compared with."""
        return np.asarray(of.controls[self.code])


@dataclass(frozen=True, eq=False, slots=True)
class Share:
    """What one cohort adds to an average: some of its comparisons, each with the same weight.

    Attributes
    ----------
    cohort : DoseCohort
    comparisons : tuple of Comparison
    multiple : float
        By which the cohort's share is multiplied.
    """

    cohort: DoseCohort
    comparisons: tuple[Comparison, ...]
    multiple: float = 1.0


@dataclass(frozen=True, eq=False, slots=True)
class DoseAverage:
    """An average over cohorts and periods.

    Attributes
    ----------
    value : ndarray, shape (2 + rows,)
        Mean level and mean slope over the doses, then the rows asked for.
    influence : ndarray, shape (units, 2 + rows)
    """

    value: FloatArray = field(repr=False)
    influence: FloatArray = field(repr=False)


def dose_cohorts(units: DoseUnits, basis: DoseBasis, plan: tuple[Cohorts, Cells]) -> tuple[DoseCohort, ...]:
    """Return every treated cohort with its comparisons.

    Parameters
    ----------
    units : DoseUnits
    basis : DoseBasis
        Defined at the doses of all units of treated cohorts.
    plan : Cohorts, Cells
        From `sort_cohorts` and `list_cells`.

    Raises
    ------
    ValueError
        If the doses of a cohort do not determine the curve, or do not without some one unit (cluster); it counts the
        cohorts.
    """
    cohorts, cells = plan
    found = []
    undetermined = 0
    for position, group in enumerate(cohorts.level):
        if np.isinf(group):
            continue
        unit = np.flatnonzero(units.code == position).astype(np.intp)
        dose, w = units.dose[unit], units.weight[unit]
        level = basis.level(dose)
        x = level[:, :-1]
        cross = x.T @ (w[:, None] * x)
        roots = np.linalg.eigvalsh(cross)
        inverse = np.asarray(np.linalg.pinv(cross, rcond=SINGULAR, hermitian=True), dtype=np.float64)
        determined = roots[0] > SINGULAR * roots[-1]
        left_out = left_out_of(x, w, inverse, None if units.cluster is None else units.cluster[unit])
        if not determined or left_out is None:
            undetermined += 1
            continue
        own = tuple(_comparison(plan, int(k)) for k in np.flatnonzero(cells.cohort == position))
        found.append(DoseCohort(float(group), unit, dose, w, level, basis.slope(dose), inverse, left_out, own))
    if undetermined:
        every, one = undetermined + len(found), "unit" if units.cluster is None else "cluster"
        raise ValueError(
            f"The doses of {undetermined} of {every} cohorts do not determine the curve, or one {one} alone does in "
            "part"
        )
    return tuple(found)


def _comparison(plan: tuple[Cohorts, Cells], k: int) -> Comparison:
    cohorts, cells = plan
    before = np.flatnonzero(cohorts.periods < cohorts.level[cells.cohort[k]])
    return Comparison(
        time=float(cohorts.periods[cells.time[k]]),
        at=int(cells.time[k]),
        base=int(cells.base[k]),
        controls=cells.control[:, k],
        last_before=bool(cells.time[k] == before[-1]),
    )


def dose_average(units: DoseUnits, shares: Sequence[Share], rows: FloatArray) -> DoseAverage:
    """Average levels and slopes over cohorts and periods.

    Parameters
    ----------
    units : DoseUnits
    shares : sequence of Share
        One a cohort, each with a comparison or more.
    rows : ndarray, shape (rows, K + 1)
        What to read off the averaged curve, from a basis.

    Returns
    -------
    DoseAverage

    Examples
    --------
    >>> from gbveval.numerics.dose_basis import SplineBasis
    >>> from gbveval.numerics.group_time_cells import list_cells, sort_cohorts
    >>> basis = SplineBasis(np.array([1.0, 3.0]), 1)
    >>> paths = np.array([[0.0, 2.0], [0.0, 4.0], [0.0, 6.0], [0.0, 1.0], [0.0, 1.0]])
    >>> cohorts = sort_cohorts([2.0, 2.0, 2.0, np.inf, np.inf], np.array([1.0, 2.0]), "never", 0.0)
    >>> plan = cohorts, list_cells(cohorts, "never", "varying", 0.0)
    >>> units = DoseUnits(paths, np.array([1.0, 2.0, 3.0, 0.0, 0.0]), np.ones(5), cohorts.code)
    >>> (early,) = dose_cohorts(units, basis, plan)
    >>> found = dose_average(units, [Share(early, early.after)], basis.level(np.array([1.0, 2.0])))
    >>> found.value.round(6).tolist()
    [3.0, 2.0, 1.0, 3.0]
    """
    parts = [_cohort_average(units, share, rows) for share in shares]
    size = np.array([share.multiple * share.cohort.weight.sum() for share in shares])
    portion = size / size.sum()
    values = np.vstack([part.value for part in parts])
    value = np.asarray(portion @ values)
    influence = np.zeros((units.weight.size, value.size))
    for share, part, own in zip(shares, parts, portion, strict=True):
        influence += own * part.influence
        pull = share.multiple * share.cohort.weight / size.sum()
        influence[share.cohort.unit] += np.outer(pull, part.value - value)
    return DoseAverage(value, influence)


def _cohort_average(units: DoseUnits, share: Share, rows: FloatArray) -> DoseAverage:
    """Return the rows of one cohort, averaged over its comparisons."""
    cohort, count = share.cohort, len(share.comparisons)
    x, w, total = cohort.level[:, :-1], cohort.weight, float(cohort.weight.sum())
    change = np.zeros(cohort.unit.size)
    control = np.zeros(units.weight.size)
    mean = 0.0
    for each in share.comparisons:
        every = units.change(each)
        change += every[cohort.unit] / count
        theirs = np.where(units.compared(each), units.weight, 0.0)
        theirs = theirs / theirs.sum()
        own_mean = float(theirs @ every)
        control += theirs * (every - own_mean) / count
        mean += own_mean / count
    beta = cohort.inverse @ (x.T @ (w * change))
    theta = np.append(beta, mean)
    wanted = np.vstack([w @ cohort.level / total, w @ cohort.slope / total, rows])
    value = wanted @ theta
    influence = np.outer(control, wanted[:, -1])
    scores = (w * (change - x @ beta))[:, None] * x
    influence[cohort.unit, :2] += scores @ cohort.inverse @ wanted[:2, :-1].T
    influence[cohort.unit, 2:] += cohort.left_out.change(scores) @ wanted[2:, :-1].T
    # Doses are drawn with the units, so the means over doses vary with them too.
    drawn = np.column_stack([cohort.level @ theta, cohort.slope @ theta]) - value[:2]
    influence[cohort.unit, :2] += w[:, None] * drawn / total
    return DoseAverage(value, influence)
