"""`DoublyRobust`: one cohort, two periods, and parallel trends among those alike in covariates."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from gbveval.core.errors import DesignError, IdentificationError
from gbveval.core.estimand import Estimand
from gbveval.core.estimates import Estimates
from gbveval.core.method import Cell, Check, Method
from gbveval.core.registry import register
from gbveval.data.panel import Panel
from gbveval.estimators.did._group_time_arrays import GroupTimeArrays, cross_section_rows, unit_paths
from gbveval.estimators.did._rollout import FLAT, NEGATIVE, cohort_label, point, refuse_switching, rollout_estimates
from gbveval.estimators.did._rollout_checks import two_way_checks
from gbveval.numerics.doubly_robust import METHODS, AdjustedEffect, adjusted_change, adjusted_cross_sections
from gbveval.numerics.least_squares import make_basis
from gbveval.numerics.two_ways import clustered

FloatArray = NDArray[np.float64]
WORDS = {
    "dr_improved": "doubly robust: calibrated propensity, weighted outcome regression",
    "dr": "doubly robust: logistic propensity, outcome regression",
    "ipw": "inverse probability weights, normalised",
    "ipw_unnormalised": "inverse probability weights, not normalised",
    "reg": "outcome regression among those never treated",
}


@register("doubly_robust")
@dataclass(frozen=True, slots=True)
class DoublyRobust:
    """Effect on the treated from two periods, when untreated outcomes change in parallel given covariates.

    Parameters
    ----------
    method : str
        "dr_improved" (calibrated propensity and weighted regression: doubly robust in its standard error too), "dr"
        (logistic propensity and least squares), "ipw" (weights normalised), "ipw_unnormalised" (Abadie 2005), "reg"
        (outcome regression).
    efficient : bool
        For doubly robust repeated cross-sections: also regress among the treated, which is locally efficient; False
        leaves that out.
    unbalanced : str
        As in `CallawaySantAnna`: "error", "drop" or "as_cross_sections".

    Notes
    -----
    **Identifies** the average effect on the treated if, among those alike in the covariates, untreated outcomes of the
    treated and the never treated would have changed in parallel, everybody could have been untreated (overlap), and
    nothing was anticipated. Doubly robust: right if either the propensity or the outcome regression is. With repeated
    cross-sections the composition of both groups must not change either.

    Covariates enter with their value in the earlier period (panels) or in the row (cross-sections). Units never treated
    whose propensity is .995 or more get no weight, and are counted.

    **Variance** from influence functions that hold all first steps; no small-sample factor, normal reference. For
    doubly robust repeated cross-sections R's DRDID 1.2.3 leaves out a part of the first steps: against the derivative
    in the weights its errors are up to 1 % off, and these are not.

    **Do not use when** there are several cohorts or periods (`CallawaySantAnna` with covariates), few treated units, or
    covariates that treatment may have changed.

    References
    ----------
    Sant'Anna and Zhao (2020), Journal of Econometrics 219(1), 101-122. Heckman, Ichimura and Todd (1997), Review of
    Economic Studies 64. Abadie (2005), Review of Economic Studies 72. Graham, Pinto and Egel (2012), Review of Economic
    Studies 79.

    Examples
    --------
    >>> import numpy as np
    >>> rng = np.random.default_rng(1)
    >>> x = np.repeat(rng.normal(size=200), 2)
    >>> treated = np.repeat(rng.random(200) < 0.5, 2)
    >>> after = np.tile([0.0, 1.0], 200)
    >>> frame = {
    ...     "y": x + after * (0.5 * x + 1.0 + treated) + rng.normal(size=400),
    ...     "person": np.repeat(np.arange(200), 2),
    ...     "year": 2020 + after,
    ...     "since": np.where(treated, 2021.0, np.nan),
    ...     "age": x,
    ... }
    >>> panel = Panel(frame, outcome="y", unit="person", time="year", cohort="since", covariates=["age"])
    >>> row = DoublyRobust().estimate(panel)[0]
    >>> abs(row.value - 1.0) < 3 * row.std_error
    True
    """

    method: str = "dr_improved"
    efficient: bool = True
    unbalanced: str = "error"
    name: ClassVar[str] = "doubly_robust"

    def __post_init__(self) -> None:
        for option, known in (("method", METHODS), ("unbalanced", ("error", "drop", "as_cross_sections"))):
            if getattr(self, option) not in known:
                raise DesignError(f"{option} must be one of {', '.join(known)}, not {getattr(self, option)!r}.")

    def estimate(self, data: Panel, *, rng: np.random.Generator | None = None) -> Estimates:
        """Return the average effect on the treated.

        Parameters
        ----------
        data : Panel
            Two periods, one cohort treated in the second, and units that are never treated.
        rng : numpy.random.Generator, optional
            Ignored: nothing is random.

        Raises
        ------
        DesignError
            If there are other periods or cohorts, units are incomplete, or weights vary within a unit.
        IdentificationError
            If a group is empty, or the covariates tell the groups apart.
        """
        refuse_switching("DoublyRobust", data)
        rows_kept = data.unit is None or (self.unbalanced == "as_cross_sections" and not data.is_balanced)
        used = (
            cross_section_rows(data) if rows_kept else unit_paths("DoublyRobust", data, self.unbalanced, sections=True)
        )
        cohort = _one_cohort(used)
        treated = np.isfinite(used.cohort)
        used.refuse_few_treated(treated)
        found, names_lost = self._effect(used, data.covariate_names)
        if found.reason:
            raise IdentificationError(f"No effect is defined: {found.reason}. Use fewer covariates, or method='reg'.")
        errors = clustered(found.influence[:, :1], used.ways)
        variance = float(errors.covariance[0, 0])
        y = used.outcome if used.paths is None else used.paths
        assert y is not None
        flat = variance <= (1e-13 * float(np.sqrt(np.mean(y**2)))) ** 2
        row = point(
            "treated vs untreated",
            Estimand("ATT", "mean_difference", "treated"),
            data.outcome_name,
            (float(found.att[0]), np.nan if flat else float(np.sqrt(variance))),
            NEGATIVE if errors.repaired else FLAT,
            n_units=int(treated.size),
            n_clusters=used.n_clusters,
            support=_support(data, used, cohort),
        )
        return rollout_estimates(
            self,
            data,
            [row],
            covariance=errors.covariance,
            influence=errors.influence,
            method=_method(self, data, used),
            checks=(*_checks(used, found, names_lost), *two_way_checks(errors.repaired)),
        )

    def _effect(self, used: GroupTimeArrays, names: tuple[str, ...]) -> tuple[AdjustedEffect, list[str]]:
        treated = np.isfinite(used.cohort)
        weight = np.ones(treated.size) if used.weight is None else used.weight
        x = np.zeros((treated.size, 0)) if used.covariates is None else used.covariates
        x = x[:, 0] if x.ndim == 3 else x
        basis = make_basis(x, weights=weight)
        design = basis.rows(x, slice(None))
        lost = [names[i] for i in basis.dropped]
        if used.paths is not None:
            change = used.paths[:, 1:] - used.paths[:, :1]
            return adjusted_change(change, treated, design, weight, method=self.method), lost
        assert used.outcome is not None
        assert used.time is not None
        after = used.time == used.periods[1]
        found = adjusted_cross_sections(
            used.outcome, treated, after, design, weight, method=self.method, efficient=self.efficient
        )
        return found, lost


def _one_cohort(used: GroupTimeArrays) -> float:
    """Return the cohort's first treated period; raise unless the panel is two groups in two periods."""
    cohorts = np.unique(used.cohort[np.isfinite(used.cohort)])
    if used.periods.size != 2 or cohorts.size != 1 or np.isfinite(used.cohort).all():
        raise DesignError(
            f"DoublyRobust compares one cohort with units never treated in two periods; here are {used.periods.size} "
            f"periods, {cohorts.size} cohorts and {int((~np.isfinite(used.cohort)).sum()):,} never treated. Use "
            "CallawaySantAnna, or filter the panel first."
        )
    if not used.periods[0] < cohorts[0] <= used.periods[1]:
        raise DesignError("The cohort must be untreated in the first of the two periods and treated in the second.")
    if used.time is not None:
        ever = np.isfinite(used.cohort)
        cells = [int((a & (used.time == t)).sum()) for a in (ever, ~ever) for t in used.periods]
        if min(cells) == 0:
            raise IdentificationError("One of the four cells (treated and not, before and after) has no outcome.")
    return float(cohorts[0])


def _support(data: Panel, used: GroupTimeArrays, cohort: float) -> tuple[Cell, ...]:
    ever = np.isfinite(used.cohort)
    table = "cohorts of the comparison"
    if used.time is None:
        sizes = [int(ever.sum()), int((~ever).sum())]
    else:
        sizes = [min(int((a & (used.time == t)).sum()) for t in used.periods) for a in (ever, ~ever)]
    return (
        Cell(cohort_label(data, cohort), sizes[0], None, table),
        Cell(cohort_label(data, np.inf), sizes[1], None, table),
    )


def _method(estimator: DoublyRobust, data: Panel, used: GroupTimeArrays) -> Method:
    what = "units in two periods" if used.followed else "rows of two cross-sections"
    sample = f"{used.cohort.size:,} {what}"
    if used.n_left_out:
        sample += f"; {used.n_left_out:,} without an outcome are left out"
    if used.n_weightless:
        sample += f"; {used.n_weightless:,} of weight zero are left out"
    given = f" among those alike in {', '.join(data.covariate_names)}" if data.covariate_names else ""
    words = WORDS[estimator.method]
    if not used.followed and estimator.method.startswith("dr") and estimator.efficient:
        words += "; locally efficient"
    return Method(
        sample=f"{sample}; {words}",
        std_error=f"influence functions, clustered by {data.cluster_name}",
        small_sample="none",
        reference="normal",
        inference_for="a superpopulation of units",
        assumptions=(
            f"untreated outcomes of both groups would have changed in parallel{given}",
            "everybody could have been untreated, whatever their covariates" if given else "both groups are observed",
            "treatment does not act before it begins",
            "one unit's treatment does not change another's outcome",
        ),
        source="Sant'Anna and Zhao 2020",
        comparison="units that are never treated, the period before",
    )


def _checks(used: GroupTimeArrays, found: AdjustedEffect, lost: list[str]) -> tuple[Check, ...]:
    checks = []
    if used.n_left_out:
        checks.append(Check("missing outcome", "warn", f"{used.n_left_out:,} units or rows were left out."))
    if lost:
        text = f"explained by the other covariates, and left out: {', '.join(lost)}."
        checks.append(Check("collinear columns", "warn", text))
    if found.n_trimmed:
        text = f"{found.n_trimmed:,} units never treated are all but sure to be treated by their covariates: no weight."
        public = "some units never treated are all but sure to be treated by their covariates, and have no weight."
        checks.append(Check("overlap", "warn", text, public))
    return tuple(checks)
