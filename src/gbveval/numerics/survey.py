"""Design-based linearisation: how weighted totals, means and ratios vary over samples of strata and primary units."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gbveval.numerics.survey_stages import Stage, informative, make_stages

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.intp]
BoolArray = NDArray[np.bool_]
LONELY_POLICIES = ("error", "adjust", "certainty", "average")


@dataclass(frozen=True, eq=False, slots=True)
class SampleDesign:
    """A stratified sample of primary units; make one with `sample_design`.

    Attributes
    ----------
    unit : ndarray of int, shape (n,)
        Primary unit of each respondent.
    stratum : ndarray of int, shape (units,)
        Stratum of each primary unit.
    sizes : ndarray, shape (strata,)
        Primary units in each stratum.
    fraction : ndarray, shape (strata,)
        Share of the stratum's primary units that were drawn; zero where they were drawn with replacement.
    lonely_psu : str
        What is done with strata that have a single primary unit.
    later : tuple of Stage
        Second and further stages, where they add to the variance.
    """

    unit: IntArray
    stratum: IntArray
    sizes: FloatArray
    fraction: FloatArray
    lonely_psu: str = "error"
    later: tuple[Stage, ...] = ()

    @property
    def n_units(self) -> int:
        """Primary units."""
        return int(self.stratum.size)

    @property
    def n_strata(self) -> int:
        """Strata."""
        return int(self.sizes.size)

    @property
    def n_lonely(self) -> int:
        """Strata with a single primary unit that is not the whole stratum."""
        return int(self.first().lonely.sum())

    @property
    def n_lonely_later(self) -> int:
        """Units of any stage of which a single unit of the next stage was drawn, and that have more."""
        return sum(int(stage.lonely.sum()) for stage in self.later)

    def first(self) -> Stage:
        """Return the first stage: primary units in strata."""
        return Stage(self.unit, self.stratum, self.sizes, self.fraction)

    def df(self, member: BoolArray | None = None) -> float:
        """Return primary units minus strata, counting those that hold a member when `member` is given."""
        if member is None:
            return float(self.n_units - self.n_strata)
        units = np.unique(self.unit[member])
        return float(units.size - np.unique(self.stratum[units]).size)


def sample_design(
    n: int,
    *,
    psu: IntArray | None = None,
    stratum: IntArray | None = None,
    lonely_psu: str = "error",
    later: Sequence[IntArray] = (),
    populations: Sequence[FloatArray] = (),
) -> SampleDesign:
    """Return the design of a sample of `n` respondents.

    Parameters
    ----------
    n : int
        Respondents.
    psu : ndarray of int, shape (n,), optional
        Primary unit, numbered over all strata (0, 1, ...). Absent, each respondent is one.
    stratum : ndarray of int, shape (n,), optional
        Stratum (0, 1, ...), constant within a primary unit. Absent, there is one.
    lonely_psu : str
        What to do with strata that have a single primary unit: "error"; "adjust": their unit is centred at the mean
        over all primary units, which is conservative; "certainty": they add nothing, as units that were certain to be
        drawn; "average": they add the average of the other strata.
    later : sequence of ndarray of int, shape (n,)
        Units of the second and further stages, each nested in the stage before.
    populations : sequence of ndarray, shape (n,)
        Units in the population: primary units of the respondent's stratum, second-stage units of the respondent's
        primary unit, and so on. Stages beyond the last one given were drawn with replacement.

    Raises
    ------
    ValueError
        If a primary unit lies in two strata, if strata with a single primary unit are not allowed, or if a population
        is smaller than its sample.

    Examples
    --------
    >>> design = sample_design(4, psu=np.array([0, 0, 1, 2]))
    >>> design.n_units, design.df()
    (3, 2.0)
    """
    if lonely_psu not in LONELY_POLICIES:
        raise ValueError(f"lonely_psu is one of {', '.join(LONELY_POLICIES)}, not {lonely_psu!r}.")
    unit = np.arange(n) if psu is None else np.asarray(psu)
    strata = np.zeros(n, dtype=np.intp) if stratum is None else np.asarray(stratum)
    stages = make_stages(strata, (unit, *later), populations)
    design = SampleDesign(
        unit, stages[0].parent, stages[0].sizes, stages[0].fraction, lonely_psu, informative(stages)[1:]
    )
    alone = sum(int(stage.lonely.sum()) for stage in (design.first(), *design.later))
    if alone and lonely_psu == "error":
        where = f"{design.n_strata:,} strata have a single primary sampling unit"
        if not design.n_lonely:
            where = "the units of a stage have a single unit of the next one"
        raise ValueError(f"{design.n_lonely or alone:,} of {where}, which shows no variation.")
    if lonely_psu == "average" and any(stage.lonely.all() for stage in (design.first(), *design.later)):
        raise ValueError("Every stratum has a single primary sampling unit, so there is no other one to average over.")
    return design


def unit_influence(design: SampleDesign, values: FloatArray) -> FloatArray:
    """Return influence values by primary unit whose cross-product is the design-based covariance.

    With m units drawn of M in a stratum, the first stage adds (1 - m/M) m/(m - 1) sum (z - zbar)^2, and a later stage
    the same within each unit of the stage before, times the fractions m/M of the stages before it.

    Parameters
    ----------
    design : SampleDesign
        The whole design: respondents outside a domain stay in, with value zero.
    values : ndarray, shape (n,) or (n, terms)
        Linearised values by respondent, weights included.

    Returns
    -------
    ndarray, shape (units, terms)
        Unit totals, centred within strata and scaled; the units of later stages follow those of the first.

    References
    ----------
    Binder (1983), International Statistical Review 51. Wolter (2007), Introduction to Variance Estimation. Saerndal,
    Swensson and Wretman (1992), Model Assisted Survey Sampling, for several stages.

    Examples
    --------
    With one stratum and every respondent a unit this is the textbook variance of a mean:

    >>> y = np.array([1.0, 2.0, 4.0, 5.0])
    >>> influence = unit_influence(sample_design(4), (y - y.mean()) / 4)
    >>> bool(np.isclose((influence**2).sum(), y.var(ddof=1) / 4))
    True
    """
    columns = values[:, None] if values.ndim == 1 else values
    parts = []
    reach = np.ones(design.n_strata)
    for stage in (design.first(), *design.later):
        parts.append(stage.influence(columns, design.lonely_psu) * np.sqrt(reach)[stage.parent][:, None])
        reach = (reach * stage.fraction)[stage.parent]
    return np.vstack(parts)


@dataclass(frozen=True, eq=False, slots=True)
class Linearised:
    """A survey estimate with its linearised values.

    Attributes
    ----------
    value : float
        The estimate; NaN when its denominator is zero.
    row_values : ndarray, shape (n,)
        Linearised values by respondent, weights included; `unit_influence` turns them into a variance.
    """

    value: float
    row_values: FloatArray


def total(y: FloatArray, weights: FloatArray, member: BoolArray) -> Linearised:
    """Return the weighted total of `y` over members (y may be NaN elsewhere).

    Examples
    --------
    >>> total(np.array([1.0, 2.0]), np.array([10.0, 5.0]), np.array([True, True])).value
    20.0
    """
    z = np.where(member, weights * np.where(member, y, 0.0), 0.0)
    return Linearised(float(z.sum()), z)


def ratio(numerator: FloatArray, denominator: FloatArray, weights: FloatArray, member: BoolArray) -> Linearised:
    """Return the ratio of two weighted totals over members.

    Examples
    --------
    >>> everyone = np.array([True, True])
    >>> ratio(np.array([1.0, 2.0]), np.array([2.0, 4.0]), np.ones(2), everyone).value
    0.5
    """
    top, bottom = total(numerator, weights, member), total(denominator, weights, member)
    if bottom.value == 0.0:
        return Linearised(float("nan"), np.full(len(weights), np.nan))
    value = top.value / bottom.value
    return Linearised(value, (top.row_values - value * bottom.row_values) / bottom.value)


def mean(y: FloatArray, weights: FloatArray, member: BoolArray) -> Linearised:
    """Return the weighted mean of `y` over members: a prevalence, when y is 0 or 1.

    Examples
    --------
    >>> mean(np.array([1.0, 0.0, np.nan]), np.array([3.0, 1.0, 9.0]), np.array([True, True, False])).value
    0.75
    """
    return ratio(y, np.ones(len(weights)), weights, member)


def design_effect(variance: float, y: FloatArray, weights: FloatArray, member: BoolArray) -> float:
    """Return a mean's variance over that of a simple random sample with replacement of as many respondents.

    NaN when the outcome does not vary. Respondents of weight zero do not count.
    """
    used = member & (weights > 0)
    n = int(used.sum())
    if n < 2:
        return float("nan")
    w, x = weights[used], y[used]
    centre = float(w @ x) / float(w.sum())
    spread = float(w @ (x - centre) ** 2) / float(w.sum()) * n / (n - 1)
    return variance * n / spread if spread > 0 else float("nan")
