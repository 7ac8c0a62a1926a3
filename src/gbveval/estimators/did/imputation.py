"""`Imputation`: effects as what treated outcomes have beyond untreated ones predicted from untreated rows alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np

from gbveval.core.errors import DesignError
from gbveval.core.estimand import Estimand
from gbveval.core.estimates import Estimates
from gbveval.core.method import Method
from gbveval.core.registry import register
from gbveval.core.term import Term
from gbveval.data.panel import Panel
from gbveval.estimators.did._anticipation import all_before, check_anticipation, no_earlier
from gbveval.estimators.did._cells import CellAggregator, cell_estimates, pretest
from gbveval.estimators.did._imputed import Imputed, context_of, impute, imputed_checks, over_time
from gbveval.estimators.did._regression import coefficient_terms, regress
from gbveval.estimators.did._rollout import event_label, masked, rollout_rows, row_checks, sample_words
from gbveval.numerics.effect_cells import EffectCells


@register("imputation")
@dataclass(frozen=True, slots=True)
class Imputation:
    """Effects on the treated with untreated outcomes imputed from unit and period effects of untreated rows.

    Parameters
    ----------
    anticipation : float
        Time before treatment in which it may already act: years, quarters, ... where periods are dates. Rows in it are
        not used as untreated; their effects are rows of their own with event times below zero, and in no average of
        effects "after".

    Notes
    -----
    **Identifies** the average effect on the treated of each cohort in each period if untreated outcomes are a unit's
    effect plus a period's (plus linear covariates): parallel trends between *all* groups and periods, which is more
    than `CallawaySantAnna` asks, and buys precision where errors are not much correlated over time. All untreated
    periods serve as base, so that a shock just before treatment does less harm, and slow trends do more.

    Covariates that change over time enter linearly; those that do not are multiplied by periods, as unit effects absorb
    them otherwise. Units never observed untreated are left out and counted.

    **Variance** of Borusyak, Jaravel and Spiess: residuals of treated rows about the mean of their cohort and period
    (weighted by squared weights), clustered, no small-sample factor, normal reference. It is conservative when effects
    differ within a cohort and period, and too small when a cohort has few units.

    `aggregate("simple" | "event_time" | "cohort" | "calendar")` averages with the rows' shares, taken as fixed. By
    event time, leads before -1 (less the anticipation) come from a separate regression of untreated rows on them, as
    the authors recommend; they compare with -1 and all earlier periods without a lead, and `aggregate("pretest")` is
    their F test.

    **Do not use when** one or two units are treated, or treatment is anticipated (beyond `anticipation`).

    References
    ----------
    Borusyak, Jaravel and Spiess (2024), Review of Economic Studies 91(6). Liu, Wang and Xu (2024), American Journal of
    Political Science 68.

    Examples
    --------
    >>> import numpy as np
    >>> from gbveval.datasets.pilot import PilotRollout
    >>> panel = PilotRollout().draw(np.random.default_rng(2))
    >>> Imputation().estimate(panel).aggregate("event_time").terms[0].term
    'overall'
    """

    anticipation: float = 0.0
    name: ClassVar[str] = "imputation"

    def __post_init__(self) -> None:
        check_anticipation(self.anticipation)

    def estimate(self, data: Panel, *, rng: np.random.Generator | None = None) -> Estimates:
        """Return one row a cohort and treated period.

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
        rows = rollout_rows("Imputation", data, float(self.anticipation))
        found = impute(data, rows)
        chosen = np.flatnonzero(found.time >= found.cohort - self.anticipation)
        place = np.full(found.cohort.size + 1, -1, dtype=np.intp)
        place[chosen] = np.arange(chosen.size)
        label = place[found.cell]
        value, influence = found.model.means(label, chosen.size, centre=np.where(label >= 0, label, 0))
        influence = found.by_cluster(influence)
        cells = EffectCells(
            cohort=found.cohort[chosen],
            time=found.time[chosen],
            value=value,
            weight=found.weight[chosen],
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
            aggregator=_Aggregator(CellAggregator(cells, context), found, -1.0 - self.anticipation),
        )


@dataclass(frozen=True, eq=False, slots=True)
class _Aggregator:
    """Averages of cells, with leads from untreated rows before those by event time.

    Attributes
    ----------
    cells : CellAggregator
    found : Imputed
    reference : float
        Event time that leads come before.
    """

    cells: CellAggregator
    found: Imputed
    reference: float

    def aggregate(self, estimates: Estimates, by: str, options: Mapping[str, Any]) -> Estimates:
        """Return averages, or the test of the leads."""
        if by not in ("event_time", "pretest"):
            return self.cells.aggregate(estimates, by, options)
        if by == "pretest":
            study = estimates.aggregate("event_time")
            times = [dict(row.extra).get("event_time") for row in study.terms]
            tested = [i for i, e in enumerate(times) if e is not None and float(e) < self.reference]
            if not tested:
                raise DesignError(
                    f"No cohort has an untreated period before event time {self.reference:g} that units and periods do "
                    "not explain; there is no lead to test."
                )
            return pretest(study, tested)
        after = self.cells.aggregate(estimates, by, options)
        low = options.get("min_event_time")
        wanted = (low is None or low < self.reference) and options.get("balance") is None
        leads = self._leads(estimates) if wanted else None
        if leads is None:
            return after
        return _joined(after, leads, -np.inf if low is None else float(low), self.reference)

    def _leads(self, estimates: Estimates) -> Estimates | None:
        """Return the coefficients of event times before the reference on untreated rows."""
        data = self.cells.context.data
        rows = self.found.rows.take(~self.found.rows.treated)
        event = np.where(np.isfinite(rows.cohort), rows.event_time, np.nan)
        times = np.unique(event[event < self.reference])
        if times.size == 0:
            return None
        names = [event_label(e) for e in times]
        covariates, covariate_names = over_time(data, rows)
        columns = np.column_stack([covariates, event[:, None] == times[None, :]]).astype(float)
        fit = regress(rows, columns, (*covariate_names, *names), std_error="CR1S")
        effect = Estimand("ATT", "mean_difference", "treated")
        terms = coefficient_terms(
            data,
            rows,
            fit,
            [effect] * len(fit.names),
            [_event(dict(zip(names, times, strict=True)).get(name)) for name in fit.names],
        )
        kept = [i for i, name in enumerate(fit.names) if name in names]
        if not kept:
            # Units and periods explain every lead that rows are left for.
            return None
        influence = fit.fit.influence
        shown = tuple(terms[i] for i in kept)
        return replace(
            estimates,
            terms=shown,
            covariance=masked(fit.fit.covariance[np.ix_(kept, kept)], shown),
            influence=None if influence is None else influence[:, kept],
            aggregator=None,
        )


def _event(time: float | None) -> tuple[tuple[str, float | str | None], ...]:
    return () if time is None else (("event_time", float(time)),)


def _joined(after: Estimates, leads: Estimates, lowest: float, reference: float) -> Estimates:
    """Return averages by event time with the leads behind the overall row."""
    kept = [i for i, row in enumerate(leads.terms) if float(dict(row.extra)["event_time"]) >= lowest]  # type: ignore[arg-type]
    terms: list[Term] = [after.terms[0], *(leads.terms[i] for i in kept), *after.terms[1:]]
    assert after.influence is not None
    assert leads.influence is not None
    influence = np.column_stack([after.influence[:, :1], leads.influence[:, kept], after.influence[:, 1:]])
    words = f"; event times before {reference:g} from a regression of untreated rows, with the factor of CR1S"
    return replace(
        after,
        terms=tuple(terms),
        covariance=masked(influence.T @ influence, terms),
        influence=influence,
        method=replace(after.method, sample=after.method.sample + words),
    )


def _method(estimator: Imputation, data: Panel, found: Imputed) -> Method:
    given = f", and effects of {', '.join(data.covariate_names)}" if data.covariate_names else ""
    return Method(
        sample=f"{sample_words(data, found.rows)}; untreated outcomes from {found.model.n_rows:,} untreated rows",
        std_error=f"conservative (residuals about means of cohort and period), clustered by {data.cluster_name}",
        small_sample="none",
        reference="normal",
        inference_for="a superpopulation of units",
        assumptions=(
            f"untreated outcomes are a unit's effect plus a period's{given}",
            no_earlier(data, estimator.anticipation),
            "one unit's treatment does not change another's outcome",
        ),
        source="Borusyak, Jaravel and Spiess 2024",
        comparison=all_before(data, estimator.anticipation),
    )
