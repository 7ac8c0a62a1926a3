"""How much an intervention would have had to change reporting, rather than abuse, to explain its effect."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from gbveval.core.errors import DesignError
from gbveval.core.estimates import Estimates
from gbveval.core.table import Table
from gbveval.core.term import Term

RATIOS = ("rate_ratio", "risk_ratio", "mean_ratio", "prevalence_ratio")
LEVELS = ("mean_difference", "risk_difference", "prevalence_difference")
COLUMNS = (
    *("row", "reporting_ratio", "reporting_low", "reporting_high"),
    *("ratio", "conf_low", "conf_high", "level", "conclusion"),
)
REPORTED, ASKED = "reporting unchanged", "if reporting changed so"
EXPLAINS, EDGE = "would explain the estimate", "would leave no effect shown"
ABOVE, BELOW, NOT_SHOWN = "more abuse", "less abuse", "no effect shown"


def reporting_shock(
    estimates: Estimates,
    term: str | tuple[str, str],
    *,
    baseline: float | None = None,
    log_outcome: bool = False,
    ratios: Sequence[float] = (),
    level: float = 0.95,
) -> Table:
    """Find the change in reporting that would explain an effect on reports, and the effect under changes you name.

    Parameters
    ----------
    estimates : Estimates
        Effects on an outcome that counts reports: a trial, a rollout, a contrast.
    term : str or (outcome, term)
        The row.
    baseline : float, optional
        For differences: the mean of the outcome that the treated would have had without the intervention.
    log_outcome : bool
        Whether the outcome is a logarithm, so that a difference is the logarithm of a ratio.
    ratios : sequence of float
        Changes in reporting to look at: 1.2 means that each case was a fifth more likely to be reported.
    level : float
        Of the interval.

    Returns
    -------
    Table
        Ratios of the reports in the first row; in the others ratios of abuse, once a change in reporting is taken out.
        "would explain the estimate": the change at which abuse did not change at all, with its limits beside it.
        "would leave no effect shown": the change nearest to none at which the interval reaches no effect.

    Raises
    ------
    DesignError
        If the row has no interval, a difference comes without `baseline`, or the contrast is an odds ratio.

    Notes
    -----
    Reports are abuse times the probability that it is reported. If the intervention multiplies abuse by A and reporting
    by R, reports are multiplied by A R: a ratio of 0.8 in reports is explained by R = 0.8 alone, and A = 0.8 / R
    otherwise. Interval and estimate are divided by the same R. R is the average over cases that would be reported
    without the intervention. For a difference tau and a mean b without the intervention, the ratio of reports is (b +
    tau) / b.

    **Use it** for outcomes that people, schools, police or platforms report. An intervention that builds trust raises
    reporting, so that R > 1 hides a reduction; one that intimidates lowers it. Which R is plausible is a question to
    those who know, or for a survey beside the reports. **Do not use when** the outcome is measured the same way whether
    or not it was reported. `baseline` is taken as known; the error of its estimate is not in the limits.

    Examples
    --------
    >>> from gbveval.estimators.did.event_path import event_study_from
    >>> import numpy as np
    >>> study = event_study_from([0.0, -0.2], 0.005 * np.eye(2), [-2, 0], contrast="rate_ratio")
    >>> table = reporting_shock(study, "event time 0", ratios=[1.25])
    >>> [(row[0], round(row[1], 2)) for row in table.rows[2:]]
    [('would explain the estimate', 0.82), ('would leave no effect shown', 0.94)]
    """
    row = estimates[term]
    low, value, high = _log_ratio(estimates, row, baseline, log_outcome, level)
    shocks = [float(x) for x in ratios]
    if not all(np.isfinite(x) and x > 0 for x in shocks):
        raise DesignError("Changes in reporting are ratios above zero, such as 1.2 for a fifth more.")
    edge = high if high < 0.0 else low if low > 0.0 else None
    asked = [(REPORTED, 0.0), *((ASKED, float(np.log(x))) for x in shocks), (EXPLAINS, value)]
    asked += [] if edge is None else [(EDGE, edge)]
    rows = []
    for kind, shock in asked:
        ends = (low - shock, high - shock)
        # Where the interval ends at no effect exactly, rounding must not decide.
        decided = kind not in (EXPLAINS, EDGE)
        shown = BELOW if decided and ends[1] < 0 else ABOVE if decided and ends[0] > 0 else NOT_SHOWN
        limits = [float(np.exp(x)) for x in (low, high)] if kind == EXPLAINS else [None, None]
        numbers = [float(np.exp(x)) for x in (value - shock, *ends)]
        rows.append((kind, float(np.exp(shock)), *limits, *numbers, level, shown))
    support = (row.support,) * len(rows) if row.support else ()
    title = f"{row.outcome}, {row.term}: the change in reporting that would explain the effect"
    return Table(title, COLUMNS, tuple(rows), _notes(baseline, log_outcome), support)


def _log_ratio(
    estimates: Estimates, row: Term, baseline: float | None, log_outcome: bool, level: float
) -> tuple[float, float, float]:
    """Return lower limit, estimate and upper limit of the logarithm of the ratio of reports."""
    place = estimates.terms.index(row)
    low, high = (float(limits[place]) for limits in estimates.intervals(level))
    if row.value is None or not (np.isfinite(low) and np.isfinite(high)) or row.kind != "point":
        raise DesignError(
            f"The row {row.term!r} has no interval at level {level:g}, so no limit can change. {row.reason}"
        )
    contrast = row.estimand.contrast
    if contrast in RATIOS:
        if baseline is not None or log_outcome:
            raise DesignError(
                f"A {contrast.replace('_', ' ')} needs neither `baseline` nor `log_outcome`; leave them out."
            )
        return low, row.value, high
    if contrast not in LEVELS:
        raise DesignError(
            f"A change in reporting multiplies reports, but not a {contrast.replace('_', ' ')}. Estimate a ratio of "
            "rates, risks or means, or a difference with `baseline`."
        )
    if log_outcome:
        if baseline is not None:
            raise DesignError("A difference of logarithms is the logarithm of a ratio already; leave `baseline` out.")
        return low, row.value, high
    if baseline is None or not (np.isfinite(baseline) and baseline > 0):
        raise DesignError(
            "A difference needs `baseline`: the mean of the outcome, above zero, that the treated would have had "
            "without the intervention. If the outcome is a logarithm, say log_outcome=True."
        )
    if baseline + row.value <= 0:
        raise DesignError(
            "The effect takes away more than `baseline`; no change in reporting does that. Check the units."
        )
    with np.errstate(divide="ignore"):
        found = np.log(np.maximum(baseline + np.array([low, row.value, high]), 0.0) / baseline)
    return float(found[0]), float(found[1]), float(found[2])


def _notes(baseline: float | None, log_outcome: bool) -> tuple[str, ...]:
    said = [
        "Reports are abuse times the probability of being reported. A reporting ratio of 1.2 means that each case was "
        "a fifth more likely to be reported because of the intervention; the effect is divided by it.",
    ]
    if baseline is not None:
        said.append("Differences are read against a mean without the intervention that is taken as known.")
    if log_outcome:
        said.append("The outcome is a logarithm, so that its difference is the logarithm of a ratio.")
    return tuple(said)
