"""`SunAbraham`: the event-study regression with effects of each cohort, averaged by the cohorts' shares."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from gbveval.core.errors import DesignError, IdentificationError
from gbveval.core.estimates import Estimates
from gbveval.core.method import Check, Method
from gbveval.core.registry import register
from gbveval.data.panel import Panel
from gbveval.estimators.did._cells import CellContext, Nuisance, cell_estimates
from gbveval.estimators.did._regression import (
    Regression,
    check_std_error,
    coefficient_terms,
    inference_words,
    regress,
    regression_checks,
)
from gbveval.estimators.did._rollout import (
    Rows,
    observed_rows,
    refuse_cross_sections,
    refuse_switching,
    require_clusters,
    require_treated_clusters,
    require_treatment,
    rounding,
    row_checks,
    sample_words,
)
from gbveval.estimators.did._spatial import by_place
from gbveval.estimators.did.two_way_fixed_effects import NUISANCE
from gbveval.numerics.effect_cells import EffectCells
from gbveval.numerics.group_time import group_time_panel
from gbveval.numerics.groups import group_sums

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.intp]
CONTROLS = ("never_treated", "last_treated")


@dataclass(frozen=True, eq=False, slots=True)
class _Design:
    """The cells of the interacted regression.

    Attributes
    ----------
    rows : Rows
        Those used: cohorts with an untreated period, and periods in which the comparison group is untreated.
    cell : ndarray of int, shape (n,)
        Cell of each row; -1 for the comparison group and reference periods.
    cohort, time : ndarray, shape (cells,)
    base : dict of float to float
        Reference period of every cohort.
    n_already, n_late : int
        Rows left out: of cohorts treated throughout, and of periods in which the comparison group is treated.
    """

    rows: Rows
    cell: IntArray
    cohort: FloatArray
    time: FloatArray
    base: dict[float, float]
    n_already: int
    n_late: int


@register("sun_abraham")
@dataclass(frozen=True, slots=True)
class SunAbraham:
    """Effects by cohort and time since treatment from one regression with unit and period effects.

    Parameters
    ----------
    control : str
        "never_treated"; or "last_treated": the last cohort, and only periods before its treatment.
    reference : float
        Event time that the others compare with. A cohort that was not seen then compares with its last period before.
    std_error : str
        As in `TwoWayFixedEffects`.

    Notes
    -----
    **Identifies** the average effect on the treated of each cohort in each period, if untreated outcomes of every
    cohort and the comparison group would have changed in parallel, and nothing was anticipated after the reference. No
    treated unit is a control. Without covariates and gaps it is `CallawaySantAnna(control="never_treated",
    base_period="universal")`, with the factor of CR1S; with gaps, weights or covariates (linear, one slope for all) it
    is a regression, and that is not.

    `aggregate("event_time")` is the interaction-weighted estimator: cohort shares among the rows (weighted, if there
    are weights) of each event time, taken as fixed, as in R's fixest. Sun and Abraham's own errors add the shares'
    (small).

    **Do not use when** one or two units are treated, when never treated units are unlike the others, or with covariates
    that treatment may change.

    References
    ----------
    Sun and Abraham (2021), Journal of Econometrics 225(2), 175-199.

    Examples
    --------
    >>> import numpy as np
    >>> from gbveval.datasets.pilot import PilotRollout
    >>> panel = PilotRollout().draw(np.random.default_rng(2))
    >>> SunAbraham().estimate(panel).aggregate("event_time").terms[0].term
    'overall'
    """

    control: str = "never_treated"
    reference: float = -1.0
    std_error: str = "CR1S"
    name: ClassVar[str] = "sun_abraham"

    def __post_init__(self) -> None:
        check_std_error(self.std_error)
        if self.control not in CONTROLS:
            raise DesignError(f"control must be one of {', '.join(CONTROLS)}, not {self.control!r}.")
        if not self.reference < 0:
            raise DesignError("reference is an event time before treatment, such as -1.")

    def estimate(self, data: Panel, *, rng: np.random.Generator | None = None) -> Estimates:
        """Return one row a cohort and period, then the coefficients of covariates.

        Parameters
        ----------
        data : Panel
            A panel of units, complete or not; rows without an outcome are left out and counted.
        rng : numpy.random.Generator, optional
            Ignored: nothing is random.

        Raises
        ------
        DesignError
            For repeated cross-sections, treatment that ends, or a control group that is not there.
        IdentificationError
            If no effect is identified, there are too few clusters, or one unit (cluster) is treated.
        """
        refuse_cross_sections("SunAbraham", data)
        refuse_switching("SunAbraham", data)
        design = self._design(observed_rows(data))
        rows = design.rows
        require_treatment(rows)
        require_clusters(rows)
        require_treated_clusters(rows)
        found = None if self._is_plain(design) else self._regression(data, design)
        cells, df = _from_means(data, design, self.std_error) if found is None else _from_regression(design, found)
        context = CellContext(
            data=data,
            sizes={g: n for g, n in rows.cohort_sizes().items() if np.isfinite(g)},
            comparison=int(rows.cohort_sizes()[np.inf]),
            df=df,
            n_units=rows.n_units,
            n_clusters=min(groups.present for groups in rows.clusters),
            least=rounding(rows),
            why="not identified beside the fixed effects",
        )
        return cell_estimates(
            self,
            cells,
            context,
            method=_method(self, data, design),
            checks=(*_checks(design), *(() if found is None else regression_checks(found)), *row_checks(rows)),
            nuisance=None if found is None else _covariates(data, rows, found),
        )

    def _design(self, rows: Rows) -> _Design:
        """Return the rows used and their cells."""
        n_late = 0
        if self.control == "last_treated":
            if np.isinf(rows.cohort).any():
                raise DesignError("Some units are never treated; say control='never_treated'.")
            last = float(rows.cohort.max())
            early = rows.period < last
            n_late = int((~early).sum())
            rows = rows.with_cohort(np.where(rows.cohort == last, np.inf, rows.cohort)).take(early)
        elif not np.isinf(rows.cohort).any():
            raise DesignError("Nobody is never treated; say control='last_treated'.")
        levels, groups = rows.cohorts()
        base = np.full(levels.size, -np.inf)
        before = rows.event_time <= self.reference
        np.maximum.at(base, groups.codes[before], rows.period[before])
        base[np.isinf(levels)] = np.inf
        usable = np.isfinite(base[groups.codes]) | np.isinf(rows.cohort)
        n_already = int((~usable).sum())
        inside = usable & np.isfinite(rows.cohort) & (rows.period != base[groups.codes])
        if not inside.any():
            raise IdentificationError("No cohort is observed at the reference and beside it, so nothing is compared.")
        bases = {float(g): float(b) for g, b in zip(levels, base, strict=True) if np.isfinite(g) and np.isfinite(b)}
        if n_already:
            rows, inside = rows.take(usable), inside[usable]
        cohort, time, cell = rows.cells(inside)
        return _Design(rows, cell, cohort, time, bases, n_already, n_late)

    def _is_plain(self, design: _Design) -> bool:
        """Whether means give the regression: no gaps, no weights, no covariates, clusters in one way."""
        rows = design.rows
        complete = rows.n == rows.n_units * rows.time.present
        periods = np.unique(rows.period)
        nearest = all(base == periods[periods < g].max() for g, base in design.base.items())
        plain = rows.weight is None and rows.covariates.shape[1] == 0 and len(rows.clusters) == 1
        return complete and nearest and plain and self.std_error in ("CR0", "CR1", "CR1S")

    def _regression(self, data: Panel, design: _Design) -> Regression:
        columns = design.cell[:, None] == np.arange(design.cohort.size)[None, :]
        names = [f"cell {i}" for i in range(design.cohort.size)]
        found = regress(
            design.rows,
            np.column_stack([design.rows.covariates, columns]).astype(float),
            (*data.covariate_names, *names),
            std_error=self.std_error,
        )
        if not any(name.startswith("cell ") for name in found.names):
            raise IdentificationError(
                "Unit and period effects explain every cohort's event times; nothing is identified."
            )
        return found


def _covariates(data: Panel, rows: Rows, found: Regression) -> Nuisance | None:
    """Return the coefficients of covariates, if the panel has some."""
    kept = tuple(i for i, name in enumerate(found.names) if name in data.covariate_names)
    terms = coefficient_terms(data, rows, found, [NUISANCE] * len(found.names))
    return Nuisance(tuple(terms[i] for i in kept), found.fit, kept, _places(found)) if kept else None


def _places(found: Regression) -> dict[int, int]:
    """Return the position among the coefficients of each cell that was estimated."""
    return {int(name[5:]): i for i, name in enumerate(found.names) if name.startswith("cell ")}


def _weights(design: _Design) -> FloatArray:
    rows, inside = design.rows, design.cell >= 0
    w = np.ones(rows.n) if rows.weight is None else rows.weight
    return group_sums(design.cell[inside], w[inside], design.cohort.size)


def _from_regression(design: _Design, found: Regression) -> tuple[EffectCells, float]:
    places = _places(found)
    count = design.cohort.size
    value, covariance = np.full(count, np.nan), np.zeros((count, count))
    at, source = np.array(list(places)), np.array(list(places.values()))
    value[at] = found.fit.beta[source]
    covariance[np.ix_(at, at)] = found.fit.covariance[np.ix_(source, source)]
    influence = None
    if found.fit.influence is not None:
        influence = np.zeros((found.fit.influence.shape[0], count))
        influence[:, at] = found.fit.influence[:, source]
    cells = EffectCells(design.cohort, design.time, value, _weights(design), covariance, influence)
    return cells, float(found.fit.df[source].min())


def _from_means(data: Panel, design: _Design, std_error: str) -> tuple[EffectCells, float]:
    """Return the regression's numbers from means by cohort and period.

    Saturated in cohort and period, its residuals are deviations from cohort means, so that a unit's score is its change
    since the reference less its cohort's, over the cohort's size: the influence of group-time effects, times the
    factor.
    """
    rows = design.rows
    units, code = np.unique(rows.unit.codes, return_inverse=True)
    times, period = np.unique(rows.time.codes, return_inverse=True)
    paths = np.empty((units.size, times.size))
    paths[code, period] = rows.y
    cohort, cluster = np.empty(units.size), np.empty(units.size, dtype=np.intp)
    cohort[code], cluster[code] = rows.cohort, rows.clusters[0].codes
    values = np.unique(rows.period)
    fit = group_time_panel(paths - paths[:, :1], cohort, periods=values, base_period="universal")
    place = {(float(g), float(t)): i for i, (g, t) in enumerate(zip(fit.group, fit.time, strict=True))}
    order = np.array([place[float(g), float(t)] for g, t in zip(design.cohort, design.time, strict=True)])
    linear = fit.linear.take(order)
    n, g, k = rows.n, rows.clusters[0].present, design.cohort.size + values.size
    factor = {"CR0": 1.0, "CR1": g / (g - 1.0)}.get(std_error, g / (g - 1.0) * (n - 1.0) / (n - k))
    whole = cluster if rows.clusters[0] is not rows.unit else None
    sums = linear.matrix() if whole is None else by_place(linear.cluster_sums(whole), whole, data)
    influence = np.sqrt(factor) * sums
    covariance = factor * linear.covariance(whole)
    return EffectCells(design.cohort, design.time, fit.att[order], _weights(design), covariance, influence), g - 1.0


def _method(estimator: SunAbraham, data: Panel, design: _Design) -> Method:
    sample = f"{sample_words(data, design.rows)}; effects compare with event time {estimator.reference:g}"
    if design.n_late:
        sample += f"; {design.n_late:,} rows from the last cohort's treatment on are not used"
    given = f", given a linear effect of {', '.join(data.covariate_names)}" if data.covariate_names else ""
    whom = "never treated" if estimator.control == "never_treated" else "last treated"
    return Method(
        sample=sample,
        **inference_words(data, estimator.std_error),
        assumptions=(
            f"untreated outcomes of every cohort and of the {whom} would have changed in parallel{given}",
            "treatment does not act before it begins",
            "one unit's treatment does not change another's outcome",
        ),
        source="Sun and Abraham 2021",
        comparison=f"units {whom}, event time {estimator.reference:g}",
    )


def _checks(design: _Design) -> tuple[Check, ...]:
    if not design.n_already:
        return ()
    text = f"{design.n_already:,} rows of cohorts without a period at or before the reference are left out."
    return (Check("already treated", "info", text),)
