"""`EventStudy`: the two-way fixed effects regression with an indicator of every time since treatment."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from gbveval.core.errors import DesignError, IdentificationError
from gbveval.core.estimand import Estimand
from gbveval.core.estimates import Estimates
from gbveval.core.method import Check, Method
from gbveval.core.registry import register
from gbveval.data.panel import Panel
from gbveval.estimators.did._cells import EventAggregator
from gbveval.estimators.did._regression import (
    check_std_error,
    coefficient_terms,
    explained_words,
    inference_words,
    parallel_words,
    regress,
    regression_checks,
)
from gbveval.estimators.did._rollout import (
    Rows,
    event_label,
    rollout_estimates,
    rollout_rows,
    row_checks,
    sample_words,
)
from gbveval.estimators.did.two_way_fixed_effects import NUISANCE

FloatArray = NDArray[np.float64]


@register("event_study")
@dataclass(frozen=True, slots=True)
class EventStudy:
    """Two-way fixed effects regression on the time since treatment began.

    Parameters
    ----------
    reference : tuple of float
        Event times left out, to which the others compare. With nobody never treated a second one is needed.
    bins : tuple of (float, float)
        Ranges of event times, both ends included, that share one effect, such as ((5, inf),); a range that holds a
        reference time is the reference. Ranges may not overlap; other event times stay on their own.
    std_error : str
        As in `TwoWayFixedEffects`.

    Notes
    -----
    **Identifies** the average effect at each event time if untreated outcomes would have changed in parallel, nothing
    was anticipated, *and* effects at a time since treatment are the same in all cohorts. When cohorts differ, a
    coefficient mixes effects of other event times, also before treatment, so that neither leads nor lags mean what they
    say (Sun and Abraham 2021). With one cohort it is free of that.

    The panel's `effects` (region by period, for one) are taken out beside those of unit and period.

    **Use it** to reproduce published results or with one cohort; otherwise `SunAbraham` or `CallawaySantAnna`.

    `aggregate("pretest")` is the usual F test that all effects before treatment are zero; `aggregate("event_time")`
    puts the plain mean of the effects from event time 0 on before the rows.

    References
    ----------
    Sun and Abraham (2021), Journal of Econometrics 225(2), 175-199. Schmidheiny and Siegloch (2023), Journal of Applied
    Econometrics 38, for binned ends.

    Examples
    --------
    >>> import numpy as np
    >>> from gbveval.datasets.pilot import PilotRollout
    >>> panel = PilotRollout().draw(np.random.default_rng(2))
    >>> EventStudy().estimate(panel)["event time 0"].n_units == panel.n_units
    True
    """

    reference: tuple[float, ...] = (-1.0,)
    bins: tuple[tuple[float, float], ...] = ()
    std_error: str = "CR1S"
    name: ClassVar[str] = "event_study"

    def __post_init__(self) -> None:
        check_std_error(self.std_error)
        if not self.reference or not all(np.isfinite(e) for e in self.reference):
            raise DesignError("reference holds the event times left out, such as (-1,); at least one.")
        ends = [end for pair in sorted(self.bins) for end in pair]
        if any(len(pair) != 2 for pair in self.bins) or any(b < a for a, b in pairwise(ends)):
            raise DesignError("bins are pairs (lowest, highest) of event times that do not overlap.")

    def estimate(self, data: Panel, *, rng: np.random.Generator | None = None) -> Estimates:
        """Return one row an event time, then the coefficients of covariates.

        Parameters
        ----------
        data : Panel
            A panel of units; rows without an outcome are left out and counted.
        rng : numpy.random.Generator, optional
            Ignored: nothing is random.

        Raises
        ------
        DesignError
            For repeated cross-sections, treatment that ends, or reference times that nobody has.
        IdentificationError
            If no coefficient is identified, or there are too few clusters.
        """
        rows = rollout_rows("EventStudy", data)
        ranges, columns = self._columns(rows)
        names = [range_label(low, high) for low, high in ranges]
        found = regress(
            rows,
            np.column_stack([rows.covariates, columns]),
            (*data.covariate_names, *names),
            std_error=self.std_error,
        )
        # A range is placed at the end nearer to the start of treatment.
        labels = {name: min(pair, key=abs) for name, pair in zip(names, ranges, strict=True)}
        if not any(name in labels for name in found.names):
            if data.effects:
                raise IdentificationError(explained_words(data))
            raise IdentificationError(
                "Unit and period effects explain the time since treatment completely. Where nobody is never treated, a "
                "second reference time is needed."
            )
        effect = Estimand("ATT", "mean_difference", "treated")
        terms = coefficient_terms(
            data,
            rows,
            found,
            [effect if name in labels else NUISANCE for name in found.names],
            [(("event_time", float(labels[name])),) if name in labels else () for name in found.names],
        )
        order = np.argsort([labels.get(name, np.inf) for name in found.names], kind="stable")
        influence = found.fit.influence
        return rollout_estimates(
            self,
            data,
            [terms[i] for i in order],
            covariance=found.fit.covariance[np.ix_(order, order)],
            influence=None if influence is None else influence[:, order],
            method=_method(self, data, rows),
            aggregator=EventAggregator(),
            checks=(*_checks(rows), *_unidentified(names, found.lost), *regression_checks(found), *row_checks(rows)),
        )

    def _columns(self, rows: Rows) -> tuple[list[tuple[float, float]], FloatArray]:
        """Return the ranges of event times that are estimated, and their indicators."""
        event = rows.event_time
        times = np.unique(event[np.isfinite(rows.cohort)])
        absent = [f"{e:g}" for e in self.reference if e not in times]
        if absent:
            raise DesignError(
                f"No row has the event time {', '.join(absent)} of the reference; there are "
                f"{', '.join(f'{e:g}' for e in times)}."
            )
        alone = [e for e in times if not any(low <= e <= high for low, high in self.bins)]
        ranges = sorted([*self.bins, *((float(e), float(e)) for e in alone)])
        shown = [pair for pair in ranges if not any(pair[0] <= e <= pair[1] for e in self.reference)]
        # Never treated is an event time of minus infinity, and in no range.
        finite = np.where(np.isfinite(event), event, np.nan)
        members = [(finite >= low) & (finite <= high) for low, high in shown]
        filled = [i for i, member in enumerate(members) if member.any()]
        columns = np.column_stack([members[i] for i in filled]).astype(float) if filled else np.zeros((rows.n, 0))
        return [shown[i] for i in filled], columns


def range_label(low: float, high: float) -> str:
    """Return how a range of event times is shown.

    Examples
    --------
    >>> range_label(0, 0), range_label(1, 2), range_label(19, np.inf), range_label(-np.inf, -5)
    ('event time 0', 'event time +1 to +2', 'event time +19 and later', 'event time -5 and earlier')
    """
    if low == high:
        return event_label(low)
    if np.isinf(high):
        return f"{event_label(low)} and later"
    return f"{event_label(high)} and earlier" if np.isinf(low) else f"{event_label(low)} to {high:+g}"


def _unidentified(names: list[str], lost: tuple[str, ...]) -> tuple[Check, ...]:
    found = [name for name in names if name in lost]
    if not found:
        return ()
    text = f"not identified beside the fixed effects, and so not estimated: {', '.join(found)}."
    return (Check("event times", "warn", text),)


def _method(estimator: EventStudy, data: Panel, rows: Rows) -> Method:
    reference = ", ".join(f"{e:g}" for e in estimator.reference)
    return Method(
        sample=f"{sample_words(data, rows)}; effects compare with event time {reference}",
        **inference_words(data, estimator.std_error),
        assumptions=(
            parallel_words(data),
            "effects at a time since treatment are the same in all cohorts",
            "treatment does not act before it begins",
        ),
        source="see Sun and Abraham 2021 for what the coefficients mix",
        comparison="all units in all periods, those treated already among them",
    )


def _checks(rows: Rows) -> tuple[Check, ...]:
    cohorts = np.unique(rows.cohort[np.isfinite(rows.cohort)]).size
    if cohorts < 2:
        return ()
    text = f"{cohorts} cohorts: coefficients mix effects of other event times unless cohorts have the same effects."
    return (Check("staggered adoption", "warn", text),)
