"""`CallawaySantAnna`: effects of a staggered rollout, cohort by cohort and period by period."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from gbveval.core.errors import DesignError, GbvevalError, IdentificationError
from gbveval.core.estimates import Estimates
from gbveval.core.method import Method
from gbveval.core.registry import register
from gbveval.data.panel import Panel
from gbveval.estimators.did._anticipation import no_earlier, refuse_idle_anticipation
from gbveval.estimators.did._group_time_arrays import (
    GroupTimeArrays,
    cross_section_rows,
    last_as_control,
    unit_paths,
)
from gbveval.estimators.did._group_time_checks import covariate_checks, group_time_checks, pretrend_check
from gbveval.estimators.did._group_time_errors import FromInfluence, FromJackknife, GroupTimeErrors
from gbveval.estimators.did._group_time_rows import (
    GroupTimeAverages,
    clusters_used,
    cohort_sizes,
    group_time_terms,
)
from gbveval.estimators.did._rollout import refuse_switching, rollout_estimates
from gbveval.numerics.group_time import group_time_panel
from gbveval.numerics.group_time_adjusted import (
    AdjustedFit,
    group_time_adjusted,
    group_time_adjusted_cross_section,
)
from gbveval.numerics.group_time_cells import GroupTimeFit
from gbveval.numerics.group_time_jackknife import leave_out_by_refit, leave_out_panel
from gbveval.numerics.group_time_rcs import group_time_cross_section

FloatArray = NDArray[np.float64]
CONTROLS: dict[str, Literal["never", "not_yet"]] = {
    "never_treated": "never",
    "not_yet_treated": "not_yet",
    "last_treated": "never",
}
METHODS = ("dr", "dr_improved", "ipw", "reg")
STD_ERRORS = ("influence", "jackknife")
# Leaving clusters out one by one is for few of them; influence functions are as good with many.
MOST_LEFT_OUT = 2000
COMPARISONS = {
    "never_treated": "units that are never treated",
    "not_yet_treated": "units never treated, and those treated later",
    "last_treated": "the last cohort while it is untreated",
}
WORDS = {
    "dr": "a logistic propensity and an outcome regression (doubly robust)",
    "dr_improved": "a calibrated propensity and a weighted outcome regression (doubly robust, improved)",
    "ipw": "inverse probability weights",
    "reg": "an outcome regression",
}


@register("callaway_santanna")
@dataclass(frozen=True, slots=True)
class CallawaySantAnna:
    """Group-time average effects on the treated, for staggered adoption.

    For each cohort (units first treated in the same period) and each period, compares the change of its mean outcome
    since the base period with the change of units that are not (yet) treated. No treated unit ever serves as a control.

    Parameters
    ----------
    control : str
        "not_yet_treated" (units never treated, and those treated later), "never_treated", or "last_treated": the last
        cohort, until it is treated, where nobody is never treated; later periods are then not used.
    base_period : str
        "varying": effects before treatment compare with the period just before; "universal": all with the last
        untreated period of the cohort.
    anticipation : float
        Time before treatment in which it may already act: years, quarters, ... where periods are dates.
    unbalanced : str
        What to do with units without an outcome in every period: "error"; "drop", which counts them; or
        "as_cross_sections", which keeps every row and compares means of different units, with errors by unit.
    method : str
        How covariates of the panel are adjusted for: "dr" (doubly robust: logistic propensity and outcome regression),
        "dr_improved" (calibrated propensity, weighted regression), "ipw", or "reg" (outcome regression alone).
    std_error : str
        "influence", by unit or by the panel's clusters in one way or two; or "jackknife", for few clusters: everything
        estimated again without each cluster, and t with clusters minus one degrees of freedom.

    Notes
    -----
    **Identifies** the average effect on the treated of each cohort in each period, if untreated outcomes of treated and
    comparison units would have changed in parallel (given the covariates, where the panel has some), and treatment is
    not anticipated (beyond `anticipation`). Doubly robust: right if either the propensity or the regression is.

    Covariates that change over time enter with their value in the earlier of the two periods compared; what treatment
    itself may change does not belong among them. Comparison units whose propensity is .995 or more get no weight, and
    are counted. For doubly robust repeated cross-sections R's DRDID 1.2.3 leaves a part of the first steps out of its
    standard errors (up to one percent off); these are the exact linearisation.

    **Valid when** there are many units (clusters) in each cohort: standard errors come from influence functions,
    without a small-sample factor. With few clusters (say fewer than 40) say `std_error="jackknife"`, which is cautious
    and needs two clusters or more in every cohort; its test of effects before treatment is Hotelling's. In two ways the
    covariance is V_a + V_b - V_ab (Cameron, Gelbach and Miller); both must be constant within units. **Do not use
    when** one or a few units are treated.

    `aggregate("simple" | "event_time" | "cohort" | "calendar")` averages the cells with cohort shares, whose
    estimation is part of the standard error; the row "overall" comes first. `aggregate("pretest")` is the Wald test
    that all effects before treatment are zero, but those in which it may be anticipated. `with_band()` then gives a
    uniform band. "Post-treatment" is period >= cohort, also with anticipation.

    References
    ----------
    Callaway and Sant'Anna (2021), Journal of Econometrics 225(2), 200-230. Hansen (2022), Jackknife standard errors for
    clustered regression. Cameron, Gelbach and Miller (2011), Journal of Business and Economic Statistics 29(2).

    Examples
    --------
    >>> import numpy as np
    >>> from gbveval.datasets.pilot import PilotRollout
    >>> panel = PilotRollout().draw(np.random.default_rng(2))
    >>> effects = CallawaySantAnna().estimate(panel)
    >>> study = effects.aggregate("event_time")
    >>> study.terms[0].term
    'overall'
    """

    control: str = "not_yet_treated"
    base_period: str = "varying"
    anticipation: float = 0.0
    unbalanced: str = "error"
    method: str = "dr"
    std_error: str = "influence"
    name: ClassVar[str] = "callaway_santanna"

    def __post_init__(self) -> None:
        for option, known in (
            ("control", tuple(CONTROLS)),
            ("base_period", ("varying", "universal")),
            ("unbalanced", ("error", "drop", "as_cross_sections")),
            ("method", METHODS),
            ("std_error", STD_ERRORS),
        ):
            if getattr(self, option) not in known:
                raise DesignError(f"{option} must be one of {', '.join(known)}, not {getattr(self, option)!r}.")
        if not 0 <= self.anticipation < np.inf:
            raise DesignError("anticipation is a length of time, zero or more.")

    def estimate(self, data: Panel, *, rng: np.random.Generator | None = None) -> Estimates:
        """Return one row a cohort and period.

        Parameters
        ----------
        data : Panel
            A panel, or repeated cross-sections.
        rng : numpy.random.Generator, optional
            Ignored: nothing is random.

        Raises
        ------
        DesignError
            If the panel is unbalanced and `unbalanced="error"`, or weights vary within a unit.
        IdentificationError
            If nobody is left to compare with, or no cohort can be seen before and after.
        """
        refuse_switching("CallawaySantAnna", data)
        refuse_idle_anticipation(data, self.anticipation)
        keep_rows = data.unit is None or (self.unbalanced == "as_cross_sections" and not data.is_balanced)
        used = (
            cross_section_rows(data)
            if keep_rows
            else unit_paths("CallawaySantAnna", data, self.unbalanced, sections=True)
        )
        if self.control == "last_treated":
            used = last_as_control(used, float(self.anticipation))
        if used.ever_treated.any():
            used.refuse_few_treated(used.ever_treated)
        found = self._fit(used)
        fit = found.fit
        sizes = cohort_sizes(data, fit, followed=used.followed)
        kind = self._errors(data, used, fit)
        errors = kind.of_cells(fit)
        n_clusters = clusters_used(fit, used.ways) if used.ways else None
        rows = group_time_terms(data, fit, errors, n_clusters, sizes, followed=used.followed, whom=compared_with(self))
        result = rollout_estimates(
            self,
            data,
            rows,
            covariance=errors.covariance,
            influence=errors.influence,
            method=_method(self, data, used, fit),
            checks=(*group_time_checks(data, used, fit, sizes, errors), *covariate_checks(found)),
            aggregator=GroupTimeAverages(data, fit, kind, sizes),
        )
        tested = result.aggregate("pretest")[0]
        return replace(result, checks=(*result.checks, pretrend_check(tested)))

    def _errors(self, data: Panel, used: GroupTimeArrays, fit: GroupTimeFit) -> GroupTimeErrors:
        """Return how exact the effects are."""
        if self.std_error == "influence":
            return FromInfluence(data, used.ways)
        if used.second is not None:
            raise DesignError("The jackknife leaves out clusters of one way. Give one cluster column, or 'influence'.")
        cluster = np.arange(used.cohort.size) if used.cluster is None else used.cluster
        count = clusters_used(fit, (cluster,))
        if count > MOST_LEFT_OUT:
            raise DesignError(
                f"The jackknife would estimate {count:,} times, without each unit or cluster; it is for few (at most "
                f"{MOST_LEFT_OUT:,}). With so many, std_error='influence' is as good; or name the clusters that units "
                "share."
            )
        if used.paths is not None and used.covariates is None:
            options = self._options(used)
            return FromJackknife(leave_out_panel(used.paths, used.cohort, cluster, periods=used.periods, **options))

        def refit(keep: NDArray[np.bool_]) -> GroupTimeFit | None:
            some = used.take(keep)
            try:
                return _fitted(some, self._options(some), self.method).fit
            except (ValueError, GbvevalError):
                return None

        return FromJackknife(leave_out_by_refit(fit, cluster, refit))

    def _options(self, used: GroupTimeArrays) -> dict[str, Any]:
        return {
            "control_group": CONTROLS[self.control],
            "base_period": self.base_period,
            "anticipation": float(self.anticipation),
            "weights": used.weight,
        }

    def _fit(self, used: GroupTimeArrays) -> AdjustedFit:
        try:
            found = _fitted(used, self._options(used), self.method)
        except ValueError as error:
            raise IdentificationError(str(error)) from error
        if not np.isfinite(found.fit.att).any():
            why = next((reason for reason in found.fit.reason if "covariates" in reason), "")
            raise IdentificationError(
                f"No effect is defined: {why}. Use fewer covariates, or method='reg'."
                if why
                else "No cohort is observed before and after its treatment began beside units that are not treated; "
                "group-time effects need both. Use a longer panel, or another control group."
            )
        return found


def compared_with(estimator: CallawaySantAnna) -> str:
    """Say whom the treated are compared with, and since when."""
    return f"{COMPARISONS[estimator.control]}, {estimator.base_period} base period"


def _fitted(used: GroupTimeArrays, options: dict[str, Any], method: str) -> AdjustedFit:
    if used.paths is not None:
        if used.covariates is None:
            return AdjustedFit(group_time_panel(used.paths, used.cohort, periods=used.periods, **options), 0, 0)
        return group_time_adjusted(
            used.paths, used.cohort, used.covariates, periods=used.periods, method=method, **options
        )
    assert used.outcome is not None
    assert used.time is not None
    if used.covariates is None:
        return AdjustedFit(group_time_cross_section(used.outcome, used.time, used.cohort, **options), 0, 0)
    return group_time_adjusted_cross_section(
        used.outcome, used.time, used.cohort, used.covariates, method=method, **options
    )


def _method(estimator: CallawaySantAnna, data: Panel, used: GroupTimeArrays, fit: GroupTimeFit) -> Method:
    what = "units" if used.followed else "rows of repeated cross-sections"
    sample = f"{fit.n_units:,} {what} in {fit.periods.size} periods"
    if used.n_left_out:
        missing = "an outcome missing in some period" if used.followed else "no outcome"
        sample += f"; {used.n_left_out:,} with {missing} are left out"
    if used.n_weightless:
        sample += f"; {used.n_weightless:,} of weight zero are left out"
    if fit.n_already_treated:
        sample += (
            f"; {fit.n_already_treated:,} treated in (or anticipating treatment from) the first period are left out"
        )
    level = "the unit" if not used.ways and data.unit is not None else data.cluster_name
    jackknife = estimator.std_error == "jackknife"
    base = "the period before" if estimator.base_period == "varying" else "the last untreated period"
    given = f" among those alike in {', '.join(data.covariate_names)}" if data.covariate_names else ""
    adjusted = f"; covariates by {WORDS[estimator.method]}" if data.covariate_names else ""
    return Method(
        sample=sample + adjusted,
        std_error=f"jackknife that leaves out each {level}"
        if jackknife
        else f"influence functions, clustered by {level}",
        small_sample="(G - 1) / G" if jackknife else "none",
        reference="t with clusters minus one degrees of freedom" if jackknife else "normal",
        inference_for="a superpopulation of units",
        assumptions=(
            f"untreated outcomes of treated and {estimator.control.replace('_', ' ')} units would have changed in "
            f"parallel{given}",
            no_earlier(data, estimator.anticipation),
            f"before treatment, changes are from {base}",
            "one unit's treatment does not change another's outcome",
        ),
        source="Callaway and Sant'Anna 2021",
        comparison=compared_with(estimator),
    )
