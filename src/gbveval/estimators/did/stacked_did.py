"""`StackedDid`: one clean comparison a cohort, over one window, averaged by the cohorts' sizes."""

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
from gbveval.core.term import Term
from gbveval.data.panel import Panel
from gbveval.estimators.did._cells import EventAggregator
from gbveval.estimators.did._group_time_arrays import GroupTimeArrays, unit_paths
from gbveval.estimators.did._rollout import (
    COHORTS,
    NEGATIVE,
    cohort_label,
    event_label,
    point,
    refuse_cross_sections,
    refuse_switching,
    rollout_estimates,
)
from gbveval.estimators.did._rollout_checks import two_way_checks
from gbveval.numerics.two_ways import Clustered, clustered

FloatArray = NDArray[np.float64]


@dataclass(frozen=True, eq=False, slots=True)
class _Stack:
    """The comparisons.

    Attributes
    ----------
    cohorts : list of float
        Those with a whole window and clean controls.
    sizes, controls : list of int
        Units of each, and of its controls.
    effect : ndarray, shape (event times,)
        Averages over cohorts.
    influence : ndarray, shape (units, event times)
    left_out : list of float
        Cohorts without a whole window, or without controls.
    """

    cohorts: list[float]
    sizes: list[int]
    controls: list[int]
    effect: FloatArray
    influence: FloatArray
    left_out: list[float]


@register("stacked_did")
@dataclass(frozen=True, slots=True)
class StackedDid:
    """Effects by event time with the same cohorts at every event time, each against its own clean controls.

    Parameters
    ----------
    before, after : int
        Periods of the window before the one that precedes treatment, and after the first treated one: event times from
        -1 - before to after. All cohorts in the average are seen throughout.
    unbalanced : str
        What to do with units without an outcome in every period: "error", or "drop", which counts them.

    Notes
    -----
    **Identifies** the average effect on the treated of the cohorts with a whole window, at each event time, if their
    untreated outcomes and those of their controls (never treated, or treated only after the window has closed) would
    have changed in parallel, and nothing was anticipated. The composition is the same at all event times, so that a
    path over event time is one of effects and not of cohorts.

    Cohorts are averaged by their numbers of units (the weights of Wing, Freedman and Hollingsworth), taken as fixed; a
    stacked regression without these weights averages by size and variance, which is no average effect. **Variance**
    from influence functions, in which a unit that serves in several stacks counts once; no small-sample factor.

    **Do not use when** most cohorts lack a whole window (the check says which are left out): `CallawaySantAnna`.

    References
    ----------
    Wing, Freedman and Hollingsworth (2024), Stacked difference-in-differences, NBER working paper 32054. Cengiz, Dube,
    Lindner and Zipperer (2019), Quarterly Journal of Economics 134, for the idea.

    Examples
    --------
    >>> import numpy as np
    >>> from gbveval.datasets.pilot import PilotRollout
    >>> panel = PilotRollout().draw(np.random.default_rng(2))
    >>> [row.term for row in StackedDid(before=1, after=1).estimate(panel).terms]
    ['event time -2', 'event time 0', 'event time +1']
    """

    before: int = 2
    after: int = 2
    unbalanced: str = "error"
    name: ClassVar[str] = "stacked_did"

    def __post_init__(self) -> None:
        if self.unbalanced not in ("error", "drop"):
            raise DesignError(f"unbalanced must be one of error, drop, not {self.unbalanced!r}.")
        if self.before < 0 or self.after < 0:
            raise DesignError("before and after are numbers of periods, zero or more.")

    def estimate(self, data: Panel, *, rng: np.random.Generator | None = None) -> Estimates:
        """Return one row an event time.

        Parameters
        ----------
        data : Panel
            A panel of units; the window counts periods in their order.
        rng : numpy.random.Generator, optional
            Ignored: nothing is random.

        Raises
        ------
        DesignError
            For repeated cross-sections, treatment that ends, covariates, periods as clusters, or incomplete units with
            `unbalanced="error"`.
        IdentificationError
            If no cohort has a whole window and controls, or one unit (cluster) is treated.
        """
        refuse_cross_sections("StackedDid", data)
        refuse_switching("StackedDid", data)
        if data.covariate_names:
            raise DesignError("StackedDid takes no covariates. Use CallawaySantAnna.")
        used = unit_paths("StackedDid", data, self.unbalanced)
        found = self._stack(used)
        used.refuse_few_treated(np.isin(used.cohort, found.cohorts))
        errors = clustered(found.influence, used.ways)
        terms = self._terms(data, used, found, errors)
        return rollout_estimates(
            self,
            data,
            terms,
            covariance=errors.covariance,
            influence=errors.influence,
            method=_method(self, data, used, found),
            checks=(*_checks(data, used, found), *two_way_checks(errors.repaired)),
            aggregator=EventAggregator(),
        )

    def _events(self) -> NDArray[np.intp]:
        every = np.arange(-1 - self.before, self.after + 1)
        return np.asarray(every[every != -1], dtype=np.intp)

    def _stack(self, used: GroupTimeArrays) -> _Stack:
        assert used.paths is not None
        periods, paths = used.periods, used.paths
        weight = np.ones(used.cohort.size) if used.weight is None else used.weight
        events = self._events()
        whole: list[float] = []
        left_out: list[float] = []
        for g in np.unique(used.cohort[np.isfinite(used.cohort)]):
            first = int(np.searchsorted(periods, g))
            inside = first - 1 - self.before >= 0 and first + self.after < periods.size
            clean = used.cohort > (periods[first + self.after] if inside else np.inf)
            (whole if inside and clean.any() else left_out).append(float(g))
        if not whole:
            raise IdentificationError(
                f"No cohort is seen from {self.before + 1} periods before treatment to {self.after} after it, beside "
                "units untreated throughout. Use a shorter window, or CallawaySantAnna."
            )
        mass = np.array([weight[used.cohort == g].sum() for g in whole])
        effect = np.zeros(events.size)
        influence = np.zeros((used.cohort.size, events.size))
        controls = []
        for g, share in zip(whole, mass / mass.sum(), strict=True):
            first = int(np.searchsorted(periods, g))
            change = paths[:, first + events] - paths[:, [first - 1]]
            clean = used.cohort > periods[first + self.after]
            controls.append(int(clean.sum()))
            for sign, member in ((1.0, used.cohort == g), (-1.0, clean)):
                w = weight[member] / weight[member].sum()
                mean = w @ change[member]
                effect += sign * share * mean
                influence[member] += sign * share * w[:, None] * (change[member] - mean)
        sizes = [int((used.cohort == g).sum()) for g in whole]
        return _Stack(whole, sizes, controls, effect, influence, left_out)

    def _terms(self, data: Panel, used: GroupTimeArrays, found: _Stack, joint: Clustered) -> tuple[Term, ...]:
        assert used.paths is not None
        least = 1e-13 * float(np.sqrt(np.mean(used.paths**2)))
        errors = np.sqrt(np.maximum(np.diag(joint.covariance), 0.0))
        support = (
            *(Cell(cohort_label(data, g), n, None, COHORTS) for g, n in zip(found.cohorts, found.sizes, strict=True)),
            Cell("comparison", min(found.controls), None, f"comparison, window of {self.before} and {self.after}"),
        )
        return tuple(
            point(
                event_label(float(e)),
                Estimand("ATT", "mean_difference", "treated"),
                data.outcome_name,
                (float(found.effect[i]), float(errors[i]) if errors[i] > least else np.nan),
                NEGATIVE if joint.repaired else "",
                n_units=int(used.cohort.size),
                n_clusters=used.n_clusters,
                support=support,
                extra=(("event_time", float(e)),),
            )
            for i, e in enumerate(self._events())
        )


def _method(estimator: StackedDid, data: Panel, used: GroupTimeArrays, found: _Stack) -> Method:
    sample = (
        f"{used.cohort.size:,} units in {used.periods.size} periods; {len(found.cohorts)} cohorts with a whole window"
    )
    if used.n_left_out:
        sample += f"; {used.n_left_out:,} units with an outcome missing in some period are left out"
    return Method(
        sample=sample,
        std_error=f"influence functions, clustered by {data.cluster_name}",
        small_sample="none",
        reference="normal",
        inference_for="a superpopulation of units",
        assumptions=(
            "untreated outcomes of each cohort and of its clean controls would have changed in parallel",
            "treatment does not act before it begins",
            "one unit's treatment does not change another's outcome",
        ),
        source="Wing, Freedman and Hollingsworth 2024",
        comparison=f"units untreated until {estimator.after} periods after the cohort's start, last period before",
    )


def _checks(data: Panel, used: GroupTimeArrays, found: _Stack) -> tuple[Check, ...]:
    checks = []
    if found.left_out:
        names = ", ".join(data.calendar.name(g) for g in found.left_out)
        text = f"cohorts without a whole window or clean controls are left out: {names}."
        checks.append(Check("window", "warn", text))
    if used.n_left_out:
        checks.append(Check("balance", "warn", f"{used.n_left_out:,} units were left out for missing outcomes."))
    return tuple(checks)
