"""`ChaisemartinDHaultfoeuille`: effects of treatment that starts, ends or changes its amount."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from gbveval.core.errors import DesignError, IdentificationError
from gbveval.core.estimand import Estimand
from gbveval.core.estimates import Estimates
from gbveval.core.method import Cell, Check, Method
from gbveval.core.registry import register
from gbveval.core.term import Term
from gbveval.data._frame import plural
from gbveval.data.panel import Panel
from gbveval.estimators.did._cells import pretest
from gbveval.estimators.did._rollout import SMALL_COHORT, event_label, point, refuse_cross_sections, rollout_estimates
from gbveval.estimators.did._spatial import by_place
from gbveval.estimators.did._unit_arrays import filled_treatment, unit_arrays
from gbveval.numerics.groups import compact, group_sums
from gbveval.numerics.switchers import (
    DIRECTIONS,
    SwitchSums,
    TreatmentPaths,
    doses,
    instantaneous_effect,
    switch_effect,
    total_effect,
)

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.intp]
EFFECTS = ("dynamic", "instantaneous")
UNBALANCED = ("error", "drop", "pairs")
EFFECT = Estimand("ATT", "mean_difference", "treated")


@register("chaisemartin_dhaultfoeuille")
@dataclass(frozen=True, slots=True)
class ChaisemartinDHaultfoeuille:
    """Effects of switches of treatment, which may start, end, start again or be an amount.

    Parameters
    ----------
    effects : str
        "dynamic": effects of the first switch on the period in which it happens and on later ones, whatever treatment
        does afterwards (DID_l). "instantaneous": the effect of every switch on its own period, where earlier treatment
        does not act on present outcomes (DID_M).
    switchers : str
        "all", "in" (to more treatment) or "out" (to less).
    normalised : bool
        Divide dynamic effects by the treatment that switchers had more since the switch than in the first period.
    max_event_time : int, optional
        Last event time of dynamic effects; by default as far as there is a comparison.
    unbalanced : str
        What to do with units without an outcome in every period: "error"; "drop", which counts them; or "pairs", which
        uses a unit wherever it has both outcomes of a comparison. Treatment in periods without a row is then taken to
        be what it was before and after, and units for which these differ are left out and counted.

    Notes
    -----
    Treatment is the panel's `treatment`, or else being at or after the first treated period.

    **Identifies**, for dynamic effects, by how much outcomes of units whose treatment has switched differ from what
    they would have been had it stayed as in the first period, if outcomes of units with the same treatment in the first
    period would have changed in parallel under it. Comparison units are those that have not switched yet. Event time 0
    is the period of the switch (l = 1 of the paper), counted in the panel's periods; effects of switches to less
    treatment count with the other sign. Where treatment ends or varies, an effect at a later event time is that of the
    whole path of treatment up to it. Event times before -1 are placebos: changes up to the period before the switch, of
    the switchers whose effect as long after it has a comparison. The row "overall" is the sum of all effects over the
    sum of treatment that switchers had more because of them: an effect per unit of treatment and period.

    For instantaneous effects, comparison units are those with the same treatment in the period before that keep it.

    For treatment that is 0 or 1 and lasts, dynamic effects and their errors are those of `CallawaySantAnna` with units
    not yet treated, averaged by event time.

    **Variance** from influence functions that take who switches as sampled with the units, by cluster, no small-sample
    factor, normal reference.

    **Valid when** there are many units (clusters) of switchers and of comparisons. A row that rests on one switching
    unit (cluster), or on one to compare with, has no standard error. **Do not use when** hardly two units share an
    initial amount of treatment; switchers without a comparison are left out and counted.

    References
    ----------
    de Chaisemartin and D'Haultfoeuille (2020), American Economic Review 110(9), 2964-2996; (2024), Review of Economics
    and Statistics.

    Examples
    --------
    >>> import numpy as np
    >>> from gbveval.datasets.pilot import PilotRollout
    >>> panel = PilotRollout().draw(np.random.default_rng(2))
    >>> study = ChaisemartinDHaultfoeuille(max_event_time=2).estimate(panel)
    >>> [row.term for row in study.terms][-3:]
    ['event time 0', 'event time +1', 'event time +2']
    """

    effects: str = "dynamic"
    switchers: str = "all"
    normalised: bool = False
    max_event_time: int | None = None
    unbalanced: str = "error"
    name: ClassVar[str] = "chaisemartin_dhaultfoeuille"

    def __post_init__(self) -> None:
        for option, known in (("effects", EFFECTS), ("switchers", DIRECTIONS), ("unbalanced", UNBALANCED)):
            if getattr(self, option) not in known:
                raise DesignError(f"{option} must be one of {', '.join(known)}, not {getattr(self, option)!r}.")
        if self.effects == "instantaneous" and (self.normalised or self.max_event_time is not None):
            raise DesignError("Instantaneous effects are per unit of treatment already, and have one event time.")
        if self.max_event_time is not None and self.max_event_time < 0:
            raise DesignError("max_event_time is the last event time, 0 or more.")

    def estimate(self, data: Panel, *, rng: np.random.Generator | None = None) -> Estimates:
        """Return the overall effect and one row an event time, or the instantaneous effect and its placebo.

        Parameters
        ----------
        data : Panel
            A panel of units.
        rng : numpy.random.Generator, optional
            Ignored: nothing is random.

        Raises
        ------
        DesignError
            For repeated cross-sections, covariates, clusters in two ways, weights that vary within a unit, or units
            without an outcome in some period and `unbalanced="error"`.
        IdentificationError
            If no switcher has a comparison, or one unit (cluster) switches.
        """
        refuse_cross_sections("ChaisemartinDHaultfoeuille", data)
        if data.second_cluster is not None:
            raise DesignError("ChaisemartinDHaultfoeuille clusters in one way. Give the coarser of the two columns.")
        if data.covariate_names:
            raise DesignError(
                "ChaisemartinDHaultfoeuille takes no covariates. Leave them out, or, where treatment lasts, use "
                "CallawaySantAnna."
            )
        used = _used(self, data)
        found = self._effects(used.paths)
        _require_switchers(found, used)
        rows = tuple(_row(data, used, each) for each in found)
        influence = np.column_stack([used.by_cluster(each.sums.influence) for each in found])
        influence = by_place(influence, used.place, data)
        return rollout_estimates(
            self,
            data,
            rows,
            covariance=influence.T @ influence,
            influence=influence,
            method=_method(self, data, used),
            checks=_checks(self, used, found),
            aggregator=_Aggregator(),
        )

    def _effects(self, paths: TreatmentPaths) -> list[_Effect]:
        if self.effects == "instantaneous":
            kinds = (("before the switch", -2.0, True), ("instantaneous effect", 0.0, False))
            found = [
                _Effect(term, e, instantaneous_effect(paths, switchers=self.switchers, placebo=placebo))
                for term, e, placebo in kinds
            ]
            return [each for each in reversed(found) if each.sums.dose.sum() > 0]
        last = paths.periods - 1 if self.max_event_time is None else min(self.max_event_time + 1, paths.periods - 1)
        after = {lag: switch_effect(paths, lag, switchers=self.switchers) for lag in range(1, last + 1)}
        after = {lag: sums for lag, sums in after.items() if sums.switcher.any()}
        if not after:
            return []
        before = {lag: switch_effect(paths, lag, switchers=self.switchers, placebo=True) for lag in after}
        rows = [(-1.0 - lag, lag, sums) for lag, sums in reversed(before.items()) if sums.switcher.any()]
        rows += [(lag - 1.0, lag, sums) for lag, sums in after.items()]
        if self.normalised:
            rows = [(e, lag, sums.with_dose(doses(paths, lag, sums, cumulative=True))) for e, lag, sums in rows]
        overall = _Effect("overall", None, total_effect(paths, after))
        return [overall, *(_Effect(event_label(e), e, sums) for e, _, sums in rows)]


@dataclass(frozen=True, eq=False, slots=True)
class _Effect:
    """One row before it is one."""

    term: str
    event_time: float | None
    sums: SwitchSums


@dataclass(frozen=True, eq=False, slots=True)
class _Used:
    """The units analysed.

    Attributes
    ----------
    paths : TreatmentPaths
    cluster : ndarray of int, shape (units,)
    n_clusters : int
    place : ndarray of int
        Clusters as the panel numbers them.
    n_incomplete, n_unknown, n_weightless : int
        Units left out: without all outcomes, with treatment unknown in some period, of weight zero.
    """

    paths: TreatmentPaths
    cluster: IntArray
    n_clusters: int
    place: IntArray
    n_incomplete: int
    n_unknown: int
    n_weightless: int

    def by_cluster(self, influence: FloatArray) -> FloatArray:
        return group_sums(self.cluster, influence, self.n_clusters)

    def clusters_of(self, units: NDArray[np.bool_]) -> int:
        return int(np.unique(self.cluster[units]).size)


def _used(estimator: ChaisemartinDHaultfoeuille, data: Panel) -> _Used:
    arrays = unit_arrays("ChaisemartinDHaultfoeuille", data)
    treatment = arrays.treatment
    incomplete = ~data.complete_units
    unknown = np.zeros_like(incomplete)
    lost = int(incomplete.sum())
    if lost and estimator.unbalanced == "error":
        raise DesignError(
            f"{lost:,} of {data.n_units:,} units have no outcome in some period. Say unbalanced='drop' to leave them "
            "out (they are then counted), unbalanced='pairs' to use the outcomes there are, or complete the panel."
        )
    if estimator.unbalanced == "pairs":
        treatment = filled_treatment(treatment)
        unknown = np.asarray(np.isnan(treatment).any(axis=1))
        incomplete = np.asarray(np.isnan(arrays.outcome).all(axis=1) & ~unknown)
    weightless = (arrays.weight <= 0) & ~incomplete & ~unknown
    keep = ~(incomplete | unknown | weightless)
    if not keep.any():
        raise IdentificationError(
            "No unit has the outcomes that are needed, so nothing can be compared over time. Leave out periods that "
            "are rarely observed, or say unbalanced='pairs'."
        )
    labels, cluster = compact(arrays.cluster[keep], int(arrays.cluster.max()) + 1)
    return _Used(
        TreatmentPaths(arrays.outcome[keep], treatment[keep], arrays.weight[keep]),
        cluster,
        int(labels.size),
        labels,
        int(incomplete.sum()),
        int(unknown.sum()),
        int(weightless.sum()),
    )


def _require_switchers(found: list[_Effect], used: _Used) -> None:
    if not found or found[0].sums.dose.sum() <= 0:
        raise IdentificationError(
            "No unit that switches its treatment can be compared with one that had the same treatment and keeps it. "
            "Include units that switch later or never; for amounts, group those that are nearly alike."
        )
    switching = used.clusters_of(found[0].sums.switcher)
    if switching < 2:
        raise IdentificationError(
            f"{plural(switching, 'unit or cluster')} switching: standard errors cannot tell its own shocks from the "
            "effect. Use ConleyTaber."
        )


def _row(data: Panel, used: _Used, each: _Effect) -> Term:
    sums, paths = each.sums, used.paths
    first = paths.first_switch[sums.switcher]
    names = {int(f): f"first switch {data.calendar.name(float(data.periods[f]))}" for f in np.unique(first)}
    compared = int(sums.comparison.sum())
    switching, staying = used.clusters_of(sums.switcher), used.clusters_of(sums.comparison)
    error = float(np.sqrt(np.sum(used.by_cluster(sums.influence) ** 2)))
    least = 1e-13 * float(np.sqrt(np.nanmean(paths.outcome**2)))
    why = ""
    if min(switching, staying) < 2:
        who = "switches" if switching < 2 else "is compared with"
        why, error = f"one unit or cluster {who}, so its own shocks cannot be told from the effect", np.nan
    extra: tuple[tuple[str, float | str | None], ...] = (("switchers", float(sums.switcher.sum())),)
    return point(
        each.term,
        EFFECT,
        data.outcome_name,
        (sums.value, error if error > least else np.nan),
        why,
        n_units=int((sums.switcher | sums.comparison).sum()),
        n_clusters=used.clusters_of(sums.switcher | sums.comparison),
        support=(
            *(Cell(name, int((first == f).sum()), None, f"switchers, {each.term}") for f, name in names.items()),
            Cell("comparison", compared, None, f"comparison, {each.term} (not yet switched)"),
        ),
        extra=extra if each.event_time is None else (("event_time", each.event_time), *extra),
    )


@dataclass(frozen=True, slots=True)
class _Aggregator:
    """Picks the overall row, or tests the placebos."""

    def aggregate(self, estimates: Estimates, by: str, options: Mapping[str, Any]) -> Estimates:
        """Return the overall effect, all rows, or the test that all placebos are zero."""
        if options or by not in ("simple", "event_time", "pretest"):
            raise DesignError(
                f"Effects of switches are averaged by simple, event_time or pretest, without options, not by {by!r}."
            )
        if by == "pretest":
            times = [dict(row.extra).get("event_time") for row in estimates.terms]
            return pretest(estimates, [i for i, e in enumerate(times) if e is not None and float(e) < -1])
        return estimates.with_terms([0] if by == "simple" else range(len(estimates)))


def _method(estimator: ChaisemartinDHaultfoeuille, data: Panel, used: _Used) -> Method:
    sample = f"{plural(used.paths.weight.size, 'unit')} in {plural(data.periods.size, 'period')}"
    if used.n_incomplete:
        sample += f"; {plural(used.n_incomplete, 'unit')} without the outcomes needed are left out"
    if used.n_unknown:
        sample += f"; {plural(used.n_unknown, 'unit')} whose treatment changed in a gap are left out"
    if used.n_weightless:
        sample += f"; {plural(used.n_weightless, 'unit')} of weight zero are left out"
    dynamic = estimator.effects == "dynamic"
    if estimator.normalised:
        sample += "; effects by event time are per unit of treatment since the switch"
    level = "the unit" if data.cluster is None else data.cluster_name
    parallel = (
        "outcomes of units with the same treatment in the first period would have changed in parallel under it",
        "nothing is anticipated",
        "one unit's treatment does not change another's outcome",
    )
    carry = ("past treatment does not act on present outcomes",)
    between = "outcomes of units with the same treatment would have changed in parallel, from each period to the next"
    return Method(
        sample=sample,
        std_error=f"influence functions, clustered by {level}",
        small_sample="none",
        reference="normal",
        inference_for="a superpopulation of units",
        assumptions=parallel if dynamic else (between, *carry, *parallel[1:]),
        source=f"de Chaisemartin and D'Haultfoeuille {'2024' if dynamic else '2020'}",
        comparison=(
            "units of the same treatment in the first period that have not switched yet, last period before"
            if dynamic
            else "units of the same treatment in the period before that keep it"
        ),
    )


def _checks(estimator: ChaisemartinDHaultfoeuille, used: _Used, found: list[_Effect]) -> tuple[Check, ...]:
    checks, paths = [], used.paths
    if used.n_incomplete or used.n_unknown:
        text = f"{plural(used.n_incomplete + used.n_unknown, 'unit')} left out for missing outcomes or treatment."
        checks.append(Check("balance", "warn", text))
    unmatched = found[0].sums.unmatched
    if unmatched:
        what = "unit with an event time" if estimator.effects == "dynamic" else "switch"
        text = f"{plural(unmatched, what)} had nobody with the same treatment to compare with, and is left out."
        checks.append(Check("no comparison", "warn", text, "some switchers had no comparison and are left out."))
    turned = int((paths.turned < paths.periods).sum()) if estimator.effects == "dynamic" else 0
    if turned:
        text = (
            f"treatment of {plural(turned, 'unit')} went to the other side of its first amount later on; they are left "
            "out from then on."
        )
        checks.append(Check("both directions", "warn", text, "units that switch both ways are left out from then on."))
    small = [each.term for each in found if int(each.sums.switcher.sum()) < SMALL_COHORT]
    if small:
        text = f"few switchers behind {', '.join(small)}; their standard errors are not to be relied on."
        checks.append(Check("few switchers", "warn", text))
    if used.n_clusters < 40:
        text = f"{used.n_clusters} independent units or clusters; influence-function standard errors need more."
        checks.append(Check("few clusters", "warn", text))
    return tuple(checks)
