"""`ExtendedTwfe`: one regression saturated in cohort and period, linear or for counts and yes-or-no outcomes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from gbveval.core.errors import ConvergenceError, DataError, DesignError, IdentificationError
from gbveval.core.estimates import Estimates
from gbveval.core.method import Check, Method
from gbveval.core.registry import register
from gbveval.data.panel import Panel
from gbveval.estimators._glm_fit import fit_glm
from gbveval.estimators.did._anticipation import all_before, check_anticipation, no_earlier, refuse_idle_anticipation
from gbveval.estimators.did._cells import CellContext, average_estimates, averages_of, cell_estimates, pretest
from gbveval.estimators.did._etwfe_design import EtwfeDesign, etwfe_design
from gbveval.estimators.did._regression import inference_words
from gbveval.estimators.did._rollout import (
    observed_rows,
    refuse_switching,
    require_clusters,
    require_treated_clusters,
    rounding,
    row_checks,
    sample_words,
)
from gbveval.numerics.effect_cells import CellAverages, EffectCells
from gbveval.numerics.extended_twfe import CellMeans, cell_means
from gbveval.numerics.glm import Family, whiten
from gbveval.numerics.glm_covariance import coefficient_covariance
from gbveval.numerics.groups import compact
from gbveval.numerics.least_squares import make_basis

FloatArray = NDArray[np.float64]
FAMILIES = {"gaussian": ("gaussian", "identity"), "poisson": ("poisson", "log"), "logit": ("binomial", "logit")}
CONTROLS = ("not_yet_treated", "never_treated")
CONTRASTS = ("difference", "ratio")
STD_ERRORS = ("CR0", "CR1", "CR1S", "CR2", "CR3")


@dataclass(frozen=True, eq=False, slots=True)
class _Fit:
    """Fitted cell means with their influence.

    Attributes
    ----------
    means : CellMeans
    treated, untreated : ndarray, shape (clusters, cells)
        Influence on the means with and without treatment.
    defined : ndarray of bool, shape (cells,)
    df : float
    n_clusters : int
    """

    means: CellMeans
    treated: FloatArray
    untreated: FloatArray
    defined: NDArray[np.bool_]
    df: float
    n_clusters: int


@register("extended_twfe")
@dataclass(frozen=True, slots=True)
class ExtendedTwfe:
    """Effects on the treated from a regression with cohorts, periods and an effect for every treated cell.

    Parameters
    ----------
    family : str
        "gaussian" (linear), "poisson" (counts and other outcomes of zero or more: parallel *ratios* of change), "logit"
        (yes or no: parallel changes of log odds).
    contrast : str
        "difference" of mean outcomes, or "ratio" of the mean outcome of the treated to what it would have been.
    control : str
        "not_yet_treated": cells from treatment on. "never_treated": also cells before it, each compared with the last
        period before treatment; needs units that are never treated.
    std_error : str
        "CR1S" (clustered, with fixest's factor), "CR0", "CR1", "CR2", "CR3".
    anticipation : float
        Time before treatment in which it may already act: years, quarters, ... where periods are dates. Cells in it
        have event times below zero, and are in no average of effects "after".

    Notes
    -----
    **Identifies** the average effect on the treated of each cohort in each period, if without treatment the cohorts'
    means would have moved in parallel on the scale of the link (conditional on covariates, whose effects may differ by
    cohort and by period), and nothing was anticipated (beyond `anticipation`). For counts of incidents parallel ratios
    are often the more credible: communities with many reports do not lose as many as those with few.

    Effects of cohorts, not of units: with complete panels and time-constant covariates the linear estimates are those
    of `Imputation`; with gaps the answers can differ by much, as the composition of cohorts then changes. Panels and
    repeated cross-sections. Exposure of the panel enters as an offset of counts.

    A cell's effect is the mean over its rows of the fitted outcome less the one without its coefficients; covariates
    are centred at cohort means. Averages weigh cells by rows, taken as fixed (R's etwfe); the ratio of an average is
    that of the averaged means. Errors count cohorts and periods among the coefficients; unit effects would be left out
    of K.

    **Do not use when** one or two clusters are treated, or a treated cell has no event (`gaussian` then).

    References
    ----------
    Wooldridge (2021), Two-way fixed effects, the two-way Mundlak regression, and difference-in-differences estimators.
    Wooldridge (2023), Econometrics Journal 26(3).

    Examples
    --------
    >>> import numpy as np
    >>> from gbveval.datasets.pilot import PilotRollout
    >>> panel = PilotRollout().draw(np.random.default_rng(2))
    >>> ratio = ExtendedTwfe(family="poisson", contrast="ratio").estimate(panel).aggregate("simple")[0]
    >>> ratio.estimand.contrast
    'mean_ratio'
    """

    family: str = "gaussian"
    contrast: str = "difference"
    control: str = "not_yet_treated"
    std_error: str = "CR1S"
    anticipation: float = 0.0
    name: ClassVar[str] = "extended_twfe"

    def __post_init__(self) -> None:
        for option, known in (
            ("family", tuple(FAMILIES)),
            ("contrast", CONTRASTS),
            ("control", CONTROLS),
            ("std_error", STD_ERRORS),
        ):
            if getattr(self, option) not in known:
                raise DesignError(f"{option} must be one of {', '.join(known)}, not {getattr(self, option)!r}.")
        check_anticipation(self.anticipation)
        if self.family == "gaussian" and self.contrast == "ratio":
            raise DesignError("A linear regression keeps differences parallel; for a ratio use family='poisson'.")

    def estimate(self, data: Panel, *, rng: np.random.Generator | None = None) -> Estimates:
        """Return one row a cohort and period.

        Parameters
        ----------
        data : Panel
            A panel of units or repeated cross-sections; rows without an outcome are left out and counted.
        rng : numpy.random.Generator, optional
            Ignored: nothing is random.

        Raises
        ------
        DataError
            If the outcome is outside the range of the family.
        DesignError
            If treatment ends, clusters are in two ways, or exposure is given without "poisson".
        IdentificationError
            If nothing is compared, a cell has no events, or one unit (cluster) is treated.
        ConvergenceError
            If the search for the maximum fails.
        """
        refuse_switching("ExtendedTwfe", data)
        refuse_idle_anticipation(data, self.anticipation)
        if data.second_cluster is not None:
            raise DesignError("ExtendedTwfe clusters in one way. Give the coarser of the two cluster columns.")
        if data.exposure is not None and self.family != "poisson":
            raise DesignError("Exposure belongs to counts: use family='poisson', or leave it out.")
        leads = self.control == "never_treated"
        design = etwfe_design(observed_rows(data), leads=leads, anticipation=float(self.anticipation))
        rows = design.rows
        self._check_range(data, rows.y)
        require_clusters(rows)
        require_treated_clusters(rows)
        fit = self._fit(design)
        cells, contrast = self._cells(design, fit)
        sizes = rows.cohort_sizes()
        context = CellContext(
            data=data,
            sizes={g: n for g, n in sizes.items() if np.isfinite(g)},
            comparison=_compared(design),
            df=fit.df,
            n_units=rows.n_units,
            n_clusters=fit.n_clusters,
            least=rounding(rows) if contrast == "mean_difference" else 1e-13,
            contrast=contrast,
            why="not identified beside cohorts and periods",
        )
        return cell_estimates(
            self,
            cells,
            context,
            method=_method(self, data, design),
            checks=(*_checks(design, fit), *row_checks(rows)),
            aggregator=_Aggregator(self.contrast, cells, context, fit, self.anticipation),
        )

    def _check_range(self, data: Panel, y: FloatArray) -> None:
        wrong = {"poisson": y < 0, "logit": (y < 0) | (y > 1)}.get(self.family)
        if wrong is not None and wrong.any():
            wanted = "zero or more" if self.family == "poisson" else "between 0 and 1"
            raise DataError(
                f"Column {data.outcome_name!r} (outcome) is outside the range of {self.family!r} in "
                f"{int(wrong.sum()):,} rows; values {wanted} were expected. Use family='gaussian'."
            )

    def _fit(self, design: EtwfeDesign) -> _Fit:
        rows, family = design.rows, Family(*FAMILIES[self.family])
        offset = None if rows.exposure is None else np.log(rows.exposure)
        basis = make_basis(design.columns, weights=rows.weight)
        z = basis.rows(design.columns, slice(None))
        found = fit_glm(family, z, rows.y, offset=offset, weight=rows.weight)
        if found.direction is not None:
            raise IdentificationError(
                "Some treated cell, cohort or period has no event (or nothing else), so that its coefficient is "
                "infinite. Use family='gaussian', or merge periods or cohorts."
            )
        if not found.converged:
            raise ConvergenceError(
                "The search for the maximum did not end. Use fewer covariates, or family='gaussian'."
            )
        kept = np.column_stack([np.ones(rows.n), design.columns[:, basis.kept]])
        effect = np.append(False, design.is_effect[basis.kept])
        means = cell_means(
            family,
            kept,
            effect,
            basis.to_original @ found.gamma,
            design.cell,
            design.cohort.size,
            offset=offset,
            weight=rows.weight,
        )
        present, codes = compact(rows.clusters[0].codes, rows.clusters[0].count)
        white = whiten(family, z, rows.y, found.gamma, offset=offset, weight=rows.weight)
        lift = np.vstack([means.by_treated.T, means.by_untreated.T, (means.by_treated - means.by_untreated).T])
        wanted = coefficient_covariance(
            white.design, white.residual, lift @ basis.to_original, self.std_error, cluster=codes
        )
        if wanted is None or wanted.influence is None:
            raise ConvergenceError("The information is singular at the solution. Use fewer covariates.")
        count = design.cohort.size
        influence = np.zeros((rows.clusters[0].count, 2 * count))
        influence[present] = wanted.influence[:, : 2 * count]
        df = present.size - 1.0
        if self.std_error in ("CR2", "CR3") and wanted.df is not None:
            df = float(np.nanmin(wanted.df[2 * count :]))
        own = np.flatnonzero(design.is_effect)[-count:]
        return _Fit(
            means=means,
            treated=influence[:, :count],
            untreated=influence[:, count:],
            defined=np.isin(own, basis.kept),
            df=df,
            n_clusters=int(present.size),
        )

    def _cells(self, design: EtwfeDesign, fit: _Fit) -> tuple[EffectCells, str]:
        treated, untreated = fit.means.treated, fit.means.untreated
        if self.contrast == "ratio":
            value = np.log(treated) - np.log(untreated)
            influence = fit.treated / treated - fit.untreated / untreated
            contrast = "mean_ratio"
        else:
            value, influence, contrast = treated - untreated, fit.treated - fit.untreated, "mean_difference"
        value = np.where(fit.defined, value, np.nan)
        cells = EffectCells(design.cohort, design.time, value, fit.means.weight, influence.T @ influence, influence)
        return cells, contrast


def _compared(design: EtwfeDesign) -> dict[tuple[float, float], int]:
    """Return the rows of each cell's period that are in no cell: what it is compared with."""
    free = design.rows.period[design.cell < 0]
    return {(float(g), float(t)): int((free == t).sum()) for g, t in zip(design.cohort, design.time, strict=True)}


@dataclass(frozen=True, eq=False, slots=True)
class _Aggregator:
    """Averages of differences, or ratios of averaged means."""

    contrast: str
    cells: EffectCells
    context: CellContext
    fit: _Fit
    anticipation: float

    def aggregate(self, estimates: Estimates, by: str, options: Mapping[str, Any]) -> Estimates:
        """Return averages, the overall one first, or the test of the cells before treatment."""
        if by == "pretest":
            return pretest(estimates, np.flatnonzero(self.cells.event_time < -self.anticipation).tolist())
        found = averages_of(self.cells, by, options)
        if self.contrast == "ratio":
            found = self._ratios(found)
        return average_estimates(estimates, self.cells, self.context, by, found, options)

    def _ratios(self, found: CellAverages) -> CellAverages:
        """Return ratios of averaged means in place of averages of logarithms."""
        means, weight = self.fit.means, found.weight
        treated, untreated = weight @ means.treated, weight @ means.untreated
        influence = (self.fit.treated @ weight.T) / treated - (self.fit.untreated @ weight.T) / untreated
        return replace(
            found,
            value=np.log(treated) - np.log(untreated),
            covariance=influence.T @ influence,
            influence=influence,
        )


def _method(estimator: ExtendedTwfe, data: Panel, design: EtwfeDesign) -> Method:
    sample = sample_words(data, design.rows)
    if design.n_late:
        sample += f"; {design.n_late:,} rows of periods in which everybody is treated are not used"
    scale = {"gaussian": "", "poisson": " in ratio", "logit": " in log odds"}[estimator.family]
    given = f" given {', '.join(data.covariate_names)}" if data.covariate_names else ""
    return Method(
        sample=sample,
        **inference_words(data, estimator.std_error),
        assumptions=(
            f"untreated means of the cohorts would have changed in parallel{scale}{given}",
            no_earlier(data, estimator.anticipation),
            "one unit's treatment does not change another's outcome",
        ),
        source="Wooldridge 2021, 2023",
        comparison=(
            all_before(data, estimator.anticipation)
            if estimator.control == "not_yet_treated"
            else "units that are never treated, last period before"
            + (f" less {estimator.anticipation:g}" if estimator.anticipation else "")
        ),
    )


def _checks(design: EtwfeDesign, fit: _Fit) -> tuple[Check, ...]:
    checks = []
    if design.n_already:
        text = f"{design.n_already:,} rows of cohorts that are never seen untreated are left out."
        checks.append(Check("already treated", "info", text))
    lost = int((~fit.defined).sum())
    if lost:
        checks.append(Check("cells", "warn", f"{lost} cells are not identified beside cohorts and periods."))
    return tuple(checks)
