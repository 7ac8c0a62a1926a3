"""Effects along the dose as rows of `Estimates`, and what else can be read off them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gbveval.core.errors import DesignError
from gbveval.core.estimand import Estimand
from gbveval.core.estimates import Estimates
from gbveval.core.method import Cell, Check, Method
from gbveval.core.term import Term
from gbveval.data.panel import Panel
from gbveval.estimators.did._derived import averaged, pretested
from gbveval.estimators.did._dose_curve import DoseCurve
from gbveval.estimators.did._rollout import COHORTS, cohort_label, event_label, point, rollout_estimates
from gbveval.estimators.did._spatial import joint_covariance
from gbveval.numerics.dose_basis import SaturatedBasis
from gbveval.numerics.dose_left_out import wishart_df
from gbveval.numerics.dose_response import DoseCohort, DoseUnits, Share, dose_average
from gbveval.numerics.groups import group_sums
from gbveval.numerics.inference import f_upper, wald_joint

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.intp]
AVERAGES = ("level", "slope", "simple", "event_time", "event_time_slope", "pretest")
OVERALL = Estimand("ATT", "mean_difference", "treated")
LEVEL = Estimand("dose_ATT", "mean_difference", "treated")
SLOPE = Estimand("ACRT", "mean_difference_per_unit", "treated")
NOTHING_BEFORE = "no two periods before treatment that vary"
AFTER, BEFORE = "after treatment", "before treatment"


@dataclass(frozen=True, eq=False, slots=True)
class Reading:
    """Values read off averaged curves, and their influence by independent unit.

    Attributes
    ----------
    value : ndarray, shape (rows,)
    influence : ndarray, shape (independent units, rows)
    """

    value: FloatArray = field(repr=False)
    influence: FloatArray = field(repr=False)

    def take(self, rows: Sequence[int]) -> Reading:
        """Return some rows."""
        return Reading(self.value[list(rows)], self.influence[:, list(rows)])

    def beside(self, other: Reading) -> Reading:
        """Return these rows and then others of the same units."""
        return Reading(np.append(self.value, other.value), np.column_stack([self.influence, other.influence]))

    @property
    def covariance(self) -> FloatArray:
        """Joint covariance."""
        return np.asarray(self.influence.T @ self.influence)


@dataclass(frozen=True, slots=True)
class Pretest:
    """Test that the curve before treatment is zero at every dose.

    Attributes
    ----------
    reason : str
        Why there is none; empty where there is.
    f, df2, p_value : float
        Hotelling's T squared as an F statistic, its second degrees of freedom (the first are the coefficients), and p.
    """

    reason: str
    f: float = np.nan
    df2: float = np.nan
    p_value: float = np.nan


@dataclass(frozen=True, eq=False, slots=True)
class DoseFit:
    """What rows and averages are made of; in memory only.

    Attributes
    ----------
    data : Panel
    units : DoseUnits
    cohorts : tuple of DoseCohort
        Those with a period from treatment on.
    curve : DoseCurve
    whom : str
        Whom the treated are compared with.
    """

    data: Panel
    units: DoseUnits = field(repr=False)
    cohorts: tuple[DoseCohort, ...] = field(repr=False)
    curve: DoseCurve = field(repr=False)
    whom: str

    @property
    def n_clusters(self) -> int | None:
        """Clusters of the units that take part."""
        return None if self.units.cluster is None else int(np.unique(self.units.cluster).size)

    @property
    def sizes(self) -> dict[float, int]:
        """Independent units of every cohort: its clusters, where the panel has some."""
        return {each.group: self.independent(each.unit) for each in self.cohorts}

    def independent(self, unit: IntArray) -> int:
        """Return how many clusters some units are of; how many units, where they are independent."""
        return int(unit.size if self.units.cluster is None else np.unique(self.units.cluster[unit]).size)

    def after(self) -> tuple[Share, ...]:
        """Return what is averaged after treatment: every cohort with its periods, which count alike."""
        return tuple(Share(each, each.after) for each in self.cohorts)

    def before(self) -> tuple[Share, ...]:
        """Return the cohorts with two periods before treatment, and the change between the last two of them."""
        found = (Share(each, tuple(one for one in each.comparisons if one.last_before)) for each in self.cohorts)
        return tuple(share for share in found if share.comparisons)

    def every_period(self) -> tuple[Share, ...]:
        """Return what is averaged after treatment where every period of every cohort counts by the cohort's size."""
        return tuple(Share(each, each.after, float(len(each.after))) for each in self.cohorts)

    def by_event_time(self) -> dict[float, tuple[Share, ...]]:
        """Return what is averaged at every event time."""
        times = sorted({one.time - each.group for each in self.cohorts for one in each.comparisons})
        return {
            e: tuple(
                Share(each, at)
                for each in self.cohorts
                if (at := tuple(one for one in each.comparisons if one.time - each.group == e))
            )
            for e in times
        }

    def read(self, shares: Sequence[Share], rows: FloatArray | None = None) -> Reading:
        """Return mean level, mean slope and the rows asked for, with influence by independent unit."""
        wanted = np.zeros((0, self.curve.basis.size + 1)) if rows is None else rows
        found = dose_average(self.units, shares, wanted)
        influence = found.influence
        cluster = self.units.cluster
        if cluster is not None:
            count = int(cluster.max()) + 1
            influence = np.column_stack([group_sums(cluster, column, count) for column in influence.T])
        return Reading(found.value, influence)

    def least(self, estimand: Estimand) -> float:
        """Return the standard error below which there is only rounding."""
        of_outcome = 1e-13 * float(np.sqrt(np.mean(self.units.paths**2)))
        if estimand != SLOPE:
            return of_outcome
        doses = np.concatenate([each.dose for each in self.cohorts])
        return 10.0 * self.curve.basis.size * of_outcome / float(np.ptp(doses))

    def compared(self, shares: Sequence[Share]) -> int:
        """Return the fewest units that any of some comparisons is with."""
        return min(int(self.units.compared(one).sum()) for share in shares for one in share.comparisons)

    def pretest(self) -> Pretest:
        """Return the test that the curve before treatment is zero at every dose."""
        shares, size = self.before(), self.curve.basis.size
        if not shares:
            return Pretest(NOTHING_BEFORE)
        # Coefficients less the change of the untreated: all zero exactly where the curve is zero everywhere.
        found = self.read(shares, np.column_stack([np.eye(size), np.full(size, -1.0)])).take(range(2, size + 2))
        covariance = joint_covariance(self.data, found.covariance, found.influence)
        if float(np.sqrt(np.maximum(np.diag(covariance), 0.0)).min()) <= self.least(LEVEL):
            return Pretest(NOTHING_BEFORE)
        statistic, rank, _ = wald_joint(found.value, covariance)
        if rank < size:
            return Pretest("the covariance of the coefficients is singular")
        nu = wishart_df(found.influence, *self._groups())
        # Hotelling's T squared: the covariance of several coefficients comes from a few dozen units or clusters.
        df2 = nu - size + 1.0
        if df2 <= 0:
            return Pretest("there are too few units or clusters for a test of so many coefficients")
        f = statistic * df2 / (nu * size)
        return Pretest("", f, df2, f_upper(f, size, df2))

    def _groups(self) -> tuple[IntArray, FloatArray]:
        """Return the group of every independent unit (a cluster's is its earliest cohort), and degrees of freedom.

        Codes of clusters of which no unit takes part are a group without influence.
        """
        code, last = self.units.code, int(self.units.code.max())
        if self.units.cluster is not None:
            earliest = np.full(int(self.units.cluster.max()) + 1, last + 1, dtype=np.intp)
            np.minimum.at(earliest, self.units.cluster, code)
            code = earliest
        df = np.bincount(code, minlength=last + 2).astype(np.float64) - 1.0
        for each in self.cohorts:
            df[self.units.code[each.unit[0]]] = each.left_out.df
        return code, df


def dose_estimates(estimator: Any, fit: DoseFit, method: Method, checks: Sequence[Check]) -> Estimates:
    """Return the overall effect and slope, then levels and slopes by dose, then the levels before treatment."""
    grid, basis = fit.curve.grid, fit.curve.basis
    rows = np.vstack([basis.level(grid), basis.slope(grid)])
    found = fit.read(fit.after(), rows)
    steps = isinstance(basis, SaturatedBasis)
    specs = [("overall", OVERALL, None), ("overall slope", SLOPE, None)]
    called = fit.curve.labels()
    specs += [(f"dose {called[d]}", LEVEL, d) for d in grid]
    specs += [(f"slope {'up to' if steps else 'at'} dose {called[d]}", SLOPE, d) for d in grid]
    specs_before = [(f"{BEFORE}, dose {called[d]}", LEVEL, d) for d in grid] if fit.before() else []
    if specs_before:
        earlier = fit.read(fit.before(), basis.level(grid))
        found = found.beside(earlier.take(range(2, earlier.value.size)))
    errors = np.sqrt(np.maximum(np.diag(found.covariance), 0.0))
    terms = []
    for i, (name, estimand, dose) in enumerate((*specs, *specs_before)):
        when = BEFORE if i >= len(specs) else AFTER
        support = _support(fit, fit.before() if when == BEFORE else fit.after(), when)
        extra: tuple[tuple[str, float | str | None], ...] = ()
        if dose is not None:
            support = (*support, *_dose_support(fit, float(dose)))
            shape = "saturated" if steps else "spline"
            extra = (("dose", float(dose)), ("curve", shape), ("treated_by_then", "no" if when == BEFORE else "yes"))
        terms.append(_term(fit, name, estimand, (found.value[i], errors[i]), support, extra))
    return rollout_estimates(
        estimator,
        fit.data,
        terms,
        covariance=found.covariance,
        influence=found.influence,
        method=method,
        checks=checks,
        aggregator=DoseAverages(fit),
    )


def _term(
    fit: DoseFit,
    name: str,
    estimand: Estimand,
    numbers: tuple[float, float],
    support: tuple[Cell, ...],
    extra: tuple[tuple[str, float | str | None], ...] = (),
) -> Term:
    value, error = numbers
    return point(
        name,
        estimand,
        fit.data.outcome_name,
        (float(value), float(error) if error > fit.least(estimand) else np.nan),
        n_units=int(fit.units.code.size),
        n_clusters=fit.n_clusters,
        support=support,
        extra=extra,
    )


def _support(fit: DoseFit, shares: Sequence[Share], when: str) -> tuple[Cell, ...]:
    """Return the cohorts averaged, and the smallest group that they are compared with."""
    cohorts = (Cell(cohort_label(fit.data, s.cohort.group), int(s.cohort.unit.size), None, COHORTS) for s in shares)
    return (*cohorts, Cell("comparison", fit.compared(shares), None, f"comparison, doses {when} ({fit.whom})"))


def _dose_support(fit: DoseFit, dose: float) -> tuple[Cell, ...]:
    """Return how many got the dose; for a curve, how many lie on its thinner side: there it hangs on them alone."""
    doses, called = np.concatenate([each.dose for each in fit.cohorts]), fit.curve.labels()
    if isinstance(fit.curve.basis, SaturatedBasis):
        # A step rests on the dose below, too.
        levels = fit.curve.basis.doses
        place = int(np.searchsorted(levels, dose))
        near = levels[max(place - 1, 0) : place + 1]
        return tuple(Cell(f"dose {called[d]}", int((doses == d).sum()), None, "units by dose") for d in near)
    side = min(int((doses <= dose).sum()), int((doses >= dose).sum()))
    return (Cell(f"thinner side of dose {called[dose]}", side, None, f"units beside dose {called[dose]}"),)


@dataclass(frozen=True, eq=False, slots=True)
class DoseAverages:
    """Selects from the rows, and averages in other ways."""

    fit: DoseFit

    def aggregate(self, estimates: Estimates, by: str, options: Mapping[str, Any]) -> Estimates:
        """Return levels, slopes, averages over all doses, or the test of those before treatment."""
        if by not in AVERAGES:
            raise DesignError(f"Effects by dose are read as one of {', '.join(AVERAGES)}, not {by!r}.")
        if options:
            raise DesignError(f"Effects by dose take no option ({', '.join(sorted(options))}) in aggregate.")
        if by in ("level", "slope"):
            return self._curve(estimates, by)
        if by == "pretest":
            return self._pretest(estimates)
        if by == "simple":
            found = self.fit.read(self.fit.every_period()).take([0])
            return self._averages(estimates, by, found, [("overall", self.fit.after(), None)], OVERALL)
        slope = by == "event_time_slope"
        column = 1 if slope else 0
        parts = self.fit.by_event_time()
        found = self.fit.read(next(iter(parts.values()))).take([column])
        for shares in list(parts.values())[1:]:
            found = found.beside(self.fit.read(shares).take([column]))
        counted = np.array([e >= 0 for e in parts]) / sum(e >= 0 for e in parts)
        overall = Reading(np.array([found.value @ counted]), (found.influence @ counted)[:, None])
        named = [("overall", self.fit.after(), None), *((event_label(e), s, e) for e, s in parts.items())]
        return self._averages(estimates, by, overall.beside(found), named, SLOPE if slope else OVERALL)

    def _curve(self, estimates: Estimates, by: str) -> Estimates:
        """Return the overall row and one curve, so that a band is over that curve alone."""
        estimand = LEVEL if by == "level" else SLOPE
        rows = [i for i, row in enumerate(estimates.terms) if row.estimand == estimand and row.extra]
        rows = [i for i in rows if dict(estimates.terms[i].extra)["treated_by_then"] == "yes"]
        chosen = estimates.with_terms([0 if by == "level" else 1, *rows])
        return replace(chosen, terms=(replace(chosen.terms[0], term="overall"), *chosen.terms[1:]))

    def _averages(
        self,
        estimates: Estimates,
        by: str,
        found: Reading,
        named: Sequence[tuple[str, Sequence[Share], float | None]],
        estimand: Estimand,
    ) -> Estimates:
        fit = self.fit
        errors = np.sqrt(np.maximum(np.diag(found.covariance), 0.0))
        terms = []
        for i, (name, shares, e) in enumerate(named):
            extra = () if e is None else (("event_time", e), ("cells", float(len(shares))))
            support = _support(fit, shares, f"{by.replace('_', ' ')} {name}" if e is None else name)
            terms.append(_term(fit, name, estimand, (found.value[i], errors[i]), support, extra))
        words = f"averaged over doses, by {by.removesuffix('_slope').replace('_', ' ')}"
        return averaged(estimates, terms, found.covariance, found.influence, [words])

    def _pretest(self, estimates: Estimates) -> Estimates:
        test = self.fit.pretest()
        return pretested(
            estimates,
            "effects before treatment are zero at every dose",
            df=self.fit.curve.basis.size,
            statistic=test.f,
            df2=test.df2,
            p_value=test.p_value,
            reason=test.reason,
        )
