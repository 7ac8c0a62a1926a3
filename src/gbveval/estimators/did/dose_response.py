"""`DoseResponse`: effects of a rollout by how much treatment units got, and what one more unit of it does."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from gbveval.core.errors import DesignError, IdentificationError
from gbveval.core.estimates import Estimates
from gbveval.core.method import Check, Method
from gbveval.core.registry import register
from gbveval.data._frame import plural
from gbveval.data.panel import Panel
from gbveval.estimators.did._dose_curve import DoseCurve, independent_by_piece, saturated_curve, spline_curve
from gbveval.estimators.did._dose_rows import DoseFit, dose_estimates
from gbveval.estimators.did._group_time_arrays import GroupTimeArrays, unit_paths, used_units
from gbveval.estimators.did._rollout import SMALL_COHORT, refuse_cross_sections, refuse_switching
from gbveval.estimators.did.callaway_santanna import COMPARISONS, CONTROLS
from gbveval.numerics.dose_response import DoseUnits, dose_cohorts
from gbveval.numerics.group_time_cells import Cohorts, list_cells, sort_cohorts

FloatArray = NDArray[np.float64]
# With 12 treated clusters normal intervals of a quadratic at the 95 % level hold 93 % (measured by `make rollouts`).
FEW_TREATED = 20
CURVES = ("spline", "saturated")
CHOICES = (("curve", CURVES), ("control", ("not_yet_treated", "never_treated")), ("unbalanced", ("error", "drop")))


@register("dose_response")
@dataclass(frozen=True, slots=True)
class DoseResponse:
    """Effects on the treated by dose, and their slope, in staggered rollouts in which units get different amounts.

    Parameters
    ----------
    curve : str
        "spline": a smooth curve along the dose. "saturated": one level for each dose, where a few doses were given.
    degree : int
        Of the splines, 1 or more; 1 without knots is a straight line, 3 a cubic.
    knots : int
        Interior knots of the splines, at quantiles of the doses given.
    doses : tuple of float
        Doses at which the curve is shown. By default round numbers (splines) or all doses (saturated).
    control : str
        "not_yet_treated" (units never treated, and those treated later, whatever their dose) or "never_treated".
    unbalanced : str
        What to do with units without an outcome in every period: "error", or "drop", which counts them.

    Notes
    -----
    The panel declares `dose`: how much a unit gets from its first treated period on. For each cohort and period the
    changes of treated units since the last period before treatment are regressed on a basis in the dose; the level at a
    dose is what the regression says there, less the mean change of the units compared with. Periods of a cohort count
    alike; cohorts count by their size, the same at every dose.

    **Identifies** two things under two assumptions. *Levels*, ATT(d|d): the effect of dose d on those who got dose d,
    if units at every dose would, untreated, have changed like the untreated. *Slopes*, ACRT(d): what one more unit of
    dose does, only under *strong* parallel trends besides: at the same dose, those who got other doses would have had
    the same average effect. Without it a slope, and any difference between two doses, mixes what the dose does with who
    got it: places that expected more from the intervention may have taken more of it. No data can show strong parallel
    trends; the rows before treatment probe the plain ones. "overall" is the average over the doses given, each cohort's
    periods alike; it equals that of `CallawaySantAnna` in `aggregate("cohort")` and needs plain parallel trends only.
    With "saturated", slopes are the steps between neighbouring doses over their distance, the first from no treatment.

    **Variance** from influence functions, clustered: the untreated, the regression, the doses and the shares of cohorts
    are all estimated. At given doses the influence on the regression is its change without a unit, or without a cluster
    where the panel declares some (HC3 and its analogue for clusters); overall rows have no small-sample factor. The
    test before treatment is Hotelling's, with degrees of freedom by leverage. The form of the curve is taken as given,
    knots included: how far the true curve is from a cubic is in no standard error.

    With ten clusters at each dose, or 24 and 30 clusters for a cubic, intervals hold the truth about as often as they
    say; with two at each dose they do not (measured in the documentation, "Which rollout estimator fails where").

    Every cohort needs two clusters at every dose ("saturated"), and a curve that is determined without any one cluster.

    `aggregate("level")` and `aggregate("slope")` are the overall value and one curve, for `with_band()` and `plot()`;
    "event_time" and "event_time_slope" average over doses by time since treatment; "simple" lets every treated period
    count by its units; "pretest" tests that the curve before treatment is zero at every dose.

    **Do not use when** the amount changes over time (`ChaisemartinDHaultfoeuille`), nobody is untreated, or a cohort
    has few units (clusters): each cohort has a regression of its own. A dose that is shown was chosen by the analyst or
    is a round number; with "saturated" it is one that was given, so group rare doses beforehand.

    References
    ----------
    Callaway, Goodman-Bacon and Sant'Anna (2024), Difference-in-differences with a continuous treatment, NBER working
    paper 32117.

    Examples
    --------
    >>> rng = np.random.default_rng(1)
    >>> hours = np.where(np.arange(60) < 40, rng.uniform(1.0, 9.0, 60), 0.0)
    >>> gain = rng.normal(1.0 + 0.5 * hours, 0.1)
    >>> frame = {
    ...     "y": np.column_stack([np.zeros(60), gain]).ravel(),
    ...     "school": np.repeat(np.arange(60), 2),
    ...     "year": np.tile([1, 2], 60),
    ...     "since": np.repeat(np.where(hours > 0, 2.0, np.inf), 2),
    ...     "hours": np.repeat(hours, 2),
    ... }
    >>> panel = Panel(frame, outcome="y", unit="school", time="year", cohort="since", dose="hours")
    >>> found = DoseResponse(degree=1, doses=(2.0, 6.0)).estimate(panel)
    >>> [(row.term, round(row.value, 1)) for row in found.terms[2:5]]
    [('dose 2', 1.0), ('dose 6', 3.0), ('slope at dose 2', 0.5)]
    """

    curve: str = "spline"
    degree: int = 3
    knots: int = 0
    doses: tuple[float, ...] = ()
    control: str = "not_yet_treated"
    unbalanced: str = "error"
    name: ClassVar[str] = "dose_response"

    def __post_init__(self) -> None:
        for option, known in CHOICES:
            if getattr(self, option) not in known:
                raise DesignError(f"{option} must be one of {', '.join(known)}, not {getattr(self, option)!r}.")
        if self.degree < 1 or self.knots < 0:
            raise DesignError(
                "degree is 1 or more, so that there is a slope; knots is a number of knots, zero or more."
            )
        object.__setattr__(self, "doses", tuple(float(d) for d in self.doses))
        if len(set(self.doses)) < len(self.doses) or not all(0 < d < np.inf for d in self.doses):
            raise DesignError("doses are different finite numbers above zero.")

    def estimate(self, data: Panel, *, rng: np.random.Generator | None = None) -> Estimates:
        """Return the overall effect and slope, levels and slopes by dose, and the levels before treatment.

        Parameters
        ----------
        data : Panel
            A panel of units with `dose`.
        rng : numpy.random.Generator, optional
            Ignored: nothing is random.

        Raises
        ------
        DesignError
            If the panel declares no `dose`, has covariates or exposure, is repeated cross-sections, treatment ends, or
            `treatment` holds amounts other than the dose.
        IdentificationError
            If nobody is untreated, one unit (cluster) is treated, or the doses cannot carry the curve.
        """
        _refuse_roles(data)
        used = unit_paths("DoseResponse", data, self.unbalanced)
        _refuse_no_untreated(used, self.control)
        used.refuse_few_treated(used.ever_treated)
        fit = self._fit(data, used)
        return dose_estimates(self, fit, _method(self, data, used, fit), _checks(data, used, fit))

    def _fit(self, data: Panel, used: GroupTimeArrays) -> DoseFit:
        assert data.dose is not None
        assert used.paths is not None
        control = CONTROLS[self.control]
        try:
            cohorts = sort_cohorts(used.cohort, used.periods, control, 0.0)
        except ValueError as error:
            raise IdentificationError(f"{error} A longer panel, or another control group, is needed.") from error
        row, weight = cohorts.row, np.ones(used.cohort.size) if used.weight is None else used.weight
        # A unit's level cancels in changes; without it they carry no rounding of large numbers.
        paths = used.paths[row, : cohorts.periods.size] - used.paths[row, :1]
        dose = np.asarray(data.of_unit(data.dose), dtype=np.float64)[used_units(data)][row]
        cluster = None if used.cluster is None else used.cluster[row]
        units = DoseUnits(paths, dose, weight[row], cohorts.code, cluster)
        curve = self._curve(units, cohorts)
        try:
            found = dose_cohorts(units, curve.basis, (cohorts, list_cells(cohorts, control, "varying", 0.0)))
        except ValueError as error:
            raise IdentificationError(
                f"{error}. Use a lower degree or fewer knots, or leave those cohorts out and say so."
            ) from error
        if unseen := sum(not each.after for each in found):
            raise IdentificationError(
                f"{plural(unseen, 'cohort')} not observed from treatment on, while others are untreated. Leave them "
                "out, and say so."
            )
        return DoseFit(data, units, found, curve, COMPARISONS[self.control])

    def _curve(self, units: DoseUnits, cohorts: Cohorts) -> DoseCurve:
        of_cohort = [units.code == code for code in np.flatnonzero(np.isfinite(cohorts.level))]
        treated = [units.dose[own] for own in of_cohort]
        given = np.concatenate(treated)
        without = int((given <= 0).sum())
        if without:
            raise DesignError(
                f"{plural(without, 'treated unit')} without a dose; every treated unit needs one. Give the dose "
                "from the first treated period on."
            )
        if np.ptp(given) == 0:
            raise IdentificationError(
                "Every treated unit got the same dose, so there is nothing to learn about other doses. Use "
                "CallawaySantAnna."
            )
        if self.curve == "saturated":
            clusters = None if units.cluster is None else [units.cluster[own] for own in of_cohort]
            return saturated_curve(treated, clusters, self.doses)
        return spline_curve(treated, self.degree, self.knots, self.doses)


def _refuse_roles(data: Panel) -> None:
    if data.dose is None:
        raise DesignError(
            "DoseResponse needs the amount that each treated unit got: declare dose in the Panel. Without amounts use "
            "CallawaySantAnna."
        )
    refuse_cross_sections("DoseResponse", data)
    refuse_switching("DoseResponse", data)
    if data.second_cluster is not None:
        raise DesignError("DoseResponse clusters in one way. Give the coarser of the two cluster columns.")
    if data.covariate_names:
        raise DesignError(
            "DoseResponse takes no covariates. Leave the role out, or use CallawaySantAnna without doses."
        )
    if data.exposure is not None:
        raise DesignError(
            "DoseResponse compares changes of the outcome as it is, and does not divide by exposure. Make the outcome "
            "a rate (counts over exposure), and leave the role out; weight says how much a unit counts."
        )
    _refuse_other_amounts(data)


def _refuse_other_amounts(data: Panel) -> None:
    """Raise where the treatment in force is an amount, and not the dose in every treated row."""
    if data.treatment is None or data.dose is None:
        return
    known = ~np.isnan(data.treatment)
    if np.isin(data.treatment[known], (0.0, 1.0)).all():
        return
    other = int((data.treated & known & ~np.isclose(data.treatment, data.dose, rtol=1e-9, atol=0.0)).sum())
    if other:
        raise DesignError(
            f"treatment holds amounts, and in {plural(other, 'treated row')} another than dose, which is what a unit "
            "gets in all its treated periods. Make treatment 0 or 1, or leave it out and give cohort; for amounts that "
            "change over time use ChaisemartinDHaultfoeuille."
        )


def _refuse_no_untreated(used: GroupTimeArrays, control: str) -> None:
    """Raise where doses could be compared with other doses only."""
    later = used.cohort[used.cohort > used.periods[0]]
    never = bool((later > used.periods[-1]).any())
    if never or (control == "not_yet_treated" and np.unique(later).size > 1):
        return
    raise IdentificationError(
        "Nobody is untreated beside the treated, so that doses could only be compared with other doses, and no level "
        "is identified. Add units that are not treated (or not yet). If the lowest dose is next to nothing, set "
        "the cohort and dose of its units to missing: effects are then those beyond that dose, under strong parallel "
        "trends."
    )


def _method(estimator: DoseResponse, data: Panel, used: GroupTimeArrays, fit: DoseFit) -> Method:
    sample = f"{plural(fit.units.code.size, 'unit')} in {plural(fit.units.paths.shape[1], 'period')}"
    if used.n_left_out:
        sample += f"; {used.n_left_out:,} with an outcome missing in some period are left out"
    if used.n_weightless:
        sample += f"; {used.n_weightless:,} of weight zero are left out"
    given: tuple[str, ...] = ()
    if estimator.curve == "spline":
        form = f"B-splines of degree {estimator.degree} with {plural(estimator.knots, 'interior knot')}"
        given = ("the curve along the dose has the form that is fitted",)
    else:
        form = f"one level for each of {fit.curve.basis.size} doses"
    return Method(
        sample=f"{sample}; {form}, each cohort its own, cohorts weighted alike at every dose",
        std_error=f"influence functions, clustered by {data.cluster_name}",
        small_sample=_small_sample(fit),
        reference="normal",
        inference_for="a superpopulation of units",
        assumptions=(
            "untreated outcomes of units at every dose would have changed like those compared with (parallel trends)",
            "treatment does not act before it begins",
            "one unit's treatment does not change another's outcome",
            "a level at a dose is the effect on those who got that dose",
            "slopes and differences between doses are effects of the dose only under strong parallel trends: at the "
            "same dose, those who got other doses would have had the same average effect",
            *given,
        ),
        source="Callaway, Goodman-Bacon and Sant'Anna 2024",
        comparison=f"{fit.whom}, last period before treatment",
    )


def _small_sample(fit: DoseFit) -> str:
    one, name = ("unit", "HC3") if fit.n_clusters is None else ("cluster", "the analogue of HC3 for clusters")
    return (
        f"at given doses, changes of the regression without each {one} ({name}); else none. The test before treatment "
        "is Hotelling's, with degrees of freedom by leverage"
    )


def _checks(data: Panel, used: GroupTimeArrays, fit: DoseFit) -> tuple[Check, ...]:
    found = []
    if used.n_left_out:
        found.append(Check("balance", "warn", f"{used.n_left_out:,} units were left out for missing outcomes."))
    early = int((used.cohort <= used.periods[0]).sum())
    if early:
        found.append(Check("already treated", "info", f"{early:,} units treated from the first period on left out."))
    if fit.units.paths.shape[1] < used.periods.size:
        text = (
            "nobody is never treated: the last cohort serves as control until it is treated; later periods are unused."
        )
        found.append(Check("never treated", "info", text))
    found += [*_size_checks(data, fit), _pretrends(fit)]
    text = (
        "slopes and comparisons between doses rest on strong parallel trends, which no data can show: ask who got "
        "more, and whether for what they expected of it."
    )
    found.append(Check("strong parallel trends", "info", text))
    return tuple(found)


def _size_checks(data: Panel, fit: DoseFit) -> list[Check]:
    found = []
    what = "unit" if fit.n_clusters is None else "cluster"
    small = [f"{data.calendar.name(g)} ({n})" for g, n in fit.sizes.items() if n < SMALL_COHORT]
    if small:
        text = (
            f"cohorts with few {what}s (size): {', '.join(small)}; their own standard errors are not to be relied on."
        )
        public = f"some cohorts have few {what}s; their own standard errors are not to be relied on."
        found.append(Check("small cohorts", "warn", text, public))
    fewest = _fewest(fit)
    if fewest < SMALL_COHORT:
        text = f"some cohort has {plural(fewest, what)} in a part of the doses; the curve there hangs on them."
        public = f"some cohort has few {what}s in a part of the doses; the curve there hangs on them."
        found.append(Check("few at a dose", "warn", text, public))
    independent, least = fit.n_clusters or fit.units.code.size, min(fit.sizes.values())
    if independent < 40 or least < FEW_TREATED:
        text = (
            f"{independent} independent units or clusters, {least} of them in the smallest cohort; normal intervals "
            f"need more (about 40, and {FEW_TREATED} in each cohort)."
        )
        public = "few independent units or clusters, overall or in some cohort; normal intervals need more."
        found.append(Check("few clusters", "warn", text, public))
    return found


def _fewest(fit: DoseFit) -> int:
    """Return the units (clusters) in the piece of the curve that has the fewest of a cohort; a piece may have none."""
    basis, cluster = fit.curve.basis, fit.units.cluster
    pieces = max(int(basis.interval(each.dose).max()) for each in fit.cohorts) + 1
    clusters = None if cluster is None else [cluster[each.unit] for each in fit.cohorts]
    return int(independent_by_piece(basis, pieces, [each.dose for each in fit.cohorts], clusters).min())


def _pretrends(fit: DoseFit) -> Check:
    test = fit.pretest()
    if test.reason:
        return Check("pre-trends", "info", "no test that the curve before treatment is zero could be made.")
    text = (
        f"Hotelling's test that the curve before treatment is zero at every dose: F {test.f:.2f} on "
        f"{fit.curve.basis.size} and {test.df2:.1f} df, p = {test.p_value:.3f}. "
        "Passing it does not show parallel trends, and says nothing of strong ones."
    )
    public = "a test of the curve before treatment was made; `aggregate('pretest')` gives it."
    return Check("pre-trends", "warn" if test.p_value < 0.05 else "info", text, public)
