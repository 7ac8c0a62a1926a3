"""`TwoStage`: fixed effects from untreated rows, then means of what is left, with errors of both stages."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from gbveval.core.estimates import Estimates
from gbveval.core.method import Method
from gbveval.core.registry import register
from gbveval.data.panel import Panel
from gbveval.estimators.did._anticipation import all_before, check_anticipation, no_earlier
from gbveval.estimators.did._cells import CellContext, average_estimates, cell_estimates, check_average, pretest
from gbveval.estimators.did._imputed import Imputed, context_of, impute, imputed_checks
from gbveval.estimators.did._rollout import rollout_rows, row_checks, sample_words
from gbveval.numerics.effect_cells import CellAverages, EffectCells


@register("two_stage")
@dataclass(frozen=True, slots=True)
class TwoStage:
    """Effects on the treated from a second regression on what untreated unit and period effects leave.

    Parameters
    ----------
    anticipation : float
        Time before treatment in which it may already act: years, quarters, ... where periods are dates. Rows in it are
        not used as untreated; their effects are rows of their own with event times below zero, and in no average of
        effects "after".

    Notes
    -----
    **Identifies** what `Imputation` does under the same assumptions, and gives the same effects where both are defined:
    first unit and period effects (and covariates) from untreated rows, then means of outcomes less those.

    **Variance** by the generalised method of moments for both stages together, clustered, without a small-sample
    factor, normal reference. An average's residuals are about that average (and not about the mean of each cohort and
    period, as in `Imputation`), so that errors of averages differ between the two.

    Rows before treatment (event times before -1, less the anticipation, in averages by event time) are means of
    residuals of the first stage. They are smaller than leads of a regression that estimates them, because the first
    stage was fitted to the same rows; do not read effects and leads of one picture as if they compared with the same
    period (Roth 2024).

    **Do not use when** one or two units are treated, or treatment is anticipated (beyond `anticipation`).

    References
    ----------
    Gardner (2022), Two-stage differences in differences. Butts and Gardner (2022), R Journal 14. Roth (2024),
    Interpreting event-studies from recent difference-in-differences methods.

    Examples
    --------
    >>> import numpy as np
    >>> from gbveval.datasets.pilot import PilotRollout
    >>> panel = PilotRollout().draw(np.random.default_rng(2))
    >>> TwoStage().estimate(panel).aggregate("simple").terms[0].n_units == panel.n_units
    True
    """

    anticipation: float = 0.0
    name: ClassVar[str] = "two_stage"

    def __post_init__(self) -> None:
        check_anticipation(self.anticipation)

    def estimate(self, data: Panel, *, rng: np.random.Generator | None = None) -> Estimates:
        """Return one row a cohort and period, those before treatment among them.

        Parameters
        ----------
        data : Panel
            A panel of units, complete or not; rows without an outcome are left out and counted.
        rng : numpy.random.Generator, optional
            Ignored: nothing is random.

        Raises
        ------
        DesignError
            For repeated cross-sections, treatment that ends, or clusters in two ways.
        IdentificationError
            If no treated row has an untreated outcome to compare with, or one unit (cluster) is treated.
        """
        rows = rollout_rows("TwoStage", data, float(self.anticipation))
        found = impute(data, rows)
        value, influence = found.model.means(found.cell, found.cohort.size)
        influence = found.by_cluster(influence)
        cells = EffectCells(
            cohort=found.cohort,
            time=found.time,
            value=value,
            weight=found.weight,
            covariance=influence.T @ influence,
            influence=influence,
        )
        context = context_of(data, found)
        return cell_estimates(
            self,
            cells,
            context,
            method=_method(self, data, found),
            checks=(*imputed_checks(found), *row_checks(rows)),
            aggregator=_Aggregator(cells, context, found, float(self.anticipation)),
        )


@dataclass(frozen=True, eq=False, slots=True)
class _Aggregator:
    """Second stages with other sets of rows: everything, event times, cohorts or periods."""

    cells: EffectCells
    context: CellContext
    found: Imputed
    anticipation: float

    def aggregate(self, estimates: Estimates, by: str, options: Mapping[str, Any]) -> Estimates:
        """Return the second stage by other sets of rows, its average first; or the test of those before treatment."""
        if by == "pretest":
            study = estimates.aggregate("event_time", **options)
            times = [dict(row.extra).get("event_time") for row in study.terms]
            return pretest(study, [i for i, e in enumerate(times) if e is not None and float(e) < -self.anticipation])
        check_average(by, options)
        used = self._used(by, options)
        key = {"event_time": self.cells.event_time, "cohort": self.cells.cohort, "calendar": self.cells.time}.get(by)
        labels = np.array([np.nan]) if key is None else np.unique(key[used])
        member = np.ones((1, used.size), dtype=bool) if key is None else key == labels[:, None]
        member &= used
        place = np.full(used.size + 1, -1, dtype=np.intp)
        place[np.flatnonzero(used)] = np.argmax(member[:, used], axis=0)
        value, influence = self.found.model.means(place[self.found.cell], labels.size)
        influence = self.found.by_cluster(influence)
        matrix = (
            np.eye(labels.size)
            if by == "simple"
            else np.vstack([self._overall(by, labels, member), np.eye(labels.size)])
        )
        influence = influence @ matrix.T
        averages = CellAverages(
            label=labels if by == "simple" else np.append(np.nan, labels),
            value=matrix @ value,
            covariance=influence.T @ influence,
            influence=influence,
            n_cells=(matrix @ member > 0).sum(axis=1).astype(np.intp),
            member=matrix @ member > 0,
            weight=matrix @ (member * self.cells.weight / (member @ self.cells.weight)[:, None]),
        )
        return average_estimates(estimates, self.cells, self.context, by, averages, options)

    def _used(self, by: str, options: Mapping[str, Any]) -> np.ndarray[Any, np.dtype[np.bool_]]:
        """Return the cells of an average: treated ones, and by event time those that anticipate or come before -1."""
        event, post = self.cells.event_time, self.cells.post
        first = -self.anticipation
        used = (event >= first) | (event < first - 1) if by == "event_time" else post.copy()
        low, high, balance = (options.get(name) for name in ("min_event_time", "max_event_time", "balance"))
        used &= (event >= (-np.inf if low is None else low)) & (event <= (np.inf if high is None else high))
        if balance is not None:
            used &= (self.cells.time.max() - self.cells.cohort >= balance) & (event <= balance)
        return used

    def _overall(self, by: str, labels: Any, member: Any) -> Any:
        """Return the weights of the overall average: event times from zero on and periods alike, cohorts by size."""
        if by == "cohort":
            size = np.array([self.cells.weight[cells].max() for cells in member])
            return size / size.sum()
        counted = labels >= 0 if by == "event_time" else np.ones(labels.size, dtype=bool)
        return counted / max(int(counted.sum()), 1)


def _method(estimator: TwoStage, data: Panel, found: Imputed) -> Method:
    given = f", and effects of {', '.join(data.covariate_names)}" if data.covariate_names else ""
    return Method(
        sample=f"{sample_words(data, found.rows)}; first stage on {found.model.n_rows:,} untreated rows",
        std_error=f"both stages by the method of moments, clustered by {data.cluster_name}",
        small_sample="none",
        reference="normal",
        inference_for="a superpopulation of units",
        assumptions=(
            f"untreated outcomes are a unit's effect plus a period's{given}",
            no_earlier(data, estimator.anticipation),
            "one unit's treatment does not change another's outcome",
        ),
        source="Gardner 2022",
        comparison=all_before(data, estimator.anticipation),
    )
